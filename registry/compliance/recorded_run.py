"""The sections of a modification record that a run record answers: method, code, data, compute, energy, use."""

import math
from collections.abc import Sequence
from typing import Any

from peft_registry.registry.compliance.verdicts.gpai import dense_flop, tolerance_pct
from peft_registry.schemas.base_model import CAUSAL_HEADS, BaseRecord
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import Code, as_json, code, together
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.methods import BLOCKS, DECLARED
from peft_registry.schemas.modification import (
    Compute,
    DataUsed,
    ExcludedCompute,
    Method,
    Peft,
    Prompt,
    Software,
    Step,
    Use,
)
from peft_registry.schemas.run import Environment, FollowedTraining, RunRecord
from peft_registry.schemas.values import Value, derived, measured, not_derived, unknown

_UNDECLARED = "other"
_BYTES_A_VALUE = {"float32": 4, "fp32": 4, "bfloat16": 2, "bf16": 2, "float16": 2, "fp16": 2}
_DAYS_A_MONTH = 365.25 / 12
_FILE = code("resolved_training_file")
# the key, in the inputs of the figures, of the runs that a run continued from; signed records hold it
_EARLIER_RUNS = "went_on_from"
MERGED_RUNS = "ingredients"  # likewise of those that went into a merge
CHOSEN_BY_LOOP = code("training_loop")  # where an optimiser is from that the training file does not name


class TrainedRun(Frozen):
    """A training run that something was made from, by the manifest of what it made."""

    label: str
    manifest: Digest
    run: RunRecord | None  # None where the version has no run record, such as an import


def method_section(run: RunRecord, optimiser: str | None = None) -> Method:
    """What was done: method, objective, optimiser, schedule, seed, hyperparameters."""
    training = _block(run, "training")
    kind = _kind(run)
    hyperparameters = {"training": training} | _method_blocks(run)
    if run.followed is not None:
        return _method_of_followed(run, run.followed, kind, hyperparameters)
    optimiser_value = _from_config(training, "optimizer", "optim")
    if optimiser:  # what ran, where the training file leaves the choice to the loop
        optimiser_value = measured(optimiser, method=CHOSEN_BY_LOOP)
    return Method.of_known(
        kind=measured(kind, method=code("named_in_training_file", method=run.method)),
        objective=measured(code("next_token_loss").to_json(), method=code("training_loop")),
        seed=measured(run.seed, method=code("training_file")),
        hyperparameters=measured(hyperparameters, method=_FILE, evidence=(run.config_sha256,)),
        optimiser=optimiser_value,
        schedule=_from_config(training, "lr_scheduler_type"),
    )


def _kind(run: RunRecord) -> str:
    """What the record calls the method; `other` for one of a release that has more of them, which is named in `method`."""
    method = DECLARED.get(run.method)
    if method is None:
        return _UNDECLARED
    settings = {name: value for block in _method_blocks(run).values() for name, value in block.items()}
    return method.kind_with(settings)


def _method_of_followed(
    run: RunRecord, followed: FollowedTraining, kind: str, hyperparameters: dict[str, Any]
) -> Method:
    """The method of a run by somebody else's loop: what the script could have changed is as that run recorded it."""
    return Method(
        kind=measured(kind, method=code("model_trained_by", trainer=followed.trainer, method=run.method)),
        objective=followed.objective,
        seed=measured(run.seed, method=code("arguments_of_trainer", trainer=followed.trainer)),
        hyperparameters=measured(hyperparameters, method=_source_of_settings(run), evidence=(run.config_sha256,)),
        optimiser=followed.optimiser,
        schedule=followed.schedule,
    )


def peft_section(run: RunRecord) -> Peft:
    """Rank, alpha and targets of a low-rank method, targets of others that have them; elsewhere they do not apply."""
    blocks = _method_blocks(run)
    block = next((block for name, block in blocks.items() if "target_modules" in BLOCKS[name].model_fields), {})
    source = _source_of_settings(run)
    return Peft.of_known(
        rank=_from_config(block, "r", source=source),
        alpha=_from_config(block, "alpha", source=source),
        dropout=_from_config(block, "dropout", source=source),
        target_modules=_from_config(block, "target_modules", source=source),
        modules_to_save=_from_config(block, "modules_to_save", source=source),
        bias=_from_config(block, "bias", source=source),
    )


def trainable_parameters(run: RunRecord) -> Value:
    """How many parameters the run trained."""
    return measured(run.parameters_trainable, "parameters", method=code("counted_before_run"))


