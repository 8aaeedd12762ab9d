"""What was evaluated before a plan: the same items of the same version, by suite and half."""

import pytest

from peft_registry.registry.evaluation.halves import half_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.plans import earlier_evaluation
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.evaluation import Half
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version
from tests.builders.evaluation import a_recorded_evaluation, a_table

LATER = 1_000_000  # a log entry after all of these


def evaluated(registry: Registry, version: Version, half: Half | None) -> None:
    """An evaluation of one half of the suite stands in the log."""
    rows = [row for row in a_table() if row.dataset != "house" or half in (None, half_of("house", row.cluster))]
    record, items = a_recorded_evaluation(rows)
    used = tuple(one.revised(half=half) if one.name == "house" else one for one in record.datasets)
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.revised(datasets=used).to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )


@pytest.mark.parametrize(
    ("scored", "asked", "is_earlier"),
    [
        ("development", "test", False),
        ("development", "development", True),
        ("development", None, True),
        (None, "test", True),
    ],
)
def test_a_half_was_evaluated_before_where_that_half_or_the_whole_was(
    registry: Registry, version: Version, scored: Half | None, asked: Half | None, is_earlier: bool
) -> None:
    evaluated(registry, version, scored)
    assert (earlier_evaluation(registry, version, {"house": asked}, before=LATER) is not None) == is_earlier
    assert earlier_evaluation(registry, version, {"crows_pairs": asked}, before=LATER) is None
    assert earlier_evaluation(registry, version, {"house": asked}, before=0) is None


def test_answers_that_were_scored_before_are_found_under_another_name(registry: Registry, version: Version) -> None:
    """A limit that was set after its figure was known is not planned, whatever the file is called by then."""
    evaluated(registry, version, None)
    used = next(one for one in a_recorded_evaluation(a_table())[0].datasets if one.name == "held-out")
    renamed = {"answers-again": used.sha256}
    assert earlier_evaluation(registry, version, {}, digests=renamed, before=LATER) is not None
    assert earlier_evaluation(registry, version, {}, digests={"answers": Digest.of(b"other")}, before=LATER) is None
