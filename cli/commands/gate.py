"""gate: whether what an alias points at is still let through, and what a policy asks."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import CheckpointOption, HomeOption, Output, OutputOption


def add_to(app: typer.Typer) -> None:
    gate = typer.Typer(help="The policies that guard aliases.", no_args_is_help=True)
    gate.command("status")(gate_status)
    gate.command("show")(gate_show)
    app.add_typer(gate, name="gate")


def gate_status(
    reference: Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="Alias, for example replies@champion.")],
    policy: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Another policy than the one that let it through.")
    ] = None,
    home: HomeOption = None,
    checkpoint: CheckpointOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Hold an alias against its policy today. What was revoked, recalled or is over closes it."""
    from peft_registry.cli.gate import show_gate
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.gate import gate_status as status_today
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = None if policy is None else read_gate_policy(policy)
    with opened(home, checkpoint=checkpoint) as registry:
        shown = status_today(registry, reference, asked)
    show_gate(shown, output, opens=f"registry pull {reference} FOLDER")


def gate_show(
    name: Annotated[str | None, typer.Argument(help="Policy; without a name all are listed.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Print a policy that comes with the tool, to be copied and changed."""
    from peft_registry.registry.gate.policy import SHIPPED
    from peft_registry.registry.use_cases.gate import read_gate_policy, shipped_policy

    if name is not None:
        text = shipped_policy(name)
        if output is Output.json:
            console.out_json(read_gate_policy(name).policy.model_dump(mode="json"))
            return
        for line in text.decode().splitlines():
            console.out(line)
        return
    policies = [read_gate_policy(known) for known in SHIPPED]
    if output is Output.json:
        console.out_json(
            [{"name": read.policy.name, "about": read.policy.about, "digest": str(read.digest)} for read in policies]
        )
        return
    for read in policies:
        console.line(f"{read.policy.name:<10} {read.policy.about}", indent=11)
    console.next_step(f"registry gate show {SHIPPED[-1]}")
