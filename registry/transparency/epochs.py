"""The epochs of a log: where a restored backup was accepted, what was lost then, and what older checkpoints are worth now. Pure.

A log that is shorter than a checkpoint that was signed is broken, whoever shortened it. Only a root can accept the loss, in a
version of the trust file; the chain of versions keeps that from being said again for another loss:

    the trust file      the lost checkpoint as it was signed, the entries that were kept (size and root), by whom, when, why
    the log             its next entry names all that by digest (`LogEpoch`); checkpoints have the origin `LOG/NUMBER` then

A checkpoint of an earlier epoch is worth this:

    up to what was kept                 the log has to continue it, as ever
    up to the lost checkpoint           an accepted loss: nothing is compared with it any more
    beyond it, or other for its size    nobody accepted that
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.trust_chain import TrustChain, public_of
from peft_registry.registry.transparency import merkle, note
from peft_registry.registry.transparency.log import LogForked, LogStore, LogTruncated
from peft_registry.registry.transparency.note import Checkpoint, WrongOrigin
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEpoch
from peft_registry.schemas.policy import Epoch, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import epoch_origin

Standing = Literal["continued", "accepted", "shorter", "beyond", "forked"]
_ASK = "whoever holds the root accepts a loss with `registry log accept-restore`, and hands out the trust file that says so"


class EpochUnknown(IntegrityBroken):
    what = "nobody who holds a root has begun the epoch that a checkpoint of this log names"
    why = "it is of {origin}, and the trust file here accepts {known}"
    fix = "take the newest trust file with `registry trust update FILE`; if its keeper accepted no loss, keep all as evidence"

    origin: str
    epochs: int

    @property
    def known(self) -> str:
        return "no loss" if self.epochs == 0 else f"the losses before epochs 1 to {self.epochs}"


class EpochNotStated(NotChecked):
    what = "the trust file does not say that the log has this epoch"
    why = "the checkpoint is of {origin}, and only a root begins one, after an accepted loss"
    fix = "ask the keeper of the trust file for its newest version"

    origin: str


class EpochUnsound(IntegrityBroken):
    what = "the trust file accepts a loss that there cannot have been, before epoch {number}"
    why = "{reason}"
    fix = "ask who holds the root how it was signed, and keep the file as evidence"

    number: int
    reason: str


class EpochNotOpened(IntegrityBroken):
    what = "the log does not begin epoch {number} as the trust file says"
    why = "{reason}"
    fix = (
        "after a restore that the root accepted, run `registry log accept-restore` where the log key is; "
        "else restore the newest backup"
    )

    number: int
    reason: str


class LossNotAccepted(IntegrityBroken):
    what = "more entries are missing from the log than anybody accepted"
    why = "a signed checkpoint of {origin} covers {size} entries; accepted is the loss up to {accepted}"
    fix = f"restore a newer backup; where there is none, {_ASK}"

    origin: str
    size: int
    accepted: int


@dataclass(frozen=True, slots=True)
class StatedEpoch:
    """An epoch, the trust version that states it, and the lost checkpoint as its text says: nobody has checked the signature."""

    epoch: Epoch
    statement: Digest  # SHA-256 of the version's payload
    lost: Checkpoint
    lost_origin: str


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epochs of one log, from 1 on, as a trust file states them; `log` is its origin before."""

    log: str
    stated: tuple[StatedEpoch, ...] = ()

    @property
    def number(self) -> int:
        """How many losses were accepted: the number of the newest epoch."""
        return len(self.stated)

    @property
    def origin(self) -> str:
        """Of the checkpoints that are signed now."""
        return epoch_origin(self.log, self.number)

    @property
    def next_origin(self) -> str:
        """Of the checkpoints after one more accepted loss."""
        return epoch_origin(self.log, self.number + 1)

    @property
    def origins(self) -> tuple[str, ...]:
        """Of all checkpoints of this log, by epoch."""
        return tuple(epoch_origin(self.log, number) for number in range(self.number + 1))

    @property
    def standing_in_log(self) -> tuple[StatedEpoch, ...]:
        """The epochs whose first leaf the log still has: an older backup that was restored later may lack them."""
        return tuple(
            stated
            for stated in self.stated
            if all(stated.epoch.kept_size < later.epoch.kept_size for later in self.stated[stated.epoch.number :])
        )

    def number_of(self, text: str) -> int:
        """The epoch that a checkpoint is of; 0 before the first.

        Raises:
            WrongOrigin: it is about another log.
            EpochUnknown: it is about this one, in an epoch that nobody stated.
        """
        origin = note.read_unverified(text)[0]
        if origin in self.origins:
            return self.origins.index(origin)
        before, _, number = origin.rpartition("/")
        if before == self.log and number.isdigit():
            raise EpochUnknown(origin, self.number)
        raise WrongOrigin(origin, self.origin)

    def kept_of(self, origin: str) -> int | None:
        """How many entries of the log as it was under an origin of its own it has still; None where nothing was lost since."""
        later = self.stated[self.origins.index(origin) :]
        return min((stated.epoch.kept_size for stated in later), default=None)

    def accepted_loss(self, text: str) -> StatedEpoch | None:
        """The epoch before which the loss of a checkpoint was accepted; None where it was not.

        Raises:
            WrongOrigin, EpochUnknown: it is not one of this log.
        """
        self.number_of(text)
        origin, size, root = note.read_unverified(text)
        return self.accepted_loss_of(origin, size=size, root=root)

    def accepted_loss_of(self, origin: str, *, size: int, root: bytes) -> StatedEpoch | None:
        """As `accepted_loss`, of a checkpoint that was read; its origin is one of this log."""
        kept = self.kept_of(origin) or 0
        for stated in self.stated[self.origins.index(origin) :]:
            lost = stated.lost
            is_it = (lost.size, lost.root) == (size, root)
            if stated.lost_origin == origin and (is_it or kept < size < lost.size):
                return stated
        return None

    def standing_of(self, text: str, *, size: int, root_at: Callable[[int], bytes | None]) -> Standing:
        """What a checkpoint of this log is worth now; its signature is the caller's to check.

        Args:
            text: of the checkpoint.
            size: how many entries the log has.
            root_at: the root over so many of them.

        Raises:
            WrongOrigin, EpochUnknown: it is not one of this log.
        """
        origin, signed_size, signed_root = note.read_unverified(text)
        if self.accepted_loss(text) is not None:
            return "accepted"
        kept = self.kept_of(origin)
        if kept is not None and signed_size > kept:
            return "beyond"
        if signed_size > size:
            return "shorter"
        return "continued" if root_at(signed_size) == signed_root else "forked"


