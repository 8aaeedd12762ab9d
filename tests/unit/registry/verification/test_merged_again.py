"""What a whole model changes in its base, counted again by numpy alone: against counts and norms worked by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.verification.merged_again import ArtifactTensors, NotDoneAgain, model_change_again
from tests.builders.records import a_manifest


def tensors(folder: Path, **values: np.ndarray) -> ArtifactTensors:
    folder.mkdir()
    save_file(values, folder / "adapter_model.safetensors")
    return ArtifactTensors(folder, a_manifest())


BASE = {
    "a": np.array([[3.0, 0.0], [0.0, 4.0]], np.float32),
    "b": np.array([12.0, 0.0], np.float32),
    "positions": np.array([1, 2]),
}


def test_values_and_norm_are_those_worked_by_hand(tmp_path: Path) -> None:
    base = tensors(tmp_path / "base", **BASE)
    moved = BASE | {"a": np.array([[3.0, 0.5], [0.0, 4.0]], np.float32), "b": np.array([12.0, -1.2], np.float32)}
    change = model_change_again(tensors(tmp_path / "result", **moved), base)
    assert change.values == 2
    # ‖W‖ = √(9 + 16 + 144) = 13, whatever integers lie beside it
    assert change.relative_norm == pytest.approx(math.sqrt(0.5**2 + 1.2**2) / 13, rel=1e-7)


def test_the_least_difference_that_the_format_has_is_counted(tmp_path: Path) -> None:
    base = tensors(tmp_path / "base", **BASE)
    moved = BASE | {"b": np.array([np.nextafter(np.float32(12), np.float32(13)), 0.0], np.float32)}
    assert model_change_again(tensors(tmp_path / "result", **moved), base).values == 1


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"b": BASE["b"].astype(np.float16)}, "b is F16 here and F32 in the base"),
        ({"c": BASE["b"]}, "other tensors"),
        ({name: np.zeros_like(value) for name, value in BASE.items()}, None),
    ],
)
def test_what_rounding_or_another_shape_changed_is_not_counted(
    other: dict[str, np.ndarray], says: str | None, tmp_path: Path
) -> None:
    base = tensors(tmp_path / "base", **(BASE if says else other))
    with pytest.raises(NotDoneAgain, match=says or "the base is zero"):
        model_change_again(tensors(tmp_path / "result", **(BASE | other)), base)
