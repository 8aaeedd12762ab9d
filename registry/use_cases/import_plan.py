"""What is to be imported and what it belongs to: everything that can refuse a folder. What is looked at is a copy of the model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.recorded_result import BaseInput, base_section, upstream_terms
from peft_registry.registry.disk.files import FileMissing, read_file
from peft_registry.registry.disk.hub_snapshots import name_of_folder
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES, WEIGHTS_SUFFIX, listed_tensors, read_manifest
from peft_registry.registry.identity.weights import Tensor, hash_weights
from peft_registry.registry.imports.base_choice import (
    ChosenBase,
    RegisteredBase,
    base_named,
    choose_base,
    is_called,
    registered_bases,
)
from peft_registry.registry.imports.findings import findings_of_fit
from peft_registry.registry.imports.fit import AdapterOfAnotherBase, Compared, compare_with_base
from peft_registry.registry.imports.offered import (
    ADAPTER_WEIGHTS,
    NothingToImport,
    OfferedFolder,
    offered_folder,
)
from peft_registry.registry.imports.other_tokenizer import (
    COMPARED_FILES,
    template_findings,
    tokenizer_findings,
    uncompared_tokenizer,
)
from peft_registry.registry.imports.patterns import require_usable_patterns
from peft_registry.registry.imports.producers import producer_of
from peft_registry.registry.imports.relation import (
    ComparedBase,
    ModelOfAnotherBase,
    WeightNearness,
    nearness_of,
    relations_of,
)
from peft_registry.registry.imports.setting_files import settings_of_folder
from peft_registry.registry.imports.settings import FolderSettings, without_path
from peft_registry.registry.imports.stated_settings import adapted_modules, require_settings_of_tensors
from peft_registry.registry.imports.vocabulary import vocabulary_misfit
from peft_registry.registry.intake.facts_file import read_checked_facts
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.intake.paths import control_character
from peft_registry.registry.intake.peft_config import PeftConfig, read_peft_config
from peft_registry.registry.intake.safetensors import read_header
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.import_near_results import near_results
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing, WrongBase, checked_folder
from peft_registry.registry.use_cases.register import require_name
from peft_registry.registry.verification.with_base import signed_folder
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest, check_project
from peft_registry.schemas.imports import BaseFit, BaseRelation, Finding, Producer
from peft_registry.schemas.manifest import FILE_NAME, FileEntry


@dataclass(frozen=True, slots=True)
class HubOrigin:
    """The repository of the Hub that a snapshot is of, as `hub:owner/name@commit`, and the files of it that were checked."""

    text: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What to import: folders, the base if the user names it, a name for a single folder, a facts file, the project of all.

    `origins` has the folders that were fetched from the Hub.
    """

    folders: tuple[Path, ...]
    base: str | None = None
    name: str | None = None
    facts: Path | None = None
    project: str | None = None
    origins: Mapping[Path, HubOrigin] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.project is not None:
            check_project(self.project)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """A folder that may come in: what it is, what it says, the base that it fits."""

    name: str
    offered: OfferedFolder
    config: PeftConfig | None  # None for a whole model
    settings: FolderSettings
    producer: tuple[Producer, str]
    chosen: ChosenBase
    fit: BaseFit
    tensors: tuple[Tensor, ...]
    facts: dict[str, Any] | None
    base_files: tuple[FileEntry, ...]
    relations: tuple[BaseRelation, ...] = ()
    findings: tuple[
        Finding, ...
    ] = ()  # beside those of its files: how it stands to its base, and to registered results
    replaces_weights: bool = False  # of an adapter: whether it brings tensors in the place of the base's own

    @property
    def base_input(self) -> BaseInput:
        """The base as the modification record takes it."""
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


def require_options(registry: Registry, request: ImportRequest) -> None:
    """Raise where a request is wrong whatever folder comes in: asked once where many imports follow.

    Raises:
        SecretRefused, MalformedReference, NameOfAnotherKind: the name.
        ImportedOntoNoBase, NotFound: the base.
        KnownError: the facts, as far as they do not depend on the folder, as `read_checked_facts`.
    """
    if request.name is not None:
        require_name(registry, request.name, is_base=False)
    if request.base is not None:
        base_named(registry, request.base)
    read_checked_facts(request.facts, at=registry.clock(), bases=None, data=None)


