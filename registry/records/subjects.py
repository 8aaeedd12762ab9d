"""What a person names by a reference: a version, or by its digest anything that is known here, data and weights as well."""

from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import graph
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.version import Version


class DigestUnknown(NotFound):
    reference = "digest-unknown"
    what = "nothing here has the digest {digest}"
    why = "it is neither the manifest of a version, nor the weights of a base, nor data that something was trained on"
    fix = "`registry show NAME` and `registry lineage NAME` print the digests of a version and of its data"

    digest: Digest


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that is named: its digest, what a reader calls it, and the version where it is one."""

    digest: Digest
    name: str
    version: Version | None = None


def subject_named(registry: Registry, text: str) -> Subject:
    """What a reference means: a version by name, alias or manifest digest; a data set or the weights of a base by digest.

    Raises:
        DigestUnknown: nothing here has that digest.
        MalformedReference, NotFound, VersionsDiffer, PathRejected: as `version_named`.
    """
    digest = Reference.parse(text).digest
    if digest is None:
        version = version_named(registry, text)
        return Subject(version.manifest_digest, version.label, version)
    with registry.database.read() as tx:
        versions = catalog.version_by_digest(tx, manifest_digest=digest)
        node = graph.describe_nodes(tx, [digest]).get(digest)
        weights = catalog.versions_with_weights(tx, digest)
    if versions:
        version = version_named(registry, text)
        return Subject(digest, version.label, version)
    if node is not None:
        return Subject(digest, f"the data {node.label}" if node.kind == "data" else f"the {node.kind} {node.label}")
    if weights:
        return Subject(digest, f"the weights of {weights[0].label}")
    raise DigestUnknown(digest)
