"""A trust file is a chain of versions: who follows one can follow all later ones, and nobody else can continue it.

The attacks carry the names of TUF's specification (section 5.3, update of the root role).
"""

import json

import pytest
from pydantic import ValidationError

from peft_registry.registry.signing.rotation import (
    KeyListed,
    KeyNotListed,
    PersonLooksListed,
    RootNotReplaceable,
    WiderThanRole,
    extended,
    missing_signatures,
    next_draft,
    require_distinct_person,
    says_the_same,
    with_expiry,
    with_key,
    with_replacement,
    with_revocation,
)
from peft_registry.registry.signing.trust import (
    Covered,
    ProvenTime,
    TrustAnchors,
    TrustExpired,
    UnknownRoot,
    current_policy,
    key_status,
    open_chain,
    sign_trust,
)
from peft_registry.registry.signing.trust_chain import (
    MalformedTrust,
    TrustChain,
    TrustRolledBack,
    TrustStepBroken,
    TrustThresholdNotMet,
    countersigned,
    parse_chain,
    render_chain,
    require_signed,
    sign_version,
)
from peft_registry.schemas.policy import CHECKPOINT_TYPE, OMS_PREDICATE_TYPE, Revocation, role_covers
from tests.builders.signing import (
    BEFORE,
    LATER,
    NOW,
    a_chain,
    a_form_2_policy,
    a_p256_key,
    a_policy,
    a_trusted_key,
    an_ed25519_key,
    one_more,
)

ROOT, SECOND, THIRD, STRANGER = (a_p256_key(seed) for seed in (11, 12, 13, 66))
TRAINER, NEW_TRAINER = a_p256_key(1), a_p256_key(3)
LOG = an_ed25519_key()
MINE = TrustAnchors(file_given_by_user=True)
PROVENANCE, APPROVAL = "https://slsa.dev/provenance/v1", "urn:peft-registry:approval:v1"
FIRST = a_chain(a_form_2_policy(a_trusted_key(TRAINER), roots=[ROOT]), ROOT)
TWO_ROOTS = a_form_2_policy(roots=[ROOT, SECOND], threshold=2)
NEXT_YEAR = "2127-01-01T00:00:00Z"


def load(chain, anchors=MINE, *, now=NOW, accepted_version=None):
    return current_policy(open_chain(render_chain(chain), anchors=anchors, accepted_version=accepted_version), now=now)


def of(key, *, kind="routine", revoked_at=NOW, since=None, reason="superseded"):
    return Revocation(key_id=key.public.key_id, revoked_at=revoked_at, reason=reason, kind=kind, since=since)


def root(key, person="root-holder-9"):
    return a_trusted_key(key, person=person, role="root", predicate_types=None, valid_until=NEXT_YEAR)


# --- the form


def test_a_chain_is_read_as_it_was_written():
    chain = one_more(one_more(FIRST, ROOT), ROOT)
    assert parse_chain(render_chain(chain)) == chain
    assert load(chain).version == 3


def test_a_file_of_form_1_is_written_as_it_was_and_can_begin_a_chain():
    form_1 = a_policy(a_trusted_key(TRAINER, predicate_types=(PROVENANCE,)), roots=[ROOT])
    kept = sign_trust(form_1, [ROOT])
    assert set(json.loads(kept)) == {"payload", "signatures"}
    chain = parse_chain(kept)
    assert render_chain(chain) == kept
    longer = one_more(chain, ROOT)
    assert parse_chain(render_chain(longer)).first.payload == chain.first.payload
    policy = load(longer)
    assert (policy.schema_version, policy.version) == ("2", 2)
    assert policy.key(TRAINER.public.key_id).predicate_types is None


def test_a_version_of_form_1_cannot_follow_another():
    before = parse_chain(sign_trust(a_policy(roots=[ROOT]), [ROOT]))
    after = parse_chain(sign_trust(a_policy(roots=[ROOT], version=2), [ROOT]))
    with pytest.raises(TrustStepBroken):
        require_signed(TrustChain((*before.versions, *after.versions)))


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": [a_trusted_key(ROOT, role="root", person="root-holder-0").to_json()]},  # with predicate types
        {"revocations": [{"key_id": TRAINER.public.key_id, "revoked_at": NOW, "reason": "left"}]},
        {"revocations": [{"key_id": "0" * 64, "revoked_at": NOW, "reason": "left", "kind": "routine"}]},
        {"revocations": [of(TRAINER).to_json() | {"since": BEFORE}]},
        {"revocations": [of(TRAINER, kind="compromise").to_json() | {"since": LATER}]},
    ],
    ids=["types", "no kind", "unlisted", "routine since", "since after"],
)
def test_a_form_2_that_contradicts_itself_is_no_trust_file(changes):
    payload = FIRST.newest.policy.to_json() | changes
    with pytest.raises(ValidationError):
        type(FIRST.newest.policy).from_json(payload)


