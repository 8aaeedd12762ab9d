"""Our scores against lm-evaluation-harness's own task code, with a real small model on the published rows."""

import csv
import json
from pathlib import Path

import pytest

from peft_registry.registry.evaluation.clusters import IntervalRule
from peft_registry.registry.evaluation.families.bbq import results
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.scoring import in_float32, score
from peft_registry.trainer.evaluation.suites import suite_named
from peft_registry.trainer.evaluation.suites.esbbq import UNKNOWN_WORDINGS as SPANISH_UNKNOWN
from peft_registry.trainer.evaluation.suites.gg_bbq import UNKNOWN_WORDINGS as GERMAN_UNKNOWN
from peft_registry.trainer.evaluation.suites.selection import limited
from tests.oracles.lm_eval import FROZEN, PeerRun, run_lm_eval
from tests.oracles.plain_options import german_questions, log_likelihoods, spanish_questions, spanish_rows

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
]
TOLERANCE = 1e-3  # nats
BBQ_ROWS = 200
OPTION_ROWS = 200


@pytest.fixture(scope="module")
def real(smollm2: Path):
    from peft_registry.trainer.bases.loading import load_base

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


@pytest.mark.full
def test_packed_scores_are_the_plain_ones_on_two_hundred_pairs(real, test_data: Path):
    model, tokenizer = real
    suite = limited(suite_named("crows_pairs").load(test_data / "bias"), 200, seed=3)
    with in_float32(model):
        packed = score(model, tokenizer, suite.requests, route="packed")
        alone = score(model, tokenizer, suite.requests, route="plain", token_budget=1)
    values = [(a.log_likelihood, b.log_likelihood) for a, b in zip(packed, alone, strict=True)]
    assert max(abs(a - b) for a, b in values) <= TOLERANCE
    signs = [
        [pair[side] > other[side] for pair, other in zip(values[::2], values[1::2], strict=True)] for side in (0, 1)
    ]
    assert signs[0] == signs[1]


@pytest.mark.full
@pytest.mark.peers
def test_bbq_log_likelihoods_and_every_argmax_are_those_of_the_harness(real, test_data: Path, tmp_path: Path):
    rows = {
        f"{value['category']}-{value['example_id']}": value
        for file in sorted((test_data / "bias/bbq").glob("*.jsonl"))
        for value in map(json.loads, file.read_text(encoding="utf-8").splitlines())
    }
    suite = limited(suite_named("bbq").load(test_data / "bias"), BBQ_ROWS, seed=3)
    assert len(suite.rows) >= BBQ_ROWS
    asked = [rows[row.id] for row in suite.rows]
    _compare(real, suite, run_peer("bbq", asked, real, tmp_path))


@pytest.mark.full
@pytest.mark.peers
def test_winogender_log_likelihoods_and_every_argmax_are_those_of_the_harness(real, test_data: Path, tmp_path: Path):
    suite = limited(suite_named("winogender").load(test_data / "bias"), 240, seed=3)
    with (test_data / "bias/winogender/all_sentences.tsv").open(encoding="utf-8", newline="") as file:
        sentences = {
            one["sentid"].removesuffix(".txt"): one["sentence"] for one in csv.DictReader(file, delimiter="\t")
        }
    asked = [_winogender_row(row.id, sentences[row.id], row.requests[0].context) for row in suite.rows]
    _compare(real, suite, run_peer("winogender", asked, real, tmp_path))


@pytest.mark.full
@pytest.mark.peers
def test_esbbq_log_likelihoods_every_argmax_and_both_bias_scores_are_those_of_the_harness(
    real, test_data: Path, tmp_path: Path
):
    published = {f"{row['category']}-{row['instance_id']}": row for row in spanish_rows(test_data / "bias/esbbq")}
    suite = limited(suite_named("esbbq").load(test_data / "bias"), OPTION_ROWS, seed=3)
    used = ("context", "question", "ans0", "ans1", "label", "answer_info", "stereotyped_groups")
    asked = [
        {name: published[row.id][name] for name in (*used, "context_condition", "question_type", "question_polarity")}
        for row in suite.rows
    ]
    peer = run_peer("esbbq", asked, real, tmp_path)
    scores = _compare(real, suite, peer)
    readings = suite.items(scores, arm="base")
    ours = {
        one.metric: one.value
        for one in results(readings, category=None, rule=IntervalRule(seed=0, draws=10, level=0.95, edition=4))
    }
    assert len(readings) >= OPTION_ROWS
    for name, theirs in (
        ("acc_ambig", "acc_ambig"),
        ("acc_disambig", "acc_disambig"),
        ("s_amb", "bias_score_ambig"),
        ("accuracy_gap", "bias_score_disambig"),
    ):
        assert ours[name] == pytest.approx(peer.metrics[theirs], abs=1e-9), name


@pytest.mark.full
@pytest.mark.parametrize("name", ["esbbq", "gg-bbq"])
def test_every_argmax_of_an_edition_of_bbq_is_that_of_a_plain_scorer(real, test_data: Path, name):
    model, tokenizer = real
    suite = limited(suite_named(name).load(test_data / "bias"), OPTION_ROWS, seed=3)
    assert len(suite.rows) >= OPTION_ROWS
    asked = dict(
        spanish_questions(test_data / "bias/esbbq") if name == "esbbq" else german_questions(test_data / "bias/gg-bbq")
    )
    unknown = {"esbbq": SPANISH_UNKNOWN, "gg-bbq": GERMAN_UNKNOWN}[name]
    expected = []
    for row in suite.rows:
        prompt, people = asked[row.id]
        expected.append(tuple(log_likelihoods(model, tokenizer, prompt, [*people, *unknown])))
    _compare(real, suite, PeerRun(tuple(expected), {}, 0.0))


def run_peer(name, rows, real, scratch):
    model, tokenizer = real
    return run_lm_eval(name, rows, model=model, tokenizer=tokenizer, scratch=scratch, batch_size=16)


def _compare(real, suite, peer):
    model, tokenizer = real
    with in_float32(model):
        scores = score(model, tokenizer, suite.requests)
    start = 0
    for row, expected in zip(suite.rows, peer.log_likelihoods, strict=True):
        found = [one.log_likelihood for one in scores[start : start + len(row.requests)]]
        start += len(row.requests)
        assert found == pytest.approx(list(expected), abs=TOLERANCE), row.id
        assert found.index(max(found)) == expected.index(max(expected)), row.id
    return scores


def _winogender_row(name: str, sentence: str, context: str) -> dict[str, object]:
    """A row as the harness's data set has it; the pronoun is read from the sentence by the data set's authors."""
    occupation, participant, answer, gender = name.split(".")
    pronoun = context.removeprefix(sentence).split("‘")[1].split("’")[0].lower()
    return {
        "sentid": name,
        "sentence": sentence,
        "pronoun": pronoun,
        "occupation": occupation,
        "participant": participant,
        "gender": gender,
        "label": int(answer),
    }
