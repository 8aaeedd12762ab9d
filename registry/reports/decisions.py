"""Who decided that a version is used: its aliases, the policy that let it through, decisions, approvals and waivers. Pure."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_KEY = re.compile(r", key [0-9a-f]{12}…(?=\)$)")  # of `ada (approver, key 12ab34cd5678…)`
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
        # beside it stands the release, with what was true then
        state = f"State on this page, log entry {self.entry} ({self.as_of})"
        if self.unknown:
            return f"{state}: whether its release conditions are met could not be told: {self.unknown}.{remark}"
        is_met = "not met" if self.closed_by else "met"
        missing = f": {', '.join(self.closed_by)}" if self.closed_by else ""
        return f"{state}: conditions of the policy {self.policy} {is_met}{missing}.{remark}"


def decision_lines(
    version: Version,
    statements: Sequence[StoredStatement],
    who: Who,
    record: Digest | None,
    gates: Mapping[str, AliasGate] | None = None,
) -> tuple[str, ...]:
    """What was decided about a version, as signed and in the order of the log; then whether its policies are met in the state of
    the page. `registry gate status` says what counts today.

    Args:
        version: with the aliases that it has now.
        statements: about its artifact, in the order of the log.
        who: whose key it is, by its id, as a part of a sentence.
        record: the digest of its canonical modification record, which approvals and their like name; None where it has none.
        gates: how the policy before each alias stands to it, where that was asked for this page.
    """
    acts = [
        *_aliases(version, statements),
        *_decided(statements, record),
        *_approvals(statements, record),
        *_waivers(statements, record),
    ]
    place = {statement.digest: at for at, statement in enumerate(statements)}
    acts.sort(key=lambda act: place[act.statement.digest])
    asked = [gate for _, gate in sorted((gates or {}).items())]
    conditions = dict.fromkeys(gate.text for gate in asked)
    cautions = dict.fromkeys(f"Caution: {caution}." for gate in asked for caution in gate.cautions)
    return (*_with_each_digest_once((*_in_words(acts, who), *conditions)), *cautions)


@dataclass(frozen=True, slots=True)
class _Act:
    """Something that a person signed about a version.

    Attributes:
        statement: as it is signed.
        done: what was done, as a participle.
        policy: under which policy, as a part of a sentence; empty for none.
        rest: what else is to be said of it, with its comma or colon.
        reason: what they typed.
    """

    statement: StoredStatement
    done: str
    policy: str
    rest: str
    reason: str | None


def _in_words(acts: Sequence[_Act], who: Who) -> Iterator[str]:
    """A line for each act; a role is named with its person's first act, and a policy where it is another than before.

    The list of statements has the key of each entry, so that none stands here but that of a signer without a name.
    """
    named: set[str] = set()
    policy = ""
    for act in acts:
        key_id = act.statement.key_id
        signer = _KEY.sub("", who(key_id))
        if key_id in named:
            signer = signer.rpartition(" (")[0] or signer
        named.add(key_id)
        under = f" under {act.policy}" if act.policy not in ("", policy) else ""
        policy = act.policy or policy
        # acts of one second are told apart by their entries
        entry = "" if act.statement.log_index is None else f" (log entry {act.statement.log_index})"
        yield f"{act.statement.appended_at or 'Pending'}{entry}: {act.done} by {signer}{under}{act.rest}{_because(act.reason)}."


def _with_each_digest_once(lines: Iterable[str]) -> Iterator[str]:
    """The lines; the digest of a policy stands behind its name where it is named first."""
    seen: set[str] = set()

    def first_only(digest: re.Match[str]) -> str:
        if digest[0] in seen:
            return ""
        seen.add(digest[0])
        return digest[0]

    for line in lines:
        yield _POLICY_DIGEST.sub(first_only, line)


def _aliases(version: Version, statements: Sequence[StoredStatement]) -> Iterator[_Act]:
    for alias, (statement, move) in moves_of(version, statements).items():
        gate = move.gate
        released = f"released under the alias “{alias}”"
        if gate is None:
            yield _Act(statement, released, "", " without a policy: nobody had to approve it", move.reason)
        else:
            waived = f" with {', '.join(gate.waived)} waived," if gate.waived else ""
            met = f": the conditions of that policy were met then,{waived} as this entry says"
            yield _Act(statement, released, _policy(gate.policy_name, gate.policy), met, move.reason)


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


def _policy(name: str, digest: Digest) -> str:
    return f"the policy {name} ({digest.short})"


def _decided(statements: Sequence[StoredStatement], record: Digest | None) -> Iterator[_Act]:
    for statement, decision in _of_kind(statements, "decision", DecisionPredicate):
        decided = decided_text(decision.question, is_yes=decision.outcome == "yes")
        rest = f"{_of_earlier(decision.record, record)}: {decided}"
        yield _Act(statement, "decided", _policy(decision.policy_name, decision.policy), rest, decision.reason)


def _approvals(statements: Sequence[StoredStatement], record: Digest | None) -> Iterator[_Act]:
    for statement, approval in _of_kind(statements, "approval", ApprovalPredicate):
        policy = _policy(approval.policy_name, approval.policy)
        yield _Act(statement, "approved", policy, _of_earlier(approval.record, record), approval.reason)


def _waivers(statements: Sequence[StoredStatement], record: Digest | None) -> Iterator[_Act]:
    for statement, waiver in _of_kind(statements, "waiver", WaiverPredicate):
        is_bound = waiver.evaluations is not None  # one of an earlier release names no record
        earlier = _of_earlier(waiver.record, record) if is_bound else ""
        until = f" until {waiver.until[:10]}{earlier}"
        yield _Act(statement, f"the rule {waiver.rule} waived", "", until, waiver.reason)


def _of_earlier(said: Digest | None, record: Digest | None) -> str:
    """That it was said of what the record was before."""
    return "" if said == record else ", of an earlier record"


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
