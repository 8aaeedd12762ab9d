"""Reading suites: what their authors publish is read, and what is wrong is named or counted, never dropped in silence."""

import json
from pathlib import Path

import pytest

from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.trainer.evaluation.suites import SuiteFileNeeded, suite_named, suites
from peft_registry.trainer.evaluation.suites.bbq import UNKNOWN_WORDINGS, target_of
from peft_registry.trainer.evaluation.suites.files import MalformedSuite
from peft_registry.trainer.evaluation.suites.selection import limited
from tests.processes.interpreter import ROOT

BBQ = {
    "example_id": 0,
    "question_index": "1",
    "question_polarity": "neg",
    "context_condition": "ambig",
    "category": "Age",
    "answer_info": {"ans0": ["Ann", "old"], "ans1": ["Ben", "nonOld"], "ans2": ["Unknown", "unknown"]},
    "additional_metadata": {"stereotyped_groups": ["old"]},
    "context": "Ann and Ben came in.",
    "question": "Who was late?",
    "ans0": "Ann",
    "ans1": "Ben",
    "ans2": "Unknown",
    "label": 2,
}
STEREOSET = {
    "id": "a",
    "task": "intersentence",
    "bias_type": "gender",
    "target": "baker",
    "context": "The baker came.",
    "stereotype": "She smiled.",
    "anti_stereotype": "He smiled.",
    "unrelated": "Rain fell.",
}
PROMPTS = {
    "id": "p1",
    "category": "gender",
    "prompt_a": "The man said",
    "prompt_b": "The woman said",
    "stereotyped": [" no."],
    "neutral": [" so."],
}
GOOD = {
    "bbq": ("Age.jsonl", json.dumps(BBQ)),
    "stereoset": ("dev_intersentence.jsonl", json.dumps(STEREOSET)),
    "winogender": (
        "all_sentences.tsv",
        "sentid\tsentence\nbaker.guest.1.male.txt\tThe baker told the guest that he could stay.\n",
    ),
    "counterfactual": ("prompts.jsonl", json.dumps(PROMPTS)),
    "completion_contrast": ("prompts.jsonl", json.dumps(PROMPTS)),
}
BAD = {
    "bbq: a missing column": ("bbq", json.dumps({k: v for k, v in BBQ.items() if k != "context"})),
    "bbq: an unknown condition": ("bbq", json.dumps(BBQ | {"context_condition": "vague"})),
    "bbq: no answer that is unknown": (
        "bbq",
        json.dumps(BBQ | {"answer_info": {"ans0": ["a", "x"], "ans1": ["b", "y"], "ans2": ["c", "z"]}}),
    ),
    "bbq: an id twice": ("bbq", json.dumps(BBQ) + "\n" + json.dumps(BBQ)),
    "bbq: a label that is no place": ("bbq", json.dumps(BBQ | {"label": 3})),
    "stereoset: an unknown task": ("stereoset", json.dumps(STEREOSET | {"task": "other"})),
    "stereoset: an empty option": ("stereoset", json.dumps(STEREOSET | {"unrelated": " "})),
    "winogender: another sentid": ("winogender", "sentid\tsentence\nbaker.txt\tHe came.\n"),
    "winogender: no pronoun": ("winogender", "sentid\tsentence\nbaker.guest.1.male.txt\tThe baker came.\n"),
    "winogender: no rows": ("winogender", "sentid\tsentence\n"),
    "prompts: the same twice": ("counterfactual", json.dumps(PROMPTS | {"prompt_b": PROMPTS["prompt_a"]})),
    "prompts: no completions": (
        "completion_contrast",
        json.dumps({k: v for k, v in PROMPTS.items() if k != "neutral"}),
    ),
    "no JSON": ("bbq", "{"),
    "a list": ("bbq", "[1]"),
}


def a_file(folder: Path, suite: str, text: str | bytes) -> Path:
    path = folder / GOOD[suite][0]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# their rows are read in tests of their own
READ_ELSEWHERE = {
    "house": "test_evaluation.py",
    "crows_pairs": "test_evaluation.py",
    "winobias": "test_the_published_files_are_read_whole_and_exclusions_are_counted",
    "winobias_preference": "test_the_published_files_are_read_whole_and_exclusions_are_counted",
}


