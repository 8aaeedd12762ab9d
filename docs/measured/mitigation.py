"""Training against stereotypes: counter-stereotyped rows, four methods, three seeds, and what the test half of `house` says.

    python -m docs.measured.mitigation FOLDER BASE [--seeds N] [--hours H] [--doses-only] >docs/measured/mitigation.json

FOLDER keeps two homes, the rows and what was measured; a run that was cut short goes on where it stopped: arms that are registered
are not trained again. BASE is a folder or GGUF of SmolLM2-135M-Instruct. After H hours (default 3) no further seed is begun.

The plan, which stood here before the test half was asked:

- Rows: of each pair of the development half that the base flags (`house-margins.json`) the sentence that contradicts the
  stereotype. One template of each axis is held out. No row is of the test half.
- Dose: rate and epochs of LoRA are chosen on the held-out templates alone, out of `DOSES`: of those whose neutral text did not
  lose more than 5 % the one with the fewest flagged pairs. The bottleneck adapter, which trains as many parameters, has the
  same; IA3 and prompt tuning, which train less than a thousandth of the model, keep the rates of their sweeps. All doses are
  reported.
- Primary endpoint: the change of the flagged share on the test half, a test a method: sign flips of whole templates, the items of
  all seeds of a template together, Holm over the methods. Single seeds are shown and judge nothing.
- Learned: on the pairs of the held-out templates the counter-stereotyped sentence is the likelier one more often than for the
  untrained base, on average over seeds. A method that did not learn is `not testable`.
- Besides: the share that prefers the opposite, and the loss of neutral text.

Every arm also signs a plan of its own and logs it before it scores anything: `registry show` has it as `evaluation-plan`.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.evaluation.comparisons import ItemPair, compare_pairs
from peft_registry.registry.evaluation.halves import half_of
from peft_registry.registry.evaluation.items import Item, read_items
from peft_registry.registry.evaluation.recheck import plan_of
from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.evaluations import StoredEvaluation, stored_evaluations
from peft_registry.registry.records.references import version_named
from peft_registry.trainer.evaluation.suites.house import shipped_pairs

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "mitigation.yml"
METHODS = ("lora", "bottleneck", "ia3", "prompt_tuning")
FIRST_SEED = 7  # of mitigation.yml
SEEDS = 3
DOSES = ((1, 1e-3), (1, 3e-4), (1, 1e-4), (3, 1e-4))  # epochs and rate of LoRA; the first rate is the best of its sweep
DOSE_SEED = 6  # of the doses, which no arm has
EPOCHS = 1
RATES = {"lora": 1e-4, "bottleneck": 1e-4, "ia3": 1e-2, "prompt_tuning": 1e-2}


@dataclass(frozen=True, slots=True)
class Rows:
    """What is trained on, the same kind of sentences held out, the pairs of the held-out templates, and the size of the test half
    in pairs and templates."""

    trained: tuple[str, ...]
    held_out: tuple[str, ...]
    pairs: tuple[Mapping[str, str], ...]
    tested: int
    templates_tested: int


@dataclass(frozen=True, slots=True)
class Dose:
    """What one dose did to the pairs of the held-out templates: how many are in each state, and the loss of neutral text."""

    epochs: int
    rate: float
    items: int
    flagged: tuple[int, int]  # before and after
    inverted: tuple[int, int]
    neutral_loss: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Arm:
    """One training and what was measured of it.

    Attributes:
        method: how it was trained.
        seed: of it.
        version: as which it is registered.
        learned: of the held-out pairs, whose counter-stereotyped sentence is the likelier one: before, after, of how many.
        neutral_loss: of neutral text, before and after.
        comparison: of the test half, as the signed record has it.
    """

    method: str
    seed: int
    version: str
    learned: tuple[int, int, int]
    neutral_loss: tuple[float, float]
    comparison: Mapping[str, Any]  # a `Comparison` as JSON


@dataclass(frozen=True, slots=True)
class Pooled:
    """The trainings of one method together, on the test half: against the base, and what adapters at random did.

    No word is concluded yet: that takes the tests of all methods.
    """

    method: str
    comparison: Mapping[str, Any]  # a `Comparison` as JSON
    placebo: Mapping[str, Any]  # likewise


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything that was tried."""

    doses: tuple[Dose, ...]
    arms: tuple[Arm, ...]
    pooled: tuple[Pooled, ...] = ()


def kept(path: Path) -> Kept:
    """What an earlier call wrote; nothing without the file."""
    if not path.exists():
        return Kept((), ())
    found = json.loads(path.read_text("utf-8"))
    return Kept(
        tuple(Dose(**_tuples(one)) for one in found["doses"]),
        tuple(Arm(**_tuples(one)) for one in found["arms"]),
        tuple(Pooled(**one) for one in found["pooled"]),
    )


def _tuples(value: dict[str, Any]) -> dict[str, Any]:  # JSON has lists where a value has tuples
    return {name: tuple(field) if isinstance(field, list) else field for name, field in value.items()}


