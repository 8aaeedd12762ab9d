"""Which of the statements about a base says what is recorded of it under one of its names. Pure.

Equal bytes may be added under several names, each with facts of its own: what is declared under one says nothing of another. Under
a name the statement that came with its registration begins, and a later one stands in its place if it keeps what people declared,
or corrects it where its signer or its author may. Any other decides nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from peft_registry.registry.compliance.base_facts import (
    FactSigner,
    Signers,
    facts_with_statement,
    kept_facts_problem,
)
from peft_registry.registry.records.logged_statements import LoggedStatement
from peft_registry.schemas.base_model import BaseRecord, DeclaredFacts
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import RegistrationPredicate, Statement, StoredStatement

SignerOf = Callable[[StoredStatement], FactSigner]
"""Whose key signed a statement."""


@dataclass(frozen=True, slots=True)
class StatedBase:
    """What is recorded of a base under a name, the statement that holds it, and whose key signed that, and each fact first."""

    name: str
    record: BaseRecord
    statement: Digest
    signer: FactSigner
    signers: Signers = field(default_factory=dict)

    @property
    def role(self) -> str | None:
        """Of the key that signed the statement; None where nobody knows."""
        return self.signer.role

    @property
    def facts(self) -> DeclaredFacts:
        """What is declared about it, each with the statement that holds it."""
        return facts_with_statement(self.record.facts, self.statement)


def stated_base(
    statements: Sequence[StoredStatement], name: str, signer_of: SignerOf, *, covered: int | None = None
) -> StatedBase | None:
    """What is recorded of a base under a name; None where it is not registered under it.

    Args:
        statements: everything that was said about its artifact, in the order of the log.
        name: that it was added under.
        signer_of: asked of each base statement.
        covered: how many entries of the log a signed checkpoint covers: a later word that stands behind them decides nothing yet.
            None for whoever makes the next statement, which builds on all of them.
    """
    standing = None
    for stated, _ in _standings(statements, name, signer_of, lambda stored: _counts(stored, covered)):
        standing = stated
    return standing


def _counts(stored: StoredStatement, covered: int | None) -> bool:
    """Whether a later word may decide something yet."""
    return covered is None or (stored.log_index is not None and stored.log_index < covered)


def base_standings(about: Sequence[LoggedStatement], name: str) -> tuple[LoggedStatement, ...]:
    """The statements that held the record of a base under a name, one after the other.

    Args:
        about: everything that was logged about its artifact, in the order of the log.
        name: that it was added under.
    """
    return tuple(entry for _, entry in _standings(about, name, _signer_of_entry, lambda _: True))


def _signer_of_entry(entry: LoggedStatement) -> FactSigner:
    signer = entry.signer
    return FactSigner() if signer.role is None else FactSigner(signer.role, signer.person or signer.key_id)


class _Said(Protocol):
    """A statement, whoever knows what else about it."""

    @property
    def digest(self) -> Digest: ...

    @property
    def statement(self) -> Statement: ...


_AnySaid = TypeVar("_AnySaid", bound=_Said)


def _standings(
    statements: Sequence[_AnySaid],
    name: str,
    signer_of: Callable[[_AnySaid], FactSigner],
    counts: Callable[[_AnySaid], bool],
) -> Iterator[tuple[StatedBase, _AnySaid]]:
    """What was recorded of a base under a name, each time that it changed; the first word always counts."""
    standing = None
    for stored in _under(statements, name):
        signer = signer_of(stored)
        record = stored.statement.read_by(BaseRecord.from_json)
        if standing is None:
            signers = _signers(record.facts, signer, {}, record.facts)
        elif not counts(stored) or kept_facts_problem(
            standing.record.facts, record.facts, signers=standing.signers, by=signer
        ):
            continue
        else:
            signers = _signers(record.facts, signer, standing.signers, standing.record.facts)
        standing = StatedBase(name, record, stored.digest, signer, signers)
        yield standing, stored


def _signers(
    facts: DeclaredFacts, signer: FactSigner, before: Signers, recorded: DeclaredFacts
) -> Mapping[str, FactSigner]:
    """Whose key signed each fact first; a statement repeats what it does not change."""
    return {
        key: signer if getattr(facts, key).says_otherwise(getattr(recorded, key)) else before.get(key, signer)
        for key in DeclaredFacts.model_fields
        if getattr(facts, key).settled
    }


def first_name(statements: Sequence[_Said]) -> str | None:
    """The name under which a base was registered first; None where it is not registered."""
    return next((registration.name for registration in _registrations(statements)), None)


def _under(statements: Sequence[_AnySaid], name: str) -> Iterator[_AnySaid]:
    """The base statements of a name, in the order of the log.

    Those of earlier releases do not say of which name they are. One that came with a registration is of the name that this gave.
    One that came alone is of the name that was registered while it was the only one: afterwards nobody can tell whose it is.
    """
    names = {registration.name for registration in _registrations(statements)}
    if name not in names:
        return
    own = {digest for entry in _registrations(statements) if entry.name == name for digest in entry.accompanied_by}
    others = {digest for entry in _registrations(statements) if entry.name != name for digest in entry.accompanied_by}
    is_elsewhere = False
    for stored in statements:
        if stored.statement.kind == "registration":
            is_elsewhere = is_elsewhere or stored.statement.read_by(RegistrationPredicate.from_json).name != name
        elif stored.statement.kind == "base":
            stated_name = stored.statement.predicate.get("name")
            is_own = stored.digest in own or not (is_elsewhere or stored.digest in others)
            if stated_name == name or (stated_name is None and is_own):
                yield stored


def _registrations(statements: Sequence[_Said]) -> Iterator[RegistrationPredicate]:
    for stored in statements:
        if stored.statement.kind == "registration":
            yield stored.statement.read_by(RegistrationPredicate.from_json)
