"""Merges that fold nothing: one adapter in place of several, exact or of a smaller rank, and a bundle of what cannot be folded."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import ModificationRecordMissing, NewArtifact, register_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.methods.hybrid import LORA_FOLDER, PROMPT_FOLDER
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.concatenate import NotConcatenable
from peft_registry.trainer.merge.folder import companion_files
from peft_registry.trainer.merge.merge_preview import MergePreview, preview_of
from peft_registry.trainer.merge.request import MergeRequest, WeightsDoNotFit
from peft_registry.trainer.methods import hybrid
from peft_registry.trainer.use_cases.ask import ask
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.merge import MergeOutcome, merge_and_register
from peft_registry.trainer.use_cases.merge_inputs import SeveralSideParts, plan_merge
from tests.builders.homes import a_home
from tests.builders.merge import CARD, load, register_adapter, suppress_warnings, unmerged, write_adapter
from tests.builders.training import a_base_folder

LORA = {"task_type": "CAUSAL_LM", "lora_alpha": 8}


def lora(*targets: str) -> LoraConfig:
    return LoraConfig(**LORA, r=2, target_modules=list(targets))


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
        (folder / "hybrid").mkdir()
        for part, config in (
            (LORA_FOLDER, lora("q_proj", "v_proj")),
            (PROMPT_FOLDER, ADAPTERS["prompt"]),
        ):
            write_adapter(base, folder / "hybrid" / part, config, seed=7)
            (folder / "hybrid" / part / "README.md").unlink()
        register_adapter(registry, folder / "hybrid", tiny, "hybrid", method="hybrid")
        yield registry, base


def merged(registry: Registry, *references: str, **choices: Any) -> MergeOutcome:
    return merge_and_register(registry, MergeRequest(references, **choices))


@pytest.fixture(scope="module")
def merged_once(place: tuple[Registry, Path]) -> Callable[..., MergeOutcome]:
    """Merges under the name that it has by default; a merge that any test asked for before is handed out again."""
    made: dict[str, MergeOutcome] = {}

    def merge(*references: str, **choices: Any) -> MergeOutcome:
        request = f"{references} {sorted(choices.items())}"
        if request not in made:
            made[request] = merged(place[0], *references, **choices)
        return made[request]

    return merge


def exact(base: Path, folder: Path, module: str) -> torch.Tensor:
    """0.7·Δ_a + 0.3·Δ_b of one module, by peft's own deltas in fp64."""
    with suppress_warnings():
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
    place: tuple[Registry, Path], merged_once: Callable[..., MergeOutcome], tmp_path: Path
) -> None:
    registry, base = place
    found = merged_once("prompt")
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
    with suppress_warnings():
        models = [
            PeftModel.from_pretrained(load(base), folder).eval()
            for folder in (tmp_path / "pulled" / "adapters" / "00", base.parent / "prompt")
        ]
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        bundled, original = (model(input_ids=ids).logits for model in models)
    assert torch.equal(bundled, original)


def answers_of(model: Any) -> torch.Tensor:
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        return model(input_ids=ids).logits[:, -ids.shape[1] :]


def loaded_as_the_card_says(folder: Path) -> Any:
    """A bundle with folded weights, with the libraries that everybody has."""
    with suppress_warnings():
        return PeftModel.from_pretrained(load(folder / "model"), folder / "adapters" / "00").eval()


def test_the_lora_of_a_hybrid_is_folded_and_its_prompt_stays_beside_the_model(
    place: tuple[Registry, Path], merged_once: Callable[..., MergeOutcome], tmp_path: Path
) -> None:
    registry, base = place
    found = merged_once("hybrid")
    assert found.version is not None
    assert (found.version.label, found.version.kind, found.version.layout) == ("hybrid-merged:1", "bundle", "bundle")
    assert found.merge.fold_error is not None and found.merge.distance is not None
    assert found.merge.fold_error.kl <= found.merge.fold_error.limit == 1e-6
    assert found.to_json()["fold_error"] == found.merge.fold_error.kl
    assert str(found.merge.why_bundled).startswith("hybrid:1 (hybrid): learned embeddings")
    assert found.modification.change.base_weights_untouched.value == "no"
    (prompt,) = read_adapter(base.parent / "hybrid" / "prompt").tensors.values()
    assert found.modification.change.params_added.value == prompt.shape[0] * prompt.shape[1]
    assert found.modification.method.kind.value == "adapter_bake_in"
    assert len(found.merge.modules) == 4
    assert verify_version(registry, found.version).verdict == "verified"
    pull_version(registry, found.version, tmp_path / "pulled")
    card = (tmp_path / "pulled" / "README.md").read_text()
    assert '.from_pretrained("FOLDER_OF_THIS_CARD/model")' in card
    assert "Not folded, and beside the weights: hybrid:1" in card
    assert "Nothing was folded" not in card
    ours = answers_of(loaded_as_the_card_says(tmp_path / "pulled"))
    theirs = answers_of(hybrid.load(load(base), base.parent / "hybrid"))
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
    assert (ours - answers_of(load(tmp_path / "pulled" / "model"))).norm() > 0.01 * theirs.norm()  # the prompt acts
    weights = load(base).state_dict()
    assert not torch.equal(
        load(tmp_path / "pulled" / "model").state_dict()["model.layers.0.self_attn.q_proj.weight"],
        weights["model.layers.0.self_attn.q_proj.weight"],
    )


