"""The gate before an alias: `regulated` refuses for several reasons, opens by what people sign, and closes when that falls away."""

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from peft_registry.cli.main import run
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.gate.reasons import decide_gate
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.approve import RuleNotWaivable, WaiverWithoutFuture, approve, waive
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import OwnDecision, decide, decide_question, write_form
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.gate import (
    GateClosed,
    GatePolicyRefused,
    GatePolicyUnknown,
    NoGatePassed,
    ReadPolicy,
    explain_gate,
    gate_status,
    held_against,
    promote,
    read_gate_policy,
    shipped_policy,
)
from peft_registry.registry.use_cases.gate_facts import gate_facts
from peft_registry.registry.use_cases.promote import AliasPointsElsewhere, PromotionRefused, set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.report_all import report_all
from peft_registry.registry.use_cases.statements import PredicateMalformed, append_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import AliasPredicate, PassedGate
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.values import declared
from peft_registry.schemas.version import Version
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import ENGINEER, OFFICER, fill, fill_in
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, answered
from tests.builders.homes import NOW, add_a_base, base_files, reopened
from tests.builders.products import a_product
from tests.builders.signing import a_p256_key, a_trusted_key, one_more
from tests.compat.kept_home import stopped_clock

ALEX, ALEX_AGAIN, SAM, WAIVES = a_p256_key(21), a_p256_key(22), a_p256_key(23), a_p256_key(24)
LATER = "2026-11-25T12:00:00Z"
ANSWERS = {
    "high_risk.classification_before": "no_system",
    "high_risk.classification_after": "no_system",
    "gpai.placed_on_eu_market": "no",
}


@dataclass
class Place:
    folder: Path
    home: MadeHome
    registry: Registry

    @property
    def version(self) -> Version:
        return version_named(self.registry, "sums")

    def rules(self, policy: ReadPolicy) -> list[str]:
        """The rules that say no today."""
        return [reason.rule for reason in explain_gate(self.registry, self.version, policy).decision.reasons]

    def answer(self, answers: dict[str, object]) -> None:
        file = self.folder / "gaps.yml"
        file.unlink(missing_ok=True)
        write_form(self.registry, self.version, file)
        decide(self.registry, self.version, fill_in(file, answers), OFFICER)

    def waive_all(self, policy: ReadPolicy) -> None:
        """Suspend every rule that says no and may be waived, until the next year."""
        for rule in {rule for rule in self.rules(policy) if rule in policy.policy.waivable}:
            why = "mended in the next version"
            waive(self.registry, self.version, policy, rule, WAIVES, until=date(2027, 1, 1), reason=why)

    def at(self, now: str) -> Registry:
        """The same home at another time."""
        self.registry.close()
        self.registry = reopened(self.home.folder, now=now)
        return self.registry


def fill_with_approvers(registry: Registry, folder: Path) -> None:
    fill(registry, folder)
    people = ((ALEX, "ada"), (ALEX_AGAIN, "ada"), (SAM, "ben"), (WAIVES, "cleo"))
    keys = tuple(a_trusted_key(key, person=person, role="approver", predicate_types=None) for key, person in people)
    with closing(reopened(registry.folder, now=NOW)) as trusted:  # `fill` wrote its trust file
        chain = one_more(trusted.trust_chain, registry.private_key("root"), keys=(*trusted.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill_with_approvers)


@contextmanager
def a_copy(made: MadeHome, folder: Path) -> Iterator[Place]:
    home = made.copy(folder / "home")
    place = Place(folder, home, home.opened(now=NOW))
    try:
        yield place
    finally:
        place.registry.close()


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    with a_copy(made, tmp_path) as place:
        yield place


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> ReadPolicy:
    """`regulated`, with the suite that the builder's evaluation has."""
    text = yaml.safe_load(shipped_policy("regulated")) | {"name": "bank", "deltas": [], "status_decided": False}
    file = tmp_path_factory.mktemp("policy") / "bank.yml"
    file.write_text(yaml.safe_dump(text), "utf-8")
    return read_gate_policy(str(file))


def test_it_refuses_for_several_reasons_at_once_and_opens_by_what_two_persons_signed(
    place: Place, policy: ReadPolicy
) -> None:
    size = check_log(place.registry).size
    with pytest.raises(GateClosed) as refused:
        promote(place.registry, place.version, "champion", policy)
    assert len(refused.value.objections) >= 5
    assert refused.value.exit_code == 3
    assert all(f"({number})" in refused.value.why for number in range(1, len(refused.value.objections) + 1))
    assert check_log(place.registry).size == size
    place.answer(ANSWERS)
    place.waive_all(policy)
    assert place.rules(policy) == ["approvals"]
    approve(place.registry, place.version, policy, ALEX, reason="read all of it")
    approve(place.registry, place.version, policy, ALEX_AGAIN, reason="and once more with another key")
    assert place.rules(policy) == ["approvals"], "two keys of one person count once"
    approve(place.registry, place.version, policy, SAM, reason="read all of it")
    assert place.rules(policy) == []
    replaced = promote(place.registry, place.version, "champion", policy, reason="better than what was there")
    assert replaced.version is None
    shown = gate_status(place.registry, "sums@champion")
    assert shown.decision.is_open and sorted(shown.decision.approved_by) == ["ada", "ben"]
    assert verify_version(place.registry, place.version).verdict == "verified"
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())


