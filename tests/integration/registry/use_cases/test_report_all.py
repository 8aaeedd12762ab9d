"""The report on a whole registry: what is in use, undecided, open and falls due, with days and how to go on; and what it takes."""

import json
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.reports.pages import style_source
from peft_registry.registry.reports.whole_registry import LISTED, Due, GatheredLists, Undecided, WholeRegistry
from peft_registry.registry.use_cases.approve import approve, waive
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import ReadPolicy, gate_status, promote, read_gate_policy
from peft_registry.registry.use_cases.hold import hold
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.report_all import WithinRefused, report_all
from peft_registry.registry.use_cases.show_decisions import decision_tables
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.backends import BACKENDS, MadeHome, counted_statements, make_on
from tests.builders.decisions import OFFICER, fill_in
from tests.builders.homes import NOW, add_a_base, an_artifact
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

HOSTILE = "<script>alert(1)</script> `x` sha256:"


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill_with_approvers)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeHome:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return made.copy(tmp_path / "home")


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    registry = home.opened(now=NOW)
    yield registry
    registry.close()


@pytest.fixture
def policy(tmp_path: Path) -> ReadPolicy:
    file = tmp_path / "bank.yml"
    file.write_text("name: bank\nabout: what every policy asks\nwaivable: [worse]\n", "utf-8")
    return read_gate_policy(str(file))


def register_idle(registry: Registry, folder: Path) -> None:
    """A version of bytes of its own, which nobody decides about."""
    register_version(registry, an_artifact(folder / "idle", add_a_base(registry, folder / "base"), name="idle"))


def dues(whole: WholeRegistry, kind: str) -> list[Due]:
    return [due for due in whole.due if due.kind == kind]


def test_it_says_what_is_in_use_undecided_open_and_due(registry: Registry, policy: ReadPolicy, tmp_path: Path) -> None:
    register_idle(registry, tmp_path)
    before = report_all(registry, within_days=90)
    assert (before.versions, before.bases, before.in_use_count) == (3, 1, 0)
    assert [entry.version for entry in before.undecided] == ["idle:1", "other:1", "sums:1"]
    assert {entry.version for entry in before.open} == {"idle:1", "other:1", "sums:1"}
    assert all(entry.status and "% complete, " in entry.fields for entry in before.open)
    version = version_named(registry, "sums")
    approve(registry, version, policy, ALEX, reason="read all of it")
    waive(registry, version, policy, "worse", ALEX, until=date(2026, 12, 1), reason="mended in December")
    set_alias(registry, version, "champion", reason="first release")
    bind_alias(registry, guarded_named(registry, "champion"), policy, ALEX, reason="two of us decide")
    whole = report_all(registry, within_days=90)
    # other:1 has the same bytes and another record, of which neither the approval nor the waiver speaks
    assert [entry.version for entry in whole.undecided] == ["idle:1", "other:1"]
    (waiver,) = dues(whole, "waiver")
    assert (waiver.on, waiver.about) == ("2026-12-01", "sums:1")
    assert waiver.text == "the rule worse counts again: mended in December"
    assert dues(report_all(registry, within_days=6), "waiver") == []
    kinds = {kind.kind: kind for kind in report_all(registry, within_days=6).kinds}
    assert (kinds["waiver"].count, kinds["waiver"].within, kinds["waiver"].next) == (1, 0, "2026-12-01")
    (used,) = whole.in_use
    assert used.flags == ("fallback without attempt (F4)", "licence: unknown")
    assert (used.alias, used.version, used.policy) == ("sums@champion", "sums:1", None)
    assert used.moved == f"by lab-1 on {NOW[:10]}: first release"
    assert used.bound == f"bound to bank by ada on {NOW[:10]}"
    assert used.worry[0] == "it passed another policy than the one that it is bound to"
    assert not dues(whole, "approval")
    file = tmp_path / "gaps.yml"
    write_form(registry, version, file)
    decide(registry, version, fill_in(file, {"gpai.placed_on_eu_market": "no"}), OFFICER)
    (lapsed,) = dues(report_all(registry, within_days=90), "approval")
    assert lapsed.text == f"the approval of ada of {NOW[:10]} does not count: its record says something else since"
    assert "registry gate approve sums:1" in lapsed.remedy
    assert not dues(report_all(registry, within_days=90), "waiver"), "the record says something else since"


