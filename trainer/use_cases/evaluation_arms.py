"""The arms that a version is evaluated with: which compositions are compared, and their models, loaded for that and gone after.

    a base                  itself alone
    an adapter, a model     the base that it was made from against it
    a result of a merge     likewise, and each parent against it

A base is checked and loaded once for all versions that share it, in the form in which it was trained on. An adapter comes off it
again, so that the next one finds the base's weights untouched.
"""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.evaluation.staleness import base_composition, composition_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import ArmName, Composition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Observe
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.base import CheckedBase, checked_base
from peft_registry.trainer.inputs.evaluation import EvaluationSetup

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.arms import Arms
    from peft_registry.trainer.machine.environment import Hardware


class NotEvaluable(InputRefused):
    what = "{label} cannot be evaluated here"
    why = "{reason}"
    fix = "register its base first: registry base add …"

    label: str
    reason: str


@dataclass(frozen=True, eq=False)
class LoadedBase:
    """A base whose bytes were checked, and what was loaded from them."""

    checked: CheckedBase
    model: Any  # transformers' or peft's model
    tokenizer: Any  # of transformers
    hardware: "Hardware"


@dataclass(eq=False)
class ArmLoader:
    """Loads the arms of any number of versions, and keeps the bases that they share.

    Attributes:
        scratch: a folder for verified copies; the caller removes it.
        with_placebo: whether an adapter is also scored with its own weights turned at random.
        bases: those that were loaded, by manifest and by the form in which they are held.
    """

    registry: Registry
    setup: EvaluationSetup
    scratch: Path
    with_placebo: bool
    observe: Observe
    bases: dict[tuple[Digest, str | None], LoadedBase] = field(default_factory=dict)

    def base_of(self, version: Version, manifest: Manifest) -> LoadedBase:
        """The base of a version, or the version itself where it is one.

        Raises:
            NotEvaluable: it was made from a base that is not registered, or nothing says how that was quantized.
            IntegrityBroken: the bytes of the base are not those that were registered.
        """
        from peft_registry.trainer.bases.loading import held_dtype, load_base
        from peft_registry.trainer.machine.environment import choose_hardware

        needed = None if manifest.base is None else manifest.base.manifest
        reference = version.manifest_digest if manifest.kind == "base" else needed
        if reference is None:
            raise NotEvaluable(version.label, "its manifest names no base that is registered")
        quantisation = manifest.base.quantisation if manifest.base else None
        key = (reference, quantisation)
        if key not in self.bases:
            named = version_named(self.registry, str(reference))
            scratch = self.scratch / f"base-{len(self.bases)}"
            checked = checked_base(self.registry, named, scratch, self.observe)
            hardware = choose_hardware("auto")
            block = _quantization_of(self.registry, version) if quantisation else None
            # what quantizing starts from decides its result, and stays fp32; any other base takes no more room than its files do
            dtype = "fp32" if block is not None else held_dtype(checked.folder)
            model, tokenizer = load_base(checked.folder, dtype=dtype, device=hardware.device, quantization=block)
            checked.require_unchanged()
            self.bases[key] = LoadedBase(checked, model, tokenizer, hardware)
        return self.bases[key]

    def arms_of(
        self, version: Version, manifest: Manifest, base: LoadedBase
    ) -> "Iterator[AbstractContextManager[Arms]]":
        """Context managers that give the arms of each comparison; models are loaded inside and gone afterwards."""
        identity = base.checked.record.identity
        alone = base_composition(identity, manifest.base.quantisation if manifest.base else None)
        before: ArmName = "base" if alone.quantisation is None else "base_quantised"
        if manifest.kind == "base":
            yield self._given(base, model=base.model, before=alone, after=None)
            return
        after = composition_of(manifest, identity)
        parents = [parent for parent in manifest.parents if parent.role in ("adapter", "model")]
        name: ArmName = "merged" if parents else "adapted"
        yield self._beside_base(version, manifest, base, before=(before, alone), after=(name, after))
        for parent in parents:
            yield self._beside_parent(version, manifest, base, parent.manifest, after=after)

    @contextmanager
    def _beside_base(
        self,
        version: Version,
        manifest: Manifest,
        base: LoadedBase,
        *,
        before: tuple[ArmName, Composition],
        after: tuple[ArmName, Composition],
    ) -> "Iterator[Arms]":
        """Base against an artifact made from it."""
        from peft_registry.trainer.merge.bundle import holds_model

        with self._loaded(version, manifest, base) as model:
            whole = holds_model(manifest)
            names = {"before_name": before[0], "after_name": after[0]}
            with self._given(
                base,
                model=model,
                before=before[1],
                after=after[1],
                base_model=base.model if whole else None,
                with_placebo=self.with_placebo and not whole,  # of a bundle it would turn only a part
                **names,
            ) as arms:
                yield arms

    @contextmanager
    def _beside_parent(
        self, version: Version, manifest: Manifest, base: LoadedBase, parent: Digest, *, after: Composition
    ) -> "Iterator[Arms]":
        """A parent against what was merged from it."""
        from peft_registry.trainer.merge.bundle import holds_model

        made_from = version_named(self.registry, str(parent))
        parent_manifest = stored_manifest(self.registry, parent)
        parent_base = self.base_of(made_from, parent_manifest)  # in 4 bits, where the parent was trained on that
        if parent_base is base and not holds_model(manifest):
            # two adapters on one model object would both act
            parent_base = replace(base, model=self._loaded_again(made_from, parent_manifest, base))
        composition = composition_of(parent_manifest, base.checked.record.identity)
        with (
            self._loaded(version, manifest, base) as merged,
            self._loaded(made_from, parent_manifest, parent_base) as model,
            self._given(
                base,
                model=merged,
                before=composition,
                after=after,
                base_model=model,
                before_name="parent",
                after_name="merged",
            ) as arms,
        ):
            yield arms

    def _loaded_again(self, version: Version, manifest: Manifest, base: LoadedBase) -> Any:
        """Another model object of a base, in the form in which a version was trained on it."""
        from peft_registry.trainer.bases.loading import held_dtype, load_base

        quantised = manifest.base is not None and manifest.base.quantisation is not None
        block = _quantization_of(self.registry, version) if quantised else None
        dtype = "fp32" if quantised else held_dtype(base.checked.folder)
        gc.collect()  # as for a whole model
        return load_base(base.checked.folder, dtype=dtype, device=base.hardware.device, quantization=block)[0]

    @contextmanager
    def _loaded(self, version: Version, manifest: Manifest, base: LoadedBase) -> Iterator[Any]:
        """The model of an artifact, from a verified copy; the base's own weights are untouched afterwards."""
        from peft_registry.trainer.merge.bundle import holds_model, load_artifact

        if holds_model(manifest):
            gc.collect()  # what was evaluated before goes first: two whole models at once may not fit
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            folder = Path(place) / "pulled"
            pull_version(self.registry, version, folder, for_use=False)
            model = load_artifact(manifest, base.model, folder)
            try:
                yield model
            finally:
                _detach(model)

    @contextmanager
    def _given(
        self, base: LoadedBase, *, model: Any, before: Composition, after: Composition | None, **more: Any
    ) -> "Iterator[Arms]":
        from peft_registry.trainer.evaluation.arms import Arms

        yield Arms(
            model=model,
            tokenizer=base.tokenizer,
            base=before,
            after=after,
            keep=self.setup.score_keeper(base.hardware.device),
            **({"with_placebo": self.with_placebo} | more),
        )


def _quantization_of(registry: Registry, version: Version) -> QuantizationBlock:
    """How the run quantized the base, from its record."""
    run = records_of(registry, version).run
    block = None if run is None else run.config.get("quantization")
    if block is None:
        raise NotEvaluable(version.label, "its base was quantized, and its record does not say how")
    return QuantizationBlock.model_validate(block)


def _detach(model: Any) -> None:  # a model of peft_registry.trainer.methods
    """Take the adapter off the base that it was put on, so that the next one finds the base as it was."""
    from peft_registry.trainer.methods.peft_io import unloaded

    config = getattr(model, "active_peft_config", None)
    if config is not None and not config.is_prompt_learning:
        unloaded(model)
