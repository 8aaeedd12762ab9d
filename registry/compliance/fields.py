"""The fields of the modification record as data: label, owner, clause, and when each is required.

The data file carries its rule-set version, the date of the law it follows and its sources; nothing about a field is in code.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from peft_registry.registry.compliance.answer_forms import AnswerForm
from peft_registry.registry.compliance.recent import OfRecent
from peft_registry.registry.compliance.rule_files import by_edition, rules_text
from peft_registry.schemas.answers import AREA_ROLES, Area
from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.methods import OF_KIND
from peft_registry.schemas.modification import WRITTEN_WHERE_STATED, ModificationRecord, RecordSections
from peft_registry.schemas.values import Timestamp, Value

Owner = Literal[Area, "tool"]
FromParents = Literal["same", "yes_if_any", "union"]
_DAYS = ("date", "month", "months", "time")  # the types of forms that are days


class FieldRule(AnswerForm):
    """One field and the form of its answer. `required_when` lists conditions of which any makes it required; `eu+pv` means
    both; none: never asked for.

    `fill` says who can fill it: M measured by the tool, D derived, U from the base's provider, H a person. `act` names what
    states it where no fact can: somebody's signature, an entry of the log. `until` is the last form of the record that has it,
    where that is not the newest, and `answered_by` the field that has the answer since. `from_parents` is what the records of the
    parents give: the `same` where all say the same, and else a question; `yes_if_any` says yes; the `union` of what they say.
    """

    path: str
    label: str
    act: str | None = None
    required_when: tuple[str, ...]
    owner: Owner
    fill: str
    answers: str
    from_parents: FromParents | None = None
    until: Literal["2"] | None = None
    answered_by: str | None = None

    @property
    def takes_facts(self) -> bool:
        """Whether a person may state it."""
        return self.owner != "tool" and self.act is None and self.until is None

    @property
    def takes_answers(self) -> bool:
        """Whether a person may answer it under a signature: what a fact may state, and what only an answer does."""
        return self.takes_facts or self.act == "answer"

    @cached_property
    def alternatives(self) -> tuple[frozenset[str], ...]:
        """The sets of conditions of which any makes it required."""
        return tuple(frozenset(words.split("+")) for words in self.required_when)

    @property
    def is_signed_by_people(self) -> bool:
        """Whether only a person's signature states it: no fact can, and the tool neither measures nor derives it."""
        return self.act is not None and self.fill == "H"

    def is_answered_by(self, role: str | None) -> bool:
        """Whether a key of a role may answer for the owner; none may for the tool."""
        return self.owner != "tool" and role in AREA_ROLES[self.owner]


class Quantity(Frozen):
    """The bounds of the numbers of one kind, the unit of its fields where they have one, and why no number beyond them is one."""

    unit: str | None = None
    minimum: float
    maximum: float
    because: str


class Days(Frozen):
    """The bounds of every date, month and time, and why no day beyond them is meant."""

    earliest: date
    latest: date
    because: str


class StatedByAct(Frozen):
    """What states a field that no fact can: why, and what to do instead."""

    reason: str
    instead: str


class DateOrder(Frozen):
    """Two dates of a record of which one cannot be after the other; `data[]` in both is the same data."""

    earlier: str
    later: str
    because: str


class Need(Frozen):
    """A fact that says something only together with others."""

    fact: str
    needs: tuple[str, ...]
    because: str


class StatedConflict(Frozen):
    """An answer that cannot be true beside a value of another field: one of those that `holds` lists, or a list with one of them;
    where it lists none, any value. Of fields of a base, a data file or its terms it is the same one.
    """

    answer: str
    value: str
    against: str
    holds: tuple[str, ...]
    because: str


class DeclaredEnergy(Frozen):
    """What an energy that somebody states cannot stand beside.

    Attributes:
        denials: what says that nothing measured it, lower case.
        denied: why it does not stand beside one of them.
        device_watts: more than any device draws, for where nobody declared what theirs does.
        times: how often the energy of the device hours a stated one may be: other attempts and the rest of a facility are in some.
    """

    denials: tuple[str, ...]
    denied: str
    device_watts: float
    times: float


class LicenceTerms(Frozen):
    """The flags of licences whose text is well known, by identifier of SPDX or of the Hub, and why they follow.

    A name that ends in a hyphen is how identifiers begin; such a licence has the flags of every name that fits. `unknown` among
    flags says that there may be others. From `derived_prefixes` alone records of this rule set derive something.
    """

    because: str
    derived_prefixes: dict[str, tuple[str, ...]]
    flags: dict[str, tuple[str, ...]]


class Condition(Frozen):
    """When a field is required: in words, and the fields that decide it as long as they are open; none where recorded facts do."""

    means: str
    decided_by: tuple[str, ...] = ()


class FormerOwner(Frozen):
    """Who owned a field before the day `until`: answers that were logged before it were theirs to give."""

    path: str
    owner: Area
    until: date


class RuleSource(Frozen):
    """A document that the rules follow, and what weight it has."""

    short: str
    title: str
    weight: str