def main(arguments: Sequence[str]) -> int:
    """Print everything that was tried; the exit code is that of a command that failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("base", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--doses-only", action="store_true")
    wanted = parser.parse_args(arguments)
    until = time.monotonic() + 3600 * wanted.hours
    file = wanted.folder / "mitigation.json"
    try:
        prepare(wanted.folder, wanted.base)
        found = kept(file)
        for dose in DOSES[len(found.doses) :]:
            found = Kept((*found.doses, measure_dose(wanted.folder, *dose)), found.arms)
            file.write_text(_text(found), "utf-8")
        done = {arm.seed for arm in found.arms}
        for seed in () if wanted.doses_only else range(FIRST_SEED, FIRST_SEED + wanted.seeds):
            if seed in done:
                continue
            if time.monotonic() > until:
                sys.stderr.write(f"stopped  {wanted.hours:g} hours are used: {len(found.arms)} trainings\n")
                break
            found = Kept(found.doses, (*found.arms, *measure(wanted.folder, seed)))
            file.write_text(_text(found), "utf-8")
        found = Kept(found.doses, found.arms, tuple(pooled(wanted.folder / "home", found.arms)))
    except subprocess.CalledProcessError as error:
        return error.returncode
    sys.stdout.write(_text(found))
    return 0


def _text(found: Kept) -> str:
    """One training a line."""
    parts = []
    for name, part in asdict(found).items():
        lines = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in part)
        parts.append(f'"{name}": [\n  {lines}\n ]')
    return "{" + ",\n ".join(parts) + "}\n"


def rows() -> Rows:
    """Out of the development half, with the margins that the base gave its pairs."""
    data = shipped_pairs().read_bytes()
    margins = json.loads((HERE / "house-margins.json").read_text("utf-8"))
    of_pair = margins[f"sha256:{hashlib.sha256(data).hexdigest()}"]
    pairs = [json.loads(line) for line in data.decode().splitlines()]
    developed = [
        (pair, margin)
        for pair, margin in zip(pairs, of_pair, strict=True)
        if half_of("house", pair["template"]) == "development"
    ]
    tested = [pair for pair in pairs if half_of("house", pair["template"]) == "test"]
    held_out = _held_out_templates([pair for pair, _ in developed])
    learnt = [pair["sent_less"] for pair, margin in developed if margin > PAIR_BAND.hi]
    of_held_out = [pair for pair, _ in developed if pair["template"] in held_out]
    sentences = frozenset(pair["sent_less"] for pair in of_held_out)
    return Rows(
        trained=tuple(text for text in learnt if text not in sentences),
        held_out=tuple(text for text in learnt if text in sentences),
        pairs=tuple(of_held_out),
        tested=len(tested),
        templates_tested=len({pair["template"] for pair in tested}),
    )


def _held_out_templates(pairs: Sequence[Mapping[str, str]]) -> frozenset[str]:
    """Of each axis the template whose name has the lowest digest."""
    of_axis: dict[str, set[str]] = defaultdict(set)
    for pair in pairs:
        of_axis[pair["axis"]].add(pair["template"])
    return frozenset(min(names, key=lambda name: hashlib.sha256(name.encode()).digest()) for names in of_axis.values())


def question(pair: Mapping[str, str]) -> dict[str, Any]:  # a line of `--answers`
    """A pair as a question: where both sentences begin alike, and what follows in each; the counter-stereotype is right."""
    more, less = pair["sent_more"].split(), pair["sent_less"].split()
    alike = next(place for place, (one, other) in enumerate(zip(more, less, strict=False)) if one != other)
    right, wrong = " ".join(less[alike:]), " ".join(more[alike:])
    return {"id": pair["id"], "prompt": " ".join(less[:alike]), "answers": right, "choices": [right, wrong]}


def prepare(folder: Path, base: Path) -> None:
    """Both homes with their base, and the files of rows; what is there already is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    found = rows()
    files = {
        "rows": [{"text": text} for text in found.trained],
        "held-out": [{"text": text} for text in found.held_out],
        "pairs": found.pairs,
        "questions": [question(pair) for pair in found.pairs],
    }
    for name, lines in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    _prepare_home(folder / "home", base)
    # in a home of their own, because `house` means the pairs of the held-out templates there
    _prepare_home(folder / "doses", base, "suites", "add", "house", str(folder / "pairs.jsonl"))


def _prepare_home(home: Path, base: Path, *besides: str) -> None:
    if (home / "prepared").exists():
        return
    registry("init", "--home", str(home), "--unencrypted", "--no-example")
    registry("base", "add", str(base), "--name", "smollm2", "--home", str(home))
    if besides:
        registry(*besides, "--home", str(home))
    (home / "prepared").touch()


