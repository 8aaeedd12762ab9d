"""`registry train`, from a file to a registered version. The only module of the trainer that knows the registry.

    config → base identity → data identity → train → evaluate both arms → artifact folder → manifest → register

Everything before `register_version` happens in HOME/runs/<id>, which is removed afterwards: a kill leaves nothing registered.
"""

import sys
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.base_identity import BaseFolder
from registry.bases import base_folder, base_record, check_base_folder
from registry.compliance.completeness import completeness
from registry.compliance.modification import BaseInput, ChangeFigures, Signing, build_modification_record
from registry.database import catalog
from registry.exports.model_card import model_card
from registry.files import StatKey, unwritable
from registry.home import Registry
from registry.intake.paths import scan_folder
from registry.manifests import manifest_of_folder
from registry.organisation import read_profile
from registry.provenance import provenance_predicate
from registry.pull import version_named
from registry.register import NewArtifact, NewStatement, register_version
from schemas.base_model import BaseRecord
from schemas.canonical import canonical_digest
from schemas.config import TrainingFile, config_identity, config_record
from schemas.errors import InputRefused, IntegrityBroken
from schemas.evaluation import EvaluationRecord
from schemas.identity import Digest
from schemas.manifest import BaseReference, Manifest, Parent
from schemas.modification import ModificationRecord
from schemas.progress import Observe, Said, Warned, ignore
from schemas.run import RunRecord
from schemas.statement import CardPredicate
from schemas.values import derived, measured
from schemas.version import Version
from trainer.config import LoadedConfig, load_training_file
from trainer.facts_file import read_facts
from trainer.methods import MethodRow, changes_loaded_base, check_available, optimizer_name
from trainer.quantization import describe
from trainer.run_folder import run_folder

if TYPE_CHECKING:
    from trainer.evaluation.before_after import Evaluated
    from trainer.training import Trained

LOSS_METHOD = "summed loss of the held-out rows over their supervised tokens, scored in fp32"


class NotABase(InputRefused):
    reference = "not-a-base"

    def __init__(self, label: str, kind: str) -> None:
        super().__init__(
            what=f"{label} is no base",
            why=f"it is registered as {kind}; training starts from a whole model",
            fix="name a base in `base:`; `registry list --kind base` shows them",
        )


class BaseChanged(IntegrityBroken):
    reference = "base-changed"

    def __init__(self, path: str) -> None:
        super().__init__(
            what=f"{path} of the base changed between its check and its loading",
            why="device, inode, size or a time of the file is another, or it came or went",
            fix="let whatever writes there finish, then run the command again; nothing was registered",
        )


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


@dataclass(frozen=True)
class CheckedBase:
    """The base of a run, checked: version, record, folder and the stat keys of its files."""

    version: Version
    record: BaseRecord
    folder: Path
    found: BaseFolder
    keys: dict[str, StatKey]

    def reference(self, config: TrainingFile) -> BaseReference:
        """What the result of a file's run needs."""
        block = config.quantization
        return BaseReference(
            identity=self.record.identity,
            manifest=self.version.manifest_digest,
            quantisation=None if block is None else describe(block),
        )

    def require_unchanged(self) -> None:
        """Return if the folder holds the very files that were checked: a file more may change what is loaded too.

        Raises:
            BaseChanged: a file was changed, replaced, added or removed.
        """
        present = file_states(self.folder)
        for path in sorted(present.keys() | self.keys.keys()):
            if present.get(path) != self.keys.get(path):
                raise BaseChanged(path)


def file_states(folder: Path) -> dict[str, StatKey]:
    """Every file of a folder, and the state in which it lies there."""
    return {file.path: StatKey.of_path(folder / file.path) for file in scan_folder(folder, family="intake")}


