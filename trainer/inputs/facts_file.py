"""A facts file: what only people know, of a base or of a run, as the YAML mapping that it is."""

from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.errors import InputRefused

MAX_BYTES = 1 << 20


class FactsNotAMapping(InputRefused):
    reference = "facts-not-a-mapping"
    what = "{path} states no facts"
    why = "it is not a mapping"
    fix = "write a key and its value on each line, the first `asserted_by: name and role`"

    path: Path


def read_facts(path: Path) -> dict[str, Any]:
    """The mapping in a facts file; what may stand in it is decided by who asked.

    Raises:
        FactsNotAMapping: it is a list, a text or empty.
        MalformedYaml: it is no strict YAML.
        OfferedFileRefused, FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
    """
    facts = read_yaml(read_offered(path, max_bytes=MAX_BYTES), what=path.name)
    if not isinstance(facts, dict):
        raise FactsNotAMapping(path)
    return facts
