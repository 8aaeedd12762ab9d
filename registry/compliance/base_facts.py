"""What only people know about a base, from the facts file of `base add`: one level of keys, each with the form of its field.

asserted_by: "J. Doe, legal"
licence: apache-2.0
release_date: "2025-01-30"
"""

from typing import Any

from peft_registry.registry.compliance.contradictions import contradictions
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.stated import (
    ASSERTED_BY,
    FactNeedsSignature,
    author_problem,
    misfits_of_fact,
    stated_value,
)
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.errors import InputRefused, raise_any
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, UpstreamTerms
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, measured

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
