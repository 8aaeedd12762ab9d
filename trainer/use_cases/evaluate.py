"""`registry evaluate`, from references to signed statements: base and suites loaded once, one record an artifact.

    reference → version → checked base → verified copy → arms → record and item table → statement about the manifest digest

A base alone is one arm. An adapter is paired with its base, on the same loaded weights. A version that came from a merge is
paired with its base and with each parent. Scores are kept under HOME/scores by composition and protocol: an interrupted
evaluation goes on where it was, and a base is scored once for everything that was made from it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.evaluation.items import TableRow
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import tries_of_ancestors
from peft_registry.registry.records.evaluations import NoEvaluation, stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.supersede import supersede_with_evaluations
from peft_registry.schemas.errors import InputRefused, listed
from peft_registry.schemas.evaluation import REUSED_SCORES, TASK_PREFIX, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.trained_templates import Template, require_for_questions
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.scope import EVERYTHING, EvaluationScope
from peft_registry.trainer.inputs.ancestry import texts_of_ancestors
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, load_suites, report_comparisons, report_power
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.use_cases.evaluation_arms import ArmLoader, LoadedBase

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.arms import Questions
    from peft_registry.trainer.evaluation.neutral import GuardText
    from peft_registry.trainer.evaluation.quality import Answers, MetricSource
    from peft_registry.trainer.evaluation.scoring_plan import EvaluationConditions
    from peft_registry.trainer.evaluation.suites import LoadedSuite
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask
    from peft_registry.trainer.evaluation.thresholds import ThresholdsFile


_ANY_TIME = "2000-01-01T00:00:00Z"


class NothingToEvaluate(InputRefused):
    what = "no question was asked"
    why = "neither a suite, nor a task, nor answers, nor text to retain was named"
    fix = "name a suite: registry evaluate REF --suite house"


class PartOfSuites(InputRefused):
    what = "{option} leaves nothing out here"
    why = "it takes a part of {taken}, and {asked!l} would be asked of every row"
    fix = "leave it out, or name a suite with --suite"

    option: str
    taken: str
    asked: Sequence[str]


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What a user asks: suites and tasks with their data, texts for loss, answers in words, a selection, a control."""

    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()  # of lm-evaluation-harness
    data: Path | None = None  # of suites that are neither shipped nor pinned, and of tasks
    examples: int | None = None  # solved ones before each question of a task; None: as many as the task has
    max_new_tokens: int | None = None  # of an answer to a task; None: as many as the task has
    accepts_licence: bool = False
    scope: EvaluationScope = EVERYTHING
    limit: int | None = None
    seed: int = 0
    with_placebo: bool = True
    reuse: bool = True
    answers: Path | None = None
    metric: "MetricSource | None" = None
    allow_code: bool = False
    raw: bool = False  # ask `answers` as they stand, without the template that a version was trained with
    retain: tuple[str | Path, ...] = ()  # files; data sets of the Hub and `neutral` by their names
    policy: Path | None = None

    @property
    def whole(self) -> tuple[str, ...]:
        """What is asked of all its rows, whatever part of each suite is: as its figures are called."""
        answers = () if self.answers is None else (_answers_name(self.answers),)
        return (*(f"{TASK_PREFIX}{name}" for name in self.tasks), *answers, *map(str, self.retain))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One record, appended to what it is about."""

    version: Version
    record: EvaluationRecord = field(repr=False)
    items: bytes = field(repr=False)
    statement: Digest


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Evaluates any number of versions.

    Attributes:
        evaluate: what came of one, appended to it.
        data: the digests of the data of its suites and tasks, whether named, pinned or shipped.
    """

    evaluate: Callable[[Version], tuple[Evaluated, ...]]
    data: tuple[Digest, ...]


@dataclass(eq=False)
class _Session:
    """What is shared by all references of one command."""

    registry: Registry
    request: EvaluationRequest
    setup: EvaluationSetup
    loader: ArmLoader
    observe: Observe
    thresholds: "ThresholdsFile"
    guard: "GuardText"
    templates: dict[Digest, Template] = field(default_factory=dict)  # of the versions whose answers are asked for
    tasks: "tuple[BenchmarkTask, ...]" = ()
    answers: "tuple[Answers, ...]" = ()  # as typed, before any template
    questions: "dict[LoadedBase, Questions]" = field(
        default_factory=dict
    )  # texts are cut as the tokenizer of a base counts


