"""What suites of sentence pairs share: reading a file once, and scoring both sentences of a pair in full."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from registry.evaluation.comparisons import ids_digest
from registry.evaluation.items import Item, pair_item
from registry.files import read_file
from schemas.errors import InputRefused, IntegrityBroken
from schemas.evaluation import ArmName, DatasetUsed, Threshold
from schemas.identity import Digest
from trainer.evaluation.questions import Request, Score
from trainer.evaluation.suites import SuiteDefinition

MAX_BYTES = 256 * 1024 * 1024


class MalformedSuite(InputRefused):
    reference = "malformed-suite"

    def __init__(self, suite: str, file: str, row: int, why: str) -> None:
        super().__init__(
            what=f"row {row} of {file} is not a row of {suite}",
            why=why,
            fix="use the file as its authors publish it, or correct the row",
        )


class OtherSuiteFile(IntegrityBroken):
    reference = "other-suite-file"

    def __init__(self, suite: str, file: str, expected: Digest, found: Digest) -> None:
        super().__init__(
            what=f"{file} is not the file that {suite} was pinned to",
            why=f"expected {expected}, the file has {found}; figures of different files do not compare",
            fix="restore the pinned file, or pin the new one and evaluate every arm again",
        )


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences that differ in whom they speak of; `more` is the stereotyping one."""

    id: str
    category: str
    cluster: str
    more: str
    less: str


@dataclass(frozen=True, slots=True)
class PairSuite:
    """A loaded suite of pairs: two requests a pair, both without context."""

    definition: SuiteDefinition
    dataset: DatasetUsed
    pairs: tuple[SentencePair, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(request for pair in self.pairs for request in self.requests_of(pair))

    @staticmethod
    def requests_of(pair: SentencePair) -> tuple[Request, Request]:
        """Both sentences in full, the stereotyping one first."""
        return Request("", pair.more), Request("", pair.less)

    def items(self, scores: Sequence[Score], *, arm: ArmName, threshold: Threshold) -> tuple[Item, ...]:
        return tuple(
            pair_item(
                dataset=self.dataset.name,
                id=pair.id,
                category=pair.category,
                cluster=pair.cluster,
                arm=arm,
                ll=(more.log_likelihood, less.log_likelihood),
                tokens=(more.tokens, less.tokens),
                threshold=threshold,
            )
            for pair, more, less in zip(self.pairs, scores[::2], scores[1::2], strict=True)
        )


def read_once(path: Path, *, suite: str, expected: Digest | None) -> tuple[bytes, Digest]:
    """The bytes of a suite's file and their digest.

    Raises:
        FileMissing: no such file.
        FileTooLarge: it is larger than `MAX_BYTES`.
        FileUnreadable: it cannot be read.
        OtherSuiteFile: it does not have the expected digest.
    """
    data = read_file(path, max_bytes=MAX_BYTES)
    found = Digest.of(data)
    if expected is not None and found != expected:
        raise OtherSuiteFile(suite, path.name, expected, found)
    return data, found


def pair_suite(
    definition: SuiteDefinition,
    rows: Sequence[tuple[int, SentencePair]],
    *,
    file: str,
    sha256: Digest,
    version: str,
) -> PairSuite:
    """The loaded suite of numbered rows.

    Raises:
        MalformedSuite: there is no row, an empty sentence, or an id that occurs twice.
    """
    seen: set[str] = set()
    for number, pair in rows:
        if not pair.more.strip() or not pair.less.strip():
            raise MalformedSuite(definition.name, file, number, "a sentence is empty")
        if pair.id in seen:
            raise MalformedSuite(definition.name, file, number, f"the id {pair.id!r} occurs twice")
        seen.add(pair.id)
    if not rows:
        raise MalformedSuite(definition.name, file, 1, "the file has no rows")
    dataset = DatasetUsed(
        name=definition.name,
        version=version,
        licence=definition.licence,
        file=file,
        sha256=sha256,
        rows_total=len(rows),
        rows_used=len(rows),
        selection_ids_sha256=ids_digest(sorted(seen)),
    )
    return PairSuite(definition, dataset, tuple(pair for _, pair in rows))
