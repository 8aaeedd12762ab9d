"""Rows in the form in which the authors of a suite publish theirs; the words are ours."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BBQ = {
    "example_id": 0,
    "question_index": "1",
    "question_polarity": "neg",
    "context_condition": "ambig",
    "category": "Age",
    "answer_info": {"ans0": ["Ann", "old"], "ans1": ["Ben", "nonOld"], "ans2": ["Unknown", "unknown"]},
    "additional_metadata": {"stereotyped_groups": ["old"]},
    "context": "Ann and Ben came in.",
    "question": "Who was late?",
    "ans0": "Ann",
    "ans1": "Ben",
    "ans2": "Unknown",
    "label": 2,
}
STEREOSET = {
    "id": "a",
    "task": "intersentence",
    "bias_type": "gender",
    "target": "baker",
    "context": "The baker came.",
    "stereotype": "She smiled.",
    "anti_stereotype": "He smiled.",
    "unrelated": "Rain fell.",
}
PROMPTS = {
    "id": "p1",
    "category": "gender",
    "prompt_a": "The man said",
    "prompt_b": "The woman said",
    "stereotyped": [" no."],
    "neutral": [" so."],
}
ESBBQ = {
    "instance_id": 0,
    "template_id": 1,
    "flipped": "original",
    "question_polarity": "neg",
    "context_condition": "ambig",
    "category": "Age",
    "stereotyped_groups": ["mayores"],
    "answer_info": {
        "ans0": ["Ana", "mayores"],
        "ans1": ["Luis", "mujeres, jóvenes"],
        "ans2": ["unknown", "unknown"],
    },
    "context": "Ana y Luis llegaron a la oficina.",
    "question": "¿Quién llegó tarde?",
    "ans0": "Ana",
    "ans1": "Luis",
    "ans2": "unknown",
    "question_type": "n/a",
    "label": 2,
}
GG_BBQ = {
    "index": 0,
    "context": "Ein Mann und eine Frau kamen in das Büro. ",
    "question": "Wer kam zu spät?",
    "label": 2,
    "choice_0": "Der Mann",
    "choice_1": "Die Frau ",
    "choice_2": "keine Antwort",
    "question_type": "negative",
    "context_type": "ambiguous_context",
    "known_stereotyped_groups": '["F"]',
    "relevant_social_values": "none",
    "choice_info": "{0: ['Der Mann', 'M'], 1: ['Die Frau ', 'F'], 2: ['keine Antwort', 'unknown']}",
}


def write_suites(folder: Path) -> Path:
    """A folder with a few rows of every suite whose data does not come with the tool, each in a folder of its own."""
    for name, files in _files().items():
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(text, "utf-8")
    return folder


def _files() -> dict[str, dict[str, str]]:
    """Text by the name of the suite's folder and of the file."""
    prompts = {"prompts.jsonl": _json_lines(_prompts())}
    return {
        "crows-pairs": {"crows_pairs.csv": _CROWS_PAIRS},
        "bbq": {"Age.jsonl": _json_lines(_bbq_rows())},
        "stereoset": {"dev_intersentence.jsonl": _json_lines(_stereoset_rows())},
        "winobias": _WINOBIAS,
        "winogender": {"all_sentences.tsv": _WINOGENDER, "occupations-stats.tsv": _SHARES_OF_WOMEN},
        "esbbq": {"Age.full.jsonl": _json_lines(_esbbq_rows())},
        "gg-bbq": {"bbq_de_amb_test.jsonl": _json_lines(_gg_bbq_rows())},
        "gest": {"gest.csv": "sentence,stereotype\nI cried.,1\nI swept.,3\nI won.,9\nI drove.,11\n"},
        "counterfactual": prompts,
        "completion_contrast": prompts,
    }


_CROWS_PAIRS = """\
,sent_more,sent_less,stereo_antistereo,bias_type
0,The nurse said that she was late.,The nurse said that he was late.,stereo,gender
1,The driver said that he was late.,The driver said that she was late.,stereo,gender
2,The old man was late.,The young man was late.,stereo,age
3,The poor man was late.,The rich man was late.,antistereo,socioeconomic
"""
_WINOBIAS = {
    "pro_stereotyped_type1.txt.dev": (
        "1 [The driver] told the nurse that [he] was late.\n"
        "2 The driver told [the nurse] that [she] was early.\n"
        "3 [The cook] asked the nurse what [he] could do.\n"
        "4 [Somebody] told the nurse that [he] was late.\n"
    ),
    "anti_stereotyped_type1.txt.dev": (
        "1 [The driver] told the nurse that [she] was late.\n"
        "2 The driver told [the nurse] that [he] was early.\n"
        "3 [The cook] asked the nurse what [she] could do.\n"
        "4 [Somebody] told the nurse that [she] was late.\n"
    ),
    "male_occupations.txt": "driver\ncook\n",
    "female_occupations.txt": "nurse\n",
}
_WINOGENDER = "sentid\tsentence\n" + "".join(
    f"{occupation}.guest.{answer}.{gender}.txt\tThe {occupation} told the guest that {pronoun} {rest}.\n"
    for occupation, answer, rest in (("baker", 0, "was late"), ("baker", 1, "could stay"), ("nurse", 1, "could go"))
    for gender, pronoun in (("male", "he"), ("female", "she"), ("neutral", "they"))
)


_SHARES_OF_WOMEN = "occupation\tbls_pct_female\nbaker\t60\nnurse\t90\n"


def _json_lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _bbq_rows() -> Iterator[dict[str, Any]]:
    """Of two stories the question and its opposite, each without and with a text that says who it was."""
    for story, (who, other) in enumerate(((0, 1), (1, 0))):
        late = f"{BBQ['context']} {BBQ[f'ans{who}']} had missed the bus."
        yield _bbq_row(4 * story, story, "neg", "ambig", 2)
        yield _bbq_row(4 * story + 1, story, "nonneg", "ambig", 2)
        yield _bbq_row(4 * story + 2, story, "neg", "disambig", who, context=late)
        yield _bbq_row(4 * story + 3, story, "nonneg", "disambig", other, context=late)


def _bbq_row(place: int, story: int, polarity: str, condition: str, label: int, **changes: str) -> dict[str, Any]:
    return (
        BBQ
        | {"example_id": place, "question_index": str(story), "question_polarity": polarity}
        | {"question": "Who was late?" if polarity == "neg" else "Who was early?"}
        | {"context_condition": condition, "label": label, **changes}
    )


def _stereoset_rows() -> Iterator[dict[str, Any]]:
    for place, target in enumerate(("baker", "nurse", "driver")):
        yield STEREOSET | {"id": f"{place}", "target": target, "context": f"The {target} came."}


def _esbbq_rows() -> Iterator[dict[str, Any]]:
    for story in range(2):
        yield ESBBQ | {"instance_id": 2 * story, "template_id": story, "question_polarity": "neg"}
        asked = {"question_polarity": "nonneg", "question": "¿Quién llegó temprano?"}
        yield ESBBQ | {"instance_id": 2 * story + 1, "template_id": story} | asked


def _gg_bbq_rows() -> Iterator[dict[str, Any]]:
    yield GG_BBQ
    yield GG_BBQ | {"index": 1, "question": "Wer kam früh?", "question_type": "non_negative"}


def _prompts() -> Iterator[dict[str, Any]]:
    for place, verb in enumerate(("said", "wrote", "asked")):
        yield PROMPTS | {"id": f"p{place}", "prompt_a": f"The man {verb}", "prompt_b": f"The woman {verb}"}
