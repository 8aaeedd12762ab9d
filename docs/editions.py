"""`python -m docs.editions --freeze` freezes the newest edition, before a release; `--raise NAME` begins the next one, after it.

A frozen edition derives for ever what it derived: its rules and the parameters of its codes are kept in a folder of its name once
another edition follows. `tests/contracts/test_editions.py` holds both to what records of its time follow from.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.compliance.editions import edition_digest, editions, parameters_of_codes
from peft_registry.registry.compliance.rule_files import DERIVED_BY
from peft_registry.schemas.edition import Edition

RULES = Path(__file__).resolve().parent.parent / "registry" / "compliance" / "rules"


def main(arguments: Sequence[str], rules: Path = RULES) -> int:
    """Freeze the newest edition, or begin the next one."""
    parser = argparse.ArgumentParser(prog="python -m docs.editions", description=__doc__)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--freeze", action="store_true", help="give the newest edition its digest")
    chosen.add_argument("--raise", metavar="NAME", dest="name", help="keep the newest edition aside and begin another")
    options = parser.parse_args(arguments)
    newest = editions().newest
    if options.freeze:
        freeze_edition(rules, newest.name)
    elif newest.draft:
        parser.error(f"{newest.name} is a draft: change it, or freeze it before another one begins")
    else:
        raise_edition(rules, newest, options.name)
    return 0


def freeze_edition(rules: Path, name: str) -> None:
    """Give the newest edition the digest of what this release derives by."""
    listed = _listed(rules)
    listed["editions"][-1]["digest"] = str(edition_digest(name))
    _write(rules / "editions.json", listed)


def raise_edition(rules: Path, newest: Edition, name: str) -> None:
    """Keep what the newest edition derives by in a folder of its name, and begin another as a draft.

    Raises:
        FileExistsError: it is kept aside already.
    """
    kept = rules / newest.name
    kept.mkdir()
    for file in DERIVED_BY:
        shutil.copyfile(rules / f"{file}.json", kept / f"{file}.json")
    _write(kept / "codes.json", parameters_of_codes())
    listed = _listed(rules)
    last = listed["editions"][-1]
    last["digest"] = str(newest.digest)
    listed["editions"].append(last | {"name": name, "digest": None})
    _write(rules / "editions.json", listed)


def _listed(rules: Path) -> dict[str, list[dict[str, str | int | None]]]:
    listed: dict[str, list[dict[str, str | int | None]]] = json.loads((rules / "editions.json").read_text("utf-8"))
    return listed


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
