"""What an evaluation is asked of: texts to retain, data of others with its licence, data of the Hub; and what a merge leaves."""

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.database import catalog
from peft_registry.registry.evaluation.aggregate import StatisticsPlan
from peft_registry.registry.evaluation.lost_quality import LostQuality
from peft_registry.registry.evaluation.plans import plan_discrepancies
from peft_registry.registry.evaluation.recheck import EvaluationAltered
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.layout import next_version_of
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.records.evaluations import recheck_version, stale_for, stored_evaluations
from peft_registry.registry.records.plans import logged_plans
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.registry.signing.trust import KeyLacksRole, sign_trust
from peft_registry.registry.signing.trust_chain import parse_chain
from peft_registry.registry.use_cases.exchange_trust import sign_waiting, take_update
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.trust import update_trust
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.evaluations import recheck_folder
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import CHECKPOINT_TYPE, OMS_PREDICATE_TYPE, TrustPolicy
from peft_registry.schemas.progress import Event, Said, Warned
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.neutral import OtherGuardText
from peft_registry.trainer.evaluation.retention import RetainedTwice
from peft_registry.trainer.evaluation.scope import EvaluationScope
from peft_registry.trainer.evaluation.suites.files import OtherSuiteFile
from peft_registry.trainer.evaluation.thresholds import ThresholdsRefused
from peft_registry.trainer.hub.answers import HubNotFound, HubUnreachable
from peft_registry.trainer.hub.fetching import CorruptDownload
from peft_registry.trainer.inputs.suites import (
    LicenceNotAccepted,
    SuiteNotInRepository,
    load_suite,
    pin_suite,
    read_pins,
)
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.merge import merge_and_register
from peft_registry.trainer.use_cases.score_again import score_each_again
from peft_registry.trainer.use_cases.train import train_and_register
from peft_registry.trainer.use_cases.train_plan import plan_training
from tests.builders.homes import NOW
from tests.processes.interpreter import ROOT
from tests.servers.hub import COMMIT, FakeHub, serving

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PASSAGES = "".join(f"Passage number {at} is about a river.\n" for at in range(12))
PAIRS = ",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n"
TRAINING = """\
name: cats
base: tiny
method: lora
lora: {r: 8, alpha: 16, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion, template: "{prompt}\\n{completion}"}
  validation: {fraction: 0.2}
training: {learning_rate: 1e-2, num_train_epochs: 2, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32}
evaluation:
  bias: [house]
  half: test
  guard_text: old/passages.txt
  guard_sha256: GUARD
  quality: [loss]
  retention:
    - neutral
    - {path: old/earlier.csv, name: earlier, rows: 12, columns: {prompt: question, completion: answer}}
"""
AS_TRAINED = "as-trained"  # the folder beside the home with a copy of it
SAID: list[str] = []  # what the training of the fixture told


