"""The `registry` command in a process of its own, as a user runs it: cold (`python -m`), or forked from a warm one.

A cold `train` imports torch, transformers and peft for seconds. `WarmCommand` starts one process that has them loaded and
forks a child for every command: working folder, environment, arguments, streams, limits and exit code are the child's own,
so that dozens of trainings fit into a minute.
"""

import contextlib
import gc
import importlib
import itertools
import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import NEW_OBJECTS, state_of
from tests.processes.interpreter import ROOT
from tests.processes.rights import give_up_rights_over_files

TIMEOUT_SECONDS = 120
NOT_WARM = (
    "peft_registry.registry.database.migrations",
    "peft_registry.registry.mlflow",  # hardly a command here needs MLflow
    "peft_registry.trainer.embedded.make_base",
)
# a user without the rights that let root write into a read-only folder
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all", "--no-new-privs")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed. `code` is negative where a signal ended it."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)

    def ok(self) -> "Done":
        """Itself, if it succeeded."""
        assert self.code == 0, self
        return self


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a command may see: no setting of the caller's, one thread, and a user's home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    own = {
        "HOME": str(folder),
        "XDG_STATE_HOME": str(state_of(folder)),
        "PYTHONPATH": str(ROOT / "src"),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return kept | own | more


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "peft_registry.cli.main", *map(str, arguments)]


