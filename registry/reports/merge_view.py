"""What a report shows of a merge: what went in, what came of it, the two figures, and the modules that changed most."""

from peft_registry.registry.reports.text import number, share, whole
from peft_registry.schemas.merge import Divergence, MergeRecord
from peft_registry.schemas.report import Figure
from peft_registry.schemas.values import Value

_MODULES_SHOWN = 8


def merge_sentences(merge: MergeRecord) -> tuple[str, ...]:
    """For the summary: what was merged, and how far the result is from it."""
    labels = ", ".join(f"{one.label} (weight {number(one.weight)})" for one in merge.ingredients)
    lines = [
        f"Merged from {labels} into the {merge.base_policy} base by {merge.algorithm}.",
    ]
    if merge.why_bundled is not None and merge.has_folded:
        lines.append(f"A part of it stays beside the merged weights. {merge.why_bundled}")
    elif merge.why_bundled is not None:
        lines = [f"A bundle of {labels} beside the base: nothing was folded. {merge.why_bundled}"]
    figures = [f"{label} {_kl(one)}" for label, one in _both(merge) if one is not None]
    if figures:
        lines.append(f"{'; '.join(figures)}.")
    if merge.accepted is not None:
        lines.append(f"The distance was accepted by {merge.accepted.by or 'the signer'}: {merge.accepted.reason}")
    if merge.stale:
        lines.append(f"Stale: no evaluation of {' or '.join(one.of for one in merge.stale)} speaks of this model.")
    return tuple(lines)


def merge_figures(merge: MergeRecord) -> tuple[Figure, ...]:
    """The merge as rows: ingredients, figures, and the modules with the largest relative change; beside the record's fields,
    which hold the formula."""
    rows = [
        _row(
            f"Ingredient {one.label}",
            f"weight {number(one.weight)}, density {number(one.density)}, {one.manifest}",
            f"{one.method or 'adapter'}"
            + (f", trained on the base in 4 bits ({one.quantisation})" if one.quantisation else ""),
        )
        for one in merge.ingredients
    ]
    rows += [
        _row("Base policy", merge.base_policy, f"weights digest {merge.base.identity.weights}"),
        *(_divergence(label, one) for label, one in _both(merge) if one is not None),
        *(_divergence(f"Distance, {policy} base", one) for policy, one in sorted(merge.compared.items())),
    ]
    if merge.lost_share is not None:
        rows.append(_row("Change lost to rounding", share(merge.lost_share), "‖stored − meant‖ / ‖meant‖, Frobenius"))
    rows.append(_flags(merge.licence_flags))
    changed = [one for one in merge.modules if one.relative_norm]
    largest = sorted(changed, key=lambda one: (-(one.relative_norm or 0), one.name))[:_MODULES_SHOWN]
    for at, one in enumerate(largest):
        parts = [f"relative norm {number(one.relative_norm or 0)}"]
        parts += [] if one.spectral_norm is None else [f"spectral norm {number(one.spectral_norm)}"]
        parts += [] if one.cosine is None else [f"cosine {number(one.cosine, 6)}"]
        parts += [] if one.changed_share is None else [f"{share(one.changed_share)} of values changed"]
        all_of_them = f"largest change first; {whole(len(merge.modules))} modules in the signed record"
        rows.append(_row(f"Module {one.name}", ", ".join(parts), "" if at else all_of_them))
    return tuple(rows)


def _both(merge: MergeRecord) -> tuple[tuple[str, Divergence | None], ...]:
    if _is_one_figure(merge):
        return (("Fold error, and distance from the trained model", merge.fold_error),)
    return (("Fold error", merge.fold_error), ("Distance from the trained model", merge.distance))


def _is_one_figure(merge: MergeRecord) -> bool:
    """Where nothing was quantised, what was merged is what was trained, and one measurement says both."""
    fold, distance = merge.fold_error, merge.distance
    if fold is None or distance is None or any(one.quantisation for one in merge.ingredients):
        return False
    return (fold.kl, fold.largest, fold.positions) == (distance.kl, distance.largest, distance.positions)


def _kl(one: Divergence) -> str:
    return f"KL {number(one.kl)} nats a token"


def _divergence(label: str, one: Divergence) -> Figure:
    limit = "" if one.limit is None else f", allowed {number(one.limit)}"
    floor = "" if one.floor is None else f"; the number format itself costs {number(one.floor)}"
    text = f"{_kl(one)}{limit}, largest {number(one.largest)}, same first token at {share(one.agreement)}"
    return _row(label, text, f"against {one.reference}, {whole(one.positions)} positions{floor}")


def _flags(value: Value) -> Figure:
    text = (", ".join(value.value) or "none") if value.known else f"unknown: {value.reason}"
    return Figure(label="Licence flags, united", text=text, source=value.source, method=value.method or "")


def _row(label: str, text: str, method: str) -> Figure:
    return Figure(label=label, text=text, source="measured", method=method)
