"""The inputs of the record that a version begins with: computed from what was logged, and never chosen. Pure.

Which statements a record follows from is not for its signer to say. What stood of its base and of everything that it was made
from is read from the log as it was when the record was derived; what its own registration brought belongs to it; and whatever was
covered before the version was begun is not left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from peft_registry.registry.compliance.derivation import inputs_observed
from peft_registry.registry.compliance.editions import Announced, FiguresAnnounced
from peft_registry.registry.compliance.making import Production, is_merged, tool_of
from peft_registry.registry.compliance.older_records import ManifestFinder
from peft_registry.registry.records.logged_statements import EntrySigner, LoggedStatement, SnapshotFinder
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.stated_bases import base_standings, first_name
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import CLOCK_TOLERANCE
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import (
    InputKind,
    ModificationPredicate,
    ModificationRecord,
    RecordInput,
    modification_in,
)
from peft_registry.schemas.observations import Observations, ObservedAncestor, ObservedBase, ObservedSigning
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import RegistrationPredicate
from peft_registry.schemas.values import Value


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What is known of other artifacts, as far as it is at hand: what is not is held to nothing.

    Attributes:
        manifest: finds a manifest.
        statement: finds a signed statement by its digest, about whatever it is.
        about: everything that was logged about an artifact, in the order of the log; None where the log is not at hand.
        snapshot_after: the first snapshot behind an entry.
        announced: whether an edition was announced.
        figures_announced: whether one was to which these figures of evaluations belong, or later ones.
    """

    manifest: ManifestFinder = lambda _: None
    statement: Callable[[Digest], LoggedStatement | None] = lambda _: None
    about: Callable[[Digest], Sequence[LoggedStatement] | None] = lambda _: None
    snapshot_after: SnapshotFinder = lambda _: None
    announced: Announced = lambda _: False
    figures_announced: FiguresAnnounced = lambda _: False


NOTHING_ELSEWHERE = Elsewhere()


@dataclass(frozen=True, slots=True)
class RegisteredStatements:
    """The statements that a registration names, until the manifest is at hand.

    Attributes:
        subject: the manifest digest of the version.
        registration: the statement.
        name: that it registers.
        signer: of the registration.
        records, productions, observations: statements of these kinds that it names.
        evaluation: the last that it names, which speaks for the version.
        accompanied_by: all that it names, here or not.
    """

    subject: Digest
    registration: Digest
    name: str
    signer: EntrySigner
    records: tuple[Digest, ...]
    productions: tuple[Digest, ...]
    observations: tuple[Digest, ...]
    evaluation: Digest | None
    accompanied_by: frozenset[Digest]


