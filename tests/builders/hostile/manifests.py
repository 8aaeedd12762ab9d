"""Manifests."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.builders.hostile.edits import JSON_BYTES, edited, removed, spoiled
from tests.builders.hostile.place import Case, Place


def manifests() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.pulled / "manifest.json", change)
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        yield Case("manifest", name, of(change), 6)

    def member(**over: Any) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            edited(place.pulled / "manifest.json", **over)
            return place.verify()

        return make

    yield Case("manifest", "of-a-newer-form", member(schema="urn:peft-registry:manifest:v9"), 6)
    yield Case("manifest", "of-another-kind", member(kind="base"), 6)
    yield Case("manifest", "no-files", member(files=[]), 6)
    yield Case(
        "manifest", "a-file-above", member(files=[{"path": "../x", "size": 1, "sha256": "sha256:" + "0" * 64}]), 6
    )
    yield Case(
        "manifest", "a-negative-size", member(files=[{"path": "x", "size": -1, "sha256": "sha256:" + "0" * 64}]), 6
    )
    yield Case(
        "manifest",
        "its-own-parent",
        lambda place: member(parents=[{"role": "adapter", "manifest": str(place.manifest)}])(place),
        6,
    )
    yield Case("manifest", "more-members", member(more="x" * 100), 6)
    yield Case("manifest", "removed", lambda place: removed(place.pulled / "manifest.json", place.verify()), 6)
