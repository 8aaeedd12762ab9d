"""The run record: everything that happened in one training run, for the provenance statement and the modification record."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest, ProjectName
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.run_points import KeptRunPoints
from peft_registry.schemas.run_samples import KeptSamples
from peft_registry.schemas.run_states import BoundStates
from peft_registry.schemas.system_metrics import KeptSystemMetrics
from peft_registry.schemas.values import Timestamp, Value, unknown

TASKS_PREFIX = "tasks-"  # of the id that the runs of one list of tasks have in common


class Environment(Document):
    """Software and hardware of the run. `argv` never holds a path outside the project or a secret: paths are cut to base names.

    `distributions` are this tool and everything that it needs, with versions; written only where it is there: older records did
    not keep it.
    """

    python: str
    platform: str
    processor: str
    threads: int
    device: str
    dtype: str
    libraries: dict[str, str]
    argv: tuple[str, ...]
    code_version: str
    code_commit: str | None = None
    distributions: dict[str, str] | None = None

    @model_serializer(mode="wrap")
    def _without_absent_distributions(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.distributions is None:
            del value["distributions"]
        return value


class LossCurve(Document):
    """Training loss by optimizer step (nats per supervised token)."""

    steps: tuple[int, ...]
    loss: tuple[float, ...]


class DenseInputs(Document):
    """P and D of 6·P·D. `positions` went through the layers: tokens with padding, virtual tokens, repeats and trials."""

    parameters: int
    positions: int


class Compute(Document):
    """Compute of the run. FLOP figures are floats (they pass 2^53).

    `dense_inputs` is written only where it is there: older runs did not keep it.
    """

    param_update_flop: Value
    conservative_flop: Value  # 6·P·D over all parameters: drives the verdict
    tokens: Value  # tokens processed, repeats over epochs counted
    padding_tokens: Value
    supervised_tokens: Value
    evaluation_flop: Value = Field(default_factory=lambda: unknown("not counted"))
    recompute_flop: Value = Field(default_factory=lambda: unknown("no activation was recomputed or it was not counted"))
    hardware: Value = Field(default_factory=lambda: unknown("not read"))
    wall_seconds: Value
    hardware_hours: Value
    peak_memory_bytes: Value = Field(default_factory=lambda: unknown("not measured"))
    energy_kwh: Value = Field(default_factory=lambda: unknown("no energy sensor on this machine"))
    dense_inputs: DenseInputs | None = None  # what the conservative figure was computed from

    @model_serializer(mode="wrap")
    def _without_absent_inputs(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        if self.dense_inputs is None:
            del value["dense_inputs"]
        return value


class KeptTexts(Document):
    """The object that holds the hashes of what a run learnt from, so that a later evaluation finds its items among them.

    `share` of the hashes are kept, those of the lowest value; 1 where there is room for all.
    """

    form: str
    sha256: Digest
    bytes: int
    rows: int
    hashes: int
    share: float


class Coverage(Document):
    """The weights of one kind of matrix in the base, and how many of them lie in matrices that LoRA adapts."""

    kind: str  # attention, mlp, experts, shared experts, router or others
    weights: int
    adapted: int


def coverage_sentence(coverage: tuple[Coverage, ...]) -> str:
    """`11 % of the weights of all matrices: attention 100 %, experts 0 %, router 0 %`; embeddings and head are not counted."""
    whole = sum(entry.weights for entry in coverage)
    adapted = sum(entry.adapted for entry in coverage)
    kinds = ", ".join(f"{entry.kind} {entry.adapted / entry.weights:.0%}" for entry in coverage if entry.weights)
    return f"{adapted / whole:.0%} of the weights of all matrices: {kinds}" if whole else "no matrix"


class Trial(Document):
    """One attempt of a method that tries several seeds."""

    seed: int
    score: float
    chosen: bool


class KeptStep(Document):
    """Whose step's weights a run kept that compared them on held-out rows while it trained.

    These rows chose the result, so that no figure of them is evidence about it: it is reported on others.
    """

    step: int
    trained: int  # steps that were taken
    asked: int  # steps of the training file
    metric: str
    value: float
    looks: int
    rows: int  # that were looked at
    patience: int
    epochs: Value  # passes over the training rows up to the kept step


def kept_sentence(kept: KeptStep) -> str:
    """Which step was kept, and why."""
    name = kept.metric.replace("_", " ")
    rows = "1 validation row" if kept.rows == 1 else f"{kept.rows} validation rows"
    looks = "the only look" if kept.looks == 1 else f"the best of {kept.looks} looks"
    figure = f"{name} {kept.value:.4g} on {rows}, {looks}"
    best = f"step {kept.step} of {kept.asked}: {figure}"
    ended = "; all steps were trained"
    if kept.trained < kept.asked:
        running = "a look" if kept.patience == 1 else f"{kept.patience} looks running"
        ended = f"; ended after step {kept.trained}, {running} without a better one"
    return f"{best}{ended}. These rows chose and are not reported on"


class FollowedTraining(Document):
    """What could be told of a training by somebody else's loop, which a callback followed.

    Our own loop knows these of itself. Each is a value here, or unknown where the trainer or the script may have done otherwise.
    """

    trainer: str  # the library's class, such as `trl.SFTTrainer`; of a class of the script, that and the library's
    objective: Value
    optimiser: Value
    schedule: Value
    rows_used: Value  # how many of the rows that the trainer was given it went through
    epochs: Value  # passes over those rows when the training ended
    modality: Value
    script: Value  # digest of the file that was run
    curve: str  # what a point of the loss curve is
    data_unknown: str | None = None  # why the rows have no identity here


class RunRecord(Document):
    """One training run, whole: what was asked, what was used, what came out.

    `texts`, `coverage`, `followed`, `project`, `system`, `points`, `kept_step`, `samples` and `states` are written only where they
    are there: older runs did not keep them, only LoRA has a coverage, what this tool trains itself was not followed, not every team
    names its projects, not every system tells how busy it is, a log may have been lost, only early stopping chooses a step, and
    rows are shown and states kept where that is asked. `config` of a run that was followed holds the trainer's arguments.
    """

    schema_version: Literal["1"] = "1"
    run_id: str
    method: str
    config: dict[str, Any]  # the resolved training file, canonical names, paths cut to base names
    config_sha256: Digest
    seed: int
    base: BaseReference
    data: tuple[DataIdentity, ...]
    parameters_total: int
    parameters_trainable: int
    weights_digest: Digest
    environment: Environment
    compute: Compute
    curve: LossCurve
    loss_before: Value  # held-out, nats per supervised token
    loss_after: Value
    loss_change: Value
    trials: tuple[Trial, ...] = ()
    warnings: tuple[str, ...] = ()
    comparison: str | None = None  # the id of the comparison, or of the list of tasks, that this run was a part of
    texts: KeptTexts | None = None
    coverage: tuple[Coverage, ...] | None = None
    followed: FollowedTraining | None = None
    project: ProjectName | None = None
    system: KeptSystemMetrics | None = None
    points: KeptRunPoints | None = None
    kept_step: KeptStep | None = None
    samples: KeptSamples | None = None
    states: BoundStates | None = None
    started_at: Timestamp
    finished_at: Timestamp

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        for name in ("texts", "coverage", "followed", "project", "system", "points", "kept_step", "samples", "states"):
            if value[name] is None:
                del value[name]
        return value


class BegunRun(Frozen):
    """A line of `begun.jsonl` in a home: a run that was begun there, whether it was registered or not.

    `plan` is the digest of what runs that differ in their seed alone have in common; `rows` that of what runs of the same method on
    the same base and rows have in common, whatever their order and the settings. `contents` is the same of the training rows as
    values, which a script's rows in memory have too. Lines of older releases have no `rows` or no `contents`.
    """

    run_id: str
    plan: Digest
    rows: Digest | None = None
    contents: Digest | None = None
    seed: int
    started_at: Timestamp


class KeptRun(Frozen):
    """`run.json` in a run's folder: what a stopped or failed run was of. It stays on this machine, and goes with the folder.

    A resumed run must be of the same configuration, base and data; `data` is null until the data was read.
    """

    schema_version: Literal["1"] = "1"
    run_id: str
    name: str
    status: Literal["running", "failed"] = "running"  # a killed run says running, and nobody holds its folder
    why: str | None = None
    config: str  # absolute path of the training file
    overrides: tuple[str, ...] = ()
    config_sha256: Digest
    base: Digest  # manifest of the base
    data: tuple[DataIdentity, ...] | None = None
    processes: int = 1
    step: int = 0  # of the newest checkpoint
    steps: int | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    started_at: Timestamp
