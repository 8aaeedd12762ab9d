"""What may not enter: pickles by extension and by content, and code by file or by configuration."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.disk.files import NotARegularFile
from peft_registry.registry.intake.json import MalformedInput
from peft_registry.registry.intake.model_code import CodeRefused, refuse_code
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.intake.pickle import PickleRefused, refuse_pickle


@pytest.mark.parametrize("name", ["a.bin", "a.pt", "a.PTH", "a.ckpt", "a.pkl", "b.x.Bin"])
def test_a_pickle_is_known_by_its_extension(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"harmless")
    with pytest.raises(PickleRefused, match=r"pickle") as caught:
        refuse_pickle(tmp_path / name)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", ["weights", "model.safetensors", "config.json"])
def test_a_pickle_is_known_by_its_first_byte(protocol: int, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    with pytest.raises(PickleRefused):
        refuse_pickle(tmp_path / name)


class Canary:
    """Writes a file when it is unpickled, so that a test sees whether anybody did."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 1])
@pytest.mark.parametrize("name", ["weights", "model.safetensors", "config.json", "notes.txt", "a.npz"])
@pytest.mark.parametrize("kind", ["canary", "values", "canary, then more", "canary, then nonsense", "long"])
def test_a_pickle_of_protocol_0_or_1_is_known_by_its_opcodes_and_never_loaded(
    protocol: int, name: str, kind: str, tmp_path: Path
) -> None:
    canary = pickle.dumps(Canary(tmp_path / "canary"), protocol=protocol)
    data = {
        "canary": canary,
        "values": pickle.dumps({"w": [1.0, 2.0], "n": 3}, protocol=protocol),
        "canary, then more": canary + b"weights",
        "canary, then nonsense": canary[:-1] + b"\xff\xff",
        "long": pickle.dumps([Canary(tmp_path / "canary"), "x" * 3_000_000], protocol=protocol),
    }[kind]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PickleRefused, match="protocol 0 or 1"):
        refuse_pickle(tmp_path / name)
    assert not (tmp_path / "canary").exists()
    pickle.loads(canary)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "call",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"(cos\nsystem\nS'true'\no.",
        b"cos\nsystem\n(S'true'\ntR\xff",
    ],
)
def test_a_call_written_by_hand_is_known(call: bytes, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(call)
    with pytest.raises(PickleRefused):
        refuse_pickle(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    "text",
    [
        "can\nthe\nof\nand\n",
        "in\nthe\n",
        "(\n)\ni\n",
        "I am\na text.",
        "N.",
        ".",
        ").",
        "0.",
        "# title\n",
        "Apache License\n",
        "version: 1.0",
        "c\nd\n",
        "climb\nclose\nR\n",
        '{"a": 1}',
        "[1]",
        "p\nq\n",
        "S.",
        "\n".join(chr(code) for code in range(33, 127)),
    ],
)
def test_a_text_is_no_pickle(text: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(text)
    refuse_pickle(tmp_path / "vocab.txt")


@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n"])
def test_a_zip_that_holds_a_pickle_is_known_under_any_name(prefix: bytes, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("archive/data.pkl", pickle.dumps([1]))
        writer.writestr("archive/data/0", b"\0" * 8)
    (tmp_path / "model.safetensors").write_bytes(prefix + archive.getvalue())
    with pytest.raises(PickleRefused):
        refuse_pickle(tmp_path / "model.safetensors")


def test_other_files_are_no_pickles(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr("a.txt", "a")
    (tmp_path / "empty").touch()
    (tmp_path / "one byte").write_bytes(b"\x80")
    (tmp_path / "text").write_text("hello")
    (tmp_path / "not quite a zip").write_bytes(b"PK\x05\x06" + b"\xff" * 18)
    for path in tmp_path.iterdir():
        refuse_pickle(path)


def test_a_safetensors_header_that_starts_like_a_pickle_is_none(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    padding = 0
    while True:  # a header of 640 bytes: its length field starts 0x80 0x02, like pickle protocol 2
        save_file({"a": np.zeros(3, "f4")}, path, metadata={"padding": "x" * padding})
        head = path.read_bytes()[:2]
        if head == b"\x80\x02":
            break
        padding += 1
        assert padding < 1000
    refuse_pickle(path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(NotARegularFile):
        refuse_pickle(tmp_path / "link")


def _a_model_folder(root: Path, **configs: object) -> Path:
    for name, config in {"config": {"model_type": "llama"}, "tokenizer_config": {}, **configs}.items():
        (root / f"{name}.json").write_text(json.dumps(config))
    return root


def test_a_plain_model_folder_passes(tmp_path: Path) -> None:
    _a_model_folder(tmp_path)
    (tmp_path / "README.md").write_text("auto_map in prose is no code")
    refuse_code(tmp_path, scan_folder(tmp_path))


@pytest.mark.parametrize("name", ["modeling_x.py", "deep/er/__init__.py", "kernel.so", "x.PYC"])
def test_a_program_file_is_refused(name: str, tmp_path: Path) -> None:
    _a_model_folder(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(CodeRefused) as caught:
        refuse_code(tmp_path, scan_folder(tmp_path))
    assert name in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("file", ["config", "tokenizer_config", "preprocessor_config"])
@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}},
        {"text_config": {"auto_map": {"AutoConfig": "other/repository--configuration_x.X"}}},
        {"custom_pipelines": {"x": {"impl": "pipeline.X"}}},
    ],
)
def test_a_configuration_that_asks_for_code_is_refused(file: str, config: object, tmp_path: Path) -> None:
    _a_model_folder(tmp_path, **{file: config})
    with pytest.raises(CodeRefused, match=file):
        refuse_code(tmp_path, scan_folder(tmp_path))


def test_a_configuration_with_two_readings_cannot_hide_code(tmp_path: Path) -> None:
    _a_model_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "m.X"}, "auto_map": null}')
    with pytest.raises(MalformedInput, match="twice"):
        refuse_code(tmp_path, scan_folder(tmp_path))
