"""`registry trust pin`: which trust file the user accepted, beside the one that lies there, and how another is accepted.

Of a home also the addresses that it names: they are accepted with it.
"""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.homes.home import read_settings
from peft_registry.registry.homes.known_homes import Addresses, known_under, require_accepted_addresses
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.homes.pins import Pin, Pins, name_of_chain
from peft_registry.registry.signing.trust_chain import TrustChain, require_signed
from peft_registry.registry.use_cases.trust import read_trust_file
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, NotChecked


class RootNotNamed(InputRefused):
    what = "the trust file was not accepted"
    why = "{typed} is not a root of its newest version that signed the file: {roots}"
    fix = "compare the root with the keeper of the trust file over another channel, and type it exactly"

    typed: str
    roots: str


@dataclass(frozen=True, slots=True)
class PinnedTrust:
    """A trust file beside what the user accepted before.

    Attributes:
        name: what its pin is filed under.
        chain: its versions.
        pin: what was accepted; None if nothing was, or if that cannot be read.
        problem: why it is refused; None where it continues what was accepted.
        addresses: what its home contacts; nothing for a file.
    """

    name: str
    chain: TrustChain
    pin: Pin | None
    problem: KnownError | None
    addresses: Addresses

    @property
    def roots(self) -> tuple[str, ...]:
        """The roots of its newest version that signed a version of it: whoever made the file can list others beside their own."""
        signers = frozenset().union(*require_signed(self.chain))
        return tuple(root for root in self.chain.newest.policy.roots if root in signers)


def pinned_trust(place: Path, pins: Pins) -> PinnedTrust:
    """The trust file of a home, or a file itself, beside what the user accepted before; nothing is remembered.

    Raises:
        HomeDamaged, MalformedTrust, BadSignature, TrustStepBroken, TrustThresholdNotMet: it is not a sound trust file.
    """
    is_home = place.is_dir()
    chain = read_trust_file(HomeFiles(place).trust if is_home else place)
    settings = read_settings(place) if is_home else None
    name = name_of_chain(chain) if settings is None else settings.registry_id
    addresses = Addresses() if settings is None else settings.addresses
    pin = None
    problem = None
    try:
        pin = pins.pin(name)
        pins.require_followed(name, chain, before=known_under(pins.state, place) if is_home else ())
        if is_home:
            require_accepted_addresses(pins.state, place, name, addresses)
    except (IntegrityBroken, NotChecked) as error:
        problem = error
    return PinnedTrust(name, chain, pin, problem, addresses)


def accept_trust(place: Path, pins: Pins, *, root: str) -> bool:
    """Accept a trust file as it lies there, whatever was accepted before; False where that cannot be remembered.

    Args:
        place: a home, or a trust file.
        pins: the user's.
        root: `sha256:…` of a root of its newest version that signed the file, as the user typed it.

    Raises:
        RootNotNamed: it is not one.
    """
    shown = pinned_trust(place, pins)
    chain = shown.chain
    roots = [f"sha256:{key_id}" for key_id in shown.roots]
    if root not in roots:
        raise RootNotNamed(root, ", ".join(roots))
    name = name_of_chain(chain)
    if place.is_dir():
        name = read_settings(place).registry_id
        # the home's own memory would go on refusing what the user accepts now
        write_atomically(HomeFiles(place).trust_accepted, str(chain.newest.policy.version).encode())
    return pins.accept(name, chain)
