"""approve and waive: what people decide about a version, under their own keys."""

from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    ApproverKeyOption,
    HomeOption,
    KeyPassphraseOption,
    OptionNeeded,
    Output,
    OutputOption,
    PassphraseFileOption,
    ReferenceArgument,
    reason_and_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.approve import EarlierAct
    from peft_registry.schemas.version import Version

PolicyOption = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="Policy under which: starter, regulated, or a file.")
]
ReasonOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept in the signed statement.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry gate approve` and `registry gate waive`."""
    app.command()(approve)
    app.command()(waive)


def approve(
    reference: ReferenceArgument,
    policy: PolicyOption = "regulated",
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Approve a version as it is now, under a policy. Signed with your key."""
    from peft_registry.registry.use_cases.approve import approve as sign_approval
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = read_gate_policy(policy)
    why, file = _required(reason, key)
    with _opened_for(reference, home, file, key_passphrase_file, passphrase_file) as (registry, version, signer):
        approval = sign_approval(registry, version, asked, signer, reason=why)
        person = registry.trust.person_of(approval.key_id)
    if output is Output.json:
        console.out_json(
            {
                "version": version.label,
                "policy": asked.policy.name,
                "person": person,
                **approval.model_dump(mode="json", exclude={"key_id"}),
            }
        )
        return
    under = f"by {person}, under {asked.policy.name} ({asked.digest.short})"
    if approval.earlier is None:
        console.line(f"approved {version.label} {under}")
    else:
        _show_earlier(f"approved {version.label} already, {under}", approval.earlier)
    console.next_step(f"registry promote {version.label} ALIAS --policy {policy} --explain")


def waive(
    reference: ReferenceArgument,
    rule: Annotated[str, typer.Argument(help="Rule, as `promote --explain` names it.", show_default=False)],
    until: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="Day on which the rule counts again, UTC."),
    ] = None,
    policy: PolicyOption = "regulated",
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Suspend one rule of a policy for a version, until a day. Signed with your key."""
    from peft_registry.registry.use_cases.approve import waive as sign_waiver
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = read_gate_policy(policy)
    if until is None:
        raise OptionNeeded("--until YYYY-MM-DD", "a waiver ends")
    why, file = _required(reason, key)
    with _opened_for(reference, home, file, key_passphrase_file, passphrase_file) as (registry, version, signer):
        waiver = sign_waiver(registry, version, asked, rule, signer, until=until.date(), reason=why)
        person = registry.trust.person_of(waiver.key_id)
    if output is Output.json:
        console.out_json(
            {
                "version": version.label,
                "policy": asked.policy.name,
                "rule": rule,
                "until": f"{until.date()}",
                "person": person,
                **waiver.model_dump(mode="json", exclude={"key_id"}),
            }
        )
        return
    under = f"by {person}, under {asked.policy.name} ({asked.digest.short}), until {until.date()}"
    if waiver.earlier is None:
        console.line(f"waived   {rule} for {version.label} {under}")
    else:
        _show_earlier(f"waived   {rule} for {version.label} already, {under}", waiver.earlier)
    console.next_step(f"registry promote {version.label} ALIAS --policy {policy} --explain")


def _show_earlier(sentence: str, earlier: "EarlierAct") -> None:
    """What the same key had said of the same bytes before: since when, why, and that nothing was signed now."""
    console.line(f"{sentence}: log entry {earlier.entry} of {earlier.at}")
    console.line(f"reason   {console.printable(earlier.reason)}")
    console.line("signed   nothing: the version, its record, its evaluations and the policy are the same bytes")


@contextmanager
def _opened_for(
    reference: str, home: Path | None, key: Path, key_passphrase_file: Path | None, passphrase_file: Path | None
) -> "Iterator[tuple[Registry, Version, PrivateKey]]":
    """The registry, the version that is decided about, and the person's key, which signs."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.records.references import version_named

    with opened(home, passphrase_file) as registry:
        version = version_named(registry, reference)
        yield registry, version, unlocked_signer(registry, key, key_passphrase_file, passphrase_file)


def _required(reason: str | None, key: Path | None) -> tuple[str, Path]:
    return reason_and_key(
        reason,
        key,
        why_reason="whoever reads the decision later reads why",
        why_key="an approver signs, and a registry keeps no approver's key",
    )