def evaluate_references(
    registry: Registry, references: Sequence[str], request: EvaluationRequest, *, observe: Observe = ignore
) -> tuple[Evaluated, ...]:
    """Evaluate each reference and append what was found; the order is that of the references.

    Raises:
        NotFound, InputRefused: a reference, a suite or its data, a template or a threshold is refused before anything is loaded.
        IntegrityBroken: a base or an artifact is not what was registered.
        RunFailed: a model gives no finite score, or memory ran out; what was scored is kept for the next try.
    """
    registry.require_writable()
    versions = [version_named(registry, reference) for reference in references]
    with evaluator(registry, request, versions, observe=observe) as open_evaluator:
        return tuple(evaluated for version in versions for evaluated in open_evaluator.evaluate(version))


@contextmanager
def evaluator(
    registry: Registry,
    request: EvaluationRequest,
    versions: Sequence[Version] | None = None,
    *,
    append_again: bool = True,
    observe: Observe = ignore,
) -> Iterator[Evaluator]:
    """Evaluates any number of versions, each when it is asked to: what they share is loaded and scored once.

    Args:
        registry: open and writable.
        request: what is asked of each.
        versions: those that will come, which are then refused before anything is loaded; None where nobody knows yet.
        append_again: append what was measured also where the version has the same record already, but for its time; else that one
            is given, so that an item which is run twice is recorded once.
        observe: hears of everything.

    Raises:
        NotFound, InputRefused: as `evaluate_references`.
    """
    signer = registry.trainer_key  # asked for now, not after an hour of scoring
    if not (request.suites or request.tasks or request.retain) and request.answers is None:
        raise NothingToEvaluate
    _check_once(request)
    _check_parts(request, observe)
    _check_retained(request)
    tasks = _tasks(request)
    answers = _answers(request)
    thresholds = _thresholds(request, tasks)
    guard = request.scope.guard()
    templates = _templates(registry, versions or (), request)
    if request.accepts_licence:
        _accept(registry, request, signer.public.key_id)
    loaded = load_suites(
        registry,
        request.suites,
        data=_data_of_suites(request),
        half=request.scope.half,
        limit=request.limit,
        seed=request.seed,
    )
    # a base alone is compared with nothing
    if versions is None or any(version.kind != "base" for version in versions):
        report_power(loaded, observe)
    with _scratch(registry) as scratch:
        setup = EvaluationSetup(registry, signer.public.key_id, "evaluator", request.reuse)
        loader = ArmLoader(registry, setup, scratch, request.with_placebo, observe)
        session = _Session(registry, request, setup, loader, observe, thresholds, guard, templates, tasks, answers)

        def evaluate(version: Version) -> tuple[Evaluated, ...]:
            if version.manifest_digest not in session.templates:
                session.templates |= _templates(registry, [version], request)
            done = []
            for record, items in _evaluate(session, version, loaded):
                known = None if append_again else _recorded_before(registry, version, record)
                done.append(known or _appended(registry, version, record, items, signer))
            _close_the_gap(registry, version, observe)
            return tuple(done)

        data = [suite.dataset.sha256 for suite in loaded] + [task.dataset.sha256 for task in tasks]
        yield Evaluator(evaluate, tuple(data))


def _appended(
    registry: Registry, version: Version, record: EvaluationRecord, items: bytes, signer: Signer
) -> Evaluated:
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=signer,
        evidence=(items,),
    )
    return Evaluated(version, record, items, signed.digest)


def _recorded_before(registry: Registry, version: Version, record: EvaluationRecord) -> Evaluated | None:
    """The evaluation of a version that says the same, but for when and with which kept scores; None where none does."""
    try:
        stored = stored_evaluations(registry, version)
    except NoEvaluation:
        return None
    for evaluation in reversed(stored):
        if at_any_time(evaluation.record) == at_any_time(record):
            return Evaluated(version, evaluation.record, evaluation.items, evaluation.statement)
    return None


def at_any_time(record: EvaluationRecord) -> EvaluationRecord:
    """The record without what differs where the same is measured again."""
    extra = {name: value for name, value in record.extra.items() if name != REUSED_SCORES}
    return record.revised(created_at=_ANY_TIME, protocol=record.protocol.revised(preregistered_at=None), extra=extra)


def _close_the_gap(registry: Registry, version: Version, observe: Observe) -> None:
    """A record that supersedes the version's has the figures that were measured now; a base has no record."""
    current = supersede_with_evaluations(registry, version)
    if current is not None:
        observe(Said("record", completeness(current.record).sentence))


