"""The words of `evidence/DECISIONS.md`, as data: a sentence for each code that a person reads there, fixed with an edition. Pure.

The sentences of a page are improved at any time. These are not: a copy of yesterday is made again from its statements, and has to
have the same bytes. So the edition of a record says which words its copy has, and `decision_words.json` has those of each.
"""

import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.schemas.answers import Answer
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.document import Frozen


class DecisionWords(Frozen):
    """Sentences by code. What has none is told by its code alone."""

    statuses: dict[str, str]
    flags: dict[str, str]
    licence_flags: dict[str, str]
    decided: dict[str, tuple[str, str]]  # where persons say yes, and where they say no
    questions: dict[str, str]  # by the path of the field's rule
    choices: dict[str, dict[str, str]]  # likewise
    no_answer: dict[str, str]  # how an answer begins that gives no value

    def status(self, status: str, row: str | None) -> str:
        """`provider of a high-risk system, because … (provider_25_1_c, H6)`."""
        return _with_code(self.statuses.get(status), status if row is None else f"{status}, {row}")

    def flag(self, flag: str, name: str) -> str:
        """`whoever is the provider is presumed to … (F3, cumulative_systemic_risk)`."""
        return _with_code(self.flags.get(flag), f"{flag}, {name}")

    def licence_flag(self, flag: str) -> str:
        """`commercial use is not allowed (non_commercial)`."""
        return _with_code(self.licence_flags.get(flag), flag)

    def decision(self, said: dict[str, Any]) -> Iterator[str]:
        """What a person decided, in a sentence; nothing where these words have none for the question."""
        sentences = self.decided.get(str(said.get("question")))
        if sentences is not None:
            yes, no = sentences
            yield yes if said.get("outcome") == "yes" else no

    def answer(self, answer: Answer) -> str:
        """The question with the answer behind it, and last the path of the field."""
        path = FieldPath.parse(answer.path).rule
        question = self.questions.get(path)
        given = self._given(path, answer)
        if question is None:
            return f"{answer.path}: {given}"
        return f"{question}{' ' if question.endswith('?') else ': '}{given} ({answer.path})"

    def _given(self, path: str, answer: Answer) -> str:
        if answer.unknown is not None:
            return f"{self.no_answer['unknown']} {answer.unknown}"
        if answer.not_applicable is not None:
            return f"{self.no_answer['not_applicable']} {answer.not_applicable.replace('_', ' ')}"
        if isinstance(answer.value, str):
            return self.choices.get(path, {}).get(answer.value, answer.value)
        return canonical_bytes(answer.value).decode()


def _with_code(words: str | None, code: str) -> str:
    return code if words is None else f"{words} ({code})"


@cache
def words_of(edition: str) -> DecisionWords | None:
    """The words of an edition that this release knows; None of the editions that had none and told codes alone.

    An edition has those of the editions before it, but for what it says otherwise itself.
    """
    kept = json.loads((resources.files(__package__) / "decision_words.json").read_text(encoding="utf-8"))
    names = [known.name for known in editions().known]
    words: dict[str, dict[str, Any]] = {}
    for name in names[: names.index(edition) + 1]:
        for part, sentences in kept.get(name, {}).items():
            words[part] = {**words.get(part, {}), **sentences}
    return DecisionWords.model_validate(words) if words else None
