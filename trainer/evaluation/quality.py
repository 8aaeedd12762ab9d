"""Quality of answers: what a model writes against references, the accuracy of a choice, and a metric of the user's own.

Rows are JSON Lines with `prompt` and `answers` (one reference or several; `id` and `category` where they exist). An answer
is generated greedily, cut at the first line end, and measured by `answer_metrics`. Rows with `extract: number` are compared by
the number that the answer comes to, and may take several lines to it. Where rows have `choices`, nothing is generated: the
likeliest choice after the prompt and one space is the answer, by the summed log-likelihood of its tokens as in
lm-evaluation-harness' `acc`; `accuracy` is how often it is the one of `answers`, and `macro_f1` stands beside it where all rows
have the same choices. A version is asked in the template that it was trained with (`prompted`).

A user's metric is a function `metric(answer, references) -> float` in a file of theirs: it runs only
with `--allow-code`, and the digest of its source enters the record.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import ScoreNotFinite
from peft_registry.registry.evaluation.readings import Reading, whole_millionths
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.evaluation import ArmName, DatasetUsed
from peft_registry.schemas.facets import HELD_OUT_ANSWERS, HELD_OUT_CLASSES, HELD_OUT_NUMBERS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.data.dataset import LoadedData, Task
from peft_registry.trainer.data.formats import RowReading
from peft_registry.trainer.data.prompting import AS_TYPED, Prompting
from peft_registry.trainer.data.tokenize import prompt_ids
from peft_registry.trainer.evaluation.answer_metrics import (
    exact_match,
    f1,
    is_marked,
    macro_f1_values,
    number_match,
    number_of,
)
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.score_cache import NOTHING, FinishedScores
from peft_registry.trainer.evaluation.suites.files import MAX_BYTES, MalformedSuite, SuiteFiles

MAX_NEW_TOKENS = 32
MAX_TOKENS_TO_A_NUMBER = 256  # as lm-evaluation-harness generates where a task names no limit
MAX_SOURCE = 1024 * 1024
MAX_OWN = 1e12  # of a user's metric: what an item table can hold
Metric = Callable[[str, Sequence[str]], float]


class CodeNotAllowed(InputRefused):
    what = "the metric {name} is code of yours and was not run"
    why = "code from a file is executed only when that is asked for"
    fix = "look at the file, then run the command again with --allow-code"

    name: str


class MetricUnusable(InputRefused):
    what = "the metric {name} cannot be used"
    why = "{reason}"
    fix = "write FILE.py:FUNCTION, a function of an answer and its references that returns a number"

    name: str
    reason: str


class MetricOfOtherRows(InputRefused):
    what = "{key} asks for {metric}, which these rows do not have"
    why = "it is {meaning}, and needs rows with {needed}"
    fix = "take it out of {key}, or say with data.train.format how the rows are read"

    key: str
    metric: str
    meaning: str
    needed: str


class AnswersNotRead(InputRefused):
    what = "{key} asks for {metric}, and only the loss of these rows is measured"
    why = "they are read as {row_format}; of conversations and plain text no prompt is told from one answer in words"
    fix = "write each row as `prompt` and `completion`, which are text, or take {metric} out of {key}"

    key: str
    metric: str
    row_format: str


class SamplesOfOtherRows(InputRefused):
    what = "evaluation.samples asks for answers, which these rows do not have"
    why = "a sample is a prompt with its answer in words, and plain text and conversations are not read so"
    fix = "take it out, or write each row as `prompt` and `completion`, which are text"


class PromptTooLong(InputRefused):
    what = "the prompt of row {row} has {tokens} tokens"
    why = "with its answer this model has room for {room}"
    fix = "shorten the row or leave it out, for every arm alike"

    row: str
    tokens: int
    room: int


class MetricFailed(RunFailed):
    what = "the metric {name} failed on row {row}"
    why = "{reason}"
    fix = "correct the metric; nothing was recorded"

    name: str
    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """A metric of the user's: its name, the function, and the digest of the file it came from."""

    name: str
    compute: Metric
    source: Digest


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A prompt and what counts as an answer.

    `gap` stands between the prompt and a choice, None where the prompt's end decides. `end` follows a choice: what the model learnt
    to write behind an answer, so that a choice which begins another one is told from it.
    """

    id: str
    prompt: str
    references: tuple[str, ...]
    category: str | None = None
    choices: tuple[str, ...] = ()  # what is scored; none: the answer is generated
    gap: str | None = None
    end: str = ""

    @property
    def correct(self) -> int:
        """The place of the right choice."""
        return self.choices.index(self.references[0])

    @property
    def requests(self) -> tuple[Request, ...]:
        """Each choice after the prompt."""
        gap = self.gap
        if gap is None:
            gap = "" if self.prompt[-1].isspace() else " "
        return tuple(Request(self.prompt, gap + choice + self.end) for choice in self.choices)


@dataclass(frozen=True, slots=True)
class Answers:
    """Rows that a model answers in words or by the likeliest choice, how it is asked, and how the answers are measured."""

    dataset: DatasetUsed
    rows: tuple[AnswerRow, ...]
    own: OwnMetric | None = None
    prompting: Prompting = field(default=AS_TYPED)
    as_numbers: bool = False  # an answer is the number that it comes to

    @property
    def by_choice(self) -> bool:
        return bool(self.rows[0].choices)

    @property
    def by_class(self) -> bool:
        """Whether all rows have the same choices, so that a choice is a class."""
        return self.by_choice and len({frozenset(row.choices) for row in self.rows}) == 1

    @property
    def max_new_tokens(self) -> int:
        return MAX_TOKENS_TO_A_NUMBER if self.as_numbers else MAX_NEW_TOKENS

    @property
    def labels(self) -> tuple[str, ...]:
        if self.by_choice:
            return ("accuracy", "macro_f1") if self.by_class else ("accuracy",)
        own = () if self.own is None else (self.own.name,)
        return ("number_match", *own) if self.as_numbers else ("exact_match", "f1", *own)


def read_answers(path: Path, *, name: str, own: OwnMetric | None = None) -> Answers:
    """The rows of a file.

    Raises:
        MalformedSuite: a row lacks its prompt or answers, an id occurs twice, or choices cannot be scored.
        OfferedFileRefused, FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
    """
    data = read_offered(path, max_bytes=MAX_BYTES)
    files = SuiteFiles(name, ((path.name, data),))
    rows = []
    numbers: set[bool] = set()
    for number, value in files.json_lines(path.name):
        references = _references_of(value.get("answers"))
        if (
            not isinstance(value.get("prompt"), str)
            or not value["prompt"]
            or not references
            or not all(isinstance(r, str) for r in references)
        ):
            raise MalformedSuite(name, path.name, number, "it needs `prompt` and `answers`, text each")
        choices = _choices_of(value.get("choices"), references)
        if choices is None:
            reason = "`choices` are two or more different texts, and `answers` is one of them"
            raise MalformedSuite(name, path.name, number, reason)
        extracts = value.get("extract")
        if extracts not in (None, "number") or (extracts and choices):
            raise MalformedSuite(name, path.name, number, "`extract` is `number`, or absent, as it is beside `choices`")
        if extracts and not all(number_of(reference) is not None for reference in references):
            raise MalformedSuite(name, path.name, number, "`extract` is `number`, and one of `answers` has none")
        numbers.add(bool(extracts))
        category = value.get("category")
        if any(isinstance(value.get(column), dict | list) for column in ("id", "category")):
            raise MalformedSuite(name, path.name, number, "its `id` or `category` is a list or an object")
        rows.append(
            AnswerRow(
                str(value.get("id", f"row-{number:06}")),
                value["prompt"],
                references,
                None if category is None else str(category),
                choices,
            )
        )
    ids = [row.id for row in rows]
    if not rows or len(set(ids)) < len(ids):
        raise MalformedSuite(name, path.name, 0, "it has no rows, or an id occurs twice")
    if len({bool(row.choices) for row in rows}) > 1:
        raise MalformedSuite(name, path.name, 0, "some rows have `choices` and some have none")
    if len(numbers) > 1:
        raise MalformedSuite(name, path.name, 0, "some rows have `extract` and some have none")
    if rows[0].choices and own is not None:
        raise MalformedSuite(
            name, path.name, 0, "a metric measures what a model writes, and rows with `choices` are scored"
        )
    dataset = DatasetUsed(
        name=name, version=Digest.of(data).short, licence="not declared", file=path.name, sha256=Digest.of(data),
        rows_total=len(rows), rows_used=len(rows), selection_ids_sha256=ids_digest(ids),
    )  # fmt: skip
    return Answers(dataset, tuple(rows), own, as_numbers=True in numbers)


_OF_CLASSES = ("accuracy", "macro_f1")
# what evaluation.quality and training.early_stopping may name and not all rows have: what it is, and which rows have it
MEASURED_OF_ROWS: Mapping[str, tuple[str, str]] = {
    "accuracy": ("the share of rows whose class is the likeliest", "two classes or more"),
    "macro_f1": ("the mean F1 of the classes", "two classes or more"),
    "number_match": ("the share of answers that come to the same number", "a number in each answer"),
}


def require_fitting(names: Sequence[str], data: LoadedData, *, key: str) -> None:
    """Raise unless the rows of a training have what its file wants to know of them: before training, not after.

    Args:
        names: of figures; the loss is had of any rows.
        data: of the training.
        key: of the training file that names them.

    Raises:
        AnswersNotRead: they are conversations or plain text.
        MetricOfOtherRows: they have no classes, or no number in each answer.
    """
    tasks = (*data.tasks, *data.validation_tasks)
    fitting = fitting_figures(
        has_answers=bool(tasks),
        classes=len(data.classes),
        are_numbers=all(number_of(task.answer) is not None for task in tasks),
    )
    for name in names:
        if name in fitting:
            continue
        if name not in _OF_CLASSES and not tasks:
            raise AnswersNotRead(key, name, data.row_format)
        raise MetricOfOtherRows(key, name, *MEASURED_OF_ROWS[name])


def fitting_figures(*, has_answers: bool, classes: int, are_numbers: bool) -> tuple[str, ...]:
    """What `evaluation.quality` may name of held-out rows.

    Args:
        has_answers: whether each is a prompt with its answer in words.
        classes: how many different labels the whole data have.
        are_numbers: whether every answer in words comes to a number.
    """
    figures = ["loss"]
    if classes > 1:
        figures += _OF_CLASSES
    if has_answers:
        figures += ["exact_match", "f1"]  # of any answer in words
        if are_numbers:
            figures.append("number_match")
    return tuple(figures)


def require_fitting_format(names: Sequence[str], reading: RowReading, *, key: str) -> None:
    """Raise where no rows of this format have what a file wants to know of them: known before a row is read as tokens.

    Args:
        names: of figures.
        reading: how the held-out rows are read.
        key: of the training file that names them.

    Raises:
        AnswersNotRead, MetricOfOtherRows: as `require_fitting`.
    """
    for name in names:
        if name in _OF_CLASSES and reading.row_format != "classification":
            raise MetricOfOtherRows(key, name, *MEASURED_OF_ROWS[name])
        if name not in ("loss", *_OF_CLASSES) and not reading.has_tasks:
            raise AnswersNotRead(key, name, reading.row_format)


def held_out_answers(
    tasks: Sequence[Task], classes: Sequence[str], used: DatasetUsed, tokenizer: Tokenizer, names: Sequence[str]
) -> tuple[Answers, ...]:
    """What held-out rows ask: which class, always where rows have one; and which words or number, where that is wanted.

    They are asked exactly as they were trained on: in the template, behind what the tokenizer puts in front of a text; what a class
    has to be followed by is the end that the model learnt to write.

    Args:
        tasks: the rows.
        classes: of the whole data.
        used: what the record says of these rows.
        tokenizer: of the base.
        names: of the figures that are wanted.
    """
    if not tasks:
        return ()
    front = tokenizer.decode(prompt_ids("", tokenizer), skip_special_tokens=False)
    rows = tuple(AnswerRow(f"row-{at:06}", front + task.prompt, (task.answer,)) for at, task in enumerate(tasks))
    asked = []
    if len(classes) > 1:
        end_of_text = tokenizer.eos_token_id
        last = "" if end_of_text is None else tokenizer.decode([end_of_text], skip_special_tokens=False)
        ends = [task.end + last for task in tasks]
        choices = tuple(classes)
        classified = (replace(row, choices=choices, gap="", end=end) for row, end in zip(rows, ends, strict=True))
        asked.append(Answers(_called(used, HELD_OUT_CLASSES), tuple(classified)))
    if not {"exact_match", "f1"}.isdisjoint(names):
        asked.append(Answers(_called(used, HELD_OUT_ANSWERS), rows))
    if "number_match" in names:
        asked.append(Answers(_called(used, HELD_OUT_NUMBERS), rows, as_numbers=True))
    return tuple(asked)


def _called(used: DatasetUsed, name: str) -> DatasetUsed:
    return used.revised(name=name)


def prompted(answers: Answers, prompting: Prompting, tokenizer: Tokenizer) -> Answers:
    """The same rows, each prompt put into a template.

    Raises:
        ChatTemplateRefused, TemplateOfSeveralColumns: as `Prompting.prompt`.
    """
    gap = "" if prompting.joins_directly else None
    rows = tuple(replace(row, prompt=prompting.prompt(tokenizer, row.prompt), gap=gap) for row in answers.rows)
    return replace(answers, rows=rows, prompting=prompting)


def _references_of(answers: Any) -> tuple[Any, ...]:  # any JSON value
    """One answer or a list of them; nothing for what is neither."""
    if isinstance(answers, str):
        return (answers,)
    return tuple(answers) if isinstance(answers, list) else ()


def _choices_of(value: object, references: tuple[str, ...]) -> tuple[str, ...] | None:
    """The choices of a row, none where it has none; None if they are not different texts with the one answer among them."""
    if value is None:
        return ()
    choices = tuple(value) if isinstance(value, list) else ()
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        return None
    is_usable = len(choices) >= 2 and len(set(choices)) == len(choices) and set(references) <= set(choices)
    return choices if is_usable and len(references) == 1 else None


@dataclass(frozen=True, slots=True)
class MetricSource:
    """Where a metric of the user's is: a function of a Python file."""

    file: Path
    function: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The metric `FILE.py:FUNCTION`.

        Raises:
            MetricUnusable: it is not written so.
        """
        file, _, function = text.rpartition(":")
        if not file or not function:
            raise MetricUnusable(text, "it is not written FILE.py:FUNCTION")
        return cls(Path(file), function)

    def __str__(self) -> str:
        return f"{self.file}:{self.function}"


def load_metric(source: MetricSource, *, allow_code: bool) -> OwnMetric:
    """The user's metric, whose file is run.

    Raises:
        CodeNotAllowed: it was not allowed to run code.
        MetricUnusable: there is no such function.
        FileMissing, OfferedFileRefused: the file cannot be read.
    """
    if not allow_code:
        raise CodeNotAllowed(str(source))
    file = str(source.file)
    code = read_offered(source.file, max_bytes=MAX_SOURCE)
    space: dict[str, Any] = {"__name__": "user_metric", "__file__": file}
    try:
        exec(compile(code, file, "exec"), space)  # noqa: S102  the user's own file, allowed by them for this run
    except (Exception, SystemExit) as error:
        raise MetricUnusable(str(source), f"{type(error).__name__}: {error}") from error
    metric = space.get(source.function)
    if not callable(metric):
        raise MetricUnusable(str(source), f"{file} has no function {source.function}")
    return OwnMetric(source.function, metric, Digest.of(code))


def measure_rows(
    model: CausalModel,
    tokenizer: Tokenizer,
    answers: Answers,
    *,
    arm: ArmName,
    finished: FinishedScores = NOTHING,
    observe: Observe = ignore,
) -> tuple[Reading, ...]:
    """One reading a row. The answer itself is not kept; scores of choices are, in `finished`.

    Raises:
        MetricFailed: the user's metric raised, or gave no number.
        PromptTooLong: a prompt and its answer do not fit into the model's context.
    """
    from peft_registry.trainer.evaluation.scoring import max_length_of

    require_room_for_answers(answers, tokenizer, max_length_of(model))
    if answers.by_choice:
        return _choose(model, tokenizer, answers, arm=arm, finished=finished, observe=observe)
    step = f"answer {answers.dataset.name} {arm}"
    observe(Started(step, total=len(answers.rows), unit="row"))
    rows = []
    for done, row in enumerate(answers.rows, 1):
        text = answer_of_row(model, tokenizer, answers, row)
        metrics = (number_match,) if answers.as_numbers else (exact_match, f1)
        values = [max(metric(text, reference) for reference in row.references) for metric in metrics]
        if answers.own is not None:
            values.append(own_value(answers.own, text, row))
        whole = whole_millionths(values)
        if whole is None:
            raise ScoreNotFinite(answers.dataset.name, row.id, arm)
        rows.append(
            Reading(
                dataset=answers.dataset.name, id=row.id, category=row.category, cluster=row.id, arm=arm,
                metric="measure", condition="", unit=row.id, labels=answers.labels, values=whole,
                tokens=(0,) * len(whole),
            )
        )  # fmt: skip
        observe(Advanced(step, done))
    observe(Finished(step))
    return tuple(rows)


def _choose(
    model: CausalModel,
    tokenizer: Tokenizer,
    answers: Answers,
    *,
    arm: ArmName,
    finished: FinishedScores,
    observe: Observe,
) -> tuple[Reading, ...]:
    """Of each row whether the likeliest choice is the right one, and what it adds to macro-F1 where the choices are classes."""
    chosen = _likeliest(
        model,
        tokenizer,
        answers,
        arm=arm,
        finished=finished,
        observe=observe,
        step=f"answer {answers.dataset.name} {arm}",
    )
    right = [float(choice.index == row.correct) for row, choice in zip(answers.rows, chosen, strict=True)]
    columns = [right]
    if answers.by_class:
        wanted = [row.references[0] for row in answers.rows]
        classes = [row.choices[choice.index] for row, choice in zip(answers.rows, chosen, strict=True)]
        columns.append(macro_f1_values(wanted, classes))
    found = []
    for row, choice, *values in zip(answers.rows, chosen, *columns, strict=True):
        whole = whole_millionths(values)
        assert whole is not None, "each is a fraction of counts"
        found.append(
            Reading(
                dataset=answers.dataset.name, id=row.id, category=row.category, cluster=row.id, arm=arm,
                metric="measure", condition="", unit=row.id, labels=answers.labels, values=whole,
                tokens=(choice.tokens,) * len(whole),
            )
        )  # fmt: skip
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The place of the likeliest choice of a row, of equal ones the first, and the tokens that were scored to find it."""

    index: int
    tokens: int


