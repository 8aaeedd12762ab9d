"""Verified copies of versions in a folder that several processes share: what is there already is not copied again.

    objects/<SHA-256>     each file once, under the digest of its bytes
    versions/<SHA-256>/   a version as `registry pull` writes it, under the digest of its list of paths and digests

The files of `versions/` are second names of those in `objects/`. An entry never changes: what is said of a version later makes
another entry, on the same weights. Nothing in the folder is believed. Each pull hashes what it gives out; what somebody changed
there is taken away, fetched anew from the registry, and reported.
"""

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import FileMissing, unwritable
from peft_registry.registry.disk.hashing import DigestCache, RunDigests, copy_and_hash, hash_file, write_and_hash
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.paths import FolderMissing, scan_folder
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull import link_or_copy, require_verified
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.presented import BytesElsewhere, Presented, present_version
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import IntegrityBroken, KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import VerifyOutcome, Version

OBJECTS, VERSIONS = "objects", "versions"
_IMMUTABLE = 0o444


@dataclass(frozen=True, slots=True)
class CachedVersion:
    """A version in a cache.

    Attributes:
        folder: its files, as `registry pull` writes them.
        outcome: how they verified just now.
        copied_bytes: what was written for it, in bytes; 0 where everything was there.
        replaced: what was in the cache and was not what its name says, by path in the version.
    """

    folder: Path
    outcome: VerifyOutcome
    copied_bytes: int
    replaced: tuple[str, ...]


def pull_to_cache(
    registry: Registry, version: Version, cache: Path, *, trust: TrustPolicy | None = None
) -> CachedVersion:
    """The version's folder in a cache, with what was missing there or changed written anew.

    Args:
        registry: where it is registered.
        version: which.
        cache: the folder; made where there is none.
        trust: whom the user trusts; None for the trust of the registry.

    Raises:
        VersionStopped: it, or something that it was made from, is recalled.
        PullRefused, PullUnverified: it does not verify, by what is known today; no new entry is left then.
        ObjectMissing, BytesElsewhere: the registry has lost a file of it.
        DiskFull, NotWritable: about the cache.
    """
    require_not_stopped(registry, "pull", version)
    try:
        for name in (OBJECTS, VERSIONS):
            (cache / name).mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(prefix=".registry-pull-", dir=cache) as scratch,
            closing(RunDigests()) as digests,
        ):
            cached = _Pull(registry, version, cache.resolve(), Path(scratch), digests, trust).fill_entry()
        require_not_stopped(registry, "pull", version)  # again: copying takes minutes, in which somebody may recall it
        return cached
    except OSError as error:
        raise unwritable(cache, error) from error


