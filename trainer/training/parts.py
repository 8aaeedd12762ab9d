"""The state of a training whose weights are spread over processes: each writes its part, through torch's distributed checkpoints.

The parts are files of safetensors with their places in their headers (`HuggingFaceStorageWriter`), because torch's own form has an
index that is unpickled. They lie in a folder beside the checkpoint, which names it once all of them are written: a kill leaves the
old state or the new one whole.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_SUFFIX = ".parts"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a checkpoint says of its parts: their folder, how many processes wrote them, and the optimizer's state by the name of
    each parameter: names of tensors that are spread, and the values of those that are not."""

    folder: str
    processes: int
    spread: Mapping[str, tuple[str, ...]]
    plain: Mapping[str, Mapping[str, torch.Tensor]]

    def to_keep(self) -> dict[str, Any]:
        """In plain values and tensors, which torch's restricted reader takes."""
        return {
            "folder": self.folder,
            "processes": self.processes,
            "spread": {name: list(keys) for name, keys in self.spread.items()},
            "plain": {name: dict(values) for name, values in self.plain.items()},
        }

    @classmethod
    def kept(cls, value: Mapping[str, Any]) -> "Parts":
        """What `to_keep` gave.

        Raises:
            KeyError, TypeError, ValueError: it did not.
        """
        folder = str(value["folder"])
        if Path(folder).name != folder or not folder.endswith(_SUFFIX):
            raise ValueError(f"{folder!r} is not the name of a folder of parts")
        spread = {name: tuple(keys) for name, keys in value["spread"].items()}
        return cls(folder, int(value["processes"]), spread, value["plain"])


def save_parts(path: Path, step: int, model: Any, optimizer: Any) -> Parts:
    """Write what this process holds of the trained parameters and of the optimizer's state; all processes do so at once.

    Args:
        path: of the checkpoint, beside which the folder of the parts is made.
        step: that was the last.
        model, optimizer: torch's.

    Raises:
        OSError: it cannot be written.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    folder = path.parent / f"{path.stem}-{step}{_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    state, parts = _state(folder.name, model, optimizer)
    with _quietly():
        save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    return parts


def remove_other_parts(path: Path, parts: Parts) -> None:
    """Remove the parts of states of this name that its checkpoint no longer names."""
    for folder in path.parent.glob(f"{path.stem}-*{_SUFFIX}"):
        if folder.name != parts.folder:
            shutil.rmtree(folder, ignore_errors=True)


def load_parts(path: Path, parts: Parts, model: Any, optimizer: Any) -> None:
    """Put the state into a model and an optimizer that are spread likewise; all processes do so at once.

    Raises:
        OSError, ValueError: they are not the parts of this model.
    """
    trained = _trained(model)
    if trained.keys() != parts.spread.keys():
        raise ValueError("other parameters are trained")
    for name, parameter in trained.items():
        optimizer.state[parameter] = {
            **{key: torch.zeros_like(parameter) for key in parts.spread[name]},
            **{key: value.clone() for key, value in parts.plain.get(name, {}).items()},
        }
        if not optimizer.state[parameter]:
            del optimizer.state[parameter]
    state, _ = _state(parts.folder, model, optimizer)
    _load(path.parent / parts.folder, state, is_alone=False)


def load_whole(path: Path, parts: Parts, model: Any) -> None:
    """Put the trained parameters together in a model that is whole, in one process.

    Raises:
        OSError, ValueError: they are not the parameters of this model.
    """
    trained = _trained(model)
    if trained.keys() != parts.spread.keys():
        raise ValueError("other parameters are trained")
    state = {_key(name): parameter.detach() for name, parameter in trained.items()}
    _load(path.parent / parts.folder, state, is_alone=True)


def _load(folder: Path, state: dict[str, Any], *, is_alone: bool) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    if not folder.is_dir():
        raise ValueError(f"{folder.name} is missing")
    try:
        with _quietly():
            load(state, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=is_alone)
    except CheckpointException as error:  # not an Exception: it carries those of all processes
        raise ValueError(f"{folder.name} does not hold this model's state") from error


def _state(folder: str, model: Any, optimizer: Any) -> tuple[dict[str, torch.Tensor], Parts]:
    """Each tensor that is spread under a name of its own, and what is said of them."""
    from torch.distributed.tensor import DTensor

    state: dict[str, torch.Tensor] = {}
    spread: dict[str, tuple[str, ...]] = {}
    plain: dict[str, dict[str, torch.Tensor]] = {}
    for name, parameter in _trained(model).items():
        state[_key(name)] = parameter.detach()
        kept = optimizer.state.get(parameter, {})
        spread[name] = tuple(key for key, value in kept.items() if isinstance(value, DTensor))
        plain[name] = {key: value for key, value in kept.items() if not isinstance(value, DTensor)}
        state |= {_key(name, key): kept[key] for key in spread[name]}
    return state, Parts(folder, torch.distributed.get_world_size(), spread, plain)


def _trained(model: Any) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _key(name: str, of_optimizer: str | None = None) -> str:
    return f"trained/{name}" if of_optimizer is None else f"optimizer/{name}/{of_optimizer}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Without torch's notes on what it is asked to do: that one process reads alone, for example."""
    log = logging.getLogger("torch.distributed.checkpoint")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            yield
    finally:
        log.setLevel(before)
