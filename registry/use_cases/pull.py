"""A verified private copy of a version, in plain layout: what `PeftModel.from_pretrained` or an auditor loads. Or with its base.

The copy is assembled beside its destination, verified as a folder like any other, and renamed only if nothing is wrong.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import read_file, unwritable, write_new
from peft_registry.registry.disk.hashing import RunDigests, copy_and_hash
from peft_registry.registry.exports.loading import hub_id
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.decision_file import decision_file
from peft_registry.registry.verification.evidence import DECISIONS_PATH, read_list, read_statements
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.registry.verification.with_base import (
    ADAPTER_FOLDER,
    BASE_FOLDER,
    config_for_loaders,
    is_adapter_config,
)
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked, NotFound, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import VerifyOutcome, Version

OWN_BASE_CONFIG = "model/config.json"  # of a merge that kept a part beside its weights
_READABLE = 0o644


class DestinationTaken(Taken):
    what = "{folder} exists already"
    why = "a pull never writes into a folder that holds something"
    fix = "name another folder, or remove this one"

    folder: Path


class PullRefused(IntegrityBroken):
    what = "{outcome.subject} does not verify, so nothing was written"
    why = "{outcome.failed_text}"
    fix = "run `registry verify` on it, and restore the store from a backup"

    outcome: VerifyOutcome


class PullUnverified(NotChecked):
    what = "{outcome.subject} could not be verified, so nothing was written"
    why = "{outcome.unchecked_text}"
    fix = "give --trust FILE, or wait until the log key's holder has signed a checkpoint"

    outcome: VerifyOutcome


class NothingBeside(InputRefused):
    what = "{label} needs no base beside it"
    why = "it is a {kind} that is loaded by itself"
    fix = "leave out --with-base"

    label: str
    kind: str


class BaseNotHere(NotFound):
    what = "the base of {label} is not registered here"
    why = "it names {weights}, and no version of this registry has these weights as a base"
    fix = "add the base with `registry base add`, or pull without --with-base"

    label: str
    weights: Digest


@dataclass(frozen=True, slots=True)
class PulledWithBase:
    """How the adapter verified on the bytes beside it, and the version of the base, which verified too."""

    outcome: VerifyOutcome
    base: Version


def pull_version(
    registry: Registry,
    version: Version,
    destination: Path,
    *,
    trust: TrustPolicy | None = None,
    look_for_base: bool = True,
    for_use: bool = True,
    with_decisions: bool = False,
) -> VerifyOutcome:
    """Write a verified copy of a version to `destination`, a new folder, and return how it verified.

    Its base's bytes are hashed too where they are known to lie, unless the caller just did that (`look_for_base`). What is recalled
    is written only to be measured, and not `for_use`: whoever is to lift a recall has to see what it does. `with_decisions` is for
    a copy that people read: what was signed about it then lies in its evidence, in their words.

    Raises:
        VersionStopped: it, or something that it was made from, is recalled.
        DestinationTaken: the folder exists and is not empty.
        PullRefused, PullUnverified: the copy is not what was registered, or that could not be shown; nothing is left.
        ObjectMissing: the store lost a file of it.
        BytesElsewhere: a base by reference whose files are gone.
        DiskFull, NotWritable: about the folder.
    """
    if for_use:
        require_not_stopped(registry, "pull", version)
    with new_folder(destination) as part:
        outcome = verified_copy(
            registry, version, part, trust=trust, look_for_base=look_for_base, with_decisions=with_decisions
        )
        if for_use:  # again: copying and hashing a large model takes minutes, in which somebody may recall it
            require_not_stopped(registry, "pull", version)
        return outcome


def pull_with_base(
    registry: Registry, version: Version, destination: Path, *, trust: TrustPolicy | None = None
) -> PulledWithBase:
    """Write an adapter and its base to one new folder, each verified, with what loaders open in front of them.

    `AutoPeftModelForCausalLM`, `AutoModelForCausalLM` and `pipeline` load that folder by its path, and need nothing else.

    Raises:
        NothingBeside: the version is whole by itself.
        BaseNotHere: its base is not registered here.
        BytesElsewhere: the base was added by reference, and its files are gone.
        VersionStopped, DestinationTaken, PullRefused, PullUnverified, ObjectMissing, DiskFull, NotWritable: as
            `pull_version`.
    """
    require_not_stopped(registry, "pull", version)
    manifest = stored_manifest(registry, version.manifest_digest)
    base = _base_beside(registry, version, manifest)
    with new_folder(destination) as part, closing(RunDigests()) as digests:
        for name in (ADAPTER_FOLDER, BASE_FOLDER):
            (part / name).mkdir()
        verified_copy(registry, base, part / BASE_FOLDER, trust=trust, digests=digests)
        outcome = verified_copy(
            registry,
            version,
            part / ADAPTER_FOLDER,
            trust=trust,
            base=part / BASE_FOLDER,
            digests=digests,
            with_decisions=True,
        )
        _write_for_loaders(part, manifest, destination.resolve() / BASE_FOLDER)
        require_not_stopped(registry, "pull", version)  # again, as `pull_version`
    return PulledWithBase(outcome, base)


def base_to_bring(registry: Registry, version: Version) -> Version | None:
    """The base that loaders do not find by its name, so that a copy of the adapter alone needs its folder; None where they find it,
    or need none.
    """
    try:
        base = _base_beside(registry, version, stored_manifest(registry, version.manifest_digest))
    except (NothingBeside, BaseNotHere):
        return None
    return base if hub_id(required_base(registry, base).record) is None else None


def _base_beside(registry: Registry, version: Version, manifest: Manifest) -> Version:
    """The version that an adapter's base is registered as first.

    Raises:
        NothingBeside, BaseNotHere.
    """
    configs = [entry.path for entry in manifest.files if is_adapter_config(entry.path)]
    is_own = manifest.layout == "model" or any(entry.path == OWN_BASE_CONFIG for entry in manifest.files)
    if is_own or not configs or manifest.base is None:
        raise NothingBeside(version.label, version.kind)
    digest = manifest.base.manifest
    versions = () if digest is None else versions_of_artifact(registry, digest)
    if not versions:
        raise BaseNotHere(version.label, manifest.base.identity.weights)
    return versions[0]


def _write_for_loaders(part: Path, manifest: Manifest, base: Path) -> None:
    """The files of the adapter in front of the two folders, its configuration with the path that the base will have."""
    for entry in manifest.files:
        signed, opened = part / ADAPTER_FOLDER / entry.path, part / entry.path
        opened.parent.mkdir(parents=True, exist_ok=True)
        if is_adapter_config(entry.path):
            config = config_for_loaders(read_file(signed, max_bytes=CONFIG_MAX_BYTES), base)
            write_new(opened, config, mode=_READABLE)
        else:
            link_or_copy(signed, opened)


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """An empty folder that becomes `destination` where the block ends well; nothing is left where it does not."""
    _require_free(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".registry-pull-", dir=destination.parent) as scratch:
            part = Path(scratch) / "part"
            part.mkdir()
            yield part
            # onto an empty folder too; whatever came to lie there since makes the rename fail, and is left alone
            part.replace(destination)
    except OSError as error:
        _require_free(destination)
        raise unwritable(destination, error) from error


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no second names.

    Raises:
        DiskFull, NotWritable: neither can be made.
    """
    try:
        target.hardlink_to(source)
    except OSError:
        copy_and_hash(source, target, mode=_READABLE)


