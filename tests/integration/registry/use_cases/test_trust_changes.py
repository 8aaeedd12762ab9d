"""`registry trust` by its commands: nothing is half written, a repeated call changes nothing, several roots sign in turn."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database.log_store import append_event
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.signing.keys import PrivateKey, PublicKey
from peft_registry.registry.signing.rotation import extended, next_draft
from peft_registry.registry.signing.trust_chain import parse_chain, render_chain
from peft_registry.registry.use_cases import rotate_key, trust
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEvent
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import timestamp
from tests.builders.backends import MadeHome
from tests.builders.homes import register_adapter, reopened
from tests.builders.signing import a_p256_key, an_ed25519_key

LONG_AGO = "2020-01-01T00:00:00Z"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with a state folder of their own, in an empty folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def home(place: Path) -> Path:
    assert run(["init", "--unencrypted", "--no-example"]) == 0
    return place / ".registry"


def public(folder: Path, seed: int) -> str:
    path = folder / f"key-{seed}.pem"
    path.write_bytes(a_p256_key(seed).public.pem)
    return str(path)


def changed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*words, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]


def keys_of(home: Path) -> dict[str, Any]:
    policy = parse_chain((home / "trust.json").read_bytes()).newest.policy
    return {key.key_id: key for key in policy.keys}


def test_a_second_person_is_added_and_revoked_and_the_same_call_changes_nothing(
    home: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = a_p256_key(5).public
    add = ["trust", "add", public(place, 5), "--person", "risk", "--role", "approver"]
    assert changed(capsys, *add)["state"] == "accepted"
    file = (home / "trust.json").read_bytes()
    assert changed(capsys, *add)["state"] == "unchanged"
    assert (home / "trust.json").read_bytes() == file
    assert keys_of(home)[key.key_id].person == "risk"
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    assert changed(capsys, *add, "--until", until)["version"] == 3
    assert keys_of(home)[key.key_id].valid_until == f"{until}T00:00:00Z"
    revoke = ["trust", "revoke", f"sha256:{key.key_id}", "--reason", "left", "--routine"]
    assert changed(capsys, *revoke)["version"] == 4
    assert changed(capsys, *revoke)["state"] == "unchanged"
    assert run(add) == 7
    assert run(["list"]) == 0 and run(["trust", "show"]) == 0
    assert "routine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["revoke", "sha256:" + "0" * 64, "--reason", "x", "--routine"], 7),
        (["revoke", "", "--reason", "x", "--routine"], 7),
        (["revoke", "{trainer}", "--reason", "x"], 2),
        (["revoke", "{trainer}", "--reason", "x", "--routine", "--since", "2026-01-01"], 2),
        (["revoke", "{trainer}", "--reason", "x", "--compromise", "--since", "yesterday"], 2),
        (["revoke", "{root}", "--reason", "x", "--routine"], 2),
        (["add", "{pem}", "--person", "p", "--role", "log"], 2),
        (["add", "{pem}", "--person", "p", "--role", "king"], 2),
        (["add", "nothing.pem", "--person", "p", "--role", "approver"], 7),
        (["renew", "--days", "0"], 2),
        (["renew", "--file", "trust.json"], 2),
        (["sign", "nothing.json", "--root-key", "nothing.key"], 7),
        (["update", "nothing.json"], 7),
        (["rotate", "approver"], 2),
        (["rotate", "log", "--root-key", "{other}"], 5),
        (["pin", "--accept", "sha256:00"], 2),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else str(value),
)
def test_what_cannot_be_done_ends_with_its_code_and_changes_nothing(
    home: Path, place: Path, words: list[str], code: int
) -> None:
    by_role = {key.role: key.key_id for key in keys_of(home).values()}
    other = place / "other.key"
    a_p256_key(9).save(other, None)
    given = {
        "{trainer}": by_role["trainer"],
        "{root}": by_role["root"],
        "{pem}": public(place, 6),
        "{other}": str(other),
    }
    before = (home / "trust.json").read_bytes()
    if words[:2] == ["rotate", "log"]:
        (home / "keys" / "root.key").unlink()
        code = 7
    assert run(["trust", *[given.get(word, word) for word in words]]) == code
    assert (home / "trust.json").read_bytes() == before


def test_two_roots_sign_one_after_another(home: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    second = place / "second.key"
    a_p256_key(7).save(second, None)
    add = ["trust", "add", public(place, 7), "--person", "second", "--role", "root", "--threshold", "2"]
    waiting = changed(capsys, *add)
    assert waiting["state"] == "waiting" and waiting["waits_for"] == ["second"]
    assert len(parse_chain((home / "trust.json").read_bytes()).versions) == 1
    assert changed(capsys, *add)["state"] == "waiting"
    assert run(["trust", "update", waiting["file"]]) == 5
    assert run(["list"]) == 0
    signed = changed(capsys, "trust", "sign", waiting["file"], "--root-key", str(second))
    assert signed["complete"]
    assert changed(capsys, "trust", "update", waiting["file"])["state"] == "accepted"
    assert changed(capsys, "trust", "show")["threshold"] == 2
    assert not (home / "trust-next.json").exists()
    stranger = place / "stranger.key"
    a_p256_key(8).save(stranger, None)
    assert changed(capsys, "trust", "renew", "--days", "700")["state"] == "waiting"
    assert run(["trust", "sign", str(home / "trust-next.json"), "--root-key", str(stranger)]) == 7


def test_an_update_that_does_not_continue_the_homes_chain_is_refused(home: Path, place: Path) -> None:
    chain = parse_chain((home / "trust.json").read_bytes())
    root = PrivateKey.load(home / "keys" / "root.key")
    now = chain.newest.policy.issued_at
    longer = extended(chain, next_draft(chain.newest, now=now), [root])
    other = extended(chain, next_draft(chain.newest, now=now, expires_at="2100-01-01T00:00:00Z"), [root])
    for name, content in {"longer": longer, "other": other, "older": chain}.items():
        (place / f"{name}.json").write_bytes(render_chain(content))
    assert run(["trust", "update", "longer.json"]) == 0
    assert run(["trust", "update", "longer.json"]) == 0
    assert run(["trust", "update", "other.json"]) == 6
    assert run(["trust", "update", "older.json"]) == 6
    assert parse_chain((home / "trust.json").read_bytes()) == longer


def test_a_trust_file_apart_from_any_registry(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "init", "org.json", "--person", "board", "--unencrypted"]) == 0
    assert run(["trust", "init", "org.json", "--person", "board", "--unencrypted"]) == 7
    at = ["--file", "org.json", "--root-key", "root.key"]
    log = place / "log.pem"
    log.write_bytes(an_ed25519_key().public.pem)
    assert changed(capsys, "trust", "add", str(log), "--person", "ops", "--role", "log", *at)["version"] == 2
    key_id = an_ed25519_key().public.key_id
    revoke = ["trust", "revoke", key_id[:12], "--reason", "stolen", "--compromise", "--since", "2026-01-01", *at]
    assert changed(capsys, *revoke)["version"] == 3
    assert changed(capsys, "trust", "renew", "--days", "800", *at)["version"] == 4
    assert changed(capsys, "trust", "renew", "--days", "800", *at)["state"] == "unchanged"
    assert run(["trust", "pin", "--trust", "org.json"]) == 0
    policy = parse_chain((place / "org.json").read_bytes()).newest.policy
    revocation = policy.revocation(key_id)
    assert revocation is not None and revocation.since == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("role", ["trainer", "log", "root"])
def test_a_key_is_replaced_and_the_registry_goes_on(home: Path, place: Path, role: str) -> None:
    registry = reopened(home, now=parse_chain((home / "trust.json").read_bytes()).newest.policy.issued_at)
    register_adapter(registry, place / "first")
    registry.close()
    old = PublicKey.parse((home / "keys" / f"{role}.pub").read_bytes())
    assert run(["trust", "rotate", role]) == 0
    new = PublicKey.parse((home / "keys" / f"{role}.pub").read_bytes())
    assert new != old and PrivateKey.load(home / "keys" / f"{role}.key").public == new
    assert PrivateKey.load(home / "keys" / f"{role}-{old.key_id[:16]}.key").public == old
    policy = parse_chain((home / "trust.json").read_bytes()).newest.policy
    assert policy.revocation(old.key_id) is not None and policy.revocation(new.key_id) is None
    assert run(["promote", "helper:1", "champion", "--policy", "none"]) == 0
    assert run(["verify", "helper@champion"]) == 0
    assert run(["trust", "renew", "--days", "500"]) == 0


@pytest.mark.parametrize(
    ("module", "killed_before"),
    [(trust, "write_atomically"), (rotate_key, "finish_rotations")],
    ids=["trust", "rotate"],
)
def test_a_rotation_that_was_killed_is_completed_by_the_next_call(
    home: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, killed_before: str
) -> None:
    class Killed(BaseException):
        pass

    calls = []

    def kill(*arguments: Any, **_: Any) -> None:
        calls.append(arguments)
        is_trust_file = bool(arguments) and arguments[0] == home / "trust.json"
        if is_trust_file or (killed_before == "finish_rotations" and len(calls) > 1):
            raise Killed
        return None if killed_before == "finish_rotations" else kept(*arguments)

    kept = getattr(module, killed_before)
    old = PublicKey.parse((home / "keys" / "trainer.pub").read_bytes())
    registry = open_home(home)
    with monkeypatch.context() as patch:
        patch.setattr(module, killed_before, kill)
        with pytest.raises(Killed):
            rotate_key.rotate_key(registry, "trainer", root_key=None)
    registry.close()
    assert PrivateKey.load(home / "keys" / "trainer.key").public == old
    assert (home / "keys" / "trainer.next.key").exists()
    assert run(["trust", "rotate", "trainer"]) == 0
    new = PublicKey.parse((home / "keys" / "trainer.pub").read_bytes())
    assert new != old and PrivateKey.load(home / "keys" / "trainer.key").public == new
    chain = parse_chain((home / "trust.json").read_bytes())
    assert [key.role for key in chain.newest.policy.keys].count("trainer") == 2
    assert not list((home / "keys").glob("*.next.*"))
    assert not rotate_key.finish_rotations(home, chain.newest.policy)


@pytest.mark.parametrize(("days_left", "reminds"), [(20, True), (40, False)])
def test_thirty_days_before_it_expires_every_command_says_so(
    place: Path, days_left: int, reminds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = timestamp(datetime.now(UTC) - timedelta(days=365 - days_left))
    make_home(NewHome(place / ".registry", OrganisationProfile(), "lab-1", None), now=made)
    for words in (["list"], ["trust", "show"], ["log", "show"]):
        capsys.readouterr()
        assert run([*words, "--home", str(place / ".registry")]) == 0
        said = capsys.readouterr()
        assert ("the trust file expires at" in said.err) is reminds
        assert "expires at" not in said.out


def test_a_year_passes_and_one_command_opens_the_registry_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_home(NewHome(place / ".registry", OrganisationProfile(), "lab-1", None), now=LONG_AGO)
    registry = reopened(place / ".registry", now=LONG_AGO)
    register_adapter(registry, place / "first")
    registry.close()
    named = ["--home", str(place / ".registry")]
    for words in (["verify", "helper:1"], ["report", "helper:1"], ["pull", "helper:1", "out"], ["trust", "show"]):
        assert run([*words, *named]) == 5, words
    assert "expired" in capsys.readouterr().out
    assert run(["trust", "renew", *named]) == 0
    for words in (["verify", "helper:1"], ["report", "helper:1"], ["pull", "helper:1", "out"], ["trust", "show"]):
        assert run([*words, *named]) == 0, words


def test_an_entry_that_somebody_dated_years_ahead_puts_no_revocation_off(home: Path, place: Path) -> None:
    """A revoked key counts for what is older: dated ahead, its revocation would come into force when nobody looks any more."""
    registry = reopened(home, now=parse_chain((home / "trust.json").read_bytes()).newest.policy.issued_at)
    subject = register_adapter(registry, place).manifest_digest
    forged = LogEvent(
        kind="recall", subject=subject, statement=Digest.of(b"x"), key="0" * 64, at="2099-01-01T00:00:00Z"
    )
    with registry.database.write() as tx:
        append_event(tx, forged.to_canonical())
    registry.close()
    trainer = next(key_id for key_id, key in keys_of(home).items() if key.role == "trainer")
    assert run(["trust", "revoke", trainer, "--reason", "left", "--routine"]) == 0
    (revocation,) = parse_chain((home / "trust.json").read_bytes()).newest.policy.revocations
    soon = timestamp(datetime.now(UTC) + timedelta(minutes=6))
    assert revocation.revoked_at < soon


def test_the_newest_entry_dated_ahead_in_the_database_revokes_nothing(home: Path, place: Path) -> None:
    registry = reopened(home, now=parse_chain((home / "trust.json").read_bytes()).newest.policy.issued_at)
    register_adapter(registry, place)
    registry.close()
    with MadeHome(home).rows() as rows:
        newest = rows.run("SELECT max(seq) FROM log_events").scalar_one()
        leaf = bytes(rows.run("SELECT leaf FROM log_events WHERE seq = :seq", seq=newest).scalar_one())
        ahead = re.sub(rb'"at":"[0-9]{4}-', b'"at":"2099-', leaf)
        rows.run("UPDATE log_events SET leaf = :leaf WHERE seq = :seq", leaf=ahead, seq=newest)
    trainer = next(key_id for key_id, key in keys_of(home).items() if key.role == "trainer")
    before = (home / "trust.json").read_bytes()
    assert run(["trust", "revoke", trainer, "--reason", "left", "--routine"]) == 6
    assert (home / "trust.json").read_bytes() == before


def test_a_renewal_that_changes_nothing_says_until_when_the_file_counts_and_how_to_choose_another_date(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (home / "trust.json").read_bytes()
    expires_at = parse_chain(before).newest.policy.expires_at
    capsys.readouterr()
    assert run(["trust", "renew"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"trust v1  is valid until {expires_at} already: nothing was signed\n"
    assert "--days" in shown.err
    assert (home / "trust.json").read_bytes() == before


def test_a_recovery_key_is_made_for_another_person_and_not_without_one(place: Path) -> None:
    assert run(["init", "--unencrypted", "--no-example", "--recovery-key", "safe"]) == 2
    words = ["init", "--unencrypted", "--no-example", "--recovery-key", "safe", "--recovery-person", "second"]
    assert run(words) == 0
    assert sorted(path.name for path in (place / "safe").iterdir()) == ["recovery-root.key", "recovery-root.pub"]
    assert (place / "safe" / "recovery-root.key").stat().st_mode & 0o777 == 0o600
    policy = parse_chain((place / ".registry" / "trust.json").read_bytes()).newest.policy
    assert policy.threshold == 1 and [policy.person_of(root) for root in policy.roots] == ["lab-1", "second"]
    (place / ".registry" / "keys" / "root.key").unlink()
    assert run(["trust", "renew", "--days", "500"]) == 7
    assert run(["trust", "rotate", "root", "--reason", "lost", "--root-key", "safe/recovery-root.key"]) == 0
    assert run(["trust", "renew", "--days", "500"]) == 0
