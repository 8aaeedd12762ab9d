"""A local server that speaks the few routes of the Hub that fetching a base needs, and misbehaves when told to."""

import hashlib
import json
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
    corrupt: set[str] = field(default_factory=set)  # served with one bit flipped
    status: int | None = None  # answer everything with it
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @property
    def files(self) -> str:
        """What the path of a file of the commit begins with."""
        return f"{'/datasets' if self.kind == 'datasets' else ''}/lab/tiny/resolve/{COMMIT}/"

    def info(self) -> dict[str, object]:
        return {
            "id": "lab/tiny",
            "sha": COMMIT,
            "siblings": [
                self._sibling(path.relative_to(self.folder).as_posix())
                for path in sorted(self.folder.rglob("*"))
                if path.is_file()
            ],
        }

    def _sibling(self, name: str) -> dict[str, object]:
        data = (self.folder / name).read_bytes()
        found: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git_blob_id(data)}
        if name.endswith(".safetensors"):
            found["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return found

    def file(self, name: str) -> tuple[bytes, str]:
        data = (self.folder / name).read_bytes()
        etag = hashlib.sha256(data).hexdigest() if name.endswith(".safetensors") else git_blob_id(data)
        if name in self.corrupt:
            data = data[:-1] + bytes([data[-1] ^ 1])
        return data, etag


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, *_: object) -> None:
            return

        def _answer(self, *, body: bool) -> None:
            path = self.path.split("?")[0]
            hub.asked.append(path)
            if hub.status is not None:
                self._send(hub.status, b"{}", hub.headers, body)
            elif path in (
                f"/api/{hub.kind}/lab/tiny",
                f"/api/{hub.kind}/lab/tiny/revision/main",
                f"/api/{hub.kind}/lab/tiny/revision/{COMMIT}",
            ):
                self._send(200, json.dumps(hub.info()).encode(), {"Content-Type": "application/json"}, body)
            elif path.startswith(hub.files) and (hub.folder / path.removeprefix(hub.files)).is_file():
                data, etag = hub.file(path.removeprefix(hub.files))
                self._send(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

        def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
