"""The binding of an alias that is deleted, edited, replayed, or ended by somebody who may not: it frees no alias."""

from collections.abc import Callable

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import append_event
from peft_registry.registry.records.bindings import AliasBound, binding_of
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.views import SaidDiffers
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate import gate_status
from peft_registry.registry.use_cases.sign_log import reject_entries
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.acts import GatePredicate, guarded_subject
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.log import event_about
from peft_registry.schemas.statement import PREDICATE_TYPES
from tests.builders.bound_aliases import APPROVER, OFFICER, STRANGER, WHY, Place, a_release, say_behind_the_checkpoint
from tests.builders.homes import NOW


@pytest.mark.parametrize("how", ["officer", "under the id of the approver"])
def test_a_row_behind_the_checkpoint_that_nobody_whose_role_may_signed_frees_nothing(place: Place, how: str) -> None:
    place.bind("helper@champion", place.policy("bank"))
    under = None if how == "officer" else APPROVER.public.key_id
    say_behind_the_checkpoint(place, a_release(), OFFICER, under=under)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "champion", None)
    with pytest.raises(KnownError):
        publish_checkpoint(place.registry)


def test_a_binding_about_another_alias_than_it_names_is_not_signed_over(place: Place) -> None:
    said = a_release()
    signed = sign_statement(guarded_subject("other", "champion"), "gate", said.to_json(), APPROVER)
    with place.registry.database.write() as tx:
        record_statement(tx, guarded_subject("other", "champion"), signed, at=NOW)
    with pytest.raises(PendingRejected, match="it binds another alias than it is about"):
        publish_checkpoint(place.registry)


@pytest.mark.parametrize("name", [None, "helper"])
def test_a_binding_in_capital_letters_frees_no_spelling_and_is_not_signed_over(place: Place, name: str | None) -> None:
    """The command refuses it, and an approver signs it by hand."""
    loose = place.policy("loose")
    place.registry.store.put_bytes(loose.data)
    place.bind("helper@champion", place.policy("bank"))
    said = GatePredicate(name=name, alias="Champion", policy=loose.digest, policy_name="loose", reason=WHY, nonce="0e")
    say_behind_the_checkpoint(place, said, APPROVER)
    with pytest.raises(AliasBound):
        place.promote("helper:1", "Champion", loose)
    assert binding_of(place.registry, "other", "Champion") is None
    with pytest.raises(PendingRejected, match="it binds nothing: champion is how a binding spells Champion"):
        publish_checkpoint(place.registry)
    assert len(check_log(place.registry).contradictions) == 1
    assert reject_entries(place.registry, (place.logged() - 1,), reason="it binds nothing").staying == ()
    place.holds()


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
        rows.run("UPDATE statements SET envelope = :envelope WHERE kind = 'gate'", envelope=forged.line)


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
