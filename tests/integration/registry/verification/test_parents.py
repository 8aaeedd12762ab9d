"""What a version was made from is verified with it, where it is here; without a key nobody can change it unnoticed."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases import verify
from peft_registry.registry.use_cases.pull import PullRefused, pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.verify import Requirements, verifier, verify_folder, verify_version
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Check, VerifyOutcome, Version
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, reopened
from tests.builders.lineage import register_made_from, register_merge
from tests.builders.made import trained_artifact

PARENTS = 10


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge of ten adapters, one of which was trained on from another."""
    folder = tmp_path_factory.mktemp("merge")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        parts: list[Version] = []
        for number in range(PARENTS):
            start = parts[:1] if number == 1 else ()
            parts.append(
                register_made_from(
                    registry, folder / f"part-{number}", base, start, name=f"part-{number}", value=number / 16
                )
            )
        register_merge(registry, folder / "merged", base, parts, name="merged", value=0.5)
    return folder


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Iterator[Registry]:
    opened = reopened(Path(shutil.copytree(made / "home", tmp_path / "home")))
    yield opened
    opened.close()


def stored_file(registry: Registry, label: str, name: str) -> Path:
    manifest = read_manifest(registry.store.read_bytes(version_named(registry, label).manifest_digest))
    path = registry.store.local_path(next(entry.sha256 for entry in manifest.files if entry.path == name))
    assert path is not None
    return path


