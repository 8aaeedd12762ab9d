"""What a report says first: the questions that a reader brings, what is unknown, who owes it, how to answer.

Pure, over records. A question that the records do not answer says so and why; unknown is never "no".
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from peft_registry.registry.compliance.completeness import (
    Completeness,
    is_yes,
)
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.record_verdicts import high_risk_verdict
from peft_registry.registry.compliance.used_rows import listed_labels
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.compliance.verdicts.gpai import THIRD
from peft_registry.registry.evaluation.aggregate import NEUTRAL, NEUTRAL_TEXT, LostCapability
from peft_registry.registry.evaluation.halves import half_text
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.standing import with_repeated
from peft_registry.registry.reports.conditions import condition_lines
from peft_registry.registry.reports.decisions import decision_lines
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.merge_view import merge_sentences
from peft_registry.registry.reports.text import (
    first_lines,
    number,
    percent,
    reason_text,
    said_text,
    share,
    size,
    value_text,
    whole,
)
from peft_registry.registry.reports.wording import (
    FLAGGED_MEANS,
    SUITES,
    SYSTEM_STATUSES,
    arm_name,
    classification_text,
    conclusion_text,
    interval_text,
    loss_direction,
    loss_sentence,
    status_text,
)
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import Comparison, LossComparison
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import BaseUsed, DataUsed, ModificationRecord, RecordSections
from peft_registry.schemas.report import Answer, Gap, Owed
from peft_registry.schemas.run import RunRecord, coverage_sentence
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version

# what this tool finds out by itself is asked of nobody: such a row names no person and no department
NOT_ASKED = "Not asked of anybody"
_NOT_FOUND_OUT = "for this tool to find out, and it did not: "
_POLICY_CHARACTERS = 300  # of a policy that somebody copied whole
_ITEMS_NAMED = 3  # whose field it is; each stands under "open fields"
_GROUPS_NAMED = 4  # of each conclusion; all of them stand under "before and after"
_FIELDS_NAMED = 4  # of each owner; all of them stand under "open fields"
# what the rows of a split were for, in words
_USED_FOR = {"train": "trained on", "validation": "held out", "test": "held out for tests"}
_OF_A_BASE = "not asked of a base: nothing was changed"
# the guidelines are numbered twice, and a paragraph means nothing without its edition
_CRITERION = (
    "a third is the indicative criterion of the Commission's guidelines, which are not binding "
    "(paragraph 63 as printed in July 2025, 60 in November 2025): above it they take whoever modified a general-purpose model for "
    "the provider of one"
)
_SAME_PROVIDER = (
    "Not applied: the modifier is the provider of the base or acts for it, and the result counts as the same model "
    "(guidelines, paragraph 23 as printed in July 2025, 22 in November 2025)"
)


def answers_of(
    *,
    version: Version,
    lineage: Lineage,
    run: RunRecord | None,
    merge: MergeRecord | None,
    imported: ImportRecord | None,
    base: BaseRecord | None,
    evaluations: tuple[ShownEvaluation, ...],
    record: RecordSections | None,
    completed: Completeness | None,
    persons: Mapping[str, str],
    roles: Mapping[str, str],
    statements: Sequence[StoredStatement] = (),
    decided: Decided = NOBODY,
) -> tuple[Answer, ...]:
    """The questions in the order in which they are asked, each with its answer or why there is none."""
    return (
        Answer(question="Who made it?", lines=(_organisation(record, base), _registered(version, persons, roles))),
        Answer(question="What is it for?", lines=(*_project(run, merge, imported), *_purpose(record, base))),
        Answer(question="Which base?", lines=_bases(record, lineage, base)),
        Answer(question="Which data?", lines=_data(record, lineage, run, base)),
        Answer(question="What changed?", lines=_changed(version, run, merge, imported, base=base, record=record)),
        Answer(question="Was bias measured, and what came out?", lines=_bias(evaluations, version)),
        Answer(question="Did quality fall?", lines=_quality(evaluations, run, base)),
        *_how_measured(evaluations),
        Answer(
            question="Is it over a third of the base's compute?",
            lines=(_compute(record, base, completed), *_market(record)),
        ),
        Answer(question="Is it high-risk, and did that change?", lines=(_high_risk(record, base, decided),)),
        Answer(
            question="Who let it be used?",
            lines=decision_lines(version, statements, persons, _digest_to_name(record, statements)),
        ),
        Answer(question="What is open?", lines=(_open(completed, base),)),
    )


def _digest_to_name(record: RecordSections | None, statements: Sequence[StoredStatement]) -> Digest | None:
    """The digest of a record where something said of it may name one: it takes as long as reading the record, and few are named."""
    is_named = any(stored.kind in ("decision", "approval") for stored in statements)
    return record.canonical_digest() if record is not None and is_named else None


def owed_of(completed: Completeness | None, record: RecordSections | None) -> tuple[Owed, ...]:
    """Who owes an answer: how many, and the first of them in words."""
    if completed is None or record is None:
        return ()
    rows = []
    for owner, count in completed.by_owner:
        asked: dict[str, list[str]] = {}  # by label, whose fields they are
        for gap in completed.open:
            if gap.owner == owner:
                asked.setdefault(gap.label or gap.field, []).append(whose_field(record, gap.field))
        first = dict(list(asked.items())[:_FIELDS_NAMED])
        named = "; ".join(f"{label}{_of_whom(names)}" for label, names in first.items())
        rest = count - sum(map(len, first.values()))
        text = named + (f"; {rest} more below" if rest > 0 else "")
        if owner == "tool":
            rows.append(Owed(owner=NOT_ASKED, count=count, text=_NOT_FOUND_OUT + text))
        else:
            rows.append(Owed(owner=owner, count=count, text=text))
    return tuple(rows)


def named_gaps(completed: Completeness | None, record: RecordSections | None) -> tuple[Gap, ...]:
    """The open fields as the evidence lists them: of several bases, adapters or data files each says which."""
    if completed is None or record is None:
        return ()
    return tuple(
        Gap(
            field=gap.field,
            owner=gap.owner,
            reason=reason_text(gap.reason),
            answers=gap.answers,
            label=f"{gap.label}{_of_whom([whose_field(record, gap.field)])}" if gap.label else "",
        )
        for gap in completed.open
    )


def whose_field(record: RecordSections, path: str) -> str:
    """Which base, adapter or data file a field of the record is of, by name; empty where there is one of them, or none."""
    item = FieldPath.parse(path).item
    if item is None:
        return ""
    section, position = item
    items = getattr(record, section)  # base, data, upstream: each of them has a name
    if len(items) < 2:
        return ""
    holder = items[position]
    if isinstance(holder, BaseUsed):
        return _base_label(holder)
    return value_text(holder.name) if holder.name.known else f"number {position + 1}, which has no name"


def _of_whom(names: Sequence[str]) -> str:
    """` (of a:1 and b:1)`; the first of many."""
    shown = [name for name in names if name]
    if not shown:
        return ""
    rest = len(shown) - _ITEMS_NAMED
    return f" (of {listed_labels([*shown[:_ITEMS_NAMED], f'{rest} more'] if rest > 0 else shown)})"


def command_that_answers(version: Version) -> str:
    """The command that takes answers for such a version; words in capitals are the reader's own."""
    if version.kind == "base":
        return f"registry base add FOLDER --name {version.name} --facts FACTS.yml"
    return f"registry decide {version.label} --form FORM.yml"