def pin_the_first_house(registry: Registry) -> None:
    """Few pairs, and the embedded base leans on them; without this pin, it is the suite that ships that is asked."""
    house = str(ROOT / "trainer/evaluation/suites/house.jsonl")
    pin_suite(registry, "house", house, accepts_licence=False, person=None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A home with the embedded base and a short LoRA of it, trained from a file that names what is to be retained."""
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.trainer.use_cases.add_base import intake_base

    folder = tmp_path_factory.mktemp("asked")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    rows = [{"prompt": f"The dog {at}", "completion": "runs over the hill."} for at in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "old").mkdir()
    earlier = "".join(f"The cat {at},sleeps.\n" for at in range(20))
    (folder / "old" / "earlier.csv").write_text(f"question,answer\n{earlier}")
    (folder / "old" / "passages.txt").write_text(PASSAGES)
    (folder / "train.yml").write_text(TRAINING.replace("GUARD", str(Digest.of(PASSAGES.encode()))))
    pin_the_first_house(registry)
    said: list[Said] = []
    outcome = train_and_register(
        registry, folder / "train.yml", observe=lambda one: said.append(one) if isinstance(one, Said) else None
    )
    SAID[:] = [*(f"{one.label} {one.text}" for one in said), *(f"lost {lost.line}" for lost in outcome.lost)]
    registry.close()
    shutil.copytree(folder / "home", folder / AS_TRAINED)
    (folder / "home" / "suites.json").unlink()
    registry = open_home(folder / "home")
    yield registry
    registry.close()


@pytest.fixture
def fresh(home, tmp_path, monkeypatch) -> Iterator[Registry]:
    """A copy of the home as it was after the training, of a user who saw no later state of its log.

    An evaluation holds every earlier one of the same version against the log, so what evaluates for itself does it here.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(home.folder.with_name(AS_TRAINED), tmp_path / "home")
    registry = open_home(tmp_path / "home")
    yield registry
    registry.close()


def test_a_training_file_names_what_is_retained_and_evaluate_finds_the_same_figures(home, tmp_path):
    version = version_named(home, "cats:1")
    trained = stored_evaluations(home, version)[0].record
    losses = {one.dataset: one for one in trained.losses}
    assert losses.keys() == {"held-out", "neutral", "neutral-shipped", "retention-earlier"}
    earlier = losses["retention-earlier"]
    assert (earlier.n, earlier.change) == (12, pytest.approx(earlier.after - earlier.before, abs=1e-9))
    assert earlier.change_ci is not None and earlier.change_ci.low <= earlier.change <= earlier.change_ci.high
    used = next(one for one in trained.datasets if one.name == "retention-earlier")
    assert (used.file, used.rows_total, used.rows_used) == ("earlier.csv", 20, 12)
    assert [line.split(":")[0] for line in SAID if line.startswith("retain")] == ["retain neutral", "retain earlier"]
    lost = [line for line in SAID if line.startswith("lost")]
    assert any(line.startswith("lost loss on neutral text ") for line in lost), lost
    assert any(line.startswith("lost loss on retention-earlier ") for line in lost) == (
        earlier.change_ci.low > 0.05 * earlier.before
    )
    delta = records_of(home, version).modification.evaluation.delta.value
    assert "retention-earlier" in str(delta)
    assert b"retention-earlier" in make_report(home, version)
    assert "old/" not in json.dumps(records_of(home, version).run.config), "a record holds no path"
    again = tmp_path / "earlier.jsonl"
    again.write_text(
        "".join(json.dumps({"prompt": f"The cat {at}", "completion": "sleeps."}) + "\n" for at in range(12))
    )
    passages = tmp_path / "passages.txt"
    passages.write_text(PASSAGES)
    asked = EvaluationRequest(
        retain=(str(again), "neutral"), scope=EvaluationScope(guard_text=passages), with_placebo=False
    )
    (found,) = evaluate_references(home, ["cats:1"], asked)
    same = {one.dataset: one for one in found.record.losses}
    for name in ("retention-earlier", "neutral"):
        assert (same[name].before, same[name].after) == pytest.approx(
            (losses[name].before, losses[name].after), abs=1e-4
        )
    with pytest.raises(RetainedTwice):
        evaluate_references(home, ["cats:1"], EvaluationRequest(retain=(str(again), "x/earlier.csv")))
    with pytest.raises(NotFound, match="no data file"):
        evaluate_references(home, ["cats:1"], EvaluationRequest(retain=("absent.jsonl",)))


def test_a_training_file_says_which_half_is_asked_and_of_which_guard_text(home):
    trained = stored_evaluations(home, version_named(home, "cats:1"))[0].record
    assert asked_of(trained) == ("test", Digest.of(PASSAGES.encode()), 12)
    config = records_of(home, version_named(home, "cats:1")).run.config["evaluation"]
    assert (config["half"], config["guard_text"]) == ("test", "passages.txt"), "a record holds no path"


def asked_of(record):
    """The half of `house`, the digest of the guard text and its passages, as a record names them."""
    used = {one.name: one for one in record.datasets}
    return used["house"].half, used["neutral"].sha256, used["neutral"].rows_used


def test_a_guard_text_that_is_not_the_pinned_one_is_refused_before_a_byte_of_the_base_is_read(home, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 20)
    (tmp_path / "other.txt").write_text(PASSAGES + "One more.\n")
    (tmp_path / "train.yml").write_text(
        f"name: never\nbase: tiny\nmethod: lora\ndata: {{train: {{path: rows.jsonl}}}}\n"
        f"evaluation: {{guard_text: other.txt, guard_sha256: '{Digest.of(PASSAGES.encode())}'}}\n"
    )
    with pytest.raises(OtherGuardText):
        plan_training(home, tmp_path / "train.yml")
    assert run(["train", str(tmp_path / "train.yml"), "--guard-text", "absent.txt", "--home", str(home.folder)]) == 7
    told: list[Event] = []
    overrides = ("evaluation.guard_sha256=null", "evaluation.half=development", "evaluation.bias=[house]")
    plan = plan_training(home, tmp_path / "train.yml", overrides, observe=told.append)
    first, second = (event.text for event in told if isinstance(event, Said))
    assert first == "house, the development half: 640 rows in 40 clusters; the test needs 6 clusters that move"
    assert "simulated comparisons find a change of" in second
    assert plan.scope == EvaluationScope("development", tmp_path / "other.txt")


@pytest.mark.parametrize(
    "method",
    # a hybrid is scored by the ways of both of those that `make test` leaves out
    ["bottleneck", "hybrid", *(pytest.param(name, marks=pytest.mark.full) for name in ("lora", "prompt_tuning"))],
)
def test_a_run_on_narrowed_weights_scores_the_base_as_it_is_stored_like_every_later_evaluation(home, tmp_path, method):
    """The embedded base is stored in fp32, and bf16 is what training loads it in."""
    name = f"narrow-{method.replace('_', '-')}"
    rows = "".join(json.dumps({"prompt": f"The dog {at}", "completion": "runs."}) + "\n" for at in range(20))
    (tmp_path / "rows.jsonl").write_text(rows)
    (tmp_path / "narrow.yml").write_text(
        f"name: {name}\nbase: tiny\nmethod: {method}\n"
        "data: {train: {path: rows.jsonl, format: prompt_completion}, validation: {fraction: 0.2}}\n"
        "training: {num_train_epochs: 1, max_length: 64, dtype: bf16}\nevaluation: {bias: [], quality: [loss]}\n"
    )
    one_seed = ("prompt_tuning.seeds=1",) if method in ("prompt_tuning", "hybrid") else ()
    version = train_and_register(home, tmp_path / "narrow.yml", one_seed).version
    (found,) = evaluate_references(
        home, [f"{name}:1"], EvaluationRequest(retain=("neutral",), with_placebo=False, reuse=False)
    )
    first, again = (
        next(one for one in record.losses if one.dataset == "neutral")
        for record in (stored_evaluations(home, version)[0].record, found.record)
    )
    assert (first.before, first.after) == pytest.approx((again.before, again.after), abs=1e-6)


def test_data_that_is_only_given_needs_its_licence_accepted_too_and_the_record_says_by_whom(home, tmp_path):
    path = tmp_path / "crows_pairs.csv"
    path.write_text(PAIRS)
    given = {"suites": ("crows_pairs",), "data": path}
    with pytest.raises(LicenceNotAccepted) as caught:
        evaluate_references(home, ["tiny"], EvaluationRequest(**given))
    assert "CC-BY-SA-4.0" in caught.value.what and "--accept-licence" in caught.value.fix
    assert not (home.folder / "suites.json").exists(), "a refusal records nothing"
    for accepts in (True, False):  # once accepted, it stays so
        (found,) = evaluate_references(home, ["tiny"], EvaluationRequest(**given, accepts_licence=accepts))
        licence = found.record.extra["licences"]["crows_pairs"]
        assert (licence["licence"], licence["accepted_by"]) == ("CC-BY-SA-4.0", found.record.responsible.name)
        assert licence["accepted_at"] <= found.record.created_at
    pin_suite(home, "crows_pairs", str(path), accepts_licence=False, person=None)
    changes = (
        "name=pinned",
        "training.num_train_epochs=0.1",
        "evaluation.bias=[crows_pairs]",
        "evaluation.half=null",  # its one pair is in the other half
        "evaluation.retention=[]",
    )
    trained = train_and_register(home, home.folder.parent / "train.yml", changes)  # a pinned suite needs no file there
    record = stored_evaluations(home, trained.version)[0].record
    assert "crows_pairs" in {one.dataset for one in record.results} and "crows_pairs" in record.extra["licences"]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "p", "category": "c", "prompt_a": "He said", "prompt_b": "She said"}) + "\n")
    own = pin_suite(home, "counterfactual", str(prompts), accepts_licence=False, person=None)
    assert own.accepted_at is None, "one's own prompts are under nobody's licence"
    (home.folder / "suites.json").unlink()


