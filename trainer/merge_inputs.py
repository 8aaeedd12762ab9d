"""What goes into a merge: adapters and base, found, verified and checked against each other, and the plan that follows.

Refused before anything is written: what is no adapter, the same adapter twice, adapters of different bases, a base that is not
theirs or whose bytes changed, an adapter that does not verify, and a merge in 4 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.bases import BaseBytesMissing
from registry.compliance.modification import BaseInput
from registry.database import catalog
from registry.home import Registry
from registry.lineage import ancestors_of
from registry.pull import pull_version, version_named
from registry.records import Records, records_of
from schemas.base_model import BaseRecord
from schemas.errors import InputRefused, IntegrityBroken
from schemas.identity import Digest, check_name
from schemas.manifest import BaseReference
from schemas.merge import BasePolicy, MergeIngredient
from schemas.progress import Observe, Said, ignore
from schemas.values import Value, derived, unknown
from schemas.version import Version
from trainer.checked_base import CheckedBase, checked_base
from trainer.quantization import Quantisation

if TYPE_CHECKING:
    from trainer.merge.plan import MergePlan

# what --dtype may say, as safetensors names it; without it each tensor keeps its own
FACTOR_ALGORITHMS = ("concatenate", "svd")  # the result stays an adapter
FORMATS = {"bf16": "BF16", "fp32": "F32"}


class NotAnAdapter(InputRefused):
    reference = "not-an-adapter"

    def __init__(self, label: str, kind: str) -> None:
        super().__init__(
            what=f"{label} is no adapter",
            why=f"it is registered as {kind}; a merge folds adapters into the base that they were trained on",
            fix="name adapters; `registry list --kind adapter` shows them",
        )


class AlreadyFoldedIn(IntegrityBroken):
    reference = "already-folded-in"

    def __init__(self, adapter: str, where: str) -> None:
        super().__init__(
            what=f"{adapter} is folded in already",
            why=f"{where}: a second time it would change the weights twice",
            fix="merge it once, into the base that it was trained on",
        )


class OtherBase(IntegrityBroken):
    reference = "other-base"

    def __init__(self, adapter: str, trained_on: Digest, asked: str, found: Digest) -> None:
        super().__init__(
            what=f"{adapter} was not trained on {asked}",
            why=f"its base has the weights {trained_on}, and {asked} has {found}",
            fix="merge adapters of one base, into that base; equal shapes do not make it the same",
        )


class FourBitMergeRefused(InputRefused):
    reference = "four-bit-merge-refused"

    def __init__(self) -> None:
        super().__init__(
            what="nothing is merged in 4 bits",
            why="quantised weights lie on a coarse grid, and a small change rounds back to where it was: the adapter is lost",
            fix="merge to bf16 (--dtype bf16), with --base-policy dequantised for an adapter trained on a quantised base",
        )


class NothingFolded(InputRefused):
    reference = "nothing-folded"

    def __init__(self, why: str) -> None:
        super().__init__(
            what="there is no plan of tensors to show",
            why=why,
            fix="run it without --plan; with --check nothing is registered",
        )


class WeightsDoNotFit(InputRefused):
    reference = "merge-weights-refused"

    def __init__(self, why: str) -> None:
        super().__init__(
            what="these numbers cannot be used",
            why=why,
            fix="give one number for each adapter, in their order, such as --weights 0.7,0.3",
        )


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """What is asked. `weights` and `densities` follow `references`; empty for equal parts, and for everything kept."""

    references: tuple[str, ...]
    name: str | None = None
    base: str | None = None
    algorithm: str = "linear"
    weights: tuple[float, ...] = ()
    densities: tuple[float, ...] = ()
    rank: int | None = None
    seed: int = 0
    dtype: str | None = None
    base_policy: BasePolicy | None = None
    compare_bases: bool = False
    accept_distance: str | None = None
    evaluate: bool = False
    facts: Path | None = None


@dataclass(frozen=True)
class Folded:
    """One adapter of the request, verified: version, records, and a private copy of its files."""

    version: Version
    records: Records
    folder: Path
    weight: float
    density: float

    @property
    def quantisation(self) -> str | None:
        return self.records.manifest.base.quantisation if self.records.manifest.base else None


@dataclass(frozen=True)
class Prepared:
    """A merge whose ingredients are checked and whose plan is made; nothing is written yet."""

    request: MergeRequest
    name: str
    adapters: tuple[Folded, ...]
    base: CheckedBase
    policy: BasePolicy
    plan: "MergePlan | None"  # None where nothing is folded: the result is an adapter or a bundle
    licence_flags: Value
    why_bundled: str | None = None

    def require_plan(self) -> "MergePlan":
        """The plan of folding.

        Raises:
            NothingFolded: the result is an adapter or a bundle.
        """
        if self.plan is None:
            raise NothingFolded(self.why_bundled or f"{self.request.algorithm} makes one adapter of several")
        return self.plan

    @property
    def seed(self) -> int | None:
        """Of the random choice; None where nothing is random."""
        return self.plan.seed if self.plan is not None and self.plan.is_random else None

    @property
    def base_input(self) -> BaseInput:
        """The base as the modification record describes it."""
        version = self.base.version
        return BaseInput(
            name=version.name,
            record=self.base.record,
            number=version.number,
            manifest=version.manifest_digest,
            files=tuple(self.base.found.files),
            added_at=version.registered_at,
        )

    @property
    def base_reference(self) -> BaseReference:
        """The base as the result's manifest names it; an adapter or a bundle still stands on it as the adapters did."""
        how = self.quantisation if self.plan is None else None
        return BaseReference(
            identity=self.base.record.identity,
            manifest=self.base.version.manifest_digest,
            quantisation=None if how is None else how.settings,
        )

    @property
    def quantisation(self) -> Quantisation | None:
        """How the base was quantised while the adapters were trained, if it was for any."""
        return quantisation_of(self.adapters)


