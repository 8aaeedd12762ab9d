"""`registry evaluate`, from references to signed statements: base and suites loaded once, one record an artifact.

    reference → version → checked base → verified copy → arms → record and item table → statement about the manifest digest

A base alone is one arm. An adapter is paired with its base, on the same loaded weights. A version that came from a merge is
paired with its base and with each parent. Scores are kept under HOME/scores by composition and protocol: an interrupted
evaluation goes on where it was, and a base is scored once for everything that was made from it.
"""

import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.evaluation.items import TableRow
from peft_registry.registry.evaluation.staleness import base_composition, composition_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import tries_of_ancestors
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.supersede import supersede_with_evaluations
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import ArmName, Composition, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.scope import EVERYTHING, EvaluationScope
from peft_registry.trainer.inputs.ancestry import texts_of_ancestors
from peft_registry.trainer.inputs.base import CheckedBase, checked_base
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, load_suites, report_comparisons
from peft_registry.trainer.runs.folder import run_folder

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.arms import Questions
    from peft_registry.trainer.evaluation.evaluate import Arms, EvaluationConditions
    from peft_registry.trainer.evaluation.neutral import GuardText
    from peft_registry.trainer.evaluation.suites import LoadedSuite
    from peft_registry.trainer.evaluation.thresholds import ThresholdsFile
    from peft_registry.trainer.machine.environment import Hardware


class NothingToEvaluate(InputRefused):
    reference = "nothing-to-evaluate"
    what = "no question was asked"
    why = "neither a suite, nor answers, nor text to retain was named"
    fix = "name a suite: registry evaluate REF --suite house"


class NotEvaluable(InputRefused):
    reference = "not-evaluable"
    what = "{label} cannot be evaluated here"
    why = "{reason}"
    fix = "register its base first: registry base add …"

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What a user asks: suites with their data, texts for loss, answers in words, a selection, a control."""

    suites: tuple[str, ...] = ()
    data: Path | None = None
    accepts_licence: bool = False
    scope: EvaluationScope = EVERYTHING
    limit: int | None = None
    seed: int = 0
    with_placebo: bool = True
    reuse: bool = True
    answers: Path | None = None
    metric: str | None = None
    allow_code: bool = False
    retain: tuple[str, ...] = ()  # files, data sets of the Hub, or `neutral`
    policy: Path | None = None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One record, appended to what it is about."""

    version: Version
    record: EvaluationRecord
    items: bytes
    statement: Digest


@dataclass(frozen=True, eq=False)
class _Base:
    """A loaded base."""

    checked: CheckedBase
    model: Any
    tokenizer: Any
    hardware: "Hardware"


@dataclass(eq=False)
class _Session:
    """What is shared by all references of one command."""

    registry: Registry
    request: EvaluationRequest
    setup: EvaluationSetup
    scratch: Path
    observe: Observe
    thresholds: "ThresholdsFile"
    guard: "GuardText"
    questions: "Questions | None" = None
    bases: dict[tuple[Digest, str | None], _Base] = field(default_factory=dict)


def evaluate_references(
    registry: Registry, references: Sequence[str], request: EvaluationRequest, *, observe: Observe = ignore
) -> tuple[Evaluated, ...]:
    """Evaluate each reference and append what was found; the order is that of the references.

    Raises:
        NotFound, InputRefused: a reference, a suite or its data, or a threshold is refused before anything is loaded.
        IntegrityBroken: a base or an artifact is not what was registered.
        RunFailed: a model gives no finite score, or memory ran out; what was scored is kept for the next try.
    """
    registry.require_writable()
    signer = registry.trainer_key  # asked for now, not after an hour of scoring
    versions = [version_named(registry, reference) for reference in references]
    if not request.suites and request.answers is None and not request.retain:
        raise NothingToEvaluate
    _check_once(request)
    _check_retained(request)
    thresholds = _thresholds(request)
    guard = request.scope.guard()
    if request.accepts_licence:
        _accept(registry, request, signer.public.key_id)
    loaded = load_suites(
        registry, request.suites, data=request.data, half=request.scope.half, limit=request.limit, seed=request.seed
    )
    done: list[Evaluated] = []
    with _scratch(registry) as scratch:
        setup = EvaluationSetup(registry, signer.public.key_id, "evaluator", request.reuse)
        session = _Session(registry, request, setup, scratch, observe, thresholds, guard)
        for version in versions:
            for record, items in _evaluate(session, version, loaded):
                signed = append_statement(
                    registry,
                    subject=version.manifest_digest,
                    kind="bias-evaluation",
                    predicate=record.to_json(),
                    signer=signer,
                    evidence=(items,),
                )
                done.append(Evaluated(version, record, items, signed.digest))
            _close_the_gap(registry, version, done, observe)
    return tuple(done)