# --- the attacks


def test_rollback_to_an_older_version_is_refused():
    with pytest.raises(TrustRolledBack) as caught:
        load(FIRST, accepted_version=2)
    assert caught.value.exit_code == 6
    lower = sign_version(one_more(FIRST, ROOT).newest.policy.revised(version=1), [ROOT])
    with pytest.raises(TrustRolledBack):
        require_signed(TrustChain((*FIRST.versions, lower)))


def test_freeze_at_an_expired_version_decides_nothing():
    with pytest.raises(TrustExpired) as caught:
        load(one_more(FIRST, ROOT), now=LATER)
    assert caught.value.exit_code == 5


def test_fast_forward_to_the_highest_number_is_refused():
    with pytest.raises(TrustStepBroken) as caught:
        load(one_more(FIRST, ROOT, version=2**53 - 1))
    assert caught.value.exit_code == 6
    with pytest.raises(TrustStepBroken):
        load(one_more(FIRST, ROOT, version=3))


def test_mix_and_match_of_two_chains_of_one_root_is_refused():
    here = one_more(FIRST, ROOT, threshold=1)
    elsewhere = one_more(FIRST, ROOT, expires_at="2027-06-01T00:00:00Z")
    third = one_more(elsewhere, ROOT).newest
    assert load(TrustChain((*elsewhere.versions, third))).version == 3
    with pytest.raises(TrustStepBroken) as caught:
        load(TrustChain((*here.versions, third)))
    assert caught.value.exit_code == 6


def test_a_version_that_the_threshold_before_did_not_sign_is_not_followed():
    chain = a_chain(TWO_ROOTS, ROOT, SECOND)
    assert load(one_more(chain, ROOT, SECOND)).version == 2
    changed = {"keys": (root(THIRD), *TWO_ROOTS.keys), "threshold": 1}
    for signers in ([ROOT], [ROOT, THIRD], [STRANGER, THIRD], [ROOT, ROOT], []):
        with pytest.raises(TrustThresholdNotMet) as caught:
            load(one_more(chain, *signers, **changed))
        assert caught.value.exit_code == 5


def test_a_version_that_its_own_threshold_did_not_sign_is_not_followed():
    roots = {"keys": (*FIRST.newest.policy.keys, root(SECOND), root(THIRD, "third"))}
    roots |= {"roots": (ROOT.public.key_id, SECOND.public.key_id), "threshold": 2}
    with pytest.raises(TrustThresholdNotMet):
        load(one_more(FIRST, ROOT, **roots))
    assert load(one_more(FIRST, ROOT, SECOND, **roots)).threshold == 2


def test_a_stranger_cannot_continue_a_chain_or_stand_before_it():
    takeover = {"keys": (root(STRANGER),), "roots": (STRANGER.public.key_id,)}
    with pytest.raises(TrustThresholdNotMet):
        load(one_more(FIRST, STRANGER, **takeover))
    stranger = a_chain(a_form_2_policy(roots=[STRANGER]), STRANGER)
    with pytest.raises(TrustThresholdNotMet):
        load(TrustChain((*stranger.versions, one_more(FIRST, ROOT).newest)))


def test_a_root_that_was_replaced_cannot_continue_the_chain():
    roots = {"keys": (*FIRST.newest.policy.keys, root(SECOND)), "roots": (SECOND.public.key_id,)}
    chain = one_more(FIRST, ROOT, SECOND, **roots)
    with pytest.raises(TrustThresholdNotMet):
        load(one_more(chain, ROOT))
    assert load(one_more(chain, SECOND)).version == 3


def test_a_version_dated_before_the_one_that_it_follows_is_refused():
    chain = one_more(FIRST, ROOT)
    with pytest.raises(TrustStepBroken):
        load(one_more(chain, ROOT, issued_at=BEFORE))


def test_any_number_of_steps_is_followed_from_a_root_that_was_replaced_long_ago():
    chain, key = FIRST, ROOT
    for seed in range(20, 26):
        new = a_p256_key(seed)
        roots = {"keys": (*FIRST.newest.policy.keys[1:], root(new)), "roots": (new.public.key_id,)}
        chain, key = one_more(chain, key, new, **roots), new
    assert load(chain, TrustAnchors(root_key_ids=frozenset({ROOT.public.key_id}))).version == 7
    with pytest.raises(UnknownRoot):
        load(chain, TrustAnchors(root_key_ids=frozenset({STRANGER.public.key_id})))


