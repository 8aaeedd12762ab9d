"""What a policy says of a version: every rule by itself, all of them at once, waivers, and whose approval counts."""

import pytest
import yaml
from pydantic import ValidationError

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.gate.facts import (
    DecisionFact,
    FigureWithInterval,
    FlaggedChange,
    GateFacts,
    LostFact,
    MetricFact,
    Status,
    SuiteFacts,
    Vote,
    Waiver,
)
from peft_registry.registry.gate.policy import SHIPPED, ApprovalRule, GatePolicy
from peft_registry.registry.gate.reasons import decide_gate
from peft_registry.registry.use_cases.gate import shipped_policy
from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.identity import Digest

NOW = "2026-11-28T12:00:00Z"
DIGEST = Digest.of(b"a manifest")
HOUSE = SuiteFacts(
    suite="house",
    evaluation=DIGEST,
    stale=None,
    conclusions=((None, "changed"), ("gender", "inconclusive")),
    changes=(FlaggedChange(slice=None, change=-0.02, high=0.04), FlaggedChange(slice="gender", change=0.0, high=0.2)),
)
FACTS = GateFacts(
    label="sums:1",
    manifest=DIGEST,
    now=NOW,
    is_base=False,
    verdict="verified",
    verdict_text="",
    makers=("anna",),
    suites=(HOUSE,),
)
SYSTEM = {"statuses": (Status(table="high_risk", status="provider_25_1_c", basis="H6"),)}
NO_INTERVAL = (FlaggedChange(slice=None, change=0.0, high=None),)
LOST = LostFact(text="loss on neutral text 4.7 → 5.5 (perplexity 112 → 252)")
NOTHING = GatePolicy(name="nothing", about="nothing but what every policy asks")


def house(**changes) -> tuple[SuiteFacts, ...]:
    return (HOUSE.revised(**changes),)


def reasons(facts: GateFacts, policy: GatePolicy) -> list[str]:
    return [reason.rule for reason in decide_gate(facts, policy).reasons]


def vote(person: str, objection: str = "", key: str = "1") -> Vote:
    return Vote(person=person, key_id=key, at=NOW, objection=objection)


ROWS = Digest.of(b"gsm8k.jsonl")
EXACT = MetricFact(
    metric="task-gsm8k.exact_match",
    evaluation=DIGEST,
    stale=None,
    figure=FigureWithInterval(value=0.5, low=0.43, high=0.57),
    change=FigureWithInterval(value=0.01, low=-0.04, high=0.06),
    data=ROWS,
    rows=200,
    examples=5,
)


def metric(**bounds) -> dict[str, object]:
    return {"metrics": [{"metric": EXACT.metric} | bounds]}


def exact(**changes) -> dict[str, object]:
    return {"metrics": (EXACT.revised(**changes),)}


RECALLED = ShownStop(kind="recall", text="its base")


