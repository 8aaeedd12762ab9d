"""Which tool wrote a folder, told by what that tool leaves in it. It decides nothing but where the settings come from."""

from collections.abc import Mapping
from typing import Any

from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.imports.settings import FolderSettings
from peft_registry.schemas.imports import Producer

_LLAMA_FACTORY_FILES = ("llamaboard_config.yaml", "trainer_log.jsonl")
_TRL_TAGS = frozenset({"sft", "dpo", "kto", "orpo", "grpo", "cpo", "gkd", "rloo", "online-dpo"})


def producer_of(
    offered: OfferedFolder, settings: FolderSettings, adapter_config: Mapping[str, Any] | None
) -> tuple[Producer, str]:
    """The tool and what says so; the most particular one first: most of them stand on peft and on transformers' trainer.

    Args:
        settings: what the files of the folder say.
        adapter_config: its values; None for a whole model.
    """
    paths = {file.path for file in (*offered.model_files, *offered.beside)}
    tags = set(settings.card_tags)
    mapping = (adapter_config or {}).get("auto_mapping")
    is_fixed = isinstance(mapping, dict) and bool(mapping.get("unsloth_fixed"))
    named = str((adapter_config or {}).get("base_model_name_or_path") or "").lower()
    signs: tuple[tuple[Producer, str | None], ...] = (
        (
            "axolotl",
            _first(
                ("the card's tag axolotl", "axolotl" in tags),
                ("the axolotl config in the card", _by(settings, "axolotl config")),
            ),
        ),
        (
            "llama-factory",
            _first(
                ("the card's tag llama-factory", "llama-factory" in tags),
                *((name, name in paths) for name in _LLAMA_FACTORY_FILES),
                ("finetuning_type in a file beside it", _by(settings, "finetuning_type")),
            ),
        ),
        (
            "unsloth",
            _first(
                ("the card's tag unsloth", "unsloth" in tags),
                ("unsloth_fixed in adapter_config.json", is_fixed),
                ("the name of the base in adapter_config.json", named.startswith("unsloth/")),
            ),
        ),
        (
            "trl",
            _first(
                ("the card's tag trl", "trl" in tags),
                ("the version of TRL in the card", "libraries.trl" in settings.by_name),
                ("the card's tag of an objective of TRL", bool(tags & _TRL_TAGS)),
            ),
        ),
        ("peft", _first(("adapter_config.json with a peft_type", adapter_config is not None))),
    )
    for producer, sign in signs:
        if sign is not None:
            return producer, sign
    return "transformers", "config.json beside the weights"


def _first(*signs: tuple[str, bool]) -> str | None:
    return next((text for text, holds in signs if holds), None)


def _by(settings: FolderSettings, mark: str) -> bool:
    return any(mark in (value.method or "") for value in settings.by_name.values())
