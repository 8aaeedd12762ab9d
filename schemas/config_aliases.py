"""Reading a training file: familiar words to canonical keys, then validation whose refusals name key, value and remedy.

The words are those of `schemas/familiar_words.py`. Pure: takes and returns values.
"""

import copy
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from peft_registry.schemas.config import TrainingBlock, TrainingFile
from peft_registry.schemas.document import objection
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.familiar_words import (
    BLOCK_WORDS,
    DATA_SET_LISTS,
    FILE_WORDS,
    LAYER_LISTS,
    LORA_WORDS,
    METHOD_WORDS,
    NO_KEY_FOR,
    SWITCHES,
    TRAINING_WORDS,
)
from peft_registry.schemas.methods import METHOD_NAMES, METHODS
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.schemas.suggestions import closest, did_you_mean

_MAX_SHOWN = 60
_LIST_OF_NAMES = "tuple[str, ...]"  # how pydantic calls this shape of a union


class UnknownSetting(InputRefused):
    what = "the training file has an unknown key `{key}`"
    why = "a key that nothing reads is a spelling mistake, or belongs to another tool"
    fix = "{suggestion}"

    key: str
    nearest: str | None
    known: Sequence[str]
    instead: str | None = None

    @property
    def suggestion(self) -> str:
        return self.instead or did_you_mean(self.nearest, f"the known keys are: {', '.join(self.known)}")


class WrongValue(InputRefused):
    what = "the value of `{key}` is {shown}"
    why = "expected: {expected}"
    fix = "{suggestion}"

    key: str
    value: object
    expected: str
    nearest: str | None = None

    @property
    def shown(self) -> str:
        return _shown(self.value)

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, f"correct `{self.key}` in the training file or the override")


class NotAMapping(InputRefused):
    reference = "no-training-file"
    what = "the training file {content}"
    why = "expected: keys and their values, such as `name: …`, `base: …`, `method: …` and `data: …`"
    fix = "start from the one that `registry init` writes"

    value: object

    @property
    def content(self) -> str:
        return "is empty" if self.value is None else f"holds only {_shown(self.value)}"


class MissingKey(InputRefused):
    what = "the training file has no `{key}`"
    why = "a run cannot do without it"
    fix = "add `{key}` to the file"

    key: str


class KeyTwice(InputRefused):
    what = "`{alias}` and `{canonical}` are both given"
    why = "they mean the same thing, and one of them would be ignored"
    fix = "keep `{canonical}`"

    alias: str
    canonical: str


def _key_of_words() -> dict[str, tuple[str, str]]:
    """Each familiar dotted key, with the canonical one and the word whose values it takes."""
    keys = {word: (key, word) for word, key in FILE_WORDS.items()}
    for word, key in LORA_WORDS.items():
        keys[word] = (f"lora.{key}", word)
        if word != key:
            keys[f"lora.{word}"] = (f"lora.{key}", word)
    # lora_pro has no block of its own
    keys |= {f"lora_pro.{name}": (f"lora.{name}", name) for name in LoraBlock.model_fields}
    keys["lora.rank"] = ("lora.r", "rank")
    for word, key in TRAINING_WORDS.items():
        keys[word] = keys[f"training.{word}"] = (f"training.{key}", word)
    keys |= {name: (f"training.{name}", name) for name in TrainingBlock.model_fields}
    return keys


ALIASES: Mapping[str, tuple[str, str]] = _key_of_words()


def _converted(word: str, value: Any) -> Any:
    """The value of a familiar word as the canonical key takes it."""
    for switch, meaning in SWITCHES.get(word, ()):
        # 1 is not true here, and true is not 1
        if type(value) is type(switch) and value == switch:
            return copy.deepcopy(meaning)
    if word in LAYER_LISTS:
        return _layers(value)
    return _single_data_set(value) if word in DATA_SET_LISTS else value


