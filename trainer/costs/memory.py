"""The memory of a run, moment by moment, from a configuration alone: no weight is read and nothing large is allocated.

A twin of the model is built on torch's meta device, as for counting operations (`trainer/costs/compute.py`); then its tensors are
exchanged for fake ones on the CPU, which have a shape, a number format and no bytes. One step runs on them, forward, loss,
backward and optimizer, through the very operations that a CPU would choose, and one scoring pass. A dispatch mode adds up
the storages that are alive after each operation. So checkpointing, number formats, tied weights and whatever a method or an
optimizer keeps are counted without a formula of their own. Quantized layers are counted at their bits a weight and make
their dequantized weight for each product, as bitsandbytes does.
"""

import logging
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from peft_registry.schemas.config import QuantizationBlock, TrainingFile
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.run import Coverage
from peft_registry.trainer.bases.stored_weights import AS_LOADED
from peft_registry.trainer.costs.twins import TwinOf
from peft_registry.trainer.evaluation.fast_linear import MIN_WEIGHTS
from peft_registry.trainer.evaluation.scoring import token_budget_of
from peft_registry.trainer.evaluation.scoring_backends import ROWS_AT_ONCE
from peft_registry.trainer.evaluation.wide_layers import wide_layers
from peft_registry.trainer.machine.environment import Dtype, Products
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.coverage import coverage_of
from peft_registry.trainer.training.loop import training_mode
from peft_registry.trainer.training.loss import MOST_LOGITS, cross_entropy_in_pieces, summed_cross_entropy
from peft_registry.trainer.training.mixed_precision import autocast, autocast_format
from peft_registry.trainer.training.optimizers import optimizer_for

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# bits a weight: 4, a scale of 8 bits (double) or 32 for each block of 64, and 32 bits for each 256 of those scales
_BITS_DOUBLE = 4 + 8 / 64 + 32 / (64 * 256)
_BITS_SINGLE = 4 + 32 / 64
_SCORED_TOKENS = 32  # a sentence of a suite; the budget of a batch is in tokens, so the length hardly matters
COMPONENTS = ("weights", "gradients", "optimizer", "activations", "transients")


class NotTraceable(NotChecked):
    reference = "memory-not-traceable"
    what = "the memory of {architecture} cannot be traced without its weights"
    why = "{reason}"
    fix = "train a few steps: the run record holds the measured peak"

    architecture: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shape:
    """The largest micro-batch: rows × tokens, padding included, of which `supervised` positions carry loss."""

    rows: int
    tokens: int
    supervised: int


@dataclass(frozen=True, slots=True)
class Moment:
    """Bytes alive when most are, in one part of a run: `activations` are kept for the backward pass, `transients` are the
    logits, the loss and whatever an operation needs while it runs. `products` is how many different matrix products oneDNN
    computes on a processor (in scoring only where it is the faster library, see `fast_linear`): it writes code for each of them,
    and again for a batch of another shape."""

    name: str
    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    transients: int = 0
    products: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations + self.transients


@dataclass(frozen=True, slots=True)
class Trace:
    """What a run needs; sizes in bytes.

    - `frozen` are the weights that are not trained. Those `in_blocks` could wait elsewhere, but for the block that computes:
      `largest_block` at most. `outside` are those in no block, trained or not, that stay whole between forward and backward pass
      where weights are spread: all but input embeddings of their own.
    - `mapped` of the weights' file stays in a CPU's memory beside quantized weights, because what is not quantized is used
      where it lies in the file; the system can take it back.

    `parameters` and `floor` are those of the base: its weights in the format they are held in, without anything else; `total`
    are its parameters and the adapter's.
    """

    parameters: int
    trainable: int
    trained_bytes: int
    frozen: int
    largest_block: int
    mapped: int
    floor: int
    floor_bits: int
    moments: tuple[Moment, ...]
    in_blocks: int
    total: int
    coverage: tuple[Coverage, ...] = ()  # of LoRA
    outside: int = 0


