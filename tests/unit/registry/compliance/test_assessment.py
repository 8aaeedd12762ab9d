"""What follows from a record: each input that people may answer changes every value that follows from it, and no other."""

import re
from typing import Any

import pytest

from peft_registry.registry.compliance.answers import SignedAnswers, superseding_with_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.fields import FieldRule, field_rules, leaves
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.codes import code_in
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ASKED, ModificationRecord
from peft_registry.schemas.values import Value, declared, derived, measured, unknown
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_merge_modification,
    a_modification_record,
    a_profile,
    a_version,
    said_otherwise,
    signed_by_an_officer,
    some_base_facts,
)

STATEMENT = Digest.of(b"the statement")
RATIO = {f"gpai.{name}" for name in ("ratio", "ratio_low", "ratio_high", "ratio_method_aware", "threshold_flop")}
OF_ANOTHER_ACTOR = RATIO | {"gpai.threshold_kind"}  # the criterion is for others than the base's provider
BASE_COMPUTE = RATIO | {
    "step.ratio",
    "gpai.original_flop",
    "gpai.sr_flag",
    "compute.cumulative_flop",
    "upstream[0].gpai_indication",
}
ENERGY = {f"energy.{name}" for name in ("training_kwh", "method", "missing_info")} | {"documentation.energy_mwh"}
RETENTION = {"retention.start_date", "retention.until"}
VERDICT = {"gpai.verdict"}  # with the digest of the answers that it rests on
# what somebody may answer: another answer than the record has, and every value that follows from it
FOLLOWS: dict[str, tuple[Any, set[str]]] = {
    "modifier.role_claimed": ("original_provider", {"gpai.same_provider"} | OF_ANOTHER_ACTOR | VERDICT),
    "base[].licence_flags": (
        ["eu_exclusion"],
        {"upstream[0].eu_exclusion", "gpai.open_source_exemption.licence_ok"} | VERDICT,
    ),
    "upstream[].eu_exclusion": ("yes", VERDICT),
    "base[].is_gpai": ("no", VERDICT),
    "base[].has_systemic_risk": ("yes", {"gpai.sr_flag"} | VERDICT),
    "base[].training_tokens": (10**17, BASE_COMPUTE | VERDICT),
    "base[].training_compute_flop": (1.1e25, BASE_COMPUTE | VERDICT),
    "gpai.same_provider": ("yes", OF_ANOTHER_ACTOR | VERDICT),
    "gpai.placed_on_eu_market": ("no", RETENTION | VERDICT),
    "gpai.placing_date": ("2026-03-01", RETENTION),
    "gpai.qualitative_change.generality": ("significant", VERDICT),
    "gpai.qualitative_change.capabilities": ("significant", VERDICT),
    "gpai.qualitative_change.systemic_risk": ("significant", VERDICT),
    "gpai.estimate_attempt": ("the provider was asked", VERDICT),  # below: where the base's compute is not known
    "power.device_watts": (800, ENERGY - {"energy.missing_info"}),
    "energy.pue": (1.2, ENERGY | {"energy.boundary"}),
    "energy.training_kwh": (
        7.5,
        {"documentation.energy_mwh", "energy.method", "energy.boundary", "energy.missing_info"},
    ),
    "compute.private_synthetic_flop": (2e25, {"compute.cumulative_flop", "gpai.sr_flag"} | VERDICT),
    "data[].provenance_class": (
        "synthetic_private",
        {"compute.cumulative_flop", "gpai.sr_flag", "all_data.provenance", "all_data.synthetic_pct"} | VERDICT,
    ),
    "data[].licence": ("MIT", {"all_data.licences"}),
    "data[].languages": (["en"], {"all_data.languages"}),
    "data[].acquired_to": ("2026-04-30", {"content.latest_acquisition"}),
}


def stated(value: Any) -> Value:
    return declared(value, by="alex", at=NOW)


def a_decided_record(**over: Any) -> ModificationRecord:
    """Everything that the status rests on is answered, and nothing in it is the first answer of a table."""
    facts = some_base_facts(
        is_gpai=stated("yes"),
        has_systemic_risk=stated("no"),
        training_tokens=stated(2 * 10**12),
        licence_flags=stated([]),
    )
    fields: dict[str, Any] = {
        "profile": a_profile(role=stated("downstream_modifier")),
        "bases": (a_base_input(record=a_base_record(facts=facts)),),
        "facts": {
            "asserted_by": "alex",
            "gpai": {
                "placed_on_eu_market": "yes",
                "qualitative_change": dict.fromkeys(("generality", "capabilities", "systemic_risk"), "none"),
            },
            "power": {"device_watts": 400},
            "data": {"*": {"acquired_to": "2026-01-31"}},
        },
    }
    return signed_by_an_officer(a_modification_record(**(fields | over)))


def values(record: ModificationRecord) -> dict[str, Value]:
    return {leaf.path: leaf.value for leaf in leaves(record)}


