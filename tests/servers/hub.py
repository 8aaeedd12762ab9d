"""A local server that speaks the few routes of the Hub that fetching and publishing need, and misbehaves when told to."""

import base64
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """One repository `lab/tiny` with the files of a folder; `*.safetensors` are large-file storage. A model, or a data set."""

    folder: Path
    kind: str = "models"
    endpoint: str = ""
    commit: object = COMMIT  # what it states as the commit
    corrupt: set[str] = field(default_factory=set)  # served with one bit flipped
    cut: dict[str, int] = field(default_factory=dict)  # served up to this byte, the connection then closed
    endless: set[str] = field(default_factory=set)  # served without end
    redirects: dict[str, str] = field(default_factory=dict)  # a file and where it is said to be
    siblings: list[dict[str, object]] = field(default_factory=list)  # listed besides what is there
    tokens: list[str | None] = field(default_factory=list)  # the authorization of each request
    ranges: list[str] = field(default_factory=list)  # of the requests for a part
    status: int | None = None  # answer everything with it
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    created: dict[str, object] | None = None  # what `create_repo` asked for
    public: bool | None = None  # of a repository that is there already; None: there is none
    committed: dict[str, bytes] = field(default_factory=dict)  # what the last commit added
    deleted: list[str] = field(default_factory=list)
    refuses: tuple[str, int] | None = None  # what the path of a POST ends with, and the status that it gets

    @property
    def files(self) -> str:
        """What the path of a file of the commit begins with."""
        return f"{'/datasets' if self.kind == 'datasets' else ''}/lab/tiny/resolve/{COMMIT}/"

    def has_list_at(self, path: str) -> bool:
        """Whether a path is that of the list of files: of the default branch, of `main`, or of the commit."""
        address = f"/api/{self.kind}/lab/tiny"
        return path in (address, f"{address}/revision/main", f"{address}/revision/{COMMIT}")

    def info(self) -> dict[str, object]:
        return {
            "id": "lab/tiny",
            "sha": self.commit,
            "private": not self.public,
            "siblings": [
                self._sibling(path.relative_to(self.folder).as_posix())
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            ]
            + self.siblings,
        }

    def _sibling(self, name: str) -> dict[str, object]:
        data = (self.folder / name).read_bytes()
        found: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_blob_id(data)}
        if name.endswith(".safetensors"):
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def take(self, path: str, body: bytes) -> tuple[int, dict[str, object]]:
        """The answer to a POST of a client that writes: status and JSON."""
        if self.refuses is not None and path.endswith(self.refuses[0]):
            return self.refuses[1], {}
        if path == "/api/repos/create":
            self.created = json.loads(body)
            taken = self.public is not None
            return (409 if taken else 200), {"url": f"{self.endpoint}/lab/tiny", "id": "lab/tiny"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/models/lab/tiny/preupload/main":
            files = json.loads(body)["files"]
            modes = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]
            return 200, {"files": modes}
        if path == "/api/models/lab/tiny/commit/main":
            for line in body.splitlines():
                self._take_line(json.loads(line))
            return 200, {"commitUrl": f"{self.endpoint}/lab/tiny/commit/{COMMIT}", "commitOid": COMMIT, "success": True}
        return 404, {}

    def _take_line(self, line: dict[str, dict[str, str]]) -> None:
        if line["key"] == "file":  # type: ignore[comparison-overlap]  # a word, beside a value that is an object
            self.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        elif line["key"] == "deletedFile":  # type: ignore[comparison-overlap]
            self.deleted.append(line["value"]["path"])

    def file(self, name: str) -> tuple[bytes, str]:
        data = (self.folder / name).read_bytes()
        etag = hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else git_blob_id(data)
        if name in self.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return data, etag


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Of a client that hung up say nothing: the trace would stand on the stderr of whatever test runs by then."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_POST(self) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(path)
            hub.tokens.append(self.headers.get("authorization"))
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status, answer = hub.take(path, body)
            self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=True)

        def log_message(self, *_: object) -> None:
            return

        def _answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(path)
            hub.tokens.append(self.headers.get("authorization"))
            if path in hub.endless:
                self._send_endlessly()
            elif hub.status is not None:
                self._send(hub.status, b"{}", hub.headers, body)
            elif hub.has_list_at(path):
                self._send(200, json.dumps(hub.info()).encode(), {"Content-Type": "application/json"}, body)
            elif path.removeprefix(hub.files) in hub.redirects:
                self._send(302, b"", {"Location": hub.redirects[path.removeprefix(hub.files)]}, body)
            elif path.removeprefix(hub.files) in hub.endless:
                self._send_endlessly()
            elif path.startswith(hub.files) and (hub.folder / path.removeprefix(hub.files)).is_file():
                self._send_file(path.removeprefix(hub.files), body)
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

        def _send_file(self, name: str, body: bool) -> None:
            data, etag = hub.file(name)
            begin = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            if begin:
                hub.ranges.append(f"{name}:{begin}")
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Content-Length": str(len(data) - begin)}
            end = hub.cut.pop(name, len(data))
            self._send(206 if begin else 200, data[begin:end], headers, body)

        def _send_endlessly(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:  # whoever asked has had enough
                return

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = _Server(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
