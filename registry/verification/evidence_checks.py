"""The checks of what accumulates beside an artifact: its statements (8) and its place in the log (9).

Each statement is dated by its own entry in the log (`complete.tlog-proof`), for the key that the entry names. A folder of an
earlier release has only the proof of its registration. What that dates is narrow on purpose: that one registration, the statements
that it names, and the signature that it names, each made by the key that the log entry names. A stolen key that is revoked or
expired by now could otherwise add a registration of its own beside the logged one and borrow its date.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import zip_longest

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.evaluation.staleness import composition_of, staleness
from peft_registry.registry.identity.weights import weights_digest
from peft_registry.registry.records.entries import misplaced
from peft_registry.registry.records.logged_statements import EntrySigner
from peft_registry.registry.records.record_checks import RecordChecks, answers_as_another
from peft_registry.registry.records.record_inputs import Elsewhere
from peft_registry.registry.records.version_statements import newest_card
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.dsse import NoTrustedSignature, UnknownKey
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.signing.trust import KeyLacksRole, ProvenTime, key_status, public_keys, require_ok
from peft_registry.registry.transparency.completeness import (
    CompleteList,
    EntryDate,
    StatementEntry,
    origin_of_list,
)
from peft_registry.registry.transparency.entries import LoggedEntry, origin_of
from peft_registry.registry.verification.decision_file import decision_file
from peft_registry.registry.verification.decision_text import FORM, form_of, without_derived
from peft_registry.registry.verification.evidence import (
    COMPLETE_PATH,
    DECISIONS_PATH,
    PROOF_PATH,
    STATEMENTS_PATH,
    StatementBroken,
    key_path,
    registration_in,
)
from peft_registry.registry.verification.findings import (
    CheckResult,
    Claimed,
    Dated,
    Findings,
    failed,
    ok,
    unchecked,
)
from peft_registry.registry.verification.presented import SMALL_MAX_BYTES, EvidenceBroken
from peft_registry.registry.verification.presented_inputs import (
    INPUTS_PATH,
    edition_proofs,
    inputs_here,
)
from peft_registry.registry.verification.recorded_rows import row_contradictions
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, EVIDENCE_NAME, FILE_NAME
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import PREDICATE_TYPES, CardPredicate, Statement, logged_kind

TABLE_MAX_BYTES = 1 << 30  # of an item table; the largest suite gives some ten million bytes
_UNHELD = f"{DECISIONS_PATH} cannot be held against statements that are not here"
LAST_UNPROVEN = "2026-12"
"""The last edition with which a file of decisions was written that nothing in its copy can be held against."""
LOG_SIGNER_UNKNOWN = "log-signer-unknown"
"""A proof from a log whose key the user trusts, not signed by it: nothing is verified by such a proof, nor in spite of it."""


def dated_by_log(findings: Findings) -> Dated | None:
    """What the log proof dates; None where nothing is proven (checks 8 and 9 say what is wrong)."""
    if findings.trust is None:
        return None
    try:
        entry = findings.logged
        if entry is None or entry.event.subject != findings.manifest_digest:
            return None
        proof = findings.entry_proof
        if proof is None or proof.checkpoint is None:
            return None
        lines = enumerate(findings.presented_statements, start=1)
        named = ((line, read.statement) for line, read in lines if read.digest == entry.event.statement)
        registration = next((registration_in(statement, line) for line, statement in named), None)
    except KnownError:
        return None
    if registration is None:
        return None
    covered = frozenset({entry.event.statement, *registration.accompanied_by})
    own = findings.entry_dates.get(entry.event.statement)
    proven = ProvenTime(entry.event.at) if own is None else own.proven
    return Dated(proven, entry.event.key, registration, covered)


def entry_dates(findings: Findings) -> Mapping[Digest, EntryDate]:
    """When the log received each statement, for those with an entry of their own here; empty where nothing is proven."""
    proof = findings.list_proof  # check 8 says what is wrong with it
    return {} if proof is None else proof.dates


def proven_time_of_signature(findings: Findings) -> ProvenTime | None:
    """The time of the log entry of the registration, if that covers this very signature by this very key."""
    dated = findings.dated
    bundle = findings.bundle
    signer = findings.signer
    if dated is None or bundle is None or signer is None or signer.key_id != dated.key_id:
        return None
    return dated.proven if dated.registration.signature == bundle.payload_digest else None


def proven_time_of_statement(findings: Findings, statement: Digest, key_id: str) -> ProvenTime | None:
    """The time of the own entry of a statement by this key, else that of the registration that names it."""
    own = findings.entry_dates.get(statement)
    if own is not None and own.key_id == key_id:
        return own.proven
    dated = findings.dated
    return dated.proven if dated is not None and statement in dated.statements and key_id == dated.key_id else None


def check_statements(findings: Findings) -> CheckResult:
    """8: every statement is about this manifest and signed for its role; card, item tables and figures are those they name."""
    if not findings.presented.has(STATEMENTS_PATH):
        return unchecked("no statements are here", "evidence-missing")
    # by digest: a line that stands there twice, or once more with its ECDSA twin for a signature, says nothing new
    unknown = {
        read.digest: problem
        for line, read in enumerate(findings.presented_statements, start=1)
        if (problem := _count(findings, line, read))
    }
    incomplete = _incomplete(findings, unknown)
    if incomplete is not None:
        # what is here is held against what it says all the same: nothing wrong may hide behind what is withheld
        is_readable = findings.registrations and not unknown
        return (_wrong_of_what_is_here(findings) if is_readable else None) or incomplete
    checks = RecordChecks(inputs_here(findings))
    wrong = (
        _stray_evidence(findings)
        or _not_everything(findings)
        or _misplaced(findings)
        or _otherwise_in_catalog(findings)
        or _wrong_answers(findings, checks)
    )
    if wrong is not None:
        return wrong
    _check_item_tables(findings)
    wrong, figure_notes = _check_figures(findings, checks.elsewhere)
    if wrong is not None:
        return wrong
    wrong = _wrong_card(findings) or _wrong_decisions(findings)
    if wrong is not None:
        return wrong
    text = f"{len(findings.statements)} bound to this manifest{_completeness_text(findings)}"
    withheld = () if findings.listed is None else _withheld(findings.listed, findings)
    notes = [f"withheld: {entry.kind} {entry.digest}" for entry in withheld]
    return ok(
        text,
        (
            *notes,
            *_unproven_decisions(findings),
            *_not_derived(findings, checks),
            *_stale_evaluations(findings),
            *figure_notes,
        ),
    )


def _wrong_of_what_is_here(findings: Findings) -> CheckResult | None:
    """What is wrong with the statements that are here, where others that were registered with them are not; None for nothing."""
    for result in (_stray_evidence(findings), _not_everything(findings), _misplaced(findings)):
        if result is not None and result.status == "failed":
            return result
    _check_item_tables(findings)
    figures, _ = _check_figures(findings, inputs_here(findings))
    # nothing tells which card is the newest where the statement of one may be away
    listed = findings.listed
    is_every_card_here = listed is not None and not any(entry.kind == "card" for entry in _withheld(listed, findings))
    for wrong in (figures, _wrong_card(findings) if is_every_card_here else None):
        if wrong is not None and wrong.status == "failed":
            return wrong
    return None


def _misplaced(findings: Findings) -> CheckResult | None:
    """Statements of a kind that cannot be about this artifact; None where there are none."""
    manifest = findings.need_manifest()
    reasons = tuple(
        f"{statement.kind} {digest.short}: {reason}"
        for statement, digest in findings.statements
        if (reason := misplaced(statement.kind, manifest))
    )
    return failed("a statement cannot be about this artifact", "statement-misplaced", reasons) if reasons else None


def _otherwise_in_catalog(findings: Findings) -> CheckResult | None:
    contradictions = _contradictions(findings)
    if not contradictions:
        return None
    return failed("the catalogue says something else than what was signed", "catalog-contradicted", contradictions)


def _check_figures(findings: Findings, elsewhere: Elsewhere) -> tuple[CheckResult | None, tuple[str, ...]]:
    """What is wrong with the figures of evaluations, None for nothing, and what is to be said of them."""
    evaluations = _evaluations(findings)
    if not evaluations:
        return None, ()
    # numpy, and all that computes figures: most artifacts that are verified have none
    from peft_registry.registry.evaluation.recheck import EvaluationAltered
    from peft_registry.registry.verification.evaluations import check_figures

    figures = check_figures(findings.presented, evaluations, announced=elsewhere.figures_announced)
    if figures.contradictions:
        wrong = failed("figures are not what their items give", EvaluationAltered.reference, figures.contradictions)
        return wrong, figures.notes
    if figures.unknown:
        return unchecked("figures cannot be recomputed", "later-figures", figures.unknown), figures.notes
    return None, figures.notes


def _wrong_answers(findings: Findings, checks: RecordChecks) -> CheckResult | None:
    """Records that say what nobody signed, or rest on statements that are not here; None where there are none.

    `checks` is empty, and takes up all statements.
    """
    listed = frozenset[Digest]() if findings.listed is None else findings.listed.digests
    # a record before it may be one of them; without a list nothing shows that it was ever logged
    sealed = 0 if findings.listed is None else findings.listed.sealed
    may_be_withheld = (
        findings.listed is None
        or sealed > 0
        or any(entry.kind == "modification" for entry in _withheld(findings.listed, findings))
    )
    wrong: list[str] = []
    withheld: list[str] = []
    for statement, digest in _in_log_order(findings):
        check = checks.take(digest, statement, _entry_signer(findings, digest))
        if check is None:
            continue
        about = f"modification {digest.short}, "
        lines = [about + text for text in (*check.wrong, *check.lacking)]
        if check.is_without_earlier:
            # what it may carry on stands in the record before it
            (withheld if may_be_withheld else wrong).extend(lines)
        elif (
            check.lacking and not check.wrong and (sealed or listed.issuperset(entry.digest for entry in check.missing))
        ):
            withheld += lines
        else:
            wrong += lines
    wrong += checks.first_records(_subject(findings), findings.need_manifest())
    if wrong:
        return failed("a record does not follow from what is signed", "record-not-derived", wrong)
    if withheld:
        return unchecked("a record rests on statements that are withheld", "statements-withheld", withheld)
    why = [f"modification {digest.short}, {text}" for digest, text in checks.unchecked(_subject(findings))]
    if why:
        return unchecked("a record is of an edition that this release does not know", "edition-unknown", why)
    return None


def _entry_signer(findings: Findings, statement: Digest) -> EntrySigner:
    """Whose key signed a statement, and where and when by its own entry, as far as that is shown."""
    key_id = findings.signers[statement].key_id
    key = None if findings.trust is None else findings.trust.key(key_id)
    shown = findings.entry_dates.get(statement)
    entry = shown if shown is not None and shown.key_id == key_id else None
    role = None if findings.trust is None else ""
    return EntrySigner(
        key_id=key_id,
        person=None if key is None else key.person,
        logged_at=None if entry is None else entry.proven.logged_at,
        role=role if key is None else key.role,
        index=None if entry is None else entry.index,
    )


def _subject(findings: Findings) -> Digest:
    assert findings.manifest_digest is not None, "statements are checked after the manifest"
    return findings.manifest_digest


def _not_derived(findings: Findings, checks: RecordChecks) -> Iterator[str]:
    """What of the records could not be derived again here, and why. Shown, and never part of the verdict."""
    for digest, text in checks.notes(_subject(findings)):
        yield f"modification {digest.short}, {text}"


def _in_log_order(findings: Findings) -> list[tuple[Statement, Digest]]:
    """The statements as the log has them; without a list in the order of their lines, which anybody may change."""
    if findings.listed is None:  # a registration covers what it names, and stands behind that
        return sorted(findings.statements, key=lambda said: said[0].kind == "registration")
    position = {entry.digest: place for place, entry in enumerate(findings.listed.told)}
    return sorted(findings.statements, key=lambda said: position[said[1]])


def _evaluations(findings: Findings) -> tuple[tuple[Digest, EvaluationRecord], ...]:
    return tuple(
        (digest, statement.read_by(EvaluationRecord.from_json))
        for statement, digest in findings.statements
        if statement.kind == "bias-evaluation"
    )


def _completeness_text(findings: Findings) -> str:
    """Up to when the statements are all that were made, or how many more there are."""
    listed = findings.listed
    if listed is None:
        return ""
    withheld = len(_withheld(listed, findings))
    here = "all that were made" if withheld == 0 else f"all but {withheld} that were made"
    return f", {here} up to {listed.stated.leaf.at}"


def check_log(findings: Findings) -> CheckResult:
    """9: the registration is in the log, by a checkpoint that a trusted log key signed."""
    if not findings.presented.has(PROOF_PATH) or findings.logged is None:
        return unchecked("pending: no checkpoint covers the registration yet", "log-pending")
    entry = findings.logged
    problem = _wrong_entry(findings, entry)
    if problem is not None:
        return problem
    proof = findings.entry_proof
    if findings.trust is None or proof is None:
        return unchecked(f"entry {entry.proof.index}; no trust to check its signature", "no-trust")
    if isinstance(proof.problem, UnknownKey):
        return unchecked(proof.problem.what, _unknown_signer(findings.trust, entry), [proof.problem.why])
    if proof.checkpoint is None:
        assert proof.problem is not None, "a proof that leads nowhere says why"
        raise proof.problem
    origin = origin_of(entry, public_keys(findings.trust, role="log"))
    findings.hold_against_own_log(origin, proof.checkpoint)
    text = f"entry {entry.proof.index} of {proof.checkpoint.size} in {origin}, {entry.event.at}"
    if findings.witnesses:
        text += f", witnessed by {', '.join(findings.witnesses)}"
    damaged = findings.own_log_problem
    return ok(text) if damaged is None else unchecked(f"{text}; {damaged.what}", damaged.reference, [damaged.why])


def _wrong_entry(findings: Findings, entry: LoggedEntry) -> CheckResult | None:
    """Why the proof's entry is not this registration; None if it is, whoever signed the log."""
    if entry.event.subject != findings.manifest_digest:
        return failed("the proof is about another artifact", "proof-of-another", [str(entry.event.subject)])
    if not findings.registrations:
        return unchecked(f"entry {entry.proof.index}; its registration is not here", "no-registration")
    if entry.event.statement not in findings.registrations:
        text = "the logged registration is not among the statements"
        return failed(text, "proof-of-another", [str(entry.event.statement)])
    return None


