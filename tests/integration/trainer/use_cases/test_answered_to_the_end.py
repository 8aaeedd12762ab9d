"""No dead end: what came from elsewhere, a media model, and a system that is high-risk no longer are answered, decided, approved.

Nothing is trained: an adapter is imported from the files that a repository of the Hub has, and measured by the suite that ships.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_registry.registry.compliance import retention
from peft_registry.registry.compliance.answers import open_questions
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.approve import approve
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import decide
from peft_registry.registry.use_cases.gate import (
    GateClosed,
    ReadPolicy,
    explain_gate,
    gate_status,
    promote,
    read_gate_policy,
    shipped_policy,
)
from peft_registry.registry.use_cases.show_verdict import describe_verdict
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.decisions import ENGINEER, OFFICER, Place
from tests.builders.homes import base_files
from tests.builders.importing import imported
from tests.builders.imports import peft_folder
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
ADA, BEN = a_p256_key(21), a_p256_key(22)
LIMITS = "thresholds:\n  house.net_change: {hi: 0.05}\n"
NOT_SAID = {"unknown": "whoever trained it does not say"}
BY_ENGINEER = {
    "compute.conservative_flop": 5.4e17,
    "compute.method": "2 GPU hours of an A100 at 40 % of 312 TFLOP/s, from the log that its trainer sent",
}
BY_OFFICER = {
    "use.intended": "answers to questions about colours",
    "gpai.placed_on_eu_market": "yes",
    "gpai.same_provider": "no",
    "base[0].is_gpai": "no",
    "base[0].licence_id": "Apache-2.0",
    "base[0].licence_flags": [],
    "base[0].training_compute_flop": 1e16,
    "upstream[0].eu_exclusion": "no",
    "gpai.result_is_gpai_by_itself": "no",
    "product.licence": "Apache-2.0",
    "content.holds_evaluated_items": "no",
    "identity.name_or_trademark_on_result": "yes",
}
NO_SYSTEM = {"high_risk.classification_before": "no_system", "high_risk.classification_after": "no_system"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with an adapter that came from elsewhere, evaluated with limits that were set before, and the keys of four people."""
    from peft import LoraConfig

    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.trainer.embedded import embedded_base
    from peft_registry.trainer.evaluation.scope import EvaluationScope
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
    from tests.builders.merge import write_adapter

    folder = tmp_path_factory.mktemp("answered")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=utc_now())
    registry = open_home(folder / "home")
    people = (
        (OFFICER, "alex", "officer"),
        (ENGINEER, "sam", "evaluator"),
        (ADA, "ada", "approver"),
        (BEN, "ben", "approver"),
    )
    keys = tuple(a_trusted_key(key, person=who, role=role, predicate_types=None) for key, who, role in people)
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (folder / "home" / "trust.json").write_bytes(render_chain(chain))
    registry.close()
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    small = LoraConfig(task_type="CAUSAL_LM", r=2, lora_alpha=4, target_modules=["q_proj"])
    imported(
        registry, write_adapter(embedded_base(), folder / "offered", small, scale=1e-4), base="tiny", name="helper"
    )
    limits = folder / "limits.yml"
    limits.write_text(LIMITS)
    on_test_half = EvaluationRequest(
        suites=("house",), scope=EvaluationScope(half="test"), policy=limits, with_placebo=False
    )
    evaluate_references(registry, ("helper",), on_test_half)
    registry.close()
    return folder / "home"


@pytest.fixture
def registry(made: Path, tmp_path: Path) -> Iterator[Registry]:
    shutil.copytree(made, tmp_path / "home")
    registry = open_home(tmp_path / "home")
    yield registry
    registry.close()


def place_of(registry: Registry, name: str) -> Place:
    return Place(registry.folder.parent, registry, version_named(registry, name))


def answer(place: Place, answers: dict[str, Any], key: PrivateKey) -> None:
    decide(place.registry, place.version, place.form(answers), key)


def rules(place: Place, policy: ReadPolicy) -> list[str]:
    return [reason.rule for reason in explain_gate(place.registry, place.version, policy).decision.reasons]


