"""A guard text from outside: what is read of it, and what is refused."""

import pytest

from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.neutral import (
    LEAST,
    GuardTextRefused,
    OtherGuardText,
    read_guard_text,
    shipped_guard,
)

PASSAGES = [f"Passage number {at} is about rivers." for at in range(LEAST)]


def test_passages_are_read_once_each_and_what_was_left_out_is_counted(tmp_path):
    path = tmp_path / "passages.txt"
    path.write_text("\n\n".join([*PASSAGES, PASSAGES[0]]), "utf-8")
    guard = read_guard_text(path, Digest.of(path.read_bytes()))
    assert [one.continuation for one in guard.requests] == PASSAGES
    used = guard.dataset
    assert (used.name, used.file, used.sha256) == ("neutral", "passages.txt", Digest.of(path.read_bytes()))
    assert (used.rows_total, used.rows_used, used.excluded) == (LEAST + 1, LEAST, {"passage_again": 1})
    assert not set(guard.ids) & set(shipped_guard().ids)


BAD = {
    "too few": ("\n".join(PASSAGES[1:]).encode(), f"it has {LEAST - 1} different passages"),
    "one passage repeated": (f"{PASSAGES[0]}\n".encode() * 50, "it has 1 different passages"),
    "empty": (b"", "it has 0 different passages"),
    "no text": ("\n".join(PASSAGES).encode() + b"\xff", "is not UTF-8"),
}


@pytest.mark.parametrize(("data", "why"), BAD.values(), ids=BAD.keys())
def test_a_text_that_shows_nothing_is_refused(tmp_path, data, why):
    path = tmp_path / "passages.txt"
    path.write_bytes(data)
    with pytest.raises(GuardTextRefused) as caught:
        read_guard_text(path)
    assert caught.value.exit_code == 2
    assert why in caught.value.why


def test_another_text_than_the_pinned_one_is_refused(tmp_path):
    path = tmp_path / "passages.txt"
    path.write_text("\n".join(PASSAGES), "utf-8")
    with pytest.raises(OtherGuardText) as caught:
        read_guard_text(path, Digest.of(b"another"))
    assert caught.value.exit_code == 6
    with pytest.raises(NotFound):
        read_guard_text(tmp_path / "absent.txt")
