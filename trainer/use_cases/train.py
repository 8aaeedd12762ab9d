"""`registry train`, from a file to a registered version.

    config → base identity → data identity → train → evaluate both arms → artifact folder → manifest → register

Everything before `register_version` happens in HOME/runs/<id>: a kill leaves nothing registered, and a state to resume from.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.facts import with_each_named
from peft_registry.registry.compliance.modification import ChangeFigures, build_modification_record
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.evaluation.items import FILE
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.intake.facts_file import warn_of_overtaken_facts
from peft_registry.registry.records.ancestry import ancestry_of, tries_of_ancestors
from peft_registry.registry.records.recalls import Source, own_key, require_sources_not_recalled
from peft_registry.registry.records.tries import (
    contents_digest,
    most_tries,
    plan_digest,
    require_readable_list,
    rows_digest,
    tries_of_begun,
)
from peft_registry.registry.use_cases.register_product import (
    MeasuredEvaluation,
    Product,
    register_product,
    signer_of,
    signing_of,
)
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import TrainingFile, config_identity, config_record
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.manifest import Kind, Layout, Manifest, Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.run import TASKS_PREFIX, BegunRun, KeptRun, KeptTexts, RunRecord
from peft_registry.schemas.system_metrics import KeptSystemMetrics
from peft_registry.schemas.values import derived, measured
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.ancestry import texts_of_ancestors
from peft_registry.trainer.inputs.base import CheckedBase, checked_base
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, load_suites
from peft_registry.trainer.inputs.guards import warnings_about_prompt
from peft_registry.trainer.inputs.start import fetched
from peft_registry.trainer.inputs.training_file import LoadedConfig
from peft_registry.trainer.methods import changes_loaded_base, optimizer_name
from peft_registry.trainer.runs.begun import content_digest, note_begun, unordered_digest
from peft_registry.trainer.runs.folder import has_checkpoint, read_state, remove_superseded, run_folder, write_state
from peft_registry.trainer.runs.launch import Job, Launch, RegisteredElsewhere, run_workers
from peft_registry.trainer.runs.resume import (
    Keeper,
    changed_libraries,
    new_run,
    report_resumable_runs,
    report_resume_command,
)
from peft_registry.trainer.use_cases.train_plan import TrainingPlan, plan_training

if TYPE_CHECKING:
    from peft_registry.trainer.bases.stored_weights import StoredWeights
    from peft_registry.trainer.costs.forward_passes import Passes
    from peft_registry.trainer.evaluation.leakage import TextHashes
    from peft_registry.trainer.runs.before_after import EvaluatedRun, QuestionsOfFile
    from peft_registry.trainer.runs.shared_base import SharedBase
    from peft_registry.trainer.training.train_adapter import Trained

_KINDS: dict[Layout, Kind] = {"peft": "adapter", "model": "model", "bundle": "bundle"}
LOSS_METHOD = "summed loss of the held-out rows over their supervised tokens, scored in fp32"


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a run registered."""

    version: Version
    run: RunRecord
    modification: ModificationRecord
    signed_by: str
    was_there: bool = False  # an equal result was registered before; this run added nothing

    def to_json(self) -> dict[str, Any]:
        """The object that `train --output json` ends with."""
        run = self.run
        return {
            "version": self.version.label,
            "manifest_digest": str(self.version.manifest_digest),
            "weights_digest": str(run.weights_digest),
            "base_digest": str(run.base.identity.weights),
            "loss_before": run.loss_before.value,
            "loss_after": run.loss_after.value,
            "run_id": None if self.was_there else run.run_id,
            "registered_before": self.was_there,
            "log_index": self.version.log_index,
        }


