"""The engine's promises besides being right: same bytes whoever works, every adapter tensor accounted for, nothing half."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from peft_registry.registry.disk.files import DiskFull, FileChanged
from peft_registry.registry.identity.weights import read_header
from peft_registry.trainer.merge import stream
from peft_registry.trainer.merge.adapter import AdapterOptionRefused
from peft_registry.trainer.merge.fold import AdapterTensorUnmatched, TiedMergeRefused, VocabularyResized
from peft_registry.trainer.merge.measures import BlockSums
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.stream import MergedNotFinite
from peft_registry.trainer.merge.tensors import CheckpointIncomplete, checkpoint_tensors, stored_tensors
from peft_registry.trainer.merge.updates import Factors
from tests.builders.merge import load, merge, plan_of, unmerged, write_adapter, write_base
from tests.builders.training import a_model


def a_lora(**changes: Any) -> LoraConfig:
    return LoraConfig(**({"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]} | changes))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(a_model(tied=False), tmp_path_factory.mktemp("engine") / "base", shard_size="60KB")


@pytest.fixture(scope="module")
def adapter(base: Path) -> Path:
    return write_adapter(base, base.parent / "adapter", a_lora(target_modules="all-linear"))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_number_of_threads_and_a_second_run_change_no_byte(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCK_ELEMENTS", 96)  # three rows: many blocks for many threads
    found = []
    for at, workers in enumerate((1, 2, 5, 2)):
        merge(base, adapter, into=tmp_path / str(at), workers=workers)
        found.append(bytes_of(tmp_path / str(at)))
    assert all(one == found[0] for one in found)
    assert len([name for name in found[0] if name.endswith(".safetensors")]) > 1


def test_the_size_of_a_block_changes_no_more_than_the_last_bit_of_a_product(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for rows in (1, 7, 10**6):
        monkeypatch.setattr(stream, "BLOCK_ELEMENTS", 32 * rows)
        merge(base, adapter, into=tmp_path / str(rows))
        found.append(load(tmp_path / str(rows)).state_dict())
    for name, tensor in found[0].items():
        for other in found[1:]:
            torch.testing.assert_close(other[name], tensor, rtol=1e-6, atol=1e-7)


def test_the_result_has_the_bases_files_and_a_sound_index(base: Path, adapter: Path, tmp_path: Path) -> None:
    merge(base, adapter, into=tmp_path / "merged")
    index = json.loads((tmp_path / "merged" / "model.safetensors.index.json").read_text())
    for name, file in index["weight_map"].items():
        header = read_header(tmp_path / "merged" / file)
        assert name in {tensor.name for tensor in header.tensors}
    assert index["weight_map"] == json.loads((base / "model.safetensors.index.json").read_text())["weight_map"]
    untouched = load_file(tmp_path / "merged" / index["weight_map"]["model.norm.weight"])["model.norm.weight"]
    assert torch.equal(untouched, load(base).state_dict()["model.norm.weight"])
    assert (tmp_path / "merged" / "config.json").read_bytes() == (base / "config.json").read_bytes()


def test_names_agree_with_what_the_loader_makes_of_the_files(base: Path) -> None:
    names = model_names(base, checkpoint_tensors(base))
    loaded = load(base).state_dict()
    assert set(names.parameters) == set(loaded)
    assert {place.parameter for place in names.placed.values()} == set(loaded)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t | {"base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight": torch.zeros(4, 32),
                        "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight": torch.zeros(32, 4)}, "layers.7"),
        (lambda t: t | {"base_model.model.model.layers.0.self_attn.q_proj.lora_C.weight": torch.zeros(4, 32)}, "lora_C"),
        (lambda t: t | {"base_model.model.score.weight": torch.zeros(2, 32)}, "score"),
        (lambda t: {k: v for k, v in t.items() if not k.endswith("layers.0.self_attn.q_proj.lora_B.weight")}, "partner"),
        (lambda t: {k: (v[:2] if "lora_A" in k else v[:, :2]).contiguous() for k, v in t.items()}, "rank"),
        (lambda t: {k: v[:, :16].contiguous() if "lora_A" in k else v for k, v in t.items()}, "shape"),
    ],
    ids=["a layer too many", "a factor nobody knows", "a foreign head", "half a pair", "another rank", "another width"],
)  # fmt: skip
def test_every_tensor_of_the_adapter_is_accounted_for(
    change: Any, said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    (spoilt / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    save_file(change(load_file(adapter / "adapter_model.safetensors")), spoilt / "adapter_model.safetensors")
    with pytest.raises(AdapterTensorUnmatched, match=said):
        plan_of(base, spoilt)


@pytest.mark.parametrize(
    "key", [{"init_lora_weights": "pissa"}, {"layer_replication": [[0, 1], [0, 1]]}, {"use_qalora": True}], ids=str
)
def test_an_option_that_changes_what_factors_mean_is_refused_by_name(
    key: dict[str, Any], base: Path, adapter: Path, tmp_path: Path
) -> None:
    config = json.loads((adapter / "adapter_config.json").read_text()) | key
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(AdapterOptionRefused, match=next(iter(key))):
        plan_of(base, tmp_path)


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_low_rank_changes_of_tied_embeddings_are_refused(target: str, tmp_path: Path) -> None:
    tied = write_base(a_model(tied=True), tmp_path / "tied")
    folder = write_adapter(tied, tmp_path / "adapter", a_lora(target_modules=["q_proj", target]))
    with pytest.raises(TiedMergeRefused):
        plan_of(tied, folder)


def test_a_resized_vocabulary_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    larger = load_file(adapter / "adapter_model.safetensors")
    larger["base_model.model.model.embed_tokens.weight"] = torch.zeros(305, 32)
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    save_file(larger, tmp_path / "adapter_model.safetensors")
    with pytest.raises(VocabularyResized, match="305"):
        plan_of(base, tmp_path)


def test_a_value_that_is_no_number_stops_the_merge(base: Path, adapter: Path, tmp_path: Path) -> None:
    spoilt = load_file(adapter / "adapter_model.safetensors")
    next(iter(spoilt.values()))[0, 0] = float("nan")
    (tmp_path / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    save_file(spoilt, tmp_path / "adapter_model.safetensors")
    with pytest.raises(MergedNotFinite):
        merge(base, tmp_path, into=tmp_path / "merged")


@pytest.mark.parametrize("kept", [0.3, 0.99])
def test_a_base_that_was_cut_short_since_the_plan_is_said(kept: float, adapter: Path, tmp_path: Path) -> None:
    base = write_base(a_model(tied=False), tmp_path / "cut")
    plan = plan_of(base, adapter)
    weights = base / "model.safetensors"
    os.truncate(weights, int(weights.stat().st_size * kept))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileChanged):
        stream.write_merged(plan, tmp_path / "out")


def test_a_file_that_the_index_names_and_nobody_has_is_said(base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_bytes((base / "model.safetensors.index.json").read_bytes())
    with pytest.raises(CheckpointIncomplete):
        checkpoint_tensors(tmp_path)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="not run: this system reserves no room for a file")
def test_the_room_of_the_whole_result_is_taken_before_anything_is_computed(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    of = BlockSums.of

    def look(*arguments: Any, **options: Any) -> BlockSums:
        if not taken:
            files = [path.stat() for path in (tmp_path / "merged").glob("*.safetensors")]
            taken.append(len(files) > 1 and all(file.st_blocks * 512 >= file.st_size for file in files))
        return of(*arguments, **options)

    monkeypatch.setattr(BlockSums, "of", look)
    merge(base, adapter, into=tmp_path / "merged")
    # Two threads may each be the first, and then both have looked.
    assert taken and all(taken)


@pytest.mark.parametrize("scale", [1.0, 2.0, 0.125, -2.0, 3.0, 2 / 7])
def test_a_scale_changes_every_entry_of_the_difference_as_a_product_does(scale: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    factors = {"a": torch.randn(8, 40).bfloat16(), "b": torch.randn(30, 8).bfloat16()}
    save_file(factors, tmp_path / "factors.safetensors")
    stored = {tensor.name: tensor for tensor in stored_tensors(tmp_path / "factors.safetensors")}
    loaded = Factors(stored["a"], stored["b"], scale).load()
    expected = (factors["b"].float() @ factors["a"].float()) * scale
    assert torch.equal(loaded.difference(0, 30), expected)


@pytest.mark.parametrize("at", [0, 1, 5])
def test_a_full_disk_is_said_whenever_it_comes(
    at: int, base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = iter(range(10**6))
    write = os.pwrite

    def full(descriptor: int, data: Any, position: int) -> int:
        if next(writes) >= at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull):
        merge(base, adapter, into=tmp_path / "merged")


def test_what_changed_is_measured_on_the_stored_tensors(base: Path, adapter: Path, tmp_path: Path) -> None:
    found = merge(base, adapter, into=tmp_path / "merged", dtype="BF16")
    changes = {one.name: one for one in found.tensors if one.meant_norm}
    before, after = load(base).state_dict(), load(tmp_path / "merged").state_dict()
    exact = unmerged(base, adapter).merge_and_unload().state_dict()
    assert changes.keys() == {name for name in before if "proj" in name}
    for name, one in changes.items():
        w, new, meant = before[name].double(), after[name].double(), exact[name].double() - before[name].double()
        assert one.relative_norm == pytest.approx(float((new - w).norm() / w.norm()), rel=1e-5)
        assert one.meant_norm == pytest.approx(float(meant.norm()), rel=1e-5)
        assert one.lost_norm == pytest.approx(float((new - w - meant).norm()), rel=1e-4)
        cosine = float((w * new).sum() / (w.norm() * new.norm()))
        assert one.cosine == pytest.approx(cosine, abs=1e-6)
        assert one.changed == int((w != new).sum())
        largest = float(torch.linalg.matrix_norm(meant, ord=2))
        assert one.spectral_norm == pytest.approx(largest, rel=1e-5)
    every = sum(float(value.double().square().sum()) for value in before.values())
    assert found.base_norm == pytest.approx(every**0.5, rel=1e-6)
    stored = sum(float((after[name].double() - before[name].double()).square().sum()) for name in before)
    assert found.whole.relative_norm == pytest.approx((stored / every) ** 0.5, rel=1e-5)
