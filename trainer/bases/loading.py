"""Loading a base from its folder of safetensors. Remote code is never run."""

from pathlib import Path
from typing import Any

from peft_registry.registry.intake.safetensors import read_header
from peft_registry.schemas.config import OffloadBlock, QuantizationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.bases.architecture import require_quantizable
from peft_registry.trainer.bases.foreign_errors import bare_exceptions_as_values, first_line
from peft_registry.trainer.bases.offload import forget_shared_addresses
from peft_registry.trainer.bases.offload import loading_arguments as offloading_arguments
from peft_registry.trainer.bases.quantization import keep_gradients, loading_arguments
from peft_registry.trainer.data.tokenize import require_embedding
from peft_registry.trainer.machine.environment import Dtype, place_of

_MAX_NAMED = 3  # tensors named in one error


class BaseWeightsIncomplete(InputRefused):
    what = "the weights in {folder.name} do not fill the model that its config.json describes"
    why = "they lack {missing}; those would start as random numbers"
    fix = "fetch the whole model again"

    folder: Path
    names: tuple[str, ...]

    @property
    def missing(self) -> str:
        count = len(self.names) - _MAX_NAMED
        return ", ".join(self.names[:_MAX_NAMED]) + (f" and {count} more" if count > 0 else "")


class BaseNotLoadable(InputRefused):
    what = "the {part} in {folder.name} cannot be loaded"
    why = "{reason}"
    fix = "use a causal language model whose architecture the installed transformers has built in"

    folder: Path
    part: str
    reason: str


def load_base(
    folder: Path,
    *,
    dtype: Dtype,
    device: str,
    quantization: QuantizationBlock | None = None,
    offload: OffloadBlock | None = None,
    scratch: Path | None = None,
    over_gpus: bool = False,
) -> tuple[Any, Any]:
    """(model, tokenizer) from a folder, in evaluation mode on `device`; no network, no remote code, no pickle.

    With `quantization` the linear layers are quantized while loading, and `dtype` is that of everything else and of the
    products; with `over_gpus` its blocks are on all GPUs. With `offload` blocks stay out, and what must be written for that goes
    into a folder in `scratch`. The caller compares the files' states before hashing and after this, with `offload` also once the
    model is no longer used.

    Raises:
        BaseNotLoadable: transformers does not know the architecture, or the configuration contradicts the weights.
        BaseWeightsIncomplete: a tensor of the model is not in the files.
        ArchitectureNotQuantizable: it cannot be used in 4 bits.
        QuantizationUnavailable: of `trainer/bases/quantization.py`.
        OffloadRefused: of `trainer/bases/offload.py`.

    The model raises TokenWithoutEmbedding where a text has a token that it has no embedding for.
    """
    model = load_model(
        folder,
        dtype=dtype,
        device=device,
        quantization=quantization,
        offload=offload,
        scratch=scratch,
        over_gpus=over_gpus,
    )
    tokenizer = load_tokenizer(folder)
    refuse_tokens_without_embedding(model, tokenizer)
    return model, tokenizer


def load_model(
    folder: Path,
    *,
    dtype: Dtype,
    device: str,
    quantization: QuantizationBlock | None = None,
    offload: OffloadBlock | None = None,
    scratch: Path | None = None,
    over_gpus: bool = False,
) -> Any:
    """The model alone: what was trained of a base is used with the tokenizer of its base, and need not hold one.

    Raises:
        As `load_base`.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    if quantization is not None:
        require_quantizable(folder)
    extra = placed_at_once(device)
    if quantization is not None:
        extra = loading_arguments(quantization, dtype=dtype, device=device, over_gpus=over_gpus)
    try:
        if offload is not None:
            assert scratch is not None, "what is offloaded may have to be written"
            extra = offloading_arguments(folder, offload, dtype=dtype, device=device, scratch=scratch)
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[dtype],
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BaseNotLoadable(folder, "model", first_line(error, folder, shown=folder.name)) from error
    missing = (*sorted(report["missing_keys"]), *sorted(str(item[0]) for item in report["mismatched_keys"]))
    if missing:
        raise BaseWeightsIncomplete(folder, missing)
    keep_gradients(model)
    if offload is not None:
        forget_shared_addresses(model)
    return (model if extra else model.to(device)).eval()


def placed_at_once(device: str) -> dict[str, Any]:
    """What `from_pretrained` needs besides, so that each weight goes to a GPU as it is read: whole in main memory first, a base
    would need as much of that. A processor computes with the weights where they are."""
    return {"device_map": {"": place_of(device)}} if device.startswith("cuda") else {}


def refuse_tokens_without_embedding(model: Any, tokenizer: Any) -> None:
    """Let the model raise TokenWithoutEmbedding for a token that it has no embedding for: torch would name an index."""
    embeddings = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if len(tokenizer) <= rows:
        return  # as of nearly every base; looking at each pass would hold a GPU up

    def look(_: Any, inputs: tuple[Any, ...]) -> None:
        require_embedding(int(inputs[0].max()), rows=rows, subject="a text", tokenizer=tokenizer)

    embeddings.register_forward_pre_hook(look)


def held_dtype(folder: Path) -> Dtype:
    """The narrowest number format that holds every weight of a base as its files do: bf16 where they hold nothing else."""
    spans = [span for file in folder.glob("*.safetensors") for span in read_header(file.resolve()).tensors]
    floating = {span.dtype for span in spans} & {"F64", "F32", "F16", "BF16"}
    return "bf16" if floating == {"BF16"} else "fp32"


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder; no network, no remote code.

    Raises:
        BaseNotLoadable: the files do not make a tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        with bare_exceptions_as_values():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaseNotLoadable(folder, "tokenizer", first_line(error, folder, shown=folder.name)) from error
