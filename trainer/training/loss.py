"""The loss of a batch over its supervised tokens; the output head runs at their positions only, cross-entropy is fp32."""

from typing import Any

import torch

from peft_registry.trainer.data.collate import Batch
from peft_registry.trainer.data.tokenize import IGNORED

BLOCK_ELEMENTS = 1 << 21  # logits that are turned into fp32 at a time: they stay in a processor's cache


def supervised_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int, int]:
    """(sum of the loss in nats, number of supervised tokens, vocabulary); gradients flow when they are on."""
    targets = batch.labels[:, 1:]  # (rows, tokens - 1): the token after each position
    learnt = targets != IGNORED  # (rows, tokens - 1), boolean
    logits = supervised_logits(model, batch, learnt)  # (supervised, vocabulary)
    loss = summed_cross_entropy(logits, targets[learnt])
    return loss, int(learnt.sum().item()), logits.shape[-1]


def summed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ −log softmax(logits)[target], fp32, from logits (tokens, vocabulary) in any number format."""
    loss: torch.Tensor = _SummedCrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one walk over blocks of rows.

    torch's own operation makes four tensors of the logits' size in fp32, one after the other, in fresh memory: where every token
    is supervised that took a tenth of a step on a processor. Here the gradient alone has their size, in their number format.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:  # ctx: torch's context
        tokens, vocabulary = logits.shape
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        rows = max(1, BLOCK_ELEMENTS // vocabulary)
        for begin in range(0, tokens, rows):
            block = logits[begin : begin + rows].to(torch.float32, copy=True)
            target = targets[begin : begin + rows, None]
            block.sub_(block.amax(dim=1, keepdim=True))  # the largest is 0, so that no exponential overflows
            of_target = block.gather(1, target)
            summed = block.exp_().sum(dim=1, keepdim=True)
            total += (summed.log() - of_target).sum()
            if gradient is not None:
                block.div_(summed)  # softmax
                block.scatter_(1, target, block.gather(1, target) - 1.0)
                gradient[begin : begin + rows] = block
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(gradients[0]), None


def supervised_logits(model: Any, batch: Batch, learnt: torch.Tensor) -> torch.Tensor:
    """Logits of shape (supervised, vocabulary) at the positions (rows, tokens - 1) where `learnt` is true.

    The hidden states are gathered just before the output head, inside the model's own forward pass: whatever the
    architecture does to its logits (scaling, soft-capping) is kept.
    """
    head = model.get_output_embeddings()

    def gather(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = arguments[0]  # (rows, virtual + tokens, hidden)
        real = hidden[:, hidden.shape[1] - batch.input_ids.shape[1] :]  # (rows, tokens, hidden)
        return (real[:, :-1][learnt].unsqueeze(0), *arguments[1:])  # (1, supervised, hidden)

    positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    hook = head.register_forward_pre_hook(gather)
    try:
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, **positions)
    finally:
        hook.remove()
    # without the first dimension of (1, supervised, vocabulary); an index would have its gradient copied into zeros
    logits: torch.Tensor = output.logits.squeeze(0)
    return logits
