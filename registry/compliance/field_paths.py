"""Paths of fields, read here and nowhere else: `data[0].licence` in a record, `data[].licence` in the rules. Pure.

A record has arrays at its top alone, so a path has one position at most.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from peft_registry.schemas.modification import ASKED, WRITTEN_WHERE_STATED

_ITEM = re.compile(r"(?P<section>[a-z_]+)\[(?P<position>[0-9]{0,9})\]")


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A path in its parts.

    Attributes:
        section: the array that the field is of an item of; empty for a field of no array.
        position: of that item; None in the path of a rule, and where there is no array.
        field: the rest, `art4a.deletion`; of a field of no array the whole path.
    """

    section: str
    position: int | None
    field: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """The parts of a path. Any other text becomes a field of that name, which no record has."""
        item = _ITEM.match(text)
        if item is None or not text[item.end() :].startswith("."):
            return cls("", None, text)
        position = int(item["position"]) if item["position"] else None
        return cls(item["section"], position, text[item.end() + 1 :])

    def __str__(self) -> str:
        if not self.section:
            return self.field
        position = "" if self.position is None else self.position
        return f"{self.section}[{position}].{self.field}"

    @property
    def rule(self) -> str:
        """The path of the field's rule."""
        return str(self.at(None))

    @property
    def item(self) -> tuple[str, int] | None:
        """Section and position of the item that the field is of; None for a field of no item."""
        return None if self.position is None else (self.section, self.position)

    @property
    def outermost(self) -> str:
        """The section of the record that the field is in; of a field in none its own name."""
        return self.section or self.field.partition(".")[0]

    @property
    def _keys(self) -> tuple[str | int, ...]:
        item = () if self.position is None else (self.section, self.position)
        return (*item, *self.field.split("."))

    def at(self, position: int | None) -> "FieldPath":
        """The same field of another item of its array; a field of no array is itself."""
        return FieldPath(self.section, position if self.section else None, self.field)

    def beside(self, rule: str) -> str:
        """The path of the field with that rule, in the same item where it is of the same array."""
        other = FieldPath.parse(rule)
        return str(other.at(self.position)) if other.section == self.section else rule

    def is_beside(self, other: "FieldPath") -> bool:
        """False for the fields of two items of an array, such as two bases."""
        return self.section != other.section or self.position is None or self.position == other.position

    def named(self, names: Mapping[str, Sequence[str]]) -> str:
        """The path with the item's name in place of its position, as whoever states facts writes it."""
        if self.position is None:
            return str(self)
        return f"{self.section}.{names[self.section][self.position]}.{self.field}"

    def place_in(self, document: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The JSON object of a record that holds the value, and its key there.

        Raises:
            KeyError, IndexError: the record has no such section or item.
        """
        *parents, key = self._keys
        holder: Any = document  # objects and lists in turn
        for part in parents:
            holder = holder[part]
        if self.rule in WRITTEN_WHERE_STATED:  # it is open where it is not written
            holder.setdefault(key, ASKED.to_json())
        return holder, str(key)
