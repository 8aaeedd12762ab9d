"""Showing a home to others: MLflow's own login in front of every page, ours included, or nothing beyond this machine.

Users, passwords and permissions are MLflow's own affair: they are in the database that the file of `MLFLOW_AUTH_CONFIG_PATH`
names. Nothing of them is kept here. What a visitor may see of our pages is asked of MLflow for each request.
"""

import configparser
import importlib.util
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from peft_registry.registry.extras import ExtraMissing
from peft_registry.schemas.errors import InputRefused

# "1" in the environment of the server that we start: MLflow's login stands before every page
SHARED = "REGISTRY_MLFLOW_SHARED"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - only behind MLflow's login
_CONFIG = "MLFLOW_AUTH_CONFIG_PATH"
_ADMIN = ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD")
_SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"  # noqa: S105 - the name of a variable
# it was in the file that MLflow shipped, and everybody knows it
_SHIPPED_PASSWORD = "password1234"  # noqa: S105 - refused
_NAME = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?")
_SQLITE = "sqlite:///"
_NAMES_PER_PAGE = 1000
_REGISTERED_MODELS = "/api/2.0/mlflow/registered-models"


class NotShared(InputRefused):
    reference = "ui-not-shared"
    what = "nothing is shown beyond this machine without a login"
    why = "{host} can be reached from others, and whoever reaches MLflow reads everything that is registered"
    fix = "add --shared, which asks for a user and a password of MLflow, or leave --host out"

    host: str


class LoginNotConfigured(InputRefused):
    reference = "ui-login-not-configured"
    what = "the login of MLflow is not configured"
    why = "{reason}"
    fix = (
        "set MLFLOW_AUTH_CONFIG_PATH to a basic_auth.ini of yours, as `docs/how-to/browse-in-mlflow.md` shows it,"
        " and MLFLOW_AUTH_ADMIN_PASSWORD for the first start"
    )

    reason: str


class NotAName(InputRefused):
    reference = "ui-name-refused"
    what = "{name!q} is not the name of a machine"
    why = "it is a DNS name or an address, and a port where it is not the usual"
    fix = "write it like models.example.org or models.example.org:8443"

    name: str


@dataclass(frozen=True, slots=True)
class Sharing:
    """That the server is shown to others: the names that they reach it under, and what it needs of MLflow's settings."""

    names: tuple[str, ...]
    settings: Mapping[str, str]

    def hosts(self, port: int) -> tuple[str, ...]:
        """What a request may name as its host."""
        return tuple(dict.fromkeys(host for name in self.names for host in (name, _with_port(name, port))))

    def origins(self, port: int) -> tuple[str, ...]:
        """Pages whose scripts may change something: those of this server, and of one that encrypts in front of it."""
        return tuple(
            dict.fromkeys(
                origin for name in self.names for origin in (f"https://{name}", f"http://{_with_port(name, port)}")
            )
        )


