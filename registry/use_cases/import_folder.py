"""`registry import`: what somebody made elsewhere, registered as imported, by the one way in which every result enters.

First everything that can refuse: the folders, their bases, the facts. Then each folder is copied, looked at once more, described
and registered. Nothing is loaded, and nothing needs torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.completeness import Completeness, completeness
from peft_registry.registry.compliance.importing import ImportedChange, build_import_modification
from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, upstream_terms
from peft_registry.registry.disk.files import scratch_folder, unwritable, write_new
from peft_registry.registry.disk.hashing import copy_and_hash
from peft_registry.registry.exports.model_card import import_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import listed_tensors, manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.base_choice import ChosenBase, choose_base
from peft_registry.registry.imports.beside import Beside, settings_beside, without_path
from peft_registry.registry.imports.findings import findings_of_config, findings_of_files
from peft_registry.registry.imports.fit import AdapterOfAnotherBase, compare_with_base
from peft_registry.registry.imports.offered import (
    ADAPTER_WEIGHTS,
    NothingToImport,
    OfferedFolder,
    described,
    offered_folder,
)
from peft_registry.registry.imports.producers import producer_of
from peft_registry.registry.imports.vocabulary import vocabulary_misfit
from peft_registry.registry.imports.weights_scan import scan_weights
from peft_registry.registry.intake.facts_file import read_checked_facts
from peft_registry.registry.intake.paths import control_character
from peft_registry.registry.intake.peft_config import MAX_BYTES, PeftConfig, read_peft_config
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.registry.records.signed_records import stored_manifest
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.use_cases.register_product import Product, register_product, signer_of, signing_of
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import BaseFit, Finding, ImportRecord, Producer, SourceFile
from peft_registry.schemas.manifest import BaseReference, FileEntry, Manifest, Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.version import Version

PROMISES_NOTHING = (
    "these looks find what is wrong by form; none of them finds behaviour that somebody planted in the weights"
)


class NameForSeveral(InputRefused):
    reference = "import-name-for-several"
    what = "--name names one folder, and {count} are to be imported"
    why = "each of them gets a name of its own"
    fix = "leave --name out: each is registered under the name of its folder; or import them one by one"

    count: int


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import: folders, the base if the user names it, a name for a single folder, a facts file."""

    folders: tuple[Path, ...]
    base: str | None = None
    name: str | None = None
    facts: Path | None = None


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What one folder became."""

    version: Version
    record: ImportRecord
    modification: ModificationRecord
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
        AdapterOfAnotherBase: it is of another base than that.
        KnownError: as `read_checked_facts` and `register_product`.
    """
    registry.require_writable()
    if request.name is not None and len(request.folders) > 1:
        raise NameForSeveral(len(request.folders))
    prepared = [_prepare(registry, request, folder) for folder in request.folders]
    signer = registry.trainer_key.public.key_id
    return tuple(_Import(registry, folder, signer, observe).complete() for folder in prepared)


