"""Everything in a verified folder that can be done again with it alone: without torch, a network or the registry that wrote it.

Each line names what is recorded, what came of doing it again, and why it was not possible where it was not. A folder is not
faulted for what it does not hold, only for a result that differs from the recorded one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.compliance.form_rows import PLAIN
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.documents.arithmetic import arithmetic_of
from peft_registry.registry.documents.dossier import (
    POLICIES_FOLDER,
    SIGNER_FILE,
    STATEMENT_FILE,
    file_names,
    make_dossier,
    policies_named,
    policy_file,
    rules_digest,
)
from peft_registry.registry.documents.listed_files import files_to_list
from peft_registry.registry.documents.recipients import recipients
from peft_registry.registry.documents.reperformed import Outcome, Reperformed
from peft_registry.registry.documents.sources import document_source
from peft_registry.registry.documents.view import DocumentSource, DocumentValue, RecipientDocument
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.decisions import decided_by
from peft_registry.registry.reports.vouchers import owner_without_signature
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, PublicKey
from peft_registry.registry.signing.trust import key_status, public_keys, require_ok
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.registry.verification.with_base import ARTIFACT_FOLDER, DOSSIER_FILE
from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.hand_over import DocumentPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import EVIDENCE_NAME, FILE_NAME
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import PREDICATE_TYPES, STATEMENTS_FILE, Statement
from peft_registry.schemas.values import Timestamp, Value
from peft_registry.schemas.version import Check, CheckStatus, VerifyOutcome

SMALL_BYTES = 64 << 20  # of a document, a page or a policy
SIGNATURE = "signature of the documents"
# what the first checks of `registry verify` say of one file
_OF_A_FILE = re.compile(r"(?:missing|extra|changed): (?P<file>.+?)(?: is sha256:.*| has \d+ bytes, signed were \d+)?")
_MANIFEST = f"{ARTIFACT_FOLDER}/{FILE_NAME}"
RECORDS = f"{EVIDENCE_NAME}/{STATEMENTS_FILE}"
_OUTCOMES: Mapping[CheckStatus, Outcome] = {
    "ok": "reproduced",
    "recorded": "not possible",
    "unchecked": "not possible",
    "failed": "differs",
}


class DossierBroken(IntegrityBroken):
    what = "{file} is not the list of documents of a dossier"
    why = "{reason}"
    fix = "keep the folder as evidence, and ask whoever handed it over for another"

    file: str
    reason: str


class DocumentsWithoutTrust(NotChecked):
    what = "nobody is trusted to have signed the documents"
    why = "no trust file was given, and there is no registry here"
    fix = "get the trust file from its keeper, and give it with --trust"


@dataclass(frozen=True, slots=True)
class HandedList:
    """The list of a dossier's files.

    Attributes:
        index: as it was signed, by whomever; as it lies there where nobody did.
        answered_for: whether somebody whom the user trusts signed it.
        lines: who signed it, and whether what lies there is it.
    """

    index: DocumentPredicate
    answered_for: bool
    lines: tuple[Reperformed, ...]


def checks_again(outcome: VerifyOutcome, *, folder: str) -> Iterator[Reperformed]:
    """The checks of `registry verify` as lines of an audit: every digest, signature and proof, each wrong file by its name."""
    for check in outcome.checks:
        files = files_of(check)
        if files:
            for name, text in files.items():
                figure = f"verify: {check.step}"
                yield Reperformed(figure=figure, outcome="differs", text=text, file=_inside(folder, name))
            continue
        detail = f" ({'; '.join(check.detail[:3])})" if check.detail and check.status not in ("ok", "recorded") else ""
        yield Reperformed(
            figure=f"verify: {check.step}", outcome=_OUTCOMES[check.status], text=f"{check.text}{detail}", file=folder
        )


def files_of(check: Check) -> dict[str, str]:
    """What a check of an artifact that failed says of each file of it; nothing where it looks at no files."""
    if check.status != "failed" or check.step not in ("read", "files"):
        return {}
    matches = [_OF_A_FILE.fullmatch(text) for text in check.detail]
    return {match["file"]: match[0] for match in matches if match is not None}


def version_again(shown: PresentedVersion, *, folder: str) -> Iterator[Reperformed]:
    """The figures of a version: its evaluations from their items, its record from its inputs, its statuses by their rules."""
    yield from _evaluations(shown, folder)
    file = _inside(folder, RECORDS)
    if not shown.records.history:
        yield Reperformed(
            figure="modification record", outcome="not possible", text="there is none here: it is withheld", file=file
        )
        return
    record = in_third_form(shown.records.history[-1].record)
    yield _derived(shown, file)
    yield from arithmetic_of(record, file=file)
    answered = without_proposals(record)
    for verdict in verdicts_of(answered, decided=decided_by(shown.decisions)).both:
        of = "model" if verdict.table == "gpai_modifier" else "system"
        yield Reperformed(
            figure=f"status of the {of}",
            # a record keeps answers and no status, so that there is nothing that this one could be equal to
            outcome="not possible",
            text=f"none is recorded; by the rules of this release, from the answers {verdict.inputs.short}: {verdict.text}",
            file=file,
        )


def _evaluations(shown: PresentedVersion, folder: str) -> Iterator[Reperformed]:
    """Counts, rates, intervals and p values of each evaluation, computed from its item table."""
    for record in shown.records.evaluations:
        names = ", ".join(data.name for data in record.datasets)
        count = len(record.results) + len(record.comparisons) + len(record.losses)
        figure = f"evaluation of {names}"
        file = _inside(folder, f"{EVIDENCE_NAME}/{record.items.file}")
        try:
            items = shown.items(record)
        except NotChecked as error:
            yield Reperformed(figure=figure, outcome="not possible", text=f"{error.what}: {error.why}", file=file)
            continue
        # numpy and all that computes figures: asked for where there is something to compute
        from peft_registry.registry.evaluation.recheck import is_of_later_edition
        from peft_registry.registry.verification.evaluations import held_against

        if is_of_later_edition(record):
            text = "a later release computed its figures, by rules that this one does not know"
            yield Reperformed(figure=figure, outcome="not possible", text=text, file=file)
            continue
        wrong = held_against(record, items, closed_forms_only=False)
        text = "; ".join(map(str, wrong[:3])) or f"{count} rows of figures follow from {record.items.rows} items"
        yield Reperformed(figure=figure, outcome="differs" if wrong else "reproduced", text=text, file=file)


def _derived(shown: PresentedVersion, file: str) -> Reperformed:
    """The record as a whole: derived from its inputs when the folder was verified."""
    link = shown.records.history[-1]
    count = sum(leaf.value.source == "derived" for leaf in leaves(link.record))
    if link.note:
        return Reperformed(figure="record", outcome="not possible", text=f"it was {link.note}", file=file)
    predicate = link.statement.statement.predicate
    edition = predicate.get("edition", {}).get("name")
    if edition is None:
        return Reperformed(
            figure="record", outcome="not possible", text="it is from before editions, and is held as data", file=file
        )
    text = (
        f"{count} derived values follow from {len(predicate.get('inputs', ()))} signed statements by edition {edition}"
    )
    return Reperformed(figure="record", outcome="reproduced", text=text, file=file)


def handed_list(dossier: Path, manifest: Digest | None, trust: TrustPolicy | None, *, now: Timestamp) -> HandedList:
    """The list of a dossier, and who signed it.

    What was signed is the list: `dossier.json` repeats it for readers, and somebody who edits a file can mend it there.

    Args:
        dossier: its folder.
        manifest: of the artifact that lies in it; None where that cannot be read.
        trust: whom the user trusts; None for nobody.
        now: RFC 3339, UTC.

    Raises:
        DossierBroken, MalformedJson: nobody signed the list, and what lies there cannot be read.
    """
    if not (dossier / STATEMENT_FILE).is_file():
        text = "nobody signed them, or their signature was taken off: nobody answers for what stands on them"
        return _by_nobody(_index(dossier), "not possible", text)
    try:
        key_id, signed = _signed_list(dossier / STATEMENT_FILE, manifest, trust)
    except NotChecked as error:
        return _by_nobody(_index(dossier), "not possible", f"{error.what}: {error.why}")
    except KnownError as error:
        return _by_nobody(_index(dossier), "differs", f"{error.what}: {error.why}")
    outcome: Outcome
    try:
        outcome, text = "reproduced", _signer(key_id, trust, now)
    except NotChecked as error:
        outcome, text = "not possible", f"{error.what}: {error.why}"
    except KnownError as error:
        outcome, text = "differs", f"{error.what}: {error.why}"
    signature = Reperformed(figure=SIGNATURE, outcome=outcome, text=text, file=STATEMENT_FILE)
    return HandedList(signed, outcome == "reproduced", (signature, *_repeated(dossier, signed)))


def list_again(dossier: Path, handed: HandedList) -> Iterator[Reperformed]:
    """Who signed the list of a dossier, each file by its digest in it, and what it does not name."""
    yield from handed.lines
    yield from _digests(dossier, _listed(handed.index))


def documents_again(
    dossier: Path, handed: HandedList, shown: PresentedVersion, *, release: str
) -> Iterator[Reperformed]:
    """Each document of a dossier cut from the record again where that is here."""
    if not shown.records.history:
        text = "the record that they are cut from is withheld: they rest on whoever signed them"
        yield Reperformed(figure="documents", outcome="not possible", text=text, file=DOSSIER_FILE)
        return
    yield from _derived_documents(dossier, handed, shown, release)


def _index(dossier: Path) -> DocumentPredicate:
    data = read_file(dossier / DOSSIER_FILE, max_bytes=SMALL_BYTES)
    try:
        return DocumentPredicate.from_json(read_json(data, what=DOSSIER_FILE))
    except ValidationError as error:
        raise DossierBroken(DOSSIER_FILE, first_problem(error)) from error


def _by_nobody(index: DocumentPredicate, outcome: Outcome, text: str) -> HandedList:
    """The list as it lies there, and why its signature shows nothing."""
    return HandedList(index, False, (Reperformed(figure=SIGNATURE, outcome=outcome, text=text, file=STATEMENT_FILE),))


def _repeated(dossier: Path, signed: DocumentPredicate) -> Iterator[Reperformed]:
    """`dossier.json` where it is not what was signed; each file that it mends has a line of its own."""
    if read_file(dossier / DOSSIER_FILE, max_bytes=SMALL_BYTES) == signed.to_canonical():
        return
    try:
        listed, found = _listed(signed), _listed(_index(dossier))
    except KnownError as error:
        text = f"{error.what}: {error.why}"
    else:
        files = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
        count = "1 file" if len(files) == 1 else f"{len(files)} files"
        text = f"it has other digests of {count}" if files else "it names another recipient, record, time or release"
        text = f"{text} than what was signed: the signed one holds"
    yield Reperformed(figure=DOSSIER_FILE, outcome="differs", text=text, file=DOSSIER_FILE)


def _signed_list(path: Path, manifest: Digest | None, trust: TrustPolicy | None) -> tuple[str, DocumentPredicate]:
    """The list that was signed, and the id of the key, trusted or not, that signed it.

    Raises:
        DossierBroken: the statement is about something else.
        KnownError: as `dsse.verify`.
    """
    envelope = dsse.Envelope.parse(read_file(path, max_bytes=SMALL_BYTES).rstrip(b"\n"), what=STATEMENT_FILE)
    trusted = () if trust is None else public_keys(trust)
    try:
        key = dsse.verify(envelope, (*trusted, *_presented(path.with_name(SIGNER_FILE))), what=STATEMENT_FILE)
    except dsse.NoTrustedSignature as error:  # neither by a key that is trusted nor by the one that lies there
        raise DossierBroken(STATEMENT_FILE, error.why) from error
    try:
        statement = Statement.from_json(read_json(envelope.payload, what=STATEMENT_FILE))
        stated = DocumentPredicate.from_json(statement.predicate)
    except ValidationError as error:
        raise DossierBroken(STATEMENT_FILE, first_problem(error)) from error
    # a manifest that was edited is another than the list says, which its own line tells
    about = {manifest, _listed(stated).get(_MANIFEST), None}
    if statement.kind != "document" or (manifest is not None and statement.subject_digest not in about):
        raise DossierBroken(STATEMENT_FILE, "it is about another artifact, or of another kind")
    return key.key_id, stated


def _listed(index: DocumentPredicate) -> dict[str, Digest]:
    """Every file of a list, by its path."""
    listed = {file.path: file.sha256 for file in index.files}
    for document in index.documents:
        listed |= zip(file_names(document.name), (document.data, document.page), strict=True)
    return listed


def _signer(key_id: str, trust: TrustPolicy | None, now: Timestamp) -> str:
    """Whose key it is, and in which role it signed.

    Raises:
        NoTrust: nobody is trusted.
        UnlistedKey, RevokedKey, ExpiredKey, KeyLacksRole: it may not sign documents.
    """
    if trust is None:
        raise DocumentsWithoutTrust
    predicate = PREDICATE_TYPES["document"]
    signer = require_ok(key_status(trust, key_id, predicate_type=predicate, signed_at_proven=None, now=now))
    return f"by {signer.person} as {signer.role}"


def _presented(path: Path) -> tuple[PublicKey, ...]:
    """The key that lies beside the statement; none where nobody put one there."""
    return (PublicKey.parse(read_file(path, max_bytes=KEY_FILE_MAX_BYTES)),) if path.is_file() else ()


def _digests(dossier: Path, listed: Mapping[str, Digest]) -> Iterator[Reperformed]:
    """Each file against its digest in the list, and what the list does not name."""
    there = files_to_list(dossier)
    for name, digest in listed.items():
        if name not in there:
            yield Reperformed(figure=f"digest of {name}", outcome="differs", text="it is not there", file=name)
            continue
        found = hash_file(dossier / name).sha256
        outcome: Outcome = "reproduced" if found == digest else "differs"
        text = digest.short if found == digest else f"listed is {digest.short}, it hashes to {found.short}"
        yield Reperformed(figure=f"digest of {name}", outcome=outcome, text=text, file=name)
    for name in sorted(there - listed.keys()):
        text = "the list of the documents does not name it"
        yield Reperformed(figure=name, outcome="differs", text=text, file=name)


def _derived_documents(
    dossier: Path, handed: HandedList, shown: PresentedVersion, release: str
) -> Iterator[Reperformed]:
    """The documents cut from the record again: their data always by the same table, their pages by the same release."""
    index = handed.index
    if index.recipient not in recipients().recipients:
        text = f"this release knows no recipient {index.recipient}"
        yield Reperformed(figure="documents", outcome="not possible", text=text, file=DOSSIER_FILE)
        return
    source = document_source(shown.version, shown.records, decided_by(shown.decisions), shown.reading)
    again = make_dossier(source, index.recipient, release=release)
    if index.record != again.index.record:
        text = f"they are cut from the record {index.record.short}, and the one that holds here is {again.index.record.short}"
        # a list that somebody answers for was not edited: then the artifact is another than the one that was handed over
        file = _inside(ARTIFACT_FOLDER, RECORDS) if handed.answered_for else DOSSIER_FILE
        yield Reperformed(figure="record of the documents", outcome="differs", text=text, file=file)
        return
    if index.table != rules_digest():
        text = "another release cut them, by another table of rows; each value that stands in them is compared with the record"
        yield Reperformed(figure="documents", outcome="not possible", text=text, file=DOSSIER_FILE)
        yield from _values_again(dossier, index, source)
        return
    listed = {document.name: document for document in again.index.documents}
    for document in index.documents:
        data, page = file_names(document.name)
        derived = listed.get(document.name)
        if derived is None:
            text = "no such document is this recipient's"
            yield Reperformed(figure=document.name, outcome="differs", text=text, file=data)
            continue
        is_equal = derived.data == document.data
        text = "cut again from the signed record" if is_equal else "the record gives other data"
        yield Reperformed(figure=data, outcome="reproduced" if is_equal else "differs", text=text, file=data)
        if document.page == derived.page:
            yield Reperformed(figure=page, outcome="reproduced", text="rendered again from those data", file=page)
            continue
        text = (
            f"data {'equal' if is_equal else 'not equal'}, rendered by {index.renderer}, which words it otherwise"
            if index.renderer != release
            else _underived(dossier / page, document.page, answered_for=handed.answered_for)
        )
        yield Reperformed(figure=page, outcome="not possible", text=text, file=page)


def _values_again(dossier: Path, index: DocumentPredicate, source: DocumentSource) -> Iterator[Reperformed]:
    """Each value of the documents against the record, whichever rows it answers: what of other releases can be compared too."""
    record = source.answered
    recorded = {leaf.path: leaf.value for leaf in leaves(record)}
    for listed in index.documents:
        name, _ = file_names(listed.name)
        if not (dossier / name).is_file():
            continue  # `_digests` says so
        try:
            document = RecipientDocument.from_json(
                read_json(read_file(dossier / name, max_bytes=SMALL_BYTES), what=name)
            )
        except ValidationError as error:
            text = f"it is not a document: {first_problem(error)}"
            yield Reperformed(figure=f"values of {name}", outcome="differs", text=text, file=name)
            continue
        values = [value for row in document.rows for value in row.values]
        wrong = [value.path for value in values if not _is_recorded(value, recorded, record)]
        if document.record != source.digest:
            wrong.append("the record that it names")
        text = (
            f"otherwise in the record: {', '.join(wrong[:3])}"
            if wrong
            else f"{len(values)} values are the record's own"
        )
        yield Reperformed(
            figure=f"values of {name}", outcome="differs" if wrong else "reproduced", text=text, file=name
        )


def _is_recorded(value: DocumentValue, recorded: Mapping[str, Value], record: ModificationRecord) -> bool:
    """Whether the record has a value, or a member of an object, as a document says."""
    if value.path in (*PLAIN, "supersedes"):
        return bool(value.value == getattr(record, value.path))
    whole = recorded.get(value.path)
    if whole is not None:
        is_typed = owner_without_signature(value.path, whole) is not None
        is_same = (value.value, value.unit, value.source) == (as_doubles(whole.value), whole.unit, whole.source)
        return is_same and (is_typed or not value.typed)
    head, _, member = value.path.rpartition(".")
    holder = recorded.get(head)
    members = None if holder is None else holder.value
    return isinstance(members, dict) and bool(value.value == as_doubles(members.get(member)))


def _underived(page: Path, listed: Digest, *, answered_for: bool) -> str:
    """Why a page of this release is another than the record gives: what stops its use stands on it too, and follows from no record.

    A statement that is missing here makes every page another; that accuses nobody.
    """
    if not page.is_file() or hash_file(page).sha256 != listed:
        return "its data are those of the record; what else stands on it, such as a recall, this folder cannot give"
    by = "is as it was signed" if answered_for else "nobody whom you trust signed it"
    return f"it cannot be derived from what is here, and {by}"


def policies_again(dossier: Path) -> Iterator[Reperformed]:
    """The bytes of each policy that lies there, by the digest in its name."""
    for path in sorted((dossier / POLICIES_FOLDER).glob("*")):
        if path.is_dir():
            continue  # of what lies in it the list says that it names none
        policy = Digest.of(read_file(path, max_bytes=SMALL_BYTES))
        file = f"{POLICIES_FOLDER}/{path.name}"
        is_it = file == policy_file(policy)
        text = "its bytes are those that its name says" if is_it else "its bytes are others than its name says"
        yield Reperformed(
            figure=f"policy {path.stem.removeprefix('sha256-')[:12]}…",
            outcome="reproduced" if is_it else "differs",
            text=text,
            file=file,
        )


def policies_not_here(dossier: Path, shown: PresentedVersion) -> Iterator[Reperformed]:
    """Each policy that somebody decided under and whose bytes are not there."""
    for policy in policies_named(shown.records.statements):
        name = policy_file(policy)
        if not (dossier / name).is_file():
            text = "its bytes are not here; whoever decided under it has them"
            yield Reperformed(figure=f"policy {policy.short}", outcome="not possible", text=text, file=name)


def _inside(folder: str, path: str) -> str:
    return f"{folder}/{path}" if folder else path
