"""What this tool saw when a version was made or its record was renewed, and no other signed statement holds.

A modification record follows from signed inputs alone. The run, the evaluation, the base and the answers have statements of their
own; the organisation's profile, the facts file, the norms of the change, the scans and the names under which parents were found
here do not. They are signed once, together and salted, so that the statement can be withheld while its digest still stands.
"""

from typing import Any, Literal

from pydantic import Field, field_validator

from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Timestamp


class ObservedBase(Document):
    """A model that went in, as this registry has it. `statement` holds its record."""

    name: str
    statement: Digest
    manifest: Digest | None = None
    number: int | None = None
    role: Literal["base", "ingredient", "teacher", "reference", "draft"] = "base"
    files: tuple[FileEntry, ...] = ()
    added_at: Timestamp | None = None
    parent_records: tuple[str, ...] = ()


class ObservedAncestor(Document):
    """A registered result that something was made from.

    `made` is the statement of how, `record` the one that holds its modification record as that stood, `earlier_records` those that
    it superseded; `runs` are the manifests of all trainings that went into it, its own among them.
    """

    manifest: Digest
    label: str
    is_parent: bool
    has_trained: bool
    made: Digest | None = None
    record: Digest | None = None
    earlier_records: tuple[Digest, ...] = ()
    runs: tuple[Digest, ...] = ()


class ObservedSigning(Document):
    """Whose key was about to sign, and into which log."""

    key_id: str
    person: str | None = None
    log_origin: str | None = None
    algorithm: str


class Observations(Document):
    """Everything of it; what a kind of making has none of is null or empty. `nonce` is random hex.

    `facts` is the JSON value of the facts file, as it was laid over the record; `profile` the organisation's, as it stood.
    """

    nonce: str = Field(min_length=1)
    record_id: str = Field(min_length=1)
    made_at: Timestamp
    name: str
    tool_version: str
    signing: ObservedSigning | None = None
    profile: OrganisationProfile | None = None
    facts: dict[str, Any] | None = None  # any JSON value
    change: dict[str, Any] | None = None  # figures of the change in the weights: of a run, or of an import
    optimiser: str | None = None
    scans: tuple[dict[str, Any], ...] = ()
    bases: tuple[ObservedBase, ...] = ()
    ancestors: tuple[ObservedAncestor, ...] = ()

    @field_validator("facts", "change")
    @classmethod
    def _counts_that_pass_2_53_are_floats(cls, value: Any) -> Any:
        return as_doubles(value)
