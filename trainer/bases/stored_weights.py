"""Weights of a base as its files hold them in fp32, read one at a time while memory holds them narrowed to bf16.

What is said of an adapter is said of it on its base as that is stored. Reading a layer's weight when it computes takes the room
of that one layer; a second, wider copy of the base would take twice what training took.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.intake.safetensors import TensorSpan, read_header

if TYPE_CHECKING:
    import torch

# what peft and our own layers put into the names of the parameters that they wrap
_WRAPPERS = re.compile(r"(?<=\.)(?:base_layer|original_module)\.")


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """A tensor of fp32 numbers in a file, `begin` bytes from its start."""

    path: Path
    begin: int
    shape: tuple[int, ...]

    def read(self, first: int, count: int, space: "torch.Tensor") -> None:
        """Fill `space`, fp32 on the CPU and contiguous, with `count` numbers from the `first` of them."""
        numbers: Any = space.numpy()  # a buffer, which numpy's types do not say
        view = memoryview(numbers).cast("B")[: 4 * count]
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.begin + 4 * first)
            read = 0
            while read < len(view):
                more = file.readinto(view[read:])
                if not more:
                    raise OSError(f"{self.path.name} ended within a tensor")
                read += more

    def whole(self) -> "torch.Tensor":
        """All of it."""
        import torch

        space = torch.empty(self.shape, dtype=torch.float32)
        self.read(0, space.numel(), space.view(-1))
        return space

    def rows(self, numbers: "torch.Tensor") -> "torch.Tensor":
        """Some of its rows; of a file that is mapped, only their pages are read."""
        import numpy as np
        import torch

        mapped: Any = np.memmap(self.path, dtype="<f4", mode="r", offset=self.begin, shape=self.shape)
        return torch.from_numpy(np.asarray(mapped[numbers.cpu().numpy()]))


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """Which weights of a loaded model have more digits in their files."""

    tensors: Mapping[int, TensorPlace] = field(default_factory=dict)  # by the id of a parameter that the model keeps

    def of(self, parameter: "torch.Tensor") -> TensorPlace | None:
        """Where the values of a parameter stand; None where memory has all of them."""
        return self.tensors.get(id(parameter))


AS_LOADED = StoredWeights()


def stored_weights(model: Any, folder: Path) -> StoredWeights:
    """Where the frozen weights of a model, which loading narrowed, stand in the files of their base.

    Quantized, offloaded and trained weights are left as they are. What transformers converts while loading (the fused experts of a
    mixture) has no tensor of its own in the files: it is widened here and now, from a base that is loaded whole.

    Args:
        model: made of the base in `folder`, perhaps wrapped by peft.
        folder: of the base, checked by the caller before, and again once the model was scored.
    """
    import torch

    narrow = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dtype == torch.bfloat16 and not parameter.requires_grad and not parameter.is_meta
    }
    files = {span.name: (path, span) for path, span in spans_of(folder)} if narrow else {}
    if all(span.dtype != "F32" for _, span in files.values()):
        return AS_LOADED
    stored: dict[int, TensorPlace] = {}
    converted = {}
    for name, parameter in narrow.items():
        path, span = next((files[known] for known in names_in_files(name) if known in files), (None, None))
        if path is None or span is None or span.shape != tuple(parameter.shape):
            converted[name] = parameter
        elif span.dtype == "F32":
            stored[id(parameter)] = TensorPlace(path, span.begin, span.shape)
    if converted:
        _widen(converted, folder)
    return StoredWeights(stored)


def spans_of(folder: Path) -> Iterator[tuple[Path, TensorSpan]]:
    """Each tensor of a folder's files, and the file that it is in."""
    for file in sorted(folder.glob("*.safetensors")):
        path = file.resolve()
        for span in read_header(path).tensors:
            yield path, span


def names_in_files(name: str) -> Iterator[str]:
    """What the base may call a parameter of the model that was made of it."""
    parts = _WRAPPERS.sub("", name).split(".")
    for first in range(len(parts)):
        yield ".".join(parts[first:])


def _widen(narrow: Mapping[str, Any], folder: Path) -> None:
    from peft_registry.trainer.bases.loading import load_base

    device = str(next(iter(narrow.values())).device)
    exact = dict(load_base(folder, dtype="fp32", device=device)[0].named_parameters())
    for name, parameter in narrow.items():
        known = next((known for known in names_in_files(name) if known in exact), None)
        if known is not None and exact[known].shape == parameter.shape:
            parameter.data = exact[known].data
