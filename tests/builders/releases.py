"""Other releases of this tool: what they derive by is what this one does, and their editions have other names."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from peft_registry.registry.compliance import editions as own
from peft_registry.schemas.identity import Digest

FROZEN = "2026-12"
NEXT = "2027-03"


@contextmanager
def a_release(*names: str, digests: Sequence[Digest | None] = ()) -> Iterator[None]:
    """A release that has these editions, oldest first, all frozen.

    Args:
        names: of the editions.
        digests: of each; None, or none at all, for that of what this release derives by.
    """
    stated = [*digests, *([None] * (len(names) - len(digests)))]
    listed = {
        "editions": [
            {"name": name, "digest": str(digest or own.edition_digest())}
            for name, digest in zip(names, stated, strict=True)
        ]
    }
    rules = own._rules

    def with_these(name: str) -> Any:
        return listed if name == "editions" else rules(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "_rules", with_these)
        own.editions.cache_clear()
        try:
            yield
        finally:
            own.editions.cache_clear()
