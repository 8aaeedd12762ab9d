"""Which homes are this user's own: what tells them from one that came in somebody's archive.

A home found by walking upwards may have been unpacked together with what is being verified; its owner on disk is then the
user all the same. Its settings name the database and the store to dial, and its trust file vouches for whatever came with it.
So it is opened only if the user made it (`init`), or named it once (`--home`, `REGISTRY_HOME`). What is remembered is where it
lies and which registry it is: both can be read by others, but nobody else can put a home of theirs where the user's own lies.
Kept in the user's own state folder, a home a line: its registry id and its real path, each quoted as in a URL. Where the user names
it by another path, through a link, a line with that path follows, and the word `named` behind it.

Whoever can write a home can also edit where its settings say that database, store and MLflow server are, and hear the credentials
of its user there. So these addresses are remembered too, at each of those paths, behind the word `addresses`; others are asked
nothing before the user accepts them. Those of a home that an earlier release remembered are believed the first time.
"""

import json
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from peft_registry.registry.disk.files import read_file
from peft_registry.schemas.errors import NotChecked

FILE_NAME = "homes"
_NAMED = "named"
_ADDRESSES = "addresses"
_MAX_BYTES = 1 << 20


class HomeNotNamed(NotChecked):
    what = "the registry at {folder} was found in a parent folder, and you have never named it"
    why = "it may have come in an archive: it would say whom you trust, and which servers get your credentials"
    fix = "if it is yours, name it once with --home {folder}; to verify a folder without it, use --trust FILE"

    folder: Path


class AddressesChanged(NotChecked):
    what = "the registry at {folder} names another {changed} than when you accepted it"
    why = "whoever edited its registry.json would have your credentials sent there; nothing was asked of it"
    fix = (
        "restore registry.json from a backup; if you moved it yourself, look at it with `registry trust pin`, then accept it "
        "with --accept ROOT"
    )

    folder: Path
    changed: str


class StateFolderClosed(NotChecked):
    what = "your state folder {folder} cannot be read"
    why = "{reason}; it remembers the logs and trust files that you saw"
    fix = "run the command as its owner, or set XDG_STATE_HOME to a folder of yours"

    folder: Path
    reason: str


class Addresses(NamedTuple):
    """What the settings of a home let its user contact; None where that lies in the home."""

    database: str | None = None
    store: str | None = None
    mirror: str | None = None


def state_folder(environment: Mapping[str, str]) -> Path | None:
    """Where this user's own notes are kept (XDG base directories); None for a user without a home folder.

    Raises:
        StateFolderClosed: it is there, and this user may not look into it.
    """
    stated = environment.get("XDG_STATE_HOME") or ""
    try:
        folder = (Path(stated) if stated.startswith("/") else Path.home() / ".local" / "state") / "peft-registry"
    except RuntimeError:
        return None
    _require_open(folder)
    return folder


def _require_open(folder: Path) -> None:
    """Raise StateFolderClosed if a folder is there that this user may not list and enter."""
    try:
        status = folder.stat()
    except PermissionError as error:
        # a folder above it is closed, as /root is to everybody else
        raise StateFolderClosed(folder, "a folder above it is closed to you") from error
    except OSError:
        return  # there is none yet, or none can be made
    if stat.S_ISDIR(status.st_mode) and not os.access(folder, os.R_OK | os.X_OK):
        mode = stat.S_IMODE(status.st_mode)
        raise StateFolderClosed(
            folder, f"it belongs to user {status.st_uid} with mode {mode:04o}, and you are user {os.getuid()}"
        )


def known_at(state: Path | None, folder: Path) -> frozenset[str]:
    """The ids of the registries that this user has made or named at this place; empty for a place that they have not."""
    place = _quoted_place(folder)
    lines = (line.split() for line in _read_lines(state))
    return frozenset(os.fsdecode(unquote_to_bytes(words[0])) for words in lines if words[1:] == [place])


