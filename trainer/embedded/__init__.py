"""The embedded base: a tiny model, its text and its example rows, all written and trained by this project.

It exists so that every command can be tried and tested without a download. It is far too small to be useful for anything else.
"""

from importlib.resources import files
from pathlib import Path


def embedded_base() -> Path:
    """Folder of the embedded base in Hugging Face layout (config, weights, tokenizer, chat template, card)."""
    return _path("base")


def example_rows() -> Path:
    """JSON Lines file of 60 rows (`prompt`, `completion`): a customer's sentence and a polite short reply."""
    return _path("example.jsonl")


def declared_facts() -> Path:
    """YAML file of what the project declares about the embedded base (provider, licence, tokens, compute)."""
    return _path("facts.yml")


def _path(name: str) -> Path:
    """A file beside this module; the wheel is always installed unpacked, so it has a real path."""
    return Path(str(files(__package__) / name))
