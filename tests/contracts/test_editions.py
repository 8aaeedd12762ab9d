"""The edition is computed: what follows otherwise from the same signed inputs has another name, or is a draft still.

A record is checked by deriving it again with the edition that it names. If this tool derived something else under the same name,
nothing would tell a record that was signed under it from a forged one. What is derived from the kept inputs is kept by the name of
the edition, field by field, numbers by nine digits: the last bit of a logarithm differs between machines.
"""

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.editions import edition_digest, editions, figures_of
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.families import FAMILIES
from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.records.provenance import run_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.trainer.evaluation.suites import suites
from tests.compat.kept_records import ITEMS, KEPT, MANIFESTS, STATEMENTS, KeptRecords

DERIVED = KEPT / "derived.json"  # by edition; of a frozen one nothing in it is ever changed
REMADE = "python -m tests.compat.kept_records tests/compat/records"
COMMAND = "`UPDATE_GOLDEN=1 python -m pytest tests/contracts/test_editions.py`"
_DIGITS = 9
_NAMED = 12  # fields in one sentence

Digests = dict[str, dict[str, str]]
"""By record and by the path of a field, the beginning of the digest of what is derived."""


@pytest.fixture(scope="module")
def kept() -> KeptRecords:
    return KeptRecords(KEPT)


@pytest.fixture(scope="module")
def derived(kept: KeptRecords) -> dict[str, ModificationRecord]:
    return dict(kept.derived())


def fields_of(record: ModificationRecord) -> dict[str, str]:
    return {path: canonical_digest(node).hex[:12] for path, node in _fields("", record.to_json())}


def _fields(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and "source" not in node and node:
        for key, item in node.items():
            yield from _fields(f"{path}.{key}".lstrip("."), item)
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for place, item in enumerate(node):
            yield from _fields(f"{path}[{place}]", item)
    else:
        yield path, _rounded(node)


def _rounded(node: Any) -> Any:
    if isinstance(node, float):
        return float(f"{node:.{_DIGITS}g}")
    if isinstance(node, dict):
        return {key: _rounded(item) for key, item in node.items()}
    return [_rounded(item) for item in node] if isinstance(node, list) else node


def differing(before: Digests, after: Digests) -> list[str]:
    """`lora: compute.method, energy.pue`, of every record of which a field is derived otherwise."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        then, now = before.get(name, {}), after.get(name, {})
        paths = [path for path in sorted(then.keys() | now.keys()) if then.get(path) != now.get(path)]
        if paths:
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            lines.append(f"{name}: {', '.join(paths[:_NAMED])}{more}")
    return lines


def test_what_follows_otherwise_from_the_same_inputs_has_another_edition(
    kept: KeptRecords, derived: dict[str, ModificationRecord]
) -> None:
    edition = editions().newest
    pinned: dict[str, Any] = json.loads(DERIVED.read_text("utf-8")) if DERIVED.exists() else {}
    now = {name: fields_of(record) for name, record in derived.items()}
    then = pinned.get(edition.name, {"draft": True, "records": {}})
    changed = differing(then["records"], now)
    if then["draft"] and not edition.draft:
        missing = not_kept(kept)
        assert not missing, f"before {edition.name} is frozen keep {', '.join(missing)}: `{REMADE}`"
    if then["draft"] and (edition.draft or not changed) and os.environ.get("UPDATE_GOLDEN"):
        pinned[edition.name] = {"draft": edition.draft, "records": now}
        DERIVED.write_text(json.dumps(pinned, indent=1) + "\n", "utf-8")
        return
    what_to_do = (
        f"{edition.name} is a draft: if this is meant, run {COMMAND} and read the diff"
        if then["draft"]
        else f"{edition.name} is frozen: records that name it were derived by it. What derives now needs the name of a new one in "
        "registry/compliance/rules/editions.json"
    )
    assert not changed, "\n".join(("what follows from the kept inputs has changed:", *changed, what_to_do))
    assert then["draft"] == edition.draft, f"{edition.name} was frozen or is a draft again: {COMMAND}"


def test_a_frozen_edition_derives_what_it_derived_when_it_was_the_newest(kept: KeptRecords) -> None:
    pinned: dict[str, Any] = json.loads(DERIVED.read_text("utf-8"))
    earlier = editions().known[:-1]
    assert earlier
    for edition in earlier:
        with deriving_by(edition.name):
            now = {name: fields_of(record) for name, record in kept.derived()}
        assert not differing(pinned[edition.name]["records"], now)


def not_kept(kept: KeptRecords) -> list[str]:
    """The methods and suites of which no record and no evaluation is kept. One that comes after an edition was frozen is derived by
    what is kept of the others, and is kept before the next one is."""
    trained = {manifest.method for manifest in kept.manifests.values()}
    measured = {used.name for _, record, _ in kept.evaluations() for used in record.datasets}
    return sorted((METHODS.keys() - trained) | (suites().keys() - measured))


def test_whatever_is_not_kept_is_named(tmp_path: Path) -> None:
    for name in (STATEMENTS, MANIFESTS, ITEMS):
        (tmp_path / name).write_bytes(gzip.compress(b""))
    assert not_kept(KeptRecords(tmp_path)) == sorted(METHODS.keys() | suites().keys())


def test_every_edition_that_ever_signed_is_still_here() -> None:
    known = {edition.name for edition in editions().known}
    assert json.loads(DERIVED.read_text("utf-8")).keys() <= known


def test_the_newest_edition_names_the_figures_that_this_release_computes() -> None:
    """Figures that follow otherwise from the same items are another edition, and an earlier release asks who announced them."""
    assert figures_of(editions().newest.name) == FIGURES


def test_an_edition_has_the_digest_of_what_it_derives_by() -> None:
    for edition in editions().known:
        assert edition.digest == edition_digest(edition.name)


def test_the_kept_inputs_are_of_every_way_in_which_a_record_comes_about(
    kept: KeptRecords, derived: dict[str, ModificationRecord]
) -> None:
    made = {record.identity.kind.value for record in derived.values()}
    assert made == {"fine_tune", "merge", "import"}
    runs = [run_of(entry.statement.predicate) for entry in kept.entries if entry.statement.kind == "provenance"]
    assert any(run is not None and run.followed is not None for run in runs), "one was trained by a script"
    people = {person for record in derived.values() for person in _people_who_answered(record)}
    assert len(people) > 1
    bases = {manifest.weights_digest for manifest in kept.manifests.values() if manifest.kind == "base"}
    assert len(bases) > 1
    followed = [record for record in derived.values() if record.correction.evaluations]
    assert followed, "one was evaluated later"


def _people_who_answered(record: ModificationRecord) -> Iterator[str]:
    answers = {str(statement) for statement in record.correction.answers}
    for _, node in _fields("", record.to_json()):
        if isinstance(node, dict) and answers.intersection(map(str, node.get("evidence", ()))):
            yield str(node["asserted_by"])


def test_the_figures_of_every_kept_evaluation_follow_from_its_items(kept: KeptRecords) -> None:
    evaluations = list(kept.evaluations())
    families = {row.metric for _, _, items in evaluations for row in read_items(items)}
    assert families >= FAMILIES.keys(), "of every law that a figure follows from"
    assert {name: recheck(record, items) for name, record, items in evaluations if recheck(record, items)} == {}


def test_a_field_that_is_derived_otherwise_is_named(derived: dict[str, ModificationRecord]) -> None:
    record = next(iter(derived.values()))
    other = record.revised(compute=record.compute.revised(inputs=record.compute.uncertainty_pct))
    assert differing({"a": fields_of(record)}, {"a": fields_of(other)}) == ["a: compute.inputs"]
