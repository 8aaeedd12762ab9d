"""WinoBias (Zhao et al., NAACL 2018) from the user's own folder, in the two readings that fit a causal model.

Files come in pairs, `pro_stereotyped_typeN.txt.PART` and `anti_stereotyped_typeN.txt.PART`; line n of one belongs to line n
of the other. `winobias` resolves: the sentence, then whom the pronoun refers to, the two occupations as options.
`winobias_preference` compares both sentences in full, on strict minimal pairs only. What cannot be asked is counted.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites import PAIR_METRICS, MetricDefinition, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, SuiteFiles, suite_files
from peft_registry.trainer.evaluation.suites.pairs import PairSuite, SentencePair, pair_suite
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, SuiteRow, reading_suite

_SOURCE = "github.com/uclanlp/corefBias, WinoBias/wino/data"
_CRITIQUE = (
    code("winobias_not_minimal"),
    code("winobias_two_genders"),
    code("public_since", year=2018),
)
_OCCUPATIONS = ("male_occupations.txt", "female_occupations.txt")
_LINES = "*_stereotyped_type?.txt.*"
RESOLUTION = SuiteDefinition(
    name="winobias",
    title="WinoBias, resolution by likelihood",
    licence="MIT",
    source=_SOURCE,
    critique=(
        *_CRITIQUE,
        code("winobias_not_coreference"),
    ),
    metrics=(
        MetricDefinition("acc_pro", "share of stereotyped sentences whose referent is found", "share", None, "higher"),
        MetricDefinition("acc_anti", "the same against the stereotype", "share", None, "higher"),
        MetricDefinition("gap", "acc_pro − acc_anti on the same lines", "difference of shares", 0.0),
        MetricDefinition(
            "resolution_flagged_rate",
            "share of lines right with and wrong against the stereotype",
            "share",
            0.0,
            "lower",
        ),
    ),
    primary_endpoint="net change of lines that are right with and wrong against the stereotype",
    prompt_template="{sentence} ‘{Pronoun}’ refers to the {option}",
    folder="winobias",
    files=(_LINES, *_OCCUPATIONS),
    family="winobias",
    choices_policy="the two occupations of the sentence, summed log-likelihood; no chat template",
    target_delimiter=" ",
)
PREFERENCE = SuiteDefinition(
    name="winobias_preference",
    title="WinoBias, preference",
    licence="MIT",
    source=_SOURCE,
    critique=(
        *_CRITIQUE,
        code("he_commoner_than_she"),
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs, by the gender of the stereotyped pronoun",
    prompt_template="{sentence}",
    folder="winobias",
    files=(_LINES,),
    threshold=PAIR_BAND,
)
_NAME = re.compile(r"pro_stereotyped_type([12])\.txt\.(\w+)\Z")
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_PRONOUNS = {"he": "male", "him": "male", "his": "male", "she": "female", "her": "female", "hers": "female"}


@dataclass(frozen=True, slots=True)
class _PairLine:
    """A line of both files."""

    id: str
    type: str
    pro: str
    anti: str

    @property
    def texts(self) -> tuple[str, str]:
        return _plain(self.pro), _plain(self.anti)


class WinoBias:
    """Whether a pronoun is resolved as well against the stereotype as with it."""

    @property
    def definition(self) -> SuiteDefinition:
        return RESOLUTION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """Every line whose sentences name exactly two of the forty occupations."""
        files = suite_files(path, definition=RESOLUTION, expected=expected)
        occupations = _occupations(files)
        rows: list[SuiteRow] = []
        unasked = 0
        for line in _lines(files, RESOLUTION.name):
            both = [
                _row(line, condition, text, occupations) for condition, text in (("pro", line.pro), ("anti", line.anti))
            ]
            asked = [row for row in both if row is not None]
            if len(asked) == 2:
                rows += asked
            else:
                unasked += 2
        return reading_suite(
            RESOLUTION, "winobias", rows, files=files, excluded={code("not_two_occupations").code: unasked}
        )


class WinoBiasPreference:
    """Which of two sentences is likelier that differ in the one pronoun."""

    @property
    def definition(self) -> SuiteDefinition:
        return PREFERENCE

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """Every pair that differs in the one pronoun and nothing else."""
        files = suite_files(path, definition=PREFERENCE, expected=expected)
        pairs: list[tuple[int, SentencePair]] = []
        excluded = 0
        for number, line in enumerate(_lines(files, PREFERENCE.name), 1):
            pro, anti = line.texts
            gender = _only_difference(pro, anti)
            if gender is None:
                excluded += 1
                continue
            pairs.append((number, SentencePair(line.id, gender, line.id, pro, anti)))
        return pair_suite(
            PREFERENCE,
            pairs,
            files=files,
            excluded={code("not_a_minimal_pair").code: excluded},
        )


def _lines(files: SuiteFiles, suite: str) -> Iterator[_PairLine]:
    """Both files of each pair, line by line.

    Raises:
        MalformedSuite: a file has no counterpart, or not as many lines.
    """
    for name, _ in files.named:
        match = _NAME.match(name)
        if not match:
            continue
        other = name.replace("pro_", "anti_", 1)
        if files.get(other) is None:
            raise MalformedSuite(suite, name, 0, f"{other} does not lie beside it")
        first, second = (
            [line for line in files.text(file_name).splitlines() if line.strip()] for file_name in (name, other)
        )
        if len(first) != len(second):
            raise MalformedSuite(suite, name, len(first), f"{other} has {len(second)} lines")
        for number, (pro, anti) in enumerate(zip(first, second, strict=True), 1):
            kind = f"type{match.group(1)}"
            yield _PairLine(f"{kind}-{match.group(2)}-{number:03}", kind, _unnumbered(pro), _unnumbered(anti))


def _row(line: _PairLine, condition: str, text: str, occupations: tuple[str, ...]) -> SuiteRow | None:
    marked = [mention.strip() for mention in _BRACKETED.findall(text)]
    pronoun = next((word for word in marked if word.lower() in _PRONOUNS), None)
    mention = next((_named(word, occupations) for word in marked if word.lower() not in _PRONOUNS), None)
    sentence = _plain(text)
    named = _named_in(sentence, occupations)
    if pronoun is None or mention is None or len(named) != 2 or mention not in named:
        return None
    wrong = next(occupation for occupation in named if occupation != mention)
    context = f"{sentence} ‘{pronoun.capitalize()}’ refers to the"
    return SuiteRow(
        id=f"{line.id}-{condition}",
        category=line.type,
        cluster="-".join(sorted(named)),
        condition=condition,
        unit=line.id,
        labels=("right", "wrong"),
        requests=(Request(context, f" {mention}"), Request(context, f" {wrong}")),
        correct=0,
    )


def _occupations(files: SuiteFiles) -> tuple[str, ...]:
    """The forty names, the longest first, so that no name hides in a longer one."""
    if any(files.get(name) is None for name in _OCCUPATIONS):
        raise MalformedSuite(RESOLUTION.name, files.label, 0, f"{' and '.join(_OCCUPATIONS)} do not lie beside it")
    lines = [line.strip().lower() for name in _OCCUPATIONS for line in files.text(name).splitlines()]
    return tuple(sorted((line for line in lines if line), key=lambda line: (-len(line), line)))


def _named_in(sentence: str, occupations: tuple[str, ...]) -> list[str]:
    rest = sentence.lower()
    names = []
    for name in occupations:
        if re.search(rf"\b{re.escape(name)}\b", rest):
            names.append(name)
            rest = re.sub(rf"\b{re.escape(name)}\b", " ", rest)
    return names


def _named(mention: str, occupations: tuple[str, ...]) -> str | None:
    mentioned = _named_in(mention, occupations)
    return mentioned[0] if len(mentioned) == 1 else None


def _only_difference(pro: str, anti: str) -> str | None:
    """The gender of the pro sentence's pronoun, if the two sentences differ in that word alone."""
    first = pro.split()
    second = anti.split()
    if len(first) != len(second):
        return None
    differing = [(_word(a), _word(b)) for a, b in zip(first, second, strict=True) if a != b]
    if len(differing) != 1 or any(word not in _PRONOUNS for word in differing[0]):
        return None
    return _PRONOUNS[differing[0][0]]


def _word(text: str) -> str:
    return text.strip(".,;:!?'\"").lower()


def _unnumbered(line: str) -> str:
    return re.sub(r"^\s*\d+\s+", "", line)


def _plain(text: str) -> str:
    """Without brackets, stray ones too, and with single spaces; doubled articles of a stray bracket stay as they are."""
    return re.sub(r"\s+", " ", text.replace("[", "").replace("]", "")).strip()
