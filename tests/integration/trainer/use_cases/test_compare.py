"""All methods side by side on the embedded base, as a user would type it: registered, resumed, drawn, swept."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.pins import Pins, TrustReplaced
from peft_registry.registry.records.plans import logged_plans
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.tries import tries_of_run
from peft_registry.registry.reports.comparison import HEADINGS, comparison_page, table_rows
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.comparison import ArmResult, MethodComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.methods import METHOD_NAMES
from peft_registry.schemas.progress import ignore
from peft_registry.schemas.run import BegunRun
from peft_registry.trainer.embedded import example_rows
from peft_registry.trainer.inputs.training_file import load_training_file
from peft_registry.trainer.runs.begun import note_begun
from peft_registry.trainer.use_cases.compare import Plan as ComparePlan
from peft_registry.trainer.use_cases.compare import comparison_id, plan_arms
from peft_registry.trainer.use_cases.compare_arm import ComparisonArm, latency_of, run_arm
from peft_registry.trainer.use_cases.train_start import registered_before
from tests.builders.homes import NOW, a_home
from tests.processes.secrets import SECRETS, secrets_seen_by

pytestmark = pytest.mark.processes  # each arm trains in a process of its own

CONFIG = """\
name: arms
base: tiny
method: lora
data:
  train: {path: example.jsonl, format: prompt_completion, rows: 32}
  validation: {fraction: 0.5}
training: {learning_rate: 3e-3, per_device_train_batch_size: 6, max_length: 64, dtype: fp32, seed: 7}
evaluation: {bias: [house], quality: [loss]}
"""


# what arms differ in: all weights, factors, scales, modules or virtual tokens; a base in 4 bits; the best of several seeds
SOME = ("full", "lora", "qlora", "bottleneck", "ia3", "prompt_tuning", "prefix_tuning")


@dataclass
class Compared:
    home: Path
    config: Path
    found: MethodComparison
    registry: Registry

    def again(self, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[MethodComparison, str]:
        capsys.readouterr()
        arguments = ["compare", str(self.config), "--home", str(self.home), "--no-mirror", "--no-latency", *words]
        assert run([*arguments, "--output", "json"]) == 0
        shown = capsys.readouterr()
        return MethodComparison.from_json(json.loads(shown.out)), shown.err


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compared]:
    """An arm of some methods."""
    folder = tmp_path_factory.mktemp("compare")
    home, config, page = folder / "home", folder / "arms.yml", folder / "arms.html"
    config.write_text(CONFIG)
    (folder / "example.jsonl").write_bytes(example_rows().read_bytes())
    assert run(["init", "--unencrypted", "--no-example", "--home", str(home)]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", "--home", str(home)]) == 0
    options = ["--methods", ",".join(SOME), "--no-mirror", "--no-latency", "--price-per-hour", "2", "--html", str(page)]
    with pytest.MonkeyPatch.context() as patch:
        kept: list[MethodComparison] = []
        import peft_registry.cli.commands.compare

        def keep(found: MethodComparison) -> tuple[()]:
            kept.append(found)
            return ()

        patch.setattr(peft_registry.cli.commands.compare, "lines_of", keep)
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # of an earlier test, which had no secrets
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        assert run(["compare", str(config), "--home", str(home), *options]) == 0
        assert {name: os.environ.get(name) for name in SECRETS} == SECRETS
    registry = open_home(home)
    yield Compared(home, config, kept[0], registry)
    registry.close()


def test_the_process_that_starts_the_arms_gets_neither_passphrase_nor_a_token_that_it_does_not_need(
    compared: Compared,
) -> None:
    """It may read data sets of the Hub, and the home's own database and store take no credentials."""
    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # no public name
    assert secrets_seen_by([pid]) == {pid: {"HF_TOKEN", "HTTPS_PROXY"}}