# --- the questions ---


def _organisation(record: RecordSections | None, base: BaseRecord | None) -> str:
    if record is None:
        return f"provider of the base: {said_text(base.facts.provider)}" if base is not None else "not recorded"
    country = f", {value_text(record.modifier.country)}" if record.modifier.country.known else ""
    return _asked("modifier.legal_name", record.modifier.legal_name) + country


def _registered(version: Version, persons: Mapping[str, str], roles: Mapping[str, str]) -> str:
    """When it was registered, and under which key: a trust file names keys, and the name may be a person's or a machine's."""
    key = f"the key {version.key_id[:12]}…"
    person = persons.get(version.key_id)
    if person is None:
        return f"Registered {version.registered_at[:10]}, signed with {key}, whose holder is not named."
    role = f", in the role of {roles[version.key_id]}" if version.key_id in roles else ""
    named = f"which the trust file lists under the name “{person}”{role}"
    return f"Registered {version.registered_at[:10]}, signed with {key}, {named}."


def _project(run: RunRecord | None, merge: MergeRecord | None, imported: ImportRecord | None) -> tuple[str, ...]:
    """The project that it was made for, where its run, merge or import names one."""
    made = run or merge or imported
    return () if made is None or made.project is None else (f"Project: {made.project}.",)


def _purpose(record: RecordSections | None, base: BaseRecord | None) -> tuple[str, ...]:
    if record is None:
        return ("not recorded for a base: its provider's own card says it" if base is not None else "not recorded",)
    return (_asked("use.intended", record.use.intended), *_licence(record))