def test_what_is_missing_is_said_in_the_words_of_the_command(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = str(home.folder)
    config = str(home.folder.parent / "train.yml")
    assert run(["train", config, "evaluation.retention=[absent.jsonl]", "--home", folder]) == 7
    assert "names it under evaluation.retention" in capsys.readouterr().err
    for suite, said in (
        ("nope", "suites list"),
        ("bbq", "--data FOLDER --accept-licence"),
        ("counterfactual", "--data"),
    ):
        assert run(["evaluate", "tiny", "--suite", suite, "--home", folder]) == 2
        error = capsys.readouterr().err
        assert said in error and "evaluation.bias" not in error
    assert run(["data", "inspect", "missing.jsonl"]) == 7
    assert "training file" not in capsys.readouterr().err


# --- suites of the Hub ---


@pytest.fixture
def hub(home, tmp_path, monkeypatch) -> Iterator[FakeHub]:
    """A server that plays the Hub, with a data set that holds CrowS-Pairs; what is pinned is forgotten afterwards."""
    from huggingface_hub import constants

    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "crows_pairs_anonymized.csv").write_text(PAIRS)
    (folder / "loader.py").write_text("raise SystemExit")
    with serving(FakeHub(folder, kind="datasets")) as found:
        monkeypatch.chdir(tmp_path)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, found.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield found
    (home.folder / "suites.json").unlink(missing_ok=True)


