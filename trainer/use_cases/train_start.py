"""How a run of a training file begins: what it is kept as, what is noted of it, and what is registered or recalled by then."""

import time
from collections.abc import Iterator
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.disk.process_identity import this_process
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.sources import own_key
from peft_registry.registry.records.stops import require_sources_not_stopped
from peft_registry.registry.records.tries import contents_digest, plan_digest, rows_digest
from peft_registry.registry.verification.signed_versions import signed_versions
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import TrainingFile, config_identity, config_record
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.progress import Observe
from peft_registry.schemas.run import BegunRun, KeptRun
from peft_registry.schemas.run_log import RunBegun
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.scope import FULL, SCREENED
from peft_registry.trainer.inputs.benchmark_tasks import rows_of_file_tasks
from peft_registry.trainer.inputs.start import pinned
from peft_registry.trainer.inputs.training_file import LoadedConfig
from peft_registry.trainer.runs.begun import content_digest, unordered_digest
from peft_registry.trainer.runs.resume import new_run, report_resumable_runs
from peft_registry.trainer.use_cases.train_plan import TrainingPlan


def run_from_beginning(registry: Registry, plan: TrainingPlan, observe: Observe) -> KeptRun:
    """A run that begins now, after those of the same file that could be resumed were named."""
    report_resumable_runs(registry.files.runs, observe, name=plan.loaded.config.name, file=plan.path)
    return new_run(
        plan.loaded.config,
        run_id=registry.nonce(),
        path=plan.path,
        overrides=plan.overrides,
        base=plan.base.manifest_digest,
        started_at=registry.clock(),
    )


def logged_beginning(plan: TrainingPlan, run: KeptRun, comparison: str | None) -> RunBegun:
    """What the log of a run, new or resumed, begins with."""
    config = plan.loaded.config
    return RunBegun(
        run_id=run.run_id,
        name=config.name,
        project=config.project,
        method=config.method,
        base=plan.base.label,
        settings=config_record(config),
        comparison=comparison,
        config=run.config,
        overrides=run.overrides,
        started_at=run.started_at,
        at=time.time(),
        process=this_process(),
    )


def begun_run(loaded: LoadedConfig, kept: KeptRun) -> BegunRun:
    """The line of a run in the list of those that were begun; data of the Hub counts by its name.

    Raises:
        OSError: a file of the data cannot be read.
    """
    paths = _data_paths(loaded)
    rows = [str(unordered_digest(path)) if path.is_file() else name for name, path in paths]
    return BegunRun(
        run_id=kept.run_id,
        plan=plan_digest(loaded.config, kept.base, data_named(loaded)),
        rows=rows_digest(loaded.config, kept.base, rows),
        contents=contents_digest(loaded.config.method, kept.base, content_digest(paths[0][1]) if paths else None),
        seed=loaded.config.training.seed,
        started_at=kept.started_at,
    )


def data_named(loaded: LoadedConfig) -> list[str]:
    """The digest of each file of the data, the one to train on first; data of the Hub by its name.

    Raises:
        OSError: a file of the data cannot be read.
    """
    return [str(hash_file(path).sha256) if path.is_file() else name for name, path in _data_paths(loaded)]


def _data_paths(loaded: LoadedConfig) -> list[tuple[str, Path]]:
    parts = (loaded.config.data.train, loaded.config.data.validation)
    return [(part.path, loaded.resolve(part.path)) for part in parts if part.path is not None]


def require_usable_key(registry: Registry, name: str) -> None:
    """Raise where the key that would register a result is recalled, before any process begins.

    Raises:
        VersionStopped: it is.
    """
    require_sources_not_stopped(registry, "train", name, [own_key(registry)])


def registered_before(registry: Registry, loaded: LoadedConfig, base: Version) -> Version | None:
    """The version that this very file gave before: same configuration, base, start and data, by what was signed of each.

    A file that leaves to the costs which part of each suite is asked gave a version that says which it was.

    Raises:
        VersionsDiffer: a row of a version of that name is not what was signed or logged.
    """
    loaded, _ = pinned(registry, loaded, base)
    wanted = {canonical_digest(config_identity(config)) for config in _files_as_recorded(loaded.config)}
    for version in reversed(_versions_of(registry, loaded.config.name)):
        run = records_of(registry, version).run
        if run is None or run.base.manifest != base.manifest_digest:
            continue
        if run.config_sha256 in wanted and same_data(loaded, run.data) and _same_tasks(registry, loaded, version):
            return version
    return None


def _same_tasks(registry: Registry, loaded: LoadedConfig, version: Version) -> bool:
    """Whether the tasks that a training file names were asked of a version on these very rows.

    Of other rows the training gives the same weights, and they get an evaluation more.
    """
    if not loaded.config.evaluation.tasks:
        return True
    wanted = rows_of_file_tasks(loaded)
    asked = (
        {used.name: used.sha256 for used in evaluation.datasets}
        for evaluation in records_of(registry, version).evaluations
    )
    return any(wanted.items() <= datasets.items() for datasets in asked)


def _files_as_recorded(config: TrainingFile) -> Iterator[TrainingFile]:
    """The file as the record of its run would have it: one for each part that the costs may have chosen."""
    asked = config.evaluation
    for part in (SCREENED, FULL) if asked.half == "auto" else (asked.half,):
        yield config.revised(evaluation=asked.revised(half=part))


def _versions_of(registry: Registry, name: str) -> tuple[Version, ...]:
    """The versions of a name by number, each as it was signed and logged; its row alone decides nothing."""
    with registry.database.read() as tx:
        versions = catalog.versions_of(tx, name)
    if not versions:
        try:
            version_named(registry, name)  # says so where the log has some
        except NotFound:
            return ()
    return signed_versions(registry, versions)


def same_data(loaded: LoadedConfig, recorded: tuple[DataIdentity, ...]) -> bool:
    """Whether the files that a training file names are, byte by byte, those that a run recorded."""
    data = loaded.config.data
    paths = [loaded.resolve(path) for path in (data.train.path, data.validation.path) if path is not None]
    if not all(path.is_file() for path in paths):  # of the Hub: known only once they are fetched
        return False
    return [hash_file(path).sha256 for path in paths] == [record.sha256 for record in recorded]
