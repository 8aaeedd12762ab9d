"""A facts file: what only people know, of a base or of a run, as the YAML mapping that it is."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.inputs.problems import Problems

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


def read_checked_facts(
    path: Path | None, *, bases: Collection[str] | None, data: Collection[str] | None
) -> dict[str, Any] | None:
    """The facts of a file, each of them with a place and a form that the modification record has; None without a file.

    Args:
        path: of the facts file.
        bases: names of the models that go in; None where they are not known yet.
        data: names of the data files, likewise.

    Raises:
        FactsNotAMapping, OfferedFileRefused, FileMissing: the file cannot be read as facts.
        FactUnknown, FactNotDeclarable, FactMalformed: the only fact that is wrong.
        SeveralProblems: all that are.
    """
    if path is None:
        return None
    facts = read_facts(path)
    problems = Problems()
    for problem in problems_of_facts(facts, bases=bases, data=data):
        problems.add(problem)
    problems.raise_if_any()
    return facts
