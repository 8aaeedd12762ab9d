"""The table of methods: every known name has a row, reserved names are refused, and reading it needs no torch."""

import subprocess
import sys
from dataclasses import replace

import pytest

from peft_registry.registry.compliance.completeness import _ADAPTERS
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.recorded_run import _KINDS
from peft_registry.schemas.config import (
    DEFAULT_LEARNING_RATES,
    GOALS,
    METHOD_BLOCKS,
    METHOD_NAMES,
    LoraProBlock,
)
from peft_registry.schemas.config_aliases import parse_training_file
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.methods import (
    METHODS,
    CombinationRefused,
    MethodNotAvailable,
    UnknownGoal,
    advise,
    available_methods,
    check_available,
    implementation,
    optimizer_name,
    parse_goals,
)
from tests.builders.training import a_training_file


def test_every_name_of_the_schema_has_a_row_and_every_available_method_a_block():
    assert tuple(METHODS) == METHOD_NAMES
    assert available_methods() == METHOD_NAMES
    assert set(METHOD_BLOCKS) == set(METHOD_NAMES)
    assert {goal for row in METHODS.values() for goal in (one.goal for one in row.advice)} == set(GOALS)
    assert all(len(row.advice) == len(GOALS) for row in METHODS.values())


def test_the_record_calls_a_method_by_its_own_word_and_knows_that_it_is_an_adapter():
    words = next(one.values for one in field_rules().fields if one.path == "method.kind")
    for name, row in METHODS.items():
        kind = _KINDS.get(name, "other")
        # LoRA with another optimizer is LoRA
        assert name not in words or kind == name, f"name {name} in _KINDS of registry/compliance/recorded_run.py"
        known = kind == "other" or row.layout == "model" or kind in _ADAPTERS
        assert known, f"name {kind} in _ADAPTERS of registry/compliance/completeness.py"


def test_a_reserved_method_is_refused_by_name(monkeypatch):
    rows = dict(METHODS) | {"ia3": replace(METHODS["ia3"], module=None)}
    monkeypatch.setattr("peft_registry.trainer.methods.METHODS", rows)
    with pytest.raises(MethodNotAvailable, match="ia3 is not available in this version"):
        check_available(a_training_file(method="ia3"))
    with pytest.raises(InputRefused):
        implementation("ia3")


def test_the_default_learning_rate_is_the_methods_and_is_in_the_table():
    for name in METHOD_NAMES:
        raw = {"name": "x", "base": "b", "method": name, "data": {"train": {"path": "rows.jsonl"}}}
        rate = parse_training_file(raw)[0].training.learning_rate
        shown = [one.value for one in METHODS[name].defaults if one.key == "training.learning_rate"]
        assert [float(value) for value in shown] == [rate] == [DEFAULT_LEARNING_RATES[name]]
        assert parse_training_file(raw, [("lr", 0.5)])[0].training.learning_rate == 0.5


REFUSED = {
    "full training of 4 bits": {"method": "full", "quantization": {"type": "nf4"}},
    "pissa with magnitudes": {"lora__init": "pissa", "lora__use_dora": True},
    "biases of quantised layers": {"method": "qlora", "lora__bias": "all"},
    "magnitudes with lora_pro": {"method": "lora_pro", "lora__use_dora": True},
    "two rules for the same step": {"method": "lora_pro", "lora__loraplus_lr_ratio": 16},
    "three learning rates": {"method": "hybrid", "lora__loraplus_lr_ratio": 16},
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_contradict_each_other_are_refused_with_the_reason(case):
    with pytest.raises(CombinationRefused) as caught:
        check_available(a_training_file(**REFUSED[case]))
    assert caught.value.exit_code == 2
    assert caught.value.why and caught.value.fix


def test_qlora_asks_for_nf4_with_double_quantisation_and_any_adapter_may_ask_for_4_bits():
    implied = a_training_file(method="qlora")
    assert implied.quantization is not None
    assert (implied.quantization.type, implied.quantization.double) == ("nf4", True)
    assert a_training_file(method="qlora", quantization={"type": "fp4"}).quantization.type == "fp4"
    for name in ("lora", "ia3"):
        assert check_available(a_training_file(method=name, quantization={"double": False})).quantizable


def test_advice_puts_what_fits_first_and_misspelt_goals_are_refused():
    goals = parse_goals("many_tasks, latency")
    assert goals == ("latency", "many_tasks")
    names = [row.name for row, _ in advise(goals)]
    assert set(names) == set(METHOD_NAMES)
    assert names.index("lora") < names.index("full") < names.index("hybrid")
    with pytest.raises(UnknownGoal, match="latancy") as caught:
        parse_goals("latancy")
    assert caught.value.fix == "did you mean `latency`?"


def test_each_default_says_where_it_comes_from_and_is_the_schemas():
    config = a_training_file()
    for row in METHODS.values():
        for default in row.defaults:
            assert default.source
    lora = {default.key: default.value for default in METHODS["lora"].defaults}
    assert (lora["r"], float(lora["alpha"]), lora["target_modules"]) == (
        str(config.lora.r),
        config.lora.alpha,
        config.lora.target_modules,
    )


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
