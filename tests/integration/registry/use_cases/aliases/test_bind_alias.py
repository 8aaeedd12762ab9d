"""An alias that a person bound to a policy: no move passes by another, whoever signs, edits, replays or is faster."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import append_event
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.mlflow.whose_alias import Answer, require_ours
from peft_registry.registry.records.bindings import AliasBound, MovedPastGate
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.new_entries import NewEntries, PendingRejected
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.snapshots import SaidDiffers
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole, UnlistedKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.bind_alias import (
    AlreadyBound,
    BindingSpelling,
    NotBound,
    bind_alias,
    guarded_named,
)
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate import (
    GateClosed,
    ReadPolicy,
    gate_status,
    policy_for,
    promote,
    read_gate_policy,
)
from peft_registry.registry.use_cases.promote import AliasPointsElsewhere, set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.show_moves import moves_of
from peft_registry.registry.use_cases.sign_log import reject_entries
from peft_registry.registry.use_cases.statements import (
    PredicateMalformed,
    SignedStatement,
    record_statement,
    sign_statement,
)
from peft_registry.schemas.acts import GatePredicate, guarded_subject
from peft_registry.schemas.errors import InputRefused, KnownError, NotFound
from peft_registry.schemas.log import event_about
from peft_registry.schemas.statement import PREDICATE_TYPES, AliasPredicate, PassedGate
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import NOW, add_a_base, an_artifact, reopened
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

APPROVER, OFFICER, STRANGER = a_p256_key(7), a_p256_key(8), a_p256_key(9)
WHY = "what is served is decided by two"


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    def policy(self, name: str) -> ReadPolicy:
        """One that asks what every policy asks, so that its digest alone tells it from another."""
        file = self.folder / f"{name}.yml"
        file.write_text(f"name: {name}\nabout: what every policy asks\n", "utf-8")
        return read_gate_policy(str(file))

    def bind(self, alias: str, policy: ReadPolicy | None, signer: PrivateKey = APPROVER, reason: str = WHY) -> None:
        bind_alias(self.registry, guarded_named(self.registry, alias), policy, signer, reason=reason)

    def promote(self, reference: str, alias: str, policy: ReadPolicy | None, *, if_current: int | None = None) -> None:
        version = version_named(self.registry, reference)
        if policy is None:
            set_alias(self.registry, version, alias, if_current=if_current)
        else:
            promote(self.registry, version, alias, policy, if_current=if_current)

    def sign_move(self, reference: str = "helper:2", alias: str = "champion") -> SignedStatement:
        """A move of the trainer's that asks nothing, as an earlier release writes it."""
        version = version_named(self.registry, reference)
        said = AliasPredicate(name=version.name, alias=alias, nonce="0f").to_json()
        return sign_statement(version.manifest_digest, "alias", said, self.registry.trainer_key)

    def record_move(self, signed: SignedStatement, reference: str = "helper:2", alias: str = "champion") -> None:
        """What `set_alias` of an earlier release does in its transaction."""
        version = version_named(self.registry, reference)
        with self.registry.database.write() as tx:
            record_statement(tx, version.manifest_digest, signed, at=NOW)
            catalog.set_alias(
                tx, name="helper", alias=alias, number=version.number, statement_digest=signed.digest, at=NOW
            )

    def logged(self) -> int:
        return check_log(self.registry).size

    def holds(self) -> None:
        report = check_log(self.registry)
        assert (report.contradictions, report.unchecked) == ((), ())


def fill(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    for number in (1, 2):
        register_version(registry, an_artifact(folder / f"adapter-{number}", base, value=number / 8))
    register_version(registry, an_artifact(folder / "other", base, name="other", value=0.75))
    keys = (
        a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None),
        a_trusted_key(OFFICER, person="sam", role="officer", predicate_types=None),
    )
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # the copy of another test has another log
    home = made.copy(tmp_path / "home")
    registry = home.opened(now=NOW)
    yield Place(tmp_path, home, registry)
    registry.close()


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
    with pytest.raises(GateClosed, match="may not be champion") as named:
        place.promote("helper:1", "champion", strict)
    assert f"champion --policy {file} --explain`" in named.value.fix
    assert named.value.separate_reasons == ("(1) 0 of 2 approvals",)


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


