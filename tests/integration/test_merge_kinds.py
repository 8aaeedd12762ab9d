"""Merges that fold nothing: one adapter in place of several, exact or of a smaller rank, and a bundle of what cannot be folded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig

from registry.bases import add_base
from registry.home import Registry
from registry.pull import pull_version
from registry.records import records_of
from registry.verify import verify_version
from schemas.base_model import BaseOrigin
from schemas.errors import KnownError
from tests.homes import a_home
from tests.merge_builders import load, quiet, register_adapter, unmerged, write_adapter
from tests.training_builders import a_base_folder
from trainer.merge.concatenate import NotConcatenable
from trainer.merge_inputs import MergeRequest, NothingFolded, WeightsDoNotFit, plan_merge
from trainer.merges import MergeOutcome, merge_and_register

LORA = {"task_type": "CAUSAL_LM", "lora_alpha": 8}
ADAPTERS = {
    "a": LoraConfig(**LORA, r=4, target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 3}),
    "b": LoraConfig(**LORA, r=2, target_modules=["q_proj", "v_proj"], use_rslora=True),
    "dora": LoraConfig(**LORA, r=2, target_modules=["q_proj"], use_dora=True),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    folder = tmp_path_factory.mktemp("kinds")
    base = a_base_folder(folder / "base", tied=False)
    with a_home(folder / "home") as registry:
        tiny = add_base(registry, base, name="tiny", origin=BaseOrigin(format="huggingface", source="tiny"))
        for seed, (name, config) in enumerate(ADAPTERS.items()):
            register_adapter(registry, write_adapter(base, folder / name, config, seed=seed), tiny, name)
        yield registry, base


def merged(registry: Registry, *references: str, **choices: Any) -> MergeOutcome:
    return merge_and_register(registry, MergeRequest(references, **choices))


def exact(base: Path, folder: Path, module: str) -> torch.Tensor:
    """0.7·Δ_a + 0.3·Δ_b of one module, by peft's own deltas in fp64."""
    with quiet():
        model = unmerged(base, folder / "a")
        model.load_adapter(folder / "b", adapter_name="second")
    layer = model.base_model.model.get_submodule(module)
    parts = ((0.7, "default"), (0.3, "second"))
    return sum(weight * layer.get_delta_weight(name).double() for weight, name in parts if name in layer.lora_A)  # type: ignore[return-value]


def delta(base: Path, folder: Path, module: str) -> torch.Tensor:
    layer = unmerged(base, folder).base_model.model.get_submodule(module)
    return layer.get_delta_weight("default").double()


def test_a_concatenation_is_exact_where_pefts_is_wrong_for_rslora_and_reloads(
    place: tuple[Registry, Path], tmp_path: Path
) -> None:
    registry, base = place
    found = merged(registry, "a", "b", weights=(0.7, 0.3), algorithm="concatenate", name="both")
    assert found.version is not None
    assert (found.version.kind, found.version.layout) == ("adapter", "peft")
    assert found.merge.fold_error is not None
    assert found.merge.fold_error.kl <= 1e-6
    pull_version(registry, found.version, tmp_path / "pulled")
    for module, rank in (("self_attn.q_proj", 6), ("self_attn.v_proj", 2), ("mlp.down_proj", 3)):
        name = f"model.layers.1.{module}"
        expected, ours = exact(base, base.parent, name), delta(base, tmp_path / "pulled", name)
        assert (ours - expected).norm() <= 1e-6 * expected.norm()
        assert {one.name: one for one in found.merge.modules}[name].lost_share == 0
        assert torch.linalg.matrix_rank(ours.float(), rtol=1e-4) == rank
    assert verify_version(registry, found.version).verdict == "verified"


