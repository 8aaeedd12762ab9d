"""`gc`: removes from the store what nothing recorded points to, and refuses to delete what is registered, in use or on hold.

What is registered stays: the log names it for ever, and the periods of the law begin where it is placed on the market. Garbage is
what interrupted commands leave. It is deleted under the lock of the database, in which registrations, leases and holds are written:
of a hold and a deletion at the same moment one comes first, and the other sees it. What no row points to is held against the log
besides: what a signed manifest or statement names stays, so that no edited row makes garbage of what is registered.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta

from pydantic import Field

from peft_registry.registry.compliance.retention import kept_because
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import statement_of_entry
from peft_registry.registry.records.holds import STORED, Hold, OnHold, every_hold, files_of
from peft_registry.registry.records.signed_records import records_of, signed_statements
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.stored_signatures import signed_payload
from peft_registry.registry.records.subjects import DigestUnknown, NamedSubject, subject_named
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.storage.interface import ObjectInfo
from peft_registry.schemas.acts import ACTS, AliasPredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import Refused, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.version import Version

YOUNG = timedelta(days=1)
"""What was stored less than this ago may be about to be recorded."""
_AT_ONCE = 500  # objects in one transaction: whoever registers meanwhile waits no longer


_FORGOTTEN = (
    "a signed manifest or statement names it, although no row does any more: `registry log check` says what was changed"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAMES_NOTHING_KEPT = frozenset(act.kind for act in ACTS.values() if act.about == "anything")
"""Kinds of statements that are about anything, also about garbage."""


class StillRegistered(Refused):
    what = "{label} is not deleted: it is registered"
    why = "{because}"
    fix = "nothing was deleted; `registry admin gc` removes what nothing recorded points to"

    label: str
    because: str


class NotGarbageYet(Taken):
    what = "{digest} is not deleted: it may be about to be registered"
    why = "{because}"
    fix = "nothing was deleted; run the command again tomorrow"

    digest: Digest
    because: str


class SparedObject(Frozen):
    """An object that nothing recorded points to and that is kept all the same; `size` in bytes."""

    digest: Digest
    size: int
    because: str


class Collected(Frozen):
    """What was removed, or would be, and what was kept although nothing recorded points to it; sizes in bytes.

    `unused` are files of the home that an earlier release kept of a copy in MLflow, and nothing reads any more.
    """

    is_dry_run: bool
    removed: tuple[Digest, ...]
    removed_bytes: int
    unfinished: int  # pieces of interrupted writes
    kept: tuple[SparedObject, ...]
    unused: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)  # in the home, left to its owner


def collect(registry: Registry, references: Sequence[str] = (), *, dry_run: bool = False) -> Collected:
    """Remove what nothing recorded points to: all of it, or what is named by digest, and then all that is named or nothing.

    Args:
        registry: open, and writable unless nothing is to be removed.
        references: digests of garbage; none for all there is.
        dry_run: remove nothing.

    Raises:
        OnHold: what is named is on hold.
        StillRegistered: what is named is registered, or belongs to what is.
        NotGarbageYet: what is named was stored just now, or a registration that runs uses it.
        DigestUnknown, NotFound, MalformedReference: nothing is meant by it.
        SaidDiffers, PathRejected, LogForked, LogTruncated, EntryRejected: the database is not that of its log; nothing is removed.
        ObjectMissing, ObjectCorrupt: a manifest is not in the store, so that nobody knows what belongs to it; nothing is removed.
        HomeReadOnly, StoreUnavailable: it cannot be removed.
    """
    if not dry_run:
        registry.require_writable()
    named = tuple(_garbage_named(registry, reference) for reference in references)
    objects = [info for info in registry.store.list() if not named or info.digest in named]
    stored: dict[Digest, ObjectInfo] = {info.digest: info for info in objects}
    for digest in named:
        if digest not in stored:
            raise DigestUnknown(digest)
    with view_of(registry) as view:
        garbage = _garbage_among(view, stored, named)
        needed = _named_in_the_log(view, garbage)
    removed: list[ObjectInfo] = []
    kept = [
        SparedObject(digest=info.digest, size=info.size, because=_FORGOTTEN)
        for info in garbage
        if info.digest in needed
    ]
    if named and kept:
        raise StillRegistered(f"{STORED} {kept[0].digest.short}", _FORGOTTEN)
    garbage = [info for info in garbage if info.digest not in needed]
    at_once = len(garbage) if named else _AT_ONCE
    for start in range(0, len(garbage), at_once):
        with registry.database.read() if dry_run else registry.database.write() as tx:
            gone, stays = _sort(View(registry, tx), garbage, slice(start, start + at_once), is_named=bool(named))
            for info in () if dry_run else gone:
                registry.store.delete(info.digest)
        removed += gone
        kept += stays
    before = _now(registry) - YOUNG
    unfinished = 0 if dry_run or named else registry.store.remove_unfinished(before=before)
    return Collected(
        is_dry_run=dry_run,
        removed=tuple(sorted(info.digest for info in removed)),
        removed_bytes=sum(info.size for info in removed),
        unfinished=unfinished,
        kept=tuple(sorted(kept, key=lambda entry: entry.digest)),
        unused=() if named else tuple(path.name for path in registry.files.unused),
    )


def _garbage_named(registry: Registry, reference: str) -> Digest:
    """The digest that is named, unless the registry has something recorded under it."""
    try:
        subject = subject_named(registry, reference)
    except DigestUnknown as error:
        return error.digest
    with view_of(registry) as view:
        _require_not_on_hold(view, subject)
    raise StillRegistered(subject.name, _retention(registry, subject))


def _retention(registry: Registry, subject: NamedSubject) -> str:
    version = subject.version
    if version is None:
        return "what was recorded to be made from it names it, and stays"
    record = records_of(registry, version).modification
    if record is None:
        return "the log names it, and what is made from it needs it"
    whole = in_third_form(record)
    aliases = _moved_aliases(registry, version)
    today = date.fromisoformat(registry.clock()[:10])
    return kept_because(whole.retention, whole.gpai, aliases=aliases, today=today)


def _moved_aliases(registry: Registry, version: Version) -> tuple[str, ...]:
    moves = (
        AliasPredicate.from_json(entry.statement.predicate)
        for entry in signed_statements(registry, version.manifest_digest)
        if entry.kind == "alias"
    )
    return tuple(dict.fromkeys(move.alias for move in moves if move.name == version.name and not move.removed))


def _require_not_on_hold(view: View, subject: NamedSubject) -> None:
    hold = every_hold(view).keeping(view, subject.digest)
    if hold is not None:
        raise OnHold(subject.name, hold.source.name, hold.digest, hold.because)


def _garbage_among(view: View, stored: dict[Digest, ObjectInfo], named: Sequence[Digest]) -> list[ObjectInfo]:
    """What nothing recorded points to, in the order of digests; of what is named each has to be."""
    referenced = frozenset(catalog.referenced_objects(view.tx))
    for digest in named:
        if digest in referenced:
            subject = NamedSubject(digest, f"{STORED} {digest.short}")
            _require_not_on_hold(view, subject)
            raise StillRegistered(subject.name, "a registered version needs it, and a version is not deleted")
    return [info for digest, info in sorted(stored.items()) if digest not in referenced]


def _named_in_the_log(view: View, garbage: Sequence[ObjectInfo]) -> frozenset[Digest]:
    """What of the garbage a signed manifest or statement in the log names."""
    wanted = {str(info.digest): info.digest for info in garbage}
    wanted |= {
        str(signed): info.digest for info in garbage if (signed := signed_payload(view.registry, info)) is not None
    }
    needed: set[Digest] = set()
    if not wanted:
        return frozenset()
    for text in _signed_texts(view):
        needed |= {wanted[digest] for digest in _DIGEST.findall(text) if digest in wanted}
    return frozenset(needed)


def _signed_texts(view: View) -> Iterator[str]:
    """The manifest of each registration in the log, and what every statement says that belongs to an artifact."""
    with closing(view.leaves()) as leaves:
        for index, data in leaves:
            leaf = read_leaf(data)
            if not isinstance(leaf, Event) or leaf.says in _NAMES_NOTHING_KEPT:
                continue
            if leaf.kind == "registration":
                yield f"{leaf.subject}"
                yield view.registry.store.read_bytes(leaf.subject).decode("utf-8", "replace")
            yield json.dumps(statement_of_entry(view.tx, index, leaf).statement.predicate)


def _sort(
    view: View, garbage: Sequence[ObjectInfo], part: slice, *, is_named: bool
) -> tuple[list[ObjectInfo], list[SparedObject]]:
    """What of a part may be removed, and what is kept, as everything is recorded in this transaction."""
    # what was registered since it was listed is not garbage
    referenced = frozenset(catalog.referenced_objects(view.tx))
    leased = catalog.leased(view.tx, view.registry.clock())
    on_hold = _on_hold(view, garbage)
    gone: list[ObjectInfo] = []
    kept: list[SparedObject] = []
    for info in (info for info in garbage[part] if info.digest not in referenced):
        hold = on_hold.get(info.digest)
        not_yet = _why_not_yet(view.registry, info, is_leased=info.digest in leased)
        if is_named and hold is not None:
            raise OnHold(f"{STORED} {info.digest.short}", hold.source.name, hold.digest, hold.because)
        if is_named and not_yet:
            raise NotGarbageYet(info.digest, not_yet)
        because = f"on hold: {hold.text}" if hold is not None else not_yet
        if because:
            kept.append(SparedObject(digest=info.digest, size=info.size, because=because))
        else:
            gone.append(info)
    return gone, kept


def _on_hold(view: View, garbage: Sequence[ObjectInfo]) -> dict[Digest, Hold]:
    """What of the garbage a hold keeps: of an artifact that was made from what is on hold, its files too."""
    holds = every_hold(view)
    on_hold: dict[Digest, Hold] = {}
    for info in garbage:
        hold = holds.keeping(view, info.digest)
        if hold is not None:
            on_hold |= dict.fromkeys((info.digest, *files_of(view.registry, info.digest)), hold)
    return on_hold


def _why_not_yet(registry: Registry, info: ObjectInfo, *, is_leased: bool) -> str:
    if is_leased:
        return "a registration that runs uses it"
    if info.modified_at > _now(registry) - YOUNG:
        return f"it was stored at {info.modified_at:%Y-%m-%dT%H:%M:%SZ}, less than a day ago"
    return ""


def _now(registry: Registry) -> datetime:
    return datetime.fromisoformat(registry.clock())
