"""Loss on everyday sentences that speak of nobody: a model that lost its language looks free of preferences, and is not."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from peft_registry.registry.evaluation.aggregate import NEUTRAL
from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import Item, loss_item
from peft_registry.schemas.evaluation import ArmName, DatasetUsed
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request, Score

FILE = "neutral.txt"


def neutral_sentences() -> tuple[str, ...]:
    """The sentences of the shipped file, one a line."""
    return tuple(_path().read_text(encoding="utf-8").splitlines())


def neutral_requests() -> tuple[Request, ...]:
    """Each sentence without context."""
    return tuple(Request("", sentence) for sentence in neutral_sentences())


def neutral_dataset() -> DatasetUsed:
    """What the record says about the sentences."""
    ids = _ids()
    return DatasetUsed(
        name=NEUTRAL,
        version="1",
        licence="Apache-2.0",
        file=FILE,
        sha256=Digest.of(_path().read_bytes()),
        rows_total=len(ids),
        rows_used=len(ids),
        selection_ids_sha256=ids_digest(ids),
    )


def neutral_items(scores: Sequence[Score], arm: ArmName) -> tuple[Item, ...]:
    """One item a sentence."""
    return tuple(
        loss_item(dataset=NEUTRAL, id=name, cluster=name, arm=arm, ll=one.log_likelihood, tokens=one.tokens)
        for name, one in zip(_ids(), scores, strict=True)
    )


def _ids() -> tuple[str, ...]:
    return tuple(f"neutral-{number:02}" for number in range(1, len(neutral_sentences()) + 1))


def _path() -> Path:
    """A file beside this module; the wheel is always installed unpacked, so it has a real path."""
    return Path(str(files(__package__) / FILE))
