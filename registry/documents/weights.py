"""What the weights of a folder give again: the norm of a change, how many values changed, every tensor of a merge. Needs numpy.

It takes as much memory as the largest tensor a few times over in fp64.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.documents.reperformed import NO_FIGURE, Outcome, Reperformed
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.verification.merge_definitions import MergedPart
from peft_registry.registry.verification.merged_again import (
    NORM_TOLERANCE,
    ArtifactTensors,
    LowRankAdapter,
    ModelChange,
    NotDoneAgain,
    merge_again,
    model_change_again,
    relative_norm_again,
)
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FILE_NAME
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.values import Value

_MANIFEST_BYTES = 64 << 20
NORM = "relative norm of the change"


def weights_again(
    shown: PresentedVersion, sources: Mapping[Digest, Path], *, folder: Path, place: str
) -> Iterator[Reperformed]:
    """What the weights give with those of the base: the norm of a change, how many values changed, every tensor of a merge.

    Args:
        shown: the version.
        sources: where what it was made from lies here, by manifest.
        folder: of its artifact.
        place: the same as an audit names it.
    """
    if not shown.records.history:
        return
    weights = _Weights(shown, sources, folder)
    change = in_third_form(shown.records.history[-1].record).change
    merge = weights.merge
    if merge is not None:
        yield _line("merge", partial(_merge, weights, merge), place)
    if shown.manifest.kind == "adapter":
        yield _line(NORM, partial(_norm_of_adapter, weights, change.rel_norm_global), place)
        return
    yield _line(NORM, partial(_norm_of_model, weights, change.rel_norm_global), place)
    yield _line("values that changed", partial(_values_changed, weights, change.params_changed), place)


@dataclass(frozen=True)
class _Weights:
    """The weights of a version, and those that it was made from as far as they are here."""

    shown: PresentedVersion
    sources: Mapping[Digest, Path]
    folder: Path

    @property
    def merge(self) -> MergeRecord | None:
        """The merge that wrote whole weights."""
        merge = self.shown.records.merge
        return merge if merge is not None and merge.has_folded else None

    @cached_property
    def result(self) -> ArtifactTensors:
        return ArtifactTensors(self.folder, self.shown.manifest)

    @cached_property
    def base(self) -> ArtifactTensors:
        """Raises NotDoneAgain where it is not here."""
        if self.merge is not None:
            return _tensors(self.sources, self.merge.base.manifest)
        base = self.shown.manifest.base
        return _tensors(self.sources, None if base is None else base.manifest)

    @cached_property
    def change(self) -> ModelChange:
        """Of a whole model."""
        return model_change_again(self.result, self.base)


def _line(figure: str, again: Callable[[], tuple[Outcome, str]], place: str) -> Reperformed:
    """A figure, or why it cannot be done again."""
    try:
        outcome, text = again()
    except NotDoneAgain as error:
        outcome, text = "not possible", error.why
    return Reperformed(figure=figure, outcome=outcome, text=text, file=place)


def _norm_of_adapter(weights: _Weights, recorded: Value) -> tuple[Outcome, str]:
    if recorded.number is None:
        return "not possible", NO_FIGURE
    again = relative_norm_again(LowRankAdapter(weights.result), weights.base)
    return _norm(again, recorded.number, f"‖s·B·A‖ / ‖W‖ over {len(weights.base.spans)} tensors")


def _norm_of_model(weights: _Weights, recorded: Value) -> tuple[Outcome, str]:
    if recorded.number is None:
        return "not possible", NO_FIGURE
    again = weights.change.relative_norm
    return _norm(again, recorded.number, f"‖W' - W‖ / ‖W‖ over {len(weights.base.spans)} tensors")


def _norm(again: float, recorded: float, formula: str) -> tuple[Outcome, str]:
    if math.isclose(again, recorded, rel_tol=NORM_TOLERANCE):
        text = f"{formula} = {again:.6g}, to {NORM_TOLERANCE:g} of it: the recorded one adds up in fp32"
        return "within tolerance", text
    return "differs", f"{formula} = {again:.6g}, recorded is {recorded:.6g}"


def _values_changed(weights: _Weights, recorded: Value) -> tuple[Outcome, str]:
    if recorded.number is None:
        return "not possible", NO_FIGURE
    again = weights.change.values
    if again == recorded.number:
        return "reproduced", f"{again} values are others than the base's"
    return "differs", f"{again} values are others than the base's, recorded is {recorded.number:.0f}"


def _merge(weights: _Weights, merge: MergeRecord) -> tuple[Outcome, str]:
    parts = []
    for ingredient in merge.ingredients:
        tensors = _tensors(weights.sources, ingredient.manifest)
        part = MergedPart(tensors.folder, ingredient.weights_digest.hex, ingredient.weight, ingredient.density)
        parts.append((part, LowRankAdapter(tensors)))
    again = merge_again(weights.result, weights.base, parts, merge)
    if again.wrong:
        return "differs", f"{len(again.wrong)} of {again.tensors} tensors: {'; '.join(again.wrong[:3])}"
    left_out = f", {again.undecided} left out whose choice hangs on the last bits" if again.undecided else ""
    text = (
        f"{merge.algorithm} of {len(parts)}: all {again.tensors} tensors, {again.changed} of them changed, {again.entries} entries "
        f"compared in fp64{left_out}; within the rounding of {merge.dtype}"
    )
    return "within tolerance", text


def _tensors(sources: Mapping[Digest, Path], manifest: Digest | None) -> ArtifactTensors:
    """The tensors of a source that is here with its weights.

    Raises:
        NotDoneAgain: it is not.
    """
    folder = None if manifest is None else sources.get(manifest)
    if folder is None or manifest is None:
        short = "the base" if manifest is None else manifest.short
        raise NotDoneAgain(f"{short} is not here: `registry report --to RECIPIENT --with-base` hands it over")
    return ArtifactTensors(folder, read_manifest(read_file(folder / FILE_NAME, max_bytes=_MANIFEST_BYTES)))