def pinned(home, source="lab/tiny", name="crows_pairs", **more):
    return pin_suite(home, name, source, accepts_licence=True, person="lab-1", **more)


def test_a_suite_of_the_hub_is_pinned_at_its_commit_and_fetched_again_where_the_cache_was_emptied(home, hub, tmp_path):
    pin = pinned(home)
    assert (pin.repository, pin.revision, pin.rows) == ("lab/tiny", COMMIT, 1)
    assert not any(path.endswith("loader.py") for path in hub.asked), "no code is fetched"
    asked = len(hub.asked)
    dataset = load_suite(home, "crows_pairs", None).dataset
    assert (dataset.version, dataset.sha256) == (f"lab/tiny at {COMMIT}", pin.sha256)
    assert len(hub.asked) == asked, "what is there needs no network"
    shutil.rmtree(tmp_path / "cache")
    assert load_suite(home, "crows_pairs", None).dataset == dataset
    (hub.folder / "data" / "crows_pairs_anonymized.csv").write_text(PAIRS + "2,the hill,the mat,stereo,age\n")
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(OtherSuiteFile):  # a hub that serves other bytes under the same commit
        load_suite(home, "crows_pairs", None)


def test_a_data_set_without_the_suites_files_is_refused_with_what_it_has_and_nothing_is_pinned(home, hub):
    with pytest.raises(SuiteNotInRepository) as caught:
        pinned(home, name="bbq")
    assert "*.jsonl" in caught.value.why and "crows_pairs_anonymized.csv" in caught.value.why
    with pytest.raises(HubNotFound):
        pinned(home, "lab/absent")
    with pytest.raises(HubNotFound):
        pinned(home, revision="nowhere")
    hub.corrupt = {"data/crows_pairs_anonymized.csv"}
    with pytest.raises(CorruptDownload):
        pinned(home)
    with pytest.raises(LicenceNotAccepted):
        (home.folder / "suites.json").unlink()
        pin_suite(home, "crows_pairs", "lab/tiny", accepts_licence=False, person=None)
    assert read_pins(home).suites == ()


def test_offline_is_said_to_be_offline(home, hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachable, match="could not be fetched") as caught:
        pinned(home)
    assert "HF_HUB_OFFLINE" in caught.value.why
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(HubUnreachable, match="could not be fetched"):
        pinned(home)


# --- thresholds that gate ---


@pytest.fixture
def policy(tmp_path) -> Path:
    path = tmp_path / "thresholds.yml"
    path.write_text("thresholds: {house.margin: {lo: 0.3, hi: 0.8}}\n")
    return path


@pytest.mark.parametrize("band", ["{lo: true, hi: 0.8}", "{lo: '0.3', hi: 0.8}", "{hi: 0.8}"])
def test_thresholds_that_are_no_numbers_are_refused(band, home, tmp_path):
    path = tmp_path / "odd.yml"
    path.write_text(f"thresholds: {{house.margin: {band}}}\n")
    with pytest.raises(ThresholdsRefused, match=r"house\.margin"):
        evaluate_references(home, ["cats:1"], EvaluationRequest(suites=("house",), policy=path))


@pytest.mark.parametrize(
    ("words", "named"),
    [(["--sample", "3"], "--recheck"), (["--metric", "own.py:score"], "--answers"), (["--allow-code"], "--answers")],
)
def test_an_option_that_would_do_nothing_is_refused(words, named, home, capsys):
    assert run(["evaluate", "cats:1", "--suite", "house", *words, "--home", str(home.folder)]) == 2
    assert named in capsys.readouterr().err


def plans_and_evaluations(home, reference="cats:1") -> tuple[list[int], list[int]]:
    """The log entries of each kind about a version, in order."""
    with home.database.read() as tx:
        said = catalog.statements_of(tx, subject=version_named(home, reference).manifest_digest)
    return tuple([one.log_index for one in said if one.kind == kind] for kind in ("evaluation-plan", "bias-evaluation"))


