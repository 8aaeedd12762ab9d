"""Every method on the embedded base: train → register → verify → pull → reload with the lines of its own card → same logits."""

import base64
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.registry.database import catalog
from peft_registry.registry.evaluation.staleness import composition_of, staleness
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.records.provenance import run_of
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.methods import implementation
from tests.builders.homes import NOW
from tests.builders.training import colour_rows, write_rows

CONFIG = """\
name: {name}
base: tiny
method: {method}
data: {{train: {{path: rows.jsonl, format: prompt_completion}}, validation: {{fraction: 0.2}}}}
training: {{learning_rate: 5e-3, num_train_epochs: 2, max_length: 64, dtype: fp32, seed: 7}}
evaluation: {{bias: [], quality: [loss]}}
"""
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    **{name: (name, ()) for name in METHODS},
    "lora rslora": ("lora", ("lora.use_rslora=true",)),
    "lora dora": ("lora", ("lora.use_dora=true",)),
    "lora pissa": ("lora", ("lora.init=pissa",)),
    "lora plus": ("lora", ("lora.loraplus_lr_ratio=4",)),
    "lora patterns": ("lora", ("lora.rank_pattern={q_proj: 2}", "lora.alpha_pattern={v_proj: 4.0}")),
    "lora_pro full": ("lora_pro", ("lora_pro.form=full",)),
    "bottleneck houlsby": ("bottleneck", ("bottleneck.placement=houlsby",)),
    "bottleneck parallel": ("bottleneck", ("bottleneck.placement=parallel", "bottleneck.activation=gelu")),
    "prefix projection": ("prefix_tuning", ("prefix_tuning.projection=true",)),
    "prompt text": ("prompt_tuning", ("prompt_tuning.init=text", "prompt_tuning.init_text=box colours", "prompt_tuning.seeds=2")),
    "ia3 on 4 bits": ("ia3", ("quantization={type: nf4}",)),
    "hybrid on 4 bits": ("hybrid", ("quantization={type: nf4}",)),
    "prefix on 4 bits": ("prefix_tuning", ("quantization={type: fp4, double: false}",)),
    "prompt on 4 bits": ("prompt_tuning", ("quantization={type: nf4}", "prompt_tuning.seeds=1")),
    "bottleneck on 4 bits": ("bottleneck", ("quantization={type: nf4}",)),
    "lora_pro on 4 bits": ("lora_pro", ("quantization={type: nf4}",)),
    "vera on 4 bits": ("vera", ("quantization={type: nf4}",)),
    "oft on 4 bits": ("oft", ("quantization={type: nf4}",)),
    "lora in fp16": ("lora", ("training.dtype=fp16",)),
    "full in fp16": ("full", ("training.dtype=fp16",)),
    "qlora in fp16": ("qlora", ("training.dtype=fp16",)),
}  # fmt: skip
# what `make test` leaves out: the same paths in other combinations
MORE = (
    "lora rslora",
    "lora plus",
    "lora patterns",
    "lora_pro full",
    "bottleneck parallel",
    "prompt text",
    "ia3 on 4 bits",
    "prefix on 4 bits",
    "prompt on 4 bits",
    "bottleneck on 4 bits",
    "lora_pro on 4 bits",
    "vera on 4 bits",
    "oft on 4 bits",
    "lora in fp16",
    "full in fp16",
    "qlora in fp16",
)
MARKED = [pytest.param(case, marks=pytest.mark.full) if case in MORE else case for case in CASES]
# where it differs from the sum of two adapters that were trained: one product in place of two
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Told:
    registry: Registry
    outcome: Any
    trained: Any
    pulled: Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    from peft_registry.trainer.use_cases.add_base import intake_base

    folder = tmp_path_factory.mktemp("home")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    write_rows(folder / "rows.jsonl", colour_rows(30))
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def told(home: Registry) -> Iterator[Any]:
    """Tells the story of a case once."""
    import peft_registry.trainer.training.train_adapter
    from peft_registry.trainer.use_cases.train import train_and_register

    folder = home.folder.parent
    kept: list[Any] = []
    original = peft_registry.trainer.training.train_adapter.train_adapter

    def keeping(*args: Any, **kwargs: Any) -> Any:
        kept.append(original(*args, **kwargs))
        return kept[-1]

    def tell(case: str) -> Told:
        if case in stories:
            return stories[case]
        method, overrides = CASES[case]
        name = re.sub(r"\W+", "-", case)
        config = folder / f"{name}.yml"
        config.write_text(CONFIG.format(name=name, method=method))
        outcome = train_and_register(home, config, overrides)
        pull_version(home, outcome.version, folder / "pulled" / name)
        stories[case] = Told(home, outcome, kept[-1], folder / "pulled" / name)
        return stories[case]

    stories: dict[str, Told] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(peft_registry.trainer.training.train_adapter, "train_adapter", keeping)
        yield tell


