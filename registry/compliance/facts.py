"""What only people know, from the facts file of a run: declared values, laid over what the tool recorded.

The file names who asserts them and then has the shape of the record; data and bases are named, `"*"` means each of them:

    asserted_by: "J. Doe, data steward"
    use: {intended: "answers to arithmetic questions of pupils"}
    data: {gsm8k.jsonl: {personal_data: "no", labelling: "written by the annotators of the data set"}}

A fact is a person's word and nothing more: it never replaces what was measured, and no approval, verdict or signature is one.
`{unknown: reason}` states that an answer was looked for and not found, `{not_applicable: code}` that there is none to give. What
each field takes is data (`rules/`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.contradictions import contradictions, whatever_else_is_meant
from peft_registry.registry.compliance.energy import without_reason
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRule, field_rules
from peft_registry.registry.compliance.rule_files import by_edition
from peft_registry.registry.compliance.stated import (
    ASSERTED_BY,
    FactMalformed,
    FactNeedsSignature,
    FactNotDeclarable,
    author_problem,
    misfits_of_fact,
    says_unknown,
    stated_value,
)
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.schemas.errors import InputRefused, raise_any
from peft_registry.schemas.modification import (
    BaseUsed,
    DataUsed,
    ModificationRecord,
    Modifier,
    RecordSections,
    UpstreamTerms,
)
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, Value, measured

EACH = "*"
_ANY_TIME = "2026-01-01T00:00:00Z"  # of a value that is only compared
FACTS_NAMED = 5  # in one sentence; the rest is counted


class FactUnknown(InputRefused):
    what = "the facts file states {path!q}"
    why = "the modification record has no such field"
    fix = "{suggestion}"

    path: str
    nearest: str | None

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "docs/reference/modification-record.md lists the fields")


@dataclass(frozen=True, slots=True)
class _Fact:
    """One fact: the path as its author wrote it, the rule of its field, and the base or data that it is of."""

    path: str
    rule: FieldRule
    name: str | None
    value: Any  # any JSON value


def with_facts(
    record: ModificationRecord, facts: dict[str, Any], *, at: Timestamp, refuses: bool = True
) -> ModificationRecord:
    """The record with the facts declared in it; `facts` is the JSON value of the facts file.

    What was measured or derived stands: `overtaken_facts` names the facts that it stands against. What a facts file cannot state is
    refused, or where not `refuses` left out.

    Raises:
        FactUnknown, FactNotDeclarable, FactNeedsSignature, FactMalformed, FactsOutOfOrder, FactIncomplete, FactContradicted: the
            only fact that is wrong.
        SeveralProblems: all that are.
    """
    if any(_states_energy(fact) for fact in _placed(facts)):
        record = record.revised(energy=without_reason(record.energy))
    if refuses:
        raise_any(_problems(record, facts, at=at))
    takeable = _takeable(facts)
    document = _sections_of(record, takeable)
    _lay(takeable, document, by=str(facts.get(ASSERTED_BY)), at=at)
    return record.revised(**document)


def declared_values(
    record: RecordSections, facts: dict[str, Any], *, at: Timestamp, with_standing: bool = False
) -> dict[str, Value]:
    """What a facts file declares that a record can take, by path: nothing that this tool records, or that only a signature states.

    Args:
        record: of either form.
        facts: the JSON value of the facts file.
        at: when it was declared.
        with_standing: also of fields whose value no fact takes the place of.
    """
    by = str(facts.get(ASSERTED_BY))
    takeable = _takeable(facts)
    document = _sections_of(in_third_form(record), takeable)
    values = {}
    for fact in _nearest_last(takeable):
        for path, section, key in _targets(document, fact):
            if with_standing or not _stands(Value.from_json(section[key])):
                values[path] = stated_value(fact.rule, fact.value, by=by, at=at)
    return values


def problems_of_facts(
    facts: dict[str, Any],
    *,
    at: Timestamp,
    bases: Sequence[BaseUsed] | None,
    data: Collection[str] | None,
    upstream: Sequence[UpstreamTerms] | None = None,
    modifier: Modifier | None = None,
) -> Iterator[InputRefused]:
    """What `with_facts` would refuse, told before the run and not after it.

    Args:
        facts: the JSON value of the facts file.
        at: the time now, which a fact may not be later than where it speaks of what has happened.
        bases: the models that go in, as far as they are known; None where they are not: then any name may stand there.
        data: names of the data files, likewise.
        upstream: the terms of the bases, likewise; None where nothing but their names is known.
        modifier: who modifies, as far as it is known.
    """
    if bases is None:
        bases = [BaseUsed(name=measured(name)) for name in _names_in(facts, "base")]
    names = sorted(data) if data is not None else _names_in(facts, "data")
    if upstream is None:
        upstream = [UpstreamTerms(name=base.name) for base in bases if base.role.value in (None, "base")]
    # what only follows from flags is derived anew from those that the facts state
    upstream = [
        terms if terms.eu_exclusion.rests_on_statement else UpstreamTerms(name=terms.name) for terms in upstream
    ]
    record = ModificationRecord(
        record_id="not made yet",
        record_created_at=at,
        base=tuple(bases),
        data=tuple(DataUsed(name=measured(name)) for name in names),
        modifier=modifier or Modifier(),
        upstream=tuple(upstream),
    )
    yield from _problems(record, facts, at=at)
    for fact in _facts(facts):
        if isinstance(fact, _Fact):
            sources = [Value.from_json(section[key]) for _, section, key in _targets(record.to_json(), fact)]
            fixed = next((value for value in sources if _stands_against(value, fact)), None)
            if fixed is not None and fact.rule.owner != "tool" and not fact.rule.act:
                whose = fixed.method or (f"by {fixed.asserted_by}" if fixed.asserted_by else "by this tool")
                yield FactNotDeclarable(fact.path, f"it was {fixed.source}: {whose}")


def overtaken_facts(record: ModificationRecord, facts: dict[str, Any]) -> tuple[str, ...]:
    """The facts against which the record holds a measured or derived value, as their author wrote them."""
    document = record.to_json()
    return tuple(
        fact.path
        for fact in _facts(facts)
        if isinstance(fact, _Fact)
        and any(_stands_against(Value.from_json(section[key]), fact) for _, section, key in _targets(document, fact))
    )


def _states_energy(fact: _Fact) -> bool:
    return fact.rule.path == "energy.training_kwh" and not says_unknown(fact.value)


def with_each_named(facts: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The facts, with what they state of each data file stated of these files and of no other; what they say of one wins."""
    data = facts.get("data")
    if not isinstance(data, dict) or EACH not in data:
        return facts
    named = {name: section for name, section in data.items() if name != EACH}
    return facts | {"data": named | {name: _laid_over(data[EACH], named.get(name, {})) for name in names}}


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Both sections, the second one where both state a field."""
    both = {
        key: _laid_over(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return below | above | both


def _stands(value: Value) -> bool:
    """Whether no fact takes the place of a value: the tool's own, or one that a signed statement holds already."""
    return value.is_from_tool or (value.is_stated and bool(value.evidence))


def _stands_against(value: Value, fact: _Fact) -> bool:
    """Whether a value that no fact takes the place of says something else than a fact does."""
    if not _stands(value):
        return False
    if not value.is_stated or says_unknown(fact.value):
        return True
    if any(misfits_of_fact(fact.path, fact.rule, fact.value)):  # it says nothing, and that is told
        return False
    return stated_value(fact.rule, fact.value, by=ASSERTED_BY, at=_ANY_TIME).says_otherwise(value)


# --- what the file states ---


def _facts(facts: dict[str, Any]) -> list[_Fact | InputRefused]:
    """Every fact in the order of the file, and in its place what has none in a record."""
    return list(_walk({key: value for key, value in facts.items() if key != ASSERTED_BY}, "", "", None))


def _walk(section: Any, path: str, prefix: str, name: str | None) -> Iterator[_Fact | InputRefused]:
    rules = field_rules().by_path()
    sections = _sections()
    if not isinstance(section, dict):
        yield FactMalformed(path.rstrip("."), "it is a section of several fields", "indent its fields under it")
        return
    for key, value in section.items():
        here = f"{prefix}{key}"
        if "." in key or "[" in key:
            yield FactMalformed(
                f"{path}{key}", "a key is one level", "write the section, and the field indented under it"
            )
        elif here in rules and rules[here].until is not None and rules[here].act is None:
            yield FactUnknown(f"{path}{key}", rules[here].answered_by)
        elif here in rules:
            yield _Fact(f"{path}{key}", rules[here], name, value)
        elif f"{here}[]" in sections:
            yield from _walk_array(value, f"{path}{key}", f"{here}[].")
        elif here in sections:
            yield from _walk(value, f"{path}{key}.", f"{here}.", name)
        else:
            yield _unknown_field(str(key), path, prefix)