def flip_a_bit(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def parents_of(outcome: VerifyOutcome) -> Check:
    return next(check for check in outcome.checks if check.step == "parents")


def flip_a_weight(registry: Registry) -> str:
    flip_a_bit(stored_file(registry, "part-7", "adapter_model.safetensors"))
    return "files"


def replace_the_config_of_all(registry: Registry) -> str:
    path = stored_file(registry, "part-7", "adapter_config.json")
    path.unlink()
    path.write_bytes(b"{}")
    return "files"


def flip_the_manifest(registry: Registry) -> str:
    path = registry.store.local_path(version_named(registry, "part-7").manifest_digest)
    assert path is not None
    flip_a_bit(path, 40)
    return "read"


def strip_a_statement(registry: Registry) -> str:
    subject = version_named(registry, "part-7").manifest_digest
    with MadeHome(registry.folder).rows() as rows:
        rows.run("DELETE FROM statements WHERE kind = 'modification' AND subject = :subject", subject=f"{subject}")
    return "read"


@pytest.mark.parametrize("attack", [flip_a_weight, replace_the_config_of_all, flip_the_manifest, strip_a_statement])
def test_a_merge_whose_stored_parent_was_changed_is_broken_and_the_parent_is_named(
    registry: Registry, attack: Callable[[Registry], str]
) -> None:
    step = attack(registry)
    outcome = verify_version(registry, version_named(registry, "merged"))
    assert outcome.exit_code == 6
    parents = parents_of(outcome)
    assert (parents.status, parents.error) == ("failed", "parent-broken")
    named = [line for line in parents.detail if line.startswith(f"part-7:1 {step}: ")]
    assert len(named) == 1, parents.detail
    others = {line.partition(":")[0] for line in parents.detail} - {"part-7"}
    assert len(others) == (PARENTS - 1 if attack is replace_the_config_of_all else 0)


def test_a_pull_of_a_merge_whose_stored_parent_was_changed_is_refused(registry: Registry, tmp_path: Path) -> None:
    flip_a_weight(registry)
    with pytest.raises(PullRefused, match="part-7:1"):
        pull_version(registry, version_named(registry, "merged"), tmp_path / "pulled")


def test_a_parent_whose_row_was_removed_cannot_be_passed_off_as_never_registered(registry: Registry) -> None:
    flip_a_weight(registry)
    with MadeHome(registry.folder).rows() as rows:
        rows.run("DELETE FROM versions WHERE name = 'part-7'")
    outcome = verify_version(registry, version_named(registry, "merged"))
    assert outcome.exit_code == 6
    assert "the catalogue has no version of it" in str(parents_of(outcome).detail)


def test_rows_that_name_other_parents_than_the_manifest_are_contradicted(registry: Registry) -> None:
    with MadeHome(registry.folder).rows() as rows:
        rows.run("DELETE FROM artifact_parents WHERE role = 'adapter' AND rowid % 2 = 0")
    outcome = verify_version(registry, version_named(registry, "merged"))
    assert outcome.exit_code == 6
    assert {check.error for check in outcome.checks if check.status == "failed"} == {"catalog-contradicted"}


def test_parents_that_nobody_changed_are_verified_with_the_version(registry: Registry) -> None:
    outcome = verify_version(registry, version_named(registry, "merged"))
    assert outcome.verdict == "verified", outcome
    assert (parents_of(outcome).status, parents_of(outcome).text) == ("ok", f"{PARENTS} registered here")


def test_parents_that_are_not_here_stay_recorded(registry: Registry, tmp_path: Path) -> None:
    pull_version(registry, version_named(registry, "merged"), tmp_path / "pulled")
    outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    assert (outcome.verdict, parents_of(outcome).status) == ("verified", "recorded")


def test_a_parent_whose_bytes_the_store_lost_is_unchecked_and_named(registry: Registry) -> None:
    stored_file(registry, "part-7", "adapter_model.safetensors").unlink()
    parents = parents_of(verify_version(registry, version_named(registry, "merged")))
    assert (parents.status, parents.error) == ("unchecked", "parent-unverified")
    assert parents.detail[0].startswith("part-7:1 files: ")


def test_a_file_that_many_parents_share_is_hashed_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft_registry.registry.disk.files import OpenFile

    read: list[Path] = []
    blocks = OpenFile.blocks

    def counted(file: OpenFile, begin: int, end: int) -> Iterator[bytes]:
        if begin == 0:
            read.append(file.path)
        return blocks(file, begin, end)

    monkeypatch.setattr(OpenFile, "blocks", counted)
    shared = stored_file(registry, "part-3", "adapter_config.json")
    verify_version(registry, version_named(registry, "merged"))
    assert read.count(shared) == 1


def test_versions_that_are_verified_together_verify_as_each_alone_and_a_parent_among_them_is_judged_once(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_a_weight(registry)
    labels = [*(f"part-{number}" for number in range(PARENTS)), "merged"]
    alone = {label: verify_version(registry, version_named(registry, label)) for label in labels}
    judged: list[str] = []
    present = verify.present_version
    monkeypatch.setattr(
        verify,
        "present_version",
        lambda registry, version, *rest, **named: (
            judged.append(version.name),
            present(registry, version, *rest, **named),
        )[1],
    )
    with verifier(registry) as together, registry.database.reading():
        assert {label: together(version_named(registry, label)) for label in labels} == alone
    assert alone["merged"].verdict == alone["part-7"].verdict == "broken"
    # what verified is not judged again as a parent; what did not is
    assert sorted(judged) == sorted([*labels, "part-7"])


def test_a_weights_file_that_is_proven_by_its_tensors_can_be_asked_for_its_own_digest(
    registry: Registry, tmp_path: Path
) -> None:
    """Only who signs can list tensors and a file digest that do not belong together."""
    base = add_a_base(registry, tmp_path / "base", mode="copy")
    artifact = an_artifact(tmp_path / "lying", base, name="lying", value=0.875)
    other = Digest.of(b"another file")
    entries = tuple(
        entry.revised(sha256=other) if entry.path == "adapter_model.safetensors" else entry
        for entry in artifact.manifest.files
    )
    manifest = artifact.manifest.revised(files=entries)
    weights = (tmp_path / "lying" / "adapter_model.safetensors").read_bytes()
    registry.store.put_bytes(b"another file")
    version = register_version(registry, trained_artifact("lying", artifact.folder, manifest, base, artifact.card))
    path = registry.store.local_path(other)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(weights)
    assert verify_version(registry, version).verdict == "verified"
    outcome = verify_version(registry, version, require=Requirements(file_digests=True))
    assert outcome.exit_code == 6
    assert "adapter_model.safetensors" in next(check for check in outcome.checks if check.step == "files").detail[0]