@dataclass(frozen=True, slots=True)
class InputsAsLogged:
    """Holds the inputs that a record names against what was logged.

    Attributes:
        find: a statement of a kind, by its digest.
        about: everything that was logged about an artifact; None where the log is not at hand.
        elsewhere: manifests and snapshots.
        aside: of everything that was logged about an artifact the records that decide nothing.
    """

    find: Callable[[Digest, InputKind], LoggedStatement | None]
    about: Callable[[Digest], Sequence[LoggedStatement] | None]
    elsewhere: Elsewhere
    aside: Callable[[Sequence[LoggedStatement]], Collection[Digest]] = lambda _: ()

    def chosen(
        self, manifest: Manifest, production: Production, stated: ModificationPredicate, seen: Observations
    ) -> Iterator[str]:
        """Bases and ancestors that were left out, put in, or named as they no longer stood, a line each."""
        if [(base.manifest, base.role) for base in seen.bases] != [(production.base.manifest, "base")]:
            yield "inputs: they name another base than the one that it was made on, or more than that"
        for base in seen.bases:
            yield from self._base_otherwise(base, production, stated)
        yield from self._ancestors_otherwise(manifest, production, stated, seen)

    def _base_otherwise(
        self, base: ObservedBase, production: Production, stated: ModificationPredicate
    ) -> Iterator[str]:
        found = self.find(base.statement, "base")
        if found is not None:
            record = found.statement.read_by(BaseRecord.from_json)
            if found.statement.subject_digest != base.manifest or record.name not in (None, base.name):
                yield f"inputs: the statement {base.statement.short} is about another base than {base.name}"
                return
        manifest = None if base.manifest is None else self.elsewhere.manifest(base.manifest)
        if base.files and manifest is not None and base.files != manifest.files:
            yield f"inputs: the files of {base.name} are others than its manifest lists"
        about = None if base.manifest is None else self.about(base.manifest)
        asked = named_base(production, about or ()) if isinstance(production, RunRecord) else None
        if asked is not None and asked != base.name:
            yield f"inputs: the run was made on {asked}, and they name {base.name}"
        if about is None:
            return
        standing = base_standings(about, base.name)
        # the first word stands at once; a later one once it is covered
        as_it_stood = [entry for entry in standing if entry is standing[0] or _is_before(entry, stated.as_of)]
        if not as_it_stood or as_it_stood[-1].digest != base.statement:
            yield f"inputs: {base.statement.short} was not what held the record of {base.name} at {stated.as_of} entries"
        yield from self._overlooked(standing[len(as_it_stood) :], production, base.name)

    def _overlooked(self, later: Iterable[LoggedStatement], production: Production, what: str) -> Iterator[str]:
        """What was said and covered before a version was begun, and its record is derived without."""
        began = datetime.fromisoformat(production.started_at)
        for entry in later:
            covered = None if entry.signer.index is None else self.elsewhere.snapshot_after(entry.signer.index)
            if covered is not None and datetime.fromisoformat(covered.at) < began:
                yield f"as_of: {entry.digest.short} was said of {what} before its version was begun, and is left out"

    def _ancestors_otherwise(
        self, manifest: Manifest, production: Production, stated: ModificationPredicate, seen: Observations
    ) -> Iterator[str]:
        """What the version was made from besides bases, by its manifest and those of its ancestors."""
        parents = {parent.manifest for parent in manifest.parents if parent.role != "base"}
        named = {ancestor.manifest: ancestor for ancestor in seen.ancestors}
        for ancestor in seen.ancestors:
            if ancestor.is_parent != (ancestor.manifest in parents):
                yield f"inputs: {ancestor.label} is called a parent, or is not called one, and the manifest says otherwise"
        above, is_complete = self._above(parents)
        for digest in sorted(above - named.keys()):
            yield f"inputs: {digest.short} went into it, and is left out"
        if is_complete:
            for digest in sorted(named.keys() - above):
                yield f"inputs: {named[digest].label} is named, and did not go into it"
        for ancestor in seen.ancestors:
            yield from self._ancestor_otherwise(ancestor, production, stated, named)

    def _above(self, parents: Iterable[Digest]) -> tuple[set[Digest], bool]:
        """The artifacts that went in, at any distance and besides bases, and whether every manifest on the way was at hand."""
        seen: set[Digest] = set()
        is_complete = True
        waiting = list(parents)
        while waiting:
            digest = waiting.pop()
            if digest in seen:
                continue
            manifest = self.elsewhere.manifest(digest)
            if manifest is not None and manifest.kind == "base":
                continue
            seen.add(digest)
            if manifest is None:
                is_complete = False
            else:
                waiting += [parent.manifest for parent in manifest.parents if parent.role != "base"]
        return seen, is_complete

    def _ancestor_otherwise(
        self,
        ancestor: ObservedAncestor,
        production: Production,
        stated: ModificationPredicate,
        named: Mapping[Digest, ObservedAncestor],
    ) -> Iterator[str]:
        made = None if ancestor.made is None else self.find(ancestor.made, "provenance")
        own = None if made is None else made.statement.read_by(production_of)
        if made is not None and made.statement.subject_digest != ancestor.manifest:
            yield f"inputs: the statement of how {ancestor.label} was made is about something else"
        manifest = self.elsewhere.manifest(ancestor.manifest)
        was_merged = isinstance(own, MergeRecord) if own is not None else None
        if was_merged is None and manifest is not None:
            was_merged = is_merged(manifest)
        if was_merged is not None and ancestor.has_trained == was_merged:
            yield f"inputs: whether {ancestor.label} was trained is said otherwise than it was made"
        if manifest is not None:
            above, is_complete = self._above([ancestor.manifest])
            trained = {digest for digest in above if digest in named and named[digest].has_trained}
            if is_complete and trained != set(ancestor.runs):
                yield f"inputs: the trainings that went into {ancestor.label} are others than those that are named"
        yield from self._record_otherwise(ancestor, production, stated)

    def _record_otherwise(
        self, ancestor: ObservedAncestor, production: Production, stated: ModificationPredicate
    ) -> Iterator[str]:
        """The record of an ancestor as it stood, where the log is at hand."""
        about = self.about(ancestor.manifest)
        if about is None:
            return
        registered = record_chain(about, ancestor.label.rpartition(":")[0], self.aside(about))
        if registered is None:
            yield f"inputs: nothing is registered as {ancestor.label}"
            return
        made, chain = registered
        if made != ancestor.made:
            yield f"inputs: how {ancestor.label} was made says another statement than the one that is named"
        # what it was registered with stands at once; a later record once it is covered
        as_it_stood = [entry for entry in chain if entry is chain[0] or _is_before(entry, stated.as_of)]
        named = (*ancestor.earlier_records, *((ancestor.record,) if ancestor.record else ()))
        if named != tuple(entry.digest for entry in as_it_stood):
            yield f"inputs: the record of {ancestor.label} stood otherwise at {stated.as_of} entries"
        yield from self._overlooked(chain[len(as_it_stood) :], production, ancestor.label)


