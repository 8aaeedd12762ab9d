"""The sections of a modification record that hold of any registered result: identity, modifier, bases, security.

Pure: nothing is read. What is not in the inputs stays `unknown` with its reason.
"""

from typing import Any, Literal

from peft_registry.registry.compliance.base_facts import facts_with_statement
from peft_registry.registry.compliance.base_terms import (
    eu_exclusion_of,
    gpai_indication,
    licence_flags_of,
    licence_text_digest,
)
from peft_registry.registry.compliance.declared import sound_facts
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSigner
from peft_registry.schemas.base_model import BaseRecord, DeclaredFacts
from peft_registry.schemas.codes import Code, as_json, code, together
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.modification import BaseUsed, Identity, Modifier, Security, UpstreamTerms
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Timestamp, Value, derived, imported, measured, unknown


class BaseInput(Frozen):
    """A model that went in: the name it has in this registry, its record and, where known, its files.

    `statement` holds its record: whoever stated a fact about it did so there.
    """

    name: str
    record: BaseRecord
    number: int | None = None
    manifest: Digest | None = None
    role: Literal["base", "ingredient", "teacher", "reference", "draft"] = "base"
    files: tuple[FileEntry, ...] = ()
    added_at: Timestamp | None = None
    parent_records: tuple[str, ...] = ()
    statement: Digest | None = None

    @property
    def facts(self) -> DeclaredFacts:
        """What is declared about it, each with the statement that holds it."""
        facts = self.record.facts
        return facts if self.statement is None else facts_with_statement(facts, self.statement)


class Signing(Frozen):
    """Who signs the registration, and the log that it enters."""

    key_id: str
    person: str | None = None  # whom the trust file names for the key
    log_origin: str | None = None
    algorithm: str = "ECDSA P-256 with SHA-256, OpenSSF Model Signing v1.0"


class Scan(Frozen):
    """One look at the files of a result. What it finds is refused, so that a scan of a registered result found nothing."""

    name: str
    what: Code
    files: int = 0
    ran: bool = True
    why: Code | None = None  # it did not run


_ACTS = {
    "fine_tune": code("run_that_made_it"),
    "merge": code("run_that_made_it"),
    "import": code("registered_from_folder"),
}


def identity_section(
    kind: Literal["fine_tune", "merge", "import"],
    name: str,
    manifest: Manifest,
    signing: Signing | None,
    tool_version: str,
) -> Identity:
    """Action, artifact, actor."""
    person = None
    # whoever imports has not made what is imported
    if kind != "import" and signing is not None and signing.person is not None:
        person = derived(signing.person, method=code("person_of_signing_key", key=signing.key_id))
    return Identity.of_known(
        kind=measured(kind, method=_ACTS[kind]),
        result_name=measured(name),
        result_manifest=measured(str(manifest.canonical_digest()), method=code("sha256_of_manifest")),
        tool_version=measured(tool_version),
        acting_person=person,
    )


def modifier_section(profile: OrganisationProfile) -> Modifier:
    """Who modified, as the profile says."""
    return Modifier(
        legal_name=profile.legal_name,
        country=profile.country,
        contact=profile.contact,
        size_class=profile.size_class,
        role_claimed=profile.role,
        controls_weights=derived("yes", method=code("weights_changed_here")),
    )


def upstream_terms(base: BaseInput) -> UpstreamTerms:
    """What a base's terms and figures mean for whoever builds on it."""
    return UpstreamTerms(
        name=measured(base.name, method=code("name_in_registry")),
        eu_exclusion=eu_exclusion_of(base.facts),
        gpai_indication=gpai_indication(base.record),
    )


