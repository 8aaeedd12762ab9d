"""The `registry` command: assembles the groups, and turns every foreseen error into three sentences and its exit code."""

import errno
import itertools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import cache
from gc import freeze
from types import FrameType
from typing import Annotated

import typer
from typer.main import get_command

from peft_registry.cli import console
from peft_registry.cli.groups import Program, be_quiet
from peft_registry.schemas.errors import EXIT_BUG, EXIT_INTERRUPTED, InputRefused, KnownError, Unavailable
from peft_registry.schemas.suggestions import closest, did_you_mean

FIRST_STEPS = "First steps: `registry demo` runs the whole workflow, `registry init` creates a registry here."

EXIT_CODES = (
    "Exit codes: 0 done · 1 a bug · 2 usage or input refused · 3 refused by a gate or hold · 4 the run failed · "
    "5 could not be checked · 6 broken integrity or trust · 7 not found or taken · "
    "8 this machine or a backend cannot · 130 interrupted"
)

# the one requirement whose package has another name
_IMPORTED_AS = {"pyyaml": "yaml"}

# how the parser says that a word is not a day, and that it is none of the choices
_NO_DAY = re.compile(r"('[^']*') does not match the formats? '%Y-%m-%d'")
_NO_CHOICE = re.compile(r"'(?P<word>[^']*)' is not one of (?P<choices>'.*')")
_NO_COMMAND = re.compile(r"^No such command '(?P<word>[^']*)'")
_NO_OPTION = re.compile(r"^No such option: --(?P<option>[\w.-]+)")
_SHOWN_OF_REASON = 200  # characters; numpy explains a failed import on a page
_ADDRESS_SPACE = 256 * 2**20  # bytes; what a command without torch maps is about 180 MiB of it
_UNKNOWN = re.compile(r"no such (?:option: (?P<option>\S+)|command '(?P<command>[^']*)')")
# commands of earlier releases, and what takes their place
_GONE = {
    f"registry mirror {word}": (
        "MLflow reads the registry itself now: `registry ui` shows it, and `registry mirror push` sends a copy to a team's server"
    )
    for word in ("sync", "check", "repair", "rebuild", "forget", "status")
} | {
    f"registry {before}": f"type `registry {now}`: the words after it are the same"
    for before, now in {
        "approve": "gate approve",
        "waive": "gate waive",
        "impact": "lineage impact",
        "verdict": "record verdict",
        "gc": "admin gc",
        "upgrade": "admin upgrade",
        "keys rotate": "trust rotate",
        "keys revoke": "trust revoke",
    }.items()
}


class MemoryShort(Unavailable):
    what = "this command needs more memory than the system gives it"
    why = "{reason}"
    fix = "close what uses memory, raise the limit (`ulimit -v`), or run it on a larger machine; nothing incomplete was registered"

    reason: str


class PackageMissing(Unavailable):
    what = "this command needs the package {package}, which is not installed"
    why = "peft-registry requires it; an installation that only verifies and reports leaves it out"
    fix = "pip install peft-registry"

    package: str


class NameTooLong(InputRefused):
    what = "{path!q} is too long for a file or folder"
    why = "no file system here holds it: a name has at most 255 bytes, a path 4096"
    fix = "use a shorter name, or check the order of the command's words"

    path: str


class CommandLineRefused(InputRefused):
    """`command` as it is typed; `objection` in the words of the parser; `instead` of a command of an earlier release."""

    what = "{complaint}"
    why = "{objection}"
    fix = "{remedy}"

    command: str
    objection: str
    word: str | None = None
    known: tuple[str, ...] = ()
    is_incomplete: bool = False
    instead: str | None = None

    @property
    def complaint(self) -> str:
        if self.is_incomplete:
            return f"`{self.command}` needs another word"
        unknown = _UNKNOWN.match(self.objection)
        if unknown is None:
            return f"`{self.command}` cannot be run as typed"
        if unknown["option"] is not None:
            return f"unknown option {unknown['option']}"
        return f"unknown command `{self.command} {unknown['command']}`"

    @property
    def remedy(self) -> str:
        if self.instead is not None:
            return self.instead
        word = self.word
        if word is None:
            nearest = None
        else:  # a beginning is nearer than any spelling mistake
            nearest = next((known for known in self.known if known.startswith(word)), None) or closest(word, self.known)
        return did_you_mean(nearest, f"`{self.command} --help` says what it takes")