def _close_the_gap(registry: Registry, version: Version, done: Sequence[Evaluated], observe: Observe) -> None:
    """A record that supersedes the version's has the figures that were measured now; a base has no record."""
    evaluations = [(entry.statement, entry.record) for entry in done if entry.version == version]
    current = supersede_with_evaluations(registry, version, evaluations)
    if current is not None:
        observe(Said("record", completeness(current.record).sentence))


def evaluate_references_again(
    registry: Registry,
    version: Version,
    request: EvaluationRequest,
    *,
    ids: set[tuple[str, str]],
    compositions: frozenset[Digest],
    scratch: Path,
    observe: Observe = ignore,
) -> tuple[TableRow, ...]:
    """The rows of some items of a version's suites, scored anew and recorded nowhere: for a re-check of scores.

    `ids` are (data set, item id); only arms of these `compositions` are scored.
    """
    from peft_registry.registry.evaluation.items import read_items
    from peft_registry.trainer.evaluation.evaluate import evaluate_pair

    suites = []
    for suite in load_suites(registry, request.suites, data=request.data, limit=request.limit, seed=request.seed):
        names = frozenset(name for dataset, name in ids if dataset == suite.dataset.name)
        if names:
            suites.append(suite.only(names, suite.dataset.revised(rows_used=len(names))))
    request = replace(request, with_placebo=False, reuse=False)
    setup = EvaluationSetup(registry, key_id="", role="evaluator", reuse=False)  # nothing is signed
    thresholds = _thresholds(replace(request, policy=None))
    session = _Session(registry, request, setup, scratch, observe, thresholds, request.scope.guard())
    manifest = stored_manifest(registry, version.manifest_digest)
    base = _base_of(session, version, manifest)
    session.questions = _questions(session, tuple(suites), base)
    rows: list[TableRow] = []
    for arms in _arms(session, version, manifest, base):
        with arms as given:
            here = {one.canonical_digest() for one in (given.base, given.after) if one is not None}
            if here <= compositions:
                outcome = evaluate_pair(given, session.questions, _conditions(session, base), observe=observe)
                rows += read_items(outcome.items)
    return tuple(rows)


def _check_once(request: EvaluationRequest) -> None:
    from peft_registry.trainer.evaluation.suites import require_once

    require_once(request.suites)


def _check_retained(request: EvaluationRequest) -> None:
    from peft_registry.trainer.evaluation.retention import check_retained, sources_of
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub

    check_retained(sources_of(request.retain), locate=locate_locally_or_on_hub(Path.cwd()))


def _thresholds(request: EvaluationRequest) -> "ThresholdsFile":
    """What the policy sets, each key held against what will be measured."""
    from peft_registry.trainer.evaluation.retention import PREFIX, sources_of
    from peft_registry.trainer.evaluation.thresholds import Measured, read_thresholds

    losses = [f"{PREFIX}{one.label}" for one in sources_of(request.retain) if not one.ships]
    answers = None if request.answers is None else _answers_name(request.answers)
    return read_thresholds(request.policy, Measured.of(request.suites, losses=losses, answers=answers))


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
    base = _base_of(session, version, manifest)
    if session.questions is None:
        session.questions = _questions(session, suites, base)
    announce = session.setup.plan_announcer(version, session.observe)
    conditions = replace(_conditions(session, base), announce=announce)
    questions = session.questions
    if manifest.kind != "base":
        questions = replace(questions, trained=texts_of_ancestors(session.registry, [version]))
        conditions = replace(conditions, tries=tries_of_ancestors(session.registry, [version]))
    for arms in _arms(session, version, manifest, base):
        with arms as given:
            outcome = evaluate_pair(given, questions, conditions, observe=session.observe)
            lead = f"{version.label}, {given.before_name} → {given.after_name}: "
        report_comparisons(outcome.record, lead, session.observe)
        yield outcome.record, outcome.items


