"""No move passes by a binding that is in the log or waits for its checkpoint, whoever signs, replays or is faster."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.mlflow.whose_alias import NamedVersion, require_ours
from peft_registry.registry.records.bindings import AliasBound, MovedPastGate
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.new_entries import NewEntries, PendingRejected
from peft_registry.registry.records.references import version_named
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate import ReadPolicy, gate_status, read_gate_policy
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.show_moves import moves_of
from peft_registry.registry.use_cases.sign_log import reject_entries
from peft_registry.schemas.acts import GatePredicate, PassedGate
from peft_registry.schemas.errors import NotFound
from tests.builders.bound_aliases import APPROVER, WHY, Place, say_behind_the_checkpoint
from tests.builders.homes import NOW


def test_a_binding_that_waits_for_its_checkpoint_binds_already(place: Place) -> None:
    bank = place.policy("bank")
    said = GatePredicate(
        name="helper", alias="champion", policy=bank.digest, policy_name="bank", reason=WHY, nonce="0d"
    )
    say_behind_the_checkpoint(place, said, APPROVER)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)
    place.promote("helper:1", "champion", bank)
    place.holds()


def test_a_binding_that_waits_stays_when_an_entry_of_somebody_else_is_taken_out(place: Place) -> None:
    bank = place.policy("bank")
    place.record_move(place.sign_move(alias="other"), alias="other")
    taken_out = place.logged() - 1
    said = GatePredicate(
        name="helper", alias="champion", policy=bank.digest, policy_name="bank", reason=WHY, nonce="0d"
    )
    say_behind_the_checkpoint(place, said, APPROVER)
    rejection = reject_entries(place.registry, (taken_out,), reason="nobody asked for it")
    assert (rejection.dependent, rejection.moved) == ((), 1)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)


def test_a_move_that_was_signed_before_the_binding_and_enters_the_log_after_it_is_not_signed_over(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    signed = place.sign_move()
    place.bind("helper@champion", place.policy("bank"))
    place.record_move(signed)
    with pytest.raises(PendingRejected, match="past the policy that it is bound to"):
        publish_checkpoint(place.registry)
    assert version_named(place.registry, "helper@champion").number == 1
    assert any("past the policy" in found.text for found in check_log(place.registry).contradictions)


def test_a_move_of_an_older_client_that_an_older_log_keeper_signed_over_is_a_contradiction_to_all_who_verify(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.promote("helper:1", "champion", None)
    place.bind("helper@champion", place.policy("bank"))
    place.record_move(place.sign_move())
    with monkeypatch.context() as earlier:
        earlier.setattr(NewEntries, "_require_gate", lambda *_: None)  # it knows no bindings
        publish_checkpoint(place.registry)
    asks: list[Callable[[], object]] = [
        lambda: version_named(place.registry, "helper@champion"),
        lambda: gate_status(place.registry, "helper@champion"),
    ]
    for ask in asks:
        with pytest.raises(MovedPastGate, match="moved without a policy, past the policy that it is bound to") as told:
            ask()
        assert told.value.exit_code == 6 and "alex bound helper@champion to bank" in told.value.why
    source = f"{SOURCE_PREFIX}{version_named(place.registry, 'helper:2').manifest_digest.hex}"
    with pytest.raises(MovedPastGate):
        require_ours(place.registry, NamedVersion("helper", "champion", 2, source))
    for words in (["verify", "helper@champion"], ["gate", "status", "helper@champion"], ["log", "check"]):
        assert run([*words, "--home", str(place.registry.folder)]) == 6, words
    assert "alias-moved-past-its-gate" in str(check_log(place.registry).contradictions)
    capsys.readouterr()
    place.promote("helper:2", "champion", place.policy("bank"))  # the way out: a move that passes
    assert version_named(place.registry, "helper@champion").number == 2


def test_a_history_says_which_moves_the_policy_of_the_alias_did_not_let_through(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def notes() -> list[tuple[str, ...]]:
        return [move.notes for move in moves_of(place.registry, "helper@champion")[1]]

    day = NOW[:10]
    place.promote("helper:1", "champion", None)
    assert notes() == [()]
    place.bind("champion", place.policy("bank"))
    before = f"before alex bound it to bank on {day}"
    assert notes() == [(before, "closed today by bank: 1 reason")]
    place.promote("helper:2", "champion", place.policy("bank"))
    assert notes() == [(before,), ()]
    recall(place.registry, "helper:2", APPROVER, reason="it does harm")
    assert notes() == [(before,), ("closed today by bank: 1 reason",)]
    recall(place.registry, "helper:2", APPROVER, reason="it does none", undo=True)
    place.bind("champion", place.policy("strict"))
    another = f"before alex bound it to another policy, strict, on {day}"
    assert notes()[1] == (another, "closed today by strict: 1 reason")
    place.record_move(place.sign_move())
    with monkeypatch.context() as earlier:
        earlier.setattr(NewEntries, "_require_gate", lambda *_: None)  # it knows no bindings
        publish_checkpoint(place.registry)
    assert notes()[2][0] == f"past the policy strict, which alex had bound it to on {day}"
    assert run(["show", "helper@champion", "--history", "--home", str(place.registry.folder)]) == 0
    assert f"[past the policy strict, which alex had bound it to on {day}]" in " ".join(capsys.readouterr().out.split())


def a_policy_of_two(place: Place) -> ReadPolicy:
    file = place.folder / "two.yml"
    file.write_text("name: two\nabout: two approve\napprovals: {count: 2}\n", "utf-8")
    return read_gate_policy(f"{file}")


def forge(place: Place, policy: ReadPolicy) -> None:
    """A client of the trainer's says that the bound policy was passed, and asked nothing."""
    version = version_named(place.registry, "helper:2")
    passed = PassedGate(policy=policy.digest, policy_name=policy.policy.name)
    set_alias(place.registry, version, "champion", gate=passed)


