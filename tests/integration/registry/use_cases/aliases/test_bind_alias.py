"""An alias that a person bound to a policy: which moves pass, who may bind it, under which spelling, and how that is shown."""

from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.records.bindings import AliasBound
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole, UnlistedKey
from peft_registry.registry.use_cases.bind_alias import (
    AlreadyBound,
    BindingSpelling,
    NotBound,
)
from peft_registry.registry.use_cases.gate import (
    GateClosed,
    gate_status,
    policy_for,
    read_gate_policy,
)
from peft_registry.registry.use_cases.sign_log import reject_entries
from peft_registry.registry.use_cases.statements import (
    PredicateMalformed,
)
from peft_registry.schemas.errors import InputRefused, KnownError, NotFound
from tests.builders.bound_aliases import APPROVER, OFFICER, STRANGER, WHY, Place
from tests.builders.homes import NOW


def test_whoever_moves_a_bound_alias_chooses_no_policy(place: Place) -> None:
    bank, loose = place.policy("bank"), place.policy("loose")
    place.promote("helper:1", "champion", None)
    place.bind("helper@champion", bank)
    size = place.logged()
    for policy in (None, loose):
        with pytest.raises(AliasBound) as refused:
            place.promote("helper:2", "champion", policy)
        assert refused.value.exit_code == 3
        assert refused.value.why == f"alex bound helper@champion to bank ({bank.digest.short}) at {NOW}: {WHY}"
    assert place.logged() == size
    assert version_named(place.registry, "helper@champion").number == 1
    assert policy_for(place.registry, "helper", "champion", otherwise="starter").digest == bank.digest
    place.promote("helper:2", "champion", policy_for(place.registry, "helper", "champion", otherwise="starter"))
    assert version_named(place.registry, "helper@champion").number == 2
    place.promote("helper:1", "other", None)
    place.promote("other:1", "champion", None)
    place.holds()


def test_a_refusal_by_the_bound_policy_sends_nobody_to_another_of_its_name(place: Place) -> None:
    """The bytes count, and no word that a person may type means them."""
    file = place.folder / "strict.yml"
    file.write_text("name: strict\nabout: two people\napprovals: {count: 2}\n", "utf-8")
    strict = read_gate_policy(str(file))
    place.bind("champion", strict)
    with pytest.raises(GateClosed) as refused:
        place.promote("helper:1", "champion", policy_for(place.registry, "helper", "champion", otherwise="starter"))
    assert "`registry promote helper:1 champion --explain`" in refused.value.fix
    with pytest.raises(GateClosed, match="promotion of helper:1 to champion blocked") as named:
        place.promote("helper:1", "champion", strict)
    assert f"champion --policy {file} --explain`" in named.value.fix
    assert named.value.separate_reasons == ("(1) needs 2 approvals, has 0",)


def test_what_was_moved_before_it_was_bound_stays_and_its_gate_says_that_it_passed_another(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    place.bind("helper@champion", place.policy("bank"))
    assert version_named(place.registry, "helper@champion").number == 1
    shown = gate_status(place.registry, "helper@champion")
    assert [reason.rule for reason in shown.decision.reasons] == ["policy"]
    assert shown.bound is not None and shown.bound.startswith("alex bound helper@champion to bank")
    place.promote("helper:1", "champion", place.policy("bank"))
    assert gate_status(place.registry, "helper@champion").decision.is_open
    place.holds()


def test_an_alias_of_every_name_is_bound_for_names_to_come_and_one_name_may_be_bound_otherwise(place: Place) -> None:
    bank, strict = place.policy("bank"), place.policy("strict")
    place.bind("champion", bank)
    for reference in ("helper:1", "other:1"):
        with pytest.raises(AliasBound, match="may not be moved"):
            place.promote(reference, "champion", None)
    place.bind("helper@champion", strict)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", bank)
    place.promote("helper:1", "champion", strict)
    place.promote("other:1", "champion", bank)
    place.bind("helper@champion", None, reason="one policy for all is enough")
    with pytest.raises(AliasBound):
        place.promote("helper:2", "champion", strict)
    place.promote("helper:2", "champion", bank)
    place.bind("champion", None, reason="it is decided elsewhere")
    place.promote("helper:1", "champion", None)
    place.holds()


@pytest.mark.parametrize("whose", ["trainer", "officer", "stranger"])
def test_a_key_without_the_role_binds_changes_and_frees_nothing(place: Place, whose: str) -> None:
    bank = place.policy("bank")
    signer: PrivateKey = {"officer": OFFICER, "stranger": STRANGER}.get(whose) or place.registry.private_key("trainer")
    error: type[KnownError] = UnlistedKey if whose == "stranger" else KeyLacksRole
    with pytest.raises(error):
        place.bind("helper@champion", bank, signer)
    place.bind("helper@champion", bank)
    size = place.logged()
    for policy in (place.policy("loose"), None):
        with pytest.raises(error):
            place.bind("helper@champion", policy, signer)
    assert place.logged() == size
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)


