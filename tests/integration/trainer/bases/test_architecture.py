"""What is not a causal language model is refused where it comes in, by the configuration that transformers itself writes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from peft_registry.registry.records.references import version_named
from peft_registry.schemas.errors import NotFound
from peft_registry.trainer.bases.architecture import (
    ArchitectureNotHere,
    ArchitectureUnknown,
    NotACausalModel,
    require_causal_model,
)
from peft_registry.trainer.bases.preparing import prepare_base
from peft_registry.trainer.use_cases.add_base import intake_base
from tests.builders.homes import a_home
from tests.builders.training import a_base_folder
from tests.servers.hub import FakeHub, serving


def configured(folder: Path, model_type: str, architecture: str | None, **settings: Any) -> Path:
    """A folder with the configuration that transformers writes of a model of that type and class."""
    folder.mkdir(exist_ok=True)
    names = None if architecture is None else [architecture]
    CONFIG_MAPPING[model_type](architectures=names, **settings).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("model_type", "architecture", "what"),
    [
        ("bert", "BertLMHeadModel", "both directions"),
        ("bert", None, "both directions"),
        ("roberta", "RobertaForCausalLM", "both directions"),
        ("xlm", "XLMWithLMHeadModel", "both directions"),
        ("xlnet", "XLNetLMHeadModel", "both directions"),
        ("bert", "BertForMaskedLM", "otherwise than with the next token"),
        ("modernbert", "ModernBertForMaskedLM", "otherwise than with text"),
        ("whisper", "WhisperForConditionalGeneration", "an encoder that reads"),
        ("t5", "T5ForConditionalGeneration", "an encoder that reads"),
        ("bart", "BartForConditionalGeneration", "an encoder that reads"),
        ("bart", "BartForSequenceClassification", "an encoder that reads"),
        ("marian", "MarianMTModel", "an encoder that reads"),
        ("llama", "LlamaForSequenceClassification", "otherwise than with the next token"),
        ("gpt2", "GPT2ForTokenClassification", "otherwise than with the next token"),
        ("llama", "LlamaModel", "no output head"),
        ("vit", "ViTForImageClassification", "otherwise than with text"),
        ("clip", "CLIPModel", "otherwise than with text"),
    ],
)
def test_another_kind_of_model_is_refused_before_a_weight_is_read(
    model_type: str, architecture: str | None, what: str, tmp_path: Path
) -> None:
    with pytest.raises(NotACausalModel, match=what) as caught:
        prepare_base(str(configured(tmp_path / "base", model_type, architecture)), destination=tmp_path)
    error = caught.value
    assert error.exit_code == 2
    assert (architecture or model_type) in error.what
    assert str(tmp_path) not in f"{error} {error.fix}"


@pytest.mark.parametrize(
    ("model_type", "architecture", "settings"),
    [
        ("bert", "BertLMHeadModel", {"is_decoder": True}),
        ("xlm", "XLMWithLMHeadModel", {"causal": True}),
        ("gpt_neox", "GPTNeoXForCausalLM", {}),
        ("gemma3", "Gemma3ForConditionalGeneration", {}),
        ("bart", "BartForCausalLM", {"is_encoder_decoder": False, "is_decoder": True}),
    ],
)
def test_a_decoder_passes_whatever_its_family_usually_is(
    model_type: str, architecture: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    require_causal_model(configured(tmp_path, model_type, architecture, **settings))


def test_every_other_causal_class_of_transformers_passes(tmp_path: Path) -> None:
    """Only families whose models see what comes, or have an encoder, are refused under the class that transformers calls causal."""
    refused = set()
    for model_type, architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": [architecture]}))
        try:
            require_causal_model(tmp_path)
        except (NotACausalModel, ArchitectureNotHere):
            refused.add(model_type)
    assert refused == {
        # both directions, unless is_decoder or causal is set
        *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert"),
        *("reformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm", "xlm-roberta"),
        *("xlm-roberta-xl", "xlnet", "xmod"),
        # with an encoder
        *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "marian", "mbart", "mvp", "pegasus", "plbart"),
        *("prophetnet", "whisper"),
        "rwkv",  # divides its own weights while it answers
    }  # fmt: skip


@pytest.mark.parametrize(
    "config", ["", "[]", "{", '{"model_type": 3}', '{"a": 1e999}', '{"model_type":"x","auto_map":{}}']
)
def test_what_is_no_configuration_is_left_to_what_reads_the_base(config: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(config)
    require_causal_model(tmp_path)


def test_a_family_that_transformers_does_not_know_is_named_with_the_version(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "from_the_future"}')
    with pytest.raises(ArchitectureUnknown, match=r"from_the_future.*transformers 5"):
        prepare_base(str(tmp_path), destination=tmp_path)


def test_a_bidirectional_base_is_not_registered(tmp_path: Path) -> None:
    base = a_base_folder(tmp_path / "base")
    configured(base, "bert", "BertLMHeadModel")
    with a_home(tmp_path / "home") as registry:
        with pytest.raises(NotACausalModel):
            intake_base(registry, str(base), name="encoder")
        with pytest.raises(NotFound):
            version_named(registry, "encoder")


def test_of_a_repository_with_another_kind_of_model_no_weights_are_fetched(tmp_path: Path) -> None:
    base = a_base_folder(tmp_path / "base")
    configured(base, "t5", "T5ForConditionalGeneration")
    shutil.copytree(base, tmp_path / "served")
    with serving(FakeHub(tmp_path / "served")) as hub, pytest.raises(NotACausalModel):
        prepare_base("lab/tiny", destination=tmp_path, cache=tmp_path / "hub", endpoint=hub.endpoint, token="hf_none")
    fetched = [path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path]
    assert fetched == ["config.json"]


def test_what_a_facts_file_says_to_have_no_answer_is_recorded_of_the_base(tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    facts.write_text("asserted_by: legal\nrelease_date: {not_applicable: never_released}\n")
    base = a_base_folder(tmp_path / "base")
    with a_home(tmp_path / "home") as registry:
        added = intake_base(registry, str(base), name="tiny", facts_file=facts)
    assert added.record.facts.release_date.source == "not_applicable"