def say_behind_the_checkpoint(
    place: Place, said: GatePredicate, signer: PrivateKey, *, under: str | None = None
) -> None:
    """A statement about a binding that is put into the database by somebody who asks no use case."""
    subject = guarded_subject(said.name, said.alias)
    signed = sign_statement(subject, "gate", said.to_json(), signer)
    if under is not None:
        signed = SignedStatement("gate", signed.digest, signed.envelope, under)
    with place.registry.database.write() as tx:
        record_statement(tx, subject, signed, at=NOW)


def a_release() -> GatePredicate:
    return GatePredicate(name="helper", alias="champion", policy=None, policy_name=None, reason="none", nonce="0e")


@pytest.mark.parametrize("how", ["officer", "under the id of the approver"])
def test_a_row_behind_the_checkpoint_that_nobody_whose_role_may_signed_frees_nothing(place: Place, how: str) -> None:
    place.bind("helper@champion", place.policy("bank"))
    under = None if how == "officer" else APPROVER.public.key_id
    say_behind_the_checkpoint(place, a_release(), OFFICER, under=under)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)
    with pytest.raises(KnownError):
        publish_checkpoint(place.registry)


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


def test_a_binding_about_another_alias_than_it_names_is_not_signed_over(place: Place) -> None:
    said = a_release()
    signed = sign_statement(guarded_subject("other", "champion"), "gate", said.to_json(), APPROVER)
    with place.registry.database.write() as tx:
        record_statement(tx, guarded_subject("other", "champion"), signed, at=NOW)
    with pytest.raises(PendingRejected, match="it binds another alias than it is about"):
        publish_checkpoint(place.registry)


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
        require_ours(place.registry, Answer("helper", "champion", 2, source))
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


def delete(place: Place) -> None:
    with place.home.rows() as rows:
        rows.run("DELETE FROM statements WHERE kind = 'gate'")


def relabel(place: Place) -> None:
    with place.home.rows() as rows:
        rows.run("UPDATE statements SET kind = 'recall' WHERE kind = 'gate'")


def move_to_another_subject(place: Place) -> None:
    with place.home.rows() as rows:
        rows.run(
            "UPDATE statements SET subject = :subject WHERE kind = 'gate'",
            subject=f"{guarded_subject('x', 'champion')}",
        )


def rewrite(place: Place) -> None:
    """The row keeps its digest, and its envelope says that the binding ends."""
    subject = guarded_subject("helper", "champion")
    forged = sign_statement(subject, "gate", a_release().to_json(), STRANGER)
    with place.home.rows() as rows:
        rows.run("UPDATE statements SET envelope = :envelope WHERE kind = 'gate'", envelope=forged.envelope)


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


@pytest.mark.parametrize("edit", [delete, relabel, move_to_another_subject, rewrite])
def test_edited_rows_free_no_alias(place: Place, edit: Callable[[Place], None]) -> None:
    place.promote("helper:1", "champion", place.policy("bank"))
    place.bind("helper@champion", place.policy("bank"))
    edit(place)
    with pytest.raises((SaidDiffers, EntryRejected)):
        place.promote("helper:2", "champion", None)
    with pytest.raises((SaidDiffers, EntryRejected)):
        gate_status(place.registry, "helper@champion")
    assert check_log(place.registry).contradictions


@pytest.mark.parametrize("how", ["row", "entry"])
def test_an_older_binding_is_not_replayed(place: Place, how: str) -> None:
    """The looser policy of last year was signed too; its statement is put behind the stricter one."""
    loose, bank = place.policy("loose"), place.policy("bank")
    place.bind("helper@champion", loose)
    place.bind("helper@champion", bank)
    subject = guarded_subject("helper", "champion")
    with place.registry.database.read() as tx:
        first, second = catalog.statements_of(tx, subject=subject)
    if how == "row":
        with place.home.rows() as rows:
            rows.run("UPDATE statements SET log_index = -1 WHERE digest = :digest", digest=f"{second.digest}")
            rows.run(
                "UPDATE statements SET log_index = :index WHERE digest = :digest",
                index=second.log_index,
                digest=f"{first.digest}",
            )
            rows.run(
                "UPDATE statements SET log_index = :index WHERE digest = :digest",
                index=first.log_index,
                digest=f"{second.digest}",
            )
        with pytest.raises(SaidDiffers):
            place.promote("helper:1", "champion", loose)
        return
    kind, key = PREDICATE_TYPES["gate"], APPROVER.public.key_id
    with place.registry.database.write() as tx:
        append_event(tx, event_about(subject, first.digest, predicate_type=kind, key=key, at=NOW).to_canonical())
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", loose)
    with pytest.raises(PendingRejected):
        publish_checkpoint(place.registry)


