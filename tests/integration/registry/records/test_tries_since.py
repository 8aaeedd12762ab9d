"""`better` of a first seed, shown after more seeds of its plan were begun: judged again, or not called better at all."""

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.staleness import base_composition, composition_of
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow.figures import bias_status
from peft_registry.registry.records.evaluations import judged_now
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.tries import MAX_LIST, BegunListUnreadable, tries_of_begun, tries_of_run
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.report import make_report, report_inputs
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import ComparedTexts, LeakageCheck
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import BegunRun
from peft_registry.schemas.version import Version
from peft_registry.trainer.runs.begun import note_begun, unordered_digest
from tests.builders.evaluation import PLAN, Margin, a_recorded_evaluation, a_table, base_margin, margin_items
from tests.builders.homes import a_home, add_a_base
from tests.builders.products import a_product

FIRST = BegunRun(
    run_id="run-1", plan=Digest.of(b"plan"), rows=Digest.of(b"rows"), seed=0, started_at="2026-11-24T12:00:00Z"
)


def few_fixed(at: int) -> float:
    """Eight of 120 items: better for one seed, and what the best of ten shows by chance."""
    return 0.0 if at in range(0, 32, 4) else base_margin(at)


@dataclass(frozen=True)
class Praised:
    registry: Registry
    version: Version

    @property
    def begun(self) -> Path:
        return self.registry.files.begun

    def seeds(self, count: int) -> None:
        for seed in range(count):
            note_begun(self.begun, FIRST.revised(run_id=f"run-{seed + 1}", seed=seed))

    def page(self) -> str:
        return re.sub(r"<[^>]*>", "", make_report(self.registry, self.version).decode()).replace("&#x27;", "'")


def register_praised(registry: Registry, folder: Path, margin: Margin) -> Version:
    """A version whose evaluation speaks of it and calls it better."""
    base = add_a_base(registry, folder / "base")
    manifest = a_product(registry, folder / "unevaluated", base).manifest
    identity = base.record.identity
    compositions = {"base": base_composition(identity), "adapted": composition_of(manifest, identity)}
    table = [*a_table(margin), *margin_items(base_margin, "placebo")]
    record, items = a_recorded_evaluation(table, replace(PLAN, figures=FIGURES))
    arms = [
        arm.revised(composition=composition, composition_digest=composition.canonical_digest())
        for arm, composition in ((arm, compositions.get(arm.name, compositions["base"])) for arm in record.arms)
    ]
    praised = record.revised(
        arms=(*arms, arms[-1].revised(name="placebo")),
        # on the test half as it is published, of a model whose texts are known
        datasets=tuple(used.revised(half="test", published="shipped") for used in record.datasets),
        leakage_check=LeakageCheck(
            method=code("runs_of_words", share=0.5, words=8),
            hits=0,
            dataset_digest=Digest.of(b""),
            trainings=(ComparedTexts(training="first:1", status="compared", hashes=Digest.of(b"texts")),),
            datasets=(),
            limit=0.1,
        ),
    )
    product = a_product(registry, folder / "first", base, evaluated=(praised, items))
    assert "the seeds of this training that had been begun" in product.card.decode()
    return register_product(registry, product).version


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory):
    """A first seed, evaluated as the only one that was begun; its evaluation says better."""
    folder = tmp_path_factory.mktemp("praised")
    with a_home(folder / ".registry") as registry:
        yield Praised(registry, register_praised(registry, folder, few_fixed))


@pytest.fixture
def praised(registered: Praised):
    registered.begun.unlink(missing_ok=True)
    yield registered
    registered.begun.unlink(missing_ok=True)


def conclusions(praised: Praised) -> list[str]:
    evaluations = records_of(praised.registry, praised.version).evaluations
    (now,) = judged_now(praised.registry, praised.version, evaluations)
    return [one.conclusion for one in now.findings if one.category is None]


def test_praise_of_the_only_seed_stands(praised):
    praised.seeds(1)
    assert "Fewer flagged items after than before: " in praised.page()
    assert conclusions(praised) == ["better"]