@dataclass(frozen=True, slots=True)
class _Pull:
    registry: Registry
    version: Version
    cache: Path
    scratch: Path
    digests: RunDigests
    trust: TrustPolicy | None

    def fill_entry(self) -> CachedVersion:
        """The entry of the version, made or mended."""
        manifest = stored_manifest(self.registry, self.version.manifest_digest)
        manifest_digests = {entry.path: entry.sha256 for entry in manifest.files}
        replaced = [path for path, digest in manifest_digests.items() if self._remove_if_changed(digest)]
        missing_objects = {digest for digest in manifest_digests.values() if not self._object(digest).exists()}
        # objects of a store without local files are fetched to where they stay
        presented = present_version(self.registry, self.version, self.cache / OBJECTS)
        fetched_bytes = sum(
            self._object(digest).stat().st_size for digest in missing_objects if self._object(digest).exists()
        )
        file_digests = _file_digests(presented, manifest_digests)
        replaced += [
            path
            for path in file_digests
            if path not in manifest_digests and self._remove_if_changed(file_digests[path])
        ]
        written_bytes = fetched_bytes + sum(self._add(presented, path, digest) for path, digest in file_digests.items())
        entry = self.cache / VERSIONS / _name(file_digests)
        # what a link leads to can be changed where nobody looks, and one that leads nowhere would stay for ever
        differences = ["the entry itself, a link"] if entry.is_symlink() else []
        if not differences and entry.exists():
            differences = _differences(entry, file_digests, self.digests)
        if differences:
            replaced += differences
            entry.rename(self.scratch / "changed")
        if not entry.exists():
            self._make_entry(entry, file_digests)
        return CachedVersion(entry, self._verify(entry), written_bytes, tuple(sorted(set(replaced))))

    def _remove_if_changed(self, digest: Digest) -> bool:
        """Whether an object had other bytes than its name says, and is gone now."""
        place = self._object(digest)
        try:
            if hash_file(place, cache=self.digests).sha256 == digest:
                return False
        except FileMissing:
            return False
        except KnownError:  # a link, a pipe, a file that changes while it is read
            pass
        place.rename(self.scratch / f"changed-{digest.hex}")
        return True

    def _add(self, presented: Presented, path: str, digest: Digest) -> int:
        """Put a file among the objects, and return how many bytes were written for it."""
        place, content = self._object(digest), presented.files[path]
        if place.exists():
            place.chmod(_IMMUTABLE)
            return 0
        part = self.scratch / digest.hex
        if isinstance(content, bytes):
            write_and_hash([content], part, mode=_IMMUTABLE)
        elif content is not None and content.is_file():
            copy = copy_and_hash(content, part, mode=_IMMUTABLE)
            if copy.sha256 != digest:
                raise NotWhatIsListed(presented.label, path, digest, copy.sha256)
        elif path in presented.missing:
            raise presented.missing[path]
        else:
            raise BytesElsewhere(presented.label, path)
        size = part.stat().st_size
        part.replace(place)
        return size

    def _make_entry(self, entry: Path, file_digests: Mapping[str, Digest]) -> None:
        part = self.scratch / "version"
        for path, digest in file_digests.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(self._object(digest), part / path)
        self._verify(part)
        try:
            part.rename(entry)
        except OSError:
            # another process was faster; what it made is looked at like any other entry
            if _differences(entry, file_digests, self.digests):
                raise

    def _verify(self, folder: Path) -> VerifyOutcome:
        outcome = verify_folder(
            folder,
            trust=self.registry.trust if self.trust is None else self.trust,
            now=self.registry.clock(),
            registry=self.registry,
            version=self.version,
            look_for_base=False,
            digests=self.digests,
        )
        return require_verified(outcome.revised(subject=self.version.label))

    def _object(self, digest: Digest) -> Path:
        return self.cache / OBJECTS / digest.hex


class NotWhatIsListed(IntegrityBroken):
    what = "{path} of {label} is not what its manifest lists"
    why = "it is {found}, listed is {listed}"
    fix = "run `registry verify` on it, and restore the store or the base's folder"

    label: str
    path: str
    listed: Digest
    found: Digest


def _file_digests(presented: Presented, manifest_digests: Mapping[str, Digest]) -> dict[str, Digest]:
    """The digest of every file of a version: of its manifest's files the listed one, of all others that of their bytes."""
    file_digests = dict(manifest_digests)
    for path, content in presented.files.items():
        if isinstance(content, bytes):
            file_digests[path] = Digest.of(content)
    return file_digests


def _name(file_digests: Mapping[str, Digest]) -> str:
    return canonical_digest({path: str(digest) for path, digest in file_digests.items()}).hex


def _differences(entry: Path, file_digests: Mapping[str, Digest], digests: DigestCache) -> list[str]:
    """The paths at which an entry is not what it was made as."""
    try:
        present = {file.path for file in scan_folder(entry)}
        return [
            *sorted(present ^ file_digests.keys()),
            *(
                path
                for path in sorted(present & file_digests.keys())
                if hash_file(entry / path, cache=digests).sha256 != file_digests[path]
            ),
        ]
    except FolderMissing:
        raise
    except KnownError as error:  # a link, a pipe, an unsafe name
        return [error.what]