# --- everything that can refuse ---


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A folder that may come in: what it is, what it says, the base that it fits."""

    name: str
    offered: OfferedFolder
    config: PeftConfig
    beside: Beside
    producer: tuple[Producer, str]
    chosen: ChosenBase
    fit: BaseFit
    tensors: tuple[Tensor, ...]
    facts: dict[str, Any] | None
    base_files: tuple[FileEntry, ...]

    @property
    def base_input(self) -> BaseInput:
        base = self.chosen.base
        return BaseInput(
            name=base.version.name,
            record=base.record,
            number=base.version.number,
            manifest=base.version.manifest_digest,
            files=self.base_files,
            added_at=base.version.registered_at,
            statement=base.statement,
        )


def _prepare(registry: Registry, request: ImportRequest, folder: Path) -> _Prepared:
    name = request.name or default_name(folder)
    require_name(registry, name, is_base=False)
    offered = offered_folder(folder)
    if offered.kind == "model":
        raise NothingToImport(
            folder,
            "it is a whole model, which `registry base add` takes as a base",
            "name the folder of an adapter",
        )
    config = read_peft_config(offered.read(ADAPTER_CONFIG_NAME, max_bytes=MAX_BYTES))
    beside = settings_beside(offered, config.values)
    chosen = choose_base(
        registry, folder.name, named=_named_base(config, beside), revision=config.revision, reference=request.base
    )
    header = read_header(folder / ADAPTER_WEIGHTS, family="intake")
    # of a fit names and shapes decide; the values are hashed once, where they are copied
    nothing = Digest.of(b"")
    tensors = tuple(Tensor(span.name, span.dtype, span.shape, nothing) for span in header.tensors)
    manifest_of_base = stored_manifest(registry, chosen.base.version.manifest_digest)
    fit = _fit(offered, config, tensors, chosen, listed_tensors(manifest_of_base.weights))
    prepared = _Prepared(
        name=name,
        offered=offered,
        config=config,
        beside=beside,
        producer=producer_of({file.path for file in (*offered.model_files, *offered.beside)}, beside, config.values),
        chosen=chosen,
        fit=fit,
        tensors=tensors,
        facts=None,
        base_files=manifest_of_base.files,
    )
    return _with_facts(registry, request, prepared)


def _with_facts(registry: Registry, request: ImportRequest, prepared: _Prepared) -> _Prepared:
    base = prepared.base_input
    named = prepared.beside.settings.get("datasets")
    facts = read_checked_facts(
        request.facts,
        at=registry.clock(),
        bases=[base_section(base)],
        upstream=[upstream_terms(base)],
        data=[str(name) for name in named.value] if named is not None and isinstance(named.value, list) else [],
    )
    return replace(prepared, facts=facts)


def default_name(folder: Path) -> str:
    """A name from a folder's: lower case, other characters as dashes."""
    last = folder.resolve().name.lower()
    return "".join(
        letter if (letter.isascii() and letter.isalnum()) or letter in "._-" else "-" for letter in last
    ).strip("._-")


def _named_base(config: PeftConfig, beside: Beside) -> str | None:
    """What the folder calls its base: the adapter's configuration, else the card or the training file."""
    if config.base is not None:
        return config.base
    named = beside.settings.get("base")
    return str(named.value) if named is not None and isinstance(named.value, str) else None


def _fit(
    offered: OfferedFolder,
    config: PeftConfig,
    tensors: Sequence[Tensor],
    chosen: ChosenBase,
    base_tensors: Sequence[Tensor],
) -> BaseFit:
    """Why it can be of the base that was chosen.

    Raises:
        AdapterOfAnotherBase: it cannot.
    """
    label = chosen.base.version.label
    if chosen.objection is not None:
        raise AdapterOfAnotherBase(offered.folder.name, label, chosen.objection)
    compared = compare_with_base(tensors, config, base_tensors)
    misfit = compared.misfit or vocabulary_misfit(offered, tensors, base_tensors)
    if misfit is not None:
        raise AdapterOfAnotherBase(offered.folder.name, label, misfit)
    named = config.base
    return BaseFit(
        chosen_by=chosen.chosen_by,
        named=None if named is None else _printable(without_path(named)),
        named_revision=None if config.revision is None else _printable(config.revision),
        compared=compared.fitting,
        not_compared=compared.silent,
    )


def _printable(text: str) -> str:
    return text[:200] if control_character(text) is None else ascii(text[:200])


# --- the import ---


