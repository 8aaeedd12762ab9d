"""Weights that are spread over two processes train to those of one, and no more than their part is anywhere between two steps."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.errors import IntegrityBroken, RunFailed
from peft_registry.schemas.sharding import ShardingRefused, check_processes
from peft_registry.trainer.costs.fit import columns_of
from peft_registry.trainer.costs.memory import Shape, trace_memory
from peft_registry.trainer.methods import check_combinations
from peft_registry.trainer.runs.launch import Launch, LaunchRefused, OtherProcesses
from tests.bench.machine import folder_on_disk
from tests.builders.training import a_model, a_training_file
from tests.processes.interpreter import ROOT
from tests.processes.sharded import config_of

STEPS = 12
LARGEST_PART = 0.6  # of all weights between two steps, in one of two processes
SHARDED = {"training__sharding": "full"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of trainings of each kind in two processes, and in one."""
    return run(tmp_path_factory.mktemp("sharded"), "lora", "full", "resume", "data", "memory")


def run(folder: Path, *names: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.sharded", str(folder), *names],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def assert_equal_to_one_process(found: dict[str, Any]) -> None:
    alone, (first, second) = found["alone"], found["spread"]
    assert len(alone["losses"]) == STEPS
    for losses in (first["losses"], second["losses"]):
        assert losses == pytest.approx(alone["losses"], abs=1e-5)
    assert found["distance"] < 1e-3
    assert max(first["share"], second["share"]) <= LARGEST_PART
    assert alone["share"] == 1


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["lora", "full"])
def test_two_processes_that_have_a_part_each_train_to_the_weights_of_one(name: str, found: dict[str, Any]) -> None:
    assert_equal_to_one_process(found[name])


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["lora", "full"])
def test_what_the_estimate_says_of_each_process_is_what_each_holds(name: str, found: dict[str, Any]) -> None:
    config = config_of(name)
    hf_config = a_model(tied=name != "full", hidden_size=64).config
    trace = trace_memory(hf_config, config, Shape(2, 32, 62), stored="fp32", products="fp32")
    columns = columns_of(trace, libraries=0, tokenizer=0)
    step = next(column.spread(trace, over=2) for column in columns if column.name == "optimizer")
    buffers = 4 * 8  # the inverse frequencies of the rotary embedding, which are no weights
    for process in found[name]["spread"]:
        assert process["bytes"]["weights"] == pytest.approx(step.parts["weights"], abs=buffers)
        assert process["held"]["gradients"] == step.parts["gradients"]
        # AdamW's own counter of steps is one number for each tensor
        assert process["held"]["optimizer"] == pytest.approx(step.parts["optimizer"], rel=0.01)


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_a_base_in_4_bits_is_spread_likewise(tmp_path: Path) -> None:
    """bitsandbytes keeps the scales of each layer whole in each process; the packed numbers are spread."""
    assert_equal_to_one_process(run(tmp_path, "qlora")["qlora"])


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_in_fp16_two_processes_pass_over_the_steps_that_one_passes_over(tmp_path: Path) -> None:
    found = run(tmp_path, "fp16")["fp16"]
    alone, (first, second) = found["alone"], found["spread"]
    assert 0 < alone["passed_over"] < STEPS
    assert first["passed_over"] == second["passed_over"] == alone["passed_over"]
    assert first["losses"] == second["losses"]
    # weights that differ in the last bit of fp32 may be rounded to two neighbours in fp16, 2**-11 apart
    assert first["losses"] == pytest.approx(alone["losses"], rel=2**-8)


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.timeout(900)
def test_no_process_ever_holds_a_base_of_over_2_gb_whole() -> None:
    with folder_on_disk() as folder:
        large = run(folder, "large")["large"]
    assert large["weights"] > 2e9
    for process in large["processes"]:
        # half of it, and of sixteen blocks that which computes and that which is fetched meanwhile, each beside the buffers that it
        # comes through: 0.91 were measured, with everything else that a training takes
        assert process["grown"] < large["weights"]
        assert process["share"] <= LARGEST_PART


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
def test_a_run_of_which_one_process_was_killed_goes_on_to_the_weights_of_a_whole_one(found: dict[str, Any]) -> None:
    resume = found["resume"]
    assert resume["killed"] == [None, None]
    assert resume["left"] == ["checkpoint-6.parts", "checkpoint.pt"], "no more than the last state that was kept whole"
    assert [entry["resumed_at"] for entry in resume["resumed"]] == [6, 6]
    assert resume["resumed"][0]["losses"] == found["lora"]["spread"][0]["losses"]
    assert resume["distance"] == 0
    assert resume["after"] == ["checkpoint-12.parts", "checkpoint.pt"]


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
def test_one_process_puts_the_result_together_and_has_no_more_of_the_base_than_computes(found: dict[str, Any]) -> None:
    resume = found["resume"]
    assert resume["registered"]["losses"] == found["lora"]["spread"][0]["losses"]
    assert resume["registered"]["waiting"] == 2, "both blocks are read when they compute"
    assert resume["registered_distance"] == 0
    assert resume["artifact"] == ["adapter_config.json", "adapter_model.safetensors"]


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
def test_a_state_of_two_processes_is_not_read_by_three(found: dict[str, Any]) -> None:
    three = found["resume"]["three"]
    assert [entry["code"] for entry in three] == [IntegrityBroken.exit_code] * 3
    assert all("it is of 2 processes, and here are 3" in entry["error"] for entry in three)


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
def test_a_process_that_runs_out_of_memory_says_so_and_takes_the_other_with_it(found: dict[str, Any]) -> None:
    first, second = found["memory"]["processes"]
    assert second["code"] == RunFailed.exit_code
    assert "memory ran out at step 3" in second["error"]
    assert first is None, "it ended without a result"