def test_a_binding_and_moves_at_once_leave_an_alias_that_everybody_can_read(place: Place) -> None:
    """Each move stands before the binding, or is refused: in no order does one stand behind it that passed another policy."""
    bank = place.policy("bank")
    folder = f"{place.home.folder}"  # each thread makes its own Path of it

    def act(number: int) -> str:
        with closing(reopened(Path(folder), now=NOW)) as registry:
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


# --- whether an alias is where somebody says: the signed move, and no row ---


def test_rows_of_moves_deceive_nobody_who_moves_an_alias_if_it_is_where_they_saw_it(place: Place) -> None:
    """Whoever writes the database makes it look as if the alias were still, or again, at another version."""
    place.promote("helper:1", "champion", None)
    with place.home.rows() as rows:
        rows.run("UPDATE alias_events SET number = 2 WHERE alias = 'champion'")
        rows.run("UPDATE aliases SET number = 2 WHERE alias = 'champion'")
    with pytest.raises(AliasPointsElsewhere, match=r"points at helper:1, and not at helper:2") as told:
        place.promote("helper:2", "champion", None, if_current=2)
    assert told.value.why == f"lab-1 moved it at {NOW}"
    place.promote("helper:2", "champion", None, if_current=1)


def test_removed_rows_of_moves_make_no_alias_new(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    with place.home.rows() as rows:
        rows.run("DELETE FROM aliases")
        rows.run("DELETE FROM alias_events")
    with pytest.raises(AliasPointsElsewhere, match="points at helper:1, and not at nothing"):
        place.promote("helper:2", "champion", None, if_current=0)


def test_a_move_that_waits_for_its_checkpoint_is_where_the_alias_points_and_a_forged_one_is_not(place: Place) -> None:
    place.promote("helper:1", "champion", None)
    forged = sign_statement(
        version_named(place.registry, "helper:2").manifest_digest,
        "alias",
        AliasPredicate(name="helper", alias="champion", nonce="0a").to_json(),
        STRANGER,
    )
    place.record_move(
        SignedStatement("alias", forged.digest, forged.envelope, place.registry.trainer_key.public.key_id)
    )
    with pytest.raises(AliasPointsElsewhere, match="points at helper:1, and not at helper:2"):
        place.promote("helper:2", "champion", None, if_current=2)
    place.record_move(place.sign_move())
    with pytest.raises(AliasPointsElsewhere, match="points at helper:2, and not at helper:1"):
        place.promote("helper:2", "champion", None, if_current=1)


@pytest.mark.parametrize("writers", [8, pytest.param(50, marks=pytest.mark.full)])
def test_of_many_who_move_one_alias_at_once_one_wins_and_all_others_are_told_who(place: Place, writers: int) -> None:
    folder = f"{place.home.folder}"  # as above

    def move(number: int) -> str:
        with closing(reopened(Path(folder), now=NOW)) as registry:
            try:
                set_alias(registry, version_named(registry, f"helper:{number % 2 + 1}"), "champion", if_current=0)
            except AliasPointsElsewhere as error:
                return str(error)
        return "won"

    with ThreadPoolExecutor(writers) as pool:
        told = list(pool.map(move, range(writers)))
    assert told.count("won") == 1
    winner = version_named(place.registry, "helper@champion").label
    assert [text for text in told if text != "won"] == [
        f"helper@champion points at {winner}, and not at nothing: lab-1 moved it at {NOW}"
    ] * (writers - 1)
    place.holds()
