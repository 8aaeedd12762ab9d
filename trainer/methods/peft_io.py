"""Peft adapters in plain folders: written without anything of this machine, read back only when every key fits.

Peft itself warns about keys that match nothing and drops configuration fields that it does not know; both are refused here.
"""

import enum
import json
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import OF_PEFT_TYPE
from peft_registry.schemas.methods.declaration import OF_THE_BEGINNING, MethodDeclaration
from peft_registry.trainer.bases.tensor_files import (
    AdapterConfigRefused,
    WeightsMismatch,
    read_tensors,
    require_same_keys,
    write_json,
    write_tensors,
)

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# the type is known; the base's name was compared by digest long before
_NOT_READ = ("peft_type", "base_model_name_or_path")
# peft imports what these name
_IMPORTING_KEYS = ("auto_mapping", "megatron_config", "megatron_core")
_MAX_REASON = 200  # characters of what peft says
_REPLACED = "_peft_registry_replaced"  # the attribute of peft's model that keeps what an adapter replaced
_MEGATRON_DEFAULT = "megatron.core"  # what every LoRA configuration says, and nobody imports without megatron_config


class StartDiffers(InputRefused):
    what = "the starting adapter has another configuration than the training file"
    why = "its {key} is {was!s:.80}, the file's would be {now!s:.80}: equal numbers would mean something else"
    fix = "{remedy}"

    key: str
    was: object
    now: object

    @property
    def remedy(self) -> str:
        if self.key == "target_modules" and isinstance(self.was, list):
            return f"write target_modules: [{', '.join(map(str, self.was))}] in the method's block"
        return (
            "write the method's block as that adapter has it: in its adapter_config.json, which `registry pull` writes"
        )


class BaseNotAdaptable(InputRefused):
    what = "peft cannot put an adapter of type {peft_type} into this base ({model_type})"
    why = "{reason}"
    fix = (
        "name other layers in the training file, or use another method: docs/reference/architectures.md says what works"
    )

    peft_type: str
    model_type: str
    reason: str


def wrapped(model: Any, config: PeftConfig) -> Any:
    """The model with a new adapter in place, only it trainable.

    Raises:
        BaseNotAdaptable: peft does not take this base, or these layers of it.
    """
    with suppress_warnings():
        try:
            return get_peft_model(model, config)
        # a TypeError where it has no adapter for a kind of layer
        except (ValueError, NotImplementedError, TypeError) as error:
            kind = getattr(config.peft_type, "value", str(config.peft_type))
            reason = (str(error).splitlines() or [type(error).__name__])[0][:_MAX_REASON]
            raise BaseNotAdaptable(kind, str(model.config.model_type), reason) from error


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Without the warnings that nobody who trains or loads here can do anything about."""
    with warnings.catch_warnings():
        # peft 0.21 still asks for the name that transformers 5.23 renamed
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        # patterns are checked where they are read; peft also writes some of its own for fused experts
        warnings.filterwarnings("ignore", message=".*keys did not match any targeted module", category=RuntimeWarning)
        # a setting that peft replaces is refused by its name where a method is prepared
        warnings.filterwarnings("ignore", message="Invalid `.*Adjusted `", category=UserWarning)
        yield


def adapter_state(model: Any) -> dict[str, Any]:
    """The adapter's tensors under the names of the file; embeddings of the base are never among them."""
    state: dict[str, Any] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def save_adapter(
    model: Any,
    folder: Path,
    *,
    base: BaseToOpen | None,
    state: Mapping[str, Any] | None = None,
    **changes: Any,  # any JSON values
) -> None:
    """Write adapter_config.json and adapter_model.safetensors, as `PeftModel.from_pretrained(base, folder)` reads them.

    Args:
        model: peft's, one adapter named `default`.
        folder: exists.
        base: what a loader shall open; None where nobody said.
        state: written in place of the model's own.
        changes: of the configuration, put in place of the model's own.
    """
    write_tensors(adapter_state(model) if state is None else state, folder / WEIGHTS)
    write_json(config_json(model.peft_config["default"], base) | changes, folder / CONFIG)


