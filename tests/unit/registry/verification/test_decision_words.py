"""The words of `evidence/DECISIONS.md`: what one edition tells is made again from statements, and each code has its sentence."""

import json
from importlib import resources
from typing import get_args

import pytest

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.licence_terms import UNKNOWN_TERMS
from peft_registry.registry.compliance.record_verdicts import UNDETERMINED
from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.verification.decision_words import DecisionWords, words_of
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.answers import Answer
from peft_registry.schemas.base_model import LICENCE_FLAGS
from peft_registry.schemas.canonical import canonical_digest

# of the words of each edition: copies are held against them, so that none is ever another one once the edition is frozen
KEPT = {"2027-02": "sha256:ee3f26ec60285a4a6adfd2f91550467001cd36cb918ed92f6089667f44747181"}


def newest() -> DecisionWords:
    words = words_of(editions().newest.name)
    assert words is not None
    return words


def test_the_words_of_an_edition_are_those_that_its_copies_have() -> None:
    package = resources.files("peft_registry.registry.verification")
    kept = json.loads((package / "decision_words.json").read_text("utf-8"))
    del kept["comment"]
    assert {name: str(canonical_digest(words)) for name, words in kept.items()} == KEPT


def test_editions_of_before_have_no_words() -> None:
    assert [words_of(name) for name in ("2026-12", "2027-01")] == [None, None]


def test_each_code_of_the_newest_edition_has_a_sentence() -> None:
    words, rules = newest(), shipped_rules()
    assert words.statuses.keys() >= {row.status for row in rules.rows} | {UNDETERMINED}
    assert words.flags.keys() >= {flag.flag for flag in rules.flags}
    assert words.licence_flags.keys() >= {*LICENCE_FLAGS, UNKNOWN_TERMS}
    assert words.decided.keys() >= set(get_args(DecidedQuestion))
    assert words.questions.keys() >= {rule.path for rule in field_rules().fields if rule.takes_answers}


def test_a_status_is_told_as_a_sentence_with_its_code_behind_it() -> None:
    sentence = "provider of a high-risk system, because its purpose makes it one"
    assert newest().status("provider_25_1_c", "H6") == f"{sentence} (provider_25_1_c, H6)"
    assert newest().status("made_up_since", None) == "made_up_since"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            Answer(path="high_risk.classification_after", area="legal", value="annex_iii_4"),
            "How is the system classified with the modification? high-risk, Annex III 4 (employment and management of workers) "
            "(high_risk.classification_after)",
        ),
        (
            Answer(path="data[1].personal_data", area="data owner", value="no"),
            "Is there personal data in it? no (data[1].personal_data)",
        ),
        (
            Answer(path="data[0].licence", area="data owner", unknown="nobody kept it"),
            "Under which licence is the data? not known, because nobody kept it (data[0].licence)",
        ),
        (
            Answer(path="base[0].release_date", area="legal", not_applicable="never_released"),
            "Release date of the base: does not apply, because never released (base[0].release_date)",
        ),
        (
            Answer(path="product.channels", area="modifier", value=["the Hub", "a shop"]),
            'Channels of distribution, with level of access and links: ["the Hub","a shop"] (product.channels)',
        ),
        (Answer(path="made.up_since", area="legal", value="yes"), "made.up_since: yes"),
    ],
    ids=lambda value: value.path if isinstance(value, Answer) else "",
)
def test_an_answer_is_told_with_its_question(answer: Answer, told: str) -> None:
    assert newest().answer(answer) == told
