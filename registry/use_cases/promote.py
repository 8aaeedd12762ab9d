"""Aliases: a signed event that points a name at one version, with a projection for quick reading.

A version is verified before anything points at it: an alias is what is served, and its move stays in the log for ever. Whether a
policy lets it through is asked before (`use_cases/gate.py`), and stands in the signed move.
"""

from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.bindings import binding_in_force, binding_of, require_passed
from peft_registry.registry.records.references import newest_signed_move
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.views import VersionsDiffer, View
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.acts import say
from peft_registry.registry.use_cases.statements import Saying
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import AliasPredicate, PassedGate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, Taken
from peft_registry.schemas.identity import check_new_alias
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import VerifyOutcome, Version


class PromotionRefused(IntegrityBroken):
    what = "{outcome.subject} does not verify, so {alias} does not point at it"
    why = "{outcome.failed_text}"
    fix = "run `registry verify {outcome.subject}`, and restore what it names from a backup; nothing was signed or recorded"

    outcome: VerifyOutcome
    alias: str


class PromotionUnverified(NotChecked):
    what = "{outcome.subject} could not be verified, so {alias} does not point at it"
    why = "{outcome.unchecked_text}"
    fix = "run `registry verify {outcome.subject}` and provide what it could not check; nothing was signed or recorded"

    outcome: VerifyOutcome
    alias: str


class AliasPointsElsewhere(Taken):
    what = "{name}@{alias} points at {current}, and not at {expected}"
    why = "{moved}"
    fix = "look at what it points at now, and decide again; nothing was signed or recorded"

    name: str
    alias: str
    current: str
    expected: str
    moved: str


class Replaced(Frozen):
    """The version that an alias pointed at before, by which move; None for none. `undecided`: what the policy let through open.

    `pending`: no checkpoint covers the move yet, and until one does the alias points where it did.
    """

    version: str | None
    at: Timestamp | None
    pending: bool = False
    undecided: tuple[str, ...] = ()


def set_alias(
    registry: Registry,
    version: Version,
    alias: str,
    *,
    reason: str | None = None,
    if_current: int | None = None,
    gate: PassedGate | None = None,
) -> Replaced:
    """Point `name@alias` at a version that verifies; the move is signed and logged. Returns what it pointed at before.

    Every byte of the version is hashed. Of its base the recorded identity counts: whoever uses the version hashes the base.

    Args:
        registry: open and writable.
        version: where it points to.
        alias: which.
        reason: kept in the signed record.
        if_current: move it only if it points at this number now, 0 for at nothing; None: wherever it points.
        gate: the policy that let the version through, and so verified it; None where none was asked.

    Raises:
        MalformedName: the text cannot be an alias, or reads as a number.
        SecretRefused: the reason looks like it holds a secret.
        HomeReadOnly: this home cannot be written.
        VersionStopped, StopsUnknown: an act stops it, or what it was made from, or that cannot be told.
        AliasBound: the alias is bound to a policy, and this move asked another one, or none.
        AliasPointsElsewhere: somebody moved it meanwhile.
        PromotionRefused, PromotionUnverified: the version is broken, or that it is not could not be shown.
        KnownError: as `say`; in all these cases nothing was signed or recorded.
    """
    require_movable(registry, alias, reason)
    require_bound_policy(registry, version.name, alias, gate)
    if gate is None:
        require_verified(verify_version(registry, version, look_for_base=False), alias)
        require_not_stopped(registry, "promote", version)
    trainer = registry.trainer_key
    predicate = AliasPredicate(name=version.name, alias=alias, reason=reason, nonce=registry.nonce(), gate=gate)

    def changing(view: View) -> _Pointed | None:
        # whoever binds the alias meanwhile was either first, or comes after this move
        require_passed(binding_in_force(view, version.name, alias), version.name, alias, gate)
        before = _pointed_at(view, version.name, alias)
        if if_current is not None:
            _require_current(registry, (version.name, alias), before, if_current)
        return before

    def beside(tx: Transaction, signed: SignedStatement, at: Timestamp) -> None:
        if gate is not None:  # kept with the move, or a kill between the two would leave the policy to be collected
            catalog.keep_object(tx, digest=gate.policy, subject=version.manifest_digest, role="policy")
        catalog.set_alias(
            tx, name=version.name, alias=alias, number=version.number, statement_digest=signed.digest, at=at
        )

    said = say(
        registry,
        version.manifest_digest,
        lambda _: Saying("alias", predicate.to_json(), trainer),
        changing=changing,
        beside=beside,
    )
    before = said.before
    if before is None or before.number is None:
        return Replaced(version=None, at=None, pending=said.pending)
    return Replaced(version=f"{version.name}:{before.number}", at=before.moved_at, pending=said.pending)


def require_bound_policy(registry: Registry, name: str, alias: str, gate: PassedGate | None) -> None:
    """Raise unless a move passed the policy that its alias is bound to.

    Raises:
        AliasBound: it names another, or none.
        SaidDiffers, EntryRejected, PathRejected: what was said of the alias is not in the database as it was signed.
    """
    require_passed(binding_of(registry, name, alias), name, alias, gate)


@dataclass(frozen=True, slots=True)
class _Pointed:
    """Where an alias pointed by its newest signed move: the number of a version, None for nowhere; whose key moved it and when."""

    number: int | None
    key_id: str
    moved_at: Timestamp


def _pointed_at(view: View, name: str, alias: str) -> _Pointed | None:
    """Asked in the transaction that moves the alias. None where it was never moved.

    Raises:
        VersionsDiffer, PathRejected, ProofRejected: the catalogue has not what the log has.
    """
    move = newest_signed_move(view, name, alias)
    if move is None or move.manifest is None:
        return None if move is None else _Pointed(None, move.key_id, move.at)
    version = catalog.idempotent_version(view.tx, name=name, manifest_digest=move.manifest)
    if version is None:
        raise VersionsDiffer(name, f"entry {move.entry} points {alias} at {move.manifest}, which the catalogue lacks")
    view.require_logged(version)
    return _Pointed(version.number, move.key_id, move.at)


def _require_current(registry: Registry, alias: tuple[str, str], pointed: _Pointed | None, expected: int) -> None:
    """Asked in the transaction that moves the alias, a name and a word: whoever writes next is told who was first.

    Raises:
        AliasPointsElsewhere: it does not point at the version of this number; 0: at none.
    """
    name, word = alias
    number = None if pointed is None else pointed.number
    if (number or 0) == expected:
        return
    person = None if pointed is None else registry.trust.person_of(pointed.key_id)
    by = person or "a key that the trust file does not list"
    raise AliasPointsElsewhere(
        name,
        word,
        "nothing" if number is None else f"{name}:{number}",
        f"{name}:{expected}" if expected else "nothing",
        "it was never moved" if pointed is None else f"{by} moved it at {pointed.moved_at}",
    )


def require_movable(registry: Registry, alias: str, reason: str | None) -> None:
    """Raise unless this registry may move an alias of that name, whatever it is to point at.

    Raises:
        MalformedName, SecretRefused, HomeReadOnly: as `set_alias`.
    """
    registry.require_writable()
    require_no_secrets(alias, what="the alias")
    check_new_alias(alias)
    require_no_secrets(reason, what="the reason")


def require_verified(outcome: VerifyOutcome, alias: str) -> None:
    """Raise unless a version verified.

    Raises:
        PromotionRefused, PromotionUnverified: it is broken, or that it is not could not be shown.
    """
    if outcome.verdict == "broken":
        raise PromotionRefused(outcome, alias)
    if outcome.verdict == "unverified":
        raise PromotionUnverified(outcome, alias)
