"""Tables fit the terminal that shows them, lose nothing that a pipe is given, and never break a cell in the middle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.cli.tables import table_lines, wrapped_lines

DIGEST = "sha256:" + "0123456789ab" + "c" * 52
ROWS = [
    ["version", "kind", "manifest", "registered"],
    ["polite-replies:1", "adapter", DIGEST, "2026-11-26T23:50:55Z"],
    ["tiny:1", "base", DIGEST, "2026-11-26T23:50:38Z"],
]
words = st.lists(st.text("ab7é", min_size=1, max_size=9), min_size=1, max_size=12)


def test_in_a_pipe_every_value_stands_in_full_and_a_row_is_a_line() -> None:
    lines = table_lines(ROWS, width=None)
    assert len(lines) == len(ROWS)
    assert lines[1].split() == ROWS[1]


def test_a_table_that_fits_is_the_same_on_a_terminal() -> None:
    assert table_lines(ROWS, width=130) == table_lines(ROWS, width=None)


def test_digests_are_shortened_before_times_and_nothing_else_is() -> None:
    assert table_lines(ROWS, width=80)[1].split() == [
        "polite-replies:1",
        "adapter",
        "sha256:0123456789ab…",
        "2026-11-26T23:50:55Z",
    ]
    assert table_lines(ROWS, width=60)[1].split()[2:] == ["sha256:0123456789ab…", "2026-11-26"]
    assert table_lines(ROWS, width=50)[1].split()[2:] == ["01234567…", "2026-11-26"]


def test_prose_is_wrapped_in_its_own_column() -> None:
    rows = [["method", "what it does"], ["lora", "low-rank update of linear layers, added to the weights"]]
    assert table_lines(rows, width=40, prose=1) == [
        "method  what it does",
        "lora    low-rank update of linear",
        "        layers, added to the weights",
    ]


def test_a_table_of_figures_is_split_and_every_block_names_its_rows() -> None:
    rows = [["method", "loss change", "over seeds", "neutral loss"], ["lora", "−4.668", "one seed", "+0.019"]]
    assert table_lines(rows, width=36) == [
        "method  loss change  over seeds",
        "lora    −4.668       one seed",
        "",
        "method  neutral loss",
        "lora    +0.019",
    ]


def test_under_a_very_long_name_the_other_cells_stand_below_it() -> None:
    name = "n" * 60
    assert table_lines([[name, "adapter", DIGEST]], width=70) == [name, "  adapter", "  01234567…"]


def test_colour_takes_no_room() -> None:
    painted = "\x1b[32mok\x1b[0m"
    assert table_lines([["read", painted], ["signature", painted]], width=13) == [
        f"read       {painted}",
        f"signature  {painted}",
    ]


@given(st.lists(st.tuples(*[words.map(" ".join)] * 4), min_size=1, max_size=5), st.integers(40, 120))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_broken_or_lost(
    rows: list[tuple[str, ...]], width: int
) -> None:
    lines = table_lines(rows, width=width, prose=3)
    assert max(map(len, lines)) <= width
    shown = {word for line in lines for word in line.split()}
    assert {word for row in rows for cell in row for word in cell.split()} <= shown


@pytest.mark.parametrize("width", [None, 20, 80])
def test_a_long_line_is_wrapped_between_words_below_its_text(width: int | None) -> None:
    text = "batch    1 × 358 tokens, 214 carry loss"
    lines = wrapped_lines(text, width=width, indent=9)
    if width == 20:
        assert lines == ["batch    1 × 358", "         tokens, 214", "         carry loss"]
    else:
        assert lines == [text]


def test_a_word_that_needs_the_room_is_not_indented_out_of_it() -> None:
    assert wrapped_lines(f"manifest     {DIGEST}", width=80, indent=13) == ["manifest", " " * 9 + DIGEST]


def test_a_command_is_not_broken_so_that_it_can_be_copied() -> None:
    lines = wrapped_lines("  fix: use `registry trust add` or `registry trust update` there", width=24, indent=7)
    assert lines == ["  fix: use", " `registry trust add` or", " `registry trust update`", " there"]
