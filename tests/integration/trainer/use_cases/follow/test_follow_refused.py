"""Followed trainings of which nothing is registered: refused before the first step, diverged, or exchanged meanwhile."""

import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peft_registry import RegistryCallback
from peft_registry.registry.homes.home import HomeNotFound, open_home
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import MalformedProject
from peft_registry.trainer.training.followable import NotFollowed, method_of, require_fresh
from peft_registry.trainer.training.foreign_trainer import has_own_optimizer
from tests.builders.trainers import a_lora, a_model_of, a_trainer, followed, new_adapter
from tests.builders.training import a_model

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def registered(place: Path) -> set[str]:
    with closing(open_home(place / "home")) as registry:
        return {version.name for version in all_signed_versions(registry)}


def test_a_diverged_training_registers_nothing_and_says_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=2, learning_rate=math.inf)
    callback = followed(place, trainer, "diverged")
    trainer.train()
    said = capsys.readouterr().err
    assert "nothing was registered of diverged" in said
    assert "error: the training diverged" in said
    with pytest.raises(KnownError, match="diverged"):
        _ = callback.outcome
    assert "diverged" not in registered(place)


def test_without_a_registry_at_the_place_the_training_does_not_begin(place: Path, tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    trainer.add_callback(RegistryCallback(trainer, "nowhere", home=tmp_path / "nowhere"))
    with pytest.raises(HomeNotFound):
        trainer.train()
    assert trainer.state.global_step == 0


def refusals(place: Path, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Trainers that are refused before their first step, by the reference of the error."""
    from peft import LoKrConfig, LoraConfig, get_peft_model

    nameless = a_model_of(place / "tiny")
    nameless.config._name_or_path = ""
    yield "base-of-model-unknown", nameless
    changed = a_lora(place / "tiny")
    changed.get_base_model().model.norm.weight.data.add_(1)
    yield "model-is-not-its-base", changed
    resized = a_model_of(place / "tiny")
    resized.resize_token_embeddings(310)
    yield "model-is-not-its-base", resized
    trained_before = a_lora(place / "tiny")
    next(value for name, value in trained_before.named_parameters() if "lora_B" in name).data.add_(1)
    yield "training-not-followed", trained_before
    yield (
        "training-not-followed",
        get_peft_model(a_model_of(place / "tiny"), LoKrConfig(r=2, target_modules=["q_proj"])),
    )
    thawed = a_lora(place / "tiny")
    thawed.get_base_model().lm_head.weight.requires_grad_(True)
    yield "training-not-followed", thawed
    # `default` alone would be saved, which learns nothing here
    for active in ("other", ["default", "other"]):
        several = a_lora(place / "tiny")
        several.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
        several.base_model.set_adapter(active)
        yield "training-not-followed", several


def test_what_could_not_be_recorded_truly_is_refused_before_the_first_step(place: Path, tmp_path: Path) -> None:
    for reference, model in refusals(place, tmp_path):
        trainer = a_trainer(tmp_path, model)
        callback = followed(place, trainer, "refused")
        with pytest.raises(KnownError) as refused:
            trainer.train()
        assert (refused.value.reference, trainer.state.global_step) == (reference, 0)
        with pytest.raises(KnownError, match="nothing was registered"):
            _ = callback.outcome
    assert "refused" not in registered(place)


@pytest.mark.parametrize("kind", ["LORA", "IA3", "VERA", "OFT", "LOHA"])
def test_an_adapter_that_was_trained_before_is_told_from_a_new_one(kind: str) -> None:
    model = new_adapter(a_model(), kind)
    require_fresh(model)
    with pytest.raises(NotFollowed, match="trained before"):
        require_fresh(moved(model))


def moved(model: Any) -> Any:
    """The model, after a step that moved every weight that learns."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.01)
    return model


def another_model(trainer: Any) -> None:
    trainer.model = a_lora(trainer.model.peft_config["default"].base_model_name_or_path)


def another_base_in_memory(trainer: Any) -> None:
    trainer.model.get_base_model().model.norm.weight.data.add_(1)


def _zero_of_stage(stage: int, **configuration: Any) -> SimpleNamespace:
    return SimpleNamespace(deepspeed_plugin=SimpleNamespace(zero_stage=stage, deepspeed_config=configuration))


@pytest.mark.parametrize("block", ["optimizer", "scheduler"])
def test_what_deepspeeds_configuration_chooses_is_not_said_to_be_the_trainers(block: str) -> None:
    trainer = {"optimizer": None, "lr_scheduler": None, "is_deepspeed_enabled": True}
    for configuration, is_own in (({block: {"type": "Lamb"}}, True), ({}, False)):
        state = _zero_of_stage(2, **configuration)
        assert has_own_optimizer(SimpleNamespace(**trainer, accelerator=SimpleNamespace(state=state))) is is_own


@pytest.mark.parametrize(
    ("spread", "why"),
    [
        (
            {"is_deepspeed_enabled": True, "accelerator": SimpleNamespace(state=_zero_of_stage(3))},
            "stage 3 of DeepSpeed's ZeRO cuts weights",
        ),
        ({"is_fsdp_enabled": True, "accelerator": SimpleNamespace(is_fsdp2=False)}, "FSDP1 joins the weights"),
    ],
)
def test_weights_that_something_else_than_fsdp2_spreads_are_not_followed(spread: dict[str, Any], why: str) -> None:
    with pytest.raises(NotFollowed, match=why) as refused:
        method_of(SimpleNamespace(**spread), a_model())
    assert (refused.value.exit_code, "`registry import`" in refused.value.fix) == (2, True)


@pytest.mark.parametrize("change", [another_model, another_base_in_memory], ids=lambda change: change.__name__)
def test_a_model_that_is_exchanged_while_it_is_trained_is_not_registered(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    from transformers import TrainerCallback

    class Exchanges(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            change(trainer)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "exchanged")
    trainer.add_callback(Exchanges())
    trainer.train()
    assert "nothing was registered of exchanged" in capsys.readouterr().err
    with pytest.raises(KnownError, match="not what was followed"):
        _ = callback.outcome
    assert "exchanged" not in registered(place)


def test_a_name_of_a_base_is_refused_before_the_first_step(place: Path, lora: Any, tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    followed(place, trainer, "tiny")
    with pytest.raises(KnownError) as refused:
        trainer.train()
    assert (refused.value.reference, trainer.state.global_step) == ("name-of-another-kind", 0)


def test_two_callbacks_and_a_second_training_are_refused(place: Path, tmp_path: Path, lora: Any) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    followed(place, trainer, "twice")
    followed(place, trainer, "twice")
    with pytest.raises(KnownError, match="two callbacks"):
        trainer.train()
    with pytest.raises(KnownError, match="has followed a training already"):
        lora[0].train()
    with pytest.raises(KnownError, match="and not a trainer"):
        RegistryCallback("polite-replies", "polite-replies")
    with pytest.raises(MalformedProject):
        RegistryCallback(lora[0], "polite-replies", project="Colours and Boxes")
    assert "twice" not in registered(place)
