"""A base is exactly its files: whatever the loaders of the installed transformers open is part of what a base is, or refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.identity.base import FURTHER_FILES, TOKENIZER_FILES, identify_base
from peft_registry.schemas.errors import KnownError
from tests.builders.homes import a_home
from tests.builders.training import a_base_folder
from tests.conftest import not_run
from tests.processes.opened_files import opened_by

OURS = """
import sys
from pathlib import Path
from peft_registry.trainer.bases.loading import load_base
load_base(Path(sys.argv[1]), dtype="fp32", device="cpu")
"""
EVERY_LOADER = """
import sys
from transformers import (AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoModelForCausalLM, AutoProcessor,
    AutoTokenizer, AutoVideoProcessor, GenerationConfig)
opened = 0
for loader in (AutoConfig, GenerationConfig, AutoTokenizer, AutoModelForCausalLM, AutoProcessor, AutoFeatureExtractor,
        AutoImageProcessor, AutoVideoProcessor):
    try:
        loader.from_pretrained(sys.argv[1], local_files_only=True)
        opened += 1
    except Exception:  # for this architecture there is none
        pass
assert opened >= 4
"""
# by which a loader of another file name could be led astray; none may be opened unless it is part of the identity
DECOYS = {
    "additional_chat_templates/default.jinja": "{{ 'planted' }}",
    "additional_chat_templates/tool_use.jinja": "{{ 'planted' }}",
    "chat_template.jinja": "{{ messages[0]['content'] }}",
    "chat_template.json": '{"chat_template": "{{ 1 }}"}',
    "special_tokens_map.json": "{}",
    "added_tokens.json": "{}",
    "config.4.0.0.json": "{}",
    "tokenizer.4.0.0.json": "{}",
    "tokenizer.model.v3": "x",
    "tekken.json": "{}",
    "export.json": "{}",
    "quantize_config.json": "{}",
    "quant_config.json": "{}",
    "hf_quant_config.json": "{}",
    "modelcard.json": "{}",
    "pytorch_model.bin.index.json": '{"weight_map": {}}',
    "adapter_model.safetensors.index.json": "{}",
    "model.fp16.safetensors.index.json": '{"weight_map": {}}',
    "params.json": "{}",
    "training_args.json": "{}",
    "requirements.txt": "nothing",
    "custom_generate/requirements.txt": "nothing",
    **{name: "{}" for name in FURTHER_FILES if name.endswith(".json")},
    **{name: "x" for name in FURTHER_FILES if not name.endswith(".json")},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_base_folder(tmp_path_factory.mktemp("base") / "tiny", chat_template="{{ messages }}")


def with_decoys(base: Path, folder: Path) -> Path:
    shutil.copytree(base, folder)
    for name, content in DECOYS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    return folder


def is_covered(folder: Path, path: str, scratch: Path) -> bool:
    """Whether a folder with other bytes in this file is another base, or none."""
    before = identify_base(folder).identity
    changed = Path(shutil.copytree(folder, scratch))
    data = (changed / path).read_bytes()
    if path.endswith(".json"):
        (changed / path).write_text(json.dumps({**json.loads(data), "something": "else"}))
    else:
        (changed / path).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    try:
        return identify_base(changed).identity != before
    except KnownError:
        return True
    finally:
        shutil.rmtree(changed)


def test_every_file_that_a_loader_opens_is_part_of_the_identity(base: Path, tmp_path: Path) -> None:
    if sys.platform != "linux":
        not_run("only Linux says which files are opened")
    folder = with_decoys(base, tmp_path / "folder")
    ours, by_every = opened_by([OURS, EVERY_LOADER], folder)
    for opened in (ours, by_every):
        assert {"config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"} <= opened
        assert "additional_chat_templates/default.jinja" in opened, "the decoys are where a loader looks"
    uncovered = sorted(path for path in ours | by_every if not is_covered(folder, path, tmp_path / "changed"))
    assert uncovered == []


@pytest.mark.peers  # they bring the optional libraries without which transformers does not say what some classes read
def test_each_vocabulary_of_the_installed_tokenizers_is_part_of_the_identity() -> None:
    names = """
import json, warnings
warnings.simplefilter("ignore")
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name
found = set()
for name in sorted({name for name in TOKENIZER_MAPPING_NAMES.values() if name}):
    kind = tokenizer_class_from_name(name)
    found.update(str(file) for file in (getattr(kind, "vocab_files_names", None) or {}).values())