def approve_and_promote(place: Place, policy: ReadPolicy) -> None:
    """Two persons approve it, and nobody waives anything."""
    assert rules(place, policy) == ["approvals"]
    for key in (ADA, BEN):
        approve(place.registry, place.version, policy, key, reason="read all of it")
    promote(place.registry, place.version, "champion", policy, reason="it may serve")
    shown = gate_status(place.registry, f"{place.version.name}@champion").decision
    assert shown.is_open and shown.suspended == ()
    assert sorted(shown.approved_by) == ["ada", "ben"]
    assert verify_version(place.registry, place.version).verdict == "verified"
    log = check_log(place.registry)
    assert (log.contradictions, log.unchecked) == ((), ())


def row(place: Place, table: str) -> str | None:
    verdicts = describe_verdict(place.registry, place.version.name).verdicts
    return getattr(verdicts, table).row


def test_an_import_is_answered_to_the_end_and_approved_without_a_waiver(registry: Registry) -> None:
    place, regulated = place_of(registry, "helper"), read_gate_policy("regulated")
    with pytest.raises(GateClosed):
        promote(registry, place.version, "champion", regulated, reason="too early")
    assert row(place, "gpai_modifier") is None
    answer(place, BY_ENGINEER, ENGINEER)
    assert place.record.compute.conservative_flop.asserted_by == "sam"
    answer(place, BY_OFFICER | NO_SYSTEM, OFFICER)
    while asked := not_answered(place.record):
        answer(place, dict.fromkeys(asked, NOT_SAID), OFFICER)
    record = place.record
    unsaid = [gap for gap in completeness(record).open if not said(record, gap.field)]
    assert {gap.owner for gap in unsaid if gap.field not in retention.DAYS} <= {"tool"}, (
        "it follows from what nobody knows"
    )
    assert (row(place, "gpai_modifier"), row(place, "high_risk")) == ("G6", "H1")
    approve_and_promote(place, regulated)


def not_answered(record: ModificationRecord) -> list[str]:
    """The open questions of which nobody signed that nobody knows it."""
    return [question.path for question in open_questions(record) if not said(record, question.path)]


def said(record: ModificationRecord, path: str) -> bool:
    """Whether somebody signed that nobody knows it."""
    values = {leaf.path: leaf.value for leaf in leaves(record)}
    return bool(values[path].evidence)


def test_a_system_that_is_high_risk_no_longer_is_decided(registry: Registry) -> None:
    place, regulated = place_of(registry, "helper"), read_gate_policy("regulated")
    classes = {"high_risk.classification_before": "annex_iii_3", "high_risk.classification_after": "not_high_risk"}
    answer(place, BY_ENGINEER, ENGINEER)
    assert "leakage" in rules(place, regulated), "nobody has said what it was trained on elsewhere"
    answer(place, BY_OFFICER | classes | {"high_risk.intended_purpose_changed": "yes"}, OFFICER)
    assert row(place, "high_risk") == "H15"
    approve_and_promote(place, regulated)


def test_a_media_model_is_refused_and_then_decided(registry: Registry, tmp_path: Path) -> None:
    """No suite that ships measures images, so the policy is `regulated` without the evaluation that it asks for."""
    files = base_files(tmp_path / "draws")
    config = json.loads((files / "config.json").read_text())
    (files / "config.json").write_text(json.dumps(config | {"architectures": ["UNet2DConditionModel"]}))
    add_base(registry, files, name="draws", origin=BaseOrigin(format="huggingface", source="org/draws"))
    imported(
        registry, peft_folder(tmp_path / "strokes", base_model_name_or_path="org/draws"), base="draws", name="strokes"
    )
    text = yaml.safe_load(shipped_policy("regulated")) | {"name": "media", "evaluation": None, "deltas": []}
    (tmp_path / "media.yml").write_text(yaml.safe_dump(text))
    place, policy = place_of(registry, "strokes"), read_gate_policy(str(tmp_path / "media.yml"))
    answer(place, BY_ENGINEER, ENGINEER)
    images = {"use.modalities": {"input": ["text"], "output": ["image"]}}
    answer(place, BY_OFFICER | NO_SYSTEM | images, OFFICER)
    assert row(place, "gpai_modifier") == "G1"
    assert set(rules(place, policy)) == {"art5", "approvals"}
    answer(place, {"high_risk.art5_screen": {"ba": "cleared", "bb": "blocked"}}, OFFICER)
    assert set(rules(place, policy)) == {"art5", "approvals"}
    answer(place, {"high_risk.art5_screen": {"ba": "cleared", "bb": "cleared"}}, OFFICER)
    assert row(place, "gpai_modifier") == "G6"
    approve_and_promote(place, policy)
