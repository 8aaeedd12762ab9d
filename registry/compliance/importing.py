"""The modification record of an import, from what was recorded of it. Pure: time and identifier come in, nothing is read.

Nobody here saw the training. What the files of the folder say is `imported`; what was counted or compared here is `measured`; the
rest is unknown, and asked for. Who modified the base is not whoever imports: it is left to be stated.
"""

import math
from collections.abc import Iterable
from typing import Any

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.documentation import product_section
from peft_registry.registry.compliance.facts import with_facts
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
    untouched_base,
    upstream_terms,
)
from peft_registry.registry.compliance.retention import retention_section
from peft_registry.registry.compliance.verdicts.gpai import dense_flop, tolerance_pct
from peft_registry.schemas.base_model import CAUSAL_HEADS, BaseRecord
from peft_registry.schemas.codes import Code, Said, code, together
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.methods import OF_PEFT_TYPE, in_few_bits
from peft_registry.schemas.methods.declaration import MethodDeclaration
from peft_registry.schemas.modification import (
    Change,
    Compute,
    DataUsed,
    Energy,
    Method,
    ModificationRecord,
    Peft,
    Prompt,
    Software,
    Use,
)
from peft_registry.schemas.values import Timestamp, Value, derived, imported, measured, unknown

NOT_BESIDE = unknown(code("not_beside"))
_UNDECLARED = "other"
_SECONDS_A_DAY = 86400
# of one device; more of them read more rows
_ROWS_A_STEP = ("per_device_train_batch_size", "gradient_accumulation_steps")
_ROUNDED = 0.9  # speed and time are written with three digits
_FEW_BITS = 8  # no tool here quantizes to more
# how the files of other tools switch it on; PyYAML reads the last three as true
_ON = (True, 1, "true", "yes", "on")
# why the norm of the change is unknown
_BASE_NOT_READ = unknown(code("base_not_read"))
_REPLACED = unknown(code("some_tensors_replaced"))
_SAMPLED = unknown(code("matrices_sampled"))


class ImportedChange(Frozen):
    """What was counted of the change."""

    # parameters beside the base; None where nothing was counted: of a whole model, or of what replaces some
    added: int | None
    base_untouched: bool | None  # None where some weights of the base are replaced


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
    refuses_facts: bool = True,
) -> ModificationRecord:
    """The record of one import.

    Args:
        name: that it is registered under.
        manifest: of what is registered.
        imported_as: what was read, compared and found.
        base: that it fits.
        change: what was counted of it.
        scans: of the files, those that ran and those that did not.
        facts: the JSON value of a facts file, if there is one.
        refuses_facts: as `with_facts` has it.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
    """
    changed = _change(change, manifest, imported_as)
    settings = imported_as.settings
    described = ModificationRecord(
        record_id=record_id,
        record_created_at=now,
        identity=identity_section("import", name, manifest, signing, tool_version),
        base=(base_section(base).revised(quantised_view=quantised_view(settings)),),
        change=changed,
        data=imported_data(settings),
        evaluation=evaluation_section(None, None, evaluation_signer(signing, now)),
        use=_use(settings, base.record),
        security=security_section(manifest, signing, scans_value(scans, tool_version)),
        retention=retention_section(),
        upstream=(upstream_terms(base),),
        product=product_section(base.record, _made_elsewhere(imported_as), changed),
    )
    record = with_import(described, imported_as, base.record.parameters_total)
    licence = settings.get("licence")
    if licence is not None:
        record = record.revised(product=record.product.revised(licence=licence))
    if facts:
        record = with_facts(record, facts, at=now, refuses=refuses_facts)
    return with_assessment(record)


def with_import(record: ModificationRecord, imported_as: ImportRecord, parameters: int) -> ModificationRecord:
    """The record with the sections that what lay beside the weights gives: method, code, compute, energy.

    Args:
        record: of the import.
        imported_as: what was read.
        parameters: of the base.
    """
    settings = imported_as.settings
    return record.revised(
        method=_method(imported_as),
        peft=_peft(settings, imported_as.method),
        prompt=Prompt.of_known(
            n_virtual_tokens=settings.get("num_virtual_tokens"), init=settings.get("prompt_tuning_init")
        ),
        code=_code(settings),
        compute=_compute(settings, parameters),
        energy=Energy(training_kwh=NOT_BESIDE),
    )


def _made_elsewhere(imported_as: ImportRecord) -> Code:
    if imported_as.method is None:
        return code("imported_whole_model")
    return code("imported_made_by", method=imported_as.method)


def _method(record: ImportRecord) -> Method:
    settings = record.settings
    return Method.of_known(
        kind=_method_kind(settings),
        objective=_objective(settings),
        optimiser=settings.get("optimizer", NOT_BESIDE),
        schedule=settings.get("lr_scheduler_type", NOT_BESIDE),
        seed=settings.get("seed", NOT_BESIDE),
        hyperparameters=_hyperparameters(settings),
    )


