"""What vLLM refuses of an adapter is said before a server is started: each rule on its own, from values."""

from typing import Any

import pytest

from peft_registry.registry.exports.vllm import serving_problems
from peft_registry.registry.identity.weights import Tensor
from peft_registry.schemas.errors import KnownError
from tests.builders.imports import LORA_CONFIG
from tests.builders.registered import a_manifest, digest

MODULE = "base_model.model.model.layers.0.mlp.down_proj"


def a_tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, "F32", shape, digest(name))


def factors(module: str = MODULE, *, rank: int = 2) -> tuple[Tensor, ...]:
    return (a_tensor(f"{module}.lora_A.weight", rank, 16), a_tensor(f"{module}.lora_B.weight", 8, rank))


BASE = (
    a_tensor("model.layers.0.mlp.down_proj.weight", 8, 16),
    a_tensor("model.layers.0.input_layernorm.weight", 8),
    a_tensor("model.layers.0.conv.weight", 8, 1, 4),
)


def problems(tensors: tuple[Tensor, ...] | None = None, **config: Any) -> list[tuple[str, str]]:
    """The reference and the first sentence of each problem."""
    over = {key: config.pop(key) for key in ("max_rank", "layout") if key in config}
    manifest = a_manifest("helper", layout=over.pop("layout", "peft"))
    found = serving_problems("helper:1", manifest, LORA_CONFIG | config, tensors or factors(), base=BASE, **over)
    assert all(problem.why and problem.fix for problem in found)
    return [(problem.reference, problem.what) for problem in found]


def test_a_plain_lora_is_taken() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": "gaussian"},
        {"use_rslora": True},
        {"target_modules": "all-linear"},
        {"alpha_pattern": {"down_proj": 8}},
        {"modules_to_save": ["score"]},
    ],
    ids=str,
)
def test_what_vllm_computes_is_taken(config: dict[str, Any]) -> None:
    assert problems(**config) == []


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["embed_tokens", "score"]}, "embed_tokens"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "layer_replication"),
        ({"alora_invocation_tokens": [3]}, "aLoRA"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    ],
    ids=str,
)
def test_each_setting_that_vllm_does_not_compute_is_named(config: dict[str, Any], word: str) -> None:
    ((reference, what),) = problems(**config)
    assert reference == "vllm-feature"
    assert word in what


@pytest.mark.parametrize(
    ("rank", "config", "tensors"),
    [
        (32, {"r": 32}, factors()),
        (64, {"rank_pattern": {"down_proj": 64}}, factors()),
        (24, {}, factors(rank=24)),  # the configuration says 2, and the factors decide
    ],
    ids=["configured", "of a module", "of the factors"],
)
def test_a_rank_above_what_the_server_takes_is_refused_with_the_option(rank, config, tensors) -> None:
    manifest = a_manifest("helper")
    (problem,) = serving_problems("helper:1", manifest, LORA_CONFIG | config, tensors, max_rank=16)
    assert problem.reference == "vllm-rank"
    assert f"rank {rank}" in problem.what
    assert f"--max-lora-rank {32 if rank < 33 else 64}" in problem.fix
    assert serving_problems("helper:1", manifest, LORA_CONFIG | config, tensors, max_rank=64) == ()


@pytest.mark.parametrize("config", [{"r": 0}, {"r": True}, {"r": "8"}, {"r": None}, {"lora_alpha": None}], ids=str)
def test_a_configuration_that_says_no_scale_is_refused(config: dict[str, Any]) -> None:
    assert {reference for reference, _ in problems(**config)} == {"vllm-setting-not-stated"}


OTHER = "base_model.model.model.layers.1.mlp.down_proj"


@pytest.mark.parametrize(
    ("tensors", "reference", "words"),
    [
        (
            (*factors(), a_tensor(f"{MODULE}.lora_magnitude_vector", 8)),
            "vllm-tensors",
            f"no place for the tensor '{MODULE}.lora_magnitude_vector' of helper:1",
        ),
        (
            (*factors(), a_tensor("a.weight", 8), a_tensor("b.weight", 8)),
            "vllm-tensors",
            "no place for 2 tensors, the first is 'a.weight', of helper:1",
        ),
        (factors()[:1], "vllm-factor-missing", f"of the module '{MODULE}' of helper:1 one low-rank factor is there"),
        (
            (*factors()[:1], *factors(OTHER)[1:]),
            "vllm-factor-missing",
            f"of 2 modules, the first is '{MODULE}', of helper:1 one low-rank factor is there",
        ),
        (
            (a_tensor("score.weight", 2, 8),),
            "vllm-no-factors",
            "there is no low-rank factor among the weights of helper:1",
        ),
        (
            factors("base_model.model.model.layers.0.input_layernorm"),
            "vllm-modules",
            "the factors on the module 'base_model.model.model.layers.0.input_layernorm' of helper:1",
        ),
        (
            factors("base_model.model.model.layers.0.conv"),
            "vllm-modules",
            "the factors on the module 'base_model.model.model.layers.0.conv' of helper:1",
        ),
    ],
    ids=["magnitudes", "two tensors", "one factor", "two with one factor", "none", "norm", "convolution"],
)
def test_what_has_no_place_is_named_as_what_it_is(tensors: tuple[Tensor, ...], reference: str, words: str) -> None:
    ((said, what),) = problems(tensors)
    assert said == reference
    assert words in what


def test_every_problem_is_said_at_once() -> None:
    found = problems(use_dora=True, r=32, bias="all", max_rank=16)
    assert [reference for reference, _ in found] == ["vllm-rank", "vllm-feature", "vllm-feature"]


@pytest.mark.parametrize("layout", ["model", "bundle"])
def test_what_is_not_one_lora_adapter_is_refused_alone(layout: str) -> None:
    assert [reference for reference, _ in problems(layout=layout)] == ["vllm-not-a-lora"]


@pytest.mark.parametrize("peft_type", ["IA3", "PROMPT_TUNING", "PREFIX_TUNING", "BOTTLENECK", None])
def test_an_adapter_of_another_method_is_refused_alone(peft_type: str | None) -> None:
    assert [reference for reference, _ in problems(peft_type=peft_type)] == ["vllm-not-a-lora"]


def test_problems_are_refusals() -> None:
    manifest = a_manifest("helper")
    found: tuple[KnownError, ...] = serving_problems("helper:1", manifest, None, ())
    assert [problem.exit_code for problem in found] == [3]
