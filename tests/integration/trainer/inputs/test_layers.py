"""What the files of a base say of its layers, held against the built model and against what peft adapts there."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM, CohereConfig, CohereForCausalLM, GPT2Config, GPT2LMHeadModel

from docs.measured.architectures import FAMILIES, build
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.trainer.inputs.layers import (
    EMBEDDINGS,
    WITHOUT_WEIGHT,
    adapted_by_lora,
    require_layers,
    stored_layers,
)
from peft_registry.trainer.methods import implementation, layer_names
from peft_registry.trainer.methods.layer_names import LayerNames, WeightNames
from peft_registry.trainer.methods.targets import layers_of
from tests.builders.training import a_base_folder, a_training_file

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
    # of GPT-2
    ["c_attn", "mlp.c_proj"],
    ["transformer.h.0.attn.c_attn"],
    ["wpe"],
    ["wte"],
    # without a weight
    ["act_fn"],
    ["mlp.act", "query"],
)


pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft sets it for GPT-2, and says so


@dataclass(frozen=True)
class Base:
    """A base by its folder."""

    folder: Path

    def model(self) -> Any:
        """In memory, not yet adapted; its weights are of no account."""
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(self.folder))

    def layers(self) -> LayerNames:
        """By its files."""
        layers = stored_layers(self.model_class, tensors_of(self.folder))
        assert layers is not None
        return layers

    @property
    def model_class(self) -> str:
        """As its configuration names it."""
        (name,) = json.loads((self.folder / "config.json").read_bytes())["architectures"]
        return str(name)


@pytest.fixture(scope="module", params=["tied", "untied", "gpt2"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Llama with a head of its own and without, and GPT-2, whose names and kind of layers are others."""
    folder = tmp_path_factory.mktemp("base")
    if request.param == "gpt2":
        return Base(a_gpt2_folder(folder))
    return Base(a_base_folder(folder, tied=request.param == "tied"))


def a_gpt2_folder(folder: Path) -> Path:
    settings = GPT2Config(
        vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=1
    )
    GPT2LMHeadModel(settings).save_pretrained(folder)
    return folder


def tensors_of(folder: Path) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(span.name, span.dtype, span.shape, Digest.of(b"not asked"))
        for file in sorted(folder.glob("*.safetensors"))
        for span in read_header(file).tensors
    )


def refusal_by_files(base: Base, config: TrainingFile) -> str | None:
    try:
        require_layers(base.layers(), config)
    except KnownError as error:
        return str(error)
    return None


def refusal_by_model(base: Base, config: TrainingFile) -> str | None:
    """What the method says of the names; None where it takes them, or refuses the base for another reason."""
    try:
        implementation(config.method).prepare(base.model(), config, seed=0)
    except KnownError as error:
        return str(error) if type(error).__module__ == layer_names.__name__ else None
    return None


@pytest.mark.filterwarnings("ignore")
def test_the_files_of_the_listed_classes_name_every_layer_as_the_loaded_model_does(tmp_path: Path) -> None:
    """And nothing is claimed of others: transformers may rename what it reads."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    seen, without_weight = set(), set()
    for name, family in FAMILIES.items():
        architecture = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family.model_type)
        if family.model_class is not None or architecture not in EMBEDDINGS:
            continue
        folder = build(name, tmp_path / family.model_type)
        model = AutoModelForCausalLM.from_pretrained(folder)
        seen.add(type(model).__name__)
        layers = layers_of(model)
        stored = stored_layers(type(model).__name__, tensors_of(folder))
        if layers.experts:  # of a mixture, that much is known
            assert stored == LayerNames(layers.linear, layers.embeddings, layers.tied), name
            continue
        assert stored == layers, name
        others = {module for module, _ in model.named_modules() if module} - layers.modules
        without_weight |= {module.rpartition(".")[2] for module in others}
    assert seen == set(EMBEDDINGS)
    assert without_weight == WITHOUT_WEIGHT


@pytest.mark.filterwarnings("ignore")
def test_of_other_classes_and_of_files_with_other_names_nothing_is_said(tmp_path: Path) -> None:
    recurrence = tensors_of(build("mamba", tmp_path / "mamba"))
    assert stored_layers("MambaForCausalLM", recurrence) is None
    other_prefix = tensors_of(a_gpt2_folder(tmp_path / "gpt2"))
    assert stored_layers("LlamaForCausalLM", other_prefix) is None
    plain = tensors_of(a_base_folder(tmp_path / "plain"))
    packed = Tensor("model.layers.0.self_attn.q_proj.qweight", "I32", (4, 32), plain[0].digest)
    assert stored_layers("LlamaForCausalLM", plain) is not None
    assert stored_layers("LlamaForCausalLM", (*plain, packed)) is None


def test_a_norm_with_a_row_for_each_head_is_no_linear_layer(tmp_path: Path) -> None:
    config = CohereConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_qk_norm=True,
    )
    model = CohereForCausalLM(config)
    model.save_pretrained(tmp_path)
    assert stored_layers("CohereForCausalLM", tensors_of(tmp_path)) == layers_of(model)


@pytest.mark.parametrize("without", ["transformer.", ""])
def test_names_of_an_older_file_are_those_of_the_model(tmp_path: Path, without: str) -> None:
    """GPT-2's on the Hub leave the first part out, and hold the mask of each layer."""
    tensors = tensors_of(a_gpt2_folder(tmp_path / "gpt2"))
    mask = Tensor("transformer.h.0.attn.bias", "F32", (1, 1, 128, 128), tensors[0].digest)
    older = [
        Tensor(tensor.name.removeprefix(without), tensor.dtype, tensor.shape, tensor.digest)
        for tensor in (*tensors, mask)
    ]
    layers, of_older = stored_layers("GPT2LMHeadModel", tensors), stored_layers("GPT2LMHeadModel", older)
    assert isinstance(layers, WeightNames)
    assert of_older == replace(layers, parameters=layers.parameters | {mask.name})


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_names_by_default_is_refused_nowhere(base: Base, name: str) -> None:
    config = a_training_file(method=name)
    assert refusal_by_files(base, config) is None
    assert refusal_by_model(base, config) is None
    if "lora" in METHODS[name].blocks:
        adapted = implementation(name).prepare(base.model(), config, seed=0)
        lora = getattr(adapted, "adapted", adapted)  # of the hybrid, its part in the layers
        assert adapted_by_lora(base.layers(), config.block(LoraBlock)) == set(lora.base_model.targeted_module_names)


