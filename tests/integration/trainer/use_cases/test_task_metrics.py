"""Accuracy over classes and exact match of answers on held-out rows, before and after, in the template of the training."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report, render_report, report_inputs
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.progress import Event, Said
from peft_registry.schemas.run_samples import KeptSamples, RunSamples
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.evaluation.quality import AnswersNotRead, MetricOfOtherRows, PromptTooLong
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.estimate import estimate_run
from peft_registry.trainer.use_cases.train import train_and_register
from peft_registry.trainer.use_cases.train_plan import plan_training
from tests.builders.homes import NOW
from tests.builders.mirror import projection_of

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
# the second begins with the first: only what follows a class tells them apart
CLASSES = {"card": "My card {}.", "card lost": "Where is my card? I {}."}
ENDS = {"card": ("is too dark", "has no name on it"), "card lost": ("cannot find it", "left it on a train")}
PREFIXES = ("Hello. ", "Please help. ", "Good morning. ", "Excuse me. ", "Hi there. ", "Dear all. ")
ROWS = [
    {"text": prefix + CLASSES[label].format(end), "label": label}
    for prefix in PREFIXES
    for label, ends in ENDS.items()
    for end in ends
]
FILE = """\
name: intents
base: tiny
method: lora
lora: {r: 4, alpha: 8, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: classification}
  validation: {path: held.jsonl, format: classification}
training:
  {learning_rate: 1e-2, num_train_epochs: 12, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32, eval_steps: 8}
