"""The report in a browser and on paper: the first page comes first, and every part of the evidence can be reached."""

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from peft_registry.registry.reports.html import render_html
from tests.unit.registry.reports.test_report import QUESTIONS, a_view_of_many

pytestmark = pytest.mark.browser
PARTS = ("lineage", "change", "evaluation", "training", "signature", "gaps", "record", "verify")


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser.new_page(viewport={"width": 1100, "height": 1000})
        browser.close()


def pages_printed(page: Any) -> int:
    return len(re.findall(rb"/Type /Page\b", page.pdf(format="A4")))


PRINTED = {case: view for case, (view, _) in QUESTIONS.items()} | {"many files and warnings": a_view_of_many}


@pytest.mark.parametrize("case", PRINTED)
def test_at_most_two_pages_are_printed_before_the_evidence(page: Any, case: str) -> None:
    page.set_content(render_html(PRINTED[case]()))
    whole = pages_printed(page)
    page.add_style_tag(content=".evidence, footer { display: none !important; }")
    assert pages_printed(page) <= 2
    assert whole > pages_printed(page)


def test_it_is_printed_on_a4_whatever_the_printer_holds(page: Any) -> None:
    page.set_content(render_html(QUESTIONS["a fine-tune"][0]()))
    (first, *_) = re.findall(rb"/MediaBox \[([^]]*)\]", page.pdf(format="Letter", prefer_css_page_size=True))
    _, _, width, height = (float(side) for side in first.split())
    assert (round(width / 72 * 25.4), round(height / 72 * 25.4)) == (210, 297)


# what somebody asks who has never seen the project; what an auditor asks of figures follows
TEN = (
    *("Who made it?", "Which base?", "Which data?", "Was bias measured, and what came out?"),
    *(
        "Is it over a third of the base's compute?",
        "Which role does its modifier have under the AI Act?",
        "What is open?",
    ),
    *("May it be used?", "Are the bytes intact?"),
)


@pytest.mark.parametrize("case", QUESTIONS)
def test_what_a_stranger_asks_is_answered_on_the_first_sheet(page: Any, case: str) -> None:
    before = page.viewport_size
    page.set_viewport_size({"width": A4_TEXT, "height": A4_TEXT_HEIGHT})
    page.emulate_media(media="print")
    try:
        page.set_content(render_html(QUESTIONS[case][0]()))
        for question in TEN:
            row = page.locator(".answers tr").filter(has_text=question).bounding_box()
            assert row["y"] + row["height"] <= A4_TEXT_HEIGHT, question
    finally:
        page.emulate_media(media="null")
        page.set_viewport_size(before)


A4_MARGIN = 16  # mm, of the page's style
A4_TEXT = round((210 - 2 * A4_MARGIN) / 25.4 * 96)  # CSS pixels
A4_TEXT_HEIGHT = round((297 - 2 * A4_MARGIN) / 25.4 * 96)


@pytest.mark.parametrize("case", PRINTED)
@pytest.mark.parametrize(("width", "media"), [(390, "screen"), (A4_TEXT, "print")])
def test_nothing_is_wider_than_a_telephone_or_a_sheet(page: Any, case: str, width: int, media: str) -> None:
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(media=media)
    try:
        page.set_content(render_html(PRINTED[case]()))
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        # a sheet cannot be scrolled: one table that is too wide makes a browser shrink every page of the document
        wider = page.evaluate(
            """() => [...document.querySelectorAll('body *')]
                .filter(element => !matchMedia('screen').matches || !element.closest('.scroll'))
                .filter(element => element.getBoundingClientRect().right > innerWidth + 1)
                .map(element => element.tagName + ' ' + element.textContent.slice(0, 60))"""
        )
        assert wider == []
    finally:
        page.emulate_media(media="null")
        page.set_viewport_size(before)


def test_the_parts_are_closed_on_the_screen_and_open_on_paper(page: Any) -> None:
    page.set_content(render_html(QUESTIONS["a fine-tune"][0]()))
    assert not [part for part in PARTS if page.locator(f"#{part}").is_visible()]
    page.emulate_media(media="print")
    try:
        assert not [part for part in PARTS if page.locator(f"#{part}").bounding_box()["height"] < 40]
    finally:
        page.emulate_media(media="null")  # as the page is read or printed


@pytest.mark.parametrize("source", ["blob", "srcdoc"])
def test_every_part_opens_in_the_sandboxed_frame_of_a_viewer(page: Any, source: str) -> None:
    page.goto("about:blank")
    page.evaluate(
        """([html, source]) => {
            const frame = document.createElement('iframe');
            frame.sandbox = 'allow-scripts';
            Object.assign(frame, {width: 1000, height: 800});
            if (source === 'srcdoc') frame.srcdoc = html;
            else frame.src = URL.createObjectURL(new Blob([html], {type: 'text/html'}));
            document.body.append(frame);
        }""",
        [render_html(QUESTIONS["a fine-tune"][0]()), source],
    )
    frame = page.frame_locator("iframe")
    for at, part in enumerate(PARTS):
        frame.locator("summary").nth(at).click()
        frame.locator(f"#{part}").wait_for(timeout=5000)
