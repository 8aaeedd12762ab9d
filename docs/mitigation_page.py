"""`docs/explanation/mitigation.md`: what training against stereotypes changed, from a kept result. No figure is typed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from docs.measured.mitigation import DOSE_SEED, EPOCHS, METHODS, RATES, SEEDS, Arm, Dose, Kept, kept, rows
from docs.tables import table
from peft_registry.registry.evaluation.aggregate import NEUTRAL_LOSS_RATIO
from peft_registry.registry.evaluation.directions import ALPHA, MARGIN, Circumstances, conclude
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.states import STATES
from peft_registry.registry.evaluation.statistics import holm
from peft_registry.registry.reports.text import MINUS, number
from peft_registry.schemas.evaluation import Comparison, Interval

MOVED = ("better", "turned_over", "worse")  # conclusions about a flagged share that changed
HEAD = """\
# Training against stereotypes: what was tried, and what changed

Generated from `docs/measured/mitigation.json`, which `python -m docs.measured.mitigation FOLDER BASE` makes on
SmolLM2-135M-Instruct. [How to do the same](../how-to/mitigate-bias.md) shows the commands. The plan stood in
`docs/measured/mitigation.py` before any model was scored on the test half, and every training that was scored is below.

The models were trained on {trained} sentences: from each pair of the development half of `house` in which the base prefers the
stereotype, the sentence that contradicts it. One template of each axis was held out. They were tested on the test half: {items}
pairs in {templates} templates, none of which was trained on. If a training changes nothing, the scores before and after are
exchangeable within a template; so the test flips the signs of whole templates.
"""
UNFINISHED = """\
**{done} of {planned} trainings are measured.** The command measures the others when it is typed again; until then this page draws
no conclusion about them.
"""
DOSES = """\
## The dose

The dose was chosen with LoRA and seed {seed} on the {pairs} pairs of the held-out templates; no model was scored on the test half
for it. A training of 3 epochs at 0.001 was ended before it was scored, because one epoch at that rate had already raised the loss
of neutral text too much.
"""
METHODS_TOGETHER = """\
## Each method, its seeds together

The primary endpoint is the change of the flagged share on the test half over all trainings of a method, with a p that is
corrected for {methods} methods (Holm). *Learned* is the share of held-out pairs whose counter-stereotyped sentence is the likelier
one, a mean over seeds; where it did not rise, the method did not learn what it was taught and is `not testable`. `better` also
requires that the opposite share rose by less than {margin:g} points, that the loss of neutral text rose by at most {neutral:g} %,
and that random adapters of the same size have no such effect. The intervals are over templates; they do not cover the choice of
the seeds.
"""
MATRICES = """\
## What became of the items

The items of the test half over all seeds of a method: how many moved from each state before to each state after.
"""
RUNS = """\
## Every training

