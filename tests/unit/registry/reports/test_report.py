"""The report: the same facts give the same page, every figure carries its source, and nothing from outside becomes markup."""

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from peft_registry.cli.groups import SECTIONS
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.retention import with_dates
from peft_registry.registry.compliance.shown_values import shown_leaves, with_unit
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.compliance.verdicts.words import STATUSES
from peft_registry.registry.reports.conditions import condition_lines
from peft_registry.registry.reports.decisions import AliasGate
from peft_registry.registry.reports.drawing import (
    MAX_NODES,
    bar_groups,
    curve_drawing,
    interval_drawing,
    lineage_drawing,
)
from peft_registry.registry.reports.evaluation_view import ShownEvaluation, bars_of, transitions_of
from peft_registry.registry.reports.html import render_html
from peft_registry.registry.reports.law_answers import due_lines, licence_lines
from peft_registry.registry.reports.text import number, plain, share, signed, size, value_text, visible
from peft_registry.registry.reports.version_facts import KeyHolders, PageChecks, VersionFacts
from peft_registry.registry.reports.wording import CLASSIFICATIONS, OwnerNames, comparison_sentence
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Guards, LeakageCheck, LeakedItems
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode
from peft_registry.schemas.merge import StaleEvaluation
from peft_registry.schemas.modification import BaseUsed, DataUsed, Modifier
from peft_registry.schemas.profile import NOT_ANSWERED
from peft_registry.schemas.report import Bar, Curve, RecordStep
from peft_registry.schemas.run import LossCurve
from peft_registry.schemas.statement import statement_about
from peft_registry.schemas.values import declared, derived, imported, measured, unknown
from peft_registry.schemas.version import Check
from tests.builders.records import (
    NOW,
    a_base_input,
    a_base_record,
    a_comparison,
    a_data_identity,
    a_digest,
    a_lineage,
    a_manifest,
    a_merge_modification,
    a_merge_record,
    a_modification_record,
    a_result,
    a_run_record,
    a_stored_statement,
    a_version,
    an_evaluation,
    an_outcome,
    some_base_facts,
)
from tests.builders.report_views import a_report_view
from tests.processes.interpreter import ROOT

GOLDEN = ROOT / "tests" / "golden"
# such text is refused in facts; a record that an older version signed may hold it
HOSTILE = '"><script>alert(1)</script><img src=x onerror=y>&{{ 7*7 }}\x1b[31m\u202e'


def a_view(**over):
    facts = some_base_facts(training_tokens=imported(2e12, "tokens", method="the base's model card"))
    base = a_base_input(record=a_base_record(facts=facts))
    fields = {
        "version": a_version(aliases=("champion",)),
        "lineage": a_lineage(),
        "run": a_run_record(),
        "evaluation": an_evaluation(),
        "record": a_modification_record(bases=(base,)),
        "statements": (a_stored_statement("modification"), a_stored_statement("provenance", log_index=6)),
        "persons": {"lab-1": "the person of the trust file"},
        "roles": {"lab-1": "trainer"},
        "verification": an_outcome(),
    }
    return a_report_view(**(fields | over))


def with_intended(record, text):
    """The record with a use that nobody checked, asserted by nobody who was checked."""
    return record.revised(use=record.use.revised(intended=declared(text, by=text, at=NOW)))


def golden(name: str, found: str) -> None:
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), f"{name} changed; look at it, then UPDATE_GOLDEN=1"


def a_move(alias):
    move = {"name": a_version().name, "alias": alias, "reason": None, "nonce": "00"}
    return statement_about(a_manifest().canonical_digest(), "alias", move)


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self._is_name = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]
        self._is_name = dict(attrs).get("class") == "name"
        self.words += [] if self._is_name else [" "]

    def handle_endtag(self, tag):
        # a name in which no line is broken is no word of its own
        self.words += [] if self._is_name else [" "]
        self._is_name = False

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


# --- the page ---


def test_the_page_of_a_trained_adapter_is_as_reviewed():
    golden("report.html", render_html(a_view()))


def test_the_same_records_give_the_same_page():
    assert render_html(a_view()) == render_html(a_view())


def test_the_page_reaches_for_nothing_and_runs_nothing():
    page = Page(render_html(a_view()))
    assert not {"script", "link", "img", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on") or key in ("src", "href")]
    style = render_html(a_view()).split("</style>", maxsplit=1)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_page_says_what_it_is_not():
    text = Page(render_html(a_view())).text
    assert "Decision support, not legal advice." in text
    assert "This does not show that the system is free of bias" in text


def test_text_from_outside_is_never_markup():
    run = a_run_record(
        data=(a_data_identity(name=HOSTILE),), warnings=(HOSTILE,), config={"lora": {"target_modules": [HOSTILE]}}
    )
    lineage = a_lineage()
    nodes = tuple(node.model_copy(update={"label": HOSTILE, "detail": HOSTILE}) for node in lineage.nodes)
    evaluation = an_evaluation(
        results=(a_result(dataset=HOSTILE, metric=HOSTILE), a_result(dataset=HOSTILE, metric=HOSTILE, arm="adapted")),
        comparisons=(a_comparison(dataset=HOSTILE, conclusion_reason=HOSTILE),),
        limitations=(HOSTILE,),
    )
    check = Check(step="files", text=HOSTILE, status="failed", error="x", detail=(HOSTILE,))
    html = render_html(
        a_view(
            run=run,
            record=with_intended(a_modification_record(run=run, evaluation=evaluation), HOSTILE),
            evaluation=evaluation,
            lineage=lineage.model_copy(update={"nodes": nodes}),
            persons={"lab-1": HOSTILE},
            verification=an_outcome(checks=(check,), verdict="broken"),
        )
    )
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    assert "{{ 7*7 }}" in page.text


def test_every_sheet_says_of_which_version_it_is_and_no_title_ends_the_style():
    assert '@bottom-left { content: "sums-tutor:1";' in render_html(a_view())
    hostile = render_html(a_view().model_copy(update={"title": 'a"}</style><script>\\'}))
    assert "script" not in {tag for tag, _ in Page(hostile).tags}
    assert 'content: "a\\22 \\7d \\3c \\2f style\\3e \\3c script\\3e \\5c ";' in hostile


def test_no_line_is_broken_inside_a_hyphenated_name_or_an_option():
    view = a_view(evaluation=None, version=a_version(name="sums-tutor"))
    html = render_html(view)
    assert 'registry evaluate <span class="name">sums-tutor:1</span></code>' in html
    # words of the language are not names
    assert '<span class="name">high-risk' not in html


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "=cmd()|'/c calc'!A0", "a | b\n# c", "{{ 7*7 }}"])
def test_a_fact_that_another_program_would_run_is_text_on_the_page(text):
    facts = {"asserted_by": text.split("\n")[0], "use": {"intended": text}, "limitations": {"known": [text]}}
    page = Page(render_html(a_view(record=a_modification_record(facts=facts))))
    assert "script" not in {tag for tag, _ in page.tags}
    assert " ".join(text.split()) in page.text


def test_every_source_is_a_word_and_every_method_is_text_too():
    page = Page(render_html(a_view()))
    for tag, attrs in page.tags:
        if tag == "span" and (attrs.get("class") or "").startswith("badge") and attrs.get("title"):
            assert " ".join(attrs["title"].split()) in page.text
    assert "6·P·D" in page.text


def test_a_base_has_a_report_without_a_run():
    version = a_version(name="small-llama", kind="base", layout="model", method=None, base_manifest=None)
    view = a_view(version=version, run=None, evaluation=None, record=None, statements=(), verification=None)
    page = Page(render_html(view))
    assert "not checked for this report" in page.text
    assert "change" not in page.ids
    assert {"lineage", "signature", "verify"} <= set(page.ids)


@pytest.mark.parametrize("verdict", ["verified", "unverified", "broken"])
def test_the_verdict_is_shown_as_a_word(verdict):
    assert verdict in Page(render_html(a_view(verification=an_outcome(verdict=verdict)))).text


def test_a_recall_stands_beside_the_verdict_before_anything_else():
    recalled = an_outcome(verdict="verified").revised(recalls=("the data rows.jsonl: ada recalled it",))
    for outcome, is_told in ((recalled, True), (an_outcome(verdict="verified"), False)):
        header = render_html(a_view(verification=outcome)).split("</header>", maxsplit=1)[0]
        assert ('<li class="verdict broken">✗ recalled</li>' in header) is is_told


# --- the first page ---


def a_merge_view(**over):
    version = a_version(name="tutor-merged", kind="model", layout="model", method="merge")
    facts = {"asserted_by": "x", "use": {"intended": "sums for pupils"}}
    fields = {
        "version": version,
        "run": None,
        "merge": a_merge_record(),
        "evaluation": None,
        "record": a_merge_modification(facts=facts),
    }
    return a_view(**(fields | over))


