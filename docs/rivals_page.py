"""The page of what other tools state of one adapter and one merge, from a kept result; what each has that ours lacks is written."""

import json
from pathlib import Path
from typing import Any

from docs.measured.rivals import SAME
from docs.tables import table

HEAD = """\
# What other tools say of the same adapter and merge

Generated from `docs/measured/rivals.json`, which `python -m docs.measured.rivals FOLDER` makes. Two adapters of the embedded base
were trained for an epoch, registered, and merged with the weights 0.7 and 0.3; each tool was then run on copies of the same
folders, as it is and after a change that its statement should notice. Run on {date}, with the versions in the table.

*Holds* is whether what it said was so. *Says nothing* is not a fault: most of these tools have another purpose, and say what they
are for. A statement that *does not hold* is one that a reader would take for a fact; *the same words* stand for two things, and a
reader cannot tell which. A card and a tag say what whoever wrote them typed.
"""
LACKS_HEAD = """\
## What each has that this registry lacks

Written by hand, from using them for the table above and from their documentation.
"""
LACKS: tuple[tuple[str, str], ...] = (
    (
        "peft card",
        "it is written by the library that everybody trains with, without anybody asking for it; the Hub "
        "shows and searches it",
    ),
    (
        "Hub model card",
        "a public place with search, discussions, downloads and access requests; evaluation results from "
        "other people beside the author's",
    ),
    (
        "MLflow",
        "a server with a web page for runs, figures over steps, traces and prompts (our copy is shown there); "
        "permissions; models of any library, with a signature of their inputs; serving and deployment; webhooks",
    ),
    (
        "mergekit card",
        "SLERP, model stock, passthrough (layers stacked), mixtures of experts, tokenizer surgery, "
        "evolutionary search for weights; merges larger than memory on a GPU; merges of whole models without "
        "a common base",
    ),
    (
        "model_signing",
        "signatures by an identity (OIDC) or a certificate without a key of one's own, and by PKCS#11; a public log "
        "that others watch; other projects verify it",
    ),
    (
        "ModelScan",
        "scanners for Keras, TensorFlow, NumPy and joblib files; an answer for a folder of any kind, without a registry",
    ),
    (
        "aisbom",
        "a bill of materials in CycloneDX and SPDX, which other tools of supply chains read; scanners for "
        "weights of many formats and for what a project depends on",
    ),
    (
        "DVC",
        "data of any size versioned with code in git; pipelines that run again only what changed; remote "
        "storage of many kinds; branches and pull requests as the way to approve",
    ),
    (
        "W&B, offline",
        "a service with live figures of runs, reports, sweeps and teams; the graph of runs that made and used an "
        "artifact, across machines and projects; automations",
    ),
)
WORDS = {True: "holds", False: "**does not hold**", SAME: "**the same words as before**", None: "says nothing of it"}


def rivals_page(kept: Path) -> str:
    """The page, from what each tool said."""
    said: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    rows: list[dict[str, Any]] = said["rows"]
    lines = [HEAD.format(date=said["date"])]
    headings = ("tool", "asked", "it says", "what is so", "")
    cells = [[f"{r['tool']} {r['version']}", r["asked"], r["said"], r["truth"], WORDS[r["holds"]]] for r in rows]
    lines += [*table(headings, cells), "", LACKS_HEAD]
    tools = {r["tool"] for r in rows}
    lines += table(("tool", "has, and ours lacks"), [list(entry) for entry in LACKS if entry[0] in tools])
    return "\n".join(lines) + "\n"
