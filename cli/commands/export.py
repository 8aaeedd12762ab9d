"""export: a version as other tools want it, or whether they would take it."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, ReferenceArgument, RootOption, TrustOption

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.check_serving import ServingCheck


class Server(StrEnum):
    """Inference servers whose rules are known."""

    vllm = "vllm"


def add_to(app: typer.Typer) -> None:
    app.command()(export)


def export(
    reference: ReferenceArgument,
    check: Annotated[
        Server | None, typer.Option(help="Server that is to load it; nothing is written and none is started.")
    ] = None,
    max_lora_rank: Annotated[int, typer.Option(help="What the server is started with.", min=1, max=512)] = 16,
    base: Annotated[
        Path | None, typer.Option(help="Folder of the base that it serves, whose bytes are compared too.")
    ] = None,
    home: HomeOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Say what a server would refuse of a version. Each problem comes with its reason and what to do."""
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.check_serving import check_for_vllm
    from peft_registry.schemas.errors import InputRefused, Refused

    if check is None:
        raise InputRefused.in_words(
            what="it is not said what the version is exported for",
            why="nothing is written or checked without that",
            fix="add --check vllm",
        )
    with opened(home) as registry:
        policy, problem = chosen_trust(registry, trust, root)
        if problem is not None:
            raise problem
        version = version_named(registry, reference, trust=policy)
        checked = check_for_vllm(registry, version, max_rank=max_lora_rank, served=base, trust=policy)
    if output is Output.json:
        console.out_json(checked.to_json())
    else:
        _print(checked, check)
    if checked.problems:
        raise typer.Exit(Refused.exit_code)
    if output is Output.text:
        console.next_step(f"registry pull {version.label} --cache DIR")


def _print(checked: "ServingCheck", server: Server) -> None:
    for number, problem in enumerate(checked.problems, start=1):
        console.line(f"{number:>2}  {problem.what}", indent=4)
        console.line(f"    why: {problem.why}", indent=9)
        console.line(f"    fix: {problem.fix}", indent=9)
    for note in checked.notes:
        console.line(f"note: {note}", indent=6)
    label = checked.version.label
    if checked.problems:
        console.line(f"{server} would refuse {label}: {len(checked.problems)} problems")
    else:
        console.line(f"{server} would take {label}")
