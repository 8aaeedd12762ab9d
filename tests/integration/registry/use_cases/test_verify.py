"""Verification of pulled folders and versions: what passes, what is broken, what could not be checked."""

import json
import shutil
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.storage.interface import ObjectMissing
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.verify import Requirements, verify_folder, verify_version
from peft_registry.registry.verification.presented import NotAnArtifact
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Advanced, Event, Started
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.homes import NOW, a_home, base_files, register_adapter


def check(registry: Registry, folder: Path, **options: object) -> VerifyOutcome:
    return verify_folder(folder, trust=registry.trust, now=NOW, **options)  # type: ignore[arg-type]


def status(outcome: VerifyOutcome) -> dict[str, str]:
    return {one.step: one.status for one in outcome.checks}


def test_a_registered_version_is_verified_with_every_check_ok(registry: Registry, version: Version) -> None:
    outcome = verify_version(registry, version)
    assert outcome.verdict == "verified", outcome
    assert set(status(outcome).values()) == {"ok"}
    assert [one.step for one in outcome.checks] == [
        "read", "signature", "trust", "policy", "files", "tensors", "base", "statements", "log", "parents"
    ]  # fmt: skip


def test_bytes_of_weights_are_told_while_they_are_hashed(registry: Registry, version: Version, tmp_path: Path) -> None:
    """140 GB of a base take minutes: whoever waits sees how far it is, when it is added and when it is verified."""
    said: list[Event] = []
    origin = BaseOrigin(format="huggingface", source="b")
    added = add_base(registry, base_files(tmp_path / "other", seed=5), name="other", origin=origin, observe=said.append)
    verify_version(registry, added.version, observe=said.append)
    size = (tmp_path / "other" / "model.safetensors").stat().st_size
    assert Started("hash", total=size, unit="B") in said
    for step in ("hash", "verify"):
        done = [event.done for event in said if isinstance(event, Advanced) and event.step == step]
        assert done == sorted(done) and size // 2 < done[-1] <= 2 * size


def test_a_pulled_folder_is_verified_with_only_the_trust_file(registry: Registry, pulled: Path) -> None:
    outcome = check(registry, pulled)
    assert outcome.verdict == "verified"
    assert status(outcome)["base"] == "recorded"


