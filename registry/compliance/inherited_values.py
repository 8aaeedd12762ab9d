"""Whether what a record takes over from what its version was made from is recorded there. Pure: the records come in.

Nobody can have answered a question of a record before there was one. So a value of a first record that rests on somebody's word
names the statements that hold the records of what went in, and one of these says it: of the same file where it is about data, else
of a parent.

A record that supersedes another takes over what was declared of a base since, and names the statement of that base. There the role
of whoever signed that counts: registering a base takes the key of a trainer, and most of what is declared of one is for somebody
else to say. In a first record a base has what was declared of it before, by whomever.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from peft_registry.registry.compliance.base_facts import facts_by_path
from peft_registry.registry.compliance.base_terms import eu_exclusion_of, licence_flags_of
from peft_registry.registry.compliance.declared import sound_facts
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves, stated_leaves
from peft_registry.registry.compliance.superseding import in_second_form
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value

_OF_BASES = ("base", "upstream")
"""Sections of a record that take over what is recorded of bases."""


@dataclass(frozen=True, slots=True)
class RecordedBefore:
    """A modification record, or the record of a base, that was logged, and the artifact that it is about.

    `role` is that of the key that signed it: empty for a key that the trust file does not list, None where nothing tells here.
    """

    subject: Digest
    record: RecordSections | BaseRecord
    role: str | None = None


RecordFinder = Callable[[Digest], RecordedBefore | None]
"""The record, of a modification or a base, that a statement holds, by its digest; None where that is not here, or holds none."""


@dataclass(frozen=True, slots=True)
class InheritedCheck:
    """What a first record says of others that they do not say, and what it names that is not here; a line each."""

    wrong: tuple[str, ...]
    unseen: tuple[str, ...]


def rests_on_others(record: RecordSections, before: RecordSections | None = None) -> bool:
    """Whether a record takes over what was said of something else; none of the first form does.

    `before` is the record that it supersedes: None where it supersedes none or that is not here.
    """
    return any(True for _ in taken_over(record, before))


def taken_over(record: RecordSections, before: RecordSections | None = None) -> Iterator[Leaf]:
    """The values that a record takes over from what was said of something else.

    Of a first record all that rest on a statement. Of one that supersedes another what it has otherwise of its bases, and no answer
    that it names gives; nothing, where the one before it is not here.
    """
    if not isinstance(record, ModificationRecord):
        return
    if not record.supersedes_another:
        yield from (leaf for leaf in stated_leaves(record) if leaf.value.rests_on_statement or _is_of_a_base(leaf))
    elif before is not None:
        earlier = {leaf.path: leaf.value for leaf in leaves(in_second_form(before))}
        for leaf in leaves(record):
            is_new = earlier.get(leaf.path) != leaf.value
            if is_new and _is_of_a_base(leaf) and not set(record.correction.answers) & set(leaf.value.evidence):
                yield leaf


def _is_of_a_base(leaf: Leaf) -> bool:
    """Whether a value is what a statement about a base says: as somebody declared it or as their document does.

    Of flags also, where these follow from two of its facts.
    """
    if leaf.rule not in facts_by_path() or not leaf.value.evidence:
        return False
    return leaf.value.source in ("declared", "imported") or (
        leaf.rule == "base[].licence_flags" and leaf.value.source == "derived"
    )


def check_inherited(
    record: RecordSections, manifest: Manifest, recorded: RecordFinder, before: RecordSections | None = None
) -> InheritedCheck:
    """Hold what a record takes over against the records that it names.

    Args:
        record: of the version.
        manifest: of the version, which names what it was made from.
        recorded: finds the records that it names.
        before: the record that it supersedes; None where it supersedes none or that is not here.
    """
    wrong: list[str] = []
    unseen: list[str] = []
    # because most fields name the same few statements, and each is found through the log, its signature and its proof
    find = cache(recorded)
    for leaf in taken_over(record, before):
        named = {digest: find(digest) for digest in leaf.value.evidence}
        if before is None and not manifest.made_from and FieldPath.parse(leaf.path).section not in _OF_BASES:
            wrong.append(f"{leaf.path}: it was made from nothing of which anybody could have said it")
            continue
        sources = [
            value
            for source in named.values()
            if source is not None and (before is None or _may_answer(leaf, source))
            for value in _stated_there(leaf, record, source, manifest)
            if _says(value) == _says(leaf.value)
        ]
        vouched = {digest for value in sources for digest in value.evidence}
        open_digests = [digest for digest, source in named.items() if source is None and digest not in vouched]
        if sources and not open_digests:
            continue
        line = f"{leaf.path}: no record that it names says so of what it was made from"
        (unseen if open_digests else wrong).append(line)
    return InheritedCheck(tuple(wrong), tuple(unseen))


def _may_answer(leaf: Leaf, source: RecordedBefore) -> bool:
    """Whether a statement of a base answers a field of a record that was made before."""
    if not isinstance(source.record, BaseRecord):
        return False
    return source.role is None or field_rules().by_path()[leaf.rule].is_answered_by(source.role)


def _stated_there(leaf: Leaf, record: RecordSections, before: RecordedBefore, manifest: Manifest) -> Iterator[Value]:
    """What a record named by a value says in the same field: of the same file, or as the record of a parent or a base."""
    path = FieldPath.parse(leaf.path)
    if isinstance(before.record, BaseRecord):
        if before.subject in {parent.manifest for parent in manifest.parents if parent.role == "base"}:
            yield from _stated_of_base(leaf, record, before.record)
        return
    about = _item(record, path)
    if path.section != "data" and before.subject not in manifest.made_from:
        return
    for other in leaves(before.record):
        if other.rule == leaf.rule and _item(before.record, FieldPath.parse(other.path)) == about:
            yield other.value


def _stated_of_base(leaf: Leaf, record: RecordSections, base: BaseRecord) -> Iterator[Value]:
    """What the record of a base says in the field of a record that takes it over; nothing where it is that of another name."""
    # what a base is, its adapters are too: these have names of their own
    if base.name is not None and base.name not in {used.name.value for used in record.base}:
        return
    key = facts_by_path().get(leaf.rule)
    if key is None:
        return
    yield getattr(base.facts, key)
    if leaf.rule == "base[].licence_flags":
        yield licence_flags_of(sound_facts(base.facts))
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
