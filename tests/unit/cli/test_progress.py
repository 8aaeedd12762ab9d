"""Progress without a terminal: silent while it is short, a plain line on stderr now and then while it is long."""

import sys

import pytest

from peft_registry.cli import console
from peft_registry.cli.progress import PLAIN_SECONDS, Progress
from peft_registry.schemas.progress import Advanced, Finished, Measured, Said, Started, Warned


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def train_steps(progress: Progress, clock: Clock, *, steps: int, seconds_each: float, first: int = 1) -> None:
    progress(Started("train", total=first - 1 + steps, unit="step"))
    for done in range(first, first + steps):
        clock.now += seconds_each
        progress(Advanced("train", done))
    progress(Finished("train"))


def test_a_short_operation_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    train_steps(Progress(story_on_stdout=True, clock=clock), clock, steps=29, seconds_each=1)
    assert capsys.readouterr() == ("", "")


def test_a_long_operation_says_every_half_minute_how_far_it_is_how_fast_and_how_long_yet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    train_steps(Progress(story_on_stdout=True, clock=clock), clock, steps=100, seconds_each=2)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert len(lines) == int(200 / PLAIN_SECONDS)
    assert lines[0] == "train    15/100  0.5 step/s  0:02:50 left"
    assert "\x1b" not in shown.err and "\r" not in shown.err


def test_many_short_steps_are_one_long_operation(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(story_on_stdout=True, clock=clock)
    for _ in range(10):
        train_steps(progress, clock, steps=10, seconds_each=1)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_after_a_resume_the_speed_is_that_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    train_steps(Progress(story_on_stdout=True, clock=clock), clock, steps=100, seconds_each=2, first=1001)
    assert capsys.readouterr().err.splitlines()[0] == "train    1015/1100  0.5 step/s  0:02:50 left"


def test_figures_stand_in_place_of_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(story_on_stdout=True, clock=clock)
    progress(Started("train", total=4, unit="step"))
    progress(Advanced("train", 1))
    clock.now += 60
    progress(Advanced("train", 2, (("loss", "1.83"), ("tok/s", "612"))))
    assert capsys.readouterr().err == "train    2/4  loss 1.83  612 tok/s  0:02:00 left\n"


def test_bytes_are_written_as_people_write_them(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(story_on_stdout=True, clock=clock)
    progress(Started("fetch", total=4_000_000_000, unit="B"))
    progress(Advanced("fetch", 1_000_000_000))
    clock.now += 100
    progress(Advanced("fetch", 2_000_000_000))
    assert capsys.readouterr().err == "fetch    2.0 GB of 4.0 GB  10.0 MB/s  0:03:20 left\n"


def test_on_request_there_is_no_progress_at_all(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.quietly():
        train_steps(Progress(story_on_stdout=True, clock=clock), clock, steps=100, seconds_each=60)
        console.next_step("registry list")
    assert capsys.readouterr() == ("", "")
    console.next_step("registry list")
    assert capsys.readouterr().err == "next: registry list\n"


def test_warnings_are_never_silenced(capsys: pytest.CaptureFixture[str]) -> None:
    with console.quietly():
        Progress(story_on_stdout=True)(Warned("some-warning", "the log is old"))
    assert capsys.readouterr().err == "warning  the log is old\n"


@pytest.mark.parametrize("on_stdout", [True, False])
def test_the_story_is_told_at_once(on_stdout: bool, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(story_on_stdout=on_stdout)(Said("base", "tiny:1"))
    shown = capsys.readouterr()
    assert (shown.out if on_stdout else shown.err) == "base     tiny:1\n"


def test_a_held_out_loss_is_a_line_of_the_story_and_no_other_figure_of_a_step_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress(story_on_stdout=True)
    progress(Measured(19, {"loss": 2.0, "learning_rate": 1e-3}))
    progress(Measured(20, {"held_out_loss": 2.5}))
    assert capsys.readouterr().out == "held-out step 20  loss 2.500\n"


def test_a_bar_never_wraps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    clock = Clock()
    progress = Progress(story_on_stdout=True, clock=clock)
    progress(Started("train", total=100, unit="step"))
    clock.now += 1
    progress(Advanced("train", 10, (("loss", "1.8333333333333333333333333"), ("tok/s", "612"))))
    drawn = capsys.readouterr().err.rpartition("\x1b[2K")[2]
    assert drawn.startswith("train    ━━")
    assert len(drawn) < 60