def test_the_name_of_a_file_is_answered_with_what_is_verified(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever types it sees the file lie there: that nothing has its name would be no answer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tickets.csv").write_text("text,label\n")
    assert run(["verify", "tickets.csv", "--home", str(registry.folder)]) == 7
    said = capsys.readouterr().err
    assert "it is a file; `registry verify` takes a version, or a folder that holds one" in said
    assert "NAME:NUMBER, or a folder that `registry pull` wrote" in said
    assert run(["verify", "nothing", "--home", str(registry.folder)]) == 7
    assert "nothing has the name 'nothing'" in capsys.readouterr().err


def test_without_trust_nothing_is_verified_and_nobody_accused(pulled: Path) -> None:
    outcome = verify_folder(pulled, trust=None, now=NOW)
    assert outcome.exit_code == 5
    assert "failed" not in status(outcome).values()


def test_required_base_bytes_that_are_elsewhere_leave_it_unverified(registry: Registry, pulled: Path) -> None:
    assert check(registry, pulled, require=Requirements(base_bytes=True)).exit_code == 5


def test_the_right_base_satisfies_required_base_bytes(registry: Registry, pulled: Path, tmp_path: Path) -> None:
    outcome = check(registry, pulled, require=Requirements(base_bytes=True), base=tmp_path / "base")
    assert outcome.exit_code == 0


def flips() -> list[str]:
    return [
        "adapter_model.safetensors",
        "adapter_config.json",
        "manifest.json",
        "model.sig",
        "evidence/statements.intoto.jsonl",
    ]


@pytest.mark.parametrize("name", flips())
def test_any_flipped_bit_in_a_signed_file_is_broken_and_named(registry: Registry, pulled: Path, name: str) -> None:
    path = pulled / name
    original = path.read_bytes()
    positions = sorted({0, 1, len(original) // 3, len(original) // 2, len(original) - 2, len(original) - 1})
    for position in positions:
        for bit in (0, 3, 6):
            data = bytearray(original)
            data[position] ^= 1 << bit
            if data == original or (name.endswith("jsonl") and position == len(original) - 1):
                continue
            path.write_bytes(bytes(data))
            outcome = check(registry, pulled)
            assert outcome.exit_code == 6, (name, position, bit, outcome)
            said = json.dumps(outcome.model_dump(mode="json"))
            assert Path(name).name in said or "lora_" in said or "statement" in said
    path.write_bytes(original)
    assert check(registry, pulled).exit_code == 0


def test_a_flipped_weight_names_the_tensor(registry: Registry, pulled: Path) -> None:
    path = pulled / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    tensors = next(one for one in check(registry, pulled).checks if one.step == "tensors")
    assert "lora_B.weight" in tensors.detail[0]


def test_a_flipped_bit_in_the_base_is_broken_and_named(registry: Registry, pulled: Path, tmp_path: Path) -> None:
    weights = tmp_path / "base" / "model.safetensors"
    original = weights.read_bytes()
    for position, named in ((-1, "has other values"), (12, "model.safetensors"), (0, "model.safetensors")):
        data = bytearray(original)
        data[position] ^= 1
        weights.write_bytes(bytes(data))
        for known, base_folder in ((registry, None), (None, tmp_path / "base")):
            outcome = verify_folder(pulled, trust=registry.trust, now=NOW, base=base_folder, registry=known)
            assert outcome.exit_code == 6
            base = next(one for one in outcome.checks if one.step == "base")
            said = " ".join((*base.detail, base.text))
            assert named in said or (known is None and "model.safetensors" in said), said
    weights.write_bytes(original)
    assert verify_folder(pulled, trust=registry.trust, now=NOW, registry=registry).exit_code == 0


def test_a_changed_config_of_the_base_is_broken_and_only_it_is_named(
    registry: Registry, pulled: Path, tmp_path: Path
) -> None:
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"hidden_size": 8', '"hidden_size": 9'))
    outcome = check(registry, pulled, base=tmp_path / "base")
    base = next(one for one in outcome.checks if one.step == "base")
    assert outcome.exit_code == 6
    assert [line.partition(":")[0] for line in base.detail] == ["config"]


def test_changed_missing_and_extra_files_are_three_named_lines(registry: Registry, pulled: Path) -> None:
    (pulled / "adapter_config.json").unlink()
    (pulled / "surprise.txt").write_text("hello")
    (pulled / "adapter_model.safetensors").write_bytes(b"x")
    lines = [line for one in check(registry, pulled).checks for line in one.detail]
    assert "extra: surprise.txt" in lines
    assert "missing: adapter_config.json" in lines
    assert any(line.startswith("changed: adapter_model.safetensors") for line in lines)


def test_an_edited_card_is_broken_and_named(registry: Registry, pulled: Path) -> None:
    card = pulled / "README.md"
    card.write_text(f"{card.read_text('utf-8')}\n- Intended: medical diagnosis\n", "utf-8")
    outcome = check(registry, pulled)
    assert outcome.exit_code == 6
    (statements,) = [one for one in outcome.checks if one.step == "statements"]
    assert (statements.error, statements.detail) == ("card-changed", ("changed: README.md",))


def test_a_card_that_was_taken_away_accuses_nobody_and_is_not_verified(registry: Registry, pulled: Path) -> None:
    (pulled / "README.md").unlink()
    outcome = check(registry, pulled)
    assert outcome.exit_code == 5
    assert "README.md is signed, and not here" in outcome.unchecked_text


def test_a_folder_resigned_by_a_stranger_with_its_own_trust_is_never_verified(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    with a_home(tmp_path / "stranger") as stranger:
        theirs = register_adapter(stranger, tmp_path / "theirs", value=0.5)
        folder = tmp_path / "resigned"
        pull_version(stranger, theirs, folder)
        shutil.copy(tmp_path / "stranger" / "trust.json", folder / "evidence" / "trust.json")
    outcome = check(registry, folder)
    assert outcome.exit_code == 5
    assert status(outcome)["trust"] == "unchecked"


def test_a_strangers_signature_over_our_statements_is_never_verified(
    registry: Registry, pulled: Path, tmp_path: Path
) -> None:
    with a_home(tmp_path / "stranger") as stranger:
        theirs = register_adapter(stranger, tmp_path / "theirs", value=0.5)
        pull_version(stranger, theirs, tmp_path / "resigned")
    shutil.copy(tmp_path / "resigned" / "model.sig", pulled / "model.sig")
    assert check(registry, pulled).exit_code != 0


def test_a_withheld_statement_is_noticed(registry: Registry, pulled: Path) -> None:
    path = pulled / "evidence" / "statements.intoto.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    outcome = check(registry, pulled)
    assert outcome.exit_code == 5
    assert status(outcome)["statements"] == "unchecked"


def test_a_statement_of_another_artifact_is_broken(registry: Registry, pulled: Path, tmp_path: Path) -> None:
    other = register_adapter(registry, tmp_path, name="other", value=0.25)
    pull_version(registry, other, tmp_path / "other")
    path = pulled / "evidence" / "statements.intoto.jsonl"
    path.write_bytes(path.read_bytes() + (tmp_path / "other" / "evidence" / path.name).read_bytes())
    assert check(registry, pulled).exit_code == 6


def test_a_statement_appended_later_travels_and_verifies(registry: Registry, version: Version, tmp_path: Path) -> None:
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="test-result",
        predicate={"result": "PASSED", "configuration": []},
        signer=registry.trainer_key,
    )
    pull_version(registry, version, tmp_path / "later")
    outcome = check(registry, tmp_path / "later")
    assert outcome.verdict == "verified"
    assert "6 bound" in next(one.text for one in outcome.checks if one.step == "statements")


def test_links_and_devices_in_a_folder_are_broken_before_anything_is_read(registry: Registry, pulled: Path) -> None:
    (pulled / "link").symlink_to("/etc/hostname")
    outcome = check(registry, pulled)
    assert outcome.exit_code == 6
    assert status(outcome)["read"] == "failed"


def test_an_ordinary_folder_is_a_mistake_and_accuses_nobody(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "ordinary"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing that was ever registered", "utf-8")
    with pytest.raises(NotAnArtifact) as caught:
        check(registry, folder)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("left", ["model.sig", "evidence"])
def test_an_artifact_without_its_manifest_stays_broken(left: str, registry: Registry, pulled: Path) -> None:
    for path in list(pulled.iterdir()):
        if path.name != left:
            path.unlink() if path.is_file() else shutil.rmtree(path)
    assert check(registry, pulled).exit_code == 6


def test_a_pull_of_a_version_whose_bytes_the_store_lost_says_that(
    registry: Registry, version: Version, tmp_path: Path
) -> None:
    listed = read_manifest(registry.store.read_bytes(version.manifest_digest)).files
    lost = next(entry for entry in listed if entry.path == "adapter_model.safetensors").sha256
    path = registry.store.local_path(lost)
    assert path is not None
    path.unlink()
    with pytest.raises(ObjectMissing, match=str(lost)):
        pull_version(registry, version, tmp_path / "pulled")