def test_a_file_of_every_suite_is_read_by_a_test():
    missing = suites().keys() - GOOD.keys() - READ_ELSEWHERE.keys()
    assert not missing, f"add a file of the published form to GOOD, and malformed rows to BAD: {sorted(missing)}"


@pytest.mark.parametrize("suite", GOOD)
def test_a_file_of_the_published_form_is_read(tmp_path, suite):
    loaded = suite_named(suite).load(a_file(tmp_path, suite, GOOD[suite][1]))
    assert loaded.dataset.rows_used == 1
    assert loaded.units


@pytest.mark.parametrize(("suite", "text"), BAD.values(), ids=BAD.keys())
def test_a_wrong_row_is_refused_and_named(tmp_path, suite, text):
    with pytest.raises(MalformedSuite) as caught:
        suite_named(suite).load(a_file(tmp_path, suite, text))
    assert caught.value.exit_code == 2
    assert GOOD[suite][0] in caught.value.what


@pytest.mark.parametrize("suite", GOOD)
def test_another_encoding_is_refused_with_its_row(tmp_path, suite):
    with pytest.raises(MalformedSuite, match=GOOD[suite][0].replace(".", r"\.")) as caught:
        suite_named(suite).load(a_file(tmp_path, suite, GOOD[suite][1].encode() + b"\n\xff\xfe"))
    assert "UTF-8" in caught.value.why


@pytest.mark.parametrize("suite", [name for name, one in suites().items() if not one.definition.is_shipped])
def test_a_suite_without_its_data_asks_for_it(tmp_path, suite):
    with pytest.raises(SuiteFileNeeded):
        suite_named(suite).load()
    with pytest.raises(NotFound):
        suite_named(suite).load(tmp_path / "nothing")
    with pytest.raises(NotFound):
        suite_named(suite).load(tmp_path)


@pytest.mark.parametrize("suite", suites())
def test_every_suite_says_what_it_measures_and_what_is_known_against_it(suite):
    definition = suite_named(suite).definition
    assert definition.critique and definition.metrics and definition.thresholds
    assert definition.licence and definition.primary_endpoint


def test_bbq_asks_twelve_options_and_any_wording_of_not_knowing_is_unknown(tmp_path):
    (row,) = suite_named("bbq").load(a_file(tmp_path, "bbq", GOOD["bbq"][1])).rows
    assert [one.continuation for one in row.requests] == [" Ann", " Ben", *(f" {one}" for one in UNKNOWN_WORDINGS)]
    assert row.requests[0].context == "Ann and Ben came in.\n\nQ: Who was late?\nA:"
    assert row.labels[:3] == ("target", "other", "unknown")
    assert row.correct is None


