"""A base's identity: what does not change it, what does, and what is refused. Folders are made without torch."""

import hashlib
import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.disk.hashing import DigestCache
from peft_registry.registry.identity.base import BaseFileMissing, BaseWithoutWeights, IndexInconsistent, identify_base
from peft_registry.registry.identity.parameters import count_parameters
from peft_registry.registry.identity.weights import MalformedWeights, Tensor
from peft_registry.registry.intake.json import MalformedInput
from peft_registry.registry.intake.model_code import CodeRefused
from peft_registry.registry.intake.paths import UnsafeInputPath
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.schemas.identity import Digest

CONFIG = {"architectures": ["TinyForCausalLM"], "max_position_embeddings": 64, "tie_word_embeddings": True}
TENSORS = {
    "model.embed_tokens.weight": (10, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
}


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """Every folder of these tests: what is remembered of files is their subject."""
    return on_disk


def safetensors(tensors: dict[str, tuple[int, ...]], *, fill: int = 1) -> bytes:
    header: dict[str, Any] = {}
    data = b""
    for index, (name, shape) in enumerate(tensors.items()):
        count = 1
        for size in shape:
            count *= size
        block = bytes([fill + index]) * (2 * count)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "generation_config.json", {"eos_token_id": 2})
    write_json(folder / "tokenizer.json", {"model": {"vocab": {"a": 0}}})
    write_json(folder / "tokenizer_config.json", {"model_max_length": 10**30, "chat_template": "{{ x }}"})
    (folder / "model.safetensors").write_bytes(safetensors(TENSORS))
    return folder


def test_it_says_what_the_folder_is(base):
    found = identify_base(base, revision="0" * 40)
    assert found.architecture == "TinyForCausalLM"
    assert found.context_length == 64
    assert found.identity.revision == "0" * 40
    assert (found.parameters_total, found.parameters_matmul) == (40 + 24 + 4, 24 + 40)
    assert [file.path for file in found.files] == sorted(path.name for path in base.iterdir())
    for file in found.files:
        data = (base / file.path).read_bytes()
        assert (file.size, file.sha256) == (len(data), Digest.of(data))
    (weights,) = found.weights
    assert weights.path == "model.safetensors"


def test_the_digests_are_those_of_the_documentation(base):
    found = identify_base(base).identity
    compact = json.dumps(CONFIG, sort_keys=True, separators=(",", ":")).encode()
    assert found.config.hex == hashlib.sha256(compact).hexdigest()
    assert found.chat_template == Digest.of(b"{{ x }}")
    tokenizer = hashlib.sha256(b'{"model":{"vocab":{"a":0}}}').hexdigest()
    settings = hashlib.sha256(b'{"model_max_length":"1000000000000000000000000000000"}').hexdigest()
    both = f'{{"tokenizer.json":"sha256:{tokenizer}","tokenizer_config.json":"sha256:{settings}"}}'
    assert found.tokenizer == Digest.of(both.encode())


SAME = {
    "another transformers wrote it": lambda f: write_json(f / "config.json", CONFIG | {"transformers_version": "9"}),
    "it came from another folder": lambda f: write_json(f / "config.json", CONFIG | {"_name_or_path": "/home/x"}),
    "keys in another order": lambda f: write_json(f / "config.json", dict(reversed(CONFIG.items()))),
    "a model card": lambda f: (f / "README.md").write_text("read me"),
    "what the hub's client keeps": lambda f: (f / ".cache").mkdir(),
    "the template in a file": lambda f: (
        (f / "chat_template.jinja").write_text("{{ x }}"),
        write_json(f / "tokenizer_config.json", {"model_max_length": 10**30}),
    ),
    "tensors in another order": lambda f: (f / "model.safetensors").write_bytes(reordered()),
}


def reordered() -> bytes:
    header: dict[str, Any] = {}
    data = b""
    for name in reversed(TENSORS):
        block = bytes([1 + list(TENSORS).index(name)]) * (
            2 * Tensor(name, "BF16", TENSORS[name], Digest.of(b"")).parameters
        )
        header[name] = {"dtype": "BF16", "shape": TENSORS[name], "data_offsets": [len(data), len(data) + len(block)]}
        data += block
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("case", SAME)
def test_the_identity_does_not_depend_on(base, case):
    before = identify_base(base).identity
    SAME[case](base)
    assert identify_base(base).identity == before


DIFFERENT = {
    "weights": lambda f: (f / "model.safetensors").write_bytes(safetensors(TENSORS, fill=2)),
    "config": lambda f: write_json(f / "config.json", CONFIG | {"rope_theta": 1.0}),
    "tokenizer": lambda f: write_json(f / "tokenizer.json", {"model": {"vocab": {"b": 0}}}),
    "chat_template": lambda f: (f / "chat_template.jinja").write_text("{{ y }}"),
    "generation_config": lambda f: (f / "generation_config.json").unlink(),
}


@pytest.mark.parametrize("part", DIFFERENT)
def test_a_change_shows_in_its_own_part_only(base, part):
    before = identify_base(base).identity
    DIFFERENT[part](base)
    after = identify_base(base).identity
    changed = [name for name in type(before).model_fields if getattr(before, name) != getattr(after, name)]
    assert changed == [part]


