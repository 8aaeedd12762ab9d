"""LoRA-Pro (Wang et al., ICLR 2025; arXiv 2407.18242): LoRA layers, and an optimizer whose step follows the full gradient.

A step of (A, B) moves W by the equivalent gradient g̃ = s·B·g^A + s·g^B·A. With LoRA's own gradients a = s·Bᵀ·g and
b = s·g·Aᵀ, where g is the gradient of the full weight, ‖g̃ − g‖ is smallest for

    g^A = (1/s²)·(BᵀB)⁺·a + X·A
    g^B = (1/s²)·[I − B·(BᵀB)⁺·Bᵀ]·b·(A·Aᵀ)⁺ − B·X          any X gives the same g̃

and of those (g^A, g^B) is closest to (a, b) for the X of   (BᵀB)·X + X·(A·Aᵀ) = −(1/s²)·(BᵀB)⁺·a·Aᵀ.

All of it is r×r work, in float64 through eigenvectors; ⁺ leaves out eigenvalues below a relative 1e-6, so that B = 0 at the
start needs no case of its own. The decompositions of a step are made together, one call for all matrices of a size: on a GPU
each call is waited for. What is trained is stored as plain LoRA.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.lora_pro import LoraProBlock
from peft_registry.trainer.methods import lora

_CUT_OFF = 1e-6  # relative to the largest eigenvalue
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # AdamW's, as torch has them


class FactorsNotPaired(InputRefused):
    what = "lora_pro cannot follow the full gradient of these layers"
    why = "{reason}"
    fix = "name linear layers that share no weight in lora.target_modules, or use method: lora"

    reason: str


_NAMES = {
    "efficient": "LoRA-Pro (efficient form, not that of its authors' code): AdamW over corrected gradients of A and B",
    "full": "LoRA-Pro (full form, as in its authors' code): AdamW's moments of the equivalent gradient of each adapted matrix",
}

prepare = lora.prepare
save = lora.save
load = lora.load


@dataclass(frozen=True, eq=False)
class FactorPair:
    """The two factors of one adapted matrix and its scale: ΔW = s·B·A with A (r, n) and B (m, r)."""

    a: torch.nn.Parameter
    b: torch.nn.Parameter
    scale: float


def optimizer(model: Any, config: TrainingFile) -> "LoraPro":
    """LoRA-Pro over the pairs of a prepared model, plain AdamW over what else is trainable.

    Raises:
        FactorsNotPaired: embeddings, fused experts or tied layers are adapted.
    """
    pairs = pairs_of(model)
    ours = {id(factor) for pair in pairs for factor in (pair.a, pair.b)}
    others = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in ours]
    training = config.training
    return LoraPro(
        pairs,
        others,
        lr=training.learning_rate,
        weight_decay=training.weight_decay,
        form=config.block(LoraProBlock).form,
    )


def optimizer_name(config: TrainingFile) -> str:
    """Its form, which is not always that of its authors."""
    return _NAMES[config.block(LoraProBlock).form]


def pairs_of(model: Any) -> list[FactorPair]:
    """The trainable pairs of peft's model, in its order.

    Raises:
        FactorsNotPaired: as `optimizer`.
    """
    pairs: list[FactorPair] = []
    for name, layer in model.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if "default" not in layer.lora_A or type(layer).__name__ == "ParamWrapper":
            raise FactorsNotPaired(f"{name.rpartition('.')[2]} is not a single matrix of a linear layer")
        pair = FactorPair(
            layer.lora_A["default"].weight, layer.lora_B["default"].weight, float(layer.scaling["default"])
        )
        if any(pair.a is pair_before.a or pair.b is pair_before.b for pair_before in pairs):
            raise FactorsNotPaired(f"{name.rpartition('.')[2]} shares its factors with another layer")
        pairs.append(pair)
    return pairs


class LoraPro(torch.optim.Optimizer):
    """The optimizer, in both forms.

    - `efficient`: (g^A, g^B) of the step's gradients, then AdamW's moments of A and B. Memory as LoRA.
    - `full`: AdamW's moments of g̃ itself (m×n each), its step u turned into a = s·Bᵀu, b = s·u·Aᵀ, and those into
      (g^A, g^B). Takes full fine-tuning's learning rate.

    State lies with A, so that `state_dict`, schedulers and resuming work as for torch's own.
    """

    def __init__(
        self, pairs: list[FactorPair], others: list[torch.nn.Parameter], *, lr: float, weight_decay: float, form: str
    ) -> None:
        factors = [factor for pair in pairs for factor in (pair.a, pair.b)]
        groups: list[dict[str, Any]] = [
            {"params": factors, "scales": [pair.scale for pair in pairs], "form": form},
            {"params": others, "scales": None, "form": "adamw"},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it
        """One step from the gradients that are there."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["form"] == "adamw":
                self._step_others(group)
                continue
            factors = group["params"]
            move = self._step_full if group["form"] == "full" else self._step_efficient
            pairs = [
                (a, b, scale)
                for a, b, scale in zip(factors[::2], factors[1::2], group["scales"], strict=True)
                if a.grad is not None and b.grad is not None
            ]
            for (a, b, scale), spectra in zip(pairs, spectra_of([(a, b) for a, b, _ in pairs]), strict=True):
                move(a, b, scale, group, spectra)
        return loss

    def _step_efficient(
        self, a: torch.Tensor, b: torch.Tensor, scale: float, group: dict[str, Any], spectra: "Spectra"
    ) -> None:
        of_a, of_b = corrected(a, b, _grad(a), _grad(b), scale, spectra=spectra)
        for parameter, gradient in ((a, of_a), (b, of_b)):
            self._decay(parameter, group)
            parameter.sub_(group["lr"] * self._adam(parameter, gradient.to(parameter.dtype)))

    def _step_full(
        self, a: torch.Tensor, b: torch.Tensor, scale: float, group: dict[str, Any], spectra: "Spectra"
    ) -> None:
        equivalent = equivalent_gradient(a, b, _grad(a), _grad(b), scale, spectra=spectra)
        step = self._adam(a, equivalent.to(a.dtype))  # (m, n)
        of_a, of_b = corrected(a, b, scale * b.T @ step, scale * step @ a.T, scale, spectra=spectra)
        for parameter, gradient in ((a, of_a), (b, of_b)):
            self._decay(parameter, group)
            parameter.sub_(group["lr"] * gradient.to(parameter.dtype))

    def _step_others(self, group: dict[str, Any]) -> None:
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._decay(parameter, group)
                parameter.sub_(group["lr"] * self._adam(parameter, parameter.grad))

    def _adam(self, owner: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Adam's direction m̂ / (√v̂ + ε) for a gradient whose moments lie with `owner`."""
        state = self.state[owner]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        state["step"] += 1
        first, second = _BETAS
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        step = float(state["step"])
        root = (state["exp_avg_sq"] / (1 - second**step)).sqrt_().add_(_EPSILON)
        update: torch.Tensor = (state["exp_avg"] / (1 - first**step)).div_(root)
        return update

    @staticmethod
    def _decay(parameter: torch.Tensor, group: dict[str, Any]) -> None:
        parameter.mul_(1 - group["lr"] * group["weight_decay"])


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues, ascending, and eigenvectors of a symmetric matrix (r, r), in float64."""

    values: torch.Tensor
    vectors: torch.Tensor


Spectra = tuple[Spectrum, Spectrum]  # of BᵀB and of A·Aᵀ


def spectra_of(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[Spectra]:
    """Of BᵀB and A·Aᵀ of each (A, B), decomposed in one call for all matrices of a size."""
    grams = [gram for a, b in pairs for gram in _grams(a, b)]
    found: list[Spectrum | None] = [None] * len(grams)
    for key in dict.fromkeys((gram.shape, gram.device) for gram in grams):
        places = [at for at, gram in enumerate(grams) if (gram.shape, gram.device) == key]
        values, vectors = torch.linalg.eigh(torch.stack([grams[at] for at in places]))
        for row, at in enumerate(places):
            found[at] = Spectrum(values[row], vectors[row])
    spectra = [spectrum for spectrum in found if spectrum is not None]
    return list(zip(spectra[::2], spectra[1::2], strict=True))


def _grams(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """BᵀB and A·Aᵀ, float64."""
    a, b = a.double(), b.double()
    return b.T @ b, a @ a.T


def corrected(
    a: torch.Tensor,
    b: torch.Tensor,
    grad_a: torch.Tensor,
    grad_b: torch.Tensor,
    scale: float,
    *,
    spectra: Spectra | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(g^A, g^B) in float64 for factors A (r, n), B (m, r) and LoRA's own gradients of them; `spectra` where they are known."""
    spectra = spectra or spectra_of([(a, b)])[0]
    of_a, of_b = _without_x(a, b, grad_a, grad_b, scale, spectra)
    x = sylvester(*spectra, -of_a @ a.double().T)
    return of_a + x @ a.double(), of_b - b.double() @ x


def equivalent_gradient(
    a: torch.Tensor,
    b: torch.Tensor,
    grad_a: torch.Tensor,
    grad_b: torch.Tensor,
    scale: float,
    *,
    spectra: Spectra | None = None,
) -> torch.Tensor:
    """g̃ (m, n), in the number format of `moved`; X is not in it."""
    of_a, of_b = _without_x(a, b, grad_a, grad_b, scale, spectra or spectra_of([(a, b)])[0])
    return moved(a, b, of_a, of_b, scale)


def moved(a: torch.Tensor, b: torch.Tensor, of_a: torch.Tensor, of_b: torch.Tensor, scale: float) -> torch.Tensor:
    """s·B·g^A + s·g^B·A (m, n): what a step along (g^A, g^B) does to W, to first order.

    In float64; elsewhere than on a processor in fp32, as the moments are kept: most GPUs have a 64th of the rate for float64,
    and this product has the size of the weight.
    """
    dtype = torch.float64 if a.device.type == "cpu" else torch.float32
    a, b, of_a, of_b = (matrix.to(dtype) for matrix in (a, b, of_a, of_b))
    return scale * (b @ of_a + of_b @ a)


def sylvester(left: Spectrum, right: Spectrum, constant: torch.Tensor) -> torch.Tensor:
    """The X (r, r) of left·X + X·right = constant, in float64, for the spectra of symmetric positive semi-definite matrices."""
    left_values, left_vectors = left.values, left.vectors
    right_values, right_vectors = right.values, right.vectors
    sums = left_values.clamp(min=0)[:, None] + right_values.clamp(min=0)[None, :]
    inner = left_vectors.T @ constant @ right_vectors
    smallest = _CUT_OFF * sums.max()
    solved = torch.where(sums > smallest, inner / sums.clamp(min=1e-300), 0.0)
    solution: torch.Tensor = left_vectors @ solved @ right_vectors.T
    return solution


def _without_x(  # noqa: PLR0917 - as those that call it
    a: torch.Tensor, b: torch.Tensor, grad_a: torch.Tensor, grad_b: torch.Tensor, scale: float, spectra: Spectra
) -> tuple[torch.Tensor, torch.Tensor]:
    """(g^A, g^B) with X = 0, float64."""
    a, b, grad_a, grad_b = (matrix.double() for matrix in (a, b, grad_a, grad_b))
    of_bb, of_aa = spectra
    inverse = _pseudo_inverse(of_bb)
    across = grad_b - b @ (inverse @ (b.T @ grad_b))  # the part of b that B's columns cannot reach
    return inverse @ grad_a / scale**2, across @ _pseudo_inverse(of_aa) / scale**2


def _pseudo_inverse(spectrum: Spectrum) -> torch.Tensor:
    """Of a symmetric positive semi-definite matrix (r, r)."""
    values, vectors = spectrum.values, spectrum.vectors
    kept = values > _CUT_OFF * values.max().clamp(min=0)
    inverse = torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)
    inverse_root: torch.Tensor = vectors @ (inverse[:, None] * vectors.T)
    return inverse_root


def _grad(parameter: torch.Tensor) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad
