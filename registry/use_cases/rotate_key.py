"""`registry trust rotate`: one of the home's own keys is replaced by a new one.

A new key lies beside the old until the trust file lists it. A kill in between is completed by the next call.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.homes.home import KEY_ROLES, Registry
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PrivateKey, PublicKey, kind_for
from peft_registry.registry.signing.rotation import KeyNotListed, next_draft, with_replacement
from peft_registry.registry.use_cases.trust import (
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
    files = registry.files
    if finish_rotations(registry.folder, registry.trust_chain.newest.policy):
        return TrustChange("accepted", registry.trust_chain.newest.policy.version, files.trust)
    place = place_of_home(registry, root_key=root_key)
    draft = next_draft(place.chain.newest, now=place.now)
    old_id = PublicKey.parse(read_file(files.key(role).public, max_bytes=KEY_FILE_MAX_BYTES)).key_id
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
        finish_rotations(registry.folder, read_trust_file(place.file).newest.policy)
        if role == "log":
            # read anew: this value remembers the key and the trust file that were
            publish_checkpoint(replace(registry))
    return done


def finish_rotations(folder: Path, policy: TrustPolicy) -> bool:
    """Put each new key in its place that the trust file lists by now; whether there was one."""
    files = HomeFiles(folder)
    finished = False
    for role in KEY_ROLES:
        following = files.key(f"{role}.next")
        if not (following.private.exists() and following.public.exists()):
            continue
        new = PublicKey.parse(read_file(following.public, max_bytes=KEY_FILE_MAX_BYTES))
        if policy.key(new.key_id) is None:
            continue
        standing = files.key(role)
        old = PublicKey.parse(read_file(standing.public, max_bytes=KEY_FILE_MAX_BYTES)).key_id
        if standing.private.exists() and old != new.key_id:
            standing.private.replace(files.key(f"{role}-{old[:16]}").private)
        write_atomically(standing.public, new.pem)
        following.private.replace(standing.private)
        following.public.unlink()
        finished = True
    return finished


def _next_key(registry: Registry, role: HomeRole, *, unencrypted: bool) -> PrivateKey:
    """The key that is to follow; one that an interrupted rotation left is taken again."""
    following = registry.files.key(f"{role}.next")
    if following.private.exists():
        new = PrivateKey.load(following.private, registry.passphrase)
    else:
        new = PrivateKey.generate(kind_for(role))
        secret = None if unencrypted or registry.passphrase is None else registry.passphrase()
        new.save(following.private, secret)
    write_atomically(following.public, new.public.pem)
    return new
