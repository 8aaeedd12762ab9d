"""A folder, or a single file, that somebody else signed with a key and OpenSSF Model Signing: `registry verify FOLDER --key PEM`.

That key alone decides who signed; no registry, trust file or log is asked. The signer chooses which files the signature leaves out,
so these are shown, and one that a loader would open is refused: it would be loaded unverified.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import hash_files
from peft_registry.registry.identity.base import TOKENIZER_FILES
from peft_registry.registry.intake.paths import UnsafePath, safe_relative_path, scan_folder
from peft_registry.registry.signing.dsse import NoTrustedSignature
from peft_registry.registry.signing.foreign import verify_foreign
from peft_registry.registry.signing.oms import BUNDLE_MAX_BYTES, Bundle
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError
from peft_registry.schemas.manifest import SIGNATURE_NAME
from peft_registry.schemas.version import Check, CheckStatus, Verdict, VerifyOutcome

# OMS v1.0 §4.3: never part of a model, at the top of its folder
_NEVER_SIGNED = (".git", ".gitattributes", ".github", ".gitignore")
_SINGLE_FILE = "."  # the name under which the reference tool lists a model that is one file
_LOADED_SUFFIXES = frozenset(
    {
        *(".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".pth"),
        *(".safetensors", ".jinja", ".json", ".model", ".py", ".so"),
    }
)


class FileOutsideSignature(IntegrityBroken):
    what = "the signature leaves out files that a loader would open"
    why = "its ignore_paths cover {paths!l}"
    fix = "ask the signer for a signature over the whole model, or remove these files before anything is loaded"

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForeignModel:
    """A model to verify. `ignored` are paths in it that are not part of the model, as the user says."""

    path: Path
    signature: Path
    ignored: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent


def default_signature(path: Path) -> Path:
    """The path of the signature unless the user names another: `model.sig` in the folder, or beside the file."""
    return (path if path.is_dir() else path.parent) / SIGNATURE_NAME


def verify_foreign_model(model: ForeignModel, key_pem: bytes) -> VerifyOutcome:
    """How a model that was signed elsewhere verifies by one public key: signature, files, and what the signature leaves out.

    Raises:
        MalformedPublicKey: the key is not one EC key on P-256, P-384 or P-521.
        FileMissing, FolderMissing: there is no signature, or nothing to verify.
    """
    data = read_file(model.signature, max_bytes=BUNDLE_MAX_BYTES)
    try:
        bundle = verify_foreign(data, key_pem, what=model.signature.name)
    except InputRefused:  # what the user gave is not a public key
        raise
    except NoTrustedSignature as error:
        return _outcome(model, (_raised("signature", error, "unchecked"), *_not_reached("files", "ignored")))
    except KnownError as error:  # a signature of another kind cannot be right by this key either
        return _outcome(model, (_raised("signature", error, "failed"), *_not_reached("files", "ignored")))
    signed = Check(
        step="signature", text=f"{model.signature.name}, OMS by key, {len(bundle.resources)} files", status="ok"
    )
    try:
        files = _check_files(model, bundle)
    except IntegrityBroken as error:
        files = _raised("files", error, "failed")
    try:
        ignored = _check_ignored(model, bundle)
    except IntegrityBroken as error:
        ignored = _raised("ignored", error, "failed")
    return _outcome(model, (signed, files, ignored))


def _check_files(model: ForeignModel, bundle: Bundle) -> Check:
    """Exactly the listed files lie there, each with the SHA-256 that was signed."""
    present = _present(model, (*_NEVER_SIGNED, *bundle.ignore_paths, *model.ignored))
    listed = {resource.name: resource.sha256 for resource in bundle.resources}
    if listed.keys() == {_SINGLE_FILE} and len(present) == 1:
        listed = {present[0]: listed[_SINGLE_FILE]}
    wrong = [f"missing: {name}" for name in sorted(listed.keys() - set(present))]
    wrong += [f"extra: {name}" for name in sorted(set(present) - listed.keys())]
    names = [name for name in present if name in listed]
    hashed = hash_files([model.folder / name for name in names])
    wrong += [
        f"changed: {name} is {file.sha256.short}, signed was {listed[name].short}"
        for name, file in zip(names, hashed, strict=True)
        if file.sha256 != listed[name]
    ]
    if wrong:
        text = f"{len(wrong)} of {len(listed.keys() | set(present))} files are not what was signed"
        return Check(step="files", text=text, status="failed", error="files-changed", detail=tuple(wrong))
    return Check(step="files", text=f"{len(names)} files match, nothing extra", status="ok")


def _present(model: ForeignModel, excluded: Iterable[str]) -> tuple[str, ...]:
    """The files that must be signed."""
    if not model.path.is_dir():
        return (model.path.name,)
    # the signature cannot sign itself
    signature = [model.signature.name] if model.signature.parent.resolve() == model.path.resolve() else []
    return tuple(file.path for file in scan_folder(model.path, exclude=(*excluded, *signature)))


def _check_ignored(model: ForeignModel, bundle: Bundle) -> Check:
    """What the signature leaves out is shown, and nothing of it is what a loader opens."""
    if not bundle.ignore_paths:
        return Check(step="ignored", text="the signature leaves nothing out", status="ok")
    left_out = tuple(_left_out(model, bundle.ignore_paths))
    loaded = tuple(name for name in left_out if _is_loaded(name))
    if loaded:
        return _raised("ignored", FileOutsideSignature(loaded), "failed", detail=loaded)
    text = f"the signature leaves out {', '.join(bundle.ignore_paths)}"
    lines = [f"not covered: {name}" for name in left_out]
    return Check(step="ignored", text=text, status="ok", detail=tuple(lines))


def _left_out(model: ForeignModel, ignored: Iterable[str]) -> Iterator[str]:
    """The files that lie under ignored paths, without the signature and what is never part of a model."""
    if not model.path.is_dir():
        return
    for path in sorted(ignored):
        # a lone file's signature of earlier releases may name any text here
        place = model.path / safe_relative_path(path)
        if path in _NEVER_SIGNED or place.resolve() == model.signature.resolve():
            continue
        if place.is_symlink():
            raise UnsafePath(
                path, "it is a symbolic link, and what the signature leaves out is not looked for elsewhere"
            )
        if place.is_dir():
            yield from (f"{path}/{file.path}" for file in scan_folder(place))
        elif place.exists():
            yield path


def _is_loaded(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in _LOADED_SUFFIXES or path.name in TOKENIZER_FILES


def _outcome(model: ForeignModel, checks: tuple[Check, ...]) -> VerifyOutcome:
    statuses = {check.status for check in checks}
    verdict: Verdict = "verified"
    if "failed" in statuses:
        verdict = "broken"
    elif "unchecked" in statuses:
        verdict = "unverified"
    return VerifyOutcome(subject=str(model.path), manifest_digest=None, verdict=verdict, checks=checks)


def _raised(step: str, error: KnownError, status: CheckStatus, *, detail: tuple[str, ...] | None = None) -> Check:
    lines = (error.why,) if detail is None else detail
    return Check(step=step, text=error.what, status=status, error=error.reference, detail=lines)


def _not_reached(*steps: str) -> tuple[Check, ...]:
    return tuple(Check(step=step, text="not reached", status="unchecked") for step in steps)