def train_and_register(
    registry: Registry, config_path: Path, overrides: tuple[str, ...] = (), *, observe: Observe = ignore
) -> TrainOutcome:
    """Train as the file says and register the result with its records.

    Raises:
        InputRefused, NotFound: the file, the data or the base are refused before anything is loaded.
        IntegrityBroken: the base's bytes are not those that were registered.
        RunFailed: the loss diverged or memory ran out; nothing was registered.
    """
    registry.require_writable()
    loaded = load_training_file(config_path, overrides)
    for note in loaded.notes:
        observe(Warned("config", note))
    row = check_available(loaded.config)
    facts = _read_facts(loaded)
    signer = registry.trainer_key  # asked for now, not after an hour of training
    base_version = _base_named(registry, loaded.config.base)
    _check_asked(loaded)
    run_id = registry.nonce()
    runs = registry.folder / "runs"
    try:
        with run_folder(runs, run_id) as folder:
            base = _checked_base(registry, base_version, folder, observe)
            return _Run(registry, loaded, row, base, run_id, folder, observe).complete(facts, signer.public.key_id)
    except OSError as error:
        raise unwritable(runs / run_id, error) from error


def _check_asked(loaded: LoadedConfig) -> None:
    """Refuse a data file that is not there and a question that nothing answers now, not after the base was hashed."""
    from trainer.data.containers import DataFileMissing
    from trainer.evaluation.suites import check_asked

    data = loaded.config.data
    for path in (data.train.path, data.validation.path):
        if path is not None and not loaded.resolve(path).exists():
            raise DataFileMissing(loaded.resolve(path))
    check_asked(loaded.config.evaluation)


def _base_named(registry: Registry, reference: str) -> Version:
    version = version_named(registry, reference)
    if version.kind != "base":
        raise NotABase(version.label, version.kind)
    return version


def _checked_base(registry: Registry, version: Version, scratch: Path, observe: Observe) -> CheckedBase:
    record = base_record(registry, version)
    folder = base_folder(registry, version, scratch / "base")
    keys = file_states(folder)
    found = check_base_folder(registry, version, folder, record.identity)
    licence = record.facts.licence.value or "licence unknown"
    observe(
        Said(
            "base",
            f"{version.label} {record.identity.weights.short}  {record.parameters_total / 1e6:.1f} M  {licence}  digest checked",
        )
    )
    return CheckedBase(version, record, folder, found, keys)


