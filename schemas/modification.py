"""The modification record: one per fine-tune, merge or import; immutable, signed, corrected by superseding.

There are three forms. What was signed in the first is read and written byte for byte for ever, so its sections never get another
field; what the second has more is in sections of its own. The third has those of the second with a few fields more and a few less
(`SINCE_THIRD_FORM`, `UNTIL_SECOND_FORM`), and its statement names the edition that derived the record and the signed inputs that
it follows from. New records have the third form. Which of them a statement holds its predicate type says (`modification_in`).

Every leaf is a `Value`: what nobody answered or measured is `unknown` with its reason, and absence is never "no". What each
field means, who fills it, which clause it answers and when it is required is data:
`registry/compliance/rules/modification_fields.json`, and a test holds the two together. Norms of weight changes are evidence,
not a legal test; no verdict in here is legal advice.
"""

from collections.abc import Collection
from functools import cache, lru_cache
from typing import Any, Literal, Self, get_args

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from pydantic_core import from_json, to_json

from peft_registry.schemas.codes import Said, code
from peft_registry.schemas.document import Document
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import MODIFICATION_V1, MODIFICATION_V2, Statement
from peft_registry.schemas.values import Timestamp, Value, not_derived, unknown

# why a field is open until somebody or something fills it, by who that would be
ASKED = unknown(code("not_answered"))
NOT_MEASURED = unknown(code("not_measured"))
NOT_DERIVED = not_derived(code("inputs_not_recorded"))
NOT_FOUND_UPSTREAM = unknown(code("not_stated_upstream"))


class Article4a(Document):
    """The six conditions of Art. 4a(1) for special categories of personal data used in bias work."""

    other_data_not_enough: Value = ASKED
    technical_limits: Value = ASKED
    access_controls: Value = ASKED
    no_transfer: Value = ASKED
    deletion: Value = ASKED
    necessity_recorded: Value = ASKED


class ExcludedCompute(Document):
    """Compute that does not count towards the criterion, recorded beside it."""

    evaluation_flop: Value = NOT_MEASURED
    recompute_flop: Value = NOT_MEASURED
    auxiliary_flop: Value = NOT_MEASURED
    failed_runs_flop: Value = NOT_MEASURED
    public_synthetic_flop: Value = NOT_MEASURED
    teacher_flop: Value = NOT_MEASURED


class QualitativeChange(Document):
    """Whether the modification changed the model significantly: the idea behind the compute criterion."""

    generality: Value = ASKED
    capabilities: Value = ASKED
    systemic_risk: Value = ASKED


class OpenSourceExemption(Document):
    """The conditions of the open-source exemption; all are needed."""

    claimed: Value = ASKED
    licence_ok: Value = ASKED
    no_monetisation: Value = ASKED
    weights_public: Value = ASKED
    architecture_public: Value = ASKED
    usage_public: Value = ASKED


class Effects(Document):
    """Whether the change affects compliance with each requirement of Chapter III Section 2, with the reason."""

    article_9: Value = ASKED
    article_10: Value = ASKED
    article_11: Value = ASKED
    article_12: Value = ASKED
    article_13: Value = ASKED
    article_14: Value = ASKED
    article_15: Value = ASKED


class Identity(Document):
    """Action, artifact, actor."""

    kind: Value = NOT_MEASURED
    result_name: Value = NOT_MEASURED
    result_manifest: Value = NOT_MEASURED
    name_or_trademark_on_result: Value = ASKED
    acting_person: Value = ASKED
    tool_version: Value = NOT_MEASURED


class Modifier(Document):
    """Who made the modification, as the organisation profile states it."""

    legal_name: Value = ASKED
    address: Value = ASKED
    country: Value = ASKED
    contact: Value = ASKED
    size_class: Value = ASKED
    role_claimed: Value = ASKED
    controls_weights: Value = NOT_DERIVED


