"""The form of a version's open questions, as a file: written, read back, and what is said of a line that is not an answer.

It holds the open questions alone, by owner; what is filled in has its line, so that whatever is wrong is told where it stands.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any, get_args

from peft_registry.registry.compliance.answers import AnswerProblem, OpenQuestion
from peft_registry.registry.compliance.deciding import Decides, Purpose
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.form_rows import forms
from peft_registry.registry.compliance.stated import WHY_NOT_APPLICABLE
from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.intake.yaml import Place, read_yaml_with_lines
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.reports.questions import choices_of, sentence_of
from peft_registry.registry.reports.text import reason_text
from peft_registry.registry.reports.wording import DECIDED
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.answers import AREA_ROLES, Area
from peft_registry.schemas.codes import code
from peft_registry.schemas.errors import InputRefused, raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ASKED
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.version import Version

_MAX_BYTES = 1024 * 1024  # of a form
FORM = PREDICATE_TYPES["answers"]
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_WIDTH = 110  # characters of a line of a question
# why a question is open, where whoever answers it learns nothing by that
_SAYS_NOTHING = (ASKED.reason, code("not_answered_at_init"))
_KEYS = ("form", "version", "record_id", "record", "for", "asserted_by", "answers")


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
    why = "a file that is there is read as a form that was filled in, and {option} chooses the questions of a new one"
    fix = (
        "write to another file: `registry decide {version} {option} --form NEW.yml`; without {option}, {file} is signed"
    )

    file: Path
    version: str
    option: str


class FormUnanswered(InputRefused):
    what = "{file} holds no answer"
    why = "every question in it is left empty"
    fix = "write an answer behind a colon, and run the command again"

    file: str


@dataclass(frozen=True, slots=True)
class FilledForm:
    """A form as it was filled in. `answers` are those that are not empty; `lines` has the line of each value."""

    name: str
    data: bytes
    header: Mapping[str, Any]
    answers: Mapping[str, Any]
    lines: Mapping[Place, int]

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    @property
    def owner(self) -> Area | None:
        """Whose questions alone it asks; None: everybody's."""
        return next((area for area in get_args(Area) if area == self.header.get("for")), None)

    @property
    def paths(self) -> frozenset[str]:
        """Every field that stands in it, answered or not."""
        return frozenset(str(place[1]) for place in self.lines if place[0] == "answers" and len(place) > 1)

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
    return FilledForm(file.name, data, value, answers, lines)


def answer_refused(form: FilledForm, problem: AnswerProblem) -> AnswerRefused:
    """The refusal of an answer, with the line of what is wrong in it."""
    return AnswerRefused(
        form.name,
        form.line_inside(problem.path, problem.place),
        f"{problem.path}{problem.place}",
        problem.reason,
        problem.remedy,
    )


def form_text(
    version: Version,
    current: SignedRecord,
    questions: tuple[OpenQuestion, ...],
    name: str,
    *,
    owner: Area | None = None,
    purposes: Mapping[str, Purpose] | None = None,
    kept: Mapping[str, Any] | None = None,
    decisions: Sequence[DecidedQuestion] = (),
) -> str:
    """The form as it is handed out. Whatever comes from a record is in quotes, so that it is YAML whatever it holds.

    Args:
        version: that it is of.
        current: its newest record.
        questions: that are asked.
        name: of the file.
        owner: whose questions alone are asked; None: everybody's.
        purposes: what each decides, by path; None where every open field is asked.
        kept: answers that somebody typed and nobody signed yet, by path.
        decisions: what only persons decide, and a status waits for.
    """
    command = f"registry decide {version.label} --form {name}"
    lines = [
        f"# {_first_line(version, purposes)}",
        "#",
        "# One file for everybody who answers. Write an answer behind a colon; what is left empty stays open. Where nobody",
        "# knows, write {unknown: the reason}. Then each signs with a key of their own what is theirs to answer:",
        f"#   {command} --key YOUR.key",
        "# Answers are signed and kept for ever, in the name of whoever signs them. None of them is an approval.",
        f"form: {FORM}",
        f"version: {json.dumps(version.label)}",
        f"record_id: {json.dumps(current.record.record_id)}",
        f"record: {json.dumps(str(current.digest))}",
        *(() if owner is None else (f"for: {owner}",)),
    ]
    left = dict(kept or {})
    lines.append("answers:" if questions or left else "answers: {}")
    explained: tuple[tuple[str, str], ...] = ()
    for area, group in groupby(questions, key=lambda question: question.area):
        lines += ["", f"  # --- {area}: signed with a key of the role {' or '.join(AREA_ROLES[area])} ---"]
        for question in group:
            answer = f" {_as_yaml(left.pop(question.path))}" if question.path in left else ""
            asked = _asked(question, (purposes or {}).get(question.path), before=explained)
            lines += ["", *asked, f"  {question.path}:{answer}"]
            explained = choices_of(question.rule)
    lines += ["", *(f"  {path}: {_as_yaml(value)}" for path, value in left.items())] if left else []
    return "\n".join([*lines, *_decisions(version, decisions), *_clauses(questions)]) + "\n"