def epochs_of(chain: TrustChain, log: str) -> Epochs:
    """The epochs of a log that a trust file states.

    Raises:
        EpochUnsound: what is said to be lost is not a checkpoint of an earlier epoch, or the log had it still.
    """
    origins: list[str] = [log]
    stated: list[StatedEpoch] = []
    for epoch in (epoch for epoch in chain.newest.policy.epochs if epoch.log == log):
        first = next(version for version in chain.versions if epoch in version.policy.epochs)
        try:
            origin, size, root = note.read_unverified(epoch.lost)
        except IntegrityBroken as error:
            raise EpochUnsound(epoch.number, error.why) from error
        if origin not in origins:
            raise EpochUnsound(epoch.number, f"what was lost is a checkpoint of {origin}")
        later = [other.epoch.kept_size for other in stated[origins.index(origin) :]]
        if size <= min((*later, epoch.kept_size)):
            raise EpochUnsound(epoch.number, f"the {size} entries under the lost checkpoint were kept")
        stated.append(StatedEpoch(epoch, first.digest, Checkpoint(size, root, key_id=""), origin))
        origins.append(epoch.origin)
    return Epochs(log, tuple(stated))


def log_keys_of(policy: TrustPolicy, log: str) -> tuple[PublicKey, ...]:
    """The keys that may sign checkpoints of a log, revoked and expired ones too; `log` is its origin before any loss."""
    return tuple(public_of(key) for key in policy.keys if key.role == "log" and policy.names_log(key, log))


def require_signed_losses(epochs: Epochs, keys: Iterable[PublicKey]) -> None:
    """Raise EpochUnsound unless a log key signed each checkpoint whose loss was accepted."""
    trusted = tuple(keys)
    for stated in epochs.stated:
        try:
            note.verify_checkpoint(stated.epoch.lost, origin=stated.lost_origin, keys=trusted)
        except KnownError as error:
            raise EpochUnsound(stated.epoch.number, f"no log key signed what was lost: {error.why}") from error


