"""What `registry trust` does to a home's trust file: shown, pinned, changed by whoever holds its root, handed to others.

A change is one new version at the end of the chain, signed and checked before the file is replaced; a kill leaves the old file or
the new one. The same command again finds nothing to change.
"""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.disk.hashing import write_and_hash
from peft_registry.registry.homes.home import Registry, read_settings
from peft_registry.registry.homes.pins import Pin, Pins, name_of_chain, require_continues
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PublicKey
from peft_registry.registry.signing.rotation import extended, next_draft
from peft_registry.registry.signing.trust import TrustAnchors, open_chain
from peft_registry.registry.signing.trust_chain import TRUST_MAX_BYTES, TrustChain, render_chain, require_signed
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS

FILE_NAME = "trust.json"
ACCEPTED_NAME = "trust-accepted"


class RootNotNamed(InputRefused):
    reference = "root-not-named"
    what = "the trust file was not accepted"
    why = "{typed} is not a root of its newest version, whose roots are {roots}"
    fix = "compare the root with the keeper of the trust file over another channel, and type it as it stands there"

    typed: str
    roots: str


# --- the pin


@dataclass(frozen=True, slots=True)
class PinnedTrust:
    """A trust file beside what the user accepted before.

    Attributes:
        name: what its pin is filed under.
        chain: its versions.
        pin: what was accepted; None if nothing was, or if that cannot be read.
        problem: why it is refused; None where it continues what was accepted.
    """

    name: str
    chain: TrustChain
    pin: Pin | None
    problem: KnownError | None


def pinned_trust(place: Path, pins: Pins) -> PinnedTrust:
    """The trust file of a home, or a file itself, beside what the user accepted before; nothing is remembered.

    Raises:
        HomeDamaged, MalformedTrust, BadSignature, TrustStepBroken, TrustThresholdNotMet: it is not a sound trust file.
    """
    file = place / FILE_NAME if place.is_dir() else place
    chain = open_chain(
        read_file(file, max_bytes=TRUST_MAX_BYTES),
        anchors=TrustAnchors(file_given_by_user=True),
        accepted_version=None,
    )
    name = read_settings(place).registry_id if place.is_dir() else name_of_chain(chain)
    pin, problem = None, None
    try:
        pin = pins.pin(name)
        if pin is not None:
            require_continues(pin, chain)
    except (IntegrityBroken, NotChecked) as error:
        problem = error
    return PinnedTrust(name, chain, pin, problem)


def accept_trust(place: Path, pins: Pins, *, root: str) -> bool:
    """Accept a trust file as it lies there, whatever was accepted before; False where that cannot be remembered.

    Args:
        place: a home, or a trust file.
        pins: the user's.
        root: `sha256:…` of a root of its newest version, as the user typed it.

    Raises:
        RootNotNamed: it is not a root of it.
    """
    chain = pinned_trust(place, pins).chain
    roots = [f"sha256:{key_id}" for key_id in chain.newest.policy.roots]
    if root not in roots:
        raise RootNotNamed(root, ", ".join(roots))
    name = name_of_chain(chain)
    if place.is_dir():
        name = read_settings(place).registry_id
        # the home's own memory would go on refusing what the user accepts now
        write_atomically(place / ACCEPTED_NAME, str(chain.newest.policy.version).encode())
    return pins.accept(name, chain)


# --- changes


def update_trust(registry: Registry) -> tuple[str, ...]:
    """Let the trainer key sign every kind that its role covers; returns the kinds that were added, none if none lacks.

    A file of form 1 lists the kinds of statements of each key. One that was issued before a kind existed does not let anybody sign
    it, and nobody but the holder of the root may change that. The next version is of form 2, in which a key's role decides.
    Validity, persons, other keys and revocations stay as they are.

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
    write_atomically(registry.folder / FILE_NAME, render_chain(signed))
    return added


# --- for others


def export_trust(registry: Registry, folder: Path) -> tuple[Path, ...]:
    """Write what an auditor needs besides the artifact: `trust.json` and one `<role>-<key>.pub` a key.

    The keys are SPKI PEM: `openssl` and `model_signing` read them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {FILE_NAME: read_file(registry.folder / FILE_NAME, max_bytes=TRUST_MAX_BYTES)}
    for key in registry.trust.keys:
        files[f"{key.role}-{key.key_id[:16]}.pub"] = key.public_key_pem.encode()
    for name, data in files.items():
        (folder / name).unlink(missing_ok=True)
        write_and_hash([data], folder / name, mode=0o644)
    return tuple(folder / name for name in files)
