"""People's decisions about a version: `approve` under a policy, and `waive` one of its rules until a day. Signed and logged."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from types import MappingProxyType

from pydantic import ValidationError

from peft_registry.registry.gate.policy import RULES, GatePolicy
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.decisions import bound_evidence
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.decide import decision_predicate
from peft_registry.registry.use_cases.gate import ReadPolicy
from peft_registry.registry.use_cases.statements import Kept, Saying, append_statement, append_together
from peft_registry.schemas.acts import ApprovalPredicate, DecidedQuestion, WaiverPredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PREDICATE_TYPES, StatementKind, StoredStatement
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version


class RuleNotWaivable(InputRefused):
    what = "the policy {policy} lets nobody waive {rule}"
    why = "{reason}"
    fix = "{remedy}"

    policy: str
    rule: str
    waivable: tuple[str, ...]

    @property
    def remedy(self) -> str:
        otherwise = "use another version, or a policy that lists it under `waivable`"
        # a rule that there is was meant as it stands: only a misspelt one has a nearest
        return did_you_mean(None if self.rule in RULES else closest(self.rule, self.waivable), otherwise)

    @property
    def reason(self) -> str:
        return (
            f"what may be waived under it is {', '.join(self.waivable)}"
            if self.waivable
            else "nothing may be waived under it"
        )


class WaiverWithoutFuture(InputRefused):
    what = "a waiver until {until} suspends nothing"
    why = "it is over today, {today}"
    fix = "name a day to come with --until, such as the day by which the reason is mended"

    until: str
    today: str


class EarlierAct(Frozen):
    """When the same was said before: at which entry of the log, and why."""

    at: Timestamp
    entry: int
    reason: str


class ActShown(Frozen):
    """An approval or a waiver by a key: its statement, and where the key had said the same before; None where it was signed now."""

    statement: Digest
    key_id: str
    earlier: EarlierAct | None


def approve(
    registry: Registry,
    version: Version,
    policy: ReadPolicy,
    signer: Signer,
    *,
    reason: str,
    decisions: Mapping[DecidedQuestion, bool] = MappingProxyType({}),
) -> ActShown:
    """Approve a version under a policy, as its record and evaluations are now.

    Whoever gave this approval before with the same key, for the same record, evaluations and policy, signs it not again: the one
    that is in the log is returned, with its own reason.

    Args:
        registry: open and writable.
        version: to be approved.
        policy: under which.
        signer: the key of the person who approves.
        reason: why, of the approval and of each decision.
        decisions: what the same person decides of questions that no figure does, True for yes. Decisions and approval enter the log
            in one transaction: all of them, or none.

    Raises:
        OwnDecision, NoRecord: as `decide_question`, where something is decided.
        KnownError: as `append_together`: the key may not approve, the reason is blank or looks like a secret.
    """
    records = records_of(registry, version)
    bound = bound_evidence(registry, version, records)
    key_id = signer.public.key_id
    same = {"policy": policy.digest, "record": bound.record, "evaluations": bound.evaluations}
    given = _said_before(registry, records.statements, ApprovalPredicate, key_id, same)
    if given is not None and not decisions:
        return given
    predicate = {
        "policy": str(policy.digest),
        "policy_name": policy.policy.name,
        **bound.as_signed(),
        "reason": reason,
        "nonce": registry.nonce(),
    }
    predicate_of = partial(decision_predicate, registry, version, policy=policy, signer=signer, reason=reason)
    kept = (Kept(policy.data, "evidence"),)
    sayings = [
        Saying("decision", predicate_of(question, is_yes=is_yes), signer, kept)
        for question, is_yes in decisions.items()
    ]
    if given is None:
        sayings.append(Saying("approval", predicate, signer, kept))
    signed = append_together(
        registry, subject=version.manifest_digest, sayings=[partial(_as_it_is, saying) for saying in sayings]
    )
    return given or ActShown(statement=signed[-1].digest, key_id=key_id, earlier=None)


def _as_it_is(saying: Saying, *_: object) -> Saying:
    """A statement that does not depend on those which are signed with it."""
    return saying


def _said_before(
    registry: Registry,
    statements: Sequence[StoredStatement],
    predicate: type[ApprovalPredicate] | type[WaiverPredicate],
    key_id: str,
    same: Mapping[str, object],
) -> ActShown | None:
    """The approval or waiver that a key gave with the same values, if it may be relied on; pending or not."""
    kind: StatementKind = "approval" if predicate is ApprovalPredicate else "waiver"
    for entry in statements:
        if entry.kind != kind or entry.key_id != key_id:
            continue
        try:
            said = predicate.from_json(entry.statement.predicate)
            at = entry.appended_at or registry.clock()
            require_may_say(registry.trust, key_id, PREDICATE_TYPES[kind], at=at)
        except (ValidationError, KnownError):  # it counts for nobody, and whoever signs anew is told whether that would
            continue
        if all(getattr(said, name) == value for name, value in same.items()):
            earlier = EarlierAct(at=at, entry=entry.log_index or 0, reason=said.reason)
            return ActShown(statement=entry.digest, key_id=key_id, earlier=earlier)
    return None


def waive(
    registry: Registry, version: Version, policy: ReadPolicy, rule: str, signer: Signer, *, until: date, reason: str
) -> ActShown:
    """Suspend a rule of a policy for a version, as its record and evaluations are now, until the beginning of a day, UTC.

    Whoever gave this waiver before with the same key, for the same record, evaluations, policy, rule and day, signs nothing again,
    as with `approve`.

    Raises:
        RuleNotWaivable: the policy does not let anybody.
        WaiverWithoutFuture: that day has begun.
        KnownError: as `append_statement`.
    """
    _require_waivable(policy.policy, rule)
    ends = f"{until.isoformat()}T00:00:00Z"
    if ends <= registry.clock():
        raise WaiverWithoutFuture(until.isoformat(), registry.clock()[:10])
    records = records_of(registry, version)
    bound = bound_evidence(registry, version, records)
    key_id = signer.public.key_id
    same = {
        "policy": policy.digest,
        "record": bound.record,
        "evaluations": bound.evaluations,
        "rule": rule,
        "until": ends,
    }
    given = _said_before(registry, records.statements, WaiverPredicate, key_id, same)
    if given is not None:
        return given
    predicate = {
        "policy": str(policy.digest),
        "rule": rule,
        "until": ends,
        **bound.as_signed(),
        "reason": reason,
        "nonce": registry.nonce(),
    }
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="waiver",
        predicate=predicate,
        signer=signer,
        evidence=(policy.data,),
    )
    return ActShown(statement=signed.digest, key_id=key_id, earlier=None)


def _require_waivable(policy: GatePolicy, rule: str) -> None:
    if rule not in policy.waivable:
        raise RuleNotWaivable(policy.name, rule, policy.waivable)