def saved_for_commands(place: Place, policy: ReadPolicy, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Files of the key of an approver and of the policy."""
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))  # the copy of another test has another log
    key, bank = place.folder / "ada.key", place.folder / "bank.yml"
    ALEX.save(key, None)
    bank.write_bytes(policy.data)
    return key, bank


def test_a_policy_in_a_file_is_named_in_every_command_as_a_shell_takes_it(place: Place, policy: ReadPolicy) -> None:
    file = place.folder / "my bank's.yml"
    file.write_bytes(policy.data)
    with pytest.raises(GateClosed) as refused:
        promote(place.registry, place.version, "champion", read_gate_policy(str(file)))
    (approvals,) = [reason for reason in refused.value.objections if reason.rule == "approvals"]
    for text in (approvals.remedy, refused.value.fix):
        words = shlex.split(text[text.index("--policy") :].partition("`")[0])
        assert words[1] == str(file)


def test_who_approves_the_same_bytes_again_is_told_when_they_did_and_signs_nothing(
    place: Place, policy: ReadPolicy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, bank = saved_for_commands(place, policy, monkeypatch)

    def told(reason: str, *options: str) -> str:
        words = ["gate", "approve", "sums", "--policy", str(bank), "--reason", reason, "--key", str(key)]
        assert run([*words, "--home", str(place.home.folder), *options]) == 0
        return capsys.readouterr().out

    assert "already" not in told("read all of it")
    size = check_log(place.registry).size
    (entry,) = [
        said.log_index
        for said in signed_statements(place.registry, place.version.manifest_digest)
        if said.kind == "approval"
    ]
    again = told("and once more")
    assert f"already, by ada, under bank ({policy.digest.short}): log entry {entry} of 20" in again
    assert "reason   read all of it\n" in again and "once more" not in again
    assert json.loads(told("for a program", "--output", "json"))["earlier"]["entry"] == entry
    assert check_log(place.registry).size == size

    def is_signed_anew(version: Version, by: PrivateKey, under: ReadPolicy) -> bool:
        return approve(place.registry, version, under, by, reason="read it").earlier is None

    assert not is_signed_anew(place.version, ALEX, policy)
    assert is_signed_anew(place.version, ALEX_AGAIN, policy), (
        "another key of the same person, which may outlive the first"
    )
    assert is_signed_anew(place.version, ALEX, read_gate_policy("starter"))
    assert is_signed_anew(version_named(place.registry, "other"), ALEX, policy)
    place.answer({"use.foreseeable_misuse": "as a lawyer"})
    assert is_signed_anew(place.version, ALEX, policy), "its record says something else since"
    assert not is_signed_anew(place.version, ALEX, policy)


def test_who_waives_the_same_again_is_told_since_when_and_signs_nothing(
    place: Place, policy: ReadPolicy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, bank = saved_for_commands(place, policy, monkeypatch)
    words = ["gate", "waive", "sums", "worse", "--until", "2027-01-01", "--policy", str(bank), "--key", str(key)]

    def told(reason: str, *options: str) -> str:
        with stopped_clock(LATER):
            assert run([*words, "--reason", reason, "--home", str(place.home.folder), *options]) == 0
        return capsys.readouterr().out

    first = told("mended in December")
    assert first == f"waived   worse for sums:1 by ada, under bank ({policy.digest.short}), until 2027-01-01\n"
    log = check_log(place.registry)
    again = told("and once more")
    under = f"by ada, under bank ({policy.digest.short}), until 2027-01-01"
    assert again.startswith(f"waived   worse for sums:1 already, {under}: log entry ")
    assert "reason   mended in December\n" in again and "once more" not in again
    described = json.loads(told("for a program", "--output", "json"))
    assert described["policy"] == "bank"
    assert described["earlier"]["reason"] == "mended in December"
    assert f"log entry {described['earlier']['entry']} of {described['earlier']['at']}" in again
    assert check_log(place.registry).size == log.size

    def is_signed_anew(by: PrivateKey = ALEX, rule: str = "worse", until: date = date(2027, 1, 1)) -> bool:
        return (
            waive(place.registry, place.version, policy, rule, by, until=until, reason="for the test").earlier is None
        )

    assert not is_signed_anew()
    assert is_signed_anew(by=ALEX_AGAIN), "another key of the same person"
    assert is_signed_anew(rule="evaluation")
    assert is_signed_anew(until=date(2027, 1, 2))
    place.answer({"use.foreseeable_misuse": "as a lawyer"})
    assert is_signed_anew(), "its record says something else since"
    assert not is_signed_anew()


@pytest.fixture(scope="module")
def made_waived(made: MadeHome, policy: ReadPolicy, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """What may be answered is answered, and what may be waived is waived: only approvals are missing."""
    with a_copy(made, tmp_path_factory.mktemp("waived")) as place:
        place.answer(ANSWERS)
        place.waive_all(policy)
    return place.home


@pytest.fixture(scope="module")
def made_promoted(made_waived: MadeHome, policy: ReadPolicy, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """An alias that the policy let through."""
    with a_copy(made_waived, tmp_path_factory.mktemp("promoted")) as place:
        for key in (ALEX, SAM):
            approve(place.registry, place.version, policy, key, reason="read all of it")
        promote(place.registry, place.version, "champion", policy)
    return place.home


@pytest.fixture
def waived(made_waived: MadeHome, tmp_path: Path) -> Iterator[Place]:
    with a_copy(made_waived, tmp_path) as place:
        yield place


@pytest.fixture
def promoted(made_promoted: MadeHome, tmp_path: Path) -> Iterator[Place]:
    with a_copy(made_promoted, tmp_path) as place:
        yield place


def closed_by(place: Place, policy: ReadPolicy | None = None) -> list[str]:
    return [reason.rule for reason in gate_status(place.registry, "sums@champion", policy).decision.reasons]


def test_it_closes_when_a_waiver_is_over(promoted: Place, policy: ReadPolicy) -> None:
    waived = gate_status(promoted.registry, "sums@champion").decision.suspended
    if not waived:
        waive(promoted.registry, promoted.version, policy, "worse", ALEX, until=date(2027, 1, 1), reason="for the test")
    assert closed_by(promoted) == []
    promoted.at("2026-12-31T23:59:59Z")
    assert closed_by(promoted) == []
    promoted.at("2027-01-01T00:00:00Z")
    assert set(closed_by(promoted)) == {suspended.reason.rule for suspended in waived}


def test_what_changes_after_a_waiver_is_not_waived(waived: Place, policy: ReadPolicy) -> None:
    """Whoever waives looks at a record and its evaluations, and at no other version of the same bytes."""
    place = waived
    assert place.rules(policy) == ["approvals"]
    for_other = gate_facts(place.registry, version_named(place.registry, "other"), policy.digest, None)
    assert for_other.waivers == ()
    place.answer({"use.foreseeable_misuse": "as a lawyer"})
    waivers = gate_facts(place.registry, place.version, policy.digest, None).waivers
    assert waivers
    assert {waiver.objection for waiver in waivers} == {"its record says something else since"}
    assert {waiver.rule for waiver in waivers} <= set(place.rules(policy))
    place.waive_all(policy)
    assert place.rules(policy) == ["approvals"]


def test_a_waiver_of_an_earlier_release_names_no_record_and_counts_as_it_did(place: Place, policy: ReadPolicy) -> None:
    place.answer(ANSWERS)
    open_before = place.rules(policy)
    (rule, *_) = [rule for rule in open_before if rule in policy.policy.waivable]
    predicate = {
        "policy": str(policy.digest),
        "rule": rule,
        "until": "2027-01-01T00:00:00Z",
        "reason": "for the test",
        "nonce": place.registry.nonce(),
    }
    append_statement(
        place.registry, subject=place.version.manifest_digest, kind="waiver", predicate=predicate, signer=ALEX
    )
    assert rule not in place.rules(policy)
    place.answer({"use.foreseeable_misuse": "as a lawyer"})
    assert rule not in place.rules(policy)


def test_a_clock_that_was_set_back_lets_no_waiver_count_again(promoted: Place, policy: ReadPolicy) -> None:
    """The log has seen January; whoever moves the alias sets the clock of this machine to December."""
    rules = {suspended.reason.rule for suspended in gate_status(promoted.registry, "sums@champion").decision.suspended}
    assert rules
    starter = read_gate_policy("starter")
    approve(promoted.at("2027-01-01T00:00:00Z"), promoted.version, starter, SAM, reason="read it again")
    back = promoted.at("2026-12-24T00:00:00Z")
    with pytest.raises(GateClosed) as closed:
        promote(back, promoted.version, "champion", policy)
    assert rules <= {reason.rule for reason in closed.value.objections}
    assert rules <= set(closed_by(promoted))


def test_quality_that_an_evaluation_shows_as_lost_reaches_the_gate_and_the_list(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, version = place.registry, place.version
    assert gate_facts(registry, version, version.manifest_digest, None).lost == ()
    rows = [
        *a_table(neutral=(4.7185, 5.5294)),
        *answered(50, "base", dataset="task-sums", metric="acc"),
        *answered(10, "adapted", dataset="task-sums", metric="acc"),
    ]
    record, items = a_recorded_evaluation(rows, replace(PLAN, figures=FIGURES))
    record = record.revised(extra=record.extra | {"tasks": {"task-sums": {"measures": {"acc": "higher"}}}})
    append_statement(
        registry,
        subject=version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.revised(created_at=registry.clock()).to_json(),
        signer=registry.trainer_key,
        evidence=(items,),
    )
    facts = gate_facts(registry, version, version.manifest_digest, None)
    language, task = facts.lost
    assert language.text.startswith("loss on neutral text 4.")
    assert task.text.startswith("acc on sums 0.8333 → 0.1667")
    for lost in facts.lost:
        # of these very files: the evaluation above is of invented ones
        measured = facts.revised(lost=(lost.revised(stale=None),))
        for name in ("starter", "regulated"):
            assert "quality" in {reason.rule for reason in decide_gate(measured, read_gate_policy(name).policy).reasons}
    found = [one.label for one in find_versions(registry, read_query("quality=lost")).versions]
    assert found == ["other:1", version.label]  # of the same bytes
    capsys.readouterr()
    assert run(["list", "--home", str(place.home.folder)]) == 0
    assert f"quality lost: other:1, {version.label}" in capsys.readouterr().out


def test_what_opens_several_reasons_is_told_once_below_them(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))  # the copy of another test has another log
    words = ["promote", place.version.label, "champion", "--policy", "regulated", "--explain"]
    capsys.readouterr()
    assert run([*words, "--home", str(place.home.folder)]) == 3
    lines = capsys.readouterr().out.splitlines()
    answered = [at for at, line in enumerate(lines) if line.startswith("closed    answered: ")]
    assert len(answered) > 1
    assert lines[answered[-1] + 1].split()[:4] == ["→", "answer", "it", "with"]
    assert sum("→ answer it with" in line for line in lines) == 1


@pytest.mark.parametrize("name", ["regulated", "Regulated", " starter", "regul\u0430ted"])
def test_a_file_is_not_called_like_a_policy_that_comes_with_the_tool(tmp_path: Path, name: str) -> None:
    """A move says the name of its policy, and whoever reads the history takes it for the shipped one."""
    file = tmp_path / "lax.yml"
    file.write_text(yaml.safe_dump({"name": name, "about": "asks nothing"}), "utf-8")
    with pytest.raises(GatePolicyRefused) as refused:
        read_gate_policy(f"{file}")
    assert refused.value.exit_code == 2
    assert "comes with the tool" in refused.value.why
    file.write_bytes(shipped_policy("regulated"))
    assert read_gate_policy(f"{file}").digest == read_gate_policy("regulated").digest


@pytest.mark.parametrize(("how", "rules"), [("--routine", []), ("--compromise", ["verified", "approvals"])])
def test_it_closes_when_the_key_of_an_approver_was_compromised(
    promoted: Place, how: str, rules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a key signed before a routine revocation stays good; what a thief may have signed does not."""
    monkeypatch.setenv(
        "XDG_STATE_HOME", str(promoted.folder / "state")
    )  # the other copy has another trust file of that version
    words = ["trust", "revoke", SAM.public.key_id, "--reason", "left", how, "--home", str(promoted.home.folder)]
    assert run(words) == 0
    promoted.at("2026-11-25T12:00:00Z")
    assert closed_by(promoted) == rules


@pytest.mark.parametrize("is_bound", [False, True])
def test_after_a_compromise_a_gate_is_closed_and_an_alias_that_is_bound_cannot_be_relied_on_at_all(
    promoted: Place,
    policy: ReadPolicy,
    is_bound: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """3 is what a policy says of a version; 6 that what the log has of a move is not what its alias is bound to."""
    monkeypatch.setenv("XDG_STATE_HOME", str(promoted.folder / "state"))  # the copy of another test has another log
    if is_bound:
        bind_alias(promoted.registry, guarded_named(promoted.registry, "champion"), policy, ALEX, reason="two of us")
        promote(promoted.registry, promoted.version, "champion", policy)
    home = ["--home", str(promoted.home.folder)]

    def done(*words: str) -> int:
        with stopped_clock(LATER):  # before its waivers are over
            return run([*words, *home])

    assert done("gate", "status", "sums@champion") == 0
    assert done("trust", "revoke", SAM.public.key_id, "--reason", "stolen", "--compromise") == 0
    capsys.readouterr()
    assert done("gate", "status", "sums@champion") == (6 if is_bound else 3)
    told = capsys.readouterr()
    if is_bound:
        assert "was moved with 1 of 2 approvals, past the policy that it is bound to" in told.err
    else:
        assert "closed    approvals: needs 2 approvals, has 1" in told.out
    # either way nothing is handed out, and whoever is about to move it is told what the policy says
    assert done("pull", "sums@champion", str(promoted.folder / "pulled")) == 6
    bank = promoted.folder / "bank.yml"
    bank.write_bytes(policy.data)
    assert done("promote", "sums:1", "champion", "--policy", str(bank), "--explain") == 3
    told = capsys.readouterr()
    assert "closed    approvals: needs 2 approvals, has 1" in told.out
    assert f"→ `registry gate approve sums:1 --policy {bank} --reason TEXT --key FILE`" in told.out


def test_another_policy_is_named_as_it_was_typed(
    promoted: Place, policy: ReadPolicy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(promoted.folder / "state"))  # the copy of another test has another log
    changed = promoted.folder / "changed.yml"
    changed.write_bytes(policy.data + b"# looked through again\n")
    words = ["gate", "status", "sums@champion", "--policy", str(changed), "--home", str(promoted.home.folder)]
    assert run(words) == 3
    assert f"→ `registry promote sums:1 champion --policy {changed}` decides by this one" in capsys.readouterr().out


def test_the_first_page_of_a_report_says_whether_the_gate_is_open_by_the_records(
    promoted: Place, policy: ReadPolicy
) -> None:
    def page(as_of: str | None = None) -> str:
        html = make_report(promoted.registry, promoted.version, as_of=as_of).decode()
        first = html[: html.index("<details")]
        return " ".join(re.sub("<[^>]+>", " ", first).split()).replace("( ", "(").replace(" )", ")")

    def last_entry() -> int:
        return covered_size(promoted.registry) - 1

    def state(at: str, words: str) -> str:
        return f"State on this page, log entry {last_entry()} ({at}): conditions of the policy bank {words}."

    passed = f"under the policy bank ({policy.digest.short})"
    suspended = gate_status(promoted.registry, "sums@champion").decision.suspended
    assert state(NOW, "met") in page()
    assert passed in page()
    assert ": the conditions of that policy were met then, with " in page(), "at the release, whatever is so now"
    assert "Released under the alias “champion”." not in page()
    promoted.at("2027-06-01T00:00:00Z")
    assert state(NOW, "met") in page(), "by the clock of no machine: every waiver is over"
    rules = ", ".join(dict.fromkeys(entry.reason.rule for entry in suspended))
    assert state("2027-01-01T00:00:00Z", f"not met: {rules}") in page(as_of="2027-01-01T00:00:00Z")
    promoted.at(NOW)
    set_alias(promoted.registry, version_named(promoted.registry, "other"), "old")
    html = make_report(promoted.registry, version_named(promoted.registry, "other")).decode()
    assert " without a policy: nobody had to approve it." in html and "State on this page" not in html
    recall(promoted.registry, "sums:1", ALEX, reason="it does harm")
    closed = state(NOW, "not met: recall")
    assert closed in page()
    assert f"Released under the alias “champion”. {closed}" in page().replace(f" ({policy.digest.short})", "")
    assert page().count(policy.digest.short) == 2, "in each of the two places where it is named first"


def test_it_closes_at_one_changed_byte_of_the_policy(promoted: Place, policy: ReadPolicy) -> None:
    changed = replace(policy, data=policy.data + b"#\n")
    assert closed_by(promoted, changed)[0] == "policy"
    assert "approvals" in closed_by(promoted, changed), "nobody approved under this one"


def test_it_closes_at_the_recall_of_data_of_an_ancestor(promoted: Place) -> None:
    data = stored_manifest(promoted.registry, promoted.version.manifest_digest).data[0].sha256
    recall(promoted.registry, str(data), ALEX, reason="consent was withdrawn")
    assert closed_by(promoted) == ["recall"]
    with pytest.raises(GateClosed):
        promote(promoted.registry, promoted.version, "prod", read_gate_policy("starter"))


def test_what_changed_after_an_approval_is_not_approved(promoted: Place, policy: ReadPolicy) -> None:
    waived = [each.reason.rule for each in gate_status(promoted.registry, "sums@champion").decision.suspended]
    promoted.answer({"use.foreseeable_misuse": "as a lawyer"})
    assert closed_by(promoted) == [*waived, "approvals"], "nor is it waived"
    promoted.waive_all(policy)
    shown = gate_status(promoted.registry, "sums@champion")
    assert [reason.rule for reason in shown.decision.reasons] == ["approvals"]
    assert {vote.objection for vote in shown.facts.votes} == {"its record says something else since"}


def test_a_changed_purpose_that_makes_the_system_high_risk_closes_the_gate(place: Place, policy: ReadPolicy) -> None:
    place.answer(
        {
            "high_risk.classification_before": "not_high_risk",
            "high_risk.classification_after": "annex_iii_3",
            "high_risk.intended_purpose_changed": "yes",
        }
    )
    found = explain_gate(place.registry, place.version, policy).decision.reasons
    assert [reason.text for reason in found if reason.rule == "status"] == [
        "the indicative status is provider of a high-risk system, because its purpose makes it one: "
        "provider_25_1_c (H6, Arts. 6, 25(1)(c))"
    ]


@pytest.mark.parametrize("key", [OFFICER, ENGINEER], ids=["officer", "evaluator"])
def test_a_key_without_the_role_approves_and_waives_nothing(place: Place, policy: ReadPolicy, key: PrivateKey) -> None:
    size = check_log(place.registry).size
    with pytest.raises(KeyLacksRole, match="a statement of kind approval; a key of the role approver may sign one"):
        approve(place.registry, place.version, policy, key, reason="read it")
    with pytest.raises(KeyLacksRole):
        waive(place.registry, place.version, policy, "worse", key, until=date(2027, 1, 1), reason="read it")
    assert check_log(place.registry).size == size


def test_what_cannot_be_signed_is_told_and_nothing_is_recorded(place: Place, policy: ReadPolicy) -> None:
    size = check_log(place.registry).size
    with pytest.raises(RuleNotWaivable):
        waive(place.registry, place.version, policy, "approvals", ALEX, until=date(2027, 1, 1), reason="no time")
    with pytest.raises(RuleNotWaivable):
        waive(place.registry, place.version, policy, "everything", ALEX, until=date(2027, 1, 1), reason="no time")
    with pytest.raises(WaiverWithoutFuture):
        waive(place.registry, place.version, policy, "worse", ALEX, until=date(2026, 11, 1), reason="late")
    with pytest.raises(PredicateMalformed):
        approve(place.registry, place.version, policy, ALEX, reason="  ")
    assert check_log(place.registry).size == size


def test_a_file_that_is_no_policy_is_refused_in_a_sentence(place: Place) -> None:
    file = place.folder / "policy.yml"
    for text in ("name: x\n", "[]\n", "name: x\nabout: y\nsigned: true\n", "name: x\nabout: y\ndeltas: 3\n"):
        file.write_text(text, "utf-8")
        with pytest.raises(GatePolicyRefused):
            read_gate_policy(str(file))
    with pytest.raises(GatePolicyUnknown, match="starter"):
        read_gate_policy("startr")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("answered: [use.intnded]", "there is no field of the record 'use.intnded'; did you mean 'use.intended'?"),
        (
            "refused_statuses: [provider_25_1_d]",
            "there is no status 'provider_25_1_d'; did you mean 'provider_25_1_c'?",
        ),
        (
            "refused_licence_flags: [noncommercial]",
            "there is no licence flag 'noncommercial'; did you mean 'non_commercial'?",
        ),
        ("answered: ['🔑']", "there is no field of the record '🔑'"),
    ],
)
def test_a_policy_that_asks_for_what_nothing_has_is_refused(place: Place, line: str, told: str) -> None:
    """Such a rule would never close the gate, and whoever misspelt it would never know."""
    file = place.folder / "policy.yml"
    file.write_text(f"name: mine\nabout: y\n{line}\n", "utf-8")
    with pytest.raises(GatePolicyRefused) as refused:
        read_gate_policy(str(file))
    assert refused.value.why == f"{line.split(':', maxsplit=1)[0]}: {told}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("metrcs: []", "metrcs: there is no such key; did you mean `metrics`?"),
        ("evaluation: {fersh: true}", "evaluation.fersh: there is no such key; did you mean `fresh`?"),
        (
            "metrics: [{metric: a.b, at_least: 1, until: 2}]",
            "metrics.0.until: there is no such key; there are metric, at_least, at_most, change_at_least, change_at_most, fewshot",
        ),
    ],
)
def test_a_misspelt_key_of_a_policy_is_answered_with_the_one_that_it_may_mean(
    tmp_path: Path, line: str, told: str
) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(f"name: mine\nabout: y\n{line}\n", "utf-8")
    with pytest.raises(GatePolicyRefused) as refused:
        read_gate_policy(str(file))
    assert refused.value.why == told