def _method_kind(settings: dict[str, Value]) -> Value:
    peft_type = settings.get("peft_type")
    if peft_type is None:
        return unknown(code("trained_or_merged_not_beside"))
    method = OF_PEFT_TYPE.get(str(peft_type.value))
    kind = _UNDECLARED if method is None else _kind_of(method, settings)
    return imported(kind, method=_said_by(peft_type), evidence=peft_type.evidence)


def _kind_of(method: MethodDeclaration, settings: dict[str, Value]) -> str:
    values = {switch: settings.get(f"{method.name}.{switch}") for switch in method.kinds}
    switches = {switch: value is not None and value.value is True for switch, value in values.items()}
    return (method if bits_of(settings) is None else in_few_bits(method)).kind_with(switches)


def _objective(settings: dict[str, Value]) -> Value:
    for name in ("preference_objective", "stage"):
        if name in settings:
            return settings[name]
    return NOT_BESIDE


_NO_HYPERPARAMETERS = ("loss_curve", "tags", "base", "licence", "languages", "datasets", "libraries.")


def _hyperparameters(settings: dict[str, Value]) -> Value:
    """All settings of the training together; each of them with its own file is in the provenance statement."""
    chosen = {name: value for name, value in settings.items() if not name.startswith(_NO_HYPERPARAMETERS)}
    if not chosen:
        return NOT_BESIDE
    return imported(
        {name: value.value for name, value in sorted(chosen.items())},
        method=code("files_beside_weights"),
        evidence=_evidence(chosen.values()),
    )


def _said_by(value: Value) -> Said:
    """The file and its key, as the record of the import names them."""
    return value.method or code("file_not_named")


def _evidence(values: Iterable[Value]) -> tuple[Digest, ...]:
    """The digests that values rest on, each once."""
    return tuple(dict.fromkeys(digest for value in values for digest in value.evidence))


def _peft(settings: dict[str, Value], method: str | None) -> Peft:
    return Peft.of_known(
        rank=settings.get(f"{method}.r"),
        alpha=settings.get(f"{method}.alpha"),
        dropout=settings.get(f"{method}.dropout"),
        target_modules=settings.get("target_modules"),
        modules_to_save=settings.get("modules_to_save"),
        bias=settings.get(f"{method}.bias"),
    )


def bits_of(settings: dict[str, Value]) -> tuple[int, Value] | None:
    """In how many bits the base was held while it was trained, and what says so; None where nothing says that it was in few."""
    switches = ((4, settings.get("load_in_4bit")), (8, settings.get("load_in_8bit")))
    for bits, switch in switches:
        if switch is not None and _is_on(switch.value):
            return bits, switch
    stated = settings.get("quantization_bit")
    if stated is None:
        return None
    number = 4.0 if stated.value is True else stated.positive_number
    if number is None or not number.is_integer() or number > _FEW_BITS:
        return None
    return int(number), stated


def _is_on(value: Any) -> bool:  # any JSON value
    return (value.lower() if isinstance(value, str) else value) in _ON


def quantised_view(settings: dict[str, Value]) -> Value:
    """In how many bits the base was held while it was trained, as the files beside the weights say."""
    quantised = bits_of(settings)
    if quantised is None:
        return unknown(code("quantisation_not_beside"))
    bits, said_by = quantised
    return imported(
        {"while training": code("in_bits", bits=bits).to_json()}, method=_said_by(said_by), evidence=said_by.evidence
    )


def _code(settings: dict[str, Value]) -> Software:
    libraries = {
        name.removeprefix("libraries."): value for name, value in settings.items() if name.startswith("libraries.")
    }
    elsewhere = NOT_BESIDE
    if not libraries:
        return Software(commit=elsewhere, environment_digest=elsewhere, libraries=elsewhere)
    method = together(_said_by(value) for value in libraries.values())
    listed = imported(
        {name: value.value for name, value in sorted(libraries.items())},
        method=method,
        evidence=_evidence(libraries.values()),
    )
    return Software(commit=elsewhere, environment_digest=elsewhere, libraries=listed)


def _change(change: ImportedChange, manifest: Manifest, imported_as: ImportRecord) -> Change:
    added = None if change.added is None else _counted(change.added)
    none_of_base = None
    share = None
    if change.base_untouched:  # nothing of the base is in the result, so nothing of it changed or went
        none_of_base = _counted(0)
        share = derived(0.0, "%", method=code("changed_over_base"))
    return Change.of_known(
        params_trainable=NOT_BESIDE,
        relative_to=measured(str(imported_as.base.identity.weights), method=code("weights_digest_of_base")),
        artifact_digests=measured(file_digests(manifest.files), method=code("sha256_of_each_file")),
        params_added=added,
        params_changed=none_of_base,
        params_removed=none_of_base,
        pct_of_base=share,
        rel_norm_global=_SAMPLED if _was_compared(imported_as) else _BASE_NOT_READ,
        base_weights_untouched=(_REPLACED if change.base_untouched is None else untouched_base(change.base_untouched)),
    )


def _counted(number: int) -> Value:
    return measured(number, "parameters", method=code("counted_over_tensors"))