def test_a_smaller_rank_is_the_best_one_and_its_error_is_stated(place: tuple[Registry, Path], tmp_path: Path) -> None:
    registry, base = place
    found = merged(registry, "a", "b", weights=(0.7, 0.3), algorithm="svd", rank=2, name="compressed")
    assert found.version is not None
    pull_version(registry, found.version, tmp_path / "pulled")
    modules = {one.name: one for one in found.merge.modules}
    for module in ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"):
        expected = exact(base, base.parent, module)
        values = torch.linalg.svdvals(expected)
        best = float(values[2:].norm() / values.norm())
        ours = delta(base, tmp_path / "pulled", module)
        assert float((ours - expected).norm() / expected.norm()) == pytest.approx(best, rel=1e-4)
        assert modules[module].lost_share == pytest.approx(best, rel=1e-4)
        assert modules[module].spectral_norm == pytest.approx(float(values[0]), rel=1e-6)
    assert found.merge.fold_error is not None
    assert found.merge.fold_error.limit is None, "a stated error, not a gate"


def test_what_cannot_be_folded_becomes_a_bundle_with_the_reason_and_reloads(
    place: tuple[Registry, Path], tmp_path: Path
) -> None:
    registry, base = place
    found = merged(registry, "prompt")
    assert found.version is not None
    assert (found.version.name, found.version.kind, found.version.layout) == ("prompt-bundle", "bundle", "bundle")
    assert "no change of any weight" in str(found.merge.why_bundled)
    assert found.to_json()["fold_error"] is None
    records = records_of(registry, found.version)
    assert records.modification is not None
    assert records.modification.identity.kind.value == "merge"
    assert b"Nothing was folded" in (records.card or b"")
    assert verify_version(registry, found.version).verdict == "verified"
    pull_version(registry, found.version, tmp_path / "pulled")
    with quiet():
        models = [
            PeftModel.from_pretrained(load(base), folder).eval()
            for folder in (tmp_path / "pulled" / "adapters" / "00", base.parent / "prompt")
        ]
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        bundled, original = (model(input_ids=ids).logits for model in models)
    assert torch.equal(bundled, original)


def test_one_that_cannot_be_folded_makes_a_bundle_of_all(place: tuple[Registry, Path]) -> None:
    registry, _ = place
    found = merged(registry, "a", "prompt", name="mixed", weights=(1.0, 1.0))
    assert found.version is not None
    assert found.version.kind == "bundle"
    manifest = records_of(registry, found.version).manifest
    assert {entry.path.rpartition("/")[0] for entry in manifest.files} == {"", "adapters/00", "adapters/01"}


@pytest.mark.parametrize(
    ("references", "choices", "error"),
    [
        (("a", "dora"), {"algorithm": "concatenate"}, NotConcatenable),
        (("a", "b"), {"algorithm": "svd"}, WeightsDoNotFit),
        (("a", "b"), {"rank": 3}, WeightsDoNotFit),
        (("a", "b"), {"algorithm": "concatenate", "dtype": "bf16"}, WeightsDoNotFit),
    ],
    ids=["DoRA", "svd without a rank", "a rank without svd", "a format for an adapter"],
)
def test_what_means_nothing_is_refused(
    references: tuple[str, ...], choices: dict[str, Any], error: type[KnownError], place: tuple[Registry, Path]
) -> None:
    with pytest.raises(error) as caught:
        merged(place[0], *references, **choices)
    assert caught.value.exit_code == 2


def test_a_bundle_has_no_plan_of_tensors(place: tuple[Registry, Path], tmp_path: Path) -> None:
    prepared = plan_merge(place[0], MergeRequest(("prompt",)), tmp_path)
    with pytest.raises(NothingFolded, match="plan"):
        prepared.require_plan()


def test_a_merge_of_a_merge_counts_each_training_run_once(place: tuple[Registry, Path]) -> None:
    registry, _ = place
    merged(registry, "a", "b", algorithm="concatenate", name="inner")
    found = merged(registry, "inner", "a", name="outer")
    rows = found.modification.compute.inputs.value["ingredients"]
    assert [row["ingredient"] for row in rows] == [
        one.label for one in sorted((o for o in found_inputs(registry)), key=lambda one: one.manifest_digest)
    ]


def found_inputs(registry: Registry) -> list[Any]:
    from registry.pull import version_named

    return [version_named(registry, name) for name in ("a", "b")]