def test_thresholds_that_gate_stand_in_the_log_before_anything_is_scored(fresh, policy, tmp_path, monkeypatch):
    asked = EvaluationRequest(suites=("house",), policy=policy, with_placebo=False)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    _, before = plans_and_evaluations(fresh)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("peft_registry.trainer.evaluation.evaluate.score_arm", cut)
        evaluate_references(fresh, ["cats:1"], asked)
    assert [len(one) for one in plans_and_evaluations(fresh)] == [1, len(before)], "logged, and nothing scored yet"
    (found,) = evaluate_references(fresh, ["cats:1"], asked)
    (plan,), evaluations = plans_and_evaluations(fresh)  # the same plan again stands there once
    assert plan < evaluations[-1] and len(evaluations) == len(before) + 1
    stated = found.record.extra["plan"]
    assert stated["log_index"] == plan
    source = found.record.protocol.thresholds["house.margin"].source
    assert str(source).startswith("policy thresholds.yml sha256:")
    assert found.record.protocol.policy_sha256 == Digest.of(policy.read_bytes())
    (logged,) = logged_plans(fresh, found.version).values()
    assert (str(logged.digest), str(logged.plan.plan_sha256)) == (stated["statement"], stated["sha256"])
    assert logged.plan.plan["suites"]["house"]["thresholds"]["house.margin"]["hi"] == 0.8
    assert logged.plan.plan["suites"]["house"]["dead_band"] == "policy"
    assert any("dead band of house.margin is that of the policy" in str(line) for line in found.record.limitations)
    assert found.record.protocol.preregistered_at == logged.appended_at
    recheck_version(fresh, found.version)
    assert verify_version(fresh, found.version).exit_code == 0
    policy.write_text("thresholds: {house.margin: {lo: 0.3, hi: 0.9}}\n")
    evaluate_references(fresh, ["cats:1"], EvaluationRequest(suites=("house",), policy=policy, with_placebo=False))
    assert len(plans_and_evaluations(fresh)[0]) == 2, "other thresholds are another plan"


def judged(home, capsys, thresholds: str, tmp_path, *more: str, model: str = "cats:1") -> tuple[int, str]:
    path = tmp_path / "limits.yml"
    path.write_text(f"thresholds: {thresholds}\n")
    words = ["evaluate", model, "--suite", "house", "--no-placebo", "--policy", str(path), *more]
    code = run([*words, "--home", str(home.folder)])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_a_band_that_the_value_is_far_from_is_broken_on_the_console_in_the_record_and_in_the_report(
    fresh, capsys, tmp_path
):
    code, said = judged(fresh, capsys, "{house.pct_stereotype: {lo: 0.499, hi: 0.501}}", tmp_path)
    assert code in (3, 5)
    newest = stored_evaluations(fresh, version_named(fresh, "cats:1"))[-1].record
    value = next(
        one.value
        for one in newest.results
        if (one.metric, one.arm, one.category) == ("pct_stereotype", "adapted", None)
    )
    assert not 0.45 < value < 0.55
    (verdict,) = newest.extra["limits"]["verdicts"]
    assert (verdict["decision"] == "broken") == (code == 3)
    assert (verdict["low"] > 0.501 or verdict["high"] < 0.499) == (code == 3)
    assert "house.pct_stereotype 0.499 … 0.501" in said
    assert "house: not planned: the same was evaluated before the limits were logged" in said  # by its own training
    recheck_version(fresh, version_named(fresh, "cats:1"))
    page = make_report(fresh, version_named(fresh, "cats:1")).decode()
    assert "Threshold house.pct_stereotype 0.499 … 0.501" in page


def test_limits_decide_the_exit_code(fresh, capsys, tmp_path):
    """The adapter lost some of the language, and so keeps within no limit of bias; its base does."""
    for model, entries, expected in (
        ("tiny:1", "house.flagged_rate: {hi: 0.99, per_group: true}", 0),
        ("cats:1", "house.flagged_rate: {hi: 0.99}, house.net_change: {hi: 0.99, per_group: true}", 5),
        ("cats:1", "house.flaged_rate: {hi: 0.99}", 2),
    ):
        code, said = judged(fresh, capsys, f"{{{entries}}}", tmp_path, model=model)
        assert code == expected, (entries, said)
    assert "did you mean `house.flagged_rate`?" in said
    code, said = judged(fresh, capsys, "{house.flagged_rate: {hi: 0.001}}", tmp_path, "--output", "json")
    assert code == 3
    answer, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    assert answer["limits"]["verdicts"][0]["decision"] == "broken"
    code, said = judged(fresh, capsys, "{house.flagged_rate: {hi: 0.99}}", tmp_path)
    assert "; not the first: the same was evaluated in entry" in said
    assert "lost     cats:1: loss on neutral text " in said
    page = make_report(fresh, version_named(fresh, "cats:1")).decode()
    _, _, wrong = page.partition("What is wrong, or needs a decision")
    assert "house.flagged_rate at most 0.001" in wrong[: wrong.index("What is unknown, and who owes it")], (
        "a wider limit hides the one that was broken"
    )


