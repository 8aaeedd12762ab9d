"""An adapter folder of peft, read without peft: configuration, and where each tensor lies. What is not understood is refused.

Foldable are LoRA with its variants rsLoRA and DoRA, rank and alpha patterns, biases, saved modules, trained tokens and
fused experts, and IA3. Everything that would change what the tensors mean (another initialisation that moved the base,
replicated layers, block-diagonal factors …) is refused by the name of its key.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.schemas.codes import Code
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.methods import OF_PEFT_TYPE
from peft_registry.trainer.merge.tensors import StoredTensor, stored_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# initialisations that take part of the base into the factors: the saved factors belong to another base than the pristine one
_MOVED_BASE = re.compile(r"(?:pissa|olora|corda|loftq|lora_ga)", re.IGNORECASE)
# keys of LoraConfig that change the meaning of the factors in ways that are not implemented here
_NOT_UNDERSTOOD = (
    *("layer_replication", "megatron_config", "use_qalora", "alora_invocation_tokens", "use_bdlora", "arrow_config"),
    *("kasa_config", "velora_config", "monteclora_config", "auto_mapping"),
)


class AdapterNotRead(IntegrityBroken):
    what = "{folder.name} cannot be read as an adapter"
    why = "{reason}"
    fix = "use a folder that peft saved with safetensors; `registry verify` says whether it is whole"

    folder: Path
    reason: str


class AdapterOptionRefused(InputRefused):
    what = "an adapter with {key} cannot be merged"
    why = "{reason}"
    fix = "{remedy}"

    key: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """A folder's configuration, and its tensors under their names without peft's prefix."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]

    @property
    def peft_type(self) -> str:
        return str(self.config.get("peft_type"))

    @property
    def why_not_folded(self) -> str | None:
        """Why this adapter is not folded into weights here; None for one that is. Not a fact about the adapter."""
        method = OF_PEFT_TYPE.get(self.peft_type)
        return f"{self.peft_type} is not known here" if method is None else method.why_not_folded

    @property
    def no_weight(self) -> Code | None:
        """Why it changes no weight of the base; None where it changes some, or its type is unknown."""
        method = OF_PEFT_TYPE.get(self.peft_type)
        return None if method is None else method.no_weight

    @property
    def parameters(self) -> int:
        """How many numbers its file holds, learned or drawn."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def rank(self, key: str) -> int:
        """r of a module or parameter, its pattern first."""
        return int(self._of_pattern("rank_pattern", key, self.config.get("r", 8)))

    def scale(self, key: str) -> float:
        """s = alpha/r, or alpha/√r for rsLoRA, of a module or parameter."""
        alpha = float(self._of_pattern("alpha_pattern", key, self.config.get("lora_alpha", 8)))
        rank = self.rank(key)
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def _of_pattern(self, name: str, key: str, default: Any) -> Any:
        for pattern, value in (self.config.get(name) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", key):  # peft's own rule (peft.utils.other.get_pattern_key)
                return value
        return default


def read_adapter(folder: Path) -> Adapter:
    """The adapter in a folder.

    Raises:
        AdapterNotRead: no configuration, no weights, or malformed ones.
        AdapterOptionRefused: a key that gives the factors another meaning.
    """
    try:
        config = json.loads(read_file(folder / CONFIG, max_bytes=CONFIG_MAX_BYTES))
    except ValueError as error:
        raise AdapterNotRead(folder, f"{CONFIG} is not JSON") from error
    if not isinstance(config, dict):
        raise AdapterNotRead(folder, f"{CONFIG} is not a JSON object")
    _check_options(config)
    tensors = {}
    for tensor in stored_tensors(folder / WEIGHTS):
        tensors[tensor.name.removeprefix("base_model.model.")] = tensor
    return Adapter(folder, config, tensors)


def _check_options(config: Mapping[str, Any]) -> None:
    init = config.get("init_lora_weights")
    if isinstance(init, str) and _MOVED_BASE.match(init):
        raise AdapterOptionRefused(
            f"init_lora_weights: {init}",
            "its factors belong to the residual that this initialisation left in the base, not to the base",
            "save it again as plain LoRA (peft: save_pretrained with path_initial_model_for_weight_conversion)",
        )
    for key in _NOT_UNDERSTOOD:
        if config.get(key):
            raise AdapterOptionRefused(key, "it gives the factors another meaning", "train without it")
