"""What the settings of an imported folder say of its training."""

from typing import Any

import pytest

from peft_registry.registry.compliance.importing import bits_of
from peft_registry.schemas.values import imported


@pytest.mark.parametrize(
    ("settings", "bits"),
    [
        ({"load_in_4bit": True}, 4),
        ({"load_in_4bit": "True"}, 4),
        ({"load_in_4bit": "yes"}, 4),
        ({"load_in_8bit": True}, 8),
        ({"quantization_bit": 3}, 3),
        ({"quantization_bit": True}, 4),
        ({"load_in_4bit": False, "quantization_bit": 8}, 8),
        ({"load_in_4bit": False}, None),
        ({"load_in_4bit": "no"}, None),
        ({"load_in_4bit": [True]}, None),
        ({"load_in_4bit": {"a": 1}}, None),
        ({"quantization_bit": 0}, None),
        ({"quantization_bit": "none"}, None),
        ({"quantization_bit": 2.5}, None),
        ({"quantization_bit": 32}, None),
        ({}, None),
    ],
)
def test_how_many_bits_the_base_had_is_what_the_files_say(settings: dict[str, Any], bits: int | None) -> None:
    values = {name: imported(value, method=f"args.json, {name}") for name, value in settings.items()}
    stated = bits_of(values)
    assert (None if stated is None else stated[0]) == bits
