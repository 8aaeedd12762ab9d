"""Trust files that are not what their keeper signed, or that nobody could have signed."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.builders.hostile.edits import JSON_BYTES, spoiled
from tests.builders.hostile.place import Case, Place
from tests.builders.signing import a_p256_key


def trust_files() -> Iterator[Case]:
    def of(change: Callable[[bytes], bytes]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            spoiled(place.trust, change)
            return place.verify()

        return make

    for name, change in JSON_BYTES.items():
        # the one that is too large for a trust file is not read, and says nothing of the version
        code = 2 if name == "2000000-lists" else 6
        yield Case("trust", name, of(change), code)

    def signed_by(*seeds: int) -> Callable[[Place], list[str]]:
        """The newest version signed by other keys than those that it names as roots."""

        def make(place: Place) -> list[str]:
            version = _newest_version(place.trust)
            payload = base64.b64decode(version["payload"])
            version["signatures"] = [
                {
                    "keyid": a_p256_key(seed).public.key_id,
                    "sig": base64.b64encode(a_p256_key(seed).sign(payload)).decode(),
                }
                for seed in seeds
            ]
            _put_newest_version(place.trust, version)
            return place.verify()

        return make

    yield Case("trust", "signed-by-a-stranger", signed_by(5), 6)
    yield Case("trust", "signed-by-nobody", signed_by(), 5)
    yield Case("trust", "not-json-but-a-key", lambda place: _written(place.trust, a_p256_key().public.pem, place), 6)
    yield Case("trust", "a-folder", _trust_is_a_folder, 2)
    yield Case("trust", "a-fifo", _trust_is_a_fifo, 2)
    yield Case("trust", "none", lambda place: ["verify", str(place.pulled), "--trust", str(place.folder / "none")], 7)


def _newest_version(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_bytes())
    newest: dict[str, Any] = value["chain"][-1] if "chain" in value else value
    return newest


def _put_newest_version(path: Path, version: dict[str, Any]) -> None:
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps({"chain": [*value["chain"][:-1], version]} if "chain" in value else version))


def _written(path: Path, data: bytes, place: Place) -> list[str]:
    path.write_bytes(data)
    return place.verify()


def _trust_is_a_folder(place: Place) -> list[str]:
    place.trust.unlink()
    place.trust.mkdir()
    return place.verify()


def _trust_is_a_fifo(place: Place) -> list[str]:
    place.trust.unlink()
    os.mkfifo(place.trust)
    return place.verify()
