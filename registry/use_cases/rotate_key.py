"""`registry trust rotate`: one of the home's own keys is replaced by a new one.

A new key lies beside the old until the trust file lists it. A kill in between is completed by the next call.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.homes.home import KEY_ROLES, Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PrivateKey, PublicKey
from peft_registry.registry.signing.rotation import KeyNotListed, next_draft, with_replacement
from peft_registry.registry.use_cases.trust import (
    FILE_NAME,
    SinceWithoutCompromise,
    TrustChange,
    issue,
    place_of_home,
    read_trust_file,
)
from peft_registry.schemas.policy import Revocation, TrustPolicy

HomeRole = Literal["root", "log", "trainer"]


def rotate_key(
    registry: Registry,
    role: HomeRole,
    *,
    root_key: Path | None,
    reason: str = "superseded",
    compromised: bool = False,
    since: str | None = None,
) -> TrustChange:
    """Replace one of the home's own keys by a new one; the old one is revoked, and its file is kept under its id.

    A new key lies beside the old until the trust file lists it. A kill in between is completed by the next call.

    Raises:
        KeyNotListed: the home's key is not in its trust file.
        SinceWithoutCompromise: only a compromise has a date since when.
    """
    if since is not None and not compromised:
        raise SinceWithoutCompromise
    folder = registry.folder
    if finish_rotations(folder, registry.trust_chain.newest.policy):
        return TrustChange("accepted", registry.trust_chain.newest.policy.version, folder / FILE_NAME)
    place = place_of_home(registry, root_key=root_key)
    draft = next_draft(place.chain.newest, now=place.now)
    old_id = PublicKey.parse(read_file(folder / "keys" / f"{role}.pub", max_bytes=KEY_FILE_MAX_BYTES)).key_id
    listed = draft.key(old_id)
    if listed is None:
        raise KeyNotListed(old_id)
    new = _next_key(registry, role, unencrypted=listed.unencrypted)
    revocation = Revocation(
        key_id=old_id,
        revoked_at=place.revoked_at,
        reason=reason,
        kind="compromise" if compromised else "routine",
        since=since,
    )
    successor = listed.revised(
        key_id=new.public.key_id,
        public_key_pem=new.public.pem.decode("ascii"),
        valid_from=place.now,
        valid_until=draft.expires_at,
    )
    place = replace(place, signers=(*place.signers, new)) if role == "root" else place
    done = issue(place, with_replacement(draft, revocation, successor))
    if done.state == "accepted":
        finish_rotations(folder, read_trust_file(place.file).newest.policy)
        if role == "log":
            # read anew: this value remembers the key and the trust file that were
            publish_checkpoint(replace(registry))
    return done


def finish_rotations(folder: Path, policy: TrustPolicy) -> bool:
    """Put each new key in its place that the trust file lists by now; whether there was one."""
    finished = False
    for role in KEY_ROLES:
        waiting = folder / "keys" / f"{role}.next.key"
        public_file = folder / "keys" / f"{role}.next.pub"
        if not (waiting.exists() and public_file.exists()):
            continue
        new = PublicKey.parse(read_file(public_file, max_bytes=KEY_FILE_MAX_BYTES))
        if policy.key(new.key_id) is None:
            continue
        standing, standing_public = folder / "keys" / f"{role}.key", folder / "keys" / f"{role}.pub"
        old = PublicKey.parse(read_file(standing_public, max_bytes=KEY_FILE_MAX_BYTES)).key_id
        if standing.exists() and old != new.key_id:
            standing.replace(folder / "keys" / f"{role}-{old[:16]}.key")
        write_atomically(standing_public, new.pem)
        waiting.replace(standing)
        public_file.unlink()
        finished = True
    return finished


def _next_key(registry: Registry, role: HomeRole, *, unencrypted: bool) -> PrivateKey:
    """The key that is to follow; one that an interrupted rotation left is taken again."""
    path = registry.folder / "keys" / f"{role}.next.key"
    public = path.with_suffix(".pub")
    if path.exists():
        new = PrivateKey.load(path, registry.passphrase)
    else:
        new = PrivateKey.generate("ed25519" if role == "log" else "p256")
        secret = None if unencrypted or registry.passphrase is None else registry.passphrase()
        new.save(path, secret)
    write_atomically(public, new.public.pem)
    return new
