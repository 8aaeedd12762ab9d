"""Records held against those before them: in the home, in the whole log, and in a folder from which lines were taken out."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance import rule_files
from peft_registry.registry.compliance.answers import as_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.derivation import FirstInputs, derive_first
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records import first_record_checks
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.sign_log import reject_entries, sign_log
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Correction, ModificationPredicate, ModificationRecord, RecordInput
from peft_registry.schemas.values import Value, unknown
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home
from tests.builders.made import an_input_of, following
from tests.builders.products import log_unasked, register_sums
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

OFFICER = a_p256_key(7)
OFFICERS = "identity.name_or_trademark_on_result"  # owed by legal


@dataclass
class Place:
    folder: Path
    registry: Registry
    version: Version

    @property
    def current(self) -> SignedRecord:
        record = version_statements(self.registry, self.version).record
        assert record is not None
        return record

    def log(self, kind: Any, said: dict[str, Any], signer: PrivateKey | None = None) -> Digest:
        """Log a statement as a program would that asks nothing."""
        key = signer or self.registry.trainer_key
        return log_unasked(self.registry, self.version.manifest_digest, kind, said, signer=key, at=NOW)

    def answer(self, answers: dict[str, Any]) -> tuple[Digest, Digest]:
        """The officer's answers and the record that takes them up; their statements."""
        current = self.current
        predicate = AnswersPredicate(
            record_id=current.record.record_id,
            record=current.digest,
            form=Digest.of(b"a form"),
            answers=as_answers(answers),
            person="alex",
            role="officer",
            nonce="0f",
        )
        statement = self.log("answers", predicate.to_json(), OFFICER)
        stated = self.next(an_input_of(self.version, "answers", statement), record_id="answered")
        return statement, self.log("modification", stated.to_json())

    def pend(self, stated: ModificationPredicate) -> None:
        """Log a record where the log key is elsewhere."""
        signed = sign_statement(
            self.version.manifest_digest, "modification", stated.to_json(), self.registry.trainer_key
        )
        with self.registry.database.write() as tx:
            record_statement(tx, self.version.manifest_digest, signed, at=NOW)

    def next(self, *named: RecordInput, record_id: str = "corrected") -> ModificationPredicate:
        """What follows from the current record and from what is named besides; it is not logged yet."""
        stated = following(self.registry, self.version, *named)
        return stated.revised(record=stated.record.revised(record_id=record_id))

    def dropping(self, **values: Value) -> ModificationPredicate:
        """A record that says this in place of what its inputs give, by path (`__` for a dot)."""
        stated = self.next()
        by_path = {path.replace("__", "."): value for path, value in values.items()}
        return stated.revised(record=with_assessment(with_values(stated.record, by_path)))

    def folder_without(self, *statements: Digest, name: str = "pulled") -> VerifyOutcome:
        """How the version verifies in a folder from which the lines of these statements were taken out."""
        folder = self.folder / name
        folder.mkdir()
        write_presented(present_version(self.registry, self.version, self.folder), folder)
        lines = [
            stored.envelope
            for stored in version_statements(self.registry, self.version).statements
            if stored.digest not in statements
        ]
        (folder / "evidence" / "statements.intoto.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        return verify_folder(folder, trust=self.registry.trust, now=NOW)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        register_sums(registry, folder)
        officer = a_trusted_key(OFFICER, person="alex", role="officer", predicate_types=None)
        chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, officer))
        (registry.folder / "trust.json").write_bytes(render_chain(chain))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Iterator[Place]:
    registry = MadeHome(made / "home").copy(tmp_path / "home").opened()
    yield Place(tmp_path, registry, version_named(registry, "sums"))
    registry.close()


