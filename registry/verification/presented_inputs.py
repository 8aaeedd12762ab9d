"""What a folder carries so that its records can be derived again: the statements about others that they name, and the editions.

A statement that a signed record names by its digest is what it was, whoever presents it: the digest is of its text. Whose key
signed it counts only where the user's trust file lists that key. An edition is announced where a log that the user trusts says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.logged_statements import NOBODY, EntrySigner, LoggedStatement, signer_of
from peft_registry.registry.records.record_inputs import Elsewhere
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.trust import ProvenTime, key_status, public_keys
from peft_registry.registry.transparency.entries import LoggedEntry, checkpoint_over, parse_entry
from peft_registry.registry.verification.evidence import MAX_STATEMENTS
from peft_registry.registry.verification.findings import Findings
from peft_registry.registry.verification.presented import EvidenceBroken
from peft_registry.schemas.edition import Edition, EditionPredicate, edition_subject
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import EVIDENCE_NAME
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import INPUTS_FILE, PREDICATE_TYPES, Statement, edition_proof_file

INPUTS_PATH = f"{EVIDENCE_NAME}/{INPUTS_FILE}"
_LINES_KEPT = 16  # what is said of a base and of an edition comes with every version that was made with them


def presented_inputs(findings: Findings) -> dict[Digest, LoggedStatement]:
    """The statements about others that are presented, by their digests; none where no such file is there.

    Raises:
        EvidenceBroken: it has too many lines, or one is not a statement.
        MalformedEnvelope, LooseBase64, MalformedJson: one is not what a signer writes.
    """
    if not findings.presented.has(INPUTS_PATH):
        return {}
    lines = [line for line in findings.presented.small(INPUTS_PATH).split(b"\n") if line]
    if len(lines) > MAX_STATEMENTS:
        raise EvidenceBroken(INPUTS_PATH, f"it has {len(lines)} lines, more than the {MAX_STATEMENTS} allowed")
    read = (_read(findings, number, line) for number, line in enumerate(lines, start=1))
    return {logged.digest: logged for logged in read}


def inputs_here(findings: Findings) -> Elsewhere:
    """What the user's registry knows of other artifacts, and what the folder carries of them."""
    known = findings.context.elsewhere
    own = findings.manifest_digest
    inputs = presented_inputs(findings)
    return replace(
        known,
        manifest=lambda digest: findings.manifest if digest == own else known.manifest(digest),
        statement=lambda digest: inputs.get(digest) or known.statement(digest),
        announced=lambda edition: known.announced(edition) or is_announced_here(findings, inputs.values(), edition),
        figures_announced=lambda figures: (
            known.figures_announced(figures) or are_figures_announced_here(findings, inputs.values(), figures)
        ),
    )


def _read(findings: Findings, number: int, line: bytes) -> LoggedStatement:
    envelope, statement = _opened(number, line)
    return LoggedStatement(Digest.of(envelope.payload), statement, _signer(findings, envelope))


@lru_cache(maxsize=_LINES_KEPT)
def _opened(number: int, line: bytes) -> tuple[Envelope, Statement]:
    what = f"line {number} of {INPUTS_PATH}"
    envelope = Envelope.parse(line, what=what)
    try:
        return envelope, Statement.from_json(read_json(envelope.payload, what=what))
    except ValidationError as error:
        raise EvidenceBroken(INPUTS_PATH, f"its line {number} is not a statement") from error


def _signer(findings: Findings, envelope: Envelope) -> EntrySigner:
    """Whose key signed it, of those that the user trusts; nobody where none of them did."""
    trust = findings.trust
    if trust is None:
        return NOBODY
    try:
        key = dsse.verify(envelope, public_keys(trust), what=INPUTS_PATH)
    except KnownError:
        return NOBODY
    return signer_of(trust.key(key.key_id), at=None, index=None)


def is_announced_here(findings: Findings, inputs: Iterable[LoggedStatement], edition: Edition) -> bool:
    """Whether a log that the user trusts shows that somebody whose role may announced an edition; `inputs` are those presented."""
    announced = _announced_at(findings, inputs, f"{EVIDENCE_NAME}/{edition_proof_file(edition.name)}")
    return announced is not None and announced.edition == edition


def are_figures_announced_here(findings: Findings, inputs: Iterable[LoggedStatement], figures: int) -> bool:
    """The same of an edition to which these figures of evaluations belong, or later ones."""
    announced = (_announced_at(findings, inputs, path) for path in edition_proofs(findings))
    return any(said is not None and said.figures is not None and said.figures >= figures for said in announced)


def _announced_at(findings: Findings, inputs: Iterable[LoggedStatement], path: str) -> EditionPredicate | None:
    """What the statement says whose proof lies there; None where it proves nothing, or that of nobody whose role may announce."""
    if findings.trust is None or not findings.presented.has(path):
        return None
    try:
        entry = parse_entry(findings.presented.small(path).decode("utf-8", "replace"))
        checkpoint_over(entry, findings.trust, now=findings.context.now)
    except KnownError:  # a proof that proves nothing announces nothing
        return None
    stated = (_announcement(findings.trust, findings, entry, logged) for logged in inputs)
    return next((said for said in stated if said is not None), None)


def _announcement(
    trust: TrustPolicy, findings: Findings, entry: LoggedEntry, logged: LoggedStatement
) -> EditionPredicate | None:
    statement = logged.statement
    if logged.digest != entry.event.statement or statement.kind != "edition" or logged.signer.key_id is None:
        return None
    status = key_status(
        trust,
        logged.signer.key_id,
        predicate_type=PREDICATE_TYPES["edition"],
        signed_at_proven=ProvenTime(entry.event.at),
        now=findings.context.now,
    )
    try:
        said = statement.read_by(EditionPredicate.from_json)
    except ValidationError:
        return None
    return said if status.state == "ok" and statement.subject_digest == edition_subject(said.edition.name) else None


def edition_proofs(findings: Findings) -> Iterator[str]:
    """The paths of the proofs of announcements that are presented."""
    prefix = f"{EVIDENCE_NAME}/{edition_proof_file('')}".removesuffix(".tlog-proof")
    return (name for name in findings.presented.files if name.startswith(prefix))