def verified_copy(
    registry: Registry,
    version: Version,
    part: Path,
    *,
    trust: TrustPolicy | None = None,
    look_for_base: bool = True,
    base: Path | None = None,
    digests: RunDigests | None = None,
    with_decisions: bool = False,
) -> VerifyOutcome:
    """Write a version into an empty folder, and return how the folder verifies.

    Args:
        registry: where it is registered.
        version: which.
        part: the folder.
        trust: whom the user trusts; None for the trust of the registry.
        look_for_base: as `pull_version`.
        base: where its base lies, whose bytes must then be right.
        digests: what was hashed before.
        with_decisions: what people signed about it is written into its evidence, as `pull_version`.

    Raises:
        PullRefused, PullUnverified, ObjectMissing, BytesElsewhere: as `pull_version`.
    """
    trust = registry.trust if trust is None else trust
    presented = present_version(registry, version, part.parent)
    write_presented(presented, part)
    decisions = decision_file(read_statements(presented), read_list(presented), trust) if with_decisions else None
    if decisions is not None:
        write_new(part / DECISIONS_PATH, decisions, mode=_READABLE)
    outcome = verify_folder(
        part,
        trust=trust,
        now=registry.clock(),
        registry=registry,
        version=version,
        base=base,
        look_for_base=look_for_base,
        digests=digests,
    )
    return require_verified(outcome.revised(subject=version.label))


def require_verified(outcome: VerifyOutcome) -> VerifyOutcome:
    """The outcome of what may be given out.

    Raises:
        PullRefused, PullUnverified: it is broken, or could not be verified.
    """
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
