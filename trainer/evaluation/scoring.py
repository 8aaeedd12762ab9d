"""Log-likelihoods of texts and of token sequences under a causal language model: the one scorer of every suite.

- Computed in fp32 whatever the weights are stored in: changing the number format alone moves items across the neutral line.
- Rows are sorted by length and batched by a budget of padded tokens; the order of the answers is that of the questions.
- The output head runs on the scored positions only. Its input is replaced inside the model's own forward pass, so scaling or
  capping that a model applies to its logits stays in force.
- Context and continuation are encoded as one string and cut at the length of the encoded context; trailing spaces of the
  context belong to the continuation. An empty context is one prefix token (the one given, else BOS, else EOS), which is not
  doubled if the text already starts with it. No other special token is added.

The conventions are those of lm-evaluation-harness 0.4, so that numbers compare where the definition is the same.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch

from schemas.errors import InputRefused
from schemas.progress import Advanced, Finished, Observe, Started, ignore

MAX_TOKEN_BUDGET = 8192  # padded tokens in a batch
LOGITS_BUDGET = 1 << 26  # scored positions × vocabulary in a batch: 256 MiB of fp32 logits
PREFIX_POLICY = "one prefix token before an empty context: the one given, else BOS, else EOS; not doubled"

Order = Literal["longest first", "shortest first"]


class NoPrefixToken(InputRefused):
    reference = "no-prefix-token"

    def __init__(self) -> None:
        super().__init__(
            what="the first token of a text cannot be scored",
            why="the tokenizer has neither a beginning-of-text nor an end-of-text token to put before it",
            fix="add bos_token or eos_token to the base's tokenizer configuration",
        )


@dataclass(frozen=True, slots=True)
class Request:
    """What is the log-likelihood of `continuation` after `context`?"""

    context: str
    continuation: str


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Token ids, and which of them are scored: `targets[i]` is predicted at the position before `positions[i]` ≥ 1."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[int, ...]
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """The log-likelihood in nats, summed over `tokens` scored tokens."""

    log_likelihood: float
    tokens: int
    is_truncated: bool = False


def score(
    model: Any,  # a transformers or peft causal language model
    tokenizer: Any,
    requests: Sequence[Request],
    *,
    token_budget: int | None = None,
    order: Order = "longest first",
    prefix_token_id: int | None = None,
    observe: Observe = ignore,
    step: str = "score",
) -> tuple[Score, ...]:
    """The score of each request, in the order given. Equal requests are computed once.

    Args:
        model: scored as it is: adapters that are enabled count. Wrap the call in `in_float32`.
        tokenizer: of the model.
        requests: any number of texts.
        token_budget: padded tokens in a batch; None chooses by the size of the vocabulary.
        order: of the batches; it must not matter, and the noise control shows that it does not.
        prefix_token_id: put before a text without context; None takes BOS, else EOS.
        observe: told about progress.
        step: the name of the progress.

    Raises:
        NoPrefixToken: a request has no context and the tokenizer no token to stand for it.
    """
    distinct = list(dict.fromkeys(requests))
    rows = [
        encode(tokenizer, one, prefix_token_id=prefix_token_id, max_length=max_length_of(model)) for one in distinct
    ]
    values = log_likelihoods(model, rows, token_budget=token_budget, order=order, observe=observe, step=step)
    found = {
        request: Score(value, len(row.positions), row.is_truncated)
        for request, row, value in zip(distinct, rows, values, strict=True)
    }
    return tuple(found[request] for request in requests)


def encode(tokenizer: Any, request: Request, *, prefix_token_id: int | None, max_length: int | None) -> TokenRow:
    """The row of a request; too long a row loses tokens on the left, and says so."""
    context = request.context.rstrip(" ")
    continuation = request.context[len(context) :] + request.continuation
    if context:
        before = _ids(tokenizer, context)
        scored = _ids(tokenizer, context + continuation)[len(before) :]
    else:
        before, scored = [_prefix_token(tokenizer, prefix_token_id)], _ids(tokenizer, continuation)
        if scored[:1] == before:
            scored = scored[1:]
    ids = [*before, *scored]
    # the last token is not fed to the model, so a row may be one token longer than the model is
    cut = max(0, len(ids) - max_length - 1) if max_length else 0
    ids, first = ids[cut:], max(1, len(before) - cut)
    positions = tuple(range(first, len(ids)))
    return TokenRow(tuple(ids), positions, tuple(ids[first:]), is_truncated=cut > 0)


def log_likelihoods(
    model: Any,
    rows: Sequence[TokenRow],
    *,
    token_budget: int | None = None,
    order: Order = "longest first",
    observe: Observe = ignore,
    step: str = "score",
) -> tuple[float, ...]:
    """The summed log-likelihood of each row's scored tokens in nats, in the order given; 0.0 where none is scored."""
    values = [0.0] * len(rows)
    asked = [index for index, row in enumerate(rows) if row.positions]
    asked.sort(key=lambda index: len(rows[index].ids), reverse=order == "longest first")
    budget = token_budget or token_budget_of(model)
    observe(Started(step, total=len(rows), unit="item"))
    done = len(rows) - len(asked)
    device_type = next(model.parameters()).device.type
    with torch.inference_mode(), torch.autocast(device_type, enabled=False):
        for batch in _batches(asked, rows, budget):
            for index, value in zip(batch, _score_batch(model, [rows[i] for i in batch]), strict=True):
                values[index] = value
            done += len(batch)
            observe(Advanced(step, done))
    observe(Finished(step))
    return tuple(values)


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Weights in fp32 and dropout off inside the block; afterwards number formats and modes are as before.

    Widening bf16 or fp16 and narrowing again is exact. Quantised (integer) weights stay as they are.
    """
    tensors = {id(one): one for one in chain(model.parameters(), model.buffers()) if one.is_floating_point()}
    formats = [(one, one.dtype) for one in tensors.values() if one.dtype in (torch.bfloat16, torch.float16)]
    training = [module for module in model.modules() if module.training]
    for tensor, _ in formats:
        tensor.data = tensor.data.float()
    model.eval()
    try:
        yield
    finally:
        for tensor, dtype in formats:
            tensor.data = tensor.data.to(dtype)
        for module in training:
            module.training = True


def token_budget_of(model: Any) -> int:
    """Padded tokens in a batch so that the logits of all of them stay within `LOGITS_BUDGET` numbers."""
    vocabulary = model.get_output_embeddings().weight.shape[0]
    return max(1, min(MAX_TOKEN_BUDGET, LOGITS_BUDGET // int(vocabulary)))


def max_length_of(model: Any) -> int | None:
    """The number of positions of the model; None if its config does not say."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else None


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def _prefix_token(tokenizer: Any, given: int | None) -> int:
    for candidate in (given, tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    raise NoPrefixToken


def _batches(asked: Sequence[int], rows: Sequence[TokenRow], budget: int) -> Iterator[list[int]]:
    """Runs of row numbers whose padded size is within the budget; a row that is longer goes alone."""
    batch: list[int] = []
    width = 0
    for index in asked:
        wider = max(width, len(rows[index].ids))
        if batch and wider * (len(batch) + 1) > budget:
            yield batch
            batch, wider = [], len(rows[index].ids)
        batch.append(index)
        width = wider
    if batch:
        yield batch


def _score_batch(model: Any, rows: Sequence[TokenRow]) -> list[float]:
    device = next(model.parameters()).device
    inputs = [row.ids[:-1] for row in rows]  # the last token predicts nothing that is asked for
    ids = torch.zeros((len(rows), max(map(len, inputs))), dtype=torch.long)  # (B, T), padded on the right
    mask = torch.zeros_like(ids)
    for number, given in enumerate(inputs):
        ids[number, : len(given)] = torch.tensor(given)
        mask[number, : len(given)] = 1
    row_of = torch.tensor([number for number, row in enumerate(rows) for _ in row.positions], device=device)
    at = torch.tensor([position - 1 for row in rows for position in row.positions], device=device)
    targets = torch.tensor([target for row in rows for target in row.targets], device=device)
    logits = _logits_at(model, ids.to(device), mask.to(device), row_of, at)  # (N, V)
    chosen = logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(dim=1)
    sums = torch.zeros(len(rows), dtype=torch.float64, device=device)
    return [float(value) for value in sums.index_add_(0, row_of, chosen.double()).tolist()]


def _logits_at(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, row_of: torch.Tensor, at: torch.Tensor
) -> torch.Tensor:
    """Logits (N, V) in fp32 at (row, position) pairs; positions count from the first real token."""

    def only_these(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = given[0]  # (B, virtual tokens + T, H)
        virtual = hidden.shape[1] - ids.shape[1]
        return (hidden[row_of, at + virtual][None], *given[1:])  # (1, N, H)

    hook = model.get_output_embeddings().register_forward_pre_hook(only_these)
    try:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    finally:
        hook.remove()
    return logits[0].float()
