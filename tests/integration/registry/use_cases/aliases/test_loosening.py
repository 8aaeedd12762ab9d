"""What one person tightened is not loosened by one: not a binding, not a recall, not a hold, and not by a waiver."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import AliasBound, binding_of
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.holds import hold_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.standing_acts import MakerLiftsNothing, SaidAlready
from peft_registry.registry.records.stops import stops_of
from peft_registry.registry.records.views import view_of
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.approve import approve, waive
from peft_registry.registry.use_cases.bind_alias import AlreadyBound, QuorumUnmet, bind_alias, guarded_named
from peft_registry.registry.use_cases.gate import GateClosed, ReadPolicy, gate_status, promote, read_gate_policy
from peft_registry.registry.use_cases.hold import hold, release
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.acts import GatePredicate, Quorum, RecallPredicate
from tests.builders.bound_aliases import APPROVER, SECOND, WHY, Place, say_behind_the_checkpoint
from tests.builders.homes import NOW, a_home, register_adapter
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

SPARE, SPARE_OF_ALEX = a_p256_key(11), a_p256_key(12)


def asking(place: Place, name: str, asks: str) -> ReadPolicy:
    file = place.folder / f"{name}.yml"
    file.write_text(f"name: {name}\nabout: persons look\n{asks}\n", "utf-8")
    return read_gate_policy(str(file))


def two(place: Place) -> ReadPolicy:
    return asking(place, "two", "approvals: {count: 2}")


def listed(place: Place, key: PrivateKey, person: str, role: str = "approver") -> None:
    """A root lists one more key."""
    registry = place.registry
    more = a_trusted_key(key, person=person, role=role, predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, more))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    place.registry = replace(registry)  # reads the trust file anew


def is_bound(place: Place, alias: str = "champion") -> str | None:
    binding = binding_of(place.registry, "helper", alias)
    return None if binding is None else binding.policy_name


@pytest.mark.parametrize("guarded", ["champion", "helper@champion"])
def test_one_of_two_ends_no_binding_and_binds_to_no_other_policy(place: Place, guarded: str) -> None:
    loose = place.policy("loose")
    place.bind(guarded, two(place))
    for policy in (None, loose):
        place.bind(guarded, policy)
        assert is_bound(place) == "two"
        with pytest.raises(AliasBound):
            place.promote("helper:2", "champion", policy)
        with pytest.raises(SaidAlready, match="2 persons must sign this, none of whom made it; so far alex"):
            place.bind(guarded, policy)
    place.bind(guarded, None, SECOND)
    assert is_bound(place) is None
    place.promote("helper:2", "champion", loose)
    place.holds()


def test_an_alias_of_one_name_is_not_bound_past_what_binds_it_of_every_name_by_one(place: Place) -> None:
    place.bind("champion", two(place))
    loose = place.policy("loose")
    for signer, bound in ((APPROVER, "two"), (SECOND, "loose")):
        place.bind("helper@champion", loose, signer)
        assert is_bound(place) == bound
    other = binding_of(place.registry, "other", "champion")
    assert other is not None and other.policy_name == "two"
    place.holds()


def test_two_keys_of_one_person_are_one(place: Place) -> None:
    listed(place, SPARE_OF_ALEX, "Alex")
    place.bind("champion", two(place))
    place.bind("champion", None)
    with pytest.raises(SaidAlready):
        place.bind("champion", None, SPARE_OF_ALEX)
    said = GatePredicate(name=None, alias="champion", policy=None, policy_name=None, reason="past", nonce="0e")
    say_behind_the_checkpoint(place, said, SPARE_OF_ALEX)
    assert is_bound(place) == "two"


def test_whoever_may_register_versions_loosens_a_binding_with_one_person_more(place: Place) -> None:
    listed(place, a_p256_key(13), "kim", role="trainer")
    listed(place, SPARE, "robin")
    place.bind("champion", two(place))
    for signer, bound in ((APPROVER, "two"), (SECOND, "two"), (SPARE, None)):
        place.bind("champion", None, signer)
        assert is_bound(place) == bound
    place.holds()


def test_a_binding_of_an_earlier_release_stays_as_it_was_until_it_is_bound_anew(place: Place) -> None:
    policy = two(place)
    said = GatePredicate(
        name="helper", alias="champion", policy=policy.digest, policy_name="two", reason=WHY, nonce="0d"
    )
    place.registry.store.put_bytes(policy.data)
    say_behind_the_checkpoint(place, said, APPROVER)
    place.bind("helper@champion", None)
    assert is_bound(place) is None
    say_behind_the_checkpoint(place, said.revised(nonce="0e"), APPROVER)
    place.bind("helper@champion", policy)
    with pytest.raises(AlreadyBound):
        place.bind("helper@champion", policy, SECOND)
    place.bind("helper@champion", None)
    assert is_bound(place) == "two"
    say_behind_the_checkpoint(place, said.revised(nonce="0f"), APPROVER)  # the same, and easier to loosen
    place.bind("helper@champion", None, SECOND)
    assert is_bound(place) is None
    place.holds()


def test_a_policy_that_nobody_could_pass_is_not_bound_and_who_is_not_to_spare_is_told(place: Place) -> None:
    with pytest.raises(QuorumUnmet, match=r"3 persons who did not make the version, and those .* are alex, kim"):
        place.bind("champion", asking(place, "three", "approvals: {count: 3}"))
    assert is_bound(place) is None

    def bound(alias: str, asks: str) -> bool:
        guarded = guarded_named(place.registry, alias)
        return bind_alias(place.registry, guarded, asking(place, alias, asks), APPROVER, reason=WHY).nobody_to_spare

    assert [bound("first", "approvals: {count: 2}"), bound("second", "approvals: {count: 1}")] == [True, False]
    listed(place, a_p256_key(13), "kim", role="trainer")
    with pytest.raises(QuorumUnmet):  # one of the two may have made it
        bound("third", "approvals: {count: 2}")
    assert bound("fourth", "approvals: {count: 2, by_others: false}")


def test_a_number_that_one_person_writes_by_hand_takes_no_more_persons(place: Place) -> None:
    """The policy asks for two; whoever binds the alias to it again, or first, past the command, writes a hundred."""
    listed(place, SPARE, "robin")
    policy = two(place)
    place.bind("helper@champion", policy)
    said = GatePredicate(
        name="helper",
        alias="champion",
        policy=policy.digest,
        policy_name="two",
        lifted_by=Quorum(count=100, by_others=True),
        reason=WHY,
        nonce="0d",
    )
    say_behind_the_checkpoint(place, said, APPROVER)
    say_behind_the_checkpoint(place, said.revised(alias="canary"), APPROVER)
    for alias, signers in (("champion", (SECOND, SPARE)), ("canary", (SECOND, SPARE, APPROVER))):
        for signer in signers:
            assert is_bound(place, alias) == "two"
            place.bind(f"helper@{alias}", None, signer)
        assert is_bound(place, alias) is None
    place.holds()


def test_a_recall_asks_for_no_more_persons_than_could_undo_it(place: Place) -> None:
    subject = version_named(place.registry, "helper:1").manifest_digest
    said = RecallPredicate(reason=WHY, lifted_by=Quorum(count=100, by_others=True), nonce="0d").to_json()
    with place.registry.database.write() as tx:
        record_statement(tx, subject, sign_statement(subject, "recall", said, APPROVER), at=NOW)
    for signer in (APPROVER, SECOND):
        assert is_recalled(place.registry)
        recall(place.registry, "helper:1", signer, reason="settled", undo=True)
    assert not is_recalled(place.registry)


def is_recalled(registry: Registry) -> bool:
    subject = version_named(registry, "helper:1").manifest_digest
    return stops_of(registry, Source(subject, "helper:1")) != ()


def is_held(registry: Registry) -> bool:
    with view_of(registry) as view:
        return hold_of(view, Source(version_named(registry, "helper:1").manifest_digest, "helper:1")) is not None


Lifts = Callable[[Registry, PrivateKey], str | None]
ACTS: dict[str, tuple[Callable[[Registry], object], Lifts, Callable[[Registry], bool]]] = {
    "recall": (
        lambda registry: recall(registry, "helper:1", APPROVER, reason=WHY),
        lambda registry, key: recall(registry, "helper:1", key, reason="settled", undo=True).still_needed,
        is_recalled,
    ),
    "hold": (
        lambda registry: hold(registry, "helper:1", APPROVER, reason=WHY),
        lambda registry, key: release(registry, "helper:1", key, reason="settled").still_needed,
        is_held,
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_was_stopped_below_a_bound_alias_is_free_once_as_many_take_it_back_as_the_alias_asks(
    place: Place, act: str
) -> None:
    stop, lift, stands = ACTS[act]
    place.promote("helper:1", "champion", None)
    place.bind("champion", two(place))
    stop(place.registry)
    place.bind("champion", None)  # what was bound when it was stopped counts
    place.bind("champion", None, SECOND)
    assert lift(place.registry, APPROVER) == "2 persons must sign this, none of whom made it; so far alex"
    assert stands(place.registry)
    listed(place, SPARE_OF_ALEX, "Alex")
    for key in (APPROVER, SPARE_OF_ALEX):
        with pytest.raises(SaidAlready):
            lift(place.registry, key)
    listed(place, SPARE, "lab-1")  # who made it may approve from now on
    with pytest.raises(MakerLiftsNothing):
        lift(place.registry, SPARE)
    assert stands(place.registry)
    assert lift(place.registry, SECOND) is None
    assert not stands(place.registry)
    place.holds()


@pytest.mark.parametrize("act", ACTS)
def test_what_no_bound_alias_points_at_is_freed_by_one_and_its_maker_is_named(place: Place, act: str) -> None:
    stop, lift, stands = ACTS[act]
    stop(place.registry)
    assert lift(place.registry, SECOND) is None and not stands(place.registry)
    listed(place, SPARE, "lab-1")
    assert recall(place.registry, "helper:1", APPROVER, reason=WHY).by_maker is False
    assert recall(place.registry, "helper:1", SPARE, reason="mine", undo=True).by_maker


def test_who_waives_a_rule_is_not_one_of_those_who_approve_besides(place: Place) -> None:
    asks = "evaluation: {}\napprovals: {count: 2}\nwaivable: [evaluation]"
    policy = asking(place, "waivable", asks)
    place.bind("champion", policy)
    listed(place, SPARE, "robin")
    version = version_named(place.registry, "helper:1")
    until = date(2099, 1, 1)
    for signer in (APPROVER, SECOND):
        approve(place.registry, version, policy, signer, reason="looked")
    waive(place.registry, version, policy, "evaluation", APPROVER, until=until, reason="it is small")
    with pytest.raises(
        GateClosed, match=r"needs 2 approvals, has 1 \(kim\); that of alex does not count: nobody else waived"
    ):
        promote(place.registry, version, "champion", policy)
    waive(place.registry, version, policy, "evaluation", SPARE, until=until, reason="it is small")
    promote(place.registry, version, "champion", policy)
    assert version_named(place.registry, "helper@champion").number == 1
    place.holds()


def test_a_gate_says_what_waits_and_who_made_the_version_and_lists_the_approvers(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    place.bind("champion", two(place))
    place.bind("champion", None)
    shown = gate_status(place.registry, "helper@champion")
    assert shown.cautions == (
        "independence is not assured: lab-1 made it and decides, by a root key, who counts as an approver",
        "unbinding is not complete: 2 persons must sign this, none of whom made it; so far alex",
    )
    assert ("caution", shown.cautions[0]) in tuple(shown.lines())


def test_a_registry_of_one_person_says_on_its_gates_that_nobody_else_looks(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        set_alias(registry, register_adapter(registry, tmp_path), "champion")
        shown = gate_status(registry, "helper@champion", read_gate_policy("starter"))
        assert shown.cautions == ("not four eyes: lab-1 holds every key of this registry",)
