"""What a GPU would run otherwise than a processor, run here against what a processor runs."""

import os
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import TorchDispatchMode

from peft_registry.schemas.config import OffloadBlock, QuantizationBlock
from peft_registry.trainer.bases.loading import load_model, placed_at_once
from peft_registry.trainer.bases.offload import loading_arguments
from peft_registry.trainer.data.collate import Batch, Batches, lay_flat
from peft_registry.trainer.data.tokenize import Example
from peft_registry.trainer.machine.determinism import ask_for_determinism, noted_exceptions
from peft_registry.trainer.machine.environment import choose_hardware
from peft_registry.trainer.machine.processes import buckets
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training import loop, row_attention
from peft_registry.trainer.training.fused_lora import fused_lora
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.optimizers import plain_adamw
from peft_registry.trainer.training.row_attention import has_varlen, layout_of
from tests.builders.training import a_base_folder, a_model, a_training_file


def rows(lengths: tuple[int, ...] = (9, 5, 12, 7)) -> tuple[Example, ...]:
    torch.manual_seed(4)
    made = []
    for length in lengths:
        ids = torch.randint(0, 250, (length,)).tolist()
        made.append(Example(ids=ids, labels=[-100, -100, *ids[2:]]))  # type: ignore[arg-type]  # as tokenized: arrays or lists
    return tuple(made)


def batch_of(layout: str = "padded") -> Batch:
    return next(iter(Batches(rows(), 4, 256, 1).of_epoch(0, layout)))  # type: ignore[arg-type]  # a literal


def gradients(model: Any, batch: Batch, **how: Any) -> dict[str, torch.Tensor]:
    loss, _, _ = supervised_loss(model, batch, **how)
    loss.backward()
    found = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad(set_to_none=True)
    return found | {"loss": loss.detach()}


def largest_distance(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - one).norm() / one.norm().clamp_min(1e-12)) for name, one in expected.items())


