"""What a merge takes over of the compute that generated non-public synthetic data (guidelines, J119-120). Pure.

That compute counts for everybody who trains on the data, so a merge keeps it. Equal data are counted once. Where the records do not
say whether two figures are of the same data, nothing is added up: the field becomes a question that names both.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.values import Value, derived, not_derived


def inherited_synthetic_flop(ancestors: Iterable[Ancestor]) -> Value | None:
    """The compute that generated the synthetic data of all trainings; None where no record speaks of any."""
    unique = {ancestor.manifest: ancestor for ancestor in ancestors if ancestor.has_trained}
    trainings = sorted(unique.values(), key=lambda training: (training.label, training.manifest))
    stated = [training for training in trainings if _flop(training) is not None]
    silent = [training.label for training in trainings if _flop(training) is None and _synthetic_files(training)]
    if silent:
        if not stated:
            return not_derived(code("synthetic_compute_not_recorded", of=silent))
        return not_derived(code("synthetic_compute_recorded_of_some", of=silent, figures=_figures(stated)))
    if not stated:
        return None
    unclear = [pair for pair in combinations(stated, 2) if _may_be_the_same(*pair)]
    if unclear:
        pairs = [code("pair_of", first=first.label, second=second.label) for first, second in unclear]
        return not_derived(code("perhaps_the_same_data", pairs=pairs, figures=_figures(stated)))
    counted = _each_once(stated)
    return derived(
        float(sum(_flop(training) or 0.0 for training in counted)),
        "FLOP",
        method=code("synthetic_compute_of_each_training", figures=_figures(counted)),
        evidence=tuple(training.statement for training in stated if training.statement is not None),
    )


def _flop(training: Ancestor) -> float | None:
    """What its record states, FLOP."""
    flop = None if training.record is None else training.record.compute.private_synthetic_flop.value
    return float(flop) if isinstance(flop, int | float) and not isinstance(flop, bool) else None


def _synthetic_files(training: Ancestor) -> frozenset[str]:
    """Digests of the non-public synthetic files that it trained on itself."""
    return frozenset(
        str(section.digest.value)
        for section in training.data
        if section.provenance_class.value == "synthetic_private" and section.digest.known
    )


def _may_be_the_same(first: Ancestor, second: Ancestor) -> bool:
    """Whether two figures may count some data twice: of shared files, or of a run and what it continued from."""
    if _is_same(first, second):
        return False
    is_continuation = first.manifest in second.runs or second.manifest in first.runs
    return is_continuation or bool(_synthetic_files(first) & _synthetic_files(second))


def _is_same(first: Ancestor, second: Ancestor) -> bool:
    """The same files with the same figure."""
    files = _synthetic_files(first)
    return bool(files) and files == _synthetic_files(second) and _flop(first) == _flop(second)


def _each_once(stated: Sequence[Ancestor]) -> list[Ancestor]:
    counted: list[Ancestor] = []
    for training in stated:
        if not any(_is_same(training, other) for other in counted):
            counted.append(training)
    return counted


def _figures(trainings: Sequence[Ancestor]) -> list[Code]:
    return [code("flop_of", of=training.label, flop=_flop(training)) for training in trainings]
