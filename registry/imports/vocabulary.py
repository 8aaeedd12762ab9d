"""Whether the tokenizer beside an adapter has tokens that the base has no embedding for."""

from collections.abc import Iterable, Sequence
from typing import Any

from peft_registry.registry.identity.base import JSON_MAX_BYTES
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.fit import rows_of_vocabulary
from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.intake.json import read_json

TOKENIZER = "tokenizer.json"
_TRAINED_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "token_adapter")


def vocabulary_misfit(offered: OfferedFolder, tensors: Sequence[Tensor], base: Iterable[Tensor]) -> str | None:
    """Why the tokenizer of a folder is not of the base; None where it may be, or where the adapter brings embeddings of its own.

    Raises:
        MalformedInput: `tokenizer.json` is not strict JSON.
    """
    if all(file.path != TOKENIZER for file in offered.model_files):
        return None
    if any(part in tensor.name for tensor in tensors for part in _TRAINED_EMBEDDINGS):
        return None
    rows = rows_of_vocabulary(base)
    value = read_json(offered.read(TOKENIZER, max_bytes=JSON_MAX_BYTES), what=TOKENIZER, family="intake")
    highest = _highest_id(value)
    if rows is None or highest is None or highest < rows:
        return None
    return f"its tokenizer has a token of number {highest}, and the embeddings of the base have {rows} rows"


def _highest_id(value: Any) -> int | None:  # the JSON value of a tokenizer file
    if not isinstance(value, dict):
        return None
    model = value.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    numbers: list[int] = []
    if isinstance(vocabulary, dict):
        numbers += [number for number in vocabulary.values() if isinstance(number, int)]
    elif isinstance(vocabulary, list):
        numbers.append(len(vocabulary) - 1)
    added = value.get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("id"), int):
            numbers.append(entry["id"])
    return max(numbers, default=None)
