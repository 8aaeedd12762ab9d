"""What lies beside the weights says how they were made: settings of the training, as the files of other tools write them.

Each setting is `imported`, with the file and the key that say it and the digest of that file. Of several files the first one that
is read counts, what the trainer wrote before what a card says; where another one contradicts it, that is a finding. Paths are cut
to their last part: what is recorded is signed and copied. A file that cannot be read strictly, or that holds a secret, is noted
and says nothing.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.intake.json import MalformedInput, read_json
from peft_registry.registry.intake.secrets import SecretRefused, require_no_secrets
from peft_registry.registry.intake.yaml import MalformedYaml, read_yaml
from peft_registry.schemas.canonical import NotCanonical, canonical_bytes
from peft_registry.schemas.familiar_words import FILE_WORDS, LORA_WORDS, TRAINING_WORDS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding
from peft_registry.schemas.values import Value, as_doubles, imported

CARD = "README.md"
STATE = "trainer_state.json"
_MAX_BYTES = 16 * 1024 * 1024
_MAX_YAML_BYTES = 1024 * 1024
# settings as these files write them are those of `transformers.TrainingArguments` or of the tool's own file
_ARGUMENT_FILES = ("training_args.json", "args.json", "training_args.yaml", "llamaboard_config.yaml")
_RESULT_FILES = ("train_results.json", "all_results.json")
_YAML = (".yaml", ".yml")
_MAX_LEVELS = 16  # of a value; what is recorded stands deeper, and is refused from 128 levels on where it is read back
# a YAML file beside a model is a training file where it has two of these
_OF_A_TRAINING_FILE = frozenset(
    {
        *("base_model", "model_name_or_path", "datasets", "dataset", "adapter", "finetuning_type", "learning_rate"),
        *("num_epochs", "num_train_epochs", "micro_batch_size", "per_device_train_batch_size", "lora_r", "lora_rank"),
    }
)
# word of another tool → name of the setting here; the rest is in `familiar_words`
_WORDS: Mapping[str, str] = {
    **{word: key for word, key in TRAINING_WORDS.items() if word != "bf16"},
    **{word: f"lora.{key}" for word, key in LORA_WORDS.items()},
    **{word: key for word, key in FILE_WORDS.items() if key in ("base", "method")},
    "optim": "optimizer",
    "optimizer": "optimizer",
    "train_batch_size": "per_device_train_batch_size",
    "lr_scheduler_warmup_ratio": "warmup_ratio",
    "lr_scheduler_warmup_steps": "warmup_steps",
    "sample_packing": "packing",
    "dataset": "datasets",
    "datasets": "datasets",
    "dataset_name": "datasets",
    "rl": "preference_objective",
    "stage": "stage",
    "load_in_4bit": "load_in_4bit",
    "load_in_8bit": "load_in_8bit",
    "quantization_bit": "quantization_bit",
    "mixed_precision_training": "precision",
    "bf16": "bf16",
    "fp16": "fp16",
    "template": "chat_template",
    "chat_template": "chat_template",
    **{
        name: name
        for name in (
            *("learning_rate", "lr_scheduler_type", "seed", "num_train_epochs", "max_steps", "max_length", "packing"),
            *("per_device_train_batch_size", "gradient_accumulation_steps", "warmup_ratio", "warmup_steps"),
            *("weight_decay", "max_grad_norm", "gradient_checkpointing", "beta", "loss_type", "neftune_noise_alpha"),
        )
    },
}
# keys of adapter_config.json → name of the setting
_ADAPTER_KEYS: Mapping[str, str] = {
    "peft_type": "peft_type",
    "task_type": "task_type",
    "r": "lora.r",
    "lora_alpha": "lora.alpha",
    "lora_dropout": "lora.dropout",
    "target_modules": "target_modules",
    "feedforward_modules": "feedforward_modules",
    "modules_to_save": "modules_to_save",
    "bias": "lora.bias",
    "use_rslora": "lora.use_rslora",
    "use_dora": "lora.use_dora",
    "init_lora_weights": "lora.init",
    "num_virtual_tokens": "num_virtual_tokens",
    "prompt_tuning_init": "prompt_tuning_init",
    "peft_version": "libraries.peft",
}
_STATE_KEYS = ("global_step", "max_steps", "epoch", "num_train_epochs", "train_batch_size", "num_input_tokens_seen")
_RESULT_KEYS = ("train_runtime", "train_loss", "train_samples_per_second", "train_steps_per_second")
_CARD_KEYS: Mapping[str, str] = {
    "license": "licence",
    "language": "languages",
    "datasets": "datasets",
    "base_model": "base",
    "tags": "tags",
}
_HYPERPARAMETER = re.compile(r"^- ([a-z_0-9]+): (.+)$")
_LIBRARY = re.compile(r"^- (TRL|PEFT|Transformers|Pytorch|Datasets|Tokenizers|Unsloth):? ([0-9][^\s]*)$", re.IGNORECASE)
_AXOLOTL_FILE = re.compile(r"axolotl version: `([^`\n]+)`\s*```yaml\n(.*?)\n```", re.DOTALL)
_AXOLOTL_NAME = "README.md, the axolotl config in it"


@dataclass(slots=True)
class Beside:
    """The settings that were found, the files that were read for them, and what to know of both."""

    settings: dict[str, Value] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def put(self, name: str, value: Any, source: str, key: str, digest: Digest) -> None:  # any JSON value
        """Keep the first value of a setting; another file that says something else is a finding."""
        if value is None or value in ("", [], {}):
            return
        if not _is_recordable(value):
            text = f"{name} is left out: what {key} says cannot be recorded"
            self.findings.append(Finding(kind="not-read", text=text, place=source))
            return
        value = _without_paths(value)
        try:
            require_no_secrets({name: value}, what=source)
        except SecretRefused as error:
            self.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was left out", place=source))
            return
        known = self.settings.get(name)
        if known is None:
            self.settings[name] = imported(value, method=f"{source}, {key}", evidence=(digest,))
        elif not _same(known.value, value):
            text = f"{name} is {_shown(known.value)} by {known.method}, and {_shown(value)} by {source}, {key}"
            self.findings.append(Finding(kind="settings-disagree", text=text, place=source))


def settings_beside(offered: OfferedFolder, adapter_config: Mapping[str, Any] | None) -> Beside:
    """What the files of a folder say of how its weights were made.

    Args:
        offered: the folder.
        adapter_config: its values; None for a whole model.

    Raises:
        FileChanged, FileUnreadable: a file changed while it was read, or the disk failed.
    """
    beside = Beside()
    if adapter_config is not None:
        digest = Digest.of(offered.read("adapter_config.json", max_bytes=_MAX_BYTES))
        for key, name in _ADAPTER_KEYS.items():
            beside.put(name, adapter_config.get(key), "adapter_config.json", key, digest)
    paths = {file.path for file in offered.beside}
    state = _state_path(paths)
    if state is not None:
        _read_state(offered, state, beside)
    for name in (*_ARGUMENT_FILES, *_training_files(paths)):
        if name in paths:
            _read_arguments(offered, name, beside)
    if CARD in paths:
        _read_card(offered, beside)
    for name in _RESULT_FILES:
        if name in paths:
            _read_results(offered, name, beside)
    return beside


def card_tags(beside: Beside) -> tuple[str, ...]:
    """The tags of the folder's own card, lower case."""
    tags = beside.settings.get("tags")
    return tuple(str(tag).lower() for tag in tags.value) if tags is not None and isinstance(tags.value, list) else ()