def test_a_bundle_with_folded_weights_answers_and_is_evaluated_like_any_version(
    place: tuple[Registry, Path],
) -> None:
    registry, _ = place
    found = merged(registry, "hybrid", name="served", evaluate=True)
    assert found.version is not None
    one, other = ask(registry, "served", "May I?", against="hybrid", max_new_tokens=6)
    assert one.text == other.text
    compared = [tuple(arm.name for arm in record.arms) for record in records_of(registry, found.version).evaluations]
    assert compared == [("parent", "merged", "noise"), ("base", "merged", "noise")]
    assert found.merge.stale == ()
    assert "house" in {one.get("suite") for one in found.modification.evaluation.metrics.value}
    beside_parent, beside_base = records_of(registry, found.version).evaluations
    assert (beside_parent.findings[0].fixed, beside_parent.findings[0].introduced) == (0, 0), "the same model"
    assert beside_base.findings[0].transition_matrix != beside_parent.findings[0].transition_matrix


def test_an_adapter_that_a_merge_made_is_evaluated_with_its_placebo(place: tuple[Registry, Path]) -> None:
    """Whole weights have no adapter that could be turned at random; one adapter in place of several does."""
    registry, _ = place
    found = merged(registry, "a", "b", algorithm="concatenate", name="turned", evaluate=True)
    assert found.version is not None
    arms = [{arm.name for arm in record.arms} for record in records_of(registry, found.version).evaluations]
    assert len(arms) == 3
    assert all("placebo" in names for names in arms)


def test_a_parent_beside_one_adapter_in_place_of_several_is_scored_alone(
    place: tuple[Registry, Path], merged_once: Callable[..., MergeOutcome]
) -> None:
    registry, _ = place
    version = merged_once("a", "b", algorithm="concatenate").version
    assert version is not None
    asked = EvaluationRequest(suites=("house",), limit=12, with_placebo=False, reuse=False)
    alone = {
        one.version.label: figure(one.record, "adapted") for one in evaluate_references(registry, ("a", "b"), asked)
    }
    records = [one.record for one in evaluate_references(registry, (version.label,), asked)]
    beside = sorted(figure(record, "parent") for record in records if record.arms[0].name == "parent")
    assert beside == pytest.approx(sorted(alone.values()), abs=1e-6)
    assert len(set(alone.values())) == 2


def figure(record: EvaluationRecord, arm: str) -> float:
    """The mean margin of one arm."""
    (found,) = (
        one.value for one in record.results if (one.metric, one.arm, one.category) == ("mean_margin", arm, None)
    )
    assert found is not None
    return found


def test_what_folds_is_folded_and_a_prompt_from_elsewhere_stays_beside_it(
    place: tuple[Registry, Path], tmp_path: Path
) -> None:
    registry, base = place
    found = merged(registry, "a", "prompt", "b", name="mixed", weights=(0.7, 1.0, 0.3))
    assert found.version is not None
    assert found.version.kind == "bundle"
    assert found.merge.fold_error is not None
    assert found.merge.fold_error.kl <= 1e-6
    pull_version(registry, found.version, tmp_path / "pulled")
    ours, before = load(tmp_path / "pulled" / "model").state_dict(), load(base).state_dict()
    module = "model.layers.0.self_attn.q_proj"
    expected = exact(base, base.parent, module)
    change = ours[f"{module}.weight"].double() - before[f"{module}.weight"].double()
    assert (change - expected).norm() <= 1e-5 * expected.norm()
    assert [one.weight for one in found.merge.ingredients if one.label == "prompt:1"] == [1.0]
    by_default = merged(registry, "a", "prompt", "b", name="halves").merge.ingredients
    assert sorted(one.weight for one in by_default) == [0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("references", "choices", "error"),
    [
        (("a", "dora"), {"algorithm": "concatenate"}, NotConcatenable),
        (("a", "prompt"), {"algorithm": "concatenate"}, NotConcatenable),
        (("hybrid",), {"algorithm": "concatenate"}, NotConcatenable),
        (("prompt", "hybrid"), {}, SeveralSideParts),
        (("a", "prompt"), {"weights": (0.5, 0.5)}, WeightsDoNotFit),
    ],
    ids=["DoRA", "a prompt", "a hybrid", "two prompts", "a weight for a prompt"],
)
def test_what_means_nothing_is_refused(
    references: tuple[str, ...], choices: dict[str, Any], error: type[KnownError], place: tuple[Registry, Path]
) -> None:
    with pytest.raises(error) as caught:
        merged(place[0], *references, **choices)
    assert caught.value.exit_code == 2


# --- every door, for what is no whole model ---


