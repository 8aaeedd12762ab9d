"""The gate before an alias: a policy is held against a version, every reason is told, and what passed stands in the move."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.licence_terms import UNKNOWN_TERMS
from peft_registry.registry.compliance.record_verdicts import UNDETERMINED
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.gate.facts import GateFacts
from peft_registry.registry.gate.policy import (
    SHIPPED,
    ApprovalRule,
    DeltaRule,
    EvaluationRule,
    GatePolicy,
    MetricRule,
)
from peft_registry.registry.gate.reasons import ANY_POLICY, GateDecision, Reason, decide_gate
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.registry.records.bindings import Binding, binding_of, bindings_about, require_passed
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.standing_acts import needed_text
from peft_registry.registry.records.views import view_of
from peft_registry.registry.reports.wording import status_reason
from peft_registry.registry.use_cases.gate_facts import gate_facts
from peft_registry.registry.use_cases.promote import Replaced, require_movable, require_verified, set_alias
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import AliasPredicate, PassedGate
from peft_registry.schemas.base_model import LICENCE_FLAGS
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import InputRefused, NotFound, Refused
from peft_registry.schemas.identity import AliasNeeded, Digest, Reference
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import VerifyOutcome, Version

MAX_BYTES = 256 * 1024
SUGGESTED = "starter"  # what a move is held against where nobody names a policy and none is bound
_ABOUT = {"gpai_modifier": "model", "high_risk": "system"}
# the blocks of a policy that have keys of their own
_BLOCKS: Mapping[str, type[BaseModel]] = {
    "evaluation": EvaluationRule,
    "deltas": DeltaRule,
    "metrics": MetricRule,
    "approvals": ApprovalRule,
}
UNGUARDED = "nothing: nobody bound the alias to a policy, and its move asked none"


class GatePolicyRefused(InputRefused):
    what = "{name} is not a policy of a gate"
    why = "{reason}"
    fix = "begin with `registry gate show regulated >FILE`, and change its name and what it asks"

    name: str
    reason: str


class GatePolicyUnknown(NotFound):
    what = "there is no policy {name}"
    why = "it is neither a file nor one of {known!l}"
    fix = "{remedy}"

    name: str
    known: tuple[str, ...]

    @property
    def remedy(self) -> str:
        otherwise = (
            "name a file, or one of these; `registry gate show NAME@ALIAS` prints the one that an alias is bound to"
        )
        return did_you_mean(closest(self.name, self.known), otherwise)


class GateClosed(Refused):
    what = "promotion of {label} to {alias} blocked by policy {policy}"
    why = "{reasons}"
    fix = "{remedies}`registry promote {label} {alias}{option} --explain` lists each with what opens it"

    label: str
    alias: str
    policy: str
    argument: str | None  # of --policy; None: the alias is bound to it, and no word means it
    objections: tuple[Reason, ...]

    @property
    def option(self) -> str:
        return "" if self.argument is None else f" --policy {self.argument}"

    @property
    def separate_reasons(self) -> tuple[str, ...]:
        return tuple(f"({number}) {reason.text}" for number, reason in enumerate(self.objections, start=1))

    @property
    def reasons(self) -> str:
        return "; ".join(self.separate_reasons)

    @property
    def remedies(self) -> str:
        """What opens it where that is one act; of several `--explain` says which opens what."""
        remedies = tuple(dict.fromkeys(reason.remedy for reason in self.objections))
        return f"{remedies[0]}; " if len(remedies) == 1 else ""


class NoGatePassed(NotFound):
    what = "{name}@{alias} was moved without a policy"
    why = "the signed move names none, so that there is nothing to check again"
    fix = "name the policy to hold it against: `registry gate status {name}@{alias} --policy starter`"

    name: str
    alias: str


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """A policy, its bytes and their SHA-256; `typed` is the word or path that means it, None where none does."""

    policy: GatePolicy
    data: bytes
    typed: str | None

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    @property
    def label(self) -> str:
        """Name and short digest, for people."""
        return f"{self.policy.name} ({self.digest.short})"

    @property
    def argument(self) -> str | None:
        """What follows `--policy` in a shell; None where no word or path means it."""
        return None if self.typed is None else shlex.quote(self.typed)


class GateShown(Frozen):
    """How a version stands before a policy today."""

    version: str
    manifest: Digest
    policy: str
    policy_digest: Digest
    about: str
    decision: GateDecision
    facts: GateFacts
    bound: str | None = None  # who bound the alias to a policy, when and why
    is_guarded: bool = True  # False for an alias that nobody bound and that was moved without a policy
    cautions: tuple[str, ...] = ()  # why the gate stops fewer than it seems to

    @property
    def undecided(self) -> tuple[str, ...]:
        """What is open whether or not that closes the gate, a line each: statuses, how much of its record, terms of licences."""
        lines = [
            f"the indicative status of the {_ABOUT[status.table]} is {status.status}; questions open: {len(status.missing)}"
            for status in self.facts.statuses
            if status.missing
        ]
        if lines and self.facts.open_questions:
            asking = f"`registry decide {self.version} --form FILE` asks those that decide something"
            lines.append(f"open fields of its record: {self.facts.open_questions}; {asking}")
        if UNKNOWN_TERMS in self.facts.own_licence_flags:
            lines.append("what its licence forbids is not known")
        if UNKNOWN_TERMS in self.facts.licence_flags:
            lines.append("what the licences of what it was made from forbid is not known")
        return tuple(lines)

    def lines(self) -> Iterator[tuple[str, str]]:
        """Label and text of each line, for people."""
        yield "version", self.version
        yield "policy", f"{self.policy} ({self.policy_digest.short}): {self.about}"
        if self.bound is not None:
            yield "bound", self.bound
        if not self.is_guarded:
            yield "guards", UNGUARDED
        for caution in self.cautions:
            yield "caution", caution
        for remedy, reasons in groupby(self.decision.reasons, key=lambda reason: reason.remedy):
            yield from (("closed", f"{reason.rule}: {reason.text}") for reason in reasons)
            yield "", f"→ {remedy}"  # once below all that it opens
        for suspended in self.decision.suspended:
            waiver = suspended.waiver
            yield "waived", f"{suspended.reason.rule}: {suspended.reason.text}"
            yield "", f"by {waiver.person} until {waiver.until}: {waiver.reason}"
        if self.decision.approved_by:
            yield "approved", ", ".join(self.decision.approved_by)
        for decision in self.facts.decisions:
            if decision.objection:
                yield "set aside", f"{decision.text}: {decision.objection}"
            else:
                yield "decided", status_reason(decision.text)
        set_aside = [f"the approval of {vote.person}: {vote.objection}" for vote in self.facts.votes if vote.objection]
        for text in dict.fromkeys(set_aside):  # whoever approved twice is told once
            yield "set aside", text
        yield from (("undecided", text) for text in self.undecided)
        yield "gate", "open" if self.decision.is_open else f"closed by {len(self.decision.reasons)}"


def shipped_policy(name: str) -> bytes:
    """The file of a policy that comes with the tool.

    Raises:
        GatePolicyUnknown: none has that name.
    """
    if name not in SHIPPED:
        raise GatePolicyUnknown(name, SHIPPED)
    return (resources.files("peft_registry.registry.gate") / "policies" / f"{name}.yml").read_bytes()


def read_gate_policy(text: str) -> ReadPolicy:
    """The policy that a word or a path means.

    Raises:
        GatePolicyUnknown: it is neither a shipped policy nor a file.
        GatePolicyRefused: the file is none, asks for what nothing has, or bears the name of a shipped one.
        MalformedYaml, OfferedFileRefused, FileUnreadable: it cannot be read.
    """
    if text in SHIPPED:
        return policy_of_bytes(text, shipped_policy(text), typed=text)
    path = Path(text)
    if not path.exists():
        raise GatePolicyUnknown(text, SHIPPED)
    offered = policy_of_bytes(text, read_offered(path, max_bytes=MAX_BYTES), typed=text)
    _require_own_name(offered, text)
    objection = next(_unknown_words(offered.policy), None)
    if objection is not None:
        raise GatePolicyRefused(text, objection)
    return offered


def policy_of_bytes(name: str, data: bytes, *, typed: str | None = None) -> ReadPolicy:
    """The policy that some bytes hold; `typed` is the word by which somebody named it.

    Raises:
        GatePolicyRefused, MalformedYaml: they hold none.
    """
    try:
        return ReadPolicy(GatePolicy.model_validate(read_yaml(data, what=Path(name).name)), data, typed)
    except ValidationError as error:
        raise GatePolicyRefused(name, _problem(error)) from error


def _problem(error: ValidationError) -> str:
    """The first thing that validation objects to; of a key that no policy has, the one that it may have meant."""
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] != "extra_forbidden":
        return first_problem(error)
    *above, key = (str(part) for part in first["loc"])
    block = _BLOCKS[above[0]] if above else GatePolicy
    known = ", ".join(block.model_fields)
    meant = did_you_mean(closest(key, block.model_fields), f"there are {known}")
    return f"{'.'.join((*above, key))}: there is no such key; {meant}"


def _require_own_name(offered: ReadPolicy, file: str) -> None:
    """Raise unless a file bears a name of its own: who reads `regulated` in a signed move takes it for what the tool ships."""
    name = folded(offered.policy.name)  # another spelling of it is taken for it too
    if name in SHIPPED and offered.data != shipped_policy(name):
        reason = f"it is called {name}, as the policy that comes with the tool, and is not the same; write a `name:` of its own"
        raise GatePolicyRefused(file, reason)


def _unknown_words(policy: GatePolicy) -> Iterator[str]:
    """What a policy asks for that no version has: such a rule would never close the gate, and nobody would see it."""
    known_fields = tuple(field_rules().by_path())
    for path in policy.answered:
        if FieldPath.parse(path).rule not in known_fields:
            yield f"answered: {_no_such('field of the record', path, known_fields)}"
    statuses = tuple(dict.fromkeys((*(row.status for row in shipped_rules().rows), UNDETERMINED)))
    for status in policy.refused_statuses:
        if status not in statuses:
            yield f"refused_statuses: {_no_such('status', status, statuses)}"
    for flag in policy.refused_licence_flags:
        if flag not in (*LICENCE_FLAGS, UNKNOWN_TERMS):
            yield f"refused_licence_flags: {_no_such('licence flag', flag, (*LICENCE_FLAGS, UNKNOWN_TERMS))}"


def _no_such(what: str, word: str, known: tuple[str, ...]) -> str:
    nearest = closest(word, known)
    return f"there is no {what} {word!r}" + (f"; did you mean {nearest!r}?" if nearest else "")


def explain_gate(registry: Registry, version: Version, policy: ReadPolicy) -> GateShown:
    """Hold a version against a policy; every byte of it is hashed, and nothing is written.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    return held_against(registry, version, policy, verify_version(registry, version, look_for_base=False))