def _likeliest(
    model: CausalModel,
    tokenizer: Tokenizer,
    answers: Answers,
    *,
    arm: ArmName,
    finished: FinishedScores,
    observe: Observe,
    step: str,
) -> list[_Choice]:
    from peft_registry.trainer.evaluation.scoring import score

    requests = [request for row in answers.rows for request in row.requests]
    scores = iter(score(model, tokenizer, requests, finished=finished, observe=observe, step=step))
    found = []
    for row in answers.rows:
        of_row = [next(scores) for _ in row.choices]
        values = [score.log_likelihood for score in of_row]
        if whole_millionths(values) is None:
            raise ScoreNotFinite(answers.dataset.name, row.id, arm)
        found.append(_Choice(values.index(max(values)), sum(score.tokens for score in of_row)))
    return found


def require_room_for_answers(answers: Answers, tokenizer: Tokenizer, room: int | None) -> None:
    """Raise unless each prompt leaves room for its answer.

    Args:
        answers: the rows.
        tokenizer: of the model.
        room: tokens that it reads, virtual ones deducted; None where nobody knows.

    Raises:
        PromptTooLong: one does not.
    """
    if room is None:
        return
    for row in answers.rows:
        tokens = len(answers.prompting.ids(tokenizer, row.prompt))
        wanted = MAX_NEW_TOKENS  # to a number there may be fewer steps where the context ends
        if row.choices:
            wanted = max(
                len(tokenizer.encode(f" {choice}", add_special_tokens=False, verbose=False)) for choice in row.choices
            )
        if tokens + wanted > room:
            raise PromptTooLong(row.id, tokens, room)


