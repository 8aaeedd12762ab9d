"""Shapes of rows that people have: conversations, classes, columns of their own; and what is in a data set before training."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.data.conversations import WrongColumnType
from peft_registry.trainer.data.dataset import LoadedData, load_data
from peft_registry.trainer.data.formats import LabelColumnUnused, LabelsWithoutClasses, TemplateRefused, UnknownLabel
from peft_registry.trainer.data.tokenize import IGNORED
from peft_registry.trainer.evaluation.quality import AnswersNotRead, MetricOfOtherRows, require_fitting
from peft_registry.trainer.use_cases.inspect_data import Inspection, inspect_data, inspection_target
from tests.builders.training import a_tokenizer, write_rows

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
# an earlier answer is shortened once the conversation goes on, as templates do that drop a model's thoughts
FORGETFUL = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and not loop.last %}…{% else %}{{ m.content }}{% endif %}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TURNS = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": "and?"},
    {"role": "assistant", "content": "no"},
]


def load(folder: Path, rows: list[dict[str, Any]], *, chat_template: str | None = None, **options: Any) -> LoadedData:
    write_rows(folder / "rows.jsonl", rows)
    return load_data(
        DataBlock(train=TrainSource(path="rows.jsonl", **options), validation=ValidationSource(fraction=0.5)),
        folder=folder,
        tokenizer=a_tokenizer(chat_template=chat_template),
        max_length=128,
        seed=1,
    )


def texts(data: LoadedData) -> tuple[str, str]:
    """A row as the model reads it, and what of it is learnt."""
    tokenizer, example = a_tokenizer(), data.train[0]
    learnt = [token for token in example.labels.tolist() if token != IGNORED]
    return tokenizer.decode(example.ids.tolist()), tokenizer.decode(learnt)


def test_every_answer_of_a_conversation_is_learnt_and_nothing_else(tmp_path):
    data = load(tmp_path, [{"messages": TURNS}] * 2, chat_template=CHAT)
    whole, learnt = texts(data)
    assert whole == "<system>be kind</s>\n<user>hi</s>\n<assistant>yes</s>\n<user>and?</s>\n<assistant>no</s>"
    assert learnt == "yes</s>no</s>"
    assert data.identities[0].format == "jsonl/messages"


def test_an_answer_of_weight_0_is_read_and_not_learnt(tmp_path):
    first, last = [dict(one) for one in TURNS], [dict(one) for one in TURNS]
    first[2]["weight"] = 0
    last[4]["weight"] = 0
    assert texts(load(tmp_path, [{"messages": first}] * 2, chat_template=CHAT))[1] == "no</s>"
    whole, learnt = texts(load(tmp_path, [{"messages": last}] * 2, chat_template=CHAT))
    assert learnt == "yes</s>"
    assert whole.endswith("<assistant>no</s>")


def test_an_answer_that_the_template_changes_later_is_not_learnt_and_said(tmp_path):
    data = load(tmp_path, [{"messages": TURNS}] * 2, chat_template=FORGETFUL)
    whole, learnt = texts(data)
    assert "…" in whole
    assert learnt == "no</s>"
    assert any("1 answer in train rows of rows.jsonl carries no loss" in warning for warning in data.warnings)


def test_content_in_parts_of_text_is_put_together(tmp_path):
    turns = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, TURNS[4]]
    assert texts(load(tmp_path, [{"messages": turns}] * 2, chat_template=CHAT))[0] == "<user>ab</s>\n<assistant>no</s>"
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, TURNS[4]]
    with pytest.raises(WrongColumnType, match="line 1"):
        load(tmp_path, [{"messages": picture}] * 2, chat_template=CHAT)


def test_sharegpt_is_recognised_and_read_as_the_same_conversation(tmp_path):
    said = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}, {"from": "human", "value": "and?"}]
    said.append({"from": "gpt", "value": "no"})
    found = load(tmp_path, [{"conversations": said, "system": "be kind"}] * 2, chat_template=CHAT)
    expected = load(tmp_path, [{"messages": TURNS}] * 2, chat_template=CHAT)
    assert texts(found) == texts(expected)
    assert found.identities[0].format == "jsonl/sharegpt"
    with pytest.raises(WrongColumnType, match="known from"):
        load(tmp_path, [{"conversations": [{"from": "parrot", "value": "x"}]}] * 2, chat_template=CHAT)


def test_a_class_is_learnt_by_its_name(tmp_path):
    rows = [{"text": "fine weather", "label": 1}, {"text": "rain", "label": 0}] * 2
    named = load(tmp_path, rows, labels=("bad", "good"))
    whole, learnt = texts(named)
    assert whole.endswith(f"### Label:\n{learnt}")
    assert {texts(named)[1]} <= {"bad</s>", "good</s>"}
    assert named.identities[0].format == "jsonl/classification"
    words = [{"text": row["text"], "label": ("bad", "good")[row["label"]]} for row in rows]
    assert load(tmp_path, words).identities[0].selections == named.identities[0].selections, "the same rows"
    pairs = [{"text": "a", "text_pair": "b", "label": "same"}] * 2
    assert texts(load(tmp_path, pairs))[0] == "a\n\nb\n\n### Label:\nsame</s>"


def test_a_number_without_names_is_learnt_as_a_numeral_and_one_beyond_the_names_is_refused(tmp_path):
    assert texts(load(tmp_path, [{"text": "a", "label": 4}] * 2))[1] == "4</s>"
    with pytest.raises(UnknownLabel, match="line 1"):
        load(tmp_path, [{"text": "a", "label": 2}] * 2, labels=("bad", "good"))
    with pytest.raises(UnknownLabel):
        load(tmp_path, [{"text": "a", "label": "odd"}] * 2, labels=("bad", "good"))
    with pytest.raises(LabelsWithoutClasses):
        load(tmp_path, [{"text": "a"}] * 2, format="text", labels=("bad", "good"))


def test_the_names_of_classes_in_a_parquet_file_are_used(tmp_path):
    import pyarrow
    import pyarrow.parquet

    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "text": {"dtype": "string", "_type": "Value"},
    }
    table = pyarrow.Table.from_pylist([{"text": "a", "label": 1}, {"text": "b", "label": 1}])
    stated = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    pyarrow.parquet.write_table(table.replace_schema_metadata(stated), tmp_path / "rows.parquet")
    data = load_data(
        DataBlock(train=TrainSource(path="rows.parquet")),
        folder=tmp_path,
        tokenizer=a_tokenizer(),
        max_length=64,
        seed=1,
    )
    assert texts(data)[1] == "good</s>"


def test_columns_of_ones_own_are_named_in_the_template_and_the_last_is_learnt(tmp_path):
    rows = [
        {"Country name": "Peru", "Population": 34, "note": None},
        {"Country name": "Chile", "Population": 20, "note": "x"},
    ]
    template = "{Country name}[[ ({note})]] has\n{Population} million"
    data = load(tmp_path, rows, format="columns", template=template)
    both = {a_tokenizer().decode(one.ids.tolist()) for one in (*data.train, *data.validation)}
    assert both == {"Peru has\n34 million</s>", "Chile (x) has\n20 million</s>"}
    assert texts(data)[1] in ("34 million</s>", "20 million</s>")
    with pytest.raises(TemplateRefused):
        load(tmp_path, rows, format="columns")


# --- registry data inspect ---


def inspected(folder: Path, rows: list[dict[str, Any]], validation: list[dict[str, Any]] | None = None) -> Inspection:
    path = write_rows(folder / "rows.jsonl", rows)
    other = None if validation is None else str(write_rows(folder / "held.jsonl", validation))
    return inspect_data(inspection_target(str(path), validation=other, base=None, max_length=None))


def test_words_say_how_a_data_file_is_read_as_a_training_file_says_it(tmp_path: Path) -> None:
    rows = [{"text": "late again", "kind": "rude"}, {"text": "thank you", "kind": "polite"}]
    path, held = (str(write_rows(tmp_path / name, rows)) for name in ("rows.jsonl", "held.jsonl"))
    words = ("data.train.format=classification", "data.train.columns.label=kind")
    found = inspect_data(inspection_target(path, words, validation=held, base=None, max_length=None))
    assert found.validation is not None
    assert (found.train.format, found.validation.format) == ("jsonl/classification", "jsonl/classification")
    with pytest.raises(InputRefused, match=r"data\.train\.column"):
        inspection_target(path, ("data.train.column=kind",), validation=None, base=None, max_length=None)


def row(prompt: str, completion: str) -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def test_duplicates_are_counted_exactly_and_loosely_and_contradictions_too(tmp_path):
    rows = [row("a", "1"), row("a", "1"), row(" A ", "1"), row("a", "2"), row("b", "1")]
    part = inspected(tmp_path, rows).train
    assert (part.rows, part.exact, part.similar, part.conflicting) == (5, 1, 1, 1)
    assert part.format == "jsonl/prompt_completion"


def test_leaks_between_splits_are_counted(tmp_path):
    train = [row("a", "1"), row("b", "2"), row("c", "3")]
    found = inspected(tmp_path, train, [row("a", "1"), row("B", "2"), row("c", "other"), row("d", "4")]).leak
    assert found is not None
    assert (found.rows, found.exact, found.similar, found.same_prompt) == (4, 1, 1, 1)


def test_different_texts_without_a_prompt_are_no_contradiction(tmp_path):
    part = inspected(tmp_path, [{"text": "one"}, {"text": "two"}, {"text": "ONE"}]).train
    assert (part.exact, part.similar, part.conflicting) == (0, 1, 0)


def test_conversations_are_compared_without_a_template(tmp_path):
    part = inspected(tmp_path, [{"messages": TURNS}, {"messages": TURNS}]).train
    assert part.exact == 1


def test_tokens_and_those_that_carry_loss_are_counted_and_shown(tmp_path):
    from peft_registry.trainer.data.containers import inspect_file
    from peft_registry.trainer.data.dataset import Located
    from peft_registry.trainer.data.formats import choose_reading
    from peft_registry.trainer.data.inspection import inspect_part

    path = write_rows(tmp_path / "rows.jsonl", [row("ab", "cd"), row("abcdefg", "x")])
    facts = inspect_file(path)
    reading = choose_reading(TrainSource(path="x"), name="rows.jsonl", columns=facts.columns, chat_template=None)
    located = Located("rows.jsonl", (path,))
    part, _ = inspect_part(located, facts, reading, tokenizer=a_tokenizer(), max_length=7, show=1)
    lengths = part.lengths
    assert lengths is not None
    # "ab" + "cd</s>" is 5 tokens of which 3 carry loss; "abcdefg" + "x</s>" is 9, cut to 7, of which none does
    assert lengths.limit == 7
    assert (lengths.tokens, lengths.supervised, lengths.longest, lengths.cut, lengths.nothing_to_learn) == (
        12,
        3,
        9,
        1,
        1,
    )
    assert [(piece.text, piece.learnt) for piece in part.shown[0].pieces] == [("ab", False), ("cd</s>", True)]


def test_many_classes_those_of_a_single_row_and_empty_answers_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = [f"c{n // 2}" for n in range(46)] + ["lonely"]
    path = write_rows(
        tmp_path / "rows.jsonl", [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)]
    )
    assert run(["data", "inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "c18 2, c19 2, and 4 more\n" in shown
    assert "single     1 of 24 classes has a single row, which is either trained on or held out\n" in shown
    path = write_rows(tmp_path / "rows.jsonl", [row("Say nothing.", ""), row("a", "1")])
    assert run(["data", "inspect", str(path)]) == 0
    assert "empty      1 answer: " in capsys.readouterr().out


WHAT_ROWS_CAN_BE_ASKED = {
    "conversations": ([{"messages": TURNS}] * 3, ("loss",), False),
    "plain text": ([{"text": "one"}, {"text": "two"}], ("loss",), False),
    "classes": (
        [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}],
        ("loss", "accuracy", "macro_f1", "exact_match", "f1"),
        True,
    ),
    "a single class": (
        [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}],
        ("loss", "exact_match", "f1"),
        True,
    ),
    "numbers": ([row("1 + 1", "#### 2"), row("2 + 2", "4")], ("loss", "exact_match", "f1", "number_match"), True),
    "some numbers": (
        # of two that are held out one has none at least
        [row("1 + 1", "2"), *(row(f"why {n}?", "because") for n in range(3))],
        ("loss", "exact_match", "f1"),
        True,
    ),
}


@pytest.mark.parametrize("case", WHAT_ROWS_CAN_BE_ASKED)
def test_what_a_training_may_ask_of_the_rows_is_shown_before_it_does(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, figures, has_answers = WHAT_ROWS_CAN_BE_ASKED[case]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    assert run(["data", "inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"figures    {', '.join(figures)} (what" in shown
    assert ("`evaluation.samples` has none" in shown) is not has_answers
    # and that is what a training takes and refuses
    data = load(tmp_path, rows, chat_template=CHAT)
    for name in ("loss", "accuracy", "macro_f1", "exact_match", "f1", "number_match"):
        with nullcontext() if name in figures else pytest.raises((AnswersNotRead, MetricOfOtherRows)):
            require_fitting([name], data, key="evaluation.quality")


def test_a_held_out_file_says_what_its_own_rows_can_be_asked(tmp_path: Path) -> None:
    held_out = [row("why?", "because"), row("how?", "so")]
    found = inspected(tmp_path, [row("1 + 1", "2"), row("2 + 2", "4")], held_out)
    assert found.figures == ("loss", "exact_match", "f1")


def labelled_csv(folder: Path, header: str, **options: Any) -> LoadedData:
    (folder / "rows.csv").write_text(f"{header}\n" + "".join(f"words {n},c{n % 2}\n" for n in range(8)))
    return load_data(
        DataBlock(train=TrainSource(path="rows.csv", **options), validation=ValidationSource(fraction=0.5)),
        folder=folder,
        tokenizer=a_tokenizer(),
        max_length=64,
        seed=1,
    )


@pytest.mark.parametrize("column", ["category", "Sentiment", "target"])
def test_a_label_under_another_name_is_not_lost_without_a_word(column: str, tmp_path: Path) -> None:
    with pytest.raises(LabelColumnUnused) as caught:
        labelled_csv(tmp_path, f"text,{column}")
    assert f"without its column `{column}`" in caught.value.what
    assert f"data.train.columns: {{label: {column}}}" in caught.value.fix


def test_both_ways_that_the_refusal_names_work(tmp_path: Path) -> None:
    classes = labelled_csv(tmp_path, "text,category", format="classification", columns={"label": "category"})
    assert classes.identities[0].format == "csv/classification"
    assert texts(classes)[1] in {"c0</s>", "c1</s>"}
    plain = labelled_csv(tmp_path, "text,category", format="text")
    assert plain.identities[0].format == "csv/text"


def test_columns_that_are_no_label_leave_a_text_a_text(tmp_path: Path) -> None:
    assert labelled_csv(tmp_path, "text,source").identities[0].format == "csv/text"
