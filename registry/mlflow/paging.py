"""Pages of what MLflow's search helpers let through, in the order in which it is read. Pure.

A page ends with the position of its last entity, so that the next one begins there and not at a count of those before it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from peft_registry.registry.mlflow.version_rows import Position
from peft_registry.schemas.errors import InputRefused

_Entity = TypeVar("_Entity")
_FORM = (str, str, int, int)
_MOST = 2**31  # what a token counts to


class PageTokenRefused(InputRefused):
    reference = "mlflow-page-token-refused"
    what = "{token!a} is not where a page of this list ends"
    why = "a page gives the token of the next one, which counts for the same question alone"
    fix = "begin at the first page again"

    token: str


class PageSizeRefused(InputRefused):
    reference = "mlflow-page-size-refused"
    what = "max_results is {asked!q}"
    why = "a page of this list has from 1 to {most} entries"
    fix = "ask for a number between them, and for the next page by its token"

    asked: str
    most: int


def require_page_size(asked: Any, most: int) -> None:  # whatever a client sends
    """Raise PageSizeRefused unless a page may have so many entries."""
    if not isinstance(asked, int) or not 1 <= asked <= most:
        raise PageSizeRefused(f"{asked}", most)


def page_in_order(
    batches: Iterable[Sequence[tuple[Position, _Entity]]],
    keep: Callable[[list[_Entity]], list[_Entity]],
    *,
    limit: int,
) -> tuple[list[_Entity], str | None]:
    """At most `limit` entities that `keep` lets through, and the token of the next page; None at the end.

    Args:
        batches: entities with their positions, some at a time; no more are taken than it needs.
        keep: which of some entities are asked for; it returns them as they are.
        limit: from 1 on.
    """
    page: list[_Entity] = []
    last: Position | None = None
    for batch in batches:
        positions = {id(entity): position for position, entity in batch}
        for entity in keep([entity for _, entity in batch]):
            if len(page) == limit:
                return page, None if last is None else token_of(last)
            page.append(entity)
            last = positions[id(entity)]
    return page, None


def token_of(position: Position) -> str:
    """A position as MLflow hands it to its clients."""
    return _closed(position)


def position_of(token: str | bytes | None) -> Position | None:
    """The position that a token names; None for the first page.

    Raises:
        PageTokenRefused: it names none.
    """
    if not token:
        return None
    text, parts = _opened(token)
    is_position = isinstance(parts, list) and tuple(map(type, parts)) == _FORM
    if not is_position or not all(0 <= number < _MOST for number in parts[2:]):
        raise PageTokenRefused(text)
    if not all(text.isascii() and text.isprintable() for text in parts[:2]):
        raise PageTokenRefused(text)
    return (parts[0], parts[1], parts[2], parts[3])


def page_at_offset(
    entities: Sequence[_Entity], token: str | bytes | None, *, limit: int
) -> tuple[list[_Entity], str | None]:
    """At most `limit` entities of a list that is at hand, and the token of the next page, which counts those before it.

    Raises:
        PageTokenRefused: the token counts none.
    """
    start = 0
    if token:
        text, said = _opened(token)
        if not isinstance(said, dict) or set(said) != {"offset"}:
            raise PageTokenRefused(text)
        start = said["offset"]
        if type(start) is not int or not 0 <= start < _MOST:
            raise PageTokenRefused(text)
    end = start + limit
    return list(entities[start:end]), _closed({"offset": end}) if end < len(entities) else None


def _closed(said: Any) -> str:  # JSON
    return base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode()


def _opened(token: str | bytes) -> tuple[str, Any]:  # JSON
    """A token as text, and what it says."""
    text = token.decode("ascii", "replace") if isinstance(token, bytes) else token
    try:
        return text, json.loads(base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, UnicodeError, binascii.Error, RecursionError) as error:
        raise PageTokenRefused(text) from error