# --- files ---


def _state_path(paths: set[str]) -> str | None:
    """The state of the trainer: at the top, else in the newest checkpoint."""
    if STATE in paths:
        return STATE
    states = [path for path in paths if path.endswith(f"/{STATE}")]
    return max(states, key=_step_of, default=None)


def _step_of(path: str) -> tuple[int, str]:
    number = path.rpartition("/")[0].rpartition("-")[2]
    return (int(number) if number.isascii() and number.isdigit() else -1, path)


def _training_files(paths: set[str]) -> list[str]:
    return sorted(path for path in paths if "/" not in path and path.endswith(_YAML) and path not in _ARGUMENT_FILES)


def _loaded(offered: OfferedFolder, path: str, beside: Beside) -> tuple[Any, Digest] | None:  # any JSON value
    """The value of a JSON or YAML file and its digest; None, with a finding, where it cannot be read."""
    size = next(file.size for file in offered.beside if file.path == path)
    is_yaml = path.endswith(_YAML)
    most = _MAX_YAML_BYTES if is_yaml else _MAX_BYTES
    if size > most:
        beside.findings.append(_unread(path, f"it has {size} bytes, more than {most}"))
        return None
    data = offered.read(path, max_bytes=most)
    try:
        value = read_yaml(data, what=path) if is_yaml else read_json(data, what=path, family="intake")
        require_no_secrets(value, what=path)
    except (MalformedInput, MalformedYaml) as error:
        beside.findings.append(_unread(path, error.why))
        return None
    except SecretRefused as error:
        beside.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was not read", place=path))
        return None
    if not isinstance(value, dict):
        return None
    beside.read.append(path)
    return value, Digest.of(data)


