"""`registry import`: what somebody made elsewhere, registered as imported, by the one way in which every result enters.

First everything that can refuse: the folders, their bases, the facts. The files of each model are copied before they are looked at,
so that what is looked at is what is registered, whoever writes to the folder meanwhile. Nothing is loaded; nothing needs torch.
"""

import json
from dataclasses import dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.completeness import Completeness, completeness
from peft_registry.registry.compliance.importing import ImportedChange
from peft_registry.registry.compliance.recorded_result import Scan
from peft_registry.registry.disk.files import FileChanged, scratch_folder, unwritable, write_new
from peft_registry.registry.disk.hashing import OnBytes, bytes_told
from peft_registry.registry.exports.model_card import import_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME, JSON_MAX_BYTES, identify_base
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX, manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.imports.findings import findings_of_config, findings_of_files, findings_of_name
from peft_registry.registry.imports.model_texts import texts_given_away, without_savers_paths
from peft_registry.registry.imports.offered import ADAPTER_WEIGHTS, described
from peft_registry.registry.imports.settings import without_path
from peft_registry.registry.imports.weights_scan import scan_weights
from peft_registry.registry.intake.paths import FileFound
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.first_records import MadeResult, derive_record
from peft_registry.registry.use_cases.import_plan import ImportPlan, ImportRequest, plan_import
from peft_registry.registry.use_cases.register_product import FinishedProduct, register_product, signer_of
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.imports import Finding, ImportRecord, SourceFile
from peft_registry.schemas.manifest import BaseReference, Manifest, Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.version import Version

PROMISES_NOTHING = "the form of the files was checked; this does not detect backdoors"


_MAX_FINDINGS = 200


