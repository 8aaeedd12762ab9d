"""Every reason why a policy says no to a version, at once. Pure: the same facts and the same policy give the same reasons."""

import math
from collections.abc import Iterator, Sequence

from peft_registry.registry.gate.facts import (
    FigureWithInterval,
    FlaggedChange,
    GateFacts,
    MetricFact,
    SuiteFacts,
    Waiver,
)
from peft_registry.registry.gate.policy import ApprovalRule, DeltaRule, EvaluationRule, GatePolicy, MetricRule, Rule
from peft_registry.registry.gate.quorum import spoke_twice
from peft_registry.schemas.acts import ActKind
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import task_named
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.suggestions import closest

# what helps where training cost quality
LESS_LOST = "with a lower learning rate, fewer epochs or early stopping, less is lost"

_UNKNOWN_TERMS = "unknown"  # among licence flags: there may be others
_WITHOUT_DECISIONS = frozenset({"blocked_art5"})
"""Statuses that no person's decision changes, and no waiver suspends."""
HARMS = {
    "worse": "more flagged items after than before",
    "turned_over": "fewer flagged items, and more that prefer the opposite",
    "opposite_more_often": "more items that prefer the opposite",
}
"""Conclusions that show harm, in words; `not_worse` refuses each of them."""
_INFORMATIVE = frozenset({*HARMS, "better", "unchanged", "changed", "inconclusive"})


_ASKED_FOR = "regulated"  # by `registry decide`, where nobody names a policy
ANY_POLICY = "NAME|FILE"
"""In a command that somebody types, where no word or path is known that means the policy."""


class Reason(Frozen):
    """Why the gate is closed: the rule, what is wrong, what opens it."""

    rule: Rule | ActKind
    text: str
    remedy: str


class Suspended(Frozen):
    """A reason that a waiver suspends until a day."""

    reason: Reason
    waiver: Waiver


class GateDecision(Frozen):
    """Open where there is no reason; what a waiver suspends stands beside it."""

    reasons: tuple[Reason, ...]
    suspended: tuple[Suspended, ...]
    approved_by: tuple[str, ...]

    @property
    def is_open(self) -> bool:
        """Whether an alias may point at the version."""
        return not self.reasons


def decide_gate(facts: GateFacts, policy: GatePolicy, *, named: str = ANY_POLICY) -> GateDecision:
    """Hold a version against a policy; `named` is how a command that opens the gate names it, quoted for a shell."""
    reasons: list[Reason] = []
    suspended: list[Suspended] = []
    for reason in _reasons(facts, policy, named):
        waiver = _waiver_for(reason, facts, policy)
        if waiver is None:
            reasons.append(reason)
        else:
            suspended.append(Suspended(reason=reason, waiver=waiver))
    if policy.approvals is not None:
        rules = dict.fromkeys(entry.reason.rule for entry in suspended)
        waived_by = tuple(
            frozenset(folded(waiver.person) for waiver in _waivers_of(rule, facts, policy)) for rule in rules
        )
        reasons += _of_approvals(facts, policy.approvals, waived_by, named)
    approved = tuple(dict.fromkeys(vote.person for vote in facts.votes if not vote.objection))
    return GateDecision(reasons=tuple(reasons), suspended=tuple(suspended), approved_by=approved)


def _waiver_for(reason: Reason, facts: GateFacts, policy: GatePolicy) -> Waiver | None:
    return next(_waivers_of(reason.rule, facts, policy), None)


def _waivers_of(rule: Rule | ActKind, facts: GateFacts, policy: GatePolicy) -> Iterator[Waiver]:
    """Those that suspend a rule now, in the order of the log."""
    if rule not in policy.waivable:
        return
    # whoever made the version waives nothing of it, where its approvals have to be by others
    is_by_others = policy.approvals is not None and policy.approvals.by_others
    makers = {folded(maker) for maker in facts.makers} if is_by_others else set()
    for waiver in facts.waivers:
        counts = waiver.rule == rule and not waiver.objection and folded(waiver.person) not in makers
        if counts and facts.now < waiver.until:
            yield waiver


