"""Tasks of lm-evaluation-harness as evidence: equal to its own run, refused where they fetch or execute, re-checked without it."""

import copy
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.face import open_registry
from peft_registry.cli.main import run
from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.limits import LimitBroken, verdicts_of
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.version_statements import own_card
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.progress import Said
from peft_registry.trainer.differences.facts import _difference, _of_rows
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.evaluation.tasks.asked import (
    BenchmarkTask,
    TaskSettings,
    TaskTooLong,
    TaskUnusable,
    _answers,
    _asking,
    load_task,
)
from peft_registry.trainer.evaluation.tasks.declared import (
    TaskIsGroup,
    TaskRefused,
    UnknownTask,
    declared_task,
    require_askable,
)
from peft_registry.trainer.evaluation.tasks.network import NetworkClosed, without_network
from peft_registry.trainer.evaluation.tasks.rows import TaskDataMissing, TaskDataNeeded
from peft_registry.trainer.inputs.benchmark_tasks import TaskDataAbsent
from peft_registry.trainer.methods.peft_io import as_base
from peft_registry.trainer.use_cases.score_again import NothingToScore, TaskIsAnother, score_each_again
from tests.builders.homes import NOW
from tests.oracles.lm_eval import Sample, crows_rows, samples_of

pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # the harness leaves files of its data sets open
]
SUMS = [
    {
        "question": f"Tom has {at} apples and buys {at + 3} more. How many?",
        "answer": f"{at} + {at + 3} #### {2 * at + 3}",
    }
    for at in range(12)
]
SCIENCE = [
    {
        "question": f"Which of these is number {at}: a tree, a stone or water?",
        "choices": {"text": ["a tall tree", "stone", "water"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[at % 3],
    }
    for at in range(12)
]
SHORT = TaskSettings(examples=0, max_new_tokens=12)
TRAINING = """\
name: cats
base: tiny
method: lora
lora: {r: 8, alpha: 16, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion, template: "{prompt} {completion}"}
  validation: {fraction: 0.1}
training: {learning_rate: 1e-2, num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 96, seed: 7, dtype: fp32}
evaluation:
  bias: []
  quality: [loss]
  tasks:
    - {name: arc_challenge, data: data, fewshot: 0, limit: 8, seed: 4}
    - {name: gsm8k_cot_zeroshot, data: sums.jsonl, fewshot: 0, max_new_tokens: 12}
"""


def as_lines(place: Path, rows: list[dict[str, Any]]) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def embedded() -> tuple[Any, Any]:
    from peft_registry.trainer.bases.loading import load_base
    from peft_registry.trainer.embedded import embedded_base

    return load_base(embedded_base(), dtype="fp32", device="cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A home with the embedded base and a LoRA that was trained on three of the sums, evaluated on all of them."""
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.train import train_and_register

    folder = tmp_path_factory.mktemp("tasks")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    learnt = [{"prompt": f"Question: {row['question']}", "completion": f"Answer: {row['answer']}"} for row in SUMS[:3]]
    others = [{"prompt": f"The dog {at}", "completion": "runs over the hill."} for at in range(37)]
    as_lines(folder / "rows.jsonl", learnt + others)
    (folder / "train.yml").write_text(TRAINING)
    as_lines(folder / "data/gsm8k/test.jsonl", SUMS)
    as_lines(folder / "sums.jsonl", SUMS[6:])
    as_lines(folder / "data/arc_challenge/test.jsonl", SCIENCE[2:])
    as_lines(folder / "data/arc_easy/test.jsonl", SCIENCE)
    said: list[Any] = []
    train_and_register(registry, folder / "train.yml", observe=said.append)
    (folder / "said.txt").write_text("".join(f"{one.label} {one.text}\n" for one in said if isinstance(one, Said)))
    (folder / "policy.yml").write_text("thresholds: {task-gsm8k.exact_match.strict-match: {lo: 0.5}}\n")
    asked = [
        "--task",
        "gsm8k",
        "--task",
        "arc_easy",
        "--data",
        f"{folder}/data",
        "--fewshot",
        "0",
        "--max-new-tokens",
        "12",
    ]
    asked += ["--policy", f"{folder}/policy.yml"]
    assert run(["evaluate", "cats:1", *asked, "--home", f"{folder}/home"]) == LimitBroken.exit_code
    yield registry
    registry.close()


def evaluated(registry: Registry, *, by: str = "evaluator") -> Any:
    """The evaluation of the fixture, or that of its training."""
    stored = stored_evaluations(registry, version_named(registry, "cats:1"))
    return next(one for one in stored if one.record.responsible.role == by)


def measured_rows(stored: Any, dataset: str) -> list[tuple[str, str, tuple[int, ...]]]:
    rows = read_items(stored.items)
    return [(row.id, row.arm, row.values) for row in rows if isinstance(row, Reading) and row.dataset == dataset]


def require_equal(task: BenchmarkTask, theirs: list[Sample], model: Any, tokenizer: Any) -> None:
    """Every answer and every measure of a task is that of the harness's own run."""
    with in_float32(model):
        ask = _asking(model, tokenizer, None)
        answers = [tuple(_answers(ask, row)) for row in task.rows]
        readings = task.measure(model, tokenizer, arm="base")
    assert len(readings) == len(theirs) == len(task.rows)
    for answer, reading, sample in zip(answers, readings, theirs, strict=True):
        if isinstance(answer[0], str):
            assert answer == sample.answers
        else:
            assert [is_greatest for _, is_greatest in answer] == [bool(one[1]) for one in sample.answers]
            assert [value for value, _ in answer] == pytest.approx([float(one[0]) for one in sample.answers], abs=1e-4)
        for label, value in zip(reading.labels, reading.values, strict=True):
            metric, _, name = label.partition(".")
            (expected,) = (found[metric] for of, found in sample.measures.items() if not name or of == name)
            assert value / MILLIONTHS == pytest.approx(float(expected), abs=1e-4), label


def test_every_answer_is_that_of_the_harness_with_examples_and_a_selection(embedded, tmp_path: Path) -> None:
    model, tokenizer = embedded
    data = as_lines(tmp_path / "data/test.jsonl", SUMS).parent
    as_lines(data / "train.jsonl", SUMS[6:] + SUMS[:3])
    task = load_task("gsm8k", data, TaskSettings(examples=2, max_new_tokens=12, limit=5, seed=4))
    places = [int(row.id.split("-")[1]) for row in task.rows]
    assert len(places) == 5 and places != [*range(5)]
    theirs = samples_of(
        "gsm8k", {"test": SUMS, "train": SUMS[6:] + SUMS[:3]}, model=model, tokenizer=tokenizer, scratch=tmp_path,
        shots=2, gen_kwargs={"max_gen_toks": 12}, samples={"gsm8k": places},
    )  # fmt: skip
    require_equal(task, theirs, model, tokenizer)
    choices = load_task("arc_easy", as_lines(tmp_path / "science.jsonl", SCIENCE), SHORT)
    theirs = samples_of("arc_easy", {"test": SCIENCE}, model=model, tokenizer=tokenizer, scratch=tmp_path)
    require_equal(choices, theirs, model, tokenizer)
    assert choices.labels == ("acc", "acc_norm")


def test_the_base_behind_a_learned_prompt_answers_as_the_base_alone(embedded, tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    model, tokenizer = embedded
    task = load_task("gsm8k", as_lines(tmp_path / "rows.jsonl", SUMS[:3]), SHORT)
    behind = get_peft_model(copy.deepcopy(model), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=8))
    alone = [_answers(_asking(model, tokenizer, None), row) for row in task.rows]
    with as_base(behind):
        assert [_answers(_asking(behind, tokenizer, None), row) for row in task.rows] == alone
    assert [_answers(_asking(behind, tokenizer, None), row) for row in task.rows] != alone


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["gsm8k", "bbq", "crows_pairs_english"])
def test_every_answer_of_published_rows_is_that_of_the_harness(
    embedded, test_data: Path, tmp_path: Path, name: str
) -> None:
    model, tokenizer = embedded
    if name == "gsm8k":
        lines = (test_data / "tasks/gsm8k-train.jsonl").read_text(encoding="utf-8").splitlines()
        # the embedded base has 512 positions, and its tokens are short
        fitting = (row for row in map(json.loads, lines) if len(tokenizer.encode(row["question"])) < 480)
        rows = list(islice(fitting, 200))
    elif name == "bbq":
        lines = (test_data / "bias/bbq/Age.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[:200]]
    else:
        rows = crows_rows(test_data / "bias/crows-pairs/crows_pairs.csv")[:200]
    assert len(rows) == 200
    task = load_task(name, as_lines(tmp_path / "test.jsonl", rows), SHORT)
    settings = {"gen_kwargs": {"max_gen_toks": 12}} if name == "gsm8k" else {}
    theirs = samples_of(name, {"test": rows}, model=model, tokenizer=tokenizer, scratch=tmp_path, **settings)
    require_equal(task, theirs, model, tokenizer)


def test_the_record_says_which_task_on_which_rows_and_how_it_was_asked(home: Registry) -> None:
    stored = evaluated(home)
    record = stored.record
    facts = record.stated_tasks["task-gsm8k"]
    declared = declared_task("gsm8k")
    assert (facts["version"], facts["definition_sha256"]) == (declared.version, str(declared.digest))
    assert facts["harness"] == f"lm_eval {declared.harness}"
    assert facts["examples"] == {"count": 0}
    assert facts["generation"]["max_gen_toks"] == 12 and facts["generation"]["do_sample"] is False
    assert record.stated_plan["tasks"] == record.extra["tasks"]
    used = {one.name: one for one in record.datasets}
    assert (used["task-gsm8k"].rows_used, used["task-gsm8k"].version) == (12, f"task version {declared.version}")
    readings = [row for row in read_items(stored.items) if isinstance(row, Reading)]
    assert {(row.dataset, row.arm) for row in readings} == {
        (name, arm) for name in ("task-gsm8k", "task-arc_easy") for arm in ("base", "adapted")
    }
    paired = {(one["dataset"], one["metric"]): one for one in record.extra["further"]["measures"]}
    assert paired["task-arc_easy", "acc"]["n"] == 12
    for metric in ("exact_match.strict-match", "exact_match.flexible-extract"):
        one = paired["task-gsm8k", metric]
        assert one["change"] == pytest.approx(one["after"] - one["before"])


def test_a_training_asks_the_tasks_of_its_file(home: Registry, embedded) -> None:
    trained = evaluated(home, by="trainer")
    data = home.folder.parent / "data"
    task = load_task("arc_challenge", data, TaskSettings(examples=0, limit=8, seed=4))
    with in_float32(embedded[0]):
        readings = task.measure(*embedded, arm="base")
    rows = measured_rows(trained, "task-arc_challenge")
    assert [row for row in rows if row[1] == "base"] == sorted((row.id, "base", row.values) for row in readings)
    assert len(rows) == 16 and len(measured_rows(trained, "task-gsm8k_cot_zeroshot")) == 12
    assert trained.record.stated_tasks["task-arc_challenge"] == dict(task.facts)
    assert task.facts["rows_seed"] == 4 and trained.record.seeds["bootstrap"] == 7
    assert recheck(trained.record, trained.items) == ()
    (again,) = score_each_again(home, version_named(home, "cats:1"), [trained], count=6, data=data)
    assert again.startswith("12 scores repeated"), "both arms, of the task whose rows are given"


def test_a_training_tells_what_its_tasks_cost_and_how_they_came_out(home: Registry) -> None:
    said = (home.folder.parent / "said.txt").read_text().splitlines()
    cost = [line for line in said if line.startswith("cost")]
    assert "answers of up to 144 tokens are written one token at a time" in cost[0]  # 6 rows of 12 tokens, twice
    assert any(line.startswith("task gsm8k_cot_zeroshot exact_match.strict-match 0.000 → ") for line in said)
    assert any(line.startswith("task arc_challenge acc 0.") and "95 % interval" in line for line in said)


def test_tasks_leave_the_weights_as_they_are_and_other_rows_of_a_task_are_another_question(home: Registry) -> None:
    from peft_registry.trainer.inputs.training_file import load_training_file
    from peft_registry.trainer.use_cases.train import train_and_register
    from peft_registry.trainer.use_cases.train_start import registered_before

    file = home.folder.parent / "train.yml"
    base, known = version_named(home, "tiny:1"), version_named(home, "cats:1")
    without = train_and_register(home, file, ("evaluation.tasks=[]", "name=alone"))
    assert without.version.weights_digest == known.weights_digest
    loaded = load_training_file(file)
    assert registered_before(home, loaded, base) == known
    rows = home.folder.parent / "data/arc_challenge/test.jsonl"
    as_lines(rows, SCIENCE[1:])
    assert registered_before(home, loaded, base) is None
    as_lines(rows, SCIENCE[2:])


def test_what_the_base_was_asked_before_is_left_out_of_the_costs(home: Registry, capsys) -> None:
    assert run(["estimate", f"{home.folder.parent}/train.yml", "--output", "json", "--home", str(home.folder)]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["written"]["value"] == 72, "of 6 rows of 12 tokens in two arms those of the result are left"
    assert "that the base has answered before" in asked["scored"]["method"]


@pytest.mark.parametrize(
    ("task", "error"),
    [
        ("{name: gsm8, data: data}", UnknownTask),
        ("{name: mmlu, data: data}", TaskIsGroup),
        ("{name: humaneval, data: data}", TaskRefused),
        ("{name: gsm8k, data: nowhere}", TaskDataAbsent),
        ("{name: gsm8k, data: data}", TaskDataMissing),  # its examples are of a split that is not here
        ("{name: gsm8k, data: rows.jsonl, fewshot: 0}", TaskUnusable),
        ("{name: gsm8k, data: data, fewshot: 0, max_new_tokens: 600}", TaskTooLong),
    ],
)
def test_a_task_that_cannot_be_asked_is_refused_before_the_base_is_read(
    home: Registry, task: str, error: type, monkeypatch
) -> None:
    import peft_registry.trainer.use_cases.train as train

    def read(*_: object) -> None:
        raise AssertionError("the base was read")

    monkeypatch.setattr(train, "checked_base", read)
    with pytest.raises(error):
        train.train_and_register(home, home.folder.parent / "train.yml", (f"evaluation.tasks=[{task}]", "name=other"))


def test_a_limit_on_a_task_is_planned_in_the_log_and_broken_by_its_interval(home: Registry) -> None:
    record = evaluated(home).record
    (verdict,) = verdicts_of(record)
    assert (verdict.dataset, verdict.figure, verdict.decision) == ("task-gsm8k", "exact_match.strict-match", "broken")
    assert record.extra["limits"]["not_planned"] is None and record.stated_plan["texts"].keys() >= {"task-gsm8k"}


def test_rows_that_were_trained_on_are_told(home: Registry) -> None:
    (found,) = (one for one in evaluated(home).record.leakage_check.datasets if one.dataset == "task-gsm8k")
    assert (found.kind, found.hits, found.items) == ("answers", 3, 12)


def test_the_figures_follow_without_the_harness_and_without_torch(home: Registry, tmp_path: Path) -> None:
    stored = evaluated(home)
    (tmp_path / "record.json").write_text(json.dumps(stored.record.to_json()))
    (tmp_path / "items.jsonl").write_bytes(stored.items)
    script = (
        "import json, sys\n"
        "for name in ('lm_eval', 'torch', 'datasets'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from peft_registry.registry.evaluation.recheck import recheck\n"
        "from peft_registry.schemas.evaluation import EvaluationRecord\n"
        "record = EvaluationRecord.from_json(json.loads(Path(sys.argv[1], 'record.json').read_text()))\n"
        "assert recheck(record, Path(sys.argv[1], 'items.jsonl').read_bytes()) == ()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    edited = stored.items.replace(b'"task-gsm8k"', b'"task-gsm9k"', 1)
    assert recheck(stored.record, edited)
    other = stored.record.extra | {"tasks": {"task-gsm8k": {"version": "9.0"}}}
    assert "extra.tasks" in str(recheck(stored.record.revised(extra=other), stored.items)[0])


def test_a_version_is_found_and_shown_by_what_a_task_measured(home: Registry, capsys) -> None:
    folder = ["--home", str(home.folder)]
    metric = "metric[task-arc_easy.acc]"
    assert run(["list", "--where", f"{metric}>=0", "--columns", f"version,{metric}", *folder]) == 0
    assert "cats:1" in capsys.readouterr().out
    assert run(["list", "--figures", *folder]) == 0
    assert "arc_challenge.acc" in capsys.readouterr().out  # the first of them by name
    assert run(["show", "cats:1", *folder]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("task ")]
    assert sorted(words[1:3] for words in shown) == sorted([
        ["gsm8k", "exact_match.strict-match"],
        ["gsm8k", "exact_match.flexible-extract"],
        ["arc_easy", "acc"],
        ["arc_easy", "acc_norm"],
        ["arc_challenge", "acc"],
        ["arc_challenge", "acc_norm"],
        ["gsm8k_cot_zeroshot", "exact_match.strict-match"],
        ["gsm8k_cot_zeroshot", "exact_match.flexible-extract"],
    ])  # fmt: skip
    assert all("→" in words and "interval" in " ".join(words) for words in shown)
    with open_registry(home.folder) as opened:
        (row,) = opened.versions("cats").frame().to_dict("records")
    assert row["metric"] == "arc_challenge.acc" and 0 <= row["metric_value"] <= 1
    version = version_named(home, "cats:1")
    card = own_card(version, records_of(home, version).statements)
    assert card is not None
    assert b"- Task arc\\_" in home.store.read_bytes(card.predicate.sha256)
    assert run(["report", "cats:1", "--out", "-", *folder]) == 0
    assert "task-gsm8k: exact_match.strict-match" in capsys.readouterr().out


def test_a_policy_asks_for_the_figure_of_a_task(home: Registry, tmp_path: Path, capsys) -> None:
    def explained(rule: str) -> tuple[int, str]:
        policy = tmp_path / "policy.yml"
        policy.write_text(f"name: tutors\nabout: what a tutor has to know\nmetrics: [{rule}]\n")
        asked = ["promote", "cats:1", "champion", "--policy", str(policy), "--explain", "--home", str(home.folder)]
        return run(asked), " ".join(capsys.readouterr().out.split())

    assert explained("{metric: task-arc_easy.acc, at_least: 0, change_at_least: -1}")[0] == 0
    code, said = explained("{metric: task-gsm8k.exact_match.strict-match, at_least: 0.5}")
    assert code == 3 and "metric: task-gsm8k.exact_match.strict-match says nothing: 3 of 12 items" in said
    code, said = explained("{metric: task-arc_easy.acc, at_least: 0, fewshot: 5}")
    assert code == 3 and "`registry evaluate cats:1 --task arc_easy --data PLACE --fewshot 5`" in said


def test_python_asks_a_task_too_and_takes_what_was_measured_before(home: Registry) -> None:
    with open_registry(home.folder) as registry:
        (done,) = registry.evaluate("cats:1", (), tasks="arc_easy", data=home.folder.parent / "data", limit=6)
    assert done.record.datasets[-1].rows_used == 6
    # two measures of each row were known of each arm
    assert done.record.extra["reused_scores"]["adapted"] >= 12


def test_a_sample_is_asked_again_on_the_same_rows_alone(home: Registry, tmp_path: Path) -> None:
    version, stored = version_named(home, "cats:1"), evaluated(home)
    folder = home.folder.parent / "data"
    (said,) = score_each_again(home, version, [stored], count=4, data=folder)
    assert said.startswith("8 scores repeated")
    with pytest.raises(NothingToScore, match="cats:1"):
        score_each_again(home, version, [stored], count=4)
    as_lines(tmp_path / "test.jsonl", SUMS[1:])
    with pytest.raises(InputRefused):  # rows of one task are none of the other
        score_each_again(home, version, [stored], count=4, data=tmp_path)


def test_a_task_of_another_version_is_refused_and_told(home: Registry, monkeypatch, capsys) -> None:
    import peft_registry.trainer.evaluation.tasks.declared as declared

    stored = evaluated(home)
    own = declared._config_of

    def of_later_release(file: Path, folder: Path) -> dict[str, Any]:
        return own(file, folder) | {"metadata": {"version": 9.0}}

    monkeypatch.setattr(declared, "_config_of", of_later_release)
    with pytest.raises(TaskIsAnother, match="gsm8k") as refused:
        score_each_again(home, version_named(home, "cats:1"), [stored], count=4, data=home.folder.parent / "data")
    assert "version 9.0" in refused.value.why and "recorded version 3.0" in refused.value.why
    assert run(["evaluate", "cats:1", "--recheck", "--home", str(home.folder)]) == 0
    assert "asked in version 3.0" in capsys.readouterr().out


def test_figures_of_a_task_that_was_asked_otherwise_are_not_compared(tmp_path: Path) -> None:
    data = as_lines(tmp_path / "data/test.jsonl", SCIENCE).parent
    as_lines(data / "train.jsonl", SCIENCE[:6])
    used, with_example = (load_task("arc_easy", data, TaskSettings(examples=count)).dataset for count in (0, 1))
    assert _of_rows(used) != _of_rows(with_example)
    assert _difference(used, with_example) == "asked otherwise"
    assert (
        _difference(used, with_example.revised(version="task version 9.0")) == "task version 1.0 and task version 9.0"
    )
    as_lines(data / "test.jsonl", SCIENCE[1:])
    assert _difference(used, load_task("arc_easy", data, SHORT).dataset) == "on other rows"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("humaneval", "executes code that the model writes"),
        ("wikitext", "loglikelihood_rolling"),
        ("gsm8k_cot_self_consistency", "at random"),
        ("niah_single_1", "makes its rows by code"),
    ],
)
def test_a_task_that_executes_draws_or_makes_its_rows_is_refused(name: str, reason: str) -> None:
    with pytest.raises(TaskRefused) as refused:
        require_askable(declared_task(name))
    assert reason in refused.value.why


def test_a_name_of_no_task_and_of_a_group_are_refused() -> None:
    with pytest.raises(UnknownTask) as unknown:
        declared_task("gsm8")
    assert "gsm8k" in unknown.value.fix
    with pytest.raises(TaskIsGroup):
        declared_task("mmlu")


def test_what_a_task_would_fetch_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    rows = [{"CHQ": "MESSAGE: is water wet?", "Summary": "Is water wet?"}]
    with pytest.raises(TaskRefused, match="meqsum") as refused:  # its metrics download themselves when it is set up
        load_task("meqsum", as_lines(tmp_path / "rows.jsonl", rows), SHORT)
    assert "nothing is fetched" in refused.value.why
    with pytest.raises(TaskRefused, match="kobest_copa") as refused:
        load_task("kobest_copa", as_lines(tmp_path / "rows.jsonl", rows), SHORT)
    assert "f1, whose code is downloaded" in refused.value.why


def test_nothing_inside_reaches_another_machine_and_afterwards_everything_does() -> None:
    with without_network() as asked_for, pytest.raises(NetworkClosed):
        socket.getaddrinfo("models.example", 443)
    assert asked_for == ["models.example"]
    socket.getaddrinfo("127.0.0.1", 80)


def test_rows_that_are_missing_do_not_fit_or_are_too_long_are_refused(tmp_path: Path, embedded) -> None:
    with pytest.raises(TaskDataNeeded):
        load_task("gsm8k", None, SHORT)
    alone = as_lines(tmp_path / "alone.jsonl", SUMS)
    with pytest.raises(TaskDataMissing, match="train") as missing:
        load_task("gsm8k", alone, TaskSettings())
    assert "--fewshot 0" in missing.value.fix
    with pytest.raises(TaskUnusable):
        load_task("gsm8k", as_lines(tmp_path / "other.jsonl", [{"text": "no question"}]), SHORT)
    with pytest.raises(TaskTooLong):
        load_task("gsm8k", alone, SHORT).require_room(embedded[1], 20)
