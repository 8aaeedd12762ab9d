"""What forward passes were made of: positions, squared lengths, and positions through the output head."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from peft_registry.trainer.training.result import BatchShape


@dataclass(slots=True)
class Passes:
    """Sums over all forward passes that were counted."""

    count: int = 0
    tokens: int = 0
    squares: int = 0  # Σ queries × keys of each row
    head_positions: int = 0

    @property
    def shape(self) -> BatchShape:
        """All of them as one batch; what a batch costs whatever its size is then counted once."""
        return BatchShape(self.tokens, self.squares, self.head_positions, count=1)


@contextmanager
def count_passes(*models: Any) -> Iterator[Passes]:  # torch modules, perhaps wrapped by peft; None is passed over
    """Count the forward passes of these models inside."""
    passes = Passes()

    def model_called(_: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = named.get("input_ids", arguments[0] if arguments else None)
        given = named.get("inputs_embeds") if given is None else given
        if given is None:
            return
        rows = given.shape[0]
        tokens = given.shape[1]
        cache = named.get("past_key_values")
        before = 0 if cache is None else int(cache.get_seq_length())
        passes.count += 1
        passes.tokens += rows * tokens
        passes.squares += rows * tokens * (tokens + before)

    def head_called(_: Any, arguments: tuple[Any, ...]) -> None:
        passes.head_positions += arguments[0].numel() // arguments[0].shape[-1]

    with ExitStack() as stack:
        for model in models:
            if model is None:
                continue
            inner = model.get_base_model() if hasattr(model, "get_base_model") else model
            stack.callback(inner.register_forward_pre_hook(model_called, with_kwargs=True).remove)
            stack.callback(inner.get_output_embeddings().register_forward_pre_hook(head_called).remove)
        yield passes
