"""Retention: what a model still does of what it did before. Loss on named earlier tasks or general text, paired like any loss.

A file of text is JSON Lines with `text` (all of it carries loss) or with `prompt` and `completion` (the completion does).
"""

from pathlib import Path
from typing import Any

from registry.evaluation.comparisons import ids_digest
from registry.files import read_file
from schemas.evaluation import DatasetUsed
from schemas.identity import Digest
from trainer.evaluation.losses import HeldOut, HeldOutRow
from trainer.evaluation.questions import Request
from trainer.evaluation.scoring import encode, max_length_of
from trainer.evaluation.suites.files import MalformedSuite, SuiteFiles

MAX_BYTES = 256 * 1024 * 1024


def retained_text(path: Path, tokenizer: Any, *, model: Any) -> HeldOut:
    """The rows of a file as rows whose loss is measured, under the name `retention-<file>`.

    Raises:
        MalformedSuite: a row has neither text, nor prompt and completion.
    """
    data = read_file(path, max_bytes=MAX_BYTES)
    name = f"retention-{path.stem}"
    files = SuiteFiles(name, ((path.name, data),))
    longest = max_length_of(model)
    rows, cut = [], 0
    for number, value in files.json_lines(path.name):
        row = encode(tokenizer, _request(value, name, path.name, number), prefix_token_id=None, max_length=longest)
        labels = [-100] * len(row.ids)
        for place, target in zip(row.positions, row.targets, strict=True):
            labels[place] = target
        rows.append(HeldOutRow(f"row-{number:06}", row.ids, labels))
        cut += row.is_truncated
    if not rows:
        raise MalformedSuite(name, path.name, 0, "the file has no rows")
    dataset = DatasetUsed(
        name=name,
        version=Digest.of(data).short,
        licence="not declared",
        file=path.name,
        sha256=Digest.of(data),
        rows_total=len(rows),
        rows_used=len(rows),
        selection="all" if not cut else f"all; {cut} rows are longer than the model and were cut on the left",
        selection_ids_sha256=ids_digest([row.id for row in rows]),
    )
    return HeldOut(dataset, tuple(rows))


def _request(value: dict[str, Any], name: str, file: str, number: int) -> Request:
    text, prompt, completion = (value.get(key) for key in ("text", "prompt", "completion"))
    if isinstance(text, str) and text.strip():
        return Request("", text)
    if isinstance(prompt, str) and isinstance(completion, str) and completion:
        return Request(prompt, completion if completion[:1].isspace() else f" {completion}")
    raise MalformedSuite(name, file, number, "it needs `text`, or `prompt` and `completion`")