def config_json(config: PeftConfig, base: BaseToOpen | None) -> dict[str, Any]:
    """peft's own dictionary without anything of this machine or of this process: sets sorted, no local path."""
    value: dict[str, Any] = {key: _plain(item) for key, item in config.to_dict().items()}
    if "tokenizer_name_or_path" in value:
        value["tokenizer_name_or_path"] = None
    return value | named_base(base) | {"inference_mode": True}


def named_base(base: BaseToOpen | None) -> dict[str, Any]:
    """The keys of an adapter's configuration by which peft and transformers open its base."""
    if base is None:
        return {"base_model_name_or_path": None, "revision": None}
    return {"base_model_name_or_path": base.name, "revision": base.revision}


def load_adapter(base_model: Any, folder: Path, config_type: type[PeftConfig]) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused: another method, fields that this peft does not know, or fields that make it import modules.
        WeightsMismatch: names or shapes are not exactly those of the configuration on this base.
    """
    tensors = read_tensors(folder / WEIGHTS)
    model = wrapped(base_model, read_config(folder, config_type))
    expected = adapter_state(model)
    require_same_keys(folder, expected=expected, found=tensors)
    declared = declaration_of(model)
    replaced = {name: tensor.detach().clone() for name, tensor in expected.items() if _replaces(declared, name)}
    set_state(model, tensors, folder)
    setattr(model, _REPLACED, replaced)
    model.requires_grad_(False)
    return model.eval()


def replaced_tensors(model: Any) -> Mapping[str, Any]:
    """The base's own tensors in the places that a loaded adapter fills anew, such as biases, by their names in its file."""
    replaced: Mapping[str, Any] = getattr(model, _REPLACED, {})
    return replaced


@contextmanager
def as_base(model: Any) -> Iterator[None]:
    """The base inside the block: without its adapter, and with its own biases where the adapter brought others.

    peft alone leaves the biases of an adapter in place.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Careful, disabling adapter layers with bias", category=UserWarning)
        disabled = model.disable_adapter()
        with disabled, _own_tensors(model):
            yield


def unloaded(model: Any) -> Any:
    """The base again, as it was before an adapter was loaded on it; `model` is of no use afterwards."""
    for parameter, own in _in_place(model):
        parameter.data.copy_(own)
    unload = getattr(model, "unload", None)
    if unload is not None:
        return unload()
    model.base_model.disable_adapter_layers()  # of adaption prompts, which peft swaps out and does not unload
    return model.get_base_model()


@contextmanager
def _own_tensors(model: Any) -> Iterator[None]:
    places = _in_place(model)
    kept = [parameter.detach().clone() for parameter, _ in places]
    for parameter, own in places:
        parameter.data.copy_(own)
    try:
        yield
    finally:
        for (parameter, _), tensor in zip(places, kept, strict=True):
            parameter.data.copy_(tensor)


def _in_place(model: Any) -> list[tuple[Any, Any]]:
    """(parameter of the base that holds an adapter's tensor, the base's own): the base has no second place for them."""
    places = []
    for part in getattr(model, "adapter_parts", (model,)):
        parameters = dict(part.named_parameters())
        for name, own in replaced_tensors(part).items():
            if name in parameters:
                places.append((parameters[name], own))
    return places


def declaration_of(model: Any) -> MethodDeclaration:
    """What is declared of the adapter `default` of peft's model."""
    return OF_PEFT_TYPE[model.peft_config["default"].peft_type.value]


def _replaces(declared: MethodDeclaration, name: str) -> bool:
    """Whether a tensor is another value of one that the base has, and not one that the method adds."""
    kind = declared.tensor(name)
    return kind is None or kind[0].replaces


