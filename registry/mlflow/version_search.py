"""The versions that a question of MLflow may be about, before its own helpers look at each. No mlflow here."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.narrowing import Narrowed
from peft_registry.registry.mlflow.proven_versions import ProvenVersions
from peft_registry.registry.mlflow.run_ids import RunIds
from peft_registry.registry.mlflow.version_rows import (
    ROWS_AT_ONCE,
    Position,
    VersionName,
    position_of_version,
    rows_in_order,
    rows_named,
)
from peft_registry.schemas.version import Version


@dataclass(frozen=True)
class VersionSearch:
    """Finds versions by an index where one answers, by name where names follow from the question."""

    versions: ProvenVersions
    experiments: Experiments
    run_ids: RunIds

    def rows(
        self,
        projects: Collection[str | None] | None,
        narrowed: Narrowed,
        after: Position | None = None,
        *,
        first: int = ROWS_AT_ONCE,
    ) -> Iterator[Sequence[Version]]:
        """Rows of versions in the order of registration, newest first; from that of a position on, whose runs may go on.

        Args:
            projects: those asked for; None for all.
            narrowed: leaves out versions that are not asked for.
            after: where the page before ended.
            first: how many are read before the first batch.
        """
        if narrowed.nothing:
            return
        self.versions.require_all()
        labels = self._labels(narrowed)
        if labels is None:
            conditions = narrowed.conditions
            if projects is not None:
                conditions += self.experiments.condition_of(projects)
            yield from rows_in_order(self.versions.registry, conditions, after, first=first)
            return
        rows = rows_named(self.versions.registry, [VersionName.of_label(label) for label in sorted(labels)])
        ordered = sorted(rows, key=position_of_version, reverse=True)
        yield [version for version in ordered if after is None or position_of_version(version)[:3] <= after[:3]]

    def _labels(self, narrowed: Narrowed) -> frozenset[str] | None:
        """The labels of the only versions that can be asked for; None where these are not known."""
        choices: list[frozenset[str]] = []
        if narrowed.labels is not None:
            choices.append(narrowed.labels)
        if narrowed.run_ids is not None:
            names = map(self.run_ids.version_of, narrowed.run_ids)
            choices.append(frozenset(name.label for name in names if name is not None))
        if narrowed.manifests is not None:
            with self.versions.registry.database.read() as tx:
                versions = catalog.versions_of_artifacts(tx, sorted(narrowed.manifests))
            choices.append(frozenset(version.label for version in versions))
        for tags in narrowed.said:
            found = [self.run_ids.labels_said(tag) for tag in tags]
            known = [labels for labels in found if labels is not None]
            if len(known) == len(found):  # else a statement cannot be read, and every version may have one of them
                choices.append(frozenset().union(*known))
        return frozenset.intersection(*choices) if choices else None
