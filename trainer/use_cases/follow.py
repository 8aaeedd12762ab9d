"""A training by somebody else's trainer, followed from its beginning to its end, and registered as our own runs are.

    trainer → checked base, held against memory → rows digested → (their loop) → artifact folder → manifest → register

What our own loop knows and theirs does not tell stays unknown, with its reason. Everything that can refuse comes before the first
step. Nothing is registered unless the loop came to its end with finite numbers.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.modification import ChangeFigures, build_modification_record
from peft_registry.registry.compliance.recorded_result import base_section, modifier_section, upstream_terms
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import checked_profile
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.intake.facts_file import read_checked_facts, warn_of_overtaken_facts
from peft_registry.registry.records.recalls import Source, own_key, require_sources_not_recalled
from peft_registry.registry.records.tries import contents_digest, followed_plan_digest
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.use_cases.register_product import Product, register_product, signer_of, signing_of
from peft_registry.schemas.canonical import NotCanonical, canonical_digest
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, Manifest, Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.run import BegunRun, FollowedTraining, KeptTexts, LossCurve, RunRecord
from peft_registry.schemas.values import measured, unknown
from peft_registry.trainer.bases.in_memory import compare_in_memory
from peft_registry.trainer.bases.quantization import describe
from peft_registry.trainer.data.dataset_rows import (
    RowDigest,
    RowsNotDigested,
    name_of_rows,
    rows_of,
    text_of_row,
)
from peft_registry.trainer.inputs.base import CheckedBase, checked_base
from peft_registry.trainer.machine.energy import EnergyMeter
from peft_registry.trainer.machine.environment import (
    Hardware,
    describe_environment,
    library_versions,
)
from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak
from peft_registry.trainer.runs.begun import content_digest_of_rows, note_begun
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.training.followable import (
    ModelExchanged,
    method_of,
    quantization_of,
    require_adapter_alone,
    require_finite,
    require_fresh,
)
from peft_registry.trainer.training.followed_facts import (
    counted_parameters,
    dtype_of,
    hardware_of,
    is_one_machine,
    loaded_best,
    method_block,
    modality_of,
    replaces_weights,
    resumed_after,
    rows_used,
)
from peft_registry.trainer.training.foreign_trainer import (
    TrainerClass,
    arguments_of,
    logged_losses,
    objective_of,
    optimiser_of,
    schedule_of,
    script_digest,
    unwrapped,
)
from peft_registry.trainer.training.pass_counts import WatchedPasses
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.follow_base import base_of_model, require_loaded_from
from peft_registry.trainer.use_cases.train import TrainOutcome

if TYPE_CHECKING:
    from peft_registry.trainer.costs.compute import FollowedCosts

_CURVE = "the trainer's logged loss, a mean over the steps since the log before"
_HELD_OUT = "no rows were held out by this tool; what the trainer evaluates is its own"
_ENERGY_SECONDS = 10.0  # between two readings of the counters


@dataclass(frozen=True, slots=True)
class FollowRequest:
    """What the script asks: the name, the base and the facts where it names them, and the suites to score afterwards.

    `command` are the words that the script was started with.
    """

    name: str
    base: str | None = None
    facts: Path | None = None
    suites: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Followed:
    """The model, the base and the rows, as they were before the first step."""

    run_id: str
    started_at: str
    base: CheckedBase
    scratch: Path
    method: str
    config: dict[str, Any]
    quantization: QuantizationBlock | None
    data: tuple[DataIdentity, ...]
    data_unknown: str | None
    texts: KeptTexts | None
    kept: tuple[bytes, ...]
    contents: Digest | None  # of the rows as values, whatever their order
    trainable: int
    total: int
    hardware: Hardware
    facts: dict[str, Any] | None
    from_step: int


@dataclass(eq=False)
class FollowedRun:
    """One training between its first step and its registration. `has_own_optimizer` as asked before the trainer made its own."""

    registry: Registry
    trainer: Any
    request: FollowRequest
    passes: WatchedPasses
    has_own_optimizer: bool
    observe: Observe
    warnings: list[str] = field(default_factory=list)
    _open: ExitStack = field(default_factory=ExitStack)

    def begin(self, state: Any) -> None:
        """Check everything that can refuse, before the first step.

        Args:
            state: transformers' own, of the trainer.

        Raises:
            NotFollowed: sharded or otherwise trained, or of a kind that nothing here loads.
            KnownError: the name, the facts, the base or its bytes are refused.
        """
        registry = self.registry
        registry.require_writable()
        require_name(registry, self.request.name, is_base=False)
        profile = checked_profile(registry)
        registry.trainer_key.public  # noqa: B018  asked for now, not after an hour of training
        model = self.trainer.model
        inner = unwrapped(model)
        method = method_of(self.trainer, model)
        quantization = quantization_of(inner)
        require_adapter_alone(model)
        if state.global_step == 0:
            require_fresh(model)
        version = base_of_model(registry, inner, self.request.base, self.observe)
        run_id = registry.nonce()
        scratch = self._open.enter_context(run_folder(registry.files.runs, run_id))
        base = checked_base(registry, version, scratch, self.observe)
        require_loaded_from(inner, base, continued=state.global_step > 0, observe=self._warn)
        data, data_unknown, texts, kept = self._data()
        contents = content_digest_of_rows(rows_of(self.trainer.train_dataset)) if data else None
        sources = (Source(identity.sha256, f"the data {identity.name}") for identity in data)
        require_sources_not_recalled(registry, self.request.name, [own_key(registry), *sources])
        used = base.as_input()
        facts = read_checked_facts(
            self.request.facts,
            at=registry.clock(),
            bases=[base_section(used)],
            upstream=[upstream_terms(used)],
            # rows without a name are answered by `*` alone
            data=frozenset(identity.name for identity in data if identity.name != UNNAMED_ROWS) or None,
            modifier=modifier_section(profile),
        )
        trainable, total = counted_parameters(model)
        config = {"training": arguments_of(self.trainer)} | method_block(model, method)
        if quantization is not None:
            config["quantization"] = quantization.model_dump(mode="json")
        self._followed = _Followed(
            run_id=run_id,
            started_at=registry.clock(),
            base=base,
            scratch=scratch,
            method=method,
            config=config,
            quantization=quantization,
            data=data,
            data_unknown=data_unknown,
            texts=texts,
            kept=kept,
            contents=contents,
            trainable=trainable,
            total=total,
            hardware=hardware_of(self.trainer, inner),
            facts=facts,
            from_step=state.global_step,
        )
        if state.global_step > 0:
            self._warn(Warned("resumed-elsewhere", resumed_after(state.global_step)))
        note_begun(registry.files.begun, self._begun())
        self._model = model
        self._own_peak = reset_peak(self._followed.hardware.device)
        self._energy = EnergyMeter()
        self._started = time.perf_counter()
        self._energy_read = self._started

    def note_step(self) -> None:
        """A step of the trainer's loop is over: counters wrap, and are read now and then."""
        now = time.perf_counter()
        if now - self._energy_read >= _ENERGY_SECONDS:
            self._energy.note()
            self._energy_read = now

    def end(self, state: Any, *, processes: int) -> TrainOutcome:
        """Register what was trained.

        Args:
            state: transformers' own, of the trainer.
            processes: that trained.

        Raises:
            FollowedDiverged: a loss or a weight is not finite.
            ModelExchanged: the trainer has another model by now, or the base in memory other weights.
            KnownError: the base changed meanwhile, or as `register_product`.
        """
        seconds = time.perf_counter() - self._started
        self._energy.note()
        followed = self._followed
        self._require_same_model()
        require_finite(self.trainer, state.log_history)
        artifact = followed.scratch / "artifact"
        artifact.mkdir()
        self._save(artifact)
        followed.base.require_unchanged()
        manifest = self._manifest(artifact)
        change = self._change(artifact)
        run = self._run_record(state, manifest, self._costs(seconds, processes))
        key_id = self.registry.trainer_key.public.key_id
        modification = self._modification(manifest, run, change, artifact, key_id)
        card = model_card(
            name=self.request.name,
            manifest=manifest,
            run=run,
            base_name=followed.base.version.name,
            base=followed.base.record,
            evaluation=None,
            record=modification,
        )
        product = Product(
            name=self.request.name,
            source="train",
            folder=artifact,
            manifest=manifest,
            production=run,
            modification=modification,
            card=card,
            kept=followed.kept,
        )
        registered = register_product(self.registry, product, observe=self.observe)
        self.observe(Said("version", f"{registered.version.label}  {registered.version.manifest_digest.short}"))
        return TrainOutcome(
            version=registered.version,
            run=run,
            modification=modification,
            signed_by=signer_of(self.registry, key_id),
            was_there=registered.was_there,
        )

    def evaluate(self, outcome: TrainOutcome) -> None:
        """Score base and result with the suites that the script asks for, as `registry evaluate` does.

        Raises:
            KnownError: as `evaluate_references`; the version stays registered.
        """
        request = EvaluationRequest(suites=self.request.suites)
        evaluate_references(self.registry, [outcome.version.label], request, observe=self.observe)

    def close(self) -> None:
        """Remove the scratch of the run."""
        self.passes.stop()
        self._open.close()

    # --- before the first step ---

    def _warn(self, event: Any) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.text)
        self.observe(event)

    def _data(self) -> tuple[tuple[DataIdentity, ...], str | None, KeptTexts | None, tuple[bytes, ...]]:
        """Identity of the rows, why there is none, and the hashes of their texts."""
        from peft_registry.trainer.evaluation.leakage import hash_texts

        dataset = self.trainer.train_dataset
        digest = RowDigest(name_of_rows(dataset))
        tokenizer = getattr(self.trainer.processing_class, "tokenizer", self.trainer.processing_class)
        decode = getattr(tokenizer, "decode", None)

        def texts() -> Any:
            for row in rows_of(dataset):
                digest.add(row)
                yield text_of_row(row, decode)

        try:
            hashes = hash_texts(texts())
        except (RowsNotDigested, NotCanonical) as error:
            reason = f"{error.what}: {error.why}"
            self._warn(Warned("rows-not-digested", reason))
            return (), reason, None, ()
        identity = digest.identity(rule="all rows that the trainer was given")
        self.observe(Said("data", f"{digest.rows} rows  {identity.sha256.short}  {identity.name}"))
        kept = hashes.to_bytes()
        return (identity,), None, hashes.describe(kept), (kept,)

    def _begun(self) -> BegunRun:
        followed = self._followed
        base = followed.base.version.manifest_digest
        return BegunRun(
            run_id=followed.run_id,
            plan=followed_plan_digest(followed.config, base, [str(identity.sha256) for identity in followed.data]),
            contents=contents_digest(followed.method, base, followed.contents),
            seed=int(self.trainer.args.seed),
            started_at=followed.started_at,
        )

    # --- after the last ---

    def _require_same_model(self) -> None:
        """Raise unless the trainer holds the model that it began with, and an adapter stands on the base that it began on."""
        followed = self._followed
        if self.trainer.model is not self._model:
            raise ModelExchanged("the trainer was given another model while it trained")
        if followed.method == "full":
            return
        require_adapter_alone(self._model)
        compared = compare_in_memory(unwrapped(self._model), followed.base.folder, frozen_only=True)
        if compared.differs is not None:
            why = f"{compared.differs} than at the beginning, and the adapter is saved without it"
            raise ModelExchanged(f"the base changed in memory: {why}")

    def _save(self, folder: Path) -> None:
        from peft_registry.trainer.methods import full
        from peft_registry.trainer.methods.peft_io import save_adapter

        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        base = BaseToOpen.of(self._followed.base.record)
        if self._followed.method == "full":
            full.save(model, folder, base=base)
        else:
            save_adapter(model, folder, base=base)

    def _manifest(self, artifact: Path) -> Manifest:
        followed = self._followed
        is_whole = followed.method == "full"
        return manifest_of_folder(
            artifact,
            kind="model" if is_whole else "adapter",
            layout="model" if is_whole else "peft",
            method=followed.method,
            base=self._base_reference(),
            data=followed.data,
            config_sha256=canonical_digest(followed.config),
            parents=(Parent(role="base", manifest=followed.base.version.manifest_digest),),
        )

    def _base_reference(self) -> BaseReference:
        base = self._followed.base
        block = self._followed.quantization
        return BaseReference(
            identity=base.record.identity,
            manifest=base.version.manifest_digest,
            quantisation=None if block is None else describe(block),
        )

    def _change(self, artifact: Path) -> ChangeFigures:
        from peft_registry.trainer.merge.change_figures import figures_of_adapter, figures_of_model

        followed = self._followed
        if followed.method == "full":
            figures = figures_of_model(followed.base.folder, artifact)
        else:
            figures = figures_of_adapter(
                followed.base.folder,
                artifact,
                added=followed.trainable,
                is_quantized=followed.quantization is not None,
            )
        followed.base.require_unchanged()
        if replaces_weights(followed.config):
            # a bias or a module of the base is trained whole: what stands in its place is neither beside it nor untouched
            figures = figures.revised(added=None, base_untouched=None)
        return figures

    def _costs(self, seconds: float, processes: int) -> "FollowedCosts":
        from peft_registry.trainer.costs.compute import FollowedCosts

        followed = self._followed
        uncounted = self._uncounted()
        return FollowedCosts(
            passes=None if uncounted else self.passes,
            uncounted=uncounted or "",
            trainable=followed.trainable,
            trains_base=followed.method == "full",
            seconds=seconds,
            devices=processes,
            kilowatt_hours=self._energy.kilowatt_hours if is_one_machine(processes) else None,
            peak=(peak_bytes(followed.hardware.device), self._own_peak),
        )

    def _uncounted(self) -> str | None:
        """Why the passes through the model are not all known; None where they are."""
        args = self.trainer.args
        kind = TrainerClass.of(self.trainer)
        resumed = self._followed.from_step
        reasons = (
            (self.passes.missing is not None, str(self.passes.missing)),
            (resumed > 0, f"{resumed_after(resumed)}: what the steps before took was not seen"),
            (not kind.is_counted, f"{kind} may run other passes and other models than the one that is watched"),
            (
                getattr(args, "precompute_ref_log_probs", False),
                "the reference model ran before the training began, and was not watched",
            ),
            (args.torch_compile, "the passes of a compiled model are not counted"),
            (args.n_gpu > 1, "the passes of several GPUs in one process are not counted"),
            (self.passes.trained == 0, "no pass of the model was seen"),
        )
        return next((why for holds, why in reasons if holds), None)

    def _run_record(self, state: Any, manifest: Manifest, costs: "FollowedCosts") -> RunRecord:
        from peft_registry.trainer.costs.compute import compute_of_followed
        from peft_registry.trainer.methods.coverage import coverage_of

        followed = self._followed
        steps, losses = logged_losses(state.log_history)
        hardware = followed.hardware
        environment = describe_environment(
            hardware, argv=self.request.command, code_version=package_version("peft-registry")
        ).revised(libraries=library_versions("trl", "datasets"), dtype=dtype_of(self.trainer, hardware.dtype))
        return RunRecord(
            run_id=followed.run_id,
            method=followed.method,
            config=followed.config,
            config_sha256=canonical_digest(followed.config),
            seed=int(self.trainer.args.seed),
            base=self._base_reference(),
            data=followed.data,
            parameters_total=followed.total,
            parameters_trainable=followed.trainable,
            weights_digest=manifest.weights_digest,
            environment=environment,
            compute=compute_of_followed(costs, hardware, followed.base.record),
            curve=LossCurve(steps=steps, loss=losses),
            loss_before=unknown(_HELD_OUT),
            loss_after=unknown(_HELD_OUT),
            loss_change=unknown(_HELD_OUT),
            warnings=tuple(dict.fromkeys((*self.warnings, *loaded_best(self.trainer, state)))),
            texts=followed.texts,
            coverage=coverage_of(self.trainer.model) or None,
            followed=self._followed_training(state),
            started_at=followed.started_at,
            finished_at=self.registry.clock(),
        )

    def _followed_training(self, state: Any) -> FollowedTraining:
        followed = self._followed
        kind = TrainerClass.of(self.trainer)
        epochs = float(state.epoch or 0.0)
        rows = sum(identity.rows_total for identity in followed.data)
        return FollowedTraining(
            trainer=str(kind),
            objective=objective_of(self.trainer, kind),
            optimiser=optimiser_of(self.trainer, is_own=self.has_own_optimizer),
            schedule=schedule_of(self.trainer, is_own=self.has_own_optimizer),
            rows_used=rows_used(self.trainer, rows, epochs, resumed=followed.from_step > 0),
            epochs=measured(epochs, "epochs", method="the trainer's state when it ended"),
            modality=modality_of(followed.data),
            script=script_digest(),
            curve=_CURVE,
            data_unknown=followed.data_unknown,
        )

    def _modification(
        self, manifest: Manifest, run: RunRecord, change: ChangeFigures, artifact: Path, key_id: str
    ) -> ModificationRecord:
        followed = self._followed
        record = build_modification_record(
            record_id=followed.run_id,
            now=self.registry.clock(),
            name=self.request.name,
            manifest=manifest,
            run=run,
            bases=(followed.base.as_input(),),
            profile=checked_profile(self.registry),
            tool_version=run.environment.code_version,
            change=change,
            signing=signing_of(self.registry, key_id),
            scans=scans_of(artifact),
            facts=followed.facts,
        )
        warn_of_overtaken_facts(record, followed.facts, self.observe)
        self.observe(Said("record", completeness(record).sentence))
        return record
