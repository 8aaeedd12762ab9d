"""The mitigation task: counterfactual rows of one half of CrowS-Pairs, four methods, the other half as the test.

    python docs/measured/mitigation.py FOLDER BASE CROWS_PAIRS_CSV [--seeds N] [--hours H] >compare-mitigation.json

FOLDER keeps the home, both halves and the rows; a run that was cut short goes on where it stopped, by method and seed, seeds
outermost. BASE is a folder or GGUF of SmolLM2-135M-Instruct. After H hours (default 3) no further seed is begun.
CrowS-Pairs is CC BY-SA 4.0 (Nangia et al., EMNLP 2020); to run this is to accept it, and nothing of its text is kept here.
"""

import argparse
import csv
import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
METHODS = ("lora", "bottleneck", "ia3", "prompt_tuning")
RATES = {"lora": 1e-3, "bottleneck": 1e-3, "ia3": 1e-2, "prompt_tuning": 1e-2}  # the best of the sweeps on SmolLM2
AXES = ("gender", "race", "religion", "nationality")
COLUMNS = ("sent_more", "sent_less")


def main(arguments: Sequence[str]) -> int:
    """Print the comparison; the exit code is that of a command that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=3.0)
    wanted = parser.parse_args(arguments)
    until = time.monotonic() + 3600 * wanted.hours
    try:
        rows = prepare(wanted.folder, wanted.base, wanted.pairs)
        found = ""
        for seeds in range(1, wanted.seeds + 1):
            if found and time.monotonic() > until:
                sys.stderr.write(f"stopped  {wanted.hours:g} hours are used: {seeds - 1} of {wanted.seeds} seeds\n")
                break
            found = compare(wanted.folder, rows, seeds)
            (wanted.folder / "compare-mitigation.json").write_text(found, "utf-8")
    except subprocess.CalledProcessError as error:
        return error.returncode
    sys.stdout.write(found)
    return 0


def halves(text: str) -> tuple[str, str]:
    """The rows to learn from and those to be tested on, as CSV: ordered by the digest of their sentences, the first half is
    tested. So the halves depend on the file's rows and not on their order."""
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    places = [header.index(column) for column in COLUMNS]

    def digest(row: list[str]) -> str:
        return hashlib.sha256("\n".join(row[place] for place in places).encode()).hexdigest()

    ordered = sorted(rows, key=digest)
    middle = len(rows) // 2
    return _csv([header, *ordered[middle:]]), _csv([header, *ordered[:middle]])


def sentences(half: str) -> str:
    """Both sentences of every pair, one JSON object a line."""
    rows = csv.DictReader(io.StringIO(half, newline=""))
    return "".join(json.dumps({"text": row[column]}) + "\n" for row in rows for column in COLUMNS)


def prepare(folder: Path, base: Path, pairs: Path) -> Path:
    """The home with base and suite, and the file of rows to learn from; what is there already is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = folder / "counterfactual.jsonl"
    home = folder / "home"
    sample = folder / "training-half.jsonl"
    if not rows.exists():
        learnt, tested = halves(pairs.read_text("utf-8-sig"))
        sample.write_text(sentences(learnt), "utf-8")
        (folder / "crows_pairs_held_out.csv").write_text(tested, "utf-8")
        axes = [word for axis in AXES for word in ("--axis", axis)]
        registry("data", "counterfactual", str(sample), *axes, "--out", str(rows))
    if not (home / "prepared").exists():
        registry("init", "--home", str(home), "--unencrypted", "--no-example")
        registry("base", "add", str(base), "--name", "smollm2", "--home", str(home))
        held_out = folder / "crows_pairs_held_out.csv"
        registry("suites", "add", "crows_pairs", str(held_out), "--accept-licence", "--home", str(home))
        (home / "prepared").touch()
    return rows


def compare(folder: Path, rows: Path, seeds: int) -> str:
    """The comparison with so many seeds of each method, as JSON; arms that are registered are not trained again."""
    rates = [word for method, rate in RATES.items() for word in ("--learning-rate", f"{method}={rate:g}")]
    options = ("--methods", ",".join(METHODS), "--seeds", str(seeds), "--no-latency", "--no-mirror", "--output", "json")
    words = (f"data.train.path={rows.resolve()}", "prompt_tuning.seeds=1")
    file = str(HERE / "compare-mitigation.yml")
    return registry("compare", file, "--home", str(folder / "home"), *options, *rates, *words)


def registry(*words: str) -> str:
    """What the command prints.

    Raises:
        CalledProcessError: it failed; what it says has been printed.
    """
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-m", "peft_registry.cli.main", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
