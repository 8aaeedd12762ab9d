"""That a version was made from something, shown by signed manifests: each names what its artifact was made from by digest.

Which versions something went into is found by rows, and whoever can write the database can add one.
"""

from collections.abc import Collection, Iterable

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.version import Version


def require_made_from(
    registry: Registry, versions: Iterable[Version], sources: Collection[Digest], *, name: str
) -> None:
    """Raise VersionsDiffer unless each of these versions is, or was made from, one of these artifacts or data files.

    Args:
        registry: where they are registered.
        versions: as the log has them.
        sources: digests of manifests and of data.
        name: what a reader calls that of which these are the digests.
    """
    made_from = _MadeFrom(registry, frozenset(sources))
    for version in versions:
        if not made_from.holds(version.manifest_digest):
            raise VersionsDiffer(
                version.name, f"{version.label} is found by {name}, and no manifest says that it was made from it"
            )


class _MadeFrom:
    """Whether artifacts were made from any of some sources. Each manifest on the way up is read once."""

    def __init__(self, registry: Registry, sources: frozenset[Digest]) -> None:
        self._registry = registry
        self._sources = sources
        self._answers = dict.fromkeys(sources, True)  # of each artifact that was looked at
        # an artifact that was imported alone names its base by weights
        bases = (manifest_in(registry, digest) for digest in sources)
        self._weights = {base.weights_digest for base in bases if base is not None and base.kind == "base"}

    def holds(self, artifact: Digest) -> bool:
        """Whether an artifact is one of the sources, or was made from one, however far up."""
        seen = {artifact}
        waiting = [artifact]
        while waiting:
            digest = waiting.pop()
            answer = self._answers.get(digest)
            manifest = manifest_in(self._registry, digest) if answer is None else None
            if answer or (manifest is not None and self._is_direct(manifest)):
                self._answers[digest] = self._answers[artifact] = True
                return True
            above = _above(manifest) - seen if manifest is not None else set()
            seen |= above
            waiting += above
        self._answers |= dict.fromkeys(seen, False)  # all that is above was looked at
        return False

    def _is_direct(self, manifest: Manifest) -> bool:
        """Whether a manifest names one of the sources itself."""
        named = _above(manifest) | {data.sha256 for data in manifest.data}
        if not named.isdisjoint(self._sources):
            return True
        base = manifest.base
        return base is not None and base.manifest is None and base.identity.weights in self._weights


def _above(manifest: Manifest) -> set[Digest]:
    """The artifacts that a manifest names as what its own was made from."""
    above = {parent.manifest for parent in manifest.parents}
    if manifest.base is not None and manifest.base.manifest is not None:
        above.add(manifest.base.manifest)
    return above
