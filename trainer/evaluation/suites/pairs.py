"""What suites of sentence pairs share: scoring both sentences of a pair, or both ways to go on after a context."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import Item, pair_item
from peft_registry.schemas.evaluation import ArmName, DatasetUsed, Threshold
from peft_registry.trainer.evaluation.questions import Request, Score
from peft_registry.trainer.evaluation.suites import SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, SuiteFiles, require_different
from peft_registry.trainer.evaluation.suites.published import published_as


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences that differ in whom they speak of; `more` is the stereotyping one. After a `context` they are continuations."""

    id: str
    category: str
    cluster: str
    more: str
    less: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class PairSuite:
    """A loaded suite of pairs: two requests a pair, both in the same context."""

    definition: SuiteDefinition
    dataset: DatasetUsed
    pairs: tuple[SentencePair, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(request for pair in self.pairs for request in self.requests_of(pair))

    @staticmethod
    def requests_of(pair: SentencePair) -> tuple[Request, Request]:
        """Both sentences in full, the stereotyping one first."""
        return Request(pair.context, pair.more), Request(pair.context, pair.less)

    @property
    def prompt_pairs(self) -> None:
        return None

    @property
    def units(self) -> tuple[tuple[str, str], ...]:
        return tuple((pair.id, pair.id) for pair in self.pairs)

    @property
    def clusters(self) -> dict[str, str]:
        return {pair.id: pair.cluster for pair in self.pairs}

    def only(self, ids: frozenset[str], dataset: DatasetUsed) -> "PairSuite":
        """The suite with some of its pairs."""
        return replace(self, dataset=dataset, pairs=tuple(pair for pair in self.pairs if pair.id in ids))

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


def pair_suite(
    definition: SuiteDefinition,
    rows: Sequence[tuple[int, SentencePair]],
    *,
    files: SuiteFiles,
    version: str | None = None,
    excluded: dict[str, int] | None = None,
) -> PairSuite:
    """The loaded suite of numbered rows out of files; `excluded` counts rows that were read and cannot be asked, by reason.

    Raises:
        MalformedSuite: there is no row, an empty sentence, or an id that occurs twice.
    """
    file = files.label
    seen: set[str] = set()
    for number, pair in rows:
        if not pair.more.strip() or not pair.less.strip():
            raise MalformedSuite(definition.name, file, number, "a sentence is empty")
        if pair.more == pair.less:
            raise MalformedSuite(definition.name, file, number, "both sentences are the same, and no model prefers one")
        if pair.id in seen:
            raise MalformedSuite(definition.name, file, number, f"the id {pair.id!r} occurs twice")
        seen.add(pair.id)
    if not rows:
        raise MalformedSuite(definition.name, file, 1, "the file has no rows")
    require_different(definition.name, file, [(pair.context, pair.more, pair.less) for _, pair in rows])
    left_out = {reason: count for reason, count in (excluded or {}).items() if count}
    dataset = DatasetUsed(
        name=definition.name,
        version=version or f"file {files.sha256.short}",
        licence=definition.licence,
        file=file,
        sha256=files.sha256,
        rows_total=len(rows) + sum(left_out.values()),
        rows_used=len(rows),
        selection_ids_sha256=ids_digest(sorted(seen)),
        excluded=left_out,
        published=published_as(files),
    )
    return PairSuite(definition, dataset, tuple(pair for _, pair in rows))
