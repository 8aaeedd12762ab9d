"""log: the log that everything is entered in, shown, checked and proven."""

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.accept_restore import AcceptedRestore
    from peft_registry.registry.use_cases.sign_log import SignedLog

_TIME = re.compile("([1-9][0-9]{0,4})([smh])")
_BELOW_ZERO = re.compile("-[0-9]+")


class OfEntries(TyperCommand):
    """A command whose arguments are numbers of entries. One below 0 is a number too, which the log refuses, and not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer's context
        ctx.ignore_unknown_options = any(_BELOW_ZERO.fullmatch(word) for word in args)
        return super().parse_args(ctx, args)


def add_to(app: typer.Typer) -> None:
    """Enter `registry log` and its commands, in the order of its help."""
    log = typer.Typer(help="The log of everything that was registered and said.", no_args_is_help=True)
    log.command("show")(log_show)
    log.command("check")(log_check)
    log.command("prove", cls=OfEntries)(log_prove)
    log.command("checkpoint")(log_checkpoint)
    log.command("sign")(log_sign)
    log.command("reject", cls=OfEntries)(log_reject)
    log.command("accept-restore")(log_accept_restore)
    app.add_typer(log, name="log")


def log_show(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 20,
    before: Annotated[int | None, typer.Option(min=0, help="Continue below this entry.")] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the newest entries. What kind, about what, by whom, when."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_log import show_log

    with opened(home) as registry:
        page = show_log(registry, limit=limit, before=before)
        now = registry.clock()
    if output is Output.json:
        console.out_json(page.model_dump(mode="json"))
        return
    console.line(f"log {page.origin}  {page.size} entries, {page.covered} under the newest checkpoint")
    if page.waiting_since is not None:
        waits = _time_between(page.waiting_since, now)
        console.line(f"pending {page.size - page.covered}, the oldest for {waits}, since {page.waiting_since}")
    rows = [
        [
            str(entry.index),
            entry.kind,
            console.printable(entry.about),
            entry.person or (f"{entry.key_id[:12]}…" if entry.key_id else ""),
            entry.at,
            "pending" if entry.pending else "",
        ]
        for entry in page.entries
    ]
    console.table([["entry", "kind", "about", "by", "at", ""], *rows])
    console.next_step("registry log check")


def _time_between(earlier: str, later: str) -> str:
    """How long something lasts already, in its two largest units."""
    minutes = max(0, int((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()) // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def log_check(
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A checkpoint that was kept elsewhere: it must be a prefix of this log."),
    ] = None,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Replay the whole log and compare the database with it. Every contradiction is named."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.disk.files import read_file
    from peft_registry.registry.transparency.note import CHECKPOINT_MAX_BYTES
    from peft_registry.registry.use_cases.check_log import check_log

    kept = [read_file(path, max_bytes=CHECKPOINT_MAX_BYTES).decode("utf-8", "replace") for path in against or ()]
    with opened(home, check_log=False) as registry:
        report = check_log(registry, against=kept, observe=Progress(story_on_stdout=False))
    if output is Output.json:
        console.out_json(report.model_dump(mode="json"))
        raise typer.Exit(report.exit_code)
    console.line(f"log {report.origin}  {report.size} entries, {report.covered} under a signed checkpoint")
    console.line(
        f"it says  versions {report.versions}, aliases {report.aliases}, statements {report.statements}; "
        f"checkpoints compared {report.checkpoints}"
    )
    for contradiction in report.contradictions:
        console.line(
            f"wrong    {console.printable(contradiction.place)}: {console.printable(contradiction.text)}", indent=9
        )
    for text in report.accepted:
        console.line(f"accepted {console.printable(text)}", indent=9)
    for text in report.unchecked:
        console.line(f"unchecked  {console.printable(text)}", indent=11)
    for text in report.lost_stops:
        console.line(
            f"lost     {console.printable(text)}: you remember it, it counts, and it enters the log with the next entry",
            indent=9,
        )
    if report.exit_code == 0:
        console.line(
            "agrees   versions, aliases, statements and artifacts in the database are what was logged and signed"
        )
        console.next_step("registry log checkpoint --out FILE, to keep one elsewhere")
    raise typer.Exit(report.exit_code)


def log_prove(
    entry: Annotated[int, typer.Argument(help="The number of an entry.")],
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Prove that an entry is in the log. A C2SP tlog-proof, which verifies without this registry."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.show_log import prove_entry

    with opened(home) as registry:
        proof = prove_entry(registry, entry)
    if output is Output.json:
        console.out_json({"entry": entry, "proof": proof})
        return
    console.out(proof.rstrip("\n"))


def log_checkpoint(
    out: Annotated[Path | None, typer.Option(help="Write it to this file, to be kept elsewhere.")] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Sign what is pending and print the newest checkpoint. Without the log key here, print it only."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.disk.files import write_atomically
    from peft_registry.registry.records.checkpoints import newest_checkpoint, publish_checkpoint

    with opened(home, passphrase_file) as registry:
        if not registry.read_only:
            publish_checkpoint(registry)
        text = newest_checkpoint(registry)
    if out is not None:
        write_atomically(out, text.encode())
    if output is Output.json:
        console.out_json({"checkpoint": text, "file": str(out) if out else None})
        return
    console.out(str(out) if out is not None else text.rstrip("\n"))
    console.next_step(f"registry log check --against {out or 'FILE'}")


def log_sign(
    every: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Go on signing what comes, each time after 5s, 2m or 1h.", show_default=False
        ),
    ] = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Check every pending entry and sign the log over them. For whoever holds the log key."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.sign_log import keep_signing, sign_log

    seconds = None if every is None else _seconds(every)
    with opened(home, passphrase_file) as registry:
        if seconds is not None:
            for signed in keep_signing(registry, every_seconds=seconds):
                _show_signed(signed, output, is_last=False)
        signed = sign_log(registry)
    _show_signed(signed, output, is_last=True)
    raise typer.Exit(signed.exit_code)


def _seconds(text: str) -> int:
    """How long a time such as 5s, 2m or 1h is."""
    from peft_registry.schemas.errors import InputRefused

    read = _TIME.fullmatch(text)
    if read is None:
        raise InputRefused.in_words(
            what=f"--every {console.printable(text)[:80]} is not a time",
            why="it is a number without a fraction and s, m or h behind it",
            fix="write it like `registry log sign --every 5s`",
        )
    return int(read[1]) * {"s": 1, "m": 60, "h": 3600}[read[2]]


def _show_signed(signed: "SignedLog", output: Output, *, is_last: bool) -> None:
    if output is Output.json:
        console.out_json(signed.model_dump(mode="json"))
        return
    for entry in signed.refused:
        who = entry.person or (f"key {entry.key_id[:12]}…" if entry.key_id else "nobody named")
        console.line(
            f"refused  entry {entry.index}, {entry.kind or 'unreadable'} by {console.printable(who)}: "
            f"{console.printable(entry.why)}",
            indent=9,
        )
    if signed.refused:
        console.line(f"unsigned {signed.size - signed.covered} entries are pending, and nothing was signed over them")
        console.next_step(f"registry log reject {signed.refused[0].index} --reason TEXT")
        return
    new = "nothing was pending" if signed.before == signed.covered else f"{signed.before} before"
    console.line(f"signed   {signed.covered} entries, {new}")
    if is_last:
        console.next_step("registry log checkpoint --out FILE, to keep one elsewhere")


def log_reject(
    entry: Annotated[list[int], typer.Argument(help="Numbers of pending entries.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Reason, kept with what is taken out.", show_default=False)] = "",
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Take pending entries out of the log before it is signed. A stop stays. For whoever holds the log key."""
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.use_cases.sign_log import reject_entries

    with opened(home, passphrase_file) as registry:
        rejection = reject_entries(registry, tuple(entry), reason=reason)
    if output is Output.json:
        console.out_json(rejection.model_dump(mode="json"))
        return
    for index in sorted((*rejection.rejected, *rejection.dependent)):
        console.line(f"rejected entry {index}{', which depends on another' if index in rejection.dependent else ''}")
    for stop in rejection.staying:
        console.line(
            f"stays    entry {stop.index}, {stop.kind} by {console.printable(stop.person or 'nobody named')}: it counts, and "
            "that you rejected it is in the log; whoever may takes it back",
            indent=9,
        )
    console.line(
        f"moved up {rejection.moved} entries behind them; versions that are pending may have other numbers now"
    )
    for path in rejection.kept_in:
        console.note(f"kept as evidence: {path}")
    console.next_step("registry log sign")


