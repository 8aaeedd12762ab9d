"""The provenance statement of a run, a merge or an import: SLSA provenance v1, with the whole record under our own name beside it.

Standard readers find the build type, what the user chose, the resolved dependencies and the builder; ours read the run.
"""

from collections.abc import Mapping
from typing import Any

from peft_registry.schemas.identity import is_project
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import BUILD_IMPORT, BUILD_MERGE, BUILD_TRAIN, BUILDER_ID

RUN_FIELD = "urn:peft-registry:run:v1"
MERGE_FIELD = "urn:peft-registry:merge:v1"
IMPORT_FIELD = "urn:peft-registry:import:v1"


def provenance_predicate(run: RunRecord) -> dict[str, Any]:
    """The SLSA v1 predicate of a training run (https://slsa.dev/spec/v1.0/provenance)."""
    base = run.base.identity
    dependencies = [{"name": "base-weights", "digest": {"sha256": base.weights.hex}}]
    dependencies += [{"name": file.name, "digest": {"sha256": file.sha256.hex}} for file in run.data]
    return {
        "buildDefinition": {
            "buildType": BUILD_TRAIN,
            "externalParameters": run.config,
            "internalParameters": {"seed": run.seed, "libraries": run.environment.libraries},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": BUILDER_ID, "version": {"peft-registry": run.environment.code_version}},
            "metadata": {"invocationId": run.run_id, "startedOn": run.started_at, "finishedOn": run.finished_at},
        },
        RUN_FIELD: run.to_json(),
    }


def run_of(predicate: dict[str, Any]) -> RunRecord | None:
    """The run record inside a provenance predicate; None in one that another tool wrote."""
    value = predicate.get(RUN_FIELD)
    return None if value is None else RunRecord.from_json(value)


def merge_provenance(merge: MergeRecord) -> dict[str, Any]:
    """The SLSA v1 predicate of a merge."""
    dependencies = [{"name": "base-weights", "digest": {"sha256": merge.base.identity.weights.hex}}]
    dependencies += [{"name": part.label, "digest": {"sha256": part.manifest.hex}} for part in merge.ingredients]
    parameters = {
        "algorithm": merge.algorithm,
        "formula": merge.formula,
        "weights": [part.weight for part in merge.ingredients],
        "densities": [part.density for part in merge.ingredients],
        "dtype": merge.dtype,
        "base_policy": merge.base_policy,
    }
    return {
        "buildDefinition": {
            "buildType": BUILD_MERGE,
            "externalParameters": parameters,
            "internalParameters": {"seed": merge.seed, "libraries": merge.environment.libraries},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": BUILDER_ID, "version": {"peft-registry": merge.environment.code_version}},
            "metadata": {
                "invocationId": merge.merge_id,
                "startedOn": merge.started_at,
                "finishedOn": merge.finished_at,
            },
        },
        MERGE_FIELD: merge.to_json(),
    }


def merge_of(predicate: dict[str, Any]) -> MergeRecord | None:
    """The merge record inside a provenance predicate; None in that of anything else."""
    value = predicate.get(MERGE_FIELD)
    return None if value is None else MergeRecord.from_json(value)


def import_provenance(record: ImportRecord) -> dict[str, Any]:
    """The SLSA v1 predicate of an import: what was taken in, and nothing of how it was trained, which nobody here saw."""
    dependencies = [{"name": "base-weights", "digest": {"sha256": record.base.identity.weights.hex}}]
    dependencies += [{"name": source.path, "digest": {"sha256": source.sha256.hex}} for source in record.sources]
    return {
        "buildDefinition": {
            "buildType": BUILD_IMPORT,
            "externalParameters": {"producer": record.producer, "method": record.method, "base": record.fit.named},
            "internalParameters": {},
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {"id": BUILDER_ID, "version": {"peft-registry": record.tool_version}},
            "metadata": {
                "invocationId": record.import_id,
                "startedOn": record.started_at,
                "finishedOn": record.finished_at,
            },
        },
        IMPORT_FIELD: record.to_json(),
    }


def production_of(predicate: dict[str, Any]) -> RunRecord | MergeRecord | ImportRecord | None:
    """How something was made, in a provenance predicate of this tool; None in one that another tool wrote."""
    return run_of(predicate) or merge_of(predicate) or import_of(predicate)


def project_of(predicate: Mapping[str, Any]) -> str | None:
    """The project that a provenance predicate of this tool names; None for none, and for what cannot name one.

    The rest of its record is not read: a long run has a curve of many thousand points.
    """
    for field in (RUN_FIELD, MERGE_FIELD, IMPORT_FIELD):
        value = predicate.get(field)
        if isinstance(value, dict):
            project = value.get("project")
            return project if isinstance(project, str) and is_project(project) else None
    return None


def import_of(predicate: dict[str, Any]) -> ImportRecord | None:
    """The import record inside a provenance predicate; None in that of anything else."""
    value = predicate.get(IMPORT_FIELD)
    return None if value is None else ImportRecord.from_json(value)
