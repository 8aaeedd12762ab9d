"""A tiny GGUF file written here becomes a folder with the same values and the tokenizer of its rules."""

from pathlib import Path

import numpy as np
import pytest

from peft_registry.registry.identity.base import identify_base
from peft_registry.registry.identity.weights import hash_tensors
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.bases.gguf import GgufRefused, convert_gguf
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.bases.preparing import prepare_base
from peft_registry.trainer.inputs.layers import stored_layers
from peft_registry.trainer.methods.targets import layers_of
from tests.builders.training import a_model

# our name → GGUF's
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        return f"blk.{layer}.{NAMES[rest.removesuffix('.weight')]}.weight"
    return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[name]


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp keeps the two halves of a rotary pair side by side."""
    rows, columns = weights.shape
    return weights.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import gguf
    from tokenizers import pre_tokenizers

    path = tmp_path_factory.mktemp("gguf") / "Tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(300)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_token_list([*letters, "<s>", "</s>", "12", "ab", *(f"<unused{index}>" for index in range(40))])
    writer.add_token_types([1] * 256 + [3, 3, 1, 1] + [3] * 40)
    # the two merges would join digits, if digits were not split first
    writer.add_token_merges(["1 2", "a b"])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(257)
    writer.add_pad_token_id(257)
    for name, tensor in a_model(bos_token_id=256).named_parameters():
        values = tensor.detach().numpy()
        if name.endswith("q_proj.weight"):
            values = permuted(values, 4)
        if name.endswith("k_proj.weight"):
            values = permuted(values, 2)
        writer.add_tensor(gguf_name(name), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory):
    return prepare_base(str(gguf_file), destination=tmp_path_factory.mktemp("bases"))


def test_the_origin_is_recorded(converted, gguf_file):
    assert converted.origin.format == "gguf"
    assert converted.origin.source == "Tiny.gguf"
    assert converted.origin.origin_sha256 == Digest.of(gguf_file.read_bytes())
    assert converted.origin.converter.startswith("transformers ")
    assert converted.revision is None


def test_the_values_are_those_of_the_file_rounded_once(converted):
    import torch

    model, _ = load_base(converted.folder, dtype="bf16", device="cpu")
    expected = {name: tensor.to(torch.bfloat16) for name, tensor in a_model().named_parameters()}
    found = dict(model.named_parameters())
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_tokenizer_splits_digits_and_knows_its_special_tokens(converted):
    _, tokenizer = load_base(converted.folder, dtype="fp32", device="cpu")
    ids = tokenizer("12", add_special_tokens=False)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["1", "2"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (256, 257, 257)


def test_nothing_of_the_quantisation_or_of_this_machine_stays(converted, gguf_file):
    for path in converted.folder.glob("*.json"):
        text = path.read_text()
        assert "quantization_config" not in text
        assert str(gguf_file.parent) not in text
    identity = identify_base(converted.folder)
    assert identity.context_length == 128
    assert identity.architecture == "LlamaForCausalLM"


def test_its_layers_are_known_without_building_it(converted):
    model, _ = load_base(converted.folder, dtype="fp32", device="cpu")
    tensors = hash_tensors(converted.folder / "model.safetensors").tensors
    assert stored_layers("LlamaForCausalLM", tensors) == layers_of(model)


def test_the_header_is_read_once(gguf_file, tmp_path, monkeypatch):
    """Of a real vocabulary it takes a second, and transformers asks for it three times."""
    import gguf

    read = []
    fields = gguf.GGUFReader._build_fields

    def counted(reader, *arguments):
        read.append(reader)
        return fields(reader, *arguments)

    monkeypatch.setattr(gguf.GGUFReader, "_build_fields", counted)
    reader_class = gguf.GGUFReader
    convert_gguf(gguf_file, destination=tmp_path)
    assert len(read) == 1
    assert gguf.GGUFReader is reader_class


def test_a_second_call_finds_the_folder_and_a_new_one_has_the_same_identity(converted, gguf_file, tmp_path):
    before = {path.name: path.stat().st_mtime_ns for path in converted.folder.iterdir()}
    again = prepare_base(str(gguf_file), destination=converted.folder.parent)
    assert again.folder == converted.folder
    assert {path.name: path.stat().st_mtime_ns for path in again.folder.iterdir()} == before
    elsewhere = prepare_base(str(gguf_file), destination=tmp_path)
    assert identify_base(elsewhere.folder).identity == identify_base(converted.folder).identity


@pytest.mark.parametrize("data", [b"not a model", b"GGUF\x03\x00", b""])
def test_what_is_no_gguf_file_is_refused_and_leaves_nothing(tmp_path, data):
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(GgufRefused):
        prepare_base(str(path), destination=tmp_path / "bases")
    assert not (tmp_path / "bases").exists()


def test_a_truncated_file_is_refused_and_leaves_nothing(gguf_file, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(gguf_file.read_bytes()[:-5000])
    with pytest.raises(GgufRefused):
        prepare_base(str(path), destination=tmp_path / "bases")
    assert not list(tmp_path.glob("bases/*"))
