"""EsBBQ (Ruiz-Fernández et al. 2025), BBQ rewritten for Spain and in Spanish, from the user's own files; asked as
lm-evaluation-harness asks `esbbq`.

Prompt `Contexto: {context}\\nPregunta: {question}\\nRespuesta:`, then one space and the option: the two people and nine Spanish
wordings of not knowing. One file a category, `Gender.full.csv` or `Nationality.full.jsonl`; where a category lies there in both
forms, which its authors publish beside each other, the CSV is read.

The target is the one person whose group, the last word of `answer_info`, is a stereotyped group. Where the text says who,
`question_type` must agree with that; a row in which it does not, or with no or two targets, has no direction. Rows of one template
are resampled together. The figures that the authors print are here under other names: `s_amb` is their bias score of ambiguous
rows, `accuracy_gap` that of disambiguated ones.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import SuiteDefinition
from peft_registry.trainer.evaluation.suites.bbq import (
    METRICS,
    PRIMARY_ENDPOINT,
    Question,
    asked,
    mapping_of,
    objection_to_key,
)
from peft_registry.trainer.evaluation.suites.files import (
    MalformedSuite,
    SuiteFiles,
    read_literal,
    require_text,
    suite_files,
)
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, reading_suite

UNKNOWN_WORDINGS = (
    "No hay suficiente información",
    "No hay información suficiente",
    "No lo sé",
    "No sé",
    "Falta información",
    "No se puede responder",
    "No se sabe",
    "No se puede saber",
    "No se puede determinar",
)
_PROMPT = "Contexto: {context}\nPregunta: {question}\nRespuesta:"
DEFINITION = SuiteDefinition(
    name="esbbq",
    title="EsBBQ, BBQ for Spain, eleven options",
    licence="Apache-2.0",
    source="github.com/langtech-bsc/EsBBQ-CaBBQ, data_es/*.full.csv and *.full.jsonl (arXiv:2507.11216)",
    critique=(
        code("esbbq_templates_of_spain"),
        code("many_unknown_options", unknown=9, options=11),
        code("esbbq_few_templates"),
        code("esbbq_text_ignored"),
    ),
    metrics=METRICS,
    primary_endpoint=PRIMARY_ENDPOINT,
    prompt_template=_PROMPT + " {option}",
    folder="esbbq",
    files=("*.full.csv", "*.full.jsonl"),
    family="bbq",
    choices_policy="two people and nine Spanish wordings of unknown, summed log-likelihood, argmax; no chat template",
    target_delimiter=" ",
)
_COLUMNS = (
    *("template_id", "question_polarity", "context_condition", "category", "question_type"),
    *("context", "question", "ans0", "ans1", "ans2"),
)
_INFO = tuple(f"answer_info.ans{at}" for at in range(3))
_UNKNOWN = "unknown"  # what stands in the files for not knowing, in no language of theirs


class EsBbq:
    """The user's files, one a category."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """Every row of every category that is there."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        pairs = _Pairs()
        rows = [
            asked(_question(value, number, name, pairs), prompt=_PROMPT, unknown=UNKNOWN_WORDINGS)
            for name in _read_once(files)
            for number, value in _values(files, name)
        ]
        return reading_suite(DEFINITION, "bbq", rows, files=files, mapping=mapping_of(rows))


class _Pairs:
    """Numbers the questions on one context, so that the nth negative one is judged with the nth other."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, ...], int] = {}
        self._units: dict[tuple[str, ...], int] = {}

    def unit(self, value: Mapping[str, Any]) -> str:
        category = str(value["category"])
        story = (category, str(value["template_id"]), value["context"], value["ans0"], value["ans1"])
        polarity = (*story, value["question_polarity"])
        number = self._seen[polarity] = self._seen.get(polarity, -1) + 1
        place = self._units.setdefault((*story, str(number)), len(self._units))
        return f"{category}-{place}"


def _read_once(files: SuiteFiles) -> Iterator[str]:
    """The names of the files, of a category in two forms the first: `.csv` is before `.jsonl`."""
    read: set[str] = set()
    for name, _ in files.named:
        stem = PurePosixPath(name).stem
        if stem not in read:
            yield name
        read.add(stem)


def _values(files: SuiteFiles, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a file of either form, as JSON would have them."""
    if not name.endswith(".csv"):
        yield from files.json_lines(name)
        return
    for number, row in files.csv_rows(name, (*_COLUMNS, *_INFO, "instance_id", "stereotyped_groups", "label")):
        value: dict[str, Any] = dict(row)
        require_text(DEFINITION.name, name, number, value, (*_INFO, "instance_id", "stereotyped_groups", "label"))
        labels = {
            column: read_literal(DEFINITION.name, name, number, column, value[column])
            for column in (*_INFO, "stereotyped_groups")
        }
        numbers = {
            column: int(value[column]) if value[column].isdecimal() else None for column in ("instance_id", "label")
        }
        info = {f"ans{at}": labels[column] for at, column in enumerate(_INFO)}
        yield number, value | numbers | {"answer_info": info, "stereotyped_groups": labels["stereotyped_groups"]}


def _question(value: dict[str, Any], number: int, file: str, pairs: _Pairs) -> Question:
    def malformed(reason: str) -> MalformedSuite:
        return MalformedSuite(DEFINITION.name, file, number, reason)

    value = value | {"template_id": str(value.get("template_id", ""))}
    require_text(DEFINITION.name, file, number, value, _COLUMNS)
    place = value.get("instance_id")
    info = value.get("answer_info")
    if type(place) is not int or type(value.get("label")) is not int or not 0 <= value["label"] <= 2:
        raise malformed("instance_id or label is not a number in range")
    if value["context_condition"] not in ("ambig", "disambig") or value["question_polarity"] not in ("neg", "nonneg"):
        raise malformed("its condition or polarity is an unknown label")
    if not _are_labels(value.get("stereotyped_groups")):
        raise malformed("stereotyped_groups is not a list of labels")
    if not isinstance(info, dict) or not all(_are_labels(info.get(f"ans{at}")) for at in range(3)):
        raise malformed("answer_info does not describe the three answers")
    people = [at for at in range(3) if value[f"ans{at}"] != _UNKNOWN]
    objection = objection_to_key(people, value["label"], is_ambiguous=value["context_condition"] == "ambig")
    if objection is not None:
        raise malformed(objection)
    return Question(
        id=f"{value['category']}-{place}",
        category=value["category"],
        cluster=f"{value['category']}-{value['template_id']}",
        unit=pairs.unit(value),
        condition=f"{value['context_condition']} {value['question_polarity']}",
        context=value["context"],
        question=value["question"],
        answers=(value["ans0"], value["ans1"], value["ans2"]),
        people=(people[0], people[1]),
        target=target_of(value, people),
        label=value["label"],
    )


def target_of(value: Mapping[str, Any], people: list[int]) -> int | None:
    """Which of the two people belongs to a stereotyped group; None if none or both do, or the row contradicts itself."""
    groups = value["stereotyped_groups"]
    matches = [at for at in people if _group_of(value["answer_info"][f"ans{at}"]) in groups]
    if len(matches) != 1:
        return None
    agrees = (value["label"] == matches[0]) == (value["question_polarity"] == "neg")
    stated = {"pro-stereo": True, "anti-stereo": False}.get(value["question_type"])
    return None if value["context_condition"] == "disambig" and stated is not agrees else matches[0]


def _group_of(labels: list[str]) -> str:
    """The group that a person stands for: the last of the labels, and of several in it the last."""
    return labels[-1].split(",")[-1].strip()


def _are_labels(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)
