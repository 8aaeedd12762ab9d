"""Prompt tuning and LoRA trained together, kept as two standard peft folders of one artifact: `lora` and `prompt`.

The prompt is put around the base's own model object, into which LoRA layers were put before. Around peft's LoRA model it
would train and reload too, and `generate` would silently leave the prompt out.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PromptTuningConfig

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods.hybrid import LORA_FOLDER, PROMPT_FOLDER, HybridBlock
from peft_registry.schemas.methods.prompt_tuning import PromptTuningBlock
from peft_registry.trainer.methods import lora, prompt_tuning
from peft_registry.trainer.methods.peft_io import load_adapter, save_adapter


class Hybrid(torch.nn.Module):
    """Both parts as one model: `prompted` (peft's, with the prompt) around what `adapted` (peft's, with LoRA) holds."""

    adapted: Any  # peft's models
    prompted: Any

    def __init__(self, adapted: Any, prompted: Any) -> None:
        super().__init__()
        self.prompted = prompted
        # not a submodule of its own: every parameter is found once, through the prompt's model
        object.__setattr__(self, "adapted", adapted)

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """As the base's; logits have the virtual positions in front."""
        return self.prompted(*arguments, **options)

    def generate(self, *arguments: Any, **options: Any) -> Any:
        """Token ids, prompt and LoRA in force."""
        return self.prompted.generate(*arguments, **options)

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Inside, the base answers: neither prompt nor LoRA."""
        with self.prompted.disable_adapter(), self.adapted.disable_adapter():
            yield

    def get_base_model(self) -> Any:
        """The base's model object, with the LoRA layers in it."""
        return self.prompted.get_base_model()

    def get_output_embeddings(self) -> Any:
        """The output head."""
        return self.get_base_model().get_output_embeddings()

    def get_input_embeddings(self) -> Any:
        """The embeddings of the base."""
        return self.get_base_model().get_input_embeddings()

    def unload(self) -> Any:
        """The base again, as it was, without either part."""
        return self.adapted.unload()

    @property
    def adapter_parts(self) -> tuple[Any, Any]:
        """peft's models of both parts."""
        return self.adapted, self.prompted

    @property
    def active_peft_config(self) -> Any:
        """That of the part that lies in the base's layers: who takes the model apart asks for it."""
        return self.adapted.active_peft_config

    @property
    def config(self) -> Any:
        """The base's configuration."""
        return self.prompted.config

    @property
    def device(self) -> Any:
        """Where the base is."""
        return self.prompted.device

    @property
    def peft_config(self) -> Any:
        """That of the prompt, by which scoring finds virtual tokens."""
        return self.prompted.peft_config


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with LoRA layers and a prompt in front; both trainable.

    Raises:
        KnownError: as `peft_registry.trainer.methods.lora.prepare`.
    """
    adapted = lora.prepare(model, config, seed=seed)
    learning = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    with _second_time():
        prompted = prompt_tuning.with_prompt(adapted.base_model.model, config.block(PromptTuningBlock), seed=seed)
    for parameter in learning:
        parameter.requires_grad_(True)  # peft froze them with the rest
    return Hybrid(adapted, prompted)


def initialise(model: Any, config: TrainingFile, tokenizer: Any) -> None:
    """As `peft_registry.trainer.methods.prompt_tuning.initialise`."""
    prompt_tuning.initialise(model.prompted, config, tokenizer)


def unwrap(model: Any) -> Any:
    """The base again, as it was."""
    return model.unload()


def optimizer(model: Any, config: TrainingFile) -> torch.optim.Optimizer:
    """AdamW with the prompt in a group of its own: embeddings learn at another rate than factors of weights."""
    prompt = list(model.prompted.prompt_encoder.parameters())
    ours = {id(parameter) for parameter in prompt}
    factors = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in ours]
    training = config.training
    groups = [
        {"params": factors, "lr": training.learning_rate, "weight_decay": training.weight_decay},
        {"params": prompt, "lr": config.block(HybridBlock).prompt_learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups)


def optimizer_name(config: TrainingFile) -> str:
    """With the rate of the embeddings; that of the factors is the file's own."""
    return f"AdamW, learning rate of the prompt {config.block(HybridBlock).prompt_learning_rate:g}"


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write `lora` and `prompt`, each a folder as peft writes them."""
    for name in (LORA_FOLDER, PROMPT_FOLDER):
        (folder / name).mkdir()
    lora.save(model.adapted, folder / LORA_FOLDER, base=base)
    save_adapter(model.prompted, folder / PROMPT_FOLDER, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base with both parts, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`, of either part.
    """
    adapted = load_adapter(base_model, folder / LORA_FOLDER, LoraConfig)
    with _second_time():
        prompted = load_adapter(adapted.base_model.model, folder / PROMPT_FOLDER, PromptTuningConfig)
    return Hybrid(adapted, prompted).eval()


@contextmanager
def _second_time() -> Iterator[None]:
    """Peft warns that the model has layers of an adapter already: that is the point."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*second time", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*Already found a `peft_config`", category=UserWarning)
        yield
