"""The base of a run: found by name, compared byte by byte before anything is loaded, and looked at again afterwards."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.inherited_terms import with_answered_terms
from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, upstream_terms
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull_base import CheckedFolder, checked_folder
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, FileEntry
from peft_registry.schemas.modification import BaseUsed, UpstreamTerms
from peft_registry.schemas.progress import Observe, Said
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.quantization import describe


class NotABase(InputRefused):
    what = "{label} is not a base"
    why = "it is registered as {kind}, and as a base it would have neither the data nor the terms of what went into it"
    fix = "name a base in `base:` (`registry list --kind base` shows them), and an adapter to train further in `continue_from:`"

    label: str
    kind: str


@dataclass(frozen=True)
class CheckedBase:
    """The base of a run: version, record, and its files in a private folder, each compared with the registered one."""

    version: Version
    record: BaseRecord
    files: tuple[FileEntry, ...]
    checked: CheckedFolder
    statement: Digest  # that holds its record

    @property
    def folder(self) -> Path:
        return self.checked.folder

    def reference(self, config: TrainingFile) -> BaseReference:
        """What the result of a file's run needs."""
        block = config.quantization
        return BaseReference(
            identity=self.record.identity,
            manifest=self.version.manifest_digest,
            quantisation=None if block is None else describe(block),
        )

    def as_input(self, *, parent_records: tuple[str, ...] = ()) -> BaseInput:
        """The base as the modification record describes it.

        Args:
            parent_records: manifests of what training continued from.
        """
        return BaseInput(
            name=self.version.name,
            record=self.record,
            number=self.version.number,
            manifest=self.version.manifest_digest,
            files=self.files,
            added_at=self.version.registered_at,
            parent_records=parent_records,
            statement=self.statement,
        )

    def require_unchanged(self) -> None:
        """Raise unless the files that were loaded are those that were compared.

        Raises:
            BaseChanged: a file was changed, replaced or removed.
        """
        self.checked.require_unchanged()


def recorded_base(
    registry: Registry, version: Version, ancestors: Iterable[Ancestor] = ()
) -> tuple[BaseUsed, UpstreamTerms]:
    """A base and its terms as the modification record will have them, as far as that is known without a byte of it.

    `ancestors` are what goes in besides the base: what their records answer of it is in them.
    """
    stated = required_base(registry, version)
    base = BaseInput(
        name=version.name,
        record=stated.record,
        added_at=version.registered_at,
        statement=stated.statement,
    )
    return with_answered_terms(base_section(base), upstream_terms(base), ancestors)


def base_named(registry: Registry, reference: str) -> Version:
    """The base that a reference means.

    Raises:
        NotABase: it means a version of another kind.
        MalformedReference, NotFound, AliasUnsigned: as `peft_registry.registry.records.references.version_named`.
    """
    version = version_named(registry, reference)
    if version.kind != "base":
        raise NotABase(version.label, version.kind)
    return version


def usable_base(registry: Registry, reference: str) -> Version:
    """The base that a reference means, to train on it.

    Raises:
        VersionStopped: it is recalled.
        NotABase, MalformedReference, NotFound, AliasUnsigned: as `base_named`.
    """
    version = base_named(registry, reference)
    require_not_stopped(registry, "train", version)
    return version


def checked_base(registry: Registry, version: Version, scratch: Path, observe: Observe) -> CheckedBase:
    """The base in a private folder under `scratch`, every byte of it compared with what was registered.

    Raises:
        BaseRecordMissing, BaseBytesMissing: nothing is known of it, or its files are not on this machine.
        WrongBase: the files are not the registered ones.
    """
    stated = required_base(registry, version)
    record = stated.record
    files = stored_manifest(registry, version.manifest_digest).files
    checked = checked_folder(registry, version, scratch / "base", observe=observe)
    licence = record.facts.licence.value or "licence unknown"
    observe(
        Said(
            "base",
            f"{version.label} {record.identity.weights.short}  {record.parameters_total / 1e6:.1f} M  {licence}  digest checked",
        )
    )
    return CheckedBase(version, record, files, checked, stated.statement)
