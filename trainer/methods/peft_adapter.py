"""Adapters of which peft's own entry points do all: any type that is declared and has no file of its own here."""

from pathlib import Path
from typing import Any

from peft_registry.trainer.methods.peft_io import config_type_of, load_adapter


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, config_type_of(folder))
