"""A stolen key: one command lists every version that it touched, as the log says, and each is refused once the key is revoked."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_by import SignerUnknown, versions_signed_by
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.rotation import extended, next_draft, with_key, with_revocation
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.transparency.log import LogForked
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import PullRefused, pull_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.policy import Revocation, TrustPolicy
from tests.bench.load import fill
from tests.builders.backends import MadeHome
from tests.builders.signing import a_p256_key, a_trusted_key

STOLEN = a_p256_key(77)


def trust_of(home: Path, policy: TrustPolicy) -> None:
    """One more version of the home's trust file, signed by its root."""
    registry = open_home(home, check_log=False)
    root = PrivateKey.load(home / "keys" / "root.key")
    try:
        chain = extended(registry.trust_chain, policy, [root])
    finally:
        registry.close()
    (home / "trust.json").write_bytes(render_chain(chain))


def draft_of(home: Path) -> TrustPolicy:
    registry = open_home(home, check_log=False)
    try:
        return next_draft(registry.trust_chain.newest, now=utc_now())
    finally:
        registry.close()


def let_sign(home: Path, key: PrivateKey) -> None:
    """Make it a trainer's key of another person."""
    draft = draft_of(home)
    known = next(key for key in draft.keys if key.role == "trainer")
    listed = a_trusted_key(key, person="lab-2", valid_from=known.valid_from, valid_until=known.valid_until)
    trust_of(home, with_key(draft, listed.revised(predicate_types=None)))


def revoke(home: Path, key: PrivateKey) -> None:
    stolen = Revocation(key_id=key.public.key_id, revoked_at=utc_now(), reason="stolen", kind="compromise")
    trust_of(home, with_revocation(draft_of(home), stolen))


def a_theft(home: Path, *, good: int, bad: int, stored: bool) -> None:
    """A home in which one key signed some versions in bulk and another the others; that one is stolen, and revoked.

    What the stolen key signed is whole, so that nothing but the key is wrong with it; `stored` says so of the others.
    """
    fill(home, versions=good, stored=stored, registrations=1)
    let_sign(home, STOLEN)
    fill(home, versions=bad, seed=1, signer=STOLEN, stored=True, registrations=0)
    registry = open_home(home)
    try:
        # an alias that a good key pointed at what the stolen one had signed, and a good version
        set_alias(registry, version_named(registry, "registered"), "production")
    finally:
        registry.close()
    revoke(home, STOLEN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    a_theft(home, good=20, bad=12, stored=True)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    opened = open_home(home)
    yield opened
    opened.close()


def test_every_version_of_a_stolen_key_is_listed_and_refused_and_no_other(registry: Registry, tmp_path: Path) -> None:
    touched = versions_signed_by(registry, STOLEN.public.key_id[:12])
    assert len(touched) == 12
    assert {entry.version.name.rsplit("-", 1)[0] for entry in touched} == {"load-1"}
    assert {"registration", "card", "modification"} <= set(touched[0].kinds)
    for number, entry in enumerate(touched):
        outcome = verify_version(registry, entry.version, trust=registry.trust)
        assert outcome.exit_code == 6, outcome
        assert "revoked-key" in {check.error for check in outcome.checks}
        with pytest.raises(PullRefused):
            pull_version(registry, entry.version, tmp_path / f"pulled-{number}")
    for name in ("load-0-0:1", "registered"):
        good = version_named(registry, name)
        assert verify_version(registry, good, trust=registry.trust).verdict == "verified"


def test_the_command_lists_them_all_with_what_was_signed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["list", "--signed-by", STOLEN.public.key_id[:8], "--home", str(home)]
    assert run([*words, "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 12
    assert all("registration" in version["signed"] for version in listed)
    assert run([*words, "--kind", "base"]) == 0
    assert "no registered version matches" in capsys.readouterr().err
    assert run([*words, "--name", "load-1"]) == 0
    assert capsys.readouterr().out.count("registration") == 12


def test_a_key_that_signed_nothing_is_unknown_and_a_short_beginning_is_ambiguous(registry: Registry) -> None:
    for text in ("", "no-key", "0" * 64):
        with pytest.raises(SignerUnknown):
            versions_signed_by(registry, text)
    trainer = registry.trainer_key.public.key_id
    assert len(versions_signed_by(registry, trainer)) == 22  # with the base and the one registered on top
    assert run(["list", "--signed-by", "0" * 9, "--home", str(registry.folder)]) == 7


EDITS = {
    "another signer in the rows": "UPDATE statements SET key_id = '00'",
    "the versions gone": "DELETE FROM aliases; DELETE FROM alias_events; DELETE FROM versions WHERE name LIKE 'load-1%'",
    "another number": "DELETE FROM aliases; DELETE FROM alias_events;"
    " UPDATE versions SET number = number + 100 WHERE name LIKE 'load-1%'",
    "another signer in the leaves": "UPDATE log_events SET leaf = CAST(replace(CAST(leaf AS TEXT), '{key}', '{other}') AS BLOB)",
}


@pytest.mark.parametrize("edit", EDITS)
def test_whoever_writes_the_database_hides_no_version_of_a_stolen_key(home: Path, edit: str) -> None:
    with closing(sqlite3.connect(home / "database.sqlite")) as database, database:
        database.executescript(EDITS[edit].format(key=STOLEN.public.key_id, other="0" * 64))
    registry = open_home(home)
    try:
        if edit == "another signer in the rows":
            assert len(versions_signed_by(registry, STOLEN.public.key_id)) == 12
            return
        with pytest.raises(IntegrityBroken) as caught:
            versions_signed_by(registry, STOLEN.public.key_id)
        assert isinstance(caught.value, LogForked) == (edit == "another signer in the leaves")
    finally:
        registry.close()


def test_an_edited_kind_hides_no_version_of_a_stolen_key_from_a_list_of_a_kind(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["list", "--signed-by", STOLEN.public.key_id, "--kind", "adapter", "--home", str(home)]
    with MadeHome(home).rows() as rows:
        rows.run("UPDATE versions SET kind = 'model' WHERE name LIKE 'load-1%'")
    assert run(words) == 6
    assert "kind: model in the catalogue, adapter signed" in capsys.readouterr().err


@pytest.mark.full
@pytest.mark.timeout(3600)  # filling takes 13 ms of one core for each version
def test_a_compromise_drill_among_ten_thousand_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_theft(tmp_path / "home", good=7_500, bad=2_500, stored=False)
    words = ["list", "--signed-by", STOLEN.public.key_id[:12], "--home", str(tmp_path / "home"), "--output", "json"]
    assert run(words) == 0
    listed = {f"{version['name']}:{version['number']}" for version in json.loads(capsys.readouterr().out)}
    registry = open_home(tmp_path / "home")
    try:
        touched = versions_signed_by(registry, STOLEN.public.key_id)
        assert len(touched) == 2_500
        assert listed == {entry.version.label for entry in touched}
        for entry in touched:
            outcome = verify_version(registry, entry.version, trust=registry.trust)
            assert outcome.exit_code == 6, outcome
            assert "revoked-key" in {check.error for check in outcome.checks}
        good = version_named(registry, "registered@production")
        assert verify_version(registry, good, trust=registry.trust).verdict == "verified"
    finally:
        registry.close()
