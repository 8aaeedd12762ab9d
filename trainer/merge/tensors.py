"""Tensors where they lie in safetensors files, read with plain reads and never mapped: a file cut short must not kill us."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from peft_registry.registry.disk.files import OpenFile, read_file, reading
from peft_registry.registry.identity.base import JSON_MAX_BYTES
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.schemas.errors import InputRefused

# safetensors' names of the number formats that a merge can compute with
DTYPES: Mapping[str, torch.dtype] = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class CheckpointIncomplete(InputRefused):
    what = "the weights in {folder.name} are not complete"
    why = "{reason}"
    fix = "fetch the whole model again"

    folder: Path
    reason: str


class NumberFormatRefused(InputRefused):
    what = "tensor {tensor!r} cannot take part in a merge"
    why = "it is stored as {dtype}, and a merge adds in 32-bit floats to one of {formats!l}"
    fix = "merge into the unquantized base that the adapter was trained for"

    tensor: str
    dtype: str

    formats = tuple(DTYPES)


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor of a safetensors file; `begin` and `end` are byte positions in the file."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns when every dimension but the last is laid out as rows; a vector is one column."""
        return matrix_of(self.shape)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The number format.

        Raises:
            NumberFormatRefused: one that a merge does not compute with.
        """
        if self.dtype not in DTYPES:
            raise NumberFormatRefused(self.name, self.dtype)
        return DTYPES[self.dtype]

    def read(self) -> torch.Tensor:
        """The whole tensor in its number format.

        Raises:
            FileMissing, FileChanged, FileUnreadable: as `peft_registry.registry.disk.files.reading`.
            NumberFormatRefused: one that a merge does not compute with.
        """
        with reading(self.path) as file:
            return self.rows(file, 0, self.matrix[0]).reshape(self.shape)

    def rows(self, file: OpenFile, begin: int, end: int, into: torch.Tensor | None = None) -> torch.Tensor:
        """Rows `begin` to `end` of the matrix, from the tensor's open file; in the bytes `into` (uint8) where given."""
        count, columns = self.matrix
        row_bytes = (self.end - self.begin) // max(count, 1)
        size = (end - begin) * row_bytes
        data = torch.empty(size, dtype=torch.uint8) if into is None else into[:size]
        file.fill(data.numpy().data, self.begin + begin * row_bytes)
        return data.view(self.torch_dtype).reshape(end - begin, columns)


def matrix_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of a shape seen as a matrix; `(5,)` is 5 rows of 1, `(3, 4, 2)` is 12 rows of 2."""
    if len(shape) < 2:
        return (shape[0] if shape else 1), 1
    return math.prod(shape[:-1]), shape[-1]


def stored_tensors(path: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one file, in the order of their bytes.

    Raises:
        MalformedWeights: the header is not sound.
    """
    header = read_header(path, family="intake")
    return tuple(
        StoredTensor(path, tensor.name, tensor.dtype, tensor.shape, tensor.begin, tensor.end)
        for tensor in header.tensors
    )


def checkpoint_files(folder: Path) -> tuple[Path, ...]:
    """The weights files of a model folder, sorted by name: those of the index, else the single file. A checked base's are links,
    which are followed here, because whoever reads tensors follows none.

    Raises:
        CheckpointIncomplete: there are none, or the index names what is not there.
    """
    index = folder / INDEX
    if not index.is_file():
        if not (folder / SINGLE).is_file():
            raise CheckpointIncomplete(folder, f"there is neither {SINGLE} nor {INDEX}")
        return ((folder / SINGLE).resolve(),)
    try:
        value = json.loads(read_file(index, max_bytes=JSON_MAX_BYTES))
        names = sorted(set(value["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointIncomplete(folder, f"{INDEX} is not an index ({type(error).__name__})") from error
    files = tuple(folder / str(name) for name in names)
    for file in files:
        if file.parent != folder or not file.is_file():
            raise CheckpointIncomplete(folder, f"{INDEX} names {file.name}, which is not there")
    return tuple(file.resolve() for file in files)


def checkpoint_tensors(folder: Path) -> tuple[StoredTensor, ...]:
    """Every tensor of a model folder, file by file.

    Raises:
        CheckpointIncomplete: a file or a tensor is missing, or two files hold the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in checkpoint_files(folder):
        for tensor in stored_tensors(file):
            if tensor.name in tensors:
                raise CheckpointIncomplete(folder, f"two files hold the tensor {tensor.name!r}")
            tensors[tensor.name] = tensor
    return tuple(tensors.values())