@pytest.mark.parametrize("words", WORDS, ids=",".join)
@pytest.mark.parametrize("name", NAMING)
def test_names_are_refused_by_the_files_in_the_words_of_the_built_model(
    base: Base, name: str, words: list[str]
) -> None:
    more: dict[str, Any] = {"ia3__feedforward_modules": []} if name == "ia3" else {}
    config = a_training_file(method=name, **{f"{name}__target_modules": words}, **more)
    by_files, by_model = refusal_by_files(base, config), refusal_by_model(base, config)
    is_seen = name != "bottleneck" or not any(word.rpartition(".")[2] in WITHOUT_WEIGHT for word in words)
    assert by_files == by_model or (by_files is None and not is_seen)


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
    base: Base, settings: dict[str, Any]
) -> None:
    config = a_training_file(**settings)
    assert refusal_by_files(base, config) == refusal_by_model(base, config)


@pytest.mark.parametrize("words", WORDS[:3], ids=",".join)
@pytest.mark.parametrize("base", ["tied", "untied"], indirect=True)
def test_lora_adapts_what_the_files_say_that_its_targets_name(base: Base, words: list[str]) -> None:
    config = a_training_file(lora__target_modules=words, lora__exclude_modules=["layers.0.self_attn.v_proj"])
    adapted = implementation("lora").prepare(base.model(), config, seed=0)
    assert adapted_by_lora(base.layers(), config.block(LoraBlock)) == set(adapted.base_model.targeted_module_names)


@pytest.fixture(scope="module", params=["mixtral", "qwen2_moe"])
def mixture(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return Base(build(request.param, tmp_path_factory.mktemp("mixture")))


@pytest.mark.parametrize(
    "words",
    [
        ["q_proj", "model.layers.1.self_attn.o_proj"],
        ["q_proj", "query"],
        ["layers.7.self_attn.q_proj"],
        ["shared_expert.up_proj"],
        ["gate"],
        ["w1"],
        ["experts.0.up_proj"],
    ],
    ids=",".join,
)
@pytest.mark.parametrize("name", ["lora", "ia3", "loha"])
def test_layers_of_a_mixture_are_refused_by_the_files_in_the_words_of_the_built_model(
    mixture: Base, name: str, words: list[str]
) -> None:
    more: dict[str, Any] = {"ia3__feedforward_modules": []} if name == "ia3" else {}
    config = a_training_file(method=name, **{f"{name}__target_modules": words}, **more)
    assert refusal_by_files(mixture, config) == refusal_by_model(mixture, config)


@pytest.mark.parametrize(
    "settings",
    [
        {"lora__target_parameters": ["experts.gate_up_proj"], "lora__dropout": 0.0},
        {"method": "full", "full__freeze": ["mlp.gate.weight"]},
        {"method": "bottleneck", "bottleneck__target_modules": ["mlp.experts"]},
    ],
    ids=str,
)
def test_no_name_of_experts_is_refused_by_files_that_call_them_otherwise(
    mixture: Base, settings: dict[str, Any]
) -> None:
    config = a_training_file(**settings)
    assert refusal_by_files(mixture, config) is None
    assert refusal_by_model(mixture, config) is None
