"""Where the aliases of a name pointed, and when: every move as it was signed and logged, and what one pointed at at a time."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import Binding, binding_in_force
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import signed_statements_of_kinds
from peft_registry.registry.records.views import view_of
from peft_registry.registry.use_cases.gate import gate_by_records
from peft_registry.registry.verification.signed_versions import signed_version, signed_versions
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.identity import AliasNeeded, Digest, MalformedReference, Reference
from peft_registry.schemas.statement import StatementKind, StoredStatement
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, timestamp
from peft_registry.schemas.version import Version

_ALIAS: tuple[StatementKind, ...] = ("alias",)


class TimeRefused(InputRefused):
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


class AliasNeverMoved(NotFound):
    what = "{name}@{alias} never pointed at anything"
    why = "{reason}"
    fix = "{remedy}"

    name: str
    alias: str
    others: tuple[str, ...]  # that were moved

    @property
    def reason(self) -> str:
        if not self.others:
            return f"no alias of {self.name} was ever moved"
        return f"the aliases of {self.name} that were ever moved are {', '.join(self.others)}"

    @property
    def remedy(self) -> str:
        nearest = closest(self.alias, self.others)
        otherwise = f"`registry promote {self.name}:NUMBER {self.alias}` points it at a version"
        return did_you_mean(nearest and f"{self.name}@{nearest}", otherwise)


class AliasMoveShown(Frozen):
    """One move of an alias; `version` is None where it was taken away. `notes` say what it did not pass, or does not today."""

    alias: str
    version: str | None
    manifest: Digest
    at: Timestamp
    by: str
    policy: str | None
    reason: str | None
    log_index: int
    policy_digest: Digest | None = None
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What moved where, by whom, under which policy and why."""
        where = "taken away" if self.version is None else f"→ {self.version}"
        policy = "no policy" if self.policy is None else f"policy {self.policy}"
        reason = "" if self.reason is None else f": {self.reason}"
        notes = "".join(f"  [{note}]" for note in self.notes)
        return f"@{self.alias} {where}  by {self.by}, {policy}, log {self.log_index}{reason}{notes}"


def alias_moves(registry: Registry, name: str) -> tuple[AliasMoveShown, ...]:
    """Every move of an alias of a name that a checkpoint covers, oldest first, from what was signed about each version.

    Raises:
        VersionUnknown: no version has that name.
        SaidDiffers, StatementAltered, VersionsDiffer, PathRejected: a row says otherwise than what was signed or logged.
    """
    with registry.database.reading():
        with registry.database.read() as tx:
            versions = catalog.versions_of(tx, name) or (catalog.resolve(tx, Reference(name=name)),)
        return moves_to(registry, signed_versions(registry, versions))


def moves_of(registry: Registry, reference: str) -> tuple[str, tuple[AliasMoveShown, ...]]:
    """The name that a reference has, and every move of its aliases, with notes; of one alias where the reference names one.

    A note says that a move was made before its alias was bound to a policy, or past it, and of where an alias points now, how
    many reasons that policy has against it today, by the records.

    Raises:
        MalformedReference: the reference has no name.
        AliasNeverMoved: the alias that the reference names never was.
        VersionUnknown, IntegrityBroken: as `alias_moves`.
        ObjectMissing, ObjectCorrupt: the store lost the bytes of a policy, or changed them.
    """
    named = Reference.parse(reference)
    if named.name is None:
        raise MalformedReference(reference, "a history is that of a name")
    moves = alias_moves(registry, named.name)
    if named.alias is not None:
        _require_moved(moves, named.name, named.alias)
    asked = tuple(move for move in moves if named.alias in (None, move.alias))
    return named.name, tuple(_noted(registry, named.name, asked))


def _noted(registry: Registry, name: str, moves: Sequence[AliasMoveShown]) -> Iterator[AliasMoveShown]:
    last = {move.alias: move for move in moves}
    with view_of(registry) as view:
        bound = {alias: binding_in_force(view, name, alias) for alias in last}
        before = {move.log_index: binding_in_force(view, name, move.alias, before=move.log_index) for move in moves}
    for move in moves:
        notes = [*_past_binding(move, before[move.log_index], bound[move.alias])]
        if move is last[move.alias] and move.version is not None:
            notes += _closed_today(registry, move.alias, move.version)
        yield move.revised(notes=tuple(notes)) if notes else move


