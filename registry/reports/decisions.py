"""Who decided that a version is used: its aliases, the policy that let it through, decisions, approvals and waivers. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from peft_registry.registry.reports.wording import decided_text
from peft_registry.schemas.acts import AliasPredicate, ApprovalPredicate, DecisionPredicate, WaiverPredicate
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StatementKind, StoredStatement
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version

Act = TypeVar("Act", bound=Document)
_POLICY_DIGEST = re.compile(r" \(sha256:[0-9a-f]{12}…\)")
Who = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class AliasGate:
    """How the policy before an alias stands to what it points at, by the records up to an entry of the log.

    Attributes:
        policy: its name, with its digest cut short in brackets.
        entry: the last entry of the log that is looked at.
        as_of: the time by which it is judged what is over.
        closed_by: the rules that say no, each once; none where its conditions are met.
        unknown: why it cannot be told; empty where it can.
        cautions: why the gate stops fewer than it seems to, a sentence without its end each.
        remark: what else a reader has to know of it, a sentence without its end; empty where there is nothing.
    """

    policy: str
    entry: int
    as_of: Timestamp
    closed_by: tuple[str, ...]
    unknown: str = ""
    cautions: tuple[str, ...] = ()
    remark: str = ""

    @property
    def text(self) -> str:
        """In a sentence."""
        remark = f" {self.remark[:1].upper()}{self.remark[1:]}." if self.remark else ""
        if self.unknown:
            return f"Whether its release conditions are met could not be told: {self.unknown}.{remark}"
        is_met = "not met" if self.closed_by else "met"
        missing = f": {', '.join(self.closed_by)}" if self.closed_by else ""
        when = f"as of {self.as_of} (log entry {self.entry})"
        return f"Release conditions of the policy {self.policy}: {is_met} {when}{missing}.{remark}"


def decision_lines(
    version: Version,
    statements: Sequence[StoredStatement],
    who: Who,
    record: Digest | None,
    gates: Mapping[str, AliasGate] | None = None,
) -> tuple[str, ...]:
    """What was decided about a version, as signed; what of it counts today `registry gate status` says.

    Args:
        version: with the aliases that it has now.
        statements: about its artifact, in the order of the log.
        who: whose key it is, by its id, as a part of a sentence.
        record: the digest of its canonical modification record, which approvals and their like name; None where it has none.
        gates: how the policy before each alias stands to it, where that was asked for this page.
    """
    lines = [
        *_aliases(version, statements, who, gates or {}),
        *_decided(statements, who, record),
        *_approvals(statements, who, record),
        *_waivers(statements, who, record),
    ]
    if not lines and version.aliases:
        return (f"Released as {', '.join(version.aliases)}; by whom is not recorded here.",)
    if not lines:
        return ("Not released: no alias points at it, and nobody has approved it.",)
    unreleased = () if version.aliases else ("Not released: no alias points at it.",)
    return (*unreleased, *_with_each_digest_once(lines))


def _with_each_digest_once(lines: Sequence[str]) -> Iterator[str]:
    """The lines; the digest of a policy stands behind its name where it is named first."""
    seen: set[str] = set()

    def first_only(digest: re.Match[str]) -> str:
        if digest[0] in seen:
            return ""
        seen.add(digest[0])
        return digest[0]

    for line in lines:
        yield _POLICY_DIGEST.sub(first_only, line)


def _aliases(
    version: Version,
    statements: Sequence[StoredStatement],
    who: Who,
    gates: Mapping[str, AliasGate],
) -> Iterator[str]:
    for alias, (statement, move) in sorted(moves_of(version, statements).items()):
        gate = move.gate
        by = _signed_by(statement, who)
        if gate is None:
            yield f"Moved to {alias} by {by} under no policy: nobody had to approve it{_because(move.reason)}."
        else:
            policy = f"the policy {gate.policy_name} ({gate.policy.short})"
            waived = f", with {', '.join(gate.waived)} waived" if gate.waived else ""
            yield f"Released as {alias} by {by} under {policy}{waived}{_because(move.reason)}."
        if alias in gates:
            yield gates[alias].text
            yield from (f"Caution: {caution}." for caution in gates[alias].cautions)


def moves_of(
    version: Version, statements: Sequence[StoredStatement]
) -> dict[str, tuple[StoredStatement, AliasPredicate]]:
    """The newest move of each alias that points at the version now."""
    moves: dict[str, tuple[StoredStatement, AliasPredicate]] = {}
    for statement in statements:
        if statement.kind == "alias":
            move = AliasPredicate.from_json(statement.statement.predicate)
            if move.name == version.name and move.alias in version.aliases and not move.removed:
                moves[move.alias] = (statement, move)
    return moves


def _because(reason: str | None) -> str:
    """What somebody typed, so that it is never read as a sentence of this tool."""
    return f", reason given: “{reason}”" if reason else ""


def _decided(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, decision in _of_kind(statements, "decision", DecisionPredicate):
        earlier = "" if decision.record == record else ", of an earlier record"
        policy = f"the policy {decision.policy_name} ({decision.policy.short})"
        signer = _signed_by(statement, who)
        decided = decided_text(decision.question, is_yes=decision.outcome == "yes")
        yield f"Decided by {signer} under {policy}{earlier}: {decided}{_because(decision.reason)}."


def _approvals(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, approval in _of_kind(statements, "approval", ApprovalPredicate):
        earlier = "" if approval.record == record else ", of an earlier record"
        policy = f"the policy {approval.policy_name} ({approval.policy.short})"
        yield f"Approved by {_signed_by(statement, who)} under {policy}{earlier}{_because(approval.reason)}."


def _waivers(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, waiver in _of_kind(statements, "waiver", WaiverPredicate):
        is_bound = waiver.evaluations is not None  # one of an earlier release names no record
        earlier = ", of an earlier record" if is_bound and waiver.record != record else ""
        signer = _signed_by(statement, who)
        yield f"The rule {waiver.rule} is waived by {signer} until {waiver.until[:10]}{earlier}{_because(waiver.reason)}."


def _of_kind(
    statements: Sequence[StoredStatement], kind: StatementKind, form: type[Act]
) -> Iterator[tuple[StoredStatement, Act]]:
    """The statements of a kind with what they say; one that cannot be read is left out, and whoever verifies it says so."""
    for statement in statements:
        if statement.kind != kind:
            continue
        try:
            act = form.from_json(statement.statement.predicate)
        except ValidationError:
            continue
        yield statement, act


def _signed_by(statement: StoredStatement, who: Who) -> str:
    return f"{who(statement.key_id)} on {(statement.appended_at or '')[:10]}"
