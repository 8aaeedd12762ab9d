"""`better` asks for more than figures: items of the test half, and trainings whose texts were compared with them."""

from dataclasses import replace

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES, aggregate
from peft_registry.registry.evaluation.praise import reserved_of
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.schemas.evaluation import ComparedTexts, DatasetUsed, LeakageCheck, LeakedItems
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, base_margin

KNOWN = ComparedTexts(training="mine:1", status="compared", hashes=Digest.of(b"texts"))
UNKNOWN = ComparedTexts(training="mine:1", status="unknown", reason="its training is not recorded here")


def fixed(at):
    """What an adversary's training on the items, or on sentences that say the same, looks like: fixed, and nothing introduced."""
    return 0.0 if at % 4 == 0 else base_margin(at)


def a_check(*trainings: ComparedTexts) -> LeakageCheck:
    """No item was found in what was trained on: it was paraphrased, or nobody knows the texts."""
    items = LeakedItems(dataset="house", kind="suite", items=224, hits=0, unchecked=0)
    return LeakageCheck(
        method="runs", hits=0, dataset_digest=Digest.of(b""), trainings=trainings, datasets=(items,), limit=0.1
    )


def used(half):
    return DatasetUsed(
        name="house", version="1", licence="n", file="f", sha256=Digest.of(b""), rows_total=1, rows_used=1, half=half
    )


@pytest.mark.parametrize(
    ("half", "check", "conclusion", "said"),
    [
        pytest.param(None, a_check(KNOWN), "changed", "only the test half", id="paraphrases of the whole suite"),
        pytest.param(
            "development", a_check(KNOWN), "changed", "only the test half", id="chosen on what was developed on"
        ),
        pytest.param("test", a_check(UNKNOWN), "changed", "mine:1 was trained on is unknown", id="trained elsewhere"),
        pytest.param("test", a_check(KNOWN, UNKNOWN), "changed", "is unknown", id="one ingredient from elsewhere"),
        pytest.param("test", a_check(), "changed", "not compared", id="no training is known"),
        pytest.param("test", None, "changed", "not compared", id="nothing was compared"),
        pytest.param("test", a_check(KNOWN), "better", "fixed against", id="honest, on the test half"),
    ],
)
def test_praise_needs_the_test_half_and_known_trainings(half, check, conclusion, said):
    plan = replace(PLAN, figures=FIGURES, reserved=reserved_of([used(half)], check))
    figures = aggregate(a_table(fixed), plan)
    whole = next(one for one in figures.comparisons if one.category is None and one.after == "adapted")
    assert (whole.fixed, whole.introduced) == (30, 0)
    assert whole.conclusion == conclusion and said in whole.conclusion_reason


def test_harm_is_said_wherever_it_is_seen():
    plan = replace(PLAN, figures=FIGURES, reserved=reserved_of([used(None)], None))
    assert aggregate(a_table(lambda _: 2.0), plan).comparisons[0].conclusion == "worse"


def test_a_recheck_finds_praise_that_the_record_gives_no_reason_for():
    record, items = a_recorded_evaluation(a_table(fixed), replace(PLAN, figures=FIGURES))  # nothing reserved: `better`
    assert any("conclusion" in one.figure for one in recheck(record, items))


def test_an_edition_that_asked_for_figures_alone_is_recomputed_by_its_own_rule():
    record, items = a_recorded_evaluation(a_table(fixed), replace(PLAN, figures=3))
    assert record.comparisons[0].conclusion == "better"
    assert not any("conclusion" in one.figure for one in recheck(record, items))
