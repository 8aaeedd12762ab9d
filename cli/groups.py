"""How commands are grouped: the program's own in sections, and a command that has others below it."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from peft_registry.cli import console


class Section(NamedTuple):
    """A heading of `registry --help`; below it each command, and what it does, in the order in which a reader meets them."""

    title: str
    commands: dict[str, str]


# `registry --help` reads this and loads no command; a test holds each sentence against the help of its command
SECTIONS = (
    Section(
        "Start",
        {
            "init": "Create a registry here.",
            "demo": "Run the whole workflow on a small model.",
            "base": "Register a base model.",
            "data": "Inspect training data, and write counterfactual rows.",
        },
    ),
    Section(
        "Train and evaluate",
        {
            "methods": "List the fine-tuning methods, and which of them fit a goal.",
            "estimate": "Estimate memory, time and cost of a run.",
            "train": "Fine-tune a base and register the result.",
            "runs": "List, follow and remove runs that are not registered yet.",
            "compare": "Train several methods on the same data.",
            "suites": "List, show and pin the data that bias is measured on.",
            "evaluate": "Measure bias, quality and retention.",
            "ask": "Ask a version a question, and its base for comparison.",
            "merge": "Merge adapters into their base and register the result.",
            "import": "Register what was made elsewhere.",
        },
    ),
    Section(
        "Look up",
        {
            "list": "List the registered versions, or those that meet conditions.",
            "show": "Show one version.",
            "diff": "Compare two versions.",
            "lineage": "Show what something was made from and what was made from it.",
            "record": "Show the modification record.",
            "report": "Write an HTML page about a version.",
            "ui": "Browse the registry in MLflow's pages.",
        },
    ),
    Section(
        "Verify and hand out",
        {
            "verify": "Check that an artifact is what was registered and signed.",
            "pull": "Write a verified copy of a version to a new folder.",
            "export": "Send a version to the Hub, or check it for a server.",
            "mirror": "Send a copy to a team's own MLflow server.",
        },
    ),
    Section(
        "Decide",
        {
            "decide": "Answer what is open in a record, or decide what no figure does.",
            "gate": "The policies that guard aliases.",
            "promote": "Point an alias at a version that a policy lets through.",
            "recall": "Forbid the use of something, and of what was made from it.",
            "hold": "Forbid the deletion of something, and of what belongs to it.",
            "release": "Take every hold of something back.",
        },
    ),
    Section(
        "Operate",
        {
            "keys": "Make, list, import and export signing keys.",
            "trust": "The trusted keys: whose they are, for what, until when.",
            "log": "The log of everything that was registered and said.",
            "admin": "Keep a registry in order: upgrade it, rebuild it, remove garbage.",
            "schema": "Print the JSON Schema of a document, for editors and programs.",
        },
    ),
)
# commands whose module has another name: one is a word of Python, the other has its opposite beside it
_MODULES = {"import": "import_folder", "release": "hold"}


class Commands(Mapping[str, Any]):
    """The commands by name, each loaded when it is first asked for: to run one, the others are not needed."""

    def __init__(self) -> None:
        self._names = tuple(name for section in SECTIONS for name in section.commands)
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # typer's command or group of commands
        if name not in self._loaded:
            if name not in self._names:
                raise KeyError(name)
            self._loaded[name] = _load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _load(name: str) -> Any:  # typer's command or group of commands
    module = import_module(f"peft_registry.cli.commands.{_MODULES.get(name, name)}")
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    module.add_to(app)
    command = get_group(app).commands[name]
    _in_plain_words(command)
    _quiet_behind(command)
    return command


def be_quiet(ctx: typer.Context, wanted: bool) -> None:
    """Show neither progress nor hints until the command has ended."""
    if wanted:
        ctx.with_resource(console.quietly())


def _quiet_behind(command: Any) -> None:  # typer's command or group of commands
    """Take `-q` behind the command as well; the help of the program has it."""
    for nested in getattr(command, "commands", {}).values():
        _quiet_behind(nested)
    command.params.append(_quiet_option())


@cache
def _quiet_option() -> Any:  # typer's option
    app = typer.Typer(add_completion=False)

    @app.command()
    def with_it(
        quiet: Annotated[
            bool,
            typer.Option("--quiet", "-q", callback=be_quiet, hidden=True, help="Show neither progress nor hints."),
        ] = False,
    ) -> None: ...

    (option,) = get_command(app).params
    option.expose_value = False  # no command has a parameter for it
    return option


class Program(TyperGroup):
    """All commands, in sections; their help speaks of what is typed."""

    def __init__(self, **options: Any) -> None:  # typer's own
        super().__init__(**options)
        self.commands = Commands()  # type: ignore[assignment]  # nobody enters any

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  typer's context and formatter
        width = max(map(len, self.commands))
        for section in SECTIONS:
            with formatter.section(section.title):
                # all names are as wide as the widest, so that the sentences of all sections begin in one column
                formatter.write_dl([(name.ljust(width), sentence) for name, sentence in section.commands.items()])


class CommandWithOthers(TyperGroup):
    """A command with others below it: `registry record NAME`, and `registry record verdict NAME`.

    A version that is called as one of them is named with its number: `registry record verdict:1`.
    """

    allow_extra_args = False
    allow_interspersed_args = True

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # typer's context
        return TyperCommand.collect_usage_pieces(self, ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # typer's context
        if args and args[0] in self.commands:
            ctx.args = args
            return args
        return TyperCommand.parse_args(self, ctx, args)

    def invoke(self, ctx: Any) -> Any:  # typer's context, and what a command returns
        if not ctx.args:
            return super().invoke(ctx)
        name, *words = ctx.args
        command = self.commands[name]
        # beside this one and not below it, whose arguments would be shown in front of the name
        with command.make_context(f"{ctx.info_name} {name}", words, parent=ctx.parent) as nested:
            return command.invoke(nested)


# what help says a value is, by the Python type that typer would show
_PLAIN = {
    "<str>": "TEXT",
    "<list[str]>": "TEXT",
    "<path>": "PATH",
    "<int>": "NUMBER",
    "<int range>": "NUMBER",
    "<float range>": "NUMBER",
}


def _in_plain_words(command: Any) -> None:  # typer's command or group of commands
    """Help says what to type, never which Python type it becomes."""
    for nested in getattr(command, "commands", {}).values():
        _in_plain_words(nested)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: ""  # noqa: ARG005  its name says it
        elif parameter.metavar is None and hasattr(parameter, "display_type"):
            parameter.display_type_rich = _plainly(parameter.display_type)


def _plainly(shown: Callable[[Any], str]) -> Callable[[Any], str]:
    def words(ctx: Any) -> str:
        text = shown(ctx)
        return _PLAIN.get(text, text.strip("<>"))

    return words
