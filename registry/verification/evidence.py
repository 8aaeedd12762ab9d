"""What lies in `evidence/` beside an artifact: the signers' keys, the statements, the log proof. Read here, judged elsewhere.

All of it comes from whoever presents the artifact. A key from here vouches for nothing: it only tells a wrong signature from
one by somebody unknown. A proof counts when a log key that the user trusts signed its checkpoint.
"""

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.dsse import Envelope
from peft_registry.registry.signing.keys import MalformedPublicKey, PublicKey
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.transparency.completeness import CompleteList, parse_list
from peft_registry.registry.transparency.entries import LoggedEntry, parse_entry
from peft_registry.registry.verification.presented import EvidenceBroken, Presented
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import EVIDENCE_NAME
from peft_registry.schemas.statement import (
    COMPLETE_FILE,
    DECISIONS_FILE,
    KEYS_FOLDER,
    PROOF_FILE,
    STATEMENTS_FILE,
    RegistrationPredicate,
    Statement,
)

MAX_KEYS = 100
MAX_STATEMENTS = 10_000
# keys tried in vain, at 0.1 ms each; there are none where a folder has its list, which names the key of each statement
MAX_TRIES = 10_000
STATEMENTS_PATH = f"{EVIDENCE_NAME}/{STATEMENTS_FILE}"
PROOF_PATH = f"{EVIDENCE_NAME}/{PROOF_FILE}"
COMPLETE_PATH = f"{EVIDENCE_NAME}/{COMPLETE_FILE}"
DECISIONS_PATH = f"{EVIDENCE_NAME}/{DECISIONS_FILE}"


class StatementBroken(IntegrityBroken):
    what = f"line {{line}} of {STATEMENTS_PATH} is not a statement about this artifact"
    why = "{reason}"
    fix = "pull the version again; keep this copy if it came from somebody else"

    line: int
    reason: str


def key_path(key: PublicKey) -> str:
    """Where the public key of a signer lies in a folder."""
    return f"{EVIDENCE_NAME}/{KEYS_FOLDER}/{key.key_id[:16]}.pub"


def presented_keys(presented: Presented) -> tuple[PublicKey, ...]:
    """The public keys that travel with the evidence.

    Raises:
        EvidenceBroken: one is not a key, is not the one that its name says, or there are too many.
    """
    prefix = f"{EVIDENCE_NAME}/{KEYS_FOLDER}/"
    names = sorted(name for name in presented.files if name.startswith(prefix))
    if len(names) > MAX_KEYS:
        raise EvidenceBroken(prefix, f"it holds {len(names)} keys, more than the {MAX_KEYS} allowed")
    keys = []
    for name in names:
        try:
            key = PublicKey.parse(presented.small(name))
        except MalformedPublicKey as error:
            raise EvidenceBroken(name, f"it is not a public key: {error.why}") from error
        if name != key_path(key):
            raise EvidenceBroken(name, "it holds another key than its name says")
        if presented.small(name) != key.pem:
            raise EvidenceBroken(name, "it is not the text that its key encodes to")
        keys.append(key)
    return tuple(keys)


def read_statements(presented: Presented) -> tuple[OpenedStatement, ...]:
    """Every statement, in the order of its line. Nobody has checked their signatures yet.

    Raises:
        FileAbsent: there is no such file.
        StatementBroken: one is not an in-toto statement about one digest, or there are too many.
        MalformedEnvelope, LooseBase64, MalformedJson: one is not what a signer writes.
    """
    lines = [line for line in presented.small(STATEMENTS_PATH).split(b"\n") if line]
    if len(lines) > MAX_STATEMENTS:
        raise EvidenceBroken(STATEMENTS_PATH, f"it has {len(lines)} lines, more than the {MAX_STATEMENTS} allowed")
    return tuple(_read_statement(number, line) for number, line in enumerate(lines, start=1))


def read_entry(presented: Presented) -> LoggedEntry | None:
    """The log entry that the proof speaks of; None while no proof is there.

    Raises:
        MalformedNote, LooseBase64, MalformedJson: it is not a proof of a log entry.
    """
    if not presented.has(PROOF_PATH):
        return None
    return parse_entry(presented.small(PROOF_PATH).decode("utf-8", "replace"))


def read_list(presented: Presented) -> CompleteList | None:
    """The list of everything that was said; None where no such proof is there.

    Raises:
        MalformedNote, LooseBase64, MalformedJson: it is not a proof of this form.
    """
    if not presented.has(COMPLETE_PATH):
        return None
    return parse_list(presented.small(COMPLETE_PATH).decode("utf-8", "replace"))


def registration_in(statement: Statement, line: int) -> RegistrationPredicate | None:
    """What the statement of a line, from 1, registers; None for another kind.

    Raises:
        StatementBroken: it is not what a registration is.
    """
    if statement.kind != "registration":
        return None
    try:
        return statement.read_by(RegistrationPredicate.from_json)
    except ValidationError as error:
        raise StatementBroken(line, first_problem(error)) from error


def _read_statement(number: int, line: bytes) -> OpenedStatement:
    envelope = Envelope.parse(line, what=f"statement {number}")
    value = read_json(envelope.payload, what=f"statement {number}")
    try:
        statement = Statement.from_json(value)
    except ValidationError as error:
        raise StatementBroken(number, first_problem(error)) from error
    return OpenedStatement(statement, envelope, Digest.of(envelope.payload))
