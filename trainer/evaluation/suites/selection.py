"""Some rows of a suite: one of its halves, its screen, or a few by a seed for a quick look. What belongs together is chosen
together, and the record says what was chosen."""

import random

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.halves import NOT_SELECTED, OFF_SCREEN, OTHER_HALF, half_of, half_text, screen_of
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Half, Part
from peft_registry.trainer.evaluation.suites import LoadedSuite


class LimitRefused(InputRefused):
    what = "{limit} rows cannot be evaluated"
    why = "a selection needs at least one row"
    fix = "give --limit a number from 1 on, or leave it out for all rows"

    limit: int


class EmptyHalf(InputRefused):
    what = "{half} of {suite} has no rows"
    why = "its {clusters} clusters are not parted, and all of them are in the other half"
    fix = "evaluate the whole suite: --half whole, or `evaluation: {{half: null}}` in the training file"

    suite: str
    half: str
    clusters: int


def part_of(suite: LoadedSuite, part: Part | None) -> LoadedSuite:
    """A half of the suite or its screen; the suite itself without one.

    Raises:
        EmptyHalf: there is nothing in it.
    """
    return screened(suite) if part == "screen" else halved(suite, part)


def screened(suite: LoadedSuite) -> LoadedSuite:
    """The screen of the suite: out of its development half the items that are the same for everybody; all of a half that is small.

    Raises:
        EmptyHalf: there is nothing in the development half.
    """
    units, clusters = dict(suite.units), suite.clusters
    half = halved(suite, "development")
    on_screen = screen_of(suite.dataset.name, {unit: clusters[name] for name, unit in units.items()})
    chosen = [name for name, unit in half.units if unit in on_screen]
    used = half.dataset
    dataset = used.revised(
        rows_used=len(chosen),
        selection=f"the screen, {len(chosen)} of {used.rows_used} rows of {half_text('development')}, the same for everybody",
        selection_ids_sha256=ids_digest(chosen),
        # written even where it is 0: a half so small that all of it is on the screen gives no verdict either
        excluded=used.excluded | {OFF_SCREEN.code: used.rows_used - len(chosen)},
    )
    return half.only(frozenset(chosen), dataset)


def halved(suite: LoadedSuite, half: Half | None) -> LoadedSuite:
    """One half of the suite, whole clusters; the suite itself without one.

    Raises:
        EmptyHalf: there is nothing in it.
    """
    if half is None:
        return suite
    used = suite.dataset
    clusters = suite.clusters
    chosen = [name for name, _ in suite.units if half_of(used.name, clusters[name]) == half]
    if not chosen:
        raise EmptyHalf(used.name, half_text(half), len(set(clusters.values())))
    dataset = used.revised(
        rows_used=len(chosen),
        selection=f"{half_text(half)}, {len(chosen)} of {used.rows_used} rows, whole clusters by digest",
        selection_ids_sha256=ids_digest(chosen),
        excluded=used.excluded | ({OTHER_HALF.code: rest} if (rest := used.rows_used - len(chosen)) else {}),
        half=half,
    )
    return suite.only(frozenset(chosen), dataset)


def limited(suite: LoadedSuite, limit: int | None, *, seed: int) -> LoadedSuite:
    """The suite with about `limit` rows, never fewer where there are as many: whole units in the order of a seeded shuffle.

    Raises:
        LimitRefused: the limit is below 1.
    """
    if limit is None:
        return suite
    if limit < 1:
        raise LimitRefused(limit)
    members: dict[str, list[str]] = {}
    for name, unit in suite.units:
        members.setdefault(unit, []).append(name)
    units = sorted(members)
    random.Random(seed).shuffle(units)  # noqa: S311  a sample, not a secret
    chosen: list[str] = []
    for unit in units:
        if len(chosen) >= limit:
            break
        chosen += members[unit]
    used = suite.dataset
    if len(chosen) == used.rows_used:
        return suite
    of_half = "" if used.half is None else f" of {half_text(used.half)}"
    dataset = used.revised(
        rows_used=len(chosen),
        selection=f"{len(chosen)} of {used.rows_used} rows{of_half}, whole units, shuffled with seed {seed}",
        selection_ids_sha256=ids_digest(chosen),
        excluded=used.excluded | {NOT_SELECTED.code: used.rows_used - len(chosen)},
    )
    return suite.only(frozenset(chosen), dataset)
