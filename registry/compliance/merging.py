"""The modification record of a merge, from what was recorded of it. Pure: time and identifier come in, nothing is read.

Compute: the merge itself computes no gradients (the narrow value, 0), and is not a way to no compute: the wide value is that of
everything which went in besides the base, each training run once, however many ways led to it.

Data and purposes are those of everything that went in (`inheritance.py`).
"""

from collections.abc import Sequence
from typing import Any

from peft_registry.registry.compliance import recorded_run
from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.declared import sound_facts
from peft_registry.registry.compliance.documentation import product_section
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.inheritance import (
    data_gaps,
    inherited_data,
    inherited_purposes,
    own_licence,
    placing_question,
    with_limits_of_data,
)
from peft_registry.registry.compliance.inherited_terms import of_the_base, with_answered_terms
from peft_registry.registry.compliance.recorded_evaluation import (
    NOT_REPEATED,
    STALE,
    EvaluationSigner,
    evaluation_section,
)
from peft_registry.registry.compliance.recorded_result import (
    BaseInput,
    Scan,
    Signing,
    base_section,
    evaluation_signer,
    file_digests,
    identity_section,
    modifier_section,
    scans_value,
    security_section,
    upstream_terms,
)
from peft_registry.registry.compliance.recorded_run import MERGED_RUNS, TrainedRun, flop_rows, flop_sum
from peft_registry.registry.compliance.retention import retention_section
from peft_registry.registry.compliance.synthetic_compute import inherited_synthetic_flop
from peft_registry.registry.compliance.verdicts.gpai import TOLERANCE_PCT
from peft_registry.schemas.codes import says
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.merge import Divergence, MergeIngredient, MergeRecord
from peft_registry.schemas.modification import (
    BaseUsed,
    Change,
    Compute,
    Evaluation,
    Merge,
    Method,
    ModificationRecord,
    Use,
)
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Timestamp, Value, derived, measured, unknown

_KINDS = {
    "linear": "merge_linear",
    "ties": "merge_ties",
    "dare": "merge_dare",
    "dare_ties": "merge_dare",
    "concatenate": "merge_linear",
    "svd": "merge_linear",
    "bundle": "other",
}


def build_merge_modification(
    *,
    record_id: str,
    now: Timestamp,
    name: str,
    manifest: Manifest,
    merge: MergeRecord,
    base: BaseInput,
    trained: tuple[TrainedRun, ...],
    ancestors: tuple[Ancestor, ...] = (),
    profile: OrganisationProfile,
    tool_version: str,
    evaluation: EvaluationRecord | None = None,
    signing: Signing | None = None,
    scans: tuple[Scan, ...] = (),
    facts: dict[str, Any] | None = None,
) -> ModificationRecord:
    """The record of one merge.

    Args:
        name: that the result is registered under.
        manifest: of the result.
        base: the base of every adapter that went in.
        trained: every training run among the ingredients and their ancestors; one that comes twice counts once.
        ancestors: the ingredients and everything that they were made from besides bases, with the records that hold now.
        evaluation: of the result, if it was evaluated.
        scans: of the result's files, those that ran and those that did not.
        facts: the JSON value of a facts file, if there is one.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
    """
    changed = change_of_merge(merge, kind=manifest.kind, files=manifest.files)
    data = inherited_data(ancestors)
    used, terms = with_answered_terms(base_section(base, view_of_merge(merge)), upstream_terms(base), ancestors)
    described = ModificationRecord(
        record_id=record_id,
        record_created_at=now,
        identity=identity_section("merge", name, manifest, signing, tool_version),
        modifier=modifier_section(profile),
        base=(
            used,
            *(
                _ingredient(part, merge, base, used, own_licence(ancestors, part.manifest))
                for part in merge.ingredients
            ),
        ),
        change=changed,
        data=data,
        data_gaps=data_gaps(data),
        evaluation=with_limits_of_data(evaluation_of_merge(merge, evaluation, evaluation_signer(signing, now)), data),
        use=recorded_run.use_section(merge.environment, merge.dtype, base.record),
        security=security_section(manifest, signing, scans_value(scans, tool_version)),
        retention=retention_section(),
        upstream=(terms,),
        product=product_section(base.record, f"merged by {merge.algorithm}", changed),
    )
    record = with_merge(described, merge, flop_rows(trained))
    generated = inherited_synthetic_flop(ancestors)
    if generated is not None:
        record = record.revised(compute=record.compute.revised(private_synthetic_flop=generated))
    if facts:
        record = with_facts(record, facts, at=now)
    # after the facts: what the result is for, and whether it is placed, is for whoever merges to say
    placing = placing_question(ancestors)
    if placing is not None and says(record.gpai.placed_on_eu_market.reason, "not_answered"):
        record = record.revised(gpai=record.gpai.revised(placed_on_eu_market=placing))
    return with_assessment(record.revised(use=_where_open(record.use, inherited_purposes(ancestors))))