def test_holds_that_end_and_decisions_that_went_stale_fall_due_and_a_gate_that_closed_is_told(
    registry: Registry, policy: ReadPolicy, tmp_path: Path
) -> None:
    version = version_named(registry, "sums")
    data = stored_manifest(registry, version.manifest_digest).data[0].sha256
    hold(registry, "sums", ALEX, reason="case 7", until=date(2026, 12, 24))
    hold(registry, str(data), ALEX, reason="without an end")
    decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason="as it was")
    promote(registry, version, "champion", policy, reason="first release")
    whole = report_all(registry, within_days=90)
    (held,) = dues(whole, "hold")
    assert (held.on, held.about) == ("2026-12-24", "sums:1, other:1")  # the same bytes
    assert held.text == f"it may be deleted again: ada put it on hold at {NOW} until 2026-12-24: case 7"
    assert not dues(whole, "decision") and not any("blocked" in line for line in whole.in_use[0].worry)
    file = tmp_path / "gaps.yml"
    write_form(registry, version, file)
    decide(registry, version, fill_in(file, {"gpai.placed_on_eu_market": "no"}), OFFICER)
    recall(registry, str(data), ALEX, reason="the donor withdrew consent")
    whole = report_all(registry, within_days=90)
    (undecided,) = dues(whole, "decision")
    assert undecided.text.startswith("a decision does not count: its record says something else since (purpose: no")
    (used,) = whole.in_use
    assert any(line.startswith("the data") for line in used.worry)
    assert used.worry[-1] == "blocked today by policy bank: recall"


def test_keys_and_the_trust_file_fall_due_and_a_retention_that_was_recorded(registry: Registry, tmp_path: Path) -> None:
    version = version_named(registry, "sums")
    file = tmp_path / "gaps.yml"
    write_form(registry, version, file)
    decide(
        registry,
        version,
        fill_in(file, {"gpai.placed_on_eu_market": "yes", "gpai.placing_date": "2026-11-01"}),
        OFFICER,
    )
    whole = report_all(registry, within_days=36_500)
    assert [(due.on, due.about) for due in dues(whole, "retention")] == [("2036-11-01", "sums:1")]
    keys = dues(whole, "key")
    assert {due.about for due in keys} >= {"ada, approver", "lab-1, trainer", "lab-1, log"}
    ends = {key.valid_until[:10] for key in registry.trust.keys}
    assert {due.on for due in keys} <= ends and all("registry " in due.remedy for due in keys)
    (file_due,) = dues(whole, "trust file")
    assert file_due.on == registry.trust.expires_at[:10]
    assert [due.on for due in whole.due] == sorted(due.on for due in whole.due)


def test_statements_a_version_are_as_many_however_many_versions_there_are(home: MadeHome, tmp_path: Path) -> None:
    taken = []
    with_versions = home.opened(now=NOW)
    base = add_a_base(with_versions, tmp_path / "base")
    counts = []
    for number in range(6):
        register_version(
            with_versions, an_artifact(tmp_path / f"{number}", base, name=f"more-{number}", value=number / 8)
        )
        if number in (1, 3, 5):
            with counted_statements() as statements:
                counts.append(report_all(with_versions, within_days=90).versions)
            taken.append(len(statements))
    with_versions.close()
    assert counts == [4, 6, 8]
    assert abs((taken[2] - taken[1]) - (taken[1] - taken[0])) <= 2, taken


