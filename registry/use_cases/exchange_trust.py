"""A trust file between people: signed in turn by its roots, taken by a home, handed to who verifies elsewhere.

`registry trust sign`, `update FILE` and `export`.
"""

from pathlib import Path

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.layout import next_version_of
from peft_registry.registry.homes.pins import pin_of, require_continues
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.rotation import Missing, missing_signatures
from peft_registry.registry.signing.trust_chain import (
    TRUST_MAX_BYTES,
    TrustChain,
    countersigned,
    parse_chain,
    render_chain,
)
from peft_registry.registry.use_cases.rotate_key import finish_rotations
from peft_registry.registry.use_cases.trust import NobodySigns, TrustChange, read_trust_file


def sign_waiting(file: Path, signer: Signer) -> tuple[TrustChain, Missing | None]:
    """Add a root's signature under the newest version of a file; returns its chain, and who is still missing.

    Raises:
        NobodySigns: the key is a root neither of that version nor of the one before.
    """
    chain = parse_chain(read_file(file, max_bytes=TRUST_MAX_BYTES))
    roots = {*chain.newest.policy.roots, *(chain.before.roots if chain.before is not None else ())}
    if signer.public.key_id not in roots:
        raise NobodySigns(", ".join(sorted(f"sha256:{root[:12]}…" for root in roots)))
    signed = TrustChain((*chain.versions[:-1], countersigned(chain.newest, signer)))
    missing = missing_signatures(signed)
    if signed != chain:
        write_atomically(file, render_chain(signed))
    return signed, missing


def take_update(registry: Registry, file: Path) -> TrustChange:
    """Put a newer trust file in the place of the home's own, if it continues that.

    Raises:
        MalformedTrust, BadSignature, TrustStepBroken, TrustThresholdNotMet: it is not a sound trust file.
        TrustReplaced, TrustRolledBack, TrustForked: it does not continue the home's.
    """
    registry.require_writable()
    chain = read_trust_file(file)
    current = registry.trust_chain
    require_continues(pin_of(registry.settings.registry_id, current), chain)
    if chain == current:
        return TrustChange("unchanged", chain.newest.policy.version, registry.files.trust)
    write_atomically(registry.files.trust, render_chain(chain))
    next_version_of(registry.files.trust).unlink(missing_ok=True)
    if registry.pins is not None:
        registry.pins.accept(registry.settings.registry_id, chain)
    finish_rotations(registry.folder, chain.newest.policy)
    return TrustChange("accepted", chain.newest.policy.version, registry.files.trust)


def export_trust(registry: Registry, folder: Path) -> tuple[Path, ...]:
    """Write what an auditor needs besides the artifact: `trust.json` and one `<role>-<key>.pub` a key.

    The keys are SPKI PEM: `openssl` and `model_signing` read them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {registry.files.trust.name: read_file(registry.files.trust, max_bytes=TRUST_MAX_BYTES)}
    for key in registry.trust.keys:
        files[f"{key.role}-{key.key_id[:16]}.pub"] = key.public_key_pem.encode()
    for name, data in files.items():
        (folder / name).unlink(missing_ok=True)
        write_and_hash([data], folder / name, mode=0o644)
    return tuple(folder / name for name in files)
