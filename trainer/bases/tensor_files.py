"""Writing and checking what a method trained: the same tensors give the same bytes, and keys must match exactly."""

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from peft_registry.schemas.errors import IntegrityBroken

# where a model came from on this machine, and with what it was written: neither says what it is
_LOCAL_KEYS = ("_name_or_path", "name_or_path", "transformers_version")


class WeightsMismatch(IntegrityBroken):
    what = "the weights in {folder.name} do not belong to this base and configuration"
    why = "{reason}"
    fix = "use the base that the artifact names; `registry verify` says whether the files are whole"

    folder: Path
    reason: str


class AdapterConfigRefused(IntegrityBroken):
    what = "adapter_config.json cannot be used"
    why = "{reason}"
    fix = "use the version of peft that wrote it, or fetch the artifact again"

    reason: str


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """One safetensors file; its only metadata is `{"format": "pt"}`, because more keys would come in random order.

    Raises:
        OSError: it cannot be written.
    """
    ready = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    try:
        save_file(ready, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise _as_os_error(error) from error
    path.chmod(0o644)


def _as_os_error(error: SafetensorError) -> OSError:
    """What the operating system said: the library is written in Rust and keeps the number only in its text."""
    match = re.search(r"\(os error (\d+)\)", str(error))
    number = int(match[1]) if match else errno.EIO
    return OSError(number, os.strerror(number))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of one safetensors file.

    Raises:
        WeightsMismatch: the file is missing or malformed.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsMismatch(path.parent, f"{path.name} cannot be read ({type(error).__name__})") from error
    return tensors


def write_json(value: Any, path: Path) -> None:  # value: any JSON value
    """Sorted keys, two spaces, a final line feed."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def tidy_config(path: Path, *, without: tuple[str, ...] = (), **changes: Any) -> None:  # changes: any JSON values
    """Rewrite a configuration that transformers saved: `changes` put in; `without` and what is of this machine left out."""
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json({key: item for key, item in value.items() if key not in (*_LOCAL_KEYS, *without)}, path)


def require_same_keys(folder: Path, *, expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
    """Return when names and shapes are equal.

    Raises:
        WeightsMismatch: naming the first that is missing, left over, or shaped otherwise.
    """
    _refuse_first(folder, sorted(expected.keys() - found.keys()), "is missing from the file")
    _refuse_first(folder, sorted(found.keys() - expected.keys()), "has no place in the model")
    for name in sorted(expected):
        if expected[name].shape != found[name].shape:
            shapes = f"{list(found[name].shape)}, and the model has {list(expected[name].shape)}"
            raise WeightsMismatch(folder, f"tensor {name} has the shape {shapes}")


def _refuse_first(folder: Path, names: Iterable[str], what: str) -> None:
    for name in names:
        raise WeightsMismatch(folder, f"tensor {name} {what}")