def test_a_first_record_is_derived_once_however_often_it_is_read_and_anew_by_other_rules(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    derived: list[FirstInputs] = []

    def counted(inputs: FirstInputs, *, refuses_facts: bool) -> ModificationRecord:
        derived.append(inputs)
        return derive_first(inputs, refuses_facts=refuses_facts)

    monkeypatch.setattr(first_record_checks, "derive_first", counted)
    monkeypatch.setattr(first_record_checks, "_CHECKED", {})
    for _ in range(2):
        assert verify_version(place.registry, place.version).verdict == "verified"
        assert place.current.record.record_id
    assert len(derived) == 1
    other_rules = place.folder / "rules"
    shutil.copytree(str(rule_files.RULES), other_rules)
    monkeypatch.setattr(rule_files, "RULES", other_rules)
    assert verify_version(place.registry, place.version).verdict == "verified"
    assert len(derived) == 2


def test_a_record_that_drops_answers_is_not_verified_without_the_record_that_had_them(place: Place) -> None:
    answers, answered = place.answer({OFFICERS: "yes"})
    dropping = place.dropping(identity__name_or_trademark_on_result=unknown("not asked yet"))
    dropped = place.log("modification", dropping.to_json())
    assert place.current.record.record_id == "answered"
    assert verify_version(place.registry, place.version).exit_code == 6
    assert place.folder_without(name="whole").exit_code == 6
    outcome = place.folder_without(answers, answered)
    assert (outcome.verdict, outcome.exit_code) == ("unverified", 5)
    (check,) = [check for check in outcome.checks if check.step == "statements"]
    assert (check.error, check.detail) == (
        "statements-withheld",
        (f"modification {dropped.short}, no record answered that it supersedes",),
    )


def test_a_record_without_a_signed_answer_of_the_one_before_it_says_so_and_accuses_nobody(place: Place) -> None:
    answers, answered = place.answer({OFFICERS: "yes"})
    place.log("modification", place.next().to_json())
    assert verify_version(place.registry, place.version).verdict == "verified"
    for name, left_out in {"the record": (answered,), "both": (answers, answered), "the answers": (answers,)}.items():
        assert place.folder_without(*left_out, name=name).exit_code == 5, name


def test_the_order_of_the_lines_in_a_folder_decides_nothing(place: Place) -> None:
    place.answer({OFFICERS: "yes"})
    assert place.folder_without(name="whole").verdict == "verified"
    file = place.folder / "whole" / "evidence" / "statements.intoto.jsonl"
    file.write_bytes(b"".join(reversed(file.read_bytes().splitlines(keepends=True))))
    assert verify_folder(place.folder / "whole", trust=place.registry.trust, now=NOW).verdict == "verified"


def test_the_log_key_signs_over_no_record_whose_earlier_one_is_not_there_and_both_are_rejected_together(
    place: Place,
) -> None:
    """Pending, as where the log key is elsewhere: a record that supersedes another goes with it."""
    covered = covered_size(place.registry)
    place.pend(place.next())
    second = place.next(record_id="second")  # it follows from the one that is pending
    place.pend(second)
    assert reject_entries(place.registry, (covered,), reason="a mistake").dependent == (covered + 1,)
    place.pend(second)
    assert [entry.why for entry in sign_log(place.registry).refused] == ["no record corrected that it supersedes"]


@pytest.mark.parametrize(
    "names",
    [
        {"correction": Correction(supersedes_digest=Digest.of(b"nothing"))},
        {"supersedes": "another"},
        {"supersedes": None},
        {"correction": Correction()},
    ],
    ids=["another digest", "another id", "no id", "no digest"],
)
def test_a_record_that_supersedes_what_was_never_logged_is_broken(place: Place, names: dict[str, Any]) -> None:
    """Nothing was taken out: whatever it carries on, nobody said it of this version."""
    before = place.current
    stated = place.next()
    place.log("modification", stated.revised(record=stated.record.revised(**names)).to_json())
    assert place.current == before
    assert verify_version(place.registry, place.version).exit_code == 6
    assert place.folder_without().exit_code == 6
    where = "supersedes: the record that its inputs hold is another"
    assert any(where in wrong.text for wrong in check_log(place.registry).contradictions)


@pytest.mark.parametrize("named", ["a record that nobody logged", "no record", "two records"])
def test_a_record_whose_inputs_hold_none_that_it_supersedes_is_broken(place: Place, named: str) -> None:
    before = place.current
    own = an_input_of(place.version, "modification", before.statement.digest)
    none = an_input_of(place.version, "modification", Digest.of(b"nothing"))
    inputs = {"a record that nobody logged": (none,), "no record": (), "two records": (own, none)}[named]
    place.log("modification", place.next().revised(inputs=inputs).to_json())
    assert place.current == before
    assert verify_version(place.registry, place.version).exit_code == 6
    assert place.folder_without().exit_code == 6
    assert any("that it supersedes" in wrong.text for wrong in check_log(place.registry).contradictions)
