"""recall: what must not be used any more, and everything that was made from it."""

from pathlib import Path
from typing import Annotated

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

_SHOWN = 20  # versions; JSON has all


def add_to(app: typer.Typer) -> None:
    """Enter `registry recall`."""
    app.command()(recall)


def recall(
    reference: SubjectArgument,
    reason: ReasonOption = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key of the approver who recalls it.")
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the recall back.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Forbid the use of something, and of what was made from it. Signed with your key."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.recall import recall as sign_recall

    reason, key = reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver recalls, and a registry keeps no approver's key",
    )
    with opened(home, passphrase_file) as registry:
        signer = unlocked_signer(registry, key, key_passphrase_file, passphrase_file)
        done = sign_recall(registry, reference, signer, reason=reason, undo=undo)
    if output is Output.json:
        console.out_json(done.model_dump(mode="json"))
        return
    if done.still_needed is not None:
        state = "signed"
    else:
        state = "undone" if undo else "recalled"
    console.line(f"{state:<9} {console.printable(done.name)}  {done.subject}", indent=10)
    for version in done.touched[:_SHOWN]:
        aliases = f"  {', '.join(f'@{alias}' for alias in version.aliases)}" if version.aliases else ""
        console.line(f"{'reaches':<9} {console.printable(version.version)}{aliases}", indent=10)
        for recall_text in version.still:
            console.line(f"{'':<9} still recalled: {console.printable(recall_text)}", indent=10)
    if len(done.touched) > _SHOWN:
        console.line(f"{'':<9} and {len(done.touched) - _SHOWN} more: --output json lists all", indent=10)
    if done.same_weights and not undo:
        others = ", ".join(map(console.printable, done.same_weights[:_SHOWN]))
        console.line(
            f"{'passes':<9} {others}: the same weights, as another artifact, which this does not stop; "
            f"`registry recall {done.weights} --reason TEXT --key FILE` stops whatever has them",
            indent=10,
        )
    if done.pending and not undo:
        console.line(console.COUNTS_HERE, indent=10)
    if done.still_needed is not None:
        console.line(f"{'needs':<9} {console.printable(done.still_needed)}; until then it stays recalled", indent=10)
    if done.by_maker:
        console.line(
            f"{'maker':<9} the person who undid it had a part in making it; no alias asks for another person", indent=10
        )
    if undo and done.pending:
        console.line(
            f"{'pending':<9} the recall counts until the log is signed: `registry log sign`, where the log key is",
            indent=10,
        )
    if done.touched:
        console.next_step(f"registry show {done.touched[-1].version}")
