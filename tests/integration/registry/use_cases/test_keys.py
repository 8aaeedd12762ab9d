"""`registry keys`: keys are made, brought in, listed and exported; nothing is overwritten, and nobody is trusted by it."""

import json
import stat
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from peft_registry.cli.commands.keys import KeyRole
from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.keys import PrivateKey, PublicKey
from peft_registry.registry.signing.rotation import extended, next_draft, with_revocation
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.keys import create_key, list_keys
from peft_registry.schemas.policy import Revocation, Role
from tests.builders.homes import NOW, reopened


def typed(*words: object) -> int:
    return run([str(word) for word in words])


def test_the_roles_of_the_command_line_are_those_of_the_trust_file() -> None:
    assert {role.value for role in KeyRole} == set(get_args(Role))


@pytest.mark.parametrize("role", KeyRole)
def test_a_key_is_made_for_every_role_in_a_folder_that_its_holder_takes_away(role: KeyRole, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    assert typed("keys", "create", role, "--out", folder, "--unencrypted") == 0
    key = PrivateKey.load(folder / f"{role}.key")
    assert PublicKey.parse((folder / f"{role}.pub").read_bytes()) == key.public
    assert key.public.kind == ("ed25519" if role in ("log", "witness") else "p256")
    assert stat.S_IMODE((folder / f"{role}.key").stat().st_mode) == 0o600


def test_what_is_printed_is_the_digest_and_what_the_holder_of_the_root_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("keys", "create", "approver", "--person", "Alex B.", "--out", tmp_path / "stick", "--unencrypted")
    assert typed(*words) == 0
    shown = capsys.readouterr()
    public = tmp_path / "stick" / "approver.pub"
    assert f"sha256:{PublicKey.parse(public.read_bytes()).key_id}" in shown.out
    assert f"next: registry trust add {public} --person 'Alex B.' --role approver\n" in shown.err


def test_whoever_holds_the_root_lists_a_key_as_it_is_made_or_makes_none(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("keys", "create", "officer", "--unencrypted", "--trust", "--home", registry.folder, "--out")
    assert typed(*words, tmp_path / "nobody") == 2
    assert "--person" in capsys.readouterr().err
    # people would take this name for that of somebody who is listed
    assert typed(*words, tmp_path / "twin", "--person", "LAB-1") != 0
    assert typed(*words, tmp_path / "stick", "--person", "alex") == 0
    assert [path.name for path in tmp_path.iterdir() if path.name in ("nobody", "twin")] == []
    made = PublicKey.parse((tmp_path / "stick" / "officer.pub").read_bytes())
    assert f"sha256:{made.key_id}  officer of alex\n" in capsys.readouterr().out
    with closing(reopened(registry.folder, now=NOW)) as later:
        listed = later.trust.key(made.key_id)
    assert listed is not None and (listed.person, listed.role) == ("alex", "officer")


@pytest.mark.parametrize("half", ["key", "pub"])
def test_no_half_of_a_pair_is_overwritten(half: str, tmp_path: Path) -> None:
    (tmp_path / f"approver.{half}").write_text("mine")
    assert typed("keys", "create", "approver", "--out", tmp_path, "--unencrypted") == 7
    assert [path.name for path in tmp_path.iterdir()] == [f"approver.{half}"]
    assert (tmp_path / f"approver.{half}").read_text() == "mine"


def test_a_key_of_a_home_is_never_overwritten(registry: Registry) -> None:
    before = (registry.folder / "keys" / "trainer.key").read_bytes()
    assert typed("keys", "create", "trainer", "--unencrypted", "--home", registry.folder) == 7
    assert (registry.folder / "keys" / "trainer.key").read_bytes() == before


def test_a_key_is_encrypted_unless_its_maker_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed("keys", "create", "officer", "--out", tmp_path / "nobody-to-ask") == 2
    assert not (tmp_path / "nobody-to-ask").exists()
    monkeypatch.setenv("REGISTRY_PASSPHRASE", "correct horse")
    capsys.readouterr()
    assert typed("keys", "create", "officer", "--out", tmp_path / "stick", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out)["encrypted"] is True
    key = PrivateKey.load(tmp_path / "stick" / "officer.key", lambda: b"correct horse")
    assert key.encrypted


def test_list_says_of_each_key_what_the_trust_file_says(registry: Registry) -> None:
    create_key(registry.folder / "keys", "approver", None)
    (registry.folder / "keys" / "approver.key").rename(registry.folder / "keys" / "stray.key")
    log_key = registry.log_key
    assert log_key is not None
    revocation = Revocation(key_id=log_key.public.key_id, revoked_at=NOW, reason="laptop sold", kind="routine")
    draft = with_revocation(next_draft(registry.trust_chain.newest, now=NOW), revocation)
    signed = extended(registry.trust_chain, draft, [registry.private_key("root")])
    (registry.folder / "trust.json").write_bytes(render_chain(signed))
    again = reopened(registry.folder)
    try:
        create_key(again.folder / "keys", "officer", None)
        shown = {key.role: key for key in list_keys(again)}
    finally:
        again.close()
    assert {role: key.state for role, key in shown.items()} == {
        "log": "revoked",
        "officer": "not listed",
        "root": "listed",
        "stray": "unreadable",
        "trainer": "listed",
    }
    assert (shown["trainer"].person, shown["log"].reason) == ("lab-1", "laptop sold")


def test_list_says_when_a_key_expired(registry: Registry) -> None:
    (key,) = (key for key in registry.trust.keys if key.role == "trainer")
    later = reopened(registry.folder, now=key.valid_until)
    try:
        # the file expired with it, so nothing is known of any key
        assert {shown.state for shown in list_keys(later)} == {"unknown"}
    finally:
        later.close()


@pytest.mark.parametrize("form", ["openssh", "pkcs8"])
def test_a_key_that_was_made_elsewhere_is_brought_in(form: str, tmp_path: Path, registry: Registry) -> None:
    made = ec.generate_private_key(ec.SECP256R1())
    written = {"openssh": serialization.PrivateFormat.OpenSSH, "pkcs8": serialization.PrivateFormat.PKCS8}[form]
    file = tmp_path / "approver.pem"
    file.write_bytes(made.private_bytes(serialization.Encoding.PEM, written, serialization.NoEncryption()))
    file.chmod(0o600)
    assert typed("keys", "import", file, "--unencrypted", "--home", registry.folder) == 0
    kept = PrivateKey.load(registry.folder / "keys" / "approver.key")
    assert kept.public.pem == made.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert file.exists()


def test_a_key_of_the_wrong_kind_is_not_brought_in(
    tmp_path: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ed25519.Ed25519PrivateKey.generate()
    file = tmp_path / "mine.pem"
    file.write_bytes(
        made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file.chmod(0o600)
    where = ("--unencrypted", "--home", registry.folder)
    assert typed("keys", "import", file, "--role", "approver", *where) == 2
    assert "this role signs with p256" in capsys.readouterr().err
    assert typed("keys", "import", file, *where) == 2
    assert "add --role ROLE" in capsys.readouterr().err
    assert not list((registry.folder / "keys").glob("approver*"))


def test_an_encrypted_key_is_opened_with_its_own_passphrase_and_kept_under_that_of_the_registry(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key(tmp_path / "stick", "approver", b"theirs")
    secret = tmp_path / "secret"
    secret.write_text("theirs\n")
    secret.chmod(0o600)
    monkeypatch.setenv("REGISTRY_PASSPHRASE", "ours")
    file = tmp_path / "stick" / "approver.key"
    assert typed("keys", "import", file, "--home", registry.folder) == 2
    assert typed("keys", "import", file, "--file-passphrase-file", secret, "--home", registry.folder) == 0
    kept = PrivateKey.load(registry.folder / "keys" / "approver.key", lambda: b"ours")
    assert kept.public == PublicKey.parse((tmp_path / "stick" / "approver.pub").read_bytes())


def test_a_public_key_is_exported_by_role_and_by_digest_and_overwrites_nothing(
    tmp_path: Path, registry: Registry
) -> None:
    root = registry.trust.roots[0]
    home = ("--home", registry.folder)
    assert typed("keys", "export", "root", tmp_path / "by-role.pub", *home) == 0
    assert typed("keys", "export", f"sha256:{root}", tmp_path / "by-digest.pub", *home) == 0
    assert (tmp_path / "by-role.pub").read_bytes() == (tmp_path / "by-digest.pub").read_bytes()
    assert PublicKey.parse((tmp_path / "by-role.pub").read_bytes()).key_id == root
    assert typed("keys", "export", "log", tmp_path / "by-role.pub", *home) == 7
    assert PublicKey.parse((tmp_path / "by-role.pub").read_bytes()).key_id == root
    for name in ("approver", "../trust", f"sha256:{'0' * 64}", "sha256:"):
        assert typed("keys", "export", name, tmp_path / "none.pub", *home) == 7
    assert not (tmp_path / "none.pub").exists()
