"""Paths inside a folder that somebody else wrote: enumerated without following links, compared byte for byte.

A path is POSIX text relative to the folder. Whatever two systems could read differently is refused: links, names that
are not UTF-8, control characters, backslashes, and two names that become one on a file system that folds case or
Unicode forms.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.hub_snapshots import linked_file
from peft_registry.registry.intake.json import Family
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotFound, Unavailable

MAX_FILES = 100_000
MAX_DEPTH = 64
MAX_PATH_BYTES = 4096  # PATH_MAX of Linux
# C0, DEL, C1, line and paragraph separators, marks that reorder text on a screen (Unicode TR 36 §3.4), half surrogates
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class UnsafePath(IntegrityBroken):
    what = "{path!a} is not a path that may be verified"
    why = "{reason}"
    fix = "fetch the folder again from where it was signed; do not open it with other tools before"

    path: str
    reason: str


class UnsafeInputPath(InputRefused):
    what = "{path!a} is not a path that may enter"
    why = "{reason}"
    fix = "rename or remove it, or copy the files themselves (`cp -RL`) into a folder of their own"

    path: str
    reason: str


class FolderMissing(NotFound):
    what = "there is no folder {path}"
    why = "nothing has that name"
    fix = "check the path"

    path: Path


class NotAFolder(InputRefused):
    what = "{path} is not a folder"
    why = "a file has that name"
    fix = "name the folder that holds the files"

    path: Path


class FolderUnreadable(Unavailable):
    what = "the folder {path} cannot be read"
    why = "{reason}"
    fix = "check its permissions and the disk, then run the command again"

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class FileFound:
    """One regular file of a folder: its POSIX path relative to the root, and its size in bytes when it was seen."""

    path: str
    size: int


def safe_relative_path(text: str, *, family: Family = "integrity") -> str:
    """Return `text` if it is a plain relative POSIX path.

    Raises:
        UnsafePath: absolute, empty, with an empty, `.` or `..` component, a trailing slash, a backslash, a control
            character, half a surrogate pair (a name that is not UTF-8), or longer than 4096 bytes. For
            intake, `UnsafeInputPath`.
    """
    why = _objection(text)
    if why is not None:
        raise _unsafe(family)(text, why)
    return text


def scan_folder(
    root: Path,
    *,
    family: Family = "integrity",
    exclude: Collection[str] = (),
    max_files: int = MAX_FILES,
    hub_links: bool = False,
) -> tuple[FileFound, ...]:
    """Every regular file under `root`, sorted by the code points of its POSIX path.

    `root` itself may be a link: the user named it. Nothing below it may be. Empty folders are not recorded.

    Args:
        root: the folder.
        family: chooses between `UnsafePath` (exit 6) and `UnsafeInputPath` (exit 2).
        exclude: exact paths of files or folders, relative to the root, that are not looked at; no wildcards.
        max_files: more files than this are refused.
        hub_links: a link of a snapshot of the Hub to a file of its own repository is that file.

    Raises:
        UnsafePath: a link, FIFO, socket or device; an unsafe name; two names in one folder that fold to one under
            NFC and case folding; too many files or levels.
        FolderMissing: there is no such folder.
        NotAFolder: a file has that name.
        FolderUnreadable: it, or a folder in it, cannot be listed.
    """
    if not root.exists():
        raise FolderMissing(root)
    if not root.is_dir():
        raise NotAFolder(root)
    files: list[FileFound] = []
    for file in _walk(root, "", _Rules(_unsafe(family), frozenset(exclude), hub_links), depth=1):
        if len(files) == max_files:
            raise _unsafe(family)(file.path, f"the folder holds more than {max_files} files")
        files.append(file)
    return tuple(sorted(files, key=lambda file: file.path))


def control_character(text: str) -> str | None:
    """The first character of `text` that would not show as itself (`U+001B`), or None."""
    match = _CONTROL.search(text)
    return None if match is None else f"U+{ord(match.group()):04X}"


MakePathError = Callable[[str, str], KnownError]


@dataclass(frozen=True, slots=True)
class _Rules:
    error: MakePathError
    exclude: frozenset[str]
    hub_links: bool


def _unsafe(family: Family) -> MakePathError:
    return UnsafePath if family == "integrity" else UnsafeInputPath


def _walk(folder: Path, prefix: str, rules: _Rules, *, depth: int) -> Iterator[FileFound]:
    if depth > MAX_DEPTH:
        raise rules.error(prefix, f"folders are nested deeper than {MAX_DEPTH} levels")
    seen: dict[str, str] = {}
    for entry in _entries(folder):
        path = prefix + entry.name
        if path in rules.exclude:
            continue
        why = _objection(path)
        if why is not None:
            raise rules.error(path, why)
        twin = seen.setdefault(_folded(entry.name), path)
        if twin != path:
            raise rules.error(path, f"its name and {_shown(twin)} are one name where case or Unicode form is not kept")
        status = _lstat(entry)
        if rules.hub_links and stat.S_ISLNK(status.st_mode):
            status = _of_blob(Path(entry.path)) or status
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(folder / entry.name, f"{path}/", rules, depth=depth + 1)
        elif stat.S_ISREG(status.st_mode):
            yield FileFound(path, status.st_size)
        else:
            raise rules.error(path, f"it is {_kind(status.st_mode)}, and only regular files are read")


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise FolderUnreadable(folder, error.strerror or str(error)) from error


def _lstat(entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        raise FolderUnreadable(Path(entry.path), error.strerror or str(error)) from error


def _of_blob(link: Path) -> os.stat_result | None:
    """What the file system says of the file that the link of a snapshot leads to; None where it leads to none."""
    target = linked_file(link)
    try:
        return None if target is None else target.lstat()
    except OSError:
        return None


def _objection(text: str) -> str | None:  # noqa: PLR0911  one return a rule reads best
    if not text:
        return "it is empty"
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if size > MAX_PATH_BYTES:
        return f"it is longer than {MAX_PATH_BYTES} bytes"
    character = control_character(text)
    if character is not None:
        return f"it contains the control character {character}"
    if "\\" in text:
        return "it contains a backslash, which some systems read as a separator"
    if text.startswith("/"):
        return "it is absolute"
    if any(part in ("", ".", "..") for part in text.split("/")):
        return "a component is empty, '.' or '..'"
    return None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _kind(mode: int) -> str:
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for matches, name in kinds if matches(mode)), "a device")


def _shown(path: str) -> str:
    """The path with everything unprintable escaped, so that an error message cannot draw on the terminal."""
    return ascii(path[:200])
