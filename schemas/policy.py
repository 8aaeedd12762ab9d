"""The trust file: which keys speak for which person and role, for how long, and which were revoked.

It holds no authority by itself. That comes from where the user got it: see `registry/signing/trust.py`.

Form 1 lists the predicate types of each key, so that every new kind of statement needs a signature of the root. In form 2 the role
decides, for the kinds of every version; it also has more roles, says whether a revocation is routine or a compromise, and names the
version before it by digest. Both are read for ever. Form 2 also says which losses of a log were accepted (`epochs`).
"""

import hashlib
import re
from typing import Annotated, Any, Literal, Self

from pydantic import FailFast, Field, model_validator

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import KINDS, ROLE_KINDS, Sha256Hex, epoch_origin
from peft_registry.schemas.values import Timestamp

TRUST_PAYLOAD_TYPE = "application/vnd.peft-registry.trust.v1+json"
"""The type that trust signatures are made over (DSSE PAE), so that none of them is a statement's, and the reverse."""
TRUST_V2_PAYLOAD_TYPE = "application/vnd.peft-registry.trust.v2+json"
CHECKPOINT_TYPE = "https://c2sp.org/tlog-checkpoint"
"""What a key lists among its predicate types when it may sign checkpoints of the log."""

OMS_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
"""What `model.sig` says about a folder."""

Role = Literal["trainer", "evaluator", "approver", "log", "root", "witness", "officer"]
V1_ROLES: tuple[Role, ...] = ("trainer", "evaluator", "approver", "log", "root")
# what a role covers besides statements
_OTHER_TYPES: dict[str, tuple[str, ...]] = {
    "trainer": (OMS_PREDICATE_TYPE,),
    "log": (CHECKPOINT_TYPE,),
    "witness": (CHECKPOINT_TYPE,),
}
_OUR_PREDICATE = re.compile(r"urn:peft-registry:([a-z-]+):v[1-9][0-9]*")
_EPOCH_ORIGIN = re.compile(r"peft-registry/[^/\s]+/[1-9][0-9]*")
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a public key's PEM text (SubjectPublicKeyInfo, LF), lower-case hexadecimal."""


def _left_out() -> Any:  # what pydantic takes as a default: a field that is not written while it is None
    # a version that was written without the field keeps its bytes when it is written again
    return Field(default=None, exclude_if=lambda value: value is None)


def signer_text(key_id: str, person: str | None, role: str | None) -> str:
    """Whose key signed: `ada (approver, key 12ab34cd5678…)`, person and role as the trust file has them; else the key alone."""
    key = f"key {key_id[:12]}…"
    return key if person is None else f"{person} ({key if not role else f'{role}, {key}'})"


class TrustedKey(Document):
    """A key, whose it is, and what it may sign between two times (the second excluded)."""

    key_id: KeyId
    public_key_pem: str
    person: str = Field(min_length=1)
    role: Role
    predicate_types: tuple[str, ...] | None = _left_out()  # form 1 only; form 2: what its role covers
    valid_from: Timestamp
    valid_until: Timestamp
    unencrypted: bool = False
    log_origin: str | None = None  # of a log key: the one log whose checkpoints it signs

    @model_validator(mode="after")
    def _describes_one_key(self) -> Self:
        if hashlib.sha256(self.public_key_pem.encode("utf-8")).hexdigest() != self.key_id:
            raise ValueError("key_id is not the SHA-256 of public_key_pem")
        if self.valid_from >= self.valid_until:
            raise ValueError("a key's validity ends after it begins")
        for kind in (KINDS.get(name) for name in self.predicate_types or ()):
            # whoever signed the file: one that lets a trainer approve is a mistake
            if kind is not None and kind not in ROLE_KINDS.get(self.role, ()):
                raise ValueError(f"a {self.role} key may not sign statements of kind {kind}")
        return self


class Revocation(Document):
    """Why a key does not count any more.

    `routine`: what the log shows to be signed before `revoked_at` stays good. `compromise`: with `since`, only what somebody else
    than the key's holder covered before it stays good; without, nothing does. Form 1 has no kind; there the reason says it.
    """

    key_id: KeyId
    revoked_at: Timestamp
    reason: str = Field(min_length=1)
    kind: Literal["routine", "compromise"] | None = _left_out()
    since: Timestamp | None = _left_out()

    @property
    def is_compromise(self) -> bool:
        """Whether somebody else may have signed with it. In form 1 any wording of it counts."""
        return self.kind == "compromise" or (self.kind is None and "compromis" in self.reason.casefold())

    @model_validator(mode="after")
    def _says_since_when(self) -> Self:
        if self.since is not None and self.kind != "compromise":
            raise ValueError("only a compromise has a time since which it lasts")
        if self.since is not None and self.since > self.revoked_at:
            raise ValueError("a compromise does not begin after the key was revoked for it")
        return self


class Epoch(Document):
    """The loss of the newest entries of a log was accepted, because a backup was restored; from there on it has another origin.

    `lost` is the text of the newest checkpoint that the restored log does not continue, as a log key signed it. `kept_size` and
    `kept_root` are those of all entries that the restored log had: it goes on from exactly these.
    """

    log: str = Field(min_length=1)  # its origin before any loss
    number: int = Field(ge=1, le=2**31 - 1)
    lost: str = Field(min_length=1, max_length=64 * 1024)
    kept_size: int = Field(ge=0, le=2**53 - 1)
    kept_root: Sha256Hex
    accepted_by: str = Field(min_length=1)
    accepted_at: Timestamp
    reason: str = Field(min_length=1)

    @property
    def origin(self) -> str:
        """The log's origin from this epoch on."""
        return epoch_origin(self.log, self.number)


