"""An evaluation speaks of the compositions that it scored, and of no other."""

import pytest

from peft_registry.registry.evaluation.staleness import stale_evaluations, staleness
from peft_registry.registry.records.evaluations import newest_of_each
from peft_registry.schemas.evaluation import Composition
from peft_registry.schemas.identity import Digest
from tests.builders.evaluation import a_recorded_evaluation

BASE = Composition(base=Digest.of(b"base"), tokenizer=Digest.of(b"tokenizer"))
ADAPTED = BASE.model_copy(update={"adapters": (Digest.of(b"adapter"),)})


@pytest.fixture(scope="module")
def record():
    return a_recorded_evaluation()[0]


def test_the_scored_compositions_are_not_stale(record):
    assert staleness(record, BASE) is None
    assert staleness(record, ADAPTED) is None


CHANGES = {
    "merged": ({"adapters": (Digest.of(b"merged"),)}, "other weights on it"),
    "a second adapter": ({"adapters": (Digest.of(b"adapter"), Digest.of(b"more"))}, "other weights on it"),
    "another order of adapters": ({"adapters": (Digest.of(b"more"), Digest.of(b"adapter"))}, "other weights on it"),
    "quantised": ({"quantisation": "nf4"}, "another quantization"),
    "another tokenizer": ({"tokenizer": Digest.of(b"other")}, "another tokenizer"),
    "a chat template": ({"chat_template": Digest.of(b"chat")}, "another chat template"),
    "another base": ({"base": Digest.of(b"other")}, "another base"),
    "a field of a later release": ({"revision": "x"}, "another revision"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES.keys())
def test_every_other_composition_is_stale_and_says_what_differs(record, change, said):
    found = staleness(record, Composition.from_json(ADAPTED.to_json() | {k: _json(v) for k, v in change.items()}))
    assert found is not None
    assert said in str(found)


def test_a_control_arm_does_not_make_an_evaluation_speak_of_it(record):
    placebo = BASE.model_copy(update={"adapters": (Digest.of(b"placebo"),)})
    arm = record.arms[2].model_copy(
        update={"name": "placebo", "composition": placebo, "composition_digest": placebo.canonical_digest()}
    )
    with_placebo = record.model_copy(update={"arms": (*record.arms[:2], arm)})
    assert staleness(with_placebo, placebo) is not None


def test_a_merge_names_every_evaluation_of_an_ingredient_that_stands_and_not_only_the_newest(record):
    few = record.revised(datasets=tuple(data.revised(rows_used=2) for data in record.datasets))
    standing = newest_of_each([record, few])
    merged = Composition.from_json(ADAPTED.to_json() | {"adapters": [str(Digest.of(b"merged"))]})
    stale = stale_evaluations("cats:1", standing, merged)
    assert [(outdated.of, outdated.record) for outdated in stale] == [
        ("cats:1", few.canonical_digest()),
        ("cats:1", record.canonical_digest()),
    ]
    assert all("other weights on it" in str(outdated.why) for outdated in stale)
    assert stale_evaluations("cats:1", standing, ADAPTED) == ()


def _json(value):
    return [str(one) for one in value] if isinstance(value, tuple) else str(value)
