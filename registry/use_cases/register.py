"""`register_version`: the one way in which an artifact enters. Train, merge, import and base add all end here.

Order (each step keyed by digest, so that it may be repeated): lease → bytes durable → manifest → signature → statements →
one transaction {log events, tree nodes, rows} → checkpoint, proof and remembered copy. A kill between any two
leaves garbage, never a lie; the same command completes it. Before the lease and again in the transaction: may the key say this.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import listed_resources, listed_tensors, path_problem
from peft_registry.registry.imports.stated_settings import require_settings_of_tensors
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.intake.peft_config import read_peft_config
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.entries import misplaced, record_statement
from peft_registry.registry.records.facets import facets_said
from peft_registry.registry.records.logged_statements import EntrySigner
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.signed_records import elsewhere
from peft_registry.registry.records.sources import own_key
from peft_registry.registry.records.stops import (
    EVER_RECALLED,
    ever_recalled,
    require_sources_not_stopped,
    stops_among,
)
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing import oms
from peft_registry.registry.signing.oms import UnsignableListing, parse_bundle, sign_folder_listing
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.storage.interface import CopyMode
from peft_registry.registry.use_cases.fill_facets import recorded_statements
from peft_registry.registry.use_cases.offered_results import require_no_result_weights, require_not_made_here
from peft_registry.registry.use_cases.statements import (
    StatementContent,
    StatementMisplaced,
    require_declarable,
    sayable_at,
    sign_statement,
)
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest, check_name
from peft_registry.schemas.manifest import UNSIGNED_PATHS, Manifest
from peft_registry.schemas.modification import Identity, ModificationPredicate
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, Warned, ignore
from peft_registry.schemas.statement import (
    PREDICATE_TYPES,
    RegistrationPredicate,
    statement_about,
)
from peft_registry.schemas.values import timestamp
from peft_registry.schemas.version import Version

# longer than any upload should take; a lease that outlives its process only delays garbage collection
LEASE_SECONDS = 6 * 3600
MODEL_NAME = "model"  # informational in OMS; a folder or model name would make equal content sign differently
BytesMode = CopyMode | Literal["reference"]
"""What becomes of the bytes: copied into the store, shared with it, or only referred to (a base)."""


_SAME_WEIGHTS = (
    "{version.label} has the weights of {twin}, which is not handed out: {text}. It is another artifact, and no recall stops it; "
    "`registry recall {version.weights_digest} --reason TEXT --key FILE` stops whatever has these weights"
)


class ModificationRecordMissing(InputRefused):
    what = "this artifact may not enter without its modification record"
    why = "a version made by {source} changes a model, and nothing changes without a record"
    fix = "register it through `registry train`, `registry merge` or `registry import`"

    source: str


class ModificationRecordWrong(InputRefused):
    what = "this artifact may not enter with the modification record that came with it"
    why = "{reason}"
    fix = "register it through the command that makes it; `registry merge` writes the record of a merge"

    reason: str


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A folder that is ready to be registered.

    `folder` holds every file of the manifest; `evidence` are bytes that a statement binds by digest, such as an item table.
    """

    name: str
    source: Literal["train", "merge", "import", "base"]
    manifest: Manifest
    folder: Path
    card: bytes
    statements: tuple[StatementContent, ...]
    evidence: tuple[bytes, ...] = ()
    mode: BytesMode = "copy"


def register_version(registry: Registry, artifact: NewArtifact, *, observe: Observe = ignore) -> Version:
    """Register an artifact under its name and return its version; the same manifest under the same name is the same version.

    Raises:
        ModificationRecordMissing: a fine-tune, merge or import came without one.
        ModificationRecordWrong: it came with a record that is not about it, that says of its files, its run or its evaluation what
            they do not, or of what it was made from what is not recorded there; or a merge came as something that it is not.
        ResultAsBase: it is offered as a base, and a result of this registry has its weights.
        ResultAsImport: it is offered as an import, and was made here.
        SettingsOfOtherTensors: the configuration of an adapter contradicts its tensors.
        StatementMisplaced: a statement calls a base what its manifest says is none.
        UnsignableListing: the manifest lists a path that no artifact folder may hold.
        FactMalformed, FactNeedsSignature, FactNotDeclarable, SeveralProblems: a statement declares what no person can.
        SecretRefused: a path, a card or a statement looks like it holds a secret.
        NameOfAnotherKind: the name is for bases and this is none, or the other way round.
        HomeReadOnly, DiskFull, StoreUnavailable: nothing was registered.
        TrustExpired, TrustRolledBack, RevokedKey, KeyLacksRole, UnlistedKey, ExpiredKey: the trainer key may not say this now;
            nothing was signed or stored.
        VersionStopped: the trainer key is recalled, and with it whatever it registers; nothing was signed.
        NotTheBytesNamed: a file in the folder is not what the manifest says.
    """
    registry.require_writable()
    require_no_secrets(artifact.name, what="the name")
    check_name(artifact.name)
    manifest_bytes = artifact.manifest.to_canonical()
    digest = Digest.of(manifest_bytes)
    _require_modification(registry, artifact, digest)
    if artifact.manifest.kind == "base":
        require_no_result_weights(registry, artifact.name, artifact.manifest.weights_digest)
    if artifact.source == "import":
        require_not_made_here(registry, artifact.name, artifact.manifest.weights_digest)
    _require_own_settings(artifact)
    problem = path_problem(artifact.manifest)
    if problem:
        raise UnsignableListing(problem)
    for statement in artifact.statements:
        reason = misplaced(statement.kind, artifact.manifest)
        if reason:
            raise StatementMisplaced(statement.kind, artifact.name, reason)
        require_declarable(registry, digest, statement.kind, statement.predicate)
    _require_no_secrets(artifact)
    _require_sayable(registry, artifact, digest)
    holder = registry.nonce()
    existing = _lease(registry, artifact, digest, holder)
    if existing is not None:
        complete_registration(registry, existing, observe)
        return existing
    try:
        _store_files(registry, artifact, observe)
        registry.store.put_bytes(manifest_bytes)
        signature = _sign_listing(registry, artifact.manifest, digest)
        version = _record(registry, artifact, digest, len(manifest_bytes), signature)
    finally:
        with registry.database.write() as tx:
            catalog.release_leases(tx, holder)
    complete_registration(registry, version, observe)
    return version


def complete_registration(registry: Registry, version: Version, observe: Observe) -> None:
    """Cover the entries of a version that is in the database by a checkpoint, and say whether it is recalled.

    Raises:
        KnownError: as `publish_checkpoint`.
    """
    publish_checkpoint(registry)
    _warn_of_recalls(registry, version, observe)


def _require_own_settings(artifact: NewArtifact) -> None:
    """Raise where the configuration of an adapter in a folder of its own says of its tensors what they are not.

    Raises:
        SettingsOfOtherTensors: it does.
    """
    manifest = artifact.manifest
    if manifest.layout != "peft" or not any(entry.path == ADAPTER_CONFIG_NAME for entry in manifest.files):
        return
    config = read_peft_config(read_file(artifact.folder / ADAPTER_CONFIG_NAME, max_bytes=CONFIG_MAX_BYTES))
    require_settings_of_tensors(artifact.name, config, listed_tensors(manifest.weights), base=())


def _warn_of_recalls(registry: Registry, version: Version, observe: Observe) -> None:
    """Say that what was just registered is not handed out, or has the weights of what is not."""
    with registry.database.read() as tx:
        if catalog.meta(tx, EVER_RECALLED) is None:
            return
        same_weights = catalog.versions_with_weights(tx, version.weights_digest)
    labels: dict[Digest, str] = {version.manifest_digest: version.label}
    for twin in same_weights:
        labels.setdefault(twin.manifest_digest, twin.label)
    recalls = stops_among(registry, RECALL, labels)
    own = recalls.pop(version.manifest_digest)
    for text in own:
        observe(Warned("recalled", f"{version.label} is not handed out, it is stopped by a recall: {text}"))
    for manifest, texts in recalls.items() if not own else ():
        for text in texts[:1]:
            observe(Warned("weights-recalled", _SAME_WEIGHTS.format(version=version, twin=labels[manifest], text=text)))


def require_name(registry: Registry, name: str, *, is_base: bool) -> None:
    """Raise unless a base, or what is not a base, may be registered under a name; asked before anything is computed for it.

    Raises:
        SecretRefused: it looks like it holds a secret.
        MalformedReference: it is not a name.
        NameOfAnotherKind: it is for the other.
    """
    require_no_secrets(name, what="the name")
    check_name(name)
    with registry.database.read() as tx:
        catalog.require_kind(tx, name, is_base=is_base)


def _require_modification(registry: Registry, artifact: NewArtifact, digest: Digest) -> None:
    """Raise unless the artifact brings the modification record that it needs; a merge is recognized by its parents,
    whatever the caller calls it."""
    manifest = artifact.manifest
    folded = sum(parent.role in ("adapter", "model") for parent in manifest.parents)
    is_merge = artifact.source == "merge" or folded > (1 if manifest.kind == "adapter" else 0)
    if artifact.source == "base" and manifest.kind == "base" and not is_merge:
        return
    records = [statement.predicate for statement in artifact.statements if statement.kind == "modification"]
    if not records:
        raise ModificationRecordMissing("merge" if is_merge else artifact.source)
    if is_merge and artifact.source != "merge":
        raise ModificationRecordWrong(f"its parents say that it is a merge, and it is offered as {artifact.source}")
    if (manifest.origin == "imported") != (artifact.source == "import"):
        said = manifest.origin or "nothing of an import"
        raise ModificationRecordWrong(f"its manifest says {said}, and it is offered as {artifact.source}")
    for predicate in records:
        try:
            stated = ModificationPredicate.from_json(predicate)
        except ValidationError as error:
            raise ModificationRecordWrong(f"the record is malformed: {first_problem(error)}") from error
        if editions().standing(stated.edition) != "known":
            raise ModificationRecordWrong(f"this release derives by no edition {stated.edition.name}")
        _require_own(artifact, digest, stated.record.identity, is_merge=is_merge)
    _require_derived(registry, artifact, digest)


def _require_own(artifact: NewArtifact, digest: Digest, identity: Identity, *, is_merge: bool) -> None:
    """Raise unless a record is about the artifact; only that of a merge has to say so."""
    if is_merge and (identity.kind.value != "merge" or not identity.result_manifest.known):
        raise ModificationRecordWrong("the record is not about this merge: its kind or its manifest is another")
    if identity.result_manifest.known and identity.result_manifest.value != str(digest):
        raise ModificationRecordWrong("the record is about another artifact: its manifest is another")
    if identity.result_name.value != artifact.name and (is_merge or identity.result_name.known):
        raise ModificationRecordWrong(
            f"the record names its result {identity.result_name.value or 'nowhere'}, and not {artifact.name}"
        )


def _require_derived(registry: Registry, artifact: NewArtifact, digest: Digest) -> None:
    """Raise unless the record that comes with an artifact follows from what comes with it and is recorded already."""
    key_id = registry.trainer_key.public.key_id
    person, size = registry.trust.person_of(key_id), covered_size(registry)
    signer = EntrySigner(key_id, person, registry.clock(), "trainer", size)
    checks = RecordChecks(elsewhere(registry))
    statements = [statement_about(digest, statement.kind, statement.predicate) for statement in artifact.statements]
    digests = [Digest.of(statement.to_canonical()) for statement in statements]
    reasons: list[str] = []
    for payload, statement in zip(digests, statements, strict=True):
        check = checks.take(payload, statement, signer)
        reasons += () if check is None else (*check.wrong, *check.lacking)
    registration = _registration(artifact, tuple(digests), signature=digest, nonce="tried").to_json()
    tried = statement_about(digest, "registration", registration)
    checks.take(Digest.of(tried.to_canonical()), tried, signer)
    reasons += checks.first_records(digest, artifact.manifest)
    if reasons:
        raise ModificationRecordWrong("; ".join(reasons))


def _registration(
    artifact: NewArtifact, accompanied_by: tuple[Digest, ...], *, signature: Digest, nonce: str
) -> RegistrationPredicate:
    return RegistrationPredicate(
        name=artifact.name,
        source=artifact.source,
        accompanied_by=accompanied_by,
        signature=signature,
        nonce=nonce,
        completeness_provable=True,  # an extra field: registrations of the first release have none
    )


def _require_no_secrets(artifact: NewArtifact) -> None:
    require_no_secrets(artifact.manifest.to_json(), what="the manifest")
    require_no_secrets(artifact.card.decode("utf-8", "replace"), what="the model card")
    for statement in artifact.statements:
        require_no_secrets(statement.predicate, what=f"the statement of kind {statement.kind}")


def _signed_types(artifact: NewArtifact) -> tuple[str, ...]:
    """The types of all that is signed for an artifact: the listing of its files, and its statements."""
    kinds = dict.fromkeys(statement.kind for statement in artifact.statements)
    return (oms.PREDICATE_TYPE, *(PREDICATE_TYPES[kind] for kind in (*kinds, "registration")))


def _require_sayable(registry: Registry, artifact: NewArtifact, digest: Digest) -> None:
    """Raise unless the trainer key may sign all of it; for what is registered already nothing is signed."""
    with view_of(registry) as view:
        if catalog.idempotent_version(view.tx, name=artifact.name, manifest_digest=digest) is not None:
            return
        sayable_at(view, registry.trainer_key.public.key_id, _signed_types(artifact))
    require_sources_not_stopped(registry, "register", artifact.name, [own_key(registry)])


