"""The ingredients of a merge, checked, and what of them decides its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.recorded_result import BaseInput
from peft_registry.registry.records.signed_records import Records
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.merge import BasePolicy, MergeIngredient
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.quantization import Quantization
from peft_registry.trainer.inputs.base import CheckedBase
from peft_registry.trainer.merge.request import MergeRequest

if TYPE_CHECKING:
    from peft_registry.trainer.merge.plan import MergePlan


@dataclass(frozen=True)
class Ingredient:
    """One adapter of the request, verified: version, records, and a private copy of its files.

    `mergeable` is the part that goes into weights, `side_part` the part that is not folded, each a folder of peft; a hybrid
    has both. `reason` says why the second stays beside the weights.
    """

    version: Version
    records: Records
    folder: Path
    weight: float
    density: float
    mergeable: Path | None
    side_part: Path | None = None
    reason: str | None = None

    @property
    def quantization(self) -> str | None:
        return self.records.manifest.base.quantisation if self.records.manifest.base else None


@dataclass(frozen=True)
class Prepared:
    """A merge whose ingredients are checked and whose plan is made; nothing is written yet."""

    request: MergeRequest
    name: str
    adapters: tuple[Ingredient, ...]
    base: CheckedBase
    policy: BasePolicy
    plan: "MergePlan | None"  # None where nothing is folded: the result is an adapter or a bundle
    licence_flags: Value
    why_bundled: str | None = None  # why something stays beside the weights

    @property
    def folded(self) -> tuple[Ingredient, ...]:
        """The adapters with a part that goes into weights."""
        return tuple(ingredient for ingredient in self.adapters if ingredient.mergeable is not None)

    @property
    def runs_alongside(self) -> Ingredient | None:
        """The adapter with a part that stays beside the folded weights."""
        return (
            None
            if self.plan is None
            else next((ingredient for ingredient in self.adapters if ingredient.side_part is not None), None)
        )

    def require_plan(self) -> "MergePlan":
        """The plan, for who knows that something is folded."""
        assert self.plan is not None
        return self.plan

    @property
    def seed(self) -> int | None:
        """Of the random choice; None where nothing is random."""
        return self.plan.seed if self.plan is not None and self.plan.is_random else None

    @property
    def base_input(self) -> BaseInput:
        """The base as the modification record describes it."""
        return self.base.as_input()

    @property
    def base_reference(self) -> BaseReference:
        """The base as the result's manifest names it; an adapter or a bundle still stands on it as the adapters did."""
        how = self.quantization if self.plan is None else None
        return BaseReference(
            identity=self.base.record.identity,
            manifest=self.base.version.manifest_digest,
            quantisation=None if how is None else how.settings,
        )

    @property
    def quantization(self) -> Quantization | None:
        """How the base was quantized while the adapters were trained, if it was for any."""
        return quantization_of(self.adapters)


def plan_identity(prepared: Prepared) -> dict[str, Any]:
    """What decides the bytes of the result, without names and paths: equal requests have one digest."""
    ingredients = [
        {"weights": str(ingredient.weights_digest), "weight": ingredient.weight, "density": ingredient.density}
        for ingredient in ingredients_of(prepared)
    ]
    return {
        "base": str(prepared.base.record.identity.weights),
        "base_policy": prepared.policy,
        "algorithm": algorithm_of(prepared),
        "rank": prepared.request.rank if prepared.request.algorithm == "svd" else None,
        "ingredients": ingredients,
        "seed": prepared.seed,
        "dtype": None if prepared.plan is None else prepared.plan.dtype,
    }


def algorithm_of(prepared: Prepared) -> str:
    """The word for how the result was made."""
    return "bundle" if prepared.why_bundled and prepared.plan is None else prepared.request.algorithm


def ingredients_of(prepared: Prepared) -> tuple[MergeIngredient, ...]:
    """In the order of the sum: by weights digest."""
    ordered = sorted(prepared.adapters, key=lambda ingredient: ingredient.version.weights_digest)
    return tuple(
        MergeIngredient(
            label=ingredient.version.label,
            manifest=ingredient.version.manifest_digest,
            weights_digest=ingredient.version.weights_digest,
            method=ingredient.version.method,
            weight=ingredient.weight,
            density=ingredient.density,
            quantisation=ingredient.quantization,
        )
        for ingredient in ordered
    )


def quantization_of(adapters: Sequence[Ingredient]) -> Quantization | None:
    """How the base of these adapters was quantized, and in which number format it was loaded before, as the run recorded."""
    for ingredient in adapters:
        if ingredient.quantization:
            run = ingredient.records.run
            return Quantization(
                ingredient.quantization, "BF16" if run is None or run.environment.dtype == "bf16" else "F32"
            )
    return None
