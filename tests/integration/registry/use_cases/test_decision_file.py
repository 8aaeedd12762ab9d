"""`evidence/DECISIONS.md` of a copy that is handed out: what the statements beside it say that people signed, and nothing else."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest

from peft_registry.registry.compliance.editions import Editions
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.decide import decide_question
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.hold import hold
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.publish import publish_version
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.version import VerifyOutcome
from tests.builders.backends import MadeHome, make_on
from tests.builders.homes import NOW
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

FILE = "evidence/DECISIONS.md"
HOSTILE = "read | it <script>alert(1)</script> [x](http://y)\n# Approved"


@pytest.fixture(scope="module", params=["sqlite"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill_with_approvers)


@pytest.fixture
def registry(made: MadeHome, tmp_path: Path) -> Iterator[Registry]:
    registry = made.copy(tmp_path / "home").opened(now=NOW)
    yield registry
    registry.close()


@dataclass(frozen=True)
class Copy:
    """A copy of a version about which people signed something of each kind, and whom its reader trusts."""

    folder: Path
    trust: TrustPolicy

    @property
    def file(self) -> Path:
        return self.folder / FILE

    def verified(self) -> VerifyOutcome:
        return verify_folder(self.folder, trust=self.trust, now=NOW)


@pytest.fixture(scope="module")
def pulled(made: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("decided")
    with closing(made.copy(folder / "home").opened(now=NOW)) as registry:
        version = version_named(registry, "sums")
        file = folder / "bank.yml"
        file.write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
        policy = read_gate_policy(str(file))
        approve(registry, version, policy, ALEX, reason=HOSTILE)
        decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason="as it was")
        hold(registry, "sums", ALEX, reason="case 7", until=date(2026, 12, 24))
        set_alias(registry, version, "champion", reason="first release")
        assert pull_version(registry, version, folder / "copy", with_decisions=True).verdict == "verified"
        return Copy(folder / "copy", registry.trust)


@pytest.fixture
def decided(pulled: Copy, tmp_path: Path) -> Copy:
    """The copy as somebody may change it."""
    return replace(pulled, folder=Path(shutil.copytree(pulled.folder, tmp_path / "copy")))


def test_a_copy_says_who_signed_what_by_the_key_and_in_which_role(decided: Copy) -> None:
    text = decided.file.read_text("utf-8")
    assert text.startswith("# What people signed about other, sums\n\nForm 2 of this file. ")
    sections = {part.partition(",")[0]: part.splitlines() for part in text.split("\n## ")[1:]}
    assert list(sections) == ["modification", "approval", "decision", "hold", "alias"]
    ada = f"- signed by: ada as approver, key {ALEX.public.key_id[:16]}…"
    assert [ada in sections[kind] for kind in ("approval", "decision", "hold")] == [True] * 3
    assert [line for line in sections["decision"] if line.startswith(("- outcome", "- question", "- reason"))] == [
        "- outcome: no",
        "- question: purpose",
        "- reason: as it was",
    ]
    assert sections["decision"][2] == "- indicative reading: the intended purpose did not change"
    assert "- until: 2026-12-24T00:00:00Z" in sections["hold"]
    assert {"- alias: champion", "- reason: first release"} <= set(sections["alias"])
    record = sections["modification"]
    assert record[2] == "- indicative status of the model: open, because answers are missing (undetermined)"
    assert "- indicative licence flag: not all terms are known (unknown)" in record
    assert "<script" not in text and "\n# Approved" not in text and "[x](" not in text


def test_a_copy_has_no_such_file_where_nobody_decided_anything(registry: Registry, tmp_path: Path) -> None:
    pull_version(registry, version_named(registry, "sums"), tmp_path / "before", with_decisions=True)
    assert not (tmp_path / "before" / FILE).exists()
    (tmp_path / "before" / FILE).write_text("# What people signed about sums\n\nForm 2 of this file.\n", "utf-8")
    assert verify_folder(tmp_path / "before", trust=registry.trust, now=NOW).exit_code == 6


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("signed by: ada as approver", "signed by: the board as approver"),
        ("- outcome: no", "- outcome: yes"),
        ("- indicative status of the model: open", "- indicative status of the model: not general-purpose"),
        ("- indicative reading: the intended purpose did not change", "- indicative reading: nothing changed"),
        ("Not legal advice.", "Approved by the authority."),
        ("Form 2 of this file", "This file"),
        ("- statement: ", "- statement:  "),
    ],
)
def test_an_edited_file_of_decisions_is_broken_and_named(decided: Copy, old: str, new: str) -> None:
    file = decided.file
    text = file.read_text("utf-8")
    line = text[: text.index(old)].count("\n") + 1
    file.write_text(text.replace(old, new, 1), "utf-8")
    outcome = decided.verified()
    assert outcome.exit_code == 6
    (statements,) = [check for check in outcome.checks if check.step == "statements"]
    assert (statements.error, statements.detail) == ("decisions-changed", (f"changed: {FILE}, from line {line}",))


def test_a_file_of_a_later_form_is_not_verified_and_accuses_nobody(decided: Copy) -> None:
    file = decided.file
    file.write_text(file.read_text("utf-8").replace("Form 2 of", "Form 3 of"), "utf-8")
    outcome = decided.verified()
    assert outcome.exit_code == 5
    assert "of form 3, which a later release writes" in outcome.unchecked_text


@pytest.mark.parametrize("kind", ["modification", "approval"])
def test_where_a_statement_was_left_out_the_file_is_not_verified_and_accuses_nobody(decided: Copy, kind: str) -> None:
    statements = decided.folder / "evidence" / "statements.intoto.jsonl"
    lines = statements.read_bytes().splitlines(keepends=True)
    urn = f"urn:peft-registry:{kind}:".encode()
    left_out = [line for line in lines if urn in base64.b64decode(json.loads(line)["payload"])][-1]
    statements.write_bytes(b"".join(line for line in lines if line != left_out))
    outcome = decided.verified()
    assert outcome.exit_code == 5
    assert f"{FILE} cannot be held against statements that are not here" in str(outcome.checks)


def test_what_follows_from_a_record_of_a_newer_edition_is_not_held_against_the_file_and_all_else_is(
    decided: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Editions, "standing", lambda *_: "newer")
    file = decided.file
    text = file.read_text("utf-8")
    file.write_text(
        text.replace("of the model: open", "of the model: set by it").replace("did not change", "changed"), "utf-8"
    )
    assert decided.verified().verdict == "verified"
    file.write_text(text.replace("ada as approver", "the board as approver"), "utf-8")
    assert decided.verified().exit_code == 6


def test_what_is_loaded_or_sent_to_the_hub_has_no_such_file_unless_records_go_with_it(
    registry: Registry, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    set_alias(registry, version, "champion", reason="first release")
    pull_version(registry, version, tmp_path / "loaded")
    assert not (tmp_path / "loaded" / FILE).exists()
    for with_records in (False, True):
        sent = publish_version(registry, version, "lab/sums", dry_run=True, with_records=with_records)
        assert (FILE in dict(sent.files)) == with_records
