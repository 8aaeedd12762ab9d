"""The model card: the Hub reads its front matter, and nothing from outside becomes markup or a path."""

import pytest
from huggingface_hub import ModelCard

from peft_registry.registry.exports.loading import hub_id, loading_code
from peft_registry.registry.exports.model_card import base_card, merge_card, model_card
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.values import declared, imported, measured
from tests.builders.records import (
    NOW,
    a_base_identity,
    a_base_record,
    a_data_identity,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_result,
    a_run_record,
    an_evaluation,
    some_base_facts,
    some_compute,
)


def a_card(**over):
    fields = {
        "name": "sums-tutor",
        "manifest": a_manifest(),
        "run": a_run_record(),
        "base_name": "small-llama",
        "base": a_base_record(),
        "evaluation": an_evaluation(),
        "record": a_modification_record(),
    }
    return model_card(**(fields | over)).decode()


def a_card_of_a_merge(**over):
    fields = {
        "name": "tutor-merged",
        "manifest": a_manifest(kind="model", layout="model", method="merge"),
        "merge": a_merge_record(),
        "base_name": "small-llama",
        "base": a_base_record(),
        "record": a_merge_modification(),
    }
    return merge_card(**(fields | over)).decode()


def test_the_hub_library_reads_what_the_card_says():
    data = ModelCard(a_card()).data
    assert data.library_name == "peft"
    assert data.base_model == "example-org/small-llama"
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert data.tags == ["adapter", "lora", "peft-registry"]
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in data.eval_results] == [
        ("house", "pct_stereotype", 147 / 240)
    ]


@pytest.mark.parametrize(
    ("format_", "source"), [("gguf", "small-llama.gguf"), ("huggingface", "small-llama"), ("huggingface", "../x/y")]
)
def test_a_base_that_is_not_from_the_hub_is_not_named_as_if_it_were(format_, source):
    base = a_base_record(origin=BaseOrigin(format=format_, source=source))
    assert hub_id(base) is None
    assert ModelCard(a_card(base=base)).data.base_model is None


def test_the_revision_is_pinned_where_it_is_known():
    revision = "0123456789abcdef0123456789abcdef01234567"
    base = a_base_record(identity=a_base_identity(revision=revision))
    assert f'from_pretrained("example-org/small-llama", revision="{revision}")' in a_card(base=base)


IN_4_BITS = BaseReference(identity=a_base_identity(), quantisation="fp4")
LOADING = {
    "a bundle": (
        {"layout": "bundle"},
        (),
        ['(base, "FOLDER_OF_THIS_CARD/lora")', 'model, "FOLDER_OF_THIS_CARD/prompt")'],
    ),
    "bottleneck": ({"method": "bottleneck"}, (), ["import peft_registry.trainer.methods.bottleneck_adapter"]),
    "bottleneck beside a merge": (
        {"layout": "bundle", "method": "merge"},
        ("lora", "bottleneck"),
        ["import peft_registry.trainer.methods.bottleneck_adapter", '(base, "FOLDER_OF_THIS_CARD/adapters/00")'],
    ),
    "a bundle on 4 bits": (
        {"layout": "bundle", "method": "merge", "base": IN_4_BITS},
        ("prompt_tuning",),
        ['bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False', "import torch"],
    ),
    "4 bits": (
        {"method": "qlora", "base": IN_4_BITS.model_copy(update={"quantisation": "nf4, double"})},
        (),
        ['bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True', "quantization_config=bits", "import torch"],
    ),
}


@pytest.mark.parametrize("case", LOADING)
def test_the_loading_lines_are_python_and_say_what_the_method_needs(case):
    changes, methods, expected = LOADING[case]
    code = loading_code(a_manifest().model_copy(update=changes), a_base_record(), methods)
    compile(code, "card", "exec")
    assert all(line in code for line in expected)


@pytest.mark.parametrize("card", [a_card, a_card_of_a_merge])
def test_the_licence_of_the_base_is_not_claimed_for_the_result(card):
    text = card()
    assert "license" not in ModelCard(text).data.to_dict()
    assert "Licence of this result: not recorded" in text
    assert "Licence of the base: Apache-2.0." in text


LICENCES_OF_A_RESULT = {
    "CC-BY-4.0": {"license": "cc-by-4.0"},
    "https://example.org/terms": {
        "license": "other",
        "license_name": "other",
        "license_link": "https://example.org/terms",
    },
    "none": {},
}


@pytest.mark.parametrize("licence", LICENCES_OF_A_RESULT)
@pytest.mark.parametrize("kind", ["a fine-tune", "a merge"])
def test_a_licence_that_somebody_recorded_for_the_result_is_stated(kind, licence):
    facts = {"asserted_by": "x", "product": {"licence": licence}}
    if kind == "a merge":
        card = a_card_of_a_merge(record=a_merge_modification(facts=facts))
    else:
        card = a_card(record=a_modification_record(facts=facts))
    stated = {key: value for key, value in ModelCard(card).data.to_dict().items() if key.startswith("license")}
    assert stated == LICENCES_OF_A_RESULT[licence]
    assert f"Licence of this result: {licence}." in card
    assert "Licence of the base: Apache-2.0." in card


