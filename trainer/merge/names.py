"""Which parameter of the model each tensor of a checkpoint is. The only module that calls transformers' loading internals.

Adapters name the modules of the model; files on disk often have other names, and transformers renames, stacks and joins
while it loads (`transformers.conversion_mapping`, `transformers.core_model_loading`: internal, tested in
test_merge_engine.py against the loader itself). The model is built from its configuration on torch's meta
device: no weight is read and none exists.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.merge.tensors import StoredTensor


class ArchitectureNotMergeable(InputRefused):
    what = "no model can be laid out from the configuration of {folder.name}"
    why = "{reason}"
    fix = "use a causal language model whose architecture the installed transformers has built in"

    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one tensor of the checkpoint lies: it is a whole parameter, or the rows of one expert in a stacked one.

    `refusal` says why a change of the parameter cannot be carried to this tensor; None where it can.
    """

    parameter: str
    expert: int | None = None
    rows: tuple[int, int] | None = None  # of the expert's matrix; None for all
    refusal: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelNames:
    """The parameters of a model, in its own order, and the place of each tensor of its checkpoint.

    `embedding` and `head` are parameter names; the head is None in a model without one. `transposed` are parameters whose
    last dimensions are (in, out): the linear layers of GPT-2, and stacks of experts whose module says so. `quantized` are those
    that loading in 4 bits would quantize.
    """

    parameters: Mapping[str, tuple[int, ...]]
    placed: Mapping[str, Placed]
    is_tied: bool
    embedding: str
    head: str | None
    transposed: frozenset[str]
    quantized: frozenset[str]

    def of_module(self, module: str) -> tuple[str, ...]:
        """The parameters that a module holds itself, in its order."""
        prefix = f"{module}."
        return tuple(name for name in self.parameters if name.startswith(prefix) and "." not in name[len(prefix) :])

    def tensors_of(self, parameter: str) -> tuple[str, ...]:
        """The tensors of the checkpoint that make up a parameter."""
        return tuple(name for name, place in self.placed.items() if place.parameter == parameter)


def model_names(folder: Path, tensors: Iterable[StoredTensor]) -> ModelNames:
    """The names of the model in `folder`; nothing is loaded and no code of the folder is run.

    Raises:
        ArchitectureNotMergeable: transformers cannot build it.
    """
    model = _laid_out(folder)
    loading = _Loading.of(model)
    names = {id(module): name for name, module in model.named_modules()}
    head = model.get_output_embeddings()
    return ModelNames(
        parameters={name: tuple(value.shape) for name, value in loading.state.items()},
        placed={tensor.name: loading.place_of(tensor.name, tensor.shape) for tensor in tensors},
        is_tied=bool(model.config.get_text_config().tie_word_embeddings),
        embedding=f"{names[id(model.get_input_embeddings())]}.weight",
        head=None if head is None else f"{names[id(head)]}.weight",
        transposed=_transposed(model),
        quantized=_quantized(model),
    )


def _transposed(model: Any) -> frozenset[str]:
    from transformers.pytorch_utils import Conv1D

    return frozenset(
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, Conv1D) or getattr(module, "is_transposed", False)
        for own, parameter in module.named_parameters(recurse=False)
        if parameter.dim() > 1
    )


def _quantized(model: Any) -> frozenset[str]:
    """transformers' rule for bitsandbytes: every plain linear layer but the output head and what is tied or kept wide."""
    import torch
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import HfQuantizer
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = HfQuantizer.get_modules_to_not_convert(model, None, getattr(model, "_keep_in_fp32_modules", None))
    return frozenset(
        f"{name}.weight"
        for name, module in model.named_modules()
        if (type(module) is torch.nn.Linear or isinstance(module, Conv1D)) and should_convert_module(name, kept)
    )


def _laid_out(folder: Path) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ArchitectureNotMergeable(folder, lines[0].replace(str(folder), folder.name)[:300]) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Loading:
    """How transformers loads one model: renamings, conversions, and the parameters it fills (on the meta device)."""

    prefix: str
    state: Mapping[str, Any]
    renamings: list[Any]
    converters: list[Any]

    @classmethod
    def of(cls, model: Any) -> "_Loading":
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        conversions = get_model_conversion_mapping(model)
        return cls(
            prefix=model.base_model_prefix,
            state=model.state_dict(),
            renamings=[conversion for conversion in conversions if isinstance(conversion, WeightRenaming)],
            converters=[conversion for conversion in conversions if isinstance(conversion, WeightConverter)],
        )

    def place_of(self, name: str, shape: tuple[int, ...]) -> Placed:
        from transformers.core_model_loading import rename_source_key

        parameter, pattern = rename_source_key(name, self.renamings, self.converters, self.prefix, self.state)
        if pattern is not None:
            return self._in_stack(name, shape, parameter, pattern)
        known = self.state.get(parameter)
        if known is None or tuple(known.shape) == shape:
            return Placed(parameter)
        return Placed(parameter, refusal=f"the model has the shape {list(known.shape)}, the file {list(shape)}")

    def _in_stack(self, name: str, shape: tuple[int, ...], parameter: str, pattern: str) -> Placed:
        """The place of one expert's matrix in a stack of them, if stacking, and joining by rows, is all that is done."""
        from transformers.core_model_loading import Concatenate, MergeModulelist, apply_renamings

        converter = next(converter for converter in self.converters if pattern in converter.source_patterns)
        steps = [(type(step), getattr(step, "dim", None)) for step in converter.operations]
        renamed = apply_renamings(name, self.renamings)
        expert = re.search(re.escape(pattern).replace(r"\*", r"(\d+)"), renamed) if "*" in pattern else None
        known = steps in ([(MergeModulelist, 0)], [(MergeModulelist, 0), (Concatenate, 1)])
        stack = tuple(self.state[parameter].shape) if parameter in self.state else ()
        if not known or expert is None or len(stack) != 3 or len(shape) != 2:
            names = " and ".join(type(step).__name__ for step in converter.operations)
            return Placed(parameter, refusal=f"transformers converts it while loading ({names})")
        parts = len(converter.source_patterns)
        if stack[1:] != (parts * shape[0], shape[1]):
            return Placed(parameter, refusal=f"{parts} matrices of {list(shape)} do not make up {list(stack)}")
        first = converter.source_patterns.index(pattern) * shape[0]
        return Placed(parameter, expert=int(expert[1]), rows=(first, first + shape[0]) if parts > 1 else None)
