"""A verified private copy of a version, in plain layout: what `PeftModel.from_pretrained` or an auditor loads.

The copy is assembled beside its destination, verified as a folder like any other, and renamed only if nothing is wrong.
"""

import tempfile
from pathlib import Path

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, Taken
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import VerifyOutcome, Version


class DestinationTaken(Taken):
    reference = "destination-taken"
    what = "{folder} exists already"
    why = "a pull never writes into a folder that holds something"
    fix = "name another folder, or remove this one"

    folder: Path


class PullRefused(IntegrityBroken):
    reference = "pull-refused"
    what = "{outcome.subject} does not verify, so nothing was written"
    why = "{outcome.failed_text}"
    fix = "run `registry verify` on it, and restore the store from a backup"

    outcome: VerifyOutcome


class PullUnverified(NotChecked):
    reference = "pull-unverified"
    what = "{outcome.subject} could not be verified, so nothing was written"
    why = "{outcome.unchecked_text}"
    fix = "give --trust FILE, or wait until the log key's holder has signed a checkpoint"

    outcome: VerifyOutcome


def pull_version(
    registry: Registry,
    version: Version,
    destination: Path,
    *,
    trust: TrustPolicy | None = None,
    look_for_base: bool = True,
) -> VerifyOutcome:
    """Write a verified copy of a version to `destination`, a new folder, and return how it verified.

    Its base's bytes are hashed too where they are known to lie, unless the caller just did that (`look_for_base`).

    Raises:
        DestinationTaken: the folder exists and is not empty.
        PullRefused, PullUnverified: the copy is not what was registered, or that could not be shown; nothing is left.
        ObjectMissing: the store lost a file of it.
        BytesElsewhere: a base by reference whose files are gone.
        DiskFull, NotWritable: about the folder.
    """
    _require_free(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".registry-pull-", dir=destination.parent) as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            outcome = _verified_copy(registry, version, part, trust, look_for_base)
            # onto an empty folder too; whatever came to lie there since makes the rename fail, and is left alone
            part.replace(destination)
    except OSError as error:
        _require_free(destination)
        raise unwritable(destination, error) from error
    return outcome


def _verified_copy(
    registry: Registry, version: Version, part: Path, trust: TrustPolicy | None, look_for_base: bool
) -> VerifyOutcome:
    write_presented(present_version(registry, version, part.parent), part)
    chosen = registry.trust if trust is None else trust
    outcome = verify_folder(
        part, trust=chosen, now=registry.clock(), registry=registry, version=version, look_for_base=look_for_base
    )
    outcome = outcome.revised(subject=version.label)
    if outcome.verdict == "broken":
        raise PullRefused(outcome)
    if outcome.verdict == "unverified":
        raise PullUnverified(outcome)
    return outcome


def _require_free(destination: Path) -> None:
    if destination.is_symlink() or (destination.exists() and not _is_empty_folder(destination)):
        raise DestinationTaken(destination)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