def plan_merge(registry: Registry, request: MergeRequest, folder: Path, *, observe: Observe = ignore) -> Prepared:
    """Verify what goes in, and plan; copies of the adapters go under `folder`.

    Raises:
        NotAnAdapter, AlreadyFoldedIn, OtherBase, WrongBase: what goes in does not go together.
        PullRefused, PullUnverified: an adapter does not verify.
        InputRefused, IntegrityBroken: an adapter that cannot be folded into these weights, see `trainer/merge/fold.py`.
    """
    from trainer.merge.making import why_not_foldable
    from trainer.merge.prepare import plan_of

    if request.dtype is not None and request.dtype not in FORMATS:
        raise FourBitMergeRefused
    versions = tuple(_adapter_named(registry, one) for one in request.references)
    _refuse_twice(versions)
    base_version = _base_of(registry, versions, request.base)
    weights, densities = _parts(request, len(versions))
    base = checked_base(registry, base_version, folder, observe)
    adapters = []
    for at, version in enumerate(versions):
        copy = folder / "adapters" / f"{at:02}"
        pull_version(registry, version, copy, look_for_base=False)
        records = records_of(registry, version)
        adapters.append(Folded(version, records, copy, weights[at], densities[at]))
    for one in adapters:
        part = "" if len(adapters) == 1 else f"  weight {one.weight:g}"
        observe(Said("adapter", f"{one.version.label} {one.version.weights_digest.short}  verified{part}"))
    stays_adapter = request.algorithm in FACTOR_ALGORITHMS
    _check_rank(request, stays_adapter=stays_adapter)
    why = why_not_foldable(adapters)
    quantisation = quantisation_of(adapters)
    policy: BasePolicy = request.base_policy or ("dequantised" if quantisation and not stays_adapter else "original")
    through = quantisation if policy == "dequantised" else None
    return Prepared(
        request=request,
        name=check_name(request.name or f"{versions[0].name}-{'bundle' if why else 'merged'}"),
        adapters=tuple(adapters),
        base=base,
        policy=policy,
        plan=None if stays_adapter or why else plan_of(base.folder, adapters, request, quantisation=through),
        licence_flags=_licence_flags(base.record, adapters),
        why_bundled=why,
    )


def _check_rank(request: MergeRequest, *, stays_adapter: bool) -> None:
    if (request.algorithm == "svd") != (request.rank is not None):
        raise WeightsDoNotFit("--rank belongs to --algorithm svd, which needs it")
    if stays_adapter and (request.dtype or request.densities or request.base_policy):
        raise WeightsDoNotFit(
            f"{request.algorithm} makes an adapter: --dtype, --density and --base-policy mean nothing"
        )


def plan_identity(prepared: Prepared) -> dict[str, Any]:
    """What decides the bytes of the result, without names and paths: equal requests have one digest."""
    ingredients = [
        {"weights": str(one.weights_digest), "weight": one.weight, "density": one.density}
        for one in ingredients_of(prepared)
    ]
    return {
        "base": str(prepared.base.record.identity.weights),
        "base_policy": prepared.policy,
        "algorithm": "bundle" if prepared.why_bundled else prepared.request.algorithm,
        "rank": prepared.request.rank if prepared.request.algorithm == "svd" else None,
        "ingredients": ingredients,
        "seed": prepared.seed,
        "dtype": None if prepared.plan is None else prepared.plan.dtype,
    }


