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
from peft_registry.registry.compliance.verdicts.gpai import tolerance_pct
from peft_registry.schemas.codes import Code, code, says, together
from peft_registry.schemas.evaluation import DIVERGENCE_UNIT, EvaluationRecord
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.merge import AcceptedDistance, Divergence, MergeIngredient, MergeRecord
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
    refuses_facts: bool = True,
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
        refuses_facts: as `with_facts` has it.

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
        product=product_section(base.record, code("merged_by", algorithm=merge.algorithm), changed),
    )
    record = with_merge(described, merge, flop_rows(trained))
    generated = inherited_synthetic_flop(ancestors)
    if generated is not None:
        record = record.revised(compute=record.compute.revised(private_synthetic_flop=generated))
    if facts:
        record = with_facts(record, facts, at=now, refuses=refuses_facts)
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


def view_of_merge(merge: MergeRecord) -> dict[str, Any] | None:
    """How the base was held while the adapters were trained and while it was folded into; None where it never was in 4 bits."""
    settings = [part.quantisation for part in merge.ingredients if part.quantisation]
    if not settings:
        return None
    folded = code("base_as_stored")
    if merge.base_policy == "dequantised":
        folded = code("base_through_4_bits")
    return {"while training": settings[0], "for the merge": folded.to_json()}


def _ingredient(part: MergeIngredient, merge: MergeRecord, base: BaseInput, used: BaseUsed, licence: Value) -> BaseUsed:
    """An adapter of the merge. It stands on the same base and is under that base's terms; its licence is its own.

    `used` is the base with what the records of the adapters answer of it.
    """
    facts = sound_facts(base.facts)
    quantised_view = unknown(code("base_not_quantised"))
    if part.quantisation:
        quantised_view = measured({"quantization": part.quantisation}, method=code("its_base_while_trained"))
    return BaseUsed(
        name=measured(part.label, method=code("version_in_registry")),
        version=measured(part.label.rpartition(":")[2], method=code("version_number"), evidence=(part.manifest,)),
        role=derived("ingredient", method=code("part_in_merge")),
        tensor_digest=measured(str(part.weights_digest), method=code("digest_over_adapter_tensors")),
        quantised_view=quantised_view,
        file_digests=measured([str(part.manifest)], method=code("manifest_lists_files")),
        provider=derived(code("this_registry").to_json(), method=code("registered_here")),
        source_url=derived(f"registry://sha256/{part.manifest.hex}", method=code("its_manifest_digest")),
        retrieved_at=derived(merge.started_at, method=code("read_for_merge")),
        licence_id=licence,
        licence_flags=merge.licence_flags,
        is_gpai=of_the_base(facts.is_gpai, used.is_gpai),
        has_systemic_risk=of_the_base(facts.has_systemic_risk, used.has_systemic_risk),
        release_date=unknown(code("release_of_adapter_not_recorded")),
        eu_release_date=unknown(code("placing_of_adapter_not_recorded")),
        acceptable_use_policy=of_the_base(facts.acceptable_use_policy, used.acceptable_use_policy),
        upstream_docs=derived(
            [code("modification_record_of", version=part.label).to_json()], method=code("signed_with_registration")
        ),
        params_total=derived(base.record.parameters_total, "parameters", method=code("of_adapted_base")),
        training_tokens=unknown(code("run_in_compute_inputs")),
        training_compute_flop=unknown(code("run_in_compute_inputs")),
        parent_records=measured([str(part.manifest)], method=code("manifest_of_its_record")),
    )


def _method(merge: MergeRecord) -> Method:
    is_baked_in = len(merge.ingredients) == 1 and merge.algorithm == "linear"
    kind = "adapter_bake_in" if is_baked_in else _KINDS[merge.algorithm]
    seed = unknown(code("nothing_random_in_merge"))
    if merge.seed is not None:
        seed = measured(merge.seed, method=code("seed_of_random_choice"))
    settings: dict[str, Any] = {
        "algorithm": merge.algorithm,
        "formula": merge.formula,
        "seed": merge.seed,
        "weights": [part.weight for part in merge.ingredients],
        "densities": [part.density for part in merge.ingredients],
        "base_policy": merge.base_policy,
    }
    return Method(
        kind=measured(kind, method=code("merge_that_made_it")),
        objective=derived(code("nothing_is_trained").to_json(), method=code("the_merge")),
        seed=seed,
        hyperparameters=measured(settings, method=code("merge_plan"), evidence=(merge.plan_sha256,)),
    )


