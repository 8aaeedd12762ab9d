"""`registry import` on a small base: what comes in and what it is called, what is refused and with which code."""

import json
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import FileChanged
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.weight_values import WeightsNotFinite
from peft_registry.registry.imports.adapterhub import AdapterHubFolder
from peft_registry.registry.imports.base_choice import (
    BaseToNameMissing,
    ImportBaseNotRegistered,
    ImportedOntoNoBase,
    choose_base,
)
from peft_registry.registry.imports.fit import AdapterOfAnotherBase
from peft_registry.registry.imports.offered import NothingToImport, offered_folder
from peft_registry.registry.imports.patterns import PatternRefused
from peft_registry.registry.imports.relation import ModelOfAnotherBase
from peft_registry.registry.imports.weights_scan import scan_weights
from peft_registry.registry.intake.json import MalformedInput
from peft_registry.registry.intake.model_code import CodeRefused
from peft_registry.registry.intake.paths import UnsafeInputPath
from peft_registry.registry.intake.peft_config import AdapterTypeUnknown
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.registry.intake.safetensors import MalformedWeights
from peft_registry.registry.intake.secrets import SecretRefused
from peft_registry.registry.mlflow.draining import projection_of
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.import_folder import (
    ImportOutcome,
    NameForSeveral,
    import_folders,
)
from peft_registry.registry.use_cases.import_near_results import ChangedResultAsImport
from peft_registry.registry.use_cases.import_plan import ImportRequest, PulledFolder
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import (
    ModificationRecordWrong,
    NewArtifact,
    ResultAsImport,
    register_version,
)
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.signed_versions import signed_page
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FILE_NAME
from peft_registry.schemas.progress import Event, Said
from tests.builders.homes import NOW, TOKENIZER, an_artifact, artifact_of, base_files
from tests.builders.imports import (
    LORA_CONFIG,
    MODULE,
    PICKLE,
    PRODUCERS,
    SEQ_BN,
    STATE,
    adapterhub_folder,
    axolotl_folder,
    lora_tensors,
    peft_folder,
    save_in_eight_bits,
    trl_folder,
    unsloth_folder,
)
from tests.builders.mirror import an_entry

GOLDEN = Path(__file__).parents[3] / "golden" / "import_gaps"
COMMIT = "1" * 40
OTHER_COMMIT = "2" * 40


@pytest.fixture
def base(registry: Registry, tmp_path: Path) -> AddedBase:
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    return add_base(registry, base_files(tmp_path / "base"), name="tiny", origin=origin, revision=COMMIT)


def imported(registry: Registry, *folders: Path, **request: Any) -> ImportOutcome:
    return import_folders(registry, ImportRequest(folders=folders, **request))[0]


def versions(registry: Registry) -> list[str]:
    with registry.database.read() as tx:
        return [version.label for version in catalog.list_versions(tx).versions]


# --- what comes in ---


@pytest.mark.parametrize("producer", PRODUCERS)
def test_each_producer_is_told_and_its_adapter_verifies_as_imported(
    registry: Registry, base: AddedBase, tmp_path: Path, producer: str
) -> None:
    outcome = imported(registry, PRODUCERS[producer](tmp_path / "helper"))
    assert outcome.record.producer == producer
    assert outcome.version.label == "helper:1"
    verified = verify_version(registry, outcome.version)
    assert verified.verdict == "verified", verified.failed_text
    assert "adapter, imported, layout peft" in " ".join(check.text for check in verified.checks)
    assert records_of(registry, outcome.version).imported == outcome.record