@pytest.mark.parametrize(
    ("policy", "facts", "rules"),
    [
        ({}, {}, []),
        ({}, {"verdict": "unverified"}, ["verified"]),
        ({}, {"verdict": "broken"}, ["verified"]),
        ({}, {"verdict": None}, []),  # no file of it was read
        ({}, {"verdict": None, "stops": (RECALLED,)}, ["recall"]),
        ({}, {"stops": (RECALLED, RECALLED)}, ["recall", "recall"]),
        ({"evaluation": {}}, {}, []),
        ({"evaluation": {}}, {"suites": ()}, ["evaluation"]),
        ({"evaluation": {}}, {"suites": (), "is_base": True}, []),
        ({"evaluation": {}}, {"suites": house(stale="of another base")}, []),
        ({"evaluation": {"fresh": True}}, {"suites": house(stale="of another base")}, ["evaluation"]),
        ({"evaluation": {"suites": ["house"]}}, {}, []),
        ({"evaluation": {"suites": ["house", "crows_pairs"]}}, {}, ["evaluation"]),
        ({"evaluation": {"informative": True}}, {}, []),
        ({"evaluation": {"informative": True}}, {"suites": house(conclusions=((None, "not_informative"),))}, ["evaluation"]),
        ({"evaluation": {"informative": True}}, {"suites": house(conclusions=((None, "confounded"),))}, ["evaluation"]),
        ({"evaluation": {"informative": True}}, {"suites": house(conclusions=(("gender", "better"),))}, ["evaluation"]),
        ({"evaluation": {"informative": True}}, {"suites": house(conclusions=())}, []),
        ({"evaluation": {"not_worse": True}}, {"suites": house(conclusions=((None, "worse"), ("age", "worse")))}, ["worse"] * 2),
        ({"evaluation": {}}, {"suites": house(conclusions=((None, "worse"),))}, []),
        ({"evaluation": {"no_leakage": True}}, {"suites": house(leaked=("12 items were trained on",))}, ["leakage"]),
        ({"evaluation": {"no_leakage": True}}, {"suites": house(unknown_trainings=("not known",))}, ["leakage"]),
        ({"evaluation": {"fresh": True}}, {"suites": house(unknown_trainings=("not known",))}, []),
        ({"evaluation": {"not_worse": True}}, {"suites": house(is_screen=True)}, ["evaluation"]),
        ({"evaluation": {"not_worse": True}}, {"suites": (*house(is_screen=True), HOUSE)}, []),
        ({"evaluation": {}}, {"suites": house(is_screen=True)}, []),
        ({"evaluation": {"limits_kept": True}}, {"suites": house(limits=1, unkept=("flagged_rate is broken",))}, ["limits"]),
        ({"evaluation": {"limits_kept": True}}, {"suites": house(limits=1)}, []),
        ({"evaluation": {"limits_kept": True}}, {}, ["evaluation"]),  # nobody set one
        ({"evaluation": {"limits_kept": True}}, {"suites": (HOUSE, *house(suite="held-out", limits=2))}, []),
        ({"evaluation": {"quality_kept": True}}, {"lost": (LOST,)}, ["quality"]),
        ({"evaluation": {}}, {"lost": (LOST,)}, []),
        ({"evaluation": {"fresh": True, "quality_kept": True}}, {"lost": (LOST.revised(stale="of another base"),)}, []),
        ({"deltas": [{"suite": "house", "at_most": 0.04}]}, {}, []),
        ({"deltas": [{"suite": "house", "at_most": 0.039}]}, {}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.04}]}, {"suites": house(is_screen=True)}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.1, "slice": "gender"}]}, {}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.1, "slice": "age"}]}, {}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.1}]}, {"suites": house(stale="of another base")}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.1}]}, {"suites": house(changes=NO_INTERVAL)}, ["delta"]),
        ({"deltas": [{"suite": "house", "at_most": 0.1}]}, {"suites": (), "is_base": True}, []),
        (metric(at_least=0.43), exact(), []),
        (metric(at_least=0.44), exact(), ["metric"]),  # the figure is above it, and its interval is not
        (metric(at_most=0.57), exact(), []),
        (metric(at_most=0.56), exact(), ["metric"]),
        (metric(change_at_least=-0.04), exact(), []),
        (metric(change_at_least=-0.03), exact(), ["metric"]),
        (metric(change_at_most=0.06), exact(), []),
        (metric(change_at_most=0.05), exact(), ["metric"]),
        (metric(at_least=0.9, change_at_least=0.5), exact(), ["metric"] * 2),
        (metric(at_least=0.43), {}, ["metric"]),
        (metric(at_least=0.43), {"is_base": True}, []),
        (metric(at_least=0.43), exact(stale="of another base"), ["metric"]),
        (metric(at_least=0.43), exact(silent="it was trained on"), ["metric"]),
        (metric(at_least=0.43), exact(figure=FigureWithInterval(value=0.9)), ["metric"]),
        (metric(change_at_least=-1), exact(change=None), ["metric"]),
        (metric(at_least=0.43, fewshot=5), exact(), []),
        (metric(at_least=0.43, fewshot=0), exact(), ["metric"]),
        ({"answered": ["use.intended"]}, {}, []),
        ({"answered": ["use.intended"]}, {"open_fields": ("use.intended",)}, ["answered"]),
        (
            {"refused_statuses": ["provider_25_1_c"]},
            SYSTEM,
            ["status"],
        ),
        ({"refused_statuses": ["borderline"]}, SYSTEM, []),
        (
            {"status_decided": True},
            {"statuses": (Status(table="gpai_modifier", status="undetermined", basis=None, missing=("whether",)),)},
            ["undecided-status"],
        ),
        ({"art5_screened": True}, {"makes_media": True}, ["art5"]),
        ({"art5_screened": True}, {"makes_media": True, "is_screened": True}, []),
        ({"art5_screened": True}, {"makes_media": False}, []),
        ({"refused_licence_flags": ["non_commercial"]}, {"licence_flags": ("share_alike", "non_commercial")}, ["licence"]),
        ({"refused_licence_flags": ["non_commercial"]}, {"licence_flags": ("share_alike",)}, []),
        ({"refused_licence_flags": ["non_commercial"]}, {"licence_flags": ("unknown",)}, []),
        ({"refused_licence_flags": ["unknown"]}, {"licence_flags": ("unknown",)}, ["licence"]),
        ({"refused_licence_flags": ["unknown"]}, {"own_licence_flags": ("unknown",)}, ["licence"]),
        ({"approvals": {"count": 1}}, {}, ["approvals"]),
        ({"approvals": {"count": 1}}, {"votes": (vote("alex"),)}, []),
        ({"approvals": {"count": 1}}, {"votes": (vote("alex", "its record says something else since"),)}, ["approvals"]),
        ({"approvals": {"count": 1}}, {"votes": (vote("anna"),)}, ["approvals"]),  # she made it
        ({"approvals": {"count": 1, "by_others": False}}, {"votes": (vote("anna"),)}, []),
        ({"approvals": {"count": 2}}, {"votes": (vote("alex"), vote("alex", key="2"))}, ["approvals"]),  # two keys, one person
        ({"approvals": {"count": 2}}, {"votes": (vote("alex"), vote("sam"))}, []),
    ],
    ids=str,
)  # fmt: skip
def test_each_rule_says_no_where_it_should_and_nowhere_else(policy, facts, rules):
    assert reasons(FACTS.revised(**facts), GatePolicy.model_validate(NOTHING.model_dump() | policy)) == rules


