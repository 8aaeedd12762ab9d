"""What a store answers that is only read: what it may not do is refused with the command that does it.

MLflow's abstract stores have hundreds of methods, and each release has more. So those are listed that read, and everything else
refuses, whatever it is called.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)

from peft_registry.registry.mlflow.unkept_logs import UNKEPT, is_asked_by_transformers
from peft_registry.schemas.errors import InputRefused, KnownError, NotFound, Unavailable

_Class = TypeVar("_Class", bound=type)

# the first that fits the name of a method says what to type instead
_INSTEAD = (
    (r"alias", "`registry promote NAME:NUMBER ALIAS` moves an alias under a signature"),
    (
        r"^(create|copy|record)_.*(model|version)|^transition",
        "`registry train`, `import` and `merge` register a version",
    ),
    (
        r"^(delete|restore)_run",
        "what is registered is not deleted; `registry runs remove` removes a run that is under way",
    ),
    (r"^(delete|rename)_", "what is registered is not deleted or renamed; `registry recall` takes it out of use"),
    (r"^(log|create_run|update_run|start|end|link|finalize)", "`registry train` and the RegistryCallback record runs"),
    (
        r"^(set|update)_",
        "tags and descriptions follow from what was signed; `registry gate approve` and `registry decide` sign",
    ),
    (r"experiment", "an experiment is a project: `registry train` with `project:` in its file makes one"),
    (r"", "the `registry` command is what writes"),
)


def read_only(*reads: str) -> Callable[[_Class], _Class]:
    """Have every public method of a class but `reads` refuse, also those that a later release of MLflow adds to its base."""

    def decorate(store: _Class) -> _Class:
        for name in dir(store):
            if name.startswith("_") or isinstance(getattr(store, name), property) or not callable(getattr(store, name)):
                continue
            setattr(store, name, _translating(getattr(store, name)) if name in reads else _refusing(name))
        return store

    return decorate


def refusal_of(method: str) -> str:
    """What is said to whoever calls a method that writes."""
    instead = next(text for pattern, text in _INSTEAD if re.search(pattern, method))
    return f"this MLflow shows a registry and is only read: {instead}"


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(*_arguments: Any, **named: Any) -> Any:  # whatever the method takes
        if name in UNKEPT and is_asked_by_transformers():
            return UNKEPT[name](named)
        # the code of MLflow's protocol and not its name, which a server would answer as an error of its own
        raise MlflowException(refusal_of(name), PERMISSION_DENIED)

    refuse.__name__ = name
    refuse.__doc__ = "Refused: this store is only read."
    return refuse


def _translating(read: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(read)
    def translated_read(*arguments: Any, **named: Any) -> Any:  # whatever the method takes
        with translated_errors():
            return read(*arguments, **named)

    return translated_read


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise errors of ours as MLflow's."""
    try:
        yield
    except KnownError as error:
        raise translated(error) from error


def translated(error: KnownError) -> MlflowException:
    """An error of ours as MLflow's, with the code that its server turns into a status of HTTP."""
    code = PERMISSION_DENIED
    if isinstance(error, NotFound):
        code = RESOURCE_DOES_NOT_EXIST
    elif isinstance(error, InputRefused):
        code = INVALID_PARAMETER_VALUE
    elif isinstance(error, Unavailable):
        code = TEMPORARILY_UNAVAILABLE
    return MlflowException(f"{error} — {error.fix}", code)
