"""How many trainings of one plan were begun that differ in their seed alone: those of the home's list, and those registered.

Whoever trains with ten seeds and registers the best has begun ten runs. The home's list has them where they were begun in this
home; runs of other homes count where they are registered here. A list that was deleted, or a training by other means, is not seen.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import TrainingFile, seedless_identity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import BegunRun, RunRecord

_MAX_LIST = 64 * 1024 * 1024  # bytes from the end of the list that are read
_MAX_ARTIFACTS = 1000  # of one data file that are looked at


def plan_digest(config: TrainingFile, base: Digest, data: Iterable[str]) -> Digest:
    """What runs of one plan have in common: the file without its seed, the base's manifest, the digests or names of its data."""
    return canonical_digest({"config": seedless_identity(config), "base": str(base), "data": list(data)})


def tries_of_run(registry: Registry, run: RunRecord) -> Tries:
    """The seeds and the runs of a recorded run's plan, itself among them.

    Raises:
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`, of a version that was trained on the same data.
    """
    return _count([(run.run_id, run.seed), *_begun(registry.files.begun, run.run_id), *_registered(registry, run)])


def tries_of_begun(registry: Registry, run_id: str) -> Tries:
    """The same of a run that is not registered yet."""
    return _count(_begun(registry.files.begun, run_id))


def most_tries(tries: Iterable[Tries]) -> Tries:
    """Of several trainings that went into one result the largest number; one where there is none."""
    return max(tries, key=lambda one: (one.seeds, one.runs), default=ONE_TRY)


def _count(runs: Iterable[tuple[str, int]]) -> Tries:
    seeds = dict(runs)
    return Tries(max(1, len(set(seeds.values()))), max(1, len(seeds)))


def _begun(path: Path, run_id: str) -> Iterator[tuple[str, int]]:
    """Id and seed of every run in the list that has the plan of this one; none where the list does not have it."""
    entries = list(_entries(path))
    plans = {entry.plan for entry in entries if entry.run_id == run_id}
    return ((entry.run_id, entry.seed) for entry in entries if entry.plan in plans)


def _entries(path: Path) -> Iterator[BegunRun]:
    """The readable lines of the list, the first of them cut off where it is very long."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MAX_LIST))
        lines = file.read(_MAX_LIST).splitlines()
    for line in lines:
        try:
            yield BegunRun.model_validate_json(line)
        except ValidationError:  # a line that a kill cut short
            continue


def _registered(registry: Registry, run: RunRecord) -> Iterator[tuple[str, int]]:
    """Id and seed of every registered run of the same plan."""
    plan = _recorded_plan(run)
    if plan is None or not run.data:
        return
    with registry.database.read() as tx:
        artifacts = catalog.artifacts_of_data(tx, run.data[0].sha256)[:_MAX_ARTIFACTS]
        versions = [version for digest in artifacts for version in catalog.version_by_digest(tx, digest)[:1]]
    for version in versions:
        other = records_of(registry, version).run
        if other is not None and other.base == run.base and _recorded_plan(other) == plan:
            yield other.run_id, other.seed


def _recorded_plan(run: RunRecord) -> Digest | None:
    """The plan of a recorded run; None where its file cannot be read as one of today."""
    try:
        config = TrainingFile.model_validate_json(json.dumps(run.config))  # a list of JSON is a tuple here
    except ValidationError:
        return None
    return plan_digest(config, run.base.manifest or run.weights_digest, [str(one.sha256) for one in run.data])
