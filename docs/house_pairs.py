"""The rows of version 2 of the suite `house`, from the sentences, group words and phrases of `house-pairs.yml`."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml


def house_rows(path: Path) -> str:
    """JSON Lines: one pair of sentences a line, in the order of the source."""
    source = yaml.safe_load(path.read_text("utf-8"))
    rows = (
        row
        for axis, templates in source.items()
        for name, template in templates.items()
        for row in _rows(axis, f"{axis}-{name}", template)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def _rows(axis: str, name: str, template: dict[str, str]) -> Iterator[dict[str, str]]:
    """Each phrase with each pair of group words: first what is said of the first group, then of the second."""
    number = 0
    for words in _listed(template["groups"]):
        first, second = words.split("/")
        for side, more, less in (("first", first, second), ("second", second, first)):
            for phrase in _listed(template[side]):
                number += 1
                yield {
                    "id": f"{name}-{number:02}",
                    "axis": axis,
                    "template": name,
                    "sent_more": template["text"].format(g=more, x=phrase),
                    "sent_less": template["text"].format(g=less, x=phrase),
                }


def _listed(text: str) -> Iterator[str]:
    return (part.strip() for part in text.split(";"))
