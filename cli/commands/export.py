"""export: a version as other tools want it, or whether they would take it."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peft_registry.cli.completion import offer_versions
from peft_registry.cli.many import BegunWork, Work, over_many
from peft_registry.cli.options import OptionNeeded, OptionsExclusive, RootOption, TrustOption
from peft_registry.cli.outcome import OVER_MANY, READS, Home, Line, Outcome, Part, command
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.use_cases.check_serving import ServingCheck
    from peft_registry.schemas.policy import TrustPolicy
    from peft_registry.schemas.version import Version


class Server(StrEnum):
    """Inference servers whose rules are known."""

    vllm = "vllm"


class Form(StrEnum):
    """What a version can be written as for others."""

    hub = "hub"


def add_to(app: typer.Typer) -> None:
    """Enter `registry export`."""
    app.command()(export)


@command((*READS, *OVER_MANY))
def export(
    home: Home,
    reference: Annotated[
        str | None,
        typer.Argument(
            help="Version: name, name:3, name@alias or sha256:…; or a list, with --where or --list",
            show_default=False,
            autocompletion=offer_versions,
        ),
    ] = None,
    destination: Annotated[
        str | None,
        typer.Argument(metavar="ORG/NAME", help="Repository of the Hub, with --as hub.", show_default=False),
    ] = None,
    form: Annotated[
        Form | None, typer.Option("--as", help="Send it to a repository of the Hub, without its records.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent and withheld; send nothing.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody read the repository; default: private.")
    ] = False,
    with_records: Annotated[
        bool, typer.Option("--with-records", help="Send its records too, to a private repository.")
    ] = False,
    check: Annotated[
        Server | None, typer.Option(help="Server that is to load it; nothing is written and none is started.")
    ] = None,
    max_lora_rank: Annotated[
        int | None, typer.Option(help="What the server is started with; default: 16.", min=1, max=512)
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Folder of the base that it serves, whose bytes are compared too.")
    ] = None,
    trust: TrustOption = None,
    root: RootOption = None,
) -> Outcome:
    """Send a version to the Hub, or check it for a server. What is withheld is listed."""
    if home.is_for_many:
        of_one = {"REFERENCE": reference, "ORG/NAME": destination, "--dry-run": dry_run}
        of_one |= {"--public": public, "--with-records": with_records}
        if form is not None:
            raise OptionsExclusive(
                f"--as {form}",
                "--where or --list",
                "each version goes to a repository of its own, with its own consent",
            )
        if check is None:
            raise OptionNeeded("--check vllm", "a list is checked for a server")
        return over_many(home, ExportWork(max_lora_rank, base, trust, tuple(root or ())), of_one)
    if reference is None:
        raise typer.BadParameter("name a version, or a list with --where or --list", param_hint="REFERENCE")
    from peft_registry.cli.wiring import chosen_trust
    from peft_registry.registry.records.references import version_named

    _require_one_purpose(form, check, destination)
    to_send = {"--dry-run": dry_run, "--public": public, "--with-records": with_records}
    to_check = {"--max-lora-rank": max_lora_rank is not None, "--base": base is not None}
    if check is None:
        _require_without("--as hub", to_check)
    else:
        _require_without(f"--check {check}", to_send)
    policy, problem = chosen_trust(home.registry, trust, root)
    if problem is not None:
        raise problem
    version = version_named(home.registry, reference, trust=policy)
    if destination is None:
        return _check(home.registry, version, policy, max_lora_rank, base)
    return _publish(
        home.registry, version, destination, policy, public=public, dry_run=dry_run, with_records=with_records
    )


@dataclass(frozen=True)
class ExportWork(Work):
    """`registry export --check vllm` of registered versions."""

    verb = "export"

    max_lora_rank: int | None
    base: Path | None
    trust: Path | None
    root: tuple[str, ...]

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:
        """Check each item; the first thing that is wrong with it is its problem."""
        from peft_registry.cli.wiring import chosen_trust
        from peft_registry.registry.disk.hashing import RunDigests
        from peft_registry.registry.exports.vllm import DEFAULT_MAX_RANK
        from peft_registry.registry.identity.base import identify_base
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.check_serving import check_for_vllm

        policy, problem = chosen_trust(registry, self.trust, list(self.root))
        if problem is not None:
            raise problem
        digests = closing.enter_context(contextlib.closing(RunDigests()))
        if self.base is not None:  # refused here if it is not one, and hashed once for all items
            identify_base(self.base, cache=digests)

        def run_item(item: "ListItem") -> Outcome:
            version = version_named(registry, item.parts[0], trust=policy)
            checked = check_for_vllm(
                registry,
                version,
                max_rank=self.max_lora_rank or DEFAULT_MAX_RANK,
                served=self.base,
                trust=policy,
                digests=digests,
            )
            return Outcome(checked.to_json(), problem=next(iter(checked.problems), None))

        return BegunWork(run_item)


class OptionOfAnotherPurpose(InputRefused):
    what = "{option} means nothing beside {purpose}"
    why = "sending a version and checking it for a server have options of their own"
    fix = "leave {option} out, or run another `registry export` for it"

    option: str
    purpose: str


def _require_without(purpose: str, options: Mapping[str, bool]) -> None:
    for option, is_given in options.items():
        if is_given:
            raise OptionOfAnotherPurpose(option, purpose)


def _require_one_purpose(form: Form | None, check: Server | None, destination: str | None) -> None:
    is_sent = form is not None and destination is not None and check is None
    is_checked = form is None and destination is None and check is not None
    if not is_sent and not is_checked:
        raise InputRefused.in_words(
            what="it is not said what the version is exported for",
            why="it is sent to a repository of the Hub, or checked for a server",
            fix="write --as hub with ORG/NAME, or --check vllm without it",
        )


def _publish(
    registry: "Registry",
    version: "Version",
    repository: str,
    policy: "TrustPolicy | None",
    *,
    public: bool,
    dry_run: bool,
    with_records: bool,
) -> Outcome:
    from peft_registry.registry.use_cases.publish import publish_version

    done = publish_version(
        registry, version, repository, public=public, dry_run=dry_run, with_records=with_records, trust=policy
    )
    sent = "sent" if done.commit else "to send"
    lines = [f"{sent:<8} {path}  {size} bytes" for path, size in done.files]
    lines += [f"withheld {statement}" for statement in done.withheld]
    kind = "private" if done.is_private else "public"
    if done.commit is None:
        lines.append(f"dry run  {version.label} → {repository} ({kind}): nothing was sent")
        options = " --public" * public + " --with-records" * with_records
        next_step = f"registry export {version.label} {repository} --as hub{options}"
    else:
        lines.append(f"exported {version.label} → {repository} ({kind}) at commit {done.commit}")
        next_step = f"registry verify {version.label}"
    return Outcome(done.to_json(), lines, next_step)


def _check(
    registry: "Registry",
    version: "Version",
    policy: "TrustPolicy | None",
    max_rank: int | None,
    base: Path | None,
) -> Outcome:
    from peft_registry.registry.exports.vllm import DEFAULT_MAX_RANK
    from peft_registry.registry.use_cases.check_serving import check_for_vllm
    from peft_registry.schemas.errors import Refused

    checked = check_for_vllm(registry, version, max_rank=max_rank or DEFAULT_MAX_RANK, served=base, trust=policy)
    lines = _lines(checked, Server.vllm)
    if checked.problems:
        return Outcome(checked.to_json(), lines, exit_code=Refused.exit_code)
    return Outcome(checked.to_json(), lines, f"registry pull {version.label} --cache DIR")


def _lines(checked: "ServingCheck", server: Server) -> Iterator[Part]:
    for number, problem in enumerate(checked.problems, start=1):
        yield Line(f"{number:>2}  {problem.what}", indent=4)
        yield f"    why: {problem.why}"
        yield f"    fix: {problem.fix}"
    for note in checked.notes:
        yield Line(f"note: {note}", indent=6)
    label = checked.version.label
    if checked.problems:
        count = len(checked.problems)
        yield f"{server} would refuse {label}: {count} problem{'s' * (count > 1)}"
    else:
        yield f"{server} would take {label}"
