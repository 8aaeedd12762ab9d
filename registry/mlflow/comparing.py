"""What MLflow shows of a version, held against what was written there. Pure: what is shown comes in as values.

MLflow keeps no log of changes, and whoever reaches it can edit nearly everything. What is ours and not as it was written is a
difference; what users add beside it (tags without our prefix, notes of their own) is theirs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from peft_registry.registry.mlflow.projection import Projection

_OUR_PREFIX = "registry."
_FINISHED = "FINISHED"
_LONGEST_QUOTE = 120  # characters of a value
Points = Sequence[tuple[int, float]]
"""Step and value of each point of a metric, in the order of the steps."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it was written: what of which key, what was written, and what stands there; None for nothing."""

    kind: str
    key: str
    written: str | None
    shown: str | None

    @property
    def place(self) -> str:
        """`tag registry.bias`; `description`."""
        return f"{self.kind} {self.key}".rstrip()

    @property
    def text(self) -> str:
        """`tag registry.bias: 'clean' was written, and 'passed' stands there`."""
        if self.shown is None:
            return f"{self.place}: {_quoted(self.written)} was written, and is gone"
        if self.written is None:
            return f"{self.place}: {_quoted(self.shown)} was added"
        return f"{self.place}: {_quoted(self.written)} was written, and {_quoted(self.shown)} stands there"


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """A registered version as MLflow has it; `loads_from` is where its files are fetched, whatever the source says."""

    source: str
    loads_from: str
    run_id: str | None
    tags: Mapping[str, str]
    description: str
    aliases: frozenset[str]


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A logged model as MLflow has it: the digests of its files by path, and the figures that a search for models finds."""

    tags: Mapping[str, str]
    files: Mapping[str, str]
    metrics: frozenset[tuple[str, float]] = frozenset()


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as MLflow has it; `files` are the digests of its files by path, and `is_deleted` that it is in the bin."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, Points]
    files: Mapping[str, str]
    models: frozenset[str] = frozenset()  # ids of the logged models that it made
    is_deleted: bool = False
    experiment: str = ""  # its id
    name: str = ""
    status: str = _FINISHED
    datasets: frozenset[tuple[str, str, str, str]] = frozenset()  # name, digest, context, source


def differences_of_version(
    projection: Projection, shown: ShownVersion | None, *, description: str, run_id: str
) -> Iterator[Difference]:
    """What in a registered version is not as it was written; `description` and `run_id` are those that were."""
    version = projection.version
    if shown is None:
        yield Difference("version", "", f"{version.name}:{version.number}", None)
        return
    if shown.source != version.source:
        yield Difference("source", "", version.source, shown.source)
    elif shown.loads_from != version.source:
        yield Difference("loaded from", "", version.source, shown.loads_from)
    if shown.run_id != run_id:
        yield Difference("run of the version", "", run_id, shown.run_id)
    yield from _differ("tag", dict(version.tags), shown.tags, is_ours=lambda key: key.startswith(_OUR_PREFIX))
    if shown.description != description:
        yield Difference("description", "", description, shown.description or None)
    for alias in sorted(set(version.aliases) - shown.aliases):
        yield Difference("alias", alias, f"{version.name}:{version.number}", None)
    for alias in sorted(shown.aliases - set(version.aliases)):
        yield Difference("alias", alias, None, f"{version.name}:{version.number}")


def differences_of_name(projection: Projection, shown: Mapping[str, str]) -> Iterator[Difference]:
    """What in the tags of a registered model is not as its newest version wrote it; nothing for an earlier version."""
    if projection.version.name_tags:
        written = dict(projection.version.name_tags)
        yield from _differ("tag of the name", written, shown, is_ours=lambda key: key.startswith(_OUR_PREFIX))


def differences_of_model(
    projection: Projection, shown: ShownModel | None, *, tags: Mapping[str, str], files: Mapping[str, str]
) -> Iterator[Difference]:
    """What in a logged model is not as it was written; `tags` are those that were, `files` the digests of its files by path."""
    if shown is None:
        yield Difference("model", "", projection.version.model_name, None)
        return
    yield from _differ("model tag", tags, shown.tags, is_ours=lambda key: key.startswith(_OUR_PREFIX))
    yield from _differ("model file", files, shown.files, is_ours=lambda _: True)
    # whoever logs a figure of a model, from whatever run, changes which models a search finds
    written = {(point.key, point.value) for point in projection.run.metrics if point.final}
    for key in sorted({key for key, _ in written ^ shown.metrics}):
        yield Difference("model metric", key, _values(key, written), _values(key, shown.metrics))


def differences_of_run(
    projection: Projection,
    shown: ShownRun | None,
    *,
    tags: Mapping[str, str],
    files: Mapping[str, str],
    model_id: str | None = None,
) -> Iterator[Difference]:
    """What in a run is not as it was written.

    Args:
        projection: what it was written from.
        shown: the run as it is; None where it is gone.
        tags: those that it was written with.
        files: the digests of its files, by path.
        model_id: the logged model that it made; None: not compared.
    """
    if shown is None or shown.is_deleted:
        yield Difference("run", "", projection.run.name, None)
        return
    if model_id is not None and model_id not in shown.models:
        yield Difference("model of the run", "", model_id, ", ".join(sorted(shown.models)) or None)
    for other in sorted(shown.models - {model_id}):
        if model_id is not None:
            yield Difference("other model of the run", other, None, other)
    if shown.name != projection.run.name:
        yield Difference("run name", "", projection.run.name, shown.name)
    if shown.status != _FINISHED:
        yield Difference("run status", "", _FINISHED, shown.status)
    datasets = frozenset((use.name, use.digest, use.context, use.source) for use in projection.run.datasets)
    for name, digest, context, source in sorted(datasets ^ shown.datasets):
        is_written = (name, digest, context, source) in datasets
        text = f"{digest}, {context}, {source}"
        yield Difference("data set", name, text if is_written else None, None if is_written else text)
    yield from _differ("run tag", tags, shown.tags, is_ours=lambda key: key.startswith(_OUR_PREFIX))
    yield from _differ("parameter", dict(projection.run.params), shown.params, is_ours=lambda _: True)
    written: dict[str, list[tuple[int, float]]] = {}
    for point in projection.run.metrics:
        written.setdefault(point.key, []).append((point.step, point.value))
    for key in sorted(written.keys() | shown.metrics.keys()):
        ours, theirs = sorted(written.get(key, [])), sorted(shown.metrics.get(key, ()))
        if ours != theirs:
            yield Difference("metric", key, _points(ours), _points(theirs))
    yield from _differ("file", files, shown.files, is_ours=lambda _: True)


def _differ(
    what: str, written: Mapping[str, str], shown: Mapping[str, str], *, is_ours: Callable[[str], bool]
) -> Iterator[Difference]:
    for key in sorted(written.keys() | {key for key in shown if is_ours(key)}):
        if written.get(key) != shown.get(key):
            yield Difference(what, key, written.get(key), shown.get(key))


def _values(key: str, metrics: Iterable[tuple[str, float]]) -> str | None:
    return ", ".join(f"{value:g}" for name, value in sorted(metrics) if name == key) or None


def _points(points: Sequence[tuple[int, float]]) -> str | None:
    return ", ".join(f"{value:g} at step {step}" for step, value in points) or None


def _quoted(text: str | None) -> str:
    shown = text or ""
    return repr(shown if len(shown) <= _LONGEST_QUOTE else f"{shown[:_LONGEST_QUOTE]}…")