def test_a_waiver_of_the_status_suspends_no_prohibited_practice():
    """One is given while the status is another, and facts change."""
    policy = GatePolicy.model_validate(
        NOTHING.model_dump() | {"refused_statuses": ["borderline", "blocked_art5"], "waivable": ["status"]}
    )
    waiver = Waiver(rule="status", person="alex", until="2027-01-01T00:00:00Z", reason="counsel looks at it")
    for status, closed_by in (("borderline", []), ("blocked_art5", ["art5"])):
        statuses = (Status(table="gpai_modifier", status=status, basis="G1"),)
        assert reasons(FACTS.revised(statuses=statuses, waivers=(waiver,)), policy) == closed_by


OWN_ROWS, OWN_FILE = Digest.of(b"house.jsonl"), Digest.of(b"harmless.jsonl")


def evaluated(high: float, *, rows: int, data: Digest = OWN_ROWS, stale: str | None = None) -> SuiteFacts:
    changes = (FlaggedChange(slice=None, change=0.0, high=high),)
    return HOUSE.revised(changes=changes, rows=rows, data=data, stale=stale)


@pytest.mark.parametrize(
    ("newest_first", "is_open"),
    [
        ((evaluated(0.02, rows=40), evaluated(0.25, rows=240)), False),
        ((evaluated(0.02, rows=40), evaluated(0.25, rows=40)), False),  # other rows, by another seed
        ((evaluated(0.01, rows=900, data=OWN_FILE), evaluated(0.25, rows=240)), False),
        ((evaluated(0.05, rows=240), evaluated(0.4, rows=20)), True),  # more rows, as the remedy says
        ((evaluated(0.4, rows=20), evaluated(0.05, rows=240)), True),
        ((evaluated(0.02, rows=40), evaluated(0.25, rows=240, stale="of another base")), True),
    ],
    ids=["some rows", "another seed", "own rows", "all rows later", "some rows later", "stale"],
)
def test_no_later_evaluation_on_other_or_fewer_rows_stands_for_the_suite(
    newest_first: tuple[SuiteFacts, ...], is_open: bool
) -> None:
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"deltas": [{"suite": "house", "at_most": 0.1}]})
    decision = decide_gate(FACTS.revised(suites=newest_first), policy)
    assert decision.is_open is is_open
    assert is_open or decision.reasons[0].text.startswith("house: flagged items may rise by 0.250")


def measured(low: float, *, rows: int, data: Digest = ROWS, **more) -> MetricFact:
    return EXACT.revised(figure=FigureWithInterval(value=0.5, low=low, high=0.9), rows=rows, data=data, **more)