def test_what_was_imported_says_so_in_list_show_report_and_mlflow(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    version = imported(registry, trl_folder(tmp_path / "helper"), project="colours").version
    listed = next(row for row in signed_page(registry).versions if row.name == "helper")
    assert listed.origin == "imported"
    assert ("origin", "imported: made elsewhere, and nobody here saw how") in describe_version(
        registry, "helper"
    ).lines()
    assert ("project", "colours") in describe_version(registry, "helper").lines()
    page = make_report(registry, version).decode()
    assert "Imported: made elsewhere" in page
    assert "Found when it was imported" in page
    projection = projection_of(registry, an_entry(version, 1))
    assert projection.run.name == "import helper:1"
    assert dict(projection.version.tags)["registry.origin"] == "imported"


def test_a_trained_adapter_of_equal_files_is_another_artifact_and_says_nothing_of_an_import(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    artifact = an_artifact(tmp_path / "trained", base, name="trained")
    took_in = imported(registry, tmp_path / "trained", base="tiny", name="taken").version
    trained = register_version(registry, artifact)
    assert trained.weights_digest == took_in.weights_digest
    assert trained.manifest_digest != took_in.manifest_digest
    assert "origin" not in records_of(registry, trained).manifest.to_json()
    assert "origin" not in describe_version(registry, "trained").to_json()


def test_what_was_trained_here_is_not_imported_without_its_records(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    trained = register_version(registry, an_artifact(tmp_path / "trained", base, name="trained"))
    with pytest.raises(ResultAsImport) as refused:
        imported(registry, tmp_path / "trained", base="tiny", name="clean")
    assert trained.label in refused.value.what
    assert refused.value.exit_code == 7


def changed(folder: Path, destination: Path, change: Callable[[str, Any], Any]) -> Path:
    """An adapter's folder without its manifest, its tensors changed."""
    shutil.copytree(folder, destination, ignore=shutil.ignore_patterns(FILE_NAME))
    weights = destination / "adapter_model.safetensors"
    tensors = {name: np.ascontiguousarray(change(name, value)) for name, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return destination


def one_bit(_name: str, value: Any) -> Any:
    value.view(np.uint32).flat[0] ^= 1
    return value


def one_huge_number(name: str, value: Any) -> Any:
    if "lora_A" in name:
        value.flat[0] = 1e30
    return value


def little_noise(_name: str, value: Any) -> Any:
    signs = np.where(np.arange(value.size) % 3 == 0, -1, 1).reshape(value.shape)
    return (value * (1 + 1e-3 * signs)).astype(np.float32)


HIDDEN: dict[str, Callable[[str, Any], Any]] = {
    "one bit": one_bit,
    "one huge number": one_huge_number,
    "scaled, and scaled back": lambda name, value: value * np.float32(4 if "lora_A" in name else 0.25),
    "rounded": lambda _name, value: value.astype(np.float16),
    "a little noise": little_noise,
}


@pytest.fixture
def trained(registry: Registry, base: AddedBase, tmp_path: Path) -> Path:
    """The folder of an adapter that was trained here, with factors that no other adapter has."""
    folder = tmp_path / "trained"
    an_artifact(folder, base, name="trained")
    weights = folder / "adapter_model.safetensors"
    random = np.random.default_rng(8)
    shapes = {name: value.shape for name, value in load_file(weights).items()}
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(values, weights, metadata={"format": "pt"})
    register_version(registry, artifact_of(folder, base, name="trained"))
    return folder


@pytest.mark.parametrize("how", HIDDEN)
def test_what_was_trained_here_is_not_imported_with_a_few_numbers_changed(
    registry: Registry, base: AddedBase, trained: Path, tmp_path: Path, how: str
) -> None:
    with pytest.raises(ChangedResultAsImport) as refused:
        imported(registry, changed(trained, tmp_path / "clean", HIDDEN[how]), base="tiny")
    assert "trained:1" in refused.value.what and "which data" in refused.value.why
    assert refused.value.exit_code == 7
    assert versions(registry) == ["tiny:1", "trained:1"]


def test_what_was_trained_on_from_a_result_is_asked_about_and_what_only_began_with_it_is_not(
    registry: Registry, base: AddedBase, trained: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(9)

    def moved(_name: str, value: Any) -> Any:
        noise = random.standard_normal(value.shape)
        return (value + 0.1 * np.linalg.norm(value) / np.linalg.norm(noise) * noise).astype(np.float32)

    def same_start(name: str, value: Any) -> Any:
        return value if "lora_A" in name else random.standard_normal(value.shape).astype(np.float32)

    near = imported(registry, changed(trained, tmp_path / "near", moved), base="tiny")
    (finding,) = [finding for finding in near.record.findings if finding.kind == "near-result"]
    assert "near those of trained:1" in finding.text and "parent" in finding.text
    apart = imported(registry, changed(trained, tmp_path / "apart", same_start), base="tiny")
    assert not [finding for finding in apart.record.findings if finding.kind == "near-result"]


def test_weights_that_were_imported_before_are_told_with_the_manifest_that_has_them(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    """A copy as for the Hub has no manifest, and comes in as if nobody knew it."""

    def equal(outcome: ImportOutcome) -> list[str]:
        return [finding.text for finding in outcome.record.findings if finding.kind == "equal-import"]

    first = imported(registry, peft_folder(tmp_path / "helper"))
    again = imported(registry, tmp_path / "helper")
    assert again.was_there and equal(first) == equal(again) == [], "the command says by itself that it was there"
    (told,) = equal(imported(registry, tmp_path / "helper", name="elsewhere"))
    assert f"imported before, as helper:1 ({first.version.manifest_digest})" in told


def test_a_folder_that_was_pulled_from_a_registry_is_not_imported(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    """Also where one number of it was changed, and by whoever has another registry: its records would be gone."""
    version = imported(registry, peft_folder(tmp_path / "helper")).version
    pull_version(registry, version, tmp_path / "pulled")
    with pytest.raises(PulledFolder) as refused:
        imported(registry, tmp_path / "pulled", base="tiny", name="clean")
    assert refused.value.exit_code == 2


def test_a_pulled_import_says_it_without_the_registry(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    version = imported(registry, peft_folder(tmp_path / "helper")).version
    pull_version(registry, version, tmp_path / "pulled")
    assert json.loads((tmp_path / "pulled/manifest.json").read_bytes())["origin"] == "imported"
    outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    assert "imported" in next(check.text for check in outcome.checks if check.step == "policy")


def test_an_import_offered_as_a_training_is_refused(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    artifact = an_artifact(tmp_path / "trained", base)
    forged = artifact.manifest.revised(origin="imported")
    with pytest.raises(ModificationRecordWrong, match="manifest says imported"):
        register_version(registry, _with_manifest(artifact, forged))


def _with_manifest(artifact: NewArtifact, manifest: Any) -> NewArtifact:
    from dataclasses import replace

    return replace(artifact, manifest=manifest)


def test_the_settings_come_from_the_files_beside_it_with_their_digests(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    outcome = imported(registry, trl_folder(tmp_path / "helper"))
    settings = outcome.record.settings
    digests = {source.path: source.sha256 for source in outcome.record.sources}
    state = "checkpoint-6/trainer_state.json"
    assert settings["loss_curve"].value == {"steps": [2, 4], "loss": [2.5, 2.25]}
    assert settings["loss_curve"].source == "imported"
    assert settings["loss_curve"].evidence == (digests[state],)
    assert settings["libraries.trl"].value == "1.16.0"
    assert settings["libraries.trl"].evidence == (digests["README.md"],)
    record = outcome.modification
    assert (record.peft.rank.value, record.peft.alpha.value, record.peft.dropout.value) == (2, 4, 0.05)
    assert record.method.kind.value == "lora"
    # 6·P·D with the tokens that the trainer counted and the parameters of the base: 16 + 16 + 128
    assert record.compute.conservative_flop.value == 6 * 160 * 1200
    assert record.compute.wall_clock_days.value == pytest.approx(8.64 / 86400)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"num_input_tokens_seen": 1}, "6 steps of 2 rows read more"),
        ({"num_input_tokens_seen": 11}, "6 steps of 2 rows read more"),
        ({"num_input_tokens_seen": 5, "train_batch_size": None}, "6 steps of 1 row read more"),
    ],
)
def test_fewer_tokens_than_steps_and_rows_are_no_figure_of_operations(
    registry: Registry, base: AddedBase, tmp_path: Path, stated: dict[str, Any], said: str
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "trainer_state.json").write_text(json.dumps(STATE | stated))
    flop = imported(registry, folder).modification.compute.conservative_flop
    assert not flop.known
    assert said in flop.reason and f"says {stated['num_input_tokens_seen']} tokens" in flop.reason


def test_fewer_tokens_than_the_rows_that_speed_and_time_give_are_no_figure_of_operations(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    results = {"train_runtime": 8.64, "train_samples_per_second": 1000.0}
    (folder / "all_results.json").write_text(json.dumps(results))
    flop = imported(registry, folder).modification.compute.conservative_flop
    assert "the 8640 rows that its speed and time give have more" in flop.reason


def test_long_lists_beside_the_weights_are_cut_short_and_said(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    history = [{"step": step, "loss": 1.0 / (step + 1)} for step in range(5000)]
    (folder / "trainer_state.json").write_text(json.dumps(STATE | {"log_history": history}))
    datasets = "".join(f"  - org/rows-{number}\n" for number in range(500))
    template = "x" * 100_000
    (folder / "train.yml").write_text(
        f"base_model: org/tiny\nlearning_rate: 0.1\nchat_template: {template}\ndatasets:\n{datasets}"
    )
    for number in range(30):
        (folder / f"z{number:02}.yml").write_text(f"learning_rate: {number + 1}\nbase_model: org/tiny\n")
    outcome = imported(registry, folder)
    curve = outcome.record.settings["loss_curve"].value
    assert len(curve["steps"]) == len(curve["loss"]) == 1000
    assert (curve["steps"][0], curve["steps"][-1]) == (0, 4999)
    assert len(outcome.modification.data) == 100
    assert len(outcome.record.to_canonical()) < 200_000
    said = " ".join(finding.text for finding in outcome.record.findings)
    assert "5000 points: 1000 of them" in said
    assert "names 500 data sets: the first 100" in said
    assert "chat_template is left out" in said
    assert "31 YAML files lie beside the weights: the first 20" in said
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_weights_that_are_swapped_after_they_were_looked_at_are_not_registered(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = peft_folder(tmp_path / "helper")
    looked_at = (folder / "adapter_model.safetensors").read_bytes()

    def swapped(*arguments: Any, **named: Any) -> Any:
        """Somebody writes to the folder after its files were taken."""
        save_file(lora_tensors(inner=32), folder / "adapter_model.safetensors")  # fits no module of the base
        return choose_base(*arguments, **named)

    monkeypatch.setattr("peft_registry.registry.use_cases.import_plan.choose_base", swapped)
    version = imported(registry, folder).version
    (entry,) = [
        entry
        for entry in stored_manifest(registry, version.manifest_digest).files
        if entry.path == "adapter_model.safetensors"
    ]
    assert entry.sha256 == Digest.of(looked_at)


def test_settings_of_a_file_that_changed_after_it_was_read_are_not_recorded(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trl_folder(tmp_path / "helper")

    def swapped(*arguments: Any, **named: Any) -> Any:
        (folder / "README.md").write_text("other")
        return choose_base(*arguments, **named)

    monkeypatch.setattr("peft_registry.registry.use_cases.import_plan.choose_base", swapped)
    _refused(registry, FileChanged, 6, folder, match="settings were read before")


def test_a_base_of_another_owner_than_the_folder_names_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    def said(outcome: ImportOutcome) -> list[str]:
        return [finding.text for finding in outcome.record.findings if finding.kind == "other-owner"]

    assert said(imported(registry, peft_folder(tmp_path / "own"))) == []
    copy = imported(registry, unsloth_folder(tmp_path / "copy"))
    (text,) = said(copy)
    assert text.startswith("it names 'unsloth/tiny-bnb-4bit' as its base, and tiny:1 is 'org/tiny', of another owner")
    origin = BaseOrigin(format="huggingface", source="of-nobody")
    add_base(registry, base_files(tmp_path / "of-nobody", seed=4), name="small", origin=origin)
    named = imported(registry, peft_folder(tmp_path / "named", base_model_name_or_path="acme/small"))
    assert named.record.base.manifest != base.version.manifest_digest
    assert len(said(named)) == 1 and "small:1 was not added under that id" in said(named)[0]
    chosen = imported(registry, peft_folder(tmp_path / "chosen", base_model_name_or_path="acme/large"), base="small")
    assert len(said(chosen)) == 1


TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def chat_base(registry: Registry, tmp_path: Path) -> Path:
    """The folder of a base with a chat template, registered as tiny."""
    folder = base_files(tmp_path / "chat")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "b", "chat_template": TEMPLATE}))
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    add_base(registry, folder, name="tiny", origin=origin, revision=COMMIT)
    return folder


def tokenizer_findings(outcome: ImportOutcome) -> list[tuple[str, str | None]]:
    kinds = ("other-chat-template", "other-tokenizer", "tokenizer-not-compared")
    return [(finding.kind, finding.place) for finding in outcome.record.findings if finding.kind in kinds]


def test_an_adapter_that_brings_another_chat_template_or_tokenizer_says_so(
    registry: Registry, chat_base: Path, tmp_path: Path
) -> None:
    """A chat template changes what a model answers, and nothing in the weights shows which one they were trained with."""
    alone = imported(registry, peft_folder(tmp_path / "alone"))
    assert tokenizer_findings(alone) == []

    # the same tokenizer as another version of transformers writes it: the template in a file, the state of the last call kept
    own = peft_folder(tmp_path / "own")
    (own / "tokenizer.json").write_text(
        json.dumps(TOKENIZER | {"truncation": None, "padding": {"pad_id": 0}}, indent=2)
    )
    (own / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "b"}, "tokenizer_class": "T"}))
    (own / "chat_template.jinja").write_text(TEMPLATE)
    assert tokenizer_findings(imported(registry, own)) == []

    other = peft_folder(tmp_path / "other")
    merged = TOKENIZER | {"model": {"type": "BPE", "vocab": {"b": 0, "a": 1}, "merges": []}}
    (other / "tokenizer.json").write_text(json.dumps(merged))
    (other / "tokenizer_config.json").write_text(json.dumps({"eos_token": "a"}))
    (other / "chat_template.jinja").write_text(f"You are a pirate. {TEMPLATE}")
    outcome = imported(registry, other)
    assert tokenizer_findings(outcome) == [
        ("other-chat-template", "chat_template.jinja"),
        ("other-tokenizer", "tokenizer.json, model"),
        ("other-tokenizer", "tokenizer_config.json, eos_token"),
    ]
    assert "Found when it was imported" in make_report(registry, outcome.version).decode()

    without = peft_folder(tmp_path / "without")
    shutil.copy(chat_base / "tokenizer.json", without / "tokenizer.json")
    (without / "tokenizer_config.json").write_text(json.dumps({"eos_token": "b"}))
    (found,) = (one for one in imported(registry, without).record.findings if one.kind == "other-chat-template")
    assert found.text.startswith("its tokenizer has no chat template, and the base has one")


def test_a_chat_template_of_a_base_without_one_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (found,) = (one for one in imported(registry, folder).record.findings if one.kind == "other-chat-template")
    assert found.text.startswith("it brings a chat template, and the base has none")


def test_a_tokenizer_is_not_called_another_where_the_files_of_the_base_were_changed(
    registry: Registry, chat_base: Path, tmp_path: Path
) -> None:
    equal, other = peft_folder(tmp_path / "equal"), peft_folder(tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(chat_base / name, equal / name)
        (other / name).write_text(json.dumps(json.loads((chat_base / name).read_text()), indent=1))
    (chat_base / "tokenizer.json").write_text("{}")
    assert tokenizer_findings(imported(registry, equal)) == []
    assert tokenizer_findings(imported(registry, other)) == [("tokenizer-not-compared", "tokenizer.json")]


@pytest.mark.parametrize("producer", [*PRODUCERS, "merged"])
def test_what_is_open_of_each_producer_is_as_was_agreed(
    registry: Registry, base: AddedBase, tmp_path: Path, producer: str
) -> None:
    """The gap report: what the folder gave, what it did not, and who can say it. Look at what changed, then UPDATE_GOLDEN=1."""
    if producer == "merged":
        folder = a_model(tmp_path / "helper", tmp_path / "base")
    else:
        folder = PRODUCERS[producer](tmp_path / "helper")
    outcome = imported(registry, folder)
    lines = [f"producer: {outcome.record.producer}, told by {outcome.record.told_by}"]
    lines += [f"known: {name} = {json.dumps(value.value)}" for name, value in sorted(outcome.record.settings.items())]
    lines += [f"finding: {finding.kind}" for finding in outcome.record.findings]
    lines.append(f"fields: {outcome.gaps.sentence}")
    lines += [
        f"open, {gap.owner}: {gap.field}" for gap in sorted(outcome.gaps.open, key=lambda gap: (gap.owner, gap.field))
    ]
    found = "\n".join(lines) + "\n"
    path = GOLDEN / f"{producer}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), f"{path.name} changed; look at it, then UPDATE_GOLDEN=1"


def test_nobody_who_imports_is_called_the_modifier(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    record = imported(registry, peft_folder(tmp_path / "helper")).modification
    assert record.identity.kind.value == "import"
    assert not record.identity.acting_person.known
    assert not record.modifier.legal_name.known
    assert not record.modifier.controls_weights.known


def test_axolotl_and_its_quantised_base_are_read_from_the_card(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    outcome = imported(registry, axolotl_folder(tmp_path / "helper"))
    record = outcome.modification
    assert record.method.kind.value == "qlora"
    assert record.base[0].quantised_view.known
    assert record.method.optimiser.value == "adamw_torch"
    assert record.method.seed.value == 42
    assert [data.name.value for data in record.data] == ["org/rows"]
    assert record.product.licence.value == "apache-2.0"
    assert "quantised-base" in {finding.kind for finding in outcome.record.findings}
    assert "/home/alex" not in json.dumps(outcome.record.to_json())


def test_no_path_of_a_machine_and_no_module_name_is_registered(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = unsloth_folder(tmp_path / "helper", base_model_name_or_path="/home/alex/tiny")
    version = imported(registry, folder).version
    pull_version(registry, version, tmp_path / "pulled")
    config = json.loads((tmp_path / "pulled/adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == str(base.record.identity.weights)
    assert config["auto_mapping"] is None
    assert config == json.loads((folder / "adapter_config.json").read_bytes()) | {
        "base_model_name_or_path": str(base.record.identity.weights),
        "auto_mapping": None,
    }


def test_pickles_and_code_beside_the_weights_stay_outside_and_are_noted(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = trl_folder(tmp_path / "helper")
    (folder / "modeling_tiny.py").write_text("raise SystemExit\n")
    outcome = imported(registry, folder)
    noted = {source.path: source for source in outcome.record.sources}
    assert noted["training_args.bin"].use == "noted"
    assert noted["training_args.bin"].what == "a pickle"
    assert {"pickle-beside", "code-beside"} <= {finding.kind for finding in outcome.record.findings}
    kept = {entry.path for entry in records_of(registry, outcome.version).manifest.files}
    assert kept == {"adapter_config.json", "adapter_model.safetensors"}


def test_contradicting_files_and_a_secret_beside_the_weights_are_findings(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = axolotl_folder(tmp_path / "helper")
    (folder / "args.json").write_text(json.dumps({"learning_rate": 0.5, "hub_token": "hf_" + "a" * 34}))
    (folder / "config.yml").write_text("base_model: org/tiny\nlearning_rate: 0.25\nseed: 1\n")
    outcome = imported(registry, folder)
    kinds = {finding.kind for finding in outcome.record.findings}
    assert {"secret-beside", "settings-disagree"} <= kinds
    assert outcome.record.settings["learning_rate"].value == 0.25
    assert "hf_aaaa" not in json.dumps(outcome.record.to_json())


def test_files_with_values_of_odd_types_are_taken_in_without_a_traceback(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "trainer_state.json").write_text('{"log_history": 5, "total_flos": [], "num_input_tokens_seen": 1e308}')
    (folder / "config.yml").write_text(
        'base_model: org/tiny\nload_in_4bit: [true]\nlearning_rate: {}\ntemplate: "\\ud800"\n'
    )
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(f"{card}\n- weight_decay: nan\n- warmup_ratio: 1e999\n- seed: {'9' * 400}\n")
    outcome = imported(registry, folder)
    settings = outcome.record.settings
    assert settings["load_in_4bit"].value == [True]
    assert settings["weight_decay"].value == "nan"
    assert settings["warmup_ratio"].value == "1e999"
    assert settings["seed"].value == "9" * 400
    assert "chat_template" not in settings
    assert not outcome.modification.base[0].quantised_view.known
    assert not outcome.modification.compute.conservative_flop.known
    assert "chat_template is left out" in " ".join(finding.text for finding in outcome.record.findings)
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_an_update_of_zero_is_a_finding(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    tensors = {name: np.zeros_like(value) if "lora_B" in name else value for name, value in lora_tensors().items()}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors))
    assert "every update is zero" in " ".join(finding.text for finding in outcome.record.findings)


def test_a_key_that_peft_does_not_know_is_a_finding(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    outcome = imported(registry, peft_folder(tmp_path / "helper", use_tomorrow=True))
    assert "unknown-key" in {finding.kind for finding in outcome.record.findings}


def test_several_folders_are_imported_at_once_or_none_of_them(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    good = peft_folder(tmp_path / "first")
    bad = peft_folder(tmp_path / "second", lora_tensors(inner=12))
    with pytest.raises(AdapterOfAnotherBase):
        imported(registry, good, bad)
    assert versions(registry) == ["tiny:1"]
    both = import_folders(registry, ImportRequest(folders=(good, trl_folder(tmp_path / "third"))))
    assert [outcome.version.label for outcome in both] == ["first:1", "third:1"]


def test_two_imports_of_one_folder_at_once_are_one_version(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "helper")
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: imported(registry, folder), range(2)))
    assert {outcome.version.label for outcome in outcomes} == {"helper:1"}
    assert versions(registry) == ["helper:1", "tiny:1"]
    assert verify_version(registry, outcomes[0].version).verdict == "verified"


def test_facts_that_only_people_know_enter_with_the_import(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    facts.write_text(
        'asserted_by: alex, engineer\nuse: {intended: polite replies}\ndata: {"*": {personal_data: "no"}}\n'
    )
    record = imported(registry, axolotl_folder(tmp_path / "helper"), facts=facts).modification
    assert record.use.intended.value == "polite replies"
    assert record.data[0].personal_data.value == "no"


# --- whole models ---


def a_model(folder: Path, base: Path, *, strength: float = 0.05, seed: int = 3) -> Path:
    """What a full fine-tune leaves: the base's files with every tensor moved, and the arguments as a pickle."""
    shutil.copytree(base, folder)
    random = np.random.default_rng(seed)
    moved = {
        name: value + strength * random.standard_normal(value.shape).astype(np.float32)
        for name, value in load_file(base / "model.safetensors").items()
    }
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "training_args.bin").write_bytes(PICKLE)
    return folder


def test_a_full_fine_tune_is_imported_on_the_base_that_its_weights_show(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    add_base(
        registry,
        base_files(tmp_path / "other", seed=1),
        name="other",
        origin=BaseOrigin(format="huggingface", source="org/other"),
    )
    outcome = imported(registry, a_model(tmp_path / "tuned", tmp_path / "base"))
    assert outcome.version.kind == "model"
    assert outcome.record.fit.chosen_by == "weights"
    assert outcome.record.base.manifest == base.version.manifest_digest
    answers = {relation.base: relation.answer for relation in outcome.record.relations}
    assert answers == {"tiny:1": "made from", "other:1": "not made from"}
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_of_a_whole_model_only_what_was_counted_and_compared_is_called_measured(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    change = imported(registry, a_model(tmp_path / "tuned", tmp_path / "base")).modification.change
    untouched = change.base_weights_untouched
    assert (untouched.value, untouched.method) == ("no", "the result is a whole model")
    assert not change.params_added.known
    assert change.rel_norm_global.reason == (
        "not measured over the whole model: the import record compares a sample of each matrix"
    )
    adapter = imported(registry, peft_folder(tmp_path / "helper")).modification.change
    untouched = adapter.base_weights_untouched
    assert (untouched.value, untouched.method) == ("yes", "the result holds no tensor of the base")
    assert adapter.params_added.value == 2 * (16 + 8)
    assert adapter.rel_norm_global.reason.endswith("no weight of the base was read")


def test_a_model_in_eight_bits_is_not_refused_as_one_of_another_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = shutil.copytree(tmp_path / "base", tmp_path / "small")
    shapes = {name: value.shape for name, value in load_file(folder / "model.safetensors").items()}
    save_in_eight_bits(shapes, folder / "model.safetensors")
    events: list[Event] = []
    (outcome,) = import_folders(registry, ImportRequest((folder,), base="tiny"), observe=events.append)
    assert [relation.answer for relation in outcome.record.relations] == ["cannot tell"]
    assert "cannot tell whether it was made from it" in " ".join(map(str, events))
    assert "number format" in " ".join(finding.text for finding in outcome.record.findings)
    assert "no weight of the base was read" in outcome.modification.change.rel_norm_global.reason


def test_a_model_of_other_weights_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    unrelated = base_files(tmp_path / "unrelated", seed=9)
    _refused(registry, ModelOfAnotherBase, 6, unrelated, match="weight' is", base="tiny")
    _refused(registry, BaseToNameMissing, 2, unrelated, match="names none")


def test_a_base_is_not_imported_as_what_was_made_from_it(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    _refused(registry, NothingToImport, 2, tmp_path / "base", match="those of the base tiny:1")


# --- is it really of that base ---


def test_an_adapter_of_another_shape_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    _refused(
        registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", lora_tensors(inner=12)), match="down_proj.lora_A"
    )


def test_an_adapter_of_a_deeper_model_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | lora_tensors(layer=7)
    _refused(registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", tensors), match="layers.7")


def test_an_adapter_of_another_base_of_equal_shape_is_refused(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    origin = BaseOrigin(format="huggingface", source="org/other")
    add_base(registry, base_files(tmp_path / "other", seed=1), name="other", origin=origin)
    folder = peft_folder(tmp_path / "a", base_model_name_or_path="org/other")
    _refused(registry, AdapterOfAnotherBase, 6, folder, match="org/other", base="tiny")
    assert imported(registry, folder).record.base.manifest != base.version.manifest_digest


def test_an_adapter_of_a_base_that_is_not_registered_is_not_put_on_another(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a", base_model_name_or_path="org/absent")
    _refused(registry, ImportBaseNotRegistered, 7, folder, match="org/absent")
    _refused(registry, AdapterOfAnotherBase, 6, folder, match="org/absent", base="tiny")


def test_an_adapter_of_another_revision_is_refused(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    _refused(registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", revision=OTHER_COMMIT), match=OTHER_COMMIT)
    assert imported(registry, peft_folder(tmp_path / "b", revision=COMMIT)).record.fit.named_revision == COMMIT


def test_an_adapter_with_more_tokens_than_the_base_is_refused(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER | {"added_tokens": [{"id": 2, "content": "<new>"}]}))
    _refused(registry, AdapterOfAnotherBase, 6, folder, match="token of number 2")


def test_a_digest_names_the_base(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    named = str(base.record.identity.weights)
    assert (
        imported(registry, peft_folder(tmp_path / "a", base_model_name_or_path=named)).record.fit.chosen_by == "digest"
    )
    wrong = peft_folder(tmp_path / "b", base_model_name_or_path="sha256:" + "0" * 64)
    _refused(registry, AdapterOfAnotherBase, 6, wrong, match="sha256:0000", base="tiny")


def test_a_name_of_several_bases_is_asked_about(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    add_base(registry, base_files(tmp_path / "other", seed=1), name="tiny-2", origin=origin)
    folder = peft_folder(tmp_path / "a")
    _refused(registry, BaseToNameMissing, 2, folder, match=r"tiny:1.*tiny-2:1|tiny-2:1.*tiny:1")
    assert imported(registry, folder, base="tiny-2").record.fit.chosen_by == "user"


def test_a_folder_that_names_no_base_needs_one(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a", base_model_name_or_path=None)
    (folder / "README.md").unlink()
    _refused(registry, BaseToNameMissing, 2, folder, match="names none")
    assert imported(registry, folder, base="tiny").version.label == "a:1"


def test_an_adapter_is_not_put_on_an_adapter(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    imported(registry, peft_folder(tmp_path / "first"))
    with pytest.raises(ImportedOntoNoBase) as caught:
        imported(registry, peft_folder(tmp_path / "second"), base="first")
    assert caught.value.exit_code == 2


# --- what its files give away ---


def test_where_a_saver_loaded_from_is_not_registered_and_another_path_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper", notes="see /home/alex/project/run.log")
    save_file(
        lora_tensors(), folder / "adapter_model.safetensors", metadata={"format": "pt", "by": "/home/alex/train.py"}
    )
    loaded_from = {"name_or_path": "/home/alex/tiny", "tokenizer_file": "/home/alex/.cache/t.json", "eos_token": "b"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(loaded_from | {"chat_template": "{% set token = 'abcdef' %}"})
    )
    (folder / "config.yml").write_text(
        "base_model: org/tiny\nlearning_rate: 1\ndatasets: file:///home/alex/rows.jsonl\n"
    )
    outcome = imported(registry, folder)
    places = [finding.place for finding in outcome.record.findings if finding.kind == "path-inside"]
    assert places == ["adapter_config.json, notes", "adapter_model.safetensors, metadata by"]
    used = {source.path: source.use for source in outcome.record.sources}
    assert (used["tokenizer_config.json"], used["adapter_model.safetensors"]) == ("rewritten", "artifact")
    assert outcome.record.settings["datasets"].value == ["rows.jsonl"]
    pull_version(registry, outcome.version, tmp_path / "pulled")
    kept = json.loads((tmp_path / "pulled" / "tokenizer_config.json").read_text())
    assert kept == {"eos_token": "b", "chat_template": "{% set token = 'abcdef' %}"}
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_modules_that_are_named_by_an_expression_that_ends_come_in(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(
        tmp_path / "helper", target_modules=r".*\.(down_proj|up_proj)", rank_pattern={r"layers\.\d+": 2}
    )
    assert imported(registry, folder).version.label == "helper:1"


def test_an_update_beyond_the_largest_double_is_found_without_a_warning(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    huge = {name: np.full_like(value, 1e300, dtype=np.float64) for name, value in lora_tensors().items()}
    others = ("up_proj", "gate_proj")
    other = {name.replace("down_proj", new): value for new in others for name, value in lora_tensors().items()}
    path = tmp_path / "adapter_model.safetensors"
    save_file(huge | other, path)
    assert [finding.kind for finding in scan_weights(path)] == ["norm-outlier"]


# --- what an adapter brings beside its factors ---

HEAD = "base_model.model.lm_head.weight"
IN_AN_ADAPTER = {
    "under the name of a weight of the base": HEAD,
    "as the layer that the adapter stands around": f"{MODULE}.base_layer.weight",
}


@pytest.mark.parametrize("how", IN_AN_ADAPTER)
def test_weights_of_the_base_that_hide_in_an_adapter_are_found_and_the_base_is_not_called_untouched(
    registry: Registry, base: AddedBase, tmp_path: Path, how: str
) -> None:
    name = IN_AN_ADAPTER[how]
    tensors = lora_tensors() | {name: np.ones((2, 8) if name == HEAD else (8, 16), np.float32)}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors))
    hidden = [finding for finding in outcome.record.findings if finding.kind == "replaces-weights"]
    assert [finding.place for finding in hidden] == [name]
    assert "its configuration says nothing of it" in hidden[0].text
    change = outcome.modification.change
    assert not change.base_weights_untouched.known
    assert not change.params_changed.known
    assert not change.params_added.known
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_a_module_that_was_trained_whole_is_not_called_an_untouched_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | {HEAD: np.ones((2, 8), np.float32)}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors, modules_to_save=["lm_head"]))
    assert not outcome.modification.change.base_weights_untouched.known
    said = next(finding for finding in outcome.record.findings if finding.kind == "replaces-weights")
    assert said.text == "1 of its tensors is loaded in the place of the base's own"


def test_a_layer_of_another_shape_around_which_an_adapter_stands_is_of_another_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | {f"{MODULE}.base_layer.weight": np.ones((8, 12), np.float32)}
    _refused(registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "helper", tensors), match="base_layer")


def test_an_adapter_of_which_nothing_could_be_compared_is_not_said_to_fit(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    expert = "base_model.model.model.layers.0.mlp.experts.5.w.lora_A.weight"
    other = expert.replace("lora_A", "lora_B")
    tensors = {expert: np.ones((2, 7), np.float32), other: np.ones((7, 2), np.float32)}
    events: list[Event] = []
    outcome = import_folders(
        registry, ImportRequest(folders=(peft_folder(tmp_path / "helper", tensors),)), observe=events.append
    )[0]
    assert "nothing-compared" in {finding.kind for finding in outcome.record.findings}
    story = [event.text for event in events if isinstance(event, Said) and event.label == "base"]
    assert story == ["tiny:1  0 tensors have their place there: nothing shows that it can be of it"]


# --- what is refused at intake ---


def _half_written(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: _write_config(folder, LORA_CONFIG | changes)


def _write_config(folder: Path, value: Any) -> None:
    (folder / "adapter_config.json").write_text(json.dumps(value))


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _pickle_by_content(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(PICKLE)


def _link(folder: Path) -> None:
    (folder / "notes.txt").symlink_to("/etc/hostname")


def _device(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _twins(folder: Path) -> None:
    (folder / "Notes.txt").write_text("a")
    (folder / "notes.txt").write_text("b")


def _not_a_number(folder: Path) -> None:
    tensors = lora_tensors()
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, folder / "adapter_model.safetensors")


def _text(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text)  # type: ignore[return-value]


def _secret_in_metadata(folder: Path) -> None:
    save_file(lora_tensors(), folder / "adapter_model.safetensors", metadata={"format": "pt", "by": TOKEN})


TOKEN = "hf_" + "a" * 34
REFUSED: dict[str, tuple[Callable[[Path], None], type[KnownError], str]] = {
    "weights that end early": (_half_written, MalformedWeights, "adapter_model"),
    "no weights": (_without("adapter_model.safetensors"), NothingToImport, "not saved to its end"),
    "no configuration": (_without("adapter_config.json"), NothingToImport, "adapter_config.json"),
    "half a configuration": (lambda folder: (folder / "adapter_config.json").write_text("{"), MalformedInput, "JSON"),
    "weights as a pickle": (_pickled, PickleRefused, "adapter_model.bin"),
    "a pickle under the name of safetensors": (_pickle_by_content, PickleRefused, "pickle"),
    "a link": (_link, UnsafeInputPath, "symbolic link"),
    "a FIFO": (_device, UnsafeInputPath, "FIFO"),
    "two names that are one": (_twins, UnsafeInputPath, "one name"),
    "a value that is not a number": (_not_a_number, WeightsNotFinite, "NaN"),
    "auto_map": (_config(auto_map={"AutoModel": "evil.Model"}), CodeRefused, "auto_map"),
    "a module of somebody's": (_config(auto_mapping={"parent_library": "evil"}), CodeRefused, "evil"),
    "megatron": (_config(megatron_config={"a": 1}, megatron_core="evil"), CodeRefused, "megatron"),
    "another module for megatron": (_config(megatron_core="evil"), CodeRefused, "megatron_core"),
    "a secret": (_config(notes="hf_" + "a" * 34), SecretRefused, "Hugging Face token"),
    "a secret of the tokenizer's": (
        _text("tokenizer_config.json", json.dumps({"hub_token": "x", "init": {"auth": TOKEN}})),
        SecretRefused,
        "tokenizer_config.json holds what looks like a Hugging Face token",
    ),
    "a secret among the special tokens": (
        _text("special_tokens_map.json", json.dumps({"hf_token": "correct-horse"})),
        SecretRefused,
        "special_tokens_map",
    ),
    "a secret in a chat template": (_text("chat_template.jinja", f"{{# {TOKEN} #}}"), SecretRefused, "chat_template"),
    "a secret in a chat template of the tokenizer's": (
        _text("tokenizer_config.json", json.dumps({"chat_template": f"{{# {TOKEN} #}}"})),
        SecretRefused,
        "it stands at chat_template",
    ),
    "a secret in the metadata of the weights": (_secret_in_metadata, SecretRefused, "metadata of adapter_model"),
    "an expression without end": (_config(target_modules="(([a-z0-9_.])+)+[A-Z]$"), PatternRefused, "takes more than"),
    "ranks by an expression without end": (
        _config(rank_pattern={"(([a-z0-9_.])+)+[A-Z]": 2}),
        PatternRefused,
        "takes more than",
    ),
    "an expression that is none": (_config(target_modules="(down_proj"), PatternRefused, "not a regular expression"),
    "a configuration of 17 MiB": (_config(notes="x" * (17 << 20)), MalformedInput, "more than the 16777216 allowed"),
    "a type that nothing loads": (_config(peft_type="VERA"), AdapterTypeUnknown, "VERA"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_unsafe_or_half_written_is_refused_and_nothing_is_registered(
    registry: Registry, base: AddedBase, tmp_path: Path, what: str
) -> None:
    spoil, error, match = REFUSED[what]
    folder = peft_folder(tmp_path / "helper")
    spoil(folder)
    _refused(registry, error, 2, folder, match=match)


def test_too_many_files_are_refused(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.registry.imports.offered._MAX_FILES", 5)
    _refused(registry, UnsafeInputPath, 2, trl_folder(tmp_path / "helper"), match="more than 5 files")


def test_a_folder_of_checkpoints_names_the_newest(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    peft_folder(tmp_path / "out/checkpoint-20")
    peft_folder(tmp_path / "out/checkpoint-100")
    _refused(registry, NothingToImport, 2, tmp_path / "out", match="checkpoint-100")


@pytest.mark.parametrize("weights", ["adapter.safetensors", "pytorch_adapter.bin", "adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("config", "content", "remedy"),
    [
        (SEQ_BN, "bottleneck", "method=bottleneck"),
        ("pfeiffer", "bottleneck", "method=bottleneck"),
        ({"architecture": "lora", "r": 8}, "LoRA", "merge_adapter"),
        ("lora", "LoRA", "merge_adapter"),
        ({"architecture": "prefix_tuning"}, "prefix tuning", "method=prefix_tuning"),
        ({"architecture": "union", "configs": []}, "combination", "method=bottleneck"),
        ([1, 2], "combination", "method=bottleneck"),
    ],
)
def test_an_adapter_of_the_library_adapters_is_told_from_peft_before_anything_is_copied(
    registry: Registry, base: AddedBase, tmp_path: Path, config: Any, content: str, remedy: str, weights: str
) -> None:
    """Advice that holds: what is saved as safetensors there is refused as well, and a bottleneck is not merged there."""
    folder = adapterhub_folder(tmp_path / "task", config, weights=weights)
    with pytest.raises(AdapterHubFolder, match=content) as caught:
        offered_folder(folder)
    assert remedy in caught.value.fix
    _refused(registry, AdapterHubFolder, 2, folder, match=r"library `adapters` \(AdapterHub\)")


@pytest.mark.parametrize(
    ("files", "content"),
    [
        (("head_config.json", "model_head.safetensors"), "a prediction head"),
        (("head_config.json", "pytorch_model_head.bin"), "a prediction head"),
        (("adapter_fusion_config.json", "pytorch_model_adapter_fusion.bin"), "a fusion"),
    ],
)
def test_a_head_and_a_fusion_of_the_library_adapters_are_called_what_they_are(
    registry: Registry, base: AddedBase, tmp_path: Path, files: tuple[str, ...], content: str
) -> None:
    (tmp_path / "task").mkdir()
    for name in files:
        (tmp_path / "task" / name).write_bytes(b"{}")
    _refused(registry, AdapterHubFolder, 2, tmp_path / "task", match=content)


def test_a_head_of_the_library_adapters_beside_an_adapter_of_peft_stays_outside(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "head_config.json").write_text("{}")
    (folder / "pytorch_model_head.bin").write_bytes(PICKLE)
    assert offered_folder(folder).kind == "adapter"


def test_one_name_is_not_for_several_folders(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folders = (peft_folder(tmp_path / "a"), peft_folder(tmp_path / "b"))
    with pytest.raises(NameForSeveral):
        imported(registry, *folders, name="one")


def _refused(
    registry: Registry, error: type[KnownError], code: int, folder: Path, *, match: str, base: str | None = None
) -> None:
    before = versions(registry)
    with pytest.raises(error) as caught:
        imported(registry, folder, base=base)
    assert caught.value.exit_code == code
    said = f"{caught.value.what}: {caught.value.why}; {caught.value.fix}"
    assert re.search(match, said), said
    assert versions(registry) == before
