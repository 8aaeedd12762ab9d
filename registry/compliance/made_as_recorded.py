"""What a first record says of how its version was made, held against the run, the merge or the import that is signed with it. Pure.

The sections that such a record gives are built anew here, as the tool builds them, and held against those of the modification
record, value by value. What people stated of fields that are theirs stands beside that; nothing else does. A record without any
statement of how its version was made says nothing of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from peft_registry.registry.compliance.assessment import WRITTEN_BY_ASSESSMENT
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves, leaves_of_sections, stated_leaves
from peft_registry.registry.compliance.importing import imported_data, quantised_view, with_import
from peft_registry.registry.compliance.merging import change_of_merge, view_of_merge, with_merge
from peft_registry.registry.compliance.recorded_evaluation import WRITTEN_BY_EVALUATIONS
from peft_registry.registry.compliance.recorded_run import (
    CHOSEN_BY_LOOP,
    code_section,
    compute_section,
    counted_runs,
    data_sections,
    listed_runs,
    method_section,
    peft_section,
    prompt_section,
    step_section,
    trainable_parameters,
    use_section,
)
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import code, says
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import (
    BaseUsed,
    DataUsed,
    ModificationRecord,
    RecordSections,
    Use,
)
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value, measured, unknown

Production = RunRecord | MergeRecord | ImportRecord
"""How a version was made, as it is signed with its registration."""

Kind = Literal["fine_tune", "merge", "import"]
Flop = tuple[float | None, float | None]
"""The conservative figure and that of the parameter updates; None for one that is not known."""

_SECTIONS = ("method.", "peft.", "prompt.", "step.", "merge.", "code.", "compute.", "use.")
_OF_DATA = ("name", "digest", "splits", "modality", "n_points", "unit", "bytes", "n_tokens", "epochs")
# what a continued run has of its own rows together with those of what it continued from
_COUNTED_TOGETHER = ("splits", "n_points", "n_tokens", "epochs")
_OF_CHANGE = (
    "params_changed",
    "pct_of_base",
    "params_added",
    "params_removed",
    "params_trainable",
    "rel_norm_global",
    "modules",
    "relative_to",
)
# sections with values that the tool writes for people, and such values of others
_HELD_ELSEWHERE = (
    "base[].",
    "upstream[].",
    "change.",
    "security.",
    "identity.acting_person",
    "approvals",  # no record approves anything, whatever stands there
)
_STATED_BY_NOBODY = unknown(code("nobody_stated"))
_WRITTEN_LATER = (*WRITTEN_BY_ASSESSMENT, *WRITTEN_BY_EVALUATIONS)
_OF_ANCESTORS = "compute.private_synthetic_flop"  # the records of what went in give it
_LONGEST_QUOTE = 80  # characters of a value
_MOST_NAMED = 8  # values that differ; a record of which more do is of something else


@dataclass(frozen=True, slots=True)
class Made:
    """What a statement of how something was made says, as far as its own manifest and what is made from it rest on it.

    Attributes:
        kind: what a record calls the act.
        base: the manifest that its base was registered under, if it was.
        base_weights: the digest of that base's weights.
        weights: the digest of its own.
        parts: the manifests that were merged.
        rows: how many rows of each file a run used, by the file's digest.
        flop: of this run alone; nothing of a merge.
    """

    kind: Kind
    base: Digest | None
    base_weights: Digest
    weights: Digest
    parts: frozenset[Digest] = frozenset()
    rows: Mapping[str, int] = field(default_factory=dict)
    flop: Flop = (None, None)

    @classmethod
    def of(cls, production: Production) -> "Made":
        """What its record says of a run, a merge or an import: parts of a merge, rows and operations of a run."""
        base = production.base
        parts: frozenset[Digest] = frozenset()
        rows: dict[str, int] = {}
        flop: Flop = (None, None)
        if isinstance(production, MergeRecord):
            parts = frozenset(part.manifest for part in production.ingredients)
        if isinstance(production, RunRecord):
            for data in production.data:
                used = sum(selection.rows for selection in data.selections)
                rows[str(data.sha256)] = max(used, rows.get(str(data.sha256), 0))
            compute = production.compute
            flop = (compute.conservative_flop.number, compute.param_update_flop.number)
        return cls(
            kind_of(production), base.manifest, base.identity.weights, production.weights_digest, parts, rows, flop
        )


MakingFinder = Callable[[Digest], Sequence[Made]]
"""How the artifact with a manifest was made, once for each time that it was registered; nothing where that is not at hand."""


def kind_of(production: Production) -> Kind:
    """What a record calls the act that made its version."""
    if isinstance(production, MergeRecord):
        return "merge"
    return "import" if isinstance(production, ImportRecord) else "fine_tune"


def made_otherwise(record: ModificationRecord, production: Production | None, base: BaseRecord | None) -> Iterator[str]:
    """What a record says of how its version was made and what is signed with it does not give, a line each.

    Args:
        record: the first one of a version, by the rules of this tool.
        production: that is signed with it; None where nothing is.
        base: what is recorded of its base; None where that is not at hand: what follows from it is then held to nothing.
    """
    if production is not None and record.identity.kind.value not in (None, kind_of(production)):
        yield f"identity.kind: it says {record.identity.kind.value}, and it is signed that it was a {kind_of(production)}"
    yield from _parts_otherwise(record, production)
    yield from _malformed_rows(record)
    wrong = [
        f"{leaf.path}: what is signed of how it was made gives {_quoted(built)}, and this record {_quoted(leaf.value)}"
        for leaf, built in _beside_each_other(record, production, base)
        if not _may_stand(leaf, built)
    ]
    wrong.sort(key=lambda line: not line.startswith("compute."))  # what the law counts first
    yield from wrong[:_MOST_NAMED]
    if len(wrong) > _MOST_NAMED:
        yield f"and {len(wrong) - _MOST_NAMED} other values"
    yield from _energy_otherwise(record, production)


def runs_counted(record: ModificationRecord) -> dict[Digest, Flop]:
    """The figures of the runs before it that a record counts, by their manifests."""
    figures = {}
    for row in counted_runs(record.compute):
        try:
            manifest = Digest.parse(str(row.get("manifest")))
        except MalformedDigest:
            continue  # the run that it should name is then missing
        figures[manifest] = (row.get("conservative_flop"), row.get("param_update_flop"))
    return figures


Flags = Mapping[str, Mapping[str, str | None]]
"""What a record says of each file, by its digest: whether it holds personal data or special categories; None for nothing."""

FlagsFinder = Callable[[Digest], Flags]
"""What is recorded of the files of an artifact, by its manifest; nothing where that is not at hand."""

_FLAGS = ("personal_data", "special_categories")


def flags_of(record: RecordSections) -> dict[str, dict[str, str | None]]:
    """What a record says of its files."""
    return {
        str(data.digest.value): {name: getattr(data, name).value for name in _FLAGS}
        for data in record.data
        if data.digest.known
    }


def answered_flags(record: RecordSections) -> frozenset[tuple[str, str]]:
    """The file and the name of each flag that a record takes from statements that it names."""
    return frozenset(
        (str(data.digest.value), name)
        for data in record.data
        for name in _FLAGS
        if getattr(data, name).rests_on_statement
    )


def counted_alone(record: ModificationRecord, production: Production | None) -> dict[str, tuple[str, ...]]:
    """What a continued run's record counts otherwise of its own files than the run did, by file.

    It is wrong of each file that nothing before it trained on.
    """
    if not isinstance(production, RunRecord) or not counted_runs(record.compute):
        return {}
    lines = {}
    for recorded, own in zip(record.data, data_sections(production), strict=False):
        names = [name for name in _COUNTED_TOGETHER if getattr(recorded, name) != getattr(own, name)]
        if names:
            digest = str(own.digest.value)
            lines[digest] = tuple(f"data: {name} of {digest} is not what the run used" for name in names)
    return lines


def is_merged(manifest: Manifest) -> bool:
    """Whether the parents of an artifact say that it was merged from others."""
    folded = sum(parent.role in ("adapter", "model") for parent in manifest.parents)
    # an adapter with one such parent was made from it alone
    return folded > (1 if manifest.kind == "adapter" else 0)


def trainings(
    manifest: Manifest, find: Callable[[Digest], Manifest | None], made: MakingFinder
) -> tuple[dict[Digest, Sequence[Made]], bool]:
    """The ancestors of an artifact that were trained or imported, at any distance, each with how it was made.

    And whether every manifest on the way was at hand.
    """
    trained: dict[Digest, Sequence[Made]] = {}
    is_complete = True
    seen: set[Digest] = set()
    waiting = set(manifest.made_from)
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        ancestor = find(digest)
        makings = made(digest)
        if ancestor is None:
            is_complete = False
        else:
            if ancestor.kind == "base":
                continue
            waiting |= ancestor.made_from - seen
        if makings:
            was_merged = any(making.kind == "merge" for making in makings)
        else:  # without its statement its parents tell
            was_merged = ancestor is not None and is_merged(ancestor)
        if not was_merged:
            trained[digest] = makings
    return trained, is_complete


# --- value by value ---


def _beside_each_other(
    record: ModificationRecord, production: Production | None, base: BaseRecord | None
) -> Iterator[tuple[Leaf, Value]]:
    """The values of a record that follow from how its version was made, each with what follows."""
    given = _given_otherwise(record, _as_made(record, production, base))
    has_no_inputs = base is None and isinstance(production, RunRecord) and production.compute.dense_inputs is None
    # where nothing else is given, there is nothing to hold what is open to
    for leaf in leaves(record) if given else stated_leaves(record):
        rule = leaf.rule
        built = given.get(leaf.path, leaf.value)
        if not (leaf.value.known or built.known):
            continue
        if _is_written_later(rule) or (rule == _OF_ANCESTORS and isinstance(production, MergeRecord)):
            continue
        if rule == "compute.inputs" and has_no_inputs:
            continue
        # of the change in the weights nothing is held to what nobody measured
        if _is_of_making(rule) and (built.known or not rule.startswith("change.")):
            yield leaf, built
        elif _is_for_people(rule):
            yield leaf, _STATED_BY_NOBODY


def _given_otherwise(record: ModificationRecord, built: ModificationRecord) -> dict[str, Value]:
    """By path the values of those sections that the two do not have alike; most sections are one object in both."""
    differing = []
    for name in type(built).model_fields:
        own, other = getattr(record, name), getattr(built, name)
        if own is not other and own != other:
            differing.append(name)
    return {leaf.path: leaf.value for leaf in leaves_of_sections(built, differing)}


# of a rule, as are the two below, and kept: a registry of ten thousand versions has a million values under some two hundred rules
@cache
def _is_written_later(rule: str) -> bool:
    """Whether the assessment or an evaluation gives a value."""
    return rule.startswith(_WRITTEN_LATER)


@cache
def _is_of_making(rule: str) -> bool:
    """Whether how a version was made gives a value, or that there is none."""
    if rule.startswith("change."):
        return rule.removeprefix("change.") in _OF_CHANGE
    if rule.startswith("data[]."):
        return rule.removeprefix("data[].") in _OF_DATA
    return rule.startswith(_SECTIONS) or rule == "base[].quantised_view"


@cache
def _is_for_people(rule: str) -> bool:
    """Whether only people can say it, so that no first record has measured or derived it.

    What is recorded of bases is held against that elsewhere.
    """
    is_for_people = field_rules().by_path()[rule].owner != "tool"
    return is_for_people and not rule.startswith(_HELD_ELSEWHERE)


def _as_made(record: ModificationRecord, production: Production | None, base: BaseRecord | None) -> ModificationRecord:
    """The record with the sections that follow from how its version was made."""
    if isinstance(production, RunRecord):
        return _as_trained(record, production, base)
    if isinstance(production, MergeRecord):
        return _as_merged(record, production, base)
    if isinstance(production, ImportRecord):
        return _as_imported(record, production)
    return _with_making(record, ModificationRecord(record_id="", record_created_at=record.record_created_at))


def _as_trained(record: ModificationRecord, run: RunRecord, base: BaseRecord | None) -> ModificationRecord:
    earlier = counted_runs(record.compute)
    made = ModificationRecord(
        record_id=run.run_id,
        record_created_at=record.record_created_at,
        method=method_section(run),
        peft=peft_section(run),
        prompt=prompt_section(run),
        step=step_section(run),
        code=code_section(run.environment, run.followed),
        compute=compute_section(run, earlier, base),
        use=_use(record, use_section(run.environment, run.environment.dtype, base), base),
    )
    quantisation = run.config.get("quantization")
    view = measured(quantisation, method=code("in_memory_while_training")) if quantisation else None
    built = _with_making(record, made, view=view)
    own = data_sections(run)
    return built.revised(
        data=_data(record.data, own, left=_COUNTED_TOGETHER if earlier else ()),
        change=record.change.revised(
            params_trainable=trainable_parameters(run),
            relative_to=measured(str(run.base.identity.weights), method=code("weights_digest_of_base")),
        ),
    )


def _as_merged(record: ModificationRecord, merge: MergeRecord, base: BaseRecord | None) -> ModificationRecord:
    empty = ModificationRecord(record_id=merge.merge_id, record_created_at=record.record_created_at)
    made = with_merge(empty, merge, counted_runs(record.compute))
    use = use_section(merge.environment, merge.dtype, base)
    view = view_of_merge(merge)
    built = _with_making(
        record,
        made.revised(use=_use(record, use, base)),
        view=measured(view, method=code("in_memory_while_training")) if view else None,
    )
    counted = change_of_merge(merge, kind="", files=())
    return built.revised(change=record.change.revised(**{name: getattr(counted, name) for name in _OF_CHANGE}))


def _as_imported(record: ModificationRecord, imported_as: ImportRecord) -> ModificationRecord:
    empty = ModificationRecord(record_id=imported_as.import_id, record_created_at=record.record_created_at)
    whole = next((used.params_total.number for used in record.base if used.role.value == "base"), None)
    made = with_import(empty, imported_as, round(whole or 0))
    built = _with_making(record, made.revised(use=record.use), view=quantised_view(imported_as.settings))
    return built.revised(data=_data(record.data, imported_data(imported_as.settings)))


def _with_making(
    record: ModificationRecord, made: ModificationRecord, *, view: Value | None = None
) -> ModificationRecord:
    """A record with all of another's sections of how something was made."""
    bases = tuple(
        used.revised(quantised_view=view or BaseUsed().quantised_view) if used.role.value == "base" else used
        for used in record.base
    )
    return record.revised(
        base=bases,
        method=made.method,
        peft=made.peft,
        prompt=made.prompt,
        step=made.step,
        merge=made.merge,
        code=made.code,
        compute=made.compute,
        use=made.use,
    )


