"""recall: what must not be used any more, and everything that was made from it."""

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
from peft_registry.schemas.acts import RECALL, STOPS_BELOW, Act

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.recall import Recalled

_SHOWN = 20  # versions; JSON has all
_KINDS = {act.kind: act for act in STOPS_BELOW}


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
    kind: Annotated[
        str,
        typer.Option("--as", metavar="KIND", help=f"What is said: {', '.join(_KINDS)}.", hidden=len(_KINDS) == 1),
    ] = RECALL.kind,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Forbid the use of something, and of what was made from it. Signed with your key."""
    from peft_registry.cli.settings import unlocked_signer
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.recall import forbid_use

    act = _act_called(kind)
    reason, key = reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver recalls, and a registry keeps no approver's key",
    )
    with opened(home, passphrase_file) as registry:
        signer = unlocked_signer(registry, key, key_passphrase_file, passphrase_file)
        done = forbid_use(registry, act, reference, signer, reason=reason, undo=undo)
    if output is Output.json:
        console.out_json(done.model_dump(mode="json"))
    else:
        _show(done, act)


def _act_called(kind: str) -> Act:
    if kind not in _KINDS:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(map(repr, _KINDS))}", param_hint="--as")
    return _KINDS[kind]


def _show(done: "Recalled", act: Act) -> None:
    undo = done.undone
    if done.still_needed is not None:
        state = "signed"
    else:
        state = "undone" if undo else act.done
    console.line(f"{state:<9} {console.printable(done.name)}  {done.subject}", indent=10)
    for version in done.touched[:_SHOWN]:
        aliases = f"  {', '.join(f'@{alias}' for alias in version.aliases)}" if version.aliases else ""
        console.line(f"{'reaches':<9} {console.printable(version.version)}{aliases}", indent=10)
        for recall_text in version.still:
            console.line(f"{'':<9} still {act.done}: {console.printable(recall_text)}", indent=10)
    if len(done.touched) > _SHOWN:
        console.line(f"{'':<9} and {len(done.touched) - _SHOWN} more: --output json lists all", indent=10)
    if done.same_weights and not undo:
        option = "" if act is RECALL else f" --as {act.kind}"
        others = ", ".join(map(console.printable, done.same_weights[:_SHOWN]))
        console.line(
            f"{'passes':<9} {others}: the same weights, as another artifact, which this does not stop; "
            f"`registry recall {done.weights}{option} --reason TEXT --key FILE` stops whatever has them",
            indent=10,
        )
    if done.pending and not undo:
        console.line(console.COUNTS_HERE, indent=10)
    if done.still_needed is not None:
        console.line(f"{'needs':<9} {console.printable(done.still_needed)}; until then it stays {act.done}", indent=10)
    if done.by_maker:
        console.line(
            f"{'maker':<9} the person who undid it had a part in making it; no alias asks for another person", indent=10
        )
    if undo and done.pending:
        console.line(
            f"{'pending':<9} the {act.kind} counts until the log is signed: `registry log sign`, where the log key is",
            indent=10,
        )
    if done.touched:
        console.next_step(f"registry show {done.touched[-1].version}")