class Representative(Document):
    """The authorised representative of a modifier outside the Union."""

    name: Value = ASKED
    contact: Value = ASKED
    mandate_ref: Value = ASKED


class BaseUsed(Document):
    """One model that went into the result: the base of a fine-tune, or an ingredient of a merge."""

    name: Value = NOT_MEASURED
    version: Value = NOT_MEASURED
    revision: Value = NOT_MEASURED
    role: Value = NOT_DERIVED
    file_digests: Value = NOT_MEASURED
    tensor_digest: Value = NOT_MEASURED
    quantised_view: Value = NOT_MEASURED
    provider: Value = NOT_FOUND_UPSTREAM
    source_url: Value = NOT_FOUND_UPSTREAM
    retrieved_at: Value = NOT_MEASURED
    licence_id: Value = NOT_FOUND_UPSTREAM
    licence_text_digest: Value = NOT_MEASURED
    licence_flags: Value = NOT_DERIVED
    release_date: Value = NOT_FOUND_UPSTREAM
    eu_release_date: Value = NOT_FOUND_UPSTREAM
    acceptable_use_policy: Value = NOT_FOUND_UPSTREAM
    upstream_docs: Value = NOT_FOUND_UPSTREAM
    is_gpai: Value = NOT_DERIVED
    has_systemic_risk: Value = NOT_FOUND_UPSTREAM
    params_total: Value = NOT_MEASURED
    params_active: Value = NOT_MEASURED
    training_tokens: Value = NOT_FOUND_UPSTREAM
    training_compute_flop: Value = NOT_FOUND_UPSTREAM
    parent_records: Value = NOT_MEASURED


class Method(Document):
    """How the result was made, and why so."""

    kind: Value = NOT_MEASURED
    objective: Value = NOT_MEASURED
    optimiser: Value = NOT_MEASURED
    schedule: Value = NOT_MEASURED
    seed: Value = NOT_MEASURED
    hyperparameters: Value = NOT_MEASURED
    design_rationale: Value = ASKED
    assumptions: Value = ASKED
    optimised_for: Value = ASKED


class Peft(Document):
    """Settings of a low-rank method."""

    rank: Value = NOT_MEASURED
    alpha: Value = NOT_MEASURED
    dropout: Value = NOT_MEASURED
    target_modules: Value = NOT_MEASURED
    modules_to_save: Value = NOT_MEASURED
    bias: Value = NOT_MEASURED


class Prompt(Document):
    """Settings of prompt and prefix tuning."""

    n_virtual_tokens: Value = NOT_MEASURED
    init: Value = NOT_MEASURED


class Merge(Document):
    """Settings of a merge."""

    algorithm: Value = NOT_MEASURED
    weights: Value = NOT_MEASURED
    densities: Value = NOT_MEASURED
    layer_map: Value = NOT_MEASURED
    base_ref: Value = NOT_MEASURED
    tokenizer_policy: Value = NOT_MEASURED
    dtype: Value = NOT_MEASURED
    config_digest: Value = NOT_MEASURED


class Software(Document):
    """The software that made the result."""

    repo: Value = NOT_MEASURED
    commit: Value = NOT_MEASURED
    environment_digest: Value = NOT_MEASURED
    libraries: Value = NOT_MEASURED
    dependency_sbom: Value = NOT_MEASURED


class Change(Document):
    """What is different in the weights. Evidence, not a legal test: a tiny norm can remove safety behaviour."""

    params_changed: Value = NOT_MEASURED
    pct_of_base: Value = NOT_DERIVED
    params_added: Value = NOT_MEASURED
    params_removed: Value = NOT_MEASURED
    params_trainable: Value = NOT_MEASURED
    rel_norm_global: Value = NOT_MEASURED
    modules: Value = NOT_MEASURED
    relative_to: Value = NOT_MEASURED
    base_weights_untouched: Value = NOT_MEASURED
    artifact_digests: Value = NOT_MEASURED


