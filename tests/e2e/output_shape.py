"""The form of what a command prints: the same words and lines, without what differs from run to run or machine to machine."""

import re


def masked(text: str) -> str:
    """Without digests, keys, dates, the log's name and the width of columns."""
    for pattern, shown in (
        (r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:]{8}Z)?", "DATE"),
        (r"sha256:([0-9a-f]{12})?…", "sha256:…"),
        (r"key [0-9a-f]{12}…", "key …"),
        (r"peft-registry/[0-9a-f]+…?", "peft-registry/ID"),
        (r"[0-9.]+ kB", "SIZE"),
        (r"(?<=\S) {2,}", "  "),
    ):
        text = re.sub(pattern, shown, text)
    return text


def masked_figures(text: str) -> str:
    """As `masked`, and without every figure that depends on the machine or on the training."""
    text = re.sub(r"(?<=device ).*", "DEVICE", text)
    text = re.sub(r"(?<=energy: ).*", "ENERGY", text)
    text = re.sub(r"(?<=opposite )[-−+]?\d+:? [^;\n]*", "N: CONCLUSION", text)
    text = re.sub(r"(?<=% complete, ).*", "N fields open (WHOSE)", text)
    return re.sub(r"(?<![\w:.-])[−+]?\d[\d.:]*(e[+-]?\d+)?", "N", masked(text))
