"""What a report says first of the law: a third of the compute, roles, high risk, what licences restrict. Pure, over records."""

import re
from collections.abc import Iterable, Iterator, Sequence

from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.licence_terms import UNKNOWN_TERMS
from peft_registry.registry.compliance.record_licences import (
    data_licence_flags,
    licence_flags_of,
    own_licence_flags,
    stated_licence_flags,
)
from peft_registry.registry.compliance.record_verdicts import Verdict, verdicts_of
from peft_registry.registry.compliance.recorded_run import other_runs
from peft_registry.registry.compliance.retention import basis_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.compliance.verdicts.gpai import one_third
from peft_registry.registry.reports.open_fields import base_label
from peft_registry.registry.reports.text import percent, reason_text, value_text
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.vouchers import typed_mark
from peft_registry.registry.reports.wording import MISSING, NOT_ASKED_OF_A_BASE, OwnerNames, classification_text
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import because_in, listed_labels
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections
from peft_registry.schemas.report import AnsweredQuestion
from peft_registry.schemas.values import Value

# the guidelines are numbered twice, and a paragraph means nothing without its edition
_CRITERION = (
    "Above a third the Commission's guidelines (not binding; paragraph 63 as printed in July 2025, 60 in November 2025) treat "
    "whoever modified a general-purpose model as a provider of one"
)
_SAME_PROVIDER = (
    "Not applied: the modifier is the provider of the base or acts for it, and the result counts as the same model "
    "(guidelines, paragraph 23 as printed in July 2025, 22 in November 2025)"
)
_BESIDE = "What is said beside the roles?"
_PARTS_NAMED = 4  # whose licence it is; the modification record has all of them
_FIELD = re.compile(r"[a-z0-9_]+(?:\[\])?\.[a-z0-9_.]*[a-z0-9_]")  # its path within a sentence
_COARSE = 0.1  # a ratio below it is far from a third, and two figures say so; three tell one near a third from it


def compute_lines(record: RecordSections | None, base: BaseRecord | None, names: OwnerNames) -> tuple[str, ...]:
    """Whether the training took more than a third of the compute of the base, whose training that is, and what follows."""
    if record is None:
        return (NOT_ASKED_OF_A_BASE if base is not None else "Unknown: no modification record.",)
    gpai = record.gpai
    if is_yes(gpai.same_provider) is True:
        return (f"{_SAME_PROVIDER}.", _base_is_gpai(record, names))
    ratio = gpai.ratio.value
    if not isinstance(ratio, int | float):
        return (f"Unknown: {_why_open(gpai.ratio)}.", _base_is_gpai(record, names))
    low, high = gpai.ratio_low.value, gpai.ratio_high.value
    band = ""
    answer = "Yes" if ratio > one_third() else "No"
    if isinstance(low, int | float) and isinstance(high, int | float):
        band = f"; with ±30 % on both figures {_ratio(low)} … {_ratio(high)}"
        answer = "Borderline" if low <= one_third() < high else answer
    limit = f"the limit is one third, {percent(one_third(), 3)}"
    return (
        f"{answer}: {_whose_training(record)} took {_ratio(ratio)} of the base's training compute ({limit}){band}. "
        f"{_base_is_gpai(record, names)}",
        f"{_CRITERION}.",
    )


def _ratio(ratio: float) -> str:
    return percent(ratio, 2 if ratio < _COARSE else 3)


def _whose_training(record: RecordSections) -> str:
    """A merge trains nothing, and a run that continues another is counted with it."""
    others = other_runs(record.compute)
    if record.identity.kind.value == "merge":
        whose = f" {listed_labels(others)}" if others else "s"
        return f"a merge trains nothing, and the training of its ingredient{'s' if len(others) > 1 else ''}{whose}"
    return f"its training, with that of {listed_labels(others)} which it continues," if others else "its training"


def _base_is_gpai(record: RecordSections, names: OwnerNames) -> str:
    """Whether the criterion applies at all, which speaks of general-purpose models, and who says so."""
    answers = [is_yes(used.is_gpai) for used in record.base]
    if True in answers:  # one of several bases is enough
        answer = f"Yes{_declared(record.base[answers.index(True)])}"
    elif not answers or None in answers:  # unknown is never "no"
        answer = f"Not answered, to be answered by {names.of(field_rules().by_path()['base[].is_gpai'].owner)}"
    else:
        answer = f"No{_declared(record.base[0])}"
    return f"Is the base a general-purpose model? {answer}."


def _declared(used: BaseUsed) -> str:
    """By whom and when it was declared."""
    value = used.is_gpai
    by = f", as declared by {value.asserted_by}" if value.asserted_by else ""
    on = f" on {value.asserted_at[:10]}" if value.asserted_by and value.asserted_at else ""
    mark = typed_mark("base[].is_gpai", value)
    return f"{by}{on}{f' ({mark})' if mark else ''}"


