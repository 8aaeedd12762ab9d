"""A version's report as values: everything it shows is decided here, from recorded facts only, and nothing in a renderer.

No wall clock: the same records, `as_of`, rule set and tool version give the same view. Every figure carries its source.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from peft_registry.registry.compliance.completeness import completeness, own_required_leaves
from peft_registry.registry.compliance.fields import FieldRules, Leaf, field_rules
from peft_registry.registry.compliance.shown_values import shown_leaves
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.evaluation.limits import verdict_lines
from peft_registry.registry.reports.attention import attention_of
from peft_registry.registry.reports.evaluation_view import (
    ShownEvaluation,
    bars_of,
    flows_of,
    spreads_of,
    transitions_of,
)
from peft_registry.registry.reports.first_page import answers_behind, answers_of, command_that_answers
from peft_registry.registry.reports.law_answers import fields_missing
from peft_registry.registry.reports.merge_view import merge_figures
from peft_registry.registry.reports.open_fields import named_gaps, owed_of
from peft_registry.registry.reports.text import THIN, first_lines, number, plain, size, value_text, whole
from peft_registry.registry.reports.use_answer import marks_of
from peft_registry.registry.reports.verification_text import how_to_verify
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, RecordHistory, VersionFacts
from peft_registry.registry.reports.vouchers import Vouchers, vouchers_of
from peft_registry.registry.reports.wording import BROKEN_MEANS, NO_CLAIM, NOTICE, UNVERIFIED_MEANS, VERIFIED_MEANS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.report import Curve, FieldRow, Figure, ListedStatement, RecordStep, ReportView, Transition
from peft_registry.schemas.run import RunRecord, coverage_sentence, kept_sentence
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.trained_templates import Template
from peft_registry.schemas.values import Value

# what the section "what changed" shows, in order; a field that is neither known nor required is left out
_Row = TypeVar("_Row", bound=Hashable)

_CHANGE = (
    "method.kind",
    "peft.rank",
    "peft.alpha",
    "peft.dropout",
    "peft.target_modules",
    "prompt.n_virtual_tokens",
    "merge.algorithm",
    "merge.weights",
    "merge.densities",
    "merge.base_ref",
    "merge.tokenizer_policy",
    "merge.dtype",
    "merge.config_digest",
    "change.params_trainable",
    "step.adapted_pct",
    "step.adapted_pct_by_kind",
    "change.params_added",
    "change.params_removed",
    "change.params_changed",
    "change.pct_of_base",
    "change.base_weights_untouched",
    "change.rel_norm_global",
    "change.relative_to",
)
# of a merge its own rows say these: ingredients with their parts, and the base
_SAID_BY_MERGE = frozenset(("merge.weights", "merge.densities", "merge.base_ref", "change.relative_to"))
_NAMES = frozenset(("peft.target_modules", "peft.modules_to_save"))
_COMPUTE = (
    "compute.conservative_flop",
    "compute.param_update_flop",
    "compute.inputs",
    "compute.cumulative_flop",
    "gpai.original_flop",
    "gpai.ratio",
    "gpai.ratio_low",
    "gpai.ratio_high",
    "gpai.ratio_method_aware",
    "step.ratio",
    "energy.training_kwh",
)
_STEPS_SHOWN = 4  # of the record's history on the first page
_STEP_CHARACTERS = 400
_HISTORY_PLACE = "signature and checks"
_VERDICT_MEANS = {"verified": VERIFIED_MEANS, "unverified": UNVERIFIED_MEANS, "broken": BROKEN_MEANS}
_SECTIONS = {
    "gpai": "General-purpose AI status",
    "high_risk": "High-risk status",
    "data": "Data",
    "base": "Base",
    "peft": "Low-rank method",
    "use": "Use",
    "upstream": "Terms of the base",
    "product": "Result as released",
    "content": "Training data as a whole",
    "all_data": "All files of data together",
    "step": "This modification alone",
    "documentation": "Figures for recipients",
}


def build_report_view(
    facts: VersionFacts,
    *,
    as_of: str,
    tool_version: str,
    holders: KeyHolders,
    history: RecordHistory,
    checks: PageChecks,
) -> ReportView:
    """The report of one version.

    Args:
        facts: what is recorded of it.
        as_of: the date or time that the report speaks for; chosen by the caller, for example the registration's.
        tool_version: of this program.
        holders: of the keys that signed.
        history: of its modification record.
        checks: those that were made for this report.
    """
    rules = field_rules()
    version = facts.version
    run = facts.run
    record = facts.record
    shown = facts.evaluations
    verification = checks.verification
    completed = completeness(record) if record is not None else None
    fields = None
    if record is not None:
        fields = _Fields.of(record, vouchers_of(facts.statements, record.record_id, holders.who))
    return ReportView(
        title=version.label,
        version=version,
        # a page has one clock: that of the newest record that it rests on
        as_of=max(as_of, *(gate.as_of for gate in checks.gates.values())) if checks.gates else as_of,
        tool_version=tool_version,
        rule_set=(
            f"{rules.rule_set} of the fields, {shipped_rules().version} of the verdicts (law as of {rules.law_as_of})"
        ),
        answers=answers_of(facts, completed, holders, checks),
        behind=answers_behind(facts),
        marks=marks_of(facts, checks, completed),
        attention=attention_of(facts, completed, holders, checks),
        owed=owed_of(completed, record, frozenset() if record is None else fields_missing(record, facts.decided)),
        answered_by=command_that_answers(version),
        change=(*_change(fields, facts.merge), *_template(facts.template)),
        training=_training(run),
        # an evaluation with another control repeats the figures of the two models: each is drawn once
        bars=_once(bar for evaluated in shown for bar in bars_of(evaluated.record)),
        transitions=_told_once(tuple(row for evaluated in shown for row in transitions_of(evaluated.record))),
        flows=_once(flow for evaluated in shown for flow in flows_of(evaluated.record)),
        spreads=_once(
            spread
            for evaluated in shown
            if evaluated.items is not None
            for spread in spreads_of(evaluated.record, evaluated.items)
        ),
        compute=(*_measured_compute(run), *_figures(fields, _COMPUTE)),
        lineage=facts.lineage,
        verification=verification,
        fields=_field_rows(fields),
        gaps=named_gaps(completed, record),
        gap_owners=completed.by_owner if completed is not None else (),
        statements=_statement_rows(facts.statements, holders.persons),
        how_to_verify=how_to_verify(version),
        notices=(
            *_notices(shown),
            *(f"Threshold {line}" for evaluated in shown for line in verdict_lines(evaluated.record)),
            *_newest(history.steps),
            *first_lines(history.notes, _HISTORY_PLACE),
        ),
        record_history=(*(step.whole for step in history.steps), *history.notes),
        curve=_curve(run),
        verdict_means="" if verification is None else _VERDICT_MEANS[verification.verdict],
        limitations=_once(str(limit) for evaluated in shown for limit in evaluated.record.limitations),
        law=() if completed is None else _law(rules),
    )


def _once(rows: Iterable[_Row]) -> tuple[_Row, ...]:
    """Each of the equal ones once, where it stood first."""
    return tuple(dict.fromkeys(rows))


def _law(rules: FieldRules) -> tuple[str, ...]:
    return tuple(f"{source.short}: {source.title} ({source.weight})" for source in rules.sources)


def _told_once(rows: tuple[Transition, ...]) -> tuple[Transition, ...]:
    """The rows without those that count the same of the same once more, of which the newest stands."""
    told: dict[tuple[str, str | None, tuple[tuple[str, int], ...], str], Transition] = {}
    for row in rows:
        told.setdefault((row.dataset, row.category, row.counts, row.conclusion), row)
    return tuple(told.values())


def _newest(steps: tuple[RecordStep, ...]) -> tuple[str, ...]:
    """The newest steps, oldest of them first, after how many there were before: a record is answered in any number of rounds."""
    earlier = len(steps) - _STEPS_SHOWN
    before = (f"{earlier} earlier answers and records: {_HISTORY_PLACE}.",) if earlier > 0 else ()
    return (*before, *(_begun(step.text) for step in steps[-_STEPS_SHOWN:]))


def _begun(text: str) -> str:
    """A reason may be as long as somebody likes."""
    return f"{text[:_STEP_CHARACTERS]}… ({_HISTORY_PLACE})" if len(text) > _STEP_CHARACTERS else text


def figure(label: str, value: Value, text: str | None = None, vouched: str = "") -> Figure:
    """A recorded value as a figure; `text` says it otherwise than every value is said, `vouched` who stands behind it."""
    return Figure(
        label=label, text=value_text(value) if text is None else text, source=value.source, method=_how(value, vouched)
    )


def _how(value: Value, vouched: str = "") -> str:
    """How a value came about, in one line; `vouched` says who stands behind it."""
    parts = [str(value.method or "")]
    if value.uncertainty_pct is not None:
        parts.append(f"±{number(value.uncertainty_pct)}{THIN}%")
    parts.append(vouched)
    if value.evidence:
        parts.append("evidence " + ", ".join(digest.short for digest in value.evidence))
    return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class _Fields:
    """A record with its values as they are shown, in the order of the schema.

    Attributes:
        required: the paths of those that it has to have.
        vouchers: whose keys stand behind what people state in it.
    """

    record: RecordSections
    leaves: tuple[Leaf, ...]
    required: frozenset[str]
    vouchers: Vouchers

    @classmethod
    def of(cls, record: RecordSections, vouchers: Vouchers) -> "_Fields":
        required = frozenset(leaf.path for leaf in own_required_leaves(record))
        return cls(record, tuple(shown_leaves(record)), required, vouchers)


def _change(fields: _Fields | None, merge: MergeRecord | None) -> tuple[Figure, ...]:
    if merge is None:
        return _figures(fields, _CHANGE)
    return (*_figures(fields, tuple(path for path in _CHANGE if path not in _SAID_BY_MERGE)), *merge_figures(merge))


def _figures(fields: _Fields | None, paths: tuple[str, ...]) -> tuple[Figure, ...]:
    if fields is None:
        return ()
    rules = field_rules().by_path()
    values = {leaf.path: leaf.value for leaf in fields.leaves}
    # the first form of the record has not every field
    shown = [path for path in paths if path in values and (values[path].known or path in fields.required)]
    return tuple(
        figure(
            rules[path].label,
            values[path],
            _whole_text(values[path]) if path in _NAMES else None,
            vouched=fields.vouchers.of(path, values[path]),
        )
        for path in shown
    )


def _whole_text(value: Value) -> str:
    """Names are not cut: whoever reads which modules changed wants all of them."""
    return ", ".join(map(str, value.value)) if isinstance(value.value, list) else value_text(value)


def _scans_text(value: Value) -> str:
    """Every scan, and of each that did not run why: cut off after the first, they would all read as passed."""
    if not isinstance(value.value, list):
        return value_text(value)
    ran = [f"{row['scan']} (found {row['found']})" for row in value.value if row["ran"] == "yes"]
    not_run = [f"{row['scan']} ({plain(row['why'])})" for row in value.value if row["ran"] != "yes"]
    return f"ran: {', '.join(ran) or 'none'}; did not run: {', '.join(not_run) or 'none'}"


def _template(template: Template | None) -> tuple[Figure, ...]:
    if template is None:
        return ()
    return (
        Figure(label="Template of its prompts", text=template.line, source="measured", method="as the run recorded it"),
    )


def _training(run: RunRecord | None) -> tuple[Figure, ...]:
    if run is None:
        return ()
    rows = [
        Figure(
            label=f"Data {data.name}",
            text=", ".join(f"{whole(selection.rows)} {selection.split}" for selection in data.selections)
            + f" of {whole(data.rows_total)} rows, {size(data.bytes)}, {data.sha256}",
            source="measured",
            method="; ".join(f"{selection.split}: {selection.rule}" for selection in data.selections),
        )
        for data in run.data
    ]
    environment = run.environment
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(environment.libraries.items()))
    rows += [
        figure("Held-out loss before", run.loss_before),
        figure("Held-out loss after", run.loss_after),
        figure("Change of the held-out loss", run.loss_change),
        *(
            (
                Figure(
                    label="Adapted",
                    text=coverage_sentence(run.coverage),
                    source="measured",
                    method="counted before the run",
                ),
            )
            if run.coverage
            else ()
        ),
        *_settings_rows(run),
        *(
            (Figure(label="Kept", text=kept_sentence(run.kept_step), source="measured", method="early stopping"),)
            if run.kept_step
            else ()
        ),
        Figure(label="Device", text=f"{environment.device}, {environment.dtype}", source="measured", method=""),
        Figure(label="Software", text=f"Python {environment.python}, {libraries}", source="measured", method=""),
        *(
            Figure(label="Warning", text=warning, source="measured", method="said by the run")
            for warning in run.warnings
        ),
    ]
    return tuple(rows)


def _measured_compute(run: RunRecord | None) -> tuple[Figure, ...]:
    if run is None:
        return ()
    used = run.compute
    return (
        figure("Tokens processed", used.tokens),
        figure("Tokens that carry loss", used.supervised_tokens),
        figure("Wall-clock time", used.wall_seconds),
        figure("Device hours", used.hardware_hours),
        figure("Hardware", used.hardware),
        figure("Peak memory", used.peak_memory_bytes),
    )


def _field_rows(fields: _Fields | None) -> tuple[FieldRow, ...]:
    """Every field that is filled or required; what neither applies nor is known is left out."""
    if fields is None:
        return ()
    rules = field_rules().by_path()
    return tuple(
        FieldRow(
            section=_section(leaf.path, fields.record),
            field=rules[leaf.rule].label,
            text=_scans_text(leaf.value) if leaf.path == "security.scans" else value_text(leaf.value),
            source=leaf.value.source,
            method=_how(leaf.value, fields.vouchers.of(leaf.path, leaf.value)),
            answers=rules[leaf.rule].answers,
            path=leaf.path,
        )
        for leaf in fields.leaves
        if leaf.value.settled or leaf.path in fields.required
    )


def _section(path: str, record: RecordSections) -> str:
    head, _, _ = path.partition(".")
    name, bracket, position = head.partition("[")
    title = _SECTIONS.get(name, name.replace("_", " ").capitalize())
    if not bracket:
        return title if "." in path else "Sign-off and lifecycle"
    items = getattr(record, name)  # base, data, upstream: each of them has a name
    return f"{title}: {value_text(items[int(position.rstrip(']'))].name)}"


def _statement_rows(statements: tuple[StoredStatement, ...], persons: Mapping[str, str]) -> tuple[ListedStatement, ...]:
    rows = [
        ListedStatement(
            kind=stored.kind or stored.statement.predicate_type,
            digest=stored.digest,
            key_id=stored.key_id,
            person=persons.get(stored.key_id, ""),
            at=stored.appended_at or "",
            log_index=stored.log_index,
        )
        for stored in statements
    ]
    return tuple(sorted(rows, key=_log_order))


def _log_order(row: ListedStatement) -> tuple[bool, int, Digest]:
    return (row.log_index is None, row.log_index or 0, row.digest)


def _notices(evaluations: tuple[ShownEvaluation, ...]) -> tuple[str, ...]:
    return (NOTICE, NO_CLAIM) if evaluations else (NOTICE,)


def _settings_rows(run: RunRecord) -> tuple[Figure, ...]:
    digest = str(run.config_sha256)
    if run.followed is None:
        return (
            Figure(label="Seed", text=str(run.seed), source="measured", method="the training file"),
            Figure(label="Training file", text=digest, source="measured", method="SHA-256, canonical"),
        )
    trainer = run.followed.trainer
    return (
        Figure(label="Trainer", text=trainer, source="measured", method="followed by a callback"),
        Figure(label="Seed", text=str(run.seed), source="measured", method=f"the arguments of {trainer}"),
        Figure(label="Arguments", text=digest, source="measured", method="SHA-256, canonical"),
    )


def _curve(run: RunRecord | None) -> Curve | None:
    """The training loss by step; a line needs two points."""
    if run is None or len(run.curve.steps) < 2:
        return None
    unit = "nats per token" if run.followed is None else run.followed.curve
    return Curve(label="Training loss", unit=unit, steps=run.curve.steps, values=run.curve.loss)
