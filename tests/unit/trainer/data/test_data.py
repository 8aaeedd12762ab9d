"""Data files: the same rows from every container, splits that the seed decides, and a named error for each bad input."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from peft_registry.schemas.config import DataBlock, TrainSource, ValidationSource
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.trained_templates import NoTemplate
from peft_registry.trainer.data.chat_template import ChatTemplateRefused
from peft_registry.trainer.data.containers import (
    BrokenDataFile,
    BrokenRow,
    DataFileMissing,
    DataNotUtf8,
    EmptyData,
    OtherSeparator,
    UnknownContainer,
    inspect_file,
    read_rows,
)
from peft_registry.trainer.data.dataset import (
    LengthOverContext,
    LoadedData,
    NothingToLearn,
    TooFewRows,
    load_data,
    require_room,
)
from peft_registry.trainer.data.formats import (
    AbsentColumn,
    AbsentValue,
    FormatNotRecognised,
    NoChatTemplate,
    TemplateRefused,
    UnknownMeaning,
    WrongColumnType,
    choose_reading,
    render,
)
from peft_registry.trainer.data.prompting import prompting_of
from peft_registry.trainer.data.tokenize import IGNORED
from peft_registry.trainer.use_cases.ask import QuestionTooLong, answer_of
from tests.builders.training import a_model, a_tokenizer, a_training_file, colour_rows, write_rows

SECRET = "the heron keeps a brass key"
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"


def load(folder: Path, name: str = "rows.jsonl", *, chat_template: str | None = None, **options: Any) -> LoadedData:
    validation = options.pop("validation", ValidationSource(fraction=0.25))
    arguments = {"max_length": 64, "seed": 1} | {
        key: options.pop(key) for key in ("max_length", "seed") if key in options
    }
    return load_data(
        DataBlock(train=TrainSource(path=name, **options), validation=validation),
        folder=folder,
        tokenizer=a_tokenizer(chat_template=chat_template),
        **arguments,
    )


def write_as(folder: Path, container: str, rows: list[dict[str, Any]]) -> str:
    path = folder / f"rows.{container}"
    if container == "jsonl":
        write_rows(path, rows)
    elif container == "json":
        path.write_text(json.dumps(rows, indent=1))
    elif container == "csv":
        import csv

        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path.name


ROWS = [*colour_rows(7), {"prompt": 'line\nbreak, comma and "quotes"', "completion": "Grüße, 世界"}]


@pytest.mark.parametrize("container", ["jsonl", "json", "csv", "parquet"])
def test_every_container_gives_the_same_rows(tmp_path, container):
    reference = load(tmp_path, write_as(tmp_path, "jsonl", ROWS))
    found = load(tmp_path, write_as(tmp_path, container, ROWS))
    assert [example.ids.tolist() for example in found.train] == [example.ids.tolist() for example in reference.train]
    (one,), (other,) = found.identities, reference.identities
    assert [s.rows_sha256 for s in one.selections] == [s.rows_sha256 for s in other.selections]
    assert one.sha256 == Digest.of((tmp_path / f"rows.{container}").read_bytes())
    assert one.format == f"{container}/prompt_completion"
    assert one.bytes == (tmp_path / f"rows.{container}").stat().st_size
    assert one.rows_total == 8


def test_only_the_completion_and_the_end_carry_loss(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "ab", "completion": "cd"}] * 2)
    example = load(tmp_path).train[0]
    tokenizer = a_tokenizer()
    assert tokenizer.decode(example.ids.tolist()) == "abcd</s>"
    assert example.labels.tolist() == [IGNORED] * 2 + example.ids.tolist()[2:]
    assert example.supervised == 3


def test_a_separator_stands_there_where_the_file_says_so(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"prompt": "ab", "completion": "cd"}] * 2)
    data = load(tmp_path, template="{prompt}\n{completion}")
    assert a_tokenizer().decode(data.train[0].ids.tolist()) == "ab\ncd</s>"
    assert data.identities[0].template_sha256 == Digest.of(b"{prompt}\n{completion}")


def test_prompts_and_completions_may_be_turns(tmp_path):
    turns = {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yes"}]}
    write_rows(tmp_path / "rows.jsonl", [turns] * 2)
    data = load(tmp_path, chat_template=CHAT)
    example, tokenizer = data.train[0], a_tokenizer()
    assert tokenizer.decode(example.ids.tolist()).startswith("<user>hi</s>\n<assistant>yes</s>")
    assert tokenizer.decode([token for token in example.labels.tolist() if token != IGNORED]).startswith("yes</s>")
    assert data.identities[0].template_sha256 == Digest.of(CHAT.encode())


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "hi", "completion": [{"role": "assistant", "content": "yes"}]},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": "yes"},
        {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "user", "content": "no"}]},
        {"prompt": [], "completion": [{"role": "assistant", "content": "yes"}]},
    ],
)
def test_a_prompt_and_a_completion_of_two_kinds_are_refused_with_line_and_column(tmp_path, row):
    write_rows(tmp_path / "rows.jsonl", [row] * 2)
    with pytest.raises(WrongColumnType, match="line 1"):
        load(tmp_path, chat_template=CHAT)


def test_turns_without_a_chat_template_are_refused(tmp_path):
    turns = {"prompt": [{"role": "user", "content": "hi"}], "completion": [{"role": "assistant", "content": "yes"}]}
    write_rows(tmp_path / "rows.jsonl", [turns] * 2)
    with pytest.raises(NoChatTemplate):
        load(tmp_path)


def test_every_token_of_plain_text_but_the_first_carries_loss(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"text": "abcd"}] * 2)
    example = load(tmp_path).train[0]
    assert len(example.ids) == 5
    assert example.supervised == 4


def test_a_conversation_teaches_its_last_answer(tmp_path):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    write_rows(tmp_path / "rows.jsonl", [{"messages": turns}] * 2)
    data = load(tmp_path, chat_template=CHAT)
    example, tokenizer = data.train[0], a_tokenizer()
    learnt = [token for token in example.labels.tolist() if token != IGNORED]
    assert tokenizer.decode(learnt) == "yes</s>"
    assert tokenizer.decode(example.ids.tolist()) == "<user>hi</s>\n<assistant>yes</s>"
    assert data.identities[0].template_sha256 == Digest.of(CHAT.encode())


def test_alpaca_leaves_the_input_out_when_it_is_empty():
    reading = choose_reading(
        TrainSource(path="x"), name="x", columns=["instruction", "input", "output"], chat_template=None
    )
    assert reading.row_format == "alpaca"
    with_input = render(reading, {"instruction": "Add.", "input": "1 2", "output": "3"})
    without = render(reading, {"instruction": "Add.", "input": "", "output": "3"})
    assert with_input == ("### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n", "3")
    assert without == ("### Instruction:\nAdd.\n\n### Response:\n", "3")


def test_braces_in_a_row_are_not_placeholders(tmp_path):
    rows = [{"prompt": "{completion} [[x]]", "completion": "{prompt}"}] * 2
    write_rows(tmp_path / "rows.jsonl", rows)
    example = load(tmp_path).train[0]
    assert a_tokenizer().decode(example.ids.tolist()) == "{completion} [[x]]{prompt}</s>"


def test_a_template_of_ones_own_is_used_and_digested(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"q": "ab", "a": "cd"}] * 2)
    template = "Q: {prompt}\nA: {completion}!"
    data = load(tmp_path, columns={"prompt": "q", "completion": "a"}, template=template)
    assert a_tokenizer().decode(data.train[0].ids.tolist()) == "Q: ab\nA: cd!</s>"
    assert data.identities[0].template_sha256 == Digest.of(template.encode())
    assert data.identities[0].columns == (("completion", "a"), ("prompt", "q"))


def test_the_split_depends_on_the_seed_alone(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(40))

    def held_out(**options):
        return [example.ids.tolist() for example in load(tmp_path, **options).validation]

    assert held_out(seed=1) == held_out(seed=1)
    assert held_out(seed=1) != held_out(seed=2)
    still = ValidationSource(fraction=0.25, seed=9)
    assert held_out(seed=1, validation=still) == held_out(seed=2, validation=still)
    assert len(held_out(seed=1)) == 10


def test_no_row_is_in_both_parts_and_none_is_lost(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(40))
    data = load(tmp_path, rows=20)
    train, validation = ({tuple(e.ids.tolist()) for e in part} for part in (data.train, data.validation))
    assert not train & validation
    assert len(train) + len(validation) == 20
    assert [(s.split, s.rows) for s in data.identities[0].selections] == [("train", 15), ("validation", 5)]
    assert "first 20 rows" in data.identities[0].selections[0].rule


def test_a_validation_file_of_its_own_has_its_own_identity(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(4))
    write_rows(tmp_path / "held.jsonl", colour_rows(3))
    data = load(tmp_path, validation=ValidationSource(path="held.jsonl", rows=2))
    assert [identity.name for identity in data.identities] == ["rows.jsonl", "held.jsonl"]
    assert len(data.train) == 4
    assert len(data.validation) == 2


def test_rows_without_a_token_to_learn_are_counted_and_left_out(tmp_path):
    rows = [*colour_rows(6), {"prompt": "x" * 100, "completion": "lost"}]
    write_rows(tmp_path / "rows.jsonl", rows)
    write_rows(tmp_path / "held.jsonl", colour_rows(2))
    data = load(tmp_path, validation=ValidationSource(path="held.jsonl"))
    assert len(data.train) == 6
    assert data.identities[0].selections[0].rows == 6
    assert any(text.startswith("1 train row of rows.jsonl was left out: ") for text in data.warnings)


EMPTY_ANSWERS = {
    "an answer": {"prompt": "Say nothing.", "completion": " "},
    "the last turn": {
        "messages": [{"role": "user", "content": "Say nothing."}, {"role": "assistant", "content": ""}],
    },
}


@pytest.mark.parametrize("case", EMPTY_ANSWERS)
def test_empty_answers_are_told(tmp_path, case):
    write_rows(tmp_path / "rows.jsonl", [EMPTY_ANSWERS[case]] * 3)
    data = load(tmp_path, validation=ValidationSource(path="rows.jsonl", rows=1), chat_template=CHAT)
    assert [text for text in data.warnings if "empty" in text] == [
        "3 train rows of rows.jsonl have an empty answer: from such a row the model learns to end at once",
        "1 validation row of rows.jsonl has an empty answer: from such a row the model learns to end at once",
    ]


def test_a_class_of_one_row_is_told(tmp_path):
    labels = ["a", "b", "a", "b", "lonely"]
    write_rows(tmp_path / "rows.jsonl", [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)])
    said = "1 of 3 classes has a single row, which is either trained on or held out"
    assert [text for text in load(tmp_path).warnings if "classes" in text] == [said]


def test_what_was_recognised_is_said(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(4))
    assert any("prompt_completion" in note for note in load(tmp_path).notes)
    assert load(tmp_path, format="prompt_completion").notes == ()


def bad(content: bytes, name: str = "rows.jsonl"):
    return lambda folder: (folder / name).write_bytes(content)


def row(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


GOOD = row(prompt=SECRET, completion=SECRET)
LABELLED = row(text=SECRET, label=SECRET)
BAD_FILES: dict[str, tuple[Any, str, type[KnownError], str]] = {
    "missing": (lambda folder: None, "rows.jsonl", DataFileMissing, "no data file"),
    "empty": (bad(b""), "rows.jsonl", EmptyData, "no rows"),
    "blank lines": (bad(b"\n \n"), "rows.jsonl", EmptyData, "no rows"),
    "only a header": (bad(b"prompt,completion\n", "r.csv"), "r.csv", EmptyData, "no rows"),
    "an empty list": (bad(b"[]", "r.json"), "r.json", EmptyData, "no rows"),
    "unknown kind": (bad(GOOD, "r.xml"), "r.xml", UnknownContainer, "xml"),
    "not UTF-8": (bad(GOOD + b'{"prompt": "\xff"}\n'), "rows.jsonl", DataNotUtf8, "line 2"),
    "broken line": (bad(GOOD + GOOD[:-20]), "rows.jsonl", BrokenRow, "line 2"),
    "not an object": (bad(GOOD + b"[1]\n"), "rows.jsonl", BrokenRow, "line 2"),
    "a key twice": (bad(GOOD + b'{"prompt":"a","prompt":"b"}\n'), "rows.jsonl", BrokenRow, "line 2"),
    "NaN": (bad(GOOD + b'{"prompt":NaN}\n'), "rows.jsonl", BrokenRow, "line 2"),
    "deep": (bad(b"[" * 100_000, "r.json"), "r.json", BrokenRow, "nests"),
    "an object for a list": (bad(b"{}", "r.json"), "r.json", BrokenDataFile, "list of objects"),
    "short csv row": (bad(b"prompt,completion\na,b\nc\n", "r.csv"), "r.csv", BrokenRow, "line 3"),
    "csv with semicolons": (
        bad(b"prompt;completion\na, b;c\n", "r.csv"),
        "r.csv",
        OtherSeparator,
        "'prompt;completion'",
    ),
    "csv with tabs": (bad(b"prompt\tcompletion\na\tb\n", "r.csv"), "r.csv", OtherSeparator, "no commas"),
    "csv quote": (bad(b'prompt,completion\n"a,b\n', "r.csv"), "r.csv", BrokenRow, "CSV"),
    "csv header twice": (bad(b"a,a\n1,2\n", "r.csv"), "r.csv", BrokenRow, "twice"),
    "no parquet": (bad(b"PAR1 nothing", "r.parquet"), "r.parquet", BrokenDataFile, "parquet"),
    "absent column": (bad(row(prompts=SECRET, completion=SECRET)), "rows.jsonl", FormatNotRecognised, "prompts"),
    "absent in a row": (bad(GOOD + row(prompt=SECRET)), "rows.jsonl", AbsentValue, "line 2"),
    "null in a row": (bad(GOOD + row(prompt=SECRET, completion=None)), "rows.jsonl", AbsentValue, "line 2"),
    "no class in a row": (bad(LABELLED + row(text=SECRET, label=" ")), "rows.jsonl", AbsentValue, "line 2"),
    "a number": (bad(GOOD + row(prompt=SECRET, completion=3)), "rows.jsonl", WrongColumnType, "a number"),
    "half a surrogate": (
        bad(GOOD + b'{"prompt":"\\ud800","completion":"x"}\n'),
        "rows.jsonl",
        WrongColumnType,
        "surrogate",
    ),
    "one row": (bad(GOOD), "rows.jsonl", TooFewRows, "too few (1)"),
    "all too long": (bad(row(prompt=SECRET * 5, completion="x") * 3), "rows.jsonl", NothingToLearn, "max_length"),
    "chat without template": (
        bad(row(messages=[{"role": "assistant", "content": SECRET}]) * 2),
        "rows.jsonl",
        NoChatTemplate,
        "chat template",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_data_has_an_error_of_its_own_that_never_quotes_a_row(tmp_path, case):
    prepare, name, error, words = BAD_FILES[case]
    prepare(tmp_path)
    with pytest.raises(error) as caught:
        load(tmp_path, name)
    text = f"{caught.value.what} {caught.value.why} {caught.value.fix}"
    assert words in text
    assert SECRET not in text
    assert caught.value.exit_code in (2, 7)
    chain, known = caught.value.__cause__, []
    while chain is not None:
        known.append(str(chain))
        chain = chain.__cause__
    assert not any(SECRET in text for text in known)


def test_the_errors_have_references_of_their_own():
    errors = {error for _, _, error, _ in BAD_FILES.values()}
    assert len({error.reference for error in errors}) == len(errors)


def test_an_absent_column_names_the_nearest(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"question": "a", "answers": "b"}] * 3)
    with pytest.raises(AbsentColumn, match="answer") as caught:
        load(tmp_path, columns={"prompt": "question", "completion": "answer"})
    assert "did you mean `answers`?" in caught.value.fix


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ({"columns": {"label": "categry"}}, "did you mean `label`? Set data.train.columns: {label: label}"),
        ({"columns": {"text": "xyz", "label": "zzz"}}, "did you mean `text`? Set data.train.columns: {text: text}"),
        ({"format": "alpaca"}, "set data.train.format: classification, which these columns are of"),
        ({"format": "prompt_completion", "columns": {"prompt": "text"}}, "{completion: COLUMN}"),
    ],
)
def test_an_absent_column_is_mended_by_what_the_columns_are(source, fix):
    asked = TrainSource(path="bank.csv", **({"format": "classification"} | source))
    with pytest.raises(AbsentColumn) as caught:
        choose_reading(asked, name="bank.csv", columns=("text", "label"), chat_template=None)
    assert fix in caught.value.fix


def test_a_meaning_that_the_format_does_not_have_is_refused(tmp_path):
    write_rows(tmp_path / "rows.jsonl", colour_rows(3))
    with pytest.raises(UnknownMeaning):
        load(tmp_path, format="prompt_completion", columns={"question": "prompt"})


TEMPLATES = {
    "no answer": "{prompt}",
    "the answer first": "{completion}{prompt}",
    "the answer twice": "{completion}{completion}",
    "unknown": "{question}{completion}",
    "optional answer": "{prompt}[[{completion}]]",
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_that_cannot_work_is_refused(tmp_path, case):
    write_rows(tmp_path / "rows.jsonl", colour_rows(3))
    with pytest.raises(TemplateRefused):
        load(tmp_path, template=TEMPLATES[case])


CONVERSATIONS = {
    "empty": [],
    "text": "hello",
    "no role": [{"content": "x"}],
    "content is a list": [{"role": "assistant", "content": ["x"]}],
    "ends with a question": [{"role": "user", "content": "x"}],
}


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_a_conversation_that_teaches_nothing_is_refused(tmp_path, case):
    write_rows(tmp_path / "rows.jsonl", [{"messages": CONVERSATIONS[case]}] * 2)
    with pytest.raises(WrongColumnType):
        load(tmp_path, chat_template=CHAT)


def test_a_chat_template_that_fails_says_where_and_not_what(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "assistant", "content": SECRET}]}] * 2)
    with pytest.raises(InputRefused) as caught:
        load(tmp_path, chat_template="{{ raise_exception(messages[0].content) }}")
    assert caught.value.reference == "chat-template-refused"
    assert SECRET not in str(caught.value)


def test_a_length_beyond_the_context_is_refused(tmp_path):
    with pytest.raises(LengthOverContext):
        require_room(a_training_file(training__max_length=200), 128)


def test_a_file_that_changes_between_the_passes_is_refused(tmp_path):
    path = write_rows(tmp_path / "rows.jsonl", colour_rows(3))
    facts = inspect_file(path)
    write_rows(path, colour_rows(4)[1:])
    with pytest.raises(BrokenDataFile, match="changed"):
        list(read_rows(path, facts=facts))


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "r.csv").write_bytes(b"\xef\xbb\xbfprompt,completion\r\na,b\r\nc,d\r\n")
    assert inspect_file(tmp_path / "r.csv").columns == ("prompt", "completion")


def _parquet(path: Path, **columns: Any) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(list(columns.values()), names=list(columns)), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_fifo_in_place_of_data_is_refused_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    os.mkfifo(path)
    with pytest.raises(BrokenDataFile):
        inspect_file(path)


def test_a_folder_in_place_of_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    with pytest.raises(BrokenDataFile):
        inspect_file(tmp_path / "rows.jsonl")


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "NaN"], ids=["thousands of digits", "infinity", "no number"])
def test_a_number_that_no_reader_agrees_on_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"prompt": "a", "completion": "b", "n": {number}}}\n')
    with pytest.raises(BrokenRow):
        inspect_file(path)


def test_a_parquet_file_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.table([["a"], ["b"]], names=["text", "text"]), path)
    with pytest.raises(BrokenDataFile, match="cannot be read"):
        inspect_file(path)


def test_a_parquet_file_whose_text_is_no_text_is_refused(tmp_path: Path) -> None:
    import pyarrow

    buffers = [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff")]
    path = _parquet(tmp_path / "rows.parquet", text=pyarrow.Array.from_buffers(pyarrow.string(), 1, buffers))
    with pytest.raises(BrokenDataFile):
        inspect_file(path)


def test_a_parquet_file_that_states_its_classes_without_end_states_none(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    table = pyarrow.table({"text": ["a"]}).replace_schema_metadata({b"huggingface": b"[" * 200_000})
    pyarrow.parquet.write_table(table, path)
    assert inspect_file(path).classes == ()


CHAT_TEMPLATES = {
    "reaches for the system": "{{ cycler.__init__.__globals__.os.system('true') }}",
    "a range without end": "{% for i in range(10**12) %}x{% endfor %}",
    "more text than memory": "{{ 'x' * (10**17) }}",
    "no template": "{% for",
    "divides by nothing": "{{ 1/0 }}",
    "calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a name that is not there": "{{ nothing.x.y }}",
}


@pytest.mark.parametrize("what", CHAT_TEMPLATES)
def test_a_chat_template_that_does_not_render_is_refused_by_name(tmp_path: Path, what: str) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    write_rows(tmp_path / "rows.jsonl", [{"messages": turns}] * 4)
    with pytest.raises(ChatTemplateRefused, match=r"line 1 of rows\.jsonl"):
        load(tmp_path, chat_template=CHAT_TEMPLATES[what])


@pytest.mark.parametrize("what", [*CHAT_TEMPLATES, "nothing"])
def test_a_question_that_the_template_does_not_render_is_refused(what: str) -> None:
    tokenizer = a_tokenizer(chat_template=CHAT_TEMPLATES.get(what, "{{ '' }}"))
    with pytest.raises(ChatTemplateRefused, match="a question"):
        answer_of(
            "helper:1", a_model(), tokenizer, "May I?", 4, prompting=prompting_of(NoTemplate("imported"), tokenizer)
        )


def test_a_question_that_fills_the_context_is_refused() -> None:
    with pytest.raises(QuestionTooLong):
        answer_of("helper:1", a_model(), a_tokenizer(), "a" * 10_000, 4)
