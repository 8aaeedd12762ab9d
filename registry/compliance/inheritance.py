"""What the record of a merge, or of a run that continued from an adapter, takes over from the records of what it was made from.

Pure: the records come in, nothing is read. Data are identified by digest and are there once, however many runs used them. A value
keeps its source and whoever stated it; its method says of which versions it is recorded, and its evidence are the statements that
hold those records. Where the records state different things there is no answer: the field is a question, and its reason names who
says what. A version of which nothing is recorded is data that nobody knows, and never no data.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peft_registry.registry.compliance.ancestors import Ancestor, StatedField, stated_of_a_file
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.used_rows import (
    RunSelections,
    mixed_roles,
    unknown_overlaps,
    used_by_all,
)
from peft_registry.schemas.codes import Code, code, in_turn, listed_labels, nested, says, together
from peft_registry.schemas.dataset import UNNAMED_ROWS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    ASKED,
    Article4a,
    DataUsed,
    Evaluation,
    Gpai,
    ModificationRecord,
    Product,
    Use,
)
from peft_registry.schemas.values import Value, derived, measured, unknown

_STRENGTH = ("measured", "derived", "imported", "declared", "not_applicable")
_LONGEST_QUOTE = 120  # characters of a value in a reason


def inherited_data(ancestors: Iterable[Ancestor], own: Sequence[DataUsed] = ()) -> tuple[DataUsed, ...]:
    """The data of everything that went in, each file once, by name; the order of `ancestors` changes nothing.

    `own` are the files of the run itself, where one continued from the ancestors: they are left out, and their names are taken.
    """
    ordered = _in_order(ancestors)
    by_digest, unrecorded = _uses(ordered)
    for section in own:
        by_digest.pop(str(section.digest.value), None)
    sections = [_combined(uses, _answers_of(ordered, digest)) for digest, uses in by_digest.items()]
    sections += [_nothing_recorded(ancestor, ordered) for ancestor in unrecorded]
    return _told_apart(sections, by_digest, taken=[str(section.name.value) for section in own])


def data_of_continued_run(training: Ancestor, ancestors: Iterable[Ancestor]) -> tuple[DataUsed, ...]:
    """The files of a run that continued from the ancestors, each with what they say of it as well where they trained on it too.

    Args:
        training: the run with its record, in which its own facts are stated.
        ancestors: all that it continued from.
    """
    ordered = _in_order(ancestors)
    by_digest, _ = _uses(ordered)
    return tuple(
        _with_earlier_uses(training, section, by_digest.get(str(section.digest.value), []), ordered)
        for section in training.data
    )


def data_gaps(data: Sequence[DataUsed]) -> Value:
    """The questions that files with two roles raise, and files of which nobody can tell how many rows were used."""
    mixed = mixed_roles(data)
    overlaps = unknown_overlaps(data)
    questions = [code("held_out_rows_left_not_stated", files=mixed)] if mixed else []
    questions += [code("rows_used_several_times_not_recorded", files=overlaps)] if overlaps else []
    return unknown(together(questions)) if questions else ASKED


def with_limits_of_data(section: Evaluation, data: Iterable[DataUsed]) -> Evaluation:
    """The section with what files with two roles mean for its figures."""
    mixed = mixed_roles(data)
    if not mixed:
        return section
    stated = section.limitations.value if isinstance(section.limitations.value, list) else []
    limits = [*stated, *(code("held_out_figures_too_good", because=file).to_json() for file in mixed)]
    method = section.limitations.method or code("rows_of_each_run")
    return section.revised(limitations=measured(limits, method=method))


def inherited_purposes(ancestors: Iterable[Ancestor]) -> dict[str, Value]:
    """What the parents are for, where all of them say the same; a question where they do not; nothing where none says any."""
    parents = [ancestor for ancestor in _in_order(ancestors) if ancestor.is_parent]
    if not parents:
        return {}
    fields = {}
    for name in field_rules().inherited("use."):
        stated = [
            StatedField(parent, Use() if parent.record is None else parent.record.use, name) for parent in parents
        ]
        if _known(stated):
            fields[name] = _equal(stated) or _partly(stated)
    return fields


def placing_question(ancestors: Iterable[Ancestor]) -> Value | None:
    """The question whether the result is placed on the market, with what the parents state of themselves; None where none does.

    What they state answers nothing here: each model is placed, or kept, by itself (Art. 3(9)), and a "no" that nobody gave would
    put the result out of scope.
    """
    parents = [ancestor for ancestor in _in_order(ancestors) if ancestor.is_parent]
    stated = [
        StatedField(parent, Gpai() if parent.record is None else parent.record.gpai, "placed_on_eu_market")
        for parent in parents
    ]
    known = _known(stated)
    if not known:
        return None
    return unknown(code("not_answered_of_result", answers=_answers_by_label(known)))


def own_licence(ancestors: Iterable[Ancestor], manifest: Digest) -> Value:
    """The licence of an ingredient as its own record states it; that of its base is not taken for it."""
    ancestor = next((ancestor for ancestor in ancestors if ancestor.manifest == manifest), None)
    if ancestor is None:
        return unknown(code("own_licence_not_recorded"))
    stated = StatedField(ancestor, _product(ancestor), "licence")
    if not stated.value.known:
        return unknown(stated.value.reason or code("own_licence_not_recorded"))
    how = code("licence_in_record_of", of=ancestor.label)
    return derived(stated.value.value, method=how, evidence=_statements([stated]))


def _product(ancestor: Ancestor) -> Product:
    """What its record says of the result as it is released; those of the first form say nothing of it."""
    return ancestor.record.product if isinstance(ancestor.record, ModificationRecord) else Product()


# --- what is stated, and by which record ---


def _in_order(ancestors: Iterable[Ancestor]) -> list[Ancestor]:
    """Each once, by label: in a reason the reader looks for names."""
    unique = {ancestor.manifest: ancestor for ancestor in ancestors}
    return sorted(unique.values(), key=lambda ancestor: (ancestor.label, ancestor.manifest))


def _uses(ordered: Sequence[Ancestor]) -> tuple[dict[str, list[StatedField]], list[Ancestor]]:
    """The uses of each file by trainings, by its digest, and the trainings of which no data are recorded."""
    uses: dict[str, list[StatedField]] = {}
    unrecorded: list[Ancestor] = []
    for ancestor in ordered:
        if not ancestor.has_trained:
            continue
        sections = [section for section in ancestor.data if section.digest.known]
        for section in sections:
            uses.setdefault(str(section.digest.value), []).append(StatedField(ancestor, section))
        if not sections:
            unrecorded.append(ancestor)
    return uses, unrecorded


def _answers_of(ordered: Sequence[Ancestor], digest: str) -> list[StatedField]:
    """What the records of merges and of continued runs say of a file, those of the fewest runs first.

    They are the nearest to what they answer.
    """
    sections = [
        StatedField(ancestor, section)
        for ancestor in ordered
        if not ancestor.has_trained or ancestor.is_continued
        for section in ancestor.recorded_data
        if str(section.digest.value) == digest
    ]
    return sorted(sections, key=lambda stated: len(stated.ancestor.runs))


# --- one file ---


def _combined(uses: Sequence[StatedField], answers: Sequence[StatedField]) -> DataUsed:
    return DataUsed(
        name=_name(uses),
        digest=_carried([use.field("digest") for use in uses]),
        splits=_by_run(uses, "splits", _listed_by_run),
        n_points=_counted(uses, "n_points", "rows"),
        n_tokens=_counted(uses, "n_tokens", "tokens"),
        epochs=_by_run(uses, "epochs", _summed),
        art4a=_art4a(uses, answers),
        **{name: _field(name, uses, answers) for name in stated_of_a_file()},
    )


def _with_earlier_uses(
    training: Ancestor, section: DataUsed, earlier: Sequence[StatedField], ordered: Sequence[Ancestor]
) -> DataUsed:
    """A file of a continued run, under the name that the run has for it: facts are stated by it."""
    if not earlier:
        return section
    combined = _combined([*earlier, StatedField(training, section)], _answers_of(ordered, str(section.digest.value)))
    agreed = {name: getattr(section, name) for name in stated_of_a_file() if _says_the_same(section, combined, name)}
    conditions = {
        name: getattr(section.art4a, name)
        for name in Article4a.model_fields
        if _says_the_same(section.art4a, combined.art4a, name)
    }
    # what whoever ran it states is said on their own word, also where an ancestor's record says the same
    return combined.revised(name=section.name, art4a=combined.art4a.revised(**conditions), **agreed)


def _says_the_same(own: DataUsed | Article4a, combined: DataUsed | Article4a, name: str) -> bool:
    value = getattr(own, name)
    other = getattr(combined, name)
    return bool(value.settled and other.settled) and _said(value) == _said(other)


def _art4a(uses: Sequence[StatedField], answers: Sequence[StatedField]) -> Article4a:
    inner_uses = [StatedField(use.ancestor, use.data.art4a) for use in uses]
    inner_answers = [StatedField(answer.ancestor, answer.data.art4a) for answer in answers]
    return Article4a(**{name: _field(name, inner_uses, inner_answers) for name in Article4a.model_fields})


def _field(name: str, uses: Sequence[StatedField], answers: Sequence[StatedField]) -> Value:
    """What holds of a field of one file: what the runs say alike, else what a record that speaks of all of them answers."""
    stated = [use.field(name) for use in uses]
    own = [value for value in stated if not _is_taken_over(value, uses)]
    # where one parent says no and another does not know, nobody knows; of every other field what one knows holds
    agreed = _agreed(own, yes_if_any=field_rules().inherited("data[].").get(name) == "yes_if_any")
    if agreed.settled:
        return agreed
    runs = {use.ancestor.manifest for use in uses}
    for answer in (answer.field(name) for answer in answers):
        if runs <= answer.ancestor.runs and _is_own(answer, uses):
            return _carried([answer])
    return agreed


def _is_taken_over(stated: StatedField, uses: Sequence[StatedField]) -> bool:
    """Whether the record of a continued run has a value from what it continued from, which states it itself."""
    others = {
        digest
        for use in uses
        if use.ancestor.manifest != stated.ancestor.manifest
        for digest in (*use.statements, *use.ancestor.earlier_statements)
    }
    return stated.value.is_stated and bool(others & set(stated.value.evidence))


def _agreed(stated: Sequence[StatedField], *, yes_if_any: bool) -> Value:
    known = _known(stated)
    contradicted = [value.value for value in stated if says(value.value.reason, "records_differ")]
    if contradicted:
        # between a continued run and what it continued from: only the reason still says what the run stated
        return contradicted[0]
    if not known:
        return _asked(stated)
    if not _are_the_same(known):
        return _differ(known)
    if yes_if_any and len(known) < len(stated) and known[0].value.value != "yes":
        return _partly(stated)
    return _carried(known)


def _is_own(answer: StatedField, uses: Sequence[StatedField]) -> bool:
    """Whether a record says it of all the runs, and did not take it over from what they said at the time."""
    if not answer.value.is_stated:
        return False
    if any(use.ancestor.manifest == answer.ancestor.manifest for use in uses) and not answer.value.evidence:
        return False  # a fact of the run about its own file, stated beside what the others state of it
    of_runs = {digest for use in uses for digest in (*use.statements, *use.ancestor.earlier_statements)}
    return not of_runs & set(answer.value.evidence)


def _equal(stated: Sequence[StatedField]) -> Value | None:
    """What all of them state; None where one does not, or they differ."""
    if len(_known(stated)) < len(stated) or not _are_the_same(stated):
        return None
    return _carried(stated)


def _carried(stated: Sequence[StatedField]) -> Value:
    """The value that all of them state, with its own source and author, and where it is recorded."""
    strongest = min(stated, key=lambda value: _STRENGTH.index(value.value.source)).value
    method = in_turn(strongest.method, code("as_recorded_of", of=[value.label for value in stated]))
    evidence = dict.fromkeys((*strongest.evidence, *_statements(stated)))
    return strongest.revised(method=method, evidence=tuple(evidence))


def _known(stated: Sequence[StatedField]) -> list[StatedField]:
    return [value for value in stated if value.value.settled]


def _are_the_same(known: Sequence[StatedField]) -> bool:
    return len({_said(value.value) for value in known}) == 1


def _said(value: Value) -> str:
    """Equal for values that say the same, there being no answer among them."""
    return _compared(value.value) if value.applies else f"not applicable: {value.reason}"


# --- where there is no answer ---


def _asked(stated: Sequence[StatedField]) -> Value:
    reasons = [value.value.reason for value in stated if value.value.reason is not None]
    if all(reason == reasons[0] for reason in reasons):
        return unknown(reasons[0])
    return unknown(code("open_of_each", open=_open_labels(stated)))


def _differ(known: Sequence[StatedField]) -> Value:
    return unknown(code("records_differ", answers=_answers_by_label(known)))


def _partly(stated: Sequence[StatedField]) -> Value:
    """Some of them state something, and not all the same."""
    known = _known(stated)
    if len(known) == len(stated) or not _are_the_same(known):
        return _differ(known)
    return _known_of_some(stated)


def _known_of_some(stated: Sequence[StatedField]) -> Value:
    return unknown(code("not_known_of_some", open=_open_labels(stated), answers=_answers_by_label(_known(stated))))


def _answers_by_label(known: Sequence[StatedField]) -> list[Code]:
    return [code("says", of=stated.label, answer=_quoted(_answer(stated.value))) for stated in known]


def _answer(value: Value) -> Any:  # any JSON value
    """What a value says; of one that does not apply, that it does not."""
    return value.value if value.applies else _said(value)


def _open_labels(stated: Sequence[StatedField]) -> list[Code]:
    return [
        code("open_of", of=value.label, because=nested(value.value.reason or ""))
        for value in stated
        if not value.value.settled
    ]


def _quoted(value: Any) -> str:  # any JSON value
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _compared(value: Any) -> str:  # any JSON value
    """Equal for answers that say the same: the order of a list of words, and how a text is wrapped, say nothing."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return repr(sorted(" ".join(item.split()) for item in value))
    return " ".join(value.split()) if isinstance(value, str) else repr(value)


