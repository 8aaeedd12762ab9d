"""A stretch between two kept states of a run comes out to the same bits, and another end is told, with how far it lies."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.schemas.methods import METHOD_NAMES, METHODS
from peft_registry.schemas.progress import Advanced, Event, Observe, ignore
from peft_registry.schemas.run_states import state_file
from peft_registry.trainer.data.collate import Batches, padding_id
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.machine.environment import choose_hardware
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.checkpoints import CheckpointBroken, Checkpoints
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.mixed_precision import autocast_format
from peft_registry.trainer.training.optimizers import optimizer_for
from peft_registry.trainer.training.rerun import losses_of, run_stretch
from peft_registry.trainer.training.train_adapter import LoadedSetting, weights_dtype
from peft_registry.trainer.training.trials import Setting, layout_in, prepared
from tests.builders.training import a_model, a_tokenizer, a_training_file, colour_rows, write_rows

VARIANTS: dict[str, dict[str, Any]] = {
    "lora with dropout": {"lora__dropout": 0.2},
    "full": {"method": "full"},
    "packed": {"training__packing": True},
    "fp16": {"training__dtype": "fp16"},
}
# what stays behind in a model between two stretches would be of a method: each of them is resumed from a base anew
OTHERS: dict[str, dict[str, Any]] = {name: {"method": name} for name in METHOD_NAMES if name not in ("full", "lora")}
OTHERS["prompt_tuning"] |= {"prompt_tuning__seeds": 1}


def loaded(config: Any, folder: Path) -> LoadedSetting:
    """A base as it is loaded, with rows; equal every time."""
    tokenizer = a_tokenizer()
    data = load_data(config.data, folder=folder, tokenizer=tokenizer, max_length=64, seed=1)
    batches = Batches(data.train, 2, padding_id(tokenizer), seed=1, pack_to=64 if config.training.packing else None)
    hardware = choose_hardware(config.training.dtype, device="cpu")
    products = autocast_format(weights_dtype(config, hardware), hardware.dtype)
    setting = Setting(config=config, tokenizer=tokenizer, batches=batches, device="cpu", products=products)
    return LoadedSetting(a_model(), data, setting, hardware, None)


class Stopped(Exception):
    """Stands for whatever ends a process between two steps."""


def stopped_at(step: int) -> Observe:
    def observe(event: Event) -> None:
        if isinstance(event, Advanced) and event.done == step:
            raise Stopped

    return observe


def states_of_a_run(config: Any, folder: Path, observe: Observe = ignore) -> Path:
    """The folder of the states that a run of twelve steps kept at the ends of three stretches; it goes on where it was stopped."""
    base = loaded(config, folder)
    model = prepared(implementation(config.method), base.base, base.setting, config.training.seed)
    result = train(
        model,
        base.setting.batches,
        config.training,
        products=base.setting.products,
        optimizer=optimizer_for(model, config),
        layout=layout_in(model, config),
        checkpoints=Checkpoints(folder / "kept", every_steps=3, stretches=3),
        observe=observe,
    )
    states = folder / "kept" / "audited"
    assert sorted(path.name for path in states.iterdir()) == [
        state_file(round(part * result.steps / 3)) for part in range(4)
    ]
    assert losses_of(states / state_file(result.steps)) == result.curve.loss
    return states


def a_config(folder: Path, **settings: Any) -> Any:
    write_rows(folder / "rows.jsonl", colour_rows(16))
    return a_training_file(training__num_train_epochs=2, training__seed=1, **settings)


@pytest.mark.parametrize("variant", [*VARIANTS, *(pytest.param(name, marks=pytest.mark.full) for name in OTHERS)])
def test_each_stretch_comes_out_to_the_same_bits(variant: str, tmp_path: Path) -> None:
    config = a_config(tmp_path, **(VARIANTS | OTHERS)[variant])
    assert METHODS[config.method].packs or not config.training.packing
    states = sorted(states_of_a_run(config, tmp_path).iterdir())
    torch.manual_seed(99)  # what another process drew
    for begin, end in itertools.pairwise(states):
        difference = run_stretch(loaded(config, tmp_path), begin, end)
        assert (difference.parts, difference.distance) == ((), 0.0)


@pytest.mark.full
def test_the_stretches_of_a_run_that_was_stopped_and_resumed_come_out_too(tmp_path: Path) -> None:
    config = a_config(tmp_path, lora__dropout=0.2)
    with pytest.raises(Stopped):
        states_of_a_run(config, tmp_path, stopped_at(6))
    states = sorted(states_of_a_run(config, tmp_path).iterdir())
    for begin, end in itertools.pairwise(states):
        assert run_stretch(loaded(config, tmp_path), begin, end).parts == ()


def test_another_end_is_told_by_its_parts_and_by_how_far_it_lies(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    states = sorted(states_of_a_run(config, tmp_path).iterdir())
    begin, end = states[0], states[1]
    value, first = torch.load(end, weights_only=True), torch.load(begin, weights_only=True)["trained"]
    for name, tensor in value["trained"].items():  # half of the way
        tensor.copy_((tensor + first[name]) / 2)
    torch.save(value, tmp_path / "half.pt")
    difference = run_stretch(loaded(config, tmp_path), begin, tmp_path / "half.pt")
    assert difference.parts == ("weights",)
    assert difference.distance == pytest.approx(1.0, rel=1e-5), "as far beyond it as the stretch is said to go"
    value["progress"]["losses"][-1] += 1e-9
    torch.save(value, tmp_path / "half.pt")
    assert run_stretch(loaded(config, tmp_path), begin, tmp_path / "half.pt").parts == ("weights", "losses")
    (tmp_path / "none.pt").write_bytes(b"no state")
    with pytest.raises(CheckpointBroken):
        run_stretch(loaded(config, tmp_path), begin, tmp_path / "none.pt")


def test_another_loss_scale_at_the_end_of_a_stretch_is_told(tmp_path: Path) -> None:
    """Whoever wrote one that lets every later step overflow would have a model that did not learn, of stretches that all fit."""
    config = a_config(tmp_path, training__dtype="fp16")
    states = sorted(states_of_a_run(config, tmp_path).iterdir())
    value = torch.load(states[1], weights_only=True)
    value["scaler"]["scale"] *= 2
    torch.save(value, tmp_path / "scaled.pt")
    assert run_stretch(loaded(config, tmp_path), states[0], tmp_path / "scaled.pt").parts == ("loss scale",)


@pytest.mark.parametrize(
    ("stretches", "total", "steps"),
    [(None, 12, []), (1, 12, [0, 12]), (4, 10, [0, 2, 5, 8, 10]), (9, 3, [0, 1, 2, 3])],
)
def test_stretches_part_the_steps_evenly_and_no_finer_than_steps(
    stretches: int | None, total: int, steps: list[int], tmp_path: Path
) -> None:
    checkpoints = Checkpoints(tmp_path, stretches=stretches)
    assert [step for step in range(total + 1) if checkpoints.ends_stretch(step, total)] == steps
