"""What is not folded stays beside the weights, in a bundle with the reason: prompts, prefixes, bottleneck adapters, and adapters
that change weights in a way that is not implemented here.

A bundle of one such part and of others that fold has the folded model under `model`, and the part under `adapters/00`: so the
LoRA of a hybrid costs nothing at inference, and its prompt still stands in front. Where nothing folds, the part alone is in the
bundle, and runs on the base. `composition.json` says which it is; it names no path of a machine.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file, unwritable
from peft_registry.schemas.codes import Code
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.methods.hybrid import LORA_FOLDER, PROMPT_FOLDER
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.tensor_files import write_json
from peft_registry.trainer.evaluation.models import CausalModel
from peft_registry.trainer.merge.adapter import CONFIG, WEIGHTS, read_adapter
from peft_registry.trainer.merge.ingredients import Ingredient, Prepared
from peft_registry.trainer.methods import implementation

COMPOSITION = "composition.json"
MODEL = "model"  # folder of the folded weights
NOTHING_FOLDED = "nothing is folded: base and adapter side by side"
_MAX_BYTES = 1024 * 1024


def parts_of(version: Version, folder: Path) -> tuple[Path | None, Path | None, str | None]:
    """(mergeable part, side part, reason that it stays beside the weights) of a verified copy."""
    folders = (folder / LORA_FOLDER, folder / PROMPT_FOLDER) if version.method == "hybrid" else (folder,)
    return _parts(folders)


def mergeable_part(folder: Path) -> Path | None:
    """The part of an adapter's folder that is folded into weights; for a hybrid, its LoRA. None where nothing is."""
    return _parts(_folders(folder))[0]


def no_weight(folder: Path) -> Code | None:
    """Why nothing in an adapter's folder changes a weight of the base; None where some of it may."""
    reasons = [read_adapter(part).no_weight for part in _folders(folder)]
    return None if None in reasons else reasons[-1]


def parameters_beside(folder: Path) -> int:
    """How many numbers the files of an adapter's folder hold, which stand beside the base."""
    return sum(read_adapter(part).parameters for part in _folders(folder))


def parameters_of_side_parts(prepared: Prepared) -> int:
    """How many numbers stay beside the weights that a merge makes."""
    parts = [ingredient.side_part for ingredient in prepared.adapters if ingredient.side_part is not None]
    return sum(read_adapter(part).parameters for part in parts)


def _folders(folder: Path) -> tuple[Path, ...]:
    return (folder,) if (folder / CONFIG).is_file() else (folder / LORA_FOLDER, folder / PROMPT_FOLDER)


def _parts(folders: tuple[Path, ...]) -> tuple[Path | None, Path | None, str | None]:
    mergeable: Path | None = None
    side_part: Path | None = None
    reason: str | None = None
    for part in folders:
        why_not = read_adapter(part).why_not_folded
        if why_not is None:
            mergeable = part
        else:
            side_part = part
            reason = why_not
    return mergeable, side_part, reason


def write_bundle(prepared: Prepared, folder: Path) -> None:
    """Write `composition.json` and the part that stays; a folded model goes beside it.

    Raises:
        DiskFull, NotWritable: of the folder.
    """
    staying = [
        (ingredient, ingredient.side_part) for ingredient in prepared.adapters if ingredient.side_part is not None
    ]
    entries = [_copied(ingredient, part, folder, at) for at, (ingredient, part) in enumerate(staying)]
    value: dict[str, Any] = {
        "base": prepared.base.record.identity.to_json(),
        "adapters": entries,
        "why": prepared.why_bundled,
    }
    write_json(value | ({} if prepared.plan is None else {"model": MODEL}), folder / COMPOSITION)


def _copied(ingredient: Ingredient, part: Path, folder: Path, at: int) -> dict[str, object]:
    name = f"adapters/{at:02}"
    try:
        (folder / name).mkdir(parents=True)
        for file in (CONFIG, WEIGHTS):
            shutil.copyfile(part / file, folder / name / file)
    except OSError as error:
        raise unwritable(folder, error) from error
    version = ingredient.version
    return {
        "folder": name,
        "method": version.method,
        "weights": str(version.weights_digest),
        "weight": ingredient.weight,
    }


def holds_model(manifest: Manifest) -> bool:
    """Whether the artifact has whole weights of its own, and does not run on its base's."""
    return manifest.layout == "model" or any(entry.path == f"{MODEL}/config.json" for entry in manifest.files)


def load_artifact(manifest: Manifest, base_model: CausalModel, folder: Path) -> Any:
    """The model of an artifact, in evaluation mode: its own weights, or `base_model` with what lies in the folder.

    Raises:
        KnownError: as the loader of its method.
    """
    if manifest.layout == "bundle" and manifest.method == "merge":
        return load_bundle(base_model, folder)
    if manifest.layout == "model":
        return _whole(folder, base_model)
    return implementation(manifest.method or "lora").load(base_model, folder)


def load_bundle(base_model: CausalModel, folder: Path) -> Any:
    """The model of a bundle that a merge made, in evaluation mode."""
    composition = json.loads(read_file(folder / COMPOSITION, max_bytes=_MAX_BYTES))
    model = _whole(folder / MODEL, base_model) if "model" in composition else base_model
    for entry in composition["adapters"]:
        model = with_side_part(model, folder / str(entry["folder"]))
    return model


def with_side_part(model: CausalModel, part: Path) -> Any:
    """The model with a part that stays beside its weights, as peft runs it.

    Around peft's model of another adapter a prompt would be left out by `generate`: give what that model holds inside.
    """
    import warnings

    from peft import PeftModel

    from peft_registry.trainer.methods import bottleneck_adapter  # noqa: F401  makes the method known to peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are layers of an adapter already: that is the point
        return PeftModel.from_pretrained(model, part).eval()


def _whole(folder: Path, base_model: CausalModel) -> Any:
    from peft_registry.trainer.bases.loading import load_model

    return load_model(folder, dtype="fp32", device=base_model.device.type)
