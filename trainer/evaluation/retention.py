"""Retention: what a model still does of what it did before. Loss on named earlier tasks or general text, paired like any loss.

The rows are read as training rows are, from a file or a data set of the Hub and in every format, whole and never trained on.
`neutral` names the everyday sentences that ship with the project; every evaluation scores them, as its capability guard.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.schemas.config import RetentionSource
from peft_registry.schemas.dataset import Split
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.data.containers import inspect_file
from peft_registry.trainer.data.dataset import Locate, load_rows
from peft_registry.trainer.data.formats import choose_reading

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.losses import HeldOut
    from peft_registry.trainer.evaluation.models import Tokenizer

PREFIX = "retention-"
UNLIMITED = 1 << 20  # tokens, for a model that states no length


class RetainedTwice(InputRefused):
    what = "two texts to retain would be called {name}"
    why = "figures are found by that name, which is the file's own without its ending"
    fix = "rename one of them; in a training file give it a `name`"

    name: str


def sources_of(paths: Sequence[str | Path]) -> tuple[RetentionSource, ...]:
    """The texts that a command line names.

    Raises:
        RetainedTwice: two of them have the same name.
    """
    sources: dict[str, RetentionSource] = {}
    for path in paths:
        source = RetentionSource(path=str(path) or ".")  # no word at all is the folder here, and refused as one
        if source.label in sources:
            raise RetainedTwice(source.label)
        sources[source.label] = source
    return tuple(sources.values())


def check_retained(sources: Sequence[RetentionSource], *, locate: Locate) -> None:
    """Raise unless every named text is there and can be read: before training, not after.

    Raises:
        InputRefused, NotFound: as for training data; each kind of bad data has a reference of its own.
    """
    for source in sources:
        if not source.ships:
            located = locate(source, "test")
            facts = inspect_file(*located.paths)
            # no model is loaded yet, and its template decides nothing about columns: any will do
            choose_reading(
                source,
                name=located.name,
                columns=facts.columns,
                classes=facts.classes,
                lists=facts.lists,
                chat_template="",
            )


def retained(
    sources: Sequence[RetentionSource],
    *,
    locate: Locate,
    tokenizer: "Tokenizer",
    longest: int | None,
    observe: Observe = ignore,
) -> "tuple[HeldOut, ...]":
    """The rows of each named text, whose loss is measured under `retention-<name>`; `neutral` is measured anyway.

    Args:
        sources: those that are asked for.
        locate: finds their files.
        tokenizer: of the model.
        longest: the positions that the model reads, to which rows are cut; None where it states none.
        observe: hears of progress.

    Raises:
        InputRefused, NotFound: as for training data; each kind of bad data has a reference of its own.
    """
    from peft_registry.trainer.evaluation.losses import held_out

    longest = longest or UNLIMITED
    texts = []
    for source in sources:
        if not source.ships:
            part = None if source.fraction is None or source.seed is None else (source.fraction, source.seed)
            rows, identity = load_rows(
                source,
                "test",
                locate=locate,
                tokenizer=tokenizer,
                max_length=min(longest, source.max_length or longest),
                held_out=part,
                observe=observe,
            )
            split: Split = "test" if part is None else "validation"
            texts.append(held_out(rows, identity, split=split, name=f"{PREFIX}{source.label}"))
    return tuple(texts)