def held_against(
    registry: Registry,
    version: Version,
    policy: ReadPolicy,
    outcome: VerifyOutcome | None,
    *,
    at: Timestamp | None = None,
) -> GateShown:
    """As `explain_gate`, for a version that was verified a moment ago, or (None) by its records alone; `at` as for `gate_of`.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    asked = policy.policy
    facts = gate_facts(registry, version, policy.digest, outcome, at=at, newer_editions=asked.newer_editions)
    return GateShown(
        version=version.label,
        manifest=version.manifest_digest,
        policy=policy.policy.name,
        policy_digest=policy.digest,
        about=policy.policy.about,
        decision=decide_gate(facts, policy.policy, named=policy.argument or ANY_POLICY),
        facts=facts,
        cautions=tuple(_cautions(registry, facts.makers)),
    )


def _cautions(registry: Registry, makers: Iterable[str]) -> Iterator[str]:
    """Why nobody but one person stands behind a gate, by the keys that count now."""
    trust, now = registry.trust, registry.clock()
    valid = [key for key in trust.keys if key.valid_from <= now < key.valid_until and not trust.revocation(key.key_id)]
    persons = {folded(key.person): key.person for key in valid}
    if len(persons) == 1:
        yield f"not four eyes: {next(iter(persons.values()))} holds every key of this registry"
        return
    roots = {folded(key.person): key.person for key in valid if key.key_id in trust.roots}
    for person in sorted({folded(maker) for maker in makers} & roots.keys()):
        maker = roots[person]
        yield f"independence is not assured: {maker} made it and decides, by a root key, who counts as an approver"


def policy_for(registry: Registry, name: str, alias: str, *, otherwise: str) -> ReadPolicy:
    """The policy that a move of an alias is held against where nobody names one: that which it is bound to, else `otherwise`.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost the bytes of the policy that it is bound to, or changed them.
        KnownError: as `binding_of` and `read_gate_policy`.
    """
    binding = binding_of(registry, name, alias)
    return read_gate_policy(otherwise) if binding is None else bound_policy(registry, binding)


def bound_policy(registry: Registry, binding: Binding) -> ReadPolicy:
    """The policy of a binding, by the bytes that were kept when it was signed.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost them, or changed them.
    """
    return policy_of_bytes(binding.policy_name, registry.store.read_bytes(binding.policy))


def promote(
    registry: Registry,
    version: Version,
    alias: str,
    policy: ReadPolicy,
    *,
    reason: str | None = None,
    if_current: int | None = None,
) -> Replaced:
    """Point an alias at a version that a policy lets through; returns what it pointed at before, and what is undecided.

    Raises:
        GateClosed: the policy says no; every reason is in it.
        AliasBound: the alias is bound to another policy.
        KnownError: as `set_alias`; in all these cases nothing was signed or recorded.
    """
    require_movable(registry, alias, reason)
    asked = PassedGate(policy=policy.digest, policy_name=policy.policy.name)
    require_passed(binding_of(registry, version.name, alias), version.name, alias, asked)
    outcome = verify_version(registry, version, look_for_base=False)
    require_verified(outcome, alias)
    shown = held_against(registry, version, policy, outcome)
    if not shown.decision.is_open:
        raise GateClosed(version.label, alias, policy.policy.name, policy.argument, shown.decision.reasons)
    waived = tuple(dict.fromkeys(suspended.reason.rule for suspended in shown.decision.suspended))
    registry.store.put_bytes(policy.data)
    passed = asked.revised(waived=waived)
    replaced = set_alias(registry, version, alias, reason=reason, if_current=if_current, gate=passed)
    return replaced.revised(undecided=shown.undecided)


def gate_status(registry: Registry, reference: str, policy: ReadPolicy | None = None) -> GateShown:
    """How what an alias points at stands today before the policy that let it through, or before another.

    Raises:
        AliasNeeded: the reference names no alias.
        NoGatePassed: the alias was moved without a policy, and none is given.
        NotFound, AliasUnsigned, IntegrityBroken: as `version_named`.
    """
    named = Reference.parse(reference)
    if named.name is None or named.alias is None:
        raise AliasNeeded(reference, "a gate guards an alias, and not a version")
    version = version_named(registry, reference)
    guard = _guard_of(registry, version, named.alias, policy)
    if guard is None:
        raise NoGatePassed(named.name, named.alias)
    return _status(registry, version, guard, verify_version(registry, version, look_for_base=False))


def gate_of(
    registry: Registry, version: Version, alias: str, outcome: VerifyOutcome | None, *, at: Timestamp | None = None
) -> GateShown | None:
    """As `gate_status`, of an alias that points at a version that was verified a moment ago; None where nothing is asked of it.

    Args:
        registry: open.
        version: which.
        alias: that points at it.
        outcome: how it verified; None where no file of it is read.
        at: the time by which it is judged what is over; None for now.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost the bytes of the policy, or changed them.
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    guard = _guard_of(registry, version, alias, None)
    return None if guard is None else _status(registry, version, guard, outcome, at=at)


