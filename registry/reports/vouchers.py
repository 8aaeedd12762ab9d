"""Whose key vouches for what a person states in a record: the one that answered it, else the one that signed the record. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value


@dataclass(frozen=True, slots=True)
class Vouchers:
    """Whose keys signed the answers that a record takes up, by statement, and whose the record itself; None: it is not here."""

    answers: Mapping[Digest, str]
    record: str | None

    def of(self, value: Value) -> str:
        """Who stands behind a value that somebody states; empty where nobody does.

        A name that was typed into a file of facts is what whoever signed the record says of it.
        """
        at = f" at {value.asserted_at}" if value.asserted_at else ""
        answered = next((self.answers[digest] for digest in value.evidence if digest in self.answers), None)
        if answered is not None:
            return f"answered by {answered}{at}"
        if not value.asserted_by:
            return ""
        signed = "" if self.record is None else f", in a record signed by {self.record}"
        return f"as said by {value.asserted_by}{at}{signed}"


def vouchers_of(statements: Sequence[StoredStatement], record_id: str, who: Callable[[str], str]) -> Vouchers:
    """Those of a record of that id among the statements about a version; `who` says whose key it is, by its id."""
    signed_by = next((who(stored.key_id) for stored in reversed(statements) if _record_id(stored) == record_id), None)
    return Vouchers({stored.digest: who(stored.key_id) for stored in statements if stored.kind == "answers"}, signed_by)


def _record_id(stored: StoredStatement) -> object:
    if stored.kind != "modification":
        return None
    predicate = stored.statement.predicate
    record = predicate.get("record", predicate)  # the first two forms are the record itself
    return record.get("record_id") if isinstance(record, dict) else None
