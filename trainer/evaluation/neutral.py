"""Loss on everyday sentences that speak of nobody: a model that lost its language looks free of preferences, and is not.

The sentences that ship are known to whoever trains. So a text from outside can stand beside them: a file of the user's, one passage
a line, of which the record holds the digest and the number of passages. Whoever chooses it may choose one that nothing makes
worse, so that both are scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.evaluation.aggregate import NEUTRAL, NEUTRAL_SHIPPED
from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import Item, loss_item
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.evaluation import ArmName, DatasetUsed
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request, Score

FILE = "neutral.txt"
MAX_BYTES = 16 * 1024 * 1024
LEAST, MOST = 10, 5_000  # passages: fewer give the loss no interval, more cost longer than the suites
REPEATED = code("passage_again")


class GuardTextRefused(InputRefused):
    what = "{path} cannot be the text that shows lost capability"
    why = "{reason}"
    fix = f"give a UTF-8 text file of {LEAST} to {MOST} different passages, one a line; empty lines are passed over"

    path: Path
    reason: str


class OtherGuardText(IntegrityBroken):
    what = "{path} is not the text that was pinned"
    why = "expected {expected}, the file has {found}"
    fix = "restore the pinned file, or give the digest of this one"

    path: Path
    expected: Digest
    found: Digest


@dataclass(frozen=True, slots=True)
class GuardText:
    """The passages whose loss shows lost capability, their ids, and what the record says of them."""

    passages: tuple[str, ...]
    ids: tuple[str, ...]
    dataset: DatasetUsed

    @property
    def requests(self) -> tuple[Request, ...]:
        """Each passage without context."""
        return tuple(Request("", passage) for passage in self.passages)

    def items(self, scores: Sequence[Score], arm: ArmName) -> tuple[Item, ...]:
        """One item a passage."""
        return tuple(
            loss_item(
                dataset=self.dataset.name, id=name, cluster=name, arm=arm, ll=score.log_likelihood, tokens=score.tokens
            )
            for name, score in zip(self.ids, scores, strict=True)
        )


def neutral_sentences() -> tuple[str, ...]:
    """The sentences of the shipped file, one a line."""
    return tuple(_path().read_text(encoding="utf-8").splitlines())


def shipped_guard() -> GuardText:
    """The sentences that ship."""
    sentences = neutral_sentences()
    ids = tuple(f"neutral-{number:02}" for number in range(1, len(sentences) + 1))
    dataset = DatasetUsed(
        name=NEUTRAL,
        version="1",
        licence="Apache-2.0",
        file=FILE,
        sha256=Digest.of(_path().read_bytes()),
        rows_total=len(ids),
        rows_used=len(ids),
        selection_ids_sha256=ids_digest(ids),
    )
    return GuardText(sentences, ids, dataset)


def guards_beside(guard: GuardText) -> tuple[GuardText, ...]:
    """The guard text, and the sentences that ship where they are another: they can be compared between all evaluations."""
    shipped = shipped_guard()
    if guard.dataset.sha256 == shipped.dataset.sha256:
        return (guard,)
    return guard, replace(shipped, dataset=shipped.dataset.revised(name=NEUTRAL_SHIPPED))


def read_guard_text(path: Path, expected: Digest | None = None) -> GuardText:
    """The passages of a file of the user's. `expected` is the digest that its bytes must have.

    Raises:
        GuardTextRefused: it is not text, or has too few or too many passages.
        OtherGuardText: its digest is another.
        OfferedFileRefused, FileMissing, FileUnreadable: about the file.
    """
    data = read_offered(path, max_bytes=MAX_BYTES)
    digest = Digest.of(data)
    if expected is not None and digest != expected:
        raise OtherGuardText(path, expected, digest)
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise GuardTextRefused(path, f"byte {error.start} is not UTF-8") from error
    every = [line for line in lines if line]
    passages = tuple(dict.fromkeys(every))
    if not LEAST <= len(passages) <= MOST:
        raise GuardTextRefused(path, f"it has {len(passages)} different passages")
    ids = tuple(f"passage-{number:05}" for number in range(1, len(passages) + 1))
    repeated = len(every) - len(passages)
    dataset = DatasetUsed(
        name=NEUTRAL,
        version=f"file {digest.short}",
        licence="not declared",
        file=path.name,
        sha256=digest,
        rows_total=len(every),
        rows_used=len(passages),
        selection_ids_sha256=ids_digest(ids),
        excluded={REPEATED.code: repeated} if repeated else {},
    )
    return GuardText(passages, ids, dataset)


def _path() -> Path:
    """A file beside this module; the wheel is always installed unpacked, so it has a real path."""
    return Path(str(files(__package__) / FILE))