def test_a_report_does_not_praise_the_best_of_ten_seeds_of_which_nine_were_begun_after_it_was_evaluated(praised):
    praised.seeds(10)
    page = praised.page()
    assert "Fewer flagged items" not in page and "Conclusion: fewer flagged items" not in page
    assert "on the suite “house” (pairs of sentences that this tool brings along), the test half alone" in page
    assert "one of 10 seeds of this plan, begun in 10 runs" in page
    assert "9 of them begun since it was evaluated: recorded as `better`, and no longer so" in page
    assert "house: signed as better, and now inconclusive" in page  # what is written as code is code on the page


def test_the_record_on_the_console_is_not_shown_as_better_without_a_word(praised, capsys):
    praised.seeds(10)
    home = str(praised.registry.files.folder)
    assert run(["record", praised.version.label, "--home", home]) == 0
    assert "judged again house: signed as `better`, and now inconclusive" in capsys.readouterr().out
    assert run(["record", praised.version.label, "--home", home, "--output", "json"]) == 0
    assert any("now inconclusive" in text for text in json.loads(capsys.readouterr().out)["judged_again"])


def test_what_mlflow_shows_follows(praised):
    def status() -> str:
        evaluations = records_of(praised.registry, praised.version).evaluations
        return bias_status(judged_now(praised.registry, praised.version, evaluations), 1)

    praised.seeds(1)
    alone = report_inputs(praised.registry, praised.version).digest
    assert status() == "better: house.margin"
    praised.seeds(10)
    assert status() == "inconclusive: house.margin"
    assert report_inputs(praised.registry, praised.version).digest != alone  # the page there is written again


def test_praise_that_ten_seeds_do_not_explain_says_that_it_is_one_of_ten(tmp_path):
    with a_home(tmp_path / ".registry") as registry:
        version = register_praised(registry, tmp_path, lambda at: 0.0 if at % 4 == 0 else base_margin(at))
        Praised(registry, version).seeds(10)
        page = Praised(registry, version).page()
    assert "Fewer flagged items after than before: " in page
    assert "9 of them begun since it was evaluated: recorded as `better`, and still so" in page


def test_rows_in_another_order_and_a_learning_rate_with_another_last_digit_are_said_beside_praise(praised, tmp_path):
    """Each of them is a new plan; who tries ten of them has tried ten times on the same rows."""
    first, shuffled, other = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    first.write_text("one\ntwo\nthree\n")
    shuffled.write_text("three\none\r\ntwo")
    other.write_text("one\ntwo\nfour\n")
    assert unordered_digest(first) == unordered_digest(shuffled) != unordered_digest(other)
    rows = unordered_digest(first)
    note_begun(praised.begun, FIRST.revised(rows=rows))
    for number in range(9):
        plan = Digest.of(str(number).encode())
        note_begun(praised.begun, FIRST.revised(run_id=f"other-{number}", plan=plan, rows=unordered_digest(shuffled)))
    note_begun(praised.begun, FIRST.revised(run_id="elsewhere", plan=Digest.of(b"x"), rows=unordered_digest(other)))
    page = praised.page()
    assert "Fewer flagged items after than before: " in page
    assert "9 more runs on the same base and rows with other settings: `better` is judged without counting them" in page


def test_a_list_of_an_older_release_counts_as_before(praised):
    for seed in range(3):
        line = FIRST.revised(run_id=f"run-{seed + 1}", seed=seed).model_dump(mode="json", exclude={"rows"})
        with praised.begun.open("a") as file:
            file.write(json.dumps(line) + "\n")
    tries = tries_of_begun(praised.registry, "run-1")
    assert (tries.seeds, tries.runs, tries.others) == (3, 3, 0)


def test_a_list_of_junk_is_a_sentence_and_hides_no_seed(praised):
    praised.seeds(1)
    with praised.begun.open("ab") as file:
        file.write(b"x\n" * 2_000_000)
    with pytest.raises(BegunListUnreadable, match="1000 of its lines"):
        tries_of_begun(praised.registry, "run-1")
    page = praised.page()
    assert "Fewer flagged items" not in page
    assert "how many seeds were begun since cannot be said" in page


def test_a_list_of_more_than_64_mib_is_a_sentence(praised):
    praised.seeds(1)
    os.truncate(praised.begun, MAX_LIST + 1)
    run_record = records_of(praised.registry, praised.version).run
    with pytest.raises(BegunListUnreadable, match="more than 64 MiB"):
        tries_of_run(praised.registry, run_record)
