"""`evidence/DECISIONS.md` of a copy: what people signed about an artifact, in the order of the log, as the statements say it. Pure.

Whoever writes a copy needs no key for it: the file says nothing but what the statements beside it say, and whoever verifies the
copy makes it again from them. That is why it names fields as the statements name them, and has hardly any words of its own. Those
are part of its form: a copy that is handed out today is held against them in ten years. Other words are another form beside this.

What follows from a record is told by the record's edition: in codes until 2027-01, and since then in the sentences that
`decision_words.json` has for that edition, each with its code behind it. Every such line begins alike, because a release that lacks
the edition leaves these lines out of its comparison, and so verifies a copy that a later release wrote.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.record_verdicts import RecordVerdicts, verdicts_of
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.verification.decision_words import DecisionWords, words_of
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.statement import (
    MODIFICATION_V1,
    MODIFICATION_V2,
    PROVENANCE,
    TEST_RESULT,
    Statement,
    urn,
)
from peft_registry.schemas.values import Timestamp

FORM = 2
"""The one that is written. Form 1 was gathered from the home that wrote the copy, and nothing in the copy shows it."""

_FORM = re.compile(rb"^Form (\d{1,9}) ", re.MULTILINE)
# what a screen would obey instead of show: control characters, and marks that turn its direction
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKUP = re.compile(r"([\\`*_{}\[\]|#~!])")
_RECORD = urn("modification", 3)
_DECISION = urn("decision")
_ANSWERS = urn("answers")
_MADE_NOT_DECIDED = frozenset(
    {
        *(PROVENANCE, TEST_RESULT, MODIFICATION_V1, MODIFICATION_V2),
        *map(urn, ("registration", "base", "evaluation-plan", "bias-evaluation", "card", "observations")),
    }
)
"""What a command says, and no person decides. Whatever else is signed stands in the file, also of a kind that is made up later."""
_DERIVED = "- indicative "
"""What a line begins with that follows from a record by its edition."""


@dataclass(frozen=True, slots=True)
class SignedAct:
    """A statement, whose key signed it as the trust file has it, and where and when it entered the log."""

    statement: Statement
    digest: Digest
    person: str
    role: str
    key_id: str
    at: Timestamp
    index: int


def decision_text(names: Sequence[str], acts: Sequence[SignedAct]) -> bytes | None:
    """The file, Markdown in UTF-8; None where nobody decided anything. Equal values give equal bytes.

    Args:
        names: that the artifact is registered under.
        acts: all statements about it, in the order of the log.
    """
    listed = [act for act in acts if act.statement.predicate_type not in _MADE_NOT_DECIDED]
    if all(act.statement.predicate_type == _RECORD for act in listed):
        return None
    return "".join(f"{line}\n" for line in _lines(names, listed)).encode()


def form_of(text: bytes) -> int:
    """The form that a file says it has; 1 where it says none."""
    stated = _FORM.search(text)
    return FORM - 1 if stated is None else int(stated[1])


def without_derived(text: bytes) -> bytes:
    """The file without what follows from records: a release that lacks their edition does not derive it."""
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(_DERIVED.encode()))


def _lines(names: Sequence[str], acts: Sequence[SignedAct]) -> Iterator[str]:
    yield f"# What people signed about {', '.join(map(_plain, names))}"
    yield ""
    yield f"Form {FORM} of this file. It says what the statements beside it say, in the order of the log: `registry verify FOLDER`"
    yield "makes it again from them, and refuses any other. What of it counts today, the registry says. Not legal advice."
    words: DecisionWords | None = None  # those of the newest record so far: nobody decides about a version without one
    for act in acts:
        yield ""
        yield f"## {_plain(_kind(act.statement.predicate_type))}, {act.at}, entry {act.index}"
        yield ""
        if act.statement.predicate_type == _RECORD:
            stated = ModificationPredicate.from_json(act.statement.predicate)
            words = _words(stated.edition)
            yield from _of_record(stated, words)
        else:
            yield from (f"{_DERIVED}reading: {_plain(text)}" for text in _read(act.statement, words))
            yield from (f"- {line}" for line in _said(act.statement.predicate, ""))
        yield f"- signed by: {_plain(act.person)} as {act.role}, key {act.key_id[:16]}…"
        yield f"- statement: {act.digest}"


def _kind(predicate_type: str) -> str:
    """What this project calls its own types, without what is the same of all; of others the whole."""
    own = re.fullmatch(r"urn:peft-registry:([a-z-]+):v\d+", predicate_type)
    return predicate_type if own is None else own[1]


def _words(edition: Edition) -> DecisionWords | None:
    """The words of an edition; None where it has none, or this release does not derive by it."""
    return words_of(edition.name) if editions().standing(edition) == "known" else None


def _of_record(stated: ModificationPredicate, words: DecisionWords | None) -> Iterator[str]:
    """Which record it is, and what follows from it where this release derives by its edition: first, where that has words."""
    named = (
        f"- record: {_plain(stated.record.record_id)} of {_plain(str(stated.record.identity.result_name.value))}",
        f"- edition: {_plain(stated.edition.name)}",
    )
    if words is not None:
        yield from _derived(stated, words)
        yield from named
        return
    yield from named
    if editions().standing(stated.edition) == "known":
        yield from _derived_in_codes(stated)


def _derived(stated: ModificationPredicate, words: DecisionWords) -> Iterator[str]:
    verdicts, licence_flags = _follows(stated)
    for of, verdict in (("model", verdicts.gpai_modifier), ("system", verdicts.high_risk)):
        yield f"{_DERIVED}status of the {of}: {words.status(verdict.status, verdict.row)}"
    yield from (f"{_DERIVED}flag: {words.flag(flag.flag, flag.name)}" for flag in verdicts.flags)
    yield from (f"{_DERIVED}licence flag: {words.licence_flag(flag)}" for flag in licence_flags)


def _derived_in_codes(stated: ModificationPredicate) -> Iterator[str]:
    """As copies have it whose record is of an edition without words."""
    verdicts, licence_flags = _follows(stated)
    for of, verdict in (("model", verdicts.gpai_modifier), ("system", verdicts.high_risk)):
        row = "" if verdict.row is None else f", {verdict.row}"
        yield f"{_DERIVED}status of the {of}: {verdict.status}{row}"
    yield from (f"{_DERIVED}flag: {flag.flag}, {flag.name}" for flag in verdicts.flags)
    yield from (f"{_DERIVED}licence flag: {flag}" for flag in licence_flags)


def _follows(stated: ModificationPredicate) -> tuple[RecordVerdicts, tuple[str, ...]]:
    """Both verdicts and the licence flags, by the edition of the record."""
    with deriving_by(stated.edition.name):
        record = without_proposals(stated.record)
        return verdicts_of(record), licence_flags_of(record)


def _read(statement: Statement, words: DecisionWords | None) -> Iterator[str]:
    """What a person decided or answered, in sentences: beside it stands what was signed."""
    if words is None:
        return
    if statement.predicate_type == _DECISION:
        yield from words.decision(statement.predicate)
    elif statement.predicate_type == _ANSWERS:
        with suppress(ValidationError):  # an answer of another form is told as it was signed
            yield from map(words.answer, AnswersPredicate.from_json(statement.predicate).answers)


def _said(value: Any, path: str) -> Iterator[str]:  # any JSON value
    """Each value that a predicate holds, under its path. A nonce says nothing, and null that nothing is said."""
    if isinstance(value, dict):
        for key in sorted(value):
            if value[key] is not None and key != "nonce":
                yield from _said(value[key], f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _said(item, f"{path}[{position}]")
    else:
        text = value if isinstance(value, str) else json.dumps(value)
        yield f"{_plain(path)}: {_plain(text)}"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    shown = _OBEYED.sub(lambda match: f"\\u{ord(match.group()):04x}", " ".join(text.split()))
    escaped = _MARKUP.sub(r"\\\1", shown)
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
