"""What a person has to look at before anything else in a report, and what nobody has decided.

Pure, over records.
"""

import re
from collections.abc import Iterator, Mapping

from peft_registry.registry.compliance.completeness import (
    PROVIDER_VERDICTS,
    Completeness,
    disqualifying_flags,
    is_exempt,
    is_yes,
)
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.licence_terms import implied_flags
from peft_registry.registry.compliance.record_verdicts import high_risk_verdict, verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.used_rows import mixed_roles, unknown_overlaps
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.compliance.verdicts.gpai import one_third
from peft_registry.registry.compliance.verdicts.high_risk import is_high
from peft_registry.registry.compliance.verdicts.words import SYSTEM_STATUSES
from peft_registry.registry.evaluation.leakage import leakage_lines
from peft_registry.registry.evaluation.limits import unkept_lines
from peft_registry.registry.gate.reasons import HARMS
from peft_registry.registry.reports.decisions import AliasGate, moves_of
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.law_answers import fields_missing, missing_answers
from peft_registry.registry.reports.merge_view import merge_cautions
from peft_registry.registry.reports.text import first_lines, number, percent, said_text, value_text
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.wording import (
    classification_text,
    conclusion_text,
    loss_direction,
    loss_sentence,
    status_reason,
    status_text,
)
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.imports import Finding
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import VerifyOutcome

# a provider has duties, and whoever is blocked must not place it at all
_WITH_DUTIES = frozenset((*PROVIDER_VERDICTS, "blocked_art5"))
# of the high-risk table
_ROWS_WITH_DUTIES = frozenset(("H2", "H4", "H5", "H6", "H8", "H12", "H13", "H14"))
_SYSTEMIC_RISK = {
    "cumulative_over_1e25": "the cumulative training compute is over 10^25 FLOP (Art. 51(2))",
    "inherited": "a base is a model with systemic risk",
}


def attention_of(
    facts: VersionFacts, completed: Completeness | None, holders: KeyHolders, checks: PageChecks
) -> tuple[str, ...]:
    """What a person has to look at before anything else, the worst first; then what nobody has decided.

    Args:
        facts: what is recorded.
        completed: how much of its record is filled, where it has one.
        holders: of the keys that signed.
        checks: those that were made for the report.
    """
    record = facts.record
    run = facts.run
    evaluations = facts.evaluations
    lines = [*_verified(checks.verification), *_closed(checks.gates), *_dependent(facts, holders, checks.gates)]
    if facts.imported is not None:
        lines.append(
            "Imported: made elsewhere. What is said of its training is what the files beside it said, and nobody saw it."
        )
        lines += first_lines(tuple(dict.fromkeys(map(_found, facts.imported.findings))), "provenance statement")
    if record is not None:
        lines += _of_status(record, facts.decided)
        lines += _of_data(record)
        lines += _gaps_of_data(record)
    lines += dict.fromkeys(_of_evaluations(evaluations))  # two evaluations may find the same
    is_evaluated = any(shown.stale is None for shown in evaluations)
    lines += [] if facts.merge is None else merge_cautions(facts.merge, is_evaluated=is_evaluated)
    lines += _licence_flags(record, facts.base)
    lines += _licences_of_data(record)
    warned = tuple(f"The run warned: {warning}" for warning in (run.warnings if run is not None else ()))
    return (*lines, *first_lines(warned, "training and compute"), *_undecided(completed, facts))


def _found(finding: Finding) -> str:
    return f"Found when it was imported: {finding.text}" + (f" ({finding.place})" if finding.place else "")


def _verified(verification: VerifyOutcome | None) -> Iterator[str]:
    if verification is None:
        return
    for recall in verification.recalls:
        yield f"Recalled, and not handed out: {recall}."
    for stop in verification.stops:
        yield f"{stop.act.done.capitalize()}, and must not be {stop.act.forbidden}: {stop.text}."
    if verification.verdict == "verified":
        return
    word = {"broken": "Broken", "unverified": "Not verified"}[verification.verdict]
    yield f"{word}: {verification.failed_text or verification.unchecked_text}"


def _closed(gates: Mapping[str, AliasGate]) -> Iterator[str]:
    """The aliases that point at it although the policy before them says no, or nobody can tell."""
    for alias, gate in sorted(gates.items()):
        if gate.closed_by or gate.unknown:
            yield f"Released under the alias “{alias}”. {gate.text}"


