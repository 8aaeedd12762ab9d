"""`registry trust update`: the home's own trust file brought up to what its trainer key may sign today.

A trust file lists the kinds of statements of each key. One that was issued before a kind existed does not let anybody sign it,
and nobody but the holder of the root may change that. Validity, persons, other keys and revocations stay as they are.
"""

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PublicKey
from peft_registry.registry.signing.trust import load_rotated, sign_trust
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS


def update_trust(registry: Registry) -> tuple[str, ...]:
    """Sign the next version of the trust file with the home's root key; returns the kinds that were added, none if none lacks.

    Raises:
        HomeReadOnly: this home cannot be written.
        KeyFileMissing, PassphraseNeeded, WrongPassphrase: somebody else holds the root key, or it does not open.
        TrustThresholdNotMet: the root key here is not enough, or is not a root of the file.
    """
    registry.require_writable()
    current = registry.trust
    own = PublicKey.parse(read_file(registry.folder / "keys" / "trainer.pub", max_bytes=KEY_FILE_MAX_BYTES)).key_id
    added = tuple(
        kind
        for kind in ROLE_KINDS["trainer"]
        for key in current.keys
        if key.key_id == own and PREDICATE_TYPES[kind] not in key.predicate_types
    )
    if not added:
        return ()
    types = tuple(PREDICATE_TYPES[kind] for kind in added)
    keys = tuple(
        key.revised(predicate_types=(*key.predicate_types, *types)) if key.key_id == own else key
        for key in current.keys
    )
    issued = current.revised(version=current.version + 1, issued_at=registry.clock(), keys=keys)
    data = sign_trust(issued, [registry.private_key("root")])
    load_rotated(data, current=current, now=registry.clock())
    write_atomically(registry.folder / "trust.json", data)
    return added
