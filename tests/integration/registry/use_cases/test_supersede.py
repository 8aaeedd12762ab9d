"""A record that supersedes another of its version: whole, signed by the home's key, and bound to the one before it by digest."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from peft_registry.registry.compliance.derivation import facts_not_taken_up, facts_taken_up
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.record_histories import RecordUnreadable
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import NoRecord, records_of
from peft_registry.registry.records.version_statements import statements_of_version
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.announce_edition import EditionNotAnnounced
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.statements import RecordNotAnswered, append_statement
from peft_registry.registry.use_cases.supersede import (
    Superseded,
    next_record,
    observations_of_home,
    supersede,
    supersede_with_evaluations,
)
from peft_registry.registry.use_cases.take_up_answers import complete_answers
from peft_registry.registry.use_cases.upgrade import upgrade_home
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    UNTIL_SECOND_FORM,
    ModificationPredicate,
    ModificationRecord,
    ModificationRecordV1,
    RecordInput,
    RecordSections,
)
from peft_registry.schemas.progress import Said, Warned
from peft_registry.schemas.statement import MODIFICATION_V1, statement_about
from peft_registry.schemas.values import declared, measured
from peft_registry.schemas.version import Version
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import NOW, a_home, add_a_base, an_artifact, reopened
from tests.builders.products import FACTS, a_product, log_unasked
from tests.builders.records import a_run_record
from tests.compat.kept_home import THEN, copy_kept, stopped_clock


@dataclass
class Place:
    folder: Path
    registry: Registry
    base: AddedBase
    version: Version

    @property
    def record(self) -> ModificationRecord:
        record = records_of(self.registry, self.version).modification
        assert isinstance(record, ModificationRecord)
        return record

    @property
    def history(self) -> tuple[str, ...]:
        return tuple(link.record.record_id for link in records_of(self.registry, self.version).history)

    def repeat(self, facts: dict[str, Any] | None, *, run_id: str = "run-2") -> list[Any]:
        """An equal result with these facts, under the same name; returns what was told."""
        heard: list[Any] = []
        product = a_product(self.registry, self.folder / "again", self.base, run_id=run_id, facts=facts)
        assert register_product(self.registry, product, observe=heard.append).version == self.version
        return heard


STEWARD = FACTS["asserted_by"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A home with a base and a version, closed: each test has a copy of it."""
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base")
        product = a_product(registry, folder / "first", base, facts=FACTS)
        return Place(folder, registry, base, register_product(registry, product).version)


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Iterator[Place]:
    with closing(reopened(shutil.copytree(made.folder / "home", tmp_path / "home"))) as registry:
        yield replace(made, folder=tmp_path, registry=registry)


def facts_of_use(text: str) -> dict[str, Any]:
    """A facts file that says this of the intended use."""
    return {"asserted_by": STEWARD, "use": {"intended": text}}


def state_use(place: Place, text: str) -> Superseded:
    """Have a record say this of the intended use, and return it."""
    made = supersede(place.registry, place.version, facts=facts_of_use(text))
    assert made is not None
    return made


def test_a_copy_has_the_card_of_the_record_and_the_one_before_passes_no_more(place: Place) -> None:
    pull_version(place.registry, place.version, place.folder / "before")
    state_use(place, "to answer letters")
    pull_version(place.registry, place.version, place.folder / "after")
    before, after = ((place.folder / name / "README.md").read_text("utf-8") for name in ("before", "after"))
    assert "- Intended: to answer letters" in after
    assert "to answer letters" not in before
    outcomes = {}
    for name, text in (("before", before), ("after", after), ("after", before)):
        (place.folder / name / "README.md").write_text(text, "utf-8")
        outcomes[name, text] = verify_folder(place.folder / name, trust=place.registry.trust, now=NOW)
    # what was pulled before knows of no other; what was pulled since carries the statement that took its place
    assert [outcome.exit_code for outcome in outcomes.values()] == [0, 0, 6]
    assert "is not the newest card of this version" in outcomes["after", before].failed_text