def require_loopback(host: str) -> None:
    """Raise unless only this machine reaches an address to listen on.

    Raises:
        NotShared: others do.
    """
    if not is_loopback(host):
        raise NotShared(host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shared(*, host: str, names: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Sharing:
    """What it takes to show a home to others.

    Args:
        host: the address to listen on.
        names: under which others reach it.
        environment: of this process: where MLflow's own settings are.
        folder: the working folder, from which MLflow reads relative paths.

    Raises:
        ExtraMissing: what MLflow's login needs is not installed.
        NotAName: a name could not be the host of a request.
        LoginNotConfigured: nobody could log in, or with a password that everybody knows.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise NotAName(name)
    if importlib.util.find_spec("flask_wtf") is None:
        raise ExtraMissing("shared", "MLflow's login")
    path = _require_login(environment, folder)
    settings = {name: environment[name] for name in (*_ADMIN, _SECRET_KEY) if environment.get(name)}
    # a new one at each start ends no login: it only protects the form for new users
    settings.setdefault(_SECRET_KEY, secrets.token_hex(32))
    return Sharing(tuple(dict.fromkeys((*names, *_names_of(host)))), {**settings, _CONFIG: str(path), SHARED: "1"})


def _require_login(environment: Mapping[str, str], folder: Path) -> Path:
    """The file that configures MLflow's login."""
    named = environment.get(_CONFIG)
    if not named:
        raise LoginNotConfigured(f"{_CONFIG} names no file")
    path = folder / named
    config = configparser.ConfigParser()
    try:
        config.read_string(path.read_text("utf-8"))
        login = config["mlflow"]
        database, _ = login["database_uri"], login["default_permission"]
        in_file = login.get("admin_password")
    except OSError as error:
        raise LoginNotConfigured(f"{named} cannot be read: {error.strerror}") from error
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        raise LoginNotConfigured(f"{named} has no [mlflow] with database_uri and default_permission") from error
    first_password = environment.get(_ADMIN[1], in_file)
    if first_password == _SHIPPED_PASSWORD:
        raise LoginNotConfigured("its first password is the one that MLflow once shipped")
    if not first_password and _is_missing(database, folder):
        raise LoginNotConfigured("it has no users yet, and no password for the first")
    return path.resolve()


def _is_missing(database: str, folder: Path) -> bool:
    """Whether a database is a file that is not there; any other is MLflow's to ask."""
    if not database.startswith(_SQLITE):
        return False
    return not (folder / database.removeprefix(_SQLITE)).exists()


def _names_of(host: str) -> Iterator[str]:
    """Under which names a browser on another machine reaches an address that is listened on."""
    if host not in (EVERY_ADDRESS, "::"):
        yield f"[{host}]" if ":" in host else host
        return
    own = socket.gethostname()
    yield from (name for name in dict.fromkeys((own, socket.getfqdn())) if _NAME.fullmatch(name))
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(own, None)}
    except OSError:
        return
    yield from sorted(f"[{address}]" if ":" in str(address) else str(address) for address in addresses)


def _with_port(name: str, port: int) -> str:
    has_port = ":" in name.rpartition("]")[2]
    return name if has_port else f"{name}:{port}"


# --- in the server's process ---


@dataclass(frozen=True, slots=True)
class Permission:
    """What MLflow answers about somebody: the status, how to log in where it is 401, and the names that they may read."""

    status: int
    challenge: str | None = None
    names: frozenset[str] = frozenset()


Ask = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, str], Any]]
"""Status, headers and JSON of what MLflow answers to a GET with somebody's credentials."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks for a page of ours; what they may read is asked of MLflow."""

    ask: Ask
    credentials: Mapping[str, str]

    def may_read(self, name: str) -> Permission:
        """Whether MLflow would show them a model. One that it has not is shown to all who are logged in and may read by default."""
        query = urlencode({"name": name})
        status, headers, _ = self.ask(f"{_REGISTERED_MODELS}/get?{query}", self.credentials)
        if status in (200, 404):
            return Permission(200, names=frozenset((name,)))
        return Permission(status, headers.get("WWW-Authenticate"))

    def may_list(self) -> Permission:
        """The models that MLflow lists for them."""
        names: set[str] = set()
        token = ""
        while True:
            query = {"max_results": str(_NAMES_PER_PAGE)} | ({"page_token": token} if token else {})
            status, headers, answer = self.ask(f"{_REGISTERED_MODELS}/search?{urlencode(query)}", self.credentials)
            if status != 200 or not isinstance(answer, dict):
                return Permission(status, headers.get("WWW-Authenticate"))
            names |= {model["name"] for model in answer.get("registered_models", ())}
            token = answer.get("next_page_token", "")
            if not token:
                return Permission(200, names=frozenset(names))


def visitor_of(
    flask_app: Any, credentials: Mapping[str, str]
) -> Visitor:  # flask's application, which mypy does not follow
    """Whoever sent these headers, asked about in MLflow's application in this process."""

    def ask(path: str, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], Any]:
        answer = flask_app.test_client().get(path, base_url="http://localhost", headers=dict(headers))
        return answer.status_code, answer.headers, answer.get_json(silent=True)

    return Visitor(ask, credentials)


def is_shared() -> bool:
    """Whether this process is a server that is shown to others."""
    return os.environ.get(SHARED) == "1"
