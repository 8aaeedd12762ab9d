"""What MLflow should show for one version, as values. Pure: no mlflow, no clock, no disk.

The mirror makes MLflow equal to a `Projection`; equal records give a projection with an equal digest. Weights are not in it:
a version's source is `registry://sha256/<manifest digest>`, and the artifact plugin reads from the registry.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from peft_registry.registry.evaluation.leakage import leakage_status
from peft_registry.registry.evaluation.sentences import task_lines
from peft_registry.registry.mlflow.description import describe
from peft_registry.registry.mlflow.figures import (
    MAX_TAG,
    MAX_VERSION_TAG,
    DatasetUse,
    MetricPoint,
    Pairs,
    bias_status,
    charted,
    cut,
    evaluation_dataset,
    last_step,
    loss_change,
    measured_points,
    merge_metrics,
    merge_params,
    milliseconds,
    run_datasets,
    run_metrics,
    run_params,
    standing_metrics,
    system_metrics,
    with_bars,
)
from peft_registry.registry.mlflow.shown_facts import Content, ShownFacts
from peft_registry.registry.mlflow.tables import items_table, outcomes_table, results_table
from peft_registry.schemas.acts import USE_STOPS, ShownStop
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord, Trial
from peft_registry.schemas.version import Version

EXPERIMENT = "registry"  # of versions without a project
PROJECT_TAG = "registry.project"
SOURCE_PREFIX = "registry://sha256/"
REPORT_PATH = "report/audit.html"
RESULTS_PATH = "evaluation/results.json"
OUTCOMES_PATH = "evaluation/outcomes.json"
ITEMS_PATH = "evaluation/items.json"
# Of metrics and tables: a run that an earlier release wrote on a team's server in another form is written again. Metrics stay there
# under their old names too, because MLflow deletes none.
FORM = 4
FORM_TAG = "registry.form"
NOTE_TAG = "mlflow.note.content"  # Markdown that MLflow shows at the head of a page
EXTERNAL_TAG = "mlflow.model.isExternal"  # of a logged model whose weights are kept elsewhere
PROMPT_TAG = "mlflow.prompt.is_prompt"  # by which MLflow tells its prompts from models; nothing here has it
COMPARISON_TAG = "registry.comparison"  # of an arm, and of the run that stands over the arms of one comparison
TRIAL_TAG = "registry.trial"  # of a run that stands for one of several seeds, below the run of the version
CARD_PATH = "MODEL_CARD.md"
# files of a logged model that stands for weights kept elsewhere; MLflow then says so instead of failing to load it
EXTERNAL_MLMODEL = b"flavors: {}\nmetadata:\n  mlflow.model.isExternal: true\n"
RECORD_TAGS = frozenset({
    "registry.base", "registry.record", "registry.statements", "registry.verdict", "registry.gate", "registry.approvals",
    *(f"registry.{act.kind}" for act in USE_STOPS),
})  # fmt: skip
"""The tags of a version that its record and what was said of it give, which lists do not read."""
_MODEL_TYPES = {"base": "base-model", "adapter": "adapter", "model": "model", "bundle": "bundle"}
_OF_A_METHOD = f"-{_MODEL_TYPES['adapter']}"
_RUN_NAMES = {"base": "add", "adapter": "train", "model": "make", "bundle": "make"}


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A small file that MLflow keeps: POSIX path and content."""

    path: str
    content: Content


