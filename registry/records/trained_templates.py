"""The template that a version was trained with: a question that is put to it otherwise is another task.

A merge was trained with what its parts were trained with, and a training that went on from another one with its own. Of an import
nobody recorded one.
"""

from collections.abc import Iterator

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import Records, elsewhere, records_of
from peft_registry.schemas.trained_templates import NoTemplate, Template, template_of_parts, template_of_run
from peft_registry.schemas.version import Version


def trained_template(registry: Registry, version: Version, records: Records | None = None) -> Template:
    """The template that a version was trained with; of a merge the one that all of its parts have whose template is recorded.

    Args:
        records: those of the version, where they were read already.

    Raises:
        SeveralTemplates: its parts were trained with different ones.
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`.
    """
    return template_of_parts(version.label, tuple(_templates(registry, version, records)))


def _templates(registry: Registry, version: Version, known: Records | None) -> Iterator[Template]:
    """Those of the trainings that a version was made from at last: what a training went on from it has trained over."""
    around = elsewhere(registry)
    seen = {version.manifest_digest}
    waiting = [version]
    while waiting:
        current = waiting.pop(0)
        records = known if known is not None and current is version else records_of(registry, current, around)
        if records.run is not None:
            yield template_of_run(current.label, records.run)
        elif records.merge is None:
            is_base = current.kind == "base"
            yield NoTemplate(
                f"{current.label} {'is a base' if is_base else 'was imported, and nobody recorded its training'}"
            )
        for part in () if records.merge is None else records.merge.ingredients:
            if part.manifest in seen:
                continue
            seen.add(part.manifest)
            versions = versions_of_artifact(registry, part.manifest)
            named = next((found for found in versions if found.label == part.label), None)
            if versions:
                # equal bytes may have several names, and the merge named one
                waiting.append(named or versions[0])
            else:
                yield NoTemplate(f"{part.label} is not registered here")