def plan_import(registry: Registry, request: ImportRequest, folder: Path, scratch: Path, copy: Path) -> ImportPlan:
    """What a folder is and which base it belongs to.

    Args:
        registry: open.
        request: what the user says of it.
        folder: that is offered.
        scratch: an empty folder for bytes of bases.
        copy: a new folder that gets the files of the model; these are looked at.

    Raises:
        KnownError: as `import_folders`, where the folder is refused.
    """
    name = request.name or default_name(folder)
    require_name(registry, name, is_base=False)
    _require_not_pulled(folder)
    origin = request.origins.get(folder)
    offered = offered_folder(folder, None if origin is None else origin.names).copied(copy)
    if offered.kind == "model":
        plan = _model_plan(registry, request, offered, name, scratch)
    else:
        plan = _adapter_plan(registry, request, offered, name, scratch)
    base = plan.chosen.base.version
    near = near_results(registry, offered, plan.tensors, scratch, config=plan.config, base=base, name=name)
    plan = replace(plan, findings=(*plan.findings, *near))
    return _with_facts(registry, request, plan)


class PulledFolder(InputRefused):
    what = "{name} was pulled from a registry"
    why = "its {file} says that it is registered there as {kind}, with records that an import would not have"
    fix = "{remedy}"

    folder: Path
    kind: str

    file = FILE_NAME

    @property
    def name(self) -> str:
        return name_of_folder(self.folder)

    @property
    def remedy(self) -> str:
        if self.kind == "base":
            return "`registry base add FOLDER` registers a base"
        return "use it where it is registered"


def _require_not_pulled(folder: Path) -> None:
    """Raise where a folder lists itself as a result of a registry, this one or another; other tools' manifests say nothing."""
    try:
        manifest = read_manifest(read_file(signed_folder(folder) / FILE_NAME, max_bytes=MANIFEST_MAX_BYTES))
    except (FileMissing, InputRefused, IntegrityBroken):
        return
    raise PulledFolder(folder, manifest.kind)


def default_name(folder: Path) -> str:
    """A name from a folder's, or from that of the repository whose snapshot it is: lower case, other characters as dashes."""
    last = name_of_folder(folder).lower()
    return "".join(
        letter if (letter.isascii() and letter.isalnum()) or letter in "._-" else "-" for letter in last
    ).strip("._-")


def _with_facts(registry: Registry, request: ImportRequest, plan: ImportPlan) -> ImportPlan:
    base = plan.base_input
    named = plan.settings.by_name.get("datasets")
    facts = read_checked_facts(
        request.facts,
        at=registry.clock(),
        bases=[base_section(base)],
        upstream=[upstream_terms(base)],
        data=[str(name) for name in named.value] if named is not None and isinstance(named.value, list) else [],
    )
    return replace(plan, facts=facts)


# --- an adapter ---


def _adapter_plan(
    registry: Registry, request: ImportRequest, offered: OfferedFolder, name: str, scratch: Path
) -> ImportPlan:
    config = read_peft_config(offered.read(ADAPTER_CONFIG_NAME, max_bytes=CONFIG_MAX_BYTES))
    settings = settings_of_folder(offered, config)
    chosen = choose_base(
        registry,
        offered.name,
        named=config.base or settings.base,
        revision=config.revision,
        reference=request.base,
    )
    header = read_header(offered.model_folder / ADAPTER_WEIGHTS, family="intake")
    # of a fit names and shapes decide; the values are hashed once, where they are copied
    nothing = Digest.of(b"")
    tensors = tuple(Tensor(span.name, span.dtype, span.shape, nothing) for span in header.tensors)
    manifest_of_base = stored_manifest(registry, chosen.base.version.manifest_digest)
    compared = _compared_adapter(offered, config, tensors, chosen, listed_tensors(manifest_of_base.weights))
    return ImportPlan(
        name=name,
        offered=offered,
        config=config,
        settings=settings,
        producer=producer_of(offered, settings, config.values),
        chosen=chosen,
        fit=_fit(config, chosen, compared),
        tensors=tensors,
        facts=None,
        base_files=manifest_of_base.files,
        findings=(*findings_of_fit(compared, config), *_tokenizer_findings(registry, offered, chosen.base, scratch)),
        replaces_weights=bool(compared.replacing),
    )


def _compared_adapter(
    offered: OfferedFolder,
    config: PeftConfig,
    tensors: Sequence[Tensor],
    chosen: ChosenBase,
    base_tensors: Sequence[Tensor],
) -> Compared:
    """How it stands to the base that was chosen.

    Raises:
        AdapterOfAnotherBase: it cannot be of it.
        TensorNotDeclared: a tensor is not one that its type has.
        PatternRefused: an expression in its configuration finds no modules in a time that anybody waits.
        SettingsOfOtherTensors: its configuration says of its tensors what they are not.
    """
    label = chosen.base.version.label
    if chosen.objection is not None:
        raise AdapterOfAnotherBase(offered.name, label, chosen.objection)
    compared = compare_with_base(tensors, config, base_tensors)
    require_usable_patterns(config.values, base_tensors, adapted_modules(config, tensors))
    require_settings_of_tensors(offered.name, config, tensors, base_tensors)
    misfit = compared.misfit or vocabulary_misfit(offered, tensors, base_tensors)
    if misfit is not None:
        raise AdapterOfAnotherBase(offered.name, label, misfit)
    return compared


