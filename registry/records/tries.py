"""How many trainings of one plan were begun that differ in their seed alone: those of the home's list, and those registered.

Whoever trains with ten seeds and registers the best has begun ten runs. The home's list has them where they were begun in this
home; runs of other homes count where they are registered here. A list that was deleted, or a training by other means, is not seen.
Rows in another order, or a learning rate that differs in its last digit, make another plan: runs of the same method on the same
base and rows are counted beside it. A row that was changed makes other rows, and such runs are not seen.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import elsewhere, records_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import TrainingFile, seedless_identity
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import BegunRun, RunRecord
from peft_registry.schemas.version import Version

MAX_LIST = 64 * 1024 * 1024  # bytes: about 200,000 runs
_MAX_LINE = 4096  # bytes; a line of the tool's own has about 300
_MAX_UNREADABLE = 1000  # lines that a kill cut short; a list with more was not written by runs
_MAX_ARTIFACTS = 1000  # of one data file that are looked at
RunOf = Callable[[Version], RunRecord | None]
"""The run that a version is recorded to come from."""


class BegunListUnreadable(NotChecked):
    what = "how many runs were begun cannot be counted from {path}"
    why = "{reason}; whether a result is the best of many seeds depends on it"
    fix = "remove from the file what is not a line of a run, or restore it from a backup; do not delete it: it has every try"

    path: str
    reason: str


def plan_digest(config: TrainingFile, base: Digest, data: Iterable[str]) -> Digest:
    """What runs of one plan have in common: the file without its seed, the base's manifest, the digests or names of its data."""
    return canonical_digest({"config": seedless_identity(config), "base": str(base), "data": list(data)})


def rows_digest(config: TrainingFile, base: Digest, rows: Iterable[str]) -> Digest:
    """What runs on the same rows have in common, whatever their settings.

    Args:
        config: its method counts, and nothing else of it.
        base: manifest of the base.
        rows: of each file of data a digest that the order of its rows does not change, or its name on the Hub.
    """
    return canonical_digest({"method": config.method, "base": str(base), "rows": list(rows)})


def followed_plan_digest(config: Mapping[str, Any], base: Digest, data: Iterable[str]) -> Digest:
    """What followed trainings of one plan have in common: the recorded settings without the seed, the base and the data."""
    training = {name: value for name, value in config.get("training", {}).items() if name != "seed"}
    return canonical_digest({"config": {**config, "training": training}, "base": str(base), "data": list(data)})


def contents_digest(method: str, base: Digest, rows: Digest | None) -> Digest | None:
    """What runs on the same rows have in common, whoever's trainer they ran in; None where the rows are not known as values.

    Args:
        method: of the training.
        base: manifest of the base.
        rows: a digest of the training rows as values, which their order does not change.
    """
    if rows is None:
        return None
    return canonical_digest({"method": method, "base": str(base), "contents": str(rows)})


def require_readable_list(path: Path) -> None:
    """Raise BegunListUnreadable if the list of a home cannot be read, so that no run ends at an evaluation that needs it."""
    for _ in _entries(path):
        pass


def tries_of_run(registry: Registry, run: RunRecord) -> Tries:
    """The seeds and the runs of a recorded run's plan, itself among them.

    Raises:
        BegunListUnreadable: the home's list is too long, or holds what no run wrote.
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`, of a version that was trained on the same data.
    """
    return tries_of_runs(registry, [run])[0]


def tries_of_runs(registry: Registry, runs: Iterable[RunRecord]) -> tuple[Tries, ...]:
    """The same of each of several recorded runs; a version that was trained on the data of many of them is read once.

    Raises:
        BegunListUnreadable, StatementAltered, RecordUnreadable, VersionsDiffer: as `tries_of_run`.
    """
    around = elsewhere(registry)
    run_of = cache(lambda version: records_of(registry, version, around).run)
    return tuple(_tries_of(registry, run, run_of) for run in runs)


