"""Accuracy over seeds: which rows are taken, and how the kept result is told."""

import json
from collections import Counter
from dataclasses import asdict

from docs.accuracy_page import accuracy_lines
from docs.measured.banking77 import Accuracy, split


def test_rows_of_twenty_intents_are_parted_by_digest_and_no_text_is_in_two_parts():
    rows = [
        {"text": f"text {number} of {intent}", "category": f"intent_{intent:02}"}
        for intent in range(25)
        for number in range(45)
    ]
    rows += [{"text": f"rare {number}", "category": "a_rare_one"} for number in range(30)]
    trained, held_out, tested = split([*rows, *rows[:100]])
    assert (len(trained), len(held_out), len(tested)) == (400, 20, 400)
    assert split(reversed(rows)) == split(rows) == (trained, held_out, tested)
    prompts = [{row["prompt"] for row in part} for part in (trained, held_out, tested)]
    assert sum(map(len, prompts)) == 820 == len(set.union(*prompts))
    assert set(Counter(row["answers"] for row in tested).values()) == {20}
    assert all(row["answers"] in row["choices"] and len(row["choices"]) == 20 for row in tested)
    assert (
        {row["completion"].strip() for row in trained}
        == set(tested[0]["choices"])
        == {f"intent {at:02}" for at in range(20)}
    )


def test_three_seeds_have_an_interval_and_two_say_what_it_takes(tmp_path):
    kept = tmp_path / "kept.json"
    assert "Not measured yet" in accuracy_lines(kept)[-1]
    counts = {"lora": (300, 310, 320), "full": (100, 200)}
    found = [
        Accuracy(method, 7 + at, f"{method}:{at}", right, 400, 20, 1.0)
        for method, rights in counts.items()
        for at, right in enumerate(rights)
    ]
    kept.write_text(json.dumps([asdict(one) for one in found]))
    lines = accuracy_lines(kept)
    assert "5 of 15 trainings are measured; the others go on where these stopped." in lines
    assert any(line.startswith("| lora | 3 | 5.0 % | 75.0 … 80.0 % | 77.5 % (7") for line in lines)
    assert any(line.startswith("| full | 2 |") and "no interval: 2 seeds, needs 3" in line for line in lines)
