"""`registry decide`: open questions written to a form, answered by people with keys of their own, and taken up by a record."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.compliance.answers import SignedAnswers
from peft_registry.registry.compliance.deciding import _answers_to_try
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.homes.layout import key_files
from peft_registry.registry.records import new_entries
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases import decide as decide_module
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import (
    AnsweringKeyUnlisted,
    FormOfAnother,
    RecordMovedOn,
    count_deciding,
    decide,
    write_form,
)
from peft_registry.registry.use_cases.gap_form import AnswerRefused, FormUnanswered, read_form
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.sign_log import reject_entries, sign_log
from peft_registry.registry.use_cases.statements import RecordNotAnswered, append_statement
from peft_registry.registry.use_cases.take_up_answers import complete_answers
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.answers import Answer
from peft_registry.schemas.errors import KnownError, SeveralProblems
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Value, unknown
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import (
    ENGINEER,
    ENGINEERS,
    OFFICER,
    OFFICERS,
    Place,
    fill,
    fill_in,
    log_unasked,
    predicate,
    say,
    taking_up,
    version_of,
)
from tests.builders.homes import NOW, add_a_base
from tests.builders.products import a_product
from tests.builders.records import some_compute
from tests.builders.signing import a_p256_key

MISUSE, PLACED = "use.foreseeable_misuse", "gpai.placing_date"


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    registry = made.copy(tmp_path / "home").opened(now=NOW)
    yield Place(tmp_path, registry, version_of(registry, "sums"))
    registry.close()


def test_the_form_asks_what_is_open_by_owner_and_nothing_else(place: Place) -> None:
    file = place.form({})
    text = file.read_text("utf-8")
    shown = describe_record(place.registry, "sums")
    open_now = {gap.field: gap.owner for gap in shown.open}
    asked = {
        line.strip().removesuffix(":") for line in text.splitlines() if line.startswith("  ") and line.endswith(":")
    }
    assert OFFICERS in asked and asked <= {*open_now, *shown.unsigned}
    assert not [path for path in asked if open_now.get(path) == "tool"]
    assert "use.intended" in shown.unsigned and "use.intended" in asked
    assert (
        '#   open: "stated is sums of two numbers, as typed by alex, data steward; nobody who answers for modifier'
        in text
    )
    assert text.index("# --- modifier: signed with") < text.index("# --- legal: signed with")
    # what it asks stands first in a sentence, and the clause behind all questions
    assert "Does the result, or the system that it is part of, bear your name or trademark?" in text
    last = max(text.index(f"\n  {path}:\n") for path in asked)
    assert last < text.index("# The clauses that ask") < text.index(f"#   {OFFICERS}: Arts. 3(3), 25(1)(a)")
    with pytest.raises(FormUnanswered):
        decide(place.registry, place.version, file, OFFICER)


def test_two_people_answer_with_two_keys_and_the_record_is_superseded_twice(place: Place) -> None:
    first = place.record
    answers = {OFFICERS: "yes", "use.foreseeable_misuse": "as a calculator"}
    officer = decide(place.registry, place.version, place.form(answers), OFFICER)
    engineer = decide(
        place.registry, place.version, place.form({ENGINEERS: {"unknown": "the weights were not compared"}}), ENGINEER
    )
    value = place.record.identity.name_or_trademark_on_result
    assert (value.value, value.source, value.asserted_by, value.asserted_at) == ("yes", "declared", "alex", NOW)
    assert value.evidence == (officer.statement,)
    modules = place.record.change.modules
    assert (modules.known, modules.evidence) == (False, (engineer.statement,))
    history = describe_record(place.registry, "sums").history
    assert [link.supersedes for link in history] == [None, first.record_id, officer.record_id]
    assert [[answers.person for answers in link.answers] for link in history] == [[], ["alex"], ["sam"]]
    assert [change.path for change in history[1].changes if change.path.startswith(("identity", "use"))] == [
        OFFICERS,
        "use.foreseeable_misuse",
    ]
    place.holds()
    assert pull_version(place.registry, place.version, place.folder / "pulled").verdict == "verified"
    page = make_report(place.registry, place.version).decode()
    assert "Answered by alex as officer" in page and "as a calculator" in page


def test_a_wrong_answer_is_refused_with_its_line_and_all_of_them_at_once(place: Place) -> None:
    file = place.form({OFFICERS: "maybe", "use.foreseeable_misuse": "tbd", "use.intendd": "sums", "approvals": "yes"})
    lines = {
        path: number
        for number, text in enumerate(file.read_text().splitlines(), 1)
        for path in [text.strip().split(":")[0]]
    }
    before = place.logged()
    with pytest.raises(SeveralProblems) as refused:
        decide(place.registry, place.version, file, OFFICER)
    problems = {problem.path: problem for problem in refused.value.problems if isinstance(problem, AnswerRefused)}
    assert set(problems) == {OFFICERS, "use.foreseeable_misuse", "use.intendd", "approvals"}
    assert {path: problem.line for path, problem in problems.items()} == {path: lines[path] for path in problems}
    assert problems["use.intendd"].fix == "did you mean `use.intended`?"
    assert "approval" in problems["approvals"].why
    assert problems[OFFICERS].what.endswith(f"the answer to '{OFFICERS}' cannot be used")
    assert "'maybe'" in problems[OFFICERS].why
    assert place.logged() == before


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({OFFICERS: {"not_applicable": "own_data"}}, "it always has an answer"),
        (
            {"base[0].release_date": "2026-06-01", PLACED: "2026-05-01"},
            "a result is placed on the market once its base is",
        ),
        *(
            ({"data[0].licence": licence}, f"{licence!r} is not a licence of the SPDX list")
            for licence in ("Apche-2.0", "MIT OR", "MIT WITH Some-exception")
        ),
    ],
    ids=[
        "not applicable, where the law always asks",
        "placed before the base was released",
        "a licence that is not listed",
        "half an OR",
        "an exception that is not listed",
    ],
)
def test_what_cannot_be_answered_so_is_told_with_its_line_and_none_of_the_form_is_taken(
    place: Place, answers: dict[str, Any], why: str
) -> None:
    file, before = place.form(answers | {"use.foreseeable_misuse": "as a calculator"}), place.logged()
    with pytest.raises((AnswerRefused, SeveralProblems)) as refused:
        decide(place.registry, place.version, file, OFFICER)
    error = refused.value
    problems = error.problems if isinstance(error, SeveralProblems) else (error,)
    for problem in problems:
        assert isinstance(problem, AnswerRefused)
        assert problem.path in answers
        assert f"  {problem.path}:" in file.read_text().splitlines()[problem.line - 1]
        assert why in problem.why
    assert place.logged() == before


def test_whoever_has_no_meter_and_states_the_watts_signs_the_watts(place: Place) -> None:
    """That nobody knows the energy is not true once it follows from what the same form states."""
    base = add_a_base(place.registry, place.folder / "base")
    silent = some_compute(energy_kwh=unknown("no energy sensor on this machine that this user may read"))
    product = a_product(place.registry, place.folder / "made", base, name="metered", compute=silent, value=0.25)
    metered = Place(place.folder, place.registry, register_product(place.registry, product).version)
    form = metered.form({"energy.training_kwh": {"unknown": "no meter"}, "power.device_watts": 65})
    assert decide(place.registry, metered.version, form, ENGINEER).paths == ("power.device_watts",)
    energy = metered.record.energy.training_kwh
    assert energy.source == "derived" and "65 W" in str(energy.method)
    metered.holds()


def test_a_dry_run_checks_and_signs_nothing(place: Place) -> None:
    file, before = place.form({OFFICERS: "yes"}), place.logged()
    told = decide(place.registry, place.version, file, OFFICER, dry_run=True)
    assert (told.paths, told.statement, place.logged()) == ((OFFICERS,), None, before)


def test_a_signed_answer_is_corrected_by_answering_it_anew(place: Place) -> None:
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    form = place.form({})
    assert f"  {OFFICERS}:" not in form.read_text("utf-8"), "what is answered is not asked again"
    decided = decide(place.registry, place.version, fill_in(form, {OFFICERS: "no"}), OFFICER)
    value = place.record.identity.name_or_trademark_on_result
    assert (value.value, value.evidence) == ("no", (decided.statement,))
    parts = describe_record(place.registry, "sums").history_parts()
    history = "\n".join(text for part in parts for _, text in part.rows)
    assert "→ yes [declared, answered by alex (officer, key " in history
    assert "→ no [declared, answered by alex (officer, key " in history
    place.holds()


def test_what_was_measured_is_not_answered(place: Place) -> None:
    with pytest.raises(AnswerRefused, match=r"change\.params_added"):
        decide(place.registry, place.version, place.form({"change.params_added": 1}), OFFICER)


def test_an_engineers_key_does_not_answer_what_legal_owes(place: Place) -> None:
    before = place.logged()
    with pytest.raises(AnswerRefused) as refused:
        decide(place.registry, place.version, place.form({OFFICERS: "yes"}), ENGINEER)
    assert "legal owes it, and a key of the role evaluator does not answer for legal" in refused.value.why
    assert place.logged() == before


def test_a_form_for_one_owner_asks_what_they_owe_and_says_what_its_abbreviations_are(place: Place) -> None:
    file = place.folder / "legal.yml"
    written = write_form(place.registry, place.version, file, "legal")
    text = file.read_text("utf-8")
    assert list(written.questions) == ["legal"]
    assert f"  {OFFICERS}:\n" in text and f"  {ENGINEERS}:" not in text
    assert "# GL: Commission guidelines on general-purpose AI models." in text
    every = place.folder / "every.yml"
    assert write_form(place.registry, place.version, every).questions["legal"] == written.questions["legal"]
    decide(place.registry, place.version, fill_in(file, {OFFICERS: "yes"}), OFFICER)
    place.holds()


def test_a_dry_run_names_the_command_that_signs_and_a_report_the_one_that_answers(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    form = place.form({OFFICERS: "yes"})
    key = place.folder / "officer.key"
    OFFICER.save(key, None)
    _, out, err = command(place, capsys, "decide", "sums", "--form", str(form), "--key", str(key), "--dry-run")
    assert f"registry decide sums:1 --form {form} --key {key}" in out + err
    _, out, err = command(place, capsys, "report", "sums", "--out", str(place.folder / "page.html"))
    assert "registry decide sums:1 --form gaps.yml" in out + err
    assert "promote" not in out + err
    code, _, err = command(place, capsys, "decide", "sums", "--form", str(form), "--for", "legal")
    assert code == 2 and f"{form} is there already" in err
    assert "registry decide sums --for legal --form NEW.yml" in err


def test_a_key_that_nobody_listed_is_told_how_to_get_listed(place: Place) -> None:
    stranger = a_p256_key(9)
    with pytest.raises(AnsweringKeyUnlisted) as refused:
        decide(place.registry, place.version, place.form({OFFICERS: "yes"}), stranger)
    assert "`registry trust add KEY.pub --person NAME --role officer`" in refused.value.fix
    assert refused.value.exit_code == 5


def test_a_form_of_another_version_is_refused(place: Place) -> None:
    file = place.form({OFFICERS: "yes"})
    with pytest.raises(FormOfAnother):
        decide(place.registry, version_of(place.registry, "other"), file, OFFICER)


def test_of_two_forms_answered_at_once_the_second_is_told_what_collides_and_the_rest_still_counts(place: Place) -> None:
    first = place.form({OFFICERS: "yes"}, "first.yml")
    second = place.form({OFFICERS: "no", MISUSE: "as a calculator"}, "second.yml")
    line = f'  {OFFICERS}: "no"'
    seen = place.record
    decide(place.registry, place.version, first, OFFICER)
    before, current = place.logged(), place.record
    with pytest.raises(RecordMovedOn) as refused:
        decide(place.registry, place.version, second, OFFICER)
    assert (refused.value.changed, refused.value.unchanged) == ((OFFICERS,), (MISUSE,))
    number = second.read_text("utf-8").splitlines().index(line) + 1
    assert f"{OFFICERS} (line {number}) changed in the meantime" in refused.value.why
    assert place.logged() == before
    second.write_text(second.read_text("utf-8").replace(line, f"  {OFFICERS}:"), "utf-8")
    decided = decide(place.registry, place.version, second, OFFICER)
    assert decided.supersedes == current.record_id
    assert place.record.use.foreseeable_misuse.value == "as a calculator"
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    said = records_of(place.registry, place.version).statements
    answers = next(stored for stored in said if stored.digest == decided.statement)
    assert answers.statement.predicate["record"] == str(seen.canonical_digest()), "it names the record that was seen"
    place.holds()
    pulled = place.folder / "pulled"
    assert pull_version(place.registry, place.version, pulled).verdict == "verified"
    assert verify_folder(pulled, trust=place.registry.trust, now=NOW).verdict == "verified"


def test_answers_signed_elsewhere_wait_for_the_next_record_though_another_came_between(place: Place) -> None:
    said = predicate(place, (Answer(path=MISUSE, area="modifier", value="as a calculator"),))
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    signed = say(place, said, OFFICER)
    assert describe_record(place.registry, "sums").waiting[0].signed.statement == signed
    assert complete_answers(place.registry, place.version) is not None
    assert place.record.correction.answers == (signed,)
    assert complete_answers(place.registry, place.version) is None
    place.holds()


def test_a_thief_takes_up_answers_whose_field_changed_in_a_record_between(place: Place) -> None:
    """The officer answered "no" to a record in which nobody had; by now the officer has answered "yes" to it."""
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="no"),))
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    assert complete_answers(place.registry, place.version) is None
    forge_record(place, signed)
    is_refused(place, f"{OFFICERS}: it changed after alex saw it, in a record between")
    assert place.record.identity.name_or_trademark_on_result.value == "yes"


def test_a_form_overtaken_while_it_is_signed_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = place.form({OFFICERS: "yes"}, "first.yml"), place.form({OFFICERS: "no"}, "second.yml")
    signing = decide_module._sign_both

    def after_another(*arguments: Any) -> Any:
        monkeypatch.setattr(decide_module, "_sign_both", signing)
        decide(place.registry, place.version, first, OFFICER)
        return signing(*arguments)

    monkeypatch.setattr(decide_module, "_sign_both", after_another)
    with pytest.raises(RecordMovedOn):
        decide(place.registry, place.version, second, OFFICER)
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    place.holds()


def test_answers_that_were_signed_without_a_record_are_taken_up_by_the_next(place: Place) -> None:
    signed = say(place, predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),)), OFFICER)
    assert describe_record(place.registry, "sums").waiting[0].person == "alex"
    completed = complete_answers(place.registry, place.version)
    assert completed is not None and place.record.correction.answers == (signed,)
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    assert complete_answers(place.registry, place.version) is None
    place.holds()


def test_of_answers_that_wait_all_are_taken_up_in_the_order_of_the_log(place: Place) -> None:
    officer = say(place, predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),)), OFFICER)
    modules = Answer(path=ENGINEERS, area="engineer", unknown="the weights were not compared")
    engineer = say(place, predicate(place, (modules,), person="sam", role="evaluator"), ENGINEER)
    assert [answers.person for answers in describe_record(place.registry, "sums").waiting] == ["alex", "sam"]
    assert complete_answers(place.registry, place.version) is not None
    assert place.record.correction.answers == (officer, engineer)
    assert str(place.record.correction.reason) == "answers of alex, as officer; sam, as evaluator"
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    assert place.record.change.modules.evidence == (engineer,)
    shown = describe_record(place.registry, "sums")
    assert (shown.waiting, shown.overtaken) == ((), ())
    place.holds()


def test_of_two_who_answer_one_question_the_first_holds_and_the_second_is_not_said_to_wait(place: Place) -> None:
    first = say(place, predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),)), OFFICER)
    both = (
        Answer(path=OFFICERS, area="legal", value="no"),
        Answer(path="use.foreseeable_misuse", area="modifier", value="as a calculator"),
    )
    say(place, predicate(place, both, nonce="10"), OFFICER)
    shown = describe_record(place.registry, "sums")
    assert ([len(answers.paths) for answers in shown.waiting], len(shown.overtaken)) == ([1], 1)
    assert complete_answers(place.registry, place.version) is not None
    assert place.record.correction.answers == (first,)
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    assert complete_answers(place.registry, place.version) is None
    shown = describe_record(place.registry, "sums")
    assert (shown.waiting, len(shown.overtaken)) == ((), 1)
    assert any("no record takes them up" in text for _, text in shown.lines())
    place.holds()


def test_answers_that_cannot_stand_beside_those_before_them_are_left_out(place: Place) -> None:
    begun = Answer(path="data[0].acquired_from", area="data owner", value="2026-05-01")
    ended = Answer(path="data[0].acquired_to", area="data owner", value="2026-04-01")
    first = say(place, predicate(place, (begun,)), OFFICER)
    say(place, predicate(place, (ended,), nonce="10"), OFFICER)
    assert complete_answers(place.registry, place.version) is not None
    assert place.record.correction.answers == (first,)
    place.holds()


def test_answers_that_wait_are_not_stranded_by_the_next_form(place: Place) -> None:
    waiting = say(place, predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),)), OFFICER)
    decided = decide(place.registry, place.version, place.form({ENGINEERS: {"unknown": "not compared"}}), ENGINEER)
    assert place.record.correction.answers == (waiting, decided.statement)
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    place.holds()


def test_a_form_does_not_contradict_answers_that_wait(place: Place) -> None:
    say(place, predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),)), OFFICER)
    with pytest.raises(AnswerRefused, match="alex has answered it"):
        decide(place.registry, place.version, place.form({OFFICERS: "no"}), OFFICER)


def test_a_problem_is_told_with_the_line_of_its_own_field_and_not_of_one_that_begins_alike(place: Place) -> None:
    steps = [{"tool": "dedup"}, {"tool": "a\u202eb"}]
    file = place.form({"product.licence": "MIT", "product.licence_type": "tbd"})
    file.write_text(
        file.read_text() + f"  data[0].curation_steps:\n    - {steps[0]}\n    - tool: {json.dumps(steps[1]['tool'])}\n"
    )
    text = file.read_text().replace("  data[0].curation_steps:\n\n", "", 1)
    file.write_text(text)
    lines = text.splitlines()
    with pytest.raises(SeveralProblems) as refused:
        decide(place.registry, place.version, file, OFFICER)
    told = {problem.path: problem.line for problem in refused.value.problems if isinstance(problem, AnswerRefused)}
    assert told == {
        "product.licence_type": 1 + lines.index('  product.licence_type: "tbd"'),
        "data[0].curation_steps[1].tool": len(lines),
    }


@pytest.mark.parametrize(
    ("path", "written", "says"),
    [
        (MISUSE, '"a\\u001b[2Jb"', "U+001B"),
        (MISUSE, '"a\\u202eb"', "U+202E"),
        (MISUSE, "a" * 200_000, "characters"),
        (MISUSE, ".nan", "not a finite number"),
        (PLACED, "tomorrow", "not a day of the calendar"),
        (PLACED, "2026-13-45", "not a day of the calendar"),
    ],
    ids=["ESC", "bidi", "200 kB", "NaN", "tomorrow", "month 13"],
)
def test_a_hostile_answer_is_refused_with_its_line(place: Place, path: str, written: str, says: str) -> None:
    file = place.form({})
    kept = [line for line in file.read_text("utf-8").splitlines() if line != f"  {path}:"]
    file.write_text("\n".join([*kept, f"  {path}: {written}"]) + "\n", "utf-8")
    before = place.logged()
    with pytest.raises(KnownError) as refused:
        decide(place.registry, place.version, file, OFFICER)
    assert refused.value.exit_code == 2
    assert f"line {len(kept) + 1}" in f"{refused.value.what}; {refused.value.why}"
    assert says in refused.value.why
    assert not {"\x1b", "\u202e"} & set(f"{refused.value.what}{refused.value.why}{refused.value.fix}")
    assert place.logged() == before


@pytest.mark.parametrize("spoilt", [lambda text: text + f"  {MISUSE}: twice\n", lambda text: text + "#" * 10_000_000])
def test_a_form_with_a_key_twice_or_of_10_mb_is_refused_and_nothing_is_logged(place: Place, spoilt: Any) -> None:
    file = place.form({MISUSE: "once"})
    file.write_text(spoilt(file.read_text("utf-8")), "utf-8")
    before = place.logged()
    with pytest.raises(KnownError) as refused:
        decide(place.registry, place.version, file, OFFICER)
    assert refused.value.exit_code == 2
    assert place.logged() == before


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "=cmd()|'/c calc'!A0", "![x](http://b)\n# heading"])
def test_what_would_run_or_steer_elsewhere_is_inert_where_an_answer_is_printed(place: Place, text: str) -> None:
    decide(place.registry, place.version, place.form({MISUSE: text}), OFFICER)
    assert place.record.use.foreseeable_misuse.value == text
    page = make_report(place.registry, place.version).decode()
    assert "<script>alert" not in page
    pulled = pull_version(place.registry, place.version, place.folder / "pulled")
    assert pulled.verdict == "verified"
    card = (place.folder / "pulled" / "README.md").read_text("utf-8")
    assert "<script>" not in card and "![x]" not in card
    place.holds()


# --- attacks: whoever has the home's key, but not that of a person who may answer ---


def force(place: Place, kind: Any, said: dict[str, Any], signer: PrivateKey) -> Digest:
    """Log a statement as a program would that asks nothing, and sign a checkpoint over it as an earlier release would."""
    digest = log_unasked(place, kind, said, signer)
    place.unsigned = tuple(entry.why for entry in sign_log(place.registry).refused)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_entries.NewEntries, "_require_answered", lambda *_: None)
        publish_checkpoint(place.registry)
    return digest


def forge_record(place: Place, signed: SignedAnswers, **values: Value) -> None:
    stated = taking_up(place, signed)
    identity = stated.record.identity.revised(**values)
    forged = stated.revised(record=stated.record.revised(identity=identity))
    force(place, "modification", forged.to_json(), place.registry.trainer_key)


def is_refused(place: Place, why: str) -> None:
    """The log key does not sign over the forged record. Where it did, it decides nothing, `verify` and `log check` name it."""
    assert any(why in text for text in place.unsigned)
    assert place.record.record_id != "forged"
    assert any(why in text for text in describe_record(place.registry, "sums").set_aside)
    outcome = verify_version(place.registry, place.version)
    assert (outcome.verdict, outcome.exit_code) == ("broken", 6)
    assert any(why in line for check in outcome.checks for line in check.detail)
    assert any(why in found.text for found in check_log(place.registry).contradictions)


def test_a_thief_states_a_value_that_nobody_answered(place: Place) -> None:
    said = predicate(place, (Answer(path="use.foreseeable_misuse", area="modifier", value="as a calculator"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    made_up = Value(value="yes", source="declared", evidence=(signed.statement,), asserted_by="alex", asserted_at=NOW)
    forge_record(place, signed, name_or_trademark_on_result=made_up)
    is_refused(place, f"{OFFICERS}: its inputs give nothing, and the record says yes")


def test_a_thief_records_another_value_than_was_answered(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    other = Value(value="no", source="declared", evidence=(signed.statement,), asserted_by="alex", asserted_at=NOW)
    forge_record(place, signed, name_or_trademark_on_result=other)
    is_refused(place, f"{OFFICERS}: its inputs give yes, and the record says no")


def test_a_thief_dates_an_answer_after_it_was_logged(place: Place) -> None:
    """An answer about the present state would pass for one that was given when that was another."""
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, "2099-01-01T00:00:00Z")
    forge_record(place, signed)
    is_refused(
        place,
        f"{OFFICERS}: its inputs give {{'asserted_at': '{NOW}'}}, and the record says {{'asserted_at': '2099-01-01T00:00:00Z'}}",
    )


def test_no_record_is_appended_that_dates_an_answer_after_it_was_logged(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, "2099-01-01T00:00:00Z")
    with pytest.raises(RecordNotAnswered, match="2099-01-01"):
        append_statement(
            place.registry,
            subject=place.version.manifest_digest,
            kind="modification",
            predicate=taking_up(place, signed).to_json(),
            signer=place.registry.trainer_key,
        )


def test_answers_of_a_key_without_the_role_are_refused(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    with pytest.raises(KnownError):
        say(place, said, ENGINEER)
    signed = SignedAnswers(force(place, "answers", said.to_json(), ENGINEER), said, NOW)
    assert any("which is not the role of its key" in text for text in place.unsigned)
    forge_record(place, signed)
    assert place.record.record_id != "forged"
    assert verify_version(place.registry, place.version).exit_code == 6
    assert any("role" in found.text for found in check_log(place.registry).contradictions)


def test_a_key_does_not_answer_in_another_persons_name(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),), person="the general counsel")
    with pytest.raises(KnownError):
        say(place, said, OFFICER)
    signed = SignedAnswers(force(place, "answers", said.to_json(), OFFICER), said, NOW)
    assert any("in the name of the general counsel" in text for text in place.unsigned)
    forge_record(place, signed)
    assert place.record.record_id != "forged"
    assert verify_version(place.registry, place.version).exit_code == 6
    assert any("in the name of the general counsel" in found.text for found in check_log(place.registry).contradictions)


@pytest.mark.parametrize("source", ["measured", "derived"])
def test_a_thief_contradicts_an_answer_by_a_value_that_he_calls_the_tools(place: Place, source: str) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    made_up = Value.from_json({"value": "no", "source": source, "method": "by this tool"})
    forge_record(place, signed, name_or_trademark_on_result=made_up)
    is_refused(place, f"{OFFICERS}: its inputs give yes, and the record says no")


@pytest.mark.parametrize("source", ["measured", "derived"])
def test_a_signed_answer_is_not_replaced_by_a_value_that_a_thief_calls_the_tools(place: Place, source: str) -> None:
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    said = predicate(place, (Answer(path="use.foreseeable_misuse", area="modifier", value="as a calculator"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    made_up = Value.from_json({"value": "no", "source": source, "method": "by this tool"})
    forge_record(place, signed, name_or_trademark_on_result=made_up)
    is_refused(place, f"{OFFICERS}: its inputs give yes, and the record says no")


def test_the_log_key_signs_over_no_record_that_contradicts_an_answer_and_the_log_goes_on_without_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are pending, as where the log key is elsewhere: the officer's answers stay, what the thief made of them goes."""
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    covered = covered_size(place.registry)
    answers = log_unasked(place, "answers", said.to_json(), OFFICER)
    stated = taking_up(place, SignedAnswers(answers, said, NOW))
    other = Value(value="no", source="declared", evidence=(answers,), asserted_by="alex", asserted_at=NOW)
    identity = stated.record.identity.revised(name_or_trademark_on_result=other)
    forged = stated.revised(record=stated.record.revised(identity=identity))
    log_unasked(place, "modification", forged.to_json(), place.registry.trainer_key)
    code, out, err = command(place, capsys, "log", "sign")
    assert (code, covered_size(place.registry)) == (6, covered)
    assert f"refused  entry {covered + 1}, modification by lab-1" in out
    assert f"{OFFICERS}: its inputs give yes, and the record says no" in " ".join(out.split())
    assert f"registry log reject {covered + 1} --reason TEXT" in err
    assert reject_entries(place.registry, (covered + 1,), reason="forged").dependent == ()
    assert sign_log(place.registry).refused == ()
    assert complete_answers(place.registry, place.version) is not None
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    place.holds()


