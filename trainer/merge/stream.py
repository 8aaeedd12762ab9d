"""The engine: from safetensors to safetensors, block by block, with every core busy and memory that does not grow.

Each output file's layout is known before its first byte is written: the header goes first, and every block of rows has its
place. Threads take blocks in order and write them where they belong, so the bytes do not depend on how many there are.
A block is read, widened to fp32, changed, rounded once to the result's format and written. On the way it is measured:
what was meant (Δ), what is stored after rounding (W' − W), and against what (W).
"""

import json
import math
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from peft_registry.registry.disk.files import OpenFile, reading, unwritable
from peft_registry.schemas.errors import RunFailed
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.bases.quantization import Quantization, through_4_bits
from peft_registry.trainer.machine.environment import cores
from peft_registry.trainer.merge.algorithms import Share, combine
from peft_registry.trainer.merge.measures import BlockSums, MergeChanges, change_of, spectral_norm, spectral_norm_of_sum
from peft_registry.trainer.merge.plan import BLOCK_ELEMENTS, MergePlan, OutputFile, TensorJob
from peft_registry.trainer.merge.tensors import DTYPES, INDEX, matrix_of
from peft_registry.trainer.merge.updates import ADDITIONS, LoadedUpdate, difference_of

WHOLE_PARAMETERS = 64 * 1024 * 1024  # of one tensor that is measured as a whole; larger ones go block by block


class MergedNotFinite(RunFailed):
    what = "tensor {tensor!r} of the merged model has values that are not finite"
    why = "the adapter or the base holds NaN or infinity, or the sum does not fit the number format"
    fix = "merge with --dtype fp32, or look for NaN in the adapter; nothing was registered"

    tensor: str


def write_merged(
    plan: MergePlan, folder: Path, *, workers: int | None = None, observe: Observe = ignore
) -> MergeChanges:
    """Write the weights files (and the index) of the merged model into the existing, empty folder.

    Args:
        plan: of the merge.
        folder: of the result.
        workers: threads; one a core by default.
        observe: hears of progress, in MiB.

    Returns:
        What changed, for each tensor that is not copied from the base.

    Raises:
        MergedNotFinite: a value of the result is NaN or infinite.
        DiskFull, NotWritable: the folder cannot take it.
        FileChanged: a file of the base changed meanwhile.
    """
    threads = torch.get_num_threads()
    count = max(1, workers or cores())
    observe(Started("merge", total=plan.output_bytes >> 20, unit="MiB"))
    try:
        with ExitStack() as stack:
            files = {path: stack.enter_context(reading(path)) for path in sorted({j.source.path for j in plan.jobs()})}
            outputs = {file.name: stack.enter_context(_WeightsWriter.create(folder, file)) for file in plan.files}
            run = _Engine(plan, files, outputs, observe)
            run.work(count)
        if plan.has_index:
            _write_index(plan, folder)
    except OSError as error:
        raise unwritable(folder, error) from error
    finally:
        torch.set_num_threads(threads)
    observe(Finished("merge"))
    return run.changes()


# --- the layout of a file ---


@dataclass(eq=False)
class _WeightsWriter:
    """An output file, open; `begin` is the position of each tensor's first byte."""

    descriptor: int
    begin: dict[str, int]

    @classmethod
    def create(cls, folder: Path, file: OutputFile) -> "_WeightsWriter":
        header = header_bytes(file)
        begin = {}
        position = len(header)
        for job in file.jobs:
            begin[job.name] = position
            position += job.bytes
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        output = cls(os.open(folder / file.name, flags, 0o644), begin)
        try:
            _reserve(output.descriptor, position)
            output.write(header, 0)
        except OSError:
            os.close(output.descriptor)
            raise
        return output

    def __enter__(self) -> "_WeightsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def write(self, data: Any, position: int) -> None:
        """Write a buffer whole."""
        view = memoryview(data).cast("B")
        while view:
            written = os.pwrite(self.descriptor, view, position)
            view = view[written:]
            position += written


def _reserve(descriptor: int, size: int) -> None:
    """Give the new file its length and, where the system can, its place on the disk.

    Then no write has to look for free blocks, and a disk that is too small says so before anything is computed.
    """
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)


