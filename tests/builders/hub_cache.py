"""The cache that clients of the Hugging Face Hub share, as one of them would have left it."""

import hashlib
from pathlib import Path

from tests.servers.hub import COMMIT, git_blob_id


def a_cached_snapshot(
    hub: Path, source: Path, *, repository: str = "lab/tiny", further: dict[str, bytes] | None = None
) -> Path:
    """The snapshot that a client of the Hub would have left, with `main` at its commit."""
    place = hub / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    (place / "blobs").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    snapshot.mkdir(parents=True)
    files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()} | (further or {})
    for name, data in files.items():
        is_large = name.endswith((".safetensors", ".bin"))
        digest = hashlib.sha256(data).hexdigest() if is_large else git_blob_id(data)
        (place / "blobs" / digest).write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{digest}")
    return snapshot
