"""verify: is this what was registered and signed?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli import console
from peft_registry.cli.options import (
    HomeOption,
    Output,
    OutputOption,
    RootOption,
    TrustOption,
)
from peft_registry.cli.tables import wrapped_lines

if TYPE_CHECKING:
    from peft_registry.schemas.version import VerifyOutcome

# columns of a line of a check
_TEXT_AT = 15
_STATUS_WIDTH = 2 + len("unchecked")
_TEXT_MIN = 24


def add_to(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    target: Annotated[str, typer.Argument(help="A version (name:3, name@alias, sha256:…) or a pulled folder.")],
    home: HomeOption = None,
    trust: TrustOption = None,
    root: RootOption = None,
    base: Annotated[Path | None, typer.Option(help="Path of the base, to check its bytes too.")] = None,
    require: Annotated[
        list[str] | None, typer.Option(metavar="WHAT", help="Also require base-bytes or log-proof.")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Check that an artifact is what was registered and signed. Ten numbered checks."""
    outcome = _verified(target, home, trust, root, base, require or [])
    if output is Output.json:
        console.out_json(outcome.model_dump(mode="json"))
    else:
        _print_checks(outcome)
        _report_next_command(outcome, target, trusted=trust is not None)
    raise typer.Exit(outcome.exit_code)


def _verified(
    target: str, home: Path | None, trust: Path | None, root: list[str] | None, base: Path | None, require: list[str]
) -> "VerifyOutcome":
    from peft_registry.cli.wiring import chosen_trust, home_if_any, home_if_own
    from peft_registry.registry.homes.home import FOLDER_NAME, HomeNotFound
    from peft_registry.registry.records.references import version_named
    from peft_registry.registry.use_cases.verify import Requirements, verify_folder, verify_version
    from peft_registry.schemas.errors import InputRefused

    unknown = sorted(set(require) - {"base-bytes", "log-proof"})
    if unknown:
        raise InputRefused.in_words(
            what=f"--require {unknown[0]} is not known",
            why="what can be required is base-bytes and log-proof",
            fix="use one of them",
        )
    wanted = Requirements(log_proof="log-proof" in require, base_bytes="base-bytes" in require)
    registry = home_if_own(home) if _is_folder(target) else home_if_any(home)
    try:
        policy, problem = chosen_trust(registry, trust, root)
        if registry is None and not _is_folder(target):
            raise HomeNotFound(f"a folder {target}, and for {FOLDER_NAME} in {Path.cwd()} and every folder above")
        if registry is None or _is_folder(target):
            from peft_registry.registry.homes.home import utc_now

            return verify_folder(
                Path(target),
                trust=policy,
                trust_problem=problem,
                now=utc_now(),
                base=base,
                registry=registry,
                require=wanted,
            )
        version = version_named(registry, target, trust=policy)
        return verify_version(registry, version, trust=policy, trust_problem=problem, base=base, require=wanted)
    finally:
        if registry is not None:
            registry.close()


def _is_folder(target: str) -> bool:
    """A folder is written as one: with a separator, or as the name of a folder that is there."""
    return "/" in target or target in (".", "..") or Path(target).is_dir()


def _print_checks(outcome: "VerifyOutcome") -> None:
    texts = [console.printable(check.text) for check in outcome.checks]
    width = max(len(text) for text in texts)
    terminal = console.terminal_width(sys.stdout)
    if terminal is not None:
        width = max(min(width, terminal - _TEXT_AT - _STATUS_WIDTH), _TEXT_MIN)
    for number, (check, text) in enumerate(zip(outcome.checks, texts, strict=True), start=1):
        first, *others = wrapped_lines(text, width=width, indent=0)
        console.out(f"{number:>2} {check.step:<11} {first:<{width}}  {console.painted(check.status, check.status)}")
        for rest in (*others, *map(console.printable, check.detail)):
            console.line(" " * _TEXT_AT + rest, indent=_TEXT_AT)
    status = {"verified": "ok", "unverified": "unchecked", "broken": "failed"}[outcome.verdict]
    console.out(console.painted(outcome.verdict, status))


def _report_next_command(outcome: "VerifyOutcome", target: str, *, trusted: bool) -> None:
    if outcome.verdict == "broken":
        console.note("fix: do not load it; pull it again from its registry: registry pull NAME:NUMBER FOLDER")
    elif outcome.verdict == "verified":
        console.next_step(_after_verified(target))
    elif outcome.verdict == "unverified" and not trusted and _step(outcome, "trust") == "unchecked":
        console.note(f"fix: get the trust file from its keeper, then: registry verify {target} --trust FILE")
    elif outcome.verdict == "unverified":
        console.note("fix: provide what could not be checked above (--trust, --base), or require less (--require)")


def _after_verified(target: str) -> str:
    """What follows on a success: a version has a report; in a folder the evaluations can be recomputed, where it has any."""
    if not _is_folder(target):
        return f"registry report {target}"
    if any((Path(target) / "evidence").glob("items*")):
        return f"registry evaluate {target} --recheck"
    return f"registry verify {target} --require log-proof"


def _step(outcome: "VerifyOutcome", step: str) -> str:
    return next(check.status for check in outcome.checks if check.step == step)