def registry(*arguments: object, cwd: Path, before: Sequence[str] = (), **variables: str) -> Done:
    """Run one command from nothing; `before` is put in front of the command line."""
    done = subprocess.run(
        [*before, *command_line(*arguments)],
        cwd=cwd,
        env=environment(cwd, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def signals_of_a_terminal(ignored: signal.Signals | None = None) -> None:
    """Let this process take signals as a terminal gives them to a command, whatever started this run of tests; one may be ignored.

    A child inherits what its parent ignores: SIGHUP under `nohup`, SIGINT in the background of a shell that is no terminal.
    """
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN if name == ignored else signal.SIG_DFL)


class Running:
    """A forked command that has not been waited for."""

    def __init__(self, pid: int, folder: Path, ask: Callable[[Mapping[str, Any]], dict[str, int]]) -> None:
        self.pid = pid
        self._folder = folder
        self._ask = ask

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text("utf-8", "replace")

    def kill(self) -> None:
        """Kill it as a power cut would: no handler runs."""
        with contextlib.suppress(ProcessLookupError):  # it was done already
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Done:
        code = self._ask({"wait": self.pid})["code"]
        return Done(code, self.out, (self._folder / "err").read_text("utf-8", "replace"))


class WarmCommand:
    """Forks one command after the other from a process that has the heavy packages loaded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.e2e.commands import serve; serve()"],
            cwd=ROOT,
            env=environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        *arguments: object,
        cwd: Path,
        file_bytes: int | None = None,
        unprivileged: bool = False,
        pause: str = "",
        calls_before_pause: int = 0,
        **variables: str,
    ) -> Running:
        """Start a command.

        Args:
            arguments: after `registry`.
            cwd: the folder that it runs in.
            file_bytes: the size that no file may pass.
            unprivileged: without the rights that let root write everywhere.
            pause: a function where it stops and waits.
            calls_before_pause: how often it enters that function before.
            variables: of its environment.
        """
        streams = Path(tempfile.mkdtemp(dir=self._folder))
        for name in ("out", "err"):
            (streams / name).touch()
        request = {
            "arguments": [str(one) for one in arguments],
            "cwd": str(cwd),
            "streams": str(streams),
            "environment": environment(cwd, **variables),
            "file_bytes": file_bytes,
            "unprivileged": unprivileged,
            "pause": pause,
            "calls_before_pause": calls_before_pause,
        }
        return Running(self._ask(request)["pid"], streams, self._ask)

    def __call__(
        self,
        *arguments: object,
        cwd: Path,
        file_bytes: int | None = None,
        unprivileged: bool = False,
        **variables: str,
    ) -> Done:
        """Run a command to its end."""
        return self.start(*arguments, cwd=cwd, file_bytes=file_bytes, unprivileged=unprivileged, **variables).wait()

    def _ask(self, message: Mapping[str, Any]) -> dict[str, int]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        reply = self._process.stdout.readline()
        assert reply, "the warm process is gone"
        answer: dict[str, int] = json.loads(reply)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT_SECONDS)
        self._process.stdout.close()


def serve() -> None:
    """The warm process: a request a line on stdin. It answers a command with the child's pid, and `wait` with its exit code."""
    _import_everything()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            _answer({"code": os.waitstatus_to_exitcode(status)})
            continue
        pid = os.fork()
        if pid == 0:
            _run_child(request)
        _answer({"pid": pid})


def wait_until(condition: Any, *, seconds: float = TIMEOUT_SECONDS) -> None:
    """Return once `condition()` is true; polls, because it watches another process's files."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def _answer(value: Mapping[str, int]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _import_everything() -> None:
    """Import what commands import; frozen, so that no child's garbage collection copies it."""
    gc.disable()  # nearly all that is imported stays
    import peft  # noqa: F401
    import sqlalchemy.dialects.sqlite  # noqa: F401
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    import peft_registry

    for module in pkgutil.walk_packages(peft_registry.__path__, "peft_registry."):
        if not module.name.startswith(NOT_WARM):
            importlib.import_module(module.name)

    from peft_registry.cli.main import _commands
    from peft_registry.trainer.machine.environment import needed_distributions

    # what is worked out once in a process, for whatever model and data; else each child would, before its first step
    get_checkpoint_conversion_mapping("llama")
    needed_distributions()
    _commands()
    _trace_the_example()

    gc.freeze()
    gc.enable()
    gc.set_threshold(NEW_OBJECTS)


def _trace_the_example() -> None:
    """Count the operations of the example's training, as most commands here would: it takes a child as long as to train it."""
    from peft_registry.trainer.bases.loading import load_model
    from peft_registry.trainer.costs.compute import trace_laws
    from peft_registry.trainer.embedded import embedded_base
    from peft_registry.trainer.example import write_example
    from peft_registry.trainer.inputs.training_file import load_training_file
    from peft_registry.trainer.machine.environment import choose_hardware

    with tempfile.TemporaryDirectory() as folder:
        config = load_training_file(write_example(Path(folder)).config).config
    # on the CPU, because no child can use a GPU that its parent has touched
    dtype = choose_hardware(config.training.dtype, device="cpu").dtype
    trace_laws(load_model(embedded_base(), dtype=dtype, device="cpu").config, config)


def _run_child(request: dict[str, Any]) -> None:
    """Become the command; never returns."""
    import resource

    from peft_registry.cli.main import run

    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    signals_of_a_terminal()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as Python sets it when it starts, which is over here
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(request["streams"]) / name, os.O_WRONLY | os.O_APPEND), descriptor)
    sys.stdin = open(0)  # noqa: SIM115  the descriptor, not a path
    if request["file_bytes"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    if request["unprivileged"]:
        give_up_rights_over_files()
    if request["pause"]:
        _pause_at(request["pause"], request["calls_before_pause"])
    sys.argv = ["registry", *request["arguments"]]
    code = 1
    try:
        code = run(request["arguments"])
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _pause_at(point: str, calls_before: int) -> None:
    """Where the command would enter this function (package.module.function), say so on stdout and wait for the kill."""
    place, name = point.rsplit(".", 1)
    owner = pkgutil.resolve_name(place)
    enter = getattr(owner, name)
    calls = itertools.count()

    def wait(*arguments: object, **named: object) -> object:
        if next(calls) < calls_before:
            return enter(*arguments, **named)
        sys.stdout.write(f"paused at {point}\n")
        sys.stdout.flush()
        time.sleep(TIMEOUT_SECONDS)
        os._exit(1)  # nobody came

    setattr(owner, name, wait)
