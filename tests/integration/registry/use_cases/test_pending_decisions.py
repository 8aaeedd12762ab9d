"""Decisions of a person whose home has no log key: they decide nothing until the holder of the log key signs over them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.decide import RecordMovedOn, decide
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.show_record import describe_record
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.use_cases.take_up_answers import complete_answers
from peft_registry.schemas.answers import Answer
from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.decisions import ENGINEER, ENGINEERS, OFFICER, OFFICERS, Place, fill, predicate, say, version_of
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import NOW, add_a_base
from tests.builders.products import FACTS, a_product

MISUSE = "use.foreseeable_misuse"


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    """A home whose log key is elsewhere."""
    registry = made.copy(tmp_path / "home").opened(now=NOW)
    key = registry.files.key("log").private
    key.rename(tmp_path / key.name)
    yield Place(tmp_path, registry, version_of(registry, "sums"))
    registry.close()


def log_key_comes(place: Place) -> None:
    """Whoever holds the log key signs over what is pending."""
    key = place.registry.files.key("log").private
    (place.folder / key.name).rename(key)
    vars(place.registry).pop("log_key", None)  # it was looked for before
    assert sign_log(place.registry).refused == ()


def test_a_decision_that_no_checkpoint_covers_decides_nothing_and_stands_once_the_log_is_signed(place: Place) -> None:
    first = place.record
    decided = decide(place.registry, place.version, place.form({MISUSE: "as a calculator"}), OFFICER)
    assert place.record == first
    records = records_of(place.registry, place.version)
    assert [link.record.record_id for link in records.history] == [first.record_id]
    assert [link.record.record_id for link in records.pending] == [decided.record_id]
    shown, version = describe_record(place.registry, "sums"), describe_version(place.registry, "sums")
    assert shown.record == version.predicates["modification"]["record"] == first.to_json()
    for (text,) in (shown.set_aside, version.set_aside):
        assert ": pending: no checkpoint covers entry" in text and "registry log sign" in text
    assert ([answers.person for answers in shown.waiting], shown.overtaken) == (["alex"], ())
    page = make_report(place.registry, place.version).decode()
    assert "as a calculator" not in page and "and the record that takes it up is pending" in page

    log_key_comes(place)
    assert place.record.record_id == decided.record_id
    shown = describe_record(place.registry, "sums")
    assert (shown.set_aside, shown.waiting, shown.record) == ((), (), place.record.to_json())
    assert "as a calculator" in make_report(place.registry, place.version).decode()
    # MLflow is to show the record that stands now; the other version has equal bytes
    place.holds()


def test_a_second_decision_builds_on_the_pending_one_and_neither_is_lost(place: Place) -> None:
    first = place.record
    old = place.form({OFFICERS: "no"}, "old.yml")
    officer = decide(place.registry, place.version, place.form({OFFICERS: "yes"}), OFFICER)
    with pytest.raises(RecordMovedOn):
        decide(place.registry, place.version, old, OFFICER)
    form = place.form({ENGINEERS: {"unknown": "the weights were not compared"}})
    assert OFFICERS not in form.read_text("utf-8")
    engineer = decide(place.registry, place.version, form, ENGINEER)
    say(place, predicate(place, (Answer(path=MISUSE, area="modifier", value="as a calculator"),)), OFFICER)
    completed = complete_answers(place.registry, place.version)
    base = add_a_base(place.registry, place.folder / "base")
    facts = {"asserted_by": FACTS["asserted_by"], "use": {"intended": "sums and products"}}
    again = a_product(place.registry, place.folder / "again", base, run_id="again", facts=facts)
    assert register_product(place.registry, again).version == place.version
    assert place.record == first

    log_key_comes(place)
    history = records_of(place.registry, place.version).history
    assert [link.record.record_id for link in history[:3]] == [
        first.record_id,
        officer.record_id,
        engineer.record_id,
    ]
    assert completed is not None and history[3].record.record_id == completed.record.record_id
    assert len(history) == 5
    assert place.record.identity.name_or_trademark_on_result.value == "yes"
    assert place.record.use.foreseeable_misuse.value == "as a calculator"
    assert place.record.use.intended.value == "sums and products"
    place.holds()


def test_a_version_whose_registration_is_pending_keeps_the_record_that_it_was_registered_with(place: Place) -> None:
    base = add_a_base(place.registry, place.folder / "base")
    product = a_product(place.registry, place.folder / "new", base, name="new", facts=FACTS, value=0.75)
    version = register_product(place.registry, product).version
    new = Place(place.folder, place.registry, version)
    first = new.record
    assert describe_record(place.registry, version.label).set_aside == ()
    decided = decide(place.registry, version, new.form({MISUSE: "as a calculator"}), OFFICER)
    assert new.record == first
    log_key_comes(new)
    assert new.record.record_id == decided.record_id
    new.holds()


def test_an_evaluation_that_no_checkpoint_covers_is_none_of_the_version_until_the_log_is_signed(place: Place) -> None:
    before = records_of(place.registry, place.version)
    assert before.evaluation is not None
    evaluation, items = a_recorded_evaluation()
    better = evaluation.revised(
        datasets=tuple(used.revised(name="flattering") for used in evaluation.datasets),
        results=tuple(result.revised(dataset="flattering") for result in evaluation.results),
    )
    signed = append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="bias-evaluation",
        predicate=better.to_json(),
        signer=place.registry.trainer_key,
        evidence=(items,),
    )
    pending = records_of(place.registry, place.version)
    assert (pending.evaluation, pending.evaluations) == (before.evaluation, before.evaluations)
    assert [stored.digest for stored in pending.pending_evaluations] == [signed.digest]
    version = describe_version(place.registry, "sums")
    assert version.predicates["bias-evaluation"] == before.evaluation.to_json()
    assert [shown.digest for shown in version.statements if shown.pending] == [signed.digest]
    page = make_report(place.registry, place.version).decode()
    assert "flattering" not in page and "none of its figures counts yet" in page

    log_key_comes(place)
    standing = records_of(place.registry, place.version)
    assert (standing.evaluation, standing.pending_evaluations) == (better, ())
    assert "flattering" in make_report(place.registry, place.version).decode()
