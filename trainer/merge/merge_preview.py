"""What `registry merge --plan` shows: what would be made of what, conflicts, memory, time and size, before anything is written."""

import time
from typing import Any, Literal

from peft_registry.registry.reports.text import plain_size
from peft_registry.schemas.document import Frozen
from peft_registry.trainer.machine.environment import cores
from peft_registry.trainer.machine.peak_memory import peak_bytes
from peft_registry.trainer.merge.adapter import CONFIG, WEIGHTS, read_adapter
from peft_registry.trainer.merge.bundle import parameters_of_side_parts
from peft_registry.trainer.merge.concatenate import require_plain, result_shapes
from peft_registry.trainer.merge.ingredients import Ingredient, Prepared, algorithm_of, ingredients_of
from peft_registry.trainer.merge.plan import BLOCK_ELEMENTS, MergePlan, count_by_kind

_COPY_BYTES_A_SECOND = 1e9  # through the page cache, one core; only for the estimate of time
_FLOP_A_SECOND = 1e9  # of a factorisation in fp64 on one core; only for the estimate of time
_SHOWN = 3


class MergePreview(Frozen):
    """A merge that has not happened. Bytes, parameters, seconds.

    `makes` a whole model, one adapter in place of several, or a bundle; `why_bundled` says why something stays beside the weights.
    Touched are the tensors of the base that change; conflicts are those, or for an adapter the modules, that several ingredients
    change.
    """

    name: str
    makes: Literal["model", "adapter", "bundle"]
    base: str
    base_policy: str
    algorithm: str
    dtype: str
    ingredients: tuple[dict[str, Any], ...]
    why_bundled: str | None
    tensors_total: int
    tensors_touched: int
    touched_by_kind: dict[str, int]
    parameters_touched: int
    parameters_added: int
    conflicts: tuple[str, ...]
    output_bytes: int
    disk_bytes: int
    memory_bytes: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.model_dump(mode="json")

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each line, for people."""
        seconds = f"about {self.seconds:.1f} s" if self.seconds >= 0.1 else "less than 0.1 s"
        return (
            ("plan", self._what()),
            *((("beside", f"not folded: {self.why_bundled}"),) if self.why_bundled else ()),
            *self._touched(),
            (
                "size",
                f"{plain_size(self.output_bytes)}, {plain_size(self.disk_bytes)} on the disk while it is registered",
            ),
            ("memory", f"about {self.memory_bytes / 1e6:.0f} MB for the merge; the figures load one model at a time"),
            ("time", f"{seconds} for the merge, without loading and figures"),
            ("name", f"{self.name}, a new version"),
        )

    def _what(self) -> str:
        parts = ", ".join(f"{ingredient['label']} × {ingredient['weight']:g}" for ingredient in self.ingredients)
        if self.makes == "adapter":
            return f"{parts} as one adapter of {self.base} by {self.algorithm}, result in {self.dtype}"
        if self.algorithm == "bundle":
            return f"{parts} as a bundle for {self.base}: no weights change"
        rest = ", the rest beside it in a bundle" if self.makes == "bundle" else ""
        return f"{parts} into {self.base} ({self.base_policy}) by {self.algorithm}, result in {self.dtype}{rest}"

    def _touched(self) -> tuple[tuple[str, str], ...]:
        shown = ", ".join(self.conflicts[:_SHOWN]) + (" …" if len(self.conflicts) > _SHOWN else "")
        what = "modules" if self.makes == "adapter" else "tensors"
        several = f"{len(self.conflicts)} {what} are changed by several adapters: {shown}" if self.conflicts else "none"
        if self.algorithm == "bundle":
            return ()
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.touched_by_kind.items())
        touched = f"{self.tensors_touched} of {self.tensors_total} tensors, {self.parameters_touched / 1e6:.2f} M"
        if self.makes == "adapter":
            touched = (
                f"none of the base; {self.tensors_total} factors of {self.parameters_added / 1e6:.2f} M are written"
            )
        return (("touched", touched), ("kinds", kinds), ("conflict", several))


def preview_of(prepared: Prepared) -> MergePreview:
    """The outlook of a prepared merge; its time is estimated from one block, tried here.

    Raises:
        NotConcatenable: an adapter cannot stay one.
    """
    if prepared.plan is not None:
        return _of_folding(prepared, prepared.plan)
    return _of_bundle(prepared) if prepared.why_bundled is not None else _of_adapter(prepared)


def _of_folding(prepared: Prepared, plan: MergePlan) -> MergePreview:
    workers = cores()
    jobs = tuple(plan.jobs())
    touched = plan.touched
    alongside = prepared.runs_alongside
    written = plan.output_bytes
    if alongside is not None:
        written += _side_part_bytes(alongside)
    return MergePreview(
        **_common(prepared),
        makes="model" if alongside is None else "bundle",
        dtype=plan.dtype,
        tensors_total=len(jobs),
        tensors_touched=len(touched),
        touched_by_kind=count_by_kind(plan),
        parameters_touched=sum(job.parameters for job in touched),
        parameters_added=plan.parameters_added + parameters_of_side_parts(prepared),
        conflicts=plan.conflicts,
        output_bytes=written,
        disk_bytes=2 * written,
        memory_bytes=_libraries() + plan.buffer_bytes(workers),
        seconds=round(_seconds(plan, workers), 2),
    )


def _of_adapter(prepared: Prepared) -> MergePreview:
    adapters = [read_adapter(ingredient.folder) for ingredient in prepared.adapters]
    for adapter, ingredient in zip(adapters, prepared.adapters, strict=True):
        require_plain(adapter, ingredient.version.label)
    modules = result_shapes(adapters, prepared.request.rank)
    parameters = sum(module.rank * (module.rows + module.columns) for module in modules)
    kinds: dict[str, int] = {}
    for module in modules:
        kind = module.name.rpartition(".")[2]
        kinds[kind] = kinds.get(kind, 0) + 1
    widest = max(module.sum_of_ranks * (module.rows + module.columns) for module in modules)
    # roughly: two QR factorisations, and the SVD of the small square between them
    work = sum(
        20.0 * module.sum_of_ranks**2 * (module.rows + module.columns + module.sum_of_ranks) for module in modules
    )
    return MergePreview(
        **_common(prepared),
        makes="adapter",
        dtype="float32",
        tensors_total=2 * len(modules),
        tensors_touched=0,
        touched_by_kind=dict(sorted(kinds.items())),
        parameters_touched=0,
        parameters_added=parameters,
        conflicts=tuple(module.name for module in modules if module.adapters > 1),
        output_bytes=4 * parameters,
        disk_bytes=8 * parameters,
        memory_bytes=_libraries() + 4 * parameters + 8 * 4 * widest,
        seconds=round(work / _FLOP_A_SECOND, 2),
    )


def _of_bundle(prepared: Prepared) -> MergePreview:
    (ingredient,) = prepared.adapters
    written = _side_part_bytes(ingredient)
    return MergePreview(
        **_common(prepared),
        makes="bundle",
        dtype="as stored",
        tensors_total=0 if ingredient.side_part is None else len(read_adapter(ingredient.side_part).tensors),
        tensors_touched=0,
        touched_by_kind={},
        parameters_touched=0,
        parameters_added=parameters_of_side_parts(prepared),
        conflicts=(),
        output_bytes=written,
        disk_bytes=2 * written,
        memory_bytes=_libraries(),
        seconds=round(2 * written / _COPY_BYTES_A_SECOND, 2),
    )


def _common(prepared: Prepared) -> dict[str, Any]:
    ingredients = (
        {
            "label": ingredient.label,
            "manifest": str(ingredient.manifest),
            "weight": ingredient.weight,
            "density": ingredient.density,
        }
        for ingredient in ingredients_of(prepared)
    )
    return {
        "name": prepared.name,
        "base": prepared.base.version.label,
        "base_policy": prepared.policy,
        "algorithm": algorithm_of(prepared),
        "ingredients": tuple(ingredients),
        "why_bundled": prepared.why_bundled,
    }


def _side_part_bytes(ingredient: Ingredient) -> int:
    """Bytes of the part that stays beside the weights."""
    return (
        0
        if ingredient.side_part is None
        else sum((ingredient.side_part / name).stat().st_size for name in (CONFIG, WEIGHTS))
    )


def _libraries() -> int:
    """What this process has taken so far, the libraries above all."""
    return peak_bytes("cpu")


def _seconds(plan: MergePlan, workers: int) -> float:
    import torch

    weight = torch.ones(BLOCK_ELEMENTS)
    delta = torch.ones(BLOCK_ELEMENTS)
    began = time.perf_counter()
    for _ in range(10):
        new = (weight + delta).bfloat16()
        stored = new.float().sub_(weight)
        torch.dot(stored, stored)
    # reading, the product and the other sums cost about twice that again
    block = (time.perf_counter() - began) / 10 * 3
    parts = max(1, max((len(job.updates) for job in plan.touched), default=1))
    blocks = sum(job.parameters for job in plan.touched) / BLOCK_ELEMENTS
    return (blocks * block * parts + 2 * plan.output_bytes / _COPY_BYTES_A_SECOND) / workers
