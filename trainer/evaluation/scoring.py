"""Log-likelihoods of texts and of token sequences under a causal language model: the one scorer of every suite.

- Computed in fp32 whatever the weights are held in: changing the number format alone moves items across the neutral line. The
  weights stay as they are held, and each is widened when its layer computes, so that scoring takes no more memory than training.
- What several rows begin with is computed once where the model allows it (`routes`), in batches sorted by length within a
  budget of padded tokens; the order of the answers is that of the questions.
- What was scored before, under the same composition and protocol, is not scored again (`finished`): an interrupted evaluation
  goes on, and a base is scored once for all that was made from it.
- Context and continuation are encoded as one string and cut at the length of the encoded context; trailing spaces of the
  context belong to the continuation. An empty context is one prefix token (the one given, else BOS, else EOS), which is not
  doubled if the text already starts with it. No other special token is added.

The conventions are those of lm-evaluation-harness 0.4, so that numbers compare where the definition is the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.bases.quantization import computing_in_float32
from peft_registry.trainer.bases.stored_weights import AS_LOADED, StoredWeights
from peft_registry.trainer.evaluation.fast_linear import fast_linear
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.prefix_trees import TokenRow
from peft_registry.trainer.evaluation.questions import Request, Score
from peft_registry.trainer.evaluation.score_cache import NOTHING, FinishedScores
from peft_registry.trainer.evaluation.scoring_backends import Route, route_for, run_route, virtual_tokens
from peft_registry.trainer.evaluation.wide_layers import NARROW, gives_numbers, wide_layers

MAX_TOKEN_BUDGET = 8192  # padded tokens in a batch
LOGITS_BUDGET = 1 << 25  # scored positions × vocabulary in a batch: 128 MiB of fp32 logits
PREFIX_POLICY = "one prefix token before an empty context: the one given, else BOS, else EOS; not doubled"

Order = Literal["longest first", "shortest first"]


class NoPrefixToken(InputRefused):
    what = "the first token of a text cannot be scored"
    why = "the tokenizer has neither a beginning-of-text nor an end-of-text token to put before it"
    fix = "add bos_token or eos_token to the base's tokenizer configuration"


def score(
    model: CausalModel,
    tokenizer: Tokenizer,
    requests: Sequence[Request],
    *,
    token_budget: int | None = None,
    order: Order = "longest first",
    route: Route | None = None,
    prefix_token_id: int | None = None,
    max_length: int | None = None,
    finished: FinishedScores = NOTHING,
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
        route: through the model; None takes the fastest that gives the same numbers on a few of the requests.
        prefix_token_id: put before a text without context; None takes BOS, else EOS.
        max_length: positions that a text may take; None asks the model. The same for all arms of a comparison.
        finished: scores of an earlier run under the same composition and protocol; new ones are added batch by batch.
        observe: told about progress.
        step: the name of the progress.

    Raises:
        NoPrefixToken: a request has no context and the tokenizer no token to stand for it.
    """
    scores = {request: known for request in dict.fromkeys(requests) if (known := finished.get(request)) is not None}
    asked = [request for request in dict.fromkeys(requests) if request not in scores]
    longest = max_length if max_length is not None else max_length_of(model)
    rows = [encode(tokenizer, request, prefix_token_id=prefix_token_id, max_length=longest) for request in asked]

    def keep(numbers: Sequence[int], values: Sequence[float]) -> None:
        batch = {
            asked[number]: Score(value, len(rows[number].positions), rows[number].is_truncated)
            for number, value in zip(numbers, values, strict=True)
        }
        scores.update(batch)
        finished.add(batch)

    log_likelihoods(
        model, rows, token_budget=token_budget, order=order, route=route, keep=keep, observe=observe, step=step
    )
    return tuple(scores[request] for request in requests)


def encode(tokenizer: Tokenizer, request: Request, *, prefix_token_id: int | None, max_length: int | None) -> TokenRow:
    """The row of a request; too long a row loses tokens on the left, and says so."""
    context = request.context.rstrip(" ")
    continuation = request.context[len(context) :] + request.continuation
    if context:
        before = _ids(tokenizer, context)
        scored = _ids(tokenizer, context + continuation)[len(before) :]
    else:
        before = [prefix_token(tokenizer, prefix_token_id)]
        scored = _ids(tokenizer, continuation)
        if scored[:1] == before:
            scored = scored[1:]
    ids = [*before, *scored]
    # the last token is not fed to the model, so a row may be one token longer than the model is
    cut = max(0, len(ids) - max_length - 1) if max_length else 0
    ids = ids[cut:]
    first = max(1, len(before) - cut)
    positions = tuple(range(first, len(ids)))
    return TokenRow(tuple(ids), positions, tuple(ids[first:]), is_truncated=cut > 0)


