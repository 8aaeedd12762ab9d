"""Which MLflow server a home is sent to, written into its settings. No mlflow here, and no server is asked.

Credentials are MLflow's own affair: its client reads them from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`,
`MLFLOW_TRACKING_TOKEN` or `~/.mlflow/credentials`. None is kept here, and an address that holds one is refused.
"""

from urllib.parse import urlsplit

from peft_registry.registry.homes.home import Registry, write_settings
from peft_registry.registry.homes.known_homes import remember_addresses
from peft_registry.schemas.errors import InputRefused

NONE = "none"


class MirrorAddressRefused(InputRefused):
    what = "this is not the address of an MLflow server"
    why = "{reason}"
    fix = "write http://HOST:PORT or https://HOST; MLflow reads MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD itself"

    reason: str


class NoMirrorNamed(InputRefused):
    what = "no MLflow server is named"
    why = "the command names none, and registry.json of this home names none either"
    fix = "run `registry mirror push https://HOST`, or name it once for all: `registry mirror connect https://HOST`"


def connect_mirror(registry: Registry, address: str) -> str | None:
    """Have what a home registers sent to a server from now on, or to none (None); what was sent elsewhere stays there.

    Args:
        registry: the home.
        address: of the server, or `none`.

    Raises:
        HomeReadOnly: this home cannot be written.
        MirrorAddressRefused: it is not the address of a server, or holds a password.
    """
    registry.require_writable()
    server = None if address == NONE else server_address(address)
    mirror = None if server is None else "server"
    settings = registry.settings.revised(mirror=mirror, mirror_uri=server)
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
