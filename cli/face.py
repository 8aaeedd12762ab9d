"""The Python face: what `peft_registry` hands on, each name loaded on first use (docs/adr/0012).

A call does what the command of its name does: the same checks, the same records, the same errors. Notes and progress go to stderr.
Threads may share an open registry. What computes with a model waits for its turn: PyTorch has one seed and one set of number
formats for the whole process.
"""

import json
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from peft_registry.cli.wiring import opened
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    from peft_registry.registry.homes.home import Registry
    from peft_registry.registry.signing.keys import PrivateKey
    from peft_registry.registry.use_cases.approve import ActShown
    from peft_registry.registry.use_cases.gate import GateShown
    from peft_registry.registry.use_cases.import_folder import ImportOutcome
    from peft_registry.registry.use_cases.promote import Replaced
    from peft_registry.registry.use_cases.recall import Recalled
    from peft_registry.registry.use_cases.show import VersionShown
    from peft_registry.registry.use_cases.show_log import EntryShown
    from peft_registry.registry.use_cases.show_record import RecordShown
    from peft_registry.registry.use_cases.summaries import VersionSummary
    from peft_registry.schemas.evaluation import Part
    from peft_registry.schemas.lineage import Lineage
    from peft_registry.schemas.progress import Observe
    from peft_registry.schemas.version import VerifyOutcome, Version
    from peft_registry.trainer.use_cases.evaluate import Evaluated
    from peft_registry.trainer.use_cases.load import LoadedDtype
    from peft_registry.trainer.use_cases.merge import MergeOutcome
    from peft_registry.trainer.use_cases.train import TrainOutcome
    from peft_registry.trainer.use_cases.train_tasks import TasksOutcome

    Summarize = Callable[[Sequence[Version]], Sequence[VersionSummary]]

_ONE_MODEL_AT_A_TIME = threading.Lock()
HOME_VARIABLE = "REGISTRY_HOME"
_COLUMNS = ("name", "number", "kind", "method", "manifest_digest", "weights_digest", "base_weights", "size_bytes")
_FURTHER_COLUMNS = ("registered_at", "aliases")
_SHOWN_COLUMNS = (
    "name",
    "number",
    "kind",
    "method",
    "base",
    "rank",
    "loss",
    "metric",
    "metric_value",
    "seen_before",
    "aliases",
    "gate",
)
_SUMMARY_COLUMNS = ("base", "rank", "loss", "metric", "metric_value", "seen_before", "gate")


class TrainingFileNotAPath(InputRefused):
    what = "train() is given a {kind} as its training file"
    why = (
        "its first argument is the path of a training file, and its second the values that replace some of that file's"
    )
    fix = (
        'write train("train.yml", {{"name": "x"}}); `registry init` writes a training file. Write a DataFrame to a file first, '
        'frame.to_parquet("rows.parquet"), and name that in data.train.path'
    )

    kind: str


class Versions(Sequence["Version"]):
    """Registered versions, by name and number; `frame()` gives them as a table."""

    def __init__(self, versions: Sequence["Version"], summarize: "Summarize") -> None:
        self._versions = tuple(versions)
        self._summarize = summarize  # asked by a table alone: it reads every statement about the versions

    @overload
    def __getitem__(self, place: int) -> "Version": ...
    @overload
    def __getitem__(self, place: slice) -> "Versions": ...
    def __getitem__(self, place: int | slice) -> "Version | Versions":
        if isinstance(place, slice):
            return Versions(self._versions[place], self._summarize)
        return self._versions[place]

    def __len__(self) -> int:
        return len(self._versions)

    def __repr__(self) -> str:
        return f"Versions({', '.join(version.label for version in self._versions)})"

    def frame(self) -> Any:
        """A DataFrame of pandas, a row a version: name, number, kind, method, digests as text, bytes, time (UTC), aliases, the
        label of its base, rank, held-out loss, the figure of its task or of a benchmark task with its name, and its gates.
        `seen_before` names the data sets of these figures that the version was trained on: they do not show what it learnt.

        Raises:
            ImportError: pandas is not installed; MLflow brings it.
        """
        pandas = import_module("pandas")  # not named as a requirement: whoever installs the small part does without it
        rows = [self._row(*both) for both in zip(self._versions, self._summarize(self._versions), strict=True)]
        return pandas.DataFrame(rows, columns=[*_COLUMNS, *_FURTHER_COLUMNS, *_SUMMARY_COLUMNS])

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        html: str = self.frame()[[*_SHOWN_COLUMNS]].to_html(index=False, na_rep="", max_rows=50)
        return html

    @staticmethod
    def _row(version: "Version", summary: "VersionSummary") -> dict[str, Any]:
        as_text = {name: str(value) if "digest" in name else value for name, value in version}
        base = version.base_weights
        own = {"base_weights": None if base is None else str(base), "aliases": ", ".join(version.aliases)}
        metric, value = summary.shown_metric or (None, None)
        figures: dict[str, Any] = {"base": summary.base, "rank": summary.rank, "loss": summary.loss}
        figures |= {"metric": metric, "metric_value": value, "seen_before": ", ".join(summary.seen_before)}
        return as_text | own | figures | {"gate": summary.gate_text}


class OpenRegistry:
    """A registry that stays open for several calls: `with open_registry() as registry: …`. Threads may share it."""

    def __init__(self, home: Path | None, passphrase_file: Path | None, *, mirror: bool, quiet: bool) -> None:
        self._home = home
        self._passphrase_file = passphrase_file
        self._mirror = mirror
        self._quiet = quiet
        self._closing = ExitStack()
        self._registry: Registry = self._closing.enter_context(opened(home, passphrase_file))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, trace)

    def close(self) -> None:
        """Close the database; what is asked afterwards fails."""
        self._closing.close()

    @property
    def folder(self) -> Path:
        """The registry's own folder."""
        return self._registry.folder

    def train(
        self, file: str | os.PathLike[str], changes: Mapping[str, object] | None = None, *, again: bool = False
    ) -> "TrainOutcome | TasksOutcome":
        """Fine-tune a base as a training file says, and register the result; as `registry train`.

        Args:
            file: the training file.
            changes: values in its place, by key, such as `{"method": "ia3", "training.seed": 8}`.
            again: train although the result of this very file is registered; of a file with `tasks:` it changes nothing.

        Returns:
            The version with its run and modification record; of a file with `tasks:`, what became of each.

        Raises:
            KnownError: as the command. Nothing is registered then; of a file with `tasks:`, the tasks before it stay.
        """
        from peft_registry.cli.mirror import push_after
        from peft_registry.trainer.inputs.training_file import load_tasks
        from peft_registry.trainer.use_cases.train import train_and_register
        from peft_registry.trainer.use_cases.train_tasks import train_tasks

        path = _path_of_training_file(file)
        words = tuple(f"{key}={json.dumps(value)}" for key, value in (changes or {}).items())
        tasks = load_tasks(path, words)
        self._registry.unlock()
        outcome: TrainOutcome | TasksOutcome
        with _ONE_MODEL_AT_A_TIME:
            if tasks:
                outcome = of_tasks = train_tasks(self._registry, path, tasks, words, observe=self._observe())
                labels = [result.version.label for result in of_tasks.results]
            else:
                outcome = of_one = train_and_register(self._registry, path, words, again=again, observe=self._observe())
                labels = [of_one.version.label]
        if self._mirror:
            push_after(self._registry, *labels)
        return outcome

    def evaluate(
        self,
        references: str | Sequence[str],
        suites: str | Sequence[str] = "house",
        *,
        half: "Part | None" = None,
        limit: int | None = None,
        seed: int = 0,
        tasks: str | Sequence[str] = (),
        data: str | os.PathLike[str] | None = None,
    ) -> "tuple[Evaluated, ...]":
        """Measure bias and quality, and sign what was found; as `registry evaluate`.

        Args:
            references: versions, such as `name:3` or `name@champion`.
            suites: names of suites; `house` comes with the tool.
            half: of each suite, `development` or `test`, or its `screen`, which gives no verdict; None for all of it.
            limit: the maximum number of items of each suite, drawn by `seed`; None for all.
            seed: of that draw.
            tasks: names of tasks of lm-evaluation-harness (extra `tasks`); `suites=()` for them alone.
            data: file or folder with their rows, and with those of suites that are neither shipped nor pinned.

        Returns:
            Each version with its signed evaluation, in the order of the references.

        Raises:
            KnownError: as the command.
        """
        from peft_registry.trainer.evaluation.scope import EvaluationScope
        from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references

        request = EvaluationRequest(
            suites=_names(suites),
            tasks=_names(tasks),
            data=None if data is None else Path(data),
            scope=EvaluationScope(half),
            limit=limit,
            seed=seed,
        )
        self._registry.unlock()
        with _ONE_MODEL_AT_A_TIME:
            return evaluate_references(self._registry, _names(references), request, observe=self._observe())

    def merge(
        self,
        references: str | Sequence[str],
        *,
        name: str | None = None,
        weights: Sequence[float] = (),
        algorithm: str = "linear",
        project: str | None = None,
        facts: str | os.PathLike[str] | None = None,
        evaluate: bool = False,
    ) -> "MergeOutcome":
        """Merge adapters into their base, and register the result; as `registry merge`.

        Args:
            references: the adapters.
            name: of the result; None for the first adapter's with `-merged`.
            weights: one for each adapter; empty for equal parts.
            algorithm: `linear`, `ties`, `dare`, `dare_ties`; `concatenate` and `svd` give an adapter.
            project: what the result is for; that of no adapter is taken over.
            facts: YAML file of facts that only people know.
            evaluate: evaluate the result too.

        Raises:
            KnownError: as the command; nothing is registered then.
        """
        from peft_registry.cli.mirror import push_after
        from peft_registry.trainer.merge.request import MergeRequest
        from peft_registry.trainer.use_cases.merge import merge_and_register

        request = MergeRequest(
            references=_names(references),
            name=name,
            weights=tuple(weights),
            algorithm=algorithm,
            project=project,
            facts=None if facts is None else Path(facts),
            evaluate=evaluate,
        )
        self._registry.unlock()
        with _ONE_MODEL_AT_A_TIME:
            outcome = merge_and_register(self._registry, request, observe=self._observe())
        if self._mirror and outcome.version is not None:
            push_after(self._registry, outcome.version.label)
        return outcome

    def load(self, reference: str, *, dtype: "LoadedDtype" = "fp32", device: str = "cpu") -> Any:
        """The model of a version, in evaluation mode, from bytes that were verified a moment ago.

        Args:
            reference: such as `name@champion`.
            dtype: of the base's weights, `fp32` or `bf16`; a whole model keeps the format that it was saved in.
            device: such as `cuda:0`.

        Returns:
            A `PeftModel` for an adapter, else a model of transformers.

        Raises:
            KnownError: the version or its base is not what was registered, or cannot be loaded; nothing was loaded then.
        """
        from peft_registry.registry.records.references import version_named
        from peft_registry.trainer.use_cases.load import load_version

        version = version_named(self._registry, reference)
        with self._scratch() as scratch, _ONE_MODEL_AT_A_TIME:
            return load_version(
                self._registry, version, Path(scratch), dtype=dtype, device=device, observe=self._observe()
            ).model

    def load_tokenizer(self, reference: str) -> Any:
        """The tokenizer of a version: that of its base, from checked bytes.

        Raises:
            KnownError: the base is not registered, or not what was registered.
        """
        from peft_registry.registry.records.references import version_named
        from peft_registry.trainer.use_cases.load import load_tokenizer_of

        version = version_named(self._registry, reference)
        with self._scratch() as scratch:
            return load_tokenizer_of(self._registry, version, Path(scratch), observe=self._observe())

    def pull(self, reference: str, folder: str | os.PathLike[str], *, with_base: bool = False) -> "VerifyOutcome":
        """Write a verified copy of a version to a new folder, which peft and transformers load; as `registry pull`.

        Args:
            reference: of the version.
            folder: where; it is new, or empty.
            with_base: put the base beside an adapter, so that the folder loads by its path.

        Raises:
            KnownError: it is not what was registered, or the folder is taken; nothing is left then.
        """
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.pull import pull_version, pull_with_base

        version = version_named(self._registry, reference)
        if with_base:
            return pull_with_base(self._registry, version, Path(folder)).outcome
        return pull_version(self._registry, version, Path(folder), with_decisions=True)

    def import_results(
        self,
        sources: str | os.PathLike[str] | Sequence[str],
        *,
        base: str | None = None,
        name: str | None = None,
        project: str | None = None,
        facts: str | os.PathLike[str] | None = None,
    ) -> "tuple[ImportOutcome, ...]":
        """Register what was trained elsewhere; as `registry import`.

        Args:
            sources: folders of adapters or of whole models, or `hub:OWNER/NAME`.
            base: the registered base that they were made on; None for the one that they name.
            name: to register them under; None for that of the folder.
            project: what they are for.
            facts: YAML file of facts that only people know.

        Returns:
            Each version with what is open in its record, in the order of the sources.

        Raises:
            KnownError: as the command; nothing is registered then.
        """
        from peft_registry.cli.mirror import push_after
        from peft_registry.registry.use_cases.import_plan import ImportRequest
        from peft_registry.trainer.use_cases.import_hub import import_sources

        path = None if facts is None else Path(facts)
        request = ImportRequest(folders=(), base=base, name=name, facts=path, project=project)
        named = (os.fspath(sources),) if isinstance(sources, str | os.PathLike) else tuple(sources)
        self._registry.unlock()
        with _ONE_MODEL_AT_A_TIME:
            outcomes = import_sources(self._registry, named, request, observe=self._observe())
        if self._mirror:
            push_after(self._registry, *(outcome.version.label for outcome in outcomes))
        return tuple(outcomes)

    def show(self, reference: str, *, at: str | None = None) -> "VersionShown":
        """Everything that is known about one version; as `registry show`.

        Args:
            reference: of the version.
            at: a day or a time, UTC, RFC 3339: the version that the alias `reference` pointed at then; None for now.

        Raises:
            KnownError: there is none, or it is not what was signed.
        """
        from peft_registry.registry.use_cases.show import describe_version
        from peft_registry.registry.use_cases.show_moves import version_at

        if at is not None:
            _, reference = version_at(self._registry, reference, at)
        return describe_version(self._registry, reference)

    def gate(self, reference: str, policy: str | None = None) -> "GateShown":
        """How a version stands before a policy today, with each reason that closes the gate; as `registry promote --explain`.

        Args:
            reference: a version, such as `name:3`; or an alias, `name@champion`, which is held against its own policy.
            policy: `starter`, `regulated` or a file; None for the alias's own, and `starter` for a version.

        Returns:
            `decision.is_open`, and `decision.reasons` with a rule, a text and a remedy each. A closed gate is not an error.

        Raises:
            KnownError: there is no such version or policy, or the alias was moved without one.
        """
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.gate import SUGGESTED, explain_gate, gate_status, read_gate_policy

        asked = None if policy is None else read_gate_policy(policy)
        if "@" in reference:
            return gate_status(self._registry, reference, asked)
        return explain_gate(
            self._registry, version_named(self._registry, reference), asked or read_gate_policy(SUGGESTED)
        )

    def promote(
        self,
        reference: str,
        alias: str,
        *,
        policy: str | None = None,
        if_current: int | None = None,
        reason: str | None = None,
    ) -> "Replaced":
        """Point an alias at a version that its policy lets through; as `registry promote`.

        Args:
            reference: of the version.
            alias: such as `champion`.
            policy: `starter`, `regulated` or a file; None for what the alias is bound to, else `starter`.
            if_current: only if the alias points at this number now, 0 for at nothing; None: wherever it points.
            reason: kept in the signed record.

        Returns:
            What it pointed at before; `pending` until the log is signed.

        Raises:
            KnownError: the gate is closed (`Refused`), the alias points elsewhere (`Taken`), or the version does not verify;
                nothing is moved then.
        """
        from peft_registry.cli.mirror import push_after
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.gate import SUGGESTED, policy_for, promote, read_gate_policy

        version = version_named(self._registry, reference)
        if policy is None:
            asked = policy_for(self._registry, version.name, alias, otherwise=SUGGESTED)
        else:
            asked = read_gate_policy(policy)
        self._registry.unlock()
        replaced = promote(self._registry, version, alias, asked, reason=reason, if_current=if_current)
        if self._mirror:
            push_after(self._registry, version.label)
        return replaced

    def approve(
        self,
        reference: str,
        *,
        reason: str,
        key: str | os.PathLike[str],
        key_passphrase_file: str | os.PathLike[str] | None = None,
        policy: str = "regulated",
    ) -> "ActShown":
        """Approve a version as it is now, under a policy, with a person's own key; as `registry gate approve`.

        Args:
            reference: of the version.
            reason: kept in the signed statement.
            key: file of the approver's private key.
            key_passphrase_file: holds its passphrase; None for a key without one.
            policy: `starter`, `regulated` or a file.

        Raises:
            KnownError: as the command; nothing is signed then.
        """
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.approve import approve
        from peft_registry.registry.use_cases.gate import read_gate_policy

        asked = read_gate_policy(policy)
        version = version_named(self._registry, reference)
        return approve(self._registry, version, asked, self._signer(key, key_passphrase_file), reason=reason)

    def recall(
        self,
        reference: str,
        *,
        reason: str,
        key: str | os.PathLike[str],
        key_passphrase_file: str | os.PathLike[str] | None = None,
        undo: bool = False,
    ) -> "Recalled":
        """Forbid the use of something and of what was made from it, or allow it again; as `registry recall`.

        Args:
            reference: a version, a file of data, or a digest.
            reason: kept in the signed statement, and shown to everybody who is refused.
            key: file of the approver's private key.
            key_passphrase_file: holds its passphrase; None for a key without one.
            undo: take the recall back.

        Returns:
            What was recalled, with each version that this reaches and its aliases.

        Raises:
            KnownError: as the command; nothing is signed then.
        """
        from peft_registry.registry.use_cases.recall import recall

        signer = self._signer(key, key_passphrase_file)
        return recall(self._registry, reference, signer, reason=reason, undo=undo)

    def lineage(self, reference: str, *, depth: int | None = None, limit: int = 100) -> "Lineage":
        """What something was made from and what was made from it; as `registry lineage`.

        Args:
            reference: a version, a file of data, or a digest.
            depth: the maximum number of steps either way; None for all.
            limit: the maximum number of arrows below it; `rest` of the graph counts the versions beyond.

        Raises:
            KnownError: nothing is meant by it, or what is recorded is not what was signed.
        """
        from peft_registry.registry.records.subjects import subject_of_lineage
        from peft_registry.registry.verification.signed_versions import signed_lineage

        subject = subject_of_lineage(self._registry, reference)
        return signed_lineage(self._registry, subject.digest, depth=depth, limit=limit)

    def events(self, since: int = 0, *, limit: int = 1000) -> "tuple[EntryShown, ...]":
        """The entries of the log from a number on, the oldest first: what a service asks again and again.

        The next call begins at the number of the last entry plus one. An entry that is `pending` may still be rejected.

        Args:
            since: the number of the first entry.
            limit: the maximum number of entries.

        Raises:
            KnownError: an entry is not what was signed.
        """
        from peft_registry.registry.use_cases.show_log import entries_since

        return entries_since(self._registry, since, limit=limit)

    def versions(self, name: str | None = None, *, where: str | None = None, sort: str | None = None) -> Versions:
        """The registered versions, by name and number, each as its signed manifest says; as `registry list`.

        Args:
            name: only names with this prefix; None for all.
            where: conditions that all have to hold, such as `method=ia3 rank<=8`; None for all.
            sort: `name`, `registered` or a facet that is a number, with a minus sign before it the other way round.

        Raises:
            KnownError: the conditions cannot be read, or a row of the catalogue is not what was signed.
        """
        from peft_registry.registry.intake.where import read_query, with_prefix
        from peft_registry.registry.use_cases.find import all_found
        from peft_registry.registry.verification.signed_versions import all_signed_versions

        if where is not None or sort is not None:
            query = with_prefix(read_query(where or "", sort), name)
            return Versions(tuple(all_found(self._registry, query)), self._summaries)
        return Versions(tuple(all_signed_versions(self._registry, name_prefix=name)), self._summaries)

    def _summaries(self, versions: "Sequence[Version]") -> "tuple[VersionSummary, ...]":
        from peft_registry.registry.use_cases.summaries import summaries_of

        return summaries_of(self._registry, versions)

    def record(self, reference: str) -> "RecordShown":
        """The modification record of a version, with its history and what is open in it; as `registry record`.

        Raises:
            KnownError: there is none, or it is not what was signed.
        """
        from peft_registry.registry.use_cases.show_record import describe_record

        return describe_record(self._registry, reference)

    def report(self, reference: str, file: str | os.PathLike[str] | None = None) -> Path:
        """Write the report about a version, a self-contained HTML page; as `registry report`.

        Args:
            reference: of the version.
            file: where; None for NAME-NUMBER-report.html in the current folder.

        Returns:
            The path of the page.

        Raises:
            KnownError: there is no such version, it is not what was signed, or the file cannot be written.
        """
        from peft_registry.cli.pages import write_page
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.report import make_report

        version = version_named(self._registry, reference)
        path = Path(file or f"{version.name}-{version.number}-report.html")
        write_page(path, make_report(self._registry, version))
        return path

    def verify(self, reference: str, *, require: Sequence[str] = ()) -> "VerifyOutcome":
        """Check that a version is what was registered and signed; as `registry verify`.

        Args:
            reference: of the version.
            require: `base-bytes`, `log-proof`, or both.

        Returns:
            The verdict `verified`, `unverified` or `broken`, with every check.
        """
        from peft_registry.cli.verifying import VerifyRequest
        from peft_registry.registry.records.references import version_named
        from peft_registry.registry.use_cases.verify import verify_version

        question = VerifyRequest(reference, require=require)
        return verify_version(self._registry, version_named(self._registry, reference), require=question.requirements())

    def _signer(self, key: str | os.PathLike[str], key_passphrase_file: str | os.PathLike[str] | None) -> "PrivateKey":
        from peft_registry.cli.settings import unlocked_signer

        file = None if key_passphrase_file is None else Path(key_passphrase_file)
        return unlocked_signer(self._registry, Path(key), file, self._passphrase_file)

    def _observe(self) -> "Observe":
        from peft_registry.cli.progress import Progress
        from peft_registry.schemas.progress import ignore

        return ignore if self._quiet else Progress(story_on_stdout=False)

    def _scratch(self) -> "tempfile.TemporaryDirectory[str]":
        # where the registry's folder can be written, it has room for what it holds
        place = None if self._registry.read_only else self._registry.folder
        return tempfile.TemporaryDirectory(dir=place, prefix=".load-")


