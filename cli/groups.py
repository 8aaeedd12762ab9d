"""How commands are grouped: the program's own in sections, and a command that has others below it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from typer.core import TyperCommand, TyperGroup


class Section(NamedTuple):
    """A heading of `registry --help`, and the commands below it in the order in which a reader meets them."""

    title: str
    commands: tuple[str, ...]


SECTIONS = (
    Section("Start", ("init", "demo", "base", "data")),
    Section(
        "Train and evaluate",
        ("methods", "estimate", "train", "runs", "compare", "suites", "evaluate", "ask", "merge", "import"),
    ),
    Section("Look up", ("list", "show", "diff", "lineage", "record", "report", "ui")),
    Section("Verify and hand out", ("verify", "pull", "export", "mirror")),
    Section("Decide", ("decide", "gate", "promote", "recall", "hold", "release")),
    Section("Operate", ("keys", "trust", "log", "admin", "schema")),
)


class Program(TyperGroup):
    """All commands, in sections; their help speaks of what is typed."""

    def __init__(self, **options: Any) -> None:  # typer's own
        super().__init__(**options)
        _in_plain_words(self)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  typer's context
        return [name for section in SECTIONS for name in section.commands]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  typer's context and formatter
        width = max(map(len, self.commands))
        for section in SECTIONS:
            with formatter.section(section.title):
                limit = formatter.width - 6 - width
                # all names are as wide as the widest, so that the sentences of all sections begin in one column
                formatter.write_dl(
                    [(name.ljust(width), self.commands[name].get_short_help_str(limit)) for name in section.commands]
                )


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
