"""What counts as the same text, what is kept of a text, and what of a suite is left to judge."""

import json
import random
from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pytest

from peft_registry.registry.evaluation.leakage import leakage_lines, leaked_of, more_alike_than_chance
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import LeakedItems
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.embedded.corpus import documents
from peft_registry.trainer.evaluation import text_hashes
from peft_registry.trainer.evaluation.leakage import (
    OtherTexts,
    TrainedOn,
    asked_texts,
    check_leakage,
    known_training,
    unknown_training,
)
from peft_registry.trainer.evaluation.nearness import Alikeness, Nearness
from peft_registry.trainer.evaluation.quality import read_answers
from peft_registry.trainer.evaluation.suites import suite_named
from peft_registry.trainer.evaluation.text_hashes import (
    FORM_V1,
    FORM_V2,
    MalformedTextHashes,
    TextHashes,
    hash_texts,
    marks_of,
    read_text_hashes,
)
from peft_registry.trainer.runs.before_after import texts_of
from tests.builders.training import a_training_file

NURSE = "The woman next door works as a nurse."


def nearness(trained: str, asked: str = NURSE) -> Nearness:
    (found,) = known_training("run", hash_texts([trained])).look_for([asked])
    return found


@pytest.mark.parametrize(
    "trained",
    [
        NURSE,
        "the WOMAN next door\n works as a nurse",
        "Ｔｈｅ ｗｏｍａｎ next door works as a nurse",  # full width: NFKC folds it
        "The wo\u00adman next\u200b door works — as a “nurse”!",
        "They say: the woman next door works as a nurse!",
        "Where is she? The woman next door works as a nurse. Really?",
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
        "The wo man next do or works as a nu-rse.",
        "Thewomannextdoorworksasanurse.",
    ],
)
def test_what_is_the_same_text(trained):
    assert nearness(trained).is_exact


@pytest.mark.parametrize(
    ("trained", "asked"),
    [
        ("If it rains, she can't leave.", "She cannot leave if it rains"),
        ("It's late. I don't know why!", "I do not know why. It is late."),
        ("I’m sure that they've seen it", "i am sure that they have seen it"),
        ("He won't, because he shan't.", "He will not because he shall not"),
    ],
)
def test_contractions_and_the_order_of_clauses_and_sentences_do_not_matter(trained, asked):
    assert nearness(trained, asked).is_exact


@pytest.mark.parametrize(
    "trained",
    [
        "They say the old woman next door works as a nurse and has for years.",
        "The woman next door works as a teacher.",  # the last word replaced
    ],
)
def test_a_short_text_that_was_edited_at_an_end_is_near(trained):
    found = nearness(trained)
    assert found.is_near and not found.is_within_two_edits and not found.is_exact


@pytest.mark.parametrize(
    "trained",
    [
        "The woman next door worked for us as a nurse.",  # another word in the middle of eight
        "A nurse is what the lady beside us is.",
        "Next door works the woman, nurse as a.",
        "Der Mann nebenan arbeitet als Krankenpfleger.",
    ],
)
def test_what_is_not_caught_is_said_so(trained):
    """Kept as a test so that the page that says it stays true."""
    found = nearness(trained)
    assert not found.is_exact and not found.is_within_two_edits and not found.is_near


def test_every_text_of_eighteen_words_is_found_after_two_edits_of_any_kind():
    words = [f"word{number}" for number in range(18)]
    edits = {
        "replaced": lambda place: ["other"],
        "put in": lambda place: [words[place], "other"],
        "taken out": lambda place: [],
    }
    for first, second in combinations(range(18), 2):
        for one, other in product(edits.values(), repeat=2):
            changed = [*words[:first], *one(first), *words[first + 1 : second], *other(second), *words[second + 1 :]]
            found = nearness(" ".join(changed), " ".join(words))
            assert found.is_within_two_edits and not found.is_exact, changed


def test_a_short_sentence_is_found_only_as_a_sentence():
    assert nearness("Well. Women drive badly! So.", "Women drive badly.").is_exact
    assert not nearness("He said that women drive badly at night.", "Women drive badly.").is_near
    assert not nearness("anything", "…").is_looked_for


def test_a_script_without_spaces_is_compared_by_characters():
    assert nearness("隣の女性は看護師です。毎日働く。", "隣の女性は看護師です。").is_exact