def test_what_binds_an_alias_binds_every_spelling_of_it(place: Place) -> None:
    """People take `Champion` for `champion`, and so do databases that fold case."""
    bank, loose = place.policy("bank"), place.policy("loose")
    place.bind("champion", bank)
    for spelling in ("Champion", "CHAMPION", "cHampion"):
        for policy in (None, loose):
            with pytest.raises(AliasBound):
                place.promote("helper:2", spelling, policy)
    place.record_move(place.sign_move(alias="Champion"), alias="Champion")
    with pytest.raises(PendingRejected, match="past the policy"):
        publish_checkpoint(place.registry)
    reject_entries(place.registry, (place.logged() - 1,), reason="past the policy")
    place.promote("helper:2", "Champion", bank)
    assert version_named(place.registry, "helper@Champion").number == 2
    place.holds()


def test_capital_letters_are_not_bound_because_other_spellings_would_stay_free(place: Place) -> None:
    size = place.logged()
    for alias in ("Champion", "helper@Champion"):
        with pytest.raises(BindingSpelling) as refused:
            place.bind(alias, place.policy("bank"))
        assert refused.value.exit_code == 2
        assert f"gate set {alias.replace('C', 'c')} --policy" in refused.value.fix
    assert place.logged() == size


def test_what_cannot_be_bound_is_told_and_nothing_is_signed(place: Place) -> None:
    bank = place.policy("bank")
    size = place.logged()
    for text, error in (
        ("3", InputRefused),
        ("latest", InputRefused),
        ("helper@7", InputRefused),
        ("nobody@x", NotFound),
    ):
        with pytest.raises(error):
            place.bind(text, bank)
    with pytest.raises(NotBound):
        place.bind("helper@champion", None)
    for reason in ("", "  ", "x" * 2001):
        with pytest.raises(PredicateMalformed):
            place.bind("champion", bank, reason=reason)
    assert place.logged() == size
    place.bind("champion", bank)
    with pytest.raises(AlreadyBound):
        place.bind("champion", bank)
    with pytest.raises(NotBound, match="not bound"):
        place.bind("helper@champion", None)


def test_a_binding_is_typed_and_shown(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    key = place.folder / "approver.key"
    APPROVER.save(key, None)
    home = ["--home", str(place.registry.folder)]
    policy = str(place.folder / "bank.yml")
    place.policy("bank")
    signed = ["--reason", WHY, "--key", str(key), *home]
    assert run(["gate", "set", "champion", "--policy", policy, *signed]) == 0
    assert "champion to bank" in capsys.readouterr().out
    assert run(["promote", "helper:1", "champion", "--policy", "none", *home]) == 3
    assert "alex bound champion of every name to bank" in capsys.readouterr().err
    assert run(["promote", "helper:1", "champion", *home]) == 0
    assert "policy   bank" in capsys.readouterr().out
    assert run(["gate", "status", "helper@champion", *home]) == 0
    assert "bound     alex bound champion of every name to bank" in capsys.readouterr().out
    bound_bytes = Path(policy).read_text("utf-8")
    Path(policy).unlink()
    assert run(["gate", "show", "helper@champion", *home]) == 0
    assert capsys.readouterr().out == bound_bytes
    assert run(["gate", "unset", "champion", *signed]) == 0
    assert run(["gate", "show", "helper@champion", *home]) == 7
    assert "helper@champion is not bound to a policy" in capsys.readouterr().err
    assert run(["promote", "helper:2", "champion", "--policy", "none", *home]) == 0
