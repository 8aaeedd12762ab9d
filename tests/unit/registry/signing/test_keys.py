"""Keys: what is accepted, how they are kept, and that no error gives a passphrase away."""

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from peft_registry.registry.signing import keys
from peft_registry.registry.signing.keys import PrivateKey, PublicKey
from tests.builders.signing import a_p256_key, an_ed25519_key
from tests.conftest import not_run

PASSPHRASE = b"correct horse battery staple"


def pem_of(key: PrivateKey) -> bytes:
    return key.public.pem


# --- public keys


@pytest.mark.parametrize("key", [a_p256_key(), an_ed25519_key()], ids=["p256", "ed25519"])
@pytest.mark.parametrize(
    "change",
    [
        lambda pem: pem,
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: pem.rstrip(b"\n"),
        lambda pem: b"# the lab's key\n" + pem,
    ],
    ids=["as is", "CRLF", "no final newline", "comment"],
)
def test_a_public_key_has_one_text_and_one_id_however_its_file_is_written(key, change):
    parsed = PublicKey.parse(change(key.public.pem))
    assert parsed == key.public
    assert parsed.key_id == key.public.key_id


def test_the_key_id_is_the_sha256_of_the_pem_text():
    # computed with `sha256sum` over the PEM that `openssl pkey -pubin` writes for the P-256 point of private key 1
    assert a_p256_key(1).public.pem.startswith(b"-----BEGIN PUBLIC KEY-----\n")
    assert a_p256_key(1).public.pem.endswith(b"-----END PUBLIC KEY-----\n")
    assert a_p256_key(1).public.key_id == "0bcc8908c3cc5f2c08c1e1963e1b674e76aa2dfb7cd91c437b4081b25b7f9e03"


def refused_public_keys() -> dict[str, bytes]:
    def spki(key):
        return key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    private = ec.derive_private_key(5, ec.SECP256R1())
    return {
        "nothing": b"",
        "text": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI",
        "two keys": pem_of(a_p256_key(1)) + pem_of(a_p256_key(2)),
        "private key": private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "P-384": spki(ec.derive_private_key(5, ec.SECP384R1())),
        "RSA": spki(rsa.generate_private_key(65537, 2048)),
        "damaged": pem_of(a_p256_key(1)).replace(b"M", b"A", 1),
        "too long": pem_of(a_p256_key(1)) + b"#" * 100_000,
    }


@pytest.mark.parametrize("name", list(refused_public_keys()))
def test_anything_but_one_supported_public_key_is_refused_at_intake(name):
    with pytest.raises(keys.MalformedPublicKey) as caught:
        PublicKey.parse(refused_public_keys()[name])
    assert caught.value.exit_code == 2


# --- signatures


@pytest.mark.parametrize("key", [a_p256_key(), an_ed25519_key()], ids=["p256", "ed25519"])
def test_signing_twice_gives_the_same_bytes_and_they_verify(key):
    assert key.sign(b"message") == key.sign(b"message")
    assert key.public.verify(key.sign(b"message"), b"message")
    assert not key.public.verify(key.sign(b"message"), b"massage")


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
def test_a_secret_belongs_to_one_key_and_one_purpose_and_survives_saving(tmp_path, kind):
    key, other = PrivateKey.generate(kind), PrivateKey.generate(kind)
    key.save(tmp_path / "key", b"open sesame")
    again = PrivateKey.load(tmp_path / "key", lambda: b"open sesame")
    assert again.secret_for("scores") == key.secret_for("scores")
    assert len({key.secret_for("scores"), key.secret_for("other"), other.secret_for("scores")}) == 3
    assert len(key.secret_for("scores")) == 32


def test_p256_signing_follows_rfc_6979():
    # RFC 6979 A.2.5, P-256 with SHA-256, message "sample"
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    signature = PrivateKey(ec.derive_private_key(secret, ec.SECP256R1()), encrypted=False).sign(b"sample")
    assert signature == encode_dss_signature(r, s)


def wycheproof(folder: Path, name: str):
    for group in json.loads((folder / "vectors" / "wycheproof" / name).read_bytes())["testGroups"]:
        for test in group["tests"]:
            yield group, test


