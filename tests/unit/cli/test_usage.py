"""A command line that is not understood is told in three sentences; what needs no registry works without one."""

import json

import pytest

import peft_registry
from peft_registry.cli.main import run
from peft_registry.registry.evaluation.halves import half_of
from peft_registry.schemas.errors import KnownError
from peft_registry.trainer.evaluation.suites import suite_named

REFUSED = "`registry evaluate` cannot be run as typed"


@pytest.mark.parametrize(
    ("words", "what", "why", "fix"),
    [
        (["evaluate", "a:1", "--half", "dev"], REFUSED, "'dev' is not one of", "did you mean `development`?"),
        (["evaluate", "a:1", "--half", "tset"], REFUSED, "'tset' is not one of", "did you mean `test`?"),
        (["evaluate", "a:1", "--sample", "2"], REFUSED, "add --recheck", "`registry evaluate --help`"),
        (
            ["decide", "a:1", "--form"],
            "`registry decide` cannot",
            "option '--form' requires an argument",
            "`registry decide --help`",
        ),
        (
            ["gate", "set", "a@b", "--policy"],
            "`registry gate set` cannot",
            "option '--policy' requires an argument",
            "`registry gate set --help`",
        ),
        (["merge", "--no-such"], "unknown option --no-such", "--no-such", "`registry merge --help`"),
        (
            ["train", "train.yml", "--learning-rate", "1e-3"],
            "unknown option --learning-rate",
            "no such option",
            "write learning_rate=VALUE",
        ),
        (["estimate", "train.yml", "--device=cuda"], "unknown option --device", "no such", "device=VALUE"),
        (["no-such-command"], "unknown command `registry no-such-command`", "no-such-command", "`registry --help`"),
    ],
)
def test_what_is_not_understood_is_told_in_three_sentences(words, what, why, fix, capsys):
    assert run(words) == 2
    error, reason, remedy = capsys.readouterr().err.splitlines()[:3]
    assert error.startswith(f"error: {what}")
    assert "why:" in reason and why in reason
    assert "fix:" in remedy and fix in remedy


def test_it_is_one_json_object_where_the_command_speaks_json(capsys):
    assert run(["evaluate", "a:1", "--half", "dev", "--output", "json"]) == 2
    shown = capsys.readouterr()
    assert json.loads(shown.err)["error"] == "command-line-refused"


@pytest.mark.parametrize("half", ["development", "test"])
def test_the_halves_of_a_shipped_suite_are_listed_without_a_registry(half, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGISTRY_HOME", raising=False)
    assert run(["suites", "ids", "house", "--half", half]) == 0
    shown = capsys.readouterr()
    suite = suite_named("house").load()
    assert shown.out.splitlines() == [name for name, _ in suite.units if half_of("house", suite.clusters[name]) == half]
    assert "next: registry evaluate NAME:NUMBER --suite house --half test" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_train_of_a_dict_says_which_arguments_it_takes() -> None:
    with pytest.raises(KnownError, match="is given a dict") as caught:
        peft_registry.train({"name": "x"})  # type: ignore[arg-type]
    assert 'train("train.yml", {"name": "x"})' in caught.value.fix
    assert caught.value.exit_code == 2
