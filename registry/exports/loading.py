"""The lines of Python that load an artifact with the libraries that everybody has, for its card."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.hub_names import COMMIT, HUB_ID
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.methods import DECLARED

_HERE = "FOLDER_OF_THIS_CARD"


@dataclass(frozen=True, slots=True)
class BaseToOpen:
    """What a loader of an adapter opens as its base: a name that it resolves, with the commit; or a digest, which it cannot."""

    name: str
    revision: str | None = None

    @classmethod
    def of(cls, base: BaseRecord) -> "BaseToOpen":
        """The id on the Hub and the commit where the base has both, else the digest of its weights."""
        name, commit = hub_id(base), base.identity.revision
        if name is not None and commit is not None and COMMIT.match(commit):
            return cls(name, commit)
        return cls(str(base.identity.weights))


def hub_id(base: BaseRecord) -> str | None:
    """The base's id on the Hub, or None where it is only the name of a file or folder."""
    source = base.origin.source
    return source if base.origin.format == "huggingface" and HUB_ID.match(source) else None


def loads_with_peft_alone(manifest: Manifest) -> bool:
    """Whether an adapter is one folder that `PeftModel.from_pretrained` loads, with nothing of ours imported."""
    return manifest.layout == "peft" and not _imported_first((manifest.method,))


def loading_code(manifest: Manifest, base: BaseRecord, methods: Collection[str | None] = ()) -> str:
    """The code block's text.

    Args:
        manifest: of the artifact.
        base: the record of the base that it needs.
        methods: of the adapters that a merge put into it.
    """
    if manifest.layout == "model":
        return (
            f'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("{_HERE}")'
        )
    own = None  # of a merge that left a part beside its weights
    quantisation = None if manifest.base is None else manifest.base.quantisation
    if any(entry.path == "model/config.json" for entry in manifest.files):
        own = f'base = AutoModelForCausalLM.from_pretrained("{_HERE}/model")'
    lines = ["import torch", "from peft import PeftModel"] if quantisation else ["from peft import PeftModel"]
    for module in _imported_first((manifest.method, *methods)):
        lines.insert(0, f"import {module}  # peft-registry: makes the method known to peft")
    lines.append(f"from transformers import AutoModelForCausalLM{', BitsAndBytesConfig' if quantisation else ''}")
    lines += ["", *(_base_lines(base, quantisation) if own is None else [own]), *_adapter_lines(manifest)]
    return "\n".join(lines)


def _imported_first(methods: Iterable[str | None]) -> tuple[str, ...]:
    """The modules that make methods known to peft, which without them cannot load their adapters."""
    declared = (DECLARED.get(name or "") for name in methods)
    modules = (None if method is None else method.imported_first for method in declared)
    return tuple(dict.fromkeys(module for module in modules if module is not None))


def _base_lines(base: BaseRecord, quantisation: str | None) -> list[str]:
    source = hub_id(base) or "FOLDER_OF_THE_BASE"
    pinned = hub_id(base) is not None and COMMIT.match(base.identity.revision or "")
    arguments = f'"{source}"' + (f', revision="{base.identity.revision}"' if pinned else "")
    if quantisation is None:
        return [f"base = AutoModelForCausalLM.from_pretrained({arguments})"]
    kind, _, double = quantisation.partition(", ")  # as the trainer's `describe` writes it
    return [
        "# made on, and scored with, the base in 4 bits; on the original base it is another model",
        f'bits = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="{kind}", '
        f"bnb_4bit_use_double_quant={bool(double)}, bnb_4bit_compute_dtype=torch.float32)",
        f"base = AutoModelForCausalLM.from_pretrained({arguments}, dtype=torch.float32, quantization_config=bits, "
        'device_map={"": "cpu"})',
        "for layer in base.modules():  # on CPUs with AVX-512 the library would repack the weights, and lose bits",
        '    if hasattr(layer, "support_avx512bf16_for_cpu"):',
        "        layer.support_avx512bf16_for_cpu = False",
    ]


def _adapter_lines(manifest: Manifest) -> list[str]:
    if manifest.layout == "bundle" and manifest.method == "merge":
        return [f'model = PeftModel.from_pretrained(base, "{_HERE}/adapters/00")']
    if manifest.layout == "bundle":
        return [
            f'adapted = PeftModel.from_pretrained(base, "{_HERE}/lora")',
            f'model = PeftModel.from_pretrained(adapted.base_model.model, "{_HERE}/prompt")',
        ]
    return [f'model = PeftModel.from_pretrained(base, "{_HERE}")']
