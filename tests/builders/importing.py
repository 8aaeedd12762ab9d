"""Imports as tests ask for them: one that comes in, and one that is refused and registers nothing."""

import re
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.import_folder import ImportOutcome, import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.schemas.errors import KnownError


def imported(registry: Registry, *folders: Path, **request: Any) -> ImportOutcome:
    return import_folders(registry, ImportRequest(folders=folders, **request))[0]


def versions(registry: Registry) -> list[str]:
    with registry.database.read() as tx:
        return [version.label for version in catalog.list_versions(tx).versions]


def require_refused(
    registry: Registry, error: type[KnownError], code: int, folder: Path, *, match: str, base: str | None = None
) -> None:
    """Import a folder, which must end in this error, with these words in its sentences, and leave the versions as they were."""
    before = versions(registry)
    with pytest.raises(error) as caught:
        imported(registry, folder, base=base)
    assert caught.value.exit_code == code
    said = f"{caught.value.what}: {caught.value.why}; {caught.value.fix}"
    assert re.search(match, said), said
    assert versions(registry) == before
