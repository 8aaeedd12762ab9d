"""The training file: what is accepted, under which words, and how a mistake is told."""

from typing import Any

import pytest

from peft_registry.registry.intake.yaml import MalformedYaml
from peft_registry.schemas.config import (
    TrainingFile,
    config_identity,
    config_record,
    seedless_identity,
    training_identity,
)
from peft_registry.schemas.config_aliases import (
    ALIASES,
    KeyTwice,
    MissingKey,
    NotAMapping,
    UnknownSetting,
    WrongValue,
    known_keys,
    parse_training_file,
)
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import MalformedProject, PathForReference
from peft_registry.schemas.methods import BLOCKS, METHODS
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.trainer.inputs.training_file import MalformedOverride, load_training_file, parse_override

MINIMAL: dict[str, Any] = {"name": "a", "base": "b", "method": "lora", "data": {"train": {"path": "x.jsonl"}}}

DESIGN_EXAMPLE = """
name: gsm8k-tutor                  # becomes gsm8k-tutor:1
base: smollm2                      # name, name:version or sha256:…
method: lora                       # full lora lora_pro qlora bottleneck ia3 prompt_tuning prefix_tuning hybrid
lora: {r: 8, alpha: 16, dropout: 0.0, target_modules: all-linear}   # block named after the method
quantization: null                 # qlora implies {type: nf4, double: true}
data:
  train: {path: gsm8k.jsonl, format: prompt_completion, columns: {prompt: question, completion: answer}, rows: 200}
  validation: {fraction: 0.1}      # or {path: …}; seeded and digested
training: {learning_rate: 2e-4, num_train_epochs: 1, per_device_train_batch_size: 4, max_length: 512, dtype: auto, seed: 7}
evaluation: {bias: [house], quality: [loss], retention: []}
goals: []                          # latency, bias_mitigation, many_tasks: what the guards read
facts: facts.yml                   # what only people know (optional)
"""


def test_the_file_of_the_design_is_read_as_it_stands(tmp_path):
    path = tmp_path / "train.yml"
    path.write_text(DESIGN_EXAMPLE, encoding="utf-8")
    loaded = load_training_file(path, ["training.seed=8", "lora.r=4", "data.train.rows=null"])
    assert loaded.notes == ()
    assert loaded.config.training.learning_rate == 2e-4
    assert loaded.config.training.seed == 8
    assert loaded.config.block(LoraBlock).r == 4
    assert loaded.config.data.train.rows is None
    assert loaded.config.data.train.columns == {"prompt": "question", "completion": "answer"}
    assert loaded.resolve("gsm8k.jsonl") == tmp_path / "gsm8k.jsonl"


def test_a_learning_rate_of_null_is_the_methods_own():
    raw = MINIMAL | {"method": "ia3", "training": {"learning_rate": 2e-3}}
    config, _ = parse_training_file(raw, [("training.learning_rate", None)])
    assert config.training.learning_rate == METHODS["ia3"].learning_rate
    assert parse_training_file(raw, [])[0].training.learning_rate == 2e-3


AXOLOTL = {
    "name": "a",
    "base_model": "b",
    "adapter": "lora",
    "lora_r": 32,
    "lora_alpha": 64,
    "lora_dropout": 0.05,
    "lora_target_linear": True,
    "sequence_len": 1024,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "num_epochs": 3,
    "learning_rate": 1e-4,
    "lr_scheduler": "linear",
    "bf16": "auto",
    "datasets": [{"path": "x.jsonl", "type": "alpaca"}],
    "val_set_size": 0.2,
}
LLAMA_FACTORY = {
    "name": "a",
    "model_name_or_path": "b",
    "finetuning_type": "lora",
    "lora_rank": 32,
    "lora_alpha": 64,
    "lora_dropout": 0.05,
    "lora_target": "all",
    "cutoff_len": 1024,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 4,
    "num_train_epochs": 3,
    "learning_rate": 1e-4,
    "lr_scheduler_type": "linear",
    "data": {"train": {"path": "x.jsonl", "format": "alpaca"}, "validation": {"fraction": 0.2}},
}


