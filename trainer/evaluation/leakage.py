"""The items of an evaluation that occur in what a model was trained on."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from peft_registry.registry.evaluation.leakage import LIMIT, is_beyond
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import ComparedTexts, LeakageCheck, LeakedItems, NearTexts
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.nearness import (
    BEARABLE,
    EDITS,
    LEAST_RUNS,
    WORDS,
    Alikeness,
    Marks,
    Nearness,
    alikeness_of,
    is_accused,
    nearness_of,
)
from peft_registry.trainer.evaluation.quality import Answers
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask
from peft_registry.trainer.evaluation.text_hashes import ALL, FORM, TextHashes, marks_of, words_of

METHOD = code("exact_or_two_edits", edits=EDITS, runs=LEAST_RUNS, words=WORDS, bearable=BEARABLE)
# kinds of data sets that are like what was trained on: how alike its rows are says what a row is near to that was not among them
_OF_TRAINED_KIND = frozenset(("held_out", "answers"))


@dataclass(frozen=True, slots=True, eq=False)
class TrainedOn:
    """What a model was trained on, by training; the hashes of those whose texts are known."""

    trainings: tuple[ComparedTexts, ...] = ()
    hashes: tuple[TextHashes, ...] = ()

    def __add__(self, other: "TrainedOn") -> "TrainedOn":
        return TrainedOn((*self.trainings, *other.trainings), (*self.hashes, *other.hashes))

    def look_for(self, texts: Sequence[str], marks: Sequence[Marks] | None = None) -> list[Nearness]:
        """How near each text is to the training that it is nearest to, each searched by texts that are folded as its own were.

        `marks` are those of the texts in the newest form, where they are there already.
        """
        of_form = {} if marks is None else {FORM: marks}
        found = [Nearness(0) for _ in texts]
        for place, kept in enumerate(self.hashes):
            if kept.form not in of_form:
                of_form[kept.form] = [marks_of(text, kept.form) for text in texts]
            of_one = nearness_of(of_form[kept.form], kept.has, below=kept.below)
            found = of_one if place == 0 else [before | now for before, now in zip(found, of_one, strict=True)]
        return found

    @property
    def alike(self) -> Alikeness | None:
        """How alike the texts of the training are that has the most that are alike; None where that is not known of one of them."""
        known = [kept.alike for kept in self.hashes if kept.alike is not None]
        if not known or len(known) < len(self.hashes):
            return None
        return max(known, key=lambda alike: (alike.accuses_from is None, alike.accuses_from or 0, alike.near_share))


def known_training(label: str, hashes: TextHashes, digest: Digest | None = None) -> TrainedOn:
    """A training whose texts are known; `digest` is that of the kept object."""
    status = "compared" if hashes.below == ALL else "sampled"
    return TrainedOn((ComparedTexts(training=label, status=status, hashes=digest),), (hashes,))


def unknown_training(label: str, reason: Code) -> TrainedOn:
    """A training whose texts are not known."""
    return TrainedOn((ComparedTexts(training=label, status="unknown", reason=reason),))


@dataclass(frozen=True, slots=True, eq=False)
class OtherTexts:
    """The texts of a guard, of what is to be retained, of held-out rows, or of rows that are answered in words."""

    name: str
    kind: str  # as in `LeakedItems`
    texts: Sequence[str]


def check_leakage(trained: TrainedOn, suites: Sequence[LoadedSuite], others: Sequence[OtherTexts] = ()) -> LeakageCheck:
    """What of the suites and of the other texts was trained on."""
    hits = 0
    entries: list[LeakedItems] = []
    leaked: list[frozenset[str]] = []
    for suite in suites:
        names, texts = _texts_of(suite)
        clusters = suite.clusters
        looked = _look_for(trained, texts, [clusters[name] for name in names])
        accused = {name for name, is_accused in zip(names, looked.accused, strict=True) if is_accused}
        hits += len({text for text, is_accused in zip(texts, looked.accused, strict=True) if is_accused})
        seen = {name for name, nearness in zip(names, looked.nearness, strict=True) if nearness.is_looked_for}
        together = _with_unit(suite, accused)
        leaked.append(together)
        every = [name for name, _ in suite.units]
        entry = looked.entry(suite.dataset.name, "suite")
        unchecked = len([name for name in every if name not in seen])
        entries.append(entry.revised(items=len(every), hits=len(together), unchecked=unchecked))
    for other in others:
        looked = _look_for(trained, other.texts, None if other.kind in _OF_TRAINED_KIND else range(len(other.texts)))
        entries.append(looked.entry(other.name, other.kind))
    check = LeakageCheck(
        method=METHOD,
        hits=hits,
        dataset_digest=_digest(suites),
        trainings=trained.trainings,
        datasets=tuple(entries),
        limit=LIMIT,
    )
    # beyond the limit nothing is concluded, and the comparison over all of them says best why
    named = [
        entry.revised(left_out=() if is_beyond(entry, check) else tuple(sorted(together)))
        for entry, together in zip(entries, leaked, strict=False)
    ]
    return check.revised(datasets=(*named, *entries[len(named) :]))


@dataclass(frozen=True, slots=True)
class _Looked:
    """What looking for the texts of a data set gave; `groups` of them are independent of each other.

    `is_known`: the texts of a training were there to look in.
    """

    nearness: Sequence[Nearness]
    alike: Alikeness | None
    groups: int
    is_known: bool

    @property
    def accused(self) -> list[bool]:
        """Which texts were trained on."""
        return [is_accused(one, self.alike) for one in self.nearness]

    @property
    def score(self) -> NearTexts:
        """How near the texts are, in counts; each is counted once, where it is nearest."""
        of_rest = [one for one, is_accused in zip(self.nearness, self.accused, strict=True) if not is_accused]
        exact = sum(one.is_exact for one in self.nearness)
        alike = self.alike
        return NearTexts(
            texts=len(self.nearness),
            exact=exact,
            within_two_edits=len(self.nearness) - len(of_rest) - exact,
            near=sum(one.is_near for one in of_rest),
            groups=self.groups,
            two_edits_from=None if alike is None else alike.accuses_from,
            reference_texts=0 if alike is None else alike.rows,
            reference_near=0 if alike is None else alike.near,
        )

    def entry(self, name: str, kind: str) -> LeakedItems:
        return LeakedItems.of_known(
            dataset=name,
            kind=kind,
            items=len(self.nearness),
            hits=sum(self.accused),
            unchecked=sum(not one.is_looked_for for one in self.nearness),
            near=self.score if self.is_known else None,
        )


def _look_for(trained: TrainedOn, texts: Sequence[str], groups: Sequence[Hashable] | None) -> _Looked:
    """Look for texts; how alike their kind is follows from those of different groups, and without groups from the trainings."""
    if not trained.hashes:
        return _Looked(trained.look_for(texts), None, len(texts), is_known=False)
    if groups is None:
        return _Looked(trained.look_for(texts), trained.alike, len(texts), is_known=True)
    marks = [marks_of(text) for text in texts]
    return _Looked(trained.look_for(texts, marks), alikeness_of(marks, groups), len(set(groups)), is_known=True)


def _texts_of(suite: LoadedSuite) -> tuple[list[str], list[str]]:
    """The row of each text that a suite asks, and the text; each text of a row once."""
    asked = dict.fromkeys(
        (name, _text_asked(request.context, request.continuation))
        for name, request in zip(_rows_of_requests(suite), suite.requests, strict=True)
    )
    return [name for name, _ in asked], [text for _, text in asked]


def asked_texts(answers: Answers) -> list[str]:
    """What rows that are answered in words, or by a choice, are looked for by."""
    return [_text_asked(row.prompt, f" {row.references[0]}") for row in answers.rows]


def texts_of_task(task: BenchmarkTask) -> list[str]:
    """What the rows of a task are looked for by: question and right answer, without the examples before them."""
    return [_text_asked(row.question, f" {row.answer}") for row in task.rows]


def _text_asked(context: str, continuation: str) -> str:
    """The part of a question that is its own: answers of a few words, which many rows share, are left out."""
    if context and len(words_of(continuation)) < WORDS <= len(words_of(context)):
        return context
    return context + continuation


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


def _digest(suites: Sequence[LoadedSuite]) -> Digest:
    """The digest of the one file, or of the sorted digests of several, one a line."""
    digests = sorted(str(suite.dataset.sha256) for suite in suites)
    return Digest.parse(digests[0]) if len(digests) == 1 else Digest.of("".join(f"{d}\n" for d in digests).encode())