def _tries_of(registry: Registry, run: RunRecord, run_of: RunOf) -> Tries:
    same, others = _begun(registry.files.begun, run.run_id)
    registered, other_settings = _registered(registry, run, run_of)
    return _count({run.run_id: run.seed} | same | registered, others | other_settings)


def tries_of_begun(registry: Registry, run_id: str) -> Tries:
    """The same of a run that is not registered yet.

    Raises:
        BegunListUnreadable: the home's list is too long, or holds what no run wrote.
    """
    return _count(*_begun(registry.files.begun, run_id))


def most_tries(tries: Iterable[Tries]) -> Tries:
    """Of several trainings that went into one result the largest number; one where there is none."""
    return max(tries, key=lambda counted: (counted.seeds, counted.runs, counted.others), default=ONE_TRY)


def _count(seeds: dict[str, int], others: frozenset[str]) -> Tries:
    return Tries(max(1, len(set(seeds.values()))), max(1, len(seeds)), len(others - seeds.keys()))


def _begun(path: Path, run_id: str) -> tuple[dict[str, int], frozenset[str]]:
    """Of every run in the list that has the plan of this one its id and seed; and the ids of those that have its rows alone.

    Nothing where the list does not have this run.
    """
    entries = list(_entries(path))
    own = [entry for entry in entries if entry.run_id == run_id]
    plans = {entry.plan for entry in own}
    # lines of older releases do not say
    rows = {entry.rows for entry in own} - {None}
    contents = {entry.contents for entry in own} - {None}
    same = {entry.run_id: entry.seed for entry in entries if entry.plan in plans}
    others = [entry.run_id for entry in entries if entry.rows in rows or entry.contents in contents]
    return same, frozenset(others)


def _entries(path: Path) -> Iterator[BegunRun]:
    """The readable lines of the list; a line that a kill cut short is left out.

    Raises:
        BegunListUnreadable: the list is too long, or holds what no run wrote.
    """
    if not path.is_file():
        return
    if path.stat().st_size > MAX_LIST:
        raise BegunListUnreadable(str(path), f"it has more than {MAX_LIST // 1024**2} MiB")
    unreadable = 0
    with path.open("rb") as file:
        while line := file.readline(_MAX_LINE):
            try:
                yield BegunRun.model_validate_json(line)
            except ValidationError:
                unreadable += 1
                if unreadable > _MAX_UNREADABLE:
                    raise BegunListUnreadable(
                        str(path), f"more than {_MAX_UNREADABLE} of its lines are not lines of a run"
                    ) from None


def _registered(registry: Registry, run: RunRecord, run_of: RunOf) -> tuple[dict[str, int], frozenset[str]]:
    """Of every registered run of the same plan its id and seed; and the ids of those of other settings on the same file."""
    plan = _recorded_plan(run)
    if plan is None or not run.data:
        return {}, frozenset()
    with registry.database.read() as tx:
        artifacts = catalog.artifacts_of_data(tx, run.data[0].sha256)[:_MAX_ARTIFACTS]
        versions = [version for digest in artifacts for version in catalog.version_by_digest(tx, digest)[:1]]
    runs = [run_of(version) for version in versions]
    on_base = [other for other in runs if other is not None and other.base == run.base]
    same = {other.run_id: other.seed for other in on_base if _recorded_plan(other) == plan}
    return same, frozenset(other.run_id for other in on_base if other.method == run.method)


def _recorded_plan(run: RunRecord) -> Digest | None:
    """The plan of a recorded run; None where its file cannot be read as one of today."""
    base = run.base.manifest or run.weights_digest
    data = [str(file.sha256) for file in run.data]
    if run.followed is not None:
        return followed_plan_digest(run.config, base, data)
    try:
        config = TrainingFile.model_validate_json(json.dumps(run.config))  # a list of JSON is a tuple here
    except ValidationError:
        return None
    return plan_digest(config, base, data)