def _unknown_signer(trust: TrustPolicy, entry: LoggedEntry) -> str:
    """A log that the user's trust speaks of, signed by none of its keys, is another finding than a log unheard of."""
    origin = origin_of(entry, public_keys(trust, role="log"))
    return LOG_SIGNER_UNKNOWN if any(key.log_origin == origin for key in trust.keys) else UnknownKey.reference


def _incomplete(findings: Findings, unknown: Mapping[Digest, str]) -> CheckResult | None:
    """What is missing before the statements can be said to be complete and trusted; None if nothing."""
    if not findings.registrations:
        return unchecked("no registration statement is here", "no-registration", unknown.values())
    named = {digest for registration in findings.registrations.values() for digest in registration.accompanied_by}
    withheld = sorted(str(digest) for digest in named - {digest for _, digest in findings.statements})
    if withheld:
        others = () if findings.listed is None else _withheld_lines(findings.listed, findings, besides=named)
        text = f"{len(withheld)} statements that were registered with it are withheld"
        return unchecked(text, "statements-withheld", (*withheld, *others))
    if unknown:
        said = {read.digest for read in findings.presented_statements}
        text = f"{len(unknown)} of {len(said)} are signed by keys that you do not trust"
        return unchecked(text, "unknown-key", unknown.values())
    return None


