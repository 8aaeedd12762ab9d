"""`docs/explanation/intervals.md`: which interval stands beside which figure, and how often each kind covers what it should."""

import json
from pathlib import Path

from docs.measured.coverage import Row
from docs.tables import table
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.intervals import (
    FEW,
    MIN_CLUSTERS_OF_A_MEAN,
    MIN_CLUSTERS_OF_A_SHARE,
)
from peft_registry.registry.evaluation.over_seeds import MIN_ITEMS, MIN_ROWS, MIN_SEEDS
from peft_registry.registry.evaluation.sign_flips import clusters_needed

HEAD = """\
# How intervals were checked

Generated from `docs/measured/coverage.json`, which `python -m docs.measured.coverage` makes. An interval of 95 % holds the true
value in 95 of 100 data sets like this one, or it misleads. Each kind was tried on data whose true value is known, at the smallest
number that it is printed for: mean coverage over the true values must be at least 94 %, and at none of them below 90 %.
A figure with less says `no interval: 8 clusters (an item alone, or items that belong together), needs 10`, and what needs the
interval is undecided.

## Which interval stands where
"""
INTERVALS = (
    (
        "share: rates, accuracies, `fix_rate`, exact match",
        "independent",
        f"Wilson; Clopper-Pearson below {FEW} hits or misses",
        "1 item",
    ),
    (
        "share",
        "in clusters",
        "Korn-Graubard: Clopper-Pearson of the effective number of items, from the delete-one-cluster jackknife",
        f"{MIN_CLUSTERS_OF_A_SHARE} clusters",
    ),
    (
        "change of a share: `net_change`, `opposite`, gaps, `s_amb`",
        "either",
        "the changes that sign flips of whole clusters do not reject (Hartigan 1969); where fewer moved, exact "
        "bounds of the shares that went up and down",
        f"{clusters_needed(0.05)} clusters or items",
    ),
    (
        "mean: margins, divergences, losses and their changes, F1; perplexity is e to it",
        "either",
        "Student's t of the jackknife, widened for skewness by Hall's transformation",
        f"{MIN_CLUSTERS_OF_A_MEAN} clusters or rows, counted by how evenly they weigh",
    ),
    ("mean over seeds: times, what was forgotten", "seeds", "Student's t", f"{MIN_SEEDS} seeds"),
    (
        "share over seeds: what was fixed, over-corrected, introduced in a comparison",
        "the same items in every seed",
        "Korn-Graubard, of the variance of items and that of seeds",
        f"{MIN_SEEDS} seeds, {MIN_ITEMS} items",
    ),
    (
        "ratio over seeds: one method's improvement of another's",
        "the same rows in every seed",
        "Student's t of the jackknife over rows and over seeds, widened for skewness of the rows as above",
        f"{MIN_SEEDS} seeds, {MIN_ROWS} rows",
    ),
)
"""Of each figure: what its items are, its interval, and the least number that it is printed for."""
EDITIONS = f"""\
Every record names the method of each interval, and in `extra.statistics.figures` the edition that computed them: these are of
edition {FIGURES}. Editions 1 to 3 drew clusters with replacement and took percentiles, which the last rows below show to be too
short; their records are recomputed by their own rules for as long as they exist.
Where fewer than {FEW} clusters hold a hit, or a miss, they do not show how alike the items of one cluster are: a cluster then
counts as one item.
Intervals of a change are not in the table below: how often they hold the true change, and how wide they are, was measured on each
suite's own items, clusters and margins: [what each suite can show](operating-characteristics.md).

`icat`, `accuracy_gap` and the correlations have no interval: they are computed from figures that have one, or have none.
"""
COVERAGE = """\
## Coverage

The conditions are those of the suites: their clusters, items of which up to 0.3 of the variance is their cluster's, shares of 2 to
98 %, values from symmetric to very skewed. `exact`: a sum over all data that can occur.
"""


def coverage_rows(path: Path) -> tuple[Row, ...]:
    """The kept rows of the simulation."""
    return tuple(Row(**row) for row in json.loads(path.read_text("utf-8")))


def coverage_page(path: Path) -> str:
    """The page, from the kept rows."""
    lines = [
        HEAD,
        *table(("Figure", "Items", "Interval", "Needs"), INTERVALS),
        "",
        EDITIONS,
        COVERAGE,
        *table(
            ("Kind", "Under", "Mean", "Minimum", "Lowest at", "Holds"), [_cells(row) for row in coverage_rows(path)]
        ),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.kind,
        row.condition + (", exact" if row.exact else ""),
        f"{100 * row.mean:.1f} %",
        f"{100 * row.minimum:.1f} %",
        row.lowest_at,
        "yes" if row.holds else "no",
    )