def test_a_changed_copy_needs_a_name_of_its_own(place: Place) -> None:
    """A signed move names its policy, and `regulated` would be read as the one that the tool ships."""
    file = place.folder / "bank.yml"
    file.write_bytes(shipped_policy("regulated"))
    assert read_gate_policy(str(file)).digest == read_gate_policy("regulated").digest
    file.write_bytes(shipped_policy("regulated").replace(b"count: 2", b"count: 1"))
    with pytest.raises(GatePolicyRefused, match="write a `name:` of its own"):
        read_gate_policy(str(file))
    file.write_bytes(file.read_bytes().replace(b"name: regulated", b"name: bank"))
    assert read_gate_policy(str(file)).policy.name == "bank"


def test_a_field_of_every_data_file_may_be_asked_for(place: Place) -> None:
    file = place.folder / "data.yml"
    file.write_text("name: data\nabout: licences\nanswered: ['data[].licence']\n", "utf-8")
    shown = explain_gate(place.registry, place.version, read_gate_policy(str(file)))
    assert [reason.text for reason in shown.decision.reasons] == ["data[].licence is open in its record"]


def test_rows_that_name_another_move_change_no_gate(place: Place) -> None:
    """The signed move asked no policy; a row is made to point at one of another alias that did."""
    file = place.folder / "plain.yml"
    file.write_text("name: plain\nabout: what every policy asks\n", "utf-8")
    promote(place.registry, place.version, "guarded", read_gate_policy(str(file)))
    set_alias(place.registry, place.version, "old")
    with place.home.rows() as rows:
        rows.run(
            "UPDATE alias_events SET statement_digest = (SELECT statement_digest FROM alias_events WHERE alias = 'guarded') "
            "WHERE alias = 'old'"
        )
    with pytest.raises(NoGatePassed):
        gate_status(place.registry, "sums@old")


