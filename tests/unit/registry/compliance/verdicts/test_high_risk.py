"""The decision table of high-risk systems: every row, every open question, and what speaks against a stated answer.

The expected rows are written out from Arts. 3(23), 6, 25 and 43(4), and not taken from the rules that the tool carries.
"""

import pytest

from peft_registry.registry.compliance.verdicts.high_risk import (
    ARTICLES,
    AffectedArticles,
    HighRiskAnswers,
    decide_high_risk,
)

UNTOUCHED = AffectedArticles(unaffected=ARTICLES)
# a deployer changes somebody else's system of Annex III 3: nothing is touched, nothing was foreseen
CHANGED = {
    "is_in_system": True,
    "before": "annex_iii_3",
    "after": "annex_iii_3",
    "has_own_name": False,
    "is_system_provider": False,
    "is_purpose_changed": False,
    "is_foreseen": False,
    "effects": UNTOUCHED,
    "profiles": False,
}


def decided(**changes):
    return decide_high_risk(HighRiskAnswers(**(CHANGED | changes)))


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        ({"is_in_system": False, "before": None, "after": "no_system"}, "H1"),
        ({"has_own_name": True}, "H2"),
        ({"has_own_name": True, "is_system_provider": True}, "H9"),
        ({"is_within_plan": True}, "H3"),
        ({"has_own_name": True, "is_within_plan": True}, "H2"),
        ({"is_purpose_changed": True}, "H4"),
        ({"effects": AffectedArticles(affected=(15,), unaffected=(9, 10, 11, 12, 13, 14))}, "H4"),
        # one article is enough, whatever nobody has said of the others
        ({"effects": AffectedArticles(affected=(10,))}, "H4"),
        ({"is_purpose_changed": True, "is_system_provider": True}, "H5"),
        ({"before": "not_high_risk", "is_purpose_changed": True}, "H6"),
        ({"before": "art6_3_exempt", "is_purpose_changed": True}, "H6"),
        ({"before": "not_high_risk", "after": "annex_i", "is_purpose_changed": True}, "H6"),
        ({"before": "not_high_risk", "after": "art6_3_exempt", "is_exit_documented": True}, "H7"),
        ({"before": "annex_iii_3", "after": "art6_3_exempt", "is_exit_documented": True}, "H7"),
        ({"before": "no_system", "after": "annex_i", "has_own_name": True}, "H8"),
        ({"before": "no_system", "after": "annex_i"}, "H14"),
        ({"before": "no_system"}, "H14"),
        ({"before": "no_system", "has_own_name": True}, "H13"),
        ({"before": "not_high_risk", "is_system_provider": True}, "H13"),
        ({"after": "not_high_risk"}, "H15"),
        ({"after": "annex_i_b"}, "H16"),
        ({"is_deployer": True}, "H12"),
        ({}, "H9"),
        ({"before": "not_high_risk", "after": "not_high_risk"}, "H0"),
        ({"before": "no_system", "after": "not_high_risk"}, "H0"),
    ],
    ids=str,
)
def test_each_row_of_the_table_is_reached(changes, row):
    decision = decided(**changes)
    assert decision.row == row
    assert decision.reasons and not decision.missing


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"is_in_system": None, "before": None, "after": None}, ["part of a system", "before", "after"]),
        ({"before": None}, ["classified before"]),
        ({"after": None}, ["classified after"]),
        ({"has_own_name": None}, ["name or trademark"]),
        ({"has_own_name": True, "is_system_provider": None}, ["provider of the system"]),
        ({"is_purpose_changed": True, "is_foreseen": None}, ["foresaw"]),
        ({"is_purpose_changed": True, "is_foreseen": True}, ["high_risk.predetermined"]),
        ({"is_purpose_changed": True, "is_foreseen": True, "is_within_plan": False}, ["high_risk.predetermined"]),
        ({"is_purpose_changed": True, "is_system_provider": None}, ["provider of the system"]),
        ({"is_purpose_changed": None}, ["intended purpose changed"]),
        ({"before": "not_high_risk", "is_purpose_changed": None}, ["intended purpose changed"]),
        ({"before": "not_high_risk"}, ["did not change"]),
        ({"before": "no_system", "has_own_name": None}, ["name or trademark"]),
        ({"is_within_plan": True, "is_purpose_changed": True}, ["Art. 43(4)"]),
        ({"after": "annex_iii_5"}, ["classified otherwise"]),
        ({"before": "no_system", "after": "annex_i", "has_own_name": None}, ["name or trademark"]),
        ({"after": "art6_3_exempt", "profiles": True}, ["profiles natural persons"]),
        ({"after": "art6_3_exempt", "profiles": None}, ["profiles", "documented and registered"]),
        ({"after": "art6_3_exempt"}, ["documented and registered"]),
        ({"after": "art6_3_exempt", "is_exit_documented": False}, ["Arts. 6(4), 49(2)"]),
        ({"effects": AffectedArticles(unaffected=(9, 10, 11, 12, 13, 14))}, ["Art. 15"]),
        ({"effects": AffectedArticles()}, [f"Art. {article}" for article in ARTICLES]),
        ({"signs": ("the evaluation of house says worse",)}, ["the effect again"]),
    ],
    ids=str,
)
def test_what_nobody_answered_leaves_it_open_with_the_question(changes, words):
    decision = decided(**changes)
    assert decision.row is None
    assert len(decision.missing) == len(words)
    for question, word in zip(decision.missing, words, strict=True):
        assert word in question


