"""import: bringing in what was made elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.options import MirrorOption, ProjectOption
from peft_registry.cli.outcome import SIGNS, Home, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.import_folder import ImportOutcome

_QUESTIONS_SHOWN = 5  # an import leaves a hundred open


def add_to(app: typer.Typer) -> None:
    """Enter `registry import`."""
    app.command("import")(import_command)


@command(SIGNS)
def import_command(
    home: Home,
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
) -> Outcome:
    """Register what was made elsewhere. What lies beside the weights enters the record as imported; the rest is asked for."""
    from peft_registry.cli.mirror import push_after
    from peft_registry.registry.use_cases.import_plan import ImportRequest
    from peft_registry.trainer.use_cases.import_hub import import_sources

    home.registry.unlock()
    request = ImportRequest(folders=(), base=base, name=name, facts=facts, project=project)
    outcomes = import_sources(home.registry, sources, request, observe=home.story)
    labels = [outcome.version.label for outcome in outcomes]
    pushed = push_after(home.registry, *labels) if mirror else None
    lines = [line for outcome in outcomes for line in _lines(outcome, pushed)]
    return Outcome([outcome.to_json() for outcome in outcomes], lines, f"registry verify {labels[0]}")


def _lines(outcome: "ImportOutcome", pushed: str | None) -> Iterator[str]:
    version = outcome.version
    done = "already registered" if outcome.was_there else "registered"
    yield (
        f"{done} {version.label}  imported  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}{'' if pushed is None else f'  {pushed}'}"
    )
    questions = outcome.gaps.open
    if questions:
        owed = {owner: position for position, (owner, _) in enumerate(outcome.gaps.by_owner)}
        first = sorted(questions, key=lambda gap: owed[gap.owner])[:_QUESTIONS_SHOWN]
        named = "; ".join(f"{gap.label or gap.field} ({gap.owner})" for gap in first)
        count = f"{len(questions)} fields, of which the first are" if len(questions) > len(first) else "the fields"
        yield f"open     {count}: {named}"
        yield (
            f"all      `registry record {version.label}` shows every one, and `registry decide {version.label} --form FILE` asks "
            "those that decide something"
        )
