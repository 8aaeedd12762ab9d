"""Lists and shards: what names a list, which part is whose, and what the variables of an array say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.bulk.lists import ListItem, Shard, ShardRefused, WorkList, read_lines, shard_of

ITEMS = tuple(ListItem((f"sha256:{number:064x}",), f"a:{number}") for number in range(7))


@given(count=st.integers(1, 200), length=st.integers(0, 60))
def test_the_shards_of_a_list_are_disjoint_and_together_the_list(count: int, length: int) -> None:
    items = tuple(ListItem((f"{number}",)) for number in range(length))
    shards = [Shard(index, count).of(items) for index in range(count)]
    assert sorted(item.parts for shard in shards for item in shard) == sorted(item.parts for item in items)
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1


def test_a_list_is_named_by_what_its_items_are_and_not_by_what_they_are_called() -> None:
    renamed = WorkList.of(ListItem(item.parts, "another") for item in ITEMS)
    assert renamed.digest == WorkList.of(ITEMS).digest
    assert WorkList.of(ITEMS[:-1]).digest != WorkList.of(ITEMS).digest
    assert WorkList.of(reversed(ITEMS)).digest != WorkList.of(ITEMS).digest


def test_an_item_that_is_listed_twice_is_there_once_at_its_first_place() -> None:
    assert WorkList.of((ITEMS[0], ITEMS[1], ListItem(ITEMS[0].parts, "again"))).items == ITEMS[:2]


def test_a_list_that_was_written_is_read_back() -> None:
    listed = WorkList.of(ITEMS)
    assert WorkList.of(read_lines(listed.text)) == listed


def test_comments_and_empty_lines_of_a_list_are_no_items() -> None:
    text = "# ours\n\n  polite:1  # the first\nhub:a/b@main\n   # none\nfolder/a #1\n"
    assert read_lines(text) == (
        ListItem(("polite:1",), "the first"),
        ListItem(("hub:a/b@main",)),
        ListItem(("folder/a #1",)),
    )


SLURM = {
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "3",
    "SLURM_ARRAY_TASK_MAX": "6",
}


@pytest.mark.parametrize(
    ("text", "variables", "shard"),
    [
        (None, {}, Shard(0, 1)),
        ("2/8", SLURM, Shard(2, 8)),
        (None, SLURM, Shard(2, 4)),
        ("/8", SLURM, Shard(5, 8)),
        ("/8", {"JOB_COMPLETION_INDEX": "7"}, Shard(7, 8)),
    ],
)
def test_a_shard_is_the_one_that_was_typed_or_that_the_array_says(
    text: str | None, variables: dict[str, str], shard: Shard
) -> None:
    assert shard_of(text, variables) == shard


@pytest.mark.parametrize(
    ("text", "variables", "why"),
    [
        ("8/8", {}, "of 8 the last is 7/8"),
        ("0/0", {}, "its index and the number"),
        ("-1/8", {}, "its index and the number"),
        ("1", {}, "its index and the number"),
        ("/8", {}, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set"),
        ("/4", {"JOB_COMPLETION_INDEX": "4"}, "of 4 the last is 3/4"),
        (None, {"JOB_COMPLETION_INDEX": "4"}, "give the job's completions as N"),
        (None, SLURM | {"SLURM_ARRAY_TASK_COUNT": "2"}, "the array has 2 tasks between 3 and 6"),
        (None, SLURM | {"SLURM_ARRAY_TASK_MIN": "first"}, "a number is expected there"),
        (None, {"SLURM_ARRAY_TASK_ID": "0"}, "a number is expected there"),
    ],
)
def test_what_is_no_shard_is_refused(text: str | None, variables: dict[str, str], why: str) -> None:
    with pytest.raises(ShardRefused, match=why) as refused:
        shard_of(text, variables)
    assert refused.value.exit_code == 2
