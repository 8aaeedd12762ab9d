"""A task as one more source of items: rows of the user's, asked and measured by lm-evaluation-harness, kept as readings.

The harness writes the prompts, asks the model as it does in its own runs, one row at a time, and measures each answer; here it gets
rows, and is asked for one number a row and measure. What it would average is kept row by row, so that everybody can average it
again without it. A measure that is not a mean over rows is left out, and the output names it.

An item's id ends in a digest of everything that was asked: task, prompt with its examples, settings, right answer. Of another
version of a task, with other examples or settings, each item is another one, and nothing pairs the two by mistake.
"""

import copy
import io
import json
import logging
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.halves import NOT_SELECTED
from peft_registry.registry.evaluation.items import ScoreNotFinite
from peft_registry.registry.evaluation.limits import KnownFigure
from peft_registry.registry.evaluation.lost_quality import TASK_SHARES
from peft_registry.registry.evaluation.readings import Reading, whole_millionths
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.evaluation import TASK_PREFIX, ArmName, DatasetUsed
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.questions import Request, Score
from peft_registry.trainer.evaluation.score_cache import NOTHING, FinishedScores
from peft_registry.trainer.evaluation.suites.selection import LimitRefused
from peft_registry.trainer.evaluation.tasks.declared import DeclaredTask, TaskRefused, declared_task, require_askable
from peft_registry.trainer.evaluation.tasks.network import without_network
from peft_registry.trainer.evaluation.tasks.rows import SplitRows, TaskDataNeeded, read_split

MAX_NEW_TOKENS = 256  # of an answer, where neither the task nor the user says how many: the number of the harness
# the seeds of the harness's own runs: of the examples, and of what a task draws while it prepares its rows
EXAMPLES_SEED = 1234
_PREPARING_SEEDS = {"random": 0, "numpy": 1234}
_LENGTHS = (
    "max_gen_toks",
    "max_new_tokens",
    "max_tokens",
    "max_completion_tokens",
)  # names of one setting in the harness
_DIGITS = 12  # of the digest in an id
_SAID = 200  # characters of what code of a task complains of


class TaskNamedTwice(InputRefused):
    what = "the task {name} is named twice"
    why = "each of its rows would be in the evaluation twice"
    fix = "name it once"

    name: str


class TaskUnusable(InputRefused):
    what = "the task {name} cannot be set up with these rows"
    why = "lm-evaluation-harness says: {reason}"
    fix = "give rows with the columns that the task reads, and install what else it names"

    name: str
    reason: str


class TaskTooLong(InputRefused):
    what = "row {row} of the task {name} takes {tokens} tokens, its answer included"
    why = "the model has room for {room}, and cutting a prompt asks another question"
    fix = (
        "ask with fewer examples (--fewshot, in a training file fewshot) or shorter answers (--max-new-tokens, max_new_tokens), "
        "or leave the row out"
    )

    name: str
    row: str
    tokens: int
    room: int


