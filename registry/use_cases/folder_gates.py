"""The policies whose bytes lie in a dossier, held against the version that it shows: for an audit, and for the folder's page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.documents.audit import SMALL_BYTES
from peft_registry.registry.documents.dossier import policies_named, policy_file
from peft_registry.registry.gate.reasons import decide_gate
from peft_registry.registry.records.signed_records import require_derived
from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.use_cases.gate import policy_of_bytes
from peft_registry.registry.use_cases.gate_facts import evidence_in, facts_among
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import VerifyOutcome

_ENDS_THERE = "a folder does not say what was recalled above it, or since it was written"


@dataclass(frozen=True, slots=True)
class FolderGate:
    """How a policy stands to the version of a folder, by what lies there.

    Attributes:
        policy: by its digest.
        file: where its bytes lie.
        name: as it calls itself; its digest cut short where that cannot be read.
        passed_for: the aliases that were moved under it.
        closed_by: the rules that say no, each once; none where the gate is open.
        unknown: why it cannot be told; empty where it can.
    """

    policy: Digest
    file: str
    name: str
    passed_for: tuple[str, ...]
    closed_by: tuple[str, ...] = ()
    unknown: str = ""


def gates_in(folder: Path, shown: PresentedVersion, outcome: VerifyOutcome, *, at: Timestamp) -> Iterator[FolderGate]:
    """How each policy stands to the version that somebody decided under and whose bytes are here, unchanged.

    Args:
        folder: a dossier.
        shown: the version.
        outcome: how it verified.
        at: the time by which it is judged what is over.
    """
    moves = _moves(shown)
    for digest in policies_named(shown.records.statements):
        file = policy_file(digest)
        if not (folder / file).is_file() or hash_file(folder / file).sha256 != digest:
            continue  # a line of the audit says so
        passed_for = tuple(dict.fromkeys(move.alias for move in moves if _policy_of(move) == digest))
        try:
            name, closed_by = _held_against(folder / file, shown, outcome, digest, at)
        except KnownError as error:
            yield FolderGate(digest, file, digest.short, passed_for, unknown=f"{error.what}: {error.why}")
            continue
        yield FolderGate(digest, file, name, passed_for, closed_by)


def alias_gates_in(
    folder: Path, shown: PresentedVersion, outcome: VerifyOutcome, *, at: Timestamp
) -> dict[str, AliasGate]:
    """For the page: how the policy that let each alias of the version through stands to it; the arguments as `gates_in`."""
    entry = max((stored.log_index for stored in shown.records.statements if stored.log_index is not None), default=0)
    gates = {gate.policy: gate for gate in gates_in(folder, shown, outcome, at=at)}
    newest = {move.alias: _policy_of(move) for move in _moves(shown)}
    told: dict[str, AliasGate] = {}
    for alias in shown.version.aliases:
        policy = newest.get(alias)
        gate = None if policy is None else gates.get(policy)
        if gate is not None:
            told[alias] = AliasGate(
                policy=f"{gate.name} ({gate.policy.short})",
                entry=entry,
                as_of=at,
                closed_by=gate.closed_by,
                unknown=gate.unknown,
                remark=_ENDS_THERE,
            )
    return told


def _held_against(
    path: Path, shown: PresentedVersion, outcome: VerifyOutcome, digest: Digest, at: Timestamp
) -> tuple[str, tuple[str, ...]]:
    """The policy's name, and which rules of it say no.

    Raises:
        GatePolicyRefused: its bytes are not a policy that this release reads.
        RecordNotDerived: the record is of an edition that this release does not know, and the policy does not let that pass.
    """
    policy = policy_of_bytes(path.name, read_file(path, max_bytes=SMALL_BYTES)).policy
    if not policy.newer_editions:
        require_derived(shown.records, shown.version)
    decision = decide_gate(facts_among(evidence_in(shown), digest, outcome, at=at), policy)
    return policy.name, tuple(dict.fromkeys(reason.rule for reason in decision.reasons))


def _moves(shown: PresentedVersion) -> tuple[AliasPredicate, ...]:
    """Every move of an alias that is here, in the order of the log."""
    return tuple(
        AliasPredicate.from_json(stored.statement.predicate)
        for stored in shown.records.statements
        if stored.kind == "alias"
    )


def _policy_of(move: AliasPredicate) -> Digest | None:
    return None if move.gate is None else move.gate.policy
