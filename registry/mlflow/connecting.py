"""Which MLflow server a home is sent to, written into its settings. No mlflow here, and no server is asked.

Credentials are MLflow's own affair: its client reads them from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`,
`MLFLOW_TRACKING_TOKEN` or `~/.mlflow/credentials`. None is kept here, and an address that holds one is refused.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from peft_registry.registry.homes.home import Registry, write_settings
from peft_registry.registry.homes.known_homes import remember_addresses
from peft_registry.schemas.errors import InputRefused

NONE = "none"
_RECORDS = "with-records"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A server that a home is sent to, and whether it gets what not everybody may read.

    In the settings the second is a fragment of the first: whoever edits them to have more sent has changed the address, and every
    user is asked whether they accept it. No request has a fragment, and no address that a user types may have one.
    """

    server: str
    with_records: bool = False

    @property
    def uri(self) -> str:
        """As the settings keep it."""
        return f"{self.server}#{_RECORDS}" if self.with_records else self.server

    @classmethod
    def of_uri(cls, uri: str) -> "Mirror":
        """What the settings keep.

        Raises:
            MirrorAddressRefused: it is not the address of a server.
        """
        server = uri.removesuffix(f"#{_RECORDS}")
        return cls(server_address(server), server != uri)


class MirrorAddressRefused(InputRefused):
    what = "this is not the address of an MLflow server"
    why = "{reason}"
    fix = "write http://HOST:PORT or https://HOST; MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD itself"

    reason: str


class NoMirrorNamed(InputRefused):
    what = "no MLflow server is named"
    why = "the command names none, and registry.json of this home names none either"
    fix = "run `registry mirror push https://HOST`, or name it once for all: `registry mirror connect https://HOST`"


def connect_mirror(registry: Registry, address: str, *, with_records: bool = False) -> str | None:
    """Have what a home registers sent to a server from now on, or to none (None); what was sent elsewhere stays there.

    Args:
        registry: the home.
        address: of the server, or `none`.
        with_records: send records, settings, reports and the scores of single rows too, as every push by this home will.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorAddressRefused: it is not the address of a server, or holds a password.
    """
    registry.require_writable()
    server = None if address == NONE else server_address(address)
    mirror = None if server is None else "server"
    uri = None if server is None else Mirror(server, with_records).uri
    settings = registry.settings.revised(mirror=mirror, mirror_uri=uri)
    write_settings(registry.folder, settings)
    if registry.pins is not None:
        # whoever named it accepts it: no other command asks again
        remember_addresses(registry.pins.state, registry.folder, settings.registry_id, settings.addresses)
    return server


def server_address(address: str) -> str:
    """The address of a server, without what MLflow does not read at its end.

    Raises:
        MirrorAddressRefused: it is none, or holds a password.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError as error:
        raise MirrorAddressRefused(f"{error}") from error
    if parts.username is not None or parts.password is not None:
        raise MirrorAddressRefused(
            "it holds a name or a password, and is kept in registry.json, which holds no secrets"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise MirrorAddressRefused("it names no host behind http:// or https://")
    if parts.query or parts.fragment:
        raise MirrorAddressRefused("it has a query or a fragment, which MLflow does not read")
    return address.rstrip("/")