def _merge(merge: MergeRecord) -> Merge:
    weights: list[dict[str, Any]] = []
    densities: list[dict[str, Any]] = []
    for part in merge.ingredients:
        ingredient = {"ingredient": part.label, "manifest": str(part.manifest)}
        weights.append(ingredient | {"weight": part.weight})
        densities.append(ingredient | {"density": part.density})
    base_is = [code("weights_digest_of_base"), code("base_taken_as", policy=merge.base_policy)]
    if merge.accepted is not None:
        base_is.append(_accepted(merge.accepted))
    return Merge(
        algorithm=measured(merge.algorithm, method=merge.formula),
        weights=measured(weights, method=code("weights_in_order")),
        densities=measured(densities, method=code("kept_part_of_difference")),
        layer_map=derived(code("every_layer_from_base").to_json(), method=code("merge_plan")),
        base_ref=measured(str(merge.base.identity.weights), method=together(base_is)),
        tokenizer_policy=measured(merge.tokenizer_policy, method=code("copied_byte_for_byte")),
        dtype=measured(merge.dtype, method=code("one_rounding_after_fp32")),
        config_digest=measured(str(merge.plan_sha256), method=code("sha256_of_merge_plan")),
    )


def change_of_merge(merge: MergeRecord, *, kind: str, files: tuple[FileEntry, ...]) -> Change:
    """What the merge counted and compared of its result; `kind` and `files` are those of its manifest."""
    modules = [module.model_dump(mode="json", exclude_none=True) for module in merge.modules]
    how = code("every_tensor_compared_while_written")
    norm_method = [code("norm_over_base")]
    if merge.lost_share is not None:
        norm_method.append(code("lost_to_rounding", pct=100 * merge.lost_share))
    share = 100 * merge.parameters_changed / merge.parameters_total
    norm = unknown(code("base_not_in_result", kind=kind))
    untouched = "no" if merge.has_folded else "yes"
    if merge.relative_norm is not None:
        norm = measured(merge.relative_norm, method=together(norm_method))
    return Change(
        params_changed=measured(merge.parameters_changed, "parameters", method=how),
        pct_of_base=derived(share, "%", method=code("changed_over_all")),
        params_added=measured(merge.parameters_added, "parameters", method=how),
        params_removed=measured(0, "parameters", method=how),
        params_trainable=measured(0, "parameters", method=code("merge_trains_nothing")),
        rel_norm_global=norm,
        modules=measured(modules, method=together([how, code("size_not_significance")])),
        relative_to=measured(str(merge.base.identity.weights), method=code("weights_digest_of_base")),
        base_weights_untouched=measured(untouched, method=code("whether_tensors_of_base")),
        artifact_digests=measured(file_digests(files), method=code("sha256_of_each_file")),
    )


def _compute(trained: Sequence[dict[str, Any]], merge: MergeRecord) -> Compute:
    rows = list(trained)
    conservative = flop_sum(rows, "conservative_flop", code("sum_of_merged_runs", figure="conservative_flop"))
    inputs = {"narrow_flop": 0.0, "wide_flop": conservative.value, MERGED_RUNS: rows}
    return Compute(
        param_update_flop=flop_sum(rows, "param_update_flop", code("sum_of_merged_runs", figure="param_update_flop")),
        conservative_flop=conservative,
        method=derived(
            code("narrow_and_wide_compute").to_json(),
            method=code("rule_for_merges"),
        ),
        inputs=derived(
            inputs,
            method=code("figures_of_merged_runs"),
        ),
        uncertainty_pct=derived(tolerance_pct(), "%", method=code("tolerance_of_guidelines")),
        wall_clock_days=derived(merge.wall_seconds / 86400, "days", method=code("wall_seconds_of_merge_as_days")),
        hardware=measured(f"{merge.environment.device}: {merge.environment.processor}", method=code("where_merged")),
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
    figures = [] if merge.fold_error is None else [_figure(code("fold_error"), merge.fold_error)]
    if merge.distance is not None:
        figures.append(_figure(code("distance_from_trained_model"), merge.distance))
    for policy, distance in sorted(merge.compared.items()):
        figures.append(_figure(code("distance_with_base", policy=policy), distance))
    rows = [*(section.metrics.value or []), *figures]
    metrics = unknown(code("nothing_folded", because=str(merge.why_bundled)))
    if rows:
        metrics = measured(rows, method=code("answers_on_probe_sentences"))
    if evaluation is not None or not merge.stale:
        return section.revised(metrics=metrics)
    stale = [evaluation.to_json() | {"status": STALE} for evaluation in merge.stale]
    return section.revised(
        metrics=metrics,
        runs=measured(stale, method=code("evaluations_of_ingredients")),
        limitations=measured([NOT_REPEATED.to_json()], method=code("the_merge")),
    )


def _accepted(accepted: AcceptedDistance) -> Code:
    """Who accepted how far the result is from what it stands for, and their words."""
    if accepted.by is None:
        return code("distance_accepted_by_signer", reason=accepted.reason)
    return code("distance_accepted_by", by=accepted.by, reason=accepted.reason)


def _where_open(section: Use, inherited: dict[str, Value]) -> Use:
    """The section with what is inherited where nobody has answered."""
    open_fields = {
        name: value for name, value in inherited.items() if says(getattr(section, name).reason, "not_answered")
    }
    return section.revised(**open_fields)


def _figure(name: Code, distance: Divergence) -> dict[str, Any]:
    figure = {"metric": name.to_json(), "unit": DIVERGENCE_UNIT, "value": distance.kl}
    details = {key: value for key, value in distance.to_json().items() if key != "kl" and value is not None}
    return figure | details
