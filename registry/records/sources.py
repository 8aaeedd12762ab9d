"""What an artifact was made from: the way up from it, through the signed manifests, and the keys that registered each.

The way is that of the manifests in the store and not of the rows of the catalogue: whoever edits a row takes nothing off it.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.standing_acts import person_of
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.records.views import View
from peft_registry.schemas.acts import ACTS, ActKind
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.statement import PREDICATE_TYPES, logged_kind

_STOPS = frozenset(act.kind for act in ACTS.values() if act.about == "anything")
_MARKS = tuple(f'"kind":"{logged_kind(PREDICATE_TYPES[kind])}"'.encode() for kind in _STOPS)


@dataclass(frozen=True, slots=True)
class Source:
    """Something that an artifact is, was made from or was registered by: a digest, and what a reader calls it.

    `is_unread`: it was registered, and its manifest is not in the store as it was, so that nothing is known of what is above it.
    """

    digest: Digest
    name: str
    is_unread: bool = False


def key_as_source(registry: Registry, key_id: str) -> Source:
    """A signing key as something that whatever it registers comes from."""
    person = person_of(registry, key_id)
    return Source(Digest(key_id), f"the key {key_id[:12]}…" if person is None else f"the key of {person}")


def own_key(registry: Registry) -> Source:
    """The key that this home registers with, as a source of what it is about to make."""
    return key_as_source(registry, registry.trainer_key.public.key_id)


def above(view: View, artifact: Source) -> Iterator[Source]:
    """An artifact and everything that went into it, each once: artifacts, weights of bases, data, keys; nearest first."""
    waiting = deque([artifact])
    seen: set[Digest] = set()
    while waiting:
        source = waiting.popleft()
        if source.digest in seen:
            continue
        seen.add(source.digest)
        contents = manifest_in(view.registry, source.digest)
        keys = tuple(_registering_keys(view, source.digest))
        if contents is None:
            # data, weights, a key, or an artifact of elsewhere: the digest alone is known. But what was registered here had a
            # manifest in the store
            yield replace(source, is_unread=bool(keys))
            continue
        yield source
        waiting.extend(Source(data.sha256, f"the data {data.name}") for data in contents.data)
        waiting.extend(Source(parent.manifest, f"its {parent.role}") for parent in contents.parents)
        base = contents.base
        if base is not None:
            waiting.append(Source(base.identity.weights, "the weights of its base"))
            if base.manifest is not None:
                waiting.append(Source(base.manifest, "its base"))
            else:
                waiting.extend(_bases_with(view, base.identity.weights))
        # whoever recalls weights means them under every manifest that has them, also those of a result
        own = "the weights of the base" if contents.kind == "base" else f"the weights of {source.name}"
        waiting.append(Source(contents.weights_digest, own))
        waiting.extend(key_as_source(view.registry, key) for key in keys)


def _bases_with(view: View, weights: Digest) -> Iterator[Source]:
    """The registered bases with these weights: what was imported alone names its base by them.

    Those that are recalled or on hold are looked for among the entries of the log besides: whoever edits the rows of a base, or
    deletes them, opens no door. One whose manifest is gone may be the base of anything.
    """
    for version in catalog.versions_with_weights(view.tx, weights):
        if version.kind == "base":
            yield Source(version.manifest_digest, "its base")
    if view.newest is None:
        return  # nothing shows that the entries are those that were signed over
    for subject, _ in acted_on(view):
        contents = manifest_in(view.registry, subject)
        if contents is None:
            if any(_registering_keys(view, subject)):
                yield Source(subject, "what may be its base")
        elif contents.kind == "base" and contents.weights_digest == weights:
            yield Source(subject, "its base")


def acted_on(view: View) -> tuple[tuple[Digest, ActKind], ...]:
    """What was ever recalled, put on hold or stopped otherwise, and by which act, by the entries of the log."""
    newest = view.newest

    def covered() -> tuple[tuple[Digest, ActKind], ...]:
        assert newest is not None, "without a checkpoint nothing is covered"
        entries = (data for index, data in view.leaves() if index < newest.size)
        return tuple(dict.fromkeys(_subjects_of_acts(entries)))

    # what a checkpoint covers stays what it is
    before = () if newest is None else view.registry.kept("recalled or on hold", newest.checkpoint, covered)
    pending = (data for _, data in SqlLogStore(view.tx).leaves_from(0 if newest is None else newest.size))
    return tuple(dict.fromkeys((*before, *_subjects_of_acts(pending))))


def _subjects_of_acts(entries: Iterable[bytes]) -> Iterator[tuple[Digest, ActKind]]:
    for data in entries:
        if any(mark in data for mark in _MARKS):  # nearly no entry has these bytes
            leaf = read_leaf(data)
            if isinstance(leaf, Event) and leaf.says in _STOPS:
                yield leaf.subject, leaf.says


def _registering_keys(view: View, manifest: Digest) -> Iterator[str]:
    """The ids of the keys that registered an artifact, under any name; as the log has them, where a checkpoint covers them.

    The row of a statement names a key too, and whoever writes the database can have it name another.
    """
    for entry in view.statements(manifest):
        if entry.kind != "registration":
            continue
        leaf = None if view.newest is None or entry.log_index is None else view.leaf(entry.log_index)
        yield leaf.key if isinstance(leaf, Event) else entry.key_id