def _licence(record: RecordSections) -> tuple[str, ...]:
    """Under which licence the result is given away; the first form of the record does not ask for it."""
    if not isinstance(record, ModificationRecord):
        return ()
    licence = record.product.licence
    owner = field_rules().by_path()["product.licence"].owner
    return (f"Licence of the result: {value_text(licence) if licence.known else f'not recorded, owed by {owner}'}.",)


def _asked(path: str, value: Value) -> str:
    """The value of a field; where nobody has stated it, who owes it and under which name it is asked for below."""
    if value.known:
        return value_text(value)
    rule = field_rules().by_path()[path]
    return f"unknown, owed by {rule.owner} ({rule.label}): {value_text(value)}"


def _bases(record: RecordSections | None, lineage: Lineage, base: BaseRecord | None) -> tuple[str, ...]:
    if base is not None:
        licence = value_text(base.facts.licence) if base.facts.licence.known else "not recorded"
        itself = f"itself: {base.origin.source}, {whole(base.parameters_total)} parameters, licence {licence}"
        return (f"{itself}{_use_policy(base.facts.acceptable_use_policy)}",)
    if record is not None and record.base:
        return first_lines(tuple(map(_base_line, record.base)), "modification record")
    return first_lines(_sources(lineage, data=False), "lineage") or ("not recorded",)


def _base_line(used: BaseUsed) -> str:
    """What went in, under its part in it: a base's provider and licence are not those of an adapter that was trained on it."""
    label = _base_label(used)
    role = f"{value_text(used.role).capitalize()} " if used.role.known else ""
    provider = value_text(used.provider) if used.provider.known else "not recorded"
    owner = field_rules().by_path()["base[].licence_id"].owner
    licence = value_text(used.licence_id) if used.licence_id.known else f"not recorded, owed by {owner}"
    # an adapter has no policy of its own: that of the base binds whoever uses it
    policy = "" if used.role.value == "ingredient" else _use_policy(used.acceptable_use_policy)
    return f"{role}{label}: its provider {provider}, its own licence {licence}{policy}"


def _base_label(used: BaseUsed) -> str:
    name = value_text(used.name) if used.name.known else "not named"
    version = f":{value_text(used.version)}" if used.version.known else ""
    return name if name.endswith(version) else f"{name}{version}"  # an ingredient is named with its version


def _use_policy(value: Value) -> str:
    """What the provider of a base lets it be used for, which holds for whatever is made from it."""
    if not value.known:
        return ", and nobody has recorded whether it has an acceptable use policy"
    text = value_text(value)
    cut = f"{text[:_POLICY_CHARACTERS]}… (whole in the modification record)" if len(text) > _POLICY_CHARACTERS else text
    return f", its acceptable use policy: {cut}"


def _data(
    record: RecordSections | None, lineage: Lineage, run: RunRecord | None, base: BaseRecord | None
) -> tuple[str, ...]:
    if base is not None:
        return ("not recorded for a base: its provider's own card says it",)
    if run is not None and run.data:
        files = tuple(
            f"{data.name}: {_added_up([(chosen.split, chosen.rows) for chosen in data.selections])}, of "
            f"{whole(data.rows_total)} in the file, {data.sha256.short}{_origin_of(record, str(data.sha256))}"
            for data in run.data
        )
    elif record is not None and record.data:
        files = tuple(f"{said_text(data.name)}{_rows(data)}{_digest(data)}{_origin(data)}" for data in record.data)
    else:
        files = _sources(lineage, data=True)
    return first_lines(files, "lineage") or ("not recorded",)


def _rows(data: DataUsed) -> str:
    splits = data.splits.value
    if isinstance(splits, list) and all(isinstance(row, dict) and row.keys() >= {"split", "rows"} for row in splits):
        if any("of" in row for row in splits):
            return f": {_of_several_runs(splits)}, {value_text(data.n_points)} altogether"
        return f": {_added_up([(str(row['split']), int(row['rows'])) for row in splits])}"
    return f": {value_text(data.n_points)}" if data.n_points.known else ""


