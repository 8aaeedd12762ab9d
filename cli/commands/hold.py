"""hold and release: what must be kept, and what need not any more."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import KEY_FILE, KeyPassphraseOption, ReasonOption, SubjectArgument, reason_and_key
from peft_registry.cli.outcome import SIGNS, Home, Line, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.hold import HoldChanged

KeyOption = Annotated[Path | None, typer.Option(metavar=KEY_FILE, help="Private key of an approver or an officer.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry hold` and `registry release`."""
    app.command()(hold)
    app.command()(release)


@command(SIGNS)
def hold(
    home: Home,
    reference: SubjectArgument,
    reason: ReasonOption = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
            help="Day on which the hold ends, UTC; default: when it is released.",
        ),
    ] = None,
    key: KeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
) -> Outcome:
    """Forbid the deletion of something, and of what belongs to it. Signed with your key."""
    from peft_registry.registry.use_cases.hold import hold as sign_hold

    why, file = _required(reason, key)
    signer = home.signer(file, key_passphrase_file)
    last = None if until is None else until.date()
    return _outcome(sign_hold(home.registry, reference, signer, reason=why, until=last))


@command(SIGNS)
def release(
    home: Home,
    reference: SubjectArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
) -> Outcome:
    """Take every hold of something back. Signed with your key."""
    from peft_registry.registry.use_cases.hold import release as sign_release

    why, file = _required(reason, key)
    signer = home.signer(file, key_passphrase_file)
    return _outcome(sign_release(home.registry, reference, signer, reason=why))


def _required(reason: str | None, key: Path | None) -> tuple[str, Path]:
    return reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver or an officer decides, and a registry keeps no key of theirs",
    )


def _outcome(changed: "HoldChanged") -> Outcome:
    next_step = "registry admin gc --dry-run" if changed.version is None else f"registry show {changed.version}"
    return Outcome(changed.model_dump(mode="json"), _lines(changed), next_step)


def _lines(changed: "HoldChanged") -> Iterator[Line]:
    state = "released" if changed.released else "on hold"
    if changed.still_needed is not None:
        state = "signed"
    until = "" if changed.until is None else f", until {changed.until[:10]}"
    yield Line(f"{state:<9} {changed.name}  {changed.subject}{until}", 10)
    if changed.still_needed is not None:
        yield Line(f"{'needs':<9} {changed.still_needed}; until then it stays on hold", 10)
    if changed.by_maker:
        yield Line(
            f"{'maker':<9} the person who released it had a part in making it; no alias asks for another person", 10
        )
    if changed.still is not None:
        yield Line(f"{'still':<9} kept: {changed.still}", 10)
    if changed.pending and not changed.released:
        yield Line(console.COUNTS_HERE, 10)
    if changed.released and changed.pending:
        yield Line(
            f"{'pending':<9} the hold counts until the log is signed: `registry log sign`, where the log key is", 10
        )
