"""The modification record of a run: measured and derived from what was recorded, declared where people answered, else unknown.

Pure: time and identifier come in, nothing is read. What is not in the inputs stays `unknown` with its reason.
"""

from typing import Any

from peft_registry.registry.compliance import recorded_run
from peft_registry.registry.compliance.ancestors import Ancestor, trained_runs
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.documentation import product_section
from peft_registry.registry.compliance.energy import energy_section
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.inheritance import (
    data_gaps,
    data_of_continued_run,
    inherited_data,
    with_limits_of_data,
)
from peft_registry.registry.compliance.inherited_terms import with_answered_terms
from peft_registry.registry.compliance.recorded_evaluation import evaluation_section
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
    untouched_base,
    upstream_terms,
)
from peft_registry.registry.compliance.retention import retention_section
from peft_registry.schemas.codes import KnownCode, code, says, together
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import ModuleChange
from peft_registry.schemas.modification import (
    Change,
    ModificationRecord,
)
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value, derived, measured, unknown


class ChangeFigures(Frozen):
    """What changed in the weights; None where it was not measured. Counts are of parameters."""

    changed: int | None = None
    added: int | None = None
    removed: int | None = None
    relative_norm: float | None = None
    modules: tuple[ModuleChange, ...] = ()
    base_untouched: bool | None = None
    method: KnownCode = code("counted_over_tensors")
    norm_method: KnownCode = code("norm_over_base")
    norm_unknown: KnownCode | None = None  # why there is no norm


def build_modification_record(
    *,
    record_id: str,
    now: Timestamp,
    name: str,
    manifest: Manifest,
    run: RunRecord,
    bases: tuple[BaseInput, ...],
    ancestors: tuple[Ancestor, ...] = (),
    profile: OrganisationProfile,
    tool_version: str,
    evaluation: EvaluationRecord | None = None,
    change: ChangeFigures | None = None,
    signing: Signing | None = None,
    optimiser: str | None = None,
    scans: tuple[Scan, ...] = (),
    facts: dict[str, Any] | None = None,
    refuses_facts: bool = True,
) -> ModificationRecord:
    """The record of one fine-tune.

    Args:
        name: the name that the result is registered under.
        manifest: of the result.
        ancestors: the adapter that the run continued from and everything that it was made from besides bases, with the records
            that hold now.
        optimiser: what the training loop used, if the training file does not say it.
        scans: of the result's files, those that ran and those that did not.
        facts: the JSON value of the facts file, if there is one (`registry/compliance/facts.py`).
        refuses_facts: as `with_facts` has it.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
    """
    first = bases[0].record if bases else None
    own_data = recorded_run.data_sections(run)
    changed = _change(change or ChangeFigures(), manifest, run, bases)
    quantisation = run.config.get("quantization")
    used = [with_answered_terms(base_section(base, quantisation), upstream_terms(base), ancestors) for base in bases]
    record = ModificationRecord(
        record_id=record_id,
        record_created_at=now,
        identity=identity_section("fine_tune", name, manifest, signing, tool_version),
        modifier=modifier_section(profile),
        base=tuple(base for base, _ in used),
        method=recorded_run.method_section(run, optimiser),
        peft=recorded_run.peft_section(run),
        prompt=recorded_run.prompt_section(run),
        step=recorded_run.step_section(run),
        code=recorded_run.code_section(run.environment, run.followed),
        change=changed,
        data=(*own_data, *inherited_data(ancestors, own_data)),
        compute=recorded_run.compute_section(run, recorded_run.flop_rows(trained_runs(ancestors)), first),
        energy=energy_section(run),
        evaluation=evaluation_section(evaluation, run, evaluation_signer(signing, now)),
        use=recorded_run.use_section(run.environment, run.environment.dtype, first),
        security=security_section(manifest, signing, scans_value(scans, tool_version)),
        retention=retention_section(),
        upstream=tuple(terms for _, terms in used),
        product=product_section(first, code("changed_by", method=run.method), changed),
    )
    if facts:
        record = with_facts(record, facts, at=now, refuses=refuses_facts)
    if ancestors:
        training = Ancestor(label=name, manifest=manifest.canonical_digest(), is_parent=False, run=run, record=record)
        record = _with_earlier_uses(record, training, ancestors)
    return with_assessment(record)


def _with_earlier_uses(
    record: ModificationRecord, training: Ancestor, ancestors: tuple[Ancestor, ...]
) -> ModificationRecord:
    """The record with what the ancestors of a continued run say of the files that both trained on."""
    shared = data_of_continued_run(training, ancestors)
    data = (*shared, *record.data[len(shared) :])
    return record.revised(
        data=data,
        data_gaps=data_gaps(data) if says(record.data_gaps.reason, "not_answered") else record.data_gaps,
        evaluation=with_limits_of_data(record.evaluation, data),
    )


def _change(figures: ChangeFigures, manifest: Manifest, run: RunRecord, bases: tuple[BaseInput, ...]) -> Change:
    def count(number: int | None) -> Value | None:
        return None if number is None else measured(number, "parameters", method=figures.method)

    if figures.base_untouched:  # nothing of the base is in the result, so nothing of it changed or went
        figures = figures.revised(changed=figures.changed or 0, removed=figures.removed or 0)
    whole = bases[0].record.parameters_total if bases else run.parameters_total
    share = None
    if figures.changed is not None:
        value = 100 * figures.changed / whole
        share = derived(value, "%", method=code("changed_over_base"))
    modules = [module.model_dump(mode="json", exclude_none=True) for module in figures.modules]
    norm = None
    modules_value = None
    if figures.norm_unknown is not None:
        norm = unknown(figures.norm_unknown)
        modules_value = norm
    if figures.relative_norm is not None:
        norm = measured(figures.relative_norm, method=figures.norm_method)
    if modules:
        modules_value = measured(modules, method=together([figures.norm_method, code("size_not_significance")]))
    untouched = None
    if figures.base_untouched is not None:
        untouched = untouched_base(figures.base_untouched)
    return Change.of_known(
        params_trainable=recorded_run.trainable_parameters(run),
        relative_to=measured(str(run.base.identity.weights), method=code("weights_digest_of_base")),
        artifact_digests=measured(file_digests(manifest.files), method=code("sha256_of_each_file")),
        params_changed=count(figures.changed),
        params_added=count(figures.added),
        params_removed=count(figures.removed),
        pct_of_base=share,
        rel_norm_global=norm,
        modules=modules_value,
        base_weights_untouched=untouched,
    )
