"""Which versions an index gives for clauses of MLflow's filters, so that the others are not read. Pure.

It may give versions that do not meet the clauses: MLflow's own helpers look at each. It never leaves out one that does.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.mlflow.figures import MAX_TAG
from peft_registry.registry.mlflow.projection import PROMPT_TAG, SOURCE_PREFIX, method_of_type
from peft_registry.schemas.facets import Condition, Words
from peft_registry.schemas.identity import Digest, MalformedDigest, MalformedReference, Reference

# tags of runs and versions by the facet whose word they are
_FACETS = {
    "registry.kind": "kind",
    "registry.method": "method",
    "registry.project": "project",
    "registry.origin": "origin",
}
SAID_TAGS = frozenset({"registry.run_id", "registry.config_sha256", "registry.comparison", "mlflow.source.git.commit"})
"""Tags of runs that their statements say, by which these can be found before anything of them is proven."""
_KINDS = frozenset({"base", "adapter", "model", "bundle"})  # a run of another kind has no version


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What an index can choose by; None means that it cannot.

    Attributes:
        conditions: that every version meets which is asked for.
        labels: of these versions alone.
        run_ids: of the runs that made these versions alone.
        manifests: of these artifacts alone.
        said: of each of these groups of tags (`said_tag`), of runs that have one of them alone.
        nothing: no version is asked for.
    """

    conditions: tuple[Condition, ...] = ()
    labels: frozenset[str] | None = None
    run_ids: frozenset[str] | None = None
    manifests: frozenset[Digest] | None = None
    said: tuple[frozenset[str], ...] = ()
    nothing: bool = False


def said_tag(key: str, value: str) -> str:
    """A tag as what statements say is found by it."""
    return f"{key}={value}"


def narrowed_by(clauses: Iterable[Mapping[str, Any]]) -> Narrowed:
    """What the clauses of a filter, as MLflow parses them, leave for an index to choose by."""
    conditions: list[Condition] = []
    labels: frozenset[str] | None = None
    run_ids: frozenset[str] | None = None
    manifests: frozenset[Digest] | None = None
    said: list[frozenset[str]] = []
    nothing = False
    for clause in clauses:
        kind = clause["type"]
        key = clause["key"]
        comparator = clause["comparator"].upper()
        values = tuple(clause["value"]) if comparator == "IN" else (clause["value"],)
        if comparator not in ("=", "IN") or not all(isinstance(value, str) for value in values):
            continue  # no index answers it
        if kind == "attribute" and key == "run_id":
            run_ids = frozenset(values) if run_ids is None else run_ids & frozenset(values)
        elif kind == "attribute" and key == "name":
            conditions.append(Words("name", tuple(values)))
        elif kind == "attribute" and key in ("source", "source_path"):
            manifests = _digests(value.removeprefix(SOURCE_PREFIX) for value in values)
            nothing = nothing or not manifests
        elif kind == "tag" and key == "registry.manifest":
            manifests = _digests(values)
            nothing = nothing or not manifests
        elif kind == "tag" and key == "registry.id":
            labels = frozenset(value for value in values if _is_label(value))
            nothing = nothing or not labels
        elif kind == "tag" and key in SAID_TAGS and all(len(value) < MAX_TAG for value in values):
            said.append(frozenset(said_tag(key, value) for value in values))
        elif kind == "tag" and key in _FACETS and (key != "registry.kind" or _KINDS.issuperset(values)):
            conditions.append(Words(_FACETS[key], tuple(values)))
        elif kind == "tag" and key == "registry.type":
            methods = [method_of_type(value) for value in values]
            named = tuple(method for method in methods if method is not None)
            if len(named) == len(values):
                conditions.append(Words("method", named))
        elif kind == "tag" and key == PROMPT_TAG:
            nothing = nothing or "true" in values
    return Narrowed(tuple(conditions), labels, run_ids, manifests, tuple(said), nothing)


def _digests(texts: Iterable[str]) -> frozenset[Digest]:
    """Those of the texts that are digests; nothing is registered under any other."""
    digests = set()
    for text in texts:
        with suppress(MalformedDigest):
            digests.add(Digest.parse(text) if ":" in text else Digest(text))
    return frozenset(digests)


def _is_label(text: str) -> bool:
    try:
        return re.search(r":[0-9]+$", text) is not None and Reference.parse(text).number is not None
    except MalformedReference:
        return False
