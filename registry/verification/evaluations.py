"""The evaluations that are presented with an artifact, held against their item tables: in a pulled folder, without a registry.

`recheck_folder` recomputes everything, whatever it takes. `check_figures` is the part of it that every verification makes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from peft_registry.registry.compliance.editions import FiguresAnnounced
from peft_registry.registry.evaluation.plans import plan_discrepancies
from peft_registry.registry.evaluation.recheck import (
    Discrepancy,
    EvaluationAltered,
    UnusablePlan,
    bootstrap_work,
    is_of_later_edition,
    recheck,
    recheck_closed_forms,
)
from peft_registry.registry.verification.evidence import StatementBroken, read_statements
from peft_registry.registry.verification.presented import Presented, present_folder
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.evaluation import EvaluationPlan, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import EVIDENCE_NAME
from peft_registry.schemas.statement import Statement

Predicate = TypeVar("Predicate", bound=Document)
MAX_WORK = 40_000_000  # rows times draws that a verification spends on one evaluation: a second or two on one core


class NoEvaluationHere(NotFound):
    what = "{folder} holds no evaluation"
    why = "a pulled version has them under evidence/, with their item tables"
    fix = "pull the version again: registry pull NAME:NUMBER FOLDER"

    folder: str


@dataclass(frozen=True, slots=True)
class PresentedEvaluation:
    """An evaluation in a folder, and the bytes of its item table."""

    record: EvaluationRecord
    items: bytes


def recheck_folder(folder: Path) -> tuple[PresentedEvaluation, ...]:
    """Every evaluation in a folder, recomputed from the item table beside it. Signatures are `registry verify`'s.

    Raises:
        EvaluationAltered: one does not follow from its items; names the first figure or row.
        NoEvaluationHere: there is none.
        FileAbsent: an item table is missing.
    """
    presented = present_folder(folder)
    lines = tuple(enumerate(read_statements(presented), start=1))
    records = [
        _predicate(read.statement, line, EvaluationRecord)
        for line, read in lines
        if read.statement.kind == "bias-evaluation"
    ]
    plans = {
        read.digest: _predicate(read.statement, line, EvaluationPlan)
        for line, read in lines
        if read.statement.kind == "evaluation-plan"
    }
    if not records:
        raise NoEvaluationHere(str(folder))
    evaluations = tuple(PresentedEvaluation(record, items_in(presented, record)) for record in records)
    for evaluation in evaluations:
        discrepancies = (
            *recheck(evaluation.record, evaluation.items),
            *plan_discrepancies(evaluation.record, plans),
        )
        if discrepancies:
            raise EvaluationAltered(discrepancies)
    return evaluations


@dataclass(frozen=True, slots=True)
class FiguresCheck:
    """How signed figures compare with their items.

    Attributes:
        contradictions: a line for each figure that is not what its items give.
        unknown: a line for each evaluation that this release cannot recompute.
        notes: a line for each evaluation that was not recomputed in full, and why.
    """

    contradictions: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def check_figures(
    presented: Presented, evaluations: Iterable[tuple[Digest, EvaluationRecord]], *, announced: FiguresAnnounced
) -> FiguresCheck:
    """Recompute the figures of signed evaluations from the item tables that they bind, as far as these are presented.

    Figures of a later release that nobody `announced` may be whatever whoever signed them likes.
    """
    contradictions: list[str] = []
    unknown: list[str] = []
    notes: list[str] = []
    for digest, record in evaluations:
        name = f"evaluation {digest.short}"
        table = f"{EVIDENCE_NAME}/{record.items.file}"
        # another evaluation's table may lie under the same name
        if presented.files.get(table) is None or presented.digest(table) != record.items.sha256:
            notes.append(f"{name}: its item table is not here, so nothing of it was recomputed")
        elif is_of_later_edition(record):
            edition = record.figures_edition
            if announced(edition):
                notes.append(
                    f"{name}: not computed again: its figures are of edition {edition}, which a later release has"
                )
            else:
                unknown.append(
                    f"{name}: nobody whose role may has announced figures of edition {edition}, which this release does not know"
                )
        elif _is_much_to_draw(record, items_in(presented, record)):
            contradictions += _lines(name, held_against(record, items_in(presented, record), closed_forms_only=True))
            notes.append(
                f"{name}: counts, rates and closed forms recomputed; `registry evaluate --recheck` draws its intervals again"
            )
        else:
            contradictions += _lines(name, held_against(record, items_in(presented, record), closed_forms_only=False))
    return FiguresCheck(tuple(contradictions), tuple(unknown), tuple(notes))


_HELD: dict[tuple[Digest, Digest, bool], tuple[Discrepancy, ...]] = {}
_MOST_HELD = 64


def held_against(record: EvaluationRecord, items: bytes, *, closed_forms_only: bool) -> tuple[Discrepancy, ...]:
    """What a record says and its items do not give, computed once a process for the same record and the same items.

    To verify a version, what was made from it and a copy of it is to hold the same evaluation against the same table each time.
    """
    # both by what they hold and not by their names: a record by its text, in which 1.0 is not 1 as it is in canonical form
    key = (Digest.of(to_json(record.to_json())), Digest.of(items), closed_forms_only)
    found = _HELD.get(key)
    if found is None:
        found = recheck_closed_forms(record, items) if closed_forms_only else recheck(record, items)
        if len(_HELD) == _MOST_HELD:
            _HELD.clear()
        _HELD[key] = found
    return found


def _lines(name: str, discrepancies: Iterable[Discrepancy]) -> list[str]:
    return [f"{name}: {discrepancy}" for discrepancy in discrepancies]


def _is_much_to_draw(record: EvaluationRecord, items: bytes) -> bool:
    try:
        return bootstrap_work(record, items) > MAX_WORK
    except UnusablePlan:
        return False  # `recheck` names it as a discrepancy


def _predicate(statement: Statement, line: int, schema: type[Predicate]) -> Predicate:
    try:
        return schema.from_json(statement.predicate)
    except ValidationError as error:
        raise StatementBroken(line, first_problem(error)) from error


def items_in(presented: Presented, record: EvaluationRecord) -> bytes:
    """The bytes under the name of an evaluation's item table; whether they are that table, its digest says.

    Raises:
        FileAbsent: nothing lies there.
    """
    name = f"{EVIDENCE_NAME}/{record.items.file}"
    path = presented.files.get(name)
    return path.read_bytes() if isinstance(path, Path) else presented.small(name)
