"""Which entries of the log register a version, move an alias or say how something was made, and whether the catalogue has them.

Whoever can write the database can take rows out. A list by an index shows nothing of that: so each list asks here first.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.records.provenance import MERGE_FIELD, RUN_FIELD
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.views import SaidDiffers, VersionsDiffer, View
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.statement import RegistrationPredicate

_READ_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class LoggedEntries:
    """What the log has, if it is that of its newest checkpoint; no entry whole, because it is kept while thousands are shown.

    Attributes:
        registrations: the numbers of the entries that register a version.
        moves: the statements that moved an alias, by the artifact that they are about.
        productions: artifacts, each with a statement of how it was made, in the order of the log.
    """

    registrations: frozenset[int]
    moves: Mapping[Digest, tuple[Digest, ...]]
    productions: tuple[tuple[Digest, Digest], ...]

    @classmethod
    def of(cls, view: View) -> Self:
        """Those of a log, which is read whole.

        Raises:
            LogForked, LogTruncated: the entries are not those that the checkpoint covers.
        """
        registrations: set[int] = set()
        moves: dict[Digest, list[Digest]] = defaultdict(list)
        productions: list[tuple[Digest, Digest]] = []
        for index, data in view.leaves():
            leaf = read_leaf(data)
            if not isinstance(leaf, Event):
                continue
            if leaf.kind == "registration":
                registrations.add(index)
            elif leaf.kind == "alias":
                moves[leaf.subject].append(leaf.statement)
            elif leaf.kind == "provenance":
                productions.append((leaf.subject, leaf.statement))
        return cls(
            frozenset(registrations), {subject: tuple(said) for subject, said in moves.items()}, tuple(productions)
        )

    def require_versions(self, view: View) -> None:
        """Raise VersionsDiffer unless the catalogue has a version for each entry that registers one."""
        for index in sorted(self.registrations - catalog.version_entries(view.tx)):
            event = view.leaf(index)
            assert isinstance(event, Event), "it registers a version"
            raise VersionsDiffer(
                _registered_name(view, event),
                f"entry {index} registers {event.subject}, and the catalogue has no version of that entry",
            )

    def aliases_moved(self, view: View, name: str, manifests: frozenset[Digest]) -> tuple[str, ...]:
        """The aliases of a name that ever pointed at one of its artifacts, in order.

        Raises:
            VersionsDiffer: the statement of a move is not in the database.
        """
        digests = {digest for manifest in manifests for digest in self.moves.get(manifest, ())}
        said = catalog.statements_with(view.tx, digests)
        if len(said) < len(digests):
            raise VersionsDiffer(name, "a statement that moved an alias of it is not in the database")
        moves = [AliasPredicate.from_json(stored.statement.predicate) for stored in said.values()]
        return tuple(sorted({move.alias for move in moves if move.name == name}))


def _registered_name(view: View, event: Event) -> str:
    """The name that an entry registers; the beginning of the digest where its statement is gone too."""
    said = catalog.statement(view.tx, event.statement)
    try:
        return event.subject.short if said is None else RegistrationPredicate.from_json(said.statement.predicate).name
    except ValidationError:
        return event.subject.short


def runs_said(view: View, productions: Sequence[tuple[Digest, Digest]]) -> Iterator[tuple[Digest, Mapping[str, Any]]]:
    """What statements of how artifacts were made say of the run or merge, each with the artifact; signatures are not looked at.

    Raises:
        SaidDiffers: one of them is not in the database.
        MalformedEnvelope, LooseBase64, RowDamaged: one of them is not what was written.
    """
    for start in range(0, len(productions), _READ_AT_ONCE):  # a record of a run may have megabytes
        part = productions[start : start + _READ_AT_ONCE]
        said = catalog.statements_with(view.tx, {statement for _, statement in part})
        for subject, statement in part:
            if statement not in said:
                raise SaidDiffers(subject, f"the log has statement {statement}, which is not stored")
            predicate = said[statement].statement.predicate
            for made in (predicate.get(RUN_FIELD), predicate.get(MERGE_FIELD)):
                if isinstance(made, dict):
                    yield subject, made