def _layers(value: Any) -> Any:
    """LLaMA-Factory writes `all`; a comma-separated text is a list."""
    if value in ("all", "all-linear"):
        return "all-linear"
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _single_data_set(value: Any) -> Any:
    if not isinstance(value, list) or len(value) != 1:
        raise WrongValue("datasets", value, expected="a list of one data set; more than one is not available here")
    entry = value[0]
    if isinstance(entry, dict) and "type" in entry and "format" not in entry:
        return {("format" if key == "type" else key): item for key, item in entry.items()}
    return entry


def parse_training_file(raw: Any, overrides: Sequence[tuple[str, Any]] = ()) -> tuple[TrainingFile, tuple[str, ...]]:
    """The validated file, and a note for each familiar word that stood for a canonical key.

    Args:
        raw: the value of the YAML document; it is not changed.
        overrides: dotted keys and their values (`("training.seed", 8)`), canonical or familiar; later ones win.

    Raises:
        NotAMapping: the document holds no keys.
        UnknownSetting, MissingKey, KeyTwice: with the dotted key, and the nearest known one.
        WrongValue: with key, value and what was expected.
        MalformedReference: `name` does not name a model, or `base` is not a reference.
    """
    if not isinstance(raw, dict):
        raise NotAMapping(raw)
    notes: list[str] = []
    document = _canonical(raw, notes)
    for key, value in overrides:
        canonical, converted = _translate(key, value, notes)
        _put(document, canonical, converted)
    _rename_method(document, notes)
    _defaults_of_method(document)
    try:
        return TrainingFile.model_validate(_tuples(document)), tuple(dict.fromkeys(notes))
    except ValidationError as error:
        raise _refusal(*_first_of_key(error.errors(include_url=False))) from error


def canonical_key(key: str) -> str:
    """The dotted key that a familiar one stands for, such as `lora.r` for `lora_rank` or `qlora.r`; any other as it is."""
    word, dot, rest = key.partition(".")
    if dot and word in BLOCK_WORDS:
        return canonical_key(f"{BLOCK_WORDS[word]}.{rest}")
    return ALIASES[key][0] if key in ALIASES else key


def known_keys() -> tuple[str, ...]:
    """Every canonical dotted key, in the order of the schema."""
    return tuple(_keys(TrainingFile, ""))