def evaluate_references_again(
    registry: Registry,
    version: Version,
    request: EvaluationRequest,
    *,
    recorded: Mapping[str, Digest],
    tasks: "Sequence[BenchmarkTask]" = (),
    ids: set[tuple[str, str]],
    compositions: frozenset[Digest],
    scratch: Path,
    observe: Observe = ignore,
) -> tuple[TableRow, ...]:
    """The rows of some items of a version's suites and tasks, scored anew and recorded nowhere: for a re-check of scores.

    `recorded` are the digests of the suites' data; `ids` are (data set, item id); only arms of these `compositions` are scored.
    """
    from peft_registry.registry.evaluation.items import read_items
    from peft_registry.trainer.evaluation.evaluate import evaluate_pair

    suites = []
    for suite in load_suites(registry, request.suites, recorded=recorded):
        names = frozenset(name for dataset, name in ids if dataset == suite.dataset.name)
        if names:
            suites.append(suite.only(names, suite.dataset.revised(rows_used=len(names))))
    some = tuple(task.only(frozenset(name for of, name in ids if of == task.dataset.name)) for task in tasks)
    request = replace(request, with_placebo=False, reuse=False)
    setup = EvaluationSetup(registry, key_id="", role="evaluator", reuse=False)  # nothing is signed
    thresholds = _thresholds(replace(request, policy=None))
    loader = ArmLoader(registry, setup, scratch, request.with_placebo, observe)
    asked = tuple(task for task in some if task.rows)
    session = _Session(registry, request, setup, loader, observe, thresholds, request.scope.guard(), tasks=asked)
    manifest = stored_manifest(registry, version.manifest_digest)
    base = session.loader.base_of(version, manifest)
    questions = _questions(session, tuple(suites), base)
    rows: list[TableRow] = []
    for arms in session.loader.arms_of(version, manifest, base):
        with arms as given:
            scored = {arm.canonical_digest() for arm in (given.base, given.after) if arm is not None}
            if scored <= compositions:
                outcome = evaluate_pair(given, questions, _conditions(session, base), observe=observe)
                rows += read_items(outcome.items)
    return tuple(rows)


def _check_once(request: EvaluationRequest) -> None:
    from peft_registry.trainer.evaluation.suites import require_once
    from peft_registry.trainer.evaluation.tasks.asked import TaskNamedTwice

    require_once(request.suites)
    twice = next((name for at, name in enumerate(request.tasks) if name in request.tasks[:at]), None)
    if twice is not None:
        raise TaskNamedTwice(twice)


def _check_parts(request: EvaluationRequest, observe: Observe) -> None:
    """Refuse an option that would leave nothing out, and say of what the others leave nothing out.

    Raises:
        PartOfSuites: a half, the screen or some rows are asked for, of what has none.
    """
    half = request.scope.half
    if half is not None and not request.suites:
        raise PartOfSuites(f"--half {half}", "suites", request.whole)
    if request.limit is not None and not (request.suites or request.tasks):
        raise PartOfSuites(f"--limit {request.limit}", "suites and tasks", request.whole)
    if half is not None and request.whole:
        observe(Said("half", f"{half}, of the suites alone: {listed(request.whole)} in full"))


def _tasks(request: EvaluationRequest) -> "tuple[BenchmarkTask, ...]":
    """The tasks on the user's rows, set up before a model is loaded."""
    from peft_registry.trainer.evaluation.tasks.asked import TaskSettings, load_task

    settings = TaskSettings(request.examples, request.max_new_tokens, request.limit, request.seed)
    return tuple(load_task(name, request.data, settings) for name in request.tasks)


def _answers(request: EvaluationRequest) -> "tuple[Answers, ...]":
    """The rows that are answered in words, and the metric of the user's that measures them, read before a model is loaded."""
    from peft_registry.trainer.evaluation.quality import load_metric, read_answers

    if request.answers is None:
        return ()
    own = None if request.metric is None else load_metric(request.metric, allow_code=request.allow_code)
    return (read_answers(request.answers, name=_answers_name(request.answers), own=own),)


def _data_of_suites(request: EvaluationRequest) -> Path | None:
    """The data that is given for suites: beside tasks it may be for them alone."""
    from peft_registry.trainer.evaluation.suites import suite_named

    if request.tasks and all(suite_named(name).definition.is_shipped for name in request.suites):
        return None
    return request.data


def _check_retained(request: EvaluationRequest) -> None:
    from peft_registry.trainer.evaluation.retention import check_retained, sources_of
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub

    check_retained(sources_of(request.retain), locate=locate_locally_or_on_hub(Path.cwd()))


