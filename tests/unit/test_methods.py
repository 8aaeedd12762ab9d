"""The table of methods: every known name has a row, reserved names are refused, and reading it needs no torch."""

import subprocess
import sys

import pytest

from schemas.config import METHOD_BLOCKS, METHOD_NAMES
from schemas.errors import InputRefused
from tests.training_builders import a_training_file
from trainer.methods import (
    METHODS,
    MethodNotAvailable,
    QuantizationNotAvailable,
    available_methods,
    check_available,
    implementation,
)


def test_every_name_of_the_schema_has_a_row_and_every_available_method_a_block():
    assert tuple(METHODS) == METHOD_NAMES
    assert available_methods() == ("full", "lora")
    assert set(available_methods()) == set(METHOD_BLOCKS)


@pytest.mark.parametrize("name", [name for name in METHOD_NAMES if name not in ("full", "lora")])
def test_a_reserved_method_is_refused_by_name(name):
    with pytest.raises(MethodNotAvailable, match=f"{name} is not available in this version"):
        check_available(a_training_file(method=name))
    with pytest.raises(InputRefused):
        implementation(name)


def test_a_quantised_base_is_refused():
    with pytest.raises(QuantizationNotAvailable):
        check_available(a_training_file(quantization={"type": "nf4"}))


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