def role_lines(facts: VersionFacts) -> tuple[str, ...]:
    """What follows for whoever modified the model, of the model and of the system, in words; while it is open, what is missing."""
    record = facts.record
    if record is None:
        return (NOT_ASKED_OF_A_BASE if facts.base is not None else "Unknown: no modification record.",)
    verdicts = verdicts_of(in_third_form(record), decided=facts.decided)
    indicated = sum(verdict.row is not None for verdict in verdicts.both)
    lines = [f"For the model: {_role(verdicts.gpai_modifier)}.", f"For the system: {_role(verdicts.high_risk)}."]
    if verdicts.flags:
        lines.append(f"Beside that: {'; '.join(flag.title for flag in verdicts.flags)} (“{_BESIDE}”).")
    if indicated:
        status = "Indicative" if indicated == 1 else "Both are indicative"
        lines.append(f"{status}, from what is recorded, and no legal advice.")
    return tuple(lines)


def _role(verdict: Verdict) -> str:
    if verdict.row is not None:
        return verdict.words
    missing = missing_answers(verdict)
    lettered = missing if len(missing) == 1 else [f"({chr(ord('a') + at)}) {asked}" for at, asked in enumerate(missing)]
    return f"no role can be indicated yet. Missing: {'; '.join(lettered)}"


def missing_answers(verdict: Verdict) -> tuple[str, ...]:
    """What a status waits for, in the words that every part of a page says it in."""
    # the fields that answer it stand behind in brackets; below the questions are named with whoever answers them
    asked = [question.partition(" (")[0] for question in verdict.missing]
    return tuple(MISSING.get(question, question) for question in asked)


def fields_missing(record: RecordSections, decided: Decided) -> frozenset[str]:
    """The fields that answer what a role waits for, without positions."""
    verdicts = verdicts_of(in_third_form(record), decided=decided)
    return frozenset(
        path
        for verdict in verdicts.both
        for question in verdict.open_questions
        for path in _FIELD.findall(question)
        # what follows from the role that the modifier claims is answered by that
        for path in (path, *(("modifier.role_claimed",) if path == "gpai.same_provider" else ()))
    )


def _why_open(value: Value) -> str:
    return value_text(value) if value.reason is None else reason_text(because_in(value.reason))


def market_line(record: RecordSections | None, names: OwnerNames) -> tuple[str, ...]:
    """Whether it is placed on the Union market, and since when; where nobody has said so, who owes it."""
    if record is None:
        return ()
    rules = field_rules().by_path()
    placed, day = record.gpai.placed_on_eu_market, record.gpai.placing_date
    if is_yes(placed) is False:
        return ("Placed on the Union market: no.",)
    if is_yes(placed) is None:
        return (f"Placed on the Union market: to be answered by {names.of(rules['gpai.placed_on_eu_market'].owner)}.",)
    if day.known:
        return (f"Placed on the Union market: yes, on {value_text(day)}.",)
    owner = names.of(rules["gpai.placing_date"].owner)
    return (f"Placed on the Union market: yes; the day is not recorded, to be answered by {owner}.",)


def high_risk_line(record: RecordSections | None, base: BaseRecord | None, names: OwnerNames) -> str:
    """How the system is classified before and after, and whether that changed."""
    if record is None:
        return NOT_ASKED_OF_A_BASE if base is not None else "Unknown: no modification record."
    before, after = record.high_risk.classification_before, record.high_risk.classification_after
    if before.known and after.known:
        text = classification_text(after)
        if before.value == after.value:
            return f"{text[:1].upper()}{text[1:]}, before the adaptation and with the adapted model: unchanged."
        return f"{text[:1].upper()}{text[1:]} with the adapted model, {classification_text(before)} before: changed."
    owner = names.of(field_rules().by_path()["high_risk.classification_after"].owner)
    if value_text(before) == value_text(after):
        told = f"Unknown, before the adaptation and with the adapted model: {value_text(after)}"
    else:
        told = f"Before the adaptation: {classification_text(before)}. With the adapted model: {classification_text(after)}"
    return f"{told}. To be answered by {owner}."


def flags_behind(facts: VersionFacts) -> tuple[AnsweredQuestion, ...]:
    """The flags beside a status in full, of which the row about roles has the titles; empty where there is none."""
    if facts.record is None:
        return ()
    flags = verdicts_of(in_third_form(facts.record), decided=facts.decided).flags
    if not flags:
        return ()
    return (AnsweredQuestion(question=_BESIDE, lines=tuple(flag.text for flag in flags)),)


def licence_text(licence: Value, path: str, names: OwnerNames) -> str:
    """A licence; where none is recorded, who owes the answer."""
    if licence.known:
        return value_text(licence)
    return f"not recorded, to be answered by {names.of(field_rules().by_path()[path].owner)}"