class DataUsed(Document):
    """One data file that was used."""

    name: Value = NOT_MEASURED
    version: Value = ASKED
    digest: Value = NOT_MEASURED
    splits: Value = NOT_MEASURED
    provenance_class: Value = ASKED
    source_url: Value = ASKED
    licence: Value = ASKED
    acquired_from: Value = ASKED
    acquired_to: Value = ASKED
    modality: Value = NOT_MEASURED
    n_points: Value = NOT_MEASURED
    unit: Value = NOT_MEASURED
    n_tokens: Value = NOT_MEASURED
    epochs: Value = NOT_MEASURED
    bytes: Value = NOT_MEASURED
    languages: Value = ASKED
    domain: Value = ASKED
    geography: Value = ASKED
    curation_steps: Value = ASKED
    labelling: Value = ASKED
    personal_data: Value = ASKED
    special_categories: Value = ASKED
    legal_basis: Value = ASKED
    original_purpose: Value = ASKED
    tdm_reservations: Value = ASKED
    unsuitability_measures: Value = ASKED
    illegal_content_measures: Value = ASKED
    bias_examination: Value = ASKED
    bias_mitigation: Value = ASKED
    synthetic_generator: Value = NOT_MEASURED
    crawler: Value = NOT_MEASURED
    art4a: Article4a = Article4a()


class Compute(Document):
    """Compute of this modification. FLOP are floats: they pass 2^53."""

    param_update_flop: Value = NOT_MEASURED
    conservative_flop: Value = NOT_DERIVED
    private_synthetic_flop: Value = NOT_MEASURED
    cumulative_flop: Value = NOT_DERIVED
    method: Value = NOT_MEASURED
    inputs: Value = NOT_MEASURED
    uncertainty_pct: Value = NOT_DERIVED
    hardware: Value = NOT_MEASURED
    wall_clock_days: Value = NOT_DERIVED
    hardware_days: Value = NOT_DERIVED
    nca_range: Value = NOT_DERIVED
    excluded: ExcludedCompute = ExcludedCompute()


class Energy(Document):
    """Energy of this modification."""

    training_kwh: Value = NOT_MEASURED
    method: Value = NOT_MEASURED
    boundary: Value = NOT_MEASURED
    pue: Value = NOT_MEASURED
    missing_info: Value = NOT_DERIVED


class Inference(Document):
    """Compute of a benchmark inference task, in FLOP and not in energy."""

    benchmark_flop: Value = NOT_MEASURED
    task: Value = NOT_MEASURED
    hardware: Value = NOT_MEASURED


class Gpai(Document):
    """Status of the modifier under the rules for general-purpose AI models. Separate from the high-risk status."""

    same_provider: Value = ASKED
    ratio: Value = NOT_DERIVED
    ratio_low: Value = NOT_DERIVED
    ratio_high: Value = NOT_DERIVED
    ratio_method_aware: Value = NOT_DERIVED
    ratio_scope: Value = NOT_DERIVED
    threshold_kind: Value = NOT_DERIVED
    threshold_flop: Value = NOT_DERIVED
    original_flop: Value = NOT_DERIVED
    estimate_attempt: Value = ASKED
    result_is_gpai_by_itself: Value = NOT_DERIVED
    sr_flag: Value = NOT_DERIVED
    verdict: Value = NOT_DERIVED
    notification_due: Value = NOT_DERIVED
    placed_on_eu_market: Value = ASKED
    placing_channel: Value = ASKED
    placing_date: Value = ASKED
    qualitative_change: QualitativeChange = QualitativeChange()
    open_source_exemption: OpenSourceExemption = OpenSourceExemption()