def trace_memory(
    hf_config: Any, config: TrainingFile, shape: Shape, *, stored: Dtype, products: Products, longest_scored: int = 0
) -> Trace:
    """The moments of a run: backward pass, optimizer step, scoring. Loading needs less: a file's mapped pages can be taken back.

    Args:
        hf_config: transformers' configuration of the base.
        config: the training file.
        shape: of the largest micro-batch.
        stored: the number format that the base is held in, where it is not quantized.
        products: the number format of matrix products.
        longest_scored: tokens of the longest text that is scored, which is a batch of its own where it exceeds the scorer's.

    Raises:
        NotTraceable: an operation depends on values, as the routers of some mixtures of experts.
    """
    return _trace_of(TwinOf.said_by(hf_config, config), shape, stored, products, longest_scored)


@lru_cache(maxsize=64)
def _trace_of(of: TwinOf, shape: Shape, stored: Dtype, products: Products, longest_scored: int) -> Trace:
    hf_config, config = of.hf_config, of.config
    whole = METHODS[config.method].trains_base_weights
    filed = torch_dtype(getattr(hf_config, "dtype", None))  # read now: building the twin overwrites it
    name = type(hf_config).__name__.removesuffix("Config")
    try:
        with _quiet(), FakeTensorMode(allow_non_fake_inputs=True):
            twin = _Twin(hf_config, config, stored)
            step = twin.step(shape, products=autocast_format(stored, products))
            scoring = twin.scoring(second_base=whole, longest=longest_scored)
    # a shape that depends on values: torch says so itself (RuntimeError), and code of an architecture that reads values from
    # tensors that have none fails where it uses them: as an index, a number of experts, a divisor
    except (RuntimeError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        first = str(error).strip().splitlines()
        raise NotTraceable(name, (first[0] if first else type(error).__name__)[:200]) from error
    bits = 4 if config.quantization else 8 * _DTYPES[stored].itemsize
    return Trace(
        parameters=twin.base_parameters,
        trainable=sum(parameter.numel() for parameter in twin.trainable),
        trained_bytes=twin.weights - twin.frozen,
        frozen=twin.frozen,
        largest_block=twin.largest_block,
        mapped=twin.quantized * filed.itemsize if filed == _DTYPES[stored] else 0,
        floor=twin.base_parameters * bits // 8,
        floor_bits=bits,
        moments=(*step, scoring),
        in_blocks=twin.in_blocks,
        total=twin.all_parameters,
        coverage=twin.coverage,
        outside=twin.outside,
    )


_PRODUCTS_OF_MATRICES = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.addmm_.default)
_DRAWN = "_peft_registry_drawn"  # the attribute of a single number that was drawn, or follows from one


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Counts the bytes of storages made while it is on, and the most there were at once; and the different matrix products that
    oneDNN computes on a processor: those in the format `multiplied`, by a weight of `smallest` numbers or more."""

    def __init__(self, multiplied: torch.dtype, *, smallest: int = 0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = self.gradients = self.gradients_at_peak = 0
        self.products: set[tuple[Any, ...]] = set()
        self._multiplied, self._smallest = multiplied, smallest
        self._known: weakref.WeakKeyDictionary[Any, None] = weakref.WeakKeyDictionary()

    def know(self, tensors: list[Any]) -> None:
        """These were there before and are counted elsewhere."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = None

    def restart(self) -> None:
        """The peak from here on."""
        self.peak = self.now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs))
        is_drawn = func.name().startswith("aten::rand") or any(getattr(leaf, _DRAWN, False) for leaf in leaves)
        if is_drawn and func is torch.ops.aten._local_scalar_dense.default and leaves[0].dtype is torch.bool:
            # a layer that leaves itself out at random: it takes the most when it computes
            return True
        out = func(*args, **(kwargs or {}))
        if func in _PRODUCTS_OF_MATRICES and out.dtype == self._multiplied and args[-1].numel() >= self._smallest:
            self.products.add((func, *(tuple(factor.shape) for factor in args), *(factor.stride() for factor in args)))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._note(leaf.untyped_storage())
                if is_drawn and leaf.numel() == 1:
                    setattr(leaf, _DRAWN, True)
        return out

    def _note(self, storage: Any) -> None:
        if storage in self._known:
            return
        self._known[storage] = None
        size = storage.nbytes()
        self.now += size
        if self.now > self.peak:
            self.peak = self.now
            self.gradients_at_peak = self.gradients
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.now -= size