def test_an_arm_trains_in_no_registry_whose_trust_file_was_exchanged_since_the_comparison_began(tmp_path: Path) -> None:
    with a_home(tmp_path / "home"):
        pass
    pins = Pins(tmp_path / "state", lambda _: None)
    registry = open_home(tmp_path / "home", pins=pins, clock=lambda: NOW)
    assert registry.trust.version == 1, "it is what its user accepts"
    with a_home(tmp_path / "theirs"):
        pass
    shutil.copy(tmp_path / "theirs" / "trust.json", tmp_path / "home" / "trust.json")
    arm = ComparisonArm("lora", 1, 1e-3, tmp_path / "arms.yml", ())
    with pytest.raises(TrustReplaced):
        run_arm(registry, arm, comparison="c", latency=False, observe=ignore)
    registry.close()


def test_every_method_that_is_named_is_an_arm_with_a_registered_and_verified_version(compared: Compared) -> None:
    assert compared.found.methods == SOME
    require_verified(compared.registry, compared.found)


def require_verified(registry: Registry, found: MethodComparison) -> None:
    assert tuple(arm.method for arm in found.arms) == found.methods
    for arm in found.arms:
        assert arm.failure is None, f"{arm.method}: {arm.failure}"
        assert verify_version(registry, version_named(registry, arm.version or "")).verdict == "verified", arm.method


def test_every_arm_was_in_the_log_with_its_settings_before_the_first_was_registered(compared: Compared) -> None:
    base = version_named(compared.registry, "tiny")
    plan = compared.found.plan
    assert plan is not None
    logged = logged_plans(compared.registry, base)[plan.statement]
    assert (logged.log_index, logged.appended_at) == (plan.log_index, plan.appended_at)
    assert logged.plan.policy_sha256 == Digest.of(compared.config.read_bytes())
    planned = {(arm["method"], arm["seed"]): arm["config_sha256"] for arm in logged.plan.plan["arms"]}
    assert len(planned) == len(compared.found.arms)
    for arm in compared.found.arms:
        run = records_of(compared.registry, version_named(compared.registry, arm.version or "")).run
        assert planned[arm.method, arm.seed] == str(run.config_sha256)
        assert arm.log_index > plan.log_index
    assert compared.found.registered_after_plan == compared.found.arms
    assert verify_version(compared.registry, base).verdict == "verified"


def test_the_figures_of_an_arm_are_those_of_its_signed_records(compared: Compared) -> None:
    for arm in compared.found.arms:
        records = records_of(compared.registry, version_named(compared.registry, arm.version or ""))
        assert records.run is not None
        assert records.evaluation is not None
        assert records.run.comparison == compared.found.comparison_id
        assert arm.wall_seconds == records.run.compute.wall_seconds
        assert arm.peak_memory_bytes == records.run.compute.peak_memory_bytes
        assert arm.quality == records.evaluation.losses[0]
        gains, tokens = sum(arm.row_gains) / 1e6, arm.quality.before - arm.quality.after
        assert len(arm.row_gains) == arm.quality.n
        assert gains / tokens == pytest.approx(round(gains / tokens), abs=1e-3)  # nats over nats a token: how many
        assert arm.cost.value == pytest.approx(2 * arm.wall_seconds.value / 3600, abs=1e-5)
        (house,) = arm.bias
        by_axis = {one.category: one for one in records.evaluation.findings if one.dataset == "house"}
        assert {one.axis for one in house.axes} == by_axis.keys() - {None}
        assert len(house.axes) > 1
        for one in house.axes:
            signed = by_axis[one.axis]
            for name in ("n", "flagged", "clear", "fixed", "introduced", "overcorrected"):
                assert getattr(one, name) == getattr(signed, name), name


def test_arms_that_choose_nothing_on_held_out_rows_are_measured_on_the_same_ones(compared: Compared) -> None:
    """A base in 4 bits is another base; a method that chooses its seed on some held-out rows reports on the rest."""
    before = {}
    for arm in compared.found.arms:
        seeds = load_training_file(compared.config, [f"method={arm.method}"]).config.seeds
        if arm.method != "qlora" and len(seeds) == 1:
            assert arm.quality is not None
            before[arm.method] = (round(arm.quality.before, 3), arm.quality.n)
    assert {"full", "lora", "ia3", "bottleneck"} <= before.keys()
    assert len(set(before.values())) == 1