def _walk_array(items: Any, path: str, prefix: str) -> Iterator[_Fact | InputRefused]:
    if not isinstance(items, dict):
        yield FactMalformed(path, "it holds one section for each name", 'write a name, or "*" for each')
        return
    for name, fields in items.items():
        yield from _walk(fields, f"{path}.{name}.", prefix, str(name))


@by_edition
def _sections() -> frozenset[str]:
    """The paths that have fields below them."""
    parts = [rule.path.split(".") for rule in field_rules().fields]
    return frozenset(".".join(path[:length]) for path in parts for length in range(1, len(path)))


def _unknown_field(key: str, path: str, prefix: str) -> InputRefused:
    """The refusal of a key that no field has; that of what was meant, where no fact states it but somebody's signature."""
    rules = field_rules()
    meant = _nearest(key, path, prefix, [rule for rule in rules.fields if rule.takes_facts])
    signed = {rule.path.split(".")[-1]: rule.act for rule in rules.fields if rule.act is not None}
    act = signed.get(closest(key, signed) or "")
    if meant is not None or act is None:
        return FactUnknown(f"{path}{key}", meant)
    return FactNeedsSignature(f"{path}{key}", rules.acts[act].reason, rules.acts[act].instead)


def _nearest(key: str, path: str, prefix: str, rules: Sequence[FieldRule]) -> str | None:
    """The path that was meant: a field or section beside it, else a field of that name in another section."""
    paths = [rule.path for rule in rules]
    beside = {rule[len(prefix) :].split(".")[0].removesuffix("[]") for rule in paths if rule.startswith(prefix)}
    near = closest(key, beside)
    if near is not None:
        return f"{path}{near}"
    elsewhere = {rule.rpartition(".")[2]: rule for rule in paths}
    near = closest(key, elsewhere)
    return None if near is None else elsewhere[near].replace("[]", f".{EACH}")


def _names_in(facts: dict[str, Any], section: str) -> list[str]:
    """The names that the facts use, or any, so that what is stated of each is checked."""
    stated = facts.get(section)
    names = [str(name) for name in stated if name != EACH] if isinstance(stated, dict) else []
    return names or ["not known yet"]


# --- what is wrong with it ---


def _problems(record: ModificationRecord, facts: dict[str, Any], *, at: Timestamp) -> Iterator[InputRefused]:
    nobody = author_problem(facts)
    if nobody is not None:
        yield nobody
    names = {
        "base": [str(base.name.value) for base in record.base],
        "data": [str(data.name.value) for data in record.data],
        "upstream": [str(terms.name.value) for terms in record.upstream],
    }
    yield from _unknown_names(facts, names)
    sound: list[_Fact] = []
    unreadable: list[_Fact] = []
    for fact in _facts(facts):
        if isinstance(fact, InputRefused):
            yield fact
            continue
        wrong = list(_problems_of(fact))
        yield from wrong
        (unreadable if wrong else sound).append(fact)
    yield from _contradictions(record, sound, unreadable, names, by=str(facts.get(ASSERTED_BY)), at=at)