def _canonical(raw: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    document = copy.deepcopy(raw)
    _rename_blocks(document, notes)
    for path in _paths(document):
        if path not in ALIASES:
            continue
        canonical, value = _translate(path, _take(document, path), notes)
        if _has(document, canonical):
            raise KeyTwice(path, canonical)
        _put(document, canonical, value)
    return document


def _rename_blocks(document: dict[str, Any], notes: list[str]) -> None:
    for word, block in BLOCK_WORDS.items():
        if word not in document:
            continue
        if block in document:
            raise KeyTwice(word, block)
        document[block] = document.pop(word)
        notes.append(f"`{word}` is read as `{block}`")


def _translate(key: str, value: Any, notes: list[str]) -> tuple[str, Any]:
    word, dot, rest = key.partition(".")
    if dot and word in BLOCK_WORDS:
        return _translate(f"{BLOCK_WORDS[word]}.{rest}", value, notes)
    if key not in ALIASES:
        return key, value
    canonical, familiar = ALIASES[key]
    notes.append(f"`{key}` is read as `{canonical}`")
    return canonical, _converted(familiar, value)


def _paths(document: dict[str, Any]) -> list[str]:
    """The dotted keys of the first two levels: aliases are nowhere deeper."""
    found = []
    for key, value in document.items():
        found.append(key)
        if isinstance(value, dict):
            found.extend(f"{key}.{inner}" for inner in value)
    return found


def _take(document: dict[str, Any], path: str) -> Any:
    *parents, last = path.split(".")
    for parent in parents:
        document = document[parent]
    return document.pop(last)


def _has(document: Any, path: str) -> bool:
    for part in path.split("."):
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        inner = document.setdefault(parent, {})
        if inner is None:
            inner = document[parent] = {}
        if not isinstance(inner, dict):
            raise WrongValue(parent, inner, expected=f"a block, because `{path}` is given too")
        document = inner
    document[last] = value


def _rename_method(document: dict[str, Any], notes: list[str]) -> None:
    word = document.get("method")
    if isinstance(word, str) and word in METHOD_WORDS:
        document["method"] = METHOD_WORDS[word]
        notes.append(f"method `{word}` is read as `{METHOD_WORDS[word]}`")


def _defaults_of_method(document: dict[str, Any]) -> None:
    """Each method has its own learning rate; a file that names none, or null, gets that, and its record says which. One that
    trains on a base in few bits gets the schema's defaults for them, NF4 with double quantization."""
    name = document.get("method")  # any value may stand there
    method = METHODS.get(name) if isinstance(name, str) else None
    if method is not None and method.needs_quantized_base and document.get("quantization") is None:
        document["quantization"] = {}
    training = document.setdefault("training", {})
    if method is not None and isinstance(training, dict) and training.get("learning_rate") is None:
        training["learning_rate"] = method.learning_rate


def _tuples(value: Any) -> Any:
    """Lists as tuples: the schema is strict, and YAML has no tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _first_of_key(errors: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The first error, and those of the same key: a value that may be of several shapes has one for each.

    Of a list whose items are not names, pydantic reports the shape "list of names" at an item.
    """
    location = _location(errors[0])
    at_or_below = (error for error in errors if _location(error)[: len(location)] == location)
    return [error for error in at_or_below if _location(error) == location or _LIST_OF_NAMES in error["loc"]]


def _location(error: ErrorDetails) -> list[str]:
    return [str(part) for part in error["loc"] if _is_key(str(part))]


def _refusal(error: ErrorDetails, *other_shapes: ErrorDetails) -> InputRefused:
    location = _location(error)
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        # other tools write these at the top of the file, or among the settings of the training
        instead = NO_KEY_FOR.get(location[-1]) if location[:-1] in ([], ["training"]) else None
        return UnknownSetting(key, nearest=_nearest(location), known=_siblings(location), instead=instead)
    if error["type"] == "missing":
        return MissingKey(key)
    if key == "method":
        word = error["input"]
        nearest = closest(word, METHOD_NAMES) if isinstance(word, str) else None
        return WrongValue(key, word, expected=f"one of {', '.join(METHOD_NAMES)}", nearest=nearest)
    expected = dict.fromkeys(map(_expected, (error, *other_shapes)))
    return WrongValue(key or "(the whole file)", error["input"], expected=" or ".join(expected))


def _is_key(part: str) -> bool:
    # pydantic puts the alternatives of a union into the location: `literal['all-linear']`, `tuple[str, ...]`
    return "[" not in part


def _expected(error: ErrorDetails) -> str:
    if _LIST_OF_NAMES in error["loc"]:
        return "a list of names"
    text = objection(error).removeprefix("Input should be ")
    if "instance of" in text:
        return "a block of keys"
    return "a list" if text == "a valid tuple" else text


def _nearest(location: list[str]) -> str | None:
    location = _without_places(location)
    here = _siblings(location)
    prefix = ".".join(location[:-1])
    close = closest(location[-1], here)
    if close:
        return f"{prefix}.{close}" if prefix else close
    elsewhere = [key for key in known_keys() if key.rpartition(".")[2] == location[-1]]
    words = difflib.get_close_matches(".".join(location), ALIASES, n=1, cutoff=0.8)
    if elsewhere:
        return elsewhere[0]
    return ALIASES[words[0]][0] if words else None


def _siblings(location: list[str]) -> list[str]:
    prefix = "".join(f"{part}." for part in _without_places(location)[:-1])
    inside = (key.removeprefix(prefix) for key in known_keys() if key.startswith(prefix))
    return list(dict.fromkeys(key.partition(".")[0] for key in inside))


def _without_places(location: list[str]) -> list[str]:
    """A key without the numbers of list items: every item has the same keys."""
    return [part for part in location if not part.isdigit()]


def _keys(schema: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in schema.model_fields.items():
        inner = _block(field.annotation)
        yield f"{prefix}{name}"
        if inner is not None:
            yield from _keys(inner, f"{prefix}{name}.")


def _block(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)), None)


def _shown(value: Any) -> str:
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 1]}…"