def adapted(base: Any | None = None, **changes: Any) -> Any:
    """LoRA whose B is not zero, in training mode: at zero the gradient of A vanishes."""
    method = "qlora" if "quantization" in changes else "lora"
    model = implementation(method).prepare(base or a_model(), a_training_file(method=method, **changes), seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.manual_seed(len(name))
                parameter.normal_(std=0.02)
    return model.train()


# --- attention over rows side by side ---


def reference_kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What torch documents of `varlen_attn`, by one mask over all tokens."""
    ends = cu_seq_q.tolist()
    assert cu_seq_q.dtype == torch.int32
    assert max_q == max_k == max(end - begin for begin, end in pairwise(ends))
    row = torch.bucketize(torch.arange(ends[-1]), cu_seq_q[1:], right=True)
    at = torch.arange(ends[-1])
    distance = at[:, None] - at[None, :]
    left, right = window_size
    seen = (row[:, None] == row[None, :]) & (distance >= -right) & ((left < 0) | (distance <= left))
    query, key, value = (tensor.transpose(0, 1)[None] for tensor in (query, key, value))
    out = scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale, enable_gqa=enable_gqa)
    return out[0].transpose(0, 1)


@pytest.mark.parametrize("window", [None, 4])
def test_one_launch_for_all_rows_gives_what_a_launch_a_row_gives(window: int | None) -> None:
    torch.manual_seed(1)
    lengths = (5, 1, 9)
    query, key, value = (torch.randn(1, heads, sum(lengths), 8) for heads in (4, 2, 2))
    apart, together = row_attention._Rows(lambda *_, **__: None), row_attention._Rows(lambda *_, **__: reference_kernel)
    found = []
    for attention in (apart, together):
        attention.lengths = lengths
        out, _ = attention.attend(torch.nn.Module(), query, key, value, None, scaling=0.3, sliding_window=window)
        assert out.shape == (1, sum(lengths), 4, 8)
        found.append(out)
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize(
    ("dtype", "capability", "head", "expected"),
    [
        (torch.bfloat16, (8, 0), 128, True),
        (torch.float16, (9, 0), 64, True),
        (torch.bfloat16, (7, 5), 64, False),  # T4: flash attention 2 needs Ampere
        (torch.float32, (9, 0), 64, False),
        (torch.bfloat16, (9, 0), 512, False),
        (torch.bfloat16, (9, 0), 100, False),
        (torch.bfloat16, None, 64, False),
    ],
)
def test_the_kernel_for_rows_is_chosen_by_what_the_gpu_has(
    dtype: torch.dtype, capability: tuple[int, int] | None, head: int, expected: bool
) -> None:
    assert has_varlen(dtype, capability, head=head) is expected


def test_where_a_launch_a_row_would_be_slower_rows_are_padded_unless_they_are_packed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = a_model()
    assert layout_of(model) == "rows"
    monkeypatch.setattr(row_attention, "rows_are_faster", lambda _: False)
    assert layout_of(model) == "padded"
    assert layout_of(model, packs=True) == "rows"


# --- nobody waits for a micro-batch ---


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Counts what would hold an accelerator up: a number read from it, or positions looked for on it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        boolean_index = name == "aten::index.Tensor" and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal") or boolean_index:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", ["padded", "rows"])
def test_positions_as_numbers_give_the_loss_and_the_gradients_of_truth_values_and_nobody_waits(layout: str) -> None:
    model, batch = adapted(), batch_of(layout)
    if layout == "rows":
        with row_attention.row_attention(model) as attention:
            attention.of(batch.lengths)
            _compare_places(model, batch)
    else:
        _compare_places(model, batch)


def _compare_places(model: Any, batch: Batch) -> None:
    counted = batch.with_places()
    expected = gradients(model, batch)
    with Waits() as waits:
        found = gradients(model, counted)
    assert all(torch.equal(found[name], one) for name, one in expected.items())
    assert counted.places is not None and len(counted.places) == batch.supervised
    with Waits() as of_the_model, torch.no_grad():  # whether a mask masks anything is read by transformers
        model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, position_ids=batch.position_ids)
    assert waits.names == of_the_model.names
    assert (waits.names == []) is (batch.attention_mask is None)


def test_a_step_reads_its_loss_once_whatever_it_has_of_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits()
    backward = loop._TrainingRun.backward

    def watched(run: Any, micro_batches: list[Batch]) -> Any:
        with waits:
            return backward(run, [batch.with_places() for batch in micro_batches])

    monkeypatch.setattr(loop._TrainingRun, "backward", watched)
    settings = a_training_file(training__gradient_accumulation_steps=4).training
    result = train(adapted(), Batches(rows((9, 5, 12, 7, 6, 6, 5, 8)), 2, 256, 1), settings, layout="rows")
    assert result.steps == 1
    # of a batch `supervised` is counted on the processor before it is sent: here that is the same device
    assert waits.names.count("aten::_local_scalar_dense") == 1 + 4
    assert waits.names.count("aten::index.Tensor") == 0


# --- LoRA under dropout and in 4 bits ---


@pytest.mark.parametrize("changes", [{"lora__dropout": 0.3}, {"lora__dropout": 0.3, "lora__use_rslora": True}])
def test_with_dropout_the_products_beside_give_pefts_loss_and_gradients(changes: dict[str, Any]) -> None:
    model, batch = adapted(**changes), batch_of()
    torch.manual_seed(7)
    own = gradients(model, batch)
    with fused_lora(model, beside=True) as layers:
        torch.manual_seed(7)
        found = gradients(model, batch)
    assert layers == 14
    assert largest_distance(found, own) < 1e-5


def test_in_4_bits_the_products_beside_give_pefts_loss_and_gradients_and_no_fp32_input(tmp_path: Path) -> None:
    block = QuantizationBlock()
    base = load_model(a_base_folder(tmp_path, hidden_size=64), dtype="fp32", device="cpu", quantization=block)
    model, batch = adapted(base, quantization={}), batch_of()
    own = gradients(model, batch)
    with fused_lora(model, beside=True) as layers:
        found = gradients(model, batch)
    assert layers == 14
    assert largest_distance(found, own) < 1e-5
    with fused_lora(model) as layers:
        assert layers == 0, "on a processor they stay peft's"


# --- logits in pieces ---


def soft_capped(model: Any) -> Any:
    """A model that does something to what its head gives, as Gemma 2 does."""
    own = model.forward

    def forward(*arguments: Any, **options: Any) -> Any:
        output = own(*arguments, **options)
        output.logits = 5.0 * torch.tanh(output.logits / 5.0)
        return output

    model.forward = forward
    return model


@pytest.mark.parametrize("make", [a_model, lambda: soft_capped(a_model())], ids=["plain", "soft-capped"])
@pytest.mark.parametrize("tokens_at_once", [1, 5])
def test_logits_in_pieces_give_the_loss_and_the_gradients_of_whole_ones(
    make: Callable[[], Any], tokens_at_once: int
) -> None:
    model, batch = make().train(), batch_of()
    expected = gradients(model, batch)
    found = gradients(model, batch, most_logits=tokens_at_once * 300)
    assert largest_distance(found, expected) < 1e-5


def test_logits_in_pieces_are_never_all_there() -> None:
    model, batch = a_model().train(), batch_of()
    largest = 0

    class Looks(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            # logits, and not the head's weight of (300, 32) turned
            if isinstance(out, torch.Tensor) and out.dim() >= 2 and out.shape[-1] == 300 and out.shape[-2] != 32:
                largest = max(largest, out.numel())
            return out

    with Looks():
        gradients(model, batch, most_logits=3 * 300)
    assert largest == 3 * 300


# --- where a base goes, and what is asked of a GPU ---


def test_each_process_puts_its_base_on_its_own_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun's LOCAL_RANK chooses the GPU (`trainer/runs/worker.py`); what loads asks torch for the one that was chosen."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert placed_at_once("cuda") == {"device_map": {"": 1}}
    assert placed_at_once("cpu") == {}
    base = a_base_folder(tmp_path / "base")
    found = loading_arguments(base, OffloadBlock(to="cpu"), dtype="fp32", device="cuda", scratch=tmp_path)
    assert set(found["device_map"].values()) == {1, "cpu"}


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is asked of a GPU is taken back afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield
    torch.use_deterministic_algorithms(mode=False)


@pytest.mark.usefixtures("undone")
def test_a_gpu_is_asked_for_deterministic_kernels_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    choose_hardware(device="cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    choose_hardware()
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert torch.utils.deterministic.fill_uninitialized_memory is False


@pytest.mark.usefixtures("undone")
def test_an_operation_without_a_deterministic_kernel_is_named_and_other_warnings_stay() -> None:
    ask_for_determinism()
    with noted_exceptions() as names, pytest.warns(UserWarning, match="something else"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert names == {"put_"}


# --- the rest ---


def test_a_gpu_takes_a_step_of_adamw_in_one_kernel_and_a_processor_as_before() -> None:
    settings = a_training_file().training
    assert plain_adamw(a_model(), settings).param_groups[0]["fused"] is None

    class OnAGpu(torch.nn.Parameter):
        is_cuda = True

    class Holder(torch.nn.Module):
        def parameters(self, recurse: bool = True) -> Iterator[torch.nn.Parameter]:
            return iter((OnAGpu(torch.zeros(2)),))

    assert plain_adamw(Holder(), settings).param_groups[0]["fused"] is True


def test_gradients_are_added_up_in_buckets_that_hold_all_of_them_once() -> None:
    tensors = [torch.zeros(size) for size in (3, 1, 9, 2, 2)]
    found = list(buckets(tensors, most_bytes=16))
    assert [[len(tensor) for tensor in bucket] for bucket in found] == [[3, 1], [9], [2, 2]]
    assert [id(tensor) for bucket in found for tensor in bucket] == [id(tensor) for tensor in tensors]


def test_a_flat_batch_has_its_places_too() -> None:
    batch = lay_flat(rows(), layout="rows").with_places()
    assert batch.places is not None and len(batch.places) == batch.supervised