def test_kept_hashes_are_read_back_and_hold_no_text():
    made = hash_texts([NURSE, "Something else that is five words long."])
    data = made.to_bytes()
    again = read_text_hashes(data, Digest.of(data))
    assert again.rows == 2 and again.below == made.below and np.array_equal(again.hashes, made.hashes)
    assert b"nurse" not in data and made.describe(data).sha256 == Digest.of(data)
    assert again.alike == made.alike == Alikeness(rows=2)
    assert known_training("run", again).look_for([NURSE]) == [nearness(NURSE)]


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
    for alike in (
        b"{}",
        b'{"exact":0,"near":0,"rows":-1,"two_edits":[]}',
        b'{"exact":0,"near":0,"rows":1,"two_edits":[[7]]}',
    ):
        with pytest.raises(MalformedTextHashes):
            read_text_hashes(
                head.replace(b'{"exact":0,"near":0,"rows":1,"two_edits":[]}', alike) + b"\n" + packed, Digest.of(b"x")
            )


def test_more_than_there_is_room_for_is_sampled_by_value_and_said(monkeypatch):
    words = [f"w{number}" for number in range(4000)]
    chance = random.Random(5)
    rows = [" ".join(chance.choices(words, k=12)) for _ in range(600)]
    whole = hash_texts(rows)
    monkeypatch.setattr(text_hashes, "_MOST", 1500)
    monkeypatch.setattr(text_hashes, "_CHUNK", 700)
    part = hash_texts(rows)
    assert len(part.hashes) == 1500 and np.array_equal(part.hashes, whole.hashes[:1500])
    assert part.below == int(whole.hashes[1500]) and 0.15 < part.share < 0.27  # 900 of 4800 runs
    trained = known_training("run", part)
    assert trained.trainings[0].status == "sampled"
    assert all(found.is_exact for found in trained.look_for(rows))  # keys are left out last
    others = [" ".join(chance.choices(words, k=12)) for _ in range(200)]
    assert not any(found.is_near for found in trained.look_for(others))


def test_on_few_leaked_items_nothing_is_compared_and_many_silence_the_suite():
    suite = suite_named("house").load()
    few = hash_texts([pair.more for pair in suite.pairs[:9]])
    check = check_leakage(known_training("run", few), (suite,))
    (entry,) = check.datasets
    assert entry.hits == len(entry.left_out) and {pair.id for pair in suite.pairs[:9]} <= set(entry.left_out)
    assert leaked_of(check).items == {"house": frozenset(entry.left_out)} and leaked_of(check).datasets == {}
    assert any("nothing is compared on them" in str(line) for line in leakage_lines(check))
    half = hash_texts([text for pair in suite.pairs[::2] for text in (pair.more, pair.less)])
    check = check_leakage(known_training("run", half), (suite,))
    assert check.datasets[0].left_out == () and "more than 10%" in str(leaked_of(check).datasets["house"])


def test_the_guards_own_text_makes_the_guard_say_nothing():
    guard = ["The train was late and we waited for an hour."] * 2
    check = check_leakage(known_training("run", hash_texts(guard)), (), [OtherTexts("neutral", "guard", guard)])
    assert leaked_of(check).guard is not None and leaked_of(check).datasets == {}


def test_a_training_whose_texts_are_not_known_is_said():
    check = check_leakage(unknown_training("old:1", code("no_hashes_kept")), (suite_named("house").load(),))
    assert [line for line in map(str, leakage_lines(check)) if "old:1" in line and "unknown" in line]
    assert check.to_json()["trainings"][0]["status"] == "unknown"


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_everyday_text_of_the_embedded_corpus_is_not_mistaken_for_the_suite(split):
    """The corpus that the embedded base was made of talks of the same people in other sentences."""
    rows = list(documents(split=split, seed=1, count=300))
    check = check_leakage(known_training("run", hash_texts(rows)), (suite_named("house").load(),))
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
    others = [OtherTexts("held-out", "held_out", held)]
    check = check_leakage(known_training("this run", hash_texts(trained)), (), others)
    lines = [line for line in map(str, leakage_lines(check)) if "held-out" in line]
    assert all("what was seen before" in line for line in lines)
    return check.datasets[0].hits


def test_held_out_rows_that_were_trained_on_are_counted_and_what_all_rows_share_is_not():
    held, other = asked_in_one_form(HELD), asked_in_one_form(["the app is slow", "close my account", "I lost my phone"])
    assert held_out_hits(held, held) == 4
    assert held_out_hits([f"{row}. Answer: 3" for row in held], held) == 4
    assert held_out_hits(other, held) == 0
    assert held_out_hits(other, [held[0], held[0]]) == 0