def test_an_upgrade_signs_the_card_of_a_record_that_an_earlier_release_superseded_without_one(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as release:
        release.setattr("peft_registry.registry.use_cases.supersede.next_card", lambda *_: None)
        state_use(place, "to answer letters")
    place.registry.close()
    done = upgrade_home(place.registry.folder)
    assert (done.cards, done.changed) == (1, True)
    with closing(reopened(place.registry.folder)) as registry:
        assert pull_version(registry, place.version, place.folder / "after").verdict == "verified"
    assert "- Intended: to answer letters" in (place.folder / "after" / "README.md").read_text("utf-8")
    again = upgrade_home(place.registry.folder)
    assert (again.cards, again.changed) == (0, False)


def test_a_reader_without_the_homes_keys_pulls_the_card_of_the_newest_record(place: Place) -> None:
    state_use(place, "to answer letters")
    shutil.rmtree(place.registry.folder / "keys")
    with closing(reopened(place.registry.folder)) as reader:
        assert pull_version(reader, place.version, place.folder / "read").verdict == "verified"
    assert "- Intended: to answer letters" in (place.folder / "read" / "README.md").read_text("utf-8")


def next_of_use(place: Place, text: str) -> ModificationPredicate:
    """The same record, which nobody has signed; what was observed for it is in the log."""
    seen = observations_of_home(place.registry, place.record, place.version, facts_of_use(text))
    assert seen is not None
    signed = append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="observations",
        predicate=seen.to_json(),
        signer=place.registry.trainer_key,
    )
    following = next_record(place.registry, place.version, together=(signed,), at=NOW)
    assert following is not None
    return following.stated


def log_record(place: Place, stated: ModificationPredicate) -> None:
    append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="modification",
        predicate=stated.to_json(),
        signer=place.registry.trainer_key,
    )


def test_facts_of_a_repeated_run_are_recorded_by_a_record_that_supersedes(place: Place) -> None:
    first = place.record
    heard = place.repeat(
        {"asserted_by": STEWARD, "use": {"intended": "sums and products"}, "data": {"*": {"domain": "school"}}}
    )
    record = place.record
    assert record.use.intended.value == "sums and products"
    assert record.use.intended.asserted_by == STEWARD
    assert record.use.out_of_scope == first.use.out_of_scope
    assert record.data[0].domain.value == "school"
    assert (record.supersedes, record.correction.supersedes_digest) == ("run-1", first.canonical_digest())
    assert str(record.correction.reason) == "facts declared on a repeated run"
    assert place.history == ("run-1", record.record_id)
    assert [event.label for event in heard if isinstance(event, Said)] == ["record"]
    assert not [event for event in heard if isinstance(event, Warned)]


def test_a_fact_does_not_replace_what_another_person_declared(place: Place) -> None:
    """Who runs a training again answers what nobody answered; what others said stands, and is named."""
    first = place.record
    heard = place.repeat(
        {"asserted_by": "sam", "use": {"intended": "anything at all"}, "data": {"*": {"domain": "school"}}}
    )
    assert place.record.use.intended == first.use.intended
    assert place.record.data[0].domain.asserted_by == "sam"
    (warned,) = (event for event in heard if isinstance(event, Warned))
    assert warned.reference == "facts-not-recorded"
    assert "somebody else declared" in warned.text
    assert warned.text.endswith(": use.intended")


def test_what_supersedes_is_shown_verified_and_pulled(place: Place) -> None:
    place.repeat({"asserted_by": STEWARD, "use": {"intended": "sums and products"}})
    assert verify_version(place.registry, place.version).verdict == "verified"
    assert pull_version(place.registry, place.version, place.folder / "pulled").verdict == "verified"
    assert "sums and products" in make_report(place.registry, place.version).decode()
    shown = describe_version(place.registry, place.version.label)
    assert shown.predicates["modification"]["record"] == place.record.to_json()
    assert shown.set_aside == ()
    report = check_log(place.registry)
    assert (report.contradictions, report.unchecked) == ((), ())


@pytest.mark.parametrize("facts", [None, FACTS], ids=["no facts", "the same facts"])
def test_a_repeated_run_that_states_nothing_new_supersedes_nothing(place: Place, facts: dict[str, Any] | None) -> None:
    before = describe_version(place.registry, place.version.label)
    assert place.repeat(facts) == []
    assert describe_version(place.registry, place.version.label) == before


def test_a_fact_does_not_replace_what_somebody_answered_and_signed(place: Place) -> None:
    said = AnswersPredicate(
        record_id="run-1",
        record=place.record.canonical_digest(),
        form=Digest.of(b"the form"),
        answers=(Answer(path="method.assumptions", area="engineer", value="as the engineer signed"),),
        person="lab-1",
        role="trainer",
        nonce="00",
    )
    append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="answers",
        predicate=said.to_json(),
        signer=place.registry.trainer_key,
    )
    complete_answers(place.registry, place.version)
    answered, history = place.record.method.assumptions, place.history
    assert answered.value == "as the engineer signed"
    heard = place.repeat({"asserted_by": "sam", "method": {"assumptions": "something else"}})
    assert (place.history, place.record.method.assumptions) == (history, answered)
    warned = {event.reference: event.text for event in heard if isinstance(event, Warned)}
    assert warned["facts-not-recorded"].endswith(": method.assumptions")


