"""The plan of a merge from folders that are checked already. Imports torch; the command line reads the request without it."""

import json
from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.schemas.merge import ALGORITHMS
from peft_registry.trainer.bases.quantization import Quantisation
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.algorithms import Share
from peft_registry.trainer.merge.fold import fold
from peft_registry.trainer.merge.ingredients import Folded
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.plan import CONFIG, Ingredient, MergePlan, make_plan
from peft_registry.trainer.merge.request import FORMATS, FourBitMergeRefused, MergeRequest
from peft_registry.trainer.merge.tensors import checkpoint_tensors

_MAX_CONFIG_BYTES = 16 * 1024 * 1024


def plan_of(
    base: Path, adapters: Sequence[Folded], request: MergeRequest, *, quantisation: Quantisation | None = None
) -> MergePlan:
    """The plan of folding verified adapters into a checked base folder.

    Raises:
        FourBitMergeRefused: the base is stored in 4 bits.
        InputRefused, IntegrityBroken: an adapter does not fit, see `trainer/merge/fold.py`.
    """
    algorithm = next(one for one in ALGORITHMS if one == request.algorithm)
    if json.loads(read_file(base / CONFIG, max_bytes=_MAX_CONFIG_BYTES)).get("quantization_config"):
        raise FourBitMergeRefused
    tensors = checkpoint_tensors(base)
    names = model_names(base, tensors)
    ingredients = [
        Ingredient(
            Share(one.version.weights_digest.hex, one.weight, one.density),
            one.version.label,
            fold(read_adapter(one.folds), names),
        )
        for one in adapters
        if one.folds is not None
    ]
    return make_plan(
        base,
        tensors,
        names,
        ingredients,
        algorithm=algorithm,
        seed=request.seed,
        dtype=FORMATS[request.dtype] if request.dtype else None,
        quantisation=quantisation,
    )
