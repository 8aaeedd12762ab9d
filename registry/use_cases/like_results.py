"""Which registered results something that is offered is in other numbers, or is near to, by what each does to its base.

No registration makes a sketch, whichever command registers. That of a version is made from its bytes when something is first
compared with it, and when it is recalled, so that it is there where the bytes are lost later. It is kept for each user outside
every home, by the digest of its manifest, beside the secret that it was made with: whoever can write a home could else put another
in its place, and nothing would show that. Recalled results are compared first, and every one of them.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import (
    DiskFull,
    FileMissing,
    NotARegularFile,
    NotWritable,
    read_file,
    scratch_folder,
    write_atomically,
)
from peft_registry.registry.homes.home import OWN_MAX_BYTES, Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX, listed_tensors
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.sketches import (
    FORM,
    BaseOfAdapter,
    Likeness,
    Probes,
    Sketch,
    likeness,
    modules_of,
    parts_of,
    sketch_of_adapter,
    sketch_of_model,
    sketched_modules,
    thresholds,
)
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.registry.intake.peft_config import read_peft_config
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.lost_rows import require_registrations
from peft_registry.registry.records.stops import stops_among
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.views import view_of
from peft_registry.registry.use_cases.find import all_found
from peft_registry.registry.use_cases.pull_base import BaseBytesMissing, WrongBase, checked_folder
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.errors import Refused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

_FOLDER_NAME = "sketches"
_SEED_NAME = "seed"
_SEED_BYTES = 32
_RECALLED = read_query("recalled=yes")
RESULTS_LOOKED_AT = 1000  # the newest ones: of these the names of their tensors
_SKETCHED_AT_ONCE = 50  # of those that may be used and were not sketched yet: each is read whole
_ADDED_UP = 32  # of the nearest results those that a combination is looked for among
_NAMED = 5
_NOT_HERE = "their bytes, or those of their base, are not here"
_LEAST_COSINE = 0.2  # of a part of a combination with the whole: a quarter of four has 0.5


class RecalledInOtherNumbers(Refused):
    what = "{name} is not taken in: it is {made}, and {label} must not be used"
    why = "{figures}; {recall}"
    fix = (
        "use what was not made from it; if it is another one, whoever may recall takes the recall back with "
        "`registry recall {label} --undo --reason TEXT --key FILE`, and recalls it anew once this is registered"
    )

    name: str
    label: str
    made: str
    figures: str
    recall: str


@dataclass(frozen=True, slots=True)
class LikeResult:
    """A registered result that something is like. `recall` is why it must not be used; None where it may."""

    version: Version
    likeness: Likeness
    recall: str | None


@dataclass(frozen=True, slots=True)
class LikeResults:
    """The results that something is like, the most alike first; the recalled ones that were not compared, and how many others."""

    found: tuple[LikeResult, ...]
    recalled_not_compared: tuple[str, ...]
    not_compared: int

    @property
    def gap(self) -> str | None:
        """What could not be compared, in words; None where everything was."""
        if self.recalled_not_compared:
            return unknown_of(self.recalled_not_compared)
        if self.not_compared:
            return f"{self.not_compared} registered results could not be compared by what they do: {_NOT_HERE}"
        return None


def unknown_of(recalled: Sequence[str], why: str = _NOT_HERE) -> str:
    """That something was not held against recalled results."""
    more = f" and {len(recalled) - _NAMED} more" if len(recalled) > _NAMED else ""
    named = ", ".join(recalled[:_NAMED])
    return f"{named}{more} must not be used, and could not be compared with it by what they do: {why}"


@dataclass(frozen=True, slots=True)
class Comparable:
    """A registered result that something may be compared with; `is_recalled` where it must not be used."""

    version: Version
    is_recalled: bool


def like_results(
    registry: Registry,
    name: str,
    offered: Sketch,
    results: Iterable[Comparable],
    scratch: Path,
    *,
    but: tuple[str, Digest] | None = None,
) -> LikeResults:
    """The registered results that what is offered is in other numbers, or is near to.

    Args:
        registry: open.
        name: what a refusal calls it.
        offered: its sketch.
        results: that it is compared with, where they change a weight that it changes.
        scratch: a folder for bytes of registered versions.
        but: the name and the weights of what is offered once more under its own name, which it may be like.

    Raises:
        RecalledInOtherNumbers: it is one that must not be used, or is added up from such.
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `stops_among`.
    """
    compared, recalled_not_compared, not_compared = _compared(registry, offered, results, scratch, but)
    near = [
        result
        for result in compared
        if result.likeness.verdict != "neither" or abs(result.likeness.cosine) >= _LEAST_COSINE
    ]
    near.sort(key=lambda result: (result.likeness.verdict == "the same", abs(result.likeness.cosine)), reverse=True)
    recalls = stops_among(
        registry, RECALL, {result.version.manifest_digest: result.version.label for result in near}, at_most=1
    )
    with_recalls = [(result, next(iter(recalls[result.version.manifest_digest]), None)) for result in near]
    found = tuple(
        LikeResult(result.version, result.likeness, recall)
        for result, recall in with_recalls
        if result.likeness.verdict != "neither"
    )
    _require_another(name, found)
    _require_no_part(name, offered, with_recalls[:_ADDED_UP])
    return LikeResults(found, recalled_not_compared, not_compared)


def probes_of(registry: Registry) -> Probes:
    """Those of this user, from a secret in the state folder; of a user of whom nothing is remembered, new ones each time."""
    path = _place(registry, _SEED_NAME)
    if path is not None:
        try:
            secret = read_file(path, max_bytes=OWN_MAX_BYTES)
        except (FileMissing, NotARegularFile):
            secret = b""
        if len(secret) == _SEED_BYTES:
            return Probes(secret)
    secret = hashlib.sha256(registry.nonce().encode()).digest()
    if path is not None:
        _write(path, secret)
    return Probes(secret)


def sketch_recalled(registry: Registry, version: Version) -> None:
    """Make the sketch of what was recalled, where its bytes are here: they may be lost before something is compared with it."""
    if _place(registry, _SEED_NAME) is None or version.kind == "base":
        return
    with scratch_folder("registry-recall-") as scratch:
        _Sketches(registry, scratch, probes_of(registry)).of(version, is_recalled=True)


def keep_sketch(registry: Registry, manifest: Digest, sketch: Sketch) -> None:
    """Keep the sketch of a version; whose state folder cannot be written computes it again."""
    path = _place(registry, _name_of(manifest))
    if path is not None:
        _write(path, sketch.to_bytes())


def base_of_offered(registry: Registry, base: Version, scratch: Path, probes: Probes) -> BaseOfAdapter:
    """What the sketch of an adapter that is offered needs of its base."""
    return BaseOfAdapter.of(tensors_of(registry, base), cache(lambda: _Sketches(registry, scratch, probes).of(base)))


def tensors_of(registry: Registry, version: Version) -> tuple[Tensor, ...]:
    """What a version holds, as its manifest lists it."""
    return listed_tensors(stored_manifest(registry, version.manifest_digest).weights)


# --- comparing ---


@dataclass(frozen=True, slots=True)
class _Known:
    """A registered result beside what is offered."""

    version: Version
    sketch: Sketch
    base: Sketch | None
    likeness: Likeness


def _compared(
    registry: Registry,
    offered: Sketch,
    results: Iterable[Comparable],
    scratch: Path,
    but: tuple[str, Digest] | None,
) -> tuple[list[_Known], tuple[str, ...], int]:
    sketches = _Sketches(registry, scratch, offered.probes)
    known: list[_Known] = []
    recalled_not_compared = []
    not_compared = 0
    for comparable in results_with(registry, results, offered.names):
        version, is_recalled = comparable.version, comparable.is_recalled
        if (version.name, version.weights_digest) == but:
            continue
        result = sketches.of(version, is_recalled=is_recalled)
        base = None
        if result is not None and not (result.is_change and offered.is_change):
            of_base = _base_of(registry, version)
            base = None if of_base is None else sketches.of(of_base, is_recalled=is_recalled)
        found = None if result is None else likeness(offered, result, base)
        if result is not None and found is not None:
            known.append(_Known(version, result, base, found))
        elif is_recalled:
            recalled_not_compared.append(version.label)
        else:
            not_compared += 1
    return known, tuple(recalled_not_compared), not_compared


def results_with(registry: Registry, results: Iterable[Comparable], weights: Iterable[str]) -> Iterator[Comparable]:
    """Those of the results that change a module with one of these weights of a base."""
    modules = modules_of(weights)
    for result in results:
        manifest = stored_manifest(registry, result.version.manifest_digest)
        method = manifest.method if result.version.kind == "adapter" else None
        if modules & sketched_modules(listed_tensors(manifest.weights), method):
            yield result


def comparable_results(registry: Registry) -> tuple[Comparable, ...]:
    """Every recalled result, then the newest others, each artifact once.

    Raises:
        VersionsDiffer: the log registers one that has no row, which nothing would be compared with, or the row of a recalled one is
            not what was signed.
        RowsMissing: rows by which the recalled ones are found are gone.
    """
    with view_of(registry) as view:
        require_registrations(view)
        newest = catalog.newest_versions(view.tx, limit=RESULTS_LOOKED_AT)
    # of any age, because whoever offers one again has waited; each is proven, because an edited row would hide it
    recalled = all_found(registry, _RECALLED) if registry.database.is_current else ()
    results: dict[Digest, Comparable] = {}
    for version, is_recalled in chain(
        ((version, True) for version in recalled), ((version, False) for version in newest)
    ):
        if version.kind in ("adapter", "model"):
            results.setdefault(version.manifest_digest, Comparable(version, is_recalled))
    return tuple(results.values())


def _base_of(registry: Registry, version: Version) -> Version | None:
    base = stored_manifest(registry, version.manifest_digest).base
    if base is None or base.manifest is None:
        return None
    with registry.database.read() as tx:
        return next(iter(catalog.version_by_digest(tx, manifest_digest=base.manifest)), None)


def _require_another(name: str, found: Sequence[LikeResult]) -> None:
    same = [result for result in found if result.likeness.verdict == "the same"]
    # a result that may be used and is nearer than a recalled one, which was continued from it, is what is offered
    free = max((abs(result.likeness.cosine) for result in same if result.recall is None), default=0.0)
    is_free = free >= thresholds()["same_cosine_at_least"]
    for result in same:
        if result.recall is not None and not (is_free and free > abs(result.likeness.cosine) + 1e-6):
            label = result.version.label
            raise RecalledInOtherNumbers(
                name, label, f"{label} in other numbers", result.likeness.figures, result.recall
            )


def _require_no_part(name: str, offered: Sketch, near: Sequence[tuple[_Known, str | None]]) -> None:
    if len(near) < 2 or not any(recall for _, recall in near):
        return
    parts = parts_of(offered, [(result.sketch, result.base) for result, _ in near])
    added = [
        (result, recall, part)
        for (result, recall), part in zip(near, parts, strict=True)
        if part >= thresholds()["part_at_least"]
    ]
    for result, recall, part in added:
        if recall is not None:
            made = " and ".join(other.version.label for other, _, _ in added)
            label = result.version.label
            figures = f"what it changes is what those change, added up, and {part:.0%} of its norm comes from {label}"
            raise RecalledInOtherNumbers(name, label, f"made of {made}", figures, recall)


# --- what is kept ---


def _place(registry: Registry, name: str) -> Path | None:
    """Where this user keeps something of that name; None where nobody remembers."""
    if registry.seen is None or registry.seen.state is None:
        return None
    return registry.seen.state / _FOLDER_NAME / name


def _name_of(manifest: Digest) -> str:
    return f"{manifest.hex}.{FORM}.npz"


def _write(path: Path, data: bytes) -> None:
    """Write it where that is possible; else it is made again each time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(path, data, mode=0o600)
    except (DiskFull, NotWritable, OSError):
        return


