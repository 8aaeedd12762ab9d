"""pull: a verified copy of a version."""

from pathlib import Path
from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    CheckpointOption,
    HomeOption,
    Output,
    OutputOption,
    ReferenceArgument,
    RootOption,
    TrustOption,
)


def add_to(app: typer.Typer) -> None:
    app.command()(pull)


def pull(
    reference: ReferenceArgument,
    folder: Annotated[Path, typer.Argument(help="New folder to write to.")],
    with_base: Annotated[
        bool, typer.Option("--with-base", help="Put the base beside the adapter, so that the folder loads by its path.")
    ] = False,
    home: HomeOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write a verified copy of a version to a new folder. Plain layout: other tools load it as it is."""
    from peft_registry.cli.wiring import chosen_trust, opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.pull import pull_version, pull_with_base

    with opened(home, checkpoint=checkpoint) as registry:
        policy, problem = chosen_trust(registry, trust, root)
        if problem is not None:
            raise problem
        version = version_named(registry, reference, trust=policy)
        base = None
        if with_base:
            pulled = pull_with_base(registry, version, folder, trust=policy)
            outcome, base = pulled.outcome, pulled.base.label
        else:
            outcome = pull_version(registry, version, folder, trust=policy)
    if output is Output.json:
        told = {"folder": str(folder), "version": version.label, "base": base}
        console.out_json(told | outcome.model_dump(mode="json"))
        return
    beside = "" if base is None else f" with its base {base}"
    console.line(f"pulled   {version.label}{beside} → {folder}  {outcome.verdict}")
    console.next_step(f"registry verify {folder}")
