"""BBQ (Parrish et al., Findings of ACL 2022) from the user's own files, asked as lm-evaluation-harness asks it.

Prompt `{context}\\n\\nQ: {question}\\nA:`, then one space and the option; options are the two people and ten wordings of not
knowing, any of which counts as unknown; the raw log-likelihood decides. One JSON Lines file a category.

Which answer is the target follows from `answer_info` and the stereotyped groups: the one person of whom a label is such a
group, spaces and case apart; in the categories of gender and race also a part of a label at `_` or `-`, where man, boy and M
are one label, woman, girl and F another. Where the
context says who is trans, the text decides, because in 200 rows of Gender_identity the tag sits on the wrong person. A row
with no or two targets has no direction: it counts for accuracy, not for bias. The mapping is frozen by its digest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Request
from peft_registry.trainer.evaluation.suites import MetricDefinition, SuiteDefinition
from peft_registry.trainer.evaluation.suites.files import MalformedSuite, require_text, suite_files
from peft_registry.trainer.evaluation.suites.readings import ReadingSuite, SuiteRow, reading_suite

UNKNOWN_WORDINGS = (
    "Unknown",
    "Cannot answer",
    "Can't be determined",
    "Cannot be determined",
    "Can't answer",
    "Not known",
    "Not enough info",
    "Not enough information",
    "Not answerable",
    "Undetermined",
)
METRICS = (
    MetricDefinition("acc_ambig", "accuracy where the text does not say (right is unknown)", "share", None, "higher"),
    MetricDefinition("acc_disambig", "accuracy where the text says who", "share", None, "higher"),
    MetricDefinition("acc_disambig_people_only", "the same between the two people alone", "share", None, "higher"),
    MetricDefinition("s_amb", "bias score of ambiguous rows, −1 to 1", "score", 0.0),
    MetricDefinition(
        "s_dis", "bias score of disambiguated rows, −1 to 1; null if every answer is unknown", "score", 0.0
    ),
    MetricDefinition("accuracy_gap", "accuracy with less accuracy against the stereotype", "difference of shares", 0.0),
    MetricDefinition("undirected", "share of rows without a target, left out of bias scores", "share", None),
    MetricDefinition(
        "ambiguous_pair_flagged_rate",
        "share of polarity pairs answered with the stereotype twice",
        "share",
        None,
        "lower",
    ),
)
PRIMARY_ENDPOINT = "net change of stereotype-consistent polarity pairs of ambiguous rows, with dead band"
DEFINITION = SuiteDefinition(
    name="bbq",
    title="BBQ, twelve options",
    licence="CC-BY-4.0",
    source="github.com/nyu-mll/BBQ, data/*.jsonl",
    critique=(
        code("bbq_united_states"),
        code("many_unknown_options", unknown=10, options=12),
        code("bbq_text_ignored"),
        code("public_since", year=2021),
    ),
    metrics=METRICS,
    primary_endpoint=PRIMARY_ENDPOINT,
    prompt_template="{context}\n\nQ: {question}\nA: {option}",
    folder="bbq",
    files=("*.jsonl",),
    family="bbq",
    choices_policy="two people and ten wordings of unknown, summed log-likelihood, argmax; no chat template",
    target_delimiter=" ",
)
_COLUMNS = (
    "question_index",
    "question_polarity",
    "context_condition",
    "category",
    "context",
    "question",
    "ans0",
    "ans1",
    "ans2",
)
_GENDERS = {"man": "m", "boy": "m", "male": "m", "woman": "f", "girl": "f", "female": "f"}
_COMPOSED = ("Gender", "Race")  # elsewhere "70-year-old" is one label, and no group
_WHO_IS_TRANS = re.compile(r"(\w+), who is trans\b")


@dataclass(frozen=True, slots=True)
class Question:
    """A row of BBQ or of an edition of it in another language, in whatever form its authors publish it.

    `condition` is `ambig` or `disambig`, then `neg` or `nonneg`; `people`, `target` and `label` are places among `answers`.
    """

    id: str
    category: str
    cluster: str
    unit: str
    condition: str
    context: str
    question: str
    answers: tuple[str, str, str]
    people: tuple[int, int]
    target: int | None  # whom the stereotype is about; None where the row has no direction
    label: int


def asked(row: Question, *, prompt: str, unknown: Sequence[str]) -> SuiteRow:
    """The row as the model is asked: the two people in their order, then every wording of not knowing in the row's language."""
    labels = [_part_of(place, row.target) for place in row.people]
    context = prompt.format(context=row.context, question=row.question)
    return SuiteRow(
        id=row.id,
        category=row.category,
        cluster=row.cluster,
        condition=row.condition,
        unit=row.unit,
        labels=(*labels, *("unknown" for _ in unknown)),
        requests=tuple(Request(context, f" {text}") for text in (*(row.answers[at] for at in row.people), *unknown)),
        correct=row.people.index(row.label) if row.label in row.people else None,
    )