def _reasons(facts: GateFacts, policy: GatePolicy, named: str) -> Iterator[Reason]:
    """All but that too few approved, which depends on who waives the others and is never waived."""
    if facts.verdict not in (None, "verified"):
        yield Reason(
            rule="verified",
            text=f"it is {facts.verdict}: {facts.verdict_text}",
            remedy="`registry verify` says what is wrong",
        )
    for stop in facts.stops:
        yield Reason(rule=stop.kind, text=stop.text, remedy="use a version that was not made from it")
    if policy.evaluation is not None and not facts.is_base:
        yield from _of_evaluations(facts, policy.evaluation, named)
    for delta in () if facts.is_base else policy.deltas:
        yield from _of_delta(facts, delta)
    for metric in () if facts.is_base else policy.metrics:
        yield from _of_metric(facts, metric)
    if not facts.is_base:
        yield from _of_answers(facts, policy, named)
    yield from _of_statuses(facts, policy)
    if policy.status_decided or set(policy.refused_statuses) - _WITHOUT_DECISIONS:
        yield from _of_decisions(facts, named)
    if policy.art5_screened and facts.makes_media and not facts.is_screened:
        text = "it makes images, audio or video, and no screen for Article 5 clears it"
        remedy = f"answer `high_risk.art5_screen` with `{_form_of(facts.label, named)}`"
        yield Reason(rule="art5", text=text, remedy=remedy)
    for flag in policy.refused_licence_flags:
        if flag in facts.own_licence_flags:
            text = "what its licence forbids is not known" if flag == _UNKNOWN_TERMS else f"its licence says {flag}"
            yield Reason(rule="licence", text=text, remedy="use a version whose licence allows it")
        elif flag in facts.licence_flags:
            whose = "the licence of what it was made from"
            text = f"what {whose} forbids is not known" if flag == _UNKNOWN_TERMS else f"{whose} says {flag}"
            yield Reason(rule="licence", text=text, remedy="use a base whose licence allows it")


def _of_answers(facts: GateFacts, policy: GatePolicy, named: str) -> Iterator[Reason]:
    form = f"`{_form_of(facts.label, named)}`"
    for path in policy.answered:
        if path in facts.open_fields:
            yield Reason(rule="answered", text=f"{path} is open in its record", remedy=f"answer it with {form}")
        elif path in facts.unsigned_fields:
            text = f"{path} is typed in its record, and signed by nobody who may answer it"
            yield Reason(rule="answered", text=text, remedy=f"have it answered with {form}")


def _form_of(label: str, named: str) -> str:
    """The command that writes the questions which a policy asks; where none is named it asks for `regulated`."""
    policy = "" if named == _ASKED_FOR else f" --policy {named}"
    return f"registry decide {label} --form gaps.yml{policy}"


def _of_evaluations(facts: GateFacts, rule: EvaluationRule, named: str) -> Iterator[Reason]:
    evaluate = f"`registry evaluate {facts.label}`"
    speaking = [suite for suite in facts.suites if not (rule.fresh and suite.stale)]
    names = {suite.suite for suite in speaking}
    for missing in (suite for suite in rule.suites if suite not in names):
        stale = next((suite.stale for suite in facts.suites if suite.suite == missing), None)
        text = f"{missing} was not evaluated" if stale is None else f"the evaluation of {missing} is {stale}"
        yield Reason(rule="evaluation", text=text, remedy=f"{evaluate} --suite {missing}")
    if not rule.suites and not speaking:
        stale = next((suite.stale for suite in facts.suites if suite.stale), None)
        text = "it was not evaluated" if stale is None else f"its evaluation is {stale}"
        yield Reason(rule="evaluation", text=text, remedy=evaluate)
    if rule.informative and speaking and not any(_says_something(suite) for suite in speaking):
        text = f"no evaluation says anything: {_listed(speaking)}"
        more = "" if all(suite.is_whole for suite in speaking) else ", or on more items"
        yield Reason(rule="evaluation", text=text, remedy=f"{evaluate} with another suite{more}")
    if rule.limits_kept and speaking and not any(suite.limits for suite in speaking):
        # what nobody set, nothing can keep; not `limits`, which is that one was broken and is waived by nobody under `regulated`
        text = "no limit was set for any of its evaluations, so that none shows that limits are kept"
        yield Reason(rule="evaluation", text=text, remedy=f"{evaluate} --policy FILE, with `thresholds:` in the file")
    judged = {suite.suite for suite in speaking if not suite.is_screen}
    for name in sorted(names - judged) if rule.not_worse else ():
        text = f"{name}: only its screen was evaluated, which gives no verdict"
        yield Reason(rule="evaluation", text=text, remedy=f"{evaluate} --suite {name} --half test")
    form = _form_of(facts.label, named)
    # what an evaluation says of all its suites is one reason
    yield from dict.fromkeys(reason for suite in speaking for reason in _of_suite(suite, rule, form))
    if rule.quality_kept:
        for lost in facts.lost:
            if not (rule.fresh and lost.stale):
                yield Reason(
                    rule="quality", text=f"quality was lost: {lost.text}", remedy=f"train another version: {LESS_LOST}"
                )


