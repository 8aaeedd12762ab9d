"""Scripts that train with `transformers.Trainer`, as functions: a tiny base, rows of a known length, and two steps or so."""

from pathlib import Path
from typing import Any

from peft_registry import RegistryCallback
from tests.builders.training import a_tokenizer

ROWS = 8
LENGTH = 12  # tokens of each row
PROMPT = 4  # of them carry no loss
TEXTS = tuple(f"box {number} is red" for number in range(ROWS))  # of 12 bytes


def token_rows(texts: tuple[str, ...] = TEXTS) -> list[dict[str, list[int]]]:
    """Rows as a script tokenises them: the prompt carries no loss."""
    tokenizer = a_tokenizer()
    rows = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert len(ids) == LENGTH, text
        labels = [-100] * PROMPT + ids[PROMPT:]
        rows.append({"input_ids": ids, "attention_mask": [1] * LENGTH, "labels": labels})
    return rows


def arguments(folder: Path, **changes: Any) -> Any:
    """`TrainingArguments` of four steps of two rows each: one epoch of the eight rows."""
    from transformers import TrainingArguments

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "seed": 7,
        "disable_tqdm": True,
    }
    return TrainingArguments(**settings | changes)


def a_lora(base: Path, **changes: Any) -> Any:
    """The base in a folder with a new LoRA."""
    from peft import LoraConfig, get_peft_model

    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    return get_peft_model(a_model_of(base), LoraConfig(task_type="CAUSAL_LM", **settings | changes))


def new_adapter(model: Any, kind: str, **changes: Any) -> Any:
    """The model with a new adapter of a type of peft, as peft begins it."""
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from tests.builders.peft_kinds import KINDS

    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](task_type="CAUSAL_LM", **KINDS[kind] | changes)
    return get_peft_model(model, config)


def a_model_of(base: Path) -> Any:
    """The base in a folder, as a script loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def a_trainer(
    folder: Path, model: Any, *, rows: Any = None, kind: Any = None, given: Any = None, **changes: Any
) -> Any:
    """A trainer as the documentation of transformers makes it.

    Args:
        folder: of its checkpoints.
        model: that it trains.
        rows: its data set; None for a `datasets.Dataset` of `token_rows`.
        kind: its class; None for `transformers.Trainer`.
        given: further arguments of the class, by name.
        changes: of its arguments.
    """
    from datasets import Dataset
    from transformers import Trainer, default_data_collator

    return (kind or Trainer)(
        model=model,
        args=arguments(folder, **changes),
        train_dataset=Dataset.from_list(token_rows()) if rows is None else rows,
        data_collator=default_data_collator,
        processing_class=a_tokenizer(),
        **given or {},
    )


def followed(place: Path, trainer: Any, name: str, **changes: Any) -> RegistryCallback:
    """The one line of a script: the callback, added. The home is in `place`."""
    callback = RegistryCallback(trainer, name, home=place / "home", mirror=False, quiet=True, **changes)
    trainer.add_callback(callback)
    return callback