def test_a_record_that_rests_on_answers_of_nobody_is_not_signed(place: Place) -> None:
    stated = next_of_use(place, "as nobody signed")
    nobody = RecordInput(kind="answers", digest=Digest.of(b"answers"), about=place.version.manifest_digest)
    with pytest.raises(RecordNotAnswered, match="nobody whose role may signed the answers"):
        log_record(place, stated.revised(inputs=(*stated.inputs, nobody)))
    answered = declared("as nobody signed", by="alex", at=NOW).revised(evidence=(nobody.digest,))
    use = stated.record.use.revised(intended=answered)
    with pytest.raises(RecordNotAnswered, match=r"use\.intended: its inputs give"):
        log_record(place, stated.revised(record=stated.record.revised(use=use)))
    assert place.history == ("run-1",)
    assert verify_version(place.registry, place.version).verdict == "verified"


def test_a_declared_value_is_new_only_where_nothing_was_measured(place: Place) -> None:
    recorded = place.record.revised(energy=place.record.energy.revised(pue=measured(1.2)))
    facts = {"asserted_by": "sam", "energy": {"pue": 1.1}, "risk": {"residual_risk": "low"}}
    assert list(facts_taken_up(recorded, facts, at=NOW)) == ["risk.residual_risk"]
    assert set(facts_not_taken_up(recorded, facts, at=NOW)) == {"energy.pue", "risk.residual_risk"}


def test_each_record_names_the_one_before_it_and_all_are_kept(place: Place) -> None:
    for number in (2, 3):
        state_use(place, f"use {number}")
    history = records_of(place.registry, place.version).history
    assert [link.record.use.intended.value for link in history] == ["sums of two numbers", "use 2", "use 3"]
    for before, after in pairwise(history):
        assert isinstance(after.record, ModificationRecord)
        assert after.record.correction.supersedes_digest == before.record.canonical_digest() == before.digest


def test_figures_that_pass_2_53_are_kept_through_every_record(place: Place) -> None:
    """JSON writes the double 10^18 as digits, which are read back as an integer."""
    flop = measured(1e18, "FLOP", method="a test")
    compute = a_run_record().compute.revised(param_update_flop=flop)
    product = a_product(place.registry, place.folder / "large", place.base, name="large", value=2.0, compute=compute)
    place.version = register_product(place.registry, product).version
    records = [state_use(place, text).record.record_id for text in ("after", "last")]
    assert place.history == ("run-1", *records)
    assert place.record.compute.param_update_flop == flop


def test_a_count_in_a_facts_file_that_passes_2_53_is_recorded_and_observed(place: Place) -> None:
    facts = {"asserted_by": STEWARD, "base": {"*": {"training_compute_flop": 6 * 10**24}}}
    product = a_product(place.registry, place.folder / "facts", place.base, name="facts", value=3.0, facts=facts)
    version = register_product(place.registry, product).version
    assert product.modification.base[0].training_compute_flop.value == 6e24
    assert verify_version(place.registry, version).verdict == "verified"
    repeated = facts | {"use": {"intended": "sums"}}
    assert supersede(place.registry, version, facts=repeated) is not None
    assert verify_version(place.registry, version).verdict == "verified"


def test_of_two_records_that_supersede_one_the_first_in_the_log_holds_and_the_other_is_named(place: Place) -> None:
    both = [next_of_use(place, text) for text in ("earlier", "later")]
    for stated in both:
        log_record(place, stated)
    earlier = both[0].record.record_id
    records = records_of(place.registry, place.version)
    assert place.history == ("run-1", earlier)
    assert [aside.reason for aside in records.set_aside] == [f"run-1 was superseded before, by {earlier}"]
    shown = describe_version(place.registry, place.version.label)
    assert f"run-1 was superseded before, by {earlier}" in shown.set_aside[0]
    assert ("set aside", shown.set_aside[0]) in shown.lines()
    third = state_use(place, "third")
    assert place.history == ("run-1", earlier, third.record.record_id)


