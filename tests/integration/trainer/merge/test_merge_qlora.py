"""QLoRA on a CPU, trained for real: both base policies tried, one passes, the other needs a reason that enters the record."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.trainer.bases.loading import load_base, load_model
from peft_registry.trainer.bases.quantization import (
    Quantization,
    dequantized_weights,
    loading_arguments,
    quantized_layers,
    through_4_bits,
)
from peft_registry.trainer.merge.folder import write_model_folder
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.merge.tensors import checkpoint_tensors
from peft_registry.trainer.use_cases.merge import DistanceNotAccepted, merge_and_register
from peft_registry.trainer.use_cases.merge_inputs import plan_merge
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import a_home
from tests.builders.merge import load, merge, plan_of, suppress_warnings, unmerged
from tests.builders.training import a_base_folder, colour_rows, write_rows

REASON = "the serving stack holds the bf16 base anyway"
FILE = """
name: colours
base: tiny
method: qlora
lora: {r: 4, alpha: 8}
data: {train: {path: rows.jsonl}, validation: {fraction: 0.25}}
training: {max_length: 64, learning_rate: 0.01, num_train_epochs: 2, dtype: bf16, seed: 1}
evaluation: {bias: []}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """A home with an adapter that was trained on its base in 4 bits, and the base's folder."""
    folder = tmp_path_factory.mktemp("qlora")
    base = a_base_folder(folder / "base", tied=False, hidden_size=64, intermediate_size=128)
    write_rows(folder / "rows.jsonl", colour_rows(24))
    (folder / "train.yml").write_text(FILE)
    with a_home(folder / "home") as registry:
        add_base(registry, base, name="tiny", origin=BaseOrigin(format="huggingface", source="tiny"))
        train_and_register(registry, folder / "train.yml")
        yield registry, base


def test_the_layers_that_go_through_4_bits_are_those_that_bitsandbytes_quantises(place: tuple[Registry, Path]) -> None:
    _, base = place
    block = QuantizationBlock()
    model, _ = load_base(base, dtype="bf16", device="cpu", quantization=block)
    theirs = dequantized_weights(model)
    assert len(theirs) == len(quantized_layers(model)) == 14
    stored = {one.name: one for one in checkpoint_tensors(base)}
    assert model_names(base, stored.values()).quantized == theirs.keys()
    for name, weight in theirs.items():
        ours = through_4_bits(stored[name].read().bfloat16(), "nf4, double")
        assert torch.equal(ours, weight), name


def test_the_dequantised_base_is_the_default_and_passes(place: tuple[Registry, Path]) -> None:
    registry, _ = place
    found = merge_and_register(registry, MergeRequest(("colours",), compare_bases=True, name="faithful"))
    merge = found.merge
    assert (merge.base_policy, found.to_json()["accepted"]) == ("dequantised", None)
    assert merge.fold_error.kl <= 1e-6, "against bitsandbytes' own dequantised layers with the adapter beside them"
    assert merge.distance.kl < 0.1 * merge.compared["original"].kl
    assert merge.compared["dequantised"].kl < 0.1 * merge.compared["original"].kl
    assert found.version is not None
    assert verify_version(registry, found.version).verdict == "verified"
    view = found.modification.base[0].quantised_view.value
    assert view == {"while training": "nf4, double", "for the merge": {"code": "base_through_4_bits"}}


def test_the_original_base_is_refused_and_its_distance_told(place: tuple[Registry, Path]) -> None:
    registry, _ = place
    with pytest.raises(DistanceNotAccepted, match="nf4") as caught:
        merge_and_register(registry, MergeRequest(("colours",), base_policy="original", name="other"))
    assert caught.value.exit_code == 3
    assert "--accept-distance" in caught.value.fix


