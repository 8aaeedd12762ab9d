"""What is pulled loads by the calls that everybody knows, where its base has a name that these resolve."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peft_registry.trainer.embedded import embedded_base
from tests.builders.hub_cache import a_cached_snapshot
from tests.processes.interpreter import ROOT

TRAINING = """\
name: polite
base: tiny
method: lora
data: {train: {path: rows.jsonl}}
training: {epochs: 1, batch_size: 8}
"""
SCRIPT = """
import torch, peft_registry
from peft_registry.cli.main import run
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, pipeline

assert run(["init", "--unencrypted", "--no-example"]) == 0
assert run(["base", "add", "lab/tiny", "--name", "tiny"]) == 0
peft_registry.train("train.yml")
model, tokenizer = peft_registry.load("polite:1"), peft_registry.load_tokenizer("polite:1")
with peft_registry.open_registry() as registry:
    registry.pull("polite:1", "pulled")
ids = torch.tensor([tokenizer.encode("May I?", add_special_tokens=False)])
ours = model(ids).logits
automatic = AutoPeftModelForCausalLM.from_pretrained("pulled", dtype=torch.float32)
assert torch.equal(automatic(ids).logits, ours)
plain = AutoModelForCausalLM.from_pretrained("pulled", dtype=torch.float32)
assert torch.equal(plain(ids).logits, ours)
base = AutoModelForCausalLM.from_pretrained("lab/tiny", dtype=torch.float32)
assert not torch.equal(base(ids).logits, ours)
assert torch.equal(PeftModel.from_pretrained(base, "pulled")(ids).logits, ours)
made = pipeline("text-generation", model="pulled", tokenizer=tokenizer, dtype=torch.float32)
assert torch.equal(made.model(ids).logits, ours)
"""


@pytest.mark.processes
def test_a_pulled_adapter_of_a_base_of_the_hub_loads_by_its_folder_alone(tmp_path: Path) -> None:
    a_cached_snapshot(tmp_path / "hub", embedded_base(), repository="lab/tiny")
    (tmp_path / "train.yml").write_text(TRAINING)
    rows = [f'{{"prompt": "Question {number}?", "completion": " Answer {number}."}}' for number in range(24)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(tmp_path),
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "REGISTRY_HOME": str(tmp_path / ".registry"),
    }

    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
