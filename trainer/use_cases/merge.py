"""`registry merge`, from registered adapters to a registered model: with train, the trainer's way into the registry.

    adapters and base verified → plan → weights, measured as they are written → figures and gate → folder → manifest → register

Everything before `register_version` happens in HOME/runs/<id>, which is removed afterwards: a kill leaves nothing registered,
a full disk neither. The base is always the pristine one; nothing is ever unmerged.
"""

import shutil
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.disk.files import DiskFull, unwritable
from peft_registry.registry.evaluation.lost_quality import LostQuality, lost_quality
from peft_registry.registry.evaluation.staleness import composition_of, stale_evaluations
from peft_registry.registry.exports.model_card import merge_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.intake.facts_file import warn_of_overtaken_facts
from peft_registry.registry.records.ancestry import tries_of_ancestors
from peft_registry.registry.records.evaluations import newest_of_each
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.first_records import DerivedRecord, MadeResult, derive_record
from peft_registry.registry.use_cases.register_product import (
    FinishedProduct,
    MeasuredEvaluation,
    register_product,
    signer_of,
)
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import Refused
from peft_registry.schemas.manifest import Manifest, Parent
from peft_registry.schemas.merge import AcceptedDistance, MergeRecord, StaleEvaluation
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.ancestry import texts_of_ancestors
from peft_registry.trainer.inputs.evaluation import EvaluationSetup, load_suites, report_power
from peft_registry.trainer.merge.ingredients import Prepared, algorithm_of, ingredients_of, plan_identity
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.use_cases.merge_inputs import checked_facts_of_merge, plan_merge

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.evaluate import EvaluationOutcome
    from peft_registry.trainer.evaluation.neutral import GuardText
    from peft_registry.trainer.evaluation.suites import LoadedSuite
    from peft_registry.trainer.merge.write_result import MergeResult

TOKENIZER_POLICY = "the base's, byte for byte; adapters bring no tokens of their own"


class DistanceNotAccepted(Refused):
    """Distances are KL divergences in nats a token; `dequantised` is that of a merge into the dequantized base."""

    what = "merged into the original base, {label} is not the model that was trained"
    why = "it was trained on a base in 4 bits ({quantisation}): the distance is {kl:.3g} nats a token (KL){alternative}"
    fix = "use --base-policy dequantised, or say why with --accept-distance REASON, which enters the record"

    label: str
    quantisation: str
    kl: float
    dequantised: float | None

    @property
    def alternative(self) -> str:
        if self.dequantised is None:
            return ""
        return f"; merged into the dequantized base it would be {self.dequantised:.3g}"


