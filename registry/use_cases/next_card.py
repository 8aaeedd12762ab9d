"""The model card that goes with the next record of a version, so that whoever pulls it without a key gets what the record says."""

from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.database import catalog
from peft_registry.registry.exports.model_card import card_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import bases_of_record
from peft_registry.registry.records.signed_records import Records, records_of, version_statements
from peft_registry.registry.records.version_statements import own_card
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.statements import Kept, Saying, append_together
from peft_registry.registry.verification.signed_versions import signed_versions
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.statement import CardPredicate
from peft_registry.schemas.version import Version

_VERSIONS_AT_ONCE = 1000


def next_card(registry: Registry, version: Version, record: ModificationRecord) -> Saying | None:
    """The statement of the card that a record gives, by the home's key; None where the card stays as it is.

    It stays where the version was registered without one, or where its base is not recorded here any more.

    Args:
        registry: open and writable.
        version: as the log has it.
        record: its next record.
    """
    records = records_of(registry, version)
    before = own_card(version, records.statements)
    production = records.run or records.merge or records.imported
    stated = next((stated for _, _, stated in bases_of_record(registry, version, record)), None)
    if before is None or production is None or stated is None:
        return None
    card = card_of(
        production,
        name=version.name,
        manifest=records.manifest,
        base_name=str(record.base[0].name.value),
        base=stated.record,
        evaluation=_newest_evaluation(records),
        record=record,
    )
    digest = Digest.of(card)
    if digest == before.predicate.sha256:
        return None
    return Saying(
        "card",
        CardPredicate(sha256=digest, supersedes=before.statement).to_json(),
        registry.trainer_key,
        kept=(Kept(card, "card"),),
    )


def renew_cards(registry: Registry) -> int:
    """Sign the card that its record gives for every version whose card is older than its record; returns of how many.

    Releases before 0.2.0 superseded records and left the card as it was. Nothing is signed where the home's key is not here.
    """
    if registry.read_only or not registry.files.key("trainer").private.exists():
        return 0
    renewed = 0
    after: catalog.PageKey | None = None
    while True:
        with registry.database.read() as tx:
            page = catalog.list_versions(tx, after=after, limit=_VERSIONS_AT_ONCE)
        for version in signed_versions(registry, page.versions):
            record = _record_without_its_card(registry, version)
            if record is not None:
                renewed += bool(_sign_card(registry, version, record))
        after = page.next
        if after is None:
            return renewed


def _sign_card(registry: Registry, version: Version, record: ModificationRecord) -> tuple[SignedStatement, ...]:
    def carded(_: tuple[SignedStatement, ...], __: str) -> Saying | None:
        return next_card(registry, version, record)

    return append_together(registry, subject=version.manifest_digest, sayings=(carded,))


def _record_without_its_card(registry: Registry, version: Version) -> ModificationRecord | None:
    """The record of a version where it superseded another after the card was signed; None anywhere else."""
    said = version_statements(registry, version)
    if len(said.history) < 2 or said.record is None:
        return None
    card = own_card(version, said.statements)
    at = said.record.statement.log_index
    if card is None or at is None:
        return None
    signed = next(entry.log_index for entry in said.statements if entry.digest == card.statement)
    return in_third_form(said.record.record) if signed is not None and signed < at else None


def _newest_evaluation(records: Records) -> EvaluationRecord | None:
    """The one that was made last; pending, too, as the record that goes with it is."""
    evaluations = [stored for stored in records.statements if stored.kind == "bias-evaluation"]
    return evaluations[-1].statement.read_by(EvaluationRecord.from_json) if evaluations else None
