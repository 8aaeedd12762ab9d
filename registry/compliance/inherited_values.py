"""Whether what a version's first record takes over from what it was made from is recorded there. Pure: the records come in.

Nobody can have answered a question of a record before there was one. So a value of a first record that rests on somebody's word
names the statements that hold the records of what went in, and one of these says it: of the same file where it is about data, else
of a parent.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from peft_registry.registry.compliance.base_terms import eu_exclusion_of
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value

_OF_BASES = ("base", "upstream")
"""Sections of a record that take over what is recorded of bases."""


@dataclass(frozen=True, slots=True)
class RecordedBefore:
    """A modification record, or the record of a base, that was logged, and the artifact that it is about."""

    subject: Digest
    record: RecordSections | BaseRecord


RecordFinder = Callable[[Digest], RecordedBefore | None]
"""The record, of a modification or a base, that a statement holds, by its digest; None where that is not here, or holds none."""


@dataclass(frozen=True, slots=True)
class InheritedCheck:
    """What a first record says of others that they do not say, and what it names that is not here; a line each."""

    wrong: tuple[str, ...]
    unseen: tuple[str, ...]


def rests_on_others(record: RecordSections) -> bool:
    """Whether it is a first record that takes over what people said of something else; none of the first form does."""
    is_first = isinstance(record, ModificationRecord) and not record.supersedes_another
    return is_first and any(True for _ in _taken_over(record))


def check_inherited(record: RecordSections, manifest: Manifest, recorded: RecordFinder) -> InheritedCheck:
    """Hold a version's first record against the records that it names.

    Args:
        record: that the version was registered with.
        manifest: of the version, which names what it was made from.
        recorded: finds the records that it names.
    """
    wrong: list[str] = []
    unseen: list[str] = []
    for leaf in _taken_over(record):
        named = {digest: recorded(digest) for digest in leaf.value.evidence}
        if not manifest.made_from and FieldPath.parse(leaf.path).section not in _OF_BASES:
            wrong.append(f"{leaf.path}: it was made from nothing of which anybody could have said it")
            continue
        sources = [
            value
            for before in named.values()
            if before is not None
            for value in _stated_there(leaf, record, before, manifest)
            if _says(value) == _says(leaf.value)
        ]
        vouched = {digest for value in sources for digest in value.evidence}
        open_digests = [digest for digest, before in named.items() if before is None and digest not in vouched]
        if sources and not open_digests:
            continue
        line = f"{leaf.path}: no record that it names says so of what it was made from"
        (unseen if open_digests else wrong).append(line)
    return InheritedCheck(tuple(wrong), tuple(unseen))


def _taken_over(record: RecordSections) -> Iterator[Leaf]:
    return (leaf for leaf in leaves(record) if leaf.value.rests_on_statement)


def _stated_there(leaf: Leaf, record: RecordSections, before: RecordedBefore, manifest: Manifest) -> Iterator[Value]:
    """What a record named by a value says in the same field: of the same file, or as the record of a parent or a base."""
    path = FieldPath.parse(leaf.path)
    if isinstance(before.record, BaseRecord):
        if before.subject in {parent.manifest for parent in manifest.parents if parent.role == "base"}:
            yield from _stated_of_base(leaf, before.record)
        return
    about = _item(record, path)
    if path.section != "data" and before.subject not in manifest.made_from:
        return
    for other in leaves(before.record):
        if other.rule == leaf.rule and _item(before.record, FieldPath.parse(other.path)) == about:
            yield other.value


def _stated_of_base(leaf: Leaf, base: BaseRecord) -> Iterator[Value]:
    """What the record of a base says in the field of a record that takes it over."""
    for key, path in field_rules().base_facts.items():
        if path == leaf.rule:
            yield getattr(base.facts, key)
    if leaf.rule == "upstream[].eu_exclusion":
        yield eu_exclusion_of(base.facts)


def _item(record: RecordSections, path: FieldPath) -> tuple[str, object]:
    """What the item of an array is known by in every record: of data the digest, where it is unknown the name."""
    if path.position is None:
        return ("", None)
    if path.section != "data":
        return (path.section, path.position)
    section = record.data[path.position]
    return ("digest", section.digest.value) if section.digest.known else ("name", section.name.value)


def _says(value: Value) -> Value:
    """A value without the method and the evidence, which say where it is recorded."""
    return value.revised(method=None, evidence=())