def _thresholds(request: EvaluationRequest, tasks: "Sequence[BenchmarkTask]" = ()) -> "ThresholdsFile":
    """What the policy sets, each key held against what will be measured."""
    from peft_registry.trainer.evaluation.retention import PREFIX, sources_of
    from peft_registry.trainer.evaluation.thresholds import ExpectedFigures, read_thresholds

    losses = [f"{PREFIX}{source.label}" for source in sources_of(request.retain) if not source.ships]
    answers = None if request.answers is None else _answers_name(request.answers)
    figures = {task.dataset.name: task.figures for task in tasks}
    return read_thresholds(
        request.policy, ExpectedFigures.of(request.suites, losses=losses, answers=answers, tasks=figures)
    )


def _templates(registry: Registry, versions: Sequence[Version], request: EvaluationRequest) -> dict[Digest, Template]:
    """The template of each version that is asked for answers in words; none where they are asked as typed."""
    if request.answers is None or request.raw:
        return {}
    templates = {version.manifest_digest: trained_template(registry, version) for version in versions}
    for template in templates.values():
        require_for_questions(template)
    return templates


def _answers_name(path: Path) -> str:
    """What figures of answers in words are called."""
    return f"answers-{path.stem}"


def _accept(registry: Registry, request: EvaluationRequest, key_id: str) -> None:
    """Record that whoever evaluates accepts the licences of the suites, and refuse names that are none."""
    from peft_registry.trainer.inputs.suites import accept_licence

    person = registry.trust.person_of(key_id)
    for name in request.suites:
        accept_licence(registry, name, accepts=True, person=person)


def _evaluate(
    session: _Session, version: Version, suites: "tuple[LoadedSuite, ...]"
) -> Iterator[tuple[EvaluationRecord, bytes]]:
    """The records of one version: one for each arm that it is compared with."""
    from peft_registry.trainer.evaluation.evaluate import evaluate_pair

    manifest = stored_manifest(session.registry, version.manifest_digest)
    base = session.loader.base_of(version, manifest)
    if base not in session.questions:
        session.questions[base] = _questions(session, suites, base)
    announce = session.setup.plan_announcer(version, session.observe)
    conditions = replace(_conditions(session, base), announce=announce)
    questions = _prompted(session, session.questions[base], version, base)
    if manifest.kind != "base":
        questions = replace(questions, trained=texts_of_ancestors(session.registry, [version]))
        conditions = replace(conditions, tries=tries_of_ancestors(session.registry, [version]))
    for arms in session.loader.arms_of(version, manifest, base):
        with arms as given:
            outcome = evaluate_pair(given, questions, conditions, observe=session.observe)
            lead = f"{version.label}, {given.before_name} → {given.after_name}: "
        report_comparisons(outcome.record, lead, session.observe)
        yield outcome.record, outcome.items


# --- questions and conditions ---


def _questions(session: _Session, suites: "tuple[LoadedSuite, ...]", base: LoadedBase) -> "Questions":
    from peft_registry.trainer.evaluation.arms import Questions
    from peft_registry.trainer.evaluation.retention import retained, sources_of
    from peft_registry.trainer.evaluation.scoring import max_length_of
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub

    texts = retained(
        sources_of(session.request.retain),
        locate=locate_locally_or_on_hub(Path.cwd()),
        tokenizer=base.tokenizer,
        longest=max_length_of(base.model),
        observe=session.observe,
    )
    return Questions(suites, retained=texts, answers=session.answers, tasks=session.tasks, guard=session.guard)


def _prompted(session: _Session, questions: "Questions", version: Version, base: LoadedBase) -> "Questions":
    """The questions with the prompts of answers in the version's own template; every arm that it is compared with has them too."""
    from peft_registry.trainer.data.prompting import AS_TYPED, prompting_of
    from peft_registry.trainer.evaluation.quality import prompted

    template = session.templates.get(version.manifest_digest)
    if not questions.answers:
        return questions
    prompting = AS_TYPED if template is None else prompting_of(template, base.tokenizer)
    session.observe(Said("template", f"{version.label}: {prompting.line}"))
    answers = tuple(prompted(rows, prompting, base.tokenizer) for rows in questions.answers)
    return replace(questions, answers=answers)


def _conditions(session: _Session, base: LoadedBase) -> "EvaluationConditions":
    request = session.request
    return session.setup.conditions(base.hardware, request.suites, seed=request.seed, thresholds=session.thresholds)


@contextmanager
def _scratch(registry: Registry) -> Iterator[Path]:
    """A folder of this evaluation beside those of runs, held like theirs: what a killed one left is removed by the next."""
    runs = registry.files.runs
    name = f"evaluate-{registry.nonce()}"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(run_folder(runs, name))
        except OSError as error:
            raise unwritable(runs / name, error) from error
        yield folder
