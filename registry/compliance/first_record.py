"""Whether the record that a version is registered with is of that version: of its manifest, and of what was signed beside it. Pure.

The manifest says which files, base and data the version has; the run record says what was computed, and the evaluation what was
scored. A record says all of this again for people, and whoever holds the home's key could write there what they like.

A record of the first form, or of other rules than those of this tool, may write figures in another way: its figures are held to
those that were signed as far as both ways have them, and what it derives to nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_as_recorded import SaidOfBase, another_name, based_otherwise, of_no_base
from peft_registry.registry.compliance.carried_values import agrees, is_by_these_rules
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.inheritance import with_limits_of_data
from peft_registry.registry.compliance.made_as_recorded import (
    Flags,
    FlagsFinder,
    Flop,
    Made,
    MakingFinder,
    Production,
    answered_flags,
    counted_alone,
    flags_of,
    is_merged,
    made_otherwise,
    runs_counted,
    trainings,
)
from peft_registry.registry.compliance.merging import evaluation_of_merge
from peft_registry.registry.compliance.recorded_evaluation import (
    WRITTEN_BY_EVALUATIONS,
    EvaluationSigner,
    evaluation_section,
)
from peft_registry.registry.compliance.recorded_result import file_digests
from peft_registry.registry.compliance.recorded_run import counts_earlier_runs
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.log import CLOCK_TOLERANCE
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import Evaluation, ModificationRecord, RecordSections
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value

_FIGURES = frozenset(f"evaluation.{name}" for name in ("runs", "metrics", "delta", "bias"))
_SIGNED = frozenset(("evaluation.signed_by", "evaluation.signed_at"))


@dataclass(frozen=True, slots=True)
class SignedBeside:
    """What is signed with a version's record: how it was made, its evaluation, and whose key signed that; None for nothing."""

    production: Production | None = None
    evaluation: EvaluationRecord | None = None
    key_id: str | None = None
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Registering:
    """As what an artifact is registered, whose key signs that, and when; None for what is not known here."""

    subject: Digest
    name: str | None = None
    key_id: str | None = None
    person: str | None = None
    signed_at: Timestamp | None = None


@dataclass(frozen=True, slots=True)
class RecordClaims:
    """What a record, and the statement of how its version was made, say of its manifest.

    It is all that is kept of them until the manifest is at hand.

    Attributes:
        rows: how many rows of each file the record counts, by the file's digest.
        made: how the version was made, where that is signed with the record.
        runs: the figures of the runs before it that its compute counts; None where it is by other rules than those of this tool.
        untouched: whether it says that the weights of the base are unchanged.
        flags: what it says of its files.
        answered: of which file and flag it names the statements that say so, which `check_inherited` holds it against.
        alone: what it counts otherwise of files than its own run, which is wrong where no run before it used them.
    """

    is_first_form: bool
    data: frozenset[str]
    bases: frozenset[str]
    files: Digest | None
    rows: Mapping[str, float] = field(default_factory=dict)
    made: Made | None = None
    runs: Mapping[Digest, Flop] | None = None
    untouched: str | None = None
    flags: Flags = field(default_factory=dict)
    answered: frozenset[tuple[str, str]] = frozenset()
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: RecordSections, production: Production | None = None) -> "RecordClaims":
        """What a record claims of what was made.

        `production` is the run, merge or import that it is held to; only records by the rules of today are held to one.
        """
        listed = record.change.artifact_digests
        is_held = isinstance(record, ModificationRecord) and is_by_these_rules(record)
        return cls(
            is_first_form=not isinstance(record, ModificationRecord),
            rows=_rows(record),
            made=Made.of(production) if is_held and production is not None else None,
            runs=runs_counted(record) if is_held and isinstance(record, ModificationRecord) else None,
            untouched=str(record.change.base_weights_untouched.value) if is_held else None,
            flags=flags_of(record) if is_held else {},
            answered=answered_flags(record) if is_held else frozenset(),
            alone=counted_alone(record, production) if isinstance(record, ModificationRecord) and is_held else {},
            data=frozenset(str(data.digest.value) for data in record.data if data.digest.known),
            bases=frozenset(str(base.tensor_digest.value) for base in record.base if base.role.value == "base"),
            files=_listing(listed.value) if listed.known else None,
        )


def _rows(record: RecordSections) -> dict[str, float]:
    """How many rows of each file a record counts; a file may be there twice, under two names."""
    rows: dict[str, float] = {}
    for data in record.data:
        number = data.n_points.number
        if number is not None:
            digest = str(data.digest.value)
            rows[digest] = rows.get(digest, 0) + number
    return rows


