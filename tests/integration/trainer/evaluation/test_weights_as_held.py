"""Scores are those of a model in fp32, and its weights stay as training holds them: in bf16, in the files, or on disk."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from peft_registry.schemas.config import OffloadBlock
from peft_registry.trainer.bases.loading import held_dtype, load_base
from peft_registry.trainer.bases.stored_weights import TensorPlace, stored_weights
from peft_registry.trainer.evaluation import wide_layers as wide_layers_module
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.scoring import in_float32, score
from tests.builders.training import a_base_folder, a_model, a_tokenizer
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
REQUESTS = [
    Request("the cat", " sat on a mat"),
    Request("the cat", " ran up a hill"),
    Request("", "a dog ran, and a cat sat"),
]
LARGE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_key_value_heads": 4,
    "initializer_range": 0.05,
}  # its matrices are over 2^16 weights
MATRICES = 2 * (4 * 256 * 256 + 3 * 256 * 512) + 300 * 256


@pytest.fixture
def model() -> Any:
    return a_model(**LARGE)


@contextmanager
def parameter_bytes(model: Any) -> Iterator[dict[torch.dtype, int]]:
    """The most that the parameters take while a layer computes, by number format."""
    most: dict[torch.dtype, int] = {}

    def look(*_: Any) -> None:
        found: dict[torch.dtype, dict[int, int]] = {}
        for one in model.parameters():
            if not one.is_meta:
                storage = one.untyped_storage()
                found.setdefault(one.dtype, {})[storage.data_ptr()] = storage.nbytes()
        for dtype, sizes in found.items():
            most[dtype] = max(most.get(dtype, 0), sum(sizes.values()))

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        yield most
    finally:
        for hook in hooks:
            hook.remove()


def narrow(model: Any) -> None:
    """Parameters in bf16; buffers stay fp32, as they do when a bf16 checkpoint is loaded."""
    for one in model.parameters():
        one.data = one.data.bfloat16()


def scores(model: Any, **how: Any) -> list[float]:
    with in_float32(model, **how):
        return [one.log_likelihood for one in score(model, a_tokenizer(), REQUESTS)]


def wide_copy(model: Any) -> Any:
    """The same values in fp32, all at once."""
    wide = a_model(**LARGE)
    wide.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    return wide


def test_a_bf16_base_is_scored_to_the_bits_of_its_fp32_copy_and_no_such_copy_is_made(model: Any) -> None:
    narrow(model)
    expected = scores(wide_copy(model))
    with parameter_bytes(model) as most:
        assert scores(model) == expected
    # the matrices are wide one at a time, outside of the parameters; norms are wide, and what stands for a matrix is one number
    assert most[torch.float32] < 0.05 * 4 * MATRICES
    assert all(one.dtype == torch.bfloat16 and bool(one.isfinite().all()) for one in model.parameters())


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_on_a_bf16_base_is_scored_to_the_bits_of_its_fp32_copy(model: Any, dora: bool) -> None:
    narrow(model)
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], use_dora=dora, init_lora_weights=False)
    wide = get_peft_model(wide_copy(model), config)
    adapted = get_peft_model(model, config)
    wide.load_state_dict({name: tensor.float() for name, tensor in adapted.state_dict().items()})
    expected = scores(wide)
    with parameter_bytes(adapted) as most:
        assert scores(adapted) == (pytest.approx(expected, abs=1e-4) if dora else expected)
    if not dora:
        assert most[torch.float32] < 0.1 * 4 * MATRICES


def test_a_base_of_fp32_files_that_training_narrowed_is_scored_as_it_is_stored(tmp_path: Path) -> None:
    folder = a_base_folder(tmp_path, **LARGE)
    assert held_dtype(folder) == "fp32"
    expected = scores(load_base(folder, dtype="fp32", device="cpu")[0])
    held = load_base(folder, dtype="bf16", device="cpu")[0].requires_grad_(False)
    stored = stored_weights(held, folder)
    assert len(stored.tensors) == sum(1 for _ in held.parameters())
    with parameter_bytes(held) as most:
        assert scores(held, stored=stored) == expected
    assert most[torch.float32] < 0.05 * 4 * MATRICES
    assert scores(held) != expected  # without the files it is another model


def test_a_base_of_bf16_files_is_loaded_as_they_are(tmp_path: Path) -> None:
    a_model(**LARGE).bfloat16().save_pretrained(tmp_path)
    assert held_dtype(tmp_path) == "bf16"


def test_a_model_that_looks_at_a_weight_outside_of_its_layer_is_widened_whole(model: Any) -> None:
    narrow(model)
    wide = wide_copy(model)
    for each in (model, wide):
        inner = each.model.embed_tokens
        each.model.norm.register_forward_hook(lambda _m, _i, out, inner=inner: out + inner.weight.float().mean())
    expected = scores(wide)
    assert scores(model) == expected
    assert all(one.dtype == torch.bfloat16 for one in model.parameters())


def test_a_base_that_waits_on_disk_is_scored_layer_by_layer_to_the_bits_of_the_whole(tmp_path: Path) -> None:
    a_model(**LARGE, tied=False).bfloat16().save_pretrained(tmp_path)
    a_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "scratch").mkdir()
    whole = load_base(tmp_path, dtype="bf16", device="cpu")[0]
    away = load_base(
        tmp_path, dtype="bf16", device="cpu", offload=OffloadBlock(to="disk"), scratch=tmp_path / "scratch"
    )[0]
    with parameter_bytes(away) as most:
        found = scores(away)
    assert found == pytest.approx(scores(whole), abs=1e-5)
    block = 4 * (4 * 256 * 256 + 3 * 256 * 512)
    ends = 4 * 2 * 300 * 256
    assert most[torch.float32] < ends + 1.1 * block  # of two blocks never both


def test_few_rows_are_widened_in_pieces_to_the_same_product(model: Any) -> None:
    narrow(model)
    wide = wide_copy(model)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode(), in_float32(model), in_float32(wide):
        assert torch.allclose(model(input_ids=ids).logits, wide(input_ids=ids).logits, atol=1e-5)


@pytest.mark.full  # that no wide copy is made is counted above, tensor by tensor; this is the whole process, on a real model
@pytest.mark.slow
@pytest.mark.real_model
@pytest.mark.timeout(600)
def test_scoring_a_real_model_takes_no_more_memory_than_training_it(smollm2: Path) -> None:
    changes = {
        "training__dtype": "bf16",
        "training__per_device_train_batch_size": 2,
        "training__max_length": 256,
        "data__validation__fraction": 0.01,
    }

    def peak_of(probe: str) -> int:
        command = [sys.executable, "-m", f"tests.processes.{probe}", str(smollm2), json.dumps(changes)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["peak"])

    assert peak_of("scoring_probe") <= 1.1 * peak_of("memory_probe")


@pytest.mark.parametrize(("room", "readings"), [(0, 2), (1 << 30, 1)])
def test_where_there_is_room_a_weight_is_read_from_its_file_once(
    room: int, readings: int, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU waits for each reading; a processor's files stay in the system's cache, and it has no such room."""
    a_base_folder(tmp_path, **LARGE)
    narrow(model)
    model.requires_grad_(False)
    read: list[int] = []
    own = TensorPlace.read

    def counted(place: TensorPlace, first: int, count: int, space: torch.Tensor) -> None:
        read.append(count)
        own(place, first, count, space)

    monkeypatch.setattr(TensorPlace, "read", counted)
    assert wide_layers_module._room_beside(model) == 0
    monkeypatch.setattr(wide_layers_module, "_room_beside", lambda _: room)
    stored = stored_weights(model, tmp_path)
    ids = torch.arange(24).reshape(2, 12)
    found, after = [], []
    with wide_layers_module.wide_layers(model, stored), torch.inference_mode():
        for _ in range(2):
            found.append(model(input_ids=ids, use_cache=False).logits)
            after.append(sum(read))
    assert torch.equal(*found)
    assert after[0] >= 2 * (4 * 256 * 256 + 3 * 256 * 512)
    assert after[1] == readings * after[0]