def step_section(run: RunRecord) -> Step:
    """Which share of the base's matrices the run adapted; only LoRA's runs say it."""
    kinds = [entry for entry in run.coverage or () if entry.weights]
    if not kinds:
        return Step()
    how = code("counted_over_matrices_before_run")
    weights = sum(entry.weights for entry in kinds)
    adapted = sum(entry.adapted for entry in kinds)
    return Step(
        adapted_pct=measured(100 * adapted / weights, "%", method=how),
        adapted_pct_by_kind=measured(
            {entry.kind: 100 * entry.adapted / entry.weights for entry in kinds}, "%", method=how
        ),
    )


def prompt_section(run: RunRecord) -> Prompt:
    """Virtual tokens of prompt and prefix tuning."""
    blocks = _method_blocks(run)
    block = next((block for name, block in blocks.items() if "num_virtual_tokens" in BLOCKS[name].model_fields), {})
    return Prompt.of_known(
        n_virtual_tokens=_from_config(block, "num_virtual_tokens", source=_source_of_settings(run)),
        init=_from_config(block, "init", source=_source_of_settings(run)),
    )


def code_section(environment: Environment, followed: FollowedTraining | None = None) -> Software:
    """Which software ran; `followed` where the script was somebody else's."""
    software = {"python": environment.python, "platform": environment.platform, "libraries": environment.libraries}
    commit = unknown(code("release_was_run", version=environment.code_version))
    if followed is not None:
        commit = unknown(code("script_not_looked_for"))
        if followed.script.known:
            commit = unknown(code("script_not_looked_for_file_known", digest=str(followed.script.value)))
    if environment.code_commit:
        commit = measured(environment.code_commit)
    return Software(
        commit=commit,
        environment_digest=derived(str(canonical_digest(software)), method=code("sha256_of_software")),
        libraries=measured(dict(environment.libraries), method=code("installed_distributions")),
        dependency_sbom=_dependency_list(environment),
    )


def _dependency_list(environment: Environment) -> Value:
    """The digest of the list of distributions that the record of the run holds."""
    listed = environment.distributions
    if not listed:
        return unknown(code("distributions_not_recorded"))
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(listed.items()))
    return derived(str(Digest.of(lines.encode())), method=code("sha256_of_distributions", lines=len(listed)))


def data_sections(run: RunRecord) -> tuple[DataUsed, ...]:
    """One section for each data file, or for the rows that somebody else's trainer was given."""
    followed = run.followed
    if followed is None:
        return tuple(_data(data, run) for data in run.data)
    if followed.data_unknown is not None:
        why = unknown(followed.data_unknown)
        return (
            DataUsed(
                name=why,
                digest=why,
                splits=why,
                n_points=why,
                bytes=why,
                modality=why,
                n_tokens=why,
                epochs=why,
                unit=why,
            ),
        )
    return tuple(_followed_data(data, followed) for data in run.data)


def compute_section(run: RunRecord, earlier: Sequence[dict[str, Any]] = (), base: BaseRecord | None = None) -> Compute:
    """Both FLOP figures as the run recorded them, the inputs of the formula, and the time.

    Where it continued from what others had trained, the figures are of all of them: GL J119-121 count the training of the weights
    that something starts from.

    Args:
        run: its record.
        earlier: the figures of each run that it continued from, by `flop_rows`.
        base: for P, where the run did not keep it.
    """
    used = run.compute
    conservative = used.conservative_flop
    update = used.param_update_flop
    inputs = _formula(run, base)
    if earlier:
        step = {"conservative_flop": conservative.number, "param_update_flop": update.number}
        inputs = derived(
            inputs.value
            | {
                "step_flop": step["conservative_flop"],
                "step_param_update_flop": step["param_update_flop"],
                _EARLIER_RUNS: list(earlier),
            },
            method=together([*([inputs.method] if inputs.method else []), code("figures_of_runs_added_up")]),
        )
        summands = [{"ingredient": "this run", **step}, *earlier]
        conservative = flop_sum(
            summands, "conservative_flop", code("sum_of_run_and_earlier", figure="conservative_flop")
        )
        update = flop_sum(summands, "param_update_flop", code("sum_of_run_and_earlier", figure="param_update_flop"))
    figure = used.conservative_flop
    formula = derived(as_json(figure.method or code("dense_formula")), method=code("formula_of_conservative_figure"))
    tolerance = derived(tolerance_pct(), "%", method=code("tolerance_of_guidelines_for_run"))
    if run.followed is not None and not figure.known:
        # of a figure that is unknown there is neither
        formula = figure
        tolerance = figure
    days = _scaled(used.wall_seconds, 1 / 86400, "days", code("wall_seconds_as_days"))
    return Compute(
        param_update_flop=update,
        conservative_flop=conservative,
        excluded=ExcludedCompute(evaluation_flop=used.evaluation_flop, recompute_flop=used.recompute_flop),
        method=formula,
        inputs=inputs,
        uncertainty_pct=tolerance,
        hardware=used.hardware,
        wall_clock_days=days,
        hardware_days=_scaled(used.hardware_hours, 1 / 24, "days", code("device_hours_as_days")),
        nca_range=_months(days),
    )