def test_a_second_comparison_finds_its_arms_and_trains_only_what_is_new(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    found, told = compared.again(capsys, "--methods", "ia3", "--seeds", "2")
    assert len(re.findall("registered already", told)) == 1
    assert len(re.findall("training at", told)) == 1
    assert len(re.findall("suite    house, the screen", told)) == 1, "once for all arms"
    assert found.comparison_id == compared.found.comparison_id
    assert found.plan and compared.found.plan
    assert found.plan.log_index > compared.found.plan.log_index
    assert found.registered_after_plan == found.arms[1:], "the first was planned by the first comparison"
    first = next(arm for arm in compared.found.arms if arm.method == "ia3")
    assert found.arms[0] == first.model_copy(update={"cost": found.arms[0].cost, "runs_begun": 2})
    assert found.arms[1].seed == 8
    assert found.arms[0].quality and found.arms[1].quality
    assert found.arms[0].quality.before == found.arms[1].quality.before
    runs = [records_of(compared.registry, version_named(compared.registry, arm.version)).run for arm in found.arms]
    assert [tries_of_run(compared.registry, run) for run in runs] == [Tries(seeds=2, runs=2)] * 2
    compared.registry.files.begun.rename(compared.home / "elsewhere")  # of runs that were begun in another home
    assert [tries_of_run(compared.registry, run) for run in runs] == [Tries(seeds=2, runs=2)] * 2
    (compared.home / "elsewhere").rename(compared.registry.files.begun)


def test_a_seed_that_was_trained_and_not_registered_was_a_try(compared: Compared) -> None:
    arm = next(arm for arm in compared.found.arms if arm.method == "lora" and arm.version)
    run = records_of(compared.registry, version_named(compared.registry, arm.version)).run
    begun = compared.registry.files.begun
    kept = begun.read_bytes()
    (line,) = [one for one in map(BegunRun.model_validate_json, kept.splitlines()) if one.run_id == run.run_id]
    for seed in range(100, 109):
        note_begun(begun, line.revised(run_id=f"{seed:032x}", seed=seed))
    note_begun(begun, line.revised(run_id="f" * 32, seed=108))  # the same seed again
    assert line.rows is not None
    note_begun(begun, line.revised(run_id="e" * 32, seed=1, plan=run.weights_digest))  # other settings on the same rows
    others = {"rows": run.weights_digest, "contents": run.weights_digest}
    note_begun(begun, line.revised(run_id="d" * 32, seed=1, plan=run.weights_digest, **others))
    with begun.open("ab") as file:
        file.write(b'{"run_id": "cut sh')
    assert tries_of_run(compared.registry, run) == Tries(seeds=10, runs=11, others=1)
    begun.write_bytes(kept)
    assert tries_of_run(compared.registry, run) == ONE_TRY


def test_the_same_file_on_other_data_is_another_arm(compared: Compared, tmp_path: Path) -> None:
    rows = (compared.config.parent / "example.jsonl").read_text().splitlines()
    (tmp_path / "example.jsonl").write_text("\n".join(rows[::-1]) + "\n")
    (tmp_path / "arms.yml").write_text(CONFIG)
    base = version_named(compared.registry, "tiny")
    (there,) = arms_of(compared.config, methods=("ia3",))
    (elsewhere,) = arms_of(tmp_path / "arms.yml", methods=("ia3",))
    here, other = (load_training_file(arm.config, arm.overrides) for arm in (there, elsewhere))
    assert registered_before(compared.registry, here, base) is not None
    assert registered_before(compared.registry, other, base) is None


def test_an_arm_that_diverges_is_shown_and_does_not_end_the_others(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _ = compared.again(
        capsys, "--methods", "lora,ia3", "--learning-rate", "lora=1e9", "training.max_grad_norm=0"
    )
    lora, ia3 = found.arms
    assert lora.version is None
    assert lora.failure
    assert ia3.version is not None
    assert table_rows(found)[0][1].startswith("failed: ")


def test_the_latency_of_an_arm_is_measured_unmerged_and_merged(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_registry.trainer.costs.latency.MAX_ROUNDS", 7)
    arm = next(one for one in compared.found.arms if one.method == "lora")
    config = load_training_file(compared.config).config
    found = latency_of(compared.registry, version_named(compared.registry, arm.version or ""), config)
    for value in (found.base, found.unmerged, found.merged):
        assert value.source == "measured"
        assert value.value > 0
    assert found.unmerged_change.value > found.merged_change.value  # two more products a layer, and none


def test_an_arm_that_is_there_without_a_latency_is_timed_and_not_trained_again(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = ["--methods", "prefix_tuning", "--no-mirror", "--output", "json"]
    assert run(["compare", str(compared.config), "--home", str(compared.home), *words]) == 0
    shown = capsys.readouterr()
    assert "is registered already, timing it" in shown.err
    assert "training at" not in shown.err
    (arm,) = MethodComparison.from_json(json.loads(shown.out)).arms
    assert arm.latency is not None
    assert arm.latency.unmerged.value > 0
    found, told = compared.again(capsys, "--methods", "prefix_tuning")
    assert "timing" not in told
    assert found.arms[0].latency == arm.latency


def test_a_time_on_one_thread_is_that_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from peft_registry.trainer.costs.latency import _clock

    model = torch.nn.Linear(1, 1)
    model.device = torch.device("cpu")
    for threads, clock in ((1, time.process_time), (2, time.perf_counter)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert _clock(model) is clock


def test_the_page_is_one_file_without_script_that_names_every_arm(compared: Compared) -> None:
    page = (compared.config.parent / "arms.html").read_text()
    assert page == comparison_page(compared.found)
    assert "<script" not in page
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", page)
    for arm in compared.found.arms:
        assert arm.version is not None
        assert arm.version in page
    assert page.count("<svg") == 1
    assert not re.findall(r"<td>[^<]*\d (?:%|s\b|[kMG]?B|±)[^<]*</td>", page)  # a number is not broken off its unit
    assert 'name="viewport"' in page
    assert "<div tabindex='0' class='scroll drawing'>" in page


def test_a_row_of_the_table_holds_interval_and_spread(compared: Compared) -> None:
    arm = compared.found.arms[0]
    assert arm.quality is not None
    loss = arm.quality.model_copy(update={"after": arm.quality.after - 1, "change": arm.quality.change - 1})
    better = arm.model_copy(update={"seed": 8, "losses": (loss,)})
    two = compared.found.model_copy(update={"arms": (arm, better)})
    row = dict(zip(HEADINGS, table_rows(two)[0], strict=True))
    low, high = f"{arm.quality.change - 1:+.3f}", f"{arm.quality.change:+.3f}"
    assert row["over seeds"].replace("−", "-") == f"{low} … {high}"
    assert "…" in row["loss change"]


def test_a_sweep_registers_nothing_and_tells_each_point(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    before = compared.registry.folder / "database.sqlite"
    size = before.stat().st_size
    command = ["compare", str(compared.config), "--home", str(compared.home), "--methods", "ia3,lora"]
    assert run([*command, "--sweep", "learning_rate=1e-4,1e-2,1e9"]) == 0
    found = json.loads(capsys.readouterr().out)
    points = {(one["method"], one["learning_rate"]): one for one in found["points"]}
    assert len(points) == 6
    assert points["lora", 1e-2]["after"] < points["lora", 1e-4]["after"] < points["lora", 1e-4]["before"]
    assert points["lora", 1e9]["after"] is None or points["lora", 1e9]["after"] > points["lora", 1e-2]["after"]
    assert before.stat().st_size == size


# --- plans, without training ---


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "arms.yml").write_text(CONFIG)
    return tmp_path / "arms.yml"


def arms_of(config: Path, *overrides: str, **plan: Any) -> tuple[ComparisonArm, ...]:
    loaded = load_training_file(config, overrides)
    return plan_arms(config, overrides, loaded, ComparePlan(**plan))


def test_seeds_follow_that_of_the_file_and_the_split_stays(config: Path) -> None:
    arms = arms_of(config, methods=("lora",), seeds=3)
    files = [load_training_file(arm.config, arm.overrides).config for arm in arms]
    assert [one.training.seed for one in files] == [7, 8, 9]
    assert {one.data.validation.seed for one in files} == {7}


def test_a_file_that_names_no_held_out_rows_has_arms_too(config: Path) -> None:
    config.write_text("".join(line for line in CONFIG.splitlines(keepends=True) if "validation" not in line))
    (arm,) = arms_of(config, methods=("ia3",))
    validation = load_training_file(arm.config, arm.overrides).config.data.validation
    assert (validation.fraction, validation.seed) == (0.1, 7)


def test_the_files_own_rate_is_for_its_method_and_a_given_one_overrules(config: Path) -> None:
    assert arms_of(config, methods=("lora",))[0].learning_rate == 3e-3
    assert arms_of(config, methods=("lora",), rates={"lora": 1e-4})[0].learning_rate == 1e-4


def test_methods_and_seeds_of_one_file_are_one_comparison_and_other_steps_are_another(config: Path) -> None:
    ids = {
        comparison_id(load_training_file(config, words).config)
        for words in ([], ["method=ia3"], ["training.seed=3"], ["method=qlora"], ["training.learning_rate=1.0"])
    }
    assert len(ids) == 1
    assert comparison_id(load_training_file(config, ["training.max_length=32"]).config) not in ids


@pytest.mark.parametrize(
    "words",
    [
        ["--methods", "lroa"],
        ["--learning-rate", "lora"],
        ["--learning-rate", "lora=-1"],
        ["--sweep", "seed"],
        ["--sweep", "learning_rate=a"],
    ],
)
def test_what_cannot_be_meant_is_refused(config: Path, words: list[str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert run(["init", "--unencrypted", "--no-example", "--home", str(home)]) == 0
    assert run(["compare", str(config), "--home", str(home), *words]) == 2


def test_a_comparison_survives_writing_and_reading(compared: Compared) -> None:
    assert MethodComparison.from_json(compared.found.to_json()) == compared.found
    assert ArmResult.from_json(compared.found.arms[0].to_json()) == compared.found.arms[0]


def test_a_later_evaluation_on_fewer_rows_hides_nothing_that_the_training_measured(
    compared: Compared, capsys: pytest.CaptureFixture[str]
) -> None:
    first = next(arm for arm in compared.found.arms if arm.method == "ia3")
    words = ["--suite", "house", "--limit", "16", "--no-placebo", "--home", str(compared.home)]
    assert run(["evaluate", first.version or "", *words]) == 0
    (arm,) = compared.again(capsys, "--methods", "ia3")[0].arms
    assert arm.quality == first.quality
    assert [(loss.dataset, loss.change) for loss in arm.losses] == [
        (loss.dataset, loss.change) for loss in first.losses
    ]
    assert arm.row_gains == first.row_gains
    assert arm.neutral_loss_change.value == first.neutral_loss_change.value
    assert arm.bias[0] == first.bias[0]
    assert len(arm.bias) == 2
    (row,) = table_rows(compared.found.revised(arms=(arm,)))
    assert f"house on {first.bias[0].n} items" in row[-1]


@pytest.mark.full  # test_every_method.py trains each
def test_all_is_every_method_that_there_is(compared: Compared, capsys: pytest.CaptureFixture[str]) -> None:
    found, told = compared.again(capsys, "--methods", "all")
    assert found.methods == METHOD_NAMES
    assert len(re.findall("registered already", told)) == len(SOME)
    require_verified(compared.registry, found)
