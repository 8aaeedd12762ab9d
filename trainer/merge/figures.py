"""The two figures of a merge, measured on loaded models: fold error and distance. See `trainer/merge/drift.py`."""

import gc
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.merge import BasePolicy, Divergence
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.bases.loading import load_base, load_tokenizer
from peft_registry.trainer.bases.quantization import Quantization, dequantized_weights, described
from peft_registry.trainer.evaluation.models import CausalModel
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.machine.environment import Dtype
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.bundle import with_side_part
from peft_registry.trainer.merge.drift import ProbeAnswers, Probes, answers, divergence, gated, probes_of, with_adapters
from peft_registry.trainer.merge.folder import write_model_folder
from peft_registry.trainer.merge.ingredients import Prepared


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
    """
    probes = probes_of(load_tokenizer(prepared.base.folder))
    dtype: Dtype = "fp32" if prepared.require_plan().dtype == "float32" else "bf16"
    run = _Unmerged(prepared, probes)
    found = run.folded(merged, dtype)
    if _runs_unmerged(prepared):
        named = f"the {prepared.policy} base with its adapter{'s' * (len(prepared.adapters) > 1)}, unmerged in fp32"
        reference = run.answers(prepared.policy, "fp32")
        floor = None if dtype == "fp32" else divergence(reference, run.answers(prepared.policy, dtype), named=named)
    else:
        named = "the same merge kept in fp32: these differences cannot run side by side"
        reference = _kept_in_float32(run, scratch)
        alone = [_of_folder(prepared.base.folder, probes, one) for one in ("fp32", dtype)]
        floor = None if dtype == "fp32" else divergence(*alone, named=named)
    fold_error = gated(divergence(reference, found, named=named), dtype=dtype, floor=floor)
    beside = "" if fold_error.floor is None else f", {dtype} itself costs {fold_error.floor:.3g}"
    observe(Said("fold", f"KL {fold_error.kl:.3g} nats a token, allowed {fold_error.limit:.3g}{beside}"))
    figures = _distances(run, found, fold_error)
    for policy, one in sorted(figures.compared.items()):
        observe(Said("compare", f"KL {one.kl:.3g} with the {policy} base, same first token at {one.agreement:.1%}"))
    observe(Said("distance", f"KL {figures.distance.kl:.3g} from {figures.distance.reference}"))
    return figures


def measure_adapter(prepared: Prepared, result: Path, *, gate: bool, observe: Observe = ignore) -> Divergence:
    """One adapter in place of several, against those side by side, on the base in fp32; `gate`: it claims to be exact."""
    probes = probes_of(load_tokenizer(prepared.base.folder))
    run = _Unmerged(prepared, probes)
    reference = run.answers("original", "fp32")
    model = load_base(prepared.base.folder, dtype="fp32", device="cpu")[0]
    found = answers(with_adapters(model, [result], [1.0]), probes)
    one = divergence(reference, found, named="the base with its adapters side by side, in fp32")
    one = gated(one, dtype="fp32", floor=None) if gate else one
    observe(Said("fold", f"KL {one.kl:.3g} nats a token" + (f", allowed {one.limit:.3g}" if one.limit else ", stated")))
    return one


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


def _distances(run: "_Unmerged", found: ProbeAnswers, fold_error: Divergence) -> MergeFigures:
    """How far the result is from the model that was trained; without quantization that is what was merged."""
    prepared = run.prepared
    how = prepared.quantization
    if how is None:
        alone = len(prepared.adapters) == 1 and prepared.adapters[0].weight == 1
        named = f"the model that was trained: {fold_error.reference}" if alone else fold_error.reference
        distance = fold_error.revised(limit=None, floor=None, reference=named)
        return MergeFigures(fold_error, distance, {})
    named = f"the model that was trained: the base in 4 bits ({how.settings}) with its adapter, in fp32"
    trained = run.trained_answers(how)
    compared: dict[BasePolicy, Divergence] = {}
    if prepared.request.compare_bases or prepared.policy == "original":
        for policy in ("original", "dequantised"):
            compared[policy] = divergence(trained, run.answers(policy, "fp32"), named=named)
    return MergeFigures(fold_error, divergence(trained, found, named=named), compared)


@dataclass(eq=False)
class _Unmerged:
    """Base and adapters side by side, loaded anew for each question: one model in memory at a time."""

    prepared: Prepared
    probes: Probes

    def answers(self, policy: BasePolicy, dtype: Dtype) -> ProbeAnswers:
        """Of the base that a policy names; `dtype` is that of its weights and products, adapters stay fp32."""
        model = load_base(self.prepared.base.folder, dtype=dtype, device="cpu")[0]
        if policy == "dequantised" and self.prepared.quantization is not None:
            for name, weight in dequantized_weights(self._quantized(self.prepared.quantization)).items():
                parameter = model.get_parameter(name)
                parameter.data = weight.to(parameter.dtype)
        return self._of(model)

    def folded(self, folder: Path, dtype: Dtype) -> ProbeAnswers:
        """Of a folder with folded weights, and what stays beside them."""
        model = load_base(folder, dtype=dtype, device="cpu")[0]
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
            del wrapped, model
            gc.collect()  # the next model must not wait for this one's memory


def _of_folder(folder: Path, probes: Probes, dtype: Dtype) -> ProbeAnswers:
    return answers(load_base(folder, dtype=dtype, device="cpu")[0], probes)


def _parts(prepared: Prepared) -> list[tuple[Path, float]]:
    """Folder and weight of each part that is folded."""
    return [(one.mergeable, one.weight) for one in prepared.adapters if one.mergeable is not None]


def _kept_in_float32(run: _Unmerged, scratch: Path) -> ProbeAnswers:
    scratch.mkdir()
    write_model_folder(run.prepared.require_plan().in_float32(), scratch)
    try:
        return run.folded(scratch, "fp32")
    finally:
        shutil.rmtree(scratch)