ManifestFinder = Callable[[Digest], Manifest | None]
"""The manifest with a digest; None where it is not at hand."""


BasesFinder = Callable[[Digest], Sequence[SaidOfBase]]
"""Every record of a base that was signed, by its manifest, in the order of the log; nothing where none is at hand."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is recorded of other artifacts, as far as it is at hand: what is not is held to nothing."""

    manifest: ManifestFinder = lambda _: None
    bases: BasesFinder = lambda _: ()
    made: MakingFinder = lambda _: ()
    flags: FlagsFinder = lambda _: {}


NOTHING_ELSEWHERE = Elsewhere()


def check_manifest(claims: RecordClaims, manifest: Manifest, elsewhere: Elsewhere) -> Iterator[str]:
    """What a record and what is signed with it say of files, base, data and parents and the manifest does not, a line each.

    Args:
        claims: what they say.
        manifest: of the version.
        elsewhere: finds what the version was made from, at any distance.
    """
    find = elsewhere.manifest
    yield from _made_otherwise(claims, manifest)
    yield from _counted_otherwise(claims, manifest, elsewhere)
    named = {str(data.sha256) for data in manifest.data}
    for digest in sorted(named - claims.data):
        yield f"data: {digest} is in the manifest, and the record leaves it out"
    inherited, is_complete = _data_of_ancestors(manifest, find)
    if not claims.is_first_form:  # that form took nothing over from what a version was made from
        for digest in sorted(inherited - named - claims.data):
            yield f"data: {digest} went into what it was made from, and the record leaves it out"
    if is_complete:
        for digest in sorted(claims.data - named - inherited):
            yield f"data: {digest} is not in the manifest" + (", nor in one of those before" if inherited else "")
    if manifest.base is not None and claims.bases != {str(manifest.base.identity.weights)}:
        recorded = ", ".join(sorted(claims.bases)) or "none"
        yield f"base: the manifest names {manifest.base.identity.weights}, and the record {recorded}"
    if claims.files is None:
        if not claims.is_first_form:
            yield "change.artifact_digests: the record does not say which files the manifest lists"
    elif claims.files != _listing(file_digests(manifest.files)):
        yield "change.artifact_digests: these are not the files of the manifest"


def check_beside(
    record: RecordSections, beside: SignedBeside, registering: Registering, elsewhere: Elsewhere
) -> Iterator[str]:
    """What a first record says and what is signed beside it does not give, a line each."""
    production = beside.production
    bases: Sequence[SaidOfBase] = ()
    if production is not None and production.base.manifest is not None:
        bases = elsewhere.bases(production.base.manifest)
        yield from based_otherwise(record, production.base.identity.weights, bases, since=production.started_at)
    elif isinstance(record, ModificationRecord) and is_by_these_rules(record):
        yield from of_no_base(record)
    yield from _evaluated_otherwise(record, beside)
    if not isinstance(record, ModificationRecord) or not is_by_these_rules(record):
        yield from _computed_otherwise(record, production)
        return
    if isinstance(production, RunRecord):
        yield from another_name(record, production.config.get("base"), [said.record for said in bases])
    yield from made_otherwise(record, production, bases[0].record if bases else None)
    yield from _registered_otherwise(record, production, registering)
    assessed = with_assessment(record)
    if assessed != record:
        for leaf, derived in zip(leaves(record), leaves(assessed), strict=True):
            if leaf.value != derived.value:
                yield f"{leaf.path}: it does not follow from the rest of the record"