print(json.dumps(sorted(found)))
"""
    done = subprocess.run([sys.executable, "-c", names], capture_output=True, text=True, timeout=240, check=True)
    found = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"tokenizer.json", "vocab.json"} <= found
    assert found - set(TOKENIZER_FILES) - FURTHER_FILES == set()


def put(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return change


def configured(name: str, key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(config | {key: value}))

    return change


@pytest.mark.parametrize(
    ("change", "reference"),
    [
        (put("adapter_config.json", "{}"), "adapter-in-base"),
        (put("pytorch_model.bin", "x"), "pickle-refused"),
        (put("modeling_tiny.py", "x"), "code-refused"),
        (put("custom_generate/generate.py", "x"), "code-refused"),
        (put("model.fp16.safetensors", "x"), "index-inconsistent"),
        (put("other.safetensors", "x"), "index-inconsistent"),
        (put("nested/model.safetensors", "x"), "index-inconsistent"),
        (configured("config.json", "transformers_weights", "other.safetensors.index.json"), "redirecting-config"),
        (configured("config.json", "configuration_files", ["config.4.0.0.json"]), "redirecting-config"),
        (configured("config.json", "auto_map", {"AutoConfig": "x.Y"}), "code-refused"),
        (configured("tokenizer_config.json", "fast_tokenizer_files", ["tokenizer.4.0.0.json"]), "redirecting-config"),
        (configured("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["x.Y", None]}), "code-refused"),
    ],
)
def test_what_would_send_a_loader_elsewhere_is_refused(
    base: Path, tmp_path: Path, change: Callable[[Path], None], reference: str
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "folder"))
    change(folder)
    with pytest.raises(KnownError) as caught:
        identify_base(folder)
    assert (caught.value.reference, caught.value.exit_code) == (reference, 2)


def test_a_template_planted_beside_a_base_used_by_reference_is_not_trained_on(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from peft_registry.registry.use_cases.add_base import add_base
    from peft_registry.schemas.base_model import BaseOrigin
    from peft_registry.schemas.progress import ignore
    from peft_registry.trainer.bases.loading import load_base
    from peft_registry.trainer.inputs.base import checked_base

    folder = Path(shutil.copytree(base, tmp_path / "own"))
    with a_home(tmp_path / "home") as registry:
        added = add_base(registry, folder, name="own", origin=BaseOrigin(format="huggingface", source="own"))
        put("additional_chat_templates/default.jinja", "{{ 'planted' }}")(folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template == "{{ 'planted' }}", "the attack works elsewhere"
        checked = checked_base(registry, added.version, tmp_path / "scratch", ignore)
        _, tokenizer = load_base(checked.folder, dtype="fp32", device="cpu")
        checked.require_unchanged()
    assert tokenizer.chat_template == "{{ messages }}"


def test_two_bases_that_are_loaded_with_other_templates_are_not_the_same_base(base: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    def loaded_and_identified(name: str, **templates: str) -> tuple[object, object]:
        folder = Path(shutil.copytree(base, tmp_path / name))
        for path in folder.glob("chat_template*"):
            path.unlink()
        for file, text in templates.items():
            place = folder / ("chat_template.jinja" if file == "usual" else f"additional_chat_templates/{file}.jinja")
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
        return AutoTokenizer.from_pretrained(folder).chat_template, identify_base(folder).identity.chat_template

    seen = [
        loaded_and_identified("a", usual="{{ 1 }}"),
        loaded_and_identified("b", default="{{ 1 }}"),
        loaded_and_identified("c", usual="{{ 2 }}", default="{{ 1 }}"),
        loaded_and_identified("d", usual="{{ 2 }}"),
        loaded_and_identified("e", usual="{{ 1 }}", tool_use="{{ 3 }}"),
        loaded_and_identified("f", default="{{ 1 }}", tool_use="{{ 3 }}"),
        loaded_and_identified("g", tool_use="{{ 3 }}"),
        loaded_and_identified("h", usual="{{ 1 }}", tools="{{ 3 }}"),
    ]
    for loaded, identified in seen:
        for other_loaded, other_identified in seen:
            assert loaded == other_loaded or identified != other_identified, (loaded, other_loaded)
    assert len({str(identified) for _, identified in seen}) == len(seen), "a file more is another base"
