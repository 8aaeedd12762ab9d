"""hold and release: what must be kept, and what need not any more."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    KeyPassphraseOption,
    Output,
    OutputOption,
    PassphraseFileOption,
    ReasonOption,
    SubjectArgument,
    reason_and_key,
)

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.hold import HoldChanged

KeyOption = Annotated[Path | None, typer.Option(metavar="FILE", help="Private key of an approver or an officer.")]


def add_to(app: typer.Typer) -> None:
    """Enter `registry hold` and `registry release`."""
    app.command()(hold)
    app.command()(release)


def hold(
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
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Forbid the deletion of something, and of what belongs to it. Signed with your key."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.hold import hold as sign_hold

    why, file = _required(reason, key)
    with opened(home, passphrase_file) as registry:
        signer = unlocked_signer(registry, file, key_passphrase_file, passphrase_file)
        last = None if until is None else until.date()
        changed = sign_hold(registry, reference, signer, reason=why, until=last)
    _show(changed, output)


def release(
    reference: SubjectArgument,
    reason: ReasonOption = None,
    key: KeyOption = None,
    key_passphrase_file: KeyPassphraseOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Take every hold of something back. Signed with your key."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.hold import release as sign_release

    why, file = _required(reason, key)
    with opened(home, passphrase_file) as registry:
        signer = unlocked_signer(registry, file, key_passphrase_file, passphrase_file)
        changed = sign_release(registry, reference, signer, reason=why)
    _show(changed, output)


def _required(reason: str | None, key: Path | None) -> tuple[str, Path]:
    return reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver or an officer decides, and a registry keeps no key of theirs",
    )


def _show(changed: "HoldChanged", output: Output) -> None:
    if output is Output.json:
        console.out_json(changed.model_dump(mode="json"))
        return
    state = "released" if changed.released else "on hold"
    if changed.still_needed is not None:
        state = "signed"
    until = "" if changed.until is None else f", until {changed.until[:10]}"
    console.line(f"{state:<9} {console.printable(changed.name)}  {changed.subject}{until}", indent=10)
    if changed.still_needed is not None:
        console.line(f"{'needs':<9} {console.printable(changed.still_needed)}; until then it stays on hold", indent=10)
    if changed.by_maker:
        console.line(
            f"{'maker':<9} the person who released it had a part in making it; no alias asks for another person",
            indent=10,
        )
    if changed.still is not None:
        console.line(f"{'still':<9} kept: {console.printable(changed.still)}", indent=10)
    if changed.pending and not changed.released:
        console.line(console.COUNTS_HERE, indent=10)
    if changed.released and changed.pending:
        console.line(
            f"{'pending':<9} the hold counts until the log is signed: `registry log sign`, where the log key is",
            indent=10,
        )
    console.next_step("registry admin gc --dry-run" if changed.version is None else f"registry show {changed.version}")