def with_merge(record: ModificationRecord, merge: MergeRecord, trained: Sequence[dict[str, Any]]) -> ModificationRecord:
    """The record with the sections that the record of a merge gives without anything else: how it was made, and its compute.

    Args:
        record: of the merge.
        merge: as it was recorded.
        trained: the figures of each training among the ingredients and their ancestors, by `flop_rows`.
    """
    return record.revised(
        method=_method(merge),
        merge=_merge(merge),
        code=recorded_run.code_section(merge.environment),
        compute=_compute(trained, merge),
    )


def view_of_merge(merge: MergeRecord) -> dict[str, str] | None:
    """How the base was held while the adapters were trained and while it was folded into; None where it never was in 4 bits."""
    settings = [part.quantisation for part in merge.ingredients if part.quantisation]
    if not settings:
        return None
    folded = "as it is stored, not quantised"
    if merge.base_policy == "dequantised":
        folded = "through 4 bits and back"
    return {"while training": settings[0], "for the merge": folded}


def _ingredient(part: MergeIngredient, merge: MergeRecord, base: BaseInput, used: BaseUsed, licence: Value) -> BaseUsed:
    """An adapter of the merge. It stands on the same base and is under that base's terms; its licence is its own.

    `used` is the base with what the records of the adapters answer of it.
    """
    facts = sound_facts(base.facts)
    quantised_view = unknown("its base was not quantised while it was trained")
    if part.quantisation:
        quantised_view = measured({"quantization": part.quantisation}, method="its base while it was trained")
    return BaseUsed(
        name=measured(part.label, method="its version in this registry"),
        version=measured(part.label.rpartition(":")[2], method="version number", evidence=(part.manifest,)),
        role=derived("ingredient", method="its part in the merge"),
        tensor_digest=measured(str(part.weights_digest), method="digest over the adapter's tensors"),
        quantised_view=quantised_view,
        file_digests=measured([str(part.manifest)], method="its manifest lists and signs each file"),
        provider=derived("this registry", method="it was registered here"),
        source_url=derived(f"registry://sha256/{part.manifest.hex}", method="its manifest digest"),
        retrieved_at=derived(merge.started_at, method="read from this registry for the merge"),
        licence_id=licence,
        licence_flags=merge.licence_flags,
        is_gpai=of_the_base(facts.is_gpai, used.is_gpai),
        has_systemic_risk=of_the_base(facts.has_systemic_risk, used.has_systemic_risk),
        release_date=unknown("an adapter of this registry; nobody recorded a release"),
        eu_release_date=unknown("an adapter of this registry; nobody recorded a placing on the market"),
        acceptable_use_policy=of_the_base(facts.acceptable_use_policy, used.acceptable_use_policy),
        upstream_docs=derived([f"modification record of {part.label}"], method="signed with its registration"),
        params_total=derived(base.record.parameters_total, "parameters", method="of the base that it adapts"),
        training_tokens=unknown("its training run is in compute.inputs"),
        training_compute_flop=unknown("its training run is in compute.inputs"),
        parent_records=measured([str(part.manifest)], method="manifest that its modification record is about"),
    )


def _method(merge: MergeRecord) -> Method:
    is_baked_in = len(merge.ingredients) == 1 and merge.algorithm == "linear"
    kind = "adapter_bake_in" if is_baked_in else _KINDS[merge.algorithm]
    seed = unknown("nothing in this merge is random")
    if merge.seed is not None:
        seed = measured(merge.seed, method="of the random choice, with adapter and tensor name")
    settings: dict[str, Any] = {
        "algorithm": merge.algorithm,
        "formula": merge.formula,
        "seed": merge.seed,
        "weights": [part.weight for part in merge.ingredients],
        "densities": [part.density for part in merge.ingredients],
        "base_policy": merge.base_policy,
    }
    return Method(
        kind=measured(kind, method="the merge that made the artifact"),
        objective=derived("none: weights are combined, nothing is trained", method="the merge"),
        seed=seed,
        hyperparameters=measured(settings, method="the merge plan", evidence=(merge.plan_sha256,)),
    )


def _merge(merge: MergeRecord) -> Merge:
    weights: list[dict[str, Any]] = []
    densities: list[dict[str, Any]] = []
    for part in merge.ingredients:
        ingredient = {"ingredient": part.label, "manifest": str(part.manifest)}
        weights.append(ingredient | {"weight": part.weight})
        densities.append(ingredient | {"density": part.density})
    policy = f"; base {merge.base_policy}"
    if merge.accepted is not None:
        policy += f"; distance accepted by {merge.accepted.by or 'the signer'}: {merge.accepted.reason}"
    return Merge(
        algorithm=measured(merge.algorithm, method=merge.formula),
        weights=measured(weights, method="as asked for, in the order of the sum"),
        densities=measured(densities, method="kept part of each difference"),
        layer_map=derived("every layer from the base, changed by the ingredients", method="the merge plan"),
        base_ref=measured(str(merge.base.identity.weights), method=f"weights digest of the base{policy}"),
        tokenizer_policy=measured(merge.tokenizer_policy, method="files copied byte for byte"),
        dtype=measured(merge.dtype, method="one rounding after sums in fp32"),
        config_digest=measured(str(merge.plan_sha256), method="SHA-256 of the canonical merge plan"),
    )


