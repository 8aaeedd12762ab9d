"""`registry demo` from an empty folder: told to its end, continued with its governance, and found in the browser afterwards."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.interpreter import ROOT
from tests.servers.ui import RunningUi, running_ui

pytestmark = [pytest.mark.slow, pytest.mark.processes, pytest.mark.filterwarnings("ignore::ResourceWarning")]
PORT = 5260


def demo(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "peft_registry.cli.main", "demo", *options],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("told")
    done = demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_demo_tells_the_whole_story_and_writes_only_under_its_folder(told: tuple[Path, str]) -> None:
    folder, said = told
    assert [path.name for path in folder.iterdir()] == ["demo"]
    for command in ("init", "base add", "train", "ask", "verify", "pull", "merge", "report"):
        assert f"$ registry {command}" in said
    assert len(said.splitlines()) <= 70, "a first impression is read at once"
    assert "loss     6.9" in said
    assert "Reply:' --against base" in said
    assert "\nbroken\n(exit code 6, as it should be)" in said
    assert "lora_B.weight' has other values" in said
    assert "What to type next:" in said


@pytest.fixture(scope="module")
def governed(told: tuple[Path, str]) -> str:
    done = demo(told[0], "--governance")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_demo_is_refused_approved_promoted_and_recalled(governed: str) -> None:
    steps = [
        "$ registry decide polite-replies --on purpose",
        "$ registry record verdict polite-replies",
        "because   the intended purpose did not change, as decided by ada (approver, key ",
        "(exit code 3, as it should be)",
        "approved polite-replies:1 by ada",
        "approved polite-replies:1 by ben",
        "alias    polite-replies@served → polite-replies:1",
        "gate      open",
        "document Model Documentation Form of the Code of Practice: ",
        "document Bill of materials: ",
        "signed   by ada",
        "$ registry hold sha256:",
        "reaches   polite-replies-merged:1",
        "polite-replies-merged:1  ",
        "(exit code 3, as it should be)",
        "undone    the data example.jsonl",
        "$ registry release sha256:",
    ]
    place = 0
    for step in steps:
        place = governed.find(step, place) + 1
        assert place, step


def test_the_merge_of_the_demo_is_measured_and_documented(told: tuple[Path, str]) -> None:
    folder, said = told
    for line in (
        "merge    21 tensors",
        "fold     KL ",
        "distance KL ",
        "registered polite-replies-merged:1  manifest sha256:",
    ):
        assert line in said
    page = (folder / "demo" / "polite-replies-merged-1-report.html").read_text()
    assert "<script" not in page
    assert 'Merged from <span class="name">polite-replies:1</span>' in page
    assert "adapter_bake_in" in page
    assert ">modification<" in page, "the signed modification record is among the statements"


def test_a_second_run_continues_and_trains_nothing_again(governed: str) -> None:
    assert "$ registry train" not in governed
    assert "polite-replies-merged is registered already" in governed
    assert "polite-replies is registered already" in governed


@pytest.fixture(scope="module")
def ui(told: tuple[Path, str]) -> Iterator[RunningUi]:
    with running_ui(told[0] / "demo" / ".registry", PORT) as running:
        yield running


@pytest.mark.full  # tests/e2e/test_mlflow_browser.py shows the same of another home
@pytest.mark.browser
def test_a_browser_finds_run_metrics_version_with_tags_and_the_report(ui: RunningUi) -> None:
    from playwright.sync_api import sync_playwright

    shots = Path(os.environ.get("CI_OUTPUT", ROOT / "ci-output"))
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        page.goto(f"{ui.url}/#/models/polite-replies/versions/1")
        page.get_by_text("registry.manifest").wait_for()
        page.get_by_text("fields filled").first.wait_for()
        _shoot(page, shots, "version")
        page.get_by_role("link", name="train polite-replies:1").click()
        page.get_by_text("loss/held_out").first.wait_for()
        _shoot(page, shots, "run")
        page.goto(f"{ui.url}/#/models/polite-replies/versions/1")
        link = page.get_by_role("link", name="Audit report").first
        link.wait_for()
        page.goto(f"{ui.url}/{link.get_attribute('href')}")
        page.reload()  # MLflow does not switch the file when only the fragment changes
        page.frame_locator("iframe").get_by_role("heading", name="polite-replies:1").wait_for()
        _shoot(page, shots, "report")
        browser.close()


def _shoot(page: Any, folder: Path, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=str(folder / f"demo-{name}.png"))
