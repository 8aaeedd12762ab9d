"""gate: whether what an alias points at is still let through, and what a policy asks."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.commands import approve
from peft_registry.cli.options import (
    ApproverKeyOption,
    KeyPassphraseOption,
    OptionNeeded,
    ReasonOption,
    reason_and_key,
)
from peft_registry.cli.outcome import READS, READS_AT, SIGNS, Home, Line, Note, Outcome, Part, Verbatim, command

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


@command(READS_AT)
def gate_status(
    home: Home,
    reference: Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="Alias, for example replies@champion.")],
    policy: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Another policy than the one that let it through.")
    ] = None,
) -> Outcome:
    """Hold an alias against its policy today. What was revoked, recalled or is over closes it."""
    from peft_registry.cli.gate import gate_outcome
    from peft_registry.registry.use_cases.gate import gate_status as status_today
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = None if policy is None else read_gate_policy(policy)
    return gate_outcome(status_today(home.registry, reference, asked), opens=f"registry pull {reference} FOLDER")


@command(READS)
def gate_show(
    home: Home,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE|NAME@ALIAS",
            help="Policy, or alias that is bound to one; without it the shipped are listed.",
        ),
    ] = None,
) -> Outcome:
    """Print a policy, shipped or the one that an alias is bound to."""
    from peft_registry.registry.gate.policy import SHIPPED
    from peft_registry.registry.use_cases.bind_alias import policy_of_alias
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if name is not None:
        read = policy_of_alias(home.registry, name) if "@" in name else read_gate_policy(name)
        return Outcome(read.policy.model_dump(mode="json"), map(Verbatim, read.data.decode().splitlines()))
    policies = [read_gate_policy(known) for known in SHIPPED]
    return Outcome(
        [{"name": read.policy.name, "about": read.policy.about, "digest": str(read.digest)} for read in policies],
        [Line(f"{read.policy.name:<10} {read.policy.about}", 11) for read in policies],
        f"registry gate show {SHIPPED[-1]}",
    )


@command(SIGNS)
def gate_set(
    home: Home,
    alias: GuardedArgument,
    policy: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="Policy: starter, regulated, or a file.")
    ] = None,
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
) -> Outcome:
    """Bind an alias to a policy: from then on no other lets it move. Signed with your key."""
    from peft_registry.registry.use_cases.gate import read_gate_policy

    if policy is None:
        raise OptionNeeded("--policy NAME|FILE", "an alias is bound to a policy")
    asked = read_gate_policy(policy)
    bound = _bind(home, alias, asked, reason, key, key_passphrase_file)
    return Outcome(bound.model_dump(mode="json"), _bound_lines(alias, asked, bound), _explained(alias))


def _bound_lines(alias: str, policy: "ReadPolicy", bound: "AliasBinding") -> Iterator[Part]:
    # where more persons must sign, nothing is bound yet
    state = "bound" if bound.still_needed is None else "signed"
    yield f"{state:<8} {alias} to {policy.label} by {bound.person}"
    yield from _needed(bound)
    if bound.nobody_to_spare:
        yield Note(
            "note: this policy needs every one of today's approvers: if one is lost, no version passes it and its binding cannot "
            "be ended until a root lists another with `registry trust add`",
            indent=6,
        )
    if bound.pending:
        yield Line(console.COUNTS_HERE, 10)
    if bound.before is not None:
        yield f"before   {bound.before}"


@command(SIGNS)
def gate_unset(
    home: Home,
    alias: GuardedArgument,
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
) -> Outcome:
    """End the binding of an alias to a policy. Signed with your key."""
    bound = _bind(home, alias, None, reason, key, key_passphrase_file)
    state = "unbound" if bound.still_needed is None else "signed"
    lines = [f"{state:<8} {alias} by {bound.person}", *_needed(bound), f"before   {bound.before or ''}"]
    return Outcome(bound.model_dump(mode="json"), lines, _explained(alias))


def _needed(bound: "AliasBinding") -> Iterator[str]:
    if bound.still_needed is not None:
        yield f"needs    {bound.still_needed}; until then it stays bound as before"


def _explained(alias: str) -> str:
    """The command that shows what the alias asks of a version. `gate status` would fail where it points at none yet."""
    name, _, word = alias.rpartition("@")
    return f"registry promote {name or 'NAME'} {word} --explain"


def _bind(
    home: Home,
    alias: str,
    policy: "ReadPolicy | None",
    reason: str | None,
    key: Path | None,
    key_passphrase_file: Path | None,
) -> "AliasBinding":
    from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named

    reason, file = reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver binds an alias, and a registry keeps no approver's key",
    )
    guarded = guarded_named(home.registry, alias)
    signer = home.signer(file, key_passphrase_file)
    return bind_alias(home.registry, guarded, policy, signer, reason=reason)
