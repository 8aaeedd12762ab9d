"""The files of each suite as their authors publish them, by the ids that git gives their contents at one commit.

Whoever writes the items of a suite can turn their direction or take easy ones, under the same name. So a record says where the
very bytes come from that were asked, where that is known here. `published.json` has one commit of each authors' repository.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import DatasetUsed
from peft_registry.trainer.evaluation.suites import SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import SuiteFiles

SHIPPED = "shipped with peft-registry"
_SAME_FILES = {"winobias_preference": "winobias"}
# the versions of `house` that were ever shipped, the newest first: the SHA-256 of each. A record names one by both.
HOUSE: Mapping[str, str] = {
    "9c804035a7da7c7a858cd312fdbae3cddb2fc016b5beb6dbc2745af068d8f034": "2",
    "180fcb31b5ccae3f00144b87ca0ae97440fc335d789b0a232aac9506a67df2e7": "1",
}


def published_as(suite: SuiteFiles) -> str | None:
    """`github.com/OWNER/NAME at COMMIT` where every file is one that the authors of the suite publish; None for other bytes."""
    if suite.suite == "house":
        return SHIPPED if suite.sha256.hex in HOUSE else None
    source = _sources().get(_SAME_FILES.get(suite.suite, suite.suite))
    if source is None:
        return None
    known = source["git_blobs"]
    if any(known.get(name) != _git_blob(data) for name, data in suite.named):
        return None
    return f"{source['repository']} at {source['commit']}"


def unknown_file(definition: SuiteDefinition, used: DatasetUsed) -> Code | None:
    """That rows under the name of a suite are not known as its authors publish them; None where they are, or are meant to be one's
    own."""
    if used.published is not None or not (definition.belongs_to_others or definition.is_shipped):
        return None
    return code("rows_not_known_as_published", dataset=used.name, file=used.file, digest=used.sha256.short)


def _git_blob(data: bytes) -> str:
    """The id that git gives a file's contents."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@cache
def _sources() -> Mapping[str, Any]:  # JSON: repository, commit, folder, and the ids of its files by name
    sources: dict[str, Any] = json.loads((files(__package__) / "published.json").read_text(encoding="utf-8"))
    return sources
