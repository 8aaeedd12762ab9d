"""The manifests of registered artifacts, from the store."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest


def stored_manifest(registry: Registry, digest: Digest) -> Manifest:
    """The manifest of a registered artifact, from the store.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost it or changed it.
        MalformedJson, ManifestMalformed: what was stored is not a manifest.
    """
    return read_manifest(registry.store.read_bytes(digest))


def manifest_in(registry: Registry, digest: Digest) -> Manifest | None:
    """The same where it is there, and a manifest; what is wrong with it is said of its own artifact."""
    try:
        return stored_manifest(registry, digest)
    except KnownError:
        return None
