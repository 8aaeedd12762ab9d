"""Other releases of this tool: what they derive by is what this one does, and their editions have other names."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from docs.editions import raise_edition
from peft_registry.registry.compliance import editions as own
from peft_registry.registry.compliance import rule_files
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest

FROZEN = own.editions().newest.name  # of this release, which may be a draft: as if it were frozen as it is
NEXT = "2027-03"


@contextmanager
def a_release(
    *names: str, digests: Sequence[Digest | None] = (), draft: bool = False, figures: int | None = None
) -> Iterator[None]:
    """A release that has these editions, oldest first, all frozen but for a draft.

    Args:
        names: of the editions.
        digests: of each; None, or none at all, for that of what this release derives by.
        draft: the last one is not frozen yet.
        figures: the edition of the figures of evaluations that belongs to the last one; that of this release where it is None.
    """
    stated = [*digests, *([None] * (len(names) - len(digests)))]
    editions: list[dict[str, str | int | None]] = [
        {"name": name, "digest": str(digest or own.edition_digest(name))}
        for name, digest in zip(names, stated, strict=True)
    ]
    editions[-1]["figures"] = FIGURES if figures is None else figures
    if draft:
        editions[-1]["digest"] = None
    listed = {"editions": editions}
    rules = own.rules_of

    def with_these(name: str, edition: str = "") -> Any:
        return listed if name == "editions" else rules(name, edition)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "rules_of", with_these)
        own.editions.cache_clear()
        try:
            yield
        finally:
            own.editions.cache_clear()


@contextmanager
def a_release_with_other_rules(folder: Path, earlier: Edition, name: str) -> Iterator[None]:
    """A release after this one, whose own edition keeps documentation for two years more and has figures of its own.

    Args:
        folder: where its files lie.
        earlier: the edition of this one, frozen.
        name: of its own edition.
    """
    rules = folder / "rules"
    shutil.copytree(str(rule_files.RULES), rules)
    raise_edition(rules, earlier, name)
    retention = json.loads((rules / "retention.json").read_text("utf-8"))
    documentation = next(period for period in retention["periods"] if period["name"] == "documentation")
    documentation["years"] += 2
    (rules / "retention.json").write_text(json.dumps(retention), "utf-8")
    listed = json.loads((rules / "editions.json").read_text("utf-8"))
    listed["editions"][-1]["figures"] += 1
    (rules / "editions.json").write_text(json.dumps(listed), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_files, "RULES", rules)
        own.editions.cache_clear()
        own.edition_digest.cache_clear()
        try:
            yield
        finally:
            own.editions.cache_clear()
            own.edition_digest.cache_clear()
