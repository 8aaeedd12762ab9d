"""What a person names by a reference: a version, or by its digest anything that is known here: data, weights and keys as well."""

from collections.abc import Iterator
from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import graph
from peft_registry.registry.database.catalog.row_counts import ShortList
from peft_registry.registry.database.catalog.versions import VersionUnknown
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.gate.quorum import largest
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import binding_in_force
from peft_registry.registry.records.lost_rows import RowsMissing, require_edges, require_rows
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.sources import acted_on, key_as_source
from peft_registry.registry.records.views import View
from peft_registry.schemas.acts import RECALL, Quorum
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.version import Version

_ALL = 2**31 - 1  # every version that there can be
_OTHERS_BY_DIGEST = (
    "`registry list` shows all names; data, weights and keys are meant by their digests, which `registry show NAME` and "
    "`registry trust show` print"
)


class DigestUnknown(NotFound):
    what = "nothing here has the digest {digest}"
    why = "no version, no weights of one, no data that something was trained on and no key of the trust file has it"
    fix = "`registry show NAME`, the report and `registry trust show` print digests"

    digest: Digest


class KeyWithoutLineage(InputRefused):
    what = "{name} ({digest.short}) was not made from anything"
    why = "lineage shows artifacts, bases and data, and a key registers them"
    fix = "`registry lineage impact {digest}` lists what it registered, and what was made from that"

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class NamedSubject:
    """Something that is named: its digest, what a reader calls it, and the version where it is one."""

    digest: Digest
    name: str
    version: Version | None = None
    is_key: bool = False


def subject_named(registry: Registry, text: str) -> NamedSubject:
    """What a reference means: a version by name, alias or manifest digest; data, the weights of a base or a key by digest.

    Raises:
        DigestUnknown: nothing here has that digest.
        MalformedReference, NotFound, VersionsDiffer, PathRejected: as `version_named`.
    """
    digest = Reference.parse(text).digest
    if digest is None:
        version = _version_called(registry, text)
        return NamedSubject(version.manifest_digest, version.label, version)
    with registry.database.read() as tx:
        versions = catalog.version_by_digest(tx, manifest_digest=digest)
        node = graph.describe_nodes(tx, [digest]).get(digest)
        weights = catalog.versions_with_weights(tx, digest)
    if versions:
        version = version_named(registry, text)
        return NamedSubject(digest, version.label, version)
    if node is not None:
        return NamedSubject(
            digest, f"the data {node.label}" if node.kind == "data" else f"the {node.kind} {node.label}"
        )
    if weights:
        return NamedSubject(digest, f"the weights of {weights[0].label}")
    if registry.trust.key(digest.hex) is not None:
        return NamedSubject(digest, key_as_source(registry, digest.hex).name, is_key=True)
    raise DigestUnknown(digest)


def _version_called(registry: Registry, text: str) -> Version:
    try:
        return version_named(registry, text)
    except VersionUnknown as error:  # data and keys have names too, which mean nothing by themselves
        raise VersionUnknown(error.version, error.reason, error.close, _OTHERS_BY_DIGEST) from error


def subject_of_lineage(registry: Registry, text: str) -> NamedSubject:
    """The same of what can have a lineage.

    Raises:
        KeyWithoutLineage: it is the digest of a key.
        DigestUnknown, MalformedReference, NotFound, VersionsDiffer, PathRejected: as `subject_named`.
    """
    subject = subject_named(registry, text)
    if subject.is_key:
        raise KeyWithoutLineage(subject.name, subject.digest)
    return subject


def versions_from(view: View, subject: NamedSubject, *, limit: int, depth: int | None = None) -> graph.Below:
    """The versions of a subject and of what was made from it, at most `depth` steps away; of a key, from what it registered.

    The same weights may be registered under several manifests of bases; each of them counts.

    Raises:
        RowsMissing: some of the rows that say so are gone.
    """
    if subject.is_key or depth is not None:
        require_edges(view)
    if subject.is_key:
        return graph.versions_below(view.tx, (), limit=limit, depth=depth, registered_by=subject.digest.hex)
    starts = sources_meant(view.tx, subject)
    if depth is None and view.registry.database.is_current:  # an earlier release wrote no rows of sources
        require_rows(view, "source", [str(start) for start in starts])
        below = graph.versions_of_sources(view.tx, starts, limit=limit)
        if subject.version is not None and not below.count:
            # a version is a source of itself: its rows are gone together with their count
            raise RowsMissing.of(ShortList("source", str(subject.digest), 1, 0))
        return below
    return graph.versions_below(view.tx, starts, limit=limit, depth=depth)


def all_below(view: View, subject: NamedSubject) -> tuple[tuple[Version, ...], tuple[RowsMissing, ...]]:
    """Every version of a subject and of what was made from it, for what stops them; and which rows are gone, if some are.

    A stop waits for no repair: then it is every version that the rows of sources, or the edges of the lineage graph, still give.
    """
    try:
        return versions_from(view, subject, limit=_ALL).first, ()
    except RowsMissing as error:
        starts = sources_meant(view.tx, subject)
        key = subject.digest.hex if subject.is_key else None
        by_edges = graph.versions_below(view.tx, () if key else starts, limit=_ALL, registered_by=key).first
        by_rows = graph.versions_of_sources(view.tx, starts, limit=_ALL).first
        found = {(version.name, version.number): version for version in (*by_edges, *by_rows)}
        return tuple(found[key] for key in sorted(found)), (error,)


def recalled_once(view: View) -> Iterator[Version]:
    """Every version that a recall ever reached, by the entries of the log and by what it was made from; some of them twice.

    Raises:
        RowsMissing: some of the rows that say what was made from what is recalled are gone.
        LogForked, LogTruncated: the entries are not those that the checkpoint covers.
    """
    for digest, kind in acted_on(view):
        if kind != RECALL.kind:
            continue
        versions = catalog.version_by_digest(view.tx, digest)
        is_key = view.registry.trust.key(digest.hex) is not None
        subject = NamedSubject(digest, digest.short, versions[0] if versions else None, is_key=is_key)
        yield from versions_from(view, subject, limit=_ALL).first


def quorum_below(view: View, subject: NamedSubject) -> Quorum | None:
    """The most that is asked of whoever loosens a binding of an alias that points at a subject, or at what was made from it.

    Rows say where aliases point. Whoever stops something asks, and what they sign says what they found: rows that somebody deletes
    afterwards lower nothing.

    Raises:
        KnownError: as `binding_in_force`.
    """
    below, _ = all_below(view, subject)
    at_or_below = below if subject.version is None else (subject.version, *below)
    aliases = dict.fromkeys((version.name, alias) for version in at_or_below for alias in version.aliases)
    bindings = (binding_in_force(view, name, alias) for name, alias in aliases)
    return largest(binding.lifted_by for binding in bindings if binding is not None)


def sources_meant(tx: Transaction, subject: NamedSubject) -> tuple[Digest, ...]:
    """The digests of manifests and data that a subject stands for; its own is the first."""
    same_weights = catalog.versions_with_weights(tx, subject.digest)
    return tuple(dict.fromkeys((subject.digest, *(version.manifest_digest for version in same_weights))))
