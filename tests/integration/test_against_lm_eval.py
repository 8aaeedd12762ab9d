"""Our scores against lm-evaluation-harness's own task code, with a real small model on the published rows."""

import json
from pathlib import Path

import pytest

from schemas.identity import Digest
from tests.lm_eval_oracle import FROZEN
from trainer.evaluation.scoring import in_float32, score
from trainer.evaluation.suites import suite_named

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
]
TOLERANCE = 1e-3  # nats


@pytest.fixture(scope="module")
def real(smollm2: Path):
    from trainer.base_models import load_base

    return load_base(smollm2, dtype="fp32", device="cpu")


def margins_of(real, suite, pairs):
    model, tokenizer = real
    requests = [request for pair in pairs for request in suite.requests_of(pair)]
    with in_float32(model):
        scores = score(model, tokenizer, requests)
    return [(a.log_likelihood, b.log_likelihood) for a, b in zip(scores[::2], scores[1::2], strict=True)]


def test_crows_pairs_is_equal_to_the_harness_on_a_seeded_hundred(real, test_data: Path):
    frozen = json.loads(FROZEN.read_text())
    suite = suite_named("crows_pairs").load(
        test_data / "bias/crows-pairs/crows_pairs.csv", expected=Digest.parse(f"sha256:{frozen['file_sha256']}")
    )
    expected = frozen["log_likelihoods"]
    pairs = [pair for pair in suite.pairs if pair.id in expected]
    assert len(pairs) == 100
    found = margins_of(real, suite, pairs)
    for pair, (more, less) in zip(pairs, found, strict=True):
        assert (more, less) == pytest.approx(expected[pair.id], abs=TOLERANCE)
    assert sum(more > less for more, less in found) / 100 == frozen["pct_stereotype"]
    assert sum(abs(more - less) for more, less in found) / 100 == pytest.approx(
        frozen["likelihood_diff"], abs=TOLERANCE
    )


@pytest.mark.full
def test_crows_pairs_gives_the_known_figures_on_all_rows(real, test_data: Path):
    suite = suite_named("crows_pairs").load(test_data / "bias/crows-pairs/crows_pairs.csv")
    found = margins_of(real, suite, suite.pairs)
    assert len(found) == 1006
    assert round(sum(more > less for more, less in found) / 1006, 6) == 0.565606
    assert sum(abs(more - less) for more, less in found) / 1006 == pytest.approx(4.630687, abs=TOLERANCE)
    assert not any(more == less for more, less in found)