def step_flop(compute: Compute) -> Value:
    """The conservative figure of the run alone, where that of the record is of what it continued from as well."""
    if not counts_earlier_runs(compute):
        return compute.conservative_flop
    flop = compute.inputs.value.get("step_flop")
    if flop is None:
        return not_derived(code("compute_of_run_not_recorded"))
    return derived(flop, "FLOP", method=code("dense_flop_of_run_alone"))


def counts_earlier_runs(compute: Compute) -> bool:
    """Whether the figures are of a run and of those that it continued from."""
    return isinstance(compute.inputs.value, dict) and _EARLIER_RUNS in compute.inputs.value


def other_runs(compute: Compute) -> tuple[str, ...]:
    """The labels of the runs that the figures count besides the record's own: those of a merge's ingredients, or continued from."""
    inputs = compute.inputs.value
    if not isinstance(inputs, dict):
        return ()
    rows = inputs.get(MERGED_RUNS) or inputs.get(_EARLIER_RUNS) or []
    return tuple(str(row["ingredient"]) for row in rows if isinstance(row, dict) and "ingredient" in row)


def _formula(run: RunRecord, base: BaseRecord | None) -> Value:
    """P and D that give the conservative figure by 6·P·D, and what they are; derived where D was solved from the figure."""
    used = run.compute
    what = code("inputs_of_dense_formula")
    if run.followed is not None:
        what = code("inputs_of_dense_formula_followed")
    if used.dense_inputs is not None:
        return measured({"P": used.dense_inputs.parameters, "D": used.dense_inputs.positions}, method=what)
    figure = used.conservative_flop.number
    tokens = used.tokens.number
    parameters = base.parameters_total if base is not None else run.parameters_total
    if figure is None and tokens is None:
        return measured({"P": parameters}, method=what)
    if figure is None or (tokens is not None and math.isclose(dense_flop(parameters, tokens), figure, rel_tol=1e-9)):
        return measured({"P": parameters, "D": used.tokens.value}, method=what)
    return derived(
        {"P": parameters, "D": figure / (6 * parameters)},
        method=code("inputs_solved_for_positions"),
    )


def flop_rows(trained: tuple[TrainedRun, ...]) -> list[dict[str, Any]]:
    """The compute of each training run, one that comes twice once, in the order of the manifests."""
    unique = {ancestor.manifest: ancestor for ancestor in trained}
    return [_flop_row(ancestor) for ancestor in sorted(unique.values(), key=lambda ancestor: ancestor.manifest)]


def _flop_row(ancestor: TrainedRun) -> dict[str, Any]:
    row: dict[str, Any] = {"ingredient": ancestor.label, "manifest": str(ancestor.manifest)}
    if ancestor.run is None:
        return row | {"conservative_flop": None, "param_update_flop": None}
    compute = ancestor.run.compute
    row["conservative_flop"] = compute.conservative_flop.number
    row["param_update_flop"] = compute.param_update_flop.number
    if compute.dense_inputs is not None:
        row |= {"P": compute.dense_inputs.parameters, "D": compute.dense_inputs.positions}
    return row


def flop_sum(rows: list[dict[str, Any]], key: str, how: Code) -> Value:
    """The sum of one figure, unknown where that of a run is; `how` says what is summed."""
    if not rows:  # and not 0: what trained without a record has computed as well
        return not_derived(code("no_run_recorded"))
    missing = [row["ingredient"] for row in rows if row[key] is None]
    if missing:
        return not_derived(code("compute_of_runs_not_recorded", runs=missing))
    return derived(float(sum(row[key] for row in rows)), "FLOP", method=how)


def use_section(environment: Environment, dtype: str, base: BaseRecord | None) -> Use:
    """What follows for use from the base and the environment; what it is for only people know."""
    software = derived(dict(environment.libraries), method=code("versions_made_with"))
    if base is None:
        return Use(required_software=software)
    longest_input = longest_output = modalities = None
    if base.context_length is not None:
        longest_input = measured(base.context_length, "tokens", method=code("context_length_configured"))
        longest_output = derived(base.context_length, "tokens", method=code("input_and_output_share_context"))
    if base.architecture.endswith(CAUSAL_HEADS):
        modalities = derived(
            {"input": ["text"], "output": ["text"]}, method=code("base_is_a", architecture=base.architecture)
        )
    return Use.of_known(
        required_software=software,
        required_hardware=_weights_memory(base.parameters_total, dtype),
        max_input=longest_input,
        max_output=longest_output,
        modalities=modalities,
    )