def logits(model: Any) -> torch.Tensor:
    ids = torch.arange(5, 45).reshape(2, 20)
    with torch.no_grad():
        found = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found[:, found.shape[1] - ids.shape[1] :]


def loaded_by_its_card(pulled: Path) -> Any:
    """What the code block of the card gives, run as it stands, its two folders filled in."""
    code = re.search(r"```python\n(.*?)```", (pulled / "README.md").read_text(), re.S)
    assert code is not None
    text = code[1].replace("FOLDER_OF_THE_BASE", str(embedded_base())).replace("FOLDER_OF_THIS_CARD", str(pulled))
    return model_of(text)


def model_of(text: str) -> Any:
    """What lines of a card give."""
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*second time|.*Already found a `peft_config`", category=UserWarning)
        exec(compile(text, "card", "exec"), names)
    return names["model"]


@pytest.mark.parametrize("case", MARKED)
def test_what_was_registered_reloads_by_its_card_to_the_logits_of_the_end_of_training(told, case):
    story = told(case)
    assert story.outcome.run.loss_after.value < story.outcome.run.loss_before.value
    verified = verify_folder(story.pulled, trust=story.registry.trust, now=story.registry.clock())
    assert verified.verdict == "verified"
    expected = logits(story.trained.model)
    found = logits(loaded_by_its_card(story.pulled))
    assert torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, float(expected.abs().max())))
    base = story.trained.model if hasattr(story.trained.model, "disable_adapter") else None
    if base is not None:  # the base arm is the untouched base, in the format that it was trained on
        from peft_registry.trainer.bases.loading import load_base

        quantization = story.trained.config.quantization
        pristine, _ = load_base(embedded_base(), dtype="fp32", device="cpu", quantization=quantization)
        with base.disable_adapter():
            assert torch.equal(logits(base), logits(pristine))
        assert not torch.allclose(expected, logits(pristine), atol=1e-3)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # of MLflow and transformers about each other
@pytest.mark.parametrize("case", list(CASES))
def test_mlflow_loads_what_peft_loads_to_the_same_logits_and_refuses_the_rest(told, case, tmp_path, monkeypatch):
    import mlflow
    from mlflow.exceptions import MlflowException
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    story = told(case)
    monkeypatch.setenv("REGISTRY_HOME", str(story.registry.folder))
    uri = f"{SOURCE_PREFIX}{story.outcome.version.manifest_digest.hex}"
    method = CASES[case][0]
    if METHODS[method].layout == "bundle" or method == "bottleneck":
        with pytest.raises(MlflowException, match="MLflow cannot load") as refused:
            mlflow.transformers.load_model(uri, dst_path=str(tmp_path))
        assert "PeftModel.from_pretrained(" in str(refused.value)
        assert not any(tmp_path.iterdir())
        return
    loaded = mlflow.transformers.load_model(uri, dst_path=str(tmp_path))
    if story.trained.config.quantization is None:
        expected = loaded_by_its_card(story.pulled)
    else:  # onto the original base, as MLflow's layout has it
        expected = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(embedded_base()), story.pulled)
    assert (logits(loaded.model) - logits(expected)).abs().max() == 0.0


