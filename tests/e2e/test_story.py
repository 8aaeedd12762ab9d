"""The whole story as a user types it: init, base add, train, list, show, lineage, verify, pull, report."""

import os
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.progress import Advanced
from tests.builders.homes import copied_workplace
from tests.e2e.commands import WarmCommand, registry
from tests.e2e.conftest import Story
from tests.e2e.output_shape import masked, masked_figures
from tests.processes.interpreter import ROOT

GOLDEN = ROOT / "tests" / "golden"
STEPS = ["read", "signature", "trust", "policy", "files", "tensors", "base", "statements", "log", "parents"]
REGISTERED_WITH = ["provenance", "bias-evaluation", "observations", "modification", "card", "registration"]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# a loss of this file's trainings, in nats per token: ln of the vocabulary is about 8
LOSS_LIMIT = 15.0


def golden(name: str, found: str) -> None:
    """Compare with the checked-in form."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), f"{name} changed; look at it, then UPDATE_GOLDEN=1"


# --- what people read ---


def test_each_success_says_what_to_type_next(story: Story) -> None:
    assert "next: registry base add embedded --name tiny" in story.init.err
    assert "next: registry train" in story.base.err
    assert story.train.err == "next: registry verify polite-replies:1\n"


def test_train_has_the_form_of_the_golden_file(story: Story) -> None:
    golden("train.txt", masked_figures(story.train.out))


def test_verify_has_the_form_of_the_golden_file(story: Story) -> None:
    done = registry("verify", "polite-replies", cwd=story.folder).ok()
    golden("verify.txt", masked(done.out))
    assert done.err == "next: registry report polite-replies\n"


def test_list_show_and_lineage_name_what_was_made_from_what(warm: WarmCommand, story: Story) -> None:
    listed = warm("list", cwd=story.folder).ok().out
    assert re.search(r"^polite-replies:1 +adapter +lora +", listed, re.MULTILINE)
    assert re.search(r"^tiny:1 +base ", listed, re.MULTILINE)
    shown = warm("show", "polite-replies", cwd=story.folder).ok().out
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("statement")] == REGISTERED_WITH
    drawn = warm("lineage", "polite-replies", cwd=story.folder).ok().out
    assert re.search(r"^tiny:1  base\n└─ polite-replies:1", drawn, re.MULTILINE)


def test_report_is_one_page_that_reaches_out_to_nothing(warm: WarmCommand, story: Story, tmp_path: Path) -> None:
    copied_workplace(story.folder, tmp_path / "copy")
    assert warm("report", "polite-replies", cwd=tmp_path / "copy").ok().out.startswith("report ")
    page = (tmp_path / "copy" / "polite-replies-1-report.html").read_text("utf-8")
    assert page.startswith(("<!doctype html>", "<!DOCTYPE html>"))
    assert "<script" not in page
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)([^"']*)""", page) == []
    again = warm("report", "polite-replies", "--out", "-", cwd=tmp_path / "copy").ok().out
    assert again == page, "the same records must give the same page"


# --- what programs read ---


def test_list_json_holds_every_version(warm: WarmCommand, story: Story) -> None:
    found = warm("list", "--output", "json", cwd=story.folder).ok().value
    assert [(one["name"], one["number"], one["kind"]) for one in found] == [
        ("polite-replies", 1, "adapter"),
        ("tiny", 1, "base"),
    ]


def test_show_json_lists_the_statements_with_their_kind(warm: WarmCommand, story: Story) -> None:
    found = warm("show", "polite-replies", "--output", "json", cwd=story.folder).ok().value
    assert [one["kind"] for one in found["statements"]] == REGISTERED_WITH
    assert found["version"] == "polite-replies:1"


def test_lineage_json_holds_nodes_and_edges(warm: WarmCommand, story: Story) -> None:
    found = warm("lineage", "polite-replies", "--output", "json", cwd=story.folder).ok().value
    label = {node["digest"]: node["label"] for node in found["nodes"]}
    edges = {(label[edge["source"]], label[edge["target"]], edge["role"]) for edge in found["edges"]}
    assert edges == {("tiny:1", "polite-replies:1", "base"), ("example.jsonl", "polite-replies:1", "data")}


