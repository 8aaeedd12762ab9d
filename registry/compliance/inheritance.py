"""What the record of a merge takes over from the records of what went in. Pure: the records come in, nothing is read.

Data are identified by digest and are there once, however many runs used them. A value keeps its source and whoever stated it; its
method says of which versions it is recorded, and its evidence are the statements that hold those records. Where the records state
different things there is no answer: the field is a question, and its reason names who says what. A version of which nothing is
recorded is data that nobody knows, and never no data.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.recorded_run import TrainedRun, data_sections
from peft_registry.schemas.document import Document, Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, DataUsed, ModificationRecord, Product, RecordSections, Use
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value, derived, unknown

# what the tool counted of the use of a file by one run; everything else about data is of the file itself
_COUNTS = ("n_points", "n_tokens")
_OF_THE_RUN = ("name", "digest", "splits", "epochs", *_COUNTS)
# where one parent says no and another does not know, nobody knows; of every other field what one knows holds
_YES_IF_ANY = ("personal_data", "special_categories")
_PURPOSES = ("intended", "out_of_scope", "foreseeable_misuse", "acceptable_use_policy")
_STRENGTH = ("measured", "derived", "imported", "declared")
_LONGEST_QUOTE = 120  # characters of a value in a reason
_HELD_OUT = frozenset({"validation", "test"})


class Ancestor(Frozen):
    """A registered result that something is made from, with the record that holds of it now.

    `statement` holds that record, and `earlier_statements` those that it superseded. `runs` are the manifests of all trainings
    that went into it, its own among them. A result without a run record (an import) has trained on what nobody recorded.
    """

    label: str
    manifest: Digest
    is_parent: bool
    has_trained: bool = True  # and was not only merged
    run: RunRecord | None = None
    record: RecordSections | None = None
    statement: Digest | None = None
    earlier_statements: tuple[Digest, ...] = ()
    runs: frozenset[Digest] = frozenset()

    @property
    def data(self) -> tuple[DataUsed, ...]:
        """The data of its record, else of its run."""
        recorded = () if self.record is None else self.record.data
        if recorded or self.run is None:
            return recorded
        return data_sections(self.run)


def trained_runs(ancestors: Iterable[Ancestor]) -> tuple[TrainedRun, ...]:
    """The trainings among the ancestors."""
    trainings = [ancestor for ancestor in ancestors if ancestor.has_trained]
    return tuple(TrainedRun(label=one.label, manifest=one.manifest, run=one.run) for one in trainings)


def inherited_data(ancestors: Iterable[Ancestor]) -> tuple[DataUsed, ...]:
    """The data of everything that went in, each file once, by name; the order of `ancestors` changes nothing."""
    ordered = _in_order(ancestors)
    uses, unrecorded = _uses(ordered)
    merges = [ancestor for ancestor in ordered if not ancestor.has_trained]
    by_digest: dict[str, list[_Stated]] = {}
    for used in uses:
        by_digest.setdefault(str(used.section.digest.value), []).append(used)
    sections = [_combined(group, _answers_of(merges, digest)) for digest, group in by_digest.items()]
    sections += [_nothing_recorded(ancestor, merges) for ancestor in unrecorded]
    return _told_apart(sections, by_digest)


def mixed_roles(data: Iterable[DataUsed]) -> tuple[str, ...]:
    """A sentence for each file that one run trained on and another held out: figures on it do not speak of the result."""
    sentences = []
    for section in data:
        roles = _roles_by_run(section)
        trained = [label for label, splits in roles.items() if "train" in splits]
        held_out = [label for label, splits in roles.items() if "train" not in splits and splits & _HELD_OUT]
        if trained and held_out:
            sentences.append(f"{section.name.value}: {_and(trained)} trained on it, {_and(held_out)} held it out")
    return tuple(sentences)


def inherited_purposes(ancestors: Iterable[Ancestor]) -> dict[str, Value]:
    """What the parents are for, where all of them say the same; a question where they do not; nothing where none says any."""
    parents = [ancestor for ancestor in _in_order(ancestors) if ancestor.is_parent]
    if not parents:
        return {}
    fields = {}
    for name in _PURPOSES:
        stated = [_Stated(parent, Use() if parent.record is None else parent.record.use, name) for parent in parents]
        if any(one.value.known for one in stated):
            fields[name] = _equal(stated) or _partly(stated)
    return fields


def inherited_licence(ancestors: Iterable[Ancestor], base: BaseUsed) -> dict[str, Value]:
    """The licence of the result, where the base and every parent state the same one; a question where they do not.

    Nothing where no parent has a licence of its own: then that of the base says nothing of the result.
    """
    parents = [ancestor for ancestor in _in_order(ancestors) if ancestor.is_parent]
    stated = [_Stated(parent, _product(parent), "licence") for parent in parents]
    if not any(one.value.known for one in stated):
        return {}
    terms = {f"the base {base.name.value}": base.licence_id}
    terms |= {one.ancestor.label: one.value for one in stated}
    known = {label: value for label, value in terms.items() if value.known}
    if len(known) == len(terms) and len({_compared(value.value) for value in known.values()}) == 1:
        how = f"the licence of the base and of {_and([one.ancestor.label for one in stated])}, which is the same"
        return {"licence": derived(stated[0].value.value, method=how, evidence=_statements(stated))}
    told = [f"{label} {_quoted(value.value) if value.known else f'({value.reason})'}" for label, value in terms.items()]
    return {"licence": unknown(f"what went in has not one licence: {', '.join(told)}")}


def _product(ancestor: Ancestor) -> Product:
    """What its record says of the result as it is released; those of the first form say nothing of it."""
    return ancestor.record.product if isinstance(ancestor.record, ModificationRecord) else Product()


# --- what is stated, and by which record ---


@dataclass(frozen=True, slots=True)
class _Stated:
    """A section of the record of an ancestor, and the field in it that is looked at."""

    ancestor: Ancestor
    section: Any  # DataUsed, or a section in it, or Use
    name: str = ""

    @property
    def value(self) -> Value:
        value = getattr(self.section, self.name)
        assert isinstance(value, Value), self.name
        return value

    def field(self, name: str) -> "_Stated":
        return _Stated(self.ancestor, self.section, name)

    def inner(self, name: str) -> "_Stated":
        return _Stated(self.ancestor, getattr(self.section, name))

    @property
    def statements(self) -> tuple[Digest, ...]:
        return () if self.ancestor.statement is None else (self.ancestor.statement,)


def _in_order(ancestors: Iterable[Ancestor]) -> list[Ancestor]:
    """Each once, by label: in a reason the reader looks for names."""
    unique = {ancestor.manifest: ancestor for ancestor in ancestors}
    return sorted(unique.values(), key=lambda ancestor: (ancestor.label, ancestor.manifest))


def _uses(ordered: Sequence[Ancestor]) -> tuple[list[_Stated], list[Ancestor]]:
    """Each use of a file by a training, and the trainings of which no data are recorded."""
    uses: list[_Stated] = []
    unrecorded: list[Ancestor] = []
    for ancestor in ordered:
        if not ancestor.has_trained:
            continue
        known = [_Stated(ancestor, section) for section in ancestor.data if section.digest.known]
        uses += known
        if not known:
            unrecorded.append(ancestor)
    return uses, unrecorded


def _answers_of(merges: Sequence[Ancestor], digest: str) -> list[_Stated]:
    """What the records of merges say of a file, those of the fewest runs first: they are the nearest to what they answer."""
    sections = [
        _Stated(ancestor, section)
        for ancestor in merges
        for section in ancestor.data
        if str(section.digest.value) == digest
    ]
    return sorted(sections, key=lambda stated: len(stated.ancestor.runs))


# --- one file ---


def _combined(uses: Sequence[_Stated], answers: Sequence[_Stated]) -> DataUsed:
    stated_fields = {
        name: _field(name, uses, answers) for name in DataUsed.model_fields if name not in (*_OF_THE_RUN, "art4a")
    }
    return DataUsed(
        name=_name(uses),
        digest=_carried([one.field("digest") for one in uses]),
        splits=_by_run(uses, "splits", _listed_by_run),
        n_points=_by_run(uses, "n_points", _at_least),
        n_tokens=_by_run(uses, "n_tokens", _at_least),
        epochs=_by_run(uses, "epochs", _summed),
        art4a=_art4a(uses, answers),
        **stated_fields,
    )


def _art4a(uses: Sequence[_Stated], answers: Sequence[_Stated]) -> Any:  # the section of its class
    section = DataUsed.model_fields["art4a"].annotation
    assert isinstance(section, type)
    assert issubclass(section, Document)
    inner_uses, inner_answers = ([one.inner("art4a") for one in stated] for stated in (uses, answers))
    return section(**{name: _field(name, inner_uses, inner_answers) for name in section.model_fields})


def _field(name: str, uses: Sequence[_Stated], answers: Sequence[_Stated]) -> Value:
    """What holds of a field of one file: what the runs say alike, else what the record of a merge of all of them answers."""
    stated = [one.field(name) for one in uses]
    agreed = _agreed(stated, yes_if_any=name in _YES_IF_ANY)
    if agreed.known:
        return agreed
    runs = {one.ancestor.manifest for one in uses}
    for answer in (one.field(name) for one in answers):
        if runs <= answer.ancestor.runs and _is_own(answer, uses):
            return _carried([answer])
    return agreed


def _agreed(stated: Sequence[_Stated], *, yes_if_any: bool) -> Value:
    known = [one for one in stated if one.value.known]
    if not known:
        return _asked(stated)
    if len({_compared(one.value.value) for one in known}) > 1:
        return _differ(known)
    if yes_if_any and len(known) < len(stated) and known[0].value.value != "yes":
        return _partly(stated)
    return _carried(known)


def _is_own(answer: _Stated, uses: Sequence[_Stated]) -> bool:
    """Whether the record of a merge says it of itself, and did not take it over from what its runs said at the time."""
    if answer.value.source != "declared":
        return False
    of_runs = {digest for one in uses for digest in (*one.statements, *one.ancestor.earlier_statements)}
    return not of_runs & set(answer.value.evidence)


def _equal(stated: Sequence[_Stated]) -> Value | None:
    """What all of them state; None where one does not, or they differ."""
    if any(not one.value.known for one in stated) or len({_compared(one.value.value) for one in stated}) > 1:
        return None
    return _carried(stated)


def _carried(stated: Sequence[_Stated]) -> Value:
    """The value that all of them state, with its own source and author, and where it is recorded."""
    strongest = min(stated, key=lambda one: _STRENGTH.index(one.value.source)).value
    recorded = f"as recorded of {_and([one.ancestor.label for one in stated])}"
    evidence = dict.fromkeys((*strongest.evidence, *(digest for one in stated for digest in one.statements)))
    return strongest.revised(
        method=recorded if strongest.method is None else f"{strongest.method}, {recorded}", evidence=tuple(evidence)
    )


# --- where there is no answer ---


def _asked(stated: Sequence[_Stated]) -> Value:
    reasons = list(dict.fromkeys(str(one.value.reason) for one in stated))
    return unknown(reasons[0]) if len(reasons) == 1 else unknown(_unknown_of(stated))


def _differ(known: Sequence[_Stated]) -> Value:
    return unknown(f"the records of what went in differ: {_said(known)}")


def _partly(stated: Sequence[_Stated]) -> Value:
    """Some of them state something, and not all the same."""
    known = [one for one in stated if one.value.known]
    if len(known) == len(stated) or len({_compared(one.value.value) for one in known}) > 1:
        return _differ(known)
    return unknown(f"not known of {_unknown_of(stated)}; {_said(known)}")


def _said(known: Sequence[_Stated]) -> str:
    return ", ".join(f"{one.ancestor.label} says {_quoted(one.value.value)}" for one in known)


def _unknown_of(stated: Sequence[_Stated]) -> str:
    return ", ".join(f"{one.ancestor.label} ({one.value.reason})" for one in stated if not one.value.known)


def _quoted(value: Any) -> str:  # any JSON value
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _compared(value: Any) -> str:  # any JSON value
    """Equal for answers that say the same: the order of a list of words, and how a text is wrapped, say nothing."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return repr(sorted(" ".join(item.split()) for item in value))
    return " ".join(value.split()) if isinstance(value, str) else repr(value)


