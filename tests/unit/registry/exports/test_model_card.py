"""The model card: the Hub reads its front matter, and nothing from outside becomes markup or a path."""

import re

import pytest
from huggingface_hub import ModelCard

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.exports.loading import hub_id, loading_code
from peft_registry.registry.exports.model_card import base_card, merge_card, model_card
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.values import Value, declared, imported
from tests.builders.records import (
    NOW,
    a_base_identity,
    a_base_record,
    a_data_identity,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_result,
    a_run_record,
    an_evaluation,
    some_base_facts,
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


@pytest.mark.parametrize("card", [a_card, a_card_of_a_merge])
def test_a_card_says_of_when_it_speaks_and_where_later_answers_stand(card):
    text = card()
    assert (
        f"This card was written on {NOW[:10]}, with the modification record of that day. "
        "Answers, evaluations and decisions that came later" in text
    )
    assert re.search(r"`registry record [a-z-]+:NUMBER` and `registry report [a-z-]+:NUMBER` show what holds now", text)


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


def a_card_under(licence: Value, kind: str) -> str:
    """The card of a result whose record has this licence."""
    record = a_merge_modification() if kind == "a merge" else a_modification_record()
    under = record.revised(product=record.product.revised(licence=licence))
    return a_card_of_a_merge(record=under) if kind == "a merge" else a_card(record=under)


@pytest.mark.parametrize("kind", ["a fine-tune", "a merge"])
def test_a_licence_that_nobody_who_answers_for_legal_signed_is_proposed_and_not_claimed(kind):
    card = a_card_under(declared("CC-BY-NC-4.0", by="a trainer", at=NOW), kind)
    assert "license" not in ModelCard(card).data.to_dict()
    assert "Licence of this result: CC-BY-NC-4.0 is proposed, and nobody who answers for legal has signed it." in card
    assert "a trainer" not in card, "everybody reads a card"
    assert re.search(r"its data too: .*\bnon\\_commercial, unknown\b", card)


@pytest.mark.parametrize("licence", LICENCES_OF_A_RESULT)
@pytest.mark.parametrize("kind", ["a fine-tune", "a merge"])
def test_a_licence_that_somebody_recorded_for_the_result_is_stated(kind, licence):
    card = a_card_under(
        declared(licence, by="legal", at=NOW).revised(evidence=(Digest.of(b"the signed answer"),)), kind
    )
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


ANSWERS = {
    "asserted_by": "x",
    "method": {"design_rationale": "rationale-of-design", "assumptions": "assumptions-made"},
    "data": {
        "*": {
            "domain": "domain-of-data",
            "geography": "geography-of-data",
            "labelling": "labelled-so",
            "unsuitability_measures": "unsuitable-removed",
            "bias_examination": "bias-detected-so",
        }
    },
    "content": {"obtained_and_selected": "obtained-so"},
    "product": {"channels": ["channel-of-authorities"], "additional_assets": ["asset-beside"]},
    "energy": {"training_kwh": 731.25, "method": "energy-metered-so", "boundary": "facility"},
    "inference": {"benchmark_flop": 4.321e15, "task": "task-of-benchmark", "hardware": "hardware-of-benchmark"},
}
# Model Documentation Form: a field that downstream providers do not get, who gets it, and how it would read on a card.
# What one recipient gets exactly and another coarsely stands in two rows.
NOT_FOR_EVERYBODY = {
    "total size, exact (AI Office)": ("134515008", "136957248", "2442240", "106000000"),
    "channels, all (AI Office, national)": ("channel-of-authorities",),
    "additional assets (AI Office, national)": ("asset-beside",),
    "design specifications and rationale (AI Office, national)": ("rationale-of-design", "assumptions-made"),
    "how data was obtained and selected (AI Office, national)": ("obtained-so", "labelled-so"),
    "number of data points (AI Office; coarser national)": ("200", "180", "20of", "20rows", "n=20", "23700", "21400"),
    "scope of the data (AI Office, national)": ("domain-of-data", "geography-of-data"),
    "measures against unsuitable sources (AI Office, national)": ("unsuitable-removed",),
    "measures to detect biases (AI Office, national)": ("bias-detected-so",),
    "training time (AI Office; range national)": ("281", "0.078", "<1month", "2026-11-24T11:5"),
    "amount of computation (AI Office; order national)": ("FLOP", "6·P·D", "1.2e13", "10^13", "1.727"),
    "energy (AI Office, national)": ("731", "kWh", "MWh", "nergy"),
    "inference (AI Office, national)": ("4.321", "task-of-benchmark", "hardware-of-benchmark"),
}
CARDS = {
    "a fine-tune": lambda: a_card(record=a_modification_record(facts=ANSWERS)),
    "a fine-tune that was not evaluated": lambda: a_card(record=a_modification_record(facts=ANSWERS), evaluation=None),
    "a fine-tune without a record": lambda: a_card(record=None),
    "a merge": lambda: a_card_of_a_merge(record=a_merge_modification(ancestors=ancestors(), facts=ANSWERS)),
    "a merge without a record": lambda: a_card_of_a_merge(record=None),
    "a base": lambda: base_card(name="small-llama", record=a_base_record()).decode(),
}


def ancestors():
    return tuple(
        Ancestor(
            label=f"part-{at}:1",
            manifest=a_digest(f"part {at} manifest"),
            is_parent=True,
            run=a_run_record(),
            runs=frozenset({a_digest(f"part {at} manifest")}),
        )
        for at in (1, 2)
    )


def without_digests(card):
    """Digits of a digest say nothing; spaces between groups of digits neither."""
    return re.sub(r"[ \u202f]", "", re.sub(r"[0-9a-f]{12,64}", "", card))


@pytest.mark.parametrize("field", NOT_FOR_EVERYBODY)
@pytest.mark.parametrize("kind", CARDS)
def test_what_the_documentation_form_keeps_for_authorities_is_not_on_the_card(kind, field):
    card = without_digests(CARDS[kind]())
    assert not [probe for probe in NOT_FOR_EVERYBODY[field] if probe in card]


def test_the_fields_kept_for_authorities_are_in_the_record_that_the_card_is_made_from():
    """Else the table above would find nothing because there is nothing."""
    record = without_digests(str(a_modification_record(facts=ANSWERS).to_json()))
    answered = [probe for probes in NOT_FOR_EVERYBODY.values() for probe in probes if "-" in probe and "T" not in probe]
    assert not [probe for probe in [*answered, "134515008", "136957248", "23700", "731"] if probe not in record]


@pytest.mark.parametrize("kind", CARDS)
def test_the_size_is_the_range_that_everybody_gets(kind):
    assert "1-500M" in CARDS[kind]()


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