def test_the_words_of_other_tools_mean_the_same_and_are_reported():
    axolotl, notes = parse_training_file(AXOLOTL)
    factory, _ = parse_training_file(LLAMA_FACTORY)
    assert axolotl == factory
    assert axolotl.lora.r == 32
    assert axolotl.training.max_length == 1024
    assert axolotl.data.validation.fraction == 0.2
    assert "`lora_r` is read as `lora.r`" in notes
    assert "`sequence_len` is read as `training.max_length`" in notes


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ({"fp16": True}, "fp16"),
        ({"training": {"fp16": True}}, "fp16"),
        ({"fp16": False}, "auto"),
        ({"bf16": True}, "bf16"),
    ],
)
def test_the_switches_of_other_tools_choose_a_number_format(said: dict[str, Any], dtype: str) -> None:
    assert parse_training_file(MINIMAL | said)[0].training.dtype == dtype


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("other", [{"bf16": True}, {"bf16": False}, {"training": {"dtype": "fp16"}}])
def test_two_words_for_the_number_format_are_refused_whatever_they_say(one: bool, other: dict[str, Any]) -> None:
    with pytest.raises(KeyTwice, match=r"`training.dtype` are both given"):
        parse_training_file(MINIMAL | {"fp16": one} | other)


def test_familiar_words_work_in_blocks_and_overrides_too():
    config, notes = parse_training_file(
        MINIMAL | {"lora": {"rank": 2}, "training": {"lr": 0.5}}, [("num_epochs", 2), ("lora_alpha", 3)]
    )
    assert (config.block(LoraBlock).r, config.block(LoraBlock).alpha) == (2, 3)
    assert (config.training.learning_rate, config.training.num_train_epochs) == (0.5, 2)
    assert len(notes) == 4


def test_each_alias_leads_to_a_key_that_exists():
    assert {canonical for canonical, _ in ALIASES.values()} <= set(known_keys())
    assert not set(ALIASES) & set(known_keys())


def test_the_adapter_of_this_field_is_a_bottleneck_here():
    config, notes = parse_training_file(MINIMAL | {"method": "adapter"})
    assert config.method == "bottleneck"
    assert notes == ("method `adapter` is read as `bottleneck`",)


UNKNOWN = {
    "misspelt in a block": ({"lora": {"rnk": 3}}, "lora.rnk", None),
    "misspelt at the top": ({"trainin": {}}, "trainin", "training"),
    "misspelt deep": ({"data": {"train": {"path": "x", "colums": {}}}}, "data.train.colums", "data.train.columns"),
    "in the wrong block": (
        {"data": {"train": {"path": "x"}, "max_length": 5}},
        "data.max_length",
        "training.max_length",
    ),
    "of nobody": ({"output_dir": "x"}, "output_dir", None),
}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"training": {"max_steps": 6}}, "a run is as long as `training.num_train_epochs`, which may be a part of one"),
        ({"max_steps": 6}, "a run is as long as `training.num_train_epochs`, which may be a part of one"),
        ({"training": {"logging_steps": 5}}, "leave it out: every step is recorded"),
        ({"training": {"load_best_model_at_end": True}}, "`training.early_stopping` keeps the best step"),
        ({"evaluation": {"max_steps": 6}}, None),
    ],
)
def test_a_word_that_has_no_key_here_is_answered_with_what_to_do(raw: dict[str, Any], told: str | None) -> None:
    """The key spelt most like `max_steps` is `save_steps`, and whoever wrote that would train an epoch."""
    with pytest.raises(UnknownSetting) as caught:
        parse_training_file(MINIMAL | raw)
    assert caught.value.instead == told
    assert told is None or caught.value.fix == told


@pytest.mark.parametrize("case", UNKNOWN)
def test_an_unknown_key_is_named_with_its_path_and_the_nearest(case):
    changes, key, nearest = UNKNOWN[case]
    with pytest.raises(UnknownSetting) as caught:
        parse_training_file(MINIMAL | changes)
    assert f"`{key}`" in caught.value.what
    assert caught.value.reference == "unknown-setting"
    assert caught.value.exit_code == 2
    if nearest:
        assert f"id you mean `{nearest}`?" in caught.value.fix
    else:
        assert caught.value.fix


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "text for a number": ({"lora": {"r": "8"}}, "lora.r", "integer"),
    "truth for a number": ({"lora": {"r": True}}, "lora.r", "integer"),
    "a fraction for a count": ({"training": {"seed": 1.5}}, "training.seed", "integer"),
    "zero rank": ({"lora": {"r": 0}}, "lora.r", "greater than or equal to 1"),
    "a number for a block": ({"training": 5}, "training", "a block of keys"),
    "text for a list": ({"goals": "latency"}, "goals", "a list"),
    "an unknown goal": ({"goals": ["speed"]}, "goals.0", "'latency'"),
    "two kinds of validation": (
        {"data": {"train": {"path": "x"}, "validation": {"fraction": 0.1, "path": "y"}}},
        "data.validation",
        "either a fraction or a path",
    ),
    "a word for a list": (
        {"lora": {"target_modules": "query"}},
        "lora.target_modules",
        "'all-linear' or a list of names",
    ),
    "numbers for names": (
        {"lora": {"target_modules": ["q_proj", 1]}},
        "lora.target_modules",
        "'all-linear' or a list of names",
    ),
    "a number for a name": ({"ia3": {"target_modules": [1]}}, "ia3.target_modules", "'auto' or a list of names"),
    "no targets": ({"lora": {"target_modules": []}}, "lora.target_modules", "at least one"),
    "an unknown dtype": ({"training": {"dtype": "fp8"}}, "training.dtype", "'auto', 'bf16', 'fp16' or 'fp32'"),
    "a dtype in torch's words": (
        {"training": {"dtype": "float16"}},
        "training.dtype",
        "'auto', 'bf16', 'fp16' or 'fp32'",
    ),
    "a switch that is no switch": ({"fp16": "yes"}, "training.dtype", "'auto', 'bf16', 'fp16' or 'fp32'"),
    "a switch in a list": ({"training": {"fp16": [True]}}, "training.dtype", "'auto', 'bf16', 'fp16' or 'fp32'"),
    "a patience of nothing": (
        {"training": {"eval_steps": 2, "early_stopping": {"patience": 0}}},
        "training.early_stopping.patience",
        "greater than or equal to 1",
    ),
}


