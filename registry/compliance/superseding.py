"""A record that stands in place of another of the same version, built from it and from what is known now. Pure.

Nothing signed is edited. The new record is whole, names the one before it by id and by digest, says why it was made, and names the
statements that it was built from. What was measured of the modification itself stays; declared values may be corrected.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.schemas.codes import Said, code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Correction, Identity, ModificationRecord, RecordSections
from peft_registry.schemas.values import Timestamp, Value, measured
from peft_registry.schemas.version import Version


def superseding(
    before: RecordSections,
    *,
    version: Version,
    record_id: str,
    now: Timestamp,
    reason: Said,
    answers: tuple[Digest, ...] = (),
    evaluations: tuple[Digest, ...] = (),
    values: dict[str, Value] | None = None,
    **sections: Any,  # the type of each section checks its value
) -> ModificationRecord:
    """The record that supersedes another, in the second form.

    Args:
        before: the version's record until now, of either form.
        version: that the record is about; it says so where the one before it did not.
        record_id: of the new one.
        now: when it is made; the time of the one before it where a clock was set back behind that.
        reason: why, as a reader should read it.
        answers: payload digests of the statements of kind `answers` that it takes up.
        evaluations: likewise of later evaluations.
        values: values that take the place of others, by path with positions (`data[0].licence`).
        sections: whole sections that take the place of others.

    Raises:
        KeyError: the record has no such path.
        ValidationError: a value is not of its field's type.
    """
    document = in_second_form(before).to_json() | {
        "record_id": record_id,
        "record_created_at": max(now, before.record_created_at),
        "supersedes": before.record_id,
        "correction": Correction(
            supersedes_digest=before.canonical_digest(), reason=reason, answers=answers, evaluations=evaluations
        ).to_json(),
    }
    document["identity"] = _identity(before, version).to_json()
    document |= {name: section.to_json() for name, section in sections.items()}
    return with_assessment(with_values(ModificationRecord.from_json(document), values or {}))


def with_values(record: ModificationRecord, values: Mapping[str, Value]) -> ModificationRecord:
    """A record with other values, by path with positions (`data[0].licence`); what follows from them is not derived anew.

    Raises:
        KeyError: the record has no such path.
        ValidationError: a value is not of its field's type.
    """
    document = record.to_json()
    for path, value in values.items():
        holder, key = FieldPath.parse(path).place_in(document)
        if key not in holder:
            raise KeyError(path)
        holder[key] = value.to_json()
    return ModificationRecord.from_json(document)


def _identity(before: RecordSections, version: Version) -> Identity:
    """What is modified, with the name and the artifact of the version."""
    stated = {"result_name": version.name, "result_manifest": str(version.manifest_digest)}
    return before.identity.revised(
        **{
            name: measured(value, method=code("its_registration"))
            for name, value in stated.items()
            if getattr(before.identity, name).value != value
        }
    )


def in_second_form(record: RecordSections) -> ModificationRecord:
    """What a record of either form says, in the second: what the first has no field for is unknown, and what nobody signed."""
    if isinstance(record, ModificationRecord):
        return record
    return ModificationRecord.from_json(as_read(record).to_json() | {"schema_version": "2"})


def newly_declared(new: RecordSections, recorded: RecordSections) -> dict[str, Value]:
    """What people declared in a new record and the recorded one does not state, by the path in the recorded one.

    What the recorded one measured or derived is not declared anew, nor what somebody answered under a signature: a fact has none.
    Nor what another person declared: each corrects what they said themselves.
    """
    return {
        path: value
        for path, value, before in _differing(new, recorded)
        if before is not None and may_replace(value, before)
    }


def not_taken_up(new: RecordSections, recorded: RecordSections) -> tuple[str, ...]:
    """Paths of what people declared in a new record and the recorded one says otherwise."""
    return tuple(path for path, _, _ in _differing(new, recorded))


def _differing(new: RecordSections, recorded: RecordSections) -> Iterator[tuple[str, Value, Value | None]]:
    """Path, declared value and recorded value (None: it has no such place) of what was declared and is not recorded so."""
    stated = {leaf.path: leaf.value for leaf in leaves(in_second_form(recorded))}
    for leaf in leaves(new):
        if leaf.value.source == "declared":
            path = _same_place(leaf.path, new, recorded)
            before = stated.get(path)
            if before is None or before.value != leaf.value.value:
                yield path, leaf.value, before


def may_replace(declared: Value, before: Value) -> bool:
    """Whether a declaration may stand in place of a recorded value."""
    if before.source == "declared":
        return not before.evidence and before.asserted_by == declared.asserted_by
    return not before.is_from_tool


def _same_place(path: str, new: RecordSections, recorded: RecordSections) -> str:
    """The path in the recorded one: of bases and data, the item with the same digest, wherever it stands."""
    place = FieldPath.parse(path)
    if place.position is None:
        return path
    wanted = _identity_of_item(new, place.section, place.position)
    for position in range(len(getattr(recorded, place.section, ()))):  # the first form has no `upstream`
        if wanted is not None and _identity_of_item(recorded, place.section, position) == wanted:
            return str(place.at(position))
    return path


def _identity_of_item(record: RecordSections, section: str, position: int) -> Any:
    """What tells an item from others: its digest, of terms the name of their base, each as JSON; None where it is not known."""
    known_by = {"base": "tensor_digest", "data": "digest", "upstream": "name"}
    item = getattr(record, section)[position]
    return getattr(item, known_by[section]).value