def log_accept_restore(
    reason: Annotated[
        str, typer.Option(help="Why entries are missing, for everybody who reads the trust file.", show_default=False)
    ] = "",
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A newer checkpoint that was kept elsewhere: what it covers is lost too."),
    ] = None,
    root_key: Annotated[
        Path | None,
        typer.Option("--root-key", help="Private key of a root, where it is kept elsewhere than in the registry."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is lost and kept; change nothing.")] = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Go on after a restored backup, and accept what it lacks. A root signs that, then the log key."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import opened
    from peft_registry.registry.disk.files import read_file
    from peft_registry.registry.transparency.note import CHECKPOINT_MAX_BYTES
    from peft_registry.registry.use_cases.accept_restore import accept_restore

    kept = [read_file(path, max_bytes=CHECKPOINT_MAX_BYTES).decode("utf-8", "replace") for path in against or ()]
    with opened(home, passphrase_file, check_log=False) as registry:
        restore = accept_restore(
            registry,
            reason=reason,
            against=kept,
            root_key=root_key,
            dry_run=dry_run,
            observe=Progress(story_on_stdout=False),
        )
    if output is Output.json:
        console.out_json(restore.model_dump(mode="json"))
        return
    _show_restore(restore)


def _show_restore(restore: "AcceptedRestore") -> None:
    """What is lost and kept, and what comes next, by how far the epoch got."""
    lost = restore.lost
    since = f", since {lost.kept_at}" if lost.kept_at else ""
    console.line(
        f"lost     a checkpoint of {lost.origin} over {lost.size} entries, root {lost.root[:16]}…; "
        f"kept in {console.printable(', '.join(lost.found)) or 'the trust file'}{since}"
    )
    console.line(
        f"kept     {restore.kept_size} entries, root {restore.kept_root[:16]}…"
        + (f", the last of {restore.kept_at}" if restore.kept_at else "")
    )
    for text in restore.unregistered:
        console.line(f"store    {text} is there, and no kept entry registers it")
    for text in restore.stops:
        console.line(f"stop     {console.printable(text)} counts, and enters the log again")
    match restore.state:
        case "shown":
            console.line(f"epoch    {restore.epoch} would begin, {restore.origin}; nothing was changed")
            console.next_step("registry log accept-restore --reason TEXT")
        case "waiting":
            console.line(f"epoch    {restore.epoch} waits for the signatures of {', '.join(restore.persons)}")
            console.next_step(f"registry trust sign {restore.file}")
        case "stated":
            console.line(f"epoch    {restore.epoch} is stated by a root; whoever holds the log key opens it")
            console.next_step("registry trust export FOLDER, then registry log accept-restore where the log key is")
        case "opened":
            console.line(f"epoch    {restore.epoch} began, and checkpoints are of {restore.origin} from now on")
            console.next_step("registry trust export FOLDER, for everybody who verifies")
