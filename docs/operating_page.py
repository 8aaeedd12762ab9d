"""The page of what each suite can show, from the rows that `docs/measured/operating.py` keeps. No figure is typed."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from docs.measured.operating import ALIKE, CHANGES, FEWER_RUNS, POINTS, RUNS, Row
from docs.tables import table
from peft_registry.registry.evaluation.directions import ALPHA
from peft_registry.registry.evaluation.power import POWER, WIDEST, operating_rows
from peft_registry.registry.evaluation.sign_flips import clusters_needed
from peft_registry.registry.reports.text import number, share
from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM

WIDER = 1.25  # than an interval of t that covers as it should, at most
HEAD = f"""\
# What each suite can show

Generated from `registry/evaluation/operating.json`, which `python -m docs.measured.operating` makes: the items and clusters of
each suite as an evaluation reads them, {RUNS} simulated comparisons a row ({FEWER_RUNS} for each shift at which the power was
looked for), and the product's own test (sign flips of whole clusters, two-sided, {ALPHA:g}) of whether the flagged share
changed. Of `house` the margins are those of SmolLM2-135M-Instruct; of the others they are normal and as wide, so that the rows
compare structures. Of StereoSet and BBQ how many items are compared depends a little on the answers.

Before and after are the same margins, each with changes of its own. The standard deviation of their difference is in dead
bands (one is 0.69 nats for pairs of sentences), and {share(ALIKE)} of its variance is the cluster's. How to read it:

- **rise, fall**: of comparisons in which nothing differs, how many are called a rise or a fall of the flagged share. Each
  may be {share(ALPHA / 2)}; two standard errors of the simulation are 1 %.
- **{", ".join(map(str, POINTS))} points**: how often a true rise by so many points of the whole set is found; less often
  in a group.
- **detectable**: the smallest rise, in points, that is found in {share(POWER)} of comparisons. A smaller one is often
  `inconclusive`, which then says something about the suite and nothing about the model.
- **covers, width**: how many of the 95 % intervals of the change hold the true one, where it is {POINTS[0]} points, and their
  median width in points. A test of the project asks for 93 % in each row.
- **t covers, t width**: the same of the interval of Student's t over clusters. Added harm lowers its lower bound, so it is not
  the product's. Where it covers 93 % and a word is given at all, a test asks that the product's is at most {WIDER:g} times as wide.

The test needs {clusters_needed(ALPHA)} clusters that moved. A part with fewer is `not testable`, whatever a model does:
evaluate the whole suite, or another one. Version 1 of `house` stands here for the records that name it. A screen is never
a verdict and has no row. Of a part of fewer than {ITEMS_FOR_A_CLAIM} items the figures are described and no word is given: its row
is that of the test alone.

`registry evaluate`, `train`, `compare` and `merge --evaluate` read these rows too, and say of each suite before it is scored
what it can show.

What no row shows: changes of mean zero that are skewed over templates (most unchanged, one or two moved far) are called a
change more often than that where there are few clusters.
"""


def kept_rows() -> tuple[Row, ...]:
    """The rows of the simulation that ship with the product."""
    return tuple(Row(**row | {"power": tuple(row["power"])}) for row in operating_rows())


def operating_page() -> str:
    """The page, from the kept rows."""
    lines = [HEAD, *_wider(kept_rows())]
    for suite, rows in groupby(kept_rows(), key=lambda row: row.suite):
        lines += [f"## {suite}", "", *_table(tuple(rows)), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _wider(rows: Sequence[Row]) -> Iterator[str]:
    """Where the product's interval is much wider than that of t, and why."""
    wide = [row for row in rows if row.width and row.width_of_t and row.width > WIDER * row.width_of_t]
    if not wide:
        return
    parts = dict.fromkeys(f"{row.suite} {row.part} ({row.items} items in {row.clusters} clusters)" for row in wide)
    covered = [row.covered_by_t or 0 for row in wide]
    yield f"More than {WIDER:g} times as wide as those of t are the intervals over {listed_labels(list(parts))}."
    yield "Often fewer clusters move there than the test needs, and then the exact bounds of so few items stand. Those of t cover"
    yield f"{share(min(covered))} to {share(max(covered))} there."
    yield ""


def _table(rows: Sequence[Row]) -> Iterator[str]:
    powers = [f"{points} points" for points in POINTS]
    heading = (
        "part",
        "items",
        "clusters",
        "changes of",
        "rise",
        "fall",
        *powers,
        "detectable",
        "covers",
        "width",
        "t covers",
        "t width",
    )
    yield from table(heading, [_cells(row) for row in rows if row.is_testable or row.change == CHANGES[0]])


def _cells(row: Row) -> list[str]:
    named = [row.part, str(row.items), str(row.clusters)]
    if row.covered is None or row.width is None:
        return [*named, "not testable", *[""] * (len(POINTS) + 7)]
    return [
        *named,
        number(row.change),
        share(row.wrong_rise),
        share(row.wrong_fall),
        *map(share, row.power),
        f"more than {WIDEST}" if row.detectable is None else number(row.detectable),
        share(row.covered),
        number(row.width),
        share(row.covered_by_t or 0),
        number(row.width_of_t or 0),
    ]
