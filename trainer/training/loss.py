"""The loss of a batch over its supervised tokens; the output head runs at their positions only, cross-entropy is fp32.

Where the logits of all of them would be large, they are made piece by piece, and again for the gradient: 8,000 tokens and a
vocabulary of 128,000 are 2 GB in bf16, and their gradient as much again.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from peft_registry.trainer.data.collate import Batch
from peft_registry.trainer.data.tokenize import IGNORED

BLOCK_ELEMENTS = 1 << 21  # logits that are turned into fp32 at a time: they stay in a processor's cache
MOST_LOGITS = 1 << 28  # at once: 512 MiB in bf16, and their gradient has as many


def supervised_loss(model: Any, batch: Batch, *, most_logits: int = MOST_LOGITS) -> tuple[torch.Tensor, int, int]:
    """(sum of the loss in nats, number of supervised tokens, vocabulary); gradients flow when they are on.

    Args:
        model: causal, perhaps wrapped by peft.
        batch: where the model is.
        most_logits: numbers that are made at once, where the model does nothing to what its output head gives.
    """
    targets = batch.labels[:, 1:]  # (rows, tokens - 1): the token after each position
    if batch.places is None:
        learnt = targets != IGNORED  # (rows, tokens - 1), boolean
        wanted = targets[learnt]
    else:
        learnt = batch.places
        wanted = targets.flatten().index_select(0, learnt)
    head = model.get_output_embeddings()
    vocabulary = _rows_of(head)
    if vocabulary is not None and len(wanted) > 1 and len(wanted) * vocabulary > most_logits:
        hidden = _hidden_before(model, batch, learnt)
        if hidden is not None:
            loss = cross_entropy_in_pieces(head, hidden, wanted, max(1, most_logits // vocabulary))
            return loss, len(wanted), vocabulary
    logits = supervised_logits(model, batch, learnt)  # (supervised, vocabulary)
    return summed_cross_entropy(logits, wanted), len(wanted), logits.shape[-1]


def cross_entropy_in_pieces(head: Any, hidden: torch.Tensor, targets: torch.Tensor, rows: int) -> torch.Tensor:
    """Σ −log softmax(head(hidden))[target], fp32, with the logits of `rows` tokens at a time; `hidden` is (tokens, size)."""
    losses = [
        checkpoint(_loss_of_piece, head, piece, wanted, use_reentrant=False)
        for piece, wanted in zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    ]
    return torch.stack(losses).sum()


def _loss_of_piece(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return summed_cross_entropy(head(hidden.unsqueeze(0)).squeeze(0), targets)


def _rows_of(head: Any) -> int | None:
    """How many logits the output head gives; None where that cannot be seen."""
    weight = getattr(getattr(head, "base_layer", head), "weight", None)
    return None if weight is None else int(weight.shape[0])


def summed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Σ −log softmax(logits)[target], fp32, from logits (tokens, vocabulary) in any number format."""
    loss: torch.Tensor = _SummedCrossEntropy.apply(logits, targets)  # type: ignore[no-untyped-call]
    return loss


class _SummedCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one walk over blocks of rows.

    torch's own operation makes four tensors of the logits' size in fp32, one after the other, in fresh memory: where every token
    is supervised that took a tenth of a step on a processor. Here the gradient alone has their size, in their number format. That
    of fp16 waits in fp32 for the loss scale: most tokens of a large vocabulary have a share that is 0 in fp16.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:  # ctx: torch's context
        tokens, vocabulary = logits.shape
        waits_as = torch.float32 if logits.dtype == torch.float16 else logits.dtype
        gradient = torch.empty_like(logits, dtype=waits_as) if ctx.needs_input_grad[0] else None
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
        ctx.dtype = logits.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(gradients[0]).to(ctx.dtype), None


def supervised_logits(model: Any, batch: Batch, learnt: torch.Tensor) -> torch.Tensor:
    """Logits of shape (supervised, vocabulary) at the positions (rows, tokens - 1) where `learnt` is true, or that it counts.

    The hidden states are gathered just before the output head, inside the model's own forward pass: whatever the
    architecture does to its logits (scaling, soft-capping) is kept.
    """
    return _logits_of(model, batch, lambda hidden: _learnt_of(hidden, batch, learnt))


def _hidden_before(model: Any, batch: Batch, learnt: torch.Tensor) -> torch.Tensor | None:
    """The hidden states (supervised, size) before the output head; None where the model's logits are not what that gives of them,
    which is tried at one position."""
    kept: list[torch.Tensor] = []

    def first(hidden: torch.Tensor) -> torch.Tensor:
        kept.append(_learnt_of(hidden, batch, learnt))
        return kept[0][:1]

    logits = _logits_of(model, batch, first)  # (1, vocabulary)
    with torch.no_grad():
        alone = model.get_output_embeddings()(kept[0][None, :1]).squeeze(0)
    return kept[0] if torch.equal(logits.detach(), alone) else None


def _learnt_of(hidden: torch.Tensor, batch: Batch, learnt: torch.Tensor) -> torch.Tensor:
    """(supervised, size) of hidden states (rows, virtual + tokens, size)."""
    real = hidden[:, hidden.shape[1] - batch.input_ids.shape[1] :, :][:, :-1]  # (rows, tokens - 1, size)
    return real[learnt] if learnt.dtype == torch.bool else real.flatten(0, 1).index_select(0, learnt)


def _logits_of(model: Any, batch: Batch, chosen: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Logits (positions, vocabulary) of the hidden states (positions, size) that are chosen before the output head."""
    head = model.get_output_embeddings()

    def gather(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (chosen(arguments[0]).unsqueeze(0), *arguments[1:])  # (1, positions, size)

    positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    hook = head.register_forward_pre_hook(gather)
    try:
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, **positions)
    finally:
        hook.remove()
    # without the first dimension of (1, supervised, vocabulary); an index would have its gradient copied into zeros
    logits: torch.Tensor = output.logits.squeeze(0)
    return logits
