"""What an evaluation says, in sentences that claim no more than was counted.

No sentence calls a model free of bias, no figure is averaged over unlike metrics, and nothing is claimed about a group with
fewer than 100 items.
"""

from collections.abc import Callable, Mapping

from peft_registry.registry.compliance.verdicts.words import STATUSES
from peft_registry.registry.evaluation.halves import part_text
from peft_registry.registry.gate.reasons import HARMS
from peft_registry.registry.reports.text import number, share, signed, value_text
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import (
    ITEMS_FOR_A_CLAIM,
    Comparison,
    DatasetUsed,
    EvaluationRecord,
    Interval,
    LossComparison,
    Result,
    Test,
)
from peft_registry.schemas.values import Value

NOTICE = "Decision support, not legal advice."
VERIFIED_MEANS = "An intact signature approves nothing and judges no quality."
NO_CLAIM = str(code("no_claim"))

UNVERIFIED_MEANS = (
    "Not fully checked (unverified): something could not be checked here, and nothing that could be was "
    "wrong. It accuses nobody."
)
BROKEN_MEANS = "Broken: bytes or records are not those that were signed. Do not use it before that is explained."
NOT_ASKED_OF_A_BASE = "Not asked of a base: nothing was changed."
# the suites whose name alone says nothing to a reader
SUITES = {"house": "pairs of sentences that this tool brings along"}

FLAGGED_MEANS = "Flagged: the model leans to the biased answer by more than the suite's threshold."

# who owes an answer, as a reader knows them who has never seen a record
_WHO_OWES = {
    "modifier": "whoever adapted the base",
    "data owner": "whoever answers for the data",
    "legal": "whoever answers for the law",
    "engineer": "whoever trained or measured it",
}
OWNERS = {owner: f"{owner} ({who})" for owner, who in _WHO_OWES.items()}
# the same within a sentence
_ANSWERS_IT = {
    "modifier": "the modifier",
    "data owner": "the data owner",
    "legal": "legal",
    "engineer": "the engineer",
    "tool": "this tool",
}


class OwnerNames:
    """Who owes an answer, within the sentences of one page: with who that is where the owner is named first."""

    def __init__(self) -> None:
        self._explained: set[str] = set()

    def of(self, owner: str) -> str:
        """`legal (whoever answers for what the law asks)`; `legal` from the second time on."""
        name = _ANSWERS_IT[owner]
        if owner in self._explained or owner not in _WHO_OWES:
            return name
        self._explained.add(owner)
        return f"{name} ({_WHO_OWES[owner]})"


# what persons decide, where they say yes and where they say no
DECIDED: Mapping[DecidedQuestion, tuple[str, str]] = {
    "qualitative-change": ("the change is significant", "the change is not significant"),
    "purpose": ("the intended purpose changed", "the intended purpose did not change"),
    "substantial-modification": (
        "the change is a substantial modification (Art. 3(23))",
        "the change is not a substantial modification (Art. 3(23))",
    ),
    "article-6-3": (
        "the assessment of Art. 6(3) is documented and registered",
        "the assessment of Art. 6(3) is not documented and registered",
    ),
    "system-provider": (
        "the modifier is the provider of the system as it was",
        "the modifier is not the provider of the system as it was",
    ),
}
# the choices of a record as a reader knows them (Art. 6; Annex III)
CLASSIFICATIONS = {
    "not_high_risk": "not high-risk",
    "no_system": "not part of a system",
    "art6_3_exempt": "a use of Annex III, exempt under Art. 6(3)",
    "annex_i": "high-risk, a product or safety component under Annex I",
    "annex_i_b": "a product or safety component under Annex I, Section B (its own law decides, Art. 2(2))",
    "annex_iii_1": "high-risk, Annex III 1 (biometrics)",
    "annex_iii_2": "high-risk, Annex III 2 (critical infrastructure)",
    "annex_iii_3": "high-risk, Annex III 3 (education and vocational training)",
    "annex_iii_4": "high-risk, Annex III 4 (employment and management of workers)",
    "annex_iii_5": "high-risk, Annex III 5 (essential services)",
    "annex_iii_6": "high-risk, Annex III 6 (law enforcement)",
    "annex_iii_7": "high-risk, Annex III 7 (migration, asylum, border control)",
    "annex_iii_8": "high-risk, Annex III 8 (justice and democratic processes)",
}
# what a table of verdicts waits for, where its own words leave open what "before" and "after" are of
MISSING = {
    "how the system was classified before": "how the system was classified before the adaptation",
    "how it is classified after": "how the system is classified with the adapted model",
}
# labels that say to a reader of a record alone what they are of
READERS_LABELS = {
    "modifier.role_claimed": "Role that the modifier claims, which says whether it is the provider of the base",
    "high_risk.classification_before": "How the system was classified before the adaptation",
    "high_risk.classification_after": "How the system is classified with the adapted model, or that it is part of none",
    "high_risk.intended_purpose_before": "What the system was for before the adaptation",
}
_CONCLUSIONS = {
    "better": "fewer flagged items after than before",
    **HARMS,
    "unchanged": "unchanged within the margin",
    "not_testable": "not testable",
    "changed": "items changed, in both directions",
    "inconclusive": "inconclusive",
    "not_informative": "not informative",
    "confounded": "not told apart from lost capability, a sign of which is beyond its limit",
}
# tests by their codes
_TESTS = {
    "sign_flips": "sign flips of whole clusters",
    "mcnemar_exact": "McNemar's exact test, items taken as independent",
    "mcnemar_chi2_corrected": "McNemar's test with continuity correction, items taken as independent",
}
_ARMS = {
    "base": "the base",
    "base_quantised": "the quantised base",
    "adapted": "the adapted model",
    "merged": "the merged model",
    "noise": "the noise control",
    "placebo": "the placebo",
    "parent": "the parent",
}


