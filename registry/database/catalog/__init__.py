"""One function per question. Each takes the caller's transaction first, gives schemas back, and never commits."""

from peft_registry.registry.database.catalog.aliases import (
    AliasMove,
    alias_at,
    alias_history,
    aliases_of,
    newest_move,
    set_alias,
)
from peft_registry.registry.database.catalog.artifacts import (
    Artifact,
    ArtifactUnknown,
    artifact,
    insert_artifact,
    require_artifact,
)
from peft_registry.registry.database.catalog.housekeeping import (
    keep_object,
    leased,
    meta,
    referenced_objects,
    release_leases,
    set_meta,
    take_lease,
)
from peft_registry.registry.database.catalog.log import latest_checkpoint, put_checkpoint
from peft_registry.registry.database.catalog.outbox import (
    enqueue,
    get_mirrored,
    mark_done,
    pending_outbox,
    put_mirrored,
)
from peft_registry.registry.database.catalog.pages import VersionFilter, VersionPage, list_versions
from peft_registry.registry.database.catalog.statements import insert_statement, statement, statements_of
from peft_registry.registry.database.catalog.versions import (
    NameOfAnotherKind,
    VersionUnknown,
    add_version,
    base_by_weights,
    idempotent_version,
    is_in_order,
    require_kind,
    resolve,
    version_by_digest,
    versions_of,
    versions_with_weights,
)
from peft_registry.registry.database.session import Transaction

__all__ = [
    "AliasMove",
    "Artifact",
    "ArtifactUnknown",
    "NameOfAnotherKind",
    "Transaction",
    "VersionFilter",
    "VersionPage",
    "VersionUnknown",
    "add_version",
    "alias_at",
    "alias_history",
    "aliases_of",
    "artifact",
    "base_by_weights",
    "enqueue",
    "get_mirrored",
    "idempotent_version",
    "insert_artifact",
    "insert_statement",
    "is_in_order",
    "keep_object",
    "latest_checkpoint",
    "leased",
    "list_versions",
    "mark_done",
    "meta",
    "newest_move",
    "pending_outbox",
    "put_checkpoint",
    "put_mirrored",
    "referenced_objects",
    "release_leases",
    "require_artifact",
    "require_kind",
    "resolve",
    "set_alias",
    "set_meta",
    "statement",
    "statements_of",
    "take_lease",
    "version_by_digest",
    "versions_of",
    "versions_with_weights",
]