def answered(
    before: ModificationRecord, answers: dict[str, Any], statement: Digest = STATEMENT
) -> tuple[ModificationRecord, SignedAnswers]:
    """The record that supersedes one with answers, and what their statement says."""
    rules = field_rules().by_path()
    signed_answers = []
    for path, value in answers.items():
        area = rules[rule_of(path)].owner
        assert area != "tool"
        signed_answers.append(Answer(path=path, area=area, value=value))
    predicate = AnswersPredicate(
        record_id=before.record_id,
        record=before.canonical_digest(),
        form=Digest.of(b"the form"),
        answers=tuple(signed_answers),
        person="alex",
        role="officer",
        nonce="00",
    )
    signed = SignedAnswers(statement, predicate, NOW)
    after = superseding_with_answers(before, signed, version=a_version(), record_id=f"{statement.short}", now=NOW)
    return after, signed


def rule_of(path: str) -> str:
    return re.sub(r"\[\d+]", "[]", path)


def changed(before: ModificationRecord, after: ModificationRecord) -> set[str]:
    earlier = values(before)
    return {path for path, value in values(after).items() if value != earlier[path]}


def a_sample(rule: FieldRule) -> Any:  # any JSON value: another answer to a field from which nothing follows
    samples: dict[str, Any] = {"choice": "no", "list": ["a sample"], "object": {"a": "sample"}, "number": 3}
    return samples.get(str(rule.type), "a sample")


def answerable(record: ModificationRecord) -> list[str]:
    rules = field_rules().by_path()
    return [leaf.path for leaf in leaves(record) if rules[leaf.rule].owner != "tool" and not rules[leaf.rule].act]


def test_the_record_of_the_table_has_a_status_and_an_energy() -> None:
    record = a_decided_record()
    assert record.gpai.verdict.value == "downstream_modifier_not_provider"
    assert (record.gpai.same_provider.value, record.upstream[0].eu_exclusion.value) == ("no", "no")
    assert record.energy.training_kwh.source == "derived"


DECIDED = a_decided_record()
NAMED = {"identity.result_name", "identity.result_manifest"}  # by every record that supersedes


@pytest.mark.parametrize("rule", FOLLOWS)
def test_an_answer_changes_every_value_that_follows_from_it_and_no_other(rule: str) -> None:
    path = rule.replace("[]", "[0]")
    answer, follow = FOLLOWS[rule]
    after, signed = answered(DECIDED, {path: answer})
    assert changed(DECIDED, after) - {path} - NAMED == follow
    assert said_otherwise(after, DECIDED, signed) == []


def test_the_licence_of_a_merge_follows_from_an_answer_about_its_ingredient_and_is_nobodys_answer() -> None:
    (base,) = DECIDED.base
    ingredient = base.revised(name=measured("part:1"), role=measured("ingredient"), licence_id=ASKED)
    licensed = base.revised(licence_id=declared("Apache-2.0", by="alex", at=NOW))
    before = with_assessment(
        DECIDED.revised(
            identity=DECIDED.identity.revised(kind=measured("merge")),
            base=(licensed, ingredient),
            product=DECIDED.product.revised(licence=ASKED),
        )
    )
    after, signed = answered(before, {"base[1].licence_id": "Apache-2.0"})
    assert (after.product.licence.value, after.product.licence.evidence) == ("Apache-2.0", (STATEMENT,))
    assert said_otherwise(after, before, signed) == []
    other = derived("MIT", method=after.product.licence.method, evidence=(STATEMENT,))
    forged = after.revised(product=after.product.revised(licence=other))
    assert said_otherwise(forged, before, signed) == [
        "product.licence: its inputs give Apache-2.0, and the record says MIT"
    ]


def test_from_no_other_answer_anything_follows() -> None:
    """Whoever lets something follow from one more field adds it to the table."""
    rules = field_rules().by_path()
    recorded = values(DECIDED)
    others = {
        path: a_sample(rules[rule_of(path)])
        for path in answerable(DECIDED)
        if rule_of(path) not in FOLLOWS and recorded[path].source not in ("measured", "derived")
    }
    assert len(others) > 80
    after, signed = answered(DECIDED, others)
    assert changed(DECIDED, after) - NAMED == set(others)
    assert said_otherwise(after, DECIDED, signed) == []


@pytest.mark.parametrize(("risk", "kind"), [("no", "fallback_gpai"), ("yes", "fallback_sr")])
def test_a_recorded_attempt_to_estimate_gives_the_fixed_threshold(risk: str, kind: str) -> None:
    facts = some_base_facts(is_gpai=stated("yes"), has_systemic_risk=stated(risk), licence_flags=stated([]))
    before = a_decided_record(bases=(a_base_input(record=a_base_record(facts=facts)),))
    after, _ = answered(before, {"gpai.estimate_attempt": "the provider was asked"})
    assert changed(before, after) >= {"gpai.threshold_kind", "gpai.threshold_flop", "gpai.verdict"}
    assert after.gpai.threshold_kind.value == kind
    again, _ = answered(after, {"base[0].training_tokens": 2 * 10**12})
    assert again.gpai.threshold_kind.value == "relative"


# --- nothing is left of what was derived from other inputs ---

