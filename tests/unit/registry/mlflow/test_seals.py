"""Which versions new entries of the log leave as they were sealed: no more than those is believed."""

from pathlib import Path

import pytest

from peft_registry.registry.homes.kept_seals import KeptSeals
from peft_registry.registry.mlflow.seals import (
    OF_SUBJECT,
    Relations,
    SealBook,
    SealHead,
    SealPage,
    book_text,
    changes_with_time,
    files_digest,
    line_of,
    read_book,
    runs_judged_anew,
    subjects_of,
)
from peft_registry.registry.mlflow.store_rows import RowDigests
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Leaf, LogEvent, LogEventV2, LogSnapshot
from peft_registry.schemas.run import BegunRun
from peft_registry.schemas.statement import PREDICATE_TYPES

NOW = "2026-01-02T03:04:05Z"
BASE, OTHER_BASE, DATA, FIRST, NEXT, SIBLING, SAME_DATA, MERGED = (Digest.of(bytes([number])) for number in range(8))
RELATIONS = Relations(
    {
        BASE: frozenset(),
        OTHER_BASE: frozenset(),
        FIRST: frozenset((BASE, DATA)),
        NEXT: frozenset((BASE, FIRST)),
        SIBLING: frozenset((BASE,)),
        SAME_DATA: frozenset((OTHER_BASE, DATA)),
        MERGED: frozenset((BASE, NEXT, SIBLING)),
    }
)


def an_entry(kind: str, subject: Digest = FIRST) -> Leaf:
    fields = {"subject": str(subject), "statement": str(Digest.of(b"text")), "key": "k", "at": NOW, "kind": kind}
    return LogEvent.from_json(fields) if ":" not in kind else LogEventV2.from_json(fields)


def test_an_entry_touches_what_its_subject_came_from_what_came_of_it_and_what_is_judged_beside_it() -> None:
    assert RELATIONS.relatives(FIRST) >= {FIRST, BASE, NEXT, MERGED, SAME_DATA}
    assert not RELATIONS.relatives(FIRST) & {SIBLING, OTHER_BASE}
    assert RELATIONS.relatives(SIBLING) == {SIBLING, BASE, MERGED}
    assert RELATIONS.relatives(BASE) == {BASE, FIRST, NEXT, SIBLING, MERGED}
    assert RELATIONS.made_from([FIRST]) == {FIRST, NEXT, MERGED}


def test_a_base_that_nobody_registered_relates_all_that_was_made_on_it() -> None:
    relations = Relations({FIRST: frozenset((BASE,)), SIBLING: frozenset((BASE,))})
    assert SIBLING in relations.relatives(FIRST)


def test_entries_name_what_they_touch_and_a_snapshot_touches_nothing() -> None:
    snapshot = LogSnapshot(size=1, root="0" * 64, at=NOW)
    assert subjects_of([an_entry("alias"), snapshot, an_entry("card", NEXT), an_entry("alias")]) == (FIRST, NEXT)
    assert subjects_of([snapshot]) == ()


@pytest.mark.parametrize("kind", ["recall", PREDICATE_TYPES["gate"], "urn:peft-registry:something-new:v1"])
def test_an_entry_that_may_say_something_of_anything_touches_everything(kind: str) -> None:
    assert subjects_of([an_entry("alias"), an_entry(kind)]) is None


def test_every_kind_of_statement_was_looked_at() -> None:
    """A new one touches everything, until somebody says what it can touch."""
    # what an edition derives is shown of every version that names it
    assert PREDICATE_TYPES.keys() - OF_SUBJECT == {"recall", "gate", "edition", "rejection"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({}, False),
        ({"registry.gate": "champion: no policy"}, False),
        ({"registry.gate": "champion: no policy; live: strict, open"}, True),
        ({"registry.gate": "champion: strict, closed by 2; live: no policy"}, True),
        ({"registry.approvals": "1 of 1 count: alex"}, True),
    ],
)
def test_what_a_gate_says_changes_with_time(tags: dict[str, str], expected: bool) -> None:
    assert changes_with_time(tags) is expected


def begun(run_id: str, plan: bytes, rows: bytes | None = None) -> bytes:
    run = BegunRun(
        run_id=run_id, plan=Digest.of(plan), rows=None if rows is None else Digest.of(rows), seed=1, started_at=NOW
    )
    return run.model_dump_json().encode() + b"\n"


def test_a_run_that_was_begun_has_those_of_its_plan_and_rows_judged_anew() -> None:
    before = begun("same-plan", b"a") + begun("same-rows", b"b", b"rows") + begun("other", b"c", b"others")
    assert runs_judged_anew(before, begun("new", b"a", b"rows")) == {"same-plan", "same-rows", "new"}
    assert runs_judged_anew(before, b"") == frozenset()
    assert runs_judged_anew(before, b"{}\n") is None


MADE_WITH = Digest.of(b"programs")


def a_page(size: int) -> SealPage:
    return SealPage(head=SealHead(size=size, root="0" * 64, begun_bytes=0, begun=Digest.of(b"")), seals={})


def test_a_book_that_was_made_with_something_else_or_is_none_is_empty() -> None:
    data = book_text(SealBook(MADE_WITH, (a_page(1),)))
    assert read_book(data, made_with=MADE_WITH).pages == (a_page(1),)
    assert read_book(data, made_with=Digest.of(b"others")).pages == ()
    assert read_book(b"[]", made_with=MADE_WITH).pages == ()
    assert read_book(None, made_with=MADE_WITH).pages == ()


def test_of_a_book_that_was_cut_short_the_other_pages_count(tmp_path: Path) -> None:
    kept = KeptSeals(tmp_path / "seals.jsonl")
    whole = book_text(SealBook(MADE_WITH, (a_page(1), a_page(2))))
    assert kept.write(whole[:-20])
    assert kept.add(line_of(a_page(3)))
    data = kept.read()
    assert read_book(data, made_with=MADE_WITH).pages == (a_page(1), a_page(3))


def test_what_is_kept_begins_with_its_cover_alone(tmp_path: Path) -> None:
    kept = KeptSeals(tmp_path / "seals.jsonl")
    assert not kept.begins_with(b"cover")
    assert not kept.add(b"page"), "nothing is kept that could be added to"
    assert kept.write(b"cover")
    assert kept.begins_with(b"cover")
    assert not kept.begins_with(b"other")
    assert not kept.begins_with(b"cover and more")


def test_no_two_sets_of_rows_or_files_have_one_digest() -> None:
    def of(*tables: tuple[str, list[tuple[object, ...]]]) -> Digest | None:
        digests = RowDigests()
        for table, rows in tables:
            digests.add(table, "run", rows)
        return digests.of("run")

    shapes = [
        of(("tags", [("run", "a", "b")])),
        of(("tags", [("run", "ab", "")])),
        of(("tags", [("run", "a\n", "b")])),
        of(("tags", [("run", "a", None)])),
        of(("tags", [("run", "a", "None")])),
        of(("tags", [("run", "a", 1)])),
        of(("tags", [("run", "a", 1.0)])),
        of(("tags", [("run", "a", b"1")])),
        of(("params", [("run", "a", "b")])),
        of(("tags", [("run", "a", "b"), ("run", "a", "b")])),
        of(("tags", [("run", "a", "b")]), ("params", [("run", "a", "b")])),
    ]
    assert len(set(shapes)) == len(shapes)
    assert of(("tags", [("run", "a"), ("run", "b")])) == of(("tags", [("run", "b"), ("run", "a")]))
    assert RowDigests().of("run") is None
    assert files_digest({"a": "1"}, {}) != files_digest({}, {"a": "1"})
