"""The first answer of a report: whether a version may be used, in a sentence that follows from the facts. Pure, over records."""

from collections.abc import Iterator, Sequence

from peft_registry.registry.compliance.completeness import Completeness
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.words import STATUSES
from peft_registry.registry.reports.decisions import decision_lines, moves_of
from peft_registry.registry.reports.text import value_text
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.report import AnsweredQuestion
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value

_TERMS_CHARACTERS = 120  # of the terms of a base in the first sentence; the row about the base has more
_BLOCKED = "blocked_art5"
_NOT_CLEARED = "Not cleared for the market"
_NOT_RELEASED = "Not released: no alias points at it, and nobody has approved it."


def use_answer(facts: VersionFacts, holders: KeyHolders, checks: PageChecks) -> AnsweredQuestion:
    """Whether it may be used: what stops it, whether it is released, what it is not cleared for, what the base's terms say.

    The lines behind it are how that came about.

    Args:
        facts: what is recorded.
        holders: of the keys that signed.
        checks: those that were made for this page.
    """
    record = _digest_to_name(facts.signed_record or facts.record, facts.statements)
    lines = decision_lines(facts.version, facts.statements, holders.who, record, checks.gates)
    return AnsweredQuestion(question="May it be used?", lead=" ".join(_sentences(facts, checks)), lines=lines)


def marks_of(facts: VersionFacts, checks: PageChecks, completed: Completeness | None) -> tuple[str, ...]:
    """The marks beside the verdict on the signatures, a few words each.

    They stand there because valid signatures do not say whether the model may be used.
    """
    return tuple(_marks(facts, checks, completed))


def _marks(facts: VersionFacts, checks: PageChecks, completed: Completeness | None) -> Iterator[str]:
    gates = checks.gates.values()
    if not facts.version.aliases:
        yield "not released"
    elif any(gate.closed_by for gate in gates):
        yield "release conditions not met"
    if any(gate.cautions for gate in gates):
        yield "caution"
    if any(sentence.startswith(_NOT_CLEARED) for sentence in _not_cleared(facts)):
        yield _NOT_CLEARED.lower()
    if completed is not None and completed.open:
        yield f"{len(completed.open)} {'field' if len(completed.open) == 1 else 'fields'} open"


def _digest_to_name(record: RecordSections | None, statements: Sequence[StoredStatement]) -> Digest | None:
    """The digest of a record where something said of it may name one: it takes as long as reading the record, and few are named."""
    is_named = any(stored.kind in ("decision", "approval") for stored in statements)
    return record.canonical_digest() if record is not None and is_named else None


def _sentences(facts: VersionFacts, checks: PageChecks) -> Iterator[str]:
    stopped = tuple(_stopped(checks))
    yield from stopped
    yield from _limited(checks)
    yield _released(facts, checks)
    if checks.holds:
        yield "On hold: it must not be deleted."
    if not stopped:  # what must not be used needs no second reason
        yield from _not_cleared(facts)
    yield from _terms(facts)


def _stopped(checks: PageChecks) -> Iterator[str]:
    """Why it must not be used, whoever released it."""
    verification = checks.verification
    if verification is None:
        return
    if verification.verdict == "broken":
        yield "No: bytes or records are not those that were signed."
    acts = tuple(dict.fromkeys(stop.act for stop in verification.stops))
    stopped_by = [act.done for act in acts if "load" in act.stops]
    if verification.recalls:
        stopped_by.insert(0, "recalled")
    if stopped_by:
        yield f"No: it is {' and '.join(stopped_by)}, by whom and why is under “What is wrong”."


def _released(facts: VersionFacts, checks: PageChecks) -> str:
    """Whether an alias points at it, under a policy whose conditions are met; without one, whether anybody approved it."""
    aliases = facts.version.aliases
    if not aliases:
        decided = any(stored.kind in ("approval", "decision", "waiver") for stored in facts.statements)
        return "Not released: no alias points at it." if decided else _NOT_RELEASED
    moves = moves_of(facts.version, facts.statements)
    names = listed_labels([f"“{alias}”" for alias in aliases])
    released = f"Released in this registry under the {'alias' if len(aliases) == 1 else 'aliases'} {names}"
    notes = [
        *_of_aliases("by whom is not recorded here", [alias for alias in aliases if alias not in moves], aliases),
        *_of_aliases(
            "without a policy, so that nobody had to approve it",
            [alias for alias in aliases if alias in moves and moves[alias][1].gate is None],
            aliases,
        ),
        *_of_aliases(
            "its release conditions are not met now",
            [alias for alias in aliases if alias in checks.gates and checks.gates[alias].closed_by],
            aliases,
        ),
        *_of_aliases(
            "whether its release conditions are met could not be told",
            [alias for alias in aliases if alias in checks.gates and checks.gates[alias].unknown],
            aliases,
        ),
    ]
    return f"{'; '.join((released, *notes))}."


def _of_aliases(note: str, among: Sequence[str], aliases: Sequence[str]) -> Iterator[str]:
    """The note, with the aliases that it is about where it is not about all of them."""
    if among:
        whose = "" if len(among) == len(aliases) else f" ({', '.join(among)})"
        yield f"{note}{whose}"


def _limited(checks: PageChecks) -> Iterator[str]:
    """What else than its use is stopped."""
    if checks.verification is not None:
        acts = tuple(dict.fromkeys(stop.act for stop in checks.verification.stops))
        yield from (f"It is {act.done}: it must not be {act.forbidden}." for act in acts if "load" not in act.stops)


def _not_cleared(facts: VersionFacts) -> Iterator[str]:
    """What of the questions that a placing on the market rests on is open: a release in a registry answers none of them."""
    record = facts.record
    if record is None:
        return
    verdicts = verdicts_of(in_third_form(record), decided=facts.decided)
    if verdicts.gpai_modifier.status == _BLOCKED:
        yield f"{_NOT_CLEARED}: {STATUSES[_BLOCKED]}."
        return
    is_open = {
        "purpose": not record.use.intended.known,
        "licence": isinstance(record, ModificationRecord) and not record.product.licence.settled,
        "role under the AI Act": any(verdict.row is None for verdict in verdicts.both),
    }
    named = [name for name, is_so in is_open.items() if is_so]
    if named:
        yield f"{_NOT_CLEARED}: its {listed_labels(named)} {'is' if len(named) == 1 else 'are'} open."
    else:
        yield "No clearance for the market follows: purpose, licence and role are recorded below, and a person decides."


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
        cut = f"{text[:_TERMS_CHARACTERS]}…" if len(text) > _TERMS_CHARACTERS else text
        yield f"{what}: “{cut}”."
