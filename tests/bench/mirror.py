"""What a catch-up of the mirror costs: CPU seconds a version, how they grow, memory, and what a check costs.

    python -m tests.bench.mirror [--sizes 1000 3000 10000] [--check-up-to 1000] [--peer-versions 200]

A check is that of the user who copied the versions: what was sealed when it was written is read back, and compared with its seal.
Homes of up to `--check-up-to` versions are compared in full as well, as by whoever has no seals, or asks for it with `--full`.

A home of each size is filled by `tests.bench.load` and copied to an MLflow store of its own, in a process of its own. The peer
is the way in which fewer than eight versions are copied, and all were before: MLflow's client, with its batch calls for the
tags, parameters and metrics of a run, in the order of `registry/mlflow/runs.py`, on `--peer-versions` versions of the same
kind in the same run. It reads and renders as we do: what was gained there since is not in the ratio. A peer with one call for
each tag and metric would be slower by what nobody did. CPU seconds of one process, without those in which MLflow makes its
tables.
"""

import argparse
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from tests.bench.load import fill
from tests.bench.machine import machine
from tests.bench.programs import python

RATIO_BAR = 1 / 3
SLOPE_BAR = 0.1
CHECK_BAR = 1 / 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What one home cost: CPU milliseconds a version to write and to check, also in full (None: not asked), MiB at the peak of
    writing; `sealed` of the versions were compared with their seals alone."""

    versions: int
    write_ms: float
    peak_mib: float
    sealed: int
    check_ms: float
    full_ms: float | None


def measured(home: Path, *, by_client: bool, in_full: bool) -> Cost:
    """Copy a home that was never mirrored, in this process."""
    from peft_registry.registry.mlflow import mirror
    from peft_registry.registry.mlflow.checking import check_mirror
    from peft_registry.registry.mlflow.draining import sync_mirror
    from peft_registry.registry.mlflow.home_route import mirror_route
    from peft_registry.registry.mlflow.route import prepare_environment
    from peft_registry.registry.mlflow.surface import open_surface

    if by_client:
        mirror.TOGETHER_FROM = sys.maxsize
    prepare_environment()
    with closing(open_home(home, seen=SeenCheckpoints(home.parent / f"{home.name}-state", str))) as registry:
        open_surface(mirror_route(registry)).close()
        began = time.process_time()
        mirrored = sync_mirror(registry)
        write = time.process_time() - began
        peak = _peak_mib()
        assert mirrored.clean, mirrored.lines()
        versions = sum(mirrored.outcome.done.values())
        began = time.process_time()
        checked = check_mirror(registry)
        check = time.process_time() - began
        assert checked.exit_code == 0, checked.lines()
        full = None
        if in_full:
            began = time.process_time()
            assert check_mirror(registry, in_full=True).exit_code == 0
            full = (time.process_time() - began) / versions * 1000
    return Cost(versions, write / versions * 1000, peak, checked.sealed, check / versions * 1000, full)


def _peak_mib() -> float:
    """The most memory that this program had; `getrusage` counts that of the process that started it as well."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]  # Linux always has the line


def in_a_process_of_its_own(home: Path, *, by_client: bool = False, in_full: bool = False) -> Cost:
    """The same, so that one size does not warm or fill the memory of the next."""
    flags = ["--by-client"] * by_client + ["--in-full"] * in_full
    printed = python("-m", "tests.bench.mirror", "--home", str(home), *flags)
    return Cost(**json.loads(printed.splitlines()[-1]))


def slope(costs: list[Cost]) -> float:
    """Of the logarithm of the cost of a version over that of their number, by least squares."""
    points = [(math.log(cost.versions), math.log(cost.write_ms)) for cost in costs]
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    over = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return over / sum((x - middle_x) ** 2 for x, _ in points)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mirror", description="What a catch-up costs.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 3_000, 10_000], help="of homes, in versions")
    parser.add_argument("--peer-versions", type=int, default=200, help="that MLflow's client copies")
    parser.add_argument(
        "--check-up-to", type=int, default=1_000, help="the largest home that is compared in full as well"
    )
    parser.add_argument("--home", type=Path, help="measure this one home in this process, and print JSON")
    parser.add_argument("--by-client", action="store_true")
    parser.add_argument("--in-full", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.home is not None:
        print(json.dumps(asdict(measured(asked.home, by_client=asked.by_client, in_full=asked.in_full))))
        return
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        compare(Path(scratch), asked.sizes, peer_versions=asked.peer_versions, check_up_to=asked.check_up_to)


def compare(scratch: Path, sizes: list[int], *, peer_versions: int, check_up_to: int) -> None:
    """Print the peer, each size, and the ratios beside their bars."""
    fill(scratch / "peer", versions=peer_versions, stored=True)
    peer = in_a_process_of_its_own(scratch / "peer", by_client=True)
    print(f"mirror       {peer.versions:>6} versions by MLflow's client: {peer.write_ms:.1f} CPU ms a version")
    costs = []
    for size in sizes:
        home = scratch / str(size)
        fill(home, versions=size, stored=True)
        cost = in_a_process_of_its_own(home, in_full=size <= check_up_to)
        costs.append(cost)
        line = f"mirror       {cost.versions:>6} versions at once: {cost.write_ms:.1f} CPU ms a version"
        line += f", peak {cost.peak_mib:.0f} MiB"
        print(line)
        share = cost.check_ms / cost.write_ms
        line = f"check        {cost.versions:>6} versions, {cost.sealed} of them by their seals: "
        line += f"{cost.check_ms:.2f} CPU ms a version, {share:.3f} of writing (bar {CHECK_BAR:.2f})"
        if cost.full_ms is not None:
            line += f"; in full {cost.full_ms:.1f} ms, {cost.full_ms / cost.write_ms:.2f} of writing"
        print(line)
    print(f"ratio        {costs[-1].write_ms / peer.write_ms:.2f} of the client's (bar {RATIO_BAR:.2f})")
    if len(costs) > 1:
        print(f"growth       slope {slope(costs):.2f} (bar {SLOPE_BAR})")


if __name__ == "__main__":
    main()
