"""The home that 0.1.0 made and what its own commands printed about it: copied, asked with a stopped clock, written down once.

`python -m tests.compat.kept_home FOLDER` writes what the code at hand prints. The kept files were written by the code of the
commit that the README beside them names; only a page may be written again, after its look was changed on purpose.
"""

import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import datetime, tzinfo
from pathlib import Path
from unittest import mock

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import utc_now

KEPT = Path(__file__).parent / "0.1.0-home"
EXPECTED = KEPT / "expected"
# when every kept key is valid, and when the trust file has expired
THEN = "2026-11-27T12:00:00Z"
LATER = "2031-11-27T12:00:00Z"
VERSIONS = ("formal-replies:1", "polite-ia3:1", "polite-replies:1", "polite-replies:2", "replies:1", "tiny:1")
PULLED = "polite-replies:2"
EVALUATED = ("formal-replies:1", "polite-ia3:1", "polite-replies:1", "polite-replies:2")
PAGES = ("polite-replies:1", "replies:1")
_JSON = ("--output", "json")


def _commands() -> dict[str, tuple[str, ...]]:
    """File of what was printed → command. The working folder holds `home` and `pulled`."""
    found: dict[str, tuple[str, ...]] = {
        "list.json": ("list", *_JSON),
        "trust.json": ("trust", "show", *_JSON),
        "verify-pulled.json": ("verify", "./pulled", *_JSON),
        "recheck-pulled.json": ("evaluate", "./pulled", "--recheck", *_JSON),
    }
    for label in VERSIONS:
        found[f"verify-{_file(label)}.json"] = ("verify", label, *_JSON)
        found[f"show-{_file(label)}.json"] = ("show", label, *_JSON)
        found[f"lineage-{_file(label)}.json"] = ("lineage", label, *_JSON)
    for label in ("tiny:1", "replies:1"):
        found[f"lineage-{_file(label)}.txt"] = ("lineage", label)
    for label in EVALUATED:
        found[f"recheck-{_file(label)}.json"] = ("evaluate", label, "--recheck", *_JSON)
    for label in PAGES:
        found[f"page-of-{_file(label)}.html"] = ("report", label, "--out", "-", "--as-of", THEN)
    for alias in ("polite-replies@champion", "polite-replies@fallback", "replies@champion"):
        found[f"show-{alias}.txt"] = ("show", alias)
    return found


def _file(label: str) -> str:
    return label.replace(":", "-")


COMMANDS = _commands()


def copy_kept(folder: Path, kept: Path = KEPT) -> Path:
    """A copy under `folder`, as `home` and `pulled`, with the modes that git does not keep; returns the home."""
    for name in ("home", "pulled"):
        shutil.copytree(kept / name, folder / name)
    home = folder / "home"
    (home / "keys").chmod(0o700)
    for key in (home / "keys").glob("*.key"):
        key.chmod(0o600)
    for stored in (home / "objects").glob("*/*"):
        stored.chmod(0o444)
    return home


@contextmanager
def stopped_clock(at: str) -> Iterator[None]:
    """Everything that asks for the time gets this one: the kept trust file is valid for a year only."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime.fromisoformat(at).astimezone(tz)

    read_by = utc_now.__globals__
    assert read_by["datetime"] is datetime
    with mock.patch.dict(read_by, {"datetime": Stopped}):
        assert utc_now() == at
        yield


def printed(*arguments: str, at: str = THEN) -> tuple[int, str]:
    """Exit code and stdout of a command, run in the working folder upon the `home` in it."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
    with stopped_clock(at), redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = run([*arguments, "--home", "home"])
        out.flush()
    return code, out.buffer.getvalue().decode()


def normalised(text: str) -> str:
    """Without the only thing that a command prints of the code at hand: its version, in two places of a page, and its rules."""
    text = re.sub(r"(?<= · by registry )[^<]+", "VERSION", text)
    text = re.sub(r"(?<=<p>registry )\S+(?= · rule set )", "VERSION", text)
    return re.sub(r"(?<= · rule set )\S+ of the fields, \S+ of the verdicts", "RULES", text)


def write_expected(destination: Path) -> None:
    """Write what the code at hand prints, a file a command."""
    with tempfile.TemporaryDirectory() as scratch:
        copy_kept(Path(scratch))
        os.chdir(scratch)
        for name, arguments in COMMANDS.items():
            code, text = printed(*arguments)
            assert code == 0, (arguments, code)
            (destination / name).write_text(normalised(text), "utf-8", newline="")


if __name__ == "__main__":
    write_expected(Path(sys.argv[1]).resolve())