class HighRisk(Document):
    """Use in a high-risk system, and substantial modification of one. Separate from the status for general-purpose models."""

    system_ref: Value = ASKED
    system_version: Value = ASKED
    classification_before: Value = ASKED
    classification_after: Value = ASKED
    intended_purpose_before: Value = ASKED
    intended_purpose_after: Value = ASKED
    intended_purpose_changed: Value = ASKED
    profiling: Value = ASKED
    foreseen_in_initial_assessment: Value = ASKED
    predetermined: Value = NOT_DERIVED
    substantial: Value = ASKED
    article25_case: Value = ASKED
    new_conformity_assessment: Value = ASKED
    notified_body_informed: Value = ASKED
    handover_pack_ref: Value = NOT_DERIVED
    significant_design_change: Value = NOT_DERIVED
    art5_screen: Value = ASKED
    art50_marking_preserved: Value = NOT_MEASURED
    effect_on: Effects = Effects()


class Evaluation(Document):
    """What was measured before and after."""

    plan_digest: Value = NOT_MEASURED
    plan_created_at: Value = NOT_MEASURED
    runs: Value = NOT_MEASURED
    metrics: Value = NOT_MEASURED
    delta: Value = NOT_DERIVED
    bias: Value = NOT_MEASURED
    robustness: Value = NOT_MEASURED
    safety: Value = NOT_MEASURED
    security: Value = NOT_MEASURED
    not_measured: Value = ASKED
    limitations: Value = NOT_MEASURED
    metric_appropriateness: Value = ASKED
    signed_by: Value = NOT_MEASURED
    signed_at: Value = NOT_MEASURED


class Use(Document):
    """What the result is for and what it needs."""

    intended: Value = ASKED
    out_of_scope: Value = ASKED
    foreseeable_misuse: Value = ASKED
    acceptable_use_policy: Value = ASKED
    max_input: Value = NOT_MEASURED
    max_output: Value = NOT_MEASURED
    modalities: Value = NOT_MEASURED
    required_hardware: Value = NOT_DERIVED
    required_software: Value = NOT_DERIVED


class Limitations(Document):
    """Known limits of the result."""

    known: Value = ASKED
    failure_modes: Value = ASKED


class Risk(Document):
    """Risk management."""

    register_ref: Value = ASKED
    residual_risk: Value = ASKED


class Oversight(Document):
    """Human oversight."""

    measures: Value = ASKED
    roles: Value = ASKED
    override: Value = ASKED
    stop: Value = ASKED


class Security(Document):
    """Integrity, signature and scans of the result."""

    digests: Value = NOT_MEASURED
    signature: Value = NOT_MEASURED
    transparency_log: Value = NOT_MEASURED
    scans: Value = NOT_MEASURED
    access_control: Value = ASKED
    provenance_attestation: Value = NOT_MEASURED


class Retention(Document):
    """How long the documentation is kept. It counts from placing on the market, not from the last update."""

    basis: Value = NOT_DERIVED
    start_date: Value = NOT_DERIVED
    until: Value = NOT_DERIVED
    legal_hold: Value = ASKED
    log_retention_months: Value = NOT_DERIVED


class RecordSections(Document):
    """What a modification record of either form says."""

    record_id: str
    record_created_at: Timestamp
    supersedes: str | None = None
    identity: Identity = Identity()
    modifier: Modifier = Modifier()
    representative: Representative = Representative()
    base: tuple[BaseUsed, ...] = ()
    method: Method = Method()
    peft: Peft = Peft()
    prompt: Prompt = Prompt()
    merge: Merge = Merge()
    code: Software = Software()
    change: Change = Change()
    data: tuple[DataUsed, ...] = ()
    data_gaps: Value = ASKED
    compute: Compute = Compute()
    energy: Energy = Energy()
    inference: Inference = Inference()
    gpai: Gpai = Gpai()
    high_risk: HighRisk = HighRisk()
    evaluation: Evaluation = Evaluation()
    use: Use = Use()
    limitations: Limitations = Limitations()
    risk: Risk = Risk()
    oversight: Oversight = Oversight()
    security: Security = Security()
    approvals: Value = ASKED
    documents: Value = NOT_DERIVED
    requests: Value = NOT_MEASURED
    retention: Retention = Retention()
    lifecycle: Value = NOT_MEASURED
    incidents: Value = ASKED

    @classmethod
    def from_json(cls, value: Any) -> Self:  # any JSON value, as for every document
        return cls.model_validate(_with_shared_values(cls, value))

    def sections_to_json(self, names: Collection[str]) -> dict[str, Any]:
        """Of `to_json` the sections of these names, as far as there are such."""
        return self.model_dump(mode="json", include=set(names))

    @property
    def absent_fields(self) -> frozenset[str]:
        """The fields of its sections that its form does not have, by path."""
        return frozenset()


