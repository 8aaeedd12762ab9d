"""Three persons with three keys: five reasons against a version, an alias that points at it, and what closes the gate again."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.signing.trust import KeyLacksRole
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.approve import approve, waive
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import GateClosed, explain_gate, gate_status, promote, read_gate_policy
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.backends import MadeHome, make_on
from tests.builders.decisions import OFFICER, fill, fill_in
from tests.builders.homes import NOW, reopened
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

ADA, BEN, CLEO = a_p256_key(21), a_p256_key(22), a_p256_key(23)  # approvers; alex answers as officer
ENDS = date(2027, 1, 1)


def fill_with_approvers(registry: Registry, folder: Path) -> None:
    fill(registry, folder)
    keys = tuple(
        a_trusted_key(key, person=person, role="approver", predicate_types=None)
        for key, person in ((ADA, "ada"), (BEN, "ben"), (CLEO, "cleo"))
    )
    with closing(reopened(registry.folder, now=NOW)) as trusted:  # `fill` wrote its trust file
        chain = one_more(trusted.trust_chain, registry.private_key("root"), keys=(*trusted.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(params=["sqlite"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> MadeHome:
    return make_on(request, tmp_path / "made", fill_with_approvers)


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    with closing(home.opened(now=NOW)) as registry:
        yield registry


def test_three_persons_bring_a_version_to_its_alias_and_each_of_what_they_rest_on_closes_it_again(
    home: MadeHome, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = version_named(registry, "sums")
    regulated = read_gate_policy("regulated")
    with pytest.raises(GateClosed) as refused:
        promote(registry, version, "champion", regulated)
    assert len(refused.value.objections) >= 5 and refused.value.exit_code == 3

    form = tmp_path / "gaps.yml"
    write_form(registry, version, form)
    answers = {
        "high_risk.classification_before": "annex_iii_3",
        "high_risk.classification_after": "annex_iii_3",
        "identity.name_or_trademark_on_result": "no",
        "gpai.placed_on_eu_market": "no",
    }
    decide(registry, version, fill_in(form, answers), OFFICER)
    why = "read the report"
    decide_question(registry, version, "substantial-modification", regulated, ADA, is_yes=False, reason=why)

    def against(today: Registry) -> list[str]:
        return [reason.rule for reason in explain_gate(today, version, regulated).decision.reasons]

    waived = {rule for rule in against(registry) if rule in regulated.policy.waivable}
    for rule in sorted(waived):
        waive(registry, version, regulated, rule, CLEO, until=ENDS, reason="mended in the next version")
    assert against(registry) == ["approvals"]
    approve(registry, version, regulated, ADA, reason=why)
    assert against(registry) == ["approvals"]
    approve(registry, version, regulated, BEN, reason=why)
    promote(registry, version, "champion", regulated, reason="two persons read it")
    shown = gate_status(registry, "sums@champion")
    assert shown.decision.is_open and sorted(shown.decision.approved_by) == ["ada", "ben"]

    with closing(reopened(home.folder, now=f"{ENDS}T00:00:00Z")) as later:
        assert {reason.rule for reason in gate_status(later, "sums@champion").decision.reasons} == waived
    changed = replace(regulated, data=regulated.data + b"#\n")
    assert gate_status(registry, "sums@champion", changed).decision.reasons[0].rule == "policy"

    data = str(stored_manifest(registry, version.manifest_digest).data[0].sha256)
    size = check_log(registry).size
    with pytest.raises(KeyLacksRole):
        recall(registry, data, OFFICER, reason="consent was withdrawn")
    assert check_log(registry).size == size
    recall(registry, data, BEN, reason="consent was withdrawn")
    assert "recall" in [reason.rule for reason in gate_status(registry, "sums@champion").decision.reasons]
    recall(registry, data, BEN, reason="consent was given again", undo=True)
    assert gate_status(registry, "sums@champion").decision.is_open
    assert verify_version(registry, version).verdict == "verified"
    report = check_log(registry)
    assert (report.contradictions, report.unchecked) == ((), ())

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for stolen in (BEN, CLEO):
        words = ["trust", "revoke", stolen.public.key_id, "--reason", "stolen", "--compromise"]
        assert run([*words, "--home", str(home.folder)]) == 0
    with closing(reopened(home.folder, now="2026-11-25T12:00:00Z")) as later:
        # what a thief may have signed does not count: neither the approval nor the waivers
        closed = {reason.rule for reason in gate_status(later, "sums@champion").decision.reasons}
    assert {"approvals", *waived} <= closed
