"""The table of acts: each row fits its predicate, and what follows from it is what the log of every release rests on."""

from typing import get_args

import pytest

from peft_registry.schemas.acts import ACTS, Act, ActKind, guarded_subject
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS, statement_about


def test_every_kind_has_a_row_of_its_own() -> None:
    assert tuple(ACTS) == get_args(ActKind)
    assert [act.kind for act in ACTS.values()] == list(ACTS)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_a_row_names_roles_that_there_are_and_fields_that_its_predicate_has(act: Act) -> None:
    assert act.roles and set(act.roles) <= set(ROLE_KINDS)
    if act.taken_back_by is not None:
        assert act.predicate.model_fields[act.taken_back_by].annotation is bool
        # whoever lifts it reads here how many it takes, and everybody who is stopped reads why
        assert {"lifted_by", "reason", "nonce"} <= set(act.predicate.model_fields) and act.stops


def test_kinds_types_and_roles_are_those_that_were_signed_under() -> None:
    kinds = ["alias", "approval", "waiver", "decision", "hold", "recall", "gate", "rejection"]
    assert {kind: PREDICATE_TYPES[kind] for kind in get_args(ActKind)} == {
        kind: f"urn:peft-registry:{kind}:v1" for kind in kinds
    }
    may_say = {role: sorted(set(said) & set(kinds)) for role, said in ROLE_KINDS.items()}
    assert may_say == {
        "trainer": ["alias"],
        "evaluator": [],
        "approver": ["alias", "approval", "decision", "gate", "hold", "recall", "waiver"],
        "officer": ["hold"],
        "root": [],
        "log": ["rejection"],
    }


ALIAS = {"name": None, "alias": "prod", "policy_name": "bank", "reason": "why", "nonce": "00"}


@pytest.mark.parametrize(
    ("kind", "said", "is_stop"),
    [
        ("recall", {"reason": "why"}, True),
        ("recall", {"reason": "why", "undone": True}, False),
        ("recall", {"undone": "true"}, True),  # of no form: it stops, whatever it says
        ("hold", {"reason": "why", "released": True}, False),
        ("hold", {"reason": "why", "undone": True}, True),
        ("gate", {**ALIAS, "policy": f"{Digest.of(b'policy')}"}, True),
        ("gate", {**ALIAS, "policy": None}, False),
        ("gate", {**ALIAS, "policy": f"{Digest.of(b'policy')}", "alias": "other"}, False),
        ("approval", {"reason": "why"}, False),
        ("rejection", {"reason": "why"}, False),
        ("card", {}, False),
    ],
)
def test_a_stop_is_what_forbids_and_takes_nothing_back(kind: ActKind, said: dict[str, object], is_stop: bool) -> None:
    assert statement_about(guarded_subject(None, "prod"), kind, said).is_stop is is_stop
