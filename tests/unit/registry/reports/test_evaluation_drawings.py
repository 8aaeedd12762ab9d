"""Drawings of what moved: every item once, legible without colour, the same bytes for the same record."""

import re
from xml.etree import ElementTree

import pytest

from peft_registry.registry.reports.drawing import flow_drawing, spread_drawing
from peft_registry.registry.reports.evaluation_view import flows_of, spreads_of
from peft_registry.schemas.report import Flow
from tests.builders.evaluation import ITEMS, a_recorded_evaluation, a_table


@pytest.fixture(scope="module")
def evaluated():
    return a_recorded_evaluation(a_table(after=lambda at: (0.0, 2.0, -1.0, 0.5)[at % 4]))


def test_a_flow_has_each_item_once(evaluated):
    record, _ = evaluated
    (flow,) = flows_of(record)
    assert sum(count for _, _, count in flow.moves) == ITEMS
    tree = ElementTree.fromstring(flow_drawing(flow))
    said = [title.text or "" for title in tree.iter() if title.tag.endswith("title")][1:]
    assert sum(int(text.rsplit(": ", 1)[1]) for text in said) == ITEMS


def test_blocks_say_how_many_items_are_in_each_state(evaluated):
    record, _ = evaluated
    (flow,) = flows_of(record)
    text = re.sub(r"<[^>]+>", "\n", flow_drawing(flow))
    for state in {move[0] for move in flow.moves}:
        assert f"{state} {sum(count for before, _, count in flow.moves if before == state)}" in text


def test_margins_of_both_arms_are_all_in_the_bins(evaluated):
    record, items = evaluated
    (spread,) = spreads_of(record, items)
    assert sum(spread.before) == sum(spread.after) == ITEMS
    assert spread.low == -spread.high
    assert ElementTree.fromstring(spread_drawing(spread)).tag.endswith("svg")


def test_names_from_outside_are_escaped_and_bytes_repeat():
    flow = Flow(label="<b>", states=("stereo", "neutral"), moves=(("stereo", "neutral", 3),))
    assert "<b>" not in flow_drawing(flow)
    assert flow_drawing(flow) == flow_drawing(flow)
