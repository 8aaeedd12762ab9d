"""Signed statements about a manifest digest, and every name that becomes permanent.

A statement is in-toto Statement v1 in a DSSE envelope, one a line in `evidence/statements.intoto.jsonl`. Its identity is the
SHA-256 of the payload bytes: signature bytes are malleable and never identify anything.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import FailFast, Field
from pydantic_core import to_json

from peft_registry.schemas.acts import ACTS, ActKind
from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest

STATEMENT_TYPE: Literal["https://in-toto.io/Statement/v1"] = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENTS_FILE = "statements.intoto.jsonl"
PROOF_FILE = "log.tlog-proof"
COMPLETE_FILE = "complete.tlog-proof"
INPUTS_FILE = "inputs.intoto.jsonl"  # under evidence: the statements about others that the records here follow from
DECISIONS_FILE = "DECISIONS.md"  # under evidence: what the statements there say that people signed, for people to read
KEYS_FOLDER = (
    "keys"  # under evidence: the public keys of the signers, so that a wrong signature differs from an unknown key
)


def urn(kind: str, version: int = 1) -> str:
    """`urn:peft-registry:<kind>:v<version>`."""
    return f"urn:peft-registry:{kind}:v{version}"


BUILDER_ID = urn("builder")
LOG_EVENT: Literal["urn:peft-registry:log-event:v1"] = "urn:peft-registry:log-event:v1"
LOG_EVENT_V2: Literal["urn:peft-registry:log-event:v2"] = "urn:peft-registry:log-event:v2"
LOG_SNAPSHOT: Literal["urn:peft-registry:log-snapshot:v1"] = "urn:peft-registry:log-snapshot:v1"
LOG_EPOCH: Literal["urn:peft-registry:log-epoch:v1"] = "urn:peft-registry:log-epoch:v1"
BUILD_TRAIN = urn("build-train")
BUILD_MERGE = urn("build-merge")
BUILD_IMPORT = urn("build-import")

PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"

# the kinds that an entry of the log's first form can name; later ones are named by their predicate type
FirstKind = Literal[
    "provenance",
    "registration",
    "base",
    "evaluation-plan",
    "bias-evaluation",
    "modification",
    "card",
    "test-result",
    "alias",
    "approval",
    "waiver",
    "decision",
    "hold",
    "recall",
]
StatementKind = (
    FirstKind | ActKind | Literal["answers", "observations", "edition", "document", "attachment", "verifications"]
)

MODIFICATION_V1 = urn("modification")
MODIFICATION_V2 = urn("modification", 2)
# what is written of each kind
PREDICATE_TYPES: dict[StatementKind, str] = {
    "provenance": PROVENANCE,
    "registration": urn("registration"),
    "base": urn("base"),
    "evaluation-plan": urn("evaluation-plan"),
    "bias-evaluation": urn("bias-evaluation"),
    "modification": urn("modification", 3),
    "card": urn("card"),
    "test-result": TEST_RESULT,
    **{act.kind: urn(act.kind) for act in ACTS.values()},
    "answers": urn("answers"),
    "observations": urn("observations"),
    "edition": urn("edition"),
    "document": urn("document"),  # of documents that somebody is handed: lies beside them, in no log
    "attachment": urn("attachment"),
    "verifications": urn("verifications"),  # about a list, and no artifact
}
# what is read: every version of each kind
KINDS: dict[str, StatementKind] = {
    MODIFICATION_V1: "modification",
    MODIFICATION_V2: "modification",
    **{predicate: kind for kind, predicate in PREDICATE_TYPES.items()},
}
FIRST_KINDS: frozenset[str] = frozenset(get_args(FirstKind))

_WITHOUT_ACTS: dict[str, tuple[StatementKind, ...]] = {
    "trainer": (
        "provenance",
        "registration",
        "base",
        "evaluation-plan",
        "bias-evaluation",
        "modification",
        "card",
        "test-result",
        "answers",
        "observations",
        "document",
        "attachment",
        "verifications",
    ),
    "evaluator": ("evaluation-plan", "bias-evaluation", "test-result", "answers", "attachment", "verifications"),
    "approver": ("answers", "edition", "document", "attachment"),
    "officer": ("answers", "edition", "document", "attachment"),
    "root": ("edition",),
    "log": (),
}
# which key role may sign which predicate (a trainer key must not be able to sign an approval)
ROLE_KINDS: dict[str, tuple[StatementKind, ...]] = {
    role: (*kinds, *(act.kind for act in ACTS.values() if role in act.roles)) for role, kinds in _WITHOUT_ACTS.items()
}


def edition_proof_file(name: str) -> str:
    """Under evidence: the proof of the entry that announces an edition."""
    return f"edition-{name}.tlog-proof"


def logged_kind(predicate_type: str) -> str:
    """What an entry of the log calls a statement of this type: a kind of its first form by name, any other by its type."""
    kind = KINDS.get(predicate_type)
    return kind if kind is not None and kind in FIRST_KINDS else predicate_type


def log_origin(registry_id: str) -> str:
    """The log's origin line and note key name, before any loss was accepted."""
    return f"peft-registry/{registry_id}"


