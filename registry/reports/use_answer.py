"""The first answer of a report: for which uses a version may be taken, each with its reason from the facts. Pure, over records."""

from collections.abc import Iterator, Sequence

from peft_registry.registry.compliance.base_terms import EU_EXCLUSION
from peft_registry.registry.compliance.completeness import Completeness, is_yes
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.reports.decisions import AliasGate, decision_lines, moves_of
from peft_registry.registry.reports.law_answers import fields_missing
from peft_registry.registry.reports.text import value_text
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.wording import OwnerNames
from peft_registry.schemas.acts import AliasPredicate, PassedGate
from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.report import AnsweredQuestion
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value

# recital 97: what is used inside alone and affects nobody's rights is not on the market
_TRIAL = "For an internal trial that affects nobody's rights"
_OPERATION = "In operation"
_MARKET = "On the Union market"
_TERMS_CHARACTERS = 120  # of the terms of a base in the first lines; the row about the base has more
_STOP_CHARACTERS = 300  # of why something is recalled; “What is wrong” has all of it
_BLOCKED = "blocked_art5"
_SCREEN = "the screen for prohibited output is not passed (Art. 5)"
_EXCLUDED = "the terms of a base exclude the Union (“Do licences restrict its use?”)"


def use_answer(facts: VersionFacts, holders: KeyHolders, checks: PageChecks, names: OwnerNames) -> AnsweredQuestion:
    """For which uses it may be taken: a trial, operation under each alias, the market; or what stops all of them.

    The lines behind it are how that came about.

    Args:
        facts: what is recorded.
        holders: of the keys that signed.
        checks: those that were made for this page.
        names: whom the page has explained already.
    """
    record = _digest_to_name(facts.signed_record or facts.record, facts.statements)
    lines = decision_lines(facts.version, facts.statements, holders.who, record, checks.gates)
    return AnsweredQuestion(question="May it be used?", lead=tuple(_by_use(facts, holders, checks, names)), lines=lines)


def marks_of(facts: VersionFacts, checks: PageChecks, completed: Completeness | None) -> tuple[str, ...]:
    """The marks beside the verdict on the signatures, a few words each.

    They stand there because valid signatures do not say whether the model may be used.
    """
    return tuple(_marks(facts, checks, completed))


def _marks(facts: VersionFacts, checks: PageChecks, completed: Completeness | None) -> Iterator[str]:
    if not any(_stopped(checks)):  # what must not be used needs no second reason
        yield from _of_uses(facts, checks)
    if completed is not None and completed.open:
        yield f"{len(completed.open)} {'field' if len(completed.open) == 1 else 'fields'} open"


def _of_uses(facts: VersionFacts, checks: PageChecks) -> Iterator[str]:
    gates = checks.gates.values()
    if not facts.version.aliases:
        yield "not released"
    elif any(gate.closed_by for gate in gates):
        yield "release conditions not met"
    if any(gate.cautions for gate in gates):
        yield "caution"
    record = facts.record
    if record is not None and (_is_blocked(facts, record) or any(_open_for_market(facts, record))):
        yield "not cleared for the market"


def _digest_to_name(record: RecordSections | None, statements: Sequence[StoredStatement]) -> Digest | None:
    """The digest of a record where something said of it may name one: it takes as long as reading the record, and few are named."""
    is_named = any(stored.kind in ("decision", "approval") for stored in statements)
    return record.canonical_digest() if record is not None and is_named else None


def _by_use(facts: VersionFacts, holders: KeyHolders, checks: PageChecks, names: OwnerNames) -> Iterator[str]:
    stopped = tuple(_stopped(checks))
    yield from stopped
    yield from _limited(checks)
    aliases = facts.version.aliases
    if not stopped:
        yield f"{_TRIAL}: {_trial(facts, checks)}."
        yield from _in_operation(facts, holders, checks)
        yield f"{_MARKET}: {_market(facts, names)}."
    elif aliases:
        quoted = listed_labels([f"“{alias}”" for alias in aliases])
        pointing = f"The alias {quoted} still points" if len(aliases) == 1 else f"The aliases {quoted} still point"
        yield f"{pointing} at it."
    if checks.holds:
        yield "On hold: it must not be deleted."
    yield from _terms(facts)


