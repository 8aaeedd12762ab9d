"""What the records of an import hold: what the files beside the weights say, what people say, and what stays open."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.supersede import supersede_with_evaluations
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.importing import imported
from tests.builders.imports import PRODUCERS, STATE, a_model, axolotl_folder, peft_folder, trl_folder

GOLDEN = Path(__file__).parents[3] / "golden" / "import_gaps"


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
    assert said in str(flop.reason) and f"says {stated['num_input_tokens_seen']} tokens" in str(flop.reason)


def test_fewer_tokens_than_the_rows_that_speed_and_time_give_are_no_figure_of_operations(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    results = {"train_runtime": 8.64, "train_samples_per_second": 1000.0}
    (folder / "all_results.json").write_text(json.dumps(results))
    flop = imported(registry, folder).modification.compute.conservative_flop
    assert "the 8640 rows that its speed and time give have more" in str(flop.reason)


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


def test_facts_that_only_people_know_enter_with_the_import(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    facts.write_text(
        'asserted_by: alex, engineer\nuse: {intended: polite replies}\ndata: {"*": {personal_data: "no"}}\n'
    )
    record = imported(registry, axolotl_folder(tmp_path / "helper"), facts=facts).modification
    assert record.use.intended.value == "polite replies"
    assert record.data[0].personal_data.value == "no"


def test_an_import_that_is_evaluated_gets_a_card_that_says_so(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    version = imported(registry, peft_folder(tmp_path / "helper")).version
    before = records_of(registry, version).card
    record, items = a_recorded_evaluation()
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.revised(created_at=registry.clock()).to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    assert supersede_with_evaluations(registry, version) is not None
    after = records_of(registry, version).card
    assert before is not None and after is not None
    assert "No evaluation is recorded." in before.decode()
    assert "No evaluation is recorded." not in after.decode() and "- Loss on held-out text: " in after.decode()
    assert pull_version(registry, version, tmp_path / "pulled").verdict == "verified"
    assert (tmp_path / "pulled" / "README.md").read_bytes() == after
