"""The evaluations that lie in a pulled folder, re-checked there: what an auditor does who has the folder and no registry."""

from pathlib import Path

from pydantic import ValidationError

from registry.evaluation.recheck import EvaluationAltered, recheck
from registry.evidence import ReadStatement, StatementBroken, read_statements
from registry.presented import Presented, present_folder
from schemas.document import first_problem
from schemas.errors import NotFound
from schemas.evaluation import EvaluationRecord
from schemas.manifest import EVIDENCE_NAME


class NoEvaluationHere(NotFound):
    reference = "no-evaluation-here"

    def __init__(self, folder: str) -> None:
        super().__init__(
            what=f"no evaluation lies in {folder}",
            why="a pulled version has them under evidence/, with their item tables",
            fix="pull the version again: registry pull NAME:NUMBER FOLDER",
        )


def recheck_folder(folder: Path) -> tuple[EvaluationRecord, ...]:
    """Every evaluation in a folder, recomputed from the item table beside it. Signatures are `registry verify`'s.

    Raises:
        EvaluationAltered: one does not follow from its items; names the first figure or row.
        NoEvaluationHere: there is none.
        FileAbsent: an item table is missing.
    """
    presented = present_folder(folder)
    records = [_record(one) for one in read_statements(presented) if one.statement.kind == "bias-evaluation"]
    if not records:
        raise NoEvaluationHere(str(folder))
    for record in records:
        found = recheck(record, _items(presented, record))
        if found:
            raise EvaluationAltered(found)
    return tuple(records)


def _record(one: ReadStatement) -> EvaluationRecord:
    try:
        return EvaluationRecord.from_json(one.statement.predicate)
    except ValidationError as error:
        raise StatementBroken(one.line, first_problem(error)) from error


def _items(presented: Presented, record: EvaluationRecord) -> bytes:
    name = f"{EVIDENCE_NAME}/{record.items.file}"
    path = presented.files.get(name)
    return path.read_bytes() if isinstance(path, Path) else presented.small(name)
