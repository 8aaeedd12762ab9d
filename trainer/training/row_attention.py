"""Rows side by side in one sequence: no padding is computed, and no row sees another.

Attention is the only place where the tokens of a causal language model meet, so it is taken row by row; everything else
works on one long sequence of real tokens. Compared with a block-diagonal mask over the whole sequence, Σ T² is paid and
not (Σ T)². Models of another kind (state spaces, attention of their own) would leak from row to row: `layout_of` tries it
out on the model at hand and pads for those.

On a GPU a kernel that knows where rows end takes them all at once (flash attention, as torch ships it), where there is one for the
number format. Where there is none, each row would be a launch of its own in each layer, which takes longer than padding short rows
does: there rows are padded, unless they are packed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate
from typing import Any, Literal, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from peft_registry.trainer.data.collate import Layout

_NAME = "registry_rows"
_REPLACED = "sdpa"  # what is replaced; eager attention is chosen by models with soft-capping or sinks
# relative difference of the logits beside each other and alone: rounding of bf16 over the layers stays below 2 %
# (SmolLM2: 0.9 %), a row that sees another differs by a large part of itself
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 2e-2}
_PROBE = (3, 7)  # rows that are tried, and tokens of each
# torch's attention on a processor arranges the bf16 numbers of rows of fewer than 192 tokens in blocks of half the size: forward
# and backward in fp32 take 0.6 to 0.95 of the time there where a head has 64 numbers or fewer, and 0.9 to 1.4 elsewhere
_LONG, _NARROW = 192, 64
_FLASH_FROM, _FLASH_HEAD = (8, 0), 256


class VarlenKernel(Protocol):
    """Attention over rows side by side, as `torch.nn.attention.varlen.varlen_attn`: (tokens, heads, head) of each."""

    def __call__(  # noqa: PLR0917 - torch's
        self,
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
    ) -> torch.Tensor: ...


def has_varlen(dtype: torch.dtype, capability: tuple[int, int] | None, *, head: int | None = None) -> bool:
    """Whether the kernel that torch ships takes rows of this number format on a GPU of this compute capability; None for no GPU.

    Those of flash attention need Ampere (8.0) or later, 16 bits, and at most 256 numbers a head, a multiple of 8.
    """
    if capability is None or capability < _FLASH_FROM or dtype not in (torch.bfloat16, torch.float16):
        return False
    return head is None or (head <= _FLASH_HEAD and head % 8 == 0)


def varlen_kernel(tensor: torch.Tensor, *, head: int | None = None) -> VarlenKernel | None:
    """The kernel for tensors like this one; None where there is none."""
    if not has_varlen(tensor.dtype, _capability(tensor), head=head):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # torch before 2.10
        return None
    kernel: VarlenKernel = varlen_attn  # type: ignore[assignment]  # it gives more than a tensor only where more is asked of it
    return kernel


def _capability(tensor: torch.Tensor) -> tuple[int, int] | None:
    if not tensor.is_cuda or torch.version.cuda is None:
        return None
    return torch.cuda.get_device_capability(tensor.device)


class _Rows:
    """The lengths of the rows that the sequence is made of now; `kernel_for` finds what takes them all at once."""

    def __init__(self, kernel_for: Callable[..., VarlenKernel | None] = varlen_kernel) -> None:
        self.lengths: Sequence[int] = ()
        self._kernel_for = kernel_for
        self._bounds: tuple[Sequence[int], torch.Tensor] | None = None

    def attend(  # noqa: PLR0917 - the signature is transformers'
        self,
        module: torch.nn.Module,  # noqa: ARG002
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        **kwargs: Any,  # what the architecture adds; only the window means something here
    ) -> tuple[torch.Tensor, None]:
        """(1, tokens, heads, head) from queries (1, heads, tokens, head) and keys and values (1, groups, tokens, head)."""
        if attention_mask is not None or sum(self.lengths) != query.shape[2]:
            raise ValueError("rows side by side take no mask, and all tokens of all rows")
        window = kwargs.get("sliding_window")
        kernel = None if dropout else self._kernel_for(query, head=query.shape[3])
        if kernel is not None:
            return self._at_once(kernel, query, key, value, scaling, window), None
        lengths = list(self.lengths)
        rows = zip(*(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
        grouped = key.shape[1] != query.shape[1]
        parts = [
            _attended(
                its_query,
                its_key,
                its_value,
                attn_mask=_banded(length, window, query.device) if window and length > window else None,
                is_causal=not (window and length > window),
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=grouped,
            )
            for (its_query, its_key, its_value), length in zip(rows, lengths, strict=True)
        ]
        return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None

    def _at_once(  # noqa: PLR0917 - as `attend`
        self,
        kernel: VarlenKernel,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """The same of all rows in one launch."""
        bounds = self._bounds_on(query.device)
        longest = max(self.lengths)
        query, key, value = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        out = kernel(
            *(query, key, value, bounds, bounds, longest, longest),
            scale=scaling,
            # how many tokens before its own a token sees, −1 for all of its row; and none behind it
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=key.shape[1] != query.shape[1],
        )
        return out.unsqueeze(0)

    def _bounds_on(self, device: torch.device) -> torch.Tensor:
        """Where rows begin, and the last one ends; made once for all layers of a batch."""
        if self._bounds is None or self._bounds[0] is not self.lengths:
            ends = torch.tensor([0, *accumulate(self.lengths)], dtype=torch.int32)
            self._bounds = (self.lengths, ends.to(device, non_blocking=True))
        return self._bounds[1]


def _attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **how: Any) -> torch.Tensor:  # how: torch's
    """Attention of one row; in fp32 where a processor takes longer to arrange the bf16 numbers of a short row than it saves."""
    is_slow_in_bf16 = query.is_cpu and query.shape[2] < _LONG and query.shape[3] <= _NARROW
    if is_slow_in_bf16 and query.dtype == torch.bfloat16 and not torch.is_autocast_enabled("cpu"):
        return scaled_dot_product_attention(query.float(), key.float(), value.float(), **how).bfloat16()
    return scaled_dot_product_attention(query, key, value, **how)


class RowAttention:
    """What a batch of rows side by side is run with; made by `row_attention`."""

    def __init__(self, rows: _Rows, config: Any, before: str | None) -> None:  # config: transformers'
        self._rows = rows
        self._config = config
        self._before = before

    def of(self, lengths: Sequence[int]) -> None:
        """The next forward pass, and its backward pass, are of rows of these lengths."""
        self._rows.lengths = tuple(lengths)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, the model takes padded batches again."""
        self._config._attn_implementation = self._before
        try:
            yield
        finally:
            self._config._attn_implementation = _NAME