@pytest.mark.parametrize("name", ["ecdsa_secp256r1_sha256_test.json", "ed25519_test.json"])
def test_verification_agrees_with_every_wycheproof_vector(test_data, name):
    wrong, seen = [], 0
    for group, test in wycheproof(test_data, name):
        public = PublicKey.parse(group["publicKeyPem"].encode("ascii"))
        accepted = public.verify(bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
        seen += 1
        if accepted != (test["result"] == "valid"):
            wrong.append((test["tcId"], test["result"], test["comment"]))
    assert not wrong
    assert seen > 100


def test_a_raw_r_s_signature_is_not_der_and_is_refused(test_data):
    example = json.loads((test_data / "vectors" / "spec-examples.json").read_bytes())["dsse"]
    point = ec.EllipticCurvePublicNumbers(example["x"], example["y"], ec.SECP256R1()).public_key()
    pem = point.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    raw = base64.b64decode(example["sig_b64_raw_r_s"])
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    assert PublicKey.parse(pem).verify(der, example["pae"].encode())
    assert not PublicKey.parse(pem).verify(raw, example["pae"].encode())


# --- key files


@pytest.mark.parametrize("kind", ["p256", "ed25519"])
@pytest.mark.parametrize("passphrase", [PASSPHRASE, None], ids=["encrypted", "unencrypted"])
def test_a_saved_key_is_private_and_loads_again(tmp_path, kind, passphrase):
    key, path = PrivateKey.generate(kind), tmp_path / "key"
    key.save(path, passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    loaded = PrivateKey.load(path, (lambda: passphrase) if passphrase else None)
    assert loaded.public == key.public
    assert loaded.encrypted is (passphrase is not None)
    assert loaded.sign(b"message") == key.sign(b"message")


def test_an_encrypted_key_states_at_least_32_bcrypt_rounds(tmp_path):
    a_p256_key().save(tmp_path / "key", PASSPHRASE)
    raw = base64.b64decode(b"".join((tmp_path / "key").read_bytes().splitlines()[1:-1]))
    kdf = raw.index(b"bcrypt") + len(b"bcrypt")
    options = raw[kdf + 4 : kdf + 4 + int.from_bytes(raw[kdf : kdf + 4], "big")]
    assert int.from_bytes(options[-4:], "big") >= 32  # PROTOCOL.key: string salt, uint32 rounds


def test_the_file_is_never_wider_than_0600_even_under_a_permissive_umask(tmp_path, monkeypatch):
    seen = []
    real_open = os.open

    def spy(path, flags, mode=0o777, **rest):
        descriptor = real_open(path, flags, mode, **rest)
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    old = os.umask(0)
    try:
        a_p256_key().save(tmp_path / "key", None)
    finally:
        os.umask(old)
    assert seen == [0o600]


def test_a_key_file_is_never_overwritten(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"something else")
    with pytest.raises(keys.KeyFileExists) as caught:
        a_p256_key().save(path, None)
    assert caught.value.exit_code == 7
    assert path.read_bytes() == b"something else"


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(keys.KeyFileUnwritable) as caught:
        a_p256_key().save(tmp_path / "key", None)
    assert caught.value.exit_code == 8
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_key_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    a_p256_key().save(path, None)
    path.chmod(mode)
    with pytest.raises(keys.KeyFileExposed, match=f"{mode:04o}"):
        PrivateKey.load(path)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_public_key_is_named_as_one_with_the_private_key_beside_it(tmp_path, mode):
    path = tmp_path / "officer.pub"
    path.write_bytes(a_p256_key().public.pem)
    path.chmod(mode)
    with pytest.raises(keys.PublicKeyNamed, match="is a public key") as caught:
        PrivateKey.load(path)
    assert caught.value.exit_code == 2
    a_p256_key().save(tmp_path / "officer.key", None)
    with pytest.raises(keys.PublicKeyNamed) as caught:
        PrivateKey.load(path)
    assert f"{tmp_path / 'officer.key'}" in caught.value.fix


def require_root():
    if os.getuid() != 0:
        not_run("only root can give files to another user")


def a_saved_key(folder):
    path = folder / "key"
    a_p256_key().save(path, None)
    return path


def test_a_link_in_the_place_of_a_key_is_refused(tmp_path):
    """Whoever may write the folder could turn it to a key of theirs."""
    (tmp_path / "link").symlink_to(a_saved_key(tmp_path))
    with pytest.raises(keys.KeyFileNotOwn, match="link"):
        PrivateKey.load(tmp_path / "link")


def test_a_key_with_a_second_name_is_refused(tmp_path):
    """Under that name it may stay readable where it was deleted here."""
    path = a_saved_key(tmp_path)
    os.link(path, tmp_path / "second")
    with pytest.raises(keys.KeyFileNotOwn, match="2 names"):
        PrivateKey.load(path)
    (tmp_path / "second").unlink()
    assert PrivateKey.load(path).public == a_p256_key().public


def test_a_key_that_another_user_owns_is_refused(tmp_path):
    require_root()
    path = a_saved_key(tmp_path)
    os.chown(path, 65534, 65534)
    with pytest.raises(keys.KeyFileNotOwn, match="user 65534") as caught:
        PrivateKey.load(path)
    assert caught.value.exit_code == 2


def test_what_is_checked_is_what_is_read_although_the_name_is_turned_meanwhile(tmp_path, monkeypatch):
    """Mode and owner are those of the open file, not of what has its name a moment later."""
    path, exposed = a_saved_key(tmp_path), tmp_path / "exposed"
    a_p256_key(2).save(exposed, None)
    exposed.chmod(0o644)
    opened = os.open

    def open_and_turn(name, flags, *more, **options):
        descriptor = opened(name, flags, *more, **options)
        if name == path:
            exposed.replace(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_turn)
    assert PrivateKey.load(path).public == a_p256_key().public
    monkeypatch.undo()
    with pytest.raises(keys.KeyFileExposed):
        PrivateKey.load(path)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_of_ones_own_loads(tmp_path, mode):
    path = tmp_path / "key"
    a_p256_key().save(path, None)
    path.chmod(mode)
    assert PrivateKey.load(path).public == a_p256_key().public


def test_a_passphrase_is_asked_for_once_and_only_when_needed(tmp_path):
    asked = []

    def ask():
        asked.append(1)
        return PASSPHRASE

    a_p256_key().save(tmp_path / "open", None)
    PrivateKey.load(tmp_path / "open", ask)
    assert asked == []
    a_p256_key().save(tmp_path / "closed", PASSPHRASE)
    PrivateKey.load(tmp_path / "closed", ask)
    assert asked == [1]


@pytest.mark.parametrize(
    ("passphrase", "error"),
    [
        (None, keys.PassphraseNeeded),
        (lambda: b"", keys.PassphraseNeeded),
        (lambda: b"wrong guess", keys.WrongPassphrase),
    ],
    ids=["none", "empty", "wrong"],
)
def test_a_missing_or_wrong_passphrase_is_said_without_showing_it(tmp_path, passphrase, error):
    a_p256_key().save(tmp_path / "key", PASSPHRASE)
    with pytest.raises(error) as caught:
        PrivateKey.load(tmp_path / "key", passphrase)
    shown = repr(caught.value) + str(caught.value) + caught.value.fix + repr(caught.value.__cause__)
    assert "wrong guess" not in shown
    assert "correct horse" not in shown
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("passphrase", [b"", b"x" * 73], ids=["empty", "longer than bcrypt reads"])
def test_an_unusable_passphrase_writes_no_file(tmp_path, passphrase):
    with pytest.raises(keys.UnusablePassphrase):
        a_p256_key().save(tmp_path / "key", passphrase)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encrypted", [True, False])
def test_pkcs8_files_are_read_too(tmp_path, encrypted):
    secret = ec.derive_private_key(1, ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(PASSPHRASE) if encrypted else serialization.NoEncryption()
    path = tmp_path / "key.pem"
    path.write_bytes(secret.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    path.chmod(0o600)
    loaded = PrivateKey.load(path, lambda: PASSPHRASE)
    assert loaded.public == a_p256_key(1).public
    assert loaded.encrypted is encrypted


def refused_private_files() -> dict[str, bytes]:
    def pkcs8(key):
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    one = pkcs8(ec.derive_private_key(1, ec.SECP256R1()))
    openssh = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return {
        "empty": b"",
        "public key": pem_of(a_p256_key()),
        "certificate": pem_of(a_p256_key()).replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "DER": ec.derive_private_key(1, ec.SECP256R1()).private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        "two keys": one + one,
        "P-384": pkcs8(ec.derive_private_key(1, ec.SECP384R1())),
        "damaged PKCS#8": one.replace(b"M", b"A", 1),
        "damaged OpenSSH base64": openssh.replace(b"b3", b"!!", 1),
        "damaged OpenSSH body": openssh.replace(b"b3Bl", b"c3Bl", 1),
        "too long": one + b"#" * 100_000,
    }


@pytest.mark.parametrize("name", list(refused_private_files()))
def test_anything_but_one_supported_private_key_is_refused_at_intake(tmp_path, name):
    path = tmp_path / "key"
    path.write_bytes(refused_private_files()[name])
    path.chmod(0o600)
    with pytest.raises(keys.MalformedPrivateKey) as caught:
        PrivateKey.load(path)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.OpenSSH])
def test_a_key_with_the_line_ends_of_another_system_is_the_same_key(tmp_path, form):
    secret = ec.derive_private_key(1, ec.SECP256R1())
    pem = secret.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path = tmp_path / "key"
    path.write_bytes(pem.replace(b"\n", b"\r\n"))
    path.chmod(0o600)
    assert PrivateKey.load(path).public == a_p256_key(1).public


def test_a_missing_key_file_and_a_folder_are_clear_errors(tmp_path):
    with pytest.raises(keys.KeyFileMissing):
        PrivateKey.load(tmp_path / "nowhere")
    with pytest.raises(keys.MalformedPrivateKey):
        PrivateKey.load(tmp_path)


def test_a_fifo_does_not_make_loading_wait(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(keys.MalformedPrivateKey):
        PrivateKey.load(tmp_path / "fifo")


def test_a_signature_is_of_its_key_and_its_message_alone() -> None:
    key, other = a_p256_key(), a_p256_key(5)
    signature = key.sign(b"message")
    assert key.public.verify(signature, b"message")
    assert not key.public.verify(signature, b"massage")
    assert not other.public.verify(signature, b"message")
    assert not key.public.verify(other.sign(b"message"), b"message")
    assert not key.public.verify(signature + bytes(200), b"message")