# what may stay away from a folder although it was said: the proof still shows that it was
# nothing that speaks of how good it is may, such as a test that failed, nor a card: the one before it would pass for the newest
_MAY_BE_WITHHELD = frozenset(
    {
        *("provenance", "modification", "base"),
        logged_kind(PREDICATE_TYPES["answers"]),
        logged_kind(PREDICATE_TYPES["observations"]),
    }
)


def _not_everything(findings: Findings) -> CheckResult | None:
    """Why the statements here are not shown to be all that was said; None if they are.

    A log of the first release had no snapshots: what was registered then has no such proof and is accepted without.
    """
    listed = findings.listed
    if listed is None:
        needs_proof = any(registration.is_completeness_provable for registration in findings.registrations.values())
        if not needs_proof or findings.context.claimed is not None:
            return None
        return unchecked("nothing shows that these are all statements that were made", "completeness-not-shown")
    proof = findings.list_proof
    if findings.trust is not None and proof is not None:
        if proof.problem is not None:
            raise proof.problem
        assert proof.checkpoint is not None, "a proof without a problem leads to a checkpoint"
        findings.hold_against_own_log(origin_of_list(listed, findings.trust), proof.checkpoint)
    return _held_against(listed, findings)


def _held_against(listed: CompleteList, findings: Findings) -> CheckResult | None:
    """What is here and not on the list, or on the list and not here; None if it is the same, as far as it decides anything."""
    here = {digest for _, digest in findings.statements}
    unlisted = sorted(str(digest) for digest in here - listed.digests)
    if unlisted:
        return failed(f"{len(unlisted)} statements that the log does not list", "statement-not-logged", unlisted)
    decisive = [entry for entry in _withheld(listed, findings) if entry.kind not in _MAY_BE_WITHHELD]
    if decisive or listed.sealed:  # nobody can tell what a sealed one is
        text = f"{len(decisive) + listed.sealed} statements that were made about it are withheld"
        harmless = frozenset(entry.digest for entry in _withheld(listed, findings)) - {
            entry.digest for entry in decisive
        }
        return unchecked(text, "statements-withheld", _withheld_lines(listed, findings, besides=harmless))
    return None


