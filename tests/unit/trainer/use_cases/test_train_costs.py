"""What training and evaluation take, as a training tells it: work in tokens, and time by whichever speed is known."""

import pytest

from peft_registry.schemas.progress import Advanced, Event, Measured, Said
from peft_registry.schemas.values import measured
from peft_registry.trainer.use_cases.train_costs import RunCosts, TimeToldLater, passes_of_step
from tests.builders.training import a_training_file


def costs(*, training: int = 1000, full: int = 4000) -> RunCosts:
    return RunCosts(training=training, passes=2, scored={"screen": 1000, "development": full}, longest=9)


@pytest.mark.parametrize(("full", "part"), [(2000, "development"), (2001, "screen")])
def test_the_screen_is_asked_where_the_half_is_more_work_than_the_training(full: int, part: str) -> None:
    assert costs(full=full).default_part == part  # 1000 tokens, each forward and backward


def test_the_time_follows_from_the_speed_of_the_training() -> None:
    line = costs().line("screen", measured(100.0, "tokens/s", method="the training of box:1"))
    assert line == "about 0:00:15: training 0:00:10, screen 0:00:05 (measured: the training of box:1)"


def test_what_the_base_has_answered_before_takes_no_time_and_chooses_no_other_part() -> None:
    known = RunCosts(
        training=1000, passes=2, scored={"screen": 1000, "development": 4000}, longest=9,
        kept={"screen": 600, "development": 3600},
    )  # fmt: skip
    assert known.default_part == "screen", "the same file asks the same on a machine that knows nothing"
    said = "60% of it the base has answered before, which costs nothing"
    speed = measured(100.0, "tokens/s", method="the training of box:1")
    assert known.line("screen", speed) == (
        f"about 0:00:12: training 0:00:10, screen 0:00:02 (measured: the training of box:1); {said}"
    )
    assert known.shares_line("screen") == f"screen takes 0.2 × the training; {said}"


def test_answers_that_are_written_are_said_to_take_longer_and_without_a_suite_nothing_is_called_a_screen() -> None:
    asked = RunCosts(training=1000, passes=2, scored={"screen": 1000}, longest=9, written=2560, has_suites=False)
    assert asked.shares_line("screen") == (
        "evaluation takes 0.5 × the training; answers of up to 2,560 tokens are written one token at a time, "
        "which takes longer than reading them"
    )


@pytest.mark.parametrize(
    ("changes", "passes"),
    [({}, 2), ({"method": "full"}, 3), ({"training__gradient_checkpointing": True}, 3)],
)
def test_a_step_is_so_many_forward_passes(changes: dict[str, object], passes: int) -> None:
    assert passes_of_step(a_training_file(**changes)) == passes


def test_an_unknown_speed_is_told_once_the_first_steps_have_shown_it_without_the_slow_first() -> None:
    heard: list[Event] = []
    told = TimeToldLater(costs(), "screen", heard.append)
    events = [Measured(0, {"loss": 2.0})]
    events += [Measured(step, {"tokens_per_second": 1.0 if step == 1 else 100.0}) for step in range(1, 9)]
    for event in (*events, Advanced("train", 8)):
        told(event)
    assert [event for event in heard if not isinstance(event, Said)] == [*events, Advanced("train", 8)]
    said = [(place, event) for place, event in enumerate(heard) if isinstance(event, Said)]
    line = "about 0:00:15: training 0:00:10, screen 0:00:05 (measured: steps 2 to 4 of this training)"
    assert said == [(5, Said("cost", line))]
