"""The three things a merge can make: a model with the adapters folded in, one adapter in place of several, or a bundle of what
cannot be folded. Each is written into a folder and measured; none knows how it is registered."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from registry.files import unwritable
from schemas.merge import BasePolicy, Divergence, ModuleChange
from schemas.progress import Observe, Said, ignore
from trainer.merge.adapter import read_adapter
from trainer.merge.algorithms import FORMULAE
from trainer.merge.concatenate import FORMULAE as OF_FACTORS
from trainer.merge.concatenate import whole_error, write_concatenated
from trainer.merge.figures import measure, measure_adapter
from trainer.merge.folder import write_model_folder
from trainer.merge.measures import MergeChanges
from trainer.merge_inputs import Folded, Prepared
from trainer.methods.weights_io import write_json

COMPOSITION = "composition.json"
BUNDLE_FORMULA = "nothing is folded: base and adapters side by side, in this order"
_FILES_OF_AN_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Made:
    """What lies in the folder now. `why_bundled` is None unless it is a bundle; a bundle has no figures: nothing was folded."""

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


def make(prepared: Prepared, folder: Path, scratch: Path, *, observe: Observe = ignore) -> Made:
    """Write and measure what the merge asks for, into the existing, empty folder.

    Raises:
        KnownError: of the engine, the loader or the disk; see the modules.
    """
    if prepared.why_bundled is not None:
        return _bundle(prepared, folder, observe)
    if prepared.plan is None:
        return _adapter(prepared, folder, observe)
    return _model(prepared, folder, scratch, observe)


def _model(prepared: Prepared, folder: Path, scratch: Path, observe: Observe) -> Made:
    plan = prepared.require_plan()
    changes = write_model_folder(plan, folder, observe=observe)
    whole = changes.whole
    lost = "" if whole.lost_share is None else f", {100 * whole.lost_share:.2g} % of the change lost to rounding"
    norm = "" if whole.relative_norm is None else f", relative norm {whole.relative_norm:.3g}"
    observe(Said("merge", f"{len(changes.tensors)} tensors, {whole.changed / 1e6:.2f} M values changed{norm}{lost}"))
    figures = measure(prepared, folder, scratch, observe=observe)
    return Made(
        kind="model",
        layout="model",
        method="merge",
        formula=FORMULAE[plan.algorithm],
        dtype=plan.dtype,
        modules=_modules(changes),
        changed=whole.changed,
        added=plan.parameters_added,
        relative_norm=whole.relative_norm,
        lost_share=whole.lost_share,
        fold_error=figures.fold_error,
        distance=figures.distance,
        compared=tuple(figures.compared.items()),
    )


def _modules(changes: MergeChanges) -> tuple[ModuleChange, ...]:
    return tuple(
        ModuleChange(
            name=one.name,
            shape=one.shape,
            relative_norm=one.relative_norm,
            spectral_norm=one.spectral_norm,
            cosine=one.cosine,
            changed_share=one.changed_share,
            lost_share=one.lost_share,
        )
        for one in changes.tensors
    )


def _adapter(prepared: Prepared, folder: Path, observe: Observe) -> Made:
    ordered = sorted(prepared.adapters, key=lambda one: one.version.weights_digest)
    parts = [(read_adapter(one.folder), one.weight, one.version.label) for one in ordered]
    rank = prepared.request.rank if prepared.request.algorithm == "svd" else None
    base = str(prepared.base.record.identity.weights)
    results = write_concatenated(parts, folder, base=base, rank=rank)
    error = whole_error(results)
    ranks = sorted({one.rank for one in results})
    exact = "exact" if rank is None else f"relative error {error:.3g} (Frobenius)"
    observe(Said("merge", f"{len(results)} modules, rank {' and '.join(map(str, ranks))}, {exact}"))
    fold_error = measure_adapter(prepared, folder, gate=rank is None, observe=observe)
    return Made(
        kind="adapter",
        layout="peft",
        method="lora",
        formula=OF_FACTORS[prepared.request.algorithm],
        dtype="float32",
        modules=tuple(
            ModuleChange(name=one.name, shape=one.shape, spectral_norm=one.spectral_norm, lost_share=one.error)
            for one in results
        ),
        added=sum(one.rank * sum(one.shape) for one in results),
        lost_share=error,
        fold_error=fold_error,
        distance=fold_error.model_copy(update={"limit": None}),
    )


def _bundle(prepared: Prepared, folder: Path, observe: Observe) -> Made:
    entries = [_copied(one, folder, at) for at, one in enumerate(prepared.adapters)]
    record = prepared.base.record
    write_json(
        {"base": record.identity.to_json(), "adapters": entries, "why": prepared.why_bundled}, folder / COMPOSITION
    )
    observe(Said("bundle", f"{len(entries)} adapters side by side: {prepared.why_bundled}"))
    return Made(
        kind="bundle",
        layout="bundle",
        method="merge",
        formula=BUNDLE_FORMULA,
        dtype="as stored",
        why_bundled=prepared.why_bundled,
    )


def _copied(one: Folded, folder: Path, at: int) -> dict[str, object]:
    name = f"adapters/{at:02}"
    try:
        (folder / name).mkdir(parents=True)
        for file in _FILES_OF_AN_ADAPTER:
            shutil.copyfile(one.folder / file, folder / name / file)
    except OSError as error:
        raise unwritable(folder, error) from error
    version = one.version
    return {"folder": name, "method": version.method, "weights": str(version.weights_digest), "weight": one.weight}


def why_not_foldable(adapters: Sequence[Folded]) -> str | None:
    """Why these cannot be folded into weights; None if they can."""
    whys = []
    for one in adapters:
        why = read_adapter(one.folder).why_not_foldable
        if why is not None:
            whys.append(f"{one.version.label} ({one.version.method}): {why}")
    return "; ".join(whys) or None
