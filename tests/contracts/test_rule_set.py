"""The name of the rule set in a record says by which rules its values were derived: other rules have another name.

Records are held against what the tool derives wherever they name its own rules. If these derived something else under the same
name, nothing would tell a record that was signed under it from a forged one.
"""

import json
from pathlib import Path

import pytest

from peft_registry.registry.compliance.assessment import WRITTEN_BY_ASSESSMENT, with_assessment
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.recorded_evaluation import evaluation_section
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord

KEPT = Path(__file__).parent.parent / "compat" / "rule-set"  # never rewritten
PINNED = (
    KEPT / "derived.json"
)  # by the name of the rule set, digests by what was derived; a name is added and none is changed


def derived_now() -> dict[str, str]:
    """Digests of what the rules of this tool derive from the kept inputs, by input and section."""
    by_section: dict[str, dict[str, object]] = {}
    for file in sorted(KEPT.glob("record-*.json")):
        record = with_assessment(ModificationRecord.from_json(json.loads(file.read_bytes())))
        for leaf in leaves(record):
            if leaf.rule.startswith(WRITTEN_BY_ASSESSMENT):
                section = leaf.rule.partition(".")[0]
                by_section.setdefault(f"{file.stem}: {section}", {})[leaf.path] = leaf.value.to_json()
    for file in sorted(KEPT.glob("evaluation-*.json")):
        evaluation = EvaluationRecord.from_json(json.loads(file.read_bytes()))
        by_section[f"{file.stem}: evaluation"] = {"evaluation": evaluation_section(evaluation, None, None).to_json()}
    return {name: str(Digest.of(canonical_bytes(values))) for name, values in by_section.items()}


def test_rules_that_derive_something_else_have_another_name() -> None:
    name = field_rules().rule_set
    pinned: dict[str, dict[str, str]] = json.loads(PINNED.read_text("utf-8"))
    derived = derived_now()
    assert len(derived) > 10, "the kept inputs are there"
    if name not in pinned:
        pytest.fail(
            f"the rule set {name} is not pinned yet: add to {PINNED.name}\n{json.dumps({name: derived}, indent=2)}"
        )
    changed = sorted(key for key in pinned[name] | derived if pinned[name].get(key) != derived.get(key))
    assert not changed, (
        f"what follows from the kept inputs has changed, and the rule set is still called {name}: {', '.join(changed)}. Raise "
        "`rule_set` in registry/compliance/rules/modification_fields.json: records that name the old rules were derived by them"
    )
