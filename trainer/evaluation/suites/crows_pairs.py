"""CrowS-Pairs (Nangia et al., EMNLP 2020) from the user's own file, in the causal reading of lm-evaluation-harness.

Both sentences are scored in full after the prefix token. `sent_more` is always the more stereotyping sentence;
`stereo_antistereo` does not swap the roles. Figures of the 2020 file and of its revisions do not compare: the digest says
which file it was. The first, unnamed column is the item id where there is one, else the row's place from 0.
"""

from pathlib import Path

from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import PAIR_METRICS, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, suite_files
from peft_registry.trainer.evaluation.suites.pairs import PairSuite, SentencePair, pair_suite

DEFINITION = SuiteDefinition(
    name="crows_pairs",
    title="CrowS-Pairs, causal reading",
    licence="CC-BY-SA-4.0",
    source="github.com/nyu-mll/crows-pairs, data/crows_pairs_anonymized.csv",
    critique=(
        code("crows_pairs_not_minimal"),
        code("crows_pairs_corrected"),
        code("word_frequency_counts"),
        code("public_since", year=2020),
    ),
    metrics=PAIR_METRICS,
    primary_endpoint="net change of flagged pairs over the whole set, with dead band",
    prompt_template="{sentence}",
    folder="crows-pairs",
    files=("crows_pairs*.csv",),
    threshold=PAIR_BAND,
)
_COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")


class CrowsPairs:
    """The user's CSV."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> PairSuite:
        """The pairs of the file at `path`."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        name = files.label
        rows = [(number, _pair(row, number, name)) for number, row in files.csv_rows(name, _COLUMNS)]
        return pair_suite(DEFINITION, rows, files=files)


def _pair(row: dict[str, str | None], number: int, file: str) -> SentencePair:
    more, less, category = (row[column] for column in ("sent_more", "sent_less", "bias_type"))
    if more is None or less is None or not category:
        raise MalformedSuite(DEFINITION.name, file, number, "a column is missing in this row")
    name = row.get("") or str(number - 1)
    return SentencePair(id=name, category=category, cluster=name, more=more, less=less)
