"""Keys."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.builders.hostile.place import Case, Place
from tests.builders.signing import a_p256_key, an_ed25519_key


def keys() -> Iterator[Case]:
    def public(data: bytes) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            command = place.verify_foreign()
            (place.folder / "key.pub").write_bytes(data)
            return command

        return make

    pem, spki = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    good = a_p256_key().public.pem
    secret = ec.derive_private_key(1, ec.SECP256R1())
    private = secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    rsa_key = rsa.generate_private_key(65537, 1024).public_key().public_bytes(pem, spki)
    koblitz = ec.derive_private_key(1, ec.SECP256K1()).public_key().public_bytes(pem, spki)
    public_keys = {
        "empty": b"",
        "words": b"my key",
        "cut": good[: len(good) // 2],
        "two": good * 2,
        "private": private,
        "rsa": rsa_key,
        "ed25519": an_ed25519_key().public.pem,
        "another-curve": koblitz,
        "certificate": good.replace(b"PUBLIC KEY", b"CERTIFICATE"),
        "der": base64.b64decode(b"".join(good.splitlines()[1:-1])),
        "loose-base64": good.replace(b"\n-----END", b"!\n-----END"),
        "2-megabytes": good + b"#" * (2 << 20),
        "not-utf-8": good.replace(b"\n-----END", b"\xff\n-----END"),
    }
    for name, data in public_keys.items():
        yield Case("key", f"public-{name}", public(data), 2)

    def signing(change: Callable[[Path], None]) -> Callable[[Place], list[str]]:
        def make(place: Place) -> list[str]:
            path = place.home / "keys" / "trainer.key"
            change(path)
            return place.in_home("promote", "helper:1", "candidate", "--policy", "none")

        return make

    private_keys: dict[str, tuple[Callable[[Path], None], int]] = {
        "empty": (lambda path: path.write_bytes(b"") and None, 2),
        "cut": (lambda path: path.write_bytes(path.read_bytes()[:60]) and None, 2),
        "a-public-one": (lambda path: path.write_bytes(good) and None, 2),
        "readable-by-all": (lambda path: path.chmod(0o644), 2),
        "a-link": (_through_a_link, 2),
        "a-fifo": (lambda path: (path.unlink(), os.mkfifo(path, 0o600))[0], 2),
        "a-folder": (lambda path: (path.unlink(), path.mkdir())[0], 2),
        "missing": (lambda path: path.unlink(), 7),
    }
    for name, (change, code) in private_keys.items():
        yield Case("key", f"private-{name}", signing(change), code)


def _through_a_link(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere.key"))
    path.symlink_to(moved)
