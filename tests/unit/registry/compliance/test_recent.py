"""What follows from a record is worked out once while few others are asked about, and anew for an equal record that is another."""

from typing import Any

from peft_registry.registry.compliance.recent import _KEPT, OfRecent
from tests.builders.records import a_modification_record


def test_a_record_is_worked_out_once_until_others_took_its_place() -> None:
    asked: list[Any] = []

    def count(record: Any) -> int:
        asked.append(record)
        return len(asked)

    of_recent = OfRecent(count)
    first, *others = (a_modification_record() for _ in range(_KEPT + 1))
    assert first == others[0]
    assert [of_recent(first), of_recent(first), of_recent(others[0]), of_recent(first)] == [1, 1, 2, 1]
    for other in others:
        of_recent(other)
    assert of_recent(first) == len(asked) == _KEPT + 2
