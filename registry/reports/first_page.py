"""What a report says first: the questions that a reader brings, what is unknown, who owes it, how to answer.

Pure, over records. A question that the records do not answer says so and why; unknown is never "no".
"""

from collections.abc import Iterator, Sequence
from typing import Any

from peft_registry.registry.compliance.completeness import (
    Completeness,
    is_yes,
)
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.recorded_run import other_runs
from peft_registry.registry.reports.law_answers import (
    compute_lines,
    due_lines,
    flags_behind,
    high_risk_line,
    licence_lines,
    licence_text,
    market_line,
    role_lines,
)
from peft_registry.registry.reports.measured_answers import bias_details, bias_lines, how_measured, quality_lines
from peft_registry.registry.reports.merge_view import merge_distances, merge_sentences
from peft_registry.registry.reports.open_fields import base_label, open_lines
from peft_registry.registry.reports.text import (
    first_lines,
    number,
    said_text,
    share,
    size,
    value_text,
    whole,
)
from peft_registry.registry.reports.use_answer import use_answer
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.vouchers import typed_mark
from peft_registry.registry.reports.wording import (
    OwnerNames,
    decided_text,
)
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import code, listed_labels
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.lineage import Lineage
from peft_registry.schemas.modification import ASKED, BaseUsed, DataUsed, RecordSections
from peft_registry.schemas.report import AnsweredQuestion
from peft_registry.schemas.run import coverage_sentence
from peft_registry.schemas.values import Value, unknown
from peft_registry.schemas.version import Version

_POLICY_CHARACTERS = 300  # of a policy that somebody copied whole
# what the rows of a split were for, in words
_USED_FOR = {"train": "used for training", "validation": "kept for testing", "test": "kept for a last test"}
_NOT_STATED = {
    "origin": "where it comes from",
    "licence": "its licence",
    "personal data": "whether it contains personal data",
}
_MADE_HERE = str(code("this_registry"))
_SAYS_NOTHING = frozenset(value_text(value) for value in (ASKED, unknown(code("not_answered_at_init"))))


def answers_of(
    facts: VersionFacts, completed: Completeness | None, holders: KeyHolders, checks: PageChecks
) -> tuple[AnsweredQuestion, ...]:
    """The questions in the order in which they are asked, each with its answer or why there is none.

    Whether it may be used comes first, then what it is, what was measured of it, what the law makes of that, what proves all of it,
    and at last what is open. What an auditor asks of figures is in `answers_behind`.

    Args:
        facts: what is recorded.
        completed: how much of its record is filled, where it has one.
        holders: of the keys that signed.
        checks: those that were made for this page.
    """
    version = facts.version
    base = facts.base
    record = facts.record
    evaluations = facts.evaluations
    names = OwnerNames()
    return (
        use_answer(facts, holders, checks, names),
        AnsweredQuestion(question="What is it for?", lines=(*_project(facts), *_purpose(facts, names))),
        AnsweredQuestion(
            question="Who made it?", lines=(_organisation(record, base, names), _registered(version, holders))
        ),
        AnsweredQuestion(question="Which base?", lines=_bases(facts, names)),
        AnsweredQuestion(question="Which data?", lines=_data(facts)),
        AnsweredQuestion(question="What changed?", lines=_changed(facts)),
        AnsweredQuestion(question="Was bias measured, and what came out?", lines=bias_lines(evaluations, version)),
        AnsweredQuestion(question="Did quality fall?", lines=quality_lines(evaluations, facts.run, base)),
        AnsweredQuestion(
            question="Is it over a third of the base's compute?",
            lines=compute_lines(record, base, names),
        ),
        AnsweredQuestion(
            question="Which role does its modifier have under the AI Act?",
            lines=(*role_lines(facts), *market_line(record, names)),
        ),
        AnsweredQuestion(
            question="Is it high-risk, and did that change?", lines=(high_risk_line(record, base, names),)
        ),
        AnsweredQuestion(question="Do licences restrict its use?", lines=tuple(licence_lines(facts, names))),
        AnsweredQuestion(question="Are the bytes intact?", lines=tuple(_intact(version, holders, checks))),
        AnsweredQuestion(question="How long is it kept, and what falls due?", lines=due_lines(facts, holders, checks)),
        AnsweredQuestion(question="What is open?", lines=open_lines(completed, base, names)),
    )


