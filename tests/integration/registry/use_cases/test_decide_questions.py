"""What only a person decides is signed for what they looked at: it moves the verdict, and goes stale with the evidence."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.decisions import decisions_of
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import VersionStopped
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import OwnDecision, decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import ReadPolicy, explain_gate, read_gate_policy, shipped_policy
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.show_verdict import describe_verdict
from peft_registry.registry.use_cases.statements import PredicateMalformed, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.version import Version
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import OFFICER, fill, fill_in
from tests.builders.homes import NOW, reopened
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

ADA, BEN, MAKER = a_p256_key(21), a_p256_key(22), a_p256_key(23)
SYSTEM = {
    "high_risk.classification_before": "annex_iii_3",
    "high_risk.classification_after": "annex_iii_3",
    "identity.name_or_trademark_on_result": "no",
}


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    @property
    def version(self) -> Version:
        return version_named(self.registry, "sums")

    def answer(self, answers: dict[str, object]) -> None:
        file = self.folder / "gaps.yml"
        file.unlink(missing_ok=True)
        write_form(self.registry, self.version, file)
        decide(self.registry, self.version, fill_in(file, answers), OFFICER)

    def decide(
        self,
        question: DecidedQuestion,
        policy: ReadPolicy,
        signer: PrivateKey = ADA,
        *,
        is_yes: bool,
        reason: str = "read it",
    ) -> None:
        decide_question(self.registry, self.version, question, policy, signer, is_yes=is_yes, reason=reason)

    def row(self) -> str | None:
        return describe_verdict(self.registry, "sums").verdicts.high_risk.row

    def objections(self) -> list[str]:
        return [decision.objection for decision in decisions_of(self.registry, self.version)]

    def told(self, policy: ReadPolicy) -> list[str]:
        """The reasons of the gate that name a decision."""
        reasons = explain_gate(self.registry, self.version, policy).decision.reasons
        return [reason.text for reason in reasons if "a decision does not count" in reason.text]


def fill_with_approvers(registry: Registry, folder: Path) -> None:
    fill(registry, folder)
    with closing(reopened(registry.folder, now=NOW)) as trusted:  # `fill` wrote its trust file
        maker = trusted.trust.person_of(trusted.trainer_key.public.key_id)
        assert maker is not None
        people = ((ADA, "ada"), (BEN, "ben"), (MAKER, maker))
        keys = tuple(a_trusted_key(key, person=who, role="approver", predicate_types=None) for key, who in people)
        chain = one_more(trusted.trust_chain, registry.private_key("root"), keys=(*trusted.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill_with_approvers)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    home = made.copy(tmp_path / "home")
    place = Place(tmp_path, home, home.opened(now=NOW))
    yield place
    place.registry.close()


@pytest.fixture(scope="module")
def policy() -> ReadPolicy:
    return read_gate_policy("regulated")


def test_a_substantial_modification_that_a_person_decided_makes_a_provider_by_25_1_b(
    place: Place, policy: ReadPolicy
) -> None:
    place.answer(SYSTEM)
    assert place.row() is None
    place.decide("substantial-modification", policy, is_yes=True)
    assert place.row() is None, "who the provider of the system was is open"
    place.decide("system-provider", policy, is_yes=False, reason="another firm sells it")
    assert place.row() == "H4"
    shown = describe_verdict(place.registry, "sums")
    assert (
        f"system-provider: no, decided by ada (approver, key {ADA.public.key_id[:12]}…) on {NOW[:10]}: another firm sells it"
        in shown.verdicts.high_risk.reasons
    )
    assert "another firm sells it" in make_report(place.registry, place.version).decode()
    place.decide("system-provider", policy, BEN, is_yes=True)
    assert place.row() == "H5", "the last decision of a question counts"
    place.decide("substantial-modification", policy, BEN, is_yes=False)
    assert place.row() == "H9"
    assert verify_version(place.registry, place.version).verdict == "verified"
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def test_a_purpose_that_a_person_finds_changed_makes_a_provider_by_25_1_c(place: Place, policy: ReadPolicy) -> None:
    place.answer(SYSTEM | {"high_risk.classification_before": "not_high_risk"})
    place.decide("purpose", policy, is_yes=True)
    assert place.row() == "H6"
    reasons = explain_gate(place.registry, place.version, policy).decision.reasons
    assert any("provider_25_1_c" in reason.text for reason in reasons if reason.rule == "status")


def test_what_a_person_decided_is_nowhere_said_to_be_answered_by_nobody(place: Place, policy: ReadPolicy) -> None:
    field, nobody = "high_risk.intended_purpose_changed", "nobody has answered it"

    def reason() -> str:
        shown = describe_record(place.registry, "sums")
        (gap,) = [gap for gap in shown.open if gap.field == field]
        assert {str(value.reason) for path, value in shown.values if path == field} == {str(gap.reason)}
        return str(gap.reason)

    assert reason() == nobody
    place.decide("purpose", policy, is_yes=False)
    said = f"purpose: no, decided by ada (approver, key {ADA.public.key_id[:12]}…) on {NOW[:10]}: "
    assert reason().startswith(f"not answered in the record; by a signed decision, {said}")
    page = make_report(place.registry, place.version).decode()
    rows = [row for row in page.split("<tr") if "Whether the intended purpose changed" in row]
    assert rows and all(nobody not in row and said in row for row in rows)


def test_evidence_that_changed_afterwards_makes_a_decision_stale_and_the_gate_says_which(
    place: Place, policy: ReadPolicy
) -> None:
    place.answer(SYSTEM | {"high_risk.classification_before": "not_high_risk"})
    place.decide("purpose", policy, is_yes=True)
    assert place.told(policy) == []
    place.answer({"use.foreseeable_misuse": "as a lawyer"})
    assert place.objections() == ["its record says something else since"]
    assert place.row() is None
    (told,) = place.told(policy)
    assert "its record says something else since (purpose: yes, decided by ada (approver, key " in told
    assert any("purpose" in text for text in describe_verdict(place.registry, "sums").set_aside)
    place.decide("purpose", policy, BEN, is_yes=True)
    assert (place.told(policy), place.row()) == ([], "H6")


def test_a_decision_under_another_policy_does_not_count_before_this_one(place: Place, policy: ReadPolicy) -> None:
    text = yaml.safe_load(shipped_policy("regulated")) | {"name": "bank"}
    file = place.folder / "bank.yml"
    file.write_text(yaml.safe_dump(text), "utf-8")
    place.decide("purpose", read_gate_policy(str(file)), is_yes=True)
    (told,) = place.told(policy)
    assert "it is for another policy, bank" in told
    assert place.told(read_gate_policy(str(file))) == []


@pytest.mark.parametrize(("signer", "error"), [(OFFICER, KeyLacksRole), (MAKER, OwnDecision)], ids=["officer", "maker"])
def test_who_may_not_decide_decides_nothing(place: Place, policy: ReadPolicy, signer: PrivateKey, error: type) -> None:
    size = check_log(place.registry).size
    with pytest.raises(error):
        place.decide("purpose", policy, signer, is_yes=False)
    with pytest.raises(PredicateMalformed):
        place.decide("purpose", policy, is_yes=False, reason=" ")
    assert check_log(place.registry).size == size


def test_what_a_maker_forced_into_the_log_does_not_count(place: Place, policy: ReadPolicy) -> None:
    """Whoever holds the home's keys skips the command; the decision is signed by a key whose role may."""
    place.decide("purpose", policy, is_yes=True)
    (own,) = decisions_of(place.registry, place.version)
    manifest = place.version.manifest_digest
    said = {
        "question": "purpose",
        "outcome": "no",
        "policy": str(policy.digest),
        "policy_name": own.policy_name,
        "record": str(manifest),
        "evaluations": [],
        "reason": "it is fine",
        "nonce": "0f",
    }
    signed = sign_statement(manifest, "decision", said, MAKER)
    with place.registry.database.write() as tx:
        record_statement(tx, manifest, signed, at=NOW)
    assert place.objections() == ["", "no checkpoint covers it yet"]
    publish_checkpoint(place.registry)
    assert place.objections() == ["", "a key of theirs made the version"]


