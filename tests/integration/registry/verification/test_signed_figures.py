"""Signed figures are held against the item table that their record binds: who may sign an evaluation cannot sign any figure."""

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database.envelopes import unpacked
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.items import describe_items, table_file
from peft_registry.registry.evaluation.recheck import Discrepancy, recheck
from peft_registry.registry.evaluation.statistics import DEFAULT_DRAWS
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import RecordNotDerived
from peft_registry.registry.use_cases.announce_edition import announce_edition
from peft_registry.registry.use_cases.gate_facts import gate_facts
from peft_registry.registry.use_cases.pull import PullRefused, pull_version
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification import evaluations
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.codes import CODES
from peft_registry.schemas.codes.evaluations import EVALUATION_CODES
from peft_registry.schemas.evaluation import CODES_FROM, EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Check, VerifyOutcome, Version
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table
from tests.builders.homes import NOW, register_adapter
from tests.builders.products import say_evaluated as say
from tests.builders.releases import FROZEN, NEXT, a_release

STATEMENTS = "evidence/statements.intoto.jsonl"
Edit = Callable[[dict[str, Any]], None]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256's base point, FIPS 186-5


@pytest.fixture(scope="module")
def evaluation() -> tuple[EvaluationRecord, bytes]:
    """With an interval that is drawn over clusters, and closed ones."""
    return a_recorded_evaluation(a_table(lambda at: 0.0 if at % 3 else 2.0, clusters=30), replace(PLAN, figures=1))


def statements(outcome: VerifyOutcome) -> Check:
    return next(check for check in outcome.checks if check.step == "statements")


def test_figures_that_follow_from_their_items_are_verified(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes]
) -> None:
    record, items = evaluation
    say(registry, version, record.to_json(), items)
    outcome = verify_version(registry, version)
    assert outcome.verdict == "verified"
    assert not [line for line in statements(outcome).detail if "recomputed" in line]


@pytest.mark.parametrize("edition", [CODES_FROM - 1, FIGURES])
def test_a_signed_version_stays_verified_when_a_sentence_is_worded_anew(
    registry: Registry, version: Version, edition: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, items = a_recorded_evaluation(a_table(clusters=8), replace(PLAN, figures=edition))
    say(registry, version, record.to_json(), items)
    reworded = {name: meaning._replace(sentence="in other words") for name, meaning in EVALUATION_CODES.items()}
    monkeypatch.setattr("peft_registry.schemas.codes.CODES", CODES | reworded)
    monkeypatch.setattr(evaluations, "_HELD", {})  # another test may have held the same figures against the same items
    assert verify_version(registry, version).verdict == "verified"
    pull_version(registry, version, tmp_path / "pulled")
    assert verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW).verdict == "verified"
    assert run(["evaluate", str(tmp_path / "pulled"), "--recheck"]) == 0


def test_free_text_is_no_way_into_an_edition_of_codes(registry: Registry, version: Version) -> None:
    record, items = a_recorded_evaluation(a_table(), replace(PLAN, figures=FIGURES))
    value: dict[str, Any] = json.loads(record.to_canonical())
    value["comparisons"][0]["conclusion_reason"] = "it is free of bias"
    say(registry, version, value, items)
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 6
    assert "conclusion_reason: recorded it is free of bias" in " ".join(statements(outcome).detail)


def a_count(record: dict[str, Any]) -> None:
    record["results"][0]["k"] -= 1


def a_rate(record: dict[str, Any]) -> None:
    record["comparisons"][0]["fix_rate"] = 0.999


def a_closed_interval(record: dict[str, Any]) -> None:
    record["comparisons"][0]["net_change_ci"]["high"] = -0.5


def a_drawn_interval(record: dict[str, Any]) -> None:
    record["comparisons"][0]["mean_margin_change_ci"]["low"] += 0.01


def a_conclusion(record: dict[str, Any]) -> None:
    record["comparisons"][0]["conclusion"] = "worse"


def a_p_value(record: dict[str, Any]) -> None:
    record["comparisons"][0]["test"]["p_holm"] = 0.5


def a_loss(record: dict[str, Any]) -> None:
    record["losses"][0]["after"] = 0.1


def a_guard(record: dict[str, Any]) -> None:
    record["guards"]["confounded"] = not record["guards"]["confounded"]


def no_dead_band(record: dict[str, Any]) -> None:
    record["protocol"]["thresholds"] = {}


EDITS: dict[Edit, str] = {
    a_count: "results[house",
    a_rate: ".fix_rate: recorded 0.999",
    a_closed_interval: ".net_change_ci.high: recorded -0.5",
    a_drawn_interval: ".mean_margin_change_ci.low",
    a_conclusion: ".conclusion: recorded worse",
    a_p_value: ".test.p_holm: recorded 0.5",
    a_loss: "losses[",
    a_guard: "guards.confounded",
    no_dead_band: "no dead band house.margin",
}
DRAWN = (a_drawn_interval, a_conclusion)


