"""A program that has one act more: what it stops, who lifts it, and what everybody is told, said by the program itself as JSON.

Run in a process of its own, by whose `peft_registry` the table of acts has a row `quarantine`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import with_stops
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.gate import gate_status
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.recall import forbid_use
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.acts import ACTS
from peft_registry.schemas.errors import KnownError
from tests.builders.backends import MadeHome
from tests.builders.bound_aliases import APPROVER, OFFICER, SECOND, Place, fill
from tests.builders.homes import NOW, a_home, reopened
from tests.builders.mirror import projection_of


def told(act: Callable[[], object]) -> str:
    try:
        act()
    except KnownError as error:
        return f"{error.exit_code} {error}"
    return "done"


def main(folder: Path) -> None:
    with a_home(folder / "home") as made:
        fill(made, folder)  # lists the keys of two approvers and of an officer
    registry = reopened(folder / "home", now=NOW)
    set_alias(registry, version_named(registry, "helper:1"), "served")
    sys.stdout.write(json.dumps(walk(Place(folder, MadeHome(folder / "home"), registry), registry)))
    registry.close()


def walk(place: Place, registry: Registry) -> dict[str, object]:
    """What happens to `helper:1`, a result of what is put under quarantine and is freed again."""
    quarantine = ACTS["quarantine"]
    version = version_named(registry, "helper:1")
    base = f"{version.base_manifest}"
    plain = place.policy("plain")

    def promoted() -> str:
        return told(lambda: set_alias(registry, version, "champion"))

    def lifted(signer: PrivateKey) -> str | None:
        return forbid_use(registry, quarantine, base, signer, reason="it was looked at", undo=True).still_needed

    walked: dict[str, object] = {"before": promoted()}
    walked["officer"] = told(lambda: forbid_use(registry, quarantine, base, OFFICER, reason="odd answers"))
    done = forbid_use(registry, quarantine, base, APPROVER, reason="odd answers")
    checked = with_stops(registry, verify_version(registry, version))
    page = make_report(registry, version).decode()
    shown = projection_of(registry, version).version
    walked |= {
        "reaches": [touched.version for touched in done.touched],
        "again": told(lambda: forbid_use(registry, quarantine, base, SECOND, reason="odd answers")),
        "promote": promoted(),
        "promote by a policy": told(lambda: place.promote("helper:1", "champion", plain)),
        "gate": [reason.rule for reason in gate_status(registry, "helper@served", plain).decision.reasons],
        "verify": [stop.line for stop in checked.stops],
        "report": [line for line in page.splitlines() if "uarantined" in line],
        "MLflow": [shown.description.splitlines()[0], dict(shown.tags)["registry.quarantine"]],
        "pull": told(lambda: pull_version(registry, version, place.folder / "pulled")),
        "show": [text for label, text in describe_version(registry, "helper:1").lines() if label == "stopped"],
        "lifted by one": lifted(APPROVER),
        "still": promoted(),
        "twice": told(lambda: lifted(APPROVER)),
        "lifted by two": lifted(SECOND),
        "after": promoted(),
        "undone": told(lambda: lifted(SECOND)),
        "log": [*check_log(registry).contradictions],
    }
    return walked


main(Path(sys.argv[1]))
