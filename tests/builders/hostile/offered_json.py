"""JSON that is offered."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.builders.hostile.edits import JSON_BYTES, edited, spoiled
from tests.builders.hostile.place import Case, Place


def offered_json() -> Iterator[Case]:
    def of(file: str, change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.base / file, change)
            return place.add_base()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("json", f"config-{name}", of("config.json", change), 2)
    for name in ("empty", "cut", "repeated-key", "100000-levels", "a-list", "nan"):
        yield Case("json", f"tokenizer-{name}", of("tokenizer.json", JSON_BYTES[name]), 2)
    code = {"auto_map": {"AutoModel": "modeling.Evil"}}
    yield Case("json", "config-names-code", lambda place: _config(place, **code), 2)
    yield Case("json", "code-beside", lambda place: place.add_base_with("modeling_evil.py", b"raise SystemExit"), 2)


def _config(place: Place, **over: Any) -> list[str]:
    edited(place.base / "config.json", **over)
    return place.add_base()
