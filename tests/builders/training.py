"""Tiny random models, a byte tokenizer and valid training files for tests."""

import json
from pathlib import Path
from typing import Any

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.config_aliases import parse_training_file
from tests.builders.records import a_base_record

VOCABULARY = 300


def a_tokenizer(*, chat_template: str | None = None) -> Any:
    """One token a byte; 256 is BOS and padding, 257 is EOS. It puts nothing in front of a text."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(alphabet)} | {"<s>": 256, "</s>": 257}
    inner = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<s>", model_max_length=128
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def a_model(*, seed: int = 0, tied: bool = True, **changes: Any) -> Any:
    """A random Llama of two layers with hidden size 32, fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,  # at 0.02 a frozen head cannot tell tokens apart, and no adapter could learn
        "bos_token_id": 256,
        "eos_token_id": 257,
        "pad_token_id": 256,
    } | changes
    return LlamaForCausalLM(LlamaConfig(**settings)).eval()


def a_base_folder(folder: Path, *, seed: int = 0, chat_template: str | None = None, **changes: Any) -> Path:
    """A Hugging Face folder with the tiny model and its tokenizer."""
    a_model(seed=seed, **changes).save_pretrained(folder)
    a_tokenizer(chat_template=chat_template).save_pretrained(folder)
    return folder


def a_training_file(**changes: Any) -> TrainingFile:
    """A valid file; `changes` are dotted keys with `__` for the dot (`training__seed=3`)."""
    raw = {
        "name": "tiny",
        "base": "tiny-base",
        "method": "lora",
        "data": {"train": {"path": "rows.jsonl"}},
        "training": {"max_length": 64, "learning_rate": 0.01, "dtype": "fp32"},
    }
    overrides = [(key.replace("__", "."), value) for key, value in changes.items()]
    return parse_training_file(raw, overrides)[0]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def colour_rows(count: int) -> list[dict[str, str]]:
    """Rows with something to learn: each answer follows from its question."""
    colours = ("red", "green", "blue", "white")
    return [
        {"prompt": f"box {index} is", "completion": f"{colours[index % len(colours)]} and closed"}
        for index in range(count)
    ]


def train_on(rows: Path, base: Path, config: TrainingFile, *, record: Any = None, **more: Any) -> Any:
    """A training on rows that lie in a folder; `record` is that of the base, `more` what `load_setting` takes besides."""
    from peft_registry.schemas.progress import ignore
    from peft_registry.trainer.training.train_adapter import load_setting, read_data, train_adapter

    data = read_data(config, data_folder=rows, base_folder=base, base_record=record or a_base_record())
    loaded = load_setting(config, data, base_folder=base, **more)
    return train_adapter(loaded, observe=more.get("observe", ignore))


def some_batches(folder: Path, *, count: int = 24) -> Any:
    """The training batches of `colour_rows`, four rows each."""
    from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
    from peft_registry.trainer.data.collate import Batches, padding_id
    from peft_registry.trainer.data.dataset import load_data

    write_rows(folder / "rows.jsonl", colour_rows(count))
    tokenizer = a_tokenizer()
    data = load_data(
        DataBlock(train=TrainSource(path="rows.jsonl"), validation=ValidationSource(fraction=0.25)),
        folder=folder,
        tokenizer=tokenizer,
        max_length=64,
        seed=1,
    )
    return Batches(data.train, batch_size=4, pad_id=padding_id(tokenizer), seed=1)


def logits_of(model: Any, batches: Any) -> Any:
    """The logits (rows, tokens, vocabulary) of the first batch at the real positions; virtual ones are sliced off."""
    import torch

    batch = next(batches.in_order())
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return logits[:, logits.shape[1] - batch.input_ids.shape[1] :]
