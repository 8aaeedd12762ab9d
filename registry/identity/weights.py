"""The identity of weights: which tensors, of which type and shape, with which bytes. Needs no deep-learning stack.

A tensor's digest is the SHA-256 of its little-endian bytes as a safetensors file holds them. The weights digest is the
SHA-256 over one line a tensor, sorted by the UTF-8 bytes of the name; a line is the RFC 8785 form of
`[name, dtype, [shape…], hex digest]` and a line feed. It covers the set of tensors and nothing else: not the files they
are spread over, their order, or the metadata in the headers. `docs/reference/identity.md` works an example.
"""

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import FileChanged, OpenFile, reading
from peft_registry.registry.disk.hashing import DigestCache, OnBytes
from peft_registry.registry.identity.weight_values import FiniteValues
from peft_registry.registry.intake.json import Family
from peft_registry.registry.intake.safetensors import (
    MAX_DIMENSION,
    Header,
    MalformedSafetensors,
    MalformedWeights,
    TensorSpan,
    name_objection,
    read_header,
    read_open_header,
)
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest, MalformedDigest

__all__ = [
    "HashedWeights",
    "Header",
    "MalformedSafetensors",
    "MalformedWeights",
    "Tensor",
    "TensorDifference",
    "TensorSetInvalid",
    "TensorSetRefused",
    "TensorSpan",
    "diff_tensors",
    "hash_tensors",
    "hash_weights",
    "read_header",
    "tensor_line",
    "weights_digest",
]

_CACHE_KIND = "safetensors-v1"
_FINITE_KIND = "safetensors-finite-v1"  # the same text, of files in which every value was seen to be a number
_WORTH_A_THREAD = 2 * 1024 * 1024  # bytes; hashing fewer takes less time than starting a thread does
# hashing this many bytes takes some 2 ms, so that handing a block to a thread is small beside it
_SHARED_BLOCK_BYTES = 4 * 1024 * 1024
_BLOCKS_AHEAD = 4  # that the quicker of two threads may be ahead of the slower one: 16 MiB of memory


class TensorSetInvalid(IntegrityBroken):
    """A set of tensors that has no digest: a name twice, or one that may not be."""

    what = "the tensor {tensor!a} cannot be part of a weights digest"
    why = "{reason}"
    fix = "a model's files must hold each tensor once, under a printable name; save the model again"

    tensor: str
    reason: str


