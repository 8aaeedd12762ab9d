"""The item table: canonical bytes, and a reader that accepts nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.evaluation.items import (
    MalformedItems,
    RepeatedItem,
    ScoreNotFinite,
    describe_items,
    loss_item,
    pair_item,
    read_items,
    write_items,
)
from peft_registry.schemas.evaluation import Threshold
from peft_registry.schemas.identity import Digest

BAND = Threshold(lo=0.25, hi=0.69, source="test")


def an_item(name="a", arm="base", ll=(-10.0, -11.5), dataset="house", cluster="t1", category="age"):
    return pair_item(
        dataset=dataset, id=name, category=category, cluster=cluster, arm=arm, ll=ll, tokens=(4, 5), threshold=BAND
    )


def test_the_bytes_of_a_table():
    rows = [
        an_item("b", ll=(-0.0000001, 0.0)),
        loss_item(dataset="held-out", id="r", cluster="r", arm="base", ll=-7.25, tokens=3),
    ]
    assert write_items(rows).decode() == (
        '{"arm":"base","category":null,"cluster":"r","dataset":"held-out","id":"r","ll_a":"-7.250000","ll_b":null,'
        '"margin":null,"metric":"loss","state":null,"tokens_a":3,"tokens_b":null}\n'
        '{"arm":"base","category":"age","cluster":"t1","dataset":"house","id":"b","ll_a":"0.000000","ll_b":"0.000000",'
        '"margin":"0.000000","metric":"margin","state":"neutral","tokens_a":4,"tokens_b":5}\n'
    )


lls = st.floats(-1e6, 0)
items = st.builds(an_item, name=st.text(max_size=8), arm=st.sampled_from(["base", "adapted"]), ll=st.tuples(lls, lls))


@given(st.lists(items, max_size=12, unique_by=lambda item: item.key), st.randoms())
def test_reading_returns_what_was_written_and_the_order_given_does_not_matter(rows, random):
    data = write_items(rows)
    random.shuffle(rows)
    assert write_items(rows) == data
    assert set(read_items(data)) == set(rows)
    assert [item.key for item in read_items(data)] == sorted(item.key for item in rows)
    assert b"-0.000000" not in data


def test_the_margin_is_the_difference_of_what_is_written():
    item = an_item(ll=(-1.0000004, -2.0000006))
    assert item.margin == item.ll_a - item.ll_b == 1_000_001


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_stops_the_run(bad):
    with pytest.raises(ScoreNotFinite) as caught:
        an_item(ll=(-1.0, bad))
    assert caught.value.exit_code == 4
    with pytest.raises(ScoreNotFinite):
        loss_item(dataset="held-out", id="r", cluster="r", arm="base", ll=bad, tokens=3)


def test_an_item_twice_in_one_arm_is_refused():
    with pytest.raises(RepeatedItem):
        write_items([an_item("a"), an_item("a", ll=(-1.0, -2.0))])


def test_the_description_binds_the_bytes():
    data = write_items([an_item("a"), an_item("b")])
    found = describe_items(data)
    assert (found.sha256, found.rows, found.file) == (Digest.of(data), 2, "items.jsonl")


LINE = write_items([an_item()]).decode().rstrip("\n")


def changed(**over):
    return json.dumps(json.loads(LINE) | over, sort_keys=True, separators=(",", ":")) + "\n"


BAD = {
    "no line feed at the end": LINE,
    "carriage return": LINE + "\r\n",
    "space": LINE.replace('":"', '": "', 1) + "\n",
    "another key order": json.dumps(dict(reversed(json.loads(LINE).items())), separators=(",", ":")) + "\n",
    "negative zero": changed(ll_a="-0.000000"),
    "five decimals": changed(ll_a="-1.00000"),
    "a number instead of text": changed(ll_a=-1.5),
    "leading zero": changed(ll_a="-01.500000"),
    "other digits": changed(ll_a="-١.500000"),
    "unknown arm": changed(arm="best"),
    "an arm that is a list": changed(arm=[]),
    "unknown state": changed(state="fine"),
    "unknown metric": changed(metric="vibes"),
    "loss with a margin": changed(metric="loss"),
    "true as a count": changed(tokens_a=True),
    "negative count": changed(tokens_a=-1),
    "no id": changed(id=None),
    "one column more": changed(text="the sentence"),
    "not an object": "[]\n",
    "not JSON": "{\n",
    "repeated key": LINE[:-1] + ',"id":"b"}\n',
    "the same row twice": LINE + "\n" + LINE + "\n",
    "an empty line": LINE + "\n\n",
    "not sorted": changed(id="b") + LINE + "\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_anything_but_the_canonical_form_is_refused(text):
    with pytest.raises(MalformedItems) as caught:
        read_items(text.encode())
    assert caught.value.exit_code == 6


def test_an_empty_table_has_no_items():
    assert read_items(b"") == ()
