"""What a followed training does not tell stays unknown, with its reason."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.trainers import a_lora, a_trainer, followed, token_rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def test_a_loss_of_the_script_has_no_objective_here(place: Path, tmp_path: Path) -> None:
    from transformers import Trainer

    class Weighted(Trainer):  # type: ignore[misc]  # transformers has no types
        def compute_loss(self, *arguments: Any, **named: Any) -> Any:
            return 2 * super().compute_loss(*arguments, **named)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), kind=Weighted, max_steps=1)
    callback = followed(place, trainer, "weighted")
    trainer.train()
    record = callback.outcome.modification
    assert "Weighted" in str(record.method.objective.reason)
    assert not any(getattr(record.compute, name).known for name in ("conservative_flop", "param_update_flop", "method"))
    assert not record.data[0].n_points.known


def test_rows_that_are_streamed_are_unknown_and_the_rest_is_recorded(
    place: Path, registry: Registry, tmp_path: Path
) -> None:

    rows = Dataset.from_list(token_rows()).to_iterable_dataset()
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), rows=rows, max_steps=1)
    callback = followed(place, trainer, "streamed")
    trainer.train()
    outcome = callback.outcome
    assert "streamed" in str(outcome.modification.data[0].digest.reason)
    assert (outcome.run.data, outcome.run.texts) == ((), None)
    assert outcome.modification.compute.conservative_flop.known
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_a_resumed_training_has_no_figures_of_the_steps_that_nobody_saw(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    first = a_trainer(tmp_path, a_lora(place / "tiny"), save_strategy="steps", save_steps=2, max_steps=2)
    first.train()
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    callback = followed(place, trainer, "resumed")
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    outcome = callback.outcome
    assert "resumed from a checkpoint after step 2" in str(outcome.modification.compute.conservative_flop.reason)
    assert not outcome.run.compute.tokens.known
    assert not outcome.modification.data[0].n_points.known
    assert outcome.run.curve.steps == (1, 2, 3, 4)
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_where_the_counts_of_the_processes_are_lost_the_training_is_registered_and_they_are_unknown(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process died between the last step and the sum: gloo and NCCL raise a RuntimeError in the others."""
    from transformers import TrainerCallback

    class Unreachable:
        num_processes = 2
        device = "cpu"

        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def reduce(self, *_: Any) -> Any:
            raise RuntimeError("Connection closed by peer [127.0.0.1]:1")

    class LosesTheOther(TrainerCallback):
        def on_train_end(self, *_: Any, **__: Any) -> None:
            trainer.accelerator = Unreachable(trainer.accelerator)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    trainer.add_callback(LosesTheOther)
    callback = followed(place, trainer, "lonely")
    trainer.train()
    assert callback.outcome.version.label == "lonely:1"
    compute = callback.outcome.run.compute
    assert not compute.conservative_flop.known
    assert "the counts of 2 processes could not be added up" in str(compute.tokens.reason)
    assert "Connection closed by peer" in capsys.readouterr().err