def train_and_register(
    registry: Registry,
    config_path: Path,
    overrides: tuple[str, ...] = (),
    *,
    resume: KeptRun | None = None,
    launch: Launch | None = None,
    comparison: str | None = None,
    shared: "SharedBase | None" = None,
    command: tuple[str, ...] = (),
    observe: Observe = ignore,
) -> TrainOutcome:
    """Train as the file says and register the result with its records.

    Args:
        registry: where.
        config_path: the training file.
        overrides: such as `training.seed=8`.
        resume: a stopped run to continue, of this very file, base and data.
        launch: the processes to train in; None for this one.
        comparison: the id of the comparison that the run is an arm of.
        shared: the loaded base that several runs have in common; None for one of this run's own.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of everything.

    Raises:
        InputRefused, NotFound: the file, the data or the base are refused before anything is loaded.
        IntegrityBroken: the base's bytes are not those that were registered, or not what the resumed run began with.
        RunFailed: the loss diverged, memory ran out or a process died; nothing was registered.
        RegisteredElsewhere: with several machines, on all of them but one.
    """
    registry.require_writable()
    is_arm = comparison is not None and not comparison.startswith(TASKS_PREFIX)
    plan = plan_training(registry, config_path, overrides, resume=resume, launch=launch, is_arm=is_arm, observe=observe)
    signer = registry.trainer_key  # asked for now, not after an hour of training
    for reference, text in plan.warnings:
        observe(Warned(reference, text))
    runs = registry.files.runs
    kept = resume or _new_run(registry, plan, config_path, overrides, observe)
    running = kept.revised(status="running", why=None, overrides=overrides, processes=plan.launch.size)
    try:
        with run_folder(runs, kept.run_id) as folder:
            write_state(folder, running)
            if resume is None:
                require_readable_list(registry.files.begun)
                note_begun(registry.files.begun, _begun(plan, kept))
            _require_usable(registry, plan.loaded)
            base = checked_base(registry, plan.base, folder, observe)
            run = _Run(
                registry,
                plan,
                base,
                kept,
                folder,
                observe,
                resumed=resume is not None,
                comparison=comparison,
                shared=shared,
                command=command,
            )
            outcome = run.complete(signer.public.key_id)
        remove_superseded(runs, kept)
        return outcome
    except KeyboardInterrupt:
        report_resume_command(runs, kept, observe)
        raise
    except OSError as error:
        raise unwritable(runs / kept.run_id, error) from error


def _new_run(
    registry: Registry, plan: TrainingPlan, config_path: Path, overrides: tuple[str, ...], observe: Observe
) -> KeptRun:
    """A run from its beginning, after those of the same file that could be resumed were named."""
    report_resumable_runs(registry.files.runs, observe, name=plan.loaded.config.name, file=config_path)
    return new_run(
        plan.loaded.config,
        run_id=registry.nonce(),
        path=config_path,
        overrides=overrides,
        base=plan.base.manifest_digest,
        started_at=registry.clock(),
    )


def _require_usable(registry: Registry, loaded: LoadedConfig) -> None:
    """Raise where a file that a run would read, or the key that would register it, is recalled, before any process begins.

    Raises:
        VersionRecalled: it is.
    """
    parts = (loaded.config.data.train, loaded.config.data.validation)
    files = [loaded.resolve(part.path) for part in parts if part.path is not None]
    sources = [Source(hash_file(path).sha256, f"the data {path.name}") for path in files if path.is_file()]
    require_sources_not_recalled(registry, loaded.config.name, [own_key(registry), *sources])


def _begun(plan: TrainingPlan, kept: KeptRun) -> BegunRun:
    """The line of a run in the list of those that were begun; data of the Hub counts by its name."""
    loaded = plan.loaded
    names = [part.path for part in (loaded.config.data.train, loaded.config.data.validation) if part.path is not None]
    paths = [(name, loaded.resolve(name)) for name in names]
    data = [str(hash_file(path).sha256) if path.is_file() else name for name, path in paths]
    rows = [str(unordered_digest(path)) if path.is_file() else name for name, path in paths]
    return BegunRun(
        run_id=kept.run_id,
        plan=plan_digest(loaded.config, kept.base, data),
        rows=rows_digest(loaded.config, kept.base, rows),
        contents=contents_digest(loaded.config.method, kept.base, content_digest(paths[0][1]) if paths else None),
        seed=loaded.config.training.seed,
        started_at=kept.started_at,
    )