def open_registry(
    home: str | os.PathLike[str] | None = None,
    *,
    passphrase_file: str | os.PathLike[str] | None = None,
    mirror: bool = True,
    quiet: bool = False,
) -> OpenRegistry:
    """Open a registry for several calls; close it, or use it in a `with`.

    Args:
        home: its folder; None for REGISTRY_HOME, else `.registry` here or in a folder above.
        passphrase_file: holds the passphrase of its keys; None for REGISTRY_PASSPHRASE, or keys without one.
        mirror: push each registration to the MLflow server that the home names, where it names one.
        quiet: no progress on stderr.

    Raises:
        KnownError: there is none, or it is not the one that was accepted before.
    """
    file = None if passphrase_file is None else Path(passphrase_file)
    return OpenRegistry(folder_of_home(home), file, mirror=mirror, quiet=quiet)


def train(
    file: str | os.PathLike[str],
    changes: Mapping[str, object] | None = None,
    *,
    home: str | os.PathLike[str] | None = None,
) -> "TrainOutcome | TasksOutcome":
    """Fine-tune a base and register the result: `OpenRegistry.train` of the registry in `home`."""
    path = _path_of_training_file(file)  # before a registry is looked for: another one would not help
    with open_registry(home) as registry:
        return registry.train(path, changes)