def answer_of_row(model: CausalModel, tokenizer: Tokenizer, answers: Answers, row: AnswerRow) -> str:
    """What the model writes behind the prompt of a row."""
    from peft_registry.trainer.evaluation.scoring import max_length_of

    ids = answers.prompting.ids(tokenizer, row.prompt)
    if not answers.as_numbers:
        return generate(model, tokenizer, ids, max_new_tokens=MAX_NEW_TOKENS)
    room = max_length_of(model)
    left = MAX_TOKENS_TO_A_NUMBER if room is None else min(MAX_TOKENS_TO_A_NUMBER, room - len(ids))
    return generate_steps(model, tokenizer, ids, max_new_tokens=left)


def generate_steps(model: CausalModel, tokenizer: Tokenizer, ids: list[int], *, max_new_tokens: int) -> str:
    """The greedy continuation of a prompt's tokens, over as many lines as it takes to a number that is marked as the answer."""
    import torch

    def says_its_number(tokens: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:  # as transformers calls it
        written = tokenizer.decode(tokens[0, len(ids) :].tolist(), skip_special_tokens=True)
        return torch.tensor([is_marked(written)], device=tokens.device)

    device = next(model.parameters()).device
    given = torch.tensor([ids], device=device)
    end = tokenizer.eos_token_id
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), warnings.catch_warnings():
        # what peft says of every generation behind a learned prompt
        warnings.filterwarnings("ignore", message="Position ids are not supported", category=UserWarning)
        written = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=max_new_tokens,
            # a base may state otherwise for people who chat with it
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=end,
            pad_token_id=end,
            stopping_criteria=[says_its_number],
        )
    return str(tokenizer.decode(written[0, len(ids) :].tolist(), skip_special_tokens=True)).strip()


