"""The figures of a record done again by their formulas, from the numbers that stand beside them. Pure.

Deriving a record again shows that this program would write it so. Here each headline figure is computed from its definition
alone, so that a mistake in that derivation cannot hide itself.
"""

import math
from collections.abc import Iterator
from typing import Any

from peft_registry.registry.documents.reperformed import Outcome, Reperformed
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value

TOLERANCE = 1e-9  # relative: the order in which doubles are added differs


def arithmetic_of(record: ModificationRecord, *, file: str) -> Iterator[Reperformed]:
    """Each figure of a record that follows from others in it by a formula."""
    for figure, value, formula, again in _figures(record):
        outcome, text = _compared(value, formula, again)
        yield Reperformed(figure=figure, outcome=outcome, text=text, file=file)


def _compared(value: Value, formula: str, again: float | None) -> tuple[Outcome, str]:
    if value.number is None:
        return "not possible", "the record has no such figure, and says why"
    if value.source not in ("derived", "measured"):
        return "not possible", f"it is {value.source}, and follows from nothing here"
    if again is None:
        return "not possible", f"{formula}: an input is not in the record"
    if value.number == again:
        return "reproduced", f"{formula} = {again:.6g}"
    if math.isclose(value.number, again, rel_tol=TOLERANCE, abs_tol=0.0):
        return "within tolerance", f"{formula} = {again:.6g}, to {TOLERANCE:g} of it"
    return "differs", f"{formula} = {again!r}, recorded is {value.number!r}"


def _figures(record: ModificationRecord) -> Iterator[tuple[str, Value, str, float | None]]:
    """Name, recorded value, formula in words, and what the formula gives; None where an input is missing."""
    compute = record.compute
    gpai = record.gpai
    energy = record.energy
    given = compute.inputs.value if isinstance(compute.inputs.value, dict) else {}
    yield "compute of the modification, FLOP", compute.conservative_flop, *_flop(given)
    base = gpai.original_flop.number
    own = compute.conservative_flop.number
    tolerance = compute.uncertainty_pct.number
    yield "compute of the base, FLOP", gpai.original_flop, *_base_flop(record)
    ratio = None if base is None or own is None or base <= 0 else own / base
    yield "ratio to the base", gpai.ratio, "modification / base", ratio
    band = None if tolerance is None else (1 - tolerance / 100) / (1 + tolerance / 100)
    low = None if ratio is None or band is None else ratio * band
    high = None if ratio is None or not band else ratio / band
    percent = "" if tolerance is None else f" (each ± {tolerance:g} %)"
    yield "lowest ratio", gpai.ratio_low, f"ratio · (1 - t) / (1 + t){percent}", low
    yield "highest ratio", gpai.ratio_high, f"ratio · (1 + t) / (1 - t){percent}", high
    yield "a third of the base, FLOP", gpai.threshold_flop, "base / 3", None if base is None else base / 3
    synthetic = compute.private_synthetic_flop.number or 0.0
    total = None if base is None or own is None else base + own + synthetic
    yield "cumulative compute, FLOP", compute.cumulative_flop, "base + modification + synthetic data", total
    yield "energy, kWh", energy.training_kwh, *_energy(record)


def _flop(given: dict[str, Any]) -> tuple[str, float | None]:
    """6·P·D of a run; of one that continued others, and of a merge, the sum over each run once."""
    rows = [row for name in ("went_on_from", "ingredients") for row in given.get(name) or ()]
    own = _product(given)
    if not rows:
        return "6 · P · D", own
    unique = {row.get("manifest", row.get("ingredient")): row for row in rows}
    parts = [row.get("conservative_flop") for row in unique.values()]
    if own is not None:
        parts.append(own)
    known = [float(part) for part in parts if part is not None]
    return f"the sum of {len(parts)} runs", math.fsum(known) if len(known) == len(parts) else None


def _product(given: dict[str, Any]) -> float | None:
    parameters, positions = given.get("P"), given.get("D")
    return None if parameters is None or positions is None else 6.0 * parameters * positions


def _base_flop(record: ModificationRecord) -> tuple[str, float | None]:
    bases = {str(base.tensor_digest.value): base for base in record.base if base.role.value == "base"}
    if len(bases) != 1:
        return "of one base", None
    (base,) = bases.values()
    stated = base.training_compute_flop.number
    if stated is not None and stated > 0:
        return "as it is recorded of the base", stated
    parameters, tokens = base.params_total.number, base.training_tokens.number
    return "6 · parameters · tokens", None if parameters is None or tokens is None else 6.0 * parameters * tokens


def _energy(record: ModificationRecord) -> tuple[str, float | None]:
    if record.energy.training_kwh.source == "measured":
        return "a sensor measured it, and nothing here follows it", None
    days, watts = record.compute.hardware_days.number, record.power.device_watts.number
    pue = record.energy.pue.number or 1.0
    formula = "device hours · watts / 1000 · PUE"
    return formula, None if days is None or watts is None else days * 24 * watts / 1000 * pue
