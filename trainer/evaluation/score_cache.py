"""Scores that are already known, under one composition and one protocol: what makes an evaluation resumable and a base cheap.

One file a key, one line a request, added batch by batch: a killed run loses at most the batch it was in. A line holds the
digest of the request and its score, never its text, and a mark that only the home's key makes: whoever can write the file but
has no key changes nothing unseen. A line without its mark is not read, and the request is scored again.
"""

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request, Score


class FinishedScores(Protocol):
    """Where scores are kept between runs. `reused` were taken from there; `refused` were there without their mark."""

    @property
    def reused(self) -> int: ...

    @property
    def refused(self) -> int: ...

    def get(self, request: Request) -> Score | None:
        """What is known about a request."""

    def add(self, scores: Mapping[Request, Score]) -> None:
        """Keep the scores of a batch."""


class _Nothing:
    """Knows nothing and keeps nothing."""

    reused = refused = 0

    def get(self, request: Request) -> Score | None:  # noqa: ARG002  the interface's
        return None

    def add(self, scores: Mapping[Request, Score]) -> None:
        pass


NOTHING: FinishedScores = _Nothing()


class ScoreFile:
    """The scores of one key in a file, marked under `secret`; a line that a killed run left unfinished is not read."""

    def __init__(self, path: Path, secret: bytes) -> None:
        self._path = path
        self._secret = secret
        lines = list(_read(path))
        self._kept = {name: score for name, score, mark in lines if mark == self._mark(name, score)}
        self._unmarked = {name for name, _, _ in lines} - self._kept.keys()
        self._new: dict[str, Score] = {}
        self._open_line = path.is_file() and not path.read_bytes().endswith(b"\n")
        self._asked: set[str] = set()

    @property
    def reused(self) -> int:
        return len(self._asked & self._kept.keys())

    @property
    def refused(self) -> int:
        return len(self._asked & self._unmarked)

    def get(self, request: Request) -> Score | None:
        name = _name(request)
        self._asked.add(name)
        return self._kept.get(name) or self._new.get(name)

    def add(self, scores: Mapping[Request, Score]) -> None:
        if not scores:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        named = {_name(request): score for request, score in scores.items()}
        lines = [json.dumps([*_values(name, score), self._mark(name, score)]) + "\n" for name, score in named.items()]
        self._new |= named
        with self._path.open("a", encoding="ascii") as file:
            file.write("\n" * self._open_line + "".join(lines))
        self._open_line = False

    def _mark(self, name: str, score: Score) -> str:
        """Over the name of the file too: a line belongs to one key."""
        said = json.dumps([self._path.name, *_values(name, score)])
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()


def kept_in(path: Path) -> Callable[[Request], bool]:
    """Whether a file of scores has one of a request.

    Marks are not looked at: to know how much is left to do takes no key, and whoever scores finds a line without its mark.
    """
    names = {name for name, _, _ in _read(path)}
    return lambda request: _name(request) in names


def score_key(**facts: str) -> Digest:
    """The name of a file of scores: everything that a score depends on besides the request."""
    return canonical_digest(facts)


def _name(request: Request) -> str:
    return Digest.of(f"{len(request.context)}:{request.context}{request.continuation}".encode()).hex


def _values(name: str, score: Score) -> list[str | float]:
    return [name, score.log_likelihood, score.tokens, score.is_truncated]


def _read(path: Path) -> Iterable[tuple[str, Score, object]]:
    """Name, score and mark of each line that has the form of one."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="ascii", errors="replace").splitlines(keepends=True):
        try:
            name, value, tokens, is_truncated, *mark = json.loads(line if line.endswith("\n") else "")
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(value, float) and math.isfinite(value) and type(tokens) is int and isinstance(name, str):
            yield name, Score(value, tokens, bool(is_truncated)), mark[0] if mark else None
