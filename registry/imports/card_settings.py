"""What the card of a folder says of the training: its front matter, the lists of transformers' trainer, Axolotl's file in it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.imports.setting_names import CARD, CARD_KEYS, READ_MAX_BYTES, WORDS, YAML_MAX_BYTES
from peft_registry.registry.imports.settings import FolderSettings, dataset_names
from peft_registry.registry.intake.secrets import SecretRefused
from peft_registry.registry.intake.yaml import MalformedYaml, read_yaml
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding

_HYPERPARAMETER = re.compile(r"^- ([a-z_0-9]+): (.+)$")
_LIBRARY = re.compile(r"^- (TRL|PEFT|Transformers|Pytorch|Datasets|Tokenizers|Unsloth):? ([0-9][^\s]*)$", re.IGNORECASE)
_AXOLOTL_FILE = re.compile(r"axolotl version: `([^`\n]+)`\s*```yaml\n(.*?)\n```", re.DOTALL)
_AXOLOTL_NAME = "README.md, the axolotl config in it"
_REGISTERED = re.compile(r"^Manifest digest: `(sha256:[0-9a-f]{64})`$", re.MULTILINE)  # as our own cards end
_INTEGER = re.compile(r"[-+]?[0-9]{1,64}\Z")


def read_card(offered: OfferedFolder, settings: FolderSettings) -> None:
    """Put what the card says.

    Raises:
        FileChanged, FileUnreadable: it changed while it was read, or the disk failed.
    """
    size = next(file.size for file in offered.beside if file.path == CARD)
    if size > READ_MAX_BYTES:
        text = f"{CARD} says nothing here: it has {size} bytes, more than {READ_MAX_BYTES}"
        settings.findings.append(Finding(kind="not-read", text=text, place=CARD))
        return
    data = offered.read(CARD, max_bytes=READ_MAX_BYTES)
    digest = Digest.of(data)
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    settings.read[CARD] = digest
    settings.put_words(_axolotl_file(text, settings), _AXOLOTL_NAME, digest)
    for key, value in _front_matter(text, settings).items():
        if key in CARD_KEYS:
            settings.put(CARD_KEYS[key], _stated(key, value), CARD, key, digest)
    if registered := _REGISTERED.search(text):
        said = (
            f"its card says that a registry has it as the manifest {registered[1]}: its records are not in this folder, and "
            "`registry pull` there brings them"
        )
        settings.findings.append(Finding(kind="registered-elsewhere", text=said, place=CARD))
    for line in text.splitlines():
        if match := _LIBRARY.match(line):
            settings.put(f"libraries.{match[1].lower()}", match[2], CARD, "framework versions", digest)
        elif (match := _HYPERPARAMETER.match(line)) and match[1] in WORDS:
            settings.put(WORDS[match[1]], _scalar(match[2].strip()), CARD, "training hyperparameters", digest)


def _stated(key: str, value: Any) -> Any:  # any JSON value
    """What a key of the front matter says."""
    if key == "datasets":
        return dataset_names(value)
    if not isinstance(value, list):
        return value
    if key == "tags":  # peft writes one that repeats the path of the base
        return [tag for tag in value if ":" not in str(tag)]
    return value[0] if key == "base_model" and len(value) == 1 else value


def _front_matter(text: str, settings: FolderSettings) -> Mapping[str, Any]:
    parts = text.split("---\n", 2)
    if not text.startswith("---\n") or len(parts) < 3:
        return {}
    return _yaml_mapping(parts[1], f"the front matter of {CARD}", settings)


def _axolotl_file(text: str, settings: FolderSettings) -> Mapping[str, Any]:
    """The training file that Axolotl writes into the card."""
    match = _AXOLOTL_FILE.search(text)
    return {} if match is None else _yaml_mapping(match[2], _AXOLOTL_NAME, settings)


def _yaml_mapping(text: str, what: str, settings: FolderSettings) -> Mapping[str, Any]:
    try:
        value = read_yaml(text, what=what, max_bytes=YAML_MAX_BYTES)
    except MalformedYaml as error:
        settings.findings.append(Finding(kind="not-read", text=f"{what} says nothing here: {error.why}", place=CARD))
        return {}
    except SecretRefused as error:
        settings.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was not read", place=CARD))
        return {}
    return value if isinstance(value, dict) else {}


def _scalar(text: str) -> int | float | str:
    """A number where the text is a finite one, else the text."""
    if _INTEGER.match(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
