"""What is refused at intake, with the code that says so: unsafe, half written, of a type that nothing loads, too much."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.weight_values import WeightsNotFinite
from peft_registry.registry.imports.fit import TensorNotDeclared
from peft_registry.registry.imports.offered import NothingToImport
from peft_registry.registry.imports.patterns import PatternRefused
from peft_registry.registry.imports.stated_settings import SettingsOfOtherTensors
from peft_registry.registry.intake.json import MalformedInput
from peft_registry.registry.intake.model_code import CodeRefused
from peft_registry.registry.intake.paths import UnsafeInputPath
from peft_registry.registry.intake.peft_config import AdapterTypeUnknown
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.registry.intake.safetensors import MalformedWeights
from peft_registry.registry.intake.secrets import SecretRefused
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.schemas.errors import KnownError
from tests.builders.importing import require_refused
from tests.builders.imports import LORA_CONFIG, MODULE, PICKLE, lora_tensors, peft_folder, trl_folder


def _half_written(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])


def _longer(folder: Path) -> None:
    with (folder / "adapter_model.safetensors").open("ab") as file:
        file.write(b"more")


def _a_terabyte_of(name: str) -> Callable[[Path], None]:
    """A file without end that takes no space where it lies."""

    def spoil(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(2**40)

    return spoil


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: _write_config(folder, LORA_CONFIG | changes)


def _write_config(folder: Path, value: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(value))


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _pickle_by_content(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(PICKLE)


def _link(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def _device(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _twins(folder: Path) -> None:
    (folder / "Notes.txt").write_text("a")
    (folder / "notes.txt").write_text("b")


def _not_a_number(folder: Path) -> None:
    tensors = lora_tensors()
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")


def _with_tensor(name: str) -> Callable[[Path], None]:
    tensors = lora_tensors() | {name: np.zeros((8,), np.float32)}
    return lambda folder: save_file(tensors, folder / "adapter_model.safetensors")


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)  # type: ignore[return-value]


def _secret_in_metadata(folder: Path) -> None:
    save_file(lora_tensors(), folder / "adapter_model.safetensors", metadata={"format": "pt", "by": TOKEN})


TOKEN = "hf_" + "a" * 34
REFUSED: dict[str, tuple[Callable[[Path], None], type[KnownError], str]] = {
    "weights that end early": (_half_written, MalformedWeights, "adapter_model"),
    "a terabyte of weights": (_a_terabyte_of("adapter_model.safetensors"), MalformedInput, "the rest are holes"),
    "a terabyte beside the weights": (_a_terabyte_of("log.txt"), MalformedInput, "the rest are holes"),
    "more weights than their header says": (_longer, MalformedWeights, "adapter_model"),
    "no weights": (_without("adapter_model.safetensors"), NothingToImport, "not saved to its end"),
    "no configuration": (_without("adapter_config.json"), NothingToImport, "adapter_config.json"),
    "half a configuration": (lambda folder: (folder / "adapter_config.json").write_text("{"), MalformedInput, "JSON"),
    "weights as a pickle": (_pickled, PickleRefused, "adapter_model.bin"),
    "a pickle under the name of safetensors": (_pickle_by_content, PickleRefused, "pickle"),
    "a link": (_link, UnsafeInputPath, "symbolic link"),
    "a FIFO": (_device, UnsafeInputPath, "FIFO"),
    "two names that are one": (_twins, UnsafeInputPath, "one name"),
    "a value that is not a number": (_not_a_number, WeightsNotFinite, "NaN"),
    "auto_map": (_config(auto_map={"AutoModel": "evil.Model"}), CodeRefused, "auto_map"),
    "a module of somebody's": (_config(auto_mapping={"parent_library": "evil"}), CodeRefused, "evil"),
    "megatron": (_config(megatron_config={"a": 1}, megatron_core="evil"), CodeRefused, "megatron"),
    "another module for megatron": (_config(megatron_core="evil"), CodeRefused, "megatron_core"),
    "a secret": (_config(notes="hf_" + "a" * 34), SecretRefused, "Hugging Face token"),
    "a secret of the tokenizer's": (
        _text("tokenizer_config.json", json.dumps({"hub_token": "x", "init": {"auth": TOKEN}})),
        SecretRefused,
        "tokenizer_config.json holds what looks like a Hugging Face token",
    ),
    "a secret among the special tokens": (
        _text("special_tokens_map.json", json.dumps({"hf_token": "correct-horse"})),
        SecretRefused,
        "special_tokens_map",
    ),
    "a secret in a chat template": (_text("chat_template.jinja", f"{{# {TOKEN} #}}"), SecretRefused, "chat_template"),
    "a secret in a chat template of the tokenizer's": (
        _text("tokenizer_config.json", json.dumps({"chat_template": f"{{# {TOKEN} #}}"})),
        SecretRefused,
        "it stands at chat_template",
    ),
    "a secret in the metadata of the weights": (_secret_in_metadata, SecretRefused, "metadata of adapter_model"),
    "an expression without end": (_config(target_modules="(([a-z0-9_.])+)+[A-Z]$"), PatternRefused, "takes more than"),
    "ranks by an expression without end": (
        _config(rank_pattern={"(([a-z0-9_.])+)+[A-Z]": 2}),
        PatternRefused,
        "takes more than",
    ),
    "a rank that its tensors have not": (_config(r=64), SettingsOfOtherTensors, "`r` is 64"),
    "the type of other tensors": (_config(peft_type="IA3"), TensorNotDeclared, "lora_A"),
    "an expression that is none": (_config(target_modules="(down_proj"), PatternRefused, "not a regular expression"),
    "a configuration of 17 MiB": (_config(notes="x" * (17 << 20)), MalformedInput, "more than the 16777216 allowed"),
    "other sizes by an expression without end": (
        _config(block_size_pattern={"(([a-z0-9_.])+)+[A-Z]": 2}),
        PatternRefused,
        "takes more than",
    ),
    "a type that nobody declared": (_config(peft_type="MINDRA"), AdapterTypeUnknown, "MINDRA.*nothing is known here"),
    "a type that opens other adapters": (
        _config(peft_type="XLORA"),
        AdapterTypeUnknown,
        "XLORA.*consists of other adap",
    ),
    "a type that asks for a task": (_config(peft_type="POLY"), AdapterTypeUnknown, "POLY.*number of a task"),
    "a network from elsewhere": (
        _config(peft_type="SHADOW", shadow_model="evil/model"),
        CodeRefused,
        "`shadow_model` names something else that peft would open: 'evil/model'",
    ),
    "a tensor that its type does not have": (_with_tensor(f"{MODULE}.lora_C.weight"), TensorNotDeclared, "lora_C"),
    "a tensor of another type": (_with_tensor(f"{MODULE}.ia3_l"), TensorNotDeclared, "no LoRA adapter has one"),
    "a bias that nobody says was trained": (_with_tensor(f"{MODULE}.bias"), TensorNotDeclared, "down_proj.bias"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_unsafe_or_half_written_is_refused_and_nothing_is_registered(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # what has no end takes all that it is given
    monkeypatch.setattr("peft_registry.registry.imports.patterns._CPU_SECONDS", 1)
    spoil, error, match = REFUSED[what]
    folder = peft_folder(tmp_path / "helper")
    spoil(folder)
    require_refused(registry, error, 2, folder, match=match)


def test_too_many_files_are_refused(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.imports.offered._MAX_FILES", 5)
    require_refused(registry, UnsafeInputPath, 2, trl_folder(tmp_path / "helper"), match="more than 5 files")


def test_a_folder_of_checkpoints_names_the_newest(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    peft_folder(tmp_path / "out/checkpoint-20")
    peft_folder(tmp_path / "out/checkpoint-100")
    require_refused(registry, NothingToImport, 2, tmp_path / "out", match="checkpoint-100")
