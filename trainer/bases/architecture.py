"""Whether a folder holds a causal language model that transformers knows, by its configuration alone; no weight is read.

Everything here predicts a token from those before it: training, the figures of an evaluation, the comparison after a merge. A model
that reads both ways, or that has a second part for reading, or a head that answers something else, would go through all of it and
mean nothing. So it is refused where it comes in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.identity.base import CONFIG_NAME
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.schemas.base_model import CAUSAL_HEADS
from peft_registry.schemas.errors import InputRefused, KnownError

# transformers gives these the setting is_decoder, and they read only backwards whatever it says
_DECODERS_ALWAYS = frozenset({"gpt_neox", "gpt_neox_japanese", "trocr"})
# masks of their own, which let a token see those behind it unless the setting says otherwise; None: no setting does
_OTHER_MASKS: Mapping[str, str | None] = {"xlm": "causal", "xlnet": None}
# what is wrong with a family that transformers calls causal, in the words that follow its class
_NOT_HERE: Mapping[str, str] = {
    "rwkv": "divides its own weights while it answers, and an adapter beside them is not divided with them",
}
_KNOWN_FAMILIES = "docs/reference/architectures.md lists the families that were tried"
# state spaces whose fused kernels take the weights of layers, and not what the layers give; bamba and jamba call the layers
STATE_SPACES = frozenset({"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"})


class NotACausalModel(InputRefused):
    what = "{folder.name} is not a causal language model: its {architecture} {what_it_is}"
    why = "what is trained, evaluated and merged here predicts each token from those before it"
    fix = "{remedy}"

    folder: Path
    architecture: str
    what_it_is: str
    remedy: str


class ArchitectureNotHere(InputRefused):
    what = "{folder.name} has the model type {model_type}, which cannot be trained or merged correctly here"
    why = "it {reason}"
    fix = "add a model of another family; docs/reference/architectures.md lists those that were tried"

    folder: Path
    model_type: str
    reason: str


class ArchitectureUnknown(InputRefused):
    what = "{folder.name} has the model type {model_type!a}, of which transformers {installed} has no causal language model"
    why = "nothing could train, evaluate or merge it"
    fix = "add a model of text of a family that transformers has built in (docs/reference/architectures.md), or update transformers"

    folder: Path
    model_type: str
    installed: str


class ArchitectureNotQuantizable(InputRefused):
    what = "{folder.name} has the model type {model_type}, which cannot be trained in 4 bits"
    why = "it computes with the weights of its layers directly, and in 4 bits those are packed"
    fix = "train without quantization: method lora in place of qlora"

    folder: Path
    model_type: str


@dataclass(frozen=True, slots=True)
class _Family:
    """What transformers says of a model type: the class for causal models, None where it has none, and the configuration's."""

    causal_class: str | None
    defaults: Any  # the class of the configuration; its attributes are the settings where a file is silent
    causal_classes: frozenset[str]
    installed: str

    def setting(self, config: Mapping[str, Any], key: str) -> Any:
        return config.get(key, getattr(self.defaults, key, None))


def require_causal_model(folder: Path) -> None:
    """Raise unless the configuration in `folder` is that of a causal language model.

    A folder without a configuration, with one that is not JSON or that names code to run is left to what reads the base itself.

    Raises:
        NotACausalModel: it is another kind of model.
        ArchitectureNotHere: it is one, and what is done with it here would be wrong.
        ArchitectureUnknown: the installed transformers has no causal language model of its type.
    """
    config = _config(folder)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or "auto_map" in config:
        return
    if model_type in _NOT_HERE:
        raise ArchitectureNotHere(folder, model_type, _NOT_HERE[model_type])
    family = _family(model_type)
    named = config.get("architectures")
    architecture = named[0] if isinstance(named, list) and named and isinstance(named[0], str) else model_type
    reason = _other_kind(config, model_type, architecture, family)
    if reason is not None:
        raise NotACausalModel(folder, architecture, *reason)
    if family.causal_class is None:
        raise ArchitectureUnknown(folder, model_type, family.installed)


def require_quantizable(folder: Path) -> None:
    """Raise where the model in `folder` reads the weights of its linear layers past the layers.

    Raises:
        ArchitectureNotQuantizable: it does.
    """
    model_type = _config(folder).get("model_type")
    if model_type in STATE_SPACES:
        raise ArchitectureNotQuantizable(folder, model_type)


def _other_kind(
    config: Mapping[str, Any], model_type: str, architecture: str, family: _Family
) -> tuple[str, str] | None:
    """What else the model is, and what to do; None for a causal one, or where nothing is known."""
    if family.setting(config, "is_encoder_decoder"):
        return (
            "has an encoder that reads and a decoder that answers",
            f"add a model that is a decoder alone; {_KNOWN_FAMILIES}",
        )
    is_named = architecture != model_type
    if is_named and architecture not in family.causal_classes and not architecture.endswith(CAUSAL_HEADS):
        if family.causal_class is None:
            return ("answers otherwise than with text", f"add a model of text; {_KNOWN_FAMILIES}")
        if architecture.endswith("Model"):
            return (
                "has no output head for tokens",
                f"add the model with its head ({family.causal_class}), from which it was taken",
            )
        return (
            "has a head that answers otherwise than with the next token",
            f"add the model before that head was put on it ({family.causal_class}), and train that",
        )
    if _sees_what_comes(config, model_type, family):
        return (
            "reads a text in both directions",
            f"add a model that reads forwards only; {_KNOWN_FAMILIES}",
        )
    return None


def _sees_what_comes(config: Mapping[str, Any], model_type: str, family: _Family) -> bool:
    if model_type in _OTHER_MASKS:
        key = _OTHER_MASKS[model_type]
        return key is None or not family.setting(config, key)
    return family.setting(config, "is_decoder") is False and model_type not in _DECODERS_ALWAYS


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        # in a snapshot of the Hub's cache it is a link
        data = read_file((folder / CONFIG_NAME).resolve(), max_bytes=CONFIG_MAX_BYTES)
        value = read_json(data, what=CONFIG_NAME, family="intake")
    except (KnownError, OSError, RuntimeError):  # RuntimeError: links in a circle
        return {}
    return value if isinstance(value, dict) else {}


def _family(model_type: str) -> _Family:
    from importlib.metadata import version

    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    classes: Mapping[str, Any] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return _Family(
        causal_class=classes.get(model_type),
        defaults=CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING else None,  # noqa: SIM401 - its get finds nothing lazy
        causal_classes=frozenset(classes.values()),
        installed=version("transformers"),
    )
