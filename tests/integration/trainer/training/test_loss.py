"""The loss over supervised tokens, and its gradient, against torch's own in fp64."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from peft_registry.trainer.training import loss
from peft_registry.trainer.training.loss import summed_cross_entropy

TOKENS, VOCABULARY = 7, 50


def some_logits(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    logits = (torch.randn(TOKENS, VOCABULARY) * 4).to(dtype)
    logits[2, 5] = 300.0  # its exponential is no number in fp32
    return logits, torch.randint(0, VOCABULARY, (TOKENS,))


@pytest.mark.parametrize("rows", [1, 3, TOKENS])
# a gradient in bf16 is rounded twice: as that of the sum, and when the sum becomes a mean; one in fp16 only then
@pytest.mark.parametrize(
    ("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 2 * 2**-8), (torch.float16, 2**-11)]
)
def test_loss_and_gradient_of_a_mean_are_torchs_whatever_the_blocks(
    dtype: torch.dtype, error: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "BLOCK_ELEMENTS", rows * VOCABULARY)
    logits, targets = some_logits(dtype)
    exact = logits.double().requires_grad_()
    expected = cross_entropy(exact, targets)
    expected.backward()

    found = summed_cross_entropy(logits.requires_grad_(), targets) / TOKENS
    found.backward()

    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    assert logits.grad is not None and exact.grad is not None
    assert logits.grad.dtype == dtype
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=error, atol=1e-7)


def test_in_fp16_a_share_of_a_token_that_it_has_no_number_for_is_there_once_it_is_scaled() -> None:
    logits, targets = some_logits(torch.float16)
    exact = logits.double().requires_grad_()
    (cross_entropy(exact, targets, reduction="sum") * 2**15).backward()
    (summed_cross_entropy(logits.requires_grad_(), targets) * 2**15).backward()
    assert logits.grad is not None and exact.grad is not None
    small = (exact.grad > 0) & (exact.grad < 2**-25 * 2**15) & (exact.grad > 2**-14)
    assert small.any(), "0 in fp16, and not once it is multiplied"
    torch.testing.assert_close(logits.grad[small].double(), exact.grad[small], rtol=2**-11, atol=0)


def test_logits_that_are_not_finite_give_a_loss_that_is_not() -> None:
    logits, targets = some_logits(torch.float32)
    logits[4, 1] = float("nan")
    assert torch.isnan(summed_cross_entropy(logits, targets))


def test_where_no_gradient_is_asked_for_none_is_made() -> None:
    logits, targets = some_logits(torch.float32)
    found = summed_cross_entropy(logits, targets)
    assert not found.requires_grad
    assert float(found) == pytest.approx(float(cross_entropy(logits.double(), targets, reduction="sum")), rel=1e-6)
