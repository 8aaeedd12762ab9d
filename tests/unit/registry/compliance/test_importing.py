"""What the settings of an imported folder say of its training, and what people answer of what no file says."""

from typing import Any

import pytest

from peft_registry.registry.compliance.answers import open_questions, problems_of_answers
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.importing import ImportedChange, bits_of, build_import_modification
from peft_registry.schemas.answers import AREA_ROLES
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import imported
from tests.builders.imports import an_import_record
from tests.builders.records import NOW, TOOL, a_base_input, a_base_record, a_manifest, a_version, some_base_facts
from tests.unit.registry.compliance.test_assessment import answered

HOURS = "12 GPU hours of an A100 at 40 % of 312 TFLOP/s, from the log that its trainer sent"
COMPUTE = {"compute.conservative_flop": 5.4e18, "compute.method": HOURS}
DERIVED_HERE = frozenset({"compute.cumulative_flop", "content.size_range", "content.latest_acquisition"})
"""Of what stays open in the sections of how it was made: they follow from answers."""


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


def an_import() -> ModificationRecord:
    facts = some_base_facts(training_compute_flop=imported(1e24, "FLOP", method="model card"))
    return build_import_modification(
        record_id="an import",
        now=NOW,
        name="sums-tutor",
        manifest=a_manifest(),
        imported_as=an_import_record(),
        base=a_base_input(record=a_base_record(facts=facts)),
        change=ImportedChange(added=48, base_untouched=True),
        tool_version=TOOL,
    )


def test_what_no_file_says_of_a_training_elsewhere_is_a_question_for_an_engineer() -> None:
    record = an_import()
    asked = {question.path: question.area for question in open_questions(record)}
    made_elsewhere = ("compute.", "method.", "data[", "code.", "change.")
    dead = [
        gap.field
        for gap in completeness(record).open
        if gap.field.startswith(made_elsewhere) and gap.field not in {*asked, *DERIVED_HERE}
    ]
    assert dead == []
    assert {asked[path] for path in (*COMPUTE, "compute.hardware", "method.optimiser", "data[0].digest")} == {
        "engineer"
    }


@pytest.mark.parametrize("role", AREA_ROLES["engineer"])
def test_the_compute_of_an_import_is_declared_with_its_method_and_by_whom(role: Any) -> None:
    record = an_import()
    assert not record.gpai.ratio.known
    assert list(problems_of_answers(record, COMPUTE, role=role, version=a_version(), at=NOW)) == []
    after, _ = answered(record, COMPUTE)
    declared = after.compute.conservative_flop
    assert (declared.source, declared.asserted_by, after.compute.method.value) == ("declared", "alex", HOURS)
    assert after.gpai.ratio.value == pytest.approx(5.4e18 / 1e24)
    assert after.compute.cumulative_flop.value == pytest.approx(1e24 + 5.4e18)
    assert "compute of this modification" not in str(after.gpai.verdict.reason)


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"compute.conservative_flop": 5.4e18}, "is worth what its method is"),
        (COMPUTE | {"compute.method": "a guess"}, "answers nothing"),
        (COMPUTE | {"compute.conservative_flop": 0}, "not more than 0"),
    ],
)
def test_a_figure_of_operations_without_a_method_is_no_answer(answers: dict[str, Any], why: str) -> None:
    problems = list(problems_of_answers(an_import(), answers, role="evaluator", version=a_version(), at=NOW))
    assert why in " ".join(problem.reason for problem in problems)
