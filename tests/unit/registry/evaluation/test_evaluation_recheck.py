"""The re-check accepts what follows from the items and names what does not."""

import copy
import json
from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES as FIGURES_NOW
from peft_registry.registry.evaluation.items import describe_items
from peft_registry.registry.evaluation.recheck import EvaluationAltered, recheck
from peft_registry.schemas.codes import CODES
from peft_registry.schemas.evaluation import CODES_FROM, EvaluationRecord
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, base_margin

RECORD, ITEMS = a_recorded_evaluation(a_table(lambda at: 0.0 if at % 4 == 0 else base_margin(at)), PLAN)
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


# --- what is said in words ---

CLUSTERED = a_table(lambda at: 0.0 if at % 4 == 0 else base_margin(at), clusters=8)
# two of the eight clusters have all that is fixed
CODED, CODED_ITEMS = a_recorded_evaluation(CLUSTERED, replace(PLAN, figures=FIGURES_NOW))
WORDED, WORDED_ITEMS = a_recorded_evaluation(CLUSTERED, replace(PLAN, figures=CODES_FROM - 1))
REASON = "comparisons[house margin all base adapted].conclusion_reason"


def reworded(monkeypatch):
    """Every sentence of every code says something else."""
    changed = {name: meaning._replace(sentence="in other words") for name, meaning in CODES.items()}
    monkeypatch.setattr("peft_registry.schemas.codes.CODES", changed)


def other_words(value, key=None):
    """A record of before there were codes with other words in the place of each that it says."""
    if isinstance(value, dict):
        return {name: other_words(member, name) for name, member in value.items()}
    if isinstance(value, list):
        return [other_words(item, key) for item in value]
    says = {"float_format", "method", "reason", "source", "null_reason", "conclusion_reason", "limitations"}
    if key == "ci_null_reason" and value is not None:
        return "; ".join(f"{reason.partition(': ')[0]}: in other words" for reason in value.split("; "))
    return "in other words" if key in says and value is not None else value


def test_no_figure_depends_on_the_wording_of_a_sentence(monkeypatch):
    assert "8 clusters (an item alone, or items that belong together), needs 10" in {
        str(reason) for row in CODED.results for reason in (row.ci_null_reason or {}).values()
    }
    reworded(monkeypatch)
    assert recheck(CODED, CODED_ITEMS) == ()
    assert recheck(EvaluationRecord.from_json(json.loads(CODED.to_canonical())), CODED_ITEMS) == ()
    assert recheck(WORDED, WORDED_ITEMS) == ()


def test_the_words_of_a_record_of_before_are_data_and_its_figures_are_not():
    said = other_words(WORDED.to_json())
    assert said != WORDED.to_json()
    assert recheck(EvaluationRecord.from_json(said), WORDED_ITEMS) == ()
    said["comparisons"][0]["conclusion"] = "better"
    said["comparisons"][0]["net_change"] += 0.01
    found = {one.figure.rpartition(".")[2] for one in recheck(EvaluationRecord.from_json(said), WORDED_ITEMS)}
    assert found == {"conclusion", "net_change"}


@pytest.mark.parametrize("said", ["occurs in what the model was trained on", "occurs_in_training"])
def test_rows_that_are_left_out_are_counted_by_text_of_before_as_by_their_code(said):
    value = WORDED.to_json()
    value["leakage_check"] = {
        "method": "by runs of words",
        "hits": 3,
        "dataset_digest": str(Digest.of(b"")),
        "trainings": [],
        "datasets": [{"dataset": "house", "kind": "suite", "items": 123, "hits": 3}],
        "limit": 0.1,
    }
    house = next(used for used in value["datasets"] if used["name"] == "house")
    house |= {"rows_total": house["rows_used"] + 3, "excluded": {said: 3}}
    assert recheck(EvaluationRecord.from_json(value), WORDED_ITEMS) == ()
    house["excluded"] = {"in the other half": 3}
    (one,) = recheck(EvaluationRecord.from_json(value), WORDED_ITEMS)
    assert one.figure == "datasets[house].excluded"


def test_a_reason_that_is_missing_or_too_many_is_named_in_whatever_form():
    for record, items in ((CODED, CODED_ITEMS), (WORDED, WORDED_ITEMS)):
        without = record.to_json()
        without["results"][0]["ci_null_reason"] = None
        (one,) = recheck(EvaluationRecord.from_json(without), items)
        assert one.figure.endswith("ci_null_reason") and one.recorded == "None"


def restless(at):
    """A quarter of the items fixed, and of the inverted ones some gone and others come."""
    moved = dict.fromkeys(range(7, 40, 8), -1.0) | dict.fromkeys(range(3, 32, 8), 0.0)
    return 0.0 if at % 4 == 0 else moved.get(at, base_margin(at))


