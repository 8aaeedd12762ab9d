"""One LoRA by three doors, the callback, an import afterwards and `registry train`: what each knows, and counts as tries."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from peft_registry import RegistryCallback
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.records.tries import tries_of_run
from peft_registry.registry.use_cases.import_folder import import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import a_home, name_once
from tests.builders.trainers import TEXTS, a_lora, a_trainer, token_rows
from tests.builders.training import write_rows
from tests.conftest import STATE
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def test_tries_by_a_script_and_by_the_command_are_counted_together(place: Path, tmp_path: Path) -> None:
    """Who trains twice in a script and once by the command, on the same rows, has tried three times, and shows the best."""
    rows = [{"text": text} for text in TEXTS]
    with a_home(tmp_path / "tries") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        name_once(registry.folder, STATE)
        scripts = []
        for seed in (7, 8):
            model = a_lora(place / "tiny")
            both = [row | tokens for row, tokens in zip(reversed(rows), reversed(token_rows()), strict=True)]
            trainer = a_trainer(tmp_path / str(seed), model, rows=Dataset.from_list(both), seed=seed)
            callback = RegistryCallback(trainer, "tried", home=registry.folder, mirror=False, quiet=True)
            trainer.add_callback(callback)
            trainer.train()
            scripts.append(callback.outcome.run)
        write_rows(tmp_path / "rows.jsonl", rows)
        (tmp_path / "train.yml").write_text(OWN)
        own = train_and_register(registry, tmp_path / "train.yml", ()).run
        for run in scripts:
            tries = tries_of_run(registry, run)
            assert (tries.seeds, tries.runs, tries.others) == (2, 2, 1)
        tries = tries_of_run(registry, own)
        assert (tries.seeds, tries.runs, tries.others) == (1, 1, 2)


PAGE = ROOT / "docs" / "reference" / "what-a-callback-knows.md"
HEAD = "| Section of the record | Callback | Import afterwards | `registry train` |\n|---|---|---|---|\n"
NOT_COMPARED = ("energy",)  # known where the machine has a sensor


def test_the_table_of_the_page_is_what_the_three_doors_know(
    place: Path, lora: tuple[Any, RegistryCallback], tmp_path: Path
) -> None:
    trainer, callback = lora
    trainer.save_model(str(tmp_path / "saved"))
    records = (
        callback.outcome.modification,
        imported_afterwards(place, tmp_path / "saved", tmp_path),
        trained_here(place, tmp_path),
    )
    table = HEAD + "".join(table_rows(records))
    page = PAGE.read_text("utf-8")
    written = re.search(rf"^{re.escape(HEAD)}(?:\|.*\n)+", page, re.MULTILINE)
    assert written is not None
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page.replace(written[0], table), "utf-8")
    assert (written[0] == table) or os.environ.get("UPDATE_GOLDEN"), table


def table_rows(records: tuple[ModificationRecord, ...]) -> Iterator[str]:
    """A row a section, with how many of its fields each record knows, and of how many."""
    known = [Counter(section for section, is_known in sections_of(record) if is_known) for record in records]
    fields = [Counter(section for section, _ in sections_of(record)) for record in records]
    for section in fields[0]:
        cells = [f"{one[section]} of {whole[section]}" for one, whole in zip(known, fields, strict=True)]
        yield f"| {section} | {' | '.join(cells)} |\n"
    totals = [f"{one.total()} of {whole.total()}" for one, whole in zip(known, fields, strict=True)]
    yield f"| all | {' | '.join(totals)} |\n"


def sections_of(record: ModificationRecord) -> Iterator[tuple[str, bool]]:
    for leaf in leaves(record):
        section = re.split(r"[.\[]", leaf.path, maxsplit=1)[0]
        if section not in NOT_COMPARED and section != leaf.path:
            yield section.replace("_", " "), leaf.value.known


def imported_afterwards(place: Path, folder: Path, tmp_path: Path) -> ModificationRecord:
    """What another home knows of the folder that the trainer saved."""
    with a_home(tmp_path / "importing") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        return import_folders(registry, ImportRequest((folder,), base="tiny"))[0].modification


OWN = (
    "name: own\nbase: tiny\nmethod: lora\nlora: {r: 4, alpha: 8, target_modules: [q_proj, v_proj]}\n"
    "data: {train: {path: rows.jsonl}}\n"
    "training: {max_length: 32, per_device_train_batch_size: 2, dtype: fp32, seed: 7}\n"
    "evaluation: {bias: [], quality: [loss]}\n"
)


def trained_here(place: Path, tmp_path: Path) -> ModificationRecord:
    """The same LoRA, trained by `registry train` on the same texts."""
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    (tmp_path / "train.yml").write_text(OWN)
    with a_home(tmp_path / "training") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        return train_and_register(registry, tmp_path / "train.yml").modification
