"""The shape of a command: it opens what it reads or signs with, makes one call, and says what came of it.

    @command(SIGNS)
    def release(home: Home, reference: SubjectArgument, reason: ReasonOption = None) -> Outcome:
        \"\"\"Take every hold of something back.\"\"\"
        ...
        return Outcome(changed.model_dump(mode="json"), lines(changed), next="registry admin gc")

The options that nearly all commands have are added behind its own: where the registry is, its passphrase, text or JSON.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from peft_registry.cli import console, wiring
from peft_registry.cli.options import (
    CheckpointOption,
    EverythingOption,
    HomeOption,
    JsonLinesOption,
    ListOption,
    OnOption,
    OptionNeeded,
    Output,
    OutputOption,
    PassphraseFileOption,
    RetryOption,
    ShardOption,
    WhereOption,
)
from peft_registry.cli.settings import unlocked_signer

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.read_folder import ReadFolder
    from peft_registry.schemas.errors import KnownError
    from peft_registry.schemas.progress import Observe


@dataclass(frozen=True, slots=True)
class Line:
    """A line of data; on a terminal what does not fit continues below, behind `indent` columns."""

    text: str
    indent: int

    def show(self) -> None:
        console.line(self.text, indent=self.indent)


@dataclass(frozen=True, slots=True)
class Table:
    """Aligned columns; the column with the index `prose` may be wrapped between words."""

    rows: Sequence[Sequence[str]]
    prose: int | None = None

    def show(self) -> None:
        console.table(self.rows, prose=self.prose)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A line of data that is never wrapped: a path, a line of a file."""

    text: str

    def show(self) -> None:
        console.out(console.printable(self.text))


@dataclass(frozen=True, slots=True)
class Note:
    """A line beside the data, on stderr."""

    text: str
    indent: int | None = None

    def show(self) -> None:
        console.note(console.printable(self.text), indent=self.indent)


@dataclass(frozen=True, slots=True)
class FileOnStdout:
    """A file that goes to stdout in place of everything else."""

    data: bytes

    def show(self) -> None:
        sys.stdout.buffer.write(self.data)


class Shown(Protocol):
    """One of the kinds above, or what a command draws by itself."""

    def show(self) -> None: ...


Part = str | Shown
"""What people read; a text is a line whose label has nine columns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a command.

    Attributes:
        json: the JSON value that programs read.
        lines: what people read in its place; None where they read the JSON too.
        next: the command that follows; None where none does.
        problem: raised once the rest was said.
        exit_code: where there is no error to raise.
    """

    json: Any  # any JSON value
    lines: Iterable[Part] | None = None
    next: str | None = None
    problem: "KnownError | None" = None
    exit_code: int = 0

    def show(self, output: Output) -> None:
        """Print it, as text or as JSON."""
        if output is Output.json or self.lines is None:
            console.out_json(self.json)
        else:
            for part in self.lines:
                (Line(part, indent=9) if isinstance(part, str) else part).show()
        if self.problem is not None:
            raise self.problem
        if self.next is not None and output is Output.text:
            console.next_step(self.next)
        if self.exit_code:
            raise typer.Exit(self.exit_code)


def of_folder(outcome: Outcome, folder: str, read: "ReadFolder | None", *, follow: str = "report") -> Outcome:
    """The outcome of a command about a version that a folder shows; as it is where the version is a registry's own (None).

    Args:
        outcome: as it would be of a registry.
        folder: as it was typed.
        read: the folder, verified: where that is `unverified`, so is what is shown.
        follow: the command that comes next.
    """
    if read is None:
        return outcome
    return replace(
        outcome,
        json={**outcome.json, "folder": {"path": folder, "verdict": read.outcome.verdict}},
        next=f"registry {follow} {folder}",
        exit_code=read.outcome.exit_code,
    )


@dataclass(frozen=True, slots=True)
class ListWords:
    """How a command is asked for many items, as it was typed: which, which part of them, who works, what remembers it."""

    where: str | None = None
    list_file: Path | None = None
    shard: str | None = None
    json_lines: Path | None = None
    on: str | None = None
    retry: str | None = None
    yes: bool = False


