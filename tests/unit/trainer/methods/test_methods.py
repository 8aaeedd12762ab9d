"""The declarations of methods: whatever is keyed by a method derives from them, and reading them needs no torch."""

import json
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.compliance.completeness import conditions_of
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.config_aliases import parse_training_file
from peft_registry.schemas.methods import BLOCKS, DECLARED, METHOD_NAMES, METHODS, OF_KIND, OF_PEFT_TYPE
from peft_registry.schemas.methods.declaration import GOALS, TrainableMethod
from peft_registry.schemas.methods.lora_pro import LoraProBlock
from peft_registry.schemas.values import measured
from peft_registry.trainer.methods import (
    CombinationRefused,
    UnknownGoal,
    advice_of,
    advise,
    check_combinations,
    implementation,
    method_to_try,
    optimizer_name,
    parse_goals,
)
from tests.builders.records import a_modification_record
from tests.builders.training import a_training_file


def test_every_declared_method_can_be_asked_for_and_has_an_advice_for_each_goal():
    schema = TrainingFile.model_json_schema()
    assert tuple(schema["properties"]["method"]["enum"]) == METHOD_NAMES == tuple(METHODS)
    assert set(BLOCKS) <= set(schema["properties"])
    for name, method in METHODS.items():
        assert [advice.goal for advice in advice_of(method)] == [
            goal for goal in ("latency", "many_tasks", "bias_mitigation") if goal in GOALS
        ]
        config = a_training_file(method=name)
        assert [type(block) for block in config.method_blocks] == [BLOCKS[block] for block in method.blocks]
        assert set(method.reads) <= set(BLOCKS)


def test_every_trainable_method_has_the_functions_of_a_method_and_every_declared_one_loads():
    for name, method in DECLARED.items():
        module = implementation(name)
        assert module is import_module(f"peft_registry.trainer.methods.{method.module}")
        wanted = ("prepare", "save", "load") if isinstance(method, TrainableMethod) else ("load",)
        assert [function for function in wanted if not callable(getattr(module, function, None))] == [], name


def test_what_is_declared_of_an_adapters_configuration_is_what_peft_has_there():
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    import peft_registry.trainer.methods.bottleneck_adapter  # noqa: F401  makes the method known to peft

    for peft_type, method in OF_PEFT_TYPE.items():
        found = {field.name for field in fields(PEFT_TYPE_TO_CONFIG_MAPPING[peft_type])}
        assert method.config_keys == found, peft_type


def conditions_with(kind: str) -> frozenset[str]:
    record = a_modification_record()
    return conditions_of(record.revised(method=record.method.revised(kind=measured(kind)))).met


def test_the_record_calls_every_method_by_its_own_word_and_knows_that_it_is_an_adapter():
    words = next(rule.values for rule in field_rules().fields if rule.path == "method.kind")
    for method in DECLARED.values():
        for kind in (method.kind, *method.kinds.values()):
            assert kind in words and kind != "other", method.name
            assert ("adapter" in conditions_with(kind)) == method.is_adapter
            assert OF_KIND[kind].peft_type == method.peft_type


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        ("lora", {"ranked", "scaled", "dropped", "targeted"}),
        ("dora", {"ranked", "scaled", "dropped", "targeted"}),
        ("ia3", {"targeted"}),
        ("bottleneck_adapter", {"dropped", "targeted"}),
        ("prefix_tuning", {"prompt"}),
        ("hybrid", {"ranked", "scaled", "dropped", "targeted", "prompt"}),
        ("full_ft", set()),
    ],
)
def test_a_record_asks_for_the_settings_that_its_method_has(kind: str, asked: set[str]):
    all_of_them = {"ranked", "scaled", "dropped", "targeted", "prompt"}
    assert conditions_with(kind) & all_of_them == asked


def test_the_default_learning_rate_is_the_methods_and_is_in_the_table():
    for name, method in METHODS.items():
        raw = {"name": "x", "base": "b", "method": name, "data": {"train": {"path": "rows.jsonl"}}}
        rate = parse_training_file(raw)[0].training.learning_rate
        shown = [default.value for default in method.defaults if default.key == "training.learning_rate"]
        assert [float(value) for value in shown] == [rate] == [method.learning_rate]
        assert parse_training_file(raw, [("lr", 0.5)])[0].training.learning_rate == 0.5


