"""What a version is found by, read from what was signed about it. Pure.

The rows in the catalogue repeat it (`database/catalog/facet_rows.py`). What an alias points at, and how the gate before it stands,
changes without a word about the version, and is never among them. Which decisions of persons count, and whether a recall stands,
does too: rows say which words a verdict may come to, and that something was recalled once, and whoever lists a version finds out
what holds today (`use_cases/facets_today.py`).
"""

import math
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.licence_terms import implied_flags
from peft_registry.registry.compliance.record_verdicts import UNDETERMINED, verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.database.catalog.facet_rows import facets_of_manifest
from peft_registry.registry.records.provenance import project_of
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import CONTROL_ARMS, EvaluationRecord
from peft_registry.schemas.facets import LONGEST_WORD, METRIC, UNSETTLED, Facet
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord, RecordSections, modification_in
from peft_registry.schemas.statement import RegistrationPredicate, StoredStatement
from peft_registry.schemas.values import Value

FACETS_FORM = "facets_form"  # the key in `meta` of what the rows are made by
RECALLED = Facet("recalled", "yes")  # of what a recall reached once
UNKNOWN = "unknown"  # a word that says that nobody recorded which
KINDS_WITH_FACETS = ("modification", "base", "bias-evaluation", "registration", "decision")
"""The statements that facets are read from."""
_FIGURES = ("fix_rate", "introduction_rate", "net_fix_rate", "net_change", "mean_margin_change")  # of a comparison


def facets_form() -> str:
    """What the rows of this release are made by: how they are read, and the rules of the verdicts."""
    return f"8, {shipped_rules().version}"


def facets_of(
    manifest: Manifest,
    *,
    key_id: str,
    project: str | None = None,
    record: RecordSections | None = None,
    base: BaseRecord | None = None,
    evaluations: Sequence[EvaluationRecord] = (),
    verdicts: Iterable[Facet] = (),
    ever_recalled: bool = False,
) -> tuple[Facet, ...]:
    """Everything that a version is found by.

    Args:
        manifest: of its artifact.
        key_id: of the key that registered it.
        project: that its run, merge or import names.
        record: its modification record; None where it has none.
        base: what is declared about it where it is a base.
        evaluations: in the order in which they were recorded; of each figure the newest counts.
        verdicts: as `verdict_facets` gives them.
        ever_recalled: whether it, or anything that it was made from, was recalled at any time.
    """
    known = facets_of_manifest(manifest, key_id)
    said: list[Facet] = []
    if project is not None:
        said.append(Facet("project", project))
    if record is not None:
        said += record_facets(record)
    elif base is not None:
        said += _licences([base.facts.licence], [base.facts.licence_flags])
    if ever_recalled:
        said.append(RECALLED)
    return tuple(dict.fromkeys((*known, *said, *verdicts, *evaluation_facets(evaluations))))


def facets_said(
    manifest: Manifest,
    *,
    name: str,
    key_id: str,
    statements: Sequence[StoredStatement],
    ever_recalled: bool = False,
) -> tuple[Facet, ...]:
    """The same from all that was said about an artifact, for its version of this name.

    Its record is the one that its registration names, or the last one about this name that supersedes it; an evaluation that was
    made later speaks of every version. What is not of the form of its kind says nothing. `ever_recalled` is as for `facets_of`.
    """
    accompanied = {said.digest: _accompanied(said) for said in statements if said.kind == "registration"}
    own = {
        digest
        for said in statements
        if said.kind == "registration" and said.statement.predicate.get("name") == name
        for digest in accompanied[said.digest]
    }
    of_others = {digest for digests in accompanied.values() for digest in digests} - own
    record: RecordSections | None = None
    # all that may be its own: a later one decides nothing where it is not covered, or is wrong
    records: list[RecordSections] = []
    base: BaseRecord | None = None
    project: str | None = None
    evaluations = []
    for said in statements:
        if said.digest in of_others:
            continue
        try:
            match said.kind:
                case "provenance":
                    # how equal bytes were made under another name says nothing of this one
                    if said.digest in own:
                        project = project_of(said.statement.predicate)
                case "modification":
                    read = modification_in(said.statement)
                    if said.digest in own or (record is not None and read.supersedes == record.record_id):
                        record = read
                    if record is read or any(read.supersedes == earlier.record_id for earlier in records):
                        records.append(read)
                case "base":
                    stated = said.statement.read_by(BaseRecord.from_json)
                    base = stated if stated.name in (None, name) else base
                case "bias-evaluation":
                    evaluations.append(said.statement.read_by(EvaluationRecord.from_json))
        except ValidationError:  # whoever verifies the version says so
            continue
    is_decided = any(said.kind == "decision" for said in statements)
    return facets_of(
        manifest,
        key_id=key_id,
        project=project,
        record=record,
        base=base,
        evaluations=evaluations,
        verdicts=verdict_facets(records, is_decided=is_decided),
        ever_recalled=ever_recalled,
    )