@pytest.mark.parametrize(
    ("found", "is_open"),
    [
        ((measured(0.4, rows=40), measured(0.1, rows=240)), False),
        ((measured(0.4, rows=40), measured(0.1, rows=40)), False),
        ((measured(0.4, rows=900, data=OWN_FILE), measured(0.1, rows=240)), False),
        ((measured(0.4, rows=240), measured(0.1, rows=20)), True),
        ((measured(0.4, rows=40), measured(0.1, rows=240, stale="of another base")), True),
        ((measured(0.4, rows=40), measured(0.1, rows=240, examples=0)), True),  # another way of asking than the rule's
    ],
    ids=["some rows", "another seed", "own rows", "all rows", "stale", "asked otherwise"],
)
def test_a_metric_is_held_to_the_worst_evaluation_on_most_rows_of_each_file(
    found: tuple[MetricFact, ...], is_open: bool
) -> None:
    policy = GatePolicy.model_validate(NOTHING.model_dump() | metric(at_least=0.3, fewshot=5))
    assert decide_gate(FACTS.revised(metrics=found), policy).is_open is is_open


def test_a_metric_that_was_not_measured_names_the_command_and_what_was() -> None:
    policy = GatePolicy.model_validate(
        NOTHING.model_dump() | {"metrics": [{"metric": "task-gsm8k.exact-match", "at_least": 0.3, "fewshot": 8}]}
    )
    (reason,) = decide_gate(FACTS.revised(metrics=(EXACT,)), policy).reasons
    assert reason.text == (
        "task-gsm8k.exact-match with 8 solved examples was not measured; what was measured is task-gsm8k.exact_match"
    )
    assert reason.remedy == (
        "write `metric: task-gsm8k.exact_match` in a policy of your own if that is meant, else "
        "`registry evaluate sums:1 --task gsm8k --data PLACE --fewshot 8`"
    )


def test_limits_that_nobody_set_are_asked_for_by_the_key_that_evaluate_reads() -> None:
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"evaluation": {"limits_kept": True}})
    (reason,) = decide_gate(FACTS, policy).reasons
    assert reason.remedy == "`registry evaluate sums:1` --policy FILE, with `thresholds:` in the file"


def test_a_waiver_suspends_a_metric_where_the_policy_lets_it() -> None:
    policy = GatePolicy.model_validate(NOTHING.model_dump() | metric(at_least=0.9) | {"waivable": ["metric"]})
    waiver = Waiver(rule="metric", person="alex", until="2027-01-01T00:00:00Z", reason="measured anew in January")
    assert decide_gate(FACTS.revised(metrics=(EXACT,), waivers=(waiver,)), policy).is_open


@pytest.mark.parametrize(("is_whole", "more"), [(True, False), (False, True)])
def test_more_items_are_a_remedy_only_where_a_suite_has_more(is_whole: bool, more: bool) -> None:
    policy = GatePolicy.model_validate(
        NOTHING.model_dump() | {"deltas": [{"suite": "house", "at_most": 0.01}], "evaluation": {"informative": True}}
    )
    suites = house(is_whole=is_whole, conclusions=((None, "inconclusive"),), changes=NO_INTERVAL)
    silent = house(is_whole=is_whole, conclusions=((None, "not_informative"),))
    for facts in (FACTS.revised(suites=suites), FACTS.revised(suites=silent)):
        remedies = [reason.remedy for reason in decide_gate(facts, policy).reasons]
        assert remedies and all(("on more items" in remedy) is more for remedy in remedies)


def test_a_margin_that_no_result_of_so_few_items_can_show_is_said_to_be_one() -> None:
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"deltas": [{"suite": "house", "at_most": 0.01}]})
    change = FlaggedChange(slice=None, change=0.0, high=0.0234, least=0.0234)
    (whole,) = decide_gate(FACTS.revised(suites=house(is_whole=True, changes=(change,))), policy).reasons
    assert whole.text == (
        "house: so few items cannot show a rise of at most 0.01: where none changed, up to 0.023 stays open"
    )
    assert whole.remedy == (
        "ask a margin of 0.03 or more, or another suite, in a policy of your own: this evaluation has every item of house"
    )
    (part,) = decide_gate(FACTS.revised(suites=house(changes=(change,))), policy).reasons
    assert part.remedy == (
        "`registry evaluate sums:1 --suite house` on more items, or ask a margin of 0.03 or more, or another suite, in a policy of "
        "your own"
    )
    at_hundredths = decide_gate(FACTS.revised(suites=house(changes=(change.revised(high=0.03, least=0.03),))), policy)
    assert "a margin of 0.03 or more" in at_hundredths.reasons[0].remedy, "what is in whole hundredths already stays"
    at_margin = change.revised(least=0.01)
    (risen,) = decide_gate(FACTS.revised(suites=house(is_whole=True, changes=(at_margin,))), policy).reasons
    assert risen.text == "house: flagged items may rise by 0.023, at most 0.01 is allowed"
    assert risen.remedy.startswith("train another version, or ask a wider margin")