def answers_behind(facts: VersionFacts) -> tuple[AnsweredQuestion, ...]:
    """What an auditor asks of the first answers: how large the change is, and how the figures came about. Not what is not there."""
    change = _how_large(facts)
    return (
        *((AnsweredQuestion(question="How large is the change?", lines=change),) if change else ()),
        *bias_details(facts.evaluations),
        *how_measured(facts.evaluations),
        *flags_behind(facts),
    )


def command_that_answers(version: Version) -> str:
    """The command that takes answers for such a version; words in capitals are the reader's own."""
    if version.kind == "base":
        return f"registry base add FOLDER --name {version.name} --facts FACTS.yml"
    return f"registry decide {version.label} --form FORM.yml"


# --- the questions ---


def _organisation(record: RecordSections | None, base: BaseRecord | None, names: OwnerNames) -> str:
    if record is None:
        return f"provider of the base: {said_text(base.facts.provider)}" if base is not None else "not recorded"
    country = f", {value_text(record.modifier.country)}" if record.modifier.country.known else ""
    path, name = "modifier.legal_name", record.modifier.legal_name
    return f"Organisation: {_asked(path, name, names)}{country}{_mark(path, name)}."


def _registered(version: Version, holders: KeyHolders) -> str:
    """When it was registered, and under which key: a trust file names keys, and the name may be a person's or a machine's."""
    signed = f"Registered {version.registered_at[:10]}, signed with the key {version.key_id[:12]}…"
    person = holders.persons.get(version.key_id)
    if person is None:
        return f"{signed}, whose holder is not named."
    role = f" (registry role: {holders.roles[version.key_id]})" if version.key_id in holders.roles else ""
    return f"{signed}, named “{person}” in the trust file{role}."


def _project(facts: VersionFacts) -> tuple[str, ...]:
    """The project that it was made for, where its run, merge or import names one."""
    made = facts.run or facts.merge or facts.imported
    return () if made is None or made.project is None else (f"Project: {made.project}.",)


def _purpose(facts: VersionFacts, names: OwnerNames) -> tuple[str, ...]:
    """What it is for; where that is not recorded, also that a decision about it is one about its change alone."""
    if facts.record is None:
        return (
            "not recorded for a base: its provider's own card says it" if facts.base is not None else "not recorded",
        )
    path, purpose = "use.intended", facts.record.use.intended
    asked = f"{_asked(path, purpose, names)}{_mark(path, purpose)}"
    if purpose.known:
        return (asked,)
    asked = f"{asked[:1].upper()}{asked[1:]}"
    if facts.decided.purpose is None:
        return (f"{asked}.",)
    decided = decided_text("purpose", is_yes=facts.decided.purpose)
    return (f"{asked}. Decided is only that {decided} (“May it be used?”), not what it is.",)


def _mark(path: str, value: Value) -> str:
    """What stands behind a value that was typed."""
    mark = typed_mark(path, value)
    return f" ({mark})" if mark else ""


def _asked(path: str, value: Value, names: OwnerNames) -> str:
    """The value of a field; where nobody has stated it, who owes it."""
    if value.known:
        return value_text(value)
    rule = field_rules().by_path()[path]
    asked = f"not answered by {names.of(rule.owner)}"
    # that nobody has answered is said already
    return asked if value_text(value) in _SAYS_NOTHING else f"{asked}: {value_text(value)}"