@pytest.mark.parametrize("case", MARKED)
def test_our_own_loader_gives_the_same_and_the_files_name_no_place_of_this_machine(told, case):
    from peft_registry.trainer.bases.loading import load_base

    story = told(case)
    quantization = story.trained.config.quantization
    base, _ = load_base(embedded_base(), dtype="fp32", device="cpu", quantization=quantization)
    reloaded = implementation(story.outcome.run.method).load(base, story.pulled)
    expected = logits(story.trained.model)
    assert torch.allclose(logits(reloaded), expected, rtol=0, atol=TOLERANCE * max(1.0, float(expected.abs().max())))
    assert not any(parameter.requires_grad for parameter in reloaded.parameters()) or "full" in case
    for path in story.pulled.rglob("*config.json"):
        text = path.read_text()
        assert str(embedded_base()) not in text and str(story.registry.folder) not in text
        value = json.loads(text)
        assert value.get("tokenizer_name_or_path") is None
        for key in ("target_modules", "feedforward_modules", "exclude_modules"):
            assert not isinstance(value.get(key), list) or value[key] == sorted(value[key])


def recorded(story: Told, kind: str) -> Any:
    """The predicate of the version's statement of a kind."""
    with story.registry.database.read() as tx:
        found = [
            one for one in catalog.statements_of(tx, subject=story.outcome.version.manifest_digest) if one.kind == kind
        ]
    return json.loads(base64.b64decode(json.loads(found[-1].envelope)["payload"]))["predicate"]


CHANGES_NO_WEIGHT = ("bottleneck", "prompt_tuning", "prefix_tuning")  # by their papers, whatever is declared


@pytest.mark.parametrize("case", MARKED)
def test_the_records_say_what_was_done(told, case):
    story = told(case)
    method, _ = CASES[case]
    run = run_of(recorded(story, "provenance"))
    record = ModificationPredicate.from_json(recorded(story, "modification")).record
    assert run is not None and run.method == method
    hyperparameters = record.method.hyperparameters.value
    assert set(hyperparameters) == {"training", *METHODS[method].blocks}
    ranked = any("r" in hyperparameters[block] for block in METHODS[method].blocks)
    assert record.peft.rank.known == ranked
    targeted = any("target_modules" in hyperparameters[block] for block in METHODS[method].blocks)
    assert record.peft.target_modules.known == targeted
    if METHODS[method].layout == "peft":
        refusal = read_adapter(story.pulled).why_not_folded
        assert (refusal is None) == METHODS[method].folds
    assert record.prompt.n_virtual_tokens.known == bool(story.trained.config.virtual_tokens)
    assert record.prompt.init.known == bool(story.trained.config.virtual_tokens)
    assert "traced" in run.compute.param_update_flop.method
    inputs = record.compute.inputs.value
    assert record.compute.conservative_flop.value == 6 * inputs["P"] * inputs["D"]
    assert inputs["P"] == record.base[0].params_total.value
    assert inputs["D"] >= run.compute.tokens.value
    if method in CHANGES_NO_WEIGHT:
        assert "there is none: " in str(record.change.rel_norm_global.reason)
    elif (
        not METHODS[method].folds and METHODS[method].layout == "peft"
    ):  # its weights change, and by how much nobody computes
        assert str(record.change.rel_norm_global.reason).startswith("not derived: ")
    else:
        assert 0 < record.change.rel_norm_global.value < 1
        assert {"name", "shape", "relative_norm"} <= record.change.modules.value[0].keys()
    quantised = story.trained.config.quantization
    assert record.base[0].quantised_view.known == (quantised is not None)
    evaluation = EvaluationRecord.from_json(recorded(story, "bias-evaluation"))
    manifest = story.outcome.version
    assert manifest.layout == METHODS[method].layout
    if quantised is not None:
        assert {arm.composition.quantisation for arm in evaluation.arms} == {
            "nf4, double" if quantised.double else "fp4"
        }


