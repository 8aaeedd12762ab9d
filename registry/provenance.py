"""The provenance statement of a run: SLSA provenance v1, with the whole run record under our own name beside it.

Standard readers find the build type, what the user chose, the resolved dependencies and the builder; ours read the run.
"""

from typing import Any

from schemas.run import RunRecord
from schemas.statement import BUILD_TRAIN, BUILDER_ID

RUN_FIELD = "urn:peft-registry:run:v1"


def provenance_predicate(run: RunRecord) -> dict[str, Any]:
    """The SLSA v1 predicate of a training run (https://slsa.dev/spec/v1.0/provenance)."""
    base = run.base.identity
    dependencies = [{"name": "base-weights", "digest": {"sha256": base.weights.hex}}]
    dependencies += [{"name": one.name, "digest": {"sha256": one.sha256.hex}} for one in run.data]
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
