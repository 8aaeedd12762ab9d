"""What `registry merge --plan` shows: tensors touched, conflicts, memory, time and size, before anything is written."""

import os
import resource
import time
from typing import Any

from schemas.document import Frozen
from trainer.merge.plan import BLOCK_ELEMENTS, MergePlan, count_by_kind
from trainer.merge_inputs import Prepared, ingredients_of

_COPY_BYTES_A_SECOND = 1e9  # through the page cache, one core; only for the estimate of time
_SHOWN = 3


class Outlook(Frozen):
    """A merge that has not happened. Bytes, parameters, seconds."""

    name: str
    base: str
    base_policy: str
    algorithm: str
    dtype: str
    ingredients: tuple[dict[str, Any], ...]
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
        return self.model_dump(mode="json")

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each line, for people."""
        kinds = ", ".join(f"{kind} {count}" for kind, count in self.touched_by_kind.items())
        parts = ", ".join(f"{one['label']} × {one['weight']:g}" for one in self.ingredients)
        shown = ", ".join(self.conflicts[:_SHOWN]) + (" …" if len(self.conflicts) > _SHOWN else "")
        conflicts = (
            f"{len(self.conflicts)} tensors are changed by several adapters: {shown}" if self.conflicts else "none"
        )
        return (
            ("plan", f"{parts} into {self.base} ({self.base_policy}) by {self.algorithm}, result in {self.dtype}"),
            (
                "touched",
                f"{self.tensors_touched} of {self.tensors_total} tensors, {self.parameters_touched / 1e6:.2f} M",
            ),
            ("kinds", kinds),
            ("conflict", conflicts),
            (
                "size",
                f"{self.output_bytes / 1e6:.1f} MB, {self.disk_bytes / 1e6:.1f} MB on the disk while it is registered",
            ),
            ("memory", f"about {self.memory_bytes / 1e6:.0f} MB for the merge; the figures load one model at a time"),
            ("time", f"about {self.seconds:.1f} s for the merge, without loading and figures"),
            ("name", f"{self.name}, a new version"),
        )


def outlook_of(prepared: Prepared) -> Outlook:
    """The outlook of a prepared merge; its time is estimated from one block, tried here."""
    plan, workers = prepared.require_plan(), len(os.sched_getaffinity(0))
    jobs, touched = tuple(plan.jobs()), plan.touched
    libraries = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Outlook(
        name=prepared.name,
        base=prepared.base.version.label,
        base_policy=prepared.policy,
        algorithm=plan.algorithm,
        dtype=plan.dtype,
        ingredients=tuple(
            {"label": one.label, "manifest": str(one.manifest), "weight": one.weight, "density": one.density}
            for one in ingredients_of(prepared)
        ),
        tensors_total=len(jobs),
        tensors_touched=len(touched),
        touched_by_kind=count_by_kind(plan),
        parameters_touched=sum(job.parameters for job in touched),
        parameters_added=plan.parameters_added,
        conflicts=plan.conflicts,
        output_bytes=plan.output_bytes,
        disk_bytes=2 * plan.output_bytes,
        memory_bytes=libraries + plan.buffer_bytes(workers),
        seconds=round(_seconds(plan, workers), 2),
    )


def _seconds(plan: MergePlan, workers: int) -> float:
    import torch

    weight, delta = torch.ones(BLOCK_ELEMENTS), torch.ones(BLOCK_ELEMENTS)
    began = time.perf_counter()
    for _ in range(10):
        new = (weight + delta).bfloat16()
        stored = new.float().sub_(weight)
        torch.dot(stored, stored)
    block = (
        (time.perf_counter() - began) / 10 * 3
    )  # reading, the product and the other sums cost about twice that again
    parts = max(1, max((len(job.updates) for job in plan.touched), default=1))
    blocks = sum(job.parameters for job in plan.touched) / BLOCK_ELEMENTS
    return (blocks * block * parts + 2 * plan.output_bytes / _COPY_BYTES_A_SECOND) / workers
