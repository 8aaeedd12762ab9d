"""The schema of the modification record and the data that describes its fields say the same."""

import ast
import re

from peft_registry.registry.compliance.fields import field_rules, leaves, schema_paths
from peft_registry.schemas.modification import UNTIL_SECOND_FORM, ModificationRecord
from tests.builders.records import NOW, a_modification_record
from tests.processes.interpreter import ROOT

RULES = field_rules()
REFERENCE = re.compile(r"Arts?\. |Annex |Recital |GL |MDF|PST|CoP|NIST")


def test_every_field_of_the_schema_has_one_rule_and_every_rule_one_field():
    assert sorted(schema_paths()) == sorted(rule.path for rule in RULES.fields)


def test_each_field_of_a_new_record_is_filled_by_this_tool_or_asked_of_a_person():
    """Else it is open for ever, and a record is never complete."""
    written: set[str] = set()
    for file in (ROOT / "registry" / "compliance").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.keyword) and node.arg is not None:
                written.add(node.arg)
            elif isinstance(node, ast.Dict):
                written |= {
                    key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                }
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                key = node.targets[0].slice
                written |= {key.value} if isinstance(key, ast.Constant) and isinstance(key.value, str) else set()
    left = {
        rule.path
        for rule in RULES.fields
        if rule.until is None and not rule.takes_answers and rule.path.rpartition(".")[2] not in written
    }
    assert left == set()


def test_what_newer_records_do_not_have_is_asked_of_nobody_and_named_by_its_last_form():
    gone = {rule.path for rule in RULES.fields if rule.until is not None}
    assert gone == UNTIL_SECOND_FORM
    assert not [rule.path for rule in RULES.fields if rule.until is not None and rule.required_when]
    assert {rule.answered_by for rule in RULES.fields} - {None} <= set(schema_paths()) - gone


def test_no_path_is_described_twice():
    assert len(RULES.by_path()) == len(RULES.fields)


def test_every_leaf_of_a_record_is_found_under_its_rule():
    rules = RULES.by_path()
    assert all(leaf.rule in rules for leaf in leaves(a_modification_record()))


def test_an_empty_record_is_unknown_everywhere_and_says_why():
    empty = ModificationRecord(record_id="r", record_created_at=NOW)
    rules = RULES.by_path()
    for leaf in leaves(empty):
        assert not leaf.value.known
        assert str(leaf.value.reason) == RULES.reasons[rules[leaf.rule].fill[0]], leaf.path


def test_every_rule_names_known_conditions_a_clause_and_answers_where_it_is_a_choice():
    for rule in RULES.fields:
        conditions = {part for alternative in rule.required_when for part in alternative.split("+")}
        assert conditions <= set(RULES.conditions), rule.path
        assert REFERENCE.match(rule.answers), (rule.path, rule.answers)
        assert (rule.type == "choice") == bool(rule.values), rule.path
        assert set(rule.fill) <= set("MDUH/ +"), rule.path


def test_no_rule_cites_the_paragraph_that_the_2026_amendment_removed():
    assert not [rule.path for rule in RULES.fields if "10(5)" in rule.answers]


def test_the_rules_say_which_law_they_follow():
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", RULES.law_as_of)
    assert "not legal advice" in RULES.notice
    assert {source.short for source in RULES.sources} >= {"AI Act", "GL", "CoP", "MDF", "PST"}


def test_a_record_read_back_has_the_same_digest():
    record = a_modification_record()
    assert ModificationRecord.from_json(record.to_json()).canonical_digest() == record.canonical_digest()


def test_the_compliance_map_and_the_rules_follow_the_law_of_one_day():
    text = (ROOT / "docs/compliance/README.md").read_text(encoding="utf-8")
    assert re.findall(r"[Ll]aw as of ([0-9-]+)", text) == [RULES.law_as_of]


def test_every_link_of_the_compliance_map_leads_to_a_file():
    page = ROOT / "docs/compliance/README.md"
    links = re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if not (page.parent / link).is_file()]