app = typer.Typer(
    name="registry",
    cls=Program,
    epilog=f"{FIRST_STEPS}\n\n{EXIT_CODES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        console.out(f"registry {version('peft-registry')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=be_quiet, help="Show neither progress nor hints."),
    ] = False,
) -> None:
    """Register fine-tuned models with their base, data, evaluation and signatures; verify and document them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    _end_tidily()
    code = run(sys.argv[1:] if arguments is None else arguments)
    # an interpreter that ends looks several times for cycles among all that was imported, which is a fifth of the time of a short
    # command; the system takes the memory back without that
    freeze()
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(number, frame)
    else:  # a shell lets what it starts in the background ignore Ctrl-C
        raise KeyboardInterrupt


def _end_tidily() -> None:
    """Take a SIGTERM and a closed terminal for Ctrl-C: temporary files are removed, and what can be resumed is kept."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup has the second one ignored, and its user means that
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def run(arguments: list[str]) -> int:  # noqa: PLR0911  one answer for each way in which a command ends
    """Run one command and return its exit code."""
    # before anything can import them: no telemetry, and no network where the caller did not ask for it
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # peft imports bitsandbytes, which says that it could not fetch a kernel nobody asked for
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    try:
        if arguments and "--help" not in arguments:
            _require_address_space()
        result = _commands()(args=arguments, prog_name="registry", standalone_mode=False, obj=run)
        sys.stdout.flush()
        if result == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this exit code, without a word
            return _interrupted()
        return result if isinstance(result, int) else 0
    except KnownError as error:
        return _refused(error, arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except SystemExit as ended:  # typer ends the program itself after it has installed a completion
        return ended.code if isinstance(ended.code, int) else 0
    except BrokenPipeError:
        # the reader left; keep the interpreter from complaining while it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001  the one place: usage errors of the parser, missing packages, and bugs
        return _usage_or_bug(error, arguments)


def _require_address_space() -> None:
    """Ask for the address space that a command takes, and give it back.

    Python says where it gets no memory, but a compiled module ends the process, in words of its own: so one question for all of it
    comes before any module is loaded.

    Raises:
        MemoryShort: the system does not give it.
    """
    import mmap
    import resource

    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # each thread takes 40 MiB more, and there may be a hundred
    try:
        mmap.mmap(-1, _ADDRESS_SPACE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        raise MemoryShort(f"less than {_ADDRESS_SPACE // 2**20} MiB of address space are left") from error


@cache
def _commands() -> Callable[..., object]:
    """The parser of every command, made once in a process: scripts and tests run many commands in one."""
    return get_command(app)


def _refused(error: KnownError, arguments: list[str]) -> int:
    console.show_error(error, as_json=_speaks_json(arguments))
    return error.exit_code


def _required_packages() -> set[str]:
    """What the requirements of this distribution are imported as; extras aside, which say themselves that they are missing."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        requirements = requires("peft-registry") or []
    except PackageNotFoundError:  # run from a checkout that was not installed
        return set()
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requirements if "extra ==" not in line}
    return {_IMPORTED_AS.get(name.lower(), name.lower().replace("-", "_")) for name in names}


def _interrupted() -> int:
    lead = "\n" if sys.stderr.isatty() else ""  # the terminal has written ^C, or a bar, into this line
    console.note(f"{lead}interrupted: nothing incomplete was registered")
    return EXIT_INTERRUPTED


def _usage_or_bug(error: Exception, arguments: list[str]) -> int:
    usage = _usage_error(error, arguments)
    if usage is not None:
        return _refused(usage, arguments)
    # the help that a group of commands answers with, and files that cannot be opened
    show = getattr(error, "show", None)
    if callable(show) and hasattr(error, "exit_code"):
        show()
        return 2
    if _is_short_of_memory(error):
        return _refused(
            MemoryShort(" ".join(f"{error}".split())[:_SHOWN_OF_REASON] or "an allocation failed"), arguments
        )
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if package in _required_packages():
            return _refused(PackageMissing(package), arguments)
    # caught here, because any word of a command may be looked up as a path, by whichever system call comes first
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return _refused(NameTooLong(str(error.filename)), arguments)
    import traceback

    traceback.print_exception(error)
    console.note("this is a bug in registry: please report the lines above")
    return EXIT_BUG


def _is_short_of_memory(error: Exception) -> bool:
    """Whether the system gave no memory: to Python, to the loader of a compiled module, or to a call."""
    if isinstance(error, ImportError):
        return any(
            text in f"{error}" for text in ("failed to map segment", "cannot allocate memory", "Cannot allocate memory")
        )
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _typed_command(arguments: list[str]) -> str:
    """The command that the words begin with, as it is typed."""
    words, command = ["registry"], _commands()
    for argument in arguments:
        nested = getattr(command, "commands", {}).get(argument)
        if nested is None:
            break
        words.append(argument)
        command = nested
    return " ".join(words)


def _usage_error(error: Exception, arguments: list[str]) -> CommandLineRefused | None:
    """What the parser objects to; None for any other error, and where its answer is a command's help."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return None
    if context is None and not hasattr(error, "option_name"):  # an option without its value comes without its command
        return None
    # typer has pydantic check choices, which puts its own words first
    objection = str(error.format_message()).replace("Value error, ", "", 1)  # type: ignore[attr-defined]  # a usage error
    objection = objection.replace("Input should be", "it has to be", 1)
    objection = _NO_DAY.sub(r"\1 is not a day such as 2026-05-01", objection)
    unknown = _NO_COMMAND.search(objection)
    choice = _NO_CHOICE.search(objection)
    word = None if choice is None else choice["word"]
    choices = () if choice is None else tuple(re.findall(r"'([^']*)'", choice["choices"]))
    first = objection[:1].lower() if objection[1:2].islower() else objection[:1]
    is_incomplete = objection.startswith("Missing ")
    command = _typed_command(arguments) if context is None else context.command_path
    instead = None if unknown is None else _GONE.get(f"{command} {unknown['word']}")
    if context is not None and any(parameter.name == "overrides" for parameter in context.command.params):
        instead = _written_as_key(objection)
    if unknown is not None and instead is not None:
        objection = unknown[0]  # without the nearest word, which is another command
    return CommandLineRefused(command, first + objection[1:].rstrip("."), word, choices, is_incomplete, instead)


def _written_as_key(objection: str) -> str | None:
    """How to write a key of the training file that was typed as an option; None where no key has that name."""
    from peft_registry.schemas.config_aliases import ALIASES, known_keys

    unknown = _NO_OPTION.match(objection)
    if unknown is None:
        return None
    key = unknown["option"].replace("-", "_")
    if key not in {*ALIASES, *known_keys()}:
        return None
    return f"write {key}=VALUE: a key of the training file has no dashes in front"


def _speaks_json(arguments: list[str]) -> bool:
    pairs = itertools.pairwise(arguments)
    return any(pair in (("--output", "json"), ("-o", "json")) for pair in pairs) or "--output=json" in arguments


if __name__ == "__main__":
    main()