def test_a_new_assessment_is_owed_whoever_the_provider_is():
    decision = decided(is_purpose_changed=True, is_system_provider=None)
    assert any("Art. 43(4)" in reason for reason in decision.reasons)


def test_what_was_measured_is_told_beside_an_effect_that_is_denied():
    sign = "the evaluation of house says worse"
    assert decided(signs=(sign,)).reasons == (sign,)
    # where something is stated to be affected, nothing speaks against it
    assert decided(signs=(sign,), is_purpose_changed=True).row == "H4"


def test_the_articles_are_those_of_chapter_iii_section_2():
    assert ARTICLES == (9, 10, 11, 12, 13, 14, 15)


def test_the_provider_of_a_high_risk_system_is_no_manufacturer_by_another_class():
    own = {"after": "annex_i", "has_own_name": True, "is_system_provider": True}
    assert decided(**own).row is None, "another class beside an unchanged purpose"
    assert decided(**own, is_substantial=False).row == "H9"


BECOMES_HIGH = ("no_system before, annex_iii_3 after", "not_high_risk before, annex_iii_3 after")


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"is_in_system": False}, ["the result is stated not to be part of a system"]),
        ({"has_own_name": True}, ["another name is put on the system"]),
        ({"is_within_plan": True}, ["a change that was planned before the initial conformity assessment, within its bounds"]),
        ({"is_purpose_changed": True}, ["the intended purpose changed"]),
        (
            {"is_purpose_changed": True, "effects": AffectedArticles(affected=(9, 15))},
            ["the intended purpose changed", "Art. 9 is stated to be affected", "Art. 15 is stated to be affected"],
        ),
        ({"before": "not_high_risk", "is_purpose_changed": True}, [BECOMES_HIGH[1], "the intended purpose changed"]),
        (
            {"after": "art6_3_exempt", "is_exit_documented": True},
            ["the exit of Art. 6(3) is claimed and documented, and nobody is profiled"],
        ),
        (
            {"before": "no_system", "after": "annex_i", "has_own_name": True},
            ["the system is part of a product under the modifier's name"],
        ),
        ({}, ["the purpose is unchanged, and no article is stated to be affected"]),
        ({"before": "not_high_risk", "after": "not_high_risk"}, ["not high-risk before, nor after"]),
        ({"before": "no_system"}, [BECOMES_HIGH[0], "the new system is another's, under another name"]),
        (
            {"before": "no_system", "has_own_name": True},
            [BECOMES_HIGH[0], "the modifier's name or trademark is on the new system"],
        ),
        ({"after": "not_high_risk"}, ["annex_iii_3 before, not_high_risk after"]),
        ({"after": "annex_i_b"}, ["the system is a product, or part of one, under Section B of Annex I"]),
        (
            {"is_deployer": True},
            ["the purpose is unchanged, and no article is stated to be affected", "the modifier deploys the system"],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_a_row_says_in_these_words_why_it_holds(changes, reasons):
    assert list(decided(**changes).reasons) == reasons


FORESEEN = "the plan that foresaw it, dated before the assessment, and that it keeps to it (high_risk.predetermined)"


@pytest.mark.parametrize(
    ("changes", "question", "reasons"),
    [
        ({"is_purpose_changed": True, "is_foreseen": True}, FORESEEN, ["the intended purpose changed"]),
        (
            {"is_purpose_changed": True, "is_system_provider": None},
            "whether the modifier is the provider of the system as it was (modifier.role_claimed says so of a deployer; "
            "else a person decides)",
            [
                "the intended purpose changed",
                "a new conformity assessment is owed whoever the provider is, Art. 43(4)",
            ],
        ),
        (
            {"before": "no_system", "has_own_name": None},
            "whether the modifier's name or trademark is put on it (identity.name_or_trademark_on_result)",
            [BECOMES_HIGH[0]],
        ),
        (
            {"before": "not_high_risk"},
            "why it is high-risk now, if its purpose did not change (`registry decide --on purpose`)",
            [BECOMES_HIGH[1]],
        ),
        (
            {"after": "art6_3_exempt", "profiles": True},
            "the classification again: a system that profiles natural persons has no exit, Art. 6(3)",
            ["the exit of Art. 6(3) is claimed, and the system profiles persons"],
        ),
        (
            {"after": "art6_3_exempt", "is_exit_documented": False},
            "the documented and registered assessment, Arts. 6(4), 49(2)",
            [],
        ),
        ({"signs": ("it says worse",)}, "the effect again: no effect is stated, and this was measured", ["it says worse"]),
        (
            {"signs": ("it says worse",), "effects": AffectedArticles(unaffected=ARTICLES[:-1])},
            "whether Art. 15 is affected, with the reason: `no: …` or `yes: …` (high_risk.effect_on.article_15)",
            ["it says worse"],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_an_open_status_asks_in_these_words_and_says_what_is_known(changes, question, reasons):
    decision = decided(**changes)
    assert decision.missing == (question,)
    assert list(decision.reasons) == reasons


# --- what a person decided, Art. 3(23) ---


@pytest.mark.parametrize(
    ("changes", "row"),
    [
        # a person decides both limbs of Art. 3(23): neither an article nor the forecast has to be stated
        ({"is_substantial": True, "effects": AffectedArticles(), "is_foreseen": None}, "H4"),
        ({"is_substantial": True, "is_system_provider": True}, "H5"),
        ({"is_substantial": False, "effects": AffectedArticles(), "is_purpose_changed": None}, "H9"),
        ({"is_substantial": False, "signs": ("the evaluation says worse",)}, "H9"),
        # what is recorded to be affected, or changed, is not decided away
        ({"is_substantial": False, "effects": AffectedArticles(affected=(10,))}, "H4"),
        ({"is_substantial": False, "is_purpose_changed": True}, "H4"),
        # Art. 43(4): a planned change within its bounds is none, unless somebody decided that it is
        ({"is_substantial": False, "is_within_plan": True, "is_purpose_changed": True}, "H3"),
        ({"is_substantial": True, "is_within_plan": True}, None),
        ({"is_substantial": True, "is_foreseen": True}, None),
        # it is about a system that was high-risk and is: no other row moves
        ({"is_substantial": True, "before": "not_high_risk", "after": "not_high_risk"}, "H0"),
        ({"is_substantial": True, "is_in_system": False, "before": None, "after": "no_system"}, "H1"),
    ],
    ids=str,
)
def test_what_a_person_decided_of_a_substantial_modification(changes, row):
    assert decided(**changes).row == row


def test_each_decision_is_told_among_the_reasons():
    of_substantial = decided(is_substantial=True)
    assert of_substantial.reasons == ("a person decided that it is a substantial modification",)
    of_none = decided(is_substantial=False, signs=("the evaluation says worse",))
    assert of_none.reasons == (
        "a person decided that it is not a substantial modification",
        "the evaluation says worse",
    )
    planned = decided(is_substantial=True, is_within_plan=True)
    assert planned.missing == (
        "whether it is the change that was planned or a substantial one, Art. 43(4): a person decided the latter",
    )
    assert planned.reasons == ("a change that was planned before the initial conformity assessment, within its bounds",)


def test_the_digest_of_the_answers_is_what_it_was_where_nobody_decided():
    assert "is_substantial" not in HighRiskAnswers().model_dump(mode="json")
    assert HighRiskAnswers(is_substantial=False).model_dump(mode="json")["is_substantial"] is False
