"""Scores that are already known, under one composition and one protocol: what makes an evaluation resumable and a base cheap.

One file a key, one line a request, added batch by batch: a killed run loses at most the batch it was in. A line holds the
digest of the request and its score, never its text. The file only saves time: it lies in the home, nothing is verified by
it, and scoring again within the record's tolerance is how a reader checks what it says.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from schemas.canonical import canonical_digest
from schemas.identity import Digest
from trainer.evaluation.questions import Request, Score


class FinishedScores(Protocol):
    """Where scores are kept between runs."""

    def get(self, request: Request) -> Score | None:
        """What is known about a request."""

    def add(self, scores: Mapping[Request, Score]) -> None:
        """Keep the scores of a batch."""


class _Nothing:
    """Knows nothing and keeps nothing."""

    def get(self, request: Request) -> Score | None:  # noqa: ARG002  the interface's
        return None

    def add(self, scores: Mapping[Request, Score]) -> None:
        pass


NOTHING: FinishedScores = _Nothing()


class ScoreFile:
    """The scores of one key in a file; a line that a killed run left unfinished is not read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = dict(_read(path))
        self._open_line = path.is_file() and not path.read_bytes().endswith(b"\n")
        self.reused = 0

    def get(self, request: Request) -> Score | None:
        found = self._known.get(_name(request))
        self.reused += found is not None
        return found

    def add(self, scores: Mapping[Request, Score]) -> None:
        if not scores:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps([_name(request), one.log_likelihood, one.tokens, one.is_truncated]) + "\n"
            for request, one in scores.items()
        ]
        self._known |= {_name(request): one for request, one in scores.items()}
        with self._path.open("a", encoding="ascii") as file:
            file.write("\n" * self._open_line + "".join(lines))
        self._open_line = False


def score_key(**facts: str) -> Digest:
    """The name of a file of scores: everything that a score depends on besides the request."""
    return canonical_digest(facts)


def _name(request: Request) -> str:
    return Digest.of(f"{len(request.context)}:{request.context}{request.continuation}".encode()).hex


def _read(path: Path) -> Iterable[tuple[str, Score]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True):
        try:
            name, value, tokens, is_truncated = json.loads(line) if line.endswith("\n") else ("", 0.0, 0, False)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(value, float) and math.isfinite(value) and type(tokens) is int and isinstance(name, str) and name:
            yield name, Score(value, tokens, bool(is_truncated))