def test_an_evaluation_speaks_of_the_registered_composition(told):
    from peft_registry.registry.identity.manifests import read_manifest

    for case in ("qlora", "hybrid", "prompt_tuning", "lora pissa"):
        story = told(case)
        manifest = read_manifest((story.pulled / "manifest.json").read_bytes())
        evaluation = EvaluationRecord.from_json(recorded(story, "bias-evaluation"))
        assert manifest.base is not None
        assert staleness(evaluation, composition_of(manifest, manifest.base.identity)) is None


def test_every_trial_of_prompt_tuning_is_recorded_paid_for_and_judged_on_rows_that_did_not_choose(told):
    story = told("prompt_tuning")
    run = story.outcome.run
    assert [trial.seed for trial in run.trials] == [7, 8, 9, 10, 11]
    best = min(run.trials, key=lambda trial: trial.score)
    assert [trial for trial in run.trials if trial.chosen] == [best]
    splits = {one.split: one for one in run.data[0].selections}
    assert {name: one.rows for name, one in splits.items()} == {"train": 24, "validation": 3, "test": 3}
    text = sum(one.tokens or 0 for one in run.data[0].selections if one.split == "train")
    assert run.compute.tokens.value - run.compute.padding_tokens.value == 5 * 2 * text
    card = (story.pulled / "README.md").read_text()
    assert "5 seeds" in card


def lines_of_bottleneck(told: Any) -> tuple[str, str]:
    """The code block of its card, and without the line that makes peft know the type."""
    story = told("bottleneck")
    code = re.search(r"```python\n(.*?)```", (story.pulled / "README.md").read_text(), re.S)
    assert code is not None
    text = code[1].replace("FOLDER_OF_THE_BASE", str(embedded_base())).replace("FOLDER_OF_THIS_CARD", str(story.pulled))
    assert "import peft_registry.trainer.methods.bottleneck_adapter" in text
    return text, "\n".join(line for line in text.splitlines() if "bottleneck_adapter" not in line)


def test_peft_knows_a_bottleneck_adapter_by_the_line_of_its_card(told, monkeypatch):
    """With peft as it is installed: its tables are those of before this type was entered."""
    import sys

    from peft import mapping

    from peft_registry.trainer import methods
    from peft_registry.trainer.methods import bottleneck_adapter

    text, without = lines_of_bottleneck(told)
    tables = [table for name, table in vars(mapping).items() if name.startswith("PEFT_TYPE_TO_")]
    entered = [table for table in tables if bottleneck_adapter.NAME in table]
    assert mapping.PEFT_TYPE_TO_CONFIG_MAPPING in entered
    for table in entered:
        monkeypatch.delitem(table, bottleneck_adapter.NAME)
    monkeypatch.delitem(sys.modules, bottleneck_adapter.__name__)
    monkeypatch.setattr(methods, "bottleneck_adapter", bottleneck_adapter)  # that of before, afterwards
    with pytest.raises(KeyError, match="BOTTLENECK"):
        model_of(without)
    assert type(model_of(text)).__name__ == "PeftModelForCausalLM"


@pytest.mark.full  # beside the one above it starts an interpreter, which takes as long as all else of this method
def test_a_fresh_interpreter_reads_a_bottleneck_adapter_by_the_lines_of_its_card(told):
    import subprocess
    import sys

    text, without = lines_of_bottleneck(told)
    script = (
        f"try:\n    exec({without!r})\nexcept KeyError as error:\n    print(error)\n"
        f"exec({text!r})\nprint(type(model).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.stdout == "'BOTTLENECK'\nPeftModelForCausalLM\n", done.stderr
