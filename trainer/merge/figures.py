"""The two figures of a merge, measured on loaded models: fold error and distance. See `trainer/merge/drift.py`."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peft_registry.registry.verification.merge_definitions import MergedPart
from peft_registry.schemas.merge import BasePolicy, Divergence
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.bases.loading import load_base, load_tokenizer
from peft_registry.trainer.bases.quantization import Quantization, dequantized_weights, described
from peft_registry.trainer.evaluation.models import CausalModel
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.machine.environment import Dtype
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.bundle import with_side_part
from peft_registry.trainer.merge.drift import (
    ProbeAnswers,
    ProbeSentences,
    answers,
    divergence,
    gated,
    probes_of,
    with_adapters,
)
from peft_registry.trainer.merge.folder import write_model_folder
from peft_registry.trainer.merge.ingredients import Prepared
from peft_registry.trainer.merge.names import Placed, model_names
from peft_registry.trainer.merge.second_computation import (
    MergeNotReproduced,
    Reproduced,
    changed_by_peft,
    drawn_tensors,
    places_in_model,
    put_into,
    reproduce,
    require_best_approximation,
    tensors_of,
    untouched_but_changed,
)
from peft_registry.trainer.merge.tensors import DTYPES, checkpoint_tensors


@dataclass(frozen=True, slots=True)
class MergeFigures:
    """Fold error with its gate, distance from the trained model, and the distances of both base policies if compared."""

    fold_error: Divergence
    distance: Divergence
    compared: dict[BasePolicy, Divergence]


def measure(prepared: Prepared, merged: Path, scratch: Path, *, observe: Observe = ignore) -> MergeFigures:
    """Reload the merged model and compare it with what was merged, unmerged.

    Args:
        prepared: the merge.
        merged: its result.
        scratch: a folder that does not exist yet, for a second result in fp32 where nothing runs unmerged.
        observe: hears of both figures.

    Raises:
        BaseNotLoadable, BaseWeightsIncomplete: the merged folder does not load.
        QuantizationUnavailable: the model that was trained cannot be run here.
        MergeNotReproduced, MergeNotComparable: what cannot run unmerged is not what its definition gives in fp64.
    """
    probes = probes_of(load_tokenizer(prepared.base.folder))
    dtype: Dtype = "fp32" if prepared.require_plan().dtype == "float32" else "bf16"
    run = _Unmerged(prepared, probes)
    folded = run.folded(merged, dtype)
    if _runs_unmerged(prepared):
        named = f"the {prepared.policy} base with its adapter{'s' * (len(prepared.adapters) > 1)}, unmerged in fp32"
        reference = run.answers(prepared.policy, "fp32")
        floor = None if dtype == "fp32" else divergence(reference, run.answers(prepared.policy, dtype), named=named)
    else:
        reference, reproduced = _computed_twice(run, merged, scratch)
        drawn = f"{len(reproduced.values)} of {reproduced.touched} changed tensors"
        named = f"{prepared.require_plan().algorithm} by its definition, computed a second time in fp64 for {drawn}"
        left_out = f", {reproduced.undecided} at a threshold left out" if reproduced.undecided else ""
        observe(Said("twice", f"{drawn} equal their definition in fp64: {reproduced.compared} entries{left_out}"))
        alone = [_of_folder(prepared.base.folder, probes, precision) for precision in ("fp32", dtype)]
        floor = None if dtype == "fp32" else divergence(*alone, named=named)
    rounded = gated(divergence(reference, folded, named=named), dtype=dtype, floor=floor)
    fold_error = rounded
    if not rounded.is_within and dtype != "fp32" and _runs_unmerged(prepared):
        fold_error = _before_rounding(run, merged, scratch, reference, rounded)
    beside = "" if fold_error.floor is None else f", {dtype} itself costs {fold_error.floor:.3g}"
    observe(
        Said(
            "fold",
            f"KL divergence {fold_error.kl:.3g} nats a token (0: the same answers), allowed {fold_error.limit:.3g}{beside}",
        )
    )
    figures = _distances(run, folded, fold_error, rounded)
    for policy, distance in sorted(figures.compared.items()):
        observe(
            Said(
                "compare",
                f"KL divergence {distance.kl:.3g} with the {policy} base, same first token at {distance.agreement:.1%}",
            )
        )
    observe(Said("distance", f"KL divergence {figures.distance.kl:.3g} from {figures.distance.reference}"))
    return figures


def measure_adapter(prepared: Prepared, result: Path, *, gate: bool, observe: Observe = ignore) -> Divergence:
    """One adapter in place of several, against those side by side, on the base in fp32; `gate`: it claims to be exact."""
    probes = probes_of(load_tokenizer(prepared.base.folder))
    run = _Unmerged(prepared, probes)
    reference = run.answers("original", "fp32")
    model = load_base(prepared.base.folder, dtype="fp32", device="cpu")[0]
    answered = answers(with_adapters(model, [result], [1.0]), probes)
    distance = divergence(reference, answered, named="the base with its adapters side by side, in fp32")
    distance = gated(distance, dtype="fp32", floor=None) if gate else distance
    _require_exact_sum(prepared, result)
    observe(
        Said(
            "fold",
            f"KL divergence {distance.kl:.3g} nats a token (0: the same answers)"
            + (f", allowed {distance.limit:.3g}" if distance.limit else ", stated"),
        )
    )
    return distance


def _runs_unmerged(prepared: Prepared) -> bool:
    """peft can run it: one adapter as it is, or a weighted sum of plain low-rank ones."""
    if prepared.require_plan().algorithm != "linear":
        return False
    if len(prepared.folded) == 1 and prepared.folded[0].weight == 1:
        return True
    extras = ("use_dora", "modules_to_save", "trainable_token_indices", "lora_bias", "target_parameters")
    configs = [read_adapter(folder).config for folder, _ in _parts(prepared)]
    return all(
        config.get("peft_type") == "LORA"
        and config.get("bias") == "none"
        and not any(config.get(key) for key in extras)
        for config in configs
    )


def _before_rounding(
    run: "_Unmerged", merged: Path, scratch: Path, reference: ProbeAnswers, rounded: Divergence
) -> Divergence:
    """The fold error in fp32, where every weight that was written is the nearest of its format to it; else `rounded`.

    Two experts that are nearly as good for a token change places by a last digit, and then its answer is another one. What
    rounding costs such a model differs from one rounding to the next by more than any factor of a floor, and says nothing of a
    mistake in the merge.
    """
    scratch.mkdir()
    try:
        write_model_folder(run.prepared.require_plan().in_float32(), scratch)
        if not _is_rounding_of(merged, scratch):
            return rounded
        exact = run.folded(scratch, "fp32")
    finally:
        shutil.rmtree(scratch)
    named = f"{rounded.reference}; the merge before its rounding, of which every weight is the nearest in its format"
    return gated(divergence(reference, exact, named=named), dtype="fp32", floor=None)


def _is_rounding_of(written: Path, exact: Path) -> bool:
    before = {tensor.name: tensor for tensor in checkpoint_tensors(exact)}
    after = checkpoint_tensors(written)
    if before.keys() != {tensor.name for tensor in after}:
        return False
    return all(
        torch.equal(tensor.read(), before[tensor.name].read().to(tensor.torch_dtype))
        for tensor in after
        if tensor.dtype in DTYPES
    )


def _distances(run: "_Unmerged", folded: ProbeAnswers, fold_error: Divergence, rounded: Divergence) -> MergeFigures:
    """How far the result, as it is written, is from the model that was trained; without quantization that is what was merged."""
    prepared = run.prepared
    how = prepared.quantization
    if how is None:
        alone = len(prepared.adapters) == 1 and prepared.adapters[0].weight == 1
        named = f"the model that was trained: {rounded.reference}" if alone else rounded.reference
        distance = rounded.revised(limit=None, floor=None, reference=named)
        return MergeFigures(fold_error, distance, {})
    named = f"the model that was trained: the base in 4 bits ({how.settings}) with its adapter, in fp32"
    trained = run.trained_answers(how)
    compared: dict[BasePolicy, Divergence] = {}
    if prepared.request.compare_bases or prepared.policy == "original":
        for policy in ("original", "dequantised"):
            compared[policy] = divergence(trained, run.answers(policy, "fp32"), named=named)
    return MergeFigures(fold_error, divergence(trained, folded, named=named), compared)


@dataclass(eq=False)
class _Unmerged:
    """Base and adapters side by side, loaded anew for each question: one model in memory at a time."""

    prepared: Prepared
    probes: ProbeSentences

    def answers(self, policy: BasePolicy, dtype: Dtype) -> ProbeAnswers:
        """Of the base that a policy names; `dtype` is that of its weights and products, adapters stay fp32."""
        return self._of(self.base(policy, dtype))

    def base(self, policy: BasePolicy, dtype: Dtype) -> Any:
        """The base that a policy names, loaded anew."""
        model = load_base(self.prepared.base.folder, dtype=dtype, device="cpu")[0]
        if policy == "dequantised" and self.prepared.quantization is not None:
            for name, weight in dequantized_weights(self._quantized(self.prepared.quantization)).items():
                parameter = model.get_parameter(name)
                parameter.data = weight.to(parameter.dtype)
        return model

    def folded(self, folder: Path, dtype: Dtype) -> ProbeAnswers:
        """Of a folder with folded weights, and what stays beside them."""
        return self.with_the_rest(load_base(folder, dtype=dtype, device="cpu")[0])

    def with_the_rest(self, model: Any) -> ProbeAnswers:
        """Of a model with folded weights, and what stays beside them."""
        alongside = self.prepared.runs_alongside
        if alongside is not None and alongside.side_part is not None:
            model = with_side_part(model, alongside.side_part)
        return answers(model, self.probes)

    def trained_answers(self, quantization: Quantization) -> ProbeAnswers:
        """Of the model as it was trained: its base in 4 bits, products in fp32."""
        model = self._quantized(quantization)
        with in_float32(model):
            return self._of(model)

    def _quantized(self, how: Quantization) -> Any:
        dtype: Dtype = "bf16" if how.loaded_as == "BF16" else "fp32"
        block = described(how.settings)
        return load_base(self.prepared.base.folder, dtype=dtype, device="cpu", quantization=block)[0]

    def _of(self, model: CausalModel) -> ProbeAnswers:
        folders, weights = zip(*_parts(self.prepared), strict=True)
        alongside = self.prepared.runs_alongside
        side_part = None if alongside is None else alongside.side_part
        wrapped = with_adapters(model, folders, weights, side_part=side_part)
        try:
            return answers(wrapped, self.probes)
        finally:
            # the next model must not wait for this one's memory: it is in cycles, and to look for all garbage takes longer
            for tensor in (*wrapped.parameters(), *wrapped.buffers()):
                tensor.data = tensor.data.new_empty(0)


def _of_folder(folder: Path, probes: ProbeSentences, dtype: Dtype) -> ProbeAnswers:
    return answers(load_base(folder, dtype=dtype, device="cpu")[0], probes)


def _parts(prepared: Prepared) -> list[tuple[Path, float]]:
    """Folder and weight of each part that is folded."""
    return [
        (ingredient.mergeable, ingredient.weight)
        for ingredient in prepared.adapters
        if ingredient.mergeable is not None
    ]


def _computed_twice(run: _Unmerged, merged: Path, scratch: Path) -> tuple[ProbeAnswers, Reproduced]:
    """The answers of the merge with its drawn tensors as their definition gives them, once what was written has been found equal.

    Raises:
        MergeNotReproduced, MergeNotComparable: it was not.
    """
    plan = run.prepared.require_plan()
    policy = run.prepared.policy
    names = model_names(plan.base, checkpoint_tensors(plan.base))
    places = places_in_model(names, [job.name for job in plan.touched])
    drawn = drawn_tensors([*places], {job.name: job.parameters for job in plan.touched}, places, seed=plan.seed)
    written = _in_float32(run, merged, scratch)
    state = written.state_dict()
    parts = [
        MergedPart(ingredient.mergeable, ingredient.version.weights_digest.hex, ingredient.weight, ingredient.density)
        for ingredient in run.prepared.folded
        if ingredient.mergeable is not None
    ]
    start = run.base(policy, "fp32").state_dict()
    touched = {place.parameter for place in places.values()}
    if names.is_tied and names.head is not None and touched & {names.embedding, names.head}:
        touched |= {names.embedding, names.head}
    other = next(untouched_but_changed(start, state, frozenset(touched)), None)
    if other is not None:
        raise MergeNotReproduced(plan.algorithm, other, start[other].numel(), start[other].numel(), math.inf)
    base = tensors_of(start, drawn)
    del start
    reproduced = reproduce(
        plan.algorithm,
        base=base,
        changed=[(part, changed_by_peft(run.base(policy, "fp32"), part.folder, drawn)) for part in parts],
        written=tensors_of(state, drawn),
        touched=len(places),
        seed=plan.seed,
    )
    put_into(state, drawn, reproduced.values)
    return run.with_the_rest(written), reproduced


def _in_float32(run: _Unmerged, merged: Path, scratch: Path) -> Any:
    """The merged model as it was before its rounding; where nothing was rounded, what was written."""
    plan = run.prepared.require_plan()
    if all(job.dtype in ("F32", job.source.dtype) and job.dtype not in ("BF16", "F16") for job in plan.jobs()):
        return load_base(merged, dtype="fp32", device="cpu")[0]
    scratch.mkdir()
    write_model_folder(plan.in_float32(), scratch)
    try:
        return load_base(scratch, dtype="fp32", device="cpu")[0]
    finally:
        shutil.rmtree(scratch)


def _require_exact_sum(prepared: Prepared, result: Path) -> None:
    """Raise unless an adapter in place of several has the difference, in drawn modules, that those have together in fp64.

    Raises:
        MergeNotReproduced: it has another.
    """
    rank = prepared.request.rank if prepared.request.algorithm == "svd" else None
    modules = sorted(read_adapter(result).config["target_modules"])
    run = _Unmerged(prepared, ProbeSentences(()))
    state = run.base("original", "fp32").state_dict()
    places = {f"{module}.weight": Placed(f"{module}.weight") for module in modules}
    sizes = {name: state[place.parameter].numel() for name, place in places.items()}
    drawn = drawn_tensors([*places], sizes, places, seed=0)
    base = tensors_of(state, drawn)
    del state
    sums = {name: np.zeros_like(values) for name, values in base.items()}
    for ingredient in prepared.adapters:
        for name, values in changed_by_peft(run.base("original", "fp32"), ingredient.folder, drawn).items():
            sums[name] += ingredient.weight * (values - base[name])
    for name, values in changed_by_peft(run.base("original", "fp32"), result, drawn).items():
        require_best_approximation(
            sums[name], values - base[name], algorithm=prepared.request.algorithm, tensor=name, rank=rank
        )
