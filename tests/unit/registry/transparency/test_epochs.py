"""What a checkpoint of an earlier epoch is worth, case by case."""

import pytest

from peft_registry.registry.signing.trust_chain import TrustChain, TrustStepBroken, require_signed
from peft_registry.registry.transparency import note
from peft_registry.registry.transparency.epochs import (
    EpochNotStated,
    Epochs,
    EpochUnknown,
    EpochUnsound,
    epochs_of,
    log_keys_of,
    require_names_log,
    require_signed_losses,
)
from peft_registry.registry.transparency.note import WrongOrigin
from peft_registry.schemas.policy import Epoch, TrustedKey, TrustPolicy
from tests.builders.signing import (
    NOW,
    ORIGIN,
    a_chain,
    a_form_2_policy,
    a_p256_key,
    a_trusted_key,
    an_ed25519_key,
    one_more,
)

ROOT = a_p256_key(1)
LOG = an_ed25519_key(2)


def root_of(size: int, history: int = 0) -> bytes:
    return bytes([history]) * 31 + bytes([size])


def a_checkpoint(size: int, *, origin: str = ORIGIN, history: int = 0, signer: object = LOG) -> str:
    return note.sign_checkpoint(signer, origin=origin, size=size, root=root_of(size, history))  # type: ignore[arg-type]


def an_epoch(number: int, lost: str, kept: int, **over: object) -> Epoch:
    fields: dict[str, object] = {
        "log": ORIGIN,
        "number": number,
        "lost": lost,
        "kept_size": kept,
        "kept_root": root_of(kept).hex(),
        "accepted_by": "root-holder",
        "accepted_at": NOW,
        "reason": "a disk failed",
    }
    return Epoch.model_validate(fields | over)


def a_log_key(origin: str | None = ORIGIN) -> TrustedKey:
    return a_trusted_key(LOG, role="log", predicate_types=None).revised(log_origin=origin)


def a_trust(*epochs: Epoch, origin: str | None = ORIGIN) -> TrustChain:
    policy = a_form_2_policy(a_log_key(origin), roots=[ROOT])
    return one_more(a_chain(policy, ROOT), ROOT, epochs=epochs) if epochs else a_chain(policy, ROOT)


def standing(epochs: Epochs, text: str, *, size: int, history: int = 0) -> str:
    return epochs.standing_of(text, size=size, root_at=lambda wanted: root_of(wanted, history))


ONE = (an_epoch(1, a_checkpoint(100), 50),)
TWO = (*ONE, an_epoch(2, a_checkpoint(80, origin=f"{ORIGIN}/1", history=1), 60))
BACK = (*ONE, an_epoch(2, a_checkpoint(80, origin=f"{ORIGIN}/1", history=1), 30))
MORE = (*ONE, an_epoch(2, a_checkpoint(120), 130))


@pytest.mark.parametrize(
    ("stated", "text", "size", "expected"),
    [
        ((), a_checkpoint(100), 100, "continued"),
        ((), a_checkpoint(100), 99, "shorter"),
        ((), a_checkpoint(100, history=9), 100, "forked"),
        (ONE, a_checkpoint(50), 52, "continued"),
        (ONE, a_checkpoint(40, history=9), 52, "forked"),
        (ONE, a_checkpoint(40), 39, "shorter"),
        (ONE, a_checkpoint(51), 52, "accepted"),
        (ONE, a_checkpoint(100), 200, "accepted"),
        (ONE, a_checkpoint(100, history=9), 200, "beyond"),
        (ONE, a_checkpoint(101), 200, "beyond"),
        (ONE, a_checkpoint(60, origin=f"{ORIGIN}/1"), 70, "continued"),
        (ONE, a_checkpoint(60, origin=f"{ORIGIN}/1"), 59, "shorter"),
        (TWO, a_checkpoint(100), 62, "accepted"),
        (TWO, a_checkpoint(50), 62, "continued"),
        (TWO, a_checkpoint(60, origin=f"{ORIGIN}/1"), 62, "continued"),
        (TWO, a_checkpoint(80, origin=f"{ORIGIN}/1", history=1), 62, "accepted"),
        (TWO, a_checkpoint(81, origin=f"{ORIGIN}/1", history=1), 62, "beyond"),
        (BACK, a_checkpoint(40), 32, "accepted"),
        (BACK, a_checkpoint(30), 32, "continued"),
        (BACK, a_checkpoint(60, origin=f"{ORIGIN}/1"), 32, "accepted"),
        (MORE, a_checkpoint(120), 132, "accepted"),
        (MORE, a_checkpoint(110), 132, "accepted"),
        (MORE, a_checkpoint(121), 132, "beyond"),
        (MORE, a_checkpoint(130, origin=f"{ORIGIN}/1"), 132, "continued"),
    ],
)
def test_a_checkpoint_is_worth_what_the_accepted_losses_leave_of_it(
    stated: tuple[Epoch, ...], text: str, size: int, expected: str
) -> None:
    assert standing(epochs_of(a_trust(*stated), ORIGIN), text, size=size) == expected


