"""The record of a LoRA of 18 rows on a real small model: its compute, its ratio and its norm, each against something else."""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import Records, records_of
from peft_registry.trainer.embedded import example_rows

pytestmark = [
    pytest.mark.real_model,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # what transformers says of peft's own call
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]
ROWS = 18
PARAMETERS = 134_515_008  # of SmolLM2-135M, its embeddings tied
BASE_TOKENS = 2_000_000_000_000
CONFIG = f"""\
name: eighteen
base: smollm2
method: lora
lora: {{r: 4, alpha: 8, target_modules: [q_proj, v_proj]}}
data: {{train: {{path: rows.jsonl, format: prompt_completion, rows: {ROWS}}}}}
training: {{learning_rate: 1e-3, num_train_epochs: 1, per_device_train_batch_size: 6, max_length: 48, seed: 7}}
evaluation: {{bias: []}}
"""


@dataclass(frozen=True)
class Signed:
    """What was signed of the training and of its merge in fp32."""

    trained: Records
    merged: Records


@pytest.fixture(scope="module")
def signed(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("eighteen")
    (folder / "rows.jsonl").write_bytes(example_rows().read_bytes())
    (folder / "train.yml").write_text(CONFIG)
    (folder / "base.yml").write_text(f"asserted_by: a test\ntraining_tokens: {BASE_TOKENS}\n")
    where = ["--home", str(folder / "home")]
    facts = ["--facts", str(folder / "base.yml")]
    assert run(["init", "--unencrypted", "--no-example", *where]) == 0
    assert run(["base", "add", str(smollm2), "--name", "smollm2", *facts, *where]) == 0
    assert run(["train", str(folder / "train.yml"), "--no-mirror", *where]) == 0
    assert run(["merge", "eighteen", "--dtype", "fp32", "--name", "whole", "--no-mirror", *where]) == 0
    with closing(open_home(folder / "home")) as registry:
        return Signed(*(records_of(registry, version_named(registry, name)) for name in ("eighteen", "whole")))


def test_the_printed_inputs_give_the_printed_compute_and_ratio(signed: Signed) -> None:
    record, run_record = signed.trained.modification, signed.trained.run
    assert record is not None and run_record is not None
    inputs = record.compute.inputs
    assert inputs.source == "measured"
    assert inputs.value["P"] == PARAMETERS
    assert sum(selection.rows for selection in run_record.data[0].selections) == ROWS
    trained_tokens = sum(part.tokens or 0 for part in run_record.data[0].selections if part.split == "train")
    # padding is computed like any other token, and one pass is what a single epoch takes
    assert trained_tokens <= inputs.value["D"] <= ROWS * 48
    flop = 6 * inputs.value["P"] * inputs.value["D"]
    assert record.compute.conservative_flop.value == flop
    original = 6 * PARAMETERS * BASE_TOKENS
    assert record.gpai.original_flop.value == pytest.approx(original, rel=1e-12)
    assert record.gpai.ratio.value == pytest.approx(inputs.value["D"] / BASE_TOKENS, rel=1e-12)
    assert record.compute.cumulative_flop.value == pytest.approx(original + flop, rel=1e-12)
    assert record.base[0].training_tokens.asserted_by == "a test"
    print(f"\nP {inputs.value['P']} D {inputs.value['D']} FLOP {flop:.6g} ratio {record.gpai.ratio.value:.6g}")


def test_the_norm_of_the_record_is_what_a_merge_in_fp32_measures(signed: Signed) -> None:
    record, merge = signed.trained.modification, signed.merged.merge
    assert record is not None and merge is not None
    assert merge.relative_norm is not None
    norm = record.change.rel_norm_global.value
    assert norm == pytest.approx(merge.relative_norm, rel=1e-4)
    assert len(record.change.modules.value) == 30 * 2, "query and value of each block"
    print(f"\nnorm of the record {norm:.10f}, of the merge in fp32 {merge.relative_norm:.10f}")