def _path_of_training_file(file: object) -> Path:
    if not isinstance(file, str | os.PathLike):
        raise TrainingFileNotAPath(type(file).__name__)
    return Path(file)


def evaluate(
    references: str | Sequence[str],
    suites: str | Sequence[str] = "house",
    *,
    half: "Part | None" = None,
    home: str | os.PathLike[str] | None = None,
) -> "tuple[Evaluated, ...]":
    """Measure bias and quality: `OpenRegistry.evaluate` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.evaluate(references, suites, half=half)


def merge(
    references: str | Sequence[str],
    *,
    name: str | None = None,
    weights: Sequence[float] = (),
    algorithm: str = "linear",
    home: str | os.PathLike[str] | None = None,
) -> "MergeOutcome":
    """Merge adapters and register the result: `OpenRegistry.merge` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.merge(references, name=name, weights=weights, algorithm=algorithm)


def load(
    reference: str,
    *,
    dtype: "LoadedDtype" = "fp32",
    device: str = "cpu",
    home: str | os.PathLike[str] | None = None,
) -> Any:
    """The verified model of a version: `OpenRegistry.load` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.load(reference, dtype=dtype, device=device)


def load_tokenizer(reference: str, *, home: str | os.PathLike[str] | None = None) -> Any:
    """The tokenizer of a version: `OpenRegistry.load_tokenizer` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.load_tokenizer(reference)