class NameForSeveral(InputRefused):
    reference = "import-name-for-several"
    what = "--name names one folder, and {count} are to be imported"
    why = "each of them gets a name of its own"
    fix = "leave --name out: each is registered under the name of its folder; or import them one by one"

    count: int


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What one folder became."""

    version: Version
    record: ImportRecord = field(repr=False)
    modification: ModificationRecord = field(repr=False)
    signed_by: str
    was_there: bool

    @property
    def gaps(self) -> Completeness:
        """What is known and what is open, by whoever can answer it."""
        return completeness(self.modification)

    def to_json(self) -> dict[str, Any]:
        """The object that `import --output json` gives for a folder."""
        counted = self.gaps
        return {
            "version": self.version.label,
            "manifest_digest": str(self.version.manifest_digest),
            "weights_digest": str(self.version.weights_digest),
            "base_digest": str(self.record.base.identity.weights),
            "origin": "imported",
            "producer": self.record.producer,
            "told_by": self.record.told_by,
            "repository": self.record.repository,
            "method": self.record.method,
            "fit": self.record.fit.to_json(),
            "settings": {name: value.to_json() for name, value in sorted(self.record.settings.items())},
            "findings": [finding.to_json() for finding in self.record.findings],
            "filled": counted.filled,
            "required": counted.total,
            "open": dict(counted.by_owner),
            "gaps": [gap.model_dump(mode="json") for gap in counted.open],
            "modification_record": str(self.modification.canonical_digest()),
            "registered_before": self.was_there,
            "log_index": self.version.log_index,
        }


def import_folders(
    registry: Registry, request: ImportRequest, *, observe: Observe = ignore
) -> tuple[ImportOutcome, ...]:
    """Register every folder as imported; nothing is registered where one of them is refused.

    Raises:
        NameForSeveral, MalformedReference, NameOfAnotherKind: the name.
        NothingToImport, PickleRefused, CodeRefused, SecretRefused, AdapterTypeUnknown, MalformedInput, MalformedWeights,
            WeightsNotFinite, UnsafeInputPath: a folder is refused.
        BaseToNameMissing, ImportBaseNotRegistered, ImportedOntoNoBase, NotFound: its base is not known.
        TensorNotDeclared: a tensor of an adapter is not one that its type has.
        SettingsOfOtherTensors: the configuration of an adapter contradicts its tensors.
        AdapterOfAnotherBase, ModelOfAnotherBase: it is of another base than that.
        RecalledInOtherNumbers: it is a result that must not be used, in other numbers.
        KnownError: as `read_checked_facts` and `register_product`.
    """
    registry.require_writable()
    require_announced(registry)
    if request.name is not None and len(request.folders) > 1:
        raise NameForSeveral(len(request.folders))
    signer = registry.trainer_key.public.key_id
    with scratch_folder("registry-import-") as scratch:
        imports = []
        for number, folder in enumerate(request.folders):
            copy = scratch / f"artifact-{number:05}"
            plan = plan_import(registry, request, folder, scratch, copy)
            origin = request.origins.get(folder)
            repository = None if origin is None else origin.text
            imports.append(_Import(registry, plan, signer, copy, repository, request.project, observe))
        staged = [folder.staged() for folder in imports]
        return tuple(folder.registered(files) for folder, files in zip(imports, staged, strict=True))


# --- the import ---


@dataclass(frozen=True, slots=True)
class _Staged:
    """A copied folder and what was found in it."""

    started: str
    sources: tuple[SourceFile, ...]
    scans: tuple[Scan, ...]
    manifest: Manifest
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Import:
    """One folder between its checks and its registration."""

    registry: Registry
    plan: ImportPlan
    key_id: str
    folder: Path  # the copy that is registered
    repository: str | None  # of the Hub, from which it came
    project: str | None
    observe: Observe

    def staged(self) -> _Staged:
        """The copy as it will be registered, looked at as a whole: the last that can refuse."""
        started = self.registry.clock()
        sources = self._sources()
        scans = scans_of(self.folder)
        if self.plan.config is None:
            with bytes_told(self.observe, "hash", total=self._weights) as on_bytes:
                # a whole model is whole: index, configuration and tokenizer fit together
                identify_base(self.folder, on_bytes=on_bytes)
        findings = self._findings(self.folder)
        if len(findings) > _MAX_FINDINGS:
            more = f"{len(findings) - _MAX_FINDINGS} more findings are not recorded"
            findings = (*findings[:_MAX_FINDINGS], Finding(kind="cut-short", text=more))
        with bytes_told(self.observe, "import", total=self._weights) as on_bytes:
            manifest = self._manifest(self.folder, on_bytes)
        return _Staged(started, sources, scans, manifest, findings)

    @property
    def _weights(self) -> int:
        """Bytes of the weights in the copy."""
        return sum(path.stat().st_size for path in self.folder.rglob(f"*{WEIGHTS_SUFFIX}"))

    def registered(self, staged: _Staged) -> ImportOutcome:
        """Describe and register."""
        plan = self.plan
        registry = self.registry
        import_id = registry.nonce()
        record = self._record(staged, import_id)
        self._say(record)
        result = MadeResult(
            name=plan.name,
            record_id=import_id,
            manifest=staged.manifest,
            production=record,
            base=plan.base_input,
            facts=plan.facts,
            change=self._change(record),
            scans=staged.scans,
        )
        derived = derive_record(registry, result, key_id=self.key_id)
        modification = derived.record
        self.observe(Said("record", completeness(modification).sentence))
        card = import_card(
            name=plan.name,
            manifest=staged.manifest,
            imported=record,
            base_name=plan.chosen.base.version.name,
            base=plan.chosen.base.record,
            record=modification,
        )
        product = FinishedProduct(
            name=plan.name,
            source="import",
            folder=self.folder,
            manifest=staged.manifest,
            production=record,
            observations=derived.observations,
            modification=modification,
            as_of=derived.as_of,
            card=card,
        )
        registered = register_product(registry, product, observe=self.observe)
        return ImportOutcome(
            version=registered.version,
            record=record,
            modification=modification,
            signed_by=signer_of(registry, self.key_id),
            was_there=registered.was_there,
        )

    def _change(self, record: ImportRecord) -> ImportedChange:
        if self.plan.replaces_weights:
            return ImportedChange(added=None, base_untouched=None)
        if self.plan.config is not None:
            return ImportedChange(added=record.parameters, base_untouched=True)
        return ImportedChange(added=None, base_untouched=False)

    def _sources(self) -> tuple[SourceFile, ...]:
        """What each file of the offered folder is; the configuration in the copy is written anew where it has to be."""
        offered = self.plan.offered
        sources = [self._of_model(file) for file in offered.model_files]
        sources += [self._beside(file) for file in offered.beside]
        return tuple(sorted(sources, key=lambda source: source.path.encode()))

    def _of_model(self, file: FileFound) -> SourceFile:
        """A file of the model; one that has to be is written anew in the copy, and described as it was."""
        source = described(self.plan.offered, file, "artifact")
        if file.path == ADAPTER_CONFIG_NAME:
            rewritten = None if self.plan.config is None else _rewritten_config(self.plan)
        elif file.size > JSON_MAX_BYTES:
            rewritten = None  # the scan refuses such a configuration, and no other file is written anew
        else:
            rewritten = without_savers_paths(self.folder, file.path)
        if rewritten is None:
            return source
        place = self.folder / file.path
        try:
            place.unlink()
            write_new(place, rewritten, mode=0o600)
        except OSError as error:
            raise unwritable(place, error) from error
        return source.revised(use="rewritten")

    def _beside(self, file: FileFound) -> SourceFile:
        """A file beside the model; one that settings were taken from is still what it was then."""
        read = self.plan.settings.read
        source = described(self.plan.offered, file, "read" if file.path in read else "noted")
        if file.path in read and read[file.path] != source.sha256:
            raise FileChanged(self.plan.offered.folder / file.path, "its settings were read before")
        return source

    def _manifest(self, folder: Path, on_bytes: OnBytes) -> Manifest:
        base = self.plan.chosen.base
        config = self.plan.config
        return manifest_of_folder(
            folder,
            kind="model" if config is None else "adapter",
            layout="model" if config is None else "peft",
            method=None if config is None else config.method.name,
            base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
            parents=(Parent(role="base", manifest=base.version.manifest_digest),),
            origin="imported",
            on_bytes=on_bytes,
        )

    def _findings(self, folder: Path) -> tuple[Finding, ...]:
        plan = self.plan
        named = plan.settings.base if plan.config is None else plan.config.base or plan.settings.base
        findings = (
            *plan.settings.findings,
            *findings_of_files(plan.offered),
            *findings_of_name(plan.chosen, named),
            *texts_given_away(folder, (file.path for file in plan.offered.model_files)),
            *plan.findings,
        )
        if plan.config is None:
            own = plan.chosen.base.record.identity.weights
            return (
                *findings,
                *(
                    Finding(kind="relation-unclear", text=f"whether it was made from its base: {relation.reason}")
                    for relation in plan.relations
                    if relation.weights == own and relation.answer == "cannot tell"
                ),
            )
        return (
            *findings,
            *findings_of_config(plan.config, plan.chosen, plan.settings),
            *scan_weights(folder / ADAPTER_WEIGHTS),
        )

    def _record(self, staged: _Staged, import_id: str) -> ImportRecord:
        plan = self.plan
        manifest = staged.manifest
        assert manifest.base is not None, "what is imported has a base"
        producer, told_by = plan.producer
        return ImportRecord(
            import_id=import_id,
            producer=producer,
            told_by=told_by,
            method=manifest.method,
            base=manifest.base,
            fit=plan.fit,
            relations=plan.relations,
            settings=dict(sorted(plan.settings.by_name.items())),
            sources=staged.sources,
            findings=staged.findings,
            parameters=sum(tensor.parameters for tensor in plan.tensors),
            weights_digest=manifest.weights_digest,
            tool_version=package_version("peft-registry"),
            started_at=staged.started,
            finished_at=self.registry.clock(),
            repository=self.repository,
            project=self.project,
        )

    def _say(self, record: ImportRecord) -> None:
        base = self.plan.chosen.base.version
        folder = self.plan.offered.name
        self.observe(
            Said("import", f"{folder}  {record.producer} ({record.told_by})  {record.method or 'whole model'}")
        )
        if record.relations:
            own = next(entry for entry in record.relations if entry.weights == record.base.identity.weights)
            answer = "cannot tell whether it was made from it" if own.answer == "cannot tell" else f"{own.answer} it"
            self.observe(Said("base", f"{base.label}  {answer}: {own.reason}"))
        else:
            fits = "compatible" if record.fit.compared else "nothing shows that it was made from it"
            text = f"{record.fit.compared} tensors match the shapes of {base.label} ({fits})"
            self.observe(Said("base", text))
        self.observe(Said("known", f"{len(record.settings)} settings, from {_files_read(record)}"))
        for finding in record.findings:
            place = f" ({finding.place})" if finding.place else ""
            self.observe(Warned(finding.kind, f"{finding.text}{place}"))
        self.observe(Said("scan", PROMISES_NOTHING))


def _files_read(record: ImportRecord) -> str:
    read = [source.path for source in record.sources if source.use == "read"]
    own = [] if record.relations else [ADAPTER_CONFIG_NAME]
    return ", ".join([*own, *read]) or "no file"


def _rewritten_config(plan: ImportPlan) -> bytes | None:
    """The adapter's configuration without a path of somebody's machine and without the name of a module; None as it is.

    Its base is then named by digest, as that of an adapter that was trained here.
    """
    assert plan.config is not None, "a whole model has no configuration of an adapter"
    values = dict(plan.config.values)
    base = values.get("base_model_name_or_path")
    changes: dict[str, Any] = {}
    if isinstance(base, str) and without_path(base) != base:
        changes["base_model_name_or_path"] = str(plan.chosen.base.record.identity.weights)
    tokenizer = values.get("tokenizer_name_or_path")
    if isinstance(tokenizer, str) and without_path(tokenizer) != tokenizer:
        changes["tokenizer_name_or_path"] = None
    if values.get("auto_mapping"):
        changes["auto_mapping"] = None
    return json.dumps(values | changes, indent=2, sort_keys=True).encode() + b"\n" if changes else None
