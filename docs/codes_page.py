"""`docs/reference/codes.md`: every code that signed documents hold, with its sentence, parameters and source."""

import re
from collections.abc import Mapping

from docs.tables import table
from peft_registry.schemas.codes import RETIRED, Meaning
from peft_registry.schemas.codes.evaluations import EVALUATION_CODES
from peft_registry.schemas.codes.records import RECORD_CODES

_INTRODUCTION = """\
# Codes

Signed documents say how a figure came about, and why there is none, by a code with typed parameters:

```json
{"code": "compute_of_runs_not_recorded", "runs": ["a:1", "b:1"]}
```

Whoever shows the document renders the sentence. What a code means never changes: another meaning gets another name. Its sentence
may be improved at any time, because no signature and no comparison holds it. A reader that does not know a code shows its name
and its parameters. Text in the place of a code was written by a person, or before there were codes.

Parameters are a `number`, a `text`, `names` (a list of texts), a `reason` (a code or a text) or `reasons` (a list of those).
"""

_HOW_IT_IS_FORMATTED = re.compile(r"\{(\w+):[^}]*\}")


def codes_page() -> str:
    """The page in Markdown: a table for modification records, and one for evaluations."""
    lines = [
        _INTRODUCTION,
        "## Of modification records\n",
        *_rows(RECORD_CODES),
        "\n## Of evaluations\n",
        *_rows(EVALUATION_CODES),
        "",
    ]
    return "\n".join(lines)


def _rows(codes: Mapping[str, Meaning]) -> list[str]:
    rows = [
        (
            f"`{name}`" + (" (retired)" if name in RETIRED else ""),
            _HOW_IT_IS_FORMATTED.sub(r"{\1}", meaning.sentence),
            ", ".join(f"{parameter} ({kind})" for parameter, kind in meaning.parameters.items()),
            meaning.source,
        )
        for name, meaning in codes.items()
    ]
    return table(("Code", "Sentence", "Parameters", "Source"), rows)