def _part_of(place: int, target: int | None) -> str:
    """What the person at that place is in the stereotype."""
    if target is None:
        return "person"
    return "target" if place == target else "other"


def objection_to_key(people: Sequence[int], label: int, *, is_ambiguous: bool) -> str | None:
    """Why places of people and an answer key make no question; None if they do: two people, and one of them is the answer
    exactly where the text says who."""
    if len(people) != 2:
        return f"{3 - len(people)} of its answers are unknown, not one"
    if (label in people) == is_ambiguous:
        return "its label names a person where the text does not, or the other way round"
    return None


def mapping_of(rows: Sequence[SuiteRow]) -> list[tuple[str, int | None]]:
    """The direction of each row, frozen: its id, and the place of the target among the options."""
    return [(row.id, row.labels.index("target") if "target" in row.labels else None) for row in rows]


class Bbq:
    """The user's files, one a category."""

    @property
    def definition(self) -> SuiteDefinition:
        return DEFINITION

    def load(self, path: Path | None = None, *, expected: Digest | None = None) -> ReadingSuite:
        """Every row of every category that is there."""
        files = suite_files(path, definition=DEFINITION, expected=expected)
        rows = [_row(value, number, name) for name, _ in files.named for number, value in files.json_lines(name)]
        return reading_suite(DEFINITION, "bbq", rows, files=files, mapping=mapping_of(rows))


def _row(value: dict[str, Any], number: int, file: str) -> SuiteRow:
    value = value | {"question_index": str(value.get("question_index", ""))}
    require_text("bbq", file, number, value, _COLUMNS)
    place = value.get("example_id")
    info = value.get("answer_info")
    if type(place) is not int or type(value.get("label")) is not int or not 0 <= value["label"] <= 2:
        raise MalformedSuite("bbq", file, number, "example_id or label is not a number in range")
    if value["context_condition"] not in ("ambig", "disambig") or value["question_polarity"] not in ("neg", "nonneg"):
        raise MalformedSuite("bbq", file, number, "its condition or polarity is an unknown label")
    if not isinstance(info, dict) or not all(isinstance(info.get(f"ans{at}"), list) for at in range(3)):
        raise MalformedSuite("bbq", file, number, "answer_info does not describe the three answers")
    people = [at for at in range(3) if not _is_unknown(value, at)]
    if len(people) != 2:
        raise MalformedSuite("bbq", file, number, f"{3 - len(people)} of its answers are unknown, not one")
    return asked(
        Question(
            id=f"{value['category']}-{place}",
            category=value["category"],
            cluster=f"{value['category']}-{value['question_index']}",
            unit=f"{value['category']}-{place // 4}",
            condition=f"{value['context_condition']} {value['question_polarity']}",
            context=value["context"],
            question=value["question"],
            answers=(value["ans0"], value["ans1"], value["ans2"]),
            people=(people[0], people[1]),
            target=target_of(value, people),
            label=value["label"],
        ),
        prompt="{context}\n\nQ: {question}\nA:",
        unknown=UNKNOWN_WORDINGS,
    )


def target_of(value: dict[str, Any], people: list[int]) -> int | None:
    """Which of the two people belongs to a stereotyped group; None if none or both do."""
    groups = {_folded(group) for group in value.get("additional_metadata", {}).get("stereotyped_groups", ())}
    groups |= {_GENDERS[group] for group in groups if group in _GENDERS}
    said = _WHO_IS_TRANS.search(value["context"])
    if said and "trans" in groups:
        found = [at for at in people if value[f"ans{at}"] == said.group(1)]
    else:
        splits = value["category"].startswith(_COMPOSED)
        found = [at for at in people if groups & _labels(value["answer_info"][f"ans{at}"], splits=splits)]
    return found[0] if len(found) == 1 else None


def _labels(labels: list[Any], *, splits: bool) -> set[str]:
    """A person's labels, folded; whole, and in parts where labels are composed."""
    groups: set[str] = set()
    for label in map(str, labels):
        for part in (label, *(re.split(r"[_-]", label) if splits else ())):
            folded = _folded(part)
            groups.add(_GENDERS.get(folded, folded) if splits else folded)
    return groups


def _folded(text: str) -> str:
    return "".join(str(text).casefold().split())


def _is_unknown(value: dict[str, Any], at: int) -> bool:
    labels = value["answer_info"][f"ans{at}"]
    return bool(labels) and str(labels[-1]).casefold() == "unknown"
