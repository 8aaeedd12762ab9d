"""Three ways through a model to the same log-likelihoods, and which of them a model can take.

- `packed`: trees of rows in one sequence each, with a block mask and positions that restart at each branch. For models whose
  attention takes a mask of four dimensions.
- `cached`: a shared context once with a key/value cache, which is then expanded over its continuations. For virtual tokens
  (prompt and prefix tuning), which sit in the cache, and for models that cannot use the mask.
- `plain`: one padded row each. Always right, never fast.

A route is taken only after it gave, on a few of the very rows asked about, what the plain one gives. The output head runs on
the scored positions only: its input is replaced inside the model's own forward pass, so scaling or capping that a model
applies to its logits stays in force.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch

from peft_registry.trainer.evaluation.models import CausalModel
from peft_registry.trainer.evaluation.prefix_trees import TokenRow, Tree, tree_tokens_for, trees_of

Thing = TypeVar("Thing")
Route = Literal["packed", "cached", "plain"]
Scored = Iterator[tuple[list[int], list[float]]]
"""Row numbers and their summed log-likelihoods, batch by batch."""

ROUTE_TOLERANCE = 1e-3  # nats; the same bound as between a recorded score and a second run
MIN_SHARED = 8  # tokens; a shorter context is cheaper fed again than kept
_PROBES, _PROBE_TOKENS = 4, 48
ROWS_AT_ONCE = 128  # of logits: the exponentials of a vocabulary stay in the processor's cache


def route_for(model: CausalModel, rows: Sequence[TokenRow]) -> Route:
    """The fastest route that this model takes to the same numbers, tried on a few of the rows."""
    probes = _probes(rows)
    if len(probes) < 2:
        return "plain"
    budget = _PROBES * _PROBE_TOKENS
    expected = _values(plain(model, probes, range(len(probes)), budget=budget), len(probes))
    routes: list[tuple[Route, Callable[[], Scored]]] = [
        ("packed", lambda: packed(model, probes, budget=budget, tree_tokens=budget)),
        ("cached", lambda: cached(model, probes, budget=budget, min_shared=1)),
    ]
    for name, run in routes:
        if name == "packed" and has_virtual_tokens(model):
            continue
        try:
            values = _values(run(), len(probes))
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, NotImplementedError):
            continue  # a model that refuses such a mask or cache says so in its own way; the plain route remains
        if max(abs(a - b) for a, b in zip(expected, values, strict=True)) <= ROUTE_TOLERANCE:
            return name
    return "plain"


def run_route(
    route: Route, model: CausalModel, rows: Sequence[TokenRow], *, budget: int, shortest_first: bool
) -> Scored:
    """The scores of every row that asks something, batch by batch, within a budget of padded tokens."""
    if route == "packed":
        size = _tree_tokens(rows, shortest_first=shortest_first)
        return packed(model, rows, budget=budget, tree_tokens=size, shortest_first=shortest_first)
    if route == "cached":
        return cached(model, rows, budget=budget, shortest_first=shortest_first)
    asked = [index for index, row in enumerate(rows) if row.positions]
    return plain(model, rows, asked, budget=budget, shortest_first=shortest_first)


def sizes_of_batches(rows: Sequence[TokenRow], *, budget: int, shortest_first: bool) -> set[int]:
    """The numbers of tokens that the batches of these rows have on the fastest route, padding included."""
    size = _tree_tokens(rows, shortest_first=shortest_first)
    made = _tree_batches(rows, budget=budget, tree_tokens=size, shortest_first=shortest_first)
    return {len(batch) * max(tree.size for tree in batch) for batch in made}


def _tree_tokens(rows: Sequence[TokenRow], *, shortest_first: bool) -> int:
    # other trees as well as another order, so that a control meets other padding and other kernels
    return tree_tokens_for(rows) // (2 if shortest_first else 1)


def packed(
    model: CausalModel,
    rows: Sequence[TokenRow],
    *,
    budget: int,
    tree_tokens: int,
    shortest_first: bool = False,
) -> Scored:
    """Batches of trees."""
    for batch in _tree_batches(rows, budget=budget, tree_tokens=tree_tokens, shortest_first=shortest_first):
        yield _score_trees(model, rows, batch)


def _tree_batches(
    rows: Sequence[TokenRow], *, budget: int, tree_tokens: int, shortest_first: bool
) -> Iterator[list[Tree]]:
    trees = trees_of(rows, max_tokens=min(tree_tokens, budget))
    trees.sort(key=lambda tree: tree.size, reverse=not shortest_first)
    return batches(trees, lambda tree: tree.size, budget)


def cached(
    model: CausalModel,
    rows: Sequence[TokenRow],
    *,
    budget: int,
    min_shared: int = MIN_SHARED,
    shortest_first: bool = False,
) -> Scored:
    """Contexts that several rows share once each, with their continuations as a padded batch; the other rows plainly."""
    contexts: dict[tuple[int, ...], list[int]] = {}
    for index, row in enumerate(rows):
        if row.positions:
            contexts.setdefault(row.ids[: row.positions[0]], []).append(index)
    alone = []
    for context, members in contexts.items():
        if len(members) < 2 or len(context) < min_shared:
            alone += members
            continue
        longest = max(len(rows[index].ids) for index in members)
        size = max(1, budget // longest)
        for start in range(0, len(members), size):
            part = members[start : start + size]
            yield part, _score_continuations(model, context, [rows[index] for index in part])
    yield from plain(model, rows, alone, budget=budget, shortest_first=shortest_first)


def plain(
    model: CausalModel, rows: Sequence[TokenRow], asked: Iterable[int], *, budget: int, shortest_first: bool = False
) -> Scored:
    """Rows by length in padded batches."""
    order = sorted(asked, key=lambda index: len(rows[index].ids), reverse=not shortest_first)
    for batch in batches(order, lambda index: len(rows[index].ids), budget):
        yield batch, _score_rows(model, [rows[index] for index in batch])


def batches(things: Sequence[Thing], size: Callable[[Thing], int], budget: int) -> Iterator[list[Thing]]:
    """Runs of things whose padded size is within the budget; one that is larger goes alone."""
    batch: list[Thing] = []
    width = 0
    for thing in things:
        wider = max(width, size(thing))
        if batch and wider * (len(batch) + 1) > budget:
            yield batch
            batch = []
            wider = size(thing)
        batch.append(thing)
        width = wider
    if batch:
        yield batch


def has_virtual_tokens(model: CausalModel) -> bool:
    """Whether an active adapter puts tokens of its own before the text."""
    return virtual_tokens(model) > 0


def virtual_tokens(model: CausalModel) -> int:
    """How many tokens adapters put before the text; 0 for a model without such an adapter."""
    configs = getattr(model, "peft_config", None)
    values = configs.values() if isinstance(configs, dict) else ()
    return max((int(getattr(config, "num_virtual_tokens", None) or 0) for config in values), default=0)


# --- the forward passes ---


def _score_trees(model: CausalModel, rows: Sequence[TokenRow], trees: Sequence[Tree]) -> tuple[list[int], list[float]]:
    device = next(model.parameters()).device
    width = max(tree.size for tree in trees)
    ids = torch.zeros((len(trees), width), dtype=torch.long)  # (B, T), padded on the right
    depths = torch.zeros_like(ids)
    sees = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)  # (B, T, T); padding sees itself
    for number, tree in enumerate(trees):
        ids[number, : tree.size] = torch.tensor(tree.tokens)
        depths[number, : tree.size] = torch.tensor(tree.depths)
        sees[number, : tree.size, : tree.size] = torch.from_numpy(tree.sees())
    mask = torch.zeros(sees.shape, dtype=torch.float32).masked_fill_(~sees, torch.finfo(torch.float32).min)
    wanted = _Wanted()
    numbers = []
    for number, tree in enumerate(trees):
        for index, path in tree.asked:
            row = rows[index]
            wanted.add(number, [path[position - 1] for position in row.positions], row.targets)
            numbers.append(index)
    logits = _logits_at(
        model,
        wanted,
        ids.to(device),
        attention_mask=mask[:, None].to(device),
        position_ids=depths.to(device),
    )
    return numbers, wanted.sums(logits)


def _score_rows(model: CausalModel, rows: Sequence[TokenRow]) -> list[float]:
    device = next(model.parameters()).device
    inputs = [row.inputs for row in rows]
    ids = torch.zeros((len(rows), max(map(len, inputs))), dtype=torch.long)  # (B, T), padded on the right
    mask = torch.zeros_like(ids)
    wanted = _Wanted()
    for number, (row, given) in enumerate(zip(rows, inputs, strict=True)):
        ids[number, : len(given)] = torch.tensor(given)
        mask[number, : len(given)] = 1
        wanted.add(number, [position - 1 for position in row.positions], row.targets)
    return wanted.sums(_logits_at(model, wanted, ids.to(device), attention_mask=mask.to(device)))


def _score_continuations(model: CausalModel, context: Sequence[int], rows: Sequence[TokenRow]) -> list[float]:
    """The context once, its cache expanded, then everything behind it; the first token is predicted by the context."""
    device = next(model.parameters()).device
    first = _Wanted()
    for row in rows:
        first.add(0, [len(context) - 1], row.targets[:1])
    with _only(model, first, len(context)):
        input_ids = torch.tensor([context], device=device)
        output = model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), use_cache=True)
    values = first.sums(output.logits[0])
    behind = [row.inputs[len(context) :] for row in rows]
    if not any(behind):
        return values
    cache = output.past_key_values
    past = int(cache.get_seq_length())  # virtual tokens included
    cache.batch_repeat_interleave(len(rows))
    ids = torch.zeros((len(rows), max(map(len, behind))), dtype=torch.long)
    mask = torch.zeros_like(ids)
    wanted = _Wanted()
    for number, (row, tokens) in enumerate(zip(rows, behind, strict=True)):
        ids[number, : len(tokens)] = torch.tensor(tokens)
        mask[number, : len(tokens)] = 1
        places = [position - 1 - len(context) for position in row.positions[1:]]
        wanted.add(number, places, row.targets[1:])
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    logits = _logits_at(
        inner,
        wanted,
        ids.to(device),
        attention_mask=torch.cat([torch.ones((len(rows), past), dtype=torch.long), mask], dim=1).to(device),
        position_ids=(past + torch.arange(ids.shape[1]))[None].expand(len(rows), -1).to(device),
        past_key_values=cache,
        use_cache=True,
    )
    return [a + b for a, b in zip(values, wanted.sums(logits), strict=True)]


class _Wanted:
    """Which (row, place) of a batch are asked which targets. A place that several ask goes through the head once."""

    def __init__(self) -> None:
        self._at: dict[tuple[int, int], int] = {}
        self._asks: list[tuple[int, int, int]] = []  # (question, place in the head's output, target)
        self._questions = 0

    def add(self, row: int, places: Sequence[int], targets: Sequence[int]) -> None:
        """One question: the sum of the log-probabilities of the targets at the places."""
        for place, target in zip(places, targets, strict=True):
            number = self._at.setdefault((row, place), len(self._at))
            self._asks.append((self._questions, number, target))
        self._questions += 1

    def index(self, device: torch.device, shift: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and places (N,), places counted from behind `shift` virtual tokens."""
        rows = torch.tensor([row for row, _ in self._at], device=device)
        return rows, torch.tensor([place for _, place in self._at], device=device) + shift

    def sums(self, logits: torch.Tensor) -> list[float]:
        """One sum a question in nats, from logits (N, V)."""
        if not self._asks:
            return [0.0] * self._questions
        device = logits.device
        question, number, target = torch.tensor(self._asks, device=device).T
        totals = torch.cat([part.float().logsumexp(dim=1) for part in torch.split(logits, ROWS_AT_ONCE)])
        chosen = logits[number, target].float() - totals[number]
        sums = torch.zeros(self._questions, dtype=torch.float64, device=device)
        return [float(value) for value in sums.index_add_(0, question, chosen.double()).tolist()]


