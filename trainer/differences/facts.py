"""What two versions are, were made with and were measured as, where it is not the same."""

from collections.abc import Iterator, Mapping
from typing import Any

from peft_registry.registry.evaluation.staleness import composition_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import Records
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import CONTROL_ARMS, TASK_PREFIX, DatasetUsed, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.trainer.differences.weights import Side

_NONE: tuple[DatasetUsed | None, float | None] = (None, None)


class Fact(Frozen):
    """One thing that is not the same; a side that has nothing there is null."""

    section: str
    name: str
    first: Any = None
    second: Any = None


def facts_of(registry: Registry, first: Side, other: Side) -> tuple[Fact, ...]:
    """Everything besides weights that is different."""
    return (
        *_different("identity", _identity(first), _identity(other)),
        *_different("configuration", *_configurations(first.records, other.records)),
        *_different("data", _data(registry, first.records.manifest), _data(registry, other.records.manifest)),
        *_evaluations(first, other),
    )


def _different(section: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Fact]:
    for name in [*first, *(key for key in second if key not in first)]:
        if first.get(name) != second.get(name):
            yield Fact(section=section, name=name, first=first.get(name), second=second.get(name))


def _identity(side: Side) -> dict[str, Any]:
    version = side.version
    base = side.records.manifest.base
    identified = side.records.base or base  # a base is its own
    identity = None if identified is None else identified.identity
    return {
        "kind": version.kind,
        "method": version.method,
        "base": None if identity is None else str(identity.weights),
        "quantisation of the base": base.quantisation if base else None,
        "tokenizer": None if identity is None else str(identity.tokenizer),
        "chat template": None if identity is None or identity.chat_template is None else str(identity.chat_template),
    }


# --- configuration ---


def _configurations(first: Records, second: Records) -> tuple[dict[str, Any], dict[str, Any]]:
    """Key by key where both were made in one way; else one line each: a training has no key of a merge."""
    if first.run is not None and second.run is not None:
        both = [
            {key: value for key, value in _flat(side.run.config) if key != "name"}
            for side in (first, second)
            if side.run
        ]
        return both[0], both[1]
    if first.merge is not None and second.merge is not None:
        return _merge_settings(first), _merge_settings(second)
    return {"made by": _made_by(first)}, {"made by": _made_by(second)}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _merge_settings(records: Records) -> dict[str, Any]:
    merge = records.merge
    if merge is None:
        return {}
    facts: dict[str, Any] = {"algorithm": merge.algorithm, "base policy": merge.base_policy, "dtype": merge.dtype}
    facts |= {"seed": merge.seed, "beside the weights": merge.why_bundled}
    for ingredient in merge.ingredients:
        facts |= {
            f"weight of {ingredient.label}": ingredient.weight,
            f"density of {ingredient.label}": ingredient.density,
        }
    return facts


def _made_by(records: Records) -> str:
    if records.merge is not None:
        merge = records.merge
        parts = ", ".join(f"{ingredient.label} × {ingredient.weight:g}" for ingredient in merge.ingredients)
        return f"merge by {merge.algorithm} of {parts} ({merge.base_policy} base, {merge.dtype})"
    if records.run is not None:
        return f"training by {records.run.method}, seed {records.run.seed}"
    if records.imported is not None:
        return f"imported, made elsewhere by {records.imported.producer}"
    return "added as a base" if records.base is not None else "imported"


# --- data ---


def _data(registry: Registry, manifest: Manifest) -> dict[str, Any]:
    """The data that went in, of ingredients too: file digest, and the rows of each split."""
    by_key: dict[str, set[str]] = {}
    waiting = [manifest]
    seen = set[Digest]()
    while waiting:
        current = waiting.pop()
        for data in current.data:
            for key, value in _parts(data):
                by_key.setdefault(key, set()).add(value)
        for parent in current.parents:
            if parent.role != "base" and parent.manifest not in seen:
                seen.add(parent.manifest)
                waiting.append(stored_manifest(registry, parent.manifest))
    return {key: " and ".join(sorted(values)) for key, values in sorted(by_key.items())}


def _parts(data: DataIdentity) -> Iterator[tuple[str, str]]:
    yield data.name, str(data.sha256)
    for selection in data.selections:
        yield f"{data.name} {selection.split} rows", f"{selection.rows} ({selection.rows_sha256.short})"


# --- evaluations ---


def _evaluations(one: Side, other: Side) -> Iterator[Fact]:
    """Figures of what each version serves, by composition: one that was the base or the parent in the other's evaluation has
    figures from there, and an evaluation of both counts first. What was measured on other rows is said to be."""
    served = [_served(side) for side in (one, other)]
    records = sorted(
        (*one.records.evaluations, *other.records.evaluations), key=lambda record: _spoken_of(record, served)
    )
    first, second = (_figures(composition, records) for composition in served)
    for key in sorted(first.keys() | second.keys()):
        name = " ".join(key)
        rows, before = first.get(key, _NONE)
        others, after = second.get(key, _NONE)
        if before == after and _of_rows(rows) == _of_rows(others):
            continue
        if rows is not None and others is not None and _of_rows(rows) != _of_rows(others):
            name += f" ({_difference(rows, others)}: not comparable)"
        yield Fact(section="evaluation", name=name, first=before, second=after)


def _served(side: Side) -> Digest | None:
    identity = side.identity
    return None if identity is None else composition_of(side.records.manifest, identity).canonical_digest()


def _spoken_of(record: EvaluationRecord, served: list[Digest | None]) -> int:
    return len({arm.composition_digest for arm in record.arms} & set(served))


def _figures(
    served: Digest | None, records: list[EvaluationRecord]
) -> dict[tuple[str, str], tuple[DatasetUsed | None, float | None]]:
    """(data set, metric) → (its rows, value), of arms that are exactly this composition; later ones count."""
    figures: dict[tuple[str, str], tuple[DatasetUsed | None, float | None]] = {}
    for record in records:
        arms = {arm.name for arm in record.arms if arm.composition_digest == served and arm.name not in CONTROL_ARMS}
        rows = {dataset.name: dataset for dataset in record.datasets}
        for result in record.results:
            if result.category is None and result.arm in arms:
                figures[result.dataset, result.metric] = rows.get(result.dataset), result.value
    return figures


def _of_rows(used: DatasetUsed | None) -> tuple[object, ...]:
    """What two data sets of one name share where their figures compare: an item of a task says by its id how it was asked."""
    return () if used is None else (used.sha256, used.rows_used, used.selection, used.selection_ids_sha256)


def _difference(used: DatasetUsed, other: DatasetUsed) -> str:
    if used.name.startswith(TASK_PREFIX) and used.version != other.version:
        return f"{used.version} and {other.version}"
    if used.name.startswith(TASK_PREFIX) and used.sha256 == other.sha256:
        return "asked otherwise"
    return "on other rows"
