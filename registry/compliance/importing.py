"""The modification record of an import, from what was recorded of it. Pure: time and identifier come in, nothing is read.

Nobody here saw the training. What the files of the folder say is `imported`; what was counted or compared here is `measured`; the
rest is unknown, and asked for. Who modified the base is not whoever imports: it is left to be stated.
"""

from typing import Any

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.documentation import product_section
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.gpai import TOLERANCE_PCT, dense_flop
from peft_registry.registry.compliance.recorded_evaluation import evaluation_section
from peft_registry.registry.compliance.recorded_result import (
    BaseInput,
    Scan,
    Signing,
    base_section,
    evaluation_signer,
    file_digests,
    identity_section,
    scans_value,
    security_section,
    upstream_terms,
)
from peft_registry.registry.compliance.retention import retention_section
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import (
    Change,
    Code,
    Compute,
    DataUsed,
    Energy,
    Method,
    ModificationRecord,
    Peft,
    Prompt,
    Use,
)
from peft_registry.schemas.values import Timestamp, Value, derived, imported, measured, unknown

NOT_BESIDE = "not in the imported folder: it was trained elsewhere, and nothing that lay beside it says so"
# what the record calls the method, by the type that the adapter's configuration names
_KINDS = {
    "LORA": "lora",
    "IA3": "ia3",
    "PROMPT_TUNING": "prompt_tuning",
    "PREFIX_TUNING": "prefix_tuning",
    "BOTTLENECK": "bottleneck_adapter",
}
_SECONDS_A_DAY = 86400


class ImportedChange(Frozen):
    """What the files show of the change: parameters beside the base, or those of the base that have another value."""

    added: int
    changed: int | None = None
    base_untouched: bool | None = None


def build_import_modification(
    *,
    record_id: str,
    now: Timestamp,
    name: str,
    manifest: Manifest,
    imported_as: ImportRecord,
    base: BaseInput,
    change: ImportedChange,
    tool_version: str,
    signing: Signing | None = None,
    scans: tuple[Scan, ...] = (),
    facts: dict[str, Any] | None = None,
) -> ModificationRecord:
    """The record of one import.

    Args:
        name: that it is registered under.
        manifest: of what is registered.
        imported_as: what was read, compared and found.
        base: that it fits.
        change: counted over the tensors.
        scans: of the files, those that ran and those that did not.
        facts: the JSON value of a facts file, if there is one.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
    """
    changed = _change(change, manifest, base.record)
    settings = imported_as.settings
    record = ModificationRecord(
        record_id=record_id,
        record_created_at=now,
        identity=identity_section("import", name, manifest, signing, tool_version),
        base=(base_section(base).revised(quantised_view=_quantised_view(settings)),),
        method=_method(imported_as),
        peft=_peft(settings),
        prompt=Prompt.of_known(
            n_virtual_tokens=settings.get("num_virtual_tokens"), init=settings.get("prompt_tuning_init")
        ),
        code=_code(settings),
        change=changed,
        data=_data(settings),
        compute=_compute(settings, base.record),
        energy=Energy(training_kwh=unknown(NOT_BESIDE)),
        evaluation=evaluation_section(None, None, evaluation_signer(signing, now)),
        use=_use(settings, base.record),
        security=security_section(manifest, signing, scans_value(scans, tool_version)),
        retention=retention_section(),
        upstream=(upstream_terms(base),),
        product=product_section(
            base.record, f"imported, made by {imported_as.method or 'a full fine-tune or a merge'}", changed
        ),
    )
    licence = settings.get("licence")
    if licence is not None:
        record = record.revised(product=record.product.revised(licence=licence))
    if facts:
        record = with_facts(record, facts, at=now)
    return with_assessment(record)


def _method(record: ImportRecord) -> Method:
    settings = record.settings
    return Method.of_known(
        kind=_method_kind(settings),
        objective=_objective(settings),
        optimiser=settings.get("optimizer", unknown(NOT_BESIDE)),
        schedule=settings.get("lr_scheduler_type", unknown(NOT_BESIDE)),
        seed=settings.get("seed", unknown(NOT_BESIDE)),
        hyperparameters=_hyperparameters(settings),
    )