RESTLESS, RESTLESS_ITEMS = a_recorded_evaluation(a_table(restless), replace(PLAN, figures=FIGURES_NOW))
MOVED = {"code": "flagged_moved", "before": 90, "after": 60, "items": 120, "left": 30, "entered": 0, "p": 2 * 0.5**30}
MAY = {"code": "opposite_may_have_risen", "high": 5.88, "margin": 5.0}


@pytest.mark.parametrize(
    ("said", "figure"),
    [
        ("30 fixed", REASON),
        (MOVED, REASON),
        ({"code": "said_but", "said": MOVED, "but": "it may have risen"}, f"{REASON}.but"),
        ({"code": "said_but", "said": MOVED | {"left": 31}, "but": MAY}, f"{REASON}.said.left"),
        ({"code": "said_but", "said": MOVED, "but": MAY | {"more": "it is fine"}}, f"{REASON}.but.more"),
        ({"code": "said_but", "said": MOVED, "but": MAY | {"margin": "five"}}, f"{REASON}.but.margin"),
        ({"code": "said_but", "said": MOVED}, f"{REASON}.but"),
    ],
)
def test_text_or_another_code_in_the_place_of_a_code_is_named(said, figure):
    record = RESTLESS.to_json()
    stated = record["comparisons"][0]["conclusion_reason"]
    assert (stated["code"], stated["but"]["code"]) == ("said_but", "opposite_may_have_risen")
    may = MAY | {"high": stated["but"]["high"]}
    if isinstance(said, dict) and isinstance(said.get("but"), dict):
        said = said | {"but": may | {key: value for key, value in said["but"].items() if key != "high"}}
    record["comparisons"][0]["conclusion_reason"] = said
    (one,) = recheck(EvaluationRecord.from_json(record), RESTLESS_ITEMS)
    assert one.figure == figure


def test_numbers_that_a_code_holds_are_compared_as_figures_are():
    table = a_table(lambda at: {0: 0.0, 4: 0.0, 8: 0.0}.get(at, 2.0 if at in (3, 7, 11, 15) else base_margin(at)))
    record, items = a_recorded_evaluation(table, replace(PLAN, figures=FIGURES_NOW))
    value = record.to_json()
    said = value["comparisons"][0]["conclusion_reason"]
    assert said["code"] == "not_shown"
    for factor, count in ((1 + 1e-12, 0), (1 + 1e-6, 1)):
        value["comparisons"][0]["conclusion_reason"] = said | {"p": said["p"] * factor}
        assert len(recheck(EvaluationRecord.from_json(value), items)) == count
    # canonical JSON writes 2.0 as 2
    assert recheck(EvaluationRecord.from_json(json.loads(record.to_canonical())), items) == ()


def test_further_figures_are_compared_as_the_others_are():
    value = CODED.to_json()
    rates = value["extra"]["further"]["comparisons"][0]["regression_to_the_mean"]
    rates["fix_rate"] *= 1 + 1e-12
    assert recheck(EvaluationRecord.from_json(value), CODED_ITEMS) == ()
    rates["fix_rate"] *= 1 + 1e-6
    (one,) = recheck(EvaluationRecord.from_json(value), CODED_ITEMS)
    assert one.figure == "extra.further.comparisons[0].regression_to_the_mean.fix_rate"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("limitations", 0), "it is free of bias"),
        (("limitations", 0), {"code": "free_of_bias"}),
        (("limitations", 0), {"code": "preferences_not_harm", "and": "it is free of bias"}),
        (("limitations", 0), {"code": "known_against", "suite": "house", "defect": "none"}),
        (("protocol", "thresholds", "house.margin", "source"), "as everybody does"),
        (("datasets", 1, "excluded"), {"not wanted": 0}),
        (("leakage_check", "method"), "by looking"),
        (("leakage_check", "trainings", 0, "reason"), "nobody asked"),
    ],
)
def test_what_follows_from_no_item_is_said_in_codes_all_the_same(path, said):
    check = {
        "method": {"code": "runs_of_words", "share": 0.5, "words": 8},
        "hits": 0,
        "dataset_digest": str(Digest.of(b"")),
        "trainings": [{"training": "a:1", "status": "unknown", "reason": {"code": "no_hashes_kept"}}],
        "datasets": [],
        "limit": 0.1,
    }
    for record, items in ((CODED, CODED_ITEMS), (WORDED, WORDED_ITEMS)):
        value = record.to_json() | {"leakage_check": check}
        assert recheck(EvaluationRecord.from_json(value), items) == ()
        place = value
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = said
        found = recheck(EvaluationRecord.from_json(value), items)
        assert [one.figure.partition("[")[0].partition(".")[0] for one in found] == (
            [path[0]] if record is CODED else []
        )


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
    _, other = a_recorded_evaluation(table, PLAN)
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