def change_of_merge(merge: MergeRecord, *, kind: str, files: tuple[FileEntry, ...]) -> Change:
    """What the merge counted and compared of its result; `kind` and `files` are those of its manifest."""
    modules = [module.model_dump(mode="json", exclude_none=True) for module in merge.modules]
    how = "every tensor of the result compared with the base's while it was written"
    lost = ""
    if merge.lost_share is not None:
        lost = f"; rounding took {100 * merge.lost_share:.3g} % of the norm that was meant"
    share = 100 * merge.parameters_changed / merge.parameters_total
    norm = unknown(f"not measured: the result is {kind}, and the base's weights are not in it")
    untouched = "no" if merge.has_folded else "yes"
    if merge.relative_norm is not None:
        norm = measured(merge.relative_norm, method=f"‖W' − W‖_F / ‖W‖_F over the whole base{lost}")
    return Change(
        params_changed=measured(merge.parameters_changed, "parameters", method=how),
        pct_of_base=derived(share, "%", method="parameters changed / all parameters"),
        params_added=measured(merge.parameters_added, "parameters", method=how),
        params_removed=measured(0, "parameters", method=how),
        params_trainable=measured(0, "parameters", method="a merge trains nothing"),
        rel_norm_global=norm,
        modules=measured(modules, method=f"{how}; evidence of size, not a test of significance"),
        relative_to=measured(str(merge.base.identity.weights), method="weights digest of the base"),
        base_weights_untouched=measured(untouched, method="whether the result holds tensors of the base"),
        artifact_digests=measured(file_digests(files), method="SHA-256 of each file"),
    )


def _compute(trained: Sequence[dict[str, Any]], merge: MergeRecord) -> Compute:
    rows = list(trained)
    how = "wide value: {} of every training run among the ingredients, each once"
    conservative = flop_sum(rows, "conservative_flop", how)
    inputs = {"narrow_flop": 0.0, "wide_flop": conservative.value, MERGED_RUNS: rows}
    return Compute(
        param_update_flop=flop_sum(rows, "param_update_flop", how),
        conservative_flop=conservative,
        method=derived(
            "narrow: a merge computes no gradients, 0 FLOP; wide: every training run besides the base's, each once",
            method="the rule for merges; the narrow value alone answers no question",
        ),
        inputs=derived(
            inputs,
            method="the figures of each training run, from its run record; wide_flop is the sum of the conservative ones",
        ),
        uncertainty_pct=derived(TOLERANCE_PCT, "%", method="the tolerance that GL J123 names; not estimated here"),
        wall_clock_days=derived(merge.wall_seconds / 86400, "days", method="wall-clock seconds of the merge / 86 400"),
        hardware=measured(f"{merge.environment.device}: {merge.environment.processor}", method="where it was merged"),
    )


def evaluation_of_merge(
    merge: MergeRecord, evaluation: EvaluationRecord | None, signer: EvaluationSigner | None
) -> Evaluation:
    """The evaluation section of a merge: what was scored of the result, and how far that is from what it stands for.

    Args:
        merge: as it was recorded.
        evaluation: of the result, if it was evaluated.
        signer: of the evaluation; None where nobody signs it.
    """
    section = evaluation_section(evaluation, None, signer)
    figures = [] if merge.fold_error is None else [_figure("fold error", merge.fold_error)]
    if merge.distance is not None:
        figures.append(_figure("distance from the trained model", merge.distance))
    for policy, distance in sorted(merge.compared.items()):
        figures.append(_figure(f"distance, base {policy}", distance))
    rows = [*(section.metrics.value or []), *figures]
    metrics = unknown(f"nothing was folded: {merge.why_bundled}")
    if rows:
        metrics = measured(rows, method="answers of reference and result on the tool's own probe sentences")
    if evaluation is not None or not merge.stale:
        return section.revised(metrics=metrics)
    stale = [evaluation.to_json() | {"status": STALE} for evaluation in merge.stale]
    return section.revised(
        metrics=metrics,
        runs=measured(stale, method="evaluations of the ingredients; they do not speak of the merged model"),
        limitations=measured([NOT_REPEATED], method="the merge"),
    )


def _where_open(section: Use, inherited: dict[str, Value]) -> Use:
    """The section with what is inherited where nobody has answered."""
    open_fields = {
        name: value for name, value in inherited.items() if says(getattr(section, name).reason, "not_answered")
    }
    return section.revised(**open_fields)


def _figure(name: str, distance: Divergence) -> dict[str, Any]:
    figure = {"metric": name, "unit": "nats per token (KL)", "value": distance.kl}
    details = {key: value for key, value in distance.to_json().items() if key != "kl" and value is not None}
    return figure | details
