"""What the files beside the weights say of how these were made: settings of the training, as other tools write them.

Each setting is `imported`, with the file and the key that say it and the digest of that file. Of several files the first one that
is read counts, what the trainer wrote before what a card says; where another one contradicts it, that is a finding. Paths are cut
to their last part: what is recorded is signed and copied.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.imports.setting_names import WORDS
from peft_registry.registry.intake.secrets import SecretRefused, require_no_secrets
from peft_registry.schemas.canonical import NotCanonical, as_doubles, canonical_bytes
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding
from peft_registry.schemas.values import Value, imported

_MAX_LEVELS = 16  # of a value; what is recorded stands deeper, and is refused from 128 levels on where it is read back
_MAX_VALUE_BYTES = 64 * 1024  # canonical; the longest list of module names that a tool writes has some 20,000
_MAX_NAMES = 100  # of data sets: the record has a section for each
_MAX_POINTS = 1000  # of a loss curve; a page draws fewer


@dataclass(slots=True)
class FolderSettings:
    """The settings that files state, the files that were read for them with their digests, and what to know of both."""

    by_name: dict[str, Value] = field(default_factory=dict)
    read: dict[str, Digest] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def put(self, name: str, value: Any, source: str, key: str, digest: Digest) -> None:  # any JSON value
        """Keep the first value of a setting; another file that says something else is a finding."""
        if value is None or value in ("", [], {}):
            return
        if not _is_recordable(value):
            text = f"{name} is left out: what {key} says cannot be recorded"
            self.findings.append(Finding(kind="not-read", text=text, place=source))
            return
        if name == "loss_curve":
            value = self._thinned(value, source)
        if name == "datasets" and isinstance(value, list) and len(value) > _MAX_NAMES:
            text = f"it names {len(value)} data sets: the first {_MAX_NAMES} are recorded, and the others are not"
            self.findings.append(Finding(kind="cut-short", text=text, place=source))
            value = value[:_MAX_NAMES]
        size = len(canonical_bytes(as_doubles(value)))
        if size > _MAX_VALUE_BYTES:
            text = f"{name} is left out: what {key} says has {size} bytes, more than {_MAX_VALUE_BYTES}"
            self.findings.append(Finding(kind="not-read", text=text, place=source))
            return
        value = _without_paths(value)
        try:
            require_no_secrets({name: value}, what=source)
        except SecretRefused as error:
            self.findings.append(Finding(kind="secret-beside", text=f"{error.what}: it was left out", place=source))
            return
        known = self.by_name.get(name)
        if known is None:
            self.by_name[name] = imported(value, method=f"{source}, {key}", evidence=(digest,))
        elif not _is_same(known.value, value):
            text = f"{name} is {_shown(known.value)} by {known.method}, and {_shown(value)} by {source}, {key}"
            self.findings.append(Finding(kind="settings-disagree", text=text, place=source))

    def _thinned(self, curve: dict[str, list[Any]], source: str) -> dict[str, list[Any]]:
        """A curve with few enough points, evenly taken, its first and its last among them."""
        points = len(curve["steps"])
        if points <= _MAX_POINTS:
            return curve
        kept = [round(number * (points - 1) / (_MAX_POINTS - 1)) for number in range(_MAX_POINTS)]
        text = f"its loss curve has {points} points: {_MAX_POINTS} of them, evenly taken, are recorded"
        self.findings.append(Finding(kind="cut-short", text=text, place=source))
        return {name: [values[number] for number in kept] for name, values in curve.items()}

    def put_words(self, words: Mapping[str, Any], source: str, digest: Digest) -> None:
        """Keep what the words of another tool say; those that are not known say nothing."""
        for word, value in words.items():
            name = WORDS.get(word)
            if name is not None:
                self.put(name, dataset_names(value) if name == "datasets" else value, source, word, digest)

    @property
    def card_tags(self) -> tuple[str, ...]:
        """The tags of the folder's own card, lower case."""
        tags = self.by_name.get("tags")
        if tags is None or not isinstance(tags.value, list):
            return ()
        return tuple(str(tag).lower() for tag in tags.value)

    @property
    def base(self) -> str | None:
        """What the files call the base; None where none of them names one, or one names several."""
        named = self.by_name.get("base")
        return named.value if named is not None and isinstance(named.value, str) else None


def dataset_names(value: Any) -> list[str]:  # as any of the tools writes it
    """Names of data sets, from a list of names or of mappings with a path, or from names with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    entries = value if isinstance(value, list) else [value]
    names = [entry.get("path") or entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [str(name) for name in names if name]


def is_number(value: Any) -> bool:  # any JSON value
    """Whether it is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_same(known: Any, other: Any) -> bool:  # any JSON values
    if is_number(known) and is_number(other):
        return float(known) == float(other)
    if isinstance(known, list) and isinstance(other, list):
        return sorted(map(str, known)) == sorted(map(str, other))
    return str(known).lower() == str(other).lower()


def _shown(value: Any) -> str:  # any JSON value
    return str(value)[:80]


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


# --- paths ---

_ABSOLUTE = re.compile(r"^(?:file:|[/\\~]|\.{1,2}[/\\]|[A-Za-z]:[/\\])")


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
