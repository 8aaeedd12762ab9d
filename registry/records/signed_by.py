"""What a key signed, according to the log: the versions that somebody who stole it may have touched.

Read from the leaves, which name the signer, and not from the rows, which anybody who can write the database can change. The leaves
hash to the root under the newest checkpoint, so none of them is missing; pending ones are read too. This reads the whole log: a
second or two for each hundred thousand entries.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.views import VersionsDiffer, View, view_of
from peft_registry.registry.signing.keys import key_id_named
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.version import Version


class SignerUnknown(NotFound):
    what = "no key {text!q} signed anything in this registry"
    why = "no entry of the log names a key whose id begins with it"
    fix = "copy the beginning of the key's id from `registry trust show` or `registry log show`"

    text: str


@dataclass(frozen=True, slots=True)
class TouchedVersion:
    """A version of which a key signed something, and which kinds of statement."""

    version: Version
    kinds: tuple[str, ...]


def versions_signed_by(registry: Registry, key: str) -> tuple[TouchedVersion, ...]:
    """Every version whose registration, or anything else that was said about it, this key signed; by name and number.

    Args:
        registry: open.
        key: the id of the key, or its beginning.

    Raises:
        SignerUnknown, KeyAmbiguous: no key, or more than one, has an id that begins so.
        LogForked, LogTruncated: the entries are not those that the newest checkpoint covers.
        VersionsDiffer: a version that the log has is missing in the catalogue, or is another there.
    """
    with view_of(registry) as view:
        said = _read_log(view)
        signed = said.by(key)
        touched = [
            TouchedVersion(version, tuple(sorted(kinds)))
            for manifest, kinds in signed.items()
            for version in _versions(view, manifest, said.registrations.get(manifest, set()))
        ]
    return tuple(sorted(touched, key=lambda entry: (entry.version.name, entry.version.number)))


@dataclass(slots=True)
class _Said:
    """Who said what about which artifact."""

    kinds: dict[str, dict[Digest, set[str]]] = field(default_factory=dict)  # by key id and manifest
    registrations: dict[Digest, set[int]] = field(default_factory=dict)  # the entries that registered an artifact

    def note(self, index: int, event: Event) -> None:
        self.kinds.setdefault(event.key, {}).setdefault(event.subject, set()).add(event.says or event.kind)
        if event.kind == "registration":
            self.registrations.setdefault(event.subject, set()).add(index)

    def by(self, text: str) -> dict[Digest, set[str]]:
        key_id = key_id_named(text, self.kinds)
        if key_id is None:
            raise SignerUnknown(text)
        return self.kinds[key_id]


def _read_log(view: View) -> _Said:
    """What every leaf says, if the leaves are those of the newest checkpoint.

    Raises:
        LogForked, LogTruncated: they are not.
    """
    said = _Said()
    for index, data in view.leaves():
        leaf = read_leaf(data)
        if isinstance(leaf, Event):
            said.note(index, leaf)
    return said


def _versions(view: View, manifest: Digest, registered_at: Iterable[int]) -> tuple[Version, ...]:
    """The versions that an artifact has, as the log gives them."""
    versions = catalog.version_by_digest(view.tx, manifest)
    if {version.log_index for version in versions} != set(registered_at):
        name = versions[0].name if versions else manifest.short
        raise VersionsDiffer(name, f"the entries that register {manifest} are not those that the catalogue names")
    for version in versions:
        view.require_logged(version)
    view.forget()  # one key may have signed everything
    return versions