def test_an_epoch_that_nobody_stated_and_another_log_have_no_standing() -> None:
    epochs = epochs_of(a_trust(*ONE), ORIGIN)
    with pytest.raises(EpochUnknown):
        standing(epochs, a_checkpoint(60, origin=f"{ORIGIN}/2"), size=70)
    with pytest.raises(WrongOrigin):
        standing(epochs, a_checkpoint(60, origin="peft-registry/another"), size=70)
    assert (epochs.number, epochs.origin, epochs.next_origin) == (1, f"{ORIGIN}/1", f"{ORIGIN}/2")


def test_only_epochs_that_no_older_backup_took_away_have_their_leaf_in_the_log() -> None:
    assert [stated.epoch.number for stated in epochs_of(a_trust(*TWO), ORIGIN).standing_in_log] == [1, 2]
    assert [stated.epoch.number for stated in epochs_of(a_trust(*BACK), ORIGIN).standing_in_log] == [2]


@pytest.mark.parametrize(
    "epoch",
    [
        an_epoch(1, "no checkpoint\n", 50),
        an_epoch(1, a_checkpoint(50), 50),
        an_epoch(1, a_checkpoint(100, origin="peft-registry/another"), 50),
        an_epoch(1, a_checkpoint(100, origin=f"{ORIGIN}/1"), 50),
    ],
    ids=["no checkpoint", "nothing lost", "of another log", "of its own epoch"],
)
def test_a_loss_that_there_cannot_have_been_is_unsound(epoch: Epoch) -> None:
    with pytest.raises(EpochUnsound):
        epochs_of(a_trust(epoch), ORIGIN)


def test_what_was_lost_was_signed_by_a_log_key() -> None:
    policy = a_trust().newest.policy
    require_signed_losses(epochs_of(a_trust(*TWO), ORIGIN), log_keys_of(policy, ORIGIN))
    invented = an_epoch(1, a_checkpoint(100, signer=an_ed25519_key(9)), 50)
    with pytest.raises(EpochUnsound):
        require_signed_losses(epochs_of(a_trust(invented), ORIGIN), log_keys_of(policy, ORIGIN))


# --- the statement in the trust file


def test_a_trust_file_without_epochs_has_the_bytes_that_it_had() -> None:
    assert b"epochs" not in a_trust().newest.payload


@pytest.mark.parametrize("numbers", [(1, 1), (2,), (1, 3), (2, 1)])
def test_two_epochs_of_one_number_or_a_gap_are_no_trust_file(numbers: tuple[int, ...]) -> None:
    policy = a_trust().newest.policy
    epochs = tuple(an_epoch(number, a_checkpoint(100 + at), 50) for at, number in enumerate(numbers))
    with pytest.raises(ValueError, match="numbered from 1"):
        policy.revised(epochs=epochs)


def test_a_file_of_form_1_accepts_no_loss() -> None:
    policy = a_form_2_policy(roots=[ROOT])
    with pytest.raises(ValueError, match="form 1"):
        TrustPolicy.from_json(policy.to_json() | {"schema_version": "1", "epochs": [ONE[0].to_json()]})


@pytest.mark.parametrize(
    "later",
    [(), (an_epoch(1, a_checkpoint(100), 50, reason="another"),), (an_epoch(1, a_checkpoint(90), 50),)],
    ids=["left out", "reworded", "another loss"],
)
def test_a_later_version_neither_takes_back_nor_changes_an_accepted_loss(later: tuple[Epoch, ...]) -> None:
    chain = one_more(a_trust(*ONE), ROOT, epochs=later)
    with pytest.raises(TrustStepBroken):
        require_signed(chain)
    require_signed(one_more(a_trust(*ONE), ROOT, epochs=TWO))


@pytest.mark.parametrize("bound", [ORIGIN, None], ids=["bound", "bound to no log"])
def test_a_log_key_signs_for_an_epoch_only_where_a_root_stated_it(bound: str | None) -> None:
    policy, key = a_trust(*ONE, origin=bound).newest.policy, a_log_key(bound)
    for origin in (ORIGIN, f"{ORIGIN}/1"):
        require_names_log(policy, key, origin)
    for origin in (f"{ORIGIN}/2", f"{ORIGIN}/01" if bound else f"{ORIGIN}/3"):
        with pytest.raises(EpochNotStated):
            require_names_log(policy, key, origin)
    if bound is not None:
        with pytest.raises(WrongOrigin):
            require_names_log(policy, key, "peft-registry/another")
