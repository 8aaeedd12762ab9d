"""What an adapter holds: its updates, its configuration, and weights of the base that it replaces or hides."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.fit import AdapterOfAnotherBase
from peft_registry.registry.imports.weights_scan import scan_weights
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.importing import imported, require_refused
from tests.builders.imports import MODULE, lora_tensors, peft_folder


def test_an_update_of_zero_is_a_finding(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    tensors = {name: np.zeros_like(value) if "lora_B" in name else value for name, value in lora_tensors().items()}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors))
    assert "every update is zero" in " ".join(finding.text for finding in outcome.record.findings)


def test_a_key_that_peft_does_not_know_is_a_finding(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    outcome = imported(registry, peft_folder(tmp_path / "helper", use_tomorrow=True))
    assert "unknown-key" in {finding.kind for finding in outcome.record.findings}


def test_modules_that_are_named_by_an_expression_that_ends_come_in(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(
        tmp_path / "helper", target_modules=r".*\.(down_proj|up_proj)", rank_pattern={r"layers\.\d+": 2}
    )
    assert imported(registry, folder).version.label == "helper:1"


def test_an_update_beyond_the_largest_double_is_found_without_a_warning(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    huge = {name: np.full_like(value, 1e300, dtype=np.float64) for name, value in lora_tensors().items()}
    others = ("up_proj", "gate_proj")
    other = {name.replace("down_proj", new): value for new in others for name, value in lora_tensors().items()}
    path = tmp_path / "adapter_model.safetensors"
    save_file(huge | other, path)
    assert [finding.kind for finding in scan_weights(path)] == ["norm-outlier"]


HEAD = "base_model.model.lm_head.weight"
IN_AN_ADAPTER = {
    "under the name of a weight of the base": HEAD,
    "as the layer that the adapter stands around": f"{MODULE}.base_layer.weight",
}


@pytest.mark.parametrize("how", IN_AN_ADAPTER)
def test_weights_of_the_base_that_hide_in_an_adapter_are_found_and_the_base_is_not_called_untouched(
    registry: Registry, base: AddedBase, tmp_path: Path, how: str
) -> None:
    name = IN_AN_ADAPTER[how]
    tensors = lora_tensors() | {name: np.ones((2, 8) if name == HEAD else (8, 16), np.float32)}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors))
    hidden = [finding for finding in outcome.record.findings if finding.kind == "replaces-weights"]
    assert [finding.place for finding in hidden] == [name]
    assert "its configuration says nothing of it" in hidden[0].text
    change = outcome.modification.change
    assert not change.base_weights_untouched.known
    assert not change.params_changed.known
    assert not change.params_added.known
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_a_module_that_was_trained_whole_is_not_called_an_untouched_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | {HEAD: np.ones((2, 8), np.float32)}
    outcome = imported(registry, peft_folder(tmp_path / "helper", tensors, modules_to_save=["lm_head"]))
    assert not outcome.modification.change.base_weights_untouched.known
    said = next(finding for finding in outcome.record.findings if finding.kind == "replaces-weights")
    assert said.text == "1 of its tensors is loaded in the place of the base's own"


def test_a_layer_of_another_shape_around_which_an_adapter_stands_is_of_another_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | {f"{MODULE}.base_layer.weight": np.ones((8, 12), np.float32)}
    require_refused(registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "helper", tensors), match="base_layer")
