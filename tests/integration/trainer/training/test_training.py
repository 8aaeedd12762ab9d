"""A tiny random model is trained, saved and reloaded; what must fail fails with its own error."""

import hashlib
import itertools
import json
import math
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.schemas.progress import Advanced
from peft_registry.trainer.bases.tensor_files import AdapterConfigRefused, WeightsMismatch
from peft_registry.trainer.data.collate import Batches, collate, padding_id
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.machine.seeding import seed_everything
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.layer_names import TargetsNotFound, TiedTarget
from peft_registry.trainer.training.loop import learning_rate_factor, train
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.watchdog import LossDiverged
from tests.builders.training import (
    a_base_folder,
    a_model,
    a_tokenizer,
    a_training_file,
    colour_rows,
    train_on,
    write_rows,
)


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    tokenizer = a_tokenizer()
    data = load_data(
        DataBlock(train=TrainSource(path="rows.jsonl"), validation=ValidationSource(fraction=0.25)),
        folder=tmp_path,
        tokenizer=tokenizer,
        max_length=64,
        seed=1,
    )
    return Batches(data.train, batch_size=4, pad_id=padding_id(tokenizer), seed=1)


def logits_of(model, batches):
    batch = next(batches.in_order())
    with torch.no_grad():
        return model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits


def test_the_loss_falls_and_every_step_is_told(batches):
    config = a_training_file(training__num_train_epochs=4)
    model = implementation("lora").prepare(a_model(), config, seed=1)
    heard: list[object] = []
    result = train(model, batches, config.training, observe=heard.append)
    assert result.steps == 4 * len(batches) == len(result.curve.loss)
    assert sum(result.curve.loss[-3:]) < sum(result.curve.loss[:3]) * 0.9
    assert [event.done for event in heard if isinstance(event, Advanced)] == list(range(1, result.steps + 1))
    assert result.tokens == sum(s.tokens * s.count for s in result.shapes)


def test_training_twice_gives_the_same_bytes(batches, tmp_path):
    digests = []
    for attempt in ("one", "two"):
        config = a_training_file(lora__dropout=0.1)
        model = implementation("lora").prepare(a_model(), config, seed=5)
        train(model, batches, config.training)
        folder = tmp_path / attempt
        folder.mkdir()
        implementation("lora").save(model, folder, base=None)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()})
    assert digests[0] == digests[1]
    assert set(digests[0]) == {"adapter_config.json", "adapter_model.safetensors"}


def test_sampling_the_machine_changes_no_loss_and_leaves_no_thread(batches):
    config = a_training_file(lora__dropout=0.1)
    threads = set(threading.enumerate())
    results = []
    for seconds_a_call in (0.0, 60.0):  # the second is sampled after each step
        calls = itertools.count()
        model = implementation("lora").prepare(a_model(), config, seed=5)
        seed_everything(5)
        clock = partial(lambda calls, seconds: next(calls) * seconds, calls, seconds_a_call)
        results.append(train(model, batches, config.training, clock=clock))
    seldom, often = results
    assert seldom.curve == often.curve
    assert [sample.step for sample in seldom.system.samples] == [0, seldom.steps]
    assert [sample.step for sample in often.system.samples] == list(range(often.steps + 1))
    assert all("process_memory_megabytes" in sample.values for sample in often.system.samples)
    assert all(sample.values["process_cpu_percentage"] > 0 for sample in often.system.samples[1:])
    with torch.no_grad():
        model.get_base_model().model.norm.weight.fill_(math.nan)
    with pytest.raises(LossDiverged):
        train(model, batches, config.training)
    # one of an earlier test may end meanwhile
    assert set(threading.enumerate()) <= threads


