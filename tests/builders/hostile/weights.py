"""Weights."""

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

from tests.builders.hostile.edits import removed
from tests.builders.hostile.place import Case, Place


def _header(value: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _tensor(begin: int = 0, end: int = 8, *, dtype: Any = "F32", shape: Any = (2,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [begin, end]}


def weights() -> Iterator[Case]:
    def of(data: bytes | Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.base / "model.safetensors"
            path.write_bytes(data(path.read_bytes()) if callable(data) else data)
            return place.add_base()

        return make

    files: dict[str, bytes | Callable[[bytes], bytes]] = {
        "empty": b"",
        "seven-bytes": bytes(7),
        "header-of-nothing": struct.pack("<Q", 0),
        "header-longer-than-the-file": _header({"a": _tensor()}, bytes(8), length=1 << 20),
        "header-of-2-to-63": _header({"a": _tensor()}, bytes(8), length=1 << 63),
        # made when they are asked for: the corpus is listed by every process that collects the tests
        "header-of-9-megabytes": lambda _: _header(b" " * 9_000_000 + b"{}"),
        "header-no-json": _header(b"{tensor}", bytes(8)),
        "header-a-list": _header([1]),
        "header-begins-with-a-space": _header(b" " + json.dumps({"a": _tensor()}).encode(), bytes(8)),
        "header-not-utf-8": _header(b'{"\xff":' + json.dumps(_tensor()).encode() + b"}", bytes(8)),
        "header-nested": _header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", bytes(8)),
        "one-name-twice": _header(
            b'{"a":' + json.dumps(_tensor()).encode() + b',"a":' + json.dumps(_tensor()).encode() + b"}", bytes(8)
        ),
        "overlap": _header({"a": _tensor(0, 8), "b": _tensor(4, 12)}, bytes(12)),
        "hole": _header({"a": _tensor(0, 8), "b": _tensor(12, 20)}, bytes(20)),
        "same-bytes-twice": _header({"a": _tensor(0, 8), "b": _tensor(0, 8)}, bytes(8)),
        "trailing-bytes": lambda data: data + b"x",
        "cut": lambda data: data[:-4],
        "backwards": _header({"a": _tensor(8, 0)}, bytes(8)),
        "negative-offset": _header({"a": _tensor(-8, 0)}, bytes(8)),
        "fractional-offset": _header({"a": _tensor() | {"data_offsets": [0.0, 8.0]}}, bytes(8)),
        "shape-of-another-size": _header({"a": _tensor(shape=(3,))}, bytes(8)),
        "negative-shape": _header({"a": _tensor(shape=(-1, -2))}, bytes(8)),
        "shape-overflows": _header({"a": _tensor(shape=(1 << 62, 1 << 62, 0))}, b""),
        "shape-a-number": _header({"a": _tensor(shape=2)}, bytes(8)),
        "an-unknown-type": _header({"a": _tensor(dtype="F31")}, bytes(8)),
        "type-a-number": _header({"a": _tensor(dtype=7)}, bytes(8)),
        "more-members": _header({"a": _tensor() | {"more": 1}}, bytes(8)),
        "metadata-of-numbers": _header({"__metadata__": {"a": 1}, "a": _tensor()}, bytes(8)),
        "no-tensors": _header({}),
        "300000-empty-tensors": lambda _: _header({f"t{n}": _tensor(0, 0, shape=(0,)) for n in range(300_000)}),
        "name-with-an-escape": _header({"a\x1b[31m": _tensor()}, bytes(8)),
        "name-with-a-newline": _header({"a\nb": _tensor()}, bytes(8)),
        "nan": _header({"a": _tensor()}, struct.pack("<2f", 1.0, float("nan"))),
        "infinity": _header({"a": _tensor()}, struct.pack("<2f", float("-inf"), 1.0)),
        "a-pointer-of-git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        "a-page": b"<!DOCTYPE html><html><body>404</body></html>",
        "a-pickle": pickle.dumps({"a": [1.0]}),
        "a-pickle-of-protocol-0": pickle.dumps({"a": [1.0]}, protocol=0),
        "a-gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 0),
    }
    for name, data in files.items():
        yield Case("weights", name, of(data), 2)
    for name in ("pytorch_model.bin", "extra.pt", "extra.ckpt", "optimizer.pkl", "training_args.bin"):
        yield Case(
            "weights", f"beside-{name}", lambda place, name=name: place.add_base_with(name, pickle.dumps({"a": 1})), 2
        )  # type: ignore[misc]
    yield Case("weights", "a-torch-zip", _a_torch_zip, 2)
    yield Case(
        "weights",
        "beside-a-pickle-of-protocol-0",
        lambda place: place.add_base_with("notes.txt", pickle.dumps({"a": 1}, 0)),
        2,
    )
    yield Case("weights", "missing", lambda place: removed(place.base / "model.safetensors", place.add_base()), 2)


def _a_torch_zip(place: Place) -> list[str]:
    with zipfile.ZipFile(place.base / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
    return place.add_base()