def test_of_two_who_supersede_at_once_the_second_builds_on_the_record_of_the_first(place: Place) -> None:
    """Else one of the two records would decide nothing, and what it says would be lost."""
    waits = Event()

    def other() -> Superseded:
        waits.wait(timeout=30)
        own = reopened(place.registry.folder)
        try:
            made = supersede(own, place.version, facts={"asserted_by": "sam", "risk": {"residual_risk": "low"}})
            assert made is not None
            return made
        finally:
            own.close()

    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(other)
        first = supersede(place.registry, place.version, facts=facts_of_use("first"), check=waits.set)
        assert first is not None
        records = (first.record, second.result(timeout=60).record)
    assert place.history == ("run-1", *(record.record_id for record in records))
    assert (place.record.use.intended.value, place.record.risk.residual_risk.value) == ("first", "low")


def of_another_name(record: ModificationRecord) -> ModificationRecord:
    return record.revised(identity=record.identity.revised(result_name=measured("other")))


def of_another_artifact(record: ModificationRecord) -> ModificationRecord:
    other = measured(str(Digest.of(b"other")))
    return record.revised(identity=record.identity.revised(result_manifest=other))


def of_another_digest(record: ModificationRecord) -> ModificationRecord:
    return record.revised(correction=record.correction.revised(supersedes_digest=Digest.of(b"other")))


def of_another_id(record: ModificationRecord) -> ModificationRecord:
    return record.revised(supersedes="run-0")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (of_another_name, "it is about other, and not about sums"),
        (of_another_artifact, "it says that it is about another artifact"),
        (of_another_digest, "it names run-1 with the digest of another record"),
        (of_another_id, "it supersedes run-0, and not run-1"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_record_that_is_not_bound_to_the_one_before_it_is_set_aside_with_the_reason(
    place: Place, change: Any, reason: str
) -> None:
    stated = next_of_use(place, "forged")
    forged = stated.revised(record=change(stated.record))
    if change is not of_another_name:  # equal bytes may have other names
        with pytest.raises(RecordNotAnswered):
            log_record(place, forged)
    subject, signer = place.version.manifest_digest, place.registry.trainer_key
    log_unasked(place.registry, subject, "modification", forged.to_json(), signer=signer, at=NOW)
    assert place.history == ("run-1",)
    assert [aside.reason for aside in records_of(place.registry, place.version).set_aside] == [reason]


def test_a_record_by_a_key_whose_role_may_not_say_so_is_set_aside(place: Place) -> None:
    state_use(place, "mine")
    statements = records_of(place.registry, place.version).statements
    said = statements_of_version(place.version, statements, may_say=lambda _: False, covered=1000)
    assert [link.record.record_id for link in said.history] == ["run-1"]
    assert [aside.reason for aside in said.set_aside] == ["the role of the key that signed it may not say so"]


def test_a_first_record_that_is_none_is_refused_in_words(place: Place) -> None:
    statements = records_of(place.registry, place.version).statements
    broken = tuple(
        stored.revised(statement=statement_about(place.version.manifest_digest, "modification", {"record_id": 1}))
        if stored.kind == "modification"
        else stored
        for stored in statements
    )
    with pytest.raises(RecordUnreadable) as refused:
        statements_of_version(place.version, broken, may_say=lambda _: True, covered=1000)
    assert refused.value.exit_code == 6


def test_a_base_has_no_record_to_supersede(place: Place) -> None:
    with pytest.raises(NoRecord):
        supersede(place.registry, place.base.version, facts=facts_of_use("a base"))


def test_the_third_form_says_what_the_first_did_and_reads_back_to_its_own_bytes() -> None:
    record = ModificationRecordV1(record_id="r", record_created_at=NOW, kept_for_later={"a": 1})
    third = in_third_form(record)
    before, after = ({leaf.path: leaf.value for leaf in leaves(each)} for each in (record, third))
    assert before.keys() - after.keys() == UNTIL_SECOND_FORM & before.keys()
    assert {path: after[path] for path in before.keys() & after.keys()} == {
        path: value for path, value in before.items() if path in after
    }
    assert not any(after[path].known for path in after.keys() - before.keys())
    assert (third.record_id, third.to_json()["kept_for_later"]) == ("r", {"a": 1})
    assert ModificationRecord.from_json(third.to_json()).to_canonical() == third.to_canonical()


def test_a_kept_home_records_nothing_before_its_root_announces_the_edition(tmp_path: Path) -> None:
    """A trust file of form 1 lists what each key may sign, and no key of it may announce an edition."""
    home = copy_kept(tmp_path)
    root = home / "keys" / "root.key"
    away = root.rename(tmp_path / "root.key")
    with stopped_clock(THEN):
        assert upgrade_home(home).edition == "no-key"
    registry = open_home(home, clock=lambda: THEN)
    assert registry.trust.schema_version == "1"
    version = version_named(registry, "polite-replies:1")
    with pytest.raises(EditionNotAnnounced):
        supersede(registry, version, facts=facts_of_use("kept"))
    assert verify_version(registry, version).verdict == "verified"
    registry.close()
    away.rename(root)
    with stopped_clock(THEN):
        upgraded = upgrade_home(home)
    assert (upgraded.trust, upgraded.edition) == ("upgraded", "now")
    registry = open_home(home, clock=lambda: THEN)
    assert supersede(registry, version, facts=facts_of_use("kept")) is not None
    registry.close()


def test_a_kept_home_supersedes_a_record_of_the_first_form_and_registers(tmp_path: Path) -> None:
    home = copy_kept(tmp_path)
    with stopped_clock(THEN):
        upgrade_home(home)
    registry = open_home(home, clock=lambda: THEN)
    version = version_named(registry, "polite-replies:1")
    first = records_of(registry, version).modification
    assert isinstance(first, ModificationRecordV1)
    supersede(registry, version, facts=facts_of_use("kept"))
    history = records_of(registry, version).history
    assert [type(link.record) for link in history] == [ModificationRecordV1, ModificationRecord]
    assert history[0].statement.statement.predicate_type == MODIFICATION_V1
    assert history[0].record.to_canonical() == first.to_canonical()
    assert isinstance(history[1].record, RecordSections)
    assert history[1].record.use.intended.value == "kept"
    assert verify_version(registry, version).verdict == "verified"
    base = version_named(registry, "tiny:1")
    stated = required_base(registry, base)
    added = AddedBase(base, stated.record, tmp_path, stated.statement)
    registered = register_version(registry, an_artifact(tmp_path / "new", added, name="new"))
    assert verify_version(registry, registered).verdict == "verified"
    registry.close()


# --- an evaluation that is made later ---


def evaluate_later(place: Place, *, suite: str = "later", at: str = NOW) -> Digest:
    """An evaluation of another suite, logged and taken up."""
    record, items = a_recorded_evaluation()
    data = tuple(used.revised(name=suite) for used in record.datasets)
    results = tuple(result.revised(dataset=suite) for result in record.results)
    plan = {"sha256": str(Digest.of(b"the plan")), "plan": {}}
    protocol = record.protocol.revised(preregistered_at=at)
    record = record.revised(
        created_at=at,
        datasets=data,
        results=results,
        comparisons=(),
        losses=(),
        protocol=protocol,
        extra=record.extra | {"plan": plan},
    )
    signed = append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=place.registry.trainer_key,
        evidence=(items,),
    )
    assert supersede_with_evaluations(place.registry, place.version) is not None
    return signed.digest