def a_base_view(**over):
    version = a_version(name="small-llama", kind="base", layout="model", method=None, base_manifest=None)
    alone = Lineage(focus=a_lineage().nodes[0].digest, nodes=a_lineage().nodes[:1], edges=())
    without = {"run": None, "evaluation": None, "record": None, "statements": ()}
    return a_view(**({"version": version, "lineage": alone, "base": a_base_record()} | without | over))


def first_page(view):
    html = render_html(view)
    start = html.index('<section class="first">')
    return Page(html[start : html.index("</section>", start)]).text


def reclassified(**over):
    status = {"classification_before": "not_high_risk", "classification_after": "annex_iii_3"}
    facts = {"asserted_by": "x", "high_risk": status, "use": {"intended": "sums for pupils"}}
    return a_modification_record(facts=facts, **over)


QUESTIONS = {
    "a fine-tune": (
        lambda: a_view(record=reclassified()),
        {
            "who": "Example Laboratory, NL",
            "by whose hand": "Registered 2026-11-24, signed with the key lab-1…, named “the person of the trust file” in the trust "
            "file (registry role: trainer).",
            "purpose": "sums for pupils",
            "base": "Base small-llama:1: its provider not recorded, its own licence Apache-2.0",
            "data": "sums.jsonl: 200 rows: 180 used for training, 20 kept for testing, sha256",
            "whose data": ". Not stated: where it comes from, its licence, whether it contains personal data.",
            "change": "2 442 240 of 134 515 008 parameters of base and adapter together were trained (1.8 %). The base's own "
            "weights are unchanged",
            "bias": "Inconclusive, neither a rise nor a fall is shown: 31 of 240 items (12.9 %) lean to the biased answer (are "
            "flagged) before, 24 (10.0 %) after; net change (introduced minus fixed) −1.2 points, 95 % interval [−4.2, +1.7]. "
            "Measured on",
            "flagged": "Flagged: the model leans to the biased answer",
            "moves": "no longer flagged: 11 (6 now neutral, 1 turned to the opposite, 4 now just below the threshold). Newly "
            "flagged: 4 that were neutral or leant to the opposite. Why: the interval of the net change includes zero",
            "quality": "Better on sums.jsonl text, by loss a token (how badly it predicts the text; lower is "
            "better): 2.412 → 1.871",
            "a third": "Is it over a third of the base's compute?",
            "high-risk": "High-risk, Annex III 3 (education and vocational training) with the adapted model, not high-risk before: "
            "changed.",
            "beside the role": "Beside that: Fallback without attempt (F4, GL J64); Legacy (H11, Art. 111(2)) (“What is said "
            "beside the roles?”).",
            "what that asks": "What is said beside the roles? Fallback without attempt (F4, GL J64): the compute of the base",
            "status": "No role can be indicated yet for the model. Missing: whether the result is placed on the Union market; ",
            "open": "fields filled",
            "who owes": "Data owner",
            "how to answer": "registry decide sums-tutor:1 --form FORM.yml",
        },
    ),
    "a merge": (
        a_merge_view,
        {
            "who": "Example Laboratory, NL",
            "purpose": "sums for pupils",
            "base": "small-llama:1",
            "data": "sums.jsonl",
            "change": "A merge, ",
            "ingredients": "Merged from part-1:1 (weight 0.5), part-2:1 (weight 0.5) into the base as it is stored, by linear.",
            "bias": "Not measured: no evaluation of it is recorded.",
            "quality": "Did quality fall? Not measured",
            "a third": "Is it over a third of the base's compute? Unknown: ",
            "high-risk": "Unknown, before the adaptation and with the adapted model: ",
            "open": "fields filled",
            "who owes": "Legal",
            "how to answer": "registry decide tutor-merged:1 --form FORM.yml",
        },
    ),
    "a base": (
        a_base_view,
        {
            "who": "provider of the base: unknown: ",
            "purpose": "its provider's own card says it",
            "base": "itself: example-org/small-llama",
            "data": "Which data? not recorded for a base",
            "change": "Nothing: a base, ",
            "bias": "Not measured: no evaluation of it is recorded.",
            "quality": "Did quality fall? Not asked of a base",
            "a third": "compute? Not asked of a base",
            "high-risk": "did that change? Not asked of a base",
            "open": "facts of the base are not declared: provider",
            "how to answer": "registry base add FOLDER --name small-llama --facts FACTS.yml",
        },
    ),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_the_questions_are_answered_on_the_first_page(case):
    view, answers = QUESTIONS[case]
    text = first_page(view()).replace("\u202f", " ")
    assert "Decision support, not legal advice." in text
    missed = {question: answer for question, answer in answers.items() if answer not in text}
    assert not missed, text


# what readers who had never seen this project did not understand on the first page, or looked for and did not find
MISSED = {
    "whose suite it is": "on the suite “house” (pairs of sentences that this tool brings along)",
    "how many are flagged after": "31 of 240 items (12.9 %) lean to the biased answer (are flagged) before, 24 (10.0 %) after",
    "moves that add up to it": "no longer flagged: 11 (6 now neutral, 1 turned to the opposite, 4 now just below the threshold). "
    "Newly flagged: 4",
    "that a key has a name": "signed with the key lab-1…, named “the person of the trust file” in the trust file",
    "in which role": "(registry role: trainer)",
    "rows that add up": "200 rows: 180 used for training, 20 kept for testing",
    "whose licence it is": "Base small-llama:1: its provider not recorded, its own licence Apache-2.0",
    "who the tool is": "Nobody: this tool measures or derives it 3 not found out yet: ",
    "what verified says": "✓ signatures intact ! not cleared for the market ! 51 fields open Decision support, not legal "
    "advice. An intact signature approves nothing and judges no quality.",
    "whose copy was checked": "Yes (verified): the registry's copy is what listed keys signed, as checked when this page was "
    "written.",
    "how one's own is": "A copy that you hold: registry verify FOLDER --trust TRUST_FILE (“How to verify”).",
    "what the time is": "Audit report · as of 2026-11-24T12:00:00Z, its newest record or a later time that was asked for · by "
    "registry",
}


def test_what_readers_missed_on_the_first_page_stands_there():
    text = Page(render_html(a_view())).text.replace("\u202f", " ")
    text = text[: text.index("The evidence.")]
    missed = {what: words for what, words in MISSED.items() if words not in text}
    assert not missed, text
    assert "tool 4" not in text


def test_a_merge_says_whose_training_the_compute_and_the_data_are_of_and_how_much_of_the_base_it_changed():
    record = a_merge_modification()
    row = {"ingredient": "part-1:1", "conservative_flop": 1.0, "param_update_flop": 1.0}
    alone = record.compute.revised(inputs=derived({"ingredients": [row], "wide_flop": 1.0}, method="x"))
    ratio = {"ratio": 0.002516, "ratio_low": 0.001355, "ratio_high": 0.004673}
    gpai = record.gpai.revised(**{name: derived(value, method="x") for name, value in ratio.items()})
    change = record.change.revised(
        params_changed=measured(442_368, "parameters"), pct_of_base=derived(62.71, "%", method="x")
    )
    data = DataUsed(name=measured("sums.jsonl"), n_points=measured(60, "rows"))
    record = record.revised(compute=alone, gpai=gpai, change=change, data=(data,))
    text = first_page(a_merge_view(record=record)).replace("\u202f", " ")
    assert "Which data? part-1:1 was trained on sums.jsonl: 60 rows" in text
    assert (
        "No: a merge trains nothing, and the training of its ingredient part-1:1 took 0.25 % of the base's training compute (the "
        "limit is one third, 33.3 %); with ±30 % on both figures 0.14 % … 0.47 %." in text
    )
    assert "442 368 parameters of the base have other values than before, 62.7 % of all." in text
    two = alone.revised(inputs=derived({"ingredients": [row, row | {"ingredient": "part-2:1"}]}, method="x"))
    text = first_page(a_merge_view(record=record.revised(compute=two)))
    assert "the training of its ingredients part-1:1 and part-2:1 took" in text
    assert "was trained on" not in text[text.index("Which data?") : text.index("What changed?")]


def test_a_run_that_continues_another_is_counted_with_it_and_says_so():
    base = a_base_input(
        record=a_base_record(facts=some_base_facts(training_tokens=imported(1e4, "tokens", method="x")))
    )
    record = a_modification_record(bases=(base,))
    inputs = derived({"P": 1, "D": 1, "went_on_from": [{"ingredient": "sums:1", "conservative_flop": 1.0}]}, method="x")
    text = first_page(a_view(record=record.revised(compute=record.compute.revised(inputs=inputs))))
    assert "Yes: its training, with that of sums:1 which it continues, took 214 % of" in text


def test_no_status_is_called_indicative_where_none_was_indicated():
    text = first_page(a_view())
    assert "indicative" not in text[text.index("Which role") : text.index("Is it high-risk")]
    text = first_page(a_view(record=placed(placed_on_eu_market="no")))
    assert "Indicative, from what is recorded, and no legal advice." in text


def test_the_row_of_roles_and_what_is_wrong_name_the_same_missing_answers():
    text = first_page(a_view())
    role = text[text.index("Which role") : text.index("Is it high-risk")]
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    for asked in (
        "whether the result is placed on the Union market",
        "whether the modifier is the provider of the base or acts for it",
        "whether the result is part of a system",
        "how the system was classified before the adaptation",
        "how the system is classified with the adapted model",
    ):
        assert role.count(asked) == wrong.count(asked) == 1, asked
    assert "Nobody has decided yet" not in wrong


def test_who_owes_an_answer_is_explained_where_they_are_named_first():
    text = first_page(a_view())
    text = text[: text.index("What is wrong, or")]
    for owner in ("the modifier (whoever adapted the base)", "legal (whoever answers for the law)"):
        name = owner.partition(" (")[0]
        assert text.count(owner) == 1 and re.search(rf"by {name}\b", text).start() == text.index(f"by {owner}"), owner


def test_whose_licence_restricts_or_is_not_known_is_named():
    def row(**facts):
        text = first_page(a_view(record=a_modification_record(facts={"asserted_by": "x"} | facts)))
        return text[text.index("Do licences restrict its use?") : text.index("What is wrong, or")]

    own = "Do licences restrict its use? Licence of the result: not recorded, to be answered by legal."
    known = "Known: no restriction by Apache-2.0 of small-llama:1."
    terms = "whether small-llama:1 has terms of use."
    assert f"{own} {known} Not known: no licence is recorded of the data sums.jsonl; {terms}" in row()
    assert f"Not known: no licence is recorded of the data sums.jsonl; {terms}" in row(product={"licence": "MIT"})
    typed = row(product={"licence": "MIT"}, data={"*": {"licence": "CC-BY-NC-4.0"}})
    assert (
        "Known: non commercial, by the licence of the data sums.jsonl; no restriction by Apache-2.0 of small-llama:1."
        in typed
    )
    assert f"Not known: {terms}" in typed
    assert (
        "Unknown to this tool, or typed and signed by nobody who answers for it: the terms of MIT of the result and CC-BY-NC-4.0 "
        "of the data sums.jsonl." in typed
    )


def test_terms_of_use_of_the_base_are_known_where_no_licence_is():
    facts = some_base_facts(acceptable_use_policy=declared("for trying only", by="x", at=NOW))
    base = a_base_input(record=a_base_record(facts=facts))
    record = a_modification_record(bases=(base,))
    facts_of = VersionFacts(version=a_version(), lineage=a_lineage(), record=record)
    (_, known, _) = licence_lines(facts_of, OwnerNames())
    assert known == (
        "Known: the terms of use of small-llama:1 (“Which base?”); no restriction by Apache-2.0 of small-llama:1."
    )
    of_base = VersionFacts(version=a_version(), lineage=a_lineage(), base=a_base_record(facts=facts))
    assert tuple(licence_lines(of_base, OwnerNames())) == (
        "Known: the terms of use of this base (“Which base?”); no restriction by Apache-2.0 of this base.",
    )


def test_what_decides_comes_first_and_what_is_open_last():
    asked = [answer.question for answer in a_view().answers]
    assert (asked[0], asked[-1]) == ("May it be used?", "What is open?")


@pytest.mark.parametrize(
    ("over", "marks"),
    [
        ({"record": None}, ()),
        ({"version": a_version(), "record": None}, ("not released",)),
        (
            {
                "record": None,
                "gates": {"champion": AliasGate(policy="b", entry=1, as_of=NOW, closed_by=("approvals",))},
            },
            ("release conditions not met",),
        ),
        (
            {
                "record": None,
                "gates": {"champion": AliasGate(policy="b", entry=1, as_of=NOW, closed_by=(), cautions=("x",))},
            },
            ("caution",),
        ),
        ({}, ("not cleared for the market", "51 fields open")),
        ({"verification": an_outcome().revised(recalls=("ada recalled it",))}, ("51 fields open",)),
    ],
)
def test_beside_the_verdict_stands_in_words_what_is_not_released_not_cleared_and_open(over, marks):
    view = a_view(**over)
    assert view.marks == marks
    header = render_html(view).split("</header>", maxsplit=1)[0]
    assert header.count('<li class="verdict caution">! ') == len(marks)
    assert "Decision support, not legal advice." in header


def test_how_long_it_is_kept_and_what_falls_due_is_a_row():
    def row(**over):
        text = first_page(a_view(**over))
        return text[text.index("How long is it kept") : text.index("What is open?")]

    assert "Its documentation: 10 years from placing on the market; whether and when it was placed" in row()
    placed_on = placed(placed_on_eu_market="yes", placing_date="2026-11-20")
    placed_on = placed_on.revised(retention=with_dates(placed_on.retention, placed_on.gpai))
    assert "which was on 2026-11-20, so until 2036-" in row(record=placed_on)
    facts = VersionFacts(version=a_version(), lineage=a_lineage())
    checks = PageChecks(holds=("sums:1: ada put it on hold until 2027-01-31: a complaint",))
    assert due_lines(facts, KeyHolders(expires_at="2027-12-01T00:00:00Z"), checks) == (
        "On hold: sums:1: ada put it on hold until 2027-01-31: a complaint.",
        "The trust file, which says whose keys count, ends on 2027-12-01 unless it is renewed.",
    )
    assert due_lines(facts, KeyHolders(), PageChecks()) == ("Nothing that is recorded.",)


def test_what_a_person_decided_beside_the_record_is_not_listed_as_if_nobody_had():
    reason = "not answered in the record; by a signed decision, purpose: no, decided by ada"
    record = reclassified()
    record = record.revised(high_risk=record.high_risk.revised(intended_purpose_changed=unknown(reason)))
    (legal,) = [owed.text for owed in a_view(record=record).owed if owed.owner.startswith("legal")]
    assert "Whether the intended purpose changed (decided beside the record, which does not say it yet)" in legal


def test_people_who_owe_answers_stand_apart_from_what_this_tool_measures():
    text = first_page(a_merge_view())
    row = text[text.index("What is open?") : text.index("What is wrong, or")]
    people, _, tool = row.partition(" of those open this tool measures or derives, and has not yet.")
    assert "To be answered by the " in people and "tool" not in people
    assert "named under “What is unknown, and who owes it”" in tool


def test_the_rows_of_a_file_that_two_runs_used_are_not_added_up():
    """Sixty of a file of sixty, and not a hundred and twenty."""
    splits = [
        {"of": label, "split": split, "rows": rows, "rows_sha256": str(a_digest(split))}
        for label in ("a:1", "b:1")
        for split, rows in (("train", 48), ("validation", 12))
    ]
    data = DataUsed(
        name=measured("sums.jsonl"), splits=measured(splits), n_points=derived(60, "rows", method="selections once")
    )
    record = a_merge_modification().revised(data=(data,))
    text = first_page(a_view(record=record, run=None, merge=a_merge_record()))
    expected = (
        "sums.jsonl: 48 rows used for training (by a:1 and b:1), 12 rows kept for testing (by a:1 and b:1), 60 rows "
        "altogether"
    )
    assert expected in text.replace("\u202f", " "), text


def test_rows_that_chose_are_not_called_a_test():
    """Early stopping chooses by the validation rows; what a reader may call the test is the rest."""
    splits = [{"split": split, "rows": rows} for split, rows in (("train", 113), ("validation", 24), ("test", 24))]
    data = DataUsed(name=measured("news.csv"), splits=measured(splits))
    record = a_merge_modification().revised(data=(data,))
    text = first_page(a_view(record=record, run=None, merge=a_merge_record()))
    assert "161 rows: 113 used for training, 24 that chose the step or the seed, 24 kept for testing" in text


# the second as records of before there were codes say it
@pytest.mark.parametrize("left_empty", [code("not_answered_at_init"), "not answered at init"])
def test_a_question_that_was_left_empty_at_the_start_says_who_answers_it_and_no_more(left_empty):
    modifier = Modifier(legal_name=unknown(left_empty))
    text = first_page(a_view(record=a_modification_record().revised(modifier=modifier)))
    assert "not answered at init" not in text
    assert "Organisation: not answered by the modifier." in text


def test_what_a_reader_types_is_code_on_the_page_and_in_open_fields():
    modifier = Modifier(legal_name=NOT_ANSWERED)
    html = render_html(a_view(record=a_modification_record().revised(modifier=modifier)))
    page, gaps = html.split('<div id="gaps">')
    assert "with <code>registry init</code> left it empty" in gaps.split("</details>")[0]
    assert (
        '<code>registry decide <span class="name">sums-tutor:1</span> <span class="name">--form</span> FORM.yml</code>'
        in page
    )
    for part in (page, gaps.split("</details>")[0]):
        assert "`" not in part.split("</style>")[-1]


def placed(**gpai):
    return a_modification_record(facts={"asserted_by": "x", "gpai": gpai})


@pytest.mark.parametrize(
    ("gpai", "words"),
    [
        ({}, "to be answered by legal."),
        ({"placed_on_eu_market": "no"}, "no."),
        ({"placed_on_eu_market": "yes"}, "yes; the day is not recorded, to be answered by legal."),
        ({"placed_on_eu_market": "yes", "placing_date": "2026-11-20"}, "yes, on 2026-11-20."),
    ],
)
def test_the_first_page_says_whether_it_is_placed_on_the_union_market(gpai, words):
    assert f"Placed on the Union market: {words} Is it high-risk" in first_page(a_view(record=placed(**gpai)))


def test_an_open_status_says_on_the_first_page_what_is_missing():
    text = first_page(a_view())
    role = text[text.index("Which role does its modifier have under the AI Act?") : text.index("Is it high-risk")]
    assert (
        "For the model: no role can be indicated yet. Missing: (a) whether the result is placed on the Union market; (b) "
        in role
    )
    assert (
        "For the system: no role can be indicated yet. Missing: (a) whether the result is part of a system; (b) how "
        in role
    )
    assert "high_risk." not in role, "a field is no words"
    assert (
        "No role can be indicated yet for the model. Missing: whether the result is placed on the Union market; "
        in text
    )
    # of a base that is said to be none the field is not asked for, so that it stands under nothing that is wrong
    facts = {"asserted_by": "x", "base": {"*": {"is_gpai": "no"}}}
    text = first_page(a_view(record=a_modification_record(facts=facts)))
    assert "For the model: no role can be indicated yet. Missing: " in text


def test_a_role_that_is_decided_stands_on_the_first_page_in_words():
    text = first_page(a_view(record=placed(placed_on_eu_market="no")))
    assert "For the model: out of scope as long as it is not on the Union market. " in text


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("verified", "Yes (verified): the registry's copy is what listed keys signed"),
        ("unverified", "Not certain: something could not be checked here."),
        ("broken", "No: bytes or records are not those that were signed; which is under “What is wrong”."),
    ],
)
def test_the_first_page_says_whether_the_evidence_is_intact_and_since_when(verdict, words):
    text = first_page(a_view(verification=an_outcome(verdict=verdict), roots=("ada", "ben")))
    assert f"Are the bytes intact? {words}" in text
    intact = text[text.index("Are the bytes intact?") : text.index("How long is it kept")]
    assert "Registered 2026-11-24" in intact
    assert "by the registry's own clock. Log: log is as recorded." in intact
    assert "ada and ben hold the root keys and decide which keys count." in intact
    alone = first_page(a_view(verification=an_outcome(verdict=verdict), roots=("ada",)))
    assert "ada holds the root key and decides which keys count." in alone
    assert ("May it be used? No: bytes or records" in text) is (verdict == "broken")