def generate(model: CausalModel, tokenizer: Tokenizer, ids: list[int], *, max_new_tokens: int) -> str:
    """The greedy continuation of a prompt's tokens up to its first line end."""
    import torch

    device = next(model.parameters()).device
    ends = {tokenizer.eos_token_id} - {None}
    written: list[int] = []
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        # the text again each time: right for every kind of adapter, and answers are short
        for _ in range(max_new_tokens):
            given = torch.tensor([ids + written], device=device)
            logits = model(input_ids=given, attention_mask=torch.ones_like(given), use_cache=False).logits
            token = int(logits[0, -1].argmax())
            if token in ends:
                break
            written.append(token)
            if "\n" in tokenizer.decode(written).lstrip("\n"):
                break
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip().split("\n", 1)[0]


def own_value(metric: OwnMetric, text: str, row: AnswerRow) -> float:
    """What the user's metric says of an answer.

    Raises:
        MetricFailed: it raised, left, or gave nothing that an item table can hold.
    """
    try:
        value = float(metric.compute(text, row.references))
    except (Exception, SystemExit) as error:
        raise MetricFailed(metric.name, row.id, f"{type(error).__name__}: {error}") from error
    if not abs(value) <= MAX_OWN:
        raise MetricFailed(metric.name, row.id, f"it gave no number between -{MAX_OWN:g} and {MAX_OWN:g}")
    return value
