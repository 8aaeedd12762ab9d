"""What the forms ask for in another shape than the record holds it: ranges, orders of magnitude, the whole of the data.

Source: Model Documentation Form of the Code of Practice; template of the public summary, C(2025) 8311, field 1.3.
"""

import math
from collections.abc import Sequence
from datetime import date

from peft_registry.registry.compliance.all_data import all_data
from peft_registry.registry.compliance.notations import days_of
from peft_registry.registry.compliance.used_rows import is_lower_bound
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import Code, Said, as_json, code
from peft_registry.schemas.modification import (
    Change,
    DataUsed,
    Documentation,
    ModificationRecord,
    Product,
    TrainingContent,
)
from peft_registry.schemas.values import Value, derived, not_derived

# parameters, up to which each range goes; whatever is larger is in the last
_SIZES = (
    (500e6, "1-500M"),
    (5e9, "500M-5B"),
    (15e9, "5B-15B"),
    (50e9, "15B-50B"),
    (100e9, "50B-100B"),
    (500e9, "100B-500B"),
    (1e12, "500B-1T"),
)
_LARGEST = ">1T"
_TOKENS = ((1e9, code("under_1_billion_tokens")), (10e12, code("from_1_billion_to_10_trillion_tokens")))
_MOST_TOKENS = code("over_10_trillion_tokens")


def product_section(base: BaseRecord | None, made_by: Code, change: Change) -> Product:
    """Architecture and size of the result; what it is released as, under which terms, only people know."""
    if base is None:
        return Product()
    return Product(
        architecture=derived(
            code("architecture_and_method", architecture=base.architecture, made=made_by).to_json(),
            method=code("configuration_and_method"),
        ),
        params_total=_total(base.parameters_total, change),
    )


def with_size(record: ModificationRecord) -> ModificationRecord:
    """The record with the parameters of its result, from those of its base and what was added and removed."""
    whole = next((base.params_total.number for base in record.base if base.role.value == "base"), None)
    if whole is None:
        return record
    return record.revised(product=record.product.revised(params_total=_total(whole, record.change)))


def parameter_range(parameters: float) -> str:
    """The range of the Model Documentation Form that a number of parameters lies in: how everybody but the AI Office gets it."""
    return str(_range_of(parameters, _SIZES, _LARGEST))


def _total(whole: float, change: Change) -> Value:
    added = change.params_added.number
    removed = change.params_removed.number
    if added is None or removed is None:
        return not_derived(code("added_or_removed_not_known"))
    if not math.isfinite(whole + added - removed):
        return not_derived(code("figures_too_large"))
    number = round(whole) + round(added) - round(removed)
    return derived(number, "parameters", method=code("base_plus_added_minus_removed"))


def with_forms(record: ModificationRecord) -> ModificationRecord:
    """The record with what follows for the forms from its other sections."""
    together = all_data(record.data)
    return record.revised(
        documentation=Documentation(
            size_range=_in_range(record.product.params_total, _SIZES, _LARGEST, code("range_of_form")),
            flop_order=_order(record.compute.param_update_flop),
            energy_mwh=_megawatt_hours(record.energy.training_kwh),
            points_coarse=_points_coarse(record.data, together.n_points),
        ),
        content=_content(record.content, record.data),
        all_data=together,
    )


def _content(content: TrainingContent, data: tuple[DataUsed, ...]) -> TrainingContent:
    return content.revised(size_range=_size_of_text(data), latest_acquisition=_latest(data))


def _size_of_text(data: tuple[DataUsed, ...]) -> Value:
    if not data:
        return not_derived(code("no_data_recorded"))
    if any(section.modality.value != "text" for section in data):
        return not_derived(code("not_all_text"))
    counts = [section.n_tokens.number for section in data]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return not_derived(code("tokens_not_counted"))
    total = derived(sum(known), "tokens", method=code("once_through"))
    return _in_range(total, _TOKENS, _MOST_TOKENS, code("range_of_summary"))


def _latest(data: tuple[DataUsed, ...]) -> Value:
    """The month of the last acquisition; unknown as long as that of any data is."""
    ends = [_last_day(section.acquired_to.value) for section in data]
    known = [end for end in ends if end is not None]
    if not ends or len(known) < len(ends):
        return not_derived(code("acquired_until_not_stated"))
    return derived(f"{max(known):%m/%Y}", method=code("last_acquisition"))


def _last_day(acquired_to: object) -> date | None:
    """The last day that a stated end covers; editions until 2027-01 read none that is a month, as the public summary writes it."""
    if "acquired_in_months" in shipped_rules().reads:
        days = days_of(acquired_to)
        return None if days is None else days[1]
    try:
        return date.fromisoformat(str(acquired_to))
    except ValueError:
        return None


def _in_range(value: Value, limits: Sequence[tuple[float, Said]], largest: Said, how: Code) -> Value:
    number = value.number
    if number is None:
        return value if not value.known else not_derived(code("not_a_number"))
    return derived(as_json(_range_of(number, limits, largest)), method=how)


def _range_of(number: float, limits: Sequence[tuple[float, Said]], largest: Said) -> Said:
    return next((text for limit, text in limits if number < limit), largest)


def _order(flop: Value) -> Value:
    number = flop.number
    if number is None:
        return not_derived(flop.reason or code("not_a_number"))
    if number <= 0:
        return derived("0", method=code("no_gradients"))
    return derived(f"10^{math.floor(math.log10(number))}", method=code("order_of_magnitude"))


def _megawatt_hours(energy: Value) -> Value:
    if not energy.applies:
        return energy
    number = energy.number
    if number is None:
        return not_derived(energy.reason or code("not_a_number"))
    return derived(number / 1000, "MWh", method=code("kwh_per_thousand"))


def _points_coarse(data: tuple[DataUsed, ...], total: Value) -> Value:
    """The data points of each split to one significant figure; of all together where the splits do not add up to them."""
    if total.number is None:
        return not_derived(total.reason or code("not_a_number"))
    counts = _points_by_split(data) or {"all": total.number}
    # through text, which rounds a decimal number as people do
    coarse = {split: float(f"{count:.0e}") for split, count in counts.items()}
    if not all(map(math.isfinite, coarse.values())):
        return not_derived(code("figures_too_large"))
    how = code("one_significant_figure")
    if is_lower_bound(total):
        how = code("one_significant_figure_at_least")
    return derived(coarse, total.unit, method=how)


def _points_by_split(data: tuple[DataUsed, ...]) -> dict[str, float]:
    """Nothing where the rows of a file are those of several runs: one row may be in two splits."""
    counts: dict[str, float] = {}
    for section in data:
        rows = section.splits.value if isinstance(section.splits.value, list) else []
        own = [row for row in rows if isinstance(row, dict) and "of" not in row and type(row.get("rows")) is int]
        if len(own) < len(rows) or sum(row["rows"] for row in own) != section.n_points.number:
            return {}
        for row in own:
            split = str(row.get("split"))
            counts[split] = counts.get(split, 0) + row["rows"]
    return dict(sorted(counts.items()))
