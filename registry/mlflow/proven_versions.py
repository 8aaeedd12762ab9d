"""Versions as they were signed and logged, each read once in a process until the log grows. No mlflow here."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.kept_values import KeptValues
from peft_registry.registry.mlflow.listed_versions import listed_versions, logged_versions
from peft_registry.registry.mlflow.projected_versions import VersionLoader
from peft_registry.registry.mlflow.projection import ListedProjection, Projection
from peft_registry.registry.mlflow.version_rows import ROWS_AT_ONCE, VersionName
from peft_registry.registry.records.logged_entries import LoggedEntries
from peft_registry.registry.records.views import View, forget_what_was_read, view_of
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.version import Version

_PAGE_SECONDS = 60.0  # a gate closes when a waiver is over, without an entry in the log
_PAGES_AT_ONCE = 100  # a page holds on to all that it was read from, until that is forgotten
Listed = tuple[Version, ListedProjection | KnownError]
"""The row of a version, and what lists show of it; or why it cannot be shown."""


@dataclass(frozen=True)
class ProvenVersions:
    """The versions of a registry at one moment."""

    registry: Registry
    values: KeptValues

    def listed(self, rows: Sequence[Version]) -> list[Listed]:
        """What lists show of the versions of these rows, proven; or why one of them cannot be shown."""
        known = {version.label: self.values.listed.get(version.label) for version in rows}
        missing = [version for version in rows if known[version.label] is None]
        if missing:
            for version, listed in zip(missing, listed_versions(self.registry, missing), strict=True):
                known[version.label] = listed
                self.values.keep_listed(version, listed)
        self._forget(len(missing))
        found = []
        for version in rows:
            listed_now = known[version.label]
            assert listed_now is not None, "it was read"
            found.append((version, listed_now))
        return found

    def as_logged(self, rows: Sequence[Version]) -> list[Listed]:
        """The same by what the log has, which is half of the work: to put many in an order, and not to be shown."""
        read = logged_versions(self.registry, rows)
        self._forget(len(rows))
        return list(zip(rows, read, strict=True))

    def _forget(self, read: int) -> None:
        if read > ROWS_AT_ONCE // 2:  # as many may follow
            forget_what_was_read(self.registry)

    def pages(self, names: Sequence[VersionName]) -> dict[str, Projection | KnownError]:
        """Versions by label with their modification records, without what makes their files; or why one cannot be shown."""
        since = time.monotonic() - _PAGE_SECONDS
        kept = {name.label: self.values.pages.get(name.label, since=since) for name in names}
        missing = [name for name in names if kept[name.label] is None]
        loader = VersionLoader(self.registry)
        for begin in range(0, len(missing), _PAGES_AT_ONCE):
            some = missing[begin : begin + _PAGES_AT_ONCE]
            if len(some) > 1:
                loader.read_ahead(some)
            for name in some:
                page = _page_or_why(loader, name)
                kept[name.label] = page
                self.values.keep_page(name, page)
            if len(missing) > _PAGES_AT_ONCE:
                forget_what_was_read(self.registry)
        return {label: page for label, page in kept.items() if page is not None}

    def page(self, name: VersionName) -> Projection | KnownError:
        """The same of one version."""
        return self.pages([name])[name.label]

    def of_derived_id(self, identifier: str) -> VersionName | None:
        """The version whose label gives this id of a run or of a logged model; None for none."""
        if self.values.labels is None:
            labels = {}
            with self.registry.database.read() as tx:
                spans = catalog.name_spans(tx)
            for span in spans:
                for number in range(1, span.versions + 1):
                    name = VersionName(span.name, number)
                    labels[identifiers.derived_run_id(name.label)] = name
                    labels[identifiers.model_id(name.label)] = name
            self.values.labels = labels
        return self.values.labels.get(identifier)

    def logged(self, view: View) -> LoggedEntries:
        """What the log registers, moves and says of how things were made.

        Raises:
            LogForked, LogTruncated: the log is not that of its checkpoint.
        """
        if self.values.logged is None:
            self.values.logged = LoggedEntries.of(view)
        return self.values.logged

    def require_all(self) -> None:
        """Raise unless the catalogue has every version that the log registers: what was taken out would be missing from a list.

        Raises:
            VersionsDiffer: one is missing.
            LogForked, LogTruncated: the log is not that of its checkpoint.
        """
        _ = self._has_all

    @cached_property
    def _has_all(self) -> bool:
        with view_of(self.registry) as view:
            if view.newest is not None:  # else the rows count as they are
                self.logged(view).require_versions(view)
        return True


def _page_or_why(loader: VersionLoader, name: VersionName) -> Projection | KnownError:
    """A version without what makes its files, because that holds on to all that it was read from."""
    try:
        projection = loader.load(name)
    except KnownError as error:
        return error
    return replace(
        projection,
        run=replace(projection.run, artifacts=()),
        version=replace(projection.version, artifacts=()),
    )
