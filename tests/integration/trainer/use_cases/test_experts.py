"""A mixture of experts from base to merge: experts are named, trained, evaluated beside a placebo, merged, evaluated again."""

from typing import Any

import pytest
import torch
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.evaluations import recheck_version, stored_evaluations
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.trainer.evaluation.scope import SCREEN, EvaluationScope
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.merge import merge_and_register
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import NOW
from tests.builders.training import VOCABULARY, a_tokenizer, colour_rows, write_rows

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "num_experts_per_tok": 2, "initializer_range": 0.2,
    "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 256,
}  # fmt: skip
BASES: dict[str, Any] = {
    "gpt-oss": lambda: GptOssForCausalLM(
        GptOssConfig(**SIZES, intermediate_size=48, head_dim=8, num_local_experts=4, layer_types=["full_attention"] * 2)
    ),
    "gpt-oss in bf16": lambda: BASES["gpt-oss"]().bfloat16(),
    "granite-moe": lambda: GraniteMoeForCausalLM(GraniteMoeConfig(**SIZES, intermediate_size=48, num_local_experts=4)),
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SIZES, intermediate_size=48, num_local_experts=4)),
    "qwen-moe": lambda: Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **SIZES,
            intermediate_size=48,
            moe_intermediate_size=16,
            shared_expert_intermediate_size=16,
            num_experts=4,
        )
    ),
}
TRAINING = """\
name: {name}
base: mixture
method: lora
lora: {{r: 2, target_parameters: [experts.gate_up_proj, experts.down_proj]}}
data: {{train: {{path: rows.jsonl, format: prompt_completion}}, validation: {{fraction: 0.2}}}}
training: {{learning_rate: 1e-2, num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 64, seed: {seed}, dtype: fp32}}
evaluation: {{bias: [], quality: [loss]}}
"""


@pytest.mark.full
@pytest.mark.parametrize("kind", BASES)
def test_named_experts_go_the_whole_way(kind, tmp_path):
    torch.manual_seed(0)
    BASES[kind]().save_pretrained(tmp_path / "base")
    a_tokenizer().save_pretrained(tmp_path / "base")
    write_rows(tmp_path / "rows.jsonl", colour_rows(40))
    make_home(NewHome(tmp_path / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(tmp_path / "home")
    intake_base(registry, str(tmp_path / "base"), name="mixture")
    for name, seed in (("first", 1), ("second", 2)):
        (tmp_path / f"{name}.yml").write_text(TRAINING.format(name=name, seed=seed))
        version = train_and_register(registry, tmp_path / f"{name}.yml").version
        shares = {entry.kind: entry.adapted / entry.weights for entry in records_of(registry, version).run.coverage}
        assert (shares["experts"], shares["attention"]) == (1, 1)
    scope = EvaluationScope("test")
    (evaluated,) = evaluate_references(
        registry, ["first:1"], EvaluationRequest(suites=("house",), scope=scope, limit=20)
    )
    assert {"base", "adapted", "noise", "placebo"} == {arm.name for arm in evaluated.record.arms}
    for algorithm in ("linear", "ties", "dare", "dare_ties"):
        densities = () if algorithm == "linear" else (0.5, 0.5)
        request = MergeRequest(
            ("first:1", "second:1"),
            name=algorithm.replace("_", "-"),
            algorithm=algorithm,
            weights=(0.7, 0.5),
            densities=densities,
            evaluate=algorithm == "ties",
            scope=scope if algorithm == "ties" else SCREEN,
        )
        outcome = merge_and_register(registry, request)
        assert outcome.merge.fold_error is not None and outcome.merge.fold_error.kl <= outcome.merge.fold_error.limit
        assert verify_version(registry, outcome.version).exit_code == 0
        if request.evaluate:
            assert len(stored_evaluations(registry, outcome.version)) == 3
            recheck_version(registry, outcome.version)
    registry.close()
