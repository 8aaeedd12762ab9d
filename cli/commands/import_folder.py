"""import: bringing in what was made elsewhere."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peft_registry.cli.many import BegunWork, Work, over_many, versions_line
from peft_registry.cli.options import MirrorOption, ProjectOption
from peft_registry.cli.outcome import OVER_MANY, SIGNS, Home, Outcome, command

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.use_cases.import_folder import ImportOutcome
    from peft_registry.registry.use_cases.import_plan import ImportRequest
    from peft_registry.schemas.progress import Observe

_QUESTIONS_SHOWN = 5  # an import leaves a hundred open


def add_to(app: typer.Typer) -> None:
    """Enter `registry import`."""
    app.command("import")(import_command)


@command((*SIGNS, *OVER_MANY))
def import_command(
    home: Home,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Folders of adapters as peft saves them, or of whole models; hub:OWNER/NAME[@REVISION] of the Hub; or --list.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Registered base that they were made on; default: the one that they name.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to register it under; default: that of the folder.")] = None,
    project: ProjectOption = None,
    facts: Annotated[Path | None, typer.Option(help="YAML file of facts that only people know.")] = None,
    mirror: MirrorOption = True,
) -> Outcome:
    """Register what was made elsewhere. What lies beside the weights enters the record as imported; the rest is asked for."""
    from peft_registry.registry.use_cases.import_plan import ImportRequest

    work = ImportWork(ImportRequest(folders=(), base=base, name=name, facts=facts, project=project), mirror)
    if home.is_for_many:
        return over_many(home, work, {"SOURCE": sources})
    if not sources:
        raise typer.BadParameter("name a folder or a repository of the Hub, or a list with --list", param_hint="SOURCE")
    home.registry.unlock()
    return work.imported(home.registry, sources, home.story)


@dataclass(frozen=True)
class ImportWork(Work):
    """`registry import` of folders and repositories."""

    verb = "import"
    takes = "source"

    request: "ImportRequest"
    mirror: bool

    @property
    def signs(self) -> bool:
        """Always: each version is signed."""
        return True

    def require_count(self, count: int) -> None:
        """Raise where several versions would have one name.

        Raises:
            NameForSeveral: `--name` is given, and there are several items.
        """
        from peft_registry.registry.use_cases.import_folder import NameForSeveral

        if self.request.name is not None and count > 1:
            raise NameForSeveral(count)

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:  # noqa: ARG002  nothing is kept open
        """Import each item."""
        from peft_registry.registry.use_cases.import_plan import require_options
        from peft_registry.schemas.progress import ignore

        require_options(registry, self.request)

        def run_item(item: "ListItem") -> Outcome:
            outcome = self.imported(registry, item.parts, ignore)
            return replace(outcome, json=outcome.json[0])

        return BegunWork(run_item)

    def summary(self, values: Sequence[Any]) -> str:
        """The versions that the items are."""
        return versions_line(values)

    def imported(self, registry: "Registry", sources: Sequence[str], observe: "Observe") -> Outcome:
        """All of these, or none where one of them is refused."""
        from peft_registry.cli.mirror import push_after
        from peft_registry.trainer.use_cases.import_hub import import_sources

        outcomes = import_sources(registry, sources, self.request, observe=observe)
        labels = [outcome.version.label for outcome in outcomes]
        pushed = push_after(registry, *labels) if self.mirror else None
        lines = [line for outcome in outcomes for line in _lines(outcome, pushed)]
        return Outcome([outcome.to_json() for outcome in outcomes], lines, f"registry verify {labels[0]}")


def _lines(outcome: "ImportOutcome", pushed: str | None) -> Iterator[str]:
    version = outcome.version
    done = "already registered" if outcome.was_there else "registered"
    yield (
        f"{done} {version.label}  imported  manifest {version.manifest_digest.short}  signed {outcome.signed_by}  "
        f"log {version.log_index}{'' if pushed is None else f'  {pushed}'}"
    )
    questions = outcome.gaps.open
    if questions:
        owed = {owner: position for position, (owner, _) in enumerate(outcome.gaps.by_owner)}
        first = sorted(questions, key=lambda gap: owed[gap.owner])[:_QUESTIONS_SHOWN]
        named = "; ".join(f"{gap.label or gap.field} ({gap.owner})" for gap in first)
        count = f"{len(questions)} fields, of which the first are" if len(questions) > len(first) else "the fields"
        yield f"open     {count}: {named}"
        yield (
            f"all      `registry record {version.label}` shows every one, and `registry decide {version.label} --form FILE` asks "
            "those that decide something"
        )