def _use(record: ModificationRecord, section: Use, base: BaseRecord | None) -> Use:
    """The section that follows from the base and the software; without the base only what needs none."""
    return section if base is not None else record.use.revised(required_software=section.required_software)


def _data(recorded: Sequence[DataUsed], own: Sequence[DataUsed], *, left: Sequence[str] = ()) -> tuple[DataUsed, ...]:
    """The recorded files, the first of them with what is signed of the own ones; they stand before those of ancestors."""
    names = [name for name in _OF_DATA if name not in left]
    first = [
        section.revised(**{name: getattr(used, name) for name in names})
        for section, used in zip(recorded, own, strict=False)
    ]
    return (*first, *recorded[len(first) :])


def _parts_otherwise(record: ModificationRecord, production: Production | None) -> Iterator[str]:
    """Adapters among the bases of a record that were not merged, or the other way round."""
    if not isinstance(production, MergeRecord):
        if production is not None and any(used.role.value == "ingredient" for used in record.base):
            yield "base: it lists something as merged, and nothing was"
        return
    listed = [(used.name.value, used.tensor_digest.value) for used in record.base if used.role.value == "ingredient"]
    merged = [(part.label, str(part.weights_digest)) for part in production.ingredients]
    if listed != merged:
        yield f"base: it lists {_first_names(listed)} as merged, and the record of the merge {_first_names(merged)}"