def _withheld_lines(listed: CompleteList, findings: Findings, *, besides: Collection[Digest]) -> Iterator[str]:
    """What is on the list and not here, a line each, but for what is named elsewhere or decides nothing."""
    for entry in _withheld(listed, findings):
        if entry.digest not in besides:
            yield f"{entry.kind} {entry.digest}"
    if listed.sealed:
        yield f"sealed: {listed.sealed}, of which neither digest nor kind is told"
    if findings.presented.has(DECISIONS_PATH):
        yield _UNHELD


def _withheld(listed: CompleteList, findings: Findings) -> tuple[StatementEntry, ...]:
    """What is on the list and not here."""
    here = {digest for _, digest in findings.statements}
    return tuple(entry for entry in listed.told if entry.digest not in here)


def _stray_evidence(findings: Findings) -> CheckResult | None:
    """Files in `evidence/` that nothing names: not a statement's, a key's, a table's or a proof's. None if there are none."""
    named = {STATEMENTS_PATH, PROOF_PATH, COMPLETE_PATH, DECISIONS_PATH}
    named |= {key_path(key) for key in findings.presented_keys}
    named |= {INPUTS_PATH, *edition_proofs(findings)}
    for statement, _ in findings.statements:
        if statement.kind == "bias-evaluation":
            named.add(f"{EVIDENCE_NAME}/{statement.read_by(EvaluationRecord.from_json).items.file}")
    prefix = f"{EVIDENCE_NAME}/"
    stray = sorted(name for name in findings.presented.files if name.startswith(prefix) and name not in named)
    if not stray:
        return None
    return failed(
        f"{len(stray)} files in {EVIDENCE_NAME} that nothing names", "extra-file", [f"extra: {name}" for name in stray]
    )


