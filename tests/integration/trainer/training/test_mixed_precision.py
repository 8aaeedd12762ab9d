"""Training in fp16: small gradients live by the loss scale, a step that overflows is passed over, and a stop changes no bit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.schemas.progress import Advanced, Event, Measured, Observe, Said, ignore
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.machine.seeding import seed_everything
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.checkpoints import STATE_NAME, CheckpointBroken, Checkpoints, trained_parameters
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.mixed_precision import NothingTrained, autocast_format, loss_scaler
from peft_registry.trainer.training.result import TrainResult
from peft_registry.trainer.training.watchdog import LossDiverged, check_loss
from tests.builders.training import a_model, a_training_file, some_batches

FAR_TOO_LARGE = 2.0**40


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    made: Batches = some_batches(tmp_path)
    return made


def a_scaler(scale: float, *, growth_interval: int = 2000) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)


def run(
    batches: Batches,
    *,
    products: torch.dtype | None = torch.float16,
    epochs: float = 2,
    model: Any = None,
    observe: Observe = ignore,
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> tuple[Any, TrainResult]:
    config = a_training_file(training__num_train_epochs=epochs, **settings or {})
    seed_everything(5)
    model = implementation("lora").prepare(a_model(), config, seed=5) if model is None else model
    return model, train(model, batches, config.training, products=products, observe=observe, **more)


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trained_parameters(model).items()}


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_in_fp16_has_the_losses_of_one_in_fp32_but_for_rounding(batches: Batches) -> None:
    wide, expected = run(batches, products=None, epochs=4)
    narrow, found = run(batches, epochs=4)
    assert found.passed_over == 0
    assert found.curve.loss == pytest.approx(expected.curve.loss, rel=0.02)
    assert found.curve.loss != expected.curve.loss
    assert found.curve.loss[-1] < 0.9 * found.curve.loss[0]
    assert {tensor.dtype for tensor in trained_parameters(narrow).values()} == {torch.float32}
    assert not are_equal(weights_of(wide), weights_of(narrow))


def gradients(products: torch.dtype | None, scaler: torch.amp.GradScaler, batches: Batches) -> dict[str, torch.Tensor]:
    """What the optimizer would see of a loss that is 100,000 times smaller than it is."""
    from peft_registry.trainer.training.loss import supervised_loss
    from peft_registry.trainer.training.mixed_precision import autocast

    model = implementation("lora").prepare(a_model(), a_training_file(), seed=5)
    for parameter in trained_parameters(model).values():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad])
    with autocast("cpu", products):
        loss, supervised, _ = supervised_loss(model, next(batches.in_order()))
    torch.autograd.backward(scaler.scale(loss / supervised / 1e5))
    scaler.unscale_(optimizer)
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def test_gradients_too_small_for_fp16_are_those_of_fp32_where_the_loss_is_scaled(batches: Batches) -> None:
    expected = gradients(None, loss_scaler("cpu", None), batches)
    scaled = gradients(torch.float16, loss_scaler("cpu", torch.float16), batches)
    lost = gradients(torch.float16, torch.amp.GradScaler("cpu", enabled=False), batches)

    def missed(found: dict[str, torch.Tensor]) -> float:
        squares = [((found[name] - tensor).square().sum(), tensor.square().sum()) for name, tensor in expected.items()]
        return float((sum(miss for miss, _ in squares) / sum(whole for _, whole in squares)) ** 0.5)

    assert missed(scaled) < 0.01
    assert missed(lost) > 0.1


def test_a_step_that_overflows_changes_nothing_but_the_loss_scale_and_is_told(batches: Batches) -> None:
    heard: list[Event] = []
    seen: dict[int, dict[str, torch.Tensor]] = {}
    config = a_training_file()
    model = implementation("lora").prepare(a_model(), config, seed=5)
    seen[0] = weights_of(model)

    def observe(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Advanced):
            seen[event.done] = weights_of(model)

    scaler = a_scaler(FAR_TOO_LARGE)
    _, result = run(batches, epochs=8, model=model, observe=observe, scaler=scaler)
    told = [event.text for event in heard if isinstance(event, Said)]
    passed_over = [step for step in range(1, result.steps + 1) if are_equal(seen[step - 1], seen[step])]
    assert result.passed_over == len(passed_over) == len(told) > 10
    assert passed_over == list(range(1, len(passed_over) + 1)), "the first ones, until the scale fits"
    assert told[0] == f"step 1 is passed over: its gradients overflowed; the loss scale is {2.0**39:g} from here on"
    assert scaler.get_scale() == FAR_TOO_LARGE / 2.0 ** len(passed_over)
    measured = {event.step: event.values for event in heard if isinstance(event, Measured)}
    assert [step for step, values in measured.items() if "gradient_norm" not in values] == passed_over
    assert len(result.curve.loss) == result.steps
    assert result.curve.loss[-1] < 0.9 * result.curve.loss[0], "the steps that are left train"


def test_a_step_in_one_kernel_as_gpus_take_it_passes_over_the_same_steps(batches: Batches) -> None:
    _, expected = run(batches, epochs=4, scaler=a_scaler(2.0**30))
    model = implementation("lora").prepare(a_model(), a_training_file(), seed=5)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0, fused=True)
    _, found = run(batches, epochs=4, model=model, optimizer=fused, scaler=a_scaler(2.0**30))
    assert found.passed_over == expected.passed_over > 0
    assert found.curve.loss == pytest.approx(expected.curve.loss, rel=1e-2)


def test_a_run_whose_every_step_overflows_fails_and_says_so(batches: Batches) -> None:
    with pytest.raises(NothingTrained) as caught:
        run(batches, epochs=1, scaler=a_scaler(FAR_TOO_LARGE))
    assert caught.value.exit_code == 4
    assert f"the gradients of all {len(batches)} steps overflowed fp16" in caught.value.why
    assert "nothing was registered" in caught.value.why
    assert "training.dtype=bf16 or fp32" in caught.value.fix


def test_gradients_that_overflow_without_a_scale_are_a_divergence(batches: Batches) -> None:
    model = implementation("lora").prepare(a_model(), a_training_file(), seed=5)
    first = next(iter(trained_parameters(model)))
    dict(model.named_parameters())[first].register_hook(lambda gradient: gradient * float("nan"))
    before = weights_of(model)
    with pytest.raises(LossDiverged, match="a gradient is not finite") as caught:
        run(batches, model=model, scaler=a_scaler(4.0))
    assert caught.value.step == 3, "at a scale of 4, of 2 and of 1"
    assert are_equal(weights_of(model), before)


def test_a_loss_that_is_no_number_in_fp16_names_the_format() -> None:
    with pytest.raises(LossDiverged, match="the loss is nan; above 65504 fp16 has no number"):
        check_loss(1, float("nan"), (), vocabulary=9, stop_on_spike=True, in_fp16=True)


class Stopped(Exception):
    """Stands for whatever ends a process between two steps."""


def stopped_at(step: int) -> Observe:
    def observe(event: Event) -> None:
        if isinstance(event, Advanced) and event.done == step:
            raise Stopped

    return observe


def test_a_stopped_run_goes_on_to_the_same_bits_and_the_same_loss_scale(batches: Batches, tmp_path: Path) -> None:
    # it overflows before and after the stop, because the scale doubles after each second step that fits
    def scaler() -> torch.amp.GradScaler:
        return a_scaler(2.0**24, growth_interval=2)

    last, kept = scaler(), Checkpoints(tmp_path / "kept", every_steps=3)
    whole, expected = run(batches, epochs=4, scaler=last)
    with pytest.raises(Stopped):
        run(batches, epochs=4, scaler=scaler(), checkpoints=kept, observe=stopped_at(8))
    taken: list[int] = torch.load(kept.path, weights_only=True)["progress"]["passed_over"]
    torch.manual_seed(99)  # what another process drew
    resumed_last = loss_scaler("cpu", torch.float16)  # how it moves is in the state too
    resumed, found = run(batches, epochs=4, scaler=resumed_last, checkpoints=kept)
    assert found.resumed_at == 6
    assert are_equal(weights_of(resumed), weights_of(whole))
    assert (found.curve, found.passed_over) == (expected.curve, expected.passed_over)
    assert resumed_last.state_dict() == last.state_dict()
    assert 0 < taken < expected.passed_over, "on both sides of the stop"


def test_a_state_from_before_loss_scales_goes_on_in_fp32_and_not_in_fp16(batches: Batches, tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "kept", every_steps=3)
    with pytest.raises(Stopped):
        run(batches, products=None, checkpoints=kept, observe=stopped_at(4))
    state = torch.load(kept.path, weights_only=True)
    del state["scaler"], state["progress"]["passed_over"]
    torch.save(state, tmp_path / "kept" / STATE_NAME)
    with pytest.raises(CheckpointBroken):
        run(batches, checkpoints=kept)
    _, found = run(batches, products=None, checkpoints=kept)
    assert found.resumed_at == 3


def test_weights_that_no_step_has_changed_are_never_the_best(batches: Batches) -> None:
    settings = {"training__eval_steps": 1, "training__early_stopping": {"patience": 2, "metric": "loss"}}
    looks = HeldOutRows.of(batches, batches.examples[:3], "cpu", every_steps=1)
    scaler = a_scaler(FAR_TOO_LARGE)
    _, result = run(batches, epochs=8, settings=settings, held_out=looks, scaler=scaler)
    assert result.kept is not None
    assert result.kept.step > result.passed_over > 2, "more than the patience"


@pytest.mark.parametrize(
    ("weights", "products", "expected"),
    [
        ("fp32", "fp32", None),
        ("fp32", "fp16", torch.float16),
        ("fp32", "bf16", torch.bfloat16),
        ("bf16", "bf16", None),
    ],
)
def test_products_are_cast_where_the_weights_are_in_another_format(
    weights: Any, products: Any, expected: torch.dtype | None
) -> None:
    assert autocast_format(weights, products) == expected
    assert loss_scaler("cpu", expected).is_enabled() == (products == "fp16")
