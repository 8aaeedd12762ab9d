"""What an adapter changes in its base, as a merge in fp32 would measure it, without writing a merged model.

A low-rank Δ = s·B·A of rank r is measured from its factors, in fp64; Δ itself is never formed:

    ‖Δ‖_F = |s|·√tr((BᵀB)·(A·Aᵀ))     Gram matrices of r × r
    ⟨W, Δ⟩ = s·⟨BᵀW, A⟩
    σ_max   of the r × r core that the QR factors of B and Aᵀ leave

Every other update (DoRA, IA3, saved modules, biases, single tokens) depends on W, and is measured block by block.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.schemas.merge import ModuleChange
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.fold import fold
from peft_registry.trainer.merge.measures import BlockSums, change_of, spectral_norm, spectral_norm_of_sum
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.plan import BLOCK_ELEMENTS, MergePlan, PlannedAdapter, TensorJob, make_plan
from peft_registry.trainer.merge.stream import WHOLE_PARAMETERS
from peft_registry.trainer.merge.tensors import DTYPES, StoredTensor, checkpoint_tensors, matrix_of
from peft_registry.trainer.merge.updates import LoadedUpdate, LowRank, Stacked, difference_of

_ALONE = Share("", 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class WeightChange:
    """How far weights are from those of the base. Norms are Frobenius; counts are of parameters, None where not counted.

    `relative_norm`: ‖W' − W‖ / ‖W‖ over every tensor of the base; None where the base is zero or a value is not finite.
    """

    relative_norm: float | None
    modules: tuple[ModuleChange, ...]
    changed: int | None = None


def change_of_adapter(base: Path, adapter: Path) -> WeightChange:
    """What the adapter folder of peft changes in the checkpoint folder `base`, as it is stored.

    Raises:
        AdapterNotRead, AdapterOptionRefused, AdapterTensorUnmatched, TiedMergeRefused, VocabularyResized,
        TensorFormNotMergeable, ArchitectureNotMergeable, NumberFormatRefused: no weights can say what it does.
    """
    tensors = checkpoint_tensors(base)
    names = model_names(base, tensors)
    planned = PlannedAdapter(_ALONE, adapter.name, fold(read_adapter(adapter), names))
    return _measured(make_plan(base, tensors, names, [planned], dtype="F32"))


def change_of_model(base: Path, model: Path) -> WeightChange | None:
    """What a whole model has otherwise than the base; None where the two do not hold the same tensors."""
    before = {tensor.name: tensor for tensor in checkpoint_tensors(base)}
    after = {tensor.name: tensor for tensor in checkpoint_tensors(model)}
    if _shapes(before) != _shapes(after):
        return None
    modules = []
    changed = 0
    squares = []
    stored = []
    with torch.inference_mode(), ExitStack() as stack:
        every = sorted({tensor.path for tensor in (*before.values(), *after.values())})
        files = {path: stack.enter_context(reading(path)) for path in every}
        for name, old in before.items():
            new = after[name]
            if old.dtype not in DTYPES or new.dtype not in DTYPES:
                continue
            blocks = list(_pairs(old, files[old.path], new, files[new.path]))
            change = change_of(TensorJob(name, old, "F32"), blocks, None)
            squares.append(change.weight_norm)
            stored.append(change.stored_norm)
            changed += change.changed
            if change.changed:
                modules.append(
                    ModuleChange(
                        name=name,
                        shape=change.shape,
                        relative_norm=change.relative_norm,
                        cosine=change.cosine,
                        changed_share=change.changed_share,
                    )
                )
    return WeightChange(_ratio(math.hypot(*stored), math.hypot(*squares)), tuple(modules), changed)


def _shapes(tensors: dict[str, StoredTensor]) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _pairs(old: StoredTensor, old_file: OpenFile, new: StoredTensor, new_file: OpenFile) -> Iterator[BlockSums]:
    for begin, end in _blocks(old.shape):
        weight = old.rows(old_file, begin, end).float()
        after = new.rows(new_file, begin, end).float()
        yield BlockSums.of(weight, after - weight, after, torch.empty_like(weight))


def _measured(plan: MergePlan) -> WeightChange:
    modules = []
    squares = []
    stored = []
    with torch.inference_mode(), ExitStack() as stack:
        files = {path: stack.enter_context(reading(path)) for path in sorted({job.source.path for job in plan.jobs()})}
        for job in plan.jobs():
            weight, module, norm = _of_job(job, files[job.source.path])
            if job.name == job.source.name:  # a head of its own begins as the embedding, which counts already
                squares.append(weight)
            if module is not None:
                modules.append(module)
                stored.append(norm)
    relative = _ratio(math.hypot(*stored), math.sqrt(math.fsum(squares)))
    return WeightChange(relative, tuple(modules) if relative is not None else ())


def _of_job(job: TensorJob, file: OpenFile) -> tuple[float, ModuleChange | None, float]:
    """(‖W‖², what changes, ‖Δ‖) of one tensor; nothing changes where no update names it."""
    if not job.updates:
        if job.source.dtype not in DTYPES:  # integers, such as positions: no number of theirs is a weight
            return 0.0, None, 0.0
        weights = (job.source.rows(file, begin, end).float() for begin, end in _blocks(job.shape))
        return math.fsum(_dot(block, block) for block in weights), None, 0.0
    ((_, update),) = job.updates
    loaded = update.load()
    if isinstance(loaded, LowRank | Stacked):
        return _low_rank(job, file, loaded)
    return _blockwise(job, file, loaded, is_whole=update.needs_all_rows or job.parameters <= WHOLE_PARAMETERS)


def _low_rank(job: TensorJob, file: OpenFile, loaded: LowRank | Stacked) -> tuple[float, ModuleChange, float]:
    parts = loaded.parts if isinstance(loaded, Stacked) else (loaded,)
    rows_each = loaded.rows_each if isinstance(loaded, Stacked) else matrix_of(job.shape)[0]
    square = math.fsum(_square(part) for part in parts)
    squares = []
    products = []
    for at, part in enumerate(parts):
        for begin, end in _blocks((rows_each, matrix_of(job.shape)[1])):
            weight = job.source.rows(file, at * rows_each + begin, at * rows_each + end).float()
            squares.append(_dot(weight, weight))
            products.append(_product(part, weight, begin, end))
    weight_square = math.fsum(squares)
    product = math.fsum(products)
    after = math.sqrt(max(weight_square + 2 * product + square, 0.0))
    length = math.sqrt(weight_square) * after
    module = ModuleChange(
        name=job.name,
        shape=job.shape,
        relative_norm=_ratio(math.sqrt(square), math.sqrt(weight_square)),
        spectral_norm=_finite(spectral_norm_of_sum([(_ALONE, loaded)])),
        cosine=_finite(min(1.0, (weight_square + product) / length)) if length else None,
    )
    return weight_square, module, math.sqrt(square)


def _square(part: LowRank) -> float:
    """‖s·B·A‖² by the trace of two Gram matrices."""
    a = part.a.double()
    b = part.b.double()
    return max(part.scale**2 * float(((b.t() @ b) * (a @ a.t())).sum()), 0.0)


def _product(part: LowRank, weight: torch.Tensor, begin: int, end: int) -> float:
    """⟨W, Δ⟩ over rows `begin` to `end`."""
    if part.is_transposed:
        inner = (part.a[:, begin:end] @ weight) * part.b.t()
    else:
        inner = (part.b[begin:end].t() @ weight) * part.a
    return part.scale * float(inner.sum(dtype=torch.float64))


def _blockwise(
    job: TensorJob, file: OpenFile, loaded: LoadedUpdate, *, is_whole: bool
) -> tuple[float, ModuleChange | None, float]:
    rows = matrix_of(job.shape)[0]
    sums = []
    spectral = None
    for begin, end in ((0, rows),) if is_whole else _blocks(job.shape):
        weight = job.source.rows(file, begin, end).float()
        meant = difference_of(loaded, weight, begin, end)
        sums.append(BlockSums.of(weight, meant, weight + meant, torch.empty_like(weight)))
        if is_whole and sums[-1].is_finite:
            spectral = spectral_norm(meant)
    change = change_of(job, sums, spectral)
    if not change.changed:
        return change.weight_norm**2, None, 0.0
    module = ModuleChange(
        name=change.name,
        shape=change.shape,
        relative_norm=_finite(change.relative_norm),
        spectral_norm=_finite(spectral),
        cosine=_finite(change.cosine),
        changed_share=change.changed_share,
    )
    return change.weight_norm**2, module, change.stored_norm


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    rows, columns = matrix_of(shape)
    step = max(1, BLOCK_ELEMENTS // max(columns, 1))
    return ((begin, min(begin + step, rows)) for begin in range(0, rows, step))


def _dot(first: torch.Tensor, other: torch.Tensor) -> float:
    return float(torch.dot(first.reshape(-1), other.reshape(-1)))


def _ratio(change: float, weight: float) -> float | None:
    return _finite(change / weight) if weight else None


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
