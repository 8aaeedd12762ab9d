"""The items of an evaluation that occur in what a model was trained on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.leakage import LEFT_OUT, LIMIT, left_out_of
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import ComparedTexts, LeakageCheck, LeakedItems
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.text_hashes import ALL, FORM, WORDS, TextHashes, runs_of_item, words_of

SHARE = 0.5  # of an item's runs
METHOD = code("runs_of_words", share=SHARE, words=WORDS)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedOn:
    """What a model was trained on, by training; the hashes of those whose texts are known."""

    trainings: tuple[ComparedTexts, ...] = ()
    hashes: tuple[TextHashes, ...] = ()

    def __add__(self, other: "TrainedOn") -> "TrainedOn":
        return TrainedOn((*self.trainings, *other.trainings), (*self.hashes, *other.hashes))

    def shares(self, texts: Sequence[str], *, of_one_form: bool = False) -> list[float | None]:
        """The share of each text's runs that occur in what was trained on; None where none of them can be looked for.

        `of_one_form` as in `OtherTexts`. Where trainings are kept in several forms, each is searched by its own, and the largest
        share counts.
        """
        forms = dict.fromkeys(kept.form for kept in self.hashes) or {FORM: None}
        of_each = [self._shares(form, texts, of_one_form=of_one_form) for form in forms]
        known = [[share for share in shares if share is not None] for shares in zip(*of_each, strict=True)]
        return [max(shares, default=None) for shares in known]

    def _shares(self, form: str, texts: Sequence[str], *, of_one_form: bool) -> list[float | None]:
        """The shares among the trainings that are kept in one form."""
        runs = [runs_of_item(text, form) for text in texts]
        if of_one_form:
            runs = _own_runs(runs)
        flat = np.asarray([run for several in runs for run in several], dtype=np.uint64)
        matches = np.zeros(len(flat), dtype=np.bool_)
        comparable = np.ones(len(flat), dtype=np.bool_)
        for kept in (hashes for hashes in self.hashes if hashes.form == form):
            matches |= kept.has(flat)
            comparable &= flat < kept.below
        comparable |= matches
        shares: list[float | None] = []
        start = 0
        for several in runs:
            stop = start + len(several)
            looked_for = int(comparable[start:stop].sum())
            shares.append(int(matches[start:stop].sum()) / looked_for if looked_for else None)
            start = stop
        return shares


def _own_runs(runs: Sequence[list[int]]) -> list[list[int]]:
    """Of each text the runs that no other one has; all of them where it has none of its own, as a text that is there twice."""
    texts_with = Counter(run for of_text in runs for run in set(of_text))
    return [[run for run in of_text if texts_with[run] == 1] or of_text for of_text in runs]


def known_training(label: str, hashes: TextHashes, digest: Digest | None = None) -> TrainedOn:
    """A training whose texts are known; `digest` is that of the kept object."""
    status = "compared" if hashes.below == ALL else "sampled"
    return TrainedOn((ComparedTexts(training=label, status=status, hashes=digest),), (hashes,))


def unknown_training(label: str, reason: Code) -> TrainedOn:
    """A training whose texts are not known."""
    return TrainedOn((ComparedTexts(training=label, status="unknown", reason=reason),))


@dataclass(frozen=True, slots=True, eq=False)
class OtherTexts:
    """The texts of a guard, of what is to be retained, or of held-out rows.

    `of_one_form`: they are made by a template, so that each is looked for by those of its runs that no other one has.
    """

    name: str
    kind: str  # as in `LeakedItems`
    texts: Sequence[str]
    of_one_form: bool = False


def check_leakage(
    trained: TrainedOn, suites: Sequence[LoadedSuite], others: Sequence[OtherTexts] = ()
) -> tuple[LeakageCheck, tuple[LoadedSuite, ...]]:
    """What of the suites and of the other texts was trained on, and the suites without those items, where they are few."""
    hits = 0
    entries: list[LeakedItems] = []
    leaked: list[frozenset[str]] = []
    for suite in suites:
        names, texts = _texts_of(suite)
        shares = trained.shares(texts)
        hits += len({text for text, share in zip(texts, shares, strict=True) if _is_hit(share)})
        direct = {name for name, share in zip(names, shares, strict=True) if _is_hit(share)}
        seen = {name for name, share in zip(names, shares, strict=True) if share is not None}
        together = _with_unit(suite, direct)
        leaked.append(together)
        every = [name for name, _ in suite.units]
        entries.append(
            LeakedItems(
                dataset=suite.dataset.name,
                kind="suite",
                items=len(every),
                hits=len(together),
                unchecked=len([name for name in every if name not in seen]),
            )
        )
    for other in others:
        shares = trained.shares(other.texts, of_one_form=other.of_one_form)
        entries.append(
            LeakedItems.of_known(
                dataset=other.name,
                kind=other.kind,
                items=len(shares),
                hits=sum(map(_is_hit, shares)),
                unchecked=shares.count(None),
            )
        )
    check = LeakageCheck(
        method=METHOD,
        hits=hits,
        dataset_digest=_digest(suites),
        trainings=trained.trainings,
        datasets=tuple(entries),
        limit=LIMIT,
    )
    left_out = left_out_of(check)
    kept = (
        _without(suite, names) if left_out[suite.dataset.name] else suite
        for suite, names in zip(suites, leaked, strict=True)
    )
    return check, tuple(kept)


def _is_hit(share: float | None) -> bool:
    return share is not None and share >= SHARE


def _texts_of(suite: LoadedSuite) -> tuple[list[str], list[str]]:
    """The row of each text that a suite asks, and the text; each text of a row once."""
    asked = dict.fromkeys(
        (name, _text_of(request)) for name, request in zip(_rows_of_requests(suite), suite.requests, strict=True)
    )
    return [name for name, _ in asked], [text for _, text in asked]


def _text_of(request: Request) -> str:
    """The part of a question that is its own: answers of a few words, which many rows share, are left out."""
    if request.context and len(words_of(request.continuation)) < WORDS <= len(words_of(request.context)):
        return request.context
    return request.context + request.continuation


def _rows_of_requests(suite: LoadedSuite) -> Iterator[str]:
    rows = getattr(suite, "rows", None)
    if rows is not None:
        return (row.id for row in rows for _ in row.requests)
    each = len(suite.requests) // max(1, len(suite.units))
    return (name for name, _ in suite.units for _ in range(each))


def _with_unit(suite: LoadedSuite, names: set[str]) -> frozenset[str]:
    """The rows, and those that are judged together with them."""
    units = {unit for name, unit in suite.units if name in names}
    return frozenset(name for name, unit in suite.units if unit in units)


def _without(suite: LoadedSuite, names: frozenset[str]) -> LoadedSuite:
    kept = [name for name, _ in suite.units if name not in names]
    used = suite.dataset
    dataset = used.revised(
        rows_used=len(kept),
        selection_ids_sha256=ids_digest(kept),
        excluded=used.excluded | {LEFT_OUT.code: used.rows_used - len(kept)},
    )
    return suite.only(frozenset(kept), dataset)


def _digest(suites: Sequence[LoadedSuite]) -> Digest:
    """The digest of the one file, or of the sorted digests of several, one a line."""
    digests = sorted(str(suite.dataset.sha256) for suite in suites)
    return Digest.parse(digests[0]) if len(digests) == 1 else Digest.of("".join(f"{d}\n" for d in digests).encode())
