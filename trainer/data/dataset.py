"""The data of a run: rows chosen, split, tokenised, and their identity.

Choice: the first `rows` of the file; then a fraction is held out. Row i is held out when its SHA-256 of seed and i is
among the smallest, so a split depends on nothing but the seed and the number of rows.
Where a run chooses among several results by the held-out rows, half of them are kept apart (`test`) to report on.
Two passes: the first reads and digests the whole file, the second tokenises; rows are not kept in memory.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft_registry.schemas.config import AUTO_VALIDATION_FRACTION, DataBlock, TrainingFile, TrainSource
from peft_registry.schemas.dataset import DataIdentity, RowSelection, Split
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.data.containers import FileFacts, container_of, inspect_file, read_rows
from peft_registry.trainer.data.formats import RowReading, choose_reading, has_empty_answer, render, row_line
from peft_registry.trainer.data.tokenize import Example, require_embedding, tokenize_row
from peft_registry.trainer.machine.seeding import rank_by_hash

_STEP = "data"
_REPORT_EVERY = 256  # rows
_SHORTEST_ROW = 2  # tokens: one, and the one that it predicts


class TooFewRows(InputRefused):
    what = "the rows of {name} are too few ({rows}) to train on one part and hold out another"
    why = "both parts need a row"
    fix = "add rows, or name a validation file in data.validation.path"

    name: str
    rows: int


class TooFewToChoose(InputRefused):
    what = "the held-out rows of {name} are too few ({rows}) to choose by one part and report on another"
    why = "figures of rows that chose among seeds, or among steps, say too little about the result"
    fix = "hold out more rows, or let nothing choose: `seeds: 1`, and no training.early_stopping"

    name: str
    rows: int


class NothingToLearn(InputRefused):
    what = "none of the {rows} {split} rows of {name} has a token to learn"
    why = "the prompts alone fill the {max_length} tokens of training.max_length"
    fix = "raise training.max_length, or shorten the prompts"

    name: str
    split: Split
    rows: int
    max_length: int


class LengthOverContext(InputRefused):
    what = "training.max_length is {max_length}, and the base reads {context_length} tokens"
    why = "positions beyond the base's context were never trained"
    fix = "set training.max_length to {context_length} or less"

    max_length: int
    context_length: int


class NoRoomForPrompt(InputRefused):
    what = "{virtual} virtual tokens and training.max_length {max_length} are more than the base reads"
    why = "its context is {context_length} tokens, and virtual tokens take places in it"
    fix = "{remedy}"

    virtual: int
    max_length: int
    context_length: int

    @property
    def remedy(self) -> str:
        longest = self.context_length - self.virtual
        if longest >= _SHORTEST_ROW:
            return f"set training.max_length to {longest} or less, or take fewer virtual tokens"
        most = self.context_length - self.max_length
        if most:
            return f"take {most} virtual tokens or fewer"
        return "take fewer virtual tokens, and lower training.max_length"


@dataclass(frozen=True, slots=True)
class Located:
    """The files of a data set on this machine, what it is called in records, and its commit where a hub has it."""

    name: str
    paths: tuple[Path, ...]
    revision: str | None = None


Locate = Callable[[TrainSource, Split], Located]


def in_folder(folder: Path) -> Locate:
    """Data sets that are one file each, by a path that starts from this folder."""
    return lambda source, _: Located((folder / source.path).name, (folder / source.path,))


@dataclass(frozen=True, slots=True)
class Task:
    """A held-out row as text: what a model reads before the answer, the answer, and what the template puts behind it."""

    prompt: str
    answer: str
    end: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadedData:
    """Sequences of each part, the identity of each file, and what is worth saying or warning of.

    `test` is empty unless something is chosen by `validation`. `tasks` are the rows of `reported` as text, where each has a prompt
    and an answer in words, and `validation_tasks` those of `validation`; `classes` are the answers that occur in the whole file,
    where its rows are classified.
    """

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    identities: tuple[DataIdentity, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    test: tuple[Example, ...] = ()
    tasks: tuple[Task, ...] = ()
    validation_tasks: tuple[Task, ...] = ()
    classes: tuple[str, ...] = ()

    def identity_of(self, split: Split) -> DataIdentity:
        """The data file that the rows of a part came from."""
        return next(
            identity for identity in self.identities if any(part.split == split for part in identity.selections)
        )

    @property
    def row_format(self) -> str:
        """How the held-out rows are read, such as `messages`."""
        return self.identity_of(self.reported_split).format.partition("/")[2]

    @property
    def reported(self) -> tuple[Example, ...]:
        """The rows that trained nothing and chose nothing."""
        return self.test or self.validation

    @property
    def reported_split(self) -> Split:
        """Which part `reported` is."""
        return "test" if self.test else "validation"

    @property
    def supervised_fraction(self) -> float:
        """The part of the training tokens that carries loss."""
        tokens = sum(len(example.ids) for example in self.train)
        return sum(example.supervised for example in self.train) / tokens


def require_room(config: TrainingFile, context_length: int | None) -> None:
    """Raise unless rows of the file's length, with the virtual tokens in front of them, are no longer than the base reads.

    Raises:
        LengthOverContext, NoRoomForPrompt: they are longer.
    """
    max_length, virtual = config.training.max_length, config.virtual_tokens
    if context_length is None:
        return
    if max_length > context_length:
        raise LengthOverContext(max_length, context_length)
    if virtual and virtual + max_length > context_length:
        raise NoRoomForPrompt(virtual, max_length, context_length)


def open_data(source: TrainSource, located: Located, *, chat_template: object) -> tuple[FileFacts, RowReading]:
    """What the files of a data set hold, and how they are read.

    Args:
        source: of the training file.
        located: where the files are.
        chat_template: of the tokenizer, which may have none or several.

    Raises:
        InputRefused, NotFound: as `load_data`.
    """
    facts = inspect_file(*located.paths)
    reading = choose_reading(
        source,
        name=located.name,
        columns=facts.columns,
        classes=facts.classes,
        lists=facts.lists,
        chat_template=chat_template if isinstance(chat_template, str) else None,
    )
    return facts, reading


def load_data(
    data: DataBlock,
    *,
    folder: Path,
    tokenizer: Any,  # transformers' PreTrainedTokenizerBase
    max_length: int,
    seed: int,
    vocabulary: int | None = None,
    locate: Locate | None = None,
    chooses: bool = False,
    observe: Observe = ignore,
) -> LoadedData:
    """Everything that a run needs of its data.

    Args:
        data: the block of the training file.
        folder: relative paths start here.
        tokenizer: of the base.
        max_length: in tokens; sequences are cut on the right.
        seed: of the split, when the validation block has none.
        vocabulary: how many tokens the base has an embedding for; None when nobody knows.
        locate: where a data set is; None for a file below `folder`.
        chooses: among results by the validation part; half of what is held out becomes the test part.
        observe: hears of progress.

    Raises:
        InputRefused, NotFound: each kind of bad data has a reference of its own (see the classes of this package).
    """
    reader = _Reader(locate or in_folder(folder), tokenizer, max_length, observe, vocabulary)
    split_seed = seed if data.validation.seed is None else data.validation.seed
    if data.validation.path is not None:
        train = reader.whole(data.train, "train")
        source = data.validation.as_source()
        held_out = reader.halved(source, seed=split_seed) if chooses else (reader.whole(source, "validation"),)
        identities: tuple[DataIdentity, ...] = (
            train.identity((train.selection,)),
            held_out[0].identity(tuple(part.selection for part in held_out)),
        )
    else:
        fraction = data.validation.fraction or AUTO_VALIDATION_FRACTION
        divided = reader.divided(data.train, fraction=fraction, seed=split_seed, chooses=chooses)
        train = divided[0]
        held_out = divided[1:]
        identities = (train.identity(tuple(part.selection for part in (train, *held_out))),)
    parts = (train, *held_out)
    classes = sum((part.classes for part in parts), Counter[str]())
    return LoadedData(
        train=tuple(train.examples),
        validation=tuple(held_out[0].examples),
        identities=identities,
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes())),
        warnings=(*(text for part in parts for text in part.warnings()), *_lonely_classes(classes)),
        test=tuple(held_out[1].examples) if chooses else (),
        tasks=tuple(held_out[-1].tasks),
        validation_tasks=tuple(held_out[0].tasks),
        classes=tuple(sorted(classes)),
    )


def load_rows(
    source: TrainSource,
    split: Split,
    *,
    locate: Locate,
    tokenizer: Any,  # transformers' PreTrainedTokenizerBase
    max_length: int,
    held_out: tuple[float, int] | None = None,
    observe: Observe = ignore,
) -> tuple[tuple[Example, ...], DataIdentity]:
    """The sequences of one data set and its identity: for rows that are looked at and train nothing.

    Args:
        source: the data set.
        split: which part its rows are.
        locate: where it is.
        tokenizer: of the base.
        max_length: in tokens; sequences are cut on the right.
        held_out: fraction and seed of a training that held these rows out; None for all rows.
        observe: hears of progress.

    Raises:
        InputRefused, NotFound: as `load_data`.
    """
    reader = _Reader(locate, tokenizer, max_length, observe)
    if held_out is None:
        part = reader.whole(source, split)
    else:
        part = reader.divided(source, fraction=held_out[0], seed=held_out[1], chooses=False)[1]
    return tuple(part.examples), part.identity((part.selection,))


@dataclass(eq=False)
class _Part:
    """The rows of one split while they are collected."""

    split: Split
    rule: str
    located: Located
    facts: FileFacts
    reading: RowReading
    max_length: int
    container: str
    examples: list[Example] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    empty_answers: int = 0
    left_out: int = 0
    cut: int = 0
    untaught: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)  # hashlib's type has no public name

    def add(self, values: dict[str, Any], example: Example) -> None:
        """Take a row, or count it as left out where no token of it carries loss."""
        if not example.supervised:
            self.left_out += 1
            return
        self.cut += len(example.ids) == self.max_length
        self.untaught += example.untaught
        self.empty_answers += has_empty_answer(self.reading, values)
        self.examples.append(example)
        if self.reading.row_format == "classification":
            self.classes[values["label"]] += 1
        if self.split != "train" and self.reading.has_tasks:
            self.tasks.append(_task_of(self.reading, values))
        self._digest.update(row_line(values))

    def another(self, split: Split, rule: str) -> "_Part":
        """An empty part of the same file."""
        return _Part(split, rule, self.located, self.facts, self.reading, self.max_length, self.container)

    def check(self) -> None:
        """Raise unless a row was taken.

        Raises:
            NothingToLearn: none was.
        """
        if not self.examples:
            raise NothingToLearn(self.reading.name, self.split, self.left_out, self.max_length)

    @property
    def selection(self) -> RowSelection:
        left = f"; {self.left_out} left out, no token to learn within {self.max_length}" if self.left_out else ""
        return RowSelection(
            split=self.split,
            rule=self.rule + left,
            rows=len(self.examples),
            rows_sha256=Digest(self._digest.hexdigest()),
            tokens=sum(len(example.ids) for example in self.examples),
            supervised_tokens=sum(example.supervised for example in self.examples),
        )

    def identity(self, selections: tuple[RowSelection, ...]) -> DataIdentity:
        return DataIdentity(
            name=self.reading.name,
            format=f"{self.container}/{self.reading.row_format}",
            sha256=self.facts.sha256,
            bytes=self.facts.size,
            rows_total=self.facts.rows,
            template_sha256=self.reading.template_digest,
            columns=self.reading.columns,
            selections=selections,
            revision=self.located.revision,
        )

    def notes(self) -> Iterable[str]:
        if self.reading.detected:
            columns = ", ".join(f"{meaning} from `{column}`" for meaning, column in self.reading.columns)
            yield f"{self.reading.name} is read as {self.reading.row_format}: {columns}"

    def warnings(self) -> Iterable[str]:
        if self.left_out:
            were = "was" if self.left_out == 1 else "were"
            yield f"{self._rows(self.left_out)} {were} left out: no token to learn within {self.max_length} tokens"
        if self.cut:
            reach = "reaches" if self.cut == 1 else "reach"
            yield f"{self._rows(self.cut)} {reach} training.max_length {self.max_length} and may be cut"
        if self.empty_answers:
            have = "has" if self.empty_answers == 1 else "have"
            yield (
                f"{self._rows(self.empty_answers)} {have} an empty answer: from such a row the model learns to end at once"
            )
        if self.untaught:
            answers = "1 answer" if self.untaught == 1 else f"{self.untaught} answers"
            carry, them = ("carries", "it") if self.untaught == 1 else ("carry", "them")
            yield (
                f"{answers} in {self.split} rows of {self.reading.name} {carry} no loss: the chat template renders {them} "
                "otherwise once the conversation goes on"
            )

    def _rows(self, count: int) -> str:
        """So many rows, such as `1 train row of rows.jsonl`."""
        return f"{count} {self.split} {'row' if count == 1 else 'rows'} of {self.reading.name}"


@dataclass(frozen=True, slots=True)
class _Reader:
    locate: Locate
    tokenizer: Any  # transformers' PreTrainedTokenizerBase
    max_length: int
    observe: Observe
    vocabulary: int | None = None  # tokens that the base has an embedding for

    def whole(self, source: TrainSource, split: Split) -> _Part:
        part = self._part(source, split, _first(source.rows))
        self._fill(part, source.rows, lambda _: part)
        part.check()
        return part

    def divided(self, source: TrainSource, *, fraction: float, seed: int, chooses: bool) -> tuple[_Part, ...]:
        """Training part, held-out part and, where something is chosen, the part that is reported on."""
        rule = f"{_first(source.rows)}, fraction {fraction:g}, seed {seed}"
        train = self._part(source, "train", f"{rule}: the rest")
        count = min(train.facts.rows, source.rows or train.facts.rows)
        if count < 2:
            raise TooFewRows(train.reading.name, count)
        size = min(max(2 if chooses else 1, round(count * fraction)), count - 1)
        ranked = rank_by_hash(count, seed=seed, purpose="validation")[:size]
        return (train, *self._held_out(source, train, ranked, rule=f"{rule}: held out", chooses=chooses))

    def halved(self, source: TrainSource, *, seed: int) -> tuple[_Part, ...]:
        """A file of held-out rows: the half to choose by and the half to report on."""
        rule = f"{_first(source.rows)}, seed {seed}"
        whole = self._part(source, "validation", rule)
        count = min(whole.facts.rows, source.rows or whole.facts.rows)
        ranked = rank_by_hash(count, seed=seed, purpose="test")
        return self._held_out(source, whole, ranked, rule=rule, chooses=True)

    def _held_out(
        self, source: TrainSource, whole: _Part, ranked: list[int], *, rule: str, chooses: bool
    ) -> tuple[_Part, ...]:
        """Read the file: rows of `ranked` into one part, or half of them into each of two; the others into `whole`."""
        parts = [whole.another("validation", f"{rule}, the half to choose by" if chooses else rule)]
        if chooses:
            parts.append(whole.another("test", f"{rule}, the half to report on"))
        if len(ranked) < len(parts):
            raise TooFewToChoose(whole.reading.name, len(ranked))
        part_of = {index: parts[number * len(parts) // len(ranked)] for number, index in enumerate(ranked)}
        self._fill(whole, source.rows, lambda index: part_of.get(index, whole))
        for part in (*parts, *([whole] if whole.split == "train" else ())):
            part.check()
        return tuple(parts)

    def _part(self, source: TrainSource, split: Split, rule: str) -> _Part:
        located = self.locate(source, split)
        facts, reading = open_data(source, located, chat_template=self.tokenizer.chat_template)
        return _Part(split, rule, located, facts, reading, self.max_length, container_of(located.paths[0]))

    def _fill(self, whole: _Part, limit: int | None, part_of: Callable[[int], _Part]) -> None:
        facts = whole.facts
        count = min(facts.rows, limit or facts.rows)
        self.observe(Started(_STEP, total=count, unit="rows"))
        for index, row in enumerate(read_rows(*whole.located.paths, facts=facts)):
            if index >= count:
                continue  # read to the end: the digest must be that of the first pass
            part = part_of(index)
            values = part.reading.values(row)
            example = tokenize_row(
                part.reading, values, line=row.line, tokenizer=self.tokenizer, max_length=self.max_length
            )
            if self.vocabulary is not None:
                subject = f"line {row.line} of {part.reading.name}"
                highest = int(example.ids.max(initial=0))
                require_embedding(highest, rows=self.vocabulary, subject=subject, tokenizer=self.tokenizer)
            part.add(values, example)
            if index % _REPORT_EVERY == 0:
                self.observe(Advanced(_STEP, index))
        self.observe(Finished(_STEP))


def lonely_classes_sentence(lonely: int, classes: int) -> str | None:
    """How many of all classes have a single row; None where none has."""
    if not lonely:
        return None
    have = "has" if lonely == 1 else "have"
    return f"{lonely} of {classes} classes {have} a single row, which is either trained on or held out"


def _lonely_classes(classes: Counter[str]) -> Iterable[str]:
    """Without their names: a warning is recorded, and what rows say is not."""
    sentence = lonely_classes_sentence(sum(rows == 1 for rows in classes.values()), len(classes))
    if sentence is not None:
        yield sentence


def _task_of(reading: RowReading, values: dict[str, Any]) -> Task:
    prompt, completion = render(reading, values)
    answer: str = values[reading.shape.answer]
    return Task(prompt, answer, completion.removeprefix(answer))


def _first(rows: int | None) -> str:
    return "all rows" if rows is None else f"first {rows} rows"
