"""MLflow's layout of a version: where each signed file goes, what is made up around them, and what is refused."""

import json
from typing import Any

import pytest
import yaml

from peft_registry.registry.mlflow.model_layout import (
    BaseDiffers,
    LayoutReaders,
    NotLoadableByMlflow,
    SignedFile,
    VerifiedPart,
    model_layout,
    needs_base,
)
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, FileEntry, Manifest, WeightsFile
from peft_registry.schemas.trained_templates import NoTemplate, Template, TrainedTemplate

VERSIONS = LayoutReaders("3.10.1", "3.11.9")
IMPORTED = NoTemplate("a:1 was imported")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
BASE = ("config.json", "model.safetensors", *TOKENIZER)
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def digest(text: str) -> Digest:
    return Digest.of(text.encode())


def a_part(*paths: str, weights: str = "base", **changes: Any) -> VerifiedPart:
    files = tuple(FileEntry(path=path, size=10, sha256=digest(path)) for path in sorted(paths))
    values: dict[str, Any] = {"kind": "base", "layout": "model", "weights_digest": digest(weights)}
    listed = tuple(
        WeightsFile(path=path, header_sha256=digest("header"), tensors=())
        for path in paths
        if path.endswith(".safetensors")
    )
    manifest = Manifest(files=files, weights=listed, **(values | changes))
    return VerifiedPart(Digest.of(manifest.to_canonical()), manifest)


def an_adapter(**changes: Any) -> VerifiedPart:
    identity = BaseIdentity(weights=digest("base"), config=digest("c"), tokenizer=digest("t"))
    values: dict[str, Any] = {"kind": "adapter", "layout": "peft", "method": "lora"}
    values["base"] = BaseReference(identity=identity, quantisation=changes.pop("quantisation", None))
    return a_part(*ADAPTER, weights="adapter", **(values | changes))


def laid_out(part: VerifiedPart, base: VerifiedPart | None, template: Template = IMPORTED) -> dict[str, Any]:
    return dict(model_layout(part, base, lines="load(this)", template=template, versions=VERSIONS))


def test_an_adapter_lies_beside_its_base_with_the_tokenizer_of_the_base() -> None:
    base, adapter = a_part(*BASE), an_adapter()
    layout = laid_out(adapter, base)
    signed = {path: content.manifest for path, content in layout.items() if isinstance(content, SignedFile)}
    assert signed == {
        **{f"model/{path}": base.digest for path in BASE},
        **{f"peft/{path}": adapter.digest for path in ADAPTER},
        **{f"components/tokenizer/{path}": base.digest for path in ("config.json", *TOKENIZER)},
    }
    assert layout.keys() - signed.keys() == {"MLmodel", "input_example.json", "serving_input_example.json"}


def test_the_weights_are_not_copied_beside_the_tokenizer() -> None:
    layout = laid_out(a_part(*BASE, "model.safetensors.index.json"), None)
    for name in ("model.safetensors", "model.safetensors.index.json"):
        assert f"model/{name}" in layout
        assert f"components/tokenizer/{name}" not in layout


def test_the_model_file_names_no_class_that_could_bring_its_own_code() -> None:
    flavours = yaml.safe_load(laid_out(an_adapter(), a_part(*BASE))["MLmodel"])["flavors"]
    assert flavours["transformers"]["pipeline_model_type"] == "AutoModelForCausalLM"
    assert flavours["transformers"]["tokenizer_type"] == "AutoTokenizer"
    assert flavours["transformers"]["peft_adaptor"] == "peft"
    assert flavours["transformers"]["code"] is None
    assert flavours["python_function"]["loader_module"] == "mlflow.transformers"


def test_the_same_version_gives_the_same_bytes_each_time() -> None:
    assert laid_out(an_adapter(), a_part(*BASE)) == laid_out(an_adapter(), a_part(*BASE))


def test_parameters_for_generation_have_a_schema_because_mlflow_ignores_others() -> None:
    signature = yaml.safe_load(laid_out(an_adapter(), a_part(*BASE))["MLmodel"])["signature"]
    names = [parameter["name"] for parameter in json.loads(signature["params"])]
    assert {"max_new_tokens", "do_sample", "temperature", "top_p"} <= set(names)


@pytest.mark.parametrize(
    ("text", "asked", "whole"),
    [
        ("{text} {{}}\n\n### Label:\n{label}", "Is it {late}? {{}}\n\n### Label:\n", False),
        ("{text}{label}", "Is it {late}?", True),
        (None, "Is it {late}?", True),  # conversations: MLflow's pyfunc renders none
    ],
)
def test_pyfunc_puts_a_question_into_the_template_of_the_training(text: str | None, asked: str, whole: bool) -> None:
    """Oracle: MLflow's own formatting, `str.format` with the one name `prompt`."""
    template = TrainedTemplate("sorter:1", "classification", text, digest("template"))
    file = yaml.safe_load(laid_out(an_adapter(), a_part(*BASE), template)["MLmodel"])
    assert file["metadata"].get("prompt_template", "{prompt}").format(prompt="Is it {late}?") == asked
    assert file["metadata"]["registry.template"] == template.line
    parameters = {entry["name"]: entry["default"] for entry in json.loads(file["signature"]["params"])}
    assert parameters["return_full_text"] is whole


def test_a_whole_model_needs_no_base_where_it_has_its_tokenizer() -> None:
    merged = a_part(*BASE, kind="model", method="merge")
    assert not needs_base(merged)
    layout = laid_out(merged, None)
    assert not [path for path in layout if path.startswith("peft/")]
    assert "peft_adaptor" not in yaml.safe_load(layout["MLmodel"])["flavors"]["transformers"]


def test_a_whole_model_without_a_tokenizer_takes_that_of_its_base() -> None:
    tuned = a_part("config.json", "model.safetensors", kind="model", method="full")
    assert needs_base(tuned)
    base = a_part(*BASE)
    layout = laid_out(tuned, base)
    assert layout["model/config.json"].manifest == tuned.digest
    assert layout["components/tokenizer/tokenizer.json"].manifest == base.digest


def test_that_an_adapter_was_made_on_a_quantised_base_is_said() -> None:
    metadata = yaml.safe_load(laid_out(an_adapter(quantisation="nf4, double"), a_part(*BASE))["MLmodel"])["metadata"]
    assert "nf4, double" in metadata["registry.quantisation"]


@pytest.mark.parametrize(
    ("part", "base", "reason"),
    [
        (an_adapter(layout="bundle", kind="bundle"), a_part(*BASE), "peft alone"),
        (an_adapter(method="bottleneck"), a_part(*BASE), "peft alone"),
        (an_adapter(), None, "not registered here"),
        (an_adapter(), a_part("model.safetensors", *TOKENIZER), "config.json"),
    ],
)
def test_what_mlflow_cannot_load_is_refused_with_the_lines_of_the_card(
    part: VerifiedPart, base: VerifiedPart | None, reason: str
) -> None:
    with pytest.raises(NotLoadableByMlflow, match=reason) as refused:
        laid_out(part, base)
    assert refused.value.lines == "load(this)"


def test_a_base_with_other_weights_than_the_manifest_names_is_refused() -> None:
    with pytest.raises(BaseDiffers):
        laid_out(an_adapter(), a_part(*BASE, weights="another"))
