"""Counting the positions that pass through a model which somebody else's trainer trains."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from peft_registry.trainer.training.foreign_trainer import unwrapped


@dataclass(eq=False)
class WatchedPasses:
    """Positions that went through the watched models while these were trained: with a backward pass, and without one.

    `padding` and `supervised` are None as soon as one pass does not say them. `missing` says why those of other processes are
    not among them; None where they are.
    """

    trained: int = 0
    forward_only: int = 0
    evaluated: int = 0
    padding: int | None = 0
    supervised: int | None = 0
    missing: str | None = None
    _hooks: ExitStack = field(default_factory=ExitStack)

    def watch(self, model: Any, *, is_reference: bool = False) -> None:
        """Count the passes of a model, from now on until `stop`."""
        inner = unwrapped(model)
        hook = inner.register_forward_pre_hook(self._counter(is_reference=is_reference), with_kwargs=True)
        self._hooks.callback(hook.remove)

    def stop(self) -> None:
        """Take the hooks off again."""
        self._hooks.close()

    def _counter(self, *, is_reference: bool) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], None]:
        import torch

        def called(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            texts = named.get("input_ids", arguments[0] if arguments else None)
            texts = named.get("inputs_embeds") if texts is None else texts
            if texts is None:
                return
            positions = int(texts.shape[0] * texts.shape[1])
            if not is_reference and not module.training:
                self.evaluated += positions
            elif is_reference or not torch.is_grad_enabled():
                self.forward_only += positions
            else:
                self.trained += positions
                self._note_row(named)

        return called

    def _note_row(self, named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        labels = named.get("labels")
        if mask is None or mask.dim() != 2:
            self.padding = None
        elif self.padding is not None:
            self.padding += int((mask == 0).sum().item())
        if labels is None:
            self.supervised = None
        elif self.supervised is not None:
            self.supervised += int((labels[:, 1:] != -100).sum().item())