def test_a_move_that_no_checkpoint_covers_changes_no_gate(promoted: Place, policy: ReadPolicy) -> None:
    """Whoever has an approver's key and can write the database says that an easier policy let the version through."""
    promoted.answer({"use.foreseeable_misuse": "as a lawyer"})  # so that nobody has approved what it is now
    promoted.waive_all(policy)
    assert closed_by(promoted) == ["approvals"]
    plain = promoted.folder / "plain.yml"
    plain.write_text("name: plain\nabout: what every policy asks\n", "utf-8")
    easier = read_gate_policy(str(plain))
    promoted.registry.store.put_bytes(easier.data)
    passed = PassedGate(policy=easier.digest, policy_name="plain")
    said = AliasPredicate(name="sums", alias="champion", nonce="0f", reason="forged", gate=passed).to_json()
    manifest = promoted.version.manifest_digest
    signed = sign_statement(manifest, "alias", said, ALEX)
    with promoted.registry.database.write() as tx:
        record_statement(tx, manifest, signed, at=NOW)
    assert closed_by(promoted) == ["approvals"]
    (used,) = report_all(promoted.registry, within_days=0).in_use
    assert "forged" not in used.moved and str(used.policy).startswith("policy bank")


def list_keys(place: Place, *listed: TrustedKey) -> None:
    registry = place.registry
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *listed))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))
    place.at(NOW)


