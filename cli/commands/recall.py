"""recall: what must not be used any more, and everything that was made from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import KEY_FILE, KeyPassphraseOption, ReasonOption, SubjectArgument, reason_and_key
from peft_registry.cli.outcome import SIGNS, Home, Line, Outcome, command
from peft_registry.schemas.acts import RECALL, STOPS_BELOW, Act, as_kind

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.recall import Recalled

_SHOWN = 20  # versions; JSON has all
_KINDS = {act.kind: act for act in STOPS_BELOW}


def add_to(app: typer.Typer) -> None:
    """Enter `registry recall`."""
    app.command()(recall)


@command(SIGNS)
def recall(
    home: Home,
    reference: SubjectArgument,
    reason: ReasonOption = None,
    key: Annotated[
        Path | None, typer.Option(metavar=KEY_FILE, help="Private key of the approver who recalls it.")
    ] = None,
    key_passphrase_file: KeyPassphraseOption = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the recall back.")] = False,
    kind: Annotated[
        str,
        typer.Option("--as", metavar="KIND", help=f"What is said: {', '.join(_KINDS)}.", hidden=len(_KINDS) == 1),
    ] = RECALL.kind,
) -> Outcome:
    """Forbid the use of something, and of what was made from it. Signed with your key."""
    from peft_registry.registry.use_cases.recall import forbid_use

    act = _act_called(kind)
    reason, key = reason_and_key(
        reason,
        key,
        why_reason="everybody who is refused reads why",
        why_key="an approver recalls, and a registry keeps no approver's key",
    )
    signer = home.signer(key, key_passphrase_file)
    done = forbid_use(home.registry, act, reference, signer, reason=reason, undo=undo)
    next_step = f"registry show {done.touched[-1].version}" if done.touched else None
    return Outcome(done.model_dump(mode="json"), _lines(done, act), next_step)


def _act_called(kind: str) -> Act:
    if kind not in _KINDS:
        raise typer.BadParameter(f"{kind!r} is not one of {', '.join(map(repr, _KINDS))}", param_hint="--as")
    return _KINDS[kind]


def _lines(done: "Recalled", act: Act) -> Iterator[Line]:
    undo = done.undone
    if done.still_needed is not None:
        state = "signed"
    else:
        state = "undone" if undo else act.done
    yield Line(f"{state:<9} {done.name}  {done.subject}", 10)
    for version in done.touched[:_SHOWN]:
        aliases = f"  {', '.join(f'@{alias}' for alias in version.aliases)}" if version.aliases else ""
        yield Line(f"{'reaches':<9} {version.version}{aliases}", 10)
        for recall_text in version.still:
            yield Line(f"{'':<9} still {act.done}: {recall_text}", 10)
    if len(done.touched) > _SHOWN:
        yield Line(f"{'':<9} and {len(done.touched) - _SHOWN} more: --output json lists all", 10)
    if done.lost_rows is not None:
        yield Line(f"{'lost':<9} {done.lost_rows}", 10)
    if done.same_weights and not undo:
        others = ", ".join(done.same_weights[:_SHOWN])
        yield Line(
            f"{'passes':<9} {others}: the same weights, as another artifact, which this does not stop; "
            f"`registry recall {done.weights}{as_kind(act.kind)} --reason TEXT --key FILE` stops whatever has them",
            10,
        )
    if done.pending and not undo:
        yield Line(console.COUNTS_HERE, 10)
    if done.still_needed is not None:
        yield Line(f"{'needs':<9} {done.still_needed}; until then it stays {act.done}", 10)
    if done.by_maker:
        yield Line(
            f"{'maker':<9} the person who undid it had a part in making it; no alias asks for another person", 10
        )
    if undo and done.pending:
        yield Line(
            f"{'pending':<9} the {act.kind} counts until the log is signed: `registry log sign`, where the log key is",
            10,
        )
