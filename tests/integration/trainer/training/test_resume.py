"""A run that was stopped goes on to exactly the weights it would have had, whatever the method; a state that is not of the
run is refused; a run that fails says where its state is."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.schemas.config import config_identity, config_record
from peft_registry.schemas.methods import METHOD_NAMES, METHODS
from peft_registry.schemas.progress import Advanced, Measured, Observe
from peft_registry.trainer.data.collate import Batches, padding_id
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.machine.seeding import seed_everything
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.runs.resume import Keeper
from peft_registry.trainer.training.checkpoints import FAILED_NAME, CheckpointBroken, Checkpoints, trained_parameters
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.optimizers import optimizer_for
from peft_registry.trainer.training.result import TrainResult
from peft_registry.trainer.training.trials import Setting, train_all_seeds
from peft_registry.trainer.training.watchdog import LossDiverged, check_loss
from tests.builders.training import a_model, a_tokenizer, a_training_file, colour_rows, write_rows


class Stopped(Exception):
    """Stands for whatever ends a process between two steps."""


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    write_rows(tmp_path / "rows.jsonl", colour_rows(16))
    config, tokenizer = a_training_file(), a_tokenizer()
    data = load_data(config.data, folder=tmp_path, tokenizer=tokenizer, max_length=64, seed=1)
    return Batches(data.train, 2, padding_id(tokenizer), seed=1)


def run(
    batches: Batches,
    config: Any,
    folder: Path | None,
    *,
    stop_at: int | None = None,
    dropout: float = 0.0,
    every_steps: int | None = 3,
    observe: Observe | None = None,
    held_out: HeldOutRows | None = None,
) -> tuple[Any, TrainResult]:
    """One training as `train_adapter` does it; stopped from outside after the step `stop_at`."""

    def stop(event: object) -> None:
        if isinstance(event, Advanced) and event.done == stop_at:
            raise Stopped

    seed_everything(5)
    model = implementation(config.method).prepare(a_model(attention_dropout=dropout), config, seed=5)
    result = train(
        model,
        batches,
        config.training,
        optimizer=optimizer_for(model, config),
        layout=None if METHODS[config.method].packs else "padded",
        checkpoints=None if folder is None else Checkpoints(folder, every_steps=every_steps),
        held_out=held_out,
        observe=observe or stop,
    )
    return model, result


def same_weights(one: Any, other: Any) -> bool:
    here, there = trained_parameters(one), trained_parameters(other)
    return here.keys() == there.keys() and all(torch.equal(here[name], there[name]) for name in here)


VARIANTS: dict[str, dict[str, Any]] = {name: {"method": name} for name in METHOD_NAMES} | {
    "lora with dropout": {"lora__dropout": 0.2},
    "dora": {"lora__use_dora": True},
    "packs": {"training__packing": True},
    "recomputed": {"training__gradient_checkpointing": True},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_run_goes_on_to_the_same_bits(variant: str, batches: Batches, tmp_path: Path) -> None:
    config = a_training_file(training__num_train_epochs=2, **VARIANTS[variant])
    dropout = 0.1 if variant == "full" else 0.0  # a base's own dropout draws from the generators too
    whole, expected = run(batches, config, None, dropout=dropout)
    looks = HeldOutRows.of(batches, batches.examples[:3], "cpu", every_steps=2)  # which must not change a bit
    with pytest.raises(Stopped):
        run(batches, config, tmp_path / "kept", stop_at=8, dropout=dropout, held_out=looks)
    torch.manual_seed(99)  # what another process drew
    resumed, found = run(batches, config, tmp_path / "kept", dropout=dropout, held_out=looks)
    assert found.resumed_at == 6
    assert same_weights(resumed, whole)
    assert found.curve == expected.curve
    assert sum(shape.count for shape in found.evaluated) == 2 * (
        1 + found.steps // 2
    )  # of two batches, before the first too
    assert found.system is not None
    sampled = [sample.step for sample in found.system.samples]
    assert (sampled[0], sampled[-1]) == (0, found.steps)
    assert 6 in sampled, "where it was resumed"
    assert (found.tokens, found.padding_tokens, found.shapes) == (
        expected.tokens,
        expected.padding_tokens,
        expected.shapes,
    )


def kept_run(
    batches: Batches, config: Any, folder: Path | None, **more: Any
) -> tuple[Any, TrainResult, dict[int, float]]:
    """A training that early stopping looks at every second step, and what the looks measured."""
    seen: dict[int, float] = {}
    stop_at = more.pop("stop_at", None)

    def observe(event: object) -> None:
        if isinstance(event, Measured) and "held_out_loss" in event.values:
            seen[event.step] = event.values["held_out_loss"]
        if isinstance(event, Advanced) and event.done == stop_at:
            raise Stopped

    looks = HeldOutRows.of(batches, batches.examples[:3], "cpu", every_steps=2)
    return (*run(batches, config, folder, held_out=looks, observe=observe, **more), seen)


def test_the_best_look_is_kept_and_a_stopped_run_keeps_the_same_bits(batches: Batches, tmp_path: Path) -> None:
    # so high a rate that the loss soon rises again
    stopping = {"patience": 2, "metric": "loss"}
    settings: dict[str, Any] = {"training__learning_rate": 0.3, "training__stop_on_spike": False}
    settings |= {"training__num_train_epochs": 12, "training__eval_steps": 2}
    config = a_training_file(**settings, training__early_stopping=stopping)
    model, found, seen = kept_run(batches, config, None)
    losses = {step: loss for step, loss in seen.items() if step > 0}
    best = min(losses, key=lambda step: losses[step])
    kept = found.kept
    assert kept is not None
    assert (kept.step, kept.trained, kept.asked, kept.looks) == (best, max(losses), 84, len(losses))
    assert kept.value == losses[best]
    assert kept.trained == best + 4 < 84, "two looks running were not better"
    assert kept.epochs.value == pytest.approx(best / 7, abs=1e-6)

    # the weights of that step, by a run that looks at nothing
    with pytest.raises(Stopped):
        run(batches, a_training_file(**settings), tmp_path / "alone", stop_at=best + 1, every_steps=best)
    there = torch.load(tmp_path / "alone" / "checkpoint.pt", weights_only=True)["trained"]
    assert all(torch.equal(weights, there[name]) for name, weights in trained_parameters(model).items())

    with pytest.raises(Stopped):
        kept_run(batches, config, tmp_path / "kept", stop_at=best + 3, every_steps=3)
    torch.manual_seed(99)
    again, resumed_found, _ = kept_run(batches, config, tmp_path / "kept", every_steps=3)
    assert same_weights(again, model)
    assert (resumed_found.kept, resumed_found.curve) == (kept, found.curve)
    ended, ended_found, looked = kept_run(batches, config, tmp_path / "kept", stop_at=1)
    assert same_weights(ended, model)
    assert (ended_found.kept, looked) == (kept, {}), "nothing is trained or looked at again"


@pytest.fixture
def keyboard() -> Iterator[None]:
    """Ctrl-C as a terminal gives it, whatever started this run of tests: in the background of a shell it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_ctrl_c_finishes_the_step_and_keeps_its_state(batches: Batches, tmp_path: Path) -> None:
    config = a_training_file(training__num_train_epochs=2)
    whole, expected = run(batches, config, None)

    def press(event: object) -> None:
        if isinstance(event, Advanced) and event.done == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(batches, config, tmp_path / "kept", observe=press, every_steps=None)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed, found = run(batches, config, tmp_path / "kept")
    assert found.resumed_at == 4
    assert same_weights(resumed, whole)
    assert found.curve == expected.curve