@pytest.mark.processes
@pytest.mark.cores
@pytest.mark.timeout(900)
def test_processes_that_read_other_rows_find_it_out_before_they_train(found: dict[str, Any]) -> None:
    for here, there in ((0, 1), (1, 0)):
        said = found["data"][here]
        assert said["code"] == LaunchRefused.exit_code
        assert f"process {there} has another data than process {here}" in said["error"]


# --- what is refused before anything is loaded ---


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"method": "ia3"}, "method ia3"),
        ({"method": "lora_pro"}, "method lora_pro"),
        ({"lora__use_dora": True}, "lora.use_dora"),
        ({"lora__init": "pissa"}, "lora.init: pissa"),
        ({"lora__bias": "all"}, "lora.bias"),
        ({"lora__target_parameters": ["mlp.experts.gate_up_proj"]}, "lora.target_parameters"),
        ({"training__eval_steps": 3}, "training.eval_steps"),
        ({"offload": {}, "training__gradient_checkpointing": True}, "`offload`"),
        ({"method": "full", "continue_from": "before"}, "continue_from"),
    ],
)
def test_what_cannot_work_on_weights_that_are_spread_is_refused(changes: dict[str, Any], because: str) -> None:
    with pytest.raises(ShardingRefused, match=because) as caught:
        check_combinations(a_training_file(**SHARDED | changes))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_what_can_be_spread_is_not(method: str, dtype: str) -> None:
    changes = {"quantization": {}} if method == "qlora" else {}
    check_combinations(a_training_file(method=method, training__dtype=dtype, **SHARDED, **changes))


def test_one_process_and_several_machines_are_refused() -> None:
    config = a_training_file(**SHARDED)
    check_processes(config, nproc=2, nnodes=1)
    with pytest.raises(ShardingRefused, match="one process"):
        check_processes(config, nproc=1, nnodes=1)
    with pytest.raises(ShardingRefused, match="several machines"):
        check_processes(config, nproc=2, nnodes=2)
    check_processes(a_training_file(), nproc=1, nnodes=2)


def test_a_run_goes_on_in_as_many_processes_as_it_was_begun_in() -> None:
    assert Launch(nproc=2).require_possible(began_in=2)
    for launch in (Launch(), Launch(nproc=3)):
        with pytest.raises(OtherProcesses, match="begun in 2 processes"):
            launch.require_possible(began_in=2)
