"""The modification record of a run: measured and derived from what was recorded, declared where people answered, else unknown.

Pure: time and identifier come in, nothing is read. What is not in the inputs stays `unknown` with its reason.
"""

from typing import Any, Literal

from peft_registry.registry.compliance import recorded_run
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_terms import (
    eu_exclusion_of,
    gpai_indication,
    licence_flags_of,
    licence_text_digest,
)
from peft_registry.registry.compliance.declared import sound_facts
from peft_registry.registry.compliance.documentation import product_section
from peft_registry.registry.compliance.energy import energy_section
from peft_registry.registry.compliance.facts import with_facts
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSigner, evaluation_section
from peft_registry.registry.compliance.recorded_run import TrainedRun
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FileEntry, Manifest
from peft_registry.schemas.merge import ModuleChange
from peft_registry.schemas.modification import (
    BaseUsed,
    Change,
    Identity,
    ModificationRecord,
    Modifier,
    Retention,
    Security,
    UpstreamTerms,
)
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Timestamp, Value, derived, imported, measured, unknown


class BaseInput(Frozen):
    """A model that went in: the name it has in this registry, its record and, where known, its files."""

    name: str
    record: BaseRecord
    number: int | None = None
    manifest: Digest | None = None
    role: Literal["base", "ingredient", "teacher", "reference", "draft"] = "base"
    files: tuple[FileEntry, ...] = ()
    added_at: Timestamp | None = None
    parent_records: tuple[str, ...] = ()


class ChangeFigures(Frozen):
    """What changed in the weights; None where it was not measured. Counts are of parameters."""

    changed: int | None = None
    added: int | None = None
    removed: int | None = None
    relative_norm: float | None = None
    modules: tuple[ModuleChange, ...] = ()
    base_untouched: bool | None = None
    method: str = "counted over the tensors"
    norm_method: str = "‖W' − W‖_F / ‖W‖_F over the whole base"
    norm_unknown: str | None = None  # why there is no norm


class Signing(Frozen):
    """Who signs the registration, and the log that it enters."""

    key_id: str
    person: str | None = None  # whom the trust file names for the key
    log_origin: str | None = None
    algorithm: str = "ECDSA P-256 with SHA-256, OpenSSF Model Signing v1.0"


class Scan(Frozen):
    """One look at the files of a result. What it finds is refused, so that a scan of a registered result found nothing."""

    name: str
    what: str
    files: int = 0
    ran: bool = True
    why: str | None = None  # it did not run


def build_modification_record(
    *,
    record_id: str,
    now: Timestamp,
    name: str,
    manifest: Manifest,
    run: RunRecord,
    bases: tuple[BaseInput, ...],
    earlier: tuple[TrainedRun, ...] = (),
    profile: OrganisationProfile,
    tool_version: str,
    evaluation: EvaluationRecord | None = None,
    change: ChangeFigures | None = None,
    signing: Signing | None = None,
    optimiser: str | None = None,
    scans: tuple[Scan, ...] = (),
    facts: dict[str, Any] | None = None,
) -> ModificationRecord:
    """The record of one fine-tune.

    Args:
        name: the name that the result is registered under.
        manifest: of the result.
        earlier: every run that this one continued from, and those before it.
        optimiser: what the training loop used, if the training file does not say it.
        scans: of the result's files, those that ran and those that did not.
        facts: the JSON value of the facts file, if there is one (`registry/compliance/facts.py`).

    Raises:
        FactUnknown, FactNotDeclarable, FactMalformed: the facts file states what it cannot.
    """
    first = bases[0].record if bases else None
    changed = _change(change or ChangeFigures(), manifest, run, bases)
    record = ModificationRecord(
        record_id=record_id,
        record_created_at=now,
        identity=identity_section("fine_tune", name, manifest, signing, tool_version),
        modifier=modifier_section(profile),
        base=tuple(base_section(base, run.config.get("quantization")) for base in bases),
        method=recorded_run.method_section(run, optimiser),
        peft=recorded_run.peft_section(run),
        prompt=recorded_run.prompt_section(run),
        code=recorded_run.code_section(run.environment),
        change=changed,
        data=recorded_run.data_sections(run),
        compute=recorded_run.compute_section(run, earlier, first),
        energy=energy_section(run),
        evaluation=evaluation_section(evaluation, run, evaluation_signer(signing, now)),
        use=recorded_run.use_section(run.environment, run.environment.dtype, first),
        security=security_section(manifest, signing, scans_value(scans, tool_version)),
        retention=retention_section(),
        upstream=tuple(upstream_terms(base) for base in bases),
        product=product_section(first, f"changed by {run.method}", changed),
    )
    if facts:
        record = with_facts(record, facts, at=now)
    return with_assessment(record)


def identity_section(
    kind: Literal["fine_tune", "merge"], name: str, manifest: Manifest, signing: Signing | None, tool_version: str
) -> Identity:
    """Action, artifact, actor."""
    person = None
    if signing is not None and signing.person is not None:
        person = derived(signing.person, method=f"whom the trust file names for the signing key {signing.key_id}")
    return Identity.of_known(
        kind=measured(kind, method="the run that made the artifact"),
        result_name=measured(name),
        result_manifest=measured(str(manifest.canonical_digest()), method="SHA-256 of manifest.json"),
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
        controls_weights=derived("yes", method="the weights were changed where this record was made"),
    )


