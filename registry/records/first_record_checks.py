"""The record that a version begins with, derived again from what its registration brought. Pure."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from peft_registry.registry.compliance.derivation import (
    FirstInputs,
    ancestor_of,
    as_derivable,
    base_input,
    derive_first,
    difference_lines,
)
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.registry.compliance.making import Production, made_otherwise
from peft_registry.registry.compliance.older_records import OlderClaims, claimed_otherwise, figures_otherwise
from peft_registry.registry.compliance.rule_files import deriving_by, rules_in_force
from peft_registry.registry.records.kept_statements import KeptStatements
from peft_registry.registry.records.logged_statements import LoggedStatement
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.record_inputs import (
    InputsAsLogged,
    RegisteredStatements,
    inputs_otherwise,
    of_earlier_figures,
    registered_otherwise,
)
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.document import first_problem, problem_of
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import InputKind, ModificationPredicate, RecordSections, modification_in
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.run import RunRecord

RecordsAside = Callable[[Sequence[LoggedStatement]], Collection[Digest]]
"""Of everything that was logged about an artifact the records that decide nothing."""


@dataclass(frozen=True, slots=True)
class FirstCheck:
    """What became of deriving the record that a registration brought; as `RecordCheck`, each line with its statement."""

    statement: Digest
    wrong: tuple[str, ...] = ()
    note: str = ""


def check_first(
    statements: KeptStatements, first: RegisteredStatements, manifest: Manifest, aside: RecordsAside
) -> FirstCheck:
    """The record that a registration brought, derived again from its inputs; one from before editions is held as data.

    Args:
        statements: those that were taken up; the record is among them.
        first: what the registration brought, with a record.
        manifest: of the version.
        aside: finds the records of an ancestor that decide nothing.
    """
    try:
        return _derived_again(statements, first, manifest, aside)
    except ValidationError as error:
        # what was logged unasked may be nothing that its kind says
        return FirstCheck(first.records[-1], (f"malformed: {first_problem(error)}",))


def _derived_again(
    statements: KeptStatements, first: RegisteredStatements, manifest: Manifest, aside: RecordsAside
) -> FirstCheck:
    statement = first.records[-1]
    found = statements.find(statement, "modification")
    assert found is not None, "it was taken up before its registration"
    several = tuple(_several(first))
    production = _production(statements, first)
    stated = statements.stated_in(found)
    if stated is None:
        record = modification_in(found.statement)
        evaluation = None if first.evaluation is None else statements.evaluation(first.evaluation)
        claims = claimed_otherwise(OlderClaims.of(record), manifest, statements.elsewhere.manifest)
        return FirstCheck(statement, (*several, *figures_otherwise(record, production, evaluation), *claims))
    if stated.record.supersedes_another:
        begins = f"it supersedes {stated.record.supersedes}, and a version begins with a record that supersedes none"
        return FirstCheck(statement, (*several, begins))
    if editions().standing(stated.edition) != "known":
        return FirstCheck(statement, several)  # said already
    if production is None:
        return FirstCheck(statement, (*several, "provenance: nothing that is signed with it says how it was made"))
    wrong = (*several, *made_otherwise(production, manifest))
    check = _derive_first(statements, first, manifest, production, stated, aside=aside)
    return FirstCheck(check.statement, (*wrong, *check.wrong), check.note)


def _several(first: RegisteredStatements) -> Iterator[str]:
    """What a registration names more than once, so that nothing says which of them stands."""
    if len(first.records) > 1:
        yield f"its registration names {len(first.records)} modification records, and a version begins with one"
    if len(first.productions) > 1:
        yield f"its registration names {len(first.productions)} statements of how it was made, and it was made once"
    if len(first.observations) > 1:
        yield f"its registration names {len(first.observations)} statements of what was observed, and there is one"


def _production(statements: KeptStatements, first: RegisteredStatements) -> Production | None:
    found = statements.find(first.productions[-1], "provenance") if first.productions else None
    return None if found is None else found.statement.read_by(production_of)


def _derive_first(
    statements: KeptStatements,
    first: RegisteredStatements,
    manifest: Manifest,
    production: Production,
    stated: ModificationPredicate,
    *,
    aside: RecordsAside,
) -> FirstCheck:
    subject = first.subject
    statement = first.records[-1]
    record = stated.record
    wrong: list[str] = []
    named = stated.inputs_of("observations", subject)
    found = statements.find(named[0], "observations") if len(named) == 1 else None
    if found is None:
        if len(named) != 1:
            wrong.append("inputs: it names no observations of its own")
        elif named[0] not in first.accompanied_by or statements.about(subject) is not None:
            # where the log is at hand nothing is withheld
            wrong.append(f"inputs: the observations {named[0].short} that it names were not logged with it")
        note = "not derived again: what was observed when it was made is withheld"
        return FirstCheck(statement, tuple(wrong), "" if wrong else note)
    seen = found.statement.read_by(Observations.from_json)
    wrong += inputs_otherwise(subject, first, stated, seen)
    wrong += registered_otherwise(first, production, seen, record)
    logged = InputsAsLogged(statements.find, statements.about, statements.elsewhere, aside)
    wrong += logged.chosen(manifest, production, stated, seen)
    if first.evaluation is not None:
        wrong += of_earlier_figures(statements.evaluation(first.evaluation))
    if wrong:
        return FirstCheck(statement, tuple(wrong))
    try:
        with deriving_by(stated.edition.name):
            read = _read_here(statements, first, manifest, seen, named[0])
            known = None if read is None else _CHECKED.get(read)
            if known is None:
                inputs = first_inputs(statements, manifest, production, seen, first.evaluation)
                derived = derive_first(inputs, refuses_facts=False)
    except (KnownError, ValidationError, LookupError, ValueError) as error:
        return FirstCheck(statement, (f"inputs: nothing follows from them: {problem_of(error)}",))
    if known is not None:
        return known
    left = inputs.not_derived
    absent = (*inputs.absent_bases, *inputs.absent_ancestors)
    note = f"{', '.join(left)}: not derived, because {', '.join(absent)} is not here" if left else ""
    check = FirstCheck(statement, tuple(difference_lines(record, as_derivable(record, derived, left))), note)
    if read is not None:
        if len(_CHECKED) == _MOST_CHECKED:
            _CHECKED.clear()
        _CHECKED[read] = check
    return check


_Read = tuple[object, ...]
_CHECKED: dict[_Read, FirstCheck] = {}
"""What became of deriving a record, by what was read for it: every view of a version asks that again."""
_MOST_CHECKED = 256


def _read_here(
    statements: KeptStatements,
    first: RegisteredStatements,
    manifest: Manifest,
    seen: Observations,
    observations: Digest,
) -> _Read | None:
    """The rules in force and whatever a record is derived from and compared with, each by its digest; None where one has none.

    Each statement by what it holds and not by its name alone, so that one that was altered is read anew.
    """
    named: list[tuple[Digest, InputKind]] = [
        (first.records[-1], "modification"),
        (first.productions[-1], "provenance"),
        (observations, "observations"),
        *((base.statement, "base") for base in seen.bases),
    ]
    for ancestor in seen.ancestors:
        named += [(ancestor.made, "provenance")] if ancestor.made is not None else []
        named += [(ancestor.record, "modification")] if ancestor.record is not None else []
    if first.evaluation is not None:
        named.append((first.evaluation, "bias-evaluation"))
    try:
        texts = [_text_digest(statements.find(digest, kind)) for digest, kind in named]
        # as text, in which 1.0 is not 1 as it is in canonical form
        return (*rules_in_force(), Digest.of(to_json(manifest.to_json())), *named, *texts)
    except (PydanticSerializationError, RecursionError):  # not JSON: the check that reads it reports that
        return None


def _text_digest(found: LoggedStatement | None) -> Digest | None:
    """That of what a statement says; None where it is not here."""
    return None if found is None else found.statement.said_digest


def first_inputs(
    statements: KeptStatements,
    manifest: Manifest,
    production: Production,
    seen: Observations,
    evaluation: Digest | None,
) -> FirstInputs:
    """What the record of a registration follows from; what is not here has a stand-in, and is named.

    Raises:
        LookupError: the evaluation is not here.
        ValidationError: one of the statements is not what its kind says.
    """
    absent_bases: list[str] = []
    absent_ancestors: list[str] = []
    bases = []
    for base in seen.bases:
        found = statements.find(base.statement, "base")
        if found is None:
            absent_bases.append(f"the record of the base {base.name}")
        record = _stand_in(production) if found is None else found.statement.read_by(BaseRecord.from_json)
        bases.append(base_input(base, record))
    ancestors = []
    for ancestor in seen.ancestors:
        made = None if ancestor.made is None else statements.find(ancestor.made, "provenance")
        held = None if ancestor.record is None else statements.record_in(ancestor.record)
        if (ancestor.made is not None and made is None) or (ancestor.record is not None and held is None):
            absent_ancestors.append(f"the record of {ancestor.label}")
        run = None if made is None else made.statement.read_by(production_of)
        ancestors.append(ancestor_of(ancestor, run if isinstance(run, RunRecord) else None, _as_read(held)))
    return FirstInputs(
        manifest=manifest,
        production=production,
        observations=seen,
        bases=tuple(bases),
        ancestors=tuple(ancestors),
        evaluation=None if evaluation is None else statements.evaluation(evaluation),
        absent_bases=tuple(absent_bases),
        absent_ancestors=tuple(absent_ancestors),
    )


def _as_read(record: RecordSections | None) -> RecordSections | None:
    return None if record is None else as_read(record)


def _stand_in(production: Production) -> BaseRecord:
    """In place of the record of a base that is not here: nothing that follows from it is compared."""
    parameters = 1 if isinstance(production, ImportRecord) else production.parameters_total
    return BaseRecord(
        identity=production.base.identity,
        origin=BaseOrigin(format="huggingface", source="not here"),
        architecture="",
        parameters_total=parameters,
        parameters_matmul=parameters,
        context_length=None,
        facts=DeclaredFacts(),
    )
