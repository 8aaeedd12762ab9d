"""Each statement is dated by its own entry in the log: a key may be replaced, expire or be stolen, and what was good stays good."""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.new_entries import PendingRejected
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.rotation import extended, next_draft, with_replacement
from peft_registry.registry.signing.trust import ExpiredKey, RevokedKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.transparency import note
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import append_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import Revocation, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import PAYLOAD_TYPE
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.homes import NOW, a_home, register_adapter, reopened
from tests.builders.signing import a_p256_key, an_ed25519_key

STATEMENTS = "evidence/statements.intoto.jsonl"
COMPLETE = "evidence/complete.tlog-proof"
PROOF = "evidence/log.tlog-proof"
MONTH_LATER, TWO_MONTHS_LATER = "2026-12-24T12:00:00Z", "2027-01-24T12:00:00Z"
BETWEEN, AFTER = "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"
YEARS_LATER = "2030-06-01T00:00:00Z"
RESULT = {"result": "PASSED", "configuration": []}


class Story:
    """A version, a test result of a month later, another of two months later, and the folder pulled then."""

    def __init__(self, folder: Path) -> None:
        self.home, self.pulled = folder / "home", folder / "pulled"
        with a_home(self.home) as registry:
            self.version = register_adapter(registry, folder)
            pull_version(registry, self.version, folder / "before")
        self.say(MONTH_LATER)
        self.say(TWO_MONTHS_LATER)
        registry = reopened(self.home, now=TWO_MONTHS_LATER)
        self.trust, self.origin = registry.trust, registry.origin
        pull_version(registry, self.version, self.pulled)
        registry.close()

    def say(self, now: str) -> None:
        registry = reopened(self.home, now=now)
        say(registry, self.version, now)
        registry.close()


def say(registry: Registry, version: Version, nonce: str) -> Digest:
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="test-result",
        predicate=RESULT | {"nonce": nonce},
        signer=registry.trainer_key,
    )
    return signed.digest


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    yield Story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def copy(story: Story, tmp_path: Path) -> Path:
    return Path(shutil.copytree(story.pulled, tmp_path / "copy"))


def key_of(trust: TrustPolicy, role: str) -> TrustedKey:
    return next(key for key in trust.keys if key.role == role)


def lasting(trust: TrustPolicy, *, but: str = "") -> TrustPolicy:
    """The trust file renewed for years, and every key with it but that of one role."""
    until = "2031-01-01T00:00:00Z"
    keys = tuple(key if key.role == but else key.revised(valid_until=until) for key in trust.keys)
    return trust.revised(keys=keys, expires_at=until)


def revoking(trust: TrustPolicy, role: str, **how: Any) -> TrustPolicy:
    stated = {"revoked_at": AFTER, "reason": "superseded", "kind": "routine"} | how
    revocation = Revocation(key_id=key_of(trust, role).key_id, **stated)
    return trust.revised(revocations=(*trust.revocations, revocation))


def verified(folder: Path, trust: TrustPolicy, *, now: str = YEARS_LATER) -> VerifyOutcome:
    return verify_folder(folder, trust=trust, now=now)


def error_of(outcome: VerifyOutcome, step: str) -> str | None:
    return next(check.error for check in outcome.checks if check.step == step)


# --- a key is replaced, or expires


def test_a_routine_rotation_leaves_what_the_trainer_key_said_good(story: Story) -> None:
    outcome = verified(story.pulled, revoking(lasting(story.trust), "trainer"))
    assert outcome.verdict == "verified", outcome


def test_an_expired_trainer_key_leaves_what_it_said_good(story: Story) -> None:
    outcome = verified(story.pulled, lasting(story.trust, but="trainer"))
    assert outcome.verdict == "verified", outcome


def test_an_expired_log_key_leaves_its_checkpoints_good(story: Story) -> None:
    outcome = verified(story.pulled, lasting(story.trust, but="log"))
    assert outcome.verdict == "verified", outcome


def test_a_routine_rotation_of_the_log_key_leaves_its_checkpoints_good(story: Story) -> None:
    outcome = verified(story.pulled, revoking(lasting(story.trust), "log"))
    assert outcome.verdict == "verified", outcome
    too_late = verified(story.pulled, revoking(lasting(story.trust), "log", revoked_at=BETWEEN))
    assert too_late.verdict == "broken" and error_of(too_late, "log") == "revoked-key"


