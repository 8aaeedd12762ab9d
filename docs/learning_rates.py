"""What the product knows of learning rates, from measured sweeps: `python -m docs.learning_rates [SWEEP.json …]`.

Every measured point is kept in `docs/measured/learning_rates.json`: the answers of `registry compare --sweep learning_rate`
with the commands that made them. A point is a short training: held-out loss before and after, or why it failed. What follows
from the points of a method on a base, its best rate and the range that does nearly as well, is all that the package holds.
Without arguments that table is written again from the kept points.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POINTS = ROOT / "docs" / "measured" / "learning_rates.json"
TABLE = ROOT / "trainer" / "methods" / "learning_rates.json"
NEARLY_AS_GOOD = 0.8  # of the best improvement: inside the range


def main(sweep_files: Sequence[str]) -> None:
    """Keep these sweeps in place of those before, where there are any, and write the table that follows."""
    if sweep_files:
        sweeps = [json.loads(Path(name).read_text("utf-8")) for name in sweep_files]
        POINTS.write_text(json.dumps({"schema_version": "1", "sweeps": sweeps}, indent=1) + "\n", "utf-8")
    TABLE.write_text(table_text(kept_sweeps()), "utf-8")


def kept_sweeps() -> list[dict[str, Any]]:
    """The sweeps with every point that was measured."""
    sweeps: list[dict[str, Any]] = json.loads(POINTS.read_text("utf-8"))["sweeps"]
    return sweeps


def table_text(sweeps: Sequence[dict[str, Any]]) -> str:
    """The file of the package that follows from these sweeps."""
    return json.dumps({"schema_version": "1", "rates": measured_rates(sweeps)}, indent=1) + "\n"


def measured_rates(sweeps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for every method on every base that it ran on, in the order of the sweeps."""
    rows = []
    for sweep in sweeps:
        methods = dict.fromkeys(point["method"] for point in sweep["points"])
        for method in methods:
            points = [point for point in sweep["points"] if point["method"] == method]
            if any(point["after"] is not None for point in points):
                rows.append({"method": method, "base": sweep["base"], **_range_of(points)})
    return rows


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
