"""What the page of a version is made of, as values: what is recorded of it, who signed it, what was checked for it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.policy import signer_text
from peft_registry.schemas.report import RecordStep
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.trained_templates import Template
from peft_registry.schemas.version import VerifyOutcome, Version


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What is recorded of one version. What is not, as the run of a base, is None and leaves its part of the page empty.

    Attributes:
        base: what is recorded of a version that is a base.
        template: the one that a version was trained with, or why there is none.
        record: its modification record, in which what is only proposed is open.
        signed_record: the same as it is signed, where that is another.
        evaluations: those that are shown, newest first.
        decided: what persons decided of it, as it counts.
    """

    version: Version
    lineage: Lineage
    run: RunRecord | None = None
    merge: MergeRecord | None = None
    imported: ImportRecord | None = None
    base: BaseRecord | None = None
    template: Template | None = None
    record: RecordSections | None = None
    signed_record: RecordSections | None = None
    evaluations: tuple[ShownEvaluation, ...] = ()
    statements: tuple[StoredStatement, ...] = ()
    decided: Decided = NOBODY


@dataclass(frozen=True, slots=True)
class KeyHolders:
    """Whom the trust file names for each key id, in which role it lists it, who holds the root keys that sign that file, and the
    time from which on it decides nothing; empty where there is no file."""

    persons: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()
    expires_at: str = ""

    def who(self, key_id: str) -> str:
        """Whose key it is, as a part of a sentence."""
        return signer_text(key_id, self.persons.get(key_id), self.roles.get(key_id))


@dataclass(frozen=True, slots=True)
class RecordHistory:
    """How the modification record of a version came about.

    Attributes:
        steps: how it came to be the version's, oldest first.
        notes: sentences about what of it decides nothing, or is pending.
    """

    steps: tuple[RecordStep, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageChecks:
    """What was checked for one page.

    Attributes:
        verification: the checklist; None where no check was made.
        gates: how the policy before each alias that points at the version stands to it, where that was asked.
        holds: of it and of what it was made from, each as who put what on hold, when, until when and why.
        of_folder: they were made of a folder, which says nothing of what came after it.
    """

    verification: VerifyOutcome | None = None
    gates: Mapping[str, AliasGate] = field(default_factory=dict)
    holds: tuple[str, ...] = ()
    of_folder: bool = False


UNCHECKED = PageChecks()