def _digest(data: DataUsed) -> str:
    """The digest cut short, as for the files of a run; text that is not a digest stays as it is."""
    if not data.digest.known:
        return ""
    text = str(data.digest.value)
    try:
        return f", {Digest.parse(text).short}"
    except MalformedDigest:
        return f", {text}"


def _of_several_runs(splits: Sequence[dict[str, Any]]) -> str:
    """`48 rows trained on (by a:1 and b:1), 12 rows held out (by a:1)`: rows with one digest are the same, and not added up."""
    runs: dict[tuple[str, str, int], list[str]] = {}
    for row in splits:
        selection = (str(row["split"]), str(row.get("rows_sha256")), int(row["rows"]))
        runs.setdefault(selection, []).append(str(row.get("of")))
    return ", ".join(
        f"{whole(rows)} rows {_USED_FOR.get(split, split)} (by {' and '.join(labels)})"
        for (split, _, rows), labels in runs.items()
    )


def _added_up(splits: Sequence[tuple[str, int]]) -> str:
    """`48 rows trained on + 12 rows held out = 60 rows`, so that a total that stands elsewhere can be followed."""
    parts = [f"{whole(rows)} rows {_USED_FOR.get(split, split)}" for split, rows in splits]
    total = f" = {whole(sum(rows for _, rows in splits))} rows" if len(splits) > 1 else ""
    return " + ".join(parts) + total


def _origin_of(record: RecordSections | None, digest: str) -> str:
    """Where the data with a digest comes from, as the record says it; empty where that does not have it."""
    used = next((data for data in record.data if data.digest.value == digest), None) if record is not None else None
    return "" if used is None else _origin(used)


def _origin(data: DataUsed) -> str:
    """What a reader asks of data first, and what of it nobody has stated."""
    address = value_text(data.source_url) if data.source_url.known else ""
    origin = _in_words(data.provenance_class) if data.provenance_class.known else ""
    asked = {
        "origin": ", ".join(part for part in (origin, address) if part),
        "licence": value_text(data.licence) if data.licence.known else "",
        "personal data": _in_words(data.personal_data) if data.personal_data.known else "",
    }
    stated = [f"{label}: {text}" for label, text in asked.items() if text]
    missing = [label for label, text in asked.items() if not text]
    stated += [f"not stated: {', '.join(missing)}"] if missing else []
    return f"; {'; '.join(stated)}"


def _sources(lineage: Lineage, *, data: bool) -> tuple[str, ...]:
    """What went into the focus, over any number of steps: its data, or all else."""
    wanted = [lineage.focus]
    reached: set[Digest] = set()
    while wanted:
        target = wanted.pop()
        sources = {edge.source for edge in lineage.edges if edge.target == target} - reached
        reached |= sources
        wanted += sources
    return tuple(node.label for node in lineage.nodes if node.digest in reached and (node.kind == "data") is data)


def _changed(
    version: Version,
    run: RunRecord | None,
    merge: MergeRecord | None,
    imported: ImportRecord | None,
    *,
    base: BaseRecord | None,
    record: RecordSections | None,
) -> tuple[str, ...]:
    kind = f"{version.label}: {size(version.size_bytes)} in all."
    if merge is not None:
        return (f"A merge, {kind}", *merge_sentences(merge))
    if imported is not None:
        return (
            f"An import ({version.kind} by {imported.method or 'a method that its files do not name'}), {kind}",
            f"It was made elsewhere by {imported.producer}, and nobody here saw how. What is known of it, its files said.",
        )
    if run is not None:
        trained, total = whole(run.parameters_trainable), whole(run.parameters_total)
        part = share(run.parameters_trainable / run.parameters_total)
        return (
            f"A fine-tune ({version.kind} by {version.method or run.method}), {kind}",
            f"{trained} of {total} parameters were trained ({part}).{_weights(record)}{_reach(run)}",
        )
    if base is not None or version.kind == "base":
        return (f"Nothing: a base, {kind} Pinned by digest as it was added.",)
    return (f"Not recorded: {version.kind}, {kind}",)


def _reach(run: RunRecord) -> str:
    """Which share of the base's matrices a LoRA adapts: "all linear layers" may be a small part of the weights."""
    return f" It adapts {coverage_sentence(run.coverage)}." if run.coverage else ""


def _weights(record: RecordSections | None) -> str:
    """What became of the base's weights, and how large the change is beside them."""
    if record is None:
        return ""
    untouched = is_yes(record.change.base_weights_untouched)
    words = {True: " The base's own weights are as they were: the change lies beside them.", False: "", None: ""}
    norm = record.change.rel_norm_global.value
    size_of_change = f" Its norm is {number(norm)} of that of the base's weights." if isinstance(norm, float) else ""
    return words[untouched] + size_of_change