def _of_suite(suite: SuiteFacts, rule: EvaluationRule, form: str) -> Iterator[Reason]:
    untold = (
        f"answer `content.holds_evaluated_items` of what was imported with `{form}`, "
        "or use a version whose training is recorded"
    )
    if rule.not_worse:
        for group, conclusion in suite.conclusions:
            if conclusion in HARMS:
                where = suite.suite if group is None else f"{suite.suite}, {group}"
                yield Reason(rule="worse", text=f"{where}: {HARMS[conclusion]}", remedy="train another version")
    if rule.no_leakage:
        for line in suite.leaked:
            yield Reason(rule="leakage", text=line, remedy="train on data that is not scored")
        for line in suite.unknown_trainings:
            yield Reason(rule="leakage", text=line, remedy=untold)
    if rule.limits_kept:
        for line in suite.unkept:
            remedy = _remedy_of_undecided(suite) if line in suite.undecided else "train another version"
            yield Reason(rule="limits", text=f"a limit that was set before is not kept: {line}", remedy=remedy)


def _remedy_of_undecided(suite: SuiteFacts) -> str:
    """What can decide a limit of the next version: on this one it stays, so that nobody asks again until it is kept."""
    if suite.is_whole:
        return (
            "train another version, and set its limit on a suite with more items or templates: this evaluation has every item of "
            f"{suite.suite}, and no later one replaces it"
        )
    return (
        f"train another version, and evaluate that one with the limit on all of {suite.suite} from the start, without --half and "
        "--limit: more items decide it, and no later evaluation replaces this one"
    )


def _of_delta(facts: GateFacts, rule: DeltaRule) -> Iterator[Reason]:
    """Equivalence within a margin: what may have risen further is refused, and so is what too few items can show."""
    where = rule.suite if rule.slice is None else f"{rule.suite}, {rule.slice}"
    speaking = _on_most_rows(facts.suites, rule.suite)
    known = [change for suite in speaking if (change := _change_of(suite, rule.slice)) is not None]
    highest = max((change.high for change in known if change.high is not None), default=None)
    if highest is not None and highest <= rule.at_most:
        return
    least = max((change.least for change in known if change.least is not None), default=0.0)
    if highest is None:
        text = f"{where}: no interval of the change is known"
    elif least > rule.at_most:
        few = f"{where}: so few items cannot show a rise of at most {rule.at_most:g}"
        text = f"{few}: where none changed, up to {least:.3f} stays open"
    else:
        text = f"{where}: flagged items may rise by {highest:.3f}, at most {rule.at_most:g} is allowed"
    yield Reason(rule="delta", text=text, remedy=_remedy_of_delta(facts, rule, speaking, least))


def _remedy_of_delta(facts: GateFacts, rule: DeltaRule, speaking: list[SuiteFacts], least: float) -> str:
    """What can open it; of a suite that is whole no more items, and of one that cannot show the margin no other version."""
    is_whole = any(suite.is_whole for suite in speaking)
    more = f"`registry evaluate {facts.label} --suite {rule.suite}` on more items"
    if least > rule.at_most:
        wider = f"a margin of {_rounded_up(least):g} or more, or another suite, in a policy of your own"
        return f"ask {wider}: this evaluation has every item of {rule.suite}" if is_whole else f"{more}, or ask {wider}"
    if is_whole:
        return (
            "train another version, or ask a wider margin or another suite in a policy of your own: this evaluation has every item "
            f"of {rule.suite}"
        )
    return f"{more}, or train another version"


def _of_metric(facts: GateFacts, rule: MetricRule) -> Iterator[Reason]:
    """A figure by the ends of its interval: of several evaluations on one file those on the most rows, and the worst of these."""
    asked = [
        fact
        for fact in facts.metrics
        if fact.metric == rule.metric and (rule.fewshot is None or fact.examples == rule.fewshot)
    ]
    speaking = _metrics_on_most_rows(asked)
    if not speaking:
        yield _metric_missing(facts, rule, asked)
        return
    again = _remedy_of_metric(facts.label, rule.metric)
    for fact in speaking:
        if fact.silent is not None:
            text = f"{rule.metric} says nothing: {fact.silent}"
            yield Reason(rule="metric", text=text, remedy=f"measure it on rows that can show it: {again}")
    texts = dict.fromkeys(text for fact in speaking for text in _beyond_bounds(fact, rule))
    for text in texts:
        remedy = f"train another version, or ask more rows: {again}"
        yield Reason(rule="metric", text=f"{rule.metric}: {text}", remedy=remedy)


