"""What is in a data set before anything is trained on it: rows, tokens and which carry loss, duplicates, leaks.

Rows are compared by the digest of what they say, once exactly and once with case and white space levelled; no row is kept.
"""

import hashlib
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.containers import DataRow, FileFacts, container_of, read_rows
from peft_registry.trainer.data.dataset import Located
from peft_registry.trainer.data.formats import RowReading, has_empty_answer, row_line, turns_of
from peft_registry.trainer.data.tokenize import IGNORED, Example, tokenize_row


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one row that all carry loss, or all do not, as text."""

    text: str
    learnt: bool


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """A row as the model would read it."""

    line: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens: all, those that carry loss, and how long rows are; rows that `limit` would cut, or leave nothing of."""

    tokens: int
    supervised: int
    median: int
    longest: int
    cut: int
    nothing_to_learn: int
    untaught: int
    limit: int  # `training.max_length`


@dataclass(frozen=True, slots=True)
class DataPart:
    """One data set. `exact` rows say what an earlier one says; `similar` do but for case and white space, too; `conflicting`
    have the prompt of an earlier one and another answer. `numbers` is how many answers come to a number. `labels` are the classes
    with their rows, the most frequent first."""

    name: str
    format: str
    detected: bool
    columns: tuple[tuple[str, str], ...]
    sha256: Digest
    rows: int
    exact: int
    similar: int
    conflicting: int
    empty_answers: int
    numbers: int = 0
    labels: tuple[tuple[str, int], ...] = ()
    lengths: Lengths | None = None
    shown: tuple[TokenizedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Leak:
    """Held-out rows that are training rows: exactly, but for case and white space, or with the same prompt."""

    rows: int
    exact: int
    similar: int
    same_prompt: int


@dataclass(eq=False)
class Seen:
    """Digests of the rows of a data set, eight bytes each."""

    exact: set[bytes] = field(default_factory=set)
    similar: set[bytes] = field(default_factory=set)
    prompts: set[bytes] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Marks:
    exact: bytes
    similar: bytes
    prompt: bytes


def inspect_part(
    located: Located,
    facts: FileFacts,
    reading: RowReading,
    *,
    limit: int | None = None,
    tokenizer: Any | None = None,  # transformers' PreTrainedTokenizerBase
    max_length: int = 512,
    show: int = 0,
    has_number: Callable[[str], bool] = lambda _: False,
) -> tuple[DataPart, Seen]:
    """One data set, read once.

    Args:
        located: where it is.
        facts: of `inspect_file`.
        reading: how its rows are read.
        limit: of the rows, the first ones.
        tokenizer: of the base; without one, tokens are not counted.
        max_length: in tokens.
        show: this many rows are shown as the model would read them; needs a tokenizer.
        has_number: whether an answer in words comes to a number.
    """
    seen = Seen()
    counts = Counter[str]()
    labels = Counter[str]()
    examples: list[tuple[int, int, int]] = []  # (tokens, supervised, untaught) of each row, uncut
    shown: list[TokenizedRow] = []
    for index, (row, values) in enumerate(_values(located, facts, reading, limit)):
        counts.update(_compare(seen, _marks(reading, values)))
        counts["empty"] += has_empty_answer(reading, values)
        counts["numbers"] += reading.has_tasks and has_number(values[reading.shape.answer])
        if reading.row_format == "classification":
            labels[values["label"]] += 1
        if tokenizer is None:
            continue
        example = tokenize_row(reading, values, line=row.line, tokenizer=tokenizer, max_length=2**31 - 1)
        fits = int((example.labels[1:max_length] != IGNORED).sum())
        examples.append((len(example.ids), fits, example.untaught))
        if index < show:
            shown.append(TokenizedRow(row.line, _pieces(example, tokenizer)))
    part = DataPart(
        name=located.name,
        format=f"{container_of(located.paths[0])}/{reading.row_format}",
        detected=reading.detected,
        columns=reading.columns,
        sha256=facts.sha256,
        rows=min(facts.rows, limit or facts.rows),
        exact=counts["exact"],
        similar=counts["similar"],
        conflicting=counts["conflicting"],
        empty_answers=counts["empty"],
        numbers=counts["numbers"],
        labels=tuple(labels.most_common()),
        lengths=_lengths(examples, max_length) if examples else None,
        shown=tuple(shown),
    )
    return part, seen


def leak(
    located: Located, facts: FileFacts, reading: RowReading, trained_on: Seen, *, limit: int | None = None
) -> Leak:
    """How many rows of a held-out data set are among those that `trained_on` saw."""
    exact = similar = prompt = rows = 0
    for _, values in _values(located, facts, reading, limit):
        marks = _marks(reading, values)
        rows += 1
        exact += marks.exact in trained_on.exact
        similar += marks.exact not in trained_on.exact and marks.similar in trained_on.similar
        prompt += marks.similar not in trained_on.similar and marks.prompt in trained_on.prompts
    return Leak(rows, exact, similar, prompt)


def _values(
    located: Located, facts: FileFacts, reading: RowReading, limit: int | None
) -> Iterable[tuple[DataRow, dict[str, Any]]]:
    for index, row in enumerate(read_rows(*located.paths, facts=facts)):
        if limit is None or index < limit:
            yield row, reading.values(row)


def _compare(seen: Seen, marks: _Marks) -> list[str]:
    """What a row is to those before it; it is among them afterwards."""
    found = []
    if marks.exact in seen.exact:
        found.append("exact")
    elif marks.similar in seen.similar:
        found.append("similar")
    elif marks.prompt in seen.prompts:
        found.append("conflicting")
    seen.exact.add(marks.exact)
    seen.similar.add(marks.similar)
    seen.prompts.add(marks.prompt)
    return found


def _marks(reading: RowReading, values: dict[str, Any]) -> _Marks:
    answer = reading.shape.answer
    if reading.is_conversation:
        turns = turns_of(reading, values)
        prompt: Any = [[turn["role"], _level(turn["content"])] for turn in turns[:-1]]
        whole = [*prompt, _level(turns[-1]["content"])]
    else:
        prompt = {key: _level(value) for key, value in values.items() if key != answer}
        whole = prompt | {answer: _level(values[answer])}
    alone = not prompt  # plain text has no prompt: two texts never share one
    return _Marks(
        _short(row_line(values)), _short(repr(whole).encode()), _short(repr(whole if alone else prompt).encode())
    )


def _level(text: str) -> str:
    return " ".join(text.casefold().split())


def _short(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:8]


def _lengths(examples: Sequence[tuple[int, int, int]], max_length: int) -> Lengths:
    tokens = [length for length, _, _ in examples]
    return Lengths(
        tokens=sum(min(length, max_length) for length in tokens),
        supervised=sum(supervised for _, supervised, _ in examples),
        median=int(statistics.median(tokens)),
        longest=max(tokens),
        cut=sum(length > max_length for length in tokens),
        nothing_to_learn=sum(not supervised for _, supervised, _ in examples),
        untaught=sum(untaught for _, _, untaught in examples),
        limit=max_length,
    )


def _pieces(example: Example, tokenizer: Any) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    start = 0
    learnt = (example.labels != IGNORED).tolist()
    for at in range(1, len(learnt) + 1):
        if at == len(learnt) or learnt[at] != learnt[start]:
            pieces.append(Piece(str(tokenizer.decode(example.ids[start:at].tolist())), learnt[start]))
            start = at
    return tuple(pieces)