@contextmanager
def row_attention(model: Any) -> Iterator[RowAttention]:  # model: a transformers model, perhaps wrapped by peft
    """The model attends row by row inside; afterwards as before."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    rows = _Rows()
    ALL_ATTENTION_FUNCTIONS.register(_NAME, rows.attend)
    config = model.config
    before = model.config._attn_implementation
    config._attn_implementation = _NAME  # no mask is made for a name that transformers does not know
    try:
        yield RowAttention(rows, config, before)
    finally:
        config._attn_implementation = before


def layout_of(model: Any, *, packs: bool = False) -> Layout:  # model: as above
    """How the model takes the rows of a batch, tried on this very model: the first way in which rows beside each other
    give the logits that they give alone.

    Row by row where attention is torch's own; under the block-diagonal mask that transformers makes of positions that
    start again; padded where neither holds, for methods that put something in front of each row, and where padding is faster and
    rows are not packed.
    """
    config = getattr(model, "active_peft_config", None)
    if config is not None and config.is_prompt_learning:
        return "padded"
    if not packs and not rows_are_faster(model):
        return "padded"
    ids = _probe(model)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone = model(input_ids=ids, use_cache=False).logits.flatten(0, 1)  # (rows · tokens, vocabulary)
            for layout in ("rows", "blocks"):
                if _agree(alone, _beside(model, ids, layout)):
                    return layout
    finally:
        model.train(training)
    return "padded"


def rows_are_faster(model: Any) -> bool:
    """Whether rows side by side take less time than padded ones: on a processor always, on a GPU with the kernel for them."""
    weight = model.get_input_embeddings().weight
    if not weight.is_cuda:
        return True
    # fp32 weights that are trained are multiplied in bf16 where the GPU can
    dtype = torch.bfloat16 if weight.requires_grad and weight.dtype == torch.float32 else weight.dtype
    return has_varlen(dtype, _capability(weight))


def _probe(model: Any) -> torch.Tensor:
    """Token ids of shape (rows, tokens), of one length so that they are a batch without padding."""
    embedding: torch.Tensor = model.get_input_embeddings().weight
    rows, tokens = _PROBE
    counted = torch.arange(1, tokens + 1, device=embedding.device) * 37
    return (counted + torch.arange(rows, device=embedding.device)[:, None]) % len(embedding)


def _beside(model: Any, ids: torch.Tensor, layout: Literal["rows", "blocks"]) -> torch.Tensor | None:
    """The logits of rows side by side; None where the architecture cannot be asked so."""
    if layout == "rows" and getattr(model.config, "_attn_implementation", None) != _REPLACED:
        return None
    rows, tokens = ids.shape
    positions = torch.arange(tokens, device=ids.device).repeat(rows)
    with ExitStack() as stack:
        if layout == "rows":
            stack.enter_context(row_attention(model)).of([tokens] * rows)
        try:
            logits: torch.Tensor = model(
                input_ids=ids.reshape(1, -1), position_ids=positions[None], attention_mask=None, use_cache=False
            ).logits[0]
        except (ValueError, TypeError, RuntimeError, NotImplementedError):
            return None
    return logits


def _agree(alone: torch.Tensor, beside: torch.Tensor | None) -> bool:
    if beside is None or alone.shape != beside.shape:
        return False
    difference = (alone.float() - beside.float()).norm() / alone.float().norm().clamp_min(1e-12)
    return bool(difference <= _TOLERANCE.get(alone.dtype, 1e-4))


def _banded(length: int, window: int, device: torch.device) -> torch.Tensor:
    """True where position q may see k: q − window < k ≤ q."""
    at = torch.arange(length, device=device)
    distance = at[:, None] - at[None, :]
    return (distance >= 0) & (distance < window)
