"""Sending what a team's own MLflow server does not show yet: one pass over the versions, as long as it takes.

There is no queue and no memory of a server: each version is compared with what is there. Of what the server has, nothing is read
back as truth, and what others made under a name of ours is said and left as it is.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.connecting import Mirror, NoMirrorNamed, server_address
from peft_registry.registry.mlflow.projected_versions import Numbered, VersionLoader
from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.team_server import NotSent, TeamServer, open_server
from peft_registry.registry.records.references import version_named
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, NotFound
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.schemas.version import Version

TOGETHER = 32  # versions that are read together


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of the versions.

    Attributes:
        server: without credentials.
        sent: the labels of the versions of which anything was missing.
        unchanged: how many were there as they are.
        aliases: a sentence for each that was moved.
        set_aside: the label of each version, or the name, that was not sent, and why.
        others: versions of others under names of ours, which were left as they are.
    """

    server: str
    sent: tuple[str, ...]
    unchanged: int
    aliases: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    others: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the server shows everything that was to be sent."""
        return not self.set_aside

    def lines(self) -> tuple[str, ...]:
        """What a person reads."""
        lines = [f"pushed   {len(self.sent)} sent to {self.server}, {self.unchanged} unchanged; a copy, proves nothing"]
        lines += [f"alias    {alias}" for alias in self.aliases]
        lines += [f"other    {other}: not of this registry, left as it is" for other in self.others]
        return (*lines, *(f"not sent {label}: {why}" for label, why in self.set_aside))

    def to_json(self) -> dict[str, Any]:
        """The object that `mirror push --output json` ends with."""
        return {
            "server": self.server,
            "sent": list(self.sent),
            "unchanged": self.unchanged,
            "aliases": list(self.aliases),
            "not_sent": [{"version": label, "why": why} for label, why in self.set_aside],
            "others": list(self.others),
        }


def push_everything(
    registry: Registry, address: str | None = None, *, with_records: bool = False, observe: Observe = ignore
) -> Pushed:
    """Send every version and alias that a server does not show as it is now.

    Args:
        registry: open; nothing of it is written.
        address: of the server; None for that which the home names, with what the home sends it.
        with_records: what not everybody may read too.
        observe: hears of progress.

    Raises:
        MirrorAddressRefused: it is not the address of a server.
        NoMirrorNamed: no address is given, and the home names none.
        MlflowMissing, MirrorUnavailable: nothing more can be sent now; the next push goes on.
    """
    push = _push_to(
        registry, _named_mirror(registry) if address is None else Mirror(server_address(address)), with_records
    )
    with registry.database.read() as tx:
        # what something was made from was registered before it
        versions = sorted(_every_version(tx), key=lambda version: version.log_index)
    push.send(versions, observe)
    numbers: dict[str, set[int]] = defaultdict(set)
    for version in versions:
        numbers[version.name].add(version.number)
    for name, ours in sorted(numbers.items()):
        push.look_for_others(name, ours)
    return push.outcome()


def push_versions(registry: Registry, references: Sequence[str]) -> Pushed:
    """Send some versions, with the aliases that they have now, to the server that the home names.

    Raises:
        As `push_everything`.
    """
    push = _push_to(registry, _named_mirror(registry))
    push.send([version_named(registry, reference) for reference in references], ignore)
    return push.outcome()


class _Push:
    """One pass over versions."""

    def __init__(self, loader: VersionLoader, server: TeamServer, where: str) -> None:
        self._loader = loader
        self._server = server
        self._where = where
        self._sent: list[str] = []
        self._unchanged = 0
        self._moved: list[str] = []
        self._set_aside: list[tuple[str, str]] = []
        self._others: list[str] = []

    def send(self, versions: Sequence[Numbered], observe: Observe) -> None:
        """Send versions in this order, and then their aliases."""
        observe(Started("push", total=len(versions), unit="versions"))
        aliases: dict[str, dict[str, int]] = defaultdict(dict)
        for start in range(0, len(versions), TOGETHER):
            some = versions[start : start + TOGETHER]
            self._loader.read_ahead(some)
            for version in some:
                with self._setting_aside(version.label):
                    projection = self._loader.load(version)
                    self._send_version(projection)
                    aliases[version.name] |= dict.fromkeys(projection.version.aliases, version.number)
            observe(Advanced("push", start + len(some)))
        for name, pointing in sorted(aliases.items()):
            with self._setting_aside(name):
                moved = self._server.send_aliases(name, pointing)
                self._moved += [f"{name}@{alias} → {name}:{pointing[alias]}" for alias in moved]
        observe(Finished("push"))

    def look_for_others(self, name: str, numbers: Collection[int]) -> None:
        """Find versions under a name of ours with other numbers than these."""
        with self._setting_aside(name):
            self._others += self._server.others(name, numbers)

    def outcome(self) -> Pushed:
        """What was done so far."""
        return Pushed(
            self._where,
            tuple(self._sent),
            self._unchanged,
            tuple(self._moved),
            tuple(self._set_aside),
            tuple(self._others),
        )

    def _send_version(self, projection: Projection) -> None:
        if self._server.send(projection):
            self._sent.append(f"{projection.version.name}:{projection.version.number}")
        else:
            self._unchanged += 1

    @contextmanager
    def _setting_aside(self, what: str) -> Iterator[None]:
        """Keep why something is not sent, and go on with the rest while the server answers."""
        try:
            yield
        except NotSent as refused:
            if refused.is_answer:
                self._server.check_reachable()
            self._set_aside.append((what, f"{refused}"))
        except (IntegrityBroken, NotChecked, NotFound) as error:  # of this version, and said of it
            self._set_aside.append((what, f"{error.what}: {error.why}"))


def _every_version(tx: catalog.Transaction) -> Iterator[Version]:
    after: catalog.PageKey | None = None
    while True:
        page = catalog.list_versions(tx, after=after, limit=1_000)
        yield from page.versions
        after = page.next
        if after is None:
            return


def _named_mirror(registry: Registry) -> Mirror:
    """The server that a home names.

    Raises:
        NoMirrorNamed, MirrorAddressRefused: it names none, or no server.
    """
    if registry.settings.mirror_uri is None:
        raise NoMirrorNamed
    return Mirror.of_uri(registry.settings.mirror_uri)


def _push_to(registry: Registry, mirror: Mirror, with_records: bool = False) -> _Push:
    """A pass over versions that go to a server."""
    loader = VersionLoader(registry, pages=False, records=mirror.with_records or with_records)
    return _Push(loader, open_server(mirror.server), mirror.server)