def test_what_is_kept_is_bounded_and_the_rest_is_counted() -> None:
    collected = GatheredLists(now=NOW, days=10)
    for number in range(LISTED + 50):
        day = f"2026-11-{24 + number % 6:02}"
        collected.add_due(Due(on=day, kind="waiver", about=f"a:{number:04}", text="t", remedy="r"))
        at = f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z"
        collected.add_undecided(Undecided(version=f"a:{number:04}", registered_at=at, remedy="r"))
    assert (collected.due.count, len(collected.due.listed)) == (LISTED + 50, LISTED)
    listed = collected.due.listed
    assert [due.on for due in listed] == sorted(due.on for due in listed)
    assert listed[-1].on == "2026-11-28", "those that fall due first are kept"
    newest = [entry.version for entry in collected.undecided.listed]
    assert newest == [f"a:{number:04}" for number in range(LISTED + 49, 49, -1)]


def test_the_page_runs_nothing_and_shows_hostile_text_as_text(
    home: MadeHome, registry: Registry, policy: ReadPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    register_idle(registry, tmp_path)
    version = version_named(registry, "sums")
    waive(registry, version, policy, "worse", ALEX, until=date(2026, 12, 1), reason=HOSTILE)
    set_alias(registry, version, "champion", reason=HOSTILE)
    registry.close()
    page = tmp_path / "registry.html"
    assert run(["report", "--all", "--within", "36000", "--out", str(page), "--home", str(home.folder)]) == 0
    html = page.read_text("utf-8")
    assert "<script" not in html and "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    policy_tag = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy_tag is not None and "unsafe" not in policy_tag.group(1)
    assert f"style-src {style_source(html)}" in policy_tag.group(1).replace("&#39;", "'")
    assert not re.search(r"<(script|form|iframe|img|object|link|input|base)\b|\son\w+=|\sstyle=", html)
    text = capsys.readouterr().out
    assert "undecided  2 without an alias or an approval" in text and "2026-12-01" in text
    assert run(["report", "--all", "--output", "json", "--home", str(home.folder)]) == 0
    assert json.loads(capsys.readouterr().out)["undecided_count"] == 2
    for words in (["report"], ["report", "--all", "sums"], ["report", "sums", "--within", "3"]):
        assert run([*words, "--home", str(home.folder)]) == 2
    assert run(["report", "--all", "--within", "40000", "--home", str(home.folder)]) == 2


def test_so_many_days_cannot_be_looked_ahead(registry: Registry) -> None:
    for days in (-1, 10**9):
        with pytest.raises(WithinRefused):
            report_all(registry, within_days=days)


def test_the_page_of_decisions_holds_what_was_signed_and_how_it_stands_today(
    registry: Registry, policy: ReadPolicy
) -> None:
    version = version_named(registry, "sums")
    approve(registry, version, policy, ALEX, reason="read all of it")
    waive(registry, version, policy, "worse", ALEX, until=date(2026, 12, 1), reason="mended in December")
    decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason="as it was")
    hold(registry, "sums", ALEX, reason="case 7", until=date(2026, 12, 24))
    set_alias(registry, version, "champion", reason="first release")
    bind_alias(registry, guarded_named(registry, "champion"), policy, ALEX, reason="two of us decide")
    tables = {
        table.title: table
        for table in decision_tables(registry, version, verify_version(registry, version, look_for_base=False))
    }
    (verdicts,) = [table for title, table in tables.items() if title.startswith("Indicative status")]
    assert [row[0] for row in verdicts.rows] == [("Model",), ("System",)]
    (gate,) = tables["The gate today"].rows
    assert gate[0] == ("@champion",) and gate[1][0].startswith("bank (")
    assert gate[1][1].startswith(f"ada bound champion of every name to bank ({policy.digest.short}) at {NOW}")
    assert gate[2] == ("closed",), "as `registry gate status` says"
    assert gate[3][0].startswith(
        f"policy: the policy bank is another one ({policy.digest.short}): nothing was asked when"
    )
    ada = (f"ada (approver, key {ALEX.public.key_id[:12]}…)",)
    assert tables["Approvals"].rows == ((ada, (NOW[:10],), ("bank",), ("read all of it",), ("counts",)),)
    assert tables["Waivers"].rows[0][:3] == (("worse",), ("ada",), ("2026-12-01",))
    assert [row[0][0] for row in tables["Said beside the status"].rows] == ["Fallback without attempt (F4, GL J64)"]
    assert tables["Licence flags"].rows == ((("unknown",),),)
    (decision,) = tables["Decisions"].rows
    assert decision[:2] == (("The intended purpose did not change (purpose: no)",), ada)
    assert decision[2:] == ((NOW[:10],), ("bank",), ("as it was",), ("counts",))
    ((held,),) = tables["Holds"].rows
    assert held[0].endswith(f"ada put it on hold at {NOW} until 2026-12-24: case 7")
    assert tables["Recalls"].rows == ()
    (move,) = tables["Moves of aliases"].rows
    assert move[:5] == ((NOW,), ("@champion",), ("lab-1",), ("no policy",), ("first release",))


