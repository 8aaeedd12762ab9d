"""Tensor identity. The safetensors library writes the files; hashlib over numpy's bytes says what a digest must be."""

import hashlib
import json
import math
import os
import struct
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from peft_registry.registry.disk.hashing import DigestCache, FileChanged
from peft_registry.registry.identity import weights
from peft_registry.registry.identity.weight_values import FiniteValues, WeightsNotFinite
from peft_registry.registry.identity.weights import (
    MalformedSafetensors,
    MalformedWeights,
    Tensor,
    TensorDifference,
    TensorSetInvalid,
    TensorSetRefused,
    diff_tensors,
    hash_tensors,
    hash_weights,
    read_header,
    weights_digest,
)
from peft_registry.registry.intake.safetensors import MAX_HEADER_BYTES, TensorSpan
from peft_registry.schemas.identity import Digest
from tests.builders.files import while_reading
from tests.processes.interpreter import ROOT

Arrays = dict[str, np.ndarray]


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """Every folder of these tests: what is remembered of files is their subject."""
    return on_disk


def some_arrays(seed: int = 7) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        "model.embed.weight": random.standard_normal((30, 8)).astype("f4"),
        "model.layers.10.w": random.standard_normal((8, 8)).astype("f2"),
        "model.layers.2.w": random.standard_normal((8, 8)).astype("f2"),
        "größe": np.arange(6, dtype="i8").reshape(1, 2, 3),
        "scalar": np.array(1.5, dtype="f8"),
        "nothing": np.zeros((0, 4), dtype="f4"),
        "mask": np.array([True, False]),
    }


