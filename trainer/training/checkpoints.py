"""The state of a training between two steps, on disk: enough to go on to exactly the weights it would have had.

One file: the trained parameters by name (whatever the method wraps), the optimizer, the loss scale, every random generator, the
position in the data, the loss history and what was counted. It is written beside and renamed, so that a kill leaves the old or the
new one whole. It is read with torch's restricted reader: a file that holds anything but tensors and plain values is refused.
"""

import os
import pickle
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.run_states import STATES_FOLDER
from peft_registry.trainer.machine.processes import ALONE, Processes
from peft_registry.trainer.machine.system_metrics import SystemSampler
from peft_registry.trainer.training.parts import Parts, load_parts, load_whole, remove_other_parts

STATE_NAME = "checkpoint.pt"
FAILED_NAME = "failed.pt"
_FORMAT = 1


class CheckpointBroken(IntegrityBroken):
    what = "the checkpoint {path.parent.name}/{path.name} cannot be resumed"
    why = "{reason}"
    fix = "start the run anew with `registry train CONFIG`"

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class BestLook:
    """The best look at the held-out rows so far: its step, its figure, and the trained parameters by name, on the CPU."""

    step: int
    value: float
    weights: Mapping[str, torch.Tensor]


@dataclass(slots=True)
class TrainingProgress:
    """What a run counts, over all the processes that it took; `shapes` maps (tokens, Σ T², supervised) of a batch to how
    often it was computed, `answered` holds tokens, Σ T² and positions through the output head of what the looks asked.

    `best` and the looks since are kept where early stopping chooses.
    """

    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    padding: int = 0
    supervised: int = 0
    seconds: float = 0.0
    energy_kwh: float | None = None
    peak_bytes: int | None = None
    peak_is_own: bool = False
    looks: int = 0  # at the held-out rows
    answered: list[int] = field(default_factory=lambda: [0, 0, 0])
    best: BestLook | None = None
    looks_since_best: int = 0
    resumed_at: int | None = None
    shapes: dict[tuple[int, int, int], int] = field(default_factory=dict)
    passed_over: int = 0  # steps whose gradients overflowed, which changed no weight
    inexact: list[str] = field(default_factory=list)  # operations that a GPU has no deterministic kernel for
    system: SystemSampler = field(default_factory=SystemSampler)

    @property
    def step(self) -> int:
        return len(self.losses)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a run keeps its state, and how often: after so many steps, and after so many seconds without; None for neither.

    `stretches` is into how many the steps are parted at whose ends the state is kept besides, to be run again by others.
    `saved` is told of each step that was saved, and of how many there are.
    """

    folder: Path
    every_steps: int | None = None
    every_seconds: float | None = None
    stretches: int | None = None
    saved: Callable[[int, int], None] = lambda *_: None

    @property
    def path(self) -> Path:
        return self.folder / STATE_NAME

    @property
    def audited(self) -> Path:
        """The folder of the states that others run again."""
        return self.folder / STATES_FOLDER

    def ends_stretch(self, step: int, total: int) -> bool:
        """Whether a stretch ends after this step of so many; 0 is before the first, which begins."""
        if self.stretches is None:
            return False
        parts = min(self.stretches, total)
        return any(round(part * total / parts) == step for part in range(parts + 1))

    def due(self, step: int, seconds_since: float) -> bool:
        """Whether the state is to be kept after this step (from 1), so long after it was kept last."""
        by_steps = self.every_steps is not None and step % self.every_steps == 0
        by_time = self.every_seconds is not None and seconds_since >= self.every_seconds
        return by_steps or by_time


def random_state() -> dict[str, Any]:
    """Every generator that a model may draw from, in plain values and tensors."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put every generator back."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    random.setstate(state["python"])


