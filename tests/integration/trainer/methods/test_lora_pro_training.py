"""LoRA-Pro on real gradients: at every step of a training, its equivalent gradient is nearer to the full one than LoRA's."""

from typing import Any

import pytest
import torch

from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.lora_pro import LoraPro, corrected, moved
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.optimizers import optimizer_for
from tests.builders.training import a_model, a_training_file, some_batches


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


def full_gradients(model: Any, batch: Any) -> list[torch.Tensor]:
    """The gradient (m, n) of each adapted weight, by autograd on the base's own parameter."""
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    weights = [layer.base_layer.weight for layer in layers]
    for weight in weights:
        weight.requires_grad_(True)
    loss, count, _ = supervised_loss(model, batch)
    found = torch.autograd.grad(loss / count, weights)
    for weight in weights:
        weight.requires_grad_(False)
    return list(found)


@pytest.mark.parametrize("form", ["efficient", "full"])
def test_at_every_step_the_distance_to_the_full_gradient_is_at_most_loras_at_the_same_factors(batches, form):
    config = a_training_file(method="lora_pro", lora_pro__form=form, lora__r=4)
    model = implementation("lora_pro").prepare(a_model(), config, seed=1)
    layers = [module for module in model.modules() if hasattr(module, "lora_A")]
    optimizer = optimizer_for(model, config)
    assert isinstance(optimizer, LoraPro)
    distances: list[tuple[float, float]] = []
    for step in range(20):
        batch = list(batches.of_epoch(step // len(batches)))[step % len(batches)]
        full = full_gradients(model, batch)
        optimizer.zero_grad()
        loss, count, _ = supervised_loss(model, batch)
        torch.autograd.backward(loss / count)
        pro = plain = 0.0
        for layer, gradient in zip(layers, full, strict=True):
            a, b, scale = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.scaling["default"]
            with torch.no_grad():
                ours = moved(a, b, *corrected(a, b, a.grad, b.grad, scale), scale)
                lora = moved(a, b, a.grad, b.grad, scale)
            pro += float((ours - gradient.double()).norm()) ** 2
            plain += float((lora - gradient.double()).norm()) ** 2
        distances.append((pro**0.5, plain**0.5))
        optimizer.step()
    assert all(ours <= theirs * (1 + 1e-9) for ours, theirs in distances)
    assert sum(ours for ours, _ in distances) < 0.99 * sum(theirs for _, theirs in distances)


@pytest.mark.parametrize("form", ["efficient", "full"])
def test_training_lowers_the_loss_and_repeats_to_the_same_bits(batches, form):
    config = a_training_file(method="lora_pro", lora_pro__form=form, training__num_train_epochs=2)
    curves = []
    for _ in range(2):
        model = implementation("lora_pro").prepare(a_model(), config, seed=1)
        result = train(model, batches, config.training, optimizer=optimizer_for(model, config))
        curves.append(result.curve.loss)
    assert curves[0] == curves[1]
    assert sum(curves[0][-3:]) < 0.9 * sum(curves[0][:3])
