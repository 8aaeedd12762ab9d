"""`registry verify --deep`: a verdict at each artifact that something was made from, and nothing believed that rows alone say."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.disk.files import OpenFile
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import Examiner, Requirements, verify_folder_lineage, verify_lineage
from peft_registry.registry.verification.deep import CheckedArtifact, walk
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Parent
from peft_registry.schemas.version import LineageOutcome, VerifyOutcome
from tests.builders.backends import MadeHome
from tests.builders.homes import a_home, add_a_base, reopened
from tests.builders.lineage import register_made_from, register_merge
from tests.builders.records import a_manifest
from tests.integration.registry.verification.test_parents import flip_a_bit, stored_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """first → second → merged ← third, all on tiny, whose files lie in a folder of their own."""
    folder = tmp_path_factory.mktemp("lineage")
    with a_home(folder / "home", now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base")
        first = register_made_from(registry, folder / "1", base, (), name="first", value=0.25)
        second = register_made_from(registry, folder / "2", base, (first,), name="second", value=0.5)
        third = register_made_from(registry, folder / "3", base, (), name="third", value=0.75)
        register_merge(registry, folder / "4", base, (second, third), name="merged", value=1.0)
    return folder


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Iterator[Registry]:
    """A copy of the home and, where `bases.json` says that it lies, of the base."""
    home = Path(shutil.copytree(made / "home", tmp_path / "home"))
    shutil.copytree(made / "base", tmp_path / "base")
    (home / "bases.json").write_text((home / "bases.json").read_text().replace(str(made), str(tmp_path)))
    opened = reopened(home, now=utc_now())
    yield opened
    opened.close()


def deep(registry: Registry, label: str = "merged", **required: bool) -> LineageOutcome:
    return verify_lineage(registry, version_named(registry, label), require=Requirements(**required))


def verdicts(outcome: LineageOutcome) -> dict[str, str]:
    return {node.label: node.verdict for node in outcome.nodes}


def test_every_artifact_of_a_lineage_has_a_verdict_sources_first(registry: Registry) -> None:
    outcome = deep(registry)
    assert outcome.verdict == "verified"
    assert verdicts(outcome) == dict.fromkeys(["tiny:1", "first:1", "second:1", "third:1", "merged:1"], "verified")
    labels = [node.label for node in outcome.nodes]
    assert labels[0] == "tiny:1"
    assert labels[-1] == "merged:1"
    assert labels.index("first:1") < labels.index("second:1")
    assert all(node.checks == () for node in outcome.nodes)


def test_a_bit_flipped_two_steps_away_is_broken_at_that_artifact_and_nowhere_else(registry: Registry) -> None:
    flip_a_bit(stored_file(registry, "first", "adapter_model.safetensors"))
    outcome = deep(registry)
    assert outcome.exit_code == 6
    assert [label for label, verdict in verdicts(outcome).items() if verdict != "verified"] == ["first:1"]
    node = next(node for node in outcome.nodes if node.label == "first:1")
    assert {check.step for check in node.checks} == {"files", "tensors"}
    assert "lora_B" in str(node.checks)


def test_a_flipped_bit_of_the_base_is_named_at_the_base_and_where_it_is_pinned(
    registry: Registry, tmp_path: Path
) -> None:
    flip_a_bit(tmp_path / "base" / "model.safetensors")
    outcome = deep(registry)
    assert outcome.exit_code == 6
    assert verdicts(outcome)["tiny:1"] == "broken"


def test_an_artifact_that_could_not_be_checked_leaves_the_whole_unverified(registry: Registry) -> None:
    stored_file(registry, "first", "adapter_model.safetensors").unlink()
    outcome = deep(registry)
    assert outcome.exit_code == 5
    assert verdicts(outcome)["first:1"] == "unverified"


def test_a_base_whose_folder_is_elsewhere_is_recorded_unless_its_bytes_are_required(
    registry: Registry, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "base")
    outcome = deep(registry)
    assert (outcome.verdict, verdicts(outcome)["tiny:1"]) == ("verified", "recorded")
    assert deep(registry, base_bytes=True).exit_code == 5


def test_a_file_of_the_base_that_is_gone_is_not_the_same_as_a_base_elsewhere(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "base" / "tokenizer_config.json").unlink()
    assert deep(registry).exit_code != 0


def test_a_version_whose_row_was_removed_is_broken_and_not_missing(registry: Registry) -> None:
    with MadeHome(registry.folder).rows() as rows:
        rows.run("DELETE FROM versions WHERE name = 'first'")
    outcome = deep(registry)
    assert outcome.exit_code == 6
    assert "the catalogue has no version of it" in str(outcome.nodes)


def test_a_version_that_was_renumbered_is_broken(registry: Registry) -> None:
    with MadeHome(registry.folder).rows() as rows:
        rows.run("UPDATE versions SET number = 7 WHERE name = 'first'")
    assert deep(registry).exit_code == 6


def test_rows_that_lead_in_a_circle_are_contradicted_and_the_walk_ends(registry: Registry) -> None:
    first, merged = (f"{version_named(registry, name).manifest_digest}" for name in ("first", "merged"))
    with MadeHome(registry.folder).rows() as rows:
        rows.run("INSERT INTO artifact_parents VALUES (:first, :merged, 'start')", first=first, merged=merged)
    outcome = deep(registry)
    assert outcome.exit_code == 6
    assert "in the catalogue, and not in the manifest" in str(outcome.nodes)


def test_a_circle_ends_with_every_artifact_shown() -> None:
    """No two manifests can hold each other's digest; were there any, the walk would not go round."""
    left, right = Digest.of(b"left"), Digest.of(b"right")

    def checked(digest: Digest) -> CheckedArtifact:
        other = right if digest == left else left
        outcome = VerifyOutcome(subject=digest.short, manifest_digest=digest, verdict="verified", checks=())
        return CheckedArtifact(
            outcome, a_manifest(base=None, parents=(Parent(role="start", manifest=other),)), "verified"
        )

    outcome = walk(checked(left), checked, digest=left)
    assert {node.digest for node in outcome.nodes} == {left, right}