def record_chain(
    about: Sequence[LoggedStatement], name: str, aside: Collection[Digest]
) -> tuple[Digest | None, tuple[LoggedStatement, ...]] | None:
    """How an artifact that is registered under a name was made, and its records, each superseding the one before.

    None where it is not registered under the name.

    Args:
        about: everything that was logged about it, in the order of the log.
        name: that it was registered under.
        aside: records that decide nothing.
    """
    named: frozenset[Digest] | None = None
    for entry in about:
        if entry.statement.kind == "registration":
            predicate = entry.statement.read_by(RegistrationPredicate.from_json)
            if predicate.name == name:
                named = frozenset(predicate.accompanied_by)
                break
    if named is None:
        return None
    made = [entry.digest for entry in about if entry.statement.kind == "provenance" and entry.digest in named]
    records = [entry for entry in about if entry.statement.kind == "modification"]
    chain = [entry for entry in records if entry.digest in named][-1:]
    for entry in records:
        if entry.digest in named or entry.digest in aside:
            continue
        if chain and _supersedes(entry, chain[-1], name):
            chain.append(entry)
    return (made[-1] if made else None), tuple(chain)


def _is_before(entry: LoggedStatement, as_of: int) -> bool:
    return entry.signer.index is None or entry.signer.index < as_of


def _supersedes(after: LoggedStatement, before: LoggedStatement, name: str) -> bool:
    """Whether a record names another as the one that it stands in place of, by id and digest, and is of the same name."""
    try:
        record = modification_in(after.statement)
        earlier = modification_in(before.statement)
    except ValidationError:
        return False
    if not isinstance(record, ModificationRecord):
        return False
    return (
        record.supersedes == earlier.record_id
        and record.identity.result_name.value == name
        and record.correction.supersedes_digest == earlier.canonical_digest()
    )