def _malformed_rows(record: ModificationRecord) -> Iterator[str]:
    """Rows of the runs before it that no run gives: without its manifest, twice, or of less than nothing."""
    rows = counted_runs(record.compute)
    manifests = [row.get("manifest") for row in rows]
    if len(rows) != len(listed_runs(record.compute)) or not all(map(_is_digest, manifests)):
        yield "compute.inputs: it lists a run without manifest or figure"
    if len(set(map(str, manifests))) != len(rows):
        yield "compute.inputs: it lists a run twice"
    figures = [row[key] for row in rows for key in ("conservative_flop", "param_update_flop")]
    if any(figure is not None and not figure >= 0 for figure in figures):
        yield "compute.inputs: it counts less than nothing"


def _is_digest(text: object) -> bool:
    try:
        Digest.parse(str(text))
    except MalformedDigest:
        return False
    return True


def _first_names(parts: Sequence[tuple[Any, Any]]) -> str:
    return ", ".join(str(name) for name, _ in parts[:_MOST_NAMED]) or "nothing"


def _energy_otherwise(record: ModificationRecord, production: Production | None) -> Iterator[str]:
    """Energy that a sensor measured, or none did; what somebody states or the tool estimates is held elsewhere."""
    recorded = record.energy.training_kwh
    sensor = production.compute.energy_kwh if isinstance(production, RunRecord) else None
    has_sensor = sensor is not None and sensor.known
    if has_sensor and recorded != sensor:
        yield f"energy.training_kwh: the record of the run has {_quoted(sensor)}, and this record {_quoted(recorded)}"
    if not has_sensor and recorded.source in ("measured", "imported"):
        yield f"energy.training_kwh: it is called {recorded.source}, and no record of a run is signed with it that measured any"


def _may_stand(leaf: Leaf, built: Value) -> bool:
    """Whether a value may be in a first record where what is signed of how it was made gives another."""
    value = leaf.value
    if not (value.known or built.known) or value == built:
        return True  # why something is not known may be said in other words
    if leaf.rule == "data[].digest":
        return bool(value.value == built.value)  # a continued run says of which versions it is recorded
    if value.rests_on_statement:
        return True  # whether that says so, `check_inherited` tells
    if leaf.path == "method.optimiser" and not built.known:
        return value.source == "measured" and says(value.method, CHOSEN_BY_LOOP.code)
    if leaf.rule == "modifier.controls_weights":  # the tool writes "yes" alone: the weights were changed here
        return not value.is_from_tool or value.value == "yes"
    rule = field_rules().by_path()[leaf.rule]
    is_stated = value.source in ("declared", "unknown")
    return is_stated and not built.is_from_tool and rule.owner != "tool" and rule.act is None


def _quoted(value: Value | None) -> str:
    if value is None or not value.known:
        return "nothing"
    text = str(value.value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
