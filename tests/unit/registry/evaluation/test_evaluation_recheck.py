"""The re-check accepts what follows from the items and names what does not."""

import copy
import json

import pytest

from peft_registry.registry.evaluation.items import describe_items
from peft_registry.registry.evaluation.recheck import EvaluationAltered, recheck
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import a_recorded_evaluation, a_table, base_margin

RECORD, ITEMS = a_recorded_evaluation(a_table(lambda at: 0.0 if at % 4 == 0 else base_margin(at)))
JSON = json.loads(RECORD.to_canonical())


def edited(path, value):
    document = copy.deepcopy(JSON)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return EvaluationRecord.from_json(document)


def test_a_record_that_was_signed_and_read_back_follows_from_its_items():
    assert recheck(EvaluationRecord.from_json(JSON), ITEMS) == ()


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, (*path, number))
    else:
        yield path, value


FIGURES = [
    (path, value)
    for part in ("results", "comparisons", "losses", "guards")
    for path, value in leaves(JSON[part], (part,))
    if isinstance(value, int | float) and not isinstance(value, bool)
]


def test_every_number_of_the_record_is_checked():
    assert len(FIGURES) > 300
    # one edit of each kind of figure: the same field in the first place where it has a number
    kinds = {
        (path[0], *(key for key in path if isinstance(key, str))): (path, value) for path, value in reversed(FIGURES)
    }
    for path, value in kinds.values():
        record = edited(path, value + 1)
        assert [one for one in recheck(record, ITEMS) if path[-1] in one.figure], path


@pytest.mark.parametrize(
    ("path", "value", "figure"),
    [
        (("results", 0, "value"), 0.5, "results[house pct_stereotype all base].value"),
        (("comparisons", 0, "conclusion"), "worse", "comparisons[house margin all base adapted].conclusion"),
        (
            ("comparisons", 0, "conclusion_reason"),
            "fine",
            "comparisons[house margin all base adapted].conclusion_reason",
        ),
        (("comparisons", 0, "test", "p_holm"), 0.5, "comparisons[house margin all base adapted].test.p_holm"),
        (("losses", 0, "after"), 1.0, "losses[held-out loss].after"),
        (("guards", "confounded"), True, "guards.confounded"),
        (("items", "rows"), 3, "items.rows"),
        (("items", "sha256"), str(Digest.of(b"")), "items.sha256"),
        (("protocol", "prompt_template"), "Hi {sentence}", "protocol.prompt_template_sha256"),
        (("arms", 1, "composition", "dtype"), "bfloat16", "arms[adapted].composition_digest"),
        (("datasets", 1, "rows_used"), 7, "datasets[house].rows_used"),
        (("datasets", 1, "selection_ids_sha256"), str(Digest.of(b"")), "datasets[house].selection_ids_sha256"),
        (("seeds", "bootstrap"), 12, "results[house mean_margin all adapted].ci"),
        (("extra", "statistics", "bootstrap_draws"), 201, "results[house"),
        (("extra", "statistics", "bootstrap_draws"), 10**9, "items"),
        (("protocol", "thresholds", "house.margin", "hi"), 1.5, "items[house i0001 adapted].state"),
        (("protocol", "thresholds"), {}, "items"),
    ],
)
def test_an_edited_figure_is_named(path, value, figure):
    found = recheck(edited(path, value), ITEMS)
    assert any(one.figure.startswith(figure) for one in found)


def test_a_figure_that_was_left_out_or_put_in_is_named():
    fewer = RECORD.model_copy(update={"comparisons": RECORD.comparisons[1:]})
    assert any(one.figure.startswith("comparisons") for one in recheck(fewer, ITEMS))
    twice = RECORD.model_copy(update={"results": (*RECORD.results, RECORD.results[0])})
    assert any(one.figure.startswith("results") for one in recheck(twice, ITEMS))


def test_an_edited_row_is_named():
    row = ITEMS.index(b'"id":"i0003","ll_a":"')
    lines = ITEMS.split(b"\n")
    number = ITEMS[:row].count(b"\n")
    changed = lines[number].replace(b'"ll_b":"-20.000000"', b'"ll_b":"-19.000000"')
    assert changed != lines[number]
    data = b"\n".join([*lines[:number], changed, *lines[number + 1 :]])
    found = [one.figure for one in recheck(RECORD, data)]
    assert "items.sha256" in found
    assert "items[house i0003 adapted].margin" in found


def test_a_row_edited_with_everything_that_hangs_on_it_still_shows_in_the_figures():
    table = a_table(lambda at: 0.0 if at % 4 == 0 or at == 1 else base_margin(at))
    _, other = a_recorded_evaluation(table)
    record = RECORD.model_copy(update={"items": describe_items(other)})
    found = [one.figure for one in recheck(record, other)]
    assert "comparisons[house margin all base adapted].fixed" in found


def test_a_table_that_cannot_be_read_is_a_discrepancy_and_no_crash():
    found = recheck(RECORD, ITEMS[:-1])
    assert {one.figure for one in found} >= {"items.sha256", "items"}
    assert recheck(RECORD, b"\xff\n")


def test_the_error_carries_every_discrepancy_and_exits_with_6():
    error = EvaluationAltered(recheck(edited(("results", 0, "value"), 0.5), ITEMS))
    assert error.exit_code == 6
    assert "results[house pct_stereotype all base].value" in error.what
    assert len(error.discrepancies) == 1