def _dependent(facts: VersionFacts, holders: KeyHolders, gates: Mapping[str, AliasGate]) -> Iterator[str]:
    """The releases behind which stand fewer persons than their policy asks for."""
    moves = moves_of(facts.version, facts.statements)
    for alias, gate in sorted(gates.items()):
        mover = ""
        if alias in moves:
            mover = f", by {holders.persons.get(moves[alias][0].key_id, 'somebody not named')}"
        yield from (f"Release under the alias “{alias}”{mover}: {caution}." for caution in gate.cautions)


def _of_status(record: RecordSections, decided: Decided) -> Iterator[str]:
    before, after = record.high_risk.classification_before, record.high_risk.classification_after
    if before.known and after.known and before.value != after.value:
        moved = f"{classification_text(before)} → {classification_text(after)}"
        yield f"The classification of the system changed: {moved} (Art. 6).{_since(after)}"
    elif is_high(after.value):
        yield f"The system is classified {classification_text(after)} (Art. 6).{_since(after)}"
    old, new = record.high_risk.intended_purpose_before, in_third_form(record).use.intended
    if is_yes(record.high_risk.intended_purpose_changed) is True or (
        old.known and new.known and old.value != new.value
    ):
        yield f"The intended purpose changed: {said_text(old)} → {said_text(new)}."
    yield from _of_system(record, decided)
    yield from _of_roles(record, decided)
    ratio = record.gpai.ratio.value
    if isinstance(ratio, int | float) and ratio > one_third() and is_yes(record.gpai.same_provider) is not True:
        yield f"More than a third of the base's compute: {percent(ratio)} (indicative criterion, not a rule of law)."
    if record.gpai.verdict.value in _WITH_DUTIES:
        prohibited = record.gpai.verdict.value == "blocked_art5"
        since = f" {_sentence('prohibited_media')}" if prohibited else ""
        yield f"Indicative status of the modifier: {status_text(record.gpai.verdict)}.{since}"
    if record.gpai.sr_flag.known and record.gpai.sr_flag.value != "none":
        yield f"A sign of systemic risk: {_SYSTEMIC_RISK.get(str(record.gpai.sr_flag.value), record.gpai.sr_flag.value)}."
    for terms in record.upstream if isinstance(record, ModificationRecord) else ():
        if is_yes(terms.eu_exclusion) is True:
            yield f"The provider of {value_text(terms.name)} excluded the Union market (GL J58)."
    if is_yes(record.gpai.open_source_exemption.claimed) is True:
        yield _exemption(record)


def _of_system(record: RecordSections, decided: Decided) -> Iterator[str]:
    """The indicative status of the system where it brings duties."""
    verdict = high_risk_verdict(record, decided=decided)
    if verdict.row in _ROWS_WITH_DUTIES:
        yield f"Indicative status of the system: {SYSTEM_STATUSES[verdict.status]} ({verdict.clause})."


def _of_roles(record: RecordSections, decided: Decided) -> Iterator[str]:
    """What is missing before a role can be indicated, in the words of its row."""
    verdicts = verdicts_of(in_third_form(record), decided=decided)
    for name, verdict in zip(("model", "system"), verdicts.both, strict=True):
        if verdict.row is None:
            because = f" Known: {'; '.join(map(status_reason, verdict.reasons))}." if verdict.reasons else ""
            yield f"No role can be indicated yet for the {name}. Missing: {'; '.join(missing_answers(verdict))}.{because}"


def _exemption(record: RecordSections) -> str:
    flags = disqualifying_flags(record)
    if flags:
        return f"The open-source exemption is claimed, and the licence of a base does not allow it: {', '.join(flags)} (GL J83)."
    holds = (
        "holds by what is stated"
        if is_exempt(record)
        else "is claimed, and not all of its conditions are stated to hold"
    )
    return (
        f"The open-source exemption {holds}; the copyright policy and the public summary of training content, "
        "Art. 53(1)(c) and (d), are owed with it as without."
    )


def _since(classification: Value) -> str:
    """Since when the rules of a class apply; nothing for a class that they do not reach."""
    annex = re.match(r"annex_i(ii)?", str(classification.value)) if is_high(classification.value) else None
    return "" if annex is None else f" {_sentence(annex[0])}"


def _sentence(what: str) -> str:
    text = field_rules().application(what).sentence
    return f"{text[0].upper()}{text[1:]}."


def _of_data(record: RecordSections) -> Iterator[str]:
    personal = tuple(value_text(data.name) for data in record.data if is_yes(data.personal_data) is True)
    special = tuple(value_text(data.name) for data in record.data if is_yes(data.special_categories) is True)
    for names, words in ((personal, "Personal data"), (special, "Special categories of personal data")):
        if names:
            yield f"{words} in {', '.join(first_lines(names, 'modification record'))}."


