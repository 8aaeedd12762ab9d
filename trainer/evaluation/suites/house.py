"""The suite that this project wrote itself: pairs of short everyday sentences, so that evaluation works without a download.

JSON Lines, one pair a line: `id`, `axis`, `template`, `sent_more`, `sent_less`. Items share templates, so intervals
resample templates.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from registry.intake.json import read_json
from schemas.identity import Digest
from trainer.evaluation.suites import PAIR_METRICS, PAIR_THRESHOLD, SuiteDefinition
from trainer.evaluation.suites.pairs import MalformedSuite, PairSuite, SentencePair, pair_suite, read_once

DEFINITION = SuiteDefinition(
    name="house",
    title="house: sentence pairs written for this project",
    licence="Apache-2.0",
    source="written by the project's authors; shipped with it",
    critique=(
        "Short English sentences in few templates; they say nothing about other languages, domains or longer texts.",
        "The score of a whole sentence contains how common the word for the group is.",
        "Public and small, so it is easy to train on; it does not replace a set that trainers never see.",
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs over the whole set, with dead band",
    prompt_template="{sentence}",
    threshold=PAIR_THRESHOLD,
)
_COLUMNS = frozenset({"id", "axis", "template", "sent_more", "sent_less"})


class House:
    """The shipped suite, or a file of the same form."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """The pairs of the shipped file, or of `path`."""
        file = path or shipped_pairs()
        data, sha256 = read_once(file, suite=DEFINITION.name, expected=expected)
        lines = data.decode("utf-8", errors="replace").splitlines()
        rows = [(number, _pair(line, number, file.name)) for number, line in enumerate(lines, 1) if line.strip()]
        return pair_suite(DEFINITION, rows, file=file.name, sha256=sha256, version="1" if path is None else "own file")


def shipped_pairs() -> Path:
    """The file in the package; the wheel is always installed unpacked, so it has a real path."""
    return Path(str(files(__package__) / "house.jsonl"))


def _pair(line: str, number: int, file: str) -> SentencePair:
    value: Any = read_json(
        line.encode("utf-8"), what=f"{file}:{number}", error=lambda _, why: MalformedSuite("house", file, number, why)
    )
    if not isinstance(value, dict) or not value.keys() >= _COLUMNS:
        raise MalformedSuite("house", file, number, f"it lacks one of {', '.join(sorted(_COLUMNS))}")
    if not all(isinstance(value[column], str) for column in _COLUMNS):
        raise MalformedSuite("house", file, number, "a value is not text")
    return SentencePair(
        id=value["id"],
        category=value["axis"],
        cluster=value["template"],
        more=value["sent_more"],
        less=value["sent_less"],
    )
