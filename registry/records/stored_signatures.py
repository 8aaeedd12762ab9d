"""Which objects of the store are signatures of folders: found by what they sign, where no row says it."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.oms import BUNDLE_MAX_BYTES, parse_bundle
from peft_registry.registry.storage.interface import ObjectInfo
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest


def signed_payload(registry: Registry, info: ObjectInfo) -> Digest | None:
    """The digest of what was signed, where an object is the signature of a folder: a registration names that."""
    if info.size > BUNDLE_MAX_BYTES:
        return None
    try:
        with registry.store.open(info.digest) as stream:
            if stream.read(1) != b"{":  # weights are not read to their end
                return None
        return parse_bundle(registry.store.read_bytes(info.digest)).payload_digest
    except KnownError:  # not a signature, or not what was stored
        return None
