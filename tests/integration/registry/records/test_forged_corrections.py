"""Records by which whoever holds the home's key changes, by a correction, what nobody answered, measured or declared anew."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature, with_later_evaluations
from peft_registry.registry.compliance.superseding import superseding
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.sign_log import sign_log
from peft_registry.registry.use_cases.statements import (
    RecordNotAnswered,
    append_statement,
    record_statement,
    sign_statement,
)
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Evaluation, HighRisk, ModificationRecord
from peft_registry.schemas.values import Value, declared, derived, imported, measured
from peft_registry.schemas.version import Version
from tests.builders.backends import MadeHome
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import NOW, a_home
from tests.builders.products import register_sums, sign_unasked


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
            version=self.version,
            record_id="forged",
            now=NOW,
            reason="corrected",
            **over,  # type: ignore[arg-type]
        )

    def append(self, record: ModificationRecord) -> None:
        append_statement(
            self.registry,
            subject=self.version.manifest_digest,
            kind="modification",
            predicate=record.to_json(),
            signer=self.registry.trainer_key,
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


Forge = Callable[[Place], ModificationRecord]


def better_bias(place: Place) -> ModificationRecord:
    section = place.current.evaluation
    better = [row | {"introduced": 0, "conclusion": "improved"} for row in section.bias.value]
    return place.corrected(evaluation=section.revised(bias=section.bias.revised(value=better)))


def an_old_evaluation_again(place: Place) -> ModificationRecord:
    """It is in the record already; named once more it would take the place of whatever was measured since."""
    said = version_statements(place.registry, place.version).statements
    named = tuple(stored.digest for stored in said if stored.kind == "bias-evaluation")
    return place.corrected(evaluations=named)


def by_hand(place: Place) -> ModificationRecord:
    gpai = place.current.gpai.revised(verdict=derived("not_gpai", method="row G6"))
    return place.corrected().revised(gpai=gpai)


FORGED: dict[str, tuple[Forge, str]] = {
    "better bias rows": (better_bias, "evaluation.bias"),
    "no evaluation": (lambda place: place.corrected(evaluation=Evaluation()), "evaluation.bias"),
    "an evaluation that nobody logged": (
        lambda place: place.corrected(evaluation=Evaluation(), evaluations=(Digest.of(b"none"),)),
        "nobody logged the evaluation",
    ),
    "an evaluation that is there already": (an_old_evaluation_again, "correction.evaluations"),
    "no data": (lambda place: place.corrected().revised(data=()), "data: 0 of them"),
    "no base": (lambda place: place.corrected().revised(base=(), upstream=()), "base: 0 of them"),
    "a base more": (
        lambda place: place.corrected().revised(base=(*place.current.base, place.current.base[0])),
        "base: 2 of them",
    ),
    "other data": (lambda place: place.corrected(values={"data[0].name": measured("clean.jsonl")}), "data[0].name"),
    "one FLOP": (
        lambda place: place.corrected(values={"compute.conservative_flop": measured(1.0, "FLOP", method="6PD")}),
        "compute.conservative_flop",
    ),
    "a verdict by hand": (by_hand, "gpai.verdict"),
    "a verdict by rules that nobody knows": (
        lambda place: place.corrected().revised(
            rule_set="9999", gpai=place.current.gpai.revised(verdict=derived("not_gpai", method="row G6"))
        ),
        "rule_set",
    ),
    "no rules": (lambda place: place.corrected().revised(rule_set=None), "rule_set"),
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
            high_risk=HighRisk(intended_purpose_after=derived("none", method="by hand"))
        ),
        "high_risk.intended_purpose_after",
    ),
    "made before the record that it supersedes": (
        lambda place: place.corrected().revised(record_created_at="1999-01-01T00:00:00Z"),
        "record_created_at",
    ),
}


@pytest.mark.parametrize("attack", FORGED)
def test_a_correction_that_nobody_made_is_not_signed(untouched: Place, attack: str) -> None:
    forge, where = FORGED[attack]
    with pytest.raises(RecordNotAnswered) as refused:
        untouched.append(forge(untouched))
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
    forged = {attack: FORGED[attack][0](place) for attack in kinds}
    subject, key = place.version.manifest_digest, place.registry.trainer_key
    signed = {
        attack: sign_statement(subject, "modification", record.revised(record_id=attack).to_json(), key)
        for attack, record in forged.items()
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
    record = FORGED["better bias rows"][0](place)
    key = place.registry.trainer_key
    signed = sign_statement(place.version.manifest_digest, "modification", record.to_json(), key)
    with place.registry.database.write() as tx:
        record_statement(tx, place.version.manifest_digest, signed, at=NOW)
    assert ["evaluation.bias" in entry.why for entry in sign_log(place.registry).refused] == [True]


def test_who_signed_a_later_evaluation_and_when_is_as_the_log_has_it(place: Place) -> None:
    evaluation, items = a_recorded_evaluation()
    evaluation = evaluation.revised(created_at="2026-11-24T13:00:00Z")
    signed = append_statement(
        place.registry,
        subject=place.version.manifest_digest,
        kind="bias-evaluation",
        predicate=evaluation.to_json(),
        signer=place.registry.trainer_key,
        evidence=(items,),
    )
    auditor = EvaluationSignature(
        statement=signed.digest,
        evaluation=evaluation.canonical_digest(),
        key_id="0" * 64,
        person="an independent auditor",
        at="2020-01-01T00:00:00Z",
    )
    section = with_later_evaluations(place.current.evaluation, [evaluation], [auditor])
    with pytest.raises(RecordNotAnswered, match=r"evaluation\.signed_by"):
        place.append(place.corrected(evaluations=(signed.digest,), evaluation=section))


def test_a_correction_by_a_clock_that_was_set_back_is_dated_as_the_record_that_it_supersedes(untouched: Place) -> None:
    record = superseding(
        untouched.current, version=untouched.version, record_id="later", now="2020-01-01T00:00:00Z", reason="a clock"
    )
    assert record.record_created_at == untouched.current.record_created_at
