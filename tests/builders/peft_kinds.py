"""An adapter of every type that peft writes, on the embedded base: its folder, and what its own model answers."""

import warnings
from pathlib import Path
from typing import Any

_ATTENTION = {"target_modules": ["q_proj", "v_proj"]}
_TOKENS = {"num_virtual_tokens": 4}
# settings that fit the embedded base, by type
KINDS: dict[str, dict[str, Any]] = {
    "ADALORA": _ATTENTION | {"total_step": 10},
    "ADAMSS": _ATTENTION,
    "ADAPTION_PROMPT": {"adapter_len": 4, "adapter_layers": 2},
    "BEFT": _ATTENTION,
    "BOFT": _ATTENTION,
    "C3A": _ATTENTION | {"block_size": 32},
    "CARTRIDGE": _TOKENS,
    "CPT": {"cpt_token_ids": [1, 2, 3], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 3]},
    "DEFT": _ATTENTION,
    "DELORA": _ATTENTION,
    "FOURIERFT": _ATTENTION | {"n_frequency": 50},
    "FROD": _ATTENTION,
    "GLORA": _ATTENTION,
    "GRALORA": _ATTENTION | {"hybrid_r": 8},
    "HIRA": _ATTENTION,
    "HRA": _ATTENTION,
    "IA3": {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]},
    "LILY": _ATTENTION,
    "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "LOHA": _ATTENTION,
    "LOKR": _ATTENTION,
    "LORA": _ATTENTION,
    "MISS": _ATTENTION,
    "OFT": _ATTENTION,
    "OSF": _ATTENTION,
    "P_TUNING": _TOKENS,
    "PEANUT": _ATTENTION | {"depth": 2},
    "PREFIX_TUNING": _TOKENS,
    "PROMPT_TUNING": _TOKENS,
    "PSOFT": _ATTENTION,
    "PVERA": _ATTENTION,
    "RANDLORA": _ATTENTION,
    "ROAD": _ATTENTION,
    "SHADOW": {},
    "SHIRA": _ATTENTION | {"random_seed": 1},
    "SUPERTUNING": _ATTENTION | {"r": 4, "lora_alpha": 8},
    "TINYLORA": _ATTENTION,
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [9, 12]},
    "UNILORA": _ATTENTION | {"save_indices": True},
    "VBLORA": _ATTENTION | {"vector_length": 32, "num_vectors": 16},
    "VERA": _ATTENTION,
    "WAVEFT": _ATTENTION,
}


def an_answer(model: Any) -> Any:
    """The logits of fixed texts; those of virtual positions are cut off."""
    import torch

    ids = torch.arange(5, 45).reshape(2, 20)
    with torch.no_grad():
        logits = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits[:, -ids.shape[1] :]


def the_base() -> Any:
    """The embedded base, loaded anew."""
    from transformers import AutoModelForCausalLM

    from peft_registry.trainer.embedded import embedded_base

    return AutoModelForCausalLM.from_pretrained(embedded_base())


def written_by_peft(folder: Path, peft_type: str) -> Any:
    """Make an adapter of a type on the embedded base, move what it trains at random, and save it; returns what it answers."""
    import torch
    from peft import get_peft_model
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft about its own types
        config = PEFT_TYPE_TO_CONFIG_MAPPING[peft_type](task_type="CAUSAL_LM", **KINDS[peft_type])
        model = get_peft_model(the_base(), config)
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(folder)
    return an_answer(model)
