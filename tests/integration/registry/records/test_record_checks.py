"""Records held against those before them: in the home, in the whole log, and in a folder from which lines were taken out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.answers import SignedAnswers, as_answers, superseding_with_answers
from peft_registry.registry.compliance.superseding import superseding
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.sign_log import reject_entries, sign_log
from peft_registry.registry.use_cases.statements import record_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.presented import present_version, write_presented
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Correction, ModificationRecord
from peft_registry.schemas.values import unknown
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.backends import MadeHome
from tests.builders.homes import NOW, a_home
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
        signed = SignedAnswers(statement, predicate, NOW)
        record = superseding_with_answers(current.record, signed, version=self.version, record_id="answered", now=NOW)
        return statement, self.log("modification", record.to_json())

    def correct(self, **over: Any) -> ModificationRecord:
        """A record that supersedes the current one and is not logged yet."""
        return superseding(
            self.current.record, version=self.version, record_id="corrected", now=NOW, reason="corrected", **over
        )

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


def test_a_record_that_drops_answers_is_not_verified_without_the_record_that_had_them(place: Place) -> None:
    answers, answered = place.answer({OFFICERS: "yes"})
    dropping = place.correct(values={OFFICERS: unknown("not asked yet")})
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
    place.log("modification", place.correct().to_json())
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
    first = place.correct()
    second = superseding(first, version=place.version, record_id="second", now=NOW, reason="corrected again")
    for record in (first, second):
        signed = sign_statement(
            place.version.manifest_digest, "modification", record.to_json(), place.registry.trainer_key
        )
        with place.registry.database.write() as tx:
            record_statement(tx, place.version.manifest_digest, signed, at=NOW)
    assert reject_entries(place.registry, (covered,), reason="a mistake").dependent == (covered + 1,)
    with place.registry.database.write() as tx:
        record_statement(tx, place.version.manifest_digest, signed, at=NOW)
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
    place.log("modification", place.correct().revised(**names).to_json())
    assert place.current == before
    assert verify_version(place.registry, place.version).exit_code == 6
    assert place.folder_without().exit_code == 6
    assert any("that it supersedes" in wrong.text for wrong in check_log(place.registry).contradictions)