def ingredients_of(prepared: Prepared) -> tuple[MergeIngredient, ...]:
    """In the order of the sum: by weights digest."""
    ordered = sorted(prepared.adapters, key=lambda one: one.version.weights_digest)
    return tuple(
        MergeIngredient(
            label=one.version.label,
            manifest=one.version.manifest_digest,
            weights_digest=one.version.weights_digest,
            method=one.version.method,
            weight=one.weight,
            density=one.density,
            quantisation=one.quantisation,
        )
        for one in ordered
    )


# --- what goes in ---


def _adapter_named(registry: Registry, reference: str) -> Version:
    version = version_named(registry, reference)
    if version.kind != "adapter":
        raise NotAnAdapter(version.label, version.kind)
    return version


def _refuse_twice(versions: tuple[Version, ...]) -> None:
    seen: dict[Digest, str] = {}
    for version in versions:
        if version.weights_digest in seen:
            raise AlreadyFoldedIn(
                version.label, f"its weights are those of {seen[version.weights_digest]}, named before it"
            )
        seen[version.weights_digest] = version.label


def _base_of(registry: Registry, versions: tuple[Version, ...], asked: str | None) -> Version:
    """The registered base of all adapters."""
    first = versions[0]
    for version in versions[1:]:
        if version.base_weights != first.base_weights:
            raise OtherBase(version.label, _weights(version), f"the base of {first.label}", _weights(first))
    if asked is not None:
        base = version_named(registry, asked)
        for version in versions:
            _require_same_base(registry, version, base)
        return base
    with registry.database.read() as tx:
        known = () if first.base_manifest is None else catalog.version_by_digest(tx, first.base_manifest)
    if not known:
        raise BaseBytesMissing(f"the base of {first.label}")
    return known[0]


def _require_same_base(registry: Registry, adapter: Version, base: Version) -> None:
    if base.weights_digest == _weights(adapter):
        return
    with registry.database.read() as tx:
        above = ancestors_of(tx, base.manifest_digest)
        for one in catalog.versions_with_weights(
            tx, base.weights_digest
        ):  # also a merge that was added again as a base
            above += ancestors_of(tx, one.manifest_digest)
    if adapter.manifest_digest in above:
        raise AlreadyFoldedIn(adapter.label, f"it is among what {base.label} was made from")
    raise OtherBase(adapter.label, _weights(adapter), base.label, base.weights_digest)


def _weights(version: Version) -> Digest:
    if version.base_weights is None:
        raise BaseBytesMissing(f"the base of {version.label}")
    return version.base_weights


def _parts(request: MergeRequest, count: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Weights and densities, one for each adapter."""
    weights = request.weights or (1.0 / count,) * count
    densities = request.densities or (1.0,) * count
    densities = densities * count if len(densities) == 1 else densities
    if len(weights) != count or len(densities) != count:
        raise WeightsDoNotFit(f"there are {count} adapters")
    if not all(0 < one <= 1 for one in densities):
        raise WeightsDoNotFit("a density is the kept part of a difference: above 0, at most 1")
    if not all(abs(one) < 1e6 for one in weights):
        raise WeightsDoNotFit("a weight is a finite number")
    return weights, densities


def quantisation_of(adapters: Sequence[Folded]) -> Quantisation | None:
    """How the base of these adapters was quantised, and in which number format it was loaded before, as the run recorded."""
    for one in adapters:
        if one.quantisation:
            run = one.records.run
            return Quantisation(one.quantisation, "BF16" if run is None or run.environment.dtype == "bf16" else "F32")
    return None


def _licence_flags(base: BaseRecord, adapters: list[Folded]) -> Value:
    """The union over everything that went in; unknown as soon as one part is."""
    flags: set[str] = set()
    values = [base.facts.licence_flags]
    for one in adapters:
        record = one.records.modification
        values += [] if record is None else [used.licence_flags for used in record.base]
    for value in values:
        if not value.known:
            return unknown(f"the flags of one ingredient are not known: {value.reason}")
        flags |= {str(flag) for flag in value.value} if isinstance(value.value, list) else {str(value.value)}
    return derived(sorted(flags), method="union of the flags of base and ingredients")