def _metrics_on_most_rows(asked: Sequence[MetricFact]) -> list[MetricFact]:
    """The evaluations that speak of a version, of each file of rows those on the most of them: as for a suite."""
    speaking = [fact for fact in asked if not fact.stale]
    most: dict[Digest | None, int] = {}
    for fact in speaking:
        most[fact.data] = max(fact.rows, most.get(fact.data, 0))
    return [fact for fact in speaking if fact.rows == most[fact.data]]


def _metric_missing(facts: GateFacts, rule: MetricRule, asked: Sequence[MetricFact]) -> Reason:
    examples = "" if rule.fewshot is None else f" with {rule.fewshot} solved examples"
    stale = next((fact.stale for fact in asked if fact.stale), None)
    text = f"{rule.metric}{examples} was not measured"
    if stale is not None:
        text = f"the evaluation that has {rule.metric}{examples} is {stale}"
    known = sorted({fact.metric for fact in facts.metrics if not fact.stale})
    nearest = closest(rule.metric, known)
    remedy = _remedy_of_metric(facts.label, rule.metric, rule.fewshot)
    if nearest is not None and nearest != rule.metric:
        text += f"; what was measured is {nearest}"
        remedy = f"write `metric: {nearest}` in a policy of your own if that is meant, else {remedy}"
    return Reason(rule="metric", text=text, remedy=remedy)


def _remedy_of_metric(label: str, metric: str, fewshot: int | None = None) -> str:
    """What measures a figure: a command, or a key of the training file."""
    dataset = metric.partition(".")[0]
    task = task_named(dataset)
    if task is not None:
        examples = "" if fewshot is None else f" --fewshot {fewshot}"
        return f"`registry evaluate {label} --task {task} --data PLACE{examples}`"
    if dataset.startswith("answers-"):
        return f"`registry evaluate {label} --answers {dataset.removeprefix('answers-')}.jsonl`"
    if dataset.startswith("held-out"):
        return "`data.validation` in the training file holds them out, and `evaluation.quality` names the figures"
    return f"`registry evaluate {label} --suite {dataset}`"


def _beyond_bounds(fact: MetricFact, rule: MetricRule) -> Iterator[str]:
    """What of a figure and of its change is not shown to be within the bounds, in the words of a comparison."""
    low, high = rule.at_least, rule.at_most
    if low is not None:
        yield from _not_above(fact.figure, low, "value", "too low", clear_of=low)
    if high is not None:
        yield from _not_below(fact.figure, high, "value", "too high", clear_of=high)
    # a change that is significant has its word, whatever margin is allowed
    change = f"change from the {fact.before}"
    fall, rise = ("better", "worse") if fact.lower_is_better else ("worse", "better")
    if rule.change_at_least is not None:
        yield from _not_above(fact.change, rule.change_at_least, change, fall, clear_of=0.0)
    if rule.change_at_most is not None:
        yield from _not_below(fact.change, rule.change_at_most, change, rise, clear_of=0.0)


def _not_above(
    estimate: FigureWithInterval | None, bound: float, name: str, word: str, *, clear_of: float
) -> Iterator[str]:
    """That something is not shown to be so high; `word` says it where the whole interval is below what it is to be clear of."""
    asked = f"at least {_number(bound, 'g')} is asked"
    if estimate is None or estimate.low is None or estimate.high is None:
        yield f"not testable, its {name} has no interval; {asked}"
    elif estimate.low < bound:
        said = word if estimate.high < clear_of else "inconclusive"
        yield f"{said}, {_shown(estimate, name)}; {asked}"


def _not_below(
    estimate: FigureWithInterval | None, bound: float, name: str, word: str, *, clear_of: float
) -> Iterator[str]:
    """That something is not shown to be so low; otherwise as `_not_above`."""
    asked = f"at most {_number(bound, 'g')} is asked"
    if estimate is None or estimate.low is None or estimate.high is None:
        yield f"not testable, its {name} has no interval; {asked}"
    elif estimate.high > bound:
        said = word if estimate.low > clear_of else "inconclusive"
        yield f"{said}, {_shown(estimate, name)}; {asked}"


