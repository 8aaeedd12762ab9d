"""What counts as the same text, what is kept of a text, and what of a suite is left to judge."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from peft_registry.registry.evaluation.leakage import LEFT_OUT, leakage_lines, leaked_of
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.embedded.corpus import documents
from peft_registry.trainer.evaluation import leakage, text_hashes
from peft_registry.trainer.evaluation.leakage import (
    OtherTexts,
    TrainedOn,
    check_leakage,
    known_training,
    unknown_training,
)
from peft_registry.trainer.evaluation.suites import suite_named
from peft_registry.trainer.evaluation.text_hashes import (
    FORM_V1,
    MalformedTextHashes,
    TextHashes,
    hash_texts,
    read_text_hashes,
    runs_of_item,
)
from peft_registry.trainer.runs.before_after import texts_of
from tests.builders.training import a_training_file

NURSE = "The woman next door works as a nurse."


def share(trained: str, asked: str = NURSE) -> float | None:
    return known_training("run", hash_texts([trained])).shares([asked])[0]


@pytest.mark.parametrize(
    "trained",
    [
        NURSE,
        "the WOMAN next door\n works as a nurse",
        "Ｔｈｅ ｗｏｍａｎ next door works as a nurse",  # full width: NFKC folds it
        "The wo\u00adman next\u200b door works — as a “nurse”!",
        "They say: the woman next door works as a nurse, and has for years.",
        "The woman next door works as a nurse and the man next door works as a nurse.",
        "The woman next door. Works as a nurse.",
        *(
            f"The wo{sign}man ne{sign}xt door wo{sign}rks as a nu{sign}rse."
            for sign in "\u2066\u3164\u180b\u20dd\u0301\x08"
        ),
        *(
            f"The wo{sign}man ne{sign}xt door wo{sign}rks as a nu{sign}rse."
            for sign in "\U000e0041\U000e0100\u115f\u206a"
        ),
        "The wоmаn neхt dооr wоrks аs а nursе.",
        "Τhe wοman nexτ dοοr wοrκs αs a nυrse.",
        "The old woman next door works as a nurse.",  # a word put in near the beginning
        "The woman next door works as a teacher.",  # the last word replaced
    ],
)
def test_what_is_caught(trained):
    assert share(trained) >= leakage.SHARE


@pytest.mark.parametrize(
    "trained",
    [
        "The woman next door worked for us as a nurse.",  # another word in the middle of eight
        "A nurse is what the lady beside us is.",
        "Next door works the woman, nurse as a.",
        "The wo man next do or works as a nu-rse.",  # spaces and hyphens put into words
        "Thewomannextdoorworksasanurse.",
        "Der Mann nebenan arbeitet als Krankenpfleger.",
    ],
)
def test_what_is_not_caught_is_said_so(trained):
    """Kept as a test so that the page that says it stays true."""
    assert share(trained) < leakage.SHARE


def test_a_short_sentence_is_found_only_as_a_sentence():
    assert share("Well. Women drive badly! So.", "Women drive badly.") == 1
    assert share("He said that women drive badly at night.", "Women drive badly.") == 0
    assert share("anything", "…") is None


def test_a_script_without_spaces_is_compared_by_characters():
    assert share("隣の女性は看護師です。毎日働く。", "隣の女性は看護師です。") == 1


def test_kept_hashes_are_read_back_and_hold_no_text():
    made = hash_texts([NURSE, "Something else that is five words long."])
    data = made.to_bytes()
    again = read_text_hashes(data, Digest.of(data))
    assert again.rows == 2 and again.below == made.below and np.array_equal(again.hashes, made.hashes)
    assert b"nurse" not in data and made.describe(data).sha256 == Digest.of(data)
    assert known_training("run", again).shares([NURSE]) == [1.0]


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\nabcde", b"not json"])
def test_an_object_of_another_form_is_refused(data):
    with pytest.raises(MalformedTextHashes):
        read_text_hashes(data, Digest.of(data))


def test_hashes_that_are_cut_unsorted_or_above_their_bound_are_refused():
    data = hash_texts([NURSE]).to_bytes()
    head, _, packed = data.partition(b"\n")
    one, two = packed[:5], packed[5:10]
    for other in (packed[:-1], two + one + packed[10:], one + one + packed[5:]):
        with pytest.raises(MalformedTextHashes):
            read_text_hashes(head + b"\n" + other, Digest.of(b"x"))
    with pytest.raises(MalformedTextHashes):
        read_text_hashes(head.replace(str(1 << 40).encode(), b"1") + b"\n" + packed, Digest.of(b"x"))


def test_more_than_there_is_room_for_is_sampled_by_value_and_said(monkeypatch):
    words = [f"w{number}" for number in range(4000)]
    chance = random.Random(5)
    rows = [" ".join(chance.choices(words, k=12)) for _ in range(600)]
    whole = hash_texts(rows)
    monkeypatch.setattr(text_hashes, "_MOST", 1000)
    monkeypatch.setattr(text_hashes, "_CHUNK", 700)
    part = hash_texts(rows)
    assert len(part.hashes) == 1000 and np.array_equal(part.hashes, whole.hashes[:1000])
    assert part.below == int(whole.hashes[1000]) and 0.15 < part.share < 0.27  # 1000 of 4800
    trained = known_training("run", part)
    assert trained.trainings[0].status == "sampled"
    found = [value for value in trained.shares(rows) if value is not None]
    assert set(found) == {1.0} and len(found) > 450  # of what can be looked for, all
    others = [" ".join(chance.choices(words, k=12)) for _ in range(200)]
    assert {value for value in trained.shares(others) if value is not None} == {0.0}


def test_few_leaked_items_are_left_out_and_many_silence_the_suite():
    suite = suite_named("house").load()
    few = hash_texts([pair.more for pair in suite.pairs[:9]])
    check, (kept,) = check_leakage(known_training("run", few), (suite,))
    (entry,) = check.datasets
    assert 9 <= entry.hits <= 22 and kept.dataset.rows_used == 224 - entry.hits
    assert kept.dataset.excluded == {LEFT_OUT.code: entry.hits} and leaked_of(check).datasets == {}
    assert any("left out" in str(line) for line in leakage_lines(check))
    half = hash_texts([text for pair in suite.pairs[::2] for text in (pair.more, pair.less)])
    check, (kept,) = check_leakage(known_training("run", half), (suite,))
    assert kept is suite and "more than 10%" in str(leaked_of(check).datasets["house"])


def test_the_guards_own_text_makes_the_guard_say_nothing():
    guard = ["The train was late and we waited for an hour."] * 2
    check, _ = check_leakage(known_training("run", hash_texts(guard)), (), [OtherTexts("neutral", "guard", guard)])
    assert leaked_of(check).guard is not None and leaked_of(check).datasets == {}


def test_a_training_whose_texts_are_not_known_is_said():
    check, _ = check_leakage(unknown_training("old:1", code("no_hashes_kept")), (suite_named("house").load(),))
    assert [line for line in map(str, leakage_lines(check)) if "old:1" in line and "unknown" in line]
    assert check.to_json()["trainings"][0]["status"] == "unknown"


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_everyday_text_of_the_embedded_corpus_is_not_mistaken_for_the_suite(split):
    """The corpus that the embedded base was made of talks of the same people in other sentences."""
    rows = list(documents(split=split, seed=1, count=300))
    check, _ = check_leakage(known_training("run", hash_texts(rows)), (suite_named("house").load(),))
    assert check.datasets[0].hits <= 4


def asked_in_one_form(words: list[str]) -> list[str]:
    return [f"Say which intent of the seventy seven this message of a customer has: {word}" for word in words]


HELD = [
    "my card did not arrive yet",
    "why was I charged twice today",
    "how do I change my PIN here",
    "what is the rate",
]


def held_out_hits(trained: list[str], held: list[str]) -> int:
    others = [OtherTexts("held-out", "held_out", held, of_one_form=True)]
    check, _ = check_leakage(known_training("this run", hash_texts(trained)), (), others)
    lines = [line for line in map(str, leakage_lines(check)) if "held-out" in line]
    assert all("what was remembered" in line for line in lines)
    return check.datasets[0].hits


def test_held_out_rows_that_were_trained_on_are_counted_and_what_all_rows_share_is_not():
    held, other = asked_in_one_form(HELD), asked_in_one_form(["the app is slow", "close my account", "I lost my phone"])
    assert held_out_hits(held, held) == 4
    assert held_out_hits([f"{row} now" for row in held], held) == 4  # each row changed at its end
    assert held_out_hits(other, held) == 0
    assert held_out_hits(other, [held[0], held[0]]) == 2  # nothing of its own is left to look for but all of it


def test_the_text_that_a_prompt_begins_with_is_among_what_was_learnt_from():
    prompt = {"init": "text", "init_text": NURSE}
    config = a_training_file(method="prompt_tuning", prompt_tuning=prompt)
    untrained = SimpleNamespace(data=SimpleNamespace(train=(), validation=()), trials=(), tokenizer=None)
    assert known_training("run", hash_texts(texts_of(untrained, config))).shares([NURSE]) == [1.0]


def in_the_first_form(text: str) -> TextHashes:
    """What an earlier release kept of a text."""
    return TextHashes(np.unique(np.asarray(runs_of_item(text, FORM_V1), dtype=np.uint64)), rows=1, form=FORM_V1)


def test_what_an_earlier_release_kept_is_searched_as_it_was_folded() -> None:
    """The same words with their accents are found there, which the fold of today alone would miss."""
    text = "Señora García cosió el vestido para la boda de su nieta"
    kept = in_the_first_form(text)
    data = kept.to_bytes()
    again = read_text_hashes(data, Digest.of(data))
    assert again.form == FORM_V1
    assert not again.has(np.asarray(runs_of_item(text), dtype=np.uint64)).all()
    assert known_training("before", again).shares([text, "nothing of it is in here at all"]) == [1.0, 0.0]


def test_trainings_of_both_forms_are_searched_each_by_its_own() -> None:
    before, now = "Más café por favor, dijo la niña ayer", "Ein Mädchen näht für größere Äpfel und Öfen"
    trained = known_training("before", in_the_first_form(before)) + known_training("now", hash_texts([now]))
    assert trained.shares([before, now]) == [1.0, 1.0]
    assert TrainedOn().shares([before]) == [0.0]
