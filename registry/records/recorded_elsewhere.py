"""What the statements about an artifact say that the records of others are held against: a base's facts, how it was made. Pure."""

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from peft_registry.registry.compliance.made_as_recorded import Made
from peft_registry.registry.records.provenance import production_of
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import RegistrationPredicate, Statement

Said = tuple[Digest, Statement]
"""A statement by its digest."""


def bases_in(statements: Iterable[Said]) -> tuple[BaseRecord, ...]:
    """Every record of a base among the statements, in their order; what is none says nothing."""
    bases = []
    for _, statement in statements:
        if statement.kind == "base":
            try:
                bases.append(BaseRecord.from_json(statement.predicate))
            except ValidationError:  # whoever reads the base says so
                continue
    return tuple(bases)


def makings_in(statements: Sequence[Said]) -> tuple[Made, ...]:
    """How an artifact was made, once for each of its registrations that says so.

    What is said of it later, by whomever, changes nothing of that.
    """
    provenances = {digest: said.predicate for digest, said in statements if said.kind == "provenance"}
    makings = []
    for _, statement in statements:
        if statement.kind != "registration":
            continue
        try:
            named = RegistrationPredicate.from_json(statement.predicate).accompanied_by
            productions = [production_of(provenances[digest]) for digest in named if digest in provenances]
        except ValidationError:  # whoever reads its version says so
            continue
        makings += [Made.of(production) for production in productions if production is not None]
    return tuple(makings)
