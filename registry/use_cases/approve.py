"""People's decisions about a version: `approve` under a policy, and `waive` one of its rules until a day. Signed and logged."""

from datetime import date

from peft_registry.registry.gate.policy import RULES, GatePolicy
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.decisions import bound_evaluations, bound_record
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.gate import ReadPolicy
from peft_registry.registry.use_cases.statements import SignedStatement, append_statement
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.version import Version


class RuleNotWaivable(InputRefused):
    reference = "rule-not-waivable"
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
    reference = "waiver-without-future"
    what = "a waiver until {until} suspends nothing"
    why = "it is over today, {today}"
    fix = "name a day to come with --until, such as the day by which the reason is mended"

    until: str
    today: str


def approve(
    registry: Registry, version: Version, policy: ReadPolicy, signer: Signer, *, reason: str
) -> SignedStatement:
    """Approve a version under a policy, as its record and evaluations are now.

    Raises:
        KnownError: as `append_statement`: the key may not approve, the reason is blank or looks like a secret.
    """
    records = records_of(registry, version)
    record = bound_record(records)
    predicate = {
        "policy": str(policy.digest),
        "policy_name": policy.policy.name,
        "record": None if record is None else str(record),
        "evaluations": [str(digest) for digest in bound_evaluations(registry, version, records)],
        "reason": reason,
        "nonce": registry.nonce(),
    }
    return append_statement(
        registry,
        subject=version.manifest_digest,
        kind="approval",
        predicate=predicate,
        signer=signer,
        evidence=(policy.data,),
    )


def waive(
    registry: Registry, version: Version, policy: ReadPolicy, rule: str, signer: Signer, *, until: date, reason: str
) -> SignedStatement:
    """Suspend a rule of a policy for a version until the beginning of a day, UTC.

    Raises:
        RuleNotWaivable: the policy does not let anybody.
        WaiverWithoutFuture: that day has begun.
        KnownError: as `append_statement`.
    """
    _require_waivable(policy.policy, rule)
    ends = f"{until.isoformat()}T00:00:00Z"
    if ends <= registry.clock():
        raise WaiverWithoutFuture(until.isoformat(), registry.clock()[:10])
    predicate = {"policy": str(policy.digest), "rule": rule, "until": ends, "reason": reason, "nonce": registry.nonce()}
    return append_statement(
        registry,
        subject=version.manifest_digest,
        kind="waiver",
        predicate=predicate,
        signer=signer,
        evidence=(policy.data,),
    )


def _require_waivable(policy: GatePolicy, rule: str) -> None:
    if rule not in policy.waivable:
        raise RuleNotWaivable(policy.name, rule, policy.waivable)
