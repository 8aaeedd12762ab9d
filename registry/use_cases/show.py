"""Everything that is recorded about one version, in one value: for `registry show` and for programs."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field, ValidationError

from peft_registry.registry.evaluation.leakage import beyond_limit
from peft_registry.registry.evaluation.lost_quality import lost_quality
from peft_registry.registry.evaluation.sentences import answer_lines, task_lines
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.evaluations import stale_for
from peft_registry.registry.records.holds import holds_above
from peft_registry.registry.records.provenance import project_of, run_of
from peft_registry.registry.records.references import version_named, versions_of_artifact
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.stops import recalls_and_others, use_stops
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.summaries import VersionSummary, summaries_of
from peft_registry.registry.verification.signed_versions import signed_version
from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.run import RunRecord, kept_sentence
from peft_registry.schemas.sizes import human_bytes
from peft_registry.schemas.statement import PREDICATE_TYPES, StatementKind
from peft_registry.schemas.version import Version

_KIND_WIDTH = max(len(kind) for kind in PREDICATE_TYPES)


def _left_out_unless_true() -> Any:  # what pydantic takes as a default
    return Field(default=False, exclude_if=lambda value: not value)


class StatementShown(Frozen):
    """One statement in a list: what kind, by which key and person, when, where in the log."""

    kind: StatementKind | None
    predicate_type: str
    digest: Digest
    key_id: str
    person: str | None
    log_index: int | None
    appended_at: str | None
    pending: bool = _left_out_unless_true()  # no checkpoint covers it: it decides nothing

    @property
    def line(self) -> str:
        who = self.person or f"{self.key_id[:12]}…"
        return f"{self.kind or self.predicate_type:<{_KIND_WIDTH}}  {self.digest.short}  {who}  {self.place}"

    @property
    def place(self) -> str:
        """Its number in the log, and whether a checkpoint covers it."""
        return f"log {self.log_index}" + (", pending" if self.pending else "")


class VersionShown(Frozen):
    """One version with its manifest's contents, statements and aliases."""

    version: Version
    manifest: Manifest
    statements: tuple[StatementShown, ...]
    predicates: dict[str, Any]  # of each kind the one that stands, as signed
    stale: tuple[str, ...]  # evaluations that do not speak of this version, and why
    summary: VersionSummary  # what a row of a list says of it
    settings: str | None = Field(default=None, exclude=True)  # of its training, in words; `predicates` has all of them
    kept: str | None = Field(default=None, exclude=True)  # which step of its training, and why
    loss_before: float | None = Field(default=None, exclude=True)  # on held-out rows
    # of the newest evaluation that speaks of it and has each, before and after
    tasks: tuple[str, ...] = Field(default=(), exclude=True)
    answers: tuple[str, ...] = Field(default=(), exclude=True)
    # data sets of which so much was trained on that their figures do not show what was learnt, each with the sentence
    seen_before: tuple[str, ...] = Field(default=(), exclude=True)
    # what it became worse at, and by more than is allowed
    lost: tuple[str, ...] = Field(default=(), exclude=True)
    base_label: str | None  # the version that is its base; None for a base, or where it is not registered here
    # that its run, merge or import names
    project: str | None = Field(default=None, exclude_if=lambda value: value is None)
    pending: bool = _left_out_unless_true()  # no checkpoint covers its registration
    # records that decide nothing, and why
    set_aside: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    # of it or of what it was made from
    recalls: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    # likewise, by other acts
    stops: tuple[ShownStop, ...] = Field(default=(), exclude_if=lambda value: not value)
    holds: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)  # likewise

    def to_json(self) -> dict[str, Any]:
        """One flat object: the version's own fields, then manifest, statements and predicates."""
        rest = self.model_dump(mode="json", exclude={"version"})
        return self.version.model_dump(mode="json") | {"version": self.version.label} | rest

    def lines(self) -> tuple[tuple[str, str], ...]:
        """Label and text of each line, for people."""
        version, manifest = self.version, self.manifest
        base = manifest.base
        lines = [
            ("version", version.label),
            (
                "kind",
                f"{version.kind}, layout {version.layout}" + (f", method {version.method}" if version.method else ""),
            ),
            *(
                ()
                if version.origin is None
                else (("origin", f"{version.origin}: made elsewhere, and nobody here saw how"),)
            ),
            *(() if self.project is None else (("project", self.project),)),
            *(() if self.settings is None else (("settings", self.settings),)),
            *(() if self.kept is None else (("kept", self.kept),)),
            *self._figures(),
            ("manifest", str(version.manifest_digest)),
            ("weights", str(version.weights_digest)),
            ("files", f"{len(manifest.files)}, {human_bytes(version.size_bytes)}"),
        ]
        if base is not None:
            lines.append(("base", f"{self.base_label or 'not registered here'}, weights {base.identity.weights}"))
        lines += [("data", f"{data.name} {data.sha256}, {data.rows_total} rows") for data in manifest.data]
        lines += [("parent", f"{parent.role} {parent.manifest}") for parent in manifest.parents]
        lines += [("statement", statement.line) for statement in self.statements]
        lines += [("set aside", text) for text in self.set_aside]
        lines += [("stale", text) for text in self.stale]
        lines += [("recalled", text) for text in self.recalls]
        lines += [("stopped", stop.line) for stop in self.stops]
        lines += [("on hold", text) for text in self.holds]
        pending = ", pending until whoever holds the log key signs" if self.pending else ""
        lines.append(("registered", f"{version.registered_at}, log {version.log_index}{pending}"))
        if version.aliases:
            lines.append(("aliases", ", ".join(version.aliases)))
        if self.summary.gate_text:
            lines.append(("gate", self.summary.gate_text))
        return tuple(lines)

    def _figures(self) -> Iterator[tuple[str, str]]:
        """The held-out loss before and after its training, and how it solves its task."""
        after = self.summary.loss
        if after is not None:
            before = "" if self.loss_before is None else f"{self.loss_before:.3f} → "
            yield "loss", f"{before}{after:.3f} on held-out rows, nats a token"
        if self.summary.metric is not None:
            yield "metric", f"{self.summary.metric_text} on held-out rows"
        for line in self.answers:
            yield "answers", line
        for line in self.tasks:
            yield "task", line
        for line in self.lost:
            yield "lost", line
        for sentence in self.seen_before:
            yield "warning", sentence


