"""`evidence/DECISIONS.md` of a copy that is handed out: dated, signed by nobody, and beside a card that stays as it was signed."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.decide import decide_question
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.hold import hold
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.publish import publish_version
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_folder
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


def test_a_copy_says_what_was_decided_as_of_when_and_that_nobody_signed_it(registry: Registry, tmp_path: Path) -> None:
    version = version_named(registry, "sums")
    pull_version(registry, version, tmp_path / "before", with_decisions=True)
    assert not (tmp_path / "before" / FILE).exists(), "nobody decided anything"
    file = tmp_path / "bank.yml"
    file.write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
    policy = read_gate_policy(str(file))
    approve(registry, version, policy, ALEX, reason=HOSTILE)
    decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason="as it was")
    hold(registry, "sums", ALEX, reason="case 7", until=date(2026, 12, 24))
    set_alias(registry, version, "champion", reason="first release")
    folder = tmp_path / "after"
    assert pull_version(registry, version, folder, with_decisions=True).verdict == "verified"
    text = (folder / FILE).read_text("utf-8")
    assert text.startswith(f"# Decisions about sums:1, as of {NOW}\n")
    assert f"({covered_size(registry)} entries, root `" in text and "**Nobody signed this file.**" in text
    assert f"| purpose | no | ada; key {ALEX.public.key_id[:12]}… | {NOW[:10]} | bank | as it was | counts |" in text
    assert "until 2026-12-24: case 7" in text and "## Indicative status" in text
    assert "<script" not in text and "\n# Approved" not in text and "[x](" not in text
    assert (folder / "README.md").read_bytes() == (tmp_path / "before" / "README.md").read_bytes()
    (folder / FILE).write_text("# Approved by everybody\n", "utf-8")
    outcome = verify_folder(folder, trust=registry.trust, now=NOW)
    assert outcome.verdict == "verified"
    (statements,) = [check for check in outcome.checks if check.step == "statements"]
    assert f"{FILE} is signed by nobody and proves nothing: read the statements" in statements.detail
    (folder / "evidence" / "APPROVED.md").write_text("# Approved\n", "utf-8")
    assert verify_folder(folder, trust=registry.trust, now=NOW).verdict == "broken"


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
