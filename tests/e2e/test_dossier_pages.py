"""The pages of a dossier and our own, as people meet them: by keyboard, on a telephone, in the dark, on paper, offline."""

import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.mlflow.pages import answer
from peft_registry.registry.records.references import version_named
from peft_registry.registry.reports.comparison import comparison_page
from peft_registry.registry.use_cases.attach import attach
from peft_registry.registry.use_cases.decide import decide, decide_question, write_form
from peft_registry.registry.use_cases.gate import read_gate_policy
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.report_all import report_all
from tests.builders.decisions import OFFICER, OFFICERS, fill_in
from tests.builders.homes import a_home, reopened
from tests.conftest import not_run
from tests.integration.registry.use_cases.test_gate import ALEX, fill_with_approvers
from tests.unit.registry.reports.test_bias_of_methods import a_comparison, counts

pytestmark = pytest.mark.browser
RECIPIENTS = ("ai-office", "national-authority", "downstream", "public")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dossier of an answered version for each recipient, and recalled; its report, that of the registry, and other pages."""
    folder = tmp_path_factory.mktemp("pages")
    with a_home(folder / "home") as registry:
        fill_with_approvers(registry, folder)
    registry = reopened(folder / "home")
    (folder / "bank.yml").write_text("name: bank\nabout: one person looks\napprovals: {count: 1}\n", "utf-8")
    (folder / "IFU-2.1.pdf").write_bytes(b"%PDF-1.7 instructions")
    version = version_named(registry, "sums")
    policy = read_gate_policy(str(folder / "bank.yml"))
    decide_question(registry, version, "purpose", policy, ALEX, is_yes=False, reason="as it was")
    attach(registry, version, folder / "IFU-2.1.pdf", "instructions", ALEX)
    write_form(registry, version, folder / "gaps.yml")
    decide(registry, version, fill_in(folder / "gaps.yml", {OFFICERS: "yes"}), OFFICER)
    signer = registry.trainer_key
    shown = folder / "shown"
    shown.mkdir()
    for recipient in RECIPIENTS:
        hand_over(registry, version, recipient, shown / recipient, signer=signer)  # type: ignore[arg-type]  # as above
    (shown / "report.html").write_bytes(make_report(registry, version))
    (shown / "registry.html").write_text(report_all(registry, within_days=90).html(), "utf-8")
    (shown / "comparison.html").write_text(comparison_page(a_comparison(counts(1, 4, 2))), "utf-8")
    for path in ("", "sums/1", "sums/1/lineage", "sums/1/decisions"):
        own = answer(path, lambda: nullcontext(registry))
        assert own.status == 200
        (shown / f"own-{path.replace('/', '-')}.html").write_text(own.html, "utf-8")
    recall(registry, "sums", ALEX, reason="it counts wrong")
    hand_over(registry, version_named(registry, "sums"), "ai-office", shown / "recalled", signer=signer)
    registry.close()
    return shown


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def every_page(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.html"))
    assert len(found) == 27, (
        "21 of dossiers, a report each of a version and of a registry, a comparison and pages of a server"
    )
    return found


def of_each_kind(folder: Path) -> list[Path]:
    """A page of each name: recipients have the same document with more rows of it or fewer."""
    return list({file.name: file for file in reversed(every_page(folder))}.values())


def on_a_telephone(folder: Path) -> list[Path]:
    """Pages where tables and lines are longest: there they scroll sideways."""
    names = ("ai-office/cover", "ai-office/annex-iv", "report", "registry", "comparison", "own-sums-1")
    return [folder / f"{name}.html" for name in names]


@pytest.mark.parametrize(
    ("width", "scheme", "looked_over"),
    [
        pytest.param(1100, "light", of_each_kind, id="each kind"),
        pytest.param(1100, "light", every_page, id="all", marks=pytest.mark.full),
        pytest.param(390, "dark", on_a_telephone, id="dark telephone"),
    ],
)
def test_axe_finds_nothing_that_keeps_people_from_reading_a_page_and_none_asks_a_network(
    pages: Path, browser: Any, width: int, scheme: str, looked_over: Callable[[Path], list[Path]]
) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        not_run("axe-playwright-python is not installed")
    from axe_playwright_python.sync_playwright import Axe

    # our own policy of contents forbids every script, the one that looks too
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    wrong = {}
    for file in looked_over(pages):
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        looked_at = Axe().run(page).response
        assert len(looked_at["passes"]) >= 15, "it looked"
        wrong |= {f"{file.relative_to(pages)}: {found['id']}": found["help"] for found in looked_at["violations"]}
    page.close()
    assert wrong == {}
    assert [url for url in asked if not url.startswith("file:")] == []


def test_every_link_and_part_is_reached_by_the_keyboard_and_shows_that_it_is(pages: Path, browser: Any) -> None:
    page = browser.new_page()
    for file in every_page(pages):
        page.goto(file.as_uri())
        wanted = page.evaluate("[...document.querySelectorAll('a[href], summary')].map(e => e.textContent)")
        reached = []
        for _ in range(len(wanted) + 80):  # regions that scroll are stops as well
            page.keyboard.press("Tab")
            at = page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const style = getComputedStyle(at);
                    return at === document.body ? null : [at.tagName, at.textContent, style.outlineStyle];
                }"""
            )
            if at is None:
                break
            assert at[2] != "none", (file.name, at[1][:60])
            if at[0] in ("A", "SUMMARY"):
                reached.append(at[1])
        assert reached[: len(wanted)] == wanted, file.relative_to(pages)
    page.close()


@pytest.mark.parametrize("dossier", [*RECIPIENTS, "recalled"])
def test_the_cover_is_one_sheet_with_each_of_its_rows(pages: Path, browser: Any, dossier: str) -> None:
    page = browser.new_page()
    page.goto((pages / dossier / "cover.html").as_uri())
    assert len(re.findall(rb"/Type /Page\b", page.pdf(format="A4"))) == 1
    rows = json.loads((pages / dossier / "cover.json").read_bytes())["rows"]
    theirs = [row for row in rows if row["state"] != "not for this recipient"]
    assert page.locator(".rows tbody tr").count() == len(theirs) >= 6
    if dossier == "recalled":
        assert "it counts wrong" in page.locator(".attention").inner_text()
    page.close()


@pytest.mark.parametrize("document", ["annex-iv", "mdf", "annex-xi", "pst"])
def test_no_row_of_a_document_is_left_out_on_paper(pages: Path, browser: Any, document: str) -> None:
    page = browser.new_page()
    page.goto((pages / "ai-office" / f"{document}.html").as_uri())
    page.emulate_media(media="print")
    rows = json.loads((pages / "ai-office" / f"{document}.json").read_bytes())["rows"]
    theirs = [row["row"] for row in rows if row["state"] != "not for this recipient"]
    shown = page.locator(".rows tbody tr")
    assert [shown.nth(at).locator("th").inner_text() for at in range(shown.count())] == theirs
    assert all(shown.nth(at).bounding_box()["height"] > 8 for at in range(shown.count()))
    page.close()
