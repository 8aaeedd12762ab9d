"""One loaded base under several trainings in a row: each adapter is taken off before the next one is put on.

That the base is as it was is not believed but looked at: names, shapes and bytes of all its tensors are digested when it is
loaded and after each adapter was taken off. Where they differ, and after a method that trains tensors of the base itself,
the next training loads its base anew.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from peft_registry.registry.disk.files import StatKey
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.methods import changes_loaded_base, taken_off

FilesKey = tuple[tuple[str, Digest | StatKey], ...]


@dataclass(frozen=True, slots=True)
class _Loaded:
    asked: tuple[FilesKey, dict[str, Any]]
    model: Any  # transformers' PreTrainedModel
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    digest: str


class SharedBase:
    """Give `load` to a training, and what it trained to `take_off` once nobody needs it any more."""

    def __init__(self, observe: Observe = ignore) -> None:
        self._observe = observe
        self._lent: _Loaded | None = None
        self._free: _Loaded | None = None
        self.loads = 0  # how often a base was read from its files

    def load(self, folder: Path, **how: Any) -> tuple[Any, Any]:  # keywords of load_base
        """As `load_base`, from memory where the very same was asked for before and is as it was.

        A base that is offloaded lies in the scratch of one run, and is loaded for each.
        """
        asked = (_files_key(folder), how | {"scratch": None})
        there = self._free
        self._free = None
        if there is None or there.asked != asked:
            if self.loads:
                self._observe(Said("base", "loaded anew: the one before was trained, or is offloaded"))
            del there
            model, tokenizer = load_base(folder, **how)
            self.loads += 1
            there = _Loaded(asked, model, tokenizer, "" if how.get("offload") else state_digest(model))
        self._lent = there
        return there.model, there.tokenizer

    def take_off(self, model: Any, config: TrainingFile) -> None:
        """Take the adapter off a model that was trained on the base of `load`, and keep the base if it is as it was."""
        lent = self._lent
        self._lent = None
        if lent is None:
            return
        base = None if config.offload is not None or changes_loaded_base(config) else taken_off(config, model)
        if base is None or state_digest(base) != lent.digest:
            return
        for parameter in base.parameters():
            parameter.requires_grad_(parameter.is_floating_point())  # as it came from its files
        self._free = replace(lent, model=base.eval())
        self._observe(Said("base", "the adapter is off, every tensor of the loaded base is as it was"))


def _files_key(folder: Path) -> FilesKey:
    """What the files of a folder are: each run has a private folder of its own, and large files are links to the same ones."""
    return tuple(
        (
            path.relative_to(folder).as_posix(),
            # a copy of weights is this run's own, and digesting it would take as long as loading it
            StatKey.of_path(path.resolve()) if path.suffix == ".safetensors" else hash_file(path.resolve()).sha256,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def state_digest(model: Any) -> str:
    """SHA-256 over name, type, shape and bytes of every parameter and buffer, in the order of the names."""
    digest = hashlib.sha256()
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()