def epoch_origin(log: str, number: int) -> str:
    """The origin of a log after that many losses were accepted: its own name for 0, else with the number behind a slash."""
    return log if number == 0 else f"{log}/{number}"


Read = TypeVar("Read")
Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Subject(Document):
    """What a statement is about; matched by digest only, the name is informational."""

    name: str
    digest: dict[Literal["sha256"], Sha256Hex] = Field(min_length=1)


class Statement(Document):
    """in-toto Statement v1 with exactly one subject: a manifest digest."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(default=STATEMENT_TYPE, alias="_type")
    subject: tuple[Subject, ...] = Field(min_length=1, max_length=1)
    predicate_type: str = Field(alias="predicateType")
    predicate: dict[str, Any]  # any JSON object: the predicate type says which schema

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}

    def read_by(self, read: Callable[[dict[str, Any]], Read]) -> Read:
        """What a function gives of its predicate, which nobody alters. It is asked once: a record takes a millisecond to read, and
        whoever checks or shows a version asks for the same one many times.

        Raises:
            ValidationError: as the function does, each time.
        """
        if read not in self._read:
            self._read[read] = read(self.predicate)
        value: Read = self._read[read]
        return value

    @cached_property
    def _read(self) -> dict[Callable[[dict[str, Any]], Any], Any]:
        """What was read by each function, of whatever type that gives."""
        return {}

    @cached_property
    def said_digest(self) -> Digest:
        """That of what it says, as text: 1.0 is not 1 there, as it is in canonical form.

        Raises:
            PydanticSerializationError, RecursionError: its predicate is not JSON.
        """
        return Digest.of(to_json([self.predicate_type, self.predicate]))

    def __copy__(self) -> Self:
        copied = super().__copy__()
        for kept in ("_read", "said_digest"):  # `model_copy` changes what it copied
            copied.__dict__.pop(kept, None)
        return copied

    @property
    def subject_digest(self) -> Digest:
        return Digest(self.subject[0].digest["sha256"])

    def is_about(self, manifest: Digest) -> bool:
        """Whether this is its subject. Asked of every entry of a log: a digest is not made anew for it."""
        return self.subject[0].digest["sha256"] == manifest.hex

    @property
    def kind(self) -> StatementKind | None:
        """Which of our statements this is, or None for a foreign one."""
        return KINDS.get(self.predicate_type)

    @property
    def is_stop(self) -> bool:
        """Whether it forbids something, and takes nothing back."""
        act = ACTS.get(self.kind or "")
        return act is not None and act.forbids(self.subject_digest, self.predicate)

    @property
    def logged_kind(self) -> str:
        """What its entry in the log calls it."""
        return logged_kind(self.predicate_type)


def statement_about(manifest: Digest, kind: StatementKind, predicate: dict[str, Any]) -> Statement:
    """The statement of one kind about one manifest digest."""
    subject = Subject(name="manifest.json", digest={"sha256": manifest.hex})
    return Statement(subject=(subject,), predicateType=PREDICATE_TYPES[kind], predicate=predicate)


class StoredStatement(Frozen):
    """A statement as the registry knows it: decoded, with the envelope line it came from."""

    digest: Digest  # of the payload bytes
    kind: StatementKind | None
    statement: Statement
    key_id: str
    envelope: bytes
    log_index: int | None = None
    appended_at: str | None = None

    @property
    def logged_kind(self) -> str:
        """What its entry in the log calls it. Where its row names another kind than its text does, that: the log contradicts it."""
        return self.statement.logged_kind if self.kind == self.statement.kind else f"{self.kind}"


class RegistrationPredicate(Document):
    """Puts a manifest under a model's name. The number is the position among the registrations of that name in the log.

    `accompanied_by` names the statements that entered the log together with it, and `signature` the signed OMS payload, so
    that the proof of this one event dates them all and none of them can be left out unnoticed. `nonce` is random hex: a
    leaf holds only the statement's digest, and a short predicate could be guessed from it. `completeness_provable` (an extra
    field, which registrations of the first release lack) says that the log has snapshots: a folder without the proof that it
    holds everything that was said is then not complete.
    """

    name: str
    source: Literal["train", "merge", "import", "base"]
    accompanied_by: Annotated[tuple[Digest, ...], FailFast()]
    signature: Digest
    nonce: str

    @property
    def is_completeness_provable(self) -> bool:
        """Whether a folder of this version has to show that nothing was left out of its evidence."""
        return (self.model_extra or {}).get("completeness_provable") is True


class CardPredicate(Document):
    """The digest of a model card (README.md), which `model.sig` does not cover.

    `supersedes` is the statement of the card whose place this one takes, because what the card is written from says something else
    since; it is left out of the card that a version is registered with.
    """

    path: Literal["README.md"] = "README.md"
    sha256: Digest
    supersedes: Digest | None = Field(default=None, exclude_if=lambda value: value is None)
