"""Aliases: a signed event that points a name at one version, with a projection for quick reading.

A version is verified before anything points at it: an alias is what is served, and its move stays in the log for ever. No gate
guards an alias yet; every move is signed, logged and can be read back for any date.
"""

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.recalls import require_not_recalled
from peft_registry.registry.use_cases.statements import record_statement, sayable_at, sign_statement
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import check_new_alias
from peft_registry.schemas.statement import PREDICATE_TYPES, AliasPredicate
from peft_registry.schemas.version import VerifyOutcome, Version


class PromotionRefused(IntegrityBroken):
    reference = "promotion-refused"
    what = "{outcome.subject} does not verify, so {alias} does not point at it"
    why = "{outcome.failed_text}"
    fix = "run `registry verify {outcome.subject}`, and restore what it names from a backup; nothing was signed or recorded"

    outcome: VerifyOutcome
    alias: str


class PromotionUnverified(NotChecked):
    reference = "promotion-unverified"
    what = "{outcome.subject} could not be verified, so {alias} does not point at it"
    why = "{outcome.unchecked_text}"
    fix = "run `registry verify {outcome.subject}` and provide what it could not check; nothing was signed or recorded"

    outcome: VerifyOutcome
    alias: str


def set_alias(registry: Registry, version: Version, alias: str, *, reason: str | None = None) -> None:
    """Point `name@alias` at a version that verifies; the move is signed, logged and mirrored.

    Every byte of the version is hashed. Of its base the recorded identity counts: whoever uses the version hashes the base.

    Raises:
        MalformedName: the text cannot be an alias, or reads as a number.
        SecretRefused: the reason looks like it holds a secret.
        HomeReadOnly: this home cannot be written.
        VersionRecalled: it, or something that it was made from, is recalled.
        PromotionRefused, PromotionUnverified: the version is broken, or that it is not could not be shown.
        KnownError: as `sayable_at`; in all these cases nothing was signed or recorded.
    """
    registry.require_writable()
    require_no_secrets(alias, what="the alias")
    check_new_alias(alias)
    require_no_secrets(reason, what="the reason")
    _require_verified(registry, version, alias)
    require_not_recalled(registry, version)
    key_id, types = registry.trainer_key.public.key_id, (PREDICATE_TYPES["alias"],)
    with registry.database.read() as tx:
        sayable_at(registry, tx, key_id, types)
    predicate = AliasPredicate(name=version.name, alias=alias, reason=reason, nonce=registry.nonce())
    signed = sign_statement(version.manifest_digest, "alias", predicate.to_json(), registry.trainer_key)
    with registry.database.write() as tx:
        now = sayable_at(registry, tx, key_id, types)
        record_statement(tx, version.manifest_digest, signed, at=now)
        catalog.set_alias(
            tx, name=version.name, alias=alias, number=version.number, statement_digest=signed.digest, at=now
        )
        payload = {"alias": alias, "number": version.number}
        catalog.enqueue(tx, kind="alias", subject=version.manifest_digest, version_label=version.label, payload=payload)
    publish_checkpoint(registry)


def _require_verified(registry: Registry, version: Version, alias: str) -> None:
    outcome = verify_version(registry, version, look_for_base=False)
    if outcome.verdict == "broken":
        raise PromotionRefused(outcome, alias)
    if outcome.verdict == "unverified":
        raise PromotionUnverified(outcome, alias)
