"""`adapter_config.json` as peft writes it, read without peft: what it says, and what it may not say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.intake.json import MalformedInput, read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES, CodeRefused, refuse_code_in_config
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import OF_PEFT_TYPE
from peft_registry.schemas.methods.declaration import MethodDeclaration
from peft_registry.schemas.methods.loaded import NOT_LOADED

FILE_NAME = "adapter_config.json"
# peft imports the module that these name
_OWN_LIBRARY = "transformers"
_MEGATRON_DEFAULT = "megatron.core"  # in every LoRA configuration; nothing is imported without `megatron_config`


_NOT_DECLARED = "nothing is known here of such a type: which tensors it has, and what they do"


class AdapterTypeUnknown(InputRefused):
    what = "adapters of the type {peft_type!q} cannot be imported"
    why = "{reason}"
    fix = "merge it into its base with the tool that made it, and import the merged model"

    peft_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeftConfig:
    """The configuration of one adapter. `values` is the whole object, as it was read."""

    values: Mapping[str, Any]
    method: MethodDeclaration

    @property
    def base(self) -> str | None:
        """What it calls its base: an id on the Hub, a path, or a digest."""
        named = self.values.get("base_model_name_or_path")
        return named if isinstance(named, str) and named.strip() else None

    @property
    def revision(self) -> str | None:
        """The revision of the base, as whoever trained stated it; peft itself writes none."""
        revision = self.values.get("revision")
        return revision if isinstance(revision, str) and revision.strip() else None

    @property
    def saved_modules(self) -> tuple[str, ...]:
        """Modules of the base that were trained whole and are saved with the adapter."""
        modules = self.values.get("modules_to_save")
        return tuple(str(module) for module in modules) if isinstance(modules, list) else ()


def read_peft_config(data: bytes) -> PeftConfig:
    """The configuration in these bytes.

    Raises:
        MalformedInput: not strict JSON, or not an object with a `peft_type`.
        CodeRefused: it makes peft or transformers import a module that is not of transformers.
        SecretRefused: a value looks like a secret.
        AdapterTypeUnknown: its type is not declared here.
    """
    value = read_json(data, what=FILE_NAME, max_bytes=CONFIG_MAX_BYTES, family="intake")
    if not isinstance(value, dict):
        raise MalformedInput(FILE_NAME, "it is JSON, but not an object")
    peft_type = value.get("peft_type")
    if not isinstance(peft_type, str):
        raise MalformedInput(FILE_NAME, "it has no `peft_type`, which every adapter of peft has")
    _refuse_imports(value)
    require_no_secrets(value, what=FILE_NAME)
    method = OF_PEFT_TYPE.get(peft_type)
    if method is None:
        raise AdapterTypeUnknown(peft_type, NOT_LOADED.get(peft_type, _NOT_DECLARED))
    _refuse_what_opens(value, method)
    return PeftConfig(value, method)


def _refuse_what_opens(value: Mapping[str, Any], method: MethodDeclaration) -> None:
    for key, harmless in method.opens_nothing_with.items():
        if value.get(key, harmless) != harmless:
            raise CodeRefused(
                FILE_NAME, f"its key `{key}` names something else that peft would open: {value[key]!r:.80}"
            )


def _refuse_imports(value: Mapping[str, Any]) -> None:
    refuse_code_in_config(FILE_NAME, value)
    mapping = value.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    if library is not None and str(library).partition(".")[0] != _OWN_LIBRARY:
        raise CodeRefused(FILE_NAME, f"its key `auto_mapping` names the Python module {str(library)[:80]!a}")
    if value.get("megatron_config"):
        raise CodeRefused(
            FILE_NAME, "its key `megatron_config` makes peft import the module that `megatron_core` names"
        )
    if value.get("megatron_core") not in (None, _MEGATRON_DEFAULT):
        raise CodeRefused(FILE_NAME, "its key `megatron_core` names a Python module that peft would import")
