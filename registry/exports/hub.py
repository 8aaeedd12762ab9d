"""What of a version goes to a repository that others read, and what stays: decided over a verified copy, before anything is sent.

The files, the manifest, the signature, the card, and of the statements those that a reader needs to tell what it is: registration,
evaluations, the proof of the log, recalls and whatever else stops a use. The scores of single rows go to readers whom somebody
chose: the rows may be of data that nobody else has. Records stay: they hold figures
that the documentation form of the Code of Practice (Transparency, measure 1.1) keeps for authorities, and names of people. So does
what people decided, such as a hold with its reason, and an evaluation that names somebody.

Without them `registry verify` ends with `unverified`, naming each statement that is withheld: everything else is checked. Of what
people decided the proof tells neither digest nor kind: that an authority asked for something is not for everybody to know.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.transparency.completeness import CompleteList, sealed_list
from peft_registry.schemas.acts import USE_STOPS
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import EVIDENCE_NAME
from peft_registry.schemas.statement import COMPLETE_FILE, INPUTS_FILE, STATEMENTS_FILE, Statement, StatementKind

STATEMENTS_PATH = f"{EVIDENCE_NAME}/{STATEMENTS_FILE}"
INPUTS_PATH = f"{EVIDENCE_NAME}/{INPUTS_FILE}"
COMPLETE_PATH = f"{EVIDENCE_NAME}/{COMPLETE_FILE}"
PUBLISHED: frozenset[StatementKind] = frozenset(
    ("card", "registration", "evaluation-plan", "bias-evaluation", "test-result", *(act.kind for act in USE_STOPS))
)
# what a reader may ask for by its digest: records, and figures that speak of how good it is
_NAMED: frozenset[StatementKind] = frozenset((*PUBLISHED, "modification", "provenance", "observations", "base"))


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of the statements of a folder.

    Attributes:
        envelope: as it lies there.
        statement: what it holds.
        digest: of its payload.
        signer: the name of the file of its signer's key; None where that is not there.
    """

    envelope: bytes
    statement: Statement
    digest: Digest
    signer: str | None

    @property
    def is_published(self) -> bool:
        """Whether everybody may read it."""
        evaluation = self._evaluation
        return self.statement.kind in PUBLISHED and (evaluation is None or not evaluation.names_a_person)

    @property
    def item_table(self) -> str | None:
        """The path of the table that it names, if it is an evaluation."""
        evaluation = self._evaluation
        return None if evaluation is None else f"{EVIDENCE_NAME}/{evaluation.items.file}"

    @property
    def _evaluation(self) -> EvaluationRecord | None:
        is_one = self.statement.kind == "bias-evaluation"
        return self.statement.read_by(EvaluationRecord.from_json) if is_one else None


@dataclass(frozen=True, slots=True)
class HubFolder:
    """What is sent, by path, and what is withheld: each statement with its kind and digest, each table of single rows by its path.

    `item_tables` are the paths of the tables of single rows that are sent.
    """

    files: Mapping[str, Path | bytes]
    withheld: tuple[str, ...]
    item_tables: frozenset[str] = frozenset()

    @property
    def for_everybody(self) -> "HubFolder":
        """What is left of it without the scores of single rows, which may be of data that nobody else has."""
        files = {path: content for path, content in self.files.items() if path not in self.item_tables}
        tables = tuple(f"rows of {path}" for path in sorted(self.item_tables & self.files.keys()))
        return HubFolder(files, (*self.withheld, *tables))

    def size(self, path: str) -> int:
        """Of a file, in bytes."""
        content = self.files[path]
        return len(content) if isinstance(content, bytes) else content.stat().st_size


def published_part(
    files: Mapping[str, Path],
    lines: tuple[StatementLine, ...],
    listed: CompleteList | None,
    *,
    with_records: bool = False,
) -> HubFolder:
    """What of a pulled folder is sent.

    Args:
        files: of the folder, by path.
        lines: its statements, in their order.
        listed: what shows that they are all; None where it has no such list.
        with_records: every statement is sent, for readers who may see them; only then do they find the version `verified`.
    """
    sent: dict[str, Path | bytes] = dict(files)
    if with_records:
        return HubFolder(sent, ())
    sent.pop(INPUTS_PATH, None)  # records of others, which hold what these hold
    published = [line for line in lines if line.is_published]
    withheld = [line for line in lines if not line.is_published]
    sent[STATEMENTS_PATH] = b"".join(line.envelope + b"\n" for line in published)
    # a table or a key of what is withheld alone would say that it is there
    for name in _beside(withheld) - _beside(published):
        sent.pop(name, None)
    if listed is not None:
        told = {line.digest for line in lines if line.statement.kind in _NAMED}
        sent[COMPLETE_PATH] = sealed_list(listed, told=told, dated={line.digest for line in published}).encode()
    tables = frozenset(line.item_table for line in published if line.item_table is not None)
    return HubFolder(sent, tuple(f"{line.statement.kind or 'unknown'} {line.digest}" for line in withheld), tables)


def _beside(lines: Iterable[StatementLine]) -> set[str]:
    """The paths of what lies there for these statements alone."""
    return {path for line in lines for path in (line.item_table, line.signer) if path is not None}
