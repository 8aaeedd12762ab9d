"""The stock MLflow server, started on the stores that read a home, and our plugin in it.

`create_app` is the `mlflow.app` entry point: MLflow's own pages with a content security policy, opened in the view that shows
models, without the parts we do not offer and without the buttons of what is refused. `serve` runs `mlflow server` as a child in a
session of its own (`server_process.py`): it ends with us, whole, and never outlives a Ctrl-C. What listens beyond this machine has
MLflow's login before every page.
"""

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from peft_registry.registry.disk.child_environment import Need, child_environment
from peft_registry.registry.mlflow import server_process
from peft_registry.registry.mlflow.description import PAGES
from peft_registry.registry.mlflow.environment import server_environment
from peft_registry.registry.mlflow.hidden import style
from peft_registry.registry.mlflow.home_address import SCHEME, SHOWN_FILES, address_of
from peft_registry.registry.mlflow.sharing import Sharing, is_loopback, is_shared, require_loopback, visitor_of
from peft_registry.schemas.errors import EXIT_INTERRUPTED, Unavailable
from peft_registry.schemas.progress import Finished, Observe, Said, Started, ignore

if TYPE_CHECKING:
    from peft_registry.registry.mlflow.pages import PageResponse

APP_NAME = "registry"
ENTRY_POINTS = (  # by which MLflow finds us: the application, and the scheme of the stores and of files
    ("mlflow.app", APP_NAME),
    ("mlflow.tracking_store", SCHEME),
    ("mlflow.model_registry_store", SCHEME),
    ("mlflow.artifact_repository", SCHEME),
)
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 5000
PORTS_TRIED = 20
START_SECONDS = 120.0  # 6 s on an idle machine, up to 40 s on a busy one
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1
_LOG_TAIL_BYTES = 4000

# what MLflow 3.17's pages need, and nothing from another machine: a description may name an external image
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "frame-src 'self' blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "frame-ancestors 'self'",
    )
)
# asked by the list of runs, which shows an error unless it is told that there are none
_NO_ENDPOINTS = "/ajax-api/2.0/mlflow/gateway-proxy"
# answered with 404 in every version of MLflow's interface: agents with a shell, gateways and hooks to other machines, jobs, what
# calls the models of others, traces
NOT_OFFERED = (
    "/mlflow/assistant",
    "/mlflow/gateway-proxy",
    "/mlflow/gateway",
    "/gateway",
    "/mlflow/webhooks",
    "/mlflow/jobs",
    "/jobs",
    "/mlflow/demo",
    "/mlflow/genai",
    "/mlflow/issues/invoke",
    "/mlflow/prompt-optimization",
    "/mlflow/runs/create-promptlab-run",
    "/mlflow/scorer",
    "/mcp",
    "/v1/traces",
)
_INTERFACE = re.compile(r"^/(?:ajax-)?api/[0-9.]+(?=/)")
# The page's own defaults, set only where the user has not chosen: it opens on the models, and a list of runs begins with loss, bias
# and signature as columns. MLflow's keys are internal: an unknown one does nothing.
_RUNS_STATE = json.dumps(
    {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            "metrics.`loss/held_out`",
            "tags.`registry.bias`",
            "tags.`registry.signature`",
            "attributes.`Models`",
        ],
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }
)
_UI_DEFAULTS = r"""<script>(function(){try{var d={
"mlflow.workflowType_v1":'"machine_learning"',
"_mlflow_model_registry_promo_modal_dismissed_v1":"true",
"mlflow.settings.telemetry.enabled_v1":"false",
"mlflow.telemetry.info.alert.dismissed_v1":"true",
"mlflow.assistant.fab.autoOpenedOnFirstLoad_v1":"true",
"mlflow.assistant.panelOpen_v1":"false"};
for(var k in d){if(localStorage.getItem(k)===null){localStorage.setItem(k,d[k]);}}
var g=Storage.prototype.getItem,r=JSON.stringify(RUNS);
Storage.prototype.getItem=function(k){var v=g.call(this,k);
return v===null&&/^MLflowLocalStorage-1\.1-ExperimentPage-\["\d+"\]-ReactComponentState$/.test(k)?r:v;};}catch(e){}
if(location.hash===""){location.hash="#/models";}})();</script>""".replace("RUNS", _RUNS_STATE)

