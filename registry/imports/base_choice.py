"""Which registered base a folder belongs to: the one that the user names, else the one that the folder names.

A name decides nothing alone: whether the result can be of that base, its tensors say (`fit`). But where a folder names another base
than the user does, it is of that one.
"""

import re
from dataclasses import dataclass

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.references import version_named
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.hub_names import COMMIT, HUB_ID
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ChosenBy
from peft_registry.schemas.version import Version

_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
# how copies of a model in 4 bits are called; an adapter that was trained on one is of the model
_QUANTISED = re.compile(r"(?:-unsloth)?-(?:bnb-4bit|4bit|bnb)\Z")


class BaseToNameMissing(InputRefused):
    reference = "import-without-base"
    what = "which base {folder} belongs to is not known"
    why = "{reason}"
    fix = "name it with --base; `registry list --kind base` shows those that are registered"

    folder: str
    reason: str


class ImportBaseNotRegistered(NotFound):
    what = "the base of {folder} is not registered here"
    why = "it names {named!q}, and no base of that name or digest is registered"
    fix = "`registry base add {source}` registers it; or name a registered base with --base"

    folder: str
    named: str

    @property
    def source(self) -> str:
        return self.named if HUB_ID.match(self.named) else "FOLDER"


class ImportedOntoNoBase(InputRefused):
    reference = "import-onto-no-base"
    what = "{label} is not a base"
    why = "it is registered as {kind}; what is imported belongs to a base model"
    fix = "name a base with --base; `registry list --kind base` shows them"

    label: str
    kind: str


@dataclass(frozen=True, slots=True)
class RegisteredBase:
    """A base with what is recorded of it, and the statement that holds its record."""

    version: Version
    record: BaseRecord
    statement: Digest


@dataclass(frozen=True, slots=True)
class ChosenBase:
    """The base that a folder is held against, how it was chosen, and why the folder's own words speak against it."""

    base: RegisteredBase
    chosen_by: ChosenBy
    objection: str | None = None

    def by_weights(self) -> "ChosenBase":
        """The same, where the weights alone chose it."""
        return ChosenBase(self.base, "weights", self.objection)


def registered_bases(registry: Registry) -> tuple[RegisteredBase, ...]:
    """Every base that is registered, equal ones once, under the name that comes first."""
    by_manifest: dict[Digest, RegisteredBase] = {}
    for version in all_signed_versions(registry, kind="base"):
        if version.manifest_digest not in by_manifest:
            by_manifest[version.manifest_digest] = _registered_base(registry, version)
    return tuple(by_manifest.values())


def choose_base(
    registry: Registry, folder: str, *, named: str | None, revision: str | None, reference: str | None
) -> ChosenBase:
    """The base to hold a folder against.

    Args:
        folder: its name, for an error.
        named: what the folder calls its base; None where it says nothing.
        revision: which one of it the folder states.
        reference: what the user names, which comes first.

    Raises:
        BaseToNameMissing: neither names one, or several of that name are registered.
        ImportBaseNotRegistered: the one that the folder names is not here.
        ImportedOntoNoBase: what the user names is not a base.
        MalformedReference, NotFound, AliasUnsigned: as `version_named`.
    """
    bases = registered_bases(registry)
    matching = () if named is None else tuple(base for base in bases if is_called(base, named))
    if reference is not None:
        base = base_named(registry, reference)
        return ChosenBase(base, "user", _objection(base, named, revision, matching))
    if named is None:
        raise BaseToNameMissing(folder, "its configuration names none")
    if not matching:
        raise ImportBaseNotRegistered(folder, named)
    if len(matching) > 1:
        of_revision = tuple(base for base in matching if base.record.identity.revision == revision)
        matching = of_revision if revision is not None and len(of_revision) == 1 else matching
    if len(matching) > 1:
        labels = ", ".join(base.version.label for base in matching)
        raise BaseToNameMissing(
            folder, f"it names {named[:120]!a}, and several that may be meant are registered: {labels}"
        )
    how: ChosenBy = "digest" if _DIGEST.match(named) else "name"
    return ChosenBase(matching[0], how, _other_revision(matching[0], named, revision))


def base_named(registry: Registry, reference: str) -> RegisteredBase:
    """The base that a user names.

    Raises:
        ImportedOntoNoBase: it is not a base.
        MalformedReference, NotFound, AliasUnsigned: as `version_named`.
    """
    version = version_named(registry, reference)
    if version.kind != "base":
        raise ImportedOntoNoBase(version.label, version.kind)
    return _registered_base(registry, version)


def is_called(base: RegisteredBase, named: str) -> bool:
    """Whether a folder may mean a base by what it calls it: an id, a digest, a path that ends in its name."""
    identity = base.record.identity
    source = base.record.origin.source
    if _DIGEST.match(named):
        return named.removeprefix("sha256:") in (identity.weights.hex, base.version.manifest_digest.hex)
    if HUB_ID.match(named) and HUB_ID.match(source):
        return _same_model(named, source)
    last = re.split(r"[/\\]", named.rstrip("/\\"))[-1].lower()
    return last in (source.rpartition("/")[2].lower(), base.version.name.lower())


def other_owner(base: RegisteredBase, named: str | None) -> str | None:
    """What speaks for another model of equal shape behind the name that a folder gives its base; None where nothing does.

    An id on the Hub names an owner; a base that was added from a folder, or a copy under another owner, shares the last part alone.
    """
    source = base.record.origin.source
    if named is None or not HUB_ID.match(named) or _DIGEST.match(named) or named.lower() == source.lower():
        return None
    label = base.version.label
    if not HUB_ID.match(source):
        return f"it names {named!a} as its base, and {label} was not added under that id: it may be another model of its shape"
    return f"it names {named!a} as its base, and {label} is {source!a}, of another owner: it is held to be that model by name"


def _registered_base(registry: Registry, version: Version) -> RegisteredBase:
    stated = required_base(registry, version)
    return RegisteredBase(version, stated.record, stated.statement)


def _same_model(named: str, source: str) -> bool:
    """Whether two ids on the Hub are of one model, for which a copy in 4 bits under another owner counts as the model."""
    ids = (named.lower(), source.lower())
    if ids[0] == ids[1]:
        return True
    names = [_QUANTISED.sub("", text.rpartition("/")[2]) for text in ids]
    is_copy = any(text.startswith("unsloth/") or _QUANTISED.search(text) for text in ids)
    return is_copy and names[0] == names[1]


def _objection(
    base: RegisteredBase, named: str | None, revision: str | None, matching: tuple[RegisteredBase, ...]
) -> str | None:
    """Why the folder's own words say that it is of another base than the user says."""
    if named is None:
        return None
    others = [other for other in matching if other.record.identity.weights != base.record.identity.weights]
    if is_called(base, named):
        return _other_revision(base, named, revision)
    if others:
        return f"it names {named[:120]!a} as its base, which is registered as {others[0].version.label}"
    if _DIGEST.match(named):
        return f"it names the base {named[:71]}, and the weights of this one are {base.record.identity.weights}"
    source = base.record.origin.source
    if HUB_ID.match(named) and HUB_ID.match(source):
        return f"it names {named!a} as its base, and this one is {source!a}"
    return None


def _other_revision(base: RegisteredBase, named: str, revision: str | None) -> str | None:
    known = base.record.identity.revision
    if revision is None or known is None or not COMMIT.match(revision) or revision == known:
        return None
    return f"it was trained on the revision {revision} of {named[:120]!a}, and this one is {known}"
