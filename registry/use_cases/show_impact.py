"""What was made from something: which versions a withdrawn data set, a bad base or a harmful adapter reaches."""

from collections.abc import Iterator

from pydantic import Field

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.stops import stops_of
from peft_registry.registry.records.subjects import NamedSubject, sources_meant, subject_named, versions_from
from peft_registry.registry.records.views import view_of
from peft_registry.registry.verification.made_from import require_made_from
from peft_registry.registry.verification.signed_versions import signed_versions
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest


class ReachedVersion(Frozen):
    """A version that something went into, at any distance."""

    version: str
    kind: str
    manifest: Digest
    aliases: tuple[str, ...]


class Impact(Frozen):
    """What something went into: the first of the versions, and of the aliases that point there; how many there are.

    A version is not among what was made from it; its aliases are listed with the others, since what stops it stops them.
    Those that are listed are held against their manifests and the log; the rest is counted from the catalogue's rows.
    """

    subject: Digest
    name: str
    count: int
    versions: tuple[ReachedVersion, ...]
    aliases: tuple[str, ...]
    alias_count: int
    recall: str | None  # of the subject itself, where one stands
    # what stands of it by other acts, a line each
    stops: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    relation: str = "made from it"

    @property
    def rest(self) -> int:
        """How many versions are not listed."""
        return self.count - len(self.versions)

    @property
    def aliases_rest(self) -> int:
        """How many aliases are not listed."""
        return self.alias_count - len(self.aliases)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Label and text of each line, for people."""
        yield "impact", f"{self.name}  {self.subject}"
        if self.recall is not None:
            yield "recalled", self.recall
        yield from (("stopped", because) for because in self.stops)
        yield "versions", f"{self.count} {self.relation}"
        for version in self.versions:
            aliases = f"  {', '.join(f'@{alias}' for alias in version.aliases)}" if version.aliases else ""
            yield "", f"{version.version}  {version.kind}{aliases}"
        if self.rest:
            yield "", f"and {self.rest} more, counted from the catalogue's rows; --limit lists more"
        more = f" and {self.aliases_rest} more" if self.aliases_rest else ""
        yield "aliases", ", ".join(self.aliases) + more or "none points there"


def describe_impact(registry: Registry, reference: str, *, limit: int, depth: int | None = None) -> Impact:
    """What the version, data or weights that a reference means went into; of a key, what it registered and what that went into.

    Args:
        registry: open.
        reference: a version, or the digest of a manifest, of data, of a base's weights or of a key.
        limit: how many versions are listed.
        depth: how many steps of making are followed; None follows all.

    Raises:
        DigestUnknown, NotFound, MalformedReference: nothing is meant by it.
        VersionsDiffer, PathRejected, LogForked, LogTruncated: a row says otherwise than what was signed or logged.
    """
    subject = subject_named(registry, reference)
    with view_of(registry) as view:
        below = versions_from(view, subject, limit=limit + 1, depth=depth)
        sources = sources_meant(view.tx, subject)
    itself = None if subject.version is None else subject.version.label
    made = [version for version in below.first if version.label != itself]
    listed = signed_versions(registry, tuple(made[:limit]))
    if not subject.is_key:
        require_made_from(registry, listed, sources, name=subject.name)
    stops = stops_of(registry, Source(subject.digest, subject.name))
    return Impact(
        subject=subject.digest,
        name=subject.name,
        count=below.count if itself is None else below.count - 1,
        versions=tuple(
            ReachedVersion(
                version=version.label, kind=version.kind, manifest=version.manifest_digest, aliases=version.aliases
            )
            for version in listed
        ),
        aliases=below.aliases[:limit],
        alias_count=below.alias_count,
        recall=next((stop.because for stop in stops if stop.act is RECALL), None),
        stops=tuple(stop.because for stop in stops if stop.act is not RECALL),
        relation="registered by it, or made from such" if subject.is_key else "made from it",
    )


def aliases_reached(registry: Registry, subject: NamedSubject, *, limit: int) -> tuple[tuple[str, ...], int]:
    """The first aliases that point at a version of a subject, or at one that was made from it, and how many there are."""
    with view_of(registry) as view:
        below = versions_from(view, subject, limit=limit)
    return below.aliases, below.alias_count
