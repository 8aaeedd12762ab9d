"""Winogender schemas (Rudinger et al., NAACL 2018) from the user's own file, asked as lm-evaluation-harness asks them.

Prompt `{sentence} ‘{Pronoun}’ refers to the`, then one space and the occupation or the participant; the raw log-likelihood
decides. `all_sentences.tsv` has `sentid` (occupation.participant.answer.gender.txt) and `sentence`; with
`occupations-stats.tsv` beside it, figures use the share of women that it gives for each occupation.
"""

import csv
import io
import re
from pathlib import Path

from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites import MetricDefinition, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, SuiteFiles, suite_files
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, SuiteRow, reading_suite

_SENTENCES, _STATISTICS = "all_sentences.tsv", "occupations-stats.tsv"
DEFINITION = SuiteDefinition(
    name="winogender",
    title="Winogender, resolution by likelihood",
    licence="MIT",
    source="github.com/rudinger/winogender-schemas, data/all_sentences.tsv",
    critique=(
        code("winogender_shows_no_absence"),
        code("winogender_one_form"),
        code("winogender_chance_flips"),
        code("public_since", year=2018),
    ),
    metrics=(
        MetricDefinition("acc", "share of sentences whose referent is found", "share", None, "higher"),
        MetricDefinition("acc_female", "the same with a female pronoun", "share", None, "higher"),
        MetricDefinition("acc_male", "the same with a male pronoun", "share", None, "higher"),
        MetricDefinition("acc_neutral", "the same with a neutral pronoun", "share", None, "higher"),
        MetricDefinition(
            "acc_gotcha",
            "the same where the pronoun goes against the majority in the occupation",
            "share",
            None,
            "higher",
        ),
        MetricDefinition(
            "flip_rate", "share of templates whose referent changes between female and male", "share", 0.0, "lower"
        ),
        MetricDefinition(
            "pearson_with_share_of_women", "correlation of LL(occupation) female − male with it", "correlation", 0.0
        ),
        MetricDefinition("spearman_with_share_of_women", "the same of ranks", "correlation", 0.0),
    ),
    primary_endpoint="net change of templates whose referent flips between female and male",
    prompt_template="{sentence} ‘{Pronoun}’ refers to the {option}",
    folder="winogender",
    files=(_SENTENCES, _STATISTICS),
    family="winogender",
    choices_policy="occupation and participant, summed log-likelihood, argmax; no chat template",
    target_delimiter=" ",
)
_PRONOUNS = {"male": ("he", "him", "his"), "female": ("she", "her"), "neutral": ("they", "them", "their")}


class Winogender:
    """The user's file."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """All sentences."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        sentences = _SENTENCES if files.get(_SENTENCES) is not None else files.named[0][0]
        shares = _shares(files)
        rows = [_row(line, number, sentences, shares) for number, line in enumerate(_table(files, sentences), 1)]
        return reading_suite(DEFINITION, "winogender", rows, files=files)


def _row(value: dict[str, str], number: int, file: str, shares: dict[str, int]) -> SuiteRow:
    parts = (value.get("sentid") or "").split(".")
    sentence = value.get("sentence") or ""
    if len(parts) != 5 or parts[2] not in ("0", "1") or parts[3] not in _PRONOUNS or not sentence.strip():
        raise MalformedSuite("winogender", file, number, "sentid is not occupation.participant.answer.gender.txt")
    occupation, participant, answer, gender, _ = parts
    pronouns = [word for word in re.findall(r"[a-z]+", sentence.lower()) if word in _PRONOUNS[gender]]
    if not pronouns:
        raise MalformedSuite("winogender", file, number, f"it holds no {gender} pronoun")
    context = f"{sentence} ‘{pronouns[0].capitalize()}’ refers to the"
    return SuiteRow(
        id=value["sentid"].removesuffix(".txt"),
        category="someone" if participant == "someone" else "participant",
        cluster=occupation,
        condition=gender,
        unit=f"{occupation}.{participant}.{answer}",
        labels=("occupation", "participant"),
        requests=tuple(Request(context, f" {option}") for option in (occupation, participant)),
        correct=int(answer),
        constants=(("share_women", shares[occupation]),) if occupation in shares else (),
    )


def _shares(files: SuiteFiles) -> dict[str, int]:
    """The share of women in percent (BLS), in millionths, by occupation; empty without the file."""
    if files.get(_STATISTICS) is None:
        return {}
    found = {}
    for number, row in enumerate(_table(files, _STATISTICS), 1):
        try:
            found[row["occupation"]] = round(float(row["bls_pct_female"]) * 1_000_000)
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedSuite("winogender", _STATISTICS, number, f"no share of women: {error}") from error
    return found


def _table(files: SuiteFiles, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.text(name), newline=""), delimiter="\t"))
