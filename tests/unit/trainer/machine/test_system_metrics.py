"""Sampling between steps: when, how many, and what of a machine's files."""

import re
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from peft_registry.schemas.system_metrics import MOST_SAMPLES, SystemMetrics, SystemSample
from peft_registry.trainer.machine.system_metrics import INTERVAL_SECONDS, MetricsReader, SystemSampler, Values


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def sampled(clock: Clock, *, samples: list[SystemSample] | None = None) -> SystemSampler:
    def read() -> Values:
        return {"process_memory_megabytes": clock.seconds}

    return SystemSampler(samples=samples or [], read=read, clock=clock, now=lambda: 1_800_000_000 + clock.seconds)


def test_a_sample_is_taken_before_the_first_step_each_ten_seconds_and_after_the_last() -> None:
    clock = Clock()
    sampler = sampled(clock)
    sampler.note(0)
    for step in range(1, 26):
        clock.seconds += 1.0
        sampler.note(step, is_last=step == 25)
    metrics = sampler.metrics
    assert metrics is not None
    assert [sample.step for sample in metrics.samples] == [0, 10, 20, 25]
    assert [sample.at - 1_800_000_000 for sample in metrics.samples] == [0, 10, 20, 25]
    assert [sample.values["process_memory_megabytes"] for sample in metrics.samples] == [0, 10, 20, 25]
    assert SystemMetrics.from_json(metrics.to_json()) == metrics


def test_a_long_training_keeps_few_samples_evenly_over_all_of_it() -> None:
    clock = Clock()
    sampler = sampled(clock)
    sampler.note(0)
    steps = 20 * MOST_SAMPLES
    for step in range(1, steps + 1):
        clock.seconds += INTERVAL_SECONDS
        sampler.note(step, is_last=step == steps)
        assert len(sampler.samples) <= MOST_SAMPLES
    metrics = sampler.metrics
    assert metrics is not None
    assert len(metrics.samples) > MOST_SAMPLES / 4
    at = [sample.at for sample in metrics.samples]
    assert (metrics.samples[0].step, metrics.samples[-1].step) == (0, steps)
    gaps = {round(later - earlier) for earlier, later in pairwise(at[:-1])}
    assert gaps == {round(metrics.interval_seconds)}


def test_what_was_sampled_before_a_training_was_resumed_stays() -> None:
    clock = Clock()
    first = sampled(clock)
    first.note(0)
    clock.seconds = 11.0
    first.note(4)
    clock.seconds = 500.0
    second = sampled(clock, samples=list(first.samples))
    second.note(4)
    clock.seconds = 501.0
    second.note(5, is_last=True)
    assert [sample.step for sample in second.samples] == [0, 4, 4, 5]


def test_a_system_that_tells_nothing_gives_no_metrics() -> None:
    sampler = SystemSampler(read=dict)
    assert sampler.metrics is None
    sampler.note(0)
    assert sampler.metrics is None


def test_the_numbers_are_those_of_the_files_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("9000 2500 100 1 0 800 0\n")
    (tmp_path / "meminfo").write_text(
        "MemTotal:  8000 kB\nMemFree:  10 kB\nMemAvailable:  6000 kB\nHugePages_Total: 0\n"
    )
    values = MetricsReader(tmp_path).values()
    assert values["process_memory_megabytes"] == pytest.approx(2500 * 4096 / 1e6)
    assert values["system_memory_usage_percentage"] == pytest.approx(25.0)
    assert "process_cpu_percentage" not in values, "nothing was used since a time that nobody noted"


@pytest.mark.parametrize("text", ["", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "MemTotal: many kB\n"])
def test_a_file_that_says_something_else_is_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "statm").write_text("many pages")
    (tmp_path / "meminfo").write_text(text)
    assert MetricsReader(tmp_path).values() == {}


def test_a_busy_core_is_a_hundred_percent() -> None:
    """Its two readings lie within the outer times and around the inner ones, wherever the machine stalls."""
    reader = MetricsReader()
    outer = time.process_time(), time.perf_counter()
    reader.values()
    inner = time.process_time(), time.perf_counter()
    while time.process_time() - inner[0] < 0.2:
        sum(range(10_000))
    least, shortest = time.process_time() - inner[0], time.perf_counter() - inner[1]
    share = reader.values()["process_cpu_percentage"] / 100
    most, longest = time.process_time() - outer[0], time.perf_counter() - outer[1]
    assert least / longest <= share <= most / shortest


def test_sampling_starts_no_thread_and_names_nobody() -> None:
    before = set(threading.enumerate())
    sampler = SystemSampler()
    sampler.note(0)
    sampler.note(1, is_last=True)
    # one of an earlier test may end meanwhile
    assert set(threading.enumerate()) <= before
    metrics = sampler.metrics
    assert metrics is not None, "this system tells its memory"
    words = set(re.findall(r'"([a-z_]+)"', metrics.to_canonical().decode()))
    assert words <= {
        *("form", "interval_seconds", "samples", "step", "at", "values"),
        *("process_cpu_percentage", "process_memory_megabytes", "system_memory_usage_percentage"),
        *("gpu_utilization_percentage", "gpu_memory_usage_megabytes", "gpu_memory_usage_percentage"),
    }


def test_a_file_with_too_many_samples_or_a_name_of_its_own_is_refused() -> None:
    sample = {"step": 0, "at": 1.0, "values": {"process_memory_megabytes": 1.0}}
    good = {"form": "1", "interval_seconds": 10.0, "samples": [sample]}
    assert SystemMetrics.from_json(good).samples[0].step == 0
    for bad in (
        {"samples": [sample] * (MOST_SAMPLES + 1)},
        {"samples": [sample | {"step": 1}, sample]},
        {"samples": [sample | {"values": {"user": 1.0}}]},
        {"samples": [sample | {"values": {"process_memory_megabytes": float("nan")}}]},
        {"form": "2"},
    ):
        with pytest.raises(ValidationError):
            SystemMetrics.from_json(good | bad)
