"""What the files of a base say of its layers, held against the built model and against what peft adapts there."""

from pathlib import Path
from typing import Any

import pytest

from docs.measured.architectures import FAMILIES, build
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.trainer.inputs.layers import NAMED_AS_STORED, adapted_by_lora, require_layers, stored_layers
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.layer_names import LayerNames
from peft_registry.trainer.methods.targets import layers_of
from tests.builders.training import a_base_folder, a_model, a_training_file

NAMING = [name for name, method in METHODS.items() if method.block and "target_modules" in method.block.model_fields]
# what somebody may write: a last part, some parts, a full name; a block, a norm, an embedding, a head; parts that are no whole ones
WORDS = (
    ["q_proj", "down_proj"],
    ["self_attn.v_proj", "layers.1.mlp.up_proj"],
    ["model.layers.0.self_attn.q_proj"],
    ["layers.7.self_attn.q_proj"],
    ["q_proj", "query"],
    ["proj"],
    ["mlp"],
    ["input_layernorm"],
    ["embed_tokens"],
    ["lm_head"],
    ["layers"],
)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[bool, tuple[Tensor, ...]]:
    """Whether head and embedding are one, and the tensors of the files."""
    folder = tmp_path_factory.mktemp("base")
    a_base_folder(folder, tied=request.param)
    return request.param, tensors_of(folder)


def tensors_of(folder: Path) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(span.name, span.dtype, span.shape, Digest.of(b"not asked"))
        for file in sorted(folder.glob("*.safetensors"))
        for span in read_header(file).tensors
    )


def layers_in(tensors: tuple[Tensor, ...]) -> LayerNames:
    layers = stored_layers("LlamaForCausalLM", tensors)
    assert layers is not None
    return layers


def refusal_by_files(tensors: tuple[Tensor, ...], config: TrainingFile) -> str | None:
    try:
        require_layers(layers_in(tensors), [tensor.name for tensor in tensors], config)
    except KnownError as error:
        return str(error)
    return None


def refusal_by_model(model: Any, config: TrainingFile) -> str | None:
    try:
        implementation(config.method).prepare(model, config, seed=0)
    except KnownError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore")
def test_the_files_of_the_listed_classes_name_every_layer_as_the_loaded_model_does(tmp_path: Path) -> None:
    """And nothing is claimed of others: transformers may rename what it reads."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    seen = set()
    for name, family in FAMILIES.items():
        architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family.model_type)
        if family.model_class is not None or architecture not in NAMED_AS_STORED:
            continue
        folder = build(name, tmp_path / family.model_type)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        assert stored_layers(type(model).__name__, tensors_of(folder)) == layers_of(model), name
        seen.add(type(model).__name__)
    assert seen == NAMED_AS_STORED


@pytest.mark.filterwarnings("ignore")
def test_of_other_classes_and_of_files_with_other_names_nothing_is_said(tmp_path: Path) -> None:
    mixture = tensors_of(build("mixtral", tmp_path / "mixtral"))
    assert stored_layers("MixtralForCausalLM", mixture) is None
    other_prefix = tensors_of(build("gpt2", tmp_path / "gpt2"))
    assert stored_layers("LlamaForCausalLM", other_prefix) is None
    plain = tensors_of(a_base_folder(tmp_path / "plain"))
    packed = Tensor("model.layers.0.self_attn.q_proj.qweight", "I32", (4, 32), plain[0].digest)
    assert stored_layers("LlamaForCausalLM", plain) is not None
    assert stored_layers("LlamaForCausalLM", (*plain, packed)) is None


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_names_by_default_is_refused_nowhere(base: tuple[bool, tuple[Tensor, ...]], name: str) -> None:
    is_tied, tensors = base
    config = a_training_file(method=name)
    assert refusal_by_files(tensors, config) is None
    adapted = implementation(name).prepare(a_model(tied=is_tied), config, seed=0)
    if "lora" in METHODS[name].blocks:
        lora = getattr(adapted, "adapted", adapted)  # of the hybrid, its part in the layers
        assert adapted_by_lora(layers_in(tensors), config.block(LoraBlock)) == set(
            lora.base_model.targeted_module_names
        )


@pytest.mark.parametrize("words", WORDS, ids=",".join)
@pytest.mark.parametrize("name", NAMING)
def test_names_are_refused_by_the_files_in_the_words_of_the_built_model(
    base: tuple[bool, tuple[Tensor, ...]], name: str, words: list[str]
) -> None:
    is_tied, tensors = base
    more: dict[str, Any] = {"ia3__feedforward_modules": []} if name == "ia3" else {}
    config = a_training_file(method=name, **{f"{name}__target_modules": words}, **more)
    by_files, by_model = refusal_by_files(tensors, config), refusal_by_model(a_model(tied=is_tied), config)
    # targets of bottleneck adapters may hold no weight, and no file shows those
    assert by_files == (None if name == "bottleneck" else by_model)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora__exclude_modules": ["query"]},
        {"lora__exclude_modules": ["q_proj", "lm_head"]},
        {"lora__target_modules": ["q_proj", "v_proj"], "lora__exclude_modules": ["layers.0.self_attn.q_proj"]},
        {"lora__target_modules": ["mlp.up_proj"], "lora__rank_pattern": {"q_proj": 2}},
        {"lora__rank_pattern": {"query": 2}},
        {"lora__rank_pattern": {r"layers\.\d+\.mlp\.up_proj": 2}, "lora__alpha_pattern": {"^v_proj": 2.0}},
        {"lora__rank_pattern": {"lm_head": 2}},
        {"lora__exclude_modules": ["q_proj"], "lora__alpha_pattern": {"q_proj": 2.0}},
        {"lora__target_parameters": ["q_proj.weight"]},
        {"lora__target_modules": ["embed_tokens"], "lora__init": "pissa"},
        {"method": "ia3", "ia3__target_modules": ["q_proj"], "ia3__feedforward_modules": ["down_proj"]},
        {"method": "full", "full__freeze": ["model", "lm_head"]},
        {"method": "full", "full__freeze": ["model"]},
        {"method": "full", "full__freeze": ["embed", "emb_tokens"]},
    ],
    ids=str,
)
def test_other_settings_of_layers_are_refused_by_the_files_in_the_words_of_the_built_model(
    base: tuple[bool, tuple[Tensor, ...]], settings: dict[str, Any]
) -> None:
    is_tied, tensors = base
    config = a_training_file(**settings)
    assert refusal_by_files(tensors, config) == refusal_by_model(a_model(tied=is_tied), config)


@pytest.mark.parametrize("words", WORDS[:3], ids=",".join)
def test_lora_adapts_what_the_files_say_that_its_targets_name(
    base: tuple[bool, tuple[Tensor, ...]], words: list[str]
) -> None:
    is_tied, tensors = base
    config = a_training_file(lora__target_modules=words, lora__exclude_modules=["layers.0.self_attn.v_proj"])
    adapted = implementation("lora").prepare(a_model(tied=is_tied), config, seed=0)
    assert adapted_by_lora(layers_in(tensors), config.block(LoraBlock)) == set(adapted.base_model.targeted_module_names)
