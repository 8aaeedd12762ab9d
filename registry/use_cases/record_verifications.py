"""`registry verify --record`: one signed statement over the verdicts on a list, and what was recorded of the same list before."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.transparency import merkle
from peft_registry.registry.use_cases.acts import say
from peft_registry.registry.use_cases.statements import Saying
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.verifications import VerificationsPredicate, leaves_of

Verdicts = Sequence[tuple[Digest, str]]
"""Each item of a list or a shard with its verdict, in the order of the list."""


@dataclass(frozen=True, slots=True)
class RecordedVerifications:
    """What was signed about a list: in which entry, when, and under which root."""

    entry: int
    at: Timestamp | None
    root: Digest


def root_of(verdicts: Verdicts) -> Digest:
    """The root over the verdicts, as the statement has it."""
    return Digest(merkle.root_of(leaves_of(verdicts)).hex())


def record_verifications(registry: Registry, listed: Digest, verdicts: Verdicts, *, shard: str, plan: Digest) -> Digest:
    """Sign and log the verdicts on a list, with the home's own key; the digest of the statement.

    Args:
        registry: open and writable.
        listed: the digest of the list.
        verdicts: of every item of the shard, at least one.
        shard: which part of the list it is.
        plan: names the options that the items were verified with.

    Raises:
        KeyLacksRole: the trust file is from before there were such statements, and does not let the key make one.
        KnownError: as `say`; nothing was recorded.
    """
    registry.require_writable()
    predicate = VerificationsPredicate(
        shard=shard,
        size=len(verdicts),
        root=root_of(verdicts),
        verdicts=dict(sorted(Counter(verdict for _, verdict in verdicts).items())),
        plan=plan,
        release=tool_version(),
        nonce=registry.nonce(),
    )
    saying = Saying("verifications", predicate.to_json(), registry.trainer_key)
    return say(registry, listed, lambda _: saying, changing=lambda _: None).statement


def recorded_verifications(
    registry: Registry, listed: Digest, *, shard: str, plan: Digest
) -> RecordedVerifications | None:
    """What was recorded last of the same part of a list under the same options; None where nothing was.

    Raises:
        StatementAltered, SaidDiffers, PathRejected: what the database holds is not what was signed and logged.
    """
    for stored in reversed(signed_statements(registry, listed)):
        if stored.kind != "verifications" or stored.log_index is None:
            continue
        said = VerificationsPredicate.from_json(stored.statement.predicate)
        if (said.shard, said.plan) == (shard, plan):
            return RecordedVerifications(stored.log_index, stored.appended_at, said.root)
    return None