_USUALLY_OPEN = {
    key: (value.to_json(), Value.from_json(value.to_json()))
    for key, value in (
        ("not_answered", ASKED),
        ("not_measured", NOT_MEASURED),
        ("not_derived", NOT_DERIVED),
        ("not_stated_upstream", NOT_FOUND_UPSTREAM),
        *(
            (str(value.reason), unknown(str(value.reason)))
            for value in (ASKED, NOT_MEASURED, NOT_DERIVED, NOT_FOUND_UPSTREAM)
        ),
    )
}
"""The values that most of a record consists of: as JSON, and as one value for all places and records that have it. By the name of
their code, and by the text that stood for it before there were codes."""


def _with_shared_values(
    form: type[Document], members: Any
) -> Any:  # any JSON value; validation says what is not a section
    """The members of a section, those that are open for a usual reason as values: to make each anew takes most of the time.

    Only what is the same JSON to the last member is exchanged, so that the section says and writes what it did.
    """
    if type(members) is not dict:
        return members
    shared = dict(members)
    for name, kind in _parts(form):
        member = members.get(name)
        if type(member) is list:
            shared[name] = [_with_shared_values(kind, item) for item in member]
        elif type(member) is not dict:
            continue
        elif kind is not Value:
            shared[name] = _with_shared_values(kind, member)
        elif (reason := member.get("reason")) is not None:
            key = reason.get("code") if type(reason) is dict else reason
            json, value = _USUALLY_OPEN.get(key, (None, None)) if type(key) is str else (None, None)
            if member == json:
                shared[name] = value
    return shared


@cache
def _parts(form: type[Document]) -> tuple[tuple[str, type[Document]], ...]:
    """The fields of a section that are values, sections, or arrays of sections, each with the class of the value or section."""
    kinds = {name: (info.annotation, *get_args(info.annotation)) for name, info in form.model_fields.items()}
    return tuple(
        (name, kind)
        for name, candidates in kinds.items()
        for kind in candidates
        if isinstance(kind, type) and issubclass(kind, Document)
    )


class ModificationRecordV1(RecordSections):
    """The first form of the modification record. It is read for ever, and not written any more."""

    schema_version: Literal["1"] = "1"


class UpstreamTerms(Document):
    """What follows for one base from its provider's terms and figures; `name` is that of the base in this registry."""

    name: Value = NOT_MEASURED
    eu_exclusion: Value = NOT_FOUND_UPSTREAM
    gpai_indication: Value = NOT_DERIVED


class DeclaredPower(Document):
    """Electrical power, where no sensor could be read."""

    device_watts: Value = ASKED


class Product(Document):
    """The result as it is released and used."""

    architecture: Value = NOT_DERIVED
    design_specifications: Value = ASKED
    params_total: Value = NOT_DERIVED
    release_date: Value = ASKED
    release_forms: Value = ASKED
    channels: Value = ASKED
    channels_downstream: Value = ASKED
    licence: Value = ASKED
    licence_type: Value = ASKED
    additional_assets: Value = ASKED
    system_kinds: Value = ASKED
    integration: Value = ASKED
    interaction: Value = ASKED
    user_interface: Value = ASKED
    illustrations: Value = ASKED
    instructions: Value = ASKED


