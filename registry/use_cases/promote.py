"""Aliases: a signed event that points a name at one version, with a projection for quick reading.

No gate guards an alias yet; every move is signed, logged and can be read back for any date.
"""

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.use_cases.statements import entry_time, record_statement, sign_statement
from peft_registry.schemas.identity import check_new_alias
from peft_registry.schemas.statement import AliasPredicate
from peft_registry.schemas.version import Version


def set_alias(registry: Registry, version: Version, alias: str, *, reason: str | None = None) -> None:
    """Point `name@alias` at a version; the move is signed, logged and mirrored.

    Raises:
        MalformedName: the text cannot be an alias, or reads as a number.
        HomeReadOnly: this home cannot be written.
    """
    registry.require_writable()
    check_new_alias(alias)
    predicate = AliasPredicate(name=version.name, alias=alias, reason=reason, nonce=registry.nonce())
    signed = sign_statement(version.manifest_digest, "alias", predicate.to_json(), registry.trainer_key)
    with registry.database.write() as tx:
        now = entry_time(registry, tx)
        record_statement(tx, version.manifest_digest, signed, at=now)
        catalog.set_alias(
            tx, name=version.name, alias=alias, number=version.number, statement_digest=signed.digest, at=now
        )
        payload = {"alias": alias, "number": version.number}
        catalog.enqueue(tx, kind="alias", subject=version.manifest_digest, version_label=version.label, payload=payload)
    publish_checkpoint(registry)