def test_an_alias_that_nobody_guards_is_not_shown_as_if_a_policy_had_been_asked_of_it(
    registry: Registry, policy: ReadPolicy
) -> None:
    """`registry gate status` of it ends with 7: there is nothing to hold it against that anybody asked for."""
    version = version_named(registry, "sums")

    def gate() -> tuple[tuple[str, ...], ...]:
        tables = decision_tables(registry, version, verify_version(registry, version, look_for_base=False))
        (row,) = next(table for table in tables if table.title == "The gate today").rows
        return row

    starter = f"starter ({read_gate_policy('starter').digest.short})"
    suggested = f"none; shown is {starter}, which `registry promote` asks where nobody names another"
    assert gate()[:2] == (("none yet",), (suggested,))
    set_alias(registry, version, "champion", reason="first release")
    alias, policies, says, _ = gate()
    unguarded = "guards nothing: nobody bound the alias to a policy, and its move asked none"
    assert (alias, policies) == (("@champion",), (suggested, unguarded))
    assert says[0].startswith("would be ")
    by_option = gate_status(registry, "sums@champion", read_gate_policy("starter"))
    assert ("guards", unguarded.removeprefix("guards ")) in list(by_option.lines())
    promote(registry, version, "champion", policy)
    alias, policies, says, _ = gate()
    assert (alias, policies, says) == (("@champion",), (f"bank ({policy.digest.short})",), ("open",))
    assert "guards" not in [label for label, _ in gate_status(registry, "sums@champion").lines()]


def test_an_alias_of_a_base_is_in_use_and_what_of_it_does_not_hold_is_told(registry: Registry) -> None:
    """A training file names `base: tiny@stable`: who wants to know what is in use wants to know that too."""
    base = version_named(registry, "tiny")
    set_alias(registry, base, "stable", reason="what we train on")
    (used,) = report_all(registry, within_days=90).in_use
    assert (used.alias, used.version, used.worry) == ("tiny@stable", "tiny:1", ())
    assert used.moved == f"by lab-1 on {NOW[:10]}: what we train on"
    recall(registry, "tiny:1", ALEX, reason="its licence was withdrawn")
    whole = report_all(registry, within_days=90)
    assert (whole.in_use_count, whole.worrying, whole.bases) == (1, 1, 1)
    assert whole.in_use[0].worry[0].startswith("tiny:1 (")
    # no policy was asked of it: its status is told where one is named
    assert whole.in_use[0].remedy == "`registry gate status tiny@stable --policy starter`"
    assert gate_status(registry, "tiny@stable", read_gate_policy("starter")).decision.reasons
    (line,) = [text for label, text in whole.lines() if not label and text.startswith("tiny@stable → tiny:1: tiny:1 (")]
    assert "recalled it at" in line