def known_under(state: Path | None, folder: Path) -> frozenset[str]:
    """The ids of the registries that this user has made or named at a path as they type it, or where that leads now.

    Whoever can move a home may leave a link to their own in its place: it leads to a place that the user has never named.
    """
    places = (_quoted_place(folder), _quoted(folder))
    lines = (line.split() for line in _read_lines(state))
    known = (words[0] for words in lines if words[1:2] and words[1] in places and words[2:] in ([], [_NAMED]))
    return frozenset(os.fsdecode(unquote_to_bytes(registry_id)) for registry_id in known)


def remember(state: Path | None, folder: Path, registry_id: str) -> bool:
    """Note a home that the user made or named; False where the state folder cannot be written: it is named each time then."""
    if state is None:
        return False
    place = _quoted_place(folder)
    path = _quoted(folder)
    lines = [] if registry_id in known_at(state, folder) else [place]
    if path != place and registry_id not in _named_at(state, path):
        lines.append(f"{path} {_NAMED}")
    return _append(state, registry_id, lines)


def remember_addresses(state: Path | None, folder: Path, registry_id: str, addresses: Addresses) -> bool:
    """Note what a home may contact from now on; False where the state folder cannot be written."""
    if state is None:
        return False
    text = quote(json.dumps(addresses), safe="")
    places = dict.fromkeys((_quoted_place(folder), _quoted(folder)))
    new = (place for place in places if _addresses_at(state, registry_id, {place}) != addresses)
    return _append(state, registry_id, [f"{place} {_ADDRESSES} {text}" for place in new])


def require_accepted_addresses(state: Path | None, folder: Path, registry_id: str, addresses: Addresses) -> None:
    """Raise unless a home that stands where this user knows one names what they accepted there.

    Raises:
        AddressesChanged: it does not; nothing of it may be dialled.
    """
    known = known_under(state, folder)
    accepted = _addresses_at(state, registry_id, {_quoted_place(folder), _quoted(folder)})
    if not known or (accepted is None and registry_id in known):
        return
    # of another registry that stands where a known one stood nothing was accepted: its trust file is looked at before a server is
    allowed = accepted or Addresses()
    changed = [name for name in Addresses._fields if getattr(addresses, name) != getattr(allowed, name)]
    if changed:
        raise AddressesChanged(folder, " and ".join(changed))


def _addresses_at(state: Path | None, registry_id: str, places: Collection[str]) -> Addresses | None:
    """What was accepted last for a registry at one of these places; None if nothing was, or if the line was cut off."""
    lines = (line.split() for line in _read_lines(state))
    texts = [
        words[3]
        for words in lines
        if len(words) == 4 and words[0] == quote(registry_id, safe="") and words[1] in places and words[2] == _ADDRESSES
    ]
    for text in reversed(texts):
        try:
            return Addresses._make(json.loads(unquote(text)))
        except (ValueError, TypeError):
            continue
    return None


def _append(state: Path, registry_id: str, lines: Sequence[str]) -> bool:
    """Write lines about a registry; False where the state folder cannot be written."""
    if not lines:
        return True
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(state / FILE_NAME, flags, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            # one write: two commands that remember at once leave two whole lines
            # the line end before it closes a line that a full disk cut off
            file.write("".join(f"\n{quote(registry_id, safe='')} {line}\n" for line in lines).encode("ascii"))
    except OSError:
        return False
    return True


def _named_at(state: Path | None, path: str) -> frozenset[str]:
    lines = (line.split() for line in _read_lines(state))
    return frozenset(os.fsdecode(unquote_to_bytes(words[0])) for words in lines if words[1:] == [path, _NAMED])


def _read_lines(state: Path | None) -> list[str]:
    if state is None or not (state / FILE_NAME).is_file():
        return []
    return read_file(state / FILE_NAME, max_bytes=_MAX_BYTES).decode("ascii", "replace").splitlines()


def _quoted_place(folder: Path) -> str:
    return quote(os.fsencode(folder.resolve()))


def _quoted(folder: Path) -> str:
    """The path as it was typed, from the root on; links in it are not followed."""
    return quote(os.fsencode(os.path.abspath(folder)))  # noqa: PTH100  `resolve` follows links, `absolute` keeps `..`