def test_with_a_reason_it_passes_and_the_reason_is_in_the_signed_record(place: tuple[Registry, Path]) -> None:
    registry, _ = place
    found = merge_and_register(
        registry, MergeRequest(("colours",), base_policy="original", accept_distance=REASON, name="accepted")
    )
    assert found.version is not None
    records = records_of(registry, found.version)
    assert records.merge is not None
    assert records.merge.accepted is not None
    assert (records.merge.accepted.reason, records.merge.accepted.by) == (REASON, "lab-1")
    assert records.modification is not None
    assert REASON in str(records.modification.merge.base_ref.method)
    assert records.merge.distance.kl > records.merge.fold_error.kl * 100
    assert REASON.encode() in (records.card or b"")


def test_a_plan_through_4_bits_touches_every_quantised_tensor(place: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, _ = place
    plan = plan_merge(registry, MergeRequest(("colours",)), tmp_path).plan
    assert {job.name for job in plan.touched if job.quantization} == {
        job.name for job in plan.jobs() if "proj" in job.name
    }


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base of GPT-2, which stores its linear layers as (in, out), and an adapter that was made on it in 4 bits."""
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=120, n_embd=64, n_layer=1, n_head=2, initializer_range=0.2)
    GPT2LMHeadModel(config).bfloat16().save_pretrained(folder / "base")
    extra = loading_arguments(QuantizationBlock(), dtype="bf16", device="cpu")
    model = GPT2LMHeadModel.from_pretrained(folder / "base", dtype=torch.bfloat16, **extra)
    targets = ["c_attn", "c_proj", "c_fc"]  # c_proj of the attention is square: its transpose fits as well
    with suppress_warnings():
        adapted = get_peft_model(
            model,
            LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets, init_lora_weights=False),
        )
        adapted.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return folder / "base", folder / "adapter"


def test_an_adapter_of_gpt2_in_4_bits_is_folded_into_the_base_as_it_is_stored(
    turned: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = turned
    merge(base, adapter, into=tmp_path / "merged", dtype="F32")
    with suppress_warnings():
        expected = unmerged(base, adapter).merge_and_unload().state_dict()
    found = load(tmp_path / "merged").state_dict()
    assert expected.keys() == found.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_the_layers_of_gpt2_go_through_4_bits_as_bitsandbytes_turns_them(
    turned: tuple[Path, Path], tmp_path: Path
) -> None:
    base, adapter = turned
    model = load_model(base, dtype="bf16", device="cpu", quantization=QuantizationBlock())
    theirs = dequantized_weights(model)
    stored = {one.name: one for one in checkpoint_tensors(base)}
    names = model_names(base, stored.values())
    assert names.quantized == theirs.keys()
    plan = plan_of(base, adapter, quantization=Quantization("nf4, double", "BF16"))
    (tmp_path / "merged").mkdir()
    write_model_folder(plan.in_float32(), tmp_path / "merged")
    merged = load(tmp_path / "merged").state_dict()
    differences = _differences(adapter)
    jobs = {names.placed[job.name].parameter: job for job in plan.jobs() if job.quantization}
    assert jobs.keys() == theirs.keys()
    for parameter, weight in theirs.items():
        job = jobs[parameter]
        ours = through_4_bits(job.source.read().t().contiguous(), "nf4, double").t()
        assert job.is_transposed
        assert torch.equal(ours, weight), parameter
        expected = weight.float() + differences[parameter].t()
        torch.testing.assert_close(merged[parameter], expected, rtol=1e-5, atol=1e-6)


def _differences(adapter: Path) -> dict[str, torch.Tensor]:
    """s·B·A of each adapted weight, (out, in), as a layer in 4 bits adds it; s is alpha/r = 8/2."""
    factors = load_file(adapter / "adapter_model.safetensors")
    names = [name for name in factors if name.endswith("lora_A.weight")]
    return {
        f"{name.removeprefix('base_model.model.').removesuffix('.lora_A.weight')}.weight": 4
        * factors[name.replace("lora_A", "lora_B")]
        @ factors[name]
        for name in names
    }
