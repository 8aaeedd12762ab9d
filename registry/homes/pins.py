"""Which version of a trust file this user accepted last, kept outside every home: whoever can write a home cannot change its trust.

A trust file is signed by its own roots, so one that somebody else made is as well signed as ours. What tells them apart is memory:
the number and digest of the newest version that was accepted, for each registry, and for each chain that the user named with
`--trust`. A file has to contain that version; where later ones follow, the pin moves to the newest.

    STATE/pins/DIGEST.json    of the name that it is filed under: a registry's id, or the digest of a file's first version

The first file that is seen is believed. Without a state folder, or where it cannot be written, everything works and nothing is
remembered.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from peft_registry.registry.disk.files import FileMissing, read_file, write_atomically
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.trust_chain import TrustChain, TrustRolledBack
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest

FOLDER_NAME = "pins"
_MAX_BYTES = 64 * 1024
_ACCEPT = "if you replaced it yourself, look at it with `registry trust pin`, then accept it with --accept ROOT"


class TrustReplaced(IntegrityBroken):
    what = "this is not the trust file that you accepted before"
    why = "it does not continue {accepted}, which you accepted, and was signed by roots of its own"
    fix = f"restore it from a backup; {_ACCEPT}"

    accepted: str


class TrustForked(IntegrityBroken):
    what = "version {version} of the trust file is not the version {version} that you accepted"
    why = (
        "two files with this version number were signed by the same roots: {presented} is here, you accepted {accepted}"
    )
    fix = f"ask who holds the roots, and keep both files as evidence; {_ACCEPT}"

    version: int
    presented: str
    accepted: str


class PinUnreadable(NotChecked):
    what = "what you remember of this trust file cannot be read"
    why = "{path}: {reason}"
    fix = "compare the root with the keeper of the trust file over another channel, then restore the file or remove it"

    path: Path
    reason: str


class Pin(Frozen):
    """The newest version that was accepted, and the first of its chain."""

    name: str
    version: int = Field(ge=1)
    digest: Digest
    first: Digest


def pin_of(name: str, chain: TrustChain) -> Pin:
    """The pin that accepting a chain sets."""
    return Pin(name=name, version=chain.newest.policy.version, digest=chain.newest.digest, first=chain.first.digest)


def require_continues(pin: Pin, chain: TrustChain) -> None:
    """Raise unless a chain contains the pinned version.

    Raises:
        TrustReplaced: it is another chain.
        TrustRolledBack: it ends before that version.
        TrustForked: it has another version of that number.
    """
    same_number = chain.version(pin.version)
    if same_number is not None and same_number.digest == pin.digest:
        return
    if chain.first.digest != pin.first:
        raise TrustReplaced(f"version {pin.version}")
    if same_number is None:
        raise TrustRolledBack(version=chain.newest.policy.version, accepted=pin.version)
    raise TrustForked(pin.version, same_number.digest.short, pin.digest.short)


def name_of_chain(chain: TrustChain) -> str:
    """What the pin of a file is filed under."""
    return f"chain-{chain.first.digest.hex}"


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins in a user's state folder, None where they have none; `report` is told when nothing can be remembered."""

    state: Path | None
    report: Callable[[str], None]

    def follow(self, name: str, chain: TrustChain, *, before: Collection[str] = ()) -> None:
        """Raise unless a chain continues what was accepted under a name, and remember its newest version.

        Args:
            name: a registry id, or `name_of_chain`.
            chain: signed, and with the user's authority.
            before: ids of the registries that this user knew at the same place: one of them may have been exchanged for this.

        Raises:
            TrustReplaced, TrustRolledBack, TrustForked: it is not what was accepted.
            PinUnreadable: that cannot be told.
        """
        if pin_of(name, chain) != self.require_followed(name, chain, before=before):
            self.accept(name, chain)

    def require_followed(self, name: str, chain: TrustChain, *, before: Collection[str] = ()) -> Pin | None:
        """As `follow`, remembering nothing; returns the pin, None on the first sight.

        Raises:
            TrustReplaced, TrustRolledBack, TrustForked, PinUnreadable: as `follow`.
        """
        pin = self.pin(name)
        if pin is None or name not in before:
            # also a registry that is known elsewhere: here it stands where another one was
            self._require_first_here(name, before)
        if pin is not None:
            require_continues(pin, chain)
        return pin

    def pin(self, name: str) -> Pin | None:
        """What was accepted under a name; None if nothing was.

        Raises:
            PinUnreadable: it is there and cannot be read.
        """
        path = self._path(name)
        if path is None:
            return None
        try:
            return Pin.model_validate(read_json(read_file(path, max_bytes=_MAX_BYTES), what=str(path)))
        except FileMissing:
            return None
        except ValidationError as error:
            raise PinUnreadable(path, first_problem(error)) from error
        except KnownError as error:
            raise PinUnreadable(path, error.why) from error

    def accept(self, name: str, chain: TrustChain) -> bool:
        """Remember the newest version of a chain, whatever was remembered before; False where that cannot be written."""
        path = self._path(name)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_atomically(path, pin_of(name, chain).model_dump_json(indent=2).encode() + b"\n", mode=0o600)
                return True
        except (OSError, KnownError):
            pass
        self.report("note: your state folder cannot be written: which trust file you accepted is not remembered")
        return False

    def _require_first_here(self, name: str, before: Collection[str]) -> None:
        for other in sorted(set(before) - {name}):
            if self.pin(other) is not None:
                raise TrustReplaced(f"the registry {other[:8]}…")

    def _path(self, name: str) -> Path | None:
        # registry ids come from a home's own settings, and a name with a slash would leave the folder
        return None if self.state is None else self.state / FOLDER_NAME / f"{Digest.of(name.encode()).hex}.json"
