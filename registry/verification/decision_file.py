"""`evidence/DECISIONS.md` of what is presented, made again from its statements: written beside a copy, and held against one."""

from collections.abc import Mapping, Sequence

from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.transparency.completeness import CompleteList, EntryProof
from peft_registry.registry.verification.decision_text import SignedAct, decision_text
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import Statement


def decision_file(
    statements: Sequence[OpenedStatement], listed: CompleteList | None, trust: TrustPolicy
) -> bytes | None:
    """The file as these statements give it; None where nobody decided anything, or nothing says when which of them was logged.

    Args:
        statements: of one artifact.
        listed: all that was said about it up to a checkpoint, whose proof the caller checks.
        trust: says whose key made each.
    """
    if listed is None:
        return None
    said = {read.digest: read.statement for read in statements}
    acts = _acts(said, {entry.leaf.statement: entry for entry in listed.stated.entries}, trust)
    if acts is None:
        return None
    names = {str(entry.predicate.get("name")) for entry in said.values() if entry.kind == "registration"}
    return decision_text(sorted(names), acts)


def _acts(
    said: Mapping[Digest, Statement], entries: Mapping[Digest, EntryProof], trust: TrustPolicy
) -> list[SignedAct] | None:
    """The statements in the order of the log; None where the entry or the signer of one is not known."""
    acts = []
    for digest, statement in said.items():
        entry = entries.get(digest)
        key = None if entry is None else trust.key(entry.leaf.key)
        if entry is None or key is None:
            return None
        acts.append(SignedAct(statement, digest, key.person, key.role, key.key_id, entry.leaf.at, entry.index))
    return sorted(acts, key=lambda act: act.index)