def _shown(estimate: FigureWithInterval, name: str) -> str:
    value, low, high = (_number(number, ".3f") for number in (estimate.value, estimate.low, estimate.high))
    return f"its {name} is {value}, with an interval from {low} to {high}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form).replace("-", "−")


def _rounded_up(share: float) -> float:
    """A share in whole hundredths."""
    return math.ceil(100 * share) / 100


def _on_most_rows(suites: tuple[SuiteFacts, ...], name: str) -> list[SuiteFacts]:
    """The evaluations with a suite that speak of a version, of each file of rows those on the most of them.

    Not the newest alone: whoever evaluates could go on with some of the rows, or with rows of their own, until the figure is low
    enough.
    """
    speaking = [suite for suite in suites if suite.suite == name and not suite.stale and not suite.is_screen]
    most: dict[Digest | None, int] = {}
    for suite in speaking:
        most[suite.data] = max(suite.rows, most.get(suite.data, 0))
    return [suite for suite in speaking if suite.rows == most[suite.data]]


def _change_of(suite: SuiteFacts, group: str | None) -> FlaggedChange | None:
    """The change of a group, None for all items; None where none is known."""
    return next((change for change in suite.changes if change.slice == group), None)


def _of_statuses(facts: GateFacts, policy: GatePolicy) -> Iterator[Reason]:
    remedy = (
        f"`registry record verdict {facts.label}` says why; answer with `registry decide {facts.label} --form gaps.yml`"
    )
    for status in facts.statuses:
        if status.status in policy.refused_statuses:
            named = status.status if status.basis is None else f"{status.status} ({status.basis})"
            told = f"{status.words}: {named}" if status.words else named
            rule: Rule = "art5" if status.status in _WITHOUT_DECISIONS else "status"
            yield Reason(rule=rule, text=f"the indicative status is {told}", remedy=remedy)
        if policy.status_decided and status.missing:
            what = "the model" if status.table == "gpai_modifier" else "the system"
            text = f"the status of {what} is open: {'; '.join(status.missing)}"
            yield Reason(rule="undecided-status", text=text, remedy=remedy)


def _of_decisions(facts: GateFacts, named: str) -> Iterator[Reason]:
    """Decisions that do not count any more: without them the status may be milder than a person found it."""
    decided = {decision.question for decision in facts.decisions if not decision.objection}
    for decision in facts.decisions:
        if decision.objection and decision.question not in decided:
            text = f"a decision does not count: {decision.objection} ({decision.text})"
            command = f"registry decide {facts.label} --on {decision.question} --outcome yes|no"
            remedy = f"decide again: `{command} --policy {named} --reason TEXT --key FILE`"
            yield Reason(rule="undecided-status", text=text, remedy=remedy)


def _of_approvals(
    facts: GateFacts, rule: ApprovalRule, waived_by: tuple[frozenset[str], ...], named: str
) -> Iterator[Reason]:
    objections = []
    makers = {folded(maker) for maker in facts.makers}
    persons: dict[str, str] = {}  # two keys of one person count once, and so do two spellings of one name
    for vote in facts.votes:
        if vote.objection:
            objections.append(f"that of {vote.person} does not count: {vote.objection}")
        elif rule.by_others and folded(vote.person) in makers:
            objections.append(f"that of {vote.person} does not count: a key of theirs made the version")
        else:
            persons.setdefault(folded(vote.person), vote.person)
    for person in sorted(spoke_twice(waived_by, frozenset(persons))):
        # whoever waived what is wrong with it has spoken for it once already
        objections.append(
            f"that of {persons.pop(person)} does not count: nobody else waived what is wrong with the version"
        )
    if len(persons) < rule.count:
        had = f"needs {rule.count} approvals, has {len(persons)}" + (
            f" ({', '.join(sorted(persons.values()))})" if persons else ""
        )
        text = "; ".join((had, *dict.fromkeys(objections)))  # whoever approved twice is told once
        yield Reason(
            rule="approvals",
            text=text,
            remedy=f"`registry gate approve {facts.label} --policy {named} --reason TEXT --key FILE`",
        )


def _says_something(suite: SuiteFacts) -> bool:
    return any(conclusion in _INFORMATIVE for group, conclusion in suite.conclusions if group is None) or (
        not suite.conclusions  # a suite of quality has no conclusion and says its figures
    )


def _listed(suites: list[SuiteFacts]) -> str:
    return ", ".join(suite.suite for suite in suites)
