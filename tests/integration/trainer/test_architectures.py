"""Families of models through the doors of the product, as the page of architectures has them: six always, all in `make full`.

Merges of what is laid out otherwise than a Llama are here; every kind of adapter on others is in merge/test_merge_identity.py.
"""

import json
from pathlib import Path

import pytest

from docs.measured.architectures import FAMILIES, WORKS, measure

KEPT = Path(__file__).parents[3] / "docs/measured/architectures.json"
ROWS = json.loads(KEPT.read_text("utf-8"))["families"]
TRAINED = ("add", "train")
SOME = {
    "llama": TRAINED,
    "gpt2": (*TRAINED, "merge"),  # its layers are stored the other way round
    "olmoe": (
        *TRAINED,
        "merge",
    ),  # experts that a rounded digit exchanges: its answers in bf16 say nothing of the merge
    "gemma2": TRAINED,  # tied embeddings, windows, other norms
    "mamba": (*TRAINED, "merge"),  # a state space
    "llama4_text": TRAINED,  # adds in place to what a layer gave
}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", SOME)
def test_six_families_do_what_the_page_says(name: str) -> None:
    found = measure(name, SOME[name])
    for step in SOME[name]:
        assert (found[step], ROWS[name][step]) == (WORKS, WORKS), step


@pytest.mark.full
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_does_what_the_page_says(name: str) -> None:
    assert measure(name) == ROWS[name]
