"""mergekit as an outside oracle: whole models that peft merged, combined by it, against our differences of weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig

from tests.builders.merge import load, merge, suppress_warnings, unmerged, write_adapter, write_base
from tests.builders.training import a_model, a_tokenizer
from tests.conftest import not_run

pytestmark = [pytest.mark.peers, pytest.mark.full]
WEIGHTS = (0.7, 0.3)
LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base, two adapters, and each of them merged alone by peft."""
    folder = tmp_path_factory.mktemp("peer")
    base = write_base(a_model(tied=False), folder / "base")
    a_tokenizer().save_pretrained(base)
    for seed, name in enumerate(("a", "b")):
        adapter = write_adapter(base, folder / name, LoraConfig(**LORA, use_rslora=bool(seed)), seed=seed)
        with suppress_warnings():
            unmerged(base, adapter).merge_and_unload().save_pretrained(folder / f"whole-{name}")
        a_tokenizer().save_pretrained(folder / f"whole-{name}")
    return folder


def by_mergekit(
    place: Path,
    method: str,
    out: Path,
    weights: tuple[float, ...] = WEIGHTS,
    normalize: bool = True,
    **parameters: Any,
) -> dict[str, torch.Tensor]:
    try:
        from mergekit.config import MergeConfiguration
        from mergekit.merge import run_merge
        from mergekit.options import MergeOptions
    except ImportError:
        not_run("mergekit is not installed")
    models = [
        {"model": str(place / f"whole-{name}"), "parameters": {"weight": weight} | parameters}
        for name, weight in zip(("a", "b"), weights, strict=True)
    ]
    config = {"merge_method": method, "models": models, "dtype": "float32", "parameters": {"normalize": normalize}}
    config |= {} if method == "linear" else {"base_model": str(place / "base")}
    run_merge(MergeConfiguration.model_validate(config), str(out), MergeOptions(quiet=True))
    return load(out).state_dict()


@pytest.mark.parametrize(
    ("method", "parameters", "ours"),
    [("linear", {}, {}), ("ties", {"density": 0.5}, {"algorithm": "ties", "densities": (0.5, 0.5)})],
    ids=["linear", "ties"],
)
def test_we_agree_with_mergekit(
    method: str, parameters: dict[str, Any], ours: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    theirs = by_mergekit(place, method, tmp_path / "theirs", **parameters)
    merge(place / "base", place / "a", place / "b", into=tmp_path / "ours", weights=WEIGHTS, **ours)
    found, base = load(tmp_path / "ours").state_dict(), load(place / "base").state_dict()
    assert found.keys() == theirs.keys()
    changed = 0
    for name, tensor in found.items():
        change, expected = tensor - base[name], theirs[name] - base[name]
        changed += bool(expected.norm() > 0)
        assert (change - expected).norm() <= 1e-5 * base[name].norm(), name
    assert changed == 14


@pytest.mark.parametrize("weights", [(-0.5, -0.5), (0.5, -0.5), (0.0, 0.5)])
def test_signs_are_elected_as_mergekit_elects_them(weights: tuple[float, float], place: Path, tmp_path: Path) -> None:
    """mergekit's own average divides by Σ wᵢ and turns a negative weight back; its sum has the right signs. Of weights of one
    size w the sum is w times as many as agree: once or twice our average."""
    theirs = by_mergekit(place, "ties", tmp_path / "theirs", weights=weights, normalize=False, density=1.0)
    merge(place / "base", place / "a", place / "b", into=tmp_path / "ours", weights=weights, algorithm="ties")
    found, base = load(tmp_path / "ours").state_dict(), load(place / "base").state_dict()
    for name, tensor in found.items():
        change, summed = (tensor - base[name]).double(), (theirs[name] - base[name]).double()
        off = torch.minimum((change * 0.5 - summed).abs(), (change * 1.0 - summed).abs())
        assert float((off > 1e-5).double().mean()) <= 1e-3, name