def test_what_nobody_released_says_so_before_anything_else():
    text = first_page(a_view(version=a_version(), verification=an_outcome(verdict="verified")))
    assert text.startswith(
        "Question Answer May it be used? For an internal trial that affects nobody's rights: yes, by the records: intact, not "
        "recalled, and this registry asks for no release before a trial. In operation: no, not released: no alias points at it, "
        "and nobody has approved it."
    )


def test_a_release_that_rests_on_one_person_stands_under_what_is_wrong():
    caution = "independence is not assured: ada made it and decides, by a root key, who counts as an approver"
    gate = AliasGate(policy="bank", entry=7, as_of="2026-12-24T00:00:00Z", closed_by=(), cautions=(caution,))
    moved = a_stored_statement("alias", key_id="a1", statement=a_move("champion"))
    html = render_html(a_view(gates={"champion": gate}, statements=(moved,), persons={"a1": "ada"}))
    text = Page(html).text
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert f"Release under the alias “champion”, by ada: {caution}." in wrong
    assert f"Caution: {caution}." in text[: text.index("What is it for?")]
    assert "Audit report · as of 2026-12-24T00:00:00Z" in text, "one clock"


def test_the_first_page_says_how_the_gate_before_an_alias_stands():
    moved = a_stored_statement("alias", statement=a_move("champion"))
    met = AliasGate(policy="bank", entry=7, as_of=NOW, closed_by=())
    for gate, words in (
        (met, f"State on this page, log entry 7 ({NOW}): conditions of the policy bank met."),
        (
            replace(met, closed_by=("approvals",)),
            f"log entry 7 ({NOW}): conditions of the policy bank not met: approvals.",
        ),
        (
            replace(met, unknown="the store lost it"),
            f"log entry 7 ({NOW}): whether its release conditions are met could not be told: the store",
        ),
        (replace(met, remark="a folder ends"), "conditions of the policy bank met. A folder ends."),
    ):
        text = first_page(a_view(gates={"champion": gate}, statements=(moved,)))
        assert words in text[: text.index("What is it for?")]


