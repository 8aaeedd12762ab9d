"""Where the aliases of a name pointed, and when: every move as it was signed and logged, and what one pointed at at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.identity import Digest, MalformedReference, Reference
from peft_registry.schemas.statement import AliasPredicate
from peft_registry.schemas.values import Timestamp, timestamp
from peft_registry.schemas.version import Version


class TimeRefused(InputRefused):
    reference = "time-refused"
    what = "{text!q} is not a time"
    why = "a day such as 2026-05-01 or a time such as 2026-05-01T12:00:00Z is one; a day means its end, UTC"
    fix = "write one of them behind --at"

    text: str


class NothingThere(NotFound):
    reference = "alias-pointed-at-nothing"
    what = "{name}@{alias} pointed at nothing at {at}"
    why = "{reason}"
    fix = "`registry show {name} --history` lists every move"

    name: str
    alias: str
    at: str
    reason: str


class NoSuchName(NotFound):
    reference = "name-has-no-versions"
    what = "nothing is registered as {name}"
    why = "a history is that of a name with versions"
    fix = "`registry list` shows the names"

    name: str


class AliasMoveShown(Frozen):
    """One move of an alias; `version` is None where it was taken away."""

    alias: str
    version: str | None
    manifest: Digest
    at: Timestamp
    by: str
    policy: str | None
    reason: str | None
    log_index: int

    @property
    def text(self) -> str:
        """What moved where, by whom, under which policy and why."""
        where = "taken away" if self.version is None else f"→ {self.version}"
        policy = "no policy" if self.policy is None else f"policy {self.policy}"
        reason = "" if self.reason is None else f": {self.reason}"
        return f"@{self.alias} {where}  by {self.by}, {policy}, log {self.log_index}{reason}"


def alias_moves(registry: Registry, name: str) -> tuple[AliasMoveShown, ...]:
    """Every move of an alias of a name that a checkpoint covers, oldest first, from what was signed about each version.

    Raises:
        NoSuchName: no version has that name.
        SaidDiffers, StatementAltered, VersionsDiffer, PathRejected: a row says otherwise than what was signed or logged.
    """
    versions = [version for version in all_signed_versions(registry, name_prefix=name) if version.name == name]
    if not versions:
        raise NoSuchName(name)
    covered = covered_size(registry)
    by_manifest: dict[Digest, Version] = {}
    for version in versions:
        by_manifest.setdefault(version.manifest_digest, version)  # equal bytes under one name are one version
    moves = [move for version in by_manifest.values() for move in moves_to(registry, version, covered)]
    return tuple(sorted(moves, key=lambda move: move.log_index))


def moves_of(registry: Registry, reference: str) -> tuple[str, tuple[AliasMoveShown, ...]]:
    """The name that a reference has, and every move of its aliases; of one alias where the reference names one.

    Raises:
        MalformedReference: the reference has no name.
        NoSuchName, IntegrityBroken: as `alias_moves`.
    """
    named = Reference.parse(reference)
    if named.name is None:
        raise MalformedReference(reference, "a history is that of a name")
    moves = alias_moves(registry, named.name)
    return named.name, tuple(move for move in moves if named.alias in (None, move.alias))


def version_at(registry: Registry, reference: str, at: str) -> tuple[AliasMoveShown, str]:
    """The move by which an alias pointed at what it did at a time, and the label of that version.

    Raises:
        MalformedReference: the reference names no alias.
        TimeRefused: `at` is not a time.
        NothingThere: it had not been moved, or had been taken away.
        NoSuchName, IntegrityBroken: as `alias_moves`.
    """
    named = Reference.parse(reference)
    if named.name is None or named.alias is None:
        raise MalformedReference(reference, "--at asks where an alias pointed: name@alias")
    moment = _moment(at)
    earlier = [move for move in alias_moves(registry, named.name) if move.alias == named.alias and move.at <= moment]
    if not earlier:
        raise NothingThere(named.name, named.alias, at, "it was moved for the first time later, or never")
    last = earlier[-1]
    if last.version is None:
        raise NothingThere(named.name, named.alias, at, f"{last.by} took it away at {last.at}")
    return last, last.version


def moves_to(registry: Registry, version: Version, covered: int) -> Iterator[AliasMoveShown]:
    """Every move of an alias to a version, or away from it, among the first `covered` entries of the log, oldest first.

    Raises:
        SaidDiffers, StatementAltered, PathRejected: a row says otherwise than what was signed or logged.
    """
    for stored in signed_statements(registry, version.manifest_digest):
        index = stored.log_index
        if stored.kind != "alias" or index is None or index >= covered:
            continue
        move = AliasPredicate.from_json(stored.statement.predicate)
        if move.name != version.name:
            continue
        yield AliasMoveShown(
            alias=move.alias,
            version=None if move.removed else version.label,
            manifest=version.manifest_digest,
            at=stored.appended_at or "",
            by=registry.trust.person_of(stored.key_id) or f"key {stored.key_id[:12]}…",
            policy=None if move.gate is None else move.gate.policy_name,
            reason=move.reason,
            log_index=index,
        )


def _moment(text: str) -> Timestamp:
    """A time as entries of the log write it; of a day its last second."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise TimeRefused(text) from error
    if len(text) == len("2026-05-01"):
        moment = moment.replace(hour=23, minute=59, second=59)
    return timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
