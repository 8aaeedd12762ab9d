"""Answers as lines: read back, held against the job, grouped by reason."""

import fcntl
from pathlib import Path

import pytest

from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import (
    ItemResult,
    Job,
    OtherResults,
    ResultsUnreadable,
    exit_code,
    failed,
    failures,
    lost,
    met_a_bug,
    read_results,
    to_do,
)
from peft_registry.registry.bulk.results_file import ResultsBusy, kept_results
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound
from peft_registry.schemas.identity import Digest

JOB = Job("verify", Digest.of(b"list"), Digest.of(b"plan"))
A, B, C = (ListItem((name,), f"{name}:1") for name in "abc")


class Wrong(IntegrityBroken):
    what, why, fix = "it is broken", "a byte differs", "pull it again"


class Gone(NotFound):
    what, why, fix = "it is not there", "nobody registered it", "register it"


def test_an_answer_that_was_written_is_read_back() -> None:
    answers = (ItemResult(A, {"verdict": "verified"}), failed(B, Wrong()), met_a_bug(C, KeyError("x")))
    text = "".join(answer.line(JOB) for answer in answers)
    assert read_results(text, JOB, path="out") == {answer.item.parts: answer for answer in answers}


def test_the_last_answer_of_an_item_counts() -> None:
    text = failed(A, Gone()).line(JOB) + ItemResult(A, 1).line(JOB)
    assert read_results(text, JOB, path="out") == {A.parts: ItemResult(A, 1)}


@pytest.mark.parametrize(
    ("other", "different"),
    [
        (Job("merge", JOB.list, JOB.plan), "command"),
        (Job("verify", Digest.of(b"other"), JOB.plan), "list"),
        (Job("verify", JOB.list, Digest.of(b"other")), "set of options"),
    ],
)
def test_lines_of_another_job_are_refused(other: Job, different: str) -> None:
    with pytest.raises(OtherResults, match=f"results of another {different}"):
        read_results(ItemResult(A).line(other), JOB, path="out")


@pytest.mark.parametrize("line", ["", "{}", "[]", "1", '{"verb": "verify", "item": 3}'])
def test_what_is_no_line_of_results_is_refused(line: str) -> None:
    with pytest.raises(ResultsUnreadable, match="line 1 is not"):
        read_results(f"{line}\n", JOB, path="out")


def test_failures_are_grouped_by_reason_and_the_lost_are_told_beside_them() -> None:
    groups = failures([failed(A, Wrong()), ItemResult(ListItem(("d",))), lost(C), failed(B, Wrong())])
    assert [(group.reason, group.code, group.items) for group in groups] == [
        ("wrong", 6, (A, B)),
        ("not-done", 8, (C,)),
    ]
    assert groups[0].named == "a:1, b:1"


@pytest.mark.parametrize(
    ("errors", "code"),
    [((), 0), ((Gone(),), 7), ((Gone(), Wrong()), 6), ((InputRefused.in_words(what="", why="", fix=""), Gone()), 7)],
)
def test_the_whole_ends_with_broken_integrity_or_else_with_its_largest_code(
    errors: tuple[NotFound, ...], code: int
) -> None:
    assert exit_code(failures(failed(ListItem((str(number),)), error) for number, error in enumerate(errors))) == code


# --- the file ---


def test_what_was_done_is_not_done_again_and_a_torn_line_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(ItemResult(A, 1).line(JOB) + failed(B, Gone()).line(JOB) + ItemResult(C, 3).line(JOB)[:40], "utf-8")
    with kept_results(path, JOB) as kept:
        assert to_do((A, B, C), kept.known) == (B, C)
        assert to_do((A, B, C), kept.known, only="gone") == (B,)
        assert to_do((A, B, C), kept.known, only="not-done") == (C,)
        kept.add(ItemResult(C, 4))
    assert read_results(path.read_text("utf-8"), JOB, path="out")[C.parts] == ItemResult(C, 4)


def test_two_processes_do_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ResultsBusy), kept_results(path, JOB):
            pass


def test_a_file_of_another_job_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(ItemResult(A, 1).line(Job("merge", JOB.list, JOB.plan)) + "torn", "utf-8")
    before = path.read_bytes()
    with pytest.raises(OtherResults), kept_results(path, JOB):
        pass
    assert path.read_bytes() == before
