"""A training by somebody else's trainer, followed from its beginning to its end, and registered as our own runs are.

    trainer → checked base, held against memory → rows digested → (their loop) → artifact folder → manifest → register

What our own loop knows and theirs does not tell stays unknown, with its reason. Everything that can refuse comes before the first
step. Nothing is registered unless the loop came to its end with finite numbers.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import checked_profile
from peft_registry.registry.homes.run_logs import TRAIN_STAGE, points_of_log
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.intake.facts_file import warn_of_overtaken_facts
from peft_registry.registry.records.sources import own_key
from peft_registry.registry.records.stops import require_sources_not_stopped
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.first_records import DerivedRecord, MadeResult, derive_record
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.use_cases.register_product import FinishedProduct, register_product, signer_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.manifest import Manifest, Parent
from peft_registry.schemas.progress import Measured, Observe, Said, Started, Warned
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_points import KeptRunPoints, RunMetricName
from peft_registry.schemas.system_metrics import KeptSystemMetrics
from peft_registry.trainer.bases.in_memory import compare_in_memory
from peft_registry.trainer.bases.sharding import is_spread
from peft_registry.trainer.inputs.base import checked_base
from peft_registry.trainer.inputs.evaluation import load_suites, report_power
from peft_registry.trainer.machine.energy import EnergyMeter
from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak
from peft_registry.trainer.machine.system_metrics import SystemSampler
from peft_registry.trainer.runs.begun import note_begun
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.runs.run_log import RunLog, ending_of
from peft_registry.trainer.training.followable import (
    ModelExchanged,
    require_adapter_alone,
    require_finite,
)
from peft_registry.trainer.training.followed_facts import (
    is_one_machine,
    replaces_weights,
    resumed_after,
)
from peft_registry.trainer.training.foreign_trainer import (
    unwrapped,
)
from peft_registry.trainer.training.pass_counts import WatchedPasses
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.follow_base import base_of_model, require_loaded_from
from peft_registry.trainer.use_cases.follow_record import record_of_followed, why_passes_are_uncounted
from peft_registry.trainer.use_cases.follow_start import (
    FollowedModel,
    FollowedRows,
    FollowStart,
    facts_of_people,
)
from peft_registry.trainer.use_cases.train import TrainOutcome

if TYPE_CHECKING:
    from peft_registry.trainer.costs.compute import FollowedCosts

_READING_SECONDS = 10.0  # between two readings of the counters
# what transformers' trainer calls the figures that our own loop measures too
_FIGURES: Mapping[str, RunMetricName] = {
    "loss": "loss",
    "eval_loss": "validation_loss",
    "learning_rate": "learning_rate",
    "grad_norm": "gradient_norm",
}
_NO_FIGURES = ("epoch", "total_flos")
_OF_THE_WHOLE = "train_"  # what it logs once, when it ends


_IN_PART = (
    "the weights are spread over processes (FSDP2): the base in memory was held against its files in the part that the first of "
    "them holds, and each trained weight was looked at for NaN and infinity there"
)


class _EndedEarly(Exception):
    """The training did not come to its end: its folder keeps the log."""


@dataclass(frozen=True, slots=True)
class FollowRequest:
    """What the script asks: the name, the project, the base and the facts where it names them, and the suites to score afterwards.

    `command` are the words that the script was started with.
    """

    name: str
    project: str | None = None
    base: str | None = None
    facts: Path | None = None
    suites: tuple[str, ...] = ()
    command: tuple[str, ...] = ()


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
    _log: RunLog | None = None
    _is_registered: bool = False

    def begin(self, state: Any) -> None:
        """Check everything that can refuse, before the first step.

        Args:
            state: transformers' own, of the trainer.

        Raises:
            NotFollowed: sharded or otherwise trained, or of a kind that nothing here loads.
            KnownError: the name, a suite, the facts, the base or its bytes are refused.
        """
        registry = self.registry
        registry.require_writable()
        require_announced(registry)
        require_name(registry, self.request.name, is_base=False)
        report_power(load_suites(registry, self.request.suites), self.observe)
        profile = checked_profile(registry)
        registry.trainer_key.public  # noqa: B018  asked for now, not after an hour of training
        from_step = state.global_step
        model = FollowedModel.of(self.trainer, from_step=from_step)
        version = base_of_model(registry, model.inner, self.request.base, self.observe)
        run_id = registry.nonce()
        scratch = self._open.enter_context(run_folder(registry.files.runs, run_id))
        base = checked_base(registry, version, scratch, self.observe)
        require_loaded_from(model.inner, base, continued=from_step > 0, observe=self._warn)
        if is_spread(model.outer):
            self._warn(Warned("base-compared-in-part", _IN_PART))
        rows = FollowedRows.of(self.trainer, self._warn)
        require_sources_not_stopped(registry, "train", self.request.name, [own_key(registry), *rows.sources])
        facts = facts_of_people(registry, self.request.facts, base, rows, profile)
        self._start = FollowStart.of(
            self.trainer,
            model,
            run_id=run_id,
            started_at=registry.clock(),
            base=base,
            scratch=scratch,
            rows=rows,
            facts=facts,
            from_step=from_step,
        )
        if from_step > 0:
            self._warn(Warned("resumed-elsewhere", resumed_after(from_step)))
        note_begun(registry.files.begun, self._start.begun(int(self.trainer.args.seed)))
        self._log = RunLog(scratch, self.observe)
        self._log.begin(self._start.logged_beginning(self.request.name, self.request.project))
        self._log.note(Started(TRAIN_STAGE, total=int(state.max_steps) or None, unit="step"))
        self._measure_from_now()

    def _measure_from_now(self) -> None:
        """Set the meters of time, memory and energy to zero."""
        self._own_peak = reset_peak(self._start.hardware.device)
        self._energy = EnergyMeter()
        self._system = SystemSampler()
        self._system.note(self._start.from_step)
        self._started = time.perf_counter()
        self._counters_read = self._started
        self._positions_read = self.passes.trained
        self._is_first_step = True

    def note_step(self, state: Any) -> None:
        """A step of the trainer's loop is over: counters wrap, and are read now and then; so is how busy the machine is.

        Args:
            state: transformers' own, of the trainer.
        """
        self._system.note(state.global_step)
        if self._is_first_step or time.perf_counter() - self._counters_read >= _READING_SECONDS:
            self._energy.note()
            self._note(state.global_step, self._counters())
        self._is_first_step = False

    def note_log(self, state: Any, logs: Mapping[str, Any]) -> None:
        """The trainer logged figures.

        Args:
            state: transformers' own, of the trainer.
            logs: the figures by the names that the trainer, or the script, gives them.
        """
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, int | float)}
        known = {ours: numbers[theirs] for theirs, ours in _FIGURES.items() if theirs in numbers}
        others = {
            name: value
            for name, value in numbers.items()
            if name not in _FIGURES and name not in _NO_FIGURES and not name.startswith(_OF_THE_WHOLE)
        }
        if known or others:
            self._note(state.global_step, known, others)

    def _counters(self) -> dict[RunMetricName, float]:
        """How fast it went since the counters were read last, and the most memory that it took."""
        now, positions = time.perf_counter(), self.passes.trained
        rate = (positions - self._positions_read) / max(now - self._counters_read, 1e-9)
        self._counters_read, self._positions_read = now, positions
        return {"tokens_per_second": rate, "peak_memory_bytes": peak_bytes(self._start.hardware.device)}

    def _note(
        self, step: int, values: Mapping[RunMetricName, float], logged: Mapping[str, float] | None = None
    ) -> None:
        assert self._log is not None, "it began"
        self._log.note(Measured(step, values, logged or {}))

    def end(self, state: Any, *, processes: int, result: Mapping[str, Any] | None = None) -> TrainOutcome:
        """Register what was trained.

        Args:
            state: transformers' own, of the trainer.
            processes: that trained.
            result: the tensors of what was trained, by their names in its file, where no process has them whole; None elsewhere.

        Raises:
            FollowedDiverged: a loss or a weight is not finite.
            ModelExchanged: the trainer has another model by now, or the base in memory other weights.
            KnownError: the base changed meanwhile, or as `register_product`.
        """
        assert self._log is not None, "it began"
        try:
            outcome = self._registered(state, processes, result)
        except BaseException as error:
            self._log.end(*ending_of(error))
            raise
        self._is_registered = True
        self._log.end_registered(outcome.version.label, was_there=outcome.was_there)
        return outcome

    def _registered(self, state: Any, processes: int, result: Mapping[str, Any] | None) -> TrainOutcome:
        seconds = time.perf_counter() - self._started
        self._energy.note()
        self._system.note(state.global_step, is_last=True)
        system = self._system.metrics
        start = self._start
        self._require_same_model()
        require_finite(self.trainer, state.log_history)
        artifact = self._saved(result)
        manifest = self._manifest(artifact)
        change = self._change(artifact)
        points = points_of_log(start.scratch)
        run = record_of_followed(
            self.trainer,
            state,
            start,
            weights_digest=manifest.weights_digest,
            costs=self._costs(seconds, processes),
            has_own_optimizer=self.has_own_optimizer,
            project=self.request.project,
            system=None if system is None else KeptSystemMetrics.of(system),
            points=None if points is None else KeptRunPoints.of(points),
            command=self.request.command,
            warnings=self.warnings,
            finished_at=self.registry.clock(),
        )
        key_id = self.registry.trainer_key.public.key_id
        derived = self._derived(manifest, run, change, artifact, key_id)
        kept = (*start.rows.kept, *(document.to_canonical() for document in (system, points) if document is not None))
        product = self._product(artifact, manifest, run, derived, kept)
        registered = register_product(self.registry, product, observe=self.observe)
        self.observe(Said("version", f"{registered.version.label}  {registered.version.manifest_digest.short}"))
        return TrainOutcome(
            version=registered.version,
            run=run,
            modification=derived.record,
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
        """Remove the scratch of the run; of one that did not end with a version the log stays."""
        self.passes.stop()
        if self._log is None or self._is_registered:
            self._open.close()
            return
        if not self._log.has_ended:
            self._log.end("KILLED", "the script ended before its training")
        with suppress(_EndedEarly), self._open:
            raise _EndedEarly

    # --- before the first step ---

    def _warn(self, event: Any) -> None:
        if isinstance(event, Warned):
            self.warnings.append(event.text)
        self.observe(event)

    # --- after the last ---

    def _require_same_model(self) -> None:
        """Raise unless the trainer holds the model that it began with, and an adapter stands on the base that it began on."""
        start = self._start
        if self.trainer.model is not start.model.outer:
            raise ModelExchanged("the trainer was given another model while it trained")
        if start.trains_whole_model:
            return
        require_adapter_alone(start.model.outer)
        compared = compare_in_memory(unwrapped(start.model.outer), start.base.folder, frozen_only=True)
        if compared.differs is not None:
            why = f"{compared.differs} than at the beginning, and the adapter is saved without it"
            raise ModelExchanged(f"the base changed in memory: {why}")

    def _saved(self, result: Mapping[str, Any] | None) -> Path:
        """The folder of the result, made from what the trainer holds now, or from what all processes put together."""
        from peft_registry.trainer.methods import full
        from peft_registry.trainer.methods.peft_io import save_adapter

        folder = self._start.scratch / "artifact"
        folder.mkdir()
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        base = BaseToOpen.of(self._start.base.record)
        if self._start.trains_whole_model:
            full.save(model, folder, base=base, state=result)
        else:
            save_adapter(model, folder, base=base, state=result)
        self._start.base.require_unchanged()
        return folder

    def _manifest(self, artifact: Path) -> Manifest:
        start = self._start
        is_whole = start.trains_whole_model
        return manifest_of_folder(
            artifact,
            kind="model" if is_whole else "adapter",
            layout="model" if is_whole else "peft",
            method=start.method,
            base=start.base_reference,
            data=start.rows.data,
            config_sha256=canonical_digest(start.config),
            parents=(Parent(role="base", manifest=start.base.version.manifest_digest),),
        )

    def _change(self, artifact: Path) -> ChangeFigures:
        from peft_registry.trainer.merge.change_figures import figures_of_adapter, figures_of_model

        start = self._start
        if start.trains_whole_model:
            figures = figures_of_model(start.base.folder, artifact)
        else:
            figures = figures_of_adapter(
                start.base.folder,
                artifact,
                is_quantized=start.model.quantization is not None,
            )
        start.base.require_unchanged()
        if replaces_weights(start.config):
            # a bias or a module of the base is trained whole: what stands in its place is neither beside it nor untouched
            figures = figures.revised(added=None, base_untouched=None)
        return figures

    def _costs(self, seconds: float, processes: int) -> "FollowedCosts":
        from peft_registry.trainer.costs.compute import FollowedCosts

        start = self._start
        uncounted = why_passes_are_uncounted(self.trainer, start, self.passes)
        return FollowedCosts(
            passes=None if uncounted else self.passes,
            uncounted=uncounted or "",
            trainable=start.trainable,
            trains_base=start.trains_whole_model,
            seconds=seconds,
            devices=processes,
            kilowatt_hours=self._energy.kilowatt_hours if is_one_machine(processes) else None,
            peak=(peak_bytes(start.hardware.device), self._own_peak),
        )

    def _derived(
        self, manifest: Manifest, run: RunRecord, change: ChangeFigures, artifact: Path, key_id: str
    ) -> DerivedRecord:
        start = self._start
        result = MadeResult(
            name=self.request.name,
            record_id=start.run_id,
            manifest=manifest,
            production=run,
            base=start.base.as_input(),
            profile=checked_profile(self.registry),
            facts=start.facts,
            change=change,
            scans=scans_of(artifact),
        )
        derived = derive_record(self.registry, result, key_id=key_id)
        warn_of_overtaken_facts(derived.record, start.facts, self.observe)
        self.observe(Said("record", completeness(derived.record).sentence))
        return derived

    def _product(
        self, artifact: Path, manifest: Manifest, run: RunRecord, derived: DerivedRecord, kept: tuple[bytes, ...]
    ) -> FinishedProduct:
        """What is registered; `kept` are the objects that the record of the run binds by digest."""
        base = self._start.base
        card = model_card(
            name=self.request.name,
            manifest=manifest,
            run=run,
            base_name=base.version.name,
            base=base.record,
            evaluation=None,
            record=derived.record,
        )
        return FinishedProduct(
            name=self.request.name,
            source="train",
            folder=artifact,
            manifest=manifest,
            production=run,
            observations=derived.observations,
            modification=derived.record,
            as_of=derived.as_of,
            card=card,
            kept=kept,
        )
