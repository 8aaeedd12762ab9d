"""What `--where` and `--sort` take, and where each refusal says that it is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.intake.where import (
    LONGEST,
    QueryMalformed,
    read_conditions,
    read_facet,
    read_order,
    read_query,
)
from peft_registry.schemas.facets import FACETS, RULES, Condition, Order, Range, Span, Words

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("method=ia3", Words("method", ("ia3",))),
        ("method != lora, ia3", Words("method", ("lora", "ia3"), excluded=True)),
        ("name=polite*", Words("name", ("polite*",))),
        (f"data={DIGEST}", Words("data", (DIGEST,))),
        ("base=smollm2:1", Words("base", ("smollm2:1",))),
        ('signer="Anna Müller"', Words("signer", ("Anna Müller",))),
        ('licence="Apache \\"2.0\\""', Words("licence", ('apache "2.0"',))),
        ("rank<=8", Range("rank", high=8.0)),
        ("rank < 8", Range("rank", high=8.0, includes_high=False)),
        ("rank>-1.5e-2", Range("rank", low=-0.015, includes_low=False)),
        ("rank=8", Range("rank", low=8.0, high=8.0)),
        ("rank!=8", Range("rank", low=8.0, high=8.0, excluded=True)),
        ("metric[house.pct_stereotype]>=.5", Range("metric[house.pct_stereotype]", low=0.5)),
        ("registered>=2026-05-01", Span("registered", start="2026-05-01T00:00:00Z")),
        ("registered>2026-05-01", Span("registered", start="2026-05-02T00:00:00Z")),
        ("registered<=2026-05-01", Span("registered", end="2026-05-02T00:00:00Z")),
        ("registered<2026-05-01T12:00:00Z", Span("registered", end="2026-05-01T12:00:00Z")),
        ("registered=2026-12-31", Span("registered", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z")),
    ],
)
def test_a_condition_is_read_as_its_facet_says(text: str, expected: Condition) -> None:
    assert read_conditions(text) == (expected,)


def test_conditions_beside_each_other_all_hold_in_the_order_in_which_they_are_written() -> None:
    asked = read_query("method=ia3\n rank<=8\tlicence!=non_commercial", "-registered")
    assert [condition.facet for condition in asked.conditions] == ["method", "rank", "licence"]
    assert asked.order == Order("registered", descending=True)
    assert read_query("  ").conditions == ()


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("methd=ia3", 1, "did you mean `method`?"),
        ("rank<9 metod=ia3", 8, "did you mean `method`?"),
        ("kind=adaptr", 6, "did you mean `kind=adapter`?"),
        ("licence!=non_comercial", 10, "did you mean `licence!=non_commercial`?"),
        ("kind!=adaptr", 7, "did you mean `kind!=adapter`?"),
        ("licence=mit,share-alike", 13, "did you mean `licence=share_alike`?"),
        ("method<ia3", 7, "compared with = != alone"),
        ("registered!=2026-05-01", 11, "compared with = < <= > >= alone"),
        ("rank<=eight", 7, "not a number"),
        ("rank<=nan", 7, "not a number"),
        ("rank<=0x10", 7, "not a number"),
        ("rank<=1e999", 7, "larger than any number"),
        ("rank=1,2", 8, "one number"),
        ("registered>=2026-02-30", 13, "no such time"),
        ("registered>=yesterday", 13, "not a day"),
        ("registered>9999-12-31", 12, "no such time"),
        (f"data={DIGEST[:-1]}", 6, "not a digest"),
        ("rank<4 rank>8", 8, "no version can meet both"),
        ("rank<4 rank>=4", 8, "no version can meet both"),
        ("rank=4 rank!=4", 8, "no version can meet both"),
        ("method=lora method!=lora,ia3", 13, "no version can meet both"),
        ("registered>2026-05-02 registered<2026-05-01", 23, "no version can meet both"),
        ("method=lora method=ia3", 13, "twice"),
        ("rank=4 rank=4", 8, "twice"),
        ("alias=champion alias=champion", 16, "twice"),
        ('signer="anna', 8, "no partner"),
        ('signer=anna"', 12, "no partner"),
        ('signer=""', 8, "compared with nothing"),
        ("method", 7, "it ends where"),
        ("method=", 8, "it ends where"),
        ("method=a,", 10, "it ends where"),
        ("=a", 1, "no meaning there"),
        ("method==a", 8, "no meaning there"),
        ("method='a'", 8, "no meaning there"),
        ("method=a and rank<3", 14, "joins nothing"),
        ("method=a or rank<3", 13, "joins nothing"),
        ("not method=a", 5, "joins nothing"),
        ("rank 8", 6, "an operator"),
        ("loss<3", 1, "did you mean `metric[held-out.loss]`?"),
        ("rank=8 acuracy>0.9", 8, "did you mean `metric[held-out-classes.accuracy]`?"),
        ("metric<3", 1, "did you mean `metric[house.pct_stereotype]<0.5`?"),
        ("metric[]<3", 1, "in brackets"),
        ("metric[house.x']<3", 7, "no meaning there"),
        ("rank[r]=3", 1, "nothing in brackets"),
        ("method=lo*", 8, "only names have endings"),
        ("name=*a*", 6, "at the end of a name alone"),
        ("m\N{CYRILLIC SMALL LETTER IE}thod=ia3", 1, "did you mean `method`?"),
        ("method=i\N{CYRILLIC SMALL LETTER A}3", 8, "CYRILLIC SMALL LETTER A"),
        ("rank<=\N{FULLWIDTH DIGIT EIGHT}", 7, "FULLWIDTH DIGIT EIGHT"),
        ("rank\N{LESS-THAN OR EQUAL TO}8", 7, "it ends where"),
        ("method=\0", 8, "does not show"),
        ("method=a\N{RIGHT-TO-LEFT OVERRIDE}", 9, "does not show"),
        ("method=a\udcff", 9, "does not show"),
        ("method=" + "a" * LONGEST, LONGEST + 1, "are the most"),
        ("method=" + ",".join(f"m{number}" for number in range(40)), 1, "more than 32 values"),
    ],
)
def test_hostile_text_is_refused_in_one_sentence_with_its_place(text: str, position: int, says: str) -> None:
    with pytest.raises(QueryMalformed) as refused:
        read_conditions(text)
    error = refused.value
    assert (error.exit_code, error.position) == (2, position)
    assert says in f"{error.why} / {error.fix}"
    assert len(error.why) < 300
    assert error.why.isascii()


@pytest.mark.parametrize(
    ("text", "shown", "column"),
    [
        ("kind=adapter methd=ia3 rank<8", "kind=adapter methd=ia3 rank<8", 13),
        ("rank ~8", "rank ~8", 5),
        ("method=", "method=", 7),  # it ends too early: the mark stands behind it
        ("method=\x1b[31mred", "method=\\x1b[31mred", 7),
        ("\tkind=a\N{CYRILLIC SMALL LETTER A}", "\\tkind=a\\u0430", 7),
        (
            "method=lora " * 9 + "rank~8" + " size>1" * 9,
            "... method=lora method=lora rank~8 size>1 size>1 size>1 size>1 size...",
            35,
        ),
        ("x" * 1_000_000, f"...{'x' * 64}...", 35),
        ("\N{GREEK SMALL LETTER ALPHA}" * 1_000_000, "..." + "\\u03b1" * 10 + "...", 33),
    ],
)
def test_a_refusal_repeats_what_was_typed_with_a_mark_under_the_place(text: str, shown: str, column: int) -> None:
    with pytest.raises(QueryMalformed) as refused:
        read_conditions(text)
    assert refused.value.separate_reasons == (refused.value.reason, shown, f"{' ' * column}^")
    assert refused.value.why == f"{refused.value.reason}, in {shown}", "what a program reads"


def test_an_order_and_a_column_that_are_not_known_are_repeated_too() -> None:
    for ask, text in ((read_order, "-rnk"), (read_facet, "metric[")):
        with pytest.raises(QueryMalformed) as refused:
            ask(text)
        assert refused.value.separate_reasons[1] == text


@pytest.mark.parametrize(
    "megabytes_of", ["(", '"', "a=b ", "method=lora ", "[", "\\", ",", "\N{GREEK SMALL LETTER ALPHA}"]
)
def test_a_megabyte_is_refused_at_once(megabytes_of: str) -> None:
    with pytest.raises(QueryMalformed, match="are the most"):
        read_conditions(megabytes_of * (1_000_000 // len(megabytes_of)))


def test_words_that_look_like_sql_are_words() -> None:
    (condition,) = read_conditions('method="ia3\' OR 1=1; DROP TABLE versions --"')
    assert condition == Words("method", ("ia3' OR 1=1; DROP TABLE versions --",))


@pytest.mark.parametrize("facet", ["method", "licence", "data", "alias", "metric", "metric[]", "ranks", ""])
def test_an_order_is_by_the_name_the_time_or_a_number(facet: str) -> None:
    with pytest.raises(QueryMalformed):
        read_order(f"-{facet}")


@given(st.text(max_size=200))
def test_any_text_is_a_question_or_is_refused(text: str) -> None:
    try:
        read_conditions(text)
    except QueryMalformed as error:
        assert 1 <= error.position <= len(text) + 1


_WORD = st.text("abcxyz0189._-", min_size=1, max_size=12)
_WORD_FACETS = sorted(rule.name for rule in FACETS if rule.type == "word" and not rule.known)


@given(st.lists(st.tuples(st.sampled_from(_WORD_FACETS), st.booleans(), _WORD), unique_by=lambda part: part[0]))
def test_what_is_written_out_is_read_back(parts: list[tuple[str, bool, str]]) -> None:
    text = " ".join(f'{facet}{"!=" if excluded else "="}"{word}"' for facet, excluded, word in parts)
    assert read_conditions(text) == tuple(Words(facet, (word,), excluded) for facet, excluded, word in parts)


def test_every_example_of_a_facet_can_be_asked() -> None:
    for rule in FACETS:
        read_conditions(rule.example.replace("sha256:…", DIGEST))
        assert RULES[rule.name] is rule