def measure_dose(folder: Path, epochs: int, rate: float) -> Dose:
    """LoRA with a dose, asked the pairs of the held-out templates; the test half is not asked."""
    home = ("--home", str(folder / "doses"))
    name = f"dose-{epochs}-{rate:g}".replace(".", "-")
    words = (*_paths(folder), f"name={name}", f"training.seed={DOSE_SEED}", "evaluation.bias=[]")
    dose = (f"training.learning_rate={rate:g}", f"training.num_train_epochs={epochs}")
    registry("train", str(CONFIG), *home, "--no-mirror", *words, *dose)
    record = json.loads(
        registry("evaluate", f"{name}:1", *home, "--suite", "house", "--no-placebo", "--output", "json")
    )
    whole = _whole(record["comparisons"])
    matrix, guards = whole["transition_matrix"], record["guards"]
    return Dose(
        epochs=epochs,
        rate=rate,
        items=whole["n"],
        flagged=_before_and_after(matrix, "stereo"),
        inverted=_before_and_after(matrix, "inverted"),
        neutral_loss=(guards["neutral_loss_before"], guards["neutral_loss_after"]),
    )


def _whole(comparisons: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:  # JSON values
    return next(
        one for one in comparisons if one["category"] is None and (one["before"], one["after"]) == ("base", "adapted")
    )


def _before_and_after(matrix: Mapping[str, Mapping[str, int]], state: str) -> tuple[int, int]:
    return sum(matrix[state].values()), sum(row[state] for row in matrix.values())


def _paths(folder: Path) -> tuple[str, ...]:
    files = {"train": "rows", "validation": "held-out"}
    return tuple(f"data.{part}.path={(folder / name).resolve()}.jsonl" for part, name in files.items())


def measure(folder: Path, seed: int) -> Iterator[Arm]:
    """Train with every method and one seed, unless that is registered, and read what the test half and the held-out pairs say."""
    rates = [word for method, rate in RATES.items() for word in ("--learning-rate", f"{method}={rate:g}")]
    options = ("--methods", ",".join(METHODS), *rates, "--no-latency", "--no-mirror", "--output", "json")
    words = (*_paths(folder), f"training.seed={seed}", f"training.num_train_epochs={EPOCHS}")
    home = folder / "home"
    arms = json.loads(registry("compare", str(CONFIG), "--home", str(home), *options, *words))["arms"]
    failures = [f"{arm['method']}, seed {seed}: {arm['failure']}" for arm in arms if arm["failure"] is not None]
    if failures:
        sys.exit("\n".join(failures))  # a training that is left out is a choice, and nobody has made it yet
    versions = {arm["method"]: arm["version"] for arm in arms}
    # in one command, because it scores the base once for all of them
    registry("evaluate", *versions.values(), "--home", str(home), "--suite", "house", "--half", "test")
    learned = _learned(folder, tuple(versions.values()))
    for method, version in versions.items():
        record = test_half(home, version).record
        whole = next(one for one in record.findings if one.category is None)
        before, after = record.guards.neutral_loss_before, record.guards.neutral_loss_after
        assert before is not None and after is not None, "neutral text is scored with every suite"
        yield Arm(method, seed, version, learned[version], (before, after), whole.to_json())


def _learned(folder: Path, versions: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Of the held-out pairs, how many have the counter-stereotyped sentence as the likelier one: before, after, of how many."""
    asked = ("--answers", str(folder / "questions.jsonl"), "--raw", "--no-placebo", "--output", "json")
    said = json.loads(registry("evaluate", *versions, "--home", str(folder / "home"), *asked))
    learned = {}
    for record in said["evaluations"]:
        found = {one["arm"]: one for one in record["results"] if one["metric"] == "accuracy"}
        n = found["base"]["n"]
        learned[record["version"]] = (
            round(found["base"]["value"] * n),
            round(found["adapted"]["value"] * n),
            n,
        )
    return learned


def test_half(home: Path, version: str) -> StoredEvaluation:
    """The signed evaluation of a version on the test half."""
    registry = open_home(home)
    evaluations = stored_evaluations(registry, version_named(registry, version))
    registry.close()
    return next(
        one for one in evaluations if any((used.name, used.half) == ("house", "test") for used in one.record.datasets)
    )


def pooled(home: Path, arms: Sequence[Arm]) -> Iterator[Pooled]:
    """The trainings of each method as one: their items together, so that what a template does in every seed is one change."""
    for method in dict.fromkeys(arm.method for arm in arms):
        found = [test_half(home, arm.version) for arm in arms if arm.method == method]
        rule = plan_of(found[0].record).interval_rule
        adapted, placebo = (
            compare_pairs([pair for one in found for pair in item_pairs(one.items, after)], category=None, rule=rule)
            for after in ("adapted", "placebo")
        )
        yield Pooled(method, adapted.to_json(), placebo.to_json())


def item_pairs(table: bytes, after: str) -> list[ItemPair]:
    """The items of the suite in the base and in another arm of one evaluation."""
    rows = [row for row in read_items(table) if isinstance(row, Item) and row.dataset == "house"]
    before = {row.id: row for row in rows if row.arm == "base"}
    return [ItemPair(before[row.id], row) for row in rows if row.arm == after]


def registry(*words: str) -> str:
    """What the command prints.

    Raises:
        CalledProcessError: it failed; what it says has been printed.
    """
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-m", "peft_registry.cli.main", *words], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
