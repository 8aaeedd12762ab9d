"""A facts file: what only people know, of a base or of a run, as the YAML mapping that it is."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.contradictions import energy_beyond_hours
from peft_registry.registry.compliance.facts import FACTS_NAMED, overtaken_facts, problems_of_facts
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.intake.yaml import read_yaml
from peft_registry.schemas.errors import InputRefused, NotFound, listed, raise_any
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, Modifier, UpstreamTerms
from peft_registry.schemas.progress import Observe, Warned
from peft_registry.schemas.values import Timestamp

MAX_BYTES = 1 << 20


class FactsNotAMapping(InputRefused):
    what = "{path} states no facts"
    why = "it is not a mapping"
    fix = "write a key and its value on each line, the first `asserted_by: name and role`"

    path: Path


class FactsFileMissing(NotFound):
    what = "there is no facts file {path}"
    why = "a path under `facts` counts from the folder of the training file, {folder}, also when it is typed as facts={written}"
    fix = "{remedy}"

    path: Path
    written: str
    folder: Path
    near: Path | None  # what the same path means from the working folder, where such a file is

    @property
    def remedy(self) -> str:
        if self.near is None:
            return "write the path from that folder, or the whole path"
        return f"did you mean facts={self.near}?"


def located_facts(written: str | None, folder: Path) -> Path | None:
    """The facts file that a training file names, from the folder of that file; None where it names none.

    Raises:
        FactsFileMissing: there is no such file.
    """
    if written is None:
        return None
    path = folder / written
    if not path.exists():
        near = Path(written).absolute()
        raise FactsFileMissing(path, written, folder, near if near.is_file() else None)
    return path


def read_facts(path: Path) -> dict[str, Any]:
    """The mapping in a facts file; what may stand in it is decided by who asked.

    Raises:
        FactsNotAMapping: it is a list, a text or empty.
        MalformedYaml: it is not YAML, or YAML that readers disagree about.
        OfferedFileRefused, FileMissing, FileUnreadable: as `peft_registry.registry.disk.files.read_offered`.
    """
    facts = read_yaml(read_offered(path, max_bytes=MAX_BYTES), what=path.name)
    if not isinstance(facts, dict):
        raise FactsNotAMapping(path)
    return facts


def read_checked_facts(
    path: Path | None,
    *,
    at: Timestamp,
    bases: Sequence[BaseUsed] | None,
    data: Collection[str] | None,
    upstream: Sequence[UpstreamTerms] | None = None,
    modifier: Modifier | None = None,
) -> dict[str, Any] | None:
    """The facts of a file, each of them with a place and a form that the modification record has; None without a file.

    Args:
        path: of the facts file.
        at: the time now.
        bases: the models that go in, as the record will have them; None where they are not known yet.
        data: names of the data files, likewise.
        upstream: the terms of the bases, as the record will have them; None where they are not known yet.
        modifier: who modifies, as the record will have it.

    Raises:
        FactsNotAMapping, OfferedFileRefused, FileMissing: the file cannot be read as facts.
        FactUnknown, FactNotDeclarable, FactNeedsSignature, FactMalformed, FactsOutOfOrder, FactIncomplete: the only fact that
            is wrong.
        SeveralProblems: all that are.
    """
    if path is None:
        return None
    facts = read_facts(path)
    raise_any(problems_of_facts(facts, at=at, bases=bases, data=data, upstream=upstream, modifier=modifier))
    return facts


def warn_of_overtaken_facts(record: ModificationRecord, facts: dict[str, Any] | None, observe: Observe) -> None:
    """Say which facts stand against something that was measured or derived: that is recorded, and they are not.

    An energy that the hours of the run deny is recorded, and that is said.
    """
    overtaken = overtaken_facts(record, facts or {})
    if overtaken:
        text = f"not recorded, because the tool measured or derived it itself: {listed(overtaken, most=FACTS_NAMED)}"
        observe(Warned("facts-overtaken", text))
    if facts is not None:
        # nobody knew the hours when the facts were checked; the record holds the figure, and is shown with what denies it
        for problem in energy_beyond_hours(record, ("energy.training_kwh",), named=str):
            observe(Warned("facts-contradicted", f"{problem.what}: {problem.why}; correct it with `registry decide`"))
