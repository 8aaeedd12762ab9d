"""`registry base add` of hostile files, made here byte by byte: each has its row in a table, none is skipped.

Each is refused with 2 and a sentence that names it, within 2 seconds of CPU, and the home is left as it was.
"""

import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from tests.builders.homes import a_home, base_files
from tests.conftest import not_run
from tests.processes.interpreter import ROOT

CPU_SECONDS = 2.0


@dataclass(frozen=True)
class Hostile:
    """A file with what it holds, and words of the refusal."""

    what: str
    data: Callable[[], bytes]
    says: str
    name: str = "model.safetensors"


def tensors(header: Any, data: bytes = b"", *, length: int | None = None, padding: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += padding
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def one(data: bytes = b"\0" * 8, name: str = "w", **changed: Any) -> bytes:
    return tensors({name: entry(**changed)}, data)


class Canary:
    """Makes a file in the working folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, ("canary", "w")


def zipped(name: str, data: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr(name, data)
    return archive.getvalue()


def tarred() -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as writer:
        writer.addfile(tarfile.TarInfo("data"), io.BytesIO())
    return archive.getvalue()


def many(count: int) -> bytes:
    return tensors({f"t{place}": entry(shape=[0], offsets=[0, 0]) for place in range(count)})


def nested(depth: int) -> bytes:
    return tensors(b'{"w":' + b"[" * depth + b"]" * depth + b"}")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 988097824\n"
NAN, INF = struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))

SAFETENSORS = (
    Hostile("empty", lambda: b"", "it has 0 bytes"),
    Hostile("seven bytes", lambda: b"\1" * 7, "it has 7 bytes"),
    Hostile("header of no length", lambda: struct.pack("<Q", 0), "does not start with '{'"),
    Hostile("header longer than the file", lambda: struct.pack("<Q", 100) + b"{}", "claims 100 bytes"),
    Hostile("header of 2^63", lambda: struct.pack("<Q", 1 << 63) + b"{}", "claims 9223372036854775808 bytes"),
    Hostile("header of 2^64-1", lambda: b"\xff" * 8 + b"{}", "claims 18446744073709551615 bytes"),
    Hostile("header of 99 MB", lambda: tensors(b"{}", padding=b" " * 99_000_000), "more than the 8388608 allowed"),
    Hostile("a list of values in the header", lambda: tensors(b"[" + b"1," * 4_000_001 + b"1]"), "does not start with"),
    Hostile("truncated data", lambda: one(b"\0" * 7), "ends 1 bytes after the end"),
    Hostile("trailing byte", lambda: one(b"\0" * 9), "1 bytes at its end belong to no tensor"),
    Hostile("hole before", lambda: one(b"\0" * 12, offsets=[4, 12]), "4 bytes before its range"),
    Hostile(
        "hole between",
        lambda: tensors({"a": entry(), "b": entry(offsets=[12, 20])}, b"\0" * 20),
        "4 bytes before its range",
    ),
    Hostile("overlap", lambda: tensors({"a": entry(), "b": entry(offsets=[4, 12])}, b"\0" * 12), "overlaps"),
    Hostile("alias", lambda: tensors({"a": entry(), "b": entry()}, b"\0" * 8), "overlaps"),
    Hostile("range backwards", lambda: one(offsets=[8, 0]), "not a beginning and an end"),
    Hostile("range beyond 2^53", lambda: one(offsets=[0, 2**63]), "its range has"),
    Hostile("negative range", lambda: one(offsets=[-8, 0]), "not a beginning and an end"),
    Hostile("range of floats", lambda: one(offsets=[0.0, 8.0]), "not a beginning and an end"),
    Hostile("range of one", lambda: one(offsets=[8]), "not a beginning and an end"),
    Hostile("range of booleans", lambda: one(offsets=[False, True]), "not a beginning and an end"),
    Hostile("other dtype than bytes", lambda: one(dtype="F16"), "takes 4 bytes"),
    Hostile("other shape than bytes", lambda: one(shape=[3]), "takes 12 bytes"),
    Hostile("shape that overflows", lambda: one(shape=[2**32, 2**32]), "its range has 8"),
    Hostile("shape that wraps to fit", lambda: one(shape=[2**62 + 2]), "below 2^53"),
    Hostile("negative shape", lambda: one(shape=[-2, -1]), "whole numbers"),
    Hostile("shape of floats", lambda: one(shape=[2.0]), "whole numbers"),
    Hostile("shape of text", lambda: one(shape="2"), "whole numbers"),
    Hostile("rank of 65", lambda: one(shape=[1] * 64 + [2]), "whole numbers"),
    Hostile("unknown dtype", lambda: one(dtype="F33"), "unknown"),
    Hostile("dtype of another case", lambda: one(dtype="f32"), "unknown"),
    Hostile("dtype of no text", lambda: one(dtype=["F32"]), "unknown"),
    Hostile("four bits that fill no byte", lambda: one(b"\0" * 8, dtype="F4", shape=[15]), "takes 7.5 bytes"),
    Hostile("field too many", lambda: one(extra=1), "exactly dtype, shape and data_offsets"),
    Hostile("field missing", lambda: tensors({"w": {"dtype": "F32", "shape": [2]}}, b"\0" * 8), "exactly dtype"),
    Hostile("entry that is a list", lambda: tensors({"w": []}), "exactly dtype"),
    Hostile(
        "name twice",
        lambda: tensors(b'{"w":%s,"w":%s}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 8),
        "occurs twice",
    ),
    Hostile(
        "field twice",
        lambda: tensors(b'{"w":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', b"\0" * 8),
        "occurs twice",
    ),
    Hostile("empty name", lambda: one(name=""), "a name is empty"),
    Hostile("name with an escape sequence", lambda: one(name="\x1b[2Jw"), "U+001B"),
    Hostile("name with a line feed", lambda: one(name="a\nb"), "U+000A"),
    Hostile("name with a NUL", lambda: one(name="a\0b"), "U+0000"),
    Hostile("name that turns the text round", lambda: one(name="a\u202eb"), "U+202E"),
    Hostile("name of half a character", lambda: one(name="a\ud800b"), "surrogate"),
    Hostile("name of 1,025 characters", lambda: one(name="a" * 1025), "longer than 1024"),
    Hostile("no tensors", lambda: tensors({}), "holds no tensors"),
    Hostile("only metadata", lambda: tensors({"__metadata__": {"format": "pt"}}), "holds no tensors"),
    Hostile(
        "metadata of numbers", lambda: tensors({"__metadata__": {"a": 1}, "w": entry()}, b"\0" * 8), "not an object of"
    ),
    Hostile(
        "metadata that is a list", lambda: tensors({"__metadata__": [], "w": entry()}, b"\0" * 8), "not an object of"
    ),
    Hostile(
        "space before the header", lambda: tensors(b" " + json.dumps({"w": entry()}).encode()), "does not start with"
    ),
    Hostile("byte order mark", lambda: tensors(b"\xef\xbb\xbf{}"), "does not start with"),
    Hostile("header that is a list", lambda: tensors(b"[]"), "does not start with"),
    Hostile("header that is no JSON", lambda: tensors(b"{w}"), "not acceptable JSON"),
    Hostile("header with bytes behind", lambda: tensors(b'{"w":1}x'), "not acceptable JSON"),
    Hostile("header that is not UTF-8", lambda: tensors(b'{"\xff":1}'), "not UTF-8"),
    Hostile("NaN in the header", lambda: tensors(b'{"w":NaN}'), "NaN is not JSON"),
    Hostile("number of 5,000 digits", lambda: tensors(b'{"w":' + b"9" * 5000 + b"}"), "5000 digits"),
    Hostile("100,000 levels", lambda: nested(100_000), "nests deeper"),
    Hostile("200 levels", lambda: nested(200), "nests deeper"),
    Hostile("a million objects", lambda: tensors(b'{"w":[' + b"{}," * 1_100_000 + b"{}]}"), "more than 1000000 lists"),
    # values
    Hostile("NaN", lambda: one(NAN + INF), "its element [0] is NaN"),
    Hostile("infinity", lambda: one(struct.pack("<f", 1) + INF), "its element [1] is infinity"),
    Hostile("NaN in bfloat16", lambda: one(b"\0\0\xc0\x7f", dtype="BF16", offsets=[0, 4]), "element [1] is NaN"),
    Hostile("infinity in float16", lambda: one(b"\0\0\0\xfc", dtype="F16", offsets=[0, 4]), "minus infinity"),
    Hostile("NaN in float64", lambda: one(struct.pack("<d", float("nan")), dtype="F64", shape=[1]), "is NaN"),
    Hostile("NaN in float8", lambda: one(b"\0\x7f", dtype="F8_E4M3", offsets=[0, 2]), "element [1] is NaN"),
    # what it really is
    Hostile("Git LFS pointer", lambda: LFS, "Git LFS pointer"),
    Hostile("HTML page", lambda: b"<!DOCTYPE html><html><title>404</title></html>", "HTML page"),
    Hostile("HTML page after white space", lambda: b"\n  <HTML lang=en></HTML>", "HTML page"),
    Hostile("XML of a storage service", lambda: b'<?xml version="1.0"?><Error>AccessDenied</Error>', "XML page"),
    Hostile("JSON of a server", lambda: b'{"error": "Repository not found"}', "JSON text"),
    Hostile("GGUF", lambda: b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "GGUF file"),
    Hostile("zip without a pickle", lambda: zipped("a.txt", b"a"), "zip archive"),
    Hostile("gzip", lambda: gzip.compress(b"a"), "gzip archive"),
    Hostile("tar", tarred, "tar archive"),
    Hostile("NumPy", lambda: b"\x93NUMPY\1\0v\0{'descr': '<f4'}", "NumPy array"),
    Hostile("HDF5", lambda: b"\x89HDF\r\n\x1a\n" + b"\0" * 64, "HDF5"),
    Hostile("program", lambda: b"\x7fELF" + b"\0" * 64, "a program"),
)

PICKLES = (
    *(
        Hostile(
            f"pickle of protocol {protocol} as {name}", lambda p=protocol: pickle.dumps(Canary(), p), "pickle", name
        )
        for protocol in range(6)
        for name in ("model.safetensors", "extra.dat", "pytorch_model.bin", "vocab.txt")
    ),
    *(
        Hostile(f"any bytes as a{suffix}", lambda: b"harmless", "are pickles by convention", f"a{suffix}")
        for suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".PT", ".Bin")
    ),
    Hostile("zip with a pickle", lambda: zipped("archive/data.pkl", pickle.dumps(Canary())), "data.pkl"),
    Hostile("zip with a pickle as text", lambda: zipped("x/DATA.PKL", b""), "DATA.PKL", "notes.txt"),
    Hostile("program with a zip behind", lambda: b"#!/bin/sh\n" + zipped("a.pickle", b""), "a.pickle", "run.txt"),
    Hostile("call by hand", lambda: b"cos\nsystem\n(S'touch canary'\ntR.", "protocol 0 or 1", "merges.txt"),
    Hostile("call by hand, cut off", lambda: b"cos\nsystem\n(S'touch canary'\ntR\xff", "protocol 0 or 1", "weights"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home, after one base was refused: what is counted below is not the time to import the program."""
    folder = tmp_path_factory.mktemp("hostile") / "home"
    with a_home(folder):
        pass
    base = base_files(folder.with_name("base"))
    (base / SAFETENSORS[0].name).write_bytes(SAFETENSORS[0].data())
    assert run(["base", "add", str(base), "--name", "bad", "--home", str(folder)]) == 2
    return folder


def state(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("hostile", [*SAFETENSORS, *PICKLES], ids=lambda hostile: hostile.what)
def test_base_add_refuses(
    home: Path,
    hostile: Hostile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (base_files(tmp_path / "base") / hostile.name).write_bytes(hostile.data())
    before = state(home)
    started = time.process_time()
    code = run(["base", "add", str(tmp_path / "base"), "--name", "bad", "--home", str(home)])
    spent = time.process_time() - started
    printed = capsys.readouterr().err
    assert code == 2, printed
    assert hostile.says in " ".join(printed.split())
    assert "Traceback" not in printed
    assert "\x1b[2J" not in printed
    assert not (tmp_path / "canary").exists()
    assert spent < CPU_SECONDS
    assert state(home) == before


def test_the_table_has_no_row_twice_and_every_class() -> None:
    names = [hostile.what for hostile in (*SAFETENSORS, *PICKLES)]
    assert len(set(names)) == len(names)
    assert (len(SAFETENSORS), len(PICKLES)) == (77, 38)


def test_a_sound_base_beside_them_enters(home: Path, tmp_path: Path) -> None:
    assert run(["base", "add", str(base_files(tmp_path / "base")), "--name", "good", "--home", str(home)]) == 0


def test_the_name_of_a_tensor_is_never_a_path(home: Path, tmp_path: Path) -> None:
    name = "../../../../planted"
    folder = base_files(tmp_path / "base")
    (folder / "model.safetensors").write_bytes(one(name=name))
    before = set(tmp_path.rglob("*"))
    code = run(["base", "add", str(folder), "--name", "paths", "--store", "copy", "--home", str(home)])
    assert code == 0
    assert set(tmp_path.rglob("*")) == before
    assert not [path for path in home.rglob("*") if "planted" in path.name]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: many(300_000), id="300,000 empty tensors"),
        pytest.param(lambda: many(120_000), id="as many as fit, which enter"),
        pytest.param(lambda: tensors({"__metadata__": {"a": "x" * 100_000_000}}), id="100 MB of metadata"),
        pytest.param(lambda: tensors(b'{"w":[' + b"[]," * 2_700_000 + b"[]]}"), id="8 MiB of lists"),
        pytest.param(lambda: tensors(b'{"w":[' + b"1," * 3_900_000 + b"1]}"), id="8 MiB of numbers"),
    ],
)
def test_a_header_that_is_a_bomb_costs_two_seconds_and_200_mb_at_most(
    data: Callable[[], bytes], tmp_path: Path
) -> None:
    folder = base_files(tmp_path / "base")
    (folder / "model.safetensors").write_bytes(data())
    if sys.platform != "linux":
        not_run("only Linux says what a process took at most")
    code = """
import sys, time
from pathlib import Path
from peft_registry.registry.identity.base import identify_base
from peft_registry.schemas.errors import KnownError
import numpy

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

before, started = peak(), time.process_time()
try:
    identify_base(Path(sys.argv[1]), require_finite=True)
    refused = "entered"
except KnownError as error:
    refused = error.reference
print(refused, time.process_time() - started, peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    outcome, seconds, kibibytes = done.stdout.split()
    assert int(kibibytes) < 200 * 1024, done.stdout
    # what enters is work of the size of the file: each tensor is listed and signed
    assert outcome == "entered" or float(seconds) < CPU_SECONDS, done.stdout
    assert outcome in ("entered", "malformed-weights")