def by_hand(arrays: Arrays) -> Digest:
    """The weights digest written down from the documentation, without the code under test."""
    names = {"f4": "F32", "f2": "F16", "i8": "I64", "f8": "F64", "b1": "BOOL"}
    lines = []
    for name in sorted(arrays, key=str.encode):
        array = arrays[name]
        entry = [name, names[array.dtype.str[1:]], list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        lines.append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
    return Digest(hashlib.sha256("".join(lines).encode()).hexdigest())


def raw_file(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    """A safetensors file with exactly this header: an object, or bytes as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype: str = "U8", shape: object = (4,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# --- identity


def test_the_weights_digest_is_the_documented_one(tmp_path: Path) -> None:
    save_file(some_arrays(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert weights_digest(hash_tensors(tmp_path / "model.safetensors").tensors) == by_hand(some_arrays())


def test_the_file_and_header_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(some_arrays(), path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found = hash_tensors(path, with_file_digest=True)
    assert found.file_digest == Digest(hashlib.sha256(data).hexdigest())
    assert found.header_digest == Digest(hashlib.sha256(data[: 8 + length]).hexdigest())
    assert found.file_size == len(data)
    assert hash_tensors(path).file_digest is None


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("with_file_digest", [False, True])
def test_the_number_of_workers_changes_nothing(workers: int, with_file_digest: bool, tmp_path: Path) -> None:
    arrays = {f"t{index}": np.full(index * 100_000, index, "f4") for index in range(8)}
    save_file(arrays, tmp_path / "model.safetensors")
    found = hash_tensors(tmp_path / "model.safetensors", workers=workers, with_file_digest=with_file_digest)
    assert weights_digest(found.tensors) == by_hand(arrays)


@pytest.mark.parametrize("block_bytes", [4_099, 65_536, 1_000_003])
def test_where_the_blocks_of_a_file_end_changes_no_digest(
    block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_SHARED_BLOCK_BYTES", block_bytes)
    path = tmp_path / "model.safetensors"
    random = np.random.default_rng(3)
    arrays = {f"t{size}": random.standard_normal(size).astype("f4") for size in (700_000, 3, 16_384, 1, 250_001)}
    arrays |= {f"nothing-{index}": np.zeros((index, 0), dtype=kind) for index, kind in enumerate(("f8", "f4", "i8"))}
    save_file(arrays, path)
    read: list[int] = []
    found = hash_tensors(path, with_file_digest=True, require_finite=True, on_bytes=read.append)
    assert weights_digest(found.tensors) == by_hand(arrays)
    assert found.file_digest == Digest(hashlib.sha256(path.read_bytes()).hexdigest())
    assert sum(read) == path.stat().st_size - read_header(path).data_start


def test_a_value_that_is_no_number_behind_many_blocks_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_SHARED_BLOCK_BYTES", 4_099)
    array = np.zeros(700_000, "f4")
    array[600_000] = math.nan
    save_file({"a": np.zeros(5, "f4"), "b": array}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsNotFinite) as caught:
        judged(tmp_path / "model.safetensors")
    assert (caught.value.tensor, caught.value.index) == ("b", "[600000]")


def test_other_shards_are_the_same_weights_in_other_files(tmp_path: Path) -> None:
    arrays = some_arrays()
    save_file(arrays, tmp_path / "one.safetensors")
    names = sorted(arrays)
    for part in range(3):
        shard = {name: arrays[name] for name in names[part::3]}
        save_file(shard, tmp_path / f"{part}.safetensors", metadata={"part": str(part)})
    one, digest = hash_weights([tmp_path / "one.safetensors"], with_file_digest=True)
    three, again = hash_weights([tmp_path / f"{part}.safetensors" for part in (2, 0, 1)], with_file_digest=True)
    assert digest == again == by_hand(arrays)
    assert len({file.file_digest for file in (*one, *three)}) == 4


@given(st.permutations(sorted(some_arrays())))
def test_the_order_of_tensors_does_not_matter(names: list[str]) -> None:
    tensors = [Tensor(name, "U8", (1,), Digest.of(name.encode())) for name in names]
    expected = weights_digest(Tensor(name, "U8", (1,), Digest.of(name.encode())) for name in some_arrays())
    assert weights_digest(tensors) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_one_flipped_bit_is_another_identity_and_names_the_tensor(
    tmp_path_factory: pytest.TempPathFactory, at: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    path = folder / "model.safetensors"
    save_file(some_arrays(), path)
    header = read_header(path)
    before = hash_tensors(path)
    position = header.data_start + at % (header.file_size - header.data_start)
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << (at % 8)
    path.write_bytes(data)
    after = hash_tensors(path)
    hit = next(span.name for span in header.tensors if span.begin <= position < span.end)
    assert diff_tensors(before.tensors, after.tensors) == TensorDifference(hit, "bytes")
    assert weights_digest(before.tensors) != weights_digest(after.tensors)


def test_the_first_difference_is_the_first_by_name() -> None:
    def tensor(name: str, dtype: str = "F32", shape: tuple[int, ...] = (2,), content: bytes = b"") -> Tensor:
        return Tensor(name, dtype, shape, Digest.of(content or name.encode()))

    old = [tensor("b"), tensor("c"), tensor("d")]
    assert diff_tensors(old, reversed(old)) is None
    assert diff_tensors(old, [tensor("b"), tensor("c", "F16"), tensor("d", content=b"x")]) == TensorDifference(
        "c", "dtype"
    )
    assert diff_tensors(old, [tensor("b"), tensor("c", shape=(1, 2)), tensor("d")]) == TensorDifference("c", "shape")
    assert diff_tensors(old, [tensor("b", content=b"x"), tensor("c")]) == TensorDifference("b", "bytes")
    assert diff_tensors(old, [tensor("c"), tensor("d")]) == TensorDifference("b", "missing")
    assert diff_tensors(old, [tensor("a"), *old]) == TensorDifference("a", "extra")


def test_a_dropped_tied_copy_is_another_identity_and_is_said() -> None:
    embedding = Tensor("embed", "F32", (2,), Digest.of(b"e"))
    head = Tensor("lm_head", "F32", (2,), Digest.of(b"e"))
    found = diff_tensors([embedding, head], [embedding])
    assert found == TensorDifference("lm_head", "missing", tied_with="embed")
    assert "tied" in str(found)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x1bb", "a\u202eb", "a\ud800"])
def test_a_name_that_does_not_print_has_no_digest(name: str) -> None:
    with pytest.raises(TensorSetInvalid):
        weights_digest([Tensor(name, "U8", (1,), Digest.of(b""))])


def test_a_tensor_in_two_files_has_no_digest(tmp_path: Path) -> None:
    for part in "ab":
        save_file({"w": np.zeros(2, "f4")}, tmp_path / part)
    with pytest.raises(TensorSetInvalid, match="twice") as presented:
        hash_weights([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(TensorSetRefused, match="twice") as offered:
        hash_weights([tmp_path / "a", tmp_path / "b"], family="intake")
    assert (presented.value.exit_code, offered.value.exit_code) == (6, 2)


@pytest.mark.parametrize("shape", [(-1,), (2**53,)])
def test_a_shape_that_json_cannot_write_exactly_has_no_digest(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorSetInvalid, match="dimension"):
        weights_digest([Tensor("a", "U8", shape, Digest.of(b""))])


def test_the_documented_example(tmp_path: Path) -> None:
    """The worked example of docs/reference/identity.md, and what it says that its digest is."""
    raw_file(
        tmp_path / "example.safetensors",
        {"b": entry("F32", [2], [0, 8]), "a": entry("BF16", [1, 2], [8, 12])},
        struct.pack("<ff", 1.0, -2.0) + bytes.fromhex("803f0040"),
    )
    digest = weights_digest(hash_tensors(tmp_path / "example.safetensors").tensors)
    page = ROOT / "docs" / "reference" / "identity.md"
    assert digest.hex in page.read_text("utf-8")


# --- a file that changes, and the cache


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1_000_000)


def _overwrite_the_end(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"x")


@pytest.mark.parametrize("with_file_digest", [False, True])
@pytest.mark.parametrize("edit", [_truncate, _overwrite_the_end])
def test_a_file_that_changes_during_the_read_is_refused(
    edit: Callable[[Path], None], with_file_digest: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    save_file({f"t{index}": np.zeros(400_000, "f4") for index in range(4)}, path)
    with pytest.raises(FileChanged):
        hash_tensors(path, workers=1, with_file_digest=with_file_digest, on_bytes=while_reading(path, edit))


def _append(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b"more")


def _interrupt(_: Path) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (_truncate, FileChanged),
        (_append, FileChanged),
        (_overwrite_the_end, FileChanged),
        (_interrupt, KeyboardInterrupt),
    ],
)
def test_two_threads_that_share_a_file_end_with_it_and_give_no_digest(
    edit: Callable[[Path], None], error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks so small that most of the file is not read yet when something happens."""
    monkeypatch.setattr(weights, "_SHARED_BLOCK_BYTES", 65_536)
    path = tmp_path / "model.safetensors"
    save_file({f"t{index}": np.zeros(400_000, "f4") for index in range(4)}, path)
    digests = DigestCache(tmp_path / "digests.sqlite", now_ns=lambda: time.time_ns() + 10**12)
    threads = set(threading.enumerate())
    with pytest.raises(error):
        hash_tensors(path, with_file_digest=True, cache=digests, on_bytes=while_reading(path, edit))
    assert set(threading.enumerate()) <= threads
    if edit in (_interrupt, _overwrite_the_end):  # it is sound as it is now, and nothing else was remembered of it
        found = hash_tensors(path, with_file_digest=True, cache=digests)
        assert found.file_digest == Digest(hashlib.sha256(path.read_bytes()).hexdigest())
    digests.close()


def test_the_cache_knows_files_and_asks_again_for_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(some_arrays(), path)
    cache = DigestCache(tmp_path / "cache.db", now_ns=lambda: 2**62)
    read: list[int] = []
    plain = hash_tensors(path, cache=cache, on_bytes=read.append)
    whole = hash_tensors(path, cache=cache, on_bytes=read.append, with_file_digest=True)
    size = path.stat().st_size - read_header(path).data_start
    assert sum(read) == 2 * size
    assert hash_tensors(path, cache=cache, on_bytes=read.append, with_file_digest=True) == whole
    assert hash_tensors(path, cache=cache, on_bytes=read.append).tensors == plain.tensors
    assert sum(read) == 2 * size
    cache.close()


# --- the header


def test_the_header_says_what_the_library_says(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(some_arrays(), path, metadata={"format": "pt", "z": "ü"})
    header = read_header(path)
    assert dict(header.metadata) == {"format": "pt", "z": "ü"}
    with safe_open(path, "np") as library:
        assert {span.name for span in header.tensors} == set(library.keys())
        for span in header.tensors:
            view = library.get_slice(span.name)
            assert (span.dtype, list(span.shape)) == (view.get_dtype(), view.get_shape())
    data = path.read_bytes()
    for span in header.tensors:
        assert data[span.begin : span.end] == some_arrays()[span.name].tobytes()


# what is wrong → header, data. `…` at the end of a key marks what the reference library accepts
MALFORMED: dict[str, tuple[object, bytes]] = {
    "a header that is a list": ([], b""),
    "a space before the brace": (b" " + json.dumps({"a": entry()}).encode(), b"1234"),
    "a repeated tensor": (b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), b"1234"),
    "a repeated field": (b'{"a":{"dtype":"U8","dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"1234"),
    "repeated metadata": (b'{"__metadata__":{"k":"1","k":"2"},"a":%s}' % json.dumps(entry()).encode(), b"1234"),
    "metadata that is no text": ({"__metadata__": {"k": 1}, "a": entry()}, b"1234"),
    "metadata that is a list": ({"__metadata__": [], "a": entry()}, b"1234"),
    "an unknown field": ({"a": {**entry(), "comment": "x"}}, b"1234"),
    "a missing field": ({"a": {"dtype": "U8", "shape": [4]}}, b"1234"),
    "an unknown dtype": ({"a": entry("Q4_K")}, b"1234"),
    "a dtype in lower case": ({"a": entry("u8")}, b"1234"),
    "a dtype that is a number": ({"a": {**entry(), "dtype": 8}}, b"1234"),
    "a shape that is no list": ({"a": entry(shape=4)}, b"1234"),
    "a negative dimension": ({"a": entry(shape=[-4])}, b"1234"),
    "a dimension that is a float": ({"a": entry(shape=[4.0])}, b"1234"),
    "a dimension that is true": ({"a": entry(shape=[True, 4])}, b"1234"),
    "a dimension beyond 2^53": ({"a": entry(shape=[0, 2**53], offsets=[0, 0]), "b": entry()}, b"1234"),
    "a product that overflows 64 bits": ({"a": entry(shape=[2**32, 2**32, 4])}, b"1234"),
    "a product beyond every float": ({"a": entry(shape=[2**53 - 1] * 64)}, b"1234"),
    "a shape of more bytes than the range": ({"a": entry(shape=[5])}, b"1234"),
    "a shape of fewer bytes than the range": ({"a": entry(shape=[3])}, b"1234"),
    "half a byte": ({"a": entry("F4", [1], [0, 0])}, b""),
    "three offsets": ({"a": entry(offsets=[0, 4, 4])}, b"1234"),
    "an end before the beginning": ({"a": entry(offsets=[4, 0])}, b"1234"),
    "a negative offset": ({"a": entry(offsets=[-4, 0])}, b"1234"),
    "an overlap": ({"a": entry(), "b": entry(offsets=[2, 6])}, b"123456"),
    "the same range twice": ({"a": entry(), "b": entry()}, b"1234"),
    "a hole": ({"a": entry(), "b": entry(offsets=[5, 9])}, b"123456789"),
    "a hole at the beginning": ({"a": entry(offsets=[1, 5])}, b"12345"),
    "bytes after the last tensor": ({"a": entry()}, b"12345"),
    "a range beyond the end": ({"a": entry()}, b"123"),
    "an empty tensor beyond the end": ({"a": entry(), "b": entry("U8", [0], [9, 9])}, b"1234"),
    "an empty name": ({"": entry()}, b"1234"),
    "a control character in a name": ({"a\nb": entry()}, b"1234"),
    "half a surrogate pair in a name": (b'{"\\ud800":%s}' % json.dumps(entry()).encode(), b"1234"),
    "no tensors": ({}, b""),
    "only metadata": ({"__metadata__": {}}, b""),
    "not JSON": (b"{nothing}", b""),
    "not UTF-8": (b'{"\xff":1}', b""),
    "deep nesting": (b'{"a":' + b"[" * 50_000, b""),
}


@pytest.mark.parametrize(("header", "data"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_header_with_two_readings_is_refused(header: object, data: bytes, tmp_path: Path) -> None:
    path = raw_file(tmp_path / "model.safetensors", header, data)
    with pytest.raises(MalformedSafetensors) as presented:
        read_header(path)
    with pytest.raises(MalformedWeights) as offered:
        hash_tensors(path, family="intake")
    assert (presented.value.exit_code, offered.value.exit_code) == (6, 2)
    assert "model.safetensors" in str(presented.value)


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08" + b"\0" * 6])
def test_a_file_shorter_than_its_length_field_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(MalformedSafetensors):
        read_header(tmp_path / "a")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**40, 3, 61])
def test_a_lying_header_length_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(MalformedSafetensors):
        read_header(raw_file(tmp_path / "a", {"a": entry()}, b"1234", length=length))


def test_a_header_over_the_cap_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", MAX_HEADER_BYTES + 1))
        stream.truncate(MAX_HEADER_BYTES + 100)
    with pytest.raises(MalformedSafetensors, match="more than the 8388608"):
        read_header(path)


def test_the_tensor_at_fault_is_named(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a", {"good": entry(), "wrong": entry(offsets=[2, 6])}, b"123456")
    with pytest.raises(MalformedSafetensors, match="'wrong'") as caught:
        read_header(path)
    assert caught.value.tensor == "wrong"


def test_padding_and_empty_tensors_are_sound(tmp_path: Path) -> None:
    header = {
        "a": entry(),
        "first": entry("F32", [0], [0, 0]),
        "between": entry("F32", [0, 7], [4, 4]),
        "b": entry(offsets=[4, 8]),
        "last": entry("I64", [3, 0], [8, 8]),
    }
    path = raw_file(tmp_path / "a", json.dumps(header).encode() + b"     ", b"12345678")
    assert [span.name for span in read_header(path).tensors] == ["first", "a", "between", "b", "last"]
    with safe_open(path, "np") as library:  # the library agrees
        assert len(list(library.keys())) == 5


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), replacement=st.binary(max_size=6), remove=st.integers(0, 6))
def test_a_mutated_header_is_refused_or_means_the_same_to_the_library(
    tmp_path_factory: pytest.TempPathFactory, at: int, replacement: bytes, remove: int
) -> None:
    folder = tmp_path_factory.mktemp("mutation")
    save_file(some_arrays(), folder / "good", metadata={"format": "pt"})
    data = (folder / "good").read_bytes()
    position = at % read_header(folder / "good").data_start
    (folder / "bad").write_bytes(data[:position] + replacement + data[position + remove :])
    try:
        header = read_header(folder / "bad")
    except MalformedSafetensors:
        return
    try:
        with safe_open(folder / "bad", "np") as library:
            theirs = {name: library.get_slice(name) for name in library.keys()}  # noqa: SIM118  not a dictionary
            seen = {name: (view.get_dtype(), tuple(view.get_shape())) for name, view in theirs.items()}
    except SafetensorError as error:
        raise AssertionError(f"we read what the library refuses: {error}") from error
    assert {span.name: (span.dtype, span.shape) for span in header.tensors} == seen


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a"
    path.write_bytes(data)
    with pytest.raises(MalformedSafetensors):
        read_header(path)


# --- values


def judged(path: Path) -> None:
    hash_tensors(path, with_file_digest=True, family="intake", require_finite=True)


# raw bits, little-endian, of one element that is no number, from the tables of the formats
NOT_NUMBERS = [
    ("F64", struct.pack("<d", math.nan), "NaN"),
    ("F64", struct.pack("<d", math.inf), "infinity"),
    ("F64", struct.pack("<d", -math.inf), "minus infinity"),
    ("F32", struct.pack("<f", math.nan), "NaN"),
    ("F32", bytes.fromhex("010080ff"), "NaN"),  # signalling, negative
    ("F32", struct.pack("<f", math.inf), "infinity"),
    ("F16", struct.pack("<e", math.nan), "NaN"),
    ("F16", struct.pack("<e", -math.inf), "minus infinity"),
    ("BF16", bytes.fromhex("c07f"), "NaN"),
    ("BF16", bytes.fromhex("80ff"), "minus infinity"),
    ("C64", struct.pack("<ff", 1, math.nan), "NaN"),
    ("F8_E5M2", b"\x7c", "infinity"),
    ("F8_E5M2", b"\xfc", "minus infinity"),
    ("F8_E5M2", b"\xff", "NaN"),
    ("F8_E4M3", b"\x7f", "NaN"),
    ("F8_E4M3", b"\xff", "NaN"),
    ("F8_E8M0", b"\xff", "NaN"),
    ("F8_E4M3FNUZ", b"\x80", "NaN"),
    ("F8_E5M2FNUZ", b"\x80", "NaN"),
]
# the greatest finite element of each format, its negative, minus zero and the least above zero
NUMBERS = {
    "F64": struct.pack("<dddd", 1.7976931348623157e308, -1.7976931348623157e308, -0.0, 5e-324),
    "F32": bytes.fromhex("ffff7f7f") + bytes.fromhex("ffff7fff") + struct.pack("<ff", -0.0, 1e-45),
    "F16": struct.pack("<eeee", 65504, -65504, -0.0, 6e-8),
    "BF16": bytes.fromhex("7f7f7fff00800100"),
    "C64": struct.pack("<ffffffff", *([3.4e38, -3.4e38] * 4)),
    "F8_E5M2": b"\x7b\xfb\x80\x01",
    "F8_E4M3": b"\x7e\xfe\x80\x01",
    "F8_E8M0": b"\xfe\x7f\x80\x00",
    "F8_E4M3FNUZ": b"\x7f\xff\x81\x00",
    "F8_E5M2FNUZ": b"\x7f\xff\x81\x00",
    "I32": b"\xff" * 16,
    "U8": b"\x7f\xff\x80\x7c",
    "BOOL": b"\x00\x01\x01\x00",
    "F4": b"\xff\xff",
}


@pytest.mark.parametrize(("dtype", "element", "name"), NOT_NUMBERS)
def test_a_value_that_is_no_number_is_refused_by_tensor_and_index(
    tmp_path: Path, dtype: str, element: bytes, name: str
) -> None:
    data = bytearray(len(element) * 6)
    data[5 * len(element) :] = element
    raw_file(tmp_path / "a", {"w": entry(dtype, [2, 3], [0, len(data)])}, bytes(data))
    with pytest.raises(WeightsNotFinite) as caught:
        judged(tmp_path / "a")
    assert (caught.value.tensor, caught.value.index, caught.value.value) == ("w", "[1, 2]", name)
    assert caught.value.exit_code == 2
    hash_tensors(tmp_path / "a", with_file_digest=True)  # what is verified is not judged


@pytest.mark.parametrize("dtype", NUMBERS)
def test_every_finite_value_enters(tmp_path: Path, dtype: str) -> None:
    data = NUMBERS[dtype]
    raw_file(tmp_path / "a", {"w": entry(dtype, [4], [0, len(data)])}, data)
    judged(tmp_path / "a")


@pytest.mark.parametrize("place", [0, 1_499_999, 2_999_999])
def test_a_value_is_found_in_whatever_block_it_lies(tmp_path: Path, place: int) -> None:
    array = np.ones((3, 1_000_000), "f4")
    array.reshape(-1)[place] = np.inf
    # a byte before it, so that no block ends where an element does
    save_file({"a": np.zeros(1, "u1"), "w": array, "z": np.full(2, np.nan, "f4")}, tmp_path / "a")
    with pytest.raises(WeightsNotFinite) as caught:
        judged(tmp_path / "a")
    assert (caught.value.tensor, caught.value.index) == ("w", f"[{place // 1_000_000}, {place % 1_000_000}]")


def test_elements_that_reads_cut_in_two_are_put_together(tmp_path: Path) -> None:
    span = TensorSpan("w", "F32", (4,), 0, 16)
    data = struct.pack("<ffff", 1, 2, math.nan, 4)
    for cut in range(1, 16):
        values = FiniteValues("a", span)
        with pytest.raises(WeightsNotFinite) as caught:
            for block in (data[:cut], data[cut:]):
                values.take(block)
        assert caught.value.index == "[2]"
        whole = FiniteValues("a", span)
        whole.take(struct.pack("<ff", 1, 2)[:cut])


def test_a_digest_that_is_known_does_not_stand_for_values_that_are_not(tmp_path: Path) -> None:
    save_file({"w": np.array([1, np.nan], "f4")}, tmp_path / "a")
    os.utime(tmp_path / "a", ns=(0, 0))
    with closing(DigestCache(tmp_path / "cache", now_ns=lambda: 10**19)) as cache:
        hash_tensors(tmp_path / "a", with_file_digest=True, cache=cache)
        with pytest.raises(WeightsNotFinite):
            hash_tensors(tmp_path / "a", with_file_digest=True, cache=cache, require_finite=True)