@dataclass(eq=False)
class _Run:
    """One run between its checked base and its registration."""

    registry: Registry
    plan: TrainingPlan
    base: CheckedBase
    kept: KeptRun
    folder: Path
    observe: Observe
    resumed: bool = False
    comparison: str | None = None
    shared: "SharedBase | None" = None
    command: tuple[str, ...] = ()
    warnings: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.warnings = [text for _, text in self.plan.warnings]

    @property
    def loaded(self) -> LoadedConfig:
        return self.plan.loaded

    @property
    def start(self) -> Version | None:
        return self.plan.start

    @property
    def config(self) -> TrainingFile:
        return self.loaded.config

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact"

    def complete(self, key_id: str) -> TrainOutcome:
        """Train, evaluate, describe, register."""
        from peft_registry.trainer.costs.forward_passes import count_passes
        from peft_registry.trainer.evaluation.leakage import hash_texts
        from peft_registry.trainer.runs.before_after import texts_of

        trained = self._train()
        self.artifact.mkdir()
        trained.save(self.artifact, base=BaseToOpen.of(self.base.record))
        manifest = self._manifest(trained)
        second_base = self._second_base(trained)
        change = self._change(trained)
        stored = self._stored(trained)
        texts = hash_texts(texts_of(trained, self.config))
        kept_texts = texts.to_bytes()
        with count_passes(trained.model, second_base) as passes:
            evaluated = self._evaluate(
                trained,
                manifest,
                second_base=second_base,
                stored=stored,
                questions=self._questions(trained, texts),
                key_id=key_id,
            )
        if trained.waiting is not None or stored.tensors:
            self.base.require_unchanged()  # it was read until now
        run = self._run_record(trained, manifest, evaluated, passes, texts.describe(kept_texts))
        self._say_compute(run)
        modification = self._modification(manifest, run, evaluated.record, change, key_id)
        product = self._product(manifest, run, evaluated, modification, self._kept(kept_texts, trained))
        registered = register_product(self.registry, product, observe=self.observe)
        if self.shared is not None:
            self.shared.take_off(trained.model, self.config)
        return TrainOutcome(
            version=registered.version,
            run=run,
            modification=modification,
            signed_by=signer_of(self.registry, key_id),
            was_there=registered.was_there,
        )

    def _train(self) -> "Trained":
        """What training made, with everything to be said of it among the warnings."""
        from peft_registry.trainer.machine.processes import Processes
        from peft_registry.trainer.training.train_adapter import coverage_warnings, train_adapter

        start = self._start()
        keeper = self._keeper(start)
        trained = train_adapter(
            self.config,
            data_folder=self.loaded.folder,
            base_folder=self.base.folder,
            base_record=self.base.record,
            observe=self.observe,
            after_load=self.base.require_unchanged,
            after_data=self._after_data(keeper),
            checkpoints=keeper.checkpoints(self.config.training),
            processes=Processes(size=self.plan.launch.size),
            scratch=self.folder,
            start=start,
            load=None if self.shared is None else self.shared.load,
        )
        self.warnings += [
            *trained.data.warnings,
            *coverage_warnings(self.config, trained.model),
            *self._resumption(trained),
        ]
        for reference, text in warnings_about_prompt(self.config, [len(example.ids) for example in trained.data.train]):
            self.observe(Warned(reference, text))
            self.warnings.append(text)
        return trained

    def _after_data(self, keeper: Keeper) -> Callable[[tuple[DataIdentity, ...]], None]:
        """What is done once the data is read: data that came from elsewhere has its digest only now."""

        def read(identities: tuple[DataIdentity, ...]) -> None:
            sources = (Source(identity.sha256, f"the data {identity.name}") for identity in identities)
            require_sources_not_recalled(self.registry, self.config.name, sources)
            keeper.data(identities)

        return read

    def _tries(self) -> Tries:
        """Of this run and of those that went into what it continues from the one of which most seeds were begun."""
        own = tries_of_begun(self.registry, self.kept.run_id)
        return own if self.start is None else most_tries((own, tries_of_ancestors(self.registry, [self.start])))

    def _start(self) -> Path | None:
        """The folder of the starting adapter."""
        if self.start is None:
            return None
        self.observe(Said("start", f"{self.start.label} {self.start.weights_digest.short}: training continues from it"))
        return fetched(self.registry, self.start, self.folder / "start").resolve()

    def _questions(self, trained: "Trained", texts: "TextHashes") -> "QuestionsOfFile":
        """The suites and texts that the file names, read again: training may have taken long, and the pins still hold."""
        from peft_registry.trainer.evaluation.leakage import known_training
        from peft_registry.trainer.evaluation.retention import retained
        from peft_registry.trainer.evaluation.scoring import max_length_of
        from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub
        from peft_registry.trainer.runs.before_after import QuestionsOfFile

        asked = self.config.evaluation
        return QuestionsOfFile(
            suites=load_suites(self.registry, asked.bias, half=self.plan.scope.half),
            guard=self.plan.scope.guard(),
            retained=retained(
                asked.retention,
                locate=locate_locally_or_on_hub(self.loaded.folder),
                tokenizer=trained.tokenizer,
                longest=max_length_of(trained.model),
            ),
            trained=texts_of_ancestors(self.registry, [] if self.start is None else [self.start])
            + known_training("this run", texts),
        )

    def _evaluate(
        self,
        trained: "Trained",
        manifest: Manifest,
        *,
        second_base: Any | None,
        stored: "StoredWeights",
        questions: "QuestionsOfFile",
        key_id: str,
    ) -> "EvaluatedRun":
        """Before and after, on the same items."""
        from peft_registry.trainer.runs.before_after import evaluate_before_after

        conditions = EvaluationSetup(self.registry, key_id, "trainer").conditions(
            trained.hardware,
            self.config.evaluation.bias,
            seed=self.config.training.seed,
            name_table=lambda _items: FILE,  # the first table of a version; later ones are told apart
            tries=self._tries(),
        )
        return evaluate_before_after(
            trained,
            self.config,
            base=self.base.record.identity,
            weights_digest=manifest.weights_digest,
            base_model=second_base,
            stored=stored,
            questions=questions,
            conditions=conditions,
            observe=self.observe,
        )

    def _second_base(self, trained: "Trained") -> Any | None:
        """The untouched base, where the trained model is a whole model of its own; None where it is the same weights."""
        if not changes_loaded_base(self.config):
            return None
        from peft_registry.trainer.bases.loading import load_base

        model = load_base(self.base.folder, dtype="fp32", device=trained.hardware.device)[0]
        self.base.require_unchanged()
        return model

    def _stored(self, trained: "Trained") -> "StoredWeights":
        """Evaluations speak of the base as it is stored, whatever it was narrowed to for training."""
        from peft_registry.trainer.bases.stored_weights import AS_LOADED, stored_weights

        if self.config.quantization is not None:
            return AS_LOADED
        stored = stored_weights(trained.model, self.base.folder)
        self.base.require_unchanged()
        return stored

    def _change(self, trained: "Trained") -> ChangeFigures:
        """What the files that were just written change in the base as it is stored."""
        from peft_registry.trainer.merge.change_figures import figures_of_adapter, figures_of_model

        if self.plan.method.trains_base_weights:
            figures = figures_of_model(self.base.folder, self.artifact)
        else:
            figures = figures_of_adapter(
                self.base.folder,
                self.artifact,
                added=trained.parameters[0],
                is_quantized=self.config.quantization is not None,
            )
        self.base.require_unchanged()
        return figures

    def _manifest(self, trained: "Trained") -> Manifest:
        return manifest_of_folder(
            self.artifact,
            kind=_KINDS[self.plan.method.layout],
            layout=self.plan.method.layout,
            method=self.config.method,
            base=self.base.reference(self.config),
            data=trained.data.identities,
            config_sha256=canonical_digest(config_identity(self.config)),
            parents=(
                Parent(role="base", manifest=self.base.version.manifest_digest),
                *(() if self.start is None else (Parent(role="start", manifest=self.start.manifest_digest),)),
            ),
        )

    def _keeper(self, start: Path | None) -> Keeper:
        """What keeps the run's state here; with several processes, once they have trained."""
        before = self.kept if self.resumed else None
        if self.plan.launch.size == 1:
            return Keeper(self.folder, before)
        job = Job(
            config=self.config,
            data_folder=self.loaded.folder,
            base_folder=self.base.folder.resolve(),
            base=self.base.record,
            run_folder=self.folder.resolve(),
            kept=before,
            start=start,
            parent=os.getpid(),
        )
        run_workers(job, self.plan.launch, meeting=self.kept.config_sha256.hex[:16], observe=self.observe)
        self.base.require_unchanged()
        if not has_checkpoint(self.folder):
            raise RegisteredElsewhere()
        return Keeper(self.folder, read_state(self.folder))  # the data must still be those that the workers read

    def _resumption(self, trained: "Trained") -> list[str]:
        """What the record has to say about a run that did not go through in one piece."""
        at = trained.result.resumed_at
        if at is None:
            return []
        changed = changed_libraries(self.kept)
        if changed:
            self.observe(Warned("resumed-elsewhere", changed))
        lost = f"stopped and resumed after step {at}; steps that were computed again are not counted in its compute"
        return [lost, *([changed] if changed else [])]

    def _run_record(
        self,
        trained: "Trained",
        manifest: Manifest,
        evaluated: "EvaluatedRun",
        passes: "Passes",
        texts: KeptTexts,
    ) -> RunRecord:
        from peft_registry.trainer.costs.compute import compute_record
        from peft_registry.trainer.machine.environment import describe_environment
        from peft_registry.trainer.methods.coverage import coverage_of

        losses = evaluated.loss
        trainable, total = trained.parameters
        return RunRecord(
            run_id=self.kept.run_id,
            method=self.config.method,
            config=config_record(self.config),
            config_sha256=canonical_digest(config_identity(self.config)),
            seed=self.config.training.seed,
            base=self.base.reference(self.config),
            data=trained.data.identities,
            parameters_total=total,
            parameters_trainable=trainable,
            weights_digest=manifest.weights_digest,
            environment=describe_environment(
                trained.hardware, argv=self.command, code_version=package_version("peft-registry")
            ),
            compute=compute_record(trained, self.base.record, evaluation=passes.shape, observe=self.observe),
            curve=trained.result.curve,
            loss_before=measured(losses.before, "nats/token", method=LOSS_METHOD),
            loss_after=measured(losses.after, "nats/token", method=LOSS_METHOD),
            loss_change=derived(losses.change, "nats/token", method="after − before, over the same held-out tokens"),
            trials=trained.trials,
            warnings=tuple(dict.fromkeys(self.warnings)),
            comparison=self.comparison,
            texts=texts,
            coverage=coverage_of(trained.model) or None,
            project=self.config.project,
            system=None if trained.result.system is None else KeptSystemMetrics.of(trained.result.system),
            started_at=self.kept.started_at,
            finished_at=self.registry.clock(),
        )

    def _say_compute(self, run: RunRecord) -> None:
        compute = run.compute
        energy = f"{compute.energy_kwh.value:.3g} kWh" if compute.energy_kwh.known else compute.energy_kwh.reason
        flop = compute.param_update_flop
        text = f"{flop.value:.2g} FLOP ({flop.source})" if flop.known else f"FLOP unknown ({flop.reason})"
        self.observe(Said("compute", f"{text}, {compute.hardware_hours.value:.3f} h; energy: {energy}"))

    def _modification(
        self,
        manifest: Manifest,
        run: RunRecord,
        evaluation: EvaluationRecord,
        change: ChangeFigures,
        key_id: str,
    ) -> ModificationRecord:
        base = self.base.as_input(
            parent_records=() if self.start is None else (str(self.start.manifest_digest),),
        )
        facts = self.plan.facts
        if facts is not None and self.start is not None:
            # `*` means each file of this run, and not those that the starting adapter was trained on
            facts = with_each_named(facts, [data.name for data in run.data])
        record = build_modification_record(
            record_id=self.kept.run_id,
            now=self.registry.clock(),
            name=self.config.name,
            manifest=manifest,
            run=run,
            bases=(base,),
            ancestors=() if self.start is None else ancestry_of(self.registry, [self.start]),
            profile=read_profile(self.registry),
            tool_version=run.environment.code_version,
            evaluation=evaluation,
            change=change,
            optimiser=optimizer_name(self.config),
            signing=signing_of(self.registry, key_id),
            scans=scans_of(self.artifact),
            facts=facts,
        )
        warn_of_overtaken_facts(record, facts, self.observe)
        counted = completeness(record)
        self.observe(Said("record", counted.sentence))
        return record

    @staticmethod
    def _kept(texts: bytes, trained: "Trained") -> tuple[bytes, ...]:
        """The objects that the record of the run binds by digest: hashes of its texts, and how busy the machine was."""
        system = trained.result.system
        return (texts,) if system is None else (texts, system.to_canonical())

    def _product(
        self,
        manifest: Manifest,
        run: RunRecord,
        evaluated: "EvaluatedRun",
        modification: ModificationRecord,
        kept: tuple[bytes, ...],
    ) -> Product:
        card = model_card(
            name=self.config.name,
            manifest=manifest,
            run=run,
            base_name=self.base.version.name,
            base=self.base.record,
            evaluation=evaluated.record,
            record=modification,
        )
        return Product(
            name=self.config.name,
            source="train",
            folder=self.artifact,
            manifest=manifest,
            production=run,
            modification=modification,
            card=card,
            evaluations=(MeasuredEvaluation(evaluated.record, evaluated.items),),
            kept=kept,
        )