def edited(record: EvaluationRecord, edit: Edit) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(record.to_canonical())
    edit(value)
    return value


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_signed_figure_that_contradicts_its_bound_items_is_broken_and_named(
    registry: Registry,
    version: Version,
    evaluation: tuple[EvaluationRecord, bytes],
    edit: Edit,
    tmp_path: Path,
) -> None:
    record, items = evaluation
    say(registry, version, edited(record, edit), items)
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 6
    assert statements(outcome).error == "evaluation-altered"
    assert EDITS[edit] in " ".join(statements(outcome).detail)
    with pytest.raises(PullRefused):
        pull_version(registry, version, tmp_path / "pulled")


@pytest.mark.parametrize("edit", [edit for edit in EDITS if edit not in DRAWN], ids=lambda edit: edit.__name__)
def test_where_too_much_would_be_drawn_the_closed_forms_are_held_against_the_items_all_the_same(
    registry: Registry,
    version: Version,
    evaluation: tuple[EvaluationRecord, bytes],
    edit: Edit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record, items = evaluation
    monkeypatch.setattr(evaluations, "MAX_WORK", 1000)
    say(registry, version, record.to_json(), items)
    outcome = verify_version(registry, version)
    assert outcome.verdict == "verified"
    assert "counts, rates and closed forms recomputed" in " ".join(statements(outcome).detail)
    say(registry, version, edited(record, edit), items)
    assert verify_version(registry, version).exit_code == 6


def test_a_record_that_asks_for_a_million_draws_keeps_nobody_busy(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes]
) -> None:
    import time

    record, items = evaluation
    value = edited(record, lambda record: record["extra"]["statistics"].update(bootstrap_draws=1_000_000))
    say(registry, version, value, items)
    started = time.process_time()
    assert verify_version(registry, version).verdict == "verified"  # 2,000 of its draws would be another matter
    assert time.process_time() - started < 2  # seconds; to draw them takes minutes
    assert evaluations.MAX_WORK > DEFAULT_DRAWS * 744, "what the shipped suite asks for is drawn again"


def test_a_table_that_is_not_here_is_said_and_spoils_nothing(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes], tmp_path: Path
) -> None:
    record, items = evaluation
    say(registry, version, edited(record, a_count), items)
    say(registry, version, record.to_json(), items)
    folder = tmp_path / "folder"
    with pytest.raises(PullRefused):
        pull_version(registry, version, folder)
    other = register_adapter(registry, tmp_path, name="other", value=0.25)
    say(registry, other, record.to_json(), items)
    pull_version(registry, other, folder)
    (folder / "evidence" / record.items.file).unlink()
    outcome = verify_folder(folder, trust=registry.trust, now=NOW)
    assert outcome.verdict == "verified"
    assert "its item table is not here" in " ".join(statements(outcome).detail)


def test_figures_of_a_later_edition_are_unverified_and_not_broken(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes]
) -> None:
    record, items = evaluation
    say(registry, version, edited(record, lambda record: record["extra"]["statistics"].update(figures=99)), items)
    outcome = verify_version(registry, version)
    assert outcome.exit_code == 5
    assert statements(outcome).error == "later-figures"


def test_figures_of_a_later_edition_that_is_announced_are_a_note_and_no_gate_is_opened_by_them(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes], tmp_path: Path
) -> None:
    """Else whoever still uses this release pulls nothing that a later one evaluated."""
    record, items = evaluation
    with a_release(FROZEN, NEXT, figures=FIGURES + 1):
        announce_edition(registry, registry.private_key("root"))
    say(
        registry,
        version,
        edited(record, lambda record: record["extra"]["statistics"].update(figures=FIGURES + 1)),
        items,
    )
    pulled = pull_version(registry, version, tmp_path / "pulled")
    for outcome in (
        verify_version(registry, version),
        pulled,
        verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW),
    ):
        assert outcome.verdict == "verified"
        assert f"its figures are of edition {FIGURES + 1}" in " ".join(statements(outcome).detail)
    assert verify_folder(tmp_path / "pulled", trust=None, now=NOW).exit_code == 5
    with pytest.raises(RecordNotDerived) as refused:
        gate_facts(registry, version, Digest.of(b"a policy"), None)
    assert f"are of edition {FIGURES + 1}" in refused.value.why
    assert gate_facts(registry, version, Digest.of(b"a policy"), None, newer_editions=True).statuses
    # an edition later than what was announced is anybody's
    say(registry, version, edited(record, lambda record: record["extra"]["statistics"].update(figures=99)), items)
    assert statements(verify_version(registry, version)).error == "later-figures"