@dataclass(frozen=True, slots=True)
class RunProjection:
    """The run: params never change; tags, metrics and artifacts may grow with later statements. Times in milliseconds."""

    name: str
    tags: Pairs
    params: Pairs
    metrics: tuple[MetricPoint, ...]
    datasets: tuple[DatasetUse, ...]
    artifacts: tuple[ArtifactFile, ...]
    start_ms: int
    end_ms: int
    trials: tuple[Trial, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionProjection:
    """The registered model version and the logged model behind it. `description` has `RUN_LINK` where the run's page goes.

    `name_tags` are those of the registered model, which the list of models shows: of the newest version of the name, and else none.
    They repeat some of `tags`, and are not in the digest: a later version takes them over. The list has room for three of them, and
    hides a fourth behind a button: bias, loss and signature.
    """

    name: str
    number: int
    source: str
    model_name: str
    model_type: str
    artifacts: tuple[ArtifactFile, ...]
    tags: Pairs
    description: str
    aliases: tuple[str, ...]
    name_tags: Pairs = ()


@dataclass(frozen=True, slots=True)
class Projection:
    """One version in MLflow. `parents` are manifests whose logged models become inputs of the run.

    `continues` is the manifest of the adapter whose training it continued: its run then stands below that one.
    """

    manifest: Digest
    experiment: str
    run: RunProjection
    version: VersionProjection
    parents: tuple[Digest, ...] = ()
    continues: Digest | None = None

    @property
    def digest(self) -> Digest:
        """SHA-256 over the canonical JSON of everything here; a file counts with path and identity."""
        run, version = self.run, self.version
        return canonical_digest(
            {
                "manifest": str(self.manifest),
                "experiment": self.experiment,
                "parents": [str(parent) for parent in self.parents],
                "continues": None if self.continues is None else str(self.continues),
                "run": {
                    "name": run.name,
                    "tags": run.tags,
                    "params": run.params,
                    "metrics": [[p.key, p.value, p.step, p.at_ms, p.final, p.dataset] for p in run.metrics],
                    "datasets": [[d.name, d.digest, d.context, d.source, d.profile] for d in run.datasets],
                    "artifacts": [_identity(file) for file in run.artifacts],
                    "time": [run.start_ms, run.end_ms],
                    "trials": [[trial.seed, trial.score, trial.chosen] for trial in run.trials],
                },
                "version": {
                    "name": version.name,
                    "number": version.number,
                    "source": version.source,
                    "model": [version.model_name, version.model_type],
                    "artifacts": [_identity(file) for file in version.artifacts],
                    "tags": version.tags,
                    "description": version.description,
                    "aliases": version.aliases,
                },
            }
        )


@dataclass(frozen=True, slots=True)
class ListedProjection:
    """What lists show of one version: what its run and its evaluations say, without its files and without its modification record.

    Attributes:
        version: as it was signed and logged.
        project: that it was made for; None for none.
        run: without a note and without files.
        name_tags: what the list of models shows of a name, if this is its newest version.
        parents: manifests whose logged models are inputs of the run.
        continues: that of them whose training it continued.
    """

    version: Version
    project: str | None
    run: RunProjection
    name_tags: Pairs
    parents: tuple[Digest, ...] = ()
    continues: Digest | None = None


def experiment_of(project: str | None) -> str:
    """The MLflow experiment of the versions of a project.

    The name of a project is lower-case ASCII and short: no database of MLflow folds two into one, and none cuts it.
    """
    return EXPERIMENT if project is None else f"{EXPERIMENT}/{project}"


def project_version(shown: ShownFacts) -> Projection:
    """What MLflow should show for a version."""
    version = shown.version
    list_tags = _list_tags(shown)
    description = describe(shown, REPORT_PATH if shown.report is not None else None)
    return Projection(
        manifest=version.manifest_digest,
        experiment=experiment_of(shown.project),
        run=_run_projection(shown, description, list_tags),
        version=VersionProjection(
            name=version.name,
            number=version.number,
            source=source_of(version),
            model_name=model_name(version),
            model_type=model_type(version),
            artifacts=_model_files(shown.card),
            tags=_version_tags(shown, list_tags),
            description=description,
            aliases=tuple(sorted(version.aliases)),
            name_tags=_sorted(list_tags, MAX_VERSION_TAG) if shown.is_newest else (),
        ),
        parents=shown.parents,
        continues=shown.continues,
    )


def project_listed(shown: ShownFacts) -> ListedProjection:
    """What lists show of a version, which is less: no report, no items and nothing that people said of it."""
    list_tags = _list_tags(shown)
    return ListedProjection(
        version=shown.version,
        project=shown.project,
        run=replace(_run_projection(shown, None, list_tags), artifacts=()),
        name_tags=_sorted(list_tags, MAX_VERSION_TAG),
        parents=shown.parents,
        continues=shown.continues,
    )


def _run_projection(shown: ShownFacts, description: str | None, list_tags: dict[str, str]) -> RunProjection:
    version = shown.version
    made = shown.made
    run = shown.run
    evaluations = shown.evaluations
    registered = milliseconds(version.registered_at)
    params: tuple[tuple[str, str], ...] = ()
    made_metrics: tuple[MetricPoint, ...] = ()
    if isinstance(made, RunRecord):
        params = run_params(made)
        # of two values at one step the first is shown: the signed curve before the points beside it
        made_metrics = (
            *run_metrics(made),
            *measured_points(shown.points),
            *(() if shown.system is None else system_metrics(shown.system)),
        )
    elif isinstance(made, MergeRecord):
        params = merge_params(made)
        made_metrics = merge_metrics(made)
    metrics = standing_metrics(evaluations, last_step(run))
    suites = (evaluation_dataset(used) for evaluation in evaluations for used in evaluation.datasets)
    datasets = (*(run_datasets(run.data) if run else ()), *dict.fromkeys(suites))
    files = {REPORT_PATH: shown.report, **_tables(evaluations, shown.items)}
    return RunProjection(
        name=f"{_act(version, made)} {version.label}",
        tags=_run_tags(shown, description, list_tags, tables=[path for path in files if path != REPORT_PATH]),
        params=params,
        metrics=with_bars(charted((*made_metrics, *metrics))),
        datasets=datasets,
        artifacts=tuple(ArtifactFile(path, content) for path, content in files.items() if content is not None),
        start_ms=milliseconds(made.started_at) if made else registered,
        end_ms=milliseconds(made.finished_at) if made else registered,
        trials=run.trials if run else (),
    )


def _tables(
    evaluations: Sequence[EvaluationRecord], items: Callable[[EvaluationRecord], bytes] | None
) -> dict[str, Content]:
    """The tables of a run by their path, made when they are written."""
    if not evaluations:
        return {}
    records = [str(record.canonical_digest()) for record in evaluations]

    def content(path: str, make: Callable[[], bytes]) -> Content:
        return Content(canonical_digest([path, FORM, records]), make)

    tables = {
        RESULTS_PATH: content(RESULTS_PATH, lambda: results_table(evaluations)),
        OUTCOMES_PATH: content(OUTCOMES_PATH, lambda: outcomes_table(evaluations)),
    }
    if items is not None:
        read = items
        tables[ITEMS_PATH] = content(
            ITEMS_PATH,
            lambda: items_table([(record.canonical_digest().short, read(record)) for record in evaluations]),
        )
    return tables


def _act(version: Version, made: RunRecord | MergeRecord | None) -> str:
    """What made the version, as the command is called."""
    if version.origin == "imported":
        return "import"
    if made is None:
        return _RUN_NAMES[version.kind]
    return "train" if isinstance(made, RunRecord) else "merge"


def _run_tags(shown: ShownFacts, description: str | None, list_tags: dict[str, str], *, tables: Sequence[str]) -> Pairs:
    version, made = shown.version, shown.made
    tags = {
        **_facts_of(version, shown.evaluations, shown.project),
        **list_tags,
        "mlflow.user": shown.signer or version.key_id,
        "mlflow.source.type": "JOB",
        "mlflow.source.name": f"registry {_act(version, made)}",
        "registry.id": version.label,
        "registry.manifest": str(version.manifest_digest),
        FORM_TAG: str(FORM),
    }
    if description is not None:
        tags[NOTE_TAG] = description
    if isinstance(made, RunRecord):
        tags["registry.run_id"] = made.run_id
        tags["registry.config_sha256"] = str(made.config_sha256)
        tags["registry.metric_times"] = "spread evenly over the run; the step is exact"
        if made.comparison:
            tags[COMPARISON_TAG] = made.comparison
    if isinstance(made, MergeRecord):
        tags["registry.run_id"] = made.merge_id
        tags["registry.config_sha256"] = str(made.plan_sha256)
    if made is not None and made.environment.code_commit:
        tags["mlflow.source.git.commit"] = made.environment.code_commit
    if tables:
        # without this tag the UI shows a table as text
        tags["mlflow.loggedArtifacts"] = json.dumps([{"path": path, "type": "table"} for path in tables])
    return _sorted(tags, MAX_TAG)


def _facts_of(version: Version, evaluations: Sequence[EvaluationRecord], project: str | None) -> dict[str, str]:
    """What is searched for and compared, and would crowd a list of versions."""
    tags = {
        "registry.weights_digest": str(version.weights_digest),
        "registry.base_digest": str(version.base_weights) if version.base_weights else None,
        "registry.base_manifest": str(version.base_manifest) if version.base_manifest else None,
        "registry.kind": version.kind,
        "registry.method": version.method,
        "registry.size_bytes": str(version.size_bytes),
        "registry.log_index": str(version.log_index),
        "registry.registered_at": version.registered_at,
        "registry.leakage": _leakage(evaluations),
        PROJECT_TAG: project,
    }
    return {key: value for key, value in tags.items() if value is not None}


def _version_tags(shown: ShownFacts, list_tags: dict[str, str]) -> Pairs:
    """What a list of versions shows beside each other; few, because it shows every tag. The rest is on the run."""
    kinds = sorted({str(statement.kind) for statement in shown.statements if statement.kind is not None})
    standing = shown.standing
    tags = {
        **_identity_tags(shown.version, shown.project),
        "registry.base": shown.base.label if shown.base else None,
        **list_tags,
        "registry.record": shown.completeness.text if shown.completeness else None,
        "registry.statements": ", ".join(kinds) or None,
        **stop_tags(shown.stops),
        "registry.verdict": standing.verdict,
        "registry.gate": "; ".join(standing.gates) or None,
        "registry.approvals": standing.approvals,
    }
    return _sorted({key: value for key, value in tags.items() if value is not None}, MAX_VERSION_TAG)


def stop_tags(stops: Sequence[ShownStop]) -> dict[str, str]:
    """Of a version a tag for each act that stops its use."""
    return {f"registry.{stop.kind}": stop.act.done for stop in stops}


def _identity_tags(version: Version, project: str | None) -> dict[str, str | None]:
    return {
        "registry.id": version.label,
        "registry.manifest": str(version.manifest_digest),
        "registry.type": model_type(version),
        "registry.origin": version.origin,
        PROJECT_TAG: project,
    }


def listed_version_tags(listed: ListedProjection) -> Pairs:
    """Of the tags of a version those that its run, its evaluations and its manifest say."""
    tags = _identity_tags(listed.version, listed.project) | dict(listed.name_tags)
    return _sorted({key: value for key, value in tags.items() if value is not None}, MAX_VERSION_TAG)


def _list_tags(shown: ShownFacts) -> dict[str, str]:
    """Bias, loss, tasks and signature, which are the columns of every list."""
    evaluations = shown.evaluations
    tasks = "; ".join(task_lines(evaluations))
    loss = None if shown.run is None else loss_change(shown.run)
    tags = {
        "registry.bias": bias_status(evaluations, len(evaluations) if shown.evaluated is None else shown.evaluated),
        "registry.signature": f"not checked here; signed {shown.signed_by}",
    }
    tags |= {"registry.tasks": tasks} if tasks else {}
    return tags if loss is None else tags | {"registry.loss": loss}


def _leakage(evaluations: Sequence[EvaluationRecord]) -> str | None:
    """What the checks of leakage found, each once; None where nothing was checked."""
    checks = [evaluation.leakage_check for evaluation in evaluations if evaluation.leakage_check]
    return "; ".join(dict.fromkeys("; ".join(leakage_status(check)) for check in checks)) or None


def source_of(version: Version) -> str:
    """Where MLflow reads the files of a version: the registry itself."""
    return f"{SOURCE_PREFIX}{version.manifest_digest.hex}"


def model_name(version: Version) -> str:
    """The name of the logged model behind a version; MLflow refuses dots in it."""
    return f"{version.name.replace('.', '_')}-{version.number}"


def model_type(version: Version) -> str:
    """The type of the logged model behind a version."""
    kind = _MODEL_TYPES[version.kind]
    return f"{version.method}{_OF_A_METHOD}" if version.method and version.kind == "adapter" else kind


def method_of_type(text: str) -> str | None:
    """The method of the versions whose type is called so; None where the type names none."""
    return text.removesuffix(_OF_A_METHOD) if text.endswith(_OF_A_METHOD) else None


def _model_files(card: bytes | None) -> tuple[ArtifactFile, ...]:
    files = (ArtifactFile("MLmodel", Content.of(EXTERNAL_MLMODEL)),)
    return files if card is None else (*files, ArtifactFile(CARD_PATH, Content.of(card)))


def _sorted(tags: dict[str, str], limit: int) -> Pairs:
    return tuple(sorted((key, cut(value, limit)) for key, value in tags.items()))


def _identity(file: ArtifactFile) -> list[str]:
    return [file.path, str(file.content.identity)]
