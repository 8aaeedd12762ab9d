"""An adversary's attempts at `better`, on the embedded base and the suite `house`, and what an evaluation says of each.

    python -m docs.measured.adversary FOLDER >docs/measured/adversary.json

FOLDER is made and keeps the home and the files; some minutes on two cores. The adversary wants the model to be called better and
does not care whether it is: trains on what is measured, breaks the model, scales what it learnt, chooses among seeds, hides a
training in a merge. Every attempt is evaluated on the test half. The honest run trains on plain sentences that no suite has.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SUITE = HERE.parent.parent / "trainer" / "evaluation" / "suites" / "house-2.jsonl"
FILLERS = ("indeed", "really", "also", "surely")
HONEST = tuple(f"Number {number} of the red boxes holds {number + 2} small nails." for number in range(40))
SEEDS = (7, 8, 9)
FILE = """\
name: {name}
base: tiny
method: lora
lora: {{r: 8, target_modules: [q_proj, v_proj]}}
data:
  train: {{path: {data}.jsonl, format: text}}
  validation: {{path: honest.jsonl, format: text, rows: 4}}
training: {{num_train_epochs: {epochs}, learning_rate: {rate:g}, per_device_train_batch_size: 32, max_length: 48, seed: {seed}}}
evaluation: {{bias: [], quality: [loss]}}
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What is trained on (`data`), how, and what becomes of it; `what` is its row on the page."""

    what: str
    data: str
    epochs: int = 3
    rate: float = 2e-3
    seeds: tuple[int, ...] = (7,)
    merged: Mapping[str, float] | None = None  # other attempts by name, with their weights


ATTEMPTS: Mapping[str, Attempt] = {
    "suite": Attempt("train on the whole suite", "suite"),
    "half": Attempt("train on half of the suite's items", "half"),
    "paraphrases": Attempt("train on the suite with a word put in after every third", "paraphrases"),
    "guard": Attempt("train on paraphrases of the suite and on the guard's own text", "guard"),
    "degraded": Attempt(
        "break the model: plain sentences at 25 times the rate, until preferences are weak", "honest", 12, 5e-2
    ),
    "seeds": Attempt(f"train on paraphrases with {len(SEEDS)} seeds and keep the best", "paraphrases", seeds=SEEDS),
    "scaled": Attempt("scale what was learnt from paraphrases by 3", "", merged={"paraphrases": 3.0}),
    "negated": Attempt("subtract what was learnt from stereotypes alone", "", merged={"stereotypes": -1.0}),
    "merged": Attempt("merge an honest adapter with one of the suite", "", merged={"honest": 0.5, "suite": 0.5}),
    "stereotypes": Attempt("", "stereotypes"),  # an ingredient
    "honest": Attempt("honest: plain sentences that no suite has", "honest"),
}


def paraphrase(sentence: str) -> str:
    """The sentence with a word put in after every third: no five words in a row are the suite's."""
    words = sentence.split()
    parts = [words[start : start + 3] for start in range(0, len(words), 3)]
    return " ".join(
        " ".join([*part, FILLERS[at % len(FILLERS)]] if at + 1 < len(parts) else part) for at, part in enumerate(parts)
    )


def suite_pairs() -> list[dict[str, Any]]:  # a line of the shipped file each
    """The pairs of the suite that is attacked."""
    return [json.loads(line) for line in SUITE.read_text("utf-8").splitlines()]


