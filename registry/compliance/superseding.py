"""A record that stands in place of another of the same version, built from it and from what is known now. Pure.

Nothing signed is edited. The new record is whole, names the one before it by id and by digest, says why it was made, and names the
statements that it was built from. What was measured of the modification itself stays; declared values may be corrected.
"""

from collections.abc import Mapping
from typing import Any

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.schemas.codes import Said, code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    UNTIL_SECOND_FORM,
    Correction,
    Identity,
    ModificationRecord,
    RecordSections,
)
from peft_registry.schemas.values import Timestamp, Value, measured


def superseding(
    before: RecordSections,
    *,
    name: str,
    manifest: Digest,
    record_id: str,
    now: Timestamp,
    reason: Said,
    answers: tuple[Digest, ...] = (),
    evaluations: tuple[Digest, ...] = (),
    values: dict[str, Value] | None = None,
    **sections: Any,  # the type of each section checks its value
) -> ModificationRecord:
    """The record that supersedes another, in the third form.

    Args:
        before: the version's record until now, of either form.
        name: that the version is registered under; the record says so where the one before it did not.
        manifest: its manifest digest, likewise.
        record_id: of the new one.
        now: when it is made; the time of the one before it where a clock was set back behind that.
        reason: why.
        answers: payload digests of the statements of kind `answers` that it takes up.
        evaluations: likewise of later evaluations.
        values: values that take the place of others, by path with positions (`data[0].licence`).
        sections: whole sections that take the place of others.

    Raises:
        KeyError: the record has no such path.
        ValidationError: a value is not of its field's type.
    """
    record = in_third_form(before).revised(
        record_id=record_id,
        record_created_at=max(now, before.record_created_at),
        supersedes=before.record_id,
        correction=Correction(
            supersedes_digest=before.canonical_digest(), reason=reason, answers=answers, evaluations=evaluations
        ),
        identity=_identity(before, name, manifest),
        **sections,
    )
    return with_assessment(with_values(record, values or {}))


def with_values(record: ModificationRecord, values: Mapping[str, Value]) -> ModificationRecord:
    """A record with other values, by path with positions (`data[0].licence`); what follows from them is not derived anew.

    Raises:
        KeyError: the record has no such path.
        ValidationError: a value is not of its field's type.
    """
    paths = {path: FieldPath.parse(path) for path in values}
    # no more than what changes: to write a whole record and read it again takes longer than all that is derived
    document = record.sections_to_json({path.outermost for path in paths.values()})
    for path, value in values.items():
        holder, key = paths[path].place_in(document)
        if key not in holder:
            raise KeyError(path)
        holder[key] = value.to_json()
    return record.revised(**document)


def _identity(before: RecordSections, name: str, manifest: Digest) -> Identity:
    """What is modified, with the name and the artifact of the version."""
    stated = {"result_name": name, "result_manifest": str(manifest)}
    return before.identity.revised(
        **{
            field: measured(value, method=code("its_registration"))
            for field, value in stated.items()
            if getattr(before.identity, field).value != value
        }
    )


def in_third_form(record: RecordSections) -> ModificationRecord:
    """What a record of any form says, in the third: what its own has no field for is unknown, and what nobody signed."""
    if isinstance(record, ModificationRecord) and record.schema_version == "3":
        return record
    document = as_read(record).to_json() | {"schema_version": "3"}
    rules = field_rules().by_path()
    for path in UNTIL_SECOND_FORM:
        section, _, field = path.rpartition(".")
        before = (document.get(section, {}) if section else document).pop(field, None)
        successor = rules[path].answered_by
        if successor is not None and before is not None and before["source"] != "unknown":
            holder, key = FieldPath.parse(successor).place_in(document)
            if holder[key]["source"] == "unknown":
                holder[key] = before
    return ModificationRecord.from_json(document)


def may_replace(declared: Value, before: Value) -> bool:
    """Whether a declaration may stand in place of a recorded value: of an open one, or of the same person's earlier declaration.

    It never replaces what was measured or derived, nor an answer that somebody signed.
    """
    if before.is_stated:
        return not before.evidence and before.asserted_by == declared.asserted_by
    return not before.is_from_tool
