"""A base in 4 bits on a CPU: how large it is, that gradients reach the first layer, and that adapters reload on it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.progress import Said
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.bases.quantization import bitsandbytes_tamed, quantized_layers, size_of
from peft_registry.trainer.costs.compute import compute_record
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.methods import count_trainable, implementation
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import supervised_loss
from tests.builders.records import a_base_record
from tests.builders.training import (
    a_base_folder,
    a_training_file,
    colour_rows,
    logits_of,
    some_batches,
    train_on,
    write_rows,
)

NF4 = QuantizationBlock()
# large enough that the scales of the scales are whole blocks, as in a real model
WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights are numbers of bf16, so that both number formats load the same ones."""
    folder = a_base_folder(tmp_path_factory.mktemp("base"), **WIDE)
    load_base(folder, dtype="bf16", device="cpu")[0].save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


def loaded(base: Path, *, dtype="fp32", block: QuantizationBlock | None = NF4):
    return load_base(base, dtype=dtype, device="cpu", quantization=block)[0]


def bits_a_weight(model) -> float:
    """Bits for each quantized weight, with the scales of its block and the scales of those."""
    stored = weights = 0
    for layer in quantized_layers(model):
        state = layer.weight.quant_state
        parts = [layer.weight.data, state.absmax, *([state.state2.absmax] if state.nested else [])]
        stored += sum(part.numel() * part.element_size() for part in parts)
        weights += size_of(layer.weight)
    return 8 * stored / weights


def test_nf4_with_double_quantisation_takes_4_127_bits_a_weight(base):
    model = loaded(base)
    layers = quantized_layers(model)
    assert len(layers) == 2 * 7  # every linear layer of both blocks, not the head
    assert bits_a_weight(model) == pytest.approx(4 + 8 / 64 + 32 / (64 * 256), rel=0.02)
    assert bits_a_weight(loaded(base, block=QuantizationBlock(double=False))) == pytest.approx(4 + 32 / 64, rel=0.02)
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"nf4"}
    fp4 = quantized_layers(loaded(base, block=QuantizationBlock(type="fp4")))
    assert {layer.weight.quant_state.quant_type for layer in fp4} == {"fp4"}


def test_a_weight_in_4_bits_counts_as_one(base):
    plain, quantised = loaded(base, block=None), loaded(base)
    assert count_trainable(quantised)[1] == count_trainable(plain)[1]
    weight = quantized_layers(quantised)[0].weight
    assert size_of(weight) == 2 * weight.numel()


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_gradients_reach_the_first_layer_before_and_after_an_evaluation(base, batches, dtype):
    model = implementation("lora").prepare(loaded(base, dtype=dtype), a_training_file(method="qlora"), seed=1)
    assert not any(layer.support_avx512bf16_for_cpu for layer in quantized_layers(model))
    batch = next(batches.in_order())
    first = [(n, p) for n, p in model.named_parameters() if ".layers.0." in n and "lora_B" in n]

    def gradients():
        model.train()
        model.zero_grad(set_to_none=True)
        loss, _, _ = supervised_loss(model, batch)
        torch.autograd.backward(loss)
        return {name: parameter.grad.clone() for name, parameter in first}

    before = gradients()
    assert all(float(gradient.abs().max()) > 0 for gradient in before.values())
    model.eval()
    with torch.no_grad():
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        with in_float32(model):
            model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    after = gradients()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_scores_are_fp32_over_what_the_weights_stand_for(base, batches):
    model = loaded(base, dtype="bf16")
    with in_float32(model):
        found = logits_of(model, batches)
    assert found.dtype == torch.float32
    dequantised = loaded(base, dtype="fp32").dequantize()
    assert torch.allclose(found, logits_of(dequantised, batches), atol=1e-4)
    assert {layer.compute_dtype for layer in quantized_layers(model)} == {torch.bfloat16}


VARIANTS = {
    "qlora": {"method": "qlora"},
    "dora": {"method": "qlora", "lora__use_dora": True},
    "pissa": {"method": "qlora", "lora__init": "pissa"},
    "ia3": {"method": "ia3", "quantization": {"type": "nf4"}},
    "loraplus": {"method": "qlora", "lora__loraplus_lr_ratio": 4},
}


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_adapters_train_on_4_bits_and_reload_to_the_same_logits(base, tmp_path, variant, dtype):
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    config = a_training_file(**VARIANTS[variant], training__dtype=dtype, training__num_train_epochs=2)
    said = []
    trained = train_on(tmp_path, base, config, observe=said.append)
    curve = trained.result.curve.loss
    assert sum(curve[-3:]) < sum(curve[:3])
    assert quantized_layers(trained.model)
    assert any("trainable" in one.text for one in said if isinstance(one, Said))
    folder = tmp_path / "saved"
    folder.mkdir()
    trained.save(folder, base=BaseToOpen("sha256:" + "0" * 64))
    again = loaded(base, dtype="fp32" if variant == "ia3" else dtype)
    reloaded = implementation(config.method).load(again, folder)
    rows = some_batches(tmp_path)
    with in_float32(trained.model), in_float32(reloaded):
        expected = logits_of(trained.model, rows)
        assert torch.allclose(logits_of(reloaded, rows), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_the_compute_record_counts_the_unquantised_twin(base, tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    flops = {}
    for method in ("lora", "qlora"):
        config = a_training_file(method=method)
        trained = train_on(tmp_path, base, config)
        record = compute_record(trained, a_base_record())
        assert "traced" in record.param_update_flop.method
        flops[method] = record.param_update_flop.value
    assert flops["qlora"] == flops["lora"]


def test_kernels_from_the_hub_are_never_looked_for_and_no_compiler_is_loaded(tmp_path):
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("raise SystemExit('kernels was imported')\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        # none of them imports peft by itself, so that it is first imported where bitsandbytes is looked after
        "import peft_registry.trainer.training.train_adapter, peft_registry.trainer.use_cases.evaluate;"
        "import peft_registry.trainer.use_cases.merge, peft_registry.trainer.use_cases.follow_record;"
        "import peft_registry.trainer.merge.bundle, peft_registry.trainer.merge.concatenate, peft_registry.trainer.use_cases.diff;"
        "assert 'peft' not in sys.modules;"
        "from peft_registry.trainer.methods import implementation; implementation('lora');"
        "from peft_registry.trainer.bases.quantization import _bitsandbytes; _bitsandbytes(); assert 'kernels' not in sys.modules;"
        "assert 'bitsandbytes.backends.default.ops' in sys.modules and 'torch._inductor.compile_fx' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_compiled_at_an_import_is_compiled_once_at_its_first_call(monkeypatch):
    compiled = []

    def compiles(function, **options):
        compiled.append((function.__name__, options))
        return lambda number: ("compiled", function(number))

    monkeypatch.setattr(torch, "compile", compiles)
    with bitsandbytes_tamed():

        @torch.compile(dynamic=False)
        def doubled(number):
            return 2 * number

        halved = torch.compile(lambda number: number / 2)
    assert torch.compile is compiles
    assert compiled == []
    assert [doubled(2), doubled(3), halved(2)] == [("compiled", 4), ("compiled", 6), ("compiled", 1)]
    assert compiled == [("doubled", {"dynamic": False}), ("<lambda>", {})]


def test_training_twice_on_4_bits_gives_the_same_losses(base, batches):
    curves = []
    for _ in range(2):
        config = a_training_file(method="qlora")
        model = implementation("qlora").prepare(loaded(base), config, seed=1)
        curves.append(train(model, batches, config.training).curve.loss)
    assert curves[0] == curves[1]
