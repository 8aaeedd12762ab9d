"""The base of a run: found by name, checked byte by byte before anything is loaded, and looked at again afterwards."""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import StatKey
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder
from peft_registry.registry.intake.paths import scan_folder
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull_base import base_folder, check_base_folder
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.manifest import BaseReference
from peft_registry.schemas.progress import Observe, Said
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.quantization import describe


class NotABase(InputRefused):
    reference = "not-a-base"
    what = "{label} is not a base"
    why = "it is registered as {kind}; training starts from a whole model"
    fix = "name a base in `base:`; `registry list --kind base` shows them"

    label: str
    kind: str


class BaseChanged(IntegrityBroken):
    reference = "base-changed"
    what = "{path} of the base changed between its check and its loading"
    why = "the file's device, inode, size or times are others, or it appeared or disappeared"
    fix = "let whatever writes there finish, then run the command again; nothing was registered"

    path: str


@dataclass(frozen=True)
class CheckedBase:
    """The base of a run, checked: version, record, folder and the stat keys of its files."""

    version: Version
    record: BaseRecord
    folder: Path
    found: BaseFolder
    keys: dict[str, StatKey]

    def reference(self, config: TrainingFile) -> BaseReference:
        """What the result of a file's run needs."""
        block = config.quantization
        return BaseReference(
            identity=self.record.identity,
            manifest=self.version.manifest_digest,
            quantisation=None if block is None else describe(block),
        )

    def require_unchanged(self) -> None:
        """Raise unless the folder holds the very files that were checked: a file more may change what is loaded too.

        Raises:
            BaseChanged: a file was changed, replaced, added or removed.
        """
        present = file_states(self.folder)
        for path in sorted(present.keys() | self.keys.keys()):
            if present.get(path) != self.keys.get(path):
                raise BaseChanged(path)


def file_states(folder: Path) -> dict[str, StatKey]:
    """Every file of a folder, and the state in which it lies there."""
    return {file.path: StatKey.of_path(folder / file.path) for file in scan_folder(folder, family="intake")}


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


def checked_base(registry: Registry, version: Version, scratch: Path, observe: Observe) -> CheckedBase:
    """The base, its folder here or assembled under `scratch`, and every byte of it compared with what is pinned.

    Raises:
        BaseRecordMissing, BaseBytesMissing: nothing is known of it, or its files are not on this machine.
        WrongBase: the files are not the pinned ones.
    """
    record = base_record(registry, version)
    folder = base_folder(registry, version, scratch / "base")
    keys = file_states(folder)
    found = check_base_folder(registry, version, folder, record.identity)
    licence = record.facts.licence.value or "licence unknown"
    observe(
        Said(
            "base",
            f"{version.label} {record.identity.weights.short}  {record.parameters_total / 1e6:.1f} M  {licence}  digest checked",
        )
    )
    return CheckedBase(version, record, folder, found, keys)