def _was_compared(imported_as: ImportRecord) -> bool:
    """Whether matrices of the base were read and compared."""
    base = imported_as.base.identity.weights
    return any(relation.weights == base and relation.matrices > 0 for relation in imported_as.relations)


def imported_data(settings: dict[str, Value]) -> tuple[DataUsed, ...]:
    """One section for each data set that a file names; nothing else of it came in."""
    named = settings.get("datasets")
    if named is None or not isinstance(named.value, list):
        unnamed = NOT_BESIDE
        return (DataUsed(name=unnamed, digest=unnamed, splits=unnamed, n_points=unnamed),)
    epochs = settings.get("num_train_epochs")
    return tuple(
        DataUsed.of_known(
            name=imported(str(name), method=_said_by(named), evidence=named.evidence),
            digest=unknown(code("data_did_not_come_in")),
            splits=NOT_BESIDE,
            n_points=NOT_BESIDE,
            epochs=epochs,
        )
        for name in dict.fromkeys(map(str, named.value))
    )


def _compute(settings: dict[str, Value], parameters: int) -> Compute:
    """6·P·D where the trainer counted its tokens; its own estimate, which leaves the embeddings out, is only an input."""
    elsewhere = NOT_BESIDE
    flop = _conservative_flop(settings, parameters)
    method = elsewhere
    tolerance = elsewhere
    if flop is not None and flop.known:
        method = derived(code("dense_formula").to_json(), method=code("formula_of_conservative_figure"))
        tolerance = derived(tolerance_pct(), "%", method=code("tolerance_of_guidelines_for_run"))
    return Compute(
        param_update_flop=elsewhere,
        conservative_flop=flop or elsewhere,
        method=method,
        inputs=_compute_inputs(settings, parameters) or elsewhere,
        uncertainty_pct=tolerance,
        hardware=elsewhere,
        wall_clock_days=_training_days(settings) or elsewhere,
        hardware_days=elsewhere,
    )


def _conservative_flop(settings: dict[str, Value], parameters: int) -> Value | None:
    tokens = settings.get("num_input_tokens_seen")
    number = None if tokens is None else tokens.positive_number
    if tokens is None or number is None:
        return None
    too_few = _too_few_tokens(number, settings)
    if too_few is not None:
        return unknown(code("too_few_tokens", said_by=_said_by(tokens), tokens=number, because=too_few))
    flop = dense_flop(parameters, number)
    if not math.isfinite(flop):  # such a number of tokens is of no training
        return None
    return derived(
        flop,
        "FLOP",
        method=code("dense_formula_tokens_said_by", said_by=_said_by(tokens)),
        evidence=tokens.evidence,
    )


def _too_few_tokens(tokens: float, settings: dict[str, Value]) -> Code | None:
    """Why a number of tokens is below what the other files imply, one token a row; None where it is not."""
    steps = _positive(settings, "global_step")
    rows_a_step = math.prod(_positive(settings, name) or 1.0 for name in _ROWS_A_STEP)
    rows = (_positive(settings, "train_samples_per_second") or 0.0) * (_positive(settings, "train_runtime") or 0.0)
    if steps is not None and tokens < steps * rows_a_step:
        return code("steps_read_more", steps=steps, rows=rows_a_step)
    if tokens < _ROUNDED * rows:
        return code("rows_have_more", rows=rows)
    return None


def _positive(settings: dict[str, Value], name: str) -> float | None:
    value = settings.get(name)
    return None if value is None else value.positive_number


def _compute_inputs(settings: dict[str, Value], parameters: int) -> Value | None:
    """What the files say of the operations, beside the parameters of the base."""
    said = {"D": settings.get("num_input_tokens_seen"), "total_flos": settings.get("total_flos")}
    figures = {name: value for name, value in said.items() if value is not None and value.positive_number is not None}
    if not figures:
        return None
    return imported(
        {"P": parameters} | {name: value.value for name, value in figures.items()},
        method=code("files_beside_weights_with_estimate"),
        evidence=_evidence(figures.values()),
    )


def _training_days(settings: dict[str, Value]) -> Value | None:
    runtime = settings.get("train_runtime")
    seconds = None if runtime is None else runtime.positive_number
    if runtime is None or seconds is None:
        return None
    return imported(
        seconds / _SECONDS_A_DAY,
        "days",
        method=code("seconds_as_days_said_by", said_by=_said_by(runtime)),
        evidence=runtime.evidence,
    )


def _use(settings: dict[str, Value], base: BaseRecord) -> Use:
    longest_input = longest_output = modalities = None
    if base.context_length is not None:
        longest_input = measured(base.context_length, "tokens", method=code("context_length_configured"))
        longest_output = derived(base.context_length, "tokens", method=code("input_and_output_share_context"))
    if base.architecture.endswith(CAUSAL_HEADS):
        modalities = derived(
            {"input": ["text"], "output": ["text"]}, method=code("base_is_a", architecture=base.architecture)
        )
    libraries = _code(settings).libraries
    return Use.of_known(
        required_software=libraries if libraries.known else None,
        max_input=longest_input,
        max_output=longest_output,
        modalities=modalities,
    )
