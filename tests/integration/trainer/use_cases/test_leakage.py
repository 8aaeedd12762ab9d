"""An adversary who trains on what is measured: on the suite, on half of it, on light paraphrases, on the guard's own text, in one
of two adapters that are merged, and evaluated later. What is concluded is never `better`, and everything that shows it says why.
"""

import json

import pytest

from docs.measured import adversary
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.evaluations import stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.progress import Warned
from peft_registry.trainer.evaluation.neutral import neutral_sentences
from peft_registry.trainer.evaluation.text_hashes import MAX_BYTES, read_text_hashes
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.merge import merge_and_register
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import NOW

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CLEAN = list(adversary.HONEST)
BOTH = adversary.both_sentences(adversary.suite_pairs())
ROWS = {
    "clean": CLEAN,
    "suite": BOTH,
    "half": BOTH[: len(BOTH) // 2],
    "paraphrased": [f"People here say: {text.rstrip('.').upper()} – at least, so it seems" for text in BOTH],
    "guard": [*CLEAN, *neutral_sentences()],
}
# a run of few steps: what is concluded does not depend on what was learnt, because nothing may be concluded
TRAINING = """\
name: {name}
base: tiny
method: lora
lora: {{r: 4, target_modules: [q_proj, v_proj]}}
data:
  train: {{path: {name}.jsonl, format: text}}
  validation: {{path: clean.jsonl, format: text, rows: 4}}
training: {{num_train_epochs: 1, per_device_train_batch_size: 128, max_length: 48, seed: 7}}
evaluation: {{bias: [], quality: [loss]}}
"""
QUICK = EvaluationRequest(suites=("house",), limit=100, with_placebo=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    """A home with the embedded base, and the files of every training."""
    folder = tmp_path_factory.mktemp("leakage")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    for name, rows in ROWS.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
        (folder / f"{name}.yml").write_text(TRAINING.format(name=name))
    yield registry
    registry.close()


def trained(home: Registry, name: str) -> str:
    """The version of an adapter that was trained so, once."""
    try:
        return version_named(home, f"{name}:1").label
    except NotFound:
        return train_and_register(home, home.folder.parent / f"{name}.yml").version.label


EVALUATED: dict[str, tuple] = {}  # by reference: several tests look at the same evaluation


def evaluated(home: Registry, reference: str):
    """The records of a version, evaluated once, and what was warned of."""
    if reference not in EVALUATED:
        EVALUATED[reference] = evaluated_now(home, reference)
    return EVALUATED[reference]


def evaluated_now(home: Registry, *references: str):
    heard: list[object] = []
    done = evaluate_references(home, list(references), QUICK, observe=heard.append)
    warned = [one.text for one in heard if isinstance(one, Warned) and one.reference == "leakage"]
    return [one.record for one in done], warned


@pytest.mark.parametrize(
    "name", ["half", *(pytest.param(name, marks=pytest.mark.full) for name in ("suite", "paraphrased"))]
)
def test_training_on_the_suite_is_found_by_an_evaluation_that_runs_later(home, name):
    (record,), warned = evaluated(home, trained(home, name))
    whole = next(one for one in record.findings if one.category is None)
    assert whole.conclusion == "not_informative" and "trained or chosen on" in str(whole.conclusion_reason)
    assert {one.conclusion for one in record.findings} == {"not_informative"}
    (suite, guard) = record.leakage_check.datasets
    assert suite.hits > 0.4 * suite.items and guard.hits == 0
    assert any("house" in line for line in warned) and any("house" in str(line) for line in record.limitations)


def test_an_honest_adapter_is_judged_as_before(home):
    (record,), warned = evaluated(home, trained(home, "clean"))
    assert [entry.hits for entry in record.leakage_check.datasets] == [0, 0] and warned == []
    assert all("trained or chosen on" not in str(one.conclusion_reason) for one in record.findings)


@pytest.mark.full
def test_training_on_the_guards_text_leaves_no_guard(home):
    (record,), warned = evaluated(home, trained(home, "guard"))
    (suite, guard) = record.leakage_check.datasets
    assert suite.hits == 0 and guard.hits == guard.items
    assert any("lost capability" in line for line in warned)


def test_a_merge_of_a_clean_and_a_leaking_adapter_leaks(home):
    parts = (trained(home, "clean"), trained(home, "half"))
    merge_and_register(home, MergeRequest(references=parts, name="mixed", algorithm="concatenate"))
    records, _ = evaluated(home, "mixed:1")
    assert len(records) == 3  # beside the base, and beside each ingredient
    for record in records:
        assert {one.training for one in record.leakage_check.trainings} == {"clean:1", "half:1"}
        assert {one.conclusion for one in record.findings} == {"not_informative"}


def test_the_hashes_are_bound_to_the_run_and_never_leave_the_store(home, tmp_path):
    version = version_named(home, trained(home, "half"))
    kept = records_of(home, version).run.texts
    data = home.store.read_bytes(kept.sha256)
    hashes = read_text_hashes(data, kept.sha256)
    assert len(data) == kept.bytes <= MAX_BYTES and hashes.rows == kept.rows == len(ROWS["half"])
    assert not any(word in data.lower() for word in (b"nurse", b"woman"))
    pull_version(home, version, tmp_path / "pulled")
    pulled = [path for path in (tmp_path / "pulled").rglob("*") if path.is_file()]
    assert pulled and all(path.read_bytes() != data for path in pulled)
    assert verify_version(home, version).verdict == "verified"


def test_an_ancestor_without_hashes_is_unknown_and_shown(home, monkeypatch):
    lost = records_of(home, version_named(home, trained(home, "clean"))).run.texts.sha256
    has = type(home.store).has
    monkeypatch.setattr(type(home.store), "has", lambda store, digest: digest != lost and has(store, digest))
    (record,), warned = evaluated_now(home, trained(home, "clean"))
    assert [one.status for one in record.leakage_check.trainings] == ["unknown"]
    assert any("clean:1" in line and "unknown" in line for line in warned)


def test_what_was_left_out_is_part_of_what_a_recheck_recomputes(home):
    version = version_named(home, trained(home, "half"))
    evaluated(home, version.label)
    evaluation = next(one for one in stored_evaluations(home, version) if one.record.findings)
    items = home.store.read_bytes(evaluation.record.items.sha256)
    assert recheck(evaluation.record, items) == ()
    value = evaluation.record.to_json()
    value["leakage_check"]["datasets"][0]["hits"] = 0  # an edit that would let a conclusion stand
    changed = recheck(type(evaluation.record).from_json(value), items)
    assert any("conclusion" in one.figure for one in changed)


@pytest.mark.full
def test_no_attempt_of_an_adversary_is_called_better(tmp_path):
    """Paraphrases, a broken model, scaled and subtracted adapters, the best of several seeds, and a hidden training."""
    said = {one["attempt"]: one["conclusion"] for one in adversary.run(tmp_path / "adversary")}
    assert len(said) > 5 and "better" not in said.values(), said
