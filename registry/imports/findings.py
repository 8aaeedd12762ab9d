"""What a reader has to know of a configuration and of the files beside the weights; none of it keeps a folder out."""

from pathlib import PurePosixPath

from peft_registry.registry.compliance.importing import bits_of
from peft_registry.registry.imports.base_choice import ChosenBase, other_owner
from peft_registry.registry.imports.fit import Compared
from peft_registry.registry.imports.offered import OfferedFolder
from peft_registry.registry.imports.settings import FolderSettings
from peft_registry.registry.intake.model_code import EXTENSIONS as CODE_EXTENSIONS
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.registry.intake.pickle import EXTENSIONS as PICKLE_EXTENSIONS
from peft_registry.schemas.imports import Finding

# initialisations that move part of the base into the factors: what was saved belongs to another base than the one that is named
_MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def findings_of_config(config: PeftConfig, chosen: ChosenBase, settings: FolderSettings) -> tuple[Finding, ...]:
    """What the configuration says that changes how the adapter can be used."""
    findings = []
    for key in sorted(config.values.keys() - config.method.config_keys):
        text = "the supported version of peft does not know this key, and will not load the adapter with it"
        findings.append(Finding(kind="unknown-key", text=text, place=f"adapter_config.json, {key[:80]}"))
    start = config.values.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_MOVES_THE_BASE):
        text = (
            f"it began with {start[:40]!a}, which takes part of the base into the adapter: here it may be another model"
        )
        findings.append(Finding(kind="moved-base", text=text, place="adapter_config.json, init_lora_weights"))
    if config.revision is None:
        text = "it does not say which revision of the base it was trained on"
        findings.append(Finding(kind="revision-unknown", text=text, place="adapter_config.json, revision"))
    elif chosen.base.record.identity.revision is None:
        text = "it names a revision of the base, and which one the registered base is was not recorded"
        findings.append(Finding(kind="revision-unknown", text=text, place="adapter_config.json, revision"))
    quantised = bits_of(settings.by_name)
    if quantised is not None:
        bits, said_by = quantised
        text = f"it was trained on the base in {bits} bits; it is registered on, and evaluated with, the base as it is stored"
        findings.append(Finding(kind="quantised-base", text=text, place=said_by.method))
    return tuple(findings)


def findings_of_fit(compared: Compared, config: PeftConfig) -> tuple[Finding, ...]:
    """That nothing of an adapter could be held against its base, or that it brings weights in the place of the base's own."""
    findings = []
    if not compared.fitting:
        text = (
            "none of its tensors has a place that could be looked for in the base: nothing shows that it can be of it"
        )
        findings.append(Finding(kind="nothing-compared", text=text))
    if compared.replacing:
        count = len(compared.replacing)
        text = f"{count} of its tensors {'is' if count == 1 else 'are'} loaded in the place of the base's own"
        if not _says_that_it_replaces(config):
            text += ", and its configuration says nothing of it"
        findings.append(Finding(kind="replaces-weights", text=text, place=compared.replacing[0]))
    return tuple(findings)


def _says_that_it_replaces(config: PeftConfig) -> bool:
    return bool(
        config.saved_modules
        or config.values.get("trainable_token_indices")
        or config.values.get("bias", "none") not in (None, "none")
        or all(kind.replaces for kind in config.method.tensors)  # its very type does nothing else
    )


def findings_of_name(chosen: ChosenBase, named: str | None) -> tuple[Finding, ...]:
    """That the base which a folder names has another owner than the one that it was held against, or none that is known."""
    text = other_owner(chosen.base, named)
    return () if text is None else (Finding(kind="other-owner", text=text),)


def findings_of_files(offered: OfferedFolder) -> tuple[Finding, ...]:
    """Program code and pickles beside the weights, which stay outside."""
    findings = []
    for kind, extensions, what in (
        ("code-beside", CODE_EXTENSIONS, "program code"),
        ("pickle-beside", PICKLE_EXTENSIONS, "a pickle, which runs code when it is loaded,"),
    ):
        paths = [file.path for file in offered.beside if PurePosixPath(file.path).suffix.lower() in extensions]
        if paths:
            more = f", and {len(paths) - 1} more" if len(paths) > 1 else ""
            findings.append(
                Finding(kind=kind, text=f"{what} lay beside the weights{more}: left out, never opened", place=paths[0])
            )
    return tuple(findings)