def test_the_card_of_a_base_states_the_licence_of_the_base_or_none():
    data = ModelCard(base_card(name="small-llama", record=a_base_record()).decode()).data
    assert data.license == "apache-2.0"
    without = a_base_record(facts=type(a_base_record().facts)())
    card = base_card(name="small-llama", record=without).decode()
    assert "license" not in ModelCard(card).data.to_dict()
    assert "Licence | not recorded" in card


def test_a_licence_the_hub_does_not_know_is_other_with_its_name():
    facts = some_base_facts(licence=imported("Acme Model Licence 2", method="card"))
    data = ModelCard(base_card(name="x", record=a_base_record(facts=facts)).decode()).data.to_dict()
    assert {"license": "other", "license_name": "acme-model-licence-2"}.items() <= data.items()


RELATIONS = {
    "an adapter": (a_card, {}, "adapter"),
    "a fine-tune of every weight": (
        a_card,
        {"manifest": a_manifest(kind="model", layout="model", method="full")},
        "finetune",
    ),
    "an adapter with a prompt beside it": (a_card, {"manifest": a_manifest(kind="bundle", layout="bundle")}, "adapter"),
    "a merge of two": (a_card_of_a_merge, {}, "merge"),
    "two adapters beside the base": (
        a_card_of_a_merge,
        {
            "manifest": a_manifest(kind="bundle", layout="bundle", method="merge"),
            "merge": a_merge_record(relative_norm=None, why_bundled="a prompt cannot be folded"),
        },
        "adapter",
    ),
}


@pytest.mark.parametrize("case", RELATIONS)
def test_the_hub_is_told_what_the_result_is_to_its_base(case):
    card, changes, relation = RELATIONS[case]
    data = ModelCard(card(**changes)).data.to_dict()
    assert (data["base_model"], data["base_model_relation"]) == ("example-org/small-llama", relation)


def test_a_merge_without_a_base_on_the_hub_has_no_relation_to_one():
    base = a_base_record(origin=BaseOrigin(format="gguf", source="small-llama.gguf"))
    assert not {"base_model", "base_model_relation"} & ModelCard(a_card_of_a_merge(base=base)).data.to_dict().keys()


def test_a_merge_is_called_a_merge():
    card = a_card_of_a_merge()
    assert "A merge (model): 2 adapters and the base" in card
    assert "finetune" not in card


def test_exact_compute_and_energy_are_not_sent_to_everybody_who_reads_the_card():
    compute = some_compute(energy_kwh=measured(0.731, "kWh"), hardware_hours=measured(11.25, "h"))
    card = a_card(run=a_run_record(compute=compute))
    for kept_for_authorities in ("FLOP", "6·P·D", "kWh", "0.731", "nergy", "11.25"):
        assert kept_for_authorities not in card


def test_the_front_matter_is_what_the_library_of_the_hub_would_write():
    for card in (a_card(), a_card_of_a_merge()):
        assert str(ModelCard(card)) == card


def test_names_and_declared_text_stay_text():
    hostile = 'x"}`<script>alert(1)</script>|[a](http://b)\n# heading\n---\x1b[31m\u202e'
    run = a_run_record(data=(a_data_identity(name=hostile),))
    record = a_modification_record()  # such text is refused in facts; an older record may hold it
    intended = declared(hostile, by="x", at=NOW)
    evaluation = an_evaluation(results=(a_result(arm="adapted", dataset=hostile, metric=hostile),))
    card = a_card(run=run, record=record.revised(use=record.use.revised(intended=intended)), evaluation=evaluation)
    assert "<script>" not in ModelCard(card).text
    assert "\n# heading" not in card
    assert not {"\x1b", "\u202e"} & set(card)
    assert "[a](http" not in ModelCard(card).text
    assert ModelCard(card).data.library_name == "peft"


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "=cmd()|'/c calc'!A0", "a | b\n# c", "![x](http://b)"])
def test_a_fact_that_another_program_would_run_is_text_on_the_card(text):
    facts = {"asserted_by": "x", "use": {"intended": text}}
    card = a_card(record=a_modification_record(facts=facts))
    assert "<script>" not in card
    assert "\n# c" not in card
    assert "![x](" not in card
    # in the middle of a line, where neither Markdown nor a spreadsheet takes it for a formula
    assert not [line for line in card.splitlines() if line.startswith("=")]
    assert ModelCard(card).data.library_name == "peft"


def test_without_an_evaluation_the_card_says_so_and_shows_the_loss():
    card = a_card(evaluation=None)
    assert ModelCard(card).data.eval_results is None
    assert "No evaluation is recorded" in card
    assert "2.41" in card


def test_the_card_never_calls_a_model_free_of_bias():
    card = a_card()
    assert "This does not show that the system is free of bias" in card
    assert "unbiased" not in card
    assert "debiased" not in card


def test_the_same_inputs_give_the_same_bytes():
    assert a_card() == a_card()


def test_a_base_has_a_card_that_the_hub_library_reads():
    facts = some_base_facts(provider=declared("An <b>example</b>", by="x", at=NOW))
    card = base_card(name="small-llama", record=a_base_record(facts=facts)).decode()
    assert ModelCard(card).data.library_name == "transformers"
    assert "<b>" not in card
    assert str(a_base_identity().weights) in card
