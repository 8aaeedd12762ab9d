"""Train the embedded base: `python -m peft_registry.trainer.embedded.make_base OUT`.

Writes a byte-level BPE tokenizer and a Llama-shaped model, both learned from the text of `corpus.py` beside this file. Seeds
are fixed and one thread is used, so a run repeats bit for bit on one machine and one torch release; elsewhere the last bits of
a sum may differ, and training carries that into all weights. That is why the result is checked in (`base/`), and why its
identity is the digest of those files and not the recipe.
"""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_registry.trainer.embedded.corpus import documents

SEED = 20261124
TRAIN_DOCUMENTS = 60_000
HELD_OUT_DOCUMENTS = 400
VOCABULARY = 1024
WINDOW = 96  # tokens of one training row
ROWS = 32  # rows of one step
STEPS = 1500
PEAK_LEARNING_RATE = 3e-3
BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


def make_base(out: Path, *, steps: int = STEPS) -> dict[str, float]:
    """Train tokenizer and model, write them to `out`; returns held-out losses in nats per token, tokens and seconds."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    started = time.monotonic()
    text = list(documents(split="train", seed=SEED, count=TRAIN_DOCUMENTS))
    write_tokenizer(out, text)
    tokenizer = _load_tokenizer(out)
    ids = _token_stream(tokenizer, text)
    model = _new_model()
    for step, loss in _train(model, torch.tensor(ids), steps=steps):
        if step % 100 == 0:
            sys.stderr.write(f"step {step:5d}  loss {loss:.3f}  {time.monotonic() - started:.0f} s\n")
    model.eval()
    model.save_pretrained(out)
    (out / "model.safetensors").chmod(0o644)
    held_out = list(documents(split="held_out", seed=SEED, count=HELD_OUT_DOCUMENTS))
    return {
        "parameters": float(sum(parameter.numel() for parameter in model.parameters())),
        "training_tokens": float(steps * ROWS * WINDOW),
        "held_out_loss": held_out_loss(model, tokenizer, held_out),
        "unigram_loss": unigram_loss(tokenizer, text, held_out),
        "seconds": time.monotonic() - started,
    }


def write_tokenizer(out: Path, text: list[str]) -> None:
    """Train the byte-level BPE on `text` and write `tokenizer.json`, `tokenizer_config.json` and the chat template to `out`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, BOS, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def held_out_loss(model: Any, tokenizer: Any, text: list[str]) -> float:
    """Mean loss in nats per token of `text`, each document scored alone after BOS and with its EOS."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for document in text:
            ids = torch.tensor([_document_ids(tokenizer, document)])
            logits = model(input_ids=ids).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += ids.shape[1] - 1
    return total / count


def unigram_loss(tokenizer: Any, train: list[str], text: list[str]) -> float:
    """Mean loss in nats per token that token frequencies of `train` (add-one smoothed) give on `text`, EOS included."""
    counts = Counter(token for document in train for token in _document_ids(tokenizer, document)[1:])
    total = sum(counts.values()) + VOCABULARY
    scored = [token for document in text for token in _document_ids(tokenizer, document)[1:]]
    return -sum(math.log((counts[token] + 1) / total) for token in scored) / len(scored)


def _train(model: Any, stream: Any, *, steps: int) -> Iterator[tuple[int, float]]:
    """One AdamW run over random windows of `stream` (tokens,), warm-up then cosine; yields step and loss in nats."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.05)
    draw = torch.Generator().manual_seed(SEED)
    offsets = torch.arange(WINDOW + 1)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LEARNING_RATE * _schedule(step, steps)
        starts = torch.randint(0, len(stream) - WINDOW - 1, (ROWS, 1), generator=draw)
        rows = stream[starts + offsets]
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield step, float(loss.detach())


def _schedule(step: int, steps: int) -> float:
    warm_up = max(1, steps // 20)
    if step <= warm_up:
        return step / warm_up
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def _new_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        initializer_range=0.05,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        use_cache=True,
    )
    return LlamaForCausalLM(config)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _document_ids(tokenizer: Any, document: str) -> list[int]:
    return [tokenizer.bos_token_id, *tokenizer.encode(document, add_special_tokens=False), tokenizer.eos_token_id]


def _token_stream(tokenizer: Any, text: list[str]) -> list[int]:
    return [token for document in text for token in _document_ids(tokenizer, document)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(make_base(Path(sys.argv[1])), indent=2) + "\n")
