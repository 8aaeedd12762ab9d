"""Whether an adapter brings a tokenizer or a chat template that is not its base's: both change what the same weights answer.

Here an adapter is evaluated, merged and asked with the tokenizer of its base. Whoever loads the tokenizer from the adapter's folder
puts other tokens to the same weights, and which of the two they were trained with nothing in them shows. Files are compared by
what they say: savers of other versions write the same tokenizer in other bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.identity.base import (
    CHAT_TEMPLATE_NAMES,
    JSON_MAX_BYTES,
    TOKENIZER_CONFIG_NAME,
    TOKENIZER_FILES,
    chat_template_digest,
)
from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.imports.vocabulary import TOKENIZER
from peft_registry.registry.intake.json import MalformedInput, read_json
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding

# of these alone follows which tokens a text becomes; the others say how a tokenizer is used
VOCABULARIES = tuple(
    name
    for name in TOKENIZER_FILES
    if name not in (TOKENIZER_CONFIG_NAME, "special_tokens_map.json", "added_tokens.json")
)
COMPARED_FILES = frozenset({*VOCABULARIES, TOKENIZER_CONFIG_NAME})
# what a fast tokenizer was last called with is saved with it
_OF_THE_LAST_CALL = ("truncation", "padding")
# what a saver of transformers 5 writes where a tokenizer has none: first text, second text, no token added
_NO_POST_PROCESSOR: Mapping[str, Any] = {
    "type": "TemplateProcessing",
    "single": [{"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}
_SETTINGS = ("add_bos_token", "add_eos_token", "add_prefix_space", "bos_token", "eos_token")
_HERE = "here it is evaluated with the tokenizer of its base"


def template_findings(offered: OfferedFolder, of_base: Digest | None) -> tuple[Finding, ...]:
    """That a folder has another chat template than its base, or none with a tokenizer of its own.

    Args:
        offered: an adapter.
        of_base: the digest of the base's template; None where it has none.

    Raises:
        MalformedInput: a file that may hold a template is not a JSON object.
    """
    names = {file.path for file in offered.model_files}
    for name in (*CHAT_TEMPLATE_NAMES, TOKENIZER_CONFIG_NAME):
        if name in names and name.endswith(".json"):
            _json_object(offered.model_folder, name)
    own = chat_template_digest(offered.model_folder, names)
    if own == of_base:
        return ()
    if own is None:
        if not names & COMPARED_FILES:
            return ()
        text = "its tokenizer has no chat template, and the base has one"
    elif of_base is None:
        text = "it brings a chat template, and the base has none"
    else:
        text = "it brings another chat template than the base has"
    place = next((name for name in CHAT_TEMPLATE_NAMES if name in names), TOKENIZER_CONFIG_NAME)
    return (Finding(kind="other-chat-template", text=f"{text}: {_HERE}", place=place),)


def tokenizer_findings(offered: OfferedFolder, base: Path) -> tuple[Finding, ...]:
    """Where the tokenizer of a folder is another than that of its base; files that one of the two lacks say nothing.

    Args:
        offered: an adapter.
        base: a folder with the tokenizer's files of the base.

    Raises:
        MalformedInput: a file of the tokenizer is not a JSON object.
    """
    names = [file.path for file in offered.model_files if file.path in COMPARED_FILES and (base / file.path).is_file()]
    places = []
    for name in names:
        if name == TOKENIZER:
            ours, theirs = (_json_object(folder, name) for folder in (offered.model_folder, base))
            keys = sorted((ours.keys() | theirs.keys()) - set(_OF_THE_LAST_CALL))
            places += [f"{name}, {key[:80]}" for key in keys if _part(ours, key) != _part(theirs, key)]
        elif name == TOKENIZER_CONFIG_NAME:
            ours, theirs = (_json_object(folder, name) for folder in (offered.model_folder, base))
            # a saver leaves out what it knows by the class of the tokenizer
            keys = [key for key in _SETTINGS if key in ours and key in theirs]
            places += [f"{name}, {key}" for key in keys if _content(ours[key]) != _content(theirs[key])]
        elif hash_file(offered.model_folder / name).sha256 != hash_file(base / name).sha256:
            places.append(name)
    text = f"it brings another tokenizer than the base has: {_HERE}"
    return tuple(Finding(kind="other-tokenizer", text=text, place=place) for place in places)


def uncompared_tokenizer(offered: OfferedFolder, of_base: Mapping[str, Digest]) -> tuple[Finding, ...]:
    """That nothing shows whether a tokenizer is that of the base, whose files are elsewhere or changed.

    Equal bytes are the same tokenizer, and no finding.

    Args:
        offered: an adapter.
        of_base: the digests of the files of the base, by path.
    """
    for name in VOCABULARIES:
        is_own = any(file.path == name for file in offered.model_files)
        if is_own and hash_file(offered.model_folder / name).sha256 != of_base.get(name):
            text = f"it brings a tokenizer, and that of the base is elsewhere or was changed, so they are not compared: {_HERE}"
            return (Finding(kind="tokenizer-not-compared", text=text, place=name),)
    return ()


def _part(tokenizer: Mapping[str, Any], key: str) -> Any:  # any JSON value
    value = tokenizer.get(key)
    return None if key == "post_processor" and value == _NO_POST_PROCESSOR else value


def _content(value: Any) -> Any:  # any JSON value; a token stands as its text, or as an object that has it
    return value.get("content") if isinstance(value, dict) else value


def _json_object(folder: Path, name: str) -> Mapping[str, Any]:
    value = read_json(read_file(folder / name, max_bytes=JSON_MAX_BYTES), what=name, family="intake")
    if not isinstance(value, dict):
        raise MalformedInput(name, "it is JSON, but not an object")
    return value
