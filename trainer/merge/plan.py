"""What a merge will do, before it does anything: which tensors change, by which adapters, into which files of which size.

The result has the base's own files: the same shards with the same tensors, and an index where the base has one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.schemas.merge import Algorithm
from peft_registry.trainer.bases.quantization import Quantization
from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.fold import Folding
from peft_registry.trainer.merge.names import ModelNames
from peft_registry.trainer.merge.tensors import DTYPES, INDEX, StoredTensor, matrix_of
from peft_registry.trainer.merge.updates import Update

CONFIG = "config.json"
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}
_TORCH_NAMES: Mapping[str, str] = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
BLOCK_ELEMENTS = 256 * 1024  # of one block: its buffers stay in the caches, and the calls around it weigh little


@dataclass(frozen=True, slots=True, eq=False)
class PlannedAdapter:
    """One adapter of a merge: its part, the name that people know it by, and what it does to the checkpoint."""

    share: Share
    label: str
    folding: Folding


@dataclass(frozen=True, slots=True, eq=False)
class TensorJob:
    """One tensor of the result: the base's tensor that it starts from, and what each adapter does to it (by position).

    `quantization`: the base's tensor first goes through 4 bits, as it did when the adapters were trained. `is_transposed`: the
    tensor is (in, out), and a layer of 4 bits has it the other way round.
    """

    name: str
    source: StoredTensor
    dtype: str
    updates: tuple[tuple[int, Update], ...] = ()
    quantization: Quantization | None = None
    is_transposed: bool = False

    @property
    def is_copied(self) -> bool:
        """The result has the base's very bytes."""
        return not self.updates and self.quantization is None and self.dtype == self.source.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def bytes(self) -> int:
        """Size in the result."""
        if self.dtype == self.source.dtype:
            return self.source.end - self.source.begin
        rows, columns = matrix_of(self.shape)
        return rows * columns * _BYTES[self.dtype]

    @property
    def parameters(self) -> int:
        rows, columns = matrix_of(self.shape)
        return rows * columns


