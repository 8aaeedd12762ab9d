"""A training by somebody else's trainer, followed from its beginning to its end, and registered as our own runs are.

    trainer → checked base, held against memory → rows digested → (their loop) → artifact folder → manifest → register

What our own loop knows and theirs does not tell stays unknown, with its reason. Everything that can refuse comes before the first
step. Nothing is registered unless the loop came to its end with finite numbers.
"""

import os
import time
from collections.abc import Sequence
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
from peft_registry.registry.records.recalls import Source, require_sources_not_recalled
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.use_cases.register_product import Product, register_product, signer_of, signing_of
from peft_registry.schemas.base_model import CAUSAL_HEADS
from peft_registry.schemas.canonical import NotCanonical, canonical_digest
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity
from peft_registry.schemas.errors import InputRefused, RunFailed
from peft_registry.schemas.manifest import BaseReference, Manifest, Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.run import BegunRun, FollowedTraining, KeptTexts, LossCurve, RunRecord
from peft_registry.schemas.values import Value, measured, unknown
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
    Dtype,
    Hardware,
    describe_environment,
    hardware_in_use,
    library_versions,
)
from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak
from peft_registry.trainer.runs.begun import note_begun
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.training.foreign_trainer import (
    TrainerClass,
    WatchedPasses,
    arguments_of,
    divergence_of,
    logged_losses,
    objective_of,
    optimiser_of,
    schedule_of,
    script_digest,
    unwrapped,
)
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.follow_base import base_of_model, require_loaded_from
from peft_registry.trainer.use_cases.train import TrainOutcome

if TYPE_CHECKING:
    from peft_registry.trainer.costs.compute import FollowedCosts

# the adapters of peft that this tool reads back, by their type
_METHODS = {"LORA": "lora", "IA3": "ia3", "PROMPT_TUNING": "prompt_tuning", "PREFIX_TUNING": "prefix_tuning"}
_ADAPTER = "default"
# in the names of parameters that are saved with an adapter
_OF_ADAPTERS = ("lora_", "ia3_", "prompt_encoder", "modules_to_save", "trainable_tokens_")
_CURVE = "the trainer's logged loss, a mean over the steps since the log before"
_HELD_OUT = "no rows were held out by this tool; what the trainer evaluates is its own"
_ENERGY_SECONDS = 10.0  # between two readings of the counters


class NotFollowed(InputRefused):
    reference = "training-not-followed"
    what = "this training cannot be followed"
    why = "{reason}"
    fix = "{remedy}"

    reason: str
    remedy: str