def _registered_otherwise(
    record: ModificationRecord, production: Production | None, registering: Registering
) -> Iterator[str]:
    """A record of another artifact, name, signer or time than those of its registration."""
    identity = record.identity
    security = record.security
    if identity.result_manifest.known and identity.result_manifest.value != str(registering.subject):
        yield "identity.result_manifest: it is that of another artifact"
    if registering.name is not None and identity.result_name.value not in (None, registering.name):
        yield f"identity.result_name: it is {identity.result_name.value}, and {registering.name} is registered"
    if production is not None and security.digests.known:
        own = {"manifest": str(registering.subject), "weights": str(production.weights_digest)}
        if security.digests.value != own:
            yield "security.digests: they are not those of the artifact"
    if production is not None and identity.tool_version.value not in (None, _tool_of(production)):
        yield f"identity.tool_version: it is {identity.tool_version.value}, and {_tool_of(production)} made the version"
    signature = security.signature.value
    key = signature.get("key") if isinstance(signature, dict) else None
    if registering.key_id is not None and security.signature.known and key != registering.key_id:
        yield "security.signature: another key signs its registration"
    person = identity.acting_person
    is_claimed = person.known and person.source != "declared"
    if registering.person is not None and is_claimed and person.value != registering.person:
        yield f"identity.acting_person: it is {person.value}, and the key is that of {registering.person}"
    created = datetime.fromisoformat(record.record_created_at)
    if registering.signed_at is not None and created > datetime.fromisoformat(registering.signed_at) + CLOCK_TOLERANCE:
        yield f"record_created_at: {record.record_created_at} is after {registering.signed_at}, when it was registered"
    if production is not None and created + CLOCK_TOLERANCE < datetime.fromisoformat(production.finished_at):
        yield f"record_created_at: {record.record_created_at} is before {production.finished_at}, when its version was made"


def _tool_of(production: Production) -> str:
    """The version of this tool that made something, or took it in."""
    return production.tool_version if isinstance(production, ImportRecord) else production.environment.code_version


def _made_otherwise(claims: RecordClaims, manifest: Manifest) -> Iterator[str]:
    """A statement of how the version was made that is of something else than its manifest."""
    made = claims.made
    if made is None:
        return
    is_import = manifest.origin == "imported"
    was_merged = is_merged(manifest)
    if (made.kind == "import") != is_import or (was_merged and made.kind == "fine_tune"):
        yield f"provenance: it is that of a {made.kind}, and the manifest says otherwise"
    base = manifest.base
    if base is not None and (made.base, made.base_weights) != (base.manifest, base.identity.weights):
        yield f"provenance: its base is {made.base_weights}, and that of the manifest {base.identity.weights}"
    if made.weights != manifest.weights_digest:
        yield f"provenance: it made {made.weights}, and the manifest lists {manifest.weights_digest}"
    merged = {parent.manifest for parent in manifest.parents if parent.role in ("adapter", "model")}
    if made.kind == "merge" and made.parts != merged:
        yield "provenance: it merged others than the parents that the manifest names"
    if made.kind == "fine_tune" and set(made.rows) != {str(data.sha256) for data in manifest.data}:
        yield "provenance: the run used other data than the manifest lists"
    if claims.untouched == "yes" and manifest.kind == "model":
        yield "change.base_weights_untouched: it says yes, and the manifest lists a whole model"


def _counted_otherwise(claims: RecordClaims, manifest: Manifest, elsewhere: Elsewhere) -> Iterator[str]:
    """Compute and rows of what the version was made from that its record leaves out, or counts otherwise."""
    if claims.made is None or claims.runs is None or claims.made.kind == "import":
        return
    trained, is_complete = trainings(manifest, elsewhere.manifest, elsewhere.made)
    for digest in sorted(trained.keys() - claims.runs.keys()):
        yield f"compute.inputs: {digest} went into it, and its training is left out"
    if is_complete:
        for digest in sorted(claims.runs.keys() - trained.keys()):
            yield f"compute.inputs: {digest} is counted, and did not go into it"
    for digest, makings in trained.items():
        counted = claims.runs.get(digest)
        if makings and counted is not None and counted not in [making.flop for making in makings]:
            recorded = " or ".join(
                f"{conservative} and {update}" for conservative, update in (made.flop for made in makings)
            )
            yield f"compute.inputs: of {digest} it counts {counted[0]} and {counted[1]} FLOP, and its run recorded {recorded}"
    yield from _flagged_otherwise(claims, trained, elsewhere)
    if is_complete and all(trained.values()):
        used = {data for makings in trained.values() for making in makings for data in making.rows}
        for data, lines in claims.alone.items():
            yield from lines if data not in used else ()
    for makings in ((claims.made,), *trained.values()):
        for data in {data for making in makings for data in making.rows}:
            # equal bytes may have been trained twice, and either is what it was made from
            least = min(making.rows.get(data, 0) for making in makings)
            if claims.rows.get(data, least) < least:
                yield f"data: of {data} it counts {claims.rows[data]:g} rows, and a run used {least}"