class Application(Frozen):
    """Since when rules apply: `what` names them here, `subject` in a sentence; `source` is the short name of a document.

    These days have moved before, so they are data with the day on which they were looked up.
    """

    what: str
    subject: str
    since: date
    clause: str
    source: str
    retrieved: date

    @property
    def sentence(self) -> str:
        """`the high-risk rules for systems of Annex III apply from 2027-12-02 (Art. 113(c)(i))`."""
        return f"{self.subject} apply from {self.since} ({self.clause})"

    def sentence_on(self, today: date | None) -> str:
        """The same with what holds on a day; without one as `sentence`."""
        if today is None:
            return self.sentence
        if self.since <= today:
            return f"{self.subject} apply since {self.since} ({self.clause})"
        return f"{self.sentence}, and not yet on {today}"


class FieldRules(Frozen):
    """The whole data file."""

    rule_set: str
    law_as_of: str
    notice: str
    sources: tuple[RuleSource, ...]
    applications: tuple[Application, ...]
    conditions: dict[str, Condition]
    reasons: dict[str, str]
    eu_members: tuple[str, ...]
    days: Days
    quantities: dict[str, Quantity]
    acts: dict[str, StatedByAct]
    orders: tuple[DateOrder, ...]
    needs: tuple[Need, ...]
    conflicts: tuple[StatedConflict, ...]
    declared_energy: DeclaredEnergy
    licence_terms: LicenceTerms
    former_owners: tuple[FormerOwner, ...]
    base_facts: dict[str, str | AnswerForm]
    profile: dict[str, str]
    fields: tuple[FieldRule, ...]

    def by_path(self) -> Mapping[str, FieldRule]:
        """Each rule under its path, in the order of the file."""
        return self._by_path

    @cached_property
    def _by_path(self) -> Mapping[str, FieldRule]:
        """Made once: a record asks for it at every value."""
        return MappingProxyType({rule.path: rule for rule in self.fields})

    def inherited(self, prefix: str) -> Mapping[str, FromParents]:
        """The fields right below a prefix (`use.`, `data[].`) that the records of parents answer, and how, by their names there."""
        return self._inherited.get(prefix, {})

    @cached_property
    def _inherited(self) -> Mapping[str, Mapping[str, FromParents]]:
        by_prefix: dict[str, dict[str, FromParents]] = {}
        for rule in self.fields:
            if rule.from_parents is not None:
                prefix, dot, name = rule.path.rpartition(".")
                by_prefix.setdefault(f"{prefix}{dot}", {})[name] = rule.from_parents
        return by_prefix

    def owners(self, rule: FieldRule, *, at: Timestamp | None) -> tuple[Owner, ...]:
        """Who could answer a field at a time: its first former owner whose day had not come, else its owner.

        Where the time is not known, all who ever owned it: a signed answer stays one when a field gets another owner.
        """
        former = sorted(
            (former for former in self.former_owners if former.path == rule.path), key=lambda former: former.until
        )
        if at is None:
            return (*(before.owner for before in former), rule.owner)
        day = datetime.fromisoformat(at).date()
        return (next((before.owner for before in former if day < before.until), rule.owner),)

    def application(self, what: str) -> Application:
        """Since when the rules of that name apply.

        Raises:
            StopIteration: the data file has none of that name.
        """
        return next(application for application in self.applications if application.what == what)

    def base_forms(self) -> dict[str, AnswerForm]:
        """The form of each fact about a base: that of a field of the record, or one of its own."""
        rules = self.by_path()
        return {key: rules[form] if isinstance(form, str) else form for key, form in self.base_facts.items()}

    def profile_forms(self) -> dict[str, AnswerForm]:
        """The form of each answer of the organisation's profile."""
        rules = self.by_path()
        return {key: rules[path] for key, path in self.profile.items()}


class Leaf(NamedTuple):
    """One value of a record: `path` with positions (`data[0].name`), `rule` without (`data[].name`)."""

    path: str
    rule: str
    value: Value


@by_edition
def field_rules() -> FieldRules:
    """The rules of the edition in force."""
    document = json.loads(rules_text("modification_fields"))
    return FieldRules.model_validate(_with_bounds(document, document["quantities"], document["days"]))


def _with_bounds(node: Any, quantities: dict[str, Any], days: dict[str, Any]) -> Any:
    """The data, any JSON, in which each form of a number or a day holds the bounds of its kind; its own bounds stand. A choice of
    methods has the words of all that are declared."""
    if isinstance(node, list):
        return [_with_bounds(item, quantities, days) for item in node]
    if not isinstance(node, dict):
        return node
    bounds: dict[str, Any] = quantities[node["quantity"]] if "quantity" in node else {}
    if node.get("type") in _DAYS:
        bounds = days
    form = {key: _with_bounds(item, quantities, days) for key, item in node.items() if key not in ("quantity", "of")}
    if node.get("of") == "methods":  # each method brings its own word
        form["values"] = [*OF_KIND, *form["values"]]
    return bounds | form


def leaves(record: RecordSections) -> Iterator[Leaf]:
    """Every value of a record, in the order of the schema."""
    return iter(_leaves(record))