def _nothing_recorded(ancestor: Ancestor, ordered: Sequence[Ancestor]) -> DataUsed:
    """The place where somebody may state what it was trained on, with what a record of what was made from it stated there."""
    name = f"data of {ancestor.label}"
    open_field = unknown(code("data_not_recorded", of=ancestor.label))
    fields = {
        key: open_field for key, info in DataUsed.model_fields.items() if info.annotation is Value and key != "name"
    }
    for made_from in ordered:
        for section in (section for section in made_from.recorded_data if section.name.value == name):
            answers = {key: StatedField(made_from, section, key) for key in fields}
            fields |= {key: _carried([answer]) for key, answer in answers.items() if answer.value.is_stated}
    return DataUsed(name=derived(name, method=code("no_record_of_data")), **fields)


# --- what each run did with a file ---


def _name(uses: Sequence[StatedField]) -> Value:
    """The name that the runs had for a file; rows without a name are named after the runs, so that facts can name them."""
    stated = [use.field("name") for use in uses]
    if not _known(stated):
        users = listed_labels([use.label for use in uses])
        return derived(f"{UNNAMED_ROWS} of {users}", method=code("data_set_has_no_name"))
    names = sorted({str(name.value.value) for name in stated})
    if len(names) == 1:
        return _carried(stated)
    return derived(", ".join(names), method=code("one_file_several_names"))


