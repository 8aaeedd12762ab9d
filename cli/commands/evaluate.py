"""evaluate: measuring what a change did, and re-checking what was measured."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.completion import offer_suites, offer_versions
from peft_registry.cli.many import BegunWork, Work, over_many
from peft_registry.cli.options import MAX_SEED, GuardDigestOption, GuardTextOption, HalfOption, SuiteHalf
from peft_registry.cli.outcome import OVER_MANY, SIGNS, Home, Note, Outcome, Part, Table, command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.errors import KnownError
    from peft_registry.schemas.evaluation import EvaluationRecord
    from peft_registry.trainer.use_cases.evaluate import Evaluated, EvaluationRequest


def add_to(app: typer.Typer) -> None:
    """Enter `registry evaluate`."""
    app.command()(evaluate)


@command((*SIGNS, *OVER_MANY))
def evaluate(
    home: Home,
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="REFERENCE",
            help="Versions (name:3, name@alias, sha256:…), or a folder to re-check; or a list, with --where or --list.",
            show_default=False,
            autocompletion=offer_versions,
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Suite to run; may be repeated. See `registry suites list`.",
            autocompletion=offer_suites,
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Task of lm-evaluation-harness to ask on the rows of --data; may be repeated. Extra `tasks`.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Rows of a task, or data of a suite that is neither shipped nor pinned: a file or a folder."),
    ] = None,
    fewshot: Annotated[
        int | None,
        typer.Option(
            min=0, max=1000, help="Solved examples before each question of a task; without it as many as the task has."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Longest answer to a task, in tokens; without it as the task has it."),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of that data; who accepted is recorded.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "--rows", help="Approximate number of rows, chosen by --seed, for a quick look."),
    ] = None,
    half: HalfOption = SuiteHalf.whole,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of the selection.")] = 0,
    placebo: Annotated[
        bool, typer.Option("--placebo/--no-placebo", help="Also evaluate a random adapter of the same size.")
    ] = True,
    answers: Annotated[
        Path | None, typer.Option(help="JSON Lines file of prompts and answers, for exact match and F1.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(metavar="FILE.py:FUNCTION", help="Your own metric for --answers.")
    ] = None,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Run the code that --metric names.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Ask --answers as they stand, without the template of the training.")
    ] = False,
    retain: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|HUB_ID|neutral",
            help="Also measure the loss on rows of an earlier task or on neutral text; may be repeated.",
        ),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="YAML file of thresholds. Exit 3 where one is broken, 5 where one is undecided.")
    ] = None,
    guard_text: GuardTextOption = None,
    guard_sha256: GuardDigestOption = None,
    reuse: Annotated[bool, typer.Option("--reuse/--no-reuse", help="Reuse scores that are already known.")] = True,
    recheck: Annotated[
        bool, typer.Option("--recheck", help="Score nothing; recompute the recorded figures from their items.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, help="With --recheck: number of items of each evaluation to score again.")
    ] = None,
) -> Outcome:
    """Measure bias, quality and retention. A base alone; an adapter against its base; a merged version against its parents."""
    if not references and not home.is_for_many:
        raise typer.BadParameter("name a version, or a list with --where or --list", param_hint="REFERENCE")
    if recheck and references and not home.is_for_many:
        return _recheck(home, references, sample, data)
    if sample is not None:
        raise typer.BadParameter("--sample works on recorded evaluations: add --recheck", param_hint="--sample")
    if answers is None and (metric is not None or allow_code):
        raise typer.BadParameter("--metric needs answers: give their file with --answers", param_hint="--metric")
    if answers is None and raw:
        raise typer.BadParameter("--raw is about answers: give their file with --answers", param_hint="--raw")
    if not task and (fewshot is not None or max_new_tokens is not None):
        unused = "--fewshot" if fewshot is not None else "--max-new-tokens"
        raise typer.BadParameter(f"{unused} is about a task: name it with --task", param_hint=unused)
    from peft_registry.cli.scope import scope_of_options
    from peft_registry.trainer.evaluation.quality import MetricSource
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references

    asked = EvaluationRequest(
        suites=tuple(suite or ()),
        tasks=tuple(task or ()),
        data=data,
        examples=fewshot,
        max_new_tokens=max_new_tokens,
        accepts_licence=accept_licence,
        scope=scope_of_options(half, guard_text, guard_sha256),
        limit=limit,
        seed=seed,
        with_placebo=placebo,
        reuse=reuse,
        answers=answers,
        metric=None if metric is None else MetricSource.parse(metric),
        allow_code=allow_code,
        raw=raw,
        retain=tuple(map(_text_to_retain, retain or ())),
        policy=policy,
    )
    if home.is_for_many or not references:
        return over_many(home, EvaluateWork(asked), {"REFERENCE": references, "--recheck": recheck})
    home.registry.unlock()
    return _evaluated(evaluate_references(home.registry, references, asked, observe=home.story))


def _text_to_retain(word: str) -> str | Path:
    """What was typed: a path, unless it is the text that ships or a data set of the Hub."""
    from peft_registry.trainer.hub.data_sets import is_hub_id

    return word if word == "neutral" or is_hub_id(word, Path.cwd()) else Path(word)


@dataclass(frozen=True)
class EvaluateWork(Work):
    """`registry evaluate` of registered versions; what is measured again, and is the same, is not recorded again."""

    verb = "evaluate"

    request: "EvaluationRequest"

    @property
    def signs(self) -> bool:
        """Always: each record is signed."""
        return True

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:
        """Evaluate each item on the bases that this process has loaded for those before it."""
        from peft_registry.registry.records.references import version_named
        from peft_registry.trainer.use_cases.evaluate import evaluator

        open_evaluator = closing.enter_context(evaluator(registry, self.request, append_again=False))

        def run_item(item: "ListItem") -> Outcome:
            return _evaluated(open_evaluator.evaluate(version_named(registry, item.parts[0])))

        return BegunWork(run_item, open_evaluator.data)


def _evaluated(done: "Sequence[Evaluated]") -> Outcome:
    """What came of the evaluations of one command."""
    values = [_as_json(evaluated) for evaluated in done]
    return Outcome(
        values[0] if len(values) == 1 else {"evaluations": values},
        _lines(done),
        f"registry evaluate {done[-1].version.label} --recheck",
        problem=_limit_not_held(done),
    )


def _lines(done: "Sequence[Evaluated]") -> Iterator[Part]:
    from peft_registry.registry.evaluation.lost_quality import lost_quality

    for evaluated in done:
        yield from _record_lines(evaluated.version.label, evaluated.record)
    # last, so that nobody stops at a conclusion about bias of a model that became worse at everything
    for evaluated in done:
        for lost in lost_quality(evaluated.record):
            yield f"lost     {evaluated.version.label}: {lost.line}"


def _limit_not_held(done: "Sequence[Evaluated]") -> "KnownError | None":
    """The error that says which limits that were set before are broken, or undecided; None where each is held."""
    from peft_registry.registry.evaluation.limits import require_held
    from peft_registry.schemas.errors import KnownError

    try:
        require_held([(evaluated.version.label, evaluated.record) for evaluated in done])
    except KnownError as error:
        return error
    return None


def _recheck(home: Home, references: list[str], sample: int | None, data: Path | None) -> Outcome:
    """Recompute recorded evaluations: of folders without any registry, of versions from the store."""
    rechecked: list[dict[str, Any]] = []
    for reference in references:
        if "/" in reference or Path(reference).is_dir():
            rechecked += _recheck_folder(Path(reference))
        else:
            rechecked += _recheck_version(home, reference, sample, data)
    lines = [
        f"recheck  {row['of']}: {row['figures']} figures follow from {row['items']} items  {row['note']}".rstrip()
        for row in rechecked
    ]
    return Outcome({"rechecked": rechecked}, lines, f"registry verify {references[0]}")


def _recheck_folder(folder: Path) -> list[dict[str, Any]]:
    from peft_registry.registry.verification.evaluations import recheck_folder
    from peft_registry.trainer.inputs.recorded_suites import compare_with_suites

    return [
        _rechecked(str(folder), evaluation.record, compare_with_suites(evaluation.record, evaluation.items))
        for evaluation in recheck_folder(folder)
    ]


def _recheck_version(home: Home, reference: str, sample: int | None, data: Path | None) -> list[dict[str, Any]]:
    from peft_registry.registry.records.evaluations import recheck_version
    from peft_registry.registry.records.references import version_named
    from peft_registry.trainer.inputs.recorded_suites import compare_with_suites

    version = version_named(home.registry, reference)
    evaluations = recheck_version(home.registry, version)
    notes = []
    for evaluation in evaluations:
        # of other weights the trainings are others too
        trained = None if evaluation.stale else version
        rows = compare_with_suites(evaluation.record, evaluation.items, registry=home.registry, version=trained)
        notes.append((*([str(evaluation.stale)] if evaluation.stale else []), *rows))
    if sample is not None:
        from peft_registry.cli.progress import Progress
        from peft_registry.trainer.use_cases.score_again import score_each_again

        progress = Progress(story_on_stdout=False)
        again = score_each_again(home.registry, version, evaluations, count=sample, data=data, observe=progress)
        notes = [tuple(dict.fromkeys((*note, scored))) for note, scored in zip(notes, again, strict=True)]
    return [
        _rechecked(version.label, evaluation.record, note) for evaluation, note in zip(evaluations, notes, strict=True)
    ]


def _rechecked(of: str, record: "EvaluationRecord", notes: "Sequence[str]") -> dict[str, Any]:
    figures = len(record.results) + len(record.comparisons) + len(record.losses)
    names = ", ".join(dict.fromkeys(result.dataset for result in record.results))
    return {"of": f"{of} ({names})", "figures": figures, "items": record.items.rows, "note": ". ".join(notes)}


def _as_json(evaluated: "Evaluated") -> dict[str, Any]:
    from peft_registry.registry.evaluation.lost_quality import lost_quality
    from peft_registry.schemas.codes import in_words

    figures = {
        "version": evaluated.version.label,
        "manifest_digest": str(evaluated.version.manifest_digest),
        "statement": str(evaluated.statement),
        "items_sha256": str(evaluated.record.items.sha256),
        "results": [_result_json(result.to_json()) for result in evaluated.record.results],
        "comparisons": [comparison.to_json() for comparison in evaluated.record.comparisons],
        "losses": [loss.to_json() for loss in evaluated.record.losses],
        "guards": evaluated.record.guards.to_json(),
        "further": evaluated.record.extra.get("further", {}),
        "truncated": evaluated.record.extra.get("truncated", {}),
        "limits": evaluated.record.extra.get("limits", {}),
        "lost": [lost.line for lost in lost_quality(evaluated.record)],
        "limitations": [str(limitation) for limitation in evaluated.record.limitations],
    }
    return {name: in_words(value) for name, value in figures.items()}


def _result_json(result: dict[str, Any]) -> dict[str, Any]:
    """A result with the ends of its interval beside its value; the resampled interval where items share clusters."""
    interval = result["ci_clustered"] or result["ci"] or {}
    return result | {"low": interval.get("low"), "high": interval.get("high")}


def _record_lines(label: str, record: "EvaluationRecord") -> Iterator[Part]:
    from peft_registry.registry.evaluation.limits import verdict_lines
    from peft_registry.registry.evaluation.sentences import compared_arms, result_rows

    yield f"arms     {label}: {compared_arms(record)}"
    for used in record.datasets:
        if used.half is not None:
            yield f"half     {used.name}: {used.selection}"
    yield Table([[f"  {data}", figure, text] for data, figure, text in result_rows(record)], prose=2)
    yield from (f"limit    {line}" for line in verdict_lines(record))
    truncated = record.protocol.truncated_items
    if truncated:
        yield Note(
            f"warning  {truncated} rows are longer than the model's context and lost their beginning; the record names them",
            indent=9,
        )