def test_a_step_that_was_taken_out_of_the_middle_is_missed():
    chain = one_more(one_more(FIRST, ROOT), ROOT)
    with pytest.raises(TrustStepBroken):
        load(TrustChain((chain.first, chain.newest)))
    # the end alone is a file that nobody can hold against what was known
    with pytest.raises(MalformedTrust):
        parse_chain(b'{"chain":{}}')


# --- making the next version


def test_an_expired_file_is_renewed_by_the_root_that_expired_with_it():
    with pytest.raises(TrustExpired):
        next_draft(FIRST.newest, now=NEXT_YEAR)
    now, until = "2127-03-01T00:00:00Z", "2128-03-01T00:00:00Z"
    draft = with_expiry(next_draft(FIRST.newest, now=now, expires_at=until), FIRST.newest.policy)
    chain = extended(FIRST, draft, [ROOT])
    assert missing_signatures(chain) is None
    policy = load(chain, now=now)
    assert {key.valid_until for key in policy.keys} == {until}


def test_a_renewal_prolongs_neither_a_key_with_a_date_of_its_own_nor_a_revoked_one():
    short = a_trusted_key(NEW_TRAINER, predicate_types=None, valid_until="2027-01-01T00:00:00Z")
    chain = extended(FIRST, with_revocation(with_key(next_draft(FIRST.newest, now=NOW), short), of(TRAINER)), [ROOT])
    draft = next_draft(chain.newest, now=NOW, expires_at=NEXT_YEAR)
    renewed = {key.key_id: key.valid_until for key in with_expiry(draft, chain.newest.policy).keys}
    assert renewed[NEW_TRAINER.public.key_id] == "2027-01-01T00:00:00Z"
    assert renewed[TRAINER.public.key_id] == LATER
    assert renewed[ROOT.public.key_id] == NEXT_YEAR


def test_a_draft_that_changes_nothing_is_seen_to_change_nothing():
    draft = next_draft(FIRST.newest, now=NOW)
    assert says_the_same(FIRST.newest, draft)
    assert says_the_same(FIRST.newest, with_key(draft, FIRST.newest.policy.keys[1]))
    revoked = with_revocation(draft, of(TRAINER))
    assert not says_the_same(FIRST.newest, revoked)
    assert with_revocation(revoked, of(TRAINER, reason="again")) == revoked


def test_a_key_has_one_role_and_one_holder_and_a_revoked_one_does_not_come_back():
    draft = next_draft(FIRST.newest, now=NOW)
    for other in ({"role": "approver"}, {"person": "somebody else"}):
        with pytest.raises(KeyListed) as caught:
            with_key(draft, a_trusted_key(TRAINER, predicate_types=None, **other))
        assert caught.value.exit_code == 7
    with pytest.raises(KeyListed):
        with_key(with_revocation(draft, of(TRAINER)), a_trusted_key(TRAINER, predicate_types=None))


@pytest.mark.parametrize("twin", ["Lab-1", "lab-1 ", "l\u0430b-1", "lab\u20111", "lab\u200b-1"])
def test_nobody_is_listed_under_a_name_that_people_take_for_that_of_another(twin):
    """Two keys of one person count once, and so they would count twice."""
    draft = next_draft(FIRST.newest, now=NOW)
    person = "lab-1"
    assert person in [key.person for key in draft.keys]
    require_distinct_person(draft, person)
    require_distinct_person(draft, "lab-11")
    with pytest.raises(PersonLooksListed) as refused:
        require_distinct_person(draft, twin)
    assert (refused.value.exit_code, refused.value.listed) == (7, person)


def test_what_is_not_listed_is_not_revoked_and_the_last_root_is_not_revoked_without_another():
    draft = next_draft(FIRST.newest, now=NOW)
    with pytest.raises(KeyNotListed):
        with_revocation(draft, of(STRANGER))
    with pytest.raises(RootNotReplaceable):
        with_revocation(draft, of(ROOT))
    replaced = with_replacement(draft, of(ROOT), root(SECOND))
    assert replaced.roots == (SECOND.public.key_id,)
    chain = extended(FIRST, replaced, [ROOT, SECOND])
    assert load(chain).revocation(ROOT.public.key_id) is not None


