"""Who decided that a version is used: its aliases, the policy that let it through, decisions, approvals and waivers. Pure."""

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
Who = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class AliasGate:
    """How the policy before an alias stands to what it points at, by the records up to an entry of the log.

    Attributes:
        policy: its name, with its digest cut short.
        entry: the last entry of the log that is looked at.
        as_of: the time by which it is judged what is over.
        closed_by: the rules that say no, each once; none where the gate is open.
        unknown: why it cannot be told; empty where it can.
        cautions: why the gate stops fewer than it seems to, a sentence without its end each.
    """

    policy: str
    entry: int
    as_of: Timestamp
    closed_by: tuple[str, ...]
    unknown: str = ""
    cautions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """In a sentence."""
        if self.unknown:
            return f"Whether its gate is open could not be told: {self.unknown}."
        by = f"By the records up to log entry {self.entry}, as of {self.as_of}, its gate ({self.policy})"
        stands = f"closed by {', '.join(self.closed_by)}" if self.closed_by else "open"
        return " ".join((f"{by} is {stands}.", *(f"Caution: {caution}." for caution in self.cautions)))


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
    return tuple(lines) or ("Nobody yet: no alias points at it, and nobody approved it.",)


def _aliases(
    version: Version,
    statements: Sequence[StoredStatement],
    who: Who,
    gates: Mapping[str, AliasGate],
) -> Iterator[str]:
    moves: dict[str, tuple[StoredStatement, AliasPredicate]] = {}
    for statement in statements:
        if statement.kind == "alias":
            move = AliasPredicate.from_json(statement.statement.predicate)
            if move.name == version.name and move.alias in version.aliases and not move.removed:
                moves[move.alias] = (statement, move)
    for alias, (statement, move) in sorted(moves.items()):
        gate = move.gate
        policy = (
            "no policy was asked"
            if gate is None
            else f"the policy {gate.policy_name} ({gate.policy.short}) let it through"
        )
        waived = "" if gate is None or not gate.waived else f", with {', '.join(gate.waived)} waived"
        reason = "" if move.reason is None else f": {move.reason}"
        today = f" {gates[alias].text}" if alias in gates else ""
        yield f"{alias}, moved by {_signed_by(statement, who)}{reason}; {policy}{waived}.{today}"


def _decided(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, decision in _of_kind(statements, "decision", DecisionPredicate):
        earlier = "" if decision.record == record else ", of an earlier record"
        policy = f"the policy {decision.policy_name} ({decision.policy.short})"
        signer = _signed_by(statement, who)
        decided = decided_text(decision.question, is_yes=decision.outcome == "yes")
        yield f"{decided[0].upper()}{decided[1:]}, as decided by {signer} under {policy}{earlier}: {decision.reason}."


def _approvals(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, approval in _of_kind(statements, "approval", ApprovalPredicate):
        earlier = "" if approval.record == record else ", of an earlier record"
        policy = f"the policy {approval.policy_name} ({approval.policy.short})"
        yield f"Approved by {_signed_by(statement, who)} under {policy}{earlier}: {approval.reason}."


def _waivers(statements: Sequence[StoredStatement], who: Who, record: Digest | None) -> Iterator[str]:
    for statement, waiver in _of_kind(statements, "waiver", WaiverPredicate):
        is_bound = waiver.evaluations is not None  # one of an earlier release names no record
        earlier = ", of an earlier record" if is_bound and waiver.record != record else ""
        signer = _signed_by(statement, who)
        yield f"The rule {waiver.rule} is waived by {signer} until {waiver.until[:10]}{earlier}: {waiver.reason}."


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