def require_standing(epochs: Epochs, text: str, store: LogStore) -> Standing:
    """`continued` or `accepted`: what a checkpoint is worth for the log in a store.

    Raises:
        LogTruncated, LogForked: the log is not a continuation of it.
        LossNotAccepted: more was lost than was accepted.
        WrongOrigin, EpochUnknown: it is not one of this log.
    """
    origin, size, root = note.read_unverified(text)
    stored_size = store.size()
    standing = epochs.standing_of(text, size=stored_size, root_at=lambda wanted: _root_of(store, wanted))
    if standing == "shorter":
        raise LogTruncated(signed_size=size, found_size=stored_size)
    if standing == "beyond":
        require_accepted(epochs, origin, size=size, root=root)
    if standing == "forked":
        raise LogForked("its first entries are others", size=size, signed=root, found=_root_of(store, size))
    return standing


def require_accepted(epochs: Epochs, origin: str, *, size: int, root: bytes) -> None:
    """Raise unless the loss of a checkpoint was accepted that covers more than was kept of the log under its origin.

    Raises:
        LogForked: what was accepted as lost is another state of that size.
        LossNotAccepted: it covers more.
    """
    if epochs.accepted_loss_of(origin, size=size, root=root) is not None:
        return
    lost = [stated.lost for stated in epochs.stated if stated.lost_origin == origin]
    for other in lost:
        if other.size == size:
            raise LogForked("another state was accepted as lost", size=size, signed=root, found=other.root)
    raise LossNotAccepted(origin, size, max((other.size for other in lost), default=0))


def first_leaf(stated: StatedEpoch, *, at: str) -> LogEpoch:
    """The leaf that begins an epoch."""
    return LogEpoch(
        number=stated.epoch.number,
        size=stated.epoch.kept_size,
        lost_origin=stated.lost_origin,
        lost_size=stated.lost.size,
        lost_root=stated.lost.root.hex(),
        lost_checkpoint=Digest.of(stated.epoch.lost.encode()),
        statement=stated.statement,
        at=at,
    )


def begins(leaf: LogEpoch, epochs: Epochs) -> bool:
    """Whether a leaf begins an epoch as a root stated it."""
    return any(leaf == first_leaf(stated, at=leaf.at) for stated in epochs.stated)


def require_opened(epochs: Epochs, store: LogStore, checkpoint: Checkpoint | None) -> None:
    """Raise EpochNotOpened unless each epoch up to the newest begins at the entries that were kept, with the leaf that says so.

    Args:
        epochs: of the log.
        store: the log.
        checkpoint: the newest of the newest epoch, which the log continues; None where no such checkpoint survives.
    """
    for stated in epochs.standing_in_log:
        epoch = stated.epoch
        if checkpoint is None or checkpoint.size <= epoch.kept_size:
            raise EpochNotOpened(epoch.number, f"no checkpoint of {epoch.origin} covers its first entry")
        if _root_of(store, epoch.kept_size).hex() != epoch.kept_root:
            raise EpochNotOpened(epoch.number, f"its first {epoch.kept_size} entries are not those that were kept")
        data = store.get_leaf(epoch.kept_size)
        proof = merkle.inclusion_proof(epoch.kept_size, checkpoint.size, store.get_node)
        merkle.check_inclusion(merkle.leaf_hash(data), epoch.kept_size, checkpoint.size, proof, checkpoint.root)
        leaf = _read_first_leaf(data)
        if leaf is None or leaf != first_leaf(stated, at=leaf.at):
            raise EpochNotOpened(epoch.number, f"entry {epoch.kept_size} is not the leaf that begins it")


def require_names_log(policy: TrustPolicy, key: TrustedKey, origin: str) -> None:
    """Raise unless a log key may sign checkpoints of this origin.

    Raises:
        EpochNotStated: of its log, in an epoch that the trust file does not state.
        WrongOrigin: of another log.
    """
    if policy.names_log(key, origin):
        return
    if key.log_origin is None or origin.startswith(f"{key.log_origin}/"):
        raise EpochNotStated(origin)
    raise WrongOrigin(origin, key.log_origin)


def _read_first_leaf(data: bytes) -> LogEpoch | None:
    try:
        leaf = LogEpoch.from_json(read_json(data, what="an entry of the log"))
    except (ValidationError, KnownError):
        return None
    return leaf if leaf.to_canonical() == data else None


def _root_of(store: LogStore, size: int) -> bytes:
    return merkle.root_from_nodes(size, store.get_node)