def twin(line: bytes) -> bytes:
    """The same statement under the other ECDSA signature of the same key, (r, n − s): nobody needs the key for it."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    envelope = json.loads(line)
    r, s = decode_dss_signature(base64.b64decode(envelope["signatures"][0]["sig"]))
    envelope["signatures"][0]["sig"] = base64.b64encode(encode_dss_signature(r, ORDER - s)).decode()
    return json.dumps(envelope).encode()


@pytest.mark.parametrize("again", [lambda line: line, twin], ids=["same", "twin"])
def test_a_line_that_stands_there_twice_is_one_statement(
    registry: Registry, version: Version, tmp_path: Path, again: Callable[[bytes], bytes]
) -> None:
    pull_version(registry, version, tmp_path / "pulled")
    path = tmp_path / "pulled" / STATEMENTS
    before = statements(verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW))
    lines = path.read_bytes().splitlines()
    path.write_bytes(path.read_bytes() + again(lines[0]) + b"\n")
    outcome = verify_folder(tmp_path / "pulled", trust=registry.trust, now=NOW)
    assert outcome.verdict == "verified"
    assert statements(outcome) == before
    shutil.copy(tmp_path / "home" / "trust.json", tmp_path / "trust.json")
    nobody = verify_folder(tmp_path / "pulled", trust=None, now=NOW)
    assert statements(nobody).text.startswith(f"{len(lines)} of {len(lines)} are signed by keys")


# --- the item table exchanged for another


@pytest.fixture
def two_evaluations(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes], tmp_path: Path
) -> tuple[Path, str, str]:
    """A folder with two evaluations, and the names of their item tables."""
    names = []
    for record, items in (evaluation, a_recorded_evaluation()):
        table = describe_items(items, file=table_file(items))
        say(registry, version, record.revised(items=table).to_json(), items)
        names.append(table.file)
    pull_version(registry, version, tmp_path / "pulled")
    return tmp_path / "pulled", names[0], names[1]


def test_the_item_tables_of_two_evaluations_of_one_version_exchanged_are_broken(
    registry: Registry, two_evaluations: tuple[Path, str, str]
) -> None:
    folder, *names = two_evaluations
    first, second = (folder / "evidence" / name for name in names)
    assert first != second and first.is_file() and second.is_file()
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    outcome = verify_folder(folder, trust=registry.trust, now=NOW)
    assert outcome.exit_code == 6
    assert "is not the item table that an evaluation signed" in statements(outcome).detail[0]


def test_the_item_table_of_another_version_is_broken(
    registry: Registry, version: Version, two_evaluations: tuple[Path, str, str], tmp_path: Path
) -> None:
    other = register_adapter(registry, tmp_path, name="other", value=1.5)
    record, items = a_recorded_evaluation(a_table(lambda at: 1.0))
    say(registry, other, record.to_json(), items)
    pull_version(registry, other, tmp_path / "other-pulled")
    shutil.copy(
        tmp_path / "other-pulled" / "evidence" / record.items.file,
        two_evaluations[0] / "evidence" / two_evaluations[1],
    )
    assert verify_folder(two_evaluations[0], trust=registry.trust, now=NOW).exit_code == 6


def test_an_item_table_edited_together_with_every_row_that_speaks_of_it_is_broken(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes]
) -> None:
    """Whoever can write store and database makes table, figures, statement and rows agree; nobody signed what they agree on."""
    record, items = evaluation
    say(registry, version, record.to_json(), items)
    forged, table = a_recorded_evaluation(a_table(lambda at: -3.0))
    registry.store.put_bytes(table)
    with closing(sqlite3.connect(registry.folder / "database.sqlite")) as database:
        ((digest, envelope),) = database.execute(
            "SELECT digest, envelope FROM statements WHERE kind = 'bias-evaluation'"
        ).fetchall()
        value = json.loads(unpacked(envelope, Digest.parse(digest)))
        payload = json.loads(base64.b64decode(value["payload"]))
        payload["predicate"] = json.loads(forged.to_canonical())
        data = canonical_bytes(payload)
        value["payload"] = base64.b64encode(data).decode()
        database.execute(
            "UPDATE statements SET envelope = ?, digest = ? WHERE kind = 'bias-evaluation'",
            (json.dumps(value).encode(), str(Digest.of(data))),
        )
        database.execute("UPDATE kept_objects SET digest = ? WHERE role = 'evidence'", (str(Digest.of(table)),))
        database.commit()
    for command in ("verify", "show", "report", "evaluate"):
        words = ["--recheck"] if command == "evaluate" else []
        assert run([command, version.label, *words, "--home", str(registry.folder)]) == 6


def test_figures_are_held_against_their_items_once_and_an_edit_of_either_anew(
    registry: Registry, version: Version, evaluation: tuple[EvaluationRecord, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[EvaluationRecord] = []

    def counted(record: EvaluationRecord, items: bytes) -> tuple[Discrepancy, ...]:
        held.append(record)
        return recheck(record, items)

    monkeypatch.setattr(evaluations, "recheck", counted)
    monkeypatch.setattr(evaluations, "_HELD", {})
    record, items = evaluation
    say(registry, version, record.to_json(), items)
    for _ in range(2):
        assert verify_version(registry, version).verdict == "verified"
    assert len(held) == 1
    edited = record.to_json()
    a_rate(edited)
    say(registry, version, edited, items)
    for _ in range(2):
        assert verify_version(registry, version).exit_code == 6
    assert len(held) == 2
