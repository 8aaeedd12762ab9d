"""approve and waive: what people decide about a version, under their own keys."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.commands.decide import DecidedAs, DecidedOn
from peft_registry.cli.options import (
    ApproverKeyOption,
    KeyPassphraseOption,
    OptionNeeded,
    OptionsExclusive,
    ReferenceArgument,
    reason_and_key,
)
from peft_registry.cli.outcome import SIGNS, Home, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.approve import EarlierAct
    from peft_registry.schemas.acts import DecidedQuestion

PolicyOption = Annotated[
    str, typer.Option(metavar="NAME|FILE", help="Policy under which: starter, regulated, or a file.")
]
DecideOption = Annotated[
    list[str] | None,
    typer.Option(
        "--decide",
        metavar="QUESTION=yes|no",
        help="Decide this question too, for the same reason, as `registry decide --on` does; may be repeated.",
    ),
]
ReasonOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is kept in the signed statement.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry gate approve` and `registry gate waive`."""
    app.command()(approve)
    app.command()(waive)


@command(SIGNS)
def approve(
    home: Home,
    reference: ReferenceArgument,
    policy: PolicyOption = "regulated",
    reason: ReasonOption = None,
    key: ApproverKeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    decide: DecideOption = None,
) -> Outcome:
    """Approve a version as it is now, under a policy. Signed with your key."""
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.approve import approve as sign_approval
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = read_gate_policy(policy)
    why, file = _required(reason, key)
    version = version_named(home.registry, reference)
    decisions = _decisions(decide or [])
    signer = home.signer(file, key_passphrase_file)
    approval = sign_approval(home.registry, version, asked, signer, reason=why, decisions=decisions)
    person = home.registry.trust.person_of(approval.key_id)
    value = {"version": version.label, "policy": asked.policy.name, "person": person}
    under = f"by {person}, under {asked.label}"
    return Outcome(
        value | approval.model_dump(mode="json", exclude={"key_id"}) | ({"decided": decide} if decide else {}),
        [
            *(f"decided  {version.label} {decided.replace('=', ': ')}, {under}" for decided in decide or ()),
            *_lines(f"approved {version.label}", under, approval.earlier),
        ],
        f"registry promote {version.label} ALIAS --policy {policy} --explain",
    )


@command(SIGNS)
def waive(
    home: Home,
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
) -> Outcome:
    """Suspend one rule of a policy for a version, until a day. Signed with your key."""
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.approve import waive as sign_waiver
    from peft_registry.registry.use_cases.gate import read_gate_policy

    asked = read_gate_policy(policy)
    if until is None:
        raise OptionNeeded("--until YYYY-MM-DD", "a waiver ends")
    why, file = _required(reason, key)
    day = until.date()
    version = version_named(home.registry, reference)
    signer = home.signer(file, key_passphrase_file)
    waiver = sign_waiver(home.registry, version, asked, rule, signer, until=day, reason=why)
    person = home.registry.trust.person_of(waiver.key_id)
    value = {"version": version.label, "policy": asked.policy.name, "rule": rule, "until": f"{day}", "person": person}
    under = f"by {person}, under {asked.label}, until {day}"
    return Outcome(
        value | waiver.model_dump(mode="json", exclude={"key_id"}),
        _lines(f"waived   {rule} for {version.label}", under, waiver.earlier),
        f"registry promote {version.label} ALIAS --policy {policy} --explain",
    )


def _decisions(typed: list[str]) -> "dict[DecidedQuestion, bool]":
    """What is decided of each question.

    Raises:
        typer.BadParameter: a word is not QUESTION=yes or QUESTION=no.
        OptionsExclusive: both answers to one question.
    """
    decisions: dict[DecidedQuestion, bool] = {}
    for words in typed:
        name, _, outcome = words.partition("=")
        if name not in tuple(DecidedOn) or outcome not in tuple(DecidedAs):
            raise typer.BadParameter(
                f"{words!r:.80} is not QUESTION=yes or QUESTION=no; a QUESTION is {', '.join(DecidedOn)}",
                param_hint="--decide",
            )
        question, is_yes = DecidedOn(name).decided, outcome == DecidedAs.yes
        if decisions.setdefault(question, is_yes) != is_yes:
            raise OptionsExclusive(f"--decide {name}=yes", f"--decide {name}=no", "a question has one answer")
    return decisions


def _lines(what: str, under: str, earlier: "EarlierAct | None") -> Iterator[str]:
    """What was signed; or what the same key had said of the same bytes before, and that nothing was signed now."""
    if earlier is None:
        yield f"{what} {under}"
        return
    yield f"{what} already, {under}: log entry {earlier.entry} of {earlier.at}"
    yield f"reason   {earlier.reason}"
    yield "signed   nothing: the version, its record, its evaluations and the policy are the same bytes"


def _required(reason: str | None, key: Path | None) -> tuple[str, Path]:
    return reason_and_key(
        reason,
        key,
        why_reason="whoever reads the decision later reads why",
        why_key="an approver signs, and a registry keeps no approver's key",
    )
