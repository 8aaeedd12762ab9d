"""A log entry with its proof: the event that a leaf holds, and the checkpoint that covers it."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.trust import ProvenTime, key_status, public_keys, require_ok
from peft_registry.registry.transparency import log, note
from peft_registry.registry.transparency.epochs import require_names_log
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.log import Event, event_of
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import PROOF_FILE


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """The log entry that a proof speaks of. Nothing is proven before `checkpoint_over` has returned."""

    proof: note.Proof
    event: Event


def parse_entry(proof_text: str) -> LoggedEntry:
    """The log entry of a proof's text.

    Raises:
        MalformedNote, LooseBase64, MalformedJson: it is not a proof of a log entry.
    """
    proof = note.parse_proof(proof_text)
    value = read_json(proof.extra or b"", what="the proven log entry")
    try:
        return LoggedEntry(proof, event_of(value))
    except ValidationError as error:
        raise note.MalformedNote(PROOF_FILE, f"its entry is not a log event: {first_problem(error)}") from error


def checkpoint_over(
    entry: LoggedEntry, trust: TrustPolicy, *, now: str, signed_at: ProvenTime | None = None
) -> note.Checkpoint:
    """The checkpoint that covers the entry, signed by a log key that counts for this very log.

    Args:
        entry: with its proof.
        trust: whom the user trusts.
        now: RFC 3339, UTC.
        signed_at: the time of the snapshot under this checkpoint, where that is shown: the key counts then. Else it counts now.

    Raises:
        WrongOrigin, BadSignature, ProofRejected, RevokedKey, KeyLacksRole: the proof is wrong.
        UnknownKey, ExpiredKey, EpochNotStated: nobody whom the user trusts vouches for it.
    """
    keys = public_keys(trust, role="log")
    origin = origin_of(entry, keys)
    checkpoint = log.verify_proof(entry.proof, entry.proof.extra or b"", origin=origin, keys=keys)
    status = key_status(trust, checkpoint.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=signed_at, now=now)
    require_names_log(trust, require_ok(status), origin)
    return checkpoint


def origin_of(entry: LoggedEntry, keys: Iterable[PublicKey]) -> str:
    """The log that the proof's checkpoint must be about: the one that a line by one of the keys names, else its own word."""
    text = entry.proof.checkpoint_text
    return note.claimed_name(text, keys) or text.split("\n", 1)[0]