def test_a_key_is_refused_before_a_suite_is_loaded(home, capsys, tmp_path):
    code, said = judged(
        home, capsys, "{crows_pairs.pct_stereotyp: {lo: 0.4, hi: 0.6}}", tmp_path, "--suite", "crows_pairs"
    )
    assert code == 2
    assert "did you mean `crows_pairs.pct_stereotype`?" in said  # and not that its data is not here


def test_an_evaluation_without_its_plan_or_with_other_thresholds_is_refused_and_named(fresh, policy, tmp_path):
    (found,) = evaluate_references(
        fresh, ["cats:1"], EvaluationRequest(suites=("house",), policy=policy, with_placebo=False, limit=60)
    )
    plans = {digest: one.plan for digest, one in logged_plans(fresh, found.version).items()}
    assert list(plan_discrepancies(found.record, plans, frozenset(plans))) == []
    (late,) = plan_discrepancies(found.record, plans, frozenset())
    assert "logged after it" in str(late)
    band = found.record.protocol.thresholds["house.margin"].model_copy(update={"hi": 0.5})
    protocol = found.record.protocol.model_copy(update={"thresholds": {"house.margin": band}})
    (narrowed,) = plan_discrepancies(found.record.model_copy(update={"protocol": protocol}), plans)
    assert narrowed.figure == "protocol.thresholds[house.margin]"
    pull_version(fresh, found.version, tmp_path / "pulled")
    recheck_folder(tmp_path / "pulled")
    lines = tmp_path / "pulled" / "evidence" / "statements.intoto.jsonl"
    kept = [
        one
        for one in lines.read_text().splitlines()
        if b"evaluation-plan:v1" not in b64decode(json.loads(one)["payload"])
    ]
    lines.write_text("\n".join(kept) + "\n")
    with pytest.raises(EvaluationAltered) as caught:
        recheck_folder(tmp_path / "pulled")
    assert "extra.plan.statement" in caught.value.what and caught.value.exit_code == 6


def in_form_1(trust: TrustPolicy, *, without: str, version: int) -> TrustPolicy:
    """The policy as the first release wrote it, when there was no statement of one kind."""
    kinds = tuple(PREDICATE_TYPES[kind] for kind in ROLE_KINDS["trainer"] if kind != without)
    types = {"trainer": (OMS_PREDICATE_TYPE, *kinds), "log": (CHECKPOINT_TYPE,)}
    keys = tuple(key.revised(predicate_types=types.get(key.role, ())) for key in trust.keys)
    return trust.revised(schema_version="1", keys=keys, version=version)


def test_a_key_that_may_not_sign_a_plan_signs_none_until_the_root_says_so(home, policy, capsys, monkeypatch, tmp_path):
    """A trust file from before there were plans: verify would call such a statement broken for ever."""
    # of somebody who never saw the newer file: whoever did takes the older form for a replaced one
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = plans_and_evaluations(home, "tiny")
    old = in_form_1(home.trust, without="evaluation-plan", version=home.trust.version + 1)
    (home.folder / "trust.json").write_bytes(sign_trust(old, [home.private_key("root")]))
    asked = EvaluationRequest(suites=("house",), policy=policy)
    pin_the_first_house(home)
    registry = open_home(home.folder)
    with pytest.raises(KeyLacksRole, match="must not sign this") as refused:
        evaluate_references(registry, ["tiny"], asked)
    registry.close()
    assert plans_and_evaluations(home, "tiny") == before
    assert refused.value.fix.endswith("`registry trust update`")
    assert run(["trust", "update", "--home", str(home.folder)]) == 0
    assert f"trust v{old.version + 1}  the trainer key may sign evaluation-plan too" in capsys.readouterr().out
    assert run(["trust", "update", "--home", str(home.folder)]) == 0
    assert "nothing was changed" in capsys.readouterr().out
    registry = open_home(home.folder)
    updated = registry.trust
    same = {"schema_version": "", "keys": (), "version": 0, "issued_at": "", "previous": None}
    assert updated.model_copy(update=same) == old.model_copy(update=same)
    evaluate_references(registry, ["tiny"], asked)
    assert verify_version(registry, version_named(registry, "tiny")).exit_code == 0
    registry.close()