# --- models ---


def _base_of(session: _Session, version: Version, manifest: Manifest) -> _Base:
    """The base of a version, checked and loaded once for all references that share it."""
    from peft_registry.trainer.bases.loading import held_dtype, load_base
    from peft_registry.trainer.machine.environment import choose_hardware

    needed = None if manifest.base is None else manifest.base.manifest
    reference = version.manifest_digest if manifest.kind == "base" else needed
    if reference is None:
        raise NotEvaluable(version.label, "its manifest names no base that is registered")
    quantisation = manifest.base.quantisation if manifest.base else None
    key = (reference, quantisation)
    if key not in session.bases:
        named = version_named(session.registry, str(reference))
        scratch = session.scratch / f"base-{len(session.bases)}"
        checked = checked_base(session.registry, named, scratch, session.observe)
        hardware = choose_hardware("auto")
        block = _quantisation(session.registry, version) if quantisation else None
        # what quantizing starts from decides its result, and stays fp32; any other base takes no more room than its files do
        dtype = "fp32" if block is not None else held_dtype(checked.folder)
        model, tokenizer = load_base(checked.folder, dtype=dtype, device=hardware.device, quantization=block)
        checked.require_unchanged()
        session.bases[key] = _Base(checked, model, tokenizer, hardware)
    return session.bases[key]


def _quantisation(registry: Registry, version: Version) -> QuantizationBlock | None:
    """How the run quantized the base, from its record."""
    run = records_of(registry, version).run
    block = None if run is None else run.config.get("quantization")
    if block is None:
        raise NotEvaluable(version.label, "its base was quantized, and its record does not say how")
    return QuantizationBlock.model_validate(block)


def _arms(
    session: _Session, version: Version, manifest: Manifest, base: _Base
) -> "Iterator[AbstractContextManager[Arms]]":
    """Context managers that give the arms of each comparison; models are loaded inside and gone afterwards."""
    identity = base.checked.record.identity
    alone = base_composition(identity, manifest.base.quantisation if manifest.base else None)
    before: ArmName = "base" if alone.quantisation is None else "base_quantised"
    if manifest.kind == "base":
        yield _given(session, base, model=base.model, before=alone, after=None)
        return
    after = composition_of(manifest, identity)
    parents = [parent for parent in manifest.parents if parent.role in ("adapter", "model")]
    name: ArmName = "merged" if parents else "adapted"
    yield _adapted(session, version, manifest, base, before=(before, alone), after=(name, after))
    for parent in parents:
        yield _beside_parent(session, version, manifest, base, parent.manifest, after=after)


@contextmanager
def _adapted(
    session: _Session,
    version: Version,
    manifest: Manifest,
    base: _Base,
    *,
    before: tuple[ArmName, Composition],
    after: tuple[ArmName, Composition],
) -> "Iterator[Arms]":
    """Base against an artifact made from it."""
    from peft_registry.trainer.merge.bundle import holds_model

    with _loaded(session, version, manifest, base) as model:
        whole = holds_model(manifest)
        names = {"before_name": before[0], "after_name": after[0]}
        with _given(
            session,
            base,
            model=model,
            before=before[1],
            after=after[1],
            base_model=base.model if whole else None,
            with_placebo=session.request.with_placebo and not whole,  # of a bundle it would turn only a part
            **names,
        ) as arms:
            yield arms


