"""Proofs in a folder, and checkpoints beside a home."""

import base64
import json
from collections.abc import Callable, Iterator

from peft_registry.schemas.canonical import canonical_bytes
from tests.builders.hostile.edits import NOTE_BYTES, changed_line, spoiled
from tests.builders.hostile.place import COMPLETE, PROOF, Case, Place


def proofs() -> Iterator[Case]:
    def of(name: str, change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.pulled / name, change)
            return place.verify()

        return make

    for name, change in NOTE_BYTES.items():
        yield Case("proof", f"entry-{name}", of(PROOF, change), 6)
        yield Case("proof", f"complete-{name}", of(COMPLETE, change), 6)

    def index(text: bytes) -> Callable[[bytes], bytes]:
        def change(data: bytes) -> bytes:
            lines = data.split(b"\n")
            number = next(number for number, line in enumerate(lines) if line.startswith(b"index "))
            lines[number] = b"index " + text
            return b"\n".join(lines)

        return change

    for name, text in {
        "negative": b"-1",
        "padded": b"007",
        "huge": b"9" * 40,
        "another": b"0",
        "words": b"one",
    }.items():
        yield Case("proof", f"index-{name}", of(PROOF, index(text)), 6)
    yield Case(
        "proof",
        "more-hashes",
        of(
            PROOF,
            lambda data: data.replace(b"index ", b"index ", 1).replace(
                b"\n\n", b"\n" + (b"A" * 43 + b"=\n") * 70 + b"\n", 1
            ),
        ),
        6,
    )
    yield Case("proof", "removed", lambda place: _without(place, COMPLETE), 5)
    yield Case("proof", "exchanged", _exchanged_proofs, 6)
    yield Case("proof", "complete-one-entry-10000-times", of(COMPLETE, _one_entry_10000_times), 6)


def _one_entry_10000_times(data: bytes) -> bytes:
    """The list of a folder in which the proof of one statement's entry, a good one, stands as often as a list may be long."""
    lines = data.split(b"\n")
    number = next(number for number, line in enumerate(lines) if line.startswith(b"extra "))
    stated = json.loads(base64.b64decode(lines[number].removeprefix(b"extra ")))
    stated["entries"] = stated["entries"][:1] * 10_000
    lines[number] = b"extra " + base64.b64encode(canonical_bytes(stated))
    return b"\n".join(lines)


def _without(place: Place, name: str) -> list[str]:
    (place.pulled / name).unlink()
    return place.verify()


def _exchanged_proofs(place: Place) -> list[str]:
    one, other = place.pulled / PROOF, place.pulled / COMPLETE
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    return place.verify()


def checkpoints() -> Iterator[Case]:
    def against(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.folder / "checkpoint"
            path.write_bytes(change((place.home / "checkpoints" / "latest").read_bytes()))
            return place.in_home("log", "check", "--against", str(path))

        return make

    def beside(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.home / "checkpoints" / "latest", change)
            return place.in_home("verify", "helper:1")

        return make

    for name, change in NOTE_BYTES.items():
        # a file that is too large to be a checkpoint is not read, and shows nothing about the log
        too_large = name in ("a-mebibyte-more", "100000-signatures")
        yield Case("checkpoint", f"given-{name}", against(change), 2 if too_large else 6)
        yield Case("checkpoint", f"remembered-{name}", beside(change), 6)
    sizes = {
        "zero": b"0",
        "negative": b"-3",
        "padded": b"03",
        "larger": b"400000",
        "huge": b"9" * 30,
        "words": b"three",
    }
    for name, size in sizes.items():
        yield Case(
            "checkpoint", f"size-{name}", against(lambda data, size=size: changed_line(data, 1, lambda _: size)), 6
        )  # type: ignore[misc]
    yield Case(
        "checkpoint", "another-log", against(lambda data: changed_line(data, 0, lambda _: b"peft-registry/other")), 6
    )
    yield Case("checkpoint", "short-root", against(lambda data: changed_line(data, 2, lambda _: b"AAAA")), 6)
    yield Case("checkpoint", "another-root", against(lambda data: changed_line(data, 2, lambda _: b"A" * 43 + b"=")), 6)