def test_each_default_says_where_it_comes_from_and_is_the_schemas():
    for name, method in METHODS.items():
        config = a_training_file(method=name)
        for default in method.defaults:
            assert default.source
            block, _, key = default.key.rpartition(".")
            if block in ("training", "quantization"):
                continue
            if key == "seeds":
                assert str(len(config.seeds)) == default.value
                continue
            value = getattr(config, block).model_dump(mode="json")[key] if block else config.setting(key)
            value = list(value) if isinstance(value, tuple) else value
            shown = value if isinstance(value, str) else json.dumps(value)
            assert shown == default.value or float(shown) == float(default.value), (name, default)


REFUSED = {
    "full training of 4 bits": {"method": "full", "quantization": {"type": "nf4"}},
    "no adapter for layers in 4 bits": {"method": "loha", "quantization": {"type": "nf4"}},
    "pissa with magnitudes": {"lora__init": "pissa", "lora__use_dora": True},
    "biases of quantised layers": {"method": "qlora", "lora__bias": "all"},
    "magnitudes with lora_pro": {"method": "lora_pro", "lora__use_dora": True},
    "two rules for the same step": {"method": "lora_pro", "lora__loraplus_lr_ratio": 16},
    "three learning rates": {"method": "hybrid", "lora__loraplus_lr_ratio": 16},
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_contradict_each_other_are_refused_with_the_reason(case):
    with pytest.raises(CombinationRefused) as caught:
        check_combinations(a_training_file(**REFUSED[case]))
    assert caught.value.exit_code == 2
    assert caught.value.why and caught.value.fix
    assert ("weights in 4 bits cannot be trained" in caught.value.why) == (case == "full training of 4 bits")


def test_qlora_asks_for_nf4_with_double_quantisation_and_any_adapter_may_ask_for_4_bits():
    implied = a_training_file(method="qlora")
    assert implied.quantization is not None
    assert (implied.quantization.type, implied.quantization.double) == ("nf4", True)
    assert a_training_file(method="qlora", quantization={"type": "fp4"}).quantization.type == "fp4"
    for name in ("lora", "ia3"):
        assert check_combinations(a_training_file(method=name, quantization={"double": False})).quantizable


def test_advice_puts_what_fits_first_and_misspelt_goals_are_refused():
    goals = parse_goals("many_tasks, latency")
    assert goals == ("latency", "many_tasks")
    names = [row.name for row, _ in advise(goals)]
    assert set(names) == set(METHOD_NAMES)
    assert names.index("lora") < names.index("full") < names.index("hybrid")
    with pytest.raises(UnknownGoal, match="latancy") as caught:
        parse_goals("latancy")
    assert caught.value.fix == "did you mean `latency`?"


def test_no_method_is_said_to_help_against_bias_and_a_comparison_is_hinted_at(capsys):
    for method in METHODS.values():
        (advice,) = (advice for advice in advice_of(method) if advice.goal == "bias_mitigation")
        assert advice.fits is None
    assert method_to_try(("bias_mitigation",)) is None
    assert method_to_try(("bias_mitigation", "latency")) == method_to_try(("latency",)) == "full"
    assert run(["methods", "--for", "bias_mitigation"]) == 0
    said = capsys.readouterr()
    assert "registry compare CONFIG.yml" in said.out + said.err
    assert "%" not in said.out


def test_the_table_and_a_refusal_need_no_torch():
    code = (
        "import sys, peft_registry.trainer.methods, peft_registry.trainer.inputs.training_file\n"
        "assert 'torch' not in sys.modules and 'peft' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lora_pro_says_that_its_default_is_not_the_form_of_its_authors_code():
    row = METHODS["lora_pro"]
    assert "efficient" in row.summary and "authors' code is the full form" in row.summary
    (form,) = (default for default in row.defaults if default.key == "form")
    assert form.value == LoraProBlock().form == "efficient" and "authors' code is the full form" in form.source
    names = {
        form: optimizer_name(a_training_file(method="lora_pro", lora_pro={"form": form}))
        for form in ("efficient", "full")
    }
    assert "not that of its authors' code" in names["efficient"] and "as in its authors' code" in names["full"]