def _accompanied(registration: StoredStatement) -> tuple[Digest, ...]:
    try:
        return registration.statement.read_by(RegistrationPredicate.from_json).accompanied_by
    except ValidationError:
        return ()


def record_facets(record: RecordSections) -> list[Facet]:
    """What a modification record says: rank, parameters, licences."""
    facets = [*_number("rank", record.peft.rank), *_number("parameters", record.change.params_trainable)]
    licences = [used.licence_id for used in record.base]
    # what was made here is under no licence until somebody names one: that alone makes nothing unknown
    if isinstance(record, ModificationRecord) and record.product.licence.known:
        licences.append(record.product.licence)
    facets += _licences(licences, [used.licence_flags for used in record.base])
    return facets


def verdict_facets(records: Sequence[RecordSections], *, is_decided: bool) -> tuple[Facet, ...]:
    """The words that the verdicts about a version may come to, by records of which one is its own.

    Which of several holds, and which decisions count, says the log with the trust file, whenever that is asked. Where persons
    decided anything it may therefore be any word that the tables have; the last facet says that not all of them hold.
    """
    words = dict.fromkeys(
        verdict.status for record in records for verdict in verdicts_of(without_proposals(in_third_form(record))).both
    )
    if is_decided and records:
        words |= dict.fromkeys((UNDETERMINED, *(row.status for row in shipped_rules().rows)))
    facets = tuple(Facet("verdict", word) for word in words)
    return (*facets, Facet(UNSETTLED, "verdict")) if is_decided or len(records) > 1 else facets


def evaluation_facets(evaluations: Sequence[EvaluationRecord]) -> tuple[Facet, ...]:
    """The figures of whole data sets for the arm that an evaluation is about, and whether limits and quality were kept."""
    if not evaluations:
        return ()
    # numpy, and all that computes figures: most versions that are listed have none
    from peft_registry.registry.evaluation.limits import readable_verdicts
    from peft_registry.registry.evaluation.lost_quality import lost_quality
    from peft_registry.registry.records.evaluations import newest_of_each

    figures: dict[str, float] = {}
    limits: str | None = None
    quality: str | None = None
    for evaluation in evaluations:
        figures |= dict(_figures(evaluation))
        decisions = [verdict.decision for verdict in readable_verdicts(evaluation)]
        if decisions:
            limits = next((word for word in ("broken", "undecided") if word in decisions), "held")
    for evaluation in newest_of_each(evaluations):
        if lost_quality(evaluation):
            quality = "lost"
        elif quality is None and evaluation.losses:
            quality = "kept"
    facets = [Facet(f"{METRIC}[{name}]", value) for name, value in figures.items() if math.isfinite(value)]
    words = (("limits", limits), ("quality", quality))
    return (*facets, *(Facet(name, word) for name, word in words if word is not None))


def _figures(evaluation: EvaluationRecord) -> Iterator[tuple[str, float]]:
    # arms are recorded base first: the last one is what the evaluation is about
    about = next((arm.name for arm in reversed(evaluation.arms) if arm.name not in CONTROL_ARMS), None)
    for loss in evaluation.losses:
        yield f"{loss.dataset}.loss", loss.after
    for compared in reversed(evaluation.comparisons):  # the first of several stands
        if compared.category is None and compared.after == about:
            values = ((figure, getattr(compared, figure)) for figure in _FIGURES)
            yield from ((f"{compared.dataset}.{figure}", value) for figure, value in values if value is not None)
    for result in evaluation.results:
        if result.category is None and result.arm == about and result.value is not None:
            yield f"{result.dataset}.{result.metric}", result.value


def _number(name: str, value: Value) -> list[Facet]:
    number = value.number
    return [] if number is None or not math.isfinite(number) else [Facet(name, number)]


def _licences(licences: Sequence[Value], flags: Sequence[Value]) -> Iterator[Facet]:
    """Licences as they are recorded, the flags that somebody stated, and those that the licences imply."""
    words: dict[str, None] = {}
    for value in (*licences, *flags):
        listed = value.value if isinstance(value.value, list | tuple) else [value.value]
        words |= dict.fromkeys(str(word) for word in listed) if value.known else {UNKNOWN: None}
    for licence in licences:
        words |= dict.fromkeys(implied_flags(licence.value))
    for word in words:
        yield Facet("licence", " ".join(word.split()).lower()[:LONGEST_WORD])
