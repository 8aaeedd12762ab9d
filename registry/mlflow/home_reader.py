"""The registry that `registry://` sources are read from, as MLflow's process finds it. Nothing of it is written."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry, find_home, open_home, remember_accepted
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.mlflow.verified_files import ManifestReader
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.registry.use_cases.pull import PullRefused, PullUnverified
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.presented import BytesElsewhere
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.manifest import FileEntry
from peft_registry.schemas.trained_templates import Template
from peft_registry.schemas.version import Version

_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def open_reader(home: str | None, *, state: Path | None) -> ManifestReader:
    """The files of the home that `open_registry` opens.

    Raises:
        HomeNotFound, HomeOfAnotherUser, HomeNotNamed, HomeDamaged: there is none that may be used.
    """
    return HomeReader(open_registry(home, state=state))


def open_registry(home: str | None, *, state: Path | None) -> Registry:
    """The home named, else the user's own `.registry` in the current folder or above; `state` is their state folder.

    Raises:
        HomeNotFound, HomeOfAnotherUser, HomeNotNamed, HomeDamaged: there is none that may be used.
    """
    folder = find_home(Path.cwd(), Path(home) if home else None, state=state)
    logger = logging.getLogger(__name__)
    registry = open_home(folder, pins=Pins(state, logger.warning), seen=SeenCheckpoints(state, logger.info))
    if home:  # as after `--home`: another registry in this place is noticed from now on
        remember_accepted(registry, state)
    return registry


@dataclass(frozen=True)
class HomeReader:
    """A `ManifestReader` over an open registry."""

    registry: Registry

    def verify(self, digest: Digest) -> None:
        """Raise unless the whole version verifies against the home's own trust.

        Raises:
            VersionUnknown: no version has this manifest.
            VersionStopped: it must not be handed out.
            PullRefused, PullUnverified: the same that `registry pull` would say.
        """
        version = self._version(digest)
        require_not_stopped(self.registry, "load", version)
        outcome = verify_version(self.registry, version)
        if outcome.verdict == "broken":
            raise PullRefused(outcome)
        if outcome.verdict == "unverified":
            raise PullUnverified(outcome)

    def require_usable(self, digest: Digest) -> None:
        """Raise where the version is recalled.

        Raises:
            VersionUnknown: no version has this manifest.
            VersionStopped, StopsUnknown: it must not be handed out, or that is not known.
        """
        require_not_stopped(self.registry, "load", self._version(digest))

    def _version(self, digest: Digest) -> Version:
        with self.registry.database.read() as tx:
            versions = catalog.version_by_digest(tx, manifest_digest=digest)
        if not versions:
            raise catalog.VersionUnknown(Reference(digest=digest), "no version has this manifest")
        return versions[0]

    def manifest_bytes(self, digest: Digest) -> bytes:
        """The stored manifest, unparsed."""
        return self.registry.store.read_bytes(digest)

    def open_file(self, manifest: Digest, entry: FileEntry) -> BinaryIO:
        """A file from the store, or from where a base that was added by reference lies."""
        folder = base_location(self.registry.folder, manifest)
        if folder is None or self.registry.store.has(entry.sha256):
            return self.registry.store.open(entry.sha256)
        try:
            return (folder / entry.path).open("rb")
        except OSError as error:
            raise BytesElsewhere(manifest.short, entry.path) from error

    def knows(self, digest: Digest) -> bool:
        """Whether a version of this registry has the manifest."""
        return bool(versions_of_artifact(self.registry, digest))

    def template(self, digest: Digest) -> Template:
        """The template that the version was trained with.

        Raises:
            SeveralTemplates: what it was merged from was trained with different ones.
        """
        return trained_template(self.registry, self._version(digest))

    def loading_lines(self, digest: Digest) -> str:
        """The first block of Python in the stored card.

        Raises:
            ObjectMissing, ObjectCorrupt: the store lost or changed the card.
        """
        with self.registry.database.read() as tx:
            card = catalog.artifact(tx, manifest_digest=digest).card_digest
        if card is None:
            return ""
        block = _PYTHON.search(self.registry.store.read_bytes(card).decode("utf-8", "replace"))
        return "" if block is None else block[1].strip()
