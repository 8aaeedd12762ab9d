"""What cannot be together in one record: dates out of order, a value that says nothing without another, an answer that another
value denies. Pure.

Which dates and which values is data (`rules/modification_fields.json`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import product
from typing import Any

from peft_registry.registry.compliance.answer_forms import clauses
from peft_registry.registry.compliance.completeness import is_yes, terms_that_end_openness
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.registry.compliance.licence_terms import implied_flags
from peft_registry.registry.compliance.notations import days_of
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import measured

TODAY = "record_created_at"
_LICENCE_OK = "gpai.open_source_exemption.licence_ok"
# whoever is ahead of UTC may write the date of a day that has not begun there
_TIME_ZONES = timedelta(days=1)


class FactsOutOfOrder(InputRefused):
    what = "{earlier!q} is {earlier_value}, and {later!q} is {later_value}"
    why = "{because}"
    fix = "correct the one that is wrong"

    earlier: str
    earlier_value: str
    later: str
    later_value: str
    because: str


class FactIncomplete(InputRefused):
    what = "{path!q} is stated without {missing!l}"
    why = "{because}"
    fix = "state {missing!l} too, or take {path!q} out"

    path: str
    missing: Sequence[str]
    because: str


class FactContradicted(InputRefused):
    what = "{path!q} is {value}, and {against!q} is {held}"
    why = "{because}"
    fix = "correct the one that is wrong"

    path: str
    value: str
    against: str
    held: str
    because: str


def contradictions(
    record: ModificationRecord, stated: Collection[str] | None = None, *, named: Callable[[str], str] = str
) -> Iterator[FactsOutOfOrder | FactIncomplete | FactContradicted]:
    """Everything in a record that cannot be together.

    Args:
        record: with all that is known.
        stated: paths of the values that are being stated, of which each contradiction has one; None: of any.
        named: a path as its author writes it.
    """
    now = {leaf.path for leaf in leaves(record)} if stated is None else stated
    yield from out_of_order(record, now, named=named)
    yield from incomplete_facts(record, now, named=named)
    yield from contradicted(record, now, named=named)
    yield from licences_contradicted(record, now, named=named)
    yield from purposes_contradicted(record, now, named=named)
    yield from energy_denied(record, now, named=named)


def contradictions_with_run(
    record: ModificationRecord, stated: Collection[str] | None = None, *, named: Callable[[str], str] = str
) -> Iterator[FactsOutOfOrder | FactIncomplete | FactContradicted]:
    """As `contradictions`, and what cannot be of the run that is recorded: facts are stated before anybody knows its hours."""
    yield from contradictions(record, stated, named=named)
    now = {leaf.path for leaf in leaves(record)} if stated is None else stated
    yield from energy_beyond_hours(record, now, named=named)


def problem_paths(problem: FactsOutOfOrder | FactIncomplete | FactContradicted) -> Iterator[str]:
    """The paths of the values that are told of, as they were named; of a member of an object that of the object too."""
    paths: tuple[str, ...]
    match problem:
        case FactsOutOfOrder():
            paths = (problem.earlier, problem.later)
        case FactContradicted():
            paths = (problem.path, problem.against)
        case _:
            paths = (problem.path, *problem.missing)
    for path in paths:
        yield path
        yield path.rpartition(".")[0]


def whatever_else_is_meant(
    problems: Iterable[FactsOutOfOrder | FactIncomplete | FactContradicted], unclear: Collection[str]
) -> Iterator[FactsOutOfOrder | FactIncomplete | FactContradicted]:
    """The problems that hold whatever is meant by values that have not their form; `unclear` are their paths, as named."""
    for problem in problems:
        if isinstance(problem, FactIncomplete):
            missing = [path for path in problem.missing if path not in unclear]
            if missing and problem.path not in unclear:
                yield FactIncomplete(problem.path, missing, problem.because)
        elif not any(path in unclear for path in problem_paths(problem)):
            yield problem


def contradicted(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactContradicted]:
    """The answers of a record that another value of it denies; as `out_of_order`."""
    known = [leaf for leaf in leaves(record) if leaf.value.known]
    for conflict in field_rules().conflicts:
        answers = [leaf for leaf in known if leaf.rule == conflict.answer and _says(leaf, conflict.value)]
        others = [leaf for leaf in known if leaf.rule == conflict.against]
        for answer, other in product(answers, others):
            if not _is_of_same(record, answer.path, other.path):
                continue
            values = _listed(other.value.value)
            held = [text for text in conflict.holds if text in values] if conflict.holds else list(map(str, values))
            if held and (answer.path in stated or other.path in stated):
                yield FactContradicted(
                    named(answer.path), conflict.value, named(other.path), ", ".join(held), conflict.because
                )


def purposes_contradicted(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactContradicted]:
    """That the purpose did not change, where the purposes that are stated differ; as `out_of_order`."""
    use = record.high_risk
    before = use.intended_purpose_before
    after = record.use.intended
    differ = before.known and after.known and before.value != after.value
    paths = ["high_risk.intended_purpose_changed", "use.intended", "high_risk.intended_purpose_before"]
    if differ and is_yes(use.intended_purpose_changed) is False and any(path in stated for path in paths):
        yield FactContradicted(
            named(paths[0]),
            "no",
            named(paths[1]),
            str(after.value),
            f"before it was {before.value}: another purpose is a change of it (Arts. 3(23), 25(1)(c))",
        )


def energy_denied(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactContradicted]:
    """That nothing measured an energy that somebody states; as `out_of_order`."""
    rules = field_rules().declared_energy
    energy = record.energy
    kwh = energy.training_kwh
    missing = energy.missing_info
    paths = ("energy.missing_info", "energy.training_kwh")
    if kwh.source != "declared" or missing.source != "declared" or not any(path in stated for path in paths):
        return
    if any(clause in rules.denials for clause in clauses(str(missing.value))):
        yield FactContradicted(named(paths[0]), repr(missing.value), named(paths[1]), str(kwh.value), rules.denied)


def energy_beyond_hours(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactContradicted]:
    """An energy that somebody states and the hours of the devices deny by far; as `out_of_order`."""
    rules = field_rules().declared_energy
    energy = record.energy
    kwh = energy.training_kwh
    days = record.compute.hardware_days.positive_number
    declared_watts = record.power.device_watts.positive_number
    path = "energy.training_kwh"
    watts_path = "power.device_watts"
    if kwh.source != "declared" or kwh.number is None or days is None or not {path, watts_path} & set(stated):
        return
    watts = declared_watts or rules.device_watts
    hours_kwh = days * 24 * watts / 1000 * (energy.pue.positive_number or 1.0)
    if kwh.number <= rules.times * hours_kwh:
        return
    how = "" if declared_watts else ", more than any draws,"
    because = (
        f"{days * 24:.3g} device hours at {watts:g} W{how} are {hours_kwh:.3g} kWh, "
        f"and more than {rules.times:g} times as much is another training's"
    )
    against, held = (watts_path, f"{watts:g} W") if declared_watts else ("compute.hardware_days", f"{days:.3g} days")
    yield FactContradicted(named(path), f"{kwh.number:g} kWh", named(against), held, because)


def licences_contradicted(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactContradicted]:
    """What is said of the licence of a base and its SPDX identifier denies; as `out_of_order`."""
    because = field_rules().licence_terms.because
    openness = record.gpai.open_source_exemption.licence_ok
    for position, base in enumerate(record.base):
        path = f"base[{position}].licence_id"
        flags_path = f"base[{position}].licence_flags"
        licence = str(base.licence_id.value)
        flags = base.licence_flags
        missing = [flag for flag in implied_flags(licence) if flag not in _listed(flags.value)]
        is_whole = flags.known and flags.source != "derived" and "unknown" not in _listed(flags.value)
        if missing and is_whole and (path in stated or flags_path in stated):
            listed = ", ".join(map(str, _listed(flags.value))) or "none"
            yield FactContradicted(named(flags_path), listed, named(path), licence, f"{because}: {', '.join(missing)}")
        closing = terms_that_end_openness(licence)
        if closing and openness.value == "yes" and (path in stated or _LICENCE_OK in stated):
            why = f"{because}: {', '.join(closing)} (Art. 53(2); GL J76-84)"
            yield FactContradicted(named(_LICENCE_OK), "yes", named(path), licence, why)


def _says(leaf: Leaf, text: str) -> bool:
    """Whether somebody answered so; what was derived follows from other values, and is derived anew from what is stated now."""
    return bool(leaf.value.value == text) and leaf.value.source != "derived"


def _listed(value: Any) -> list[Any]:  # any JSON value
    return value if isinstance(value, list) else [value]


def _is_of_same(record: ModificationRecord, path: str, other: str) -> bool:
    """False for fields of two bases or data files, also where one is of a base and one of the terms of another."""
    item = FieldPath.parse(path).item
    other_item = FieldPath.parse(other).item
    if item is None or other_item is None:
        return True
    if item[0] == other_item[0]:
        return item == other_item
    names = [getattr(record, section)[position].name.value for section, position in (item, other_item)]
    return bool(names[0] == names[1])


def out_of_order(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactsOutOfOrder]:
    """The dates of a record that cannot be in this order, of each pair at least one among those that were stated now.

    Args:
        record: with all dates that are known.
        stated: paths of the values that are being stated.
        named: a path as its author writes it.
    """
    known = tuple(_with_members(record))
    today = Leaf(TODAY, TODAY, measured(record.record_created_at[:10]))
    for order in field_rules().orders:
        earlier_dates = [leaf for leaf in known if leaf.rule == order.earlier]
        later_dates = [leaf for leaf in (*known, today) if leaf.rule == order.later]
        for earlier, later in product(earlier_dates, later_dates):
            is_stated = _is_stated(earlier.path, stated) or _is_stated(later.path, stated)
            is_beside = FieldPath.parse(earlier.path).is_beside(FieldPath.parse(later.path))
            if is_stated and is_beside and _is_after(earlier, later):
                yield FactsOutOfOrder(
                    named(earlier.path),
                    str(earlier.value.value),
                    "today" if later is today else named(later.path),
                    str(later.value.value),
                    order.because,
                )


def incomplete_facts(
    record: ModificationRecord, stated: Collection[str], *, named: Callable[[str], str]
) -> Iterator[FactIncomplete]:
    """What was stated now and says something only together with what is not known; as `out_of_order`."""
    known = {leaf.path: leaf.value.known for leaf in _with_members(record)}
    by_rule = {need.fact: need for need in field_rules().needs}
    for leaf in leaves(record):
        need = by_rule.get(leaf.rule)
        if need is None or leaf.path not in stated or leaf.value.source != "declared":
            continue
        needed = [FieldPath.parse(leaf.path).beside(rule) for rule in need.needs]
        missing = [named(path) for path in needed if not known.get(path, False)]
        if missing:
            yield FactIncomplete(named(leaf.path), missing, need.because)


def _with_members(record: ModificationRecord) -> Iterator[Leaf]:
    """Every value of a record, and after an object each of its members, which has a date or says something of its own."""
    for leaf in leaves(record):
        yield leaf
        members = leaf.value.value if isinstance(leaf.value.value, dict) else {}
        for key, member in members.items():
            if member is not None:
                yield Leaf(f"{leaf.path}.{key}", f"{leaf.rule}.{key}", leaf.value.revised(value=member))


def _is_stated(path: str, stated: Collection[str]) -> bool:
    """Whether a value is among the stated ones, or the object is that it is a member of."""
    return path in stated or path.rpartition(".")[0] in stated


def _is_after(earlier: Leaf, later: Leaf) -> bool:
    """Whether all of the first date is after all of the second; False where one of them is not known."""
    first = days_of(earlier.value.value)
    last = days_of(later.value.value)
    if first is None or last is None:
        return False
    # no day is added: that after the last one is beyond the calendar
    return first[0] - last[1] > (_TIME_ZONES if later.path == TODAY else timedelta())
