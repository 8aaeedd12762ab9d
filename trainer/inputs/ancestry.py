"""The kept hashes of what each training run that went into something learnt from, through merges and starting adapters."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.schemas.codes import code
from peft_registry.schemas.version import Version

if TYPE_CHECKING:  # numpy is imported once hashes are compared
    from peft_registry.trainer.evaluation.leakage import TrainedOn


def texts_of_ancestors(registry: Registry, parents: Iterable[Version]) -> "TrainedOn":
    """What went into these versions: their own trainings, and those of all that they were merged from or continued from.

    A training that kept no hashes, or whose hashes the store has lost, is unknown.

    Raises:
        MalformedTextHashes, ObjectCorrupt: kept hashes are not what the run recorded.
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`.
    """
    from peft_registry.trainer.evaluation.leakage import TrainedOn

    trained = TrainedOn()
    for ancestor in ancestry_of(registry, parents):
        if ancestor.has_trained:
            trained += _texts_of(registry, ancestor)
    return trained


def _texts_of(registry: Registry, ancestor: Ancestor) -> "TrainedOn":
    from peft_registry.trainer.evaluation.leakage import known_training, unknown_training
    from peft_registry.trainer.evaluation.text_hashes import read_text_hashes

    if ancestor.run is None:
        return unknown_training(ancestor.label, code("training_not_recorded"))
    kept = ancestor.run.texts
    if kept is None:
        return unknown_training(ancestor.label, code("no_hashes_kept"))
    if not registry.store.has(kept.sha256):
        return unknown_training(ancestor.label, code("hashes_lost"))
    return known_training(
        ancestor.label, read_text_hashes(registry.store.read_bytes(kept.sha256), kept.sha256), kept.sha256
    )
