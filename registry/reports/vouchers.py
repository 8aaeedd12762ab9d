"""Whose key vouches for what a person states in a record: the one that answered it, else the one that signed the record. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules
from peft_registry.registry.compliance.proposals import lacks_signature
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value

TYPED = "typed, not signed by its owner"


@dataclass(frozen=True, slots=True)
class Vouchers:
    """Whose keys signed the answers that a record takes up, by statement, and whose the record itself; None: it is not here."""

    answers: Mapping[Digest, str]
    record: str | None

    def of(self, path: str, value: Value) -> str:
        """Who stands behind a value that somebody states, and whose signature it waits for; empty where nobody states it.

        A name that was typed into a file of facts is what whoever signed the record says of it.
        """
        at = f" at {value.asserted_at}" if value.asserted_at else ""
        answered = next((self.answers[digest] for digest in value.evidence if digest in self.answers), None)
        if answered is not None:
            return f"answered by {answered}{at}"
        if not value.asserted_by:
            return ""
        signed = "" if self.record is None else f", in a record signed by {self.record}"
        owner = owner_without_signature(path, value)
        not_signed = "" if owner is None else f"; nobody who answers for {owner} has signed it"
        return f"as said by {value.asserted_by}{at}{signed}{not_signed}"


def owner_without_signature(path: str, value: Value) -> str | None:
    """Whose field a value was typed into without a signature of theirs; None where it needs none or has one."""
    rule = FieldPath.parse(path).rule
    return field_rules().by_path()[rule].owner if lacks_signature(Leaf(path, rule, value)) else None


def typed_mark(path: str, value: Value) -> str:
    """What a sentence says of a value that was typed; empty of any other."""
    return "" if owner_without_signature(path, value) is None else TYPED


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