def _lease(registry: Registry, artifact: NewArtifact, digest: Digest, holder: str) -> Version | None:
    """Protect every object from garbage collection, before looking whether any of them exists."""
    now = registry.clock()
    until = timestamp(datetime.fromisoformat(now) + timedelta(seconds=LEASE_SECONDS))
    digests = {entry.sha256 for entry in artifact.manifest.files} | {digest, Digest.of(artifact.card)}
    digests |= {Digest.of(data) for data in artifact.evidence}
    with registry.database.write() as tx:
        existing = catalog.idempotent_version(tx, name=artifact.name, manifest_digest=digest)
        if existing is None:
            catalog.take_lease(tx, digests=sorted(digests), holder=holder, until=until)
        return existing


def _store_files(registry: Registry, artifact: NewArtifact, observe: Observe) -> None:
    entries = () if artifact.mode == "reference" else artifact.manifest.files
    observe(Started("store", total=len(entries), unit="files"))
    for done, entry in enumerate(entries, start=1):
        mode: CopyMode = "link" if artifact.mode == "link" else "copy"
        registry.store.put_file(artifact.folder / entry.path, digest=entry.sha256, mode=mode)
        observe(Advanced("store", done))
    for data in (artifact.card, *artifact.evidence):
        registry.store.put_bytes(data)
    observe(Finished("store"))


def _sign_listing(registry: Registry, manifest: Manifest, digest: Digest) -> bytes:
    bundle = sign_folder_listing(
        registry.trainer_key,
        model_name=MODEL_NAME,
        resources=listed_resources(manifest, digest),
        ignore_paths=UNSIGNED_PATHS,
    )
    registry.store.put_bytes(bundle)
    return bundle


def _record(registry: Registry, artifact: NewArtifact, digest: Digest, manifest_size: int, signature: bytes) -> Version:
    signer = registry.trainer_key
    accompanying = tuple(
        sign_statement(digest, statement.kind, statement.predicate, signer) for statement in artifact.statements
    )
    registration = sign_statement(
        digest,
        "registration",
        _registration(
            artifact,
            tuple(statement.digest for statement in accompanying),
            signature=parse_bundle(signature).payload_digest,
            nonce=registry.nonce(),
        ).to_json(),
        signer,
    )
    with registry.database.write() as tx:
        existing = catalog.idempotent_version(tx, name=artifact.name, manifest_digest=digest)
        if existing is not None:
            return existing
        signed = _Signed(digest, manifest_size, Digest.of(signature), (*accompanying, registration))
        # again: it may have taken hours to store the files
        view = View(registry, tx)
        now = sayable_at(view, signer.public.key_id, _signed_types(artifact))
        return _write_rows(view, artifact, signed, now=now)


@dataclass(frozen=True, slots=True)
class _Signed:
    """What is signed and about to be recorded; the registration is the last statement: its leaf covers the others."""

    digest: Digest
    manifest_size: int
    signature: Digest
    statements: tuple[SignedStatement, ...]


def _write_rows(view: View, artifact: NewArtifact, signed: _Signed, *, now: str) -> Version:
    tx, digest = view.tx, signed.digest
    catalog.insert_artifact(
        tx,
        manifest=artifact.manifest,
        manifest_digest=digest,
        manifest_size=signed.manifest_size,
        size_bytes=sum(entry.size for entry in artifact.manifest.files),
        signature_digest=signed.signature,
        card_digest=Digest.of(artifact.card),
        by_reference=artifact.mode == "reference",
    )
    for data in artifact.evidence:
        catalog.keep_object(tx, digest=Digest.of(data), subject=digest, role="evidence")
    # the row of an artifact has the card of its first registration only
    catalog.keep_object(tx, digest=Digest.of(artifact.card), subject=digest, role="card")
    index = -1
    for statement in signed.statements:
        # the same bytes under a second name: what was said about them stands already
        if catalog.statement(tx, statement.digest) is None:
            index = record_statement(tx, digest, statement, at=now)
    return catalog.add_version(
        tx,
        name=artifact.name,
        manifest_digest=digest,
        key_id=signed.statements[-1].key_id,
        registered_at=now,
        log_index=index,
        facets=facets_said(
            artifact.manifest,
            name=artifact.name,
            key_id=signed.statements[-1].key_id,
            statements=recorded_statements(tx, digest),
            ever_recalled=ever_recalled(view, digest),
        ),
    )