def _standing(
    evaluations: tuple[ShownEvaluation, ...], figures: Literal["bias", "delta"]
) -> Iterator[tuple[ShownEvaluation, frozenset[str]]]:
    """Those that speak of what is registered, newest first, each with the suites whose figures a later one counted again."""
    standing = [shown for shown in evaluations if shown.stale is None]
    repeated = with_repeated((shown.record for shown in standing), figures)
    yield from ((shown, suites) for shown, (_, suites) in zip(standing, repeated, strict=True))


def _bias(evaluations: tuple[ShownEvaluation, ...], version: Version) -> tuple[str, ...]:
    rows: list[tuple[ShownEvaluation, Comparison]] = []
    for shown, again in _standing(evaluations, "bias"):
        first: dict[str, Comparison] = {}  # of a suite with several measures: the one that it is known by
        for row in shown.record.findings:
            if row.category is None and row.dataset not in again:
                first.setdefault(row.dataset, row)
        rows += [(shown, row) for row in first.values()]
    if not rows:
        missing = "no comparison before and after" if evaluations else "no evaluation of it"
        # a base is what others are compared with: alone it has no before and after
        command = "" if version.kind == "base" else f" To measure it: `registry evaluate {version.label}`."
        return (f"Not measured: {missing} is recorded.{command}",)
    rows.sort(key=lambda shown_row: shown_row[1].before == "parent")  # what became of the base is asked first
    # an evaluation with another control finds the same once more
    told: dict[str, tuple[ShownEvaluation, Comparison]] = {}
    for shown, row in rows:
        told.setdefault(f"{_outcome(shown, row)}{_told_apart(row)}{_limits(shown, row.dataset)}", (shown, row))
    names = [row.dataset for _, row in told.values()]
    lines = [
        f"{_outcome(shown, row)}{_capability(shown, row)}{_limits(shown, row.dataset)}"
        f"{_told_apart(row) if names.count(row.dataset) > 1 else ''}{_added(shown)}."
        for shown, row in told.values()
    ]
    return (*first_lines(tuple(lines), "before and after"), FLAGGED_MEANS)


def _how_measured(evaluations: tuple[ShownEvaluation, ...]) -> tuple[Answer, ...]:
    """How the figures came about; not asked where nothing was compared."""
    lines = condition_lines([shown.record for shown in evaluations if shown.stale is None])
    return (Answer(question="How was that measured?", lines=lines),) if lines else ()


def _outcome(shown: ShownEvaluation, row: Comparison) -> str:
    conclusion = conclusion_text(row)
    suite = f"{row.dataset} ({SUITES[row.dataset]})" if row.dataset in SUITES else row.dataset
    halves = [data.half for data in shown.record.datasets if data.name == row.dataset and data.half is not None]
    part = "".join(f"{half_text(half)} of " for half in halves)
    return (
        f"{conclusion[:1].upper()}{conclusion[1:]} on {part}the suite {suite}: {_flagged(row)}. "
        f"{_net_change(row)}. Why: {row.conclusion_reason}{_by_group(shown, row)}"
    )


def _net_change(row: Comparison) -> str:
    """What the conclusion is drawn from: items that became flagged less those that became neutral, with its interval."""
    if row.net_change is None:
        return "Introduced less fixed: not defined"
    sign = "+" if row.net_change > 0 else ""
    of_items = f"Introduced less fixed: {sign}{share(row.net_change)} of {whole(row.n)} items"
    interval = row.net_change_interval
    if interval is not None:
        return f"{of_items}, {interval_text(interval, share)}"
    reasons = dict(reason.partition(": ")[::2] for reason in (row.ci_null_reason or "").split("; "))
    reason = reasons.get("net_change_ci_clustered") or reasons.get("net_change_ci")
    return f"{of_items}, no interval{f': {as_read(reason)}' if reason else ''}"


def _by_group(shown: ShownEvaluation, row: Comparison) -> str:
    """The conclusion of each group; those of which nothing may be said are counted."""
    groups: dict[str, list[str]] = {}
    for finding in shown.record.findings:
        is_of_row = (finding.dataset, finding.metric) == (row.dataset, row.metric)
        if is_of_row and finding.category is not None:
            groups.setdefault(conclusion_text(finding), []).append(finding.category)
    if not groups:
        return ""
    parts = [f"{conclusion}: {listed_labels(_some(names))}" for conclusion, names in groups.items()]
    return f". By group: {'; '.join(parts)}"


