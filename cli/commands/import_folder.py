"""import: bringing in what was made elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    MirrorOption,
    Output,
    OutputOption,
    PassphraseFileOption,
    ProjectOption,
)

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.import_folder import ImportOutcome

_QUESTIONS_SHOWN = 5  # an import leaves a hundred open


def add_to(app: typer.Typer) -> None:
    """Enter `registry import`."""
    app.command("import")(import_command)


def import_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders of adapters as peft saves them, or of whole models; hub:OWNER/NAME[@REVISION] of the Hub.",
        ),
    ],
    base: Annotated[
        str | None, typer.Option(help="Registered base that they were made on; default: the one that they name.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to register it under; default: that of the folder.")] = None,
    project: ProjectOption = None,
    facts: Annotated[Path | None, typer.Option(help="YAML file of facts that only people know.")] = None,
    mirror: MirrorOption = True,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Register what was made elsewhere. What lies beside the weights enters the record as imported; the rest is asked for."""
    from peft_registry.cli.mirror import push_after
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.import_plan import ImportRequest
    from peft_registry.trainer.use_cases.import_hub import import_sources

    progress = Progress(story_on_stdout=output is Output.text)
    with opened(home, passphrase_file) as registry:
        registry.unlock()
        request = ImportRequest(folders=(), base=base, name=name, facts=facts, project=project)
        outcomes = import_sources(registry, sources, request, observe=progress)
        labels = [outcome.version.label for outcome in outcomes]
        pushed = push_after(registry, *labels) if mirror else None
    if output is Output.json:
        console.out_json([outcome.to_json() for outcome in outcomes])
        return
    for outcome in outcomes:
        _print(outcome, pushed)
    first = outcomes[0].version.label
    console.next_step(f"registry verify {first}")


def _print(outcome: "ImportOutcome", pushed: str | None) -> None:
    version = outcome.version
    done = "already registered" if outcome.was_there else "registered"
    console.line(
        f"{done} {version.label}  imported  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}{'' if pushed is None else f'  {pushed}'}"
    )
    questions = outcome.gaps.open
    if questions:
        owed = {owner: position for position, (owner, _) in enumerate(outcome.gaps.by_owner)}
        first = sorted(questions, key=lambda gap: owed[gap.owner])[:_QUESTIONS_SHOWN]
        named = "; ".join(f"{gap.label or gap.field} ({gap.owner})" for gap in first)
        count = (
            f"{len(questions)} questions, of which the first are" if len(questions) > len(first) else "the questions"
        )
        console.line(f"open     {count}: {named}", indent=9)
        console.line(
            f"all      `registry record {version.label}` shows every one, `registry decide` takes answers", indent=9
        )