@pytest.mark.parametrize(
    ("references", "choices"),
    [
        (("a", "b"), {"algorithm": "concatenate"}),
        (("a",), {"algorithm": "svd", "rank": 1}),
        (("prompt",), {}),
        (("hybrid",), {}),
    ],
    ids=["one adapter of several", "one adapter, smaller", "a bundle", "a bundle with a model"],
)
def test_no_door_lets_an_adapter_or_a_bundle_in_without_its_modification_record(
    references: tuple[str, ...],
    choices: dict[str, Any],
    place: tuple[Registry, Path],
    merged_once: Callable[..., MergeOutcome],
    tmp_path: Path,
) -> None:
    registry, _ = place
    found = merged_once(*references, **choices)
    assert found.version is not None
    records = records_of(registry, found.version)
    assert records.modification is not None
    assert records.modification.identity.result_manifest.value == str(found.version.manifest_digest)
    pull_version(registry, found.version, tmp_path / "pulled")
    sources: tuple[Any, ...] = ("merge", "train", "import", "base")
    for source in sources:
        bare = NewArtifact("through-a-door", source, records.manifest, tmp_path / "pulled", CARD, ())
        with pytest.raises(ModificationRecordMissing):
            register_version(registry, bare)


# --- plans ---


def planned(place: tuple[Registry, Path], folder: Path, *references: str, **choices: Any) -> MergePreview:
    found = preview_of(plan_merge(place[0], MergeRequest(references, **choices), folder))
    assert all(text for _, text in found.lines())
    return found


@pytest.mark.parametrize("choices", [{"algorithm": "concatenate"}, {"algorithm": "svd", "rank": 2}], ids=str)
def test_the_plan_of_one_adapter_in_place_of_several_is_what_is_made(
    choices: dict[str, Any],
    place: tuple[Registry, Path],
    merged_once: Callable[..., MergeOutcome],
    tmp_path: Path,
) -> None:
    found = planned(place, tmp_path / "plan", "a", "b", **choices)
    made = merged_once("a", "b", **choices)
    assert made.version is not None
    manifest = records_of(place[0], made.version).manifest
    (weights,) = (one for one in manifest.files if one.path.endswith(".safetensors"))
    (listed,) = manifest.weights
    assert (found.makes, found.tensors_total) == ("adapter", len(listed.tensors))
    assert found.parameters_added == made.merge.parameters_added
    assert 0 <= weights.size - found.output_bytes < 4096, "besides the numbers there is a header"
    assert found.conflicts == tuple(f"model.layers.{at}.self_attn.q_proj" for at in (0, 1))
    assert "as one adapter of tiny:1" in dict(found.lines())["plan"]


def test_the_plan_of_a_bundle_says_why_and_how_much(place: tuple[Registry, Path], tmp_path: Path) -> None:
    found = planned(place, tmp_path, "prompt")
    assert (found.makes, found.algorithm, found.tensors_total, found.tensors_touched) == ("bundle", "bundle", 1, 0)
    assert found.parameters_added > 0
    assert "no change of any weight" in dict(found.lines())["beside"]
    folder = place[1].parent / "prompt"
    assert found.output_bytes == sum(
        (folder / name).stat().st_size for name in ("adapter_config.json", "adapter_model.safetensors")
    )


def test_the_plan_of_a_hybrid_says_what_is_folded_and_what_is_not(place: tuple[Registry, Path], tmp_path: Path) -> None:
    found = planned(place, tmp_path, "hybrid")
    assert (found.makes, found.algorithm, found.tensors_touched, found.name) == ("bundle", "linear", 4, "hybrid-merged")
    assert dict(found.lines())["plan"].endswith("the rest beside it in a bundle")


def test_a_plan_refuses_what_the_merge_would(place: tuple[Registry, Path], tmp_path: Path) -> None:
    with pytest.raises(NotConcatenable):
        planned(place, tmp_path, "a", "dora", algorithm="concatenate")


def test_a_merge_of_a_merge_counts_each_training_run_once(
    place: tuple[Registry, Path], merged_once: Callable[..., MergeOutcome]
) -> None:
    registry, _ = place
    inner = merged_once("a", "b", algorithm="concatenate").version
    assert inner is not None
    found = merged(registry, inner.label, "a", name="outer")
    rows = found.modification.compute.inputs.value["ingredients"]
    assert [row["ingredient"] for row in rows] == [
        one.label for one in sorted((o for o in found_inputs(registry)), key=lambda one: one.manifest_digest)
    ]


def found_inputs(registry: Registry) -> list[Any]:
    from peft_registry.registry.records.references import version_named

    return [version_named(registry, name) for name in ("a", "b")]


def test_a_merged_model_keeps_the_additional_templates_of_its_base(tmp_path: Path) -> None:
    for name in (
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "LICENSE",
        "notes/x.jinja",
        "a.bin",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    kept = {path.relative_to(tmp_path).as_posix() for path in companion_files(tmp_path)}
    assert kept == {"LICENSE", "additional_chat_templates/tool_use.jinja", "chat_template.jinja"}
