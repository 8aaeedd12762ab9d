"""`registry import hub:OWNER/NAME`: what lies in a repository of the Hub, fetched and checked, and then imported as a folder is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.import_folder import ImportOutcome, import_folders
from peft_registry.registry.use_cases.import_plan import HubOrigin, ImportRequest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.hub.results import PREFIX, HubSource, fetch_result


def import_sources(
    registry: Registry, sources: Sequence[str], request: ImportRequest, *, observe: Observe = ignore
) -> tuple[ImportOutcome, ...]:
    """Import folders and repositories of the Hub; nothing is registered where one of them is refused.

    Args:
        registry: where they are registered.
        sources: folders, and `hub:OWNER/NAME` with or without `@` and a revision.
        request: what else is asked; its folders are those of the sources.
        observe: hears of what is fetched and found.

    Raises:
        MalformedHubSource: a source begins with `hub:` and names no repository.
        KnownError: as `fetch_result` and `import_folders`.
    """
    registry.require_writable()
    # the forms first: a word that is wrong costs no download
    named = [HubSource.parse(source) if source.startswith(PREFIX) else Path(source) for source in sources]
    folders: list[Path] = []
    origins: dict[Path, HubOrigin] = {}
    for source in named:
        if isinstance(source, Path):
            folders.append(source)
            continue
        fetched = fetch_result(source, observe=observe)
        observe(Said("hub", f"{fetched.repository} at {fetched.commit}"))
        folders.append(fetched.folder)
        # other clients may have put more into the snapshot: what was not checked is not of the repository
        origins[fetched.folder] = HubOrigin(fetched.origin, fetched.names)
    return import_folders(registry, replace(request, folders=tuple(folders), origins=origins), observe=observe)
