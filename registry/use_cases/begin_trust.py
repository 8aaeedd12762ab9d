"""`registry trust init`: a trust file apart from any registry, for an organisation that keeps its root apart from them."""

from datetime import datetime, timedelta
from pathlib import Path

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import TrustChain, render_chain, sign_version
from peft_registry.schemas.errors import Taken
from peft_registry.schemas.policy import TrustedKey, TrustPolicy
from peft_registry.schemas.values import timestamp


class TrustFileExists(Taken):
    what = "{file} exists already"
    why = "a trust file is continued, never begun anew in its place"
    fix = "name another file, or change this one with `registry trust add`, `revoke` and `renew`"

    file: Path


def new_trust_file(
    file: Path, key_file: Path, *, person: str, passphrase: bytes | None, now: str, days: int
) -> TrustChain:
    """Make a root key and a trust file with nothing but that root: for an organisation that keeps its root apart from registries.

    Raises:
        TrustFileExists, KeyFileExists: one of the two is there already; nothing was changed.
    """
    if file.exists():
        raise TrustFileExists(file)
    root = PrivateKey.generate("p256")
    until = timestamp(datetime.fromisoformat(now) + timedelta(days=days))
    listed = TrustedKey(
        key_id=root.public.key_id,
        public_key_pem=root.public.pem.decode("ascii"),
        person=person,
        role="root",
        valid_from=now,
        valid_until=until,
        unencrypted=passphrase is None,
    )
    policy = TrustPolicy(
        schema_version="2",
        version=1,
        issued_at=now,
        expires_at=until,
        roots=(listed.key_id,),
        threshold=1,
        keys=(listed,),
    )
    root.save(key_file, passphrase)
    write_atomically(key_file.with_suffix(".pub"), root.public.pem)
    chain = TrustChain((sign_version(policy, [root]),))
    write_atomically(file, render_chain(chain))
    return chain