def header_bytes(file: OutputFile) -> bytes:
    """Length and JSON of a safetensors file, padded with spaces to a multiple of eight."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for job in file.jobs:
        end = position + job.bytes
        entries[job.name] = {"dtype": job.dtype, "shape": list(job.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_index(plan: MergePlan, folder: Path) -> None:
    weights = {job.name: file.name for file in plan.files for job in file.jobs}
    value = {
        "metadata": {"total_parameters": sum(job.parameters for job in plan.jobs()), "total_size": plan.output_bytes},
        "weight_map": dict(sorted(weights.items())),
    }
    (folder / INDEX).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# --- the work ---


@dataclass(eq=False)
class _Buffers:
    """What a thread works in, for blocks of up to `elements` numbers. Made once a thread: fresh memory for every block
    costs more time than the arithmetic."""

    elements: int
    stored: torch.Tensor = field(init=False)  # bytes, as read
    result: torch.Tensor = field(init=False)  # bytes, as written
    weight: torch.Tensor = field(init=False)  # the rest fp32
    meant: torch.Tensor = field(init=False)
    new: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.stored = torch.empty(self.elements * 4, dtype=torch.uint8)
        self.result = torch.empty(self.elements * 4, dtype=torch.uint8)
        self.weight = torch.empty(self.elements)
        self.meant = torch.empty(self.elements)
        self.new = torch.empty(self.elements)

    def fitting(self, elements: int) -> "_Buffers":
        """These, or for a larger block others that last as long as it."""
        return self if elements <= self.elements else _Buffers(elements)


def _as(buffer: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The beginning of a buffer in the shape of a block."""
    return buffer[: like.numel()].view(like.shape)


@dataclass(eq=False)
class _OpenJob:
    """A job in progress: its updates are loaded by the first block and let go after the last."""

    job: TensorJob
    file: str
    blocks: tuple[tuple[int, int], ...]
    loaded: tuple[tuple[Share, LoadedUpdate], ...] = ()
    sums: list[BlockSums | None] = field(default_factory=list)
    spectral: float | None = None
    left: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_loaded: bool = False


