"""Records by which whoever holds the home's key changes, by a correction, what nobody answered, measured or declared anew."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.superseding import superseding, with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records import new_entries
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.record_histories import EditionUnknown
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of, version_statements
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.fill_facets import renew_facets
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import RecordNotAnswered, append_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    Evaluation,
    HighRisk,
    InputKind,
    ModificationPredicate,
    ModificationRecord,
    RecordInput,
)
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Value, declared, derived, imported, measured
from peft_registry.schemas.version import Version
from tests.builders.backends import MadeHome
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import NOW, a_home
from tests.builders.made import an_input_of, following, registered_base
from tests.builders.products import a_product, log_unasked, register_sums, sign_unasked
from tests.builders.releases import FROZEN, a_release

LATER = "2026-11-24T12:00:30Z"
MOST_SAID = 1000  # characters of what somebody is told


@dataclass
class Place:
    folder: Path
    registry: Registry
    version: Version

    @property
    def current(self) -> ModificationRecord:
        signed = version_statements(self.registry, self.version).record
        assert signed is not None
        assert isinstance(signed.record, ModificationRecord)
        return signed.record

    def corrected(self, **over: object) -> ModificationRecord:
        return superseding(
            self.current,
            name=self.version.name,
            manifest=self.version.manifest_digest,
            record_id="forged",
            now=NOW,
            reason="corrected",
            **over,  # type: ignore[arg-type]
        )

    def stated(self, record: ModificationRecord, *named: RecordInput) -> ModificationPredicate:
        """A record as if it followed from the one before it and from what is named besides."""
        before = version_statements(self.registry, self.version).record
        assert before is not None
        return ModificationPredicate(
            edition=editions().newest,
            as_of=covered_size(self.registry),
            inputs=(an_input_of(self.version, "modification", before.statement.digest), *named),
            record=record,
        )

    def append(self, stated: ModificationPredicate) -> None:
        append_statement(
            self.registry,
            subject=self.version.manifest_digest,
            kind="modification",
            predicate=stated.to_json(),
            signer=self.registry.trainer_key,
        )

    def evaluated(self, *, at: str, **over: object) -> SignedStatement:
        """An evaluation that was logged later."""
        evaluation, items = a_recorded_evaluation()
        return append_statement(
            self.registry,
            subject=self.version.manifest_digest,
            kind="bias-evaluation",
            predicate=evaluation.revised(created_at=at, **over).to_json(),
            signer=self.registry.trainer_key,
            evidence=(items,),
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        register_sums(registry, folder)
    return folder / "home"


@pytest.fixture(scope="module")
def untouched(made: Path) -> Iterator[Place]:
    """A home in which nothing of what a test offers may be recorded."""
    registry = MadeHome(made).opened()
    yield Place(made.parent, registry, version_named(registry, "sums"))
    registry.close()


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    registry = MadeHome(made).copy(tmp_path / "home").opened()
    yield Place(tmp_path, registry, version_named(registry, "sums"))
    registry.close()


Forge = Callable[[Place], ModificationRecord | ModificationPredicate]


def better_bias(place: Place) -> ModificationRecord:
    section = place.current.evaluation
    better = [row | {"introduced": 0, "conclusion": "improved"} for row in section.bias.value]
    return place.corrected(evaluation=section.revised(bias=section.bias.revised(value=better)))


def an_old_evaluation_again(place: Place) -> ModificationPredicate:
    """It is in the record already; named once more it would take the place of whatever was measured since."""
    said = version_statements(place.registry, place.version).statements
    named = tuple(
        an_input_of(place.version, "bias-evaluation", stored.digest)
        for stored in said
        if stored.kind == "bias-evaluation"
    )
    return following(place.registry, place.version, *named)


def an_evaluation_that_nobody_logged(place: Place) -> ModificationPredicate:
    none = Digest.of(b"none")
    record = place.corrected(evaluation=Evaluation(), evaluations=(none,))
    return place.stated(record, an_input_of(place.version, "bias-evaluation", none))


def by_hand(place: Place) -> ModificationRecord:
    gpai = place.current.gpai.revised(verdict=derived("not_gpai", method="row G6"))
    return place.corrected().revised(gpai=gpai)


FORGED: dict[str, tuple[Forge, str]] = {
    "better bias rows": (better_bias, "evaluation.bias"),
    "no evaluation": (lambda place: place.corrected(evaluation=Evaluation()), "evaluation.bias"),
    "an evaluation that nobody logged": (an_evaluation_that_nobody_logged, "nobody logged the evaluation"),
    "an evaluation that is there already": (an_old_evaluation_again, "inputs: "),
    "no data": (lambda place: place.corrected().revised(data=()), "data: its inputs give 1 entry"),
    "no base": (lambda place: place.corrected().revised(base=(), upstream=()), "base: its inputs give 1 entry"),
    "a base more": (
        lambda place: place.corrected().revised(base=(*place.current.base, place.current.base[0])),
        "base: its inputs give 1 entry, and the record says 2",
    ),
    "other data": (lambda place: place.corrected(values={"data[0].name": measured("clean.jsonl")}), "data[0].name"),
    "one FLOP": (
        lambda place: place.corrected(values={"compute.conservative_flop": measured(1.0, "FLOP", method="6PD")}),
        "compute.conservative_flop",
    ),
    "a verdict by hand": (by_hand, "gpai.verdict"),
    "a set of rules, as before editions": (lambda place: place.corrected().revised(rule_set="9999"), "rule_set"),
    "a reason of its own": (lambda place: place.corrected(), "correction.reason"),
    "another kind": (lambda place: place.corrected(values={"identity.kind": measured("merge")}), "identity.kind"),
    "a fact of somebody else": (
        lambda place: place.corrected(
            values={"data[0].personal_data": declared("yes", by="mallory", at=NOW)},
        ),
        "data[0].personal_data",
    ),
    "a fact that is called imported": (
        lambda place: place.corrected(values={"data[0].personal_data": imported("yes", method="a card")}),
        "data[0].personal_data",
    ),
    "an open question that is called measured": (
        lambda place: place.corrected(values={"risk.residual_risk": measured("none")}),
        "risk.residual_risk",
    ),
    "a fact that is called unknown": (
        lambda place: place.corrected(values={"use.intended": Value(source="unknown", reason="withdrawn")}),
        "use.intended",
    ),
    "questions that are gone": (
        lambda place: place.corrected().revised(
            high_risk=HighRisk(intended_purpose_before=derived("none", method="by hand"))
        ),
        "high_risk.intended_purpose_before",
    ),
    "made before the record that it supersedes": (
        lambda place: place.corrected().revised(record_created_at="1999-01-01T00:00:00Z"),
        "record_created_at",
    ),
}


def as_stated(place: Place, forged: ModificationRecord | ModificationPredicate) -> ModificationPredicate:
    return forged if isinstance(forged, ModificationPredicate) else place.stated(forged)


@pytest.mark.parametrize("attack", FORGED)
def test_a_correction_that_nobody_made_is_not_signed(untouched: Place, attack: str) -> None:
    forge, where = FORGED[attack]
    with pytest.raises(RecordNotAnswered) as refused:
        untouched.append(as_stated(untouched, forge(untouched)))
    assert refused.value.exit_code == 6
    assert any(where in reason for reason in refused.value.reasons)
    assert untouched.current.record_id == "run-1"


def test_a_correction_that_nobody_made_decides_nothing_once_it_is_logged_and_is_named_by_every_check(
    place: Place,
) -> None:
    """One of each kind: by all of these doors the check is the one that refuses them when they are appended."""
    kinds = (
        "better bias rows",
        "no data",
        "one FLOP",
        "a verdict by hand",
        "made before the record that it supersedes",
    )
    forged = {attack: as_stated(place, FORGED[attack][0](place)) for attack in kinds}
    subject, key = place.version.manifest_digest, place.registry.trainer_key
    signed = {
        attack: sign_statement(
            subject,
            "modification",
            stated.revised(record=stated.record.revised(record_id=attack)).to_json(),
            key,
        )
        for attack, stated in forged.items()
    }
    with place.registry.database.write() as tx:
        for statement in signed.values():
            record_statement(tx, subject, statement, at=NOW)
    sign_unasked(place.registry)
    statements = {attack: statement.digest for attack, statement in signed.items()}
    assert place.current.record_id == "run-1"
    aside = version_statements(place.registry, place.version).set_aside
    assert {record.statement.digest for record in aside} == set(statements.values())
    logged = "\n".join(wrong.text for wrong in check_log(place.registry).contradictions)
    folder = place.folder / "presented"
    folder.mkdir()
    write_presented(present_version(place.registry, place.version, place.folder), folder)
    outcomes = (
        verify_version(place.registry, place.version),
        verify_folder(folder, trust=place.registry.trust, now=NOW),
    )
    for outcome in outcomes:
        assert outcome.exit_code == 6
        shown = next(check for check in outcome.checks if check.status == "failed").detail
        for attack, statement in statements.items():
            where = FORGED[attack][1]
            assert where in logged
            assert any(f"modification {statement.short}, " in line and where in line for line in shown), attack


def test_a_correction_that_nobody_made_is_not_signed_over(place: Place) -> None:
    stated = as_stated(place, FORGED["better bias rows"][0](place))
    key = place.registry.trainer_key
    signed = sign_statement(place.version.manifest_digest, "modification", stated.to_json(), key)
    with place.registry.database.write() as tx:
        record_statement(tx, place.version.manifest_digest, signed, at=NOW)
    assert ["evaluation.bias" in entry.why for entry in sign_log(place.registry).refused] == [True]


def test_who_signed_a_later_evaluation_and_when_is_as_the_log_has_it(place: Place) -> None:
    signed = place.evaluated(at="2026-11-24T13:00:00Z")
    evaluation = EvaluationRecord.from_json(signed.statement.predicate)
    auditor = EvaluationSignature(
        statement=signed.digest,
        evaluation=evaluation.canonical_digest(),
        key_id="0" * 64,
        person="an independent auditor",
        at="2020-01-01T00:00:00Z",
    )
    honest = following(place.registry, place.version, an_input_of(place.version, "bias-evaluation", signed.digest))
    section = with_later_evaluations(place.current.evaluation, [evaluation], [auditor])
    forged = honest.revised(record=honest.record.revised(evaluation=section))
    with pytest.raises(RecordNotAnswered, match=r"evaluation\.signed_by"):
        place.append(forged)
    place.append(honest)


def test_a_correction_by_a_clock_that_was_set_back_is_dated_as_the_record_that_it_supersedes(untouched: Place) -> None:
    record = superseding(
        untouched.current,
        name=untouched.version.name,
        manifest=untouched.version.manifest_digest,
        record_id="later",
        now="2020-01-01T00:00:00Z",
        reason="a clock",
    )
    assert record.record_created_at == untouched.current.record_created_at


# --- inputs that somebody chose: all of the record follows from them ---

Choose = Callable[[Place], ModificationPredicate]
PROFILE = OrganisationProfile(legal_name=declared("Example Labs", by="alex", at=NOW))


def observed(place: Place, **said: object) -> tuple[SignedStatement, RecordInput]:
    """What the home is said to have observed; logged right before the record."""
    seen = Observations(
        nonce="0f",
        record_id="forged",
        made_at=NOW,
        name=place.version.name,
        tool_version="0.1.0",
        **said,  # type: ignore[arg-type]
    )
    signed = append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="observations",
        predicate=seen.to_json(),
        signer=place.registry.trainer_key,
    )
    return signed, an_input_of(place.version, "observations", signed.digest)


def of_observed(place: Place, **said: object) -> ModificationPredicate:
    _, named = observed(place, **said)
    return following(place.registry, place.version, named)


def another_version(place: Place) -> Version:
    """Of other bytes, with a run, an evaluation and observations of its own."""
    base = registered_base(place.registry, "tiny")
    product = a_product(place.registry, place.folder / "other", base, name="other", run_id="another run", value=0.125)
    return register_product(place.registry, product).version


def of_another_version(kind: InputKind) -> Choose:
    def chosen(place: Place) -> ModificationPredicate:
        other = another_version(place)
        (statement,) = (
            stored.digest for stored in version_statements(place.registry, other).statements if stored.kind == kind
        )
        return following(place.registry, place.version, an_input_of(other, kind, statement))

    return chosen


def a_bad_evaluation_left_out(place: Place) -> ModificationPredicate:
    place.evaluated(at="2026-11-24T11:58:00Z")
    return following(place.registry, place.version)


def the_second_evaluation_alone(place: Place) -> ModificationPredicate:
    place.evaluated(at="2026-11-24T11:58:00Z")
    second = place.evaluated(at="2026-11-24T11:59:00Z")
    return following(place.registry, place.version, an_input_of(place.version, "bias-evaluation", second.digest))


def evaluations_in_another_order(place: Place) -> ModificationPredicate:
    named = [
        an_input_of(place.version, "bias-evaluation", place.evaluated(at=at).digest)
        for at in ("2026-11-24T11:58:00Z", "2026-11-24T11:59:00Z")
    ]
    return following(place.registry, place.version, *reversed(named))


def an_evaluation_twice(place: Place) -> ModificationPredicate:
    named = an_input_of(place.version, "bias-evaluation", place.evaluated(at="2026-11-24T11:58:00Z").digest)
    return following(place.registry, place.version, named, named)


def answers_that_nobody_logged(place: Place) -> ModificationPredicate:
    named = an_input_of(place.version, "answers", Digest.of(b"nothing"))
    return place.stated(following(place.registry, place.version).record, named)


def its_own_run(place: Place) -> ModificationPredicate:
    run = next(
        stored.digest
        for stored in version_statements(place.registry, place.version).statements
        if stored.kind == "provenance"
    )
    return following(place.registry, place.version, an_input_of(place.version, "provenance", run))


def two_observations(place: Place) -> ModificationPredicate:
    _, first = observed(place, profile=PROFILE)
    _, second = observed(place, facts={"asserted_by": "alex", "risk": {"residual_risk": "none"}})
    return following(place.registry, place.version, first, second)


def of_a_log_that_there_is_not_yet(place: Place) -> ModificationPredicate:
    return following(place.registry, place.version).revised(as_of=10**9)


CHOSEN: dict[str, tuple[Choose, str]] = {
    "a bad evaluation left out": (a_bad_evaluation_left_out, "inputs: bias-evaluation .* is left out"),
    "the second evaluation alone": (the_second_evaluation_alone, "inputs: bias-evaluation .* is left out"),
    "evaluations in another order": (evaluations_in_another_order, "not in the order of the log"),
    "an evaluation twice": (an_evaluation_twice, "is named twice"),
    "the evaluation of another version": (
        of_another_version("bias-evaluation"),
        "inputs: bias-evaluation .* is not one of them",
    ),
    "observations of another version": (
        of_another_version("observations"),
        "inputs: observations .* is not one of them",
    ),
    "answers that nobody logged": (answers_that_nobody_logged, "nobody whose role may signed the answers"),
    "its own run": (its_own_run, "inputs: provenance .* is not one of them"),
    "two observations": (two_observations, "inputs: it names several observations"),
    "an answer of the organisation as if it were measured": (
        lambda place: of_observed(
            place, profile=PROFILE.revised(legal_name=measured("Example Labs", method="looked at"))
        ),
        "observations: the profile states",
    ),
    "an answer of the organisation as if somebody had signed it": (
        lambda place: of_observed(
            place,
            profile=PROFILE.revised(legal_name=PROFILE.legal_name.revised(evidence=(Digest.of(b"a statement"),))),
        ),
        "observations: the profile states",
    ),
    "a log that there is not yet": (of_a_log_that_there_is_not_yet, "as_of: "),
}


@pytest.mark.parametrize("attack", CHOSEN)
def test_nobody_chooses_what_a_correction_follows_from(place: Place, attack: str) -> None:
    choose, where = CHOSEN[attack]
    stated = choose(place)
    before = place.current
    with pytest.raises(RecordNotAnswered) as refused:
        place.append(stated)
    assert refused.value.exit_code == 6
    assert any(re.search(where, reason) for reason in refused.value.reasons)
    subject, key = place.version.manifest_digest, place.registry.trainer_key
    statement = log_unasked(place.registry, subject, "modification", stated.to_json(), signer=key, at=LATER)
    assert place.current == before
    outcome = verify_version(place.registry, place.version)
    assert outcome.exit_code == 6
    lines = [line for check in outcome.checks for line in check.detail]
    assert any(f"modification {statement.short}, " in line and re.search(where, line) for line in lines)
    assert any(re.search(where, wrong.text) for wrong in check_log(place.registry).contradictions)


@pytest.mark.parametrize(
    "facts",
    [
        {"asserted_by": "alex", "approvals": [{"person": "alex"}]},
        {"asserted_by": "alex", "gpai": {"verdict": "not_gpai"}},
        {"asserted_by": "alex", "high_risk": {"substantial": "no"}},
        {"asserted_by": "alex", "compute": {"conservative_flop": 1.0}},
        {"asserted_by": "mallory", "use": {"intended": "anything"}},
    ],
    ids=["an approval", "a verdict", "an act", "a figure", "what somebody else declared"],
)
def test_a_facts_file_states_nothing_but_what_its_author_may(place: Place, facts: dict[str, object]) -> None:
    """It is signed as observed, so that all would follow from it."""
    before = place.current
    _, named = observed(place, facts=facts)
    try:
        stated = following(place.registry, place.version, named)
    except KnownError:  # what the file says is refused where it is read
        stated = place.stated(following(place.registry, place.version).record, named)
        with pytest.raises(RecordNotAnswered, match="nothing follows from them"):
            place.append(stated)
        return
    place.append(stated)
    after = place.current
    assert "approvals" not in after.to_json()
    assert after.use.intended == before.use.intended
    assert after.gpai.verdict == before.gpai.verdict
    assert after.compute == before.compute
    assert after.high_risk == before.high_risk


def test_of_two_records_of_equal_inputs_the_one_that_they_give_holds(place: Place) -> None:
    honest = following(place.registry, place.version)
    forged = honest.revised(
        record=with_values(honest.record, {"use.intended": declared("anything", by="alex, data steward", at=NOW)})
    )
    assert honest.inputs == forged.inputs
    subject, key = place.version.manifest_digest, place.registry.trainer_key
    log_unasked(place.registry, subject, "modification", forged.to_json(), signer=key, at=NOW)
    assert place.current.record_id == "run-1"
    with pytest.raises(RecordNotAnswered, match=r"use\.intended: its inputs give"):
        place.append(forged.revised(record=forged.record.revised(record_id="again")))
    place.append(honest.revised(record=honest.record.revised(record_id="honest")))
    assert place.current.record_id == "honest"
    assert place.current.use.intended.value == "sums of two numbers"


@pytest.mark.parametrize("role", ["log", "root"])
def test_the_keys_that_sign_the_log_or_the_trust_supersede_no_record(place: Place, role: str) -> None:
    """Whoever holds them can cover what they like with a checkpoint; a record by them decides nothing, whatever gives it."""
    stated = following(place.registry, place.version)
    signer = place.registry.private_key(role)  # type: ignore[arg-type]
    subject = place.version.manifest_digest
    with pytest.raises(KnownError):
        append_statement(
            place.registry, subject=subject, kind="modification", predicate=stated.to_json(), signer=signer
        )
    signed = sign_statement(subject, "modification", stated.to_json(), signer)
    with place.registry.database.write() as tx:
        record_statement(tx, subject, signed, at=LATER)
    (refused,) = sign_log(place.registry).refused
    assert refused.is_wrong
    with pytest.MonkeyPatch.context() as patch:  # a program that asks nobody whether they may
        patch.setattr(new_entries, "require_signed", lambda *_, **__: None)
        sign_unasked(place.registry)
    assert place.current.record_id == "run-1"
    assert verify_version(place.registry, place.version).exit_code == 6
    assert check_log(place.registry).exit_code == 6


# --- editions that somebody made up ---

MADE_UP: dict[str, tuple[dict[str, object], str, int]] = {
    "a newer one that nobody announced": ({"name": "2099-01"}, "nobody whose role may has announced 2099-01", 5),
    "a name below the newest that no release has": ({"name": "2026-01"}, "no release derives by 2026-01", 6),
    "a known name with another digest": ({"name": FROZEN}, f"no release derives by {FROZEN}", 6),
    "a path": ({"name": "../../etc/passwd"}, "edition.name: ", 6),
    "a megabyte": ({"name": "2026-12" * 150_000}, "edition.name: ", 6),
    "no digest": ({"digest": None}, "edition.digest: ", 6),
    "a number": ({"name": 7}, "edition.name: ", 6),
}


@pytest.mark.parametrize("attack", MADE_UP)
def test_a_correction_by_an_edition_that_somebody_made_up_is_told_in_one_sentence(tmp_path: Path, attack: str) -> None:
    edition, where, code = MADE_UP[attack]
    with a_release(FROZEN), a_home(tmp_path / "home") as registry:
        place = Place(tmp_path, registry, register_sums(registry, tmp_path))
        before = place.current
        stated = following(registry, place.version)
        stated = stated.revised(record=by_hand(place).revised(correction=stated.record.correction))
        forged = stated.to_json()
        forged["edition"] = forged["edition"] | {"digest": str(Digest.of(b"made up"))} | edition
        subject, key = place.version.manifest_digest, registry.trainer_key
        with pytest.raises(KnownError) as refused:
            append_statement(registry, subject=subject, kind="modification", predicate=forged, signer=key)
        assert refused.value.exit_code in (2, 6)
        assert len(f"{refused.value}") < MOST_SAID
        signed = sign_statement(subject, "modification", forged, key)
        with registry.database.write() as tx:
            record_statement(tx, subject, signed, at=NOW)
            renew_facets(View(registry, tx), subject)
        (pending,) = sign_log(registry).refused
        assert pending.is_wrong
        assert len(pending.why) < MOST_SAID
        sign_unasked(registry)
        outcome = verify_version(registry, place.version)
        assert outcome.exit_code == code
        lines = [line for check in outcome.checks for line in (check.text, *check.detail)]
        assert any(where in line for line in lines)
        assert all(len(line) < MOST_SAID for line in lines)
        report = check_log(registry)
        assert report.exit_code == code, report.contradictions
        if code == 6:
            assert place.current == before
            # a later record goes on from the one that holds
            place.append(following(registry, place.version))
            assert place.current.record_id == "forged"
        else:
            with pytest.raises(EditionUnknown) as unknown:
                records_of(registry, place.version)
            assert unknown.value.exit_code == 5