def split(folder: Path) -> None:
    first, *rest = TENSORS.items()
    whole = safetensors(TENSORS)
    length = struct.unpack("<Q", whole[:8])[0]
    data, position = whole[8 + length :], 0
    places = {}
    for name, tensors in (("a.safetensors", [first]), ("b.safetensors", rest)):
        size = sum(2 * Tensor(key, "BF16", shape, Digest.of(b"")).parameters for key, shape in tensors)
        header: dict[str, Any] = {}
        begin = 0
        for key, shape in tensors:
            end = begin + 2 * Tensor(key, "BF16", shape, Digest.of(b"")).parameters
            header[key] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
            begin, places[key] = end, name
        text = json.dumps(header).encode()
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + data[position : position + size])
        position += size
    (folder / "model.safetensors").unlink()
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})


def test_the_same_tensors_in_other_shards_are_the_same_base(base):
    before = identify_base(base)
    split(base)
    after = identify_base(base)
    assert after.identity == before.identity
    assert (after.parameters_total, after.parameters_matmul) == (before.parameters_total, before.parameters_matmul)
    assert [file.path for file in after.weights] == ["a.safetensors", "b.safetensors"]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_neither_workers_nor_a_cache_change_it(base, tmp_path, workers):
    cache = DigestCache(tmp_path / "cache.sqlite")
    expected = identify_base(base)
    assert identify_base(base, workers=workers, cache=cache) == expected
    assert identify_base(base, workers=workers, cache=cache) == expected
    cache.close()


def edited_index(change):
    def prepare(folder: Path) -> None:
        split(folder)
        path = folder / "model.safetensors.index.json"
        value = json.loads(path.read_text())
        change(value["weight_map"])
        write_json(path, value)

    return prepare


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), BaseWithoutWeights, "no weights"),
    "an adapter": (
        lambda f: (f / "model.safetensors").rename(f / "adapter_model.safetensors"),
        BaseWithoutWeights,
        "no weights",
    ),
    "pickle weights": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        PickleRefused,
        "pytorch_model.bin",
    ),
    "pickle content": (lambda f: (f / "notes.txt").write_bytes(b"\x80\x04."), PickleRefused, "notes.txt"),
    "code": (lambda f: (f / "modeling_x.py").write_text("1"), CodeRefused, "modeling_x.py"),
    "auto_map": (lambda f: write_json(f / "config.json", CONFIG | {"auto_map": {"A": "b"}}), CodeRefused, "auto_map"),
    "a link": (
        lambda f: (f.parent / "else").write_text("x") and (f / "vocab.txt").symlink_to(f.parent / "else"),
        UnsafeInputPath,
        "link",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), BaseFileMissing, "config.json"),
    "no tokenizer": (
        lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        BaseFileMissing,
        "tokenizer",
    ),
    "config is a list": (lambda f: write_json(f / "config.json", []), BaseFileMissing, "config.json"),
    "config is broken": (lambda f: (f / "config.json").write_text("{"), MalformedInput, "config.json"),
    "truncated header": (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), MalformedWeights, "header"),
    "lying header": (
        lambda f: (f / "model.safetensors").write_bytes(safetensors(TENSORS)[:-2]),
        MalformedWeights,
        "model.norm.weight",
    ),
    "weights nobody loads": (
        lambda f: shutil.copy(f / "model.safetensors", f / "consolidated.safetensors"),
        IndexInconsistent,
        "consolidated.safetensors",
    ),
    "a shard is missing": (lambda f: (split(f), (f / "b.safetensors").unlink()), IndexInconsistent, "b.safetensors"),
    "a tensor is promised": (edited_index(lambda m: m.update(ghost="a.safetensors")), IndexInconsistent, "ghost"),
    "a tensor is not named": (edited_index(lambda m: m.pop("model.norm.weight")), IndexInconsistent, "norm"),
    "an index without map": (
        lambda f: (split(f), write_json(f / "model.safetensors.index.json", {})),
        IndexInconsistent,
        "weight_map",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sound_base_is_refused(base, case):
    prepare, error, words = REFUSED[case]
    prepare(base)
    with pytest.raises(error) as caught:
        identify_base(base)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def tensor(name: str, *shape: int, content: bytes = b"") -> Tensor:
    return Tensor(name, "BF16", shape, Digest.of(content or name.encode()))


def test_a_tied_head_counts_once_and_multiplies_whether_or_not_it_was_saved():
    embedding, linear = tensor("m.embed_tokens.weight", 10, 4, content=b"e"), tensor("m.up.weight", 4, 4)
    copied, own = tensor("lm_head.weight", 10, 4, content=b"e"), tensor("lm_head.weight", 10, 4)
    assert count_parameters([embedding, linear], {}) == (56, 56)
    assert count_parameters([embedding, linear, copied], {}) == (56, 56)
    assert count_parameters([embedding, linear, own], {}) == (96, 56)


def test_of_experts_those_that_a_token_uses_multiply():
    experts = [tensor(f"m.mlp.experts.{number}.up.weight", 4, 4) for number in range(8)]
    head = tensor("lm_head.weight", 10, 4)
    config = {"num_local_experts": 8, "num_experts_per_tok": 2}
    assert count_parameters([*experts, head], config) == (8 * 16 + 40, 2 * 16 + 40)


def test_positions_and_norms_multiply_nothing():
    found = [tensor("wte.weight", 10, 4), tensor("wpe.weight", 6, 4), tensor("ln.weight", 4), tensor("c.weight", 4, 4)]
    assert count_parameters(found, {}) == (40 + 24 + 4 + 16, 16 + 40)