@dataclass(eq=False)
class _Engine:
    plan: MergePlan
    files: dict[Path, OpenFile]
    outputs: dict[str, _WeightsWriter]
    observe: Observe
    done_bytes: int = 0
    failure: BaseException | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    jobs: list[_OpenJob] = field(default_factory=list)

    def work(self, count: int) -> None:
        """Run every block on `count` threads; the first failure of any ends all and is raised here."""
        tasks = self._tasks()
        threads = [threading.Thread(target=self._take, args=(tasks,), daemon=True) for _ in range(count - 1)]
        for thread in threads:
            thread.start()
        self._take(tasks)
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def changes(self) -> MergeChanges:
        measured = [
            (output.job, [sums for sums in output.sums if sums is not None], output.spectral) for output in self.jobs
        ]
        added = {job.name for job, _, _ in measured if job.name != job.source.name}
        squares = math.fsum(
            sums_of_tensor.weight for job, sums, _ in measured if job.name not in added for sums_of_tensor in sums
        )
        return MergeChanges(
            tensors=tuple(change_of(job, sums, spectral) for job, sums, spectral in measured if not job.is_copied),
            base_norm=math.sqrt(squares),
        )

    def _tasks(self) -> Iterator[tuple[_OpenJob, int]]:
        for file in self.plan.files:
            for job in file.jobs:
                opened = _OpenJob(job, file.name, tuple(self._blocks(job)))
                opened.sums = [None] * len(opened.blocks)
                opened.left = len(opened.blocks)
                self.jobs.append(opened)
                for at in range(len(opened.blocks)):
                    yield opened, at

    def _blocks(self, job: TensorJob) -> Iterator[tuple[int, int]]:
        rows, columns = matrix_of(job.shape)
        if not job.is_copied and self._is_whole(job):
            step = max(rows, 1)
        else:
            step = max(1, BLOCK_ELEMENTS // max(columns, 1))
        for begin in range(0, rows, step):
            yield begin, min(begin + step, rows)

    def _is_whole(self, job: TensorJob) -> bool:
        """The tensor is worked on at once: its entries depend on each other, or its change has no factors to measure."""
        if job.quantization or any(update.needs_all_rows for _, update in job.updates):
            return True
        if not job.updates:
            return False
        additions = all(update.is_addition for _, update in job.updates)
        return not self.plan.is_blockwise or (not additions and job.parameters <= WHOLE_PARAMETERS)

    def _take(self, tasks: Iterator[tuple[_OpenJob, int]]) -> None:
        torch.set_num_threads(1)  # of this thread: the work is split over threads already
        with torch.inference_mode():
            buffers = _Buffers(BLOCK_ELEMENTS)
            while self.failure is None:
                with self.lock:
                    task = next(tasks, None)
                if task is None:
                    return
                try:
                    self._block(*task, buffers)
                except BaseException as error:  # noqa: BLE001 - carried to the thread that called, whatever it is
                    self.failure = self.failure or error

    def _block(self, opened: _OpenJob, at: int, buffers: _Buffers) -> None:
        job, (begin, end) = opened.job, opened.blocks[at]
        rows, columns = matrix_of(job.shape)
        output = self.outputs[opened.file]
        file = self.files[job.source.path]
        row_bytes = job.bytes // max(rows, 1)
        buffers = buffers.fitting((end - begin) * max(columns, row_bytes // 4))
        if job.is_copied:
            data = buffers.stored[: (end - begin) * row_bytes]
            file.fill(data.numpy().data, job.source.begin + begin * row_bytes)
            opened.sums[at] = BlockSums.of_copy(data, job.source.dtype)
        else:
            stored = job.source.rows(file, begin, end, buffers.stored)
            data = self._changed(opened, at, stored, buffers).view(torch.uint8)
        output.write(data.numpy(), output.begin[job.name] + begin * row_bytes)
        self._advance((end - begin) * row_bytes)

    def _changed(self, opened: _OpenJob, at: int, stored: torch.Tensor, buffers: _Buffers) -> torch.Tensor:
        """The new rows in the result's format; their sums are kept."""
        job, (begin, end) = opened.job, opened.blocks[at]
        weight = _as(buffers.weight, stored).copy_(stored)
        start = weight
        if job.quantization is not None:  # the adapters were trained on what the base became in 4 bits
            matrix = stored.t() if job.is_transposed else stored
            through = quantized(matrix, job.quantization).float()
            start = through.t().contiguous() if job.is_transposed else through
        if job.updates:
            self._load(opened)
            meant, new = self._meant(opened, start, begin, end, buffers)
        else:
            meant = _as(buffers.meant, start).zero_()
            new = start
        if start is not weight:  # going through 4 bits is part of the change to the base as it is stored
            meant = new - weight
        result = _as(buffers.result.view(DTYPES[job.dtype]), new).copy_(new)
        sums = BlockSums.of(weight, meant, result, scratch=_as(buffers.new, weight))
        if not sums.is_finite:
            raise MergedNotFinite(job.name)
        opened.sums[at] = sums
        if len(opened.blocks) == 1 and opened.spectral is None and job.updates:
            opened.spectral = spectral_norm(torch.sub(result, weight))
        with opened.lock:
            opened.left -= 1
            if not opened.left:
                opened.loaded = ()
        return result

    def _meant(
        self, opened: _OpenJob, weight: torch.Tensor, begin: int, end: int, buffers: _Buffers
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(Δ, W + Δ) of a block, fp32."""
        (share, update), *others = opened.loaded
        if not others and self.plan.algorithm == "linear" and share.weight == 1:
            if isinstance(update, ADDITIONS):
                meant = update.difference(begin, end, _as(buffers.meant, weight))
                return meant, torch.add(weight, meant, out=_as(buffers.new, weight))
            new = update.changed(weight, begin, end)
            return new - weight, new
        differences = [(part, difference_of(update, weight, begin, end)) for part, update in opened.loaded]
        meant = combine(self.plan.algorithm, differences, tensor=opened.job.name, seed=self.plan.seed)
        return meant, weight + meant

    def _load(self, opened: _OpenJob) -> None:
        with opened.lock:
            if not opened.is_loaded:
                parts = self.plan.ingredients
                opened.loaded = tuple((parts[at].share, update.load()) for at, update in opened.job.updates)
                opened.is_loaded = True
                if self.plan.algorithm == "linear" and opened.job.quantization is None:
                    opened.spectral = spectral_norm_of_sum(opened.loaded)

    def _advance(self, count: int) -> None:
        with self.lock:
            self.done_bytes += count
            self.observe(Advanced("merge", self.done_bytes >> 20))


def quantized(weight: torch.Tensor, how: Quantization) -> torch.Tensor:
    """What the base's matrix was while the adapters were trained."""
    dequantized: torch.Tensor = through_4_bits(weight.to(DTYPES[how.loaded_as]).contiguous(), how.settings)
    return dequantized
