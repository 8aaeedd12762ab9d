"""Every bench works: each is run here on as little as it takes, for what it prints and not for its figures."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.__main__ import SMALLEST, title
from tests.bench.overhead import IDENTITY, REGISTRATION, USE_CASES
from tests.processes.interpreter import ROOT

NUMBER = r"[+-]?\d[\d.e+-]*"
PRINTED = {
    "start_up": [r"start-up     registry --help .* CPU s  \(bar", r"start-up     registry list .* CPU s  \(bar"],
    "verification": [
        *(rf"{what} .*; ratio {NUMBER}  \(bar" for what in ("verify", "command", "again", "digests")),
        rf"deep         4 versions: {NUMBER} s",
    ],
    "lists": [
        rf"list         \d+ verifications {NUMBER} CPU s; .* ratio {NUMBER} \(bar",
        rf"processes    2 take {NUMBER} s, one {NUMBER} s; ratio {NUMBER} \(bar",
        rf"seam         2 items of {NUMBER} s by 2 processes {NUMBER} s, .* more \(bar",
    ],
    "merging": [
        rf"ratio        peft / engine: {NUMBER} \(bar 5\), CPU time {NUMBER}; 0 of \d+ values differ",
        rf"memory       engine VmHWM {NUMBER} MiB",
        rf"command      registry merge {NUMBER} s, everything included",
        rf"memory       the same with twice the layers: {NUMBER} MiB",
        *(rf"weighted     {kind} +ours {NUMBER}  cat {NUMBER}" for kind in ("LoRA", "rsLoRA")),
    ],
    "training": [rf"  ratio      {NUMBER} \(of each round: {NUMBER}; bar {NUMBER}\), by the clock {NUMBER}, memory"],
    "overhead": [
        rf"overhead     training {NUMBER} s; base identity {NUMBER} s",
        rf"run log      {NUMBER} points: {NUMBER} CPU s, {NUMBER}% of the training",
        rf"first point  in the log {NUMBER} s after the training began \(bar 30\)",
    ],
    "evaluation": [
        rf"held in bf16 2 items  ×{NUMBER} the time of a wide copy",
        *(rf"{suite} +\d items  ours .*  ×{NUMBER}, goal ×" for suite in ("crows_pairs", "bbq")),
    ],
    "log": [
        rf"alias        open and read as the log has it {NUMBER} ms, the row alone",
        rf"log check    \d+ entries with signatures: {NUMBER} s",
        *(rf"{what} +300 .*a million {NUMBER} s \(bar" for what in ("tree", "projection")),
        rf"signature    {NUMBER} µs, the library alone {NUMBER} µs \(bar",
    ],
    "reading": [
        rf"sqlite       alias +{NUMBER} ms at 20, {NUMBER} ms at 22  slope {NUMBER} \(bar",
        r"sqlite       alias page +no home is so large that the answer fills a page of 5",
        rf"sqlite       verdict --all +{NUMBER} ms at 20",
        *(
            rf"beside MLflow {name} +its client {NUMBER} ms; our rows"
            for name in ("alias", "digest", "method page", "all versions")
        ),
    ],
    "ui": [
        rf"ratio    {NUMBER}, goal 1.3",
        *(
            rf"pages    {what} +{NUMBER} s \(bar {NUMBER}\), {NUMBER} CPU s; again"
            for what in ("newest runs", "models", "all runs by a metric")
        ),
        rf"memory   {NUMBER} MB \(bar 400\)",
    ],
    "gpu": [
        r"1 bf16       `auto` takes: (bf16|fp32) on ",
        r"2 kernels    two trainings of one file: equal weights; without a deterministic kernel: none",
        rf"8 scoring    fp32, beside training: {NUMBER} and {NUMBER} tokens/s",
        rf"13 logits    64 tokens × 300, in pieces: {NUMBER} ms",
    ],
}
"""What each prints in the end, a pattern a line, in their order."""
TOOLS = {
    "__init__",
    "__main__",
    "load",
    "large_adapter",
    "machine",
    "material",
    "mlflow_peer",
    "programs",
    "test_benches",
}
"""What is beside the benches and is none: `load` fills a home, the others are read by several."""


def test_the_table_of_benches_names_all_that_there_are() -> None:
    assert {path.stem for path in Path(__file__).parent.glob("*.py")} - TOOLS == set(SMALLEST) == set(PRINTED)


@pytest.mark.parametrize("name", IDENTITY + REGISTRATION)
def test_what_the_overhead_bench_times_is_a_function_that_the_train_use_case_calls(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"{USE_CASES}.{name}"))


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What each bench prints at its smallest, by its name."""
    command = [sys.executable, "-m", "tests.bench", "--smallest"]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    parts = re.split(f"^{title('([a-z_]+)')}$", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.peers
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", SMALLEST)
def test_a_bench_ends_with_its_figures(name: str, printed: dict[str, str], request: pytest.FixtureRequest) -> None:
    if name == "evaluation":
        request.getfixturevalue("test_data")
    text = printed[name]
    assert re.match(rf"\nmachine .* {NUMBER} CPU s\n", text), text
    at = 0
    for pattern in PRINTED[name]:
        match = re.compile(f"^{pattern}", re.MULTILINE).search(text, at)
        assert match, f"no line begins with {pattern} in\n{text[at:]}"
        at = match.end()
