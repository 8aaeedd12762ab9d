"""A pulled folder shows that its statements are all that were made, up to a checkpoint: nobody can leave one out unnoticed."""

import base64
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.transparency import note
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import TEST_RESULT
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.homes import NOW, a_home, register_adapter

STATEMENTS = "evidence/statements.intoto.jsonl"
INPUTS = "evidence/inputs.intoto.jsonl"
PROOF = "evidence/complete.tlog-proof"
SUCCESS = {"result": "PASSED", "configuration": []}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version, Path, Path]]:
    """A registry, a version of it, and two pulled copies: one from before a later statement was made, and one from after it."""
    folder = tmp_path_factory.mktemp("home")
    with a_home(folder / "home") as registry:
        version = register_adapter(registry, folder)
        before, after = folder / "before", folder / "after"
        pull_version(registry, version, before)
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="test-result",
            predicate=SUCCESS | {"nonce": "1"},
            signer=registry.trainer_key,
        )
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="evaluation-plan",
            predicate={"plan_sha256": str(Digest.of(b"{}")), "policy_sha256": str(Digest.of(b"p")), "plan": {}},
            signer=registry.trainer_key,
        )
        pull_version(registry, version, after)
        yield registry, version, before, after


def verified(home: tuple[Registry, Version, Path, Path], folder: Path) -> VerifyOutcome:
    """As somebody with the trust file alone."""
    return verify_folder(folder, trust=home[0].trust, now=NOW)


def check(outcome: VerifyOutcome, step: str) -> tuple[str, str | None]:
    found = next(one for one in outcome.checks if one.step == step)
    return found.status, found.error


@pytest.mark.parametrize("copy", [2, 3], ids=["before", "after"])
def test_a_whole_folder_says_up_to_when_it_is_complete(home, copy, tmp_path) -> None:
    outcome = verified(home, home[copy])
    assert outcome.verdict == "verified", outcome
    statements = next(one for one in outcome.checks if one.step == "statements")
    assert f"all that were made up to {NOW}" in statements.text


def test_each_signature_of_a_folder_is_verified_once_a_text(home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What several steps of the checklist need of a proof is found out once."""
    verified_by: Counter[tuple[bytes, bytes]] = Counter()
    check_signature = PublicKey.verify

    def counted(key: PublicKey, signature: bytes, message: bytes) -> bool:
        is_good = check_signature(key, signature, message)
        verified_by[signature, message] += is_good
        return is_good

    trust = home[0].trust
    monkeypatch.setattr(PublicKey, "verify", counted)
    outcome = verify_folder(home[3], trust=trust, now=NOW)
    assert outcome.verdict == "verified", outcome
    statements = sum(len((home[3] / name).read_bytes().splitlines()) for name in (STATEMENTS, INPUTS))
    checkpoint = (home[3] / PROOF).read_text().partition("\n\n")[2]
    assert (home[3] / "evidence" / "log.tlog-proof").read_text().partition("\n\n")[2] == checkpoint
    signed = note.checkpoint_text(**checkpoint_fields(checkpoint)).encode()
    times = {message: count for (_, message), count in verified_by.items()}
    assert times.pop(signed) == 2  # by the proof of the entry, and by that of the list
    assert sorted(times.values()) == [1] * (statements + 1)  # and the listing of the folder


def checkpoint_fields(text: str) -> dict[str, Any]:
    origin, size, root = note.read_unverified(text)
    return {"origin": origin, "size": size, "root": root}


def without_last_line(folder: Path) -> None:
    path = folder / STATEMENTS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def test_a_later_statement_that_was_left_out_is_missed(home, tmp_path) -> None:
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    without_last_line(folder)
    outcome = verified(home, folder)
    assert outcome.verdict == "unverified"
    assert check(outcome, "statements") == ("unchecked", "statements-withheld")


def without_kind(folder: Path, kind: str) -> None:
    path = folder / STATEMENTS
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if f"{kind}/".encode() not in base64.b64decode(json.loads(line)["payload"])]
    assert len(kept) == len(lines) - 1
    path.write_bytes(b"".join(kept))


def test_the_result_of_a_test_that_was_left_out_is_missed(home, tmp_path) -> None:
    """It may have failed."""
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    without_kind(folder, "test-result")
    outcome = verified(home, folder)
    assert outcome.verdict == "unverified"
    assert check(outcome, "statements") == ("unchecked", "statements-withheld")


def test_a_later_card_that_was_left_out_is_missed_and_named(home, tmp_path) -> None:
    registry, version = home[:2]
    say_more = registry.nonce()
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="card",
        predicate={"path": "README.md", "sha256": str(Digest.of(say_more.encode()))},
        signer=registry.trainer_key,
    )
    folder = tmp_path / "pulled"
    pull_version(registry, version, folder)
    without_last_line(folder)
    outcome = verified(home, folder)
    assert check(outcome, "statements") == ("unchecked", "statements-withheld")
    statements = next(one for one in outcome.checks if one.step == "statements")
    assert statements.detail[0].startswith("card sha256:")


def test_a_folder_without_its_proof_does_not_show_that_it_is_complete(home, tmp_path) -> None:
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    without_last_line(folder)
    (folder / PROOF).unlink()
    outcome = verified(home, folder)
    assert outcome.verdict == "unverified"
    assert check(outcome, "statements") == ("unchecked", "completeness-not-shown")


def test_the_proof_of_an_earlier_checkpoint_does_not_cover_a_later_statement(home, tmp_path) -> None:
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    shutil.copy(home[2] / PROOF, folder / PROOF)
    outcome = verified(home, folder)
    assert outcome.verdict == "broken"
    assert check(outcome, "statements") == ("failed", "statement-not-logged")


def test_the_proof_of_another_artifact_proves_nothing(home, tmp_path) -> None:
    other = register_adapter(home[0], tmp_path, name="other", value=3.5)
    pull_version(home[0], other, tmp_path / "other-pulled")
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    shutil.copy(tmp_path / "other-pulled" / PROOF, folder / PROOF)
    assert verified(home, folder).verdict == "broken"


@pytest.mark.parametrize("line", range(6))
def test_a_proof_that_was_edited_is_broken(home, tmp_path, line) -> None:
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    lines = (folder / PROOF).read_text().split("\n")
    edited = lines[line]
    place = len(edited) // 2
    lines[line] = edited[:place] + ("A" if edited[place : place + 1] != "A" else "B") + edited[place + 1 :]
    (folder / PROOF).write_text("\n".join(lines))
    assert verified(home, folder).verdict == "broken"


@pytest.mark.parametrize("name", ["evidence/notes.txt", "evidence/keys/extra.pub", "evidence/more/approval.json"])
def test_evidence_holds_what_is_named_and_nothing_else(home, tmp_path, name) -> None:
    folder = Path(shutil.copytree(home[3], tmp_path / "copy"))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("approved\n")
    assert verified(home, folder).verdict == "broken"


def test_a_folder_that_was_pulled_while_pending_says_that_it_is(home, tmp_path) -> None:
    assert TEST_RESULT  # the kind that was appended above is one that other tools read
    with a_home(tmp_path / "home") as registry:
        (registry.folder / "keys" / "log.key").unlink()
        version = register_adapter(registry, tmp_path)
        pull_version(registry, version, tmp_path / "pulled")
        outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    assert outcome.verdict == "unverified"
    assert check(outcome, "statements") == ("unchecked", "completeness-not-shown")
    assert check(outcome, "log") == ("unchecked", "log-pending")
