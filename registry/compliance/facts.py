"""What only people know, from the facts file of a run: declared values, laid over what the tool recorded.

The file names who asserts them and then has the shape of the record; data and bases are named, `"*"` means each of them:

    asserted_by: "J. Doe, data steward"
    use: {intended: "answers to arithmetic questions of pupils"}
    data: {gsm8k.jsonl: {personal_data: "no", labelling: "written by the annotators of the data set"}}

A fact never replaces what was measured. `{unknown: reason}` states that an answer was looked for and not found.
"""

from collections.abc import Collection, Iterator
from typing import Any

from peft_registry.registry.compliance.fields import FieldRule, field_rules
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.modification import BaseUsed, DataUsed, ModificationRecord
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, Value, declared, measured, unknown

ASSERTED_BY = "asserted_by"
EACH = "*"


class FactUnknown(InputRefused):
    reference = "fact-unknown"
    what = "the facts file states {path!q}"
    why = "the modification record has no such field"
    fix = "{suggestion}"

    path: str
    nearest: str | None

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "docs/reference/modification-record.md lists the fields")


class FactNotDeclarable(InputRefused):
    reference = "fact-not-declarable"
    what = "{path!q} cannot be declared"
    why = "{reason}"
    fix = "take it out of the facts file"

    path: str
    reason: str


class FactMalformed(InputRefused):
    reference = "fact-malformed"
    what = "the fact {path!q} has the wrong form"
    why = "{reason}"
    fix = "{remedy}"

    path: str
    reason: str
    remedy: str


def with_facts(record: ModificationRecord, facts: dict[str, Any], *, at: Timestamp) -> ModificationRecord:
    """The record with the facts declared in it; `facts` is the JSON value of the facts file.

    Raises:
        FactUnknown: no such field, data file or base.
        FactNotDeclarable: the field is the tool's, or was measured.
        FactMalformed: no `asserted_by`, a section where a value belongs or the reverse, or a value outside the choices.
    """
    by = _asserted_by(facts)
    document = record.to_json()
    sections = {key: value for key, value in facts.items() if key != ASSERTED_BY}
    for path, rule, target, key, value in _placed(document, sections, "", ""):
        target[key] = _stated(path, rule, Value.from_json(target[key]), value, by=by, at=at).to_json()
    return ModificationRecord.from_json(document)


def problems_of_facts(
    facts: dict[str, Any], *, bases: Collection[str] | None, data: Collection[str] | None
) -> Iterator[InputRefused]:
    """What `with_facts` would refuse of facts whatever a run measures: told before the run, not after it.

    Args:
        facts: the JSON value of the facts file.
        bases: names of the models that go in; None where they are not known yet: then any name may stand there.
        data: names of the data files, likewise.
    """
    try:
        by = _asserted_by(facts)
    except FactMalformed as problem:
        yield problem
        by = "nobody"
    at = "1970-01-01T00:00:00Z"
    record = ModificationRecord(
        record_id="not made yet",
        record_created_at=at,
        base=tuple(BaseUsed(name=measured(name)) for name in _names(bases, facts, "base")),
        data=tuple(DataUsed(name=measured(name)) for name in _names(data, facts, "data")),
    )
    document = record.to_json()
    for section, value in facts.items():
        if section == ASSERTED_BY:
            continue
        try:
            for path, rule, target, key, stated in _placed(document, {section: value}, "", ""):
                try:
                    _stated(path, rule, Value.from_json(target[key]), stated, by=by, at=at)
                except InputRefused as problem:
                    yield problem
        except InputRefused as problem:  # the rest of this section has no place either
            yield problem


def _names(known: Collection[str] | None, facts: dict[str, Any], section: str) -> list[str]:
    """The known names; else those that the facts use, or any, so that what is stated of each is checked."""
    if known is not None:
        return sorted(known)
    stated = facts.get(section)
    names = [str(name) for name in stated if name != EACH] if isinstance(stated, dict) else []
    return names or ["not known yet"]


def _asserted_by(facts: dict[str, Any]) -> str:
    by = facts.get(ASSERTED_BY)
    if not isinstance(by, str) or not by.strip():
        raise FactMalformed(ASSERTED_BY, "nobody is named who asserts the facts", "add asserted_by: name and role")
    return by


# path with names, rule, the section that holds the field, its key there, the stated value
_Placed = tuple[str, FieldRule, dict[str, Any], str, Any]


def _placed(section: dict[str, Any], facts: Any, path: str, rule: str) -> Iterator[_Placed]:
    rules = field_rules().by_path()
    if not isinstance(facts, dict):
        raise FactMalformed(path.rstrip("."), "it is a section of several fields", "indent its fields under it")
    for key, value in facts.items():
        if f"{rule}{key}" in rules:
            yield f"{path}{key}", rules[f"{rule}{key}"], section, key, value
        elif isinstance(section.get(key), list):
            yield from _placed_in_array(section[key], value, f"{path}{key}.", f"{rule}{key}[].")
        elif isinstance(section.get(key), dict):
            yield from _placed(section[key], value, f"{path}{key}.", f"{rule}{key}.")
        else:
            raise FactUnknown(f"{path}{key}", closest(f"{rule}{key}", rules))


def _placed_in_array(items: list[dict[str, Any]], facts: Any, path: str, rule: str) -> Iterator[_Placed]:
    if not isinstance(facts, dict):
        raise FactMalformed(path.rstrip("."), "it holds one section for each name", 'write a name, or "*" for each')
    names = [str(item["name"]["value"]) for item in items]
    for name, fields in facts.items():
        if name != EACH and name not in names:
            raise FactUnknown(f"{path}{name}", closest(str(name), names))
        for item, item_name in zip(items, names, strict=True):
            if name in (EACH, item_name):
                yield from _placed(item, fields, f"{path}{item_name}.", rule)


def _stated(path: str, rule: FieldRule, current: Value, value: Any, *, by: str, at: Timestamp) -> Value:
    if rule.owner == "tool":
        raise FactNotDeclarable(path, "this tool records it itself")
    if current.source in ("measured", "derived"):
        raise FactNotDeclarable(path, f"it was {current.source}: {current.method or 'by this tool'}")
    if isinstance(value, dict) and set(value) == {"unknown"}:
        return unknown(f"{value['unknown']} (stated by {by})")
    if value is None:
        raise FactMalformed(path, "it is empty", "state a value, or {unknown: the reason}")
    _check_form(path, rule, value)
    canonical_bytes(value)  # a value that cannot be signed is refused here, where its author can correct it
    return declared(value, by=by, at=at)


def _check_form(path: str, rule: FieldRule, value: Any) -> None:
    if rule.type == "choice" and value not in rule.values:
        raise FactMalformed(path, f"{str(value)[:60]!r} is none of its answers", f"answer {' or '.join(rule.values)}")
    if rule.type == "number" and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise FactMalformed(path, f"{str(value)[:60]!r} is not a number", "write a number without its unit")
    if rule.type == "list" and not isinstance(value, list):
        raise FactMalformed(path, "it takes several answers", "write a list")
    if rule.type in ("text", "date", "time", "digest") and not isinstance(value, str):
        raise FactMalformed(path, f"{str(value)[:60]!r} is not text", "write text, in quotes where needed")
