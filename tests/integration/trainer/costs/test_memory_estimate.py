"""Memory from a configuration alone: against hand-worked bytes, the QLoRA paper, and what real trainings take."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, LlamaConfig

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHOD_NAMES, METHODS
from peft_registry.schemas.offload import obstacle_to_offload
from peft_registry.trainer.costs.fit import GATHERED, Column, SpreadRun, columns_of, fits, judge_claim
from peft_registry.trainer.costs.memory import Moment, NotTraceable, Shape, Trace, trace_memory
from peft_registry.trainer.machine.environment import Hardware, Products
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.train_adapter import weights_dtype
from peft_registry.trainer.use_cases.estimate import FIRST_BATCH_BYTES, tokenizer_bytes
from tests.builders.training import a_base_folder, a_model, a_training_file
from tests.processes.interpreter import ROOT

GB = 10**9
LAYERS, HIDDEN, HEAD = 2, 32, 300 * 32
PARAMETERS = HEAD + LAYERS * (32 * 32 * 2 + 32 * 16 * 2 + 32 * 64 * 3 + 2 * HIDDEN) + HIDDEN
LORA = LAYERS * 8 * (64 + 48 + 48 + 64 + 3 * 96)  # r·(in + out) of each linear layer


def trace_of(hf_config: Any, config: TrainingFile, shape: Shape, dtype: Products = "fp32") -> Trace:
    """As a run with these products would hold the base."""
    stored = weights_dtype(config, Hardware("cpu", dtype, 1, "a processor"))
    return trace_memory(hf_config, config, shape, stored=stored, products=dtype)


def products_of(config: TrainingFile) -> Products:
    return "fp32" if config.training.dtype == "auto" else config.training.dtype


def traced(shape: Shape | None = None, **changes: Any) -> Trace:
    config = a_training_file(**changes)
    return trace_of(a_model().config, config, shape or Shape(2, 16, 30), products_of(config))


def moments(trace: Trace) -> dict[str, Moment]:
    return {one.name: one for one in trace.moments}


# --- the trace against bytes worked out by hand ---


def test_full_training_holds_four_numbers_of_four_bytes_for_each_parameter() -> None:
    trace = traced(method="full")
    step = moments(trace)["optimizer"]
    assert trace.parameters == trace.trainable == PARAMETERS
    buffers = 2 * 4 * 4  # inverse frequencies of the rotary positions, and their copy
    assert step.weights == 4 * PARAMETERS + buffers
    assert step.gradients == 4 * PARAMETERS
    steps = 4 * (2 + 9 * LAYERS)  # AdamW counts its steps in a number for each tensor
    assert step.optimizer == 8 * PARAMETERS + steps


def test_an_adapter_holds_states_for_what_it_trains_only() -> None:
    trace = traced()
    step = moments(trace)["optimizer"]
    assert (trace.parameters, trace.trainable) == (PARAMETERS, LORA)
    assert step.gradients == 4 * LORA
    assert step.optimizer == 8 * LORA + 4 * 2 * 7 * LAYERS
    assert trace.frozen == moments(trace)["backward"].weights - 4 * LORA


def test_a_bf16_base_takes_half_and_its_adapter_stays_fp32() -> None:
    trace = traced(training__dtype="bf16")
    assert moments(trace)["backward"].weights == pytest.approx(2 * PARAMETERS + 4 * LORA, rel=1e-2)
    assert (trace.floor, trace.floor_bits) == (2 * PARAMETERS, 16)


def test_in_fp16_a_base_takes_what_it_takes_in_fp32_and_a_copy_of_what_is_multiplied() -> None:
    wide, narrow = traced(), traced(training__dtype="fp16")
    assert moments(narrow)["backward"].weights == moments(wide)["backward"].weights
    assert moments(narrow)["optimizer"] == moments(wide)["optimizer"]
    assert (narrow.floor, narrow.floor_bits) == (4 * PARAMETERS, 32)
    copies = 2 * (PARAMETERS - HIDDEN * (2 * LAYERS + 1))  # of every matrix, the head among them
    assert moments(narrow)["backward"].activations > copies


def test_a_bf16_base_is_scored_as_it_is_held_with_one_matrix_wide_at_a_time() -> None:
    config = a_training_file(training__dtype="bf16")
    large = a_model(hidden_size=512, intermediate_size=1024, vocab_size=2048).config
    trace = trace_of(large, config, Shape(1, 8, 7), "bf16")
    score = moments(trace)["score"]
    assert score.weights == pytest.approx(2 * trace.parameters + 4 * trace.trainable, rel=1e-2)
    assert score.transients > 4 * 2048 * 512  # the head, wide
    away = a_training_file(training__dtype="bf16", offload={"to": "disk"}, training__gradient_checkpointing=True)
    fetched = moments(trace_of(large, away, Shape(1, 8, 7), "bf16"))["score"]
    assert fetched.weights == pytest.approx(4 * trace.parameters + 4 * trace.trainable, rel=1e-2)  # before blocks wait


def test_a_guard_passage_longer_than_the_scorers_batch_needs_the_memory_of_its_own() -> None:
    def score(longest: int) -> Moment:
        trace = trace_memory(
            a_model(max_position_embeddings=3 << 12).config,
            a_training_file(),
            Shape(1, 8, 7),
            stored="fp32",
            products="fp32",
            longest_scored=longest,
        )
        return moments(trace)["score"]

    usual, beyond = score(0), score(3 << 12)
    assert beyond.transients - usual.transients >= ((3 << 12) - 8192) * 300 * 4  # its logits in fp32


def test_activations_grow_with_the_tokens_and_transients_with_the_supervised_positions() -> None:
    short, long = (moments(traced(Shape(1, tokens, 8)))["backward"] for tokens in (16, 32))
    assert long.activations == pytest.approx(2 * short.activations, rel=0.05)
    few, many = (moments(traced(Shape(1, 32, supervised)))["backward"] for supervised in (4, 31))
    logits = 27 * 300 * 4
    assert many.transients - few.transients >= 2 * logits  # the logits and their gradient


def test_what_no_byte_follows_from_is_not_traced_again() -> None:
    trace = traced()
    assert traced(name="other", base="other-base", data__validation__fraction=0.5) is trace
    for changes in ({"lora__r": 4}, {"training__gradient_checkpointing": True}, {"training__dtype": "bf16"}):
        assert traced(**changes) != trace
    assert traced(Shape(2, 16, 29)) != trace


def test_accumulated_gradients_stay_during_the_backward_pass() -> None:
    kept = moments(traced(method="full", training__gradient_accumulation_steps=2))["backward"]
    assert kept.gradients == 4 * PARAMETERS


def test_each_further_size_of_a_batch_adds_code_for_its_products_on_a_processor() -> None:
    trace = traced(training__dtype="bf16")
    # q and o have one shape, k and v too, gate and up too: 4 with down, and the head: forward, and backward to their inputs;
    # LoRA's A reads 32 or 64 numbers and its B writes 16, 32 or 64: each forward, to its input and to its weights
    assert moments(trace)["backward"].products == 2 * 5 + 5 * 3

    def kernels(**more: Any) -> list[int]:
        return [one.parts["kernels"] for one in columns_of(trace, libraries=0, tokenizer=0, **more)]

    assert kernels() == [0, 0, 0]
    assert kernels(trained_shapes=3) == [50 * 610_000, 50 * 610_000, 50 * 480_000]
    assert kernels(trained_shapes=41)[0] == 1000 * 410_000 + 128 * 200_000
    assert kernels(trained_shapes=41, scored_shapes=9, on_gpu=True) == [0, 0, 0]


def test_a_suite_is_scored_by_as_many_products_as_it_has_large_layers_of_different_shape() -> None:
    large = a_model(hidden_size=512, intermediate_size=1024, vocab_size=2048).config
    trace = trace_of(large, a_training_file(), Shape(1, 8, 7), "fp32")
    score = moments(trace)["score"]
    assert (moments(trace)["backward"].products, score.products) == (0, 5)  # q and o, k and v, gate and up, down, head
    first, *_, scoring = columns_of(trace, libraries=0, tokenizer=0, scored_shapes=2)
    assert (first.parts["kernels"], scoring.parts["kernels"]) == (0, 10 * 610_000)


def test_the_floor_of_the_largest_block_is_a_layer() -> None:
    assert traced(method="full").largest_block == 4 * (PARAMETERS - HEAD - HIDDEN) // LAYERS


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_is_traced_and_its_states_belong_to_what_it_trains(method: str) -> None:
    config = a_training_file(method=method)
    real = implementation(config.method).prepare(a_model(), config, seed=0)
    trained = sum(one.numel() for one in real.parameters() if one.requires_grad)
    trace = traced(method=method)
    step = moments(trace)["optimizer"]
    assert trace.trainable == trained
    assert step.gradients == 4 * trained
    assert step.optimizer == pytest.approx(8 * trained, rel=0.03)  # two moments; the steps are counted besides


@pytest.mark.parametrize("method", [name for name in METHOD_NAMES if METHODS[name].checkpoints])
def test_recomputed_activations_take_less(method: str) -> None:
    kept, recomputed = (
        moments(traced(method=method, training__gradient_checkpointing=again))["backward"] for again in (False, True)
    )
    assert recomputed.activations < kept.activations


def test_a_router_that_looks_at_values_is_said_to_be_untraceable() -> None:
    from transformers import MixtralConfig

    config = MixtralConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2
    )
    config._experts_implementation = "eager"
    with pytest.raises(NotTraceable, match="Mixtral"):
        trace_of(config, a_training_file(method="full"), Shape(1, 8, 7))


# --- the QLoRA paper ---


def llama_65b(layers: int = 80) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=32000,
        hidden_size=8192,
        intermediate_size=22016,
        num_hidden_layers=layers,
        num_attention_heads=64,
        tie_word_embeddings=False,
    )


NF4 = {"quantization": {"type": "nf4", "double": True}, "lora__r": 64}


@pytest.fixture(scope="module")
def two_layers() -> Trace:
    return trace_of(llama_65b(2), a_training_file(**NF4), Shape(1, 512, 511), "bf16")


def test_a_quantised_layer_takes_4_127_bits_a_weight(two_layers: Trace) -> None:
    linear = 2 * (4 * 8192**2 + 3 * 8192 * 22016)
    rest = two_layers.parameters - linear
    assert two_layers.frozen == pytest.approx(linear * 4.127 / 8 + 2 * rest, rel=1e-4)


def test_a_65b_base_is_34_5_gb_in_four_bits_and_no_claim_below_32_6_gb_is_possible(two_layers: Trace) -> None:
    layer = 4 * 8192**2 + 3 * 8192 * 22016
    frozen = two_layers.frozen + 78 * round(layer * 4.12695 / 8 + 2 * 2 * 8192)  # 80 layers are alike
    parameters = two_layers.parameters + 78 * (layer + 2 * 8192)
    assert parameters == pytest.approx(65.29 * GB, rel=1e-3)
    assert frozen == pytest.approx(34.5 * GB, rel=2e-3)
    trace = Trace(parameters, 0, 0, frozen, two_layers.largest_block, 0, parameters // 2, 4, (), frozen, parameters)
    assert trace.floor == pytest.approx(32.6 * GB, rel=2e-3)
    assert judge_claim(round(14.7 * GB), trace).verdict == "cannot"
    assert "1.8 bits" in judge_claim(round(14.7 * GB), trace).why
    assert judge_claim(48 * GB, trace).verdict == "fits"


def test_a_quantised_weight_is_made_for_its_product_and_not_kept(two_layers: Trace) -> None:
    backward = moments(two_layers)["backward"]
    largest = 2 * 8192 * 22016  # alive at once with all but a few activations
    assert backward.activations < 2 * GB
    assert backward.transients >= 0.99 * largest


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_65b_base_of_eighty_layers_is_traced_whole() -> None:
    trace = trace_of(llama_65b(), a_training_file(**NF4), Shape(1, 512, 511), "bf16")
    assert trace.frozen == pytest.approx(34.5 * GB, rel=2e-3)
    assert trace.trainable == pytest.approx(0.80 * GB, rel=1e-2)
    assert trace.floor == pytest.approx(32.6 * GB, rel=2e-3)


# --- does it fit ---

A_TRACE = Trace(
    parameters=10 * GB,
    trainable=1000,
    trained_bytes=4000,
    frozen=20 * GB,
    largest_block=GB,
    mapped=0,
    floor=20 * GB,
    floor_bits=16,
    moments=(),
    in_blocks=20 * GB,
    total=10 * GB,
)
A_COLUMN = Column("backward", {"weights": 20 * GB, "activations": 3 * GB}, frozen=20 * GB)


@pytest.mark.parametrize(
    ("vram", "ram", "verdict", "binding"),
    [
        (24 * GB, None, "fits", "weights"),
        (12 * GB, 64 * GB, "only with offload", "weights"),
        (12 * GB, 16 * GB, "only with offload", "weights"),
        (4 * GB, 64 * GB, "cannot", "activations"),
        (None, 16 * GB, "only with offload", "weights"),
        (None, 4 * GB, "cannot", "activations"),
        (None, 32 * GB, "fits", "weights"),
    ],
)
def test_a_limit_gives_a_verdict_and_the_part_that_binds(vram, ram, verdict, binding) -> None:
    found = fits((A_COLUMN,), vram=vram, ram=ram, offloaded=lambda: (A_COLUMN.offloaded(A_TRACE),))
    assert found is not None
    assert (found.verdict, found.binding) == (verdict, binding)


@pytest.mark.parametrize(
    ("vram", "verdict"), [(24, "fits"), (22, "only with checkpointing"), (20, "only with offload"), (2, "cannot")]
)
def test_activations_that_are_computed_again_are_proposed_before_a_base_that_waits_elsewhere(
    vram: int, verdict: str
) -> None:
    again = Column("backward", {"weights": 20 * GB, "activations": GB}, frozen=20 * GB)
    found = fits(
        (A_COLUMN,),
        vram=vram * GB,
        ram=64 * GB,
        checkpointed=lambda: (again,),
        offloaded=lambda: (A_COLUMN.offloaded(A_TRACE),),
    )
    assert found is not None
    assert found.verdict == verdict
    remedy = "21.0 GB with gradient checkpointing: set training.gradient_checkpointing=true"
    assert (remedy in found.why) == (verdict == "only with checkpointing")


def spread_over(columns: tuple[Column, ...], trace: Trace = A_TRACE) -> Callable[[int], list[SpreadRun]]:
    """As the estimate asks: without and with activations that are computed again."""
    again = tuple(Column(one.name, {**one.parts, "activations": GB}, frozen=one.frozen) for one in columns)
    ways = {"training.sharding=full": columns, "training.sharding=full training.gradient_checkpointing=true": again}
    return lambda count: [
        SpreadRun(tuple(one.spread(trace, over=count) for one in way), words) for words, way in ways.items()
    ]


@pytest.mark.parametrize(
    ("devices", "vram", "verdict", "words"),
    [
        # 20 / 2 of weights, 2 of two whole blocks, 3 of activations
        (2, 16, "only with sharding", "15.0 GB on each of 2 such devices: set training.sharding=full and --nproc 2"),
        (2, 14, "only with sharding", "set training.sharding=full training.gradient_checkpointing=true and --nproc 2"),
        (1, 14, "only with sharding", "on each of 2 such devices"),
        (1, 9, "only with sharding", "8.0 GB on each of 4 such devices"),
        (2, 24, "fits", "23.0 GB of 24.0 GB"),
        (1, 3, "cannot", "`quantization`"),
    ],
)
def test_several_devices_have_a_part_each_and_where_one_cannot_the_fewest_that_suffice_are_named(
    devices: int, vram: int, verdict: str, words: str
) -> None:
    refused = obstacle_to_offload(a_training_file(method="qlora", quantization={}))
    assert refused is not None
    found = fits(
        (A_COLUMN,),
        vram=vram * GB,
        ram=None,
        devices=devices,
        spread=spread_over((A_COLUMN,)),
        offloaded=lambda: refused,
    )
    assert found is not None
    assert found.verdict == verdict
    assert words in found.why


def test_gradients_and_the_state_of_the_optimizer_are_spread_and_activations_are_not() -> None:
    parts = {"weights": 40 * GB, "gradients": 8 * GB, "optimizer": 16 * GB, "activations": 3 * GB, "transients": GB}
    trace = replace(A_TRACE, largest_block=GB, outside=2 * GB)
    backward = Column("backward", parts).spread(trace, over=4)
    assert backward.parts == {
        "weights": 10 * GB,
        "gradients": 2 * GB,
        "optimizer": 4 * GB,
        "activations": 3 * GB,
        "transients": GB,
        # two blocks and what is in none; of the gradients as large a share as one block and that are of the weights
        GATHERED: 4 * GB + round(8 * GB * 3 / 40),
    }
    assert Column("optimizer", parts).spread(trace, over=4).parts[GATHERED] == 0


def test_what_is_offloaded_is_judged_at_every_moment() -> None:
    scoring = Column("score", {"weights": 40 * GB, "transients": 5 * GB}, frozen=40 * GB)

    def away() -> tuple[Column, ...]:
        return tuple(one.offloaded(A_TRACE) for one in (A_COLUMN, scoring))

    found = fits((A_COLUMN, scoring), vram=10 * GB, ram=50 * GB, offloaded=away)
    assert found is not None
    assert (found.verdict, found.binding) == ("only with offload", "weights")
    # two blocks, each twice as wide in fp32, and the transients
    assert "9.0 GB with the frozen base in RAM: set offload.to=cpu training.gradient_checkpointing=true" in found.why
    small = fits((A_COLUMN, scoring), vram=10 * GB, ram=30 * GB, offloaded=away)
    assert small is not None
    assert "9.0 GB with the frozen base on disk: set offload.to=disk" in small.why


def test_what_is_in_no_block_stays_when_the_base_is_offloaded() -> None:
    trace = replace(A_TRACE, in_blocks=15 * GB)  # the rest: embeddings and head
    assert A_COLUMN.offloaded(trace).parts["weights"] == (20 - 15 + 2) * GB


def test_a_run_that_cannot_be_offloaded_says_why() -> None:
    refused = obstacle_to_offload(a_training_file(method="full"))
    assert refused is not None
    found = fits((A_COLUMN,), vram=12 * GB, ram=64 * GB, offloaded=lambda: refused)
    assert found is not None
    assert (found.verdict, found.binding) == ("cannot", "weights")
    assert "method full: it trains every weight" in found.why


def test_the_blocks_of_a_traced_base_are_all_of_it_but_embeddings_and_the_last_norm() -> None:
    assert traced().in_blocks == 4 * (PARAMETERS - HEAD - HIDDEN)


def test_without_a_limit_there_is_no_verdict() -> None:
    assert fits((A_COLUMN,), vram=None, ram=None, offloaded=lambda: ()) is None


# --- against real trainings, each in a process of its own ---


def estimated_and_measured(base: Path, changes: dict[str, Any]) -> tuple[int, int]:
    config = a_training_file(**changes)
    training = config.training
    rows, tokens = training.per_device_train_batch_size, training.max_length
    hf_config = AutoConfig.from_pretrained(base)
    trace = trace_of(hf_config, config, Shape(rows, tokens, rows * (tokens - 1)), products_of(config))
    host = tokenizer_bytes(base)
    # training alone: the probe scores nothing, and its floor holds what was imported
    columns = [one for one in columns_of(trace, libraries=FIRST_BATCH_BYTES, tokenizer=host) if one.name != "score"]
    command = [sys.executable, "-m", "tests.processes.memory_probe", str(base), json.dumps(changes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return max(one.total for one in columns), found["peak"] - found["floor"]


@pytest.mark.processes
def test_the_estimate_of_a_random_model_is_within_15_percent_of_the_measured_peak(tmp_path: Path) -> None:
    base = a_base_folder(
        tmp_path,
        vocab_size=8000,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=6,
        max_position_embeddings=256,
    )
    changes = {"method": "full", "training__max_length": 128, "data__validation__fraction": 0.01}
    estimated, found = estimated_and_measured(base, changes)
    assert estimated == pytest.approx(found, rel=0.15)


BATCH = {"training__per_device_train_batch_size": 2, "training__max_length": 256, "data__validation__fraction": 0.01}
REAL = {
    "full fp32": {"method": "full"},
    "full bf16": {"method": "full", "training__dtype": "bf16"},
    "full fp32, short rows": {"method": "full", "training__max_length": 64},
    "lora fp32": {},
    "lora bf16": {"training__dtype": "bf16"},
    "lora fp16, short rows": {
        "training__dtype": "fp16",
        "training__max_length": 64,
    },  # a processor takes minutes for longer ones
    "lora bf16, four rows": {"training__dtype": "bf16", "training__per_device_train_batch_size": 4},
    "dora bf16": {"training__dtype": "bf16", "lora__use_dora": True},
    "lora fp32, recomputed": {"training__gradient_checkpointing": True},
    "full fp32, recomputed": {"method": "full", "training__gradient_checkpointing": True},
    "nf4": {"method": "qlora", "training__dtype": "bf16"},
    "nf4, recomputed": {"method": "qlora", "training__dtype": "bf16", "training__gradient_checkpointing": True},
    "lora_pro fp32": {"method": "lora_pro"},
    "bottleneck bf16": {"method": "bottleneck", "training__dtype": "bf16"},
    "prompt tuning bf16": {"method": "prompt_tuning", "training__dtype": "bf16", "prompt_tuning__seeds": 1},
    "hybrid fp32, recomputed": {"method": "hybrid", "training__gradient_checkpointing": True},
    "ia3 bf16": {"method": "ia3", "training__dtype": "bf16"},
    "lora fp32, one long row": {"training__per_device_train_batch_size": 1, "training__max_length": 512},
}


@pytest.mark.full
@pytest.mark.real_model
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", REAL)
def test_the_estimate_of_a_real_model_is_within_15_percent_of_the_measured_peak(name: str, smollm2: Path) -> None:
    estimated, found = estimated_and_measured(smollm2, BATCH | REAL[name])
    assert estimated == pytest.approx(found, rel=0.15)


ALIKE, VARIED = [30] * 10, [8 + (7 * row) % 50 for row in range(60)]
RUNS = {
    "scoring needs the most": (["training.dtype=bf16"], ALIKE),
    "in fp32": (["training.dtype=fp32"], ALIKE),
    "batches of many sizes": (["training.dtype=bf16"], VARIED),
}


@pytest.mark.full
@pytest.mark.real_model
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", RUNS)
def test_a_whole_training_with_its_screen_stays_within_15_percent_of_what_is_told_before(
    name: str, smollm2: Path
) -> None:
    words, lengths = RUNS[name]
    asked = json.dumps({"words": words, "lengths": lengths})
    command = [sys.executable, "-m", "tests.processes.run_probe", str(smollm2), asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["told"] == pytest.approx(found["peak"] - found["floor"], rel=0.15)
