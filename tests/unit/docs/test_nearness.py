"""Shares of false accusations and of edited texts that are found: what is kept holds the bounds, and is what is measured."""

import json
from itertools import islice
from pathlib import Path

import pytest

from docs.measured.nearness import LENGTHS, SEEDS, TrainedHalf, text_sets
from peft_registry.registry.evaluation.leakage import EXCESS

ROOT = Path(__file__).parents[3]
KEPT = {one["set"]: one for one in json.loads((ROOT / "docs/measured/nearness.json").read_text("utf-8"))["sets"]}
NAMES = ("Banking77", "GSM8K", "CrowS-Pairs")


@pytest.mark.parametrize("name", NAMES)
def test_of_a_half_that_nobody_trained_on_at_most_two_in_a_hundred_are_accused(name):
    assert len(KEPT[name]["halves"]) == len(SEEDS) == 5
    for half in KEPT[name]["halves"]:
        assert half["accused"] <= 0.02 * half["texts"] and half["excess"] <= EXCESS


@pytest.mark.parametrize("name", NAMES)
def test_of_sentences_of_eighteen_words_four_in_five_are_found_after_two_edits(name):
    assert LENGTHS[-1] == 18
    of_long = [parting[-1] for parting in KEPT[name]["recall"]["2"]]
    texts, accused, _ = (sum(counts) for counts in zip(*of_long, strict=True))
    assert texts > 800 and accused >= 0.8 * texts


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        # one seed of each on every change: a seed draws another half of the same texts
        *((name, 0) for name in NAMES),
        *(pytest.param(name, seed, marks=pytest.mark.full) for name in NAMES for seed in SEEDS if seed),
    ],
)
def test_what_is_kept_is_what_the_public_files_give(name, seed, test_data):
    (texts,) = islice((one for one in text_sets(test_data) if one.name == name), 1)
    half = TrainedHalf.of(texts, seed)
    assert half.accusations() == KEPT[name]["halves"][seed]
    if seed == 0:
        assert half.recall(2) == KEPT[name]["recall"]["2"][seed]
