"""The loss of a batch over its supervised tokens; the output head runs at their positions only, cross-entropy is fp32."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy

from peft_registry.trainer.data.collate import Batch
from peft_registry.trainer.data.tokenize import IGNORED


def supervised_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int, int]:
    """(sum of the loss in nats, number of supervised tokens, vocabulary); gradients flow when they are on."""
    targets = batch.labels[:, 1:]  # (rows, tokens - 1): the token after each position
    learnt = targets != IGNORED  # (rows, tokens - 1), boolean
    logits = supervised_logits(model, batch, learnt)  # (supervised, vocabulary)
    loss = cross_entropy(logits.float(), targets[learnt], reduction="sum")
    return loss, int(learnt.sum().item()), logits.shape[-1]


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
    logits: torch.Tensor = output.logits[0]  # (1, supervised, vocabulary) without its first dimension
    return logits
