"""Whether what is offered for import is near to a result that is registered, of which it may have been made."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX
from peft_registry.registry.identity.weights import Tensor, hash_weights
from peft_registry.registry.imports.fit import place_in_base
from peft_registry.registry.imports.near_results import agreement_of
from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.imports.sketches import (
    BaseOfAdapter,
    Sketch,
    is_sketched,
    sketch_of_adapter,
    sketch_of_model,
)
from peft_registry.registry.imports.stated_settings import adapted_modules
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.registry.records.stops import stops_among
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.like_results import (
    RESULTS_LOOKED_AT,
    Comparable,
    RecalledInOtherNumbers,
    base_of_offered,
    comparable_results,
    like_results,
    probes_of,
    results_with,
    tensors_of,
    unknown_of,
)
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing, WrongBase, checked_folder
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.errors import Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import Finding
from peft_registry.schemas.version import Version

_EQUAL_IMPORTS_NAMED = 3
_RESULTS_READ = 50  # of those that may be used and have tensors of the same names and shapes


class ChangedResultAsImport(Taken):
    what = "{folder} is not imported: it is {label} in other numbers"
    why = "that was made here, and its records say of which data: {figures}; as an import it would have none of them"
    fix = "use {label}; what changes it is registered by `registry train` with continue_from, or by `registry merge`"

    folder: str
    label: str
    figures: str


def near_results(
    registry: Registry,
    offered: OfferedFolder,
    tensors: Sequence[Tensor],
    scratch: Path,
    *,
    config: PeftConfig | None,
    base: Version,
    name: str,
) -> tuple[Finding, ...]:
    """Which registered results the weights are, or are near to, of which they may have been made.

    What they do to a base is compared with what every result does to it; where that says nothing, the numbers are, with those of
    results of equal names and shapes.

    Args:
        registry: open.
        offered: the folder.
        tensors: of its weights.
        scratch: a folder for bytes of registered versions.
        config: of an adapter; None for a whole model.
        base: that it is of, or was made from.
        name: under which it is to be registered.

    Raises:
        RecalledInOtherNumbers: they are a result that must not be used, in other numbers, or were added up from such.
        ChangedResultAsImport: they are a result that was made here, in other numbers.
    """
    files = [offered.model_folder / file.path for file in offered.model_files if file.path.endswith(WEIGHTS_SUFFIX)]
    _, digest = hash_weights(files, family="intake", cache=registry.cache)
    results = comparable_results(registry)
    probes = probes_of(registry)
    findings: list[Finding | None] = []
    by_tensors_alone = config is not None and not is_sketched(config.method)
    if config is None:
        sketch = sketch_of_model(files, probes)
    else:
        of_base = base_of_offered(registry, base, scratch, probes)
        sketch = sketch_of_adapter(files[0], config, probes, of_base)
        findings += _not_sketched(registry, config, tensors, of_base, results)
    if sketch is not None:
        findings += _like_results(registry, offered.name, sketch, scratch, results=results, but=(name, digest))
    told = {finding.place for finding in findings if finding is not None and finding.kind == "near-result"}
    shapes = {tensor.name: tensor.shape for tensor in tensors}
    kind = "model" if config is None else "adapter"
    read = looked_at = left_out = 0
    for result in results:
        version = result.version
        looked_at += not result.is_recalled
        is_always_read = result.is_recalled and by_tensors_alone
        if version.kind != kind or version.weights_digest == digest or version.label in told:
            continue
        if {tensor.name: tensor.shape for tensor in tensors_of(registry, version)} != shapes:
            continue
        if not is_always_read and read >= _RESULTS_READ:
            left_out += 1
            continue
        read += not is_always_read
        findings.append(
            _near_result(
                registry,
                version,
                scratch,
                folder=offered.name,
                base=base if config is None else None,
                offered=(tuple(files), digest),
                is_recalled=result.is_recalled,
            )
        )
    if left_out or looked_at >= RESULTS_LOOKED_AT:
        text = f"it was held against the newest registered results alone, {read} of its shape"
        findings.append(Finding(kind="results-not-compared", text=text))
    near = (finding for finding in findings if finding is not None)
    return (*_equal_imports(registry, digest, name), *near)


def _like_results(
    registry: Registry,
    folder: str,
    sketch: Sketch,
    scratch: Path,
    *,
    results: Sequence[Comparable],
    but: tuple[str, Digest],
) -> Iterator[Finding]:
    like = like_results(registry, folder, sketch, results, scratch, but=but)
    for result in like.found:
        if result.version.weights_digest == but[1]:
            continue  # said by itself, or refused where it is registered
        label, figures = result.version.label, result.likeness.figures
        is_same = result.likeness.verdict == "the same"
        if is_same and stored_manifest(registry, result.version.manifest_digest).origin is None:
            raise ChangedResultAsImport(folder, label, figures)
        stands = f"it is {label} in other numbers" if is_same else f"it seems to be derived from {label}"
        stopped = "" if result.recall is None else f"; {label} must not be used: {result.recall}"
        text = f"{stands} ({figures}): if so, its parent and the data of its parent are not in this record{stopped}"
        yield Finding(kind="near-result", text=text, place=label)
    if like.gap is not None:
        yield Finding(kind="results-not-compared", text=like.gap)


def _not_sketched(
    registry: Registry,
    config: PeftConfig,
    tensors: Sequence[Tensor],
    base: BaseOfAdapter,
    results: Sequence[Comparable],
) -> Iterator[Finding]:
    """That recalled results change what an adapter changes in a way that cannot be known here."""
    method = config.method
    reasons = {}
    if not is_sketched(method) and method.no_weight is None:
        why = f"it is of the type {method.title}, whose tensors do not say that by themselves"
        reasons[why] = [f"{module}.weight" for module in adapted_modules(config, tensors)]
    whole = [place_in_base(tensor.name) for tensor in tensors if method.tensor(tensor.name) is None]
    if whole and base.sketch() is None:
        reasons["it holds modules of its base whole, and the bytes of the base are not here"] = whole
    for why, weights in reasons.items():
        recalled = [result.version.label for result in results_with(registry, results, weights) if result.is_recalled]
        if recalled:
            yield Finding(kind="results-not-compared", text=unknown_of(recalled, why))


def _equal_imports(registry: Registry, weights: Digest, name: str) -> Iterator[Finding]:
    """That the weights came in before, under another name; what was made here is refused where it is registered.

    That they came in under this very name the command says by itself.
    """
    with registry.database.read() as tx:
        versions = catalog.versions_with_weights(tx, weights)
    equal = [
        f"{version.label} ({version.manifest_digest})"
        for version in versions
        if version.name != name and stored_manifest(registry, version.manifest_digest).origin == "imported"
    ]
    if equal:
        more = f" and {len(equal) - _EQUAL_IMPORTS_NAMED} more" if len(equal) > _EQUAL_IMPORTS_NAMED else ""
        named = ", ".join(equal[:_EQUAL_IMPORTS_NAMED])
        text = (
            f"its weights were imported before, as {named}{more}: what was answered about that is not said of this one"
        )
        yield Finding(kind="equal-import", text=text)


def _near_result(
    registry: Registry,
    version: Version,
    scratch: Path,
    *,
    folder: str,
    base: Version | None,
    offered: tuple[tuple[Path, ...], Digest],
    is_recalled: bool,
) -> Finding | None:
    try:
        result = _weights_of(registry, version, scratch)
        of_base = None if base is None else _weights_of(registry, base, scratch)
    except (BaseBytesMissing, WrongBase):
        return None  # nothing is known of it, and that it is near least of all
    files, digest = offered
    agreement = agreement_of(files, result, seed=digest, base=of_base)
    if agreement is None or agreement.verdict == "neither":
        return None
    figures = (
        f"{agreement.equal_share:.1%} of their numbers agree to 8 bits, the sine of their angle is {agreement.sine:.2g}"
    )
    label = version.label
    recall = _recall_of(registry, version) if is_recalled else None
    made_here = stored_manifest(registry, version.manifest_digest).origin is None
    if agreement.verdict == "the same" and recall is not None:
        raise RecalledInOtherNumbers(folder, label, f"{label} in other numbers", figures, recall)
    if agreement.verdict == "the same" and made_here:
        raise ChangedResultAsImport(folder, label, figures)
    text = (
        f"its weights are {agreement.verdict if agreement.verdict == 'near' else 'nearly'} those of {label} ({figures}): "
        "if it was made from that, its parent and the data of its parent are not in this record"
        f"{'' if recall is None else f'; {label} must not be used: {recall}'}"
    )
    return Finding(kind="near-result", text=text)


def _recall_of(registry: Registry, version: Version) -> str | None:
    manifest = version.manifest_digest
    return next(iter(stops_among(registry, RECALL, {manifest: version.label}, at_most=1)[manifest]), None)


def _weights_of(registry: Registry, version: Version, scratch: Path) -> list[Path]:
    """The weights of a registered version on this machine, checked."""
    checked = checked_folder(
        registry, version, scratch / "registered", only=lambda entry: entry.path.endswith(WEIGHTS_SUFFIX)
    )
    return [path.resolve() for path in sorted(checked.folder.rglob(f"*{WEIGHTS_SUFFIX}"))]
