"""A statement that the log's first form has no kind for: signed, logged, checked, listed, and shown in a folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.views import SaidDiffers
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.transparency.completeness import parse_list
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.show_log import show_log
from peft_registry.registry.use_cases.statements import PredicateMalformed, append_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.version import Version
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.homes import NOW, register_adapter
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

OFFICER = a_p256_key(7)
STATEMENTS = "evidence/statements.intoto.jsonl"
ANSWERS = {
    "record_id": "r1",
    "record": str(Digest.of(b"the record")),
    "form": str(Digest.of(b"the form")),
    "answers": [{"path": "use.intended", "area": "modifier", "value": "sums"}],
    "person": "alex",
    "role": "officer",
    "nonce": "00",
}


def answer(registry: Registry, signer: PrivateKey = OFFICER, **over: object) -> None:
    subject = describe_version(registry, "helper:1").version.manifest_digest
    append_statement(registry, subject=subject, kind="answers", predicate=ANSWERS | over, signer=signer)


def fill(registry: Registry, folder: Path) -> None:
    register_adapter(registry, folder)
    officer = a_trusted_key(OFFICER, person="alex", role="officer", predicate_types=None)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, officer))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    registry = home.opened(now=NOW)
    yield registry
    registry.close()


@pytest.fixture
def answered(registry: Registry) -> tuple[Registry, Version]:
    answer(registry)
    return registry, describe_version(registry, "helper:1").version


def test_answers_are_logged_under_their_type_and_the_whole_log_is_good(answered):
    registry, _ = answered
    assert [entry.kind for entry in show_log(registry, limit=2).entries] == ["snapshot", "answers"]
    report = check_log(registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def test_every_statement_in_the_log_is_shown_with_the_version_that_it_is_about(answered):
    registry, version = answered
    about = {entry.kind: entry.about for entry in show_log(registry, limit=100).entries}
    assert about["answers"] == about["modification"] == version.label


def test_answers_are_shown_with_the_person_who_gave_them(answered):
    registry, version = answered
    shown = describe_version(registry, version.label).statements[-1]
    assert (shown.kind, shown.predicate_type, shown.person) == ("answers", PREDICATE_TYPES["answers"], "alex")


def test_a_version_and_its_folder_verify_with_answers(answered, tmp_path):
    registry, version = answered
    assert verify_version(registry, version).verdict == "verified"
    pull_version(registry, version, tmp_path / "pulled")
    assert verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW).verdict == "verified"
    listed = parse_list((tmp_path / "pulled" / "evidence/complete.tlog-proof").read_text()).stated
    assert (listed.statements[-1].kind, listed.entries[-1].leaf.kind) == (PREDICATE_TYPES["answers"],) * 2


def test_answers_that_the_log_does_not_have_are_refused_in_a_folder(answered, tmp_path):
    """The line of later answers in a folder that was pulled before they were given: its proof does not list them."""
    registry, version = answered
    pull_version(registry, version, tmp_path / "before")
    answer(registry, nonce="01")
    pull_version(registry, version, tmp_path / "after")
    later = (tmp_path / "after" / STATEMENTS).read_bytes().splitlines(keepends=True)[-1]
    with (tmp_path / "before" / STATEMENTS).open("ab") as file:
        file.write(later)
    checks = verify_folder(tmp_path / "before", trust=registry.trust, now=NOW).checks
    assert {check.step: check.error for check in checks}["statements"] == "statement-not-logged"


@pytest.mark.parametrize("kind", ["card", "modification"])
def test_answers_that_are_relabelled_in_the_database_are_found(answered, home, kind):
    registry, version = answered
    with home.rows() as rows:
        rows.run("UPDATE statements SET kind = :kind WHERE kind = 'answers'", kind=kind)
    with pytest.raises(SaidDiffers):
        describe_version(registry, version.label)
    assert any("its kind is recorded as" in found.text for found in check_log(registry).contradictions)


def test_a_key_of_no_answering_role_gives_no_answers(registry):
    with pytest.raises(KeyLacksRole):
        answer(registry, registry.private_key("root"))


def test_answers_of_another_form_are_not_signed(registry):
    with pytest.raises(PredicateMalformed):
        answer(registry, answers=[])