The conclusion is that of the training's signed record. For `better` it requires that p, multiplied by the number of seeds that
were begun, is at most {alpha:g}. The record judges the test half alone and does not know what was learned. So a training that
learned nothing can be `unchanged` here, while its method is `not testable` above, where *learned* decides first.
"""


def mitigation_page(path: Path) -> str:
    """The page, from the kept result."""
    found = kept(path)
    asked = rows()
    planned = len(METHODS) * SEEDS
    lines = [
        HEAD.format(trained=len(asked.trained), items=asked.tested, templates=asked.templates_tested),
        *([] if len(found.arms) == planned else [UNFINISHED.format(done=len(found.arms), planned=planned)]),
        DOSES.format(pairs=len(asked.pairs), seed=DOSE_SEED),
        *table(
            ("epochs", "rate", "flagged", "opposite", "loss of neutral text", "chosen"),
            [_dose_row(dose) for dose in found.doses],
        ),
        *(_results(found) if found.arms else ()),
    ]
    return "\n".join(lines) + "\n"


def _results(found: Kept) -> Iterator[str]:
    """The sections about the trainings that are measured."""
    judged = judged_methods(found)
    yield ""
    yield METHODS_TOGETHER.format(
        methods=len(judged), margin=100 * MARGIN, neutral=round(100 * (NEUTRAL_LOSS_RATIO - 1), 3)
    )
    yield from table(
        ("method", "seeds", "learned", "flagged share, points", "opposite share, points", "neutral text", "conclusion"),
        [_method_row(method, found, comparison) for method, comparison in judged.items()],
    )
    yield ""
    yield _answer(judged)
    yield ""
    yield MATRICES
    yield from table(
        ("method", "before", *(f"{state} after" for state in STATES)),
        [
            [method, before, *(str(comparison.transition_matrix[before][after]) for after in STATES)]
            for method, comparison in judged.items()
            for before in STATES
        ],
    )
    yield ""
    yield RUNS.format(alpha=ALPHA)
    yield from table(
        (
            "method, seed",
            "learned",
            "flagged share, points",
            "p",
            "opposite share, points",
            "loss of neutral text",
            "conclusion",
        ),
        [_run_row(arm) for arm in found.arms],
    )


def judged_methods(found: Kept) -> Mapping[str, Comparison]:
    """The pooled comparison of each method with its conclusion."""
    comparisons = {one.method: Comparison.from_json(dict(one.comparison)) for one in found.pooled}
    placebos = {one.method: Comparison.from_json(dict(one.placebo)) for one in found.pooled}
    raw = [1.0 if one.test is None or one.test.p_raw is None else one.test.p_raw for one in comparisons.values()]
    judged = {}
    for (method, unadjusted), p in zip(comparisons.items(), holm(raw), strict=True):
        arms = [arm for arm in found.arms if arm.method == method]
        test = unadjusted.test
        assert test is not None, "every comparison of this edition has a test"
        p_holm = None if test.p_raw is None else p
        comparison = unadjusted.revised(test=test.revised(p_holm=p_holm, family_size=len(raw)))
        if learned_share(arms, 1) <= learned_share(arms, 0):
            reason = "the trainings did not teach what they were meant to (see *learned*)"
            judged[method] = comparison.revised(conclusion="not_testable", conclusion_reason=reason)
            continue
        before, after = (fmean(arm.neutral_loss[side] for arm in arms) for side in (0, 1))
        circumstances = Circumstances(confounded=after > NEUTRAL_LOSS_RATIO * before)
        judged[method] = conclude(comparison, placebos[method], circumstances)
    return judged


def learned_share(arms: Sequence[Arm], side: int) -> float:
    """Of the held-out pairs whose counter-stereotyped sentence is the likelier one, before (0) or after (1): a mean over seeds."""
    return fmean(arm.learned[side] / arm.learned[2] for arm in arms)


def _answer(judged: Mapping[str, Comparison]) -> str:
    moved = [method for method, comparison in judged.items() if comparison.conclusion in MOVED]
    better = [method for method in moved if judged[method].conclusion == "better"]
    if not moved:
        return (
            "**No method changed the flagged share** over its seeds, so these trainings judge no claim about the share of bias "
            "that a method fixes. An `inconclusive` names the change that so many items would have shown. The conclusion of a "
            "single training, below, was not the endpoint of the plan: among that many, the best looks good by chance."
        )
    changed = f"**{', '.join(moved)} changed the flagged share of the test half"
    return f"{changed}; {', '.join(better) or 'none'} for the better.**"


def _dose_row(dose: Dose) -> list[str]:
    taken = (dose.epochs, dose.rate) == (EPOCHS, RATES["lora"])
    return [
        str(dose.epochs),
        f"{dose.rate:g}",
        f"{_arrow(*dose.flagged)} of {dose.items}",
        f"{_arrow(*dose.inverted)} of {dose.items}",
        _arrow(*(number(loss) for loss in dose.neutral_loss)),
        "yes" if taken else "",
    ]


def _method_row(method: str, found: Kept, comparison: Comparison) -> list[str]:
    arms = [arm for arm in found.arms if arm.method == method]
    learned = _arrow(*(f"{100 * learned_share(arms, side):.1f} %" for side in (0, 1)))
    losses = _arrow(*(number(fmean(arm.neutral_loss[side] for arm in arms)) for side in (0, 1)))
    return [method, str(len(arms)), learned, *_changes(comparison), losses, _conclusion(comparison)]


def _run_row(arm: Arm) -> list[str]:
    comparison = Comparison.from_json(dict(arm.comparison))
    before, after, asked = arm.learned
    flagged, opposite = _changes(comparison)
    p = "none" if comparison.test is None or comparison.test.p_raw is None else number(comparison.test.p_raw, 2)
    losses = _arrow(*map(number, arm.neutral_loss))
    run = f"{arm.method}, {arm.seed}"
    return [run, f"{_arrow(before, after)} of {asked}", flagged, p, opposite, losses, _conclusion(comparison)]


def _changes(comparison: Comparison) -> tuple[str, str]:
    """What the flagged and the opposite share changed by, in points, with their intervals."""
    opposite = comparison.opposite
    assert comparison.net_change is not None and opposite is not None, "of this edition"
    return _points(comparison.net_change, comparison.net_change_interval), _points(opposite.change, opposite.ci)


def _points(change: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" ({100 * interval.low:+.1f} … {100 * interval.high:+.1f})"
    return f"{100 * change:+.1f}{ends}".replace("-", MINUS)


def _conclusion(comparison: Comparison) -> str:
    return f"{comparison.conclusion.replace('_', ' ')}: {as_read(comparison.conclusion_reason)}"


def _arrow(before: object, after: object) -> str:
    return f"{before} → {after}"
