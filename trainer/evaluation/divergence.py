"""How differently a model goes on after two prompts: divergences of the next token over the whole vocabulary, in fp32."""

import math
from collections.abc import Sequence

import torch

from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.questions import PromptDivergence
from peft_registry.trainer.evaluation.scoring import prefix_token


def next_token_divergences(
    model: CausalModel,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    observe: Observe = ignore,
    step: str = "divergence",
) -> tuple[PromptDivergence, ...]:
    """One divergence a pair of prompts, in the order given. Equal prompts are computed once.

    Raises:
        NoPrefixToken: a prompt is empty, and the tokenizer has no token to stand for it.
    """
    log_p: dict[str, torch.Tensor] = {}
    device = next(model.parameters()).device
    divergences = []
    observe(Started(step, total=len(pairs), unit="pair"))
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for done, (first, second) in enumerate(pairs, 1):
            for prompt in (first, second):
                if prompt not in log_p:
                    log_p[prompt] = _next_token(model, tokenizer, prompt, device)
            divergences.append(divergence(log_p[first], log_p[second]))
            if len(log_p) > 512:  # a vocabulary a prompt: 100 MB at 49,152 tokens
                log_p.clear()
            observe(Advanced(step, done))
    observe(Finished(step))
    return tuple(divergences)


def divergence(first: torch.Tensor, second: torch.Tensor) -> PromptDivergence:
    """Of two vectors (V,) of log-probabilities."""
    p = first.double().exp()
    q = second.double().exp()
    log_m = torch.logaddexp(first.double(), second.double()) - math.log(2)
    js = 0.5 * float((p * (first.double() - log_m)).sum() + (q * (second.double() - log_m)).sum())
    kl_ab = float((p * (first - second).double()).sum())
    kl_ba = float((q * (second - first).double()).sum())
    # rounding may leave a tiny negative sum where the two are equal
    return PromptDivergence(max(0.0, js), max(0.0, kl_ab), max(0.0, kl_ba))


def _next_token(model: CausalModel, tokenizer: Tokenizer, prompt: str, device: torch.device) -> torch.Tensor:
    ids = list(tokenizer.encode(prompt, add_special_tokens=False))
    if not ids:  # an empty prompt is asked as an empty context is scored
        ids = [prefix_token(tokenizer)]
    input_ids = torch.tensor([ids], device=device)
    logits: torch.Tensor = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=False).logits
    return torch.log_softmax(logits[0, -1].float(), dim=-1)