@dataclass(frozen=True)
class MergeOutcome:
    """What a merge made: measured, and registered unless it was only checked (`version` None).

    `lost` is what its evaluations show it to have become worse at.
    """

    version: Version | None
    merge: MergeRecord = field(repr=False)
    modification: ModificationRecord = field(repr=False)
    signed_by: str
    lost: tuple[LostQuality, ...] = ()
    was_there: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object that `merge --output json` ends with."""
        fold = self.merge.fold_error
        distance = self.merge.distance
        version = self.version
        return {
            "version": version.label if version else None,
            "manifest_digest": self.modification.identity.result_manifest.value,
            "weights_digest": str(self.merge.weights_digest),
            "base_digest": str(self.merge.base.identity.weights),
            "kind": version.kind if version else None,
            "fold_error": fold.kl if fold else None,
            "fold_error_limit": fold.limit if fold else None,
            "fold_error_floor": fold.floor if fold else None,
            "distance": distance.kl if distance else None,
            "distances": {policy: divergence.kl for policy, divergence in self.merge.compared.items()},
            "lost_to_rounding": self.merge.lost_share,
            "why_bundled": self.merge.why_bundled,
            "accepted": self.merge.accepted.to_json() if self.merge.accepted else None,
            "modification_record": str(self.modification.canonical_digest()),
            "registered_before": self.was_there,
            "log_index": version.log_index if version else None,
        }


def merge_and_register(
    registry: Registry,
    request: MergeRequest,
    *,
    check_only: bool = False,
    command: tuple[str, ...] = (),
    observe: Observe = ignore,
) -> MergeOutcome:
    """Merge, measure, and register the result with its records; with `check_only` measure and register nothing.

    Args:
        registry: where.
        request: what to merge, and how.
        check_only: measure, and register nothing.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of everything.

    Raises:
        FoldErrorTooLarge: the merged model does not answer like what was merged; nothing was registered.
        DistanceNotAccepted: it is not the model that was trained, and nobody said why that may be.
        DiskFull: before or while it was written; nothing was registered.
    """
    registry.require_writable()
    if not check_only:
        require_announced(registry)
    facts = checked_facts_of_merge(registry, request)
    signer = registry.trainer_key.public.key_id
    merge_id = registry.nonce()
    runs = registry.files.runs
    try:
        with run_folder(runs, merge_id) as folder:
            prepared = plan_merge(registry, request, folder, observe=observe)
            return _Merge(registry, prepared, merge_id, folder, command, observe).complete(
                facts, signer, register=not check_only
            )
    except OSError as error:
        raise unwritable(runs / merge_id, error) from error


# --- the merge ---


@dataclass(eq=False)
class _Merge:
    """One merge between its plan and its registration."""

    registry: Registry
    prepared: Prepared
    merge_id: str
    folder: Path
    command: tuple[str, ...]
    observe: Observe

    @property
    def artifact(self) -> Path:
        return self.folder / "artifact"

    def complete(self, facts: dict[str, Any] | None, key_id: str, *, register: bool) -> MergeOutcome:
        """Write, measure, judge, describe, register."""
        from peft_registry.trainer.merge.write_result import write_result

        prepared = self.prepared
        began = (self.registry.clock(), time.monotonic())
        self._require_room()
        setup = EvaluationSetup(self.registry, key_id, "trainer")
        # loaded now: data that is not what was pinned is refused before anything is written
        suites = self._suites() if prepared.request.evaluate else ()
        guard = prepared.request.scope.guard()
        self.artifact.mkdir()
        result = write_result(prepared, self.artifact, self.folder / "reference", observe=self.observe)
        prepared.base.require_unchanged()  # while its weights were read, folded and loaded again
        accepted = self._judge(result, key_id)
        manifest = self._manifest(result)
        evaluated = self._evaluate(manifest, suites, guard, setup) if prepared.request.evaluate else ()
        merge = self._record(manifest, result, accepted, began)
        made = MadeResult(
            name=prepared.name,
            record_id=self.merge_id,
            manifest=manifest,
            production=merge,
            base=prepared.base_input,
            parents=tuple(ingredient.version for ingredient in prepared.adapters),
            evaluation=evaluated[0].record if evaluated else None,
            profile=read_profile(self.registry),
            facts=facts,
            scans=scans_of(self.artifact, with_values=not merge.has_folded),  # folding looks at every value it writes
        )
        derived = derive_record(self.registry, made, key_id=key_id)
        modification = derived.record
        warn_of_overtaken_facts(modification, facts, self.observe)
        self.observe(Said("record", completeness(modification).sentence))
        signed_by = signer_of(self.registry, key_id)
        lost = tuple(lost for outcome in evaluated for lost in lost_quality(outcome.record))
        if not register:
            return MergeOutcome(None, merge, modification, signed_by, lost)
        product = self._product(manifest, merge, derived, evaluated)
        registered = register_product(self.registry, product, observe=self.observe)
        return MergeOutcome(registered.version, merge, modification, signed_by, lost, registered.was_there)

    def _require_room(self) -> None:
        """The result is written once here and once in the store: said before, not after half of it."""
        needed = 2 * (0 if self.prepared.plan is None else self.prepared.plan.output_bytes)  # the rest is small
        if shutil.disk_usage(self.folder).free < needed:
            raise DiskFull(self.artifact)

    def _judge(self, result: "MergeResult", key_id: str) -> AcceptedDistance | None:
        from peft_registry.trainer.merge.drift import require_within

        if result.fold_error is not None:
            require_within(result.fold_error)
        prepared = self.prepared
        reason = self.prepared.request.accept_distance
        how = prepared.quantization
        distance = result.distance
        if how is None or distance is None or prepared.policy == "dequantised" or prepared.plan is None:
            return None
        if not reason or not reason.strip():
            other = dict(result.compared).get("dequantised")
            label = prepared.adapters[0].version.label
            raise DistanceNotAccepted(label, how.settings, distance.kl, other.kl if other else None)
        self.observe(Warned("distance-accepted", f"the distance from the trained model was accepted: {reason}"))
        return AcceptedDistance(reason=reason.strip(), by=self.registry.trust.person_of(key_id))

    def _manifest(self, result: "MergeResult") -> Manifest:
        prepared = self.prepared
        adapters = sorted(adapter.version.manifest_digest for adapter in prepared.adapters)
        return manifest_of_folder(
            self.artifact,
            kind=result.kind,
            layout=result.layout,
            method=result.method,
            base=prepared.base_reference,
            config_sha256=canonical_digest(plan_identity(prepared)),
            parents=(
                Parent(role="base", manifest=prepared.base.version.manifest_digest),
                *(Parent(role="adapter", manifest=digest) for digest in adapters),
            ),
        )

    def _suites(self) -> "tuple[LoadedSuite, ...]":
        from peft_registry.trainer.merge.evaluation import suites_of_ingredients

        suites = suites_of_ingredients(partial(load_suites, self.registry), self.prepared, self.observe)
        report_power(suites, self.observe)
        return suites

    def _evaluate(
        self, manifest: Manifest, suites: "tuple[LoadedSuite, ...]", guard: "GuardText", setup: EvaluationSetup
    ) -> "tuple[EvaluationOutcome, ...]":
        """The result beside its base, then beside each ingredient."""
        from peft_registry.trainer.merge.evaluation import evaluate_merged

        ingredients = [ingredient.version for ingredient in self.prepared.adapters]
        return evaluate_merged(
            self.prepared,
            self.artifact,
            manifest=manifest,
            loaded_suites=suites,
            guard=guard,
            trained=texts_of_ancestors(self.registry, ingredients),
            tries=tries_of_ancestors(self.registry, ingredients),
            setup=setup,
            observe=self.observe,
        )

    def _record(
        self,
        manifest: Manifest,
        result: "MergeResult",
        accepted: AcceptedDistance | None,
        began: tuple[str, float],
    ) -> MergeRecord:
        from peft_registry.trainer.machine.environment import choose_hardware, describe_environment

        prepared = self.prepared
        return MergeRecord(
            merge_id=self.merge_id,
            algorithm=algorithm_of(prepared),
            formula=result.formula,
            seed=prepared.seed,
            plan_sha256=canonical_digest(plan_identity(prepared)),
            dtype=result.dtype,
            base=prepared.base_reference,
            base_policy=prepared.policy,
            ingredients=ingredients_of(prepared),
            weights_digest=manifest.weights_digest,
            parameters_total=prepared.base.record.parameters_total,
            parameters_changed=result.changed,
            parameters_added=result.added,
            relative_norm=result.relative_norm,
            lost_share=result.lost_share,
            modules=result.modules,
            fold_error=result.fold_error,
            distance=result.distance,
            compared=dict(result.compared),
            why_bundled=result.why_bundled,
            accepted=accepted,
            licence_flags=prepared.licence_flags,
            tokenizer_policy=TOKENIZER_POLICY,
            stale=() if prepared.request.evaluate else _stale(manifest, prepared),
            environment=describe_environment(
                choose_hardware(), argv=self.command, code_version=package_version("peft-registry")
            ),
            project=prepared.request.project,
            wall_seconds=round(time.monotonic() - began[1], 3),
            started_at=began[0],
            finished_at=self.registry.clock(),
        )

    def _product(
        self,
        manifest: Manifest,
        merge: MergeRecord,
        derived: DerivedRecord,
        evaluated: "tuple[EvaluationOutcome, ...]",
    ) -> FinishedProduct:
        card = merge_card(
            name=self.prepared.name,
            manifest=manifest,
            merge=merge,
            base_name=self.prepared.base.version.name,
            base=self.prepared.base.record,
            evaluation=evaluated[0].record if evaluated else None,
            record=derived.record,
        )
        return FinishedProduct(
            name=self.prepared.name,
            source="merge",
            folder=self.artifact,
            manifest=manifest,
            production=merge,
            observations=derived.observations,
            modification=derived.record,
            as_of=derived.as_of,
            card=card,
            evaluations=tuple(MeasuredEvaluation(outcome.record, outcome.items) for outcome in evaluated),
            mode="link",  # the run folder is removed in any case: the store may take the very blocks
        )


def _stale(manifest: Manifest, prepared: Prepared) -> tuple[StaleEvaluation, ...]:
    """The evaluations of the ingredients that stand: none of them speaks of the result."""
    served = composition_of(manifest, prepared.base.record.identity)
    return tuple(
        stale
        for adapter in prepared.adapters
        for stale in stale_evaluations(adapter.version.label, newest_of_each(adapter.records.evaluations), served)
    )