def _by_run(uses: Sequence[StatedField], name: str, combine: Callable[[Sequence[StatedField]], Value]) -> Value:
    stated = [use.field(name) for use in uses]
    if not all(value.value.known for value in stated):
        return _not_of_all(stated)
    # passes of several runs add up, however equal they are; of equal selections one says all
    is_one_answer = name != "epochs" and _are_the_same(stated)
    return _carried(stated) if is_one_answer or len(stated) == 1 else combine(stated)


def _counted(uses: Sequence[StatedField], name: str, what: str) -> Value:
    """The rows or tokens of all runs together; equal counts of different rows are no count of the same."""
    stated = [use.field(name) for use in uses]
    if not all(value.value.known for value in stated):
        return _not_of_all(stated)
    runs = [_selections(use, value.value, what) for use, value in zip(uses, stated, strict=True)]
    if len({frozenset(selection["rows_sha256"] for selection in run.selections) for run in runs}) == 1:
        return _carried(stated)
    return used_by_all(runs, what, str(stated[0].value.unit)).revised(evidence=_statements(stated))


def _selections(use: StatedField, count: Value, what: str) -> RunSelections:
    """The selections of one run; of a record that lists none, its count as one selection that is like no other."""
    listed = use.data.splits.value
    rows_of_file = None
    if use.ancestor.run is not None:
        files = {str(data.sha256): data.rows_total for data in use.ancestor.run.data}
        rows_of_file = files.get(str(use.data.digest.value))
    if not isinstance(listed, list) or not all(isinstance(row, dict) and "rows_sha256" in row for row in listed):
        listed = [{what: count.value, "rows_sha256": use.ancestor.label}]
        rows_of_file = None
    return RunSelections(use.ancestor.label, tuple(listed), rows_of_file)


