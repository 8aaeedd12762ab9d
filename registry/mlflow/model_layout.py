"""A version in the layout that MLflow loads models from, made up anew from verified manifests each time. Pure; no mlflow here.

    MLmodel                 what MLflow reads first; nobody signs it
    model/                  the files of the base, or of a model that is whole by itself
    peft/                   the files of the adapter
    components/tokenizer/   of the files that the tokenizer comes from, all but weights
    input_example.json, serving_input_example.json   a sentence of ours, never anybody's row

This is what `mlflow.transformers` writes for a model of peft (MLflow 3.10 to 3.17), with one difference: the classes named in
it are the automatic ones of transformers, which the lines of the card name too. For a class that transformers does not have,
MLflow would run code that comes with the model.

A question that pyfunc is asked is put into the template that the version was trained with; the pipeline of
`mlflow.transformers.load_model` takes it as it is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from peft_registry.registry.exports.loading import loads_with_peft_alone
from peft_registry.registry.identity.base import CONFIG_NAME, INDEX_NAME, TOKENIZER_FILES
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.trained_templates import Template, TrainedTemplate

MODEL_FILE = "MLmodel"
_MODEL = "model"
_PEFT = "peft"
_TOKENIZER = "components/tokenizer"
_EXAMPLE = "input_example.json"
_SERVING_EXAMPLE = "serving_input_example.json"
_SENTENCE = "The library opens at nine."
# name, MLflow's type, default. Greedy, as `registry ask` answers; a parameter that is not listed here is ignored by MLflow
_PARAMETERS = (
    ("max_new_tokens", "long", 128),
    ("do_sample", "boolean", False),
    ("temperature", "double", 1.0),
    ("top_k", "long", 50),
    ("top_p", "double", 1.0),
)


class NotLoadableByMlflow(InputRefused):
    what = "MLflow cannot load {manifest.short}"
    why = "{reason}"
    fix = "copy it with `registry pull`, and load the copy by the lines of its card"

    manifest: Digest
    reason: str
    lines: str


class BaseDiffers(IntegrityBroken):
    what = "the base {base.short} is not the one that {manifest.short} was made from"
    why = "it has the weights {found}, and the manifest names {signed}"
    fix = "run `registry verify` on both; nothing was handed out"

    manifest: Digest
    base: Digest
    signed: Digest
    found: Digest


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A file as the manifest of an artifact lists it."""

    manifest: Digest
    entry: FileEntry


@dataclass(frozen=True, slots=True)
class VerifiedPart:
    """A manifest that was verified, and the digest of its bytes."""

    digest: Digest
    manifest: Manifest

    def files(self) -> Iterator[tuple[str, SignedFile]]:
        """Every file of the artifact by its path."""
        return ((entry.path, SignedFile(self.digest, entry)) for entry in self.manifest.files)

    def has(self, path: str) -> bool:
        return any(entry.path == path for entry in self.manifest.files)


Content = SignedFile | bytes


@dataclass(frozen=True, slots=True)
class LayoutReaders:
    """What reads the layout: MLflow and Python, as they call themselves."""

    mlflow: str
    python: str


def needs_base(part: VerifiedPart) -> bool:
    """Whether the layout takes files of another artifact: an adapter's base, or a tokenizer that a whole model lacks."""
    return part.manifest.layout != "model" or not _has_tokenizer(part)


def quantisation_note(manifest: Manifest) -> str | None:
    """What whoever loads an adapter onto its original base has to know; None where that is what was scored."""
    quantisation = None if manifest.base is None else manifest.base.quantisation
    if quantisation is None:
        return None
    return f"made on, and scored with, the base in 4 bits ({quantisation}); on the original base it is another model"