def _logits_at(model: CausalModel, wanted: _Wanted, ids: torch.Tensor, **inputs: Any) -> torch.Tensor:
    """Logits (N, V) at what is wanted; places count from the first real token."""
    options = {"use_cache": False} | inputs
    with _only(model, wanted, ids.shape[1]):
        logits: torch.Tensor = model(input_ids=ids, **options).logits
    return logits[0]


@contextmanager
def _only(model: CausalModel, wanted: _Wanted, length: int) -> Iterator[None]:
    """Let the output head see the wanted positions alone."""

    def select_wanted(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = inputs[0]  # (B, virtual tokens + T, H)
        rows, places = wanted.index(hidden.device, hidden.shape[1] - length)
        return (hidden[rows, places][None], *inputs[1:])  # (1, N, H)

    hook = model.get_output_embeddings().register_forward_pre_hook(select_wanted)
    try:
        yield
    finally:
        hook.remove()


def _probes(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """A few rows that share a beginning, cut short: where they fork is what must not leak."""
    order = sorted((row for row in rows if row.positions), key=lambda row: row.inputs)
    probes = []
    for row in order[:_PROBES]:
        start = min(row.positions[0], _PROBE_TOKENS // 2)
        cut = row.positions[0] - start
        ids = row.ids[cut : cut + _PROBE_TOKENS]
        probes.append(TokenRow(ids, tuple(range(start, len(ids))), ids[start:]))
    return probes


def _values(scored: Scored, count: int) -> list[float]:
    values = [0.0] * count
    for numbers, found in scored:
        for number, value in zip(numbers, found, strict=True):
            values[number] = value
    return values
