"""Where a home's MLflow is, its own store or the server named in `registry.json`, and what the database calls it.

Of several homes on one database each may have its own.
"""

import secrets

from peft_registry.registry.disk.files import write_new
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.route import MirrorRoute

_PLACE_OF_OWN_STORE = "store"


def mirror_route(registry: Registry) -> MirrorRoute:
    """The home's one route to MLflow."""
    settings = registry.settings
    if settings.mirror == "server" and settings.mirror_uri:
        return MirrorRoute.of_server(settings.mirror_uri)
    return MirrorRoute.of_home(registry.folder)


def mirror_place(registry: Registry) -> str:
    """Where this home's MLflow is, among all that the database knows: its own store has a name if others share the database."""
    destination = mirror_route(registry)
    if destination.kind == "server":
        return destination.described
    if registry.settings.database is None:
        return _PLACE_OF_OWN_STORE
    return f"{_PLACE_OF_OWN_STORE} of {_name_of_store(registry)}"


def _name_of_store(registry: Registry) -> str:
    """A name that this home's store was given when it was first asked for."""
    path = registry.files.mirror
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        name = secrets.token_hex(4)
        if not registry.read_only:
            write_new(path, name.encode("ascii"), mode=0o644)
        return name
