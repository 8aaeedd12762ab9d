"""Paths of fields: parsed and written in one place."""

import pytest

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules, leaves
from tests.builders.records import a_modification_record


def test_every_path_of_a_record_and_of_the_rules_is_written_as_it_was_read() -> None:
    rules = [rule.path for rule in field_rules().fields]
    for path in [*rules, *(leaf.path for leaf in leaves(a_modification_record()))]:
        assert str(FieldPath.parse(path)) == path


def test_the_rule_of_a_path_has_no_position_and_the_item_has() -> None:
    for leaf in leaves(a_modification_record()):
        path = FieldPath.parse(leaf.path)
        assert path.rule == leaf.rule
        assert (path.item is None) == ("[" not in leaf.path)


@pytest.mark.parametrize(
    "text",
    ["", "data", "data[0]", "data[0]licence", "[0].x", "data[-1].x", "data[9999999999].x", "data[٣].x", "a.b[0].c"],
)
def test_what_is_no_path_is_a_field_that_no_record_has(text: str) -> None:
    path = FieldPath.parse(text)
    assert (path.item, path.rule) == (None, text)
    assert path.rule not in field_rules().by_path()


def test_a_value_is_held_in_its_own_item() -> None:
    document = a_modification_record().to_json()
    document["data"] = [{"art4a": {"deletion": 1}}, {"art4a": {"deletion": 2}}]
    section, key = FieldPath.parse("data[1].art4a.deletion").place_in(document)
    assert section[key] == 2


def test_fields_of_two_items_are_not_beside_each_other() -> None:
    base = FieldPath.parse("base[0].release_date")
    assert base.is_beside(FieldPath.parse("gpai.placing_date"))
    assert base.is_beside(FieldPath.parse("data[1].acquired_to"))
    assert not base.is_beside(FieldPath.parse("base[1].eu_release_date"))
    assert base.beside("base[].eu_release_date") == "base[0].eu_release_date"
    assert base.beside("energy.method") == "energy.method"
    assert base.named({"base": ["small-llama"]}) == "base.small-llama.release_date"