def test_what_was_said_after_the_revocation_falls(story: Story) -> None:
    outcome = verified(story.pulled, revoking(lasting(story.trust), "trainer", revoked_at=BETWEEN))
    assert outcome.verdict == "broken" and error_of(outcome, "statements") == "revoked-key"
    only_first = verified(story.pulled, revoking(lasting(story.trust), "trainer", revoked_at="2026-12-01T00:00:00Z"))
    assert error_of(only_first, "trust") is None and error_of(only_first, "statements") == "revoked-key"


def test_a_folder_without_the_dates_does_not_date_later_statements(copy: Path, story: Story) -> None:
    """What an earlier release wrote: the list, and no entries."""
    edit(copy, lambda stated: stated.pop("entries"))
    assert verified(copy, story.trust, now=TWO_MONTHS_LATER).verdict == "verified"
    assert verified(copy, revoking(lasting(story.trust), "trainer")).verdict == "broken"


# --- a key is stolen


def test_a_stolen_retired_key_cannot_borrow_the_date_of_what_another_said(copy: Path, story: Story) -> None:
    stolen = a_p256_key(77)
    like = key_of(story.trust, "trainer")
    listed = like.revised(key_id=stolen.public.key_id, public_key_pem=stolen.public.pem.decode(), person="other")
    trust = lasting(story.trust.revised(keys=(*story.trust.keys, listed)))
    trust = trust.revised(
        revocations=(Revocation(key_id=listed.key_id, revoked_at=AFTER, reason="left", kind="routine"),)
    )
    path = copy / STATEMENTS
    lines = path.read_bytes().splitlines()
    payload = base64.b64decode(json.loads(lines[-1])["payload"])
    lines[-1] = dsse.sign(stolen, PAYLOAD_TYPE, payload).render()
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    outcome = verified(copy, trust)
    assert outcome.verdict == "broken" and error_of(outcome, "statements") == "revoked-key"


def test_a_stolen_key_cannot_add_a_statement_to_a_folder(copy: Path, story: Story) -> None:
    registry = reopened(story.home, now=TWO_MONTHS_LATER)
    forged = sign_statement(
        story.version.manifest_digest, "test-result", RESULT | {"nonce": "forged"}, registry.trainer_key
    )
    registry.close()
    path = copy / STATEMENTS
    path.write_bytes(path.read_bytes() + forged.line + b"\n")
    assert verified(copy, lasting(story.trust)).verdict == "broken"


def test_after_a_compromise_nothing_stays_good_by_a_log_of_the_same_person(story: Story) -> None:
    for since in (None, AFTER):
        trust = revoking(lasting(story.trust), "trainer", kind="compromise", since=since)
        outcome = verified(story.pulled, trust)
        assert outcome.verdict == "broken" and error_of(outcome, "trust") == "revoked-key"


def test_a_compromised_log_key_proves_nothing(story: Story) -> None:
    trust = revoking(lasting(story.trust), "log", kind="compromise", since=AFTER)
    outcome = verified(story.pulled, trust)
    assert outcome.verdict == "broken" and error_of(outcome, "log") == "revoked-key"


# --- edited proofs


def edit(folder: Path, change: Any) -> None:
    """Change what `extra` of the list holds."""
    path = folder / COMPLETE
    proof = note.parse_proof(path.read_text())
    assert proof.extra is not None
    stated = json.loads(proof.extra)
    change(stated)
    edited = note.Proof(proof.index, proof.hashes, proof.checkpoint_text, json.dumps(stated).encode())
    path.write_text(note.render_proof(edited))


EDITS = {
    "earlier time": lambda stated: stated["entries"][-1]["leaf"].update(at="2026-11-24T12:00:00Z"),
    "another key": lambda stated: stated["entries"][-1]["leaf"].update(key="0" * 64),
    "another index": lambda stated: stated["entries"][-1].update(index=0),
    "a hash": lambda stated: stated["entries"][-1]["hashes"].__setitem__(0, "0" * 64),
    "no hash": lambda stated: stated["entries"][-1].update(hashes=[]),
    "another statement": lambda stated: stated["entries"][-1]["leaf"].update(statement="sha256:" + "0" * 64),
    "another artifact": lambda stated: stated["entries"][-1]["leaf"].update(subject="sha256:" + "0" * 64),
    "a later snapshot": lambda stated: stated["leaf"].update(at="2026-11-24T12:00:00Z"),
}