def test_one_root_of_two_does_not_change_trust_alone_and_leaves_the_version_for_the_other(home, tmp_path):
    other = PrivateKey.generate("p256")
    root = next(key for key in home.trust.keys if key.role == "root")
    second = root.model_copy(
        update={"key_id": other.public.key_id, "public_key_pem": other.public.pem.decode(), "person": "lab-2"}
    )
    trust = home.folder / "trust.json"
    kept = trust.read_bytes()
    keys = in_form_1(home.trust, without="alias", version=50).keys
    both = in_form_1(home.trust, without="alias", version=50).model_copy(
        update={"keys": (*keys, second), "roots": (root.key_id, second.key_id), "threshold": 2}
    )
    accepted = home.folder / "trust-accepted"
    before = accepted.read_bytes()
    trust.write_bytes(sign_trust(both, [home.private_key("root"), other]))
    pins = Pins(tmp_path / "state", lambda _: None)
    registry = open_home(home.folder, pins=pins)
    waiting = next_version_of(trust)
    try:
        change = update_trust(registry).change
        assert (change.state, change.version, change.file, change.persons) == ("waiting", 51, waiting, ("lab-2",))
        assert parse_chain(trust.read_bytes()).newest.policy.version == 50
        assert sign_waiting(waiting, other)[1] is None
        assert take_update(registry, waiting).state == "accepted"
        pin = pins.pin(registry.settings.registry_id)
        assert pin is not None and pin.version == 51
    finally:
        registry.close()
        trust.write_bytes(kept)
        accepted.write_bytes(before)


# --- merging ---


@pytest.fixture(scope="module")
def merged(home):
    pin_the_first_house(home)
    return merge_and_register(home, MergeRequest(("cats:1",), name="folded")).version


def test_after_a_merge_the_adapters_evaluation_is_stale_for_the_merged_version(home, merged):
    adapters = stored_evaluations(home, version_named(home, "cats:1"))[0]
    assert adapters.stale is None
    stale = stale_for(home, merged, adapters.record)
    assert stale is not None and stale.differences == (code("other_weights"),)
    shown = describe_version(home, "folded")
    assert all("other weights on it" in text for text in shown.stale)
    assert verify_version(home, merged).exit_code == 0


def test_a_merged_version_is_evaluated_beside_its_base_and_its_parent(home, merged):
    found = evaluate_references(home, ["folded"], EvaluationRequest(suites=("house",), with_placebo=False))
    assert [[arm.name for arm in one.record.arms if arm.name != "noise"] for one in found] == [
        ["base", "merged"],
        ["parent", "merged"],
    ]
    beside_base, beside_parent = (one.record for one in found)
    compositions = {arm.name: arm.composition_digest for arm in (*beside_base.arms, *beside_parent.arms)}
    trained = {
        arm.name: arm.composition_digest
        for arm in stored_evaluations(home, version_named(home, "cats:1"))[0].record.arms
    }
    assert (compositions["base"], compositions["parent"]) == (trained["base"], trained["adapted"])
    assert compositions["merged"] not in trained.values()
    same = next(one for one in beside_parent.findings if one.category is None)
    assert (same.fixed, same.introduced, same.overcorrected) == (0, 0, 0), "folding in fp32 moves no item"
    assert abs(same.mean_margin_change) < 1e-4
    moved = next(one for one in beside_base.findings if one.category is None)
    assert abs(moved.mean_margin_change) > 100 * abs(same.mean_margin_change)
    assert stale_for(home, merged, beside_parent) is None
    recheck_version(home, merged)
    again = score_each_again(home, merged, stored_evaluations(home, merged), count=2)
    assert len(again) == 2 and all("repeated within" in one for one in again)


# --- merge --evaluate is set up like registry evaluate ---


@dataclass(frozen=True)
class EvaluatedMerge:
    version: Version
    told: list[Event]
    lost: tuple[LostQuality, ...]
    devices: list[str]  # that models were loaded on
    kept: dict[Path, bytes]  # the files of scores that the merge left


STRICT = StatisticsPlan(thresholds={}, neutral_loss_ratio=0.1)  # whatever is merged is beyond it


