"""What a base's own files state about it: GGUF metadata, or the front matter of a README. Imported, never decisive.

A facts file of the user's is laid over this; what neither says stays unknown.
"""

from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.yaml import MalformedYaml, read_yaml
from peft_registry.schemas.values import Value, imported
from peft_registry.trainer.hub.fetching import CARD_MAX_BYTES

# fact → the key of GGUF's general metadata that states it
_GGUF_KEYS = {
    "licence": "general.license",
    "provider": "general.organization",
    "source_url": "general.source.url",
    "languages": "general.languages",
}
_README_KEYS = {"licence": "license", "languages": "language"}
_EU_KEY = "extra_gated_eu_disallowed"  # with it the Hub lets nobody in the Union ask for access


def stated_by_gguf(path: Path) -> dict[str, Value]:
    """The facts in a GGUF file's metadata."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    stated = {fact: _contents(fields[key]) for fact, key in _GGUF_KEYS.items() if key in fields}
    return {
        fact: imported(value, method=f"GGUF metadata {_GGUF_KEYS[fact]}") for fact, value in stated.items() if value
    }


def stated_by_readme(folder: Path) -> dict[str, Value]:
    """The facts in the front matter of a folder's README.md; none where there is no readable one."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    text = read_file(path, max_bytes=CARD_MAX_BYTES).decode("utf-8", "replace")
    parts = text.split("---\n", 2)
    if not text.startswith("---\n") or len(parts) < 3:
        return {}
    try:
        front = read_yaml(parts[1], what="the front matter of README.md")
    except MalformedYaml:  # a card is not part of the base; an odd one states nothing
        return {}
    if not isinstance(front, dict):
        return {}
    found = {fact: front[key] for fact, key in _README_KEYS.items() if front.get(key)}
    stated = {fact: imported(value, method=f"README.md, {_README_KEYS[fact]}") for fact, value in found.items()}
    if front.get(_EU_KEY) is True:  # false says that the Hub's door is open, and nothing about the licence
        stated["eu_exclusion"] = imported(
            "yes", method=f"README.md, {_EU_KEY}: true; evidence of an exclusion, no proof"
        )
    return stated


def _contents(field: Any) -> Any:  # gguf's ReaderField; its value is a text, number or list
    return field.contents()
