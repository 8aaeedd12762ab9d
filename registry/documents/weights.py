"""What the weights of a folder give again: the norm of an adapter from its factors, and every tensor of a merge. Needs numpy.

It takes as much memory as the largest tensor a few times over in fp64.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.documents.reperformed import Outcome, Reperformed
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.verification.merge_definitions import MergedPart
from peft_registry.registry.verification.merged_again import (
    NORM_TOLERANCE,
    ArtifactTensors,
    LowRankAdapter,
    NotDoneAgain,
    merge_again,
    relative_norm_again,
)
from peft_registry.registry.verification.presented_records import PresentedVersion
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FILE_NAME
from peft_registry.schemas.merge import MergeRecord

_MANIFEST_BYTES = 64 << 20


def weights_again(
    shown: PresentedVersion, sources: Mapping[Digest, Path], *, folder: Path, place: str
) -> Iterator[Reperformed]:
    """What the weights give with those of the base: the norm of an adapter from its factors, and every tensor of a merge.

    Args:
        shown: the version.
        sources: where what it was made from lies here, by manifest.
        folder: of its artifact.
        place: the same as an audit names it.
    """
    if not shown.records.history:
        return
    merge = shown.records.merge
    figure = "relative norm of the change"
    try:
        if merge is not None and merge.has_folded:
            figure = "merge"
            outcome, text = _merge(shown, merge, sources, folder)
        else:
            outcome, text = _norm(shown, sources, folder)
    except NotDoneAgain as error:
        outcome, text = "not possible", error.why
    yield Reperformed(figure=figure, outcome=outcome, text=text, file=place)


def _norm(shown: PresentedVersion, sources: Mapping[Digest, Path], folder: Path) -> tuple[Outcome, str]:
    recorded = in_third_form(shown.records.history[-1].record).change.rel_norm_global.number
    if recorded is None:
        return "not possible", "the record has no such figure, and says why"
    base = shown.manifest.base
    start = _tensors(sources, None if base is None else base.manifest)
    adapter = LowRankAdapter(ArtifactTensors(folder, shown.manifest))
    again = relative_norm_again(adapter, start)
    formula = f"‖s·B·A‖ / ‖W‖ over {len(start.spans)} tensors = {again:.6g}"
    if math.isclose(again, recorded, rel_tol=NORM_TOLERANCE):
        return "within tolerance", f"{formula}, to {NORM_TOLERANCE:g} of it: the recorded one adds up in fp32"
    return "differs", f"{formula}, recorded is {recorded:.6g}"


def _merge(
    shown: PresentedVersion, merge: MergeRecord, sources: Mapping[Digest, Path], folder: Path
) -> tuple[Outcome, str]:
    start = _tensors(sources, merge.base.manifest)
    parts = []
    for ingredient in merge.ingredients:
        tensors = _tensors(sources, ingredient.manifest)
        part = MergedPart(tensors.folder, ingredient.weights_digest.hex, ingredient.weight, ingredient.density)
        parts.append((part, LowRankAdapter(tensors)))
    result = ArtifactTensors(folder, shown.manifest)
    again = merge_again(result, start, parts, merge)
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