_checking: asyncio.Semaphore | None = None

Stop = Callable[[], bool]


class UiNotStarted(Unavailable):
    what = "the MLflow server did not start"
    why = "{reason}"
    fix = "read the lines above; the registry itself works without it"

    reason: str

    @property
    def separate_reasons(self) -> tuple[str, ...]:
        return tuple(self.reason.splitlines())


class EntryPointMissing(Unavailable):
    what = "this installation has no entry point {group} = {name}"
    why = "it is older than its code, and MLflow finds what shows the registry by that entry point"
    fix = "run pip install again; in a checkout `pip install -e .`, which makes the entry points anew"

    group: str
    name: str


class LoginNotAsked(Unavailable):
    reference = "ui-login-not-asked"
    what = "the MLflow server was stopped: it let somebody in who had not logged in"
    why = "a request without a password was answered with {status}"
    fix = "look at the authorization_function of your basic_auth.ini; nothing is shown to others without a login"

    status: int


class NoFreePort(Unavailable):
    what = "no free port on {host}"
    why = "{first} to {last} are taken or not allowed"
    fix = "name another with --port"

    host: str
    first: int

    @property
    def last(self) -> int:
        return self.first + PORTS_TRIED - 1


def create_app() -> Any:  # a FastAPI application, which mypy does not follow
    """MLflow's application with our headers, defaults and refusals around it."""
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import create_fastapi_app
    from starlette.middleware.base import BaseHTTPMiddleware
    from starlette.routing import Route

    if is_shared():
        from mlflow.server.auth import create_app as create_app_with_login

        # first: whoever has not logged in learns nothing from what we refuse
        app = create_app_with_login(flask_app)
    else:
        app = create_fastapi_app(flask_app)
    flask_app.after_request(_with_ui_defaults)
    # before MLflow's own catch-all, which would answer
    app.router.routes[:0] = [Route(path, _our_page) for path in (PAGES, f"{PAGES}/{{rest:path}}")]
    app.add_middleware(BaseHTTPMiddleware, dispatch=_guard)
    return app


def require_entry_points(found: Callable[..., Collection[EntryPoint]] = entry_points) -> None:
    """Raise unless this installation has the entry points that the server is started with.

    Args:
        found: the entry points of a group with a name.

    Raises:
        EntryPointMissing: it was installed before they were there.
    """
    for group, name in ENTRY_POINTS:
        if not found(group=group, name=name):
            raise EntryPointMissing(group, name)


def serve(
    home: Path,
    *,
    needs: Iterable[Need] = (),
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    open_browser: bool = True,
    sharing: Sharing | None = None,
    observe: Observe = ignore,
) -> int:
    """Show a home until Ctrl-C, SIGTERM or a closed terminal; return the exit code.

    Args:
        home: which is read; nothing is written to it.
        needs: the credentials that reading them takes.
        host: the address to listen on.
        port: the first port to try.
        open_browser: open the page when it is ready, where there is a display.
        sharing: that others may reach it, with MLflow's login before every page; None: this machine only.
        observe: receives the ready line.

    Raises:
        NotShared: others reach the host, and it is not shared.
        EntryPointMissing: this installation is older than its code.
        NoFreePort: twenty ports from `port` on are taken.
        UiNotStarted: the server ended or did not answer within two minutes.
        LoginNotAsked: it is shared, and answered somebody who had not logged in.
    """
    if sharing is None:
        require_loopback(host)
    require_entry_points()
    free = _free_port(host, port)
    address = f"http://{_in_url(host)}:{free}"
    with (
        _stop_signals() as stopped,
        tempfile.TemporaryFile() as log,
        _child(_command(home, host, free), _environment(home, needs, host, free, sharing), log) as child,
    ):
        observe(Started("mlflow"))
        ready = _wait_until_ready(child, host, free, log, stopped)
        observe(Finished("mlflow"))
        if not ready:
            return EXIT_INTERRUPTED
        if sharing is not None:
            _require_login(host, free)
            _announce_to_others(sharing, host, free, observe)
        _announce(address, open_browser, observe)
        while not stopped():
            if child.poll() is not None:
                raise UiNotStarted(f"it ended by itself: {_tail(log)}")
            time.sleep(_POLL_SECONDS)
    return 0


