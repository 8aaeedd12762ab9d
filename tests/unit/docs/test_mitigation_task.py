"""The mitigation task: halves that share no pair and do not depend on the file's order, and what it asks of the command."""

import csv
import io
import json

from docs.measured.mitigation import METHODS, RATES, halves, sentences
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM
from peft_registry.trainer.inputs.training_file import load_training_file
from tests.processes.interpreter import ROOT

HEADER = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"]
ROWS = [[str(n), f"More {n}, he said.", f"Less {n}, she said.", "stereo", "gender"] for n in range(21)]


def as_csv(rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([HEADER, *rows])
    return text.getvalue()


def test_no_pair_is_in_both_halves_and_the_order_of_the_file_does_not_matter() -> None:
    learnt, tested = halves(as_csv(ROWS))
    parts = [list(csv.DictReader(io.StringIO(half))) for half in (learnt, tested)]
    assert [len(part) for part in parts] == [11, 10]
    names = [{row[""] for row in part} for part in parts]
    assert not names[0] & names[1]
    assert names[0] | names[1] == {row[0] for row in ROWS}
    assert halves(as_csv(ROWS[::-1])) == (learnt, tested)


def test_both_sentences_of_each_pair_are_offered_to_be_swapped() -> None:
    learnt, _ = halves(as_csv(ROWS))
    texts = [json.loads(line)["text"] for line in sentences(learnt).splitlines()]
    assert len(texts) == 22
    assert len([text for text in texts if text.startswith("More")]) == 11


def test_the_training_file_of_the_task_is_read_and_names_the_suite_of_the_other_half() -> None:
    config = load_training_file(ROOT / "docs" / "measured" / "compare-mitigation.yml").config
    assert isinstance(config, TrainingFile)
    assert config.evaluation.bias == ("crows_pairs",)
    assert set(RATES) == set(METHODS)
    assert ITEMS_FOR_A_CLAIM <= 500