def test_a_record_goes_with_the_pending_answers_that_it_takes_up(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    covered = covered_size(place.registry)
    answers = log_unasked(place, "answers", said.to_json(), OFFICER)
    stated = taking_up(place, SignedAnswers(answers, said, NOW))
    log_unasked(place, "modification", stated.to_json(), place.registry.trainer_key)
    assert reject_entries(place.registry, (covered,), reason="given under duress").dependent == (covered + 1,)
    assert sign_log(place.registry).refused == ()
    place.holds()


def test_an_answer_in_an_area_that_is_not_the_fields_is_refused(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="engineer", value="yes"),), role="evaluator", person="sam")
    with pytest.raises(KnownError):
        say(place, said, ENGINEER)
    signed = SignedAnswers(force(place, "answers", said.to_json(), ENGINEER), said, NOW)
    forge_record(place, signed)
    is_refused(place, f"{OFFICERS}: answered for engineer, and it is not theirs to answer")


def test_answers_to_another_versions_record_are_not_replayed(place: Place) -> None:
    other = Place(place.folder, place.registry, version_of(place.registry, "other"))
    said = predicate(other, (Answer(path=OFFICERS, area="legal", value="yes"),))
    signed = SignedAnswers(force(place, "answers", said.to_json(), OFFICER), said, NOW)
    assert complete_answers(place.registry, place.version) is None
    forge_record(place, signed)
    is_refused(place, "are to the record run of other, which is not the one that is superseded")