class TensorSetRefused(InputRefused):
    """The same, of what is offered at intake."""

    what = "the tensor {tensor!a} cannot be part of a model"
    why = "{reason}"
    fix = "a model's files must hold each tensor once, under a printable name; save the model again"

    tensor: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor's identity: name, safetensors dtype, shape, and SHA-256 of its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: Digest

    @property
    def parameters(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class HashedWeights:
    """What one safetensors file holds; `file_digest` is None when it was not asked for.

    `header_digest` covers the first `8 + N` bytes: length field and header. Header digest and tensor digests together
    prove every byte, because the ranges leave no hole. `tensors` are sorted by the UTF-8 bytes of their names.
    """

    header_digest: Digest
    file_size: int
    file_digest: Digest | None
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """How two sets of tensors first differ, in the order of names.

    `tied_with` names another tensor of the same set with the same bytes, when one set has a copy that the other lacks:
    a model saved again by other software may drop or write out tied weights.
    """

    name: str
    kind: Literal["missing", "extra", "dtype", "shape", "bytes"]
    tied_with: str | None = None

    def __str__(self) -> str:
        said = {
            "missing": "is missing",
            "extra": "was not there before",
            "dtype": "has another dtype",
            "shape": "has another shape",
            "bytes": "has other values",
        }[self.kind]
        tied = (
            "" if self.tied_with is None else f"; it is a copy of {self.tied_with!a} (tied weights, saved differently)"
        )
        return f"tensor {self.name!a} {said}{tied}"


def hash_tensors(
    path: Path,
    *,
    workers: int | None = None,
    with_file_digest: bool = False,
    cache: DigestCache | None = None,
    family: Family = "integrity",
    require_finite: bool = False,
    on_bytes: OnBytes = lambda _: None,
) -> HashedWeights:
    """The digests of one safetensors file, its bytes read once.

    Args:
        path: the file; a link is refused.
        workers: threads, one a core by default. They share the tensors; with `with_file_digest` two are used: the
            digest of a whole file can only be computed from its beginning to its end.
        with_file_digest: also compute the file's own SHA-256, from the same bytes.
        cache: believed when it knows this state of the file.
        family: what a malformed file raises.
        require_finite: also look for NaN and infinity, in the same blocks; needs `with_file_digest`.
        on_bytes: hears of progress.

    Raises:
        MalformedSafetensors: the header is not sound (`MalformedWeights` for intake).
        WeightsNotFinite: a value is NaN or infinite, where that is looked for.
        FileChanged: the file changed meanwhile.
        FileMissing, NotARegularFile, FileUnreadable: as `peft_registry.registry.disk.files.reading`.
    """
    with reading(path) as file:
        header = read_open_header(file, family=family)
        kind = _FINITE_KIND if require_finite else _CACHE_KIND
        known = _cached(cache, file, header, kind) if cache is not None else None
        if known is not None and (known.file_digest is not None or not with_file_digest):
            return known
        if cache is not None:
            cache.settle(file)
        if with_file_digest:
            hashed = _hash_in_one_pass(file, header, on_bytes, require_finite=require_finite)
        else:
            hashed = _hash_in_parallel(file, header, workers or os.cpu_count() or 1, on_bytes)
        if not file.ends_at(header.file_size):
            raise FileChanged(path, "it grew")
    if cache is not None:
        cache.put_text(file.key, _to_text(hashed, header), _CACHE_KIND)
        if require_finite:
            cache.put_text(file.key, _to_text(hashed, header), _FINITE_KIND)
    return hashed


def weights_digest(tensors: Iterable[Tensor], *, family: Family = "integrity") -> Digest:
    """SHA-256 of the lines of all tensors; neither order nor files matter.

    Raises:
        TensorSetInvalid: a name twice, an empty one, or one with control characters; a dimension that is negative or
            beyond 2^53-1. For intake, `TensorSetRefused`.
    """
    error = TensorSetInvalid if family == "integrity" else TensorSetRefused
    digest = hashlib.sha256()
    before: str | None = None
    for tensor in sorted(tensors, key=_by_name):
        why = name_objection(tensor.name)
        if why is not None:
            raise error(tensor.name, why)
        if tensor.name == before:
            raise error(tensor.name, "it occurs twice")
        if not all(0 <= size <= MAX_DIMENSION for size in tensor.shape):
            raise error(tensor.name, "a dimension is negative or beyond 2^53-1")
        before = tensor.name
        digest.update(tensor_line(tensor))
    return Digest(digest.hexdigest())


def tensor_line(tensor: Tensor) -> bytes:
    """The canonical line of one tensor: `["name","BF16",[2,3],"<64 hex>"]` and a line feed."""
    return canonical_bytes([tensor.name, tensor.dtype, list(tensor.shape), tensor.digest.hex]) + b"\n"


def hash_weights(
    files: Sequence[Path],
    *,
    workers: int | None = None,
    with_file_digest: bool = False,
    cache: DigestCache | None = None,
    family: Family = "integrity",
    require_finite: bool = False,
    on_bytes: OnBytes = lambda _: None,
) -> tuple[tuple[HashedWeights, ...], Digest]:
    """What each file holds, in the order of `files`, and the weights digest over all of them.

    Raises:
        TensorSetInvalid: two files hold a tensor of the same name (`TensorSetRefused` for intake).
        MalformedSafetensors, WeightsNotFinite, FileChanged, FileMissing, NotARegularFile, FileUnreadable: as `hash_tensors`.
    """
    found = tuple(
        hash_tensors(
            path,
            workers=workers,
            with_file_digest=with_file_digest,
            cache=cache,
            family=family,
            require_finite=require_finite,
            on_bytes=on_bytes,
        )
        for path in files
    )
    return found, weights_digest((tensor for file in found for tensor in file.tensors), family=family)


def diff_tensors(old: Iterable[Tensor], new: Iterable[Tensor]) -> TensorDifference | None:
    """The first tensor, by UTF-8 bytes of the name, in which `new` differs from `old`; None for equal sets."""
    before = {tensor.name: tensor for tensor in old}
    after = {tensor.name: tensor for tensor in new}
    for name in sorted(before.keys() | after.keys(), key=lambda name: name.encode("utf-8", "surrogatepass")):
        if name not in after:
            return TensorDifference(name, "missing", _twin(before[name], before))
        if name not in before:
            return TensorDifference(name, "extra", _twin(after[name], after))
        if before[name].dtype != after[name].dtype:
            return TensorDifference(name, "dtype")
        if before[name].shape != after[name].shape:
            return TensorDifference(name, "shape")
        if before[name].digest != after[name].digest:
            return TensorDifference(name, "bytes")
    return None


def _by_name(tensor: Tensor) -> bytes:
    # surrogates cannot come from a file; they sort somewhere here and are refused by canonical_bytes
    return tensor.name.encode("utf-8", "surrogatepass")


def _twin(tensor: Tensor, tensors: dict[str, Tensor]) -> str | None:
    same = (other.name for other in tensors.values() if other.name != tensor.name and other.digest == tensor.digest)
    return min(same, default=None)


def _hash_in_parallel(file: OpenFile, header: Header, workers: int, on_bytes: OnBytes) -> HashedWeights:
    def hash_span(span: TensorSpan) -> Tensor:
        digest = hashlib.sha256()
        for block in file.blocks(span.begin, span.end):
            digest.update(block)
            on_bytes(len(block))
        return Tensor(span.name, span.dtype, span.shape, Digest(digest.hexdigest()))

    if header.file_size < _WORTH_A_THREAD:
        tensors = tuple(map(hash_span, header.tensors))
    else:
        with ThreadPoolExecutor(max_workers=workers) as pool:
            tensors = tuple(pool.map(hash_span, header.tensors))
    return HashedWeights(header.header_digest, header.file_size, None, tuple(sorted(tensors, key=_by_name)))


def _hash_in_one_pass(
    file: OpenFile, header: Header, on_bytes: OnBytes, *, require_finite: bool = False
) -> HashedWeights:
    """Both kinds of digest from the same blocks: the file's own on one thread, those of the tensors on another."""
    prefix = b"".join(file.blocks(0, header.data_start))
    if Digest.of(prefix) != header.header_digest:
        raise FileChanged(file.path, "its header is not what it was a moment ago")
    whole = hashlib.sha256(prefix)
    tensors = _TensorDigests(file.path.name, header, require_finite=require_finite)
    if header.file_size < _WORTH_A_THREAD:
        for block in file.blocks(header.data_start, header.file_size):
            whole.update(block)
            tensors.take(block)
            on_bytes(len(block))
    else:
        _share(file, header.data_start, header.file_size, (whole.update, tensors.take), on_bytes)
    return HashedWeights(header.header_digest, header.file_size, Digest(whole.hexdigest()), tensors.finish())


def _share(
    file: OpenFile, begin: int, end: int, consumers: Iterable[Callable[[memoryview], None]], on_bytes: OnBytes
) -> None:
    """Give each block from `begin` up to `end`, in order, to consumers that each have a thread; this one reads ahead of them.

    Nobody waits for another at every block: whoever is behind catches up while the others wait for the disk. The memory of a block
    is used again once every consumer is done with it, so that a file of any size needs no more of it.
    """
    memory = [memoryview(bytearray(_SHARED_BLOCK_BYTES)) for _ in range(_BLOCKS_AHEAD)]
    waiting: deque[tuple[int, list[Future[None]]]] = deque()
    with ExitStack() as stack:
        threads = [(stack.enter_context(ThreadPoolExecutor(max_workers=1)), consume) for consume in consumers]
        try:
            for number, start in enumerate(range(begin, end, _SHARED_BLOCK_BYTES)):
                if len(waiting) == _BLOCKS_AHEAD:
                    _await(waiting, on_bytes)
                block = memory[number % _BLOCKS_AHEAD][: end - start]
                file.fill(block, start)
                waiting.append((len(block), [thread.submit(consume, block) for thread, consume in threads]))
            while waiting:
                _await(waiting, on_bytes)
        except BaseException:  # what was not begun need not be
            for thread, _ in threads:
                thread.shutdown(cancel_futures=True)
            raise


def _await(waiting: "deque[tuple[int, list[Future[None]]]]", on_bytes: OnBytes) -> None:
    """Wait until everybody is done with the oldest block; what a consumer raised is raised here."""
    size, pending = waiting.popleft()
    for future in pending:
        future.result()
    on_bytes(size)


class _TensorDigests:
    """Takes the bytes behind a header, in order and in blocks of any size, and gives a digest to each tensor.

    Raises WeightsNotFinite at the first value that is NaN or infinite, where that is asked for.
    """

    def __init__(self, file: str, header: Header, *, require_finite: bool) -> None:
        self._file = file
        self._require_finite = require_finite
        self._position = header.data_start
        self._spans = iter(header.tensors)  # in the order of their bytes, without a hole
        self._tensors: list[Tensor] = []
        self._begin_next()

    def _begin_next(self) -> None:
        span = next(self._spans, None)
        self._span = span
        self._digest = hashlib.sha256()
        self._values = FiniteValues(self._file, span) if self._require_finite and span is not None else None

    def take(self, block: bytes | memoryview) -> None:
        rest = memoryview(block)
        while self._span is not None and (rest or self._span.begin == self._span.end):
            part = rest[: self._span.end - self._position]
            self._digest.update(part)
            if self._values is not None:
                self._values.take(part)
            self._position += len(part)
            rest = rest[len(part) :]
            if self._position < self._span.end:
                return
            self._end(self._span)

    def _end(self, span: TensorSpan) -> None:
        self._tensors.append(Tensor(span.name, span.dtype, span.shape, Digest(self._digest.hexdigest())))
        self._begin_next()

    def finish(self) -> tuple[Tensor, ...]:
        """The tensors, sorted by the UTF-8 bytes of their names."""
        self.take(b"")  # those without bytes that stand behind the last one with some
        assert self._span is None, "the header's ranges end with the file"
        return tuple(sorted(self._tensors, key=_by_name))


def _cached(cache: DigestCache, file: OpenFile, header: Header, kind: str) -> HashedWeights | None:
    text = cache.get_text(file.key, kind)
    if text is None:
        return None
    try:
        header_digest, file_digest, digests = json.loads(text)
        tensors = tuple(
            Tensor(span.name, span.dtype, span.shape, Digest(digest))
            for span, digest in zip(header.tensors, digests, strict=True)
        )
        known = None if file_digest is None else Digest(file_digest)
    except (ValueError, TypeError, MalformedDigest):
        return None
    if header_digest != header.header_digest.hex:
        return None
    return HashedWeights(header.header_digest, header.file_size, known, tuple(sorted(tensors, key=_by_name)))


def _to_text(hashed: HashedWeights, header: Header) -> str:
    digests = {tensor.name: tensor.digest.hex for tensor in hashed.tensors}
    whole = None if hashed.file_digest is None else hashed.file_digest.hex
    return json.dumps([hashed.header_digest.hex, whole, [digests[span.name] for span in header.tensors]])
