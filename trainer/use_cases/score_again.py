"""`registry evaluate --recheck --sample N`: score some items of a recorded evaluation again, within its tolerance."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.evaluation.items import Item, TableRow, read_items
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.evaluations import StoredEvaluation
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version

SEED = 0


class ScoresDiffer(IntegrityBroken):
    what = "item {item} was recorded with another score than the model gives now"
    why = "recorded {recorded:.6f}, now {found:.6f} nats; the tolerance is {tolerance:g}"
    fix = "do not rely on the evaluation; evaluate again, and keep both records"

    item: str
    recorded: float
    found: float
    tolerance: float


class NothingToScore(NotChecked):
    reference = "nothing-to-score-again"
    what = "no item of the evaluation of {label} could be scored again"
    why = "{reason}"
    fix = "pin the suite's data: registry suites add NAME FOLDER --accept-licence"

    label: str
    reason: str


def score_each_again(
    registry: Registry,
    version: Version,
    evaluations: Sequence[StoredEvaluation],
    *,
    count: int,
    observe: Observe = ignore,
) -> tuple[str, ...]:
    """A sentence for each evaluation: its sample repeated, or why nothing of it could be scored again.

    Raises:
        ScoresDiffer: as `score_again`.
        NothingToScore: of none of them anything could be scored.
    """
    sentences = []
    why = None
    for stored in evaluations:
        try:
            sentences.append(score_again(registry, version, stored, count=count, observe=observe))
        except NothingToScore as error:
            why = error
            sentences.append(f"not scored again: {error.why}")
    if why is not None and all(sentence.startswith("not scored") for sentence in sentences):
        raise why
    return tuple(sentences)


def score_again(
    registry: Registry, version: Version, stored: StoredEvaluation, *, count: int, observe: Observe = ignore
) -> str:
    """Score a seeded sample of the rows again, in every arm but the controls; returns a sentence.

    Raises:
        ScoresDiffer: a value is farther from its record than the tolerance.
        NothingToScore: the data of no suite is here, or the evaluation is of something else than the version.
    """
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references_again

    record = stored.record
    if stored.stale is not None:
        raise NothingToScore(version.label, str(stored.stale))
    data = _suites_here(registry, version, record)
    rows = [row for row in read_items(stored.items) if row.dataset in data and row.arm not in ("noise", "placebo")]
    units = sorted({(row.dataset, row.unit if isinstance(row, Reading) else row.id) for row in rows})
    random.Random(SEED).shuffle(units)  # noqa: S311  a sample, not a secret
    chosen = set(units[:count])
    ids = {(row.dataset, row.id) for row in rows if (row.dataset, _unit(row)) in chosen}
    with tempfile.TemporaryDirectory() as scratch:
        again = evaluate_references_again(
            registry,
            version,
            EvaluationRequest(suites=tuple(data)),
            recorded=data,
            ids=ids,
            compositions=frozenset(arm.composition_digest for arm in record.arms),
            scratch=Path(scratch),
            observe=observe,
        )
    recorded = {(row.key): row for row in rows}
    checked = 0
    for row in again:
        if row.key in recorded:
            _compare(recorded[row.key], row, record)
            checked += 1
    if not checked:
        raise NothingToScore(version.label, "none of the arms that were recorded was scored")
    return f"{checked} scores repeated within {record.tolerance.abs_ll:g} nats"


def _compare(first: TableRow, other: TableRow, record: EvaluationRecord) -> None:
    allowed = record.tolerance.abs_ll
    pairs = zip(_values(first), _values(other), strict=True)
    for recorded, computed in pairs:
        if abs(recorded - computed) > allowed * MILLIONTHS:
            raise ScoresDiffer(" ".join(first.key), recorded / MILLIONTHS, computed / MILLIONTHS, allowed)


def _values(row: TableRow) -> tuple[int, ...]:
    if isinstance(row, Reading):
        return row.values
    return (row.ll_a,) if row.ll_b is None else (row.ll_a, row.ll_b)


def _unit(row: Item | Reading) -> str:
    return row.unit if isinstance(row, Reading) else row.id


def _suites_here(registry: Registry, version: Version, record: EvaluationRecord) -> dict[str, Digest]:
    """The suites of a record whose very data is here, each with its digest.

    Raises:
        NothingToScore: there is none.
    """
    from peft_registry.trainer.evaluation.suites import SuiteFileNeeded, suites
    from peft_registry.trainer.evaluation.suites.files import OtherSuiteFile
    from peft_registry.trainer.inputs.suites import load_suite

    found: dict[str, Digest] = {}
    why = ["it holds no suite of this tool"]
    for used in record.datasets:
        if used.name not in suites():
            continue
        try:
            present = load_suite(registry, used.name, None, recorded=used.sha256).dataset.sha256
        except SuiteFileNeeded as error:
            why.append(error.what)
            continue
        except OtherSuiteFile:
            present = None
        if present == used.sha256:
            found[used.name] = used.sha256
        else:
            why.append(f"{used.name} was measured on other data than is here now")
    if not found:
        raise NothingToScore(version.label, "; ".join(why[1:] or why))
    return found