def test_a_record_that_names_answers_which_nobody_gave_is_refused(place: Place) -> None:
    said = predicate(place, (Answer(path=OFFICERS, area="legal", value="yes"),))
    forge_record(place, SignedAnswers(Digest.of(b"nobody's"), said, NOW))
    is_refused(place, "nobody whose role may signed the answers")


def test_a_signed_answer_does_not_vanish_from_the_next_record(place: Place) -> None:
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    said = predicate(place, (Answer(path="use.foreseeable_misuse", area="modifier", value="as a calculator"),))
    signed = SignedAnswers(say(place, said, OFFICER), said, NOW)
    plain = Value(value="no", source="declared", asserted_by="mallory", asserted_at=NOW)
    forge_record(place, signed, name_or_trademark_on_result=plain)
    is_refused(place, f"{OFFICERS}: its inputs give yes, and the record says no")


def test_a_folder_with_the_record_and_without_the_answers_is_not_verified(place: Place) -> None:
    decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    pulled = place.folder / "pulled"
    pull_version(place.registry, place.version, pulled)
    file = pulled / "evidence/statements.intoto.jsonl"
    said = records_of(place.registry, place.version).statements
    answers = next(json.loads(stored.envelope) for stored in said if stored.kind == "answers")
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(line for line in lines if json.loads(line) != answers))
    outcome = verify_folder(pulled, trust=place.registry.trust, now=NOW)
    assert (outcome.verdict, outcome.exit_code) == ("unverified", 5)