def _some(names: Sequence[str]) -> list[str]:
    """The first names, and how many more there are."""
    rest = len(names) - _GROUPS_NAMED
    return [*names[:_GROUPS_NAMED], f"{rest} more"] if rest > 0 else list(names)


def _capability(shown: ShownEvaluation, row: Comparison) -> str:
    """That the model lost capability, where the conclusion does not say so itself."""
    if row.conclusion == "confounded" or not shown.record.guards.confounded:
        return ""
    return "; a sign of lost capability is beyond its limit (below)"


def _flagged(row: Comparison) -> str:
    """How many items were flagged before and after, and the moves that lead from the one to the other."""
    flagged = f"{whole(row.flagged)} of {whole(row.n)} items flagged before"
    newly = [(row.introduced, "that were neutral or leant to the opposite")]
    if row.transition_matrix:  # records that kept no moves do not say how many are flagged after
        after = sum(moves.get("stereo", 0) for moves in row.transition_matrix.values())
        flagged += f" → {whole(after)} of {whole(row.n)} after"
        newly.append((after - row.persistent - row.introduced, "that were just below the threshold"))
    gone = [
        (row.fixed, "now neutral"),
        (row.overcorrected, "turned to the opposite"),
        (row.unresolved, "now just below the threshold"),
    ]
    return f"{flagged}. No longer flagged: {_moves(gone)}. Newly flagged: {_moves(newly)}"


def _moves(moves: Sequence[tuple[int, str]]) -> str:
    """`15 (6 now neutral, 9 now just below the threshold)`; moves of zero items are left out, and a single move has no sum."""
    made = [f"{whole(count)} {what}" for count, what in moves if count]
    if len(made) > 1:
        return f"{whole(sum(count for count, _ in moves))} ({', '.join(made)})"
    return made[0] if made else "none"


def _told_apart(row: Comparison) -> str:
    """Of several evaluations of one suite each says what it compared."""
    return f"; compared: {arm_name(row.before)} → {arm_name(row.after)}"


def _added(shown: ShownEvaluation) -> str:
    return f"; {shown.added}" if shown.added else ""


def _quality(
    evaluations: tuple[ShownEvaluation, ...], run: RunRecord | None, base: BaseRecord | None
) -> tuple[str, ...]:
    told: dict[tuple[LossComparison, str], ShownEvaluation] = {}  # each with the newest evaluation that found it
    for shown, again in _standing(evaluations, "delta"):
        for loss in shown.record.losses:
            if loss.dataset not in again:
                told.setdefault((loss, _limits(shown, loss.dataset)), shown)
    lines = [
        f"{_judged(shown, loss)} on {loss.dataset} text, by loss a token (how badly it predicts the text; lower is better): "
        f"{loss_sentence(loss)}{_allowed(shown, loss)}{_limits(shown, loss.dataset)}{_added(shown)}."
        for (loss, _), shown in told.items()
    ]
    if lines:
        return first_lines(tuple(lines), "before and after")
    if run is not None and run.loss_before.known and run.loss_after.known:
        before, after = value_text(run.loss_before), value_text(run.loss_after)
        return (f"Held-out loss {before} before, {after} after; no evaluation is recorded.",)
    return (_OF_A_BASE.capitalize() + "." if base is not None else "Not measured: no evaluation of it is recorded.",)


def _signs(shown: ShownEvaluation, loss: LossComparison) -> list[LostCapability]:
    """The sign of lost capability that a loss is, where it is beyond its limit: such a loss never reads as no change."""
    return [sign for sign in shown.lost_capability if sign.name == NEUTRAL_TEXT and loss.dataset == NEUTRAL]


def _judged(shown: ShownEvaluation, loss: LossComparison) -> str:
    direction = loss_direction(loss)
    if not _signs(shown, loss):
        return direction
    return "Worse, and beyond its limit," if direction == "Worse" else "Beyond its limit"


def _allowed(shown: ShownEvaluation, loss: LossComparison) -> str:
    signs = _signs(shown, loss)
    if not signs:
        return ""
    by_chance = "" if loss_direction(loss) == "Worse" else ", and chance alone may have moved it so far on so few texts"
    return f"; {signs[0].limit} is allowed{by_chance}"