def test_verify_json_holds_the_verdict_and_ten_checks(warm: WarmCommand, story: Story) -> None:
    found = warm("verify", "polite-replies", "--output", "json", cwd=story.folder).ok().value
    assert found["verdict"] == "verified"
    assert [one["step"] for one in found["checks"]] == STEPS
    assert {(one["status"], one["error"]) for one in found["checks"]} == {("ok", None)}


def test_train_json_ends_with_one_object(warm: WarmCommand, workplace: Path) -> None:
    done = warm(
        "train", "example/train.yml", "training.num_train_epochs=1", "--no-mirror", "-o", "json", cwd=workplace
    ).ok()
    found = done.value
    assert found["version"] == "polite-replies:1"
    for key in ("manifest_digest", "weights_digest", "base_digest"):
        assert DIGEST.fullmatch(found[key])
    assert 0 < found["loss_after"] < found["loss_before"] < LOSS_LIMIT
    assert "\nbase " in f"\n{done.err}", "the story is told beside the data"
    shown = warm("show", "polite-replies", "-o", "json", cwd=workplace).ok().value
    assert (shown["manifest_digest"], shown["weights_digest"]) == (found["manifest_digest"], found["weights_digest"])
    assert shown["base_weights"] == found["base_digest"]


# --- what must hold ---


def test_training_the_same_twice_is_the_same_version(
    warm: WarmCommand, story: Story, tmp_path: Path, listed: Callable[[Path], list[str]]
) -> None:
    """One seed, one thread and the same bytes give the same weights: the same manifest, hence nothing new is registered."""
    folder = copied_workplace(story.folder, tmp_path / "copy")
    before = warm("show", "polite-replies", "-o", "json", cwd=folder).ok().value
    again = warm(
        "train", "example/train.yml", "training.num_train_epochs=1", "--again", "--no-mirror", "-o", "json", cwd=folder
    )
    assert again.ok().value["version"] == "polite-replies:1"
    assert again.value["manifest_digest"] == before["manifest_digest"]
    assert again.value["registered_before"] is True
    assert again.value["run_id"] is None, "a run that recorded nothing has no run to name"
    assert warm("show", "polite-replies", "-o", "json", cwd=folder).ok().value == before
    other = warm(
        "train", "example/train.yml", "training.num_train_epochs=1", "training.seed=8", "--no-mirror", cwd=folder
    )
    assert "registered polite-replies:2" in other.ok().out
    assert listed(folder) == ["polite-replies:1", "polite-replies:2", "tiny:1"]


def test_a_pulled_folder_verifies_and_a_flipped_bit_in_it_is_refused(
    warm: WarmCommand, story: Story, tmp_path: Path
) -> None:
    pulled = tmp_path / "pulled"
    found = warm("pull", "polite-replies", pulled, "-o", "json", cwd=story.folder).ok().value
    assert (found["folder"], found["version"], found["verdict"]) == (str(pulled), "polite-replies:1", "verified")
    assert warm("verify", pulled, cwd=story.folder).ok().out.endswith("verified\n")
    weights = pulled / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    broken = warm("verify", pulled, "-o", "json", cwd=story.folder)
    assert broken.code == 6
    assert [one["step"] for one in broken.value["checks"] if one["status"] == "failed"] == ["files", "tensors"]
    elsewhere = warm("verify", pulled, cwd=tmp_path)
    assert elsewhere.code == 6, "what contradicts itself needs no trust to be broken"


