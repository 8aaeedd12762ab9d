"""The table of methods: every known name has a row, reserved names are refused, and reading it needs no torch."""

import subprocess
import sys

import pytest

from schemas.config import METHOD_BLOCKS, METHOD_NAMES
from schemas.errors import InputRefused
from tests.training_builders import a_training_file
from trainer.methods import (
    METHODS,
    CombinationRefused,
    MethodNotAvailable,
    UnknownGoal,
    advise,
    available_methods,
    check_available,
    implementation,
    parse_goals,
)


def test_every_name_of_the_schema_has_a_row_and_every_available_method_a_block():
    assert tuple(METHODS) == METHOD_NAMES
    assert available_methods() == ("full", "lora", "qlora", "ia3")
    assert set(available_methods()) <= set(METHOD_BLOCKS)


@pytest.mark.parametrize("name", [row.name for row in METHODS.values() if not row.available])
def test_a_reserved_method_is_refused_by_name(name):
    with pytest.raises(MethodNotAvailable, match=f"{name} is not available in this version"):
        check_available(a_training_file(method=name))
    with pytest.raises(InputRefused):
        implementation(name)


REFUSED = {
    "full training of 4 bits": {"method": "full", "quantization": {"type": "nf4"}},
    "pissa with magnitudes": {"lora__init": "pissa", "lora__use_dora": True},
    "biases of quantised layers": {"method": "qlora", "lora__bias": "all"},
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
    assert caught.value.fix == "did you mean latency?"


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
        "import sys, trainer.methods, trainer.config; assert 'torch' not in sys.modules and 'peft' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
