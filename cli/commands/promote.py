"""promote: moving an alias to a version that a policy lets through."""

from typing import Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    MirrorOption,
    Output,
    OutputOption,
    PassphraseFileOption,
    ReferenceArgument,
)

NO_POLICY = "none"
STARTER = "starter"


def add_to(app: typer.Typer) -> None:
    """Enter `registry promote`."""
    app.command()(promote)


def promote(
    reference: ReferenceArgument,
    alias: Annotated[str, typer.Argument(help="Alias, for example champion.")],
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What is asked of it: starter, regulated, a file, or none. Default: what the alias is bound to, else starter.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how it stands before the policy; move nothing.")
    ] = False,
    if_current: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only if the alias points at this number now; 0: at nothing.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Reason, kept in the signed record.")] = None,
    mirror: MirrorOption = True,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Point an alias at a version that a policy lets through. Signed and logged."""
    from peft_registry.cli.gate import show_gate
    from peft_registry.cli.mirror import push_after
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.gate import explain_gate, policy_for, read_gate_policy
    from peft_registry.registry.use_cases.gate import promote as promote_through
    from peft_registry.registry.use_cases.promote import set_alias

    asked = None if policy is None or (policy == NO_POLICY and not explain) else read_gate_policy(policy)
    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        if policy is None:
            asked = policy_for(registry, version.name, alias, otherwise=STARTER)
        if explain:
            assert asked is not None, "what is explained is a policy"
            show_gate(explain_gate(registry, version, asked), output, opens=f"registry promote {version.label} {alias}")
        registry.unlock()
        if asked is None:
            replaced = set_alias(registry, version, alias, reason=reason, if_current=if_current)
        else:
            replaced = promote_through(registry, version, alias, asked, reason=reason, if_current=if_current)
        pushed = push_after(registry, version.label) if mirror else None
    if output is Output.json:
        value = {"name": version.name, "alias": alias, "version": version.label}
        moved = {"manifest_digest": str(version.manifest_digest), "replaced": replaced.version}
        policy_name = None if asked is None else asked.policy.name
        console.out_json(value | moved | {"policy": policy_name, "undecided": list(replaced.undecided)})
        return
    console.line(f"alias    {version.name}@{alias} → {version.label}")
    if replaced.version == version.label:
        console.line(f"again    it pointed there since {replaced.at}, and the move was signed and logged anew")
    elif replaced.version is not None:
        console.line(f"replaces {replaced.version}, which it pointed at since {replaced.at}")
    console.line(f"policy   {'none was asked' if asked is None else f'{asked.policy.name}: {asked.policy.about}'}")
    for text in replaced.undecided:
        console.line(f"open     {text}")
    if pushed is not None:
        console.note(f"mirror   {pushed}")
    console.next_step(f"registry pull {version.name}@{alias} FOLDER")
