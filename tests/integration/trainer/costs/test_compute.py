"""Counted operations against closed forms that were worked out by hand."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHOD_NAMES
from peft_registry.schemas.progress import Warned
from peft_registry.trainer.costs.compute import FlopLaw, compute_record, trace_laws
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.machine.environment import Hardware
from peft_registry.trainer.methods import count_trainable, implementation
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.result import BatchShape, TrainResult
from tests.builders.records import a_base_record
from tests.builders.training import a_model, a_tokenizer, a_training_file, colour_rows, write_rows

HEADS, HEAD_DIM, LAYERS, VOCABULARY, HIDDEN = 4, 8, 2, 300, 32
LINEAR_LAYERS = 2 * (32 * 32 * 2 + 32 * 16 * 2 + 32 * 64 * 3)  # q, o; k, v; gate, up, down
HEAD = VOCABULARY * HIDDEN


def trace_law(hf_config: Any, config: TrainingFile, *, backward: bool = True) -> FlopLaw:
    """The law of forward and backward, or without `backward` of a forward pass."""
    laws = trace_laws(hf_config, config)
    return laws.both if backward else laws.forward


def of_batch(law: FlopLaw, rows: int, tokens: int, supervised: int) -> float:
    """The operations of one padded batch."""
    return law._of(rows * tokens, rows * tokens**2, supervised, rows=rows)


def test_what_no_operation_follows_from_is_not_traced_again():
    hf_config = a_model().config
    laws = trace_laws(hf_config, a_training_file())
    elsewhere = {"name": "other", "base": "other-base", "continue_from": "first:1", "offload__to": "disk"}
    otherwise = {"training__learning_rate": 0.5, "training__seed": 3, "training__max_length": 8}
    assert trace_laws(hf_config, a_training_file(**elsewhere, **otherwise)) is laws
    assert trace_laws(hf_config, a_training_file(lora__r=4)) != laws


def test_full_training_is_six_operations_a_weight_and_token():
    law = trace_law(a_model().config, a_training_file(method="full"))
    assert law.per_token == 6 * LINEAR_LAYERS
    assert law.per_head_position == 6 * HEAD
    assert law.per_batch == 0


def test_attention_is_two_products_a_head_and_costs_twice_as_much_backward():
    forward = trace_law(a_model().config, a_training_file(method="full"), backward=False)
    both = trace_law(a_model().config, a_training_file(method="full"))
    assert forward.per_square == 2 * 2 * HEADS * HEAD_DIM * LAYERS
    assert both.per_square == 3 * forward.per_square
    assert forward.per_token == 2 * LINEAR_LAYERS


def test_lora_saves_the_gradients_of_frozen_weights():
    law = trace_law(a_model().config, a_training_file())
    adapters = LAYERS * 8 * (64 + 48 + 48 + 64 + 3 * 96)  # r·(in + out) of each linear layer
    # nothing asks for the gradient of the embeddings' output: q, k, v of the first layer and their A need none
    not_needed = 2 * (32 * 32 + 2 * 32 * 16) + 2 * (3 * 8 * 32)
    assert law.per_token == 4 * LINEAR_LAYERS + 6 * adapters - not_needed
    assert law.per_head_position == 4 * HEAD


def test_lora_on_a_model_of_ordinary_width_is_within_five_percent_of_four_operations():
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=4,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    law = trace_law(config, a_training_file())
    linears = 4 * (576 * 576 * 2 + 576 * 192 * 2 + 576 * 1536 * 3)
    flops = of_batch(law, 1, 256, 256) - law.per_square * 256**2
    assert 1.0 < flops / (4 * (linears + 49152 * 576) * 256) < 1.05


@pytest.mark.parametrize(
    "changes", [{}, {"lora__use_dora": True}, *({"method": name} for name in METHOD_NAMES if name != "lora")]
)
def test_the_law_predicts_what_torch_counts_at_a_shape_that_was_not_traced(changes):
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoModelForCausalLM

    config = a_training_file(**changes)
    law = trace_law(a_model().config, config)
    with torch.device("meta"):
        twin = implementation(config.method).prepare(AutoModelForCausalLM.from_config(a_model().config), config, seed=0)
    twin.train()
    twin.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0][:, :20],))
    with FlopCounterMode(display=False) as counter:
        logits = twin(input_ids=torch.zeros((3, 50), dtype=torch.long, device="meta")).logits
        torch.autograd.backward(logits.float().sum())
    assert of_batch(law, 3, 50, 3 * 20) == pytest.approx(counter.get_total_flops(), rel=1e-8)


def test_batches_add_up():
    law = FlopLaw(per_token=2.0, per_head_position=3.0, per_square=5.0, per_batch=7.0)
    assert law.total([BatchShape(tokens=20, squares=200, supervised=4, count=3)]) == 3 * (
        2 * 20 + 3 * 4 + 5 * 2 * 100 + 7
    )


@dataclass(frozen=True)
class Finished:
    config: Any
    model: Any
    hardware: Hardware
    result: TrainResult
    parameters: tuple[int, int]
    waiting: None = None  # nothing of the base waits elsewhere


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    write_rows(tmp_path / "rows.jsonl", colour_rows(8))
    config, tokenizer = a_training_file(), a_tokenizer()
    data = load_data(config.data, folder=tmp_path, tokenizer=tokenizer, max_length=64, seed=1)
    model = implementation("lora").prepare(a_model(), config, seed=1)
    result = train(model, Batches(data.train, 4, 256, 1), config.training)
    return Finished(config, model, Hardware("cpu", "fp32", 1, "a processor"), result, count_trainable(model))


@pytest.fixture
def base() -> BaseRecord:
    return a_base_record(parameters_total=1000, parameters_matmul=900)


def test_the_record_says_where_each_figure_comes_from(finished, base):
    record = compute_record(finished, base)
    assert record.conservative_flop.value == 6.0 * 1000 * finished.result.tokens
    assert record.param_update_flop.source == "derived"
    assert "traced" in str(record.param_update_flop.method)
    law = trace_law(finished.model.config, finished.config)
    assert record.param_update_flop.value == law.total(finished.result.shapes)
    assert record.peak_memory_bytes.value > 2**20
    energy = finished.result.energy_kwh
    assert (record.energy_kwh.value, record.energy_kwh.known) == (energy, energy is not None)


def test_an_architecture_that_cannot_be_traced_falls_back_to_the_closed_form_and_says_so(finished, base, monkeypatch):
    import peft_registry.trainer.costs.compute

    def fail(*_: object, **__: object) -> FlopLaw:
        raise NotImplementedError("no meta kernel")

    monkeypatch.setattr(peft_registry.trainer.costs.compute, "trace_laws", fail)
    heard: list[object] = []
    record = compute_record(finished, base, observe=heard.append)
    trainable = finished.parameters[0]
    assert record.param_update_flop.value == (4 * 900 + 6 * trainable) * finished.result.tokens
    assert any(isinstance(event, Warned) for event in heard)


def test_rows_side_by_side_pay_for_their_own_lengths_only(finished):
    (shape, *_) = finished.result.shapes
    assert finished.result.layout == "rows"
    assert finished.result.padding_tokens == 0
    assert shape.squares < shape.tokens**2, "and not for the square of the whole sequence"


def test_evaluation_passes_are_counted_as_they_were(base, finished):
    from peft_registry.trainer.training.forward_passes import count_passes

    model, law = finished.model, trace_law(finished.model.config, finished.config, backward=False)
    import torch

    with torch.no_grad(), count_passes(model, None) as passes:
        model(input_ids=torch.zeros((2, 7), dtype=torch.long))
        with model.disable_adapter():
            model(input_ids=torch.zeros((1, 5), dtype=torch.long))
    model(input_ids=torch.zeros((1, 3), dtype=torch.long))  # nobody watches
    assert (passes.count, passes.tokens, passes.squares, passes.head_positions) == (2, 19, 2 * 49 + 25, 19)
    record = compute_record(finished, base, evaluation=passes.shape)
    expected = law.per_token * 19 + law.per_square * 123 + law.per_head_position * 19 + law.per_batch
    assert record.evaluation_flop.value == pytest.approx(expected)
    assert not compute_record(finished, base).evaluation_flop.known


def test_a_cached_context_is_paid_for_by_the_queries_that_look_at_it():
    import torch

    from peft_registry.trainer.training.forward_passes import count_passes

    model = a_model()
    with torch.no_grad(), count_passes(model) as passes:
        cache = model(input_ids=torch.zeros((1, 6), dtype=torch.long), use_cache=True).past_key_values
        model(input_ids=torch.zeros((1, 2), dtype=torch.long), past_key_values=cache)
    assert (passes.tokens, passes.squares) == (8, 36 + 2 * 8)


def test_recomputed_activations_cost_one_more_forward_pass_without_the_head(finished, base):
    assert not compute_record(finished, base).recompute_flop.known
    law = trace_law(finished.model.config, finished.config, backward=False)
    again = replace(finished, result=replace(finished.result, recomputed=True))
    expected = sum(
        one.count * (law.per_token * one.tokens + law.per_square * one.squares) for one in finished.result.shapes
    )
    assert compute_record(again, base).recompute_flop.value == pytest.approx(expected)


def test_6pd_is_of_all_parameters_and_every_epoch_without_what_was_recomputed(tmp_path, finished, base):
    write_rows(tmp_path / "rows.jsonl", colour_rows(8))
    config = a_training_file(training__num_train_epochs=3.0)
    data = load_data(config.data, folder=tmp_path, tokenizer=a_tokenizer(), max_length=64, seed=1)
    model = implementation("lora").prepare(a_model(), config, seed=1)
    result = train(model, Batches(data.train, 4, 256, 1), config.training)
    thrice = compute_record(replace(finished, config=config, model=model, result=result), base)
    once = compute_record(finished, base)
    assert thrice.dense_inputs is not None
    assert thrice.dense_inputs.parameters == base.parameters_total != finished.parameters[0]
    assert thrice.dense_inputs.positions == 3 * finished.result.tokens
    assert thrice.conservative_flop.value == 3 * once.conservative_flop.value
    recomputed = compute_record(replace(finished, result=replace(finished.result, recomputed=True)), base)
    assert recomputed.conservative_flop == once.conservative_flop
    assert recomputed.param_update_flop == once.param_update_flop


def test_hours_are_those_of_all_processes(finished, base):
    two = replace(finished, result=replace(finished.result, processes=2))
    one_hours = compute_record(finished, base).hardware_hours.value
    assert compute_record(two, base).hardware_hours.value == pytest.approx(2 * one_hours, abs=2e-6)  # each is rounded


def test_the_peak_is_that_of_training_where_it_can_be_set_back(finished):
    import mmap
    import sys

    from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak

    assert finished.result.peak_bytes > 2**20
    if sys.platform != "linux":
        return
    assert reset_peak("cpu")
    before = peak_bytes("cpu")
    # pages of its own: what is allocated may lie where something was freed before, and then adds nothing
    block = mmap.mmap(-1, 50 * 2**20)
    for first in range(0, len(block), mmap.PAGESIZE):
        block[first] = 1
    high = peak_bytes("cpu")
    assert high - before > 40 * 2**20
    block.close()
    assert peak_bytes("cpu") > high - 2**20, "it stays up, but for the kernel's own rounding"
    assert reset_peak("cpu")
    assert peak_bytes("cpu") < high