def _not_of_all(stated: Sequence[StatedField]) -> Value:
    return _known_of_some(stated) if _known(stated) else _asked(stated)


def _listed_by_run(known: Sequence[StatedField]) -> Value:
    rows = [{"of": selections.label, **row} for selections in known for row in selections.value.value]
    return derived(rows, method=code("rows_of_each_run"), evidence=_statements(known))


def _summed(known: Sequence[StatedField]) -> Value:
    counts = [count.value.number or 0.0 for count in known]
    passes = [code("count_of", of=stated.label, count=count) for stated, count in zip(known, counts, strict=True)]
    return derived(sum(counts), method=code("passes_of_all_runs", passes=passes), evidence=_statements(known))


def _statements(stated: Iterable[StatedField]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(digest for value in stated for digest in value.statements))


# --- names ---


def _told_apart(
    sections: Sequence[DataUsed], by_digest: dict[str, list[StatedField]], taken: Sequence[str]
) -> tuple[DataUsed, ...]:
    """By name; of two files with one name each says whose it is, because facts are stated by name."""
    names = [str(section.name.value) for section in sections]
    named = [
        section
        if names.count(name) == 1 and name not in taken
        else section.revised(name=_name_with_users(section, by_digest[str(section.digest.value)]))
        for name, section in zip(names, sections, strict=True)
    ]
    return tuple(sorted(named, key=lambda section: (str(section.name.value), str(section.digest.value))))


def _name_with_users(section: DataUsed, uses: Sequence[StatedField]) -> Value:
    users = listed_labels([use.label for use in uses])
    return derived(f"{section.name.value} of {users}", method=code("several_files_one_name"))