class TrustPolicy(Document):
    """One version of the trust file. `roots` name the keys that may sign it, `threshold` how many of them must.

    `previous` is the SHA-256 of the payload of the version before, which a form 2 names unless it is the first.
    """

    schema_version: Literal["1", "2"] = "1"
    version: int = Field(ge=1, le=2**53 - 1)
    issued_at: Timestamp
    expires_at: Timestamp
    roots: Annotated[tuple[KeyId, ...], FailFast()]
    threshold: int = Field(ge=1)
    keys: Annotated[tuple[TrustedKey, ...], FailFast()]
    revocations: Annotated[tuple[Revocation, ...], FailFast()] = ()
    previous: Digest | None = _left_out()
    # as for `_left_out`: a version without accepted losses keeps its bytes
    epochs: Annotated[tuple[Epoch, ...], FailFast()] = Field(default=(), exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _can_be_satisfied(self) -> Self:
        if self.issued_at >= self.expires_at:
            raise ValueError("a trust file expires after it was issued")
        ids = [key.key_id for key in self.keys]
        if len(set(ids)) != len(ids) or len(set(self.roots)) != len(self.roots):
            raise ValueError("a key is listed twice")
        roots = [key for key in self.keys if key.key_id in self.roots]
        if len(roots) != len(self.roots) or any(key.role != "root" for key in roots):
            raise ValueError("every root is one of the keys, with role root")
        if self.threshold > len({key.person for key in roots}):
            raise ValueError("the threshold asks for more roots of different persons than there are")
        return self

    @model_validator(mode="after")
    def _is_of_its_form(self) -> Self:
        if self.schema_version == "1":
            if any(key.role not in V1_ROLES for key in self.keys):
                raise ValueError("a trust file of form 1 has no such role")
            if self.previous is not None or any(revocation.kind is not None for revocation in self.revocations):
                raise ValueError("a trust file of form 1 names no version before it and no kind of revocation")
            if self.epochs:
                raise ValueError("a trust file of form 1 accepts no loss of a log")
            return self
        if any(key.predicate_types is not None for key in self.keys):
            raise ValueError("in a trust file of form 2 the role says what a key may sign")
        if any(revocation.kind is None for revocation in self.revocations):
            raise ValueError("a revocation is routine or a compromise")
        unlisted = {revocation.key_id for revocation in self.revocations} - {key.key_id for key in self.keys}
        if unlisted:
            # an unlisted key is unknown, and what it signed would be "not checked" where it must be refused
            raise ValueError("a revoked key stays listed")
        return self

    @model_validator(mode="after")
    def _numbers_epochs_in_order(self) -> Self:
        for log in {epoch.log for epoch in self.epochs}:
            numbers = [epoch.number for epoch in self.epochs if epoch.log == log]
            if numbers != list(range(1, len(numbers) + 1)):
                raise ValueError("the epochs of a log are numbered from 1, each number once")
        return self

    @property
    def payload_type(self) -> str:
        """What its signatures are made over, besides its bytes."""
        return TRUST_PAYLOAD_TYPE if self.schema_version == "1" else TRUST_V2_PAYLOAD_TYPE

    def key(self, key_id: str) -> TrustedKey | None:
        """The listed key with this id; None means that this file does not know it."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def person_of(self, key_id: str) -> str | None:
        """Whom this file names for a key; None where it does not know it."""
        return next((key.person for key in self.keys if key.key_id == key_id), None)

    def persons_who_sign(self, predicate_type: str, *, at: Timestamp) -> tuple[str, ...]:
        """Whoever had a key by a time that may sign this, whatever became of the key since."""
        return tuple(key.person for key in self.keys if key.valid_from <= at and self.may_sign(key, predicate_type))

    def may_sign(self, key: TrustedKey, predicate_type: str) -> bool:
        """Whether a listed key may sign this, going by its role (form 2) or by its own list (form 1).

        A kind that is listed is listed in every version: the root let the key say it, and the document got more fields.
        """
        if self.schema_version == "1":
            listed = key.predicate_types or ()
            kind = KINDS.get(predicate_type)
            return predicate_type in listed or (kind is not None and kind in {KINDS.get(name) for name in listed})
        return role_covers(key.role, predicate_type)

    def names_log(self, key: TrustedKey, origin: str) -> bool:
        """Whether a log key may sign checkpoints of this origin: of its own log, also in an epoch that is stated here."""
        log = self.log_of(origin)
        if log == origin and _EPOCH_ORIGIN.fullmatch(origin):
            return False  # only a root begins an epoch, also of a key that is bound to no log
        return key.log_origin in (None, log)

    def log_of(self, origin: str) -> str:
        """The origin that a log had before any loss, for that of an epoch stated here; any other origin as it is."""
        return next((epoch.log for epoch in self.epochs if epoch.origin == origin), origin)

    def revocation(self, key_id: str) -> Revocation | None:
        """The strictest revocation of a key; None means that it stands.

        A compromise counts more than a routine revocation, an earlier one more than a later, one without `since` more than any.
        """
        of_key = [revocation for revocation in self.revocations if revocation.key_id == key_id]
        compromises = [revocation for revocation in of_key if revocation.is_compromise]
        if compromises:
            return min(compromises, key=lambda revocation: (revocation.since or "", revocation.revoked_at))
        return min(of_key, key=lambda revocation: revocation.revoked_at, default=None)


def role_covers(role: Role, predicate_type: str) -> bool:
    """Whether a key of this role may sign a predicate type, of whatever version."""
    if predicate_type in _OTHER_TYPES.get(role, ()):
        return True
    kinds = ROLE_KINDS.get(role, ())
    kind = KINDS.get(predicate_type)
    if kind is not None:
        return kind in kinds
    ours = _OUR_PREDICATE.fullmatch(predicate_type)
    return ours is not None and ours[1] in kinds