def pull(
    reference: str,
    folder: str | os.PathLike[str],
    *,
    with_base: bool = False,
    home: str | os.PathLike[str] | None = None,
) -> "VerifyOutcome":
    """Write a verified copy of a version: `OpenRegistry.pull` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.pull(reference, folder, with_base=with_base)


def verify(
    target: str | os.PathLike[str],
    *,
    trust: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
    require: Sequence[str] = (),
    home: str | os.PathLike[str] | None = None,
) -> "VerifyOutcome":
    """Check a version, or a pulled folder without any registry; as `registry verify`.

    Args:
        target: a version such as `name:3`, or a folder.
        trust: the trust file that says whose keys count; None for that of the user's own registry.
        base: the folder of the base, whose bytes are checked too.
        require: `base-bytes`, `log-proof`, or both.
        home: the registry's folder; None as for `open_registry`.

    Returns:
        The verdict `verified`, `unverified` or `broken`, with every check. `broken` is not an error: ask for the verdict.

    Raises:
        KnownError: there is no such version, or nothing that could be checked.
    """
    from peft_registry.cli.verifying import VerifyRequest, verified

    question = VerifyRequest(
        os.fspath(target),
        home=folder_of_home(home),
        trust=None if trust is None else Path(trust),
        base=None if base is None else Path(base),
        require=require,
    )
    return verified(question)


def versions(
    name: str | None = None,
    *,
    where: str | None = None,
    sort: str | None = None,
    home: str | os.PathLike[str] | None = None,
) -> Versions:
    """The registered versions: `OpenRegistry.versions` of the registry in `home`."""
    with open_registry(home) as registry:
        found = registry.versions(name, where=where, sort=sort)
    return Versions(found, partial(_summaries_in, home))


def _summaries_in(home: str | os.PathLike[str] | None, versions: "Sequence[Version]") -> "tuple[VersionSummary, ...]":
    with open_registry(home, quiet=True) as registry:
        return registry._summaries(versions)


def record(reference: str, *, home: str | os.PathLike[str] | None = None) -> "RecordShown":
    """The modification record of a version: `OpenRegistry.record` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.record(reference)


def report(
    reference: str,
    file: str | os.PathLike[str] | None = None,
    *,
    home: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the report about a version: `OpenRegistry.report` of the registry in `home`."""
    with open_registry(home) as registry:
        return registry.report(reference, file)


def folder_of_home(home: str | os.PathLike[str] | None) -> Path | None:
    """The folder that was named; None to look for one from here upwards."""
    named = home if home is not None else os.environ.get(HOME_VARIABLE)
    return Path(named) if named else None


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
