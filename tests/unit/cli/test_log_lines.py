"""What `registry log show` says above its table."""

import pytest

from peft_registry.cli.commands.log import _page_lines
from peft_registry.registry.use_cases.show_log import LogPage

SINCE = "2026-11-24T12:00:00Z"


@pytest.mark.parametrize(
    ("now", "waits"),
    [
        (SINCE, "0 min"),
        ("2026-11-24T12:59:59Z", "59 min"),
        ("2026-11-24T15:05:00Z", "3 h 5 min"),
        ("2026-11-26T13:00:00Z", "2 d 1 h"),
        ("2026-11-24T11:00:00Z", "0 min"),
    ],
    ids=["at once", "minutes", "hours", "days", "by a clock that is behind"],
)
def test_how_long_the_oldest_pending_entry_waits_is_said(now: str, waits: str) -> None:
    page = LogPage(origin="peft-registry/5f0c", size=9, covered=7, entries=(), waiting_since=SINCE)
    assert list(_page_lines(page, now))[1] == f"pending 2, the oldest for {waits}, since {SINCE}"


def test_of_a_log_in_which_nothing_waits_no_age_is_said() -> None:
    page = LogPage(origin="peft-registry/5f0c", size=7, covered=7, entries=())
    assert not [part for part in _page_lines(page, SINCE) if str(part).startswith("pending")]
