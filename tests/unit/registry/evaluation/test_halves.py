"""The halves of a suite: by digest of suite and cluster alone, the same everywhere; and its screen, out of the first."""

import hashlib
from collections import Counter

import pytest

from peft_registry.registry.evaluation.halves import SCREEN_UNITS, half_of, screen_of, screens_of, shares_items
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.mlflow.figures import evaluation_dataset
from peft_registry.registry.reports.wording import comparison_sentence
from peft_registry.schemas.evaluation import DatasetUsed
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import a_recorded_evaluation, a_table

USED = DatasetUsed(
    name="pairs", version="1", licence="none", file="f", sha256=Digest.of(b""), rows_total=2, rows_used=1, half="test"
)


def expected(suite, cluster):
    text = f"urn:peft-registry:suite-half:v1\n{suite}\n{cluster}\n".encode()
    return ("development", "test")[hashlib.sha256(text).digest()[0] >> 7]


@pytest.mark.parametrize("suite", ["crows_pairs", "bbq"])
def test_the_half_of_a_cluster_is_the_first_bit_of_a_digest_over_suite_and_cluster(suite):
    halves = [half_of(suite, str(cluster)) for cluster in range(400)]
    assert halves == [expected(suite, str(cluster)) for cluster in range(400)]
    assert 160 < halves.count("test") < 240


def test_two_suites_part_the_same_clusters_differently():
    assert [half_of("a", str(at)) for at in range(64)] != [half_of("b", str(at)) for at in range(64)]


def test_a_screen_is_the_same_in_any_order_and_takes_from_every_cluster_of_the_development_half_alike():
    clusters = {f"c{at % 60}-{at // 60}": f"c{at % 60}" for at in range(1200)}
    screen = screen_of("pairs", clusters)
    assert screen == screen_of("pairs", dict(reversed(clusters.items())))
    assert screen != screen_of("others", clusters)
    taken = Counter(clusters[unit] for unit in screen)
    developed = {cluster for cluster in clusters.values() if half_of("pairs", cluster) == "development"}
    assert taken.keys() == developed and sum(taken.values()) == SCREEN_UNITS
    assert max(taken.values()) - min(taken.values()) <= 1


def test_a_screen_shares_items_with_the_half_that_it_is_of():
    asked = ("development", "test", "screen", None)
    assert [shares_items("screen", part) for part in asked] == [True, False, True, True]


def test_a_data_set_is_a_screen_where_its_record_counts_what_is_not_on_it():
    screened = USED.revised(excluded={"not_on_the_screen": 1})
    assert (
        str(screens_of([screened, USED.revised(name="whole")])["pairs"]) == "a screen of 1 fixed items gives no verdict"
    )
    assert list(screens_of([screened, USED.revised(name="whole")])) == ["pairs"]


def test_a_record_of_a_whole_suite_has_no_key_for_a_half():
    whole = USED.revised(half=None)
    assert "half" not in whole.to_json()
    assert DatasetUsed.from_json(whole.to_json()) == whole
    assert USED.to_json()["half"] == "test"
    assert DatasetUsed.from_json(USED.to_json()) == USED


def test_an_evaluation_that_says_it_was_of_another_half_does_not_follow_from_its_items():
    whole, items = a_recorded_evaluation()
    inside = {row.id for row in a_table() if row.dataset != "house" or half_of("house", row.cluster) == "test"}
    record, items = a_recorded_evaluation([row for row in a_table() if row.id in inside])
    said = {half: with_half(record, half) for half in ("test", "development")}
    assert recheck(said["test"], items) == ()
    assert [one.figure for one in recheck(said["development"], items)] == ["datasets[house].half"]
    assert [one.figure for one in recheck(with_half(whole, "test"), a_recorded_evaluation()[1])] == [
        "datasets[house].half"
    ]


def with_half(record, half):
    return record.revised(
        datasets=tuple(used.revised(half=half) if used.name == "house" else used for used in record.datasets)
    )


def test_report_and_mirror_name_the_half():
    record = with_half(a_recorded_evaluation()[0], "test")
    assert "the test half" in comparison_sentence(record.findings[0], record)
    house = next(used for used in record.datasets if used.name == "house")
    assert evaluation_dataset(house).name.endswith("(the test half)")
    screened = house.revised(half="development", excluded={"not_on_the_screen": 9})
    assert evaluation_dataset(screened).name.endswith("(the screen of the development half)")