def _nothing_recorded(ancestor: Ancestor, merges: Sequence[Ancestor]) -> DataUsed:
    """The place where somebody may state what it was trained on, with what a merge of it stated there."""
    name = f"data of {ancestor.label}"
    open_field = unknown(f"nothing is recorded of what {ancestor.label} was trained on")
    fields = {
        key: open_field for key, info in DataUsed.model_fields.items() if info.annotation is Value and key != "name"
    }
    for merge in merges:
        for section in (section for section in merge.data if section.name.value == name):
            answers = {key: _Stated(merge, section, key) for key in fields}
            fields |= {key: _carried([one]) for key, one in answers.items() if one.value.source == "declared"}
    return DataUsed(name=derived(name, method="it has no record of its data"), **fields)


# --- what each run did with a file ---


def _name(uses: Sequence[_Stated]) -> Value:
    names = sorted({str(one.section.name.value) for one in uses})
    if len(names) == 1:
        return _carried([one.field("name") for one in uses])
    return derived(", ".join(names), method="one file, which the runs had under several names")


def _by_run(uses: Sequence[_Stated], name: str, combine: Callable[[Sequence[_Stated]], Value]) -> Value:
    stated = [one.field(name) for one in uses]
    known = [one for one in stated if one.value.known]
    if len(known) < len(stated):
        return _asked(stated) if not known else unknown(f"not known of {_unknown_of(stated)}; {_said(known)}")
    if name != "epochs" and len({_compared(one.value.value) for one in known}) == 1:
        return _carried(known)
    return _carried(known) if len(known) == 1 else combine(known)