@pytest.mark.usefixtures("keyboard")
def test_a_second_ctrl_c_ends_at_once_and_leaves_the_state_before(batches: Batches, tmp_path: Path) -> None:
    def press(event: object) -> None:
        if isinstance(event, Advanced) and event.done == 5:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(batches, a_training_file(), tmp_path / "kept", observe=press)
    state = torch.load(tmp_path / "kept" / "checkpoint.pt", weights_only=True)
    assert len(state["progress"]["losses"]) == 3


def test_the_state_is_kept_by_time_and_by_steps() -> None:
    folder = Path("kept")
    assert not Checkpoints(folder).due(3, 1e9)
    assert Checkpoints(folder, every_seconds=60).due(1, 60.0)
    assert not Checkpoints(folder, every_seconds=60).due(1, 59.0)
    both = Checkpoints(folder, every_steps=3, every_seconds=60)
    assert [both.due(step, seconds) for step, seconds in ((3, 0.0), (4, 61.0), (4, 1.0))] == [True, True, False]


def test_a_default_run_is_kept_every_five_minutes(tmp_path: Path) -> None:
    assert Keeper(tmp_path, None).checkpoints(a_training_file().training).every_seconds == 300
    never = a_training_file(training__save_minutes=None)
    assert Keeper(tmp_path, None).checkpoints(never.training).every_seconds is None


def test_how_often_the_state_is_kept_changes_no_identity_and_no_record() -> None:
    often, seldom = (a_training_file(training__save_minutes=minutes) for minutes in (0.5, 60.0))
    assert config_identity(often) == config_identity(seldom)
    assert config_record(often) == config_record(seldom)


def test_a_finished_training_is_not_computed_again(batches: Batches, tmp_path: Path) -> None:
    config = a_training_file()
    first, expected = run(batches, config, tmp_path / "kept")
    again, found = run(batches, config, tmp_path / "kept", stop_at=1)  # a single step would stop it
    assert same_weights(again, first)
    assert found.curve == expected.curve