def _decisions(version: Version, decisions: Sequence[DecidedQuestion]) -> list[str]:
    """What an approver is asked, who signs it beside the approval and not in the form."""
    if not decisions:
        return []
    width = max(map(len, decisions))
    return [
        "",
        "# --- an approver who did not make it decides, where these questions are not answered otherwise: yes or no ---",
        *(f"#   {question:<{width}}  {DECIDED[question][0]}" for question in decisions),
        f"#   registry gate approve {version.label} --decide QUESTION=no --reason TEXT --key YOUR.key",
    ]


def _as_yaml(value: Any) -> str:
    """A JSON value on one line that YAML reads as the same: what YAML takes for a line break or for no character is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def _first_line(version: Version, purposes: Mapping[str, Purpose] | None) -> str:
    if purposes is None:
        return (
            f"Every field of the modification record of {version.label} that is open, or that its owner has not signed."
        )
    return f"Questions about {version.label}: each answer decides something. `--all` asks what is open besides."


def _asked(question: OpenQuestion, purpose: Purpose | None, *, before: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """A question in a sentence, what may be answered, and what the answer decides; `before` was explained at the last one."""
    rule = question.rule
    part = f" Of {json.dumps(question.part)}." if question.part else ""
    yield from (f"  # {line}" for line in wrap(f"{sentence_of(rule)}{part}", _WIDTH))
    choices = choices_of(rule)
    if choices and choices == before:
        yield "  #   the same words as above"
    else:
        width = max((len(value) for value, _ in choices), default=0)
        yield from (f"  #   {value:<{width}}  {meaning}" for value, meaning in choices)
    if not choices:
        yield f"  #   {' or '.join(rule.values) if rule.type == 'choice' else rule.description}"
    for name in rule.not_applicable:
        yield f"  #   {{not_applicable: {name}}} where {WHY_NOT_APPLICABLE[name]}"
    if question.reason not in _SAYS_NOTHING:
        yield f"  #   open: {json.dumps(reason_text(question.reason))}"
    if purpose is not None:
        yield f"  #   decides: {', '.join(_purpose_words(purpose))}"
        if purpose.after:
            yield f"  #   only after an answer such as {purpose.after}"


_STATUSES: Mapping[Decides, str] = {
    "model": "the status of the model",
    "system": "the status of the system",
    "flags": "what is said beside the status",
}


def _purpose_words(purpose: Purpose) -> Iterator[str]:
    yield from (_STATUSES[status] for status in purpose.statuses)
    if purpose.policy is not None:
        yield f"the gate of {purpose.policy}"
    yield from (forms().named(document).title for document in purpose.documents)


def _clauses(questions: tuple[OpenQuestion, ...]) -> list[str]:
    """Which clause asks what, behind all questions, and what the clauses are short for as far as they name it."""
    if not questions:
        return []
    clauses = {question.rule.path: question.rule.answers for question in questions}
    named = " ".join(clauses.values())
    sources = [source for source in field_rules().sources if re.search(rf"\b{re.escape(source.short)}\b", named)]
    return [
        "",
        "# The clauses that ask; Art. and Annex are of the AI Act, Regulation (EU) 2024/1689.",
        *(f"#   {path}: {clause}" for path, clause in clauses.items()),
        *(f"# {source.short}: {source.title}" for source in sources if source.short != "AI Act"),
    ]
