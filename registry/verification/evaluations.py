"""The evaluations that lie in a pulled folder, re-checked there: what an auditor does who has the folder and no registry."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from peft_registry.registry.evaluation.plans import plan_discrepancies
from peft_registry.registry.evaluation.recheck import EvaluationAltered, recheck
from peft_registry.registry.verification.evidence import ReadStatement, StatementBroken, read_statements
from peft_registry.registry.verification.presented import Presented, present_folder
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.evaluation import EvaluationPlan, EvaluationRecord
from peft_registry.schemas.manifest import EVIDENCE_NAME

Predicate = TypeVar("Predicate", bound=Document)


class NoEvaluationHere(NotFound):
    reference = "no-evaluation-here"
    what = "{folder} holds no evaluation"
    why = "a pulled version has them under evidence/, with their item tables"
    fix = "pull the version again: registry pull NAME:NUMBER FOLDER"

    folder: str


def recheck_folder(folder: Path) -> tuple[EvaluationRecord, ...]:
    """Every evaluation in a folder, recomputed from the item table beside it. Signatures are `registry verify`'s.

    Raises:
        EvaluationAltered: one does not follow from its items; names the first figure or row.
        NoEvaluationHere: there is none.
        FileAbsent: an item table is missing.
    """
    presented = present_folder(folder)
    statements = read_statements(presented)
    records = [_predicate(read, EvaluationRecord) for read in statements if read.statement.kind == "bias-evaluation"]
    plans = {
        read.digest: _predicate(read, EvaluationPlan) for read in statements if read.statement.kind == "evaluation-plan"
    }
    if not records:
        raise NoEvaluationHere(str(folder))
    for record in records:
        discrepancies = (*recheck(record, _items(presented, record)), *plan_discrepancies(record, plans))
        if discrepancies:
            raise EvaluationAltered(discrepancies)
    return tuple(records)


def _predicate(read: ReadStatement, schema: type[Predicate]) -> Predicate:
    try:
        return schema.from_json(read.statement.predicate)
    except ValidationError as error:
        raise StatementBroken(read.line, first_problem(error)) from error


def _items(presented: Presented, record: EvaluationRecord) -> bytes:
    name = f"{EVIDENCE_NAME}/{record.items.file}"
    path = presented.files.get(name)
    return path.read_bytes() if isinstance(path, Path) else presented.small(name)
