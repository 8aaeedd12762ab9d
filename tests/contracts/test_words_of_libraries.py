"""Hostile input to commands that read what people type and write: it is refused in the words of this tool, not of a library."""

from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import HomeFiles

LIBRARY_WORDS = ("Value error", "pydantic", "Traceback", "ValidationError", "type=value_error", "validation error")
# codes that a refusal may have; 1 is an error that nobody declared
DECLARED = range(2, 9)
HOSTILE_WORDS = {
    "empty": "",
    "a person for a role": "alex",
    "another alphabet": "trаiner",  # a Cyrillic letter
    "an escape": "\x1b[31mtrainer",
    "a mark that turns the text": "\u202etrainer",
    "a path": "../../trainer",
    "an option": "--trainer",
    "markup": "<script>alert(1)</script>",
    "a formula": "=cmd()",
    "long": "x" * 5000,
}
HOSTILE_DATES = {
    "a word": "tomorrow",
    "no day of the calendar": "2026-13-45",
    "the past": "1999-01-01",
    "a number": "-1",
    "no number": "NaN",
    "a year of five digits": "12026-01-01",
    "empty": "",
}
HOSTILE_DOCUMENTS = {
    "a list": "- a\n- b\n",
    "a word": "alex\n",
    "an unknown key": "alex: root\n",
    "a key twice": "legal_name: a\nlegal_name: b\n",
    "not closed": "{legal_name: [",
    "a tag": "legal_name: !!python/object:os.system x\n",
    "an alias bomb": "a: &a [x, x]\nb: &b [*a, *a]\nlegal_name: [*b, *b]\n",
    "a number for a text": "legal_name: 3\ncountry: 12\n",
    "nothing": "",
    "bytes": "\x00\x01",
    "control marks": 'legal_name: "\\e[31mred"\n',
    "wrong types all over": "use: 3\ngpai: [a]\ndata: yes\nasserted_by: [x]\nhigh_risk: {art5_screen: {a: b}}\n",
    "values of no field": "asserted_by: x\ngpai: {placing_date: tomorrow, placed_on_eu_market: perhaps}\nbase: {country: ZZ}\n",
}


HOSTILE_NUMBERS = ("-1", "0", "NaN", "1e400", "99999999999999999999", "ten", "")
TRAINING_FILES = {
    "unknown keys": "method: lora\nalex: 1\nlora: {rank: 3, alexa: 4}\n",
    "wrong types": "method: [lora]\ndata: 3\ntraining: {num_train_epochs: tomorrow, seed: -1}\nlora: {r: NaN}\n",
    "no such method": "method: alex\nbase: tiny:1\ndata: {train: a.jsonl}\n",
    "values below their bounds": "method: lora\nbase: tiny:1\ndata: {train: a.jsonl}\nlora: {r: -1, dropout: 7}\n",
}

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / ".registry"
    assert run(["init", "--unencrypted", "--no-example", "--home", str(folder)]) == 0
    return folder


@pytest.fixture
def refused(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refused:
    """Runs a command that has to be refused beside the registry, and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REGISTRY_HOME", str(home))
    capsys.readouterr()

    def run_refused(*words: str) -> str:
        code = run(list(words))
        shown = "".join(capsys.readouterr())
        assert [word for word in LIBRARY_WORDS if word in shown] == [], shown
        assert code in DECLARED, shown
        assert [mark for mark in ("\x1b", "\u202e") if mark in shown] == []
        return shown

    return run_refused


def cases(*tables: dict[str, str]) -> pytest.MarkDecorator:
    words = {label: value for table in tables for label, value in table.items()}
    return pytest.mark.parametrize("value", words.values(), ids=words.keys())


# --- keys ---


@cases(HOSTILE_WORDS)
@pytest.mark.parametrize(
    "command",
    [("keys", "create"), ("keys", "import", "no.key", "--role"), ("keys", "export"), ("trust", "rotate")],
    ids=" ".join,
)
def test_a_role_that_is_none_is_refused_in_plain_words(refused: Refused, command: tuple[str, ...], value: str) -> None:
    refused(*command, value)


def test_a_person_typed_for_the_role_is_told_which_roles_there_are(refused: Refused) -> None:
    shown = refused("keys", "create", "alex")
    assert "alex" in shown
    assert "approver" in shown


@cases(HOSTILE_WORDS)
def test_a_key_that_is_none_is_not_revoked(refused: Refused, value: str) -> None:
    refused("trust", "revoke", "--reason", "lost", "--routine", "--", value)


# --- trust ---


@cases(HOSTILE_WORDS)
def test_nobody_is_trusted_for_a_role_that_is_none(refused: Refused, home: Path, value: str) -> None:
    refused("trust", "add", str(HomeFiles(home).key("trainer").public), "--person", "alex", "--role", value)


@cases(HOSTILE_DATES)
def test_nobody_is_trusted_until_a_day_that_is_none(refused: Refused, home: Path, value: str) -> None:
    key = str(HomeFiles(home).key("trainer").public)
    refused("trust", "add", key, "--person", "alex", "--role", "approver", "--until", value)


@pytest.mark.parametrize("value", HOSTILE_NUMBERS)
def test_no_trust_is_renewed_for_days_that_are_none(refused: Refused, value: str) -> None:
    refused("trust", "renew", "--days", value)


@cases(HOSTILE_DOCUMENTS)
def test_a_file_that_is_no_public_key_is_not_trusted(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "key.pem").write_text(value, encoding="utf-8")
    refused("trust", "add", "key.pem", "--person", "alex", "--role", "approver")


@cases(HOSTILE_DOCUMENTS)
def test_a_file_that_is_no_trust_file_is_not_taken(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "trust.json").write_text(value, encoding="utf-8")
    refused("trust", "update", "trust.json")
    refused("trust", "renew", "--file", "trust.json")


# --- init ---


@cases({label: text for label, text in HOSTILE_DOCUMENTS.items() if label != "nothing"})
def test_a_profile_that_is_none_makes_no_registry(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "profile.yml").write_text(value, encoding="utf-8")
    refused("init", "--unencrypted", "--no-example", "--profile", "profile.yml", "--home", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


# --- facts ---


@cases({label: text for label, text in HOSTILE_DOCUMENTS.items() if label != "nothing"})
def test_facts_of_a_base_that_are_none_are_not_recorded(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "facts.yml").write_text(value, encoding="utf-8")
    refused("base", "add", "embedded", "--name", "tiny", "--facts", "facts.yml")


# --- training files, policies ---


@cases(TRAINING_FILES, HOSTILE_DOCUMENTS)
def test_a_training_file_that_is_none_is_not_run(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "train.yml").write_text(value, encoding="utf-8")
    refused("train", "train.yml", "--dry-run")


@cases(HOSTILE_DOCUMENTS)
def test_thresholds_that_are_none_judge_nothing(refused: Refused, tmp_path: Path, value: str) -> None:
    (tmp_path / "policy.yml").write_text(value, encoding="utf-8")
    refused("evaluate", "tiny:1", "--policy", "policy.yml")
