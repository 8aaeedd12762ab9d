"""The table of acts: each row fits its predicate, and what follows from it is what the log of every release rests on."""

from dataclasses import replace
from typing import get_args

import pytest

from peft_registry.schemas.acts import (
    ACTS,
    GATE,
    HOLD,
    RECALL,
    STOPS_BELOW,
    USE_STOPS,
    Act,
    ActKind,
    GatePredicate,
    HoldPredicate,
    Quorum,
    RecallPredicate,
    ShownStop,
    Verb,
    acts_that_stop,
    as_kind,
    guarded_subject,
    spelled_to_bind,
)
from peft_registry.schemas.document import Document
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


def test_a_recall_stops_every_use_and_a_hold_the_deletion_alone() -> None:
    uses = {"pull", "load", "serve", "export", "train", "merge", "register", "promote"}
    assert {verb for verb in get_args(Verb) if RECALL in acts_that_stop(verb)} == uses
    assert {verb for verb in get_args(Verb) if HOLD in acts_that_stop(verb)} == {"delete"}
    assert (RECALL.forbidden, HOLD.forbidden, GATE.forbidden) == ("used", "deleted", "")
    assert replace(RECALL, stops=("pull", "promote")).forbidden == "pulled or promoted"
    assert (USE_STOPS, STOPS_BELOW) == ((RECALL,), (RECALL,))


def test_a_stop_is_told_with_what_it_forbids() -> None:
    shown = ShownStop(kind="hold", text="the data sums.jsonl: a complaint")
    assert shown.act is HOLD
    assert shown.line == "put on hold: the data sums.jsonl: a complaint; it must not be deleted"


def test_one_person_lifts_what_a_row_asks_no_more_of() -> None:
    assert {act.kind: act.quorum for act in ACTS.values()} == dict.fromkeys(ACTS)
    assert replace(RECALL, persons=2).quorum == Quorum(count=2, by_others=False)


def test_a_reason_is_that_of_a_statement_of_its_form() -> None:
    said = {"reason": "a licence ended", "undone": False, "nonce": "00"}
    assert RECALL.reason_of(said) == "a licence ended"
    assert RECALL.reason_of({"reason": "a licence ended"}) is None, "without its nonce"
    assert RECALL.reason_of({"nonce": "00"}) is None


def test_the_acts_that_are_for_what_a_person_looked_at() -> None:
    assert [act.kind for act in ACTS.values() if act.is_of_record] == ["approval", "waiver", "decision"]


def test_only_a_recall_is_said_without_naming_it() -> None:
    assert (as_kind("recall"), as_kind("quarantine")) == ("", " --as quarantine")


def test_an_alias_is_one_subject_for_each_name_and_another_for_all() -> None:
    subjects = [guarded_subject(name, alias) for name in (None, "sums", "tens") for alias in ("prod", "test")]
    assert len(set(subjects)) == len(subjects)
    # what was signed about one has it for ever
    assert guarded_subject("sums", "prod") == Digest.of(b'["gate","sums","prod"]')
    assert guarded_subject(None, "prod") == Digest.of(b'["gate",null,"prod"]')
    assert spelled_to_bind("Prod") == "prod"


def test_a_binding_in_capitals_binds_nothing() -> None:
    said = {**ALIAS, "alias": "Prod", "policy": f"{Digest.of(b'policy')}"}
    assert not GATE.forbids(guarded_subject(None, "Prod"), said), "nobody signs over one with capital letters"
    assert GATE.forbids(guarded_subject(None, "prod"), said)
    assert not GATE.forbids(guarded_subject(None, "prod"), {"policy": said["policy"]})


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        (RecallPredicate, {"reason": "why", "undone": False}),
        (HoldPredicate, {"reason": "why", "until": None, "released": False}),
        (GatePredicate, {"name": None, "alias": "prod", "policy": None, "policy_name": None, "reason": "why"}),
    ],
)
def test_what_was_signed_before_a_stop_said_who_lifts_it_reads_back_to_its_own_bytes(
    predicate: type[Document], said: dict[str, object]
) -> None:
    said = said | {"nonce": "00"}
    assert predicate.from_json(said).to_json() == said
    by_two = said | {"lifted_by": {"count": 2, "by_others": True}}
    assert predicate.from_json(by_two).to_json() == by_two


def test_a_binding_of_one_name_is_about_the_alias_of_that_name() -> None:
    said = {**ALIAS, "name": "sums", "policy": f"{Digest.of(b'policy')}"}
    assert GATE.forbids(guarded_subject("sums", "prod"), said)
    assert not GATE.forbids(guarded_subject(None, "prod"), said)