def _stopped(checks: PageChecks) -> Iterator[str]:
    """Why it must not be used, whoever released it."""
    verification = checks.verification
    if verification is None:
        return
    if verification.verdict == "broken":
        yield "No: bytes or records are not those that were signed."
    stops = [("recalled", text) for text in verification.recalls]
    stops += [(stop.act.done, stop.text) for stop in verification.stops if "load" in stop.act.stops]
    if stops:
        acts = dict.fromkeys(done for done, _ in stops)
        _, first = stops[0]
        rest = f" {len(stops) - 1} more under “What is wrong”." if len(stops) > 1 else ""
        yield f"No, it is {' and '.join(acts)}: {_shortened(first, _STOP_CHARACTERS)}.{rest}"


def _limited(checks: PageChecks) -> Iterator[str]:
    """What else than its use is stopped."""
    if checks.verification is not None:
        acts = tuple(dict.fromkeys(stop.act for stop in checks.verification.stops))
        yield from (f"It is {act.done}: it must not be {act.forbidden}." for act in acts if "load" not in act.stops)


def _undecided(facts: VersionFacts, checks: PageChecks) -> str | None:
    """Why no use of it is answered with yes, whoever released it; None where one may be."""
    verification = checks.verification
    if verification is None:
        return "nothing was checked for this page"
    if verification.verdict == "unverified":
        return "something could not be checked here (“Are the bytes intact?”)"
    record = facts.record
    if record is not None and _is_blocked(facts, record):
        return _SCREEN
    return _EXCLUDED if _excludes_union(facts) else None


def _trial(facts: VersionFacts, checks: PageChecks) -> str:
    undecided = _undecided(facts, checks)
    if undecided is not None:
        return f"not decided, because {undecided}"
    released = "" if facts.version.aliases else ", and this registry asks for no release before a trial"
    if checks.of_folder:
        return (
            "yes, by the records of this folder: intact, and it shows no recall; a folder does not say what was recalled above it, "
            f"or since it was written{released}"
        )
    return f"yes, by the records: intact, not recalled{released}"


def _in_operation(facts: VersionFacts, holders: KeyHolders, checks: PageChecks) -> Iterator[str]:
    """For each alias that points at it who released it, and whether the conditions of its policy are met."""
    if not facts.version.aliases:
        decided = any(stored.kind in ("approval", "decision", "waiver") for stored in facts.statements)
        nobody = "" if decided else ", and nobody has approved it"
        yield f"{_OPERATION}: no, not released: no alias points at it{nobody}."
    moves = moves_of(facts.version, facts.statements)
    undecided = _undecided(facts, checks)
    later = (
        "; a folder does not say whether the alias still points at it, or was bound to a policy since"
        if checks.of_folder
        else ""
    )
    for alias in facts.version.aliases:
        move, gate = moves.get(alias), checks.gates.get(alias)
        answer = _under_alias(move, gate, holders, undecided=undecided, later=later)
        yield f"{_OPERATION} as “{alias}”: {answer}."


def _under_alias(
    move: tuple[StoredStatement, AliasPredicate] | None,
    gate: AliasGate | None,
    holders: KeyHolders,
    *,
    undecided: str | None,
    later: str,
) -> str:
    by = "the alias points at it, by whom is not recorded here" if move is None else _released_by(move[0], holders)
    if gate is not None and gate.unknown:
        return f"not decided: {by}; whether its conditions are met could not be told"
    if gate is not None and gate.closed_by:
        return f"not now: {by}, conditions not met at entry {gate.entry}: {', '.join(gate.closed_by)}"
    if move is None:
        return f"not decided: {by}"
    if undecided is not None:  # also by whom it was released may be a forger's word
        return f"not decided: {by}; {undecided}"
    return f"yes, {by}{_conditions(move[1].gate, gate)}{later}"


def _conditions(passed: PassedGate | None, gate: AliasGate | None) -> str:
    if gate is not None:
        waived = f", with {', '.join(passed.waived)} waived at the release" if passed and passed.waived else ""
        return f", conditions met at entry {gate.entry}{waived}"
    if passed is None:
        return ", without a policy, so that nobody had to approve it"
    return "; whether its conditions are still met was not checked for this page"


