"""What only people know about a base, from the facts file of `base add`: one level of keys, each with the form of its field.

asserted_by: "J. Doe, legal"
licence: apache-2.0
release_date: "2025-01-30"
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.contradictions import contradictions
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.rule_files import by_edition
from peft_registry.registry.compliance.stated import (
    ASSERTED_BY,
    FactNeedsSignature,
    author_problem,
    misfits_of_fact,
    stated_value,
)
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.errors import InputRefused, raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, UpstreamTerms
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, Value, measured

NOBODY_NAMED = "whoever added the base"


class UnknownFact(InputRefused):
    reference = "unknown-base-fact"
    what = "a base has no fact {key!q}"
    why = "its facts are {facts!l}"
    fix = "{suggestion}"

    key: str
    nearest: str | None = None

    facts = tuple(DeclaredFacts.model_fields)

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "correct the key in the facts file")


class FactOfAnother(InputRefused):
    reference = "base-fact-of-another"
    what = "{key} of the base {name} is declared already, by {author}"
    why = (
        "{author} declared {recorded!q}, and what a person declared is corrected by that person; the facts file says {value!q} in "
        "the name of {by}"
    )
    fix = (
        "leave it out, or have {author} correct it; where it is wrong for one result, whoever owes the field answers it there "
        "with `registry decide`"
    )

    key: str
    name: str
    author: str
    recorded: str
    value: str
    by: str


@dataclass(frozen=True, slots=True)
class FactSigner:
    """Whose key signed a fact.

    Attributes:
        role: as the trust file lists the key; empty where it does not list it, None where there is no trust file.
        person_or_key: the person, or the key's id where none is named; None where there is no trust file.
    """

    role: str | None = None
    person_or_key: str | None = None

    @classmethod
    def of(cls, key: TrustedKey | None, key_id: str) -> "FactSigner":
        """Of a key as the trust file lists it; None for one that it does not."""
        return cls("", key_id) if key is None else cls(key.role, key.person or key_id)


Signers = Mapping[str, FactSigner]
"""Whose key signed each recorded fact first, by the fact; none of a fact means that nobody knows."""


def kept_facts_problem(recorded: DeclaredFacts, later: DeclaredFacts, *, signers: Signers, by: FactSigner) -> str:
    """The first fact for which what is stated of a base later may not stand in place of what is recorded; empty for none.

    Args:
        recorded: what is recorded of it under the same name.
        later: what another statement says, whole.
        signers: of the recorded facts.
        by: the signer of the other statement.
    """
    for key in DeclaredFacts.model_fields:
        before = getattr(recorded, key)
        after = getattr(later, key)
        is_allowed = after.settled and may_correct(key, after, before, signer=signers.get(key, FactSigner()), by=by)
        if after.says_otherwise(before) and not is_allowed:
            return key
    return ""


def corrected_facts(
    recorded: DeclaredFacts, stated: DeclaredFacts, *, signers: Signers, by: FactSigner
) -> DeclaredFacts:
    """The facts that are recorded with those that may stand in their place: silence takes nothing back."""
    corrected = {}
    for key in DeclaredFacts.model_fields:
        before = getattr(recorded, key)
        after = getattr(stated, key)
        is_new = after.settled and after.says_otherwise(before)
        is_allowed = is_new and may_correct(key, after, before, signer=signers.get(key, FactSigner()), by=by)
        corrected[key] = after if is_allowed else before
    return DeclaredFacts(**corrected)


def may_correct(key: str, later: Value, before: Value, *, signer: FactSigner, by: FactSigner) -> bool:
    """Whether a fact may stand in place of another of the same base.

    A person's word is corrected by that person, or under a role that may answer for the owner of the field. The key that signed
    says who that is, because anybody can write a name; only where one of the keys is not known does the name decide. What somebody
    else's document says takes the place of no person's word.

    Args:
        key: of the fact.
        later: what is stated of it.
        before: what is recorded of it.
        signer: whose key signed that.
        by: whose key signs what is stated.
    """
    if not before.is_stated:
        return True
    if not later.is_stated:
        return False
    is_same_key = None in (signer.person_or_key, by.person_or_key) or signer.person_or_key == by.person_or_key
    is_same_author = is_same_key and later.asserted_by == before.asserted_by
    return is_same_author or field_rules().by_path()[path_of_fact(key)].is_answered_by(by.role)


def path_of_fact(key: str) -> str:
    """The field of a record that answers with a fact of its base, without positions."""
    path = field_rules().base_facts[key]
    # an exclusion of the Union is stated of the terms of a base, and has a form of its own
    return path if isinstance(path, str) else f"upstream[].{key}"


def facts_with_statement(facts: DeclaredFacts, statement: Digest) -> DeclaredFacts:
    """The facts of a base, each with the statement that holds it as its evidence."""
    said = {key: getattr(facts, key) for key in DeclaredFacts.model_fields if getattr(facts, key).settled}
    return facts.revised(**{key: value.revised(evidence=(*value.evidence, statement)) for key, value in said.items()})


@by_edition
def facts_by_path() -> dict[str, str]:
    """The fact of a base that answers a field of its own in a record, by the field's path without positions."""
    paths = {path_of_fact(key): key for key in DeclaredFacts.model_fields}
    return {path: key for path, key in paths.items() if path.startswith(("base[]", "upstream[]"))}