def test_a_move_that_says_it_passed_without_the_approvals_is_not_signed_over(place: Place) -> None:
    two = a_policy_of_two(place)
    place.bind("champion", two)
    approve(place.registry, version_named(place.registry, "helper:2"), two, APPROVER, reason="read it")
    with pytest.raises(PendingRejected, match="with 1 of 2 approvals, past the policy that it is bound to"):
        forge(place, two)
    with pytest.raises(NotFound):
        version_named(place.registry, "helper@champion")


def test_a_move_without_the_approvals_that_an_older_log_keeper_signed_over_points_nowhere(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = a_policy_of_two(place)
    place.bind("champion", two)
    version = version_named(place.registry, "helper:2")
    with monkeypatch.context() as earlier:
        earlier.setattr(NewEntries, "_require_gate", lambda *_: None)
        forge(place, two)
    for approver in (APPROVER, APPROVER):  # afterwards, and one person twice
        approve(place.registry, version, two, approver, reason="too late")
    with pytest.raises(MovedPastGate, match="with 0 of 2 approvals") as told:
        version_named(place.registry, "helper@champion")
    assert told.value.exit_code == 6
    assert "with 0 of 2 approvals" in str(check_log(place.registry).contradictions)


def test_a_move_with_the_approvals_of_its_policy_is_read_by_everybody(place: Place) -> None:
    file = place.folder / "one.yml"
    file.write_text("name: one\nabout: another approves\napprovals: {count: 1}\n", "utf-8")
    one = read_gate_policy(f"{file}")
    place.bind("champion", one)
    approve(place.registry, version_named(place.registry, "helper:2"), one, APPROVER, reason="read it")
    place.promote("helper:2", "champion", one)
    assert version_named(place.registry, "helper@champion").number == 2
    place.holds()
    place.registry.store.delete(one.digest)
    with pytest.raises(ObjectMissing):
        version_named(place.registry, "helper@champion")


def test_a_binding_and_moves_at_once_leave_an_alias_that_everybody_can_read(place: Place) -> None:
    """Each move stands before the binding, or is refused: in no order does one stand behind it that passed another policy."""
    bank = place.policy("bank")
    folder = f"{place.home.folder}"  # each thread makes its own Path of it

    def act(number: int) -> str:
        # nonces are random here: two moves with one nonce would be one statement
        with closing(open_home(Path(folder), clock=lambda: NOW)) as registry:
            if number == 3:
                bind_alias(registry, guarded_named(registry, "champion"), bank, APPROVER, reason=WHY)
                return "bound"
            try:
                set_alias(registry, version_named(registry, "helper:1"), "champion")
            except AliasBound:
                return "refused"
            return "moved"

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(act, range(10)))
    assert told.count("bound") == 1 and set(told) <= {"bound", "moved", "refused"}
    place.holds()
    if "moved" in told:
        assert version_named(place.registry, "helper@champion").number == 1
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)
