"""The form of a version's open questions, as a file: written, read back, and what is said of a line that is not an answer.

It holds the open questions alone, by owner; what is filled in has its line, so that whatever is wrong is told where it stands.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.answers import AnswerProblem, OpenQuestion
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.stated import WHY_NOT_APPLICABLE
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.intake.yaml import Place, read_yaml_with_lines
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.reports.text import reason_text
from peft_registry.schemas.answers import AREA_ROLES
from peft_registry.schemas.errors import InputRefused, raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.version import Version

_MAX_BYTES = 1024 * 1024  # of a form
FORM = PREDICATE_TYPES["answers"]
_KEYS = ("form", "version", "record_id", "record", "asserted_by", "answers")


class AnswerRefused(InputRefused):
    what = "line {line} of {file}: the answer to {path!q} cannot be used"
    why = "{reason}"
    fix = "{remedy}"

    file: str
    line: int
    path: str
    reason: str
    remedy: str


class FormRefused(InputRefused):
    what = "line {line} of {file} is not that of a form"
    why = "{reason}"
    fix = "{remedy}"

    file: str
    line: int
    reason: str
    remedy: str


class FormFileThere(InputRefused):
    what = "{file} is there already"
    why = "a file that is there is read as a form that was filled in, and --for chooses the questions of a new one"
    fix = "write to another file: `registry decide {version} --for {owner} --form NEW.yml`; without --for, {file} is signed"

    file: Path
    version: str
    owner: str


class FormUnanswered(InputRefused):
    what = "{file} holds no answer"
    why = "every question in it is left empty"
    fix = "write an answer behind a colon, and run the command again"

    file: str


@dataclass(frozen=True, slots=True)
class FilledForm:
    """A form as it was filled in. `answers` are those that are not empty; `lines` has the line of each value."""

    name: str
    digest: Digest
    header: Mapping[str, Any]
    answers: Mapping[str, Any]
    lines: Mapping[Place, int]

    def line(self, *place: str) -> int:
        """The line of a key, counted from 1."""
        return self.lines.get(place, 1)

    def line_inside(self, path: str, place: str) -> int:
        """The line of a part of an answer, `[0].tool`; that of the answer where the part has none of its own."""
        own = ("answers", path)
        for keys, line in self.lines.items():
            inside = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys[len(own) :])
            if keys[: len(own)] == own and inside == place:
                return line
        return self.line(*own)


def read_form(file: Path) -> FilledForm:
    """A form as somebody filled it in: its answers, and the line of each.

    Raises:
        MalformedYaml: it is not YAML, or names a key twice.
        FormRefused, SeveralProblems: it is not a form of `registry decide`.
        FormUnanswered: it answers nothing.
    """
    data = read_offered(file, max_bytes=_MAX_BYTES)
    value, lines = read_yaml_with_lines(data, what=file.name)
    if not isinstance(value, dict) or not isinstance(value.get("answers"), dict):
        raise FormRefused(
            file.name, 1, "it has no section `answers`", "write a form with `registry decide` to a new file"
        )
    problems = [
        FormRefused(
            file.name,
            lines.get((key,), 1),
            f"a form has no key {key!r:.80}",
            did_you_mean(closest(key, _KEYS), f"its keys are {', '.join(_KEYS)}"),
        )
        for key in value
        if key not in _KEYS
    ]
    if value.get("form") != FORM:
        problems.append(
            FormRefused(file.name, lines.get(("form",), 1), f"it is not {FORM}", "leave that line as it was")
        )
    raise_any(problems)
    answers = {path: answer for path, answer in value["answers"].items() if answer is not None}
    if not answers:
        raise FormUnanswered(file.name)
    return FilledForm(file.name, Digest.of(data), value, answers, lines)


def answer_refused(form: FilledForm, problem: AnswerProblem) -> AnswerRefused:
    """The refusal of an answer, with the line of what is wrong in it."""
    return AnswerRefused(
        form.name,
        form.line_inside(problem.path, problem.place),
        f"{problem.path}{problem.place}",
        problem.reason,
        problem.remedy,
    )


def form_text(version: Version, current: SignedRecord, questions: tuple[OpenQuestion, ...], name: str) -> str:
    """The form as it is handed out. Whatever comes from a record is in quotes, so that it is YAML whatever it holds."""
    lines = [
        f"# Open questions of the modification record of {version.label}.",
        "#",
        "# Write an answer behind a colon. What is left empty stays open; where nobody knows, write {unknown: the reason}.",
        f"# Then sign it with your own key: registry decide {version.label} --form {name} --key YOUR.key",
        "# Answers are signed and kept for ever, in the name of whoever signs them. None of them is an approval.",
        *_abbreviations(questions),
        f"form: {FORM}",
        f"version: {json.dumps(version.label)}",
        f"record_id: {json.dumps(current.record.record_id)}",
        f"record: {json.dumps(str(current.digest))}",
        "asserted_by:  # your name, as the trust file has it for your key; your role stands there too. May stay empty",
        "answers:" if questions else "answers: {}",
    ]
    for area, group in groupby(questions, key=lambda question: question.area):
        lines += ["", f"  # {area} owes these; signed with a key of the role {' or '.join(AREA_ROLES[area])}"]
        for question in group:
            part = f", of {json.dumps(question.part)}" if question.part else ""
            lines += [
                "",
                f"  # {question.rule.label}{part} ({question.rule.answers})",
                f"  # answer: {question.rule.description}",
                *(
                    f"  # or: {{not_applicable: {name}}}, where {WHY_NOT_APPLICABLE[name]}"
                    for name in question.rule.not_applicable
                ),
                f"  # open: {json.dumps(reason_text(question.reason))}",
                f"  {question.path}:",
            ]
    return "\n".join(lines) + "\n"


def _abbreviations(questions: tuple[OpenQuestion, ...]) -> list[str]:
    """What the clauses of the questions are short for, as far as they name it."""
    clauses = " ".join(question.rule.answers for question in questions)
    named = [source for source in field_rules().sources if re.search(rf"\b{re.escape(source.short)}\b", clauses)]
    if not questions:
        return []
    law = "# Behind each question stands the clause that asks it; Art. and Annex are of the AI Act, Regulation (EU) 2024/1689."
    return [law, *(f"# {source.short}: {source.title}" for source in named if source.short != "AI Act")]