@pytest.fixture(scope="module")
def evaluated_merge(home, tmp_path_factory):
    """A merge of an adapter that was evaluated on a suite whose data this home pinned, made twice."""
    from peft_registry.trainer.bases import loading
    from peft_registry.trainer.machine import environment
    from peft_registry.trainer.merge import evaluation

    crows = tmp_path_factory.mktemp("crows") / "crows_pairs_anonymized.csv"
    crows.write_text(PAIRS)
    pin_the_first_house(home)
    pin_suite(home, "crows_pairs", str(crows), accepts_licence=True, person="J. Doe")
    evaluate_references(home, ["cats:1"], EvaluationRequest(suites=("crows_pairs",), with_placebo=False))
    passages = crows.with_name("passages.txt")
    passages.write_text(PASSAGES)
    scope = EvaluationScope("development", passages)  # the one pair is in this half
    devices: list[str] = []
    hardware = replace(environment.choose_hardware("auto"), device="cuda")

    def load(folder, *, device, **choices):
        devices.append(device)
        return loading.load_base(folder, device="cpu", **choices)

    scores, request = (
        home.folder / "scores",
        MergeRequest(("cats:1",), weights=(0.5,), name="folded-and-asked", evaluate=True, scope=scope),
    )
    known = set(scores.iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "choose_hardware", lambda *_, **__: hardware)
        patch.setattr(evaluation, "load_base", load)
        patch.setattr("peft_registry.registry.evaluation.lost_quality._LIMITS", STRICT)
        told: list[Event] = []
        outcome = merge_and_register(home, request, observe=told.append)
        version = outcome.version
        kept = {path: path.read_bytes() for path in set(scores.iterdir()) - known}
        merge_and_register(home, request)
    return EvaluatedMerge(version, told, outcome.lost, devices, kept)


def test_merge_asks_the_suites_that_the_home_pinned_and_names_their_accepted_licences(home, evaluated_merge):
    version = evaluated_merge.version
    records = [one.record for one in stored_evaluations(home, version)]
    assert len(records) == 4, "beside its base and beside its parent, by each of two merges"
    for record in records:
        assert {"house", "crows_pairs"} <= {data.name for data in record.datasets}
        assert record.extra["licences"]["crows_pairs"]["accepted_at"]


def test_a_merge_tells_what_cannot_be_tested_before_it_loads_anything(evaluated_merge):
    warned = [event.text for event in evaluated_merge.told if isinstance(event, Warned)]
    assert any(
        "crows_pairs, the development half: 1 row in 1 cluster, and the test needs 6 clusters" in text
        for text in warned
    )


def test_what_a_merge_lost_beside_its_base_and_its_parent_is_said(home, evaluated_merge, monkeypatch):
    guards = [one.record.guards for one in stored_evaluations(home, evaluated_merge.version)]
    lost = [(entry.before, entry.after) for entry in evaluated_merge.lost if entry.name == "loss on neutral text"]
    assert len(lost) == 2
    assert set(lost) == {(guard.neutral_loss_before, guard.neutral_loss_after) for guard in guards}
    # whoever looks at the version later reads it too
    monkeypatch.setattr("peft_registry.registry.evaluation.lost_quality._LIMITS", STRICT)
    shown = [text for name, text in describe_version(home, evaluated_merge.version.label).lines() if name == "lost"]
    assert sorted(shown) == sorted({entry.line for entry in evaluated_merge.lost})


def test_a_merge_asks_the_half_and_the_guard_text_that_it_was_told(home, evaluated_merge):
    for evaluation in stored_evaluations(home, evaluated_merge.version):
        assert asked_of(evaluation.record) == ("development", Digest.of(PASSAGES.encode()), 12)


def test_merge_records_the_device_that_it_loads_on(home, evaluated_merge):
    version, devices = evaluated_merge.version, evaluated_merge.devices
    assert devices and set(devices) == {"cuda"}
    assert {one.record.numerics.device for one in stored_evaluations(home, version)} == {"cuda"}


def test_merge_keeps_the_scores_of_its_arms_and_takes_those_that_are_known(evaluated_merge):
    """Base, parent, the noise of either, and the result, scored once for both comparisons; the same merge again adds none."""
    assert len(evaluated_merge.kept) == 5
    assert all(path.read_bytes() == content for path, content in evaluated_merge.kept.items())


def test_all_item_tables_of_an_evaluated_merge_travel_with_it(home, evaluated_merge, tmp_path):
    version = evaluated_merge.version
    pull_version(home, version, tmp_path / "pulled")
    assert len(recheck_folder(tmp_path / "pulled")) == 4