# --- through the command line ---


def command(place: Place, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run([*words, "--home", str(place.registry.folder)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_two_people_answer_one_form_by_the_command_and_all_three_records_are_printed(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.folder / "gaps.yml"
    OFFICER.save(place.folder / "officer.key", None)
    ENGINEER.save(place.folder / "engineer.key", None)
    code, out, _ = command(place, capsys, "decide", "sums", "--form", str(file), "--all")
    assert code == 0 and "open questions (modifier " in out
    wrong = fill_in(file, {OFFICERS: "maybe", ENGINEERS: {"unknown": "the weights were not compared"}})
    line = next(number for number, text in enumerate(wrong.read_text().splitlines(), 1) if OFFICERS in text)
    signed = ("decide", "sums", "--form", str(file), "--key", str(place.folder / "officer.key"))
    code, out, err = command(place, capsys, *signed)
    assert (code, out) == (2, "")
    assert f"line {line} of gaps.yml" in err and "answer yes or no" in err
    # what is for another is not looked at: its author has not signed it yet
    code, out, err = command(place, capsys, *signed[:-1], str(place.folder / "engineer.key"))
    assert code == 0 and "answers  1 by sam as evaluator, signed" in out, err
    assert "left     1 for legal: a key of the role officer or approver signs them" in out
    assert f"registry decide sums:1 --form {file} --key" in err
    file.write_text(file.read_text().replace('"maybe"', '"yes"'))
    code, out, _ = command(place, capsys, *signed)
    assert code == 0 and "answers  1 by alex as officer, signed" in out and "left " not in out
    code, out, _ = command(place, capsys, "record", "sums", "--history")
    records = [text.split()[1] for text in out.splitlines() if text.startswith("record ")]
    assert code == 0 and len(records) == 3 and records[0] == "run"
    change = next(text for text in out.splitlines() if text.startswith(f"{OFFICERS}  "))
    assert "  unknown: nobody has answered it → yes" in change
    assert f"[declared, answered by alex (officer, key {OFFICER.public.key_id[:12]}…) at " in change
    assert "answers      1 by sam (evaluator, key " in out
    code, _, err = command(place, capsys, *signed)
    assert code == 7 and "gaps.yml holds no answer that is not recorded yet" in err
    file.write_text(file.read_text().replace(f'{OFFICERS}: "yes"', f'{OFFICERS}: "no"'))
    code, _, err = command(place, capsys, *signed)
    assert code == 7 and "has moved on since gaps.yml was written" in err
    assert command(place, capsys, "verify", "sums")[0] == 0
    assert command(place, capsys, "log", "check")[0] == 0


def test_a_form_asks_what_decides_and_is_written_anew_where_an_answer_makes_more_of_it(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the homes of these tests are copies of one registry: what this user saw of another copy is not of this one
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))
    file, every = place.folder / "gaps.yml", place.folder / "every.yml"
    key = place.folder / "officer.key"
    OFFICER.save(key, None)
    written = {}
    for form, option in ((file, ()), (every, ("--all",))):
        code, out, _ = command(place, capsys, "decide", "sums", "--form", str(form), *option, "-o", "json")
        assert code == 0
        written[form] = json.loads(out)
    asked = sum(written[file]["questions"].values())
    assert (
        asked + written[file]["besides"] == sum(written[every]["questions"].values()) and written[file]["besides"] > 10
    )
    assert "gpai.placed_on_eu_market:" in file.read_text() and OFFICERS not in file.read_text()
    answers = {
        "high_risk.classification_before": "annex_iii_4",
        "high_risk.classification_after": "annex_iii_4",
    }
    fill_in(file, answers | {"modifier.role_claimed": "downstream_modifier"})
    signed = ("decide", "sums", "--form", str(file), "--key", str(key))
    code, out, _ = command(place, capsys, *signed)
    assert code == 0 and "gaps.yml is written anew" in out
    # of a high-risk system it matters whose name stands on it, and what is filled in for others is kept
    assert f"{OFFICERS}:" in file.read_text() and "decides: the status of the system" in file.read_text()
    assert [path.name for path in place.folder.glob("gaps-*.yml")]
    assert "annex_iii_4" in next(place.folder.glob("gaps-*.yml")).read_text()
    assert place.record.high_risk.classification_after.value == "annex_iii_4"
    # a form of one owner stays theirs: what others owe is none of its business
    own = place.folder / "data.yml"
    assert command(place, capsys, "decide", "sums", "--form", str(own), "--for", "data-owner")[0] == 0
    assert "data[0].licence:\n" in own.read_text()
    fill_in(own, {"data[0].licence": "MIT"})
    code, out, _ = command(place, capsys, "decide", "sums", "--form", str(own), "--key", str(key))
    assert code == 0 and "written anew" not in out and "for: data owner" in own.read_text()
    place.holds()


STATED = {
    "gpai.placed_on_eu_market": "no",
    "high_risk.classification_before": "no_system",
    "high_risk.classification_after": "no_system",
    "modifier.role_claimed": "downstream_modifier",
    "base[0].is_gpai": "no",
    "base[0].has_systemic_risk": "no",
    "gpai.estimate_attempt": "asked its provider in November",
}


def test_answers_round_by_round_leave_nothing_that_decides_and_the_report_says_go_on(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))
    policy, rules = read_gate_policy("regulated"), field_rules().by_path()
    rounds = 0
    while count_deciding(place.registry, place.version, policy):
        file = place.folder / f"round-{rounds}.yml"
        write_form(place.registry, place.version, file, policy=policy)
        asked = re.findall(r"^  ([a-z_0-9.\[\]]+):$", file.read_text(), re.MULTILINE)
        answers = {path: STATED.get(path, _answers_to_try(rules[FieldPath.parse(path).rule])[0]) for path in asked}
        decide(place.registry, place.version, fill_in(file, answers), OFFICER)
        rounds += 1
    assert rounds == 1, "of what stays off the market and in no system one form asks all"
    last = write_form(place.registry, place.version, place.folder / "last.yml", policy=policy)
    assert not last.questions and last.besides > 10, "what decides nothing stays open"
    _, _, err = command(place, capsys, "report", "sums", "--out", str(place.folder / "page.html"))
    assert "next: registry promote sums:1 champion" in err
    place.holds()


def test_what_others_typed_and_did_not_sign_is_read_from_a_new_form_as_they_typed_it(place: Place) -> None:
    file = place.folder / "gaps.yml"
    typed = {
        "use.intended": "für Schüler 😀 “zum Üben”: no: yes #1",
        ENGINEERS: {"unknown": "two\nlines\u2028and\x85three"},
        "data[0].languages": ["de", "- nl"],
    }
    write_form(place.registry, place.version, file, policy=read_gate_policy("regulated"), kept=typed)
    assert read_form(file).answers == typed


def test_without_a_key_the_one_whose_role_may_answers_and_else_it_is_said_who_must(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # the homes of these tests are copies of one registry: what this user saw of another copy is not of this one
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))
    file = place.form({OFFICERS: "yes"})
    before = place.logged()
    code, out, err = command(place, capsys, "decide", "sums", "--form", str(file))
    assert (code, out, place.logged()) == (2, "", before), err
    assert "what it answers is owed by legal; a key of the role officer or approver answers" in err
    assert "registry keys create officer --person NAME --out FOLDER" in err
    assert "registry trust add FOLDER/officer.pub --person NAME --role officer" in err
    private, public = key_files(place.registry.files.keys, "officer")
    OFFICER.save(private, None)
    public.write_bytes(OFFICER.public.pem)
    code, out, _ = command(place, capsys, "decide", "sums", "--form", str(file))
    assert code == 0 and "answers  1 by alex as officer, signed" in out
    file = place.form({ENGINEERS: {"unknown": "the weights were not compared"}}, "more.yml")
    code, out, err = command(place, capsys, "decide", "sums", "--form", str(file))
    assert (code, out) == (2, "") and "keys of alex and lab-1 may" in err
