"""What `import peft_registry` gives a script or a notebook does what the command of its name does."""

import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import peft_registry
from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import copied_workplace
from tests.e2e.conftest import Story
from tests.processes.interpreter import ROOT

PAGE = ROOT / "docs" / "how-to" / "use-from-python.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def copy(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = copied_workplace(story.folder, tmp_path / "copy")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("REGISTRY_HOME", str(folder / ".registry"))
    # each copy is a registry of its own: one user would see the second as the first with entries cut off
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return folder


def test_a_loaded_version_computes_what_peft_computes_from_the_pulled_folder(copy: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from peft_registry.trainer.embedded import embedded_base

    with closing(open_home(copy / ".registry")) as opened:
        pull_version(opened, version_named(opened, "polite-replies:1"), copy / "pulled")
    with peft_registry.open_registry(quiet=True) as registry:
        model = registry.load("polite-replies:1")
        tokenizer = registry.load_tokenizer("polite-replies:1")
        base = registry.load("tiny:1")
    ids = torch.tensor([tokenizer.encode("May I borrow your pen?", add_special_tokens=False)])
    assert isinstance(model, PeftModel)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        peer = AutoModelForCausalLM.from_pretrained(embedded_base(), dtype=torch.float32)
        assert torch.equal(base(ids).logits, peer(ids).logits)
        adapted = PeftModel.from_pretrained(peer, str(copy / "pulled"))
        assert torch.equal(model(ids).logits, adapted(ids).logits)
    assert not list((copy / ".registry").glob(".load-*"))


def test_what_is_registered_is_listed_recorded_reported_and_verified(copy: Path) -> None:
    versions = peft_registry.versions("polite")
    assert [version.label for version in versions][:1] == ["polite-replies:1"]
    frame = versions.frame()
    assert list(frame["name"]) == [version.name for version in versions]
    assert frame.loc[0, "manifest_digest"] == str(versions[0].manifest_digest)
    assert peft_registry.record("polite-replies:1").version == "polite-replies:1"
    page = peft_registry.report("polite-replies:1", copy / "page.html")
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")
    outcome = peft_registry.verify("polite-replies:1")
    assert (outcome.verdict, len(outcome.checks)) == ("verified", 10)


def test_the_errors_are_those_of_the_command(copy: Path) -> None:
    with pytest.raises(peft_registry.NotFound) as unknown:
        peft_registry.load("polite-replies:99")
    assert unknown.value.exit_code == 7
    assert unknown.value.fix
    with pytest.raises(peft_registry.InputRefused):
        peft_registry.verify("polite-replies:1", require=["everything"])
    with pytest.raises(peft_registry.KnownError):
        peft_registry.versions(home=copy / "nowhere")


def test_a_version_whose_bytes_changed_is_broken_and_not_loaded(copy: Path) -> None:
    version = peft_registry.versions("polite-replies")[0]
    with closing(open_home(copy / ".registry")) as registry:
        weights = next(
            entry
            for entry in stored_manifest(registry, version.manifest_digest).files
            if entry.path.endswith("safetensors")
        )
        path = registry.store.local_path(weights.sha256)
    assert path is not None
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert peft_registry.verify(version.label).verdict == "broken"
    with pytest.raises(peft_registry.KnownError) as refused:
        peft_registry.load(version.label)
    assert refused.value.exit_code == 6


@pytest.mark.processes  # with the lines of the guides: tests/e2e/test_documented_commands.py
def test_every_example_of_the_page_runs(copy: Path) -> None:
    """In one session, from its first line to its last."""
    an_approver()
    an_adapter_of_others(copy / "their-adapter")
    names: dict[str, object] = {}
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert len(blocks) > 3
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    with closing(open_home(copy / ".registry")) as registry:
        assert check_log(registry).contradictions == ()


def test_threads_share_a_registry_and_every_act_of_theirs_is_in_the_log(copy: Path) -> None:
    """Two open registries on one home, four threads on each: all read, all move an alias, half of them load a model."""

    def work(registry: peft_registry.OpenRegistry, number: int) -> list[object]:
        label = "polite-replies:1"
        answers: list[object] = [registry.show(label).version.label, len(registry.lineage(label).nodes)]
        answers.append(registry.promote(label, f"lane-{number}").version)
        answers += [registry.gate(f"polite-replies@lane-{number}").decision.is_open, registry.verify(label).verdict]
        answers.append(len(registry.versions("polite")))
        if number % 2:
            answers.append(sum(parameter.numel() for parameter in registry.load(label).parameters()))
        return answers

    with peft_registry.open_registry(quiet=True) as first, peft_registry.open_registry(quiet=True) as second:
        before = len(first.events())
        alone = work(first, 0), work(first, 1)
        with ThreadPoolExecutor(8) as threads:
            asked = [threads.submit(work, (first, second)[number // 4], 2 + number) for number in range(8)]
            answers = [future.result() for future in asked]
        assert answers == [*alone] * 4
        events = second.events(since=before)
        assert [event.index for event in events] == list(range(before, before + len(events)))
        moved = [event.about for event in events if event.kind == "alias"]
        assert sorted(moved) == sorted(f"polite-replies@lane-{number}" for number in range(10))
        assert first.events(since=before, limit=3) == events[:3]
        assert first.events(since=before + len(events)) == ()
    with closing(open_home(copy / ".registry")) as registry:
        assert check_log(registry).contradictions == ()


def test_a_closed_gate_is_a_value_with_its_reasons_and_moves_nothing(copy: Path) -> None:
    with peft_registry.open_registry(quiet=True) as registry:
        gate = registry.gate("polite-replies:1", "regulated")
        assert not gate.decision.is_open
        assert {"approvals"} <= {reason.rule for reason in gate.decision.reasons}
        with pytest.raises(peft_registry.Refused, match="blocked by policy regulated"):
            registry.promote("polite-replies:1", "champion", policy="regulated")
        with pytest.raises(peft_registry.NotFound):
            registry.show("polite-replies@champion")
        assert registry.promote("polite-replies:1", "champion", if_current=0).version is None
        with pytest.raises(peft_registry.Taken):
            registry.promote("polite-replies:1", "champion", if_current=0)


def an_approver() -> None:
    """A key of a person who may approve and recall, in KEYS."""
    assert run(["keys", "create", "approver", "--person", "alex", "--out", "KEYS", "--unencrypted"]) == 0
    assert run(["trust", "add", "KEYS/approver.pub", "--person", "alex", "--role", "approver"]) == 0


def an_adapter_of_others(folder: Path) -> None:
    """What peft saves of an adapter on the embedded base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from peft_registry.trainer.embedded import embedded_base

    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(embedded_base())
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        get_peft_model(base, config).save_pretrained(str(folder))


def test_the_lines_of_the_readme_run(copy: Path) -> None:
    import torch

    names: dict[str, object] = {}
    for block in BLOCK.findall((ROOT / "README.md").read_text("utf-8")):
        exec(compile(block, "README.md", "exec"), names)
    assert isinstance(names["model"], torch.nn.Module)


def test_the_page_shows_every_function() -> None:
    text = PAGE.read_text("utf-8")
    functions = [name for name in peft_registry.__all__ if name[0].islower()]
    assert [name for name in functions if not re.search(rf"\.{name}\(", text)] == []