def named_base(run: RunRecord, about: Sequence[LoggedStatement]) -> str | None:
    """The name of the base that a training file asks for; None where it names none.

    A digest means the name that the base was registered under first; `about` is everything that was logged about that.
    """
    reference = run.config.get("base")
    if not isinstance(reference, str):
        return None
    if reference.startswith("sha256:"):
        return first_name(about)
    return reference.partition("@")[0].partition(":")[0]


def inputs_otherwise(
    subject: Digest, first: RegisteredStatements, stated: ModificationPredicate, seen: Observations
) -> Iterator[str]:
    """Inputs that the registration did not bring and the observations do not name, or that are left out."""
    expected = {RecordInput(kind="provenance", digest=digest, about=subject) for digest in first.productions[-1:]}
    expected |= {RecordInput(kind="observations", digest=digest, about=subject) for digest in first.observations[-1:]}
    if first.evaluation is not None:
        expected.add(RecordInput(kind="bias-evaluation", digest=first.evaluation, about=subject))
    expected |= set(inputs_observed(seen))
    named = set(stated.inputs)
    for entry in sorted(expected - named, key=str):
        yield f"inputs: {entry.kind} {entry.digest.short} is left out"
    for entry in sorted(named - expected, key=str):
        yield f"inputs: {entry.kind} {entry.digest.short} is not one of them"


def registered_otherwise(
    first: RegisteredStatements, production: Production, seen: Observations, record: ModificationRecord
) -> Iterator[str]:
    """Observations of another name, signer or time than those of the registration."""
    if seen.name != first.name:
        yield f"observations: they are of {seen.name}, and {first.name} is registered"
    if seen.tool_version != tool_of(production):
        yield f"observations: the tool was {seen.tool_version}, and {tool_of(production)} made the version"
    yield from profile_otherwise(seen)
    if seen.signing is not None:
        yield from _signed_otherwise(first.signer, seen.signing)
    made = datetime.fromisoformat(seen.made_at)
    if first.signer.logged_at is not None and made > datetime.fromisoformat(first.signer.logged_at) + CLOCK_TOLERANCE:
        yield f"observations: {seen.made_at} is after {first.signer.logged_at}, when it was registered"
    if made + CLOCK_TOLERANCE < datetime.fromisoformat(production.finished_at):
        yield f"observations: {seen.made_at} is before {production.finished_at}, when its version was made"
    if record.record_id != seen.record_id or record.record_created_at != seen.made_at:
        yield "observations: they are of another record"


FIRST_FIGURES = 6  # of the release that announced the first edition of records


def of_earlier_figures(evaluation: EvaluationRecord) -> Iterator[str]:
    """That the figures of an evaluation are of an edition that no release with editions of records computes.

    Its texts are data and its words milder: whoever signs would choose by which rules harm is called so.
    """
    edition = evaluation.figures_edition
    if edition < FIRST_FIGURES:
        yield f"evaluation: its figures are of edition {edition}, and {FIRST_FIGURES} is the first by which records follow"


def _signed_otherwise(signer: EntrySigner, seen: ObservedSigning) -> Iterator[str]:
    if signer.key_id is not None and seen.key_id != signer.key_id:
        yield "observations: another key signs the registration"
    if signer.person is not None and seen.person != signer.person:
        yield f"observations: the key is said to be that of {seen.person}, and it is that of {signer.person}"


def profile_otherwise(seen: Observations) -> Iterator[str]:
    """Answers of an organisation's profile that nobody declared there: as if they were measured, or signed."""
    if seen.profile is not None and any(_is_no_profile(value) for value in profile_values(seen.profile)):
        yield "observations: the profile states what only somebody can declare as if it were measured or signed"


def _is_no_profile(value: Value) -> bool:
    return value.source not in ("declared", "unknown") or bool(value.evidence)


def profile_values(profile: OrganisationProfile) -> tuple[Value, ...]:
    """Every answer of an organisation's profile."""
    return tuple(getattr(profile, name) for name in type(profile).model_fields)