def facts_of_others(
    name: str, recorded: DeclaredFacts, stated: DeclaredFacts, *, signers: Signers, by: FactSigner
) -> tuple[FactOfAnother, ...]:
    """What a person declares of a base in place of what somebody else declared, and may not."""
    return tuple(
        FactOfAnother(key, name, f"{before.asserted_by}", f"{before.value}", f"{after.value}", f"{after.asserted_by}")
        for key in DeclaredFacts.model_fields
        if (after := getattr(stated, key)).is_stated
        and after.says_otherwise(before := getattr(recorded, key))
        and not may_correct(key, after, before, signer=signers.get(key, FactSigner()), by=by)
    )


def declared_base_facts(facts: dict[str, Any], *, at: Timestamp) -> DeclaredFacts:
    """The facts about a base as declared values; `facts` is the JSON value of the facts file.

    Raises:
        UnknownFact, FactNeedsSignature, FactMalformed, FactsOutOfOrder, FactContradicted: the only fact that is wrong.
        SeveralProblems: all that are.
    """
    problems: list[InputRefused] = []
    if ASSERTED_BY in facts:
        nobody = author_problem(facts)
        problems += [] if nobody is None else [nobody]
    stated = {key: value for key, value in facts.items() if key != ASSERTED_BY}
    rules = field_rules()
    forms = rules.base_forms()
    # a field of the record beside its sections, such as an approval, is none of a base
    acts = {rule.path: rule.act for rule in rules.fields if "." not in rule.path}
    for key, value in stated.items():
        if key in forms:
            problems += misfits_of_fact(key, forms[key], value)
        elif acts.get(key) is not None:
            act = rules.acts[str(acts[key])]
            problems.append(FactNeedsSignature(key, act.reason, act.instead))
        else:
            problems.append(UnknownFact(key, closest(key, forms)))
    raise_any(problems)
    by = str(facts.get(ASSERTED_BY, NOBODY_NAMED))
    declared_facts = DeclaredFacts(
        **{key: stated_value(forms[key], value, by=by, at=at) for key, value in stated.items()}
    )
    raise_any(_contradictions(declared_facts, at=at))
    return declared_facts


def _contradictions(facts: DeclaredFacts, *, at: Timestamp) -> tuple[InputRefused, ...]:
    """What a base cannot have together; told with the keys of its facts file."""
    name = measured("the base")
    paths = {key: form for key, form in field_rules().base_facts.items() if isinstance(form, str)}
    of_base = {path.removeprefix("base[]."): key for key, path in paths.items() if path.startswith("base[].")}
    record = ModificationRecord(
        record_id="not made yet",
        record_created_at=at,
        base=(BaseUsed(name=name, **{field: getattr(facts, key) for field, key in of_base.items()}),),
        upstream=(UpstreamTerms(name=name, eu_exclusion=facts.eu_exclusion),),
    )
    keys = {f"base[0].{field}": key for field, key in of_base.items()} | {"upstream[0].eu_exclusion": "eu_exclusion"}
    return tuple(contradictions(record, keys, named=lambda path: keys.get(path, path)))