def arm_name(arm: str) -> str:
    """`the base`, `the adapted model` …"""
    return _ARMS.get(arm, arm)


def conclusion_text(comparison: Comparison) -> str:
    """The conclusion of a comparison in words."""
    return _CONCLUSIONS[comparison.conclusion]


def comparison_sentence(comparison: Comparison, evaluation: EvaluationRecord) -> str:
    """What was counted on which items, before and after."""
    data = next((dataset for dataset in evaluation.datasets if dataset.name == comparison.dataset), None)
    group = f" in the group {comparison.category}" if comparison.category else ""
    items = f"On {comparison.n} items{group} of {_data_name(comparison.dataset, data)}"
    if comparison.category and comparison.n < ITEMS_FOR_A_CLAIM:
        return f"{items}: too few for a statement about this group; the counts are shown, nothing is claimed."
    parts = [
        f"{items}: {_preferences(comparison, evaluation)}",
        _moved(comparison) + _test(comparison.test) + ".",
        _control(comparison),
        f"Conclusion: {conclusion_text(comparison)} ({comparison.conclusion_reason}).",
    ]
    return " ".join(part for part in parts if part)


def loss_sentence(loss: LossComparison, *, with_count: bool = True) -> str:
    """`2.412 → 1.871 (−0.541, 95 % interval −0.61 … −0.47, n = 20)`; without the count of rows for those who do not get it."""
    interval = f", {interval_text(loss.change_ci, signed)}" if loss.change_ci else ", no interval"
    count = f", n = {loss.n}" if with_count else ""
    return f"{number(loss.before)} → {number(loss.after)} ({signed(loss.change)}{interval}{count})"


def interval_text(interval: Interval, write: Callable[[float], str] = number) -> str:
    """`95 % interval 0.51 … 0.62`; `write` writes the ends."""
    return f"{100 * interval.level:g} % interval {write(interval.low)} … {write(interval.high)}"


def loss_direction(loss: LossComparison) -> str:
    """A lower loss is better; an interval that holds zero shows neither."""
    interval = loss.change_ci
    if interval is None:
        return "No interval"
    if interval.high < 0:
        return "Better"
    return "Worse" if interval.low > 0 else "No change shown"


def decided_text(question: DecidedQuestion, *, is_yes: bool) -> str:
    """What persons decided of a question, in words."""
    yes, no = DECIDED[question]
    return yes if is_yes else no


