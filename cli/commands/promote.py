"""promote: moving an alias to a version that a policy lets through."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.completion import offer_aliases
from peft_registry.cli.options import MirrorOption, ReferenceArgument
from peft_registry.cli.outcome import SIGNS, Home, Note, Outcome, Part, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.gate import ReadPolicy
    from peft_registry.registry.use_cases.promote import Replaced
    from peft_registry.schemas.version import Version

NO_POLICY = "none"
STARTER = "starter"


def add_to(app: typer.Typer) -> None:
    """Enter `registry promote`."""
    app.command()(promote)


@command(SIGNS)
def promote(
    home: Home,
    reference: ReferenceArgument,
    alias: Annotated[str, typer.Argument(help="Alias, for example champion.", autocompletion=offer_aliases)],
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="What is asked of it: starter, regulated, a file, or none. Default: what the alias is bound to, else starter.",
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which rules of the policy it meets; move nothing.")
    ] = False,
    if_current: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Only if the alias points at this number now; 0: at nothing.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Reason, kept in the signed record.")] = None,
    mirror: MirrorOption = True,
) -> Outcome:
    """Point an alias at a version that a policy lets through. Signed and logged."""
    from peft_registry.cli.gate import gate_outcome
    from peft_registry.cli.mirror import push_after
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.gate import explain_gate, policy_for, read_gate_policy
    from peft_registry.registry.use_cases.gate import promote as promote_through
    from peft_registry.registry.use_cases.promote import set_alias

    asked = None if policy is None or (policy == NO_POLICY and not explain) else read_gate_policy(policy)
    registry = home.registry
    version = version_named(registry, reference)
    if policy is None:
        asked = policy_for(registry, version.name, alias, otherwise=STARTER)
    if explain:
        assert asked is not None, "what is explained is a policy"
        typed = () if policy is None else ("--policy", policy)
        opens = shlex.join(["registry", "promote", version.label, alias, *typed])
        return gate_outcome(explain_gate(registry, version, asked), opens=opens)
    registry.unlock()
    if asked is None:
        replaced = set_alias(registry, version, alias, reason=reason, if_current=if_current)
    else:
        replaced = promote_through(registry, version, alias, asked, reason=reason, if_current=if_current)
    pushed = push_after(registry, version.label) if mirror else None
    value = {"name": version.name, "alias": alias, "version": version.label}
    moved = {"manifest_digest": str(version.manifest_digest), "replaced": replaced.version}
    policy_name = None if asked is None else asked.policy.name
    waits = {"pending": True} if replaced.pending else {}
    return Outcome(
        value | moved | {"policy": policy_name, "undecided": list(replaced.undecided)} | waits,
        _lines(version, alias, replaced, asked, pushed),
        "registry log sign" if replaced.pending else f"registry pull {version.name}@{alias} FOLDER",
    )


def _lines(
    version: "Version", alias: str, replaced: "Replaced", policy: "ReadPolicy | None", pushed: str | None
) -> Iterator[Part]:
    yield f"alias    {version.name}@{alias} → {version.label}"
    if replaced.version == version.label:
        yield f"again    it pointed there since {replaced.at}, and the move was signed and logged anew"
    elif replaced.version is not None:
        yield f"replaces {replaced.version}, which it pointed at since {replaced.at}"
    yield f"policy   {'none was asked' if policy is None else f'{policy.policy.name}: {policy.policy.about}'}"
    for text in replaced.undecided:
        yield f"undecided {text}"
    if pushed is not None:
        yield Note(f"mirror   {pushed}")
    if replaced.pending:
        yield "pending  it points there once the log is signed, where the log key is; until then where it did"