class Conformity(Document):
    """What a provider of a high-risk system adds to the technical documentation, and since when the system has been there."""

    system_placing_date: Value = ASKED
    standards: Value = ASKED
    declaration: Value = ASKED
    post_market_plan: Value = ASKED
    cybersecurity_measures: Value = ASKED


class TrainingContent(Document):
    """The training data of this modification as a whole, for the public summary."""

    size_range: Value = NOT_DERIVED
    content_types: Value = ASKED
    obtained_and_selected: Value = ASKED
    latest_acquisition: Value = NOT_DERIVED
    continues: Value = ASKED
    other_sources: Value = ASKED
    code_signatory: Value = ASKED
    other_information: Value = ASKED
    holds_evaluated_items: Value = ASKED


class AllData(Document):
    """The data of all files together, where the forms ask for one answer; it follows from `data`."""

    n_points: Value = NOT_DERIVED
    n_tokens: Value = NOT_DERIVED
    modalities: Value = NOT_DERIVED
    provenance: Value = NOT_DERIVED
    licences: Value = NOT_DERIVED
    languages: Value = NOT_DERIVED
    personal_data: Value = NOT_DERIVED
    special_categories: Value = NOT_DERIVED
    synthetic_pct: Value = NOT_DERIVED


class Step(Document):
    """This modification alone, whatever it began with: how much of the base it could reach, and its own share of the compute."""

    adapted_pct: Value = NOT_MEASURED
    adapted_pct_by_kind: Value = NOT_MEASURED
    ratio: Value = NOT_DERIVED


class Documentation(Document):
    """Figures in the form that a recipient gets them; exact ones are for the AI Office only."""

    size_range: Value = NOT_DERIVED
    flop_order: Value = NOT_DERIVED
    energy_mwh: Value = NOT_DERIVED
    points_coarse: Value = NOT_DERIVED


class Correction(Document):
    """Why this record stands in place of another, and what it was built from."""

    supersedes_digest: Digest | None = None  # of the record named in `supersedes`: SHA-256 of its canonical bytes
    reason: Said | None = None
    answers: tuple[Digest, ...] = ()  # of the statements of kind `answers`: SHA-256 of their payloads
    evaluations: tuple[Digest, ...] = ()  # likewise of later evaluations


WRITTEN_WHERE_STATED = frozenset({"conformity.system_placing_date", "content.holds_evaluated_items"})
"""Fields that came after records of the third form were signed: a record in which nobody states them is written without them."""

SINCE_THIRD_FORM = frozenset({"product.design_specifications", "documentation.points_coarse"}) | WRITTEN_WHERE_STATED
"""Fields that the second form does not have: a record of it is written without them."""

UNTIL_SECOND_FORM = frozenset(
    {
        "high_risk.intended_purpose_after",
        # what statements of their own say: approvals, holds and decisions of people, and what happened later
        *(
            "approvals",
            "documents",
            "high_risk.substantial",
            "incidents",
            "lifecycle",
            "requests",
            "retention.legal_hold",
        ),
        # the same is said of each data file, and no form asks it of all together
        *("all_data.personal_data", "all_data.special_categories"),
    }
)
"""Fields that the third form does not have any more: no record of it states them."""