def gate_by_records(registry: Registry, version: Version, alias: str) -> GateShown | None:
    """As `gate_status`, of an alias that points at a version, by what is recorded alone; None where nothing is asked of it.

    No file is read: that all of them are what was signed is for `gate_status` to say.

    Raises:
        KnownError: as `gate_of`.
    """
    return gate_of(registry, version, alias, None)


@dataclass(frozen=True, slots=True)
class _Guard:
    """The policy that an alias is held against, and what it rests on."""

    alias: str
    policy: ReadPolicy
    binding: Binding | None
    passed: PassedGate | None


def _guard_of(registry: Registry, version: Version, alias: str, policy: ReadPolicy | None) -> _Guard | None:
    """By `policy`, else by the one that the alias is bound to, else by the one that let the version through; None for none."""
    passed = passed_gate(registry, version, alias)
    binding = binding_of(registry, version.name, alias)
    if policy is not None:
        asked = policy
    elif binding is not None:
        asked = bound_policy(registry, binding)
    elif passed is not None:
        asked = kept_policy(registry, passed)
    else:
        return None
    return _Guard(alias, asked, binding, passed)


def _status(
    registry: Registry,
    version: Version,
    guard: _Guard,
    outcome: VerifyOutcome | None,
    *,
    at: Timestamp | None = None,
) -> GateShown:
    binding = guard.binding
    shown = held_against(registry, version, guard.policy, outcome, at=at)
    waiting = () if binding is None else _loosenings(registry, binding)
    shown = shown.revised(
        bound=None if binding is None else binding.because,
        is_guarded=binding is not None or guard.passed is not None,
        cautions=(*shown.cautions, *waiting),
    )
    changed = _another_policy(version, guard.alias, guard.policy, guard.passed, is_bound=binding is not None)
    if changed is None:
        return shown
    return shown.revised(decision=shown.decision.revised(reasons=(changed, *shown.decision.reasons)))


