"""What the statements about an artifact say that the records of others are held against: a base's facts, how it was made. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from peft_registry.registry.compliance.base_as_recorded import SaidOfBase
from peft_registry.registry.compliance.made_as_recorded import Flags, Made, flags_of
from peft_registry.registry.records.provenance import production_of
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import modification_of
from peft_registry.schemas.statement import RegistrationPredicate, Statement
from peft_registry.schemas.values import Timestamp


class EnteredStatement(NamedTuple):
    """A statement, its digest, and when its entry was made, where that is known."""

    digest: Digest
    statement: Statement
    entered_at: Timestamp | None = None


def bases_in(statements: Iterable[EnteredStatement]) -> tuple[SaidOfBase, ...]:
    """Every record of a base among the statements, in their order; what is none says nothing."""
    bases = []
    for said in statements:
        if said.statement.kind == "base":
            try:
                bases.append(SaidOfBase(BaseRecord.from_json(said.statement.predicate), said.entered_at))
            except ValidationError:  # whoever reads the base says so
                continue
    return tuple(bases)


def makings_in(statements: Sequence[EnteredStatement]) -> tuple[Made, ...]:
    """How an artifact was made, once for each of its registrations that says so.

    What is said of it later, by whomever, changes nothing of that.
    """
    provenances = {said.digest: said.statement.predicate for said in statements if said.statement.kind == "provenance"}
    makings = []
    for said in statements:
        statement = said.statement
        if statement.kind != "registration":
            continue
        try:
            named = RegistrationPredicate.from_json(statement.predicate).accompanied_by
            productions = [production_of(provenances[digest]) for digest in named if digest in provenances]
        except ValidationError:  # whoever reads its version says so
            continue
        makings += [Made.of(production) for production in productions if production is not None]
    return tuple(makings)


def flags_in(statements: Iterable[EnteredStatement]) -> Flags:
    """What the newest record that names a file says of it; whether a record is wrong, whoever reads its own version says."""
    flags: dict[str, Mapping[str, str | None]] = {}
    for said in statements:
        if said.statement.kind == "modification":
            try:
                flags |= flags_of(modification_of(said.statement.predicate_type, said.statement.predicate))
            except ValidationError:  # whoever reads its version says so
                continue
    return flags