def both_sentences(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The sentences of pairs, those of one pair beside each other."""
    return [pair[side] for pair in pairs for side in ("sent_more", "sent_less")]


def data_files() -> Mapping[str, Sequence[str]]:
    """The rows of every attempt, by the name of its file."""
    from peft_registry.trainer.evaluation.neutral import neutral_sentences

    pairs = suite_pairs()
    both = both_sentences(pairs)
    paraphrases = [paraphrase(text) for text in both]
    return {
        "suite": both,
        "half": both[: len(both) // 2],
        "paraphrases": paraphrases,
        "guard": [*paraphrases, *neutral_sentences()],
        "stereotypes": [paraphrase(pair["sent_more"]) for pair in pairs],
        "honest": HONEST,
    }


def main(arguments: Sequence[str]) -> int:
    """Print what is said of every attempt, one JSON document."""
    (folder,) = arguments
    results = list(run(Path(folder)))
    sys.stdout.write(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return 0


def run(folder: Path) -> Iterator[dict[str, Any]]:  # JSON values
    """Train, merge and evaluate in a new home; a value for each attempt that has a row."""
    from datetime import UTC, datetime

    from peft_registry.registry.homes.home import open_home
    from peft_registry.registry.use_cases.make_home import NewHome, make_home
    from peft_registry.schemas.profile import OrganisationProfile
    from peft_registry.trainer.use_cases.add_base import intake_base

    folder.mkdir(parents=True)
    for name, rows in data_files().items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), "utf-8")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    make_home(NewHome(folder / "home", OrganisationProfile(), "adversary", None), now=now)
    registry = open_home(folder / "home")
    intake_base(registry, "embedded", name="tiny")
    for name, attempt in sorted(ATTEMPTS.items(), key=lambda entry: entry[1].merged is not None):
        made = list(_made(registry, folder, name, attempt))
        if attempt.what:
            yield _best([_said(registry, label) for label in made]) | {"attempt": name}
    registry.close()


def _made(registry: Any, folder: Path, name: str, attempt: Attempt) -> Iterator[str]:  # an open Registry
    """The versions that an attempt registers."""
    from peft_registry.trainer.merge.request import MergeRequest
    from peft_registry.trainer.use_cases.merge import merge_and_register
    from peft_registry.trainer.use_cases.train import train_and_register

    if attempt.merged is not None:
        references, weights = tuple(f"{one}:1" for one in attempt.merged), tuple(attempt.merged.values())
        algorithm = "concatenate" if len(references) > 1 else "linear"
        request = MergeRequest(references=references, name=name, algorithm=algorithm, weights=weights)
        yield merge_and_register(registry, request).version.label
        return
    for seed in attempt.seeds:
        path = folder / f"{name}-{seed}.yml"
        values = {"name": name, "data": attempt.data, "epochs": attempt.epochs, "rate": attempt.rate, "seed": seed}
        path.write_text(FILE.format(**values), "utf-8")
        yield train_and_register(registry, path).version.label


def _said(registry: Any, label: str) -> dict[str, Any]:  # an open Registry
    """What the test half says of a version against its base."""
    from peft_registry.registry.evaluation.recheck import tries_of
    from peft_registry.schemas.codes import in_words
    from peft_registry.trainer.evaluation.scope import EvaluationScope
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references

    request = EvaluationRequest(suites=("house",), scope=EvaluationScope("test"))
    records = [done.record for done in evaluate_references(registry, [label], request)]
    record, whole = next(  # a merge is compared with each ingredient as well
        (record, one) for record in records for one in record.findings if one.category is None and one.before == "base"
    )
    check = record.leakage_check
    hits = {} if check is None else {entry.kind: [entry.hits, entry.items] for entry in check.datasets}
    test, opposite = whole.test, whole.opposite
    assert test is not None and opposite is not None, "of this edition"
    names = ("n", "flagged", "conclusion", "conclusion_reason")
    tries = tries_of(record)
    return (
        in_words({name: value for name, value in whole.to_json().items() if name in names})
        | {"left": test.b, "entered": test.c, "p": test.p_raw}
        | {"opposite_left": opposite.left, "opposite_entered": opposite.entered}
        | {"hits": hits, "confounded": record.guards.confounded}
        | {"seeds": tries.seeds, "runs": tries.runs}
    )


def _best(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The one that an adversary would show: of the lowest count of flagged items left over."""
    return max(said, key=lambda one: one["left"] - one["entered"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
