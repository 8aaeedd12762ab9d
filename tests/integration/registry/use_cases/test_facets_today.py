"""What versions are found by and holds today alone: verdicts with persons' decisions, gates, recalls. Rows only choose."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.facets import FACETS_FORM
from peft_registry.registry.records.lost_rows import RowsMissing
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.use_cases import find
from peft_registry.registry.use_cases.approve import approve, waive
from peft_registry.registry.use_cases.bind_alias import bind_alias, guarded_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.fill_facets import fill_facets
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.gate import ReadPolicy, gate_by_records, gate_status, promote, read_gate_policy
from peft_registry.registry.use_cases.like_results import comparable_results
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.show_verdict import describe_verdict
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import OFFICER, fill_in
from tests.builders.homes import NOW
from tests.builders.mirror import projection_of
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers

SYSTEM = {
    "high_risk.classification_before": "annex_iii_3",
    "high_risk.classification_after": "annex_iii_3",
    "identity.name_or_trademark_on_result": "no",
}
BOTH = ["other:1", "sums:1"]


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill_with_approvers)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    registry = home.opened(now=NOW)
    yield registry
    registry.close()


@pytest.fixture
def policy(tmp_path: Path) -> ReadPolicy:
    file = tmp_path / "bank.yml"
    file.write_text(
        "name: bank\nabout: one person looks\nevaluation: {no_leakage: true}\napprovals: {count: 1}\n", "utf-8"
    )
    return read_gate_policy(str(file))


def found(registry: Registry, where: str) -> list[str]:
    return [version.label for version in find_versions(registry, read_query(where)).versions]


def shown(registry: Registry, where: str, column: str) -> dict[str, tuple[object, ...]]:
    page = find_versions(registry, read_query(where), columns=[column])
    return {version.label: facets.get(column, ()) for version, facets in zip(page.versions, page.facets, strict=True)}


def answer(registry: Registry, folder: Path, answers: dict[str, object]) -> None:
    file = folder / "gaps.yml"
    file.unlink(missing_ok=True)
    version = version_named(registry, "sums")
    write_form(registry, version, file)
    decide(registry, version, fill_in(file, answers), OFFICER)


def test_a_decision_of_a_person_moves_what_a_version_is_found_by_as_it_moves_its_verdict(
    registry: Registry, policy: ReadPolicy, tmp_path: Path
) -> None:
    answer(registry, tmp_path, dict(SYSTEM))
    before = {verdict.status for verdict in describe_verdict(registry, "sums").verdicts.both}
    decide_question(
        registry,
        version_named(registry, "sums"),
        "substantial-modification",
        policy,
        ALEX,
        is_yes=False,
        reason="no article of Section 2 is touched",
    )
    decided = {verdict.status for verdict in describe_verdict(registry, "sums").verdicts.both}
    (new,) = decided - before
    assert found(registry, f"verdict={new}") == ["sums:1"], "the other version has the same bytes and another record"
    assert "sums:1" not in found(registry, f"verdict!={new}")
    assert set(shown(registry, "name=sums", "verdict")["sums:1"]) == decided
    assert found(registry, "kind=adapter verdict=provider_25_1_a") == [], "rows have what a decision may come to"
    assert found(registry, "kind=adapter verdict!=provider_25_1_a") == BOTH
    answer(registry, tmp_path, {"use.intended": "sums and products"})
    (stale,) = describe_verdict(registry, "sums").set_aside
    assert "says something else since" in stale
    assert found(registry, f"verdict={new}") == []
    assert "sums:1" in found(registry, f"verdict!={new}")


def test_what_is_recalled_today_is_found_and_what_was_once_is_not(home: MadeHome, registry: Registry) -> None:
    data = stored_manifest(registry, version_named(registry, "sums").manifest_digest).data[0].sha256
    assert (found(registry, "recalled=yes"), found(registry, "recalled=no")) == ([], [*BOTH, "tiny:1"])
    recall(registry, str(data), ALEX, reason="the donor withdrew consent")
    assert (found(registry, "recalled=yes"), found(registry, "recalled=no")) == (BOTH, ["tiny:1"])
    assert (found(registry, "recalled!=yes"), found(registry, "recalled!=no")) == (["tiny:1"], BOTH)
    assert shown(registry, "", "recalled") == {"other:1": ("yes",), "sums:1": ("yes",), "tiny:1": ("no",)}
    with home.rows() as rows:
        rows.run("DELETE FROM facet_words WHERE facet = 'recalled'")
    with pytest.raises(RowsMissing):
        found(registry, "recalled=no")
    with home.rows() as rows:
        rows.run(
            "INSERT INTO facet_words (name, number, facet, word, registered_at) "
            "SELECT name, number, 'recalled', 'yes', registered_at FROM versions"
        )
    assert found(registry, "recalled=yes") == BOTH
    recall(registry, str(data), ALEX, reason="consent was given again", undo=True)
    assert (found(registry, "recalled=yes"), found(registry, "recalled=no")) == ([], [*BOTH, "tiny:1"])


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE facet_words SET word = 'no' WHERE facet = 'recalled' AND name = 'other'",
        "UPDATE facet_words SET facet = 'project' WHERE facet = 'recalled' AND name = 'other'",
        # with its count, so that no row is missed
        "DELETE FROM facet_words WHERE facet = 'recalled' AND name = 'other'; "
        "UPDATE row_counts SET counted = 1 WHERE kind = 'facet' AND word = 'recalled'",
        "DELETE FROM facet_words WHERE facet = 'recalled'; DELETE FROM row_counts WHERE kind = 'facet' AND word = 'recalled'",
    ],
)
def test_a_row_that_was_edited_hides_no_recalled_version(home: MadeHome, registry: Registry, edit: str) -> None:
    recall(registry, "tiny", ALEX, reason="a licence was withdrawn")
    assert found(registry, "recalled=yes") == ["other:1", "sums:1", "tiny:1"]
    with home.rows() as rows:
        for statement in edit.split("; "):
            rows.run(statement)
    with pytest.raises(
        (VersionsDiffer, RowsMissing), match=r"is recalled, or was, by the log, and no row|the facet recalled"
    ):
        found(registry, "recalled=yes")
    with pytest.raises((VersionsDiffer, RowsMissing)):
        comparable_results(registry)


def test_a_source_that_was_edited_hides_no_recalled_version(home: MadeHome, registry: Registry) -> None:
    recall(registry, "tiny", ALEX, reason="a licence was withdrawn")
    tiny = version_named(registry, "tiny").manifest_digest
    with home.rows() as rows:
        rows.run(f"DELETE FROM version_sources WHERE source = '{tiny}' AND name = 'other'")
        rows.run("UPDATE facet_words SET word = 'no' WHERE facet = 'recalled' AND name = 'other'")
    with pytest.raises(RowsMissing, match="what was made from"):
        found(registry, "recalled=yes")


def test_the_gate_of_today_is_found(home: MadeHome, registry: Registry, policy: ReadPolicy) -> None:
    version = version_named(registry, "sums")
    assert found(registry, "gate=none,open,closed") == []
    set_alias(registry, version, "champion", reason="first release")
    assert (found(registry, "gate=none"), found(registry, "gate!=none")) == (["sums:1"], ["other:1", "tiny:1"])
    bind_alias(registry, guarded_named(registry, "champion"), policy, ALEX, reason="somebody looks")
    assert (found(registry, "gate=closed"), found(registry, "gate=none")) == (["sums:1"], [])
    approve(registry, version, policy, ALEX, reason="read all of it")
    assert found(registry, "gate=closed") == ["sums:1"], "it passed nothing when it was moved"
    promote(registry, version, "champion", policy, reason="looked at")
    assert (found(registry, "gate=open"), found(registry, "gate=closed")) == (["sums:1"], [])
    asked = gate_by_records(registry, version_named(registry, "sums"), "champion")
    assert asked is not None and asked.facts.verdict is None
    assert asked.decision == gate_status(registry, "sums@champion").decision
    recall(registry, str(version.manifest_digest), ALEX, reason="it does harm")
    assert shown(registry, "gate=closed alias=champion", "gate") == {"sums:1": ("closed",)}
    with home.rows() as rows:
        rows.run("UPDATE aliases SET number = 1, name = 'other' WHERE alias = 'champion'")
    assert found(registry, "gate=open,closed,none") == []


def test_a_waiver_that_ended_closes_a_gate_without_a_word(home: MadeHome, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "strict.yml"
    file.write_text(
        "name: strict\nabout: no worse\nanswered: [use.foreseeable_misuse]\nwaivable: [answered]\n", "utf-8"
    )
    strict = read_gate_policy(str(file))
    version = version_named(registry, "sums")
    waive(registry, version, strict, "answered", ALEX, until=date(2026, 12, 1), reason="answered in December")
    promote(registry, version, "champion", strict, reason="for now")
    assert found(registry, "gate=open") == ["sums:1"]
    later = home.opened(now="2026-12-02T00:00:00Z")
    assert (found(later, "gate=open"), found(later, "gate=closed")) == ([], ["sums:1"])
    later.close()


def test_mlflow_is_told_verdict_gate_and_approvals_and_copies_anew_what_a_binding_touches(
    registry: Registry, policy: ReadPolicy, tmp_path: Path
) -> None:
    def tags() -> dict[str, str]:
        return dict(projection_of(registry, version_named(registry, "sums")).version.tags)

    version = version_named(registry, "sums")
    both = describe_verdict(registry, "sums").verdicts.both
    assert tags()["registry.verdict"] == f"model: {both[0].status}; system: {both[1].status}"
    assert not {"registry.gate", "registry.approvals"} & set(tags())
    set_alias(registry, version, "champion", reason="first release")
    assert tags()["registry.gate"] == "champion: no policy"
    bind_alias(registry, guarded_named(registry, "champion"), policy, ALEX, reason="somebody looks")
    assert tags()["registry.gate"] == "champion: bank, closed by 2", "it passed nothing, and nobody approved"
    approve(registry, version, policy, ALEX, reason="read all of it")
    promote(registry, version, "champion", policy, reason="looked at")
    assert tags()["registry.gate"] == "champion: bank, open"
    assert tags()["registry.approvals"] == "1 of 1 count: ada"
    answer(registry, tmp_path, dict(SYSTEM))
    assert tags()["registry.gate"] == "champion: bank, closed by 1"
    assert tags()["registry.approvals"] == "0 of 1 count"


def test_a_page_ends_with_a_cursor_where_many_versions_do_not_meet_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "MOST_LOOKED_AT", 1)
    recall(registry, str(version_named(registry, "other").manifest_digest), ALEX, reason="it does harm")
    seen, cursor, pages = [], None, 0
    while True:
        page = find_versions(registry, read_query("recalled=no"), cursor=cursor, limit=1)
        seen += [version.label for version in page.versions]
        cursor, pages = page.next, pages + 1
        if cursor is None:
            break
    assert (seen, pages) == (["tiny:1"], 3), "both adapters have the bytes that are recalled"
    monkeypatch.setattr(find, "MOST_LOOKED_AT", 100)
    assert found(registry, "recalled=no") == ["tiny:1"]


def test_an_upgrade_finds_what_was_decided_and_recalled_before(
    registry: Registry, policy: ReadPolicy, tmp_path: Path
) -> None:
    answer(registry, tmp_path, dict(SYSTEM))
    version = version_named(registry, "sums")
    decide_question(registry, version, "substantial-modification", policy, ALEX, is_yes=False, reason="read it")
    recall(registry, str(version.manifest_digest), ALEX, reason="it does harm")
    statuses = sorted(verdict.status for verdict in describe_verdict(registry, "sums").verdicts.both)
    with registry.database.write() as tx:
        tx.exec_driver_sql("DELETE FROM facet_words")
        tx.exec_driver_sql("DELETE FROM meta WHERE key = 'ever_recalled'")
        catalog.set_meta(tx, FACETS_FORM, "1, of an earlier release")
    assert fill_facets(registry) == 3
    assert found(registry, "recalled=yes") == BOTH
    for status in statuses:
        assert "sums:1" in found(registry, f"verdict={status}")


def test_the_check_of_the_log_names_a_missing_mark_of_recalls(registry: Registry) -> None:
    """Without it nobody looks for what is recalled, and a list of what is would be empty."""
    recall(registry, f"{version_named(registry, 'sums').manifest_digest}", ALEX, reason="it does harm")
    assert check_log(registry).contradictions == ()
    with registry.database.write() as tx:
        tx.exec_driver_sql("DELETE FROM meta WHERE key = 'ever_recalled'")
    first = check_log(registry).contradictions[0]
    assert (first.place, first.text) == ("recalls", "one is recorded, and the row that says that there was any is not")
