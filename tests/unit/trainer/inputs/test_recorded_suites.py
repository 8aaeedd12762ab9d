"""An evaluation is of the rows of its suite: renamed clusters, moved categories and rows left out are found where its data is."""

from dataclasses import replace
from typing import Any

import pytest

from peft_registry.registry.evaluation.halves import half_of
from peft_registry.registry.evaluation.items import Item, TableRow
from peft_registry.registry.evaluation.recheck import EvaluationAltered, recheck
from peft_registry.schemas.evaluation import ArmName, DatasetUsed, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Score
from peft_registry.trainer.evaluation.suites import LoadedSuite, suite_named
from peft_registry.trainer.evaluation.suites.selection import halved, limited, screened
from peft_registry.trainer.inputs.recorded_suites import compare_with_suites, unscored_rows
from tests.builders.evaluation import BAND, NEWEST, a_recorded_evaluation, loss_items

HOUSE = suite_named("house").load()
SEED = NEWEST.seed


def scored(suite: LoadedSuite, arm: ArmName, shift: float = 0.0) -> list[Item]:
    """Margins that turn with the place of the item and of its cluster."""
    scores = [Score(-20.0 + (at % 7) / 2 * (1 - at % 2) - shift * (1 - at % 2), 6) for at in range(len(suite.requests))]
    return [row for row in suite.items(scores, arm=arm, threshold=BAND) if isinstance(row, Item)]


def an_evaluation(
    suite: LoadedSuite, edit: Any = None, used: DatasetUsed | None = None
) -> tuple[EvaluationRecord, bytes]:
    """Of a suite, with every row edited before any figure is computed: what is recorded follows from the table."""
    rows = [*scored(suite, "base"), *scored(suite, "adapted", 1.0), *scored(suite, "noise")]
    edited = [row for row in ([*rows] if edit is None else map(edit, rows)) if row is not None]
    losses = [row for arm in ("base", "adapted") for row in loss_items(2.0, arm, dataset="neutral")]
    record, items = a_recorded_evaluation([*edited, *losses])
    ids = next(used.selection_ids_sha256 for used in record.datasets if used.name == suite.dataset.name)
    asked = (used or suite.dataset).revised(rows_used=len({row.id for row in edited}), selection_ids_sha256=ids)
    datasets = tuple(asked if each.name == asked.name else each for each in record.datasets)
    return record.revised(datasets=datasets), items


@pytest.mark.parametrize(
    "suite",
    [HOUSE, halved(HOUSE, "test"), screened(HOUSE), limited(halved(HOUSE, "development"), 40, seed=SEED)],
    ids=["whole", "half", "screen", "drawn"],
)
def test_the_rows_of_a_suite_are_found_to_be_its_rows(suite: LoadedSuite) -> None:
    record, items = an_evaluation(suite)
    assert compare_with_suites(record, items) == ()


def own_cluster(row: Item) -> Item:
    return replace(row, cluster=row.id)


def other_category(row: Item) -> Item:
    return replace(row, category={"gender": "age", "age": "gender"}.get(str(row.category), row.category))


def without_flagged(row: Item) -> Item | None:
    """Without every second item of a template."""
    return None if row.id in LEFT_OUT else row


LEFT_OUT = frozenset(pair_id for pair_id, _ in HOUSE.units[::5])
WITHOUT = HOUSE.dataset.revised(rows_total=HOUSE.dataset.rows_total - len(LEFT_OUT))


@pytest.mark.parametrize(
    ("edit", "used", "figure"),
    [
        (own_cluster, None, "].cluster"),
        (other_category, None, "].category"),
        (without_flagged, WITHOUT, "datasets[house].rows_total"),
        (without_flagged, HOUSE.dataset.revised(excluded={"not_selected": len(LEFT_OUT)}), "items[house"),
        (lambda row: replace(row, id=f"{row.id}-a"), None, "items[house"),
        (None, HOUSE.dataset.revised(published="github.com/somebody/else at a commit"), "datasets[house].published"),
    ],
    ids=["clusters", "categories", "left out", "said to be drawn", "ids", "published"],
)
def test_a_table_that_is_not_of_the_suite_is_found_though_every_figure_follows(
    edit: Any, used: DatasetUsed | None, figure: str
) -> None:
    record, items = an_evaluation(HOUSE, edit, used)
    assert recheck(record, items) == ()
    with pytest.raises(EvaluationAltered) as found:
        compare_with_suites(record, items)
    assert figure in found.value.discrepancies[0].figure
    assert found.value.exit_code == 6


def test_items_of_one_half_are_not_those_of_the_other_under_other_clusters() -> None:
    """A cluster is named as it has to be for the half that is claimed."""
    half = halved(HOUSE, "development")
    names = [f"t{at}" for at in range(200)]
    test_names = [name for name in names if half_of("house", name) == "test"]
    clusters = dict(zip(sorted(set(half.clusters.values())), test_names, strict=False))
    record, items = an_evaluation(
        half, lambda row: replace(row, cluster=clusters[row.cluster]), half.dataset.revised(half="test")
    )
    assert recheck(record, items) == ()
    with pytest.raises(EvaluationAltered, match="house"):
        compare_with_suites(record, items)


def test_where_the_data_of_a_suite_is_not_here_nobody_is_accused() -> None:
    record, items = an_evaluation(HOUSE, own_cluster, HOUSE.dataset.revised(sha256=Digest.of(b"a later version")))
    (note,) = compare_with_suites(record, items)
    assert "is not here" in note and "not checked" in note


def test_what_an_earlier_release_read_otherwise_is_said_and_accuses_nobody() -> None:
    record, items = an_evaluation(HOUSE, own_cluster)
    statistics = record.extra["statistics"] | {"figures": 5}
    (note,) = compare_with_suites(record.revised(extra=record.extra | {"statistics": statistics}), items)
    assert "of an earlier release" in note


def test_every_column_of_a_reading_that_is_no_score_is_the_suites(tmp_path: Any) -> None:
    """Prompts of one's own, pinned in a home, make readings: labels, conditions and units are compared as well."""
    from peft_registry.registry.evaluation.suite_rows import rows_otherwise

    path = tmp_path / "prompts.jsonl"
    path.write_text(
        '{"id":"1","category":"age","prompt_a":"He","prompt_b":"She","stereotyped":["a"],"neutral":["b"]}\n', "utf-8"
    )
    suite = suite_named("completion_contrast").load(path)
    rows: dict[str, TableRow] = {row.id: row for row in unscored_rows(suite)}
    (row,) = rows.values()
    assert list(rows_otherwise(suite.dataset, [row], rows)) == []
    for field, value in {"unit": "2", "condition": "x", "labels": ("a",) * 4, "correct": 0, "cluster": "t"}.items():
        (found, *_) = rows_otherwise(suite.dataset, [replace(row, **{field: value})], rows)
        assert found.figure.endswith(f".{field}")
    for name in ("counterfactual", "completion_contrast"):
        assert [row.id for row in unscored_rows(suite_named(name).load(path))] == ["1"]