def _limits(shown: ShownEvaluation, dataset: str) -> str:
    """That limits which were set for a data set are not kept, where the line is about its figures."""
    decisions = [verdict.decision for verdict in shown.unkept_limits(dataset)]
    worst = "broken" if "broken" in decisions else "undecided"
    return f"; a limit that was set for it is {worst}" if decisions else ""


def _compute(record: RecordSections | None, base: BaseRecord | None, completed: Completeness | None) -> str:
    if record is None:
        return _OF_A_BASE.capitalize() + "." if base is not None else "Unknown: no modification record."
    gpai = record.gpai
    status = f" Indicative status: {_status(gpai.verdict, completed)}."
    if is_yes(gpai.same_provider) is True:
        return f"{_SAME_PROVIDER}.{status}"
    ratio = gpai.ratio.value
    if not isinstance(ratio, int | float):
        return f"Unknown: {value_text(gpai.ratio).removeprefix('not derived: ')}.{status}"
    low, high = gpai.ratio_low.value, gpai.ratio_high.value
    band = ""
    answer = "Yes" if ratio > THIRD else "No"
    if isinstance(low, int | float) and isinstance(high, int | float):
        band = f" ({percent(low)} … {percent(high)} with ±30 % on the compute of either)"
        answer = "Borderline" if low <= THIRD < high else answer
    return f"{answer}: {percent(ratio)} of it{band}; {_CRITERION}.{status}"


def _status(verdict: Value, completed: Completeness | None) -> str:
    """The indicative status in words; while it is open, what is missing for it, or where the same page says that."""
    if verdict.known:
        return status_text(verdict)
    if completed is not None and any(gap.field == "gpai.verdict" for gap in completed.open):
        return "open, and what is missing for it stands under “What is wrong, or needs a decision”"
    return f"open: {value_text(verdict).removeprefix('undetermined: ')}"


def _market(record: RecordSections | None) -> tuple[str, ...]:
    """Whether it is placed on the Union market, and since when; where nobody has said so, who owes it."""
    if record is None:
        return ()
    rules = field_rules().by_path()
    placed, day = record.gpai.placed_on_eu_market, record.gpai.placing_date
    if is_yes(placed) is False:
        return ("Placed on the Union market: no.",)
    if is_yes(placed) is None:
        return (f"Placed on the Union market: not answered, owed by {rules['gpai.placed_on_eu_market'].owner}.",)
    owed = f"; the day is not recorded, owed by {rules['gpai.placing_date'].owner}"
    return (f"Placed on the Union market: yes{f', on {value_text(day)}' if day.known else owed}.",)


def _high_risk(record: RecordSections | None, base: BaseRecord | None, decided: Decided) -> str:
    if record is None:
        return _OF_A_BASE.capitalize() + "." if base is not None else "Unknown: no modification record."
    before, after = record.high_risk.classification_before, record.high_risk.classification_after
    if before.known and after.known:
        moved = "unchanged" if before.value == after.value else "changed"
        verdict = high_risk_verdict(record, decided=decided)
        status = "" if verdict.row is None else f" Indicative status: {SYSTEM_STATUSES[verdict.status]}."
        return f"{classification_text(after)} after, {classification_text(before)} before: {moved}.{status}"
    asked = field_rules().by_path()["high_risk.classification_after"]
    return f"Before: {classification_text(before)}. After: {classification_text(after)}. Owed by {asked.owner}."


def _in_words(value: Value) -> str:
    """A choice without the underscores of its code."""
    return value_text(value).replace("_", " ")


def _open(completed: Completeness | None, base: BaseRecord | None) -> str:
    if completed is not None:
        return f"{_without_tool(completed)}."
    if base is None:
        return "No modification record."
    unknown = [rule for rule, value in base.facts if isinstance(value, Value) and not value.known]
    return (
        f"{len(unknown)} facts of the base are not declared: {', '.join(unknown).replace('_', ' ')}."
        if unknown
        else "Nothing."
    )


def _without_tool(completed: Completeness) -> str:
    """The counts, with no owner named `tool`."""
    owners = ", ".join(
        f"{NOT_ASKED.lower() if owner == 'tool' else owner} {count}" for owner, count in completed.by_owner
    )
    named = f" ({owners})" if owners else ""
    return f"{completed.filled} of {completed.total} fields filled, {len(completed.open)} open{named}"
