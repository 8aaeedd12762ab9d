"""upgrade: a home of an earlier release."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption


def add_to(app: typer.Typer) -> None:
    app.command()(upgrade)


def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Bring a home of an earlier release up to date. A backup first, then one transaction; a kill leaves old or new."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.settings import passphrase_source
    from peft_registry.cli.wiring import home_folder, seen_checkpoints
    from peft_registry.registry.use_cases.upgrade import needed_upgrade, upgrade_home

    folder = home_folder(home)
    if dry_run:
        before, after = needed_upgrade(folder)
        if output is Output.json:
            console.out_json({"before": before, "after": after, "changed": False, "would_change": before != after})
            return
        console.line(f"schema   revision {before}" + ("" if before == after else f", would become {after}"))
        console.next_step("registry log check" if before == after else "registry upgrade")
        return
    progress = Progress(story_on_stdout=output is Output.text)
    done = upgrade_home(
        folder, passphrase=passphrase_source(passphrase_file), seen=seen_checkpoints(), observe=progress
    )
    if output is Output.json:
        backup = None if done.backup is None else str(done.backup)
        console.out_json({"before": done.before, "after": done.after, "changed": done.changed, "backup": backup})
        return
    state = "upgraded" if done.changed else "up to date"
    console.line(f"{state}  revision {done.after}, checkpoint over {done.covered} entries")
    console.next_step("registry log check")
