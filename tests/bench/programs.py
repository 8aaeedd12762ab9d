"""How a bench starts another Python: a fresh interpreter, or where figures mean nothing a fork of one that has all it needs loaded.

A fresh interpreter imports torch, transformers and peft for seconds, which is what most of the smallest benches would take.
"""

import contextlib
import importlib
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

LOADED = (
    "peft",
    "transformers.models.llama.modeling_llama",
    "trl.trainer.sft_trainer",
    "lm_eval.models.huggingface",
    "model_signing",
    "peft_registry.cli.main",
    "peft_registry.registry.mlflow.tracking_store",
    "peft_registry.trainer.use_cases.merge",
    "peft_registry.trainer.use_cases.train",
)


class ProgramFailed(Exception):
    """A program that a bench started did not end well; with what it printed."""


@dataclass(frozen=True)
class Done:
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str


def python(*words: str) -> str:
    """Run Python with these words (`-m MODULE …` or `-c CODE …`) to its end; what it printed on stdout.

    Raises:
        ProgramFailed: it did not end with 0.
    """
    done = _START.get()(words)
    if done.code:
        raise ProgramFailed(f"python {' '.join(words)[:200]} ended with {done.code}:\n{done.out}{done.err}")
    return done.out


def _fresh(words: Sequence[str]) -> Done:
    # what Python has compiled is kept, as for every user: a short command would take twice as long
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-W", "ignore", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return Done(done.returncode, done.stdout, done.stderr)


_START: ContextVar[Callable[[Sequence[str]], Done]] = ContextVar("_START", default=_fresh)


@contextlib.contextmanager
def forked() -> Iterator[None]:
    """Programs that are started inside, and by those, are forks of this process; before that it loads what they import.

    On one thread: a fork has no other thread of its parent's, and would wait for what torch gave to one.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOADED:
            with contextlib.suppress(ModuleNotFoundError):  # of a peer that is not there its bench tells
                importlib.import_module(name)
    before = _START.set(_fork)
    try:
        yield
    finally:
        _START.reset(before)


def _fork(words: Sequence[str]) -> Done:
    sys.stdout.flush()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os._exit(_exit_code(words))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return Done(os.waitstatus_to_exitcode(status), out.read(), err.read())


def _exit_code(words: Sequence[str]) -> int:
    """Be the program, in this process."""
    kind, program, *arguments = words
    sys.argv = [program, *arguments]
    warnings.simplefilter("ignore")
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(program, {"__name__": "__main__"})
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
