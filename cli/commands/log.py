"""log: the log that everything is entered in, shown, checked and proven."""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from peft_registry.cli import console
from peft_registry.cli.options import HomeOption, Output, OutputOption, PassphraseFileOption
from peft_registry.cli.outcome import READS, SIGNS, Home, Line, Note, Outcome, Part, Table, Verbatim, command

if TYPE_CHECKING:
    from peft_registry.registry.use_cases.accept_restore import AcceptedRestore
    from peft_registry.registry.use_cases.check_log import LogReport
    from peft_registry.registry.use_cases.show_log import LogPage
    from peft_registry.registry.use_cases.sign_log import Rejection, SignedLog

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


@command(READS)
def log_show(
    home: Home,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 20,
    before: Annotated[int | None, typer.Option(min=0, help="Continue below this entry.")] = None,
) -> Outcome:
    """Show the newest entries. What kind, about what, by whom, when."""
    from peft_registry.registry.use_cases.show_log import show_log

    page = show_log(home.registry, limit=limit, before=before)
    lines = _page_lines(page, home.registry.clock())
    return Outcome(page.model_dump(mode="json"), lines, "registry log check")


def _page_lines(page: "LogPage", now: str) -> Iterator[Part]:
    yield f"log {page.origin}  {page.size} entries, {page.covered} under the newest checkpoint"
    if page.waiting_since is not None:
        waits = _time_between(page.waiting_since, now)
        yield f"pending {page.size - page.covered}, the oldest for {waits}, since {page.waiting_since}"
    rows = [
        [
            str(entry.index),
            entry.kind,
            entry.about,
            entry.person or (f"{entry.key_id[:12]}…" if entry.key_id else ""),
            entry.at,
            "pending" if entry.pending else "",
        ]
        for entry in page.entries
    ]
    yield Table([["entry", "kind", "about", "by", "at", ""], *rows])