def _listed_by_run(known: Sequence[_Stated]) -> Value:
    rows = [{"of": one.ancestor.label, **row} for one in known for row in one.value.value]
    return derived(rows, method="the rows that each run used", evidence=_statements(known))


def _at_least(known: Sequence[_Stated]) -> Value:
    largest = max(known, key=lambda one: one.value.value).value
    how = f"at least: the most that one run used, of {_figures(known)}"
    return derived(largest.value, largest.unit, method=how, evidence=_statements(known))


def _summed(known: Sequence[_Stated]) -> Value:
    total = sum(one.value.value for one in known)
    return derived(total, method=f"passes of all runs: {_figures(known)}", evidence=_statements(known))


def _figures(known: Sequence[_Stated]) -> str:
    return ", ".join(f"{one.ancestor.label} {one.value.value:g}" for one in known)


def _statements(stated: Iterable[_Stated]) -> tuple[Digest, ...]:
    return tuple(dict.fromkeys(digest for one in stated for digest in one.statements))


def _roles_by_run(section: DataUsed) -> dict[str, set[str]]:
    """The splits that each run used of a file; none where all runs used the same rows."""
    roles: dict[str, set[str]] = {}
    rows = section.splits.value if isinstance(section.splits.value, list) else []
    for row in rows:
        if isinstance(row, dict) and "of" in row:
            roles.setdefault(str(row["of"]), set()).add(str(row.get("split")))
    return roles


# --- names ---


def _told_apart(sections: Sequence[DataUsed], by_digest: dict[str, list[_Stated]]) -> tuple[DataUsed, ...]:
    """By name; of two files with one name each says whose it is, because facts are stated by name."""
    names = [str(section.name.value) for section in sections]
    named = [
        section
        if names.count(name) == 1
        else section.revised(name=_name_with_users(section, by_digest[str(section.digest.value)]))
        for name, section in zip(names, sections, strict=True)
    ]
    return tuple(sorted(named, key=lambda section: (str(section.name.value), str(section.digest.value))))


def _name_with_users(section: DataUsed, uses: Sequence[_Stated]) -> Value:
    users = _and([one.ancestor.label for one in uses])
    how = "several files have this name, and are told apart by the runs that used them"
    return derived(f"{section.name.value} of {users}", method=how)


def _and(labels: Sequence[str]) -> str:
    return " and ".join(labels) if len(labels) < 3 else f"{', '.join(labels[:-1])} and {labels[-1]}"