@dataclass(frozen=True, slots=True, eq=False)
class OutputFile:
    """One weights file of the result; its jobs in the order of their bytes."""

    name: str
    jobs: tuple[TensorJob, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MergePlan:
    """A whole merge. `config` is the result's config.json where it differs from the base's; None for the same bytes."""

    base: Path
    algorithm: Algorithm
    ingredients: tuple[PlannedAdapter, ...]
    seed: int
    files: tuple[OutputFile, ...]
    has_index: bool
    config: dict[str, Any] | None
    parameters_added: int = 0

    def jobs(self) -> Iterator[TensorJob]:
        for file in self.files:
            yield from file.jobs

    @property
    def is_blockwise(self) -> bool:
        """Each entry of the result depends on nothing but its own row: no threshold or random stream of a whole tensor."""
        return self.algorithm == "linear"

    @property
    def is_random(self) -> bool:
        return self.algorithm.startswith("dare")

    @property
    def dtype(self) -> str:
        """The number format of most of the result, by torch's name."""
        counts = Counter[str]()
        for job in self.jobs():
            counts[job.dtype] += job.parameters
        most = counts.most_common(1)[0][0]
        return _TORCH_NAMES.get(most, most)

    def in_float32(self) -> "MergePlan":
        """The same merge without its rounding."""
        files = (
            OutputFile(
                file.name, tuple(replace(job, dtype="F32" if job.dtype in DTYPES else job.dtype) for job in file.jobs)
            )
            for file in self.files
        )
        return replace(self, files=tuple(files))

    @property
    def touched(self) -> tuple[TensorJob, ...]:
        return tuple(job for job in self.jobs() if job.updates or job.quantization)

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The tensors that more than one adapter changes."""
        return tuple(job.name for job in self.touched if len(job.updates) > 1)

    @property
    def output_bytes(self) -> int:
        return sum(job.bytes for job in self.jobs())

    def buffer_bytes(self, workers: int) -> int:
        """Memory for numbers at the most, besides libraries: buffers of a block, or of the largest changed tensor."""
        blocks = workers * BLOCK_ELEMENTS * 4 * 6
        whole = max((job.parameters for job in self.touched), default=0)
        if self.is_blockwise and not any(job.quantization for job in self.touched):
            return blocks
        return blocks + workers * whole * 4 * (3 + 2 * len(self.ingredients))


def make_plan(
    base: Path,
    tensors: Sequence[StoredTensor],
    names: ModelNames,
    ingredients: Sequence[PlannedAdapter],
    *,
    algorithm: Algorithm = "linear",
    seed: int = 0,
    dtype: str | None = None,
    quantization: Quantization | None = None,
) -> MergePlan:
    """The plan of folding `ingredients` into the base.

    Args:
        base: its folder.
        tensors: its checkpoint, file by file.
        names: of its model.
        ingredients: sorted here by identity, so that their order means nothing.
        algorithm: for several; one adapter at weight 1 is folded by `linear`.
        seed: of the random choice, for dare.
        dtype: safetensors name of the result's number format; None keeps each tensor's own.
        quantization: fold into what the base became in 4 bits, not into the base itself.
    """
    ordered = tuple(sorted(ingredients, key=lambda ingredient: ingredient.share.identity))
    is_untied = any(ingredient.folding.is_untied for ingredient in ordered)
    files: dict[str, list[TensorJob]] = {}
    for tensor in tensors:
        updates = tuple(
            (at, update)
            for at, ingredient in enumerate(ordered)
            if (update := ingredient.folding.updates.get(tensor.name)) is not None
        )
        parameter = names.placed[tensor.name].parameter
        through = quantization if parameter in names.quantized else None
        files.setdefault(tensor.path.name, []).append(
            TensorJob(
                tensor.name,
                tensor,
                _format(tensor, dtype),
                updates,
                through,
                is_transposed=parameter in names.transposed,
            )
        )
    added = 0
    if is_untied and names.head is not None and not names.tensors_of(names.head):
        embedding = next(tensor for tensor in tensors if tensor.name in names.tensors_of(names.embedding))
        heads = tuple(
            (at, ingredient.folding.head)
            for at, ingredient in enumerate(ordered)
            if ingredient.folding.head is not None
        )
        head = TensorJob(names.head, embedding, _format(embedding, dtype), heads)
        files[embedding.path.name].append(head)
        added = head.parameters
    return MergePlan(
        base=base,
        algorithm=algorithm,
        ingredients=ordered,
        seed=seed,
        files=tuple(OutputFile(name, _in_file_order(jobs)) for name, jobs in sorted(files.items())),
        has_index=(base / INDEX).is_file(),
        config=_changed_config(base, is_untied=is_untied, dtype=dtype),
        parameters_added=added,
    )


def _format(tensor: StoredTensor, dtype: str | None) -> str:
    return dtype if dtype is not None and tensor.dtype in DTYPES else tensor.dtype


def _in_file_order(jobs: Sequence[TensorJob]) -> tuple[TensorJob, ...]:
    """Wide formats first, so that every tensor starts at a multiple of its own width; then by the bytes of the name."""
    return tuple(sorted(jobs, key=lambda job: (-_BYTES.get(job.dtype, 8), job.name.encode())))


def _changed_config(base: Path, *, is_untied: bool, dtype: str | None) -> dict[str, Any] | None:
    value: dict[str, Any] = json.loads(read_file(base / CONFIG, max_bytes=CONFIG_MAX_BYTES))
    before = json.dumps(value, sort_keys=True)
    value.pop("_name_or_path", None)
    text = value.get("text_config")  # of a model that reads more than text
    for part in (value, text) if isinstance(text, dict) else (value,):
        if is_untied and (part is value or "tie_word_embeddings" in part):
            part["tie_word_embeddings"] = False
        if dtype is not None:
            for key in ("dtype", "torch_dtype"):
                if key in part:
                    part[key] = _TORCH_NAMES[dtype]
    if dtype is not None and not {"dtype", "torch_dtype"} & value.keys():
        value["dtype"] = _TORCH_NAMES[dtype]
    return value if json.dumps(value, sort_keys=True) != before else None


def count_by_kind(plan: MergePlan) -> dict[str, int]:
    """How many tensors of each kind change, by the last two words of the name (`q_proj.weight`)."""
    return dict(sorted(Counter(".".join(job.name.split(".")[-2:]) for job in plan.touched).items()))