@OfRecent
def _leaves(record: RecordSections) -> tuple[Leaf, ...]:
    collected: list[Leaf] = []
    absent = record.absent_fields | _later_fields()
    _collect(record, _places_in(type(record), "", "", absent), collected)
    return tuple(collected)


def leaves_of(record: RecordSections, rules: frozenset[str]) -> Iterator[Leaf]:
    """The values of a record of which these are the rules, in the order of the schema; no section without one is walked through."""
    absent = record.absent_fields | _later_fields()
    return _leaves_in(record, "", "", absent, rules)


@by_edition
def _later_fields() -> frozenset[str]:
    """The fields that came after the edition in force: none of its records has them."""
    return WRITTEN_WHERE_STATED - field_rules().by_path().keys()


@OfRecent
def _stated_leaves(record: RecordSections) -> tuple[Leaf, ...]:
    return tuple(leaf for leaf in leaves(record) if leaf.value.known or leaf.value.evidence)


def stated_leaves(record: RecordSections) -> Iterator[Leaf]:
    """The values of a record that are known, or that name evidence for not being so; in most records a few of some 250."""
    return iter(_stated_leaves(record))


def schema_paths(section: type[Document] = ModificationRecord, prefix: str = "") -> Iterator[str]:
    """Every path that a form of the record has, arrays as `[]`; the fields of a correction are plain and have none."""
    for name, info in section.model_fields.items():
        kind = info.annotation
        inner = next((part for part in getattr(kind, "__args__", ()) if isinstance(part, type)), None)
        if kind is Value:
            yield f"{prefix}{name}"
        elif isinstance(kind, type) and issubclass(kind, Document):
            yield from schema_paths(kind, f"{prefix}{name}.")
        elif inner is not None and issubclass(inner, Document):
            yield from schema_paths(inner, f"{prefix}{name}[].")


_SECTIONS_KEPT = 1_000  # a record has some sixty; those of arrays are told apart by position


class _Places(NamedTuple):
    """The fields of a section that stands at a path; the paths and rules of what they hold, and whether that is a value in each.

    `absent` are the rules of the fields that the form of the record does not have.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    rules: tuple[str, ...]
    are_values: bool
    absent: frozenset[str]


@lru_cache(maxsize=_SECTIONS_KEPT)
def _places_in(form: type[Document], path: str, rule: str, absent: frozenset[str]) -> _Places:
    fields = {name: field for name, field in form.model_fields.items() if f"{rule}{name}" not in absent}
    return _Places(
        names=tuple(fields),
        paths=tuple(f"{path}{name}" for name in fields),
        rules=tuple(f"{rule}{name}" for name in fields),
        are_values=all(field.annotation is Value for field in fields.values()),
        absent=absent,
    )


@lru_cache(maxsize=_SECTIONS_KEPT)
def _ways_to(
    rules: frozenset[str], form: type[Document], rule: str, absent: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    """The fields of a section, each with its rule, that are among these or hold one of them."""
    fields = ((name, f"{rule}{name}") for name in form.model_fields)
    return tuple(
        (name, own)
        for name, own in fields
        if own not in absent and (own in rules or any(one.startswith((f"{own}.", f"{own}[]")) for one in rules))
    )


def _leaves_in(
    section: Document, path: str, rule: str, absent: frozenset[str], rules: frozenset[str]
) -> Iterator[Leaf]:
    for name, own in _ways_to(rules, type(section), rule, absent):
        member = getattr(section, name)
        if isinstance(member, Value):
            yield Leaf(f"{path}{name}", own, member)
        elif isinstance(member, Document):
            yield from _leaves_in(member, f"{path}{name}.", f"{own}.", absent, rules)
        elif isinstance(member, tuple):
            sections = (item for item in member if isinstance(item, Document))
            for position, item in enumerate(sections):
                yield from _leaves_in(item, f"{path}{name}[{position}].", f"{own}[].", absent, rules)


def _collect(section: Document, places: _Places, collected: list[Leaf]) -> None:
    """Into a list and not by generators: a registry of ten thousand versions has a million values."""
    members = [getattr(section, name) for name in places.names]
    if places.are_values:  # as most sections; one by one takes three times as long
        collected.extend(map(Leaf._make, zip(places.paths, places.rules, members, strict=True)))
        return
    for path, rule, member in zip(places.paths, places.rules, members, strict=True):
        _collect_of(member, path, rule, places.absent, collected)


def _collect_of(member: object, path: str, rule: str, absent: frozenset[str], collected: list[Leaf]) -> None:
    """The values of one field of a section."""
    if isinstance(member, Value):
        collected.append(Leaf(path, rule, member))
    elif isinstance(member, Document):
        _collect(member, _places_in(type(member), f"{path}.", f"{rule}.", absent), collected)
    elif isinstance(member, tuple):
        sections = (item for item in member if isinstance(item, Document))
        for position, item in enumerate(sections):
            _collect(item, _places_in(type(item), f"{path}[{position}].", f"{rule}[].", absent), collected)
