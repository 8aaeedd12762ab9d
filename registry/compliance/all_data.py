"""The data of all files together, as the forms ask for it: what is ticked once for a model, and not for each file. Pure.

Everything here follows from the rows of the files. What is not stated of one of them is never "no" of all: an answer waits until
each file has one, and the reason names the files that wait.

Source: Model Documentation Form, section data; template of the public summary, C(2025) 8311, fields 1.3 and 2.1-2.6.
"""

import math
from collections.abc import Sequence

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.used_rows import is_lower_bound
from peft_registry.schemas.codes import Code, code, nested
from peft_registry.schemas.modification import AllData, DataUsed
from peft_registry.schemas.values import Value, derived, not_derived

_NOTHING = not_derived(code("no_data_recorded"))
_OF_ALL = ("n_points", "n_tokens", "modalities", "provenance", "licences", "languages", "synthetic_pct")
_SYNTHETIC = ("synthetic_private", "synthetic_public")


def all_data(data: Sequence[DataUsed]) -> AllData:
    """What holds of the files together."""
    if not data:
        return AllData(**dict.fromkeys(_OF_ALL, _NOTHING))
    return AllData(
        n_points=_sum(data, "n_points"),
        n_tokens=_sum(data, "n_tokens"),
        modalities=_union(data, "modality"),
        provenance=_provenance(data),
        licences=_union(data, "licence"),
        languages=_union(data, "languages"),
        synthetic_pct=_synthetic_share(data),
    )


def _sum(data: Sequence[DataUsed], name: str) -> Value:
    """The sum over the files, which are told apart by digest; what is a lower bound of one is one of all."""
    waiting = _waiting(data, name)
    if waiting is not None:
        return waiting
    values = [_value(section, name) for section in data]
    units = {value.unit for value in values}
    if len(units) > 1:
        return not_derived(code("different_units"))
    counts = [value.value for value in values]
    if any(value.number is None for value in values) or not math.isfinite(sum(map(float, counts))):
        return not_derived(code("files_have_no_sum"))
    of_each = [
        code("count_of", of=str(section.name.value), count=count) for section, count in zip(data, counts, strict=True)
    ]
    how = code("sum_over_files", counts=of_each)
    if any(is_lower_bound(value) for value in values):
        how = code("at_least_sum_over_files", counts=of_each)
    return derived(sum(counts), values[0].unit, method=how)


def _union(data: Sequence[DataUsed], name: str) -> Value:
    """What is stated of any of the files, once each."""
    waiting = _waiting(data, name)
    if waiting is not None:
        return waiting
    said = [section for section in data if _value(section, name).known]
    if not said:  # of each file there is none, for a reason of its own
        return _value(data[0], name)
    items = {str(item) for section in said for item in _items(_value(section, name))}
    return derived(sorted(items), method=code("of_any_file", files=_by_file(said, name)))


def _provenance(data: Sequence[DataUsed]) -> Value:
    """For each class of the forms whether a file is of it; `no` is said only where the class of each file is stated."""
    classes = {str(section.name.value): section.provenance_class for section in data}
    stated = {str(value.value) for value in classes.values() if value.known}
    if not stated:
        return _waiting(data, "provenance_class") or _NOTHING
    open_files = [name for name, value in classes.items() if not value.known]
    other = "not stated" if open_files else "no"
    kinds = field_rules().by_path()["data[].provenance_class"].values
    method = code("class_of_each_file")
    if open_files:
        method = code("class_not_stated_of", files=open_files)
    return derived({kind: "yes" if kind in stated else other for kind in kinds}, method=method)


def _synthetic_share(data: Sequence[DataUsed]) -> Value:
    """The share of tokens, else of rows, that are in synthetic files."""
    waiting = _waiting(data, "provenance_class")
    if waiting is not None:
        return waiting
    name = next((name for name in ("n_tokens", "n_points") if _sum(data, name).known), None)
    if name is None:
        return _sum(data, "n_tokens")
    total = _sum(data, name)
    synthetic = [section for section in data if section.provenance_class.value in _SYNTHETIC]
    if not total.value:
        return not_derived(code("files_are_empty"))
    share = 100 * sum(_value(section, name).value for section in synthetic) / total.value
    if not math.isfinite(share):
        return not_derived(code("files_have_no_share"))
    how = code("share_of_synthetic_files", unit=str(total.unit))
    if is_lower_bound(total):
        how = code("share_of_synthetic_files_of_bounds", unit=str(total.unit))
    return derived(share, "%", method=how)


def _waiting(data: Sequence[DataUsed], name: str) -> Value | None:
    """Why there is no answer of all files; None where each has one."""
    open_sections = [section for section in data if not _value(section, name).settled]
    if not open_sections:
        return None
    waiting = [_open(str(section.name.value), _value(section, name)) for section in open_sections]
    stated = [section for section in data if _value(section, name).known]
    if not stated:
        return not_derived(code("not_known_of_files", files=waiting))
    return not_derived(code("not_known_of_some_files", files=waiting, stated=_by_file(stated, name)))


def _open(name: str, value: Value) -> Code:
    return code("open_of", of=name, because=nested(value.reason or ""))


def _by_file(data: Sequence[DataUsed], name: str) -> list[Code]:
    """What is stated of each file."""
    return [
        code("stated_of_file", of=str(section.name.value), answer=[str(item) for item in _items(_value(section, name))])
        for section in data
    ]


def _items(value: Value) -> list[object]:
    return list(value.value) if isinstance(value.value, list) else [value.value]


def _value(section: DataUsed, name: str) -> Value:
    value = getattr(section, name)
    assert isinstance(value, Value), name
    return value
