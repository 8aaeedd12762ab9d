"""The trust file: which keys speak for which person and role, for how long, and which were revoked.

It holds no authority by itself. That comes from where the user got it: see `registry/signing/trust.py`.
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from peft_registry.schemas.document import Document
from peft_registry.schemas.statement import KINDS, ROLE_KINDS
from peft_registry.schemas.values import Timestamp

TRUST_PAYLOAD_TYPE = "application/vnd.peft-registry.trust.v1+json"
"""The type that trust signatures are made over (DSSE PAE), so that none of them is a statement's, and the reverse."""
CHECKPOINT_TYPE = "https://c2sp.org/tlog-checkpoint"
"""What a key lists among its predicate types when it may sign checkpoints of the log."""

Role = Literal["trainer", "evaluator", "approver", "log", "root"]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 of a public key's PEM text (SubjectPublicKeyInfo, LF), lower-case hexadecimal."""


class TrustedKey(Document):
    """A key, whose it is, and what it may sign between two times (the second excluded)."""

    key_id: KeyId
    public_key_pem: str
    person: str = Field(min_length=1)
    role: Role
    predicate_types: tuple[str, ...] = ()
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
        for kind in (KINDS.get(name) for name in self.predicate_types):
            # whoever signed the file: one that lets a trainer approve is a mistake
            if kind is not None and kind not in ROLE_KINDS.get(self.role, ()):
                raise ValueError(f"a {self.role} key may not sign statements of kind {kind}")
        return self


class Revocation(Document):
    """From `revoked_at` on the key's signatures count no more; with a compromise, no earlier ones either."""

    key_id: KeyId
    revoked_at: Timestamp
    reason: str = Field(min_length=1)


class TrustPolicy(Document):
    """One version of the trust file. `roots` name the keys that may sign it, `threshold` how many of them must."""

    schema_version: Literal["1"] = "1"
    version: int = Field(ge=1, le=2**53 - 1)
    issued_at: Timestamp
    expires_at: Timestamp
    roots: Annotated[tuple[KeyId, ...], FailFast()]
    threshold: int = Field(ge=1)
    keys: Annotated[tuple[TrustedKey, ...], FailFast()]
    revocations: Annotated[tuple[Revocation, ...], FailFast()] = ()

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

    def key(self, key_id: str) -> TrustedKey | None:
        """The listed key with this id; None means that this file does not know it."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def person_of(self, key_id: str) -> str | None:
        """Whom this file names for a key; None where it does not know it."""
        return next((key.person for key in self.keys if key.key_id == key_id), None)

    def revocation(self, key_id: str) -> Revocation | None:
        """The earliest revocation of a key; None means that it stands."""
        found = [one for one in self.revocations if one.key_id == key_id]
        return min(found, key=lambda one: one.revoked_at, default=None)
