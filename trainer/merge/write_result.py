"""The three things a merge can make: a model with the adapters folded in, one adapter in place of several, or a bundle with what
cannot be folded. Each is written into a folder and measured; none knows how it is registered."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.merge import BasePolicy, Divergence, ModuleChange
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.algorithms import FORMULAE
from peft_registry.trainer.merge.bundle import MODEL, NOTHING_FOLDED, parameters_of_side_parts, write_bundle
from peft_registry.trainer.merge.concatenate import FORMULAE as OF_FACTORS
from peft_registry.trainer.merge.concatenate import whole_error, write_concatenated
from peft_registry.trainer.merge.figures import measure, measure_adapter
from peft_registry.trainer.merge.folder import write_model_folder
from peft_registry.trainer.merge.ingredients import Prepared
from peft_registry.trainer.merge.measures import MergeChanges

_MUCH_LOST = 0.1  # of the change's norm; below it the distance of the answers says more
_LOST = (
    "{share:.0%} of the change was lost to rounding, because its numbers are small beside the weights and {dtype} has few digits: "
    "--dtype fp32 keeps it, and so does the adapter beside its base"
)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What lies in the folder now. `why_bundled` is None unless it is a bundle; one in which nothing was folded has no figures."""

    kind: Literal["model", "adapter", "bundle"]
    layout: Literal["model", "peft", "bundle"]
    method: str
    formula: str
    dtype: str
    modules: tuple[ModuleChange, ...] = ()
    changed: int = 0
    added: int = 0
    relative_norm: float | None = None
    lost_share: float | None = None
    fold_error: Divergence | None = None
    distance: Divergence | None = None
    compared: tuple[tuple[BasePolicy, Divergence], ...] = ()
    why_bundled: str | None = None


def write_result(prepared: Prepared, folder: Path, scratch: Path, *, observe: Observe = ignore) -> MergeResult:
    """Write and measure what the merge asks for, into the existing, empty folder.

    Raises:
        KnownError: of the engine, the loader or the disk; see the modules.
    """
    if prepared.plan is not None:
        return _model(prepared, folder, scratch, observe)
    if prepared.why_bundled is not None:
        return _bundle(prepared, folder, observe)
    return _adapter(prepared, folder, observe)


def _model(prepared: Prepared, folder: Path, scratch: Path, observe: Observe) -> MergeResult:
    plan = prepared.require_plan()
    is_bundle = prepared.runs_alongside is not None
    if is_bundle:
        write_bundle(prepared, folder)
        (folder / MODEL).mkdir()
    weights = folder / MODEL if is_bundle else folder
    changes = write_model_folder(plan, weights, observe=observe)
    whole = changes.whole
    lost = "" if whole.lost_share is None else f", {100 * whole.lost_share:.3g} % of the change lost to rounding"
    norm = "" if whole.relative_norm is None else f", relative norm {whole.relative_norm:.3g}"
    observe(Said("merge", f"{len(changes.tensors)} tensors, {whole.changed / 1e6:.2f} M values changed{norm}{lost}"))
    if whole.lost_share is not None and whole.lost_share > _MUCH_LOST:
        observe(Warned("lost-to-rounding", _LOST.format(share=whole.lost_share, dtype=plan.dtype)))
    if is_bundle:
        observe(Said("bundle", f"the rest stays beside the merged model: {prepared.why_bundled}"))
    figures = measure(prepared, weights, scratch, observe=observe)
    return MergeResult(
        kind="bundle" if is_bundle else "model",
        layout="bundle" if is_bundle else "model",
        method="merge",
        formula=FORMULAE[plan.algorithm],
        dtype=plan.dtype,
        modules=_modules(changes),
        changed=whole.changed,
        added=plan.parameters_added + parameters_of_side_parts(prepared),
        relative_norm=whole.relative_norm,
        lost_share=whole.lost_share,
        fold_error=figures.fold_error,
        distance=figures.distance,
        compared=tuple(figures.compared.items()),
        why_bundled=prepared.why_bundled,
    )


def _modules(changes: MergeChanges) -> tuple[ModuleChange, ...]:
    return tuple(
        ModuleChange(
            name=tensor.name,
            shape=tensor.shape,
            relative_norm=tensor.relative_norm,
            spectral_norm=tensor.spectral_norm,
            cosine=tensor.cosine,
            changed_share=tensor.changed_share,
            lost_share=tensor.lost_share,
        )
        for tensor in changes.tensors
    )


def _adapter(prepared: Prepared, folder: Path, observe: Observe) -> MergeResult:
    ordered = sorted(prepared.adapters, key=lambda ingredient: ingredient.version.weights_digest)
    parts = [(read_adapter(ingredient.folder), ingredient.weight, ingredient.version.label) for ingredient in ordered]
    rank = prepared.request.rank if prepared.request.algorithm == "svd" else None
    base = BaseToOpen.of(prepared.base.record)
    results = write_concatenated(parts, folder, base=base, rank=rank)
    error = whole_error(results)
    ranks = sorted({result.rank for result in results})
    exact = "exact" if rank is None else f"relative error {error:.3g} (Frobenius)"
    observe(Said("merge", f"{len(results)} modules, rank {' and '.join(map(str, ranks))}, {exact}"))
    fold_error = measure_adapter(prepared, folder, gate=rank is None, observe=observe)
    return MergeResult(
        kind="adapter",
        layout="peft",
        method="lora",
        formula=OF_FACTORS[prepared.request.algorithm],
        dtype="float32",
        modules=tuple(
            ModuleChange(
                name=result.name, shape=result.shape, spectral_norm=result.spectral_norm, lost_share=result.error
            )
            for result in results
        ),
        added=sum(result.rank * sum(result.shape) for result in results),
        lost_share=error,
        fold_error=fold_error,
        distance=fold_error.revised(limit=None),
    )


def _bundle(prepared: Prepared, folder: Path, observe: Observe) -> MergeResult:
    write_bundle(prepared, folder)
    observe(Said("bundle", f"nothing is folded: {prepared.why_bundled}"))
    return MergeResult(
        kind="bundle",
        layout="bundle",
        method="merge",
        formula=NOTHING_FOLDED,
        dtype="as stored",
        added=parameters_of_side_parts(prepared),
        why_bundled=prepared.why_bundled,
    )