class TaskFailed(RunFailed):
    what = "the task {name} could not measure the answer to row {row}"
    why = "{reason}"
    fix = "correct or leave out the row; nothing was recorded"

    name: str
    row: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """How a task is asked: solved examples before each question and the longest answer in tokens, None as the task has them; and
    how many of its rows, None for all, drawn by a seed."""

    examples: int | None = None
    max_new_tokens: int | None = None
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TaskRow:
    """One row: what is asked in one request or several, and what of it would show in a training."""

    id: str
    digest: Digest  # of all that was asked
    doc: Mapping[str, Any]  # as the task made it of the user's row
    requests: Sequence[Any]  # instances of lm_eval.api.instance
    question: str
    answer: str

    def tokens(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """How many tokens each request takes of a model, its longest answer included."""
        return tuple(_tokens(tokenizer, request) for request in self.requests)

    @property
    def written(self) -> int:
        """How many tokens of answers a model writes at most, one at a time; 0 where likelihoods are asked."""
        return sum(
            _longest_answer(request.args[1]) for request in self.requests if request.request_type == "generate_until"
        )


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkTask:
    """A task on rows that are here.

    Attributes:
        dataset: the rows that are asked.
        labels: the measures, each a mean over rows.
        facts: what the record says of the task besides; JSON values.
        rows: in the order of the file.
        figures: what is known of each measure.
        prompt: the form of its questions, as the task states it.
        made: the harness's own object, which measures.
    """

    dataset: DatasetUsed
    labels: tuple[str, ...]
    facts: Mapping[str, Any]
    rows: tuple[TaskRow, ...]
    figures: Mapping[str, KnownFigure]
    prompt: str
    made: Any  # lm_eval.api.task.ConfigurableTask, which has no types

    @property
    def name(self) -> str:
        """As the harness calls it."""
        return self.dataset.name.removeprefix(TASK_PREFIX)

    def only(self, ids: frozenset[str]) -> "BenchmarkTask":
        """Some of its rows."""
        rows = tuple(row for row in self.rows if row.id in ids)
        dataset = self.dataset.revised(rows_used=len(rows))
        return BenchmarkTask(dataset, self.labels, self.facts, rows, self.figures, self.prompt, self.made)

    def is_kept(self, row: TaskRow, knows: Callable[[Request], bool]) -> bool:
        """Whether a model would not be asked a row again, by what is known of it."""
        return all(knows(self._kept_as(row, label)) for label in self.labels)

    def require_room(self, tokenizer: Tokenizer, room: int) -> None:
        """Raise unless each row and its answer fit into so many tokens.

        Raises:
            TaskTooLong: a row does not.
        """
        for row in self.rows:
            tokens = max(row.tokens(tokenizer))
            if tokens > room:
                raise TaskTooLong(self.name, row.id, tokens, room)

    def measure(
        self,
        model: CausalModel,
        tokenizer: Tokenizer,
        *,
        arm: ArmName,
        max_length: int | None = None,
        finished: FinishedScores = NOTHING,
        observe: Observe = ignore,
    ) -> tuple[Reading, ...]:
        """One reading a row. The answer itself is not kept; what was measured of it is, in `finished`.

        Args:
            model: asked as it is: adapters that are enabled count.
            tokenizer: of the model.
            arm: whose answers they are.
            max_length: positions that a prompt and its answer may take; None where the model does not say.
            finished: measures of an earlier run under the same composition.
            observe: told about progress.

        Raises:
            TaskFailed: the task has no number for an answer.
            ScoreNotFinite: a measure is NaN or infinite.
        """
        ask = _asking(model, tokenizer, max_length)
        step = f"ask {self.dataset.name} {arm}"
        observe(Started(step, total=len(self.rows), unit="row"))
        readings = []
        for done, row in enumerate(self.rows, 1):
            values = self._kept(row, finished)
            if values is None:
                values = self._measured(row, _answers(ask, row))
                finished.add({self._kept_as(row, label): Score(value, 0) for label, value in values.items()})
            whole = whole_millionths([values[label] for label in self.labels])
            if whole is None:
                raise ScoreNotFinite(self.dataset.name, row.id, arm)
            readings.append(
                Reading(
                    dataset=self.dataset.name, id=row.id, category=None, cluster=row.id, arm=arm,
                    metric="measure", condition="", unit=row.id, labels=self.labels, values=whole,
                    tokens=(0,) * len(whole),
                )
            )  # fmt: skip
            observe(Advanced(step, done))
        observe(Finished(step))
        return tuple(readings)

    def _kept(self, row: TaskRow, finished: FinishedScores) -> dict[str, float] | None:
        known = {label: finished.get(self._kept_as(row, label)) for label in self.labels}
        values = {label: score.log_likelihood for label, score in known.items() if score is not None}
        return values if len(values) == len(self.labels) else None

    def _kept_as(self, row: TaskRow, label: str) -> Request:
        """Under what a measure is kept beside scores: everything that decides it but the model."""
        return Request(f"{self.facts['harness']} {row.digest}", label)

    def _measured(self, row: TaskRow, answers: Sequence[Any]) -> dict[str, float]:
        """What the task measures of the answers to a row, by label.

        Raises:
            TaskFailed: it has no number for one of its measures.
        """
        try:
            with without_network() as asked_for:
                found = _measures(self.made, row.requests, row.doc, answers)
            values = {label: float(found[label]) for label in self.labels}
        except Exception as error:  # code of a task
            raise TaskFailed(self.name, row.id, _cut(error)) from error
        if asked_for:
            raise TaskFailed(self.name, row.id, f"it asks {asked_for[0]} for something, and nothing is fetched")
        return values


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The rows that are asked, how many solved examples stand before each, and the rows that these are taken from, if from any."""

    declared: DeclaredTask
    asked: SplitRows
    count: int
    examples: SplitRows | None


def rows_of_task(name: str, data: Path | None, settings: TaskSettings) -> TaskRows:
    """What a task says of itself and the user's rows for it, without the harness: what is refused here is refused in a moment.

    Raises:
        ExtraMissing, UnknownTask, TaskIsGroup, TaskRefused: it cannot be asked here.
        TaskDataNeeded, TaskDataMissing, InputRefused: its rows are not here, or no rows.
    """
    declared = declared_task(name)
    require_askable(declared)
    if settings.limit is not None and settings.limit < 1:
        raise LimitRefused(settings.limit)
    split = declared.asked_split
    assert split is not None, "a task without rows is refused"
    if data is None:
        raise TaskDataNeeded(name, split)
    asked = read_split(data, name, split, is_for_examples=False)
    count = declared.examples if settings.examples is None else settings.examples
    examples_split = declared.examples_split if count else None
    examples = None
    if examples_split is not None:
        examples = asked if examples_split == split else read_split(data, name, examples_split, is_for_examples=True)
    return TaskRows(declared, asked, count, examples)


def load_task(name: str, data: Path | None, settings: TaskSettings) -> BenchmarkTask:
    """A task of the installed harness on the user's rows; nothing is asked yet.

    Raises:
        KnownError: as `rows_of_task`.
        TaskUnusable: the harness does not take the rows.
        TaskRefused: it asks another machine for something, or has no measure by row.
    """
    given = rows_of_task(name, data, settings)
    with _quiet(), without_network() as asked_for:
        try:
            made = _made(given, settings.max_new_tokens)
            task = _task(made, given, settings)
        except (TaskRefused, InputRefused):
            raise
        except Exception as error:  # code of a task, on rows of the user's
            if not asked_for:
                raise TaskUnusable(name, _cut(error)) from error
        if asked_for:
            raise TaskRefused(name, f"asks {asked_for[0]} for something, and nothing is fetched while it is asked")
    return task


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars and remarks of the harness, and with its seeds; those of this process are as before afterwards."""
    import datasets
    import numpy as np

    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # it reports to another machine that a file on this one is read
    logger = logging.getLogger("lm_eval")
    level = logger.level
    states = random.getstate(), np.random.get_state()
    logger.setLevel(logging.CRITICAL)
    random.seed(_PREPARING_SEEDS["random"])
    np.random.seed(_PREPARING_SEEDS["numpy"])
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
        random.setstate(states[0])
        np.random.set_state(states[1])


def _made(given: TaskRows, max_new_tokens: int | None) -> Any:
    """The task as the harness makes it of its file, and of files with the user's rows in the place of its data set."""
    import datasets
    from lm_eval.api.registry import METRIC_REGISTRY
    from lm_eval.tasks import TaskManager

    declared = given.declared
    if declared.config.get("process_results") is None:
        for metric in declared.config.get("metric_list") or ():
            named = str(metric.get("metric"))
            if not named.startswith("!function") and named not in METRIC_REGISTRY:
                raise TaskRefused(declared.name, f"is measured by {named}, whose code is downloaded")
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for part in (given.asked, *([] if given.examples is None else [given.examples])):
            files[part.split] = str(Path(folder) / f"{part.split}.parquet")
            datasets.Dataset.from_list(list(part.rows)).to_parquet(files[part.split])
        # the way that the harness's guide shows for data on this machine
        local: dict[str, Any] = {
            "include": str(declared.file),
            "dataset_path": "parquet",
            "dataset_name": None,
            "dataset_kwargs": {
                "data_files": files,
                "cache_dir": str(Path(folder) / "cache"),
                "keep_in_memory": True,  # its files are gone when it is asked
            },
            "num_fewshot": given.count,
        }
        if not given.count:
            local |= _without_examples(declared)
        if max_new_tokens is not None:
            own = {
                key: value
                for key, value in (declared.config.get("generation_kwargs") or {}).items()
                if key not in _LENGTHS
            }
            local["generation_kwargs"] = own | {_LENGTHS[0]: max_new_tokens}
        (Path(folder) / "task.yaml").write_text(yaml.safe_dump(local), encoding="utf-8")
        made = TaskManager(include_defaults=False, include_path=[folder]).load(declared.name)["tasks"][declared.name]
    made.set_fewshot_seed(EXAMPLES_SEED)
    return made


def _without_examples(declared: DeclaredTask) -> dict[str, Any]:
    """What keeps the harness from looking for splits that nothing is taken from."""
    own = declared.config.get("fewshot_config")
    unused = {"fewshot_split": None, "fewshot_config": None if isinstance(own, Mapping) and own.get("split") else own}
    unused |= {
        key: None for key in ("training_split", "validation_split") if declared.config.get(key) != declared.asked_split
    }
    return {key: value for key, value in unused.items() if key in declared.config and value is None}


def _task(made: Any, given: TaskRows, settings: TaskSettings) -> BenchmarkTask:
    declared = given.declared
    total = len(made.eval_docs)
    chosen = _chosen(total, settings)
    made.build_all_requests(samples=None if chosen is None else list(chosen))
    places = range(total) if chosen is None else chosen
    of_row: dict[int, list[Any]] = {}
    for request in made.instances:
        of_row.setdefault(request.doc_id, []).append(request)
    rows = tuple(_row(declared, made, places[at], requests) for at, requests in sorted(of_row.items()))
    labels, left_out = _labels(declared, made, rows[0])
    name = f"{TASK_PREFIX}{declared.name}"
    ids = [row.id for row in rows]
    dataset = DatasetUsed(
        name=name, version=f"task version {declared.version}", licence="not declared", file=given.asked.file,
        sha256=given.asked.sha256, rows_total=total, rows_used=len(rows), selection_ids_sha256=ids_digest(ids),
    )  # fmt: skip
    if chosen is not None:
        dataset = dataset.revised(
            selection=f"{len(rows)} of {total} rows, shuffled with seed {settings.seed}",
            excluded={NOT_SELECTED.code: total - len(rows)},
        )
    facts = {
        "task": declared.name,
        "version": declared.version,
        "definition_sha256": str(declared.digest),
        "harness": f"lm_eval {declared.harness}",
        "output": made.OUTPUT_TYPE,
        "examples": _examples_json(given),
        "generation": _generation(rows[0].requests[0]),
        "requests_sha256": str(canonical_digest([str(row.digest) for row in rows])),
        **({} if chosen is None else {"rows_seed": settings.seed}),
        "measures": {label: "higher" if higher else "lower" for label, higher in labels.items()},
        **({"left_out": list(left_out)} if left_out else {}),
    }
    figures = {label: _known(label, is_higher_better=higher) for label, higher in labels.items()}
    prompt = str(declared.config.get("doc_to_text", ""))
    return BenchmarkTask(dataset, tuple(labels), facts, rows, figures, prompt, made)


def _cut(error: Exception) -> str:
    """What code of a task complains of, in the length of a sentence."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _SAID else f"{text[:_SAID]}…"


def _examples_json(given: TaskRows) -> dict[str, Any]:
    """Of the solved examples: how many, drawn by which seed from which rows; the file is left out where the task states them."""
    stated: dict[str, Any] = {"count": given.count}
    if given.count:
        stated["seed"] = EXAMPLES_SEED
    if given.examples is not None:
        rows = given.examples
        stated |= {"split": rows.split, "file": rows.file, "sha256": str(rows.sha256)}
    return stated


def _chosen(total: int, settings: TaskSettings) -> tuple[int, ...] | None:
    """The places of the rows that are asked, in order; None for all."""
    if settings.limit is None or settings.limit >= total:
        return None
    places = list(range(total))
    random.Random(settings.seed).shuffle(places)  # noqa: S311  a sample, not a secret
    return tuple(sorted(places[: settings.limit]))


def _row(declared: DeclaredTask, made: Any, place: int, requests: list[Any]) -> TaskRow:
    requests.sort(key=lambda request: request.idx)
    doc = requests[0].doc
    target = made.doc_to_target(doc)
    asked = [[request.args[0], _generation(request) or request.args[1]] for request in requests]
    stated = [str(declared.digest), asked, target]
    digest = Digest.of(json.dumps(stated, sort_keys=True, default=str).encode())
    id = f"row-{place:06}-{digest.hex[:_DIGITS]}"
    return TaskRow(id, digest, doc, requests, _question(made, doc, requests), _right(made, doc, target))


def _question(made: Any, doc: Mapping[str, Any], requests: Sequence[Any]) -> str:
    """What of a row is its own: the column that the task says would show in a training, else its question."""
    column = made.config.doc_to_decontamination_query
    question = doc[column] if isinstance(column, str) and column in doc else made.doc_to_text(doc)
    return question if isinstance(question, str) else str(requests[0].args[0])


def _right(made: Any, doc: Mapping[str, Any], target: Any) -> str:
    """The right answer in words, for looking whether a training had it; the first of several."""
    first = target[0] if isinstance(target, list) and target else target
    if isinstance(first, int) and made.config.doc_to_choice is not None and not made.multiple_input:
        choices = made.doc_to_choice(doc)
        return str(choices[first]) if 0 <= first < len(choices) else ""
    return str(first)


def _labels(declared: DeclaredTask, made: Any, row: TaskRow) -> tuple[dict[str, bool], tuple[str, ...]]:
    """The measures of a task that are means over rows, with whether more is better; and those that are not.

    Raises:
        TaskRefused: none of them is.
    """
    from lm_eval.api.metrics import mean

    of_words = made.OUTPUT_TYPE == "generate_until"
    # measured once before anything is asked: what a metric needs to fetch, it asks for now
    found = _measures(made, row.requests, row.doc, [""] if of_words else [(-1.0, False)] * len(row.requests))
    averaged = {metric for metric, how in made.aggregation().items() if how is mean}
    better = made.higher_is_better()
    labels = {}
    for label, value in found.items():
        metric = label.partition(".")[0]
        if metric in averaged and not isinstance(value, str | bytes | tuple | list | Mapping):
            labels[label] = bool(better.get(metric, True))
    if not labels:
        raise TaskRefused(
            declared.name, f"measures {', '.join(made.aggregation())}, and none of it is a mean over rows"
        )
    return labels, tuple(
        metric for metric in made.aggregation() if metric not in {label.partition(".")[0] for label in labels}
    )


def _known(label: str, *, is_higher_better: bool) -> KnownFigure:
    is_share = label.partition(".")[0] in TASK_SHARES
    return KnownFigure(better="higher" if is_higher_better else "lower", ends=(0.0, 1.0) if is_share else (None, None))


def _measures(made: Any, requests: Sequence[Any], doc: Mapping[str, Any], answers: Sequence[Any]) -> dict[str, Any]:
    """What the task measures of the answers to a row: `metric`, and `metric.filter` where it has several filters."""
    for request, answer in zip(requests, answers, strict=True):
        request.resps = [answer]
        request.filtered_resps = {}
    made._instances = list(requests)  # what `apply_filters` reads: one row is filtered like all of them
    made.apply_filters()
    filters = list(requests[0].filtered_resps)
    found = {}
    for name in filters:
        measures = made.process_results(doc, [request.filtered_resps[name] for request in requests])
        for metric, value in measures.items():
            found[metric if len(filters) == 1 else f"{metric}.{name}"] = value
    return found


def _generation(request: Any) -> dict[str, Any] | None:
    """The settings of an answer in words; None where likelihoods are asked."""
    if request.request_type != "generate_until":
        return None
    settings = {key: value for key, value in request.args[1].items() if key not in _LENGTHS}
    return settings | {_LENGTHS[0]: _longest_answer(request.args[1])}


def _longest_answer(settings: Mapping[str, Any]) -> int:
    return next((int(settings[name]) for name in _LENGTHS if settings.get(name) is not None), MAX_NEW_TOKENS)


def _tokens(tokenizer: Tokenizer, request: Any) -> int:
    """How many tokens a request takes of a model, its answer included."""
    if request.request_type == "generate_until":
        prompt, settings = request.args
        return len(tokenizer.encode(prompt, add_special_tokens=True, verbose=False)) + _longest_answer(settings)
    # the last token is not fed to the model
    return len(tokenizer.encode("".join(request.args), add_special_tokens=True, verbose=False)) - 1


# --- asking a model ---


def _asking(model: CausalModel, tokenizer: Tokenizer, max_length: int | None) -> Any:
    """The harness's way to a model of transformers, one row at a time: what stands beside a row in a batch moves its answer."""
    from lm_eval.models.huggingface import HFLM

    with _quiet():
        # it gives a tokenizer without one a token to pad with
        return HFLM(pretrained=model, tokenizer=copy.deepcopy(tokenizer), batch_size=1, max_length=max_length)


def _answers(ask: Any, row: TaskRow) -> list[Any]:
    """A text, or a likelihood and whether it is the greatest, for each request of a row."""
    import torch

    # a request's settings are changed where they are read
    requests = [copy.deepcopy(request) for request in row.requests]
    with torch.inference_mode(), torch.autocast(ask.device.type, enabled=False), warnings.catch_warnings():
        # what peft says of every generation behind a learned prompt
        warnings.filterwarnings("ignore", message="Position ids are not supported", category=UserWarning)
        if requests[0].request_type == "generate_until":
            return list(ask.generate_until(requests, disable_tqdm=True))
        return [
            (float(value), bool(is_greatest)) for value, is_greatest in ask.loglikelihood(requests, disable_tqdm=True)
        ]