def test_what_is_recalled_may_not_be_used_although_it_verifies():
    recalled = an_outcome(verdict="verified").revised(recalls=("the data rows.jsonl: ada recalled it",))
    text = first_page(a_view(verification=recalled))
    assert text.startswith("Question Answer May it be used? No, it is recalled: the data rows.jsonl: ada recalled it.")


@pytest.mark.parametrize(
    ("gpai", "words"),
    [
        ({}, "whether and when it was placed on the Union market is not recorded: kept without end until it is"),
        ({"placed_on_eu_market": "no"}, "not placed on the Union market: kept without end; 10 years begin on the day"),
        ({"placed_on_eu_market": "yes"}, "the day of placing on the Union market is not recorded: kept without end"),
        (
            {"placed_on_eu_market": "yes", "placing_date": "2026-11-20"},
            "10 years from placing on the market, which was on 2026-11-20",
        ),
    ],
)
def test_the_basis_of_retention_is_the_case_that_holds(gpai, words):
    record = placed(**gpai)
    row = next(row for row in a_view(record=record).fields if row.path == "retention.basis")
    assert words in row.text
    assert "10 years" in row.text
    assert ("not placed" in row.text) is (gpai == {"placed_on_eu_market": "no"})
    shown = {leaf.path: leaf.value for leaf in shown_leaves(record)}
    assert shown["retention.basis"].value == row.text


def test_a_basis_of_retention_that_somebody_stated_stands_as_it_is():
    stated = declared("thirty years, by contract", by="x", at=NOW)
    record = placed(placed_on_eu_market="yes")
    record = record.revised(retention=record.retention.revised(basis=stated))
    row = next(row for row in a_view(record=record).fields if row.path == "retention.basis")
    assert row.text == "thirty years, by contract"


def test_a_stated_number_has_the_unit_that_its_form_asks_for():
    facts = {
        "asserted_by": "x",
        "energy": {"training_kwh": 0.5, "method": "a meter at the wall", "boundary": "facility"},
    }
    view = a_view(record=a_modification_record(facts=facts))
    rows = [figure.text for figure in view.compute if figure.label == "Energy used for training"]
    rows += [row.text for row in view.fields if row.path == "energy.training_kwh"]
    assert rows == ["0.5\u202fkWh"] * 2
    # a number in a unit of its own, a text, and what nobody stated stay as they are
    for value in (
        declared(500, by="x", at=NOW).revised(unit="Wh"),
        declared("much", by="x", at=NOW),
        derived(1, method="m"),
    ):
        assert with_unit("energy.training_kwh", value) == value
    assert with_unit("base[0].training_tokens", declared(7, by="x", at=NOW)).unit == "tokens"


def test_what_is_owed_of_several_bases_says_of_which():
    view = a_merge_view()
    text = first_page(view)
    of_each = "(each 3 fields, of small-llama:1, part-1:1 and part-2:1)"
    assert f"Digest of the licence text; Release date of the base {of_each}; " in text
    assert (
        "; Whether the modifier's name or trademark is put on the result. Provider of the base (of small-llama:1). "
        in text
    )
    assert "; 20 more under “Open fields”" in text
    assert "Ingredient part-2:1: made in this registry, its own licence not recorded, to be answered by legal" in text
    labels = {gap.field: gap.label for gap in view.gaps}
    assert labels["base[1].licence_id"] == "Licence of the base, SPDX identifier (of part-1:1)"
    gaps = Page(render_html(view)).text
    assert "Licence of the base, SPDX identifier (of part-2:1) base[2].licence_id" in gaps
    assert not [gap for gap in a_view().gaps if "(of " in gap.label]


def test_the_address_of_data_is_its_origin():
    facts = {"asserted_by": "x", "data": {"*": {"source_url": "https://example.org/sums"}}}
    text = first_page(a_view(record=a_modification_record(facts=facts)))
    assert "; origin: https://example.org/sums. Not stated: its licence, whether it contains personal data." in text
    facts["data"]["*"]["provenance_class"] = "public_dataset"
    text = first_page(a_view(record=a_modification_record(facts=facts)))
    assert "; origin: public dataset, https://example.org/sums;" in text


