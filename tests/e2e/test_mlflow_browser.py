"""What a person finds in the browser after train, compare, merge and promote, without leaving this machine.

One registry and one server for the whole file. Screenshots go to `ci-output/` (or CI_OUTPUT), to be looked at.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.registry.homes.run_logs import RUN_LOG_NAME
from peft_registry.trainer.runs.folder import remove_run
from tests.builders.run_logs import RUN, begun, point, write_log
from tests.e2e.commands import WarmCommand, registry
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
# an image from elsewhere and a script in what a stranger named must stay text
HOSTILE_DATA = "![spy](http:tracker.example) <img src=x onerror=alert(1)>.jsonl"
QUICK = ("training.num_train_epochs=1",)
NO_SUITE = ("evaluation.bias=[]",)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, warm: WarmCommand) -> Path:
    """A base, two trainings, a comparison, a merge and a promotion."""
    folder = tmp_path_factory.mktemp("browsed")
    registry("init", "--unencrypted", "--person", "lab", cwd=folder).ok()
    warm("base", "add", "embedded", "--name", "tiny", cwd=folder).ok()
    example = folder / "example"
    (example / "hostile.yml").write_text(
        (example / "train.yml").read_text().replace("path: example.jsonl", f"path: {json.dumps(HOSTILE_DATA)}")
    )
    shutil.copy(example / "example.jsonl", example / HOSTILE_DATA)
    warm("train", "example/train.yml", *QUICK, cwd=folder).ok()
    warm("train", "example/hostile.yml", "name=stranger", "training.seed=8", *QUICK, *NO_SUITE, cwd=folder).ok()
    warm("compare", "example/train.yml", "--methods", "ia3", "--no-latency", *QUICK, *NO_SUITE, cwd=folder).ok()
    warm("merge", "polite-replies:1", "--name", "polite-merged", cwd=folder).ok()
    warm("promote", "polite-replies:1", "champion", cwd=folder).ok()
    return folder / ".registry"


@pytest.fixture(scope="module")
def ui(home: Path) -> Iterator[RunningUi]:
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
    """A page that may ask this server for anything, and nobody else, and in which no text of ours becomes a script."""
    page = context.new_page()
    elsewhere: list[str] = []
    page.on(
        "request",
        lambda request: None if request.url.startswith((ui.url, "data:", "blob:")) else elsewhere.append(request.url),
    )
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    yield page
    page.close()
    assert elsewhere == []
    assert alerts == []


def shoot(page: Any, name: str, *, draws_itself_in_ms: int = 0) -> None:
    folder = Path(os.environ.get("CI_OUTPUT", "ci-output"))
    folder.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(draws_itself_in_ms)
    page.screenshot(path=str(folder / f"mlflow-{name}.png"))


def require_hidden(page: Any, *names: str) -> None:
    """None of these buttons is shown: they are of what is refused."""
    page.wait_for_timeout(1000)  # one that comes late would be shown too
    for name in names:
        buttons = page.get_by_role("button", name=name, exact=True)
        assert not [number for number in range(buttons.count()) if buttons.nth(number).is_visible()], name


def version_link(ui: RunningUi, name: str, number: int = 1) -> str:
    return f"{ui.url}/#/models/{name}/versions/{number}"


def run_link(ui: RunningUi, name: str, number: int = 1) -> str:
    _, body, _ = ui.get(f"/api/2.0/mlflow/model-versions/get?name={name}&version={number}")
    run_id = json.loads(body)["model_version"]["run_id"]
    _, body, _ = ui.get(f"/api/2.0/mlflow/runs/get?run_id={run_id}")
    return f"{ui.url}/#/experiments/{json.loads(body)['run']['info']['experiment_id']}/runs/{run_id}"


def test_the_page_opens_where_models_are(page: Any, ui: RunningUi) -> None:
    page.goto(ui.url)
    for name in ("polite-replies", "polite-merged", "tiny"):
        page.get_by_role("link", name=name, exact=True).first.wait_for()
    page.get_by_text("champion").first.wait_for()
    assert page.get_by_text("Model registry").count() >= 1, "the view for training, not the one for agents"
    assert not page.locator("[data-assistant-ui]").first.is_visible()
    require_hidden(page, "Create Model")
    shoot(page, "models")


def test_the_list_of_versions_shows_bias_loss_and_signature(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/#/models/polite-replies")
    for tag in ("registry.bias", "registry.loss", "registry.sign"):
        page.get_by_text(re.compile(f"^{tag}|^{tag[:9]}")).first.wait_for()
    page.get_by_text(re.compile(r"\d → \d")).first.wait_for()
    page.get_by_text("not checked here").first.wait_for()
    require_hidden(page, "Edit", "Add")
    shoot(page, "versions")


def test_the_version_shows_digests_links_and_how_to_promote_and_no_button_that_copies(page: Any, ui: RunningUi) -> None:
    page.goto(version_link(ui, "polite-replies"))
    page.get_by_text("registry.manifest").first.wait_for()
    page.get_by_text("registry verify polite-replies:1").first.wait_for()
    page.get_by_text("fields filled").first.wait_for()
    assert page.get_by_text("registry promote").count() == 0, "it is the champion already"
    for name in ("Verify now", "Lineage", "Audit report", "Run", "tiny:1", "polite-merged:1"):
        page.get_by_role("link", name=name, exact=True).first.wait_for()
    require_hidden(page, "Edit", "Add", "Edit aliases", "Promote model")
    shoot(page, "version")
    page.goto(version_link(ui, "polite-merged"))
    page.get_by_text("registry promote polite-merged:1 champion").first.wait_for()


def test_the_page_of_experiments_shows_no_button_of_what_is_refused(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/#/experiments")
    page.get_by_text("registry").first.wait_for()
    require_hidden(page, "Create", "Delete")


def test_a_move_of_an_alias_is_shown_with_no_further_command(
    page: Any, ui: RunningUi, home: Path, warm: WarmCommand
) -> None:
    def champion() -> str:
        _, body, _ = ui.get("/api/2.0/mlflow/registered-models/alias?name=stranger&alias=champion")
        return str(json.loads(body).get("model_version", {}).get("version"))

    assert champion() == "None"
    warm("promote", "stranger:1", "champion", cwd=home.parent).ok()
    assert champion() == "1"
    page.goto(version_link(ui, "stranger"))
    page.get_by_text("champion").first.wait_for()


def test_base_and_descendants_lead_to_each_other(page: Any, ui: RunningUi) -> None:
    page.goto(version_link(ui, "tiny"))
    for label, name in (
        ("polite-replies:1", "polite-replies"),
        ("polite-merged:1", "polite-merged"),
        ("tiny:1", "tiny"),
    ):
        with page.context.expect_page() as opened:  # MLflow opens a link of a description in a tab of its own
            page.get_by_role("link", name=label, exact=True).click()
        page = opened.value
        page.wait_for_url(f"**/#/models/{name}/versions/1")
        page.get_by_text(f"{label}:").first.wait_for()


def test_the_runs_begin_with_loss_bias_and_signature_as_columns_and_without_an_error(page: Any, ui: RunningUi) -> None:
    experiment = run_link(ui, "polite-replies").partition("/runs/")[0]
    page.goto(f"{experiment}/runs")
    page.get_by_text("train polite-replies:1").first.wait_for()
    for column in ("loss/held_out", "registry.bias", "registry.signature"):
        page.get_by_text(column).first.wait_for()
    assert page.get_by_text("ENDPOINT_NOT_FOUND").count() == 0
    page.get_by_text(re.compile("^compare ")).first.wait_for()
    shoot(page, "runs")


def test_the_run_shows_params_metrics_data_and_at_most_twenty_charts(page: Any, ui: RunningUi) -> None:
    page.goto(run_link(ui, "polite-replies"))
    page.get_by_text("train polite-replies:1").first.wait_for()
    page.get_by_text("loss/held_out").first.wait_for()
    page.get_by_text("lora.r", exact=True).first.wait_for()
    page.get_by_text("example.jsonl (train)").first.wait_for()
    shoot(page, "run")
    page.goto(f"{run_link(ui, 'polite-replies')}/model-metrics")
    page.locator("svg.main-svg, canvas").first.wait_for()
    page.get_by_text("measured bias").first.wait_for()
    sections = re.findall(r"(measured bias|loss|training)\s*\((\d+)\)", page.inner_text("body"))
    assert next(name for name, _ in sections) == "loss", "MLflow orders them by name"
    assert 2 < sum(int(count) for _, count in sections) <= 20
    shoot(page, "metrics", draws_itself_in_ms=1000)
    # MLflow draws only what is in view
    page.get_by_placeholder("Search metric charts").fill("house.pct_stereotype")
    page.get_by_text("house.pct_stereotype").first.wait_for()
    shoot(page, "bias", draws_itself_in_ms=1000)
    page.get_by_placeholder("Search metric charts").fill("loss/train")
    page.get_by_text("(loss/train)").first.wait_for()
    shoot(page, "loss", draws_itself_in_ms=1000)
    page.goto(f"{run_link(ui, 'polite-replies')}/system-metrics")
    # one sampled in training, one of the whole run; MLflow draws only what is in view
    for measured in ("system_memory_usage_percentage", "wall_seconds"):
        page.get_by_placeholder("Search metric charts").fill(measured)
        page.get_by_text(measured).first.wait_for()


@pytest.mark.full
def test_the_charts_of_a_run_under_way_grow(page: Any, ui: RunningUi, home: Path) -> None:
    """Two pictures of one run, and what MLflow draws of it when it is looked at again."""
    runs = HomeFiles(home).runs
    points = [point(step, 3 / step, logged={}) for step in range(1, 401)]
    folder = write_log(runs, begun(name="growing", base="tiny:1"), *points[:129])
    _, body, _ = ui.get(f"/api/2.0/mlflow/runs/get?run_id={RUN}")
    info = json.loads(body)["run"]["info"]
    assert info["status"] == "RUNNING"
    drawn = []
    for shown in (129, 400):
        page.goto(f"{ui.url}/#/experiments/{info['experiment_id']}/runs/{RUN}/model-metrics")
        page.reload()
        page.get_by_text("(loss/train)").or_(page.get_by_text("loss/train")).first.wait_for()
        page.locator("svg.main-svg .scatterlayer .js-line").first.wait_for()
        shoot(page, f"under-way-{shown}", draws_itself_in_ms=1000)
        drawn.append(float(page.locator("svg.main-svg .xaxislayer-above text").last.text_content() or ""))
        with (folder / RUN_LOG_NAME).open("ab") as log:
            log.writelines(json.dumps(line).encode() + b"\n" for line in points[129:] if shown == 129)
    remove_run(runs, RUN)
    assert drawn[0] <= 129 < drawn[1] <= 400, "the last step that the axis names"


@pytest.mark.full
def test_two_runs_stand_side_by_side(page: Any, ui: RunningUi) -> None:
    links = [run_link(ui, name) for name in ("polite-replies", "stranger")]
    ids = [link.rpartition("/")[2] for link in links]
    experiment = links[0].partition("/runs/")[0].rpartition("/")[2]
    page.goto(f'{ui.url}/#/compare-runs?runs={json.dumps(ids, separators=(",", ":"))}&experiments=["{experiment}"]')
    for text in ("train polite-replies:1", "train stranger:1", "lora.r", "loss/held_out"):
        page.get_by_text(text).first.wait_for()
    shoot(page, "comparison", draws_itself_in_ms=1000)


def test_the_report_renders_from_the_link_on_the_version_and_its_parts_open(page: Any, ui: RunningUi) -> None:
    page.goto(version_link(ui, "polite-replies"))
    link = page.get_by_role("link", name="Audit report")
    link.wait_for()
    page.goto(f"{ui.url}/{link.get_attribute('href')}")
    page.reload()  # MLflow does not switch the file when only the fragment changes
    report = page.frame_locator("iframe")
    report.locator("h1").wait_for()
    assert report.locator("h1").inner_text() == "polite-replies:1"
    parts = report.locator("details.part > summary")
    assert parts.count() >= 6
    for number in range(parts.count()):
        parts.nth(number).click()
        report.locator("details.part > div").nth(number).wait_for()
    shoot(page, "report")


@pytest.mark.parametrize(
    ("table", "shown"), [("results", "pct_stereotype"), ("outcomes", "conclusion"), ("items", "log-likelihood")]
)
def test_results_outcomes_and_items_are_tables(page: Any, ui: RunningUi, table: str, shown: str) -> None:
    page.goto(f"{run_link(ui, 'polite-replies')}/artifacts/evaluation/{table}.json")
    page.get_by_role("columnheader", name="dataset").first.wait_for()
    page.get_by_text(shown).first.wait_for()
    shoot(page, table)


def test_one_click_from_a_version_verifies_it_now_and_leads_on(page: Any, ui: RunningUi) -> None:
    page.goto(version_link(ui, "polite-replies"))
    href = page.get_by_role("link", name="Verify now").get_attribute("href")
    assert href == "/registry/polite-replies/1"
    page.goto(f"{ui.url}{href}")
    page.get_by_text("✓ verified").wait_for()
    assert page.locator("table.checks tr").count() == 10
    shoot(page, "our-verification")
    page.get_by_role("link", name="Lineage").click()
    page.locator(".drawing svg").wait_for()
    shoot(page, "our-lineage")
    page.get_by_role("link", name="polite-merged:1").click()
    page.get_by_text("✓ verified").wait_for()
    page.get_by_role("link", name="Audit report with these checks").click()
    page.get_by_role("heading", name="polite-merged:1").wait_for()
    page.get_by_text("Signature and checks").click()
    page.get_by_text("Checks made for this report").wait_for()
    shoot(page, "our-report")
    page.goto(f"{ui.url}/registry/")
    page.get_by_role("link", name="stranger:1").click()
    page.get_by_role("link", name="in MLflow").click()
    page.wait_for_url("**/#/models/stranger/versions/1")
    page.get_by_text("registry.manifest").first.wait_for()


def test_a_page_of_ours_has_its_style_and_no_script_runs_in_it(page: Any, ui: RunningUi) -> None:
    page.goto(f"{ui.url}/registry/stranger/1/report")
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1088px"
    page.add_init_script("")
    ran = page.evaluate(
        """() => { const script = document.createElement('script'); script.textContent = 'window.ran = 1';
        document.head.append(script); return window.ran }"""
    )
    assert ran is None


def test_what_a_stranger_named_stays_text(page: Any, ui: RunningUi) -> None:
    for link in (version_link(ui, "stranger"), run_link(ui, "stranger"), f"{ui.url}/registry/stranger/1/lineage"):
        page.goto(link)
        page.get_by_text("stranger:1").first.wait_for()
        page.wait_for_timeout(500)
        assert page.locator("img[src*='tracker.example'], img[src='x']").count() == 0
    page.goto(f"{run_link(ui, 'stranger')}/artifacts/report/audit.html")
    page.frame_locator("iframe").locator("h1").wait_for()
    assert page.frame_locator("iframe").locator("img, script").count() == 0