def test_whoever_registered_the_same_bytes_under_another_name_approves_and_decides_nothing(place: Place) -> None:
    """Whoever reads a move counts all who had a part in its bytes: the gate would let through what the log then refuses."""
    trains, approves = a_p256_key(31), a_p256_key(32)
    list_keys(
        place,
        a_trusted_key(trains, person="eve", role="trainer", predicate_types=None),
        a_trusted_key(approves, person="eve", role="approver", predicate_types=None),
    )
    own = place.registry.trainer_key
    use_trainer_key(place, trains)
    base = add_a_base(place.registry, place.folder / "base")
    register_product(
        place.registry, a_product(place.registry, place.folder / "again", base, name="again", run_id="run of eve")
    )
    use_trainer_key(place, own)
    assert version_named(place.registry, "again").manifest_digest == place.version.manifest_digest
    file = place.folder / "one.yml"
    file.write_text("name: one\nabout: another approves\napprovals: {count: 1}\n", "utf-8")
    one = read_gate_policy(str(file))
    bind_alias(place.registry, guarded_named(place.registry, "champion"), one, ALEX, reason="another approves")
    approve(place.registry, place.version, one, approves, reason="read it")
    with pytest.raises(GateClosed, match="that of eve does not count: a key of theirs made the version"):
        promote(place.registry, place.version, "champion", one)
    with pytest.raises(OwnDecision):
        decide_question(place.registry, place.version, "purpose", one, approves, is_yes=False, reason="as it was")
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked, report.size) == ((), (), covered_size(place.registry))
    approve(place.registry, place.version, one, SAM, reason="read it")
    promote(place.registry, place.version, "champion", one)
    assert gate_status(place.registry, "sums@champion").decision.is_open


