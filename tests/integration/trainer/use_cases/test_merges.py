"""`registry merge` from registered adapters to a registered model, in process: what enters, what is refused, what is recorded."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog import NameOfAnotherKind
from peft_registry.registry.disk.files import DiskFull
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases import register
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.audit_folder import audit_folder
from peft_registry.registry.use_cases.first_records import MadeResult
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.offered_results import ResultAsBase
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import (
    ModificationRecordMissing,
    ModificationRecordWrong,
    NewArtifact,
    register_version,
)
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.statements import RecordNotAnswered, StatementContent, append_statement
from peft_registry.registry.use_cases.verify import Examiner, verify_version
from peft_registry.registry.verification.merge_definitions import MergedPart
from peft_registry.registry.verification.merged_again import (
    ArtifactTensors,
    LowRankAdapter,
    MergeAgain,
    merge_again,
    relative_norm_again,
)
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.errors import IntegrityBroken, KnownError
from peft_registry.schemas.hand_over import RecipientName
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.progress import Event, Said, Warned
from peft_registry.schemas.values import declared
from peft_registry.trainer.merge import algorithms, stream, updates
from peft_registry.trainer.merge.change_figures import figures_of_adapter
from peft_registry.trainer.merge.drift import FoldErrorTooLarge
from peft_registry.trainer.merge.merge_preview import preview_of
from peft_registry.trainer.merge.request import FourBitMergeRefused, MergeOptionRefused, MergeRequest
from peft_registry.trainer.merge.second_computation import MergeNotReproduced
from peft_registry.trainer.use_cases.merge import MergeOutcome, merge_and_register
from peft_registry.trainer.use_cases.merge_inputs import (
    AlreadyFoldedIn,
    NotAnAdapter,
    OtherBase,
    SameWeightsTwice,
    plan_merge,
)
from tests.builders.files import with_another_digit
from tests.builders.handed import all_of
from tests.builders.homes import NOW, a_home
from tests.builders.made import an_input, artifact_of_product, record_in, with_record
from tests.builders.merge import CARD, UNCOUNTED, load, register_adapter, unmerged, write_adapter
from tests.builders.products import product_of_result
from tests.builders.records import a_bare_record
from tests.builders.training import a_base_folder

FACTS = DeclaredFacts(
    licence_flags=declared(["non_commercial"], by="a lawyer", at=NOW),
    training_compute_flop=declared(1e18, "FLOP", by="its provider", at=NOW),
)


@dataclass(frozen=True)
class Place:
    """A home with a base, three adapters of it (`a`, `b`, `scales`) and one of another base (`c`), and their folders."""

    registry: Registry
    tiny: AddedBase
    base: Path
    adapters: dict[str, Path]

    def versions(self) -> set[str]:
        with self.registry.database.read() as tx:
            return {one.label for one in catalog.list_versions(tx, limit=100).versions}

    def merge(self, *references: str, **choices: Any) -> MergeOutcome:
        return merge_and_register(self.registry, MergeRequest(references, **choices))


def lora(**changes: Any) -> LoraConfig:
    settings: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    return LoraConfig(**(settings | changes))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("merges")
    base, other = a_base_folder(folder / "base", tied=False), a_base_folder(folder / "other", tied=False, seed=9)
    with a_home(folder / "home") as registry:
        origin = BaseOrigin(format="huggingface", source="tiny")
        tiny = add_base(registry, base, name="tiny", origin=origin, facts=FACTS)
        another = add_base(registry, other, name="another", origin=origin)
        adapters = {
            "a": write_adapter(base, folder / "a", lora()),
            "b": write_adapter(base, folder / "b", lora(r=2, use_rslora=True, target_modules=["q_proj"]), seed=1),
            "scales": write_adapter(base, folder / "scales", IA3Config(
                task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])),
            "c": write_adapter(other, folder / "c", lora(), seed=2),
        }  # fmt: skip
        for name, path in adapters.items():
            register_adapter(registry, path, another if name == "c" else tiny, name, compute=UNCOUNTED)
        yield Place(registry, tiny, base, adapters)


def logits_of(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(40).reshape(2, 20)).logits


# --- what comes out ---


@pytest.fixture(scope="module")
def merged(place: Place) -> MergeOutcome:
    return place.merge("a", name="merged-a", project="colours")


def test_the_merged_version_verifies_loads_and_answers_like_the_unmerged_one(
    place: Place, merged: MergeOutcome, tmp_path: Path
) -> None:
    assert merged.version is not None
    assert (merged.version.kind, merged.version.layout, merged.version.label) == ("model", "model", "merged-a:1")
    assert verify_version(place.registry, merged.version).verdict == "verified"
    assert records_of(place.registry, merged.version).project == "colours"
    pull_version(place.registry, merged.version, tmp_path / "pulled")
    expected, found = (logits_of(one) for one in (unmerged(place.base, place.adapters["a"]), load(tmp_path / "pulled")))
    assert (found - expected).norm() <= 1e-5 * expected.norm()
    for name in ("tokenizer.json", "generation_config.json", "config.json"):
        assert (tmp_path / "pulled" / name).read_bytes() == (place.base / name).read_bytes()


def test_both_figures_are_within_the_gate_and_recorded(merged: MergeOutcome) -> None:
    fold, distance = merged.merge.fold_error, merged.merge.distance
    assert fold.limit == 1e-6
    assert fold.kl <= fold.limit
    assert distance.kl == fold.kl, "nothing was quantised: what was merged is what was trained"
    metrics = merged.modification.evaluation.metrics.value
    assert [one["metric"]["code"] for one in metrics] == ["fold_error", "distance_from_trained_model"]
    assert merged.to_json()["fold_error"] == fold.kl


def test_a_second_run_makes_the_same_digest_and_adds_nothing(place: Place, merged: MergeOutcome) -> None:
    before = place.versions()
    again = place.merge("a", name="merged-a")
    assert again.was_there
    assert again.version == merged.version
    assert place.versions() == before


def test_merging_the_same_under_another_name_changes_nothing_of_the_first(place: Place, merged: MergeOutcome) -> None:
    assert merged.version is not None
    before = records_of(place.registry, merged.version)
    again = place.merge("a", name="merged-again")
    assert again.version is not None
    assert again.version.manifest_digest == merged.version.manifest_digest
    assert records_of(place.registry, merged.version) == before
    records = records_of(place.registry, again.version)
    assert records.modification == again.modification
    assert records.merge == again.merge
    assert again.modification.identity.result_name.value == "merged-again"


def test_the_order_of_the_adapters_changes_nothing(place: Place) -> None:
    one = place.merge("a", "b", weights=(0.7, 0.3), name="ordered")
    other = place.merge("b", "a", weights=(0.3, 0.7), name="ordered")
    assert other.was_there
    assert one.merge.plan_sha256 == other.merge.plan_sha256


def test_a_weighted_sum_runs_like_both_adapters_side_by_side(place: Place) -> None:
    found = place.merge("a", "b", weights=(0.7, 0.3), name="weighted")
    assert found.merge.fold_error.kl <= 1e-6
    assert "unmerged" in found.merge.fold_error.reference


@pytest.mark.parametrize("algorithm", ["ties", "dare", "dare_ties"])
def test_every_algorithm_ends_in_a_recorded_version(algorithm: str, place: Place) -> None:
    found = place.merge("a", "scales", algorithm=algorithm, densities=(0.5,), seed=3, name=f"by-{algorithm}")
    record = found.modification
    assert record.merge.algorithm.value == algorithm
    assert [one["density"] for one in record.merge.densities.value] == [0.5, 0.5]
    assert (record.method.seed.value == 3) == algorithm.startswith("dare")
    again = place.merge("scales", "a", algorithm=algorithm, densities=(0.5,), seed=3, name=f"by-{algorithm}")
    assert again.was_there


def wrong_election(algorithm: Any, differences: Any, *, tensor: str, seed: int) -> Any:
    """TIES as it is often written: who agrees is asked of Δ and not of w·Δ."""
    kept = [(share, algorithms._chosen(algorithm, share, delta, tensor, seed)) for share, delta in differences]
    elected = sum(share.weight * delta for share, delta in kept).sign()
    agree = [(share, delta, (delta.sign() == elected).float() * (delta != 0)) for share, delta in kept]
    total = sum(share.weight * delta * agrees for share, delta, agrees in agree)
    weights = sum(share.weight * agrees for share, _, agrees in agree)
    return torch.where(weights.abs() > 1e-8, total / weights, torch.zeros_like(total))


def wrong_factor(algorithm: Any, differences: Any, *, tensor: str, seed: int) -> Any:
    return 1.01 * algorithms.combine(algorithm, differences, tensor=tensor, seed=seed)


@pytest.mark.parametrize(
    ("algorithm", "engine", "weights"),
    [
        ("ties", wrong_election, (0.7, -0.3)),
        ("dare_ties", wrong_election, (0.7, -0.3)),
        ("ties", wrong_factor, (0.7, 0.3)),
        ("dare", wrong_factor, (0.7, 0.3)),
        ("linear", wrong_factor, (0.7, 0.3)),
    ],
)
def test_a_broken_engine_does_not_pass_the_gate(
    algorithm: str, engine: Any, weights: tuple[float, float], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "combine", engine)
    choices = {} if algorithm == "linear" else {"densities": (0.5,)}
    with pytest.raises(MergeNotReproduced, match=f"not what {algorithm} defines") as caught:
        place.merge("a", "scales", algorithm=algorithm, weights=weights, name="broken", **choices)
    assert caught.value.wrong > 0


@pytest.mark.parametrize("algorithm", ["linear", "ties", "dare", "dare_ties"])
def test_what_cannot_run_unmerged_is_computed_a_second_time_with_negative_weights_too(
    algorithm: str, place: Place
) -> None:
    choices = {} if algorithm == "linear" else {"densities": (0.5,), "seed": 3}
    found = place.merge("a", "scales", algorithm=algorithm, weights=(0.7, -0.3), name=f"twice-{algorithm}", **choices)
    assert "computed a second time in fp64 for" in found.merge.fold_error.reference
    assert found.merge.fold_error.kl <= 1e-6


def test_a_tensor_that_no_adapter_touches_must_be_the_bases(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = stream._Engine._block

    def block(self: Any, opened: Any, at: int, buffers: Any) -> None:
        copied(self, opened, at, buffers)
        if opened.job.is_copied and opened.job.name == "model.norm.weight":
            self.outputs[opened.file].write(b"\x00\x00\x00\x40", self.outputs[opened.file].begin[opened.job.name])

    monkeypatch.setattr(stream._Engine, "_block", block)
    with pytest.raises(MergeNotReproduced, match=r"model\.norm\.weight"):
        place.merge("a", "scales", algorithm="ties", densities=(0.5,), name="touched")


def test_a_result_in_bf16_is_gated_by_what_bf16_itself_costs(place: Place) -> None:
    found = place.merge("a", dtype="bf16", name="in-bf16").merge
    assert found.fold_error.floor is not None
    assert 0 < found.fold_error.kl <= 3 * found.fold_error.floor
    assert found.lost_share is not None
    assert 0 < found.lost_share < 1
    assert found.dtype == "bfloat16"


def test_a_change_that_bf16_loses_much_of_is_commented(place: Place) -> None:
    """A thousandth of an adapter is far below the last digit of the weights."""
    heard: list[Event] = []
    request = MergeRequest(("a",), weights=(0.001,), dtype="bf16", name="faint")
    merge_and_register(place.registry, request, check_only=True, observe=heard.append)
    (comment,) = (event.text for event in heard if isinstance(event, Warned) and event.reference == "lost-to-rounding")
    assert "lost to rounding" in comment and "--dtype fp32" in comment


# --- the record ---


def test_the_record_says_what_went_in_with_which_part_and_what_changed(place: Place, merged: MergeOutcome) -> None:
    record = merged.modification
    a = version_named(place.registry, "a")
    assert record.identity.kind.value == "merge"
    assert record.method.kind.value == "adapter_bake_in"
    assert record.merge.weights.value == [{"ingredient": "a:1", "manifest": str(a.manifest_digest), "weight": 1.0}]
    assert record.merge.algorithm.method == "W' = W + Σ wᵢ·Δᵢ"
    assert record.merge.base_ref.value == str(a.base_weights)
    assert [base.role.value for base in record.base] == ["base", "ingredient"]
    modules = {one["name"]: one for one in record.change.modules.value}
    assert len(modules) == 14
    for one in modules.values():
        assert {"relative_norm", "spectral_norm", "cosine", "changed_share", "lost_share"} <= one.keys()
        assert one["spectral_norm"] > 0
    assert record.change.params_changed.value == merged.merge.parameters_changed > 0
    assert 0 < record.change.rel_norm_global.value < 1
    assert record.change.pct_of_base.known


def test_the_signed_statements_and_the_lineage_hold_the_same_record(place: Place, merged: MergeOutcome) -> None:
    assert merged.version is not None
    records = records_of(place.registry, merged.version)
    assert records.modification == merged.modification
    assert records.merge == merged.merge
    kinds = [one.kind for one in records.statements]
    assert kinds == ["provenance", "observations", "modification", "card", "registration"]
    a = version_named(place.registry, "a")
    roles = {(one.role, one.manifest) for one in records.manifest.parents}
    assert roles == {("base", a.base_manifest), ("adapter", a.manifest_digest)}


def test_the_report_of_a_merge_says_each_thing_once(place: Place, merged: MergeOutcome) -> None:
    assert merged.version is not None
    page = re.sub(r"<(?!h2|/h2)[^>]*>", "", make_report(place.registry, merged.version).decode())
    assert page.count("Fold error, and distance from the trained model") == 1, "its row"
    assert page.count("Its answers differ by ") == 1, "the summary"
    assert "Distance from the trained model" not in page
    assert page.count("largest change first") == 1
    changed, _, after = page.partition("What changed</h2>")[2].partition("<h2")
    assert after and changed.count(str(merged.merge.base.identity.weights)) == 1
    label = merged.merge.ingredients[0].label
    assert changed.count(f"none: {label} was trained by another program") == 1, "the template of its prompts"
    assert changed.count(label) == 2, "as what was merged, and there"


def test_licence_flags_are_the_union_and_unknown_when_one_part_is(place: Place, merged: MergeOutcome) -> None:
    flags = merged.merge.licence_flags
    assert flags.value == ["non_commercial"]
    assert merged.modification.base[1].licence_flags == flags
    other = merge_and_register(place.registry, MergeRequest(("c",), name="of-another"), check_only=True)
    assert not other.merge.licence_flags.known


def test_what_nobody_can_know_of_an_ingredients_compute_stays_unknown(merged: MergeOutcome) -> None:
    compute = merged.modification.compute
    assert not compute.conservative_flop.known
    assert "a:1" in str(compute.conservative_flop.reason)
    assert compute.inputs.value["narrow_flop"] == 0
    assert not merged.modification.gpai.ratio.known


# --- what a folder alone gives again, without torch ---


@pytest.mark.parametrize("algorithm", ["ties", "dare_ties"])
def test_every_tensor_of_a_merge_of_two_follows_from_the_dossier(algorithm: str, place: Place, tmp_path: Path) -> None:
    choices: dict[str, Any] = {"weights": (0.7, 0.3), "densities": (0.5,), "seed": 3}
    found = place.merge("a", "b", algorithm=algorithm, name=f"audited-{algorithm}", **choices)
    assert found.version is not None
    for name, with_base in (("whole", True), ("light", False)):
        signer = place.registry.trainer_key
        hand_over(place.registry, found.version, "ai-office", tmp_path / name, signer=signer, with_base=with_base)
    audit = audit_folder(tmp_path / "whole", Examiner(place.registry.trust, NOW))
    line = next(line for line in audit.lines if line.figure == "merge")
    assert audit.verdict == "verified" and line.outcome == "within tolerance", line.text
    assert line.text.startswith(f"{algorithm} of 2: all 21 tensors, 14 of them changed")
    again = {line.figure: (line.outcome, line.text) for line in audit.lines}
    assert again["values that changed"] == (
        "reproduced",
        f"{found.merge.parameters_changed} values are others than the base's",
    )
    assert again["relative norm of the change"][0] == "within tolerance"
    assert again["share of the base that changed, %"][0] == "reproduced"
    (line,) = [
        line
        for line in audit_folder(tmp_path / "light", Examiner(place.registry.trust, NOW)).lines
        if line.figure == "merge"
    ]
    assert (line.outcome, "--with-base" in line.text) == ("not possible", True)
    (tmp_path / "light" / "sources" / "tiny-1" / "model.safetensors").write_bytes(b"#!/bin/sh\necho read me\n")
    (tmp_path / "light" / "cover.html").write_bytes(b"another")
    planted = audit_folder(tmp_path / "light", Examiner(place.registry.trust, NOW))
    assert {line.file for line in planted.edited} == {"sources/tiny-1/model.safetensors", "cover.html"}
    for edited in ("evidence/statements.intoto.jsonl", "adapter_config.json", "manifest.json"):
        file = tmp_path / "whole" / "sources" / "a-1" / edited
        was = file.read_bytes()
        file.write_bytes(with_another_digit(was))
        broken = audit_folder(tmp_path / "whole", Examiner(place.registry.trust, NOW))
        assert broken.exit_code == 6 and f"sources/a-1/{edited}" in {line.file for line in broken.differing}
        file.write_bytes(was)
    another = found.merge.revised(ingredients=[part.revised(weight=0.5) for part in found.merge.ingredients])
    assert merged_by_hand(tmp_path / "whole", another).wrong, "with other weights it would be another model"


@pytest.mark.parametrize("recipient", ["ai-office", "national-authority", "downstream", "public"])
def test_of_a_merge_a_recipient_is_handed_no_person_no_compute_and_no_project_that_is_not_theirs(
    recipient: RecipientName, place: Place, merged: MergeOutcome, tmp_path: Path
) -> None:
    assert merged.version is not None
    hand_over(place.registry, merged.version, recipient, tmp_path / "out", signer=place.registry.trainer_key)
    text = all_of(tmp_path / "out")
    person = str(place.registry.trust.person_of(place.registry.trainer_key.public.key_id))
    told = {
        "person": any(re.search(rf"\b{re.escape(name)}\b", text) for name in ("a lawyer", person)),
        # Within a digest or a signature the same characters stand by chance.
        "compute of the base": bool(re.search(r"(?<![\w+/])(1e\+?18|10{18})(?![\w+/])", text)),
        "project": '"colours"' in text,
        "path": str(place.registry.folder.parent) in text,
    }
    allowed = {"ai-office": {"person", "compute of the base", "project"}, "national-authority": {"person"}}
    assert {what for what, is_told in told.items() if is_told} <= allowed.get(recipient, set())
    if recipient == "ai-office":
        assert told["person"] and told["compute of the base"] and told["project"], "they are looked for where they are"


def merged_by_hand(dossier: Path, merge: MergeRecord) -> MergeAgain:
    def tensors(folder: Path) -> ArtifactTensors:
        return ArtifactTensors(folder, read_manifest((folder / "manifest.json").read_bytes()))

    parts = [
        (
            MergedPart(dossier, part.weights_digest.hex, part.weight, part.density),
            LowRankAdapter(tensors(dossier / "sources" / part.label.replace(":", "-"))),
        )
        for part in merge.ingredients
    ]
    return merge_again(tensors(dossier / "artifact"), tensors(dossier / "sources" / "tiny-1"), parts, merge)


def test_the_norm_of_an_adapter_follows_from_its_factors_and_its_base(place: Place, tmp_path: Path) -> None:
    version = version_named(place.registry, "a")
    hand_over(place.registry, version, "ai-office", tmp_path / "out", with_base=True)
    folders = [tmp_path / "out" / name for name in ("artifact", "sources/tiny-1")]
    adapter, base = (ArtifactTensors(path, read_manifest((path / "manifest.json").read_bytes())) for path in folders)
    expected = figures_of_adapter(place.base, place.adapters["a"], is_quantized=False).relative_norm
    assert relative_norm_again(LowRankAdapter(adapter), base) == pytest.approx(expected, rel=1e-5)


# --- plan and check ---


def test_a_plan_tells_tensors_conflicts_size_and_time_and_writes_nothing(place: Place, tmp_path: Path) -> None:
    before = place.versions()
    prepared = plan_merge(place.registry, MergeRequest(("a", "b")), tmp_path)
    found = preview_of(prepared)
    assert (found.tensors_touched, found.tensors_total) == (14, 21)
    assert found.conflicts == tuple(f"model.layers.{at}.self_attn.q_proj.weight" for at in (0, 1))
    assert found.output_bytes == sum(one.numel() * 4 for one in load(place.base).state_dict().values())
    assert place.versions() == before
    assert list((place.registry.folder / "runs").iterdir()) == []


def test_a_check_measures_and_registers_nothing(place: Place) -> None:
    before = place.versions()
    found = merge_and_register(place.registry, MergeRequest(("b",)), check_only=True)
    assert found.version is None
    assert found.to_json()["version"] is None
    assert found.merge.fold_error.kl <= 1e-6
    assert place.versions() == before


# --- what is refused ---


@pytest.mark.parametrize(
    ("references", "choices", "error", "code"),
    [
        (("a", "a"), {}, SameWeightsTwice, 2),
        (("a", "c"), {}, OtherBase, 6),
        (("a",), {"base": "another"}, OtherBase, 6),
        (("a",), {"name": "tiny"}, NameOfAnotherKind, 7),
        (("tiny",), {}, NotAnAdapter, 2),
        (("a",), {"dtype": "nf4"}, FourBitMergeRefused, 2),
        (("a",), {"base_policy": "dequantised"}, MergeOptionRefused, 2),
    ],
    ids=["twice", "two bases", "another base", "the name of a base", "a base", "in 4 bits", "not quantised"],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    references: tuple[str, ...], choices: dict[str, Any], error: type[KnownError], code: int, place: Place
) -> None:
    before = place.versions()
    with pytest.raises(error) as caught:
        place.merge(*references, **choices)
    assert caught.value.exit_code == code
    assert place.versions() == before


def test_a_merged_model_that_is_a_base_now_does_not_take_its_adapter_again(
    place: Place, merged: MergeOutcome, tmp_path: Path
) -> None:
    assert merged.version is not None
    pull_version(place.registry, merged.version, tmp_path / "pulled")
    for name in ("manifest.json", "model.sig", "README.md"):
        (tmp_path / "pulled" / name).unlink()
    shutil.rmtree(tmp_path / "pulled" / "evidence")
    origin = BaseOrigin(format="huggingface", source="pulled")
    with pytest.raises(ResultAsBase, match="registered here as model"):
        add_base(place.registry, tmp_path / "pulled", name="folded-base", origin=origin)
    with pytest.MonkeyPatch.context() as earlier_release:
        earlier_release.setattr(register, "require_no_result_weights", lambda *_: None)
        add_base(place.registry, tmp_path / "pulled", name="folded-base", origin=origin)
    with pytest.raises(AlreadyFoldedIn, match="folded"):
        place.merge("a", base="folded-base")


def test_a_base_whose_bytes_changed_is_named_tensor_by_tensor(place: Place) -> None:
    weights = place.base / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(IntegrityBroken, match="tensor") as caught:
            place.merge("a", name="never")
        assert caught.value.reference == "wrong-base"
    finally:
        weights.write_bytes(good)


def test_a_merge_that_answers_otherwise_is_stopped_and_nothing_is_registered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault of the best known weighted merges: the scale of rsLoRA."""
    right = updates.LowRank.difference
    monkeypatch.setattr(updates.LowRank, "difference", lambda self, *rows: right(self, *rows) * 2)
    before = place.versions()
    with pytest.raises(FoldErrorTooLarge) as caught:
        place.merge("b", name="wrong")
    assert caught.value.exit_code == 4
    assert place.versions() == before
    assert list((place.registry.folder / "runs").iterdir()) == []


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_full_disk_registers_nothing(when: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if when == "while":
        monkeypatch.setattr(os, "pwrite", full)
    else:
        used = shutil.disk_usage(place.base)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: used._replace(free=1000))
    before = place.versions()
    with pytest.raises(DiskFull) as caught:
        place.merge("a", name="too-large")
    assert caught.value.exit_code == 8
    assert place.versions() == before
    assert list((place.registry.folder / "runs").iterdir()) == []


