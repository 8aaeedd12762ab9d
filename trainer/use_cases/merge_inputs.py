"""What goes into a merge: adapters and base, found, verified and checked against each other, and the plan that follows.

A `MergeRequest` (`trainer/merge/request.py`) says what to merge. Before anything is written are refused: a version that is not an
adapter, the same adapter twice, adapters of different bases, a base that is not theirs or whose bytes changed, and an adapter that
does not verify.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.base_terms import licence_flags_of
from peft_registry.registry.compliance.inheritance import inherited_data
from peft_registry.registry.compliance.licence_terms import flags_of_licence, implied_flags
from peft_registry.registry.compliance.recorded_result import modifier_section
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import checked_profile
from peft_registry.registry.intake.facts_file import read_checked_facts
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.lineage import ancestors_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing
from peft_registry.registry.use_cases.register import require_name
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import BasePolicy
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections, UpstreamTerms
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.values import Value, derived, measured, unknown
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.quantization import Quantization
from peft_registry.trainer.inputs.base import checked_base, recorded_base
from peft_registry.trainer.inputs.problems import Problems
from peft_registry.trainer.merge.ingredients import Ingredient, Prepared, quantization_of
from peft_registry.trainer.merge.request import MergeOptionRefused, MergeRequest, WeightsDoNotFit


class NotAnAdapter(InputRefused):
    what = "{label} is not an adapter"
    why = "it is registered as {kind}; a merge folds adapters into the base that they were trained on"
    fix = "name adapters; `registry list --kind adapter` shows them"

    label: str
    kind: str


class AlreadyFoldedIn(IntegrityBroken):
    what = "{adapter} is folded in already"
    why = "{where}: a second time it would change the weights twice"
    fix = "merge it once, into the base that it was trained on"

    adapter: str
    where: str


class SameWeightsTwice(InputRefused):
    what = "{adapter} has the same weights as {other}, named before it"
    why = "they are the same bytes, and merged with itself an adapter is what it was"
    fix = "name it once, or merge it with one that was trained with another seed (training.seed) or on other data"

    adapter: str
    other: str


class OtherBase(IntegrityBroken):
    what = "{adapter} was not trained on {asked}"
    why = "its base has the weights {trained_on}, and {asked} has {found}"
    fix = "merge adapters of one base, into that base; equal shapes do not make it the same"

    adapter: str
    trained_on: Digest
    asked: str
    found: Digest


class SeveralSideParts(InputRefused):
    reference = "more-than-one-beside"
    what = "{all_labels} do not go into one result"
    why = "neither can be folded into weights ({reason}), and a model runs with one such part at a time"
    fix = "merge each of them by itself, or with adapters that can be folded"

    labels: Sequence[str]
    reason: str

    @property
    def all_labels(self) -> str:
        return " and ".join(self.labels)


def plan_merge(registry: Registry, request: MergeRequest, folder: Path, *, observe: Observe = ignore) -> Prepared:
    """Verify what goes in, and plan; copies of the adapters go under `folder`.

    Raises:
        NotAnAdapter, SameWeightsTwice, AlreadyFoldedIn, OtherBase, WrongBase: what goes in does not go together.
        NameOfAnotherKind: the result may not have the name of a base.
        PullRefused, PullUnverified: an adapter does not verify.
        InputRefused, IntegrityBroken: an adapter that cannot be folded into these weights, see `trainer/merge/fold.py`.
    """
    from peft_registry.trainer.merge.concatenate import NotConcatenable
    from peft_registry.trainer.merge.prepare import plan_of

    versions = tuple(_adapter_named(registry, reference) for reference in request.references)
    _refuse_twice(versions)
    if request.name is not None:
        require_name(registry, request.name, is_base=False)
    base_version = _base_of(registry, versions, request.base)
    base = checked_base(registry, base_version, folder, observe)
    adapters = _verified(registry, versions, request, folder)
    for adapter in adapters:
        part = "" if len(adapters) == 1 else f"  weight {adapter.weight:g}"
        version = adapter.version
        observe(Said("adapter", f"{version.label} {version.weights_digest.short}  verified{part}"))
    kept = [adapter for adapter in adapters if adapter.side_part is not None]
    folded = [adapter for adapter in adapters if adapter.mergeable is not None]
    if len(kept) > 1:
        raise SeveralSideParts([part.version.label for part in kept], str(kept[0].reason))
    if kept and request.stays_adapter:
        raise NotConcatenable(kept[0].version.label, str(kept[0].reason))
    is_folding = bool(folded) and not request.stays_adapter
    name = request.name or f"{versions[0].name}-{'bundle' if kept and not is_folding else 'merged'}"
    require_name(registry, name, is_base=False)
    quantization = quantization_of(adapters)
    policy = _policy(request, quantization, observe)
    through = quantization if policy == "dequantised" else None
    return Prepared(
        request=request,
        name=name,
        adapters=tuple(adapters),
        base=base,
        policy=policy,
        plan=plan_of(base.folder, folded, request, quantization=through) if is_folding else None,
        licence_flags=_licence_flags(base.record, ancestry_of(registry, versions)),
        why_bundled=_why(kept[0]) if kept else None,
    )


def require_options(registry: Registry, request: MergeRequest) -> None:
    """Raise where a request is wrong whatever adapters go in: asked once where many merges follow.

    Raises:
        SecretRefused, MalformedReference, NameOfAnotherKind: the name.
        NotFound, VersionStopped, StopsUnknown: the base.
        KnownError: the guard text, the profile or the facts, as far as these do not depend on what goes in.
    """
    if request.name is not None:
        require_name(registry, request.name, is_base=False)
    if request.base is not None:
        require_not_stopped(registry, "merge", version_named(registry, request.base))
    request.scope.guard()
    modifier = modifier_section(checked_profile(registry))
    read_checked_facts(request.facts, at=registry.clock(), bases=None, data=None, modifier=modifier)


def checked_facts_of_merge(registry: Registry, request: MergeRequest) -> dict[str, Any] | None:
    """The facts of a merge, checked against what goes in before a byte of it is read; None without a facts file.

    Raises:
        KnownError: the only thing that is wrong with the facts, the profile or what is named to go in.
        SeveralProblems: everything that is, where it is more.
    """
    problems = Problems()
    parts = problems.attempt(lambda: _recorded_parts(registry, request))
    data = (
        None if parts is None or request.facts is None else problems.attempt(lambda: _names_of_data(registry, request))
    )
    profile = problems.attempt(lambda: checked_profile(registry))
    modifier = None if profile is None else modifier_section(profile)
    bases, upstream = (None, None) if parts is None else parts
    facts = problems.attempt(
        lambda: read_checked_facts(
            request.facts, at=registry.clock(), bases=bases, data=data, upstream=upstream, modifier=modifier
        )
    )
    problems.raise_if_any()
    return facts


def _recorded_parts(
    registry: Registry, request: MergeRequest
) -> tuple[tuple[BaseUsed, ...], tuple[UpstreamTerms, ...]]:
    """The base and the adapters with their terms as the record of the merge will have them, without a byte of them read.

    Without a facts file nothing is held against them, and the records of the ancestors are not read.
    """
    versions = tuple(_adapter_named(registry, reference) for reference in request.references)
    base = _base_of(registry, versions, request.base)
    ancestors = () if request.facts is None else ancestry_of(registry, versions)
    used, terms = recorded_base(registry, base, ancestors)
    adapters = (BaseUsed(name=measured(version.label)) for version in versions)
    return (used, *adapters), (terms, *(UpstreamTerms(name=measured(version.label)) for version in versions))


def _names_of_data(registry: Registry, request: MergeRequest) -> tuple[str, ...]:
    """The data that the record of the merge will have, by name."""
    versions = [_adapter_named(registry, reference) for reference in request.references]
    return tuple(str(data.name.value) for data in inherited_data(ancestry_of(registry, versions)))


# --- what goes in ---


def _adapter_named(registry: Registry, reference: str) -> Version:
    version = version_named(registry, reference)
    if version.kind != "adapter" and version.method != "hybrid":
        raise NotAnAdapter(version.label, version.kind)
    require_not_stopped(registry, "merge", version)
    return version


def _refuse_twice(versions: tuple[Version, ...]) -> None:
    seen: dict[Digest, str] = {}
    for version in versions:
        if version.weights_digest in seen:
            raise SameWeightsTwice(version.label, seen[version.weights_digest])
        seen[version.weights_digest] = version.label


def _base_of(registry: Registry, versions: tuple[Version, ...], asked: str | None) -> Version:
    """The registered base of all adapters."""
    first = versions[0]
    for version in versions[1:]:
        if version.base_weights != first.base_weights:
            raise OtherBase(version.label, _weights(version), f"the base of {first.label}", _weights(first))
    if asked is not None:
        base = version_named(registry, asked)
        require_not_stopped(
            registry, "merge", base
        )  # it may be another than that of the adapters, with the same weights
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
        # also a merge that was added again as a base
        for same_weights in catalog.versions_with_weights(tx, base.weights_digest):
            above += ancestors_of(tx, same_weights.manifest_digest)
    if adapter.manifest_digest in above:
        raise AlreadyFoldedIn(adapter.label, f"it is among what {base.label} was made from")
    raise OtherBase(adapter.label, _weights(adapter), base.label, base.weights_digest)


def _weights(version: Version) -> Digest:
    if version.base_weights is None:
        raise BaseBytesMissing(f"the base of {version.label}")
    return version.base_weights


def _verified(
    registry: Registry, versions: tuple[Version, ...], request: MergeRequest, folder: Path
) -> tuple[Ingredient, ...]:
    """The adapters as verified copies under `folder`, each with its part of the sum."""
    from peft_registry.trainer.merge.bundle import parts_of

    copies = [folder / "adapters" / f"{at:02}" for at in range(len(versions))]
    for version, copy in zip(versions, copies, strict=True):
        pull_version(registry, version, copy, look_for_base=False)
    parts = [parts_of(version, copy) for version, copy in zip(versions, copies, strict=True)]
    # without weights of the user's, every mergeable part counts the same; a side part can only run whole
    equal = 1.0 / max(1, sum(mergeable is not None for mergeable, _, _ in parts))
    weights = request.weights or tuple(1.0 if mergeable is None else equal for mergeable, _, _ in parts)
    densities = request.densities or (1.0,)
    densities = densities * len(versions) if len(densities) == 1 else densities
    ingredients = []
    for position, (version, (mergeable, side_part, reason)) in enumerate(zip(versions, parts, strict=True)):
        if mergeable is None and weights[position] != 1:
            raise WeightsDoNotFit(
                f"{version.label} is not folded into weights, so that its weight can only be 1: {reason}"
            )
        records = records_of(registry, version)
        ingredients.append(
            Ingredient(
                version=version,
                records=records,
                folder=copies[position],
                weight=weights[position],
                density=densities[position],
                mergeable=mergeable,
                side_part=side_part,
                reason=reason,
            )
        )
    return tuple(ingredients)


def _why(kept: Ingredient) -> str:
    return f"{kept.version.label} ({kept.version.method}): {kept.reason}"


def _policy(request: MergeRequest, quantization: Quantization | None, observe: Observe) -> BasePolicy:
    if quantization is not None:
        return request.base_policy or ("original" if request.stays_adapter else "dequantised")
    if request.base_policy == "dequantised":
        raise MergeOptionRefused(
            "--base-policy dequantised", "no adapter of this merge was trained on a base in 4 bits", "leave it out"
        )
    options = {"--compare-bases": request.compare_bases, "--accept-distance": request.accept_distance}
    for option in (option for option, value in options.items() if value):
        observe(
            Warned("option-without-effect", f"{option} changes nothing: no adapter was trained on a base in 4 bits")
        )
    return "original"


def _licence_flags(base: BaseRecord, ancestors: Iterable[Ancestor]) -> Value:
    """The union over everything that went in; unknown as soon as one part is."""
    licences = [base.facts.licence]
    values = [licence_flags_of(base.facts)]
    for record in (ancestor.record for ancestor in ancestors if ancestor.record is not None):
        licences += [used.licence_id for used in record.base]
        values += [used.licence_flags for used in record.base]
        values += _own_flags(record)
    # what a licence says counts also where whoever stated the flags left it out
    flags = {flag for licence in licences for flag in implied_flags(licence.value)}
    for value in values:
        if not value.known:
            return unknown(f"the flags of one ingredient are not known: {value.reason}")
        flags |= {str(flag) for flag in value.value} if isinstance(value.value, list) else {str(value.value)}
    return derived(sorted(flags), method="union of the flags of base and ingredients")


def _own_flags(record: RecordSections) -> Iterator[Value]:
    """The flags of the licence of something that went in. What was made here is under none until somebody names one."""
    if not isinstance(record, ModificationRecord):
        return  # the first form of the record asks for no licence of the result
    licence = record.product.licence
    if licence.known or record.identity.kind.value == "import":
        yield flags_of_licence(licence)