async def _guard(request: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:  # starlette's types
    from starlette.responses import JSONResponse, Response

    path = request.url.path
    if path == _NO_ENDPOINTS and request.method == "GET":
        response: Response = JSONResponse({"endpoints": []})
    elif (path == PAGES or path.startswith(f"{PAGES}/")) and request.method not in ("GET", "HEAD"):
        response = Response("these pages are only read", 405, {"Allow": "GET, HEAD"}, media_type="text/plain")
    elif not is_offered(path):
        response = JSONResponse({"error_code": "ENDPOINT_NOT_FOUND", "message": "not offered here"}, status_code=404)
    else:
        response = await call_next(request)
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def is_offered(path: str) -> bool:
    """Whether MLflow answers at a path, in whatever version of its interface."""
    asked = _INTERFACE.sub("", re.sub("/+", "/", path))
    return not any(asked == prefix or asked.startswith(f"{prefix}/") for prefix in NOT_OFFERED)


async def _our_page(request: Any) -> Any:  # starlette's types
    """A page of ours; checking one takes as long as reading every byte of it, so two at a time."""
    from starlette.responses import Response

    from peft_registry.registry.mlflow import pages

    global _checking  # noqa: PLW0603 - belongs to the loop of the server, which is not there at import
    _checking = _checking or asyncio.Semaphore(2)
    if request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get("sec-fetch-dest") != "document":
        answer = pages.FROM_ELSEWHERE
    else:
        async with _checking:
            answer = await asyncio.to_thread(_answer, request)
    return Response(answer.html, answer.status, answer.headers, media_type="text/html")


def _answer(request: Any) -> "PageResponse":  # starlette's type
    """The page that a request is for; on a shared server only what MLflow lets its sender read."""
    from mlflow.server import app as flask_app

    from peft_registry.registry.mlflow import pages

    path, asked = request.path_params.get("rest", ""), dict(request.query_params)
    if not is_shared():
        return pages.answer(path, asked=asked)
    credentials = {name: request.headers[name] for name in ("authorization", "cookie") if name in request.headers}
    return pages.answer(path, asked=asked, visitor=visitor_of(flask_app, credentials))


def _with_ui_defaults(response: Any) -> Any:  # flask's response
    """The page itself with our defaults set before its own scripts run."""
    from flask import request

    if request.path != "/" or response.mimetype != "text/html":
        return response
    response.direct_passthrough = False
    response.set_data(
        response.get_data(as_text=True).replace("<head>", f"<head>{_UI_DEFAULTS}<style>{style()}</style>", 1)
    )
    for name in ("ETag", "Last-Modified"):
        response.headers.pop(name, None)
    response.headers["Cache-Control"] = "no-store"
    return response


def _environment(home: Path, needs: Iterable[Need], host: str, port: int, sharing: Sharing | None) -> dict[str, str]:
    """Of the server; MLflow reads who may ask it while it is imported, before it reads its options."""
    names = ("localhost", "127.0.0.1", "[::1]", *(() if sharing else (host,)))
    others = sharing.hosts(port) if sharing else ()
    allowed = dict.fromkeys((*(entry for name in names for entry in (name, f"{name}:*")), *others))
    asked_by = {"MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed)}
    if sharing is not None:
        asked_by |= {"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(sharing.origins(port)), **sharing.settings}
    return server_environment(home, needs) | asked_by


def _command(home: Path, host: str, port: int) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", server_process.__name__, "server"),
        *("--host", host, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", address_of(home), "--registry-store-uri", address_of(home)),
        *("--artifacts-destination", SHOWN_FILES, "--serve-artifacts", "--app-name", APP_NAME),
        # uvicorn searches its app-dir first, which else is the working folder; no module lies on the null device
        *("--uvicorn-opts", f"--no-access-log --log-level warning --app-dir {os.devnull}"),
    ]


@contextmanager
def _child(command: list[str], environment: dict[str, str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The server in a session of its own; on leaving, no process of it is left."""
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and MLflow's module
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole group: ask, wait, then kill. The group is named after the child, which led its session."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, how)
        except ProcessLookupError:
            break
        if _group_ended(child, STOP_SECONDS):
            break
    child.wait()


def _group_ended(child: subprocess.Popen[bytes], seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        child.poll()  # reaps the leader, which would otherwise keep the group alive
        try:
            os.killpg(child.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _wait_until_ready(child: subprocess.Popen[bytes], host: str, port: int, log: IO[bytes], stopped: Stop) -> bool:
    """True when the server answers, False when we were told to stop first."""
    give_up = time.monotonic() + START_SECONDS
    while not stopped():
        if child.poll() is not None:
            raise UiNotStarted(_tail(log) or f"it ended with code {child.returncode}")
        if _healthy(host, port):
            return True
        if time.monotonic() > give_up:
            raise UiNotStarted(f"it did not answer within {START_SECONDS:.0f} seconds: {_tail(log)}")
        time.sleep(_POLL_SECONDS)
    return False


def _healthy(host: str, port: int) -> bool:
    try:
        return _status_of(host, port, "/health") == 200
    except (OSError, http.client.HTTPException):
        return False


def _require_login(host: str, port: int) -> None:
    """Raise unless a request without a password is refused.

    Raises:
        LoginNotAsked: it is answered.
        UiNotStarted: it is not, and not refused either.
    """
    try:
        status = _status_of(host, port, "/api/2.0/mlflow/experiments/search?max_results=1", seconds=30)
    except (OSError, http.client.HTTPException) as error:
        raise UiNotStarted(f"it did not answer whether it asks for a login: {error}") from error
    if status < 300:
        raise LoginNotAsked(status)


def _status_of(host: str, port: int, path: str, *, seconds: float = 2) -> int:
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status
    finally:
        connection.close()


def _free_port(host: str, first: int) -> int:
    for port in range(first, min(first + PORTS_TRIED, 65536)):
        if _is_free(host, port):
            return port
    raise NoFreePort(host, first)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


@contextmanager
def _stop_signals() -> Iterator[Stop]:
    """True once a signal that ends us has come. Signals reach the main thread only; elsewhere the caller's handlers stay."""
    event = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        yield event.is_set
        return
    before = {number: signal.signal(number, lambda *_: event.set()) for number in numbers}
    try:
        yield event.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(address: str, open_browser: bool, observe: Observe) -> None:
    observe(Said("ready", f"{address}   Ctrl-C ends it"))
    # without a display Python falls back to a browser in the terminal, which would take it over
    if open_browser and (sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        threading.Thread(target=_open_browser, args=(address,), daemon=True).start()


def _announce_to_others(sharing: Sharing, host: str, port: int, observe: Observe) -> None:
    if is_loopback(host):
        observe(Said("shared", "with a login, through what you have listening to others in front of it"))
        return
    observe(Said("shared", f"with a login, under {', '.join(sharing.hosts(port)[1::2])}"))
    observe(
        Said("warning", "passwords go over the network unencrypted, unless something that encrypts stands in front")
    )


def _open_browser(address: str) -> None:
    """A browser outlives us: it is started by a child that has no secret to hand on."""
    subprocess.run(  # noqa: S603 - our own interpreter and Python's module
        [sys.executable, "-P", "-m", "webbrowser", address],
        env=child_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - the address to ask, not to bind


def _in_url(host: str) -> str:
    reachable = _reachable(host)
    return f"[{reachable}]" if ":" in reachable else reachable


def _tail(log: IO[bytes]) -> str:
    """The last lines that the server wrote."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG_TAIL_BYTES))
    return log.read().decode("utf-8", "replace").strip()
