"""What the shell offers behind a word: versions and aliases of the registry that the command would open, and suites.

An offer decides nothing: it is read from rows that nobody proves, and where the registry cannot be opened there is none.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from peft_registry.schemas.version import Version

_MOST = 200  # versions that are looked at


def offer_versions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names, `name:number` and `name@alias` that begin so."""
    offered = (word for version in _versions(ctx, incomplete) for word in _words(version))
    return sorted({word for word in offered if word.startswith(incomplete)})


def offer_aliases(ctx: typer.Context, incomplete: str) -> list[str]:
    """Aliases that begin so, of whatever version."""
    return sorted(
        {alias for version in _versions(ctx, "") for alias in version.aliases if alias.startswith(incomplete)}
    )


def offer_suites(incomplete: str) -> list[str]:
    """Suites that begin so."""
    from peft_registry.trainer.evaluation.suites import suites

    return sorted(name for name in suites() if name.startswith(incomplete))


def _words(version: "Version") -> Iterator[str]:
    yield version.name
    yield version.label
    yield from (f"{version.name}@{alias}" for alias in version.aliases)


def _versions(ctx: typer.Context, incomplete: str) -> "tuple[Version, ...]":
    """The first versions whose name begins as the word does up to its colon or at sign; none where no registry opens."""
    from peft_registry.cli.wiring import home_folder, users_pins
    from peft_registry.registry.database import catalog
    from peft_registry.registry.homes.home import open_home
    from peft_registry.schemas.errors import KnownError

    prefix = incomplete.partition("@")[0].partition(":")[0]
    # a note would be written into the line that somebody is typing
    with contextlib.suppress(KnownError, OSError), contextlib.redirect_stderr(io.StringIO()):
        registry = open_home(home_folder(ctx.params.get("home")), pins=users_pins(), check_log=False)
        with contextlib.closing(registry), registry.database.read() as tx:
            where = catalog.VersionFilter(name_prefix=prefix)
            return catalog.list_versions(tx, where=where, limit=_MOST).versions
    return ()