def _time_between(earlier: str, later: str) -> str:
    """How long something lasts already, in its two largest units."""
    minutes = max(0, int((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()) // 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


@command(READS)
def log_check(
    home: Home,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A checkpoint that was kept elsewhere: it must be a prefix of this log."),
    ] = None,
) -> Outcome:
    """Replay the whole log and compare the database with it. Every contradiction is named."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import checkpoint_text
    from peft_registry.registry.use_cases.check_log import check_log

    kept = [checkpoint_text(path) for path in against or ()]
    report = check_log(home.opened(check_log=False), against=kept, observe=Progress(story_on_stdout=False))
    agrees = report.exit_code == 0
    return Outcome(
        report.model_dump(mode="json"),
        _report_lines(report),
        "registry log checkpoint --out FILE, to keep one elsewhere" if agrees else None,
        exit_code=report.exit_code,
    )


def _report_lines(report: "LogReport") -> Iterator[Part]:
    yield f"log {report.origin}  {report.size} entries, {report.covered} under a signed checkpoint"
    yield (
        f"it says  versions {report.versions}, aliases {report.aliases}, statements {report.statements}; "
        f"checkpoints compared {report.checkpoints}"
    )
    for contradiction in report.contradictions:
        yield f"wrong    {contradiction.place}: {contradiction.text}"
    for text in report.added:
        yield f"added    {text}, which no release made and nothing runs"
    for text in report.accepted:
        yield f"accepted {text}"
    for text in report.unchecked:
        yield Line(f"unchecked  {text}", 11)
    for text in report.lost_stops:
        yield f"lost     {text}: you remember it, it counts, and it enters the log with the next entry"
    if report.exit_code == 0:
        yield "agrees   versions, aliases, statements and artifacts in the database are what was logged and signed"


@command(READS)
def log_prove(
    home: Home,
    entry: Annotated[int, typer.Argument(help="The number of an entry.")],
) -> Outcome:
    """Prove that an entry is in the log. A C2SP tlog-proof, which verifies without this registry."""
    from peft_registry.registry.use_cases.show_log import prove_entry

    proof = prove_entry(home.registry, entry)
    return Outcome({"entry": entry, "proof": proof}, map(Verbatim, proof.rstrip("\n").split("\n")))


@command(SIGNS)
def log_checkpoint(
    home: Home,
    out: Annotated[Path | None, typer.Option(help="Write it to this file, to be kept elsewhere.")] = None,
) -> Outcome:
    """Sign what is pending and print the newest checkpoint. Without the log key here, print it only."""
    from peft_registry.registry.disk.files import write_atomically
    from peft_registry.registry.records.checkpoints import newest_checkpoint, publish_checkpoint

    if not home.registry.read_only:
        publish_checkpoint(home.registry)
    text = newest_checkpoint(home.registry)
    if out is not None:
        write_atomically(out, text.encode())
    lines = [str(out)] if out is not None else text.rstrip("\n").split("\n")
    value = {"checkpoint": text, "file": str(out) if out else None}
    return Outcome(value, map(Verbatim, lines), f"registry log check --against {out or 'FILE'}")


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


@command(SIGNS)
def log_reject(
    home: Home,
    entry: Annotated[list[int], typer.Argument(help="Numbers of pending entries.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Reason, kept with what is taken out.", show_default=False)] = "",
) -> Outcome:
    """Take pending entries out of the log before it is signed. A stop stays. For whoever holds the log key."""
    from peft_registry.registry.use_cases.sign_log import reject_entries

    rejection = reject_entries(home.registry, tuple(entry), reason=reason)
    return Outcome(rejection.model_dump(mode="json"), _rejection_lines(rejection), "registry log sign")


def _rejection_lines(rejection: "Rejection") -> Iterator[Part]:
    for index in sorted((*rejection.rejected, *rejection.dependent)):
        yield f"rejected entry {index}{', which depends on another' if index in rejection.dependent else ''}"
    for stop in rejection.staying:
        yield (
            f"stays    entry {stop.index}, {stop.kind} by {stop.person or 'nobody named'}: it counts, and "
            "that you rejected it is in the log; whoever may takes it back"
        )
    yield f"moved up {rejection.moved} entries behind them; versions that are pending may have other numbers now"
    for path in rejection.kept_in:
        yield Note(f"kept as evidence: {path}")


@command(SIGNS)
def log_accept_restore(
    home: Home,
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
) -> Outcome:
    """Go on after a restored backup, and accept what it lacks. A root signs that, then the log key."""
    from peft_registry.cli.progress import Progress
    from peft_registry.cli.wiring import checkpoint_text
    from peft_registry.registry.use_cases.accept_restore import accept_restore

    restore = accept_restore(
        home.opened(check_log=False),
        reason=reason,
        against=[checkpoint_text(path) for path in against or ()],
        root_key=root_key,
        dry_run=dry_run,
        observe=Progress(story_on_stdout=False),
    )
    next_step = {
        "shown": "registry log accept-restore --reason TEXT",
        "waiting": f"registry trust sign {restore.file}",
        "stated": "registry trust export FOLDER, then registry log accept-restore where the log key is",
        "opened": "registry trust export FOLDER, for everybody who verifies",
    }[restore.state]
    return Outcome(restore.model_dump(mode="json"), _restore_lines(restore), next_step)


def _restore_lines(restore: "AcceptedRestore") -> Iterator[Part]:
    """What is lost and kept, and how far the epoch got."""
    lost = restore.lost
    since = f", since {lost.kept_at}" if lost.kept_at else ""
    yield (
        f"lost     a checkpoint of {lost.origin} over {lost.size} entries, root {lost.root[:16]}…; "
        f"kept in {', '.join(lost.found) or 'the trust file'}{since}"
    )
    last = f", the last of {restore.kept_at}" if restore.kept_at else ""
    yield f"kept     {restore.kept_size} entries, root {restore.kept_root[:16]}…{last}"
    for text in restore.unregistered:
        yield f"store    {text} is there, and no kept entry registers it"
    for text in restore.stops:
        yield f"stop     {text} counts, and enters the log again"
    epoch = {
        "shown": f"would begin, {restore.origin}; nothing was changed",
        "waiting": f"waits for the signatures of {', '.join(restore.persons)}",
        "stated": "is stated by a root; whoever holds the log key opens it",
        "opened": f"began, and checkpoints are of {restore.origin} from now on",
    }[restore.state]
    yield f"epoch    {restore.epoch} {epoch}"
