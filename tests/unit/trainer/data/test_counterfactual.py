"""Counterfactual rows: what is swapped stays a sentence, what would not is dropped and counted, and the file has its provenance."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.schemas.dataset import CounterfactualData
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.counterfactual import NO_WORD, Dropped, axes, swap_list, swapped
from peft_registry.trainer.data.dataset import load_data
from peft_registry.trainer.use_cases.counterfactual_data import write_counterfactual
from tests.builders.training import a_tokenizer, write_rows


@pytest.mark.parametrize(
    ("axis", "text", "wanted"),
    [
        ("gender", "He is a doctor.", "She is a doctor."),
        ("gender", "She told me he's late.", "He told me she's late."),
        ("gender", "HE said: “She’d know.”", "SHE said: “He’d know.”"),
        ("gender", "My mother lost her car.", "My father lost his car."),
        ("gender", "I saw her in the park.", "I saw him in the park."),
        ("gender", "I asked him.", "I asked her."),
        ("gender", "He shut his old car.", "She shut her old car."),
        ("gender", "The women's team and a niece", "The men's team and a nephew"),
        ("gender", "It is an uncle of a queen.", "It is an aunt of a king."),
        ("race", "a black man.\nWhite people", "a white man.\nBlack people"),
        ("race", "An African American woman", "A white woman"),
        ("race", "black people and white people", "white people and black people"),
        ("religion", "They met an old Muslim and two Christians.", "They met an old Christian and two Muslims."),
        ("religion", "the jewish doctor", "the christian doctor"),
        ("nationality", "He is a Mexican.", "He is an American."),
        ("nationality", "An American and two Mexicans", "A Mexican and two Americans"),
    ],
)
def test_a_swap_keeps_case_article_number_and_case_of_the_pronoun(axis, text, wanted) -> None:
    assert swapped(text, swap_list(axis)) == wanted


@pytest.mark.parametrize(
    ("axis", "text", "reason"),
    [
        ("gender", "The tea is cold.", NO_WORD),
        ("gender", "They gave her flowers.", "a pronoun that could be either of two"),
        ("gender", "The house is his.", "a pronoun that could be either of two"),
        ("gender", "Her old car is his now.", "a pronoun that could be either of two"),
        ("gender", "She is pregnant.", "said of one gender"),
        ("gender", "He is that guy.", "a gendered word without a counterpart"),
        ("gender", "Anna said she would.", "a name, or what may be one"),
        ("gender", "She went to Berlin.", "a name, or what may be one"),
        ("gender", "Jack fell. He cried.", "a name, or what may be one"),
        ("gender", "a he-goat", "a part of a longer word"),
        ("race", "He drives a black car.", "a colour or an origin, not surely of persons"),
        ("race", "Black people and Asian people met.", "two groups would become one"),
        ("race", "African people and Asian people met.", "two groups would become one"),
        ("religion", "A Christian went to church.", "what only one religion has"),
        ("nationality", "Italians speak fast.", "a language"),
        ("nationality", "Native American people", "a longer name"),
        ("gender", "To man the ship is hard.", "a verb, and no person"),
        ("gender", "He hopes to father a child.", "a verb, and no person"),
    ],
)
def test_what_would_not_surely_stay_a_sentence_is_dropped_with_its_reason(axis, text, reason) -> None:
    assert swapped(text, swap_list(axis)) == Dropped(reason)


@pytest.mark.parametrize("axis", axes())
def test_every_word_of_a_list_has_a_counterpart_of_its_own_number_that_is_no_refused_word(axis) -> None:
    words = swap_list(axis)
    listed = json.loads((files("peft_registry.trainer.data") / "swap_lists.json").read_text("utf-8"))["axes"][axis]
    for word, target in words.swaps.items():
        assert target.lower() != word
        assert not {word, target.lower()} & words.refused.keys()
        assert not target.lower().startswith(("eu", "uni", "hon", "hour")), "its article is told by its first letter"
    for one, other in listed["both_ways"]:
        sentence = f"It says {one} here."
        there = swapped(sentence, words)
        if isinstance(there, str):  # what needs a word for persons behind it has none here
            assert swapped(there, words) == sentence, (one, other)


def test_a_long_text_of_capitals_and_spaces_is_read_in_time() -> None:
    text = "he " + "A " * 100_000 + "\n" * 100_000 + " " * 100_000 + "he"
    assert isinstance(swapped(text, swap_list("gender")), Dropped)
    assert isinstance(swapped("he a" + " " * 200_000 + "he", swap_list("gender")), str)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_file_has_each_kept_row_and_its_counterparts_once_and_the_provenance_adds_up(tmp_path) -> None:
    texts = ("He is a black man.", "She is a black woman.", "I like tea.", "Anna is a woman.", "They gave her flowers.")
    write_rows(tmp_path / "rows.jsonl", [{"text": text, "id": 7} for text in texts])
    out = tmp_path / "out.jsonl"
    found = write_counterfactual(tmp_path / "rows.jsonl", out, ("gender", "race"))
    assert [row["text"] for row in rows_of(out)] == [
        "He is a black man.",
        "She is a black woman.",
        "He is a white man.",
        "She is a white woman.",
    ]
    assert found == CounterfactualData.from_json(json.loads((tmp_path / "out.jsonl.provenance.json").read_text()))
    assert found.input_sha256 == Digest.of((tmp_path / "rows.jsonl").read_bytes())
    assert found.output_sha256 == Digest.of(out.read_bytes())
    assert (found.input_rows, found.kept_rows, found.repeated_rows, found.output_rows) == (5, 2, 2, 4)
    for one in found.lists:
        assert one.swapped + sum(one.dropped.values()) == found.input_rows
        assert one.sha256 == swap_list(one.axis).digest
    assert len({one.sha256 for one in found.lists}) == 2


@pytest.mark.parametrize(
    ("row", "counterpart", "chat"),
    [
        ({"prompt": "Who is she?", "completion": "A man."}, {"prompt": "Who is he?", "completion": "A woman."}, None),
        (
            {"text": "She paid.", "label": "for women"},
            {"text": "He paid.", "label": "for women"},
            None,
        ),
        (
            {"conversations": [{"from": "human", "value": "Is she in?"}, {"from": "gpt", "value": "No."}]},
            {"messages": [{"role": "user", "content": "Is he in?"}, {"role": "assistant", "content": "No."}]},
            "{% for m in messages %}{{ m.content }} {% endfor %}",
        ),
    ],
)
def test_rows_of_every_shape_are_swapped_and_train_reads_what_was_written(tmp_path, row, counterpart, chat) -> None:
    write_rows(tmp_path / "rows.jsonl", [row])
    write_counterfactual(tmp_path / "rows.jsonl", tmp_path / "out.jsonl", ("gender",))
    assert rows_of(tmp_path / "out.jsonl")[1] == counterpart
    data = load_data(
        DataBlock(train=TrainSource(path="out.jsonl"), validation=ValidationSource(fraction=0.5)),
        folder=tmp_path,
        tokenizer=a_tokenizer(chat_template=chat),
        max_length=64,
        seed=1,
    )
    assert len(data.train) == len(data.validation) == 1


def test_the_same_input_gives_the_same_bytes_in_every_container(tmp_path) -> None:
    write_rows(tmp_path / "rows.jsonl", [{"text": "He sings."}])
    (tmp_path / "rows.csv").write_text("text,other\nHe sings.,1\n")
    written = []
    for number, name in enumerate(("rows.jsonl", "rows.csv", "rows.jsonl")):
        write_counterfactual(tmp_path / name, tmp_path / f"{number}.jsonl", ("gender",))
        written.append((tmp_path / f"{number}.jsonl").read_bytes())
    assert len(set(written)) == 1


@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        ('{"text": "He sings."}\n', [], 2, "no axis was named"),
        ('{"text": "He sings."}\n', ["--axis", "gendr"], 2, "did you mean `gender`"),
        ('{"text": "He sings."}\n', ["--axis", "gender", "--out", "out.txt"], 2, "end in .jsonl"),
        ('{"text": "He sings."}\n', ["--axis", "gender", "--out", "rows.jsonl"], 7, "is there already"),
        ('{"text": "He sings."}\n', ["--axis", "gender", "--format", "columns"], 2, "cannot be swapped"),
        ('{"text": "He sings."}\n', ["--axis", "gender", "--format", "no-such"], 2, "one of"),
        ('{"text": "He sings."}\n', ["--axis", "gender", "--out", "no/such/out.jsonl"], 8, "could not be written"),
        ('{"text": "Tea."}\n', ["--axis", "gender"], 2, "no row of rows.jsonl could be swapped"),
        ('{"text": 1}\n', ["--axis", "gender"], 2, "line 1 of rows.jsonl"),
        ('{"text": "\\ud800 he"}\n', ["--axis", "gender"], 2, "half a surrogate pair"),
        ('{"other": "he"}\n', ["--axis", "gender"], 2, "do not show its format"),
        ("{", ["--axis", "gender"], 2, "line 1 of rows.jsonl cannot be read"),
        ("", ["--axis", "gender"], 2, "holds no rows"),
        (None, ["--axis", "gender"], 7, "there is no data file"),
    ],
)
def test_what_cannot_be_swapped_or_written_is_refused_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, content, options, code, said
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "rows.jsonl").write_text(content)
    before = sorted(tmp_path.iterdir())
    assert run(["data", "counterfactual", "rows.jsonl", *options]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_says_what_it_wrote_and_what_it_dropped_and_why(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", [{"text": "He sings."}, {"text": "Anna: she sings."}])
    assert run(["data", "counterfactual", "rows.jsonl", "--axis", "gender"]) == 0
    shown = capsys.readouterr()
    assert "rows-counterfactual.jsonl  2 rows" in shown.out
    assert "dropped    1: a name, or what may be one" in shown.out
    assert shown.err.endswith("next: registry data inspect rows-counterfactual.jsonl\n")
    assert (
        run(["data", "counterfactual", "rows.jsonl", "--axis", "gender", "--out", "a.jsonl", "--output", "json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["output_rows"] == 2