def save_state(
    path: Path,
    model: Any,
    optimizer: Any,
    scaler: Any,
    progress: TrainingProgress,
    *,
    total: int,
    generators: list[Any],
    parts: Parts | None = None,
) -> None:
    """Write the state atomically and durably.

    Args:
        path: of the file; its folder is created.
        model, optimizer, scaler: torch's; of a loss that is not scaled nothing is kept.
        progress: of the steps that are done.
        total: steps of the whole run.
        generators: `random_state()` of every process, by rank.
        parts: where parameters and optimizer were written, where they are spread over processes.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    value = {
        "format": _FORMAT,
        "total": total,
        "trained": trained_parameters(model) if parts is None else {},
        "optimizer": optimizer.state_dict() if parts is None else {},
        "scaler": scaler.state_dict(),
        "parts": None if parts is None else parts.to_keep(),
        "generators": generators,
        "progress": _progress_to_keep(progress),
    }
    with beside.open("wb") as stream:
        torch.save(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if parts is not None:
        remove_other_parts(path, parts)


def _progress_to_keep(progress: TrainingProgress) -> dict[str, Any]:
    """In plain values, which torch's restricted reader takes."""
    plain = {entry.name: getattr(progress, entry.name) for entry in fields(progress)}
    metrics = progress.system.metrics
    best = progress.best
    return plain | {
        "best": None if best is None else [best.step, best.value, dict(best.weights)],
        "shapes": [[*shape, count] for shape, count in progress.shapes.items()],
        "system": None if metrics is None else metrics.to_json(),
    }


def load_state(
    path: Path, model: Any, optimizer: Any, scaler: Any, *, total: int, processes: Processes = ALONE
) -> TrainingProgress:
    """Put a saved state into model, optimizer, scaler and generators.

    Args:
        path: of the file.
        model, optimizer, scaler: torch's.
        total: steps of the whole run.
        processes: of which this is one; where the state is spread and they are not, all steps must have been trained.

    Raises:
        CheckpointBroken: it is not the state of this model and this run.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        progress = value["progress"]
        generators = value["generators"]
        if processes.size != len(generators):
            raise CheckpointBroken(path, f"it is of {len(generators)} processes, and here are {processes.size}")
        if value["format"] != _FORMAT or value["total"] != total:
            raise CheckpointBroken(path, "it is of a run with another number of steps, or of another version")
        # a checkpoint of an earlier release has none
        parts = None if value.get("parts") is None else Parts.kept(value["parts"])
        if (parts is not None) != processes.spreads and (parts is None or len(progress["losses"]) < total):
            raise CheckpointBroken(path, "weights were spread over the processes in one of checkpoint and run alone")
        if parts is None:
            put_parameters(path, model, value["trained"])
            optimizer.load_state_dict(value["optimizer"])
        elif processes.spreads:
            load_parts(path, parts, model, optimizer)
        else:
            load_whole(path, parts, model)
        # a checkpoint of an earlier release has none, which is right for every loss but one of fp16
        scaler.load_state_dict(value.get("scaler", {}))
        set_random_state(generators[processes.rank])
        shapes = {(tokens, squares, learnt): count for tokens, squares, learnt, count in progress.pop("shapes")}
        # a checkpoint of an earlier release has none
        system = SystemSampler.resumed(progress.pop("system", None))
        best = progress.pop("best", None)
        return TrainingProgress(
            **progress, shapes=shapes, system=system, best=None if best is None else BestLook(*best)
        )
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError) as error:
        raise CheckpointBroken(path, f"it cannot be read ({type(error).__name__})") from error


def trained_parameters(model: Any) -> dict[str, torch.Tensor]:
    """What is trained, by name: every part of it, however many adapters the method put in."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def copy_of_trained(model: Any) -> dict[str, torch.Tensor]:
    """A copy of what is trained, by name, in the memory of the CPU."""
    return {name: parameter.to("cpu", copy=True) for name, parameter in trained_parameters(model).items()}


def put_parameters(path: Path, model: Any, saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved parameters into the model.

    Raises:
        CheckpointBroken: names or shapes are not exactly those that the model trains.
    """
    here = trained_parameters(model)
    if here.keys() != saved.keys():
        odd = sorted(here.keys() ^ saved.keys())[0]
        raise CheckpointBroken(path, f"{odd} is in only one of checkpoint and model")
    with torch.no_grad():
        for name, parameter in here.items():
            if parameter.shape != saved[name].shape:
                raise CheckpointBroken(path, f"{name} has another shape")
            parameter.copy_(saved[name])