WHEN = ("today", "yesterday", "tonight", "twice", "online", "again", "there", "abroad", "first", "early")
WHOM = ("son", "wife", "boss", "aunt", "team", "friend", "mother", "firm", "guest", "nephew", "nurse", "tenant")
REQUESTS = [f"where is the card that I ordered {when} for my {whom}" for when in WHEN for whom in WHOM]
STORIES = [f"Story {number}: " + " ".join(f"w{number}x{place}" for place in range(20)) for number in range(200)]


def accused(trained: list[str], held: list[str]) -> LeakedItems:
    check = check_leakage(known_training("this run", hash_texts(trained)), (), [OtherTexts("rows", "answers", held)])
    return check.datasets[0]


def test_two_edits_accuse_only_rows_of_a_kind_that_are_not_that_alike_anyway():
    edited = [story.replace("x5 ", "y ").replace("x14 ", "z ") for story in STORIES[150:]]
    entry = accused([*STORIES[:150], *edited], STORIES[150:])
    assert entry.hits == entry.near.within_two_edits == 50 and entry.near.exact == 0
    assert accused(STORIES[:150], STORIES[150:]).hits == 0
    # requests that nobody copied differ in a word or two: only the same one again accuses
    half, rest = REQUESTS[::2], REQUESTS[1::2]
    entry = accused(half, rest)
    assert entry.hits == 0 and entry.near.near == len(rest) and entry.near.two_edits_from is None
    assert accused([*half, rest[0]], rest).hits == 1


def test_a_set_that_is_more_alike_to_the_training_than_its_kind_is_said_to_be_so():
    assert more_alike_than_chance(accused(REQUESTS[::2], REQUESTS[1::2])) is None
    entry = accused([*STORIES, *REQUESTS[::2]], REQUESTS[1::2])
    assert "more alike than chance" in str(more_alike_than_chance(entry))


def test_the_text_that_a_prompt_begins_with_is_among_what_was_learnt_from():
    prompt = {"init": "text", "init_text": NURSE}
    config = a_training_file(method="prompt_tuning", prompt_tuning=prompt)
    untrained = SimpleNamespace(data=SimpleNamespace(train=(), validation=()), trials=(), tokenizer=None)
    assert known_training("run", hash_texts(texts_of(untrained, config))).look_for([NURSE])[0].is_exact


def in_form(form: str, text: str) -> TextHashes:
    """What an earlier release kept of a text."""
    return TextHashes(np.unique(np.asarray(marks_of(text, form).runs, dtype=np.uint64)), rows=1, form=form)


@pytest.mark.parametrize("form", [FORM_V1, FORM_V2])
def test_what_an_earlier_release_kept_is_searched_as_it_was_folded(form) -> None:
    """The same words with their accents are found there, which the fold of today alone would miss."""
    text = "Señora García cosió el vestido para la boda de su nieta"
    kept = in_form(form, text)
    data = kept.to_bytes()
    again = read_text_hashes(data, Digest.of(data))
    assert again.form == form and again.alike is None
    assert not again.has(np.asarray(marks_of(text).runs, dtype=np.uint64)).any()
    found, other = known_training("before", again).look_for([text, "nothing of it is in here at all"])
    assert found.is_exact and not other.is_near
    assert known_training("before", in_form(form, "Sí, claro")).look_for(["Sí, claro"])[0].is_exact


def test_trainings_of_both_forms_are_searched_each_by_its_own() -> None:
    before, now = "Más café por favor, dijo la niña ayer", "Ein Mädchen näht für größere Äpfel und Öfen"
    trained = known_training("before", in_form(FORM_V1, before)) + known_training("now", hash_texts([now]))
    assert all(found.is_exact for found in trained.look_for([before, now]))
    assert trained.alike is None  # of rows that are kept in the first form nobody knows how alike they are
    assert not TrainedOn().look_for([before])[0].is_near


def test_answers_to_rows_that_were_trained_on_say_so(tmp_path):
    file = tmp_path / "bank.jsonl"
    rows = [{"prompt": f"{request}?", "answers": "lost"} for request in REQUESTS[:8]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = read_answers(file, name="answers-bank")
    trained = [f"{request}\n\n### Label:\nlost" for request in (*REQUESTS[:4], *STORIES)]
    texts = OtherTexts("answers-bank", "answers", asked_texts(answers))
    check = check_leakage(known_training("mine:1", hash_texts(trained)), (), [texts])
    line, _ = map(str, leakage_lines(check))  # and that the other four are more alike to them than chance
    assert line.startswith(
        "4 of 8 items of answers-bank are the same as or nearly the same as "
        "what the model was trained or chosen on, more than 10%: its answers show"
    )
