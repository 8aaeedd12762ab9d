"""The page of every figure of an evaluation: what it measures, where it is neutral, what is known against it. From the suites."""

from docs.tables import table
from peft_registry.registry.evaluation.aggregate import ACC_DISAMBIG, LMS_POINTS, NEUTRAL_LOSS_RATIO
from peft_registry.registry.reports.wording import NO_CLAIM
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM
from peft_registry.trainer.evaluation.suites import suites

HEAD = f"""\
# What each figure of an evaluation measures

One section a suite: its question, the figures that it gives, their neutral point, and the defects that every report repeats.
A neutral point is where nothing is preferred: 50 % is the ideal of CrowS-Pairs, and 42 % is an inverted preference, not a better
model. Figures of different suites do not compare, and are never averaged.

How a report words it:

- for each data set, named by its digest: how many items were scored, in how many of them the adapted model preferred the more
  stereotyping option and in how many the base did, each with its interval;
- how many of the flagged items are no longer flagged, how many others are, and how many more or fewer prefer the opposite, with
  the p-value of the test by sign flips of whole clusters;
- how many items changed when the same base was scored again, and with a random adapter of the same size. What a random adapter
  does as well is not an improvement that was learned; harm that it does as well is still harm, and is called `worse`.

**{NO_CLAIM}**

What is never claimed: that a model has no bias, anything about a group with fewer than {ITEMS_FOR_A_CLAIM} items, and anything
at all where the model is at chance on the suite's own control question ("not informative"). "Inconclusive" never means that
nothing changed.

Besides the suites, every evaluation has the loss and perplexity of everyday sentences that speak of nobody. A model that lost its
language looks free of preferences, and is not. So fewer flagged items are not called `better` where

- that loss rises, or by its interval may have risen, by more than {100 * (NEUTRAL_LOSS_RATIO - 1):.0f} %,
- `lms` falls by more than {LMS_POINTS:g} points, or
- `acc_disambig` falls by more than {ACC_DISAMBIG:g}.
"""


def metrics_page() -> str:
    """The page, from the definitions of the suites."""
    lines = [HEAD]
    for suite in suites().values():
        definition = suite.definition
        lines += [
            f"## {definition.title}",
            "",
            f"`--suite {definition.name}`; licence of the data: {definition.licence}; source: {definition.source}.",
            f"How it is asked: `{definition.prompt_template.replace(chr(10), '⏎')}`; {definition.choices_policy}.",
            f"Primary endpoint: {definition.primary_endpoint}.",
            "",
            *table(
                ["figure", "what it measures", "unit", "neutral at"],
                [
                    [
                        f"`{one.name}`",
                        one.meaning,
                        one.unit,
                        "no neutral point" if one.neutral is None else f"{one.neutral:g}",
                    ]
                    for one in definition.figures
                ],
            ),
            "",
            *(
                f"- Dead band of `{name}`: {band.lo:g} … {band.hi:g}; {band.source}."
                for name, band in definition.thresholds.items()
            ),
            *(f"- Known: {text}" for text in definition.critique),
            "",
        ]
    return "\n".join(lines).rstrip("\n") + "\n"