def test_what_was_never_registered_here_is_recorded_and_said_so(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pull_version(registry, version_named(registry, "merged"), tmp_path / "pulled")
    with a_home(tmp_path / "other", now=utc_now()) as other:
        outcome = verify_folder_lineage(tmp_path / "pulled", Examiner(registry.trust, registry.clock(), registry=other))
    assert outcome.verdict == "verified"
    assert [node.verdict for node in outcome.nodes] == ["recorded"] * 3 + ["verified"]
    trust = str(registry.folder / "trust.json")
    assert run(["verify", str(tmp_path / "pulled"), "--deep", "--trust", trust]) == 0
    assert "not registered here" in capsys.readouterr().out


def test_each_file_is_read_once_however_many_artifacts_have_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[tuple[Path, int]] = Counter()
    blocks = OpenFile.blocks

    def counted(file: OpenFile, begin: int, end: int) -> Iterator[bytes]:
        # a header is parsed anew by whoever needs to know where the tensors are
        is_header = file.path.read_bytes()[8:10] == b'{"' and begin <= 8
        if not is_header:
            read[file.path, begin] += 1
        return blocks(file, begin, end)

    monkeypatch.setattr(OpenFile, "blocks", counted)
    deep(registry)
    assert sum(path.name == "model.safetensors" for path, _ in read) == 1  # all behind its header, in one run
    in_store = {place: count for place, count in read.items() if registry.folder / "objects" in place[0].parents}
    assert len(in_store) >= 9  # seven tensors and two configurations
    assert {f"{place}": count for place, count in in_store.items() if count > 1} == {}
    assert {count for place, count in read.items() if place[0].name == "model.safetensors"} == {1}


def test_the_command_prints_each_verdict_and_ends_as_the_worst(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(registry.folder)
    assert run(["verify", "merged", "--deep", "--home", home]) == 0
    text = capsys.readouterr().out
    assert "5 verified" in text
    flip_a_bit(stored_file(registry, "first", "adapter_model.safetensors"))
    assert run(["verify", "merged", "--deep", "--home", home]) == 6
    text = capsys.readouterr().out
    assert "1 broken" in text
    assert "adapter_model.safetensors" in text
    assert run(["verify", "merged", "--deep", "--home", home, "-o", "json"]) == 6
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "broken"
    assert {node["label"]: node["verdict"] for node in document["nodes"]}["first:1"] == "broken"
