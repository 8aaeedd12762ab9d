"""What is different between two versions: configuration, data, evaluations, and the weights module by module.

Whole models are compared tensor by tensor. Low-rank adapters are compared by what they add to a weight, s·B·A, from their
factors: two adapters with other factors can be the same change. A number alone decides nothing.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from registry.bases import base_folder
from registry.home import Registry
from registry.pull import version_named
from registry.records import Records, records_of
from schemas.document import Frozen
from schemas.progress import Advanced, Finished, Observe, Started, ignore
from schemas.version import Version
from trainer.merge.adapter import Adapter, read_adapter
from trainer.merge.measures import spectral_norm
from trainer.merge.tensors import DTYPES, StoredTensor, stored_tensors

_A, _B = ".lora_A.weight", ".lora_B.weight"


class Fact(Frozen):
    """One thing that is not the same; a side that has nothing there is null."""

    section: str
    name: str
    first: Any = None
    second: Any = None


class ModuleDifference(Frozen):
    """One tensor of two models, or the change that two adapters make to one module."""

    name: str
    shape: tuple[int, ...]
    first_norm: float
    second_norm: float
    difference_norm: float
    cosine: float | None
    spectral_norm: float | None
    changed_share: float | None

    @property
    def relative_norm(self) -> float | None:
        return self.difference_norm / self.first_norm if self.first_norm else None


class Comparison(Frozen):
    """Two versions side by side. `weights_note` says how weights were compared, or why they were not."""

    first: str
    second: str
    facts: tuple[Fact, ...]
    modules: tuple[ModuleDifference, ...]
    weights_note: str

    @property
    def relative_norm(self) -> float | None:
        """‖second − first‖ / ‖first‖ over all compared modules."""
        before = math.hypot(*(one.first_norm for one in self.modules))
        return math.hypot(*(one.difference_norm for one in self.modules)) / before if before else None

    def to_json(self) -> dict[str, Any]:
        modules = [one.model_dump(mode="json") | {"relative_norm": one.relative_norm} for one in self.modules]
        return self.model_dump(mode="json") | {"modules": modules, "relative_norm": self.relative_norm}

    def lines(self) -> Iterator[str]:
        """For people: what differs, section by section."""
        yield f"{self.first} and {self.second}"
        for fact in self.facts:
            yield f"{fact.section:<14} {fact.name}: {_text(fact.first)} | {_text(fact.second)}"
        if not self.facts:
            yield "configuration, data and evaluations are the same"
        changed = [one for one in self.modules if one.difference_norm]
        yield f"{'weights':<14} {self.weights_note}"
        if self.modules:
            norm = "" if self.relative_norm is None else f", relative norm {self.relative_norm:.4g}"
            yield f"{'weights':<14} {len(changed)} of {len(self.modules)} differ{norm}"
        for one in changed:
            relative = "new" if one.relative_norm is None else f"{one.relative_norm:.4g}"
            cosine = "" if one.cosine is None else f"  cosine {one.cosine:.6f}"
            spectral = "" if one.spectral_norm is None else f"  spectral {one.spectral_norm:.4g}"
            yield f"{'':<14} {one.name}  relative norm {relative}{cosine}{spectral}"


def compare_versions(registry: Registry, first: str, second: str, *, observe: Observe = ignore) -> Comparison:
    """What is different between the versions that two references mean.

    Raises:
        MalformedReference, NotFound: as `version_named`.
        BaseBytesMissing: the bytes of one are not on this machine.
    """
    versions = version_named(registry, first), version_named(registry, second)
    records = records_of(registry, versions[0]), records_of(registry, versions[1])
    facts = (
        *_different("identity", _identity(versions[0]), _identity(versions[1])),
        *_different("configuration", _configuration(records[0]), _configuration(records[1])),
        *_different("data", _data(records[0]), _data(records[1])),
        *_different("evaluation", _evaluations(records[0]), _evaluations(records[1])),
    )
    with tempfile.TemporaryDirectory(prefix="registry-diff-") as scratch:
        folders = tuple(base_folder(registry, version, Path(scratch) / str(at)) for at, version in enumerate(versions))
        modules, note = _weights(versions, folders, observe)
    return Comparison(
        first=versions[0].label, second=versions[1].label, facts=facts, modules=modules, weights_note=note
    )


def _identity(version: Version) -> dict[str, Any]:
    return {
        "kind": version.kind,
        "method": version.method,
        "base": None if version.base_weights is None else str(version.base_weights),
    }


def _configuration(records: Records) -> dict[str, Any]:
    found = dict(_flat(records.run.config)) if records.run is not None else {}
    if records.merge is not None:
        merge = records.merge
        found |= {"algorithm": merge.algorithm, "base_policy": merge.base_policy, "dtype": merge.dtype}
        found |= {f"weight of {one.label}": one.weight for one in merge.ingredients}
    return {key: value for key, value in found.items() if key != "name"}


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _data(records: Records) -> dict[str, Any]:
    return {one.name: str(one.sha256) for one in records.manifest.data}


def _evaluations(records: Records) -> dict[str, Any]:
    if records.evaluation is None:
        return {}
    return {
        f"{one.dataset} {one.metric} {one.arm}": one.value for one in records.evaluation.results if one.category is None
    }


def _different(section: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Fact]:
    for name in [*first, *(key for key in second if key not in first)]:
        if first.get(name) != second.get(name):
            yield Fact(section=section, name=name, first=first.get(name), second=second.get(name))


# --- weights ---


def _weights(
    versions: tuple[Version, ...], folders: tuple[Path, ...], observe: Observe
) -> tuple[tuple[ModuleDifference, ...], str]:
    kinds = [version.layout for version in versions]
    if kinds == ["model", "model"]:
        return tuple(_of_models(folders, observe)), "tensor by tensor"
    if kinds != ["peft", "peft"]:
        return (), f"not compared: one is {kinds[0]}, the other {kinds[1]}"
    adapters = tuple(read_adapter(folder) for folder in folders)
    if any(one.peft_type != "LORA" or not _is_plain(one) for one in adapters):
        return (), "not compared: only what plain low-rank adapters add is compared"
    if versions[0].base_weights != versions[1].base_weights:
        return tuple(_of_adapters(adapters)), "what each adds to a module, s·B·A; they stand on different bases"
    return tuple(_of_adapters(adapters)), "what each adds to a module, s·B·A"


def _of_models(folders: tuple[Path, ...], observe: Observe) -> Iterator[ModuleDifference]:
    first, second = (_tensors(folder) for folder in folders)
    names = sorted(first.keys() | second.keys())
    observe(Started("compare", total=len(names), unit="tensors"))
    for at, name in enumerate(names, start=1):
        before, after = first.get(name), second.get(name)
        known = [one for one in (before, after) if one is not None]
        if all(one.dtype in DTYPES for one in known) and len({one.shape for one in known}) == 1:
            yield _of_tensors(name, before, after)
        observe(Advanced("compare", at))
    observe(Finished("compare"))


def _tensors(folder: Path) -> dict[str, StoredTensor]:
    return {one.name: one for file in sorted(folder.glob("*.safetensors")) for one in stored_tensors(file)}


def _of_tensors(name: str, before: StoredTensor | None, after: StoredTensor | None) -> ModuleDifference:
    shape = (before or after).shape  # type: ignore[union-attr]  # one of them is there
    w, new = (torch.zeros(shape) if one is None else one.read().float() for one in (before, after))
    difference = new - w
    matrix = difference.reshape(-1, shape[-1]) if len(shape) > 1 else None
    norms = float(w.norm()), float(new.norm())
    changed = int(torch.count_nonzero(difference))
    return ModuleDifference(
        name=name,
        shape=shape,
        first_norm=norms[0],
        second_norm=norms[1],
        difference_norm=float(difference.norm()),
        cosine=float((w * new).sum()) / (norms[0] * norms[1]) if norms[0] and norms[1] else None,
        spectral_norm=spectral_norm(matrix) if matrix is not None and changed else None,
        changed_share=changed / max(w.numel(), 1),
    )


def _is_plain(adapter: Adapter) -> bool:
    return not adapter.config.get("use_dora") and all(name.endswith((_A, _B)) for name in adapter.tensors)


def _of_adapters(adapters: tuple[Adapter, ...]) -> Iterator[ModuleDifference]:
    modules = sorted({name.removesuffix(_A) for one in adapters for name in one.tensors if name.endswith(_A)})
    for module in modules:
        factors = [_factors(one, module) for one in adapters]
        present = [one for one in factors if one is not None]
        if len({(b.shape[0], a.shape[1]) for b, a in present}) != 1:
            continue
        b, a = present[0]
        empty = (b.new_zeros((b.shape[0], 1)), a.new_zeros((1, a.shape[1])))
        (b1, a1), (b2, a2) = (one or empty for one in factors)
        inner = float((b1.t() @ b2 * (a1 @ a2.t())).sum())  # ⟨B₁A₁, B₂A₂⟩ without forming either
        squares = [max(float((x.t() @ x * (y @ y.t())).sum()), 0.0) for x, y in ((b1, a1), (b2, a2))]
        norms = [math.sqrt(one) for one in squares]
        joined = torch.cat([b2, -b1], dim=1), torch.cat([a2, a1])
        inside = torch.linalg.qr(joined[0])[1] @ torch.linalg.qr(joined[1].t())[1].t()
        yield ModuleDifference(
            name=module,
            shape=(b.shape[0], a.shape[1]),
            first_norm=norms[0],
            second_norm=norms[1],
            difference_norm=float(torch.linalg.matrix_norm(inside)),
            cosine=inner / (norms[0] * norms[1]) if norms[0] and norms[1] else None,
            spectral_norm=float(torch.linalg.matrix_norm(inside, ord=2)),
            changed_share=None,
        )


def _factors(adapter: Adapter, module: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """(s·B, A) in fp64; None where the adapter leaves the module alone."""
    if f"{module}{_A}" not in adapter.tensors:
        return None
    a, b = adapter.tensors[f"{module}{_A}"].read().double(), adapter.tensors[f"{module}{_B}"].read().double()
    return b * adapter.scale(module), a


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