class ModificationRecord(RecordSections):
    """One modification event, whole. A correction is a new record that names this one in `supersedes`.

    `rule_set` names the rules by which it was written: what it derives, and its section of evaluations, follow by them from the
    rest and from what was signed. It, `all_data` and `step` are written only where they are there: records that were signed
    before they were known read back to their own bytes.
    """

    schema_version: Literal["2", "3"] = "3"
    rule_set: str | None = None
    correction: Correction = Correction()
    upstream: tuple[UpstreamTerms, ...] = ()
    power: DeclaredPower = DeclaredPower()
    product: Product = Product()
    conformity: Conformity = Conformity()
    content: TrainingContent = TrainingContent()
    all_data: AllData = AllData()
    step: Step = Step()
    documentation: Documentation = Documentation()

    @model_validator(mode="after")
    def _states_no_field_of_an_earlier_form(self) -> Self:
        """Else a value could stand in what is signed that is neither shown nor held against what it follows from."""
        if self.schema_version == "3":
            for path in UNTIL_SECOND_FORM:
                if self._states(path):
                    raise ValueError(f"{path}: records of the third form do not have it")
        return self

    def _states(self, path: str) -> bool:
        """Whether a field was given a value here: a default is what is read where there is none."""
        section, _, field = path.rpartition(".")
        return field in (getattr(self, section) if section else self).model_fields_set

    @model_serializer(mode="wrap")
    def _without_absent_sections(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)  # not all of it where only some sections are asked for
        for name in ("all_data", "step"):
            if name not in self.model_fields_set:
                value.pop(name, None)
        if self.rule_set is None:
            value.pop("rule_set", None)
        for path in self.absent_fields | WRITTEN_WHERE_STATED:
            section, _, field = path.rpartition(".")
            # of a section that is not there nothing has to go
            if section in ("", *value) and not self._states(path):
                (value[section] if section else value).pop(field, None)
        return value

    @property
    def absent_fields(self) -> frozenset[str]:
        return UNTIL_SECOND_FORM if self.schema_version == "3" else SINCE_THIRD_FORM

    @property
    def supersedes_another(self) -> bool:
        """Whether it names a record that it stands in place of, by its id or by its digest."""
        return self.supersedes is not None or self.correction.supersedes_digest is not None


InputKind = Literal[
    "provenance", "observations", "bias-evaluation", "base", "answers", "modification", "decision", "approval"
]
"""The kinds of statements that a record follows from."""


class RecordInput(Document):
    """A statement that a record follows from; `about` is the manifest that it speaks of."""

    kind: InputKind
    digest: Digest
    about: Digest


STATEMENTS_KEPT = 8
"""Statements of records that are kept as they were read: every view of a registry reads those of a version again, and to hold a
log against itself each is read several times. As objects a record takes 350 kB."""


class ModificationPredicate(Document):
    """A record with the edition that derived it and the signed statements that it follows from.

    `as_of` is how many entries of the log were covered: the inputs are what stood then of the version, its parents and its bases,
    and what its own registration brought. Nobody chooses them.
    """

    edition: Edition
    as_of: int = Field(ge=0)
    inputs: tuple[RecordInput, ...]
    record: ModificationRecord

    @classmethod
    def from_json(cls, value: Any) -> Self:  # any JSON value, as for every document
        try:
            text = to_json(value)
        except (ValueError, RecursionError):  # not JSON: validation says what is wrong with it
            return cls._read(value)
        return cls._of_text(text)

    @classmethod
    @lru_cache(maxsize=STATEMENTS_KEPT)
    def _of_text(cls, text: bytes) -> Self:
        # from the text, not from what it was made of: whoever has that may change it
        return cls._read(from_json(text))

    @classmethod
    def _read(cls, value: Any) -> Self:  # any JSON value, as for every document
        return cls.model_validate(_with_shared_values(cls, value))

    def inputs_of(self, kind: InputKind, about: Digest | None = None) -> tuple[Digest, ...]:
        """The statements of a kind among the inputs; `about`: only those that speak of this manifest."""
        return tuple(entry.digest for entry in self.inputs if entry.kind == kind and about in (None, entry.about))


def modification_in(statement: Statement) -> ModificationRecordV1 | ModificationRecord:
    """The record that a statement holds, in the form that its predicate type names.

    Raises:
        ValidationError: it is not a modification record of that form.
    """
    if statement.predicate_type == MODIFICATION_V1:
        return statement.read_by(ModificationRecordV1.from_json)
    if statement.predicate_type == MODIFICATION_V2:
        return statement.read_by(ModificationRecord.from_json)
    return statement.read_by(ModificationPredicate.from_json).record
