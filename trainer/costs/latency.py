"""How long a request takes on an adapted model, beside its base: greedy generation after a prompt of fixed length.

Base and adapted model take turns, so that what else the machine does hits both; the change is the median of the ratios of
neighbours. On one thread of a processor its own time is measured, to which other work on the machine adds little. Where the
method can be folded into the weights, the folded model is measured in the same way: it is made in memory for this alone and
is not what `registry merge` would register.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from peft_registry.schemas.comparison import Latency
from peft_registry.schemas.values import Value, derived, measured, unknown

PROMPT_TOKENS = 64
NEW_TOKENS = 16
MIN_ROUNDS, MAX_ROUNDS = 5, 15
SECONDS = 20.0  # of measuring, when a request is slow
METHOD = f"greedy generation of {NEW_TOKENS} tokens after {PROMPT_TOKENS}, one row, median of the rounds"
_PROCESSOR = "; processor time of one thread"


def measure_latency(base: Any, adapted: Any, *, fold: Callable[[], Any] | None, why_not: str = "") -> Latency:
    """Latencies of a base, an adapted model on a copy of its own, and that model folded.

    Args:
        base: a causal language model in evaluation mode.
        adapted: another, on the same device.
        fold: makes the folded model, and may use up `adapted`; None where nothing can be folded.
        why_not: the reason then.
    """
    clock = _clock(base)
    before, after = _in_turns((base, adapted), clock)
    unmerged, unmerged_change = _figures(before, after, clock)
    if fold is None:
        merged = merged_change = unknown(why_not)
    else:
        again, folded = _in_turns((base, fold()), clock)
        merged, merged_change = _figures(again, folded, clock)
    return Latency(
        base=_seconds(before, clock),
        unmerged=unmerged,
        unmerged_change=unmerged_change,
        merged=merged,
        merged_change=merged_change,
    )


def _clock(model: Any) -> Callable[[], float]:
    import torch

    alone = model.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def _in_turns(models: Sequence[Any], clock: Callable[[], float]) -> tuple[list[float], ...]:
    for model in models:  # the first request pays for what later ones find ready
        _request(model)
    taken: tuple[list[float], ...] = tuple([] for _ in models)
    begun = time.perf_counter()
    for done in range(MAX_ROUNDS):
        if done >= MIN_ROUNDS and time.perf_counter() - begun > SECONDS:
            break
        for model, seconds in zip(models, taken, strict=True):
            started = clock()
            _request(model)
            seconds.append(clock() - started)
    return taken


def _request(model: Any) -> None:
    import torch

    weight = model.get_input_embeddings().weight
    ids = (torch.arange(PROMPT_TOKENS, device=weight.device) * 37 % weight.shape[0])[None]
    with torch.no_grad():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=NEW_TOKENS,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )


def _seconds(taken: list[float], clock: Callable[[], float]) -> Value:
    method = METHOD + (_PROCESSOR if clock is time.process_time else "")
    return measured(round(median(taken), 6), "s", method=method)


def _figures(base: list[float], other: list[float], clock: Callable[[], float]) -> tuple[Value, Value]:
    ratios = sorted(mine / its for its, mine in zip(base, other, strict=True))
    quarter = len(ratios) // 4
    spread = 100 * (ratios[-1 - quarter] - ratios[quarter]) / 2
    change = derived(
        round(median(ratios) - 1, 4),
        "of the base's latency",
        method="median ratio of neighbouring measurements, minus one; uncertainty: half the range of their middle half, in points",
        uncertainty_pct=round(spread, 1),
    )
    return _seconds(other, clock), change