@dataclass(frozen=True, slots=True)
class _Import:
    """One folder between its checks and its registration."""

    registry: Registry
    prepared: _Prepared
    key_id: str
    observe: Observe

    def complete(self) -> ImportOutcome:
        """Copy, look, describe, register."""
        prepared, registry = self.prepared, self.registry
        started = registry.clock()
        import_id = registry.nonce()
        with scratch_folder("registry-import-") as scratch:
            folder = scratch / "artifact"
            sources = self._copy(folder)
            scans = scans_of(folder)
            manifest = self._manifest(folder)
            findings = self._findings(folder)
            record = self._record(manifest, import_id, sources, findings, started)
            self._say(record)
            modification = build_import_modification(
                record_id=import_id,
                now=registry.clock(),
                name=prepared.name,
                manifest=manifest,
                imported_as=record,
                base=prepared.base_input,
                change=ImportedChange(added=record.parameters, base_untouched=True),
                tool_version=record.tool_version,
                signing=signing_of(registry, self.key_id),
                scans=scans,
                facts=prepared.facts,
            )
            self.observe(Said("record", completeness(modification).sentence))
            card = import_card(
                name=prepared.name,
                manifest=manifest,
                imported=record,
                base_name=prepared.chosen.base.version.name,
                base=prepared.chosen.base.record,
                record=modification,
            )
            product = Product(prepared.name, "import", folder, manifest, record, modification, card)
            registered = register_product(registry, product, observe=self.observe)
        return ImportOutcome(
            version=registered.version,
            record=record,
            modification=modification,
            signed_by=signer_of(registry, self.key_id),
            was_there=registered.was_there,
        )

    def _copy(self, folder: Path) -> tuple[SourceFile, ...]:
        """The files of the model in a folder of their own, and what each file of the offered one is."""
        offered = self.prepared.offered
        sources = []
        try:
            folder.mkdir()
            for file in offered.model_files:
                source = described(offered, file, "artifact")
                rewritten = _rewritten_config(self.prepared) if file.path == ADAPTER_CONFIG_NAME else None
                if rewritten is None:
                    copied = copy_and_hash(offered.folder / file.path, folder / file.path)
                    source = source.revised(sha256=copied.sha256, bytes=copied.size)
                else:
                    write_new(folder / file.path, rewritten, mode=0o600)
                    source = source.revised(use="rewritten")
                sources.append(source)
        except OSError as error:
            raise unwritable(folder, error) from error
        read = set(self.prepared.beside.read)
        sources += [described(offered, file, "read" if file.path in read else "noted") for file in offered.beside]
        return tuple(sorted(sources, key=lambda source: source.path.encode()))

    def _manifest(self, folder: Path) -> Manifest:
        base = self.prepared.chosen.base
        return manifest_of_folder(
            folder,
            kind="adapter",
            layout="peft",
            method=self.prepared.config.method,
            base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
            parents=(Parent(role="base", manifest=base.version.manifest_digest),),
            origin="imported",
        )

    def _findings(self, folder: Path) -> tuple[Finding, ...]:
        prepared = self.prepared
        return (
            *prepared.beside.findings,
            *findings_of_config(prepared.config, prepared.chosen, prepared.beside),
            *findings_of_files(prepared.offered),
            *scan_weights(folder / ADAPTER_WEIGHTS),
        )

    def _record(
        self,
        manifest: Manifest,
        import_id: str,
        sources: tuple[SourceFile, ...],
        findings: tuple[Finding, ...],
        started: str,
    ) -> ImportRecord:
        prepared = self.prepared
        assert manifest.base is not None, "an imported adapter has a base"
        producer, told_by = prepared.producer
        return ImportRecord(
            import_id=import_id,
            producer=producer,
            told_by=told_by,
            method=prepared.config.method,
            base=manifest.base,
            fit=prepared.fit,
            settings=dict(sorted(prepared.beside.settings.items())),
            sources=sources,
            findings=findings,
            parameters=sum(tensor.parameters for tensor in prepared.tensors),
            weights_digest=manifest.weights_digest,
            tool_version=package_version("peft-registry"),
            started_at=started,
            finished_at=self.registry.clock(),
        )

    def _say(self, record: ImportRecord) -> None:
        base = self.prepared.chosen.base.version
        folder = self.prepared.offered.folder.name
        self.observe(Said("import", f"{folder}  {record.producer} ({record.told_by})  {record.method}"))
        self.observe(
            Said("base", f"{base.label}  {record.fit.compared} tensors have their place there: it can be of it")
        )
        self.observe(Said("known", f"{len(record.settings)} settings, from {_files_read(record)}"))
        for finding in record.findings:
            place = f" ({finding.place})" if finding.place else ""
            self.observe(Warned(finding.kind, f"{finding.text}{place}"))
        self.observe(Said("scan", PROMISES_NOTHING))


def _files_read(record: ImportRecord) -> str:
    read = [source.path for source in record.sources if source.use == "read"]
    return ", ".join([ADAPTER_CONFIG_NAME, *read])


def _rewritten_config(prepared: _Prepared) -> bytes | None:
    """The adapter's configuration without a path of somebody's machine and without the name of a module; None as it is.

    Its base is then named by digest, as that of an adapter that was trained here.
    """
    values = dict(prepared.config.values)
    base = values.get("base_model_name_or_path")
    changes: dict[str, Any] = {}
    if isinstance(base, str) and without_path(base) != base:
        changes["base_model_name_or_path"] = str(prepared.chosen.base.record.identity.weights)
    tokenizer = values.get("tokenizer_name_or_path")
    if isinstance(tokenizer, str) and without_path(tokenizer) != tokenizer:
        changes["tokenizer_name_or_path"] = None
    if values.get("auto_mapping"):
        changes["auto_mapping"] = None
    return json.dumps(values | changes, indent=2, sort_keys=True).encode() + b"\n" if changes else None