def _count(findings: Findings, line: int, read: OpenedStatement) -> str:
    """Record the statement of a line, once however often it stands there; returns why it does not count, or an empty text.

    Raises:
        StatementBroken: it is about something else, or nobody signed it whose key is trusted or presented.
        RevokedKey, KeyLacksRole, ExpiredKey: its signer must not sign this, or not at that time.
    """
    try:
        signer = dsse.verify(read.envelope, findings.keys_to_try(read.digest), what=f"statement {line}")
    except NoTrustedSignature as error:
        if findings.presented_keys:
            # the signers' keys travel with the statements: a key that nobody presented signed nothing here
            why = "neither a trusted key nor any key presented with it made its signature"
            raise StatementBroken(line, why) from error
        return f"{line}: {read.statement.predicate_type}, and no signer's key is presented"
    findings.last_signer = signer
    if read.statement.subject_digest != findings.manifest_digest:
        raise StatementBroken(line, f"it is about {read.statement.subject_digest.short}")
    if read.digest not in findings.counted:
        findings.counted.add(read.digest)
        findings.statements.append((read.statement, read.digest))
        findings.signers[read.digest] = signer
    registration = registration_in(read.statement, line)
    if registration is not None:
        findings.registrations[read.digest] = registration
    if findings.trust is None:
        return f"{line}: {read.statement.predicate_type}, no trust was given"
    status = key_status(
        findings.trust,
        signer.key_id,
        predicate_type=read.statement.predicate_type,
        signed_at_proven=proven_time_of_statement(findings, read.digest, signer.key_id),
        now=findings.context.now,
    )
    if status.state == "unknown":
        return f"{line}: {read.statement.predicate_type} by key {signer.key_id[:12]}…"
    key = require_ok(status)
    another = answers_as_another(read.statement, key)
    if another:
        raise KeyLacksRole(signer.key_id, another)
    return ""