def _kept(registry: Registry, manifest: Digest, probes: Probes) -> Sketch | None:
    path = _place(registry, _name_of(manifest))
    if path is None:
        return None
    try:
        return Sketch.from_bytes(read_file(path, max_bytes=OWN_MAX_BYTES), probes)
    except (FileMissing, NotARegularFile):
        return None


@dataclass
class _Sketches:
    """The sketches of registered versions, as they are kept or as they are made: of the recalled ones all, of others a few at most,
    for each is read whole."""

    registry: Registry
    scratch: Path
    probes: Probes
    known: dict[Digest, Sketch | None] = field(default_factory=dict)
    made: int = 0

    def of(self, version: Version, *, is_recalled: bool = False) -> Sketch | None:
        """None where its bytes are not here, have no sketch, or too many were made already."""
        digest = version.manifest_digest
        if self.known.get(digest) is None and (digest not in self.known or is_recalled):
            kept = _kept(self.registry, digest, self.probes)
            self.known[digest] = self._made(version, is_recalled=is_recalled) if kept is None else kept
        return self.known[digest]

    def _made(self, version: Version, *, is_recalled: bool) -> Sketch | None:
        self.made += not is_recalled
        if not is_recalled and self.made > _SKETCHED_AT_ONCE:
            return None
        try:
            checked = checked_folder(
                self.registry,
                version,
                self.scratch / "sketched",
                only=lambda entry: entry.path == ADAPTER_CONFIG_NAME or entry.path.endswith(WEIGHTS_SUFFIX),
            )
        except (BaseBytesMissing, WrongBase):
            return None
        files = [path.resolve() for path in sorted(checked.folder.rglob(f"*{WEIGHTS_SUFFIX}"))]
        if version.kind == "adapter":
            config = read_peft_config(read_file(checked.folder / ADAPTER_CONFIG_NAME, max_bytes=CONFIG_MAX_BYTES))
            base = _base_of(self.registry, version)
            sketch = sketch_of_adapter(
                files[0],
                config,
                self.probes,
                BaseOfAdapter.of(
                    () if base is None else tensors_of(self.registry, base),
                    lambda: None if base is None else self.of(base, is_recalled=is_recalled),
                ),
            )
        else:
            sketch = sketch_of_model(files, self.probes)
        checked.require_unchanged()
        if sketch is not None:
            keep_sketch(self.registry, version.manifest_digest, sketch)
        return sketch
