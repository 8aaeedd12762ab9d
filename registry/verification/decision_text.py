"""`evidence/DECISIONS.md` of a copy: what people signed about an artifact, in the order of the log, as the statements say it. Pure.

Whoever writes a copy needs no key for it: the file says nothing but what the statements beside it say, and whoever verifies the
copy makes it again from them. That is why it names fields as the statements name them, and has hardly any words of its own. Those
are part of its form: a copy that is handed out today is held against them in ten years. Other words are another form beside this.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.record_licences import licence_flags_of
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.rule_files import deriving_by
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
    for act in acts:
        yield ""
        yield f"## {_plain(_kind(act.statement.predicate_type))}, {act.at}, entry {act.index}"
        yield ""
        said = _of_record(act) if act.statement.predicate_type == _RECORD else _said(act.statement.predicate, "")
        yield from (f"- {line}" for line in said)
        yield f"- signed by: {_plain(act.person)} as {act.role}, key {act.key_id[:16]}…"
        yield f"- statement: {act.digest}"


def _kind(predicate_type: str) -> str:
    """What this project calls its own types, without what is the same of all; of others the whole."""
    own = re.fullmatch(r"urn:peft-registry:([a-z-]+):v\d+", predicate_type)
    return predicate_type if own is None else own[1]


def _of_record(act: SignedAct) -> Iterator[str]:
    """Which record it is, and what follows from it where this release derives by its edition."""
    stated = ModificationPredicate.from_json(act.statement.predicate)
    yield f"record: {_plain(stated.record.record_id)} of {_plain(str(stated.record.identity.result_name.value))}"
    yield f"edition: {_plain(stated.edition.name)}"
    if editions().standing(stated.edition) != "known":
        return
    with deriving_by(stated.edition.name):
        record = without_proposals(stated.record)
        verdicts = verdicts_of(record)
        for of, verdict in (("model", verdicts.gpai_modifier), ("system", verdicts.high_risk)):
            yield f"indicative status of the {of}: {verdict.status}" + (
                "" if verdict.row is None else f", {verdict.row}"
            )
        yield from (f"indicative flag: {flag.flag}, {flag.name}" for flag in verdicts.flags)
        yield from (f"indicative licence flag: {flag}" for flag in licence_flags_of(record))


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
