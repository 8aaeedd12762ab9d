"""`supersede`: the next modification record of a version, derived from everything that was said of it since the last.

The home's key signs it: a record is the tool's word, derived from signed statements that it names. What people say reaches it
through the facts of a run or through signed answers, and never as a record of theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers
from peft_registry.registry.compliance.derivation import derive_next, facts_taken_up
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.known_elsewhere import known_of_base, known_of_organisation
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.bases import bases_of_record
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.logged_statements import signer_of
from peft_registry.registry.records.next_record_checks import next_inputs, uncounted
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.signed_records import derived_to_supersede, record_checks, version_statements
from peft_registry.registry.records.waiting_answers import waiting_answers
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.next_card import next_card
from peft_registry.registry.use_cases.statements import Saying, append_together
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord, RecordInput, RecordSections
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class NextRecord:
    """A record that is about to be signed, and the one that it supersedes."""

    before: SignedRecord
    stated: ModificationPredicate

    @property
    def record(self) -> ModificationRecord:
        return self.stated.record


@dataclass(frozen=True, slots=True)
class Superseded:
    """A record that was signed: what entered the log with it, the one before it, and itself as it stands, pending or covered."""

    statements: tuple[SignedStatement, ...]
    before: SignedRecord
    current: SignedRecord
    record: ModificationRecord


def supersede(
    registry: Registry,
    version: Version,
    *,
    answers: Callable[[], Saying] | None = None,
    facts: dict[str, Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Superseded | None:
    """Sign and log the record that supersedes the version's newest, with the card that it gives; None where there is nothing new.

    Args:
        registry: open and writable.
        version: as the log has it.
        answers: makes a statement of answers that enters the log with the record, and is taken up by it.
        facts: the JSON value of a facts file, of which the record takes up what it can.
        check: asked once nobody else can write any more; what it raises is raised, and nothing is signed.

    Raises:
        NoRecord: the version has no record.
        RecordNotDerived: its record is of an edition that this release does not know.
        EditionNotAnnounced: nobody has announced the edition by which it would be derived.
        KnownError: as `append_together`.
    """
    require_announced(registry)
    made: list[NextRecord] = []

    def observed(_: tuple[SignedStatement, ...], __: str) -> Saying | None:
        check()
        before = derived_to_supersede(version_statements(registry, version), version)
        seen = observations_of_home(registry, before.record, version, facts)
        return None if seen is None else Saying("observations", seen.to_json(), registry.trainer_key)

    def answered(_: tuple[SignedStatement, ...], __: str) -> Saying | None:
        return None if answers is None else answers()

    def superseding(signed: tuple[SignedStatement, ...], at: str) -> Saying | None:
        following = next_record(registry, version, together=signed, at=at)
        if following is None:
            return None
        made.append(following)
        return Saying("modification", following.stated.to_json(), registry.trainer_key)

    def carded(_: tuple[SignedStatement, ...], __: str) -> Saying | None:
        return next_card(registry, version, made[-1].record) if made else None

    statements = append_together(
        registry, subject=version.manifest_digest, sayings=(answered, observed, superseding, carded)
    )
    if not made or not statements:
        return None
    record = next(signed.digest for signed in statements if signed.statement.kind == "modification")
    chain = version_statements(registry, version).chain
    # it is in the chain: nobody else could write since the record before it was read; another may stand in its place by now
    current = next(link for link in chain if link.statement.digest == record)
    return Superseded(statements, made[-1].before, current, made[-1].record)


def next_record(
    registry: Registry,
    version: Version,
    *,
    together: Sequence[SignedStatement] = (),
    tried: SignedAnswers | None = None,
    at: Timestamp,
) -> NextRecord | None:
    """The record that follows from everything that was said since the newest; None where nothing was. Nothing is signed.

    Args:
        registry: open.
        version: as the log has it.
        together: statements that are signed and enter the log right before the record.
        tried: answers that are only tried.
        at: the time of the next entry.

    Raises:
        NoRecord: the version has no record.
        RecordNotDerived: its record is of an edition that this release does not know.
    """
    require_announced(registry)
    subject = version.manifest_digest
    said = version_statements(registry, version)
    before = derived_to_supersede(said, version)
    checks = record_checks(registry, subject)
    inputs = [
        RecordInput(kind="answers", digest=signed.statement, about=subject) for signed in waiting_answers(said, version)
    ]
    for signed in together:
        checks.take(signed.digest, signed.statement, signer_of(registry.trust.key(signed.key_id), at=at, index=None))
        kind = signed.statement.kind
        if kind == "answers" or kind == "observations":  # noqa: PLR1714 -- it narrows the type
            inputs.append(RecordInput(kind=kind, digest=signed.digest, about=subject))
    if tried is not None:
        checks.statements.try_answers(tried)
        inputs.append(RecordInput(kind="answers", digest=tried.statement, about=subject))
    inputs += [
        RecordInput(kind="bias-evaluation", digest=digest, about=subject)
        for digest in uncounted(checks.statements, subject, before.record)
    ]
    inputs += _bases_that_tell(registry, version, before)
    if not inputs:
        return None
    inputs.insert(0, RecordInput(kind="modification", digest=before.statement.digest, about=subject))
    record = derive_next(
        next_inputs(checks.statements, subject, before.record, inputs, name=version.name),
        record_id=registry.nonce(),
        now=registry.clock(),
    )
    stated = ModificationPredicate(
        edition=editions().newest, as_of=covered_size(registry), inputs=tuple(inputs), record=record
    )
    return NextRecord(before, stated)


def observations_of_home(
    registry: Registry, before: RecordSections, version: Version, facts: dict[str, Any] | None
) -> Observations | None:
    """What the home's profile and a facts file say that a record leaves open; None where neither says anything."""
    profile = read_profile(registry)
    now = registry.clock()
    tells = bool(known_of_organisation(before, profile))
    declares = facts is not None and bool(facts_taken_up(before, facts, at=now))
    if not tells and not declares:
        return None
    return Observations(
        nonce=registry.nonce(),
        record_id=before.record_id,
        made_at=now,
        name=version.name,
        tool_version=tool_version(),
        profile=profile if tells else None,
        facts=facts if declares else None,
    )


def _bases_that_tell(registry: Registry, version: Version, before: SignedRecord) -> list[RecordInput]:
    """The statements about the bases of a record that answer what it leaves open."""
    return [
        RecordInput(kind="base", digest=stated.statement, about=manifest)
        for position, manifest, stated in bases_of_record(registry, version, before.record)
        if known_of_base(before.record, position, stated.facts, stated.role)
    ]


def supersede_with_evaluations(registry: Registry, version: Version) -> SignedRecord | None:
    """The record with the figures of evaluations that were logged after it was made.

    None for a version without a record, and where its record has all of them: the same evaluation twice is logged once. None also
    where this release cannot derive its record: the evaluation stands in the log, and a release that can takes it up.

    Raises:
        KnownError: as `supersede`.
    """
    said = version_statements(registry, version)
    if said.record is None or (said.newest is not None and said.newest.note):
        return None
    made = supersede(registry, version)
    return None if made is None else made.current
