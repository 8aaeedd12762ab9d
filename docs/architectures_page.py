"""The page of what each family of models can do here, from what `docs/measured/architectures.py` keeps. No cell is typed."""

import json
from collections.abc import Mapping
from pathlib import Path

from docs.measured.architectures import BACKWARDS, FAMILIES, STEPS, WORKS
from docs.tables import table

_HEADINGS = (
    "Family",
    "Reads only backwards",
    "Add",
    "Train",
    "Evaluate",
    "Merge",
    "Train on 4 bits",
    "Merge from 4 bits",
)
_NOT_REACHED = "–"
_HEAD = """\
# Architectures

Generated from `docs/measured/architectures.json`, which `python -m docs.measured.architectures` makes with {libraries}.

Each row is a tiny model of random numbers, made from the configuration class of transformers and stored in bf16. It went
through the commands: `base add`, `train` with LoRA on all linear layers, `evaluate` on some items of a suite, `merge`, and
`train` with QLoRA and `merge` of that. What was trained and merged was verified; a merge is compared with base and adapter side
by side before it is registered. "Reads only backwards" is measured on the model: its last token is exchanged, and no earlier
answer may move.

A row says that names, layouts and shapes of a family are understood. It says nothing about what a trained model of that family
can do, nor about speed or memory at its real size. A family that is not listed may work: what transformers builds as a causal
language model is not refused for its name.

{works} of {all} rows work in every column. A cell that does not say `works` names the [error](errors.md) that refuses it, with
its exit code; `{not_reached}` stands where a column needs one that was refused.
"""
_REFUSED = """\
## What `base add` refuses

| Kind | Why |
|---|---|
| BERT, RoBERTa and others without `is_decoder`, XLM without `causal`, XLNet | they see the token that they are asked for |
| an encoder and a decoder (T5, BART, Marian, Whisper) | the part that answers needs what the other has read |
| a head for classes, spans or masks; a model without a head | it does not answer with the next token |
| models of pictures or sound alone | they do not answer with text |
| RWKV | it divides its own weights while it answers, and an adapter beside them is not divided with them |
| a model type that transformers does not know, or has no causal model of | nothing could load it |
"""


def architectures_page(path: Path) -> str:
    """The page, from the kept file."""
    kept = json.loads(path.read_text("utf-8"))
    rows: Mapping[str, Mapping[str, str]] = kept["families"]
    libraries = ", ".join(f"{name} {number}" for name, number in kept["versions"].items())
    works = sum(works_everywhere(row) for row in rows.values())
    head = _HEAD.format(libraries=libraries, works=works, all=len(rows), not_reached=_NOT_REACHED)
    shown = [(name, *_cells(rows[name])) for name in FAMILIES if name in rows]
    return "\n".join([head, *table(_HEADINGS, shown), "", _REFUSED])


def works_everywhere(row: Mapping[str, str]) -> bool:
    """Whether every step of a family works."""
    return all(row.get(step) == WORKS for step in STEPS)


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    return (row[BACKWARDS], *(row.get(step, _NOT_REACHED) for step in STEPS))
