"""How differently a model goes on after two prompts: divergences of the next token over the whole vocabulary, in fp32."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore


@dataclass(frozen=True, slots=True)
class PromptDivergence:
    """In nats: Jensen-Shannon (symmetric, at most ln 2) and Kullback-Leibler in both directions."""

    js: float
    kl_ab: float
    kl_ba: float


def next_token_divergences(
    model: Any,  # a transformers or peft causal language model
    tokenizer: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    observe: Observe = ignore,
    step: str = "divergence",
) -> tuple[PromptDivergence, ...]:
    """One divergence a pair of prompts, in the order given. Equal prompts are computed once."""
    log_p: dict[str, torch.Tensor] = {}
    device = next(model.parameters()).device
    found = []
    observe(Started(step, total=len(pairs), unit="pair"))
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for done, pair in enumerate(pairs, 1):
            for prompt in pair:
                if prompt not in log_p:
                    log_p[prompt] = _next_token(model, tokenizer, prompt, device)
            found.append(divergence(log_p[pair[0]], log_p[pair[1]]))
            if len(log_p) > 512:  # a vocabulary a prompt: 100 MB at 49,152 tokens
                log_p.clear()
            observe(Advanced(step, done))
    observe(Finished(step))
    return tuple(found)


def divergence(first: torch.Tensor, second: torch.Tensor) -> PromptDivergence:
    """Of two vectors (V,) of log-probabilities."""
    p, q = first.double().exp(), second.double().exp()
    log_m = torch.logaddexp(first.double(), second.double()) - math.log(2)
    js = 0.5 * float((p * (first.double() - log_m)).sum() + (q * (second.double() - log_m)).sum())
    kl_ab, kl_ba = float((p * (first - second).double()).sum()), float((q * (second - first).double()).sum())
    return PromptDivergence(max(0.0, js), max(0.0, kl_ab), max(0.0, kl_ba))


def _next_token(model: Any, tokenizer: Any, prompt: str, device: torch.device) -> torch.Tensor:
    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    ids = list(tokenizer.encode(prompt, add_special_tokens=False)) or [prefix]
    given = torch.tensor([ids], device=device)
    logits: torch.Tensor = model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits
    return torch.log_softmax(logits[0, -1].float(), dim=-1)
