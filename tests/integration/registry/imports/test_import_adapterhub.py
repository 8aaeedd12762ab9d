"""What the library `adapters` (AdapterHub) leaves is told from peft's, and refused with advice that holds."""

from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.adapterhub import AdapterHubFolder
from peft_registry.registry.imports.offered import offered_folder
from peft_registry.registry.use_cases.add_base import AddedBase
from tests.builders.importing import require_refused
from tests.builders.imports import PICKLE, SEQ_BN, adapterhub_folder, peft_folder


@pytest.mark.parametrize("weights", ["adapter.safetensors", "pytorch_adapter.bin", "adapter_model.safetensors"])
@pytest.mark.parametrize(
    ("config", "content", "remedy"),
    [
        (SEQ_BN, "bottleneck", "method=bottleneck"),
        ("pfeiffer", "bottleneck", "method=bottleneck"),
        ({"architecture": "lora", "r": 8}, "LoRA", "merge_adapter"),
        ("lora", "LoRA", "merge_adapter"),
        ({"architecture": "prefix_tuning"}, "prefix tuning", "method=prefix_tuning"),
        ({"architecture": "union", "configs": []}, "combination", "method=bottleneck"),
        ([1, 2], "combination", "method=bottleneck"),
    ],
)
def test_an_adapter_of_the_library_adapters_is_told_from_peft_before_anything_is_copied(
    registry: Registry, base: AddedBase, tmp_path: Path, config: Any, content: str, remedy: str, weights: str
) -> None:
    """Advice that holds: what is saved as safetensors there is refused as well, and a bottleneck is not merged there."""
    folder = adapterhub_folder(tmp_path / "task", config, weights=weights)
    with pytest.raises(AdapterHubFolder, match=content) as caught:
        offered_folder(folder)
    assert remedy in caught.value.fix
    require_refused(registry, AdapterHubFolder, 2, folder, match=r"library `adapters` \(AdapterHub\)")


@pytest.mark.parametrize(
    ("files", "content"),
    [
        (("head_config.json", "model_head.safetensors"), "a prediction head"),
        (("head_config.json", "pytorch_model_head.bin"), "a prediction head"),
        (("adapter_fusion_config.json", "pytorch_model_adapter_fusion.bin"), "a fusion"),
    ],
)
def test_a_head_and_a_fusion_of_the_library_adapters_are_called_what_they_are(
    registry: Registry, base: AddedBase, tmp_path: Path, files: tuple[str, ...], content: str
) -> None:
    (tmp_path / "task").mkdir()
    for name in files:
        (tmp_path / "task" / name).write_bytes(b"{}")
    require_refused(registry, AdapterHubFolder, 2, tmp_path / "task", match=content)


def test_a_head_of_the_library_adapters_beside_an_adapter_of_peft_stays_outside(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "head_config.json").write_text("{}")
    (folder / "pytorch_model_head.bin").write_bytes(PICKLE)
    assert offered_folder(folder).kind == "adapter"