class FollowedDiverged(RunFailed):
    reference = "followed-run-diverged"
    what = "the training diverged{where}"
    why = "{reason}; nothing was registered"
    fix = "lower the learning rate, warm it up longer, or look for broken rows, and train again"

    step: int | None
    reason: str

    @property
    def where(self) -> str:
        return "" if self.step is None else f" at step {self.step}"


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
        method = _method_of(self.trainer, model)
        quantization = _quantization_of(inner)
        _require_adapter_alone(model)
        if state.global_step == 0:
            _require_fresh(model)
        version = base_of_model(registry, inner, self.request.base, self.observe)
        run_id = registry.nonce()
        scratch = self._open.enter_context(run_folder(registry.files.runs, run_id))
        base = checked_base(registry, version, scratch, self.observe)
        require_loaded_from(inner, base, continued=state.global_step > 0, observe=self._warn)
        data, data_unknown, texts, kept = self._data()
        sources = (Source(identity.sha256, f"the data {identity.name}") for identity in data)
        require_sources_not_recalled(registry, self.request.name, sources)
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
        trainable, total = _counted(model)
        config = {"training": arguments_of(self.trainer)} | _method_block(model, method)
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
            trainable=trainable,
            total=total,
            hardware=_hardware_of(self.trainer, inner),
            facts=facts,
            from_step=state.global_step,
        )
        if state.global_step > 0:
            self._warn(Warned("resumed-elsewhere", _resumed(state.global_step)))
        note_begun(registry.files.begun, self._begun())
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
            KnownError: the base changed meanwhile, or as `register_product`.
        """
        seconds = time.perf_counter() - self._started
        self._energy.note()
        followed = self._followed
        _require_finite(self.trainer, state.log_history)
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
        seed = int(self.trainer.args.seed)
        training = {name: value for name, value in followed.config["training"].items() if name != "seed"}
        plan = {
            "config": followed.config | {"training": training},
            "base": str(followed.base.version.manifest_digest),
            "data": [str(identity.sha256) for identity in followed.data],
        }
        return BegunRun(run_id=followed.run_id, plan=canonical_digest(plan), seed=seed, started_at=followed.started_at)

    # --- after the last ---

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
        if _replaces_weights(followed.config):
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
            kilowatt_hours=self._energy.kilowatt_hours if _is_one_machine(processes) else None,
            peak=(peak_bytes(followed.hardware.device), self._own_peak),
        )

    def _uncounted(self) -> str | None:
        """Why the passes through the model are not all known; None where they are."""
        args = self.trainer.args
        kind = TrainerClass.of(self.trainer)
        resumed = self._followed.from_step
        reasons = (
            (self.passes.missing is not None, str(self.passes.missing)),
            (resumed > 0, f"{_resumed(resumed)}: what the steps before took was not seen"),
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
        ).revised(libraries=library_versions("trl", "datasets"), dtype=_dtype_of(self.trainer, hardware.dtype))
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
            warnings=tuple(dict.fromkeys((*self.warnings, *_loaded_best(self.trainer, state)))),
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
            rows_used=_rows_used(self.trainer, rows, epochs, resumed=followed.from_step > 0),
            epochs=measured(epochs, "epochs", method="the trainer's state when it ended"),
            modality=_modality(followed.data),
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


# --- what cannot be followed ---


def _method_of(trainer: Any, model: Any) -> str:
    """What is trained, in the words of this tool.

    Raises:
        NotFollowed: weights spread over processes, an adapter that nothing here loads, or no causal language model.
    """
    if getattr(trainer, "is_fsdp_enabled", False) or getattr(trainer, "is_deepspeed_enabled", False):
        raise NotFollowed(
            "FSDP or DeepSpeed spread the weights over processes, and no process has them whole",
            "save the result, and take it in with `registry import`",
        )
    configurations = getattr(model, "peft_config", None)
    if not configurations:
        name = type(model).__name__
        if not name.endswith(CAUSAL_HEADS):
            raise NotFollowed(
                f"{name} is not a causal language model", "train one of those, or do without the callback"
            )
        return "full"
    if _ADAPTER not in configurations or not hasattr(model, "get_base_model"):
        raise NotFollowed(
            f"the adapter that is trained has another name than `{_ADAPTER}`",
            "give the model to the trainer with a peft_config, or name the adapter `default`",
        )
    peft_type = str(getattr(configurations[_ADAPTER].peft_type, "value", configurations[_ADAPTER].peft_type))
    if peft_type not in _METHODS:
        raise NotFollowed(
            f"it trains an adapter of the type {peft_type}, and nothing here loads those",
            f"train one of {', '.join(sorted(_METHODS))}",
        )
    return "qlora" if peft_type == "LORA" and _quantization_of(unwrapped(model)) is not None else _METHODS[peft_type]


def _quantization_of(model: Any) -> QuantizationBlock | None:
    """How the base in memory is quantised.

    Raises:
        NotFollowed: in a way that could not be told or repeated.
    """
    stated = getattr(model.config, "quantization_config", None)
    if stated is None:
        return None
    settings = stated if isinstance(stated, dict) else stated.to_dict()
    if settings.get("load_in_4bit"):
        return QuantizationBlock(
            type=settings.get("bnb_4bit_quant_type", "fp4"), double=bool(settings.get("bnb_4bit_use_double_quant"))
        )
    raise NotFollowed(
        f"the base is quantised by {settings.get('quant_method', 'something else')}, and not in 4 bits of bitsandbytes",
        "train on the base as it is, or in 4 bits; or save the result, and take it in with `registry import`",
    )


def _require_fresh(model: Any) -> None:
    """Raise where a LoRA was trained before: its earlier training would be missing from every figure.

    Raises:
        NotFollowed: a factor B is not zero although it should begin so.
    """
    configurations = getattr(model, "peft_config", None) or {}
    lora = configurations.get(_ADAPTER)
    if lora is None or getattr(lora, "init_lora_weights", None) not in (True, "gaussian"):
        return
    for name, parameter in model.named_parameters():
        if f"lora_B.{_ADAPTER}" in name and bool((parameter.detach() != 0).any().item()):
            raise NotFollowed(
                f"the adapter was trained before ({name} is not zero): what that took, and on which data, would be left out",
                "begin with a new adapter; or use `registry train` with `continue_from`",
            )


def _require_adapter_alone(model: Any) -> None:
    """Raise where weights are trained that are not the adapter's: nothing would save them.

    Raises:
        NotFollowed: a weight of the base is trained beside an adapter.
    """
    lora = (getattr(model, "peft_config", None) or {}).get(_ADAPTER)
    if lora is None:
        return
    has_biases = getattr(lora, "bias", "none") != "none"
    for name, parameter in model.named_parameters():
        is_saved = any(mark in name for mark in _OF_ADAPTERS) or (has_biases and name.endswith("bias"))
        if parameter.requires_grad and not is_saved:
            raise NotFollowed(
                f"{name} is trained beside the adapter, and the adapter is saved without it",
                "name its module in `modules_to_save` of the adapter's configuration, or freeze it",
            )


def _require_finite(trainer: Any, history: list[dict[str, Any]]) -> None:
    """Raise where a logged figure or a trained weight is NaN or infinite.

    Raises:
        FollowedDiverged: one is.
    """
    diverged = divergence_of(history, gradients=not trainer.args.fp16)
    if diverged is not None:
        raise FollowedDiverged(*diverged)
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not bool(parameter.detach().isfinite().all().item()):
            raise FollowedDiverged(None, f"{name} holds NaN or infinity")


# --- what is told of a run ---


def _counted(model: Any) -> tuple[int, int]:
    from peft_registry.trainer.methods import count_trainable

    return count_trainable(model)


def _method_block(model: Any, method: str) -> dict[str, Any]:
    """The settings of the adapter, in the words of the training file."""
    if method == "full":
        return {}
    from peft_registry.trainer.methods.peft_io import config_json

    stated = config_json(model.peft_config[_ADAPTER], None)
    words = _WORDS["lora" if method == "qlora" else method]
    block = {own: stated[theirs] for theirs, own in words.items() if stated.get(theirs) is not None}
    return {"lora" if method == "qlora" else method: block}


_WORDS = {
    "lora": {
        "r": "r",
        "lora_alpha": "alpha",
        "lora_dropout": "dropout",
        "target_modules": "target_modules",
        "target_parameters": "target_parameters",
        "exclude_modules": "exclude_modules",
        "modules_to_save": "modules_to_save",
        "bias": "bias",
        "use_rslora": "use_rslora",
        "use_dora": "use_dora",
        "init_lora_weights": "init",
        "rank_pattern": "rank_pattern",
        "alpha_pattern": "alpha_pattern",
    },
    "ia3": {
        "target_modules": "target_modules",
        "feedforward_modules": "feedforward_modules",
        "modules_to_save": "modules_to_save",
    },
    "prompt_tuning": {"num_virtual_tokens": "num_virtual_tokens", "prompt_tuning_init": "init"},
    "prefix_tuning": {"num_virtual_tokens": "num_virtual_tokens", "prefix_projection": "projection"},
}


def _replaces_weights(config: dict[str, Any]) -> bool:
    blocks = [block for name, block in config.items() if name != "training" and isinstance(block, dict)]
    return any(block.get("modules_to_save") or block.get("bias", "none") != "none" for block in blocks)


def _rows_used(trainer: Any, rows: int, epochs: float, *, resumed: bool) -> Value:
    """How many rows were gone through; below one epoch only the sampler knows which."""
    kind = TrainerClass.of(trainer)
    if kind.own is not None:
        return unknown(f"the script's class {kind.own} may choose among the {rows} rows")
    if trainer.args.dataloader_drop_last:
        return unknown(f"of {rows} rows those that filled no batch were left out of each epoch")
    if resumed:
        return unknown("the run was resumed, and which rows the steps before took was not seen")
    if epochs < 1:
        return unknown(f"of {rows} rows the training went through {epochs:.3g} of one epoch")
    return measured(rows, "rows", method="rows that the trainer was given, all of which an epoch takes")


def _modality(data: Sequence[DataIdentity]) -> Value:
    columns = {column for identity in data for column, _ in identity.columns}
    others = sorted(name for name in columns if any(word in name for word in ("pixel", "image", "audio", "video")))
    if others:
        return unknown(f"the rows have columns of other things than text: {', '.join(others)}")
    return measured("text", method="the rows of a causal language model, without columns of images or sound")


def _hardware_of(trainer: Any, model: Any) -> Hardware:
    dtype: Dtype = "bf16" if trainer.args.bf16 or str(model.dtype) == "torch.bfloat16" else "fp32"
    return hardware_in_use(model.device.type, dtype)


def _dtype_of(trainer: Any, dtype: str) -> str:
    return "fp16" if trainer.args.fp16 else dtype


def _is_one_machine(processes: int) -> bool:
    """Whether all processes run here, so that this machine's counters see all of them."""
    return processes == 1 or os.environ.get("LOCAL_WORLD_SIZE") == str(processes)


def _resumed(step: int) -> str:
    return f"the run was resumed from a checkpoint after step {step}"


def _loaded_best(trainer: Any, state: Any) -> tuple[str, ...]:
    if not trainer.args.load_best_model_at_end or state.best_global_step is None:
        return ()
    return (
        f"what is registered is the checkpoint of step {state.best_global_step}, the best by the trainer's own metric",
    )
