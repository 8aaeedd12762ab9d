"""What a first record says of its base without naming a statement, held against what is recorded of that base. Pure."""

from collections.abc import Iterator, Sequence

from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, upstream_terms
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value


def based_otherwise(record: RecordSections, weights: Digest, stated: Sequence[BaseRecord]) -> Iterator[str]:
    """What a record says of its base without naming a statement, and is recorded of that base otherwise, a line each.

    A value that names a statement is held against that (`inherited_values.py`). What nobody recorded of the base may be stated.

    Args:
        record: of a version.
        weights: the digest of the base's weights.
        stated: every record of the base that was signed, in the order of the log.
    """
    for position, used in enumerate(record.base):
        if used.role.value != "base" or used.tensor_digest.value != str(weights):
            continue
        own = [base for base in stated if base.name in (None, used.name.value)]  # older ones have no name
        if stated and not own:
            yield f"base[{position}].name: no base with its weights is registered as {used.name.value}"
        sections = [base_section(BaseInput(name=base.name or "", record=base)) for base in own]
        for name in (*_facts_of_a_base(), "params_total", "revision"):
            if _contradicts(getattr(used, name), [getattr(section, name) for section in sections], name):
                yield f"base[{position}].{name}: it names no statement, and the base is recorded otherwise"
        # what was declared with the base was there when anything was made on it
        for name in _facts_of_a_base() if sections else ():
            if getattr(sections[0], name).source == "declared" and not getattr(used, name).known:
                yield f"base[{position}].{name}: it was declared with the base, and the record leaves it out"
    for position, term in enumerate(record.upstream if isinstance(record, ModificationRecord) else ()):
        terms = [
            upstream_terms(BaseInput(name=base.name or "", record=base)).eu_exclusion
            for base in stated
            if base.name in (None, term.name.value)
        ]
        if len(record.base) == 1 and _contradicts(term.eu_exclusion, terms, "eu_exclusion"):
            yield f"upstream[{position}].eu_exclusion: it names no statement, and the base is recorded otherwise"


def of_no_base(record: RecordSections) -> Iterator[str]:
    """What a record states of a base where nothing that is signed with it says which base that is, a line each."""
    for position, used in enumerate(record.base):
        for name in _facts_of_a_base():
            value = getattr(used, name)
            if value.known and not _names_statement(value, name):
                yield f"base[{position}].{name}: nothing is signed with it that says on which base it was made"


def another_name(record: RecordSections, reference: object) -> Iterator[str]:
    """A record that names its base otherwise than the training file did: another name has facts of its own.

    `reference` is any JSON value; a digest, or nothing, names no name.
    """
    if not isinstance(reference, str) or reference.startswith("sha256:"):
        return
    name = reference.partition("@")[0].partition(":")[0]
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
