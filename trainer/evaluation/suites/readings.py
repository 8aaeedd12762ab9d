"""What suites of rows with several options share: asking for each option, and turning the answers into readings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.items import ScoreNotFinite
from peft_registry.registry.evaluation.readings import Family, Reading, whole_millionths
from peft_registry.schemas.evaluation import ArmName, DatasetUsed, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request, Score
from peft_registry.trainer.evaluation.suites import SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, SuiteFiles, require_different
from peft_registry.trainer.evaluation.suites.published import published_as


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """One row: a request a label, and labelled constants (millionths) that figures need besides."""

    id: str
    category: str | None
    cluster: str
    condition: str
    unit: str
    labels: tuple[str, ...]
    requests: tuple[Request, ...]
    correct: int | None = None
    constants: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ReadingSuite:
    """A loaded suite whose rows become readings of one family."""

    definition: SuiteDefinition
    family: Family
    dataset: DatasetUsed
    rows: tuple[SuiteRow, ...]

    @property
    def requests(self) -> tuple[Request, ...]:
        return tuple(request for row in self.rows for request in row.requests)

    @property
    def prompt_pairs(self) -> None:
        return None

    @property
    def units(self) -> tuple[tuple[str, str], ...]:
        """(id, what it is judged together with) of each row."""
        return tuple((row.id, row.unit) for row in self.rows)

    @property
    def clusters(self) -> dict[str, str]:
        return {row.id: row.cluster for row in self.rows}

    def only(self, ids: frozenset[str], dataset: DatasetUsed) -> "ReadingSuite":
        """The suite with some of its rows."""
        return replace(self, dataset=dataset, rows=tuple(row for row in self.rows if row.id in ids))

    def items(
        self,
        scores: Sequence[Score],
        *,
        arm: ArmName,
        threshold: Threshold | None = None,  # noqa: ARG002  states are derived later
    ) -> tuple[Reading, ...]:
        found = []
        start = 0
        for row in self.rows:
            answers = scores[start : start + len(row.requests)]
            start += len(row.requests)
            values = whole_millionths([answer.log_likelihood for answer in answers])
            if values is None:
                raise ScoreNotFinite(self.dataset.name, row.id, arm)
            found.append(
                Reading(
                    dataset=self.dataset.name, id=row.id, category=row.category, cluster=row.cluster, arm=arm,
                    metric=self.family, condition=row.condition, unit=row.unit, correct=row.correct,
                    labels=(*row.labels, *(name for name, _ in row.constants)),
                    values=(*values, *(value for _, value in row.constants)),
                    tokens=(*(answer.tokens for answer in answers), *(0 for _ in row.constants)),
                )
            )  # fmt: skip
        return tuple(found)


def reading_suite(
    definition: SuiteDefinition,
    family: Family,
    rows: Sequence[SuiteRow],
    *,
    files: SuiteFiles,
    excluded: dict[str, int] | None = None,
    mapping: Sequence[tuple[str, int | None]] | None = None,
) -> ReadingSuite:
    """The loaded suite; `excluded` counts rows that were read and cannot be asked, by reason.

    Raises:
        MalformedSuite: no row, or an id that occurs twice.
    """
    ids = [row.id for row in rows]
    if not rows:
        raise MalformedSuite(definition.name, files.label, 1, "the file has no rows that can be asked")
    if len(set(ids)) < len(ids):
        twice = next(row_id for row_id in ids if ids.count(row_id) > 1)
        raise MalformedSuite(definition.name, files.label, ids.index(twice) + 1, f"the id {twice!r} occurs twice")
    require_different(definition.name, files.label, [row.requests for row in rows])
    left_out = excluded or {}
    dataset = DatasetUsed(
        name=definition.name,
        version=f"file {files.sha256.short}",
        licence=definition.licence,
        file=files.label,
        sha256=files.sha256,
        rows_total=len(rows) + sum(left_out.values()),
        rows_used=len(rows),
        selection_ids_sha256=ids_digest(ids),
        excluded={reason: count for reason, count in left_out.items() if count},
        mapping_sha256=None if mapping is None else mapping_digest(mapping),
        published=published_as(files),
    )
    return ReadingSuite(definition, family, dataset, tuple(rows))


def mapping_digest(mapping: Sequence[tuple[str, int | None]]) -> Digest:
    """SHA-256 of the frozen direction of each row, one a line: id, and the place of the target or `-`."""
    lines = [f"{name} {'-' if place is None else place}\n" for name, place in sorted(mapping)]
    return Digest.of("".join(lines).encode("utf-8"))
