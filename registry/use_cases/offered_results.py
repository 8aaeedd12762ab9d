"""Refusing a result of a registry that is offered as a base, or as an import: as either it would lose what is recorded of it."""

from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import FileMissing, read_file, scratch_folder
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES, listed_tensors, read_manifest
from peft_registry.registry.imports.sketches import sketch_of_model
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.like_results import (
    comparable_results,
    keep_sketch,
    like_results,
    probes_of,
    results_with,
)
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FILE_NAME, Manifest
from peft_registry.schemas.version import Version


class ResultAsBase(InputRefused):
    what = "{name} is not a base"
    why = "{reason}; as a base it would have neither the data nor the terms of what went into it"
    fix = "{remedy}"

    name: str
    reason: str
    remedy: str


class ResultAsImport(Taken):
    what = "{name} is not imported: {label} has the same weights"
    why = (
        "it was made here, as the manifest {manifest}, and its records say how; as an import it would have none of them"
    )
    fix = "use {label} by its reference, as in `registry show {label}`"

    name: str
    label: str
    manifest: Digest


def require_no_result_folder(registry: Registry, folder: Path, name: str) -> None:
    """Raise where a folder lists itself as something else than a base: it was pulled from a registry, this one or another.

    A manifest of another tool, or none, says nothing; the weights decide then.

    Raises:
        ResultAsBase: it is one.
    """
    try:
        data = read_file(folder / FILE_NAME, max_bytes=MANIFEST_MAX_BYTES)
        manifest = read_manifest(data)
    except (FileMissing, InputRefused, IntegrityBroken):
        return
    if manifest.kind == "base":
        return
    with registry.database.read() as tx:
        known = catalog.version_by_digest(tx, Digest.of(data))
    if known:
        raise _registered_result(name, known[0])
    raise ResultAsBase(
        name,
        f"its {FILE_NAME} says that it was pulled from a registry, where it is registered as {manifest.kind}",
        "use it where it is registered, or add the base that it was made from",
    )


def require_no_result_weights(registry: Registry, name: str, weights: Digest) -> None:
    """Raise where the weights of a base are those of a result that is registered here, in whatever files they lie.

    A result that came to the weights of a base which was there before it takes nothing from that base.

    Raises:
        ResultAsBase: they are.
    """
    with registry.database.read() as tx:
        first = next(iter(catalog.versions_with_weights(tx, weights)), None)
    if first is not None and first.kind != "base":
        raise _registered_result(name, first)


def require_not_like_result(registry: Registry, name: str, folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Raise where a base is a result that is registered here, in other numbers; what it is near to comes back, a sentence each.

    Raises:
        RecalledInOtherNumbers: it is one that must not be used, or is added up from such.
        ResultAsBase: it is another one.
    """
    listed = listed_tensors(manifest.weights)
    with registry.database.read() as tx:
        if catalog.versions_with_weights(tx, manifest.weights_digest):
            return ()  # a base that is there is that, whatever came of it; a result is refused where it is registered
    results = tuple(results_with(registry, comparable_results(registry), (tensor.name for tensor in listed)))
    if not results:
        return ()
    sketch = sketch_of_model([folder / file.path for file in manifest.weights], probes_of(registry))
    if sketch is None:
        return ()
    with scratch_folder("registry-base-") as scratch:
        like = like_results(registry, name, sketch, results, scratch)
    for result in like.found:
        if result.likeness.verdict == "the same":
            raise _registered_result(name, result.version, f"in other numbers ({result.likeness.figures}), ")
    keep_sketch(registry, manifest.canonical_digest(), sketch)
    texts = [
        f"{name} seems to be derived from {result.version.label} ({result.likeness.figures}): as a base it has neither its data "
        "nor its terms; `registry import` registers it with what it was made from"
        f"{'' if result.recall is None else f'. {result.recall}'}"
        for result in like.found
    ]
    if like.gap is not None:
        texts.append(like.gap)
    return tuple(texts)


def require_not_made_here(registry: Registry, name: str, weights: Digest) -> None:
    """Raise where an import has the weights of a result that this registry saw being made, in whatever files they lie.

    Raises:
        ResultAsImport: it has.
    """
    with registry.database.read() as tx:
        versions = catalog.versions_with_weights(tx, weights)
    for version in versions:
        if version.kind != "base" and stored_manifest(registry, version.manifest_digest).origin is None:
            raise ResultAsImport(name, version.label, version.manifest_digest)


def _registered_result(name: str, result: Version, how: str = "") -> ResultAsBase:
    reason = f"it is {result.label}, {how}which is registered here as {result.kind} with a record of what went into it"
    remedy = (
        f"use {result.label} by its reference, as in `registry evaluate {result.label}`; to train on, name an adapter that went "
        "into it in `continue_from:`"
    )
    return ResultAsBase(name, reason, remedy)