def test_the_licence_of_the_result_stands_on_the_first_page():
    assert "its use? Licence of the result: not recorded, to be answered by legal. Known: " in first_page(a_view())
    facts = {"asserted_by": "x", "product": {"licence": "MIT"}}
    assert "Licence of the result: MIT." in first_page(a_view(record=a_modification_record(facts=facts)))


@pytest.mark.parametrize("view", [a_merge_view, lambda: a_view(evaluation=None)])
def test_what_was_not_evaluated_names_the_command_that_does(view):
    shown = view()
    text = first_page(shown)
    assert (
        f"no evaluation of it is recorded. To measure it: registry evaluate {shown.version.label} . Did quality fall?"
        in text
    )
    assert "registry evaluate" not in first_page(a_base_view())


def test_fifty_rounds_of_answers_leave_the_first_page_as_long_as_four():
    def page_of(count):
        steps = tuple(
            RecordStep(
                text=f"Round {at}: 3 fields.", whole=f"Round {at}: use.intended, use.out_of_scope, risk.register_ref."
            )
            for at in range(count)
        )
        notes = tuple(f"A modification record {at} decides nothing here." for at in range(count))
        return a_view(record_steps=steps, record_notes=notes)

    many, few = page_of(50), page_of(4)
    assert len(many.notices) <= len(few.notices) + 5
    assert len(first_page(many)) < len(first_page(few)) + 500
    text = first_page(many)
    assert "46 earlier answers and records: signature and checks. Round 46: 3 fields." in text
    assert "Round 49" in text
    assert "Round 45" not in text
    assert "use.out_of_scope" not in text
    evidence = Page(render_html(many)).text
    assert "Round 0: use.intended, use.out_of_scope, risk.register_ref." in evidence
    assert "A modification record 49 decides nothing here." in evidence


def test_a_long_reason_is_begun_on_the_first_page_and_whole_in_the_evidence():
    view = a_view(record_steps=(RecordStep(text="why " * 500, whole="why " * 500),))
    assert first_page(view).count("why ") == 100
    assert Page(render_html(view)).text.count("why ") >= 600


def of_two_splits():
    """A merge of two adapters, one of which trained on rows of a file that the other held out."""
    rows = {"a:1": (("train", "first"), ("validation", "last")), "b:1": (("train", "last"),)}
    splits = [
        {"of": label, "split": split, "rows": 12, "rows_sha256": str(a_digest(which))}
        for label, selections in rows.items()
        for split, which in selections
    ]
    data = DataUsed(
        name=measured("sums.jsonl"),
        splits=measured(splits),
        digest=measured(str(a_digest("data"))),
        n_points=measured(24),
    )
    return a_merge_modification().revised(data=(data,))


def test_a_split_that_another_part_of_a_merge_trained_on_stands_under_what_is_wrong():
    text = first_page(a_merge_view(record=of_two_splits()))
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert (
        "Which held-out rows are left is not stated (data owner): sums.jsonl: b:1 trained on it, a:1 held rows of it out, "
        "perhaps the same. Figures on held-out rows may be too good." in wrong
    )
    answered = of_two_splits().revised(data_gaps=declared("none of them is scored", by="x", at=NOW))
    assert "Which held-out rows" not in first_page(a_merge_view(record=answered))
    assert "Which held-out rows" not in first_page(a_merge_view())


def test_the_data_of_a_merge_are_named_with_their_digest():
    text = first_page(a_merge_view(record=of_two_splits()))
    asked = text[text.index("Which data?") : text.index("What changed?")]
    assert a_digest("data").short in asked


def test_the_first_page_says_that_one_form_serves_everybody_who_answers():
    text = first_page(a_view())
    assert "the questions whose answers decide something ( --all : every open field)" in text
    assert "signs the same file with a key of their own ( --key )" in text


def test_an_ingredient_of_a_merge_stands_apart_from_the_base_with_a_licence_of_its_own():
    used = BaseUsed(
        name=measured("part-1:1"), role=measured("ingredient"), licence_id=declared("MIT", by="lab", at=NOW)
    )
    record = a_merge_modification()
    base = BaseUsed(
        name=measured("small-llama"), role=measured("base"), licence_id=declared("Apache-2.0", by="lab", at=NOW)
    )
    text = first_page(a_merge_view(record=record.revised(base=(base, used))))
    assert "Base small-llama: its provider not recorded, its own licence Apache-2.0" in text
    assert "Ingredient part-1:1: its provider not recorded, its own licence MIT" in text


def test_a_merge_that_was_evaluated_since_is_not_called_stale():
    stale = StaleEvaluation(of="part-1:1", record=a_digest("evaluation"), why="another composition")
    merge = a_merge_record(stale=(stale,))
    stale_of = "This model was not evaluated. part-1:1 was, before the merge"
    assert stale_of in first_page(a_merge_view(merge=merge))
    assert "was not evaluated" not in first_page(
        a_merge_view(merge=merge, evaluations=(ShownEvaluation(an_evaluation()),))
    )
    of_another = (ShownEvaluation(an_evaluation(), stale="stale: it is of another composition"),)
    assert stale_of in first_page(a_merge_view(merge=merge, evaluations=of_another))


def test_a_change_of_classification_stands_under_what_is_wrong_on_the_first_page():
    text = first_page(a_view(record=reclassified()))
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert "The classification of the system changed: not high-risk → high-risk, Annex III 3 (education" in wrong


@pytest.mark.parametrize(
    ("path", "words"), [("high_risk.classification_after", CLASSIFICATIONS), ("gpai.verdict", STATUSES)]
)
def test_no_code_of_the_record_is_left_for_the_reader_to_know(path, words):
    assert set(field_rules().by_path()[path].values) - {"undetermined"} == set(words)


def test_an_excluded_union_stands_under_what_is_wrong():
    base = a_base_input(record=a_base_record(facts=some_base_facts(eu_exclusion=declared("yes", by="x", at=NOW))))
    text = first_page(a_view(record=a_modification_record(bases=(base,))))
    assert "The provider of small-llama excluded the Union market (GL J58)." in text[text.index("What is wrong, or") :]


def test_what_the_base_may_not_be_used_for_is_named_with_it():
    policy = declared("https://example.org/use-policy", by="x", at=NOW)
    base = a_base_record(facts=some_base_facts(acceptable_use_policy=policy))
    record = a_modification_record(bases=(a_base_input(record=base),))
    for view in (a_view(record=record), a_base_view(base=base)):
        text = first_page(view)
        asked = text[text.index("Which base?") : text.index("Which data?")]
        assert ", its acceptable use policy: https://example.org/use-policy" in asked


def test_a_policy_that_was_copied_whole_leaves_room_for_the_page():
    policy = declared("No use for any decision about a person. " * 60, by="x", at=NOW)
    base = a_base_input(record=a_base_record(facts=some_base_facts(acceptable_use_policy=policy)))
    text = first_page(a_view(record=a_modification_record(bases=(base,))))
    assert text[text.index("Which base?") : text.index("Which data?")].count("No use for any decision") == 7
    assert "… (whole in the modification record)" in text


@pytest.mark.parametrize("view", [a_view, a_merge_view, a_base_view])
def test_a_base_of_which_nobody_recorded_a_policy_says_so(view):
    assert ", and nobody has recorded whether it has an acceptable use policy" in first_page(view())


def test_where_data_comes_from_is_said_with_its_rows():
    facts = {"asserted_by": "x", "data": {"*": {"provenance_class": "public_dataset", "personal_data": "no"}}}
    text = first_page(a_view(record=a_modification_record(facts=facts))).replace("\u202f", " ")
    assert (
        "; origin: public dataset; personal data: no; typed, not signed by its owner. Not stated: its licence." in text
    )


# the run processed 21 400 tokens of a base with as many parameters
@pytest.mark.parametrize(
    ("tokens", "answer"),
    [
        (
            1e4,
            "Yes: its training took 214 % of the base's training compute (the limit is one third, 33.3 %); with ±30 % on both",
        ),
        (8e4, "Borderline: its training took 26.8 % of"),
        (13e4, "No: its training took 16.5 % of"),
        (None, "Unknown: "),
    ],
)
def test_the_third_is_answered_from_the_ratio_of_the_record(tokens, answer):
    known = {} if tokens is None else {"training_tokens": imported(tokens, "tokens", method="the base's model card")}
    base = a_base_input(record=a_base_record(facts=some_base_facts(**known)))
    text = first_page(a_view(record=a_modification_record(bases=(base,))))
    assert f"a third of the base's compute? {answer}" in text.replace("\u202f", " ")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (None, "Not answered, to be answered by legal."),
        ("yes", "Yes, as declared by x"),
        ("no", "No, as declared by x"),
    ],
)
def test_whether_the_third_applies_at_all_stands_beside_it(said, words):
    facts = {"asserted_by": "x", "base": {"*": {"is_gpai": said}}} if said else None
    text = first_page(a_view(record=a_modification_record(**({"facts": facts} if facts else {}))))
    answer = text[text.index("Is the base a general-purpose model?") : text.index("Which role")]
    assert answer.startswith(f"Is the base a general-purpose model? {words}")


