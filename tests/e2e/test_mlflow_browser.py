"""What a person finds in the browser: run, metrics, version with tags, and the report, without leaving this machine.

Screenshots go to `ci-output/` (or CI_OUTPUT), to be looked at.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.mlflow.mirror import sync
from peft_registry.registry.mlflow.route import MirrorRoute
from tests.builders.mirror import (
    Memory,
    a_base,
    a_base_projection,
    a_projection,
    a_run,
    a_version,
    an_entry,
    an_evaluation,
)
from tests.servers.ui import RunningUi, running_ui

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore::ResourceWarning")]

PORT = 5230
PATIENCE_MS = 60_000  # two busy cores
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningUi]:
    home = tmp_path_factory.mktemp("home")
    first, second = a_version(1), a_version(2, aliases=("champion",))
    # an image from elsewhere in text that somebody else wrote must not be fetched
    stranger = a_version(1, name="stranger", key_id="![spy](http://tracker.example/spy.png)")
    known = {
        a_base().label: a_base_projection(),
        first.label: a_projection(first),
        second.label: a_projection(second, run=a_run(steps=60), evaluations=(an_evaluation(after=0.55),)),
        stranger.label: a_projection(stranger, report=None),
    }
    entries = [an_entry(version, id) for id, version in enumerate((a_base(), first, second, stranger), start=1)]
    outcome = sync(
        [entries],
        route=MirrorRoute.of_home(home),
        state=Memory(),
        load=lambda entry: known[entry.label],
        lock=home / "lock",
    )
    assert len(outcome.done) == 4
    with running_ui(home, PORT) as running:
        yield running
    assert running.alive() == []


@pytest.fixture(scope="module")
def context(ui: RunningUi) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        context.set_default_timeout(PATIENCE_MS)
        yield context
        browser.close()


@pytest.fixture
def page(context: Any, ui: RunningUi) -> Iterator[Any]:
    """A page that may ask this server for anything, and nobody else."""
    page = context.new_page()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((ui.url, "data:", "blob:")) else elsewhere.append(request.url),
    )
    yield page
    page.close()
    assert elsewhere == []


def shoot(page: Any, name: str) -> None:
    folder = Path(os.environ.get("CI_OUTPUT", "ci-output"))
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(1500)  # charts draw themselves in
    page.screenshot(path=str(folder / f"mlflow-{name}.png"))


def run_link(ui: RunningUi, number: int) -> str:
    import json

    _, body, _ = ui.get(f"/api/2.0/mlflow/model-versions/get?name=gsm8k-tutor&version={number}")
    run_id = json.loads(body)["model_version"]["run_id"]
    _, body, _ = ui.get(f"/api/2.0/mlflow/runs/get?run_id={run_id}")
    return f"{ui.url}/#/experiments/{json.loads(body)['run']['info']['experiment_id']}/runs/{run_id}"


def test_the_page_opens_where_models_are(page: Any, ui: RunningUi) -> None:
    page.goto(ui.url)
    page.get_by_role("link", name="gsm8k-tutor").first.wait_for()
    assert page.get_by_text("Model registry").count() >= 1, "the view for training, not the one for agents"
    assert not page.locator("[data-assistant-ui]").first.is_visible()
    shoot(page, "models")


def test_the_version_shows_description_digests_and_status(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/#/models/gsm8k-tutor/versions/2")
    page.get_by_text("registry.manifest").first.wait_for()
    page.get_by_text(str(a_version(2).manifest_digest)).first.wait_for()
    page.get_by_text("inconclusive: house.stereotype_rate").first.wait_for()
    page.get_by_role("link", name="Audit report").wait_for()
    shoot(page, "version")


def test_the_run_shows_params_metrics_data_and_lineage(page: Any, ui: RunningUi) -> None:
    page.goto(run_link(ui, 2))
    page.get_by_text("train gsm8k-tutor:2").first.wait_for()
    page.get_by_text("loss/held_out").first.wait_for()
    page.get_by_text("lora.r", exact=True).first.wait_for()
    page.get_by_text("gsm8k.jsonl (train)").first.wait_for()
    shoot(page, "run")
    page.goto(f"{run_link(ui, 2)}/model-metrics")
    page.locator("svg.main-svg, canvas").first.wait_for()
    shoot(page, "metrics")
    page.get_by_placeholder("Search metric charts").fill("loss/")
    page.get_by_text("(loss/train)").first.wait_for()
    shoot(page, "loss")
    shoot(page, "metrics")


def test_the_report_renders_from_the_link_on_the_version(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/#/models/gsm8k-tutor/versions/2")
    link = page.get_by_role("link", name="Audit report")
    link.wait_for()
    page.goto(f"{ui.url}/{link.get_attribute('href')}")
    page.reload()  # MLflow does not switch the file when only the fragment changes
    report = page.frame_locator("iframe").locator("#subject")
    report.wait_for()
    assert report.inner_text() == "gsm8k-tutor:2"
    shoot(page, "report")


def test_the_results_are_a_table(page: Any, ui: RunningUi) -> None:
    page.goto(f"{run_link(ui, 2)}/artifacts/evaluation/results.json")
    page.get_by_text("stereotype_rate").first.wait_for()
    shoot(page, "results")


def test_text_of_a_stranger_fetches_nothing(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/#/models/stranger/versions/1")
    page.get_by_text("registry.manifest").first.wait_for()
    page.wait_for_timeout(1000)
    assert page.locator("img[src*='tracker.example']").count() == 0