def start_from(model: Any, folder: Path) -> None:
    """Put the saved adapter into a prepared model: training begins there.

    Raises:
        StartDiffers: it is of another configuration than the one that was prepared.
        WeightsMismatch: names or shapes are not those of the model.
    """
    tensors = read_tensors(folder / WEIGHTS)
    require_same_start(model, _config_values(folder), tensors.keys())
    require_same_keys(folder, expected=adapter_state(model), found=tensors)
    set_state(model, tensors, folder)


def require_same_start(model: Any, saved: Mapping[str, Any], tensors: Collection[str]) -> None:
    """Raise unless a saved adapter is of the configuration that a model was prepared with; no tensor is read.

    Args:
        model: that was prepared, with weights or without.
        saved: the adapter's `adapter_config.json`.
        tensors: the names of its tensors.

    Raises:
        StartDiffers: it is of another one.
        AdapterConfigRefused: see `load_adapter`.
    """
    prepared = model.peft_config["default"]
    was = config_json(_parsed_config(saved, type(prepared)), None)
    now = config_json(prepared, None)
    compared = {key for key in now if not OF_THE_BEGINNING.fullmatch(key)}
    # equal tensors are of the same modules, in whichever words a configuration names them
    if "target_modules" in compared and set(tensors) == adapter_state(model).keys():
        compared.remove("target_modules")
    for key in sorted(compared):
        if was.get(key) != now[key]:
            raise StartDiffers(key, was.get(key), now[key])


def set_state(model: Any, state: Mapping[str, Any], folder: Path) -> None:
    """Put tensors into the adapter `default`.

    Raises:
        WeightsMismatch: one has no place.
    """
    result = set_peft_model_state_dict(model, dict(state))
    # peft puts a prompt where it belongs, and then looks for its name in the base as well
    left = [name for name in result.unexpected_keys if name != "prompt_embeddings"]
    if left:
        raise WeightsMismatch(folder, f"tensor {left[0]} has no place in the model")


def config_type_of(folder: Path) -> type[PeftConfig]:
    """peft's class of the configuration in a folder, of a type that is declared.

    Raises:
        AdapterConfigRefused: it cannot be read, or its type is not known.
    """
    peft_type = _config_values(folder).get("peft_type")
    if peft_type not in OF_PEFT_TYPE or peft_type not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise AdapterConfigRefused(f"its peft_type {peft_type!r:.40} is not known here")
    config_type: type[PeftConfig] = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type]
    return config_type


def _config_values(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterConfigRefused(f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise AdapterConfigRefused("it is not a JSON object")
    return value


def read_config(folder: Path, config_type: type[PeftConfig]) -> PeftConfig:
    """The configuration in a folder, as this peft's class of one method.

    Raises:
        AdapterConfigRefused: see `load_adapter`.
    """
    return _parsed_config(_config_values(folder), config_type)


def _parsed_config(value: Mapping[str, Any], config_type: type[PeftConfig]) -> PeftConfig:
    wanted = _peft_type(config_type)
    if value.get("peft_type") != wanted:
        raise AdapterConfigRefused(f"its peft_type is not {wanted}")
    asked = [key for key in _IMPORTING_KEYS if value.get(key) and value[key] != _MEGATRON_DEFAULT]
    if asked:
        raise AdapterConfigRefused(f"its key {asked[0]} names Python modules to import")
    unknown = sorted(value.keys() - {field.name for field in fields(config_type)})
    if unknown:
        raise AdapterConfigRefused(f"this version of peft does not know its key {unknown[0]}")
    try:
        return config_type(**{key: item for key, item in value.items() if key not in _NOT_READ})
    except (TypeError, ValueError) as error:
        raise AdapterConfigRefused(f"peft refuses it: {error}") from error


def _peft_type(config_type: type[PeftConfig]) -> str:
    return next(
        str(peft_type.value) for peft_type, known in PEFT_TYPE_TO_CONFIG_MAPPING.items() if known is config_type
    )


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value
