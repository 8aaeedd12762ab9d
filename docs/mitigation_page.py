"""`docs/explanation/mitigation.md`: what training against stereotypes changed, from a kept result. No figure is typed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from docs.measured.mitigation import DOSE_SEED, EPOCHS, METHODS, RATES, SEEDS, Arm, Dose, Kept, kept, rows
from docs.tables import table
from peft_registry.registry.evaluation.aggregate import NEUTRAL_LOSS_RATIO
from peft_registry.registry.evaluation.directions import MARGIN, Circumstances, conclude
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.states import STATES
from peft_registry.registry.evaluation.statistics import holm
from peft_registry.registry.reports.text import MINUS, number
from peft_registry.schemas.evaluation import Comparison, Interval

MOVED = ("better", "turned_over", "worse")  # words for a flagged share that changed
HEAD = """\
# Training against stereotypes: what was tried, and what it moved

Generated from `docs/measured/mitigation.json`, which `python -m docs.measured.mitigation FOLDER BASE` makes on
SmolLM2-135M-Instruct. [How to do the same](../how-to/mitigate-bias.md) shows the commands. The plan stood in
`docs/measured/mitigation.py` before the test half was asked, and every training that was scored is below.

Trained on: of each pair of the development half of `house` that the base flags, the sentence that contradicts the stereotype,
{trained} rows; one template of each axis is held out. Tested on: the test half, {items} pairs in {templates} templates, none of
which has a row. Before and after are exchangeable within a template, if nothing happened; the test flips signs of whole templates.
"""
UNFINISHED = """\
**{done} of {planned} trainings are measured.** The others go on where these stopped, when the command is typed again; until then
nothing is said about them.
"""
DOSES = """\
## The dose

Chosen on the {pairs} pairs of the held-out templates, LoRA, seed {seed}; the test half was not asked. A dose of 3 epochs at
0.001 was ended before it was scored, when the first epoch at that rate had cost too much of neutral text.
"""
METHODS_TOGETHER = """\
## Each method, its seeds together

The primary endpoint: what all trainings of a method together did to the flagged share of the test half, with a p that is
corrected for {methods} methods (Holm). *Learned* is asked of the held-out pairs, a mean over seeds; a method that did not learn
what it was taught is not testable. `better` also asks that the opposite share has risen by less than {margin:g} points, that
neutral text has not become less likely by more than {neutral:g} %, and that adapters at random of the same size do not do the same.
Seeds are three of many: the interval is over templates.
"""
MATRICES = """\
## What became of the items

The items of the test half, all seeds of a method together, from a state before to one after.
"""
RUNS = """\
## Every training

What the signed record of each training says, at p times the seeds that were begun, on a suite that its rows were compared with.
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
            ("epochs", "rate", "flagged", "opposite", "loss of neutral text", "taken"),
            [_dose_row(dose) for dose in found.doses],
        ),
        *(_results(found) if found.arms else ()),
    ]
    return "\n".join(lines) + "\n"


def _results(found: Kept) -> Iterator[str]:
    """What the trainings did, as far as they are measured."""
    judged = judged_methods(found)
    yield ""
    yield METHODS_TOGETHER.format(
        methods=len(judged), margin=100 * MARGIN, neutral=round(100 * (NEUTRAL_LOSS_RATIO - 1), 3)
    )
    yield from table(
        ("method", "seeds", "learned", "flagged share, points", "opposite share, points", "neutral text", "says"),
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
    yield RUNS
    yield from table(
        ("method, seed", "learned", "flagged share, points", "p", "opposite share, points", "neutral text", "says"),
        [_run_row(arm) for arm in found.arms],
    )


def judged_methods(found: Kept) -> Mapping[str, Comparison]:
    """The pooled comparison of each method with its word."""
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
            reason = "the trainings did not teach what they were meant to: see *learned*"
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
            "**No method moved the flagged share**, its seeds together, so no claim about the share of bias that a method fixes is "
            "judged by them. What each could have shown stands beside it. The word of a single training, below, is one of many: it "
            "was not the endpoint of the plan, and the best of them looks good by chance."
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
    return [method, str(len(arms)), learned, *_changes(comparison), losses, _says(comparison)]


def _run_row(arm: Arm) -> list[str]:
    comparison = Comparison.from_json(dict(arm.comparison))
    before, after, asked = arm.learned
    flagged, opposite = _changes(comparison)
    p = "none" if comparison.test is None or comparison.test.p_raw is None else number(comparison.test.p_raw, 2)
    losses = _arrow(*map(number, arm.neutral_loss))
    run = f"{arm.method}, {arm.seed}"
    return [run, f"{_arrow(before, after)} of {asked}", flagged, p, opposite, losses, _says(comparison)]


def _changes(comparison: Comparison) -> tuple[str, str]:
    """What the flagged and the opposite share changed by, in points, with their intervals."""
    opposite = comparison.opposite
    assert comparison.net_change is not None and opposite is not None, "of this edition"
    return _points(comparison.net_change, comparison.net_change_interval), _points(opposite.change, opposite.ci)


def _points(change: float, interval: Interval | None) -> str:
    ends = "" if interval is None else f" ({100 * interval.low:+.1f} … {100 * interval.high:+.1f})"
    return f"{100 * change:+.1f}{ends}".replace("-", MINUS)


def _says(comparison: Comparison) -> str:
    return f"{comparison.conclusion.replace('_', ' ')}: {as_read(comparison.conclusion_reason)}"


def _arrow(before: object, after: object) -> str:
    return f"{before} → {after}"
