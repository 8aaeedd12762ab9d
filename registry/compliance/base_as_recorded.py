"""What a first record says of its base without naming a statement, held against what is recorded of that base. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, upstream_terms
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections, UpstreamTerms
from peft_registry.schemas.values import Timestamp, Value


@dataclass(frozen=True, slots=True)
class SaidOfBase:
    """A record of a base that was signed, and when its entry was made, where that is known."""

    record: BaseRecord
    logged_at: Timestamp | None = None


def based_otherwise(
    record: RecordSections, weights: Digest, stated: Sequence[SaidOfBase], *, since: Timestamp
) -> Iterator[str]:
    """What a record says of its base without naming a statement, and is recorded of that base otherwise, a line each.

    A value that names a statement is held against that (`inherited_values.py`). What nobody recorded of the base may be stated.

    Args:
        record: of a version.
        weights: the digest of the base's weights.
        stated: every record of the base that was signed, in the order of the log.
        since: when the version was begun: whatever was declared of its base before is in its record.
    """
    yield from _bases_listed_otherwise(record)
    for position, used in enumerate(record.base):
        if used.role.value != "base" or used.tensor_digest.value != str(weights):
            continue
        own = [said for said in stated if said.record.name in (None, used.name.value)]  # older ones have no name
        if stated and not own:
            yield f"base[{position}].name: no base with its weights is registered as {used.name.value}"
        sections = [base_section(_input(said)) for said in own]
        for name in (*_facts_of_a_base(), "params_total", "revision"):
            value = getattr(used, name)
            known = [getattr(section, name) for section in sections]
            if _contradicts(value, known, name) or (own and _is_invented(value, known, name)):
                yield f"base[{position}].{name}: it names no statement, and the base is recorded otherwise"
        for name in _facts_of_a_base():
            if not getattr(used, name).known and _was_declared(name, own, sections, since):
                yield f"base[{position}].{name}: it was declared of the base before, and the record leaves it out"
    for position, term in enumerate(record.upstream if isinstance(record, ModificationRecord) else ()):
        own = [said for said in stated if said.record.name in (None, term.name.value)]
        terms = [upstream_terms(_input(said)) for said in own]
        if _contradicts(term.eu_exclusion, [other.eu_exclusion for other in terms], "eu_exclusion"):
            yield f"upstream[{position}].eu_exclusion: it names no statement, and the base is recorded otherwise"
        if not term.eu_exclusion.known and _was_declared("eu_exclusion", own, terms, since):
            yield f"upstream[{position}].eu_exclusion: it was declared of the base before, and the record leaves it out"


def _input(said: SaidOfBase) -> BaseInput:
    return BaseInput(name=said.record.name or "", record=said.record)


def _bases_listed_otherwise(record: RecordSections) -> Iterator[str]:
    """A base that is there twice, or of which the terms are not there once."""
    if not isinstance(record, ModificationRecord):
        return
    names = [str(used.name.value) for used in record.base if used.role.value == "base" and used.name.known]
    terms = [str(term.name.value) for term in record.upstream]
    if sum(used.role.value == "base" for used in record.base) > 1:
        yield "base: it lists several bases, and a version stands on one"
    if names != terms:
        yield f"upstream: it has the terms of {', '.join(terms) or 'no base'}, and its base is {', '.join(names) or 'none'}"


def _was_declared(
    name: str, said: Sequence[SaidOfBase], sections: Sequence[BaseUsed | UpstreamTerms], since: Timestamp
) -> bool:
    """Whether people had declared a fact of the base when something was begun on it; its first record was always there."""
    began = datetime.fromisoformat(since)
    return any(
        # flags may follow from an exclusion that somebody declared apart
        getattr(section, name).source in (("declared", "derived") if name == "licence_flags" else ("declared",))
        for place, (of_base, section) in enumerate(zip(said, sections, strict=True))
        if place == 0 or (of_base.logged_at is not None and datetime.fromisoformat(of_base.logged_at) < began)
    )


def _is_invented(value: Value, stated: Sequence[Value], name: str) -> bool:
    """Whether a value is called the tool's or a document's, and no record of the base has it."""
    is_claimed = value.is_from_tool or value.source == "imported"
    return is_claimed and not _names_statement(value, name) and _says(value) not in map(_says, stated)


def of_no_base(record: RecordSections) -> Iterator[str]:
    """What a record states of a base where nothing that is signed with it says which base that is, a line each."""
    for position, used in enumerate(record.base):
        for name in _facts_of_a_base():
            value = getattr(used, name)
            if value.known and not _names_statement(value, name):
                yield f"base[{position}].{name}: no registered base is named by what is signed with it"


def another_name(record: RecordSections, reference: object, stated: Sequence[BaseRecord]) -> Iterator[str]:
    """A record that names its base otherwise than the training file did: another name has facts of its own.

    Args:
        record: of a run.
        reference: any JSON value that the file has for the base; a digest means the name that it was registered under first.
        stated: every record of the base that was signed, in the order of the log.
    """
    name = None
    if isinstance(reference, str):
        name = reference.partition("@")[0].partition(":")[0]
        if reference.startswith("sha256:"):
            name = next((base.name for base in stated), None)
    if name is None:
        return
    for position, used in enumerate(record.base):
        if used.role.value == "base" and used.name.value not in (None, name):
            yield f"base[{position}].name: it is {used.name.value}, and the run was made on {name}"


def _facts_of_a_base() -> tuple[str, ...]:
    """The fields of a base in a record that the record of the base states."""
    return tuple(path.removeprefix("base[].") for path in facts_by_path() if path.startswith("base[]."))


def _contradicts(recorded: Value, stated: Sequence[Value], name: str) -> bool:
    """Whether a value that rests on nobody's statement is another than each that is known."""
    known = [value for value in stated if value.known]
    is_held = recorded.known and not _names_statement(recorded, name) and bool(known)
    return is_held and _says(recorded) not in map(_says, known)


def _names_statement(value: Value, name: str) -> bool:
    """Whether a fact of a base names the statement that holds it; flags may follow from two of its facts."""
    is_of_people = value.source in ("declared", "imported")
    return bool(value.evidence) and (is_of_people or (name == "licence_flags" and value.source == "derived"))


def _says(value: Value) -> tuple[object, ...]:
    return value.value, value.source, value.asserted_by
