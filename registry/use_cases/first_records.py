"""The record that a version begins with, derived from what was made and from what the registry has recorded at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.derivation import FirstInputs, derive_first, observe
from peft_registry.registry.compliance.importing import ImportedChange
from peft_registry.registry.compliance.making import Production, tool_of
from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.registry.compliance.recorded_result import BaseInput, Scan, Signing
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.bases import base_named
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class MadeResult:
    """What was made, as a record follows from it.

    Attributes:
        name: that it is registered under.
        record_id: of the record.
        manifest: of the result.
        production: how it was made.
        base: the model that it stands on.
        parents: the versions that it was made from besides the base.
        evaluation: of the result, if it was evaluated.
        profile: of the organisation; None where somebody else made it.
        facts: the JSON value of a facts file, if there is one.
        change: what was counted of the change in the weights.
        optimiser: what the training loop used, if the training file does not say it.
        scans: of the result's files.
    """

    name: str
    record_id: str
    manifest: Manifest
    production: Production
    base: BaseInput
    parents: tuple[Version, ...] = ()
    evaluation: EvaluationRecord | None = None
    profile: OrganisationProfile | None = None
    facts: dict[str, Any] | None = None
    change: ChangeFigures | ImportedChange | None = None
    optimiser: str | None = None
    scans: tuple[Scan, ...] = ()


@dataclass(frozen=True, slots=True)
class DerivedRecord:
    """The record of a result, what was observed for it, and how many entries of the log were covered then."""

    record: ModificationRecord
    observations: Observations
    as_of: int


def derive_record(registry: Registry, result: MadeResult, *, key_id: str) -> DerivedRecord:
    """The record that a result begins with; nothing is signed.

    Args:
        registry: where it will be registered.
        result: what was made.
        key_id: of the key that will sign.

    Raises:
        KnownError: as `with_facts`, where the facts file states what it cannot.
        StatementAltered, RecordUnreadable, VersionsDiffer: what is recorded of its parents or its base is not what was signed.
    """
    with registry.database.reading():
        as_of = covered_size(registry)
        base = _as_stated_now(registry, result.base)
        ancestors = ancestry_of(registry, result.parents)
    signing = Signing(key_id=key_id, person=registry.trust.person_of(key_id), log_origin=registry.origin)
    return derived_from(result, base, ancestors, signing, nonce=registry.nonce(), now=registry.clock(), as_of=as_of)


def derived_from(
    result: MadeResult,
    base: BaseInput,
    ancestors: Sequence[Ancestor],
    signing: Signing | None,
    *,
    nonce: str,
    now: str,
    as_of: int,
) -> DerivedRecord:
    """The same from values alone."""
    observations = observe(
        nonce=nonce,
        record_id=result.record_id,
        now=now,
        name=result.name,
        tool_version=tool_of(result.production),
        bases=(base,),
        ancestors=ancestors,
        signing=signing,
        profile=result.profile,
        facts=result.facts,
        change=result.change,
        optimiser=result.optimiser,
        scans=result.scans,
    )
    inputs = FirstInputs(
        manifest=result.manifest,
        production=result.production,
        observations=observations,
        bases=(base,),
        ancestors=tuple(ancestors),
        evaluation=result.evaluation,
    )
    return DerivedRecord(derive_first(inputs), observations, as_of)


def _as_stated_now(registry: Registry, base: BaseInput) -> BaseInput:
    """A base with what is recorded of it now: hours may have passed since somebody looked."""
    stated = None if base.manifest is None else base_named(registry, base.manifest, base.name)
    return base if stated is None else base.revised(record=stated.record, statement=stated.statement)