def test_a_purpose_that_nobody_recorded_is_decided_to_be_unchanged_without_contradiction():
    decided = Decided(purpose=False, of_system=("purpose: no, decided by ada on 2026-11-28: read it",))
    text = first_page(a_view(record=a_modification_record(), decided=decided))
    purpose = text[text.index("What is it for?") : text.index("Which base?")]
    assert "Decided is only that the intended purpose did not change (“May it be used?”), not what it is." in purpose
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert "No role can be indicated yet for the system. Missing: " in wrong
    assert "high_risk." not in wrong, "a field is no words"


@pytest.mark.parametrize("case", QUESTIONS)
def test_the_command_that_takes_answers_is_one(case):
    command = QUESTIONS[case][0]().answered_by.split()[1]
    assert command in {name for section in SECTIONS for name in section.commands}


def test_what_is_wrong_is_said_on_the_first_page():
    losses = tuple(
        loss.revised(change=0.5, change_ci=loss.change_ci.revised(low=0.2, high=0.8)) for loss in an_evaluation().losses
    )
    guards = an_evaluation().guards.revised(confounded=True)
    evaluation = an_evaluation(comparisons=(a_comparison(conclusion="worse"),), losses=losses, guards=guards)
    failed = Check(step="files", text="1 of 2 files is not what was signed", status="failed", error="x")
    text = first_page(
        a_view(
            run=a_run_record(warnings=("the loss rose",)),
            evaluation=evaluation,
            verification=an_outcome(checks=(failed,), verdict="broken"),
        )
    )
    for said in (
        "Broken: files: 1 of 2",
        "more flagged items after",
        "lost capability",
        "Quality fell on",
        "loss rose",
    ):
        assert said in text
    assert "Nothing that the records show" not in text


def a_weaker_model(**over):
    """An evaluation whose loss on neutral text is 13 % higher, of so few texts that the interval of the change includes zero."""
    interval = an_evaluation().losses[0].change_ci.revised(low=-0.2, high=1.0)
    loss = an_evaluation().losses[0].revised(dataset="neutral", before=3.1, after=3.5, change=0.4, change_ci=interval)
    guards = Guards(neutral_loss_before=3.1, neutral_loss_after=3.5, confounded=True)
    return an_evaluation(**({"losses": (loss,), "guards": guards} | over))


def test_a_loss_beyond_its_limit_is_never_said_to_show_no_change():
    text = first_page(a_view(evaluation=a_weaker_model()))
    assert "No change shown" not in text
    assert "Beyond its limit on neutral text" in text
    assert "; at most 1.05 times as much is allowed by this tool, and chance alone may have moved it so far" in text
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert (
        "house: a sign of lost capability is beyond its limit (loss on neutral text 3.1 → 3.5, and at most 1.05 times as"
        in wrong
    )


def test_what_is_said_of_bias_names_the_lost_capability_that_the_same_page_shows():
    text = first_page(a_view(evaluation=a_weaker_model()))
    bias = text[text.index("Was bias measured") : text.rindex("Did quality fall?")]
    assert "Inconclusive, neither" in bias and "on the suite “house”" in bias
    assert "; a sign of lost capability is beyond its limit (“What is wrong”)." in bias


def test_how_well_a_task_is_solved_stands_on_the_first_page_beside_the_loss():
    measure = {"dataset": "held-out-classes", "metric": "accuracy", "before": 0.2, "after": 0.7, "change": 0.5, "n": 36}
    record = an_evaluation(extra={"further": {"measures": [measure | {"low": 0.3, "high": 0.6}]}})
    text = first_page(a_view(evaluations=(ShownEvaluation(record),)))
    quality = text[text.index("Did quality fall?") :]
    assert (
        "Right answers: held-out-classes: accuracy 0.200 → 0.700 (+0.500, 95 % interval +0.300 … +0.600, n=36)."
        in " ".join(quality.split())
    )
    assert "shows what was seen before" not in quality
    leaked = LeakedItems(dataset="held-out-classes", kind="answers", items=36, hits=12)
    check = LeakageCheck(method="by nearness", hits=12, dataset_digest=a_digest("rows"), datasets=(leaked,), limit=0.1)
    seen = first_page(a_view(evaluations=(ShownEvaluation(record.revised(leakage_check=check)),)))
    assert "It was trained on rows of held-out-classes: that figure shows what was seen before." in " ".join(
        seen.split()
    )
    stale = ShownEvaluation(record, stale="stale: it is of another composition")
    assert "Right answers" not in first_page(a_view(evaluations=(stale,)))


def test_a_loss_that_may_have_risen_beyond_its_limit_is_said_to_be_open_and_not_to_be_beyond_it():
    """The same in the row of bias, in that of quality and under what is wrong, with the figures of all three."""
    interval = an_evaluation().losses[0].change_ci.revised(low=-0.04, high=0.4)
    loss = an_evaluation().losses[0].revised(dataset="neutral", before=3.0, after=3.1, change=0.1, change_ci=interval)
    guards = Guards(neutral_loss_before=3.0, neutral_loss_after=3.1, confounded=True)
    record = an_evaluation(losses=(loss,), guards=guards, extra={"statistics": {"figures": 7}})
    text = first_page(a_view(evaluations=(ShownEvaluation(record),))).replace("\u202f", " ")
    assert "beyond its limit" not in text and "the figures are not recorded" not in text
    assert "; that it lost quality instead is not excluded (“Did quality fall?”)." in text
    assert "No change shown on neutral text" in text
    assert "; that the loss rose by more than 5 % (+0.15), the limit of this tool, is not excluded." in text
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert (
        "Whether it lost quality on neutral text is open: its loss may have risen by up to 0.4 (95 % interval), and a rise of 0.15 "
        "(5 %) is allowed by this tool." in wrong
    )


def test_a_share_that_moved_is_not_said_to_show_no_change():
    interval = a_comparison().net_change_ci.revised(low=-0.09, high=-0.02)
    moved = a_comparison(net_change=-0.05, net_change_ci=interval)
    text = first_page(a_view(evaluation=an_evaluation(comparisons=(moved,)))).replace("\u202f", " ")
    assert "came out? Inconclusive: 31 of 240 items" in text
    assert "−5.0 points, 95 % interval [−9.0, −2.0]" in text


def test_a_screen_is_said_to_be_one_in_words_that_need_no_name_to_be_known():
    (used,) = an_evaluation().datasets
    screen = used.revised(half="development", excluded={"not_on_the_screen": 80}, rows_used=160)
    text = first_page(a_view(evaluation=an_evaluation(datasets=(screen,))))
    assert (
        "Measured on the suite “house” (pairs of sentences that this tool brings along), the screen of the development half "
        "alone: a quick and fixed selection of items, which never gives a verdict." in text
    )
    half = first_page(a_view(evaluation=an_evaluation(datasets=(used.revised(half="test"),))))
    assert "brings along), the test half alone." in half


@pytest.mark.parametrize("decision", ["broken", "undecided"])
def test_a_limit_that_is_not_kept_is_wrong_and_not_only_a_note(decision):
    verdict = {
        "dataset": "sums.jsonl",
        "figure": "loss_change",
        "category": None,
        "lo": None,
        "hi": -0.8,
        "value": -0.541,
    }
    reason = "-0.541, 95 % -0.61 … -0.47 lies beyond"
    verdict |= {"low": -0.61, "high": -0.47, "decision": decision, "reason": reason}
    text = first_page(a_view(evaluation=an_evaluation(extra={"limits": {"verdicts": [verdict]}})))
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert f"A limit is {decision}: sums.jsonl.loss_change at most -0.8: {reason}." in wrong
    quality = text[text.index("Did quality fall?") : text.index("Is it over a third")]
    assert f"; a limit that was set for it is {decision}." in quality


def limits_on_house(decision, *, hi, why=None):
    verdict = {"dataset": "house", "figure": "flagged_rate", "category": None, "lo": None, "hi": hi, "value": 0.5}
    verdict |= {"low": 0.4, "high": 0.6, "decision": decision, "reason": "0.5, 95 % 0.4 … 0.6"}
    return {"limits": {"verdicts": [verdict], "not_planned": why}}


def test_a_broken_limit_is_not_hidden_by_evaluating_the_same_items_again_with_a_wider_one():
    of_policy = an_evaluation().protocol.revised(policy_sha256=a_digest("narrow"))
    broken = an_evaluation(protocol=of_policy, extra=limits_on_house("broken", hi=0.3))
    wide = an_evaluation(extra=limits_on_house("held", hi=0.9, why="the same was evaluated before"))
    text = first_page(a_view(evaluations=(ShownEvaluation(wide), ShownEvaluation(broken))))
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert "A limit is broken: house.flagged_rate at most 0.3" in wrong
    bias = text[text.index("Was bias measured") : text.rindex("Did quality fall?")]
    assert bias.count("on the suite “house”") == 2, "one is told for the wide limit, one for the broken"
    assert "; a limit that was set for it is broken" in bias


