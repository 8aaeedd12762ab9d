"""Editions: by which fields, codes, rules and thresholds a record was derived, and what this release makes of the named one.

An edition is data. What it is digested over holds no prose: a label, a clause or a sentence may be improved at any time. A frozen
edition has its digest in `rules/editions.json`, and a test computes it anew; a draft has none, and is known by what it is now.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from peft_registry.registry.compliance.rule_files import DERIVED_BY, is_earlier, rules_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import CODES
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest

_PROSE = frozenset(
    {
        *(
            "label",
            "means",
            "answers",
            "notice",
            "because",
            "comment",
            "sources",
            "source",
            "title",
            "weight",
            "subject",
            "instead",
        ),
        *("reason", "reasons", "denied", "clause", "effect", "action", "retrieved", "law_as_of", "rule_set", "version"),
    }
)
"""Keys of those files under which stands what people read; nothing follows from it."""

Standing = Literal["known", "newer", "draft", "contradicted"]
"""What a release makes of the edition that a record names.

known: it derives by that very edition. newer: the name follows the newest that it has. draft: it has another draft of that name.
contradicted: it has that name, frozen, with another digest; or it has no such name, and should.
"""

Announced = Callable[[Edition], bool]
"""Whether a person whose role may has announced an edition in the log."""

FiguresAnnounced = Callable[[int], bool]
"""Whether a person whose role may has announced an edition to which these figures of evaluations belong, or later ones."""


@dataclass(frozen=True, slots=True)
class Editions:
    """The editions of a release, oldest first; the last is the one that new records follow."""

    known: tuple[Edition, ...]

    @property
    def newest(self) -> Edition:
        return self.known[-1]

    def standing(self, edition: Edition) -> Standing:
        """What this release makes of an edition."""
        own = next((known for known in self.known if known.name == edition.name), None)
        if own is None:
            return "newer" if _order(edition.name) > _order(self.newest.name) else "contradicted"
        if own.digest == edition.digest:
            return "known"
        return "draft" if own.draft or edition.draft else "contradicted"


def _order(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.replace("-", ".").split("."))


@cache
def editions() -> Editions:
    """The editions that this release derives by."""
    listed = rules_of("editions")["editions"]
    return Editions(
        tuple(
            Edition(name=entry["name"], digest=Digest.parse(entry["digest"]))
            if entry["digest"] is not None
            else Edition(name=entry["name"], digest=edition_digest(entry["name"]), draft=True)
            for entry in listed
        )
    )


@cache
def edition_digest(name: str) -> Digest:
    """SHA-256 of what an edition derives by: rules without their prose, and the codes with the kinds of their parameters.

    That of an earlier edition is of the files in its folder, any other's of what this release derives by now.
    """
    earlier = name if is_earlier(name) else ""
    figures = figures_of(name)
    content = {
        "rules": {file: _without_prose(rules_of(file, earlier)) for file in DERIVED_BY},
        "codes": rules_of("codes", earlier) if earlier else parameters_of_codes(),
        **({} if figures is None else {"figures": figures}),
    }
    return canonical_digest(content)


def figures_of(name: str) -> int | None:
    """The edition of the figures of evaluations that belongs to an edition; None where none is said, or it is not ours."""
    listed = rules_of("editions")["editions"]
    return next((entry.get("figures") for entry in listed if entry["name"] == name), None)


def parameters_of_codes() -> dict[str, Any]:
    """The kinds of the parameters of each code, as JSON."""
    return {name: dict(meaning.parameters) for name, meaning in CODES.items()}


def _without_prose(node: Any) -> Any:  # any JSON value
    if isinstance(node, dict):
        return {key: _without_prose(value) for key, value in node.items() if key not in _PROSE}
    if isinstance(node, list):
        return [_without_prose(item) for item in node]
    return node