def upstream_terms(base: BaseInput) -> UpstreamTerms:
    """What a base's terms and figures mean for whoever builds on it."""
    return UpstreamTerms(
        name=measured(base.name, method="name in this registry"),
        eu_exclusion=eu_exclusion_of(base.record.facts),
        gpai_indication=gpai_indication(base.record),
    )


def base_section(base: BaseInput, quantisation: Any = None) -> BaseUsed:
    """One model that went in; `quantisation` is how it was held in memory, any JSON value."""
    record, facts = base.record, sound_facts(base.record.facts)
    quantisation = quantisation if base.role == "base" else None
    source_url = facts.source_url
    if not source_url.known:
        source_url = imported(record.origin.source, method="the origin recorded when the base was added")
    return BaseUsed.of_known(
        name=measured(base.name, method="name in this registry"),
        role=derived(base.role, method="its part in the run"),
        tensor_digest=measured(
            str(record.identity.weights), method="digest over every tensor's name, type, shape, bytes"
        ),
        params_total=measured(record.parameters_total, "parameters", method="counted over the tensors"),
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
        file_digests=measured(file_digests(base.files), method="SHA-256 of each file") if base.files else None,
        quantised_view=measured(quantisation, method="in memory while training") if quantisation else None,
        retrieved_at=measured(base.added_at, method="when it was added to this registry") if base.added_at else None,
        parent_records=measured(list(base.parent_records)) if base.parent_records else None,
    )


def _known(digest: Digest | None) -> tuple[Digest, ...]:
    return () if digest is None else (digest,)


def file_digests(entries: tuple[FileEntry, ...]) -> list[dict[str, Any]]:
    """Path, size and SHA-256 of each file."""
    return [entry.to_json() for entry in entries]


def _change(figures: ChangeFigures, manifest: Manifest, run: RunRecord, bases: tuple[BaseInput, ...]) -> Change:
    def count(number: int | None) -> Value | None:
        return None if number is None else measured(number, "parameters", method=figures.method)

    if figures.base_untouched:  # nothing of the base is in the result, so nothing of it changed or went
        figures = figures.revised(changed=figures.changed or 0, removed=figures.removed or 0)
    whole = bases[0].record.parameters_total if bases else run.parameters_total
    share = None if figures.changed is None else 100 * figures.changed / whole
    modules = [module.model_dump(mode="json", exclude_none=True) for module in figures.modules]
    norm = modules_value = None if figures.norm_unknown is None else unknown(figures.norm_unknown)
    if figures.relative_norm is not None:
        norm = measured(figures.relative_norm, method=figures.norm_method)
    if modules:
        modules_value = measured(modules, method=f"{figures.norm_method}; evidence of size, not a test of significance")
    untouched = None
    if figures.base_untouched is not None:
        answer = "yes" if figures.base_untouched else "no"
        untouched = measured(answer, method="the result holds no tensor of the base")
    return Change.of_known(
        params_trainable=measured(run.parameters_trainable, "parameters", method="counted before the run"),
        relative_to=measured(str(run.base.identity.weights), method="weights digest of the base"),
        artifact_digests=measured(file_digests(manifest.files), method="SHA-256 of each file"),
        params_changed=count(figures.changed),
        params_added=count(figures.added),
        params_removed=count(figures.removed),
        pct_of_base=None
        if share is None
        else derived(share, "%", method="parameters changed / all parameters of the base"),
        rel_norm_global=norm,
        modules=modules_value,
        base_weights_untouched=untouched,
    )


def evaluation_signer(signing: Signing | None, now: Timestamp) -> EvaluationSigner | None:
    """Who signs the evaluation that is registered with a record."""
    return None if signing is None else EvaluationSigner(key_id=signing.key_id, person=signing.person, at=now)


def security_section(manifest: Manifest, signing: Signing | None, scans: Value | None = None) -> Security:
    """Digests, signature, log, scans."""
    digests = {"manifest": str(manifest.canonical_digest()), "weights": str(manifest.weights_digest)}
    if signing is None:
        return Security.of_known(digests=measured(digests, method="SHA-256"), scans=scans)
    log = signing.log_origin
    return Security.of_known(
        digests=measured(digests, method="SHA-256"),
        signature=measured({"algorithm": signing.algorithm, "key": signing.key_id}),
        provenance_attestation=measured("SLSA provenance v1, signed with the registration"),
        transparency_log=measured(log) if log else unknown("no log was named"),
        scans=scans,
    )


def scans_value(scans: tuple[Scan, ...], tool_version: str) -> Value | None:
    """The scans as a value; None where none is told of."""
    rows = []
    for scan in scans:
        row: dict[str, Any] = {"scan": scan.name, "what": scan.what}
        row |= {"ran": "yes", "files": scan.files, "found": "nothing"} if scan.ran else {"ran": "no", "why": scan.why}
        rows.append(row)
    how = f"peft-registry {tool_version}, over the files of the result before it was registered"
    return measured(rows, method=how) if rows else None


def retention_section() -> Retention:
    """How long the documentation is kept."""
    basis = derived(
        "10 years from placing on the market; not placed, kept without end",
        method="Art. 18 (high-risk systems), Art. 54(3)(b) (representatives), CoP measure 1.1; used for every record",
    )
    return Retention(basis=basis)