class _Twin:
    """The prepared model on fake tensors, and its parts of a run."""

    def __init__(self, hf_config: Any, config: TrainingFile, stored: Dtype) -> None:
        from transformers import AutoModelForCausalLM

        self.config = config
        with _disable_current_modes(), torch.device("meta"):
            model = AutoModelForCausalLM.from_config(hf_config, dtype=_DTYPES[stored], trust_remote_code=False)
            self.base_parameters = sum(parameter.numel() for parameter in model.parameters())
            blocks = set(getattr(model, "_no_split_modules", None) or ())
            model = implementation(config.method).prepare(model, config, seed=0)
            self.all_parameters = sum(parameter.numel() for parameter in model.parameters())
            self.coverage = coverage_of(model)
        _make_fake(model)
        self.model = model
        self.quantized = 0 if config.quantization is None else _quantize(model, config.quantization)
        self.trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._tensors = [*model.parameters(), *model.buffers()]
        self.weights = _held(self._tensors, model)
        self.frozen = self.weights - sum(_size(parameter) for parameter in self.trainable)
        # the parts that Accelerate moves in one piece; the whole model where it does not name them
        pieces = [block for block in model.modules() if type(block).__name__ in blocks]
        self.largest_block = max((_held(list(block.parameters()), block) for block in pieces), default=self.weights)
        self.outside = self._outside(pieces)
        self.in_blocks = sum(
            _held([part for part in block.parameters() if not part.requires_grad], block) for block in pieces
        )

    def _outside(self, pieces: list[Any]) -> int:
        """Bytes of the weights that are in no block; input embeddings count where the output head is the same tensor."""
        outside = self.weights - sum(_held(list(block.parameters()), block) for block in pieces)
        embedding = self.model.get_input_embeddings().weight
        return outside - (0 if embedding is self.model.get_output_embeddings().weight else _size(embedding))

    def step(self, shape: Shape, *, products: torch.dtype | None) -> tuple[Moment, Moment]:
        """The backward pass of a later micro-batch, with the optimizer's state there already, and the optimizer's step."""
        live = _Live(torch.bfloat16)  # in a training torch uses oneDNN for these alone
        live.know(self._tensors)
        optimizer = optimizer_for(self.model, self.config)
        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda tensor: _add(live, _size(tensor.grad)))
            for parameter in self.trainable
        ]
        with live, training_mode(self.model, self.config.training, "padded"):
            with autocast("cpu", products):
                loss, activations = self._loss(shape, live)
            torch.autograd.backward(loss)
            del loss
            peak = live.peak
            at_peak = live.gradients_at_peak
            gradients = live.gradients
            live.restart()
            optimizer.step()
            step_peak = live.peak
            optimizer.zero_grad(set_to_none=True)
        state = sum(
            _size(tensor)
            for kept in optimizer.state.values()
            for tensor in tree_leaves(kept)
            if torch.is_tensor(tensor)
        )
        for hook in hooks:
            hook.remove()
        kept = gradients if self.config.training.gradient_accumulation_steps > 1 else at_peak
        return (
            Moment(
                "backward",
                self.weights,
                kept,
                state,
                activations,
                max(0, peak - at_peak - activations),
                products=len(live.products),
            ),
            Moment("optimizer", self.weights, gradients, state, 0, max(0, step_peak - gradients - state)),
        )

    def _loss(self, shape: Shape, live: _Live) -> tuple[torch.Tensor, int]:
        """The loss of a micro-batch, and the bytes that are kept for the backward pass but for the logits."""
        head = self.model.get_output_embeddings()
        rows = MOST_LOGITS // max(1, int(head.weight.shape[0]))
        if shape.supervised <= max(1, rows):
            logits = _logits(self.model, shape)
            activations = live.now - _size(logits)
            return summed_cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long)), activations
        kept: list[torch.Tensor] = []
        _logits(self.model, shape, kept)
        loss = cross_entropy_in_pieces(head, kept[0], torch.zeros(len(kept[0]), dtype=torch.long), rows)
        return loss, live.now

    def scoring(self, *, second_base: bool, longest: int) -> Moment:
        """Both arms are scored in fp32, a batch of the scorer's own size or the longest text, all of it through the output head.

        Weights are held as in training and are wide one at a time; what is offloaded is fetched wide, a block at a time.
        """
        quantized = [module.weight for module in self.model.modules() if isinstance(module, QuantizedTwin)]
        for tensor in quantized:  # what a product makes of one is fp32
            tensor.data = tensor.data.float()
        self.model.eval()
        stack = ExitStack()
        held = frozenset[int]()
        if self.config.offload is None:
            held = stack.enter_context(wide_layers(self.model, AS_LOADED))
        for tensor in self._tensors:
            if tensor.is_floating_point() and id(tensor) not in held:
                tensor.data = tensor.data.float()
        weights = _held(self._tensors, self.model)
        live = _Live(torch.float32, smallest=MIN_WEIGHTS)
        live.know(self._tensors)
        budget = token_budget_of(self.model)
        tokens = longest if longest > budget else min(_SCORED_TOKENS, budget)
        rows = max(1, budget // tokens)
        with stack, torch.no_grad(), live:
            part = _logits(self.model, Shape(rows, tokens, rows * tokens))[:ROWS_AT_ONCE].float()
            (part - part.amax(dim=1, keepdim=True)).exp_()  # what logsumexp makes inside its one operation
        held_twice = 2 if second_base else 1
        return Moment("score", weights=weights * held_twice, transients=live.peak, products=len(live.products))


class _Dequantized(torch.autograd.Function):
    """x·Wᵀ with W made for the product and made again for the gradient: nothing of it is kept."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return torch.nn.functional.linear(x, weight.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (weight,) = ctx.saved_tensors
        return gradients[0] @ weight.clone(), None


class QuantizedTwin(torch.nn.Linear):
    """A linear layer that stands for a quantized one of `bits` a weight."""

    bits: float

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = _Dequantized.apply(input, self.weight)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias


def _quantize(model: Any, block: QuantizationBlock) -> int:
    """Turn the frozen linear layers, but for the output head, into twins of quantized ones; the number of their weights."""
    weights = 0
    head = model.get_output_embeddings()
    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer is not head and not layer.weight.requires_grad:
            layer.__class__ = QuantizedTwin
            twin = cast(QuantizedTwin, layer)
            twin.bits = _BITS_DOUBLE if block.double else _BITS_SINGLE
            weights += twin.weight.numel()
    return weights


def _held(tensors: list[Any], module: Any) -> int:
    """Bytes of the tensors, those of quantized layers at their bits a weight whatever their twin has."""
    twins = [twin for twin in module.modules() if isinstance(twin, QuantizedTwin)]
    return sum(_size(tensor) for tensor in tensors) - sum(
        _size(twin.weight) - round(twin.weight.numel() * twin.bits / 8) for twin in twins
    )


def _logits(model: Any, shape: Shape, kept: list[torch.Tensor] | None = None) -> torch.Tensor:
    """Logits (supervised, vocabulary), the head given so many hidden states as carry loss; where those are `kept`, one of them."""

    def first(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = given[0].flatten(0, 1)[: shape.supervised].clone()  # of (rows, virtual + tokens, hidden)
        if kept is not None:
            kept.append(hidden)
            hidden = hidden[:1]
        return (hidden[None], *given[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(first)
    try:
        ids = torch.zeros((shape.rows, shape.tokens), dtype=torch.long)
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[0]
    finally:
        hook.remove()
    return logits


def _make_fake(model: Any) -> None:
    """Exchange meta tensors for fake ones of the same kind on the CPU; what was shared stays shared."""
    made: dict[int, Any] = {}

    def exchanged(tensor: Any) -> Any:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
            trained = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(new, requires_grad=tensor.requires_grad) if trained else new
        return made[id(tensor)]

    originals = [(module, store) for module in model.modules() for store in (module._parameters, module._buffers)]
    keep = [tensor for _, store in originals for tensor in store.values()]  # ids stay unique while they live
    for _, store in originals:
        for name, tensor in store.items():
            if tensor is not None:
                store[name] = exchanged(tensor)
    del keep


def torch_dtype(filed: Any) -> torch.dtype:
    """The format that a configuration names, as text or as torch's own value; fp32 where it names none."""
    dtype = getattr(torch, filed.removeprefix("torch."), None) if isinstance(filed, str) else filed
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _add(live: _Live, size: int) -> None:
    live.gradients += size


def _size(tensor: Any) -> int:
    return int(tensor.numel() * tensor.element_size())


@contextmanager
def _quiet() -> Iterator[None]:
    """torch logs a traceback of its own for an operation that cannot be faked; the error says it."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