def test_an_auditor_reads_the_conditions_of_the_figures_on_the_first_page():
    text = first_page(a_view()).replace("\u202f", " ")
    said = text[text.index("How was that measured?") :]
    for condition in (
        "Items: house, the whole suite, 240 rows.",
        "Found in what was trained on: not checked.",
        "Tries: when it was scored no other seed of the same plan had been begun.",
        "Limits set by a policy: none for house.",
        "Scored in: float32, softmax in float32, on cpu.",
    ):
        assert condition in said
    assert "How was that measured?" not in first_page(a_base_view())


def test_conditions_that_are_worse_than_usual_are_said():
    (used,) = an_evaluation().datasets
    record = an_evaluation(
        datasets=(used.revised(rows_used=100, selection="100 of 240 rows, whole units, shuffled with seed 0"),),
        extra=limits_on_house("held", hi=0.9, why="the same was evaluated before")
        | {"statistics": {"tries": {"seeds": 3, "runs": 4}}},
    )
    items, _, tries, limits, _ = condition_lines([record])
    assert items == "Items: house, 100 of 240 rows, whole units, shuffled with seed 0."
    assert tries == "Tries: one of 3 seeds of this plan, begun in 4 runs."
    assert limits == "Limits set by a policy: those for house were not set beforehand, the same was evaluated before."
    assert condition_lines([record.revised(comparisons=())]) == ()


def test_the_same_result_with_another_control_is_told_once():
    record = an_evaluation()
    again = (ShownEvaluation(record), ShownEvaluation(record.revised(created_at="2026-11-23T11:58:00Z")))
    assert first_page(a_view(evaluations=again)).count("on the suite “house”") == 1
    alone, both = a_view(), a_view(evaluations=again)
    assert (both.bars, both.transitions, both.flows) == (alone.bars, alone.transitions, alone.flows)


@pytest.mark.parametrize("view", [a_view, a_merge_view, a_base_view])
def test_the_first_page_needs_no_words_of_the_tools_own(view):
    words = set(re.findall(r"[A-Za-z]+", first_page(view())))
    assert not words & {"KL", "nats", "guard", "guards", "CoP", "placebo"}


def test_a_later_evaluation_of_something_else_hides_nothing_on_the_first_page():
    bias = ShownEvaluation(an_evaluation())
    losses = ShownEvaluation(an_evaluation(comparisons=()))
    text = first_page(a_view(evaluations=(losses, bias)))
    assert "31 of 240 items (12.9 %) lean to the biased answer" in text
    assert "no comparison before and after is recorded" not in text


def test_a_later_smaller_evaluation_stands_beside_the_earlier_one_and_names_who_added_it():
    worse = a_comparison(conclusion="worse", conclusion_reason="more items became flagged than neutral")
    few = a_comparison(n=10, flagged=1, fixed=0, overcorrected=0, introduced=0)
    data = tuple(used.revised(rows_used=10) for used in an_evaluation().datasets)
    later = ShownEvaluation(
        an_evaluation(comparisons=(few,), datasets=data, losses=()),
        added="added 2026-11-25 by sam, whose key did not register it",
    )
    text = first_page(a_view(evaluations=(later, ShownEvaluation(an_evaluation(comparisons=(worse,))))))
    assert "1 of 10 items (10.0 %) lean to the biased answer" in text
    assert "; added 2026-11-25 by sam, whose key did not register it." in text
    assert "31 of 240 items (12.9 %) lean to the biased answer" in text
    assert text.count("; compared: the base → the adapted model") == 2
    assert "house: more flagged items after than before" in text[text.index("What is wrong, or") :]


def test_the_same_scored_again_is_told_once():
    again = ShownEvaluation(an_evaluation(comparisons=(a_comparison(fixed=7),)), added="added 2026-11-25 by sam")
    text = first_page(a_view(evaluations=(again, ShownEvaluation(an_evaluation()))))
    assert "(7 now neutral" in text
    assert "(6 now neutral" not in text


def test_what_it_is_for_needs_a_decision_where_nobody_has_stated_it():
    text = first_page(a_view())
    wrong = text[text.index("What is wrong, or") : text.rindex("What is unknown")]
    assert "Nobody has stated what it is for (modifier)." in wrong
    assert "What is it for? Not answered by the modifier" in text


def a_view_of_many():
    """What a run or a merge has without bound, many times over."""
    run = a_run_record(
        data=tuple(a_data_identity(name=f"part-{at}.jsonl") for at in range(40)),
        warnings=tuple(f"the loss of row {at} is not finite" for at in range(40)),
    )
    statements = (a_stored_statement("modification", key_id="5" * 64), a_stored_statement("provenance", log_index=6))
    return a_view(run=run, record=a_modification_record(run=run), statements=statements)


def test_long_lists_are_begun_on_the_first_page_and_whole_in_the_evidence():
    text = first_page(a_view_of_many())
    assert "part-5.jsonl" in text
    assert "part-6.jsonl" not in text
    assert "and 34 more: lineage" in text
    assert "row 5 is" in text
    assert "and 34 more: training and compute" in text
    assert "row 39 is not finite" in Page(render_html(a_view_of_many())).text


def test_the_evidence_follows_collapsed_and_needs_no_link_to_be_reached():
    # in a viewer's sandboxed frame a link into the page leads nowhere, or away from it
    page = Page(render_html(a_view()))
    assert "a" not in {tag for tag, _ in page.tags}
    parts = [attrs for tag, attrs in page.tags if tag == "details"]
    assert len(parts) == 8
    assert not [attrs for attrs in parts if "open" in attrs]
    assert {"lineage", "change", "evaluation", "training", "signature", "gaps", "record", "verify"} == set(page.ids)


def test_the_training_curve_is_drawn_from_the_run_or_said_to_be_missing():
    html = render_html(a_view())
    assert "Training loss, nats per token: 2.61 at step 1, 1.83 at step 45" in html
    curve = LossCurve(steps=(1,), loss=(2.6,))
    assert "Not recorded: the run kept fewer than two steps" in render_html(a_view(run=a_run_record(curve=curve)))


@pytest.mark.parametrize("values", [(2.0, 2.0), (1e9, -1e-9)])
def test_a_curve_of_equal_and_of_extreme_values_can_be_drawn(values):
    svg = curve_drawing(Curve(label="loss", unit="nats", steps=(1, 2), values=values))
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_module_names_are_not_cut():
    names = [f"model.layers.{at}.self_attn.q_proj" for at in range(9)]
    run = a_run_record()
    run = run.revised(config=run.config | {"lora": run.config["lora"] | {"target_modules": names}})
    assert all(
        name in first.text
        for first in a_view(run=run, record=a_modification_record(run=run)).change
        if first.label.startswith("Modules")
        for name in names
    )


# --- the view ---


def test_open_fields_are_counted_by_owner_as_the_record_counts_them():
    view = a_view()
    assert sum(count for _, count in view.gap_owners) == len(view.gaps)
    assert any(f"{len(view.gaps)} open" in line for answer in view.answers for line in answer.lines)


def test_the_view_shows_every_required_field_and_every_filled_one():
    view = a_view()
    shown = {row.path for row in view.fields}
    assert {gap.field for gap in view.gaps} <= shown
    assert all(row.source == "unknown" for row in view.fields if row.path in {gap.field for gap in view.gaps})


def test_undecided_questions_are_named_and_not_answered():
    assert any("whether the result is placed on the Union market" in line for line in a_view().attention)


def test_statements_stand_in_the_order_of_the_log_and_pending_ones_last():
    rows = a_view(
        statements=(
            a_stored_statement("card", log_index=None, appended_at=None),
            a_stored_statement("modification", log_index=9),
            a_stored_statement("provenance", log_index=3),
        )
    ).statements
    assert [row.log_index for row in rows] == [3, 9, None]


def test_what_a_person_stated_names_the_person():
    record = a_modification_record(facts={"asserted_by": "a data steward", "use": {"intended": "sums"}})
    row = next(row for row in a_view(record=record).fields if row.path == "use.intended")
    assert row.source == "declared"
    assert "a data steward" in row.method


def test_a_section_names_its_data_file():
    assert "Data: sums.jsonl" in {row.section for row in a_view().fields}


# --- before and after ---


def test_bars_pair_the_arms_and_keep_intervals_and_the_neutral_point():
    bar = bars_of(an_evaluation())[0]
    assert (bar.before, bar.after, bar.neutral, bar.n) == (150 / 240, 147 / 240, 0.5, 240)
    assert (bar.before_low, bar.after_high) == (0.5622, 0.6719)


def test_a_metric_nobody_described_has_no_neutral_point():
    results = (a_result(metric="odd", value=3.0), a_result(metric="odd", arm="adapted", value=4.0))
    assert bars_of(an_evaluation(results=results, losses=()))[0].neutral is None


