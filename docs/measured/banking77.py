"""Accuracy over seeds: 20 intents of Banking77, 400 rows to train and 400 to test on, three methods, labels scored.

    python -m docs.measured.banking77 FOLDER BASE BANKING77_CSV [--seeds N] [--hours H] > docs/measured/accuracy-banking77.json
    python -m docs.measured.banking77 rows BANKING77_CSV > banking77.csv

FOLDER keeps the home, the rows and what was measured; a run that was cut short goes on where it stopped, by method and seed, seeds
outermost. BASE is a folder or GGUF of SmolLM2-135M-Instruct. After H hours (default 3) no further arm is begun.
The likeliest of the twenty labels is the answer, whatever else the model would rather write: `registry evaluate --answers`.
The second command prints the rows of `compare-intents.yml`, which `registry compare` halves, trains on and asks.
Banking77 is CC BY 4.0 (Casanueva et al., NLP for Conversational AI 2020); nothing of its text is kept here.
"""

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from docs.measured.mitigation import registry

HERE = Path(__file__).resolve().parent
RATES = {"full": 1e-4, "lora": 1e-3, "prompt_tuning": 1e-2}  # the best of the sweeps on SmolLM2
INTENTS = 20
TRAINED = 20  # rows an intent
TESTED = 20  # likewise
SEEDS = range(7, 12)
HELD_OUT = 1  # rows an intent, for the loss
COMPARED = (6, 40)  # intents, and rows of each, of compare-intents.yml
_NAMES = ("train.jsonl", "validation.jsonl", "test.jsonl")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many of the rows one training got right; `base` is what the model got right before."""

    method: str
    seed: int
    version: str
    right: int
    rows: int
    base: int
    seconds: float  # of training, wall


def main(arguments: Sequence[str]) -> int:
    """Print what was measured, or rows; the exit code is that of a command that failed."""
    if arguments[:1] == ["rows"]:
        with Path(arguments[1]).open(encoding="utf-8-sig", newline="") as file:
            write_compared(csv.DictReader(file, strict=True), sys.stdout)
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--hours", type=float, default=3.0)
    wanted = parser.parse_args(arguments)
    until = time.monotonic() + 3600 * wanted.hours
    kept = wanted.folder / "accuracy.json"
    try:
        prepare(wanted.folder, wanted.base, wanted.rows)
        found = [Accuracy(**row) for row in json.loads(kept.read_text("utf-8"))] if kept.exists() else []
        for seed, method in ((seed, method) for seed in SEEDS[: wanted.seeds] for method in RATES):
            if any((one.seed, one.method) == (seed, method) for one in found):
                continue
            if found and time.monotonic() > until:
                sys.stderr.write(f"stopped  {wanted.hours:g} hours are used: {len(found)} trainings\n")
                break
            found.append(measure(wanted.folder, method, seed))
            kept.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", "utf-8")
    except subprocess.CalledProcessError as error:
        return error.returncode
    json.dump([asdict(one) for one in found], sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def split(rows: Iterable[Mapping[str, str]]) -> tuple[list[dict[str, Any]], ...]:
    """The rows to train on, of which the loss is measured, and to test on, of the first intents by name that have enough.

    The file's order does not matter.
    """
    needed = TRAINED + HELD_OUT + TESTED
    texts = first_intents(rows, INTENTS, needed)
    intents = list(texts)
    labels = [name.replace("_", " ") for name in intents]
    trained: list[dict[str, Any]] = []
    held_out: list[dict[str, Any]] = []
    tested: list[dict[str, Any]] = []
    for intent, label in zip(intents, labels, strict=True):
        ordered = texts[intent]
        learnt = [{"prompt": prompt(text), "completion": f" {label}"} for text in ordered[: TRAINED + HELD_OUT]]
        trained += learnt[:TRAINED]
        held_out += learnt[TRAINED:]
        tested += [
            {"id": f"{intent}-{place:02}", "prompt": prompt(text), "answers": label, "choices": labels}
            for place, text in enumerate(ordered[TRAINED + HELD_OUT : needed])
        ]
    return trained, held_out, tested


def first_intents(rows: Iterable[Mapping[str, str]], intents: int, needed: int) -> dict[str, list[str]]:
    """So many texts of each of the first intents by name that have them, ordered by their digest; a text that occurs twice is
    taken once."""
    texts: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        texts[row["category"]][hashlib.sha256(row["text"].encode()).hexdigest()] = row["text"]
    names = sorted(name for name, of_intent in texts.items() if len(of_intent) >= needed)[:intents]
    return {name: [text for _, text in sorted(texts[name].items())][:needed] for name in names}


def write_compared(rows: Iterable[Mapping[str, str]], file: TextIO) -> None:
    """The rows of compare-intents.yml as CSV."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("text", "category"))
    for intent, texts in first_intents(rows, *COMPARED).items():
        writer.writerows((text, intent) for text in texts)


def prompt(text: str) -> str:
    """What stands before a label."""
    return f"{' '.join(text.split())}\nIntent:"


def prepare(folder: Path, base: Path, rows: Path) -> None:
    """The home with its base, and the three files of rows; what is there already is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    if not (folder / _NAMES[-1]).exists():
        with rows.open(encoding="utf-8-sig", newline="") as file:
            parts = split(csv.DictReader(file, strict=True))
        for name, part in zip(_NAMES, parts, strict=True):
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in part), "utf-8")
    if not (home / "prepared").exists():
        registry("init", "--home", str(home), "--unencrypted", "--no-example")
        registry("base", "add", str(base), "--name", "smollm2", "--home", str(home))
        (home / "prepared").touch()


def measure(folder: Path, method: str, seed: int) -> Accuracy:
    """Train with the method and seed, unless that is registered, and score the labels."""
    home = str(folder / "home")
    paths = [
        f"data.{part}.path={(folder / name).resolve()}"
        for part, name in zip(("train", "validation"), _NAMES, strict=False)
    ]
    rate = ("--learning-rate", f"{method}={RATES[method]:g}")
    options = ("--methods", method, *rate, "--no-latency", "--no-mirror", "--output", "json")
    one_start = ["prompt_tuning.seeds=1"] if method == "prompt_tuning" else []
    words = (f"training.seed={seed}", *one_start, *paths)
    arm = json.loads(registry("compare", str(HERE / "banking77.yml"), "--home", home, *options, *words))["arms"][0]
    version = arm["version"]
    asked = ("--answers", str(folder / _NAMES[-1]), "--no-placebo", "--output", "json")
    record = json.loads(registry("evaluate", version, "--home", home, *asked))
    counts = {one["arm"]: one for one in record["results"] if one["metric"] == "accuracy"}
    base, after = counts["base"], counts["adapted"]
    right, before = (round(one["value"] * one["n"]) for one in (after, base))  # a share of whole rows
    return Accuracy(method, seed, version, right, after["n"], before, arm["wall_seconds"]["value"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
