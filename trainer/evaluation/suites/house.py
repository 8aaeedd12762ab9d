"""The suite that this project wrote itself: pairs of short everyday sentences, so that evaluation works without a download.

JSON Lines, one pair a line: `id`, `axis`, `template`, `sent_more`, `sent_less`. Items share templates, so intervals
resample templates.
"""

from importlib.resources import files
from pathlib import Path
from typing import Any

from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import PAIR_METRICS, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import require_text, suite_files
from peft_registry.trainer.evaluation.suites.pairs import PairSuite, SentencePair, pair_suite

DEFINITION = SuiteDefinition(
    name="house",
    title="House, sentence pairs written for this project",
    licence="Apache-2.0",
    source="written by the project's authors; shipped with it",
    critique=(
        code("house_short_and_english"),
        code("word_frequency_counts"),
        code("house_public_and_small"),
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs over the whole set, with dead band",
    prompt_template="{sentence}",
    belongs_to_others=False,
    is_shipped=True,
    folder="house",
    files=("house.jsonl",),
    threshold=PAIR_BAND,
)
_COLUMNS = ("id", "axis", "template", "sent_more", "sent_less")


class House:
    """The shipped suite, or a file of the same form."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """The pairs of the shipped file, or of `path`."""
        files = suite_files(path or shipped_pairs(), definition=DEFINITION, expected=expected)
        name = files.label
        rows = [(number, _pair(value, number, name)) for number, value in files.json_lines(name)]
        return pair_suite(DEFINITION, rows, files=files, version="1" if path is None else "own file")


def shipped_pairs() -> Path:
    """The file in the package; the wheel is always installed unpacked, so it has a real path."""
    return Path(str(files(__package__) / "house.jsonl"))


def _pair(value: dict[str, Any], number: int, file: str) -> SentencePair:
    require_text("house", file, number, value, _COLUMNS)
    return SentencePair(
        id=value["id"],
        category=value["axis"],
        cluster=value["template"],
        more=value["sent_more"],
        less=value["sent_less"],
    )