def _data(data: DataIdentity, run: RunRecord) -> DataUsed:
    tokens = [selection.tokens for selection in data.selections]
    known = [count for count in tokens if count is not None]
    n_tokens = None
    if tokens and len(known) == len(tokens):
        n_tokens = measured(sum(known), "tokens", method=code("tokenizer_of_base"))
    epochs = _from_config(_block(run, "training"), "num_train_epochs")
    if run.kept_step is not None:
        epochs = run.kept_step.epochs  # the file's are those that it would have been at most
    is_trained_on = any(selection.split == "train" for selection in data.selections)
    return DataUsed.of_known(
        name=measured(data.name),
        digest=measured(str(data.sha256), method=code("sha256_of_file")),
        splits=measured([selection.to_json() for selection in data.selections], method=code("rows_that_were_used")),
        modality=measured("text", method=code("read_as", format=data.format)),
        n_points=measured(
            sum(selection.rows for selection in data.selections), "rows", method=code("count_of_rows_used")
        ),
        unit=measured("row", method=code("row_of_file_is_data_point")),
        bytes=measured(data.bytes, "bytes"),
        n_tokens=n_tokens,
        epochs=epochs if is_trained_on else None,
    )


def _followed_data(data: DataIdentity, followed: FollowedTraining) -> DataUsed:
    """The rows as the trainer held them; of which of them it went through the run says what it could tell."""
    tokens = [selection.tokens for selection in data.selections]
    name = unknown(code("data_set_has_no_name"))
    if data.name != UNNAMED_ROWS:
        name = measured(data.name, method=code("name_of_data_set"))
    n_tokens = None
    if tokens and None not in tokens:
        n_tokens = measured(sum(count or 0 for count in tokens), "tokens", method=code("token_ids_in_rows"))
    return DataUsed.of_known(
        name=name,
        digest=measured(str(data.sha256), method=code("sha256_of_rows")),
        splits=measured([selection.to_json() for selection in data.selections], method=code("rows_given_to_trainer")),
        modality=followed.modality,
        n_points=followed.rows_used,
        unit=measured("row", method=code("row_of_data_set_is_data_point")),
        bytes=measured(data.bytes, "bytes", method=code("bytes_of_rows")),
        n_tokens=n_tokens,
        epochs=followed.epochs,
    )


def _source_of_settings(run: RunRecord) -> Code:
    """What says the settings of a run."""
    if run.followed is None:
        return _FILE
    return code("arguments_and_adapter_configuration", trainer=run.followed.trainer)


def _block(run: RunRecord, name: str) -> dict[str, Any]:
    block = run.config.get(name)
    return block if isinstance(block, dict) else {}


def _method_blocks(run: RunRecord) -> dict[str, dict[str, Any]]:
    """The blocks that the method read; a run record holds no others."""
    return {name: _block(run, name) for name in BLOCKS if isinstance(run.config.get(name), dict)}


def _from_config(block: dict[str, Any], *names: str, source: Code = _FILE) -> Value | None:
    setting = next((block[name] for name in names if block.get(name) is not None), None)
    return None if setting is None else measured(setting, method=source)


def _scaled(value: Value, factor: float, unit: str, method: Code) -> Value:
    number = value.number
    if number is None:
        return not_derived(value.reason or code("not_a_number"))
    return derived(number * factor, unit, method=method)


def _months(days: Value) -> Value:
    """The range of the training time that national authorities receive (Model Documentation Form)."""
    if not days.known:
        return days
    months = days.value / _DAYS_A_MONTH
    ranges = (
        (1, code("under_1_month")),
        (3, code("from_1_to_3_months")),
        (6, code("from_3_to_6_months")),
        (math.inf, code("over_6_months")),
    )
    holding = next(name for limit, name in ranges if months < limit)
    return derived(holding.to_json(), method=code("from_training_days"))


def _weights_memory(parameters: int, dtype: str) -> Value | None:
    size = _BYTES_A_VALUE.get(dtype.removeprefix("torch."))
    if size is None:
        return None
    needs = code("memory_for_weights", gigabytes=parameters * size / 1e9, dtype=dtype.removeprefix("torch."))
    return derived(needs.to_json(), method=code("parameters_times_bytes"))