@pytest.mark.parametrize("base", ["HuggingFaceTB/SmolLM2-135M", "./models/smollm2"])
def test_a_base_that_is_not_registered_is_told_how_to_be(base: str) -> None:
    with pytest.raises(PathForReference) as caught:
        parse_training_file(MINIMAL | {"base": base})
    assert base in caught.value.what
    assert "`registry base add " in caught.value.fix


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_told_with_key_value_and_expectation(case):
    changes, key, expected = WRONG[case]
    with pytest.raises(WrongValue) as caught:
        parse_training_file(MINIMAL | changes)
    assert f"`{key}`" in caught.value.what
    assert expected in caught.value.why


def test_an_unknown_method_lists_them_and_guesses():
    with pytest.raises(WrongValue, match="prompt_tuning") as caught:
        parse_training_file(MINIMAL | {"method": "loar"})
    assert caught.value.fix == "did you mean `lora`?"


@pytest.mark.parametrize("raw", [None, [], "lora", 3])
def test_a_file_that_is_no_mapping_is_refused(raw):
    with pytest.raises(NotAMapping):
        parse_training_file(raw)


@pytest.mark.parametrize("key", ["name", "base", "method", "data"])
def test_what_a_run_cannot_do_without_is_named(key):
    with pytest.raises(MissingKey, match=f"`{key}`"):
        parse_training_file({name: value for name, value in MINIMAL.items() if name != key})


def test_a_key_under_two_names_is_refused():
    with pytest.raises(KeyTwice):
        parse_training_file(MINIMAL | {"lora_r": 3, "lora": {"r": 4}})


@pytest.mark.parametrize("name", ["A", "a/b", "", "a:1", "-a"])
def test_a_name_that_cannot_be_registered_is_refused(name):
    with pytest.raises(InputRefused):
        parse_training_file(MINIMAL | {"name": name})


@pytest.mark.parametrize("text", ["training.seed", "=3", "training..seed=3", ""])
def test_an_override_without_key_or_sign_is_refused(text):
    with pytest.raises(MalformedOverride):
        parse_override(text)


def test_override_values_are_strict_yaml():
    assert parse_override("a.b=1e-4") == ("a.b", 1e-4)
    assert parse_override("a=[q_proj, v_proj]") == ("a", ["q_proj", "v_proj"])
    assert parse_override("a=x=y") == ("a", "x=y")
    with pytest.raises(MalformedYaml):
        parse_override("a=[1")


def test_the_identity_forgets_names_paths_and_unused_blocks_and_nothing_else():
    def identity(**changes: Any) -> dict[str, Any]:
        return config_identity(parse_training_file(MINIMAL | changes)[0])

    here = identity()
    elsewhere = {"train": {"path": "/home/somebody/rows.jsonl"}}
    assert identity(name="other", base="other:3", facts="f.yml", data=elsewhere, full={"freeze": ["a"]}) == here
    assert identity(lora={"r": 9}) != here
    assert identity(training={"seed": 1}) != here
    assert identity(data={"train": {"path": "x.jsonl", "rows": 3}}) != here
    assert set(BLOCKS) & set(here) == {"lora"}