@contextmanager
def _beside_parent(
    session: _Session, version: Version, manifest: Manifest, base: _Base, parent: Digest, *, after: Composition
) -> "Iterator[Arms]":
    """A parent against what was merged from it."""
    from peft_registry.trainer.merge.bundle import holds_model

    made_from = version_named(session.registry, str(parent))
    parent_manifest = stored_manifest(session.registry, parent)
    parent_base = _base_of(session, made_from, parent_manifest)  # in 4 bits, where the parent was trained on that
    if parent_base is base and not holds_model(manifest):  # two adapters on one model object would both act
        parent_base = replace(base, model=_loaded_again(session, made_from, parent_manifest, base))
    composition = composition_of(parent_manifest, base.checked.record.identity)
    with (
        _loaded(session, version, manifest, base) as merged,
        _loaded(session, made_from, parent_manifest, parent_base) as model,
        _given(
            session,
            base,
            model=merged,
            before=composition,
            after=after,
            base_model=model,
            before_name="parent",
            after_name="merged",
        ) as arms,
    ):
        yield arms


def _loaded_again(session: _Session, version: Version, manifest: Manifest, base: _Base) -> Any:
    from peft_registry.trainer.bases.loading import held_dtype, load_base

    quantised = manifest.base is not None and manifest.base.quantisation is not None
    block = _quantisation(session.registry, version) if quantised else None
    dtype = "fp32" if quantised else held_dtype(base.checked.folder)
    return load_base(base.checked.folder, dtype=dtype, device=base.hardware.device, quantization=block)[0]


@contextmanager
def _loaded(session: _Session, version: Version, manifest: Manifest, base: _Base) -> Iterator[Any]:
    """The model of an artifact, from a verified copy; the base's own weights are untouched afterwards."""
    from peft_registry.trainer.merge.bundle import load_artifact

    with tempfile.TemporaryDirectory(dir=session.scratch) as place:
        folder = Path(place) / "pulled"
        pull_version(session.registry, version, folder, for_use=False)
        model = load_artifact(manifest, base.model, folder)
        try:
            yield model
        finally:
            _detach(model)
    gc.collect()


def _detach(model: Any) -> None:  # a model of peft_registry.trainer.methods
    """Take the adapter off the base that it was put on, so that the next one finds the base as it was."""
    from peft_registry.trainer.methods.peft_io import unloaded

    config = getattr(model, "active_peft_config", None)
    if config is not None and not config.is_prompt_learning:
        unloaded(model)


@contextmanager
def _given(
    session: _Session, base: _Base, *, model: Any, before: Composition, after: Composition | None, **more: Any
) -> "Iterator[Arms]":
    from peft_registry.trainer.evaluation.evaluate import Arms

    yield Arms(
        model=model,
        tokenizer=base.tokenizer,
        base=before,
        after=after,
        keep=session.setup.score_keeper(base.hardware.device),
        **({"with_placebo": session.request.with_placebo} | more),
    )


# --- questions and conditions ---


def _questions(session: _Session, suites: "tuple[LoadedSuite, ...]", base: _Base) -> "Questions":
    from peft_registry.trainer.evaluation.arms import Questions
    from peft_registry.trainer.evaluation.quality import load_metric, read_answers
    from peft_registry.trainer.evaluation.retention import retained, sources_of
    from peft_registry.trainer.evaluation.scoring import max_length_of
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub

    request = session.request
    own = None if request.metric is None else load_metric(request.metric, allow_code=request.allow_code)
    answers = (
        ()
        if request.answers is None
        else (read_answers(request.answers, name=_answers_name(request.answers), own=own),)
    )
    texts = retained(
        sources_of(request.retain),
        locate=locate_locally_or_on_hub(Path.cwd()),
        tokenizer=base.tokenizer,
        longest=max_length_of(base.model),
        observe=session.observe,
    )
    return Questions(suites, retained=texts, answers=answers, guard=session.guard)


def _conditions(session: _Session, base: _Base) -> "EvaluationConditions":
    request = session.request
    return session.setup.conditions(base.hardware, request.suites, seed=request.seed, thresholds=session.thresholds)


@contextmanager
def _scratch(registry: Registry) -> Iterator[Path]:
    """A folder of this evaluation beside those of runs, held like theirs: what a killed one left is removed by the next."""
    runs, name = registry.files.runs, f"evaluate-{registry.nonce()}"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(run_folder(runs, name))
        except OSError as error:
            raise unwritable(runs / name, error) from error
        yield folder