def _unread(path: str, why: str) -> Finding:
    return Finding(kind="not-read", text=f"{path} says nothing here: {why}", place=path)


def _read_state(offered: OfferedFolder, path: str, beside: Beside) -> None:
    loaded = _loaded(offered, path, beside)
    if loaded is None:
        return
    state, digest = loaded
    for key in _STATE_KEYS:
        value = state.get(key)
        # transformers writes 0 where it did not count
        if value not in (0, -1) or key in ("global_step", "epoch"):
            beside.put(_WORDS.get(key, key), value, path, key, digest)
    # an estimate of transformers, 6·N·D without the embeddings; 0 where it was not made
    if state.get("total_flos"):
        beside.put("total_flos", state["total_flos"], path, "total_flos", digest)
    entries = state.get("log_history")
    history = [row for row in entries if isinstance(row, dict)] if isinstance(entries, list) else []
    curve = [(row["step"], row["loss"]) for row in history if _is_number(row.get("loss")) and "step" in row]
    if curve:
        steps, losses = zip(*curve, strict=True)
        beside.put("loss_curve", {"steps": list(steps), "loss": list(losses)}, path, "log_history", digest)
    last = history[-1] if history else {}
    if _is_number(last.get("train_runtime")):
        beside.put("train_runtime", last["train_runtime"], path, "log_history", digest)
    if _is_number(last.get("train_loss")):
        beside.put("train_loss", last["train_loss"], path, "log_history", digest)


def _read_arguments(offered: OfferedFolder, path: str, beside: Beside) -> None:
    loaded = _loaded(offered, path, beside)
    if loaded is None:
        return
    values, digest = loaded
    if path not in _ARGUMENT_FILES and len(_OF_A_TRAINING_FILE & values.keys()) < 2:
        beside.read.remove(path)
        return
    _put_words(values, path, digest, beside)


def _put_words(values: Mapping[str, Any], source: str, digest: Digest, beside: Beside) -> None:
    for word, value in values.items():
        name = _WORDS.get(str(word))
        if name is None:
            continue
        beside.put(name, _datasets(value) if name == "datasets" else value, source, str(word), digest)