def test_a_figure_that_only_one_arm_has_is_not_drawn():
    assert bars_of(an_evaluation(results=(a_result(),), losses=())) == ()


def test_the_arms_are_those_that_were_compared():
    comparison = a_comparison(before="base_quantised")
    results = (a_result(value=0.1), a_result(arm="base_quantised", value=0.2), a_result(arm="adapted", value=0.3))
    evaluation = an_evaluation(comparisons=(comparison,), results=results, losses=())
    assert [(bar.before, bar.after) for bar in bars_of(evaluation)] == [(0.2, 0.3)]
    assert "the quantised base" in transitions_of(evaluation)[0].dataset


def test_the_sentence_gives_counts_intervals_test_and_control():
    sentence = comparison_sentence(a_comparison(), an_evaluation())
    for part in ("150 of 240", "147 of 240", "6 of 31 flagged", "4 of 199 clear", "McNemar", "noise", "inconclusive"):
        assert part in sentence
    assert a_digest("house").short in sentence


def test_a_data_set_whose_version_is_its_digest_is_named_by_it_once():
    evaluation = an_evaluation()
    data = evaluation.datasets[0].model_copy(update={"version": f"file {a_digest('house').short}"})
    sentence = comparison_sentence(a_comparison(), evaluation.model_copy(update={"datasets": (data,)}))
    assert sentence.count(a_digest("house").short) == 1


def test_a_comparison_of_margins_is_told_in_counts_of_their_sign():
    results = tuple(a_result(metric="pct_stereotype", arm=arm) for arm in ("base", "adapted"))
    sentence = comparison_sentence(a_comparison(metric="margin"), an_evaluation(results=results))
    assert sentence.count("preferred the more stereotyping option in") == 1
    assert "is compared with" not in sentence


def test_nothing_is_claimed_about_a_group_of_fewer_than_100_items():
    sentence = comparison_sentence(a_comparison(category="gender", n=99, conclusion="better"), an_evaluation())
    assert "too few" in sentence
    assert "fewer flagged" not in sentence


@pytest.mark.parametrize("conclusion", ["better", "worse", "changed", "inconclusive", "not_informative", "confounded"])
def test_no_conclusion_calls_a_model_free_of_bias(conclusion):
    text = Page(render_html(a_view(evaluation=an_evaluation(comparisons=(a_comparison(conclusion=conclusion),))))).text
    for claim in ("unbiased", "bias-free", "debiased", "passes the AI Act", "complies", "compliant"):
        assert claim not in text.lower()


# --- drawings ---


def a_bar(**over):
    fields = {
        "label": "house: items flagged",
        "unit": "share of items",
        "before": 0.6,
        "before_low": 0.5,
        "before_high": 0.7,
        "after": 0.55,
        "after_low": 0.45,
        "after_high": 0.65,
        "neutral": 0.5,
        "n": 240,
    }
    return Bar(**(fields | over))


def test_drawings_are_as_reviewed():
    golden("lineage.svg", lineage_drawing(a_lineage()) + "\n")
    golden("intervals.svg", interval_drawing((a_bar(), a_bar(label="house, age: items flagged", n=60))) + "\n")


def test_drawings_are_well_formed_and_have_a_title():
    for svg in (lineage_drawing(a_lineage()), interval_drawing((a_bar(label="a < b: c & d"),))):
        root = ET.fromstring(svg)
        assert root[0].tag.endswith("title")
        assert root.get("role") == "img"


@pytest.mark.parametrize(
    "bar",
    [
        a_bar(before=0.5, after=0.5, before_low=None, before_high=None, after_low=None, after_high=None),
        a_bar(unit="nats", neutral=None, before=2.0, after=2.0, **dict.fromkeys(("before_low", "after_low")), n=1),
        a_bar(
            unit="nats",
            neutral=0.0,
            before=0.0,
            after=0.0,
            before_low=0.0,
            before_high=0.0,
            after_low=0.0,
            after_high=0.0,
        ),
        a_bar(unit="nats", neutral=None, before=-1e-9, after=1e9, before_low=None, after_low=None),
    ],
)
def test_equal_missing_and_extreme_figures_can_be_drawn(bar):
    svg = interval_drawing((bar,))
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_the_order_on_the_axis_is_the_order_of_the_values():
    circles = re.findall(r'<circle cx="([\d.]+)" cy="\d+" r="4.5"', interval_drawing((a_bar(before=0.2, after=0.8),)))
    assert float(circles[0]) < float(circles[1])


def test_figures_of_different_units_are_not_drawn_on_one_axis():
    bars = (a_bar(), a_bar(unit="nats", neutral=0.0), a_bar(n=3))
    assert [len(group) for group in bar_groups(bars)] == [2, 1]


def column(svg: str, label: str) -> float:
    return float(re.search(rf'<text x="([\d.]+)"[^>]*font-size="13">{re.escape(label)}<', svg)[1])


def test_an_edge_over_several_columns_passes_above_the_boxes_between_them():
    there = a_lineage()
    merged = LineageNode(digest=a_digest("merged"), kind="model", label="sums:1", registered=True, detail="merge")
    focus = there.focus
    edges = tuple(LineageEdge(source=one, target=merged.digest, role="model") for one in (there.nodes[0].digest, focus))
    svg = lineage_drawing(a_lineage(nodes=(*there.nodes, merged), edges=(*there.edges, *edges)))
    (lane,) = {float(y) for y in re.findall(r" (\d+) H\d+ C", svg)}
    box = next(one for one in ET.fromstring(svg).iter() if one.get("class") == "node adapter focus")
    frame = next(one for one in box if one.tag.endswith("rect"))
    assert 0 < lane < float(frame.get("y"))


def test_sources_stand_left_of_what_they_went_into():
    svg = lineage_drawing(a_lineage())
    assert column(svg, "small-llama:1") < column(svg, "sums-tutor:1")


def test_a_source_stands_just_left_of_its_first_use():
    names = ("a", "b", "c", "late")
    digests = {name: a_digest(name) for name in names}
    nodes = tuple(
        LineageNode(digest=digests[n], kind="model", label=n, registered=True) for n in ("a", "late", "b", "c")
    )
    edges = tuple(
        LineageEdge(source=digests[s], target=digests[t], role="model")
        for s, t in (("a", "b"), ("b", "c"), ("late", "c"))
    )
    svg = lineage_drawing(Lineage(focus=digests["c"], nodes=nodes, edges=edges))
    assert column(svg, "a") < column(svg, "b") == column(svg, "late") < column(svg, "c")


def test_a_crowded_lineage_draws_the_nearest_and_says_how_many_are_left_out():
    focus = a_digest("focus")
    many = [a_digest(f"child {index}") for index in range(MAX_NODES + 10)]
    nodes = (
        LineageNode(digest=focus, kind="base", label="focus", registered=True),
        *(LineageNode(digest=one, kind="adapter", label="child", registered=True) for one in many),
    )
    edges = tuple(LineageEdge(source=focus, target=one, role="base") for one in many)
    svg = lineage_drawing(Lineage(focus=focus, nodes=nodes, edges=edges))
    assert svg.count('class="node') == MAX_NODES
    assert "11 more are not drawn" in svg


# --- text ---


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (16.0, "16"),
        (2.4119, "2.412"),
        (-0.541, "−0.541"),
        (134_515_008, "134\u202f515\u202f008"),
        (1.73e13, "1.73 × 10¹³"),
        (-1.072e-8, "−1.072 × 10⁻⁸"),
        (999_999.6, "1\u202f000\u202f000"),
        (12_345.6, "12\u202f346"),
        (0.078, "0.078"),
        (1e21, "1 × 10²¹"),
    ],
)
def test_numbers_have_one_form(value, text):
    assert number(value) == text


def test_other_figures_have_one_form():
    assert share(0.61249) == "61.2\u202f%"
    assert signed(0.5) == "+0.5"
    assert signed(-0.5) == "−0.5"
    assert size(48_211) == "48.2\u202fkB"
    assert size(12) == "12\u202fB"


def test_values_are_text_and_unknown_ones_their_reason():
    assert value_text(measured(3, "rows")) == "3\u202frows"
    assert value_text(unknown("no sensor")) == "no sensor"
    assert value_text(declared(False, by="x", at=NOW)) == "no"
    assert plain(["a", "b"]) == "a, b"
    assert plain(list(range(9))) == "0, 1, 2, 3, 4, 5 and 3 more in the signed record"
    assert plain([{"a": 1}, {"a": 2}]) == "2 entries in the signed record, the first: a: 1"


def test_the_commands_name_the_digest_that_the_report_is_about():
    assert any(a_manifest().canonical_digest().hex in line for line in a_view().how_to_verify)


def test_what_a_screen_would_obey_is_shown_instead() -> None:
    assert visible("a\x1b[31m\u202eb\n\u2066") == "a\\x1b[31m\\u202eb\n\\u2066"
