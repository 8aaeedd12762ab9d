"""Bytes by digest: in a local folder, in an S3-compatible bucket, or in memory. What they mean is not known here."""

from urllib.parse import parse_qsl, unquote, urlsplit

from peft_registry.registry.storage.interface import ObjectStore
from peft_registry.schemas.errors import InputRefused

__all__ = ["ObjectStore", "StoreAddressInvalid", "open_store"]

_S3_OPTIONS = frozenset({"endpoint_url", "region"})


class StoreAddressInvalid(InputRefused):
    what = "{uri!r} is not the address of a store"
    why = "{reason}"
    fix = "write a folder, or s3://bucket/prefix?endpoint_url=https://…; credentials come from the environment"

    uri: str
    reason: str


def open_store(uri: str) -> ObjectStore:
    """The store at a folder (`/path`, `file:///path`), `s3://bucket/prefix?endpoint_url=…&region=…`, or `memory://`.

    Opening writes nothing and contacts nobody. Each `memory://` store is a new, empty one.

    Raises:
        StoreAddressInvalid: another scheme, an unknown option, or credentials in the address.
        ExtraMissing: an S3 address without the `s3` extra.
    """
    if uri == "memory://":
        from peft_registry.registry.storage.memory import MemoryStore

        return MemoryStore()
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        from pathlib import Path

        from peft_registry.registry.storage.filesystem import FilesystemStore

        path = unquote(rest) if separator else uri
        if not path:
            raise StoreAddressInvalid(uri, "it names no folder")
        return FilesystemStore(Path(path).expanduser().absolute())
    if scheme == "s3":
        return _open_bucket(uri)
    raise StoreAddressInvalid(uri, f"the scheme {scheme!r} is unknown")


def _open_bucket(uri: str) -> ObjectStore:
    from peft_registry.registry.storage.object_store import BucketStore

    parts = urlsplit(uri)
    if "@" in parts.netloc:
        # said without the address: an error message must not carry a secret
        raise StoreAddressInvalid("s3://…@…", "credentials do not belong into an address")
    if not parts.netloc:
        raise StoreAddressInvalid(uri, "it names no bucket")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(options.keys() - _S3_OPTIONS)
    if unknown:
        raise StoreAddressInvalid(
            uri, f"the option {unknown[0]!r} is unknown; there are {', '.join(sorted(_S3_OPTIONS))}"
        )
    return BucketStore.connect(
        parts.netloc,
        parts.path.strip("/"),
        endpoint_url=options.get("endpoint_url"),
        region=options.get("region"),
    )