def test_a_project_is_recorded_and_decides_nothing():
    without, _ = parse_training_file(MINIMAL)
    config, _ = parse_training_file(MINIMAL | {"project": "support-bot"})
    assert config_identity(config) == config_identity(without)
    assert training_identity(config) == training_identity(without), "a stopped run may be resumed with another"
    assert seedless_identity(config) == seedless_identity(without), "a seed that was tried counts in any project"
    assert config_record(config)["project"] == "support-bot"
    assert "project" not in config_record(without), "as in the records of earlier releases"
    with pytest.raises(MalformedProject, match="Support"):
        parse_training_file(MINIMAL | {"project": "Support Bot"})
    with pytest.raises(WrongValue, match="project"):
        parse_training_file(MINIMAL | {"project": 7})


def test_the_record_keeps_base_names_only():
    raw = MINIMAL | {"facts": "/home/somebody/facts.yml", "data": {"train": {"path": "C:\\secret\\rows.csv"}}}
    record = config_record(parse_training_file(raw)[0])
    assert record["data"]["train"]["path"] == "rows.csv"
    assert record["facts"] == "facts.yml"
    assert "somebody" not in str(record)


def test_parsing_changes_nothing_it_was_given():
    raw = {**MINIMAL, "lora_r": 3}
    parse_training_file(raw)
    assert raw == {**MINIMAL, "lora_r": 3}


def test_a_canonical_file_survives_a_round_trip():
    config, _ = parse_training_file(AXOLOTL)
    again, notes = parse_training_file(config.model_dump(mode="json"))
    assert again == config
    assert notes == ()
    assert TrainingFile.model_validate_json(config.model_dump_json()) == config


def test_what_is_retained_is_named_by_a_path_alone_or_by_a_block():
    named = ["neutral", "old/task.v1.jsonl", {"path": "lab/task", "name": "hub", "split": "dev"}]
    raw = {"evaluation": {"retention": named}}
    config, _ = parse_training_file(MINIMAL | raw)
    assert [one.label for one in config.evaluation.retention] == ["neutral", "task", "hub"]
    identity, record = config_identity(config)["evaluation"], config_record(config)["evaluation"]
    assert [one["name"] for one in identity["retention"]] == ["neutral", "task", "hub"]
    assert not any("path" in one for one in identity["retention"]), "what decides a result is no path"
    assert [one["path"] for one in record["retention"]] == ["neutral", "task.v1.jsonl", "task"]


def test_two_retained_texts_of_one_name_and_a_misspelt_key_are_refused():
    with pytest.raises(WrongValue, match="retention"):
        parse_training_file(MINIMAL | {"evaluation": {"retention": ["a/rows.jsonl", "b/rows.csv"]}})
    with pytest.raises(UnknownSetting) as caught:
        parse_training_file(MINIMAL | {"evaluation": {"retention": [{"path": "a.jsonl", "colums": {}}]}})
    assert "evaluation.retention.0.colums" in caught.value.what and "evaluation.retention.columns" in caught.value.fix


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.per_device_train_batch_size", 2**53),
        ("training.save_steps", 10**30),
        ("data.train.rows", 10**30),
        ("training.num_train_epochs", 1e300),
        ("training.learning_rate", 1e300),
        ("lora.alpha", 1e308),
        ("lora.loraplus_lr_ratio", 1e308),
        ("lora.rank_pattern", {"q_proj": 10**30}),
        ("lora.rank_pattern", {"(((": 4}),
        ("lora.rank_pattern", {"(.*.*.*.*.*.*.*.*)*zzz": 4}),
        ("lora.alpha_pattern", {"(a|a)+z": 4.0}),
        ("lora.alpha_pattern", {".*.*.*.*z": 4.0}),
        ("lora.alpha_pattern", {"(.|.)" * 30: 4.0}),
    ],
)
def test_what_could_not_be_recorded_computed_or_matched_is_refused_at_once(key: str, value: Any) -> None:
    with pytest.raises(WrongValue) as refused:
        parse_training_file(MINIMAL, [(key, value)])
    assert key in refused.value.what


@pytest.mark.parametrize("pattern", ["q_proj", r".*\.layers\.(0|1)\..*_proj", "layers.[0-9]+.mlp.(up|down)_proj"])
def test_patterns_that_people_write_are_taken(pattern: str) -> None:
    config, _ = parse_training_file(MINIMAL, [("lora.rank_pattern", {pattern: 4})])
    assert config.block(LoraBlock).rank_pattern == {pattern: 4}


def test_an_override_nested_without_end_is_refused() -> None:
    with pytest.raises(MalformedOverride):
        parse_override("x." * 3000 + "y=1")
