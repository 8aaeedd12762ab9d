"""The figures of a record done again by their formulas, from the numbers that stand beside them. Pure.

Deriving a record again shows that this program would write it so. Here each headline figure is computed from its definition
alone, so that a mistake in that derivation cannot hide itself.
"""

import math
from collections.abc import Iterator
from typing import Any

from peft_registry.registry.documents.reperformed import NO_FIGURE, Outcome, Reperformed
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value

TOLERANCE = 1e-9  # relative: the order in which doubles are added differs


def arithmetic_of(record: ModificationRecord, *, file: str) -> Iterator[Reperformed]:
    """Each figure of a record that follows from others in it by a formula."""
    for figure, value, formula, again in _figures(record):
        outcome, text = _compared(value, formula, again)
        yield Reperformed(figure=figure, outcome=outcome, text=text, file=file)


def _compared(value: Value, formula: str, again: float | str | None) -> tuple[Outcome, str]:
    if not value.known:
        return "not possible", NO_FIGURE
    if value.source not in ("derived", "measured"):
        return "not possible", f"it is {value.source}, and follows from nothing here"
    if again is None:
        return "not possible", f"{formula}: an input is not in the record"
    return _equal(value, formula, again) if isinstance(again, str) else _close(value, formula, again)


def _equal(value: Value, formula: str, again: str) -> tuple[Outcome, str]:
    if value.value == again:
        return "reproduced", f"{formula}: {again}"
    return "differs", f"{formula}: {again}, recorded is {value.value}"


def _close(value: Value, formula: str, again: float) -> tuple[Outcome, str]:
    if value.number == again:
        return "reproduced", f"{formula} = {again:.6g}"
    if value.number is not None and math.isclose(value.number, again, rel_tol=TOLERANCE, abs_tol=0.0):
        return "within tolerance", f"{formula} = {again:.6g}, to {TOLERANCE:g} of it"
    return "differs", f"{formula} = {again!r}, recorded is {value.value!r}"


def _figures(record: ModificationRecord) -> Iterator[tuple[str, Value, str, float | str | None]]:
    """Name, recorded value, formula in words, and what the formula gives; None where an input is missing."""
    yield from _of_compute(record)
    yield from _of_size(record)
    yield from _of_data(record)


def _of_compute(record: ModificationRecord) -> Iterator[tuple[str, Value, str, float | str | None]]:
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
    kwh = energy.training_kwh.number
    yield "energy, MWh", record.documentation.energy_mwh, "kWh / 1000", None if kwh is None else kwh / 1000
    yield "order of the compute", record.documentation.flop_order, *_order(compute.param_update_flop.number)


def _order(flop: float | None) -> tuple[str, str | None]:
    """The power of ten below a figure, read off its digits rather than a logarithm."""
    formula = "the power of ten of the FLOP that update parameters"
    if flop is None:
        return formula, None
    return formula, "0" if flop <= 0 else f"10^{int(f'{flop:.16e}'.partition('e')[2])}"


def _of_size(record: ModificationRecord) -> Iterator[tuple[str, Value, str, float | None]]:
    change = record.change
    whole = next((base.params_total.number for base in record.base if base.role.value == "base"), None)
    added, removed, changed = (
        part.number for part in (change.params_added, change.params_removed, change.params_changed)
    )
    total = None if whole is None or added is None or removed is None else whole + added - removed
    yield "parameters of the result", record.product.params_total, "base + added - removed", total
    share = None if not whole or changed is None else 100 * changed / whole
    yield "share of the base that changed, %", change.pct_of_base, "100 · changed / base", share


def _of_data(record: ModificationRecord) -> Iterator[tuple[str, Value, str, float | None]]:
    for figure, value, parts in (
        ("rows of all data", record.all_data.n_points, [data.n_points.number for data in record.data]),
        ("tokens of all data", record.all_data.n_tokens, [data.n_tokens.number for data in record.data]),
    ):
        known = [part for part in parts if part is not None]
        is_whole = bool(parts) and len(known) == len(parts)
        yield figure, value, f"the sum over {len(parts)} files", math.fsum(known) if is_whole else None


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
