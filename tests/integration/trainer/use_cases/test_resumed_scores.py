"""A training that ends while its evaluation is scored, and is resumed: what its base was asked is not asked again."""

from pathlib import Path

import pytest

from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.evaluation import REUSED_SCORES
from peft_registry.schemas.progress import Advanced, Event, Started
from peft_registry.trainer.runs.folder import run_to_resume
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import a_home
from tests.builders.training import a_base_folder, colour_rows, write_rows

FILE = """\
name: boxes
base: tiny
method: lora
lora: {r: 4, alpha: 8}
data: {train: {path: rows.jsonl}, validation: {fraction: 0.25}}
training: {num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32}
evaluation: {bias: [house], half: screen}
"""
BASE, RESULT = "score house base", "score house adapted"


@pytest.mark.parametrize("stopped_in", [BASE, RESULT])
def test_a_resumed_run_asks_its_base_nothing_that_was_answered_before_it_stopped(
    tmp_path: Path, stopped_in: str
) -> None:
    (tmp_path / "train.yml").write_text(FILE)
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    answered: dict[str, int] = {}
    asked: dict[str, int] = {}

    def stop(event: Event) -> None:
        if isinstance(event, Started):
            asked[event.step] = event.total or 0
        if isinstance(event, Advanced):
            answered[event.step] = event.done
            if event.step == stopped_in:
                raise KeyboardInterrupt

    def hear(event: Event) -> None:
        if isinstance(event, Started):
            asked[event.step] = event.total or 0

    with a_home(tmp_path / "home") as registry:
        origin = BaseOrigin(format="huggingface", source="b")
        add_base(registry, a_base_folder(tmp_path / "base"), name="tiny", origin=origin)
        with pytest.raises(KeyboardInterrupt):
            train_and_register(registry, tmp_path / "train.yml", observe=stop)
        everything = asked.pop(BASE)
        asked.clear()
        assert 0 < answered[BASE] <= everything
        assert (answered[BASE] < everything) == (stopped_in == BASE)

        kept = run_to_resume(registry.files.runs, None)
        outcome = train_and_register(registry, tmp_path / "train.yml", resume=kept, observe=hear)
        assert asked.get(BASE, 0) == everything - answered[BASE]
        (evaluation,) = records_of(registry, outcome.version).evaluations
        assert evaluation.extra[REUSED_SCORES]["base"] >= answered[BASE]
        assert verify_version(registry, outcome.version).verdict == "verified"