def _flagged_otherwise(claims: RecordClaims, trained: Iterable[Digest], elsewhere: Elsewhere) -> Iterator[str]:
    """Personal data that the records of what went in name, and this record does not."""
    stated: dict[tuple[str, str], set[str]] = {}
    for digest in trained:
        for data, flags in elsewhere.flags(digest).items():
            for name, value in flags.items():
                if value is not None:
                    stated.setdefault((data, name), set()).add(str(value))
    is_continued = claims.made is not None and claims.made.kind == "fine_tune"
    for (data, name), values in stated.items():
        recorded = claims.flags.get(data, {}).get(name)
        if "yes" not in values or recorded == "yes" or data not in claims.flags:
            continue
        if values != {"yes"} and (data, name) in claims.answered:
            continue  # where the records differ people have answered it of a merge before
        # "no" is refused; left open it may be where the records differ, or in a continued run, of which people are asked anew
        if recorded is not None or (values == {"yes"} and not is_continued):
            yield f"data: {name} of {data} is {recorded or 'left open'}, and what it was made from says yes"


def _data_of_ancestors(manifest: Manifest, find: ManifestFinder) -> tuple[set[str], bool]:
    """The digests of the data that went into what a version was made from, and whether all of its manifests were at hand."""
    data: set[str] = set()
    is_complete = True
    seen: set[Digest] = set()
    waiting = set(manifest.made_from)
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        ancestor = find(digest)
        if ancestor is None:
            is_complete = False
            continue
        data |= {str(dataset.sha256) for dataset in ancestor.data}
        waiting |= ancestor.made_from - seen
    return data, is_complete


def _listing(entries: list[dict[str, object]]) -> Digest:
    return Digest.of(json.dumps(entries, sort_keys=True).encode())


def _computed_otherwise(
    record: RecordSections, production: RunRecord | MergeRecord | ImportRecord | None
) -> Iterator[str]:
    compute = record.compute
    if isinstance(production, MergeRecord):
        return  # what went into its parts is recorded of them
    if not isinstance(production, RunRecord):
        for name in ("conservative_flop", "param_update_flop"):
            figure = getattr(compute, name)
            if figure.known and (production is None or figure.source == "measured"):
                yield f"compute.{name}: no record of a run is signed beside it"
        return
    figures = {
        "conservative_flop": (compute.conservative_flop, production.compute.conservative_flop),
        "param_update_flop": (compute.param_update_flop, production.compute.param_update_flop),
    }
    steps = {"conservative_flop": "step_flop", "param_update_flop": "step_param_update_flop"}
    for name, (recorded, measured) in figures.items():
        figure = compute.inputs.value.get(steps[name]) if counts_earlier_runs(compute) else recorded.value
        if figure != measured.value:
            yield f"compute.{name}: the record of the run has {measured.value}, and this record {figure}"


def _evaluated_otherwise(record: RecordSections, beside: SignedBeside) -> Iterator[str]:
    by_these_rules = isinstance(record, ModificationRecord) and is_by_these_rules(record)
    # what nobody says how it was made may leave open what was scored, and state no more than was
    is_exact = by_these_rules and beside.production is not None
    built = _section(record, beside)
    # only what was made from others has limits that come from their data
    limited = with_limits_of_data(built, record.data).limitations
    for path in sorted(WRITTEN_BY_EVALUATIONS):
        name = path.partition(".")[2]
        recorded = getattr(record.evaluation, name)
        expected = getattr(built, name)
        if name == "limitations" and recorded == limited:
            continue
        if beside.production is None and not recorded.known:
            continue
        if recorded != expected and (is_exact or not _is_written_otherwise(path, recorded, expected)):
            yield f"{path}: it is not what the evaluation says that is signed beside it"


def _section(record: RecordSections, beside: SignedBeside) -> Evaluation:
    signer = None
    recorded = record.evaluation.signed_by
    if beside.evaluation is not None and beside.key_id is not None:
        row = recorded.value[0] if isinstance(recorded.value, list) and recorded.value else {}
        person = beside.person or (row.get("person") if isinstance(row, dict) else None)
        signer = EvaluationSigner(key_id=beside.key_id, person=person, at=record.record_created_at)
    if isinstance(beside.production, MergeRecord):
        return evaluation_of_merge(beside.production, beside.evaluation, signer)
    run = beside.production if isinstance(beside.production, RunRecord) else None
    return evaluation_section(beside.evaluation, run, signer)


def _is_written_otherwise(path: str, recorded: Value, expected: Value) -> bool:
    """Whether a value of other rules says the same: figures that agree; who signed, and under which plan, some did not say."""
    if path in _FIGURES:
        return recorded.known == expected.known and agrees(recorded.value, expected.value)
    if path in _SIGNED:
        return not recorded.known or agrees(recorded.value, expected.value)
    return True
