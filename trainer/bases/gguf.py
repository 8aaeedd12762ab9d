"""From a GGUF file to a folder of safetensors: dequantized in fp32, rounded once to bf16; tokenizer restored.

What the result is worth: the values of the GGUF file, which is often quantized, and not those of the model it was made
from. The origin's digest and the converter's version are recorded.
"""

import contextlib
import io
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Finished, Observe, Started, ignore
from peft_registry.trainer.bases.foreign_errors import bare_exceptions_as_values, first_line

_STEP = "convert"
_MAGIC = b"GGUF"
_GENERATION = "generation_config.json"
# Pre-tokenizers that transformers restores by itself, by GGUF's `tokenizer.ggml.pre`
_KNOWN_PRE = frozenset({"", "default", "gpt-2", "llama-bpe", "llama3", "llama-v3", "qwen2"})
_SMOLLM_PRE = "smollm"  # digits one by one, then bytes: transformers loses the digits


class GgufRefused(InputRefused):
    what = "{name} cannot be converted"
    why = "{reason}"
    fix = "use a whole GGUF file of an architecture that transformers can read, or the safetensors of the model"

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the file says of its tokenizer and context."""

    pre: str
    bos: int | None
    eos: int | None
    padding: int | None
    context: int | None


def convert_gguf(
    path: Path, *, destination: Path, observe: Observe = ignore
) -> tuple[Path, BaseOrigin, tuple[str, ...]]:
    """(folder under `destination`, origin, notes); a file that was converted before by the same versions is found again.

    Raises:
        GgufRefused: no GGUF file, or one that transformers cannot read.
        FileMissing, NotARegularFile, FileChanged, FileUnreadable: about `path`.
        DiskFull, NotWritable: about `destination`.
    """
    _require_magic(path)
    observe(Started(_STEP, total=None))
    digest = hash_file(path).sha256
    converter = f"transformers {version('transformers')} with gguf {version('gguf')}"
    origin = BaseOrigin(format="gguf", source=path.name, origin_sha256=digest, converter=converter)
    folder = destination / f"{digest.hex[:16]}-{version('transformers')}"
    reader = _opened(path)
    facts = _facts(path, reader)
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _convert(path, part, facts, reader)
            part.replace(folder)
        except OSError as error:
            raise unwritable(folder, error) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    observe(Finished(_STEP))
    return folder, origin, _notes(path, facts)


def _require_magic(path: Path) -> None:
    with path.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise GgufRefused(path.name, "it does not start with the mark of a GGUF file")


def _opened(path: Path) -> Any:
    """The file with its header read: a quarter of a million slices, and each of a np.memmap costs as much as five of an array."""
    import numpy as np
    from gguf import GGUFReader

    class Reader(GGUFReader):  # type: ignore[misc]  # its types are not published
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, np.asarray(value) if name == "data" else value)

    try:
        return Reader(path)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise _header_refused(path, error) from error


def _header_refused(path: Path, error: Exception) -> GgufRefused:
    return GgufRefused(path.name, f"its header cannot be read ({type(error).__name__})")


def _facts(path: Path, reader: Any) -> _Facts:
    try:
        architecture = _content(reader, "general.architecture")
        return _Facts(
            pre=str(_content(reader, "tokenizer.ggml.pre") or ""),
            bos=_content(reader, "tokenizer.ggml.bos_token_id"),
            eos=_content(reader, "tokenizer.ggml.eos_token_id"),
            padding=_content(reader, "tokenizer.ggml.padding_token_id"),
            context=_content(reader, f"{architecture}.context_length"),
        )
    except (ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise _header_refused(path, error) from error


def _content(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _convert(path: Path, folder: Path, facts: _Facts, reader: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from peft_registry.trainer.bases.tensor_files import tidy_config

    disable_progress_bar()
    try:
        # a bar of its own, and warnings about a quantization that is gone a moment later
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stderr(io.StringIO()),
            bare_exceptions_as_values(),
            _read_already(reader),
        ):
            warnings.simplefilter("ignore")
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, IndexError, RuntimeError, AttributeError, NotImplementedError) as error:
        raise GgufRefused(path.name, f"transformers refuses it: {first_line(error, path.parent, shown='…')}") from error
    _restore_tokenizer(tokenizer, facts)
    _make_plain(model, facts)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    for name in ("config.json", _GENERATION):
        tidy_config(folder / name, without=("quantization_config",))


@contextlib.contextmanager
def _read_already(reader: Any) -> Iterator[None]:
    """Whoever opens a GGUF file inside gets this one: transformers reads the header three times, a second each."""
    import gguf

    own = gguf.GGUFReader
    gguf.GGUFReader = lambda _: reader
    try:
        yield
    finally:
        gguf.GGUFReader = own


def _restore_tokenizer(tokenizer: Any, facts: _Facts) -> None:
    from tokenizers import pre_tokenizers

    if facts.pre == _SMOLLM_PRE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    for name, number in (("bos_token", facts.bos), ("eos_token", facts.eos), ("pad_token", facts.padding)):
        if number is not None:
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))
    if facts.context is not None:
        tokenizer.model_max_length = facts.context


def _make_plain(model: Any, facts: _Facts) -> None:
    """Round to bf16, and forget that the values came from a quantized file."""
    import torch

    model.to(torch.bfloat16)
    for attribute in ("hf_quantizer", "quantization_method", "is_quantized"):
        if attribute in vars(model):
            delattr(model, attribute)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.config.dtype = torch.bfloat16
    for config in (model.config, model.generation_config):
        config.bos_token_id = facts.bos
        config.eos_token_id = facts.eos
        config.pad_token_id = facts.padding


def _notes(path: Path, facts: _Facts) -> tuple[str, ...]:
    if facts.pre in _KNOWN_PRE or facts.pre == _SMOLLM_PRE:
        return ()
    return (f"{path.name} splits text by the rules {facts.pre!r}, which may be lost in conversion: compare its tokens",)