def _contradictions(findings: Findings) -> list[str]:
    """Where the catalogue's row of a version is not what the signed manifest, registration and log entry say."""
    if findings.context.claimed is None:
        return []
    version = findings.context.claimed.version
    manifest = findings.need_manifest()
    dated = findings.dated
    names = {registration.name for registration in ([dated.registration] if dated else findings.registrations.values())}
    base = manifest.base
    compared = {
        "kind": (version.kind, manifest.kind),
        "layout": (version.layout, manifest.layout),
        "method": (version.method, manifest.method),
        "weights digest": (version.weights_digest, manifest.weights_digest),
        "base": (version.base_manifest, base.manifest if base else None),
        "base weights": (version.base_weights, base.identity.weights if base else None),
        "size": (version.size_bytes, sum(entry.size for entry in manifest.files)),
        "key": (version.key_id, dated.key_id if dated else version.key_id),
        "time": (version.registered_at, dated.proven.logged_at if dated else version.registered_at),
    }
    wrong = [
        f"{what}: {row} in the catalogue, {signed} signed" for what, (row, signed) in compared.items() if row != signed
    ]
    if version.name not in names:
        wrong.append(f"name: {version.name} in the catalogue, {', '.join(sorted(names))} signed")
    wrong += _row_contradictions(findings, findings.context.claimed)
    if not findings.context.claimed.in_order:
        wrong.append(f"number: {version.number} is not its place among the versions of {version.name} in the log")
    return wrong


def _row_contradictions(findings: Findings, claimed: Claimed) -> Iterator[str]:
    assert findings.manifest_digest is not None, "statements are checked after the manifest"

    def weights_of(base: Digest) -> Digest | None:
        tensors = findings.context.base_tensors(base)
        return None if tensors is None else weights_digest(tensors)

    return row_contradictions(
        claimed.recorded,
        findings.need_manifest(),
        digest=findings.manifest_digest,
        size=len(findings.presented.small(FILE_NAME)),
        weights_of=weights_of,
    )


def _check_item_tables(findings: Findings) -> None:
    signed: dict[str, set[Digest]] = {}
    for statement, _ in findings.statements:
        if statement.kind == "bias-evaluation":
            items = statement.read_by(EvaluationRecord.from_json).items
            signed.setdefault(f"{EVIDENCE_NAME}/{items.file}", set()).add(items.sha256)
    for name, digests in signed.items():
        if not findings.presented.has(name):
            continue
        # none is so large, and reading it takes as long as whoever put it there likes
        is_too_large = findings.presented.size(name) > TABLE_MAX_BYTES
        if is_too_large or findings.presented.digest(name) not in digests:
            raise EvidenceBroken(name, "it is not the item table that an evaluation signed")


def _stale_evaluations(findings: Findings) -> Iterator[str]:
    """Evaluations of another composition than this artifact's. Shown, and never part of the verdict: a gate refuses them."""
    manifest = findings.need_manifest()
    bases = [
        statement.read_by(BaseRecord.from_json).identity
        for statement, _ in findings.statements
        if statement.kind == "base"
    ]
    identity = manifest.base.identity if manifest.base is not None else next(iter(bases[-1:]), None)
    if identity is None:
        return
    served = composition_of(manifest, identity)
    for statement, digest in findings.statements:
        if statement.kind == "bias-evaluation":
            stale = staleness(statement.read_by(EvaluationRecord.from_json), served)
            if stale is not None:
                yield f"evaluation {digest.short} is {stale}"


