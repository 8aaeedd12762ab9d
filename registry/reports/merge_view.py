"""What a report shows of a merge: what went in, what came of it, the two figures, and the modules that changed most."""

from peft_registry.registry.reports.text import number, share, whole
from peft_registry.schemas.merge import Divergence, MergeRecord
from peft_registry.schemas.report import Figure
from peft_registry.schemas.values import Value

_MODULES_SHOWN = 8
_FOLD_ERROR, _DISTANCE = "Fold error", "Distance from the trained model"
_BOTH = "Fold error, and distance from the trained model"
# what the two figures measure, for a reader who does not know their names
_MEASURES = {
    _FOLD_ERROR: "this base with its adapters, unmerged (fold error)",
    _DISTANCE: "the model as it was trained (distance)",
    _BOTH: "its base with its adapters, unmerged",
}
_POLICIES = {"original": "as it is stored", "dequantised": "as it was in 4 bits, dequantised"}


def merge_sentences(merge: MergeRecord) -> tuple[str, ...]:
    """For the first page: what was merged, and how."""
    labels = ", ".join(f"{part.label} (weight {number(part.weight)})" for part in merge.ingredients)
    lines = [
        f"Merged from {labels} into the base {_POLICIES.get(merge.base_policy, merge.base_policy)}, by {merge.algorithm}.",
    ]
    if merge.why_bundled is not None and merge.has_folded:
        lines.append(f"A part of it stays beside the merged weights. {merge.why_bundled}")
    elif merge.why_bundled is not None:
        lines = [f"A bundle of {labels} beside the base: nothing was folded. {merge.why_bundled}"]
    return tuple(lines)


def merge_distances(merge: MergeRecord) -> tuple[str, ...]:
    """How far the answers of the result are from those of what it was merged from."""
    figures = [
        f"by {number(distance.kl)} from those of {_MEASURES[label]}"
        for label, distance in _both(merge)
        if distance is not None
    ]
    if not figures:
        return ()
    return (f"Its answers differ {'; '.join(figures)} (Kullback-Leibler divergence a token; 0: not at all).",)


def merge_cautions(merge: MergeRecord, *, is_evaluated: bool) -> tuple[str, ...]:
    """What was accepted although it is off, and which evaluations do not speak of the result; none once that `is_evaluated`."""
    lines = []
    if merge.accepted is not None:
        lines.append(f"The distance was accepted by {merge.accepted.by or 'the signer'}: {merge.accepted.reason}")
    if merge.stale and not is_evaluated:
        named = " and ".join(dict.fromkeys(stale.of for stale in merge.stale))
        lines.append(
            f"This model was not evaluated. {named} was, before the merge, and those figures are not figures of this model."
        )
    return tuple(lines)


def merge_figures(merge: MergeRecord) -> tuple[Figure, ...]:
    """The merge as rows: ingredients, figures, and the modules with the largest relative change; beside the record's fields,
    which hold the formula."""
    rows = [
        _row(
            f"Ingredient {part.label}",
            f"weight {number(part.weight)}, density {number(part.density)}, {part.manifest}",
            f"{part.method or 'adapter'}"
            + (f", trained on the base in 4 bits ({part.quantisation})" if part.quantisation else ""),
        )
        for part in merge.ingredients
    ]
    rows += [
        _row("Base policy", merge.base_policy, f"weights digest {merge.base.identity.weights}"),
        *(_divergence(label, distance) for label, distance in _both(merge) if distance is not None),
        *(_divergence(f"Distance, {policy} base", distance) for policy, distance in sorted(merge.compared.items())),
    ]
    if merge.lost_share is not None:
        rows.append(_row("Change lost to rounding", share(merge.lost_share), "‖stored − meant‖ / ‖meant‖, Frobenius"))
    rows.append(_flags(merge.licence_flags))
    changed = [module for module in merge.modules if module.relative_norm]
    largest = sorted(changed, key=lambda module: (-(module.relative_norm or 0), module.name))[:_MODULES_SHOWN]
    for at, module in enumerate(largest):
        parts = [f"relative norm {number(module.relative_norm or 0)}"]
        parts += [] if module.spectral_norm is None else [f"spectral norm {number(module.spectral_norm)}"]
        parts += [] if module.cosine is None else [f"cosine {number(module.cosine, 6)}"]
        parts += [] if module.changed_share is None else [f"{share(module.changed_share)} of values changed"]
        all_of_them = f"largest change first; {whole(len(merge.modules))} modules in the signed record"
        rows.append(_row(f"Module {module.name}", ", ".join(parts), "" if at else all_of_them))
    return tuple(rows)


def _both(merge: MergeRecord) -> tuple[tuple[str, Divergence | None], ...]:
    if _is_one_figure(merge):
        return ((_BOTH, merge.fold_error),)
    return ((_FOLD_ERROR, merge.fold_error), (_DISTANCE, merge.distance))


def _is_one_figure(merge: MergeRecord) -> bool:
    """Where nothing was quantized, what was merged is what was trained, and one measurement says both."""
    fold, distance = merge.fold_error, merge.distance
    if fold is None or distance is None or any(part.quantisation for part in merge.ingredients):
        return False
    return (fold.kl, fold.largest, fold.positions) == (distance.kl, distance.largest, distance.positions)


def _kl(distance: Divergence) -> str:
    return f"KL {number(distance.kl)} nats a token"


def _divergence(label: str, distance: Divergence) -> Figure:
    limit = "" if distance.limit is None else f", allowed {number(distance.limit)}"
    floor = "" if distance.floor is None else f"; the number format itself costs {number(distance.floor)}"
    text = (
        f"{_kl(distance)}{limit}, largest {number(distance.largest)}, same first token at {share(distance.agreement)}"
    )
    return _row(label, text, f"against {distance.reference}, {whole(distance.positions)} positions{floor}")


def _flags(value: Value) -> Figure:
    text = (", ".join(value.value) or "none") if value.known else f"unknown: {value.reason}"
    return Figure(label="Licence flags, united", text=text, source=value.source, method=str(value.method or ""))


def _row(label: str, text: str, method: str) -> Figure:
    return Figure(label=label, text=text, source="measured", method=method)
