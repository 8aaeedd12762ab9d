"""What scored, and what its figures do not show."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import peft_registry.registry.evaluation
import peft_registry.trainer.evaluation
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import LoadedSuite

DISTRIBUTION = "peft-registry"
NO_PLACEBO = code("without_placebo")
PLACEBO = code("placebo_is_the_adapter_turned")
GENERAL = (
    code("preferences_not_harm"),
    code("no_claim"),
    code("small_groups_described", needs=ITEMS_FOR_A_CLAIM),
)


def harness() -> dict[str, str]:
    """Name, version and source digest of the code that scored and computed."""
    return {"name": DISTRIBUTION, "version": version(DISTRIBUTION), "source_digest": str(source_digest())}


def source_digest() -> Digest:
    """SHA-256 over one line a source file: package, path inside it and the file's digest, sorted."""
    lines = []
    for package in (peft_registry.registry.evaluation, peft_registry.trainer.evaluation):
        folder = Path(str(package.__file__)).parent
        for file in folder.rglob("*.py"):
            lines.append(f"{package.__name__} {file.relative_to(folder).as_posix()} {Digest.of(file.read_bytes())}\n")
    return Digest.of("".join(sorted(lines)).encode("utf-8"))


def limitations_of(suites: Sequence[LoadedSuite], *, has_placebo: bool = False) -> tuple[Code, ...]:
    """What holds for every evaluation, then the known defects of each suite."""
    control = PLACEBO if has_placebo else NO_PLACEBO
    return (
        *GENERAL,
        control,
        *(
            code("known_against", suite=suite.definition.title, defect=defect)
            for suite in suites
            for defect in suite.definition.critique
        ),
    )
