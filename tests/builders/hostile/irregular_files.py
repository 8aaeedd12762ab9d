"""What is not a regular file."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.builders.hostile.place import STATEMENTS, WEIGHTS, Case, Place


def files() -> Iterator[Case]:
    def in_pulled(make: Callable[[Path], None], name: str = "extra") -> Callable[[Place], list[str]]:
        def spoil(place: Place) -> list[str]:
            path = place.pulled / name
            path.unlink(missing_ok=True)
            make(path)
            return place.verify()

        return spoil

    def in_base(make: Callable[[Path], None], name: str = "extra.json") -> Callable[[Place], list[str]]:
        def spoil(place: Place) -> list[str]:
            path = place.base / name
            path.unlink(missing_ok=True)
            make(path)
            return place.add_base()

        return spoil

    things: dict[str, Callable[[Path], None]] = {
        "link-to-a-device": lambda path: path.symlink_to("/dev/zero"),
        "link-to-nothing": lambda path: path.symlink_to("nothing"),
        "link-to-itself": lambda path: path.symlink_to(path.name),
        "link-to-a-folder": lambda path: path.symlink_to("/"),
        "fifo": os.mkfifo,
        "socket": _a_socket,
    }
    for name, make in things.items():
        yield Case("file", f"pulled-{name}", in_pulled(make), 6)
        yield Case("file", f"pulled-weights-{name}", in_pulled(make, WEIGHTS), 6)
        yield Case("file", f"base-{name}", in_base(make), 2)
        yield Case("file", f"base-config-{name}", in_base(make, "config.json"), 2)
    yield Case("file", "pulled-extra", in_pulled(lambda path: path.touch()), 6)
    yield Case("file", "pulled-hidden", in_pulled(lambda path: path.touch(), ".hidden"), 6)
    yield Case("file", "pulled-git", in_pulled(_a_repository, ".git"), 6)
    yield Case("file", "pulled-evidence-extra", in_pulled(lambda path: path.touch(), "evidence/more.json"), 6)
    yield Case("file", "pulled-weights-missing", in_pulled(lambda path: None, WEIGHTS), 6)
    yield Case("file", "pulled-weights-a-folder", in_pulled(lambda path: path.mkdir(), WEIGHTS), 6)
    yield Case("file", "pulled-other-case", in_pulled(lambda path: path.write_text("{}"), "ADAPTER_config.json"), 6)
    yield Case("file", "pulled-name-not-utf-8", lambda place: _name_not_utf8(place), 6)
    for name, code in {"README.md": 6, WEIGHTS: 6, "adapter_config.json": 6, STATEMENTS: 6, "evidence/more": 6}.items():
        # a hole in a file takes no place in an archive
        yield Case("file", f"pulled-{name.replace('/', '-')}-of-8-tebibytes", in_pulled(_a_hole, name), code)


def _a_hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 40)


def _a_repository(path: Path) -> None:
    path.mkdir()
    (path / "config").write_text("[core]\n")


def _a_socket(path: Path) -> None:
    there = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have about 100 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(there)


def _name_not_utf8(place: Place) -> list[str]:
    (Path(os.fsdecode(os.fsencode(place.pulled) + b"/\xff"))).touch()
    return place.verify()
