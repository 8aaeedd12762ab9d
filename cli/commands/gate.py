"""gate: whether what an alias points at is still let through, and what a policy asks."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import approve
from peft_registry.cli.options import (
    ApproverKeyOption,
    CheckpointOption,
    HomeOption,
    KeyPassphraseOption,
    OptionNeeded,
    Output,
    OutputOption,
    PassphraseFileOption,
    ReasonOption,
    reason_and_key,
)

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.bind_alias import AliasBinding
    from peft_registry.registry.use_cases.gate import ReadPolicy

GuardedArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME@ALIAS|ALIAS",
        help="Alias of one name, or of every name, also of those to come.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Enter `registry gate` and its commands, in the order of its help."""
    gate = typer.Typer(help="The policies that guard aliases.", no_args_is_help=True)
    gate.command("status")(gate_status)
    gate.command("show")(gate_show)
    approve.add_to(gate)
    gate.command("set")(gate_set)
    gate.command("unset")(gate_unset)
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
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE|NAME@ALIAS",
            help="Policy, or alias that is bound to one; without it the shipped are listed.",
        ),
    ] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Print a policy, shipped or the one that an alias is bound to."""
    from peft_registry.registry.gate.policy import SHIPPED
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if name is not None:
        read = _policy_of(name, home) if "@" in name else read_gate_policy(name)
        if output is Output.json:
            console.out_json(read.policy.model_dump(mode="json"))
            return
        for line in read.data.decode().splitlines():
            console.out(console.printable(line))
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


def _policy_of(alias: str, home: Path | None) -> "ReadPolicy":
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.bind_alias import policy_of_alias

    with opened(home) as registry:
        return policy_of_alias(registry, alias)


def gate_set(
    alias: GuardedArgument,
    policy: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Policy: starter, regulated, or a file.")
    ] = None,
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Bind an alias to a policy: from then on no other lets it move. Signed with your key."""
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if policy is None:
        raise OptionNeeded("--policy NAME|FILE", "an alias is bound to a policy")
    asked = read_gate_policy(policy)
    bound = _bind(alias, asked, reason, (key, key_passphrase_file), (home, passphrase_file))
    if output is Output.json:
        console.out_json(bound.model_dump(mode="json"))
        return
    # where more persons must sign, nothing is bound yet
    state = "bound" if bound.still_needed is None else "signed"
    console.line(f"{state:<8} {alias} to {asked.policy.name} ({asked.digest.short}) by {bound.person}")
    _show_needed(bound)
    if bound.nobody_to_spare:
        console.note(
            "note: this policy needs every one of today's approvers: if one is lost, no version passes it and its binding cannot "
            "be ended until a root lists another with `registry trust add`",
            indent=6,
        )
    if bound.pending:
        console.line(console.COUNTS_HERE, indent=10)
    if bound.before is not None:
        console.line(f"before   {console.printable(bound.before)}", indent=9)
    console.next_step(_explained(alias))


def gate_unset(
    alias: GuardedArgument,
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """End the binding of an alias to a policy. Signed with your key."""
    bound = _bind(alias, None, reason, (key, key_passphrase_file), (home, passphrase_file))
    if output is Output.json:
        console.out_json(bound.model_dump(mode="json"))
        return
    state = "unbound" if bound.still_needed is None else "signed"
    console.line(f"{state:<8} {alias} by {bound.person}")
    _show_needed(bound)
    console.line(f"before   {console.printable(bound.before or '')}", indent=9)
    console.next_step(_explained(alias))


def _show_needed(bound: "AliasBinding") -> None:
    if bound.still_needed is not None:
        console.line(f"needs    {console.printable(bound.still_needed)}; until then it stays bound as before", indent=9)


def _explained(alias: str) -> str:
    """The command that shows what the alias asks of a version. `gate status` would fail where it points at none yet."""
    name, _, word = alias.rpartition("@")
    return f"registry promote {name or 'NAME'} {word} --explain"


def _bind(
    alias: str,
    policy: "ReadPolicy | None",
    reason: str | None,
    key: tuple[Path | None, Path | None],
    home: tuple[Path | None, Path | None],
) -> "AliasBinding":
    """Sign it; a key and a home each come with the file of their passphrase."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named

    file, key_passphrase_file = key
    folder, passphrase_file = home
    reason, file = reason_and_key(
        reason,
        file,
        why_reason="everybody who is refused reads why",
        why_key="an approver binds an alias, and a registry keeps no approver's key",
    )
    with opened(folder, passphrase_file) as registry:
        guarded = guarded_named(registry, alias)
        signer = unlocked_signer(registry, file, key_passphrase_file, passphrase_file)
        return bind_alias(registry, guarded, policy, signer, reason=reason)
