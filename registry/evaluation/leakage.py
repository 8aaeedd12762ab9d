"""What must not be concluded, because the model was trained on what it is asked; and that in sentences.

Items that were trained on are left out of what is compared; the figures of a base are over all items, so that they do not depend on
what was trained beside it. Where they are more than a tenth of it, the others are suspect too (they
share templates and words with what was learnt): all stay in the table, and nothing is concluded about the suite.

Of the others nobody can say one by one that they were copied. Together they can be more alike to what was trained on than different
texts of their kind are to each other (`excess_of`): that is said, and the suite is not called better.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import LeakageCheck, LeakedItems, NearTexts

LIMIT = 0.10  # share of leaked items beyond which nothing is concluded about a data set
EXCESS = (
    3.0  # standard errors: one false word in 740 where texts are independent; splits that nobody leaked reached 2.3
)
LEFT_OUT = code("occurs_in_training")  # names in `DatasetUsed.excluded` the rows that were trained on


# what is not to be read out of a data set that was trained on, by its kind
_SO = {
    "suite": code("nothing_is_concluded"),
    "guard": code("shows_no_lost_capability"),
    "retention": code("loss_shows_nothing_retained"),
    "held_out": code("loss_shows_what_was_remembered"),
    "answers": code("answers_show_what_was_remembered"),
}


@dataclass(frozen=True, slots=True)
class Leaked:
    """Data sets about which nothing is concluded, with the reason; and why lost capability would not show, if it would not.

    `items` are the ids of those of each data set on which arms are not compared.
    """

    datasets: Mapping[str, Code] = field(default_factory=dict)
    guard: Code | None = None
    items: Mapping[str, frozenset[str]] = field(default_factory=dict)


NOT_LEAKED = Leaked()


def leaked_of(check: LeakageCheck | None) -> Leaked:
    """What a check of leakage leaves to conclude; everything where nothing was checked."""
    if check is None:
        return NOT_LEAKED
    beyond = [entry for entry in check.datasets if is_beyond(entry, check)]
    suites = {entry.dataset: _too_many(entry, check) for entry in beyond if entry.kind == "suite"}
    guards = [_too_many(entry, check) for entry in beyond if entry.kind == "guard"]
    guards += [
        code("too_many_not_looked_for", unchecked=entry.unchecked, items=entry.items, dataset=entry.dataset)
        for entry in check.datasets
        if entry.kind == "guard" and is_mostly_unchecked(entry, check)
    ]
    return Leaked(
        suites,
        code("lost_capability_would_not_show", because=guards[0]) if guards else None,
        {entry.dataset: frozenset(entry.left_out) for entry in check.datasets if entry.left_out},
    )


def beyond_limit(check: LeakageCheck | None) -> Iterator[tuple[LeakedItems, Code]]:
    """The data sets of which so much was trained on that their figures show what was seen before, each with the sentence."""
    if check is None:
        return
    for entry in check.datasets:
        if is_beyond(entry, check):
            yield entry, _consequence(entry, check)


def left_out_of(check: LeakageCheck | None) -> Mapping[str, int]:
    """On how many items of each suite nothing must have been compared."""
    if check is None:
        return {}
    suites = [entry for entry in check.datasets if entry.kind == "suite"]
    return {entry.dataset: 0 if is_beyond(entry, check) else entry.hits for entry in suites}


def left_out_of_table(check: LeakageCheck | None) -> Mapping[str, int]:
    """How many items of each suite must not be in the item table: none in records that name those which are not compared."""
    named = {entry.dataset for entry in check.datasets if entry.left_out is not None} if check is not None else set()
    return {name: 0 if name in named else count for name, count in left_out_of(check).items()}


def leakage_lines(check: LeakageCheck | None) -> Iterator[Code]:
    """What a reader must know of a check: data sets that were trained on, and trainings whose texts are not known."""
    if check is None:
        return
    for entry in check.datasets:
        if entry.hits:
            yield _consequence(entry, check)
        alike = more_alike_than_chance(entry)
        if alike is not None:
            yield alike
        if entry.unchecked:
            yield code("not_looked_for", unchecked=entry.unchecked, items=entry.items, dataset=entry.dataset)
    for training in check.trainings:
        if training.status == "unknown":
            yield code("trained_on_unknown", training=training.training, why=training.reason or "")


def leakage_status(check: LeakageCheck | None) -> tuple[str, ...]:
    """The check in few words: hits of each data set, and trainings that are not known."""
    if check is None:
        return ("not checked",)
    counts = [f"{entry.dataset}: {entry.hits} of {entry.items}" for entry in check.datasets]
    unknown = [f"{entry.training}: unknown" for entry in check.trainings if entry.status == "unknown"]
    return (*counts, *unknown) or (f"{check.hits} texts",)


def excess_of(near: NearTexts) -> float | None:
    """By how many standard errors more texts are near what was trained on than different ones of their kind are near each other.

    The pooled test of two shares. None where nothing is known of texts of their kind.
    """
    rest = near.texts - near.exact - near.within_two_edits
    if not near.reference_texts or not rest:
        return None
    # texts of one group are near or not together: groups are what is counted independently
    groups = near.groups * rest / near.texts
    reference_groups = min(near.reference_texts, near.groups) if near.groups < near.texts else near.reference_texts
    pooled = (near.near + near.reference_near) / (rest + near.reference_texts)
    variance = pooled * (1 - pooled) * (1 / groups + 1 / reference_groups)
    difference = near.near / rest - near.reference_near / near.reference_texts
    return difference / math.sqrt(variance) if variance else 0.0


def more_alike_than_chance(entry: LeakedItems) -> Code | None:
    """That the texts of a data set are more alike to what was trained on than chance makes them; None where they are not."""
    near = entry.near
    excess = None if near is None else excess_of(near)
    if near is None or excess is None or excess <= EXCESS:
        return None
    return code(
        "more_alike_than_chance",
        near=near.near,
        texts=near.texts - near.exact - near.within_two_edits,
        dataset=entry.dataset,
        reference=near.reference_near / near.reference_texts,
    )


def is_mostly_unchecked(entry: LeakedItems, check: LeakageCheck) -> bool:
    """Whether more items could not be looked for than may be hits: nobody knows then how many were trained on."""
    return check.limit is not None and entry.unchecked > check.limit * entry.items


def is_beyond(entry: LeakedItems, check: LeakageCheck) -> bool:
    """Whether so many items are hits that nothing is concluded about the data set."""
    # of items that could not be looked for nobody knows: a list of hashes that is full shows a sample
    return check.limit is not None and entry.hits > check.limit * (entry.items - entry.unchecked)


def _too_many(entry: LeakedItems, check: LeakageCheck) -> Code:
    return code("too_many_trained_on", hits=entry.hits, items=entry.items, dataset=entry.dataset, limit=check.limit)


def _consequence(entry: LeakedItems, check: LeakageCheck) -> Code:
    """What follows from the items of a data set that were trained on."""
    if is_beyond(entry, check):
        return code("trained_on_beyond", what=_too_many(entry, check), so=_SO[entry.kind])
    if entry.left_out is not None:
        return code("trained_on_not_compared", hits=entry.hits, items=entry.items, dataset=entry.dataset)
    if entry.kind == "suite":
        return code("trained_on_left_out", hits=entry.hits, items=entry.items, dataset=entry.dataset)
    return code("trained_on", hits=entry.hits, items=entry.items, dataset=entry.dataset)