def use_trainer_key(place: Place, key: PrivateKey) -> None:
    """Let the home register with another key that its trust file lists."""
    files = place.registry.files.key("trainer")
    files.private.unlink()
    key.save(files.private, None)
    files.public.write_bytes(key.public.pem)
    place.at(LATER)  # a run of another time, which is evaluated anew


def test_what_was_said_of_the_same_bytes_under_another_name_is_said_of_that_alone(
    place: Place, policy: ReadPolicy
) -> None:
    """`other` has the bytes of `sums` and a record of its own, to which approvals and decisions are bound."""
    other = version_named(place.registry, "other")
    for version in (place.version, other):
        approve(place.registry, version, policy, SAM, reason="read it")
        decide_question(place.registry, version, "purpose", policy, SAM, is_yes=False, reason="as it was")
    for version in (place.version, other):
        facts = explain_gate(place.registry, version, policy).facts
        assert [vote.objection for vote in facts.votes] == [""]
        assert [decision.objection for decision in facts.decisions] == [""]
        set_alias(place.registry, version, "old")
    whole = report_all(place.registry, within_days=0)
    assert [due.kind for due in whole.due if due.kind in ("approval", "decision")] == []


@pytest.mark.parametrize(
    ("facts", "flag"),
    [
        ({"licence_flags": ["non_commercial"]}, "non_commercial"),
        ({"licence": "CC-BY-NC-4.0"}, "non_commercial"),
        ({"eu_exclusion": "yes"}, "eu_exclusion"),
    ],
    ids=["flag", "licence", "exclusion"],
)
def test_the_licence_of_a_base_closes_the_gate_before_the_base_and_before_what_is_made_from_it(
    place: Place, facts: dict[str, object], flag: str
) -> None:
    stated = {key: declared(value, by="anna", at=NOW) for key, value in facts.items()}
    origin = BaseOrigin(format="huggingface", source="strict")
    files = base_files(place.folder / "strict", seed=1)
    base = add_base(place.registry, files, name="strict", origin=origin, facts=DeclaredFacts.of_known(**stated))
    register_product(place.registry, a_product(place.registry, place.folder / "made", base, name="made", value=0.25))
    file = place.folder / "free.yml"
    file.write_text(
        "name: free\nabout: may be sold in the Union\nrefused_licence_flags: [non_commercial, eu_exclusion]\n", "utf-8"
    )
    free = read_gate_policy(str(file))
    for name, whose in (("strict", "its licence"), ("made", "the licence of what it was made from")):
        shown = explain_gate(place.registry, version_named(place.registry, name), free)
        assert [reason.text for reason in shown.decision.reasons] == [f"{whose} says {flag}"]