def test_what_two_evaluations_have_alike_is_one_reason():
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"evaluation": {"no_leakage": True}})
    (suite,) = house(leaked=("12 items",))
    decision = decide_gate(FACTS.revised(suites=(suite, suite.revised(suite="neutral"))), policy)
    assert [reason.text for reason in decision.reasons] == ["12 items"]


def test_all_reasons_are_told_at_once_with_what_opens_each():
    regulated = GatePolicy.model_validate(yaml.safe_load(shipped_policy("regulated")))
    facts = FACTS.revised(
        stops=(RECALLED,),
        suites=house(conclusions=((None, "worse"),), leaked=("12 items",), limits=1, unkept=("a limit",)),
        open_fields=("use.intended", "gpai.placed_on_eu_market"),
        statuses=(Status(table="gpai_modifier", status="undetermined", basis=None, missing=("whether it is placed",)),),
        licence_flags=("non_commercial",),
    )
    decision = decide_gate(facts, regulated)
    assert not decision.is_open
    expected = [
        "recall",
        "worse",
        "leakage",
        "limits",
        "answered",
        "answered",
        "undecided-status",
        "licence",
        "approvals",
    ]
    assert [reason.rule for reason in decision.reasons] == expected
    assert all(reason.text and reason.remedy for reason in decision.reasons)


WAIVER = Waiver(rule="worse", person="alex", until="2026-12-01T00:00:00Z", reason="mended in the next version")


@pytest.mark.parametrize(
    ("waiver", "now", "is_open"),
    [
        ({}, NOW, True),
        ({}, "2026-12-01T00:00:00Z", False),  # over from its first second on
        ({}, "2026-11-30T23:59:59Z", True),
        ({"rule": "leakage"}, NOW, False),
        ({"objection": "it is for another policy"}, NOW, False),
        ({"person": "anna"}, NOW, False),  # she made the version
    ],
    ids=str,
)
def test_a_waiver_suspends_its_rule_until_its_day(waiver, now, is_open):
    asked = {"evaluation": {"not_worse": True}, "waivable": ["worse"], "approvals": {"count": 1}}
    policy = GatePolicy.model_validate(NOTHING.model_dump() | asked)
    facts = FACTS.revised(
        now=now,
        suites=house(conclusions=((None, "worse"),)),
        votes=(vote("sam"),),
        waivers=(WAIVER.revised(**waiver),),
    )
    decision = decide_gate(facts, policy)
    assert decision.is_open is is_open
    assert [suspended.waiver.person for suspended in decision.suspended] == (["alex"] if is_open else [])


def test_whoever_alone_waived_what_is_wrong_is_told_why_their_approval_does_not_count() -> None:
    policy = GatePolicy(
        name="two", about="two approvals", refused_licence_flags=("non_commercial",), waivable=("licence",),
        approvals=ApprovalRule(count=2),
    )  # fmt: skip
    waiver = Waiver(rule="licence", person="Ben", until="2027-01-01T00:00:00Z", reason="it is used in house")
    facts = FACTS.revised(
        own_licence_flags=("non_commercial",), waivers=(waiver,), votes=(vote("Ada"), vote("Ben", key="2"))
    )
    (reason,) = decide_gate(facts, policy).reasons
    assert reason.text == (
        "needs 2 approvals, has 1 (Ada); that of Ben does not count: nobody else waived what is wrong with the version"
    )


def test_nobody_waives_what_the_policy_does_not_list():
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"evaluation": {"not_worse": True}})
    facts = FACTS.revised(suites=house(conclusions=((None, "worse"),)), waivers=(WAIVER,))
    assert reasons(facts, policy) == ["worse"]


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_are_ones(name):
    assert GatePolicy.model_validate(yaml.safe_load(shipped_policy(name))).name == name


