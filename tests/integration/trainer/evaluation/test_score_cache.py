"""An interrupted evaluation goes on where it was, and never from a line that a kill left unfinished."""

import json

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.evaluation.questions import Request, Score
from peft_registry.trainer.evaluation.score_cache import ScoreFile, score_key
from peft_registry.trainer.evaluation.scoring import score

SECRET = b"of a home"
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
    first = score(model, tokenizer, REQUESTS[:6], finished=ScoreFile(path, SECRET), route="plain")
    fed, hook = counted(model)
    try:
        again = score(model, tokenizer, REQUESTS, finished=ScoreFile(path, SECRET), route="plain", token_budget=1)
    finally:
        hook.remove()
    assert sum(fed) == 6
    assert again[:6] == first
    fed, hook = counted(model)
    try:
        assert score(model, tokenizer, REQUESTS, finished=ScoreFile(path, SECRET)) == again
    finally:
        hook.remove()
    assert fed == []


def test_a_kill_in_the_middle_of_a_line_costs_that_line_only(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"
    whole = score(model, tokenizer, REQUESTS, finished=ScoreFile(path, SECRET))
    path.write_bytes(path.read_bytes()[:-9])
    finished = ScoreFile(path, SECRET)
    assert sum(finished.get(one) is not None for one in REQUESTS) == len(REQUESTS) - 1
    resumed = score(model, tokenizer, REQUESTS, finished=ScoreFile(path, SECRET))
    assert [one.log_likelihood for one in resumed] == pytest.approx([one.log_likelihood for one in whole], abs=1e-5)
    assert sum(ScoreFile(path, SECRET).get(one) is not None for one in REQUESTS) == len(REQUESTS)


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
            finished=ScoreFile(path, SECRET),
            route="plain",
            token_budget=1,
            observe=stop_after_a_few,
        )
    kept = sum(ScoreFile(path, SECRET).get(one) is not None for one in REQUESTS)
    assert 4 <= kept < len(REQUESTS)


def test_no_text_is_kept(embedded, tmp_path):
    model, tokenizer = embedded
    path = tmp_path / "scores.jsonl"
    score(model, tokenizer, REQUESTS[:2], finished=ScoreFile(path, SECRET))
    assert b"dog" not in path.read_bytes()


def test_another_composition_or_protocol_is_another_file():
    keys = {score_key(composition=c, protocol=p) for c in "ab" for p in "xy"}
    assert len(keys) == 4


def test_lines_that_are_no_scores_are_not_read(tmp_path):
    path = tmp_path / "scores.jsonl"
    ScoreFile(path, SECRET).add({REQUESTS[0]: Score(-1.5, 3, False)})
    bad = ["5", "[1]", '["a", NaN, 1, false]', '["a", 1.0, "x", 0]', "[[], 1.0, 2, 0]", "[" * 100_000, "{}"]
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    assert ScoreFile(path, SECRET).get(REQUESTS[0]) == Score(-1.5, 3, False)
    assert ScoreFile(path, SECRET).get(REQUESTS[1]) is None


def test_only_a_line_with_the_mark_of_this_key_and_file_is_read(tmp_path):
    path = tmp_path / "scores.jsonl"
    ScoreFile(path, SECRET).add({one: Score(-1.5, 3, False) for one in REQUESTS[:4]})
    whole, changed, bare, other = (json.loads(line) for line in path.read_text().splitlines())
    changed[1] = -0.5
    marked = [whole, changed, bare[:4], [*other[:4], "0" * 64]]
    path.write_text("".join(json.dumps(one) + "\n" for one in marked))
    finished = ScoreFile(path, SECRET)
    assert [finished.get(one) for one in REQUESTS[:5]] == [Score(-1.5, 3, False), None, None, None, None]
    assert (finished.reused, finished.refused) == (1, 3)
    finished.add({one: Score(-1.5, 3, False) for one in REQUESTS[1:4]})
    again = ScoreFile(path, SECRET)
    assert all(again.get(one) for one in REQUESTS[:4])
    assert (again.reused, again.refused) == (4, 0)


def test_scores_of_another_key_or_another_file_are_not_taken(tmp_path):
    path, elsewhere = tmp_path / "scores.jsonl", tmp_path / "other.jsonl"
    ScoreFile(path, SECRET).add({REQUESTS[0]: Score(-1.5, 3, False)})
    elsewhere.write_bytes(path.read_bytes())
    assert ScoreFile(path, b"of another home").get(REQUESTS[0]) is None
    assert ScoreFile(elsewhere, SECRET).get(REQUESTS[0]) is None
