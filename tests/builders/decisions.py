"""A version whose record has open questions, two people who may answer them, and what they say."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers
from peft_registry.registry.compliance.derivation import derive_next
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.next_record_checks import next_inputs
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import record_checks, records_of, version_statements
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import write_form
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.statements import append_statement, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord, RecordInput
from peft_registry.schemas.version import Version
from tests.builders.homes import NOW, add_a_base
from tests.builders.products import FACTS, a_product
from tests.builders.signing import a_p256_key, a_trusted_key, one_more

OFFICER, ENGINEER = a_p256_key(7), a_p256_key(8)
OFFICERS = "identity.name_or_trademark_on_result"  # owed by legal
ENGINEERS = "change.modules"  # owed by the engineer


@dataclass
class Place:
    folder: Path
    registry: Registry
    version: Version
    unsigned: tuple[str, ...] = ()  # why the log key was not set to what was forced into the log

    @property
    def record(self) -> ModificationRecord:
        record = records_of(self.registry, self.version).modification
        assert isinstance(record, ModificationRecord)
        return record

    def form(self, answers: dict[str, Any], name: str = "gaps.yml") -> Path:
        """A form of the current record with these answers."""
        file = self.folder / name
        file.unlink(missing_ok=True)
        write_form(self.registry, self.version, file)
        return fill_in(file, answers)

    def logged(self) -> int:
        return check_log(self.registry).size

    def holds(self) -> None:
        report = check_log(self.registry)
        assert (report.contradictions, report.unchecked) == ((), ())
        assert verify_version(self.registry, self.version).verdict == "verified"


def fill_in(file: Path, answers: dict[str, Any]) -> Path:
    text = file.read_text("utf-8")
    for path, value in answers.items():
        line = f"  {path}:"
        if f"{line}\n" in text:
            text = text.replace(f"{line}\n", f"{line} {json.dumps(value)}\n")
        else:
            text += f"{line} {json.dumps(value)}\n"
    file.write_text(text, "utf-8")
    return file


def fill(registry: Registry, folder: Path) -> None:
    base = add_a_base(registry, folder / "base")
    for name in ("sums", "other"):
        register_product(
            registry, a_product(registry, folder / name, base, name=name, run_id=f"run of {name}", facts=FACTS)
        )
    keys = (
        a_trusted_key(OFFICER, person="alex", role="officer", predicate_types=None),
        a_trusted_key(ENGINEER, person="sam", role="evaluator", predicate_types=None),
    )
    chain = one_more(registry.trust_chain, registry.private_key("root"), keys=(*registry.trust.keys, *keys))
    (registry.folder / "trust.json").write_bytes(render_chain(chain))


def version_of(registry: Registry, name: str) -> Version:
    return version_named(registry, name)


def predicate(place: Place, answers: tuple[Answer, ...], **over: Any) -> AnswersPredicate:
    current = version_statements(place.registry, place.version).newest
    assert current is not None
    stated: dict[str, Any] = {
        "record_id": current.record.record_id,
        "record": current.digest,
        "form": Digest.of(b"a form"),
        "answers": answers,
        "person": "alex",
        "role": "officer",
        "nonce": "0f",
    }
    return AnswersPredicate(**stated | over)


def say(place: Place, said: AnswersPredicate, signer: PrivateKey) -> Digest:
    return append_statement(
        place.registry, subject=place.version.manifest_digest, kind="answers", predicate=said.to_json(), signer=signer
    ).digest


def taking_up(place: Place, signed: SignedAnswers) -> ModificationPredicate:
    """The record that takes answers up, whether or not it may; nobody has signed it. Its id is `forged`."""
    subject = place.version.manifest_digest
    before = version_statements(place.registry, place.version).newest
    assert before is not None
    inputs = (
        RecordInput(kind="modification", digest=before.statement.digest, about=subject),
        RecordInput(kind="answers", digest=signed.statement, about=subject),
    )
    checks = record_checks(place.registry, subject)
    checks.statements.try_answers(signed)
    following = next_inputs(checks.statements, subject, before.record, inputs, name=place.version.name)
    return ModificationPredicate(
        edition=editions().newest,
        as_of=covered_size(place.registry),
        inputs=inputs,
        record=derive_next(following, record_id="forged", now=NOW),
    )


def log_unasked(place: Place, kind: Any, said: dict[str, Any], signer: PrivateKey) -> Digest:
    signed = sign_statement(place.version.manifest_digest, kind, said, signer)
    with place.registry.database.write() as tx:
        record_statement(tx, place.version.manifest_digest, signed, at=NOW)
    return signed.digest