def _tokenizer_findings(
    registry: Registry, offered: OfferedFolder, base: RegisteredBase, scratch: Path
) -> tuple[Finding, ...]:
    """Where the tokenizer and the chat template of an adapter are not its base's."""
    findings = template_findings(offered, base.record.identity.chat_template)
    if not any(file.path in COMPARED_FILES for file in offered.model_files):
        return findings
    try:
        checked = checked_folder(
            registry, base.version, scratch / "bases", only=lambda entry: entry.path in COMPARED_FILES
        )
    except (BaseBytesMissing, WrongBase):
        manifest = stored_manifest(registry, base.version.manifest_digest)
        return (*findings, *uncompared_tokenizer(offered, {entry.path: entry.sha256 for entry in manifest.files}))
    return (*findings, *tokenizer_findings(offered, checked.folder))


def _fit(config: PeftConfig, chosen: ChosenBase, compared: Compared) -> BaseFit:
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


# --- a whole model ---


def _model_plan(
    registry: Registry, request: ImportRequest, offered: OfferedFolder, name: str, scratch: Path
) -> ImportPlan:
    """A merged or fully tuned model, held against every registered base."""
    settings = settings_of_folder(offered, None)
    files = tuple(
        offered.model_folder / file.path for file in offered.model_files if file.path.endswith(WEIGHTS_SUFFIX)
    )
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
    relations = relations_of(_compared_with(registry, base, tensors, files, scratch, seed=digest) for base in bases)
    chosen = _base_of_model(registry, request, offered, named=settings.base, bases=bases, relations=relations)
    relation = next(entry for entry in relations if entry.weights == chosen.base.record.identity.weights)
    if chosen.objection is not None or relation.answer == "not made from":
        raise ModelOfAnotherBase(offered.name, chosen.base.version.label, chosen.objection or relation.reason)
    return ImportPlan(
        name=name,
        offered=offered,
        config=None,
        settings=settings,
        producer=producer_of(offered, settings, None),
        chosen=chosen,
        fit=BaseFit(
            chosen_by=chosen.chosen_by,
            named=None if settings.base is None else _printable(settings.base),
            compared=relation.matrices,
            not_compared=len(tensors) - relation.matrices,
        ),
        tensors=tensors,
        facts=None,
        base_files=stored_manifest(registry, chosen.base.version.manifest_digest).files,
        relations=relations,
    )


def _compared_with(
    registry: Registry,
    base: RegisteredBase,
    tensors: Sequence[Tensor],
    files: Sequence[Path],
    scratch: Path,
    *,
    seed: Digest,
) -> ComparedBase:
    """How near the model is to a base; its bytes are checked and read only where names and shapes say that it may be."""
    label = base.version.label
    weights = base.record.identity.weights
    listed = listed_tensors(stored_manifest(registry, base.version.manifest_digest).weights)
    shapes = {tensor.name: tensor.shape[1:] for tensor in listed if len(tensor.shape) > 1}
    if not any(len(tensor.shape) > 1 and shapes.get(tensor.name) == tensor.shape[1:] for tensor in tensors):
        return ComparedBase(label, weights, WeightNearness(0, 0.0))
    try:
        checked = checked_folder(
            registry, base.version, scratch / "bases", only=lambda entry: entry.path.endswith(WEIGHTS_SUFFIX)
        )
    except (BaseBytesMissing, WrongBase):
        return ComparedBase(label, weights, None)
    base_files = [path.resolve() for path in sorted(checked.folder.rglob(f"*{WEIGHTS_SUFFIX}"))]
    nearness = nearness_of(files, base_files, seed)
    checked.require_unchanged()
    return ComparedBase(label, weights, nearness)


def _base_of_model(
    registry: Registry,
    request: ImportRequest,
    offered: OfferedFolder,
    *,
    named: str | None,
    bases: Sequence[RegisteredBase],
    relations: Sequence[BaseRelation],
) -> ChosenBase:
    """The base that the user or the folder names, else the only one that it was made from."""
    is_named = request.base is not None
    if named is not None:
        is_named = is_named or sum(is_called(base, named) for base in bases) == 1
    made_from = [relation.base for relation in relations if relation.answer == "made from"]
    if not is_named and len(made_from) == 1:
        by_name = choose_base(registry, offered.name, named=None, revision=None, reference=made_from[0])
        return by_name.by_weights()
    return choose_base(registry, offered.name, named=named, revision=None, reference=request.base)