class Home:
    """The registry that the options mean: opened when a command first asks for it, closed before anything is printed."""

    def __init__(
        self,
        closing: ExitStack,
        output: Output,
        home: Path | None = None,
        checkpoint: Path | None = None,
        passphrase_file: Path | None = None,
        *,
        words: ListWords = ListWords(),
    ) -> None:
        self._closing = closing
        self.prints_json = output is Output.json
        self.folder = home
        self.checkpoint = checkpoint
        self.passphrase_file = passphrase_file
        self.words = words

    @property
    def is_for_many(self) -> bool:
        """Whether a list is meant, and no single item.

        Raises:
            OptionNeeded: something is said about a list, and none is named.
        """
        words = self.words
        if words.where is not None or words.list_file is not None:
            return True
        if words != ListWords():
            raise OptionNeeded(
                "--where CONDITIONS or --list FILE", "--shard, --json-lines, --on, --retry and --yes are about a list"
            )
        return False

    @cached_property
    def registry(self) -> "Registry":
        """Opened and checked."""
        return self.opened()

    def opened(self, *, check_log: bool = True) -> "Registry":
        """The registry; with `check_log=False` also one whose log is broken, to look at it or to mend it."""
        return self._closing.enter_context(
            wiring.opened(self.folder, self.passphrase_file, check_log=check_log, checkpoint=self.checkpoint)
        )

    @cached_property
    def if_own(self) -> "Registry | None":
        """The registry, for what works without one: None where there is none, or somebody else's in a parent folder."""
        registry = wiring.home_if_own(self.folder)
        if registry is not None:
            self._closing.callback(registry.close)
        return registry

    def read_folder(self, reference: str, trust: Path | None, root: list[str] | None) -> "ReadFolder | None":
        """The folder that is meant, verified under whom the user trusts; None where a version of the registry is meant.

        Raises:
            InputRefused: `--trust` or `--root` was given for a version of the registry.
            KnownError: as `read_presented`.
        """
        from peft_registry.cli.verifying import VerifyRequest, is_artifact_folder, read_presented, require_absent

        if not is_artifact_folder(reference):
            require_absent({"--trust": trust, "--root": root}, beside="a version of the registry")
            return None
        request = VerifyRequest(target=reference, home=self.folder, trust=trust, root=root, checkpoint=self.checkpoint)
        return read_presented(request)

    def signer(self, key: Path, key_passphrase_file: Path | None) -> "PrivateKey":
        """A person's own key, once the keys of the registry are unlocked: they sign the log."""
        return unlocked_signer(self.registry, key, key_passphrase_file, self.passphrase_file)

    @property
    def story(self) -> "Observe":
        """Shows progress on stderr, and the lines of its story among the data where people read them."""
        from peft_registry.cli.progress import Progress

        return Progress(story_on_stdout=not self.prints_json)


# the options that a command has by what it does; all of them print text or JSON
ANSWERS = ()
READS = ("home",)
READS_AT = ("home", "checkpoint")
SIGNS = ("home", "passphrase_file")
SIGNS_ALONE = ("passphrase_file",)  # in no registry

OVER_MANY = tuple(field.name for field in fields(ListWords))  # besides, for what is done with every item of a list

_OPTIONS = {
    "home": HomeOption,
    "checkpoint": CheckpointOption,
    "passphrase_file": PassphraseFileOption,
    "where": WhereOption,
    "list_file": ListOption,
    "shard": ShardOption,
    "json_lines": JsonLinesOption,
    "on": OnOption,
    "retry": RetryOption,
    "yes": EverythingOption,
}


def command(options: tuple[str, ...]) -> Callable[[Callable[..., Outcome]], Callable[..., None]]:
    """A command as typer takes it, of a function that takes a `home`, unless it only answers, and returns an outcome."""

    def shaped(function: Callable[..., Outcome]) -> Callable[..., None]:
        @wraps(function)
        def run(*, output: Output, **words: Any) -> None:  # what was typed, by the name of its parameter
            with ExitStack() as closing:
                if options:
                    typed = {name: words.pop(name) for name in options}
                    of_list = {name: typed.pop(name) for name in OVER_MANY if name in typed}
                    words["home"] = Home(closing, output, **typed, words=ListWords(**of_list))
                outcome = function(**words)
            outcome.show(output)

        own = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.name != "home"]
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        shared = [
            inspect.Parameter(name, kind, default=False if name == "yes" else None, annotation=_OPTIONS[name])
            for name in options
        ]
        last = inspect.Parameter("output", kind, default=Output.text, annotation=OutputOption)
        parameters = [*own, *shared, last]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return shaped
