"""How the mirror stands as far as the home knows, and forgetting it. MLflow is neither asked nor changed."""

from dataclasses import dataclass
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.home_route import mirror_place, mirror_route
from peft_registry.registry.mlflow.route import RouteUnknown
from peft_registry.registry.mlflow.route_state import RouteState


@dataclass(frozen=True, slots=True)
class MirrorStanding:
    """How the mirror stands, as far as the home knows; `waiting` counts entries by name, and `others` are routes of other homes."""

    route: str
    versions: int
    waiting: dict[str, int]
    is_gone: bool
    others: tuple[catalog.RouteStanding, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"mirror   {self.versions} versions in {self.route}"]
        if self.is_gone:
            lines.append("gone     the store is not there any more: run `registry mirror rebuild`")
        lines += [f"waiting  {name}: {count}" for name, count in self.waiting.items()]
        lines += [
            f"another  {other.versions} versions in {other.place}"
            + (f", {other.waiting} waiting" * bool(other.waiting))
            for other in self.others
        ]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        others = [{"place": other.place, "versions": other.versions, "waiting": other.waiting} for other in self.others]
        return {
            "route": self.route,
            "versions": self.versions,
            "waiting": self.waiting,
            "gone": self.is_gone,
            "others": others,
        }


def mirror_standing(registry: Registry) -> MirrorStanding:
    """What is mirrored, where, and what waits; MLflow is not asked.

    Raises:
        SchemaMismatch: the home is of an earlier release.
    """
    registry.database.require_current()
    destination = mirror_route(registry)
    with registry.database.read() as tx:
        route = catalog.route_at(tx, mirror_place(registry))
        if route is None:
            waiting = catalog.versions_by_name(tx)
            return MirrorStanding(destination.described, 0, waiting, is_gone=False, others=catalog.routes(tx))
        waiting = catalog.waiting_by_name(tx, route)
        versions = catalog.count_mirrored(tx, route, "version")
        others = tuple(other for other in catalog.routes(tx) if other.route != route)
        is_gone = destination.missing_file is not None and RouteState(registry, route, None).wrote
    return MirrorStanding(destination.described, versions, waiting, is_gone=is_gone, others=others)


def forget_mirror(registry: Registry, place: str | None = None) -> str:
    """Forget what an MLflow called everything, and that anything is to be copied to it; MLflow is left as it is.

    Returns where it is.

    Args:
        registry: the home.
        place: of another home's MLflow, as `mirror_standing` names it; None for this home's own.

    Raises:
        HomeReadOnly: this home cannot be written.
        RouteUnknown: nothing was copied there.
    """
    registry.require_writable()
    with registry.database.write() as tx:
        route = catalog.route_at(tx, place or mirror_place(registry))
        if route is None:
            raise RouteUnknown(place or mirror_route(registry).described)
        catalog.forget_route(tx, route)
    return place or mirror_route(registry).described