def suites_of(value: Any) -> set[str]:
    return {row["suite"] for row in value.value}


def test_an_evaluation_made_later_answers_the_gap_and_keeps_what_was_measured_before(place: Place) -> None:
    before = place.record.evaluation
    statement = evaluate_later(place)
    record = place.record
    assert record.correction.evaluations == (statement,)
    assert str(record.correction.reason) == "evaluated after it was registered"
    assert suites_of(record.evaluation.runs) == suites_of(before.runs) | {"later"}
    assert [row for row in record.evaluation.metrics.value if row["suite"] != "later"] == before.metrics.value
    assert record.evaluation.plan_digest.value == str(Digest.of(b"the plan"))
    assert record.evaluation.plan_created_at.value == NOW
    assert [row["person"] for row in record.evaluation.signed_by.value] == ["lab-1", "lab-1"]
    assert statement in record.evaluation.signed_by.evidence
    assert record.evaluation.signed_at.value == NOW


def test_a_suite_that_is_scored_again_stands_there_once_and_the_older_record_keeps_it(place: Place) -> None:
    evaluate_later(place)
    once = place.record.evaluation
    evaluate_later(place, at="2026-11-24T13:00:00Z")
    assert len(place.record.evaluation.metrics.value) == len(once.metrics.value)
    assert len(place.record.evaluation.runs.value) == len(once.runs.value)
    assert len(place.history) == 3


def test_the_record_of_a_run_names_who_signed_its_evaluation_and_when(place: Place) -> None:
    section = place.record.evaluation
    key = place.registry.trainer_key.public.key_id
    assert section.signed_by.value == [{"key": key, "person": "lab-1"}]
    assert section.signed_at.value == NOW


def test_a_base_that_is_evaluated_has_no_record_and_gets_none(place: Place) -> None:
    record, items = a_recorded_evaluation()
    append_statement(
        place.registry,
        subject=place.base.version.manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=place.registry.trainer_key,
        evidence=(items,),
    )
    assert supersede_with_evaluations(place.registry, place.base.version) is None
