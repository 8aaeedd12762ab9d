"""Everything that somebody who was handed a folder can read in it."""

import base64
import json
from pathlib import Path

from peft_registry.registry.exports.hub import HubFolder


def told_by(folder: HubFolder) -> str:
    """All text of what is sent, with what its envelopes and its proof hold, and the names of the files."""
    texts = list(map(str.encode, folder.files))
    for path, content in folder.files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        texts.append(data)
        for line in data.splitlines():
            if path.endswith(".jsonl") and b'"payload"' in line:
                texts.append(base64.b64decode(json.loads(line)["payload"]))
            if path.endswith(".tlog-proof") and line.startswith(b"extra "):
                texts.append(base64.b64decode(line[6:]))
    return "\n".join(text.decode("utf-8", "replace") for text in texts)


def all_of(folder: Path) -> str:
    """All text of a dossier, as `told_by` has it of what is sent."""
    files: dict[str, Path | bytes] = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return told_by(HubFolder(files, ()))
