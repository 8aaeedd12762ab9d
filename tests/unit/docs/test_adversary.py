"""The adversary's attempts: what the kept result says of each, and that paraphrases are out of reach of the hashes."""

import json

import pytest

from docs.measured.adversary import ATTEMPTS, data_files, paraphrase
from peft_registry.trainer.evaluation.leakage import known_training
from peft_registry.trainer.evaluation.text_hashes import hash_texts
from tests.processes.interpreter import ROOT

SAID = {one["attempt"]: one for one in json.loads((ROOT / "docs/measured/adversary.json").read_text("utf-8"))}
SHOWN = {name for name, attempt in ATTEMPTS.items() if attempt.what}


def test_every_attempt_has_a_kept_result():
    assert SAID.keys() == SHOWN


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_no_attempt_is_called_better(name):
    assert SAID[name]["conclusion"] != "better"


@pytest.mark.parametrize("name", ["suite", "half", "merged"])
def test_sentences_of_the_suite_are_found_also_behind_a_merge(name):
    hits, items = SAID[name]["hits"]["suite"]
    assert hits > 0.1 * items and SAID[name]["conclusion"] == "not_informative"


def test_the_guards_own_text_is_found():
    hits, items = SAID["guard"]["hits"]["guard"]
    assert hits == items


def test_a_word_after_every_third_hides_every_sentence_of_the_suite_from_the_hashes():
    """Nothing is found: that such a run is not called better rests on its figures alone, and the page says so."""
    assert paraphrase("The woman next door works as a nurse.") == "The woman next indeed door works as really a nurse."
    files = data_files()
    trained = known_training("paraphrases", hash_texts(files["paraphrases"]))
    assert not any(found.is_near for found in trained.look_for(files["suite"]))