def describe_version(registry: Registry, reference: str) -> VersionShown:
    """What is recorded about the version that a reference means, as it was signed.

    Raises:
        MalformedReference, NotFound: as `version_named`.
        VersionsDiffer, SaidDiffers, StatementAltered, PathRejected: a row says otherwise than what was signed or logged.
    """
    version = signed_version(registry, version_named(registry, reference))
    said = version_statements(registry, version)
    stored = said.statements
    bases = () if version.base_manifest is None else versions_of_artifact(registry, version.base_manifest)
    covered = covered_size(registry)
    manifest = stored_manifest(registry, version.manifest_digest)
    run = _run(said.predicates.get("provenance", {}))
    persons = {key.key_id: key.person for key in registry.trust.keys}
    shown = tuple(
        StatementShown(
            kind=entry.kind,
            predicate_type=entry.statement.predicate_type,
            digest=entry.digest,
            key_id=entry.key_id,
            person=persons.get(entry.key_id),
            log_index=entry.log_index,
            appended_at=entry.appended_at,
            pending=entry.log_index is None or entry.log_index >= covered,
        )
        for entry in stored
    )
    stale = []
    speaking = []
    for entry in stored:
        if entry.kind == "bias-evaluation":
            evaluation = entry.statement.read_by(EvaluationRecord.from_json)
            reason = stale_for(registry, version, evaluation)
            stale += [f"evaluation {entry.digest.short} {reason}"] if reason is not None else []
            speaking += [evaluation] if reason is None else []
    recalls, stops = recalls_and_others(use_stops(registry, version.manifest_digest, label=version.label))
    return VersionShown(
        version=version,
        manifest=manifest,
        statements=shown,
        predicates=said.predicates,
        stale=tuple(stale),
        recalls=recalls,
        stops=stops,
        holds=tuple(hold.text for hold in holds_above(registry, version.manifest_digest, version.label)),
        summary=summaries_of(registry, [version])[0],
        settings=None if run is None else settings_text(run),
        kept=None if run is None or run.kept_step is None else kept_sentence(run.kept_step),
        loss_before=None if run is None else run.loss_before.number,
        tasks=tuple(task_lines(reversed(speaking))),
        answers=tuple(answer_lines(reversed(speaking))),
        seen_before=tuple(
            dict.fromkeys(
                str(sentence) for evaluation in speaking for _, sentence in beyond_limit(evaluation.leakage_check)
            )
        ),
        lost=tuple(dict.fromkeys(lost.line for evaluation in speaking for lost in lost_quality(evaluation))),
        base_label=bases[0].label if bases else None,
        project=project_of(said.predicates.get("provenance", {})),
        pending=version.log_index >= covered,
        set_aside=tuple(f"modification {aside.statement.digest.short}: {aside.reason}" for aside in said.set_aside),
    )


def _run(predicate: dict[str, Any]) -> RunRecord | None:
    """The run of a training; None for anything else, also for what another tool wrote under the same name."""
    try:
        return run_of(predicate)
    except ValidationError:
        return None


# keys of the blocks of a training file, and what they are called here
_SETTINGS: tuple[tuple[str, str], ...] = (
    ("r", "rank {}"),
    ("alpha", "alpha {}"),
    ("lora_alpha", "alpha {}"),
    ("num_virtual_tokens", "{} virtual tokens"),
    ("learning_rate", "learning rate {}"),
    ("num_train_epochs", "epochs {}"),
    ("max_steps", "steps {}"),
    ("per_device_train_batch_size", "batch {}"),
    ("gradient_accumulation_steps", "times {}"),
    ("max_length", "at most {} tokens"),
)
_LEFT_OUT = (None, -1, 0)  # what nobody set, and what transformers' arguments say for it


def settings_text(run: RunRecord) -> str:
    """The settings of a training that people ask for first, in one line; the file, or the arguments, have the rest."""
    blocks = [block for block in run.config.values() if isinstance(block, dict)]
    values = {name: value for block in blocks for name, value in block.items() if isinstance(value, int | float)}
    told = [
        text.format(f"{values[name]:g}")
        for name, text in _SETTINGS
        if values.get(name) not in _LEFT_OUT and not (name == "gradient_accumulation_steps" and values[name] == 1)
    ]
    where = f"{run.environment.dtype} on {run.environment.device}"
    return ", ".join([*told, f"seed {run.seed}", where])