def licence_lines(facts: VersionFacts, names: OwnerNames) -> Iterator[str]:
    """The licence of the result, what the licences of its parts restrict, which bases have terms of use; then what is not known."""
    record = facts.record
    signed = facts.signed_record or record
    base = facts.base
    if record is not None and signed is not None:
        own = "not recorded"
        if isinstance(record, ModificationRecord):  # the first form does not ask for it, so that nobody owes it
            own = licence_text(record.product.licence, "product.licence", names)
        yield f"Licence of the result: {own}."
        whole = in_third_form(signed)
        # an adapter has no terms of its own: those of the base bind whoever uses it
        policies = tuple(
            (base_label(used), used.acceptable_use_policy) for used in whole.base if used.role.value != "ingredient"
        )
        yield from _restrictions(tuple(_licensed_parts(whole)), licence_flags_of(whole), policies)
    elif base is not None:
        flags = tuple(stated_licence_flags(base.facts.licence, base.facts.licence_flags))
        policies = (("this base", base.facts.acceptable_use_policy),)
        yield from _restrictions((("this base", base.facts.licence, flags),), flags, policies)


_RESULT = "the result"
_LicensedPart = tuple[str, Value, tuple[str, ...]]  # what it is, its licence, and the flags of that
_Policy = tuple[str, Value]  # of which base, and its terms of use


def _licensed_parts(record: ModificationRecord) -> Iterator[_LicensedPart]:
    yield _RESULT, record.product.licence, own_licence_flags(record)
    for used in record.base:
        flags = tuple(stated_licence_flags(used.licence_id, used.licence_flags))
        yield base_label(used), used.licence_id, flags
    for data in record.data:
        yield f"the data {value_text(data.name)}", data.licence, tuple(data_licence_flags(data))


def _restrictions(
    parts: tuple[_LicensedPart, ...], flags: Iterable[str], policies: tuple[_Policy, ...]
) -> Iterator[str]:
    """What is known, in one line, with the parts whose licence has which terms; then what is not."""
    known = []
    for flag in dict.fromkeys(flags):
        if flag == UNKNOWN_TERMS:
            continue
        restricted = [name for name, _, part_flags in parts if flag in part_flags]
        by = f", by the licence of {_some(restricted)}" if restricted else ""
        known.append(f"{flag.replace('_', ' ')}{by}")
    with_terms = [name for name, policy in policies if policy.known]
    if with_terms:
        known.append(f"the terms of use of {_some(with_terms)} (“Which base?”)")
    unrestricted: dict[str, list[str]] = {}  # the parts under each licence without a flag
    for name, licence, part_flags in parts:
        if licence.known and not part_flags:
            unrestricted.setdefault(value_text(licence), []).append(name)
    if unrestricted:
        licences = [f"{licence} of {_some(names)}" for licence, names in unrestricted.items()]
        known.append(f"no restriction by {_some(licences)}")
    if known:
        yield f"Known: {'; '.join(known)}."
    unread = [
        (name, licence) for name, licence, part_flags in parts if UNKNOWN_TERMS in part_flags or not licence.settled
    ]
    not_known = []
    without = [
        name for name, licence in unread if not licence.known and name != _RESULT
    ]  # the first line has the result's
    if without:
        not_known.append(f"no licence is recorded of {_some(without)}")
    without_terms = [name for name, policy in policies if not policy.known]
    if without_terms:
        have = "has" if len(without_terms) == 1 else "have"
        not_known.append(f"whether {_some(without_terms)} {have} terms of use")
    if not_known:
        yield f"Not known: {'; '.join(not_known)}."
    unclear = [f"{value_text(licence)} of {name}" for name, licence in unread if licence.known]
    if unclear:
        yield f"Unknown to this tool, or typed and signed by nobody who answers for it: the terms of {_some(unclear)}."
    if not known and not unread and not without_terms:
        yield "None recorded."


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - _PARTS_NAMED
    return listed_labels([*names[:_PARTS_NAMED], f"{rest} more"] if rest > 0 else names)


def due_lines(facts: VersionFacts, holders: KeyHolders, checks: PageChecks) -> tuple[str, ...]:
    """How long the documentation is kept and why, what holds it, since when rules apply, and until when the keys count."""
    lines = []
    record = facts.record
    if record is not None:
        until = record.retention.until
        last = f", so until {value_text(until)}" if until.known else ""
        lines.append(f"Its documentation: {value_text(basis_of(record.retention, record.gpai))}{last}.")
    lines += [f"On hold: {hold}." for hold in checks.holds]
    if record is not None:
        verdicts = verdicts_of(in_third_form(record), decided=facts.decided)
        # since when a model's duties apply and are fined `registry record verdict` says
        day = verdicts.high_risk.applies_since
        lines += [f"{day[:1].upper()}{day[1:]}."] if day else []
    if holders.expires_at:
        ends = holders.expires_at[:10]
        lines.append(f"The trust file, which says whose keys count, ends on {ends} unless it is renewed.")
    return tuple(lines) or ("Nothing that is recorded.",)
