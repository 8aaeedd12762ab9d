"""What scoring needs of a model and of a tokenizer: the part of transformers' and peft's classes that is used here, as types.

transformers' `PreTrainedModel` and peft's `PeftModel` share no base class that has all of it.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class CausalModel(Protocol):
    """A causal language model of transformers, perhaps with adapters of peft around it."""

    config: Any  # transformers' configuration: which attributes it has depends on the architecture

    @property
    def device(self) -> "torch.device": ...

    def __call__(self, *, input_ids: "torch.Tensor", **options: Any) -> Any:
        """An output whose `logits` are (rows, tokens, vocabulary); options and other fields depend on the architecture."""

    def parameters(self) -> "Iterator[torch.nn.Parameter]": ...

    def modules(self) -> "Iterator[torch.nn.Module]": ...

    def get_output_embeddings(self) -> "torch.nn.Linear":
        """The output head; its weight is (vocabulary, hidden)."""

    def eval(self) -> Any: ...

    def generate(self, **options: Any) -> "torch.Tensor":
        """The tokens of prompt and continuation, (rows, tokens)."""


class Tokenizer(Protocol):
    """A tokenizer of transformers."""

    bos_token_id: int | None
    eos_token_id: int | None

    def __call__(self, text: str) -> Any: ...

    def encode(self, text: str, *, add_special_tokens: bool, verbose: bool = True) -> Sequence[int]: ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...