def _method_kind(settings: dict[str, Value]) -> Value:
    peft_type = settings.get("peft_type")
    if peft_type is None:
        return unknown(
            "not in the imported folder: the files of a whole model do not say whether it was trained or merged"
        )
    kind = _KINDS.get(str(peft_type.value), "other")
    dora = settings.get("lora.use_dora")
    if kind == "lora" and dora is not None and dora.value is True:
        kind = "dora"
    elif kind == "lora" and _quantised(settings) is not None:
        kind = "qlora"
    return imported(kind, method=peft_type.method or "", evidence=peft_type.evidence)


def _objective(settings: dict[str, Value]) -> Value:
    for name in ("preference_objective", "stage"):
        if name in settings:
            return settings[name]
    return unknown(NOT_BESIDE)


_NO_HYPERPARAMETERS = ("loss_curve", "tags", "base", "licence", "languages", "datasets", "libraries.")


def _hyperparameters(settings: dict[str, Value]) -> Value:
    """All settings of the training together; each of them with its own file is in the provenance statement."""
    chosen = {name: value for name, value in settings.items() if not name.startswith(_NO_HYPERPARAMETERS)}
    if not chosen:
        return unknown(NOT_BESIDE)
    evidence = tuple(dict.fromkeys(digest for value in chosen.values() for digest in value.evidence))
    return imported(
        {name: value.value for name, value in sorted(chosen.items())},
        method="the files beside the weights; which one says what is in the provenance statement",
        evidence=evidence,
    )


def _peft(settings: dict[str, Value]) -> Peft:
    return Peft.of_known(
        rank=settings.get("lora.r"),
        alpha=settings.get("lora.alpha"),
        dropout=settings.get("lora.dropout"),
        target_modules=settings.get("target_modules"),
        modules_to_save=settings.get("modules_to_save"),
        bias=settings.get("lora.bias"),
    )


def _quantised(settings: dict[str, Value]) -> Value | None:
    for name in ("load_in_4bit", "quantization_bit", "load_in_8bit"):
        value = settings.get(name)
        if value is not None and value.value not in (False, 0, "false", "False"):
            return value
    return None


def _quantised_view(settings: dict[str, Value]) -> Value:
    value = _quantised(settings)
    if value is None:
        return unknown("not in the imported folder: nothing says whether the base was quantised while it was trained")
    bits = {True: 4, "True": 4, "true": 4}.get(value.value, value.value)
    what = {"while training": f"in {bits} bits" if "8bit" not in (value.method or "") else "in 8 bits"}
    return imported(what, method=value.method or "", evidence=value.evidence)


def _code(settings: dict[str, Value]) -> Code:
    libraries = {
        name.removeprefix("libraries."): value for name, value in settings.items() if name.startswith("libraries.")
    }
    elsewhere = unknown(NOT_BESIDE)
    if not libraries:
        return Code(commit=elsewhere, environment_digest=elsewhere, libraries=elsewhere)
    evidence = tuple(dict.fromkeys(digest for value in libraries.values() for digest in value.evidence))
    method = "; ".join(dict.fromkeys(value.method or "" for value in libraries.values()))
    listed = imported(
        {name: value.value for name, value in sorted(libraries.items())}, method=method, evidence=evidence
    )
    return Code(commit=elsewhere, environment_digest=elsewhere, libraries=listed)


def _change(change: ImportedChange, manifest: Manifest, base: BaseRecord) -> Change:
    how = "counted over the tensors"
    untouched = share = changed = removed = None
    if change.base_untouched is not None:
        answer = "yes" if change.base_untouched else "no"
        untouched = measured(answer, method="the result holds no tensor of the base")
    if change.base_untouched:
        changed, removed = (measured(0, "parameters", method=how) for _ in range(2))
        share = derived(0.0, "%", method="parameters changed / all parameters of the base")
    elif change.changed is not None:
        changed, removed = (measured(number, "parameters", method=how) for number in (change.changed, 0))
        share = derived(
            100 * change.changed / base.parameters_total, "%", method="parameters changed / all parameters of the base"
        )
    return Change.of_known(
        params_trainable=unknown(NOT_BESIDE),
        relative_to=measured(str(base.identity.weights), method="weights digest of the base"),
        artifact_digests=measured(file_digests(manifest.files), method="SHA-256 of each file"),
        params_added=measured(change.added, "parameters", method=how),
        params_changed=changed,
        params_removed=removed,
        pct_of_base=share,
        rel_norm_global=unknown("not measured when it was imported: no weight of the base was read"),
        base_weights_untouched=untouched,
    )