def test_it_is_typed_with_the_question_the_outcome_and_the_reason(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["decide", "sums", "--on", "purpose", "--home", str(place.home.folder)]
    for missing in ("--outcome yes|no", "--reason TEXT", "--key KEY_FILE"):
        assert run(words) == 2
        assert missing in capsys.readouterr().err
        words += {"--outcome yes|no": ["--outcome", "no"], "--reason TEXT": ["--reason", "read it"]}.get(missing, [])


def test_a_decision_is_not_signed_by_a_dry_run_nor_a_form_in_the_place_of_a_decision(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    key = place.folder / "ada.key"
    ADA.save(key, None)
    form = place.folder / "gaps.yml"
    write_form(place.registry, place.version, form)
    fill_in(form, SYSTEM)
    before = check_log(place.registry).size
    home = ["--home", str(place.home.folder), "--key", str(key)]
    decided = ["--outcome", "no", "--reason", "read it"]
    assert run(["decide", "sums", "--on", "purpose", *decided, "--dry-run", *home]) == 2
    assert "--on and --dry-run do not go together" in capsys.readouterr().err
    assert run(["decide", "sums", "--form", str(form), *decided, *home]) == 2
    assert "--on QUESTION is missing" in capsys.readouterr().err
    assert check_log(place.registry).size == before


def test_nobody_answers_for_what_is_recalled_until_that_is_taken_back(place: Place) -> None:
    recall(place.registry, "sums:1", ADA, reason="it leaks addresses")
    size = check_log(place.registry).size
    with pytest.raises(VersionStopped, match="it leaks addresses"):
        place.answer(SYSTEM)
    assert check_log(place.registry).size == size
    recall(place.registry, "sums:1", ADA, reason="another model leaked", undo=True)
    place.answer(SYSTEM)