# derived once, from what this tool measured and nobody may answer
FROM_MEASUREMENTS = {
    "base[].role", "base[].licence_flags", "use.modalities", "change.pct_of_base", "modifier.controls_weights",
    "product.architecture", "retention.basis", "compute.param_update_flop", "compute.conservative_flop",
    "compute.uncertainty_pct", "compute.wall_clock_days", "compute.hardware_days", "compute.nca_range",
    "evaluation.delta", "use.required_hardware", "use.required_software", "use.max_output",
    "code.environment_digest", "code.dependency_sbom", "compute.method", "evaluation.signed_at",
}  # fmt: skip
# follows from nothing that a record holds: for people to answer, or not built yet
DERIVED_BY_NOBODY = {
    "base[].is_gpai", "compute.private_synthetic_flop", "compute.excluded.evaluation_flop",
    "compute.excluded.recompute_flop", "compute.excluded.auxiliary_flop", "compute.excluded.failed_runs_flop",
    "compute.excluded.public_synthetic_flop", "compute.excluded.teacher_flop", "gpai.result_is_gpai_by_itself",
    "gpai.notification_due", "gpai.open_source_exemption.licence_ok", "high_risk.foreseen_in_initial_assessment",
    "high_risk.predetermined", "high_risk.article25_case", "high_risk.handover_pack_ref",
    "high_risk.significant_design_change", "retention.log_retention_months",
}  # fmt: skip


def is_derived(rule: str, value: Value) -> bool:
    return "D" in field_rules().by_path()[rule].fill.replace("U/D", "U") or value.source == "derived"


def derived_by_an_assessment(record: ModificationRecord) -> list[str]:
    return [
        leaf.path
        for leaf in leaves(record)
        if is_derived(leaf.rule, leaf.value) and leaf.rule not in FROM_MEASUREMENTS | DERIVED_BY_NOBODY
    ]


def test_nothing_is_left_of_what_stood_in_the_derived_fields() -> None:
    left_over = derived("left over", method="from other inputs")
    paths = derived_by_an_assessment(DECIDED)
    assert len(paths) > 25
    other = with_values(DECIDED, dict.fromkeys(paths, left_over))
    assert values(with_assessment(other)) == values(DECIDED)


@pytest.mark.parametrize("build", [a_decided_record, a_modification_record, a_merge_modification])
def test_an_assessment_changes_nothing_twice(build: Any) -> None:
    record = build()
    assert with_assessment(record).to_canonical() == record.to_canonical()


def test_a_role_that_is_withdrawn_leaves_no_provider_behind() -> None:
    before = DECIDED
    withdrawn = with_values(before, {"modifier.role_claimed": unknown("it was a mistake")})
    assert not with_assessment(withdrawn).gpai.same_provider.known


def test_power_that_is_withdrawn_leaves_no_energy_behind() -> None:
    before = DECIDED
    after = with_assessment(with_values(before, {"power.device_watts": unknown("it was another machine")}))
    assert not after.energy.training_kwh.known
    assert not after.documentation.energy_mwh.known
    assert not after.energy.method.known and not after.energy.boundary.known
    assert code_in(after.energy.missing_info.value) == after.energy.training_kwh.reason


def test_a_compute_of_the_base_that_is_withdrawn_leaves_no_ratio_behind() -> None:
    before = DECIDED
    after = with_assessment(with_values(before, {"base[0].training_tokens": unknown("of another model")}))
    assert not [path for path in RATIO | {"gpai.original_flop"} if values(after)[path].known]


def test_compute_of_synthetic_data_that_is_not_known_is_not_none() -> None:
    before = DECIDED
    after, _ = answered(before, {"data[0].provenance_class": "synthetic_private"})
    assert "generated the synthetic data" in str(after.compute.cumulative_flop.reason)
    again, _ = answered(after, {"compute.private_synthetic_flop": 1e20})
    assert again.compute.cumulative_flop.value == pytest.approx(before.compute.cumulative_flop.value + 1e20)


def test_a_cumulative_compute_that_is_over_without_what_is_not_known_is_over() -> None:
    before = DECIDED
    after, _ = answered(before, {"base[0].training_compute_flop": 1.1e25})
    again, _ = answered(after, {"data[0].provenance_class": "synthetic_private"})
    assert not again.compute.cumulative_flop.known
    assert again.gpai.sr_flag.value == "cumulative_over_1e25"


# --- what verification takes for the tool's word ---


def test_an_answer_is_not_replaced_by_what_the_tool_derives_where_nobody_answers() -> None:
    """A thief of the home's key drops a signed answer and writes what would follow without it."""
    before, other = a_modification_record(), Digest.of(b"another statement")
    first, signed = answered(before, {"gpai.same_provider": "yes"})
    assert said_otherwise(first, before, signed) == []
    after, role = answered(first, {"modifier.role_claimed": "downstream_modifier"}, other)
    assert said_otherwise(after, first, role) == []
    assert after.gpai.same_provider.value == "yes"
    dropped = with_assessment(with_values(after, {"gpai.same_provider": unknown("not answered")}))
    assert dropped.gpai.same_provider.source == "derived"
    told = said_otherwise(dropped, first, role)
    assert "gpai.same_provider: its inputs give yes, and the record says no" in told