# --- every door ---


@pytest.fixture(scope="module")
def made(place: Place, merged: MergeOutcome) -> NewArtifact:
    """A merged model as it would be registered, with a record that is its own."""
    assert merged.version is not None
    folder = place.base.parent / "for-the-doors"
    pull_version(place.registry, merged.version, folder)
    result = MadeResult(
        name="through-a-door",
        record_id="run of through-a-door",
        manifest=records_of(place.registry, merged.version).manifest,
        production=merged.merge,
        base=an_input(place.tiny),
        parents=(version_named(place.registry, "a"),),
    )
    return artifact_of_product(product_of_result(place.registry, folder, result, card=CARD))


DOORS = {
    "no record": lambda made: replace(made, statements=()),
    "as a fine-tune": lambda made: replace(made, source="train"),
    "as an import": lambda made: replace(made, source="import"),
    "as a base": lambda made: replace(made, source="base"),
    "as a base, without a record": lambda made: replace(made, source="base", statements=()),
    "a record of something else": lambda made: replace(
        made, manifest=made.manifest.model_copy(update={"config_sha256": Digest.of(b"other")})
    ),
    "an empty record": lambda made: with_record(made, lambda _: a_bare_record(made.manifest)),
    "the record of an equal merge under another name": lambda made: replace(made, name="another-name"),
    "a malformed record": lambda made: replace(made, statements=(StatementContent("modification", {"schema": "1"}),)),
    "under another kind": lambda made: replace(made, statements=(StatementContent("test-result", record_in(made)),)),
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_lets_a_merge_in_without_its_modification_record(door: str, made: NewArtifact, place: Place) -> None:
    before = place.versions()
    with pytest.raises((ModificationRecordMissing, ModificationRecordWrong)):
        register_version(place.registry, DOORS[door](made))
    assert place.versions() == before


def test_the_right_record_opens_the_door(made: NewArtifact, place: Place) -> None:
    assert register_version(place.registry, made).label == "through-a-door:1"


def test_every_merged_version_of_the_home_has_its_signed_record(place: Place, merged: MergeOutcome) -> None:
    with place.registry.database.read() as tx:
        models = [one for one in catalog.list_versions(tx, limit=100).versions if one.kind == "model"]
    assert models
    for version in models:
        records = records_of(place.registry, version)
        assert records.modification is not None
        assert records.modification.identity.kind.value == "merge"
        assert records.modification.identity.result_manifest.value == str(version.manifest_digest)


def test_a_statement_said_later_makes_no_version(place: Place, merged: MergeOutcome) -> None:
    assert merged.version is not None
    before = place.versions()
    statements = records_of(place.registry, merged.version).statements
    signed = next(stored.statement.predicate for stored in statements if stored.kind == "modification")
    record = ModificationPredicate.from_json(signed).to_json()
    subject, signer = merged.version.manifest_digest, place.registry.trainer_key
    with pytest.raises(RecordNotAnswered, match="it supersedes no record, and its version has one"):
        append_statement(place.registry, subject=subject, kind="modification", predicate=record, signer=signer)
    result = {"result": "PASSED", "configuration": []}
    append_statement(place.registry, subject=subject, kind="test-result", predicate=result, signer=signer)
    assert place.versions() == before


def test_the_story_is_told_line_by_line(place: Place) -> None:
    heard: list[Any] = []
    merge_and_register(place.registry, MergeRequest(("scales",), name="told"), observe=heard.append)
    labels = [one.label for one in heard if isinstance(one, Said)]
    assert labels == ["base", "adapter", "merge", "fold", "distance", "record"]
