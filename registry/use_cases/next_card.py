"""The model card that goes with the next record of a version, so that whoever pulls it without a key gets what the record says."""

from peft_registry.registry.exports.model_card import card_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import bases_of_record
from peft_registry.registry.records.signed_records import Records, records_of
from peft_registry.registry.records.version_statements import own_card
from peft_registry.registry.use_cases.statements import Kept, Saying
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.statement import CardPredicate
from peft_registry.schemas.version import Version


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


def _newest_evaluation(records: Records) -> EvaluationRecord | None:
    """The one that was made last; pending, too, as the record that goes with it is."""
    evaluations = [stored for stored in records.statements if stored.kind == "bias-evaluation"]
    return EvaluationRecord.from_json(evaluations[-1].statement.predicate) if evaluations else None