def _contradictions(
    record: ModificationRecord,
    sound: Sequence[_Fact],
    unreadable: Sequence[_Fact],
    names: Mapping[str, Sequence[str]],
    *,
    by: str,
    at: Timestamp,
) -> Iterator[InputRefused]:
    """What cannot be together among the facts that have their form and the rest of the record.

    Of a fact without its form nobody knows what it will say: what would be told of its field is not.
    """

    def named(path: str) -> str:
        return FieldPath.parse(path).named(names)

    document = _sections_of(record, (*sound, *unreadable))
    stated = _lay(sound, document, by=by, at=at)
    unclear = {named(path) for fact in unreadable for path, _, _ in _targets(document, fact)}
    yield from whatever_else_is_meant(contradictions(record.revised(**document), stated, named=named), unclear)


def _problems_of(fact: _Fact) -> Iterator[InputRefused]:
    if fact.rule.act is not None:
        act = field_rules().acts[fact.rule.act]
        yield FactNeedsSignature(fact.path, act.reason, act.instead)
    elif fact.rule.owner == "tool":
        yield FactNotDeclarable(fact.path, "this tool records it itself")
    else:
        yield from misfits_of_fact(fact.path, fact.rule, fact.value)


def _unknown_names(facts: dict[str, Any], names: Mapping[str, Sequence[str]]) -> Iterator[FactUnknown]:
    for array, known in names.items():
        sections = facts.get(array)
        # nothing stands for each of none
        allowed = [EACH, *known] if known else []
        for name in sections if isinstance(sections, dict) else ():
            if name not in allowed:
                near = closest(str(name), known)
                yield FactUnknown(f"{array}.{name}", None if near is None else f"{array}.{near}")


# --- laid over the record ---


def _placed(facts: dict[str, Any]) -> list[_Fact]:
    """The facts that have a place in a record."""
    return [fact for fact in _facts(facts) if isinstance(fact, _Fact)]


def _takeable(facts: dict[str, Any]) -> list[_Fact]:
    """The facts that have a place in a record, are for people to state, and have the form of their field."""
    return [fact for fact in _placed(facts) if not any(_problems_of(fact))]


def _sections_of(record: RecordSections, facts: Iterable[_Fact]) -> dict[str, Any]:
    """The JSON of the sections of a record that facts are of: to write and read all of a record takes ten times as long."""
    return record.sections_to_json({FieldPath.parse(fact.rule.path).outermost for fact in facts})


def _lay(facts: Sequence[_Fact], document: dict[str, Any], *, by: str, at: Timestamp) -> frozenset[str]:
    """Put facts into the JSON of a record, where nothing stands against them; returns the paths of what they state."""
    stated: set[str] = set()
    for fact in _nearest_last(facts):
        for path, section, key in _targets(document, fact):
            if not _stands(Value.from_json(section[key])):
                section[key] = stated_value(fact.rule, fact.value, by=by, at=at).to_json()
                stated.add(path)
    return frozenset(stated)


def _nearest_last(facts: Sequence[_Fact]) -> list[_Fact]:
    """What is said of each base or data first: what is said of one of them wins."""
    return sorted(facts, key=lambda fact: fact.name not in (None, EACH))


def _targets(document: dict[str, Any], fact: _Fact) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Path, section and key of every value that a fact is of."""
    rule = FieldPath.parse(fact.rule.path)
    positions: list[int | None] = [None]
    if rule.section:
        items = enumerate(document[rule.section])
        positions = [number for number, item in items if fact.name in (EACH, str(item["name"]["value"]))]
    for position in positions:
        path = rule.at(position)
        section, key = path.place_in(document)
        if key in section:  # what only earlier forms have nobody states of a new record
            yield str(path), section, key
