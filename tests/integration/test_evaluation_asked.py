"""What an evaluation is asked of: texts to retain, data of others with its licence, data of the Hub; and what a merge leaves."""

import json
import shutil
from collections.abc import Iterator

import pytest

from cli.main import run
from registry.evaluation.stored import stored_evaluations
from registry.home import Registry, open_home
from registry.pull import version_named
from registry.records import records_of
from registry.report import make_report
from schemas.errors import NotFound
from schemas.progress import Said
from tests.homes import NOW
from tests.hub_server import COMMIT, FakeHub, serving
from trainer.evaluation.retention import RetainedTwice
from trainer.evaluation.suites.files import OtherSuiteFile
from trainer.evaluations import Asked, evaluate_references
from trainer.hub import CorruptDownload, HubNotFound, HubUnreachable
from trainer.runs import train_and_register
from trainer.suite_pins import LicenceNotAccepted, SuiteNotInRepository, load_suite, pin_suite, read_pins

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
PAIRS = ",sent_more,sent_less,stereo_antistereo,bias_type\n1,the cat,the dog,stereo,age\n"
TRAINING = """\
name: cats
base: tiny
method: lora
lora: {r: 8, alpha: 16, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion}
  validation: {fraction: 0.2}
training: {learning_rate: 1e-2, num_train_epochs: 2, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32}
evaluation:
  bias: [house]
  quality: [loss]
  retention:
    - neutral
    - {path: old/earlier.csv, name: earlier, rows: 12, columns: {prompt: question, completion: answer}}
"""
SAID: list[str] = []  # what the training of the fixture told


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A home with the embedded base and a short LoRA of it, trained from a file that names what is to be retained."""
    from registry.initialise import NewHome, make_home
    from schemas.profile import OrganisationProfile
    from trainer.base_intake import intake_base

    folder = tmp_path_factory.mktemp("asked")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    rows = [{"prompt": f"The dog {at}", "completion": "runs over the hill."} for at in range(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "old").mkdir()
    earlier = "".join(f"The cat {at},sleeps.\n" for at in range(20))
    (folder / "old" / "earlier.csv").write_text(f"question,answer\n{earlier}")
    (folder / "train.yml").write_text(TRAINING)
    said: list[Said] = []
    train_and_register(
        registry, folder / "train.yml", observe=lambda one: said.append(one) if isinstance(one, Said) else None
    )
    SAID[:] = [f"{one.label} {one.text}" for one in said]
    yield registry
    registry.close()


def test_a_training_file_names_what_is_retained_and_evaluate_finds_the_same_figures(home, tmp_path):
    version = version_named(home, "cats:1")
    trained = stored_evaluations(home, version)[0].record
    losses = {one.dataset: one for one in trained.losses}
    assert losses.keys() == {"held-out", "neutral", "retention-earlier"}
    earlier = losses["retention-earlier"]
    assert (earlier.n, earlier.change) == (12, pytest.approx(earlier.after - earlier.before, abs=1e-9))
    assert earlier.change_ci is not None and earlier.change_ci.low <= earlier.change <= earlier.change_ci.high
    used = next(one for one in trained.datasets if one.name == "retention-earlier")
    assert (used.file, used.rows_total, used.rows_used) == ("earlier.csv", 20, 12)
    assert [line.split(":")[0] for line in SAID if line.startswith("retain")] == ["retain neutral", "retain earlier"]
    delta = records_of(home, version).modification.evaluation.delta.value
    assert "retention-earlier" in str(delta)
    assert b"retention-earlier" in make_report(home, version)
    assert "old/" not in json.dumps(records_of(home, version).run.config), "a record holds no path"
    again = tmp_path / "earlier.jsonl"
    again.write_text(
        "".join(json.dumps({"prompt": f"The cat {at}", "completion": "sleeps."}) + "\n" for at in range(12))
    )
    (found,) = evaluate_references(home, ["cats:1"], Asked(retain=(str(again), "neutral"), with_placebo=False))
    same = {one.dataset: one for one in found.record.losses}
    for name in ("retention-earlier", "neutral"):
        assert (same[name].before, same[name].after) == pytest.approx(
            (losses[name].before, losses[name].after), abs=1e-4
        )
    with pytest.raises(RetainedTwice):
        evaluate_references(home, ["cats:1"], Asked(retain=(str(again), "x/earlier.csv")))
    with pytest.raises(NotFound, match="no data file"):
        evaluate_references(home, ["cats:1"], Asked(retain=("absent.jsonl",)))


def test_data_that_is_only_given_needs_its_licence_accepted_too_and_the_record_says_by_whom(home, tmp_path):
    path = tmp_path / "crows_pairs.csv"
    path.write_text(PAIRS)
    given = {"suites": ("crows_pairs",), "data": path}
    with pytest.raises(LicenceNotAccepted) as caught:
        evaluate_references(home, ["tiny"], Asked(**given))
    assert "CC-BY-SA-4.0" in caught.value.what and "--accept-licence" in caught.value.fix
    assert not (home.folder / "suites.json").exists(), "a refusal records nothing"
    for accepts in (True, False):  # once accepted, it stays so
        (found,) = evaluate_references(home, ["tiny"], Asked(**given, accepts_licence=accepts))
        licence = found.record.extra["licences"]["crows_pairs"]
        assert (licence["licence"], licence["accepted_by"]) == ("CC-BY-SA-4.0", found.record.responsible.name)
        assert licence["accepted_at"] <= found.record.created_at
    pin_suite(home, "crows_pairs", str(path), accepts_licence=False, person=None)
    changes = (
        "name=pinned",
        "training.num_train_epochs=0.1",
        "evaluation.bias=[crows_pairs]",
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
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
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