def test_of_several_starts_those_that_were_finished_are_not_trained_again(batches: Batches, tmp_path: Path) -> None:
    config = a_training_file(method="prompt_tuning", prompt_tuning__seeds=3)

    def run_of(folder: Path | None, stop_after: int | None = None) -> tuple[Any, list[int]]:
        taken: list[int] = []

        def observe(event: object) -> None:
            if isinstance(event, Advanced):
                taken.append(event.done)
                if len(taken) == stop_after:
                    raise Stopped

        kept = None if folder is None else Checkpoints(folder, every_steps=3)
        setting = Setting(config, a_tokenizer(), batches, "cpu", checkpoints=kept)
        try:
            held_out = HeldOutRows.of(batches, batches.examples[:4], "cpu")
            return train_all_seeds(a_model(), setting, held_out, observe=observe), taken
        except Stopped:
            return None, taken

    whole, all_steps = run_of(None)
    each = len(all_steps) // 3
    run_of(tmp_path, stop_after=each + 4)  # in the second start, one step after its first checkpoint
    resumed, taken = run_of(tmp_path)
    assert taken == [*range(4, each + 1), *range(1, each + 1)]
    assert same_weights(resumed.model, whole.model)
    assert resumed.trials == whole.trials
    assert (resumed.result.curve, resumed.result.tokens) == (whole.result.curve, whole.result.tokens)
    assert resumed.result.resumed_at == 3  # whichever start was chosen


def test_a_kill_while_the_state_is_written_leaves_the_one_before(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = a_training_file()
    whole, _ = run(batches, config, None)
    written = []
    original = torch.save

    def dying(value: object, stream: Any) -> None:
        written.append(1)
        if len(written) == 2:
            stream.write(b"half a file")
            raise Stopped
        original(value, stream)

    monkeypatch.setattr(torch, "save", dying)
    with pytest.raises(Stopped):
        run(batches, config, tmp_path / "kept")
    monkeypatch.setattr(torch, "save", original)
    resumed, found = run(batches, config, tmp_path / "kept")
    assert found.resumed_at == 3
    assert same_weights(resumed, whole)


def test_the_state_of_another_run_or_a_damaged_one_is_refused(batches: Batches, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    run(batches, a_training_file(), folder)
    others = (
        a_training_file(method="full"),
        a_training_file(lora__r=4),
        a_training_file(training__num_train_epochs=5),
    )
    for config in others:
        with pytest.raises(CheckpointBroken) as caught:
            run(batches, config, folder)
        assert caught.value.exit_code == 6
    path = folder / "checkpoint.pt"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"nothing of ours"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointBroken):
            run(batches, a_training_file(), folder)


def test_a_state_that_would_run_code_is_refused(batches: Batches, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "owned",))  # type: ignore[return-value]

    folder = tmp_path / "kept"
    folder.mkdir()
    torch.save({"format": 1, "progress": Evil()}, folder / "checkpoint.pt")
    with pytest.raises(CheckpointBroken):
        run(batches, a_training_file(), folder)
    assert not (tmp_path / "owned").exists()


def test_a_run_that_diverges_keeps_the_state_before_the_step(batches: Batches, tmp_path: Path) -> None:
    config = a_training_file(
        method="full", training__learning_rate=50.0, training__num_train_epochs=5, training__warmup_ratio=0.0
    )
    with pytest.raises(LossDiverged) as caught:
        run(batches, config, tmp_path / "kept")
    assert str(tmp_path / "kept") in caught.value.why
    assert "learning_rate" in caught.value.fix
    state = torch.load(tmp_path / "kept" / FAILED_NAME, weights_only=True)
    assert len(state["progress"]["losses"]) == caught.value.step - 1


QUIET = [1.0, 1.2, 0.9, 1.1, 0.8, 1.0, 1.3, 0.9, 1.1, 1.0, 0.9, 1.0]


@pytest.mark.parametrize(
    ("earlier", "loss", "why"),
    [
        ([], float("nan"), "nan"),
        (QUIET, float("inf"), "inf"),
        (QUIET, 13.0, "guessing"),
        ([*QUIET, 4.0, 4.1], 4.2, "third step running"),
    ],
)
def test_the_watchdog_barks_at(earlier: list[float], loss: float, why: str) -> None:
    with pytest.raises(LossDiverged, match=why):
        check_loss(len(earlier) + 1, loss, earlier, vocabulary=400, stop_on_spike=True)


@pytest.mark.parametrize(
    ("earlier", "loss"),
    [
        (QUIET, 4.5),  # one odd batch
        ([*QUIET, 4.0], 4.2),  # two
        ([*QUIET, 4.0, 4.1], 1.2),  # and it came back
        ([5.0, 0.5] * 10, 5.0),  # as wide as it always was
        ([6.0, 5.9, 5.8], 6.1),  # a model that knows nothing yet
        ([*QUIET[:8], 4.0, 4.0], 4.0),  # too early to say what is usual
    ],
)
def test_the_watchdog_is_quiet_at(earlier: list[float], loss: float) -> None:
    check_loss(len(earlier) + 1, loss, earlier, vocabulary=400, stop_on_spike=True)


def test_a_spike_may_be_let_through() -> None:
    check_loss(15, 4.2, [*QUIET, 4.0, 4.1], vocabulary=400, stop_on_spike=False)
