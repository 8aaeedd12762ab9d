"""What the texts in a model's own files give away: these files are signed as they are, and go to whoever the model goes to.

A secret is refused. A path of somebody's machine is taken out of the keys into which savers write where they loaded from, which say
nothing of the model; elsewhere it is a finding.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.identity.base import (
    ADAPTER_CONFIG_NAME,
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    JSON_MAX_BYTES,
    TOKENIZER_CONFIG_NAME,
)
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX
from peft_registry.registry.imports.settings import without_path
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.registry.intake.secrets import SecretRefused, require_no_secrets, secret_in
from peft_registry.schemas.imports import Finding

# the vocabularies hold words of other people's texts, and nothing that a tool writes about this machine
_TEXTS = (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    TOKENIZER_CONFIG_NAME,
    "special_tokens_map.json",
    *CHAT_TEMPLATE_NAMES,
)
_PROGRAM = "chat_template"  # a key whose value is like a program
_METADATA = "metadata"
# where a saver writes what it loaded from; none of them says anything of the model
_WRITTEN_BY_SAVERS: Mapping[str, tuple[str, ...]] = {
    CONFIG_NAME: ("_name_or_path",),
    TOKENIZER_CONFIG_NAME: ("name_or_path", "tokenizer_file"),
}
_OF_A_MACHINE = re.compile(
    r"(?:^|[^A-Za-z0-9_./])(?:file://)?/(?:home|Users|root|mnt|scratch|workspace|tmp|private|var)/[^\s\"']"
    r"|[A-Za-z]:[/\\]Users[/\\]"
)
_MAX_FINDINGS = 20


def texts_given_away(folder: Path, names: Iterable[str]) -> tuple[Finding, ...]:
    """The paths of somebody's machine in the files of a model.

    Args:
        folder: a copy of the files.
        names: of the files.

    Raises:
        SecretRefused: a text in one of them looks like a secret.
        MalformedInput, MalformedWeights: a file cannot be read.
    """
    findings = []
    for name in sorted(names):
        for key, text in _texts(folder, name):
            if _OF_A_MACHINE.search(text):
                place = f"{name}, {ascii(key)[1:-1][:80]}" if key else name
                problem = "a path of somebody's machine stands in it, and is registered and published with it"
                findings.append(Finding(kind="path-inside", text=problem, place=place))
    return tuple(findings[:_MAX_FINDINGS])


def without_savers_paths(folder: Path, name: str) -> bytes | None:
    """A configuration without the keys in which a saver wrote a path; None where there is none, or it is another file.

    Raises:
        MalformedInput: it is not strict JSON.
    """
    keys = _WRITTEN_BY_SAVERS.get(name)
    if keys is None:
        return None
    value = read_json(read_file(folder / name, max_bytes=JSON_MAX_BYTES), what=name, family="intake")
    if not isinstance(value, dict):
        return None
    paths = {key for key in keys if isinstance(value.get(key), str) and without_path(value[key]) != value[key]}
    if not paths:
        return None
    kept = {key: part for key, part in value.items() if key not in paths}
    return json.dumps(kept, indent=2, ensure_ascii=False).encode() + b"\n"


def _texts(folder: Path, name: str) -> Iterator[tuple[str, str]]:
    """Every text in a file of the model that may give something away, with its key; a secret among them is refused."""
    path = folder / name
    if name.endswith(WEIGHTS_SUFFIX):
        metadata = dict(read_header(path, family="intake").metadata)
        require_no_secrets(metadata, what=f"the metadata of {name}")
        yield from ((f"{_METADATA} {key}", text) for key, text in metadata.items())
    elif name in _TEXTS:
        data = read_file(path, max_bytes=JSON_MAX_BYTES)
        if name.endswith(".json"):
            yield from _texts_of_json(read_json(data, what=name, family="intake"), name)
        else:
            text = data.decode("utf-8", "replace")
            _require_no_secret_in_program(text, name, "")
            yield "", text


def _texts_of_json(value: Any, name: str) -> Iterator[tuple[str, str]]:  # any JSON value
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        key, part = waiting.pop()
        if isinstance(part, dict):
            waiting += [(f"{key}.{inner}" if key else inner, below) for inner, below in part.items()]
        elif isinstance(part, list):
            waiting += [(key, below) for below in part]
        elif isinstance(part, str):
            if key.partition(".")[0] == _PROGRAM:
                _require_no_secret_in_program(part, name, key)
            else:
                require_no_secrets({key: part}, what=name)
            yield key, part


def _require_no_secret_in_program(text: str, name: str, key: str) -> None:
    kind = secret_in(text, is_program=True)
    if kind is not None:
        raise SecretRefused(name, kind, f"it stands at {key}" if key else "it stands in the text")