def _datasets(value: Any) -> list[str]:  # as any of the tools writes it
    """Names of data sets, from a list of names or of mappings with a path, or from names with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    entries = value if isinstance(value, list) else [value]
    names = [entry.get("path") or entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [str(name) for name in names if name]


def _read_results(offered: OfferedFolder, path: str, beside: Beside) -> None:
    loaded = _loaded(offered, path, beside)
    if loaded is None:
        return
    values, digest = loaded
    for key in _RESULT_KEYS:
        if _is_number(values.get(key)):
            beside.put(key, values[key], path, key, digest)


def _read_card(offered: OfferedFolder, beside: Beside) -> None:
    size = next(file.size for file in offered.beside if file.path == CARD)
    if size > _MAX_BYTES:
        beside.findings.append(_unread(CARD, f"it has {size} bytes, more than {_MAX_BYTES}"))
        return
    data = offered.read(CARD, max_bytes=_MAX_BYTES)
    digest = Digest.of(data)
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    beside.read.append(CARD)
    for values in _embedded_file(text, beside):
        _put_words(values, _AXOLOTL_NAME, digest, beside)
    for key, value in _front_matter(text, beside).items():
        if key in _CARD_KEYS:
            beside.put(_CARD_KEYS[key], _stated(key, value), CARD, key, digest)
    for line in text.splitlines():
        if match := _LIBRARY.match(line):
            beside.put(f"libraries.{match[1].lower()}", match[2], CARD, "framework versions", digest)
        elif (match := _HYPERPARAMETER.match(line)) and match[1] in _WORDS:
            beside.put(_WORDS[match[1]], _scalar(match[2].strip()), CARD, "training hyperparameters", digest)


def _stated(key: str, value: Any) -> Any:  # any JSON value
    """What a key of the front matter says."""
    if key == "datasets":
        return _datasets(value)
    if not isinstance(value, list):
        return value
    if key == "tags":  # peft writes one that repeats the path of the base
        return [tag for tag in value if ":" not in str(tag)]
    return value[0] if key == "base_model" and len(value) == 1 else value


def _front_matter(text: str, beside: Beside) -> Mapping[str, Any]:
    parts = text.split("---\n", 2)
    if not text.startswith("---\n") or len(parts) < 3:
        return {}
    return _yaml_mapping(parts[1], f"the front matter of {CARD}", beside)


def _embedded_file(text: str, beside: Beside) -> Iterator[Mapping[str, Any]]:
    """The training file that Axolotl writes into the card."""
    match = _AXOLOTL_FILE.search(text)
    if match is not None:
        yield _yaml_mapping(match[2], _AXOLOTL_NAME, beside)


def _yaml_mapping(text: str, what: str, beside: Beside) -> Mapping[str, Any]:
    try:
        value = read_yaml(text, what=what, max_bytes=_MAX_YAML_BYTES)
    except MalformedYaml as error:
        beside.findings.append(Finding(kind="not-read", text=f"{what} says nothing here: {error.why}", place=CARD))
        return {}
    except SecretRefused as error:
        beside.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was not read", place=CARD))
        return {}
    return value if isinstance(value, dict) else {}


# --- values ---


def _is_number(value: Any) -> bool:  # any JSON value
    return isinstance(value, int | float) and not isinstance(value, bool)


_INTEGER = re.compile(r"[-+]?[0-9]{1,64}\Z")


def _scalar(text: str) -> Any:
    """A number where the text is a finite one, else the text."""
    if _INTEGER.match(text):
        return int(text)
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _is_recordable(value: Any) -> bool:  # any JSON value
    """Whether a value can be signed and read back: YAML allows half a surrogate pair, and JSON deep nesting."""
    if _levels(value) > _MAX_LEVELS:
        return False
    try:
        canonical_bytes(as_doubles(value))
    except (NotCanonical, ValueError):
        return False
    return True


def _levels(value: Any) -> int:  # any JSON value
    """The number of containers on the longest way down."""
    if isinstance(value, dict):
        return 1 + max(map(_levels, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_levels, value), default=0)
    return 0


def _same(known: Any, other: Any) -> bool:
    if _is_number(known) and _is_number(other):
        return float(known) == float(other)
    if isinstance(known, list) and isinstance(other, list):
        return sorted(map(str, known)) == sorted(map(str, other))
    return str(known).lower() == str(other).lower()


def _shown(value: Any) -> str:
    return str(value)[:80]


_ABSOLUTE = re.compile(r"^(?:[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\])")


def without_path(text: str) -> str:
    """A path cut to its last part; an id on the Hub (`org/name`) and every other text as they are."""
    is_path = bool(_ABSOLUTE.match(text)) or (text.count("/") > 1 and "://" not in text and " " not in text)
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if is_path else text


def _without_paths(value: Any) -> Any:  # any JSON value
    if isinstance(value, str):
        return without_path(value)
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    return value