def model_layout(
    part: VerifiedPart, base: VerifiedPart | None, *, lines: str, template: Template, versions: LayoutReaders
) -> dict[str, Content]:
    """Every path of the layout with the signed file that lies there, or with the bytes that are made up.

    Args:
        part: the version.
        base: what it was made from; None where it is not registered here, or not needed.
        lines: the lines of Python of its card.
        template: that it was trained with, filled by a question alone.
        versions: for which MLflow and Python.

    Raises:
        NotLoadableByMlflow: it is a bundle, or peft cannot load it without us, or a file that transformers needs is missing.
        BaseDiffers: another base is registered where the manifest says that its own is.
    """
    whole = part.manifest.layout == "model"
    if not whole and not loads_with_peft_alone(part.manifest):
        raise NotLoadableByMlflow(part.digest, "transformers and peft alone do not load it", lines)
    if base is not None:
        _require_own_base(part, base)
    model = part if whole else base
    tokenizer = part if _has_tokenizer(part) and whole else base
    if model is None or tokenizer is None:
        raise NotLoadableByMlflow(part.digest, "the base that it was made from is not registered here", lines)
    if not model.has(CONFIG_NAME):
        raise NotLoadableByMlflow(part.digest, f"the model has no {CONFIG_NAME}, which transformers reads first", lines)
    layout: dict[str, Content] = {f"{_MODEL}/{path}": file for path, file in model.files()}
    if not whole:
        layout |= {f"{_PEFT}/{path}": file for path, file in part.files()}
    weights = {INDEX_NAME, *(file.path for file in tokenizer.manifest.weights)}
    layout |= {f"{_TOKENIZER}/{path}": file for path, file in tokenizer.files() if path not in weights}
    layout[_EXAMPLE] = json.dumps([_SENTENCE]).encode()
    layout[_SERVING_EXAMPLE] = json.dumps({"inputs": [_SENTENCE]}).encode()
    size = sum(content.entry.size for content in layout.values() if isinstance(content, SignedFile))
    layout[MODEL_FILE] = _model_file(part, model, size, template, versions)
    return layout


def _prompt_template(template: Template) -> str | None:
    """What MLflow puts a question into; None for a question as it is, and for conversations, which its pyfunc cannot render."""
    if not isinstance(template, TrainedTemplate) or template.text is None or template.as_format == "{prompt}":
        return None
    return template.as_format


def _require_own_base(part: VerifiedPart, base: VerifiedPart) -> None:
    reference = part.manifest.base
    if reference is not None and reference.identity.weights != base.manifest.weights_digest:
        raise BaseDiffers(part.digest, base.digest, reference.identity.weights, base.manifest.weights_digest)


def _has_tokenizer(part: VerifiedPart) -> bool:
    return any(part.has(name) for name in TOKENIZER_FILES)


def _model_file(
    part: VerifiedPart, model: VerifiedPart, size: int, template: Template, versions: LayoutReaders
) -> bytes:
    transformers: dict[str, Any] = {
        "code": None,
        "components": ["tokenizer"],
        "instance_type": "TextGenerationPipeline",
        "model_binary": _MODEL,
        "pipeline_model_type": "AutoModelForCausalLM",
        "source_model_name": str(model.digest),
        "task": "text-generation",
        "tokenizer_type": "AutoTokenizer",
    }
    metadata = {"registry.manifest": str(part.digest), "registry.template": template.line}
    asked = _prompt_template(template)
    if asked is not None:
        metadata["prompt_template"] = asked  # MLflow's own key, which its pyfunc formats questions with
    if model is not part:
        transformers["peft_adaptor"] = _PEFT
        metadata["registry.base"] = str(model.digest)
    note = quantisation_note(part.manifest)
    if note is not None:
        metadata["registry.quantisation"] = note
    text = [{"type": "string", "required": True}]
    parameters = [
        {"name": name, "type": kind, "default": default, "shape": None} for name, kind, default in _PARAMETERS
    ]
    # as MLflow does itself: whoever did not write the template is not to read it in the answer
    parameters.append({"name": "return_full_text", "type": "boolean", "default": asked is None, "shape": None})
    value = {
        "flavors": {
            "python_function": {"loader_module": "mlflow.transformers", "python_version": versions.python},
            "transformers": transformers,
        },
        "metadata": metadata,
        "mlflow_version": versions.mlflow,
        "model_size_bytes": size,
        "model_uuid": part.digest.hex[:32],
        "saved_input_example_info": {
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING_EXAMPLE,
            "type": "json_object",
        },
        "signature": {
            "inputs": json.dumps(text),
            "outputs": json.dumps(text),
            "params": json.dumps(parameters),
        },
    }
    return yaml.safe_dump(value, sort_keys=True).encode()
