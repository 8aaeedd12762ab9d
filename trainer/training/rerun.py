"""Stretches of a training run again from kept states, and held against the states at their ends. Knows no registry.

A stretch is resumed as a stopped run is: the method prepares the base anew, the state is put into model, optimizer and generators,
and the loop goes on with the same batches. So equal software on equal hardware gives the same bits.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from peft_registry.registry.disk.files import scratch_folder
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.checkpoints import (
    STATE_NAME,
    CheckpointBroken,
    Checkpoints,
    put_parameters,
    random_state,
    trained_parameters,
)
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.mixed_precision import loss_scaler
from peft_registry.trainer.training.optimizers import optimizer_for
from peft_registry.trainer.training.train_adapter import LoadedSetting
from peft_registry.trainer.training.trials import layout_in, prepared


@dataclass(frozen=True, slots=True)
class Difference:
    """How a state that was computed again differs from the kept one.

    Attributes:
        parts: what of it is another: weights, optimizer, loss scale, generators, losses; none where all of it has the
            same bits.
        distance: between the two weights, as a share of how far the stretch moved them.
    """

    parts: tuple[str, ...]
    distance: float


def run_stretch(loaded: LoadedSetting, begin: Path, end: Path, *, observe: Observe = ignore) -> Difference:
    """Run the steps between two kept states again, and hold what comes out against the second.

    Args:
        loaded: the base as it is loaded, and what is trained on it; nothing else is trained on it afterwards.
        begin: the state before the first of the steps.
        end: that after the last.
        observe: hears of each step.

    Raises:
        CheckpointBroken: one of them is not a state of this run.
        LossDiverged, OutOfMemory: the steps failed.
    """
    first, last = _state(begin), _state(end)
    setting = loaded.setting
    seed = setting.config.training.seed
    model = _prepared(loaded)
    optimizer = optimizer_for(model, setting.config)
    scaler = loss_scaler(setting.device, setting.products)
    with scratch_folder("registry-rerun-") as scratch:
        (scratch / STATE_NAME).symlink_to(begin.resolve())
        result = train(
            model,
            replace(setting.batches, seed=seed),
            setting.config.training,
            device=setting.device,
            products=setting.products,
            scaler=scaler,
            optimizer=optimizer,
            layout=layout_in(model, setting.config),
            checkpoints=Checkpoints(scratch),
            until=len(last["progress"]["losses"]),
            observe=observe,
        )
    weights = trained_parameters(model)
    again = {
        "weights": weights,
        "optimizer": optimizer.state_dict(),
        "loss scale": scaler.state_dict(),
        "generators": random_state(),
        "losses": list(result.curve.loss),
    }
    kept = {
        "weights": last["trained"],
        "optimizer": last["optimizer"],
        "loss scale": last.get("scaler", {}),  # states of an earlier release have none
        "generators": last["generators"][0],
        "losses": last["progress"]["losses"],
    }
    parts = tuple(part for part in again if not _is_equal(again[part], kept[part]))
    return Difference(parts, _distance(weights, first["trained"], last["trained"]))


def save_last(loaded: LoadedSetting, first: Path, last: Path, folder: Path, *, base: BaseToOpen) -> bool:
    """Write the weights of the last state as a training writes its result, and return how the first began.

    Args:
        loaded: as `run_stretch`.
        first: the state before the first step.
        last: that after the last.
        folder: an empty folder.
        base: what a reader opens besides.

    Returns:
        Whether the weights of the first state are, to the last bit, those that the method begins with.

    Raises:
        CheckpointBroken: one of them is not a state of this run.
    """
    model = _prepared(loaded)
    begins_at_seed = _is_equal(trained_parameters(model), _state(first)["trained"])
    put_parameters(last, model, _state(last)["trained"])
    implementation(loaded.setting.config.method).save(model.eval(), folder, base=base)
    return begins_at_seed


def losses_of(state: Path) -> tuple[float, ...]:
    """The losses of all steps up to a state.

    Raises:
        CheckpointBroken: it is not a state.
    """
    return tuple(_state(state)["progress"]["losses"])


def _prepared(loaded: LoadedSetting) -> Any:
    """The base as the method prepares it from the seed."""
    config = loaded.setting.config
    return prepared(implementation(config.method), loaded.base, loaded.setting, config.training.seed)


def _state(path: Path) -> Mapping[str, Any]:
    """What a state holds, read with torch's restricted reader.

    Raises:
        CheckpointBroken: it is none.
    """
    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
        _ = value["trained"], value["optimizer"], value["generators"][0], value["progress"]["losses"]
    except Exception as error:  # torch raises what its reader, zip or pickle raised, which is not listed anywhere
        raise CheckpointBroken(path, f"it cannot be read ({type(error).__name__})") from error
    return dict(value)


def _is_equal(one: Any, other: Any) -> bool:
    """Whether two states have the same bits; tensors wherever they are, and generators of GPUs where both have some."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        here, there = one.detach().cpu(), other.detach().cpu()
        return here.dtype == there.dtype and torch.equal(here, there)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_equal, one, other))
    return bool(one == other)


def _distance(again: Mapping[str, Any], first: Mapping[str, Any], last: Mapping[str, Any]) -> float:
    """‖again − last‖ / ‖last − first‖ over all trained weights, in float64."""
    if again.keys() != last.keys() or first.keys() != last.keys():
        return math.inf
    missed = _norm((again[name], last[name]) for name in last)
    moved = _norm((first[name], last[name]) for name in last)
    if missed == 0:
        return 0.0
    # a stretch that moved nothing cannot be missed by a share of its way
    return missed / moved if moved else math.inf


def _norm(pairs: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> float:
    squares = (float(((one.detach().cpu().double() - other.cpu().double()) ** 2).sum()) for one, other in pairs)
    return math.sqrt(sum(squares))