@pytest.mark.parametrize("name", list(EDITS))
def test_a_date_that_was_edited_is_broken(copy: Path, story: Story, name: str) -> None:
    edit(copy, EDITS[name])
    assert verified(copy, story.trust, now=TWO_MONTHS_LATER).verdict == "broken"


# --- the log is kept by somebody else


@pytest.fixture(scope="module")
def kept_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """The same, with a log key of another person than the trainer's."""
    from peft_registry.registry.signing.rotation import extended, next_draft
    from peft_registry.registry.signing.trust import sign_trust  # noqa: F401
    from peft_registry.registry.signing.trust_chain import render_chain

    folder = tmp_path_factory.mktemp("elsewhere")
    with a_home(folder / "home") as registry:
        chain = registry.trust_chain
        draft = next_draft(chain.newest, now=NOW)
        keys = tuple(key.revised(person="ops") if key.role == "log" else key for key in draft.keys)
        signed = extended(chain, draft.revised(keys=keys), [registry.private_key("root")])
        (registry.folder / "trust.json").write_bytes(render_chain(signed))
    story = Story.__new__(Story)
    story.home, story.pulled = folder / "home", folder / "pulled"
    registry = reopened(story.home)
    story.version = register_adapter(registry, folder)
    registry.close()
    story.say(MONTH_LATER)
    registry = reopened(story.home, now=TWO_MONTHS_LATER)
    pull_version(registry, story.version, folder / "before")
    registry.close()
    story.say(TWO_MONTHS_LATER)
    registry = reopened(story.home, now=TWO_MONTHS_LATER)
    story.trust, story.origin = registry.trust, registry.origin
    pull_version(registry, story.version, story.pulled)
    registry.close()
    yield story


def test_what_somebody_else_covered_before_a_compromise_stays_good(kept_elsewhere: Story) -> None:
    trust = revoking(lasting(kept_elsewhere.trust), "trainer", kind="compromise", since=BETWEEN)
    before = verified(kept_elsewhere.pulled.parent / "before", trust)
    assert before.verdict == "verified", before
    after = verified(kept_elsewhere.pulled, trust)
    assert after.verdict == "broken" and error_of(after, "trust") is None
    assert error_of(after, "statements") == "revoked-key"


def test_an_entry_dated_back_by_a_stolen_key_falls_although_its_entry_says_before(
    kept_elsewhere: Story, tmp_path: Path
) -> None:
    """Whoever holds the key and the database dates an entry as they like; the first checkpoint over it has a time of its own."""
    home = Path(shutil.copytree(kept_elsewhere.home, tmp_path / "home"))
    (home / "keys" / "log.key").rename(tmp_path / "log.key")
    registry = reopened(home, now=TWO_MONTHS_LATER)
    dated_back = say(registry, kept_elsewhere.version, "dated back")
    registry.close()
    (tmp_path / "log.key").rename(home / "keys" / "log.key")
    registry = reopened(home, now=AFTER)
    publish_checkpoint(registry)
    pull_version(registry, kept_elsewhere.version, tmp_path / "pulled")
    registry.close()
    stated = json.loads(note.parse_proof((tmp_path / "pulled" / COMPLETE).read_text()).extra or b"")
    entry = next(entry for entry in stated["entries"] if entry["leaf"]["statement"] == str(dated_back))
    since = "2027-01-30T00:00:00Z"
    assert entry["leaf"]["at"] < since
    trust = revoking(lasting(kept_elsewhere.trust), "trainer", kind="compromise", since=since)
    assert verified(kept_elsewhere.pulled, trust).verdict == "verified"
    outcome = verified(tmp_path / "pulled", trust)
    assert outcome.verdict == "broken" and error_of(outcome, "statements") == "revoked-key"


EARLIER_EDITS = {
    "the time of the snapshot": lambda stated: stated["earlier"][0]["leaf"].update(at="2020-01-01T00:00:00Z"),
    "the text": lambda stated: stated["earlier"][0].update(text=stated["earlier"][1]["text"]),
    "no consistency": lambda stated: stated["earlier"][0].update(consistency=[]),
    "one of them twice": lambda stated: stated["earlier"].append(stated["earlier"][0]),
}


