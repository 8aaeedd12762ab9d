"""Which part of each suite is scored, and by which text: the same by a training file, its overrides and the options."""

from pathlib import Path

import pytest

from peft_registry.cli.options import SuiteHalf
from peft_registry.cli.scope import scope_of_options, scope_overrides
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import config_identity, config_record, training_identity
from peft_registry.schemas.config_aliases import WrongValue
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.scope import (
    EVERYTHING,
    SCREEN,
    EvaluationScope,
    GuardDigestWithoutText,
    scope_of_file,
)
from peft_registry.trainer.inputs.training_file import parse_override
from peft_registry.trainer.runs.resume import ConfigChanged, new_run, require_same
from tests.builders.training import a_training_file

DIGEST = Digest.of(b"passages")
BASE = Digest.of(b"base")


def file_with(*words):
    return a_training_file(**{key.replace(".", "__"): value for key, value in map(parse_override, words)})


def test_options_and_keys_say_the_same(tmp_path):
    text = tmp_path / "a text: with # signs.txt"
    file = file_with(*scope_overrides(SuiteHalf.test, text, str(DIGEST)))
    options = scope_of_options(SuiteHalf.test, text, str(DIGEST))
    assert scope_of_file(file.evaluation, Path("/elsewhere")) == options == EvaluationScope("test", text, DIGEST)


def test_without_a_word_a_training_is_screened_and_an_evaluation_asks_everything():
    assert scope_overrides(None, None, None) == ()
    assert scope_of_file(a_training_file().evaluation, Path("/a")) == SCREEN
    assert scope_of_file(file_with("evaluation.half=null").evaluation, Path("/a")) == EVERYTHING
    assert scope_of_options(SuiteHalf.whole, None, None) == EVERYTHING


def test_an_option_takes_back_what_the_file_says():
    keys = ("evaluation.half=test", "evaluation.guard_text=a.txt", f"evaluation.guard_sha256={DIGEST}")
    whole = file_with(*keys, *scope_overrides(SuiteHalf.whole, None, None)).evaluation
    assert (whole.half, whole.guard_sha256) == (None, DIGEST)
    other = file_with(*keys, *scope_overrides(None, Path("/b.txt"), None))
    assert scope_of_file(other.evaluation, Path("/a")) == EvaluationScope("test", Path("/b.txt"))


def test_a_path_of_the_file_starts_from_the_file():
    file = file_with("evaluation.guard_text=texts/a.txt")
    assert scope_of_file(file.evaluation, Path("/home/of")).guard_text == Path("/home/of/texts/a.txt")


def test_a_digest_without_a_text_pins_nothing():
    with pytest.raises(GuardDigestWithoutText, match="pins nothing"):
        scope_of_options(SuiteHalf.whole, None, str(DIGEST))
    with pytest.raises(GuardDigestWithoutText):
        scope_of_file(file_with(f"evaluation.guard_sha256={DIGEST}").evaluation, Path("/a"))


def test_a_half_that_there_is_not_is_no_value():
    with pytest.raises(WrongValue, match=r"evaluation\.half"):
        file_with("evaluation.half=dev")


def test_a_stopped_run_may_be_resumed_with_another_half_and_no_other_rate():
    kept = new_run(
        a_training_file(), run_id="r", path=Path("a.yml"), overrides=(), base=BASE, started_at="2026-01-01T00:00:00Z"
    )
    require_same(kept, file_with("evaluation.half=test", "evaluation.guard_text=a.txt"), BASE)
    with pytest.raises(ConfigChanged):
        require_same(kept, file_with("training.learning_rate=0.5"), BASE)


def test_a_task_is_part_of_what_a_version_is_where_one_is_asked_and_its_path_is_not():
    plain, asked = a_training_file(), file_with("evaluation.tasks=[{name: gsm8k, data: /secret/bench, limit: 20}]")
    for stated in (config_record(plain), config_identity(plain)):
        assert "tasks" not in stated["evaluation"], "files and records of earlier releases have no such key"
    (recorded,), (decides,) = (state(asked)["evaluation"]["tasks"] for state in (config_record, config_identity))
    assert recorded["data"] == "bench" and decides == {key: recorded[key] for key in recorded if key != "data"}
    assert training_identity(asked) == training_identity(plain), "a stopped run may be resumed with it"


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ("[gsm8k]", "a name and its rows"),
        ("[{name: gsm8k, data: a}, {name: gsm8k, data: b}]", "each task once"),
        ("[{name: gsm8k, data: a, limit: 0}]", "greater than or equal to 1"),
    ],
)
def test_a_task_without_rows_or_named_twice_is_refused(tasks, said):
    with pytest.raises(WrongValue) as refused:
        file_with(f"evaluation.tasks={tasks}")
    assert said in refused.value.why


def test_what_was_asked_is_part_of_what_a_version_is_and_no_path_is():
    plain, half = a_training_file(), file_with("evaluation.half=test", "evaluation.guard_text=/secret/a.txt")
    assert canonical_digest(config_identity(plain)) != canonical_digest(config_identity(half))
    whole = file_with("evaluation.half=null")
    assert "half" not in config_record(whole)["evaluation"], "records of earlier releases have no such key"
    assert config_record(plain)["evaluation"]["half"] == "auto"
    assert "secret" not in f"{config_record(half)} {config_identity(half)}"