def _loosenings(registry: Registry, binding: Binding) -> tuple[str, ...]:
    """What some persons have signed against a binding, and not enough of them yet."""
    with view_of(registry) as view:
        waiting = bindings_about(view, binding.name, binding.alias).loosenings(binding.name, binding.alias)
    return tuple(
        f"{'unbinding' if loosening.policy is None else f'binding it to {loosening.policy.short}'} is not complete: "
        f"{needed_text(binding.lifted_by, loosening.said_by)}"
        for loosening in waiting
    )


def _another_policy(
    version: Version, alias: str, asked: ReadPolicy, passed: PassedGate | None, *, is_bound: bool
) -> Reason | None:
    """That what an alias points at passed another policy than it is held against; None where it passed this one.

    Where it passed none, that closes nothing unless the alias is bound to one since.
    """
    if (passed is None and not is_bound) or (passed is not None and passed.policy == asked.digest):
        return None
    through = "nothing was asked when it was moved" if passed is None else f"{passed.policy.short} let it through"
    option = "" if is_bound else f" --policy {asked.argument or asked.policy.name}"
    return Reason(
        rule="policy",
        text=f"the policy {asked.policy.name} is another one ({asked.digest.short}): {through}",
        remedy=f"`registry promote {version.label} {alias}{option}` decides by this one",
    )


