"""Some rows of a suite, chosen by a seed: for a quick look. What belongs together is chosen together, and the record says so."""

import random

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.evaluation.suites import LoadedSuite


class LimitRefused(InputRefused):
    reference = "limit-refused"
    what = "{limit} rows cannot be evaluated"
    why = "a selection needs at least one row"
    fix = "give --limit a number from 1 on, or leave it out for all rows"

    limit: int


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
    dataset = used.revised(
        rows_used=len(chosen),
        selection=f"{len(chosen)} of {used.rows_used} rows, whole units, shuffled with seed {seed}",
        selection_ids_sha256=ids_digest(chosen),
        excluded=used.excluded | {"not selected": used.rows_used - len(chosen)},
    )
    return suite.only(frozenset(chosen), dataset)