def _past_binding(move: AliasMoveShown, before: Binding | None, now: Binding | None) -> Iterator[str]:
    """Why a move did not pass the policy of its alias; nothing where it did, or where there is none."""
    if move.version is None:
        return
    if before is not None and move.policy_digest != before.policy:
        yield f"past the policy {before.policy_name}, which {before.by} had bound it to on {before.at[:10]}"
    elif now is not None and before is None:
        yield f"before {now.by} bound it to {now.policy_name} on {now.at[:10]}"
    elif now is not None and move.policy_digest != now.policy:
        yield f"before {now.by} bound it to another policy, {now.policy_name}, on {now.at[:10]}"


def _closed_today(registry: Registry, alias: str, label: str) -> Iterator[str]:
    gate = gate_by_records(registry, signed_version(registry, version_named(registry, label)), alias)
    if gate is not None and not gate.decision.is_open:
        count = len(gate.decision.reasons)
        yield f"closed today by {gate.policy}: {count} reason{'' if count == 1 else 's'}"


def version_at(registry: Registry, reference: str, at: str) -> tuple[AliasMoveShown, str]:
    """The move by which an alias pointed at what it did at a time, and the label of that version.

    Raises:
        AliasNeeded: the reference names no alias.
        TimeRefused: `at` is not a time.
        NothingThere: it had not been moved, or had been taken away.
        AliasNeverMoved: it never was.
        VersionUnknown, IntegrityBroken: as `alias_moves`.
    """
    named = Reference.parse(reference)
    if named.name is None or named.alias is None:
        raise AliasNeeded(reference, "--at asks where an alias pointed at a time, and a version never changes")
    moment = _moment(at)
    moves = alias_moves(registry, named.name)
    _require_moved(moves, named.name, named.alias)
    of_alias = [move for move in moves if move.alias == named.alias]
    earlier = [move for move in of_alias if move.at <= moment]
    if not earlier:
        raise NothingThere(named.name, named.alias, at, f"it was moved for the first time at {of_alias[0].at}")
    last = earlier[-1]
    label = last.version
    if label is None:
        raise NothingThere(named.name, named.alias, at, f"{last.by} took it away at {last.at}")
    if moment[:10] > registry.clock()[:10]:
        last = last.revised(notes=(*last.notes, f"{at} is to come: this is as of {registry.clock()}"))
    return last, label


def _require_moved(moves: Sequence[AliasMoveShown], name: str, alias: str) -> None:
    """Raise AliasNeverMoved if none of the moves of a name is one of this alias."""
    moved = tuple(dict.fromkeys(move.alias for move in moves))
    if alias not in moved:
        raise AliasNeverMoved(name, alias, moved)


def moves_to(registry: Registry, versions: Iterable[Version]) -> tuple[AliasMoveShown, ...]:
    """Every move of an alias to one of these versions, or away from it, that a checkpoint covers, oldest first.

    Raises:
        SaidDiffers, StatementAltered, PathRejected: a row says otherwise than what was signed or logged.
    """
    by_manifest: dict[Digest, Version] = {}
    for version in versions:
        by_manifest.setdefault(version.manifest_digest, version)  # equal bytes under one name are one version
    covered = covered_size(registry)
    said = signed_statements_of_kinds(registry, by_manifest, _ALIAS)
    moves = [
        move
        for manifest, version in by_manifest.items()
        for move in _moves_among(registry, version, said[manifest], covered)
    ]
    return tuple(sorted(moves, key=lambda move: move.log_index))


def _moves_among(
    registry: Registry, version: Version, said: Iterable[StoredStatement], covered: int
) -> Iterator[AliasMoveShown]:
    """The moves under the name of a version among the first `covered` entries of the log, of those about its artifact."""
    for stored in said:
        index = stored.log_index
        if index is None or index >= covered:
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
            policy_digest=None if move.gate is None else move.gate.policy,
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