def passed_gate(registry: Registry, version: Version, alias: str) -> PassedGate | None:
    """The gate of the newest signed move of an alias to a version: a row that names another move decides nothing."""
    newest = newest_move(registry, version, alias, signed_statements(registry, version.manifest_digest))
    return None if newest is None else newest.said.gate


class MoveTo(NamedTuple):
    """A move of an alias to a version: the statement, and what it says."""

    stored: StoredStatement
    said: AliasPredicate


def newest_move(
    registry: Registry, version: Version, alias: str, statements: Iterable[StoredStatement]
) -> MoveTo | None:
    """The last move of an alias to a version among the statements about it that a checkpoint covers; None where there is none.

    One that is pending moved nothing yet, and nobody has looked whether the key that signed it may move anything.
    """
    covered = covered_size(registry)
    newest = None
    for stored in statements:
        if stored.kind == "alias" and stored.log_index is not None and stored.log_index < covered:
            move = AliasPredicate.from_json(stored.statement.predicate)
            if (move.name, move.alias, move.removed) == (version.name, alias, False):
                newest = MoveTo(stored, move)
    return newest


def kept_policy(registry: Registry, passed: PassedGate) -> ReadPolicy:
    """A shipped policy as it is now, any other as it was kept."""
    if passed.policy_name in SHIPPED:
        return read_gate_policy(passed.policy_name)
    return policy_of_bytes(passed.policy_name, registry.store.read_bytes(passed.policy))