def status_reason(reason: str) -> str:
    """Why a status is what it is; of what a person decided (`purpose: no, decided by …`) in words."""
    name, _, rest = reason.partition(": ")
    question = next((question for question in DECIDED if question == name), None)
    if question is None:
        return reason
    outcome, _, by = rest.partition(", ")
    return f"{decided_text(question, is_yes=outcome == 'yes')}, as {by}"


def classification_text(value: Value) -> str:
    """A classification in words, with the code that the record holds; where nobody has stated it, that and why."""
    if not value.known:
        return f"unknown ({value_text(value)})"
    text = CLASSIFICATIONS.get(str(value.value))
    return value_text(value) if text is None else text


def status_text(value: Value) -> str:
    """An indicative status of a modifier in words."""
    return STATUSES.get(str(value.value), value_text(value))


def _data_name(name: str, data: DatasetUsed | None) -> str:
    if data is None:
        return name
    asked = part_text(data)
    part = "" if asked is None else f", {asked}"
    if data.sha256.short in data.version:  # the file's digest is all the version there is
        return f"{name}, {data.version}{part}"
    return f"{name} version {data.version} ({data.sha256.short}){part}"


# what is compared by its margin is counted by the margin's sign
_COUNTED_AS = {"margin": "pct_stereotype"}


def _preferences(comparison: Comparison, evaluation: EvaluationRecord) -> str:
    """`the base preferred the more stereotyping option in 150 of 240 (…), the adapted model in 147 of 240 (…).`"""
    before = _result(comparison, comparison.before, evaluation)
    after = _result(comparison, comparison.after, evaluation)
    if before is None or after is None or before.k is None or after.k is None:
        return f"{arm_name(comparison.before)} is compared with {arm_name(comparison.after)}."
    return (
        f"{arm_name(comparison.before)} preferred the more stereotyping option in {_counted(before)}, "
        f"{arm_name(comparison.after)} in {_counted(after)}."
    )


def _moved(comparison: Comparison) -> str:
    test, opposite = comparison.test, comparison.opposite
    if test is not None and opposite is not None:
        return (
            f"{test.b} of {comparison.flagged} flagged items are no longer flagged, {test.c} others are; {opposite.entered} items "
            f"prefer the opposite that did not before, {opposite.left} no longer do"
        )
    was = "was" if comparison.overcorrected == 1 else "were"
    return (
        f"{comparison.fixed} of {comparison.flagged} flagged items became neutral, {comparison.overcorrected} {was} "
        f"over-corrected, {comparison.introduced} of {comparison.clear} clear items became flagged"
    )


def _result(comparison: Comparison, arm: str, evaluation: EvaluationRecord) -> Result | None:
    metric = _COUNTED_AS.get(comparison.metric, comparison.metric)
    key = (comparison.dataset, metric, comparison.category, arm)
    return next((row for row in evaluation.results if (row.dataset, row.metric, row.category, row.arm) == key), None)


def _counted(result: Result) -> str:
    interval = f" ({interval_text(result.interval, share)})" if result.interval else ""
    return f"{result.k} of {result.n}{interval}"


def _test(test: Test | None) -> str:
    if test is None:
        return ""
    name = _test_name(test)
    if test.p_raw is None:
        return f" ({name}: {test.null_reason or 'not testable'})"
    family = "1 test" if test.family_size == 1 else f"{test.family_size} tests"
    is_primary = not isinstance(test.name, str) and test.name.code == "sign_flips" and test.family_size == 1
    adjusted = "" if test.p_holm is None or is_primary else f", Holm-adjusted {number(test.p_holm)} over {family}"
    return f" ({name}: p = {number(test.p_raw)}{adjusted})"


def _test_name(test: Test) -> str:
    # records of before there were codes name a test with hyphens
    code = test.name.replace("-", "_") if isinstance(test.name, str) else test.name.code
    return _TESTS.get(code, str(test.name))


def _control(comparison: Comparison) -> str:
    control = comparison.control
    if control is None:
        return "There is no control."
    fixed = (
        "no item was flagged before"
        if control.fix_rate is None
        else f"fixed {share(control.fix_rate)} of the flagged items"
    )
    introduced = (
        "no item was clear before"
        if control.introduction_rate is None
        else f"introduced {share(control.introduction_rate)} of the clear ones"
    )
    return f"A change that means nothing ({control.kind}): {fixed}, {introduced}."