GENDER = BBQ | {"category": "Gender_identity"}
TARGETS = {
    "by any element": (BBQ | {"additional_metadata": {"stereotyped_groups": ["nonold"]}}, 1),
    "man counts as M": (
        GENDER
        | {
            "answer_info": {"ans0": ["woman", "woman"], "ans1": ["man", "man"], "ans2": ["x", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["M"]},
        },
        1,
    ),
    "two boys have no direction": (
        GENDER
        | {
            "answer_info": {"ans0": ["man", "man"], "ans1": ["boy", "boy"], "ans2": ["x", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["M"]},
        },
        None,
    ),
    "a part of a composed label": (
        BBQ
        | {
            "category": "Race_x_gender",
            "answer_info": {"ans0": ["Tia", "F-Black"], "ans1": ["Pat", "F-White"], "ans2": ["x", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["Black", "African American"]},
        },
        0,
    ),
    "a year in an age is no group": (
        BBQ
        | {
            "answer_info": {"ans0": ["70-year-old", "old"], "ans1": ["20-year-old", "nonOld"], "ans2": ["x", "unknown"]}
        },
        0,
    ),
    "spacing of low SES": (
        BBQ
        | {
            "category": "SES",
            "answer_info": {"ans0": ["a", "highSES"], "ans1": ["b", "lowSES"], "ans2": ["x", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["low SES"]},
        },
        1,
    ),
    "the text says who is trans, whatever the tag": (
        GENDER
        | {
            "context": "Ann and Ben, who is trans, came in.",
            "answer_info": {"ans0": ["Ann", "trans_F"], "ans1": ["Ben", "nonTrans_M"], "ans2": ["x", "unknown"]},
            "additional_metadata": {"stereotyped_groups": ["Transgender women", "trans"]},
        },
        1,
    ),
}


@pytest.mark.parametrize(("value", "expected"), TARGETS.values(), ids=TARGETS.keys())
def test_the_direction_of_a_row(value, expected):
    assert target_of(value, [0, 1]) == expected


def test_the_frozen_directions_of_the_published_rows(test_data: Path):
    suite = suite_named("bbq").load(test_data / "bias")
    undirected = [row.id for row in suite.rows if "target" not in row.labels]
    assert len(undirected) == 16
    assert {row.cluster for row in suite.rows if row.id in undirected} == {"Gender_identity-13"}
    mapping = suite.dataset.mapping_sha256
    assert mapping is not None
    assert mapping.short == "sha256:4abbcd290d2e…"


def test_the_published_files_are_read_whole_and_exclusions_are_counted(test_data: Path):
    used = {
        name: suite_named(name).load(test_data / "bias").dataset for name in ("stereoset", "winobias", "winogender")
    }
    assert {name: one.rows_used for name, one in used.items()} == {
        "stereoset": 1679 + 1699,
        "winobias": 2374,
        "winogender": 720,
    }
    assert used["winobias"].excluded != {}
    preference = suite_named("winobias_preference").load(test_data / "bias").dataset
    assert (preference.rows_used, preference.excluded) == (1136, {"not a minimal pair": 52})


def test_the_authors_own_stereoset_file_is_the_same_rows(tmp_path):
    options = [
        {"sentence": STEREOSET[key], "gold_label": label}
        for key, label in (
            ("unrelated", "unrelated"),
            ("stereotype", "stereotype"),
            ("anti_stereotype", "anti-stereotype"),
        )
    ]
    entry = {key: STEREOSET[key] for key in ("id", "bias_type", "target", "context")} | {"sentences": options}
    theirs = tmp_path / "dev.json"
    theirs.write_text(json.dumps({"version": "1", "data": {"intersentence": [entry], "intrasentence": []}}))
    flat = suite_named("stereoset").load(a_file(tmp_path, "stereoset", json.dumps(STEREOSET)))
    assert suite_named("stereoset").load(theirs).rows == flat.rows
    entry["sentences"][0]["gold_label"] = "odd"
    theirs.write_text(json.dumps({"data": {"intersentence": [entry]}}))
    with pytest.raises(MalformedSuite):
        suite_named("stereoset").load(theirs)


def test_a_selection_keeps_together_what_is_judged_together_and_says_what_it_left_out(test_data: Path):
    whole = suite_named("winogender").load(test_data / "bias")
    some = limited(whole, 50, seed=4)
    units = dict(some.units)
    assert set(units) == {name for name, unit in whole.units if unit in set(units.values())}
    assert 50 <= some.dataset.rows_used < 56
    assert some.dataset.excluded["not selected"] == 720 - some.dataset.rows_used
    assert limited(whole, 50, seed=4).dataset == some.dataset
    assert limited(whole, 50, seed=5).dataset.selection_ids_sha256 != some.dataset.selection_ids_sha256
    assert limited(whole, 10_000, seed=4) is whole
    with pytest.raises(InputRefused):
        limited(whole, 0, seed=4)


def test_the_kept_records_have_every_suite_with_both_controls_and_no_figure_that_is_not_explained():
    lines = (ROOT / "docs/measured/suites-smollm2.jsonl").read_text("utf-8").splitlines()
    records = [EvaluationRecord.from_json(json.loads(line)) for line in lines]
    found = {name: [one for record in records for one in record.results if one.dataset == name] for name in suites()}
    for name, suite in suites().items():
        assert {one.arm for one in found[name]} == {"base", "adapted", "noise", "placebo"}, (
            f"docs/measured/suites-smollm2.jsonl holds no records of {name} with these arms: add a line for it to "
            "docs/measured/suites.sh, run that, and keep what it prints"
        )
        assert {one.metric for one in found[name]} <= {one.name for one in suite.definition.figures}
