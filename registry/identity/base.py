"""The identity of a base from its folder: weights, config, tokenizer, chat template, generation config. Needs no torch.

What each digest covers:
- `weights`: the tensors (`registry/identity/weights.py`); shards and order do not matter.
- `config`, `generation_config`: RFC 8785 of the JSON object without the keys of `_VOLATILE`, which whoever saves writes
  anew. Integers beyond 2^53 − 1, which that form cannot hold, count as decimal text.
- `chat_template`: the UTF-8 bytes of the template wherever it lies: `chat_template.jinja`, `chat_template.json`, or the
  key of `tokenizer_config.json`, in this order, which is the order of loading. Several named templates: RFC 8785 of
  the list. Where more than one file may hold it, or one lies in `additional_chat_templates/`: RFC 8785 of
  `{file name: digest}` over all of them.
- `tokenizer`: RFC 8785 of `{file name: digest}` over the files of `TOKENIZER_FILES` and the `FURTHER_FILES` that are there; JSON
  files count by RFC 8785 of their value (`tokenizer_config.json` without the chat template and `_VOLATILE`), others by their
  bytes.

Together these are all files that transformers 5 opens by name in a model folder; a base without the rarer of them has the
identity that it had before those were part of it. A test compares the names with those of the installed transformers.

Refused at intake: links, pickle weights, code (`.py`, `auto_map`), a folder without safetensors weights, an index that
names tensors or shards that are not there, weights that the index leaves out, an adapter's configuration, which would make
transformers load another model, and a configuration whose keys send the loader to files of any other name.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import StatKey, read_file
from peft_registry.registry.disk.hashing import DigestCache, OnBytes, hash_file
from peft_registry.registry.identity.manifests import weights_entry
from peft_registry.registry.identity.parameters import architecture, context_length, count_parameters
from peft_registry.registry.identity.weights import HashedWeights, hash_weights
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import refuse_code
from peft_registry.registry.intake.paths import FileFound, scan_folder
from peft_registry.registry.intake.pickle import refuse_pickle
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import FILE_NAME, SIGNATURE_NAME, UNSIGNED_PATHS, FileEntry, Manifest, WeightsFile

WEIGHTS_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
CONFIG_NAME = "config.json"
ADAPTER_CONFIG_NAME = "adapter_config.json"
GENERATION_CONFIG_NAME = "generation_config.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
CHAT_TEMPLATE_NAMES = ("chat_template.jinja", "chat_template.json")
TOKENIZER_FILES = (
    "tokenizer.json",
    TOKENIZER_CONFIG_NAME,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
# what a loader opens besides, for some architectures: vocabularies of rarer tokenizers, settings of images, sound and video
FURTHER_FILES = frozenset(
    {
        "audio_tokenizer_config.json",
        "bpe.codes",
        "byte_maps.json",
        "calibration.json",
        "decision.json",
        "decision_config.json",
        "decision_template.jinja",
        "dict.txt",
        "emoji.json",
        "entity_vocab.json",
        "judge_config.json",
        "normalizer.json",
        "preprocessor_config.json",
        "processor_config.json",
        "prophetnet.tokenizer",
        "sentencepiece.model",
        "source.spm",
        "spm.model",
        "spm_char.model",
        "target.spm",
        "target_vocab.json",
        "tekken.json",
        "tiktoken.model",
        "video_preprocessor_config.json",
        "vocab-src.json",
        "vocab-tgt.json",
        "word_pronunciation.json",
        "word_shape.json",
    }
)
# numbered editions of a vocabulary, such as tokenizer.model.v3 and tekken-v7.json
_FURTHER_EDITIONS = re.compile(r"tokenizer\.model\..+|[^/]*tekken[^/]*\.json|[^/]+\.tiktoken")
_ADDITIONAL_TEMPLATE = re.compile(r"additional_chat_templates/[^/]*\.jinja")
# keys that name files to be opened instead of, or besides, those of the usual names
_REDIRECTING_KEYS = {
    CONFIG_NAME: ("transformers_weights", "configuration_files"),
    TOKENIZER_CONFIG_NAME: ("fast_tokenizer_files",),
}
# these say how a tokenizer is used; without one of the others there is none
_TOKENIZER_SETTINGS = frozenset({TOKENIZER_CONFIG_NAME, "special_tokens_map.json", "added_tokens.json"})
JSON_MAX_BYTES = 64 * 1024 * 1024  # the largest tokenizer.json published has about 35 MB
# a model card, somebody's signature, and what tools keep beside a model: none of it is of the model
_NOT_OF_THE_BASE = (
    *UNSIGNED_PATHS,
    FILE_NAME,
    SIGNATURE_NAME,
    ".cache",
    ".git",
    ".gitattributes",
    ".gitignore",
    ".huggingface",
)
# written anew by whoever saves; they say nothing about what the model computes
_VOLATILE = frozenset(
    {
        "_name_or_path",
        "name_or_path",
        "transformers_version",
        "_commit_hash",
        "_from_model_config",
        "tokenizer_file",
        "local_files_only",
    }
)
_MAX_EXACT = 2**53 - 1
_CACHE_KIND = "base-json-v1"


class BaseWithoutWeights(InputRefused):
    what = "{folder.name} holds no weights of a whole model"
    why = f"there is neither {WEIGHTS_NAME} nor {INDEX_NAME}"
    fix = "name the folder that holds them; convert other formats to safetensors first"

    folder: Path


class AdapterInBase(InputRefused):
    what = "{folder.name} is the folder of an adapter"
    why = (
        f"it holds {ADAPTER_CONFIG_NAME}, and transformers would load the model that this names in place of these files"
    )
    fix = "name the base model's own folder; merge the adapter first if the two are to be one model"

    folder: Path


class RedirectingConfig(InputRefused):
    what = "{name} in {folder.name} sends the loader to files of other names"
    why = "its key `{key}` names them, and they are not part of what a base is"
    fix = "save the model again with a current transformers, which writes no such key, and add that"

    folder: Path
    name: str
    key: str


class BaseFileMissing(InputRefused):
    what = "{folder.name} has no {name}"
    why = "{reason}"
    fix = "fetch the whole model again"

    folder: Path
    name: str
    reason: str


class IndexInconsistent(InputRefused):
    what = "the weights files of {folder.name} do not fit together"
    why = "{reason}"
    fix = "fetch the whole model again, or save it again"

    folder: Path
    reason: str


@dataclass(frozen=True, slots=True)
class BaseFolder:
    """What a base's folder is: its identity, its files and tensors, and what its config says.

    `files` and `weights` are sorted by the UTF-8 bytes of the path. The parameter counts are those of
    `peft_registry.registry.identity.parameters.count_parameters`.
    """

    identity: BaseIdentity
    files: tuple[FileEntry, ...]
    weights: tuple[WeightsFile, ...]
    architecture: str
    parameters_total: int
    parameters_matmul: int
    context_length: int | None

    @property
    def manifest(self) -> Manifest:
        """The manifest of a base: every file, every tensor."""
        return Manifest(
            kind="base",
            layout="model",
            files=tuple(FileEntry(path=file.path, size=file.size, sha256=file.sha256) for file in self.files),
            weights=self.weights,
            weights_digest=self.identity.weights,
        )


def identify_base(
    folder: Path,
    *,
    revision: str | None = None,
    cache: DigestCache | None = None,
    workers: int | None = None,
    require_finite: bool = False,
    beside: Collection[str] = (),
    on_bytes: OnBytes = lambda _: None,
) -> BaseFolder:
    """Identify the base in a folder; every byte is read once, unless the cache knows the file.

    Args:
        folder: in Hugging Face layout. A model card, `evidence` and what git or the Hub's client keep are left out.
        revision: the resolved commit, if it came from a hub.
        cache: digests of files that have not changed since.
        workers: threads; None for one a core. They do not change the result.
        require_finite: refuse weights that hold NaN or infinity, as intake does; a base that was registered is not judged anew.
        beside: files of the folder that are not part of the base and not looked at.
        on_bytes: hears of progress.

    Raises:
        AdapterInBase, BaseWithoutWeights, BaseFileMissing, IndexInconsistent, RedirectingConfig, UnsafeInputPath,
            PickleRefused, CodeRefused: refused.
        WeightsNotFinite: as `require_finite` says.
        MalformedWeights, MalformedInput: a safetensors header or a JSON file that is truncated or lies.
        FolderMissing, FolderUnreadable, FileChanged: as their readers.
    """
    files = scan_folder(folder, family="intake", exclude=(*_NOT_OF_THE_BASE, *beside), hub_links=True)
    paths = frozenset(file.path for file in files)
    refuse_code(folder, files)
    for file in files:
        refuse_pickle(folder / file.path)
    _require_config_and_tokenizer(folder, paths)
    for name, keys in _REDIRECTING_KEYS.items():
        _refuse_redirects(folder, name, keys if name in paths else ())
    names = _weights_names(folder, paths)
    hashed, digest = hash_weights(
        [folder / name for name in names],
        workers=workers,
        with_file_digest=True,
        cache=cache,
        family="intake",
        require_finite=require_finite,
        on_bytes=on_bytes,
    )
    _check_index(folder, names, hashed)
    config = _object(folder, CONFIG_NAME)
    total, matmul = count_parameters((tensor for file in hashed for tensor in file.tensors), config)
    return BaseFolder(
        identity=_identity(folder, paths, digest, revision, cache),
        files=_files(folder, files, dict(zip(names, hashed, strict=True)), cache),
        weights=tuple(weights_entry(name, weights) for name, weights in zip(names, hashed, strict=True)),
        architecture=architecture(config),
        parameters_total=total,
        parameters_matmul=matmul,
        context_length=context_length(config),
    )


def json_digest(value: Any) -> Digest:  # any JSON value
    """SHA-256 of the RFC 8785 form, integers beyond 2^53 − 1 as decimal text."""
    return canonical_digest(_countable(value))


def _require_config_and_tokenizer(folder: Path, paths: frozenset[str]) -> None:
    if ADAPTER_CONFIG_NAME in paths:
        raise AdapterInBase(folder)
    if not any(path.endswith(".safetensors") for path in paths):
        raise BaseWithoutWeights(folder)
    if CONFIG_NAME not in paths:
        raise BaseFileMissing(folder, CONFIG_NAME, "nothing says what the weights are")
    if not paths & (frozenset(TOKENIZER_FILES) - _TOKENIZER_SETTINGS):
        raise BaseFileMissing(folder, "tokenizer", "nothing says how text becomes tokens")


def _refuse_redirects(folder: Path, name: str, keys: Sequence[str]) -> None:
    value = _object(folder, name) if keys else {}
    for key in keys:
        if value.get(key):
            raise RedirectingConfig(folder, name, key)


def _weights_names(folder: Path, paths: frozenset[str]) -> tuple[str, ...]:
    if WEIGHTS_NAME in paths:
        names = {WEIGHTS_NAME}
    elif INDEX_NAME in paths:
        names = set(_weight_map(folder).values())
        for name in sorted(names - paths):
            raise IndexInconsistent(folder, f"{INDEX_NAME} names {name[:200]!r}, which is not there")
    else:
        raise BaseWithoutWeights(folder)
    for path in sorted(paths):
        if path.endswith(".safetensors") and path not in names:
            why = f"{path} is not what {WEIGHTS_NAME if WEIGHTS_NAME in paths else INDEX_NAME} is loaded with"
            raise IndexInconsistent(folder, why)
    return tuple(sorted(names, key=str.encode))


def _weight_map(folder: Path) -> Mapping[str, str]:
    value = _object(folder, INDEX_NAME).get("weight_map")
    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value.values()):
        raise IndexInconsistent(folder, f"{INDEX_NAME} has no weight_map of tensor names to file names")
    return value


def _check_index(folder: Path, names: Sequence[str], hashed: Sequence[HashedWeights]) -> None:
    if tuple(names) == (WEIGHTS_NAME,):
        return
    listed = _weight_map(folder)
    present = {tensor.name: name for name, file in zip(names, hashed, strict=True) for tensor in file.tensors}
    for name in sorted(listed.keys() | present.keys()):
        if listed.get(name) != present.get(name):
            where = present.get(name, "no file")
            raise IndexInconsistent(folder, f"tensor {name[:120]!r} is in {where}, the index says {listed.get(name)}")


def _identity(
    folder: Path, paths: frozenset[str], weights: Digest, revision: str | None, cache: DigestCache | None
) -> BaseIdentity:
    read_by_name = [*TOKENIZER_FILES, *(path for path in paths if _is_further_file(path))]
    parts = {name: str(_digest_of(folder, name, cache)) for name in read_by_name if name in paths}
    has_generation = GENERATION_CONFIG_NAME in paths
    return BaseIdentity(
        weights=weights,
        config=_digest_of(folder, CONFIG_NAME, cache),
        tokenizer=canonical_digest(parts),
        chat_template=chat_template_digest(folder, paths),
        generation_config=_digest_of(folder, GENERATION_CONFIG_NAME, cache) if has_generation else None,
        revision=revision,
    )


def _is_further_file(path: str) -> bool:
    return path in FURTHER_FILES or _FURTHER_EDITIONS.fullmatch(path) is not None


def _digest_of(folder: Path, name: str, cache: DigestCache | None) -> Digest:
    path = folder / name
    if not name.endswith(".json"):
        return hash_file(path, cache=cache).sha256
    key = StatKey.of_path(path)
    known = cache.get(key, _CACHE_KIND) if cache is not None else None
    if known is not None:
        return known
    dropped = _VOLATILE | {"chat_template"} if name == TOKENIZER_CONFIG_NAME else _VOLATILE
    digest = json_digest({word: item for word, item in _object(folder, name).items() if word not in dropped})
    if cache is not None and StatKey.of_path(path) == key:
        cache.put(key, digest, _CACHE_KIND)
    return digest


def chat_template_digest(folder: Path, paths: Collection[str]) -> Digest | None:
    """The digest of the chat template among the files of a folder; None where there is none.

    Raises:
        MalformedInput, BaseFileMissing: a file that may hold it is not a JSON object.
        FileMissing, FileChanged, FileUnreadable: one cannot be read.
    """
    file, older = CHAT_TEMPLATE_NAMES
    files = [name for name in (file, older) if name in paths]
    additional = additional_templates(paths)
    if additional or len(files) > 1:
        return json_digest({path: str(hash_file(folder / path).sha256) for path in (*files, *additional)})
    if file in paths:
        return hash_file(folder / file).sha256
    name = older if older in paths else TOKENIZER_CONFIG_NAME
    template = _object(folder, name).get("chat_template") if name in paths else None
    if template is None:
        return None
    return Digest.of(template.encode("utf-8")) if isinstance(template, str) else json_digest(template)


def additional_templates(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths of the chat templates that a loader takes besides the usual one, sorted."""
    return tuple(sorted(path for path in paths if _ADDITIONAL_TEMPLATE.fullmatch(path)))


def _object(folder: Path, name: str) -> dict[str, Any]:
    value = read_json(read_file(folder / name, max_bytes=JSON_MAX_BYTES), what=name, family="intake")
    if not isinstance(value, dict):
        raise BaseFileMissing(folder, f"usable {name}", "it is JSON, but not an object")
    return value


def _countable(value: Any) -> Any:  # any JSON value
    """Tokenizer configs write 10^30 for "no limit"."""
    if isinstance(value, dict):
        return {key: _countable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_countable(item) for item in value]
    return str(value) if type(value) is int and abs(value) > _MAX_EXACT else value


def _files(
    folder: Path, files: Sequence[FileFound], weights: Mapping[str, HashedWeights], cache: DigestCache | None
) -> tuple[FileEntry, ...]:
    entries = []
    for path in sorted((file.path for file in files), key=str.encode):
        known = weights.get(path)
        if known is not None and known.file_digest is not None:
            entries.append(FileEntry(path=path, size=known.file_size, sha256=known.file_digest))
        else:
            hashed = hash_file(folder / path, cache=cache)
            entries.append(FileEntry(path=path, size=hashed.size, sha256=hashed.sha256))
    return tuple(entries)
