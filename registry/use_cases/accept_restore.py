"""`registry log accept-restore`: a log that was restored from a backup goes on, because a root accepts what is lost.

A log that ends before a checkpoint that was signed is refused by every command: nothing tells a restored backup from an attack.
A root can say so, in a version of the trust file; then whoever holds the log key begins the next epoch. What is accepted is a
backup that agrees with itself: the whole log is replayed first, and whatever else is wrong with it stops the command.

First the trust file is replaced, then the log is changed, in one transaction. A kill in between leaves a log that is refused
as before, and the same command completes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.seen_checkpoints import written_at
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.checkpoints import (
    open_epoch,
    pending_problems,
    publish_checkpoint,
    restored_view,
)
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.standing_acts import lost_stops
from peft_registry.registry.signing.rotation import next_draft
from peft_registry.registry.transparency import log, note
from peft_registry.registry.transparency.epochs import EpochNotOpened, Epochs, LossNotAccepted
from peft_registry.registry.transparency.log import LogForked, LogTruncated
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.sign_log import require_log_key
from peft_registry.registry.use_cases.trust import NobodySigns, TrustPlace, issue, place_of_home
from peft_registry.registry.verification.log_replay import Contradiction
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.policy import Epoch, TrustPolicy
from peft_registry.schemas.progress import Observe, ignore

State = Literal["shown", "waiting", "stated", "opened"]
_LOSSES = (LogTruncated.reference, LossNotAccepted.reference)
_DATABASE = "the database"  # as `log check` names the place of its checkpoints


class NothingLost(NotFound):
    what = "there is no loss to accept"
    why = "the log continues every checkpoint that survives here"
    fix = "name a newer checkpoint that was kept elsewhere with --against FILE; without one, go on: nothing is missing"


class AcceptanceWithoutReason(InputRefused):
    what = "no loss was accepted"
    why = "the reason is empty, and everybody who reads the trust file is told why entries are missing"
    fix = "add --reason TEXT"


class RestoreUnsound(IntegrityBroken):
    what = "the restored log is not an older state of this log, and no loss was accepted"
    why = "{place}: {reason}"
    fix = "restore another backup as a whole; `registry log check` names everything that is wrong with this one"

    place: str
    reason: str


class LostCheckpoint(Frozen):
    """The newest checkpoint that the restored log does not continue, and where it survives; `kept_at` as the file system says."""

    origin: str
    size: int
    root: str
    found: tuple[str, ...]
    kept_at: str | None


class AcceptedRestore(Frozen):
    """What is lost and kept, and how far its acceptance is.

    `shown`: nothing was changed. `waiting`: the trust version in `file` needs the signatures of some of `persons`. `stated`: the
    trust file says it, and whoever holds the log key opens the epoch. `opened`: the log goes on under `origin`.

    `unregistered` are artifacts in the store that no kept entry registers: lost versions, or what a killed registration left.
    `stops` are the recalls, holds and bindings that this user remembers and the backup lacks: they count, and enter the log again.
    """

    state: State
    epoch: int
    origin: str
    lost: LostCheckpoint
    kept_size: int
    kept_root: str
    kept_at: str | None  # time of the last kept entry
    unregistered: tuple[str, ...]
    stops: tuple[str, ...] = ()
    file: str | None = None
    persons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Loss:
    """What the restored log lacks, and what it has; `is_stated` where a root accepted it already and no log key has gone on."""

    lost: str
    places: tuple[str, ...]
    size: int
    root: bytes
    newest_time: str | None
    is_stated: bool


def accept_restore(
    registry: Registry,
    *,
    reason: str,
    against: Iterable[str] = (),
    root_key: Path | None = None,
    dry_run: bool = False,
    observe: Observe = ignore,
) -> AcceptedRestore:
    """Accept what a restored log lacks, and begin its next epoch, as far as the keys at hand can.

    Args:
        registry: opened with `check_log=False`; its database is the backup.
        reason: why entries are missing, for everybody who reads the trust file.
        against: texts of checkpoints that were kept elsewhere.
        root_key: the private key of a root, where it is not in the home.
        dry_run: say what would be accepted, and change nothing.
        observe: hears of the replay of the log.

    Raises:
        NothingLost: no checkpoint is lost.
        RestoreUnsound: something else is wrong with the restored log; LogForked: two states were signed for one size.
        EntryRejected, and what a statement's own check raises: an entry that was pending in the backup may not be signed over.
        AcceptanceWithoutReason: nothing was changed.
        KeyFileMissing, NobodySigns, WrongPassphrase: no root key is at hand.
        LogKeyElsewhere, RevokedKey, ExpiredKey: the epoch is stated, and the log key that opens it is not here or does not count.
        EpochNotOpened: the log is not the one whose loss was accepted.
        HomeReadOnly: this home cannot be written.
    """
    registry.require_writable()
    loss = _find_loss(registry, tuple(against), observe)
    shown = _shown(registry, loss)
    if dry_run:
        return shown
    if registry.has_log_key or loss.is_stated:
        require_log_key(registry)
    place = None
    if not loss.is_stated:
        if not reason.strip():
            raise AcceptanceWithoutReason
        place = place_of_home(registry, root_key=root_key, follows_log=False)
    with registry.database.write() as tx:
        if place is not None:
            change = issue(place, _draft(place, registry, loss, reason))
            if change.state == "waiting":
                return shown.revised(state="waiting", file=f"{change.file}", persons=change.persons)
            registry = replace(registry)  # reads the trust file anew
        if not registry.has_log_key:
            return shown.revised(state="stated")
        open_epoch(registry, tx, registry.epochs.stated[-1])
    publish_checkpoint(registry)
    return shown.revised(state="opened")


def _draft(place: TrustPlace, registry: Registry, loss: _Loss, reason: str) -> TrustPolicy:
    """The next trust version, with one more epoch."""
    draft = next_draft(place.chain.newest, now=place.now)
    persons = [draft.person_of(signer.public.key_id) for signer in place.signers if signer.public.key_id in draft.roots]
    if not persons:
        raise NobodySigns(", ".join(sorted({key.person for key in draft.keys if key.role == "root"})))
    epoch = Epoch(
        log=registry.log_name,
        number=registry.epochs.number + 1,
        lost=loss.lost,
        kept_size=loss.size,
        kept_root=loss.root.hex(),
        accepted_by=persons[0],
        accepted_at=place.now,
        reason=reason,
    )
    return draft.revised(epochs=(*draft.epochs, epoch))


# --- what is lost, and what is kept


def _find_loss(registry: Registry, against: tuple[str, ...], observe: Observe) -> _Loss:
    _require_sound(check_log(registry, against=against, observe=observe).contradictions)
    epochs = registry.epochs
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        size, root = store.size(), log.current_root(store)
        newest_time = read_leaf(store.get_leaf(size - 1)).at if size else None
        surviving = [(_DATABASE, text) for _, text in catalog.every_checkpoint(tx)]
        for problem in pending_problems(restored_view(registry, tx)):
            raise problem.error
    surviving += registry.remembered_checkpoints()
    surviving += [("the checkpoint that was given", text) for text in against]
    is_stated = epochs.number > 0 and all(epochs.number_of(text) < epochs.number for _, text in surviving)
    lost = epochs.stated[-1].epoch.lost if is_stated else _largest_lost(epochs, [text for _, text in surviving], size)
    places = tuple(dict.fromkeys(place for place, text in surviving if text == lost))
    return _Loss(lost, places, size, root, newest_time, is_stated)


def _require_sound(contradictions: Sequence[Contradiction]) -> None:
    for contradiction in contradictions:
        is_loss = contradiction.reference in _LOSSES and not contradiction.place.startswith(_DATABASE)
        if not is_loss and contradiction.reference != EpochNotOpened.reference:
            raise RestoreUnsound(contradiction.place, contradiction.text)


def _largest_lost(epochs: Epochs, surviving: Sequence[str], size: int) -> str:
    """The newest checkpoint that a log of this size does not continue, and nobody accepted the loss of.

    Raises:
        NothingLost: there is none.
        LogForked: two of them are of one size and have different roots.
    """
    lost = [
        text
        for text in surviving
        if epochs.standing_of(text, size=size, root_at=lambda _: None) in ("shorter", "beyond")
    ]
    if not lost:
        raise NothingLost
    newest = max(lost, key=lambda text: (epochs.number_of(text), note.read_unverified(text)[1]))
    origin, lost_size, root = note.read_unverified(newest)
    for text in lost:
        other = note.read_unverified(text)
        if other[:2] == (origin, lost_size) and other[2] != root:
            raise LogForked("two states were signed for as many entries", size=lost_size, signed=root, found=other[2])
    return newest


def _shown(registry: Registry, loss: _Loss) -> AcceptedRestore:
    origin, size, root = note.read_unverified(loss.lost)
    epochs = registry.epochs
    with registry.database.read() as tx:
        stops = lost_stops(registry, tx)
    return AcceptedRestore(
        state="shown",
        epoch=epochs.number if loss.is_stated else epochs.number + 1,
        origin=epochs.origin if loss.is_stated else epochs.next_origin,
        lost=LostCheckpoint(
            origin=origin, size=size, root=root.hex(), found=loss.places, kept_at=_kept_at(registry, loss)
        ),
        kept_size=loss.size,
        kept_root=loss.root.hex(),
        kept_at=loss.newest_time,
        unregistered=tuple(_unregistered(registry)),
        stops=stops,
    )


def _kept_at(registry: Registry, loss: _Loss) -> str | None:
    """The earliest time at which one of the files that hold the lost checkpoint was written."""
    files = (registry.folder / place for place in loss.places)
    times = [written_at(path) for path in files if path.is_file()]
    origin = note.read_unverified(loss.lost)[0]
    if registry.seen is not None and registry.seen.newest(origin) == loss.lost:
        times += [at for at in (registry.seen.seen_at(origin),) if at is not None]
    return min(times, default=None)


def _unregistered(registry: Registry) -> Iterable[str]:
    """Kind and digest of each manifest in the store that no version has."""
    with registry.database.read() as tx:
        for stored in registry.store.list():
            if stored.size > MANIFEST_MAX_BYTES or catalog.version_by_digest(tx, stored.digest):
                continue
            kind = _kind_of_manifest(registry, stored.digest)
            if kind is not None:
                yield f"{kind} {stored.digest}"


def _kind_of_manifest(registry: Registry, digest: Digest) -> str | None:
    """What a stored object describes, where it is a manifest."""
    try:
        data = registry.store.read_bytes(digest, MANIFEST_MAX_BYTES)
        return Manifest.from_json(read_json(data, what="a manifest")).kind if data.startswith(b"{") else None
    except (KnownError, ValidationError):
        return None