@pytest.mark.parametrize(
    "wrong",
    [
        {"evaluations": {}},
        {"evaluation": {"fresh": "perhaps"}},
        {"deltas": [{"suite": "house"}]},
        {"deltas": [{"suite": "house", "at_most": 2}]},
        metric(),
        metric(at_least=float("nan")),
        metric(at_least=0.5, at_most=0.4),
        {"metrics": [{"metric": "accuracy", "at_least": 0.5}]},  # of which data set is not said
        {"metrics": [{"metric": "task-gsm8k.exact_match", "equals": 0.5}]},
        {"approvals": {"count": 0}},
        {"waivable": ["approvals"]},
        {"waivable": ["recall"]},
        {"name": " "},
    ],
    ids=str,
)
def test_a_policy_with_a_word_that_nobody_knows_is_none(wrong):
    with pytest.raises(ValidationError):
        GatePolicy.model_validate(NOTHING.model_dump() | wrong)


OPEN = Status(table="high_risk", status="undetermined", basis=None, missing=("whether it is", "who is"))
OTHER = HOUSE.revised(suite="other", stale=None, changes=(FlaggedChange(slice=None, change=0.5, high=0.6),))


@pytest.mark.parametrize(
    ("policy", "facts", "text"),
    [
        ({}, {"verdict": "broken", "verdict_text": "files: one differs"}, "it is broken: files: one differs"),
        ({}, {"stops": (RECALLED,)}, "its base"),
        ({"evaluation": {}}, {"suites": ()}, "it was not evaluated"),
        (
            {"evaluation": {"fresh": True}},
            {"suites": (HOUSE.revised(stale="of another base"),)},
            "its evaluation is of another base",
        ),
        ({"evaluation": {"suites": ["other"]}}, {}, "other was not evaluated"),
        (
            {"evaluation": {"suites": ["house"], "fresh": True}},
            {"suites": (OTHER, HOUSE.revised(stale="of another base"))},
            "the evaluation of house is of another base",
        ),
        (
            {"evaluation": {"informative": True}},
            {"suites": tuple(suite.revised(conclusions=((None, "not_informative"),)) for suite in (HOUSE, OTHER))},
            "no evaluation says anything: house, other",
        ),
        (
            {"evaluation": {"not_worse": True}},
            {"suites": house(conclusions=((None, "worse"),))},
            "house: more flagged items after than before",
        ),
        (
            {"evaluation": {"not_worse": True}},
            {"suites": house(conclusions=(("age", "worse"), (None, "changed")))},
            "house, age: more flagged items after than before",
        ),
        ({"deltas": [{"suite": "house", "at_most": 0.1}]}, {"suites": ()}, "house: no interval of the change is known"),
        (
            {"deltas": [{"suite": "house", "at_most": 0.1, "slice": "age"}]},
            {},
            "house, age: no interval of the change is known",
        ),
        (
            {"deltas": [{"suite": "other", "at_most": 0.1}]},
            {"suites": (HOUSE, OTHER)},
            "other: flagged items may rise by 0.600, at most 0.1 is allowed",
        ),
        (
            metric(at_least=0.6),
            exact(),
            "task-gsm8k.exact_match: too low, its value is 0.500, with an interval from 0.430 to 0.570; at least 0.6 is asked",
        ),
        (
            metric(at_least=0.5),
            exact(),
            "task-gsm8k.exact_match: inconclusive, its value is 0.500, with an interval from 0.430 to 0.570; at least 0.5 is asked",
        ),
        (
            metric(change_at_least=-0.02),
            exact(change=FigureWithInterval(value=-0.03, low=-0.05, high=-0.01)),
            "task-gsm8k.exact_match: worse, its change from the base is −0.030, with an interval from −0.050 to −0.010; "
            "at least −0.02 is asked",
        ),
        (
            metric(change_at_most=0.02),
            exact(change=FigureWithInterval(value=0.03, low=0.01, high=0.05), lower_is_better=True, before="parent"),
            "task-gsm8k.exact_match: worse, its change from the parent is 0.030, with an interval from 0.010 to 0.050; "
            "at most 0.02 is asked",
        ),
        ({"refused_statuses": ["provider_25_1_c"]}, SYSTEM, "the indicative status is provider_25_1_c (H6)"),
        (
            {"refused_statuses": ["undetermined"]},
            {"statuses": (OPEN,)},
            "the indicative status is undetermined",
        ),
        ({"status_decided": True}, {"statuses": (OPEN,)}, "the status of the system is open: whether it is; who is"),
        (
            {"status_decided": True},
            {"statuses": (OPEN.revised(table="gpai_modifier"),)},
            "the status of the model is open: whether it is; who is",
        ),
        ({"approvals": {"count": 2}}, {}, "needs 2 approvals, has 0"),
        (
            {"approvals": {"count": 3}},
            {"votes": (vote("sam"), vote("alex"), vote("anna"), vote("kim", "it was evaluated since"))},
            "needs 3 approvals, has 2 (alex, sam); that of anna does not count: a key of theirs made the version; "
            "that of kim does not count: it was evaluated since",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_reason_says_what_is_wrong_and_where(policy, facts, text):
    decision = decide_gate(FACTS.revised(**facts), GatePolicy.model_validate(NOTHING.model_dump() | policy))
    assert [reason.text for reason in decision.reasons] == [text]


def test_whoever_is_named_as_having_approved_is_somebody_whose_approval_counts():
    votes = (vote("alex"), vote("alex", key="2"), vote("sam", "it was evaluated since"))
    assert decide_gate(FACTS.revised(votes=votes), NOTHING).approved_by == ("alex",)


def test_makers_waive_where_nobody_asks_for_others():
    asked = {"evaluation": {"not_worse": True}, "waivable": ["worse"]}
    facts = FACTS.revised(suites=house(conclusions=((None, "worse"),)), waivers=(WAIVER.revised(person="anna"),))
    for approvals in (None, {"count": 1, "by_others": False}):
        policy = GatePolicy.model_validate(NOTHING.model_dump() | asked | {"approvals": approvals})
        assert "worse" not in reasons(facts, policy)


@pytest.mark.parametrize(
    ("policy", "facts", "remedy"),
    [
        ({}, {"verdict": "broken"}, "`registry verify` says what is wrong"),
        ({}, {"stops": (RECALLED,)}, "use a version that was not made from it"),
        (
            {"answered": ["use.intended"]},
            {"open_fields": ("use.intended",)},
            "answer it with `registry decide sums:1 --form gaps.yml --policy NAME|FILE`",
        ),
        (
            {"art5_screened": True},
            {"makes_media": True},
            "answer `high_risk.art5_screen` with `registry decide sums:1 --form gaps.yml --policy NAME|FILE`",
        ),
        (
            {"refused_licence_flags": ["non_commercial"]},
            {"licence_flags": ("non_commercial",)},
            "use a base whose licence allows it",
        ),
        (
            {"refused_licence_flags": ["non_commercial"]},
            {"own_licence_flags": ("non_commercial",)},
            "use a version whose licence allows it",
        ),
        (
            {"evaluation": {"not_worse": True}},
            {"suites": house(conclusions=((None, "worse"),))},
            "train another version",
        ),
        (
            {"evaluation": {"quality_kept": True}},
            {"lost": (LostFact(text="accuracy 0.5 → 0.1"),)},
            "train another version: with a lower learning rate, fewer epochs or early stopping, less is lost",
        ),
        ({"evaluation": {"no_leakage": True}}, {"suites": house(leaked=("12 items",))}, "train on data that is not scored"),
        (
            {"evaluation": {"no_leakage": True}},
            {"suites": house(unknown_trainings=("not known",))},
            "answer `content.holds_evaluated_items` of what was imported with `registry decide sums:1 --form gaps.yml "
            "--policy NAME|FILE`, or use a version whose training is recorded",
        ),
        ({"evaluation": {"limits_kept": True}}, {"suites": house(limits=1, unkept=("a limit",))}, "train another version"),
        (
            {"evaluation": {"limits_kept": True}},
            {"suites": house(limits=1, unkept=("a limit",), undecided=("a limit",))},
            "train another version, and evaluate that one with the limit on all of house from the start, without --half and "
            "--limit: more items decide it, and no later evaluation replaces this one",
        ),
        (
            {"evaluation": {"limits_kept": True}},
            {"suites": house(limits=1, unkept=("a limit",), undecided=("a limit",), is_whole=True)},
            "train another version, and set its limit on a suite with more items or templates: this evaluation has every item of "
            "house, and no later one replaces it",
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_reason_says_what_opens_the_gate(policy, facts, remedy):
    decision = decide_gate(FACTS.revised(**facts), GatePolicy.model_validate(NOTHING.model_dump() | policy))
    assert [reason.remedy for reason in decision.reasons] == [remedy]


@pytest.mark.parametrize(
    ("named", "option"),
    [("regulated", "`"), ("bank.yml", " --policy bank.yml`"), ("NAME|FILE", " --policy NAME|FILE`")],
)
def test_what_a_policy_asks_is_answered_in_a_form_for_that_policy(named, option):
    """A form asks what decides, and for another policy another question does."""
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"answered": ["use.out_of_scope"]})
    (reason,) = decide_gate(FACTS.revised(open_fields=("use.out_of_scope",)), policy, named=named).reasons
    assert reason.remedy == f"answer it with `registry decide sums:1 --form gaps.yml{option}"


def test_every_field_that_a_rule_reads_is_among_those_that_a_policy_reads():
    assert NOTHING.fields_read == ()
    rules = {
        "answered": ["use.intended"],
        "art5_screened": True,
        "refused_licence_flags": ["non_commercial"],
        "evaluation": {"no_leakage": True},
    }
    read = GatePolicy.model_validate(NOTHING.model_dump() | rules).fields_read
    known = field_rules().by_path()
    assert all(known[path].takes_answers for path in read)
    assert {"use.intended", "high_risk.art5_screen", "product.licence", "content.holds_evaluated_items"} <= set(read)


def test_an_output_that_nobody_screened_is_told_by_its_article():
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"art5_screened": True})
    (reason,) = decide_gate(FACTS.revised(makes_media=True), policy).reasons
    assert reason.text == "it makes images, audio or video, and no screen for Article 5 clears it"


@pytest.mark.parametrize(
    ("whose", "text"),
    [
        ({"own_licence_flags": ("non_commercial",)}, "its licence says non_commercial"),
        ({"licence_flags": ("non_commercial",)}, "the licence of what it was made from says non_commercial"),
        (
            {"own_licence_flags": ("non_commercial",), "licence_flags": ("non_commercial",)},
            "its licence says non_commercial",
        ),
    ],
)
def test_a_refused_licence_is_told_once_and_with_whose_it_is(whose: dict[str, object], text: str):
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"refused_licence_flags": ["non_commercial"]})
    (reason,) = decide_gate(FACTS.revised(**whose), policy).reasons
    assert reason.text == text


