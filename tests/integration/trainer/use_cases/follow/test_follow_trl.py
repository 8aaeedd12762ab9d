"""Trainers of TRL, followed: what is recorded of them, against a count by hand."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.identity import Digest
from tests.builders.trainers import ROWS, a_model_of, followed
from tests.builders.training import a_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
STEPS = 4
TRL_LENGTH = 13  # "box 0 is" has 8 bytes, " red" 4, and the end of a text one token
TRL_LEARNT = 5


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_no_known_field_of_a_trainer_of_trl_is_wrong(
    kind: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    """Four steps of two rows, counted by hand; DPO takes two texts a row, each through the reference model as well."""
    trainer = trained_by_trl(kind, place, tmp_path)
    callback = followed(place, trainer, f"by-{kind}")
    trainer.train()
    record = callback.outcome.modification
    parameters = sum(parameter.numel() for parameter in a_model_of(place / "tiny").parameters())
    texts = STEPS * 2 if kind == "sft" else STEPS * 2 * 2
    positions = texts * TRL_LENGTH * (1 if kind == "sft" else 2)
    lines = b"".join(canonical_bytes(row) + b"\n" for row in rows_of_trl(kind, prepared=True))
    by_hand = {
        "method.objective": {
            "sft": "next-token cross-entropy over the labelled tokens",
            "dpo": "direct preference optimization (DPO), loss_type sigmoid, beta 0.2",
        }[kind],
        "method.kind": "lora",
        "method.schedule": "linear",
        "method.seed": 11,
        "peft.rank": 4,
        "data[0].digest": str(Digest.of(lines)),
        "data[0].n_points": ROWS,
        "data[0].epochs": 1.0,
        "compute.conservative_flop": 6.0 * parameters * positions,
        "compute.inputs": {"P": parameters, "D": positions},
    }
    found = {leaf.path: leaf.value for leaf in leaves(record)}
    assert {path: found[path].value for path in by_hand} == by_hand
    assert callback.outcome.run.compute.supervised_tokens.value == texts * TRL_LEARNT
    assert verify_version(registry, callback.outcome.version).verdict == "verified"


def rows_of_trl(kind: str, *, prepared: bool) -> list[dict[str, Any]]:
    """Rows as the script gives them, or as TRL holds them once it has tokenised them."""
    tokenizer = a_tokenizer()
    end = "</s>" if prepared else ""
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        texts = {"prompt": f"box {number} is", "completion": f" red{end}"}
        if kind == "dpo":
            texts = {"prompt": f"box {number} is", "chosen": f" red{end}", "rejected": f" tan{end}"}
        ids = {name: tokenizer.encode(text, add_special_tokens=False) for name, text in texts.items()}
        row: dict[str, Any] = dict(texts)
        if prepared and kind == "dpo":
            row |= {f"{name}_ids": tokens for name, tokens in ids.items()}
        elif prepared:
            labels = [-100] * len(ids["prompt"]) + ids["completion"]
            row |= {"input_ids": ids["prompt"] + ids["completion"], "labels": labels}
        rows.append(row)
    return rows


def trained_by_trl(kind: str, place: Path, folder: Path) -> Any:
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "seed": 11,
        "disable_tqdm": True,
    }
    given = {
        "model": str(place / "tiny"),
        "train_dataset": Dataset.from_list(rows_of_trl(kind, prepared=False)),
        "peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    }
    if kind == "dpo":
        return DPOTrainer(args=DPOConfig(beta=0.2, **settings), **given)
    return SFTTrainer(args=SFTConfig(**settings), **given)
