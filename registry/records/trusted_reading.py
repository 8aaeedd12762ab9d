"""By whose word statements count for their reader, and how much of the log is proven: of a home, and of a folder. Pure."""

from dataclasses import dataclass

from peft_registry.registry.compliance.base_facts import FactSigner
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.records.logged_statements import EntrySigner, signer_of
from peft_registry.registry.records.record_checks import answers_as_another
from peft_registry.registry.signing.trust import key_status
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.policy import TrustPolicy, signer_text
from peft_registry.schemas.statement import PREDICATE_TYPES, StoredStatement
from peft_registry.schemas.values import Timestamp


@dataclass(frozen=True, slots=True)
class WhoseWord:
    """Whom the reader trusts; None for nobody: verification says then that nothing is checked."""

    trust: TrustPolicy | None

    def may_say(self, entry: StoredStatement) -> bool:
        """Whether whoever signed a statement may say so; without trust nobody knows better."""
        if self.trust is None:
            return True
        status = key_status(
            self.trust,
            entry.key_id,
            predicate_type=entry.statement.predicate_type,
            signed_at_proven=entry.appended_at,
            now=str(entry.appended_at),
        )
        return status.state == "ok" and not answers_as_another(entry.statement, self.trust.key(entry.key_id))

    def entry_signer(self, entry: StoredStatement) -> EntrySigner:
        """Whose key signed a statement, and where and when it entered the log; without trust nobody knows whose key it is."""
        if self.trust is None:
            return EntrySigner(entry.key_id, logged_at=entry.appended_at, index=entry.log_index)
        key = self.trust.key(entry.key_id)
        if key is None:
            return EntrySigner(entry.key_id, logged_at=entry.appended_at, role="", index=entry.log_index)
        return signer_of(key, at=entry.appended_at, index=entry.log_index)

    def signer_of_fact(self, entry: StoredStatement) -> FactSigner:
        """Whose key signed what is declared of a base."""
        return FactSigner() if self.trust is None else FactSigner.of(self.trust.key(entry.key_id), entry.key_id)

    def person_of(self, key_id: str) -> str | None:
        """Whose key it is; None where the trust file does not say so."""
        return None if self.trust is None else self.trust.person_of(key_id)

    def role_of(self, key_id: str) -> str | None:
        """In which role the trust file lists a key; None where it does not."""
        key = None if self.trust is None else self.trust.key(key_id)
        return None if key is None else key.role

    def who(self, key_id: str) -> str:
        """Whose key it is, with its role, as a part of a sentence."""
        return signer_text(key_id, self.person_of(key_id), self.role_of(key_id))

    def person_behind(self, entry: StoredStatement) -> str:
        """Whose key signed it, or the key's id."""
        return self.person_of(entry.key_id) or f"key {entry.key_id[:12]}…"


@dataclass(frozen=True, slots=True)
class TrustedReading(WhoseWord):
    """By whose word statements count, and which of them yet.

    Attributes:
        covered: how many entries of the log a signed checkpoint covers.
        now: RFC 3339, UTC; for what has no time of its own.
    """

    covered: int
    now: Timestamp

    def covers(self, entry: StoredStatement) -> bool:
        """Whether a checkpoint covers a statement."""
        return entry.log_index is not None and entry.log_index < self.covered

    def objection_to(self, entry: StoredStatement) -> str:
        """Why what a person signed does not count today; empty where it does."""
        if not self.covers(entry):
            return "no checkpoint covers it yet"
        kind = entry.statement.kind
        if kind is None:
            return "it is of no known kind"
        if self.trust is None:
            return "nobody is trusted to have signed it"
        try:
            require_may_say(self.trust, entry.key_id, PREDICATE_TYPES[kind], at=entry.appended_at or self.now)
        except KnownError as error:
            return f"{error.what}: {error.why}"
        return ""