def _released_by(statement: StoredStatement, holders: KeyHolders) -> str:
    entry = "(pending)" if statement.log_index is None else f"at log entry {statement.log_index}"
    person = holders.persons.get(statement.key_id) or f"the key {statement.key_id[:12]}…"
    return f"released by {person} {entry}"


def _market(facts: VersionFacts, names: OwnerNames) -> str:
    """What a placing on the market waits for: a release in a registry answers none of it."""
    record = facts.record
    if record is None:
        missing = "a base is placed by its provider" if facts.base is not None else "there is no modification record"
        return f"not decided here, because {missing}"
    if _is_blocked(facts, record):
        return f"no, because {_SCREEN}"
    placed = record.gpai.placed_on_eu_market
    waiting = _waiting(tuple(_open_for_market(facts, record)), names)
    if is_yes(placed) is False:
        by = f" (stated by {placed.asserted_by})" if placed.asserted_by else ""
        answer = f"no, because it is stated not to be placed there{by}"
        return f"{answer}, and {waiting}" if waiting else answer
    excluded = f"{_EXCLUDED}; " if _excludes_union(facts) else ""
    if is_yes(placed) is None:  # without that answer no role follows: `waiting` names at least the role
        return f"no, {excluded}{waiting}"
    answer = f"{excluded}it is stated to be placed there"
    if waiting:
        return f"{answer}, and {waiting}"
    return f"{answer}; whether all that its roles ask is done, a person decides"


def _waiting(waits: Sequence[tuple[str, tuple[str, ...]]], names: OwnerNames) -> str:
    """`not cleared: its purpose is open, to be answered by the modifier; its licence and role are open, …`; empty for none."""
    owed: dict[tuple[str, ...], list[str]] = {}
    for what, owners in waits:
        owed.setdefault(owners, []).append(what)
    parts = []
    for owners, whats in owed.items():
        by = f", to be answered by {' and '.join(map(names.of, owners))}" if owners else ""
        parts.append(f"its {listed_labels(whats)} {'is' if len(whats) == 1 else 'are'} open{by}")
    return f"not cleared: {'; '.join(parts)}" if parts else ""


def _open_for_market(facts: VersionFacts, record: RecordSections) -> Iterator[tuple[str, tuple[str, ...]]]:
    """What of purpose, licence and role is open, each with who owes it."""
    rules = field_rules().by_path()
    if not record.use.intended.known:
        yield "purpose", (rules["use.intended"].owner,)
    if isinstance(record, ModificationRecord) and not record.product.licence.settled:
        yield "licence", (rules["product.licence"].owner,)
    verdicts = verdicts_of(in_third_form(record), decided=facts.decided)
    if any(verdict.row is None for verdict in verdicts.both):
        missing = fields_missing(record, facts.decided)
        # some questions name a whole section
        owners = (rule.owner for path, rule in rules.items() if path in missing or path.rpartition(".")[0] in missing)
        yield "role under the AI Act", tuple(owner for owner in dict.fromkeys(owners) if owner != "tool")


def _is_blocked(facts: VersionFacts, record: RecordSections) -> bool:
    """It generates images, audio or video that nobody has cleared."""
    return verdicts_of(in_third_form(record), decided=facts.decided).gpai_modifier.status == _BLOCKED


def _excludes_union(facts: VersionFacts) -> bool:
    signed = facts.signed_record or facts.record
    return signed is not None and EU_EXCLUSION in licence_flags_of(in_third_form(signed))


def _terms(facts: VersionFacts) -> Iterator[str]:
    """What the providers of the bases let them be used for, which holds for whatever is made from them."""
    if facts.base is not None:
        yield from _said("Its terms of use say", facts.base.facts.acceptable_use_policy)
    bases = [used for used in (() if facts.record is None else facts.record.base) if used.role.value != "ingredient"]
    for used in bases:
        whose = "The base's terms of use say" if len(bases) == 1 else f"The terms of use of {value_text(used.name)} say"
        yield from _said(whose, used.acceptable_use_policy)


def _said(what: str, policy: Value) -> Iterator[str]:
    if policy.known:
        text = " ".join(value_text(policy).split())
        yield f"{what}: “{_shortened(text, _TERMS_CHARACTERS)}”."


def _shortened(text: str, characters: int) -> str:
    return f"{text[:characters]}…" if len(text) > characters else text
