"""Python's collector is left to itself again, whatever ends a long reading and in whatever order."""

import gc
from collections.abc import Iterator

import pytest

from peft_registry.registry.homes.rare_collections import rare_collections

USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


def test_the_collector_looks_rarely_until_the_block_ends() -> None:
    with pytest.raises(ValueError, match="refused"), rare_collections():
        assert gc.get_threshold() == (100_000, 10, 10)
        raise ValueError("refused")
    assert gc.get_threshold() == USUAL


def test_of_blocks_that_end_in_another_order_the_last_one_brings_back_what_was() -> None:
    """As those of two threads do."""
    first = rare_collections()
    second = rare_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == (100_000, 10, 10)
    second.__exit__(None, None, None)
    assert gc.get_threshold() == USUAL


@pytest.mark.parametrize("own", [(0, 10, 10), (500_000, 5, 5)])
def test_what_a_program_set_itself_is_kept(own: tuple[int, int, int]) -> None:
    gc.set_threshold(*own)
    with rare_collections():
        assert gc.get_threshold() == own
    assert gc.get_threshold() == own
