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
from peft_registry.registry.compliance.recorded_result import BaseInput, Scan, base_section, upstream_terms
from peft_registry.registry.disk.files import scratch_folder, unwritable, write_new
from peft_registry.registry.disk.hashing import copy_and_hash
from peft_registry.registry.exports.model_card import import_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME, identify_base
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX, listed_tensors, manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.identity.weights import Tensor, hash_weights
from peft_registry.registry.imports.base_choice import (
    BaseToNameMissing,
    ChosenBase,
    ImportBaseNotRegistered,
    RegisteredBase,
    choose_base,
    registered_bases,
)
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
from peft_registry.registry.imports.relation import (
    ComparedBase,
    ModelOfAnotherBase,
    Nearness,
    nearness_of,
    relations_of,
)
from peft_registry.registry.imports.vocabulary import vocabulary_misfit
from peft_registry.registry.imports.weights_scan import scan_weights
from peft_registry.registry.intake.facts_file import read_checked_facts
from peft_registry.registry.intake.paths import control_character
from peft_registry.registry.intake.peft_config import MAX_BYTES, PeftConfig, read_peft_config
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.registry.records.signed_records import stored_manifest
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing, WrongBase, checked_folder
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.use_cases.register_product import Product, register_product, signer_of, signing_of
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import BaseFit, BaseRelation, Finding, ImportRecord, Producer, SourceFile
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
        AdapterOfAnotherBase, ModelOfAnotherBase: it is of another base than that.
        KnownError: as `read_checked_facts` and `register_product`.
    """
    registry.require_writable()
    if request.name is not None and len(request.folders) > 1:
        raise NameForSeveral(len(request.folders))
    signer = registry.trainer_key.public.key_id
    with scratch_folder("registry-import-") as scratch:
        imports = []
        for at, folder in enumerate(request.folders):
            prepared = _prepare(registry, request, folder, scratch)
            imports.append(_Import(registry, prepared, signer, scratch / f"artifact-{at:05}", observe))
        staged = [folder.staged() for folder in imports]
        return tuple(folder.registered(files) for folder, files in zip(imports, staged, strict=True))


# --- everything that can refuse ---


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A folder that may come in: what it is, what it says, the base that it fits."""

    name: str
    offered: OfferedFolder
    config: PeftConfig | None  # None for a whole model
    beside: Beside
    producer: tuple[Producer, str]
    chosen: ChosenBase
    fit: BaseFit
    tensors: tuple[Tensor, ...]
    facts: dict[str, Any] | None
    base_files: tuple[FileEntry, ...]
    relations: tuple[BaseRelation, ...] = ()

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


def _prepare(registry: Registry, request: ImportRequest, folder: Path, scratch: Path) -> _Prepared:
    name = request.name or default_name(folder)
    require_name(registry, name, is_base=False)
    offered = offered_folder(folder)
    if offered.kind == "model":
        return _with_facts(registry, request, _prepared_model(registry, request, offered, name, scratch))
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


def _prepared_model(
    registry: Registry, request: ImportRequest, offered: OfferedFolder, name: str, scratch: Path
) -> _Prepared:
    """A merged or fully tuned model, held against every registered base."""
    beside = settings_beside(offered, None)
    files = tuple(offered.folder / file.path for file in offered.model_files if file.path.endswith(WEIGHTS_SUFFIX))
    hashed, digest = hash_weights(files, family="intake", cache=registry.cache)
    tensors = tuple(tensor for file in hashed for tensor in file.tensors)
    bases = registered_bases(registry)
    for base in bases:
        if base.record.identity.weights == digest:
            raise NothingToImport(
                offered.folder,
                f"its weights are those of the base {base.version.label}, which is registered already",
                "name the folder of what was made from it",
            )
    relations = relations_of(_compared_with(registry, base, tensors, files, scratch) for base in bases)
    named = beside.settings.get("base")
    chosen = _chosen_for_model(registry, request, offered, None if named is None else str(named.value), relations)
    relation = next(entry for entry in relations if entry.weights == chosen.base.record.identity.weights)
    if chosen.objection is not None or relation.answer == "not made from":
        raise ModelOfAnotherBase(offered.folder.name, chosen.base.version.label, chosen.objection or relation.reason)
    return _Prepared(
        name=name,
        offered=offered,
        config=None,
        beside=beside,
        producer=producer_of({file.path for file in (*offered.model_files, *offered.beside)}, beside, None),
        chosen=chosen,
        fit=BaseFit(
            chosen_by=chosen.chosen_by,
            named=None if named is None else _printable(str(named.value)),
            compared=relation.matrices,
            not_compared=len(tensors) - relation.matrices,
        ),
        tensors=tensors,
        facts=None,
        base_files=stored_manifest(registry, chosen.base.version.manifest_digest).files,
        relations=relations,
    )


