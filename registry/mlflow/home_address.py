"""`registry:HOME`, by which MLflow is told which home to read. No mlflow here."""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from peft_registry.schemas.errors import InputRefused

SCHEME = "registry"
HOME_VARIABLE = "REGISTRY_HOME"
SHOWN_FILES = f"{SCHEME}://shown"
"""Below it are the files of runs and logged models: `<experiment>/<run>/artifacts`, as MLflow lays them out."""


class NotAHomeAddress(InputRefused):
    reference = "mlflow-address-refused"
    what = "{uri!a} names no home of a registry"
    why = "it is registry:HOME or registry:///ABSOLUTE/HOME, and HOME is a folder that `registry init` made"
    fix = "set MLFLOW_TRACKING_URI=registry:HOME, or leave HOME out where REGISTRY_HOME is set"

    uri: str


def address_of(home: Path) -> str:
    """How MLflow is told of a home."""
    return f"{SCHEME}://{quote(home.resolve().as_posix())}"


def home_of(uri: str) -> str | None:
    """The home that an address names; None where it names none, and the home of the environment is meant.

    Raises:
        NotAHomeAddress: it names another machine, is of another scheme, or its path is none that a folder can have.
    """
    try:
        parts = urlsplit(uri)
        folder = Path(unquote(parts.path)).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # who opens the home says so
            folder.stat()
    except (ValueError, RuntimeError, OSError) as error:
        raise NotAHomeAddress(uri) from error
    if parts.scheme != SCHEME or parts.netloc or parts.query or parts.fragment:
        raise NotAHomeAddress(uri)
    return str(folder) if parts.path else os.environ.get(HOME_VARIABLE) or None
