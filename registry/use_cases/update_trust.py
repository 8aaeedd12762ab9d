"""`registry trust update`: the home's own trust file brought up to what its trainer key may sign today.

A trust file of form 1 lists the kinds of statements of each key. One that was issued before a kind existed does not let anybody
sign it, and nobody but the holder of the root may change that. The next version is of form 2, in which a key's role decides.
Validity, persons, other keys and revocations stay as they are.
"""

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PublicKey
from peft_registry.registry.signing.rotation import extended, next_draft
from peft_registry.registry.signing.trust_chain import render_chain, require_signed
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
        if key.key_id == own and not current.may_sign(key, PREDICATE_TYPES[kind])
    )
    if not added:
        return ()
    chain = registry.trust_chain
    draft = next_draft(chain.newest, now=registry.clock())
    signed = extended(chain, draft, [registry.private_key("root")])
    require_signed(signed)
    write_atomically(registry.folder / "trust.json", render_chain(signed))
    return added