def test_a_pulled_folder_without_trust_is_unverified(warm: WarmCommand, story: Story, tmp_path: Path) -> None:
    warm("pull", "polite-replies", tmp_path / "pulled", cwd=story.folder).ok()
    assert warm("verify", "pulled", cwd=tmp_path).code == 5
    trust = story.home / "trust.json"
    assert warm("verify", "pulled", "--trust", trust, cwd=tmp_path).code == 0


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers for it
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_peft_gives_the_logits_of_the_end_of_training_from_a_pulled_folder(
    dtype: str, workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from peft_registry.registry.homes.base_locations import base_location
    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.use_cases.pull import pull_version

    kept = keep_what_is_trained(monkeypatch)
    opened = open_home(workplace / ".registry")
    try:
        from peft_registry.trainer.use_cases.train import train_and_register

        overrides = ("training.num_train_epochs=1", f"training.dtype={dtype}", "evaluation.bias=[]")
        outcome = train_and_register(opened, workplace / "example" / "train.yml", overrides)
        pull_version(opened, outcome.version, tmp_path / "pulled")
        base = base_location(opened.folder, outcome.run.base.manifest)
    finally:
        opened.close()
    trained = kept[0].model.eval()
    tokens = AutoTokenizer.from_pretrained(base)("Good morning, where is the station?", return_tensors="pt")
    loaded = AutoModelForCausalLM.from_pretrained(base, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
    with torch.no_grad():
        expected = trained(**tokens).logits
        untouched = loaded.eval()(**tokens).logits
        found = PeftModel.from_pretrained(loaded, tmp_path / "pulled").eval()(**tokens).logits
    assert torch.equal(found, expected)
    assert not torch.allclose(untouched, expected), "the adapter must do something"


def keep_what_is_trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models of trainings that follow, as they are when the last step is done."""
    import peft_registry.trainer.training.train_adapter

    kept: list[Any] = []
    train_adapter = peft_registry.trainer.training.train_adapter.train_adapter

    def keeping(*arguments: Any, **options: Any) -> Any:
        trained = train_adapter(*arguments, **options)
        kept.append(replace(trained, model=deepcopy(trained.model)))  # scoring widens what training narrowed
        return trained

    monkeypatch.setattr(peft_registry.trainer.training.train_adapter, "train_adapter", keeping)
    return kept


# --- the base waits on disk ---

ON_DISK = ("offload.to=disk", "training.gradient_checkpointing=true")
SHORT = ("train", "example/train.yml", "training.num_train_epochs=1", "--no-mirror")


def test_a_base_that_waits_on_disk_gives_the_very_version_of_one_in_memory(warm: WarmCommand, workplace: Path) -> None:
    away = warm(*SHORT, *ON_DISK, cwd=workplace).ok()
    assert "offload  3 of 3 blocks of the frozen base" in away.out
    assert list((workplace / ".registry" / "runs").iterdir()) == []
    shown = warm("show", "polite-replies:1", "-o", "json", cwd=workplace).ok().out
    assert "MB, wait on disk" in shown  # beside the measured peak
    there = warm(*SHORT, ON_DISK[1], "--again", "-o", "json", cwd=workplace).ok().value
    assert (there["version"], there["registered_before"]) == ("polite-replies:1", True)


def test_a_run_that_fails_on_an_offloaded_base_leaves_only_its_state(warm: WarmCommand, workplace: Path) -> None:
    broken = ("training.learning_rate=1e30", "training.warmup_ratio=0.0", "training.num_train_epochs=9")
    failed = warm(*SHORT, *ON_DISK, *broken, cwd=workplace)
    assert failed.code == 4, failed
    (run,) = (workplace / ".registry" / "runs").iterdir()
    assert sorted(path.name for path in run.iterdir()) == ["run-log.jsonl", "run.json", "training"]


def test_a_base_that_changes_while_it_is_read_from_disk_is_not_registered(
    workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.use_cases.pull_base import BaseChanged
    from peft_registry.trainer.embedded import embedded_base
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.train import train_and_register

    opened = open_home(workplace / ".registry")
    own = shutil.copytree(embedded_base(), workplace / "own")
    with (own / "config.json").open("a") as stream:
        stream.write("\n")  # the same base in other bytes: a version of its own
    try:
        intake_base(opened, str(own), name="own", mode="reference")

        def touch(event: object) -> None:
            if isinstance(event, Advanced) and event.step == "train":
                os.utime(own / "model.safetensors")

        with pytest.raises(BaseChanged):
            train_and_register(
                opened, workplace / "example" / "train.yml", (*SHORT[2:3], *ON_DISK, "base=own"), observe=touch
            )
    finally:
        opened.close()
    assert listed(workplace) == ["own:1", "tiny:1"]
