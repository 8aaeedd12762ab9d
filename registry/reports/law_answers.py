"""What a report says first of the law: a third of the compute, roles, high risk, what licences restrict. Pure, over records."""

from collections.abc import Iterable, Iterator

from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.record_licences import licence_flags_of, stated_licence_flags
from peft_registry.registry.compliance.record_verdicts import Verdict, verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.gpai import one_third
from peft_registry.registry.reports.text import percent, reason_text, value_text
from peft_registry.registry.reports.version_facts import VersionFacts
from peft_registry.registry.reports.wording import NOT_ASKED_OF_A_BASE, classification_text
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import because_in
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.values import Value

# the guidelines are numbered twice, and a paragraph means nothing without its edition
_CRITERION = (
    "above a third the Commission's guidelines, which are not binding, treat the modifier as a provider of a general-purpose "
    "model, where the base is one (paragraph 63 as printed in July 2025, 60 in November 2025)"
)
_LICENCES = {"": "none recorded", "unknown": "not known, because the terms of a licence are not recorded"}
_SAME_PROVIDER = (
    "Not applied: the modifier is the provider of the base or acts for it, and the result counts as the same model "
    "(guidelines, paragraph 23 as printed in July 2025, 22 in November 2025)"
)


def compute_line(record: RecordSections | None, base: BaseRecord | None) -> str:
    """Whether the modification took more than a third of the compute of its base."""
    if record is None:
        return NOT_ASKED_OF_A_BASE if base is not None else "Unknown: no modification record."
    gpai = record.gpai
    if is_yes(gpai.same_provider) is True:
        return f"{_SAME_PROVIDER}."
    ratio = gpai.ratio.value
    if not isinstance(ratio, int | float):
        return f"Unknown: {_why_open(gpai.ratio)}."
    low, high = gpai.ratio_low.value, gpai.ratio_high.value
    band = ""
    answer = "Yes" if ratio > one_third() else "No"
    if isinstance(low, int | float) and isinstance(high, int | float):
        band = f" ({percent(low)} … {percent(high)} with ±30 % on the compute of either)"
        answer = "Borderline" if low <= one_third() < high else answer
    return f"{answer}: {percent(ratio)} of it{band}; {_CRITERION}."


def base_is_gpai(record: RecordSections | None) -> tuple[str, ...]:
    """Whether the criterion applies at all: it speaks of general-purpose models."""
    if record is None:
        return ()
    answers = [is_yes(used.is_gpai) for used in record.base]
    if True in answers:  # one of several bases is enough
        answer = "Yes"
    elif not answers or None in answers:  # unknown is never "no"
        answer = "Not answered"
    else:
        answer = "No"
    return (f"Is the base a general-purpose model? {answer}.",)


def role_lines(facts: VersionFacts) -> tuple[str, ...]:
    """What follows for whoever modified the model, of the model and of the system, in words; while it is open, what is missing."""
    record = facts.record
    if record is None:
        return (NOT_ASKED_OF_A_BASE if facts.base is not None else "Unknown: no modification record.",)
    verdicts = verdicts_of(in_third_form(record), decided=facts.decided)
    return (
        f"For the model: {_role(verdicts.gpai_modifier)}.",
        f"For the system: {_role(verdicts.high_risk)}.",
        "Both are indicative, from what is recorded, and no legal advice.",
    )


def _role(verdict: Verdict) -> str:
    if verdict.row is not None:
        return verdict.words
    # the fields that answer it stand behind in brackets; below the questions are named with whoever answers them
    missing = [question.partition(" (")[0] for question in verdict.missing]
    lettered = missing if len(missing) == 1 else [f"({chr(ord('a') + at)}) {asked}" for at, asked in enumerate(missing)]
    return f"no role can be indicated yet. Missing: {'; '.join(lettered)}"


def _why_open(value: Value) -> str:
    return value_text(value) if value.reason is None else reason_text(because_in(value.reason))


def market_line(record: RecordSections | None) -> tuple[str, ...]:
    """Whether it is placed on the Union market, and since when; where nobody has said so, who owes it."""
    if record is None:
        return ()
    rules = field_rules().by_path()
    placed, day = record.gpai.placed_on_eu_market, record.gpai.placing_date
    if is_yes(placed) is False:
        return ("Placed on the Union market: no.",)
    if is_yes(placed) is None:
        return (f"Placed on the Union market: to be answered by {rules['gpai.placed_on_eu_market'].owner}.",)
    owed = f"; the day is not recorded, to be answered by {rules['gpai.placing_date'].owner}"
    return (f"Placed on the Union market: yes{f', on {value_text(day)}' if day.known else owed}.",)


def high_risk_line(record: RecordSections | None, base: BaseRecord | None) -> str:
    """How the system is classified before and after, and whether that changed."""
    if record is None:
        return NOT_ASKED_OF_A_BASE if base is not None else "Unknown: no modification record."
    before, after = record.high_risk.classification_before, record.high_risk.classification_after
    if before.known and after.known:
        moved = "unchanged" if before.value == after.value else "changed"
        return f"{classification_text(after)} after, {classification_text(before)} before: {moved}."
    asked = field_rules().by_path()["high_risk.classification_after"]
    return (
        f"Before: {classification_text(before)}. After: {classification_text(after)}. To be answered by {asked.owner}."
    )


def flag_lines(facts: VersionFacts) -> Iterator[str]:
    """What is said beside a status, and what licences restrict; of a licence whose terms nobody knows, that."""
    record = facts.record
    signed = facts.signed_record or record
    base = facts.base
    licences: Iterable[str] = ()
    if record is not None and signed is not None:
        raised = verdicts_of(in_third_form(record), decided=facts.decided).flags
        yield from (flag.text for flag in raised)
        licences = licence_flags_of(in_third_form(signed))
    elif base is not None:
        licences = stated_licence_flags(base.facts.licence, base.facts.licence_flags)
    named = ", ".join(dict.fromkeys(flag.replace("_", " ") for flag in licences))
    yield f"Licence conflicts: {_LICENCES.get(named, named)}."
