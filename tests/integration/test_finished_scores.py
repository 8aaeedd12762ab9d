"""An interrupted evaluation goes on where it was, and never from a line that a kill left unfinished."""

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from trainer.embedded import embedded_base
from trainer.evaluation.finished import ScoreFile, score_key
from trainer.evaluation.questions import Request, Score
from trainer.evaluation.scoring import score

REQUESTS = [Request("", f"The dog number {number} barks.") for number in range(12)]


@pytest.fixture(scope="module")
def embedded():
    return AutoModelForCausalLM.from_pretrained(embedded_base()).eval(), AutoTokenizer.from_pretrained(embedded_base())


def counted(model):
    """The model, and how many sequences it was fed."""
    fed = []
    hook = model.register_forward_pre_hook(
        lambda _, args, given: fed.append(given["input_ids"].shape[0]), with_kwargs=True
    )
    return fed, hook


def test_finished_items_are_not_scored_again(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"
    first = score(model, tokenizer, REQUESTS[:6], finished=ScoreFile(path), route="plain")
    fed, hook = counted(model)
    try:
        again = score(model, tokenizer, REQUESTS, finished=ScoreFile(path), route="plain", token_budget=1)
    finally:
        hook.remove()
    assert sum(fed) == 6
    assert again[:6] == first
    fed, hook = counted(model)
    try:
        assert score(model, tokenizer, REQUESTS, finished=ScoreFile(path)) == again
    finally:
        hook.remove()
    assert fed == []


def test_a_kill_in_the_middle_of_a_line_costs_that_line_only(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"
    whole = score(model, tokenizer, REQUESTS, finished=ScoreFile(path))
    path.write_bytes(path.read_bytes()[:-9])
    finished = ScoreFile(path)
    assert sum(finished.get(one) is not None for one in REQUESTS) == len(REQUESTS) - 1
    resumed = score(model, tokenizer, REQUESTS, finished=ScoreFile(path))
    assert [one.log_likelihood for one in resumed] == pytest.approx([one.log_likelihood for one in whole], abs=1e-5)
    assert sum(ScoreFile(path).get(one) is not None for one in REQUESTS) == len(REQUESTS)


def test_an_interrupted_run_keeps_the_batches_it_finished(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"

    def stop_after_a_few(event):
        if getattr(event, "done", 0) >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(
            model,
            tokenizer,
            REQUESTS,
            finished=ScoreFile(path),
            route="plain",
            token_budget=1,
            observe=stop_after_a_few,
        )
    kept = sum(ScoreFile(path).get(one) is not None for one in REQUESTS)
    assert 4 <= kept < len(REQUESTS)


def test_no_text_is_kept(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"
    score(model, tokenizer, REQUESTS[:2], finished=ScoreFile(path))
    assert b"dog" not in path.read_bytes()


def test_another_composition_or_protocol_is_another_file():
    keys = {score_key(composition=c, protocol=p) for c in "ab" for p in "xy"}
    assert len(keys) == 4


def test_lines_that_are_no_scores_are_not_read(tmp_path):
    path = tmp_path / "scores.jsonl"
    ScoreFile(path).add({REQUESTS[0]: Score(-1.5, 3, False)})
    bad = ["5", "[1]", '["a", NaN, 1, false]', '["a", 1.0, "x", 0]', "[[], 1.0, 2, 0]", "[" * 100_000, "{}"]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    assert ScoreFile(path).get(REQUESTS[0]) == Score(-1.5, 3, False)
    assert ScoreFile(path).get(REQUESTS[1]) is None
