"""What is different between two versions: configuration, data, evaluations, and the weights module by module.

A number alone decides nothing: figures stand side by side, with the rows that they were measured on.
"""

import heapq
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.trainer.differences.facts import Fact, facts_of
from peft_registry.trainer.differences.weights import ModuleDifference, Side, compare_weights

_MODULES_SHOWN = 8  # those that differ most; JSON has all


class VersionComparison(Frozen):
    """Two versions side by side. `weights_note` says how weights were compared, or why they were not."""

    first: str
    second: str
    facts: tuple[Fact, ...]
    modules: tuple[ModuleDifference, ...]
    weights_note: str
    are_same_bytes: bool = False

    @property
    def relative_norm(self) -> float | None:
        """‖second − first‖ / ‖first‖ over all compared modules; 0 of the same bytes, which are not computed with."""
        if self.are_same_bytes:
            return 0.0
        before = math.hypot(*(module.first_norm for module in self.modules))
        return math.hypot(*(module.difference_norm for module in self.modules)) / before if before else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        modules = [module.model_dump(mode="json") | {"relative_norm": module.relative_norm} for module in self.modules]
        return self.model_dump(mode="json") | {"modules": modules, "relative_norm": self.relative_norm}

    def lines(self) -> Iterator[str]:
        """For people: the weights, then what else differs, section by section; settings of one side alone in a line a side."""
        yield f"{self.first} | {self.second}"
        yield from self._weight_lines()
        if not self.facts:
            yield "configuration, data and evaluations are the same"
        folded = {
            "first": [fact for fact in self.facts if _is_setting(fact) and fact.second is None],
            "second": [fact for fact in self.facts if _is_setting(fact) and fact.first is None],
        }
        for fact in self.facts:
            if fact not in (*folded["first"], *folded["second"]):
                yield f"{fact.section:<14} {fact.name}: {' | '.join(_side_by_side(fact))}"
        for label, facts in ((self.first, folded["first"]), (self.second, folded["second"])):
            if facts:
                yield f"{'configuration':<14} only {label}: {', '.join(map(_setting, facts))}"

    def _weight_lines(self) -> Iterator[str]:
        changed = [module for module in self.modules if module.difference_norm]
        yield f"{'weights':<14} {self.weights_note}"
        if self.modules:
            norm = "" if self.relative_norm is None else f", relative norm {self.relative_norm:.4g}"
            yield f"{'weights':<14} {len(changed)} of {len(self.modules)} differ{norm}"
        largest = heapq.nlargest(_MODULES_SHOWN, changed, key=lambda module: module.difference_norm)
        shown = [module for module in changed if module in largest]  # in the order of the model
        longest = max((len(module.name) for module in shown), default=0)
        for module in shown:
            relative = "new" if module.relative_norm is None else f"{module.relative_norm:.4g}"
            cosine = "" if module.cosine is None else f"  cosine {module.cosine:9.6f}"
            spectral = "" if module.spectral_norm is None else f"  spectral {module.spectral_norm:.4g}"
            yield f"{'':<14} {module.name:<{longest}}  relative norm {relative:<9}{cosine}{spectral}".rstrip()
        if len(changed) > len(shown):
            yield f"{'':<14} and {len(changed) - len(shown)} modules that differ less: --output json lists all"


def compare_versions(registry: Registry, first: str, second: str, *, observe: Observe = ignore) -> VersionComparison:
    """What is different between the versions that two references mean.

    Raises:
        MalformedReference, NotFound: as `version_named`.
        BaseBytesMissing: the bytes of one are not on this machine.
    """
    one, other = (
        Side(version, records_of(registry, version))
        for version in (version_named(registry, first), version_named(registry, second))
    )
    with tempfile.TemporaryDirectory(prefix="registry-diff-") as scratch:
        modules, note = compare_weights(registry, one, other, Path(scratch), observe)
    return VersionComparison(
        first=one.version.label,
        second=other.version.label,
        facts=facts_of(registry, one, other),
        modules=modules,
        weights_note=note,
        are_same_bytes=one.version.manifest_digest == other.version.manifest_digest,
    )


def _is_setting(fact: Fact) -> bool:
    return fact.section == "configuration"


def _setting(fact: Fact) -> str:
    """`training.packing=True`: a setting that the other side does not have."""
    return f"{fact.name}={_text(fact.second if fact.first is None else fact.first)}"


def _side_by_side(fact: Fact) -> tuple[str, str]:
    """Both values, with as many digits as it takes to see that they differ."""
    absent = "not measured" if fact.section == "evaluation" else "nothing"
    first, second = (absent if value is None else _text(value) for value in (fact.first, fact.second))
    return (first, second) if first != second else (str(fact.first), str(fact.second))


def _text(value: Any) -> str:
    if isinstance(value, str) and value.startswith("sha256:"):
        return f"{value[:19]}…"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
