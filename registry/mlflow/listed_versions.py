"""Versions as lists show them, many together: what their runs and evaluations say, proven, without the modification record.

Deriving that record again is most of the time that the page of one version takes, and no list shows it. For an order of all
versions, of which a page is shown, they are read as the log has them: what is shown of it is proven then.
"""

from collections.abc import Callable, Collection, Sequence

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.projection import ListedProjection, project_listed
from peft_registry.registry.mlflow.shown_facts import ShownFacts
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.evaluations import judged_now, standing_evaluations
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.signed_records import (
    logged_statements_of_kinds,
    records_of,
    signed_statements_of_kinds,
)
from peft_registry.registry.records.standing_acts import person_of
from peft_registry.registry.verification.signed_versions import signed_manifest, signed_versions
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Parent
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import RegistrationPredicate, StatementKind, StoredStatement
from peft_registry.schemas.version import Version

_READ: tuple[StatementKind, ...] = ("registration", "provenance", "bias-evaluation")
Production = RunRecord | MergeRecord | ImportRecord


def listed_versions(registry: Registry, recorded: Sequence[Version]) -> list[ListedProjection | KnownError]:
    """Each of these versions as it was signed and logged, or why it cannot be shown. One that is damaged stops no other."""
    with registry.database.reading():
        try:
            return list(_listed_together(registry, recorded))
        except KnownError:  # of which of them, each says when it is read by itself
            return [_alone(_listed_together, registry, version) for version in recorded]


def logged_versions(registry: Registry, recorded: Sequence[Version]) -> list[ListedProjection | KnownError]:
    """The same by what the log has, for an order: no signature is checked, nothing but the rows says what a version is.

    What a version was made from is left out, because that stands in its manifest.
    """
    with registry.database.reading():
        try:
            return list(_logged_together(registry, recorded))
        except KnownError:
            return [_alone(_logged_together, registry, version) for version in recorded]


def _alone(
    read: Callable[[Registry, Sequence[Version]], list[ListedProjection]], registry: Registry, version: Version
) -> ListedProjection | KnownError:
    try:
        (listed,) = read(registry, (version,))
    except KnownError as error:
        return error
    return listed


def _listed_together(registry: Registry, recorded: Sequence[Version]) -> list[ListedProjection]:
    versions = signed_versions(registry, recorded)
    said = signed_statements_of_kinds(registry, {version.manifest_digest for version in versions}, _READ)
    covered = covered_size(registry)
    return [
        _listed(
            registry,
            version,
            said[version.manifest_digest],
            covered,
            parents=signed_manifest(registry, version).parents,
        )
        for version in versions
    ]


def _logged_together(registry: Registry, recorded: Sequence[Version]) -> list[ListedProjection]:
    said = logged_statements_of_kinds(registry, {version.manifest_digest for version in recorded}, _READ)
    covered = covered_size(registry)
    return [_listed(registry, version, said[version.manifest_digest], covered) for version in recorded]


def _listed(
    registry: Registry,
    version: Version,
    statements: Sequence[StoredStatement],
    covered: int,
    parents: Sequence[Parent] | None = None,
) -> ListedProjection:
    """What lists show of a version; `parents` are those of its manifest, None where that is not read."""
    if sum(stored.kind == "registration" for stored in statements) > 1:
        # equal bytes under several names: which statement speaks of which version takes all of them
        records = records_of(registry, version)
        made: Production | None = records.run or records.merge or records.imported
        evaluations = records.evaluations
    else:
        accompanied_by = _accompanied_by(statements)
        made = _made(statements, accompanied_by)
        evaluations = tuple(
            stored.statement.read_by(EvaluationRecord.from_json)
            for stored in statements
            if stored.kind == "bias-evaluation"
            and (stored.digest in accompanied_by or (stored.log_index or 0) < covered)
        )
    if parents is None and isinstance(made, ImportRecord):
        version = version.revised(origin="imported")  # as its manifest does
    parents = parents or ()
    shown = ShownFacts(
        version=version,
        made=None if isinstance(made, ImportRecord) else made,
        evaluations=judged_now(registry, version, standing_evaluations(registry, version, evaluations)),
        evaluated=len(evaluations),
        signer=person_of(registry, version.key_id),
        project=None if made is None else made.project,
        parents=tuple(parent.manifest for parent in parents),
        continues=next((parent.manifest for parent in parents if parent.role == "start"), None),
    )
    return project_listed(shown)


def _accompanied_by(statements: Sequence[StoredStatement]) -> Collection[Digest]:
    registration = next((stored for stored in statements if stored.kind == "registration"), None)
    if registration is None:
        return ()
    return registration.statement.read_by(RegistrationPredicate.from_json).accompanied_by


def _made(statements: Sequence[StoredStatement], accompanied_by: Collection[Digest]) -> Production | None:
    """How the version was made, as its registration names it; a later word on that does not replace it."""
    said = [stored for stored in statements if stored.kind == "provenance"]
    own = [stored for stored in said if stored.digest in accompanied_by] or said
    return own[-1].statement.read_by(production_of) if own else None