def _compared_with(
    registry: Registry, base: RegisteredBase, tensors: Sequence[Tensor], files: Sequence[Path], scratch: Path
) -> ComparedBase:
    """How near the model is to a base; its bytes are checked and read only where names and shapes say that it may be."""
    label, weights = base.version.label, base.record.identity.weights
    listed = listed_tensors(stored_manifest(registry, base.version.manifest_digest).weights)
    shapes = {tensor.name: tensor.shape[1:] for tensor in listed if len(tensor.shape) > 1}
    if not any(len(tensor.shape) > 1 and shapes.get(tensor.name) == tensor.shape[1:] for tensor in tensors):
        return ComparedBase(label, weights, Nearness(0, 0.0))
    try:
        checked = checked_folder(
            registry, base.version, scratch / "bases", only=lambda entry: entry.path.endswith(WEIGHTS_SUFFIX)
        )
    except (BaseBytesMissing, WrongBase):
        return ComparedBase(label, weights, None)
    base_files = [path.resolve() for path in sorted(checked.folder.rglob(f"*{WEIGHTS_SUFFIX}"))]
    nearness = nearness_of(files, base_files)
    checked.require_unchanged()
    return ComparedBase(label, weights, nearness)


def _chosen_for_model(
    registry: Registry,
    request: ImportRequest,
    offered: OfferedFolder,
    named: str | None,
    relations: Sequence[BaseRelation],
) -> ChosenBase:
    """The base that the user or the folder names, else the only one that it was made from."""
    made_from = [relation for relation in relations if relation.answer == "made from"]
    try:
        return choose_base(registry, offered.folder.name, named=named, revision=None, reference=request.base)
    except (BaseToNameMissing, ImportBaseNotRegistered):
        if len(made_from) != 1 or request.base is not None:
            raise
    return choose_base(
        registry, offered.folder.name, named=None, revision=None, reference=made_from[0].base
    ).by_weights()


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
    prepared: _Prepared
    key_id: str
    folder: Path  # the copy that is registered
    observe: Observe

    def staged(self) -> _Staged:
        """Copy the files and look at the copies: the last that can refuse."""
        started = self.registry.clock()
        sources = self._copy(self.folder)
        scans = scans_of(self.folder)
        if self.prepared.config is None:
            identify_base(self.folder)  # a whole model is whole: index, configuration and tokenizer fit together
        return _Staged(started, sources, scans, self._manifest(self.folder), self._findings(self.folder))

    def registered(self, staged: _Staged) -> ImportOutcome:
        """Describe and register."""
        prepared, registry = self.prepared, self.registry
        import_id = registry.nonce()
        record = self._record(staged, import_id)
        self._say(record)
        modification = build_import_modification(
            record_id=import_id,
            now=registry.clock(),
            name=prepared.name,
            manifest=staged.manifest,
            imported_as=record,
            base=prepared.base_input,
            change=self._change(record),
            tool_version=record.tool_version,
            signing=signing_of(registry, self.key_id),
            scans=staged.scans,
            facts=prepared.facts,
        )
        self.observe(Said("record", completeness(modification).sentence))
        card = import_card(
            name=prepared.name,
            manifest=staged.manifest,
            imported=record,
            base_name=prepared.chosen.base.version.name,
            base=prepared.chosen.base.record,
            record=modification,
        )
        product = Product(prepared.name, "import", self.folder, staged.manifest, record, modification, card)
        registered = register_product(registry, product, observe=self.observe)
        return ImportOutcome(
            version=registered.version,
            record=record,
            modification=modification,
            signed_by=signer_of(registry, self.key_id),
            was_there=registered.was_there,
        )

    def _change(self, record: ImportRecord) -> ImportedChange:
        if self.prepared.config is not None:
            return ImportedChange(added=record.parameters, base_untouched=True)
        return ImportedChange(added=None, base_untouched=False)

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
        base, config = self.prepared.chosen.base, self.prepared.config
        return manifest_of_folder(
            folder,
            kind="model" if config is None else "adapter",
            layout="model" if config is None else "peft",
            method=None if config is None else config.method,
            base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
            parents=(Parent(role="base", manifest=base.version.manifest_digest),),
            origin="imported",
        )

    def _findings(self, folder: Path) -> tuple[Finding, ...]:
        prepared = self.prepared
        found = (*prepared.beside.findings, *findings_of_files(prepared.offered))
        if prepared.config is None:
            own = prepared.chosen.base.record.identity.weights
            return (
                *found,
                *(
                    Finding(kind="relation-unclear", text=f"whether it was made from its base: {relation.reason}")
                    for relation in prepared.relations
                    if relation.weights == own and relation.answer == "cannot tell"
                ),
            )
        return (
            *found,
            *findings_of_config(prepared.config, prepared.chosen, prepared.beside),
            *scan_weights(folder / ADAPTER_WEIGHTS),
        )

    def _record(self, staged: _Staged, import_id: str) -> ImportRecord:
        prepared, manifest = self.prepared, staged.manifest
        assert manifest.base is not None, "what is imported has a base"
        producer, told_by = prepared.producer
        return ImportRecord(
            import_id=import_id,
            producer=producer,
            told_by=told_by,
            method=manifest.method,
            base=manifest.base,
            fit=prepared.fit,
            relations=prepared.relations,
            settings=dict(sorted(prepared.beside.settings.items())),
            sources=staged.sources,
            findings=staged.findings,
            parameters=sum(tensor.parameters for tensor in prepared.tensors),
            weights_digest=manifest.weights_digest,
            tool_version=package_version("peft-registry"),
            started_at=staged.started,
            finished_at=self.registry.clock(),
        )

    def _say(self, record: ImportRecord) -> None:
        base = self.prepared.chosen.base.version
        folder = self.prepared.offered.folder.name
        self.observe(
            Said("import", f"{folder}  {record.producer} ({record.told_by})  {record.method or 'whole model'}")
        )
        if record.relations:
            own = next(entry for entry in record.relations if entry.weights == record.base.identity.weights)
            self.observe(Said("base", f"{base.label}  {own.answer} it: {own.reason}"))
        else:
            said = f"{base.label}  {record.fit.compared} tensors have their place there: it can be of it"
            self.observe(Said("base", said))
        self.observe(Said("known", f"{len(record.settings)} settings, from {_files_read(record)}"))
        for finding in record.findings:
            place = f" ({finding.place})" if finding.place else ""
            self.observe(Warned(finding.kind, f"{finding.text}{place}"))
        self.observe(Said("scan", PROMISES_NOTHING))


def _files_read(record: ImportRecord) -> str:
    read = [source.path for source in record.sources if source.use == "read"]
    own = [] if record.relations else [ADAPTER_CONFIG_NAME]
    return ", ".join([*own, *read]) or "no file"


def _rewritten_config(prepared: _Prepared) -> bytes | None:
    """The adapter's configuration without a path of somebody's machine and without the name of a module; None as it is.

    Its base is then named by digest, as that of an adapter that was trained here.
    """
    assert prepared.config is not None, "a whole model has no configuration of an adapter"
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