def test_a_base_with_dropout_of_its_own_trains_the_same_way_twice(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    base = a_base_folder(tmp_path / "base", attention_dropout=0.5)
    config = a_training_file(method="full", training__seed=5)

    def curve_after(draws_before):
        torch.manual_seed(draws_before)  # what else a process drew must not matter
        trained = train_on(tmp_path, base, config)
        return trained.result.curve.loss

    assert curve_after(1) == curve_after(2)


def test_padding_is_a_token_that_the_base_has_an_embedding_for():
    tokenizer = a_tokenizer()
    assert [padding_id(tokenizer, vocabulary=rows) for rows in (300, 257, 256)] == [256, 256, 0]


VARIANTS = {
    "plain": {},
    "rslora": {"lora__use_rslora": True},
    "dora": {"lora__use_dora": True},
    "patterns": {"lora__rank_pattern": {"q_proj": 2}, "lora__alpha_pattern": {"q_proj": 5.0}},
    "bias": {"lora__bias": "lora_only", "lora__target_modules": ["q_proj", "v_proj"]},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_lora_reloads_to_the_same_logits(batches, tmp_path, variant):
    config = a_training_file(**VARIANTS[variant])
    method = implementation("lora")
    bias = variant == "bias"
    trained = method.prepare(a_model(attention_bias=bias), config, seed=1)
    train(trained, batches, config.training)
    method.save(trained, tmp_path, base=BaseToOpen("sha256:" + "0" * 64))
    reloaded = method.load(a_model(attention_bias=bias), tmp_path)
    assert torch.equal(logits_of(reloaded, batches), logits_of(trained, batches))
    assert not torch.equal(logits_of(reloaded, batches), logits_of(a_model(attention_bias=bias), batches))
    assert not any(parameter.requires_grad for parameter in reloaded.parameters())


def test_on_a_bf16_base_the_adapter_is_fp32_and_reloads_to_the_same_logits(batches, tmp_path):
    config, method = a_training_file(), implementation("lora")
    trained = method.prepare(a_model().to(torch.bfloat16), config, seed=1)
    assert {parameter.dtype for parameter in trained.parameters() if parameter.requires_grad} == {torch.float32}
    result = train(trained, batches, config.training)
    assert result.curve.loss[-1] < result.curve.loss[0]
    method.save(trained, tmp_path, base=None)
    reloaded = method.load(a_model().to(torch.bfloat16), tmp_path)
    assert torch.equal(logits_of(reloaded, batches), logits_of(trained, batches))


@pytest.mark.parametrize("products", [torch.bfloat16, torch.float16])
def test_full_training_in_16_bits_keeps_fp32_weights(batches, products):
    config = a_training_file(method="full")
    trained = implementation("full").prepare(a_model(), config, seed=1)
    result = train(trained, batches, config.training, products=products)
    assert result.curve.loss[-1] < result.curve.loss[0]
    assert {parameter.dtype for parameter in trained.parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_peft_itself_reads_the_folder(batches, tmp_path):
    from peft import PeftModel

    config = a_training_file()
    trained = implementation("lora").prepare(a_model(), config, seed=1)
    train(trained, batches, config.training)
    implementation("lora").save(trained, tmp_path, base=BaseToOpen("sha256:" + "0" * 64))
    reloaded = PeftModel.from_pretrained(a_model(), str(tmp_path)).eval()
    assert torch.equal(logits_of(reloaded, batches), logits_of(trained, batches))


def test_a_fresh_adapter_changes_nothing_and_depends_on_the_seed_only(batches):
    method, config = implementation("lora"), a_training_file()
    first, second, other = (method.prepare(a_model(), config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(logits_of(first, batches), logits_of(a_model(), batches))
    states = [{n: p for n, p in model.named_parameters() if p.requires_grad} for model in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("tied", [True, False])
def test_full_reloads_to_the_same_logits_and_loads_as_a_model_folder(batches, tmp_path, tied):
    from transformers import AutoModelForCausalLM

    config = a_training_file(method="full", full={"freeze": ["layers.0."]})
    method = implementation("full")
    trained = method.prepare(a_model(tied=tied), config, seed=1)
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    train(trained, batches, config.training)
    method.save(trained, tmp_path, base=None)
    expected = logits_of(trained, batches)
    assert torch.equal(logits_of(method.load(None, tmp_path), batches), expected)
    assert torch.equal(logits_of(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), batches), expected)
    assert torch.equal(before["model.layers.0.mlp.up_proj.weight"], trained.model.layers[0].mlp.up_proj.weight)
    assert not torch.equal(before["model.layers.1.mlp.up_proj.weight"], trained.model.layers[1].mlp.up_proj.weight)
    assert "_name_or_path" not in (tmp_path / "config.json").read_text()


def test_no_local_path_is_written(batches, tmp_path):
    model = a_model()
    model.name_or_path = model.config._name_or_path = "/secret/place/base"
    trained = implementation("lora").prepare(model, a_training_file(), seed=1)
    implementation("lora").save(trained, tmp_path, base=BaseToOpen("sha256:" + "1" * 64))
    text = (tmp_path / "adapter_config.json").read_text()
    assert "secret" not in text
    value = json.loads(text)
    assert value["base_model_name_or_path"] == "sha256:" + "1" * 64
    assert value["target_modules"] == sorted(value["target_modules"])


def test_the_head_on_supervised_positions_gives_the_ordinary_loss(batches):
    model, batch = a_model(), next(batches.in_order())
    loss, count, vocabulary = supervised_loss(model, batch)
    ordinary = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).loss
    assert count == batch.supervised
    assert vocabulary == 300
    assert float(loss.detach() / count) == pytest.approx(float(ordinary.detach()), rel=1e-5)


def test_accumulation_equals_one_large_batch(batches):
    steps = []
    for size, accumulate in ((8, 1), (2, 4)):
        config = a_training_file(training__gradient_accumulation_steps=accumulate, training__num_train_epochs=0.5)
        model = implementation("lora").prepare(a_model(), config, seed=1)
        result = train(model, replace(batches, batch_size=size), config.training)
        steps.append(result.curve.loss)
    assert steps[0] == pytest.approx(steps[1], rel=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(batches):
    config = a_training_file()
    model = implementation("lora").prepare(a_model(), config, seed=1)
    with torch.no_grad():
        model.get_base_model().model.norm.weight.fill_(float("nan"))
    with pytest.raises(LossDiverged) as caught:
        train(model, batches, config.training)
    assert caught.value.step == 1
    assert caught.value.exit_code == 4


def test_a_learning_rate_that_explodes_is_divergence(batches):
    config = a_training_file(
        method="full", training__learning_rate=50.0, training__num_train_epochs=5, training__warmup_ratio=0.0
    )
    model = implementation("full").prepare(a_model(), config, seed=1)
    with pytest.raises(LossDiverged):
        train(model, batches, config.training)


def test_targets_that_are_nowhere_or_tied_are_refused():
    method = implementation("lora")
    with pytest.raises(TargetsNotFound, match="q_projj"):
        method.prepare(a_model(), a_training_file(lora__target_modules=["q_projj"]), seed=1)
    with pytest.raises(TiedTarget, match="lm_head"):
        method.prepare(a_model(), a_training_file(lora__target_modules=["lm_head"]), seed=1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained = implementation("lora").prepare(a_model(), a_training_file(), seed=1)
    implementation("lora").save(trained, tmp_path, base=None)
    return tmp_path


def rewrite(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


WRONG_TENSORS = {
    "a key is misspelt": lambda found: {name.replace("lora_A", "lora_X"): tensor for name, tensor in found.items()},
    "a key is missing": lambda found: dict(list(found.items())[1:]),
    "a key is left over": lambda found: found | {"base_model.model.extra.lora_A.weight": torch.zeros(1)},
    "another shape": lambda found: {name: tensor[:1].clone() for name, tensor in found.items()},
}


@pytest.mark.parametrize("wrong", WRONG_TENSORS)
def test_weights_that_do_not_fit_exactly_are_refused(saved, wrong):
    rewrite(saved, WRONG_TENSORS[wrong])
    with pytest.raises(WeightsMismatch):
        implementation("lora").load(a_model(), saved)


WRONG_CONFIGS = {
    "another method": {"peft_type": "IA3"},
    "a field of the future": {"from_the_future": 1},
    "a module to import": {"auto_mapping": {"parent_library": "os", "base_model_class": "x"}},
    "megatron": {"megatron_config": {"a": 1}},
}


@pytest.mark.parametrize("wrong", WRONG_CONFIGS)
def test_adapter_configs_that_peft_would_misread_are_refused(saved, wrong):
    path = saved / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | WRONG_CONFIGS[wrong]))
    with pytest.raises(AdapterConfigRefused):
        implementation("lora").load(a_model(), saved)


def test_truncated_weights_are_refused(saved):
    path = saved / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsMismatch):
        implementation("lora").load(a_model(), saved)


def test_epochs_have_their_own_order_and_repeat(batches):
    def order(epoch):
        return [batch.input_ids.tolist() for batch in batches.of_epoch(epoch)]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_padding_is_on_the_right_and_not_learnt(batches):
    batch = collate(
        sorted(batches.examples, key=lambda example: len(example.ids))[:1] + list(batches.examples[:3]), pad_id=9
    )
    for row in range(batch.input_ids.shape[0]):
        length = int(batch.attention_mask[row].sum())
        assert batch.input_ids[row, length:].tolist() == [9] * (batch.shape[1] - length)
        assert set(batch.labels[row, length:].tolist()) <= {-100}


def test_schedules_start_warm_and_end_low():
    def factors(kind):
        return [learning_rate_factor(step, total=10, warmup=2, kind=kind) for step in range(1, 11)]

    assert factors("constant") == [0.5] + [1.0] * 9
    assert factors("linear") == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])
    assert factors("cosine")[2] == 1.0
    assert factors("cosine")[6] == pytest.approx(0.5)
