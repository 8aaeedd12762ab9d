"""Announcing the edition by which this release derives records: signed by an approver, an officer or a root, and logged.

It stands in the log before the first record that follows it. So a release that does not know the edition can tell a record of a
later release from one of an edition that somebody made up.
"""

from peft_registry.registry.compliance.editions import editions, figures_of
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.signed_records import is_announced
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases.acts import say
from peft_registry.registry.use_cases.statements import Saying, sign_statement
from peft_registry.schemas.edition import Edition, EditionPredicate, edition_subject
from peft_registry.schemas.errors import Refused


class EditionNotAnnounced(Refused):
    what = "nothing is recorded here before the edition {edition.name} is announced"
    why = "this release derives records by it, and other releases take it for made up until somebody whose role may says it"
    fix = (
        "`registry admin upgrade --key FILE` with the key of an approver or an officer, or without --key where the root key is; "
        "nothing was signed"
    )

    edition: Edition


def require_announced(registry: Registry) -> None:
    """Raise unless the edition that new records follow is announced; its entry may be pending.

    Raises:
        EditionNotAnnounced: it is not.
    """
    newest = editions().newest
    if not is_announced(registry, newest, with_pending=True):
        raise EditionNotAnnounced(newest)


def announce_edition(registry: Registry, signer: Signer) -> bool:
    """Sign and log that records follow this release's newest edition; False where that was announced before.

    Raises:
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not announce an edition; nothing was signed.
        HomeReadOnly: this home cannot be written.
    """
    registry.require_writable()
    edition = editions().newest
    if is_announced(registry, edition, with_pending=True):
        return False
    predicate = edition_predicate(edition, nonce=registry.nonce())
    subject = edition_subject(edition.name)
    say(registry, subject, lambda _: Saying("edition", predicate, signer), changing=lambda _: None)
    return True


def first_announcement(tx: Transaction, root: Signer, *, nonce: str, at: str) -> SignedStatement:
    """The first entry of a new log: its root announces the edition of the release that made the home."""
    edition = editions().newest
    subject = edition_subject(edition.name)
    signed = sign_statement(subject, "edition", edition_predicate(edition, nonce=nonce), root)
    record_statement(tx, subject, signed, at=at)
    return signed


def edition_predicate(edition: Edition, *, nonce: str) -> dict[str, object]:
    """What an announcement says, as JSON."""
    figures = figures_of(edition.name)
    return EditionPredicate(edition=edition, figures=figures, release=tool_version(), nonce=nonce).to_json()