evaluation: {bias: [], quality: [loss, exact_match], samples: 2}
"""


@dataclass(frozen=True)
class Trained:
    registry: Registry
    version: Version
    folder: Path
    said: list[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("intents")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[8:]))
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:8]))
    (folder / "train.yml").write_text(FILE)
    said: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Said):
            said.append(f"{event.label} {event.text}")

    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    outcome = train_and_register(registry, folder / "train.yml", observe=observe)
    yield Trained(registry, outcome.version, folder, said)
    registry.close()


def chosen_classes(trained: Trained) -> dict[str, list[str]]:
    """What base and adapter choose by a loop of its own: the sum of log-probabilities of class and end of text."""
    pull_version(trained.registry, trained.version, trained.folder / "pulled")
    base = base_location(trained.registry.folder, version_named(trained.registry, "tiny").manifest_digest)
    assert base is not None
    model, tokenizer = load_base(base, dtype="fp32", device="cpu")
    adapted = PeftModel.from_pretrained(model, str(trained.folder / "pulled")).eval()

    def likelihood(text: str, label: str) -> float:
        prompt = tokenizer(f"{text}\n\n### Label:\n")["input_ids"]
        ids = tokenizer(f"{text}\n\n### Label:\n{label}")["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            scores = adapted(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        return float(sum(scores[at - 1, ids[at]] for at in range(len(prompt), len(ids))))

    def chosen() -> list[str]:
        return [max(CLASSES, key=lambda label, row=row: likelihood(row["text"], label)) for row in ROWS[:8]]

    with adapted.disable_adapter():
        before = chosen()
    return {"before": before, "after": chosen()}


def macro_f1_of(chosen: list[str]) -> float:
    rows = [(row["label"], answer) for row, answer in zip(ROWS[:8], chosen, strict=True)]
    scores = []
    for label in CLASSES:
        right = sum(pair == (label, label) for pair in rows)
        scores.append(2 * right / (sum(one == label for one, _ in rows) + sum(answer == label for _, answer in rows)))
    return sum(scores) / len(scores)


def test_accuracy_is_that_of_an_independent_loop_with_classes_that_begin_alike(trained: Trained) -> None:
    (stored,) = stored_evaluations(trained.registry, trained.version)
    measures = {measure["metric"]: measure for measure in recorded_measures(stored.record)}
    accuracy = measures["accuracy"]
    assert accuracy["dataset"] == "held-out-classes"
    chosen = chosen_classes(trained)
    for arm, answers in chosen.items():
        right = sum(answer == row["label"] for answer, row in zip(answers, ROWS[:8], strict=True))
        assert accuracy[arm] == right / 8
        assert measures["macro_f1"][arm] == pytest.approx(macro_f1_of(answers), abs=1e-6)
    assert measures["macro_f1"]["before"] < 1
    assert accuracy["after"] == 1, "the shorter class, which is always likelier without its end, does not win"
    assert measures["exact_match"]["after"] == 1
    assert measures["exact_match"]["before"] == 0
    assert any(line.startswith("answers accuracy ") and "→ 1.000" in line and "n=8" in line for line in trained.said)


def test_samples_are_answered_before_and_after_and_stand_on_the_page_that_is_made_here_alone(trained: Trained) -> None:
    run = records_of(trained.registry, trained.version).run
    assert run is not None
    assert run.samples is not None
    kept = RunSamples.from_json(json.loads(trained.registry.store.read_bytes(run.samples.sha256)))
    assert KeptSamples.of(kept) == run.samples
    assert [(sample.answer, sample.after) for sample in kept.samples] == [
        (row["label"], row["label"]) for row in ROWS[:2]
    ]
    first = kept.samples[0]
    assert first.before != first.after
    at = trained.said.index(f"sample {' '.join(first.prompt.split())}")
    assert trained.said[at + 1 : at + 4] == [f"wanted {first.answer}", f"before {first.before}", f"after {first.after}"]
    assert ROWS[0]["text"] in make_report(trained.registry, trained.version).decode()
    copies = [
        render_report(trained.registry, report_inputs(trained.registry, trained.version)),  # as MLflow has it
        run.to_canonical(),
        *(stored.statement.to_canonical() for stored in records_of(trained.registry, trained.version).statements),
    ]
    assert not [copy for copy in copies if ROWS[0]["text"].encode() in copy]


def test_the_curve_of_the_looks_begins_and_ends_at_the_figures_of_the_evaluation(trained: Trained) -> None:
    (stored,) = stored_evaluations(trained.registry, trained.version)
    measures = {measure["metric"]: measure for measure in recorded_measures(stored.record)}
    points = [point for point in projection_of(trained.registry, trained.version).run.metrics if not point.final]
    for metric in ("accuracy", "macro_f1", "exact_match", "f1"):
        # as the evaluation, `registry list` and a policy call it
        name = f"{measures[metric]['dataset']}.{metric}"
        curve = {point.step: point.value for point in points if point.key == f"quality/{name}"}
        assert sorted(curve) == [0, 8, 16, 24]
        ends = {"before": curve[0], "after": curve[24]}
        assert ends == {arm: pytest.approx(measures[metric][arm], abs=1e-5) for arm in ends}
    flop = records_of(trained.registry, trained.version).run
    assert flop is not None
    assert "while it trained" in str(flop.compute.evaluation_flop.method)


def test_the_figures_follow_from_the_item_table(trained: Trained) -> None:
    (stored,) = stored_evaluations(trained.registry, trained.version)
    assert recheck(stored.record, stored.items) == ()


@pytest.mark.parametrize(
    ("metric", "file", "refused"),
    [
        ("macro_f1", "prompt_completion", MetricOfOtherRows),
        ("f1", "text", AnswersNotRead),
        ("number_match", "prompt_completion", MetricOfOtherRows),
        ("number_match", "messages", AnswersNotRead),
    ],
)
def test_a_metric_that_does_not_fit_the_rows_is_refused_before_training_and_by_an_estimate(
    metric: str, file: str, refused: type[InputRefused], trained: Trained
) -> None:
    rows = [
        {
            "prompt": row["text"],
            "completion": row["label"],
            "text": row["text"],
            "messages": [{"role": "user", "content": row["text"]}, {"role": "assistant", "content": "#### 4"}],
        }
        for row in ROWS
    ]
    (trained.folder / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = (
        "name=other",
        f"data.train={{path: other.jsonl, format: {file}}}",
        "data.validation={fraction: 0.25}",
        f"evaluation.quality=[{metric}]",
    )
    with pytest.raises(refused, match=f"evaluation.quality asks for {metric}"):
        train_and_register(trained.registry, trained.folder / "train.yml", overrides)
    with pytest.raises(refused, match=f"evaluation.quality asks for {metric}"):
        estimate_run(trained.registry, trained.folder / "train.yml", overrides)
    if (metric, file) != ("number_match", "prompt_completion"):  # whose answers have to be read
        with pytest.raises(refused, match=f"evaluation.quality asks for {metric}"):
            plan_training(trained.registry, trained.folder / "train.yml", overrides)


def test_a_held_out_row_without_room_for_its_answer_is_refused_before_training(trained: Trained) -> None:
    (trained.folder / "long.jsonl").write_text(json.dumps({"text": "a card " * 166, "label": "card"}) + "\n")
    overrides = (
        "name=other",
        "data.train.rows=8",
        "data.validation.path=long.jsonl",
        "training.max_length=512",
    )
    with pytest.raises(PromptTooLong, match="row-000000"):
        train_and_register(trained.registry, trained.folder / "train.yml", overrides)
