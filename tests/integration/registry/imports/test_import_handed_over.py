"""What each recipient is handed of an import in which whoever made it left a canary in each text."""

import re
from pathlib import Path

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.hand_over import RecipientName
from tests.builders.handed import all_of
from tests.builders.homes import NOW
from tests.builders.importing import imported
from tests.builders.imports import axolotl_folder

FLOP = 7.125e15  # a number that occurs nowhere else
FACTS = """\
asserted_by: canary-steward
use: {intended: canary-purpose, foreseeable_misuse: canary-misuse}
data: {"*": {labelling: canary-labelling}}
"""
# what the card says of everybody's business, and what documents for a recipient ask for
OF_ALL = {"canary-rows", "canary-purpose"}


def canary_folder(folder: Path) -> Path:
    axolotl_folder(folder)
    card = folder / "README.md"
    text = card.read_text("utf-8")
    for was, now in {
        "org/rows": "org/canary-rows",
        "name: out": "name: canary-model-index",
        "output_dir: /home/alex/out": "output_dir: /home/canary-person/canary-out",
        "# out\n": "# canary-title\n\nWritten by canary-author for canary-customer, mail@canary-host.example\n",
    }.items():
        assert was in text
        text = text.replace(was, now)
    card.write_text(text, "utf-8")
    (folder / "trainer_state.json").write_text(f'{{"global_step": 6, "total_flos": {FLOP}, "log_history": []}}')
    (folder / "notes.txt").write_text("canary-note")
    return folder


def test_of_all_that_lay_beside_an_import_a_recipient_is_handed_what_is_theirs(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    (tmp_path / "facts.yml").write_text(FACTS)
    folder = canary_folder(tmp_path / "helper")
    version = imported(registry, folder, facts=tmp_path / "facts.yml", project="canary-project").version
    found: dict[str, set[str]] = {}
    recipients: tuple[RecipientName, ...] = ("ai-office", "national-authority", "downstream", "public")
    for recipient in recipients:
        hand_over(registry, version, recipient, tmp_path / recipient, signer=registry.trainer_key)
        text = all_of(tmp_path / recipient)
        found[recipient] = set(re.findall(r"canary-[a-z]+", text))
        # Annex IV asks for compute, and for misuse, whichever authority reads it
        is_told = recipient in ("ai-office", "national-authority")
        assert bool(re.search(r"7\.125e\+?15|7125000000000000", text)) == is_told
        assert "/home/" not in text
    assert found.pop("ai-office") > OF_ALL | {"canary-steward", "canary-labelling", "canary-project"}
    assert found.pop("national-authority") <= OF_ALL | {"canary-steward", "canary-labelling", "canary-misuse"}
    assert found == {"downstream": OF_ALL, "public": OF_ALL}
    assert verify_folder(tmp_path / "ai-office" / "artifact", trust=registry.trust, now=NOW).verdict == "verified"
