"""What vLLM refuses of an adapter before it is served, by its configuration and the names and shapes of its tensors.

vLLM refuses an adapter when a request names it; this check refuses it before a server is started. The rules are those of vLLM 0.33:
`validate_legal` of vllm/lora/peft_helper.py, `parse_fine_tuned_lora_name` of vllm/lora/utils.py, `from_local_checkpoint` of
vllm/lora/lora_model.py, and the ranks of vllm/config/lora.py. Which modules of an architecture are linear layers in vLLM is its
own affair; a module is held here against the base that is registered.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.identity.weights import Tensor
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.errors import IntegrityBroken, KnownError, Refused
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.methods import DECLARED

WEIGHTS_NAME = "adapter_model.safetensors"
DEFAULT_MAX_RANK = 16  # of `vllm serve` without --max-lora-rank
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that --max-lora-rank takes
MAX_RANK = RANKS[-1]

_PREFIX = "base_model.model."
_LOW_RANK = re.compile(r"(?P<module>.+)\.(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedded>[AB]))\Z")
# of whole models with a head for classes; the only modules that are taken whole
_HEADS = ("score", "classifier")
_HEAD_TENSOR = re.compile(r"(?:.+\.)?(?:score|classifier)\.(?:weight|bias)\Z")
# copies of the base's embeddings, which vLLM passes over
_COPIES_OF_THE_BASE = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
# these give the factors their first values; every other one changes the base when peft loads the adapter
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_SAVE_AGAIN = "save the adapter again with peft, or copy it again whole, and import it"
_MERGE = "merge it into its base with `registry merge`, and serve the result as a model"


@dataclass(frozen=True, slots=True)
class _Feature:
    """A setting of peft that vLLM refuses where it is set, and what it is."""

    key: str
    name: str
    reason: str = "vLLM does not compute it"


_FEATURES = (
    _Feature("use_dora", "DoRA"),
    _Feature("lora_bias", "a bias on its low-rank factors"),
    _Feature("alora_invocation_tokens", "activation by tokens (aLoRA)"),
    _Feature("layer_replication", "layers that stand several times"),
    _Feature("use_bdlora", "block-diagonal factors"),
    _Feature("use_qalora", "QA-LoRA"),
    _Feature("trainable_token_indices", "tokens with vectors of their own", "vLLM has no place for them"),
)


def _first_of(noun: str, count: int, first: str) -> str:
    """How a sentence names some tensors or modules: the only one, or their number and the first."""
    return f"the {noun} {first!a}" if count == 1 else f"{count} {noun}s, the first is {first!a},"


class NotALora(Refused):
    reference = "vllm-not-a-lora"
    what = "vLLM cannot add {label} to a base that it serves"
    why = "it is {form}, and vLLM adds adapters of LoRA alone"
    fix = "{remedy}"

    label: str
    form: str
    remedy: str


class RankTooHigh(Refused):
    reference = "vllm-rank"
    what = "{label} has the rank {rank}, and the server takes at most {limit}"
    why = "vLLM makes room for one rank when it starts"
    fix = "{remedy}"

    label: str
    rank: int
    limit: int

    @property
    def remedy(self) -> str:
        next_rank = next((rank for rank in RANKS if rank >= self.rank), None)
        if next_rank is None:
            return f"train with lora.r={MAX_RANK} or less, or {_MERGE}"
        return f"start it with --max-lora-rank {next_rank}"


class SettingNotStated(Refused):
    reference = "vllm-setting-not-stated"
    what = "the configuration of {label} does not say what vLLM computes with"
    why = "{reason}"
    fix = _SAVE_AGAIN

    label: str
    reason: str


class FeatureNotServed(Refused):
    reference = "vllm-feature"
    what = "{label} uses {feature}"
    why = "{reason}"
    fix = f"train without it, or {_MERGE}"

    label: str
    feature: str
    reason: str


class TensorsWithoutPlace(Refused):
    reference = "vllm-tensors"
    what = "vLLM has no place for {tensors} of {label}"
    why = "it reads low-rank factors under the names that peft gives them, and nothing else"
    fix = f"train with target modules that are linear layers, or {_MERGE}"

    label: str
    count: int
    first: str

    @property
    def tensors(self) -> str:
        return _first_of("tensor", self.count, self.first)


class FactorMissing(Refused):
    reference = "vllm-factor-missing"
    what = "of {modules} of {label} one low-rank factor is there, and the other is not"
    why = "what is added is the product of two factors: the weights were not saved to their end, or were cut"
    fix = _SAVE_AGAIN

    label: str
    count: int
    first: str

    @property
    def modules(self) -> str:
        return _first_of("module", self.count, self.first)


class NoFactors(Refused):
    reference = "vllm-no-factors"
    what = "there is no low-rank factor among the weights of {label}"
    why = "its configuration says LoRA, and no tensor has a name that peft gives to one"
    fix = _SAVE_AGAIN

    label: str


class ModulesWithoutPlace(Refused):
    reference = "vllm-modules"
    what = "vLLM has no place for the factors on {modules} of {label}"
    why = "it adds low-rank factors to linear layers and embeddings, and in the base that is neither"
    fix = f"train with target modules that are linear layers, or {_MERGE}"

    label: str
    count: int
    first: str

    @property
    def modules(self) -> str:
        return _first_of("module", self.count, self.first)


class ServedBaseDiffers(IntegrityBroken):
    what = "{label} is not an adapter of the base that is served"
    why = "its {part} is {served}, and the adapter was made on {registered}"
    fix = "serve the base that `registry show` names, at its commit; `registry pull` writes it"

    label: str
    part: str
    served: object
    registered: object


def require_served_base(label: str, registered: BaseIdentity, served: BaseIdentity) -> None:
    """Raise unless the base that is served is the one that the adapter was made on.

    Raises:
        ServedBaseDiffers: names the first part that differs.
    """
    for part in ("weights", "config", "tokenizer"):
        registered_digest = getattr(registered, part)
        served_digest = getattr(served, part)
        if registered_digest != served_digest:
            raise ServedBaseDiffers(label, part, served_digest, registered_digest)


def serving_problems(
    label: str,
    manifest: Manifest,
    config: Mapping[str, Any] | None,
    tensors: Iterable[Tensor],
    *,
    max_rank: int = DEFAULT_MAX_RANK,
    base: Iterable[Tensor] | None = None,
) -> tuple[KnownError, ...]:
    """Everything for which vLLM would refuse a version, in the order in which it looks; empty where it would not.

    Args:
        label: how a person calls the version.
        manifest: of the version.
        config: its `adapter_config.json`; None where it has none.
        tensors: of its weights.
        max_rank: what the server is started with.
        base: the tensors of its base, to see whether each module is there and of two dimensions; None to leave that out.
    """
    if config is None or config.get("peft_type") != "LORA" or manifest.layout != "peft":
        return (_not_a_lora(label, manifest),)
    adapter_tensors = tuple(tensors)
    return (
        *_rank_problems(label, config, adapter_tensors, max_rank),
        *_feature_problems(label, config),
        *_tensor_problems(label, adapter_tensors, base),
    )


def _not_a_lora(label: str, manifest: Manifest) -> NotALora:
    if manifest.layout == "model":
        return NotALora(label, "a whole model", "pull it, and give its folder to `vllm serve`")
    form = "several adapters in one" if manifest.layout == "bundle" else f"an adapter of the method {manifest.method}"
    method = DECLARED.get(manifest.method or "")
    mergeable = manifest.method == "merge" or (method is not None and method.folds)
    remedy = (
        _MERGE
        if mergeable
        else "serve it with peft; `registry pull --with-base` writes a folder that loads by its path"
    )
    return NotALora(label, form, remedy)


def _rank_problems(
    label: str, config: Mapping[str, Any], tensors: tuple[Tensor, ...], limit: int
) -> Iterator[KnownError]:
    rank = config.get("r")
    alpha = config.get("lora_alpha")
    targets = config.get("target_modules")
    if not _is_count(rank):
        yield SettingNotStated(label, f"its `r` is {rank!r:.40}, which is not a positive whole number")
        return
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        yield SettingNotStated(label, f"its `lora_alpha` is {alpha!r:.40}, which is not a number")
    if not isinstance(targets, str | list):
        yield SettingNotStated(label, "it names no `target_modules`")
    pattern = config.get("rank_pattern") or {}
    ranks = pattern.values() if isinstance(pattern, dict) else ()
    if not all(_is_count(value) for value in ranks):
        yield SettingNotStated(label, "its `rank_pattern` has a rank that is not a positive whole number")
        return
    # what the factors are decides, whatever the configuration says
    factor_ranks = (_rank_of(tensor) for tensor in tensors)
    highest = max([rank, *ranks, *(value for value in factor_ranks if value is not None)])
    if highest > limit:
        yield RankTooHigh(label, highest, limit)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _rank_of(tensor: Tensor) -> int | None:
    match = _LOW_RANK.match(tensor.name)
    is_first = match is not None and "A" in (match["side"], match["embedded"])
    return tensor.shape[0] if is_first and tensor.shape else None


def _feature_problems(label: str, config: Mapping[str, Any]) -> Iterator[KnownError]:
    for feature in _FEATURES:
        if config.get(feature.key):
            yield FeatureNotServed(label, f"{feature.name} (`{feature.key}`)", feature.reason)
    if config.get("bias", "none") != "none":
        yield FeatureNotServed(label, "biases that were trained (`bias`)", "vLLM adds low-rank factors alone")
    saved_modules = config.get("modules_to_save") or ()
    replaced_modules = [str(module) for module in saved_modules if module not in _HEADS]
    if replaced_modules:
        reason = "vLLM adds low-rank factors to modules, and replaces none but a head for classes"
        yield FeatureNotServed(
            label, f"modules that were trained whole (`modules_to_save`: {', '.join(replaced_modules)})", reason
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        reason = "peft changes the base's weights when it loads such an adapter, and vLLM does not"
        yield FeatureNotServed(label, f"a start that changes the base (`init_lora_weights`: {start})", reason)


def _tensor_problems(label: str, tensors: tuple[Tensor, ...], base: Iterable[Tensor] | None) -> Iterator[KnownError]:
    sides: dict[str, set[str]] = {}
    unknown_names = []
    for tensor in tensors:
        match = _LOW_RANK.match(tensor.name)
        if match is not None:
            sides.setdefault(match["module"], set()).add(match["side"] or match["embedded"])
        elif not tensor.name.endswith(_COPIES_OF_THE_BASE) and not _HEAD_TENSOR.match(tensor.name):
            unknown_names.append(tensor.name)
    if unknown_names:
        yield TensorsWithoutPlace(label, len(unknown_names), unknown_names[0])
    incomplete_modules = sorted(module for module, factors in sides.items() if len(factors) < 2)
    if incomplete_modules:
        yield FactorMissing(label, len(incomplete_modules), incomplete_modules[0])
    if not sides:
        yield NoFactors(label)
    if base is not None:
        yield from _module_problems(label, sides, base)


def _module_problems(label: str, modules: Iterable[str], base: Iterable[Tensor]) -> Iterator[KnownError]:
    """Modules that are not linear layers or embeddings of the base. Experts, which some libraries fuse, are left out."""
    shapes = {tensor.name: tensor.shape for tensor in base}
    other_modules = []
    for module in modules:
        shape = shapes.get(f"{module.removeprefix(_PREFIX)}.weight")
        if shape is not None and len(shape) != 2:
            other_modules.append(module)
    if other_modules:
        yield ModulesWithoutPlace(label, len(other_modules), other_modules[0])
