"""A name that is longer than any file system takes ends in a sentence, wherever a command takes a word."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from docs.generate import commands
from peft_registry.cli.main import app, run
from tests.builders.homes import a_home, add_a_base

NAMES = {
    "256 characters": "n" * 256,
    "alias": "tiny@" + "a" * 256,
    "number": "tiny:" + "9" * 256,
    "digest": "sha256:" + "a" * 256,
    "path": "./x/" + "f" * 256,
    "5,000 characters": "n" * 5000,
}
# they build or serve something for minutes, and take no word that could be a name
NOT_RUN_HERE = {"demo", "ui"}
# for arguments besides the long one, so that it is looked at
WORDS = {"config": "train.yml", "alias": "champion"}
TRAINING_FILE = "name: mine\nbase: tiny\nmethod: lora\ndata: {train: {path: rows.jsonl}}\n"


def trials() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each command with each of its arguments, and each option that takes a word, replaced by LONG."""
    for path, command in commands(get_command(app)):
        if path[0] in NOT_RUN_HERE:
            continue
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        usual = tuple(WORDS.get(one.name, "tiny") for one in arguments if one.required)
        for one in arguments:
            words = tuple("LONG" if other is one else WORDS.get(other.name, "tiny") for other in arguments)
            yield " ".join((*path, one.name.upper())), (*path, *words)
        for one in command.params:
            if one.param_type_name == "option" and not one.is_flag:
                yield " ".join((*path, one.opts[0])), (*path, *usual, one.opts[0], "LONG")


TRIALS = dict(trials())
# the few that a user types every day; the others in the long run
USUAL = {
    "base add SOURCE",
    "base add --name",
    "show REFERENCE",
    "verify TARGET",
    "verify --home",
    "pull REFERENCE",
    "pull FOLDER",
    "promote ALIAS",
    "list --home",
    "train CONFIG",
    "data inspect FILE",
    "report --out",
    "keys export KEY",
    "keys create --person",
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    with a_home(folder / ".registry") as registry:
        add_a_base(registry, folder / "base")
    (folder / "train.yml").write_text(TRAINING_FILE)
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    return folder


@pytest.mark.parametrize(
    "trial", [pytest.param(name, marks=() if name in USUAL else pytest.mark.full) for name in TRIALS]
)
def test_a_long_name_ends_in_a_sentence(
    trial: str,
    workplace: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Path(shutil.copytree(workplace, tmp_path / "work"))
    monkeypatch.chdir(place)
    for kind, name in NAMES.items():
        code = run([name if word == "LONG" else word for word in TRIALS[trial]])
        printed = capsys.readouterr().err
        assert code != 1, f"{kind}: {printed}"
        assert "Traceback" not in printed, kind
        assert "bug in registry" not in printed, kind


def test_what_is_usual_is_there() -> None:
    assert set(TRIALS) >= USUAL
    assert len(TRIALS) > 80