def _wrong_card(findings: Findings) -> CheckResult | None:
    """Why the card is not the one that was signed last; None if it is, or nobody signed one.

    A card was signed when the version was registered, and anew whenever its record said something else: one that another took the
    place of says what does not hold any more.
    """
    cards = {
        digest: statement.read_by(CardPredicate.from_json)
        for statement, digest in _in_log_order(findings)
        if statement.kind == "card"
    }
    if not findings.presented.has(CARD_NAME):
        return unchecked(f"{CARD_NAME} is signed, and not here", "card-missing") if cards else None
    changed = [f"changed: {CARD_NAME}"]
    if findings.presented.size(CARD_NAME) > SMALL_MAX_BYTES:
        # nobody registers such a card, and reading it takes as long as whoever put it there likes
        return failed(f"{CARD_NAME} is not the card that was signed", "card-changed", changed)
    presented = findings.presented.digest(CARD_NAME)
    if presented in {cards[digest].sha256 for digest in _standing_cards(findings, cards)}:
        return None
    if presented in {card.sha256 for card in cards.values()}:
        text = f"{CARD_NAME} is not the newest card of this version, but an earlier one or that of another name"
        return failed(text, "card-superseded", changed)
    return failed(f"{CARD_NAME} is not the card that was signed", "card-changed", changed)


def _standing_cards(findings: Findings, cards: Mapping[Digest, CardPredicate]) -> Collection[Digest]:
    """The cards that may lie here: the newest of the version that the proof of the log is of.

    Without that, and of a registration of the first release, whose homes kept one card for all names of equal bytes, any that
    stands.
    """
    logged = findings.logged
    own = None if logged is None else findings.registrations.get(logged.event.statement)
    if own is not None and own.is_completeness_provable:
        newest = newest_card(cards, frozenset(map(str, own.accompanied_by)))
        if newest is not None:
            return (newest,)
    superseded = {card.supersedes for card in cards.values()}
    return [digest for digest in cards if digest not in superseded]


def _wrong_decisions(findings: Findings) -> CheckResult | None:
    """Why the file of decisions is not what the statements here say; None if it is, or proves nothing, or is not here."""
    if not findings.presented.has(DECISIONS_PATH) or any(_unproven_decisions(findings)):
        return None
    unheld = _unheld_decisions(findings)
    if unheld is not None:
        return unheld
    assert findings.trust is not None, "else nobody's statements count"
    found = findings.presented.small(DECISIONS_PATH)
    made = decision_file(findings.presented_statements, findings.listed, findings.trust) or b""
    if _has_later_record(findings):
        found, made = without_derived(found), without_derived(made)
    if found == made:
        return None
    lines = zip_longest(made.split(b"\n"), found.split(b"\n"))
    changed = next(number for number, (old, new) in enumerate(lines, start=1) if old != new)
    text = f"{DECISIONS_PATH} is not what the statements here say"
    return failed(text, "decisions-changed", [f"changed: {DECISIONS_PATH}, from line {changed}"])


def _unheld_decisions(findings: Findings) -> CheckResult | None:
    """Why the file of decisions cannot be held against the statements here; None if it can."""
    form = form_of(findings.presented.small(DECISIONS_PATH))
    if form > FORM:
        return unchecked(f"{DECISIONS_PATH} is of form {form}, which a later release writes", "later-decisions")
    listed = findings.listed
    if listed is not None and _withheld(listed, findings):
        return unchecked(_UNHELD, "statements-withheld", _withheld_lines(listed, findings, besides=()))
    dated = set() if listed is None else {entry.leaf.statement for entry in listed.stated.entries}
    if not dated.issuperset(findings.counted):
        return unchecked(
            f"nothing here says when and by whom what {DECISIONS_PATH} says was signed", "decisions-undated"
        )
    return None


def _unproven_decisions(findings: Findings) -> Iterator[str]:
    """What is to be said of a file of decisions that nothing here can be held against; nothing of any other.

    Releases of the edition 2026-12 and before gathered it from the home that wrote the copy. A record of a later edition shows that
    a later release wrote it.
    """
    if not findings.presented.has(DECISIONS_PATH) or form_of(findings.presented.small(DECISIONS_PATH)) >= FORM:
        return
    is_later = any(stated.edition.name > LAST_UNPROVEN for stated in _stated_records(findings))
    if not is_later and any(statement.kind == "modification" for statement, _ in findings.statements):
        yield f"{DECISIONS_PATH} is signed by nobody and proves nothing: read the statements"


def _has_later_record(findings: Findings) -> bool:
    """Whether a record is of an edition by which this release does not derive."""
    return any(editions().standing(stated.edition) != "known" for stated in _stated_records(findings))


def _stated_records(findings: Findings) -> Iterator[ModificationPredicate]:
    for statement, _ in findings.statements:
        if statement.predicate_type == PREDICATE_TYPES["modification"]:
            yield statement.read_by(ModificationPredicate.from_json)
