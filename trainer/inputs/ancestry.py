"""Every training run that something was made from, through merges and through starting adapters."""

from collections.abc import Iterable

from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.identity import Digest


def trained_on(registry: Registry, digests: Iterable[Digest]) -> tuple[TrainedRun, ...]:
    """The training runs that made these artifacts, and those of all that they were merged from or continued from, each once.

    Raises:
        StatementAltered: as `records_of`.
    """
    found: dict[Digest, TrainedRun] = {}
    waiting = list(digests)
    while waiting:
        digest = waiting.pop()
        with registry.database.read() as tx:
            versions = catalog.version_by_digest(tx, digest)
        records = records_of(registry, versions[0]) if versions else None
        if digest in found or (records is not None and records.base is not None):
            continue
        if records is not None:
            waiting += [parent.manifest for parent in records.manifest.parents if parent.role != "base"]
        if records is not None and records.merge is not None:
            continue
        label = versions[0].label if versions else digest.short
        found[digest] = TrainedRun(label=label, manifest=digest, run=records.run if records else None)
    return tuple(found.values())
