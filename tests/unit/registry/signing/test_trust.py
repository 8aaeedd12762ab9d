"""The trust file: where authority comes from, what a threshold counts, and what a key may sign at which time."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from peft_registry.registry.signing import trust
from peft_registry.registry.signing.dsse import BadSignature, UnknownKey
from peft_registry.registry.signing.trust import TrustAnchors, current_policy, open_chain, sign_trust
from peft_registry.registry.signing.trust_chain import (
    TrustChain,
    TrustRolledBack,
    TrustThresholdNotMet,
    countersigned,
    parse_chain,
    render_chain,
)
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.policy import CHECKPOINT_TYPE, Revocation, TrustPolicy
from peft_registry.schemas.statement import MODIFICATION_V1, PREDICATE_TYPES
from tests.builders.signing import BEFORE, LATER, NOW, a_p256_key, a_policy, a_trusted_key, an_ed25519_key

PROVENANCE, APPROVAL = "https://slsa.dev/provenance/v1", "urn:peft-registry:approval:v1"
ROOT, SECOND, THIRD, STRANGER = (a_p256_key(seed) for seed in (11, 12, 13, 66))
TRAINER, APPROVER = a_p256_key(1), a_p256_key(2)
MINE = TrustAnchors(file_given_by_user=True)


def anchored(*roots, threshold: int = 1) -> TrustAnchors:
    return TrustAnchors(root_key_ids=frozenset(key.public.key_id for key in roots), threshold=threshold)


def load(data: bytes, anchors: TrustAnchors = MINE, *, now: str = NOW, accepted_version: int | None = None):
    return current_policy(open_chain(data, anchors=anchors, accepted_version=accepted_version), now=now)


def a_signed_file(*signers, **changes) -> bytes:
    return sign_trust(a_policy(**{"roots": [ROOT], **changes}), signers or [ROOT])


# --- authority


@pytest.mark.parametrize("anchors", [MINE, anchored(ROOT), anchored(ROOT, SECOND)], ids=["mine", "root", "one of two"])
def test_a_file_that_the_user_vouches_for_is_loaded(anchors):
    assert load(a_signed_file(), anchors) == a_policy(roots=[ROOT])


def test_a_file_that_nobody_vouches_for_has_no_authority():
    with pytest.raises(trust.NoTrustAnchor) as caught:
        load(a_signed_file(), TrustAnchors())
    assert caught.value.exit_code == 5


def test_a_strangers_own_trust_file_is_an_unknown_root():
    with pytest.raises(trust.UnknownRoot) as caught:
        load(a_signed_file(STRANGER, roots=[STRANGER]), anchored(ROOT))
    assert caught.value.exit_code == 5


def test_naming_our_root_in_a_strangers_file_does_not_give_it_our_authority():
    policy = a_policy(roots=[STRANGER, ROOT])
    with pytest.raises(trust.UnknownRoot):
        load(sign_trust(policy, [STRANGER]), anchored(ROOT))
    forged = json.loads(sign_trust(policy, [STRANGER]))
    forged["signatures"].append({**forged["signatures"][0], "key_id": ROOT.public.key_id})
    with pytest.raises(BadSignature) as caught:
        load(json.dumps(forged).encode(), anchored(ROOT))
    assert caught.value.exit_code == 6


def test_several_named_roots_can_be_required_together():
    both = a_signed_file(ROOT, SECOND, roots=[ROOT, SECOND])
    assert load(both, anchored(ROOT, SECOND, threshold=2)).version == 1
    with pytest.raises(trust.UnknownRoot):
        load(a_signed_file(ROOT, roots=[ROOT, SECOND]), anchored(ROOT, SECOND, threshold=2))
    for impossible in (0, 3):
        with pytest.raises(trust.UnusableAnchors):
            anchored(ROOT, SECOND, threshold=impossible)


# --- threshold


def test_the_threshold_counts_different_keys_of_different_persons():
    roots = [ROOT, SECOND, THIRD]
    policy = a_policy(roots=roots, persons=["ana", "ana", "ben"], threshold=2)
    assert load(sign_trust(policy, [ROOT, THIRD])) == policy
    for signers in ([ROOT], [ROOT, SECOND], [ROOT, ROOT], [STRANGER, ROOT], []):
        with pytest.raises(TrustThresholdNotMet) as caught:
            load(sign_trust(policy, signers))
        assert caught.value.exit_code == 5


def test_root_holders_can_sign_one_after_another():
    policy = a_policy(roots=[ROOT, SECOND], threshold=2)
    partly = sign_trust(policy, [ROOT])
    whole = render_chain(TrustChain((countersigned(parse_chain(partly).newest, SECOND),)))
    assert whole == sign_trust(policy, [ROOT, SECOND])
    assert load(whole) == policy


def test_a_key_with_another_role_does_not_count_as_a_root():
    policy = a_policy(a_trusted_key(TRAINER), roots=[ROOT])
    with pytest.raises(TrustThresholdNotMet):
        load(sign_trust(policy, [TRAINER]))


def test_a_revoked_root_does_not_count():
    revoked = (Revocation(key_id=ROOT.public.key_id, revoked_at=BEFORE, reason="lost"),)
    with pytest.raises(TrustThresholdNotMet):
        load(a_signed_file(ROOT, roots=[ROOT, SECOND], revocations=revoked))
    assert load(a_signed_file(ROOT, SECOND, roots=[ROOT, SECOND], revocations=revoked)).version == 1


@pytest.mark.parametrize(
    "changes",
    [{"threshold": 0}, {"threshold": 2}, {"roots": [ROOT, SECOND], "persons": ["ana", "ana"], "threshold": 2}],
    ids=["zero", "more than keys", "more than persons"],
)
def test_a_threshold_that_cannot_be_met_or_asks_for_nobody_is_a_mistake(changes):
    with pytest.raises(ValidationError):
        a_policy(**{"roots": [ROOT], **changes})


# --- version and expiry


def test_the_version_never_goes_down():
    assert load(a_signed_file(version=3), accepted_version=3).version == 3
    with pytest.raises(TrustRolledBack) as caught:
        load(a_signed_file(version=3), accepted_version=4)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("now", [LATER, "2130-01-01T00:00:00Z"], ids=["at its expiry", "after"])
def test_an_expired_file_decides_nothing(now):
    policy = a_policy(roots=[ROOT], expires_at=LATER)
    with pytest.raises((trust.TrustExpired, TrustThresholdNotMet)) as caught:
        load(sign_trust(policy, [ROOT]), now=now)
    assert caught.value.exit_code == 5


def test_an_expired_file_with_valid_roots_says_that_it_has_expired():
    with pytest.raises(trust.TrustExpired):
        load(a_signed_file(expires_at="2026-06-01T00:00:00Z"))


def test_a_clock_that_is_behind_the_file_is_named_as_the_cause():
    with pytest.raises(trust.ClockBehind) as caught:
        load(a_signed_file(), now="2025-01-01T00:00:00Z")
    assert caught.value.exit_code == 5
    assert "2025-01-01T00:00:00Z" in caught.value.why


# --- what a key may do


def a_policy_with_keys(**changes) -> TrustPolicy:
    return a_policy(
        a_trusted_key(TRAINER, predicate_types=(PROVENANCE,)),
        a_trusted_key(APPROVER, person="risk", role="approver", predicate_types=(APPROVAL,)),
        a_trusted_key(an_ed25519_key(), role="log", predicate_types=(CHECKPOINT_TYPE,)),
        roots=[ROOT],
        **changes,
    )


def status(key, predicate_type=PROVENANCE, *, proven=None, now=NOW, **changes):
    return trust.key_status(
        a_policy_with_keys(**changes),
        key.public.key_id,
        predicate_type=predicate_type,
        signed_at_proven=proven,
        now=now,
    )


def test_a_listed_key_may_sign_what_its_entry_says():
    assert status(TRAINER).state == "ok"
    assert trust.require_ok(status(TRAINER)).person == "lab-1"
    assert status(an_ed25519_key(), CHECKPOINT_TYPE).state == "ok"


@pytest.mark.parametrize(
    ("key", "predicate_type", "state", "code"),
    [(STRANGER, PROVENANCE, "unknown", 5), (TRAINER, APPROVAL, "wrong-role", 6), (ROOT, PROVENANCE, "wrong-role", 6)],
)
def test_other_keys_and_other_purposes_are_refused_with_the_right_exit(key, predicate_type, state, code):
    found = status(key, predicate_type)
    assert found.state == state
    with pytest.raises((UnknownKey, trust.KeyLacksRole)) as caught:
        trust.require_ok(found)
    assert caught.value.exit_code == code


def revoked(reason: str) -> tuple[Revocation, ...]:
    return (Revocation(key_id=TRAINER.public.key_id, revoked_at="2026-06-01T00:00:00Z", reason=reason),)


@pytest.mark.parametrize(
    ("reason", "proven", "state"),
    [
        ("left the lab", None, "revoked"),
        ("left the lab", "2026-07-01T00:00:00Z", "revoked"),
        ("left the lab", "2026-06-01T00:00:00Z", "revoked"),
        ("left the lab", "2026-05-31T23:59:59Z", "ok"),
        ("key compromise", "2026-05-31T23:59:59Z", "revoked"),
        ("keyCompromise", "2026-05-31T23:59:59Z", "revoked"),
    ],
)
def test_a_revoked_key_counts_only_for_what_is_provably_older_and_never_after_a_compromise(reason, proven, state):
    found = status(TRAINER, proven=proven, revocations=revoked(reason))
    assert found.state == state
    if state == "revoked":
        with pytest.raises(trust.RevokedKey) as caught:
            trust.require_ok(found)
        assert caught.value.exit_code == 6
        assert reason in caught.value.why


@pytest.mark.parametrize(
    ("now", "proven", "state"),
    [
        (LATER, None, "expired"),
        (LATER, NOW, "ok"),
        ("2025-12-31T23:59:59Z", None, "expired"),
        (BEFORE, None, "ok"),
        (LATER, LATER, "expired"),
    ],
)
def test_a_key_counts_within_its_validity_or_with_a_proven_time_inside_it(now, proven, state):
    found = status(TRAINER, now=now, proven=proven)
    assert found.state == state
    if state == "expired":
        with pytest.raises(trust.ExpiredKey) as caught:
            trust.require_ok(found)
        assert caught.value.exit_code == 5


def test_revoked_keys_stay_among_the_public_keys_so_that_they_can_be_recognised():
    policy = a_policy_with_keys(revocations=revoked("lost"))
    assert TRAINER.public in trust.public_keys(policy)
    assert trust.public_keys(policy, role="log") == (an_ed25519_key().public,)


def test_a_kind_that_form_1_lists_is_listed_in_every_version():
    """The home of an earlier release goes on registering; a kind that its root never listed stays out."""
    lists_modifications = a_policy(a_trusted_key(TRAINER, predicate_types=(MODIFICATION_V1,)), roots=[ROOT])
    states = {
        kind: trust.key_status(
            lists_modifications, TRAINER.public.key_id, predicate_type=name, signed_at_proven=None, now=NOW
        ).state
        for kind, name in PREDICATE_TYPES.items()
    }
    assert {kind for kind, state in states.items() if state == "ok"} == {"modification"}
    assert PREDICATE_TYPES["modification"] == "urn:peft-registry:modification:v3"


def test_a_trainer_key_that_may_approve_is_a_mistake():
    with pytest.raises(ValidationError):
        a_trusted_key(TRAINER, role="trainer", predicate_types=(APPROVAL,))


# --- strict reading


def payload_of(**changes) -> bytes:
    value = {**a_policy(roots=[ROOT]).to_json(), **changes}
    return json.dumps(value).encode()


def file_of(payload: bytes) -> bytes:
    return json.dumps({"payload": base64.b64encode(payload).decode(), "signatures": []}).encode()


OTHER_PEM = [{**a_trusted_key(ROOT, role="root").to_json(), "public_key_pem": SECOND.public.pem.decode()}]
WITNESS = a_trusted_key(TRAINER, role="witness").to_json()
MALFORMED = {
    "empty": b"",
    "not an object": b"[]",
    "unknown field": a_signed_file()[:-1] + b',"extra":1}',
    "duplicate field": a_signed_file()[:-1] + b',"payload":""}',
    "loose base64": a_signed_file().replace(b'"payload":"', b'"payload":" '),
    "two signatures by one key": json.dumps(
        {**json.loads(a_signed_file()), "signatures": json.loads(a_signed_file())["signatures"] * 2}
    ).encode(),
    "payload is no JSON": file_of(b"hello"),
    "key id of another key": file_of(payload_of(keys=OTHER_PEM)),
    "root that is not listed": file_of(payload_of(roots=["0" * 64])),
    "no roots": file_of(payload_of(roots=[])),
    "version zero": file_of(payload_of(version=0)),
    "local time": file_of(payload_of(expires_at="2027-01-01T00:00:00+01:00")),
    "later schema": file_of(payload_of(schema_version="3")),
    "form 2 outside a chain": file_of(payload_of(schema_version="2", keys=[])),
    "empty chain": b'{"chain":[]}',
    "chain of texts": b'{"chain":["a"]}',
    "chain with a field beside it": b'{"chain":[],"version":1}',
    "role of form 2 in form 1": file_of(payload_of(keys=[a_trusted_key(ROOT, role="root").to_json(), WITNESS])),
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_whatever_is_not_a_trust_file_is_broken(name):
    with pytest.raises(IntegrityBroken):
        load(MALFORMED[name])


def test_a_field_of_a_later_release_is_kept_and_covered_by_the_signature():
    policy = TrustPolicy.from_json({**a_policy(roots=[ROOT]).to_json(), "contact": "lab@example.org"})
    assert load(sign_trust(policy, [ROOT])).to_json()["contact"] == "lab@example.org"


@given(position=st.integers(0, len(a_signed_file()) * 8 - 1))
@settings(max_examples=200, deadline=None)
def test_no_flipped_bit_of_a_trust_file_passes(position):
    data = bytearray(a_signed_file())
    data[position // 8] ^= 1 << position % 8
    with pytest.raises((IntegrityBroken, TrustThresholdNotMet)):
        load(bytes(data))
