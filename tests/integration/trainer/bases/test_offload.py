"""A base whose blocks wait on disk trains to the same bits, in less memory, and leaves nothing behind; what cannot work so is
refused before anything is loaded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.offload import OffloadRefused
from peft_registry.schemas.progress import Advanced
from peft_registry.trainer.bases.offload import FOLDER
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.methods import check_combinations
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.training.checkpoints import trained_parameters
from peft_registry.trainer.training.train_adapter import Trained
from tests.builders.training import a_base_folder, a_tokenizer, a_training_file, colour_rows, train_on, write_rows
from tests.processes.interpreter import ROOT

ON_DISK: dict[str, Any] = {"offload": {"to": "disk"}, "training__gradient_checkpointing": True}
BLOCKS = 3  # of the embedded base


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    write_rows(tmp_path / "rows.jsonl", colour_rows(16))
    return tmp_path


def trained(rows: Path, base: Path, config: TrainingFile, *, scratch: Path | None = None, **more: Any) -> Trained:
    check_combinations(config)
    return train_on(rows, base, config, scratch=scratch or rows, **more)


def both_ways(rows: Path, base: Path, **changes: Any) -> tuple[Trained, Trained]:
    """The same training with everything in memory and with the blocks on disk."""
    return tuple(
        trained(rows, base, a_training_file(**changes, training__gradient_checkpointing=True, offload=where))
        for where in (None, {"to": "disk"})
    )  # type: ignore[return-value]


def assert_same(there: Trained, away: Trained) -> None:
    assert there.result.curve == away.result.curve
    assert there.trials == away.trials
    expected, found = trained_parameters(there.model), trained_parameters(away.model)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "lora__dropout": 0.1},
    "lora in one operation": {"method": "lora"},
    "bottleneck": {"method": "bottleneck", "bottleneck__placement": "houlsby"},
    # each start is scored in fp32 before the next is trained in bf16
    "prompt tuning from two starts in bf16": {
        "method": "prompt_tuning",
        "prompt_tuning__seeds": 2,
        "training__dtype": "bf16",
    },
}
MORE: dict[str, dict[str, Any]] = {
    "lora_pro": {"method": "lora_pro"},
    "lora_pro full": {"method": "lora_pro", "lora_pro__form": "full"},
    "ia3": {"method": "ia3"},
    "vera": {"method": "vera", "vera__r": 8},
    "oft": {"method": "oft", "oft__block_size": 8},
    "loha": {"method": "loha"},
    "hybrid": {"method": "hybrid", "training__dtype": "bf16"},
    "packed": {"method": "lora", "training__packing": True},
}


@pytest.mark.parametrize("case", [*METHODS, *(pytest.param(name, marks=pytest.mark.full) for name in MORE)])
def test_a_base_on_disk_is_trained_on_to_the_same_bits(case: str, rows: Path) -> None:
    there, away = both_ways(rows, embedded_base(), **(METHODS | MORE)[case])
    assert there.waiting is None
    assert away.waiting is not None
    assert (away.waiting.blocks, away.waiting.all_blocks) == (BLOCKS, BLOCKS)
    assert_same(there, away)


def test_the_weights_are_not_there_and_what_fits_in_max_memory_is(rows: Path) -> None:
    whole = trained(rows, embedded_base(), a_training_file(**ON_DISK))
    assert whole.waiting is not None
    one = whole.waiting.size // BLOCKS
    some = {"offload": {"to": "disk", "max_memory": f"{2 * one}B"}}
    part = trained(rows, embedded_base(), a_training_file(**ON_DISK | some))
    assert part.waiting is not None
    assert (part.waiting.blocks, part.waiting.size) == (1, one)
    away = [name for name, weight in part.model.named_parameters() if weight.is_meta]
    assert away
    assert all(f".layers.{BLOCKS - 1}." in name for name in away)
    assert not any(weight.is_meta for weight in trained_parameters(part.model).values())


@pytest.mark.slow
@pytest.mark.processes
def test_a_base_on_disk_takes_less_memory_than_its_weights(tmp_path: Path) -> None:
    base = a_base_folder(
        tmp_path,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=16,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    weights = (base / "model.safetensors").stat().st_size
    small = {"lora__r": 2, "training__per_device_train_batch_size": 1, "data__validation__fraction": 0.1}
    changes = json.dumps(ON_DISK | small)
    command = [sys.executable, "-m", "tests.processes.memory_probe", str(base), changes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert weights > 200e6
    assert found["peak"] - found["floor"] < weights / 2


# --- a mixture of experts: transformers fuses its experts while loading, and that is written ---


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import MixtralConfig, MixtralForCausalLM

    folder = tmp_path_factory.mktemp("mixture")
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=128,
        bos_token_id=256,
        eos_token_id=257,
    )
    MixtralForCausalLM(config).save_pretrained(folder)
    a_tokenizer().save_pretrained(folder)
    return folder


ATTENTION = {"lora__target_modules": ["q_proj", "v_proj"]}


def test_what_is_converted_while_loading_is_written_and_read_back(mixture: Path, rows: Path) -> None:
    assert_same(*both_ways(rows, mixture, **ATTENTION))
    assert [path for path in (rows / FOLDER).iterdir() if "experts" in path.name]


class Stopped(Exception):
    """Stands for whatever ends a run."""


@pytest.mark.parametrize("ends", ["well", "in the middle"])
def test_a_run_leaves_nothing_of_what_it_wrote(ends: str, mixture: Path, rows: Path) -> None:
    written: list[Path] = []

    def observe(event: object) -> None:
        if isinstance(event, Advanced) and event.step == "train":
            written.extend((rows / "runs" / "a-run" / FOLDER).iterdir())
            if ends != "well":
                raise Stopped

    try:
        with run_folder(rows / "runs", "a-run") as folder:
            trained(rows, mixture, a_training_file(**ON_DISK, **ATTENTION), scratch=folder, observe=observe)
    except Stopped:
        assert ends == "in the middle"
    assert written
    assert list((rows / "runs").iterdir()) == []


def test_lora_on_fused_experts_is_refused_because_it_reads_their_weight(mixture: Path, rows: Path) -> None:
    with pytest.raises(OffloadRefused, match="fused experts"):
        trained(rows, mixture, a_training_file(**ON_DISK))


# --- what cannot work ---


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"method": "full"}, "method full"),
        ({"method": "qlora"}, "`quantization`"),
        ({"method": "prefix_tuning", "training__gradient_checkpointing": False}, "method prefix_tuning"),
        ({"lora__use_dora": True}, "lora.use_dora"),
        ({"lora__init": "pissa"}, "lora.init: pissa"),
        ({"lora__bias": "all"}, "lora.bias"),
        ({"training__gradient_checkpointing": False}, "training.gradient_checkpointing"),
    ],
)
def test_what_cannot_work_on_an_offloaded_base_is_refused(changes: dict[str, Any], because: str) -> None:
    with pytest.raises(OffloadRefused, match=because) as caught:
        check_combinations(a_training_file(**ON_DISK | changes))
    assert caught.value.exit_code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="here a GPU computes, and RAM is another memory")
def test_ram_is_no_other_place_where_the_processor_computes(rows: Path) -> None:
    with pytest.raises(OffloadRefused, match="the processor computes here"):
        trained(rows, embedded_base(), a_training_file(**ON_DISK | {"offload": {"to": "cpu"}}))


@pytest.mark.gpu
@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_a_gpu_computes_with_a_base_that_is_elsewhere(place: str, rows: Path) -> None:
    there, away = (
        trained(rows, embedded_base(), a_training_file(**ON_DISK | {"offload": where}))
        for where in (None, {"to": place})
    )
    assert away.waiting is not None
    assert away.waiting.place == place
    assert away.result.curve.loss == pytest.approx(there.result.curve.loss, rel=1e-5)
