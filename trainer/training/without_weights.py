"""A method on a base without weights: what it refuses of the layers is known before the weights, which may be large, are read."""

from pathlib import Path
from typing import Any

from peft_registry.schemas.config import TrainingFile
from peft_registry.trainer.methods import implementation


def prepared_without_weights(base_folder: Path, config: TrainingFile) -> Any | None:
    """The model on torch's meta device as the file's method prepares it for training.

    Args:
        base_folder: has the configuration of the base; its weights may be missing.
        config: the training file.

    Returns:
        None where that needs weights: then they have to be read for what the method says of the base.

    Raises:
        InputRefused: the method refuses the layers that the file names.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from peft_registry.trainer.methods.peft_io import BaseNotAdaptable

    method = implementation(config.method)
    # what follows is drawn as if nothing had been tried
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        try:
            hf_config = AutoConfig.from_pretrained(base_folder, local_files_only=True, trust_remote_code=False)
            base = AutoModelForCausalLM.from_config(hf_config, trust_remote_code=False)
            return method.prepare(base, config, seed=0)
        except BaseNotAdaptable:  # peft may have wanted a weight
            return None
        # code of an architecture that reads values from tensors that have none fails where it uses them
        except (OSError, RuntimeError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError):
            return None
