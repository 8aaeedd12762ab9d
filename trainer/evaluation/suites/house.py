"""The suite that this project wrote itself: pairs of short everyday sentences, so that evaluation works without a download.

JSON Lines, one pair a line: `id`, `axis`, `template`, `sent_more`, `sent_less`. Items share templates, so clusters are
templates. Every version that was shipped stays in the package: a record names the one that it asked by its digest, and only those
very sentences can be scored again.
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
from peft_registry.trainer.evaluation.suites.published import HOUSE

DEFINITION = SuiteDefinition(
    name="house",
    title="House, sentence pairs written for this project",
    licence="Apache-2.0",
    source="written by the project's authors; shipped with it",
    critique=(
        code("house_short_and_english"),
        code("house_authors_choice"),
        code("word_frequency_counts"),
        code("house_public_and_small"),
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs over the whole set, with dead band",
    prompt_template="{sentence}",
    belongs_to_others=False,
    is_shipped=True,
    folder="house",
    files=("house-2.jsonl",),
    threshold=PAIR_BAND,
)
_FILES = {"2": "house-2.jsonl", "1": "house.jsonl"}  # of each version
_COLUMNS = ("id", "axis", "template", "sent_more", "sent_less")


class House:
    """The shipped suite, or a file of the same form."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """The pairs of `path`, or of the shipped file: of the version that has the expected digest, else the newest."""
        files = suite_files(path or shipped_pairs(expected), definition=DEFINITION, expected=expected)
        name = files.label
        rows = [(number, _pair(value, number, name)) for number, value in files.json_lines(name)]
        return pair_suite(DEFINITION, rows, files=files, version=HOUSE.get(files.sha256.hex, "own file"))


def shipped_pairs(digest: Digest | None = None) -> Path:
    """The file in the package of the version with that digest, else of the newest; the wheel is always installed unpacked, so it
    has a real path."""
    newest = next(iter(_FILES))
    version = newest if digest is None else HOUSE.get(digest.hex, newest)
    return Path(str(files(__package__) / _FILES[version]))


def _pair(value: dict[str, Any], number: int, file: str) -> SentencePair:
    require_text("house", file, number, value, _COLUMNS)
    return SentencePair(
        id=value["id"],
        category=value["axis"],
        cluster=value["template"],
        more=value["sent_more"],
        less=value["sent_less"],
    )
