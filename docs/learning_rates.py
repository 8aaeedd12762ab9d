"""What the product knows of learning rates, from measured sweeps: `python -m docs.learning_rates [SWEEP.json …]`.

Every measured point is kept in `docs/measured/learning_rates`, one file a method: the answers of `registry compare --sweep
learning_rate` with the commands that made them. A point is a short training: held-out loss before and after, or why it failed.
A new answer takes the place of what was kept of its methods on its base; other methods and bases keep what they have. What
follows from the points of a method on a base, its best rate and the range that does nearly as well, is all that the package holds.
Without arguments that table is written again from the kept points.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POINTS = ROOT / "docs" / "measured" / "learning_rates"
TABLE = ROOT / "trainer" / "methods" / "learning_rates.json"
NEARLY_AS_GOOD = 0.8  # of the best improvement: inside the range


def main(sweep_files: Sequence[str], kept: Path = POINTS, table: Path = TABLE) -> None:
    """Keep what these answers say of each method on a base, and write the table that follows from all that is kept."""
    for name in sweep_files:
        answer = json.loads(Path(name).read_text("utf-8"))
        for method, sweep in _of_each_method(answer):
            others = [other for other in kept_sweeps(method, kept) if other["base"] != sweep["base"]]
            ordered = sorted([*others, sweep], key=lambda one: one["parameters"])
            text = json.dumps({"schema_version": "1", "sweeps": ordered}, indent=1) + "\n"
            (kept / f"{method}.json").write_text(text, "utf-8")
    table.write_text(table_text(all_sweeps(kept)), "utf-8")


def kept_sweeps(method: str, kept: Path = POINTS) -> list[dict[str, Any]]:
    """The sweeps of a method with every point that was measured, the smallest base first; none where it was not measured."""
    path = kept / f"{method}.json"
    if not path.exists():
        return []
    sweeps: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["sweeps"]
    return sweeps


def all_sweeps(kept: Path = POINTS) -> list[dict[str, Any]]:
    """The sweeps of every method, in the order of the table of methods."""
    from peft_registry.schemas.methods import METHOD_NAMES

    return [sweep for method in METHOD_NAMES for sweep in kept_sweeps(method, kept)]


def table_text(sweeps: Sequence[dict[str, Any]]) -> str:
    """The file of the package that follows from these sweeps."""
    return json.dumps({"schema_version": "1", "rates": measured_rates(sweeps)}, indent=1) + "\n"


def measured_rates(sweeps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every method on every base that it ran on, in the order of the sweeps."""
    rows = []
    for sweep in sweeps:
        for method, own in _of_each_method(sweep):
            if any(point["after"] is not None for point in own["points"]):
                rows.append({"method": method, "base": sweep["base"], **_range_of(own["points"])})
    return rows


def _of_each_method(sweep: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The methods of an answer, each with the answer that has its points alone."""
    for method in dict.fromkeys(point["method"] for point in sweep["points"]):
        yield method, sweep | {"points": [point for point in sweep["points"] if point["method"] == method]}


def _range_of(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The best rate, the lowest and highest nearly as good, the span that was tried, and the steps of the runs."""
    finished = sorted(
        (point for point in points if point["after"] is not None), key=lambda point: point["learning_rate"]
    )
    improvements = {point["learning_rate"]: point["before"] - point["after"] for point in finished}
    best = max(improvements, key=lambda rate: improvements[rate])
    nearly_as_good = [rate for rate, value in improvements.items() if value >= NEARLY_AS_GOOD * improvements[best]]
    tried = [point["learning_rate"] for point in points]
    steps = [point["steps"] for point in points if point.get("steps")]
    return {
        "best": best,
        "low": min(nearly_as_good),
        "high": max(nearly_as_good),
        "tried": [min(tried), max(tried)],
        "steps": [min(steps), max(steps)] if steps else None,
    }


if __name__ == "__main__":
    main(sys.argv[1:])
