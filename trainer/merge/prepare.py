"""The plan of a merge from folders that are checked already. Imports torch; the command line reads the request without it."""

import json
from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.schemas.merge import ALGORITHMS
from peft_registry.trainer.bases.quantization import Quantization
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.fold import fold
from peft_registry.trainer.merge.ingredients import Ingredient
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.plan import CONFIG, MergePlan, PlannedAdapter, make_plan
from peft_registry.trainer.merge.request import FORMATS, FourBitMergeRefused, MergeRequest
from peft_registry.trainer.merge.tensors import checkpoint_tensors


def plan_of(
    base: Path, adapters: Sequence[Ingredient], request: MergeRequest, *, quantization: Quantization | None = None
) -> MergePlan:
    """The plan of folding verified adapters into a checked base folder.

    Raises:
        FourBitMergeRefused: the base is stored in 4 bits.
        InputRefused, IntegrityBroken: an adapter does not fit, see `trainer/merge/fold.py`.
    """
    algorithm = next(known for known in ALGORITHMS if known == request.algorithm)
    if json.loads(read_file(base / CONFIG, max_bytes=CONFIG_MAX_BYTES)).get("quantization_config"):
        raise FourBitMergeRefused
    tensors = checkpoint_tensors(base)
    names = model_names(base, tensors)
    ingredients = [
        PlannedAdapter(
            Share(ingredient.version.weights_digest.hex, ingredient.weight, ingredient.density),
            ingredient.version.label,
            fold(read_adapter(ingredient.mergeable), names),
        )
        for ingredient in adapters
        if ingredient.mergeable is not None
    ]
    return make_plan(
        base,
        tensors,
        names,
        ingredients,
        algorithm=algorithm,
        seed=request.seed,
        dtype=FORMATS[request.dtype] if request.dtype else None,
        quantization=quantization,
    )