def _data(settings: dict[str, Value]) -> tuple[DataUsed, ...]:
    """One section for each data set that a file names; nothing else of it came in."""
    named = settings.get("datasets")
    if named is None or not isinstance(named.value, list):
        unnamed = unknown(NOT_BESIDE)
        return (DataUsed(name=unnamed, digest=unnamed, splits=unnamed, n_points=unnamed),)
    epochs = settings.get("num_train_epochs")
    return tuple(
        DataUsed.of_known(
            name=imported(str(name), method=named.method or "", evidence=named.evidence),
            digest=unknown("not in the imported folder: the data itself did not come in"),
            splits=unknown(NOT_BESIDE),
            n_points=unknown(NOT_BESIDE),
            epochs=epochs,
        )
        for name in dict.fromkeys(map(str, named.value))
    )


def _compute(settings: dict[str, Value], base: BaseRecord) -> Compute:
    """6·P·D where the trainer counted its tokens; its own estimate, which leaves the embeddings out, is only an input."""
    elsewhere = unknown(NOT_BESIDE)
    tokens, estimate, seconds = (settings.get(key) for key in ("num_input_tokens_seen", "total_flos", "train_runtime"))
    parameters = base.parameters_total
    days = elsewhere
    if seconds is not None and _number(seconds) is not None:
        days = imported(
            _as_number(seconds) / _SECONDS_A_DAY,
            "days",
            method=f"{seconds.method}, / 86 400",
            evidence=seconds.evidence,
        )
    inputs = {"P": parameters}
    evidence = tuple(dict.fromkeys(d for value in (tokens, estimate) if value is not None for d in value.evidence))
    conservative = method = tolerance = elsewhere
    if tokens is not None and _number(tokens) is not None:
        inputs["D"] = tokens.value
        conservative = derived(
            dense_flop(parameters, tokens.value),
            "FLOP",
            method=f"6·P·D; P all parameters of the base, D by {tokens.method}",
            evidence=tokens.evidence,
        )
        method = derived("6·P·D", method="the formula of the conservative figure")
        tolerance = derived(TOLERANCE_PCT, "%", method="the tolerance that GL J123 names; not estimated for this run")
    if estimate is not None:
        inputs["total_flos"] = estimate.value
    listed = elsewhere
    if len(inputs) > 1:
        how = "the files beside the weights; total_flos is the trainer's own estimate and leaves the embeddings out"
        listed = imported(inputs, method=how, evidence=evidence)
    return Compute(
        param_update_flop=elsewhere,
        conservative_flop=conservative,
        method=method,
        inputs=listed,
        uncertainty_pct=tolerance,
        hardware=elsewhere,
        wall_clock_days=days,
        hardware_days=elsewhere,
    )


def _number(value: Value) -> float | None:
    is_number = isinstance(value.value, int | float) and not isinstance(value.value, bool)
    return float(value.value) if is_number and value.value > 0 else None


def _as_number(value: Value) -> float:
    return float(value.value)


def _use(settings: dict[str, Value], base: BaseRecord) -> Use:
    longest_input = longest_output = modalities = None
    if base.context_length is not None:
        longest_input = measured(base.context_length, "tokens", method="context length in the base's configuration")
        longest_output = derived(base.context_length, "tokens", method="input and output share the context")
    if base.architecture.endswith("ForCausalLM"):
        modalities = derived({"input": ["text"], "output": ["text"]}, method=f"the base is a {base.architecture}")
    libraries = _code(settings).libraries
    return Use.of_known(
        required_software=libraries if libraries.known else None,
        max_input=longest_input,
        max_output=longest_output,
        modalities=modalities,
    )
