"""`supersede_record`: another modification record of a version, from what is recorded of it; `decide` makes those from answers.

The home's key signs it: a record is the tool's word, built from evidence that it names. What people say reaches it through the
facts of a run or through signed answers, and never as a record of theirs.
"""

from collections.abc import Callable, Sequence

from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.superseding import superseding
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.signed_records import record_to_supersede, version_statements
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import Taken
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.version import Version


class RecordSuperseded(Taken):
    reference = "record-superseded"
    what = "the modification record of {label} was superseded by somebody else in the meantime"
    why = "the new record was built from {before}, and the one that holds now is {current}"
    fix = "run the command again: it builds on the record that holds now"

    label: str
    before: str
    current: str


def supersede_record(
    registry: Registry, version: Version, build: Callable[[SignedRecord], ModificationRecord | None]
) -> SignedRecord | None:
    """Sign and log the record that supersedes the version's newest; returns it as it stands in the log, pending or covered.

    Args:
        registry: open and writable.
        version: as the log has it.
        build: makes the new record from the newest, which may be pending; None where there is nothing to say anew, and nothing is
            signed.

    Raises:
        NoRecord: the version has no record.
        RecordSuperseded: another record superseded the same one first; the new one is in the log and decides nothing.
        KnownError: as `append_statement`.
    """
    before = record_to_supersede(version_statements(registry, version), version)
    record = build(before)
    if record is None:
        return None
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="modification",
        predicate=record.to_json(),
        signer=registry.trainer_key,
    )
    current = version_statements(registry, version).newest
    assert current is not None, "it had one before"
    if current.statement.digest != signed.digest:
        raise RecordSuperseded(version.label, before.record.record_id, current.record.record_id)
    return current


def supersede_with_evaluations(
    registry: Registry, version: Version, evaluations: Sequence[tuple[Digest, EvaluationRecord]]
) -> SignedRecord | None:
    """The record with the figures of evaluations that were logged after it was made.

    None for a version without a record, and where its record has all of them: the same evaluation twice is logged once.

    Args:
        registry: open and writable.
        version: that was evaluated.
        evaluations: digest of each statement, and what it says, in the order of the log.

    Raises:
        KnownError: as `supersede_record`.
    """
    said = version_statements(registry, version)
    if said.record is None:
        return None
    recorded = frozenset(said.record.record.evaluation.signed_by.evidence)
    evaluations = [
        (statement, record)
        for statement, record in evaluations
        if recorded.isdisjoint((statement, record.canonical_digest()))
    ]
    if not evaluations:
        return None
    signatures = _signatures(registry, said)

    def build(before: SignedRecord) -> ModificationRecord:
        later = [record for _, record in evaluations]
        return superseding(
            before.record,
            version=version,
            record_id=registry.nonce(),
            now=registry.clock(),
            reason=code("evaluated_later"),
            evaluations=tuple(digest for digest, _ in evaluations),
            evaluation=with_later_evaluations(before.record.evaluation, later, signatures),
        )

    return supersede_record(registry, version, build)


def _signatures(registry: Registry, said: VersionStatements) -> tuple[EvaluationSignature, ...]:
    """Who signed each evaluation of a version, and when it entered the log."""
    return tuple(
        EvaluationSignature(
            statement=stored.digest,
            evaluation=EvaluationRecord.from_json(stored.statement.predicate).canonical_digest(),
            key_id=stored.key_id,
            person=registry.trust.person_of(stored.key_id),
            at=stored.appended_at or registry.clock(),
        )
        for stored in said.statements
        if stored.kind == "bias-evaluation"
    )