def base_section(base: BaseInput, quantisation: Any = None) -> BaseUsed:
    """One model that went in; `quantisation` is how it was held in memory, any JSON value."""
    record = base.record
    facts = sound_facts(base.facts)
    quantisation = quantisation if base.role == "base" else None
    source_url = facts.source_url
    if not source_url.known:
        source_url = imported(record.origin.source, method=code("origin_of_base"))
    return BaseUsed.of_known(
        name=measured(base.name, method=code("name_in_registry")),
        role=derived(base.role, method=code("part_in_run")),
        tensor_digest=measured(str(record.identity.weights), method=code("digest_over_tensors")),
        params_total=measured(record.parameters_total, "parameters", method=code("counted_over_tensors")),
        provider=facts.provider,
        licence_id=facts.licence,
        licence_flags=licence_flags_of(facts),
        licence_text_digest=licence_text_digest(base.files),
        release_date=facts.release_date,
        eu_release_date=facts.eu_release_date,
        acceptable_use_policy=facts.acceptable_use_policy,
        upstream_docs=facts.upstream_documents,
        is_gpai=facts.is_gpai,
        has_systemic_risk=facts.has_systemic_risk,
        training_tokens=facts.training_tokens,
        training_compute_flop=facts.training_compute_flop,
        source_url=source_url,
        version=None if base.number is None else measured(base.number, evidence=_known(base.manifest)),
        revision=measured(record.identity.revision) if record.identity.revision else None,
        file_digests=measured(file_digests(base.files), method=code("sha256_of_each_file")) if base.files else None,
        quantised_view=measured(quantisation, method=code("in_memory_while_training")) if quantisation else None,
        retrieved_at=measured(base.added_at, method=code("when_base_was_added")) if base.added_at else None,
        parent_records=measured(list(base.parent_records)) if base.parent_records else None,
    )


def _known(digest: Digest | None) -> tuple[Digest, ...]:
    return () if digest is None else (digest,)


def file_digests(entries: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of each file."""
    return [entry.to_json() for entry in entries]


def untouched_base(is_untouched: bool) -> Value:
    """Whether the weights of the base are unchanged: those of a whole model are its own, whatever it shares with its base."""
    if is_untouched:
        return measured("yes", method=code("no_tensor_of_base"))
    return measured("no", method=code("whole_model"))


def evaluation_signer(signing: Signing | None, now: Timestamp) -> EvaluationSigner | None:
    """Who signs the evaluation that is registered with a record."""
    return None if signing is None else EvaluationSigner(key_id=signing.key_id, person=signing.person, at=now)


def security_section(manifest: Manifest, signing: Signing | None, scans: Value | None = None) -> Security:
    """Digests, signature, log, scans."""
    digests = {"manifest": str(manifest.canonical_digest()), "weights": str(manifest.weights_digest)}
    if signing is None:
        return Security.of_known(digests=measured(digests, method=code("sha256")), scans=scans)
    log = signing.log_origin
    return Security.of_known(
        digests=measured(digests, method=code("sha256")),
        signature=measured({"algorithm": signing.algorithm, "key": signing.key_id}),
        provenance_attestation=measured(code("slsa_provenance_v1").to_json()),
        transparency_log=measured(log) if log else unknown(code("no_log_named")),
        scans=scans,
    )


def scans_value(scans: tuple[Scan, ...], tool_version: str) -> Value | None:
    """The scans as a value; None where none is told of, and unknown where none ran."""
    if scans and not any(scan.ran for scan in scans):
        return unknown(together(_not_run(scan) for scan in scans))
    rows = []
    for scan in scans:
        row: dict[str, Any] = {"scan": scan.name, "what": scan.what.to_json()}
        outcome: dict[str, Any] = {"ran": "no", "why": as_json(_why(scan))}
        if scan.ran:
            outcome = {"ran": "yes", "files": scan.files, "found": "nothing"}
        rows.append(row | outcome)
    return measured(rows, method=code("scanned_before_registration", version=tool_version)) if rows else None


def _why(scan: Scan) -> Code:
    return code("no_reason_given") if scan.why is None else scan.why


def _not_run(scan: Scan) -> Code:
    return code("scan_not_run", scan=scan.name, because=_why(scan))