def test_a_base_is_not_asked_for_the_answers_of_a_modification():
    policy = GatePolicy.model_validate(NOTHING.model_dump() | {"answered": ["use.intended"]})
    assert reasons(FACTS.revised(is_base=True, open_fields=("use.intended",)), policy) == []


STALE = DecisionFact(question="purpose", text="purpose: yes, decided by ada", objection="it was evaluated since")


@pytest.mark.parametrize(
    ("policy", "decisions", "rules"),
    [
        ({"status_decided": True}, (STALE,), ["undecided-status"]),
        ({"refused_statuses": ("provider_25_1_c",)}, (STALE,), ["undecided-status"]),
        # Article 5 is screened, and decided by nobody
        ({"refused_statuses": ("blocked_art5",)}, (STALE,), []),
        ({}, (STALE,), []),
        ({"status_decided": True}, (), []),
        ({"status_decided": True}, (STALE.revised(objection=""),), []),
        # decided again, before or after
        ({"status_decided": True}, (STALE, STALE.revised(objection="")), []),
        ({"status_decided": True}, (STALE, STALE.revised(question="article-6-3", objection="")), ["undecided-status"]),
    ],
    ids=str,
)
def test_a_decision_that_does_not_count_closes_the_gate_until_it_is_decided_again(policy, decisions, rules):
    asked = GatePolicy(name="x", about="y", **policy)
    found = decide_gate(FACTS.revised(decisions=decisions), asked).reasons
    assert [reason.rule for reason in found] == rules
    if found:
        text = "a decision does not count: it was evaluated since (purpose: yes, decided by ada)"
        command = (
            f"registry decide {FACTS.label} --on purpose --outcome yes|no --policy NAME|FILE --reason TEXT --key FILE"
        )
        remedy = f"decide again: `{command}`"
        assert (found[0].text, found[0].remedy) == (text, remedy)


def test_two_spellings_of_one_name_are_one_person():
    policy = GatePolicy(name="two", about="two people", approvals=ApprovalRule(count=2))
    votes = tuple(vote(person) for person in ("ada", "Ada", "\u0430da", "ada "))
    assert reasons(FACTS.revised(votes=votes), policy) == ["approvals"]
    others = (*votes, vote("ben"))
    assert reasons(FACTS.revised(votes=others), policy) == []
    assert reasons(FACTS.revised(votes=others, makers=("BEN",)), policy) == ["approvals"]