def test_who_else_has_to_sign_is_named():
    chain = a_chain(TWO_ROOTS, ROOT, SECOND)
    partly = extended(chain, next_draft(chain.newest, now=NOW), [ROOT, TRAINER])
    assert TRAINER.public.key_id not in partly.newest.signatures
    missing = missing_signatures(partly)
    assert missing is not None and missing.persons == ("root-holder-1",)
    whole = TrustChain((*partly.versions[:-1], countersigned(partly.newest, SECOND)))
    assert missing_signatures(whole) is None
    assert load(whole).version == 2


def test_a_form_1_that_lets_a_key_sign_more_than_its_role_stays_form_1():
    wider = a_policy(a_trusted_key(TRAINER, predicate_types=("https://example.org/other",)), roots=[ROOT])
    with pytest.raises(WiderThanRole):
        next_draft(sign_version(wider, [ROOT]), now=NOW)


# --- roles and revocations


@pytest.mark.parametrize(
    ("role", "predicate_type", "covers"),
    [
        ("trainer", PROVENANCE, True),
        ("trainer", OMS_PREDICATE_TYPE, True),
        ("trainer", "urn:peft-registry:card:v7", True),
        ("trainer", APPROVAL, False),
        ("trainer", "urn:peft-registry:approval:v2", False),
        ("trainer", "urn:peft-registry:card:v0", False),
        ("trainer", "urn:peft-registry:card:v1/approval:v1", False),
        ("evaluator", OMS_PREDICATE_TYPE, False),
        ("approver", "urn:peft-registry:approval:v2", True),
        ("officer", "urn:peft-registry:hold:v1", True),
        ("officer", APPROVAL, False),
        ("log", CHECKPOINT_TYPE, True),
        ("witness", CHECKPOINT_TYPE, True),
        ("log", PROVENANCE, False),
        ("root", CHECKPOINT_TYPE, False),
    ],
)
def test_a_role_covers_the_kinds_of_every_version_and_nothing_else(role, predicate_type, covers):
    assert role_covers(role, predicate_type) is covers


def state(revocation, proven, *, now=NOW):
    policy = with_revocation(next_draft(FIRST.newest, now=NOW), revocation)
    return key_status(policy, TRAINER.public.key_id, predicate_type=PROVENANCE, signed_at_proven=proven, now=now).state


EARLY, SINCE = "2026-03-01T00:00:00Z", "2026-06-01T00:00:00Z"


@pytest.mark.parametrize(
    ("kind", "since", "proven", "expected"),
    [
        ("routine", None, ProvenTime(EARLY), "ok"),
        ("routine", None, ProvenTime(NOW), "revoked"),
        ("routine", None, None, "revoked"),
        ("compromise", None, ProvenTime(EARLY, (Covered(EARLY, "ops"),)), "revoked"),
        ("compromise", SINCE, ProvenTime(EARLY), "revoked"),
        ("compromise", SINCE, ProvenTime(EARLY, (Covered(EARLY, "lab-1"),)), "revoked"),
        ("compromise", SINCE, ProvenTime(EARLY, (Covered(SINCE, "ops"),)), "revoked"),
        ("compromise", SINCE, ProvenTime(EARLY, (Covered(EARLY, "ops"),)), "ok"),
        ("compromise", SINCE, ProvenTime(EARLY, (Covered(EARLY, "lab-1"), Covered(EARLY, "ops"))), "ok"),
        ("compromise", SINCE, None, "revoked"),
    ],
)
def test_what_a_revoked_key_signed_stays_good_only_by_the_word_of_somebody_else(kind, since, proven, expected):
    assert state(of(TRAINER, kind=kind, since=since, reason="stolen laptop"), proven) == expected


def test_a_compromise_counts_more_than_a_routine_revocation_and_the_earlier_one_most():
    draft = with_revocation(next_draft(FIRST.newest, now=NOW), of(TRAINER))
    later = with_revocation(draft, of(TRAINER, kind="compromise", since=SINCE))
    assert later.revocation(TRAINER.public.key_id).since == SINCE
    assert with_revocation(later, of(TRAINER)) == later
    policy = later.revised(revocations=(*later.revocations, of(TRAINER, kind="compromise")))
    assert policy.revocation(TRAINER.public.key_id).since is None


def test_a_word_of_a_reason_decides_only_in_form_1():
    assert state(of(TRAINER, reason="not compromised, only old"), ProvenTime(EARLY)) == "ok"


def test_a_chain_that_has_expired_can_be_opened_and_not_used():
    chain = open_chain(render_chain(FIRST), anchors=MINE, accepted_version=None)
    assert chain.newest.policy.version == 1
