"""rebuild: the rows that repeat the log, made again."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from peft_registry.cli.outcome import READS, Home, Line, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.rebuild import Rebuilt


def add_to(app: typer.Typer) -> None:
    """Enter `registry admin rebuild`."""
    app.command()(rebuild)


@command(READS)
def rebuild(home: Home) -> Outcome:
    """Make the rows that repeat the log again, from what was signed. In one transaction."""
    from peft_registry.cli.progress import Progress
    from peft_registry.registry.use_cases.rebuild import rebuild as make_again

    # the rows by which a log is opened may be among those that are gone; the log itself is replayed first
    done = make_again(home.opened(check_log=False), observe=Progress(story_on_stdout=False))
    return Outcome(done.model_dump(mode="json"), _lines(done), "registry log check")


def _lines(done: "Rebuilt") -> Iterator[Line]:
    yield Line(f"{'rebuilt':<9} {len(done.tables)} tables, {sum(table.after for table in done.tables)} rows", 10)
    for wrong in done.indexes:
        yield Line(f"{'index':<9} {wrong}: made again", 10)
    for table in done.changed:
        yield Line(f"{'changed':<9} {table.table}: {table.before} rows before, {table.after} now", 10)
    if not done.changed:
        yield Line(f"{'same':<9} every row was what the log says", 10)
