"""A registered version as a model in memory: its bytes verified, its base checked first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.manifest import FILE_NAME, Manifest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.base import CheckedBase, base_named, checked_base

if TYPE_CHECKING:
    from peft_registry.schemas.config import QuantizationBlock

LoadedDtype = Literal["bf16", "fp32"]


class NoBaseKnown(InputRefused):
    what = "the base of {label} is not registered here"
    why = "it is loaded together with its base, and that is not in this registry"
    fix = "add the base with `registry base add`"

    label: str


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A version's model and tokenizer, and the version of its base; None for a base itself."""

    model: Any
    tokenizer: Any
    base: Version | None


def load_version(
    registry: Registry,
    version: Version,
    scratch: Path,
    *,
    dtype: LoadedDtype = "fp32",
    device: str = "cpu",
    observe: Observe = ignore,
) -> LoadedVersion:
    """Load a version from bytes that were checked a moment ago, in evaluation mode.

    Args:
        registry: where it is.
        version: a base, an adapter on its base, or a whole model, which keeps the number format that it was saved in.
        scratch: a folder with room for its files; nothing in it is needed afterwards.
        dtype: of the base's weights.
        device: where the model runs, such as `cuda:0`.
        observe: hears of the base's check.

    Raises:
        NoBaseKnown: an adapter's base is not registered.
        VersionStopped: it, or something that it was made from, is recalled.
        PullRefused, PullUnverified: the version does not verify.
        IntegrityBroken: the base's bytes are not those that were registered.
        BaseNotLoadable, BaseWeightsIncomplete: the libraries cannot load it.
    """
    require_not_stopped(registry, "load", version)
    loaded = _loaded(registry, version, scratch, dtype=dtype, device=device, observe=observe)
    # again: the base of a large model takes minutes to hash, in which somebody may recall it
    require_not_stopped(registry, "load", version)
    return loaded


def _loaded(
    registry: Registry, version: Version, scratch: Path, *, dtype: LoadedDtype, device: str, observe: Observe
) -> LoadedVersion:
    if version.kind == "base":
        base = checked_base(registry, version, scratch, observe)
        model, tokenizer = _load_base(base, dtype, device)
        return LoadedVersion(model, tokenizer, None)
    folder = scratch / "pulled"
    pull_version(registry, version, folder)
    manifest = read_manifest((folder / FILE_NAME).read_bytes())
    base = _base_of(registry, version, manifest, scratch, observe)
    if manifest.layout == "model":
        from peft_registry.trainer.bases.loading import load_tokenizer
        from peft_registry.trainer.methods import full

        model = full.load(None, folder).to(device)
        tokenizer = load_tokenizer(base.folder)
        base.require_unchanged()
        return LoadedVersion(model, tokenizer, base.version)
    from peft_registry.trainer.bases.quantization import described
    from peft_registry.trainer.merge.bundle import load_artifact

    text = manifest.base.quantisation if manifest.base else None
    model, tokenizer = _load_base(base, dtype, device, None if text is None else described(text))
    return LoadedVersion(load_artifact(manifest, model, folder), tokenizer, base.version)


def load_tokenizer_of(registry: Registry, version: Version, scratch: Path, *, observe: Observe = ignore) -> Any:
    """The tokenizer of a version: that of its base.

    Raises:
        VersionStopped: it, or something that it was made from, is recalled: a tokenizer may be why.
        NoBaseKnown, IntegrityBroken, BaseNotLoadable: as `load_version`.
    """
    from peft_registry.registry.records.stored_manifests import stored_manifest
    from peft_registry.trainer.bases.loading import load_tokenizer

    require_not_stopped(registry, "load", version)
    if version.kind == "base":
        base = checked_base(registry, version, scratch, observe)
    else:
        base = _base_of(registry, version, stored_manifest(registry, version.manifest_digest), scratch, observe)
    tokenizer = load_tokenizer(base.folder)
    base.require_unchanged()
    return tokenizer


def _base_of(registry: Registry, version: Version, manifest: Manifest, scratch: Path, observe: Observe) -> CheckedBase:
    if manifest.base is None or manifest.base.manifest is None:
        raise NoBaseKnown(version.label)
    return checked_base(registry, base_named(registry, str(manifest.base.manifest)), scratch, observe)


def _load_base(
    base: CheckedBase, dtype: LoadedDtype, device: str, quantization: "QuantizationBlock | None" = None
) -> tuple[Any, Any]:
    from peft_registry.trainer.bases.loading import load_base

    model, tokenizer = load_base(base.folder, dtype=dtype, device=device, quantization=quantization)
    base.require_unchanged()
    return model, tokenizer