@dataclass(eq=False)
class _Run:
    """One run between its checked base and its registration."""

    registry: Registry
    loaded: LoadedConfig
    row: MethodRow
    base: CheckedBase
    run_id: str
    folder: Path
    observe: Observe
    warnings: list[str] = field(default_factory=list)

    @property
    def config(self) -> TrainingFile:
        return self.loaded.config

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact"

    def complete(self, facts: dict[str, Any] | None, key_id: str) -> TrainOutcome:
        """Train, evaluate, describe, register."""
        from trainer.evaluation.before_after import evaluate_before_after
        from trainer.training import train_adapter

        started_at = self.registry.clock()
        trained = train_adapter(
            self.config,
            data_folder=self.loaded.folder,
            base_folder=self.base.folder,
            base_record=self.base.record,
            observe=self.observe,
            after_load=self.base.require_unchanged,
        )
        self.warnings += [*self.loaded.notes, *trained.data.warnings]
        self.artifact.mkdir()
        trained.save(self.artifact, base=str(self.base.record.identity.weights))
        manifest = self._manifest(trained)
        evaluated = evaluate_before_after(
            trained,
            self.config,
            base=self.base.record.identity,
            weights_digest=manifest.weights_digest,
            created_at=self.registry.clock(),
            responsible=self._person(key_id),
            base_model=self._second_base(trained),
            observe=self.observe,
        )
        run = self._run_record(trained, manifest, evaluated, started_at)
        self._say_compute(run)
        modification = self._modification(manifest, run, evaluated.record, facts, key_id)
        was_there = self._is_registered(manifest)
        version = self._register(manifest, run, evaluated, modification)
        return TrainOutcome(version, run, modification, self._person(key_id) or key_id[:12], was_there)

    def _is_registered(self, manifest: Manifest) -> bool:
        digest = Digest.of(manifest.to_canonical())
        with self.registry.database.read() as tx:
            return catalog.idempotent_version(tx, name=self.config.name, manifest_digest=digest) is not None

    def _second_base(self, trained: "Trained") -> Any | None:
        """The untouched base, where the trained model is a whole model of its own; None where it is the same weights."""
        if not changes_loaded_base(self.config):
            return None
        from trainer.base_models import load_base

        model = load_base(self.base.folder, dtype="fp32", device=trained.hardware.device)[0]
        self.base.require_unchanged()
        return model

    def _manifest(self, trained: "Trained") -> Manifest:
        whole = self.row.trains_base_weights
        return manifest_of_folder(
            self.artifact,
            kind="model" if whole else "adapter",
            layout="model" if whole else "peft",
            method=self.config.method,
            base=self.base.reference(self.config),
            data=trained.data.identities,
            config_sha256=canonical_digest(config_identity(self.config)),
            parents=(Parent(role="base", manifest=self.base.version.manifest_digest),),
        )

    def _run_record(self, trained: "Trained", manifest: Manifest, evaluated: "Evaluated", started_at: str) -> RunRecord:
        from trainer.compute import compute_record
        from trainer.environment import describe_environment

        losses = evaluated.loss
        trainable, total = trained.parameters
        return RunRecord(
            run_id=self.run_id,
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
                trained.hardware, argv=sys.argv[1:], code_version=package_version("peft-registry")
            ),
            compute=compute_record(trained, self.base.record, observe=self.observe),
            curve=trained.result.curve,
            loss_before=measured(losses.before, "nats/token", method=LOSS_METHOD),
            loss_after=measured(losses.after, "nats/token", method=LOSS_METHOD),
            loss_change=derived(losses.change, "nats/token", method="after − before, over the same held-out tokens"),
            warnings=tuple(dict.fromkeys(self.warnings)),
            started_at=started_at,
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
        facts: dict[str, Any] | None,
        key_id: str,
    ) -> ModificationRecord:
        base = BaseInput(
            name=self.base.version.name,
            record=self.base.record,
            number=self.base.version.number,
            manifest=self.base.version.manifest_digest,
            files=tuple(self.base.found.files),
            added_at=self.base.version.registered_at,
        )
        whole = self.row.trains_base_weights
        record = build_modification_record(
            record_id=self.run_id,
            now=self.registry.clock(),
            name=self.config.name,
            manifest=manifest,
            run=run,
            bases=(base,),
            profile=read_profile(self.registry),
            tool_version=run.environment.code_version,
            evaluation=evaluation,
            change=ChangeFigures(
                added=None if whole else run.parameters_trainable, base_untouched=None if whole else True
            ),
            optimiser=optimizer_name(self.config),
            signing=Signing(key_id=key_id, person=self._person(key_id), log_origin=self.registry.origin),
            facts=facts,
        )
        counted = completeness(record)
        self.observe(Said("record", counted.sentence))
        return record

    def _register(
        self, manifest: Manifest, run: RunRecord, evaluated: "Evaluated", modification: ModificationRecord
    ) -> Version:
        card = model_card(
            name=self.config.name,
            manifest=manifest,
            run=run,
            base_name=self.base.version.name,
            base=self.base.record,
            evaluation=evaluated.record,
            record=modification,
        )
        statements = (
            NewStatement("provenance", provenance_predicate(run)),
            NewStatement("bias-evaluation", evaluated.record.to_json()),
            NewStatement("modification", modification.to_json()),
            NewStatement("card", CardPredicate(sha256=Digest.of(card)).to_json()),
        )
        return register_version(
            self.registry,
            NewArtifact(
                name=self.config.name,
                source="train",
                manifest=manifest,
                folder=self.artifact,
                card=card,
                statements=statements,
                evidence=(evaluated.items,),
            ),
            observe=self.observe,
        )

    def _person(self, key_id: str) -> str | None:
        key = self.registry.trust.key(key_id)
        return None if key is None else key.person


def _read_facts(loaded: LoadedConfig) -> dict[str, Any] | None:
    if loaded.config.facts is None:
        return None
    return read_facts(loaded.resolve(loaded.config.facts))
