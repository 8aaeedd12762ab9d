"""The files beside the weights, read for settings. One that cannot be read strictly, or that holds a secret, says nothing."""

from typing import Any

from peft_registry.registry.imports.card_settings import read_card
from peft_registry.registry.imports.offered import OfferedFolder, newest_checkpoint_key
from peft_registry.registry.imports.setting_names import (
    ADAPTER_KEYS,
    ARGUMENT_FILES,
    CARD,
    OF_A_TRAINING_FILE,
    READ_MAX_BYTES,
    RESULT_FILES,
    RESULT_KEYS,
    STATE,
    STATE_KEYS,
    WORDS,
    YAML_MAX_BYTES,
)
from peft_registry.registry.imports.settings import FolderSettings, is_number
from peft_registry.registry.intake.json import MalformedInput, read_json
from peft_registry.registry.intake.peft_config import FILE_NAME as ADAPTER_CONFIG
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.registry.intake.secrets import SecretRefused, require_no_secrets
from peft_registry.registry.intake.yaml import MalformedYaml, read_yaml
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding

_MAX_TRAINING_FILES = 20  # a training leaves one or two
_YAML = (".yaml", ".yml")


def settings_of_folder(offered: OfferedFolder, adapter: PeftConfig | None) -> FolderSettings:
    """What the files of a folder say of how its weights were made.

    Args:
        offered: the folder.
        adapter: its configuration; None for a whole model.

    Raises:
        FileChanged, FileUnreadable: a file changed while it was read, or the disk failed.
    """
    settings = FolderSettings()
    if adapter is not None:
        digest = Digest.of(offered.read(ADAPTER_CONFIG, max_bytes=READ_MAX_BYTES))
        method = adapter.method
        names = {**ADAPTER_KEYS, **{key: method.setting_name(key) for key in method.settings}}
        for key, name in names.items():
            settings.put(name, adapter.values.get(key), ADAPTER_CONFIG, key, digest)
    paths = {file.path for file in offered.beside}
    state = _state_path(paths)
    if state is not None:
        _read_state(offered, state, settings)
    training_files = _training_files(paths)
    if len(training_files) > _MAX_TRAINING_FILES:
        text = (
            f"{len(training_files)} YAML files lie beside the weights: the first {_MAX_TRAINING_FILES} by name are read"
        )
        settings.findings.append(Finding(kind="cut-short", text=text, place=training_files[_MAX_TRAINING_FILES]))
    for name in (*ARGUMENT_FILES, *training_files[:_MAX_TRAINING_FILES]):
        if name in paths:
            _read_arguments(offered, name, settings)
    if CARD in paths:
        read_card(offered, settings)
    for name in RESULT_FILES:
        if name in paths:
            _read_results(offered, name, settings)
    return settings


def _state_path(paths: set[str]) -> str | None:
    """The state of the trainer: at the top, else in the newest checkpoint."""
    if STATE in paths:
        return STATE
    folders = [path.removesuffix(f"/{STATE}") for path in paths if path.endswith(f"/{STATE}")]
    newest = max(folders, key=newest_checkpoint_key, default=None)
    return None if newest is None else f"{newest}/{STATE}"


def _training_files(paths: set[str]) -> list[str]:
    return sorted(path for path in paths if "/" not in path and path.endswith(_YAML) and path not in ARGUMENT_FILES)


def _load(offered: OfferedFolder, path: str, settings: FolderSettings) -> tuple[dict[str, Any], Digest] | None:
    """The object in a JSON or YAML file and its digest; None, with a finding, where it cannot be read."""
    size = next(file.size for file in offered.beside if file.path == path)
    is_yaml = path.endswith(_YAML)
    most = YAML_MAX_BYTES if is_yaml else READ_MAX_BYTES
    if size > most:
        settings.findings.append(_unread(path, f"it has {size} bytes, more than {most}"))
        return None
    data = offered.read(path, max_bytes=most)
    try:
        value = read_yaml(data, what=path) if is_yaml else read_json(data, what=path, family="intake")
        require_no_secrets(value, what=path)
    except (MalformedInput, MalformedYaml) as error:
        settings.findings.append(_unread(path, error.why))
        return None
    except SecretRefused as error:
        settings.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was not read", place=path))
        return None
    if not isinstance(value, dict):
        return None
    digest = Digest.of(data)
    settings.read[path] = digest
    return value, digest


def _unread(path: str, why: str) -> Finding:
    return Finding(kind="not-read", text=f"{path} says nothing here: {why}", place=path)


def _read_state(offered: OfferedFolder, path: str, settings: FolderSettings) -> None:
    content = _load(offered, path, settings)
    if content is None:
        return
    state, digest = content
    for key in STATE_KEYS:
        value = state.get(key)
        # transformers writes 0 where it did not count
        if value not in (0, -1) or key in ("global_step", "epoch"):
            settings.put(WORDS.get(key, key), value, path, key, digest)
    # an estimate of transformers, 6·N·D without the embeddings; 0 where it was not made
    if state.get("total_flos"):
        settings.put("total_flos", state["total_flos"], path, "total_flos", digest)
    entries = state.get("log_history")
    history = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    curve = [(row["step"], row["loss"]) for row in history if is_number(row.get("loss")) and is_number(row.get("step"))]
    if curve:
        steps, losses = zip(*curve, strict=True)
        settings.put("loss_curve", {"steps": list(steps), "loss": list(losses)}, path, "log_history", digest)
    last = history[-1] if history else {}
    for key in ("train_runtime", "train_loss"):
        if is_number(last.get(key)):
            settings.put(key, last[key], path, "log_history", digest)


def _read_arguments(offered: OfferedFolder, path: str, settings: FolderSettings) -> None:
    content = _load(offered, path, settings)
    if content is None:
        return
    values, digest = content
    if path not in ARGUMENT_FILES and len(OF_A_TRAINING_FILE & values.keys()) < 2:
        del settings.read[path]
        return
    settings.put_words(values, path, digest)


def _read_results(offered: OfferedFolder, path: str, settings: FolderSettings) -> None:
    content = _load(offered, path, settings)
    if content is None:
        return
    values, digest = content
    for key in RESULT_KEYS:
        if is_number(values.get(key)):
            settings.put(key, values[key], path, key, digest)