def log_likelihoods(
    model: CausalModel,
    rows: Sequence[TokenRow],
    *,
    token_budget: int | None = None,
    order: Order = "longest first",
    route: Route | None = None,
    keep: Callable[[Sequence[int], Sequence[float]], None] = lambda _numbers, _values: None,
    observe: Observe = ignore,
    step: str = "score",
) -> tuple[float, ...]:
    """The summed log-likelihood of each row's scored tokens in nats, in the order given; 0.0 where none is scored.

    `keep` gets the numbers and values of each batch as soon as they are known.
    """
    values = [0.0] * len(rows)
    nothing = [index for index, row in enumerate(rows) if not row.positions]
    budget = token_budget or token_budget_of(model)
    observe(Started(step, total=len(rows), unit="sentences"))
    done = len(nothing)
    keep(nothing, [0.0] * done)
    shortest_first = order == "shortest first"
    device_type = next(model.parameters()).device.type
    with torch.inference_mode(), torch.autocast(device_type, enabled=False):
        taken = route or route_for(model, rows)
        for numbers, scores in run_route(taken, model, rows, budget=budget, shortest_first=shortest_first):
            for index, value in zip(numbers, scores, strict=True):
                values[index] = value
            keep(numbers, scores)
            done += len(numbers)
            observe(Advanced(step, done))
    observe(Finished(step))
    return tuple(values)


@contextmanager
def in_float32(model: CausalModel, stored: StoredWeights = AS_LOADED) -> Iterator[None]:
    """Every product in fp32 and dropout off inside the block; afterwards number formats and modes are as before.

    Large weights stay as they are held, and are widened while their layer computes (`wide_layers`); the rest is widened here.
    Widening bf16 or fp16 and narrowing again is exact. Where `stored` knows the digits that loading dropped, those count.
    Quantized (integer) weights stay as they are; what they stand for is multiplied in fp32, large layers by the faster library
    (`fast_linear`).
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with ExitStack() as stack:
            tried = ExitStack()
            held = tried.enter_context(wide_layers(model, stored))
            tried.enter_context(_widened(model, stored, held))
            stack.enter_context(tried)
            tried.enter_context(computing_in_float32(model))
            if held and not gives_numbers(model):
                tried.close()  # a weight is looked at outside of its layer: here all of them are wide at once
                stack.enter_context(_widened(model, stored, frozenset()))
                stack.enter_context(computing_in_float32(model))
            stack.enter_context(fast_linear(model))
            yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _widened(model: CausalModel, stored: StoredWeights, held: frozenset[int]) -> Iterator[None]:
    """All weights in fp32 inside, but for those that are `held` and widened when they are needed."""
    # by place: a weight that is offloaded is another object after each use
    formats = [
        (store, name, score.dtype)
        for module in model.modules()
        for store in (module._parameters, module._buffers)
        for name, score in store.items()
        if score is not None and score.dtype in NARROW and id(score) not in held
    ]
    for store, name, _ in formats:
        _widen(store, name, stored)
    try:
        yield
    finally:
        for store, name, dtype in formats:
            _cast(store, name, dtype)


def _widen(store: dict[str, Any], name: str, stored: StoredWeights) -> None:
    known = stored.of(store[name])
    if known is None or store[name].dtype not in NARROW:  # a tied weight is met twice
        _cast(store, name, torch.float32)
    else:
        store[name].data = known.whole().to(store[name].device)


def _cast(store: dict[str, Any], name: str, dtype: torch.dtype) -> None:
    tensor = store[name]
    if tensor.is_meta:  # offloaded, and perhaps put back in inference mode, where nothing may be changed afterwards
        empty = torch.empty(tensor.shape, dtype=dtype, device="meta")
        store[name] = torch.nn.Parameter(empty, requires_grad=tensor.requires_grad)
    else:
        tensor.data = tensor.data.to(dtype)


def token_budget_of(model: CausalModel) -> int:
    """Padded tokens in a batch so that the logits of all of them stay within `LOGITS_BUDGET` numbers."""
    return token_budget_for(int(model.get_output_embeddings().weight.shape[0]))


def token_budget_for(vocabulary: int) -> int:
    """As `token_budget_of`, of a model with a vocabulary of so many tokens."""
    return max(1, min(MAX_TOKEN_BUDGET, LOGITS_BUDGET // vocabulary))


def max_length_of(model: CausalModel) -> int | None:
    """The positions that are left for text, virtual tokens deducted; None if the model's config does not say."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(limit) - virtual_tokens(model) if limit else None


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def prefix_token(tokenizer: Tokenizer, chosen: int | None = None) -> int:
    """The token that stands before a text without context: the chosen one, else BOS, else EOS.

    Raises:
        NoPrefixToken: there is none.
    """
    for candidate in (chosen, tokenizer.bos_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    raise NoPrefixToken
