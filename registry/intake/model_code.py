"""Code in a model folder is never executed, and does not enter: a model is weights, a configuration and a tokenizer."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.intake.json import MalformedInput, read_json
from peft_registry.registry.intake.paths import FileFound
from peft_registry.schemas.errors import InputRefused

EXTENSIONS = frozenset({".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"})
# what transformers takes for "import this module from the folder" when `trust_remote_code` is set
_KEYS = ("auto_map", "custom_pipelines")
CONFIG_MAX_BYTES = 16 * 1024 * 1024  # of a model's or an adapter's configuration; those published have some kilobytes


class CodeRefused(InputRefused):
    what = "{path} is refused because it brings code into a model folder"
    why = "{reason}"
    fix = "use a model whose architecture transformers has built in, or remove what nothing needs"

    path: str
    reason: str


def refuse_code(root: Path, files: Iterable[FileFound]) -> None:
    """Return when no file is code and no configuration asks for code.

    Args:
        root: the folder.
        files: what `scan_folder` found in it.

    Raises:
        CodeRefused: a Python or native module, or `auto_map` or `custom_pipelines` in a `*config.json`.
        MalformedInput: a `*config.json` is not acceptable JSON.
    """
    for file in files:
        path = PurePosixPath(file.path)
        if path.suffix.lower() in EXTENSIONS:
            raise CodeRefused(file.path, f"{path.suffix} files are program code")
        if path.name.endswith("config.json"):
            if file.size > CONFIG_MAX_BYTES:
                raise MalformedInput(file.path, f"it has {file.size} bytes, more than {CONFIG_MAX_BYTES}")
            data = read_file(root / path, max_bytes=CONFIG_MAX_BYTES)
            refuse_code_in_config(file.path, read_json(data, what=file.path, family="intake"))


def refuse_code_in_config(path: str, config: Any) -> None:  # any JSON value: it has not been validated yet
    """Return when the configuration names no module to import.

    Raises:
        CodeRefused: it holds `auto_map` or `custom_pipelines`, at any depth.
    """
    pending = [config]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            asked = next((key for key in _KEYS if item.get(key)), None)
            if asked is not None:
                raise CodeRefused(path, f"its key `{asked}` names Python modules that transformers would import")
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)
