"""From trained to approved where the result is part of a high-risk system: no more commands than anywhere else."""

import re
import shlex
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gap_form import read_form
from peft_registry.registry.use_cases.gate import explain_gate, read_gate_policy, shipped_policy
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.show_verdict import describe_verdict
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.backends import MadeHome, make_on
from tests.builders.decisions import fill_in
from tests.builders.homes import add_a_base
from tests.builders.products import FACTS, a_product

# typed by whoever trained it, and signed by nobody who may say it
PROPOSED = {"classification_before": "annex_iii_3", "classification_after": "annex_iii_3"}
ORDINARY = 8  # from trained to approved, as the guide has them
EVALUATE = 1  # of them; no model is scored here
SIGNED = {
    "high_risk.classification_before": "annex_iii_3",
    "high_risk.classification_after": "annex_iii_3",
    "identity.name_or_trademark_on_result": "no",
    "modifier.role_claimed": "downstream_modifier",
    "gpai.placed_on_eu_market": "yes",
    "base[0].is_gpai": "no",
    "base[0].training_compute_flop": 1e16,
    "gpai.result_is_gpai_by_itself": "no",
    "upstream[0].eu_exclusion": "no",
    "use.intended": "grading of essays",
    "data[0].provenance_class": "user_data",
    "data[0].licence": "CC-BY-4.0",
}
# what the table asks once these are answered
EFFECTS = {
    "high_risk.intended_purpose_changed",
    *(f"high_risk.effect_on.article_{article}" for article in range(9, 16)),
}


def fill(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    product = a_product(registry, folder / "made", base, name="grader", facts=FACTS | {"high_risk": PROPOSED})
    register_product(registry, product)


@pytest.fixture(scope="module", params=["sqlite"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def registry(made: MadeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    text = yaml.safe_load(shipped_policy("regulated")) | {"name": "bank", "evaluation": None, "deltas": []}
    Path("bank.yml").write_text(yaml.safe_dump(text), "utf-8")
    registry = made.copy(tmp_path / "home").opened()
    yield registry
    registry.close()


def test_a_high_risk_system_takes_as_many_commands_as_any_other(registry: Registry) -> None:
    typed = 0

    def type_in(line: str) -> None:
        nonlocal typed
        assert run([*shlex.split(line), "--home", "home"]) == 0, line
        typed += 1

    for role, person in (("officer", "alex"), ("approver", "ada"), ("approver", "ben")):
        type_in(f"keys create {role} --person {person} --out KEYS/{person} --unencrypted --trust")
    type_in("decide grader:1 --form grader.yml --policy bank.yml")
    asked = read_form(fill_in(Path("grader.yml"), SIGNED)).paths
    assert asked >= EFFECTS, "what is typed of the system is asked to its end"
    text = Path("grader.yml").read_text("utf-8")
    assert "  #   only after an answer such as identity.name_or_trademark_on_result: no\n" in text
    assert re.search(r"^#   substantial-modification +the change is a substantial modification", text, re.MULTILINE)
    type_in("decide grader:1 --form grader.yml --key KEYS/alex/officer.key --policy bank.yml")
    approve = "gate approve grader:1 --policy bank.yml --reason 'no article is touched'"
    type_in(f"{approve} --decide substantial-modification=no --key KEYS/ada/approver.key")
    type_in(f"{approve} --key KEYS/ben/approver.key")

    assert typed + EVALUATE <= ORDINARY
    with closing(open_home(registry.folder)) as later:  # with the keys that were listed since
        version = version_named(later, "grader")
        assert explain_gate(later, version, read_gate_policy("bank.yml")).decision.is_open
        assert describe_verdict(later, "grader").verdicts.high_risk.row == "H9"
        log = check_log(later)
        assert (log.contradictions, log.unchecked) == ((), ())
        assert verify_version(later, version).verdict == "verified"


def test_a_decision_beside_an_approval_is_in_the_log_with_it_or_neither_is(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["gate", "approve", "grader:1", "--policy", "bank.yml", "--home", "home", "--reason", "read it", "--key"]
    trainer = Path("home", "keys", "trainer.key")
    size = check_log(registry).size
    for typed, code, said in (
        (["--decide", "purpose=no", "--decide", "purpose=yes"], 2, "a question has one answer"),
        (["--decide", "purposes=no"], 2, "a QUESTION is qualitative-change, purpose"),
        # whoever made it judges nothing of it
        (["--decide", "purpose=no"], 3, "does not decide about grader:1"),
    ):
        assert run([*words, str(trainer), *typed]) == code
        assert said in capsys.readouterr().err
    assert check_log(registry).size == size
