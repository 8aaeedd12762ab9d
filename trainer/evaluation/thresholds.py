"""Thresholds that an organisation sets beforehand: a YAML file, known by its digest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.evaluation.states import state_of
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Threshold
from peft_registry.schemas.identity import Digest

MAX_BYTES = 1024 * 1024


class ThresholdsRefused(InputRefused):
    reference = "thresholds-refused"
    what = "{file} sets no thresholds"
    why = "{reason}"
    fix = "write `thresholds: {{house.margin: {{lo: 0.25, hi: 0.69}}}}`, one entry a data set and measure"

    file: str
    reason: str


def read_thresholds(path: Path | None) -> tuple[Mapping[str, Threshold], Digest | None]:
    """The dead bands of a file by `dataset.measure`, and its digest; nothing without a file.

    Raises:
        ThresholdsRefused: it is not what it should be.
        UnusableThreshold: a band is not a dead band.
        OfferedFileRefused, FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
        MalformedYaml: as `peft_registry.registry.intake.yaml.read_yaml`.
    """
    if path is None:
        return {}, None
    data = read_offered(path, max_bytes=MAX_BYTES)
    value: Any = read_yaml(data, what=path.name)
    stated = value.get("thresholds") if isinstance(value, dict) else None
    if not isinstance(stated, dict):
        raise ThresholdsRefused(path.name, "it has no `thresholds`")
    digest = Digest.of(data)
    found = {}
    for key, band in stated.items():
        if not isinstance(band, dict) or not all(type(band.get(end)) in (int, float) for end in ("lo", "hi")):
            raise ThresholdsRefused(path.name, f"{key} has no lo and hi")
        found[str(key)] = Threshold(lo=band["lo"], hi=band["hi"], source=f"policy {path.name} {digest.short}")
        state_of(0.0, found[str(key)])  # any margin: it refuses a band that is none
    return found, digest
