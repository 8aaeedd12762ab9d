"""Signed answers on their way into the record of a version: those that wait, and what the home knows besides."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_registry.registry.compliance.answers import (
    SignedAnswers,
    known_elsewhere,
    superseding_with_answers,
)
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.signed_records import signed_statements, stored_manifest, version_statements
from peft_registry.registry.records.version_statements import SignedRecord
from peft_registry.registry.records.waiting_answers import waiting_answers
from peft_registry.registry.use_cases.supersede import supersede_record
from peft_registry.schemas.answers import AREA_ROLES
from peft_registry.schemas.base_model import BaseRecord, DeclaredFacts
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections
from peft_registry.schemas.statement import RegistrationPredicate, StoredStatement
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version


def complete_answers(registry: Registry, version: Version) -> SignedRecord | None:
    """The record that takes up every signed answer that waits; None where there are none.

    Whoever signed them elsewhere, or was stopped before the record was made, has answered all the same.
    """
    if not waiting_answers(version_statements(registry, version), version):
        return None

    def build(before: SignedRecord) -> ModificationRecord:
        # read anew: somebody else may have made a record since
        waiting = waiting_answers(version_statements(registry, version), version)
        return record_with_answers(registry, before, waiting, version)

    return supersede_record(registry, version, build)


def record_with_answers(
    registry: Registry, before: SignedRecord, signed: Sequence[SignedAnswers], version: Version
) -> ModificationRecord:
    """The record that takes answers up, with what is known at home of what nobody answered."""
    return superseding_with_answers(
        before.record,
        *signed,
        version=version,
        record_id=registry.nonce(),
        now=registry.clock(),
        defaults=known_at_home(registry, before.record, version),
    )


def known_at_home(registry: Registry, record: RecordSections, version: Version) -> dict[str, Value]:
    """What the home's profile and the bases that a record names answer, so that nobody is asked again.

    What is recorded of a base since the record was made answers only where the role of whoever signed that may: registering a base
    takes the key of a trainer, and most of what is declared of one is for somebody else to say.
    """
    bases = [base_named_by(registry, version, base) for base in record.base]
    known = known_elsewhere(record, read_profile(registry), [None if base is None else base.facts for base in bases])
    of_profile = known_elsewhere(record, read_profile(registry), [None for _ in bases])
    return {
        path: value
        for path, value in known.items()
        if of_profile.get(path) == value or _may_answer(path, record, bases)
    }


@dataclass(frozen=True, slots=True)
class StatedBase:
    """What is declared about a base, and the role of whoever signed it; None where the trust file does not list the key."""

    name: object  # as the record has it
    facts: DeclaredFacts
    role: str | None


def _may_answer(path: str, record: RecordSections, bases: Sequence[StatedBase | None]) -> bool:
    """Whether the role behind what is recorded of a base answers in the area of a field."""
    place = FieldPath.parse(path)
    if place.section == "upstream":
        terms = record.upstream if isinstance(record, ModificationRecord) else ()
        name = terms[place.position or 0].name.value
        named = [base for base in bases if base is not None and base.name == name]
    else:
        base = bases[place.position or 0]
        named = [] if base is None else [base]
    owner = field_rules().by_path()[place.rule].owner
    return owner != "tool" and bool(named) and all(base.role in AREA_ROLES[owner] for base in named)


def base_named_by(registry: Registry, version: Version, used: BaseUsed) -> StatedBase | None:
    """What is recorded of a base under the name that a record has for it; None where it is not registered here so.

    The signed manifest of the version says which base that is. A row of the catalogue, or equal weights that somebody added under
    another name, do not.
    """
    for manifest in _bases_of(registry, version):
        if str(stored_manifest(registry, manifest).weights_digest) != used.tensor_digest.value:
            continue
        stored = _newest_under(signed_statements(registry, manifest), str(used.name.value))
        if stored is not None:
            key = registry.trust.key(stored.key_id)
            facts = BaseRecord.from_json(stored.statement.predicate).facts
            return StatedBase(used.name.value, facts, None if key is None else key.role)
    return None


def _bases_of(registry: Registry, version: Version) -> tuple[Digest, ...]:
    """The manifests of the bases that a version was made from, as far as the store has them."""
    manifest = stored_manifest(registry, version.manifest_digest)
    bases = [parent.manifest for parent in manifest.parents if parent.role == "base"]
    return tuple(digest for digest in bases if registry.store.has(digest))


def _newest_under(statements: Sequence[StoredStatement], name: str) -> StoredStatement | None:
    """The newest base statement about the base of this name, of the statements about its manifest in the order of the log.

    One that came with a registration is of the name that this gave. One that came alone is of this name while it is the only one:
    afterwards nobody can tell whose it is.
    """
    newest, registered, elsewhere = None, False, False
    own, of_others = _accompanying(statements, name)
    for stored in statements:
        if stored.kind == "registration":
            is_own = RegistrationPredicate.from_json(stored.statement.predicate).name == name
            registered, elsewhere = registered or is_own, elsewhere or not is_own
        elif stored.kind == "base" and (stored.digest in own or not (elsewhere or stored.digest in of_others)):
            newest = stored
    return newest if registered else None


def _accompanying(statements: Sequence[StoredStatement], name: str) -> tuple[set[Digest], set[Digest]]:
    """The statements that came with registrations under a name, and those that came with registrations under others alone."""
    registrations = [
        RegistrationPredicate.from_json(stored.statement.predicate)
        for stored in statements
        if stored.kind == "registration"
    ]
    own = {digest for one in registrations if one.name == name for digest in one.accompanied_by}
    others = {digest for one in registrations if one.name != name for digest in one.accompanied_by}
    return own, others - own
