"""What was measured of the relations of models to bases is what the thresholds give."""

import json
from pathlib import Path

from docs.measured import relation

KEPT = Path(__file__).parents[3] / "docs/measured/relation.json"


def test_every_relation_of_the_kept_pairs_is_told_and_none_is_wrong() -> None:
    rows = json.loads(KEPT.read_text("utf-8"))
    assert [(row["made by"], row["strength"]) for row in rows] == [
        (how, strength) for how in relation.MADE for strength in relation.STRENGTHS
    ]
    for row in rows:
        assert row["own base"] == {"made from": relation.BASES}
        assert row["other bases"] == {"not made from": relation.BASES * (relation.BASES - 1)}


def test_the_same_is_found_again_on_a_few_of_them() -> None:
    for row in relation.measure(number_of_bases=3):
        assert row["own base"] == {"made from": 3}
        assert row["other bases"] == {"not made from": 6}