def _bases(facts: VersionFacts, names: OwnerNames) -> tuple[str, ...]:
    base, record = facts.base, facts.record
    if base is not None:
        licence = value_text(base.facts.licence) if base.facts.licence.known else "not recorded"
        itself = f"itself: {base.origin.source}, {whole(base.parameters_total)} parameters, licence {licence}"
        return (f"{itself}{_use_policy(base.facts.acceptable_use_policy)}",)
    if record is not None and record.base:
        return first_lines(tuple(_base_line(used, names) for used in record.base), "modification record")
    return first_lines(_sources(facts.lineage, data=False), "lineage") or ("not recorded",)


def _base_line(used: BaseUsed, names: OwnerNames) -> str:
    """What went in, under its part in it: a base's provider and licence are not those of an adapter that was trained on it."""
    label = base_label(used)
    role = f"{value_text(used.role).capitalize()} " if used.role.known else ""
    provider = value_text(used.provider) if used.provider.known else "not recorded"
    licence = licence_text(used.licence_id, "base[].licence_id", names)
    # an adapter has no policy of its own: that of the base binds whoever uses it
    policy = "" if used.role.value == "ingredient" else _use_policy(used.acceptable_use_policy)
    made = "made in this registry" if provider == _MADE_HERE else f"its provider {provider}"
    return f"{role}{label}: {made}, its own licence {licence}{policy}"


def _use_policy(value: Value) -> str:
    """What the provider of a base lets it be used for, which holds for whatever is made from it."""
    if not value.known:
        return ", and nobody has recorded whether it has an acceptable use policy"
    text = value_text(value)
    cut = f"{text[:_POLICY_CHARACTERS]}… (whole in the modification record)" if len(text) > _POLICY_CHARACTERS else text
    return f", its acceptable use policy: {cut}"


def _data(facts: VersionFacts) -> tuple[str, ...]:
    run, record = facts.run, facts.record
    if facts.base is not None:
        return ("not recorded for a base: its provider's own card says it",)
    if run is not None and run.data:
        files = tuple(
            f"{data.name}: {_added_up([(chosen.split, chosen.rows) for chosen in data.selections])}"
            f"{_of_file(data)}, {data.sha256.short}{_origin_of(record, str(data.sha256))}"
            for data in run.data
        )
    elif record is not None and record.data:
        trained = _trained_on(facts)
        files = tuple(
            f"{trained}{said_text(data.name)}{_rows(data)}{_digest(data)}{_origin(data)}" for data in record.data
        )
    else:
        files = _sources(facts.lineage, data=True)
    return first_lines(files, "lineage") or ("not recorded",)


def _trained_on(facts: VersionFacts) -> str:
    """Whose training used the data of a merge, which itself trains on none; rows of several trainings name theirs themselves."""
    trained = () if facts.merge is None or facts.record is None else other_runs(facts.record.compute)
    return f"{trained[0]} was trained on " if len(trained) == 1 else ""


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
    """`60 rows: 48 used for training, 12 kept for testing`, so that a total that stands elsewhere can be followed."""
    if len(splits) == 1:
        (split, rows), *_ = splits
        return f"{whole(rows)} rows {_USED_FOR.get(split, split)}"
    used_for = _USED_FOR
    # where rows are kept for a last test, the validation rows chose among the steps or the seeds
    if any(split == "test" for split, _ in splits):
        used_for = _USED_FOR | {"validation": "that chose the step or the seed", "test": "kept for testing"}
    parts = [f"{whole(rows)} {used_for.get(split, split)}" for split, rows in splits]
    return f"{whole(sum(rows for _, rows in splits))} rows: {', '.join(parts)}"


def _of_file(data: DataIdentity) -> str:
    """How many rows the file has, where not all of them were used."""
    used = sum(chosen.rows for chosen in data.selections)
    return "" if used == data.rows_total else f", of {whole(data.rows_total)} rows in the file"


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
    if stated:
        owned = (
            ("provenance_class", data.provenance_class),
            ("licence", data.licence),
            ("personal_data", data.personal_data),
        )
        stated += filter(None, dict.fromkeys(typed_mark(f"data[].{name}", value) for name, value in owned))
    missing = [_NOT_STATED[label] for label, text in asked.items() if not text]
    said = f"; {'; '.join(stated)}" if stated else ""
    return f"{said}. Not stated: {', '.join(missing)}." if missing else f"{said}."


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


