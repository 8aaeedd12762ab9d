"""The evaluations of a registered version, with their item tables, checked against each other. Needs no deep-learning stack."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from peft_registry.registry.compliance.recorded_evaluation import ScoredFigures, scored_by
from peft_registry.registry.evaluation.judged_again import judged_among, praises, unjudged, words_by_newest_edition
from peft_registry.registry.evaluation.plans import plan_discrepancies
from peft_registry.registry.evaluation.recheck import Discrepancy, EvaluationAltered, recheck
from peft_registry.registry.evaluation.staleness import Staleness, composition_of, staleness
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import tries_of_ancestors
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.plans import logged_plans
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, NotFound
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


class NoEvaluation(NotFound):
    what = "no evaluation of {label} is recorded"
    why = "training records one, and `registry evaluate` another for each call"
    fix = "registry evaluate {label} --suite house"

    label: str


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """One evaluation: which statement it is, its record, its items, and why it does not speak of the version, if so."""

    statement: Digest
    record: EvaluationRecord
    items: bytes
    stale: Staleness | None
    log_index: int


def stored_evaluations(registry: Registry, version: Version) -> tuple[StoredEvaluation, ...]:
    """Every evaluation of a version, in the order in which they were recorded.

    Raises:
        NoEvaluation: there is none.
        StatementAltered: a statement is not what was signed.
        ObjectMissing, ObjectCorrupt: the store lost or changed an item table.
    """
    evaluations = []
    for stored in signed_statements(registry, version.manifest_digest):
        if stored.kind == "bias-evaluation":
            record = stored.statement.read_by(EvaluationRecord.from_json)
            items = registry.store.read_bytes(record.items.sha256)
            evaluations.append(
                StoredEvaluation(
                    stored.digest, record, items, stale_for(registry, version, record), stored.log_index or 0
                )
            )
    if not evaluations:
        raise NoEvaluation(version.label)
    return tuple(evaluations)


def stale_for(registry: Registry, version: Version, record: EvaluationRecord) -> Staleness | None:
    """Why an evaluation does not speak of a version; None if it does, or if the version's base is not known here."""
    manifest = stored_manifest(registry, version.manifest_digest)
    base = _base_identity(registry, version)
    return None if base is None else staleness(record, composition_of(manifest, base))


def newest_of_each(records: Sequence[EvaluationRecord]) -> tuple[EvaluationRecord, ...]:
    """The evaluations that a reader should see, newest first: all but those whose figures later ones counted again.

    One on fewer rows, on other data or with other arms hides none.
    """
    seen: set[ScoredFigures] = set()
    kept = []
    for record in reversed(records):
        scored = scored_by(record)
        if scored - seen:
            kept.append(record)
            seen |= scored
    return tuple(kept)


def standing_evaluations(
    registry: Registry, version: Version, records: Sequence[EvaluationRecord]
) -> tuple[EvaluationRecord, ...]:
    """Of the evaluations of a version those that speak of it and that no later one counted again, newest first.

    Args:
        registry: open.
        version: a registered version.
        records: its evaluations in the order of the log.
    """
    return tuple(record for record in newest_of_each(records) if stale_for(registry, version, record) is None)


def judged_now(
    registry: Registry, version: Version, records: Sequence[EvaluationRecord]
) -> tuple[EvaluationRecord, ...]:
    """Evaluations of a version as they read now: what they call better is judged among all seeds that were begun since.

    They are for showing: their digests are not those of the records that were signed.

    Args:
        registry: open.
        version: a registered version.
        records: evaluations of it.
    """
    if not any(praises(record) for record in records):
        return tuple(records)
    try:
        tries = tries_of_ancestors(registry, [version])
        return tuple(judged_among(record, tries, _items_of(registry, record)) for record in records)
    except (IntegrityBroken, NotChecked) as error:  # praise that cannot be judged is not shown
        return tuple(unjudged(record, error.what) for record in records)


def words_of_today(registry: Registry, records: Sequence[EvaluationRecord]) -> tuple[str, ...]:
    """What evaluations by earlier editions of the figures are called by the newest, a sentence for each other word.

    One whose items are not in the store, or do not fit it, is left as it was signed: `recheck_version` says what is wrong.
    """
    words: list[str] = []
    for record in records:
        items = _items_of(registry, record)
        if items is not None:
            with suppress(IntegrityBroken):
                words += words_by_newest_edition(record, items)
    return tuple(dict.fromkeys(words))


def _items_of(registry: Registry, record: EvaluationRecord) -> bytes | None:
    """The item table of an evaluation; None where the store does not have it."""
    digest = record.items.sha256
    return registry.store.read_bytes(digest) if registry.store.has(digest) else None


def recheck_version(registry: Registry, version: Version) -> tuple[StoredEvaluation, ...]:
    """Every evaluation of a version, recomputed from its item table.

    Raises:
        EvaluationAltered: one does not follow from its items; names the first figure or row.
        NoEvaluation: there is none.
    """
    evaluations = stored_evaluations(registry, version)
    logged = logged_plans(registry, version)
    plans = {digest: evaluation.plan for digest, evaluation in logged.items()}
    for evaluation in evaluations:
        older = frozenset(digest for digest, plan in logged.items() if plan.log_index < evaluation.log_index)
        discrepancies: tuple[Discrepancy, ...] = (
            *recheck(evaluation.record, evaluation.items),
            *plan_discrepancies(evaluation.record, plans, older),
        )
        if discrepancies:
            raise EvaluationAltered(discrepancies)
    return evaluations


def _base_identity(registry: Registry, version: Version) -> BaseIdentity | None:
    manifest = stored_manifest(registry, version.manifest_digest)
    if manifest.base is not None:
        return manifest.base.identity
    try:
        return base_record(registry, version).identity
    except (NotFound, IntegrityBroken):  # a version without a base statement: nothing can be compared
        return None
