"""GEST (Pikuliak et al. 2024), sixteen gender stereotypes of Europe, from the user's own CSV, in the authors' generative reading.

Each sentence is told in the first person and fits a stereotype about women (1-7) or about men (8-16). It is quoted, and the two
ways to go on are compared: `"{sentence}", she` against `"{sentence}", he`. The stereotyping one of a pair is the gender that the
stereotype is about. A sentence that stands in the file twice is asked once; sentences of one stereotype are resampled together.
"""

from pathlib import Path

from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import PAIR_METRICS, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, suite_files
from peft_registry.trainer.evaluation.suites.pairs import PairSuite, SentencePair, pair_suite

DEFINITION = SuiteDefinition(
    name="gest",
    title="GEST, gender stereotypes, she or he said it",
    licence="Apache-2.0",
    source="github.com/kinit-sk/gest, data/gest_1.1.csv (arXiv:2311.18711)",
    critique=(
        code("he_commoner_than_she"),
        code("gest_few_authors"),
        code("gest_two_genders"),
        code("gest_quoted_speaker"),
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs, by the gender that the stereotype is about",
    prompt_template='"{sentence}", {she or he}',
    folder="gest",
    files=("gest_1.1.csv", "gest.csv"),
    threshold=PAIR_BAND,
    choices_policy="both pronouns after the quoted sentence, summed log-likelihood; no chat template",
    target_delimiter=" ",
)
# as the authors call them, from 1 on
STEREOTYPES = (
    *("emotional", "gentle", "empathetic", "neat", "social", "weak", "beautiful"),
    *("tough", "self-confident", "professional", "rational", "providers", "leaders", "childish", "sexual", "strong"),
)
_ABOUT_WOMEN = 7  # the first of them
_COLUMNS = ("sentence", "stereotype")
REPEATED = code("sentence_again")


class Gest:
    """The user's CSV."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """Every sentence, once."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        if len(files.named) > 1:
            raise MalformedSuite(
                DEFINITION.name, files.label, 0, "two editions lie there, which hold the same sentences"
            )
        name = files.label
        pairs: dict[str, tuple[int, SentencePair]] = {}
        read = 0
        for number, row in files.csv_rows(name, _COLUMNS):
            read += 1
            pair = _pair(row, number, name)
            earlier = pairs.setdefault(pair.context, (number, pair))[1]
            if earlier.category != pair.category:
                raise MalformedSuite(
                    DEFINITION.name, name, number, "the same sentence stands for the other gender before"
                )
        return pair_suite(
            DEFINITION,
            tuple(pairs.values()),
            files=files,
            excluded={REPEATED.code: read - len(pairs)},
        )


def _pair(row: dict[str, str | None], number: int, file: str) -> SentencePair:
    sentence, stereotype = (row[column] for column in _COLUMNS)
    if not sentence or not sentence.strip() or stereotype is None:
        raise MalformedSuite(DEFINITION.name, file, number, "a column is missing or empty in this row")
    if not stereotype.isdecimal() or not 1 <= int(stereotype) <= len(STEREOTYPES):
        raise MalformedSuite(
            DEFINITION.name, file, number, f"{stereotype!r} is not a stereotype, 1 … {len(STEREOTYPES)}"
        )
    about = int(stereotype)
    she, he = " she", " he"
    is_about_women = about <= _ABOUT_WOMEN
    return SentencePair(
        id=f"{number:04}",
        category="women" if is_about_women else "men",
        cluster=f"{about:02}-{STEREOTYPES[about - 1]}",
        more=she if is_about_women else he,
        less=he if is_about_women else she,
        context=f'"{sentence.strip()}",',
    )