def test_a_row_that_calls_a_result_a_base_opens_no_gate(place: Place, policy: ReadPolicy) -> None:
    """Of a base no evaluation and no answer is asked."""
    asked = [reason.rule for reason in held_against(place.registry, place.version, policy, None).decision.reasons]
    manifest = str(place.version.manifest_digest)
    with place.home.rows() as rows:
        rows.run("UPDATE artifacts SET kind = 'base' WHERE manifest_digest = :manifest", manifest=manifest)
        rows.run("UPDATE versions SET kind = 'base' WHERE manifest_digest = :manifest", manifest=manifest)
    assert place.version.kind == "base"
    shown = held_against(place.registry, place.version, policy, None)
    assert [reason.rule for reason in shown.decision.reasons] == asked
    with pytest.raises(PromotionRefused):
        promote(place.registry, place.version, "champion", policy)


def test_an_alias_that_was_moved_without_a_policy_says_so(place: Place) -> None:
    set_alias(place.registry, place.version, "old")
    with pytest.raises(NoGatePassed):
        gate_status(place.registry, "sums@old")
    assert gate_status(place.registry, "sums@old", read_gate_policy("starter")).policy == "starter"


def test_of_many_who_move_an_alias_at_once_one_wins_and_the_others_are_told_who(place: Place) -> None:
    file = place.folder / "plain.yml"
    file.write_text("name: plain\nabout: what every policy asks\n", "utf-8")
    plain = read_gate_policy(str(file))
    first = promote(place.registry, place.version, "champion", plain)
    assert first.version is None
    model, system, rest, *licences = first.undecided
    assert model.startswith("the indicative status of the model is undetermined; questions open: ")
    assert system.startswith("the indicative status of the system is undetermined; questions open: ")
    counted, asking = rest.split("; ")
    assert re.fullmatch(r"open fields of its record: \d+", counted)
    assert asking == "`registry decide sums:1 --form FILE` asks those that decide something"
    assert licences == [
        "what its licence forbids is not known",
        "what the licences of what it was made from forbid is not known",
    ]
    assert [
        text for label, text in explain_gate(place.registry, place.version, plain).lines() if label == "undecided"
    ] == [*first.undecided]
    assert promote(place.registry, place.version, "champion", plain, if_current=1).version == "sums:1"
    with pytest.raises(AliasPointsElsewhere):
        promote(place.registry, place.version, "champion", plain, if_current=7)
    with pytest.raises(AliasPointsElsewhere):
        set_alias(place.registry, place.version, "champion", if_current=0)

    def move(_: int) -> str:
        with closing(reopened(place.home.folder, now=NOW)) as registry:
            try:
                set_alias(registry, version_named(registry, "sums"), "next", if_current=0)
            except AliasPointsElsewhere as error:
                return error.why
        return "won"

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(move, range(8)))
    assert told.count("won") == 1
    assert {text for text in told if text != "won"} == {f"lab-1 moved it at {NOW}"}