@pytest.mark.parametrize("name", list(EARLIER_EDITS))
def test_an_earlier_checkpoint_that_was_edited_is_broken(kept_elsewhere: Story, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(kept_elsewhere.pulled, tmp_path / "copy"))
    edit(folder, EARLIER_EDITS[name])
    assert verified(folder, kept_elsewhere.trust, now=TWO_MONTHS_LATER).verdict == "broken"


def test_an_earlier_checkpoint_left_out_proves_less_and_breaks_nothing(kept_elsewhere: Story, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kept_elsewhere.pulled.parent / "before", tmp_path / "copy"))
    edit(folder, lambda stated: stated.pop("earlier"))
    assert verified(folder, kept_elsewhere.trust, now=TWO_MONTHS_LATER).verdict == "verified"
    trust = revoking(lasting(kept_elsewhere.trust), "trainer", kind="compromise", since=MONTH_LATER)
    assert verified(folder, trust).verdict == "broken"


# --- somebody left, and still has their key and a way into the database


@pytest.mark.parametrize("kind", ["routine", "compromise"])
def test_who_left_cannot_date_a_statement_before_they_left(tmp_path: Path, kind: str) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
    (registry.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    registry = reopened(registry.folder, now="2026-12-01T00:00:00Z")  # what they write, whenever they write it
    say(registry, version, "dated back")
    registry.close()
    (tmp_path / "log.key").rename(registry.folder / "keys" / "log.key")
    registry = reopened(registry.folder, now=TWO_MONTHS_LATER)
    trust = revoking(registry.trust, "trainer", revoked_at=MONTH_LATER, reason="left the team", kind=kind)
    chain = extended(
        registry.trust_chain,
        next_draft(registry.trust_chain.newest, now=TWO_MONTHS_LATER).revised(revocations=trust.revocations),
        [registry.private_key("root")],
    )
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    registry.close()
    registry = reopened(registry.folder, now=TWO_MONTHS_LATER)
    with pytest.raises(IntegrityBroken, match="left the team"):
        publish_checkpoint(registry)
    signed = sign_log(registry)
    assert (signed.exit_code, [entry.person for entry in signed.refused]) == (6, ["lab-1"])
    registry.close()


def test_whose_key_expired_cannot_date_a_statement_before_it_did(tmp_path: Path) -> None:
    """An entry may be dated like the last one that is covered, and then the key still counted."""
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        trust = registry.trust
        keys = tuple(key.revised(valid_until=MONTH_LATER) if key.role == "trainer" else key for key in trust.keys)
        chain = extended(
            registry.trust_chain,
            next_draft(registry.trust_chain.newest, now=NOW).revised(keys=keys),
            [registry.private_key("root")],
        )
        (registry.folder / "trust.json").write_bytes(render_chain(chain))
    registry = reopened(registry.folder, now=TWO_MONTHS_LATER)
    with pytest.raises(ExpiredKey):
        say(registry, version, "late")
    late = sign_statement(version.manifest_digest, "test-result", RESULT | {"nonce": "late"}, registry.trainer_key)
    with registry.database.write() as tx:
        record_statement(tx, version.manifest_digest, late, at=NOW)
    with pytest.raises(PendingRejected, match=f"its key counted until {MONTH_LATER}"):
        publish_checkpoint(registry)
    registry.close()


# --- a successor of the log key


def test_a_new_log_key_signs_over_what_a_revoked_one_signed(tmp_path: Path) -> None:
    new = an_ed25519_key(9)
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        chain, old = registry.trust_chain, key_of(registry.trust, "log")
        listed = old.revised(key_id=new.public.key_id, public_key_pem=new.public.pem.decode())
        stolen = Revocation(key_id=old.key_id, revoked_at=NOW, reason="stolen", kind="compromise")
        draft = with_replacement(next_draft(chain.newest, now=NOW), stolen, listed)
        signed = extended(chain, draft, [registry.private_key("root")])
        (registry.folder / "trust.json").write_bytes(render_chain(signed))
        (registry.folder / "keys" / "log.key").unlink()
        new.save(registry.folder / "keys" / "log.key", None)
    registry = reopened(tmp_path / "home")
    with pytest.raises(RevokedKey, match="revoked"):
        version_named(registry, version.name)
    size = publish_checkpoint(registry)
    assert publish_checkpoint(registry) == size
    assert version_named(registry, version.name) == version
    pull_version(registry, version, tmp_path / "pulled")
    outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    registry.close()
    assert outcome.verdict == "verified", outcome