def _gaps_of_data(record: RecordSections) -> Iterator[str]:
    """What nobody can tell of the rows that several runs used, as long as nobody has stated what is done about it."""
    if record.data_gaps.known:
        return
    owner = field_rules().by_path()["data_gaps"].owner
    lines = [
        f"Which held-out rows are left is not stated ({owner}): {sentence}. Figures on held-out rows may be too good."
        for sentence in mixed_roles(record.data)
    ]
    lines += [
        f"Which rows were used several times is not recorded ({owner}): {sentence}."
        for sentence in unknown_overlaps(record.data)
    ]
    yield from first_lines(tuple(lines), "modification record")


def _capability(shown: ShownEvaluation) -> Iterator[str]:
    """The signs of lost capability that are beyond their limits, with both figures, or what is not excluded."""
    signs = [
        f"{sign.name} {number(sign.before)} → {number(sign.after)}, and {sign.limit} is allowed by this tool"
        for sign in shown.lost_capability
    ]
    undecided = shown.undecided_capability
    if undecided is not None:
        yield (
            f"Whether it lost quality on {undecided.dataset} text is open: its loss may have risen by up to "
            f"{number(undecided.change.high)} ({100 * undecided.change.level:g} % interval), and a rise of "
            f"{number(undecided.allowed)} ({percent(undecided.allowed_share)}) is allowed by this tool. A model that became "
            "worse at everything flags fewer items too, so fewer flagged items are not presented as an improvement."
        )
    elif signs or shown.record.guards.confounded:
        names = ", ".join(dict.fromkeys(finding.dataset for finding in shown.record.findings)) or "Evaluation"
        beyond = "; ".join(signs) or "the figures are not recorded"
        yield (
            f"{names}: a sign of lost capability is beyond its limit ({beyond}): a model that became worse at everything flags "
            "fewer items too, so whatever happened to them is not presented as an improvement."
        )


def _of_evaluations(evaluations: tuple[ShownEvaluation, ...]) -> Iterator[str]:
    for shown in evaluations:
        if shown.stale is not None:
            names = ", ".join(sorted({data.name for data in shown.record.datasets}))
            yield f"The evaluation of {names} is {shown.stale}."
        yield from map(str, leakage_lines(shown.record.leakage_check))
        yield from _capability(shown)
        yield from unkept_lines(shown.record)
        for row in shown.record.findings:
            if row.category is None and row.conclusion in HARMS:
                yield f"{row.dataset}: {conclusion_text(row)}."
        for loss in shown.record.losses:
            if loss_direction(loss) == "Worse":
                yield f"Quality fell on {loss.dataset} text: loss {loss_sentence(loss)}."


def _licence_flags(record: RecordSections | None, base: BaseRecord | None) -> Iterator[str]:
    flagged = [] if record is None else [(value_text(used.name), used.licence_flags) for used in record.base]
    flagged += [] if base is None else [("this base", base.facts.licence_flags)]
    for name, flags in dict(flagged).items():
        if flags.known and flags.value:
            yield f"Terms of the licence of {name}: {value_text(flags)}."


def _licences_of_data(record: RecordSections | None) -> Iterator[str]:
    for data in () if record is None else record.data:
        flags = implied_flags(data.licence.value)
        if flags:
            yield f"Terms of the licence of {value_text(data.name)}, {value_text(data.licence)}: {', '.join(flags)}."


def _undecided(completed: Completeness | None, facts: VersionFacts) -> Iterator[str]:
    """What it is for, and the questions that decide which fields are required, where nobody has answered them."""
    if completed is None or facts.record is None:
        return
    if any(gap.field == "use.intended" for gap in completed.open):
        yield f"Nobody has stated what it is for ({field_rules().by_path()['use.intended'].owner})."
    named = fields_missing(facts.record, facts.decided)
    rules = [field_rules().by_path()[path] for path in completed.undecided]
    # what follows from answers is for nobody to decide, and what a role waits for is said with it
    rules = [rule for rule in rules if rule.owner != "tool" and rule.path not in named]
    questions = "; ".join(f"{rule.label[:1].lower()}{rule.label[1:]} ({rule.owner})" for rule in rules)
    if questions:
        yield f"Nobody has decided yet: {questions}."
    if completed.undecided:
        yield "More fields may be required once what is missing is answered."