def _changed(facts: VersionFacts) -> tuple[str, ...]:
    version = facts.version
    run = facts.run
    merge = facts.merge
    imported = facts.imported
    of_size = f"{size(version.size_bytes)} in all"
    if merge is not None:
        return (f"A merge, {of_size}.", *merge_sentences(merge), *_of_base_changed(facts.record))
    if imported is not None:
        return (
            f"An import ({version.kind} by {imported.method or 'a method that its files do not name'}), {of_size}.",
            f"It was made elsewhere by {imported.producer}, and nobody here saw how. What is known of it, its files said.",
        )
    if run is not None:
        trained, total = whole(run.parameters_trainable), whole(run.parameters_total)
        part = share(run.parameters_trainable / run.parameters_total)
        # an adapter is counted with the base that it lies beside
        whole_model = " of base and adapter together" if version.kind == "adapter" else ""
        return (
            f"A fine-tune ({version.kind} by {version.method or run.method}), {of_size}.",
            f"{trained} of {total} parameters{whole_model} were trained ({part}).{_untouched(facts.record)}",
        )
    if facts.base is not None or version.kind == "base":
        return (f"Nothing: a base, {of_size}. Pinned by digest as it was added.",)
    return (f"Not recorded: {version.kind}, {of_size}.",)


def _of_base_changed(record: RecordSections | None) -> tuple[str, ...]:
    """How many of the base's parameters have other values in what was merged."""
    if record is None:
        return ()
    changed, part = record.change.params_changed.number, record.change.pct_of_base.number
    if changed is None or part is None:
        return ()
    return (f"{whole(int(changed))} parameters of the base have other values than before, {share(part / 100)} of all.",)


def _how_large(facts: VersionFacts) -> tuple[str, ...]:
    """How far the result is from what it was made from, and which part of the base it reaches."""
    if facts.merge is not None:
        return merge_distances(facts.merge)
    run, record = facts.run, facts.record
    norm = None if run is None or record is None else record.change.rel_norm_global.value
    lines = [f"Its norm is {number(norm)} of that of the base's weights."] if isinstance(norm, float) else []
    if run is not None and run.coverage:
        # "all linear layers" may be a small part of the weights; and a low-rank adapter reaches many with few of its own
        lines.append(
            f"It reaches {coverage_sentence(run.coverage)}. That is which weights it acts on, not how many were trained."
        )
    return tuple(lines)


def _untouched(record: RecordSections | None) -> str:
    is_untouched = record is not None and is_yes(record.change.base_weights_untouched) is True
    return " The base's own weights are unchanged: the change lies beside them." if is_untouched else ""


def _intact(version: Version, holders: KeyHolders, checks: PageChecks) -> Iterator[str]:
    """Whether it is what was signed, since when by whose clock, who says which keys count, and how a reader checks a copy."""
    verification = checks.verification
    if verification is None:
        yield "Not checked for this page."
    elif verification.verdict == "broken":
        yield "No: bytes or records are not those that were signed; which is under “What is wrong”."
    elif verification.verdict == "unverified":
        yield "Not certain: something could not be checked here."
    else:
        yield "Yes (verified): the registry's copy is what listed keys signed, as checked when this page was written."
    logged = [check.text for check in verification.checks if check.step == "log"] if verification is not None else []
    log = f" Log: {logged[0]}." if logged else ""
    yield f"Registered {version.registered_at} by the registry's own clock.{log}"
    verify = "A copy that you hold: `registry verify FOLDER --trust TRUST_FILE` (“How to verify”)."
    if not holders.roots:
        yield verify
        return
    holds = "holds the root key and decides" if len(holders.roots) == 1 else "hold the root keys and decide"
    yield f"{listed_labels(holders.roots)} {holds} which keys count. {verify}"


def _in_words(value: Value) -> str:
    """A choice without the underscores of its code."""
    return value_text(value).replace("_", " ")
